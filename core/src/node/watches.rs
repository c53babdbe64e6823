//! Requests for changes. The leader says that one may be asked, and at which position; from there on this node, which has the
//! client's connection, answers it from its own history: at once if there is something to tell, else when there is, or when
//! its time is up.
//!
//! No request is answered before this node has come as far as the leader was when it was asked: so rights that were taken
//! by then are not used here any more, however far this node lags.

use std::collections::{BTreeMap, BTreeSet};

use super::forward::{Task, Ticket};
use super::replica::{Replica, probe};
use crate::access::rights::Rights;
use crate::access::user::Principal;
use crate::command::Command;
use crate::command::evaluate::reply_room;
use crate::command::needs;
use crate::error::{ErrorCode, Failure};
use crate::io::Outbox;
use crate::reply::{Receipt, Reply, Value};
use crate::state::changed::Changes;
use crate::time::Micros;
use crate::trace::Probe;
use crate::types::{Blob, Index};
use crate::watch::Selector;
use crate::watch::history::{Told, rights_now};

/// The requests for changes of this node's clients.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    /// Those of which the leader has not spoken yet.
    asked: BTreeMap<Ticket, Asked>,
    waiting: BTreeMap<Ticket, Waiting>,
    /// Which of them want to know of a key.
    keys: BTreeMap<Blob, BTreeSet<Ticket>>,
    /// And of what begins so.
    prefixes: BTreeMap<Blob, BTreeSet<Ticket>>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
    /// When the time of each is up.
    due: BTreeSet<(Micros, Ticket)>,
    /// Those that must not be answered before this node is there.
    early: BTreeSet<(Index, Ticket)>,
    /// Those for which there may be something to tell.
    ready: BTreeSet<Ticket>,
}

/// A request, as it came.
#[derive(Clone, Debug)]
struct Asked {
    principal: Principal,
    command: Command,
}

/// A request that waits for changes.
#[derive(Clone, Debug)]
struct Waiting {
    asked: Asked,
    /// It must not be answered before this node is here.
    not_before: Index,
    /// Up to here there was nothing for it.
    looked: Index,
    /// It has waited for something to happen.
    waited: bool,
    deadline: Micros,
    /// It is answered now, whatever there is to tell.
    ends: bool,
}

impl Watches {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A request is on its way to the leader.
    pub fn asked(&mut self, ticket: Ticket, task: &Task) {
        if matches!(task.command, Command::Changes(_)) {
            let (principal, command) = (task.principal.clone(), task.command.clone());
            self.asked.insert(ticket, Asked { principal, command });
        }
    }

    /// When the time of the next is up.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        self.due.first().map(|(deadline, _)| *deadline)
    }

    /// These keys have changed, or, with `all`, what people may do.
    fn touch(&mut self, changes: &Changes) {
        if self.waiting.is_empty() {
            return;
        }
        if !changes.users.is_empty() || !changes.rules.is_empty() {
            self.ready.extend(self.waiting.keys());
            return;
        }
        for changed in &changes.keys {
            self.ready.extend(self.keys.get(&changed.key).into_iter().flatten());
            let lengths = self.lengths.range(..=changed.key.len()).map(|(length, _)| *length);
            for prefix in lengths.map(|length| &changed.key[..length]) {
                self.ready.extend(self.prefixes.get(prefix).into_iter().flatten());
            }
        }
    }

    fn wait(&mut self, ticket: Ticket, waiting: Waiting) {
        for selector in selectors(&waiting.asked.command) {
            match selector {
                Selector::Key(key) => drop(self.keys.entry(key.clone()).or_default().insert(ticket)),
                Selector::Prefix(prefix) => {
                    let tickets = self.prefixes.entry(prefix.clone()).or_default();
                    if tickets.is_empty() {
                        *self.lengths.entry(prefix.len()).or_default() += 1;
                    }
                    tickets.insert(ticket);
                }
            }
        }
        self.due.insert((waiting.deadline, ticket));
        self.early.insert((waiting.not_before, ticket));
        self.waiting.insert(ticket, waiting);
    }

    /// Takes a request out: it is answered, or nobody waits for it any more.
    fn take(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        for selector in selectors(&waiting.asked.command) {
            match selector {
                Selector::Key(key) => drop(leave(&mut self.keys, key, ticket)),
                Selector::Prefix(prefix) => {
                    if leave(&mut self.prefixes, prefix, ticket) {
                        let count =
                            self.lengths.get_mut(&prefix.len()).expect("a prefix's length is counted");
                        *count -= 1;
                        if *count == 0 {
                            self.lengths.remove(&prefix.len());
                        }
                    }
                }
            }
        }
        self.due.remove(&(waiting.deadline, ticket));
        self.early.remove(&(waiting.not_before, ticket));
        self.ready.remove(&ticket);
        Some(waiting)
    }

    /// Nobody waits for this answer any more. Whether it was to be one of these.
    pub fn give_up(&mut self, ticket: Ticket) -> bool {
        let asked = self.asked.remove(&ticket).is_some();
        self.take(ticket).is_some() || asked
    }

    /// Whoever waits had better ask another node.
    pub fn end_all(&mut self) {
        for (ticket, waiting) in &mut self.waiting {
            waiting.ends = true;
            self.ready.insert(*ticket);
        }
    }
}

/// Takes a ticket from those of a name. Whether it was the last of them.
fn leave(names: &mut BTreeMap<Blob, BTreeSet<Ticket>>, name: &Blob, ticket: Ticket) -> bool {
    // Named twice in one request, it was taken at the first.
    let Some(tickets) = names.get_mut(name) else { return false };
    tickets.remove(&ticket);
    let last = tickets.is_empty();
    if last {
        names.remove(name);
    }
    last
}

fn selectors(command: &Command) -> &[Selector] {
    match command {
        Command::Changes(command) => &command.watch.selectors,
        _ => unreachable!("only requests for changes wait for them"),
    }
}

impl Replica {
    /// An entry was committed.
    pub fn remember(&mut self, index: Index, changes: Changes) {
        self.watches.touch(&changes);
        self.history.push(index, self.state.time_of(index), changes);
    }

    /// The answers that are ready for this node's connections, requests for changes among them.
    pub fn take_answers(&mut self, out: &mut Outbox) -> Vec<(Ticket, Reply)> {
        let mut answers = std::mem::take(&mut self.answers);
        answers.retain(|(ticket, reply)| !self.begin_watch(*ticket, reply));
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
        for ticket in std::mem::take(&mut self.watches.ready) {
            if let Some(reply) = self.tell(ticket, out) {
                self.watches.take(ticket);
                answers.push((ticket, reply));
            }
        }
        answers
    }

    /// Whether this was the leader's word on a request for changes, which now waits for them.
    fn begin_watch(&mut self, ticket: Ticket, reply: &Reply) -> bool {
        let Some(asked) = self.watches.asked.remove(&ticket) else { return false };
        let (Ok(_), Some(receipt)) = (&reply.outcome, reply.receipt) else { return false };
        let Command::Changes(command) = &asked.command else { return false };
        let looked = command.watch.from;
        let deadline = self.now.mono.after(Micros::from_millis(command.wait_ms));
        let not_before = receipt.position.max(looked);
        self.watches
            .wait(ticket, Waiting { asked, not_before, looked, waited: false, deadline, ends: false });
        true
    }

    /// The answer to a request, if it gets one now.
    fn tell(&mut self, ticket: Ticket, out: &mut Outbox) -> Option<Reply> {
        let waiting = self.watches.waiting.get(&ticket)?;
        let committed = self.state.committed();
        if committed < waiting.not_before {
            // Its time is up before this node has come so far: nothing is known.
            let text = "this node has not caught up in time, and told nothing: ask again, or another node";
            return waiting.ends.then(|| Reply::refused(Failure::new(ErrorCode::NoLeader, text)));
        }
        let Asked { principal, command } = &waiting.asked;
        let Command::Changes(changes) = command else {
            unreachable!("only requests for changes wait for them")
        };
        let receipt = Some(Receipt { position: committed, time: self.state.time_of(committed) });
        if let Err(failure) = self.may_watch(principal, command) {
            if waiting.waited {
                probe(out, Probe::WatchCutByRevoke);
            }
            return Some(Reply { outcome: Err(failure), receipt });
        }
        let room = reply_room(&self.config.limits).saturating_sub(64);
        let outcome = match self.history.tell(&self.state, principal, &changes.watch, waiting.looked, room) {
            Told::Events { events, through } => {
                if !events.is_empty() && waiting.waited {
                    probe(out, Probe::WatchWoken);
                }
                if events.is_empty() && through == committed && !waiting.ends {
                    let waiting = self.watches.waiting.get_mut(&ticket).expect("it waits");
                    (waiting.looked, waiting.waited) = (through, true);
                    return None;
                }
                let position = Value::Int(i64::try_from(through.0).unwrap_or(i64::MAX));
                Ok(Value::Map(vec![("events".into(), Value::List(events)), ("position".into(), position)]))
            }
            Told::Gone(start) => {
                probe(out, Probe::HistoryGone);
                let from = changes.watch.from;
                let text = format!(
                    "changes after {from} are not known here any more, but from {start} on: read the keys anew, and go on \
                     from the answer's position"
                );
                Err(Failure::new(ErrorCode::HistoryGone, text))
            }
            Told::TooLarge(index) => {
                let text = format!(
                    "the changes at position {index} are too many for an answer: ask for fewer keys, or go on from {index}"
                );
                Err(Failure::new(ErrorCode::TooLarge, text))
            }
        };
        Some(Reply { outcome, receipt })
    }

    /// Whether somebody may watch these keys as of the committed state, and is still who logged in.
    fn may_watch(&self, principal: &Principal, command: &Command) -> Result<(), Failure> {
        let Principal::User { name, generation } = principal else { return Ok(()) };
        let rights: Option<Rights> = rights_now(&self.state, name);
        match rights.filter(|rights| rights.user().generation == *generation) {
            Some(rights) => needs::check(name, &rights, command),
            None => {
                let text = "the login has ended, for the user was changed: AUTH again";
                Err(Failure::new(ErrorCode::Unauthenticated, text))
            }
        }
    }
}
