//! Which keys a grant or denial is about, as the judges understand it. Written from the documentation; shares no code with the
//! core's patterns.

use steadfast_core::types::Blob;

use super::asked::Unread;

/// The keys that a grant is about: one, all that begin with something, or those that match a glob. In text a backslash takes
/// the meaning from the next byte, and a star at the end, alone, opens the pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    /// The key, the prefix, or the glob as it is written.
    pub literal: Blob,
    /// Whether more may follow.
    pub open: bool,
    /// Whether it is a glob.
    pub glob: bool,
}

impl Reach {
    /// Whether the key is one of these.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        match (self.glob, self.open) {
            (true, _) => fits(&self.literal, key),
            (false, true) => key.starts_with(&self.literal),
            (false, false) => *self.literal == *key,
        }
    }

    /// What every key of these begins with.
    #[must_use]
    pub fn beginning(&self) -> &[u8] {
        let end = self.literal.iter().position(|byte| b"*?[\\".contains(byte)).filter(|_| self.glob);
        &self.literal[..end.unwrap_or(self.literal.len())]
    }

    pub(super) fn read(text: &[u8]) -> Result<Self, Unread> {
        let mut literal = Vec::new();
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'*' if bytes.as_slice().is_empty() => {
                    return Ok(Self { literal: literal.into(), open: true, glob: false });
                }
                b'*' | b'?' | b'[' => return Ok(Self { literal: text.into(), open: false, glob: true }),
                b'\\' => literal.extend(bytes.next()),
                byte => literal.push(*byte),
            }
        }
        Ok(Self { literal: literal.into(), open: false, glob: false })
    }
}

/// Whether a text matches a glob, tried in every way. The workload escapes nothing in globs.
fn fits(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| fits(rest, &text[at..])),
        ([b'?', rest @ ..], [_, text @ ..]) => fits(rest, text),
        ([b'[', rest @ ..], [first, text @ ..]) => {
            let end = rest.iter().position(|byte| *byte == b']').unwrap_or(rest.len());
            rest[..end].contains(first) && fits(rest.get(end + 1..).unwrap_or_default(), text)
        }
        ([byte, rest @ ..], [first, text @ ..]) => byte == first && fits(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_says() {
        let covers =
            |text: &str, key: &str| Reach::read(text.as_bytes()).map(|reach| reach.covers(key.as_bytes()));
        assert_eq!(covers("a*", "ab"), Ok(true));
        assert_eq!(covers("a", "ab"), Ok(false));
        assert_eq!(covers(r"a\*", "a*"), Ok(true));
        assert_eq!(covers(r"a\*", "ab"), Ok(false));
        assert_eq!(covers("a*b", "axxb"), Ok(true));
        assert_eq!(covers("a?[bc]*", "axcd"), Ok(true));
        assert_eq!(covers("a?[bc]", "axd"), Ok(false));
        assert_eq!(covers(r"a\?", "a?"), Ok(true));
    }
}
