//! How many bytes go to the disk for a write of 100 bytes: what the device took meanwhile, and what the kernel counts
//! of the process; so with all marks, padding, zeros written ahead and snapshots, and the file system's journal.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::etcd::{self, Etcd};
use super::machine::{self, Written};
use super::options::Options;
use super::redis::{self, Keeping, Redis};
use super::report::{Cell, Report};
use super::restart::{is_there, start_empty};
use super::steadfast::Steadfast;
use super::system::{self, System, key, value};
use crate::load::Dice;
use crate::scratch::Scratch;

/// With how many clients at once.
const CLIENTS: [u64; 2] = [1, 64];
/// How many snapshots a run of Steadfast waits for.
const SNAPSHOTS: usize = 2;
/// How long it waits for them.
const PATIENCE: Duration = Duration::from_secs(110);
/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a load wrote.
#[derive(Clone, Copy, Debug)]
struct Load {
    clients: u64,
    writes: u64,
    seconds: f64,
    written: Written,
    /// What the device took, of everybody.
    device: Option<u64>,
    /// How many snapshots were finished, and their bytes.
    snapshots: usize,
    snapshot_bytes: u64,
}

/// Measures, and says what was seen.
///
/// # Errors
/// If a program does not do what it should.
pub fn run(options: &Options) -> io::Result<Report> {
    let (keys, lasts) = (options.keys(100_000), Duration::from_secs(options.seconds(10)));
    let scratch = Scratch::new("figures-bytes");
    let mut notes = vec![format!("before: {}", machine::describe())];
    let mut rows = Vec::new();
    if options.wants("steadfast") {
        let server = Steadfast::new(scratch.join("steadfast"), keys, keys / 10);
        let seen = measure(&server, keys, lasts, (scratch.path(), Some(&server)))?;
        rows.extend(seen.iter().map(|load| row(&server, load)));
    }
    if options.wants("redis") && is_there(redis::PROGRAM, &mut notes) {
        let server = Redis::new(Keeping::SyncedLog, scratch.join("redis"))?;
        rows.extend(
            measure(&server, keys, lasts, (scratch.path(), None))?.iter().map(|load| row(&server, load)),
        );
    }
    if options.wants("etcd") && is_there(etcd::PROGRAM, &mut notes) {
        let server = Etcd::new(scratch.join("etcd"));
        rows.extend(
            measure(&server, keys, lasts, (scratch.path(), None))?.iter().map(|load| row(&server, load)),
        );
    }
    notes.push(
        "disk: write_bytes of /proc/PID/io, whole pages; calls: wchar, answers to clients included".into(),
    );
    notes.push("snapshots cost their length for every 64 MiB of log, whatever a write is".into());
    notes.push(format!("after: {}", machine::describe()));
    let columns = vec![
        "program",
        "clients",
        "writes",
        "writes/s",
        "device, bytes/write",
        "without snapshots",
        "calls, bytes/write",
        "write_bytes/write",
        "snapshots",
        "MiB each",
    ];
    let title = format!("Bytes on the disk for a write of 100 bytes over one of {keys} keys");
    Ok(Report { title, columns, rows, notes })
}

fn row(system: &dyn System, load: &Load) -> Vec<Cell> {
    let each = |bytes: u64| Cell::Number(bytes as f64 / load.writes.max(1) as f64, 0);
    let one = load.snapshot_bytes as f64 / load.snapshots.max(1) as f64;
    let (snapshots, mib) = match load.snapshots {
        0 => (Cell::Empty, Cell::Empty),
        count => (Cell::from(count as u64), Cell::Number(one / f64::from(1 << 20), 1)),
    };
    let or_empty = |cell: Option<Cell>| cell.unwrap_or(Cell::Empty);
    vec![
        Cell::from(system.name()),
        Cell::from(load.clients),
        Cell::from(load.writes),
        Cell::Number(load.writes as f64 / load.seconds, 0),
        or_empty(load.device.map(each)),
        or_empty(load.device.map(|bytes| each(bytes.saturating_sub(load.snapshot_bytes)))),
        each(load.written.calls),
        each(load.written.disk),
        snapshots,
        mib,
    ]
}

/// Loads a program, and measures it with each number of clients.
fn measure(
    system: &dyn System,
    keys: u64,
    lasts: Duration,
    (dir, steadfast): (&Path, Option<&Steadfast>),
) -> io::Result<Vec<Load>> {
    eprintln!("loading {}", system.name());
    let daemon = start_empty(system)?;
    system::load(system, keys, keys, 0)?;
    system.settle()?;
    let mut loads = Vec::new();
    for clients in CLIENTS {
        eprintln!("{} with {clients} clients", system.name());
        loads.push(load(system, daemon.id(), keys, clients, lasts, (dir, steadfast))?);
    }
    Ok(loads)
}

/// Clients that write over random keys until the time is over, and enough snapshots were taken.
fn load(
    system: &dyn System,
    process: u32,
    keys: u64,
    clients: u64,
    lasts: Duration,
    (dir, steadfast): (&Path, Option<&Steadfast>),
) -> io::Result<Load> {
    let (over, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    let client = |number: u64| -> io::Result<()> {
        let (mut client, mut dice) = (system.connect()?, Dice(number));
        while !over.load(Ordering::Relaxed) {
            client.set(&key(dice.below(keys)), &value(dice.below(u64::MAX)))?;
            writes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let (begun, before) = (Instant::now(), machine::written(process)?);
    let device_before = machine::device_written(dir);
    let taken = std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(number))).collect();
        let taken = watch(begun, lasts, steadfast);
        over.store(true, Ordering::Relaxed);
        let clients = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        clients.collect::<io::Result<()>>().and(taken)
    })?;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), machine::written(process)?);
    let written = Written { disk: after.disk - before.disk, calls: after.calls - before.calls };
    let snapshot_bytes = taken.iter().map(|(_, bytes)| bytes).sum();
    let (writes, snapshots) = (writes.into_inner(), taken.len());
    let device = machine::device_written(dir).zip(device_before).map(|(after, before)| after - before);
    Ok(Load { clients, writes, seconds, written, device, snapshots, snapshot_bytes })
}

/// Waits until the load may end; the snapshots that were finished meanwhile.
///
/// It ends right after one, so that as much log as snapshots is counted.
fn watch(begun: Instant, lasts: Duration, steadfast: Option<&Steadfast>) -> io::Result<Vec<(u64, u64)>> {
    let Some(server) = steadfast else {
        std::thread::sleep(lasts);
        return Ok(Vec::new());
    };
    let mut known = server.snapshots()?.whole;
    let mut taken = Vec::new();
    while begun.elapsed() < PATIENCE {
        let count = taken.len();
        for snapshot in server.snapshots()?.whole {
            // The lengths of one that goes just now may be missing.
            if !known.iter().any(|(index, _)| *index == snapshot.0) && snapshot.1 > 0 {
                known.push(snapshot);
                taken.push(snapshot);
            }
        }
        if taken.len() > count && taken.len() >= SNAPSHOTS && begun.elapsed() >= lasts {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(taken)
}
