//! A voter without data, beside two that have it: what it is sent, when a commit needs both others, and why it elects nobody who lacks
//! anything.
//!
//! *What it is sent.* Terms and indexes, and of the entries only what it has to know itself: everything else is withheld
//! (`state/withheld.rs`), by the leader and once more by the witness. And each position only once nodes with data hold it durably: both,
//! while a commit needs both, so that the loss of either one leaves the other no older than the witness; one, while one is enough. If the
//! witness knew of more, nobody could be elected after the crash of a leader that had not synced it.
//!
//! *When a commit needs both.* See `membership.rs`. A leader that does not hear the other node with data for an election time-out, or
//! hears that it gets no further, says with an entry that one disk is enough from there on, so that it goes on with the witness; and
//! takes that back once the other one gets in less than an election time-out what the log held when that began (as a learner is caught up
//! with, thesis, section 4.2.1). The voters stay the same, so neither has to wait for what was
//! said before to be committed (as changes of voters do, Ongaro on raft-dev, 10 July 2015); without that a leader that loses the other
//! one just after it took that back would wait for ever. *Whole* waits all the same, so that nobody sees the two in turn for nothing.
//!
//! *Whom it elects.* A witness votes as everybody does, and never stands. The votes that a node with data lacks after it was away are
//! those of the other one and of the witness, which has all positions that were committed without it: so nobody leads, and both say why.
//!
//! Nothing here knows what an entry holds.

use bytes::Bytes;

use super::message::Message;
use super::progress::Progress;
use super::{Needs, Raft, RaftEvent, Role};
use crate::membership::Voter;
use crate::time::Micros;
use crate::types::{EntryId, Index, NodeId};

/// What a witness may know of an entry's encoded body: a body of its own.
pub type Withhold = fn(&Bytes) -> Bytes;

/// A node with data that has not got further for so many election time-outs is as good as away: its disk is full, or stands still.
const STUCK_AFTER: u64 = 4;

/// Two logs' ends, of which one is too old: at a witness that of the node that it would not elect, elsewhere that of the witness.
pub(super) type Refusal = (NodeId, EntryId);

impl Raft {
    /// Whether this node's directory is a witness's.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.incarnation.is_witness()
    }

    /// Whether another member's directory is a witness's, by its last answer, or by its vote.
    #[must_use]
    pub fn is_witness_at(&self, node: NodeId) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        match leader.progress.get(&node).and_then(|peer| peer.incarnation) {
            Some(incarnation) => incarnation.is_witness(),
            None => self.membership().voters().iter().any(|(voter, it)| *voter == node && it.is_witness()),
        }
    }

    /// What a voter is known to hold durably, as far as it counts.
    pub(super) fn held_by(&self, voter: Voter) -> Index {
        let Role::Leader(leader) = &self.role else { return Index(0) };
        match leader.progress.get(&voter.0) {
            Some(peer) if peer.counts_as(voter) => peer.matched,
            None if voter == self.voter() && !self.doubtful => self.durable,
            _ => Index(0),
        }
    }

    /// Up to where a witness may hear of the log.
    pub(super) fn witness_may_hear(&self) -> Index {
        let members = self.membership();
        if members.is_degraded() {
            members.beside_witness().map(|voter| self.held_by(voter)).max().unwrap_or_default()
        } else {
            members.held(|voter| self.held_by(voter)).max(self.commit)
        }
    }

    /// Up to where both nodes with data beside a witness are known to hold the log durably: by a leader from their answers, by everybody
    /// else from its leader's last word. Zero without a witness.
    pub(super) fn held_by_both(&self) -> Index {
        if !self.is_leader() {
            return self.held_by_both;
        }
        let held = self.membership().beside_witness().map(|voter| self.held_by(voter)).min();
        held.unwrap_or_default()
    }

    /// Whether it is not known of an entry that both nodes with data hold it durably, although there is a witness.
    #[must_use]
    pub fn rests_on_one_disk(&self, index: Index) -> bool {
        self.membership().witness().is_some() && self.held_by_both() < index
    }

    /// A heartbeat is due: whether a commit needs both nodes with data may change.
    pub(super) fn mind_witness(&mut self, now: Micros) {
        let Role::Leader(leader) = &self.role else { return };
        let members = self.memberships.current();
        let Some(witness) = members.witness().filter(|_| leader.transfer.is_none()) else { return };
        let others =
            || members.beside_witness().filter_map(|voter| Some((voter, leader.progress.get(&voter.0)?)));
        let heard =
            |peer: &Progress| now < peer.heard_at.after(self.timing.election.after(self.timing.heartbeat));
        let reached = others().all(|(voter, peer)| peer.counts_as(voter) && peer.matched >= leader.goal);
        let stuck = Micros(self.timing.election.0.saturating_mul(STUCK_AFTER));
        let degraded = if members.is_degraded() {
            let soon = now < leader.goal_at.after(stuck);
            let back = reached && soon && others().all(|(_, peer)| heard(peer));
            !(back && self.commit >= self.memberships.place())
        } else {
            let is_there = |(voter, peer): (Voter, &Progress)| {
                let moves = peer.matched >= self.durable || now < peer.moved_at.after(stuck);
                heard(peer) && moves && (peer.counts_as(voter) || peer.incarnation.is_none())
            };
            // Without the witness a degraded leader commits no more than before.
            let may = leader.progress.get(&witness).is_some_and(|peer| heard(peer) && !peer.abstains);
            may && !others().all(is_there)
        };
        if degraded != members.is_degraded() {
            self.events.push(RaftEvent::Witness { degraded });
        }
        let last = self.log.last();
        if let Role::Leader(leader) = &mut self.role
            && reached
        {
            (leader.goal, leader.goal_at) = (last, now);
        }
    }

    /// A candidate's log is older than this node's. A witness tells it, since nobody else can: advice, and promises nothing.
    pub(super) fn refuse_as_older(&mut self, node: NodeId, candidate: EntryId) {
        if !self.is_witness() {
            return;
        }
        let end = self.log.end();
        self.send(node, Message::Ahead { term: self.term, end }, Needs::Term);
        if self.refusal.replace((node, candidate)) != Some((node, candidate)) {
            self.events.push(RaftEvent::RefusedAsOlder(node, candidate));
        }
    }

    /// A witness would not elect this node, whose log is older.
    pub(super) fn receive_ahead(&mut self, from: NodeId, end: EntryId) {
        let is_older = (self.log.last_term(), self.log.last()) < (end.term, end.index);
        if !is_older || self.leader().is_some() {
            return;
        }
        if self.refusal.replace((from, end)) != Some((from, end)) {
            self.events.push(RaftEvent::TooOldToLead(from, end));
        }
    }

    /// Why nobody leads, as far as a witness is the reason: at the witness the node that it would not elect and where that one's log ends,
    /// elsewhere the witness, and where its log ends.
    #[must_use]
    pub fn refusal(&self) -> Option<(NodeId, EntryId)> {
        self.refusal.filter(|_| self.leader().is_none())
    }
}
