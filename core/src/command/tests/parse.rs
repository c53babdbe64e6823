//! What parsing refuses, and what it says.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;

fn refusal(line: &str) -> String {
    match parse_words(&words(line), &Limits::default()) {
        Err(failure) => failure.to_string(),
        Ok(parsed) => panic!("{line} is accepted as {parsed:?}"),
    }
}

#[test]
fn conflicting_and_repeated_options_are_errors() {
    for line in [
        "SET a b NX XX",
        "SET a b NX NX",
        "SET a b NX IFVERSION 3",
        "SET a b IFVERSION 1 IFVERSION 1",
        "SET a b EX 1 PX 1",
        "SET a b EX 1 EX 1",
        "SET a b GET GET",
        "SET a b IFVERSION 1 GET",
        "SCAN a COUNT 1 COUNT 1",
        "SCAN a AFTER b AFTER b",
    ] {
        assert!(refusal(line).starts_with("ARGUMENT"), "{line}");
    }
}

#[test]
fn words_that_mean_nothing_are_errors() {
    for line in [
        "SET a b FOO",
        "TXN THEN 4 DROP CONFIRM a b",
        "SET a b EX",
        "SET a b IFVERSION",
        "SET a b IFVERSION -1",
        "SET a b IFVERSION +1",
        "SCAN a FOO",
        "SCAN a COUNT",
        "SCAN a COUNT 0",
        "SCAN a COUNT 1001",
        "SCAN a COUNT x",
        "PING a b",
        "INCRBY a x",
        "INCRBY a +1",
        "INCRBY a 9223372036854775808",
        "EXPIRE a 1.5",
        "GRANT READ TO a b c",
        "GRANT FLY ON a TO bob",
        "GRANT READ ON a FROM bob",
        "GRANT READ ON a[b TO bob",
        "GRANT READ ON a*  bob",
        "GRANT READ ON a TO ROLE bob x",
        "DENY READ ON a FROM bob",
        "UNDENY READ ON a TO bob",
        "ROLE GIVE ops FROM bob",
        "CHECK bob FLY a",
        "GRANT ADMIN ON a* TO bob",
        "GRANT ADMIN ON keys TO bob",
        "GRANT ADMIN ON user? TO bob",
        "REVOKE READ ON a TO bob",
        "USER ADD '' secret",
        "USER ADD b\tb secret",
        "USER ADD bob ''",
        "SESSION END x",
        "HELP GET a",
    ] {
        assert!(refusal(line).starts_with("ARGUMENT"), "{line}: {}", refusal(line));
    }
    assert_eq!(refusal("MSET a 1 b"), "ARITY the last name has no value: write MSET key value [key value …]");
    assert!(refusal("HELP FLY").starts_with("UNKNOWN_COMMAND"));
    assert!(refusal("USERLOOKUP root").starts_with("UNKNOWN_COMMAND"));
    assert!(
        refusal("USER LOOKUP root").starts_with("UNKNOWN_COMMAND"),
        "the node's own question is nobody else's"
    );
}

#[test]
fn a_time_to_live_stays_in_its_range() {
    for line in [
        "SET a b EX 0",
        "SET a b PX 0",
        "SET a b PX -1",
        "SET a b EX 2000000001",
        "SET a b PX 2000000000001",
        "SET a b EX 9223372036854775807",
        "EXPIRE a 2000000001",
        "EXPIRE a 9223372036854775807",
        "PEXPIRE a 2000000000001",
        "EXPIRE a 9223372036854775808",
    ] {
        assert!(refusal(line).starts_with("ARGUMENT"), "{line}");
    }
    for line in ["SET a b EX 2000000000", "PEXPIRE a 2000000000000", "EXPIRE a -9223372036854775808"] {
        let mut world = World::new();
        world.root("SET a 1");
        assert!(["1", "OK"].contains(&world.root(line).as_str()), "{line}");
    }
}

#[test]
fn sizes_are_measured_against_the_limits() {
    let limits = Limits { key_bytes: 4, value_bytes: 6, name_bytes: 5, arguments: 9, ..Limits::default() };
    for (line, fits) in [
        ("SET keys values", true),
        ("SET keys5 v", false),
        ("SET k values7", false),
        ("MSET a 1 keys5 2", false),
        ("MSET a 1 b values7", false),
        ("DEL a b c keys5", false),
        ("SCAN keys5", false),
        ("SCAN k AFTER keys5", false),
        ("PING values7", false),
        ("DEL 1 2 3 4 5 6 7 8", true),
        ("DEL 1 2 3 4 5 6 7 8 9", false),
        ("USER ADD names secre", true),
        ("USER ADD names6 s", false),
        ("USER ADD n secret", false),
        ("AUTH names6 s", false),
        ("GRANT READ ON patte* TO bob", false),
    ] {
        let parsed = parse_words(&words(line), &limits);
        let refused = parsed.as_ref().err().map(|failure| failure.code);
        assert_eq!(refused, if fits { None } else { Some(ErrorCode::TooLarge) }, "{line}");
    }
}

#[test]
fn commands_and_keywords_may_be_written_in_any_case() {
    let limits = Limits::default();
    assert_eq!(command("set a b px 5 nx get", &limits), command("SET a b PX 5 NX GET", &limits));
    assert_eq!(command("Grant Read On a To bob", &limits), command("GRANT READ ON a TO bob", &limits));
    assert_eq!(command("scan a after b count 3", &limits), command("SCAN a AFTER b COUNT 3", &limits));
}

#[test]
fn an_option_word_is_a_key_or_value_where_one_stands() {
    let mut world = World::new();
    assert_eq!(world.root("SET NX XX"), "OK");
    assert_eq!(world.root("GET NX"), "\"XX\"");
}

#[test]
fn nothing_printed_or_refused_shows_a_password() {
    let limits = Limits { name_bytes: 8, ..Limits::default() };
    for line in ["AUTH bob hunter2", "USER ADD bob hunter2", "USER PASSWORD bob hunter2"] {
        assert!(!format!("{:?}", parse_words(&words(line), &limits)).contains("hunter2"), "{line}");
        let long = format!("{:?}", parse_words(&words(&format!("{line}hunter2")), &limits));
        assert!(long.contains("TooLarge") && !long.contains("hunter2"), "{long}");
    }
    let bytes = [Blob::from("AUTH"), Blob::from("bob"), Blob::from(&b"hunter2\xff"[..])];
    assert!(!format!("{:?}", parse_words(&bytes, &limits)).contains("hunter2"));
}

#[test]
fn every_command_of_the_catalogue_has_a_parser() {
    for spec in catalogue::all() {
        let mut line = words(spec.name);
        line.resize(usize::from(spec.arity.unsigned_abs()).max(line.len()), Blob::from("1"));
        if let Err(failure) = parse_words(&line, &Limits::default()) {
            assert_eq!(failure.code, ErrorCode::Argument, "{}: {failure}", spec.name);
            assert!(!failure.message.contains("no parser"), "{}: {failure}", spec.name);
        }
    }
}

#[test]
fn help_answers_from_the_catalogue() {
    let answer = |line: &str| match parse_words(&words(line), &Limits::default()) {
        Ok(Parsed::Help(question)) => value_text(&question.answer()),
        other => panic!("{line} is no question but {other:?}"),
    };
    assert!(answer("HELP").contains("GET key: \"Reads a key\""));
    assert!(answer("help user add").contains("USER ADD name password"));
    assert!(answer("COMMAND").contains(r#"["mset", -3, [write], 1, -1, 2]"#));
    assert!(answer("COMMAND DOCS set user|add fly").matches("summary").count() == 2);
    assert_eq!(answer("COMMAND DOCS").matches("summary").count(), catalogue::all().len());
}

/// Words that mean something somewhere, so that random lines come far into the parser.
fn any_word() -> impl Strategy<Value = Blob> {
    const KNOWN: &[&str] = &[
        "set",
        "GET",
        "mset",
        "del",
        "scan",
        "expire",
        "incrby",
        "user",
        "add",
        "grant",
        "revoke",
        "read",
        "on",
        "to",
        "from",
        "a",
        "a*",
        "nx",
        "xx",
        "px",
        "ex",
        "ifversion",
        "after",
        "count",
        "1",
        "-1",
        "0",
        "9223372036854775807",
        "help",
        "command",
        "docs",
        "session",
        "end",
        "open",
        "ping",
        "auth",
        "pexpire",
        "admin",
        "*",
        "bob",
        "",
    ];
    prop_oneof![
        9 => proptest::sample::select(KNOWN).prop_map(Blob::from),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Blob::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_words_are_refused_or_parsed_and_what_is_parsed_can_be_written_down(
        line in proptest::collection::vec(any_word(), 0..8),
    ) {
        let limits = Limits::default();
        if let Ok(Parsed::Command(command)) = parse_words(&line, &limits) {
            let mut spelled = Vec::new();
            command.words(&mut |word| spelled.push(Blob::from(word.bytes())));
            prop_assert_eq!(parse_words(&spelled, &limits), Ok(Parsed::Command(command)));
        }
    }
}
