//! The patterns that grants are about: how they are written, what they match, how they overlap.
//!
//! A pattern is a key (`config`), all keys with a prefix (`session:*`), or a glob as in `glob.rs` (`user:*:cart`, `log-?`). In its
//! text a backslash takes the meaning from the next byte, so that any key can be written. Patterns know neither users nor
//! permissions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::glob;
use crate::types::Blob;

/// A set of keys: one key, all keys with a prefix, or those that match a glob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pattern {
    /// This key alone.
    Exact(Blob),
    /// Every key that begins with this.
    Prefix(Blob),
    /// Every key that matches this text: `*` any bytes, `?` one, `[a-z]` one of a set, `[^a-z]` none of it.
    Glob(Blob),
}

/// Longest glob, in bytes: every key that a command names may be held against it.
const GLOB_BYTES_MAX: usize = 128;

/// Why a text is no pattern. The positions are offsets in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// A glob is longer than 128 bytes.
    LongGlob {
        /// How long it is.
        bytes: usize,
    },
    /// A set that no bracket closes.
    OpenSet {
        /// Where it begins.
        at: usize,
    },
    /// A backslash at the end.
    StrayBackslash {
        /// Where it stands.
        at: usize,
    },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongGlob { bytes } => write!(
                f,
                "a pattern with stars, question marks or sets inside has at most {GLOB_BYTES_MAX} bytes, not {bytes}: write a \
                 prefix with one star at its end"
            ),
            Self::OpenSet { at } => {
                write!(
                    f,
                    "the set that begins at byte {at} is not closed: write ] behind it, or \\[ for a bracket"
                )
            }
            Self::StrayBackslash { at } => {
                write!(f, "the backslash at byte {at} escapes nothing: write \\\\ for a backslash")
            }
        }
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// All keys: `*`.
    #[must_use]
    pub fn everything() -> Self {
        Self::Prefix(Blob::default())
    }

    /// Reads a pattern's text.
    ///
    /// # Errors
    /// A backslash at the end, a set that is not closed, a glob that is too long.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let mut literal = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match (text[at], text.get(at + 1)) {
                (b'*', None) => return Ok(Self::Prefix(literal.into())),
                (b'*' | b'?' | b'[', _) => return Self::parse_glob(text, at),
                (b'\\', Some(&escaped)) => {
                    literal.push(escaped);
                    at += 2;
                }
                (b'\\', None) => return Err(PatternError::StrayBackslash { at }),
                (byte, _) => {
                    literal.push(byte);
                    at += 1;
                }
            }
        }
        Ok(Self::Exact(literal.into()))
    }

    /// Reads a glob, whose first byte with a meaning is at `at`.
    fn parse_glob(text: &[u8], mut at: usize) -> Result<Self, PatternError> {
        if text.len() > GLOB_BYTES_MAX {
            return Err(PatternError::LongGlob { bytes: text.len() });
        }
        let mut set = None;
        while at < text.len() {
            match (text[at], set) {
                (b'\\', _) if at + 1 == text.len() => return Err(PatternError::StrayBackslash { at }),
                (b'\\', _) => at += 1,
                (b'[', None) => set = Some(at),
                (b']', Some(_)) => set = None,
                _ => {}
            }
            at += 1;
        }
        match set {
            Some(at) => Err(PatternError::OpenSet { at }),
            None => Ok(Self::Glob(text.into())),
        }
    }

    /// The text that [`Pattern::parse`] reads back as this pattern.
    #[must_use]
    pub fn text(&self) -> Blob {
        let literal = match self {
            Self::Glob(text) => return text.clone(),
            Self::Exact(literal) | Self::Prefix(literal) => literal,
        };
        let mut text = Vec::with_capacity(literal.len() + 1);
        for &byte in literal.iter() {
            if matches!(byte, b'*' | b'?' | b'[' | b'\\') {
                text.push(b'\\');
            }
            text.push(byte);
        }
        if matches!(self, Self::Prefix(_)) {
            text.push(b'*');
        }
        text.into()
    }

    /// Whether the pattern matches the key.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_slice() == key,
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Glob(text) => glob::matches(text, key),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.text(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Pattern {
        Pattern::parse(text.as_bytes()).expect("a well-formed pattern")
    }

    #[test]
    fn a_key_matches_itself_alone() {
        let pattern = parse("config");
        assert_eq!(pattern, Pattern::Exact("config".into()));
        assert!(pattern.matches(b"config"));
        assert!(!pattern.matches(b"config2"));
        assert!(!pattern.matches(b"confi"));
    }

    #[test]
    fn a_star_at_the_end_matches_every_key_with_the_prefix() {
        let pattern = parse("session:*");
        assert_eq!(pattern, Pattern::Prefix("session:".into()));
        assert!(pattern.matches(b"session:"));
        assert!(pattern.matches(b"session:1"));
        assert!(!pattern.matches(b"session"));
        assert!(parse("*").matches(b""), "the bare star matches everything");
    }

    #[test]
    fn an_escaped_star_is_part_of_the_key() {
        assert_eq!(parse(r"rate\*"), Pattern::Exact("rate*".into()));
        assert_eq!(parse(r"rate\**"), Pattern::Prefix("rate*".into()));
        assert_eq!(parse(r"a\\*"), Pattern::Prefix(r"a\".into()));
    }

    #[test]
    fn a_glob_matches_what_globs_match() {
        let pattern = parse("user:*:cart");
        assert_eq!(pattern, Pattern::Glob("user:*:cart".into()));
        assert!(pattern.matches(b"user:7:cart") && !pattern.matches(b"user:7:name"));
        assert!(parse("log-[0-9]").matches(b"log-4") && !parse("log-?").matches(b"log-44"));
        assert_eq!(parse(r"log-\?"), Pattern::Exact("log-?".into()));
    }

    #[test]
    fn malformed_patterns_name_the_place() {
        assert_eq!(Pattern::parse(br"ab\"), Err(PatternError::StrayBackslash { at: 2 }));
        assert_eq!(Pattern::parse(br"a?b\"), Err(PatternError::StrayBackslash { at: 3 }));
        assert_eq!(Pattern::parse(b"a[b"), Err(PatternError::OpenSet { at: 1 }));
        assert_eq!(Pattern::parse(br"a[b\]"), Err(PatternError::OpenSet { at: 1 }));
        let long = format!("*{}", "a".repeat(GLOB_BYTES_MAX));
        assert_eq!(Pattern::parse(long.as_bytes()), Err(PatternError::LongGlob { bytes: 129 }));
        assert!(Pattern::parse("a".repeat(200).as_bytes()).is_ok(), "a key can be as long as any");
    }

    proptest! {
        #[test]
        fn text_and_pattern_round_trip(literal in proptest::collection::vec(any::<u8>(), 0..40), prefix: bool) {
            let literal = Blob::from(literal);
            let pattern = if prefix { Pattern::Prefix(literal) } else { Pattern::Exact(literal) };
            prop_assert_eq!(Pattern::parse(&pattern.text()), Ok(pattern));
        }
    }
}
