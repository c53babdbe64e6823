//! `steadfast verify` and `steadfast repair` on directories of real servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use steadfast_tests::binary;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::process::{Options, Process, run, text};
use steadfast_tests::scratch::Scratch;

/// Runs an offline command on a directory.
fn steadfast(command: &str, data: &Path, args: &[&str]) -> Output {
    let mut process = binary::command();
    process.arg(command).arg(data).args(args);
    run(process, b"")
}

/// The exit code, and everything that was said.
fn said(output: &Output) -> (i32, String) {
    let code = output.status.code().expect("it ended by itself");
    (code, text(&output.stdout) + &text(&output.stderr))
}

/// All files of a directory, and their bytes.
fn contents(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(data).expect("it is there").map(|entry| entry.expect("it is there").path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).expect("readable")))
        .collect()
}

/// The segment that holds these bytes, and where; then changes one of them.
fn rot(data: &Path, bytes: &str) -> (String, usize) {
    for (path, mut file) in contents(data) {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let found = file.windows(bytes.len()).position(|window| window == bytes.as_bytes());
        if let Some(at) = found.filter(|_| name.starts_with("wal-")) {
            file[at] ^= 1;
            fs::write(path, file).expect("writable");
            return (name, at);
        }
    }
    panic!("{bytes} is in no segment")
}

/// A stopped server's directory with the keys `order-01` to `order-20`, written in two lives.
fn stopped(scratch: &Scratch) -> PathBuf {
    let data = scratch.join("data");
    for life in 0..2 {
        let server = Process::single(&data);
        for number in life * 10 + 1..=life * 10 + 10 {
            server.answer(&["SET", &format!("order-{number:02}"), "paid"]);
        }
        assert_eq!(server.stop(), Some(0));
    }
    data
}

/// The number behind a word in a text.
fn number_after(text: &str, word: &str) -> u64 {
    let rest = text.split(word).nth(1).unwrap_or_else(|| panic!("{word} is in {text}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("a number follows {word} in {text}"))
}

/// The word that a dry run names.
fn word(said: &str) -> String {
    let word = said.split("--confirm ").nth(1).and_then(|rest| rest.split_whitespace().next());
    word.unwrap_or_else(|| panic!("a word is named: {said}")).to_owned()
}

#[test]
fn an_intact_directory_is_intact_and_is_not_touched() {
    let scratch = Scratch::new("offline");
    let data = stopped(&scratch);
    let before = contents(&data);
    let (code, text) = said(&steadfast("verify", &data, &[]));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("hard-0") && text.contains("wal-0000000000000001") && text.contains("intact"),
        "{text}"
    );
    let json = steadfast("verify", &data, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert_eq!((&json["intact"], &json["owner"]["members"]), (&true.into(), &1.into()), "{json}");
    assert_eq!(contents(&data), before, "not one byte is written");
    let (code, text) = said(&steadfast("repair", &data, &["--discard-after", "5"]));
    assert_eq!(code, 1);
    assert!(text.contains("start it"), "{text}");
}

#[test]
fn a_directory_that_a_server_uses_or_that_is_none_is_refused() {
    let scratch = Scratch::new("offline");
    let server = Process::single(&scratch.join("data"));
    for (command, args) in [("verify", &[][..]), ("repair", &["--discard-after", "1"])] {
        let (code, text) = said(&steadfast(command, server.data(), args));
        assert_eq!(code, 2, "{text}");
        assert!(
            text.contains(&format!("process {}", server.id())) && text.contains("stop it first"),
            "{text}"
        );
    }
    fs::create_dir(scratch.join("empty")).expect("it can be created");
    for name in ["empty", "missing"] {
        assert_eq!(said(&steadfast("verify", &scratch.join(name), &[])).0, 2, "{name}");
    }
    assert!(!scratch.join("missing").exists(), "nothing is created");
    assert_eq!(steadfast("repair", server.data(), &[]).status.code(), Some(2), "an index must be named");
    assert_eq!(server.answer(&["PING"]), "PONG");
}

#[test]
fn one_flipped_bit_in_each_kind_of_file_is_named_with_its_place() {
    let scratch = Scratch::new("offline");
    let data = stopped(&scratch);
    let before = contents(&data);
    let (name, at) = rot(&data, "order-03");
    let (code, text) = said(&steadfast("verify", &data, &[]));
    assert_eq!(code, 1, "{text}");
    let offset = number_after(&text, &format!("damaged   {name} at offset")) as usize;
    assert!(offset <= at && at < offset + 200, "{at} lies in the record at {offset}");
    // A start does what was said: it refuses.
    let (refusal, log) = Options::single(&data).refused();
    assert_eq!(refusal, 6, "{log}");
    assert!(log.contains(&format!("{name} is damaged at offset {offset}")), "{log}");
    before.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("writable"));
    for slot in 0..4 {
        let hard = data.join("hard-0");
        let mut bytes = fs::read(&hard).expect("readable");
        bytes[slot * 4096 + 60] ^= 4;
        fs::write(&hard, &bytes).expect("writable");
        let (_, text) = said(&steadfast("verify", &data, &[]));
        assert!(text.contains(&format!("hard-0 at offset {}", slot * 4096)), "{text}");
        bytes[slot * 4096 + 60] ^= 4;
        fs::write(&hard, &bytes).expect("writable");
    }
    fs::remove_file(data.join("hard-1")).expect("it was there");
    let (code, text) = said(&steadfast("verify", &data, &[]));
    assert_eq!(code, 1);
    assert!(text.contains("hard-1 at offset 0: the file is missing"), "{text}");
}

#[test]
fn a_repair_gives_up_what_it_says_and_the_server_starts_with_the_rest() {
    let scratch = Scratch::new("offline");
    let data = stopped(&scratch);
    rot(&data, "order-14");
    let (_, report) = said(&steadfast("verify", &data, &[]));
    let keep = number_after(&report, "--discard-after").to_string();
    let before = contents(&data);
    let dry = |args: &[&str]| said(&steadfast("repair", &data, args));
    let (code, text) = dry(&["--discard-after", &keep]);
    assert_eq!(code, 0, "{text}");
    for part in ["acknowledged", "\"order-15\"", "\"order-20\"", "discarded-1", "UTC", "wal-0000000000000001"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("order-13"), "what stays is not listed: {text}");
    let (code, refusal) = dry(&["--discard-after", &keep, "--confirm", "00000000"]);
    assert_eq!(code, 1);
    assert!(refusal.contains("nothing was changed"), "{refusal}");
    let lower = (keep.parse::<u64>().expect("a number") - 1).to_string();
    assert_eq!(dry(&["--discard-after", &lower, "--confirm", &word(&text)]).0, 1, "a word fits one index");
    let mut after = contents(&data);
    after.retain(|path, _| !path.ends_with("steadfast.lock"));
    assert!(after.iter().all(|(path, bytes)| before[path] == *bytes), "nothing has changed so far");

    let (code, done) = dry(&["--discard-after", &keep, "--confirm", &word(&text)]);
    assert_eq!(code, 0, "{done}");
    for (path, bytes) in before.iter().filter(|(path, _)| path.to_string_lossy().contains("wal-")) {
        let name = path.file_name().expect("a file has a name");
        assert!(!path.exists(), "{} is no part of the log any more", path.display());
        assert_eq!(fs::read(data.join("discarded-1").join(name)).expect("it was kept"), *bytes);
    }
    assert_eq!(said(&steadfast("verify", &data, &[])).0, 0);
    let server = Process::single(&data);
    assert_eq!(server.answer(&["EXISTS", "order-01", "order-10", "order-13"]), "(integer) 3");
    assert_eq!(server.answer(&["EXISTS", "order-14", "order-15", "order-20"]), "(integer) 0");
    assert_eq!(server.answer(&["SET", "order-14", "again"]), "OK");
    assert_eq!(server.stop(), Some(0));
    let server = Process::single(&data);
    assert_eq!(server.answer(&["GET", "order-14"]), "\"again\"");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(said(&steadfast("verify", &data, &[])).0, 0);
    assert!(data.join("discarded-1").is_dir(), "no start touches what was put aside");
}

#[test]
fn a_member_of_a_cluster_is_told_to_start_and_gives_up_entries_only_when_asked_twice() {
    let mut cluster = Cluster::start("offline");
    let leader = cluster.leader();
    for number in 1..=20 {
        let mut client = cluster.raw(leader);
        let key = format!("order-{number:02}");
        client.request(uuid::Uuid::from_u128(number), ["SET", &key, "paid"]).expect("it is sent");
        client.response();
    }
    assert_eq!(cluster.stop(), [Some(0); 3]);
    let damaged = (leader + 1) % 3;
    let data = cluster.data(damaged);
    rot(&data, "order-05");
    let (code, report) = said(&steadfast("verify", &data, &[]));
    assert_eq!(code, 1);
    assert!(report.contains("Start the node: it fetches what it lost"), "{report}");
    let json = steadfast("verify", &data, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert_eq!((&json["starts_alone"], &json["starts_in_a_cluster"]), (&false.into(), &true.into()));
    let keep = json["log"]["last_whole"].as_u64().expect("something is whole").to_string();
    let repair = |args: &[&str]| said(&steadfast("repair", &data, args));
    let (code, refusal) = repair(&["--discard-after", &keep]);
    assert_eq!(code, 1);
    assert!(refusal.contains("--cluster-member"), "{refusal}");
    let member = ["--discard-after", keep.as_str(), "--cluster-member"];
    let (code, proposal) = repair(&member);
    assert_eq!(code, 0, "{proposal}");
    assert!(proposal.contains("in doubt"), "{proposal}");
    let (code, done) = repair(&[&member[..], &["--confirm", &word(&proposal)]].concat());
    assert_eq!(code, 0, "{done}");
    let json = steadfast("verify", &data, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one object");
    assert_eq!((&json["intact"], &json["owner"]["in_doubt"]), (&true.into(), &true.into()), "{json}");
    // The others have everything, so nothing is lost after all.
    (0..3).for_each(|place| cluster.restart(place));
    let _ = cluster.leader();
    let node = cluster.nodes[damaged].as_ref().expect("it runs");
    let (user, password) = cluster.credentials();
    fs::write(cluster.scratch().join("password"), password).expect("writable");
    let file = cluster.scratch().join("password").display().to_string();
    let get = [
        "cli",
        "--addr",
        &node.address,
        "--user",
        &user,
        "--password-file",
        &file,
        "EXISTS",
        "order-05",
        "order-20",
    ];
    let mut command = binary::command();
    command.args(get);
    assert_eq!(text(&run(command, b"").stdout), "(integer) 2");
    assert_eq!(cluster.stop(), [Some(0); 3]);
    assert_eq!(said(&steadfast("verify", &data, &[])).0, 0);
}
