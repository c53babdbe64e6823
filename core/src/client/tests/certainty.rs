//! Failed means that nothing happened and nothing will; Unknown is everything less than that.

use super::*;
use crate::protocol::native::Once;

#[test]
fn a_deadline_before_anything_was_sent_is_a_failure() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "SET k v", 300);
    t.pass(299);
    assert!(t.pending(1));
    t.pass(1);
    assert_eq!(t.told(1).failed(), Some(ErrorCode::DeadlineExceeded));
    assert_eq!(t.told(1).attempts, 0);
}

#[test]
fn a_deadline_after_nothing_but_refusals_is_a_failure() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "SET k v", 300);
    let conn = t.accept_with_session(9);
    let request = t.request(conn);
    assert_eq!(request.deadline_ms, 300);
    t.reply(conn, &request, refusal(ErrorCode::Overloaded));
    t.pass(50);
    let retry = t.request(conn);
    t.reply(conn, &retry, refusal(ErrorCode::Overloaded));
    t.now = t.now.after(Micros::from_millis(300));
    t.step(ClientInput::Tick);
    assert_eq!(t.told(1).failed(), Some(ErrorCode::DeadlineExceeded));
    assert!(
        matches!(&t.told(1).outcome, OpOutcome::Failed(failure) if failure.message.contains("OVERLOADED"))
    );
}

#[test]
fn a_deadline_with_an_attempt_under_way_is_unknown() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "SET k v", 300);
    let conn = t.accept_with_session(9);
    let request = t.request(conn);
    t.pass(300);
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::TimedOut));
    t.reply(conn, &request, ok());
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::TimedOut), "a late answer changes nothing");
}

#[test]
fn a_refusal_of_the_last_attempt_does_not_undo_the_doubt_about_an_earlier_one() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "SET k v", 3000);
    let first = t.accept_with_session(9);
    t.request(first);
    t.hang_up(first);
    let second = t.accept();
    let retry = t.request(second);
    t.reply(second, &retry, refusal(ErrorCode::NoLeader));
    t.now = t.now.after(Micros::from_millis(3000));
    t.step(ClientInput::Tick);
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::TimedOut));
}

#[test]
fn a_number_that_was_given_up_is_below_the_floor_of_the_next_command() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "SET k 1", 300);
    let conn = t.accept_with_session(9);
    t.request(conn);
    t.pass(300);
    t.submit(2, "SET k 2");
    assert_eq!(t.requests(conn), ["SET k 2 @9.2/1"], "so that the server refuses it should it still arrive");
}

#[test]
fn an_evaluated_error_is_final_even_after_a_lost_answer() {
    let mut t = Bench::new(config(1));
    t.submit(1, "INCRBY k 1");
    let first = t.accept_with_session(9);
    t.request(first);
    t.hang_up(first);
    let second = t.accept();
    let retry = t.request(second);
    t.reply(second, &retry, evaluated(Err(ErrorCode::NotAnInteger), 12));
    assert_eq!(t.told(1).failed(), Some(ErrorCode::NotAnInteger));
}

#[test]
fn a_refusal_before_evaluation_is_final_only_if_nothing_is_in_doubt() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k");
    let first = t.accept_with_session(9);
    let request = t.request(first);
    t.reply(first, &request, refusal(ErrorCode::Arity));
    assert_eq!(t.told(1).failed(), Some(ErrorCode::Arity));
    t.submit(2, "SET k");
    t.request(first);
    t.hang_up(first);
    let second = t.accept();
    let retry = t.request(second);
    t.reply(second, &retry, refusal(ErrorCode::Arity));
    assert_eq!(t.told(2).unknown(), Some(ErrorCode::Arity));
}

#[test]
fn a_write_without_a_session_is_never_sent_again_once_its_answer_is_missing() {
    let mut t = Bench::new(ClientConfig { use_session: false, ..config(1) });
    t.submit(1, "SET k 1");
    t.submit(2, "SET k 2");
    let first = t.accept();
    let one = t.request(first);
    t.reply(first, &one, refusal(ErrorCode::TimedOut));
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::TimedOut));
    t.hang_up(first);
    assert_eq!(t.told(2).unknown(), Some(ErrorCode::TimedOut));
    t.submit(3, "SET k 3");
    let second = t.accept();
    assert_eq!(t.requests(second), ["SET k 3"], "only what was not sent before");
}

#[test]
fn a_write_without_a_session_is_sent_again_after_a_definite_refusal() {
    let mut t = Bench::new(ClientConfig { use_session: false, ..config(2) });
    t.submit(1, "SET k 1");
    let first = t.accept();
    let one = t.request(first);
    t.reply(first, &one, refusal(ErrorCode::NoLeader));
    let second = t.accept();
    let retry = t.request(second);
    t.reply(second, &retry, evaluated(Err(ErrorCode::Denied), 4));
    assert_eq!(t.told(1).failed(), Some(ErrorCode::Denied));
}

#[test]
fn a_read_is_asked_again_whatever_happened_and_never_unknown() {
    let mut t = Bench::new(config(1));
    t.submit_until(1, "GET k", 5000);
    let first = t.accept();
    let request = t.request(first);
    t.reply(first, &request, refusal(ErrorCode::LeaderLost));
    assert_eq!(t.closed, [first], "who has lost its term may be cut off");
    let second = t.accept();
    t.pass(20);
    t.request(second);
    t.hang_up(second);
    let third = t.accept();
    t.request(third);
    t.pass(5000);
    assert_eq!(t.told(1).failed(), Some(ErrorCode::DeadlineExceeded));
}

#[test]
fn an_answer_on_an_older_connection_or_to_another_attempt_is_ignored() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    let first = t.accept_with_session(9);
    let lost = t.request(first);
    t.hang_up(first);
    let second = t.accept();
    let retry = t.request(second);
    t.reply(first, &lost, ok());
    assert!(t.pending(1), "that connection is gone");
    t.reply(second, &lost, ok());
    assert!(t.pending(1), "that attempt is not of this connection");
    t.reply(second, &retry, ok());
    t.reply(second, &retry, ok());
    assert!(t.told(1).is_ok());
}

#[test]
fn a_refused_login_leads_to_another_and_without_credentials_is_final() {
    let credentials = Some(Credentials { user: Blob::from("u"), password: "p".into() });
    let mut t = Bench::new(ClientConfig { credentials, ..config(1) });
    t.submit(1, "GET k");
    let first = t.accept();
    let request = t.request(first);
    t.reply(first, &request, refusal(ErrorCode::Unauthenticated));
    assert_eq!(t.closed, [first]);
    let second = t.accept();
    let retry = t.request(second);
    t.reply(second, &retry, ok());
    assert!(t.told(1).is_ok());

    let mut t = Bench::new(config(1));
    t.submit(1, "GET k");
    let conn = t.accept();
    let request = t.request(conn);
    t.reply(conn, &request, refusal(ErrorCode::Unauthenticated));
    assert_eq!(t.told(1).failed(), Some(ErrorCode::Unauthenticated));
}

#[test]
fn what_is_too_large_for_the_server_is_refused_before_it_is_sent() {
    let mut t = Bench::new(ClientConfig { use_session: false, ..config(1) });
    t.step(ClientInput::Submit {
        op: OpId(1),
        args: vec![Blob::from("SET"), Blob::from("k"), Blob::from(vec![0; 2 << 20])],
        deadline_ms: 0,
        again: None,
    });
    t.submit(2, "GET k");
    let conn = t.accept();
    assert_eq!(t.told(1).failed(), Some(ErrorCode::TooLarge));
    assert_eq!(t.requests(conn), ["GET k"]);
}

#[test]
fn more_than_the_client_may_hold_is_refused_and_so_is_what_makes_no_sense() {
    let mut t = Bench::new(ClientConfig { waiting: 2, ..config(1) });
    for op in 1..=3 {
        t.submit(op, "GET k");
    }
    assert_eq!(t.told(3).failed(), Some(ErrorCode::Overloaded));
    let mut t = Bench::new(ClientConfig { waiting_bytes: 10, ..config(1) });
    t.submit(1, "GET 12345");
    t.submit(2, "GET k");
    assert_eq!(t.told(2).failed(), Some(ErrorCode::Overloaded));
    t.submit(3, "");
    assert_eq!(t.told(3).failed(), Some(ErrorCode::Argument));
    t.submit(4, "auth root secret");
    assert_eq!(t.told(4).failed(), Some(ErrorCode::Argument));
}

#[test]
fn an_answer_too_large_to_be_had_is_unknown_for_a_write_and_asked_for_once() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v GET");
    t.submit(2, "GET k");
    let conn = t.accept_with_session(9);
    let get = t.request(conn);
    let set = t.request(conn);
    t.reply(conn, &set, evaluated(Err(ErrorCode::ReplyTooLarge), 12));
    t.reply(conn, &get, evaluated(Err(ErrorCode::ReplyTooLarge), 12));
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::ReplyTooLarge));
    assert_eq!(t.told(2).failed(), Some(ErrorCode::ReplyTooLarge));
    assert!(t.closed.is_empty() && t.requests(conn).is_empty());
}

#[test]
fn what_was_asked_before_is_asked_again_under_its_number_and_a_refusal_leaves_it_unknown() {
    let mut t = Bench::new(config(1));
    let again = Some((SessionId(40), 3));
    for op in 1..=2 {
        t.step(ClientInput::Submit { op: OpId(op), args: words("SET k v"), deadline_ms: 3000, again });
    }
    let first = t.accept();
    let request = t.request(first);
    assert_eq!(
        request.once,
        Some(Once { session: SessionId(40), seq: 3, floor: 0 }),
        "in no session of its own"
    );
    t.hang_up(first);
    let second = t.accept();
    for (op, answer) in [(1, ok()), (2, refusal(ErrorCode::SessionStale))] {
        let retry = t.request(second);
        assert_eq!(retry.once, request.once);
        t.reply(second, &retry, answer);
        assert!(!t.pending(op));
    }
    assert!(t.told(1).is_ok());
    assert_eq!(t.told(2).unknown(), Some(ErrorCode::SessionStale), "an earlier life may have been heard");
}

#[test]
fn what_was_asked_before_and_is_not_taken_on_now_stays_unknown() {
    let mut t = Bench::new(ClientConfig { waiting: 1, ..config(1) });
    t.submit(1, "GET k");
    let again = Some((SessionId(40), 3));
    t.step(ClientInput::Submit { op: OpId(2), args: words("SET k v"), deadline_ms: 3000, again });
    assert_eq!(t.told(2).unknown(), Some(ErrorCode::Overloaded));
}
