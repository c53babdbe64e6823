//! The first judge believes no receipt.

use steadfast_core::error::{ErrorCode, Failure};
use steadfast_core::reply::Value;
use steadfast_core::state::effect::{Cause, DeleteCause, Effect};
use steadfast_core::time::Millis;
use steadfast_core::types::{Blob, Index, SessionId};

use super::{Bench, bytes};
use crate::check::Verdict;
use crate::check::receipts::judge;
use crate::history::{End, History};

/// Passes as it is, and fails as soon as it is doctored.
fn rejects(bench: &Bench, doctor: impl FnOnce(&mut History, &mut Bench)) -> String {
    let (mut history, mut bench) = (bench.history(), bench.clone());
    assert_eq!(judge(&history, &bench.log), Verdict::Passed, "before it is doctored");
    doctor(&mut history, &mut bench);
    match judge(&history, &bench.log) {
        Verdict::Failed { what, .. } => what,
        other => panic!("a doctored history: {other}"),
    }
}

fn passes(bench: &Bench) {
    assert_eq!(judge(&bench.history(), &bench.log), Verdict::Passed);
}

/// Two writes and a read, one after the other.
fn plain() -> Bench {
    let mut b = Bench::new();
    b.run(1, "SET k a");
    b.run(1, "SET k b");
    b.run(2, "GET k");
    b
}

fn at(bench: &mut Bench, op: &History, id: usize) -> usize {
    let _ = bench;
    op.ops[id].receipt.expect("it has a receipt").position.0 as usize - 1
}

#[test]
fn every_command_replayed_in_order_passes() {
    let mut b = Bench::new();
    for line in [
        "PING",
        "PING x",
        "SET k 1",
        "GET k",
        "GETV k",
        "SET k 2 NX",
        "SET k 2 XX GET",
        "INCRBY k 5",
        "INCRBY n -3",
        "SET t x PX 50",
        "PTTL t",
        "PTTL k",
        "PTTL none",
        "EXPIRE t 1",
        "PERSIST t",
        "PERSIST t",
        "SET k v",
        "INCRBY k 1",
        "MSET a 1 b 2 a 3",
        "MGET a b c",
        "EXISTS a a c",
        "DEL a c a",
        "SET t y EX 1",
        "SCAN t",
        "SCAN * COUNT 1",
        "SET b 9 IFVERSION 3",
        "SET z 9 IFVERSION 0",
        "PEXPIRE b 0",
        "GET b",
        "SESSION OPEN",
    ] {
        b.run(1, line);
    }
    b.wait(1500);
    for line in ["GET t", "EXISTS t", "PTTL t", "SET t again NX", "SCAN ", "SCAN k AFTER k"] {
        b.run(2, line);
    }
    passes(&b);
}

#[test]
fn overlapping_operations_pass_in_whatever_order_they_took() {
    let mut b = Bench::new();
    let (first, second, read) = (b.ask(1, "SET k a"), b.ask(2, "SET k b"), b.ask(3, "GET k"));
    b.act(second);
    b.act(read);
    b.act(first);
    for op in [read, first, second] {
        b.tell(op);
    }
    passes(&b);
}

#[test]
fn an_unknown_write_may_have_happened_or_not() {
    let mut b = Bench::new();
    b.run_unheard(1, "INCRBY c 1");
    b.ask(2, "INCRBY c 1");
    b.run(3, "GET c");
    let session = b.session(4);
    let heard_of = b.ask_once(4, session, 1, "INCRBY c 10");
    b.act(heard_of);
    b.tell_error(heard_of, ErrorCode::LeaderLost);
    b.ask_once(4, session, 2, "INCRBY c 10");
    b.run(3, "GET c");
    passes(&b);
}

#[test]
fn an_unknown_write_may_happen_long_after_it_was_given_up() {
    let mut b = plain();
    let late = b.ask(4, "SET k late");
    b.tell_error(late, ErrorCode::TimedOut);
    b.run(1, "SET k c");
    b.act(late);
    b.run(1, "GET k");
    passes(&b);
}

#[test]
fn interchangeable_unknown_writes_are_matched_whatever_their_order() {
    let mut b = Bench::new();
    // MSET k 1 and SET k 1 change the same; the second entry can only be the SET's, for the MSET had not been asked.
    let set = b.ask(1, "SET k 1");
    b.act(set);
    let mset = b.ask(2, "MSET k 1");
    b.act(mset);
    passes(&b);
}

#[test]
fn a_lost_write_is_found() {
    let what = rejects(&plain(), |h, b| {
        let place = at(b, h, 1);
        b.log[place].entry.effects.clear();
    });
    assert!(what.contains("not its own"), "{what}");
    rejects(&plain(), |_, b| b.log.truncate(3));
    let mut b = Bench::new();
    let session = b.session(1);
    b.run_once(1, session, 1, "SET k a");
    rejects(&b, |_, b| b.log[3].entry.effects.clear());
}

#[test]
fn a_stale_read_is_found() {
    rejects(&plain(), |h, _| h.ops[2].end = End::Ok(bytes("a")));
    // With a receipt that agrees with the stale answer, real time tells.
    let what = rejects(&plain(), |h, _| {
        h.ops[2].end = End::Ok(bytes("a"));
        h.ops[2].receipt = h.ops[0].receipt;
    });
    assert!(what.contains("reported before"), "{what}");
}

#[test]
fn a_value_from_the_future_is_found() {
    let mut b = Bench::new();
    b.run(2, "GET k");
    b.run(1, "SET k a");
    rejects(&b, |h, _| h.ops[0].end = End::Ok(bytes("a")));
}

#[test]
fn reordered_receipts_are_found() {
    rejects(&plain(), |h, _| {
        let (first, second) = (h.ops[0].receipt, h.ops[1].receipt);
        (h.ops[0].receipt, h.ops[1].receipt) = (second, first);
    });
    // Also where the two change the same, so that only real time tells.
    let mut b = Bench::new();
    b.run(1, "SET k a");
    b.run(1, "SET k a");
    rejects(&b, |h, _| {
        let (first, second) = (h.ops[0].receipt, h.ops[1].receipt);
        (h.ops[0].receipt, h.ops[1].receipt) = (second, first);
    });
}

#[test]
fn two_writes_at_one_position_are_found() {
    let mut b = Bench::new();
    let (first, second) = (b.ask(1, "SET k a"), b.ask(2, "SET k a"));
    for op in [first, second] {
        b.act(op);
    }
    for op in [first, second] {
        b.tell(op);
    }
    rejects(&b, |h, _| h.ops[1].receipt = h.ops[0].receipt);
}

#[test]
fn time_going_back_is_found() {
    let mut b = plain();
    b.wait(10);
    b.run(1, "SET k c");
    rejects(&b, |_, b| b.log[2].entry.time = Millis(u64::MAX));
    rejects(&b, |h, _| h.ops[2].receipt.as_mut().expect("receipt").time.0 += 1);
}

#[test]
fn a_resurrected_failure_is_found() {
    let definite = || End::Failed(Failure::new(ErrorCode::Overloaded, "no"));
    rejects(&plain(), |h, _| (h.ops[1].end, h.ops[1].receipt) = (definite(), None));
    let mut b = Bench::new();
    let session = b.session(1);
    b.run_once(1, session, 1, "SET k a");
    let what = rejects(&b, |h, _| (h.ops[1].end, h.ops[1].receipt) = (definite(), None));
    assert!(what.contains("told otherwise"), "{what}");
}

#[test]
fn an_invented_entry_is_found() {
    let ghost = |key: &str| Effect::Put { key: Blob::from(key), value: Blob::from("boo"), deadline: None };
    for cause in [Cause::Command, Cause::Clock, Cause::TermStart, Cause::Expiry] {
        let mut b = plain();
        b.append_own(cause);
        rejects(&b, |_, b| b.log[4].entry.effects.push(ghost("ghost")));
    }
    // Beside what was asked for, too.
    rejects(&plain(), |_, b| b.log[3].entry.effects.push(ghost("ghost")));
}

#[test]
fn a_doubled_increment_is_found() {
    let mut b = Bench::new();
    let unknown = b.ask(1, "INCRBY c 1");
    b.act(unknown);
    let read = b.run(2, "GET c");
    assert_eq!(b.history().ops[read as usize].value(), Some(&bytes("1")));
    // The same unknown command, a second time.
    let mut doubled = b.clone();
    doubled.act(unknown);
    let what = rejects(&b, |_, b| *b = doubled);
    assert!(what.contains("fewer times"), "{what}");
}

#[test]
fn a_session_that_executes_a_sequence_again_is_found() {
    let mut b = Bench::new();
    let session = b.session(1);
    let unknown = b.ask_once(1, session, 1, "INCRBY c 1");
    b.act(unknown);
    let mut doubled = b.clone();
    doubled.act(unknown);
    let what = rejects(&b, |_, b| *b = doubled);
    assert!(what.contains("again"), "{what}");
}

#[test]
fn an_expiry_before_its_time_is_found() {
    let mut b = Bench::new();
    b.run(1, "SET k v PX 100");
    b.wait(50);
    b.append_own(Cause::Expiry);
    let delete = Effect::Delete { key: Blob::from("k"), cause: DeleteCause::Expired };
    let what = rejects(&b, |_, b| b.log[3].entry.effects.push(delete));
    assert!(what.contains("not due"), "{what}");
    // And a deadline that is shorter than was asked for.
    rejects(&b, |_, b| {
        let Effect::Put { deadline: Some(deadline), .. } = &mut b.log[2].entry.effects[0] else {
            panic!("a put")
        };
        deadline.at.0 -= 1;
    });
}

#[test]
fn a_key_that_is_read_after_its_time_is_found() {
    let mut b = Bench::new();
    b.run(1, "SET k v PX 100");
    b.wait(500);
    let read = b.run(2, "GET k") as usize;
    rejects(&b, |h, _| h.ops[read].end = End::Ok(bytes("v")));
}

#[test]
fn wrong_answers_of_every_kind_are_found() {
    let mut b = Bench::new();
    b.run(1, "SET k 1");
    let ops = ["INCRBY k 2", "EXISTS k j", "MGET k j", "SCAN k", "PTTL k", "DEL j", "SET k x NX", "GETV k"];
    let ops: Vec<usize> = ops.iter().map(|line| b.run(1, line) as usize).collect();
    for op in ops {
        rejects(&b, |h, _| h.ops[op].end = End::Ok(Value::Int(41)));
        rejects(&b, |h, _| h.ops[op].end = End::Failed(Failure::new(ErrorCode::NotAnInteger, "no")));
        rejects(&b, |h, _| h.ops[op].end = End::Failed(Failure::new(ErrorCode::Denied, "no")));
    }
}

/// A user with a right, who loses it.
fn revoked() -> Bench {
    let mut b = Bench::new();
    b.run_as(1, "root", "USER ADD bob secret");
    b.run_as(1, "root", "GRANT READ ON pub:* TO bob");
    b.run_as(1, "root", "SET pub:k v");
    b.run_as(2, "bob", "GET pub:k");
    b.run_as(2, "bob", "GET private");
    b.run_as(1, "root", "REVOKE READ ON pub:* FROM bob");
    b.run_as(2, "bob", "GET pub:k");
    b
}

#[test]
fn a_success_after_a_revoke_is_found() {
    rejects(&revoked(), |h, _| h.ops[6].end = End::Ok(bytes("v")));
    rejects(&revoked(), |h, _| h.ops[4].end = End::Ok(Value::Nil));
    // A revoke that is acknowledged and does not change the grants.
    rejects(&revoked(), |_, b| {
        let granted = b.log[3].entry.effects.clone();
        b.log[5].entry.effects = granted;
    });
}

#[test]
fn an_ended_login_is_told_so_and_its_sessions_end() {
    let mut b = revoked();
    b.run_as(2, "bob", "SESSION OPEN");
    b.run_as(1, "root", "USER PASSWORD bob other");
    let told = b.ask_as(2, Some("bob"), None, "GET pub:k");
    b.tell_error(told, ErrorCode::Unauthenticated);
    passes(&b);
    let last = b.log.len() - 1;
    let what =
        rejects(&b, |_, b| b.log[last].entry.effects.retain(|e| !matches!(e, Effect::SessionEnded { .. })));
    assert!(what.contains("session"), "{what}");
}

#[test]
fn a_retry_gets_the_first_answer() {
    let mut b = Bench::new();
    let session = b.session(1);
    let first = b.ask_once(1, session, 1, "INCRBY c 1");
    b.act(first);
    b.run(3, "SET k v");
    // The client died, and another process asks again: its answer is as old as the first attempt.
    let retry = b.ask_once(2, session, 1, "INCRBY c 1");
    b.asks.get_mut(&retry).expect("asked").reply = b.asks[&first].reply.clone();
    b.tell(retry);
    let other = b.ask_once(2, session, 1, "INCRBY c 2");
    b.tell_error(other, ErrorCode::SessionConflict);
    passes(&b);
    rejects(&b, |h, _| h.ops[retry as usize].end = End::Ok(Value::Int(2)));
    rejects(&b, |h, _| h.ops[retry as usize].args[2] = Blob::from("2"));
}

#[test]
fn an_error_of_the_session_must_be_true() {
    let mut b = Bench::new();
    let session = b.session(1);
    b.run_once(1, session, 1, "SET k a");
    b.run(1, &format!("SESSION END {session}"));
    b.run_once(1, session, 2, "GET k");
    for (code, op) in
        [(ErrorCode::SessionUnknown, 1), (ErrorCode::SessionConflict, 3), (ErrorCode::SessionStale, 3)]
    {
        rejects(&b, |h, _| h.ops[op].end = End::Failed(Failure::new(code, "no")));
    }
    // A step of a session that has ended.
    rejects(&b, |_, b| {
        let ended = b.log.remove(4);
        b.log.insert(3, ended);
        for (at, entry) in b.log.iter_mut().enumerate() {
            entry.index = Index(at as u64 + 1);
        }
    });
}

#[test]
fn a_session_that_is_ended_early_is_found() {
    let mut b = Bench::new();
    let session = b.session(1);
    b.append_own(Cause::Expiry);
    let end = Effect::SessionEnded { id: SessionId(session), cause: DeleteCause::Expired };
    rejects(&b, |_, b| b.log[3].entry.effects.push(end));
}

#[test]
fn a_stored_answer_that_differs_from_what_was_told_is_found() {
    let mut b = Bench::new();
    let session = b.session(1);
    b.run_once(1, session, 1, "SET k a");
    rejects(&b, |_, b| {
        for effect in &mut b.log[3].entry.effects {
            if let Effect::SessionStepped { reply, .. } = effect {
                reply.outcome = Ok(Value::Nil);
            }
        }
    });
}

#[test]
fn what_the_model_does_not_know_is_no_pass() {
    let b = plain();
    let mut history = b.history();
    history.ops[2].args = super::words("ZADD z 1 m");
    assert!(matches!(judge(&history, &b.log), Verdict::Inconclusive { .. }));
    let mut history = b.history();
    history.ops[2].receipt = None;
    assert!(matches!(judge(&history, &b.log), Verdict::Inconclusive { .. }));
}

#[test]
fn the_work_is_linear_in_the_history() {
    // Quadratic work on this many operations would take minutes.
    let mut b = Bench::new();
    for n in 0..20_000 {
        b.run(n % 8, &format!("SET k{} {n}", n % 500));
        b.run(n % 8, &format!("GET k{}", (n + 1) % 500));
        if n % 10 == 0 {
            b.run_unheard(100 + n, "INCRBY c 1");
        }
    }
    passes(&b);
}
