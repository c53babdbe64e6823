//! The second judge: each key is linearizable, whatever the receipts say.
//!
//! It ignores receipts and searches, key by key. Unknown outcomes stay open for ever: they may take effect at
//! any time after their invocation, or never. Definite failures are taken out, so that one that shows up
//! later is not explained by anything. A key with a time to live may go at any moment from its invocation
//! plus that time on, and not before.
//!
//! What it can't see: whether the parts of a command over several keys happened at one moment, SCAN, and
//! which revision a key had. The first judge sees all of them.

use std::collections::BTreeMap;

use steadfast_core::types::Blob;

use super::asked::{Asked, Unread};
use super::linear_key::{Cell, Step, steps};
use super::linear_search::{Found, search};
use super::others::Others;
use super::{Stop, Verdict, fail};
use crate::history::{End, History, Operation};

/// This judge's name.
pub const JUDGE: &str = "linearizability";

/// How many configurations are looked at for one key before the judge gives up.
pub const BOUND: usize = 500_000;

/// Judges a history of a database that was empty at first.
pub fn judge(history: &History) -> Verdict {
    judge_within(history, BOUND)
}

/// The same with another bound on the configurations per key.
pub fn judge_within(history: &History, bound: usize) -> Verdict {
    Stop::verdict(run(history, bound), JUDGE)
}

fn run(history: &History, bound: usize) -> Result<(), Stop> {
    let ops = history.merged();
    let mut keys: BTreeMap<Blob, Vec<Step>> = BTreeMap::new();
    let mut others = Others::default();
    for (at, op) in ops.iter().enumerate() {
        let asked = match Asked::read(&op.args) {
            Ok(asked) => asked,
            Err(Unread::Malformed(_)) => continue,
            Err(Unread::Unfamiliar(_)) if matches!(op.end, End::Failed(_)) => continue,
            Err(Unread::Unfamiliar(name)) => {
                return Err(Stop::Inconclusive(format!("what {name} does to a key is not known here")));
            }
        };
        if !matches!(op.end, End::Failed(_)) {
            others.add(&asked);
        }
        for (key, step) in steps(at, op, &asked).map_err(Stop::Failed)? {
            keys.entry(key).or_default().push(step);
        }
    }
    // What was written in a way that is not known here, only the first judge follows.
    keys.retain(|key, _| !others.has(key));
    let mut unclear = Vec::new();
    for (key, steps) in &keys {
        match search(steps, bound) {
            Found::Order => {}
            Found::Nothing(at, cells) => fail!("{}", report(key, &ops[steps[at].op], &cells)),
            Found::TooMany => unclear.push(key.to_string()),
        }
    }
    if unclear.is_empty() {
        return Ok(());
    }
    Err(Stop::Inconclusive(format!("more than {bound} configurations for {}", unclear.join(", "))))
}

fn report(key: &Blob, op: &Operation, cells: &[Cell]) -> String {
    let held: Vec<String> = cells
        .iter()
        .take(5)
        .map(|cell| cell.value.as_ref().map_or("nothing".to_owned(), |value| format!("{value:?}")))
        .collect();
    let more = if cells.len() > held.len() { ", …" } else { "" };
    format!(
        "no order of the operations on {key} explains {op}; before it the key can have held {}{more}",
        held.join(", ")
    )
}
