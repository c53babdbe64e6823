//! For a search that meets equal nodes once: a node whose clocks stand still, and what tells two such nodes apart.
//!
//! Nothing here is used by a running node.

use std::hash::{Hash, Hasher};

use super::{Raft, Role};
use crate::time::Micros;

impl Raft {
    /// Forgets when things happened: every clock of this node is put to where it stands if all was done and heard at
    /// `now`, but a leader was last heard of so long ago that a pre-vote is granted. From then on two equal nodes do the
    /// same whenever the same happens to them, but for how long an election time-out they draw.
    pub fn rest(&mut self, now: Micros) {
        let (heartbeat, election) = (self.timing.heartbeat, self.timing.election);
        self.election_at = now.after(election);
        self.passes_until = Micros(0);
        self.promised_until = Micros(0);
        self.heard_leader_at = None;
        self.unled = 0;
        if let Role::Leader(leader) = &mut self.role {
            leader.heartbeat_at = now.after(heartbeat);
            leader.check_at = now.after(election);
            leader.goal_at = now;
            leader.rounds.began_at = now;
            for peer in leader.progress.values_mut() {
                peer.heard_at = now;
                peer.moved_at = now;
                peer.open_window();
            }
        }
    }
}

/// What a node that is at rest does depends on this alone. Its time-outs and bounds are its cluster's, and its random
/// stream draws nothing but election time-outs.
impl Hash for Raft {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Named one by one, so that whatever comes to a node has to be thought of here.
        let Self {
            id,
            incarnation,
            memberships,
            doubtful,
            repairing,
            timing: _,
            limits: _,
            rng: _,
            term,
            vote,
            log,
            commit,
            durable,
            role,
            election_at,
            unled,
            passes_until,
            gone,
            promised_until,
            heard_leader_at,
            answered_round,
            withhold: _,
            refusal,
            held_by_both,
            outgoing,
            events,
        } = self;
        assert!(outgoing.is_empty() && events.is_empty(), "a node at rest has nothing left to say");
        (id, incarnation, memberships, doubtful, repairing, gone).hash(state);
        (term, vote, log, commit, durable, role, answered_round).hash(state);
        (refusal, held_by_both).hash(state);
        (election_at, unled, passes_until, promised_until, heard_leader_at).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::super::tests::cluster::Cluster;
    use super::*;
    use crate::types::NodeId;

    const NOW: Micros = Micros::from_millis(3_600_000);

    fn digest(raft: &Raft) -> u64 {
        let mut hasher = DefaultHasher::new();
        raft.hash(&mut hasher);
        hasher.finish()
    }

    /// A leader that was elected at once, or only after other time-outs.
    fn leader(seed: u64, wait: u64) -> Raft {
        let mut cluster = Cluster::found(3, &<_>::default(), seed);
        let id = NodeId(1);
        cluster.host(id).now = cluster.host(id).election_at().after(Micros(wait));
        cluster.step(id, |raft, now| raft.tick(now));
        cluster.deliver_all();
        cluster.host(id).raft().clone()
    }

    #[test]
    fn two_nodes_that_differ_in_their_clocks_alone_are_equal_at_rest() {
        let (mut one, mut other) = (leader(1, 0), leader(2, 5_000));
        assert_ne!(digest(&one), digest(&other), "their clocks differ");
        one.rest(NOW);
        other.rest(NOW);
        assert_eq!(digest(&one), digest(&other));
        other.join_round();
        assert_ne!(digest(&one), digest(&other), "one of them is asked to read");
    }
}
