//! How long nobody is served when the leader of three nodes dies: from its kill to the next acknowledged write, with clients that write all
//! the time and know all nodes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast::{Client, Config};

use super::machine;
use super::nodes::{Nodes, until};
use super::options::Options;
use super::report::{Cell, Report, median, percentile};
use crate::load::Dice;
use crate::scratch::Scratch;

/// How many clients write.
const CLIENTS: usize = 8;
/// How long the cluster works between two deaths at least; up to twice as long is drawn, so that nothing keeps in step with it.
const CALM_MS: u64 = 300;
/// Where all nodes are.
const ALL: [usize; 3] = [0, 1, 2];

/// When each client's writes were asked for that were acknowledged, and when they were.
#[derive(Debug, Default)]
struct Told {
    over: AtomicBool,
    /// Of each client since the last look.
    writes: [Mutex<Vec<(Instant, Instant)>>; CLIENTS],
}

impl Told {
    /// Each client's first acknowledgement of what it asked for since a moment, once all have one. What was asked for before it may
    /// have been the dead leader's last answer.
    fn firsts(&self, since: Instant) -> Option<[Instant; CLIENTS]> {
        let mut firsts = [since; CLIENTS];
        for (writes, first) in self.writes.iter().zip(&mut firsts) {
            let writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
            *first = writes.iter().find(|(asked, _)| *asked > since)?.1;
        }
        Some(firsts)
    }

    fn forget(&self) {
        self.writes.iter().for_each(|it| it.lock().unwrap_or_else(PoisonError::into_inner).clear());
    }
}

/// Measures, and says what was seen.
///
/// # Errors
/// If the nodes don't do what they should.
pub fn run(options: &Options) -> io::Result<Report> {
    let (scratch, rounds) = (Scratch::new("figures-leader-loss"), options.rounds(100));
    let mut notes = vec![format!("before: {}", machine::describe())];
    let mut nodes = Nodes::start(scratch.path())?;
    nodes.in_step(&ALL)?;
    let told = Arc::new(Told::default());
    let writers = start_writers(&nodes, &told);
    let (mut first, mut every) = (Vec::new(), Vec::new());
    let mut dice = Dice(1);
    for round in 1..=rounds {
        let leader = nodes.in_step(&ALL)?;
        std::thread::sleep(Duration::from_millis(CALM_MS + dice.below(CALM_MS)));
        told.forget();
        let killed = Instant::now();
        nodes.kill(leader);
        let firsts = until("acknowledged write of every client", || {
            told.firsts(killed).ok_or_else(|| io::Error::other("some wait still"))
        })?;
        let millis = |moment: &Instant| moment.duration_since(killed).as_secs_f64() * 1e3;
        first.extend(firsts.iter().map(millis).min_by(f64::total_cmp));
        every.extend(firsts.iter().map(millis).max_by(f64::total_cmp));
        nodes.restart(leader)?;
        if round % 20 == 0 {
            eprintln!("{round} of {rounds}: a median of {:.0} ms", median(&first));
        }
    }
    told.over.store(true, Ordering::Relaxed);
    writers.join().expect("no client panics");
    notes.push(format!(
        "{rounds} deaths by SIGKILL, {CLIENTS} clients with one write under way each; counted is what was asked for after the kill"
    ));
    notes.push(format!("after: {}", machine::describe()));
    Ok(report(&[("the next acknowledged write", first), ("one of every client", every)], notes))
}

fn report(seen: &[(&str, Vec<f64>)], notes: Vec<String>) -> Report {
    let row = |(name, millis): &(&str, Vec<f64>)| {
        let at = |percent| Cell::Number(percentile(millis, percent), 0);
        vec![Cell::from(*name), at(0.0), at(50.0), at(90.0), at(99.0), at(100.0)]
    };
    Report {
        title: "From the leader's kill, with three nodes".into(),
        columns: vec!["until", "shortest, ms", "median", "90 %", "99 %", "longest"],
        rows: seen.iter().map(row).collect(),
        notes,
    }
}

/// Clients that write until all is over, on a thread of their own.
fn start_writers(nodes: &Nodes, told: &Arc<Told>) -> std::thread::JoinHandle<()> {
    let config = Config::new(nodes.addresses());
    let told = told.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system gives a runtime").block_on(async {
            let tasks: Vec<_> = (0..CLIENTS)
                .map(|number| tokio::spawn(write(number, config.clone(), told.clone())))
                .collect();
            for task in tasks {
                task.await.expect("a client does not panic");
            }
        });
    })
}

async fn write(number: usize, config: Config, told: Arc<Told>) {
    let client = Client::start(config).expect("the configuration names nodes");
    let key = format!("leader-loss/{number}");
    for count in 0_u64.. {
        if told.over.load(Ordering::Relaxed) {
            break;
        }
        let asked = Instant::now();
        if client.set(key.as_str(), count.to_string()).await.is_ok() {
            let mut writes = told.writes[number].lock().unwrap_or_else(PoisonError::into_inner);
            writes.push((asked, Instant::now()));
        }
    }
    client.close().await;
}
