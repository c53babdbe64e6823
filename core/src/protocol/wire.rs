//! Integers, byte strings and options inside a frame's body: written and read here, and nowhere else.
//!
//! Integers are little-endian and of fixed width. A byte string is its length (u32) and its bytes. The reader
//! checks every length against what is there before it allocates, and names the field at fault.

use std::fmt;

use uuid::Uuid;

use crate::types::Blob;

/// What is wrong with a body whose checksum is right: the sender does not speak our protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body ends inside a field.
    Short {
        /// The field.
        field: &'static str,
        /// Bytes that the field takes, or announces.
        needed: u64,
        /// Bytes that were left.
        left: usize,
    },
    /// The body goes on after its last field.
    Trailing {
        /// Bytes too many.
        bytes: usize,
    },
    /// A field has a value that means nothing.
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// There are more of something than may be.
    TooMany {
        /// The field.
        field: &'static str,
        /// How many were announced.
        count: u64,
        /// How many may be.
        maximum: u64,
    },
    /// A text is not UTF-8.
    NotText {
        /// The field.
        field: &'static str,
        /// Its first byte that is not.
        at: usize,
    },
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { field, needed, left } => {
                write!(f, "the field '{field}' takes {needed} bytes, and {left} are left in the body")
            }
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the last field of the body"),
            Self::Invalid { field, value } => write!(f, "the field '{field}' can't have the value {value}"),
            Self::TooMany { field, count, maximum } => {
                write!(f, "there are {count} of '{field}', at most {maximum} may be")
            }
            Self::NotText { field, at } => write!(f, "the field '{field}' is not UTF-8 from byte {at} on"),
        }
    }
}

impl std::error::Error for BodyError {}

/// Reads fields from the front of a body.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`] if there are fewer.
    pub fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], BodyError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(BodyError::Short { field, needed: count as u64, left: self.rest.len() }),
        }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], BodyError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(BodyError::Short { field, needed: N as u64, left: self.rest.len() }),
        }
    }

    /// A byte.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, BodyError> {
        self.array(field).map(u8::from_le_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, BodyError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, BodyError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, BodyError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// Sixteen bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u128(&mut self, field: &'static str) -> Result<u128, BodyError> {
        self.array(field).map(u128::from_le_bytes)
    }

    /// A byte that says yes (1) or no (0).
    ///
    /// # Errors
    /// [`BodyError::Short`], or [`BodyError::Invalid`] for anything else.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, BodyError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(BodyError::Invalid { field, value: u64::from(value) }),
        }
    }

    /// The sixteen bytes of a UUID, in the order of RFC 9562.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn uuid(&mut self, field: &'static str) -> Result<Uuid, BodyError> {
        self.array(field).map(Uuid::from_bytes)
    }

    /// A byte string, copied once, out of the network's buffer.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn blob(&mut self, field: &'static str) -> Result<Blob, BodyError> {
        self.slice(field).map(Blob::from)
    }

    /// A text.
    ///
    /// # Errors
    /// [`BodyError::Short`] and [`BodyError::NotText`].
    pub fn text(&mut self, field: &'static str) -> Result<String, BodyError> {
        let bytes = self.slice(field)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(BodyError::NotText { field, at: error.valid_up_to() }),
        }
    }

    /// How many of something follow: at most `maximum`, and at most as many as fit into the bytes that are
    /// left if each takes at least `least` bytes. A vector may therefore be allocated for the count.
    ///
    /// # Errors
    /// [`BodyError::Short`] and [`BodyError::TooMany`].
    pub fn count(&mut self, field: &'static str, maximum: usize, least: usize) -> Result<usize, BodyError> {
        let count = self.u32(field)? as usize;
        if count > maximum {
            return Err(BodyError::TooMany { field, count: count as u64, maximum: maximum as u64 });
        }
        let needed = count.saturating_mul(least);
        if needed > self.left() {
            return Err(BodyError::Short { field, needed: needed as u64, left: self.left() });
        }
        Ok(count)
    }

    /// Asserts that everything was read.
    ///
    /// # Errors
    /// [`BodyError::Trailing`] if not.
    pub fn finish(self) -> Result<(), BodyError> {
        if self.rest.is_empty() { Ok(()) } else { Err(BodyError::Trailing { bytes: self.rest.len() }) }
    }

    fn slice(&mut self, field: &'static str) -> Result<&'a [u8], BodyError> {
        let length = self.u32(field)? as usize;
        self.take(field, length)
    }
}

/// Appends the length (u32) and the bytes of a byte string.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a count (u32). A count beyond 32 bits saturates: what follows it then exceeds any frame's limit,
/// so that the frame is refused as too large and never sent.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_checked_against_what_is_there() {
        let mut body = Vec::new();
        body.extend_from_slice(&u32::MAX.to_le_bytes());
        body.extend_from_slice(b"abc");
        let error = Reader::new(&body).blob("key").expect_err("4 GiB are not there");
        assert_eq!(error, BodyError::Short { field: "key", needed: u64::from(u32::MAX), left: 3 });
    }

    #[test]
    fn a_count_is_believed_only_as_far_as_bytes_are_left() {
        let body = [9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Reader::new(&body).count("items", 100, 1).ok(), None);
        assert_eq!(Reader::new(&body).count("items", 8, 0).ok(), None);
        assert_eq!(Reader::new(&body).count("items", 9, 0), Ok(9));
    }

    #[test]
    fn flags_and_texts_have_one_spelling() {
        assert_eq!(Reader::new(&[2]).flag("f"), Err(BodyError::Invalid { field: "f", value: 2 }));
        let mut body = Vec::new();
        put_bytes(&mut body, b"ab\xff");
        assert_eq!(Reader::new(&body).text("t"), Err(BodyError::NotText { field: "t", at: 2 }));
        assert_eq!(Reader::new(&body).finish(), Err(BodyError::Trailing { bytes: 7 }));
    }
}
