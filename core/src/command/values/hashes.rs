//! Commands on hashes: fields with values under one key.

use super::super::evaluate::Evaluation;
use super::super::info::count;
use super::super::needs::{Needs, READ, READ_WRITE};
use super::super::parse::{Words, integer};
use super::super::words::{Word, number};
use super::super::{Command, catalogue::shown};
use super::wrong_kind;
use crate::error::{ErrorCode, Failure};
use crate::protocol::value::MAX_VALUES;
use crate::reply::{Outcome, Value};
use crate::state::data::{Data, Kind, Members};
use crate::types::Blob;
use serde::{Deserialize, Serialize};

/// A command on hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashCommand {
    /// Sets fields; answers how many are new.
    Set {
        /// Of which key.
        key: Blob,
        /// Fields with values, at least one.
        pairs: Vec<(Blob, Blob)>,
        /// Answers OK instead of the number.
        plain: bool,
    },
    /// Sets a missing field; answers 1, or 0 if it was there.
    SetNx {
        /// Of which key.
        key: Blob,
        /// Which.
        field: Blob,
        /// To what.
        value: Blob,
    },
    /// The value of a field.
    Get {
        /// Of which key.
        key: Blob,
        /// Which.
        field: Blob,
    },
    /// The values of fields.
    MGet {
        /// Of which key.
        key: Blob,
        /// Which, at least one.
        fields: Vec<Blob>,
    },
    /// Deletes fields; answers how many there were.
    Del {
        /// Of which key.
        key: Blob,
        /// Which, at least one.
        fields: Vec<Blob>,
    },
    /// Whether a field is there.
    Exists {
        /// Of which key.
        key: Blob,
        /// Which.
        field: Blob,
    },
    /// Adds to a whole number in a field; a missing field counts as zero.
    IncrBy {
        /// Of which key.
        key: Blob,
        /// Which.
        field: Blob,
        /// How much.
        delta: i64,
    },
    /// How many fields there are.
    Len {
        /// Of which key.
        key: Blob,
    },
    /// All fields, their values, or both, in the order of the fields.
    All {
        /// Of which key.
        key: Blob,
        /// Which of them.
        part: Part,
    },
}

/// What is asked of all fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Names.
    Fields,
    /// Values.
    Values,
    /// Names with values.
    Both,
}

impl HashCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Set { plain: false, .. } => "HSET",
            Self::Set { plain: true, .. } => "HMSET",
            Self::SetNx { .. } => "HSETNX",
            Self::Get { .. } => "HGET",
            Self::MGet { .. } => "HMGET",
            Self::Del { .. } => "HDEL",
            Self::Exists { .. } => "HEXISTS",
            Self::IncrBy { .. } => "HINCRBY",
            Self::Len { .. } => "HLEN",
            Self::All { part: Part::Fields, .. } => "HKEYS",
            Self::All { part: Part::Values, .. } => "HVALS",
            Self::All { part: Part::Both, .. } => "HGETALL",
        }
    }

    pub(in super::super) const fn is_write(&self) -> bool {
        matches!(self, Self::Set { .. } | Self::SetNx { .. } | Self::Del { .. } | Self::IncrBy { .. })
    }

    pub(in super::super) const fn grows(&self) -> bool {
        self.is_write() && !matches!(self, Self::Del { .. })
    }

    const fn key(&self) -> &Blob {
        match self {
            Self::Set { key, .. }
            | Self::SetNx { key, .. }
            | Self::Get { key, .. }
            | Self::MGet { key, .. }
            | Self::Del { key, .. }
            | Self::Exists { key, .. }
            | Self::IncrBy { key, .. }
            | Self::Len { key }
            | Self::All { key, .. } => key,
        }
    }

    pub(in super::super) fn needs(&self) -> Needs<'_> {
        Needs::Keys(if self.is_write() { READ_WRITE } else { READ }, std::slice::from_ref(self.key()))
    }

    pub(in super::super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        each(Word::Plain(self.key()));
        match self {
            Self::Len { .. } | Self::All { .. } => {}
            Self::Get { field, .. } | Self::Exists { field, .. } => each(Word::Plain(field)),
            Self::MGet { fields, .. } | Self::Del { fields, .. } => {
                fields.iter().for_each(|field| each(Word::Plain(field)));
            }
            Self::Set { pairs, .. } => pairs.iter().for_each(|(field, value)| {
                each(Word::Plain(field));
                each(Word::Plain(value));
            }),
            Self::SetNx { field, value, .. } => {
                each(Word::Plain(field));
                each(Word::Plain(value));
            }
            Self::IncrBy { field, delta, .. } => {
                each(Word::Plain(field));
                each(Word::Plain(&number(delta)));
            }
        }
    }
}

impl Words<'_> {
    pub(in super::super) fn hash_command(&mut self) -> Result<Command, Failure> {
        let name = self.name();
        let key = self.next()?;
        Ok(Command::Hashes(match name {
            "HSET" => HashCommand::Set { key, pairs: self.fields()?, plain: false },
            "HMSET" => HashCommand::Set { key, pairs: self.fields()?, plain: true },
            "HSETNX" => HashCommand::SetNx { key, field: self.field()?, value: self.value()? },
            "HGET" => HashCommand::Get { key, field: self.next()? },
            "HMGET" => HashCommand::MGet { key, fields: self.rest() },
            "HDEL" => HashCommand::Del { key, fields: self.rest() },
            "HEXISTS" => HashCommand::Exists { key, field: self.next()? },
            "HINCRBY" => {
                HashCommand::IncrBy { key, field: self.field()?, delta: self.whole("the number to add")? }
            }
            "HLEN" => HashCommand::Len { key },
            "HKEYS" => HashCommand::All { key, part: Part::Fields },
            "HVALS" => HashCommand::All { key, part: Part::Values },
            "HGETALL" => HashCommand::All { key, part: Part::Both },
            // A test parses every command of the catalogue, so nobody gets here.
            other => return Err(Failure::new(ErrorCode::UnknownCommand, format!("'{other}' has no parser"))),
        }))
    }

    fn fields(&mut self) -> Result<Vec<(Blob, Blob)>, Failure> {
        let pairs = self.pairs()?;
        pairs.iter().try_for_each(|(field, _)| self.check_field(field))?;
        Ok(pairs)
    }

    fn field(&mut self) -> Result<Blob, Failure> {
        let field = self.next()?;
        self.check_field(&field)?;
        Ok(field)
    }
}

impl Evaluation<'_> {
    pub(in super::super) fn hash(&mut self, command: &HashCommand) -> Outcome {
        let key = command.key();
        let members = self.hash_at(key)?;
        Ok(match command {
            HashCommand::Set { pairs, plain, .. } => {
                let added = self.hset(key, &members, pairs)?;
                if *plain { Value::ok() } else { count(added) }
            }
            HashCommand::SetNx { field, value, .. } => {
                let missing = members.get(field).is_none();
                if missing {
                    self.hset(key, &members, &[(field.clone(), value.clone())])?;
                }
                Value::Int(missing.into())
            }
            HashCommand::Get { field, .. } => members.get(field).map_or(Value::Nil, Value::Bytes),
            HashCommand::MGet { fields, .. } => {
                let value = |field: &Blob| members.get(field).map_or(Value::Nil, Value::Bytes);
                Value::List(fields.iter().map(value).collect())
            }
            HashCommand::Del { fields, .. } => {
                let mut there = fields.clone();
                there.sort_unstable();
                there.dedup();
                there.retain(|field| members.get(field).is_some());
                let deleted = there.len();
                if deleted > 0 {
                    self.view.members(
                        key.clone(),
                        Kind::Hash,
                        there.into_iter().map(|field| (field, None)).collect(),
                    );
                }
                count(deleted)
            }
            HashCommand::Exists { field, .. } => Value::Int(members.get(field).is_some().into()),
            HashCommand::IncrBy { field, delta, .. } => self.hincr_by(key, &members, field, *delta)?,
            HashCommand::Len { .. } => count(members.len()),
            HashCommand::All { part, .. } => self.all(&members, *part)?,
        })
    }

    fn hash_at(&mut self, key: &Blob) -> Result<Members, Failure> {
        match self.view.key(key).map(|record| record.data) {
            None => Ok(Members::default()),
            Some(Data::Hash(members)) => Ok(members),
            Some(other) => Err(wrong_kind(other.kind(), Kind::Hash)),
        }
    }

    /// Sets fields, and says how many are new. Of a field that is named twice the last value counts.
    fn hset(&mut self, key: &Blob, members: &Members, pairs: &[(Blob, Blob)]) -> Result<usize, Failure> {
        let mut named: Vec<&Blob> = pairs.iter().map(|(field, _)| field).collect();
        named.sort_unstable();
        named.dedup();
        let added = named.into_iter().filter(|field| members.get(field).is_none()).count();
        let (there, most) = (members.len(), self.limits.hash_fields);
        if there + added > most {
            let message = format!(
                "the hash has {there} fields, and the limit is {most}: HDEL some, or use another key"
            );
            return Err(Failure::new(ErrorCode::LimitReached, message));
        }
        let changes = pairs.iter().map(|(field, value)| (field.clone(), Some(value.clone()))).collect();
        self.view.members(key.clone(), Kind::Hash, changes);
        Ok(added)
    }

    fn hincr_by(&mut self, key: &Blob, members: &Members, field: &Blob, delta: i64) -> Outcome {
        let fail = |why: String| Err(Failure::new(ErrorCode::NotAnInteger, why));
        let before = match members.get(field) {
            None => 0,
            Some(value) => match integer(&value) {
                Some(number) => number,
                None => {
                    let field = shown(field);
                    return fail(format!(
                        "the field '{field}' is not a whole number in 64 bits: HSET it to one first"
                    ));
                }
            },
        };
        let Some(sum) = before.checked_add(delta) else {
            return fail("the sum would leave the range of 64 bits: add less".into());
        };
        self.hset(key, members, &[(field.clone(), Blob::from(sum.to_string()))])?;
        Ok(Value::Int(sum))
    }

    fn all(&self, members: &Members, part: Part) -> Outcome {
        // Not even made, if it can't be sent.
        let (size, room) = (members.bytes(), self.reply_room());
        if size > room {
            let message = format!(
                "the fields take {size} bytes, and a reply has room for {room}: HMGET asks for some of them"
            );
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        let (fields, most) = (members.len(), (MAX_VALUES - 2) / 2);
        if fields > most {
            let message = format!(
                "there are {fields} fields, and a reply has room for {most}: HMGET asks for some of them"
            );
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.into());
        Ok(match part {
            Part::Fields => Value::List(members.iter().map(|(field, _)| bytes(field)).collect()),
            Part::Values => Value::List(members.iter().map(|(_, value)| bytes(value)).collect()),
            Part::Both => {
                Value::Pairs(members.iter().map(|(field, value)| (bytes(field), bytes(value))).collect())
            }
        })
    }
}
