//! Stories of disks that fail: what the node must notice, and what lies outside the fault budget.

use steadfast_sim::draw;
use steadfast_sim::fault::{Fault, FaultKind, FileClass, Point, Who};
use steadfast_sim::run::{self, Outcome, Verdict};
use steadfast_sim::schedule::Schedule;

/// The calm runs of clusters of this size among the first seeds, long enough for a few faults.
fn calm(nodes: u16) -> impl Iterator<Item = Schedule> {
    let drawn = (0..400).map(draw::schedule);
    drawn.filter(move |run| run.cluster.nodes == nodes && run.safety_us > 2_000_000).map(|mut run| {
        run.faults.clear();
        run.cluster.damaged_at_most = 1;
        run
    })
}

/// A run with these faults, each at so many milliseconds before the end of the safety phase.
fn with(mut run: Schedule, faults: Vec<(u64, FaultKind)>) -> Schedule {
    let at = |before_ms| run.safety_us - before_ms * 1_000;
    run.faults = faults.into_iter().map(|(before, what)| Fault { at_us: at(before), what }).collect();
    // As a hand would: saved, edited, loaded.
    Schedule::from_json(&run.to_json()).unwrap()
}

fn probe(outcome: &Outcome, name: &str) -> u64 {
    outcome.probes.list().into_iter().find(|(probe, _)| probe == name).map_or(0, |(_, count)| count)
}

fn stop(node: u16, power: bool) -> FaultKind {
    FaultKind::Crash { who: Who::Node(node), power, down_us: 5_000 }
}

const ONE: Who = Who::Node(1);

#[test]
fn drawn_runs_stay_within_their_budget() {
    for seed in 0..300 {
        let schedule = draw::schedule(seed);
        let (nodes, declared) = (usize::from(schedule.cluster.nodes), &schedule.cluster);
        let minority = (nodes - 1) / 2;
        assert!(
            usize::from(declared.damaged_at_most) <= minority.max(usize::from(nodes == 1)),
            "seed {seed}"
        );
        let budget = run::listened(&schedule, &mut |_| {}, u64::MAX).0.budget;
        assert!(budget.exceeded.is_empty(), "seed {seed}: {:?}", budget.exceeded);
        assert!(budget.damaged.len() <= usize::from(declared.damaged_at_most), "seed {seed}");
        assert!(budget.wiped.len() <= usize::from(declared.wiped_at_most), "seed {seed}");
        assert!(budget.spent().len() <= minority || nodes == 1, "seed {seed}: {:?}", budget.spent());
        assert!(budget.liars.is_empty() || nodes.is_multiple_of(2), "seed {seed}: {:?}", budget.liars);
    }
}

#[test]
fn a_node_alone_refuses_a_rotten_log_and_has_everything_once_its_disk_is_mended() {
    let rot = FaultKind::Rot { who: ONE, files: FileClass::Log, sectors: 4, bits: 9 };
    let found = calm(1).take(8).filter(|run| {
        let outcome = run::once(&with(run.clone(), vec![(900, rot.clone()), (800, stop(1, true))]));
        // A refusal that blames another file is a fault of the core, and not this test's business.
        let passed = outcome.verdict == Verdict::Passed || outcome.verdict.judge() == Some("halt");
        assert!(passed, "seed {}: {}", run.seed, outcome.verdict);
        probe(&outcome, "DamageFound") > 0
    });
    assert!(found.count() >= 3, "rot in a log is found at the next start");
}

#[test]
fn a_node_that_cannot_read_its_disk_stops_and_the_operator_mends_it() {
    let unreadable = FaultKind::ReadError { who: ONE, files: FileClass::Hard, sectors: 2 };
    let run = calm(3).next().unwrap();
    let outcome = run::once(&with(run, vec![(900, unreadable), (800, stop(1, false))]));
    assert_eq!(outcome.verdict, Verdict::Passed);
    assert!(probe(&outcome, "ReadErrorHit") > 0);
}

#[test]
fn an_old_image_is_told_so_by_the_others_and_nothing_is_lost() {
    let image = FaultKind::OldImage { who: ONE, age_us: 600_000, down_us: 10_000 };
    let quarantined = calm(3).take(6).filter(|run| {
        let outcome = run::once(&with(run.clone(), vec![(900, image.clone()), (700, stop(1, false))]));
        assert_eq!(outcome.verdict, Verdict::Passed, "seed {}", run.seed);
        probe(&outcome, "OldImageQuarantined") > 0
    });
    assert!(quarantined.count() >= 3, "old images are put back");
}

#[test]
fn a_full_disk_stops_a_node_and_it_goes_on_when_there_is_room() {
    let full = FaultKind::DiskFull { who: ONE, left: 900, overwrites: true, for_us: 300_000 };
    for run in calm(1).take(4) {
        let outcome = run::once(&with(run.clone(), vec![(900, full.clone())]));
        assert_eq!(outcome.verdict, Verdict::Passed, "seed {}", run.seed);
    }
}

#[test]
fn an_operation_that_stalls_for_a_minute_is_over_when_the_faults_are() {
    let stall = FaultKind::StallOp { who: Who::All, nth: 3, for_us: 60_000_000 };
    let outcome = run::once(&with(calm(3).next().unwrap(), vec![(900, stall)]));
    assert_eq!(outcome.verdict, Verdict::Passed);
}

/// All disks lie, and all machines lose their power.
fn lies() -> Vec<(u64, FaultKind)> {
    let lie = FaultKind::LyingSync { who: Who::All, for_us: 2_000_000 };
    vec![(1_500, lie), (300, FaultKind::Crash { who: Who::All, power: true, down_us: 5_000 })]
}

#[test]
fn where_two_quorums_share_one_node_a_liar_keeps_its_power() {
    for run in calm(3).take(6) {
        let outcome = run::once(&with(run.clone(), lies()));
        assert_eq!(outcome.verdict, Verdict::Passed, "seed {}", run.seed);
        assert_eq!(probe(&outcome, "LiarLostPower"), 0);
    }
}

/// The verdicts of some runs beyond the budget, of which at least one must say so.
fn beyond(nodes: u16, faults: &[(u64, FaultKind)], reason: &str) {
    let mut said = 0;
    for mut run in calm(nodes).take(10) {
        run.cluster.beyond_budget = true;
        match run::once(&with(run.clone(), faults.to_vec())).verdict {
            Verdict::Inconclusive(why) => {
                assert!(why.starts_with("outside the fault budget") && why.contains(reason), "{why}");
                said += 1;
            }
            verdict => assert_eq!(verdict, Verdict::Passed, "seed {}", run.seed),
        }
    }
    assert!(said > 0, "a run beyond the budget that loses nothing is no control");
}

#[test]
fn liars_that_lose_their_power_beyond_the_budget_lose_what_was_acknowledged_and_the_run_says_so() {
    beyond(3, &lies(), "lying sync");
    beyond(1, &lies(), "lying sync");
}

#[test]
fn a_lost_write_of_the_newest_batch_is_beyond_the_budget_and_the_run_says_so() {
    let lost = FaultKind::LoseWrite { who: ONE, files: FileClass::Log, nth: 1 };
    let stop = |down_us| FaultKind::CrashAt {
        who: ONE,
        point: Point::AfterReply,
        nth: 2,
        power: false,
        all: false,
        down_us,
    };
    let faults: Vec<(u64, FaultKind)> =
        (1..20).flat_map(|n| [(2_000 - n * 100, lost.clone()), (2_000 - n * 100, stop(n))]).collect();
    beyond(1, &faults, "unmarked window");
}

#[test]
fn declaring_a_majority_is_beyond_the_budget_and_a_failure_then_says_so() {
    let mut run = calm(3).next().unwrap();
    run.cluster.damaged_at_most = 2;
    run.bounds.leader_us = 0;
    let rot = |node| FaultKind::Rot { who: Who::Node(node), files: FileClass::Hard, sectors: 1, bits: 1 };
    let down = FaultKind::Crash { who: Who::All, power: false, down_us: 9_000_000 };
    let mut faults = vec![(900, rot(1)), (900, rot(2)), (1, down)];
    let verdict = run::once(&with(run.clone(), faults.clone())).verdict;
    let Verdict::Inconclusive(why) = verdict else { panic!("{verdict}") };
    assert!(why.contains("cluster.damaged_at_most is 2") && why.contains("liveness"), "{why}");
    faults.remove(1);
    assert_eq!(run::once(&with(run, faults)).verdict.judge(), Some("liveness"), "one of three is a minority");
}
