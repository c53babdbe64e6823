//! Ends a recovery: copies the tail whose durability is unknown into a new segment and makes that the end of
//! the log.
//!
//! Each step is durable before the next begins. The copy is not part of the log until the header is written,
//! and the old tail is until then; the mark after it proves that the header was durable. A crash anywhere
//! leaves one of the two to be recovered again. No byte of an older segment changes here.
//!
//! Where the disk is full, what nothing needs goes first (`Recovery::makes_space`), and the segment is as large as there
//! is space: a node must be able to start there, so that something can be deleted.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{
    BatchBuilder, ENTRY_BYTES, HEADER_BYTES, Link, MARK_BYTES, Position, SegmentHeader, align,
};
use super::prepare::{Preparation, segment_bytes};
use super::survey::Survey;
use super::writer::Setup;
use crate::io::{DiskOp, FileName};
use crate::types::{Index, Term};

/// The new segment on its way.
#[derive(Clone, Debug)]
pub(crate) struct Rebuild {
    /// What makes space for it.
    frees: VecDeque<(&'static str, DiskOp)>,
    preparation: Preparation,
    /// Its header but for the size.
    header: SegmentHeader,
    /// The smallest size in which everything finds room, in bytes.
    needed: u64,
    /// Writes that are left, each followed by a sync: the copied tail, the header, the mark.
    writes: VecDeque<Write>,
    /// Whether a write is done and its sync is not.
    written: bool,
    tail: Link,
}

/// A write into the new segment.
#[derive(Clone, Debug)]
enum Write {
    /// A batch: what it is in words, and where it goes.
    Batch(&'static str, u64, Bytes),
    /// The header, which says how long the segment has become.
    Header,
}

impl Rebuild {
    /// Continues the log at `link` in the new segment with these entries, the first of which may supersede.
    pub(crate) fn new(setup: &Setup, segment: u64, link: Link, entries: &[(Index, Term, Bytes)]) -> Self {
        let mut tail = Link { position: Position { segment, offset: HEADER_BYTES }, ..link };
        let mut writes = VecDeque::new();
        if entries.is_empty() {
            writes.push_back(Write::Header);
        } else {
            let copied: usize = entries.iter().map(|(_, _, payload)| ENTRY_BYTES + payload.len()).sum();
            let len = MARK_BYTES + copied;
            let mut batch = BatchBuilder::new(&setup.identity, tail.position, tail.crc, len);
            batch.mark(&setup.mark(link, len));
            for (index, term, payload) in entries {
                batch.entry(*index, *term, payload);
                (tail.next, tail.term) = (index.next(), *term);
            }
            tail = push_batch("copying the end of the log to", tail, batch, &mut writes);
            writes.push_back(Write::Header);
            let mut batch = BatchBuilder::new(&setup.identity, tail.position, tail.crc, MARK_BYTES);
            batch.mark(&setup.mark(tail, MARK_BYTES));
            tail = push_batch("writing the first mark of", tail, batch, &mut writes);
        }
        let needed = tail.position.offset + align(MARK_BYTES as u64);
        let bytes = segment_bytes(&setup.log).max(needed);
        Self {
            frees: VecDeque::new(),
            preparation: Preparation::new(segment, bytes),
            header: setup.header(segment, bytes, false, link),
            needed,
            writes,
            written: false,
            tail,
        }
    }

    /// There was no space for it: first what can be freed is, by these operations, then it becomes smaller. Whether there
    /// is anything left to try; not once anything but zeros was written.
    pub(crate) fn no_space(&mut self, frees: Vec<(&'static str, DiskOp)>) -> bool {
        let syncs = matches!(self.next_op(), Some((_, DiskOp::Sync { .. } | DiskOp::SyncDir)));
        if syncs || self.preparation.is_ready() {
            return false;
        }
        if frees.is_empty() {
            return self.preparation.finer() || self.preparation.make_do(self.needed);
        }
        self.frees = frees.into();
        self.frees.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
        true
    }

    /// The next operation with its purpose in words; `None` when the segment is the end of the log.
    pub(crate) fn next_op(&self) -> Option<(&'static str, DiskOp)> {
        if let Some(free) = self.frees.front() {
            return Some(free.clone());
        }
        if let Some(op) = self.preparation.next_op() {
            return Some(op);
        }
        let file = FileName::Wal(self.preparation.segment());
        let (doing, offset, data) = match self.writes.front()? {
            _ if self.written => return Some(("syncing the log", DiskOp::Sync { file })),
            Write::Batch(doing, offset, data) => (*doing, *offset, data.clone()),
            Write::Header => {
                let header = SegmentHeader { bytes: self.preparation.bytes(), ..self.header };
                ("writing the header of", 0, Bytes::copy_from_slice(&header.encode()))
            }
        };
        Some((doing, DiskOp::WriteAt { file, offset, data }))
    }

    /// The operation that [`Self::next_op`] named was done.
    pub(crate) fn done(&mut self) {
        if self.frees.pop_front().is_some() {
            return;
        }
        if !self.preparation.is_ready() {
            let step = self.preparation.step();
            return self.preparation.done(&step);
        }
        if self.written {
            self.writes.pop_front();
        }
        self.written = !self.written;
    }

    /// Where the log goes on, and the size of the segment in bytes.
    pub(crate) fn end(&self) -> (Link, u64) {
        (self.tail, self.preparation.bytes())
    }
}

/// Queues a batch, and returns where the next one goes.
fn push_batch(doing: &'static str, tail: Link, batch: BatchBuilder, writes: &mut VecDeque<Write>) -> Link {
    let (data, offset, crc) = batch.finish();
    let position = Position { segment: tail.position.segment, offset: offset + data.len() as u64 };
    writes.push_back(Write::Batch(doing, offset, data));
    Link { position, crc, ..tail }
}

/// What is no longer part of the log, once it is continued at `end` in a newer segment.
pub(super) fn cleanup(survey: &Survey, end: Position) -> VecDeque<(&'static str, DiskOp)> {
    let dead = survey.chain.iter().map(|segment| segment.header.segment).filter(|it| *it > end.segment);
    let headless = survey.headless.iter().map(|(segment, _)| *segment);
    let mut ops: VecDeque<_> = dead
        .chain(headless)
        .chain(survey.leftover.iter().copied())
        .map(|segment| ("removing the unused", DiskOp::Remove { file: FileName::Wal(segment) }))
        .collect();
    if !ops.is_empty() {
        ops.push_back(("syncing the data directory after removals", DiskOp::SyncDir));
    }
    if survey.chain.iter().any(|it| it.header.segment == end.segment && it.len > end.offset) {
        let file = FileName::Wal(end.segment);
        ops.push_back(("cutting the unused end of", DiskOp::Truncate { file, len: end.offset }));
    }
    ops
}
