//! The final log, as judges read it: what the cluster had committed when a run ended.
//!
//! It comes from the disks or from any replica; the judges compare it with what clients were told, and
//! believe it only where it agrees. Nothing here applies an effect to a core state.

use std::collections::BTreeMap;

use steadfast_core::state::effect::{Effect, Entry, StoredReply};
use steadfast_core::time::Millis;
use steadfast_core::types::{Blob, BootNumber, Incarnation, Index, SessionId, Term};

use super::{Stop, fail};

/// One committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position.
    pub index: Index,
    /// The term in which it was appended.
    pub term: Term,
    /// Time, cause and effects.
    pub entry: Entry,
}

impl LogEntry {
    /// The session's step that the entry holds, if one.
    #[must_use]
    pub fn step(&self) -> Option<(SessionId, u64, &StoredReply)> {
        self.entry.effects.iter().find_map(|effect| match effect {
            Effect::SessionStepped { id, seq, reply, .. } => Some((*id, *seq, reply)),
            _ => None,
        })
    }

    /// The forwarded command's number and answer, if the entry holds one.
    #[must_use]
    pub fn forwarded(&self) -> Option<((Incarnation, BootNumber, u64), &StoredReply)> {
        self.entry.effects.iter().find_map(|effect| match effect {
            Effect::Forwarded { origin, boot, seq, reply, .. } => Some(((*origin, *boot, *seq), reply)),
            _ => None,
        })
    }
}

/// A log whose indexes, terms and times are in order.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    entries: &'a [LogEntry],
}

impl<'a> Log<'a> {
    /// Checks that indexes count from one without a gap, and that neither term nor time goes back.
    ///
    /// # Errors
    /// A failure that names the first entry out of order.
    pub fn new(entries: &'a [LogEntry]) -> Result<Self, Stop> {
        let (mut term, mut time) = (Term(0), Millis(0));
        for (at, entry) in entries.iter().enumerate() {
            let index = entry.index;
            if index != Index(at as u64 + 1) {
                fail!("the log has entry {index} where {} belongs", at + 1);
            }
            if entry.term < term {
                fail!("the term goes back from {term} to {} at entry {index}", entry.term);
            }
            if entry.entry.time < time {
                fail!("time goes back from {time} to {} at entry {index}", entry.entry.time);
            }
            (term, time) = (entry.term, entry.entry.time);
        }
        Ok(Self { entries })
    }

    /// The entry at a position.
    #[must_use]
    pub fn at(&self, position: Index) -> Option<&'a LogEntry> {
        self.entries.get(usize::try_from(position.0.checked_sub(1)?).ok()?)
    }

    /// All entries in order.
    #[must_use]
    pub fn entries(&self) -> &'a [LogEntry] {
        self.entries
    }
}

/// The value that each key has at the end of a log.
#[must_use]
pub fn final_values(log: &[LogEntry]) -> BTreeMap<Blob, Blob> {
    let mut values = BTreeMap::new();
    for effect in log.iter().flat_map(|entry| &entry.entry.effects) {
        match effect {
            Effect::Put { key, value, .. } => drop(values.insert(key.clone(), value.clone())),
            Effect::Delete { key, .. } => drop(values.remove(key)),
            _ => {}
        }
    }
    values
}
