//! What a bounded search prints.

use std::fmt::Write as _;

use super::search::{Ended, Found};

/// Everything for people.
#[must_use]
pub fn text(all: &[Found]) -> String {
    let mut text = String::new();
    for found in all {
        if let Ended::Failed { what, path } = &found.ended {
            let _ = writeln!(text, "FAILED {}: {what}", found.plan.name);
            let _ = writeln!(text, "  it begins with {}", found.plan.start.describe());
            for line in path {
                let _ = writeln!(text, "  {line}");
            }
            let reproduce = format!(
                "steadfast-sim explore --bounded --plan {} --depth {}",
                found.plan.name,
                found.depth.max(1)
            );
            let _ = writeln!(text, "  reproduce  {reproduce}\n");
        }
    }
    for found in all {
        let _ = writeln!(
            text,
            "{:<12}  {}; {}",
            found.plan.name,
            found.plan.start.describe(),
            found.plan.describe()
        );
    }
    let _ =
        writeln!(text, "plan          depth     states      steps  of a node  seconds  states/s  outcome");
    for found in all {
        let outcome = match &found.ended {
            Ended::Passed => "passed",
            Ended::Exhausted => "passed, and nothing is deeper",
            Ended::Failed { .. } => "FAILED",
            Ended::Inconclusive(why) => &format!("inconclusive: {why}"),
        };
        let _ = writeln!(
            text,
            "{:<12} {:>6} {:>10} {:>10} {:>10} {:>8.1} {:>9.0}  {outcome}",
            found.plan.name,
            found.depth,
            found.states,
            found.steps,
            found.executed,
            found.seconds,
            found.rate()
        );
    }
    text
}

/// Everything for programs.
#[must_use]
pub fn json(all: &[Found]) -> serde_json::Value {
    let plans = all.iter().map(|found| {
        let (ended, saw, path) = match &found.ended {
            Ended::Passed | Ended::Exhausted => ("passed", None, None),
            Ended::Failed { what, path } => ("failed", Some(what.as_str()), Some(path)),
            Ended::Inconclusive(why) => ("inconclusive", Some(*why), None),
        };
        serde_json::json!({
            "plan": found.plan.name, "start": found.plan.start.describe(), "bounds": found.plan.describe(),
            "verdict": ended, "exhausted": found.ended == Ended::Exhausted, "saw": saw, "path": path,
            "depth": found.depth, "states": found.states, "steps": found.steps, "node_states": found.hosts,
            "node_steps": found.executed, "seconds": found.seconds, "states_per_second": found.rate(),
        })
    });
    serde_json::json!({ "plans": plans.collect::<Vec<_>>() })
}
