//! What one segment holds by itself: every batch and record, also behind a place that is damaged. It looks at a whole
//! file in memory, asks no other file, and decides nothing: whether the log may be used is for `recovery.rs` to say.
//!
//! Behind a bad record the scan goes on at the next batch whose mark is valid. Such a mark proves that what lies before
//! it was durable, so the bad record is damage. Where the log is known to go on in a newer segment, everything
//! before was durable anyway. Otherwise the rest is what a crash has left of a write.

use bytes::Bytes;

use super::format::{
    Body, Flaw, HEADER_BYTES, HeaderFlaw, Identity, Position, SECTOR, SegmentHeader, align, verify,
};
use super::walk::{Found, Walker};
use crate::state::effect::Entry;
use crate::types::{EntryId, Index};

/// What a scan has found.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// The segment's own header.
    pub(crate) header: Result<SegmentHeader, HeaderFlaw>,
    /// How many batches there are.
    pub(crate) batches: u64,
    /// How many records of entries.
    pub(crate) entries: u64,
    /// The lowest and the highest of them.
    pub(crate) span: Option<(EntryId, EntryId)>,
    /// The end of the last whole batch, in bytes.
    pub(crate) used: u64,
    /// Offsets at which something durable is damaged, and how.
    pub(crate) flaws: Vec<(u64, Flaw)>,
    /// Whole entries whose content can't be read: where, which, and why.
    pub(crate) unreadable: Vec<(u64, Index, String)>,
    /// Offsets of padding that is not zeros. No record suffers, but the disk does not keep what was written.
    pub(crate) stray: Vec<u64>,
    /// Where the chain ends in a record that is not whole, if nothing proves that one to be damaged.
    pub(crate) torn: Option<u64>,
}

/// Looks at a whole file. `end` is where a newer segment continues the log, if one does.
pub(crate) fn scan(identity: &Identity, segment: u64, file: &Bytes, end: Option<u64>) -> Scan {
    let header = own_header(identity, segment, file);
    let mut scan = Scan {
        header,
        batches: 0,
        entries: 0,
        span: None,
        used: HEADER_BYTES.min(file.len() as u64),
        flaws: Vec::new(),
        unreadable: Vec::new(),
        stray: Vec::new(),
        torn: None,
    };
    // Without a header, the first record says itself what it continues.
    let crc = header.map_or_else(|_| claimed_crc(identity, segment, file), |header| header.link.crc);
    let limit = end.unwrap_or(file.len() as u64);
    let mut walker = Walker::at(identity, segment, limit, HEADER_BYTES, crc, file);
    while let Some((offset, flaw)) = scan.follow(&mut walker, file) {
        // A mark that continues another record than the one before is where the log goes on; any other flaw lies behind.
        let behind = if matches!(flaw, Flaw::Chain { .. }) { offset } else { offset + 1 };
        let from = align(behind.max(walker.batch_end()));
        match resume(identity, segment, file, (offset, from, limit)) {
            Some((at, crc)) => {
                scan.flaws.push((offset, flaw));
                walker = Walker::at(identity, segment, limit, at, crc, file);
            }
            None => {
                if end.is_some() || !flaw.can_be_torn() {
                    scan.flaws.push((offset, flaw));
                } else if flaw != Flaw::Nothing {
                    scan.torn = Some(offset);
                }
                break;
            }
        }
    }
    if end.is_some_and(|end| end > file.len() as u64) && scan.flaws.is_empty() {
        scan.flaws.push((file.len() as u64, Flaw::FileEnds));
    }
    scan
}

impl Scan {
    /// Follows the chain to its end; where it breaks, and how.
    fn follow(&mut self, walker: &mut Walker, file: &[u8]) -> Option<(u64, Flaw)> {
        loop {
            let offset = walker.good_end();
            match walker.next() {
                Found::Mark { at, .. } => {
                    self.batches += 1;
                    self.padding(file, offset, at.offset);
                }
                Found::Entry { index, term, payload } => {
                    let id = EntryId { index, term };
                    self.entries += 1;
                    let (first, last) = self.span.unwrap_or((id, id));
                    let lower =
                        |one: EntryId, other: EntryId| if one.index < other.index { one } else { other };
                    let higher =
                        |one: EntryId, other: EntryId| if one.index > other.index { one } else { other };
                    self.span = Some((lower(id, first), higher(id, last)));
                    if let Err(error) = Entry::decode(&payload) {
                        self.unreadable.push((offset, index, error.to_string()));
                    }
                }
                Found::End => {
                    self.padding(file, offset, align(offset));
                    self.used = align(walker.good_end());
                    return None;
                }
                Found::More(_) => return Some((offset, Flaw::FileEnds)),
                Found::Bad { offset, flaw } => {
                    self.used = align(offset);
                    return Some((offset, flaw));
                }
            }
        }
    }
}

impl Scan {
    /// Behind a batch there are zeros up to the next sector.
    fn padding(&mut self, file: &[u8], from: u64, to: u64) {
        let to = to.min(file.len() as u64);
        let bytes = file.get(from as usize..to as usize).unwrap_or_default();
        self.stray.extend(bytes.iter().position(|byte| *byte != 0).map(|at| from + at as u64));
    }
}

/// The header, if it is this very segment's.
fn own_header(identity: &Identity, segment: u64, file: &[u8]) -> Result<SegmentHeader, HeaderFlaw> {
    let header = SegmentHeader::decode(file)?;
    if header.identity == *identity && header.segment == segment {
        Ok(header)
    } else {
        Err(HeaderFlaw::Elsewhere(header.segment))
    }
}

/// What the first record claims to follow; 0 if it is none.
fn claimed_crc(identity: &Identity, segment: u64, file: &[u8]) -> u32 {
    let first = file.get(HEADER_BYTES as usize..).unwrap_or_default();
    verify(identity.seed(segment), HEADER_BYTES, first).map_or(0, |record| record.prev_crc)
}

/// The next batch behind a bad record at `offset`, from a sector on and up to a limit: where its mark stands, and which
/// checksum it continues. The mark must say that the log was durable beyond the bad record.
fn resume(
    identity: &Identity,
    segment: u64,
    file: &[u8],
    (offset, from, limit): (u64, u64, u64),
) -> Option<(u64, u32)> {
    let seed = identity.seed(segment);
    let limit = limit.min(file.len() as u64);
    let broken = Position { segment, offset: align(offset) };
    (from..limit).step_by(SECTOR as usize).find_map(|at| {
        let record = verify(seed, at, &file[at as usize..]).ok()?;
        match record.body {
            Body::Mark(mark) if mark.synced.position >= broken => Some((at, record.prev_crc)),
            _ => None,
        }
    })
}
