//! The last phase of some runs: all is calm, and one sector of what lies cold on one disk goes bad. The node must find it
//! within the time that the rate of its scrubbing promises, and mend it with a snapshot of then.
//!
//! Here and not earlier, because nothing else then keeps a node from reading at its rate, or replaces the bad sector
//! before it was found.

use steadfast_core::io::FileName;
use steadfast_core::types::Index;

use super::{Place, World};
use crate::probes::WorldProbe;
use crate::rng::Stream;

/// A round through what lies cold takes no longer than this in the runs that wait for it, in microseconds.
const ROUND_US: u64 = 2_000_000;

/// Beside its rate: reads and timers that come late, and the snapshot that mends, in microseconds.
const SLACK_US: u64 = 30_000_000;

/// Rot that a node has to find.
pub(super) struct Scrubbing {
    node: usize,
    file: FileName,
    sector: u64,
    until: u64,
}

impl World<'_> {
    /// A sector of one node goes bad, once, if there is one that its scrubbing reads soon. True if so.
    pub(super) fn begins_scrubbing(&mut self) -> bool {
        let rate = self.schedule.cluster.scrub_bytes_per_second;
        if rate == 0 || std::mem::replace(&mut self.scrubbed, true) {
            return false;
        }
        let node = Stream::new(self.schedule.seed, "scrubbing").below(self.nodes.len() as u64) as usize;
        let Some((file, sector, bytes)) = self.nodes[node].disk.strike_cold() else { return false };
        let round_us = bytes * 1_000_000 / rate;
        if round_us > ROUND_US || self.gave_up(node, file) {
            self.nodes[node].disk.heal();
            return false;
        }
        self.note(Place::Node(node), "ROTS", || file.to_string());
        // It may have gone bad just behind what is being read.
        let until = self.now + 2 * round_us + SLACK_US;
        self.scrubbing = Some(Scrubbing { node, file, sector, until });
        true
    }

    /// Whether a node rightly uses a snapshot no more: it was shown damage in it since its start, and needed it no longer. The file lies
    /// there until the next one, and nothing reads it. The node's word alone is not enough.
    fn gave_up(&self, node: usize, file: FileName) -> bool {
        let FileName::Snapshot(index) = file else { return false };
        let process = &self.nodes[node];
        let in_use = process.seen.as_ref().and_then(|seen| seen.snapshot);
        let evidence = &process.disk.evidence;
        in_use != Some(Index(index)) && (evidence.shown.contains(&file) || evidence.unread)
    }

    /// Whether it takes too long.
    pub(super) fn watch_scrubbing(&mut self) {
        let Some(it) = &self.scrubbing else { return };
        if self.now > it.until {
            let what = format!(
                "node {} scrubs, and did not find or mend bad sector {} of {}",
                it.node + 1,
                it.sector,
                it.file
            );
            self.fail("scrub", what);
        }
    }

    /// A snapshot is durable on a node: it may have taken the place of the bad sector.
    pub(super) fn snapshot_taken(&mut self, node: usize) {
        let disk = &mut self.nodes[node].disk;
        let mended = |it: &mut Scrubbing| it.node == node && !disk.is_bad_cold(it.file, it.sector);
        if self.scrubbing.take_if(mended).is_some() {
            self.probes.world(WorldProbe::ColdSectorMended, 1);
            self.nodes[node].disk.heal();
        }
    }
}
