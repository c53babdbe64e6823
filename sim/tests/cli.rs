//! The command line: what it prints, and with which status it ends.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> (i32, String, String) {
    let binary = env!("CARGO_BIN_EXE_steadfast-sim");
    let Output { status, stdout, stderr } = Command::new(binary).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A file that is gone when the test is over.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("steadfast-sim-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_campaign_ends_in_one_line_of_totals() {
    let (code, stdout, _) = sim(&["run", "--seeds", "0..4", "--jobs", "2"]);
    let last = stdout.lines().last().unwrap();
    assert_eq!(code, 0, "{stdout}");
    assert!(last.starts_with("seeds=4 passed=4 failed=0 inconclusive=0 ops="), "{last}");
    assert!(last.contains(" faults=") && last.contains(" sim_seconds=") && last.contains(" cpu_seconds="));
}

#[test]
fn shards_divide_the_seeds_and_json_says_the_same() {
    let part = |shard| {
        let (_, stdout, _) = sim(&["run", "--seeds", "0..5", "--shard", shard, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        report["seeds"].as_u64().unwrap()
    };
    assert_eq!((part("1/2"), part("2/2")), (3, 2));
}

#[test]
fn a_failing_schedule_is_reported_with_what_reproduces_it_and_shrinks() {
    let mut schedule = steadfast_sim::draw::schedule(4);
    schedule.bounds.clients_us = 0;
    let (file, smaller) = (Scratch::new("failing.json"), Scratch::new("smaller.json"));
    std::fs::write(file.path(), schedule.to_json()).unwrap();
    let (code, stdout, _) = sim(&["run", "--schedule", file.path()]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("FAILED seed 4\n  options    nodes="), "{stdout}");
    assert!(stdout.contains("\n  judge      liveness\n"));
    assert!(stdout.contains(&format!("\n  reproduce  steadfast-sim replay {} --trace\n", file.path())));
    let (code, _, stderr) = sim(&["shrink", file.path(), "--budget", "10s", "--out", smaller.path()]);
    assert_eq!(code, 1, "{stderr}");
    let (code, stdout, _) = sim(&["replay", smaller.path()]);
    assert_eq!(code, 1);
    assert!(stdout.contains("failed: liveness"), "{stdout}");
}

#[test]
fn a_replay_prints_columns_and_the_same_trace_every_time() {
    let (code, first, _) = sim(&["replay", "2", "--trace", "--until", "40"]);
    assert_eq!(code, 0);
    assert_eq!(first, sim(&["replay", "2", "--trace", "--until", "40"]).1);
    let line = first.lines().nth(1).unwrap();
    assert_eq!(line, "       1    0.000000 n1     START       start 1");
}

#[test]
fn a_history_is_written_and_checked() {
    let history = Scratch::new("history.jsonl");
    let (code, stdout, _) = sim(&["replay", "2", "--history", history.path()]);
    assert_eq!((code, stdout.lines().last()), (0, Some("passed")));
    let (code, stdout, _) = sim(&["check", history.path()]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.starts_with("operations=") && stdout.ends_with(" passed\n"), "{stdout}");
}

#[test]
fn a_history_that_no_register_gives_fails_the_check() {
    let history = Scratch::new("doctored.jsonl");
    let lines = [
        r#"{"index":0,"process":1,"type":"invoke","op":0,"f":"SET","key":"k","value":"a","time_ns":10,"args":["SET","k","a"]}"#,
        r#"{"index":1,"process":1,"type":"ok","op":0,"f":"SET","key":"k","value":{"status":"OK"},"time_ns":20,"position":5,"time":7}"#,
        r#"{"index":2,"process":2,"type":"invoke","op":1,"f":"GET","key":"k","time_ns":30,"args":["GET","k"]}"#,
        r#"{"index":3,"process":2,"type":"ok","op":1,"f":"GET","key":"k","value":"b","time_ns":40,"position":6,"time":7}"#,
    ];
    std::fs::write(history.path(), lines.join("\n") + "\n").unwrap();
    let (code, stdout, stderr) = sim(&["check", history.path()]);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.contains("failed: linearizability"), "{stdout}");
}

#[test]
fn wrong_usage_is_told_from_failure() {
    for arguments in [
        &["run", "--seeds", "9..3"][..],
        &["run", "--shard", "5/4"],
        &["run", "--budget", "soon"],
        &["replay", "no-such-file.json"],
        &["check", "no-such-file.jsonl"],
        &["dance"],
    ] {
        let (code, stdout, stderr) = sim(arguments);
        assert_eq!(code, 2, "{arguments:?}: {stdout}{stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn a_bounded_search_says_how_far_it_came_and_whether_that_was_all() {
    let (code, stdout, _) = sim(&["explore", "--bounded", "--depth", "3", "--plan", "wipes", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let plan = &report["plans"][0];
    assert_eq!((code, &plan["verdict"], &plan["depth"]), (0, &"passed".into(), &3.into()), "{stdout}");
    assert!(plan["states"].as_u64().unwrap() > 100 && plan["states_per_second"].is_number(), "{stdout}");
    let (code, stdout, _) =
        sim(&["explore", "--bounded", "--depth", "9", "--plan", "members", "--states", "50"]);
    assert_eq!(code, 3);
    assert!(
        stdout.trim_end().ends_with("inconclusive: so many states were asked for and no more"),
        "{stdout}"
    );
    let (code, _, stderr) = sim(&["explore", "--bounded", "--plan", "marmalade"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("marmalade is no search; there are elections, pre-votes, writes"), "{stderr}");
    let (code, _, _) = sim(&["explore", "--crash-points", "--depth", "3"]);
    assert_eq!(code, 2, "a depth is one of a bounded search");
}
