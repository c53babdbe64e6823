//! The small words of the database: identities, positions and byte strings.
//!
//! Every number that could be mistaken for another has a type of its own here. Nothing in this file
//! decides anything.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Declares a newtype over an integer that is ordered, printed and counted like it.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $int);

        impl $name {
            /// The value that follows this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect(concat!(stringify!($name), " is exhausted")))
            }

            /// The value before this one; zero stays zero.
            #[must_use]
            pub fn prev(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A configured member's number, chosen by the operator, 1 or more.
    NodeId(u16)
}
number! {
    /// A Raft term (Raft paper, section 5.1). Zero is before the first election.
    Term(u64)
}
number! {
    /// A position in the replicated log; one command takes one index, and the index is the revision of
    /// what the command wrote. Zero is before the first entry.
    Index(u64)
}
number! {
    /// How often this data directory was started. Grows by one with every start and is synced before
    /// anything else happens.
    BootNumber(u64)
}
number! {
    /// Counts the writes that a store has *issued*. A reply waits for a count of writes, never for a
    /// log index: an index can be cut off and issued again while a sync is under way.
    WriteSeq(u64)
}
number! {
    /// A client's connection to this node. Never reused within a boot.
    ConnId(u64)
}
number! {
    /// A client's session: the log index of the entry that opened it, so that no session can ever be
    /// mistaken for an earlier one.
    SessionId(u64)
}
number! {
    /// A lease: the log index of the entry that asked for it, or for the claim that it belongs to.
    LeaseId(u64)
}

/// An entry's identity. Two logs that hold an entry under the same index and term are the same up to it (Raft
/// paper, figure 3: log matching). All zeros stands for the place before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// Its place in the log.
    pub index: Index,
    /// The term in which a leader appended it.
    pub term: Term,
}

impl EntryId {
    /// How up to date a log is that ends here: by its last term, then by its length (Raft paper, section 5.4.1).
    #[must_use]
    pub fn rank(self) -> (Term, Index) {
        (self.term, self.index)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.term)
    }
}

/// Nodes as an operator reads them: `1, 2, 3`.
#[must_use]
pub fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The identity of a data directory. Drawn when an empty directory is first started; a wiped disk comes
/// back under another one, and so can never vote as if it remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// The upper half of a witness's directory: "WITN".
const WITNESS: u64 = 0x5749_544e;

impl Incarnation {
    /// A directory that holds data, from random bits.
    #[must_use]
    pub const fn of_data(random: u64) -> Self {
        let drawn = Self(random);
        if drawn.is_witness() { Self(!random) } else { drawn }
    }

    /// A witness's directory, from random bits. That it is one is part of its identity: so every node that hears of it knows, no
    /// record can say otherwise, and a witness's log can never be taken for one with data.
    #[must_use]
    pub const fn of_witness(random: u64) -> Self {
        Self(WITNESS << 32 | random & 0xffff_ffff)
    }

    /// Whether the directory is a witness's, and holds no data.
    #[must_use]
    pub const fn is_witness(self) -> bool {
        self.0 >> 32 == WITNESS
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The identity of a cluster, derived from the incarnations that founded it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The longest byte string that a [`Blob`] holds in itself.
pub(crate) const INLINE: usize = 22;

/// An immutable byte string that is shared, never copied: keys, values and what replies carry.
///
/// Twenty-four bytes on the stack, where `bytes::Bytes` takes thirty-two. Up to twenty-two bytes lie in it, so
/// that the usual key, counter or token takes no allocation and no second cache miss (figures in
/// `docs/dependencies.md`). It never keeps the network buffer alive that it was read from.
#[derive(Clone)]
pub struct Blob(Repr);

#[derive(Clone)]
enum Repr {
    Inline {
        len: u8,
        bytes: [u8; INLINE],
    },
    /// All but the first bytes of an allocation: the committed keys have name and value in one.
    Shared {
        skip: u32,
        bytes: Arc<[u8]>,
    },
}

impl Blob {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared { skip, bytes } => &bytes[*skip as usize..],
        }
    }

    /// What follows the first bytes of an allocation. It is shared unless it fits into the blob itself.
    pub(crate) fn tail_of(bytes: Arc<[u8]>, skip: u32) -> Self {
        let tail = &bytes[skip as usize..];
        if tail.len() <= INLINE { Self::from(tail) } else { Self(Repr::Shared { skip, bytes }) }
    }

    /// An allocation that holds these bytes alone: the blob's own, if it has one.
    pub(crate) fn into_shared(self) -> Arc<[u8]> {
        match self.0 {
            Repr::Shared { skip: 0, bytes } => bytes,
            _ => Arc::from(self.as_slice()),
        }
    }
}

impl std::ops::Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::borrow::Borrow<[u8]> for Blob {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

// Compared and hashed as the slices they are: `Borrow` demands that.
impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Blob {}

impl PartialOrd for Blob {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Blob {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl std::hash::Hash for Blob {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.as_slice().hash(hasher);
    }
}

impl Default for Blob {
    fn default() -> Self {
        Self(Repr::Inline { len: 0, bytes: [0; INLINE] })
    }
}

impl From<&[u8]> for Blob {
    fn from(source: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..source.len()), u8::try_from(source.len())) {
            (Some(prefix), Ok(len)) => {
                prefix.copy_from_slice(source);
                Self(Repr::Inline { len, bytes })
            }
            _ => Self(Repr::Shared { skip: 0, bytes: Arc::from(source) }),
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&str> for Blob {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for Blob {
    fn from(text: String) -> Self {
        Self::from(text.as_bytes())
    }
}

/// Text where it is text; the rest as `\xNN`, as an operator expects to read it in a log.
impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.escape_ascii(), f)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;

        impl serde::de::Visitor<'_> for BytesVisitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob::from(bytes))
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob::from(bytes))
            }
        }

        deserializer.deserialize_bytes(BytesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use siphasher::sip::SipHasher13;

    use super::*;

    #[test]
    fn a_blob_takes_twenty_four_bytes_wherever_its_bytes_lie() {
        assert_eq!(size_of::<Blob>(), 24);
        assert_eq!(size_of::<Option<Blob>>(), 24);
    }

    #[test]
    fn a_blob_is_what_it_was_made_from_at_every_length() {
        for len in 0..100_usize {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            assert_eq!(Blob::from(bytes.as_slice()).as_slice(), bytes);
            assert_eq!(Blob::from(bytes.clone()), Blob::from(bytes.as_slice()));
        }
    }

    #[test]
    fn the_tail_of_an_allocation_is_shared_unless_it_is_short() {
        let bytes: Vec<u8> = (0..100).collect();
        let shared = Blob::from(bytes.as_slice()).into_shared();
        for skip in 0..=100_u32 {
            let tail = Blob::tail_of(Arc::clone(&shared), skip);
            assert_eq!(tail.as_slice(), &bytes[skip as usize..]);
            assert_eq!(std::ptr::eq(tail.as_slice(), &shared[skip as usize..]), tail.len() > INLINE);
            assert_eq!(&*tail.into_shared(), &bytes[skip as usize..]);
        }
    }

    #[test]
    fn blobs_compare_and_hash_as_their_bytes() {
        let samples: Vec<Vec<u8>> = (15..30).flat_map(|len| [vec![1; len], vec![2; len]]).collect();
        let hash = BuildHasherDefault::<SipHasher13>::default();
        for one in &samples {
            let blob = Blob::from(one.as_slice());
            assert_eq!(hash.hash_one(&blob), hash.hash_one(one.as_slice()));
            for other in &samples {
                assert_eq!(blob.cmp(&Blob::from(other.as_slice())), one.cmp(other));
                assert_eq!(blob == Blob::from(other.as_slice()), one == other);
            }
        }
        let map: BTreeMap<Blob, usize> =
            samples.iter().map(|it| (Blob::from(it.clone()), it.len())).collect();
        assert!(samples.iter().all(|it| map.get(it.as_slice()) == Some(&it.len())), "found by slice");
    }
}
