//! The log, replayed from nothing, gives the state.
//!
//! The one judge that runs the core: its state machine is fed the committed log once more, on another path
//! (pending first, then committed; and committed at once), with other hash seeds, and must come to the
//! digests that the nodes showed. Whether those states are *right* is the first judge's business.

use std::collections::BTreeMap;

use steadfast_core::state::State;
use steadfast_core::types::Index;

use super::log::{Log, LogEntry};
use super::{Stop, Verdict, fail};

/// This judge's name.
pub const JUDGE: &str = "replay";

/// Judges the digests that nodes showed at commit indexes against the committed log.
pub fn judge(log: &[LogEntry], shown: &[(Index, u64)]) -> Verdict {
    Stop::verdict(run(log, shown), JUDGE)
}

fn run(log: &[LogEntry], shown: &[(Index, u64)]) -> Result<(), Stop> {
    let log = Log::new(log)?;
    let mut asked: BTreeMap<Index, Vec<u64>> = BTreeMap::new();
    for (index, digest) in shown {
        asked.entry(*index).or_default().push(*digest);
    }
    let (mut direct, mut layered) = (State::new((1, 2)), State::new((3, 4)));
    compare(Index(0), &asked, &direct, &layered)?;
    for entry in log.entries() {
        direct.commit(entry.index, &entry.entry);
        layered.append(entry.index, &entry.entry);
        layered.commit(entry.index, &entry.entry);
        if asked.contains_key(&entry.index) || entry.index.0 == log.entries().len() as u64 {
            compare(entry.index, &asked, &direct, &layered)?;
        }
    }
    match asked.keys().find(|index| log.at(**index).is_none() && **index > Index(0)) {
        Some(index) => fail!("a node committed up to {index}, beyond the committed log"),
        None => Ok(()),
    }
}

fn compare(
    index: Index,
    asked: &BTreeMap<Index, Vec<u64>>,
    direct: &State,
    layered: &State,
) -> Result<(), Stop> {
    let digest = direct.digest();
    if layered.digest() != digest {
        fail!("at index {index} the state depends on whether its entries were pending first");
    }
    if asked.get(&index).into_iter().flatten().any(|shown| *shown != digest) {
        fail!("a node's state at index {index} is not what its log gives");
    }
    Ok(())
}
