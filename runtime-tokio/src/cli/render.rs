//! How answers and errors look: for people, as raw bytes, and as JSON. Values come from anybody who may
//! write, so nothing in them reaches a terminal as a control sequence.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use steadfast_core::error::Certainty;
use steadfast_core::reply::{Receipt, Value};

use crate::client::{Answer, Error};

/// A value as people read it, much as redis-cli prints it. Without a line end.
#[must_use]
pub fn plain(value: &Value) -> String {
    let mut out = String::new();
    write_plain(&mut out, value, 0);
    out
}

fn write_plain(out: &mut String, value: &Value, indent: usize) {
    match value {
        // No node says to a client that it waits.
        Value::Nil | Value::Waiting(_) => out.push_str("(nil)"),
        Value::Status(text) => out.push_str(&clean(text)),
        Value::Int(number) => {
            // Writing to a string can't fail.
            let _ = write!(out, "(integer) {number}");
        }
        Value::Bytes(bytes) => out.push_str(&quoted(bytes)),
        Value::List(items) if items.is_empty() => out.push_str("(empty list)"),
        Value::List(items) => {
            let width = items.len().to_string().len();
            let labels = (1..=items.len()).map(|number| format!("{number:>width$}) "));
            write_lines(out, labels.zip(items), indent);
        }
        Value::Map(pairs) if pairs.is_empty() => out.push_str("(empty map)"),
        Value::Map(pairs) => {
            let labels = pairs.iter().map(|(name, _)| format!("{}: ", clean(name)));
            write_lines(out, labels.zip(pairs.iter().map(|(_, value)| value)), indent);
        }
        Value::Pairs(pairs) if pairs.is_empty() => out.push_str("(no pairs)"),
        Value::Pairs(pairs) => {
            let labels = pairs.iter().map(|(first, _)| format!("{}: ", plain(first)));
            write_lines(out, labels.zip(pairs.iter().map(|(_, second)| second)), indent);
        }
    }
}

fn write_lines<'a>(out: &mut String, lines: impl Iterator<Item = (String, &'a Value)>, indent: usize) {
    for (number, (label, value)) in lines.enumerate() {
        if number > 0 {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(&label);
        write_plain(out, value, indent + label.chars().count());
    }
}

/// A value's own bytes, for other programs: lists one item per line, nothing for what is missing.
#[must_use]
pub fn raw(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil | Value::Waiting(_) => Vec::new(),
        Value::Status(text) => text.clone().into_bytes(),
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::List(items) => items.iter().map(raw).collect::<Vec<_>>().join(&b'\n'),
        Value::Map(pairs) => pairs
            .iter()
            .map(|(name, value)| [format!("{name}:").as_bytes(), &raw(value)].concat())
            .collect::<Vec<_>>()
            .join(&b'\n'),
        Value::Pairs(pairs) => {
            let items = pairs.iter().flat_map(|(first, second)| [raw(first), raw(second)]);
            items.collect::<Vec<_>>().join(&b'\n')
        }
    }
}

/// A value as JSON, its names in their order. Bytes that are not UTF-8 become `{"hex": "…"}`, and pairs with such a name a
/// list of lists.
#[derive(Clone, Copy, Debug)]
pub struct JsonValue<'a>(pub &'a Value);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Nil | Value::Waiting(_) => serializer.serialize_none(),
            Value::Status(text) => serializer.serialize_str(text),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => serializer.collect_map([("hex", hexadecimal(bytes))]),
            },
            Value::List(items) => serializer.collect_seq(items.iter().map(JsonValue)),
            Value::Map(pairs) => {
                serializer.collect_map(pairs.iter().map(|(name, value)| (name, JsonValue(value))))
            }
            // An object if every name can be one's name.
            Value::Pairs(pairs) => {
                match pairs.iter().map(|(first, _)| name(first)).collect::<Option<Vec<_>>>() {
                    Some(names) => serializer.collect_map(
                        names.iter().zip(pairs).map(|(name, (_, value))| (name, JsonValue(value))),
                    ),
                    None => serializer.collect_seq(
                        pairs.iter().map(|(first, second)| [JsonValue(first), JsonValue(second)]),
                    ),
                }
            }
        }
    }
}

/// The text of a value that is text.
fn name(value: &Value) -> Option<&str> {
    match value {
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        Value::Status(text) => Some(text),
        _ => None,
    }
}

/// A value as JSON text.
#[must_use]
pub fn json(value: &Value) -> String {
    text(&JsonValue(value))
}

/// A whole answer as one JSON object.
#[must_use]
pub fn answer_json(answer: &Answer) -> String {
    #[derive(Serialize)]
    struct Object<'a> {
        outcome: &'static str,
        value: JsonValue<'a>,
        receipt: Option<JsonReceipt>,
        node: Option<u16>,
    }
    text(&Object {
        outcome: "ok",
        value: JsonValue(&answer.value),
        receipt: answer.receipt.map(JsonReceipt::from),
        node: answer.node.map(|node| node.0),
    })
}

/// An error as one JSON object.
#[must_use]
pub fn error_json(error: &Error) -> String {
    #[derive(Serialize)]
    struct Object<'a> {
        outcome: &'static str,
        certainty: &'static str,
        code: &'static str,
        message: &'a str,
        receipt: Option<JsonReceipt>,
        node: Option<u16>,
    }
    text(&Object {
        outcome: "error",
        certainty: certainty(error.certainty),
        code: error.failure.code.name(),
        message: &error.failure.message,
        receipt: error.receipt.map(JsonReceipt::from),
        node: error.node.map(|node| node.0),
    })
}

#[derive(Serialize)]
struct JsonReceipt {
    position: u64,
    time_ms: u64,
    /// Left out if it is: most are.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
    /// The term of an answer that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    /// Whether it rests on one disk beside a witness; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
}

impl From<Receipt> for JsonReceipt {
    fn from(receipt: Receipt) -> Self {
        let term = receipt.ahead.map(|term| term.0);
        let (position, time_ms) = (receipt.position.0, receipt.time.0);
        Self { position, time_ms, durable: term.map(|_| false), term, degraded: receipt.degraded }
    }
}

fn text(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("objects with text for names always have a JSON form")
}

/// An error as people read it: `(error, definite) DENIED …`.
#[must_use]
pub fn error_plain(error: &Error) -> String {
    clean(&format!("(error, {}) {}", certainty(error.certainty), error.failure))
}

/// Whether a failed command may have taken effect, in one word.
#[must_use]
pub fn certainty(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Definite => "definite",
        Certainty::Indeterminate => "indeterminate",
    }
}

/// Bytes in double quotes; what `words.rs` reads back as the same bytes. Text stays text.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                char if is_hidden(char) => {
                    char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_escaped(&mut out, byte));
                }
                char => out.push(char),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_escaped(&mut out, *byte));
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    let _ = write!(out, "\\x{byte:02x}");
}

/// Text of a server without what a terminal would act on.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|char| if is_hidden(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

/// Control characters, and those that reorder or hide what stands beside them (Trojan Source, CVE-2021-42574).
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::words;
    use steadfast_core::error::{ErrorCode, Failure};
    use steadfast_core::time::Millis;
    use steadfast_core::types::{Blob, Index, NodeId};

    fn bytes(text: &str) -> Value {
        Value::Bytes(Blob::from(text))
    }

    #[test]
    fn simple_values_look_as_redis_users_expect() {
        assert_eq!(plain(&Value::Nil), "(nil)");
        assert_eq!(plain(&Value::ok()), "OK");
        assert_eq!(plain(&Value::Int(-3)), "(integer) -3");
        assert_eq!(plain(&bytes("grün")), "\"grün\"");
        assert_eq!(plain(&Value::List(vec![])), "(empty list)");
    }

    #[test]
    fn lists_are_numbered_and_nest() {
        let inner = Value::List(vec![bytes("x"), Value::Nil]);
        let list = Value::List(vec![bytes("a"), inner, Value::Int(1)]);
        assert_eq!(plain(&list), "1) \"a\"\n2) 1) \"x\"\n   2) (nil)\n3) (integer) 1");
    }

    #[test]
    fn maps_show_names() {
        let map = Value::Map(vec![("role".into(), bytes("leader")), ("term".into(), Value::Int(3))]);
        assert_eq!(plain(&map), "role: \"leader\"\nterm: (integer) 3");
        assert_eq!(json(&map), r#"{"role":"leader","term":3}"#);
    }

    #[test]
    fn whatever_is_printed_in_quotes_reads_back_as_the_same_bytes() {
        let all: Vec<u8> = (0..=255).chain("grün\u{202e}\u{200b}".bytes()).collect();
        let printed = quoted(&all);
        assert!(!printed.chars().any(is_hidden), "nothing hidden reaches the terminal");
        assert_eq!(words::split(printed.as_bytes()), Ok(vec![all]));
    }

    #[test]
    fn bytes_that_are_no_text_are_hexadecimal_in_json() {
        assert_eq!(json(&Value::Bytes(Blob::from(&[0xff, 0x00][..]))), r#"{"hex":"ff00"}"#);
    }

    #[test]
    fn raw_output_is_the_bytes_themselves() {
        assert_eq!(raw(&Value::Bytes(Blob::from(&[0xff, 0x00][..]))), [0xff, 0x00]);
        assert_eq!(raw(&Value::List(vec![bytes("a"), Value::Nil, Value::Int(7)])), b"a\n\n7");
    }

    #[test]
    fn json_answers_carry_receipt_and_node() {
        let receipt = Some(Receipt::durable(Index(12), Millis(34)));
        let answer = Answer { value: Value::ok(), receipt, node: Some(NodeId(2)), attempts: 1 };
        let expected = r#"{"outcome":"ok","value":"OK","receipt":{"position":12,"time_ms":34},"node":2}"#;
        assert_eq!(answer_json(&answer), expected);
    }

    #[test]
    fn errors_say_how_certain_they_are_and_carry_no_control_sequence() {
        let error = Error {
            failure: Failure::new(ErrorCode::TimedOut, "no answer\x1b[2J"),
            certainty: Certainty::Indeterminate,
            receipt: None,
            node: None,
            attempts: 2,
        };
        assert_eq!(error_plain(&error), "(error, indeterminate) TIMED_OUT no answer\u{fffd}[2J");
        let object = error_json(&error);
        assert!(object.contains(r#""certainty":"indeterminate","code":"TIMED_OUT""#), "{object}");
    }
}
