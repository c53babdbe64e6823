//! How much one durable node takes, and what an operation costs it, beside Redis that syncs before every answer: loads of one kind at a
//! time, the two programs in turn, several rounds.
//!
//! Each is loaded by the tool that comes with it (`redis-benchmark`, `steadfast bench`), on the same two cores as the server.

use std::io;
use std::process::Command;

use super::daemon::is_installed;
use super::loads::{self, Figures, Load, Program};
use super::machine;
use super::options::Options;
use super::redis::{self, Keeping, Redis};
use super::report::Report;
use super::restart::start_empty;
use super::steadfast::Steadfast;
use crate::scratch::Scratch;

/// The tool that loads Redis.
const REDIS_BENCHMARK: &str = "redis-benchmark";

const LOADS: [Load; 4] = [
    Load {
        name: "SET, 1 connection",
        operation: "set",
        connections: 1,
        pipeline: 1,
        requests: 12_000,
        target: 0.9,
    },
    Load {
        name: "SET, 50 connections",
        operation: "set",
        connections: 50,
        pipeline: 1,
        requests: 150_000,
        target: 1.2,
    },
    Load {
        name: "SET, 50 with 16 each",
        operation: "set",
        connections: 50,
        pipeline: 16,
        requests: 800_000,
        target: 1.5,
    },
    Load {
        name: "GET, 50 connections",
        operation: "get",
        connections: 50,
        pipeline: 1,
        requests: 300_000,
        target: 0.8,
    },
];

/// Measures, and says what was seen.
///
/// # Errors
/// If a program does not do what it should.
pub fn run(options: &Options) -> io::Result<Report> {
    let scratch = Scratch::new("figures-throughput");
    let (keys, seconds) = (options.keys(100_000), options.seconds(3));
    let mut notes = vec![format!("before: {}", machine::describe())];
    let ours = Steadfast::new(scratch.join("steadfast"), keys, 0);
    let node = start_empty(&ours)?;
    let theirs = if is_installed(redis::PROGRAM) && is_installed(REDIS_BENCHMARK) {
        let server = Redis::new(Keeping::SyncedLog, scratch.join("redis"))?;
        let daemon = start_empty(&server)?;
        Some((server, daemon))
    } else {
        notes.push("Redis is not installed, and left out".into());
        None
    };
    let load_ours = |load: &Load| loads::of_steadfast(&[ours.address()], load, keys, seconds);
    let ours = Program { servers: std::slice::from_ref(&node), tool: &load_ours };
    let load_theirs = theirs
        .as_ref()
        .map(|(server, daemon)| (daemon, move |load: &Load| of_redis(server.address(), load, keys)));
    let theirs =
        load_theirs.as_ref().map(|(daemon, tool)| Program { servers: std::slice::from_ref(*daemon), tool });
    let mut rows = Vec::new();
    for load in &LOADS {
        let (our, their) = loads::in_turn(load.name, load, options.rounds(3), &ours, theirs.as_ref())?;
        rows.push(loads::row(load, &our, &their));
    }
    notes.push(format!("after: {}", machine::describe()));
    notes
        .push(format!("medians of {}, the programs in turn; a ratio is ours over theirs", options.rounds(3)));
    Ok(Report {
        title: "Operations per second of one durable node, values of 100 bytes".into(),
        columns: loads::columns(),
        rows,
        notes,
    })
}

/// What its tool says.
fn of_redis(address: &str, load: &Load, keys: u64) -> io::Result<Figures> {
    let port = address.rsplit(':').next().unwrap_or_default();
    let output = Command::new(REDIS_BENCHMARK)
        .args(["-p", port, "-t", load.operation, "-d", "100", "--csv"])
        .args(["-c", &load.connections.to_string(), "-P", &load.pipeline.to_string()])
        .args(["-n", &load.requests.to_string(), "-r", &keys.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let cells: Vec<f64> = text
        .lines()
        .last()
        .unwrap_or_default()
        .split(',')
        .filter_map(|cell| cell.trim_matches('"').parse().ok())
        .collect();
    match cells[..] {
        [per_second, _, _, _, _, p99, _] => Ok(Figures { per_second, p99, count: load.requests as f64 }),
        _ => Err(io::Error::other(format!("{REDIS_BENCHMARK} printed {text:?}"))),
    }
}
