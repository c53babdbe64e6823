//! The first judge's walk along the log: the model replays every entry's owner, then every read there.
//!
//! An entry's *owner* is the operation that logged it: found by session and sequence, else by its receipt,
//! else, for writes of unknown outcome, by what it must have changed. An entry that changes keys or users
//! without an owner was invented; an acknowledged write that owns no entry was lost.

mod matching;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::{Outcome, Value};
use steadfast_core::state::effect::Cause;
use steadfast_core::types::{Blob, Index, SessionId};

use super::asked::Asked;
use super::changes::{Before, Chronicle};
use super::log::LogEntry;
use super::model::{Model, Plan, Session};
use super::once::{asked_once, executed_at};
use super::receipts::Case;
use super::seen::{SOME_PREFIX, SOME_SESSION, Seen};
use super::{Stop, fail};
use crate::history::{Brief, End, Operation};
use matching::Matching;

/// The state of the walk.
pub(super) struct Walk<'a> {
    case: &'a Case<'a>,
    model: Model,
    chronicle: Chronicle,
    /// Operations whose place is settled: owners of entries, and their retries.
    settled: BTreeSet<usize>,
    /// By session and sequence: the entry that holds the step, and its owner.
    steps: BTreeMap<(SessionId, u64), usize>,
    /// Entries without a named owner, each with the operations of unknown outcome that may own it.
    orphans: Vec<(Index, Vec<usize>)>,
}

/// What came of an operation, without the words.
type Came<'a> = Result<&'a Value, ErrorCode>;

fn came(outcome: &Outcome) -> Came<'_> {
    outcome.as_ref().map_err(|failure| failure.code)
}

fn came_of(op: &Operation) -> Option<Came<'_>> {
    match &op.end {
        End::Ok(value) => Some(Ok(value)),
        End::Failed(failure) => Some(Err(failure.code)),
        End::Unknown(_) => None,
    }
}

fn words(came: Came<'_>) -> String {
    match came {
        Ok(value) => Brief(value).to_string(),
        Err(code) => code.name().to_owned(),
    }
}

/// Refusals by the session layer, which are judged against the session and not against the command.
fn is_session_code(code: ErrorCode) -> bool {
    use ErrorCode::{SessionConflict, SessionStale, SessionUnknown, SessionWindow};
    matches!(code, SessionUnknown | SessionStale | SessionConflict | SessionWindow)
}

/// Refusals that come before the command itself, so that no session stores them as its answer: another
/// attempt may get another one.
fn is_before_command(code: ErrorCode) -> bool {
    use ErrorCode::{FeatureLevel, LeaderChanged, Unauthenticated};
    is_session_code(code) || matches!(code, Unauthenticated | FeatureLevel | LeaderChanged)
}

/// Errors that the model must foresee. All other definite errors are refusals: nothing may have happened.
fn is_foreseen(code: ErrorCode) -> bool {
    use ErrorCode::{
        Denied, Fenced, LastAdministrator, LeaseUnknown, NoSuchKey, NotANumber, NotAnInteger, NotConfirmed,
        OnceConflict, OnceExpired, PositionAhead, Unauthenticated, UserExists, UserUnknown, WaitEnded,
        WrongType,
    };
    matches!(
        code,
        Unauthenticated
            | Denied
            | NotAnInteger
            | NotANumber
            | Fenced
            | LeaseUnknown
            | WaitEnded
            | OnceConflict
            | OnceExpired
            | PositionAhead
            | NotConfirmed
            | NoSuchKey
            | WrongType
            | UserExists
            | UserUnknown
            | LastAdministrator
    )
}

impl<'a> Walk<'a> {
    /// A walk from the beginning.
    pub(super) fn new(case: &'a Case<'a>) -> Self {
        Self {
            case,
            model: Model::default(),
            chronicle: Chronicle::default(),
            settled: BTreeSet::new(),
            steps: BTreeMap::new(),
            orphans: Vec::new(),
        }
    }

    /// Walks the whole log.
    pub(super) fn run(mut self) -> Result<(), Stop> {
        for entry in self.case.log.entries() {
            self.entry(entry)?;
            for &at in self.case.claims.get(&entry.index).into_iter().flatten() {
                if !self.settled.contains(&at) {
                    self.reader(at, entry)?;
                }
            }
        }
        self.give_orphans_owners()
    }

    /// Finds the entry's owner, replays it, and compares.
    fn entry(&mut self, entry: &LogEntry) -> Result<(), Stop> {
        let seen = Seen::new(entry, &self.model).map_err(Stop::Failed)?;
        let plan = match self.owner(entry, &seen)? {
            Some(at) => Some(self.replay(at, entry, &seen)?),
            None if is_a_command(entry) && seen.is_clients() => {
                Some(self.forgotten(entry, &seen)?.map_or_else(|| self.adopt_orphan(entry, &seen), Ok)?)
            }
            None if entry.entry.cause == Cause::Expiry => self.over(entry, &seen)?,
            None => None,
        };
        if plan.is_none() && seen.is_clients() && entry.entry.cause != Cause::System {
            fail!(
                "entry {} ({:?}) changes what clients have, and no command asked for it: {:?}",
                entry.index,
                entry.entry.cause,
                entry.entry.effects
            );
        }
        let before = Before::new(entry, seen.keys(), &self.model);
        seen.adopt(plan, entry, &mut self.model).map_err(Stop::Failed)?;
        self.chronicle.write(entry, before, &self.model);
        Ok(())
    }

    /// The operation that the entry belongs to, if the log or a receipt names it.
    fn owner(&mut self, entry: &LogEntry, seen: &Seen) -> Result<Option<usize>, Stop> {
        if !is_a_command(entry) {
            return Ok(None);
        }
        if let Some((session, seq, _)) = entry.step() {
            return self.owner_by_step(entry, seen, (session, seq)).map(Some);
        }
        let claimants: Vec<usize> = self.claimants(self.answered_at(entry), entry.index).collect();
        let fits = |at: &&usize| {
            let plan = self.plan(**at, entry);
            let heard = self.heard(**at, entry);
            heard && plan.changes() && self.answered(**at, plan).is_ok_and(|plan| seen.compare(&plan).is_ok())
        };
        if let Some(&at) = claimants.iter().find(fits) {
            self.settle(at, entry)?;
            return Ok(Some(at));
        }
        // Nobody fits: the one that should have is named, so that the report says what does not fit.
        let wronged = claimants
            .into_iter()
            .find(|at| self.case.ops[*at].value().is_some() && self.plan(*at, entry).changes());
        if seen.is_clients()
            && let Some(at) = wronged
            && !self.may_be_orphan(entry, seen)
        {
            return Ok(Some(at));
        }
        Ok(None)
    }

    /// Writes that claim this position, can have been executed at that one, and need no session's step there.
    fn claimants(&self, position: Index, executed: Index) -> impl Iterator<Item = usize> {
        let claims = self.case.claims.get(&position).into_iter().flatten().copied();
        claims.filter(move |at| {
            let is_write = self.case.asked[*at].as_ref().is_some_and(Asked::is_write);
            // Later than this, it can only have been told what an earlier one with the same id did.
            let retry = self.case.floors[*at] >= executed && asked_once(self.case.asked[*at].as_ref());
            // What was refused before anything else logs nothing, and was only read where it was refused.
            let refused = came_of(&self.case.ops[*at]).is_some_and(|came| came.is_err_and(is_before_command));
            is_write && !refused && self.case.may_go_without_step(*at) && !self.settled.contains(at) && !retry
        })
    }

    /// The operation that ran under this session and sequence. All others under the same are its retries,
    /// and got its answer or an error of the session.
    fn owner_by_step(
        &mut self,
        entry: &LogEntry,
        seen: &Seen,
        once: (SessionId, u64),
    ) -> Result<usize, Stop> {
        let (session, seq) = once;
        if let Some(&first) = self.steps.get(&once) {
            fail!(
                "entry {} executes session {session} sequence {seq} again: {}",
                entry.index,
                self.case.ops[first]
            );
        }
        let Some(candidates) = self.case.once.get(&once) else {
            fail!(
                "entry {} executes session {session} sequence {seq}, which no client asked for",
                entry.index
            );
        };
        let is_answered = |at: &&usize| {
            let op = &self.case.ops[**at];
            let here = op.receipt.is_some_and(|receipt| receipt.position == self.answered_at(entry));
            here && self.heard(**at, entry)
                && came_of(op)
                    .is_some_and(|came| came.is_ok() || came.is_err_and(|code| !is_before_command(code)))
        };
        let is_possible = |at: &&usize| {
            let fits = || seen.compare(&self.plan(**at, entry)).is_ok();
            self.case.ops[**at].is_unknown() && (candidates.len() == 1 || fits())
        };
        let owner = candidates.iter().find(is_answered).or_else(|| candidates.iter().find(is_possible));
        let Some(&owner) = owner else {
            fail!(
                "entry {} executes {}, whose client was told otherwise",
                entry.index,
                self.case.ops[candidates[0]]
            );
        };
        self.steps.insert(once, owner);
        for &at in candidates {
            self.retry(owner, at, entry)?;
        }
        self.settle(owner, entry)?;
        Ok(owner)
    }

    /// Another operation under the owner's session and sequence.
    fn retry(&mut self, owner: usize, at: usize, entry: &LogEntry) -> Result<(), Stop> {
        let (first, op) = (&self.case.ops[owner], &self.case.ops[at]);
        let Some(came) = came_of(op) else { return Ok(()) };
        if at == owner || came.is_err_and(|code| op.receipt.is_none() || is_before_command(code)) {
            return Ok(());
        }
        let place = op.receipt.map(|receipt| receipt.position);
        let same = came_of(first).is_none_or(|first| first == came);
        if first.args != op.args || !same || place != Some(self.answered_at(entry)) {
            fail!("{op} repeats {first}, executed at {}, and got another answer", entry.index);
        }
        self.settled.insert(at);
        Ok(())
    }

    /// An operation owns this entry: that must agree with real time. What a retry by hand started is as old
    /// as its first attempt.
    fn settle(&mut self, at: usize, entry: &LogEntry) -> Result<(), Stop> {
        let op = &self.case.ops[at];
        let first = op.once().and_then(|once| {
            let same = self.case.once.get(&once)?.iter();
            same.copied().find(|other| self.case.ops[*other].args == op.args)
        });
        let floor = self.case.floors[first.unwrap_or(at)];
        if entry.index <= floor {
            fail!(
                "{op} took effect at {}, but position {floor} was reported before it was invoked",
                entry.index
            );
        }
        self.settled.insert(at);
        Ok(())
    }

    fn plan(&self, at: usize, entry: &LogEntry) -> Plan {
        match &self.case.asked[at] {
            Some(asked) => {
                let op = &self.case.ops[at];
                let session = op.once().map(|(session, _)| session);
                self.model.plan_in(session, op.user.as_ref(), asked, entry.index, entry.entry.time.0)
            }
            None => Plan::default(),
        }
    }

    /// Replays an entry's owner: its plan, after the client's answer and the stored one agreed with it.
    fn replay(&self, at: usize, entry: &LogEntry, seen: &Seen) -> Result<Plan, Stop> {
        let op = &self.case.ops[at];
        if op.receipt.is_some_and(|receipt| receipt.position != self.answered_at(entry)) {
            fail!("{op} was executed at {}", entry.index);
        }
        let plan = self.plan(at, entry);
        if plan.waits {
            // It was told at the end of the wait, which was looked at when its owner was looked for.
            return match seen.compare(&plan) {
                Ok(()) => Ok(plan),
                Err(what) => fail!("{op} at {}: {what}", entry.index),
            };
        }
        let mut plan = self.answered(at, plan).map_err(Stop::Failed)?;
        let stored = [entry.step().map(|step| step.2), entry.forwarded().map(|forwarded| forwarded.1)];
        for stored in stored.into_iter().flatten() {
            let stored = came(&stored.outcome);
            if came_of(op).is_some_and(|came| came != stored) {
                fail!("{op} stored another answer at {}: {}", entry.index, words(stored));
            }
            plan = self.agrees(op, plan, stored).map_err(Stop::Failed)?;
        }
        if let Err(what) = seen.compare(&plan) {
            fail!("{op} at {}: {what}", entry.index);
        }
        Ok(plan)
    }

    /// The plan, if what the client was told agrees with it; for a refusal, the empty plan.
    fn answered(&self, at: usize, plan: Plan) -> Result<Plan, String> {
        let op = &self.case.ops[at];
        match came_of(op) {
            Some(came) if !plan.waits => self.agrees(op, plan, came),
            _ => Ok(plan),
        }
    }

    fn agrees(&self, op: &Operation, plan: Plan, came: Came<'_>) -> Result<Plan, String> {
        let refused = || Plan { says: plan.says.clone(), ..Plan::default() };
        // A login ends with a change of the user; without a user there was no login.
        let ended =
            |user: &Option<Blob>| user.as_ref().is_none_or(|name| self.model.people.changed.contains(name));
        match (came, &plan.says) {
            (Err(ErrorCode::Unauthenticated), _) if ended(&op.user) => Ok(refused()),
            (came, Some(says)) if came == says.as_ref().map_err(|code| *code) => Ok(plan),
            (Ok(_), None) => Ok(plan),
            (Err(code), _) if !is_foreseen(code) && !is_session_code(code) => Ok(refused()),
            (came, Some(says)) => {
                let says = words(says.as_ref().map_err(|code| *code));
                Err(format!("{op} answered {}, the model says {says}", words(came)))
            }
            (Err(code), None) => Err(format!("{op} answered {}, the model says a value", code.name())),
        }
    }

    /// An operation that logged nothing of its own: it must see what the model sees at its position.
    fn reader(&self, at: usize, entry: &LogEntry) -> Result<(), Stop> {
        let op = &self.case.ops[at];
        let floor = self.case.floors[at];
        let asked = self.case.asked[at].as_ref();
        // The answer is that of the attempt that was executed, however old.
        let executed = asked.and_then(|asked| executed_at(&self.model, op.user.as_ref(), asked));
        let repeats = executed == Some(entry.index);
        if entry.index < floor && !repeats {
            fail!("{op} is older than position {floor}, which was reported before it was invoked");
        }
        let (Some(asked), Some(came)) = (&self.case.asked[at], came_of(op)) else { return Ok(()) };
        if let Some(once) = op.once() {
            if came.is_err_and(is_session_code) {
                return self.session_refusal(at, once, entry);
            }
            if asked.is_write() && came.is_ok() && !self.case.may_go_without_step(at) && !repeats {
                fail!("{op} was acknowledged, and the log has no step of it");
            }
        }
        if let Some(executed) = executed.filter(|_| came.is_ok() && !repeats) {
            fail!("{op} was executed at {executed}, and its answer does not say so");
        }
        let plan = self.answered(at, self.plan(at, entry)).map_err(Stop::Failed)?;
        if plan.changes() {
            fail!("{op} was acknowledged, and entry {} is not its own", entry.index);
        }
        if let (Asked::Changes(asked), Ok(answer)) = (asked, came) {
            let judged = self.chronicle.judge(op.user.as_ref(), asked, answer, entry.index);
            return judged.map_err(|what| Stop::Failed(format!("{op} {what}")));
        }
        Ok(())
    }

    /// An error of the session must be true of the session at that position.
    fn session_refusal(&self, at: usize, once: (SessionId, u64), entry: &LogEntry) -> Result<(), Stop> {
        let op = &self.case.ops[at];
        let session = self.model.sessions.get(&once.0);
        let session = session.filter(|session| op.user.as_ref().is_none_or(|user| *user == session.user));
        let is_due = |session: &Session| session.is_due(entry.entry.time.0);
        let conflicts = self.steps.get(&once).is_some_and(|owner| self.case.ops[*owner].args != op.args);
        let holds = match (came_of(op), session) {
            (Some(Err(ErrorCode::SessionUnknown)), session) => session.is_none_or(is_due),
            (Some(Err(ErrorCode::SessionConflict)), Some(_)) => conflicts,
            (Some(Err(ErrorCode::SessionStale)), Some(session)) => once.1 <= session.floor,
            (Some(Err(ErrorCode::SessionWindow)), Some(session)) => once.1 > session.floor,
            _ => false,
        };
        if !holds {
            fail!("{op} is not true of the session at position {}", entry.index);
        }
        Ok(())
    }

    /// Whether some write of unknown outcome can have made this entry.
    fn may_be_orphan(&self, entry: &LogEntry, seen: &Seen) -> bool {
        self.possible_owners(entry, seen).next().is_some()
    }

    /// Writes of unknown outcome, outside of sessions, that would have changed exactly this.
    fn possible_owners<'b>(
        &'b self,
        entry: &'b LogEntry,
        seen: &'b Seen,
    ) -> impl Iterator<Item = usize> + 'b {
        let named = seen.first_name().and_then(|name| self.case.loose.get(&name));
        let dropping = self.case.loose.get(&Blob::from(SOME_PREFIX)).filter(|_| seen.only_deletes());
        let ending = self.case.loose.get(&Blob::from(SOME_SESSION)).filter(|_| seen.ends_a_session());
        named.into_iter().chain(dropping).chain(ending).flatten().copied().filter(move |at| {
            let plan = self.plan(*at, entry);
            let is_free = !self.settled.contains(at) && self.case.floors[*at] < entry.index;
            is_free && plan.changes() && seen.compare(&plan).is_ok()
        })
    }

    /// Takes the changes of an entry without a named owner from any operation that may own it: they all
    /// change the same. Who it was is settled at the end.
    fn adopt_orphan(&mut self, entry: &LogEntry, seen: &Seen) -> Result<Plan, Stop> {
        let possible: Vec<usize> = self.possible_owners(entry, seen).collect();
        let Some(&first) = possible.first() else {
            fail!(
                "entry {} changes keys or users, and no client asked for it: {:?}",
                entry.index,
                entry.entry.effects
            );
        };
        let plan = self.plan(first, entry);
        self.orphans.push((entry.index, possible));
        Ok(plan)
    }

    /// Gives each entry without a named owner one of its own (a bipartite matching by augmenting paths).
    /// Operations that change the same are interchangeable, so that guessing in order could go wrong.
    fn give_orphans_owners(&self) -> Result<(), Stop> {
        let mut matching = Matching::default();
        for (at, (position, _)) in self.orphans.iter().enumerate() {
            if !matching.augment(&self.orphans, at) {
                fail!(
                    "entry {position} repeats a command that was asked for fewer times than it was executed"
                );
            }
        }
        Ok(())
    }
}

/// Whether a command may have been logged here: changes of the members are, too.
fn is_a_command(entry: &LogEntry) -> bool {
    matches!(entry.entry.cause, Cause::Command | Cause::Members)
}
