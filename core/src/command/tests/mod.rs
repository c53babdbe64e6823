//! Tests of evaluation, in plain words: a [`World`] is a state with users, at a time that the test sets.
//! Every line goes the whole way: parse, evaluate, encode and decode, append, and commit when asked.

mod access;
mod claims;
mod drop;
mod isolation;
mod keys;
mod leases;
mod limits;
mod once;
mod parse;
mod recovery;
mod retry;
mod roles;
mod transactions;
mod values;

use std::collections::VecDeque;

use super::evaluate::{Evaluated, ForwardId, Once, Request, evaluate};
use super::info::NodeInfo;
use super::parse::{Parsed, parse as parse_words};
use super::{Command, catalogue};
use crate::access::user::{Principal, root_user};
use crate::config::AccessMode;
use crate::limits::Limits;
use crate::reply::{Outcome, Value};
use crate::state::State;
use crate::state::effect::FEATURE_LEVEL;
use crate::state::effect::{Cause, Effect, Entry};
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// A state, its log's uncommitted entries, and a clock.
struct World {
    state: State,
    uncommitted: VecDeque<(Index, Entry)>,
    now: Millis,
    limits: Limits,
    mode: AccessMode,
}

impl World {
    /// A founded cluster with the user `root`, everything committed.
    fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            uncommitted: VecDeque::new(),
            now: Millis(1_000_000),
            limits: Limits::default(),
            mode: AccessMode::Enforced,
        };
        let root = root_user("root's hash".into(), Index(1));
        world.append(
            Cause::System,
            vec![Effect::Level(FEATURE_LEVEL), Effect::UserPut { name: "root".into(), user: root }],
        );
        world.commit();
        world
    }

    /// A world with a user who has these grants, as in `READ ON a*`.
    fn with_user(name: &str, grants: &[&str]) -> Self {
        let mut world = Self::new();
        assert_eq!(world.root(&format!("USER ADD {name} secret")), "OK");
        for grant in grants {
            assert_eq!(world.root(&format!("GRANT {grant} TO {name}")), "1");
        }
        world.commit();
        world
    }

    fn append(&mut self, cause: Cause, effects: Vec<Effect>) -> Index {
        let entry = Entry { time: self.now, cause, effects };
        assert_eq!(Entry::decode(&entry.encode()).as_ref(), Ok(&entry), "what is logged can be read back");
        let index = self.state.tail().next();
        self.state.append(index, &entry);
        self.uncommitted.push_back((index, entry));
        index
    }

    fn commit(&mut self) {
        for (index, entry) in self.uncommitted.drain(..) {
            self.state.commit(index, &entry);
        }
    }

    /// What a leader logs when it is woken by then. Says whether there was anything.
    fn wake_at(&mut self, now: u64) -> bool {
        self.now = Millis(now);
        let due = self.state.due(self.now, 100);
        let (leases, waits) = self.state.due_leases(self.now, 100);
        let over = super::turns::over(self.state.view(self.now), &leases, &waits, 1 << 20);
        let all = [due, over].into_iter().filter(|effects| !effects.is_empty());
        let entries: Vec<Index> = all.map(|effects| self.append(Cause::Expiry, effects)).collect();
        !entries.is_empty()
    }

    /// The login of a user as of now.
    fn login(&self, name: &str) -> Principal {
        let generation =
            self.state.view(self.now).user(name.as_bytes()).map_or(Index(0), |user| user.generation);
        Principal::User { name: name.into(), generation }
    }

    fn evaluate(&mut self, ask: &Ask) -> Evaluated {
        let info = NodeInfo::default();
        let request = Request {
            principal: &ask.principal,
            command: &ask.command,
            once: ask.once,
            forwarded: ask.forwarded,
            info: &info,
        };
        evaluate(&self.state, &self.limits, self.mode, &request, self.now)
    }

    /// Evaluates and, as a leader does in the same step, appends what came of it.
    fn run(&mut self, ask: &Ask) -> Done {
        let evaluated = self.evaluate(ask);
        let shows_new_time = evaluated.time_consulted && self.now > self.state.time();
        let logged = if shows_new_time || !evaluated.effects.is_empty() {
            let cause = if evaluated.effects.is_empty() { Cause::Clock } else { Cause::Command };
            Some(self.append(cause, evaluated.effects.clone()))
        } else {
            None
        };
        Done { evaluated, logged }
    }

    /// A line of root's.
    fn root(&mut self, line: &str) -> String {
        self.by("root", line)
    }

    /// A line of a user's, who logs in for it.
    fn by(&mut self, user: &str, line: &str) -> String {
        let ask = self.ask(user, line);
        self.run(&ask).text()
    }

    fn ask(&self, user: &str, line: &str) -> Ask {
        let command = command(line, &self.limits);
        Ask { principal: self.login(user), command, once: None, forwarded: None }
    }

    /// A session of a user's, committed.
    fn session(&mut self, user: &str) -> SessionId {
        let id = self.by(user, "SESSION OPEN").parse().expect("a session's id is a number");
        self.commit();
        SessionId(id)
    }
}

/// A command as it reaches the leader.
#[derive(Clone)]
struct Ask {
    principal: Principal,
    command: Command,
    once: Option<Once>,
    forwarded: Option<ForwardId>,
}

impl Ask {
    /// The same under a session.
    fn once(mut self, session: SessionId, seq: u64, floor: u64) -> Self {
        self.once = Some(Once { session, seq, floor });
        self
    }

    /// The same, forwarded by node 2.
    fn forwarded(mut self, boot: u64, seq: u64, floor: u64) -> Self {
        self.forwarded = Some(ForwardId { origin: Incarnation(2), boot: BootNumber(boot), seq, floor });
        self
    }
}

/// What came of a command.
struct Done {
    evaluated: Evaluated,
    logged: Option<Index>,
}

impl Done {
    fn text(&self) -> String {
        text(&self.evaluated.outcome)
    }

    /// The entry that stored the answer before.
    fn stored_at(&self) -> Option<Index> {
        self.evaluated.stored_at.map(|(index, _)| index)
    }

    fn depends_on(&self) -> Index {
        self.evaluated.dependency.index()
    }
}

/// Parses a line, words between single spaces; `''` is the empty word. A password becomes its own hash.
fn command(line: &str, limits: &Limits) -> Command {
    match parse_words(&words(line), limits) {
        Ok(Parsed::Command(command)) => command,
        Ok(Parsed::UserAdd { name, password }) => Command::UserAdd { name, password_hash: password },
        Ok(Parsed::UserPassword { name, password }) => {
            Command::UserPassword { name, password_hash: password }
        }
        other => panic!("{line} is not for evaluation: {other:?}"),
    }
}

fn words(line: &str) -> Vec<Blob> {
    line.split(' ').map(|word| if word == "''" { Blob::default() } else { Blob::from(word) }).collect()
}

/// An outcome for people: `OK`, `7`, `"text"`, `nil`, `[…]`, or the name of an error.
fn text(outcome: &Outcome) -> String {
    match outcome {
        Ok(value) => value_text(value),
        Err(failure) => failure.code.name().to_owned(),
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Nil => "nil".into(),
        Value::Waiting(_) => "waiting".into(),
        Value::Status(word) => word.clone(),
        Value::Int(number) => number.to_string(),
        Value::Bytes(bytes) => format!("{bytes:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(value_text).collect::<Vec<_>>().join(", ")),
        Value::Map(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(name, value)| format!("{name}: {}", value_text(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Pairs(pairs) => {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(first, second)| format!("{} => {}", value_text(first), value_text(second)))
                .collect();
            format!("<{}>", pairs.join(", "))
        }
    }
}
