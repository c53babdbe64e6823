//! Once is once.

use steadfast_core::error::{ErrorCode, Failure};
use steadfast_core::reply::Value;
use steadfast_core::state::effect::{Effect, StoredReply};
use steadfast_core::types::{Blob, BootNumber, Incarnation};

use super::Bench;
use crate::check::Verdict;
use crate::check::exactly_once::judge;
use crate::history::{End, History};

fn rejects(bench: &Bench, doctor: impl FnOnce(&mut History, &mut Bench)) {
    let (mut history, mut bench) = (bench.history(), bench.clone());
    assert_eq!(judge(&history, &bench.log), Verdict::Passed, "before it is doctored");
    doctor(&mut history, &mut bench);
    let verdict = judge(&history, &bench.log);
    assert!(verdict.failed(), "a doctored history: {verdict}");
}

fn refused() -> End {
    End::Failed(Failure::new(ErrorCode::Overloaded, "no"))
}

/// Three acknowledged additions and two unknown ones, one of which happened.
fn counter() -> Bench {
    let mut b = Bench::new();
    for by in [1, 2, 3] {
        b.run(1, &format!("INCRBY c {by}"));
    }
    b.run_unheard(2, "INCRBY c 10");
    b.ask(3, "INCRBY c 7");
    b
}

#[test]
fn a_counter_ends_at_the_sum_of_what_happened() {
    rejects(&counter(), |_, b| b.log.truncate(4));
    rejects(&counter(), |h, _| h.ops[3].end = refused());
    rejects(&counter(), |h, _| h.ops[4].end = End::Ok(Value::Int(36)));
    let doubled = |b: &mut Bench, at: usize| b.act(at as u64);
    rejects(&counter(), |_, b| doubled(b, 0));
    rejects(&counter(), |_, b| doubled(b, 3));
}

#[test]
fn a_growing_counter_never_answers_the_same_sum_twice() {
    rejects(&counter(), |h, _| h.ops[1].end = End::Ok(Value::Int(1)));
}

#[test]
fn a_unique_key_is_put_once() {
    let mut b = Bench::new();
    b.run(1, "SET one x");
    b.run_unheard(1, "SET two x NX");
    b.ask(1, "SET three x");
    rejects(&b, |_, b| b.log.truncate(2));
    rejects(&b, |_, b| b.act(0));
    rejects(&b, |h, _| h.ops[1].end = refused());
    rejects(&b, |_, b| {
        b.act(2);
        b.act(2);
    });
    rejects(&b, |_, b| {
        let Effect::Put { value, .. } = &mut b.log[2].entry.effects[0] else { panic!("a put") };
        *value = Blob::from("y");
    });
}

#[test]
fn a_number_that_is_used_twice_is_found() {
    let mut b = Bench::new();
    let session = b.session(1);
    b.run_once(1, session, 1, "SET k a");
    rejects(&b, |_, b| {
        b.ask_once(1, session, 1, "SET j a");
        b.act(2);
    });
    let forwarded = || Effect::Forwarded {
        origin: Incarnation(2),
        boot: BootNumber(1),
        seq: 7,
        floor: 0,
        reply: StoredReply { outcome: Ok(Value::ok()), digest: 0 },
    };
    rejects(&b, |_, b| {
        b.log[2].entry.effects.push(forwarded());
        b.log[3].entry.effects.push(forwarded());
    });
}
