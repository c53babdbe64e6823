//! What the client does when the cluster has too much to do: it comes again when it is told to, and it does not make it worse by
//! logging in anew.

use super::{Bench, config, evaluated, ok, refusal};
use crate::error::{ErrorCode, Failure};
use crate::reply::Reply;
use crate::time::Micros;

fn overloaded(millis: u64) -> Reply {
    Reply::refused(Failure::overloaded("full", Micros::from_millis(millis)))
}

#[test]
fn it_waits_as_long_as_it_is_told_and_at_most_half_longer() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "SET k v", 10_000);
    let conn = t.accept_with_session(9);
    let request = t.request(conn);
    t.reply(conn, &request, overloaded(800));
    t.pass(799);
    assert_eq!(t.requests(conn), [""; 0], "not before");
    t.pass(402);
    let retry = t.request(conn);
    assert_eq!(retry.once, request.once, "the same number");
    t.reply(conn, &retry, ok());
    assert_eq!(t.closed, [], "on the same connection");
}

#[test]
fn who_could_not_be_answered_in_time_any_more_is_told_at_once() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "SET k v", 300);
    let conn = t.accept_with_session(9);
    let request = t.request(conn);
    t.reply(conn, &request, overloaded(400));
    assert_eq!(t.told(1).failed(), Some(ErrorCode::Overloaded));
}

#[test]
fn those_who_were_refused_together_do_not_come_back_together() {
    let mut t = Bench::new(config(1));
    for op in 1..=20 {
        t.submit_until(op, &format!("GET k{op}"), 10_000);
    }
    let conn = t.accept();
    let requests: Vec<_> = (0..20).map(|_| t.request(conn)).collect();
    for request in &requests {
        t.reply(conn, request, overloaded(1000));
    }
    let mut after = Vec::new();
    for _ in 0..16 {
        after.push(t.requests(conn).len());
        t.pass(100);
    }
    assert_eq!(after[..10].iter().sum::<usize>(), 0, "{after:?}");
    assert!(after.iter().all(|count| *count < 12), "{after:?}");
}

#[test]
fn a_node_that_is_late_is_not_left_until_it_is_late_time_and_again() {
    for code in [ErrorCode::DeadlineExceeded, ErrorCode::TimedOut] {
        let mut t = Bench::new(config(2));
        t.submit_until(1, "SET k v", 20_000);
        let first = t.accept_with_session(9);
        for attempt in 0..3 {
            assert_eq!(t.closed, [], "{code:?} {attempt}");
            let request = t.request(first);
            assert_eq!(request.unknowns, if code == ErrorCode::TimedOut { attempt } else { 0 });
            t.reply(first, &request, refusal(code));
            t.pass(100);
        }
        assert_eq!(t.closed, [first], "{code:?}");
        let second = t.accept();
        t.pass(1000);
        let request = t.request(second);
        assert_eq!(request.unknowns, 0, "another connection");
        t.reply(second, &request, evaluated(Ok(crate::reply::Value::ok()), 7));
        assert!(!t.pending(1));
    }
}

#[test]
fn what_was_sent_behind_an_unknown_outcome_is_sent_again_at_once_on_the_same_connection() {
    let mut t = Bench::new(config(2));
    for op in 1..=3 {
        t.submit(op, &format!("SET k {op}"));
    }
    let conn = t.accept_with_session(9);
    let sent: Vec<_> = (0..3).map(|_| t.request(conn)).collect();
    t.reply(conn, &sent[0], refusal(ErrorCode::TimedOut));
    t.reply(conn, &sent[1], refusal(ErrorCode::AfterIndeterminate));
    let again = t.request(conn);
    assert_eq!((again.once, again.unknowns), (sent[1].once, 1));
    t.reply(conn, &again, refusal(ErrorCode::AfterIndeterminate));
    assert_eq!(t.closed, [], "an answer is under way");
    t.reply(conn, &sent[2], ok());
    assert_eq!(t.closed, [conn], "who says that it knows and is refused for it had better leave");
}
