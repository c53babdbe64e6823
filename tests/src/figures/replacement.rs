//! What it takes to replace a node of three that has lost its disk, with all keys and under load: how long until the new one votes, and
//! how long writes take meanwhile.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::latency::{Pace, Span, write};
use super::machine;
use super::nodes::{Nodes, until};
use super::options::Options;
use super::report::{Cell, Report, percentile};
use super::steadfast::Steadfast;
use super::system;
use crate::scratch::Scratch;

/// How many connections write.
const CONNECTIONS: u64 = 16;
/// What is not counted, while the load begins.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures, and says what was seen.
///
/// # Errors
/// If the nodes don't do what they should.
pub fn run(options: &Options) -> io::Result<Report> {
    let (keys, calm) = (options.keys(1_000_000), Duration::from_secs(options.seconds(15)));
    let scratch = Scratch::new("figures-replacement");
    let mut notes = vec![format!("before: {}", machine::describe())];
    let mut nodes = Nodes::start(scratch.path())?;
    let leader = nodes.in_step(&[0, 1, 2])?;
    eprintln!("loading {keys} keys");
    let server = Steadfast::reached_at(nodes.addresses()[leader]);
    system::load(&server, keys, keys, 0)?;
    nodes.in_step(&[0, 1, 2])?;
    let (over, writes) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let writer = |number: u64| -> io::Result<()> {
        let mut mine = Vec::new();
        write(&server, keys, number, Pace::Steady(options.rate()), &over, &mut mine)?;
        writes.lock().expect("no writer panics").append(&mut mine);
        Ok(())
    };
    let times = std::thread::scope(|scope| {
        let writer = &writer;
        let writers: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || writer(number))).collect();
        let times = replace(&mut nodes, leader, calm);
        over.store(true, Ordering::Relaxed);
        let mut ends = writers.into_iter().map(|it| it.join().expect("a writer does not panic"));
        ends.try_for_each(|end| end).and(times)
    })?;
    notes.push(format!(
        "the new node voted {:.2} s after its start, and until then {:.0} MiB more of the leader's memory were in use at most",
        (times.voted - times.joined).as_secs_f64(),
        times.grown as f64 / f64::from(1 << 20)
    ));
    notes.push(format!(
        "{} writes per second over {CONNECTIONS} connections to the leader, each counted from when it was due",
        options.rate()
    ));
    notes.push(format!("after: {}", machine::describe()));
    let writes = writes.into_inner().expect("no writer panics");
    Ok(report(keys, &times, &writes, notes))
}

/// When what happened.
struct Times {
    /// The load is counted from here on.
    begun: Instant,
    /// The old node is killed and its disk gone.
    killed: Instant,
    /// The new one is started.
    joined: Instant,
    /// It votes in the old one's place.
    voted: Instant,
    end: Instant,
    /// By how many bytes the most that the leader's process ever had in memory grew until then.
    grown: u64,
}

/// Lets all three work, then two, replaces the third, and lets all three work again.
fn replace(nodes: &mut Nodes, leader: usize, calm: Duration) -> io::Result<Times> {
    let most = |nodes: &Nodes| machine::memory(nodes.processes()[leader].id()).map(|memory| memory.most);
    std::thread::sleep(WARM_UP);
    let begun = Instant::now();
    std::thread::sleep(calm);
    let (lost, before) = ((leader + 1) % 3, most(nodes)?);
    let killed = Instant::now();
    nodes.kill(lost);
    std::fs::remove_dir_all(nodes.data(lost))?;
    std::thread::sleep(calm);
    let joined = Instant::now();
    let place = nodes.join()?;
    let (old, new) = ((lost + 1).to_string(), (place + 1).to_string());
    let address = nodes.addresses()[place].to_owned();
    until("new member", || nodes.connect(leader)?.ask(["CLUSTER", "ADD", &new, &address]))?;
    // Refused until it has nearly the whole log.
    until("replacement", || nodes.connect(leader)?.ask(["CLUSTER", "REPLACE", &old, &new]))?;
    nodes.in_step(&[leader, place])?;
    let voted = Instant::now();
    let grown = most(nodes)?.saturating_sub(before);
    std::thread::sleep(calm);
    Ok(Times { begun, killed, joined, voted, end: Instant::now(), grown })
}

fn report(keys: u64, times: &Times, writes: &[Span], notes: Vec<String>) -> Report {
    let spans = [
        ("three nodes", times.begun, times.killed),
        ("two, one is gone", times.killed, times.joined),
        ("two, and one that joins", times.joined, times.voted),
        ("three again", times.voted, times.end),
    ];
    let row = |(name, from, to): (&'static str, Instant, Instant)| {
        let during = writes.iter().filter(|(asked, _)| (from..to).contains(asked));
        let millis: Vec<f64> = during.map(|(asked, told)| (*told - *asked).as_secs_f64() * 1e3).collect();
        let at = |percent| Cell::Number(percentile(&millis, percent), 2);
        let seconds = (to - from).as_secs_f64();
        let count = Cell::from(millis.len() as u64);
        vec![Cell::from(name), Cell::Number(seconds, 2), count, at(50.0), at(99.0), at(99.9), at(100.0)]
    };
    Report {
        title: format!("Writes of 100 bytes while a node with {keys} keys is replaced"),
        columns: vec![
            "members at work",
            "s",
            "writes",
            "median, ms",
            "99 %, ms",
            "99.9 %, ms",
            "longest, ms",
        ],
        rows: spans.into_iter().map(row).collect(),
        notes,
    }
}
