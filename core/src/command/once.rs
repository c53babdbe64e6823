//! Commands under idempotency ids.
//!
//! `ONCE RUN` executes a command at most once however often it is sent, without a session: a client that can only retry
//! blindly sends the same id again. An id carries the time of its birth (BORN, or a UUID of version 7 has it in itself). Its
//! answer is kept for the retention from then on, and what is older is refused and never executed: so an id that was forgotten
//! can't be mistaken for a new one.
//!
//! `ONCE BEGIN` and `FINISH` do the same for work outside of the database: one worker at a time has it, its answer is there
//! for all later ones, and a worker whose time has run out is told so when it comes back.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::catalogue::shown;
use super::evaluate::{Evaluation, check_level};
use super::info::number as figure;
use super::needs::{Needs, READ_WRITE, check};
use super::parse::{Parsed, Words, parse};
use super::words::{Word, number, option};
use super::{Command, TTL_MS_MAX};
use crate::coordination::once::{Work, WorkState};
use crate::error::{ErrorCode, Failure};
use crate::limits::Limits;
use crate::reply::{Outcome, Value};
use crate::state::effect::Effect;
use crate::time::Millis;
use crate::types::{Blob, Index};

/// A command under an idempotency id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnceCommand {
    /// Executes a command, unless it was under this id.
    Run {
        /// The user's own.
        id: Blob,
        /// When the id was made.
        born: Millis,
        /// The command, read again where it is evaluated.
        words: Vec<Blob>,
    },
    /// Begins work, or tells what became of it.
    Begin {
        /// Which.
        id: Blob,
        /// What it is.
        fingerprint: Blob,
        /// How long the worker has, in milliseconds.
        hold_ms: u64,
    },
    /// The work is done.
    Finish {
        /// Which.
        id: Blob,
        /// The worker's.
        token: Index,
        /// What came of it.
        answer: Blob,
    },
    /// The work was given up, and can be begun again at once.
    Fail {
        /// Which.
        id: Blob,
        /// The worker's.
        token: Index,
    },
    /// What is known about work.
    Show {
        /// Which.
        id: Blob,
    },
}

impl OnceCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run { .. } => "ONCE RUN",
            Self::Begin { .. } => "ONCE BEGIN",
            Self::Finish { .. } => "ONCE FINISH",
            Self::Fail { .. } => "ONCE FAIL",
            Self::Show { .. } => "ONCE SHOW",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Show { .. })
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        match self {
            // And what the command needs, which is asked when it is read.
            Self::Run { .. } => Needs::Login,
            Self::Begin { id, .. } | Self::Finish { id, .. } | Self::Fail { id, .. } => {
                Needs::Keys(READ_WRITE, std::slice::from_ref(id))
            }
            Self::Show { id } => Needs::Keys(super::needs::READ, std::slice::from_ref(id)),
        }
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        match self {
            Self::Run { id, born, words } => {
                each(Word::Plain(id));
                option("BORN", Some(&number(born)), each);
                words.iter().for_each(|word| each(Word::Plain(word)));
            }
            Self::Begin { id, fingerprint, hold_ms } => {
                each(Word::Plain(id));
                each(Word::Plain(fingerprint));
                each(Word::Plain(&number(hold_ms)));
            }
            Self::Finish { id, token, answer } => {
                each(Word::Plain(id));
                each(Word::Plain(&number(token)));
                each(Word::Plain(answer));
            }
            Self::Fail { id, token } => {
                each(Word::Plain(id));
                each(Word::Plain(&number(token)));
            }
            Self::Show { id } => each(Word::Plain(id)),
        }
    }
}

/// Reads the command of a RUN.
fn read(words: &[Blob], limits: &Limits) -> Result<Command, Failure> {
    // One that is under an id itself is not even read: a chain of them would go deep.
    if !words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"ONCE")) {
        match parse(words, limits)? {
            Parsed::Command(Command::SessionOpen | Command::SessionEnd { .. }) | Parsed::Help(_) => {}
            // Its first answer would be that there is none yet.
            Parsed::Command(command) if command.wait_ms() > 0 => {}
            Parsed::Command(command) if command.is_write() => return Ok(command),
            Parsed::Command(_) => {
                let message = "what changes nothing needs no id: send it as it is, as often as needed";
                return Err(Failure::new(ErrorCode::Argument, message));
            }
            Parsed::Auth { .. } | Parsed::UserAdd { .. } | Parsed::UserPassword { .. } => {}
        }
    }
    let name = words.first().map(|word| shown(word)).unwrap_or_default();
    let message = format!(
        "'{name}' can't be under an id: commands with passwords, on sessions, other ids, and those that wait can't"
    );
    Err(Failure::new(ErrorCode::Argument, message))
}

impl Words<'_> {
    pub(super) fn once_command(&mut self) -> Result<Command, Failure> {
        let id = self.key()?;
        Ok(Command::Once(match self.name() {
            "ONCE BEGIN" => {
                let fingerprint = self.key()?;
                OnceCommand::Begin {
                    id,
                    fingerprint,
                    hold_ms: self.between("the time to hold", 1, TTL_MS_MAX)?,
                }
            }
            "ONCE FINISH" => OnceCommand::Finish { id, token: self.token()?, answer: self.value()? },
            "ONCE FAIL" => OnceCommand::Fail { id, token: self.token()? },
            "ONCE SHOW" => OnceCommand::Show { id },
            _ => {
                let born = if self.keyword("BORN") {
                    Millis(self.unsigned("the time of birth")?)
                } else {
                    birth(&id).ok_or_else(|| {
                        self.syntax("the id is no UUID of version 7, so BORN has to say when it was made (ms since 1970)")
                    })?
                };
                let words = self.rest();
                read(&words, self.limits())?;
                OnceCommand::Run { id, born, words }
            }
        }))
    }

    pub(super) fn token(&mut self) -> Result<Index, Failure> {
        self.unsigned("the token").map(Index)
    }
}

/// The time in a UUID of version 7 (RFC 9562, section 5.7): its first 48 bits.
fn birth(id: &[u8]) -> Option<Millis> {
    let uuid = Uuid::try_parse_ascii(id).ok()?;
    let ms = uuid.as_bytes()[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
    (uuid.get_version_num() == 7).then_some(Millis(ms))
}

/// A command under an id that is being executed: what is to be kept of it.
pub(super) struct Keeping {
    user: Blob,
    id: Blob,
    until: Millis,
}

impl Keeping {
    /// The effect that keeps the answer.
    pub(super) fn effect(self, outcome: &Outcome, digest: u64) -> Effect {
        let Self { user, id, until } = self;
        let reply = crate::state::effect::StoredReply { outcome: outcome.clone(), digest };
        Effect::Kept { user, id, kept: Some((reply, until)) }
    }
}

impl Evaluation<'_> {
    /// Whose ids a RUN means.
    pub(super) fn scope(&self) -> Blob {
        self.actor().cloned().unwrap_or_default()
    }

    /// Whether the user may execute the command of a RUN.
    pub(super) fn permit_run(&mut self) -> Result<(), Failure> {
        let Command::Once(OnceCommand::Run { words, .. }) = self.command() else { return Ok(()) };
        let command = read(words, self.limits)?;
        self.permit_one(&command)
    }

    fn permit_one(&mut self, command: &Command) -> Result<(), Failure> {
        if let Command::Transaction(transaction) = command {
            return self.permit_all(transaction);
        }
        self.actor().zip(self.rights()).map_or(Ok(()), |(name, held)| check(name, held, command))
    }

    pub(super) fn once(&mut self, command: &OnceCommand) -> Outcome {
        match command {
            OnceCommand::Run { id, born, words } => self.run_once(id, *born, words),
            OnceCommand::Begin { id, fingerprint, hold_ms } => self.begin_work(id, fingerprint, *hold_ms),
            OnceCommand::Finish { id, token, answer } => self.finish_work(id, *token, answer),
            OnceCommand::Fail { id, token } => {
                self.own_work(id, *token)?;
                self.view.effect(Effect::Worked { id: id.clone(), work: None });
                Ok(Value::ok())
            }
            OnceCommand::Show { id } => {
                let Some(work) = self.view.work(id) else { return Ok(Value::Nil) };
                Ok(self.told(&work))
            }
        }
    }

    /// It was not executed under this id: that is known by now.
    fn run_once(&mut self, id: &Blob, born: Millis, words: &[Blob]) -> Outcome {
        let command = read(words, self.limits)?;
        // Before anything is kept: a refusal must not be the answer for ever.
        self.permit_one(&command)?;
        check_level(&command, self.view.level())?;
        let now = self.view.consult_time();
        let retention = self.limits.once_ms;
        if born.0.saturating_add(retention) <= now.0 {
            let message = format!(
                "the id was made at {born}, and answers are kept for {retention} ms: whether it was executed can't be told any more, \
                 and it is not executed now"
            );
            return Err(Failure::new(ErrorCode::OnceExpired, message));
        }
        if born.0 > now.0.saturating_add(retention) {
            let message = format!("the id was made at {born}, and it is {now} now: set the clock right");
            return Err(Failure::new(ErrorCode::Argument, message));
        }
        let until = Millis(born.0.saturating_add(retention));
        self.keeping = Some(Keeping { user: self.scope(), id: id.clone(), until });
        self.execute(&command)
    }

    fn begin_work(&mut self, id: &Blob, fingerprint: &Blob, hold_ms: u64) -> Outcome {
        let now = self.view.consult_time();
        if let Some(work) = self.view.work(id) {
            if work.fingerprint != *fingerprint {
                let message = format!("other work was begun as '{}': use another id", shown(id));
                return Err(Failure::new(ErrorCode::OnceConflict, message));
            }
            match work.state {
                WorkState::Running { until } if until <= now => {}
                _ => return Ok(self.told(&work)),
            }
        }
        let token = self.state.tail().next();
        let until = Millis(now.0.saturating_add(hold_ms));
        let work = Work {
            fingerprint: fingerprint.clone(),
            token,
            state: WorkState::Running { until },
            until: Millis(until.0.saturating_add(self.limits.once_ms)),
        };
        self.view.effect(Effect::Worked { id: id.clone(), work: Some(work) });
        Ok(Value::Map(vec![
            ("state".into(), Value::Status("first".into())),
            ("token".into(), figure(token.0)),
        ]))
    }

    fn finish_work(&mut self, id: &Blob, token: Index, answer: &Blob) -> Outcome {
        let work = match self.view.work(id) {
            // Said again.
            Some(Work { token: known, state: WorkState::Done { answer: done }, .. })
                if known == token && done == *answer =>
            {
                return Ok(Value::ok());
            }
            _ => self.own_work(id, token)?,
        };
        let until = Millis(self.view.now().0.saturating_add(self.limits.once_ms));
        let work = Work { state: WorkState::Done { answer: answer.clone() }, until, ..work };
        self.view.effect(Effect::Worked { id: id.clone(), work: Some(work) });
        Ok(Value::ok())
    }

    /// The work, if it runs and is that of this token. Its time may be over, as long as nobody else has begun it.
    fn own_work(&mut self, id: &Blob, token: Index) -> Result<Work, Failure> {
        match self.view.work(id) {
            Some(work @ Work { state: WorkState::Running { .. }, .. }) if work.token == token => Ok(work),
            _ => {
                let message = format!(
                    "token {token} is not that of '{}' any more: it was begun again, is done or was given up; ONCE SHOW tells",
                    shown(id)
                );
                Err(Failure::new(ErrorCode::Fenced, message))
            }
        }
    }

    fn told(&mut self, work: &Work) -> Value {
        let (state, name, value) = match &work.state {
            WorkState::Done { answer } => ("done", "answer", Value::Bytes(answer.clone())),
            WorkState::Running { until } => {
                let left = until.0.saturating_sub(self.view.consult_time().0);
                ("running", "retry_after_ms", figure(left))
            }
        };
        Value::Map(vec![("state".into(), Value::Status(state.into())), (name.into(), value)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_of_version_7_carries_its_birth_and_no_other_id_does() {
        // The example of RFC 9562, appendix A.6.
        assert_eq!(birth(b"017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), Some(Millis(0x017F_22E2_79B0)));
        assert_eq!(birth(b"919108f7-52d1-4320-9bac-f847db4148a8"), None);
        assert_eq!(birth(b"order:17"), None);
    }
}
