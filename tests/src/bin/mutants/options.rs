//! The command line.

use std::collections::BTreeSet;

use crate::patch::Mutant;

const USAGE: &str =
    "usage: mutants [--all | --sample I/N | NAME...] [--bounded DEPTH] [--budget 120s] [--jobs N] [--list] [--json] [--server]
  --all          every patch of corpus/mutants
  --sample I/N   the Ith of N parts of them, counted from 1
  --bounded D    hunt with the bounded search of Raft to this depth, and not with seeds: of the bugs, those must be found
                 whose headers say at which depth
  --budget T     processor time for each hunt: 90s or 2m; 120s if not given
  --jobs N       threads of a hunt; as many as the machine has if not given
  --list         only name the patches and what they plant
  --json         print one JSON document instead of text
  --server       hunt nothing: build the whole-system tests' server with each bug, and name it for STEADFAST_BIN";

/// What the command line asks for.
#[derive(Default)]
pub struct Options {
    pub all: bool,
    pub sample: Option<(usize, usize)>,
    pub names: BTreeSet<String>,
    pub bounded: Option<usize>,
    pub budget: Option<f64>,
    pub jobs: Option<u64>,
    pub list: bool,
    pub json: bool,
    pub server: bool,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--all" => options.all = true,
                "--list" => options.list = true,
                "--json" => options.json = true,
                "--server" => options.server = true,
                "--sample" => options.sample = Some(part(&value()?)?),
                "--bounded" => options.bounded = Some(number(&value()?)? as usize),
                "--budget" => options.budget = Some(seconds(&value()?)?),
                "--jobs" => options.jobs = Some(number(&value()?)?),
                "--help" | "-h" => return Err(USAGE.into()),
                _ if arg.starts_with('-') => return Err(format!("{arg} is no option\n{USAGE}")),
                _ => _ = options.names.insert(arg),
            }
        }
        let ways = usize::from(options.all)
            + usize::from(options.sample.is_some())
            + usize::from(!options.names.is_empty());
        match ways {
            1 => Ok(options),
            0 if options.list => Ok(Self { all: true, ..options }),
            _ => Err(format!("say which patches: --all, --sample or names\n{USAGE}")),
        }
    }

    pub fn choose(&self, mutants: Vec<Mutant>) -> Result<Vec<Mutant>, String> {
        let known: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.name).collect();
        if let Some(unknown) = self.names.iter().find(|name| !known.contains(name)) {
            return Err(format!("there is no corpus/mutants/{unknown}.patch"));
        }
        let (part, parts) = self.sample.unwrap_or((0, 1));
        let chosen = mutants.into_iter().enumerate();
        let chosen = chosen.filter(|(at, mutant)| {
            at % parts == part && (self.names.is_empty() || self.names.contains(&mutant.name))
        });
        Ok(chosen.map(|(_, mutant)| mutant).collect())
    }

    pub fn budget(&self) -> f64 {
        self.budget.unwrap_or(120.0)
    }
}

pub fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let parts =
        text.split_once('/').and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
    match parts {
        Some((i, n)) if (1..=n).contains(&i) => Ok((i - 1, n)),
        _ => Err(format!("{text} is no part; write 1/4 for the first of four")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let (digits, scale) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    match digits.parse::<u32>() {
        Ok(count) if count > 0 => Ok(f64::from(count) * scale),
        _ => Err(format!("{text} is no duration; write 90s or 2m")),
    }
}
