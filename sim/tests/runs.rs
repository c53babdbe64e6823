//! Whole runs of the simulator: they pass, repeat, stop where asked, and fail when they must.

use std::time::Duration;

use steadfast_sim::run::{self, Verdict};
use steadfast_sim::schedule::Schedule;
use steadfast_sim::world::Phase;
use steadfast_sim::{draw, history, judge, shrink};

fn calm(seed: u64) -> Schedule {
    let mut schedule = draw::schedule(seed);
    schedule.faults.clear();
    schedule
}

/// A schedule that fails whatever the database does: nobody elects a leader in no time.
fn hopeless(seed: u64) -> Schedule {
    let mut schedule = draw::schedule(seed);
    schedule.bounds.leader_us = 0;
    schedule.faults.push(steadfast_sim::fault::Fault {
        at_us: schedule.safety_us - 1,
        what: steadfast_sim::fault::FaultKind::Crash {
            who: steadfast_sim::fault::Who::All,
            power: true,
            down_us: 10_000_000,
        },
    });
    schedule
}

#[test]
fn drawn_runs_pass_and_their_repetition_has_the_same_trace() {
    for seed in 0..12 {
        let outcome = run::twice(&draw::schedule(seed));
        assert_eq!(outcome.verdict, Verdict::Passed, "seed {seed}");
        assert!(outcome.ops > 0 && outcome.events > 0);
    }
}

/// Runs of three nodes that answer reads on leases, with clocks of these rates, whose leaders are cut off again and again.
fn leased(rates: [i32; 3]) -> impl Iterator<Item = Schedule> {
    use steadfast_sim::fault::{Cut, Fault, FaultKind, Who};
    (0..).map(draw::schedule).filter(|run| run.cluster.nodes == 3).map(move |mut run| {
        run.cluster.clock_bound_ppm = Some(500);
        run.cluster.wild_clocks = rates.iter().any(|rate| rate.abs() > 500);
        for (clock, rate) in run.cluster.clocks.iter_mut().zip(rates) {
            clock.drift_ppm = rate;
        }
        let (span, election_us) = (run.safety_us / 16, run.cluster.election_us);
        let cut = |nth| {
            let (cut, for_us) = (Cut::Isolate(Who::Leader), election_us * 6);
            let what = FaultKind::Partition { cut, for_us, flap_us: 0, clients: false, held: false };
            Fault { at_us: span * nth, what }
        };
        run.faults = (1..16).map(cut).collect();
        run
    })
}

/// Runs without other faults whose last second is a surge, after which clients have three seconds for their last operations; how often
/// something of a client waited for long.
fn surged(cost_us: u64) -> u64 {
    use steadfast_sim::fault::{Fault, FaultKind};
    let runs = (0..).map(calm).filter(|run| run.cluster.nodes == 3).take(8);
    let waited = runs.map(|mut run| {
        let at_us = run.safety_us.saturating_sub(1_000_000);
        let what = FaultKind::Surge { times: 10, cost_us, for_us: 10_000_000 };
        run.faults.push(Fault { at_us, what });
        (run.bounds.leader_us, run.bounds.clients_us) = (2_000_000, 3_000_000);
        let outcome = run::twice(&run);
        assert_eq!(outcome.verdict, Verdict::Passed, "seed {}", run.seed);
        let probes = outcome.probes.list();
        let count = |wanted: &str| probes.iter().find(|(name, _)| name == wanted).expect("a probe").1;
        assert_eq!(count("LoadSurge"), 1);
        count("RequestWaitedLong")
    });
    waited.sum()
}

#[test]
fn after_a_surge_clients_get_their_operations_through_in_bounded_time() {
    assert!(surged(4_000) > 0, "nothing waited: that was no surge");
    assert_eq!(surged(0), 0, "where nothing costs anything nothing waits");
}

/// The bound is what a lease rests on (Raft thesis, section 6.4.1): within it no read is stale, and past it the judge finds one.
#[test]
fn a_lease_hides_no_write_while_clocks_keep_to_their_bound_and_does_when_they_do_not() {
    for run in leased([500, -500, 500]).take(12) {
        let outcome = run::once(&run);
        assert_eq!(outcome.verdict, Verdict::Passed, "seed {}", run.seed);
    }
    let stale = |run: Schedule| match run::once(&run).verdict {
        Verdict::Failed { judge, what } => {
            judge == "receipts" && what.contains("reported before it was invoked")
        }
        _ => false,
    };
    assert!(leased([-450_000, 450_000, 450_000]).take(200).any(stale), "no stale read was found");
}

#[test]
fn a_calm_run_passes_without_a_fault() {
    let outcome = run::once(&calm(3));
    assert_eq!((outcome.verdict, outcome.faults), (Verdict::Passed, 0));
}

#[test]
fn runs_of_different_seeds_have_different_traces() {
    assert_ne!(run::once(&calm(1)).hash, run::once(&calm(2)).hash);
}

#[test]
fn a_saved_schedule_is_the_same_run_as_its_seed() {
    let drawn = draw::schedule(7);
    let saved = Schedule::from_json(&drawn.to_json()).unwrap();
    assert_eq!(run::once(&drawn).hash, run::once(&saved).hash);
}

#[test]
fn removing_a_fault_leaves_what_came_before_it_as_it_was() {
    let with = draw::schedule(7);
    let mut without = with.clone();
    let gone = without.faults.pop().expect("seed 7 has faults");
    let until = |schedule: &Schedule| {
        let mut lines = Vec::new();
        let mut listener =
            |line: steadfast_sim::trace::Line| lines.push((line.time_us, line.what, line.detail));
        let _ = run::listened(schedule, &mut listener, u64::MAX);
        lines.retain(|(time_us, ..)| *time_us < gone.at_us);
        lines
    };
    assert_eq!(until(&with), until(&without));
}

#[test]
fn a_run_stops_at_the_event_that_it_is_asked_to() {
    let (remains, verdict) = run::listened(&draw::schedule(1), &mut |_| {}, 500);
    assert!((500..520).contains(&remains.events), "{}", remains.events);
    assert_eq!(remains.phase, Phase::Safety);
    assert!(matches!(verdict, Verdict::Inconclusive(_)));
}

#[test]
fn a_cluster_that_does_not_come_to_rest_in_time_fails() {
    let verdict = run::once(&hopeless(1)).verdict;
    assert_eq!(verdict.judge(), Some("liveness"), "{verdict}");
}

#[test]
fn a_run_that_uses_up_its_events_in_the_safety_phase_is_inconclusive() {
    let mut schedule = draw::schedule(1);
    schedule.bounds.events = 300;
    assert!(matches!(run::once(&schedule).verdict, Verdict::Inconclusive(_)));
}

#[test]
fn shrinking_keeps_the_judge_and_drops_what_has_no_part_in_it() {
    // No client can complete anything in no time: it takes neither faults nor operations to fail.
    let mut large = draw::schedule(1);
    large.bounds.clients_us = 0;
    let (small, tried) = shrink::shrink(&large, Duration::from_secs(20), &mut |_| {}).unwrap();
    assert_eq!(run::once(&small).verdict.judge(), Some("liveness"));
    assert!(tried > 1 && small.faults.is_empty(), "{}", shrink::size(&small));
    assert!(small.clients.iter().all(|client| client.ops.is_empty()));
    assert!(shrink::shrink(&calm(3), Duration::from_secs(5), &mut |_| {}).is_err(), "nothing fails there");
}

#[test]
fn a_history_survives_its_file_and_is_judged_without_a_log() {
    let records = run::once(&draw::schedule(5)).records;
    let mut file = Vec::new();
    history::json::write(&records, &mut file).unwrap();
    let read = history::json::read(&mut file.as_slice()).unwrap();
    assert_eq!(read, records);
    let (verdict, operations) = judge::history_alone(&read).unwrap();
    assert_eq!(verdict, Verdict::Passed);
    assert!(operations > 20);
}
