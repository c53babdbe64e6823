//! The hunt: seeds until one fails or the budget is spent.

use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::Bench;
use crate::options::Options;
use crate::outcome::{Outcome, Verdict};
use crate::patch::Mutant;

/// Seeds that one process of the simulator takes up before the budget is looked at again.
const CHUNK: u64 = 48;

/// A process that takes this much longer than its budget hangs.
const PATIENCE: f64 = 30.0;

/// Runs seeds until one fails or the budget is spent.
pub fn hunt(bench: &Bench, mutant: &Mutant, options: &Options) -> Result<Outcome, String> {
    let (mut from, mut outcome) = (mutant.seeds.start, Outcome::without_hunt(Verdict::Survived));
    while outcome.cpu < options.budget() && from < mutant.seeds.end {
        let to = from.saturating_add(CHUNK).min(mutant.seeds.end);
        let Some(report) = simulate(&bench.changed(), from..to, options)? else {
            outcome.verdict = Verdict::Hangs;
            return Ok(outcome);
        };
        outcome.cpu += report["cpu_seconds"].as_f64().unwrap_or(0.0);
        outcome.seeds += report["seeds"].as_u64().unwrap_or(0);
        if let Some((seed, judge, saw)) = first_failure(&report) {
            let unchanged = simulate(&bench.unchanged, seed..seed + 1, options)?;
            let alone = unchanged.is_some_and(|report| first_failure(&report).is_none());
            outcome.verdict = match alone {
                true => Verdict::Killed { seed, judge, saw },
                false => Verdict::FailsUnchanged { seed, judge },
            };
            return Ok(outcome);
        }
        from = to;
    }
    Ok(outcome)
}

/// Seed, judge and words of the failed run with the lowest seed.
fn first_failure(report: &Value) -> Option<(u64, String, String)> {
    let failed = report["runs"].as_array()?.iter().find(|run| run["verdict"] == "failed")?;
    let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
    Some((failed["seed"].as_u64()?, text("judge"), text("saw")))
}

/// Runs a simulator over seeds up to the first failure, and returns its report; none if it hangs.
fn simulate(simulator: &Path, seeds: Range<u64>, options: &Options) -> Result<Option<Value>, String> {
    let complain = |error: std::io::Error| format!("{}: {error}", simulator.display());
    let mut command = Command::new(simulator);
    command.args(["run", "--fail-fast", "--json", "--seeds", &format!("{}..{}", seeds.start, seeds.end)]);
    if let Some(jobs) = options.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(complain)?;
    let mut out = child.stdout.take().ok_or("the simulator has no output")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut out, &mut text).map(|_| text)
    });
    let begun = Instant::now();
    while child.try_wait().map_err(complain)?.is_none() {
        if begun.elapsed().as_secs_f64() > PATIENCE * options.budget() {
            child.kill().and_then(|()| child.wait()).map_err(complain)?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let text = reader.join().map_err(|_| "reading the simulator's report panicked")?.map_err(complain)?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| format!("the simulator's report can't be read: {error}"))
}
