//! Non-interference: what a user may not read changes nothing that the user sees.

use proptest::prelude::*;

use super::*;

/// What the secrets may be before the user comes. As many entries each, for the log's index is a channel that is declared.
const SECRETS: &[[&str; 2]] = &[
    ["SET s:1 text", "MSET s:2 1 s:3 2 t 3"],
    ["SET s:1 5 PX 300", "SET t 9 PX 1"],
    ["PING", "PING"],
    ["SET s:1 5", "SET s:2 7 PX 100000"],
    ["HSET s:1 f 1", "HSET t f 1 g 2"],
    ["LIMIT FIXED s:1 1 100000", "LIMIT CONCURRENCY s:2 1 me 100"],
    ["ONCE BEGIN s:1 print 100", "ONCE BEGIN t other 100000"],
    ["LOCK ACQUIRE s:1 me PX 1000", "ELECTION CAMPAIGN s:2 me x PX 50"],
    ["LEASE GRANT 100", "SEMAPHORE ACQUIRE s:1 1 me PX 1000"],
];

/// The user may read, ask limiters of, and lock `a*` and the key `s:4`, and write, but not read, everything else.
const GRANTS: &[&str] =
    &["READ ON a*", "READ ON s:4", "LIMIT ON a*", "LIMIT ON s:4", "LOCK ON a*", "LOCK ON s:4", "WRITE ON *"];

/// Every command that names keys, in the forms that differ: `K` and `L` stand for any two of the keys.
const LINES: &[&str] = &[
    "APPEND K x",
    "DECR K",
    "DECRBY K 2",
    "DEL K",
    "DEL K L",
    "EXISTS K",
    "EXISTS K L",
    "EXPIRE K 1",
    "EXPIREAT K 1001",
    "EXPIRETIME K",
    "GET K",
    "GETDEL K",
    "GETEX K",
    "GETEX K PX 5",
    "GETRANGE K 0 1",
    "GETSET K 1",
    "GETV K",
    "HDEL K f",
    "HEXISTS K f",
    "HGET K f",
    "HGETALL K",
    "HINCRBY K f 1",
    "HKEYS K",
    "HLEN K",
    "HMGET K f g",
    "HMSET K f 1 g 2",
    "HSET K f 1",
    "HSETNX K f 1",
    "HVALS K",
    "INCR K",
    "INCRBY K 1",
    "INCRBYFLOAT K 0.5",
    "LIMIT BUCKET K 2 1 50",
    "LIMIT CONCURRENCY K 1 me 50",
    "LIMIT FIXED K 2 50",
    "LIMIT FIXED K 2 50 PEEK",
    "LIMIT RELEASE K me",
    "LIMIT RESET K",
    "LIMIT SLIDING K 2 50",
    "MGET K",
    "MGET K L",
    "MSET K 1 L x",
    "MSETNX K 1 L x",
    "ONCE BEGIN K print 50",
    "ONCE FAIL K 3",
    "ONCE FINISH K 3 done",
    "ONCE RUN id BORN 1000000 INCRBY K 1",
    "ONCE RUN id BORN 1000000 SET K 1",
    "ONCE RUN id BORN 1000000 TXN IF EXISTS K THEN 3 SET L 1",
    "ONCE SHOW K",
    "PERSIST K",
    "PEXPIRE K 0",
    "PEXPIRE K 5 NX",
    "PEXPIREAT K 1 NX",
    "PEXPIRETIME K",
    "PSETEX K 5 1",
    "PTTL K",
    "RENAME K L",
    "RENAMENX K L",
    "SET K 1",
    "SET K 1 GET",
    "SET K 1 IFVERSION 0",
    "SET K 1 IFVERSION 5",
    "SET K 1 KEEPTTL",
    "SET K 1 NX",
    "SET K 1 PX 50",
    "SET K 1 PXAT 1",
    "SET K 1 XX",
    "SETEX K 1 1",
    "SETNX K 1",
    "STRLEN K",
    "TOUCH K L",
    "TTL K",
    "TXN IF EXISTS K THEN 3 SET L 1",
    "TXN IF NUMBER K > 4 THEN 2 GET L ELSE 2 DEL L",
    "TXN IF REVISION K = 0 THEN",
    "TXN IF VALUE K = 5 THEN ELSE 2 GET L",
    "TXN THEN 3 SET K 1 2 GET L",
    "TYPE K",
    "UNLINK K",
    "UNLINK K L",
    "ELECTION CAMPAIGN K me x PX 50",
    "CHANGES 0 KEY K",
    "DROP CONFIRM K 1-0",
    "DROP PREPARE K",
    "ELECTION OBSERVE K",
    "ELECTION PROCLAIM K 9 x",
    "ELECTION RENEW K 9",
    "ELECTION RESIGN K 9",
    "ELECTION SHOW K",
    "LEASE ATTACH 9 K",
    "LEASE ATTACH 12 K L",
    "LEASE DETACH K",
    "LEASE GRANT 50",
    "LEASE KEEPALIVE 9",
    "LEASE LIST",
    "LEASE REVOKE 9",
    "LEASE SHOW 9",
    "LOCK ACQUIRE K me PX 50",
    "LOCK ACQUIRE K you PX 50 WAIT 100",
    "LOCK RELEASE K 9",
    "LOCK RENEW K 9",
    "LOCK SHOW K",
    "SEMAPHORE ACQUIRE K 2 me PX 50",
    "SEMAPHORE RELEASE K 9",
    "SEMAPHORE RENEW K 9",
    "SEMAPHORE SHOW K",
    "SET K 1 FENCE L 9",
    "SET K 1 LEASE 9",
    "TXN IF LEASE K = 9 THEN",
    "TXN IF LOCK K = 9 THEN 3 SET L 1",
    "DBSIZE",
    "INFO",
    "KEYS *",
    "SCAN ''",
    "SCAN '' AFTER s:1 COUNT 2",
    "SCAN '' MATCH *1",
    "SCAN K",
    "SCAN K COUNT 1",
    "SCAN s:",
    "SCAN s: TYPE hash",
    "SESSION OPEN",
    "WHOAMI",
];

fn any_line() -> impl Strategy<Value = String> {
    let key = || proptest::sample::select(&["a1", "a2", "s:1", "s:2", "s:4", "t"][..]);
    (proptest::sample::select(LINES), key(), key()).prop_map(|(line, first, second)| {
        let put = |word: &str| match word {
            "K" => first.to_owned(),
            "L" => second.to_owned(),
            word => word.to_owned(),
        };
        line.split(' ').map(put).collect::<Vec<_>>().join(" ")
    })
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
            // What was logged waits for its own entry, which comes after all that it rests on. A message may tell more than
            // a name.
            let waits_for = done.logged.unwrap_or(done.depends_on());
            (format!("{:?}", done.evaluated.outcome), done.logged, waits_for)
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

#[test]
fn every_command_that_names_keys_is_among_the_lines() {
    let names = |spec: &catalogue::Spec, line: &str| {
        line.strip_prefix(spec.name).is_some_and(|rest| rest.split(' ').any(|word| word == "K"))
    };
    let named = |spec: &catalogue::Spec| LINES.iter().any(|line| names(spec, line));
    let missing: Vec<&str> = catalogue::all()
        .into_iter()
        .filter(|spec| spec.keys != catalogue::Keys::NONE && !named(spec))
        .map(|spec| spec.name)
        .collect();
    assert_eq!(missing, [""; 0]);
}
