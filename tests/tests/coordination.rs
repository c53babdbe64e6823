//! What limiters, transactions, ids and hashes remember, through kills of the leader and of all nodes: real servers, and the
//! Rust client's typed methods.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant, SystemTime};

use steadfast::client::{Compared, Config, ErrorCode, Limit, Transaction, Value, Work};
use steadfast_core::types::{Blob, Index};
use steadfast_tests::cluster::Cluster;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn what_was_said_holds_after_the_leader_is_killed_and_after_all_are() {
    let mut cluster = Cluster::start("coordination");
    let runtime = runtime();
    let day = Duration::from_secs(86_400);
    let limits = [
        ("fixed", Limit::Fixed { limit: 3, window: 30 * day }),
        ("sliding", Limit::Sliding { limit: 3, window: day }),
        ("bucket", Limit::Bucket { capacity: 3, refill: 1, period: day }),
    ];
    let born = SystemTime::now();
    let transfer = || {
        Transaction::new()
            .if_number("from", Compared::AtLeast, 10)
            .then(["INCRBY", "from", "-10"])
            .then(["INCRBY", "to", "10"])
            .otherwise(["GET", "from"])
    };

    let token = runtime.block_on(async {
        let client = cluster.client(cluster.config()).await;
        for (name, limit) in limits {
            let verdict = client.limit(name, limit, 2).await.expect("answered");
            assert!(verdict.allowed && verdict.remaining == 1, "{name}: {verdict:?}");
        }
        assert!(client.enter("places", 1, "me", day).await.expect("answered").allowed);
        client.set("from", "15").await.expect("set");
        let first = client.transaction(transfer()).await.expect("answered");
        assert_eq!((first.held, first.answers), (true, vec![Value::Int(5), Value::Int(10)]));
        let once = client.once("order:1", born, ["INCRBY", "orders", "1"]).await.expect("answered");
        assert_eq!(once.value, Value::Int(1));
        assert_eq!(client.hset("session", [("user", "ann"), ("cart", "1")]).await.expect("set"), 2);
        match client.begin_work("charge:1", "10 EUR", day).await.expect("answered") {
            Work::First { token } => token,
            other => panic!("nobody had it: {other:?}"),
        }
    });

    for all in [false, true] {
        let leader = cluster.leader();
        if all {
            (0..3).for_each(|place| cluster.kill(place));
            (0..3).for_each(|place| cluster.restart(place));
        } else {
            cluster.kill(leader);
        }
        runtime.block_on(async {
            let client = cluster.client(cluster.config()).await;
            for (name, limit) in limits {
                let verdict = client.limit(name, limit, 2).await.expect("answered");
                assert!(!verdict.allowed && verdict.remaining == 1, "{name}: {verdict:?}");
                assert!(
                    verdict.retry_after.is_some_and(|wait| wait > Duration::from_secs(60)),
                    "{name}: {verdict:?}"
                );
                assert!(client.peek_limit(name, limit, 1).await.expect("answered").allowed, "{name}");
            }
            assert!(!client.enter("places", 1, "other", day).await.expect("answered").allowed);
            let again = client.transaction(transfer()).await.expect("answered");
            assert_eq!((again.held, again.answers), (false, vec![Value::Bytes(Blob::from("5"))]));
            let once = client.once("order:1", born, ["INCRBY", "orders", "1"]).await.expect("answered");
            assert_eq!(once.value, Value::Int(1), "the first answer");
            let error =
                client.once("order:1", born, ["INCRBY", "orders", "2"]).await.expect_err("another command");
            assert_eq!(error.failure.code, ErrorCode::OnceConflict);
            assert_eq!(client.get("orders").await.expect("read"), Some(Blob::from("1")));
            let fields =
                [("cart", "1"), ("user", "ann")].map(|(field, value)| (Blob::from(field), Blob::from(value)));
            assert_eq!(client.hgetall("session").await.expect("read"), fields);
            let work = client.begin_work("charge:1", "10 EUR", day).await.expect("answered");
            assert!(matches!(work, Work::Running { .. }), "{work:?}");
        });
        if !all {
            cluster.restart(leader);
        }
    }

    runtime.block_on(async {
        let client = cluster.client(cluster.config()).await;
        client.finish_work("charge:1", token, "receipt 7").await.expect("it is still ours");
        let work = client.begin_work("charge:1", "10 EUR", day).await.expect("answered");
        assert_eq!(work, Work::Done { answer: Blob::from("receipt 7") });
        let late = client.fail_work("charge:1", token).await.expect_err("it is done");
        assert_eq!(late.failure.code, ErrorCode::Fenced);
        assert!(client.leave("places", "me").await.expect("answered"));
        assert!(client.enter("places", 1, "other", day).await.expect("answered").allowed);
    });
    assert_eq!(cluster.stop(), [Some(0); 3]);
}

/// Eight clients transfer between four accounts; whatever the kills, nothing is lost and nothing appears.
#[test]
fn transfers_keep_the_sum_while_leaders_are_killed() {
    const ACCOUNTS: u64 = 4;
    let mut cluster = Cluster::start("transfers");
    let config = cluster.config();
    runtime().block_on(async {
        let client = cluster.client(config.clone()).await;
        for account in 0..ACCOUNTS {
            client.set(format!("account:{account}"), "100").await.expect("set");
        }
    });
    let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (config, done, over) = (config.clone(), done.clone(), over.clone());
            std::thread::spawn(move || {
                runtime().block_on(transfer_until(config, worker, ACCOUNTS, &done, &over))
            })
        })
        .collect();
    // Every kill falls amid transfers: some were done since the one before, and the workers go on.
    let progress = |by: u64| {
        let (from, since) = (done.load(Relaxed), Instant::now());
        while done.load(Relaxed) < from + by {
            assert!(since.elapsed() < Duration::from_secs(30), "transfers go on: {from} were done");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for _ in 0..5 {
        progress(50);
        let leader = cluster.leader();
        cluster.kill(leader);
        cluster.leader();
        cluster.restart(leader);
    }
    progress(50);
    over.store(true, Relaxed);
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    let sum: i64 = runtime().block_on(async {
        let client = cluster.client(config).await;
        let keys = (0..ACCOUNTS).map(|account| format!("account:{account}"));
        let values = client.mget(keys).await.expect("read");
        values
            .iter()
            .map(|value| value.as_ref().expect("there").to_string().parse::<i64>().expect("a number"))
            .sum()
    });
    assert_eq!(sum, 100 * ACCOUNTS as i64);
}

/// Transfers, and counts those that were done, until it is over.
async fn transfer_until(config: Config, worker: u64, accounts: u64, done: &AtomicU64, over: &AtomicBool) {
    let client = steadfast::Client::connect(config).await.expect("connects");
    for round in 0_u64.. {
        if over.load(Relaxed) {
            break;
        }
        let from = format!("account:{}", (worker + round) % accounts);
        let to = format!("account:{}", (worker * 3 + round * 7 + 1) % accounts);
        let amount = (round % 9 + 1) as i64;
        let transfer = Transaction::new()
            .if_number(from.as_str(), Compared::AtLeast, amount)
            .then(["INCRBY".to_owned(), from, (-amount).to_string()])
            .then(["INCRBY".to_owned(), to, amount.to_string()]);
        let held = client.transaction(transfer).await.is_ok_and(|it| it.held);
        done.fetch_add(u64::from(held), Relaxed);
    }
}

/// Two workers contend for one lock while leaders are killed, one of them asleep beyond its time now and then. What they write
/// under its guard is one worker's at a time: the log of tokens never goes back.
#[test]
fn a_lock_is_handed_over_while_leaders_are_killed_and_late_writers_are_refused() {
    let mut cluster = Cluster::start("locks");
    let (config, over) = (cluster.config(), Arc::new(AtomicBool::new(false)));
    let (grants, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..3)
        .map(|worker| {
            let (config, over, grants, refused) =
                (config.clone(), over.clone(), grants.clone(), refused.clone());
            std::thread::spawn(move || {
                runtime().block_on(work_under_lock(config, worker, &over, &grants, &refused))
            })
        })
        .collect();
    for _ in 0..4 {
        let (from, since) = (grants.load(Relaxed), Instant::now());
        while grants.load(Relaxed) < from + 5 {
            assert!(since.elapsed() < Duration::from_secs(60), "the lock goes round: {from} grants");
            std::thread::sleep(Duration::from_millis(1));
        }
        let leader = cluster.leader();
        cluster.kill(leader);
        cluster.leader();
        cluster.restart(leader);
    }
    over.store(true, Relaxed);
    let written: Vec<Vec<Index>> =
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
    // Each position at which a guarded write took effect, with the token that it was made under.
    let mut all: Vec<Index> = written.concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "each token is one worker's");
    assert!(refused.load(Relaxed) > 0, "somebody was late: {} grants", grants.load(Relaxed));
}

/// Takes the lock, writes its token under guard, and sometimes sleeps beyond its time first. The tokens under which writes were
/// acknowledged.
async fn work_under_lock(
    config: Config,
    worker: u64,
    over: &AtomicBool,
    grants: &AtomicU64,
    refused: &AtomicU64,
) -> Vec<Index> {
    let client = steadfast::Client::connect(config).await.expect("connects");
    let mut written = Vec::new();
    for round in 0_u64.. {
        if over.load(Relaxed) {
            break;
        }
        let (ttl, wait) = (Duration::from_millis(300), Duration::from_secs(2));
        let Ok(Some(lock)) = client.lock("orders", format!("worker-{worker}"), ttl, wait).await else {
            continue;
        };
        grants.fetch_add(1, Relaxed);
        if (worker + round).is_multiple_of(4) {
            // As a worker that is paused: the guard of the library can't renew it meanwhile.
            std::thread::sleep(Duration::from_millis(800));
        }
        match lock.set("order", lock.token().to_string()).await {
            Ok(()) => written.push(lock.token()),
            Err(error) if error.code() == ErrorCode::Fenced => _ = refused.fetch_add(1, Relaxed),
            Err(_) => {}
        }
        let _ = lock.release().await;
    }
    written
}

/// A guard is its own, whoever had the lock before under the same owner's name, and whatever becomes of the future.
#[test]
fn a_guard_that_is_dropped_gives_back_its_own_lock_and_no_other() {
    let mut cluster = Cluster::start("guards");
    let (config, minute) = (cluster.config(), Duration::from_secs(60));
    runtime().block_on(async {
        let client = cluster.client(config).await;
        let lock = |wait| client.lock("l", "worker", minute, wait);
        let first = lock(Duration::ZERO).await.expect("asked").expect("free");
        drop(first);
        // It stands behind the release of the one before, on the same connection.
        let second = lock(Duration::ZERO).await.expect("asked").expect("given back");
        second.renew().await.expect("it is held");
        assert!(lock(Duration::ZERO).await.expect("asked").is_none(), "the same name is no other's guard");
        // Dropped while it waits: the lock is given back as soon as it is granted.
        let dropped = tokio::time::timeout(Duration::from_millis(200), lock(minute)).await;
        assert!(dropped.is_err(), "it waits");
        assert!(second.release().await.expect("answered"));
        let third = lock(minute).await.expect("asked").expect("its turn comes");
        assert!(third.is_held());
        client.clone().close().await;
    });
    assert_eq!(cluster.stop(), [Some(0); 3]);
}

/// What waits goes on when the leader dies, and an office is handed over when its holder's machine dies.
#[test]
fn waits_and_offices_outlive_the_leader() {
    let mut cluster = Cluster::start("offices");
    let (minute, config) = (Duration::from_secs(60), cluster.config());
    let runtime = runtime();
    let (first, second, mut leaders) = runtime.block_on(async {
        let (ann, bea) = (cluster.client(config.clone()).await, cluster.client(config.clone()).await);
        let office = ann.campaign("primary", "ann", "host-1", minute, Duration::ZERO).await.expect("asked");
        let waits = tokio::spawn(async move {
            let office = bea
                .campaign("primary", "bea", "host-2", minute, minute)
                .await
                .expect("asked")
                .expect("in time");
            office.proclaim("host-3").await.expect("it leads");
            office
        });
        let permits =
            ann.permits("pool", (2, 3), "ann", minute, Duration::ZERO).await.expect("asked").expect("free");
        let refused = ann.permits("pool", (2, 3), "other", minute, Duration::ZERO).await.expect("asked");
        assert!(permits.is_held() && refused.is_none());
        let lease = ann.grant_lease(minute).await.expect("granted");
        ann.set_on_lease("member:ann", "here", lease).await.expect("set");
        ann.keep_alive(lease).await.expect("renewed");
        // Until the other one waits.
        loop {
            let shown = ann.command(["ELECTION", "SHOW", "primary"]).await.expect("answered").value;
            if format!("{shown:?}").contains("(\"waiting\", Int(1))") {
                break;
            }
        }
        let leaders = ann.leaders("primary").expect("it begins");
        ((office.expect("nobody leads"), permits, lease, ann), waits, leaders)
    });
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.leader();
    runtime.block_on(async {
        let (office, permits, lease, ann) = first;
        let token = office.token();
        let told = leaders.next().await.expect("it goes on").expect("allowed").expect("ann leads");
        assert_eq!((told.token, told.value), (token, "host-1".into()));
        assert!(office.release().await.expect("answered"));
        let bea = second.await.expect("no panic");
        assert!(bea.token() > token && bea.is_held());
        let leads = ann.leader("primary").await.expect("answered").expect("somebody leads");
        assert_eq!((leads.token, leads.value.clone()), (bea.token(), "host-3".into()));
        assert!(leads.leader.starts_with(b"bea/"), "{}", leads.leader);
        // The observer hears of her, too, whatever it is told on the way: that nobody led, and what she said first.
        while leaders.next().await.expect("it goes on").expect("allowed").as_ref() != Some(&leads) {}
        assert!(permits.release().await.expect("answered"));
        assert!(ann.revoke_lease(lease).await.expect("answered"));
        assert_eq!(ann.get("member:ann").await.expect("read"), None);
        assert!(bea.release().await.expect("answered"));
        assert_eq!(leaders.next().await.expect("it goes on").expect("allowed"), None, "nobody leads");
    });
    cluster.restart(leader);
    assert_eq!(cluster.stop(), [Some(0); 3]);
}
