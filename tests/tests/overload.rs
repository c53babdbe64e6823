//! Too much at once, as real processes bear it: a follower that stands still costs its leader no memory and the others no time; and a
//! surge of ten times of what a cluster can do is refused in words, and is over when it is over.
//!
//! The machines that run this are noisy, and the bounds generous. What was measured is printed.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use steadfast_core::error::ErrorCode;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::load::read;
use steadfast_tests::pressure::{Outcome, Plan, load};
use steadfast_tests::process::Process;
use steadfast_tests::raw::RawClient;
use steadfast_tests::scratch::wait_for;
use steadfast_tests::standing::Standing;

/// What the leader's memory may grow by while a follower stands still, in MiB: the window of what is on its way to it, what a snapshot in
/// the making keeps, the log since the newest one, and what an allocator makes of that. What is written meanwhile is a multiple.
const GROWTH_MIB: u64 = 64;

fn resident_mib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("the process is there");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it says how much it holds");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn term(cluster: &Cluster, place: usize) -> i64 {
    let mut client = cluster.raw(place);
    wait_for("an answer to INFO", || Standing::ask(&mut client)).term
}

fn connections(cluster: &Cluster, place: usize, count: usize) -> Vec<RawClient> {
    (0..count).map(|_| cluster.raw(place)).collect()
}

fn plan(prefix: &str, bytes: usize, seconds: f64) -> Plan {
    Plan {
        prefix: prefix.into(),
        keys: 0,
        bytes,
        rate: None,
        window: 8,
        time: Duration::from_secs_f64(seconds),
        deadline_ms: 1000,
    }
}

/// Each test wants the machine for itself.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_follower_that_stands_still_costs_the_leader_no_memory_and_the_others_no_time() {
    let _alone = alone();
    let mut cluster = Cluster::start_with("paused", |_, options| options.files(1 << 20, 8 << 20));
    let leader = cluster.leader();
    let paused = (leader + 1) % 3;
    let mut clients = connections(&cluster, leader, 4);
    let writes = |seconds| Plan { keys: 64, window: 4, deadline_ms: 5000, ..plan("paused", 4096, seconds) };
    let before = load(&mut clients, &writes(5.0));
    let term_before = term(&cluster, leader);
    let node = |place: usize| cluster.nodes[place].as_ref().expect("it runs");
    let resident = resident_mib(node(leader));

    node(paused).signal("STOP");
    let begun = Instant::now();
    let mut most = resident;
    let during = std::thread::scope(|scope| {
        let loaded = scope.spawn(|| load(&mut clients, &writes(20.0)));
        while !loaded.is_finished() {
            most = most.max(resident_mib(node(leader)));
            std::thread::sleep(Duration::from_millis(100));
        }
        loaded.join().expect("the load")
    });
    assert!(begun.elapsed() >= Duration::from_secs(20));
    node(paused).signal("CONT");
    let went_on = Instant::now();
    let mut there = cluster.raw(paused);
    let commit = wait_for("the leader's word", || Standing::ask(&mut cluster.raw(leader))).commit;
    wait_for("the follower to catch up", || {
        Standing::ask(&mut there).filter(|standing| standing.commit >= commit)
    });
    let (p99, p99_before) = (during.p99_from(Duration::ZERO), before.p99_from(Duration::ZERO));
    let mib = (during.ok.len() as u64 * 4096) >> 20;
    println!(
        "before: {before}, p99 {p99_before:?}; 20 s beside a follower that stands still: {during}, p99 {p99:?}, {mib} MiB written; \
         leader's memory {resident} MiB, at most {most}; caught up after {:?}",
        went_on.elapsed()
    );
    assert!(most < resident + GROWTH_MIB, "the leader holds {most} MiB, and held {resident}");
    assert!(p99 < 5 * p99_before + Duration::from_millis(50), "{p99:?} after {p99_before:?}");
    assert_eq!(during.failed.values().sum::<u64>() + during.silent, 0, "{during}");
    assert_eq!(term(&cluster, leader), term_before, "nobody else was elected");
    assert!(cluster.stop().iter().all(|code| *code == Some(0)));
}

/// What a cluster told those whom it could not serve.
fn is_in_words(outcome: &Outcome) -> bool {
    let told = [
        ErrorCode::Overloaded,
        ErrorCode::DeadlineExceeded,
        ErrorCode::TooManyRequests,
        // Of what was logged, or handed on, when its time was up; and of what came behind that before it was known.
        ErrorCode::TimedOut,
        ErrorCode::AfterIndeterminate,
    ];
    outcome.silent == 0 && outcome.unadvised == 0 && outcome.failed.keys().all(|code| told.contains(code))
}

/// One surge. Whether the leader of before still leads: a machine on which others work may make it silent for long enough, but not each
/// time.
fn surge(cluster: &mut Cluster, number: u32) -> bool {
    let leader = cluster.leader();
    let mut clients = connections(cluster, leader, 24);
    let term_before = term(cluster, leader);
    let plan = |name, seconds| plan(&format!("{name}{number}"), 1024, seconds);
    drop(load(&mut clients, &plan("warm", 1.0)));
    let closed = load(&mut clients, &plan("capacity", 3.0));
    let capacity = closed.ok.len() as f64 / 3.0;
    let at = |prefix, rate, seconds| Plan { rate: Some(rate), ..plan(prefix, seconds) };
    let before = load(&mut clients, &at("before", capacity / 2.0, 3.0));
    let surge = load(&mut clients, &at("surge", capacity * 10.0, 5.0));
    let ended = Instant::now();
    let after = load(&mut clients, &at("after", capacity / 2.0, 6.0));
    // Three seconds after the end of the surge all is as before.
    let late = Duration::from_secs(3);
    let (p99, p99_before) = (after.p99_from(late), before.p99_from(Duration::from_secs(1)));
    println!(
        "capacity {capacity:.0}/s; before: {before}, p99 {p99_before:?}; surge: {surge}; after: {after}, p99 {p99:?} from 3 s on, \
         {:?} since the surge",
        ended.elapsed()
    );
    assert!(is_in_words(&surge) && is_in_words(&after), "{surge}; {after}");
    assert!(surge.sent as f64 > capacity * 5.0 * 2.0, "no surge: {surge}");
    let stays = term(cluster, leader) == term_before;
    if stays {
        let expected = capacity / 2.0 * 3.0;
        let served = after.ok_from(late);
        assert!(served as f64 > expected * 0.95, "{served} of {expected:.0}: {after}");
        assert!(p99 < 5 * p99_before + Duration::from_millis(100), "{p99:?} after {p99_before:?}");
    }
    let written: Vec<String> = [surge, after].into_iter().flat_map(|outcome| outcome.written).collect();
    let values = read(&cluster.config(), &written);
    let lost = written.iter().filter(|key| values.get(*key).is_none_or(Option::is_none)).count();
    assert_eq!(lost, 0, "of {} acknowledged writes", written.len());
    stays
}

#[test]
fn a_surge_of_ten_times_the_capacity_is_refused_and_is_over_when_it_is_over() {
    let _alone = alone();
    let mut cluster = Cluster::start("surge");
    assert!((0..3).any(|number| surge(&mut cluster, number)), "the leader is deposed each time");
    assert!(cluster.stop().iter().all(|code| *code == Some(0)));
}
