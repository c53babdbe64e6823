//! The second judge searches, and never reads a receipt.

use steadfast_core::error::{ErrorCode, Failure};
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::{Bench, bytes};
use crate::check::Verdict;
use crate::check::linear::{judge, judge_within};
use crate::history::{End, History};

/// Without receipts, so that nobody can use them.
fn bare(bench: &Bench) -> History {
    let mut history = bench.history();
    history.ops.iter_mut().for_each(|op| op.receipt = None);
    history
}

fn passes(bench: &Bench) {
    assert_eq!(judge(&bare(bench)), Verdict::Passed);
}

fn rejects(bench: &Bench, doctor: impl FnOnce(&mut History)) {
    let mut history = bare(bench);
    assert_eq!(judge(&history), Verdict::Passed, "before it is doctored");
    doctor(&mut history);
    let verdict = judge(&history);
    assert!(verdict.failed(), "a doctored history: {verdict}");
}

#[test]
fn concurrent_writes_may_take_any_order() {
    let mut b = Bench::new();
    let (first, second, read) = (b.ask(1, "SET k a"), b.ask(2, "SET k b"), b.ask(3, "GET k"));
    for op in [second, read, first] {
        b.act(op);
    }
    for op in [first, second, read] {
        b.tell(op);
    }
    b.run(4, "GET k");
    passes(&b);
    // Read b, then a; so nobody can read b again.
    b.run(4, "GET k");
    rejects(&b, |h| h.ops[4].end = End::Ok(bytes("b")));
    rejects(&b, |h| h.ops[2].end = End::Ok(bytes("c")));
}

#[test]
fn a_stale_read_is_found() {
    let mut b = Bench::new();
    for line in ["SET k a", "SET k b", "GET k"] {
        b.run(1, line);
    }
    rejects(&b, |h| h.ops[2].end = End::Ok(bytes("a")));
    rejects(&b, |h| h.ops[2].end = End::Ok(Value::Nil));
}

#[test]
fn a_lost_write_is_found() {
    let mut b = Bench::new();
    for line in ["SET k a", "INCRBY c 1", "INCRBY c 1", "GET c", "EXISTS k", "SET k z NX"] {
        b.run(1, line);
    }
    rejects(&b, |h| h.ops[3].end = End::Ok(bytes("1")));
    rejects(&b, |h| h.ops[4].end = End::Ok(Value::Int(0)));
    rejects(&b, |h| h.ops[5].end = End::Ok(Value::ok()));
}

#[test]
fn a_doubled_increment_is_found() {
    let mut b = Bench::new();
    b.ask(1, "INCRBY c 1");
    b.run(2, "INCRBY c 1");
    rejects(&b, |h| h.ops[1].end = End::Ok(Value::Int(3)));
}

#[test]
fn an_unknown_write_may_show_up_at_any_time_once() {
    let mut b = Bench::new();
    let unknown = b.ask(1, "SET k late");
    b.tell_error(unknown, ErrorCode::TimedOut);
    b.run(2, "SET k a");
    b.act(unknown);
    b.run(2, "GET k");
    b.run(2, "SET k b");
    b.run(2, "GET k");
    passes(&b);
    rejects(&b, |h| h.ops[4].end = End::Ok(bytes("late")));
    // A definite failure explains nothing.
    rejects(&b, |h| h.ops[0].end = End::Failed(Failure::new(ErrorCode::Overloaded, "no")));
}

#[test]
fn a_retry_by_hand_is_the_same_operation() {
    let mut b = Bench::new();
    let session = b.session(1);
    let first = b.ask_once(1, session, 1, "INCRBY c 1");
    b.act(first);
    let retry = b.ask_once(2, session, 1, "INCRBY c 1");
    b.asks.get_mut(&retry).expect("asked").reply = b.asks[&first].reply.clone();
    b.tell(retry);
    b.run(1, "INCRBY c 1");
    passes(&b);
    rejects(&b, |h| h.ops[2].args[2] = Blob::from("2"));
}

#[test]
fn a_key_with_an_end_goes_no_earlier_than_that() {
    let mut b = Bench::new();
    b.run(1, "SET k v PX 100");
    b.wait(50);
    b.run(1, "GET k");
    b.wait(100);
    b.run(1, "GET k");
    passes(&b);
    rejects(&b, |h| h.ops[1].end = End::Ok(Value::Nil));
    // Once it was seen to be gone it does not come back.
    b.run(1, "GET k");
    rejects(&b, |h| h.ops[3].end = End::Ok(bytes("v")));
}

#[test]
fn every_command_on_a_key_has_its_meaning() {
    let mut b = Bench::new();
    for line in [
        "SET k 1 NX",
        "SET k 2 NX",
        "SET k 3 XX GET",
        "INCRBY k 4",
        "EXPIRE k 100",
        "PTTL k",
        "PERSIST k",
        "PTTL k",
        "SET k x",
        "INCRBY k 1",
        "MGET k j",
        "MSET k 1 j 2",
        "DEL k j",
        "EXISTS k j",
        "PEXPIRE k 5",
        "PERSIST k",
        "SET j 1",
        "PEXPIRE j 0",
        "GETV j",
        "DEL j",
    ] {
        b.run(1, line);
    }
    passes(&b);
    let doctored = [
        (0, Value::Nil),
        (1, Value::ok()),
        (2, bytes("2")),
        (3, Value::Int(8)),
        (4, Value::Int(0)),
        (5, Value::Int(-1)),
        (6, Value::Int(0)),
        (7, Value::Int(5)),
        (9, Value::Int(1)),
        (12, Value::Int(0)),
        (13, Value::Int(2)),
        (14, Value::Int(1)),
        (15, Value::Int(1)),
        (17, Value::Int(0)),
        (18, Value::List(vec![bytes("1"), Value::Int(9)])),
        (19, Value::Int(1)),
        (0, Value::Int(3)),
    ];
    for (op, answer) in doctored {
        rejects(&b, |h| h.ops[op].end = End::Ok(answer.clone()));
    }
    rejects(&b, |h| h.ops[10].end = End::Ok(Value::List(vec![bytes("x"), bytes("x")])));
    rejects(&b, |h| h.ops[3].end = End::Failed(Failure::new(ErrorCode::NotAnInteger, "no")));
}

#[test]
fn many_unknown_writes_do_not_drown_the_search() {
    let mut b = Bench::new();
    for n in 0..200 {
        b.ask(10 + n, &format!("SET k unheard{n}"));
        b.ask(1000 + n, "INCRBY c 1");
        b.run(1, &format!("SET k {n}"));
        b.run(2, "GET k");
        b.run(3, "INCRBY c 1");
    }
    passes(&b);
    let last = b.history().ops.len() - 2;
    rejects(&b, |h| h.ops[last].end = End::Ok(bytes("0")));
}

#[test]
fn many_concurrent_clients_do_not_drown_the_search() {
    let mut b = Bench::new();
    for round in 0..20 {
        let ops: Vec<u64> = (0..8)
            .map(|client| match client % 3 {
                0 => b.ask(client, "GET k"),
                1 => b.ask(client, &format!("SET k {round}.{client}")),
                _ => b.ask(client, "INCRBY k 1"),
            })
            .collect();
        ops.iter().rev().for_each(|op| b.act(*op));
        ops.iter().for_each(|op| b.tell(*op));
    }
    passes(&b);
}

#[test]
fn giving_up_is_no_pass() {
    let mut b = Bench::new();
    for n in 0..12 {
        b.ask(n, &format!("INCRBY c {}", 1 << n));
    }
    b.run(20, "SET c 0");
    b.run(20, "GET c");
    assert!(matches!(judge_within(&bare(&b), 100), Verdict::Inconclusive { .. }));
    let mut history = bare(&b);
    history.ops[0].args = super::words("ZADD z 1 m");
    assert!(matches!(judge(&history), Verdict::Inconclusive { .. }));
}
