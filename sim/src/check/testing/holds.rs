//! What is surely held.

use steadfast_core::error::{ErrorCode, Failure};
use steadfast_core::reply::Value;

use super::Bench;
use crate::check::Verdict;
use crate::check::holds::judge;
use crate::history::{End, History};

fn granted(token: i64) -> End {
    End::Ok(Value::Map(vec![("token".into(), Value::Int(token)), ("lease".into(), Value::Int(token))]))
}

/// What these clients ask one after the other, so many milliseconds apart, and what each is told.
fn history(asked: &[(u64, &str, End)]) -> History {
    let mut bench = Bench::new();
    for (wait, line, _) in asked {
        bench.wait(*wait);
        let op = bench.ask(1, line);
        bench.tell_error(op, ErrorCode::NoLeader);
    }
    let mut history = bench.history();
    for (op, (.., end)) in history.ops.iter_mut().zip(asked) {
        op.end = end.clone();
    }
    history
}

fn ok(value: Value) -> End {
    End::Ok(value)
}

fn fenced() -> End {
    End::Failed(Failure::new(ErrorCode::Fenced, "not yours"))
}

const ACQUIRE: &str = "LOCK ACQUIRE l me PX 1000";
const OTHER: &str = "LOCK ACQUIRE l you PX 1000";

#[test]
fn a_second_holder_or_a_loss_within_the_time_is_found() {
    let mut asked = vec![(0, ACQUIRE, granted(7))];
    for (line, end) in [(OTHER, granted(9)), ("LOCK RENEW l 7", fenced()), ("SET k v FENCE l 7", fenced())] {
        asked.truncate(1);
        asked.push((900, line, end.clone()));
        assert!(judge(&history(&asked)).failed(), "{line}");
        asked[1].0 = 1001;
        assert_eq!(judge(&history(&asked)), Verdict::Passed, "{line}, when its time is over");
    }
    asked[1] = (900, "lock acquire l you px 1000", granted(9));
    assert!(judge(&history(&asked)).failed(), "whatever the case of the words");
    let office =
        [(0, "ELECTION CAMPAIGN l me here PX 1000", granted(7)), (900, "ELECTION OBSERVE l", ok(Value::Nil))];
    assert!(judge(&history(&office)).failed());
}

#[test]
fn two_who_asked_at_one_time_and_were_both_given_it_are_found() {
    let mut bench = Bench::new();
    let first = bench.ask(1, ACQUIRE);
    let second = bench.ask(2, OTHER);
    for op in [first, second] {
        bench.wait(5);
        bench.tell_error(op, ErrorCode::NoLeader);
    }
    let mut history = bench.history();
    (history.ops[0].end, history.ops[1].end) = (granted(7), granted(9));
    assert!(judge(&history).failed());
    history.ops[1].end = ok(Value::Nil);
    assert_eq!(judge(&history), Verdict::Passed);
}

#[test]
fn others_locks_and_tokens_and_refusals_are_none_of_it() {
    for (line, end) in [
        ("LOCK ACQUIRE m you PX 1000", granted(9)),
        (OTHER, ok(Value::Nil)),
        (ACQUIRE, granted(7)),
        ("LOCK RENEW l 6", fenced()),
        ("SET k v FENCE m 7", fenced()),
        ("ELECTION OBSERVE l", ok(Value::Nil)),
    ] {
        assert_eq!(judge(&history(&[(0, ACQUIRE, granted(7)), (900, line, end)])), Verdict::Passed, "{line}");
    }
}

#[test]
fn what_may_have_ended_it_explains() {
    let second = |between: &'static str, end: End| {
        judge(&history(&[(0, ACQUIRE, granted(7)), (10, between, end), (10, OTHER, granted(9))]))
    };
    for line in [
        "LOCK RELEASE l 7",
        "LOCK ACQUIRE l me PX 5",
        "LEASE REVOKE 7",
        "USER REMOVE ann",
        "ONCE RUN id 1 LOCK RELEASE l 7",
        "once run id 1 lock acquire l me px 1",
        "lock release l 7",
        "lease revoke 7",
    ] {
        assert_eq!(second(line, End::Unknown(None)), Verdict::Passed, "{line}");
        assert!(second(line, fenced()).failed(), "{line} failed");
    }
    for line in ["LOCK RELEASE l 6", "LEASE REVOKE 6", "LOCK RENEW l 7"] {
        assert!(second(line, End::Unknown(None)).failed(), "{line}");
    }
}

#[test]
fn a_renewal_counts_from_when_it_was_asked_for() {
    let renewed = |wait| {
        let renewal = (900, "LOCK RENEW l 7", ok(Value::Int(1000)));
        judge(&history(&[(0, ACQUIRE, granted(7)), renewal, (wait, OTHER, granted(9))]))
    };
    assert!(renewed(990).failed());
    assert_eq!(renewed(1001), Verdict::Passed);
}

#[test]
fn an_owner_who_asked_before_may_have_had_it_for_long() {
    for first in [End::Unknown(None), granted(7)] {
        let late = [(0, ACQUIRE, first), (990, ACQUIRE, granted(7)), (20, OTHER, granted(9))];
        assert_eq!(judge(&history(&late)), Verdict::Passed);
    }
}
