//! The newest changes that were committed, and what users could do when they were.
//!
//! Every node has a history of its own, made as entries are applied: after a start that is what lies in the log behind the
//! snapshot. It is bounded in positions and in bytes; whoever asks for changes before its beginning is told so. How far back it
//! reaches tells nothing about keys but for the bytes, which are the node's memory. The newest position is always known.
//!
//! Rights are those at the position of the change, not those of today: what changed since is kept as it was.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Watch;
use super::event::{Detail, event, size_of, weight};
use crate::access::rights::{Holder, Rights, Rules};
use crate::access::user::{Grant, Permission, Principal, User};
use crate::protocol::value::MAX_VALUES;
use crate::reply::Value;
use crate::state::State;
use crate::state::changed::{Changed, Changes, RuleName};
use crate::time::Millis;
use crate::types::{Blob, Index};

/// One request looks at so many positions. The next goes on from there: nobody else waits for longer.
const WALKED: u64 = 10_000;

/// About the bytes of a row of users or rules beside what is in it, and of a grant.
const ROW: usize = 128;

fn grants_bytes(grants: &[Grant]) -> usize {
    grants.iter().map(|grant| grant.pattern.text().len() + ROW).sum()
}

/// Whoever sees a change may do both with its key.
pub const NEEDED: [Permission; 2] = [Permission::Read, Permission::Watch];

/// The newest changes.
#[derive(Clone, Debug)]
pub struct History {
    /// It knows all changes after this position.
    start: Index,
    /// The last position that it was told of.
    end: Index,
    /// Positions at which keys were changed, in order.
    revisions: VecDeque<Revision>,
    bytes: usize,
    /// Users as they were before the change at a position.
    users: BTreeMap<(Blob, Index), Option<Arc<User>>>,
    /// Rules likewise.
    rules: BTreeMap<(Holder, Blob, Index), Option<Arc<Rules>>>,
    /// The positions of these, and what is forgotten with each.
    access: BTreeMap<Index, Replaced>,
    most_positions: u64,
    most_bytes: usize,
}

/// The changes of one position.
#[derive(Clone, Debug)]
struct Revision {
    index: Index,
    time: Millis,
    keys: Vec<Changed>,
    bytes: usize,
}

/// The users and rules that were changed at a position.
#[derive(Clone, Debug, Default)]
struct Replaced {
    users: Vec<Blob>,
    rules: Vec<RuleName>,
    bytes: usize,
}

/// What a history tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Everything from the watch's position up to this one. The events are those of whole positions.
    Events {
        /// In the order of their positions, and of their keys at each.
        events: Vec<Value>,
        /// Up to here, this position's included.
        through: Index,
    },
    /// It does not reach back so far: it begins after this position.
    Gone(Index),
    /// The changes at this position are too large for an answer, even without values.
    TooLarge(Index),
}

impl History {
    /// From this position on, with room for so many positions and about so many bytes.
    #[must_use]
    pub fn new(start: Index, most_positions: u64, most_bytes: usize) -> Self {
        Self {
            start,
            end: start,
            revisions: VecDeque::new(),
            bytes: 0,
            users: BTreeMap::new(),
            rules: BTreeMap::new(),
            access: BTreeMap::new(),
            most_positions,
            most_bytes,
        }
    }

    /// Changes up to here are not known.
    #[must_use]
    pub fn start(&self) -> Index {
        self.start
    }

    /// A snapshot became the state: what led to it is not known.
    pub fn reset(&mut self, start: Index) {
        *self = Self::new(start, self.most_positions, self.most_bytes);
    }

    /// The entry at this position was committed.
    ///
    /// # Panics
    /// Unless it follows the one before.
    pub fn push(&mut self, index: Index, time: Millis, changes: Changes) {
        assert_eq!(index, self.end.next(), "a history is told of every entry, in the order of the log");
        self.end = index;
        let Changes { keys, users, rules, offices: _ } = changes;
        if !users.is_empty() || !rules.is_empty() {
            self.replace(index, users, rules);
        }
        if !keys.is_empty() {
            let bytes = keys.iter().map(weight).sum();
            self.bytes += bytes;
            self.revisions.push_back(Revision { index, time, keys, bytes });
        }
        self.forget();
    }

    /// Users and rules were changed at a position: they are kept as they were before.
    fn replace(
        &mut self,
        index: Index,
        users: Vec<(Blob, Option<Arc<User>>)>,
        rules: Vec<(RuleName, Option<Arc<Rules>>)>,
    ) {
        let mut replaced = Replaced::default();
        for (name, before) in users {
            replaced.bytes += name.len() + before.as_ref().map_or(0, |user| grants_bytes(&user.grants)) + ROW;
            replaced.users.push(name.clone());
            self.users.entry((name, index)).or_insert(before);
        }
        for ((holder, name), before) in rules {
            let bytes =
                |it: &Arc<Rules>| grants_bytes(&it.grants) + grants_bytes(&it.denials) + it.roles.len() * ROW;
            replaced.bytes += name.len() + before.as_ref().map_or(0, bytes) + ROW;
            replaced.rules.push((holder, name.clone()));
            self.rules.entry((holder, name, index)).or_insert(before);
        }
        self.bytes += replaced.bytes;
        self.access.insert(index, replaced);
    }

    /// The oldest position of which anything is kept.
    fn oldest(&self) -> Option<Index> {
        let revision = self.revisions.front().map(|revision| revision.index);
        let access = self.access.first_key_value().map(|(index, _)| *index);
        revision.into_iter().chain(access).min()
    }

    /// Keeps the bounds.
    fn forget(&mut self) {
        self.start = self.start.max(Index(self.end.0.saturating_sub(self.most_positions)));
        while let Some(oldest) = self.oldest()
            && (oldest <= self.start || (self.bytes > self.most_bytes && oldest < self.end))
        {
            self.start = self.start.max(oldest);
            if let Some(revision) = self.revisions.pop_front_if(|revision| revision.index == oldest) {
                self.bytes -= revision.bytes;
            }
            if let Some(replaced) = self.access.remove(&oldest) {
                self.bytes -= replaced.bytes;
                replaced.users.into_iter().for_each(|name| drop(self.users.remove(&(name, oldest))));
                for (holder, name) in replaced.rules {
                    self.rules.remove(&(holder, name, oldest));
                }
            }
        }
    }

    /// What a watch of somebody is told now, from after a position on: at least all of the first position at which there is
    /// anything, and then whole positions up to its count and about so many bytes.
    ///
    /// # Panics
    /// Unless the seer's state is that of the last position which this was told of.
    #[must_use]
    pub fn tell(&self, mut seer: Seer<'_>, watch: &Watch, after: Index, room: usize) -> Told {
        assert_eq!(self.end, seer.state.committed(), "a history is as new as the state beside it");
        if after < self.start {
            return Told::Gone(self.start);
        }
        let end = self.end.min(Index(after.0.saturating_add(WALKED)));
        let (mut events, mut size, mut values) = (Vec::new(), 0, 0);
        let first = self.revisions.partition_point(|revision| revision.index <= after);
        for revision in self.revisions.range(first..).take_while(|revision| revision.index <= end) {
            let shown: Vec<&Changed> = revision
                .keys
                .iter()
                .filter(|changed| watch.wants(changed) && seer.sees(revision.index, &changed.key))
                .collect();
            if shown.is_empty() {
                continue;
            }
            let fits = |size: usize, values: usize| size <= room && values < MAX_VALUES;
            // Nothing large is made that is then thrown away.
            let large = shown.iter().map(|changed| size_of(changed, watch.previous)).sum::<usize>() > room;
            let before = revision.index.0 - 1;
            let asked = if watch.previous { Detail::Previous } else { Detail::Present };
            let whole = (!large).then(|| events_of(revision, &shown, asked));
            match whole.filter(|(_, its_size, its_values)| fits(size + its_size, values + its_values)) {
                Some((its_events, its_size, its_values)) => {
                    events.extend(its_events);
                    (size, values) = (size + its_size, values + its_values);
                }
                None if events.is_empty() => {
                    let (events, its_size, its_values) = events_of(revision, &shown, Detail::Bare);
                    if !fits(its_size, its_values) {
                        return Told::TooLarge(revision.index);
                    }
                    return Told::Events { events, through: revision.index };
                }
                None => return Told::Events { events, through: Index(before) },
            }
            if events.len() >= watch.count {
                return Told::Events { events, through: revision.index };
            }
        }
        Told::Events { events, through: end.max(after) }
    }

    /// Since when there is this user, as far as is known. One who was removed and created again is another one.
    fn created(&self, state: &State, name: &Blob) -> Index {
        if state.committed_user(name).is_none() {
            return Index(u64::MAX);
        }
        let changes = self.users.range((name.clone(), Index(0))..=(name.clone(), Index(u64::MAX)));
        changes.rev().find(|(_, before)| before.is_none()).map_or(Index(0), |((_, index), _)| *index)
    }

    /// What a user of this name could do at a position.
    fn rights_at(&self, state: &State, name: &Blob, index: Index) -> Option<Rights> {
        let since = (name.clone(), index.next())..=(name.clone(), Index(u64::MAX));
        let user = match self.users.range(since).next() {
            Some((_, user)) => user.as_ref(),
            None => state.committed_user(name),
        };
        rights_of(name, user?, |holder, name| self.rules_at(state, holder, name, index))
    }

    fn rules_at(&self, state: &State, holder: Holder, name: &Blob, index: Index) -> Option<Arc<Rules>> {
        let since = (holder, name.clone(), index.next())..=(holder, name.clone(), Index(u64::MAX));
        match self.rules.range(since).next() {
            Some((_, rules)) => rules.clone(),
            None => state.committed_rules(holder, name).cloned(),
        }
    }
}

/// What somebody may do now.
#[must_use]
pub fn rights_now(state: &State, name: &Blob) -> Option<Rights> {
    rights_of(name, state.committed_user(name)?, |holder, name| state.committed_rules(holder, name).cloned())
}

/// The rights of a user, from its own rules and those of its roles.
fn rights_of(
    name: &Blob,
    user: &Arc<User>,
    rules: impl Fn(Holder, &Blob) -> Option<Arc<Rules>>,
) -> Option<Rights> {
    let own = rules(Holder::User, name);
    let names = own.as_ref().map(|own| own.roles.clone()).unwrap_or_default();
    let role = |name: Blob| Some((name.clone(), rules(Holder::Role, &name)?));
    Some(Rights::new(Arc::clone(user), own, names.into_iter().filter_map(role).collect()))
}

/// The events of a position, with their size and the number of values in them.
fn events_of(revision: &Revision, shown: &[&Changed], detail: Detail) -> (Vec<Value>, usize, usize) {
    let events: Vec<Value> =
        shown.iter().map(|changed| event(revision.index, revision.time, changed, detail)).collect();
    let (size, values) = (events.iter().map(Value::size).sum(), events.iter().map(Value::count).sum());
    (events, size, values)
}

/// Which keys somebody may see: with the rights at the position of the change, and with those of now.
#[derive(Debug)]
pub struct Seer<'a> {
    history: &'a History,
    state: &'a State,
    name: Option<&'a Blob>,
    now: Option<&'a Rights>,
    /// Before this position it was somebody else of the same name, or nobody.
    created: Index,
    /// The rights at positions up to the first: until something about access changes.
    then: Option<(Index, Option<Rights>)>,
}

impl<'a> Seer<'a> {
    /// Somebody with the rights of now, of which [`rights_now`] tells.
    #[must_use]
    pub fn new(history: &'a History, state: &'a State, who: &'a Principal, now: Option<&'a Rights>) -> Self {
        let name = match who {
            Principal::User { name, .. } => Some(name),
            Principal::Anybody => None,
        };
        let created = name.map_or(Index(0), |name| history.created(state, name));
        Self { history, state, name, now, created, then: None }
    }

    fn sees(&mut self, index: Index, key: &[u8]) -> bool {
        let Some(name) = self.name else { return true };
        if index < self.created {
            return false;
        }
        if self.then.as_ref().is_none_or(|(until, _)| index > *until) {
            let until = self
                .history
                .access
                .range(index.next()..)
                .next()
                .map_or(Index(u64::MAX), |(at, _)| Index(at.0 - 1));
            self.then = Some((until, self.history.rights_at(self.state, name, index)));
        }
        let then = self.then.as_ref().and_then(|(_, rights)| rights.as_ref());
        [then, self.now].into_iter().all(|rights| {
            rights.is_some_and(|rights| NEEDED.iter().all(|needed| rights.allows(*needed, key)))
        })
    }
}
