//! How much one durable node takes, and what an operation costs it, beside Redis that syncs before every answer: loads of one kind at a
//! time, the two programs in turn, several rounds.
//!
//! Each is loaded by the tool that comes with it (`redis-benchmark`, `steadfast bench`), on the same two cores as the server.

use std::io;
use std::process::Command;

use super::daemon::{Daemon, is_installed};
use super::machine;
use super::options::Options;
use super::redis::{self, Keeping, Redis};
use super::report::{Cell, Report, median, ratio};
use super::restart::start_empty;
use super::steadfast::Steadfast;
use crate::scratch::Scratch;

/// The tool that loads Redis.
const REDIS_BENCHMARK: &str = "redis-benchmark";

/// A load.
struct Load {
    name: &'static str,
    /// `set` or `get`.
    operation: &'static str,
    connections: u32,
    pipeline: u32,
    /// How many requests Redis is sent; its tool knows no duration.
    requests: u64,
    /// At least so many times Redis.
    target: f64,
}

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

/// What was seen of one program under one load.
#[derive(Clone, Debug, Default)]
struct Seen {
    per_second: Vec<f64>,
    /// 99th percentile of the latency, in milliseconds.
    p99: Vec<f64>,
    /// Processor time of the server for each operation, in microseconds.
    cost: Vec<f64>,
}

impl Seen {
    fn add(&mut self, (per_second, p99, count): (f64, f64, f64), ticks: u64) {
        self.per_second.push(per_second);
        self.p99.push(p99);
        self.cost.push(ticks as f64 * 10_000.0 / count.max(1.0));
    }
}

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
    let mut rows = Vec::new();
    for load in &LOADS {
        let (mut our, mut their) = (Seen::default(), Seen::default());
        for round in 0..options.rounds() {
            eprintln!("{}, round {}", load.name, round + 1);
            if let Some((server, daemon)) = &theirs {
                measure(&mut their, daemon, || of_redis(server.address(), load, keys))?;
            }
            measure(&mut our, &node, || of_steadfast(ours.address(), load, keys, seconds))?;
        }
        rows.push(row(load, &our, &their));
    }
    notes.push(format!("after: {}", machine::describe()));
    notes.push(format!("medians of {}, the programs in turn; a ratio is ours over theirs", options.rounds()));
    Ok(Report {
        title: "Operations per second of one durable node, values of 100 bytes".into(),
        columns: vec![
            "load",
            "redis /s",
            "ours /s",
            "ratio",
            "target",
            "slowest",
            "fastest",
            "redis 99 % ms",
            "ours 99 % ms",
            "redis us each",
            "ours us each",
        ],
        rows,
        notes,
    })
}

fn row(load: &Load, our: &Seen, their: &Seen) -> Vec<Cell> {
    // Of the rounds, each against the one beside it.
    let pairs = our.per_second.iter().zip(&their.per_second).map(|(our, their)| our / their);
    let ratios: Vec<f64> = pairs.collect();
    let bound = |pick: fn(f64, f64) -> f64| match ratios.iter().copied().reduce(pick) {
        Some(bound) => Cell::Number(bound, 2),
        None => Cell::Empty,
    };
    let number = |values: &[f64], decimals| match values {
        [] => Cell::Empty,
        values => Cell::Number(median(values), decimals),
    };
    vec![
        Cell::from(load.name),
        number(&their.per_second, 0),
        number(&our.per_second, 0),
        ratio(median(&our.per_second), median(&their.per_second)),
        Cell::Number(load.target, 1),
        bound(f64::min),
        bound(f64::max),
        number(&their.p99, 2),
        number(&our.p99, 2),
        number(&their.cost, 1),
        number(&our.cost, 1),
    ]
}

/// One run of a tool, with what it costs the server.
fn measure(
    seen: &mut Seen,
    server: &Daemon,
    tool: impl FnOnce() -> io::Result<(f64, f64, f64)>,
) -> io::Result<()> {
    let before = machine::ticks(server.id())?;
    let figures = tool()?;
    seen.add(figures, machine::ticks(server.id())? - before);
    Ok(())
}

/// Operations per second, 99th percentile in milliseconds, and how many there were.
fn of_redis(address: &str, load: &Load, keys: u64) -> io::Result<(f64, f64, f64)> {
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
        [per_second, _, _, _, _, p99, _] => Ok((per_second, p99, load.requests as f64)),
        _ => Err(io::Error::other(format!("{REDIS_BENCHMARK} printed {text:?}"))),
    }
}

/// The same, and of the time before that is measured nothing.
fn of_steadfast(address: &str, load: &Load, keys: u64, seconds: u64) -> io::Result<(f64, f64, f64)> {
    let duration = format!("{seconds}s");
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "--json", "--addr", address, "-m", load.operation, "-s", "100"])
        .args(["-c", &load.connections.to_string(), "-p", &load.pipeline.to_string()])
        .args(["-d", &duration, "-w", "1ms", "-k", &keys.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(text.trim()).map_err(io::Error::other)?;
    let line = &report["operations"][0];
    let number = |name: &str| line[name].as_f64();
    match (number("per_second"), number("p99_us"), number("count")) {
        (Some(per_second), Some(p99), Some(count)) if report["errors"] == serde_json::json!({}) => {
            Ok((per_second, p99 / 1000.0, count))
        }
        _ => Err(io::Error::other(format!("steadfast bench printed {text:?}"))),
    }
}
