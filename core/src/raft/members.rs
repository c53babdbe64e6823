//! Which membership is in force: the newest in the log, whether it is committed or not (paper, section 6; thesis, section 4.1).
//! Where the log is cut, the one before is in force again.
//!
//! And how a leader carries a change through. It appends the joint membership, and once that is committed the one that it leads to,
//! whoever led when the change began. A leader that is no voter of the last one counts itself nowhere, and leaves when that is
//! committed. What a change may be is for `membership.rs` to say.

use bytes::Bytes;

use super::progress::Progress;
use super::{Log, Message, Needs, Raft, RaftEvent, Role};
use crate::membership::{Membership, Voter};
use crate::time::Micros;
use crate::types::{Incarnation, Index, NodeId, Term};

/// Finds the membership that an entry brings, in its encoded body.
pub type ReadMembership = fn(&Bytes) -> Option<Membership>;

/// The memberships that the log holds.
#[derive(Clone, Debug, Hash)]
pub(super) struct Memberships {
    read: ReadMembership,
    /// In force at the log's start.
    base: Membership,
    /// Those of the entries behind it, in order.
    later: Vec<(Index, Membership)>,
}

impl Memberships {
    pub fn new(base: Membership, read: ReadMembership) -> Self {
        Self { read, base, later: Vec::new() }
    }

    /// Notes those that a recovered log holds.
    pub fn recovered(&mut self, log: &Log) {
        self.later.clear();
        for index in (log.start().index.0 + 1..=log.last().0).map(Index) {
            if let Some(entry) = log.get(index) {
                self.appended(index, &entry.payload);
            }
        }
    }

    /// The one in force.
    pub fn current(&self) -> &Membership {
        self.later.last().map_or(&self.base, |(_, membership)| membership)
    }

    /// The entry that brought the one in force; zero if it lies in what a snapshot covers, or in the founding.
    pub fn place(&self) -> Index {
        self.later.last().map_or(Index(0), |(index, _)| *index)
    }

    /// The one in force at an index, which is not before the log's start.
    fn at(&self, index: Index) -> &Membership {
        let until = self.later.partition_point(|(at, _)| *at <= index);
        until.checked_sub(1).map_or(&self.base, |last| &self.later[last].1)
    }

    /// The entry that brought the one in force at an index, which is not before the log's start; that start, if it lies before.
    fn place_at(&self, index: Index, start: Index) -> Index {
        let until = self.later.partition_point(|(at, _)| *at <= index);
        until.checked_sub(1).map_or(start, |last| self.later[last].0)
    }

    /// The one in force at an index, and all later ones.
    pub fn since(&self, index: Index) -> impl Iterator<Item = &Membership> {
        let later = self.later.iter().filter(move |(at, _)| *at > index);
        std::iter::once(self.at(index)).chain(later.map(|(_, membership)| membership))
    }

    /// An entry is appended. Returns whether it brings a membership.
    pub fn appended(&mut self, index: Index, payload: &Bytes) -> bool {
        let Some(membership) = (self.read)(payload) else { return false };
        assert!(index > self.place(), "memberships are noted in the order of the log");
        self.later.push((index, membership));
        true
    }

    /// The log is cut from this index on. Returns whether another one is in force now.
    pub fn cut(&mut self, from: Index) -> bool {
        let before = self.later.len();
        self.later.retain(|(index, _)| *index < from);
        self.later.len() < before
    }

    /// The log begins behind this index now.
    pub fn begins_behind(&mut self, start: Index) {
        self.base = self.at(start).clone();
        self.later.retain(|(index, _)| *index > start);
    }

    /// A snapshot with this membership took the place of the log up to `start`, and of all of it unless what follows stays.
    pub fn replaced(&mut self, start: Index, base: Membership, stays: bool) {
        self.base = base;
        self.later.retain(|(index, _)| stays && *index > start);
    }
}

/// Why no change of the voters can begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// This node does not lead.
    NotLeader,
    /// The leader has committed nothing of its own term yet, and so does not know whether an earlier change is committed (Ongaro on
    /// raft-dev, 10 July 2015).
    NewLeader,
    /// The membership in force is not committed, or joint.
    UnderWay,
}

/// What a leader knows of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersSeen {
    /// Whether a change can begin.
    pub may_change: Result<(), NotNow>,
    /// Which node it is, if any leads.
    pub leader: Option<NodeId>,
    /// The end of its log.
    pub last: Index,
    /// Each of them.
    pub seen: Vec<MemberSeen>,
}

impl Default for MembersSeen {
    /// What a node knows that does not lead.
    fn default() -> Self {
        Self { may_change: Err(NotNow::NotLeader), leader: None, last: Index(0), seen: Vec::new() }
    }
}

/// What a leader knows of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSeen {
    /// Which.
    pub node: NodeId,
    /// The data directory that answered last.
    pub incarnation: Option<Incarnation>,
    /// Up to where it is known to hold the log durably.
    pub matched: Index,
    /// Whether it answered within an election time-out.
    pub heard: bool,
    /// Whether it doubts its own memory.
    pub doubts: bool,
}

impl Raft {
    /// The members, by the newest entry of the log that says so.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    /// This node as a voter.
    pub(super) fn voter(&self) -> Voter {
        (self.id, self.incarnation)
    }

    /// Whether this node decides without anybody else.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.membership().is_alone(self.voter())
    }

    /// All other members.
    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let own = self.id;
        self.membership().nodes().into_iter().filter(move |member| *member != own)
    }

    /// The other members that vote.
    pub(super) fn other_voters(&self) -> impl Iterator<Item = NodeId> + use<> {
        let own = self.id;
        self.membership().voting_nodes().into_iter().filter(move |member| *member != own)
    }

    /// Whether a change of the membership can begin.
    ///
    /// # Errors
    /// [`NotNow`] says why not.
    pub fn may_change(&self) -> Result<(), NotNow> {
        let Role::Leader(leader) = &self.role else { return Err(NotNow::NotLeader) };
        if self.commit < leader.start {
            return Err(NotNow::NewLeader);
        }
        let settled = self.commit >= self.memberships.place() && !self.membership().is_joint();
        if settled { Ok(()) } else { Err(NotNow::UnderWay) }
    }

    /// What this leader knows of the members, itself included.
    #[must_use]
    pub fn members_seen(&self, now: Micros) -> MembersSeen {
        let Role::Leader(leader) = &self.role else { return MembersSeen::default() };
        let own = MemberSeen {
            node: self.id,
            incarnation: Some(self.incarnation),
            matched: self.durable,
            heard: true,
            doubts: self.doubtful,
        };
        let other = |(node, peer): (&NodeId, &Progress)| MemberSeen {
            node: *node,
            incarnation: peer.incarnation,
            matched: peer.matched,
            heard: now < peer.heard_at.after(self.timing.election),
            doubts: peer.abstains,
        };
        let seen = leader.progress.iter().map(other).chain([own]).collect();
        MembersSeen { may_change: self.may_change(), leader: Some(self.id), last: self.log.last(), seen }
    }

    /// The term in which the newest membership was appended, as far as it is in this log.
    #[must_use]
    pub fn membership_term(&self) -> Option<Term> {
        self.log.term_at(self.memberships.place()).filter(|term| *term > Term(0))
    }

    /// Another membership is in force than before: a leader sends to the members that it has now, and to no others.
    pub(super) fn members_changed(&mut self, now: Micros) {
        let (last, others): (Index, Vec<NodeId>) = (self.log.last(), self.others().collect());
        if let Role::Leader(leader) = &mut self.role {
            leader.progress.retain(|node, _| others.contains(node));
            for node in others {
                leader.progress.entry(node).or_insert_with(|| Progress::new(last, now));
            }
            // A round that waited for somebody who is not asked any more would never end.
            self.advance_rounds();
        }
        self.events.push(RaftEvent::Members);
    }

    /// A node that wants to lead and belongs to the cluster no more is told so: nobody sends it the entry that says it. That is
    /// advice, and promises nothing.
    pub(super) fn tell_if_gone(&mut self, node: NodeId) {
        let start = self.log.start().index;
        let committed = self.commit.max(start);
        if !self.memberships.at(committed).nodes().contains(&node) {
            let at = self.memberships.place_at(committed, start);
            self.send(node, Message::Gone { term: self.term, at }, Needs::Term);
        }
    }

    /// This node is told that a committed membership has no place for it. It stands for election no more, unless it knows better:
    /// without that entry it could not win anyway (paper, section 5.4.1), so that nobody ever has to wait for it.
    pub(super) fn receive_gone(&mut self, now: Micros, at: Index) {
        let knows_better = self.commit >= at || self.memberships.place() > at;
        if knows_better || self.is_leader() || self.gone.is_some() {
            return;
        }
        self.gone = Some(at);
        if !matches!(self.role, Role::Follower { .. }) {
            self.become_follower(now, self.term, None);
        }
        self.events.push(RaftEvent::Gone);
    }

    /// A leader sends to this node again: once it holds what it was told of, its own log says whether it belongs.
    pub(super) fn knows_for_itself(&mut self) {
        if self.gone.is_some_and(|at| self.log.last() >= at) {
            self.gone = None;
        }
    }

    /// What is committed by now may end a change, or this node's leadership.
    pub(super) fn go_on_with_change(&mut self, now: Micros) {
        let Role::Leader(leader) = &self.role else { return };
        if self.commit < leader.start.max(self.memberships.place()) {
            return;
        }
        if self.membership().is_joint() {
            self.events.push(RaftEvent::ChangeAgreed);
        } else if !self.membership().is_voter(self.voter()) {
            self.events.push(RaftEvent::Left);
            // Whoever has most of the log need not wait for its time-out.
            self.hand_over(now);
            if self.is_leader() {
                self.become_follower(now, self.term, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A digit stands for the membership of so many.
    fn read(payload: &Bytes) -> Option<Membership> {
        let count = payload.first()?.checked_sub(b'0').filter(|count| *count < 8)?;
        Some(of(u16::from(count)))
    }

    fn of(count: u16) -> Membership {
        Membership::of((1..=count).map(|id| (NodeId(id), Incarnation(u64::from(id)))).collect())
    }

    fn noted(entries: &[(u64, &'static str)]) -> Memberships {
        let mut memberships = Memberships::new(of(3), read);
        for (index, payload) in entries {
            memberships.appended(Index(*index), &Bytes::from_static(payload.as_bytes()));
        }
        memberships
    }

    #[test]
    fn the_newest_in_the_log_is_in_force_until_it_is_cut() {
        let mut memberships = noted(&[(5, "x"), (6, "4"), (7, "x"), (8, "5")]);
        assert_eq!((memberships.current(), memberships.place()), (&of(5), Index(8)));
        assert!(!memberships.cut(Index(9)));
        assert!(memberships.cut(Index(8)));
        assert_eq!((memberships.current(), memberships.place()), (&of(4), Index(6)));
        assert!(memberships.cut(Index(1)));
        assert_eq!((memberships.current(), memberships.place()), (&of(3), Index(0)));
    }

    #[test]
    fn a_snapshot_keeps_what_was_in_force_where_it_ends() {
        let mut memberships = noted(&[(6, "4"), (8, "5")]);
        memberships.begins_behind(Index(7));
        assert_eq!((memberships.at(Index(7)), memberships.current()), (&of(4), &of(5)));
        memberships.replaced(Index(9), of(2), false);
        assert_eq!((memberships.current(), memberships.place()), (&of(2), Index(0)));
        let mut memberships = noted(&[(6, "4"), (8, "5")]);
        memberships.replaced(Index(7), of(4), true);
        assert_eq!((memberships.current(), memberships.place()), (&of(5), Index(8)));
    }
}
