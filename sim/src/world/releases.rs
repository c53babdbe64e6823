//! Nodes that run older releases: they are upgraded one by one, some go back, and in the end all run the newest. An older release is
//! this one with fewer feature levels; what differs in the bytes between releases is for golden files and real processes to show.

use steadfast_core::state::effect::FEATURE_LEVEL;

use super::{Place, World};
use crate::probes::WorldProbe;

/// How long a node is down for an upgrade at the end of a run, in microseconds.
const LAST_UPGRADE_US: u64 = 50_000;

impl World<'_> {
    /// A node is stopped, and started again with a release that knows so many levels.
    pub(super) fn install(&mut self, node: usize, known: u32, down_us: u64) {
        let process = &mut self.nodes[node];
        process.known = (known, process.known.1.max(known));
        self.note(Place::Node(node), "RELEASE", || format!("of level {known}"));
        self.crash(node, false, down_us);
    }

    /// The cluster went on while this node ran an older release again.
    pub(super) fn cannot_go_back(&mut self, node: usize, delay: u64) {
        self.probes.world(WorldProbe::DowngradeRefused, 1);
        self.install(node, FEATURE_LEVEL, delay);
    }

    /// All nodes that do not run the newest release yet are upgraded.
    pub(super) fn upgrade_all(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].known.0 < FEATURE_LEVEL {
                self.install(node, FEATURE_LEVEL, LAST_UPGRADE_US);
            }
        }
    }
}
