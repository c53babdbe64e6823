//! Turns what is queued into batches: what fits into one, which segment it goes to, and its bytes.

use super::super::format::{BatchBuilder, ENTRY_BYTES, HEADER_BYTES, Link, MARK_BYTES, Position, align};
use super::super::prepare::{Preparation, segment_bytes};
use super::{Closed, Wal, Write};
use crate::disk::{Pending, Tokens};
use crate::io::{DiskOp, FileName, Outbox};
use crate::time::Micros;
use crate::types::{EntryId, Index, WriteSeq};

/// Most bytes of one batch, whatever the configuration says: a mark counts them in 32 bits.
const MAX_BATCH: usize = 1 << 30;

impl Wal {
    pub(super) fn pump_write(&mut self, now: Micros, out: &mut Outbox) {
        let waits = self.waits_for_space();
        if let Some(write) = &mut self.write {
            if write.refused && write.syncing.is_none() && !waits {
                write.refused = false;
                let (file, op) = (write.file, write.op.clone());
                (write.writing, write.syncing) = issue(&mut self.tokens, file, op, out);
            }
            return;
        }
        if self.blocked && !self.next_fits(self.wanted) {
            return;
        }
        (self.blocked, self.wanted) = (false, 0);
        let regular = segment_bytes(&self.setup.log) - HEADER_BYTES;
        let limit =
            self.setup.log.batch_bytes.min(MAX_BATCH).min(usize::try_from(regular).unwrap_or(MAX_BATCH));
        if let Some((covered, given_up)) = self.anchor {
            return self.write_anchor(covered, given_up, limit, out);
        }
        if self.vouched < self.tail.position.segment || !self.has_batch(now) {
            return;
        }
        let room = self.bytes - self.tail.position.offset;
        let (count, bytes) = self.gather(limit);
        let needed = HEADER_BYTES + align(bytes as u64);
        if align(bytes as u64) <= room {
            self.write_batch(count, bytes, None, out);
        } else if self.next_fits(needed) {
            self.close(self.tail.next);
            let next = self.next.take();
            self.write_batch(count, bytes, next, out);
        } else {
            // Until the next segment is ready, what still fits goes into this one.
            self.wanted = needed;
            let (count, bytes) = self.gather(usize::try_from(room).unwrap_or(MAX_BATCH).min(limit));
            self.blocked = align(bytes as u64) > room;
            if !self.blocked {
                self.write_batch(count, bytes, None, out);
            }
        }
    }

    /// Begins the log anew in the next segment, as soon as there is one.
    fn write_anchor(&mut self, covered: EntryId, given_up: u64, limit: usize, out: &mut Outbox) {
        let (count, bytes) = self.gather(limit);
        let needed = HEADER_BYTES + align(bytes as u64);
        if !self.next_fits(needed) {
            self.wanted = needed;
            return;
        }
        self.close(covered.index.next());
        self.tail = Link::after(covered);
        self.anchor = None;
        let next = self.next.take();
        self.write_batch(count, bytes, next, out);
        let write = self.write.as_mut().expect("a batch has just begun");
        write.covers.0 += given_up;
    }

    /// The log leaves the segment in use; the next one goes on with this index.
    fn close(&mut self, next: Index) {
        let Position { segment, offset } = self.tail.position;
        self.closed.push_back(Closed { segment, bytes: Some(self.bytes), used: offset, next });
    }

    /// Whether the next segment may be used for so many bytes.
    pub(super) fn next_fits(&self, needed: u64) -> bool {
        self.next
            .as_ref()
            .is_some_and(|next| next.is_ready() && next.segment() <= self.vouched && next.bytes() >= needed)
    }

    /// Whether there are entries to write, or a mark is due.
    fn has_batch(&mut self, now: Micros) -> bool {
        if !self.queue.is_empty() {
            self.idle_since = None;
            return true;
        }
        if self.marked {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        now >= since.after(self.setup.idle_mark)
    }

    /// How many queued entries a batch of at most `limit` bytes takes, at least one if there is one, and how
    /// long it then is, mark included.
    fn gather(&self, limit: usize) -> (usize, usize) {
        let (mut count, mut bytes) = (0, MARK_BYTES);
        for queued in &self.queue {
            let more = ENTRY_BYTES + queued.payload.len();
            if count > 0 && bytes + more > limit {
                break;
            }
            count += 1;
            bytes += more;
        }
        (count, bytes)
    }

    /// Writes a mark and `count` entries, `len` bytes together: into the segment in use, or as the first
    /// batch of the next one, header and all.
    fn write_batch(&mut self, count: usize, len: usize, next: Option<Preparation>, out: &mut Outbox) {
        let synced = self.tail;
        let mut batch = match next {
            None => BatchBuilder::new(&self.setup.identity, self.tail.position, self.tail.crc, len),
            Some(next) => {
                let header = self.setup.header(next.segment(), next.bytes(), next.is_again(), self.tail);
                self.tail.position = Position { segment: next.segment(), offset: HEADER_BYTES };
                self.bytes = next.bytes();
                self.header_durable = false;
                BatchBuilder::with_header(&header, len)
            }
        };
        batch.mark(&self.setup.mark(synced, len));
        for queued in self.queue.drain(..count) {
            self.queued_bytes -= queued.payload.len();
            batch.entry(queued.index, queued.term, &queued.payload);
            (self.tail.next, self.tail.term) = (queued.index.next(), queued.term);
        }
        let (data, offset, crc) = batch.finish();
        self.tail.crc = crc;
        self.tail.position.offset += align(len as u64);
        assert!(
            self.tail.position.offset == offset + data.len() as u64
                && self.tail.position.offset <= self.bytes,
            "a batch ends where it was planned to, inside its segment"
        );
        let file = FileName::Wal(self.tail.position.segment);
        let op = DiskOp::WriteAt { file, offset, data };
        let (writing, syncing) = issue(&mut self.tokens, file, op.clone(), out);
        let covers = WriteSeq(self.durable.0 + count as u64);
        self.write = Some(Write { file, op, writing, syncing, refused: false, covers, entries: count > 0 });
        self.idle_since = None;
    }
}

/// Asks for a batch to be written, and synced after that.
fn issue(
    tokens: &mut Tokens,
    file: FileName,
    op: DiskOp,
    out: &mut Outbox,
) -> (Option<Pending>, Option<Pending>) {
    let writing = tokens.issue("writing the log", op, out);
    (Some(writing), Some(tokens.issue("syncing the log", DiskOp::Sync { file }, out)))
}
