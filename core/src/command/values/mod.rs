//! The commands on values beyond the first ones, a family to a file: what they are called, how they are read, what they need
//! and what they do. Each file is read from top to bottom: the command, its words, its evaluation.
//!
//! Names and meaning are those of Redis, where Redis has the command.

pub mod decimal;
pub mod hashes;
pub mod keyspace;
pub mod strings;

use super::evaluate::Evaluation;
use crate::error::{ErrorCode, Failure};
use crate::state::KeyRecord;
use crate::state::data::{Data, Kind};
use crate::state::effect::Deadline;
use crate::time::Millis;
use crate::types::Blob;

/// The command is for another kind of value than the key holds.
pub(super) fn wrong_kind(found: Kind, wanted: Kind) -> Failure {
    let message = format!(
        "the key holds a {}, and the command is for a {}: TYPE tells, DEL removes it",
        found.name(),
        wanted.name()
    );
    Failure::new(ErrorCode::WrongType, message)
}

/// The bytes of a string.
///
/// # Errors
/// `WRONG_TYPE` for another kind.
pub(super) fn string(data: Data) -> Result<Blob, Failure> {
    match data {
        Data::String(value) => Ok(value),
        other => Err(wrong_kind(other.kind(), Kind::String)),
    }
}

impl Evaluation<'_> {
    /// A key that must hold a string, if it is there.
    pub(super) fn string_at(&mut self, key: &Blob) -> Result<Option<(Blob, Option<Deadline>)>, Failure> {
        let Some(KeyRecord { data, deadline, .. }) = self.view.key(key) else { return Ok(None) };
        Ok(Some((string(data)?, deadline)))
    }

    /// Gives a key another string, which has to fit; the key stays what it was otherwise.
    pub(super) fn put_string(
        &mut self,
        key: &Blob,
        value: impl Into<Blob>,
        deadline: Option<Deadline>,
    ) -> Result<(), Failure> {
        let value = value.into();
        let most = self.limits.value_bytes;
        if value.len() > most {
            let message = format!("{} bytes in a value: the limit is {most}", value.len());
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        self.view.rewrite(key.clone(), value, deadline);
        Ok(())
    }

    /// The deadline for a moment of cluster time; `None` if that has come.
    pub(super) fn deadline_at(&self, at: u64) -> Option<Deadline> {
        let now = self.view.now();
        let ttl = at.checked_sub(now.0).filter(|ttl| *ttl > 0)?;
        Some(deadline(now, ttl))
    }
}

/// What a clock may gain on another while a time to live runs, as a fraction: the slack of a deadline is this
/// part of the time to live, and a millisecond.
const SLACK_DIVISOR: u64 = 500;

/// The deadline of a key that is to live this long from now, at least.
pub(super) fn deadline(now: Millis, ttl: u64) -> Deadline {
    let slack = u32::try_from(ttl / SLACK_DIVISOR + 1).unwrap_or(u32::MAX);
    Deadline { at: Millis(now.0.saturating_add(ttl)), slack }
}
