//! Reads back one segment: record after record along the chain, and, behind the place where the chain ends,
//! sector after sector in search of marks. It asks for bytes and never allocates by a length that no checksum
//! has covered.

use bytes::Bytes;

use super::format::{
    Body, Flaw, HEADER_BYTES, Identity, Link, MARK_BYTES, Mark, Position, RECORD_HEADER, SECTOR, align,
    claimed_len, verify,
};
use crate::types::{Index, Term};

/// Bytes in one regular read.
pub(super) const READ_BYTES: u64 = 1 << 20;

/// The next thing in a segment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// A batch begins.
    Mark {
        /// Where.
        at: Position,
        /// The mark.
        mark: Mark,
    },
    /// An entry.
    Entry {
        /// Its index, not yet compared with its predecessor's.
        index: Index,
        /// Its term.
        term: Term,
        /// Its payload.
        payload: Bytes,
    },
    /// Read this many bytes at [`Walker::read_at`] and hand them to [`Walker::supply`].
    More(u32),
    /// The end of what belongs to the log, at the end of a batch.
    End,
    /// The chain ends here.
    Bad {
        /// Where the record would begin.
        offset: u64,
        /// Why it is not believed.
        flaw: Flaw,
    },
}

/// Follows the chain through one segment.
#[derive(Clone, Debug)]
pub(super) struct Walker {
    segment: u64,
    seed: u32,
    /// The end of what belongs to the log: a link's offset, or the file's size.
    end: u64,
    /// Offset of the next record.
    offset: u64,
    /// Bytes from there on.
    buffer: Bytes,
    /// Checksum of the last record.
    crc: u32,
    /// End of the batch in which `offset` lies; equal to it at the end of one.
    batch_end: u64,
}

impl Walker {
    /// At a segment's first batch; `crc` is the checksum in its link.
    pub(super) fn new(identity: &Identity, segment: u64, end: u64, crc: u32) -> Self {
        let seed = identity.seed(segment);
        let (offset, buffer) = (HEADER_BYTES, Bytes::new());
        Self { segment, seed, end, offset, buffer, crc, batch_end: HEADER_BYTES }
    }

    /// At a batch at this sector boundary, with all bytes of the file in hand; `crc` is the checksum that its mark
    /// continues.
    pub(super) fn at(
        identity: &Identity,
        segment: u64,
        end: u64,
        offset: u64,
        crc: u32,
        file: &Bytes,
    ) -> Self {
        let end = end.min(file.len() as u64);
        let buffer = file.slice((offset as usize).min(file.len())..);
        Self { offset, buffer, batch_end: offset, ..Self::new(identity, segment, end, crc) }
    }

    /// The end of the last believed record.
    pub(super) fn good_end(&self) -> u64 {
        self.offset
    }

    /// The end of the last batch whose mark is believed, whether or not all of it is.
    pub(super) fn batch_end(&self) -> u64 {
        self.batch_end
    }

    /// Checksum of the last believed record.
    pub(super) fn crc(&self) -> u32 {
        self.crc
    }

    /// Where the next read begins.
    pub(super) fn read_at(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Hands in what was read. Fewer bytes than asked for mean the end of the file.
    pub(super) fn supply(&mut self, data: Bytes, asked: u32) {
        if data.len() < asked as usize {
            self.end = self.end.min(self.read_at() + data.len() as u64);
        }
        if self.buffer.is_empty() {
            self.buffer = data;
        } else {
            self.buffer = [&self.buffer[..], &data[..]].concat().into();
        }
    }

    /// What comes next. After `Bad` and `End` there is nothing.
    pub(super) fn next(&mut self) -> Found {
        match self.step() {
            Ok(found) => found,
            Err(flaw) => Found::Bad { offset: self.offset, flaw },
        }
    }

    fn step(&mut self) -> Result<Found, Flaw> {
        if self.offset == self.batch_end {
            let start = align(self.offset);
            if start >= self.end {
                return Ok(Found::End);
            }
            if let Some(more) = self.require(start + MARK_BYTES as u64)? {
                return Ok(more);
            }
            return self.mark(start);
        }
        if let Some(more) = self.require(self.offset + RECORD_HEADER as u64)? {
            return Ok(more);
        }
        let start = self.buffer.first_chunk::<4>().ok_or(Flaw::FileEnds)?;
        let len = claimed_len(start, self.batch_end - self.offset)?;
        if let Some(more) = self.require(self.offset + len as u64)? {
            return Ok(more);
        }
        self.entry(len)
    }

    /// A mark at the sector boundary `start`, which is fully in the buffer.
    fn mark(&mut self, start: u64) -> Result<Found, Flaw> {
        let skip = (start - self.offset) as usize;
        let record = verify(self.seed, start, &self.buffer[skip..skip + MARK_BYTES])?;
        let Body::Mark(mark) = record.body else { return Err(Flaw::Misplaced) };
        if record.prev_crc != self.crc {
            return Err(Flaw::Chain { expected: self.crc, found: record.prev_crc });
        }
        let batch_end = start + u64::from(mark.batch);
        if (mark.batch as usize) < MARK_BYTES || batch_end > self.end {
            return Err(Flaw::Length(mark.batch));
        }
        let found = Found::Mark { at: Position { segment: self.segment, offset: start }, mark };
        self.crc = record.crc;
        self.batch_end = batch_end;
        self.offset = start + MARK_BYTES as u64;
        self.buffer = self.buffer.slice(skip + MARK_BYTES..);
        Ok(found)
    }

    /// An entry of `len` bytes at the current offset, fully in the buffer.
    fn entry(&mut self, len: usize) -> Result<Found, Flaw> {
        let record = verify(self.seed, self.offset, &self.buffer[..len])?;
        let Body::Entry { index, term, payload } = record.body else { return Err(Flaw::Misplaced) };
        if record.prev_crc != self.crc {
            return Err(Flaw::Chain { expected: self.crc, found: record.prev_crc });
        }
        let payload = self.buffer.slice_ref(payload);
        self.crc = record.crc;
        self.offset += len as u64;
        self.buffer = self.buffer.slice(len..);
        Ok(Found::Entry { index, term, payload })
    }

    /// Asks for more if the buffer ends before `to`.
    fn require(&self, to: u64) -> Result<Option<Found>, Flaw> {
        if to > self.end {
            return Err(Flaw::FileEnds);
        }
        if to <= self.read_at() {
            return Ok(None);
        }
        let bytes = (to - self.read_at()).max(READ_BYTES).min(self.end - self.read_at());
        Ok(Some(Found::More(u32::try_from(bytes).map_err(|_| Flaw::FileEnds)?)))
    }
}

/// A claim that everything before a place was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The place.
    pub(super) synced: Link,
    /// Where the mark stands that claims it.
    pub(super) at: Position,
}

/// Searches every sector in `from..to` of one segment.
#[derive(Clone, Debug)]
pub(super) struct Search {
    segment: u64,
    seed: u32,
    offset: u64,
    end: u64,
    claim: Option<Claim>,
}

impl Search {
    /// `from` is a sector boundary.
    pub(super) fn new(identity: &Identity, segment: u64, from: u64, to: u64) -> Self {
        let seed = identity.seed(segment);
        Self { segment, seed, offset: from, end: to, claim: None }
    }

    /// Which segment.
    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// The next read: offset and length. `None` at the end.
    pub(super) fn next_read(&self) -> Option<(u64, u32)> {
        let bytes = self.end.saturating_sub(self.offset).min(READ_BYTES);
        (bytes > 0).then_some((self.offset, bytes as u32))
    }

    /// Hands in what was read there. Nothing means the end of the file.
    pub(super) fn supply(&mut self, data: &[u8]) {
        for (sector, at) in data.chunks(SECTOR as usize).zip((self.offset..).step_by(SECTOR as usize)) {
            let Ok(record) = verify(self.seed, at, sector) else { continue };
            let Body::Mark(mark) = record.body else { continue };
            let at = Position { segment: self.segment, offset: at };
            let claim = Claim { synced: mark.synced, at };
            if self.claim.is_none_or(|newest| newest.synced.position <= claim.synced.position) {
                self.claim = Some(claim);
            }
        }
        self.offset = if data.is_empty() { self.end } else { self.offset + data.len() as u64 };
    }

    /// The newest place that a valid mark claims to be synced.
    pub(super) fn found(&self) -> Option<Claim> {
        self.claim
    }
}
