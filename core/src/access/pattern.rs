//! The patterns that grants are about: how they are written, what they match, how they overlap.
//!
//! A pattern is a key (`config`), or all keys with a prefix (`session:*`). In its text `\*` is a star and
//! `\\` a backslash; nothing else has a meaning, so any key can be written. Patterns know neither users nor
//! permissions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Blob;

/// A set of keys: one key, or all keys with a prefix. Written as the key, or as the prefix and `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pattern {
    /// This key alone.
    Exact(Blob),
    /// Every key that begins with this.
    Prefix(Blob),
}

/// Why a text is no pattern. The positions are offsets in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// A star that is not the last character and not escaped.
    InnerStar {
        /// Where it stands.
        at: usize,
    },
    /// A backslash before something other than a star or a backslash, or at the end.
    StrayBackslash {
        /// Where it stands.
        at: usize,
    },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InnerStar { at } => write!(
                f,
                "the star at byte {at} does not end the pattern: patterns are a key or a prefix with one \
                 star at its end; write \\* for a star that is part of the key"
            ),
            Self::StrayBackslash { at } => write!(
                f,
                "the backslash at byte {at} escapes nothing: write \\\\ for a backslash and \\* for a star"
            ),
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
    /// A star before the end, or a backslash that escapes neither a star nor a backslash.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let mut literal = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            match (text[at], text.get(at + 1)) {
                (b'*', None) => return Ok(Self::Prefix(literal.into())),
                (b'*', Some(_)) => return Err(PatternError::InnerStar { at }),
                (b'\\', Some(&escaped @ (b'*' | b'\\'))) => {
                    literal.push(escaped);
                    at += 2;
                }
                (b'\\', _) => return Err(PatternError::StrayBackslash { at }),
                (byte, _) => {
                    literal.push(byte);
                    at += 1;
                }
            }
        }
        Ok(Self::Exact(literal.into()))
    }

    /// The text that [`Pattern::parse`] reads back as this pattern.
    #[must_use]
    pub fn text(&self) -> Blob {
        let literal = self.literal();
        let mut text = Vec::with_capacity(literal.len() + 1);
        for &byte in literal {
            if matches!(byte, b'*' | b'\\') {
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
        }
    }

    /// Whether every key of the other pattern is one of this one.
    #[must_use]
    pub fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (Self::Exact(mine), Self::Exact(theirs)) => mine == theirs,
            (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Prefix(mine), _) => other.literal().starts_with(mine),
        }
    }

    /// The keys that match this pattern and begin with `prefix`, again as one pattern; `None` if there can
    /// be none.
    #[must_use]
    pub fn within(&self, prefix: &[u8]) -> Option<Pattern> {
        let literal = self.literal();
        if literal.starts_with(prefix) {
            return Some(self.clone());
        }
        match self {
            Self::Prefix(mine) if prefix.starts_with(mine) => Some(Self::Prefix(prefix.into())),
            _ => None,
        }
    }

    /// The key, or the prefix: also the first key, in order, that the pattern can match.
    #[must_use]
    pub fn literal(&self) -> &[u8] {
        match self {
            Self::Exact(literal) | Self::Prefix(literal) => literal,
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
    fn malformed_patterns_name_the_place() {
        assert_eq!(Pattern::parse(b"a*b"), Err(PatternError::InnerStar { at: 1 }));
        assert_eq!(Pattern::parse(b"**"), Err(PatternError::InnerStar { at: 0 }));
        assert_eq!(Pattern::parse(br"a\b"), Err(PatternError::StrayBackslash { at: 1 }));
        assert_eq!(Pattern::parse(br"ab\"), Err(PatternError::StrayBackslash { at: 2 }));
    }

    #[test]
    fn a_prefix_cuts_a_pattern_down_to_what_both_match() {
        assert_eq!(parse("a*").within(b"ab"), Some(parse("ab*")));
        assert_eq!(parse("abc*").within(b"ab"), Some(parse("abc*")));
        assert_eq!(parse("abc").within(b"ab"), Some(parse("abc")));
        assert_eq!(parse("a").within(b"ab"), None);
        assert_eq!(parse("b*").within(b"ab"), None);
    }

    proptest! {
        #[test]
        fn text_and_pattern_round_trip(literal in proptest::collection::vec(any::<u8>(), 0..40), prefix: bool) {
            let literal = Blob::from(literal);
            let pattern = if prefix { Pattern::Prefix(literal) } else { Pattern::Exact(literal) };
            prop_assert_eq!(Pattern::parse(&pattern.text()), Ok(pattern));
        }

        #[test]
        fn covering_means_matching_all_that_the_other_matches(
            mine in "[ab]{0,3}[*]?", theirs in "[ab]{0,3}[*]?", key in "[ab]{0,4}",
        ) {
            let (mine, theirs) = (parse(&mine), parse(&theirs));
            if mine.covers(&theirs) && theirs.matches(key.as_bytes()) {
                prop_assert!(mine.matches(key.as_bytes()));
            }
        }
    }
}
