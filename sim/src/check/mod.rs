//! The judges: each reads what clients wrote down, or what nodes show, and says whether a promise was kept.
//!
//! | judge | promise |
//! |---|---|
//! | [`ahead`] | no more is lost of what was answered ahead of its durability than was allowed |
//! | [`receipts`] | everything is strictly serialisable, in the order that the receipts claim |
//! | [`linear`] | each key is linearizable, whatever the receipts say |
//! | [`exactly_once`] | an acknowledged write happened once, an unknown one at most once, a failed one never |
//! | [`expiry`] | no key goes before its time |
//! | [`holds`] | who was given a lock or an office has it until its time is over, and nobody else |
//! | [`access`] | nobody succeeds after a revoke |
//! | [`raft`] | Raft's own invariants, after every step |
//! | [`time`] | cluster time goes by what a majority of the wall clocks says, and by no other |
//! | [`replay`] | the log, replayed from nothing, gives the state |
//!
//! No judge reads a server's mind to excuse it, and none shares code with what it judges: only plain data
//! types of the core appear here. The one exception is [`replay`], which runs the core's state machine
//! against itself.

pub mod access;
pub mod ahead;
pub mod asked;
pub mod changes;
pub mod claims;
mod drops;
pub mod durability;
pub mod exactly_once;
pub mod expiry;
pub mod grants;
pub mod holds;
pub mod leases;
pub mod levels;
pub mod limits;
pub mod linear;
pub mod linear_key;
pub mod linear_search;
pub mod log;
pub mod members;
pub mod model;
pub mod once;
pub mod others;
mod people;
pub mod pipeline;
pub mod raft;
pub mod reach;
pub mod receipts;
pub mod replay;
pub mod roles;
pub mod rows;
mod seen;
pub mod time;
pub mod transactions;
pub mod values;
mod walk;

#[cfg(test)]
mod testing;

use std::fmt;

use crate::history::History;
use log::LogEntry;

/// What a judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The promise was kept, as far as this judge can see.
    Passed,
    /// The promise was broken.
    Failed {
        /// Which judge says so.
        judge: &'static str,
        /// What it saw, with the operations and positions concerned.
        what: String,
    },
    /// The judge can't tell. Never counted as a pass.
    Inconclusive {
        /// Which judge says so.
        judge: &'static str,
        /// Why not.
        why: String,
    },
}

impl Verdict {
    /// Whether the promise was kept.
    #[must_use]
    pub fn passed(&self) -> bool {
        *self == Self::Passed
    }

    /// Whether the promise was broken.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// The worse of two verdicts: a failure before a doubt, a doubt before a pass, the first before the second.
    pub fn and(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Failed { .. }, _)
            | (Self::Inconclusive { .. }, Self::Passed | Self::Inconclusive { .. }) => self,
            (Self::Passed, _) | (Self::Inconclusive { .. }, Self::Failed { .. }) => other,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed { judge, what } => write!(f, "failed: {judge}: {what}"),
            Self::Inconclusive { judge, why } => write!(f, "inconclusive: {judge}: {why}"),
        }
    }
}

/// Everything that can be said of a history and the log that the cluster ended with: the worst verdict.
/// What needs to watch the nodes, [`raft`] and [`replay`], is not in it.
pub fn judge(history: &History, log: &[LogEntry]) -> Verdict {
    let history = match ahead::settle(history, log) {
        Ok(history) => history,
        Err(stop) => return Stop::verdict(Err(stop), ahead::JUDGE),
    };
    receipts::judge(&history, log)
        .and(linear::judge(&history))
        .and(exactly_once::judge(&history, log))
        .and(expiry::judge(&history))
        .and(expiry::pace(&history))
        .and(holds::judge(&history))
        .and(members::judge(&history, log))
        .and(levels::judge(log))
        .and(access::judge(&history))
}

/// Why a judge stops. Judges work with `Result<(), Stop>` inside and turn it into a [`Verdict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The promise was broken.
    Failed(String),
    /// The judge can't tell.
    Inconclusive(String),
}

impl Stop {
    /// As a verdict of this judge.
    pub fn verdict(result: Result<(), Self>, judge: &'static str) -> Verdict {
        match result {
            Ok(()) => Verdict::Passed,
            Err(Self::Failed(what)) => Verdict::Failed { judge, what },
            Err(Self::Inconclusive(why)) => Verdict::Inconclusive { judge, why },
        }
    }
}

/// Stops a judge with a failure, in the words of `format!`.
macro_rules! fail {
    ($($word:tt)*) => { return Err($crate::check::Stop::Failed(format!($($word)*))) };
}
pub(crate) use fail;
