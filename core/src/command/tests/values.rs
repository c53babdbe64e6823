//! What the commands on strings, hashes and keys of any kind answer, line by line.

use super::*;

/// Runs lines as root, each with the answer that it must have.
fn script(world: &mut World, lines: &[(&str, &str)]) {
    for (line, answer) in lines {
        assert_eq!(world.root(line), *answer, "{line}");
    }
}

#[test]
fn strings_are_what_redis_says() {
    let mut world = World::new();
    script(
        &mut world,
        &[
            ("SETNX a 1", "1"),
            ("SETNX a 2", "0"),
            ("MSETNX a 1 b 2", "0"),
            ("MSETNX b 2 c 3", "1"),
            ("GETDEL c", "\"3\""),
            ("GETDEL c", "nil"),
            ("APPEND a 23", "3"),
            ("APPEND new x", "1"),
            ("STRLEN a", "3"),
            ("STRLEN none", "0"),
            ("GETRANGE a -2 -1", "\"23\""),
            ("GETSET a 5", "\"123\""),
            ("INCR a", "6"),
            ("DECR a", "5"),
            ("DECRBY a 7", "-2"),
            ("INCRBYFLOAT a 0.1", "\"-1.9\""),
            ("INCRBYFLOAT a 2e-1", "\"-1.7\""),
            ("INCRBYFLOAT new 1", "NOT_A_NUMBER"),
            ("ECHO hello", "\"hello\""),
            ("TOUCH a b none", "2"),
            ("UNLINK a b none", "2"),
        ],
    );
}

#[test]
fn deadlines_are_kept_moved_and_compared() {
    let mut world = World::new();
    // The clock stands at 1000000.
    script(
        &mut world,
        &[
            ("SETEX a 10 1", "OK"),
            ("TTL a", "10"),
            ("SET a 2 KEEPTTL", "OK"),
            ("PTTL a", "10000"),
            ("APPEND a x", "2"),
            ("PTTL a", "10000"),
            ("PEXPIRE a 5000 GT", "0"),
            ("PEXPIRE a 5000 LT", "1"),
            ("PEXPIRE a 6000 NX", "0"),
            ("PEXPIRE a 6000 XX", "1"),
            ("PEXPIRETIME a", "1006000"),
            ("EXPIRETIME a", "1006"),
            ("GETEX a PERSIST", "\"2x\""),
            ("TTL a", "-1"),
            ("PEXPIRE a 1 GT", "0"),
            ("PEXPIRE a 9000 LT", "1"),
            ("GETEX a PXAT 1002000", "\"2x\""),
            ("PTTL a", "2000"),
            ("SET a 3", "OK"),
            ("PTTL a", "-1"),
            ("PSETEX b 700 1", "OK"),
            ("EXPIREAT a 1001", "1"),
            ("PTTL a", "1000"),
            ("PEXPIREAT a 999999", "1"),
            ("EXISTS a", "0"),
            ("SET b 1 PXAT 999999 GET", "\"1\""),
            ("EXISTS b", "0"),
            ("TTL none", "-2"),
        ],
    );
}

#[test]
fn a_key_moves_with_its_deadline_and_takes_the_place_of_another() {
    let mut world = World::new();
    script(
        &mut world,
        &[
            ("RENAME a b", "NO_SUCH_KEY"),
            ("MSET a 1 b 2", "OK"),
            ("PEXPIRE a 5000", "1"),
            ("RENAMENX a b", "0"),
            ("RENAME a b", "OK"),
            ("MGET a b", "[nil, \"1\"]"),
            ("PTTL b", "5000"),
            ("RENAME b b", "OK"),
            ("RENAMENX b c", "1"),
            ("RENAMENX c c", "0"),
            ("DBSIZE", "1"),
        ],
    );
    world.now = Millis(world.now.0 + 6_000);
    script(&mut world, &[("DBSIZE", "1"), ("EXISTS c", "0"), ("DBSIZE", "0")]);
}

#[test]
fn hashes_are_what_redis_says() {
    let mut world = World::new();
    script(
        &mut world,
        &[
            ("HSET h b 1 a 2 b 3", "2"),
            ("HSET h a 9 c 1", "1"),
            ("HMSET h d 4", "OK"),
            ("HSETNX h d 5", "0"),
            ("HSETNX h e 5", "1"),
            ("HGETALL h", "<\"a\" => \"9\", \"b\" => \"3\", \"c\" => \"1\", \"d\" => \"4\", \"e\" => \"5\">"),
            ("HKEYS h", "[\"a\", \"b\", \"c\", \"d\", \"e\"]"),
            ("HVALS h", "[\"9\", \"3\", \"1\", \"4\", \"5\"]"),
            ("HLEN h", "5"),
            ("HMGET h a none", "[\"9\", nil]"),
            ("HGET h none", "nil"),
            ("HGET none f", "nil"),
            ("HEXISTS h a", "1"),
            ("HINCRBY h a -10", "-1"),
            ("HINCRBY h n 7", "7"),
            ("HINCRBY h n 9223372036854775807", "NOT_AN_INTEGER"),
            ("HDEL h a a b none", "2"),
            ("TYPE h", "hash"),
            ("PEXPIRE h 5000", "1"),
            ("HSET h z 1", "1"),
            ("PTTL h", "5000"),
            ("HDEL h c d e n z", "5"),
            ("TYPE h", "none"),
            ("HGETALL h", "<>"),
            ("HSET h z 1", "1"),
            ("PTTL h", "-1"),
        ],
    );
}

#[test]
fn a_command_for_another_kind_is_refused_and_changes_nothing() {
    let mut world = World::new();
    script(&mut world, &[("HSET h f 1", "1"), ("SET s 1", "OK")]);
    let tail = world.state.tail();
    for line in [
        "GET h",
        "GETV h",
        "INCRBY h 1",
        "INCRBYFLOAT h 1",
        "APPEND h x",
        "STRLEN h",
        "GETRANGE h 0 1",
        "GETDEL h",
        "GETEX h PX 5",
        "GETSET h x",
        "SET h x GET",
        "HSET s f 1",
        "HGET s f",
        "HGETALL s",
        "HDEL s f",
        "HLEN s",
        "HINCRBY s f 1",
    ] {
        assert_eq!(world.root(line), "WRONG_TYPE", "{line}");
    }
    assert_eq!(world.state.tail(), tail);
    script(
        &mut world,
        &[("MGET s h", "[\"1\", nil]"), ("SET h x", "OK"), ("GET h", "\"x\""), ("TYPE h", "string")],
    );
}

#[test]
fn keys_are_found_by_pattern_and_kind_page_by_page() {
    let mut world = World::new();
    script(
        &mut world,
        &[
            ("MSET user:1 a user:2 b user:10 c other d", "OK"),
            ("HSET user:3 f 1", "1"),
            ("KEYS user:?", "[\"user:1\", \"user:2\", \"user:3\"]"),
            ("KEYS user:[13]*", "[\"user:1\", \"user:10\", \"user:3\"]"),
            ("KEYS *1", "[\"user:1\"]"),
            ("SCAN user: TYPE hash", "[nil, [\"user:3\"]]"),
            ("SCAN user: MATCH *1* COUNT 1", "[\"user:1\", [\"user:1\"]]"),
            ("SCAN user: AFTER user:1 MATCH *1* COUNT 1", "[\"user:10\", [\"user:10\"]]"),
            ("SCAN user: MATCH none", "[nil, []]"),
            ("DBSIZE", "5"),
        ],
    );
    world.limits.keys_walked = 2;
    script(
        &mut world,
        &[
            ("KEYS *", "TOO_LARGE"),
            ("SCAN user: MATCH *3 COUNT 9", "[\"user:10\", []]"),
            ("SCAN user: AFTER user:10 MATCH *3 COUNT 9", "[nil, [\"user:3\"]]"),
        ],
    );
}

#[test]
fn a_large_hash_is_refused_as_a_whole_and_told_in_parts() {
    let mut world = World::new();
    world.limits.frame_bytes = 4096;
    for field in 0..100 {
        assert_eq!(world.root(&format!("HSET h field:{field} {}", "x".repeat(40))), "1");
    }
    assert_eq!(world.root("HGETALL h"), "TOO_LARGE");
    assert_eq!(world.root("HLEN h"), "100");
    assert_eq!(world.root("HGET h field:99"), format!("{:?}", "x".repeat(40)));
    world.limits.hash_fields = 100;
    assert_eq!(world.root("HSET h more 1"), "LIMIT_REACHED");
    assert_eq!(world.root("HSET h field:1 1"), "0");
}

#[test]
fn what_can_be_said_without_the_state_is_said_at_once() {
    let code = |line: &str| {
        let words: Vec<Blob> = line.split(' ').map(Blob::from).collect();
        parse_words(&words, &Limits::default()).expect_err("refused").code.name()
    };
    for (line, name) in [
        ("SET b 1 EX 5 KEEPTTL", "ARGUMENT"),
        ("SET b 1 PXAT 0", "ARGUMENT"),
        ("GETEX a KEEPTTL", "ARGUMENT"),
        ("GETEX a PX 5 PERSIST", "ARGUMENT"),
        ("SETEX a 0 1", "ARGUMENT"),
        ("PEXPIRE a 5 NX XX", "ARGUMENT"),
        ("DECRBY a -9223372036854775808", "NOT_AN_INTEGER"),
        ("INCRBYFLOAT b x", "NOT_A_NUMBER"),
        ("SCAN user: TYPE list", "ARGUMENT"),
        ("HSET a f", "ARITY"),
        ("HSET a f 1 g", "ARITY"),
        ("MSETNX a 1 b", "ARITY"),
    ] {
        assert_eq!(code(line), name, "{line}");
    }
}
