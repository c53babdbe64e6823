//! Two payment workers, one order, and a leader that dies as it answers one of them: charged once, and by somebody. A thousand
//! times, and beside Redis, with the command in `docs/why.md`.

use steadfast_tests::failover::script::Script;
use steadfast_tests::failover::{self, Database, Tally};
use steadfast_tests::figures::daemon::is_installed;
use steadfast_tests::figures::redis;
use steadfast_tests::skipped::skip;

/// Every moment, with answers that arrive and that don't, with workers that pause and that don't.
const ORDERS: u64 = 8;

fn run(database: Database, script: Script) -> Tally {
    let tally = failover::run(database, script, ORDERS, 2).expect("the servers come back");
    assert_eq!((tally.orders, tally.deaths), (ORDERS, ORDERS), "a leader dies amid each order");
    tally
}

#[test]
fn an_order_is_charged_once_whenever_the_leader_dies_and_whoever_pauses() {
    let tally = run(Database::Steadfast, Script::Guarded);
    assert_eq!((tally.doubled, tally.doubled_late, tally.uncharged), (0, 0, 0), "{tally:?}");
}

/// The control: this test sees it when something is charged twice.
#[test]
fn without_a_fence_a_worker_that_wakes_late_charges_again() {
    let tally = run(Database::Steadfast, Script::Plain);
    assert!(tally.doubled_late > 0, "{tally:?}");
    assert_eq!(tally.uncharged, 0, "{tally:?}");
}

/// Another control: a database that forgets what it has acknowledged.
#[test]
fn with_redis_and_a_replica_an_order_is_charged_twice() {
    if !is_installed(redis::PROGRAM) {
        return skip("the control with Redis", "redis-server can't be run", None);
    }
    let tally = run(Database::Redis, Script::Guarded);
    assert!(tally.doubled + tally.doubled_late > 0, "{tally:?}");
    assert_eq!(tally.uncharged, 0, "{tally:?}");
}
