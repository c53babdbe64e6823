//! Ends a recovery: copies the tail whose durability is unknown into a new segment and makes that the end of
//! the log.
//!
//! Each step is durable before the next begins. The copy is not part of the log until the header is written,
//! and the old tail is until then; the mark after it proves that the header was durable. A crash anywhere
//! leaves one of the two to be recovered again. No byte of an older segment changes here.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{BatchBuilder, ENTRY_BYTES, HEADER_BYTES, Link, MARK_BYTES, Position, align};
use super::prepare::{Preparation, segment_bytes};
use super::writer::Setup;
use crate::io::{DiskOp, FileName};
use crate::types::{Index, Term};

/// The new segment on its way.
#[derive(Clone, Debug)]
pub(crate) struct Rebuild {
    preparation: Preparation,
    /// Writes that are left, each followed by a sync: the copied tail, the header, the mark.
    writes: VecDeque<(&'static str, u64, Bytes)>,
    /// Whether a write is done and its sync is not.
    written: bool,
    tail: Link,
}

impl Rebuild {
    /// Continues the log at `link` in the new segment with these entries, the first of which may supersede.
    pub(crate) fn new(setup: &Setup, segment: u64, link: Link, entries: &[(Index, Term, Bytes)]) -> Self {
        let copied: usize = entries.iter().map(|(_, _, payload)| ENTRY_BYTES + payload.len()).sum();
        let len = if entries.is_empty() { 0 } else { MARK_BYTES + copied };
        let needed = HEADER_BYTES + align(len as u64) + align(MARK_BYTES as u64);
        let bytes = segment_bytes(&setup.log).max(needed);
        let header = setup.header(segment, bytes, false, link).encode();
        let header = ("writing the header of", 0, Bytes::copy_from_slice(&header));
        let mut tail = Link { position: Position { segment, offset: HEADER_BYTES }, ..link };
        let mut writes = VecDeque::new();
        if entries.is_empty() {
            writes.push_back(header);
        } else {
            let mut batch = BatchBuilder::new(&setup.identity, tail.position, tail.crc, len);
            batch.mark(&setup.mark(link, len));
            for (index, term, payload) in entries {
                batch.entry(*index, *term, payload);
                (tail.next, tail.term) = (index.next(), *term);
            }
            tail = push_batch("copying the end of the log to", tail, batch, &mut writes);
            writes.push_back(header);
            let mut batch = BatchBuilder::new(&setup.identity, tail.position, tail.crc, MARK_BYTES);
            batch.mark(&setup.mark(tail, MARK_BYTES));
            tail = push_batch("writing the first mark of", tail, batch, &mut writes);
        }
        Self { preparation: Preparation::new(segment, bytes), writes, written: false, tail }
    }

    /// The next operation with its purpose in words; `None` when the segment is the end of the log.
    pub(crate) fn next_op(&self) -> Option<(&'static str, DiskOp)> {
        if let Some(op) = self.preparation.next_op() {
            return Some(op);
        }
        let file = FileName::Wal(self.preparation.segment());
        let (doing, offset, data) = self.writes.front()?;
        if self.written {
            Some(("syncing the log", DiskOp::Sync { file }))
        } else {
            Some((doing, DiskOp::WriteAt { file, offset: *offset, data: data.clone() }))
        }
    }

    /// The operation that [`Self::next_op`] named was done.
    pub(crate) fn done(&mut self) {
        if !self.preparation.is_ready() {
            let step = self.preparation.step();
            self.preparation.done(&step);
        } else if self.written {
            self.writes.pop_front();
            self.written = false;
        } else {
            self.written = true;
        }
    }

    /// Where the log goes on, and the size of the segment in bytes.
    pub(crate) fn end(&self) -> (Link, u64) {
        (self.tail, self.preparation.bytes())
    }
}

/// Queues a batch, and returns where the next one goes.
fn push_batch(
    doing: &'static str,
    tail: Link,
    batch: BatchBuilder,
    writes: &mut VecDeque<(&'static str, u64, Bytes)>,
) -> Link {
    let (data, offset, crc) = batch.finish();
    let position = Position { segment: tail.position.segment, offset: offset + data.len() as u64 };
    writes.push_back((doing, offset, data));
    Link { position, crc, ..tail }
}
