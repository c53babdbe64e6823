//! How long a program takes from its start until it answers the first read, with all keys on its disk, and how much
//! memory it takes before and after.

use std::io;

use super::daemon::{self, Daemon};
use super::etcd::{self, Etcd};
use super::machine::{self, Memory};
use super::options::Options;
use super::redis::{self, Keeping, Redis};
use super::report::{Cell, Report, median, mib, ratio};
use super::steadfast::Steadfast;
use super::system::{self, System, key, value, wait_for_read};
use crate::scratch::Scratch;

/// What was measured of one program.
#[derive(Debug)]
struct Seen {
    system: Box<dyn System>,
    load_seconds: f64,
    loaded: Memory,
    /// What it says itself, after the load.
    own: f64,
    restarts: Vec<f64>,
    after: Vec<f64>,
    most: Vec<f64>,
}

/// Measures, and says what was seen.
///
/// # Errors
/// If a program does not do what it should.
pub fn run(options: &Options) -> io::Result<Report> {
    let keys = options.keys(1_000_000);
    let scratch = Scratch::new("figures-restart");
    let mut notes = vec![format!("before: {}", machine::describe())];
    let mut all = Vec::new();
    for system in systems(options, &scratch, keys, &mut notes)? {
        eprintln!("loading {}", system.name());
        all.push(loaded(system, keys, &mut notes)?);
    }
    for round in 1..=options.rounds(3) {
        for seen in &mut all {
            eprintln!("round {round}: restarting {}", seen.system.name());
            restart(seen, keys)?;
        }
    }
    notes.push(format!("after: {}; the page cache is warm", machine::describe()));
    notes.push("targets: 1 s until the first read; resident memory 1.3 times that of redis".into());
    Ok(report(keys, options.rounds(3), &all, notes))
}

fn systems(
    options: &Options,
    scratch: &Scratch,
    keys: u64,
    notes: &mut Vec<String>,
) -> io::Result<Vec<Box<dyn System>>> {
    let mut systems: Vec<Box<dyn System>> = Vec::new();
    if options.wants("steadfast") {
        systems.push(Box::new(Steadfast::new(scratch.join("steadfast"), keys, options.tail(keys))));
    }
    if options.wants("redis") && is_there(redis::PROGRAM, notes) {
        for (keeping, dir) in
            [(Keeping::Log, "aof"), (Keeping::PureLog, "pure-aof"), (Keeping::Snapshot, "rdb")]
        {
            systems.push(Box::new(Redis::new(keeping, scratch.join(dir))?));
        }
    }
    if options.wants("etcd") && is_there(etcd::PROGRAM, notes) {
        systems.push(Box::new(Etcd::new(scratch.join("etcd"))));
    }
    Ok(systems)
}

/// Whether a program is installed; if not, that is said where it can't be overlooked.
pub(super) fn is_there(program: &str, notes: &mut Vec<String>) -> bool {
    let there = daemon::is_installed(program);
    if !there {
        let note = format!("NOT MEASURED: {program} is not installed");
        eprintln!("{note}");
        notes.push(note);
    }
    there
}

/// Starts an empty program and waits until it answers.
pub(super) fn start_empty(system: &dyn System) -> io::Result<Daemon> {
    let mut daemon = system.launch()?;
    wait_for_read(system, &mut daemon, b"nothing", None)?;
    Ok(daemon)
}

/// Loads a program and kills it.
fn loaded(system: Box<dyn System>, keys: u64, notes: &mut Vec<String>) -> io::Result<Seen> {
    let daemon = start_empty(&*system)?;
    let load_seconds = system::load(&*system, keys, keys, 0)?.as_secs_f64();
    notes.extend(system.settle()?);
    let loaded = machine::memory(daemon.id())?;
    let own = system.own_account()?.unwrap_or(0) as f64;
    drop(daemon);
    let (restarts, after, most) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Seen { system, load_seconds, loaded, own, restarts, after, most })
}

/// Restarts it once and kills it again.
fn restart(seen: &mut Seen, keys: u64) -> io::Result<()> {
    let system = &*seen.system;
    let number = keys / 2;
    let mut daemon = system.launch()?;
    let took = wait_for_read(system, &mut daemon, &key(number), Some(&value(number)))?;
    seen.restarts.push(took.as_secs_f64());
    let memory = machine::memory(daemon.id())?;
    seen.after.push(memory.now as f64);
    seen.most.push(memory.most as f64);
    Ok(())
}

fn report(keys: u64, rounds: u64, all: &[Seen], notes: Vec<String>) -> Report {
    let columns = vec![
        "program",
        "load, s",
        "restart, s",
        "fastest",
        "slowest",
        "MiB loaded",
        "restarted",
        "at most",
        "used_memory",
        "restart: ours/its",
        "loaded: ours/its",
        "restarted: ours/its",
    ];
    let ours = all.iter().find(|seen| seen.system.name() == "steadfast");
    let row = |seen: &Seen| {
        let of = |what: fn(&Seen) -> f64| ratio(ours.map_or(0.0, what), what(seen));
        let ends =
            seen.restarts.iter().fold((f64::MAX, 0.0_f64), |(low, high), it| (low.min(*it), high.max(*it)));
        vec![
            Cell::from(seen.system.name()),
            Cell::Number(seen.load_seconds, 1),
            Cell::Number(median(&seen.restarts), 3),
            Cell::Number(ends.0, 3),
            Cell::Number(ends.1, 3),
            mib(seen.loaded.now as f64),
            mib(median(&seen.after)),
            mib(median(&seen.most)),
            mib(seen.own),
            of(|seen| median(&seen.restarts)),
            of(|seen| seen.loaded.now as f64),
            of(|seen| median(&seen.after)),
        ]
    };
    let rows = all.iter().map(row).collect();
    let title = format!(
        "From the start to the first read: {keys} keys, names of 25 bytes, values of 100; medians of {rounds} restarts"
    );
    Report { title, columns, rows, notes }
}
