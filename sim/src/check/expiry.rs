//! No key goes before its time.
//!
//! Every answer that says "missing" needs an explanation by real time: a deletion that may have come between,
//! or a time to live that may have run out, counted from the invocation that gave it. Receipts are not read
//! for this. [`pace`] looks at the receipts of writes: cluster time must not run faster than real time by
//! more than the slack that a deadline has, or a key could go early although nobody looked.

use std::collections::BTreeMap;

use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index};

use super::asked::{Asked, Only};
use super::others::Others;
use super::{Stop, Verdict, fail};
use crate::history::{End, History, Operation};

/// This judge's name.
pub const JUDGE: &str = "expiry";

/// Judges a history.
pub fn judge(history: &History) -> Verdict {
    Stop::verdict(run(history), JUDGE)
}

/// Judges the pace of cluster time by the receipts of writes that were logged at their position: each was
/// given the time at which it was evaluated, so between its invocation and its completion.
pub fn pace(history: &History) -> Verdict {
    Stop::verdict(check_pace(history), JUDGE)
}

/// What happened to one key.
#[derive(Default)]
struct Life<'a> {
    /// Operations after which the key is there, with an end or without, whatever was before.
    anchors: Vec<&'a Operation>,
    /// What may make the key go, and the earliest moment at which it does, in nanoseconds.
    removers: Vec<(&'a Operation, u64)>,
    /// Answers that say "missing".
    misses: Vec<&'a Operation>,
}

fn run(history: &History) -> Result<(), Stop> {
    let ops = history.merged();
    let mut lives: BTreeMap<Blob, Life<'_>> = BTreeMap::new();
    let mut others = Others::default();
    for op in &ops {
        if let Ok(asked) = Asked::read(&op.args) {
            note(&mut lives, op, &asked);
            if !matches!(op.end, End::Failed(_)) {
                others.add(&asked);
            }
        }
    }
    // What was written in a way that is not known here, only the first judge follows.
    lives.retain(|key, _| !others.has(key));
    lives.iter().try_for_each(|(key, life)| judge_life(key, life))
}

/// Every miss after an anchor needs a remover that may have come between. The latest anchor leaves the
/// fewest, so it alone is asked.
fn judge_life(key: &Blob, life: &Life<'_>) -> Result<(), Stop> {
    for miss in &life.misses {
        let Some(completed) = miss.completed else { continue };
        let before = life.anchors.iter().filter(|anchor| anchor.before(miss));
        let Some(anchor) = before.max_by_key(|anchor| anchor.invoked) else { continue };
        let explained = life.removers.iter().any(|(remover, earliest)| {
            !std::ptr::eq(*remover, *miss)
                && !remover.before(anchor)
                && remover.invoked < completed
                && *earliest <= completed.ns
        });
        if !explained {
            fail!("{key} was there after {anchor}, and {miss} did not find it, too early for any expiry");
        }
    }
    Ok(())
}

fn note<'a>(lives: &mut BTreeMap<Blob, Life<'a>>, op: &'a Operation, asked: &Asked) {
    let mut life =
        |key: &Blob, note: &mut dyn FnMut(&mut Life<'a>)| note(lives.entry(key.clone()).or_default());
    let ended = |ttl: u64| op.invoked.ns.saturating_add(ttl.saturating_mul(1_000_000));
    let (ok, may) = (op.value(), !matches!(op.end, End::Failed(_)));
    let told = |number: i64| ok == Some(&Value::Int(number));
    match asked {
        Asked::Get(key) | Asked::GetV(key) if ok == Some(&Value::Nil) => {
            life(key, &mut |l| l.misses.push(op))
        }
        Asked::PTtl(key) if told(-2) => life(key, &mut |l| l.misses.push(op)),
        Asked::MGet(keys) => {
            let Some(Value::List(values)) = ok else { return };
            let missing = keys.iter().zip(values).filter(|(_, value)| **value == Value::Nil);
            missing.for_each(|(key, _)| life(key, &mut |l| l.misses.push(op)));
        }
        Asked::Exists(keys) if told(0) => keys.iter().for_each(|key| life(key, &mut |l| l.misses.push(op))),
        Asked::Set { key, ttl, only, old, .. } => life(key, &mut |l| {
            let happened = ok == Some(&Value::ok()) || (*old && ok.is_some() && *only == Only::Always);
            if *only == Only::Missing && happened && !old {
                l.misses.push(op);
            }
            if *only == Only::Existing && ok == Some(&Value::Nil) {
                l.misses.push(op);
            }
            if happened {
                l.anchors.push(op);
            }
            if let Some(ttl) = ttl.filter(|_| may) {
                l.removers.push((op, ended(ttl)));
            }
        }),
        Asked::MSet(pairs) if ok.is_some() => {
            pairs.iter().for_each(|(key, _)| life(key, &mut |l| l.anchors.push(op)));
        }
        Asked::Del(keys) if may => keys.iter().for_each(|key| {
            life(key, &mut |l| {
                if told(0) {
                    l.misses.push(op);
                } else {
                    l.removers.push((op, op.invoked.ns));
                }
            });
        }),
        Asked::Expire(key, ttl) if may => life(key, &mut |l| {
            if told(0) {
                l.misses.push(op);
                return;
            }
            l.removers.push((op, ended(u64::try_from(*ttl).unwrap_or(0))));
            if told(1) {
                l.anchors.push(op);
            }
        }),
        Asked::Persist(key) if told(1) => life(key, &mut |l| l.anchors.push(op)),
        _ => {}
    }
}

/// For any two logged writes: the span of cluster time between them is at most the span of real time that
/// can lie between them, with a five-hundredth on top and two milliseconds for rounding.
fn check_pace(history: &History) -> Result<(), Stop> {
    let ops = history.merged();
    let mut writes: Vec<(Index, u64, &Operation)> = ops
        .iter()
        .filter(|op| is_logged(op))
        .filter_map(|op| op.receipt.map(|receipt| (receipt.position, receipt.time.0, op)))
        .collect();
    writes.sort_unstable_by_key(|(position, ..)| *position);
    // In units of 1/500 ms, to stay with integers: cluster time less 501/500 of real time must not grow.
    let lead = |time: u64, ns: u64| i128::from(time) * 500 - i128::from(ns) * 501 / 1_000_000;
    let mut slowest: Option<(i128, &Operation)> = None;
    for (_, time, op) in writes {
        let Some(completed) = op.completed else { continue };
        if let Some((least, first)) = slowest
            && lead(time, completed.ns) - least > 2 * 500
        {
            fail!("cluster time ran ahead of real time between {first} and {op}");
        }
        let begun = lead(time, op.invoked.ns);
        if slowest.is_none_or(|(least, _)| begun < least) {
            slowest = Some((begun, op));
        }
    }
    Ok(())
}

/// Whether the operation certainly logged an entry at its position: a command that can't but change something.
fn is_logged(op: &Operation) -> bool {
    let blind = |asked: &Asked| {
        matches!(asked, Asked::Set { only: Only::Always, .. } | Asked::IncrBy(..) | Asked::MSet(_))
    };
    op.value().is_some() && Asked::read(&op.args).is_ok_and(|asked| blind(&asked))
}
