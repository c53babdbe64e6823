//! A small, honest database for the judges' tests: one operation after the other, with overlap in what its
//! clients see. Tests then doctor the history or the log that it leaves behind.

mod access;
mod engine;
mod exactly_once;
mod expiry;
mod holds;
mod linear;
mod property;
mod raft;
mod receipts;
mod replay;

use std::collections::BTreeMap;

use steadfast_core::access::user::{Grant, Pattern, Permission, User};
use steadfast_core::error::{ErrorCode, Failure};
use steadfast_core::reply::{Outcome, Receipt, Reply, Value};
use steadfast_core::state::effect::{
    Cause, Deadline, DeleteCause, Effect, Entry, FEATURE_LEVEL, StoredReply,
};
use steadfast_core::time::Millis;
use steadfast_core::types::{Blob, Index, SessionId, Term};

use super::asked::{Asked, Right};
use super::grants::Person;
use super::log::LogEntry;
use super::model::{Model, Plan};
use super::rows::Ends;
use super::seen::Seen;
use crate::history::{History, Recorder};

/// The database with its clients.
#[derive(Clone, Default)]
pub(super) struct Bench {
    recorder: Recorder,
    pub log: Vec<LogEntry>,
    model: Model,
    /// Real time in nanoseconds; every event takes one microsecond.
    ns: u64,
    asks: BTreeMap<u64, Ask>,
    /// If set, the core evaluates, and the model only follows what it logs.
    engine: Option<engine::Engine>,
}

#[derive(Clone)]
struct Ask {
    process: u64,
    user: Option<Blob>,
    args: Vec<Blob>,
    once: Option<(SessionId, u64)>,
    reply: Option<Reply>,
}

/// The arguments in a line.
pub(super) fn words(line: &str) -> Vec<Blob> {
    line.split(' ').map(Blob::from).collect()
}

pub(super) fn bytes(text: &str) -> Value {
    Value::Bytes(Blob::from(text))
}

impl Bench {
    /// A founded cluster with the administrator `root`.
    pub fn new() -> Self {
        let mut bench = Self { ns: 5_000_000_000, ..Self::default() };
        let everything = || Pattern::Prefix(Blob::default());
        let grant = |permission| Grant { pattern: everything(), permission };
        let root = User {
            generation: Index(1),
            password: String::new(),
            grants: vec![grant(Permission::Read), grant(Permission::Write), grant(Permission::Admin)],
        };
        let effects =
            vec![Effect::Level(FEATURE_LEVEL), Effect::UserPut { name: Blob::from("root"), user: root }];
        bench.append(Cause::System, effects, None);
        bench.append(Cause::TermStart, Vec::new(), None);
        bench
    }

    /// The same, with the core's own evaluation.
    pub fn with_core() -> Self {
        let mut bench = Self::new();
        bench.engine = Some(engine::Engine::new(&bench.log));
        bench
    }

    /// Real time passes.
    pub fn wait(&mut self, ms: u64) {
        self.ns += ms * 1_000_000;
    }

    /// A client begins to ask; answers the operation's number, which is its place in the history.
    pub fn ask(&mut self, process: u64, line: &str) -> u64 {
        self.ask_as(process, None, None, line)
    }

    pub fn ask_once(&mut self, process: u64, session: u64, seq: u64, line: &str) -> u64 {
        self.ask_as(process, None, Some((SessionId(session), seq)), line)
    }

    pub fn ask_as(
        &mut self,
        process: u64,
        user: Option<&str>,
        once: Option<(SessionId, u64)>,
        line: &str,
    ) -> u64 {
        let (user, args) = (user.map(Blob::from), words(line));
        let ns = self.event();
        let op = self.recorder.invoke(ns, process, user.clone(), args.clone(), once);
        self.asks.insert(op, Ask { process, user, args, once, reply: None });
        op
    }

    /// The operation takes effect now.
    pub fn act(&mut self, op: u64) {
        let ask = self.asks[&op].clone();
        if let Some(mut engine) = self.engine.take() {
            let now = self.time();
            let reply = engine.act(&mut self.log, now, &ask);
            self.engine = Some(engine);
            self.asks.get_mut(&op).expect("asked").reply = Some(reply);
            return;
        }
        let asked = Asked::read(&ask.args).expect("tests ask what the model knows");
        self.expire(matches!(asked, Asked::PTtl(_)));
        let (next, now) = (Index(self.log.len() as u64 + 1), self.time());
        let plan = self.model.plan(ask.user.as_ref(), &asked, next, now);
        let outcome = outcome_of(&plan);
        let logged = plan.changes() || (ask.once.is_some() && asked.is_write());
        let outcome = if logged {
            let mut effects = self.effects_of(&plan, ask.user.as_ref());
            effects.extend(ask.once.map(|(id, seq)| Effect::SessionStepped {
                id,
                seq,
                floor: 0,
                reply: StoredReply { outcome: outcome.clone(), digest: 0 },
            }));
            self.append(Cause::Command, effects, Some(plan));
            outcome
        } else {
            let (last, time) = self.end();
            outcome_of(&self.model.plan(ask.user.as_ref(), &asked, last, time.0))
        };
        let (position, time) = self.end();
        let reply = Reply { outcome, receipt: Some(Receipt::durable(position, time)) };
        self.asks.get_mut(&op).expect("asked").reply = Some(reply);
    }

    /// The client is told.
    pub fn tell(&mut self, op: u64) {
        let (ns, ask) = (self.event(), self.asks[&op].clone());
        self.recorder.complete(ns, ask.process, op, &ask.reply.expect("acted"), None, ask.once);
    }

    /// The client is told this instead.
    pub fn tell_error(&mut self, op: u64, code: ErrorCode) {
        let (ns, ask) = (self.event(), self.asks[&op].clone());
        let reply = Reply::refused(Failure::new(code, "told so"));
        self.recorder.complete(ns, ask.process, op, &reply, None, ask.once);
    }

    /// Asks, acts and tells.
    pub fn run(&mut self, process: u64, line: &str) -> u64 {
        let op = self.ask(process, line);
        self.finish(op)
    }

    pub fn run_as(&mut self, process: u64, user: &str, line: &str) -> u64 {
        let op = self.ask_as(process, Some(user), None, line);
        self.finish(op)
    }

    pub fn run_once(&mut self, process: u64, session: u64, seq: u64, line: &str) -> u64 {
        let op = self.ask_once(process, session, seq, line);
        self.finish(op)
    }

    fn finish(&mut self, op: u64) -> u64 {
        self.act(op);
        self.tell(op);
        op
    }

    /// Acts, and the client never learns of it.
    pub fn run_unheard(&mut self, process: u64, line: &str) -> u64 {
        let op = self.ask(process, line);
        self.act(op);
        op
    }

    /// Opens a session.
    pub fn session(&mut self, process: u64) -> u64 {
        self.run(process, "SESSION OPEN");
        self.log.len() as u64
    }

    pub fn history(&self) -> History {
        History::from_records(self.recorder.records()).expect("the bench records in order")
    }

    /// Logs what the leader logs by itself.
    pub fn append_own(&mut self, cause: Cause) {
        self.append(cause, Vec::new(), None);
    }

    fn event(&mut self) -> u64 {
        self.ns += 1000;
        self.ns
    }

    /// Cluster time: it began at some date.
    fn time(&self) -> u64 {
        1_700_000_000_000 + self.ns / 1_000_000
    }

    fn end(&self) -> (Index, Millis) {
        self.log.last().map_or((Index(0), Millis(0)), |entry| (entry.index, entry.entry.time))
    }

    fn expire(&mut self, shows_time: bool) {
        let now = self.time();
        let due: Vec<Effect> = self
            .model
            .rows
            .iter()
            .filter(|(_, row)| row.is_due(now))
            .map(|(key, _)| Effect::Delete { key: key.clone(), cause: DeleteCause::Expired })
            .collect();
        if !due.is_empty() {
            self.append(Cause::Expiry, due, None);
        } else if shows_time && self.end().1.0 < now {
            self.append(Cause::Clock, Vec::new(), None);
        }
    }

    fn append(&mut self, cause: Cause, effects: Vec<Effect>, plan: Option<Plan>) {
        let entry = Entry { time: Millis(self.time()), cause, effects };
        let entry = LogEntry { index: Index(self.log.len() as u64 + 1), term: Term(1), entry };
        let seen = Seen::new(&entry, &self.model).expect("the bench logs what is right");
        seen.adopt(plan, &entry, &mut self.model).expect("the bench logs what is right");
        self.log.push(entry);
    }

    fn effects_of(&self, plan: &Plan, user: Option<&Blob>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (key, row) in &plan.rows {
            let deadline = |ends: Ends| Deadline { at: Millis(ends.at), slack: ends.slack as u32 };
            effects.push(match row {
                Some(row) => Effect::Put {
                    key: key.clone(),
                    value: row.held.text().expect("the bench knows texts alone").clone(),
                    deadline: row.ends.map(deadline),
                },
                None => Effect::Delete { key: key.clone(), cause: DeleteCause::Deleted },
            });
        }
        for (name, person) in &plan.people {
            let before = self.model.people.users.get(name).map(|person| person.generation);
            if before.is_some() && before != person.as_ref().map(|person| person.generation) {
                let theirs = self.model.sessions.iter().filter(|(_, session)| session.user == *name);
                let end = |id: &SessionId| Effect::SessionEnded { id: *id, cause: DeleteCause::Deleted };
                effects.extend(theirs.map(|(id, _)| end(id)));
            }
            effects.push(match person {
                Some(person) => Effect::UserPut { name: name.clone(), user: user_of(person) },
                None => Effect::UserRemoved { name: name.clone() },
            });
        }
        if plan.opens {
            effects.push(Effect::SessionOpened { user: user.cloned().unwrap_or_default(), ttl: 60_000 });
        }
        effects.extend(plan.ends.map(|id| Effect::SessionEnded { id, cause: DeleteCause::Deleted }));
        effects
    }
}

fn outcome_of(plan: &Plan) -> Outcome {
    match plan.says.clone().unwrap_or(Ok(Value::Nil)) {
        Ok(value) => Ok(value),
        Err(code) => Err(Failure::new(code, "as the model says")),
    }
}

fn user_of(person: &Person) -> User {
    let grants = person.grants.iter().map(|(right, reach)| {
        let pattern = match reach.open {
            true => Pattern::Prefix(reach.literal.clone()),
            false => Pattern::Exact(reach.literal.clone()),
        };
        let permission = match right {
            Right::Read => Permission::Read,
            Right::Write => Permission::Write,
            Right::Admin => Permission::Admin,
            Right::Limit => Permission::Limit,
            Right::Lock => Permission::Lock,
            Right::Watch => Permission::Watch,
            Right::Delete => Permission::Delete,
            Right::Drop => Permission::Drop,
        };
        Grant { pattern, permission }
    });
    User { generation: person.generation, password: "hash".into(), grants: grants.collect() }
}
