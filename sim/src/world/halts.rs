//! Whether a node stopped itself rightly, and what the operator then does. The rule rests on what the disk did to this
//! very process, never on what the node says alone.

use steadfast_core::io::{DiskErrorKind, HaltReason};

use super::{Phase, Place, World};
use crate::probes::WorldProbe;
use crate::process::Process;

/// Whether a node of a cluster may refuse to start because of damage. One that is alone always may; once damage is
/// repaired from peers, this is `false`.
const CLUSTERS_MAY_REFUSE: bool = false;

/// Whether a refusal must name a file of which the process was shown false bytes, or may blame any.
const MUST_NAME_THE_FILE: bool = true;

/// What follows a halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The process is started again, after the machine was switched off and on if so.
    Restart { reboot: bool },
    /// The operator mends the disk, or gives the node an empty one.
    Operator,
    /// The operator starts the newest release: the cluster went on to a level that this one does not know.
    Newest,
}

impl World<'_> {
    /// The node stopped itself. That is right after its disk failed it, and otherwise never.
    pub(super) fn halted(&mut self, node: usize, reason: &HaltReason) {
        let alone = self.nodes.len() == 1;
        let Some(then) = expected(&self.nodes[node], reason, alone || CLUSTERS_MAY_REFUSE) else {
            return self.fail("halt", format!("node {} halted: {reason}", node + 1));
        };
        self.note(Place::Node(node), "HALTED", || reason.to_string());
        // It stopped itself, and no fault stopped its recovery.
        self.nodes[node].recovering = false;
        let delay = self.schedule.cluster.restart_after_halt_us;
        match then {
            Then::Restart { reboot } => self.crash(node, reboot, delay),
            Then::Newest => self.cannot_go_back(node, delay),
            Then::Operator => {
                let found = matches!(reason, HaltReason::Damaged(_));
                self.probes.world(WorldProbe::DamageFound, u64::from(found));
                self.operate(node, delay);
            }
        }
    }

    /// The node says that its log is damaged, and will have it repaired by the others.
    pub(super) fn blames_its_log(&mut self, node: usize, what: &str) {
        // What an earlier boot has found is still so if it did not get to the end of the repair. A snapshot that was rotten
        // may have gone meanwhile, for an older one of the leader's that the log does not reach back to.
        if self.nodes[node].damaged.is_empty() {
            self.blames_its_disk(node, what);
        }
        self.nodes[node].damaged = self.nodes[node].disk.segments(false);
        self.nodes[node].said_damaged = true;
    }

    /// The node has read its directory. If it found its log whole, what an earlier boot had found is no evidence any more.
    pub(super) fn recovered(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].said_damaged) {
            self.nodes[node].damaged.clear();
        }
    }

    /// The node says something. At a start that may be that its snapshot is damaged, and that it does without it.
    pub(super) fn notices(&mut self, node: usize, what: &str) {
        if self.nodes[node].recovering && what.starts_with("snapshot-") && what.contains("is damaged") {
            self.blames_its_disk(node, what);
        }
    }

    /// What a crash leaves is no damage: it must have been shown some in this very boot, as for a halt.
    fn blames_its_disk(&mut self, node: usize, what: &str) {
        let disk = &self.nodes[node].disk;
        let shown = !disk.evidence.shown.is_empty() || disk.evidence.unread || disk.betrayed;
        if !shown {
            let what = format!("node {} blames its disk, which did nothing wrong: {what}", node + 1);
            self.fail("damage", what);
        }
    }

    /// The node says that its damaged log is whole again: then another one lies durably beside it, or a crash could now
    /// take what it begins to promise.
    pub(super) fn repaired(&mut self, node: usize) {
        let process = &self.nodes[node];
        let durable = process.disk.owes() || !process.disk.segments(true).is_subset(&process.damaged);
        if !durable {
            self.fail(
                "damage",
                format!("node {} takes part again, and its mended log is not durable", node + 1),
            );
        }
        self.nodes[node].damaged.clear();
    }

    /// The operator mends a disk, or gives the node an empty one: what a liar has lost, nobody can mend.
    fn operate(&mut self, node: usize, delay: u64) {
        let replaces = self.nodes[node].operator.chance(400_000) && self.phase == Phase::Safety;
        let lost = self.nodes[node].disk.betrayed;
        self.crash(node, false, delay);
        if (replaces || lost) && self.budget.wipe(node) {
            return self.lose_disk(node);
        }
        self.nodes[node].disk.heal();
        self.nodes[node].damaged.clear();
        self.note(Place::Node(node), "MENDED", String::new);
    }
}

/// What is to follow this halt, if the disk explains it.
fn expected(process: &Process, reason: &HaltReason, may_refuse: bool) -> Option<Then> {
    let evidence = &process.disk.evidence;
    match reason {
        HaltReason::Disk { error, doing, .. } => match (process.sync_failed, error.kind) {
            (Some(reboot), _) => Some(Then::Restart { reboot }),
            // At work it waits for space. Only what reads its directory anew needs it at once, and a failed sync is never
            // tried again, whyever it failed.
            (None, DiskErrorKind::NoSpace)
                if evidence.refused && (process.recovering || doing.starts_with("syncing")) =>
            {
                Some(Then::Restart { reboot: false })
            }
            (None, DiskErrorKind::Io) if evidence.unread => Some(Then::Operator),
            (None, _) => None,
        },
        // This process was shown false bytes, and must say of which file, or could not read some; or a liar's power loss has taken what it
        // thought durable, and it notices now. A whole older image is consistent and explains no damage.
        HaltReason::Damaged(text) => {
            let mut shown = evidence.shown.iter();
            let named = shown.any(|file| !MUST_NAME_THE_FILE || text.contains(&file.to_string()));
            ((may_refuse || text.starts_with("The hard state"))
                && (named || evidence.unread || process.disk.betrayed))
                .then_some(Then::Operator)
        }
        // It had run a release that does, and said so. Who never had is asked before the level is raised.
        HaltReason::NewerLevel { level, .. } => (process.known.1 >= *level).then_some(Then::Newest),
        // No damage makes a valid record of another node, cluster or release, and an entry is checked before it is
        // believed.
        HaltReason::Stopped
        | HaltReason::WrongDirectory(_)
        | HaltReason::UnknownEffect { .. }
        | HaltReason::Corrupt(_) => None,
    }
}
