//! What became of a patch, and how that is shown.

use serde_json::{Value, json};

use crate::patch::{Expect, Mutant};

/// What became of a patch.
pub enum Verdict {
    Killed {
        seed: u64,
        judge: String,
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

    pub fn is_right(&self, mutant: &Mutant) -> bool {
        matches!(
            (&self.verdict, mutant.expect),
            (Verdict::Killed { .. }, Expect::Killed) | (Verdict::Survived, Expect::Survives)
        )
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Killed { .. } => "killed",
            Verdict::Survived => "survived",
            Verdict::NoLongerApplies(_) => "no longer applies",
            Verdict::DoesNotBuild(_) => "does not build",
            Verdict::FailsUnchanged { .. } => "fails unchanged",
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
            Verdict::NoLongerApplies(said) | Verdict::DoesNotBuild(said) => (None, "", said),
            Verdict::Survived | Verdict::Hangs => (None, "", ""),
        }
    }

    pub fn line(&self, mutant: &Mutant) -> String {
        let sign = if self.is_right(mutant) { "ok   " } else { "WRONG" };
        let (seed, judge, saw) = self.details();
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

    pub fn json(&self, mutant: &Mutant) -> Value {
        let (seed, judge, saw) = self.details();
        json!({
            "name": mutant.name, "title": mutant.title, "breaks": mutant.breaks, "expect": mutant.expect.word(),
            "verdict": self.word(), "as_expected": self.is_right(mutant), "seed": seed, "judge": judge, "saw": saw,
            "seeds": self.seeds, "cpu_seconds": self.cpu,
        })
    }
}
