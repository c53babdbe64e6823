//! A committed key as it lies in its slot of the slab: name, value and revision in as few bytes as they need.
//!
//! A record per key as commands see it would take two blobs, and two allocations once they are long. Which of the
//! shapes here holds a key follows from the lengths of name and value alone. None of them copies a value that was in an
//! allocation of its own, but the joint one, whose values are short.

use std::sync::Arc;

use super::KeyRecord;
use super::data::{Data, Kind, Members};
use super::effect::Deadline;
use crate::types::{Blob, INLINE, Index};

/// The longest name in the slot itself. A search by name then waits for one place in memory, not for two.
const NAME: usize = 29;

/// How much name and value together the slot has room for.
const BOTH: usize = 44;

/// Most of name and value that is put into one allocation. Beyond it a second one adds little to what is there, and
/// copying would cost.
const JOINT: usize = 512;

/// A name, what it holds and its revision. A small collection is held as the string of its bytes.
#[derive(Clone)]
pub(super) enum Packed {
    /// Both in the slot. The value fits into a blob too, so that handing it out allocates nothing.
    Inline { kind: Kind, name_len: u8, value_len: u8, bytes: [u8; BOTH], revision: Index },
    /// The name in the slot, the value in the allocation that it came in.
    Short { kind: Kind, name_len: u8, name: [u8; NAME], value: Arc<[u8]>, revision: Index },
    /// Both in one allocation, the name first.
    Joint { kind: Kind, name_len: u32, bytes: Arc<[u8]>, revision: Index },
    /// Each in its own.
    Apart { kind: Kind, name: Arc<[u8]>, value: Arc<[u8]>, revision: Index },
    /// A large collection.
    Large { kind: Kind, name: Arc<[u8]>, members: Box<Members>, revision: Index },
}

impl Packed {
    pub(super) fn new(name: &Blob, data: Data, revision: Index) -> Self {
        let (kind, value) = match data {
            Data::String(value) => (Kind::String, value),
            Data::Hash(members) => match members.as_small() {
                Some(packed) => (Kind::Hash, packed.clone()),
                None => {
                    let (name, members) = (name.clone().into_shared(), Box::new(members));
                    return Self::Large { kind: Kind::Hash, name, members, revision };
                }
            },
        };
        let (name_len, both) = (name.len(), name.len() + value.len());
        if both <= BOTH && value.len() <= INLINE {
            let bytes = joined(name, &value);
            let (name_len, value_len) = (name_len as u8, value.len() as u8);
            return Self::Inline { kind, name_len, value_len, bytes, revision };
        }
        if name_len <= NAME {
            let (name_len, name) = (name_len as u8, joined(name, &[]));
            return Self::Short { kind, name_len, name, value: value.into_shared(), revision };
        }
        if both <= JOINT {
            let bytes = Arc::from(&joined::<JOINT>(name, &value)[..both]);
            return Self::Joint { kind, name_len: name_len as u32, bytes, revision };
        }
        Self::Apart { kind, name: name.clone().into_shared(), value: value.into_shared(), revision }
    }

    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Inline { name_len, bytes, .. } => &bytes[..usize::from(*name_len)],
            Self::Short { name_len, name, .. } => &name[..usize::from(*name_len)],
            Self::Joint { name_len, bytes, .. } => &bytes[..*name_len as usize],
            Self::Apart { name, .. } | Self::Large { name, .. } => name,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Inline { kind, .. }
            | Self::Short { kind, .. }
            | Self::Joint { kind, .. }
            | Self::Apart { kind, .. }
            | Self::Large { kind, .. } => *kind,
        }
    }

    fn revision(&self) -> Index {
        match self {
            Self::Inline { revision, .. }
            | Self::Short { revision, .. }
            | Self::Joint { revision, .. }
            | Self::Apart { revision, .. }
            | Self::Large { revision, .. } => *revision,
        }
    }

    /// What it holds, shared.
    fn data(&self) -> Data {
        let value = match self {
            Self::Inline { name_len, value_len, bytes, .. } => {
                Blob::from(&bytes[usize::from(*name_len)..][..usize::from(*value_len)])
            }
            Self::Joint { name_len, bytes, .. } => Blob::tail_of(Arc::clone(bytes), *name_len),
            Self::Short { value, .. } | Self::Apart { value, .. } => Blob::tail_of(Arc::clone(value), 0),
            Self::Large { kind, members, .. } => return collection(*kind, (**members).clone()),
        };
        small(self.kind(), value)
    }

    /// What commands saw of it, with its deadline. The value stays in the allocation that it is in, which is not even touched:
    /// it was written long ago, and to count another owner would wait for memory.
    pub(super) fn into_record(self, deadline: Option<Deadline>) -> KeyRecord {
        let revision = self.revision();
        let data = match self {
            Self::Large { kind, members, .. } => collection(kind, *members),
            Self::Short { kind, value, .. } | Self::Apart { kind, value, .. } => {
                small(kind, Blob::tail_of(value, 0))
            }
            Self::Joint { kind, name_len, bytes, .. } => small(kind, Blob::tail_of(bytes, name_len)),
            inline @ Self::Inline { .. } => inline.data(),
        };
        KeyRecord { data, revision, deadline }
    }
}

/// What is held as the string of its bytes.
fn small(kind: Kind, value: Blob) -> Data {
    match kind {
        Kind::String => Data::String(value),
        kind => collection(kind, Members::from_small(value)),
    }
}

fn collection(kind: Kind, members: Members) -> Data {
    Data::collection(kind, members).expect("only collections have members")
}

/// The one after the other at the beginning of so many bytes.
fn joined<const N: usize>(name: &[u8], value: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..name.len()].copy_from_slice(name);
    bytes[name.len()..][..value.len()].copy_from_slice(value);
    bytes
}

/// A committed key where it lies: what can be asked of it without making a record.
#[derive(Clone, Copy)]
pub(super) struct KeyRow<'a> {
    packed: &'a Packed,
    deadline: Option<Deadline>,
}

impl<'a> KeyRow<'a> {
    pub(super) fn new(packed: &'a Packed, deadline: Option<Deadline>) -> Self {
        Self { packed, deadline }
    }

    pub(super) fn name(self) -> &'a [u8] {
        self.packed.name()
    }

    pub(super) fn revision(self) -> Index {
        self.packed.revision()
    }

    pub(super) fn kind(self) -> Kind {
        self.packed.kind()
    }

    pub(super) fn deadline(self) -> Option<Deadline> {
        self.deadline
    }

    /// The record, its value shared.
    pub(super) fn record(self) -> KeyRecord {
        let packed = self.packed;
        KeyRecord { data: packed.data(), revision: packed.revision(), deadline: self.deadline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_key_takes_fifty_six_bytes() {
        assert_eq!(size_of::<Packed>(), 56);
        assert_eq!(size_of::<Option<Packed>>(), 56, "a free slot costs no byte");
    }

    /// Every length that is on one side or the other of a limit.
    fn lengths() -> impl Iterator<Item = usize> {
        let limits = [0, INLINE, NAME, BOTH, JOINT];
        limits
            .into_iter()
            .flat_map(|limit: usize| limit.saturating_sub(1)..=limit + 1)
            .chain([5, 100, 480, 2000])
    }

    #[test]
    fn name_and_value_are_what_they_were_at_every_length() {
        let deadline = Some(Deadline { at: crate::time::Millis(7), slack: 8 });
        for (name_len, value_len) in lengths().flat_map(|name| lengths().map(move |value| (name, value))) {
            let name: Blob = (0..name_len).map(|n| n as u8).collect::<Vec<u8>>().into();
            let value: Blob = (0..value_len).map(|n| !n as u8).collect::<Vec<u8>>().into();
            let hash: Members = [(name.clone(), value.clone())].into_iter().collect();
            for data in [Data::String(value), Data::Hash(hash)] {
                let packed = Packed::new(&name, data.clone(), Index(9));
                let row = KeyRow::new(&packed, deadline);
                let record = KeyRecord { data, revision: Index(9), deadline };
                assert_eq!((row.name(), row.record()), (name.as_slice(), record.clone()));
                // What is handed out can be stored again.
                let again = Packed::new(&name, row.record().data, Index(9));
                assert_eq!(again.into_record(deadline), record);
            }
        }
    }

    fn string(bytes: Vec<u8>) -> Data {
        Data::String(bytes.into())
    }

    fn address(packed: &Packed) -> *const u8 {
        packed.data().as_string().expect("a string").as_slice().as_ptr()
    }

    #[test]
    fn a_value_that_is_handed_out_shares_the_allocation() {
        for (name_len, value_len) in [(10, 100), (40, 100), (40, 1000)] {
            let name = Blob::from(vec![1; name_len]);
            let packed = Packed::new(&name, string(vec![2; value_len]), Index(1));
            let record = packed.clone().into_record(None);
            assert_eq!(address(&packed), record.data.as_string().unwrap().as_slice().as_ptr());
        }
    }

    #[test]
    fn a_long_value_is_taken_as_it_came() {
        for name_len in [10, 40] {
            let value = Blob::from(vec![2; 1000]);
            let packed = Packed::new(&Blob::from(vec![1; name_len]), Data::String(value.clone()), Index(1));
            assert_eq!(address(&packed), value.as_slice().as_ptr());
        }
    }
}
