//! Non-interference: what a user may not read changes nothing that the user sees.

use proptest::prelude::*;

use super::*;

/// What the secret keys may be before the user comes. As many entries each, for the log's index is a channel
/// that is declared.
const SECRETS: &[[&str; 2]] = &[
    ["SET s:1 text", "MSET s:2 1 s:3 2 t 3"],
    ["SET s:1 5 PX 300", "SET t 9 PX 1"],
    ["PING", "PING"],
    ["SET s:1 5", "SET s:2 7 PX 100000"],
    ["HSET s:1 f 1", "HSET t f 1 g 2"],
];

/// The user may read and write `a*` and the key `s:4`, and write, but not read, everything else.
const GRANTS: &[&str] = &["READ ON a*", "READ ON s:4", "WRITE ON *"];

fn any_line() -> impl Strategy<Value = String> {
    let key = || proptest::sample::select(&["a1", "a2", "s:1", "s:2", "s:4", "t"][..]);
    let one = proptest::sample::select(
        &[
            "GET",
            "GETV",
            "DEL",
            "EXISTS",
            "PTTL",
            "PERSIST",
            "MGET",
            "INCRBY 1",
            "EXPIRE 1",
            "PEXPIRE 0",
            "SET 1",
            "SET 1 PX 50",
            "SET 1 NX",
            "SET 1 XX",
            "SET 1 GET",
            "SET 1 IFVERSION 5",
            "SET 1 IFVERSION 0",
            "SCAN",
            "SCAN COUNT 1",
            "SCAN MATCH *1",
            "SCAN TYPE hash",
            "KEYS",
            "TYPE",
            "TTL",
            "EXPIRETIME",
            "SETNX 1",
            "GETDEL",
            "GETEX PX 5",
            "GETSET 1",
            "SET 1 KEEPTTL",
            "SET 1 PXAT 1",
            "SETEX 1 1",
            "INCRBYFLOAT 0.5",
            "APPEND x",
            "STRLEN",
            "GETRANGE 0 1",
            "PEXPIREAT 1 NX",
            "HSET f 1",
            "HGET f",
            "HGETALL",
            "HDEL f",
            "HINCRBY f 1",
        ][..],
    );
    let with_key = (one, key()).prop_map(|(command, key)| match command.split_once(' ') {
        None => format!("{command} {key}"),
        Some((name, rest)) => format!("{name} {key} {rest}"),
    });
    let two = proptest::sample::select(&["MGET", "DEL", "EXISTS", "RENAME", "RENAMENX", "MSETNX x"][..]);
    prop_oneof![
        6 => with_key,
        1 => (two, key(), key()).prop_map(|(command, first, second)| match command.split_once(' ') {
            None => format!("{command} {first} {second}"),
            Some((name, value)) => format!("{name} {first} {value} {second} {value}"),
        }),
        1 => (key(), key()).prop_map(|(first, second)| format!("MSET {first} 1 {second} x")),
        1 => proptest::sample::select(&["SCAN ''", "SCAN s:", "SCAN '' AFTER s:1 COUNT 2", "INFO", "WHOAMI", "SESSION OPEN", "KEYS *", "DBSIZE"][..])
            .prop_map(str::to_owned),
    ]
}

/// All that the user sees: each answer, whether it was logged, and what it waits for.
fn seen(secret: &[&str; 2], lines: &[(String, u64)], commit: bool) -> Vec<(String, Option<Index>, Index)> {
    let mut world = World::with_user("bob", GRANTS);
    for line in secret {
        let ask = world.ask("root", line);
        let effects = world.evaluate(&ask).effects;
        world.append(Cause::Command, effects);
    }
    if commit {
        world.commit();
    }
    lines
        .iter()
        .map(|(line, passed)| {
            world.now = Millis(world.now.0 + passed);
            let ask = world.ask("bob", line);
            let done = world.run(&ask);
            // A message may tell more than a name.
            (format!("{:?}", done.evaluated.outcome), done.logged, done.depends_on())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_secret_changes_nothing_that_a_user_sees_who_may_not_read_it(
        lines in proptest::collection::vec((any_line(), 0_u64..200), 1..12),
        one in 0..SECRETS.len(), other in 0..SECRETS.len(), commit: bool,
    ) {
        prop_assert_eq!(seen(&SECRETS[one], &lines, commit), seen(&SECRETS[other], &lines, commit));
    }
}

#[test]
fn a_secret_that_may_be_read_is_seen() {
    let lines = [("SET s:1 1 NX".to_owned(), 0)];
    let mut differ = SECRETS.to_vec();
    differ.dedup_by_key(|secret| {
        let mut world = World::new();
        secret.iter().for_each(|line| drop(world.root(line)));
        world.root(&lines[0].0)
    });
    assert!(differ.len() > 1, "the secrets differ for one who may read them, or the property proves nothing");
}
