//! An acknowledged write happened once, an unknown one at most once, a failed one never.
//!
//! Three views that need no order: counters that were only ever added to must end at the sum of what was
//! acknowledged and of some of what is unknown; a key that one command alone wrote must have been put once
//! if that was acknowledged; and the log holds each session's sequence, and each forwarded number, once.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::reply::Value;
use steadfast_core::state::effect::Effect;
use steadfast_core::types::Blob;

use super::asked::{Asked, Only, whole};
use super::log::{LogEntry, final_values};
use super::others::Others;
use super::{Stop, Verdict, fail};
use crate::history::{End, History, Operation};

/// This judge's name.
pub const JUDGE: &str = "exactly-once";

/// How many different sums of unknown additions are looked at for one counter.
const SUMS: usize = 100_000;

/// Judges a history against the final log.
pub fn judge(history: &History, log: &[LogEntry]) -> Verdict {
    Stop::verdict(run(history, log), JUDGE)
}

fn run(history: &History, log: &[LogEntry]) -> Result<(), Stop> {
    numbers_are_used_once(log)?;
    let ops = history.merged();
    let writes = writes_by_key(&ops);
    let values = final_values(log);
    let puts = puts_by_key(log);
    let dropped = dropped(&ops);
    // What was dropped with its prefix was written by a command that does not name it.
    for (key, writes) in writes.iter().filter(|(key, _)| !dropped.has(key)) {
        if let Some(adds) = additions(writes) {
            counter(key, &adds, values.get(key))?;
        }
        if let [(op, asked)] = &writes[..] {
            written_once(key, op, asked, puts.get(key).copied().unwrap_or(0), values.get(key))?;
        }
    }
    Ok(())
}

fn numbers_are_used_once(log: &[LogEntry]) -> Result<(), Stop> {
    let (mut steps, mut forwarded) = (BTreeMap::new(), BTreeMap::new());
    for entry in log {
        if let Some((session, seq, _)) = entry.step()
            && let Some(first) = steps.insert((session, seq), entry.index)
        {
            fail!("session {session} executed sequence {seq} at {first} and again at {}", entry.index);
        }
        if let Some((number, _)) = entry.forwarded()
            && let Some(first) = forwarded.insert(number, entry.index)
        {
            let (node, boot, seq) = number;
            fail!(
                "command {seq} of node {node} boot {boot} was executed at {first} and again at {}",
                entry.index
            );
        }
    }
    Ok(())
}

type Write<'a> = (&'a Operation, Asked);

/// Everything that may have written each key, with definite failures.
fn writes_by_key(ops: &[Operation]) -> BTreeMap<Blob, Vec<(&Operation, Asked)>> {
    let mut writes: BTreeMap<Blob, Vec<_>> = BTreeMap::new();
    for op in ops {
        let Some(asked) = Asked::read(&op.args).ok().filter(Asked::is_write) else { continue };
        let keys: BTreeSet<Blob> = asked.keys().into_iter().cloned().collect();
        for key in keys {
            writes.entry(key).or_default().push((op, asked.clone()));
        }
    }
    writes
}

/// The prefixes that may have been dropped.
fn dropped(ops: &[Operation]) -> Others {
    let mut dropped = Others::default();
    for op in ops.iter().filter(|op| !matches!(op.end, End::Failed(_))) {
        if let Ok(asked @ Asked::Drop(..)) = Asked::read(&op.args) {
            dropped.add(&asked);
        }
    }
    dropped
}

fn puts_by_key(log: &[LogEntry]) -> BTreeMap<&Blob, usize> {
    let mut puts = BTreeMap::new();
    for effect in log.iter().flat_map(|entry| &entry.entry.effects) {
        if let Effect::Put { key, .. } = effect {
            *puts.entry(key).or_default() += 1;
        }
    }
    puts
}

/// The additions to a key, if nothing else ever wrote it.
fn additions<'a>(writes: &'a [Write<'a>]) -> Option<Vec<(&'a Operation, i64)>> {
    writes
        .iter()
        .map(|(op, asked)| match asked {
            Asked::IncrBy(_, by) => Some((*op, *by)),
            _ => None,
        })
        .collect()
}

/// A counter ends at the sum of the acknowledged additions and of some of the unknown ones, and if all
/// additions are positive, no two of them answered the same sum.
fn counter(key: &Blob, adds: &[(&Operation, i64)], last: Option<&Blob>) -> Result<(), Stop> {
    let (mut sum, mut unknown) = (0i64, Vec::new());
    let mut answers: BTreeMap<i64, &Operation> = BTreeMap::new();
    let grows = adds.iter().all(|(_, by)| *by > 0);
    for (op, by) in adds {
        match &op.end {
            End::Ok(Value::Int(answer)) => {
                sum = sum.saturating_add(*by);
                if let Some(first) = answers.insert(*answer, op)
                    && grows
                {
                    fail!("{first} and {op} answered the same sum of a counter that only grows");
                }
            }
            End::Ok(_) => fail!("{op} is no answer to such a command"),
            End::Unknown(_) => unknown.push(*by),
            End::Failed(_) => {}
        }
    }
    let Some(last) = last.map_or(Some(0), |value| whole(value)) else {
        fail!("the counter {key} ends as {last:?}, which is no number");
    };
    let mut sums = BTreeSet::from([sum]);
    for by in unknown {
        let more: Vec<i64> = sums.iter().map(|sum| sum.saturating_add(by)).collect();
        sums.extend(more);
        if sums.len() > SUMS {
            return Err(Stop::Inconclusive(format!("the counter {key} may end in more than {SUMS} ways")));
        }
    }
    if !sums.contains(&last) {
        let highest = sums.last().unwrap_or(&sum);
        fail!("the counter {key} ends at {last}, {sum} was acknowledged and at most {highest} can be");
    }
    Ok(())
}

/// A key that one plain SET alone wrote was put once if that was acknowledged, never if it failed.
fn written_once(
    key: &Blob,
    op: &Operation,
    asked: &Asked,
    puts: usize,
    last: Option<&Blob>,
) -> Result<(), Stop> {
    let value = match asked {
        Asked::Set { value, ttl: None, only: Only::Always | Only::Missing, old: false, .. } => value,
        _ => return Ok(()),
    };
    match &op.end {
        End::Ok(answer) if *answer == Value::ok() && (puts != 1 || last != Some(value)) => {
            fail!("{key} was written by {op} alone; the log puts it {puts} times and it ends as {last:?}")
        }
        End::Unknown(_) if puts > 1 => {
            fail!("{key} was asked for once by {op}; the log puts it {puts} times")
        }
        End::Failed(_) if puts > 0 => fail!("{op} failed, and the log puts {key} {puts} times"),
        _ => Ok(()),
    }
}
