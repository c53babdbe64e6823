//! What the commands on keys do.

use super::*;

/// Runs root's lines, each followed by `=>` and its answer, all at one time and uncommitted.
fn story(script: &str) {
    let mut world = World::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (line, answer) = line.split_once(" => ").expect("a line has an answer");
        assert_eq!(world.root(line), answer, "{line}");
    }
}

#[test]
fn set_and_get() {
    story(
        r#"GET a => nil
           SET a 1 => OK
           GET a => "1"
           SET a '' => OK
           GET a => """#,
    );
}

#[test]
fn set_under_a_condition() {
    story(
        r#"SET a 1 XX => nil
           GET a => nil
           SET a 1 NX => OK
           SET a 2 NX => nil
           SET a 3 XX => OK
           GET a => "3""#,
    );
}

#[test]
fn set_with_get_answers_what_was_there_whether_it_sets_or_not() {
    story(
        r#"SET a 1 GET => nil
           SET a 2 GET => "1"
           SET a 3 NX GET => "2"
           GET a => "2"
           SET b 1 NX GET => nil
           SET c 1 XX GET => nil
           EXISTS b c => 1"#,
    );
}

#[test]
fn set_if_version_replaces_only_the_revision_that_was_read() {
    // The first entry is the founding's, so the first SET has revision 2.
    story(
        r#"SET a 1 IFVERSION 1 => nil
           SET a 1 IFVERSION 0 => OK
           GETV a => ["1", 2]
           SET a 2 IFVERSION 0 => nil
           SET a 2 IFVERSION 2 => OK
           SET a 3 IFVERSION 2 => nil
           GETV a => ["2", 3]
           GETV b => nil"#,
    );
}

#[test]
fn del_and_exists_count() {
    story(
        "MSET a 1 b 2 => OK
         EXISTS a a b x => 3
         DEL a a x => 1
         EXISTS a => 0
         DEL a => 0",
    );
}

#[test]
fn mget_and_mset() {
    story(
        r#"MSET a 1 b 2 a 3 => OK
           MGET a x b => ["3", nil, "2"]"#,
    );
}

#[test]
fn all_keys_of_an_mset_have_one_revision() {
    let mut world = World::new();
    world.root("MSET a 1 b 2");
    assert_eq!((world.root("GETV a"), world.root("GETV b")), (r#"["1", 2]"#.into(), r#"["2", 2]"#.into()));
}

#[test]
fn incrby_counts_from_zero_within_64_bits() {
    story(
        "INCRBY n 5 => 5
         INCRBY n -7 => -2
         SET n 9223372036854775806 => OK
         INCRBY n 1 => 9223372036854775807
         INCRBY n 1 => NOT_AN_INTEGER
         INCRBY n -1 => 9223372036854775806
         SET n -9223372036854775808 => OK
         INCRBY n -1 => NOT_AN_INTEGER
         INCRBY n 0 => -9223372036854775808",
    );
}

#[test]
fn incrby_refuses_what_is_no_whole_number_and_leaves_it() {
    for value in ["x", "''", "1.0", "+1", "01", "-0", "9223372036854775808", "1_", "-", "00"] {
        let mut world = World::new();
        world.root(&format!("SET n {value}"));
        assert_eq!(world.root("INCRBY n 1"), "NOT_AN_INTEGER", "{value}");
        let ask = world.ask("root", "INCRBY n 1");
        assert_eq!(world.run(&ask).logged, None, "a failing write without an identity logs nothing");
    }
}

#[test]
fn expiry_counts_down_and_is_taken_away() {
    let mut world = World::new();
    assert_eq!(world.root("PTTL a"), "-2");
    world.root("SET a 1");
    assert_eq!(world.root("PTTL a"), "-1");
    assert_eq!(world.root("EXPIRE a 10"), "1");
    assert_eq!(world.root("PTTL a"), "10000");
    world.now = Millis(world.now.0 + 4_000);
    assert_eq!(world.root("PTTL a"), "6000");
    assert_eq!(
        (world.root("PERSIST a"), world.root("PERSIST a"), world.root("PTTL a")),
        ("1".into(), "0".into(), "-1".into())
    );
    assert_eq!((world.root("PEXPIRE x 1"), world.root("PERSIST x")), ("0".into(), "0".into()));
}

#[test]
fn a_deadline_of_zero_or_less_deletes() {
    story(
        "MSET a 1 b 1 c 1 => OK
         EXPIRE a 0 => 1
         PEXPIRE b -1 => 1
         EXPIRE c -9223372036854775808 => 1
         EXISTS a b c => 0
         EXPIRE a 0 => 0",
    );
}

#[test]
fn set_clears_the_deadline_and_incrby_keeps_it() {
    story(
        "SET n 1 PX 5000 => OK
         PTTL n => 5000
         INCRBY n 1 => 2
         PTTL n => 5000
         SET n 1 => OK
         PTTL n => -1
         SET n 1 EX 7 => OK
         PTTL n => 7000
         MSET n 2 => OK
         PTTL n => -1",
    );
}

#[test]
fn a_key_is_there_until_its_slack_has_passed_and_pttl_never_goes_below_zero() {
    let mut world = World::new();
    world.root("SET a 1 PX 1000");
    // The slack of a second is three milliseconds.
    world.now = Millis(world.now.0 + 1002);
    assert_eq!((world.root("GET a"), world.root("PTTL a")), ("\"1\"".into(), "0".into()));
    world.now = Millis(world.now.0 + 1);
    assert_eq!((world.root("PTTL a"), world.root("GET a")), ("-2".into(), "nil".into()));
}

#[test]
fn a_read_that_finds_a_due_key_logs_its_expiry() {
    let mut world = World::new();
    world.root("SET a 1 PX 1000");
    world.commit();
    world.now = Millis(world.now.0 + 2000);
    let ask = world.ask("root", "GET a");
    let done = world.run(&ask);
    assert_eq!(done.text(), "nil");
    assert!(matches!(done.evaluated.effects[..], [Effect::Delete { .. }]) && done.logged.is_some());
    assert_eq!(world.root("SET a 2 NX"), "OK", "a due key does not exist");
}

#[test]
fn a_failing_command_keeps_the_expiry_that_it_found() {
    let mut world = World::new();
    world.root("SET a 1 PX 1000");
    world.root(&format!("SET big {}", "x".repeat(100)));
    world.now = Millis(world.now.0 + 2000);
    world.limits.frame_bytes = 300;
    let ask = world.ask("root", "MGET a big");
    let done = world.run(&ask);
    assert_eq!(done.text(), "TOO_LARGE");
    assert!(matches!(done.evaluated.effects[..], [Effect::Delete { .. }]));
}

#[test]
fn a_reply_that_shows_time_rests_on_the_time_and_others_do_not() {
    let mut world = World::new();
    world.root("SET a 1 PX 1000");
    world.commit();
    world.now = Millis(world.now.0 + 1);
    for (line, rests_on_time) in [("PTTL a", true), ("PTTL x", false), ("GET a", false), ("EXISTS a", false)]
    {
        let ask = world.ask("root", line);
        assert_eq!(world.evaluate(&ask).time_consulted, rests_on_time, "{line}");
    }
}

#[test]
fn a_reply_too_large_for_a_frame_is_refused_before_anything_is_written() {
    let mut world = World::new();
    world.limits.frame_bytes = 512;
    world.root(&format!("SET a {}", "x".repeat(400)));
    assert_eq!(world.root("SET a small GET"), "TOO_LARGE");
    assert_eq!(world.root("EXISTS a"), "1");
    assert_eq!(world.root("SET a small"), "OK", "the value can still be replaced");
    assert_eq!(world.root("GET a"), "\"small\"");
}

#[test]
fn scan_pages_through_a_prefix_in_order() {
    story(
        r#"MSET b:2 x b:1 x b:3 x a x c x => OK
           SCAN b: => [nil, ["b:1", "b:2", "b:3"]]
           SCAN b: COUNT 2 => ["b:2", ["b:1", "b:2"]]
           SCAN b: AFTER b:2 COUNT 2 => [nil, ["b:3"]]
           SCAN b: COUNT 3 => [nil, ["b:1", "b:2", "b:3"]]
           SCAN '' COUNT 1 => ["a", ["a"]]
           SCAN b: AFTER zzz => [nil, []]
           DEL b:3 => 1
           SCAN b: COUNT 2 => [nil, ["b:1", "b:2"]]
           SCAN x => [nil, []]"#,
    );
}

#[test]
fn a_page_of_a_scan_is_shorter_rather_than_too_large() {
    let mut world = World::new();
    let keys: Vec<String> = (0..9).map(|n| format!("{n}{}", "k".repeat(99))).collect();
    for key in &keys {
        world.root(&format!("SET {key} 1"));
    }
    world.limits.frame_bytes = 256 + 500;
    let (mut seen, mut after) = (0, String::new());
    loop {
        let ask = world.ask("root", format!("SCAN '' {after}").trim_end());
        let outcome = world.run(&ask);
        let Ok(Value::List(reply)) = outcome.evaluated.outcome else {
            panic!("no page but {:?}", outcome.text())
        };
        let [cursor, Value::List(page)] = &reply[..] else { panic!("a page is a cursor and keys") };
        assert!(!page.is_empty(), "every page gets further");
        seen += page.len();
        let Value::Bytes(cursor) = cursor else { break };
        after = format!("AFTER {cursor}");
    }
    assert_eq!(seen, keys.len());
}

#[test]
fn a_reply_depends_on_the_pending_entry_behind_a_value_an_absence_and_a_range() {
    let mut world = World::new();
    world.root("MSET kept 1 gone 1");
    world.commit();
    world.root("SET kept 2");
    world.root("DEL gone");
    let tail = world.state.tail();
    for (line, index) in [
        ("GET kept", tail.prev()),
        ("GET gone", tail),
        ("EXISTS gone", tail),
        ("SCAN g", tail),
        ("GET other", Index(0)),
    ] {
        let ask = world.ask("root", line);
        assert_eq!(world.run(&ask).depends_on(), index, "{line}");
    }
}

#[test]
fn ping_and_info_answer_without_keys() {
    let mut world = World::new();
    assert_eq!((world.root("PING"), world.root("PING hi")), ("PONG".into(), "\"hi\"".into()));
    assert!(world.root("INFO").contains("keys: 0"));
}
