//! Commands on strings.

use super::super::evaluate::Evaluation;
use super::super::needs::{Needs, READ, READ_DELETE, READ_WRITE};
use super::super::parse::Words;
use super::super::words::{Word, number, option};
use super::super::{Command, SetCondition, SetExpiry, SetTies};
use super::decimal::Decimal;
use super::{deadline, string};
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::types::Blob;
use serde::{Deserialize, Serialize};

/// A command on strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StringCommand {
    /// Sets a missing key; answers 1, or 0 if it was there.
    SetNx {
        /// Which.
        key: Blob,
        /// To what.
        value: Blob,
    },
    /// Sets keys, all at one position, if none of them exists; answers 1, or 0.
    MSetNx {
        /// Keys with values, at least one.
        pairs: Vec<(Blob, Blob)>,
    },
    /// Deletes a key and answers what it was.
    GetDel {
        /// Which.
        key: Blob,
    },
    /// Answers the value and changes the deadline.
    GetEx {
        /// Which.
        key: Blob,
        /// What becomes of it: [`SetExpiry::Clear`] takes it away.
        expiry: SetExpiry,
    },
    /// Adds to a decimal number; a missing key counts as zero.
    IncrByFloat {
        /// Which.
        key: Blob,
        /// How much, as it was written.
        delta: Blob,
    },
    /// Adds bytes at the end; answers the length.
    Append {
        /// Which.
        key: Blob,
        /// What.
        value: Blob,
    },
    /// The length in bytes.
    StrLen {
        /// Which.
        key: Blob,
    },
    /// A part of the value.
    GetRange {
        /// Which.
        key: Blob,
        /// The first byte, from 0; negative counts from the end.
        start: i64,
        /// The last byte.
        end: i64,
    },
}

impl StringCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetNx { .. } => "SETNX",
            Self::MSetNx { .. } => "MSETNX",
            Self::GetDel { .. } => "GETDEL",
            Self::GetEx { .. } => "GETEX",
            Self::IncrByFloat { .. } => "INCRBYFLOAT",
            Self::Append { .. } => "APPEND",
            Self::StrLen { .. } => "STRLEN",
            Self::GetRange { .. } => "GETRANGE",
        }
    }

    pub(in super::super) const fn is_write(&self) -> bool {
        !matches!(self, Self::StrLen { .. } | Self::GetRange { .. })
    }

    pub(in super::super) const fn grows(&self) -> bool {
        self.is_write() && !matches!(self, Self::GetDel { .. } | Self::GetEx { .. })
    }

    pub(in super::super) fn needs(&self) -> Needs<'_> {
        match self {
            Self::StrLen { key } | Self::GetRange { key, .. } => Needs::Keys(READ, std::slice::from_ref(key)),
            Self::MSetNx { pairs } => Needs::Pairs(READ_WRITE, pairs),
            Self::GetDel { key } => Needs::Keys(READ_DELETE, std::slice::from_ref(key)),
            Self::SetNx { key, .. }
            | Self::GetEx { key, .. }
            | Self::IncrByFloat { key, .. }
            | Self::Append { key, .. } => Needs::Keys(READ_WRITE, std::slice::from_ref(key)),
        }
    }

    pub(in super::super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        match self {
            Self::GetDel { key } | Self::StrLen { key } => each(Word::Plain(key)),
            Self::SetNx { key, value }
            | Self::Append { key, value }
            | Self::IncrByFloat { key, delta: value } => {
                each(Word::Plain(key));
                each(Word::Plain(value));
            }
            Self::MSetNx { pairs } => pairs.iter().for_each(|(key, value)| {
                each(Word::Plain(key));
                each(Word::Plain(value));
            }),
            Self::GetEx { key, expiry } => {
                each(Word::Plain(key));
                match expiry {
                    SetExpiry::Keep => {}
                    SetExpiry::Clear => each(Word::Plain(b"PERSIST")),
                    SetExpiry::After(ttl) => option("PX", Some(&number(ttl)), each),
                    SetExpiry::At(at) => option("PXAT", Some(&number(at)), each),
                }
            }
            Self::GetRange { key, start, end } => {
                each(Word::Plain(key));
                each(Word::Plain(&number(start)));
                each(Word::Plain(&number(end)));
            }
        }
    }
}

impl Words<'_> {
    pub(in super::super) fn string_command(&mut self) -> Result<Command, Failure> {
        let key = self.peek();
        Ok(Command::Strings(match self.name() {
            "SETNX" => StringCommand::SetNx { key: self.next()?, value: self.value()? },
            "MSETNX" => StringCommand::MSetNx { pairs: self.pairs()? },
            "GETDEL" => StringCommand::GetDel { key: self.next()? },
            "GETEX" => {
                let key = self.next()?;
                let expiry = self.expiry(&["PERSIST", "EX", "PX", "EXAT", "PXAT"])?;
                self.end()?;
                StringCommand::GetEx { key, expiry: expiry.unwrap_or(SetExpiry::Keep) }
            }
            "INCRBYFLOAT" => {
                let (key, delta) = (self.next()?, self.next()?);
                if Decimal::parse(&delta).is_none() {
                    return Err(not_a_number(&format!("the number to add is '{delta}'")));
                }
                StringCommand::IncrByFloat { key, delta }
            }
            "APPEND" => StringCommand::Append { key: self.next()?, value: self.value()? },
            "STRLEN" => StringCommand::StrLen { key: self.next()? },
            "GETRANGE" => StringCommand::GetRange {
                key: self.next()?,
                start: self.whole("the first byte")?,
                end: self.whole("the last byte")?,
            },
            "GETSET" => {
                let (key, value) = (self.next()?, self.value()?);
                let (expiry, condition) = (SetExpiry::Clear, SetCondition::Always);
                let ties = SetTies::default();
                return Ok(Command::Set { key, value, expiry, condition, return_old: true, ties });
            }
            "SETEX" | "PSETEX" => {
                let unit = if self.name() == "SETEX" { 1000 } else { 1 };
                let (key, ttl) = (self.next()?, self.positive_ttl(unit)?);
                let (expiry, condition) = (SetExpiry::After(ttl), SetCondition::Always);
                let (value, ties) = (self.value()?, SetTies::default());
                return Ok(Command::Set { key, value, expiry, condition, return_old: false, ties });
            }
            "INCR" => return Ok(Command::IncrBy { key, delta: 1 }),
            "DECR" => return Ok(Command::IncrBy { key, delta: -1 }),
            "DECRBY" => {
                let (key, delta) = (self.next()?, self.whole("the number to subtract")?);
                let delta = delta.checked_neg().ok_or_else(|| {
                    Failure::new(ErrorCode::NotAnInteger, "the number to subtract has no negative in 64 bits")
                })?;
                return Ok(Command::IncrBy { key, delta });
            }
            _ => return self.key_command(),
        }))
    }
}

fn not_a_number(what: &str) -> Failure {
    let message = format!("{what}, which is no decimal number with at most 20 digits before the point");
    Failure::new(ErrorCode::NotANumber, message)
}

impl Evaluation<'_> {
    pub(in super::super) fn string_value(&mut self, command: &StringCommand) -> Outcome {
        match command {
            StringCommand::SetNx { key, value } => {
                let missing = self.view.key(key).is_none();
                if missing {
                    self.view.put(key.clone(), value.clone(), None);
                }
                Ok(Value::Int(missing.into()))
            }
            StringCommand::MSetNx { pairs } => {
                let missing = pairs.iter().all(|(key, _)| self.view.key(key).is_none());
                if missing {
                    self.mset(pairs);
                }
                Ok(Value::Int(missing.into()))
            }
            StringCommand::GetDel { key } => {
                let Some((value, _)) = self.string_at(key)? else { return Ok(Value::Nil) };
                self.view.delete(key.clone());
                Ok(Value::Bytes(value))
            }
            StringCommand::GetEx { key, expiry } => self.get_ex(key, *expiry),
            StringCommand::IncrByFloat { key, delta } => self.incr_by_float(key, delta),
            StringCommand::Append { key, value } => {
                let old = self.string_at(key)?;
                let deadline = old.as_ref().and_then(|(_, deadline)| *deadline);
                let mut bytes = old.map_or_else(Vec::new, |(old, _)| old.to_vec());
                bytes.extend_from_slice(value);
                let length = bytes.len();
                self.put_string(key, bytes, deadline)?;
                Ok(super::super::info::count(length))
            }
            StringCommand::StrLen { key } => {
                let length = self.string_at(key)?.map_or(0, |(value, _)| value.len());
                Ok(super::super::info::count(length))
            }
            StringCommand::GetRange { key, start, end } => {
                let value = self.string_at(key)?.map(|(value, _)| value).unwrap_or_default();
                Ok(Value::Bytes(range(&value, *start, *end).into()))
            }
        }
    }

    fn get_ex(&mut self, key: &Blob, expiry: SetExpiry) -> Outcome {
        let Some(record) = self.view.key(key) else { return Ok(Value::Nil) };
        let dated = record.deadline.is_some();
        let value = string(record.data)?;
        match expiry {
            SetExpiry::Keep => {}
            SetExpiry::Clear if !dated => {}
            SetExpiry::Clear => self.view.redate(key.clone(), None),
            SetExpiry::After(ttl) => {
                let deadline = deadline(self.view.now(), ttl);
                self.view.redate(key.clone(), Some(deadline));
            }
            SetExpiry::At(at) => match self.deadline_at(at) {
                Some(deadline) => self.view.redate(key.clone(), Some(deadline)),
                None => self.view.delete(key.clone()),
            },
        }
        Ok(Value::Bytes(value))
    }

    fn incr_by_float(&mut self, key: &Blob, delta: &Blob) -> Outcome {
        let old = self.string_at(key)?;
        let before = old.as_ref().map_or(&b"0"[..], |(value, _)| value);
        let number = Decimal::parse(before).ok_or_else(|| not_a_number("the value is something"))?;
        // A forwarding node's word is not believed.
        let delta = Decimal::parse(delta).ok_or_else(|| not_a_number("the number to add is something"))?;
        let sum = number.plus(delta).ok_or_else(|| not_a_number("the sum would be a number"))?;
        let text = Blob::from(sum.text());
        self.put_string(key, text.clone(), old.and_then(|(_, deadline)| deadline))?;
        Ok(Value::Bytes(text))
    }
}

/// The bytes from `start` to `end`, both counted from 0, or from the end if negative.
fn range(value: &[u8], start: i64, end: i64) -> &[u8] {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    let from_front = |at: i64| if at < 0 { length.saturating_add(at).max(0) } else { at };
    let (start, end) = (from_front(start), from_front(end).min(length - 1));
    // Before the first byte there is nothing: `-7 -6` of three bytes is the first one in Redis only for an end of 0.
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end => &value[start..=end],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_count_from_both_ends() {
        let whole = b"This is a string";
        assert_eq!(range(whole, 0, 3), b"This");
        assert_eq!(range(whole, -3, -1), b"ing");
        assert_eq!(range(whole, 0, -1), whole);
        assert_eq!(range(whole, 10, 100), b"string");
        assert_eq!(range(whole, 5, 3), b"");
        assert_eq!(range(whole, 100, 200), b"");
        assert_eq!(range(b"", 0, -1), b"");
        assert_eq!(range(whole, i64::MIN, i64::MAX), whole);
    }
}
