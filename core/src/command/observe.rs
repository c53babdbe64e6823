//! Who leads an election: asked for once, or waited for by somebody who says what he knows. It is the state that is compared, so
//! nothing has to be remembered for those who look away: they are told the newest, and what was in between is passed over.
//!
//! Waiting is for the node that has the client's connection (`node/watches`); nothing of it is in the log.

use serde::{Deserialize, Serialize};

use super::claims::WAIT_MS_MAX;
use super::evaluate::Evaluation;
use super::parse::Words;
use super::words::{Word, number, option};
use crate::coordination::claim::{Claim, ClaimKind, leading};
use crate::error::Failure;
use crate::reply::Value;
use crate::types::{Blob, Index};

/// Asks who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observe {
    /// The token of the leader that the asker knows; zero if nobody led.
    pub token: Index,
    /// What that one said; nobody says nothing.
    pub value: Blob,
    /// How long to wait until it is another, or says something else, in milliseconds.
    pub wait_ms: u64,
}

impl Observe {
    /// Whether this answer is another than what the asker knows.
    #[must_use]
    pub fn is_news(&self, answer: &Value) -> bool {
        let Value::Map(pairs) = answer else { return self.token != Index(0) };
        let is = |wanted: &str, value: &Value| pairs.iter().any(|(name, it)| name == wanted && it == value);
        !is("token", &token(self.token)) || !is("value", &Value::Bytes(self.value.clone()))
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        if self.token > Index(0) {
            each(Word::Plain(b"UNLIKE"));
            each(Word::Plain(&number(self.token)));
            each(Word::Plain(&self.value));
        }
        if self.wait_ms > 0 {
            option("WAIT", Some(&number(self.wait_ms)), each);
        }
    }
}

/// The answer: who leads, if anybody does.
#[must_use]
pub fn leader(leads: Option<(Index, &Claim)>) -> Value {
    let Some((number, claim)) = leads else { return Value::Nil };
    Value::Map(vec![
        ("leader".into(), Value::Bytes(claim.owner.clone())),
        ("value".into(), Value::Bytes(claim.value.clone())),
        ("token".into(), token(number)),
    ])
}

fn token(number: Index) -> Value {
    Value::Int(i64::try_from(number.0).unwrap_or(i64::MAX))
}

impl Words<'_> {
    /// `[UNLIKE token value] [WAIT milliseconds]`.
    pub(super) fn observe(&mut self) -> Result<Observe, Failure> {
        let (mut known, mut wait_ms) = (None, None);
        while self.left() > 0 {
            if self.keyword("UNLIKE") {
                self.once(known.is_none(), "UNLIKE")?;
                known = Some((self.token()?, self.saying()?));
            } else if self.keyword("WAIT") {
                self.once(wait_ms.is_none(), "WAIT")?;
                wait_ms = Some(self.between("the time to wait", 1, WAIT_MS_MAX)?);
            } else {
                return Err(self.syntax("neither UNLIKE nor WAIT follows"));
            }
        }
        let (token, value) = known.unwrap_or_default();
        Ok(Observe { token, value, wait_ms: wait_ms.unwrap_or(0) })
    }
}

impl Evaluation<'_> {
    pub(super) fn observe(&mut self, name: &Blob) -> Value {
        let claims = self.view.claims(ClaimKind::Election, name);
        leader(leading(claims.first().map(|((_, _, token), claim)| (*token, claim))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::command::parse::{Parsed, parse};
    use crate::limits::Limits;

    fn read(line: &str) -> Result<Command, Failure> {
        let words: Vec<Blob> =
            format!("ELECTION OBSERVE e {line}").trim().split(' ').map(Blob::from).collect();
        match parse(&words, &Limits::default())? {
            Parsed::Command(command) => Ok(command),
            other => panic!("{other:?} is no command"),
        }
    }

    #[test]
    fn what_is_known_and_how_long_to_wait_may_be_said_once_each() {
        for refused in ["UNLIKE 3", "UNLIKE x y", "WAIT 0", "WAIT 600001", "WAIT 5 WAIT 5", "SOON"] {
            assert!(read(refused).is_err(), "{refused}");
        }
        let waits = |line| {
            let command = read(line).expect("it is right");
            assert!(!command.is_write() && !command.waits_in_line(), "nothing of it is in the log");
            command.wait_ms()
        };
        assert_eq!(["", "UNLIKE 7 x", "UNLIKE 7 x WAIT 9", "WAIT 9 UNLIKE 7 x"].map(waits), [0, 0, 9, 9]);
    }

    #[test]
    fn news_is_another_leader_or_another_saying() {
        let answer = |token: i64, value: &str| {
            let pairs = [
                ("leader", Value::Bytes("ann".into())),
                ("value", Value::Bytes(value.into())),
                ("token", Value::Int(token)),
            ];
            Value::Map(pairs.map(|(name, value)| (name.to_owned(), value)).to_vec())
        };
        let knows = |token, value: &str| Observe { token: Index(token), value: value.into(), wait_ms: 1 };
        let here = knows(7, "here");
        assert!(!here.is_news(&answer(7, "here")));
        assert!(
            here.is_news(&answer(7, "there"))
                && here.is_news(&answer(8, "here"))
                && here.is_news(&Value::Nil)
        );
        let nobody = knows(0, "");
        assert!(!nobody.is_news(&Value::Nil) && nobody.is_news(&answer(7, "")));
    }
}
