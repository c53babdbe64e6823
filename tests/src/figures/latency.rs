//! What a snapshot costs the writes beside it: their latencies while one of all keys is taken and written, and in the
//! calm between two.
//!
//! A snapshot's time is seen in the data directory: from the last look before its temporary file appeared until
//! neither that nor the snapshot before is there any more. A write that overlaps with it counts as beside it.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::machine;
use super::options::Options;
use super::report::{Cell, Report, percentile, ratio};
use super::restart::start_empty;
use super::steadfast::Steadfast;
use super::system::{self, System, key, value, wait_for_read};
use crate::load::Dice;
use crate::scratch::Scratch;

/// How many connections write.
const CONNECTIONS: u64 = 16;
/// How often the data directory is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// What is not counted, while the load begins.
const WARM_UP: Duration = Duration::from_secs(2);
/// A write of the data counts so much towards the next snapshot: name and value, and 256 for its replay.
const WEIGHT: u64 = 256 + 25 + 100;
/// How far two snapshots lie apart under the paced load, in seconds.
const APART: u64 = 6;

/// Of a write: when it was to begin, and when it was acknowledged. Of a snapshot: when it began and was over.
pub(super) type Span = (Instant, Instant);

/// How a load sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many writes per second, over all connections.
    Steady(u64),
    /// Each connection as soon as it is answered.
    Closed,
}

/// Measures, and says what was seen.
///
/// # Errors
/// If the server does not do what it should.
pub fn run(options: &Options) -> io::Result<Report> {
    let (keys, seconds) = (options.keys(1_000_000), options.seconds(60));
    let scratch = Scratch::new("figures-latency");
    let mut notes = vec![format!("before: {}", machine::describe())];
    let server = Steadfast::new(scratch.join("steadfast"), keys, keys / 50);
    eprintln!("loading {keys} keys");
    let daemon = start_empty(&server)?;
    system::load(&server, keys, keys, 0)?;
    drop(daemon);
    // What the load left to be written back is no part of what follows.
    std::process::Command::new("sync").status()?;
    let mut rows = Vec::new();
    for (name, pace, interval) in [
        ("paced", Pace::Steady(options.rate()), options.rate() * APART * WEIGHT),
        ("closed loop", Pace::Closed, 32 << 20),
    ] {
        eprintln!("{name}: {seconds} s");
        let server = server.clone().interval(interval);
        let mut daemon = server.launch()?;
        wait_for_read(&server, &mut daemon, b"nothing", None)?;
        let (writes, snapshots) = measure(&server, keys, pace, Duration::from_secs(seconds))?;
        rows.extend(compare(name, &writes, &snapshots, &mut notes));
    }
    notes.push(format!("paced is {} writes per second over {CONNECTIONS} connections", options.rate()));
    notes.push("a late write counts from when it was due; the snapshots are made to come often".into());
    notes.push(format!("after: {}", machine::describe()));
    notes.push("target: twice the latency of calm times".into());
    let columns =
        vec!["load", "time", "writes", "median, ms", "99 %, ms", "99.9 %, ms", "longest, ms", "per second"];
    let title = format!("Writes of 100 bytes beside snapshots of {keys} keys");
    Ok(Report { title, columns, rows, notes })
}

/// All writes of a load, and the times of the snapshots beside it.
fn measure(server: &Steadfast, keys: u64, pace: Pace, lasts: Duration) -> io::Result<(Vec<Span>, Vec<Span>)> {
    let begun = Instant::now() + WARM_UP;
    let (over, all) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let writer = |number: u64| -> io::Result<()> {
        let mut mine = Vec::new();
        write(server, keys, number, pace, &over, &mut mine)?;
        mine.retain(|(from, _)| *from >= begun);
        all.lock().expect("no writer panics").append(&mut mine);
        Ok(())
    };
    let snapshots = std::thread::scope(|scope| {
        let writer = &writer;
        let writers: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || writer(number))).collect();
        let snapshots = watch(server, begun + lasts);
        over.store(true, Ordering::Relaxed);
        let writers = writers.into_iter().map(|writer| writer.join().expect("a writer does not panic"));
        writers.collect::<io::Result<()>>().and(snapshots)
    })?;
    Ok((all.into_inner().expect("no writer panics"), snapshots))
}

/// One connection's writes over random keys.
pub(super) fn write(
    server: &Steadfast,
    keys: u64,
    number: u64,
    pace: Pace,
    over: &AtomicBool,
    writes: &mut Vec<Span>,
) -> io::Result<()> {
    let (mut client, mut dice) = (server.connect()?, Dice(number));
    let step = match pace {
        Pace::Steady(rate) => Duration::from_secs(CONNECTIONS).div_f64(rate as f64),
        Pace::Closed => Duration::ZERO,
    };
    let mut due = Instant::now() + step.mul_f64(number as f64 / CONNECTIONS as f64);
    while !over.load(Ordering::Relaxed) {
        let (key, value) = (key(dice.below(keys)), value(dice.below(u64::MAX)));
        // Being woken late is this program's fault; that the write before took too long is not.
        let early = due.saturating_duration_since(Instant::now());
        std::thread::sleep(early);
        let from = match early.is_zero() && !step.is_zero() {
            true => due,
            false => Instant::now(),
        };
        client.set(&key, &value)?;
        writes.push((from, Instant::now()));
        due += step;
    }
    Ok(())
}

/// Looks at the data directory until then; when snapshots were being taken.
fn watch(server: &Steadfast, until: Instant) -> io::Result<Vec<Span>> {
    let (mut found, mut begun, mut last) = (Vec::new(), None, Instant::now());
    while last < until {
        let now = Instant::now();
        match (server.snapshots()?.busy(), begun) {
            (true, None) => begun = Some(last),
            (false, Some(from)) => {
                found.push((from, now));
                begun = None;
            }
            _ => {}
        }
        last = now;
        std::thread::sleep(LOOK);
    }
    found.extend(begun.map(|from| (from, last)));
    Ok(found)
}

/// Three rows: beside snapshots, in calm, and the one over the other.
fn compare(name: &str, writes: &[Span], snapshots: &[Span], notes: &mut Vec<String>) -> Vec<Vec<Cell>> {
    let beside = |write: &&Span| snapshots.iter().any(|(from, to)| write.0 <= *to && write.1 >= *from);
    let (busy, calm): (Vec<&Span>, Vec<&Span>) = writes.iter().partition(beside);
    let first = writes.iter().map(|write| write.0).min().unwrap_or_else(Instant::now);
    let last = writes.iter().map(|write| write.1).max().unwrap_or(first);
    let whole = last.saturating_duration_since(first).as_secs_f64();
    // What was under way when the load began, or before it counted, is cut off.
    let inside = |(from, to): &Span| to.min(&last).saturating_duration_since(*from.max(&first)).as_secs_f64();
    let times: Vec<f64> = snapshots.iter().map(inside).collect();
    let in_snapshots: f64 = times.iter().sum();
    // One slow moment of the disk can fall into any of them.
    let longest = snapshots.iter().map(|(from, to)| {
        let beside = busy.iter().filter(|write| write.0 <= *to && write.1 >= *from);
        format!("{:.0}", beside.map(|write| millis(write)).fold(0.0, f64::max))
    });
    notes.push(format!(
        "{name}: {} snapshots in {whole:.0} s; one took {:.2} s in the median; their longest writes, ms: {}",
        snapshots.len(),
        percentile(&times, 50.0),
        longest.collect::<Vec<_>>().join(", ")
    ));
    let (busy, calm) = (figures(&busy, in_snapshots), figures(&calm, whole - in_snapshots));
    let row = |time: &str, figures: &[f64; 6]| {
        let cells = [Cell::Number(figures[0], 0)];
        let latencies = figures[1..5].iter().map(|figure| Cell::Number(*figure, 2));
        let rate = Cell::Number(figures[5], 0);
        [Cell::from(name), Cell::from(time)].into_iter().chain(cells).chain(latencies).chain([rate]).collect()
    };
    let mut over = vec![Cell::from(name), Cell::from("ratio"), Cell::Empty];
    over.extend((1..6).map(|at| ratio(busy[at], calm[at])));
    vec![row("beside snapshots", &busy), row("calm", &calm), over]
}

fn millis((from, to): &Span) -> f64 {
    (*to - *from).as_secs_f64() * 1e3
}

/// How many, four latencies in milliseconds, and how many per second.
fn figures(writes: &[&Span], seconds: f64) -> [f64; 6] {
    let took: Vec<f64> = writes.iter().map(|write| millis(write)).collect();
    let at = |percent| percentile(&took, percent);
    let count = took.len() as f64;
    [count, at(50.0), at(99.0), at(99.9), at(100.0), if seconds > 0.0 { count / seconds } else { 0.0 }]
}
