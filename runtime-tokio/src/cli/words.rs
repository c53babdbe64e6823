//! Splits a line into the words of a command, much as a shell does. Words are bytes: `"\xff"` is one byte.
//!
//! - Words are separated by blanks. A `#` that begins a word begins a comment.
//! - `'…'` is taken as it is.
//! - `"…"` knows `\"`, `\\`, `\n`, `\r`, `\t`, `\0` and `\xNN`; any other `\` is an error rather than a guess.
//! - Outside quotes, `\` takes the next byte as it is.

use std::fmt;

/// Splits one line.
///
/// # Errors
/// What is wrong and where, in bytes from the start of the line.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, WordError> {
    let mut scanner = Scanner { line, at: 0 };
    let mut words = Vec::new();
    while let Some(word) = scanner.word()? {
        words.push(word);
    }
    Ok(words)
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordError {
    /// A quote is never closed.
    Unclosed {
        /// Where it opens.
        at: usize,
    },
    /// A `\` that means nothing.
    Escape {
        /// Where it stands.
        at: usize,
    },
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed { at } => write!(f, "the quote at byte {} is never closed", at + 1),
            Self::Escape { at } => write!(
                f,
                "the backslash at byte {} means nothing: inside double quotes there are \
                 \\\" \\\\ \\n \\r \\t \\0 and \\xNN",
                at + 1
            ),
        }
    }
}

impl std::error::Error for WordError {}

struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.line.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn word(&mut self) -> Result<Option<Vec<u8>>, WordError> {
        while self.line.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        if matches!(self.line.get(self.at), None | Some(b'#')) {
            return Ok(None);
        }
        let mut word = Vec::new();
        loop {
            let at = self.at;
            match self.next() {
                None => break,
                Some(byte) if byte.is_ascii_whitespace() => break,
                Some(b'\'') => self.single(at, &mut word)?,
                Some(b'"') => self.double(at, &mut word)?,
                Some(b'\\') => word.push(self.next().ok_or(WordError::Escape { at })?),
                Some(byte) => word.push(byte),
            }
        }
        Ok(Some(word))
    }

    fn single(&mut self, opened: usize, word: &mut Vec<u8>) -> Result<(), WordError> {
        loop {
            match self.next().ok_or(WordError::Unclosed { at: opened })? {
                b'\'' => return Ok(()),
                byte => word.push(byte),
            }
        }
    }

    fn double(&mut self, opened: usize, word: &mut Vec<u8>) -> Result<(), WordError> {
        let unclosed = WordError::Unclosed { at: opened };
        loop {
            let at = self.at;
            match self.next().ok_or(unclosed)? {
                b'"' => return Ok(()),
                b'\\' => match self.next().ok_or(unclosed)? {
                    b'n' => word.push(b'\n'),
                    b'r' => word.push(b'\r'),
                    b't' => word.push(b'\t'),
                    b'0' => word.push(0),
                    b'x' => word.push(self.hexadecimal().ok_or(WordError::Escape { at })?),
                    byte @ (b'"' | b'\\') => word.push(byte),
                    _ => return Err(WordError::Escape { at }),
                },
                byte => word.push(byte),
            }
        }
    }

    fn hexadecimal(&mut self) -> Option<u8> {
        let digits = std::str::from_utf8(self.line.get(self.at..self.at + 2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 2;
        u8::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let split = split(line.as_bytes()).expect("the line is fine");
        split.iter().map(|word| word.escape_ascii().to_string()).collect()
    }

    #[test]
    fn words_are_separated_by_blanks() {
        assert_eq!(words("SET  key\tvalue "), ["SET", "key", "value"]);
        assert_eq!(words("   "), Vec::<String>::new());
    }

    #[test]
    fn quotes_hold_a_word_together_and_may_be_empty() {
        assert_eq!(words(r#"SET 'a b' "c d" '' """#), ["SET", "a b", "c d", "", ""]);
        assert_eq!(words(r#"a'b c'd"e f""#), ["ab cde f"]);
        assert_eq!(words(r#"'a"\n' "it's""#), [r#"a\"\\n"#, r"it\'s"]);
    }

    #[test]
    fn a_comment_begins_only_where_a_word_would() {
        assert_eq!(words("GET key # what is it?"), ["GET", "key"]);
        assert_eq!(words("# nothing"), Vec::<String>::new());
        assert_eq!(words("GET key#1 '#'"), ["GET", "key#1", "#"]);
    }

    #[test]
    fn escapes_make_any_byte() {
        assert_eq!(split(br#""\x00\xfF\n\"\\""#), Ok(vec![b"\x00\xff\n\"\\".to_vec()]));
        assert_eq!(split(br"a\ b \'"), Ok(vec![b"a b".to_vec(), b"'".to_vec()]));
        assert_eq!(split(b"\xff\xfe"), Ok(vec![b"\xff\xfe".to_vec()]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(split(b"GET 'a b"), Err(WordError::Unclosed { at: 4 }));
        assert_eq!(split(b"GET \"a\\"), Err(WordError::Unclosed { at: 4 }));
        assert_eq!(split(br#"GET "\q""#), Err(WordError::Escape { at: 5 }));
        assert_eq!(split(br#"GET "\x+1""#), Err(WordError::Escape { at: 5 }));
        assert_eq!(split(b"GET a\\"), Err(WordError::Escape { at: 5 }));
    }
}
