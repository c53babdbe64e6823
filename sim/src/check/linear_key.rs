//! One key under the second judge: what an operation does to it, and what its client was told about it.
//!
//! Commands that name several keys are cut into one step per key. That judges each key on its own, which is
//! necessary and not sufficient: whether the parts happened at one moment is the first judge's business.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};

use super::asked::{Asked, Only, whole};
use crate::history::{End, Moment, Operation};

/// What a key holds, as far as the second judge knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The value; `None`: missing.
    pub value: Option<Blob>,
    /// If the key was given a time to live: the earliest moment at which it may go, in nanoseconds of the
    /// history's clock. It was counted from the invocation, before which the time can't have begun.
    pub ends: Option<u64>,
}

/// One operation's part in one key.
#[derive(Clone, Debug)]
pub struct Step {
    /// The operation, for reports: its place in the list that was judged.
    pub op: usize,
    /// When it was invoked.
    pub invoked: Moment,
    /// When it had certainly happened; `None`: its outcome is unknown, and stays so for ever.
    pub completed: Option<Moment>,
    /// What it does.
    pub deed: Deed,
}

/// What a step does, with what the client was told; a step of unknown outcome was told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Saw this value, or none.
    Saw(Option<Blob>),
    /// Saw whether the key was there.
    SawThere(bool),
    /// Saw whether the key was there and had an end.
    SawEnd(bool, bool),
    /// Set the key, perhaps under a condition.
    Put {
        /// The new value.
        value: Blob,
        /// Milliseconds to live, if limited.
        ttl: Option<u64>,
        /// The condition.
        only: Only,
        /// Whether it happened, if that was told.
        happened: Option<bool>,
        /// The value before, if that was told.
        old: Option<Option<Blob>>,
    },
    /// Deleted the key; whether it was there, if that was told.
    Del(Option<bool>),
    /// Added to a number; the sum (or that it could not be had), if that was told.
    Add(i64, Option<Option<i64>>),
    /// Gave the key this many milliseconds to live; whether it was there, if that was told.
    Expire(i64, Option<bool>),
    /// Took the key's end away; whether it had one, if that was told.
    Persist(Option<bool>),
}

impl Step {
    /// Whether the step leaves every state as it is.
    #[must_use]
    pub fn is_pure(&self) -> bool {
        matches!(
            self.deed,
            Deed::Saw(_)
                | Deed::SawThere(_)
                | Deed::SawEnd(..)
                | Deed::Put { happened: Some(false), .. }
                | Deed::Del(Some(false))
                | Deed::Add(_, Some(None))
                | Deed::Expire(_, Some(false))
                | Deed::Persist(Some(false))
        )
    }

    /// Whether another step of unknown outcome could stand in for this one at any time.
    #[must_use]
    pub fn is_like(&self, other: &Step) -> bool {
        let ends = matches!(self.deed, Deed::Put { ttl: Some(_), .. } | Deed::Expire(..));
        !ends && self.deed == other.deed
    }

    /// All states in which the step may leave a key that was in this one. None: what was told contradicts it.
    #[must_use]
    pub fn after(&self, cell: &Cell) -> Vec<Cell> {
        let there = cell.value.is_some();
        let end = |ttl: u64| Some(self.invoked.ns.saturating_add(ttl.saturating_mul(1_000_000)));
        let same = |holds: bool| if holds { vec![cell.clone()] } else { Vec::new() };
        match &self.deed {
            Deed::Saw(value) => same(cell.value == *value),
            Deed::SawThere(seen) => same(there == *seen),
            Deed::SawEnd(seen, ends) => same(there == *seen && cell.ends.is_some() == *ends),
            Deed::Put { value, ttl, only, happened, old } => {
                if old.as_ref().is_some_and(|old| *old != cell.value) {
                    return Vec::new();
                }
                let mut after = Vec::new();
                let (may, may_not) = allowed(*only, there);
                if may && *happened != Some(false) {
                    after.push(Cell { value: Some(value.clone()), ends: ttl.and_then(end) });
                }
                if may_not && *happened != Some(true) {
                    after.push(cell.clone());
                }
                after
            }
            Deed::Del(told) if told.is_none_or(|told| told == there) => vec![Cell::default()],
            Deed::Add(by, told) => {
                let before = cell.value.as_ref().map_or(Some(0), |value| whole(value));
                let sum = before.and_then(|before| before.checked_add(*by));
                if told.is_some_and(|told| told != sum) {
                    return Vec::new();
                }
                let value = sum.map(|sum| Blob::from(sum.to_string()));
                vec![Cell { value: value.or_else(|| cell.value.clone()), ends: cell.ends }]
            }
            Deed::Expire(_, Some(told)) | Deed::Persist(Some(told)) if *told && !there => Vec::new(),
            Deed::Expire(_, Some(false)) => same(!there),
            Deed::Expire(..) if !there => same(true),
            Deed::Expire(ttl, _) => match u64::try_from(*ttl) {
                Ok(ttl) if ttl > 0 => vec![Cell { value: cell.value.clone(), ends: end(ttl) }],
                _ => vec![Cell::default()],
            },
            Deed::Persist(told) if told.is_none_or(|told| told == (there && cell.ends.is_some())) => {
                vec![Cell { value: cell.value.clone(), ends: None }]
            }
            Deed::Del(_) | Deed::Persist(_) => Vec::new(),
        }
    }
}

/// Whether a SET may happen, and whether it may not. Revisions are positions, which this judge does not
/// read: a key that is there may have the revision asked for or another.
fn allowed(only: Only, there: bool) -> (bool, bool) {
    match only {
        Only::Always => (true, false),
        Only::Missing | Only::Revision(Index(0)) => (!there, there),
        Only::Existing => (there, !there),
        Only::Revision(_) => (there, true),
    }
}

/// An operation's steps, one per key. Definite failures have none, but for a sum that could not be had.
///
/// # Errors
/// Says that the answer does not have the shape of an answer to this command.
pub fn steps(at: usize, op: &Operation, asked: &Asked) -> Result<Vec<(Blob, Step)>, String> {
    let told = match &op.end {
        End::Ok(value) => Some(value),
        End::Unknown(_) if asked.is_write() => None,
        End::Failed(failure) if failure.code == ErrorCode::NotAnInteger => {
            let Asked::IncrBy(key, by) = asked else { return Ok(Vec::new()) };
            let deed = Deed::Add(*by, Some(None));
            let step = Step { op: at, invoked: op.invoked, completed: op.completed, deed };
            return Ok(vec![(key.clone(), step)]);
        }
        End::Unknown(_) | End::Failed(_) => return Ok(Vec::new()),
    };
    let deeds = deeds(asked, told).ok_or_else(|| format!("{op} is no answer to such a command"))?;
    let completed = op.completed.filter(|_| told.is_some());
    let step = |deed| Step { op: at, invoked: op.invoked, completed, deed };
    Ok(deeds.into_iter().map(|(key, deed)| (key, step(deed))).collect())
}

/// What a command does to each of its keys, with what was told; `None` if the answer has a wrong shape.
fn deeds(asked: &Asked, told: Option<&Value>) -> Option<Vec<(Blob, Deed)>> {
    let one = |key: &Blob, deed: Deed| Some(vec![(key.clone(), deed)]);
    match asked {
        Asked::Get(key) => one(key, Deed::Saw(value(told?)?)),
        Asked::GetV(key) => match told? {
            Value::Nil => one(key, Deed::Saw(None)),
            Value::List(pair) => one(key, Deed::Saw(value(pair.first()?)?)),
            _ => None,
        },
        Asked::Set { key, value: new, ttl, only, old } => {
            let (happened, old) = match (told, old) {
                (None, _) => (None, None),
                (Some(told), true) => (None, Some(value(told)?)),
                (Some(Value::Nil), false) => (Some(false), None),
                (Some(told), false) if *told == Value::ok() => (Some(true), None),
                (Some(_), false) => return None,
            };
            one(key, Deed::Put { value: new.clone(), ttl: *ttl, only: *only, happened, old })
        }
        Asked::Del(keys) => match told {
            Some(told) => Some(each(keys, Some(number(told)?), Deed::Del)),
            None => Some(each(keys, None, Deed::Del)),
        },
        Asked::Exists(keys) => {
            let count = number(told?)?;
            let mentions = keys.len() as i64;
            if count != 0 && count != mentions {
                return Some(Vec::new());
            }
            Some(keys.iter().map(|key| (key.clone(), Deed::SawThere(count != 0))).collect())
        }
        Asked::IncrBy(key, by) => match told {
            Some(told) => one(key, Deed::Add(*by, Some(Some(number(told)?)))),
            None => one(key, Deed::Add(*by, None)),
        },
        Asked::Expire(key, ttl) => match told {
            Some(told) => one(key, Deed::Expire(*ttl, Some(number(told)? == 1))),
            None => one(key, Deed::Expire(*ttl, None)),
        },
        Asked::Persist(key) => match told {
            Some(told) => one(key, Deed::Persist(Some(number(told)? == 1))),
            None => one(key, Deed::Persist(None)),
        },
        Asked::PTtl(key) => {
            let left = number(told?)?;
            one(key, Deed::SawEnd(left != -2, left >= 0))
        }
        Asked::MGet(keys) => {
            let Value::List(values) = told? else { return None };
            if values.len() != keys.len() {
                return None;
            }
            keys.iter().zip(values).map(|(key, told)| Some((key.clone(), Deed::Saw(value(told)?)))).collect()
        }
        Asked::MSet(pairs) => Some(puts(pairs, told.map(|_| true))),
        _ => Some(Vec::new()),
    }
}

/// The last mention of a key counts.
fn puts(pairs: &[(Blob, Blob)], happened: Option<bool>) -> Vec<(Blob, Deed)> {
    let last: BTreeMap<&Blob, &Blob> = pairs.iter().map(|(key, value)| (key, value)).collect();
    let put =
        |value: &Blob| Deed::Put { value: value.clone(), ttl: None, only: Only::Always, happened, old: None };
    last.into_iter().map(|(key, value)| (key.clone(), put(value))).collect()
}

/// A count over several keys tells about each only if it is all or nothing.
fn each(keys: &[Blob], count: Option<i64>, deed: impl Fn(Option<bool>) -> Deed) -> Vec<(Blob, Deed)> {
    let keys: BTreeSet<&Blob> = keys.iter().collect();
    let there = match count {
        Some(0) => Some(false),
        Some(count) if count == keys.len() as i64 => Some(true),
        _ => None,
    };
    keys.into_iter().map(|key| (key.clone(), deed(there))).collect()
}

fn value(told: &Value) -> Option<Option<Blob>> {
    match told {
        Value::Nil => Some(None),
        Value::Bytes(bytes) => Some(Some(bytes.clone())),
        _ => None,
    }
}

fn number(told: &Value) -> Option<i64> {
    match told {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}
