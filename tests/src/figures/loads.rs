//! What figures of throughput have in common: a load, what is seen of a program under it, and its row. How another program is
//! loaded is for those who know it.

use std::io;
use std::process::Command;

use super::daemon::Daemon;
use super::machine;
use super::report::{Cell, median, ratio};

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What it is called in tables.
    pub name: &'static str,
    /// `set` or `get`.
    pub operation: &'static str,
    /// How many ask at once.
    pub connections: u32,
    /// How many requests each has under way.
    pub pipeline: u32,
    /// How many requests the other program is sent, if its tool knows no duration.
    pub requests: u64,
    /// At least so many times the other program.
    pub target: f64,
}

/// What a tool says of one run.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Operations per second.
    pub per_second: f64,
    /// 99th percentile of the latency, in milliseconds.
    pub p99: f64,
    /// How many operations there were.
    pub count: f64,
}

/// What was seen of one program under one load.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Operations per second.
    pub per_second: Vec<f64>,
    /// 99th percentile of the latency, in milliseconds.
    pub p99: Vec<f64>,
    /// Processor time of the server for each operation, in microseconds.
    pub cost: Vec<f64>,
}

impl Seen {
    fn add(&mut self, figures: Figures, ticks: u64) {
        self.per_second.push(figures.per_second);
        self.p99.push(figures.p99);
        self.cost.push(ticks as f64 * 10_000.0 / figures.count.max(1.0));
    }
}

/// The columns of a table of loads.
#[must_use]
pub fn columns() -> Vec<&'static str> {
    vec![
        "load",
        "theirs /s",
        "ours /s",
        "ratio",
        "target",
        "slowest",
        "fastest",
        "theirs 99 % ms",
        "ours 99 % ms",
        "theirs us each",
        "ours us each",
    ]
}

/// The row of a load: theirs and ours.
#[must_use]
pub fn row(load: &Load, our: &Seen, their: &Seen) -> Vec<Cell> {
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

/// A program that is loaded.
pub struct Program<'a> {
    /// Its processes.
    pub servers: &'a [Daemon],
    /// Loads it.
    pub tool: &'a dyn Fn(&Load) -> io::Result<Figures>,
}

impl Program<'_> {
    /// One run of the tool, with what it costs the servers.
    fn measure(&self, load: &Load, seen: &mut Seen) -> io::Result<()> {
        let ticks = || self.servers.iter().map(|server| machine::ticks(server.id())).sum::<io::Result<u64>>();
        let before = ticks()?;
        let figures = (self.tool)(load)?;
        seen.add(figures, ticks()? - before);
        Ok(())
    }
}

/// So many rounds of a load, theirs and ours in turn; what was seen of ours, and of theirs.
///
/// # Errors
/// If a tool fails, or a server is gone.
pub fn in_turn(
    name: &str,
    load: &Load,
    rounds: u64,
    ours: &Program<'_>,
    theirs: Option<&Program<'_>>,
) -> io::Result<(Seen, Seen)> {
    let (mut our, mut their) = (Seen::default(), Seen::default());
    for round in 1..=rounds {
        eprintln!("{name}, round {round}");
        if let Some(theirs) = theirs {
            theirs.measure(load, &mut their)?;
        }
        ours.measure(load, &mut our)?;
    }
    Ok((our, their))
}

/// What `steadfast bench` says, with its connections spread over the nodes.
///
/// # Errors
/// If it fails, or anything is not answered as it should be.
pub fn of_steadfast(addresses: &[&str], load: &Load, keys: u64, seconds: u64) -> io::Result<Figures> {
    let duration = format!("{seconds}s");
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "--json", "-m", load.operation, "-s", "100"])
        .args(addresses.iter().flat_map(|address| ["--addr", address]))
        .args(["-c", &load.connections.to_string(), "-p", &load.pipeline.to_string()])
        .args(["-d", &duration, "-w", "1ms", "-k", &keys.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: serde_json::Value = serde_json::from_str(text.trim()).map_err(io::Error::other)?;
    let line = &report["operations"][0];
    let number = |name: &str| line[name].as_f64();
    match (number("per_second"), number("p99_us"), number("count")) {
        (Some(per_second), Some(p99), Some(count)) if report["errors"] == serde_json::json!({}) => {
            Ok(Figures { per_second, p99: p99 / 1000.0, count })
        }
        _ => Err(io::Error::other(format!("steadfast bench printed {text:?}"))),
    }
}
