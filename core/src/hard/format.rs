//! The hard state's bytes. `docs/formats.md` shows them. Decoding trusts nothing: every length is compared
//! with what is there before it is used.

use crc32fast::Hasher;

use super::{HardState, MAX_NAME, MAX_PEERS, PeerBoot, Phase};
use crate::io::{DiskError, FileName};
use crate::state::effect::Founding;
use crate::types::{BootNumber, ClusterId, Incarnation, NodeId, Term};

/// Length of a slot, in bytes: whole sectors, and more than the largest record.
pub(crate) const SLOT_BYTES: u64 = 4096;

/// Slots in each of the two files.
pub(crate) const SLOTS_PER_FILE: u64 = 4;

/// Slots altogether.
pub(crate) const SLOTS: u64 = 2 * SLOTS_PER_FILE;

/// Length of each file, in bytes.
pub(crate) const FILE_BYTES: u64 = SLOTS_PER_FILE * SLOT_BYTES;

const SECTOR: usize = 512;
const MAGIC: &[u8; 8] = b"SFHARDST";
const FORMAT_VERSION: u16 = 1;
const HEADER: usize = 32;
const MAX_MEMBERS: usize = 64;

/// The slot of a generation: slots are used in turn, and the files alternate.
pub(crate) fn slot_of(generation: u64) -> u64 {
    generation % SLOTS
}

/// Where a slot lies.
pub(crate) fn place_of(slot: u64) -> (FileName, u64) {
    (FileName::Hard((slot % 2) as u8), slot / 2 * SLOT_BYTES)
}

/// The slot that lies there; the inverse of [`place_of`].
pub(crate) fn slot_at(copy: u8, offset: u64) -> u64 {
    offset / SLOT_BYTES * 2 + u64::from(copy)
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// All zeros: never written.
    Empty,
    /// Not zeros, and not the beginning of a record either.
    Noise,
    /// A record that is not whole, and the generation that it names: 0 if it ends before that.
    Broken(u64),
    /// The disk did not give it.
    Unreadable(DiskError),
    /// A whole record of a format that this build does not know.
    Unknown(u16),
    /// A whole record.
    Valid(u64, HardState),
}

/// The record of a generation, in whole sectors.
pub(crate) fn encode(generation: u64, state: &HardState) -> Vec<u8> {
    assert!(state.cluster_name.len() <= MAX_NAME, "a cluster name was bounded by the configuration");
    assert!(state.peers.len() <= MAX_PEERS, "a node remembers only its configured peers");
    let mut out = Vec::with_capacity(2 * SECTOR);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&(slot_of(generation) as u16).to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&generation.to_le_bytes());
    encode_state(state, &mut out);
    let len = out.len();
    out[16..20].copy_from_slice(&(len as u32).to_le_bytes());
    let crc = checksum(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out.resize(len.next_multiple_of(SECTOR), 0);
    assert!(out.len() as u64 <= SLOT_BYTES, "names and peers are bounded, so a record fits its slot");
    out
}

fn encode_state(state: &HardState, out: &mut Vec<u8>) {
    out.extend_from_slice(&state.node.0.to_le_bytes());
    out.extend_from_slice(&state.incarnation.0.to_le_bytes());
    encode_text(&state.cluster_name, out);
    for number in [state.boot.0, state.boot_nonce, state.hash_seed.0, state.hash_seed.1, state.log_segment] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let (phase, founding) = match &state.phase {
        Phase::Fresh => (0, None),
        Phase::Prepared(founding) => (1, Some(founding)),
        Phase::Founded(founding) => (2, Some(founding)),
    };
    out.push(phase);
    if let Some(founding) = founding {
        assert!(
            founding.name.len() <= MAX_NAME && founding.members.len() <= MAX_MEMBERS,
            "a founding is bounded"
        );
        out.extend_from_slice(&founding.cluster.0.to_le_bytes());
        encode_text(&founding.name, out);
        out.extend_from_slice(&(founding.members.len() as u16).to_le_bytes());
        for (node, incarnation) in &founding.members {
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(&incarnation.0.to_le_bytes());
        }
    }
    out.extend_from_slice(&state.term.0.to_le_bytes());
    out.push(u8::from(state.vote.is_some()));
    out.extend_from_slice(&state.vote.unwrap_or_default().0.to_le_bytes());
    out.push(u8::from(state.in_doubt));
    out.extend_from_slice(&(state.peers.len() as u16).to_le_bytes());
    for peer in &state.peers {
        out.extend_from_slice(&peer.node.0.to_le_bytes());
        for number in [peer.incarnation.0, peer.boot.0, peer.nonce] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The checksum of a record, padding excluded, with its own field read as zero. The slot's number is in it.
fn checksum(record: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&record[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&record[16..]);
    hasher.finalize()
}

/// Reads a slot back. `bytes` is the whole slot, or what the file has of it.
pub(crate) fn decode(slot: u64, bytes: &[u8]) -> Slot {
    if bytes.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    if bytes.first_chunk() != Some(MAGIC) {
        return Slot::Noise;
    }
    match read_record(slot, bytes) {
        Some(Err(version)) => Slot::Unknown(version),
        Some(Ok((generation, state))) => Slot::Valid(generation, state),
        None => Slot::Broken(
            bytes
                .get(24..HEADER)
                .map_or(0, |field| u64::from_le_bytes(field.try_into().expect("the range has eight bytes"))),
        ),
    }
}

fn read_record(slot: u64, bytes: &[u8]) -> Option<Result<(u64, HardState), u16>> {
    let mut header = Reader { left: bytes.get(8..HEADER)? };
    let (version, place) = (header.u16()?, header.u16()?);
    let (crc, len, _, generation) = (header.u32()?, header.u32()?, header.u32()?, header.u64()?);
    let record = bytes.get(..len as usize).filter(|record| record.len() > HEADER)?;
    if crc != checksum(record) || u64::from(place) != slot {
        return None;
    }
    if version != FORMAT_VERSION {
        return Some(Err(version));
    }
    let mut body = Reader { left: &record[HEADER..] };
    let state = body.state()?;
    (slot_of(generation) == slot && body.left.is_empty()).then_some(Ok((generation, state)))
}

/// Takes fields off the front; `None` when they are not there.
struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, left) = self.left.split_first_chunk()?;
        self.left = left;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::from(self.u16()?);
        let (text, left) = self.left.split_at_checked(len).filter(|_| len <= MAX_NAME)?;
        self.left = left;
        String::from_utf8(text.to_vec()).ok()
    }

    fn state(&mut self) -> Option<HardState> {
        Some(HardState {
            node: NodeId(self.u16()?),
            incarnation: Incarnation(self.u64()?),
            cluster_name: self.text()?,
            boot: BootNumber(self.u64()?),
            boot_nonce: self.u64()?,
            hash_seed: (self.u64()?, self.u64()?),
            log_segment: self.u64()?,
            phase: match self.u8()? {
                0 => Phase::Fresh,
                1 => Phase::Prepared(self.founding()?),
                2 => Phase::Founded(self.founding()?),
                _ => return None,
            },
            term: Term(self.u64()?),
            vote: match (self.u8()?, NodeId(self.u16()?)) {
                (0, NodeId(0)) => None,
                (1, node) => Some(node),
                _ => return None,
            },
            in_doubt: match self.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            peers: self.many(MAX_PEERS, Self::peer)?,
        })
    }

    fn founding(&mut self) -> Option<Founding> {
        Some(Founding {
            cluster: ClusterId(u128::from_le_bytes(self.take()?)),
            name: self.text()?,
            members: self
                .many(MAX_MEMBERS, |reader| Some((NodeId(reader.u16()?), Incarnation(reader.u64()?))))?,
        })
    }

    fn peer(&mut self) -> Option<PeerBoot> {
        Some(PeerBoot {
            node: NodeId(self.u16()?),
            incarnation: Incarnation(self.u64()?),
            boot: BootNumber(self.u64()?),
            nonce: self.u64()?,
        })
    }

    fn many<T>(&mut self, max: usize, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::from(self.u16()?);
        if count > max {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }
}
