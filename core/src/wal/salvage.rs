//! What a damaged log still holds: batch by batch, in the order in which they were written, each from its own mark.
//!
//! A mark says where the log was when its batch was written, and so does a segment's header. Where that does not follow
//! from the batches before it, something between was lost: if both sides are of one term, the entries between (within a
//! term a log only grows), else everything up to there, because what was lost may have superseded any of it. Lost entries
//! are holes, to be filled from other nodes (CTRL, FAST '18, section 3.3). Nothing here decides that a log is damaged,
//! and nothing is written: the damaged segments stay as they are until a whole log lies beside them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{
    Body, ENTRY_BYTES, HEADER_BYTES, Identity, Link, Mark, Position, SECTOR, SegmentHeader, align, verify,
};
use crate::io::{DiskError, DiskOp, DiskReply, FileName};
use crate::types::{EntryId, Index, Term};

/// Bytes in one read.
const READ_BYTES: u64 = 1 << 20;

/// Most entries that are marked as lost one by one; beyond, a snapshot is wanted.
const MOST_HOLES: u64 = 1 << 20;

/// A log with holes: of each entry behind `start` its term, and its payload unless it is lost. The term of a lost one
/// is known only if it is the last of a hole; else it is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// The entry before the first.
    pub start: EntryId,
    /// The entries.
    pub entries: Vec<(Term, Option<Bytes>)>,
    /// Whether the log has another entry than the snapshot at the snapshot's index: what follows there is stale.
    pub stale: bool,
}

impl Salvaged {
    fn end(&self) -> EntryId {
        let index = Index(self.start.index.0 + self.entries.len() as u64);
        EntryId { index, term: self.entries.last().map_or(self.start.term, |(term, _)| *term) }
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        let at = index.0.checked_sub(self.start.index.0 + 1)?;
        // The last of a hole has a known term, which is not zero.
        self.entries.get(at as usize).map(|(term, _)| *term).filter(|term| *term > Term(0))
    }

    fn truncate_from(&mut self, index: Index) {
        self.entries.truncate(index.0.saturating_sub(self.start.index.0 + 1) as usize);
    }

    /// The log was here when a batch was written. In a cluster of one nobody supersedes anything, so that what was read
    /// stays whatever was lost behind it.
    fn resume(&mut self, link: &Link, alone: bool) {
        let last = link.last();
        self.stale = last.index == self.start.index && last.term != self.start.term;
        if self.stale {
            return self.entries.clear();
        }
        if last.index < self.start.index || self.term_at(last.index) == Some(last.term) {
            return self.truncate_from(link.next);
        }
        let end = self.end();
        let grown = last.index > end.index && (alone || last.term == end.term);
        if !grown {
            self.entries.clear();
        }
        let missing = last.index.0.saturating_sub(self.end().index.0);
        if missing == 0 || missing > MOST_HOLES {
            *self = Self { start: last, ..Self::default() };
            return;
        }
        self.entries.extend((0..missing).map(|_| (Term(0), None)));
        if let Some((term, _)) = self.entries.last_mut() {
            *term = last.term;
        }
    }

    fn entry(&mut self, index: Index, term: Term, payload: Bytes) {
        if self.stale || index <= self.start.index || index > self.end().index.next() {
            return;
        }
        self.truncate_from(index);
        self.entries.push((term, Some(payload)));
    }
}

/// A salvage under way: reads every segment from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct Salvage {
    identity: Identity,
    /// Segments that are left, with the length of their files.
    left: VecDeque<(u64, u64)>,
    /// Bytes of the first of these so far; unreadable ones are zeros.
    bytes: Vec<u8>,
    /// Whether what could not be read at once is read sector by sector up to here.
    careful: u64,
    /// The newest segment in which a mark or a header of its own was found.
    newest: u64,
    /// The end of the last batch or header that was believed.
    believed: Position,
    /// The last sector that can't be read, or is missing.
    unread: Position,
    /// Whether the cluster has no other node.
    alone: bool,
    log: Salvaged,
}

impl Salvage {
    /// Of these segments, oldest first, behind a snapshot.
    pub(super) fn new(
        identity: Identity,
        covered: EntryId,
        files: VecDeque<(u64, u64)>,
        alone: bool,
    ) -> Self {
        let log = Salvaged { start: covered, ..Salvaged::default() };
        let (believed, unread) = (Position::default(), Position::default());
        Self { identity, left: files, bytes: Vec::new(), careful: 0, newest: 0, believed, unread, alone, log }
    }

    /// The next read; `None` when all is read.
    pub(super) fn next_op(&mut self) -> Option<DiskOp> {
        loop {
            let (segment, len) = *self.left.front()?;
            let offset = self.bytes.len() as u64;
            if offset < len {
                let most = if offset < self.careful { SECTOR } else { READ_BYTES };
                let bytes = (len - offset).min(most);
                return Some(DiskOp::Read { file: FileName::Wal(segment), offset, len: bytes as u32 });
            }
            self.left.pop_front();
            let bytes = Bytes::from(std::mem::take(&mut self.bytes));
            self.careful = 0;
            self.segment(segment, &bytes);
        }
    }

    /// The read that [`Self::next_op`] named has ended.
    pub(super) fn done(&mut self, op: &DiskOp, result: Result<DiskReply, DiskError>) {
        let DiskOp::Read { file: FileName::Wal(segment), len, offset } = op else {
            unreachable!("a salvage only reads segments")
        };
        let end = offset + u64::from(*len);
        match result {
            Ok(DiskReply::Data(data)) if !data.is_empty() => return self.bytes.extend_from_slice(&data),
            // What can't be read is looked at sector by sector, and a sector that can't be is as good as blank.
            Err(_) if u64::from(*len) > SECTOR => return self.careful = end,
            Err(_) => self.unread = Position { segment: *segment, offset: *offset },
            Ok(_) => {}
        }
        self.bytes.resize(end as usize, 0);
    }

    /// All batches of a segment, in order.
    fn segment(&mut self, segment: u64, bytes: &Bytes) {
        let seed = self.identity.seed(segment);
        let header = SegmentHeader::decode(bytes);
        if let Ok(header) = header
            && (header.identity, header.segment) == (self.identity, segment)
        {
            self.newest = self.newest.max(segment);
            // It says where the log was, as a mark does; a start that has nothing to copy writes no other.
            self.log.resume(&header.link, self.alone);
            self.believed = Position { segment, offset: HEADER_BYTES };
            // No crash makes a segment shorter, but an older one's unused end is cut.
            let len = bytes.len() as u64;
            if len < header.bytes {
                self.unread = self.unread.max(Position { segment, offset: len });
            }
        }
        let mut at = HEADER_BYTES;
        while at < bytes.len() as u64 {
            let rest = &bytes[at as usize..];
            let mark = match verify(seed, at, rest) {
                Ok(record) => match record.body {
                    Body::Mark(mark) => Some((mark, record.len, record.crc)),
                    Body::Entry { .. } => None,
                },
                Err(_) => None,
            };
            at = match mark {
                Some((mark, len, crc)) => {
                    self.batch(seed, Position { segment, offset: at }, &mark, (len, crc), bytes)
                }
                None => at + SECTOR,
            };
        }
    }

    /// A batch, as far as it is whole. Returns where the next one may begin.
    fn batch(
        &mut self,
        seed: u32,
        at: Position,
        mark: &Mark,
        (len, crc): (usize, u32),
        bytes: &Bytes,
    ) -> u64 {
        self.log.resume(&mark.synced, self.alone);
        self.newest = self.newest.max(at.segment);
        let end = (at.offset + u64::from(mark.batch)).min(bytes.len() as u64);
        let (mut offset, mut before) = (at.offset + len as u64, crc);
        while offset + ENTRY_BYTES as u64 <= end {
            let rest = bytes.slice(offset as usize..end as usize);
            let Ok(record) = verify(seed, offset, &rest) else { break };
            let Body::Entry { index, term, payload } = record.body else { break };
            if record.prev_crc != before {
                break;
            }
            self.log.entry(index, term, rest.slice_ref(payload));
            before = record.crc;
            offset += record.len as u64;
        }
        self.believed = Position { offset, ..at };
        // A batch that is not whole may have been the last one, torn: what follows it says whether it was durable.
        align(offset).max(at.offset + SECTOR)
    }

    /// What was found, and whether the log may have gone on behind it, given the newest segment that the hard state
    /// vouches for: one that was prepared and not used yet may follow. No crash leaves a sector that can't be read, or
    /// takes one away, so there may have been anything in it.
    pub(super) fn finish(self, vouched: u64) -> (Salvaged, bool) {
        let doubtful = self.newest + 1 < vouched || self.unread >= self.believed;
        (self.log, doubtful)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(terms: &[u64]) -> Salvaged {
        let entries = terms.iter().map(|term| (Term(*term), Some(Bytes::from_static(b"x")))).collect();
        Salvaged { start: EntryId { index: Index(10), term: Term(1) }, entries, stale: false }
    }

    fn resumed(terms: &[u64], next: u64, term: u64) -> Vec<(u64, bool)> {
        resumed_alone(terms, next, term, false)
    }

    fn resumed_alone(terms: &[u64], next: u64, term: u64, alone: bool) -> Vec<(u64, bool)> {
        let mut log = log(terms);
        log.resume(&Link { next: Index(next), term: Term(term), ..Link::default() }, alone);
        log.entries.iter().map(|(term, payload)| (term.0, payload.is_some())).collect()
    }

    #[test]
    fn a_batch_that_follows_from_the_one_before_loses_nothing() {
        assert_eq!(resumed(&[1, 2], 13, 2), [(1, true), (2, true)]);
        assert_eq!(resumed(&[1, 2, 2], 12, 1), [(1, true)], "a cut that is on record");
    }

    #[test]
    fn within_a_term_only_what_lies_between_is_lost() {
        assert_eq!(resumed(&[1, 2], 15, 2), [(1, true), (2, true), (0, false), (2, false)]);
    }

    #[test]
    fn across_terms_everything_may_have_been_superseded() {
        assert_eq!(resumed(&[1, 2], 14, 3), [(0, false), (0, false), (3, false)]);
        assert_eq!(resumed(&[1, 2], 13, 3), [(0, false), (3, false)]);
    }

    #[test]
    fn alone_nothing_is_superseded_by_what_was_lost() {
        assert_eq!(resumed_alone(&[1, 2], 14, 3, true), [(1, true), (2, true), (3, false)]);
    }

    #[test]
    fn a_log_that_begins_beyond_all_reason_begins_there() {
        let mut log = log(&[1]);
        let link = Link { next: Index(9_000_000), term: Term(4), ..Link::default() };
        log.resume(&link, false);
        assert_eq!((log.start, log.entries.len()), (link.last(), 0));
    }
}
