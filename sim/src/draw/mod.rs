//! Draws a schedule from a seed. Swarm testing (Groce et al., 2012): every run switches kinds of faults on
//! and off and draws their rates, because a run with a little of everything never gets far into anything.
//!
//! Each part has a stream of its own, so that a change in how one is drawn leaves the others as they were.

mod disk;
mod leaders;
mod releases;
mod surges;
mod witness;

use crate::fault::{Cut, Fault, FaultKind, Point, Who};
use crate::rng::{Delay, Stream};
use crate::schedule::{Bounds, ClockSpec, Cluster, DiskSpec, LimitsSpec, NetworkSpec, Schedule, VERSION};
use crate::workload::{self, members};

/// The schedule of a seed.
#[must_use]
pub fn schedule(seed: u64) -> Schedule {
    let mut cluster = cluster(&mut Stream::new(seed, "draw cluster"));
    snapshots(&mut Stream::new(seed, "draw snapshots"), &mut cluster);
    witness::choose(&mut Stream::new(seed, "draw witness"), &mut cluster);
    let (setup, mut clients, safety_us) = workload::draw(&mut Stream::new(seed, "draw workload"), &cluster);
    let mut faults = faults(&mut Stream::new(seed, "draw faults"), &cluster, clients.len() as u16, safety_us);
    let mut members = Stream::new(seed, "draw members");
    let come_and_go = members::come_and_go(&mut members, &cluster) && cluster.witness.is_none();
    if come_and_go {
        cluster.wiped_at_most = 0;
        cluster.newcomers = members::newcomers(&mut members, &cluster);
        faults.retain(|fault| !members::destroys(&fault.what));
    } else {
        let mut disks = Stream::new(seed, "draw disk faults");
        cluster.damaged_at_most = disk::damaged_at_most(&mut disks, cluster.nodes);
        faults.extend(disk::faults(&mut disks, &cluster, safety_us));
        witness::spare(&cluster, &mut faults);
    }
    if come_and_go || faults.iter().any(|fault| members::destroys(&fault.what)) {
        members::steps(&mut members, &cluster, come_and_go, &mut clients);
    }
    if come_and_go && members.chance(700_000) {
        // So that changes and transfers are begun that the others never hear of.
        for _ in 0..6 {
            faults.extend(leaders::lonely(&mut members, &cluster, safety_us));
        }
        faults.extend(leaders::missed_transfers(&mut members, &cluster, safety_us));
    }
    if come_and_go {
        faults.extend(leaders::lonely_changes(&mut members, &cluster, safety_us));
    }
    if setup.iter().any(|op| op.args[0] == "DURABILITY") {
        faults.extend(leaders::lonely(&mut Stream::new(seed, "draw lonely leaders"), &cluster, safety_us));
    }
    if cluster.witness.is_none() {
        faults.extend(releases::upgrade(&mut Stream::new(seed, "draw releases"), &mut cluster, safety_us));
    }
    witness::alone(&mut Stream::new(seed, "draw nodes beside a witness"), &cluster, &mut faults, safety_us);
    witness::homes(&cluster, &mut clients);
    faults.extend(surges::surges(&mut Stream::new(seed, "draw surges"), safety_us));
    leaders::leases(&mut Stream::new(seed, "draw leases"), &mut cluster, &mut faults);
    faults.sort_by_key(|fault| fault.at_us);
    Schedule {
        version: VERSION,
        note: String::new(),
        seed,
        network: network(&mut Stream::new(seed, "draw network"), cluster.election_us),
        disk: disk_habits(&mut Stream::new(seed, "draw disk")),
        cluster,
        setup,
        clients,
        faults,
        safety_us,
        bounds: Bounds::default(),
    }
}

fn cluster(stream: &mut Stream) -> Cluster {
    let nodes = match stream.below(100) {
        0..10 => 1,
        // Even sizes are unusual, and the only ones in which half of the nodes is no majority.
        10..15 => 2,
        15..20 => 4,
        20..80 => 3,
        _ => 5,
    };
    let heartbeat_us = *stream.pick(&[10_000, 20_000, 50_000]);
    let segment_bytes = *stream.pick(&[8 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10]);
    let clocks = (0..nodes).map(|_| clock(stream)).collect();
    Cluster {
        nodes,
        segment_bytes,
        batch_bytes: *stream.pick(&[1 << 10, 4 << 10, 64 << 10]),
        heartbeat_us,
        election_us: heartbeat_us * stream.between(5, 8),
        snapshot_interval_bytes: u64::MAX,
        snapshot_block_bytes: 512,
        scrub_bytes_per_second: 0,
        idle_mark_us: *stream.pick(&[1_000, 5_000, 20_000]),
        access: stream.chance(600_000),
        compute: Delay { base_us: 200, jitter_us: 2_000, tail_ppm: 100_000, tail_us: 500_000 },
        timer: Delay {
            base_us: 0,
            jitter_us: if stream.chance(300_000) {
                heartbeat_us // a busy machine: what is due waits for its tick
            } else {
                stream.magnitude(1, heartbeat_us)
            },
            tail_ppm: if stream.chance(400_000) { 20_000 } else { 0 },
            tail_us: heartbeat_us * 2,
        },
        clocks,
        limits: limits(stream),
        restart_after_halt_us: stream.magnitude(20_000, 1_000_000),
        clock_bound_ppm: None,
        wild_clocks: false,
        newcomers: 0,
        witness: None,
        founded_at_level: None,
        wiped_at_most: (nodes - 1) / 2,
        damaged_at_most: 0,
        beyond_budget: false,
    }
}

/// Snapshots often enough that a short run has some, in blocks small enough that each has some.
fn snapshots(stream: &mut Stream, cluster: &mut Cluster) {
    let (taken, often) = (stream.chance(800_000), stream.magnitude(2 << 10, 64 << 10));
    if taken {
        cluster.snapshot_interval_bytes = often;
    }
    cluster.snapshot_block_bytes = *stream.pick(&[512, 512, 1024, 4096]);
    let (bounded, kept) = (stream.chance(300_000), stream.magnitude(256, 8 << 10));
    cluster.limits.kept_bytes = bounded.then_some(kept as usize);
    let (scrubbed, rate) = (stream.chance(600_000), stream.magnitude(8 << 10, 1 << 20));
    cluster.scrub_bytes_per_second = if scrubbed { rate } else { 0 };
}

fn clock(stream: &mut Stream) -> ClockSpec {
    let (drifts, off) = (stream.chance(500_000), stream.chance(500_000));
    let (drift_ppm, offset) = (stream.between_signed(-500, 500), stream.between_signed(-600_000, 600_000));
    ClockSpec {
        drift_ppm: if drifts { drift_ppm as i32 } else { 0 },
        wall_offset_ms: if off { offset } else { 0 },
    }
}

fn limits(stream: &mut Stream) -> LimitsSpec {
    let mut some = |ppm, low, high| {
        let (on, value) = (stream.chance(ppm), stream.magnitude(low, high));
        on.then_some(value)
    };
    let size = |value: Option<u64>| value.map(|value| value as usize);
    LimitsSpec {
        inflight_requests: size(some(100_000, 2, 16)),
        waiting_requests: size(some(120_000, 3, 64)),
        pending_bytes: size(some(120_000, 1 << 10, 64 << 10)),
        append_bytes: size(some(300_000, 256, 8 << 10)),
        append_entries: size(some(350_000, 1, 8)),
        inflight_appends: size(some(300_000, 1, 8)),
        session_window: some(200_000, 2, 16),
        session_ttl_ms: some(150_000, 500, 20_000),
        expiry_batch: size(some(300_000, 1, 4)),
        waiting_bytes: size(some(80_000, 64, 8 << 10)),
        kept_bytes: None,
        history_positions: some(250_000, 4, 300),
        history_bytes: size(some(150_000, 1 << 10, 64 << 10)),
        inflight_append_bytes: size(some(300_000, 64, 8 << 10)),
    }
}

fn network(stream: &mut Stream, election_us: u64) -> NetworkSpec {
    let base_us = stream.magnitude(50, election_us / 50);
    let tail_us = stream.magnitude(1_000, election_us * 2);
    let peer = Delay {
        base_us,
        jitter_us: base_us * stream.between(0, 3),
        tail_ppm: stream.magnitude(10, 20_000) as u32,
        tail_us,
    };
    let mut rate = |on_ppm, high| {
        let (on, ppm) = (stream.chance(on_ppm), stream.magnitude(100, high));
        if on { ppm as u32 } else { 0 }
    };
    NetworkSpec {
        peer,
        client: peer,
        loss_ppm: rate(400_000, 50_000),
        duplicate_ppm: rate(400_000, 100_000),
        reorder_ppm: rate(400_000, 200_000),
        split_ppm: rate(500_000, 500_000),
    }
}

fn disk_habits(stream: &mut Stream) -> DiskSpec {
    let sync_us = stream.magnitude(50, 24_000);
    let slow = stream.chance(300_000);
    let tail = |tail_us| (if slow { 5_000 } else { 0 }, tail_us);
    let delay =
        |base_us: u64, (tail_ppm, tail_us)| Delay { base_us, jitter_us: base_us * 2, tail_ppm, tail_us };
    let keep_ppm = *stream.pick(&[100_000, 300_000, 500_000, 800_000]);
    DiskSpec {
        queue: delay(5, tail(20_000)),
        write: delay(stream.magnitude(5, 500), tail(50_000)),
        sync: delay(sync_us, tail(300_000)),
        read: delay(stream.magnitude(5, 100), tail(20_000)),
        notice: delay(stream.magnitude(1, 100), tail(10_000)),
        keep_ppm,
        garbage_ppm: *stream.pick(&[0, 100_000, (1_000_000 - keep_ppm) / 2, (1_000_000 - keep_ppm) / 2]),
    }
}

/// The kinds of faults that a run can switch on, with the chance of each in a million and the largest
/// number per run.
const KINDS: [(Kind, u32, u64); 16] = [
    (Kind::Kill, 450_000, 8),
    (Kind::Power, 350_000, 6),
    (Kind::Blackout, 250_000, 3),
    (Kind::At, 700_000, 10),
    (Kind::Recovery, 250_000, 3),
    (Kind::Wipe, 150_000, 2),
    (Kind::Pause, 450_000, 6),
    (Kind::Partition, 600_000, 6),
    (Kind::Stale, 400_000, 4),
    (Kind::Succession, 200_000, 2),
    (Kind::Noise, 250_000, 3),
    (Kind::FailSync, 150_000, 2),
    (Kind::SlowDisk, 200_000, 3),
    (Kind::Clock, 300_000, 5),
    (Kind::Connection, 350_000, 6),
    (Kind::Client, 250_000, 4),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Kill,
    Power,
    Blackout,
    At,
    Recovery,
    Wipe,
    Pause,
    Partition,
    /// A leader that clients reach and its followers do not.
    Stale,
    /// Leader after leader stops or is cut off soon after its election, and comes back among the next ones.
    Succession,
    Noise,
    FailSync,
    SlowDisk,
    Clock,
    Connection,
    Client,
}

fn faults(stream: &mut Stream, cluster: &Cluster, clients: u16, safety_us: u64) -> Vec<Fault> {
    let calm = stream.chance(30_000);
    let mut faults = Vec::new();
    for (kind, ppm, most) in KINDS {
        // Where entries travel one by one, a leader can stop between any two of them.
        let ppm =
            if kind == Kind::Succession && cluster.limits.append_entries == Some(1) { 700_000 } else { ppm };
        let (on, count) = (stream.chance(ppm), stream.between(1, most));
        if !on || calm || (kind == Kind::Wipe && cluster.wiped_at_most == 0) {
            continue;
        }
        for _ in 0..count.min(if kind == Kind::Wipe { u64::from(cluster.wiped_at_most) } else { count }) {
            let at_us = stream.between(safety_us / 50, safety_us - safety_us / 20);
            one(stream, kind, cluster, clients, at_us, &mut faults);
        }
    }
    faults
}

fn one(
    stream: &mut Stream,
    kind: Kind,
    cluster: &Cluster,
    clients: u16,
    at_us: u64,
    faults: &mut Vec<Fault>,
) {
    let who = who(stream, cluster.nodes);
    let down_us = stream.magnitude(1_000, 4_000_000);
    let for_us = stream.magnitude(5_000, 3_000_000);
    let mut add = |what| faults.push(Fault { at_us, what });
    match kind {
        Kind::Kill => add(FaultKind::Crash { who, power: false, down_us }),
        Kind::Power => add(FaultKind::Crash { who, power: true, down_us }),
        Kind::Blackout => {
            let power = !stream.chance(150_000);
            add(FaultKind::Crash { who: Who::All, power, down_us });
        }
        Kind::At => add(crash_at(stream, who, down_us)),
        Kind::Recovery => {
            let power = stream.chance(600_000);
            add(FaultKind::Crash { who, power, down_us: down_us.min(200_000) });
            let (point, nth) = (Point::RecoveryOp, stream.magnitude(1, 24) as u32);
            add(FaultKind::CrashAt { who, point, nth, power, all: false, down_us });
        }
        Kind::Wipe => add(FaultKind::Wipe { who, down_us }),
        Kind::Pause => {
            // Long enough for another leader, and short enough for clients that still wait for the old one.
            let terms = cluster.election_us * stream.between(3, 14);
            let for_us = if stream.chance(600_000) { terms } else { for_us };
            let who = if stream.chance(500_000) { Who::Leader } else { who };
            let suspended = stream.chance(400_000);
            // With something under way, whose answers come while it stands still.
            let point = *stream.pick(&[Point::WriteIssued, Point::PeerSent, Point::SyncBegun]);
            let nth = stream.magnitude(1, 32) as u32;
            add(match stream.chance(500_000) {
                true => FaultKind::PauseAt { who, point, nth, for_us, suspended },
                false => FaultKind::Pause { who, for_us, suspended },
            });
        }
        Kind::Partition => {
            // Long enough for another leader, not so long that nothing else happens.
            let terms = cluster.election_us * stream.between(2, 12);
            let for_us = if stream.chance(500_000) { terms } else { for_us };
            add(partition(stream, who, cluster.nodes, for_us));
        }
        Kind::Stale => {
            // Others elect after one to two time-outs, and the old leader gives up after as many: what counts is
            // who is sooner.
            let for_us = match stream.chance(600_000) {
                true => cluster.election_us * stream.between(8, 20) / 8,
                false => cluster.election_us * stream.between(2, 8),
            };
            let cut =
                if stream.chance(700_000) { Cut::Isolate(Who::Leader) } else { Cut::Deafen(Who::Leader) };
            let held = stream.chance(500_000);
            add(FaultKind::Partition { cut, for_us, flap_us: 0, clients: false, held });
        }
        Kind::Succession => leaders::succession(stream, cluster, at_us, faults),
        Kind::Noise => add(FaultKind::Noise {
            loss_ppm: stream.magnitude(1_000, 400_000) as u32,
            duplicate_ppm: stream.magnitude(1_000, 300_000) as u32,
            reorder_ppm: stream.magnitude(1_000, 500_000) as u32,
            slow_us: stream.magnitude(100, cluster.election_us),
            for_us,
        }),
        Kind::FailSync => {
            let nth = stream.magnitude(1, 60) as u32;
            add(FaultKind::FailSync { who, nth, reboot: stream.chance(400_000) });
        }
        Kind::SlowDisk => {
            add(FaultKind::SlowDisk { who, by_us: stream.magnitude(10_000, 60_000_000), for_us })
        }
        Kind::Clock if stream.chance(500_000) => {
            add(FaultKind::WallJump { who, by_ms: stream.between_signed(-3_600_000, 3_600_000) });
        }
        Kind::Clock => add(FaultKind::Drift { who, ppm: stream.between_signed(-500, 500) as i32 }),
        Kind::Connection if stream.chance(600_000) => add(FaultKind::Reset { who }),
        Kind::Connection => add(FaultKind::HalfOpen { who }),
        Kind::Client => {
            let client = stream.below(u64::from(clients)) as u16;
            add(FaultKind::ClientCrash { client, down_us });
        }
    }
}

fn crash_at(stream: &mut Stream, who: Who, down_us: u64) -> FaultKind {
    // The points around the sync and the reply are where acknowledged data is lost, if it is.
    let favourites = [Point::SyncBegun, Point::SyncDone, Point::BeforeReply, Point::AfterReply];
    let any = Point::ALL[stream.below(Point::ALL.len() as u64 - 3) as usize];
    let point = if stream.chance(600_000) { *stream.pick(&favourites) } else { any };
    FaultKind::CrashAt {
        who,
        point,
        // Files grow, directories change, and leaders are elected or leave their office rarely.
        nth: stream.magnitude(
            1,
            if matches!(point, Point::DirChanged | Point::FileGrown | Point::Elected | Point::TransferBegun) {
                4
            } else {
                64
            },
        ) as u32,
        power: stream.chance(700_000),
        all: stream.chance(300_000),
        down_us,
    }
}

fn partition(stream: &mut Stream, who: Who, nodes: u16, for_us: u64) -> FaultKind {
    let cut = match stream.below(8) {
        0..3 => Cut::Isolate(who),
        3 => Cut::Mute(who),
        4 => Cut::Deafen(who),
        5 => Cut::Split((1..=nodes).filter(|_| stream.chance(500_000)).collect()),
        6 => Cut::Bridge(who),
        _ => {
            let links = (1..=nodes).flat_map(|from| (1..=nodes).map(move |to| (from, to)));
            Cut::Links(links.filter(|(from, to)| from != to && stream.chance(300_000)).collect())
        }
    };
    let flaps = stream.chance(250_000);
    let flap_us = stream.magnitude(5_000, 400_000);
    FaultKind::Partition {
        cut,
        for_us,
        flap_us: if flaps { flap_us } else { 0 },
        clients: stream.chance(300_000),
        held: stream.chance(300_000),
    }
}

fn who(stream: &mut Stream, nodes: u16) -> Who {
    let node = Who::Node(stream.between(1, u64::from(nodes)) as u16);
    match stream.below(10) {
        0..4 => Who::Leader,
        4 => Who::Follower,
        _ => node,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_draws_the_same_schedule_and_another_seed_another() {
        assert_eq!(schedule(42), schedule(42));
        assert_ne!(schedule(42), schedule(43));
    }

    #[test]
    fn every_drawn_schedule_is_valid_and_survives_saving() {
        for seed in 0..100 {
            let drawn = schedule(seed);
            drawn.validate().unwrap();
            let text = drawn.to_json();
            assert_eq!(Schedule::from_json(&text).unwrap(), drawn, "seed {seed}");
        }
    }

    #[test]
    fn the_ensemble_has_every_kind_of_fault_every_size_and_many_clients_on_few_keys() {
        let all: Vec<Schedule> = (0..300).map(schedule).collect();
        let kinds: std::collections::BTreeSet<&str> =
            all.iter().flat_map(|run| run.faults.iter().map(|fault| fault.what.name())).collect();
        assert_eq!(kinds.len(), 32, "{kinds:?}");
        for nodes in 1..=5 {
            assert!(all.iter().any(|run| run.cluster.nodes == nodes));
        }
        let crowded = all.iter().filter(|run| run.clients.len() >= 8).count();
        assert!(crowded >= 150, "{crowded} of 300 runs have eight clients or more");
        assert!(all.iter().any(|run| run.cluster.access) && all.iter().any(|run| !run.cluster.access));
    }

    #[test]
    fn a_broken_schedule_is_refused_with_its_fault() {
        let mut broken = schedule(1);
        broken.cluster.nodes = 9;
        assert!(broken.validate().unwrap_err().contains("cluster.nodes is 9"));
        let mut broken = schedule(1);
        broken.faults = vec![Fault { at_us: 7, what: FaultKind::Reset { who: Who::Node(8) } }];
        assert!(broken.validate().unwrap_err().contains("the fault at 7 names node 8"));
        assert!(Schedule::from_json("{}").unwrap_err().starts_with("not a schedule"));
    }
}
