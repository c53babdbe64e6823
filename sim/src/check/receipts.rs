//! The first judge: everything is strictly serialisable, in the order that the receipts claim.
//!
//! It uses the receipts and believes none of them. The final log gives the order of writes, and must hold
//! every acknowledged one; the naive model replays all operations in the claimed order and must give every
//! reply; the order must agree with real time. Operations of unknown outcome are taken to have happened
//! where the log has them, and nowhere else. Linear in history and log, but for sorting.
//!
//! What it can't know: whether a refusal for lack of room or time was called for (it only makes sure that
//! nothing happened), and what INFO and WHOAMI show.

use std::collections::BTreeMap;

use steadfast_core::reply::Outcome;
use steadfast_core::state::effect::Effect;
use steadfast_core::types::{Blob, Index, SessionId};

use super::asked::{Asked, Unread};
use super::durability::OnDurability;
use super::log::{Log, LogEntry};
use super::seen::{SOME_LEASE, SOME_PREFIX, SOME_SESSION};
use super::walk::Walk;
use super::{Stop, Verdict, fail};
use crate::history::{End, History, Operation};

/// This judge's name.
pub const JUDGE: &str = "receipts";

/// Judges a history against the final log.
pub fn judge(history: &History, log: &[LogEntry]) -> Verdict {
    Stop::verdict(run(history, log), JUDGE)
}

fn run(history: &History, log: &[LogEntry]) -> Result<(), Stop> {
    let log = Log::new(log)?;
    let case = Case::new(history, log)?;
    case.check_claims()?;
    Walk::new(&case).run()
}

/// A history, sorted in the ways in which the walk asks for it.
pub(super) struct Case<'a> {
    /// The operations, in the order of invocation.
    pub ops: &'a [Operation],
    /// What each asks for; `None` for arguments that nobody can read.
    pub asked: Vec<Option<Asked>>,
    /// The final log.
    pub log: Log<'a>,
    /// Per operation: the newest position that some operation had reported before this one was invoked.
    pub floors: Vec<Index>,
    /// Where each claim stopped waiting, and what was said then.
    pub ends: BTreeMap<Index, (Index, Outcome)>,
    /// Operations with a receipt, by position.
    pub claims: BTreeMap<Index, Vec<usize>>,
    /// Operations in sessions, by session and sequence. Several may carry the same: retries by hand.
    pub once: BTreeMap<(SessionId, u64), Vec<usize>>,
    /// Writes of unknown outcome that may be logged without a session's step, by each key or user that they
    /// name.
    pub loose: BTreeMap<Blob, Vec<usize>>,
}

impl<'a> Case<'a> {
    fn new(history: &'a History, log: Log<'a>) -> Result<Self, Stop> {
        let ops = &history.ops[..];
        let asked = ops.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut case = Self {
            ops,
            floors: floors(ops),
            asked,
            ends: ends(log),
            log,
            claims: BTreeMap::new(),
            once: BTreeMap::new(),
            loose: BTreeMap::new(),
        };
        for (at, op) in ops.iter().enumerate() {
            case.sort_in(at, op);
        }
        Ok(case)
    }

    fn sort_in(&mut self, at: usize, op: &Operation) {
        if let Some(receipt) = op.receipt {
            self.claims.entry(receipt.position).or_default().push(at);
        }
        let Some(asked) = &self.asked[at] else { return };
        if let Some(once) = op.once() {
            self.once.entry(once).or_default().push(at);
        }
        if op.is_unknown() && asked.is_write() && self.may_go_without_step(at) {
            let (some_lease, some_prefix) = (Blob::from(SOME_LEASE), Blob::from(SOME_PREFIX));
            let some_session = Blob::from(SOME_SESSION);
            let mut names: Vec<&Blob> = asked.keys();
            match asked {
                Asked::UserAdd(name)
                | Asked::UserRemove(name)
                | Asked::UserPassword(name)
                | Asked::Grant(_, _, name)
                | Asked::Revoke(_, _, name) => names.push(name),
                Asked::Role(asked) => names.extend(asked.whose()),
                Asked::Limit(limit) => names.push(limit.name()),
                Asked::Claim(asked) => names.extend([asked.name(), &some_lease]),
                Asked::Lease(_) => names.push(&some_lease),
                Asked::Drop(..) => names.push(&some_prefix),
                Asked::SessionEnd(_) => names.push(&some_session),
                Asked::Durability(OnDurability::Set(reach, _)) => names.push(&reach.literal),
                _ => {}
            }
            names.sort_unstable();
            names.dedup();
            for name in names {
                self.loose.entry(name.clone()).or_default().push(at);
            }
        }
    }

    /// Whether a write may be logged without a step of a session: outside of sessions, and where it ends its
    /// own session, with which the step would go.
    pub(super) fn may_go_without_step(&self, at: usize) -> bool {
        let op = &self.ops[at];
        let Some((session, _)) = op.once() else { return true };
        match &self.asked[at] {
            Some(Asked::SessionEnd(id)) => *id == session,
            Some(Asked::UserRemove(name) | Asked::UserPassword(name)) => op.user.as_ref() == Some(name),
            _ => false,
        }
    }

    /// Each receipt names an entry of the log and that entry's time, and no success goes without one.
    fn check_claims(&self) -> Result<(), Stop> {
        for (at, op) in self.ops.iter().enumerate() {
            match (op.receipt, &op.end) {
                (Some(receipt), _) => {
                    let Some(entry) = self.log.at(receipt.position) else {
                        fail!("{op} claims a position that the final log does not have");
                    };
                    if entry.entry.time != receipt.time {
                        fail!("{op} claims another time than the log has there, {}", entry.entry.time);
                    }
                }
                (None, End::Ok(_)) if !self.asked[at].as_ref().is_some_and(Asked::has_no_place) => {
                    return Err(Stop::Inconclusive(format!("{op} succeeded without a receipt")));
                }
                (None, _) => {}
            }
        }
        Ok(())
    }
}

/// Reads what an operation asks for. Success of a malformed command is a failure of the database; a command
/// that the judges do not know leaves them without an opinion.
fn read(op: &Operation) -> Result<Option<Asked>, Stop> {
    match Asked::read(&op.args) {
        Ok(asked) => Ok(Some(asked)),
        Err(Unread::Malformed(what)) => {
            if op.value().is_some() {
                fail!("{op} succeeded, and is malformed: {what}");
            }
            Ok(None)
        }
        Err(Unread::Unfamiliar(_)) if matches!(op.end, End::Failed(_)) => Ok(None),
        Err(Unread::Unfamiliar(name)) => {
            Err(Stop::Inconclusive(format!("the model does not know {name}: teach it, or leave it out")))
        }
    }
}

/// Where each claim stopped waiting, by its number.
fn ends(log: Log<'_>) -> BTreeMap<Index, (Index, Outcome)> {
    let ends = log.entries().iter().flat_map(|entry| {
        entry.entry.effects.iter().filter_map(|effect| match effect {
            Effect::WaitEnded { id, outcome, .. } => Some((*id, (entry.index, outcome.clone()))),
            _ => None,
        })
    });
    ends.collect()
}

/// Per operation, the newest position that was reported before it began: its own must not be older, and a
/// write's must be newer. A position that was reported ahead of its durability binds only those who look at the same keys: the
/// model and the second judge see to that.
fn floors(ops: &[Operation]) -> Vec<Index> {
    let durable = |op: &Operation| op.receipt.filter(|receipt| receipt.ahead.is_none());
    let mut ends: Vec<_> = ops.iter().filter_map(|op| Some((op.completed?, durable(op)?.position))).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut newest = Index(0);
    ops.iter()
        .map(|op| {
            while let Some((_, position)) = ends.next_if(|(completed, _)| *completed < op.invoked) {
                newest = newest.max(position);
            }
            newest
        })
        .collect()
}
