//! Idempotency ids. The clock stands at 1000000, which is within a day of 1970.

use super::*;

const DAY: u64 = 24 * 3_600_000;

#[test]
fn a_command_under_an_id_is_executed_once_and_answered_as_often_as_it_comes() {
    let mut world = World::new();
    let line = "ONCE RUN id BORN 900000 INCRBY a 5";
    assert_eq!(world.root(line), "5");
    let tail = world.state.tail();
    assert_eq!(world.root(line), "5", "its first attempt is pending");
    world.commit();
    assert_eq!((world.root(line), world.state.tail()), ("5".into(), tail));
    assert_eq!(world.root("ONCE RUN id BORN 900000 INCRBY a 6"), "ONCE_CONFLICT");
    assert_eq!(world.root("ONCE RUN id BORN 900001 INCRBY a 5"), "ONCE_CONFLICT");
    assert_eq!(world.root("GET a"), "\"5\"");
}

#[test]
fn a_failure_is_remembered_too_and_a_refusal_is_not() {
    let mut world = World::with_user("bob", &["READ ON a*"]);
    world.root("SET text x");
    assert_eq!(world.root("ONCE RUN id BORN 900000 INCRBY text 5"), "NOT_AN_INTEGER");
    world.root("SET text 1");
    assert_eq!(world.root("ONCE RUN id BORN 900000 INCRBY text 5"), "NOT_AN_INTEGER");
    let ask = world.ask("bob", "ONCE RUN id BORN 900000 INCRBY a 1");
    assert_eq!(world.run(&ask).text(), "DENIED");
    world.root("GRANT WRITE ON a* TO bob");
    assert_eq!(world.run(&ask).text(), "1", "his own id, which nothing was executed under");
}

#[test]
fn an_id_that_answers_are_no_longer_kept_for_is_never_executed() {
    let mut world = World::new();
    world.now = Millis(DAY + 1_000_000);
    assert_eq!(world.root("ONCE RUN old BORN 1000000 INCRBY a 1"), "ONCE_EXPIRED");
    assert_eq!(world.root("ONCE RUN id BORN 1000001 INCRBY a 1"), "1");
    world.commit();
    let due = Millis(DAY + 1_000_001);
    assert_eq!(world.state.next_due(), Some(due));
    let forgotten = Effect::Kept { user: "root".into(), id: "id".into(), kept: None };
    assert_eq!(world.state.due(due, 9), std::slice::from_ref(&forgotten));
    world.now = due;
    world.append(Cause::Expiry, vec![forgotten]);
    assert_eq!(world.root("ONCE RUN id BORN 1000001 INCRBY a 1"), "ONCE_EXPIRED");
    let tomorrow = world.now.0 + DAY + 1;
    assert_eq!(world.root(&format!("ONCE RUN id BORN {tomorrow} INCRBY a 1")), "ARGUMENT");
    assert_eq!(world.root("GET a"), "\"1\"");
}

#[test]
fn a_transaction_can_be_under_an_id_and_nothing_stays_of_one_that_fails() {
    let mut world = World::new();
    world.root("HSET h f 1");
    assert_eq!(world.root("ONCE RUN id BORN 900000 TXN THEN 3 SET a 1 3 INCRBY h 1"), "WRONG_TYPE");
    assert_eq!(world.root("EXISTS a"), "0");
    assert_eq!(world.root("ONCE RUN other BORN 900000 TXN THEN 3 SET a 1 2 GET a"), "[1, [OK, \"1\"]]");
}

#[test]
fn work_is_had_by_one_at_a_time_and_its_answer_by_all_later_ones() {
    let mut world = World::new();
    let first = world.root("ONCE BEGIN order:1 print 500");
    let token: u64 =
        first.trim_start_matches("{state: first, token: ").trim_end_matches('}').parse().expect(&first);
    assert_eq!(world.root("ONCE BEGIN order:1 print 500"), "{state: running, retry_after_ms: 500}");
    assert_eq!(world.root("ONCE BEGIN order:1 other 500"), "ONCE_CONFLICT");
    assert_eq!(world.root(&format!("ONCE FINISH order:1 {} x", token + 1)), "FENCED");
    world.now = Millis(1_000_500);
    let second = world.root("ONCE BEGIN order:1 print 500");
    let later: u64 =
        second.trim_start_matches("{state: first, token: ").trim_end_matches('}').parse().expect(&second);
    assert!(later > token);
    assert_eq!(world.root(&format!("ONCE FINISH order:1 {token} late")), "FENCED");
    assert_eq!(world.root(&format!("ONCE FAIL order:1 {token}")), "FENCED");
    assert_eq!(world.root(&format!("ONCE FINISH order:1 {later} paid")), "OK");
    assert_eq!(world.root(&format!("ONCE FINISH order:1 {later} paid")), "OK", "said again");
    assert_eq!(world.root(&format!("ONCE FINISH order:1 {later} not")), "FENCED");
    assert_eq!(world.root("ONCE BEGIN order:1 print 500"), "{state: done, answer: \"paid\"}");
    assert_eq!(world.root("ONCE SHOW order:1"), "{state: done, answer: \"paid\"}");
    assert_eq!(world.root("ONCE SHOW none"), "nil");
}

#[test]
fn work_that_was_given_up_is_begun_again_at_once() {
    let mut world = World::new();
    let first = world.root("ONCE BEGIN job print 500");
    let token = first.trim_start_matches("{state: first, token: ").trim_end_matches('}').to_owned();
    assert_eq!(world.root(&format!("ONCE FAIL job {token}")), "OK");
    assert!(world.root("ONCE BEGIN job print 500").starts_with("{state: first"));
}

#[test]
fn what_can_not_be_under_an_id_is_refused_at_once() {
    for (line, code) in [
        ("ONCE RUN order:17 INCRBY a 1", "ARGUMENT"),
        ("ONCE RUN id BORN x INCRBY a 1", "ARGUMENT"),
        ("ONCE RUN id BORN 1 ONCE RUN id BORN 1 PING", "ARGUMENT"),
        ("ONCE RUN id BORN 1 SESSION OPEN", "ARGUMENT"),
        ("ONCE RUN id BORN 1 USER ADD eve secret", "ARGUMENT"),
        ("ONCE RUN id BORN 1 AUTH root secret", "ARGUMENT"),
        ("ONCE RUN id BORN 1 HELP", "ARGUMENT"),
        ("ONCE RUN id BORN 1 GET", "ARITY"),
        ("ONCE RUN id BORN 1 GET a", "ARGUMENT"),
        ("ONCE RUN id BORN 1", "UNKNOWN_COMMAND"),
        ("ONCE BEGIN id print 0", "ARGUMENT"),
    ] {
        let words: Vec<Blob> = line.split(' ').map(Blob::from).collect();
        let failure = parse_words(&words, &Limits::default()).expect_err(line);
        assert_eq!(failure.code.name(), code, "{line}: {failure}");
    }
}
