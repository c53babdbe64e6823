//! The log's bytes: segment headers and records, and how a single one is verified. `docs/formats.md` shows
//! them byte by byte.
//!
//! A record is believed only where it was written: its checksum covers the cluster, the node, the
//! incarnation, the segment and the offset, beside its length and its predecessor's checksum. A misdirected,
//! recycled or foreign record therefore fails alone, without its neighbours. Nothing here reads or writes a
//! file, and nothing here decides what a bad record means.

use std::fmt;

use crc32fast::Hasher;

use crate::types::{BootNumber, ClusterId, EntryId, Incarnation, Index, NodeId, Term};

/// The unit of what a disk writes, in bytes. Every batch begins at a sector, so that a torn write can
/// never hurt a sector that holds acknowledged bytes.
pub const SECTOR: u64 = 512;

/// Where a segment's first batch begins, in bytes.
pub const HEADER_BYTES: u64 = SECTOR;

/// Length of a record's header, in bytes.
pub const RECORD_HEADER: usize = 17;

/// Length of a mark record, in bytes.
pub const MARK_BYTES: usize = RECORD_HEADER + 52;

/// Length of an entry record without its payload, in bytes.
pub const ENTRY_BYTES: usize = RECORD_HEADER + 16;

/// Longest payload of one entry, in bytes: far beyond what a frame can carry, and small enough to hold.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// The version of the format that this build reads and writes.
pub const FORMAT_VERSION: u16 = 2;

const MAGIC: &[u8; 8] = b"SFWALSEG";
const KIND_ENTRY: u8 = 1;
const KIND_MARK: u8 = 2;
const GROUP: u32 = 0;

/// Rounds up to the next sector boundary.
#[must_use]
pub const fn align(bytes: u64) -> u64 {
    bytes.saturating_add(SECTOR - 1) / SECTOR * SECTOR
}

/// Whose log this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The node's data directory.
    pub incarnation: Incarnation,
}

impl Identity {
    /// The checksum that every record of one segment starts from.
    pub(super) fn seed(&self, segment: u64) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&self.cluster.0.to_le_bytes());
        hasher.update(&self.node.0.to_le_bytes());
        hasher.update(&self.incarnation.0.to_le_bytes());
        hasher.update(&segment.to_le_bytes());
        hasher.finalize()
    }
}

/// A place in the log, ordered as the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment; 0 is before the log.
    pub segment: u64,
    /// The offset in it, in bytes.
    pub offset: u64,
}

/// A place at which the log goes on. In a segment's header: everything before this place is part of the log,
/// whatever lies behind it in that older segment is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The end of the log before, at a sector boundary; segment 0 if the log begins here.
    pub position: Position,
    /// The checksum of the last record before it; 0 if there is none.
    pub crc: u32,
    /// The index that follows the last entry before it.
    pub next: Index,
    /// The term of the last entry before it; 0 if there is none.
    pub term: Term,
}

impl Link {
    /// Where a log begins that is to follow an entry which a snapshot covers.
    #[must_use]
    pub fn after(covered: EntryId) -> Self {
        Self { next: covered.index.next(), term: covered.term, ..Self::default() }
    }

    /// The last entry before this place.
    #[must_use]
    pub fn last(&self) -> EntryId {
        EntryId { index: self.next.prev(), term: self.term }
    }
}

/// A segment's first sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose.
    pub identity: Identity,
    /// Whether the file was another segment before, so that older records may stand behind this one's.
    pub again: bool,
    /// The segment's own number.
    pub segment: u64,
    /// How long the file is, zero-filled before use, in bytes. A shorter file has been damaged.
    pub bytes: u64,
    /// The boot that began the segment.
    pub boot: BootNumber,
    /// That boot's nonce.
    pub nonce: u64,
    /// What it continues.
    pub link: Link,
}

/// Why a sector is no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFlaw {
    /// The file ends before the header does.
    Short,
    /// The sector is all zeros: prepared, and never used.
    Zero,
    /// The bytes are no header, or their checksum is wrong.
    Bad,
    /// A whole header of this segment, which is not the file's own: an earlier owner of the disk block left it, or a
    /// write went astray.
    Elsewhere(u64),
    /// A whole header of a format that this build does not know.
    Version(u16),
    /// A whole header with another sector size.
    Sector(u16),
}

impl SegmentHeader {
    /// The sector's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR as usize] {
        let mut sector = [0; SECTOR as usize];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            sector[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(MAGIC);
        put(&FORMAT_VERSION.to_le_bytes());
        put(&(SECTOR as u16).to_le_bytes());
        put(&[0; 4]);
        put(&self.identity.cluster.0.to_le_bytes());
        put(&self.identity.node.0.to_le_bytes());
        put(&[u8::from(self.again), 0, 0, 0, 0, 0]);
        put(&self.identity.incarnation.0.to_le_bytes());
        put(&self.segment.to_le_bytes());
        put(&self.bytes.to_le_bytes());
        put(&self.boot.0.to_le_bytes());
        put(&self.nonce.to_le_bytes());
        put(&self.link.position.segment.to_le_bytes());
        put(&self.link.position.offset.to_le_bytes());
        put(&self.link.crc.to_le_bytes());
        put(&[0; 4]);
        put(&self.link.next.0.to_le_bytes());
        put(&self.link.term.0.to_le_bytes());
        let crc = header_crc(&sector);
        sector[12..16].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    /// Reads a header back. The file's name and owner are not compared here.
    pub fn decode(sector: &[u8]) -> Result<Self, HeaderFlaw> {
        let Some(sector) = sector.first_chunk::<{ SECTOR as usize }>() else {
            return Err(HeaderFlaw::Short);
        };
        if sector.iter().all(|byte| *byte == 0) {
            return Err(HeaderFlaw::Zero);
        }
        if &sector[..8] != MAGIC || u32_at(sector, 12) != header_crc(sector) {
            return Err(HeaderFlaw::Bad);
        }
        let (version, sector_bytes) = (u16_at(sector, 8), u16_at(sector, 10));
        if version != FORMAT_VERSION {
            return Err(HeaderFlaw::Version(version));
        }
        if u64::from(sector_bytes) != SECTOR {
            return Err(HeaderFlaw::Sector(sector_bytes));
        }
        Ok(Self {
            identity: Identity {
                cluster: ClusterId(u128::from(u64_at(sector, 16)) | u128::from(u64_at(sector, 24)) << 64),
                node: NodeId(u16_at(sector, 32)),
                incarnation: Incarnation(u64_at(sector, 40)),
            },
            again: sector[34] == 1,
            segment: u64_at(sector, 48),
            bytes: u64_at(sector, 56),
            boot: BootNumber(u64_at(sector, 64)),
            nonce: u64_at(sector, 72),
            link: Link {
                position: Position { segment: u64_at(sector, 80), offset: u64_at(sector, 88) },
                crc: u32_at(sector, 96),
                next: Index(u64_at(sector, 104)),
                term: Term(u64_at(sector, 112)),
            },
        })
    }
}

/// The checksum of a header sector, with its own field read as zero.
fn header_crc(sector: &[u8; SECTOR as usize]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&sector[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&sector[16..]);
    hasher.finalize()
}

/// The first record of every batch: how far the log was durable when the batch was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything before this place was synced. Its checksum is the one of the record before the mark.
    pub synced: Link,
    /// The boot that wrote the batch.
    pub boot: BootNumber,
    /// That boot's nonce.
    pub nonce: u64,
    /// Length of the batch, this mark included and the padding not, in bytes.
    pub batch: u32,
}

/// A verified record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// One log entry.
    Entry {
        /// Its index. One that is not the next, but lower, supersedes everything from there on.
        index: Index,
        /// Its term.
        term: Term,
        /// Its encoded effects.
        payload: &'a [u8],
    },
    /// A mark.
    Mark(Mark),
}

/// A record that verifies alone; whether it continues the chain is for the reader to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its whole length, in bytes.
    pub len: usize,
    /// Its checksum.
    pub crc: u32,
    /// The checksum of the record before it.
    pub prev_crc: u32,
    /// Its content.
    pub body: Body<'a>,
}

/// Why a record is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Zeros, where a record would begin.
    Nothing,
    /// A length that no record has, or that leaves its batch or its segment.
    Length(u32),
    /// The checksum is wrong: the bytes, their place or their owner.
    Checksum,
    /// A whole record, but not the successor of the one before.
    Chain {
        /// The checksum of the record before.
        expected: u32,
        /// What the record says that it was.
        found: u32,
    },
    /// A whole record of another kind than belongs here.
    Misplaced,
    /// A whole record of a kind that this build does not know.
    Kind(u8),
    /// A whole record of a group that this build does not know.
    Group(u32),
    /// A whole mark that claims what its own place contradicts.
    Claim(Position),
    /// A whole entry whose index lies beyond the next one.
    Gap {
        /// The highest that was possible.
        expected: Index,
        /// What the entry says.
        found: Index,
    },
    /// The file ends.
    FileEnds,
}

impl Flaw {
    /// Whether a crash may have left this. The others are whole, verified records, and no crash makes one.
    #[must_use]
    pub fn can_be_torn(self) -> bool {
        match self {
            Self::Nothing | Self::Length(_) | Self::Checksum | Self::Chain { .. } | Self::FileEnds => true,
            Self::Misplaced | Self::Kind(_) | Self::Group(_) | Self::Claim(_) | Self::Gap { .. } => false,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("there are zeros where a record must be"),
            Self::Length(len) => write!(f, "a record claims an impossible length of {len} bytes"),
            Self::Checksum => f.write_str("a record's checksum is wrong"),
            Self::Chain { expected, found } => {
                write!(
                    f,
                    "a record follows one with checksum {found:08x}, but the one before has {expected:08x}"
                )
            }
            Self::Misplaced => f.write_str("a record stands where one of another kind must be"),
            Self::Kind(kind) => write!(f, "a record is of kind {kind}, which this build does not know"),
            Self::Group(group) => {
                write!(f, "a record belongs to group {group}, which this build does not know")
            }
            Self::Claim(claim) => write!(
                f,
                "a mark claims that the log is synced up to segment {} offset {}, which its place contradicts",
                claim.segment, claim.offset
            ),
            Self::Gap { expected, found } => {
                write!(f, "an entry has index {found}, but at most {expected} was possible")
            }
            Self::FileEnds => f.write_str("the file ends where a record must be"),
        }
    }
}

/// Length of the record that begins here, as it says itself: not verified, only bounded by `limit`.
///
/// # Errors
/// [`Flaw::Nothing`] for zeros, [`Flaw::Length`] for a length that is impossible.
pub(super) fn claimed_len(start: &[u8; 4], limit: u64) -> Result<usize, Flaw> {
    let len = u32::from_le_bytes(*start);
    if len == 0 {
        Err(Flaw::Nothing)
    } else if (len as usize) < RECORD_HEADER || u64::from(len) > limit {
        Err(Flaw::Length(len))
    } else {
        Ok(len as usize)
    }
}

/// Verifies one record alone. `bytes` begins at `offset` of the segment with this seed and may go on
/// behind the record.
pub(super) fn verify(seed: u32, offset: u64, bytes: &[u8]) -> Result<Record<'_>, Flaw> {
    let start = bytes.first_chunk::<4>().ok_or(Flaw::FileEnds)?;
    let len = claimed_len(start, bytes.len() as u64)?;
    let record = &bytes[..len];
    let crc = u32_at(record, 4);
    if crc != record_crc(seed, offset, record) {
        return Err(Flaw::Checksum);
    }
    let (kind, group, content) = (record[12], u32_at(record, 13), &record[RECORD_HEADER..]);
    if group != GROUP {
        return Err(Flaw::Group(group));
    }
    let body = match kind {
        KIND_ENTRY if content.len() >= 16 => Body::Entry {
            index: Index(u64_at(content, 0)),
            term: Term(u64_at(content, 8)),
            payload: &content[16..],
        },
        KIND_MARK if record.len() == MARK_BYTES => Body::Mark(Mark {
            synced: Link {
                position: Position { segment: u64_at(content, 0), offset: u64_at(content, 8) },
                crc: u32_at(record, 8),
                next: Index(u64_at(content, 16)),
                term: Term(u64_at(content, 24)),
            },
            boot: BootNumber(u64_at(content, 32)),
            nonce: u64_at(content, 40),
            batch: u32_at(content, 48),
        }),
        KIND_ENTRY | KIND_MARK => return Err(Flaw::Misplaced),
        _ => return Err(Flaw::Kind(kind)),
    };
    Ok(Record { len, crc, prev_crc: u32_at(record, 8), body })
}

/// The checksum of a whole record at its place; the checksum's own field is left out.
fn record_crc(seed: u32, offset: u64, record: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&offset.to_le_bytes());
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    hasher.finalize()
}

/// Builds what one `WriteAt` writes: optionally a segment header, then one batch, padded to whole sectors.
/// Copies each payload once.
pub(super) struct BatchBuilder {
    bytes: Vec<u8>,
    /// File offset of the first byte.
    base: u64,
    seed: u32,
    /// Checksum of the last record.
    crc: u32,
}

impl BatchBuilder {
    /// An empty batch at a sector boundary, after a record with checksum `prev_crc`; `capacity` is the
    /// batch's length in bytes.
    pub(super) fn new(identity: &Identity, position: Position, prev_crc: u32, capacity: usize) -> Self {
        assert!(position.offset.is_multiple_of(SECTOR), "a batch begins at a sector boundary");
        Self {
            bytes: Vec::with_capacity(align(capacity as u64) as usize),
            base: position.offset,
            seed: identity.seed(position.segment),
            crc: prev_crc,
        }
    }

    /// The same, behind a fresh segment's header in the same write.
    pub(super) fn with_header(header: &SegmentHeader, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity((HEADER_BYTES + align(capacity as u64)) as usize);
        bytes.extend_from_slice(&header.encode());
        Self { bytes, base: 0, seed: header.identity.seed(header.segment), crc: header.link.crc }
    }

    /// Adds the batch's mark, which must come first.
    pub(super) fn mark(&mut self, mark: &Mark) {
        assert_eq!(mark.synced.crc, self.crc, "a mark speaks of the record before it");
        let mut body = [0; MARK_BYTES - RECORD_HEADER];
        let Link { position, crc: _, next, term } = mark.synced;
        let numbers = [position.segment, position.offset, next.0, term.0, mark.boot.0, mark.nonce];
        for (number, at) in numbers.iter().zip((0..).step_by(8)) {
            body[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        body[48..].copy_from_slice(&mark.batch.to_le_bytes());
        self.record(KIND_MARK, &body, &[]);
    }

    /// Adds an entry.
    pub(super) fn entry(&mut self, index: Index, term: Term, payload: &[u8]) {
        let mut fixed = [0; 16];
        fixed[..8].copy_from_slice(&index.0.to_le_bytes());
        fixed[8..].copy_from_slice(&term.0.to_le_bytes());
        self.record(KIND_ENTRY, &fixed, payload);
    }

    fn record(&mut self, kind: u8, fixed: &[u8], payload: &[u8]) {
        let start = self.bytes.len();
        let len = RECORD_HEADER + fixed.len() + payload.len();
        self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&self.crc.to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&GROUP.to_le_bytes());
        self.bytes.extend_from_slice(fixed);
        self.bytes.extend_from_slice(payload);
        self.crc = record_crc(self.seed, self.base + start as u64, &self.bytes[start..]);
        self.bytes[start + 4..start + 8].copy_from_slice(&self.crc.to_le_bytes());
    }

    /// The padded bytes, where to write them, and the checksum of the last record.
    pub(super) fn finish(mut self) -> (bytes::Bytes, u64, u32) {
        let padded = align(self.bytes.len() as u64) as usize;
        self.bytes.resize(padded, 0);
        (self.bytes.into(), self.base, self.crc)
    }
}

/// Reads a little-endian number; the caller has checked the length.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Reads a little-endian number; the caller has checked the length.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// Reads a little-endian number; the caller has checked the length.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
