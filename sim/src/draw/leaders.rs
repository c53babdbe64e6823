//! Draws what befalls leaders: that only their followers can't hear them, that they follow one another fast, that the node to which one hands over
//! is away just then, and whether they answer reads on a lease.

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

/// Terms that follow one another so fast that each leaves entries on few nodes (Raft paper, figure 8).
pub(super) fn succession(stream: &mut Stream, cluster: &Cluster, from_us: u64, faults: &mut Vec<Fault>) {
    let mut at_us = from_us;
    if stream.chance(500_000) {
        // What one node says reaches another only terms later.
        let (from, to) =
            (stream.between(1, cluster.nodes.into()) as u16, stream.between(1, cluster.nodes.into()) as u16);
        let for_us = cluster.election_us * stream.between(4, 30);
        let cut = Cut::Links(if from == to { vec![] } else { vec![(from, to)] });
        let what = FaultKind::Partition { cut, for_us, flap_us: 0, clients: false, held: true };
        faults.push(Fault { at_us, what });
    }
    for _ in 0..stream.below(3) {
        at_us = figure_eight(stream, cluster.election_us, at_us, faults);
    }
    for _ in 0..stream.between(1, 8) {
        let who = Who::Leader;
        let for_us = cluster.election_us * stream.between(1, 6);
        let what = match stream.below(10) {
            0..5 => {
                let cut = Cut::Isolate(who);
                let held = stream.chance(200_000);
                FaultKind::Partition { cut, for_us, flap_us: 0, clients: false, held }
            }
            _ => FaultKind::CrashAt {
                who,
                point: *stream.pick(&[Point::PeerSent, Point::SyncDone, Point::Committed, Point::Committed]),
                nth: stream.magnitude(1, 12) as u32,
                power: stream.chance(300_000),
                all: false,
                down_us: for_us,
            },
        };
        faults.push(Fault { at_us, what });
        at_us += cluster.election_us * stream.between(1, 4);
    }
}

/// The history of figure 8: a leader is cut off with entries of its own, the next as it is elected; then the first comes
/// back, and stops as it commits. Returns when the pattern is over.
fn figure_eight(stream: &mut Stream, election_us: u64, from_us: u64, faults: &mut Vec<Fault>) -> u64 {
    let mut some = |low, high| election_us * stream.between(low, high) / 4;
    let (first_us, second_us, down_us) = (some(6, 20), some(12, 32), some(4, 24));
    let (second_at, third_at) = (from_us + some(0, 4), from_us + some(4, 8));
    let cut = Cut::Isolate(Who::Leader);
    let first = FaultKind::Partition { cut, for_us: first_us, flap_us: 0, clients: false, held: false };
    let second = FaultKind::CutAt { who: Who::All, point: Point::Elected, nth: 1, for_us: second_us };
    let (point, power) = (Point::Committed, stream.chance(300_000));
    let third = FaultKind::CrashAt { who: Who::All, point, nth: 1, power, all: false, down_us };
    faults.extend([
        Fault { at_us: from_us, what: first },
        Fault { at_us: second_at, what: second },
        Fault { at_us: third_at, what: third },
    ]);
    from_us + first_us.max(second_us) + down_us
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
