//! Nodes whose clocks are apart, and leaders that change: cluster time goes on, and what has a time to live has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use steadfast::client::Value;
use steadfast::{Client, Config};
use steadfast_sim::check::expiry;
use steadfast_sim::history::History;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::process::Options;
use steadfast_tests::recording::Recording;
use steadfast_tests::scratch::{Scratch, wait_for};

use crate::three::others;
use crate::trial::{SOON, Trial, runtime};

const HOUR_MS: i64 = 3_600_000;
/// How far each node's wall clock is off, and the drift of its clocks: nearly as much as is promised to do no harm.
const CLOCKS: [(i64, i32); 3] = [(-5 * HOUR_MS, 900), (3 * HOUR_MS, -900), (40 * 24 * HOUR_MS, 0)];
/// How often the leader changes.
const CHANGES: u32 = 3;
/// How long keys and leases live.
const TTL: Duration = Duration::from_millis(1500);
/// In this time the slew must show; it needs some ten milliseconds, of a thousandth of it.
const MADE_GOOD: Duration = Duration::from_secs(60);
/// By how much a key may outlive its time, beside the time without a leader: a reader that looks, on a busy machine.
const LATE: Duration = Duration::from_secs(10);

#[test]
fn wall_clocks_hours_apart_end_nothing_early_and_time_never_goes_back() {
    let apart = |place: usize, options: Options| options.clocks(CLOCKS[place].0, CLOCKS[place].1);
    let mut trial = Trial::of(Cluster::start_with("clocks", apart));
    let keeper = Keeper::start(trial.config());
    for _ in 0..CHANGES {
        let (old, before) = (trial.leader(), trial.term());
        trial.cluster.kill(old);
        trial.leader_above(before, &others(old));
        trial.load.progress_of_all(SOON);
        trial.cluster.restart(old);
        trial.look_at(old);
    }
    let (keys, leases) = keeper.end();
    eprintln!("{keys} keys and {leases} leases ended");
    assert!(keys > 0 && leases > 0, "{keys} keys and {leases} leases ended");
    // The judges have looked for what ended early; these are the times in the receipts.
    let history = trial.end();
    let mut times: Vec<_> = history.ops.iter().filter_map(|op| op.receipt).collect();
    times.sort_unstable_by_key(|receipt| receipt.position);
    assert!(times.is_sorted_by_key(|receipt| receipt.time), "cluster time goes back");
    let machine =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later than 1970");
    let off = times[0].time.0 as i64 - machine.as_millis() as i64;
    let founder = CLOCKS.iter().find(|(wall, _)| off.abs_diff(*wall) < 600_000);
    assert!(founder.is_some(), "the cluster's time began with some node's clock, and is off by {off} ms");
}

/// The cluster's time falls behind whenever a leader is lost, and comes back by a thousandth. With the one that is wrong it would fall further.
#[test]
fn a_leader_whose_wall_clock_is_an_hour_slow_does_not_take_time_along_and_says_so() {
    let mut cluster = Cluster::start("hour");
    let (config, wrong) = (cluster.config(), others(cluster.leader())[0]);
    cluster.kill(wrong);
    cluster.change(wrong, |options| options.clocks(-HOUR_MS, 0));
    cluster.restart(wrong);
    cluster.make_leader(wrong);
    let ahead = || runtime().block_on(ahead(config.clone()));
    wait_for("the leader knows the others' clocks", || {
        cluster.info(wrong, "clocks").filter(|clocks| *clocks == Value::Bytes("agree".into()))
    });
    let (before, begun) = (ahead(), Instant::now());
    assert!(*before.end() < -20, "there is something to make good: {before:?}");
    let mut after = ahead();
    while after.start() <= before.end() {
        assert!(
            begun.elapsed() < MADE_GOOD,
            "time goes where the others' clocks are: {before:?}, then {after:?}"
        );
        after = ahead();
    }
    let span = begun.elapsed();
    assert_eq!(cluster.leader(), wrong, "nobody else has led meanwhile");
    eprintln!("time was ahead by {before:?} ms, and {span:?} later by {after:?} ms");
    let (most, moved) = (span.as_millis() as i64 / 1000 + 1, after.start() - before.end());
    assert!(moved <= most, "time is slewed by a thousandth at most: {before:?}, then {after:?}");
    says_so(&cluster, wrong);
}

/// By how many milliseconds the cluster's time is ahead of this machine's, at least and at most.
async fn ahead(config: Config) -> std::ops::RangeInclusive<i64> {
    let client = Client::connect(config).await.expect("the cluster is up");
    let machine = || std::time::UNIX_EPOCH.elapsed().expect("later than 1970").as_micros() as i64;
    let (mut least, mut most) = (i64::MIN, i64::MAX);
    for _ in 0..200 {
        let asked = machine();
        let answer =
            client.command(["SET", "clock", "read"]).await.expect("a client that tries again is served");
        let time = answer.receipt.expect("a write has one").time.0 as i64 * 1000;
        (least, most) = (least.max(time - machine()), most.min(time + 1000 - asked));
    }
    client.close().await;
    // The machine's clock may be slewed, too, while it is asked.
    least.div_euclid(1000).min(most.div_euclid(1000))..=(most + 999).div_euclid(1000)
}

/// INFO, of which `steadfast status` makes its table, and the log of the leader, whose own clock it is.
fn says_so(cluster: &Cluster, leader: usize) {
    let off = cluster.info(leader, "clocks_off");
    assert_eq!(off, Some(Value::Bytes((leader + 1).to_string().as_str().into())));
    let Some(Value::Int(apart)) = cluster.info(leader, "clocks_apart_ms") else { panic!("a number") };
    assert!((apart - HOUR_MS).abs() < 5_000, "{apart} ms apart");
    let behind = cluster.info(leader, "time_off_ms");
    assert!(matches!(behind, Some(Value::Int(..0))), "time is behind: {behind:?}");
    let log = cluster.nodes[leader].as_ref().expect("it runs").log_of_this_life();
    assert!(log.contains("outside of what a majority agrees on"), "the operator reads it in the log");
}

/// Whether the judges would notice: a clock that is fast by a tenth, far beyond what is promised.
#[test]
fn a_clock_that_is_much_too_fast_ends_keys_early_and_is_noticed() {
    let scratch = Scratch::new("fast");
    let server = Options::single(&scratch.join("data")).clocks(0, 100_000).start();
    let (user, password) = server.credentials();
    let recording = Recording::default();
    let config = Config::new([server.address.as_str()]).credentials(user.as_str(), password);
    runtime().block_on(async {
        let client = Client::connect(config.observer(recording.observer(1, &user))).await.expect("it is up");
        client.command(["SET", "key", "value", "PX", "1500"]).await.expect("set");
        while client.get("key").await.expect("answered").is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.set("other", "value").await.expect("set");
        client.close().await;
    });
    let history = History::from_records(&recording.records()).expect("the recording is a history");
    assert!(expiry::judge(&history).failed(), "a key that ended early is noticed");
    assert!(expiry::pace(&history).failed(), "time that runs too fast is noticed");
    assert_eq!(server.stop(), Some(0));
}

/// Somebody who makes keys with a time to live, and leases with keys on them, and watches them end.
struct Keeper {
    over: Arc<AtomicBool>,
    thread: JoinHandle<(u32, u32)>,
}

impl Keeper {
    fn start(config: Config) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let client = Client::connect(config).await.expect("the cluster is up");
                let ended = tokio::join!(keys(&client, &is_over), leases(&client, &is_over));
                client.close().await;
                ended
            })
        });
        Self { over, thread }
    }

    /// Waits for the end of what lives; how many keys and leases did.
    fn end(self) -> (u32, u32) {
        self.over.store(true, Relaxed);
        self.thread.join().expect("nothing ended early or stayed for ever")
    }
}

/// One key with a time to live after the other.
async fn keys(client: &Client, over: &AtomicBool) -> u32 {
    let mut ended = 0;
    while !over.load(Relaxed) {
        let (key, px) = (format!("ttl/{ended}"), TTL.as_millis().to_string());
        let set_at = Instant::now();
        client.command(["SET", &key, "value", "PX", &px]).await.expect("a client that tries again is served");
        until_gone(client, &key, (set_at, Instant::now()), LATE).await;
        ended += 1;
    }
    ended
}

/// One key on a lease after the other. A new leader renews all leases, so each change of leader may add their time once more.
async fn leases(client: &Client, over: &AtomicBool) -> u32 {
    let mut ended = 0;
    while !over.load(Relaxed) {
        let key = format!("leased/{ended}");
        let granted_at = Instant::now();
        let lease = client.grant_lease(TTL).await.expect("a client that tries again is served");
        if client.set_on_lease(key.as_str(), "value", lease).await.is_err() {
            assert!(granted_at.elapsed() >= TTL, "the lease of {key} ended early");
            continue;
        }
        until_gone(client, &key, (granted_at, Instant::now()), LATE + TTL * CHANGES).await;
        ended += 1;
    }
    ended
}

/// Reads a key until it is gone. By true time that must not be before its time, counted from the asking for it, nor long after,
/// counted from the answer.
async fn until_gone(client: &Client, key: &str, (asked, answered): (Instant, Instant), late: Duration) {
    loop {
        let looked = Instant::now();
        let there = client.get(key).await.expect("a client that tries again is served").is_some();
        if !there {
            let lived = asked.elapsed();
            assert!(lived >= TTL, "{key} lived for {lived:?}");
            return;
        }
        let stayed = looked.saturating_duration_since(answered);
        assert!(stayed <= TTL + late, "{key} was still there after {stayed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
