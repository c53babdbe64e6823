//! Glob patterns as Redis has them: `*` any bytes, `?` one byte, `[a-z]` one of a set, `[^a-z]` one of none, `\` the next byte
//! as it is.
//!
//! Matching takes time in proportion to pattern times text at most: after a mismatch only the last star is tried again, for
//! an earlier one could match no more than it (Russ Cox, "Glob Matching Can Be Simple And Fast Too").

/// Whether the whole text matches the pattern.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last star, and at the next byte of the text.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p, t + 1));
            p += 1;
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        if t < text.len()
            && let Some(next) = one(pattern, p, text[t])
        {
            (p, t) = (next, t + 1);
            continue;
        }
        match retry {
            Some((star, next)) if next <= text.len() => (p, t) = (star, next),
            _ => return false,
        }
    }
}

/// What every text that matches begins with: the bytes before the first that has a meaning.
#[must_use]
pub fn literal(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    &pattern[..end.unwrap_or(pattern.len())]
}

/// The place in the pattern behind what matches this byte, if it does.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => {
            let (holds, next) = set(pattern, at + 1, byte);
            holds.then_some(next)
        }
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Whether a set that begins here holds the byte, and where it ends. One that is never closed ends with the pattern.
fn set(pattern: &[u8], mut at: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut holds = false;
    while let Some(&first) = pattern.get(at) {
        match (first, pattern.get(at + 1), pattern.get(at + 2)) {
            (b']', ..) => return (holds != negated, at + 1),
            (b'\\', Some(escaped), _) => {
                holds |= *escaped == byte;
                at += 2;
            }
            (low, Some(b'-'), Some(&high)) if high != b']' => {
                holds |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            (literal, ..) => {
                holds |= literal == byte;
                at += 1;
            }
        }
    }
    (holds != negated, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_what_redis_says_they_do() {
        for (pattern, yes, no) in [
            ("h?llo", "hallo", "hllo"),
            ("h*llo", "heeeello", "hello!"),
            ("h[ae]llo", "hello", "hillo"),
            ("h[^e]llo", "hallo", "hello"),
            ("h[a-b]llo", "hbllo", "hcllo"),
            ("h[b-a]llo", "hallo", "hcllo"),
            (r"h\*llo", "h*llo", "hallo"),
            (r"[\]]x", "]x", "\\x"),
            ("*", "", "\u{0}never\u{0}"),
            ("a*b*c", "aXbYbZc", "aXcYb"),
            ("[abc", "b", "d"),
            ("", "", "a"),
            ("**a", "a", "b"),
        ] {
            assert!(matches(pattern.as_bytes(), yes.as_bytes()), "{pattern} {yes}");
            assert!(pattern == "*" || !matches(pattern.as_bytes(), no.as_bytes()), "{pattern} {no}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }

    #[test]
    fn the_literal_is_what_every_match_begins_with() {
        assert_eq!(literal(b"user:*"), b"user:");
        assert_eq!(literal(br"a\*"), b"a");
        assert_eq!(literal(b"plain"), b"plain");
        assert_eq!(literal(b"[ab]"), b"");
    }

    /// Every way of dividing the text between the stars.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            Some((b'?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn stars_match_as_if_every_division_were_tried(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
            if matches(pattern.as_bytes(), text.as_bytes()) {
                prop_assert!(text.as_bytes().starts_with(literal(pattern.as_bytes())));
            }
        }
    }
}
