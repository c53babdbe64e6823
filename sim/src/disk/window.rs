//! Where damage can't be told from a crash, and must therefore not strike: the unmarked window of the log, and the last
//! intact copy of the newest hard state. It reads the formats by itself (`docs/formats.md`), shares no code with the
//! core, and never changes a byte.
//!
//! *Log.* Every batch begins with a mark: everything before this place was synced when the batch was written. So does
//! a segment's header, of the place that it continues. Let M be the valid mark or header with the highest such place P.
//! A recovery that finds bad bytes before P still finds M, because nothing strikes from P on, and then knows that they
//! were durable: damage, never a torn write. Whatever is bad from P on looks as if the last write had been torn: rot
//! there is outside the contract. P is the beginning of the newest batch; of the newest batch and
//! its segment's header where one write made both; and the beginning of the old tail until a recovery has made its copy
//! of it the end of the log, with a header and a first mark that say so.
//!
//! *Hard state.* A record that is durable is written once more into the other file, under the next generation. Of the
//! highest generation and all that repeat it, one must stay intact: a record that is alone and bad looks torn, and the
//! one before it holds an older vote. Everything older may be struck, because the newest is found whatever the others
//! hold.
//!
//! A read error looks like no crash, so unreadable sectors are allowed everywhere.
//!
//! The window is taken of the bytes that a process can read at this moment, not of those that were there when the
//! damage struck: a crash can lose the mark that proved a batch before it, and a lost write strikes a sector that only a
//! later mark will prove.

use std::collections::BTreeSet;

use crc32fast::Hasher;
use steadfast_core::io::FileName;

use super::file::SECTOR;

const HEADER_MAGIC: &[u8; 8] = b"SFWALSEG";
const RECORD_MAGIC: &[u8; 8] = b"SFHARDST";
const MARK_BYTES: usize = 69;
const KIND_MARK: u8 = 2;
const SLOT_BYTES: usize = 4096;
const SLOTS_PER_FILE: usize = 4;

/// A place in the log: segment and offset.
type Place = (u64, u64);

/// What damage must leave alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The log's unmarked window begins here; `None` if it is the whole log.
    log: Option<Place>,
    /// The copies of the newest hard state, newest first.
    copies: Vec<Copy>,
}

/// One copy of the newest hard state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its file.
    pub file: FileName,
    /// Its first sector.
    pub from: u64,
    /// The sector after its last.
    pub to: u64,
}

impl Window {
    /// The window of files with these contents.
    pub fn of<'a>(files: impl Iterator<Item = (FileName, &'a [u8])> + Clone) -> Self {
        Self { log: newest_claim(files.clone()), copies: copies(files).0 }
    }

    /// Whether a sector of the log lies in the unmarked window.
    #[must_use]
    pub fn is_unmarked(&self, segment: u64, sector: u64) -> bool {
        self.log.is_none_or(|from| (segment, sector * SECTOR as u64) >= from)
    }

    /// The copies of the newest hard state, newest first.
    #[must_use]
    pub fn copies(&self) -> &[Copy] {
        &self.copies
    }
}

/// A sector of what lies cold, drawn by `draw`, with its file: of the segments that the log has left and that hold
/// entries behind the newest snapshot, as far as the log uses them; and of that snapshot.
pub fn cold<'a>(files: impl Iterator<Item = (FileName, &'a [u8])> + Clone) -> Vec<(FileName, u64)> {
    let covered = files.clone().filter_map(|(name, _)| match name {
        FileName::Snapshot(index) => Some(index),
        _ => None,
    });
    let covered = covered.max().unwrap_or(0);
    // A segment's header says how far the one before was used, and which entry comes first in its own.
    let left = files.clone().filter_map(|(name, bytes)| {
        let FileName::Wal(segment) = name else { return None };
        let (before, used) = header(segment, bytes)?;
        (u64_at(bytes, 104)? > covered + 1).then_some((before, used))
    });
    let left: Vec<(u64, u64)> = left.collect();
    let sectors = files.flat_map(|(name, bytes)| {
        let sectors = bytes.len() / SECTOR;
        let (from, to) = match name {
            FileName::Wal(segment) => match left.iter().find(|(before, _)| *before == segment) {
                Some((_, used)) => (0, *used as usize / SECTOR),
                None => (0, 0),
            },
            FileName::Snapshot(index) if index == covered => (0, sectors),
            _ => (0, 0),
        };
        (from..to.min(sectors)).map(move |sector| (name, sector as u64))
    });
    sectors.collect()
}

/// The checksums of all valid headers of segments: no two are alike, as each names its boot.
pub fn headers<'a>(files: impl Iterator<Item = (FileName, &'a [u8])>) -> BTreeSet<u32> {
    let headers = files.filter_map(|(name, bytes)| match name {
        FileName::Wal(segment) => header(segment, bytes).and_then(|_| u32_at(bytes, 12)),
        _ => None,
    });
    headers.collect()
}

/// The first segment whose first batch does not begin with a mark as the format has it.
pub fn unlike_format<'a>(files: impl Iterator<Item = (FileName, &'a [u8])> + Clone) -> Option<FileName> {
    files.into_iter().find_map(|(name, bytes)| {
        let FileName::Wal(segment) = name else { return None };
        header(segment, bytes)?;
        let sector = bytes.get(SECTOR..2 * SECTOR)?;
        let is_blank = sector.iter().all(|byte| *byte == 0);
        let marked = mark(seed(&owner(bytes), segment), SECTOR as u64, sector).is_some();
        (!is_blank && !marked).then_some(name)
    })
}

/// The newest record of the hard state, without its generation.
pub fn newest_record<'a>(files: impl Iterator<Item = (FileName, &'a [u8])>) -> Option<Vec<u8>> {
    copies(files).1
}

/// The highest place that a valid mark or header says was synced.
fn newest_claim<'a>(files: impl Iterator<Item = (FileName, &'a [u8])> + Clone) -> Option<Place> {
    let segments = files.filter_map(|(name, bytes)| match name {
        FileName::Wal(segment) => Some((segment, bytes)),
        _ => None,
    });
    // A prepared segment has no header yet: all segments of a directory have one owner.
    let owner = segments.clone().find_map(|(segment, bytes)| header(segment, bytes).map(|_| owner(bytes)))?;
    let claims = segments.flat_map(|(segment, bytes)| {
        let seed = seed(&owner, segment);
        let marks = bytes
            .chunks(SECTOR)
            .enumerate()
            .filter_map(move |(at, sector)| mark(seed, (at * SECTOR) as u64, sector));
        header(segment, bytes).into_iter().chain(marks)
    });
    claims.max()
}

/// The place that a valid header says it continues.
fn header(segment: u64, bytes: &[u8]) -> Option<Place> {
    let sector = bytes.get(..SECTOR)?;
    let mut hasher = Hasher::new();
    hasher.update(&sector[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&sector[16..]);
    let valid = &sector[..8] == HEADER_MAGIC && u32_at(sector, 12)? == hasher.finalize();
    (valid && u64_at(sector, 48)? == segment).then_some((u64_at(sector, 80)?, u64_at(sector, 88)?))
}

/// Cluster, node and incarnation of a valid header, as they enter a record's checksum.
fn owner(header: &[u8]) -> Vec<u8> {
    [&header[16..34], &header[40..48]].concat()
}

fn seed(owner: &[u8], segment: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(owner);
    hasher.update(&segment.to_le_bytes());
    hasher.finalize()
}

/// The place that a valid mark at the beginning of a sector says was synced.
fn mark(seed: u32, offset: u64, sector: &[u8]) -> Option<Place> {
    let record = sector.get(..MARK_BYTES)?;
    if u32_at(record, 0)? as usize != MARK_BYTES || record[12] != KIND_MARK {
        return None;
    }
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&offset.to_le_bytes());
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    (u32_at(record, 4)? == hasher.finalize()).then_some((u64_at(record, 17)?, u64_at(record, 25)?))
}

/// The copies of the newest hard state, newest first, and what it holds.
fn copies<'a>(files: impl Iterator<Item = (FileName, &'a [u8])>) -> (Vec<Copy>, Option<Vec<u8>>) {
    let slots = files.flat_map(|(file, bytes)| {
        let FileName::Hard(copy) = file else { return Vec::new() };
        let slots = bytes.chunks(SLOT_BYTES).take(SLOTS_PER_FILE).enumerate();
        slots
            .filter_map(|(n, slot)| {
                let (generation, body) = record((2 * n + usize::from(copy)) as u16, slot)?;
                let from = (n * SLOT_BYTES / SECTOR) as u64;
                let to = from + (32 + body.len()).div_ceil(SECTOR) as u64;
                Some((generation, body.to_vec(), Copy { file, from, to }))
            })
            .collect()
    });
    let mut slots: Vec<(u64, Vec<u8>, Copy)> = slots.collect();
    slots.sort_by_key(|(generation, ..)| std::cmp::Reverse(*generation));
    let Some((newest, body)) = slots.first().map(|(generation, body, _)| (*generation, body.clone())) else {
        return (Vec::new(), None);
    };
    let repeats = slots.into_iter().enumerate();
    let repeats = repeats.take_while(|(n, slot)| slot.0 + *n as u64 == newest && slot.1 == body);
    (repeats.map(|(_, (.., copy))| copy).collect(), Some(body))
}

/// Generation and content of a whole record.
fn record(slot: u16, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = u32_at(bytes, 16)? as usize;
    let record = bytes.get(..len).filter(|record| record.len() > 32)?;
    let mut hasher = Hasher::new();
    hasher.update(&record[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&record[16..]);
    let place = u16::from_le_bytes([record[10], record[11]]);
    let valid = &record[..8] == RECORD_MAGIC && u32_at(record, 12)? == hasher.finalize() && place == slot;
    valid.then_some((u64_at(record, 24)?, &record[32..]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}
