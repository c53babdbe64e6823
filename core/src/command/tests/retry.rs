//! Retries: a write under a session or a forwarding node's number executes once.

use super::*;

/// A world, a session of root's, and an INCRBY under it as command 1.
fn counted() -> (World, SessionId, Ask) {
    let mut world = World::new();
    let session = world.session("root");
    let ask = world.ask("root", "INCRBY n 1").once(session, 1, 0);
    (world, session, ask)
}

#[test]
fn a_retry_after_the_commit_gets_the_first_answer_at_its_position() {
    let (mut world, _, ask) = counted();
    let first = world.run(&ask);
    world.commit();
    world.root("INCRBY n 10");
    let retry = world.run(&ask);
    assert_eq!((first.text(), retry.text()), ("1".into(), "1".into()));
    assert_eq!((retry.stored_at(), retry.logged), (first.logged, None));
    assert!(!retry.evaluated.met_pending_retry);
    assert_eq!(world.root("GET n"), "\"11\"");
}

#[test]
fn a_retry_that_meets_its_pending_first_attempt_waits_for_that_entry() {
    let (mut world, _, ask) = counted();
    let first = world.run(&ask);
    let retry = world.run(&ask);
    assert!(retry.evaluated.met_pending_retry);
    assert_eq!((retry.stored_at(), Some(retry.depends_on())), (first.logged, first.logged));
    assert_eq!((retry.text().as_str(), retry.logged), ("1", None));
}

#[test]
fn a_retry_executes_again_if_its_first_attempt_was_lost_with_the_term() {
    let (mut world, _, ask) = counted();
    world.run(&ask);
    world.state.drop_pending();
    world.uncommitted.clear();
    let retry = world.run(&ask);
    assert_eq!((retry.text().as_str(), retry.stored_at()), ("1", None));
}

#[test]
fn the_same_number_with_another_command_is_a_conflict() {
    let (mut world, session, ask) = counted();
    world.run(&ask);
    let other = world.ask("root", "INCRBY n 2").once(session, 1, 0);
    let done = world.run(&other);
    assert_eq!((done.text().as_str(), done.logged), ("SESSION_CONFLICT", None));
    assert_eq!(world.run(&ask).text(), "1", "and the stored answer stays");
}

#[test]
fn a_write_in_a_session_is_logged_even_if_it_changes_nothing_or_fails() {
    let mut world = World::with_user("bob", &["WRITE ON w*", "READ ON w*"]);
    world.root("SET w:text x");
    let session = world.session("bob");
    for (seq, (line, answer)) in [
        ("DEL w:none", "0"),
        ("INCRBY w:text 1", "NOT_AN_INTEGER"),
        ("SET secret 1", "DENIED"),
        ("SET w:text 1 NX", "nil"),
    ]
    .into_iter()
    .enumerate()
    {
        let ask = world.ask("bob", line).once(session, seq as u64 + 1, 0);
        let first = world.run(&ask);
        assert_eq!(first.text(), answer, "{line}");
        assert!(matches!(first.evaluated.effects[..], [Effect::SessionStepped { .. }]), "{line}");
        world.root("MSET w:text 5 w:none 1");
        world.root("GRANT WRITE ON * TO bob");
        let retry = world.run(&ask);
        assert_eq!((retry.text().as_str(), retry.stored_at()), (answer, first.logged), "{line}");
        world.root("REVOKE WRITE ON * FROM bob");
        world.root("DEL w:none");
        world.root("SET w:text x");
    }
}

#[test]
fn what_was_acknowledged_is_stale_and_what_runs_ahead_is_refused() {
    let (mut world, session, ask) = counted();
    world.run(&ask);
    let line = |world: &World, seq, floor| world.ask("root", "INCRBY n 1").once(session, seq, floor);
    let second = line(&world, 2, 1);
    assert_eq!(world.run(&second).text(), "2");
    assert_eq!(world.run(&ask).text(), "SESSION_STALE", "its answer was acknowledged by the second command");
    for (seq, floor, answer) in [
        (0, 0, "SESSION_STALE"),
        (3, 3, "SESSION_STALE"),
        (3, u64::MAX, "SESSION_STALE"),
        (1 + 257, 0, "SESSION_WINDOW"),
        (u64::MAX, 2, "SESSION_WINDOW"),
        (1 + 256, 0, "3"),
    ] {
        let ask = line(&world, seq, floor);
        assert_eq!(world.run(&ask).text(), answer, "command {seq} with floor {floor}");
    }
}

#[test]
fn commands_of_a_session_may_arrive_in_another_order() {
    let (mut world, session, first) = counted();
    let second = world.ask("root", "INCRBY n 10").once(session, 2, 0);
    assert_eq!((world.run(&second).text(), world.run(&first).text()), ("10".into(), "11".into()));
    assert_eq!((world.run(&second).text(), world.run(&first).text()), ("10".into(), "11".into()));
}

#[test]
fn a_session_that_has_expired_is_a_loud_error() {
    let (mut world, session, ask) = counted();
    world.run(&ask);
    world.commit();
    world.now = Millis(world.now.0 + world.limits.session_ttl_ms);
    let done = world.run(&ask);
    assert_eq!(done.text(), "SESSION_UNKNOWN");
    assert!(matches!(done.evaluated.effects[..], [Effect::SessionEnded { id, .. }] if id == session));
    assert_eq!(world.root("GET n"), "\"1\"");
}

#[test]
fn a_session_of_somebody_else_or_of_nobody_is_unknown() {
    let mut world = World::with_user("bob", &["WRITE ON *", "READ ON *"]);
    let session = world.session("root");
    for id in [session, SessionId(0), SessionId(999)] {
        let ask = world.ask("bob", "INCRBY n 1").once(id, 1, 0);
        let done = world.run(&ask);
        assert_eq!((done.text().as_str(), done.logged), ("SESSION_UNKNOWN", None));
    }
    assert_eq!(world.by("bob", &format!("SESSION END {session}")), "0");
    assert_eq!(world.root(&format!("SESSION END {session}")), "1");
    assert_eq!(world.root(&format!("SESSION END {session}")), "0");
}

#[test]
fn a_session_may_end_itself() {
    let (mut world, session, _) = counted();
    let ask = world.ask("root", &format!("SESSION END {session}")).once(session, 1, 0);
    let done = world.run(&ask);
    assert_eq!((done.text().as_str(), done.evaluated.effects.len()), ("1", 1));
    assert_eq!(world.run(&ask).text(), "SESSION_UNKNOWN");
}

#[test]
fn opening_a_session_again_under_the_same_number_gives_the_same_session() {
    let (mut world, session, _) = counted();
    let ask = world.ask("root", "SESSION OPEN").once(session, 1, 0);
    let first = world.run(&ask);
    assert_eq!(first.text(), first.logged.expect("opening is logged").to_string());
    assert_eq!(world.run(&ask).text(), first.text());
}

#[test]
fn a_read_in_a_session_is_not_logged_and_stores_nothing() {
    let (mut world, session, _) = counted();
    let ask = world.ask("root", "GET n").once(session, 1, 0).forwarded(1, 1, 0);
    let done = world.run(&ask);
    assert_eq!((done.text().as_str(), done.logged), ("nil", None));
}

#[test]
fn a_forwarded_write_executes_once_though_it_is_sent_on_to_another_leader() {
    let mut world = World::new();
    let ask = world.ask("root", "INCRBY n 1").forwarded(3, 7, 2);
    let first = world.run(&ask);
    let again = world.run(&ask);
    assert_eq!((again.text().as_str(), again.stored_at()), ("1", first.logged));
    assert!(again.evaluated.met_pending_retry && Some(again.depends_on()) == first.logged);
    world.commit();
    assert!(!world.run(&ask).evaluated.met_pending_retry);
    let other = world.ask("root", "INCRBY n 2").forwarded(3, 7, 2);
    assert_eq!(world.run(&other).text(), "SESSION_CONFLICT");
    assert_eq!(world.run(&ask).text(), "1", "and the stored answer stays");
}

#[test]
fn a_forwarded_write_that_was_refused_stays_refused_though_it_is_sent_on() {
    let mut world = World::with_user("bob", &[]);
    let session = world.session("bob");
    let denied = world.ask("bob", "SET a 1").forwarded(1, 1, 0);
    let ahead = world.ask("bob", "SESSION OPEN").once(session, 300, 0).forwarded(1, 2, 0);
    let unknown = world.ask("bob", "SESSION OPEN").once(SessionId(99), 1, 0).forwarded(1, 3, 0);
    let asks = [(denied, "DENIED"), (ahead, "SESSION_WINDOW"), (unknown, "SESSION_UNKNOWN")];
    for (ask, answer) in &asks {
        assert_eq!(world.run(ask).text(), *answer);
    }
    world.root("GRANT WRITE ON a TO bob");
    world.limits.session_window = 1000;
    for (ask, answer) in &asks {
        assert_eq!(world.run(ask).text(), *answer, "the client may have been told already");
    }
}

#[test]
fn a_forwarding_nodes_older_boot_and_acknowledged_commands_are_refused() {
    let mut world = World::new();
    let line = |world: &World, boot, seq, floor| world.ask("root", "INCRBY n 1").forwarded(boot, seq, floor);
    for (boot, seq, floor, answer) in [
        (2, 5, 4, "1"),
        (2, 4, 0, "SESSION_STALE"),
        (2, 6, 6, "SESSION_STALE"),
        (1, 9, 0, "SESSION_STALE"),
        (3, 1, 0, "2"),
        (2, 7, 0, "SESSION_STALE"),
    ] {
        let ask = line(&world, boot, seq, floor);
        assert_eq!(world.run(&ask).text(), answer, "boot {boot}, command {seq}, floor {floor}");
    }
}

#[test]
fn a_forwarded_read_does_not_see_a_later_write_of_the_same_node() {
    let mut world = World::new();
    let write = world.ask("root", "SET a 1").forwarded(1, 5, 0);
    world.run(&write);
    for (boot, seq, answer) in [(1, 4, "LEADER_CHANGED"), (1, 6, "\"1\""), (2, 1, "\"1\"")] {
        let read = world.ask("root", "GET a").forwarded(boot, seq, 0);
        let done = world.run(&read);
        assert_eq!((done.text().as_str(), done.logged), (answer, None), "boot {boot}, command {seq}");
    }
}

#[test]
fn a_command_with_both_numbers_is_found_under_either() {
    let (mut world, session, ask) = counted();
    let first = world.run(&ask.clone().forwarded(1, 1, 0));
    assert_eq!(first.evaluated.effects.len(), 3, "the value, the step and the forwarding are one entry");
    let elsewhere = world.run(&ask.clone().forwarded(1, 2, 0));
    assert_eq!((elsewhere.text().as_str(), elsewhere.stored_at()), ("1", first.logged));
    let directly = world.run(&ask);
    assert_eq!(directly.stored_at(), first.logged);
    // The forwarding node's number is looked at first, so that an ended session does not hide the answer.
    world.root(&format!("SESSION END {session}"));
    assert_eq!(world.run(&ask.forwarded(1, 1, 0)).text(), "1");
}

#[test]
fn a_retry_under_another_password_is_another_command() {
    let (mut world, session, _) = counted();
    let ask = world.ask("root", "USER ADD bob secret").once(session, 1, 0);
    assert_eq!((world.run(&ask).text(), world.run(&ask).text()), ("OK".into(), "OK".into()));
    let other = world.ask("root", "USER ADD bob guess").once(session, 1, 0);
    assert_eq!(world.run(&other).text(), "SESSION_CONFLICT");
}

#[test]
fn nothing_is_written_below_the_feature_level() {
    let mut world = World::new();
    world.state = State::default();
    world.uncommitted.clear();
    world.mode = AccessMode::InsecureNoAuth;
    let ask = |line| Ask { principal: Principal::Anybody, ..world.ask("root", line) };
    let (write, read) = (ask("SET a 1"), ask("GET a"));
    let done = world.run(&write.forwarded(1, 1, 0));
    assert_eq!((done.text().as_str(), done.logged), ("FEATURE_LEVEL", None));
    assert_eq!(world.run(&read).text(), "nil");
}

#[test]
fn what_holds_a_command_of_a_later_level_can_be_asked_again_when_that_is_reached() {
    let (mut world, session, _) = counted();
    world.append(Cause::System, vec![Effect::Level(1)]);
    let asks = [
        world.ask("root", "TXN THEN 4 HSET h f v").once(session, 1, 0),
        world.ask("root", "TXN THEN 4 HSET h f v").forwarded(1, 1, 0),
    ];
    for ask in &asks {
        let done = world.run(ask);
        assert_eq!((done.text().as_str(), done.logged), ("FEATURE_LEVEL", None), "nothing is remembered");
    }
    world.append(Cause::System, vec![Effect::Level(FEATURE_LEVEL)]);
    assert_eq!(world.run(&asks[0]).text(), "[1, [1]]");
}
