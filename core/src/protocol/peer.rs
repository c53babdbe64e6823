//! The envelope of what nodes tell each other. Every frame stands for itself: it names the cluster, both nodes
//! and the sender's boot, so that a frame of another cluster, of a wiped disk or of an older boot is known for
//! what it is, whatever connection it came by. The body is opaque here.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, `SFP1` |
//! | 4 | 1 | version of the envelope, 1 |
//! | 5 | 1 | kind of the body |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 4 | group, 0 |
//! | 12 | 16 | cluster; 0 before the founding |
//! | 28 | 2 | from: the sending node |
//! | 30 | 2 | to: the receiving node |
//! | 32 | 8 | incarnation of the sender |
//! | 40 | 8 | boot number of the sender |
//! | 48 | 8 | nonce of that boot |
//! | 56 | 4 | length of the body in bytes |
//! | 60 | 4 | CRC-32 (IEEE) of the sixty bytes before and of the body |
//! | 64 | | body |
//!
//! All integers are little-endian.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::frame::checksum;
use super::wire::Reader;
use crate::types::{BootNumber, ClusterId, Incarnation, NodeId};

/// The first four bytes of every peer frame.
pub const MAGIC: [u8; 4] = *b"SFP1";
/// The only version of the envelope so far.
pub const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 64;
/// Where the receiving node's number is.
const TO: std::ops::Range<usize> = 30..32;
/// Most bytes that a splitter allocates before they have come.
const FIRST_BYTES: usize = 16 << 10;

/// What the envelope says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// What the body is.
    pub kind: u8,
    /// The Raft group; always 0 today.
    pub group: u32,
    /// The sender's cluster; zero before it was founded.
    pub cluster: ClusterId,
    /// Who sends.
    pub from: NodeId,
    /// Who is meant.
    pub to: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// The sender's boot.
    pub boot: BootNumber,
    /// Drawn for that boot: a known boot number with another nonce is an old image of a disk.
    pub nonce: u64,
}

/// For which node a frame is, before anything in it is believed.
#[must_use]
pub fn addressee(frame: &[u8]) -> Option<NodeId> {
    let bytes = frame.get(TO)?;
    Some(NodeId(u16::from_le_bytes(bytes.try_into().ok()?)))
}

/// Why a frame is not believed. It is dropped; a stream that it came by is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerFrameError {
    /// These are not the first bytes of a peer frame.
    Magic {
        /// Up to four bytes that came.
        found: Vec<u8>,
    },
    /// An envelope of a version that this build does not know.
    Version {
        /// What came.
        found: u8,
    },
    /// The reserved bytes are not zero.
    Reserved {
        /// What came.
        found: u16,
    },
    /// The frame is longer than is accepted.
    TooLong {
        /// Its length in bytes, header included.
        length: u64,
        /// What is accepted.
        maximum: usize,
    },
    /// The frame is not as long as its header says.
    Length {
        /// Bytes that came.
        found: usize,
        /// Bytes of a frame with this header, or of the header.
        wanted: u64,
    },
    /// The bytes were damaged on their way.
    Checksum {
        /// What the header says.
        found: u32,
        /// What the bytes have.
        computed: u32,
    },
}

impl fmt::Display for PeerFrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { found } => write!(
                f,
                "a peer frame begins with SFP1, and this with \"{}\": is that address a node of this cluster?",
                found.escape_ascii()
            ),
            Self::Version { found } => write!(
                f,
                "the peer frame has version {found}, this build knows {VERSION}: upgrade in the documented order"
            ),
            Self::Reserved { found } => {
                write!(f, "the peer frame's reserved bytes are {found:#06x} and must be 0")
            }
            Self::TooLong { length, maximum } => {
                write!(f, "the peer frame has {length} bytes, and at most {maximum} are accepted")
            }
            Self::Length { found, wanted } => {
                write!(f, "the peer frame has {found} bytes and should have {wanted}")
            }
            Self::Checksum { found, computed } => write!(
                f,
                "the peer frame's checksum is {found:#010x} and its bytes have {computed:#010x}: \
                 damaged on the way"
            ),
        }
    }
}

impl std::error::Error for PeerFrameError {}

/// A whole frame.
///
/// # Panics
/// If the body has 4 GiB or more: the sender bounds its batches far below.
#[must_use]
pub fn encode(header: &PeerHeader, body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len()).expect("a peer frame's body is bounded by its sender");
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, header.kind, 0, 0]);
    out.extend_from_slice(&header.group.to_le_bytes());
    out.extend_from_slice(&header.cluster.0.to_le_bytes());
    out.extend_from_slice(&header.from.0.to_le_bytes());
    out.extend_from_slice(&header.to.0.to_le_bytes());
    out.extend_from_slice(&header.incarnation.0.to_le_bytes());
    out.extend_from_slice(&header.boot.0.to_le_bytes());
    out.extend_from_slice(&header.nonce.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    let crc = checksum(&out, body);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
    Bytes::from(out)
}

/// Opens a whole frame. The body shares the frame's memory.
///
/// # Errors
/// [`PeerFrameError`]; nothing in such a frame may be believed.
pub fn decode(frame: &Bytes) -> Result<(PeerHeader, Bytes), PeerFrameError> {
    let wanted = judge(frame, usize::MAX)?.unwrap_or(HEADER_BYTES as u64);
    if frame.len() as u64 != wanted {
        return Err(PeerFrameError::Length { found: frame.len(), wanted });
    }
    let short = |_| PeerFrameError::Length { found: frame.len(), wanted };
    let (head, body) = frame.split_at(HEADER_BYTES);
    let mut reader = Reader::new(&head[5..]);
    let kind = reader.u8("kind").map_err(short)?;
    let reserved = reader.u16("reserved").map_err(short)?;
    if reserved != 0 {
        return Err(PeerFrameError::Reserved { found: reserved });
    }
    let header = PeerHeader {
        kind,
        group: reader.u32("group").map_err(short)?,
        cluster: ClusterId(reader.u128("cluster").map_err(short)?),
        from: NodeId(reader.u16("from").map_err(short)?),
        to: NodeId(reader.u16("to").map_err(short)?),
        incarnation: Incarnation(reader.u64("incarnation").map_err(short)?),
        boot: BootNumber(reader.u64("boot").map_err(short)?),
        nonce: reader.u64("nonce").map_err(short)?,
    };
    reader.u32("length").map_err(short)?;
    let found = reader.u32("checksum").map_err(short)?;
    let computed = checksum(&head[..HEADER_BYTES - 4], body);
    if found != computed {
        return Err(PeerFrameError::Checksum { found, computed });
    }
    Ok((header, frame.slice(HEADER_BYTES..)))
}

/// Cuts a stream into whole peer frames. Judges only what it must to find their ends; [`decode`] judges the rest.
#[derive(Clone, Debug)]
pub struct PeerSplitter {
    /// The frame that is being gathered, and nothing of the next one.
    partial: BytesMut,
    maximum: usize,
    failed: Option<PeerFrameError>,
}

impl PeerSplitter {
    /// For a new stream with frames of at most `maximum` bytes, header included.
    #[must_use]
    pub fn new(maximum: usize) -> Self {
        Self { partial: BytesMut::new(), maximum, failed: None }
    }

    /// Takes bytes, split anywhere, and gives the frames that are now whole. Each has memory of its own.
    ///
    /// # Errors
    /// [`PeerFrameError`], and the same one ever after: close the stream. Whole frames that came with the bad
    /// bytes are lost, as any peer frame may be.
    pub fn push(&mut self, mut data: &[u8]) -> Result<Vec<Bytes>, PeerFrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut whole = Vec::new();
        while !data.is_empty() {
            let wanted = match judge(&self.partial, self.maximum) {
                Ok(length) => length.unwrap_or(HEADER_BYTES as u64),
                Err(error) => return Err(self.fail(error)),
            };
            let missing = usize::try_from(wanted).unwrap_or(usize::MAX) - self.partial.len();
            let (now, later) = data.split_at(missing.min(data.len()));
            if self.partial.capacity() - self.partial.len() < now.len() {
                // Grow with what came, never by the header's word alone.
                self.partial.reserve(missing.min(now.len().max(self.partial.len()).max(FIRST_BYTES)));
            }
            self.partial.extend_from_slice(now);
            data = later;
            match judge(&self.partial, self.maximum) {
                Ok(Some(length)) if length == self.partial.len() as u64 => {
                    whole.push(std::mem::take(&mut self.partial).freeze());
                }
                Ok(_) => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(whole)
    }

    /// Bytes held of a frame that is not whole.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.partial.len()
    }

    fn fail(&mut self, error: PeerFrameError) -> PeerFrameError {
        self.partial = BytesMut::new();
        self.failed = Some(error.clone());
        error
    }
}

/// Judges the beginning of a frame, as far as it is here, and gives the whole frame's length once the header is.
fn judge(bytes: &[u8], maximum: usize) -> Result<Option<u64>, PeerFrameError> {
    let prefix = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(prefix) {
        return Err(PeerFrameError::Magic { found: prefix.to_vec() });
    }
    if let Some(&version) = bytes.get(4)
        && version != VERSION
    {
        return Err(PeerFrameError::Version { found: version });
    }
    let Some((head, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length =
        HEADER_BYTES as u64 + u64::from(u32::from_le_bytes([head[56], head[57], head[58], head[59]]));
    if length > maximum as u64 {
        return Err(PeerFrameError::TooLong { length, maximum });
    }
    Ok(Some(length))
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
