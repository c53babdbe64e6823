//! Hunts planted bugs: applies each patch of `corpus/mutants/` to a scratch copy of the workspace, builds the
//! simulator there, and lets it look for a failure within a budget of processor time.
//!
//! A bug counts as killed only if a judge failed a run, or an assertion of the core panicked, and if the same seed
//! passes with the unchanged code. Probes that did not fire and runs that are inconclusive count for nothing. With
//! `--bounded` the bounded search of Raft hunts in place of the seeds. It never changes the workspace itself.

mod bench;
mod hunt;
mod options;
mod outcome;
mod patch;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use bench::Bench;
use options::Options;

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("mutants: {message}");
            ExitCode::from(2)
        }
    }
}

/// Judges every chosen patch, and says whether all came out as they must.
fn run(options: &Options) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has no workspace")?;
    let mutants = options.choose(patch::load(&root.join("corpus/mutants"))?)?;
    if options.list {
        for mutant in &mutants {
            println!("{:<44} {:<8} {}", mutant.name, mutant.expect.word(), mutant.title);
        }
        return Ok(true);
    }
    let bench = Bench::new(root)?;
    if options.server {
        for mutant in &mutants {
            println!("{}", bench.server(mutant)?.display());
        }
        return Ok(true);
    }
    bench.build_unchanged()?;
    let mut outcomes = Vec::new();
    for mutant in mutants {
        let outcome = bench.judge(&mutant, options)?;
        if !options.json {
            println!("{}", outcome.line(&mutant, options));
        }
        outcomes.push((mutant, outcome));
    }
    let wrong = outcomes.iter().filter(|(mutant, outcome)| !outcome.is_right(mutant, options)).count();
    let cpu: f64 = outcomes.iter().map(|(_, outcome)| outcome.cpu).sum();
    if options.json {
        let list: Vec<Value> =
            outcomes.iter().map(|(mutant, outcome)| outcome.json(mutant, options)).collect();
        let document = json!({"mutants": list, "wrong": wrong, "cpu_seconds": cpu});
        println!("{document:#}");
    } else {
        println!(
            "mutants={} as_expected={} wrong={wrong} cpu_seconds={cpu:.1}",
            outcomes.len(),
            outcomes.len() - wrong
        );
    }
    Ok(wrong == 0)
}
