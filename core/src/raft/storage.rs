//! What becomes of a member's log beside appending: a snapshot takes the place of its beginning, or of all of it, and a damaged
//! one is made whole. The node decides when; what follows for Raft is decided here.

use super::message::Verdict;
use super::progress::{Mode, Progress};
use super::{Needs, Raft, RaftEvent, Role};
use crate::membership::Membership;
use crate::time::Micros;
use crate::types::{EntryId, Index, NodeId};

impl Raft {
    /// A durable snapshot covers everything up to this index, which is committed: those entries may go.
    pub fn compact(&mut self, to: Index) {
        assert!(to <= self.commit, "only what is committed is in a snapshot");
        self.log.compact(to);
        self.memberships.begins_behind(self.log.start().index);
    }

    /// A durable snapshot from another node takes the place of the log up to `at`. What follows `at` stays only if
    /// the log holds that very entry (paper, figure 13, steps 6 and 7). Returns whether it stays. The membership is the snapshot's.
    pub fn installed(&mut self, at: EntryId, membership: Membership) -> bool {
        assert!(at.index > self.commit, "a snapshot of what is committed here already is not installed");
        assert!(at.term <= self.term, "who sent a snapshot led a term that is known here");
        assert!(!self.is_leader(), "a leader has everything that is committed, and is sent no snapshot");
        let stays = self.log.term_at(at.index) == Some(at.term);
        if stays {
            // The snapshot is durable, and the log need not be.
            self.durable = self.durable.max(at.index);
        } else {
            self.log.reset(at);
            self.durable = at.index;
        }
        self.commit = at.index;
        self.memberships.replaced(at.index, membership, stays);
        self.events.push(RaftEvent::Members);
        self.knows_for_itself();
        stays
    }

    /// Tells the leader what this node holds, without being asked.
    pub fn announce(&mut self) {
        if let Role::Follower { leader: Some(leader) } = self.role {
            let held = Verdict::Match(self.durable.min(self.commit));
            self.reply_append(leader, 0, held, Needs::Term);
        }
    }

    /// Up to where the log may go without costing a follower that is heard a snapshot; none if this node does not lead.
    #[must_use]
    pub fn needed_from(&self, now: Micros) -> Option<Index> {
        let Role::Leader(leader) = &self.role else { return None };
        let heard = |peer: &&Progress| now < peer.heard_at.after(self.timing.election);
        let copies = leader.progress.values().filter(heard).filter(|peer| peer.mode != Mode::Snapshot);
        copies.map(|peer| peer.matched).min()
    }

    /// The members that need entries which only a snapshot still has, as far as this node leads and hears them.
    #[must_use]
    pub fn wanting_snapshot(&self, now: Micros) -> Vec<NodeId> {
        let Role::Leader(leader) = &self.role else { return Vec::new() };
        let heard = |peer: &Progress| now < peer.heard_at.after(self.timing.election);
        let wants = leader.progress.iter();
        let wants = wants.filter(|(_, peer)| peer.mode == Mode::Snapshot && heard(peer));
        wants.map(|(id, _)| *id).collect()
    }

    /// Whether the log is being repaired.
    #[must_use]
    pub fn is_repairing(&self) -> bool {
        self.repairing
    }

    /// The log is whole, and all of it durable: this node takes part again.
    pub fn repaired(&mut self) {
        assert!(self.log.first_lost().is_none(), "a log with holes is not repaired");
        self.repairing = false;
        self.durable = self.log.last();
        // Some may lie in entries that were lost.
        self.memberships.recovered(&self.log);
        self.events.push(RaftEvent::Members);
    }

    /// The leader of this term has another log behind these lost entries: nothing from there on is committed, or it
    /// would have it (paper, section 5.4.3).
    pub fn give_up_lost(&mut self) {
        if let Some((first, _)) = self.log.first_lost() {
            self.log.truncate_from(first);
            self.memberships.cut(first);
        }
    }

    /// A durable snapshot becomes the beginning of a log that is being repaired. What follows there stays if it is known
    /// to follow.
    pub fn rebase(&mut self, at: EntryId, follows: bool, membership: Membership) {
        assert!(self.repairing && at.index > self.commit, "a snapshot brings a damaged log further");
        if follows {
            self.log.rebase(at)
        } else {
            self.log.reset(at)
        }
        (self.commit, self.durable) = (at.index, at.index);
        self.memberships.replaced(at.index, membership, follows);
        self.knows_for_itself();
    }

    /// A member lost entries that only a snapshot still has.
    pub fn needs_snapshot(&mut self, member: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.progress.get_mut(&member)
        {
            peer.next = Index(1);
        }
    }
}
