//! Draws surges of load: in some runs clients ask tenfold for a while, of nodes that each input keeps busy.

use crate::fault::{Fault, FaultKind};
use crate::rng::Stream;

/// How often a run has some, in a million.
const SURGED_PPM: u32 = 150_000;

/// The surges of a run.
pub(super) fn surges(stream: &mut Stream, safety_us: u64) -> Vec<Fault> {
    if !stream.chance(SURGED_PPM) {
        return Vec::new();
    }
    let count = stream.between(1, 2);
    (0..count)
        .map(|_| {
            let at_us = stream.between(safety_us / 20, safety_us - safety_us / 10);
            let (cost_us, for_us) = (stream.magnitude(100, 4_000), stream.magnitude(200_000, 2_000_000));
            Fault { at_us, what: FaultKind::Surge { times: 10, cost_us, for_us } }
        })
        .collect()
}
