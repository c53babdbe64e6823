//! What no proper client or node sends, at live servers: each gets a clear error or a closed connection, within its
//! time, and others notice nothing.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use steadfast_core::error::ErrorCode;
use steadfast_core::protocol::frame::{HEADER_BYTES, MAGIC};
use steadfast_core::protocol::native::ServerFrame;
use steadfast_core::types::Blob;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::load::Dice;
use steadfast_tests::process::Process;
use steadfast_tests::raw::{RawClient, encode, hello, request};
use steadfast_tests::scratch::{Scratch, wait_for};
use uuid::Uuid;

/// A connection that is refused is closed within this, unless it is given time to speak.
const SOON: Duration = Duration::from_secs(8);

/// A server, and a proper client whose commands must be answered all the while.
struct Bench {
    server: Process,
    proper: RawClient,
    _scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new("hostile");
        let server = Process::single(&scratch.join("data"));
        let proper = server.raw();
        Self { server, proper, _scratch: scratch }
    }

    fn stranger(&self) -> RawClient {
        RawClient::connect(&self.server.address)
    }

    /// The server lives, and serves old and new connections.
    fn is_well(&mut self) {
        self.proper.request(Uuid::from_u128(7), ["SET", "key", "value"]).expect("the connection is open");
        assert_eq!(self.proper.response().id, Uuid::from_u128(7));
        assert_eq!(self.server.answer(&["GET", "key"]), "\"value\"");
        assert!(!self.server.log().contains("panicked"), "{}", self.server.log());
    }
}

/// What a goodbye says, if the server said one.
fn farewell(frames: &[ServerFrame]) -> Option<ErrorCode> {
    match frames.last() {
        Some(ServerFrame::Goodbye(failure)) => Some(failure.code),
        _ => None,
    }
}

/// A frame's header with a length that nobody will ever send.
fn header(length: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([0x01, 0, 0, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend([0; 4]);
    assert_eq!(bytes.len(), HEADER_BYTES);
    bytes
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    let mut bench = Bench::new();
    let mut dice = Dice(1);
    for round in 0..40_u64 {
        let mut stranger = bench.stranger();
        let mut bytes: Vec<u8> = (0..dice.below(3000) + 1).map(|_| dice.below(256) as u8).collect();
        // Some begin as clients or nodes do, and go astray later.
        match round % 4 {
            0 => bytes.splice(0..0, *b"SFC1").for_each(drop),
            1 => bytes.splice(0..0, *b"SFP1").for_each(drop),
            2 => bytes.splice(0..0, encode(&hello(None))).for_each(drop),
            _ => {}
        }
        // The server may have closed it before all is written.
        let _ = stranger.stream.write_all(&bytes);
        let _ = stranger.stream.shutdown(Shutdown::Write);
        stranger.until_closed(SOON);
    }
    bench.is_well();
}

#[test]
fn a_length_beyond_the_limit_is_refused_by_the_header_alone() {
    let mut bench = Bench::new();
    for length in [5000, 1 << 20, 1 << 31, u32::MAX] {
        let mut stranger = bench.stranger();
        stranger.stream.write_all(&header(length)).expect("it is sent");
        assert_eq!(farewell(&stranger.until_closed(SOON)), Some(ErrorCode::TooLarge), "{length}");
    }
    let mut client = bench.server.raw();
    client.stream.write_all(&header(u32::MAX)).expect("it is sent");
    assert_eq!(farewell(&client.until_closed(SOON)), Some(ErrorCode::TooLarge), "logged in or not");
    bench.is_well();
}

#[test]
fn a_value_beyond_the_limit_is_a_definite_error_and_the_connection_goes_on() {
    let mut bench = Bench::new();
    let value = vec![b'x'; (1 << 20) + 1];
    let args = [Blob::from("SET"), Blob::from("key"), Blob::from(value)];
    bench.proper.request(Uuid::from_u128(1), args).expect("it is sent");
    let failure = bench.proper.response().reply.outcome.expect_err("it is too long");
    assert!(failure.is_definite(), "{failure}");
    bench.is_well();
}

#[test]
fn half_a_frame_and_a_hang_up_do_no_harm_wherever_it_is_cut() {
    let mut bench = Bench::new();
    let (user, password) = bench.server.credentials();
    let mut bytes = encode(&hello(Some((&user, &password))));
    let whole = bytes.len();
    bytes.extend(encode(&request(Uuid::from_u128(1), ["SET", "half", "written"])));
    for cut in (1..bytes.len()).step_by(7).chain([whole, bytes.len() - 1]) {
        let mut stranger = bench.stranger();
        stranger.stream.write_all(&bytes[..cut]).expect("it is sent");
        stranger.stream.shutdown(Shutdown::Write).expect("the connection is open");
        stranger.until_closed(SOON);
    }
    bench.is_well();
    assert_eq!(bench.server.answer(&["EXISTS", "half"]), "(integer) 0", "no part of a command is executed");
}

#[test]
fn a_flipped_bit_anywhere_in_a_request_never_executes() {
    let mut bench = Bench::new();
    let whole = encode(&request(Uuid::from_u128(1), ["SET", "flipped", "bits"]));
    for bit in (0..whole.len() * 8).step_by(13) {
        let mut client = bench.server.raw();
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        client.stream.write_all(&bytes).expect("it is sent");
        // A longer frame than was sent is waited for.
        client.stream.shutdown(Shutdown::Write).expect("the connection is open");
        let frames = client.until_closed(SOON);
        assert!(
            !frames.iter().any(|frame| matches!(frame, ServerFrame::Response(_))),
            "bit {bit}: {frames:?}"
        );
    }
    assert_eq!(bench.server.answer(&["EXISTS", "flipped"]), "(integer) 0");
    bench.is_well();
}

#[test]
fn silence_is_closed_after_its_time_at_every_point_of_the_greeting() {
    let mut bench = Bench::new();
    let greeting = encode(&hello(None));
    let cuts = [0, 3, 10, greeting.len() - 1, greeting.len()];
    let mut silent: Vec<RawClient> = cuts
        .iter()
        .map(|cut| {
            let mut stranger = bench.stranger();
            stranger.stream.write_all(&greeting[..*cut]).expect("it is sent");
            stranger
        })
        .collect();
    bench.is_well();
    for stranger in &mut silent {
        stranger.until_closed(Duration::from_secs(20));
    }
    bench.is_well();
}

#[test]
fn before_the_login_nothing_is_executed() {
    let mut bench = Bench::new();
    let mut stranger = bench.stranger();
    stranger.send(&hello(None)).expect("it is sent");
    assert!(matches!(stranger.receive(), Ok(Some(ServerFrame::Welcome(welcome))) if !welcome.authenticated));
    stranger.request(Uuid::from_u128(1), ["SET", "intruder", "was here"]).expect("it is sent");
    let failure = stranger.response().reply.outcome.expect_err("it is refused");
    assert_eq!(failure.code, ErrorCode::Unauthenticated);
    assert_eq!(bench.server.answer(&["EXISTS", "intruder"]), "(integer) 0");
    let mut impatient = bench.stranger();
    impatient.request(Uuid::from_u128(1), ["SET", "intruder", "was here"]).expect("it is sent");
    impatient.until_closed(SOON);
    assert_eq!(bench.server.answer(&["EXISTS", "intruder"]), "(integer) 0");
    bench.is_well();
}

#[test]
fn a_flood_without_login_leaves_room_for_those_who_have_one() {
    let mut bench = Bench::new();
    // Descriptors of the test process bound how many.
    let strangers: Vec<RawClient> = (0..300).map(|_| bench.stranger()).collect();
    bench.is_well();
    let guesses: Vec<_> = (0..100)
        .map(|number| {
            let mut stranger = bench.stranger();
            stranger.send(&hello(Some(("root", &format!("guess {number}"))))).expect("it is sent");
            stranger
        })
        .collect();
    bench.is_well();
    let mut shouting = bench.stranger();
    shouting.send(&hello(None)).expect("it is sent");
    let ping = encode(&request(Uuid::from_u128(1), ["PING"]));
    for _ in 0..2000 {
        if shouting.stream.write_all(&ping).is_err() {
            break;
        }
    }
    bench.is_well();
    for mut guess in guesses {
        let said = guess.receive().expect("every guess is answered or its connection closed");
        assert!(
            !matches!(said, Some(ServerFrame::Welcome(welcome)) if welcome.authenticated),
            "a guess is no login"
        );
    }
    drop(strangers);
    bench.is_well();
}

#[test]
fn a_client_that_reads_nothing_is_cut_off_before_it_fills_the_memory() {
    let mut bench = Bench::new();
    bench
        .proper
        .request(Uuid::from_u128(1), [Blob::from("SET"), "big".into(), vec![b'x'; 1 << 20].into()])
        .expect("it is sent");
    bench.proper.response().reply.outcome.expect("it is stored");
    let mut deaf = bench.server.raw();
    let ask = encode(&request(Uuid::from_u128(1), ["GET", "big"]));
    // Either its requests are not read any more, or it is cut off; the replies to all would be two gigabytes.
    deaf.stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket has time-outs");
    for _ in 0..2000 {
        if deaf.stream.write_all(&ask).is_err() {
            break;
        }
    }
    bench.is_well();
    let status = std::fs::read_to_string(format!("/proc/{}/status", bench.server.id()));
    if let Ok(status) = status {
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(kib < 400 << 10, "the server holds {kib} KiB");
    }
}

#[test]
fn false_peers_disturb_no_cluster() {
    let cluster = Cluster::start("hostile");
    let leader = cluster.leader();
    let mut proper = cluster.raw(leader);
    let mut dice = Dice(2);
    let golden = std::fs::read(steadfast_tests::binary::root().join("corpus/formats/native-peer.bin"));
    let golden = golden.expect("the corpus has a peer frame");
    for round in 0..30_usize {
        let mut stranger = RawClient::connect(&cluster.addresses[round % 3]);
        let mut bytes = golden.clone();
        if round % 3 > 0 {
            let at = 4 + dice.below(bytes.len() as u64 - 4) as usize;
            bytes[at] ^= 1 << dice.below(8);
        }
        if round % 3 > 1 {
            bytes.truncate(4 + dice.below(bytes.len() as u64 - 4) as usize);
        }
        let _ = stranger.stream.write_all(&bytes);
        let _ = stranger.stream.shutdown(Shutdown::Both);
    }
    for number in 0..20 {
        proper.request(Uuid::from_u128(number), ["INCRBY", "counter", "1"]).expect("the connection is open");
        proper.response().reply.outcome.expect("the leader leads on");
    }
    assert_eq!(cluster.leader(), leader, "nobody was unseated by strangers");
    wait_for("all three to live on", || cluster.nodes.iter().all(Option::is_some).then_some(()));
    for node in cluster.nodes.iter().flatten() {
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}
