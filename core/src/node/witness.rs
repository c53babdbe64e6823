//! What is different at a node beside a witness, or at a witness itself: the entries that say on how many disks an answer rests, who is
//! told when nobody can lead, and what clients hear from a node without data. What a witness is sent and when a commit needs whom, Raft
//! decides (`raft/witness.rs`).

use super::forward::Task;
use super::replica::{Replica, notice, probe};
use crate::command::Command;
use crate::command::info::WitnessInfo;
use crate::config::AccessMode;
use crate::error::{ErrorCode, Failure};
use crate::io::Outbox;
use crate::reply::Reply;
use crate::state::effect::{Cause, Effect, WITNESS_LEVEL};
use crate::trace::Probe;
use crate::types::{EntryId, NodeId};

impl Replica {
    /// From here on one node with data and the witness are enough for a commit, or both with data are needed again.
    pub fn say_degraded(&mut self, degraded: bool, out: &mut Outbox) {
        let members = self.raft.membership();
        let is_so = members.is_degraded() == degraded || members.witness().is_none();
        if !self.raft.is_leader() || is_so || self.state.level_at_tail() < WITNESS_LEVEL {
            return;
        }
        let next = self.raft.membership().with_degraded(degraded);
        let index = self.append(Cause::Members, vec![Effect::Membership(next)]);
        let text = if degraded {
            probe(out, Probe::Degraded);
            format!(
                "degraded from entry {index} on: the other node with data is away, and answers rest on this node's disk alone"
            )
        } else {
            probe(out, Probe::WholeAgain);
            format!("whole again from entry {index} on: both nodes with data have to hold what is answered")
        };
        notice(out, text);
    }

    /// What this new leader has inherited: nobody else says it again.
    pub fn tell_if_degraded(&self, out: &mut Outbox) {
        if self.raft.membership().is_degraded() {
            let text = "leads a cluster that is degraded: answers rest on one disk with data, until the other node that has it is back";
            notice(out, text.into());
        }
    }

    /// This witness would not elect a node.
    pub fn refused_as_older(&self, node: NodeId, end: EntryId, out: &mut Outbox) {
        probe(out, Probe::WitnessRefusedStale);
        notice(out, refused_text(node, end, self.raft.log().end()));
    }

    /// That witness would not elect this node.
    pub fn too_old_to_lead(&self, witness: NodeId, end: EntryId, out: &mut Outbox) {
        notice(out, too_old_text(witness, end, self.raft.log().end()));
    }

    /// What INFO says of it.
    pub fn witness_info(&self) -> WitnessInfo {
        let members = self.raft.membership();
        let own = self.raft.log().end();
        let why = self.raft.refusal().map(|(node, end)| {
            if self.raft.is_witness() { refused_text(node, end, own) } else { too_old_text(node, end, own) }
        });
        // Said to be whole again, it is so once the other node has all that was answered meanwhile.
        let lags = self.raft.is_leader() && self.raft.rests_on_one_disk(self.raft.commit());
        WitnessInfo { node: members.witness(), degraded: members.is_degraded() || lags, why }
    }

    /// What a client hears from a witness, which has neither data nor users; none if this node is no witness.
    pub fn answer_of_witness(&mut self, task: &Task) -> Option<Reply> {
        if !self.raft.is_witness() {
            return None;
        }
        if task.command == Command::Info && self.config.access == AccessMode::InsecureNoAuth {
            return Some(self.evaluate_here(task));
        }
        let others: Vec<String> = self
            .raft
            .membership()
            .voters()
            .iter()
            .filter(|(_, incarnation)| !incarnation.is_witness())
            .map(|(node, _)| match self.likely_address(*node) {
                Some(address) => format!("node {node} at {address}"),
                None => format!("node {node}"),
            })
            .collect();
        let text = format!(
            "node {} is a witness, and holds neither data nor users: ask {}",
            self.config.id,
            others.join(" or ")
        );
        Some(Reply::refused(Failure::new(ErrorCode::NoLeader, text)))
    }
}

fn refused_text(node: NodeId, end: EntryId, own: EntryId) -> String {
    format!(
        "node {node} holds the log up to {end} only, and this witness knows of positions up to {own}: that node may lack what was \
         answered, and is not elected. Start the other node with data; if it is lost, see steadfast recover"
    )
}

fn too_old_text(witness: NodeId, end: EntryId, own: EntryId) -> String {
    format!(
        "node {witness}, the witness, knows of positions up to {end}, and this node holds the log up to {own} only: only the other node \
         with data can lead. Start it; if it is lost, see steadfast recover"
    )
}
