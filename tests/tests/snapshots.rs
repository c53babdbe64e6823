//! Snapshots of what people read and what must stay readable: a short trace of the simulator, and the bytes of frames
//! and records. A change is accepted with `INSTA_UPDATE=always cargo test -p steadfast-tests --test snapshots`, and
//! then looked at: a trace may change with the core's behaviour, a format only with its version.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use steadfast_core::protocol::frame::{Decoder, Message};
use steadfast_core::protocol::native::{ClientFrame, ServerFrame};
use steadfast_core::protocol::peer;
use steadfast_core::state::effect::Entry;
use steadfast_sim::run::{self, Verdict};
use steadfast_sim::schedule::Schedule;
use steadfast_tests::binary;

/// Longer than any frame in the corpus.
const MAX_FRAME: usize = 1 << 16;

fn corpus(path: &str) -> PathBuf {
    binary::root().join("corpus").join(path)
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(corpus("formats").join(name)).expect("the corpus has the file")
}

/// Offsets, bytes and characters, sixteen to a line; lines of zeros are counted instead of shown.
fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut zeros = 0;
    for (line, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().all(|byte| *byte == 0) {
            zeros += chunk.len();
            continue;
        }
        skipped(&mut text, &mut zeros);
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        let shown: String = chunk.iter().map(shown).collect();
        writeln!(text, "{:04x}  {:<47}  {shown}", line * 16, hex.join(" ")).expect("text takes text");
    }
    skipped(&mut text, &mut zeros);
    text
}

fn skipped(text: &mut String, zeros: &mut usize) {
    if *zeros > 0 {
        writeln!(text, "      {zeros} zeros").expect("text takes text");
    }
    *zeros = 0;
}

/// A frame's meaning, then its bytes as this build writes them.
fn frame<M: Message + std::fmt::Debug>(name: &str) -> String {
    let bytes = golden(name);
    let mut decoder = Decoder::<M>::new(MAX_FRAME);
    decoder.push(&bytes);
    let message = decoder.next().expect("the frame is valid").expect("the frame is whole");
    let written = message.encode(MAX_FRAME).expect("what was read can be written");
    assert_eq!(written, bytes, "{name}: this build writes what it reads");
    format!("{message:#?}\n\n{}", hexdump(&written))
}

#[test]
fn client_frames() {
    insta::assert_snapshot!("hello", frame::<ClientFrame>("native-hello.bin"));
    insta::assert_snapshot!("request", frame::<ClientFrame>("native-request.bin"));
    insta::assert_snapshot!("welcome", frame::<ServerFrame>("native-welcome.bin"));
    insta::assert_snapshot!("response", frame::<ServerFrame>("native-response.bin"));
    insta::assert_snapshot!("refusal", frame::<ServerFrame>("native-refusal.bin"));
    insta::assert_snapshot!("goodbye", frame::<ServerFrame>("native-goodbye.bin"));
}

#[test]
fn peer_frame() {
    let bytes = golden("native-peer.bin").into();
    let (header, body) = peer::decode(&bytes).expect("the frame is valid");
    assert_eq!(peer::encode(&header, &body), bytes, "this build writes what it reads");
    insta::assert_snapshot!("peer", format!("{header:#?}\n{body:?}\n\n{}", hexdump(&bytes)));
}

#[test]
fn records() {
    insta::assert_snapshot!("wal_segment", hexdump(&golden("wal-segment-v2.bin")));
    insta::assert_snapshot!("hard_state", hexdump(&golden("hard-state-v1.bin")));
}

#[test]
fn entries() {
    let text = String::from_utf8(golden("entries.txt")).expect("it is text");
    let mut shown = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, hex) = line.rsplit_once(": ").expect("a line is a name and bytes");
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("bytes are hexadecimal");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
        let entry = Entry::decode(&bytes).expect("the entry is valid");
        assert_eq!(entry.encode(), bytes, "{name}: this build writes what it reads");
        writeln!(shown, "{name}\n  {entry:?}").expect("text takes text");
        hexdump(&bytes).lines().for_each(|line| writeln!(shown, "  {line}").expect("text takes text"));
    }
    insta::assert_snapshot!("entries", shown);
}

#[test]
fn a_short_trace() {
    let text = fs::read_to_string(corpus("schedules/one-node-three-writes.json")).expect("the corpus has it");
    let schedule = Schedule::from_json(&text).expect("it is a schedule");
    let mut lines = String::new();
    let mut listener = |line: steadfast_sim::trace::Line| {
        writeln!(lines, "{}", line.to_string().trim_end()).expect("text takes text");
    };
    let (_, verdict) = run::listened(&schedule, &mut listener, u64::MAX);
    assert_eq!(verdict, Verdict::Passed);
    insta::assert_snapshot!("trace", format!("{}\n{lines}", schedule.summary()));
}

#[test]
fn saved_schedules_pass() {
    let mut files: Vec<PathBuf> = fs::read_dir(corpus("schedules"))
        .expect("the corpus has schedules")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "what must never break again is not forgotten");
    for file in files {
        let text = fs::read_to_string(&file).expect("it can be read");
        let schedule =
            Schedule::from_json(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let outcome = run::twice(&schedule);
        let again = format!("steadfast-sim replay {} --trace", file.display());
        assert_eq!(outcome.verdict, Verdict::Passed, "reproduce with: {again}");
    }
}
