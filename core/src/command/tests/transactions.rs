//! Transactions: what decides them, what they change, and what stays of one that fails.

use super::*;

fn script(world: &mut World, lines: &[(&str, &str)]) {
    for (line, answer) in lines {
        assert_eq!(world.root(line), *answer, "{line}");
    }
}

#[test]
fn conditions_decide_which_list_is_executed() {
    let mut world = World::new();
    script(
        &mut world,
        &[
            ("TXN IF MISSING a THEN 3 SET a 5 2 GET a", "[1, [OK, \"5\"]]"),
            ("TXN IF MISSING a THEN 3 SET a 6 ELSE 2 GET a", "[0, [\"5\"]]"),
            ("TXN IF EXISTS a VALUE a = 5 THEN 3 INCRBY a 1 3 INCRBY a 1", "[1, [6, 7]]"),
            ("TXN IF VALUE a != 7 THEN ELSE 2 GET a", "[0, [\"7\"]]"),
            ("TXN IF VALUE none != x THEN", "[1, []]"),
            ("TXN IF VALUE none = x THEN", "[0, []]"),
            ("TXN IF NUMBER a > 6 NUMBER a <= 7 THEN 2 DEL a", "[1, [1]]"),
            ("TXN IF NUMBER a > -9 THEN 2 GET a", "[0, []]"),
            ("TXN IF REVISION a = 0 THEN 4 HSET h f 1 4 HSET h g 2 2 HLEN h", "[1, [1, 1, 2]]"),
            (
                "TXN IF REVISION h > 0 THEN 3 HDEL h f 3 RENAME h i 2 HGETALL i",
                "[1, [1, OK, <\"g\" => \"2\">]]",
            ),
        ],
    );
}

#[test]
fn all_of_it_stands_at_one_position() {
    let mut world = World::new();
    let before = world.state.tail();
    world.root("TXN THEN 3 SET a 1 3 SET b 2 3 INCRBY c 3");
    assert_eq!(world.state.tail(), before.next());
    world.commit();
    let revisions: Vec<Index> = world.state.iter_keys().map(|(_, record)| record.revision).collect();
    assert_eq!(revisions, [before.next(); 3]);
}

#[test]
fn nothing_stays_of_a_transaction_that_fails() {
    let mut world = World::new();
    script(&mut world, &[("HSET h f 1", "1"), ("SET text x", "OK")]);
    let tail = world.state.tail();
    for (line, code) in [
        ("TXN THEN 3 SET a 1 3 INCRBY h 1", "WRONG_TYPE"),
        ("TXN THEN 3 SET a 1 3 RENAME none b", "NO_SUCH_KEY"),
        ("TXN IF NUMBER text > 1 THEN 3 SET a 1", "NOT_AN_INTEGER"),
        ("TXN IF VALUE h = 1 THEN 3 SET a 1", "WRONG_TYPE"),
    ] {
        assert_eq!(world.root(line), code, "{line}");
    }
    assert_eq!(world.state.tail(), tail);
    assert_eq!(world.root("EXISTS a"), "0");
    let ask = world.ask("root", "TXN THEN 3 SET a 1 3 INCRBY h 1");
    let failure = world.run(&ask).evaluated.outcome.expect_err("fails");
    assert!(failure.message.starts_with("command 2 of THEN: "), "{failure}");
}

#[test]
fn both_lists_and_all_conditions_are_permitted_or_nothing_is() {
    let mut world = World::with_user("bob", &["READ ON a*", "WRITE ON a*", "LIMIT ON a*"]);
    let mut bob = |line: &str| {
        let ask = world.ask("bob", line);
        world.run(&ask).text()
    };
    assert_eq!(
        bob("TXN IF MISSING a THEN 3 SET a 1 5 LIMIT FIXED a 1 1000"),
        "[1, [OK, {allowed: 1, remaining: 0, reset_ms: 1000, retry_after_ms: 0}]]"
    );
    for line in [
        "TXN IF EXISTS a THEN 2 GET a ELSE 2 GET secret",
        "TXN IF MISSING a THEN 2 GET secret ELSE 2 GET a",
        "TXN IF EXISTS secret THEN 2 GET a",
        "TXN THEN 3 SET secret 1",
        "TXN THEN 3 RENAME a secret",
    ] {
        assert_eq!(bob(line), "DENIED", "{line}");
    }
}

#[test]
fn what_can_not_be_in_one_is_refused_at_once() {
    for (line, code) in [
        ("TXN", "ARITY"),
        ("TXN IF THEN 2 GET a", "ARGUMENT"),
        ("TXN IF EXISTS a", "ARGUMENT"),
        ("TXN IF VALUE a < 1 THEN", "ARGUMENT"),
        ("TXN IF NUMBER a ~ 1 THEN", "ARGUMENT"),
        ("TXN THEN 3 GET a", "ARGUMENT"),
        ("TXN THEN 1 GET", "ARITY"),
        ("TXN THEN 99999999999 GET a", "ARGUMENT"),
        ("TXN THEN 0", "UNKNOWN_COMMAND"),
        ("TXN THEN 2 GET a 2", "ARGUMENT"),
        ("TXN THEN 2 GET a OR", "ARGUMENT"),
        ("TXN THEN 4 TXN THEN 1 PING", "ARGUMENT"),
        ("TXN THEN 2 SCAN a", "ARGUMENT"),
        ("TXN THEN 2 KEYS a*", "ARGUMENT"),
        ("TXN THEN 1 DBSIZE", "ARGUMENT"),
        ("TXN THEN 1 INFO", "ARGUMENT"),
        ("TXN THEN 4 USER ADD eve secret", "ARGUMENT"),
        ("TXN THEN 3 AUTH root secret", "ARGUMENT"),
        ("TXN THEN 2 SESSION OPEN", "ARGUMENT"),
    ] {
        let words: Vec<Blob> = line.split(' ').map(Blob::from).collect();
        let failure = parse_words(&words, &Limits::default()).expect_err(line);
        assert_eq!(failure.code.name(), code, "{line}: {failure}");
    }
    let mut many = vec![Blob::from("TXN"), Blob::from("THEN")];
    (0..257).for_each(|_| many.extend(["2", "GET", "a"].map(Blob::from)));
    assert_eq!(parse_words(&many, &Limits::default()).expect_err("too many").code.name(), "TOO_LARGE");
}

#[test]
fn a_retry_of_a_transaction_gets_its_first_answer() {
    let mut world = World::new();
    let session = SessionId(world.root("SESSION OPEN").parse().expect("a number"));
    let once = |mut ask: Ask| {
        ask.once = Some(Once { session, seq: 1, floor: 0 });
        ask
    };
    let first = once(world.ask("root", "TXN THEN 3 INCRBY a 1"));
    assert_eq!(world.run(&first).text(), "[1, [1]]");
    assert_eq!(world.run(&first).text(), "[1, [1]]");
    let other = once(world.ask("root", "TXN THEN 3 INCRBY a 2"));
    assert_eq!(world.run(&other).text(), "SESSION_CONFLICT");
    assert_eq!(world.root("GET a"), "\"1\"");
}

#[test]
fn a_transaction_that_comes_to_more_than_an_entry_or_a_reply_fails_whole() {
    let mut world = World::new();
    let value = "v".repeat(900_000);
    assert_eq!(world.root(&format!("SET big {value}")), "OK");
    let tail = world.state.tail();
    let appends = format!("TXN THEN{}", " 3 APPEND big x".repeat(20));
    assert_eq!(world.root(&appends), "TOO_LARGE");
    let reads = format!("TXN THEN 3 SET a 1{}", " 2 GET big".repeat(20));
    assert_eq!(world.root(&reads), "TOO_LARGE");
    assert_eq!((world.state.tail(), world.root("EXISTS a")), (tail, "0".into()));
    for field in 0..70 {
        let fields: String = (0..1000).map(|n| format!(" {}", field * 1000 + n) + " 1").collect();
        assert_eq!(world.root(&format!("HSET h{fields}")), "1000");
    }
    // Few bytes, and more values than a reply has room for.
    assert_eq!(world.root("TXN THEN 2 HKEYS h 2 HKEYS h 3 SET a 1"), "TOO_LARGE");
    assert_eq!(world.root("EXISTS a"), "0");
}

#[test]
fn a_key_that_was_due_is_gone_before_a_transaction_builds_on_its_name() {
    let mut world = World::new();
    world.root("HSET k a 1");
    world.root("PEXPIRE k 100");
    world.commit();
    world.now = Millis(world.now.0 + 5_000);
    let line = "TXN THEN 4 HSET k f v 3 RENAME k l 3 SET k x 2 HGETALL l";
    assert_eq!(world.root(line), "[1, [1, OK, OK, <\"f\" => \"v\">]]");
    world.commit();
    assert_eq!(world.root("HGETALL l"), "<\"f\" => \"v\">");
    assert_eq!(world.root("PTTL l"), "-1");
}

#[test]
fn a_chain_of_transactions_is_refused_without_being_followed() {
    let mut words = Vec::new();
    for left in (0..1300).rev() {
        words.extend(["TXN".to_owned(), "THEN".into(), (left * 3).to_string()]);
    }
    let words: Vec<Blob> = words.into_iter().map(Blob::from).collect();
    assert_eq!(parse_words(&words, &Limits::default()).expect_err("refused").code.name(), "ARGUMENT");
}
