//! The core's evaluation and state as the honest database, so that the judges' model is compared with it.

use steadfast_core::access::user::Principal;
use steadfast_core::command::Command;
use steadfast_core::command::evaluate::{Once, Request, evaluate};
use steadfast_core::command::info::NodeInfo;
use steadfast_core::command::parse::{Parsed, parse};
use steadfast_core::config::AccessMode;
use steadfast_core::limits::Limits;
use steadfast_core::reply::{Receipt, Reply};
use steadfast_core::state::State;
use steadfast_core::state::effect::{Cause, Entry};
use steadfast_core::time::Millis;
use steadfast_core::types::{Index, Term};

use super::{Ask, LogEntry};

/// One node's mind, without log or network: everything commits at once.
#[derive(Clone)]
pub(super) struct Engine {
    state: State,
    limits: Limits,
}

impl Engine {
    pub(super) fn new(log: &[LogEntry]) -> Self {
        let mut state = State::new((5, 6));
        for entry in log {
            state.commit(entry.index, &entry.entry);
        }
        Self { state, limits: Limits { session_ttl_ms: 5_000, ..Limits::default() } }
    }

    /// Evaluates, logs and answers.
    pub(super) fn act(&mut self, log: &mut Vec<LogEntry>, now: u64, ask: &Ask) -> Reply {
        let now = Millis(now);
        let command = match parse(&ask.args, &self.limits) {
            Ok(Parsed::Command(command)) => command,
            Ok(Parsed::UserAdd { name, .. }) => Command::UserAdd { name, password_hash: "hash".into() },
            Ok(Parsed::UserPassword { name, .. }) => {
                Command::UserPassword { name, password_hash: "hash2".into() }
            }
            Ok(other) => panic!("tests do not ask for {other:?}"),
            Err(failure) => return Reply::refused(failure),
        };
        let principal = match &ask.user {
            Some(name) => {
                let generation = self.state.view(now).user(name).map_or(Index(0), |user| user.generation);
                Principal::User { name: name.clone(), generation }
            }
            None => Principal::Anybody,
        };
        let request = Request {
            principal: &principal,
            command: &command,
            once: ask.once.map(|(session, seq)| Once { session, seq, floor: seq.saturating_sub(3) }),
            forwarded: None,
            info: &NodeInfo::default(),
        };
        let evaluated = evaluate(&self.state, &self.limits, AccessMode::InsecureNoAuth, &request, now);
        let shows_time = evaluated.time_consulted && now > self.state.time();
        if !evaluated.effects.is_empty() || shows_time {
            let cause = if evaluated.effects.is_empty() { Cause::Clock } else { Cause::Command };
            self.append(log, Entry { time: now, cause, effects: evaluated.effects });
        }
        let tail = (self.state.tail(), self.state.time());
        let (position, time) = evaluated.stored_at.unwrap_or(tail);
        Reply { outcome: evaluated.outcome, receipt: Some(Receipt::durable(position, time)) }
    }

    fn append(&mut self, log: &mut Vec<LogEntry>, entry: Entry) {
        let index = self.state.tail().next();
        self.state.append(index, &entry);
        self.state.commit(index, &entry);
        log.push(LogEntry { index, term: Term(1), entry });
    }
}
