//! What a command answers: a value or an error, and the receipt that says where in the log it took effect.

use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, Error, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Failure;
use crate::time::Millis;
use crate::types::{Blob, Index, Term};

/// How deep lists and maps may be nested in a value that is read from bytes.
const DEPTH: usize = 16;

/// A reply's value. Both front doors encode from this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Value {
    /// Nothing there, or a condition that was not met.
    Nil,
    /// A status word, such as `OK`.
    Status(String),
    /// A number.
    Int(i64),
    /// A byte string.
    Bytes(Blob),
    /// A list.
    List(Vec<Value>),
    /// Names with values, in the order in which they read best.
    Map(Vec<(String, Value)>),
    /// Values with values, in the order of the first ones: what is somebody's data, and no name of ours.
    Pairs(Vec<(Value, Value)>),
    /// The answer comes when the claim of this entry waits no longer. Nodes say so to each other; no client sees it.
    Waiting(Index),
}

impl Value {
    /// `OK`.
    #[must_use]
    pub fn ok() -> Self {
        Self::Status("OK".into())
    }

    /// How many values it is, those inside it included.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + match self {
            Self::Nil | Self::Status(_) | Self::Int(_) | Self::Bytes(_) | Self::Waiting(_) => 0,
            Self::List(items) => items.iter().map(Self::count).sum(),
            Self::Map(pairs) => pairs.iter().map(|(_, value)| value.count()).sum(),
            Self::Pairs(pairs) => pairs.iter().map(|(first, second)| first.count() + second.count()).sum(),
        }
    }

    /// A rough count of the bytes that this value takes in a frame, never less than the true one.
    #[must_use]
    pub fn size(&self) -> usize {
        // Eleven bytes hold any tag with its longest length.
        11 + match self {
            Self::Nil | Self::Int(_) | Self::Waiting(_) => 0,
            Self::Status(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(Self::size).sum(),
            Self::Map(pairs) => pairs.iter().map(|(name, value)| 11 + name.len() + value.size()).sum(),
            Self::Pairs(pairs) => pairs.iter().map(|(first, second)| first.size() + second.size()).sum(),
        }
    }
}

/// What came of a command.
pub type Outcome = Result<Value, Failure>;

/// Where a command took effect or read, and the cluster's time there.
///
/// A reply at position *p* saw everything up to *p* that concerns it and nothing after. A later request
/// of anybody, on any node, is answered at *p* or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Receipt {
    /// The log index.
    pub position: Index,
    /// The logged time at that index.
    pub time: Millis,
    /// The answer left ahead of its durability, and the entry at its position is of this term: it stands if the log holds
    /// there an entry of that term, and is lost if it holds one of a later. Until it is durable, only what concerns the same
    /// keys is answered at its position or after. Only writes that match `DURABILITY ASYNC` are answered so.
    pub ahead: Option<Term>,
    /// There is a witness, and when the answer left, only one disk was known to hold the data of its position.
    pub degraded: bool,
}

impl Receipt {
    /// Of what is durable.
    #[must_use]
    pub const fn durable(position: Index, time: Millis) -> Self {
        Self { position, time, ahead: None, degraded: false }
    }
}

/// What a client gets. A refusal before evaluation (a malformed command, an overloaded node, an unknown
/// outcome) has no receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The answer.
    pub outcome: Outcome,
    /// Where it holds.
    pub receipt: Option<Receipt>,
}

impl Reply {
    /// An error that was not found by evaluating anything.
    #[must_use]
    pub fn refused(failure: Failure) -> Self {
        Self { outcome: Err(failure), receipt: None }
    }
}

/// Reads what the derived [`Serialize`] writes, down to `DEPTH` levels: a derived reader would follow the
/// nesting in a peer's bytes until the stack is full.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested(DEPTH).deserialize(deserializer)
    }
}

/// A value with at most this many levels.
#[derive(Clone, Copy)]
struct Nested(usize);

#[derive(Deserialize)]
#[serde(variant_identifier)]
enum Variant {
    Nil,
    Status,
    Int,
    Bytes,
    List,
    Map,
    Pairs,
    Waiting,
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        const VARIANTS: &[&str] = &["Nil", "Status", "Int", "Bytes", "List", "Map", "Pairs", "Waiting"];
        deserializer.deserialize_enum("Value", VARIANTS, self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of at most {DEPTH} levels")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (variant, content) = data.variant()?;
        let inner = || {
            self.0.checked_sub(1).map(Nested).ok_or_else(|| {
                A::Error::custom(format_args!("a value with more than {DEPTH} levels of lists and maps"))
            })
        };
        Ok(match variant {
            Variant::Nil => {
                content.unit_variant()?;
                Value::Nil
            }
            Variant::Status => Value::Status(content.newtype_variant()?),
            Variant::Int => Value::Int(content.newtype_variant()?),
            Variant::Bytes => Value::Bytes(content.newtype_variant()?),
            Variant::List => Value::List(content.newtype_variant_seed(Sequence(inner()?))?),
            Variant::Map => Value::Map(content.newtype_variant_seed(Sequence(Pair(inner()?)))?),
            Variant::Pairs => Value::Pairs(content.newtype_variant_seed(Sequence(Two(inner()?)))?),
            Variant::Waiting => Value::Waiting(content.newtype_variant()?),
        })
    }
}

/// A sequence of what `S` reads, gathered as it comes: its announced length reserves nothing.
struct Sequence<S>(S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for Sequence<S> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for Sequence<S> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(self.0)? {
            found.push(item);
        }
        Ok(found)
    }
}

/// A name with a value.
#[derive(Clone, Copy)]
struct Pair(Nested);

impl<'de> DeserializeSeed<'de> for Pair {
    type Value = (String, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for Pair {
    type Value = (String, Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let name = items.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let value = items.next_element_seed(self.0)?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        Ok((name, value))
    }
}

/// A value with a value.
#[derive(Clone, Copy)]
struct Two(Nested);

impl<'de> DeserializeSeed<'de> for Two {
    type Value = (Value, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for Two {
    type Value = (Value, Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let first = items.next_element_seed(self.0)?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let second = items.next_element_seed(self.0)?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        Ok((first, second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Int(7), |inner, level| match level % 3 {
            0 => Value::List(vec![Value::Nil, inner]),
            1 => Value::Map(vec![("n".into(), inner)]),
            _ => Value::Pairs(vec![(inner, Value::Int(1))]),
        })
    }

    fn read_again(value: &Value) -> Result<Value, postcard::Error> {
        postcard::from_bytes(&postcard::to_allocvec(value)?)
    }

    #[test]
    fn values_are_read_as_they_were_written() {
        let flat = [Value::Nil, Value::ok(), Value::Int(i64::MIN), Value::Bytes(vec![b'x'; 99].into())];
        for value in flat.into_iter().chain([Value::List(vec![]), Value::Map(vec![]), nested(5)]) {
            assert_eq!(read_again(&value), Ok(value));
        }
    }

    #[test]
    fn values_are_nested_up_to_a_bound() {
        assert_eq!(read_again(&nested(DEPTH)), Ok(nested(DEPTH)));
        assert!(read_again(&nested(DEPTH + 1)).is_err());
    }
}
