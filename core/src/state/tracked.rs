//! Reading pending over base, for one evaluation. Whoever evaluates reaches the state through this type
//! alone, and each of its methods notes the newest pending entry behind what it hands out: behind values,
//! absences, tombstones, and for a walk every row that it passed. So no reply can leave before what it saw
//! is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use super::data::Kind;
use super::effect::{Deadline, Founding};
use super::hanging::Hanging;
use super::overlay::{Layer, Row};
use super::packed::KeyRow;
use super::table::{Leases, Table, Users};
use super::{KeyRecord, State};
use crate::access::user::User;
use crate::coordination::claim::ClaimKey;
use crate::time::Millis;
use crate::types::{Blob, Index, LeaseId, SessionId};

/// The state at the tail, and what was seen of it.
pub(super) struct Tracked<'a> {
    state: &'a State,
    /// The newest pending entry behind anything seen; zero if there is none.
    newest: Index,
    /// What of that has to be committed before an answer may leave ahead of its durability: neither what left so itself, nor what
    /// only counts.
    firm: Index,
}

impl<'a> Tracked<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        Self { state, newest: Index::default(), firm: Index::default() }
    }

    /// The newest pending entry behind anything seen; zero if there is none.
    pub(super) fn newest(&self) -> Index {
        self.newest
    }

    /// What of that has to be committed before an answer may leave ahead of its durability.
    pub(super) fn firm(&self) -> Index {
        self.firm
    }

    /// The index that the command's own entry will have, for evaluation and append are one step.
    pub(super) fn next_index(&self) -> Index {
        self.state.tail().next()
    }

    /// Notes that the time `now` was shown. If the log has not come there yet, the command will be logged.
    pub(super) fn time(&mut self, now: Millis) {
        if now == self.state.time() {
            // What leaves ahead of its durability need not wait for it: that tells nothing about what else was logged there.
            self.note_newest(self.state.time_logged_at());
        }
    }

    pub(super) fn key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        match self.row(&self.state.pending.rows.keys, key) {
            Some(row) => row.value.clone(),
            None => self.state.base.keys.get(key).map(KeyRow::record),
        }
    }

    /// The keys at or after a bound and before another key, in order, tombstones included. A row is noted
    /// when it is handed out.
    pub(super) fn walk(&mut self, from: Bound<&[u8]>, until: Option<&[u8]>) -> Walk<'a, '_> {
        let base = self.state.base.keys.range(from);
        let pending = self.state.pending.rows.keys.range(from);
        Walk {
            base: boxed(base.map(|row| (row.name(), (row.kind(), row.deadline()))), until),
            pending: boxed(pending.map(|(key, row)| (key.as_slice(), row)), until),
            tracked: self,
        }
    }

    /// A row of a table. That of an answer only if its header, which the caller has read, lets it be asked for.
    pub(super) fn get<T: Table>(&mut self, key: &T::Key) -> Option<&'a T::Value> {
        match self.state.pending.rows.rows::<T>().get(key) {
            Some(row) => {
                self.note_newest(row.index);
                if !T::COUNTS {
                    self.note(row.index);
                }
                row.value.as_ref()
            }
            None => self.state.base.rows::<T>().get(key),
        }
    }

    /// The rows of a range of a table. Rests on all that is pending of any of them.
    pub(super) fn range<T: Table>(
        &mut self,
        range: (Bound<&T::Key>, Bound<&T::Key>),
    ) -> BTreeMap<T::Key, T::Value> {
        let base = self.state.base.rows::<T>().range(range);
        let mut rows: BTreeMap<T::Key, T::Value> =
            base.map(|(key, value)| (key.clone(), value.clone())).collect();
        for (key, row) in self.state.pending.rows.rows::<T>().within(range) {
            self.note(row.index);
            match &row.value {
                Some(value) => drop(rows.insert(key.clone(), value.clone())),
                None => drop(rows.remove(key)),
            }
        }
        rows
    }

    /// What hangs on a lease.
    pub(super) fn hanging(&mut self, id: LeaseId) -> Hanging {
        let hanging = self.state.tail.leases.hanging(id);
        self.note(hanging.changed_at);
        hanging
    }

    /// How much hangs on a lease, and the bytes of its names.
    pub(super) fn load(&mut self, id: LeaseId) -> (usize, usize) {
        let (keys, bytes, changed_at) = self.state.tail.leases.load(id);
        self.note(changed_at);
        (keys, bytes)
    }

    /// The leases of a user. Rests on all that is pending of theirs, and on nothing of anybody else's.
    pub(super) fn leases_of(&mut self, user: &Blob) -> BTreeSet<LeaseId> {
        let State { base, pending, tail } = self.state;
        for (id, row) in pending.rows.rows::<Leases>().iter() {
            // One that began and ended here may have been anybody's.
            let lease = row.value.as_ref().or_else(|| base.rows::<Leases>().get(id));
            if lease.is_none_or(|lease| lease.user == *user) {
                self.note(row.index);
            }
        }
        tail.leases.of_user(user).collect()
    }

    /// The claims that wait.
    pub(super) fn waits(&mut self) -> Vec<ClaimKey> {
        self.note(self.state.tail.leases.changed_at);
        self.state.tail.leases.waits.iter().cloned().collect()
    }

    /// How many leases a user has.
    pub(super) fn lease_count_of(&mut self, user: &Blob) -> usize {
        self.note(self.state.tail.leases.changed_at);
        self.state.tail.leases.count_of(user)
    }

    /// How many claims wait.
    pub(super) fn wait_count(&mut self) -> usize {
        self.note(self.state.tail.leases.changed_at);
        self.state.tail.leases.numbered.len()
    }

    /// The claim with this number, if it waits.
    pub(super) fn wait_numbered(&mut self, id: Index) -> Option<ClaimKey> {
        self.note(self.state.tail.leases.changed_at);
        self.state.tail.leases.numbered.get(&id).cloned()
    }

    /// How many leases there are.
    pub(super) fn lease_count(&mut self) -> usize {
        self.note(self.state.tail.leases.changed_at);
        self.state.tail.leases.len()
    }

    /// How many keys there are. Rests on all that is pending of any.
    pub(super) fn key_count(&mut self) -> usize {
        let base = &self.state.base.keys;
        let mut count = base.len();
        for (key, row) in self.state.pending.rows.keys.iter() {
            self.note(row.index);
            match (base.get(key).is_some(), row.value.is_some()) {
                (false, true) => count += 1,
                (true, false) => count -= 1,
                (true, true) | (false, false) => {}
            }
        }
        count
    }

    /// Whether there is such a key, due or not. For what [`Tracked::key_count`] has noted already.
    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        match self.state.pending.rows.keys.get(key) {
            Some(row) => row.value.is_some(),
            None => self.state.base.keys.get(key).is_some(),
        }
    }

    pub(super) fn session_count(&mut self) -> usize {
        self.note(self.state.tail.sessions_counted_at);
        self.state.tail.sessions()
    }

    /// The sessions of a user.
    pub(super) fn sessions_of(&mut self, user: &[u8]) -> BTreeSet<SessionId> {
        self.note(self.state.tail.sessions_counted_at);
        self.state.tail.sessions_of(user).collect()
    }

    pub(super) fn users(&mut self) -> BTreeMap<Blob, Arc<User>> {
        let mut users = self.state.base.rows::<Users>().clone();
        for (name, row) in self.state.pending.rows.rows::<Users>().iter() {
            self.note(row.index);
            match &row.value {
                Some(user) => users.insert(name.clone(), Arc::clone(user)),
                None => users.remove(name),
            };
        }
        users
    }

    /// Who founded the cluster.
    pub(super) fn founding(&mut self) -> Option<&Founding> {
        match self.state.pending.rows.founding.get() {
            Some((index, founding)) => {
                self.note(*index);
                Some(founding)
            }
            None => self.state.base.founding.as_ref(),
        }
    }

    pub(super) fn level(&mut self) -> u32 {
        match self.state.pending.rows.level.get() {
            Some(&(index, level)) => {
                self.note(index);
                level
            }
            None => self.state.base.level,
        }
    }

    /// The pending row, noted. Where there is none, the base decides, which is committed.
    fn row<K, Q, T>(&mut self, layer: &'a Layer<K, T>, key: &Q) -> Option<&'a Row<T>>
    where
        K: Ord + Clone + std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let row = layer.get(key)?;
        self.note(row.index);
        Some(row)
    }

    fn note(&mut self, index: Index) {
        self.note_newest(index);
        if index > self.state.base.committed && !self.state.left_ahead(index) {
            self.firm = self.firm.max(index);
        }
    }

    fn note_newest(&mut self, index: Index) {
        if index > self.state.base.committed {
            self.newest = self.newest.max(index);
        }
    }
}

type BaseRow = (Kind, Option<Deadline>);

type Rows<'a, T> = Peekable<Box<dyn Iterator<Item = (&'a [u8], T)> + 'a>>;

/// A key that a walk passed.
pub(super) struct Passed<'a> {
    pub(super) key: &'a [u8],
    /// What it holds; none if pending holds that it is gone.
    pub(super) kind: Option<Kind>,
    pub(super) deadline: Option<Deadline>,
}

/// Pending over base in the order of keys. Yields each key once.
pub(super) struct Walk<'a, 't> {
    base: Rows<'a, BaseRow>,
    pending: Rows<'a, &'a Row<KeyRecord>>,
    tracked: &'t mut Tracked<'a>,
}

impl<'a> Iterator for Walk<'a, '_> {
    type Item = Passed<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let committed = |(key, (kind, deadline))| Passed { key, kind: Some(kind), deadline };
        let base = self.base.peek().map(|(key, _)| *key);
        let Some(&(key, row)) = self.pending.peek() else {
            return self.base.next().map(committed);
        };
        if base.is_some_and(|base| base < key) {
            return self.base.next().map(committed);
        }
        if base == Some(key) {
            self.base.next();
        }
        self.pending.next();
        self.tracked.note(row.index);
        let deadline = row.value.as_ref().and_then(|record| record.deadline);
        Some(Passed { key, kind: row.value.as_ref().map(|record| record.data.kind()), deadline })
    }
}

fn boxed<'a, T: 'a>(rows: impl Iterator<Item = (&'a [u8], T)> + 'a, until: Option<&[u8]>) -> Rows<'a, T> {
    let until = until.map(Blob::from);
    let rows = rows.take_while(move |(key, _)| until.as_ref().is_none_or(|until| *key < until.as_slice()));
    (Box::new(rows) as Box<dyn Iterator<Item = (&'a [u8], T)> + 'a>).peekable()
}
