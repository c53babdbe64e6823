//! What became of a patch, and how that is shown.

use serde_json::{Value, json};

use crate::options::Options;
use crate::patch::{Expect, Mutant};

/// What became of a patch.
pub enum Verdict {
    Killed {
        seed: u64,
        judge: String,
        saw: String,
    },
    /// The bounded search has found it.
    Found {
        plan: String,
        depth: usize,
        saw: String,
    },
    Survived,
    NoLongerApplies(String),
    DoesNotBuild(String),
    /// The unchanged code fails this seed as well, so the failure says nothing about the patch.
    FailsUnchanged {
        seed: u64,
        judge: String,
    },
    /// The unchanged code fails the bounded search, or that had no time for its depth: nothing is said about the patch.
    Undecided(String),
    Hangs,
}

/// A verdict and what it cost.
pub struct Outcome {
    pub verdict: Verdict,
    pub seeds: u64,
    /// Processor seconds of the hunt, those of all threads together; building is not counted.
    pub cpu: f64,
}

impl Outcome {
    pub fn without_hunt(verdict: Verdict) -> Self {
        Self { verdict, seeds: 0, cpu: 0.0 }
    }

    pub fn is_right(&self, mutant: &Mutant, options: &Options) -> bool {
        match (&self.verdict, mutant.expect) {
            (Verdict::Killed { .. } | Verdict::Found { .. }, Expect::Killed)
            | (Verdict::Survived, Expect::Survives) => true,
            // Most bugs lie where the bounded search does not look.
            (Verdict::Survived, Expect::Killed) => {
                options.bounded.is_some_and(|depth| mutant.bounded.is_none_or(|found| depth < found))
            }
            _ => false,
        }
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Killed { .. } => "killed",
            Verdict::Found { .. } => "found",
            Verdict::Survived => "survived",
            Verdict::NoLongerApplies(_) => "no longer applies",
            Verdict::DoesNotBuild(_) => "does not build",
            Verdict::FailsUnchanged { .. } => "fails unchanged",
            Verdict::Undecided(_) => "undecided",
            Verdict::Hangs => "hangs",
        }
    }

    /// Seed, judge and what the judge or a tool said, as far as there are any.
    fn details(&self) -> (Option<u64>, &str, &str) {
        match &self.verdict {
            Verdict::Killed { seed, judge, saw } => (Some(*seed), judge, saw),
            Verdict::FailsUnchanged { seed, judge } => {
                (Some(*seed), judge, "the unchanged code fails it, too")
            }
            Verdict::Found { plan, saw, .. } => (None, plan, saw),
            Verdict::NoLongerApplies(said) | Verdict::DoesNotBuild(said) | Verdict::Undecided(said) => {
                (None, "", said)
            }
            Verdict::Survived | Verdict::Hangs => (None, "", ""),
        }
    }

    pub fn line(&self, mutant: &Mutant, options: &Options) -> String {
        let sign = if self.is_right(mutant, options) { "ok   " } else { "WRONG" };
        let (seed, judge, saw) = self.details();
        if options.bounded.is_some() {
            return self.bounded_line(sign, mutant);
        }
        let mut line = format!(
            "{sign} {:<44} {:<9} {:>6.1} s {:>5} seeds",
            mutant.name,
            self.word(),
            self.cpu,
            self.seeds
        );
        if let Some(seed) = seed {
            line.push_str(&format!("  seed {seed}, {judge}: {}", saw.lines().next().unwrap_or_default()));
        } else if !saw.is_empty() {
            line.push_str(&format!("\n{saw}"));
        }
        line
    }

    fn bounded_line(&self, sign: &str, mutant: &Mutant) -> String {
        let mut line = format!("{sign} {:<44} {:<9} {:>6.1} s", mutant.name, self.word(), self.cpu);
        match &self.verdict {
            Verdict::Found { plan, depth, saw } => {
                line.push_str(&format!("  {plan}, depth {depth}: {saw}"));
            }
            _ => line.push_str(&format!("  {}", self.details().2)),
        }
        line
    }

    pub fn json(&self, mutant: &Mutant, options: &Options) -> Value {
        let (seed, judge, saw) = self.details();
        let depth = if let Verdict::Found { depth, .. } = self.verdict { Some(depth) } else { None };
        json!({
            "name": mutant.name, "title": mutant.title, "breaks": mutant.breaks, "expect": mutant.expect.word(),
            "verdict": self.word(), "as_expected": self.is_right(mutant, options), "seed": seed, "depth": depth, "judge": judge,
            "saw": saw,
            "seeds": self.seeds, "cpu_seconds": self.cpu,
        })
    }
}
