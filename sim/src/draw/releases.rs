//! Draws upgrades: in some runs all nodes begin with an older release, and get the newest one by one, in the middle of everything else.
//! Some go back to the older one meanwhile.

use steadfast_core::state::effect::FEATURE_LEVEL;

use crate::fault::{Fault, FaultKind, Who};
use crate::rng::Stream;
use crate::schedule::Cluster;

/// How often a run begins with an older release, in a million.
const UPGRADED_PPM: u32 = 120_000;

/// The releases of a run.
pub(super) fn upgrade(stream: &mut Stream, cluster: &mut Cluster, safety_us: u64) -> Vec<Fault> {
    if !stream.chance(UPGRADED_PPM) {
        return Vec::new();
    }
    // With what the first level has, a run shows little.
    let old = if stream.chance(850_000) { FEATURE_LEVEL - 1 } else { 1 };
    cluster.founded_at_level = Some(old);
    // Most are through with it while there is time left for what the new level brings.
    let within = if stream.chance(700_000) { safety_us / 2 } else { safety_us };
    let mut fault = |node, known, within| {
        let (who, down_us) = (Who::Node(node), stream.magnitude(20_000, 500_000));
        Fault { at_us: stream.below(within), what: FaultKind::Release { who, known, down_us } }
    };
    let mut faults: Vec<Fault> = (1..=cluster.nodes).map(|node| fault(node, FEATURE_LEVEL, within)).collect();
    let back = (1..=cluster.nodes).map(|node| fault(node, old, safety_us));
    let back: Vec<Fault> = back.collect();
    for fault in back {
        if stream.chance(250_000) {
            faults.push(fault);
        }
    }
    faults
}
