//! Draws what disks do beside crashes: damage, lies, no room, stalls. From a stream of its own, so that it leaves all
//! other faults of a seed as they are.
//!
//! Damage is only seen at a start, so most of it is followed by one. The budget is declared here and spent as faults
//! strike; most faults of a run therefore mean one node, or the second would find it spent.

use crate::fault::{Cut, Fault, FaultKind, FileClass, Point, Who};
use crate::rng::Stream;
use crate::schedule::Cluster;

/// The kinds that a run can switch on, with the chance of each in a million and the largest number per run.
const KINDS: [(Kind, u32, u64); 14] = [
    (Kind::Rot, 250_000, 3),
    (Kind::ReadError, 120_000, 2),
    (Kind::RollBack, 180_000, 3),
    (Kind::LoseWrite, 200_000, 4),
    (Kind::Misdirect, 200_000, 4),
    (Kind::OldImage, 250_000, 2),
    (Kind::Lie, 200_000, 2),
    (Kind::Full, 250_000, 2),
    (Kind::Stall, 250_000, 4),
    (Kind::Recycled, 400_000, 4),
    (Kind::Snapshot, 300_000, 4),
    (Kind::Behind, 200_000, 2),
    (Kind::Superseded, 200_000, 2),
    (Kind::Spoilt, 350_000, 6),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rot,
    ReadError,
    RollBack,
    LoseWrite,
    Misdirect,
    OldImage,
    Lie,
    Full,
    Stall,
    /// A machine loses its power while a recovery prepares its new segment, after earlier ones have freed theirs.
    Recycled,
    /// A machine loses its power while a snapshot is written or received, or just after.
    Snapshot,
    /// Those that are left are one whose log was damaged and some that are behind it.
    Behind,
    /// A write is lost that superseded what an old leader had.
    Superseded,
    /// A snapshot goes bad in a place or two, and its node starts again at once: the others may still have the same one.
    Spoilt,
}

/// How many nodes may be damaged: a minority, or the one that is alone.
pub(super) fn damaged_at_most(stream: &mut Stream, nodes: u16) -> u16 {
    let minority = if nodes == 1 { 1 } else { (nodes - 1) / 2 };
    let fewer = stream.below(u64::from(minority).max(1)) as u16;
    minority - fewer.min(minority)
}

/// What disks do in a run, in no order.
pub(super) fn faults(stream: &mut Stream, cluster: &Cluster, safety_us: u64) -> Vec<Fault> {
    // Where a liar may lose its power, it does: such clusters are rare.
    let even = cluster.nodes.is_multiple_of(2) && cluster.nodes > 2;
    let calm = stream.chance(350_000) && !even;
    let victim = Who::Node(stream.between(1, u64::from(cluster.nodes)) as u16);
    let mut faults = Vec::new();
    for (kind, ppm, most) in KINDS {
        let (on, count) = (stream.chance(ppm), stream.between(1, most));
        let on = on || (kind == Kind::Lie && even);
        if !on || calm {
            continue;
        }
        for _ in 0..count {
            let at_us = stream.between(safety_us / 50, safety_us - safety_us / 20);
            let who = if stream.chance(700_000) { victim } else { super::who(stream, cluster.nodes) };
            match kind {
                Kind::Behind => behind(stream, cluster, at_us, &mut faults),
                Kind::Superseded => superseded(stream, cluster, victim, at_us, &mut faults),
                _ => one(stream, kind, who, (at_us, safety_us), &mut faults),
            }
        }
    }
    faults
}

fn one(stream: &mut Stream, kind: Kind, who: Who, (at_us, safety_us): (u64, u64), faults: &mut Vec<Fault>) {
    let files = files(stream);
    let sectors = stream.magnitude(1, 8) as u16;
    let nth = stream.magnitude(1, if files == FileClass::Hard { 12 } else { 48 }) as u32;
    let for_us = stream.magnitude(20_000, 3_000_000);
    let (bits, draw) = (stream.magnitude(1, 64) as u16, stream.bits());
    let mut add = |at_us, what| faults.push(Fault { at_us, what });
    match kind {
        Kind::Rot => add(at_us, FaultKind::Rot { who, files, sectors, bits }),
        Kind::ReadError => add(at_us, FaultKind::ReadError { who, files, sectors }),
        Kind::RollBack => add(at_us, FaultKind::RollBack { who, files, sectors }),
        Kind::LoseWrite => add(at_us, FaultKind::LoseWrite { who, files, nth }),
        Kind::Misdirect => add(at_us, FaultKind::MisdirectWrite { who, files, nth }),
        Kind::OldImage => {
            let (age_us, down_us) = (stream.magnitude(safety_us / 64, safety_us / 2), for_us / 4);
            add(at_us, FaultKind::OldImage { who, age_us, down_us });
            // An image is only known to be old if the node was started since.
            let down_us = stream.magnitude(1_000, age_us / 4 + 1_000);
            add(at_us + age_us / 4, FaultKind::Crash { who, power: draw & 1 == 0, down_us });
            return;
        }
        Kind::Lie => {
            add(at_us, FaultKind::LyingSync { who, for_us });
            let down_us = stream.magnitude(1_000, 2_000_000);
            let after = stream.between(for_us / 4, for_us + for_us / 4);
            add(at_us + after, FaultKind::Crash { who, power: true, down_us });
            return;
        }
        Kind::Full => {
            let left = if draw % 5 == 0 { 0 } else { stream.magnitude(1, 64 << 10) };
            add(at_us, FaultKind::DiskFull { who, left, overwrites: draw & 1 == 0, for_us });
            // What then was written in part is only seen at a start.
            let (power, down_us) = (draw & 2 == 0, 1 + for_us / 8);
            let at_us = at_us + for_us / 4 * (1 + draw / 8 % 6);
            return add(at_us, FaultKind::Crash { who, power, down_us });
        }
        Kind::Recycled => return recycled(stream, who, at_us, for_us / 8, faults),
        Kind::Spoilt => return spoilt(stream, who, at_us, faults),
        Kind::Snapshot => return snapshot(stream, who, at_us, for_us / 8, faults),
        Kind::Behind | Kind::Superseded => unreachable!("these strike several nodes in turn"),
        Kind::Stall => {
            let (nth, for_us) = (stream.magnitude(1, 200) as u32, stream.magnitude(10_000, 60_000_000));
            return add(at_us, FaultKind::StallOp { who, nth, for_us });
        }
    }
    found(stream, who, at_us, faults);
}

fn recycled(stream: &mut Stream, who: Who, at_us: u64, down_us: u64, faults: &mut Vec<Fault>) {
    let nth = stream.between(1, 2) as u32;
    let again = FaultKind::CrashAt { who, point: Point::FileGrown, nth, power: true, all: false, down_us };
    faults.push(Fault { at_us, what: FaultKind::Crash { who, power: false, down_us: 1_000 } });
    faults.push(Fault { at_us, what: again });
}

fn snapshot(stream: &mut Stream, who: Who, at_us: u64, down_us: u64, faults: &mut Vec<Fault>) {
    // Behind a snapshot's last operation the log's first segments change or go.
    let point = *stream.pick(&[Point::SnapshotOp, Point::SnapshotOp, Point::DirChanged, Point::SyncDone]);
    let nth = stream.magnitude(1, 24) as u32;
    let what = FaultKind::CrashAt { who, point, nth, power: stream.chance(850_000), all: false, down_us };
    faults.push(Fault { at_us, what });
}

fn spoilt(stream: &mut Stream, who: Who, at_us: u64, faults: &mut Vec<Fault>) {
    let (files, sectors) = (FileClass::Other, stream.between(1, 3) as u16);
    let what = match stream.chance(300_000) {
        true => FaultKind::ReadError { who, files, sectors },
        false => FaultKind::Rot { who, files, sectors, bits: 8 },
    };
    faults.push(Fault { at_us, what });
    let down_us = stream.magnitude(1_000, 20_000);
    faults.push(Fault { at_us, what: FaultKind::Crash { who, power: stream.chance(300_000), down_us } });
}

/// Some nodes are cut off, perhaps with a leader; the others go on. Then one of these is damaged where its log was
/// written last, and starts again when all the others of them stop: what it has lost, and those that are left never
/// had, may be committed (CTRL, FAST '18, section 3.4).
fn behind(stream: &mut Stream, cluster: &Cluster, from_us: u64, faults: &mut Vec<Fault>) {
    let mut nodes: Vec<u16> = (1..=cluster.nodes).collect();
    let mut next = || nodes.swap_remove(stream.below(nodes.len() as u64) as usize);
    let minority = usize::from((cluster.nodes - 1) / 2);
    let cut: Vec<u16> = (0..minority).map(|_| next()).collect();
    let stopped: Vec<u16> = (0..minority).map(|_| next()).collect();
    let who = Who::Node(next());
    if minority == 0 {
        return;
    }
    let for_us = cluster.election_us * stream.between(3, 16);
    let held = stream.chance(200_000);
    let mut add = |at_us, what| faults.push(Fault { at_us, what });
    let what = FaultKind::Partition { cut: Cut::Split(cut), for_us, flap_us: 0, clients: false, held };
    add(from_us, what);
    let at_us = from_us + for_us - stream.below(cluster.election_us / 2);
    let (files, sectors) = (FileClass::Tail, stream.magnitude(1, 6) as u16);
    add(
        at_us,
        match stream.below(3) {
            0 => FaultKind::ReadError { who, files, sectors },
            1 => FaultKind::RollBack { who, files, sectors },
            _ => FaultKind::Rot { who, files, sectors, bits: 16 },
        },
    );
    let (power, down_us) = (stream.chance(500_000), stream.magnitude(1_000, cluster.election_us));
    add(at_us, FaultKind::Crash { who, power, down_us });
    for node in stopped {
        let down_us = cluster.election_us * stream.between(4, 30);
        add(at_us, FaultKind::Crash { who: Who::Node(node), power: false, down_us });
    }
    if stream.chance(300_000) {
        let (point, nth) = (Point::RepairOp, stream.magnitude(1, 12) as u32);
        add(at_us, FaultKind::CrashAt { who, point, nth, power: true, all: false, down_us });
    }
}

/// A node that may have led is cut off and comes back. One of its next writes is lost, with which the others' entries
/// take the place of its own; then it starts again.
fn superseded(stream: &mut Stream, cluster: &Cluster, node: Who, from_us: u64, faults: &mut Vec<Fault>) {
    let for_us = cluster.election_us * stream.between(3, 10);
    let down_us = stream.magnitude(1_000, cluster.election_us);
    let (leads, power) = (stream.chance(600_000), stream.chance(500_000));
    let (nth, more) = (stream.magnitude(1, 6) as u32, stream.between(1, 16));
    let own = stream.below(10) as u32;
    let mut add = |at_us, what| faults.push(Fault { at_us, what });
    let (who, files) = (if leads { Who::Leader } else { node }, FileClass::Log);
    if leads {
        // Who leads now is not known any more when it comes back: it first writes some entries of its own.
        let (nth, later) = (nth + own, nth + own + more as u32);
        add(from_us, FaultKind::LoseWrite { who, files, nth });
        add(
            from_us,
            FaultKind::CrashAt { who, point: Point::SyncDone, nth: later, power, all: false, down_us },
        );
    } else {
        let at_us = from_us + for_us;
        add(at_us, FaultKind::LoseWrite { who, files, nth });
        add(at_us + cluster.election_us * more / 4, FaultKind::Crash { who, power, down_us });
    }
    let cut = Cut::Isolate(who);
    add(from_us, FaultKind::Partition { cut, for_us, flap_us: 0, clients: false, held: false });
}

/// The start that finds damage, most of the time.
fn found(stream: &mut Stream, who: Who, at_us: u64, faults: &mut Vec<Fault>) {
    let (follows, power) = (stream.chance(750_000), stream.chance(500_000));
    let (after, down_us) = (stream.magnitude(1_000, 2_000_000), stream.magnitude(1_000, 1_000_000));
    let (at_once, nth) = (stream.chance(300_000), stream.magnitude(1, 24) as u32);
    if !follows {
        return;
    }
    let what = match at_once {
        // A write that has just been lost, and its sync is done.
        true => FaultKind::CrashAt { who, point: Point::SyncDone, nth, power, all: false, down_us },
        false => FaultKind::Crash { who, power, down_us },
    };
    faults.push(Fault { at_us: if at_once { at_us } else { at_us + after }, what });
    if stream.chance(400_000) {
        // Once more while the damaged log is written anew.
        let (point, nth) = (Point::RepairOp, stream.magnitude(1, 12) as u32);
        let power = stream.chance(700_000);
        faults
            .push(Fault { at_us, what: FaultKind::CrashAt { who, point, nth, power, all: false, down_us } });
    }
}

fn files(stream: &mut Stream) -> FileClass {
    match stream.below(10) {
        0..3 => FileClass::Log,
        3..5 => FileClass::Tail,
        5..7 => FileClass::Hard,
        7 => FileClass::Any,
        _ => FileClass::Other,
    }
}
