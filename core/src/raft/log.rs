//! The log in memory: every entry that no snapshot has replaced, and which of them still have to be written to disk.
//!
//! It never touches a disk: the node hands what [`Log::take_unwritten`] yields to the write-ahead log. Where the log
//! begins moves with the snapshots ([`Log::compact`], [`Log::reset`]), which is what bounds it.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::types::{EntryId, Index, Term};
use crate::wal::Salvaged;

/// One entry: its term, and its body as `state::effect::Entry` encodes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogEntry {
    /// The term in which a leader appended it.
    pub term: Term,
    /// The encoded body, shared between log, disk and peers.
    pub payload: Bytes,
}

/// The entries after the start.
#[derive(Clone, Debug, Default, Hash)]
pub struct Log {
    /// The entry before the first one here: a snapshot covers it and everything before.
    start: EntryId,
    entries: VecDeque<LogEntry>,
    /// Entries that were lost on disk and are to be fetched from other nodes. Their terms are not known, but that of the
    /// last of each run.
    lost: BTreeSet<Index>,
    /// Entries from this index on were not yet handed to the disk.
    unwritten: Index,
    bytes: u64,
    /// What a snapshot has replaced and is not freed yet.
    gone: VecDeque<LogEntry>,
}

/// What an entry takes beside its body, in bytes: more than its record's header on the disk, and about that in memory.
const ENTRY_TAKES: u64 = 64;

/// How many entries that a snapshot has replaced are freed with a step, at least: all of them at once would take tens
/// of milliseconds.
const FREED_AT_ONCE: usize = 256;

impl Log {
    /// A recovered log behind `start`, all of it on disk.
    #[must_use]
    pub fn recovered(start: EntryId, entries: Vec<LogEntry>) -> Self {
        let unwritten = Index(start.index.0 + entries.len() as u64 + 1);
        let bytes = entries.iter().map(|entry| entry.payload.len() as u64).sum();
        let (lost, gone) = (BTreeSet::new(), VecDeque::new());
        Self { start, entries: entries.into(), lost, unwritten, bytes, gone }
    }

    /// The entry before the first one that is here; all zeros if none ever went.
    #[must_use]
    pub fn start(&self) -> EntryId {
        self.start
    }

    /// The last index; that of the start if the log is empty.
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.start.index.0 + self.entries.len() as u64)
    }

    /// The last entry's term; that of the start if the log is empty.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.entries.back().map_or(self.start.term, |entry| entry.term)
    }

    /// The last entry's identity.
    #[must_use]
    pub fn end(&self) -> EntryId {
        EntryId { index: self.last(), term: self.last_term() }
    }

    /// The term at an index: none before the start, beyond the end, and of what was lost.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            Some(self.start.term)
        } else {
            self.get(index).map(|entry| entry.term)
        }
    }

    /// The entry at an index.
    #[must_use]
    pub fn get(&self, index: Index) -> Option<&LogEntry> {
        let entry = self.entries.get(self.place(index)?)?;
        if self.lost.contains(&index) { None } else { Some(entry) }
    }

    /// The bytes of all bodies, and what else the entries take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes + self.entries.len() as u64 * ENTRY_TAKES
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry behind the start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry at the end and returns its index.
    pub fn append(&mut self, entry: LogEntry) -> Index {
        assert!(entry.term >= self.last_term(), "terms never go down along the log");
        self.bytes += entry.payload.len() as u64;
        self.entries.push_back(entry);
        self.unwritten = self.unwritten.max(self.start.index.next());
        self.last()
    }

    /// Cuts everything from this index on.
    pub fn truncate_from(&mut self, index: Index) {
        assert!(index > self.start.index && index <= self.last(), "only what is there can be cut");
        let keep = (index.0 - self.start.index.0 - 1) as usize;
        self.bytes -= size(self.entries.range(keep..));
        self.entries.truncate(keep);
        self.lost.split_off(&index);
        self.unwritten = self.unwritten.min(index);
    }

    /// Lets go of everything up to this index: a durable snapshot covers it, and the disk has been given it.
    pub fn compact(&mut self, to: Index) {
        let Some(term) = self.term_at(to).filter(|_| to > self.start.index) else { return };
        assert!(to < self.unwritten, "what the disk was not given yet is still needed");
        let gone = (to.0 - self.start.index.0) as usize;
        self.bytes -= size(self.entries.range(..gone));
        let kept = self.entries.split_off(gone);
        self.gone.append(&mut std::mem::replace(&mut self.entries, kept));
        self.start = EntryId { index: to, term };
    }

    /// Lets go of the whole log: it begins anew behind an entry that a durable snapshot covers.
    pub fn reset(&mut self, start: EntryId) {
        *self = Self::recovered(start, Vec::new());
    }

    /// Up to `max_entries` entries and about `max_bytes` bytes from an index on; at least one if there is any.
    pub fn slice(&self, from: Index, max_entries: usize, max_bytes: usize) -> Vec<LogEntry> {
        assert!(from > self.start.index, "what a snapshot replaced can't be sent as entries");
        let start = self.place(from).unwrap_or(0).min(self.entries.len());
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in self.entries.range(start..).take(max_entries) {
            bytes += entry.payload.len();
            if !taken.is_empty() && bytes > max_bytes {
                break;
            }
            taken.push(entry.clone());
        }
        taken
    }

    /// The largest index up to `from` whose term is at most `term` (the conflict back-off of the paper's
    /// section 5.3, by term instead of entry by entry). Before the start no term is known: there the search ends.
    #[must_use]
    pub fn last_at_most(&self, from: Index, term: Term) -> Index {
        let mut index = from.min(self.last());
        while index > self.start.index && self.term_at(index).is_some_and(|at| at > term) {
            index = index.prev();
        }
        index
    }

    /// Entries that the disk has not been given yet, with their indexes. Each is yielded once.
    ///
    /// This is asked for with every step, so it also frees some of what a snapshot has replaced.
    pub fn take_unwritten(&mut self) -> impl Iterator<Item = (Index, &LogEntry)> {
        let from = self.unwritten.max(self.start.index.next());
        self.unwritten = self.last().next();
        let start = self.place(from).unwrap_or(0).min(self.entries.len());
        // More than come, so that what is to be freed never piles up.
        let freed = FREED_AT_ONCE + 2 * (self.entries.len() - start);
        self.gone.drain(..freed.min(self.gone.len()));
        if self.gone.is_empty() {
            self.gone = VecDeque::new();
        }
        self.entries.range(start..).enumerate().map(move |(at, entry)| (Index(from.0 + at as u64), entry))
    }

    /// Where an index lies in memory; none up to the start.
    fn place(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.start.index.0)?.checked_sub(1)?).ok()
    }
}

fn size<'a>(entries: impl Iterator<Item = &'a LogEntry>) -> u64 {
    entries.map(|entry| entry.payload.len() as u64).sum()
}

/// What a damaged log needs: its lost entries, and how other nodes can tell that theirs are the same.
impl Log {
    /// What is left of a damaged log.
    #[must_use]
    pub fn salvaged(log: Salvaged) -> Self {
        let index = |at: usize| Index(log.start.index.0 + 1 + at as u64);
        let lost = log.entries.iter().enumerate().filter(|(_, (_, payload))| payload.is_none());
        let lost = lost.map(|(at, _)| index(at)).collect();
        let entries = log.entries.into_iter();
        let entries = entries.map(|(term, payload)| LogEntry { term, payload: payload.unwrap_or_default() });
        Self { lost, ..Self::recovered(log.start, entries.collect()) }
    }

    /// How many entries were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.len()
    }

    /// The first run of lost entries: its first and last index.
    #[must_use]
    pub fn first_lost(&self) -> Option<(Index, Index)> {
        let first = *self.lost.first()?;
        let last = self.lost.iter().zip(first.0..).take_while(|(lost, at)| lost.0 == *at).last();
        last.map(|(last, _)| (first, *last))
    }

    /// Known entries from the end of the first run of lost ones on, the newest first, at most `most`: whose log has one
    /// of these has the same log up to there (paper, figure 3). They lie at the ends of the log and of each run.
    #[must_use]
    pub fn proofs(&self, most: usize) -> Vec<EntryId> {
        let Some((_, first)) = self.first_lost() else { return Vec::new() };
        let mut edges = BTreeSet::from([self.last()]);
        for lost in self.lost.range(first..) {
            let around = [lost.prev(), *lost, lost.next()];
            edges.extend(around.into_iter().filter(|index| *index >= first && *index <= self.last()));
        }
        let id = |index: &Index| {
            Some(EntryId { index: *index, term: self.entries.get(self.place(*index)?)?.term })
        };
        let mut proofs: Vec<EntryId> =
            edges.iter().rev().filter_map(id).filter(|id| id.term > Term(0)).collect();
        // The oldest says whether anything behind the lost entries is in common.
        if let Some(oldest) = proofs.last().copied().filter(|_| proofs.len() > most) {
            proofs.truncate(most.saturating_sub(1));
            proofs.push(oldest);
        }
        proofs
    }

    /// Puts a lost entry back. False if it can't be the one: terms never go down along the log.
    pub fn fill(&mut self, index: Index, entry: LogEntry) -> bool {
        let Some(place) = self.place(index).filter(|_| self.lost.contains(&index)) else { return false };
        // Zero is the term of an entry of which nothing is known.
        let known = |at: usize| self.entries.get(at).map(|entry| entry.term).filter(|term| *term > Term(0));
        let before = place.checked_sub(1).map_or(Some(self.start.term), known);
        let fits = before.is_none_or(|term| term <= entry.term)
            && known(place).is_none_or(|term| term == entry.term)
            && known(place + 1).is_none_or(|term| entry.term <= term);
        if fits {
            self.bytes += entry.payload.len() as u64;
            self.entries[place] = entry;
            self.lost.remove(&index);
        }
        fits
    }

    /// A durable snapshot covers everything up to `at`, and what follows there in this log is known to follow: it
    /// stays. What lies between is lost.
    pub fn rebase(&mut self, at: EntryId) {
        if at.index >= self.last() {
            return self.reset(at);
        }
        if at.index > self.start.index {
            let gone = (at.index.0 - self.start.index.0) as usize;
            self.entries.drain(..gone);
            self.lost = self.lost.split_off(&at.index.next());
            self.bytes = size(self.entries.iter());
        } else {
            let between = at.index.0 + 1..=self.start.index.0;
            for index in between.rev() {
                let term = if index == self.start.index.0 { self.start.term } else { Term(0) };
                self.entries.push_front(LogEntry { term, payload: Bytes::new() });
                self.lost.insert(Index(index));
            }
        }
        self.start = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(start: (u64, u64), terms: &[u64]) -> Log {
        let entry = |term: &u64| LogEntry { term: Term(*term), payload: Bytes::from_static(b"four") };
        let start = EntryId { index: Index(start.0), term: Term(start.1) };
        Log::recovered(start, terms.iter().map(entry).collect())
    }

    #[test]
    fn a_log_that_begins_behind_a_snapshot_knows_the_term_there_and_nothing_before() {
        let log = log((10, 2), &[2, 3]);
        assert_eq!(log.end(), EntryId { index: Index(12), term: Term(3) });
        let terms = [9, 10, 11, 12, 13].map(|at| log.term_at(Index(at)).map(|term| term.0));
        assert_eq!(terms, [None, Some(2), Some(2), Some(3), None]);
    }

    #[test]
    fn what_a_snapshot_covers_is_freed_in_portions() {
        let mut log = log((0, 0), &[1; 800]);
        log.compact(Index(400));
        assert_eq!((log.len(), log.gone.len(), log.bytes()), (400, 400, 400 * (4 + ENTRY_TAKES)));
        log.compact(Index(700));
        assert_eq!((log.len(), log.gone.len()), (100, 700));
        assert_eq!((log.take_unwritten().count(), log.gone.len()), (0, 444));
        log.append(LogEntry { term: Term(1), payload: Bytes::new() });
        assert_eq!((log.take_unwritten().count(), log.gone.len()), (1, 444 - 256 - 2));
        assert_eq!((log.take_unwritten().count(), log.gone.capacity()), (0, 0));
        assert_eq!(log.slice(Index(701), 200, 999).len(), 101);
    }

    #[test]
    fn what_a_snapshot_covers_goes_and_the_rest_stays_where_it_was() {
        let mut log = log((0, 0), &[1, 1, 2, 2]);
        log.compact(Index(3));
        assert_eq!(
            (log.start(), log.len(), log.bytes()),
            (EntryId { index: Index(3), term: Term(2) }, 1, 4 + ENTRY_TAKES)
        );
        assert_eq!(log.slice(Index(4), 9, 99).len(), 1);
        log.compact(Index(2));
        log.compact(Index(9));
        assert_eq!(
            log.start().index,
            Index(3),
            "an older snapshot, or one of entries that are not here, takes nothing"
        );
        log.truncate_from(Index(4));
        assert!(log.is_empty() && log.end() == log.start() && log.bytes() == 0);
        assert_eq!(log.append(LogEntry { term: Term(4), payload: Bytes::new() }), Index(4));
        assert_eq!(log.take_unwritten().map(|(index, _)| index).collect::<Vec<_>>(), [Index(4)]);
    }

    /// Terms of the entries; zero for one that was lost, and 100 and more for one that was lost with this term known.
    fn damaged(terms: &[u64]) -> Log {
        let entry = |term: &u64| match term {
            0 => (Term(0), None),
            100.. => (Term(term - 100), None),
            term => (Term(*term), Some(Bytes::from_static(b"four"))),
        };
        let start = EntryId { index: Index(10), term: Term(1) };
        let entries = terms.iter().map(entry).collect();
        Log::salvaged(Salvaged { start, entries, ..Salvaged::default() })
    }

    fn entry(term: u64) -> LogEntry {
        LogEntry { term: Term(term), payload: Bytes::from_static(b"new") }
    }

    #[test]
    fn lost_entries_have_no_term_and_are_put_back_one_by_one() {
        let mut log = damaged(&[1, 0, 102, 2, 0, 103, 3]);
        assert_eq!(log.first_lost(), Some((Index(12), Index(13))));
        assert_eq!((log.term_at(Index(13)), log.get(Index(12))), (None, None));
        let proofs: Vec<(u64, u64)> = log.proofs(9).iter().map(|id| (id.index.0, id.term.0)).collect();
        assert_eq!(proofs, [(17, 3), (16, 3), (14, 2), (13, 2)]);
        assert!(!log.fill(Index(12), entry(3)), "terms never go down");
        assert!(!log.fill(Index(11), entry(1)), "it is there");
        assert!(log.fill(Index(12), entry(1)) && !log.fill(Index(13), entry(1)), "its term is known");
        assert!(log.fill(Index(13), entry(2)));
        assert_eq!(log.first_lost(), Some((Index(15), Index(16))));
        assert!(log.fill(Index(15), entry(2)) && log.fill(Index(16), entry(3)));
        assert_eq!((log.first_lost(), log.len(), log.bytes()), (None, 7, 3 * 4 + 4 * 3 + 7 * ENTRY_TAKES));
    }

    #[test]
    fn a_log_that_lost_its_end_still_knows_where_that_was() {
        let log = damaged(&[1, 0, 104]);
        assert_eq!(log.end(), EntryId { index: Index(13), term: Term(4) });
        assert_eq!(log.proofs(9), [log.end()]);
    }

    #[test]
    fn a_snapshot_before_the_log_leaves_a_gap_and_one_within_it_takes_what_it_covers() {
        let id = |index, term| EntryId { index: Index(index), term: Term(term) };
        let mut log = damaged(&[0, 102, 2]);
        log.rebase(id(7, 1));
        assert_eq!(
            (log.start(), log.first_lost(), log.last()),
            (id(7, 1), Some((Index(8), Index(12))), Index(13))
        );
        log.rebase(id(12, 2));
        assert_eq!((log.first_lost(), log.len(), log.bytes()), (None, 1, 4 + ENTRY_TAKES));
        log.rebase(id(99, 5));
        assert_eq!((log.end(), log.len()), (id(99, 5), 0));
    }

    #[test]
    fn the_search_for_a_match_ends_at_the_start() {
        let log = log((10, 5), &[6, 7]);
        assert_eq!(log.last_at_most(Index(12), Term(6)), Index(11));
        assert_eq!(log.last_at_most(Index(12), Term(1)), Index(10));
        assert_eq!(log.last_at_most(Index(7), Term(1)), Index(7));
    }
}
