//! One run: a schedule is executed, twice if asked, and judged.

use std::fmt;

use crate::history::Record;
use crate::probes::Probes;
use crate::rare::Rare;
use crate::schedule::Schedule;
use crate::trace::TraceHash;
use crate::world::{Listener, Remains, Stopped, World};
use crate::{glue, judge};

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise was kept.
    Passed,
    /// A promise was broken.
    Failed {
        /// Who says so.
        judge: String,
        /// What it saw.
        what: String,
    },
    /// Nobody can tell. Counted, and no pass.
    Inconclusive(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed { judge, what } => write!(f, "failed: {judge}: {what}"),
            Self::Inconclusive(why) => write!(f, "inconclusive: {why}"),
        }
    }
}

impl Verdict {
    /// The judge that failed the run.
    #[must_use]
    pub fn judge(&self) -> Option<&str> {
        match self {
            Self::Failed { judge, .. } => Some(judge),
            _ => None,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The trace's hash.
    pub hash: TraceHash,
    /// Events executed, of one execution.
    pub events: u64,
    /// Operations that clients completed.
    pub ops: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Simulated microseconds, of one execution.
    pub sim_us: u64,
    /// Rare states, of one execution.
    pub probes: Probes,
    /// What the clients wrote down.
    pub records: Vec<Record>,
}

/// Executes a schedule and judges it.
#[must_use]
pub fn once(schedule: &Schedule) -> Outcome {
    glue::catch_panics();
    judged(World::new(schedule, None).run(u64::MAX))
}

/// Executes a schedule twice, judges it, and compares the two.
#[must_use]
pub fn twice(schedule: &Schedule) -> Outcome {
    let mut outcome = once(schedule);
    let again = World::new(schedule, None).run(u64::MAX);
    if (outcome.hash, outcome.events) != (again.hash, again.events) {
        outcome.verdict = Verdict::Failed {
            judge: "determinism".into(),
            what: format!(
                "two executions differ: trace {} after {} events, and {} after {}",
                outcome.hash, outcome.events, again.hash, again.events
            ),
        };
    }
    outcome
}

/// Executes a schedule up to an event, and tells every event to the listener. Judges it if it comes to its end.
#[must_use]
pub fn listened(schedule: &Schedule, listener: Listener<'_>, until: u64) -> (Remains, Verdict) {
    glue::catch_panics();
    let remains = World::new(schedule, Some(listener)).run(until);
    let (verdict, _) = verdict(&remains);
    (remains, verdict)
}

fn judged(mut remains: Remains) -> Outcome {
    let (verdict, rare) = verdict(&remains);
    rare.iter().for_each(|(probe, times)| remains.probes.world(*probe, *times));
    Outcome {
        verdict,
        hash: remains.hash,
        events: remains.events,
        ops: remains.ops,
        faults: remains.faults,
        sim_us: remains.sim_us,
        probes: remains.probes,
        records: remains.recorder.records().to_vec(),
    }
}

/// The verdict on a run, and the rare states that it shows. Where it went beyond the fault budget, a failure proves
/// nothing.
fn verdict(remains: &Remains) -> (Verdict, Rare) {
    let (verdict, rare) = judged_alone(remains);
    let verdict = match (verdict, remains.budget.exceeded.as_slice()) {
        (Verdict::Failed { judge, what }, exceeded @ [_, ..]) => Verdict::Inconclusive(format!(
            "outside the fault budget ({}): {judge}: {what}",
            exceeded.join("; ")
        )),
        (verdict, _) => verdict,
    };
    (verdict, rare)
}

fn judged_alone(remains: &Remains) -> (Verdict, Rare) {
    let verdict = match &remains.stopped {
        Some(Stopped::Failed { judge, what }) => {
            Verdict::Failed { judge: (*judge).into(), what: what.clone() }
        }
        Some(Stopped::Inconclusive(why)) => Verdict::Inconclusive(why.clone()),
        Some(Stopped::Asked) => Verdict::Inconclusive("stopped where it was asked to".into()),
        None => return judge::run(remains),
    };
    (verdict, Rare::new())
}
