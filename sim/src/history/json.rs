//! Histories as JSON lines: one object per record, the form that checkers which are not ours can read.
//!
//! `docs/simulator.md` documents every field. The reader tolerates nothing: a line that is not exactly what
//! the writer would have written in meaning is an error that names the line. It never judges anything.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use steadfast_core::error::{Certainty, ErrorCode, Failure};
use steadfast_core::reply::{Receipt, Value};
use steadfast_core::time::Millis;
use steadfast_core::types::{Blob, Index, NodeId, SessionId, Term};

use super::{End, Record, RecordEvent};
use crate::check::asked::{Asked, Only};

/// Longest line that the reader accepts, in bytes.
pub const LINE_BYTES: u64 = 64 << 20;

/// One line, with its fields in the order in which they are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    index: u64,
    process: u64,
    #[serde(rename = "type")]
    kind: Kind,
    op: u64,
    f: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<serde_json::Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    value: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expect: Option<serde_json::Value>,
    time_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    /// The term of an answer that left ahead of its durability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
    /// Whether it rested on one disk beside a witness.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Vec<serde_json::Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// Tells `"value": null`, which is an answer, from no value at all.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(d).map(Some)
}

/// Why a file is no history.
#[derive(Debug)]
pub enum ReadError {
    /// The file could not be read.
    Io(std::io::Error),
    /// A line is wrong.
    Line {
        /// Counted from one.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "can't read the history: {error}"),
            Self::Line { line, what } => write!(f, "line {line} of the history: {what}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Writes records, one line each.
///
/// # Errors
/// Those of the writer.
pub fn write(records: &[Record], out: &mut impl Write) -> std::io::Result<()> {
    let mut open: BTreeMap<(u64, u64), Shape> = BTreeMap::new();
    for record in records {
        if let RecordEvent::Invoke { args, .. } = &record.event {
            open.insert((record.process, record.op), Shape::of(args));
        }
        // A completion without an invocation is kept as it is: the reader names it.
        let shape = open.get(&(record.process, record.op)).cloned().unwrap_or_default();
        serde_json::to_writer(&mut *out, &line_of(record, shape))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads records, and checks each line on its own. [`super::History::from_records`] checks them together.
///
/// # Errors
/// The first line that is malformed, with its number, or the failure to read.
pub fn read(input: &mut impl BufRead) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    let mut open: BTreeMap<(u64, u64), Shape> = BTreeMap::new();
    for number in 1.. {
        let mut bytes = Vec::new();
        input.by_ref().take(LINE_BYTES + 1).read_until(b'\n', &mut bytes).map_err(ReadError::Io)?;
        if bytes.is_empty() {
            break;
        }
        let error = |what: String| ReadError::Line { line: number, what };
        if bytes.pop() != Some(b'\n') {
            return Err(error(format!("it is cut off, or longer than {LINE_BYTES} bytes")));
        }
        let line: Line = serde_json::from_slice(&bytes).map_err(|e| error(e.to_string()))?;
        records.push(record_of(line, &mut open).map_err(error)?);
    }
    Ok(records)
}

/// What the writer derives from the arguments, for readers that do not know the commands.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shape {
    f: String,
    key: Option<serde_json::Value>,
    keys: Option<Vec<serde_json::Value>>,
    value: Option<serde_json::Value>,
    expect: Option<serde_json::Value>,
}

impl Shape {
    fn of(args: &[Blob]) -> Self {
        let words = if args.first().is_some_and(|name| is_group(name)) { 2 } else { 1 };
        let name = args.iter().take(words).map(|arg| String::from_utf8_lossy(arg).to_ascii_uppercase());
        let mut shape = Self { f: name.collect::<Vec<_>>().join(" "), ..Self::default() };
        let Ok(asked) = Asked::read(args) else { return shape };
        let keys: Vec<_> = asked.keys().into_iter().map(text).collect();
        match asked {
            Asked::Del(_) | Asked::Exists(_) | Asked::MGet(_) | Asked::MSet(_) => shape.keys = Some(keys),
            _ => shape.key = keys.into_iter().next(),
        }
        match &asked {
            Asked::Set { value, only, .. } => {
                shape.value = Some(text(value));
                shape.expect = match only {
                    Only::Always => None,
                    Only::Missing => Some("missing".into()),
                    Only::Existing => Some("exists".into()),
                    Only::Revision(revision) => Some(revision.0.into()),
                };
            }
            Asked::IncrBy(_, number) | Asked::Expire(_, number) => shape.value = Some((*number).into()),
            Asked::MSet(pairs) => shape.value = Some(pairs.iter().map(|(_, value)| text(value)).collect()),
            _ => {}
        }
        shape
    }
}

/// Commands whose second word belongs to the name.
fn is_group(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"USER") || name.eq_ignore_ascii_case(b"SESSION")
}

fn line_of(record: &Record, shape: Shape) -> Line {
    let mut line = Line {
        index: record.index,
        process: record.process,
        kind: Kind::Invoke,
        op: record.op,
        f: shape.f,
        key: shape.key,
        keys: shape.keys,
        value: None,
        expect: None,
        time_ns: record.time_ns,
        session: record.session.map(|id| id.0),
        seq: record.seq,
        position: None,
        time: None,
        ahead: None,
        degraded: false,
        node: None,
        error: None,
        message: None,
        user: None,
        args: None,
    };
    match &record.event {
        RecordEvent::Invoke { user, args } => {
            line.value = shape.value;
            line.expect = shape.expect;
            line.user = user.as_ref().map(text);
            line.args = Some(args.iter().map(text).collect());
        }
        RecordEvent::Complete { end, receipt, node } => {
            line.position = receipt.map(|receipt| receipt.position.0);
            line.time = receipt.map(|receipt| receipt.time.0);
            line.degraded = receipt.is_some_and(|receipt| receipt.degraded);
            line.ahead = receipt.and_then(|receipt| receipt.ahead).map(|term| term.0);
            line.node = node.map(|node| node.0);
            let failure = match end {
                End::Ok(value) => {
                    line.kind = Kind::Ok;
                    line.value = Some(value_to_json(value));
                    None
                }
                End::Failed(failure) => {
                    line.kind = Kind::Fail;
                    Some(failure)
                }
                End::Unknown(failure) => {
                    line.kind = Kind::Info;
                    failure.as_ref()
                }
            };
            line.error = failure.map(|failure| failure.code.name().to_owned());
            line.message = failure.map(|failure| failure.message.clone());
        }
    }
    line
}

fn record_of(line: Line, open: &mut BTreeMap<(u64, u64), Shape>) -> Result<Record, String> {
    let name = (line.process, line.op);
    let event = match line.kind {
        Kind::Invoke => {
            let args = line.args.as_ref().ok_or("an invocation needs args")?;
            let args = args.iter().map(untext).collect::<Result<Vec<_>, _>>()?;
            let user = line.user.as_ref().map(untext).transpose()?;
            open.insert(name, Shape::of(&args));
            RecordEvent::Invoke { user, args }
        }
        Kind::Ok | Kind::Fail | Kind::Info => completion_of(&line)?,
    };
    let mut shape = open.get(&name).cloned().ok_or("it ends an operation that did not begin")?;
    if line.kind == Kind::Ok {
        shape.value.clone_from(&line.value);
    } else if line.kind != Kind::Invoke {
        shape.value = None;
    }
    if line.kind != Kind::Invoke {
        shape.expect = None;
    }
    let said = Shape { f: line.f, key: line.key, keys: line.keys, value: line.value, expect: line.expect };
    if said != shape {
        return Err("f, key, keys, value or expect do not agree with args".into());
    }
    Ok(Record {
        index: line.index,
        process: line.process,
        op: line.op,
        time_ns: line.time_ns,
        event,
        session: line.session.map(SessionId),
        seq: line.seq,
    })
}

fn completion_of(line: &Line) -> Result<RecordEvent, String> {
    if line.args.is_some() || line.user.is_some() {
        return Err("only an invocation has args and user".into());
    }
    let receipt = match (line.position, line.time) {
        (Some(position), Some(time)) => {
            let (position, time, ahead) = (Index(position), Millis(time), line.ahead.map(Term));
            Some(Receipt { position, time, ahead, degraded: line.degraded })
        }
        (None, None) => None,
        _ => return Err("position and time come together".into()),
    };
    let failure = match &line.error {
        Some(name) => {
            let code = ErrorCode::ALL.iter().find(|code| code.name() == name);
            let code = *code.ok_or(format!("no error is called {name}"))?;
            Some(Failure::new(code, line.message.clone().unwrap_or_default()))
        }
        None if line.message.is_some() => return Err("a message needs an error".into()),
        None => None,
    };
    let end = match (line.kind, failure) {
        (Kind::Ok, None) => End::Ok(value_from_json(line.value.as_ref().ok_or("an ok needs a value")?)?),
        (Kind::Ok, Some(_)) => return Err("an ok has no error".into()),
        (Kind::Fail, Some(failure)) if failure.code.certainty() == Certainty::Definite => {
            End::Failed(failure)
        }
        (Kind::Fail, _) => return Err("a fail needs a definite error".into()),
        (_, failure) => End::Unknown(failure),
    };
    Ok(RecordEvent::Complete { end, receipt, node: line.node.map(NodeId) })
}

/// A byte string: text where it is UTF-8, else `{"hex": "…"}` with two lower-case digits per byte.
fn text(bytes: &Blob) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({ "hex": hex })
        }
    }
}

fn untext(json: &serde_json::Value) -> Result<Blob, String> {
    if let Some(text) = json.as_str() {
        return Ok(Blob::from(text));
    }
    let object = json.as_object().filter(|object| object.len() == 1);
    let hex = object.and_then(|object| object.get("hex")).and_then(|hex| hex.as_str());
    let hex = hex.ok_or_else(|| format!("{json} is neither text nor {{\"hex\": …}}"))?;
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> =
        hex.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    let bytes = bytes.ok_or_else(|| format!("{hex} is not hexadecimal"))?;
    if std::str::from_utf8(&bytes).is_ok() {
        return Err(format!("{hex} is text, and text is written as text"));
    }
    Ok(Blob::from(bytes))
}

/// A reply's value: nil is `null`, a number a number, bytes as in [`text`], a list an array, a status
/// `{"status": "OK"}`, a map `{"map": [[name, value], …]}`, pairs `{"pairs": [[value, value], …]}`.
fn value_to_json(value: &Value) -> serde_json::Value {
    match value {
        // No client sees that a node waits.
        Value::Nil | Value::Waiting(_) => serde_json::Value::Null,
        Value::Int(number) => (*number).into(),
        Value::Bytes(bytes) => text(bytes),
        Value::List(items) => items.iter().map(value_to_json).collect(),
        Value::Status(status) => serde_json::json!({ "status": status }),
        Value::Map(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name, value_to_json(value))).collect();
            serde_json::json!({ "map": pairs })
        }
        Value::Pairs(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(first, second)| (value_to_json(first), value_to_json(second))).collect();
            serde_json::json!({ "pairs": pairs })
        }
    }
}

/// The inverse of [`value_to_json`]. Nesting is bounded by the JSON parser.
fn value_from_json(json: &serde_json::Value) -> Result<Value, String> {
    match json {
        serde_json::Value::Null => Ok(Value::Nil),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map(Value::Int)
            .ok_or_else(|| format!("{number} is not a whole number in 64 bits")),
        serde_json::Value::Array(items) => {
            items.iter().map(value_from_json).collect::<Result<_, _>>().map(Value::List)
        }
        serde_json::Value::Object(object) if object.len() == 1 => {
            if let Some(status) = object.get("status").and_then(|status| status.as_str()) {
                return Ok(Value::Status(status.to_owned()));
            }
            let array = |name: &str| object.get(name).and_then(|pairs| pairs.as_array());
            match (array("map"), array("pairs")) {
                (Some(pairs), _) => {
                    pairs.iter().map(named_from_json).collect::<Result<_, _>>().map(Value::Map)
                }
                (None, Some(pairs)) => {
                    pairs.iter().map(pair_from_json).collect::<Result<_, _>>().map(Value::Pairs)
                }
                (None, None) => untext(json).map(Value::Bytes),
            }
        }
        _ => untext(json).map(Value::Bytes),
    }
}

fn pair_from_json(json: &serde_json::Value) -> Result<(Value, Value), String> {
    match json.as_array().map(Vec::as_slice) {
        Some([first, second]) => Ok((value_from_json(first)?, value_from_json(second)?)),
        _ => Err(format!("{json} is no pair of values")),
    }
}

fn named_from_json(json: &serde_json::Value) -> Result<(String, Value), String> {
    let pair = json.as_array().filter(|pair| pair.len() == 2);
    let name = pair.and_then(|pair| pair[0].as_str());
    match (name, pair) {
        (Some(name), Some(pair)) => Ok((name.to_owned(), value_from_json(&pair[1])?)),
        _ => Err(format!("{json} is not a name with a value")),
    }
}
