//! The log in memory: every entry from the first, and which of them still have to be written to disk.
//!
//! It never touches a disk: the node hands what [`Log::take_unwritten`] yields to the write-ahead log. There are no
//! snapshots yet, so the log begins at index 1 for ever and `Limits::log_bytes` bounds it.

use bytes::Bytes;

use crate::types::{Index, Term};

/// One entry: its term, and its body as `state::effect::Entry` encodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The term in which a leader appended it.
    pub term: Term,
    /// The encoded body, shared between log, disk and peers.
    pub payload: Bytes,
}

/// The entries from index 1 on.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: Vec<LogEntry>,
    /// Entries from this index on were not yet handed to the disk.
    unwritten: Index,
    bytes: u64,
}

impl Log {
    /// A recovered log, all of it on disk.
    #[must_use]
    pub fn recovered(entries: Vec<LogEntry>) -> Self {
        let unwritten = Index(entries.len() as u64 + 1);
        let bytes = entries.iter().map(|entry| entry.payload.len() as u64).sum();
        Self { entries, unwritten, bytes }
    }

    /// The last index; zero if the log is empty.
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// The last entry's term; zero if the log is empty.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.entries.last().map_or(Term(0), |entry| entry.term)
    }

    /// The term at an index: zero at zero, none beyond the end.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == Index(0) { Some(Term(0)) } else { self.get(index).map(|entry| entry.term) }
    }

    /// The entry at an index.
    #[must_use]
    pub fn get(&self, index: Index) -> Option<&LogEntry> {
        let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.entries.get(at)
    }

    /// The bytes of all bodies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds an entry at the end and returns its index.
    pub fn append(&mut self, entry: LogEntry) -> Index {
        assert!(entry.term >= self.last_term(), "terms never go down along the log");
        self.bytes += entry.payload.len() as u64;
        self.entries.push(entry);
        self.unwritten = self.unwritten.max(Index(1));
        self.last()
    }

    /// Cuts everything from this index on.
    pub fn truncate_from(&mut self, index: Index) {
        assert!(index > Index(0) && index <= self.last(), "only what is there can be cut");
        let keep = index.prev().0 as usize;
        self.bytes -= self.entries[keep..].iter().map(|entry| entry.payload.len() as u64).sum::<u64>();
        self.entries.truncate(keep);
        self.unwritten = self.unwritten.min(index);
    }

    /// Up to `max_entries` entries and about `max_bytes` bytes from an index on; at least one if there is any.
    pub fn slice(&self, from: Index, max_entries: usize, max_bytes: usize) -> Vec<LogEntry> {
        let start = (from.prev().0 as usize).min(self.entries.len());
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in self.entries[start..].iter().take(max_entries) {
            bytes += entry.payload.len();
            if !taken.is_empty() && bytes > max_bytes {
                break;
            }
            taken.push(entry.clone());
        }
        taken
    }

    /// The largest index up to `from` whose term is at most `term` (the conflict back-off of the paper's
    /// section 5.3, by term instead of entry by entry).
    #[must_use]
    pub fn last_at_most(&self, from: Index, term: Term) -> Index {
        let mut index = from.min(self.last());
        while index > Index(0) && self.term_at(index).is_some_and(|at| at > term) {
            index = index.prev();
        }
        index
    }

    /// Entries that the disk has not been given yet, with their indexes. Each is yielded once.
    pub fn take_unwritten(&mut self) -> impl Iterator<Item = (Index, &LogEntry)> {
        let from = self.unwritten.max(Index(1));
        self.unwritten = self.last().next();
        let start = (from.prev().0 as usize).min(self.entries.len());
        self.entries[start..].iter().enumerate().map(move |(at, entry)| (Index(from.0 + at as u64), entry))
    }
}
