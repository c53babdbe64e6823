//! Every "missing" needs an explanation.

use steadfast_core::reply::Value;

use super::{Bench, bytes};
use crate::check::Verdict;
use crate::check::expiry::{judge, pace};
use crate::history::{End, History};

fn rejects(bench: &Bench, doctor: impl FnOnce(&mut History)) {
    let mut history = bench.history();
    assert_eq!(judge(&history), Verdict::Passed, "before it is doctored");
    doctor(&mut history);
    let verdict = judge(&history);
    assert!(verdict.failed(), "a doctored history: {verdict}");
}

#[test]
fn a_key_that_goes_early_is_found() {
    let mut b = Bench::new();
    b.run(1, "SET k v PX 1000");
    for line in ["GET k", "EXISTS k", "PTTL k", "MGET k", "DEL j k", "SET k v XX", "PEXPIRE k 1000"] {
        let mut b = b.clone();
        b.wait(900);
        let read = b.run(2, line) as usize;
        let missing = match line {
            "PTTL k" => Value::Int(-2),
            "MGET k" => Value::List(vec![Value::Nil]),
            "EXISTS k" | "DEL j k" | "PEXPIRE k 1000" => Value::Int(0),
            _ => Value::Nil,
        };
        rejects(&b, |h| h.ops[read].end = End::Ok(missing));
    }
}

#[test]
fn a_key_that_goes_in_time_passes() {
    let mut b = Bench::new();
    b.run(1, "SET k v PX 1000");
    b.wait(1004);
    b.run(2, "GET k");
    assert_eq!(judge(&b.history()), Verdict::Passed);
}

#[test]
fn the_time_counts_from_the_last_deadline() {
    let mut b = Bench::new();
    b.run(1, "SET k v PX 100");
    b.run(1, "PEXPIRE k 10000");
    b.wait(500);
    let read = b.run(2, "GET k") as usize;
    rejects(&b, |h| h.ops[read].end = End::Ok(Value::Nil));
    for line in ["PERSIST k", "SET k w", "MSET k w"] {
        let mut b = b.clone();
        b.run(1, line);
        b.wait(100_000);
        let read = b.run(2, "GET k") as usize;
        rejects(&b, |h| h.ops[read].end = End::Ok(Value::Nil));
    }
}

#[test]
fn a_deletion_that_may_have_come_between_explains() {
    for line in ["DEL k", "PEXPIRE k 0", "SET k v PX 1"] {
        let mut b = Bench::new();
        b.run(1, "SET k v PX 10000");
        let unknown = b.ask(2, line);
        b.act(unknown);
        b.wait(50);
        b.run(3, "GET k");
        assert_eq!(b.history().ops[2].value(), Some(&Value::Nil), "{line}");
        assert_eq!(judge(&b.history()), Verdict::Passed, "{line}");
        // Had it not been asked for yet, or been refused, it would not.
        let mut history = b.history();
        history.ops.remove(1);
        assert!(judge(&history).failed(), "{line}");
    }
}

#[test]
fn a_value_is_no_miss() {
    let mut b = Bench::new();
    b.run(1, "SET k v");
    let read = b.run(1, "GET k") as usize;
    assert_eq!(b.history().ops[read].value(), Some(&bytes("v")));
    assert_eq!(judge(&b.history()), Verdict::Passed);
}

#[test]
fn cluster_time_that_runs_ahead_is_found() {
    let mut b = Bench::new();
    for _ in 0..5 {
        b.run(1, "INCRBY c 1");
        b.wait(1000);
    }
    assert_eq!(pace(&b.history()), Verdict::Passed);
    let mut history = b.history();
    // Within the slack of a five-hundredth, and beyond it.
    history.ops[4].receipt.as_mut().expect("receipt").time.0 += 3;
    assert_eq!(pace(&history), Verdict::Passed);
    history.ops[4].receipt.as_mut().expect("receipt").time.0 += 8;
    assert!(pace(&history).failed());
}
