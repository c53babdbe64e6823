//! The commands that delete all keys with a prefix. Both are about the whole prefix: whoever lacks anything on part of it is
//! refused. The first only counts, and gives a token; the second wants it, within a minute. It deletes so many keys at a time, each by
//! its own effect, so that no entry is large and nothing stands still; whoever asked goes on until nothing is left.
//!
//! The token is no secret: it keeps a hand from slipping, and a script from dropping what nobody has counted.

use serde::{Deserialize, Serialize};

use super::Command;
use super::evaluate::Evaluation;
use super::info::{count as figure, number as number_value};
use super::needs::Needs;
use super::parse::Words;
use super::words::{Word, number, option};
use crate::access::rights::prefix_span;
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::time::Millis;
use crate::types::Blob;

/// How long a token is good, in milliseconds of cluster time.
const GOOD_MS: u64 = 60_000;

/// Longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 64;

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCommand {
    /// Of which keys.
    pub prefix: Blob,
    /// With which token, and how many keys at most; none: it only counts.
    pub confirmed: Option<(Blob, usize)>,
}

impl DropCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self.confirmed {
            None => "DROP PREPARE",
            Some(_) => "DROP CONFIRM",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        self.confirmed.is_some()
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        Needs::Dropped(&self.prefix)
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        each(Word::Plain(&self.prefix));
        if let Some((token, count)) = &self.confirmed {
            each(Word::Plain(token));
            option("COUNT", Some(&number(count)), each);
        }
    }
}

impl Words<'_> {
    /// `prefix`, or `prefix token [COUNT number]`.
    pub(super) fn drop_command(&mut self) -> Result<Command, Failure> {
        let prefix = self.key()?;
        if self.name() == "DROP PREPARE" {
            return Ok(Command::Drop(DropCommand { prefix, confirmed: None }));
        }
        let token = self.next()?;
        if token.len() > TOKEN_MAX {
            return Err(unconfirmed());
        }
        let count = if self.keyword("COUNT") { self.page()? } else { self.limits().scan_keys };
        Ok(Command::Drop(DropCommand { prefix, confirmed: Some((token, count)) }))
    }
}

impl Evaluation<'_> {
    pub(super) fn drop_keys(&mut self, command: &DropCommand) -> Outcome {
        let most = self.limits.scan_keys;
        match &command.confirmed {
            None => {
                let (keys, more) = self.first_keys(&command.prefix, most);
                let now = self.view.consult_time();
                let token = Value::Bytes(self.token(&command.prefix, now));
                Ok(Value::Map(vec![
                    ("keys".into(), figure(keys.len())),
                    ("more".into(), Value::Int(more.into())),
                    ("token".into(), token),
                    ("good_ms".into(), number_value(GOOD_MS)),
                ]))
            }
            Some((token, count)) => {
                self.check_token(&command.prefix, token)?;
                // Parsing bounds the count; a forwarding node's word does not.
                let (keys, more) = self.first_keys(&command.prefix, (*count).clamp(1, most));
                let dropped = figure(keys.len());
                keys.into_iter().for_each(|key| self.view.delete(key));
                Ok(Value::Map(vec![("dropped".into(), dropped), ("more".into(), Value::Int(more.into()))]))
            }
        }
    }

    /// The first keys with a prefix, and whether there are more.
    fn first_keys(&mut self, prefix: &Blob, most: usize) -> (Vec<Blob>, bool) {
        let (from, until) = prefix_span(prefix);
        let until = until.as_ref().map(Blob::as_slice);
        let (mut keys, mut more) = (Vec::new(), false);
        self.view.scan((&from, until), None, &mut |key, _| {
            more = keys.len() == most;
            if !more {
                keys.push(key.into());
            }
            !more
        });
        (keys, more)
    }

    /// What confirms that this user has asked about this prefix at this time.
    fn token(&self, prefix: &Blob, at: Millis) -> Blob {
        let mut hash = crc32fast::Hasher::new();
        hash.update(prefix);
        let user = self.actor().map(Blob::as_slice).unwrap_or_default();
        // Where the prefix ends and the name begins counts, too.
        hash.update(&(prefix.len() as u64).to_le_bytes());
        hash.update(user);
        format!("{}-{:08x}", at.0, hash.finalize()).into()
    }

    fn check_token(&mut self, prefix: &Blob, token: &Blob) -> Result<(), Failure> {
        let now = self.view.consult_time();
        let text = std::str::from_utf8(token).unwrap_or_default();
        let at = text.split_once('-').and_then(|(at, _)| at.parse().ok()).map(Millis);
        let is_good =
            |at: &Millis| at.0 <= now.0 && now.0 - at.0 <= GOOD_MS && self.token(prefix, *at) == *token;
        if at.filter(is_good).is_some() { Ok(()) } else { Err(unconfirmed()) }
    }
}

fn unconfirmed() -> Failure {
    let message = format!(
        "this is no token of yours for this prefix, or it is older than {} seconds: DROP PREPARE counts, and gives one",
        GOOD_MS / 1000
    );
    Failure::new(ErrorCode::NotConfirmed, message)
}
