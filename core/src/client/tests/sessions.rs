//! How writes are numbered, retried and ordered.

use super::*;

#[test]
fn a_lost_answer_is_asked_for_again_under_the_same_number_and_a_fresh_id() {
    let mut t = Bench::new(config(2));
    t.submit(1, "SET k v");
    let first = t.accept_with_session(40);
    let lost = t.request(first);
    assert_eq!(text(&lost), "SET k v @40.1/0");
    t.hang_up(first);
    let second = t.accept();
    let retry = t.request(second);
    assert_eq!(text(&retry), "SET k v @40.1/0");
    assert_ne!(retry.id, lost.id);
    t.reply(second, &retry, ok());
    assert!(t.told(1).is_ok());
    assert_eq!((t.told(1).attempts, t.told(1).once), (2, Some((SessionId(40), 1))));
    assert_eq!(t.told(1).receipt.map(|receipt| receipt.position), Some(Index(5)));
}

#[test]
fn commands_go_out_as_they_were_submitted_and_in_one_pipeline() {
    let mut t = Bench::new(config(1));
    for (op, command) in ["SET a 1", "GET a", "SET b 2", "GET b"].into_iter().enumerate() {
        t.submit(op as u64, command);
    }
    let conn = t.accept();
    let open = t.request(conn);
    assert_eq!(t.requests(conn), ["GET a", "GET b"], "reads need no session and pass");
    t.reply(conn, &open, evaluated(Ok(Value::Int(9)), 9));
    t.submit(4, "GET c");
    assert_eq!(t.requests(conn), ["SET a 1 @9.1/0", "SET b 2 @9.2/0", "GET c"]);
}

#[test]
fn after_a_lost_connection_retries_come_first_and_in_the_order_of_their_numbers() {
    let mut t = Bench::new(config(2));
    for op in 1..=3 {
        t.submit(op, &format!("SET k {op}"));
    }
    let first = t.accept_with_session(9);
    assert_eq!(t.requests(first).len(), 3);
    t.submit(4, "GET k");
    t.hang_up(first);
    t.submit(5, "SET k 5");
    let second = t.accept();
    let expected = ["SET k 1 @9.1/0", "SET k 2 @9.2/0", "SET k 3 @9.3/0", "GET k", "SET k 5 @9.4/0"];
    assert_eq!(t.requests(second), expected);
}

#[test]
fn the_floor_tells_the_server_which_answers_it_may_forget() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET a 1");
    t.submit(2, "SET a 2");
    let conn = t.accept_with_session(9);
    let (one, two) = (t.request(conn), t.request(conn));
    t.reply(conn, &two, ok());
    t.submit(3, "SET a 3");
    assert_eq!(text(&t.request(conn)), "SET a 3 @9.3/0", "1 is not answered");
    t.reply(conn, &one, ok());
    t.submit(4, "SET a 4");
    assert_eq!(text(&t.request(conn)), "SET a 4 @9.4/2");
}

#[test]
fn numbers_never_run_beyond_the_window_and_reads_pass_the_writes_that_wait_for_it() {
    let mut t = Bench::new(config(1));
    for op in 1..=10 {
        t.submit(op, "INCRBY n 1");
    }
    t.submit(11, "GET n");
    let conn = t.accept_with_session(9);
    assert_eq!(t.request(conn).args, words("GET n"));
    let first = t.request(conn);
    assert_eq!(t.requests(conn).len(), 7, "the window is 8");
    t.reply(conn, &first, ok());
    assert_eq!(t.requests(conn), ["INCRBY n 1 @9.9/1"]);
}

#[test]
fn a_command_refused_for_its_session_gets_a_number_in_a_new_one() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    let conn = t.accept_with_session(9);
    let request = t.request(conn);
    t.reply(conn, &request, evaluated(Err(ErrorCode::SessionUnknown), 50));
    t.pass(100);
    t.open_session(conn, 60);
    let retry = t.request(conn);
    assert_eq!(text(&retry), "SET k v @60.1/0");
    t.reply(conn, &retry, ok());
    assert!(t.told(1).is_ok());
}

#[test]
fn a_command_in_doubt_whose_session_is_gone_is_unknown_and_never_sent_again() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k 1");
    t.submit(2, "SET k 2");
    let first = t.accept_with_session(9);
    assert_eq!(t.requests(first).len(), 2);
    t.hang_up(first);
    let second = t.accept();
    let one = t.request(second);
    t.reply(second, &one, evaluated(Err(ErrorCode::SessionUnknown), 50));
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::SessionUnknown));
    let two = t.request(second);
    t.reply(second, &two, evaluated(Err(ErrorCode::SessionUnknown), 51));
    assert_eq!(t.told(2).unknown(), Some(ErrorCode::SessionUnknown));
    t.submit(3, "SET k 3");
    t.open_session(second, 60);
    assert_eq!(t.requests(second), ["SET k 3 @60.1/0"]);
}

#[test]
fn a_flight_of_a_gone_session_that_is_lost_with_its_connection_is_unknown() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k 1");
    t.submit(2, "SET k 2");
    let conn = t.accept_with_session(9);
    let one = t.request(conn);
    t.reply(conn, &one, evaluated(Err(ErrorCode::SessionUnknown), 50));
    assert!(t.pending(1) && t.pending(2));
    t.hang_up(conn);
    assert_eq!(t.told(2).unknown(), Some(ErrorCode::SessionUnknown));
    t.accept_with_session(60);
    assert!(t.pending(1), "nothing of it was ever executed: it goes on in the new session");
}

#[test]
fn after_an_indeterminate_answer_the_rest_is_refused_and_all_retried_in_order_elsewhere() {
    let mut t = Bench::new(config(2));
    for op in 1..=3 {
        t.submit(op, &format!("SET k {op}"));
    }
    let first = t.accept_with_session(9);
    let sent: Vec<_> = (0..3).map(|_| t.request(first)).collect();
    t.reply(first, &sent[0], ok());
    t.reply(first, &sent[1], refusal(ErrorCode::LeaderLost));
    t.submit(4, "SET k 4");
    assert_eq!(t.requests(first), [""; 0], "a poisoned connection gets nothing more");
    t.reply(first, &sent[2], refusal(ErrorCode::AfterIndeterminate));
    assert_eq!(t.closed, [first]);
    let second = t.accept();
    assert_eq!(t.requests(second), ["SET k 2 @9.2/1", "SET k 3 @9.3/1", "SET k 4 @9.4/1"]);
}

#[test]
fn a_session_that_is_refused_for_good_fails_the_writes_and_not_the_reads() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    t.submit(2, "GET k");
    let conn = t.accept();
    let open = t.request(conn);
    t.reply(conn, &open, evaluated(Err(ErrorCode::LimitReached), 3));
    assert_eq!(t.told(1).failed(), Some(ErrorCode::LimitReached));
    let get = t.request(conn);
    t.reply(conn, &get, ok());
    assert!(t.told(2).is_ok());
}

#[test]
fn a_session_is_asked_for_again_when_the_answer_was_lost_or_the_node_was_busy() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    let first = t.accept();
    assert_eq!(t.requests(first), ["SESSION OPEN"]);
    t.hang_up(first);
    let second = t.accept();
    let open = t.request(second);
    t.reply(second, &open, refusal(ErrorCode::Overloaded));
    t.pass(100);
    t.open_session(second, 61);
    assert_eq!(t.requests(second), ["SET k v @61.1/0"]);
}

#[test]
fn commands_about_sessions_and_those_of_a_client_without_one_carry_no_number() {
    let mut t = Bench::new(ClientConfig { use_session: false, ..config(1) });
    t.submit(1, "SET k v");
    let conn = t.accept();
    assert_eq!(t.requests(conn), ["SET k v"]);
    let mut t = Bench::new(config(1));
    t.submit(1, "session end 5");
    let conn = t.accept();
    let request = t.request(conn);
    assert_eq!(request.once, None);
    t.reply(conn, &request, evaluated(Err(ErrorCode::SessionUnknown), 9));
    assert_eq!(t.told(1).failed(), Some(ErrorCode::SessionUnknown));
}

#[test]
fn a_stopped_client_ends_its_session_and_tells_what_it_knows() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    let conn = t.accept_with_session(9);
    t.request(conn);
    t.submit(2, "GET k");
    t.request(conn);
    t.step(ClientInput::Shutdown);
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::ShuttingDown));
    assert_eq!(t.told(2).failed(), Some(ErrorCode::ShuttingDown));
    let end = t.request(conn);
    assert_eq!(text(&end), "SESSION END 9");
    assert!(!t.stopped);
    t.reply(conn, &end, ok());
    assert!(t.stopped);
    assert_eq!(t.closed, [conn]);
    t.submit(3, "GET k");
    assert_eq!(t.told(3).failed(), Some(ErrorCode::ShuttingDown));
}

#[test]
fn a_stopped_client_waits_for_a_silent_server_no_longer_than_it_must() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    let conn = t.accept_with_session(9);
    t.step(ClientInput::Shutdown);
    t.pass(499);
    assert!(!t.stopped);
    t.pass(1);
    assert!(t.stopped);
    assert_eq!(t.closed, [conn]);
}
