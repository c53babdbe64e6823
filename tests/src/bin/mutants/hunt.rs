//! The hunt: seeds until one fails or the budget is spent; or the bounded search of Raft.

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

/// Searches all that can happen to Raft in few steps. What is found counts if the unchanged code passes the same search.
pub fn search(bench: &Bench, depth: usize, options: &Options) -> Result<Outcome, String> {
    let Some(report) = explore(&bench.changed(), depth, None, options)? else {
        return Ok(Outcome::without_hunt(Verdict::Hangs));
    };
    let plans = report["plans"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |plan: &Value, name: &str| plan[name].as_str().unwrap_or_default().to_owned();
    let cpu = plans.iter().filter_map(|plan| plan["seconds"].as_f64()).sum();
    let failed = plans.iter().filter(|plan| plan["verdict"] == "failed");
    let verdict = match failed.min_by_key(|plan| plan["depth"].as_u64()) {
        Some(plan) => {
            let depth = plan["depth"].as_u64().unwrap_or(0) as usize;
            let (saw, plan) = (text(plan, "saw"), text(plan, "plan"));
            let unchanged = explore(&bench.unchanged, depth, Some(&plan), options)?;
            let passes = unchanged.is_some_and(|report| report["plans"][0]["verdict"] == "passed");
            match passes {
                true => Verdict::Found { plan, depth, saw },
                false => Verdict::Undecided(format!("the unchanged code fails {plan}, too")),
            }
        }
        None => match plans.iter().find(|plan| plan["verdict"] != "passed") {
            Some(plan) => Verdict::Undecided(format!("{}: {}", text(plan, "plan"), text(plan, "saw"))),
            None => Verdict::Survived,
        },
    };
    Ok(Outcome { verdict, seeds: 0, cpu })
}

/// Runs a simulator's bounded search.
fn explore(
    simulator: &Path,
    depth: usize,
    plan: Option<&str>,
    options: &Options,
) -> Result<Option<Value>, String> {
    let mut command = Command::new(simulator);
    command.args(["explore", "--bounded", "--json", "--depth", &depth.to_string()]);
    command.args(["--budget", &format!("{}s", options.budget())]);
    command.args(plan.iter().flat_map(|plan| ["--plan", *plan]));
    report(command, options)
}

/// Seed, judge and words of the failed run with the lowest seed.
fn first_failure(report: &Value) -> Option<(u64, String, String)> {
    let failed = report["runs"].as_array()?.iter().find(|run| run["verdict"] == "failed")?;
    let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
    Some((failed["seed"].as_u64()?, text("judge"), text("saw")))
}

/// Runs a simulator over seeds up to the first failure, and returns its report; none if it hangs.
fn simulate(simulator: &Path, seeds: Range<u64>, options: &Options) -> Result<Option<Value>, String> {
    let mut command = Command::new(simulator);
    command.args(["run", "--fail-fast", "--json", "--seeds", &format!("{}..{}", seeds.start, seeds.end)]);
    report(command, options)
}

/// What a simulator reports; none if it hangs.
fn report(mut command: Command, options: &Options) -> Result<Option<Value>, String> {
    let simulator = command.get_program().to_string_lossy().into_owned();
    let complain = |error: std::io::Error| format!("{simulator}: {error}");
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
