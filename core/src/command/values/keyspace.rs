//! Commands on keys of any kind: what they are, when they go, which there are.

use super::super::evaluate::Evaluation;
use super::super::info::{count, number as figure};
use super::super::keys::Wanted;
use super::super::needs::{Needs, READ, READ_WRITE};
use super::super::parse::Words;
use super::super::words::{Word, number, option};
use super::super::{Command, TTL_MS_MAX};
use crate::error::{ErrorCode, Failure};
use crate::glob;
use crate::reply::{Outcome, Value};
use crate::state::data::Kind;
use crate::types::Blob;
use serde::{Deserialize, Serialize};

/// A command on keys of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyCommand {
    /// What a key holds: `string`, `hash`, or `none`.
    Type {
        /// Which.
        key: Blob,
    },
    /// Gives a key a deadline, perhaps under a condition.
    Expire {
        /// Which.
        key: Blob,
        /// When it goes.
        when: When,
        /// On what condition.
        only: ExpireOnly,
    },
    /// What is left of a key's time, or when it ends: -1 without a deadline, -2 without a key.
    Remaining {
        /// Which.
        key: Blob,
        /// Of these.
        what: Remaining,
    },
    /// Gives a key another name.
    Rename {
        /// The name before and the name after.
        names: [Blob; 2],
        /// Only if nothing has that name yet; then the answer is 1 or 0.
        if_missing: bool,
    },
    /// A page of the keys with a prefix that match a pattern or are of a kind.
    Find {
        /// What the keys begin with.
        prefix: Blob,
        /// The last key that the page before looked at.
        after: Option<Blob>,
        /// Most keys in the page.
        count: usize,
        /// What they match.
        pattern: Option<Blob>,
        /// What they hold.
        kind: Option<Kind>,
    },
    /// All keys that match a pattern.
    Keys {
        /// Which.
        pattern: Blob,
    },
    /// How many keys there are.
    DbSize,
    /// The cluster's time.
    Time,
}

/// When a key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// So many milliseconds from now; zero or less is at once.
    In(i64),
    /// At this millisecond of the cluster's time, counted from 1970; what has passed is at once.
    At(i64),
}

/// On what condition a deadline is set. A key without one counts as going at the end of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireOnly {
    /// On none.
    Always,
    /// The key has none yet.
    Missing,
    /// The key has one.
    Exists,
    /// The new one is later.
    Later,
    /// The new one is earlier.
    Earlier,
}

impl ExpireOnly {
    const WORDS: [(&str, ExpireOnly); 4] =
        [("NX", Self::Missing), ("XX", Self::Exists), ("GT", Self::Later), ("LT", Self::Earlier)];
}

/// What is asked about a key's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remaining {
    /// The seconds that are left, rounded.
    Seconds,
    /// The second at which it ends.
    EndSeconds,
    /// The millisecond at which it ends.
    EndMillis,
}

impl KeyCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Type { .. } => "TYPE",
            Self::Expire { when: When::In(_), .. } => "PEXPIRE",
            Self::Expire { when: When::At(_), .. } => "PEXPIREAT",
            Self::Remaining { what: Remaining::Seconds, .. } => "TTL",
            Self::Remaining { what: Remaining::EndSeconds, .. } => "EXPIRETIME",
            Self::Remaining { what: Remaining::EndMillis, .. } => "PEXPIRETIME",
            Self::Rename { if_missing: false, .. } => "RENAME",
            Self::Rename { if_missing: true, .. } => "RENAMENX",
            Self::Find { .. } => "SCAN",
            Self::Keys { .. } => "KEYS",
            Self::DbSize => "DBSIZE",
            Self::Time => "TIME",
        }
    }

    pub(in super::super) const fn is_write(&self) -> bool {
        matches!(self, Self::Expire { .. } | Self::Rename { .. })
    }

    pub(in super::super) const fn grows(&self) -> bool {
        matches!(self, Self::Rename { .. })
    }

    pub(in super::super) fn needs(&self) -> Needs<'_> {
        match self {
            Self::Type { key } | Self::Remaining { key, .. } => Needs::Keys(READ, std::slice::from_ref(key)),
            Self::Expire { key, .. } => Needs::Keys(READ_WRITE, std::slice::from_ref(key)),
            Self::Rename { names, .. } => Needs::Keys(READ_WRITE, names),
            Self::Find { prefix, .. } => Needs::Range(prefix),
            Self::Keys { pattern } => Needs::Matching(glob::literal(pattern)),
            Self::DbSize => Needs::Everything,
            Self::Time => Needs::Login,
        }
    }

    pub(in super::super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        match self {
            Self::DbSize | Self::Time => {}
            Self::Type { key } | Self::Remaining { key, .. } | Self::Keys { pattern: key } => {
                each(Word::Plain(key))
            }
            Self::Rename { names, .. } => names.iter().for_each(|name| each(Word::Plain(name))),
            Self::Expire { key, when, only } => {
                let (When::In(time) | When::At(time)) = when;
                each(Word::Plain(key));
                each(Word::Plain(&number(time)));
                let word = ExpireOnly::WORDS.iter().find(|(_, known)| known == only);
                word.into_iter().for_each(|(word, _)| each(Word::Plain(word.as_bytes())));
            }
            Self::Find { prefix, after, count, pattern, kind } => {
                each(Word::Plain(prefix));
                option("AFTER", after.as_ref(), each);
                option("COUNT", Some(&number(count)), each);
                option("MATCH", pattern.as_ref(), each);
                option("TYPE", kind.map(|kind| Blob::from(kind.name())).as_ref(), each);
            }
        }
    }
}

impl Words<'_> {
    pub(in super::super) fn key_command(&mut self) -> Result<Command, Failure> {
        Ok(Command::Keyspace(match self.name() {
            "TYPE" => KeyCommand::Type { key: self.next()? },
            "EXPIRE" | "PEXPIRE" => {
                let unit = if self.name() == "EXPIRE" { 1000 } else { 1 };
                let (key, ttl_ms) = (self.next()?, self.ttl(unit)?);
                match self.expire_only()? {
                    ExpireOnly::Always => return Ok(Command::Expire { key, ttl_ms }),
                    only => KeyCommand::Expire { key, when: When::In(ttl_ms), only },
                }
            }
            "EXPIREAT" | "PEXPIREAT" => {
                let unit = if self.name() == "EXPIREAT" { 1000 } else { 1 };
                let key = self.next()?;
                let at = self.whole("the time")?.saturating_mul(unit);
                KeyCommand::Expire { key, when: When::At(at), only: self.expire_only()? }
            }
            "TTL" => KeyCommand::Remaining { key: self.next()?, what: Remaining::Seconds },
            "EXPIRETIME" => KeyCommand::Remaining { key: self.next()?, what: Remaining::EndSeconds },
            "PEXPIRETIME" => KeyCommand::Remaining { key: self.next()?, what: Remaining::EndMillis },
            "RENAME" => KeyCommand::Rename { names: [self.next()?, self.next()?], if_missing: false },
            "RENAMENX" => KeyCommand::Rename { names: [self.next()?, self.next()?], if_missing: true },
            "KEYS" => {
                let pattern = self.next()?;
                self.check_name("bytes in a pattern", &pattern)?;
                KeyCommand::Keys { pattern }
            }
            "DBSIZE" => KeyCommand::DbSize,
            "TIME" => KeyCommand::Time,
            _ => return self.hash_command(),
        }))
    }

    fn expire_only(&mut self) -> Result<ExpireOnly, Failure> {
        let only = ExpireOnly::WORDS.into_iter().find(|(word, _)| self.keyword(word));
        self.end()?;
        Ok(only.map_or(ExpireOnly::Always, |(_, only)| only))
    }

    /// The kind of value that a word names.
    pub(in super::super) fn kind(&mut self) -> Result<Kind, Failure> {
        let word = self.next()?;
        let named = |kind: &Kind| word.eq_ignore_ascii_case(kind.name().as_bytes());
        Kind::ALL.into_iter().find(named).ok_or_else(|| {
            let kinds = Kind::ALL.map(Kind::name).join(", ");
            self.syntax(&format!("'{word}' is no kind of value ({kinds})"))
        })
    }
}

impl Evaluation<'_> {
    pub(in super::super) fn keyspace(&mut self, command: &KeyCommand) -> Outcome {
        Ok(match command {
            KeyCommand::Type { key } => {
                let kind = self.view.key(key).map(|record| record.data.kind());
                Value::Status(kind.map_or("none", Kind::name).into())
            }
            KeyCommand::Expire { key, when, only } => self.expire_if(key, *when, *only),
            KeyCommand::Remaining { key, what } => self.remaining(key, *what),
            KeyCommand::Rename { names: [from, to], if_missing } => self.rename(from, to, *if_missing)?,
            KeyCommand::Find { prefix, after, count, pattern, kind } => {
                let wanted = |key: &[u8], held: Kind| {
                    kind.is_none_or(|kind| kind == held)
                        && pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, key))
                };
                let work = pattern.as_ref().map_or(0, |pattern| pattern.len());
                self.page(prefix, after.as_ref(), *count, Some((&wanted, work)))
            }
            KeyCommand::Keys { pattern } => self.keys(pattern)?,
            KeyCommand::DbSize => count(self.view.key_count()),
            KeyCommand::Time => {
                let now = self.view.consult_time();
                Value::List(vec![figure(now.0 / 1000), figure(now.0 % 1000 * 1000)])
            }
        })
    }

    fn expire_if(&mut self, key: &Blob, when: When, only: ExpireOnly) -> Value {
        let Some(record) = self.view.key(key) else { return Value::Int(0) };
        let now = self.view.now();
        let at = match when {
            When::In(ttl) => i128::from(now.0) + i128::from(ttl.min(TTL_MS_MAX as i64)),
            When::At(at) => i128::from(at),
        };
        let before = record.deadline.map(|deadline| i128::from(deadline.at.0));
        if matches!((when, only), (When::In(_), ExpireOnly::Later | ExpireOnly::Earlier)) {
            // Whether so long from now is later or earlier rests on what now is.
            self.view.consult_time();
        }
        let met = match only {
            ExpireOnly::Always => true,
            ExpireOnly::Missing => before.is_none(),
            ExpireOnly::Exists => before.is_some(),
            ExpireOnly::Later => before.is_some_and(|before| at > before),
            ExpireOnly::Earlier => before.is_none_or(|before| at < before),
        };
        if met {
            match u64::try_from(at).ok().and_then(|at| self.deadline_at(at)) {
                Some(deadline) => self.view.redate(key.clone(), Some(deadline)),
                None => self.view.delete(key.clone()),
            }
        }
        Value::Int(met.into())
    }

    fn remaining(&mut self, key: &Blob, what: Remaining) -> Value {
        let Some(record) = self.view.key(key) else { return Value::Int(-2) };
        let Some(deadline) = record.deadline else { return Value::Int(-1) };
        match what {
            Remaining::Seconds => {
                let left = deadline.at.0.saturating_sub(self.view.consult_time().0);
                figure(left.saturating_add(500) / 1000)
            }
            Remaining::EndSeconds => figure(deadline.at.0 / 1000),
            Remaining::EndMillis => figure(deadline.at.0),
        }
    }

    fn rename(&mut self, from: &Blob, to: &Blob, if_missing: bool) -> Outcome {
        if self.view.key(from).is_none() {
            let message = "there is no such key to rename: EXISTS tells";
            return Err(Failure::new(ErrorCode::NoSuchKey, message));
        }
        let free = !if_missing || self.view.key(to).is_none();
        if free && from != to {
            if let Some(lease) = self.view.lease_of(from) {
                self.check_load(lease, 0, to.len().saturating_sub(from.len()))?;
            }
            self.view.rename(from.clone(), to.clone());
        }
        Ok(if if_missing { Value::Int(free.into()) } else { Value::ok() })
    }

    /// All in one answer, so that there must not be too many to look at.
    fn keys(&mut self, pattern: &Blob) -> Outcome {
        let wanted = |key: &[u8], _: Kind| glob::matches(pattern, key);
        let wanted: Wanted<'_> = Some((&wanted, pattern.len()));
        let page = self.find(&Blob::from(glob::literal(pattern)), None, self.limits.keys_walked, wanted);
        match page {
            Value::List(mut parts) if parts.len() == 2 && parts[0] == Value::Nil => Ok(parts.swap_remove(1)),
            _ => {
                let most = self.limits.keys_walked;
                let message = format!(
                    "the pattern asks to look at more than {most} keys, or for a longer answer than fits: SCAN asks page by page"
                );
                Err(Failure::new(ErrorCode::TooLarge, message))
            }
        }
    }
}
