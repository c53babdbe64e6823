//! A campaign: many seeds on several threads within a budget, and what they add up to.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::draw;
use crate::probes::Probes;
use crate::run::{self, Outcome, Verdict};
use crate::schedule::Schedule;

/// From so many seeds on, a probe that never fired fails the campaign.
pub const PROBES_FROM: u64 = 200;

/// What a campaign does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds; each is a run.
    pub seeds: Range<u64>,
    /// One saved schedule instead of the seeds.
    pub schedule: Option<Schedule>,
    /// Threads.
    pub jobs: usize,
    /// When to stop taking up seeds.
    pub budget: Option<Duration>,
    /// Which of how many parts of the seeds: (part from 0, parts).
    pub shard: (u64, u64),
    /// Where histories go.
    pub history: Option<PathBuf>,
    /// Hunt: execute each seed once only, and take up no more after the first failure.
    pub fail_fast: bool,
    /// Whether a probe that never fired fails a campaign of `PROBES_FROM` seeds or more.
    pub probes_must_fire: bool,
}

/// A run that did not pass.
#[derive(Clone, Debug)]
pub struct Bad {
    /// Its seed.
    pub seed: u64,
    /// Its derived options.
    pub options: String,
    /// Its verdict.
    pub verdict: Verdict,
}

/// What a campaign adds up to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Runs.
    pub seeds: u64,
    /// Of which passed.
    pub passed: u64,
    /// Of which failed.
    pub failed: u64,
    /// Of which nobody can tell.
    pub inconclusive: u64,
    /// Operations that clients completed.
    pub ops: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Simulated microseconds.
    pub sim_us: u64,
    /// Events.
    pub events: u64,
    /// Rare states.
    pub probes: Probes,
    /// Whether each of them must have been seen.
    pub probes_must_fire: bool,
    /// The runs that did not pass, in order of their seeds.
    pub bad: Vec<Bad>,
    /// Histories that could not be written, and why.
    pub unwritten: Vec<String>,
}

impl Totals {
    fn add(&mut self, seed: u64, options: impl FnOnce() -> String, outcome: &Outcome) {
        self.seeds += 1;
        match outcome.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed { .. } => self.failed += 1,
            Verdict::Inconclusive(_) => self.inconclusive += 1,
        }
        self.ops += outcome.ops;
        self.faults += outcome.faults;
        self.sim_us += outcome.sim_us;
        self.events += outcome.events;
        self.probes.add(&outcome.probes);
        if outcome.verdict != Verdict::Passed {
            self.bad.push(Bad { seed, options: options(), verdict: outcome.verdict.clone() });
        }
    }

    /// The probes that fail the campaign because they never fired.
    #[must_use]
    pub fn missing_probes(&self) -> Vec<String> {
        if self.probes_must_fire && self.seeds >= PROBES_FROM { self.probes.missing() } else { Vec::new() }
    }

    /// Whether more than one run in a hundred was inconclusive.
    #[must_use]
    pub fn too_inconclusive(&self) -> bool {
        self.inconclusive * 100 > self.seeds
    }

    /// The exit status: 0 all passed, 1 a failure, 3 inconclusive beyond the bound.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.failed > 0 || !self.missing_probes().is_empty() || !self.unwritten.is_empty() {
            1
        } else if self.too_inconclusive() {
            3
        } else {
            0
        }
    }
}

/// Runs a campaign; `progress` is called after every run.
#[must_use]
pub fn run(plan: &Plan, progress: &mut dyn FnMut(&Totals)) -> Totals {
    let mut totals = Totals { probes_must_fire: plan.probes_must_fire, ..Totals::default() };
    if let Some(schedule) = &plan.schedule {
        let outcome = run::twice(schedule);
        write_history(plan, schedule.seed, &outcome, &mut totals);
        totals.add(schedule.seed, || schedule.summary(), &outcome);
        return totals;
    }
    let deadline = plan.budget.map(|budget| Instant::now() + budget);
    let (next, stop) = (AtomicU64::new(plan.seeds.start), AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            let (next, stop, sender) = (&next, &stop, sender.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= plan.seeds.end || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        break;
                    }
                    if seed % plan.shard.1 != plan.shard.0 {
                        continue;
                    }
                    let schedule = draw::schedule(seed);
                    let outcome = if plan.fail_fast { run::once(&schedule) } else { run::twice(&schedule) };
                    if sender.send((seed, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (seed, outcome) in &receiver {
            write_history(plan, seed, &outcome, &mut totals);
            totals.add(seed, || draw::schedule(seed).summary(), &outcome);
            progress(&totals);
            if plan.fail_fast && totals.failed > 0 {
                stop.store(true, Ordering::Relaxed);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    totals.bad.sort_by_key(|bad| bad.seed);
    totals
}

fn write_history(plan: &Plan, seed: u64, outcome: &Outcome, totals: &mut Totals) {
    let Some(directory) = &plan.history else { return };
    let path = directory.join(format!("seed-{seed}.jsonl"));
    let written = std::fs::File::create(&path).and_then(|file| {
        let mut out = std::io::BufWriter::new(file);
        crate::history::json::write(&outcome.records, &mut out)?;
        std::io::Write::flush(&mut out)
    });
    if let Err(error) = written {
        totals.unwritten.push(format!("{}: {error}", path.display()));
    }
}

/// Processor time of this process in seconds: what the kernel says, or else the time since the start on all
/// threads together.
#[must_use]
pub fn cpu_seconds(since: Instant, jobs: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which ends at the last parenthesis: fields 14 and 15 are user and system time in
    // hundredths of a second (proc(5)).
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => (user + system) as f64 / 100.0,
        _ => since.elapsed().as_secs_f64() * jobs as f64,
    }
}
