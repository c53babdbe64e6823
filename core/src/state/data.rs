//! What a key can hold, and the members of a collection.
//!
//! A small collection is one string of bytes, rewritten as a whole: sessions of ten fields cost little more than their bytes.
//! A large one is a persistent map: a change copies a path of it, and pending, base, drafts and snapshots share the rest.
//! Which of the two it is can't be seen. Nothing here knows commands, keys or revisions.

use std::fmt;
use std::ops::Bound;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::types::Blob;

/// A collection takes the small shape up to so many bytes. To rewrite them costs a tenth of a microsecond.
const SMALL_BYTES: usize = 1024;

/// What kind of value a key holds. The number is the one in logs and snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes.
    String = 0,
    /// Fields with values.
    Hash = 1,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 2] = [Self::String, Self::Hash];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The word that TYPE answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Self::from_number(number)
            .ok_or_else(|| serde::de::Error::custom(format_args!("no kind of value has the number {number}")))
    }
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    /// Bytes.
    String(Blob),
    /// Fields with values; at least one.
    Hash(Members),
}

impl Default for Data {
    fn default() -> Self {
        Self::String(Blob::default())
    }
}

impl Data {
    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::String(_) => Kind::String,
            Self::Hash(_) => Kind::Hash,
        }
    }

    /// The bytes of a string; `None` for other kinds.
    #[must_use]
    pub const fn as_string(&self) -> Option<&Blob> {
        match self {
            Self::String(value) => Some(value),
            Self::Hash(_) => None,
        }
    }

    /// The members of a collection; `None` for a string.
    #[must_use]
    pub const fn members(&self) -> Option<&Members> {
        match self {
            Self::String(_) => None,
            Self::Hash(members) => Some(members),
        }
    }

    /// A collection of this kind; `None` for a string, which is none.
    #[must_use]
    pub fn collection(kind: Kind, members: Members) -> Option<Self> {
        match kind {
            Kind::String => None,
            Kind::Hash => Some(Self::Hash(members)),
        }
    }

    /// Bytes of what it holds, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::String(value) => value.len(),
            Self::Hash(members) => members.bytes(),
        }
    }
}

/// Names with values, in the order of the names.
#[derive(Clone)]
pub struct Members(Shape);

#[derive(Clone)]
enum Shape {
    /// For each member, in order: the lengths of name and value in two bytes each, name, value.
    Small(Blob),
    Large {
        members: OrdMap<Blob, Blob>,
        bytes: usize,
    },
}

/// What a member takes beside name and value, in the small shape.
const OVERHEAD: usize = 4;

impl Members {
    /// From what [`Members::as_small`] gave out. Believes it.
    pub(super) fn from_small(packed: Blob) -> Self {
        Self(Shape::Small(packed))
    }

    /// The bytes of the small shape; `None` if it is large.
    pub(super) fn as_small(&self) -> Option<&Blob> {
        match &self.0 {
            Shape::Small(packed) => Some(packed),
            Shape::Large { .. } => None,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Small(packed) => Unpack(packed).count(),
            Shape::Large { members, .. } => members.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Bytes of names and values, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Shape::Small(packed) => packed.len(),
            Shape::Large { bytes, .. } => *bytes,
        }
    }

    /// A member's value.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Blob> {
        match &self.0 {
            Shape::Small(packed) => {
                Unpack(packed).find(|(known, _)| *known == name).map(|(_, value)| Blob::from(value))
            }
            Shape::Large { members, .. } => members.get(name).cloned(),
        }
    }

    /// All members, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.after(None)
    }

    /// The members behind a name, or all, in the order of their names.
    pub fn after(&self, name: Option<&[u8]>) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (small, large) = match &self.0 {
            Shape::Small(packed) => (Some(Unpack(packed)), None),
            Shape::Large { members, .. } => {
                let from = name.map_or(Bound::Unbounded, Bound::Excluded);
                (None, Some(members.range::<_, [u8]>((from, Bound::Unbounded))))
            }
        };
        let small =
            small.into_iter().flatten().filter(move |(known, _)| name.is_none_or(|name| *known > name));
        let large = large.into_iter().flatten().map(|(name, value)| (name.as_slice(), value.as_slice()));
        small.chain(large)
    }

    /// Sets a member, or removes it.
    pub fn set(&mut self, name: &Blob, value: Option<&Blob>) {
        match &mut self.0 {
            Shape::Small(packed) => {
                let room = packed.len() + value.map_or(0, |value| OVERHEAD + name.len() + value.len());
                if room <= SMALL_BYTES {
                    *packed = repack(packed, name, value);
                    return;
                }
                let all = Unpack(packed).map(|(name, value)| (Blob::from(name), Blob::from(value)));
                let (members, bytes) = (all.collect(), packed.len());
                self.0 = Shape::Large { members, bytes };
                self.set(name, value);
            }
            Shape::Large { members, bytes } => {
                let old = match value {
                    Some(value) => members.insert(name.clone(), value.clone()),
                    None => members.remove(name),
                };
                *bytes += value.map_or(0, |value| OVERHEAD + name.len() + value.len());
                *bytes -= old.map_or(0, |old| OVERHEAD + name.len() + old.len());
                // Half of it, or a collection at the limit would change its shape at every other step.
                if *bytes <= SMALL_BYTES / 2 {
                    self.0 = Shape::Small(pack(self.iter()));
                }
            }
        }
    }

    /// Removes the members whose values are not to stay.
    pub fn retain(&mut self, mut stays: impl FnMut(&[u8]) -> bool) {
        let gone: Vec<Blob> =
            self.iter().filter(|(_, value)| !stays(value)).map(|(name, _)| Blob::from(name)).collect();
        gone.iter().for_each(|name| self.set(name, None));
    }

    /// Adds a member behind all others: what a snapshot is read with. False if it does not come behind them.
    pub(super) fn push_last(&mut self, name: &Blob, value: &Blob) -> bool {
        let follows = match &self.0 {
            Shape::Small(packed) => Unpack(packed).last().is_none_or(|(last, _)| last < name.as_slice()),
            Shape::Large { members, .. } => members.get_max().is_none_or(|(last, _)| last < name),
        };
        if follows {
            self.set(name, Some(value));
        }
        follows
    }
}

impl Default for Members {
    fn default() -> Self {
        Self(Shape::Small(Blob::default()))
    }
}

impl FromIterator<(Blob, Blob)> for Members {
    fn from_iter<I: IntoIterator<Item = (Blob, Blob)>>(members: I) -> Self {
        let mut all = Self::default();
        members.into_iter().for_each(|(name, value)| all.set(&name, Some(&value)));
        all
    }
}

/// The shape can't be seen.
impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Members {}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (Blob::from(name), Blob::from(value)))).finish()
    }
}

impl Serialize for Members {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all: Vec<(Blob, Blob)> =
            self.iter().map(|(name, value)| (Blob::from(name), Blob::from(value))).collect();
        all.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Self::default();
        for (name, value) in Vec::<(Blob, Blob)>::deserialize(deserializer)? {
            if !members.push_last(&name, &value) {
                return Err(serde::de::Error::custom("the members of a collection are not in order"));
            }
        }
        Ok(members)
    }
}

/// Reads the small shape.
struct Unpack<'a>(&'a [u8]);

impl<'a> Iterator for Unpack<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_first_chunk::<OVERHEAD>()?;
        let name_len = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let value_len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (name, rest) = rest.split_at(name_len);
        let (value, rest) = rest.split_at(value_len);
        self.0 = rest;
        Some((name, value))
    }
}

fn pack<'a>(members: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Blob {
    let mut out = Vec::new();
    members.for_each(|(name, value)| put(&mut out, name, value));
    out.into()
}

/// The small shape with one member set or removed.
fn repack(packed: &[u8], name: &[u8], value: Option<&Blob>) -> Blob {
    let mut out =
        Vec::with_capacity(packed.len() + OVERHEAD + name.len() + value.map_or(0, |value| value.len()));
    let mut pending = value;
    for (known, old) in Unpack(packed) {
        if known >= name
            && let Some(value) = pending.take()
        {
            put(&mut out, name, value);
        }
        if known != name {
            put(&mut out, known, old);
        }
    }
    if let Some(value) = pending {
        put(&mut out, name, value);
    }
    out.into()
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let len = |bytes: &[u8]| {
        u16::try_from(bytes.len()).expect("a small collection has short members").to_le_bytes()
    };
    out.extend_from_slice(&len(name));
    out.extend_from_slice(&len(value));
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Through both shapes and back, whatever the sizes.
        #[test]
        fn members_are_what_a_plain_map_says(
            steps in proptest::collection::vec((0..24_u8, 0..3_u8, 0..200_usize), 0..200),
        ) {
            let (mut members, mut model) = (Members::default(), BTreeMap::new());
            for (name, deed, size) in steps {
                let name = Blob::from(vec![name; usize::from(name)]);
                let value = Blob::from(vec![deed; size]);
                if deed == 0 {
                    members.set(&name, None);
                    model.remove(&name);
                } else {
                    members.set(&name, Some(&value));
                    model.insert(name.clone(), value);
                }
                prop_assert_eq!(members.get(&name), model.get(&name).cloned());
                let all: Vec<(Blob, Blob)> = members.iter().map(|(n, v)| (n.into(), v.into())).collect();
                prop_assert!(all.iter().map(|(n, v)| (n, v)).eq(model.iter()));
                let behind = members.after(Some(&name)).count();
                prop_assert_eq!(behind, model.range((Bound::Excluded(name), Bound::Unbounded)).count());
                prop_assert_eq!((members.len(), members.is_empty()), (model.len(), model.is_empty()));
                let bytes: usize = model.iter().map(|(n, v)| OVERHEAD + n.len() + v.len()).sum();
                prop_assert_eq!(members.bytes(), bytes);
            }
        }
    }

    #[test]
    fn the_shape_can_not_be_seen() {
        let value = Blob::from(vec![7; 100]);
        let mut grown: Members = (0..50_u8).map(|n| (Blob::from(vec![n]), value.clone())).collect();
        assert!(grown.as_small().is_none(), "fifty members of a hundred bytes are many");
        (7..50_u8).for_each(|n| grown.set(&Blob::from(vec![n]), None));
        let small: Members = (0..7_u8).map(|n| (Blob::from(vec![n]), value.clone())).collect();
        assert!(small.as_small().is_some() && grown.as_small().is_none());
        assert_eq!(grown, small);
        assert_eq!(postcard::to_allocvec(&grown), postcard::to_allocvec(&small));
        (3..7_u8).for_each(|n| grown.set(&Blob::from(vec![n]), None));
        assert!(grown.as_small().is_some(), "what has become small again is small again");
    }
}
