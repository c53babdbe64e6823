//! What limiters answer, line by line. The clock stands at 1000000.

use super::*;

fn says(allowed: u64, remaining: u64, reset: u64, retry: &str) -> String {
    format!("{{allowed: {allowed}, remaining: {remaining}, reset_ms: {reset}, retry_after_ms: {retry}}}")
}

#[test]
fn a_fixed_window_begins_anew_at_its_multiples() {
    let mut world = World::new();
    world.now = Millis(1_000_300);
    assert_eq!(world.root("LIMIT FIXED l 3 1000 PEEK"), says(1, 2, 700, "0"));
    assert_eq!(world.root("LIMIT FIXED l 3 1000 COST 2"), says(1, 1, 700, "0"));
    assert_eq!(world.root("LIMIT FIXED l 3 1000 COST 2"), says(0, 1, 700, "700"));
    assert_eq!(world.root("LIMIT FIXED l 3 1000 COST 4"), says(0, 1, 700, "nil"));
    assert_eq!(world.root("LIMIT FIXED l 3 1000"), says(1, 0, 700, "0"));
    world.now = Millis(1_001_000);
    assert_eq!(world.root("LIMIT FIXED l 3 1000"), says(1, 2, 1000, "0"));
    assert_eq!(world.root("LIMIT SLIDING l 3 1000"), "WRONG_TYPE");
    assert_eq!(world.root("LIMIT RESET l"), "1");
    assert_eq!(world.root("LIMIT RESET l"), "0");
    assert_eq!(world.root("LIMIT SLIDING l 3 3200 COST 3"), says(1, 0, 3299, "0"));
}

#[test]
fn a_bucket_fills_again_and_a_refusal_says_when() {
    let mut world = World::new();
    assert_eq!(world.root("LIMIT BUCKET l 4 2 1000 COST 4"), says(1, 0, 2000, "0"));
    assert_eq!(world.root("LIMIT BUCKET l 4 2 1000"), says(0, 0, 2000, "500"));
    world.now = Millis(1_000_500);
    assert_eq!(world.root("LIMIT BUCKET l 4 2 1000"), says(1, 0, 2000, "0"));
}

#[test]
fn a_place_is_kept_by_its_holder_and_goes_after_its_time() {
    let mut world = World::new();
    assert_eq!(world.root("LIMIT CONCURRENCY l 2 ann 500"), says(1, 1, 500, "0"));
    assert_eq!(world.root("LIMIT CONCURRENCY l 2 bob 900"), says(1, 0, 900, "0"));
    assert_eq!(world.root("LIMIT CONCURRENCY l 2 cyd 100"), says(0, 0, 900, "500"));
    assert_eq!(world.root("LIMIT CONCURRENCY l 1 cyd 100"), says(0, 0, 900, "900"));
    assert_eq!(world.root("LIMIT CONCURRENCY l 2 ann 700"), says(1, 0, 900, "0"));
    assert_eq!(world.root("LIMIT RELEASE l bob"), "1");
    assert_eq!(world.root("LIMIT RELEASE l bob"), "0");
    assert_eq!(world.root("LIMIT CONCURRENCY l 2 cyd 100 PEEK"), says(1, 0, 700, "0"));
    world.now = Millis(1_000_700);
    assert_eq!(world.root("LIMIT RELEASE l ann"), "0", "its time is over");
    assert_eq!(world.root("LIMIT CONCURRENCY l 1 cyd 100"), says(1, 0, 100, "0"));
}

#[test]
fn a_refusal_and_a_peek_log_nothing_but_the_time() {
    let mut world = World::new();
    world.root("LIMIT FIXED l 1 1000");
    let tail = world.state.tail();
    for line in ["LIMIT FIXED l 1 1000", "LIMIT FIXED l 1 1000 PEEK", "LIMIT RELEASE none me"] {
        world.root(line);
    }
    assert_eq!(world.state.tail(), tail);
}

#[test]
fn limiters_and_keys_know_nothing_of_each_other() {
    let mut world = World::with_user("bob", &["LIMIT ON api:*"]);
    assert_eq!(world.root("SET api:1 x"), "OK");
    assert_eq!(world.root("LIMIT FIXED api:1 1 1000"), says(1, 0, 1000, "0"));
    assert_eq!(world.root("GET api:1"), "\"x\"");
    let ask = world.ask("bob", "LIMIT FIXED api:2 1 1000");
    assert_eq!(world.run(&ask).text(), says(1, 0, 1000, "0"));
    for line in ["LIMIT FIXED other 1 1000", "LIMIT RESET api:2", "GET api:1"] {
        let ask = world.ask("bob", line);
        assert_eq!(world.run(&ask).text(), "DENIED", "{line}");
    }
}

#[test]
fn what_a_limiter_remembers_goes_when_it_makes_no_difference() {
    let mut world = World::new();
    world.root("LIMIT FIXED l 1 1000");
    world.commit();
    assert_eq!(world.state.next_due(), Some(Millis(1_001_000)));
    assert_eq!(world.state.due(Millis(1_000_999), 9), []);
    assert_eq!(world.state.due(Millis(1_001_000), 9), [Effect::Limited { name: "l".into(), limiter: None }]);
}

#[test]
fn numbers_out_of_range_are_refused_at_once() {
    for line in [
        "LIMIT FIXED l 0 1000",
        "LIMIT FIXED l 1 0",
        "LIMIT FIXED l 1 99999999999999",
        "LIMIT FIXED l 1 1000 COST 0",
        "LIMIT FIXED l 1 1000 PEEK PEEK",
        "LIMIT BUCKET l 1 0 1000",
        "LIMIT BUCKET l 1 1 1000000001",
        "LIMIT BUCKET l 1000000001 1 1000",
        "LIMIT CONCURRENCY l 1001 me 1000",
        "LIMIT CONCURRENCY l 1 me 0",
    ] {
        let words: Vec<Blob> = line.split(' ').map(Blob::from).collect();
        let failure = parse_words(&words, &Limits::default()).expect_err(line);
        assert_eq!(failure.code.name(), "ARGUMENT", "{line}");
    }
}
