//! How a reply is written: its outcome, its value and its receipt.
//!
//! | value | bytes |
//! |---|---|
//! | nothing | 0 |
//! | status | 1, text |
//! | number | 2, i64 |
//! | bytes | 3, byte string |
//! | list | 4, count u32, that many values |
//! | map | 5, count u32, that many pairs of text and value |
//! | pairs | 6, count u32, that many pairs of values |
//!
//! Depth and number of values are bounded on both sides: a reader of someone else's bytes must not recurse or
//! allocate by their word, and a writer must not produce what no reader takes.

use super::frame::EncodeError;
use super::wire::{BodyError, Reader, put_bytes, put_count};
use crate::error::{ErrorCode, Failure, RETRY_AFTER_MS};
use crate::reply::{Receipt, Reply, Value};
use crate::time::Millis;
use crate::types::{Index, Term};

/// How deep lists and maps may nest.
pub const MAX_DEPTH: usize = 8;
/// How many values one reply may hold, those inside lists and maps included.
pub const MAX_VALUES: usize = 1 << 17;

/// Appends a reply.
///
/// # Errors
/// [`EncodeError::TooDeep`] and [`EncodeError::TooMany`].
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply) -> Result<(), EncodeError> {
    match reply.receipt {
        None => out.push(0),
        Some(Receipt { position, time, ahead, degraded }) => {
            // What left ahead of its durability rests on no disk, whatever there are.
            out.push(if ahead.is_some() { 2 } else { 1 + 2 * u8::from(degraded) });
            out.extend_from_slice(&position.0.to_le_bytes());
            out.extend_from_slice(&time.0.to_le_bytes());
            if let Some(term) = ahead {
                out.extend_from_slice(&term.0.to_le_bytes());
            }
        }
    }
    match &reply.outcome {
        Ok(value) => {
            out.push(0);
            write_value(out, value, MAX_DEPTH, &mut MAX_VALUES.clone())
        }
        Err(failure) => {
            out.push(1);
            write_failure(out, failure);
            Ok(())
        }
    }
}

/// Reads a reply.
///
/// # Errors
/// [`BodyError`].
pub fn read_reply(reader: &mut Reader<'_>) -> Result<Reply, BodyError> {
    let receipt = match reader.u8("receipt")? {
        0 => None,
        kind @ 1..=3 => {
            let (position, time) = (Index(reader.u64("position")?), Millis(reader.u64("time")?));
            let ahead = if kind == 2 { Some(Term(reader.u64("term")?)) } else { None };
            Some(Receipt { position, time, ahead, degraded: kind == 3 })
        }
        value => return Err(BodyError::Invalid { field: "receipt", value: u64::from(value) }),
    };
    let outcome = match reader.flag("outcome")? {
        false => Ok(read_value(reader, MAX_DEPTH, &mut MAX_VALUES.clone())?),
        true => Err(read_failure(reader)?),
    };
    Ok(Reply { outcome, receipt })
}

/// Appends an error: its number (u16), its sentence, and when to come again.
pub fn write_failure(out: &mut Vec<u8>, failure: &Failure) {
    out.extend_from_slice(&failure.code.number().to_le_bytes());
    put_bytes(out, failure.message.as_bytes());
    out.extend_from_slice(&failure.retry_after_ms.to_le_bytes());
}

/// Reads an error. A number that this version does not have is invalid: new errors come with a new version.
///
/// # Errors
/// [`BodyError`].
pub fn read_failure(reader: &mut Reader<'_>) -> Result<Failure, BodyError> {
    let number = reader.u16("error code")?;
    let code = ErrorCode::from_number(number)
        .ok_or(BodyError::Invalid { field: "error code", value: u64::from(number) })?;
    let message = reader.text("error message")?;
    // Nobody is kept away for longer by a node's word.
    let retry_after_ms = reader.u32("retry after")?.min(*RETRY_AFTER_MS.end() as u32);
    Ok(Failure { code, message, retry_after_ms })
}

fn write_value(
    out: &mut Vec<u8>,
    value: &Value,
    depth: usize,
    budget: &mut usize,
) -> Result<(), EncodeError> {
    *budget =
        budget.checked_sub(1).ok_or(EncodeError::TooMany { count: MAX_VALUES + 1, maximum: MAX_VALUES })?;
    match value {
        // Nodes keep it to themselves.
        Value::Nil | Value::Waiting(_) => out.push(0),
        Value::Status(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
        Value::Int(number) => {
            out.push(2);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Bytes(bytes) => {
            out.push(3);
            put_bytes(out, bytes);
        }
        Value::List(items) => {
            let depth = depth.checked_sub(1).ok_or(EncodeError::TooDeep)?;
            out.push(4);
            put_count(out, items.len());
            for item in items {
                write_value(out, item, depth, budget)?;
            }
        }
        Value::Map(pairs) => {
            let depth = depth.checked_sub(1).ok_or(EncodeError::TooDeep)?;
            out.push(5);
            put_count(out, pairs.len());
            for (name, item) in pairs {
                put_bytes(out, name.as_bytes());
                write_value(out, item, depth, budget)?;
            }
        }
        Value::Pairs(pairs) => {
            let depth = depth.checked_sub(1).ok_or(EncodeError::TooDeep)?;
            out.push(6);
            put_count(out, pairs.len());
            for (first, second) in pairs {
                write_value(out, first, depth, budget)?;
                write_value(out, second, depth, budget)?;
            }
        }
    }
    Ok(())
}

fn read_value(reader: &mut Reader<'_>, depth: usize, budget: &mut usize) -> Result<Value, BodyError> {
    *budget = budget.checked_sub(1).ok_or(BodyError::TooMany {
        field: "values",
        count: MAX_VALUES as u64 + 1,
        maximum: MAX_VALUES as u64,
    })?;
    let tag = reader.u8("value")?;
    match tag {
        0 => Ok(Value::Nil),
        1 => Ok(Value::Status(reader.text("status")?)),
        2 => Ok(Value::Int(i64::from_le_bytes(reader.u64("number")?.to_le_bytes()))),
        3 => Ok(Value::Bytes(reader.blob("bytes")?)),
        4..=6 if depth == 0 => Err(BodyError::TooMany {
            field: "levels",
            count: MAX_DEPTH as u64 + 1,
            maximum: MAX_DEPTH as u64,
        }),
        4 => {
            let count = reader.count("list", *budget, 1)?;
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                items.push(read_value(reader, depth - 1, budget)?);
            }
            Ok(Value::List(items))
        }
        5 => {
            let count = reader.count("map", *budget, 5)?;
            let mut pairs = Vec::with_capacity(count);
            for _ in 0..count {
                let name = reader.text("name")?;
                pairs.push((name, read_value(reader, depth - 1, budget)?));
            }
            Ok(Value::Map(pairs))
        }
        6 => {
            let count = reader.count("pairs", *budget, 2)?;
            let mut pairs = Vec::with_capacity(count);
            for _ in 0..count {
                let first = read_value(reader, depth - 1, budget)?;
                pairs.push((first, read_value(reader, depth - 1, budget)?));
            }
            Ok(Value::Pairs(pairs))
        }
        _ => Err(BodyError::Invalid { field: "value", value: u64::from(tag) }),
    }
}
