//! Draws what befalls leaders beside all else: that only their followers can't hear them, that the node to which one hands over is away just then, and
//! whether they answer reads on a lease.

use crate::clock::MAX_DRIFT_PPM;
use crate::fault::{Cut, Fault, FaultKind, Point, Who};
use crate::rng::Stream;
use crate::schedule::Cluster;

/// How often leaders answer reads on a lease in runs of several nodes, in a million.
const LEASES_PPM: u32 = 300_000;

/// Leaders that are cut off from the others, and not from their clients: what they answer ahead is lost.
pub(super) fn lonely(stream: &mut Stream, cluster: &Cluster, safety_us: u64) -> Vec<Fault> {
    let times = if cluster.nodes > 2 { stream.between(1, 5) } else { 0 };
    (0..times)
        .map(|_| {
            let (cut, for_us) = (Cut::Isolate(Who::Leader), cluster.election_us * stream.between(2, 8));
            let what = FaultKind::Partition { cut, for_us, flap_us: 0, clients: false, held: false };
            Fault { at_us: stream.below(safety_us), what }
        })
        .collect()
}

/// In some runs leaders answer reads on leases, by clocks that keep to their bound.
pub(super) fn leases(stream: &mut Stream, cluster: &mut Cluster, faults: &mut [Fault]) {
    if cluster.nodes > 1 && stream.chance(LEASES_PPM) {
        cluster.clock_bound_ppm = Some(MAX_DRIFT_PPM as u32);
        faults.iter_mut().for_each(|fault| keep_clocks_going(&mut fault.what));
    }
}

/// A machine whose monotonic clock stands while the world goes on is off by more than anybody can vouch for.
fn keep_clocks_going(what: &mut FaultKind) {
    if let FaultKind::Pause { suspended, .. } | FaultKind::PauseAt { suspended, .. } = what {
        *suspended = false;
    }
}

/// Nodes that are gone, cut off or at a stand just when the leadership is to become theirs.
pub(super) fn missed_transfers(stream: &mut Stream, cluster: &Cluster, safety_us: u64) -> Vec<Fault> {
    let times = stream.between(2, 6);
    let one = |_| {
        let (who, point, nth) = (Who::All, Point::TransferBegun, stream.between(1, 3) as u32);
        let for_us = cluster.election_us * stream.between(2, 8);
        let what = match stream.below(3) {
            0 => FaultKind::CutAt { who, point, nth, for_us },
            1 => FaultKind::PauseAt { who, point, nth, for_us, suspended: false },
            _ => {
                let power = stream.chance(500_000);
                FaultKind::CrashAt { who, point, nth, power, all: false, down_us: for_us }
            }
        };
        Fault { at_us: stream.below(safety_us), what }
    };
    (0..times).map(one).collect()
}

/// Leaders that are cut off with a change of the members in their logs of which nobody has heard.
pub(super) fn lonely_changes(stream: &mut Stream, cluster: &Cluster, safety_us: u64) -> Vec<Fault> {
    // Most steps are asked for soon.
    let times = stream.between(1, 5);
    let one = |_| {
        let (who, point, nth) = (Who::All, Point::MembersChanged, stream.between(1, 3) as u32);
        let for_us = cluster.election_us * stream.between(3, 8);
        Fault { at_us: stream.below(safety_us / 2), what: FaultKind::CutAt { who, point, nth, for_us } }
    };
    (0..times).map(one).collect()
}
