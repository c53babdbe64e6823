//! Requests for changes, and for who leads an election. The leader says that one may be asked, and at which position; from
//! there on this node, which has the client's connection, answers it from its own history and state: at once if there is
//! something to tell, else when there is, or when its time is up.
//!
//! No request is answered before this node has come as far as the leader was when it was asked: so rights that were taken
//! by then are not used here any more, however far this node lags.

mod answers;

use std::collections::{BTreeMap, BTreeSet};

use super::forward::{Task, Ticket};
use super::replica::Replica;
use crate::access::rights::{Holder, Rights};
use crate::access::user::Principal;
use crate::command::Command;
use crate::error::{ErrorCode, Failure};
use crate::reply::Reply;
use crate::state::changed::{Changed, Changes};
use crate::time::Micros;
use crate::types::{Blob, Index};
use crate::watch::history::NEEDED;
use crate::watch::{Selector, Watch};

/// The requests of this node's clients that wait for something to be told.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    /// Those of which the leader has not spoken yet.
    asked: BTreeMap<Ticket, Asked>,
    waiting: BTreeMap<Ticket, Waiting>,
    /// Which of them want to know of a key.
    keys: BTreeMap<Blob, BTreeSet<Ticket>>,
    /// And of what begins so.
    prefixes: BTreeMap<Blob, BTreeSet<Ticket>>,
    /// And of who leads.
    offices: BTreeMap<Blob, BTreeSet<Ticket>>,
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
    /// What its user may do, once everything was looked through; then it waits for what is to come.
    awaits: Option<Option<Rights>>,
    /// And something came.
    heard: bool,
    /// It has waited so.
    waited: bool,
    deadline: Micros,
    /// It is answered now, whatever there is to tell.
    ends: bool,
}

impl Waiting {
    /// Whether a change is one that it is told of.
    fn hears(&self, changed: &Changed) -> bool {
        let rights = self.awaits.as_ref().and_then(Option::as_ref);
        let may = |rights: &Rights| NEEDED.iter().all(|needed| rights.allows(*needed, &changed.key));
        watch(&self.asked.command).is_some_and(|watch| watch.wants(changed)) && rights.is_none_or(may)
    }
}

/// So many requests are looked after in one step, and about so many bytes of answers made: nothing else stands still for longer.
const AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 16 << 20;

impl Watches {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A request is on its way to the leader.
    pub fn asked(&mut self, ticket: Ticket, task: &Task) {
        if watch(&task.command).is_some() || office(&task.command).is_some() {
            let (principal, command) = (task.principal.clone(), task.command.clone());
            self.asked.insert(ticket, Asked { principal, command });
        }
    }

    /// When the time of the next is up; at once, if some could not be looked after yet.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        let at_once = (!self.ready.is_empty()).then_some(Micros(0));
        at_once.or_else(|| self.due.first().map(|(deadline, _)| *deadline))
    }

    /// The entry at this position has changed these keys: whoever hears of one is told. Nobody is woken by what may not be seen,
    /// so that the time of an answer tells nothing about it.
    fn touch(&mut self, index: Index, keys: &[Changed]) {
        if self.waiting.len() == self.ready.len() {
            return;
        }
        for changed in keys {
            let named = self.keys.get(&changed.key).into_iter().flatten();
            let begun = begun_by(&self.prefixes, &changed.key).flatten();
            for ticket in named.chain(begun) {
                let Some(waiting) = self.waiting.get_mut(ticket) else { continue };
                if waiting.awaits.is_some() && !self.ready.contains(ticket) && waiting.hears(changed) {
                    // Nothing before was for it.
                    (waiting.looked, waiting.heard) = (waiting.looked.max(Index(index.0 - 1)), true);
                    self.ready.insert(*ticket);
                }
            }
        }
    }

    /// Somebody else leads, or says something else.
    fn touch_offices(&mut self, names: &[Blob]) {
        for ticket in names.iter().filter_map(|name| self.offices.get(name)).flatten() {
            self.ready.insert(*ticket);
        }
    }

    /// What these users may do has changed, and with it what they are told of all that happened since they asked.
    fn reconsider(&mut self, concerned: impl Fn(&Principal) -> bool) {
        for (ticket, waiting) in &mut self.waiting {
            if concerned(&waiting.asked.principal) {
                waiting.looked = watch(&waiting.asked.command).map_or(Index(0), |watch| watch.from);
                (waiting.awaits, waiting.heard) = (None, false);
                self.ready.insert(*ticket);
            }
        }
    }

    /// The state is another, and what led to it is not known.
    pub fn reconsider_all(&mut self) {
        self.reconsider(|_| true);
    }

    fn wait(&mut self, ticket: Ticket, waiting: Waiting) {
        for selector in selectors(&waiting.asked.command) {
            match selector {
                Selector::Key(key) => drop(self.keys.entry(key.clone()).or_default().insert(ticket)),
                Selector::Prefix(prefix) => {
                    self.prefixes.entry(prefix.clone()).or_default().insert(ticket);
                }
            }
        }
        if let Some(office) = office(&waiting.asked.command) {
            self.offices.entry(office.clone()).or_default().insert(ticket);
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
                Selector::Key(key) => leave(&mut self.keys, key, ticket),
                Selector::Prefix(prefix) => leave(&mut self.prefixes, prefix, ticket),
            }
        }
        if let Some(office) = office(&waiting.asked.command) {
            leave(&mut self.offices, office, ticket);
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

    /// Whoever waits is told how far this node has looked; of those for whom it has not come far enough nothing is kept.
    fn end_all(&mut self, committed: Index) -> Vec<Ticket> {
        let mut lost = Vec::new();
        for (ticket, waiting) in &mut self.waiting {
            if waiting.not_before > committed {
                lost.push(*ticket);
                continue;
            }
            waiting.ends = true;
            self.ready.insert(*ticket);
        }
        lost.iter().for_each(|ticket| drop(self.take(*ticket)));
        lost
    }
}

/// Takes a ticket from those of a name.
fn leave(names: &mut BTreeMap<Blob, BTreeSet<Ticket>>, name: &Blob, ticket: Ticket) {
    // Named twice in one request, it was taken at the first.
    let Some(tickets) = names.get_mut(name) else { return };
    tickets.remove(&ticket);
    if tickets.is_empty() {
        names.remove(name);
    }
}

/// What is kept under the prefixes of a key, longest first. It looks at one name for each length at most, and passes over all
/// lengths of which there is none.
fn begun_by<'a, T>(names: &'a BTreeMap<Blob, T>, key: &'a Blob) -> impl Iterator<Item = &'a T> {
    let mut bound = Some(key.len());
    std::iter::from_fn(move || {
        loop {
            let below = Blob::from(&key[..bound?]);
            let (name, found) = names.range(..=below).next_back()?;
            let common = name.iter().zip(key.iter()).take_while(|(a, b)| a == b).count();
            if common == name.len() {
                bound = common.checked_sub(1);
                return Some(found);
            }
            // Between the two there is no prefix of the key longer than what they have in common.
            bound = Some(common);
        }
    })
}

fn selectors(command: &Command) -> &[Selector] {
    watch(command).map_or(&[], |watch| &watch.selectors)
}

/// The changes that are asked for, if any are.
fn watch(command: &Command) -> Option<&Watch> {
    if let Command::Changes(command) = command { Some(&command.watch) } else { None }
}

/// The election of which somebody wants to know the next leader, if so.
fn office(command: &Command) -> Option<&Blob> {
    if let Command::Claims(command) = command { command.awaited() } else { None }
}

impl Replica {
    /// An entry was committed.
    pub fn remember(&mut self, index: Index, mut changes: Changes) {
        if !changes.users.is_empty() || !changes.rules.is_empty() {
            self.reconsider(&changes);
        }
        self.watches.touch(index, &changes.keys);
        // Who leads is not for the history.
        self.watches.touch_offices(&std::mem::take(&mut changes.offices));
        self.history.push(index, self.state.time_of(index), changes);
    }

    /// What users and roles may do has changed.
    fn reconsider(&mut self, changes: &Changes) {
        let Self { watches, state, .. } = self;
        let users = changes.users.iter().map(|(name, _)| name);
        let of = |wanted: Holder| {
            changes.rules.iter().filter(move |((holder, _), _)| *holder == wanted).map(|((_, name), _)| name)
        };
        let users: BTreeSet<&Blob> = users.chain(of(Holder::User)).collect();
        let roles: BTreeSet<&Blob> = of(Holder::Role).collect();
        watches.reconsider(|principal| {
            let Principal::User { name, .. } = principal else { return false };
            // Who had a role that is gone is changed by the same entry.
            let own = state.committed_rules(Holder::User, name);
            users.contains(name) || own.is_some_and(|own| own.roles.iter().any(|role| roles.contains(role)))
        });
    }

    /// Whoever waits here had better ask another node.
    pub fn give_up_watches(&mut self) {
        for ticket in self.watches.end_all(self.state.committed()) {
            let text = "this node has not caught up in time, and told nothing: ask again, or another node";
            self.answers.push((ticket, Reply::refused(Failure::new(ErrorCode::NoLeader, text))));
        }
        for ticket in std::mem::take(&mut self.watches.asked).into_keys() {
            // A leader that this node does not hear may have it, and could not answer.
            if self.forwarder.give_up(ticket).is_some() {
                let text = "no leader was heard of in time, and nothing was told: ask again, or another node";
                self.answers.push((ticket, Reply::refused(Failure::new(ErrorCode::NoLeader, text))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::access::user::{Grant, Pattern, User};
    use crate::command::parse::{Parsed, parse};
    use crate::limits::Limits;
    use crate::state::State;
    use crate::state::effect::{Cause, Effect, Entry};
    use crate::time::Millis;
    use crate::types::ConnId;

    /// Bob, who may see these keys, waits for all that begins with `user:`.
    fn waits(watches: &mut Watches, number: u64, line: &str, keys: &[&str]) -> Ticket {
        let words: Vec<Blob> = line.split(' ').map(Blob::from).collect();
        let Ok(Parsed::Command(command)) = parse(&words, &Limits::default()) else { panic!("{line}") };
        let pattern = |key: &&str| Pattern::Exact((*key).into());
        let grants =
            keys.iter().flat_map(|key| NEEDED.map(|permission| Grant { pattern: pattern(key), permission }));
        let user = User { generation: Index(1), password: String::new(), grants: grants.collect() };
        let principal = Principal::User { name: "bob".into(), generation: Index(1) };
        let waiting = Waiting {
            asked: Asked { principal, command },
            not_before: Index(0),
            looked: Index(0),
            awaits: Some(Some(Rights::new(Arc::new(user), None, Vec::new()))),
            heard: false,
            waited: true,
            deadline: Micros(9),
            ends: false,
        };
        let ticket = Ticket { conn: ConnId(1), number };
        watches.wait(ticket, waiting);
        ticket
    }

    fn changed(key: &str) -> Vec<Changed> {
        let mut state = State::default();
        let effects = vec![Effect::Put { key: key.into(), value: "1".into(), deadline: None }];
        state.commit(Index(1), &Entry { time: Millis(1), cause: Cause::Command, effects }).keys
    }

    #[test]
    fn nobody_is_woken_by_what_may_not_be_seen_or_is_not_asked_for() {
        let mut watches = Watches::default();
        let bob = waits(&mut watches, 1, "CHANGES 0 PREFIX user: WAIT 1000", &["user:7", "user:9"]);
        let deleted = waits(&mut watches, 2, "CHANGES 0 PREFIX u ONLY deleted WAIT 1000", &["user:7"]);
        watches.touch(Index(20_000), &changed("user:8"));
        watches.touch(Index(20_001), &changed("other"));
        assert!(watches.ready.is_empty(), "he may not see that one");
        watches.touch(Index(20_002), &changed("user:7"));
        assert_eq!(watches.ready, BTreeSet::from([bob]), "and {deleted:?} was for deletions alone");
        assert_eq!(watches.waiting[&bob].looked, Index(20_001), "nothing before was for him");
        watches.touch(Index(20_003), &changed("user:9"));
        assert_eq!(watches.waiting[&bob].looked, Index(20_001), "the first is told, too");
    }

    #[test]
    fn prefixes_of_a_key_are_found_whatever_lies_between() {
        let names = ["", "a", "ab", "abc", "abd", "b", "ax", "aa"];
        let names: BTreeMap<Blob, &str> = names.into_iter().map(|name| (name.into(), name)).collect();
        let found = |key: &str| begun_by(&names, &key.into()).copied().collect::<Vec<_>>().join("|");
        assert_eq!(found("abcd"), "abc|ab|a|");
        assert_eq!(found("aaz"), "aa|a|");
        assert_eq!(found("az"), "a|");
        assert_eq!(found("zz"), "");
        assert_eq!(begun_by(&names, &"zz".into()).count(), 1, "of all keys");
        let none: BTreeMap<Blob, &str> = BTreeMap::from([("b".into(), "b"), ("ab".into(), "ab")]);
        assert_eq!(begun_by(&none, &"aa".into()).count(), 0);
    }
}
