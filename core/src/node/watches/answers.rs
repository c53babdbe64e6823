//! Answers to requests that wait at this node: when each begins to wait, and what it is told in the end.

use super::{AT_ONCE, Asked, BYTES_AT_ONCE, Waiting};
use crate::access::rights::Rights;
use crate::access::user::Principal;
use crate::command::evaluate::reply_room;
use crate::command::observe::leader;
use crate::command::{Command, needs};
use crate::error::{ErrorCode, Failure};
use crate::io::Outbox;
use crate::node::forward::Ticket;
use crate::node::replica::{Replica, probe};
use crate::reply::{Outcome, Receipt, Reply, Value};
use crate::time::Micros;
use crate::trace::Probe;
use crate::types::Index;
use crate::watch::history::{Seer, Told, rights_now};

impl Replica {
    /// The answers that are ready for this node's connections, requests for changes among them.
    pub fn take_answers(&mut self, out: &mut Outbox) -> Vec<(Ticket, Reply)> {
        let mut answers = std::mem::take(&mut self.answers);
        answers.retain_mut(|(ticket, reply)| !self.begin_watch(*ticket, reply));
        let now = self.now.mono;
        while let Some((_, ticket)) =
            self.watches.due.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.watches.due.pop_first();
            self.watches.waiting.get_mut(&ticket).expect("what is due waits").ends = true;
            self.watches.ready.insert(ticket);
        }
        let committed = self.state.committed();
        while let Some((_, ticket)) = self.watches.early.first().copied().filter(|(at, _)| *at <= committed) {
            self.watches.early.pop_first();
            self.watches.ready.insert(ticket);
        }
        let mut bytes = 0;
        for _ in 0..AT_ONCE {
            if bytes > BYTES_AT_ONCE {
                break;
            }
            let Some(ticket) = self.watches.ready.pop_first() else { break };
            if let Some(reply) = self.tell(ticket, out) {
                bytes += reply.outcome.as_ref().map_or(0, Value::size);
                self.watches.take(ticket);
                answers.push((ticket, reply));
            }
        }
        answers
    }

    /// Whether this was the leader's word on a request that now waits for something to be told.
    fn begin_watch(&mut self, ticket: Ticket, reply: &mut Reply) -> bool {
        let Some(asked) = self.watches.asked.remove(&ticket) else { return false };
        let (Ok(value), Some(receipt)) = (&reply.outcome, reply.receipt) else { return false };
        let looked = match &asked.command {
            Command::Changes(command) => command.watch.from,
            Command::Claims(command) if command.is_news(value) => return false,
            _ => Index(0),
        };
        if self.watches.waiting.len() >= self.config.limits.watches {
            let text = "too many wait for changes at this node: ask another, or again later";
            *reply = Reply::refused(Failure::overloaded(text, Micros::from_millis(1000)));
            return false;
        }
        let deadline = self.now.mono.after(Micros::from_millis(asked.command.wait_ms()));
        let not_before = receipt.position.max(looked);
        self.watches.wait(
            ticket,
            Waiting {
                asked,
                not_before,
                looked,
                awaits: None,
                heard: false,
                waited: false,
                deadline,
                ends: false,
            },
        );
        true
    }

    /// The answer to a request, if it gets one now.
    fn tell(&mut self, ticket: Ticket, out: &mut Outbox) -> Option<Reply> {
        let waiting = self.watches.waiting.get(&ticket)?;
        let committed = self.state.committed();
        if committed < waiting.not_before {
            // It is ready again when this node has come so far. The deadline of its request ends that, not its own.
            return None;
        }
        let Asked { principal, command } = &waiting.asked;
        let degraded = self.raft.rests_on_one_disk(committed);
        let receipt =
            Some(Receipt { degraded, ..Receipt::durable(committed, self.state.time_of(committed)) });
        let waited = waiting.waited;
        let rights = match self.may_watch(principal, command) {
            Ok(rights) => rights,
            Err(failure) => {
                if waited {
                    probe(out, Probe::WatchCutByRevoke);
                }
                return Some(Reply { outcome: Err(failure), receipt });
            }
        };
        let outcome = match command {
            Command::Changes(_) => self.tell_changes(ticket, rights, out),
            Command::Claims(command) => {
                let (told, ends) = (leader(self.state.committed_leader(&command.name)), waiting.ends);
                let is_news = command.is_news(&told);
                if is_news && waited {
                    probe(out, Probe::ObserverWoken);
                }
                self.watches.waiting.get_mut(&ticket).expect("it waits").waited = true;
                (is_news || ends).then_some(Ok(told))
            }
            _ => unreachable!("nothing else waits here"),
        };
        outcome.map(|outcome| Reply { outcome, receipt })
    }

    /// What has changed, if there is something to tell or the time is up.
    fn tell_changes(&mut self, ticket: Ticket, rights: Option<Rights>, out: &mut Outbox) -> Option<Outcome> {
        let waiting = self.watches.waiting.get(&ticket)?;
        let (committed, waited) = (self.state.committed(), waiting.waited);
        let Asked { principal, command: Command::Changes(changes) } = &waiting.asked else {
            unreachable!("it waits for changes")
        };
        let room = reply_room(&self.config.limits).saturating_sub(64);
        // What waited and heard nothing need not be looked for, however far the history reaches by now.
        let quiet = waiting.awaits.is_some() && !waiting.heard;
        let looked = if quiet { committed } else { waiting.looked };
        let seer = Seer::new(&self.history, &self.state, principal, rights.as_ref());
        Some(match self.history.tell(seer, &changes.watch, looked, room) {
            Told::Events { events, through }
                if events.is_empty() && (through < committed || !waiting.ends) =>
            {
                let waiting = self.watches.waiting.get_mut(&ticket).expect("it waits");
                (waiting.looked, waiting.heard) = (through, false);
                if through < committed {
                    // It is looked through further when others had their turn.
                    self.watches.ready.insert(ticket);
                } else {
                    (waiting.awaits, waiting.waited) = (Some(rights), true);
                }
                return None;
            }
            Told::Events { events, through } => {
                if !events.is_empty() && waited {
                    probe(out, Probe::WatchWoken);
                }
                let covered = self.snapshots.current.map_or(Index(0), |meta| meta.seal.at.index);
                if !events.is_empty() && looked < covered {
                    probe(out, Probe::WatchAcrossSnapshot);
                }
                let position = Value::Int(i64::try_from(through.0).unwrap_or(i64::MAX));
                Ok(Value::Map(vec![("events".into(), Value::List(events)), ("position".into(), position)]))
            }
            Told::Gone(start) => {
                probe(out, Probe::HistoryGone);
                let text = format!(
                    "changes after {} are not known here any more, but from {start} on: read the keys anew, and go on \
                     from the answer's position",
                    changes.watch.from
                );
                Err(Failure::new(ErrorCode::HistoryGone, text))
            }
            Told::TooLarge(index) => {
                let text = format!(
                    "the changes at position {index} are too many for an answer: read the keys anew, and go on from the \
                     answer's position"
                );
                Err(Failure::new(ErrorCode::HistoryGone, text))
            }
        })
    }

    /// Whether somebody may watch these keys as of the committed state, and is still who logged in.
    fn may_watch(&self, principal: &Principal, command: &Command) -> Result<Option<Rights>, Failure> {
        let Principal::User { name, generation } = principal else { return Ok(None) };
        match rights_now(&self.state, name).filter(|rights| rights.user().generation == *generation) {
            Some(rights) => needs::check(name, &rights, command).map(|()| Some(rights)),
            None => {
                let text = "the login has ended, for the user was changed: AUTH again";
                Err(Failure::new(ErrorCode::Unauthenticated, text))
            }
        }
    }
}
