//! A snapshot file's bytes: a header, blocks of one size, and the header once more. `docs/formats.md` shows them.
//!
//! Nothing here reads or writes a file. A block is believed only where it was written: its checksum covers the cluster,
//! the snapshot's entry and the block's number.

use std::fmt;
use std::hash::Hasher as _;

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::types::{ClusterId, EntryId, Index, Term};

/// The unit of what a disk writes, in bytes.
pub const SECTOR: u64 = 512;

/// Length of a block's own header, in bytes.
pub const BLOCK_HEADER: usize = 12;

/// The largest block, in bytes; far below what a peer frame may carry.
pub const MAX_BLOCK: u32 = 4 << 20;

/// The version of the format that this build reads and writes.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"SFSNAPSH";

/// What a block's checksum covers beside the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The cluster.
    pub cluster: ClusterId,
    /// The last entry in the snapshot.
    pub at: EntryId,
    /// Size of a block, its header included, in bytes; whole sectors. The last one may be shorter.
    pub block_bytes: u32,
}

impl Seal {
    /// How much content a full block has, in bytes.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.block_bytes as usize - BLOCK_HEADER
    }
}

/// What there is to know about a whole snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Whose, of which entry, in blocks of which size.
    pub seal: Seal,
    /// How many blocks.
    pub blocks: u32,
    /// Length of the last one's content, in bytes.
    pub last_bytes: u32,
    /// A hash over the checksums of all blocks: equal for equal snapshots.
    pub root: u64,
}

/// Why a sector is no snapshot's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFlaw {
    /// The file ends before the header does.
    Short,
    /// The bytes are no header, or their checksum is wrong.
    Bad,
    /// A whole header of a format that this build does not know.
    Version(u16),
}

/// Why a block is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockFlaw {
    /// The file ends in it.
    Short,
    /// The checksum is wrong: the bytes, their place or their owner.
    Checksum,
}

impl fmt::Display for BlockFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the file ends in a block",
            Self::Checksum => "a block's checksum is wrong",
        })
    }
}

impl Meta {
    /// Where a block begins, in bytes.
    #[must_use]
    pub fn offset(&self, number: u32) -> u64 {
        SECTOR + u64::from(number) * u64::from(self.seal.block_bytes)
    }

    /// A block's length in the file, in bytes: whole sectors.
    #[must_use]
    pub fn block_len(&self, number: u32) -> u32 {
        if number + 1 < self.blocks {
            self.seal.block_bytes
        } else {
            (BLOCK_HEADER as u32 + self.last_bytes).next_multiple_of(SECTOR as u32)
        }
    }

    /// Where the header stands once more.
    #[must_use]
    pub fn trailer(&self) -> u64 {
        let last = self.blocks.saturating_sub(1);
        self.offset(last) + u64::from(self.block_len(last))
    }

    /// The file's length, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.trailer() + SECTOR
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR as usize] {
        let mut sector = [0; SECTOR as usize];
        let Seal { cluster, at, block_bytes } = self.seal;
        sector[..8].copy_from_slice(MAGIC);
        sector[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        sector[16..32].copy_from_slice(&cluster.0.to_le_bytes());
        sector[32..40].copy_from_slice(&at.index.0.to_le_bytes());
        sector[40..48].copy_from_slice(&at.term.0.to_le_bytes());
        sector[48..52].copy_from_slice(&block_bytes.to_le_bytes());
        sector[52..56].copy_from_slice(&self.blocks.to_le_bytes());
        sector[56..60].copy_from_slice(&self.last_bytes.to_le_bytes());
        sector[64..72].copy_from_slice(&self.root.to_le_bytes());
        let crc = header_crc(&sector);
        sector[12..16].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    /// Reads a header back. Whose it is, is for the caller to compare.
    ///
    /// # Errors
    /// [`HeaderFlaw`] if it is none that can be believed.
    pub fn decode(sector: &[u8]) -> Result<Self, HeaderFlaw> {
        let Some(sector) = sector.first_chunk::<{ SECTOR as usize }>() else {
            return Err(HeaderFlaw::Short);
        };
        let u32_at =
            |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if &sector[..8] != MAGIC || u32_at(12) != header_crc(sector) {
            return Err(HeaderFlaw::Bad);
        }
        let version = u16::from_le_bytes([sector[8], sector[9]]);
        if version != FORMAT_VERSION {
            return Err(HeaderFlaw::Version(version));
        }
        let at = EntryId { index: Index(u64_at(32)), term: Term(u64_at(40)) };
        let cluster = ClusterId(u128::from(u64_at(16)) | u128::from(u64_at(24)) << 64);
        let meta = Self {
            seal: Seal { cluster, at, block_bytes: u32_at(48) },
            blocks: u32_at(52),
            last_bytes: u32_at(56),
            root: u64_at(64),
        };
        if meta.is_possible() { Ok(meta) } else { Err(HeaderFlaw::Bad) }
    }

    /// Whether the figures fit together, so that no arithmetic on them can go wrong.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let block = self.seal.block_bytes;
        (SECTOR as u32..=MAX_BLOCK).contains(&block)
            && block.is_multiple_of(SECTOR as u32)
            && self.blocks >= 1
            && (1..=self.seal.content_bytes()).contains(&(self.last_bytes as usize))
            && self.seal.at.index > Index(0)
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

/// The root of these blocks' checksums, in order.
#[must_use]
pub fn root(crcs: &[u32]) -> u64 {
    let mut hasher = SipHasher13::new();
    crcs.iter().for_each(|crc| hasher.write(&crc.to_le_bytes()));
    hasher.finish()
}

fn block_crc(seal: &Seal, number: u32, len: u32, content: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&seal.cluster.0.to_le_bytes());
    hasher.update(&seal.at.index.0.to_le_bytes());
    hasher.update(&seal.at.term.0.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(&len.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// Appends a block in whole sectors, and returns its checksum.
pub fn encode_block(seal: &Seal, number: u32, content: &[u8], out: &mut Vec<u8>) -> u32 {
    assert!(content.len() <= seal.content_bytes(), "a block holds no more than its size");
    let len = content.len() as u32;
    let crc = block_crc(seal, number, len, content);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(SECTOR as usize), 0);
    crc
}

/// Verifies the block with this number; its content and its checksum.
///
/// # Errors
/// [`BlockFlaw`] if it is not believed.
pub fn verify_block<'a>(meta: &Meta, number: u32, bytes: &'a [u8]) -> Result<(&'a [u8], u32), BlockFlaw> {
    let expected =
        if number + 1 < meta.blocks { meta.seal.content_bytes() } else { meta.last_bytes as usize };
    let Some(block) = bytes.get(..BLOCK_HEADER + expected) else { return Err(BlockFlaw::Short) };
    let field = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let content = &block[BLOCK_HEADER..];
    let crc = block_crc(&meta.seal, number, expected as u32, content);
    if (field(0), field(4), field(8)) == (crc, number, expected as u32) {
        Ok((content, crc))
    } else {
        Err(BlockFlaw::Checksum)
    }
}
