//! Evaluation: what a command does to the state at the tail of the log, decided once, by the leader.
//!
//! In this order, all at one position of the log: has this very command been executed before? who asks, and
//! is the login still good? may they? is the condition met? what changes? Everything is read through one
//! [`View`], so that the reply depends on whatever any of these questions rested on: a key, its absence, a
//! grant, a session, the time. The state itself is not changed; the caller appends the effects in the same
//! step.
//!
//! Never reads a clock, waits, or answers a client.

use std::sync::Arc;

use super::catalogue::shown;
use super::info::NodeInfo;
use super::once::{Keeping, OnceCommand};
use super::{Command, needs};
use crate::access::rights::Rights;
use crate::access::user::{Area, Grant, Principal};
use crate::config::AccessMode;
use crate::durability::Loose;
use crate::error::{ErrorCode, Failure};
use crate::limits::Limits;
use crate::protocol::value::MAX_VALUES;
use crate::reply::{Outcome, Value};
use crate::state::effect::{Answer, Effect, StoredReply};
use crate::state::{Dependency, Finished, Forwarded, State, View};
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// What of a frame is not the reply's value: header, request id, receipt, node; with room to spare.
const REPLY_OVERHEAD: usize = 256;

/// A command with all that its evaluation rests on besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks, as of the login.
    pub principal: &'a Principal,
    /// What.
    pub command: &'a Command,
    /// The client's number for it, if it is to execute once.
    pub once: Option<Once>,
    /// The forwarding node's number for it, if it was forwarded.
    pub forwarded: Option<ForwardId>,
    /// What INFO shows.
    pub info: &'a NodeInfo,
}

/// A client's number for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Once {
    /// The session, one of the same user.
    pub session: SessionId,
    /// The command's number in it, 1 or more. A retry has the same.
    pub seq: u64,
    /// The client holds the answers of all commands up to here, and will not ask for them again.
    pub floor: u64,
}

/// A forwarding node's number for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ForwardId {
    /// The node's data directory: a wiped node begins to count from nothing.
    pub origin: Incarnation,
    /// Its boot.
    pub boot: BootNumber,
    /// The command's number in that boot, 1 or more. Sent again, it has the same.
    pub seq: u64,
    /// The node holds the answers of all commands up to here.
    pub floor: u64,
}

/// What came of an evaluation.
#[derive(Debug)]
#[must_use = "the effects are to be logged in this same step, and the answer waits for its dependency"]
pub struct Evaluated {
    /// The answer.
    pub outcome: Outcome,
    /// What to log, in order. Empty if there is nothing to log.
    pub effects: Vec<Effect>,
    /// The newest pending entry that the answer rests on.
    pub dependency: Dependency,
    /// The answer rests on the time: if that lies after the last logged time, the command is logged even
    /// without effects.
    pub time_consulted: bool,
    /// For an answer that was stored before: the entry that stored it, which is the answer's position, and its time.
    pub stored_at: Option<(Index, Millis)>,
    /// That entry is not yet committed.
    pub met_pending_retry: bool,
    /// The answer may leave ahead of its durability.
    pub loose: Option<Loose>,
}

/// Evaluates a command against the state at the tail of the log, at the cluster time `now`.
///
/// The same state, request and time always give the same result.
///
/// # Panics
/// If `now` lies before the last logged time.
pub fn evaluate(
    state: &State,
    limits: &Limits,
    mode: AccessMode,
    request: &Request<'_>,
    now: Millis,
) -> Evaluated {
    let view = state.view(now);
    Evaluation { state, limits, mode, request, view, actor: None, keeping: None, guarded: false }.run()
}

/// Bytes that the value of a reply may take.
pub(crate) fn reply_room(limits: &Limits) -> usize {
    limits.frame_bytes.saturating_sub(REPLY_OVERHEAD)
}

/// Whether the command's effects may be logged at this feature level.
///
/// # Errors
/// `FEATURE_LEVEL` if not.
pub(super) fn check_level(command: &Command, level: u32) -> Result<(), Failure> {
    if level >= command.level() {
        return Ok(());
    }
    let (name, needed) = (command.name(), command.level());
    let message =
        format!("{name} needs feature level {needed}, and the cluster is at {level}: upgrade every node");
    Err(Failure::new(ErrorCode::FeatureLevel, message))
}

/// One evaluation under way.
pub(super) struct Evaluation<'a> {
    pub(super) state: &'a State,
    pub(super) limits: &'a Limits,
    pub(super) mode: AccessMode,
    pub(super) request: &'a Request<'a>,
    pub(super) view: View<'a>,
    /// The user who asks; `None` before the login was checked, and for everybody where access is not enforced.
    actor: Option<(Blob, Rights)>,
    /// A command under an idempotency id was executed: its answer is to be kept.
    pub(super) keeping: Option<Keeping>,
    /// It rests on a lock or lease.
    pub(super) guarded: bool,
}

/// Why a command is not executed.
enum Early {
    /// It was before: the index of the entry that stored its answer, and the answer.
    Stored(Index, Arc<Answer>),
    /// It must not be, and neither a session nor a forwarding node has anything to remember.
    Refused(Failure),
    /// It must not be, and sent on again by the forwarding node it must not be either: the client may have
    /// been told already that nothing happened.
    RefusedForGood(Failure),
}

impl<'a> Evaluation<'a> {
    fn run(mut self) -> Evaluated {
        let (outcome, in_session, forwarded) = match self.admit() {
            Err(Early::Stored(index, reply)) => return self.answer_again(index, &reply),
            Err(Early::Refused(failure)) => (Err(failure), false, false),
            Err(Early::RefusedForGood(failure)) => (Err(failure), false, true),
            Ok(()) => match self.attempt() {
                // What a command inside of this one needs, this one needs: it may be asked again when the level is reached.
                Err(failure) if failure.code == ErrorCode::FeatureLevel => {
                    self.keeping = None;
                    (Err(failure), false, false)
                }
                outcome => (outcome, true, true),
            },
        };
        if outcome.is_err() {
            self.view.discard_draft();
        }
        // Of a failure too: a retry gets the same one.
        if let Some(keeping) = self.keeping.take() {
            self.view.effect(keeping.effect(&outcome, self.digest()));
        }
        if self.request.command.is_write() {
            self.keep(&outcome, in_session, forwarded);
        }
        self.finish(outcome, None)
    }

    /// Everything that comes before the command itself.
    fn admit(&mut self) -> Result<(), Early> {
        let command = self.request.command;
        check_level(command, self.view.level()).map_err(Early::Refused)?;
        self.check_forwarded()?;
        self.check_login().map_err(Early::RefusedForGood)?;
        if command.is_write() {
            self.check_session()?;
        }
        self.check_once()
    }

    /// Whether the command was executed before under its idempotency id.
    fn check_once(&mut self) -> Result<(), Early> {
        let Command::Once(OnceCommand::Run { id, .. }) = self.request.command else { return Ok(()) };
        let user = self.scope();
        let Some(kept) = self.view.kept(user, id.clone()) else { return Ok(()) };
        // An answer of earlier is nobody's who may not execute the command now.
        self.permit_run().map_err(Early::RefusedForGood)?;
        let (index, answer) = kept.stored;
        if answer.digest == self.digest() {
            return Err(Early::Stored(index, answer));
        }
        let message = format!("another command was executed under the id '{}': use another id", shown(id));
        Err(Early::RefusedForGood(Failure::new(ErrorCode::OnceConflict, message)))
    }

    /// Whether the forwarding node has sent this command before.
    fn check_forwarded(&mut self) -> Result<(), Early> {
        let Some(ForwardId { origin, boot, seq, floor }) = self.request.forwarded else { return Ok(()) };
        let stale = |why: String| Err(Early::Refused(Failure::new(ErrorCode::SessionStale, why)));
        match self.view.forwarded(origin, boot, seq) {
            Forwarded::OldBoot => stale(format!("the forwarding node was restarted since its boot {boot}")),
            Forwarded::Stale => stale(format!("the forwarding node holds the answer to its command {seq}")),
            // The answer that is stored under this number must stay, so that of this one is not stored.
            Forwarded::Known { index, reply } => Err(self.known(index, reply).unwrap_or_else(Early::Refused)),
            Forwarded::New if seq <= floor => {
                stale(format!("the forwarding node holds the answers up to {floor}"))
            }
            // A node's commands are executed in the order of their numbers. This one was refused or lost on its way to
            // an earlier leader, and a later one was executed: to execute it now would reverse the order of a
            // connection's commands, and would let a read see what came after it.
            Forwarded::New if self.view.forwarded_last(origin, boot) > seq => {
                let message =
                    "the leader changed while the command was on its way, and it was not executed: try again";
                Err(Early::Refused(Failure::new(ErrorCode::LeaderChanged, message)))
            }
            Forwarded::New => Ok(()),
        }
    }

    /// Whether the login still holds: the user exists, and has neither been removed and created again nor got
    /// another password since.
    fn check_login(&mut self) -> Result<(), Failure> {
        if matches!(self.request.command, Command::UserLookup { .. } | Command::ForgetWait { .. }) {
            return Ok(());
        }
        let refused = |message: &str| Err(Failure::new(ErrorCode::Unauthenticated, message));
        match (self.request.principal, self.mode) {
            (Principal::Anybody, AccessMode::InsecureNoAuth) => Ok(()),
            (Principal::Anybody, AccessMode::Enforced) => refused("nobody is logged in: AUTH first"),
            (Principal::User { name, generation }, _) => match self.view.user(name) {
                Some(user) if user.generation == *generation => {
                    self.actor = Some((name.clone(), self.view.rights(name, user)));
                    Ok(())
                }
                // Removed, created again or another password: which one is nobody's business here.
                _ => refused("the login has ended, for the user was changed: AUTH again"),
            },
        }
    }

    /// Whether the client has sent this write before, and may send it at all.
    fn check_session(&mut self) -> Result<(), Early> {
        let Some(once) = self.request.once else { return Ok(()) };
        let refuse = |code, message: String| Err(Early::RefusedForGood(Failure::new(code, message)));
        let owner = self.actor().cloned().unwrap_or_default();
        let record = self.view.session(once.session).filter(|record| record.user == owner);
        let Some(record) = record else {
            let message = format!(
                "there is no session {} of this user, or it has expired: SESSION OPEN another; whether earlier \
                 commands of it were executed can't be told any more",
                once.session
            );
            return refuse(ErrorCode::SessionUnknown, message);
        };
        if let Some((index, reply)) = self.view.session_reply(once.session, once.seq) {
            return Err(self.known(index, reply).unwrap_or_else(Early::RefusedForGood));
        }
        let floor = record.floor.max(once.floor);
        if once.seq <= floor {
            let message = format!("the answers up to {floor} were acknowledged, and this is {}", once.seq);
            return refuse(ErrorCode::SessionStale, message);
        }
        if once.seq - floor > self.limits.session_window {
            let window = self.limits.session_window;
            let message = format!(
                "{} runs more than {window} ahead of what was acknowledged ({floor}): take the answers first",
                once.seq
            );
            return refuse(ErrorCode::SessionWindow, message);
        }
        Ok(())
    }

    /// An answer was found under the number of this command.
    fn known(&self, index: Index, reply: Arc<Answer>) -> Result<Early, Failure> {
        if reply.digest == self.digest() {
            return Ok(Early::Stored(index, reply));
        }
        let message = "another command was executed under this number: number every command anew";
        Err(Failure::new(ErrorCode::SessionConflict, message))
    }

    /// Permission, condition and effect.
    fn attempt(&mut self) -> Outcome {
        if let Some((name, rights)) = &self.actor {
            needs::check(name, rights, self.request.command)?;
        }
        let value = self.execute(self.request.command)?;
        self.check_entry(&value)?;
        let (size, room) = (value.size(), self.reply_room());
        if size > room {
            // Before anything is logged: an answer that can't be sent must not stand for a write that was done.
            let message =
                format!("the reply would take {size} bytes of at most {room}: ask for less at a time");
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        Ok(value)
    }

    /// Whether all that is to be logged fits into one entry, which every peer must be able to take.
    fn check_entry(&self, value: &Value) -> Result<(), Failure> {
        let Request { once, forwarded, .. } = self.request;
        let copies = usize::from(once.is_some())
            + usize::from(forwarded.is_some())
            + usize::from(self.keeping.is_some());
        let copies = if self.request.command.is_write() { copies } else { 0 };
        let size = self.view.drafted_bytes() + copies * value.size();
        let room = self.entry_room();
        if size > room {
            let message =
                format!("the command would log {size} bytes of at most {room}: change less at a time");
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        let values = value.count();
        if values >= MAX_VALUES {
            let message = format!(
                "the reply would have {values} values, and {MAX_VALUES} is too many: ask for less at a time"
            );
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }

    pub(super) fn execute(&mut self, command: &Command) -> Outcome {
        Ok(match command {
            Command::Transaction(transaction) => self.transaction(transaction)?,
            Command::Once(command) => self.once(command)?,
            Command::Ping { message: None } => Value::Status("PONG".into()),
            Command::Ping { message: Some(message) } => Value::Bytes(message.clone()),
            Command::Strings(command) => self.string_value(command)?,
            Command::Keyspace(command) => self.keyspace(command)?,
            Command::Hashes(command) => self.hash(command)?,
            Command::Limits(command) => self.limit(command)?,
            Command::Leases(command) => self.leases(command)?,
            Command::Claims(command) => self.claims(command)?,
            Command::Roles(command) => self.roles(command)?,
            Command::Changes(command) => self.changes(command)?,
            Command::Drop(command) => self.drop_keys(command)?,
            Command::Durability(command) => self.durability(command)?,
            Command::Cluster(command) => self.cluster(command)?,
            Command::ForgetWait { id } => self.forget_wait(*id),
            Command::Get { key } => self.get(key)?,
            Command::GetV { key } => self.getv(key)?,
            Command::Set { key, value, expiry, condition, return_old, ties } => {
                self.set((key, value), *expiry, *condition, *return_old, ties)?
            }
            Command::Del { keys } => self.del(keys),
            Command::Exists { keys } => self.exists(keys),
            Command::IncrBy { key, delta } => self.incr_by(key, *delta)?,
            Command::Expire { key, ttl_ms } => self.expire(key, *ttl_ms),
            Command::PTtl { key } => self.pttl(key),
            Command::Persist { key } => self.persist(key),
            Command::MGet { keys } => self.mget(keys),
            Command::MSet { pairs } => self.mset(pairs),
            Command::Scan { prefix, after, count } => self.page(prefix, after.as_ref(), *count, None),
            Command::Info => self.info(),
            Command::UserAdd { name, password_hash } => self.user_add(name, password_hash)?,
            Command::UserRemove { name } => self.user_remove(name)?,
            Command::UserPassword { name, password_hash } => self.user_password(name, password_hash)?,
            Command::UserList => self.user_list(),
            Command::UserShow { name } => self.user_show(name)?,
            Command::UserLookup { name } => self.user_lookup(name)?,
            Command::Grant { permission, pattern, user } => {
                self.grant(Grant { pattern: pattern.clone(), permission: *permission }, user)?
            }
            Command::Revoke { permission, pattern, user } => {
                self.revoke(&Grant { pattern: pattern.clone(), permission: *permission }, user)?
            }
            Command::WhoAmI => self.who_am_i(),
            Command::SessionOpen => self.session_open()?,
            Command::SessionEnd { id } => self.session_end(*id),
        })
    }

    fn info(&mut self) -> Value {
        let admin = self.administers(Area::Cluster);
        let level = self.view.level();
        self.request.info.answer(self.state, level, admin)
    }

    /// Makes the answer part of the command's own entry, so that a retry finds it however soon it comes.
    fn keep(&mut self, outcome: &Outcome, in_session: bool, forwarded: bool) {
        let Request { once, forwarded: forward, .. } = *self.request;
        let reply = || StoredReply { outcome: outcome.clone(), digest: self.request.command.digest() };
        if let (true, Some(Once { session: id, seq, floor })) = (in_session, once) {
            // The command may have ended its own session, and the answer goes with it.
            if self.view.session(id).is_some() {
                self.view.effect(Effect::SessionStepped { id, seq, floor, reply: reply() });
            }
        }
        if let (true, Some(ForwardId { origin, boot, seq, floor })) = (forwarded, forward) {
            self.view.effect(Effect::Forwarded { origin, boot, seq, floor, reply: reply() });
        }
    }

    fn answer_again(self, index: Index, answer: &Answer) -> Evaluated {
        self.finish(answer.outcome.clone(), Some((index, answer.time)))
    }

    fn finish(mut self, outcome: Outcome, stored_at: Option<(Index, Millis)>) -> Evaluated {
        let committed = self.state.committed();
        // A read may log what it found to be due, and shows what is durable all the same.
        let writes = self.request.command.is_write() && !self.guarded;
        let may_be_loose = writes && outcome.is_ok() && self.state.has_leeways();
        let configured = if may_be_loose { self.view.leeways() } else { Vec::new() };
        let Finished { effects, dependency, time_consulted } = self.view.finish();
        let met_pending_retry = stored_at.is_some_and(|(index, _)| index > committed);
        assert!(
            stored_at.is_none_or(|(index, _)| index <= committed || index <= dependency.index()),
            "an answer from a pending entry depends on that entry"
        );
        let hangs = |key: &Blob| self.state.hangs_on_a_lease(key);
        let loose = Loose::of(&effects, &configured, hangs);
        Evaluated { outcome, effects, dependency, time_consulted, stored_at, met_pending_retry, loose }
    }

    /// The numbers under which the command was asked for, and under which its answer is kept.
    #[allow(clippy::type_complexity)]
    pub(super) fn numbers(&self) -> (Option<(SessionId, u64)>, Option<(Incarnation, BootNumber, u64)>) {
        let session = self.request.once.map(|once| (once.session, once.seq));
        let forward = self.request.forwarded.map(|id| (id.origin, id.boot, id.seq));
        (session, forward)
    }

    /// What tells the command from others under the same number. Not kept: most commands need none.
    fn digest(&self) -> u64 {
        self.request.command.digest()
    }

    /// What is asked.
    pub(super) fn command(&self) -> &'a Command {
        self.request.command
    }

    /// The name of the user who asks; `None` for everybody where access is not enforced.
    pub(super) fn actor(&self) -> Option<&Blob> {
        self.actor.as_ref().map(|(name, _)| name)
    }

    /// What the user who asks may do; `None` for everybody where access is not enforced, who may do all.
    pub(super) fn rights(&self) -> Option<&Rights> {
        self.actor.as_ref().map(|(_, rights)| rights)
    }

    /// Whether the user who asks administers this.
    pub(super) fn administers(&self, area: Area) -> bool {
        self.rights().is_none_or(|rights| rights.administers(area))
    }

    /// Bytes that the effects of one entry may carry.
    pub(super) fn entry_room(&self) -> usize {
        self.limits.frame_bytes + self.limits.value_bytes
    }

    /// Bytes that the value of a reply may take.
    pub(super) fn reply_room(&self) -> usize {
        reply_room(self.limits)
    }
}
