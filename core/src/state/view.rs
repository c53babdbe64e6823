//! What one command sees of the state while it is evaluated, and the draft of its effects.
//!
//! A view reads the draft over pending over base. Every read records what it rests on (`tracked.rs`), and
//! what is due at the command's time reads as absent, its removal becoming part of the draft. A view never
//! changes the state: [`View::finish`] hands out effects, and logging them is for the caller, in the same step.
//! What it shows of coordination and access is in `view/coordination.rs`.

mod coordination;

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use super::apply::{Place, Rows, apply};
use super::data::Kind;
use super::draft::Draft;
use super::effect::{Answer, Deadline, DeleteCause, Effect, Founding};
use super::table::{ForwardedReplies, Forwards, KeyLeases, Limiters, Replies, Sessions, Table, Users};
use super::tail::session_due;
use super::tracked::{Passed, Tracked};
use super::{KeyRecord, SessionRecord, State};
use crate::access::user::User;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// Most due keys that one scan deletes. It skips more, and then rests on the time instead.
const SCAN_EXPIRES: usize = 256;

/// The state as one command sees it, and its draft.
#[must_use = "what a view has read is only known to be true once its dependency is committed: finish it"]
pub struct View<'a> {
    below: Tracked<'a>,
    draft: Draft,
    now: Millis,
    time_consulted: bool,
}

/// The newest pending entry that a reply rests on. Only a view makes one, from all that it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the reply must wait until this entry is committed"]
pub struct Dependency {
    newest: Index,
    firm: Index,
}

impl Dependency {
    /// The entry's index; zero if everything consulted was committed.
    #[must_use]
    pub fn index(self) -> Index {
        self.newest
    }

    /// The newest pending entry behind anything consulted whose own answer waits until it is durable: before it is committed, no
    /// reply leaves ahead. Zero if there is none.
    #[must_use]
    pub fn firm(self) -> Index {
        self.firm
    }
}

/// What came of a view.
#[derive(Debug)]
#[must_use = "the effects are to be logged in this same step, and the reply waits for the dependency"]
pub struct Finished {
    /// What to log, in order. Empty if the command changed nothing.
    pub effects: Vec<Effect>,
    /// The newest pending entry behind anything consulted.
    pub dependency: Dependency,
    /// The reply shows the time or rests on it: if the command's time lies after the last logged one, it is
    /// logged even without effects.
    pub time_consulted: bool,
}

/// What is known about a forwarded command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// A later boot of the origin has forwarded commands: this one is answered to nobody.
    OldBoot,
    /// The node said that it holds this answer.
    Stale,
    /// It was executed.
    Known {
        /// The entry that stored the answer.
        index: Index,
        /// The answer.
        reply: Arc<Answer>,
    },
    /// It was not executed.
    New,
}

impl<'a> View<'a> {
    pub(super) fn new(state: &'a State, now: Millis) -> Self {
        assert!(now >= state.time(), "cluster time never goes back: {now} lies before {}", state.time());
        Self { below: Tracked::new(state), draft: Draft::default(), now, time_consulted: false }
    }

    /// The command's time, for the deadlines of what it writes. A reply must not show it: see
    /// [`View::consult_time`].
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The command's time, for a reply that shows it.
    pub fn consult_time(&mut self) -> Millis {
        self.time_consulted = true;
        self.below.time(self.now);
        self.now
    }

    /// A key's record. One that is due is absent, and its deletion becomes part of the draft.
    pub fn key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        self.catch_up();
        self.read_key(key)
    }

    /// Shows the keys of a span, in order, strictly after a key if one is given, until `each` has seen enough. Depends
    /// on every pending change in the range that was walked.
    pub fn scan(
        &mut self,
        (from, until): (&[u8], Option<&[u8]>),
        after: Option<&[u8]>,
        each: &mut dyn FnMut(&[u8], Kind) -> bool,
    ) {
        self.catch_up();
        let from = match after {
            Some(after) if after >= from => Bound::Excluded(after),
            _ => Bound::Included(from),
        };
        let mut due = Vec::new();
        let mut below = self.below.walk(from, until).peekable();
        let drafted = self.draft.rows().into_iter().flat_map(|rows| rows.keys.range(from));
        let within = |key: &Blob| until.is_none_or(|until| key.as_slice() < until);
        let mut drafted = drafted.take_while(|(key, _)| within(key)).peekable();
        loop {
            let lower = below.peek().map(|passed| passed.key);
            let comes = |key: &Blob| lower.is_none_or(|lower| key.as_slice() <= lower);
            if let Some((key, row)) = drafted.next_if(|(key, _)| comes(key)) {
                below.next_if(|passed| *passed.key == **key);
                match &row.value {
                    Some(record) if !each(key, record.data.kind()) => break,
                    _ => continue,
                }
            }
            match below.next() {
                None => break,
                Some(Passed { kind: None, .. }) => {}
                Some(passed) if is_due(passed.deadline, self.now) => due.push(passed.key.into()),
                Some(Passed { key, kind: Some(kind), .. }) => {
                    if !each(key, kind) {
                        break;
                    }
                }
            }
        }
        drop((below, drafted));
        self.expire_scanned(&due);
    }

    /// How many keys there are, with those that are due and not yet deleted.
    pub fn key_count(&mut self) -> usize {
        self.catch_up();
        let mut count = self.below.key_count();
        for (key, row) in self.draft.rows().into_iter().flat_map(|rows| rows.keys.iter()) {
            match (self.below.has_key(key), row.value.is_some()) {
                (false, true) => count += 1,
                (true, false) => count -= 1,
                (true, true) | (false, false) => {}
            }
        }
        count
    }

    /// A user.
    pub fn user(&mut self, name: &[u8]) -> Option<Arc<User>> {
        self.catch_up();
        self.read::<Users>(&Blob::from(name))
    }

    /// All users, in the order of their names.
    pub fn users(&mut self) -> Vec<(Blob, Arc<User>)> {
        self.catch_up();
        let mut users = self.below.users();
        for (name, row) in self.draft.rows().into_iter().flat_map(|rows| rows.rows::<Users>().iter()) {
            match &row.value {
                Some(user) => users.insert(name.clone(), Arc::clone(user)),
                None => users.remove(name),
            };
        }
        users.into_iter().collect()
    }

    /// A session's header. One that is due is absent, and its end becomes part of the draft.
    pub fn session(&mut self, id: SessionId) -> Option<SessionRecord> {
        self.catch_up();
        self.read_session(id)
    }

    /// The answer that a session keeps for a sequence, with the index of the entry that stored it.
    pub fn session_reply(&mut self, id: SessionId, seq: u64) -> Option<(Index, Arc<Answer>)> {
        let record = self.session(id)?;
        if seq <= record.floor {
            return None;
        }
        self.read::<Replies>(&(id, seq))
    }

    /// How many sessions there are, with those that are due and not yet ended.
    pub fn session_count(&mut self) -> usize {
        self.catch_up();
        let mut count = self.below.session_count();
        for (&id, row) in self.draft.rows().into_iter().flat_map(|rows| rows.rows::<Sessions>().iter()) {
            match (self.below.get::<Sessions>(&id).is_some(), row.value.is_some()) {
                (false, true) => count += 1,
                (true, false) => count -= 1,
                (true, true) | (false, false) => {}
            }
        }
        count
    }

    /// The sessions of a user, in the order of their opening.
    pub fn sessions_of(&mut self, user: &[u8]) -> Vec<SessionId> {
        self.catch_up();
        let mut ids = self.below.sessions_of(user);
        let drafted = self.draft.rows().into_iter().flat_map(|rows| rows.rows::<Sessions>().iter());
        ids.extend(drafted.map(|(id, _)| *id));
        let mut ids: Vec<SessionId> = ids.into_iter().collect();
        ids.retain(|id| self.read_session(*id).is_some_and(|record| *record.user == *user));
        ids
    }

    /// What is known about a command that an origin forwarded.
    pub fn forwarded(&mut self, origin: Incarnation, boot: BootNumber, seq: u64) -> Forwarded {
        self.catch_up();
        match self.read::<Forwards>(&origin) {
            Some(head) if head.boot > boot => return Forwarded::OldBoot,
            Some(head) if head.boot < boot => return Forwarded::New,
            Some(head) if seq <= head.floor => return Forwarded::Stale,
            Some(_) => {}
            None => return Forwarded::New,
        }
        let known = self.read::<ForwardedReplies>(&(origin, boot, seq));
        known.map_or(Forwarded::New, |(index, reply)| Forwarded::Known { index, reply })
    }

    /// The highest number of a command that this boot of an origin forwarded and that was logged; zero if none
    /// was.
    pub fn forwarded_last(&mut self, origin: Incarnation, boot: BootNumber) -> u64 {
        self.read::<Forwards>(&origin).filter(|head| head.boot == boot).map_or(0, |head| head.last)
    }

    /// The feature level.
    pub fn level(&mut self) -> u32 {
        self.catch_up();
        match self.draft.rows().and_then(|rows| rows.level.get()) {
            Some((_, level)) => *level,
            None => self.below.level(),
        }
    }

    /// Sets a key.
    pub fn put(&mut self, key: Blob, value: Blob, deadline: Option<Deadline>) {
        self.effect(Effect::Put { key, value, deadline });
    }

    /// Sets a key that stays what it was but for its value: it hangs on the lease that it hung on.
    pub fn rewrite(&mut self, key: Blob, value: Blob, deadline: Option<Deadline>) {
        let lease = self.lease_of(&key);
        self.put(key.clone(), value, deadline);
        if lease.is_some() {
            self.effect(Effect::Attached { key, lease });
        }
    }

    /// Deletes a key for the client. Due keys need no such call.
    pub fn delete(&mut self, key: Blob) {
        self.effect(Effect::Delete { key, cause: DeleteCause::Deleted });
    }

    /// Gives a key another deadline, or none.
    pub fn redate(&mut self, key: Blob, deadline: Option<Deadline>) {
        self.effect(Effect::Redate { key, deadline });
    }

    /// Sets or removes members of a key's collection.
    pub fn members(&mut self, key: Blob, kind: Kind, changes: Vec<(Blob, Option<Blob>)>) {
        self.effect(Effect::Members { key, kind, changes });
    }

    /// Gives a key another name, in the place of whatever has it.
    pub fn rename(&mut self, from: Blob, to: Blob) {
        self.effect(Effect::Moved { from, to });
    }

    /// Adds an effect to the draft; later reads see it. What it builds on is consulted, too.
    pub fn effect(&mut self, effect: Effect) {
        match &effect {
            Effect::Redate { key, .. } | Effect::Members { key, .. } | Effect::Moved { from: key, .. } => {
                _ = self.key(key);
            }
            Effect::SessionStepped { id, .. } => _ = self.read_session(*id),
            Effect::Placed { name, .. } => _ = self.read::<Limiters>(name),
            Effect::Forwarded { origin, .. } => _ = self.read::<Forwards>(origin),
            _ => {}
        }
        self.draft.push(effect);
    }

    /// Bytes of what the draft's effects carry.
    #[must_use]
    pub fn drafted_bytes(&self) -> usize {
        self.draft.bytes()
    }

    /// Takes the command's effects back, for it fails. What it found to be due stays.
    pub fn discard_draft(&mut self) {
        self.draft.discard(self.below.next_index());
    }

    /// Ends the evaluation.
    pub fn finish(self) -> Finished {
        Finished {
            effects: self.draft.into_effects(),
            dependency: Dependency { newest: self.below.newest(), firm: self.below.firm() },
            time_consulted: self.time_consulted,
        }
    }

    /// Brings the draft's rows up to its effects: every read begins with this.
    fn catch_up(&mut self) {
        while let Some(effect) = self.draft.next_unapplied() {
            let place = Place { index: self.below.next_index(), time: self.now };
            apply(self, place, &effect);
        }
    }

    fn read_key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        if let Some(row) = self.draft.rows().and_then(|rows| rows.keys.get(key)) {
            return row.value.clone();
        }
        let record = self.below.key(key)?;
        if is_due(record.deadline, self.now) {
            self.draft.expire_key(self.below.next_index(), &Blob::from(key));
            return None;
        }
        Some(record)
    }

    fn read_session(&mut self, id: SessionId) -> Option<SessionRecord> {
        if let Some(row) = self.draft.rows().and_then(|rows| rows.rows::<Sessions>().get(&id)) {
            return row.value.clone();
        }
        let record = self.below.get::<Sessions>(&id)?;
        if session_due(record) <= self.now {
            self.draft.expire_session(self.below.next_index(), id);
            return None;
        }
        Some(record.clone())
    }

    /// A row of a table as it is, due or not.
    fn read<T: Table>(&mut self, key: &T::Key) -> Option<T::Value> {
        match self.draft.rows().and_then(|rows| rows.rows::<T>().get(key)) {
            Some(row) => row.value.clone(),
            None => self.below.get::<T>(key).cloned(),
        }
    }

    /// The rows of a range of a table.
    fn rows<T: Table>(&mut self, range: RangeInclusive<T::Key>) -> BTreeMap<T::Key, T::Value> {
        self.rows_within::<T>((Bound::Included(range.start()), Bound::Included(range.end())))
    }

    /// The rows from one on.
    fn rows_from<T: Table>(&mut self, first: T::Key) -> BTreeMap<T::Key, T::Value> {
        self.rows_within::<T>((Bound::Included(&first), Bound::Unbounded))
    }

    fn rows_within<T: Table>(
        &mut self,
        range: (Bound<&T::Key>, Bound<&T::Key>),
    ) -> BTreeMap<T::Key, T::Value> {
        self.catch_up();
        let mut rows = self.below.range::<T>(range);
        for (key, row) in self.draft.rows().into_iter().flat_map(|rows| rows.rows::<T>().within(range)) {
            match &row.value {
                Some(value) => drop(rows.insert(key.clone(), value.clone())),
                None => drop(rows.remove(key)),
            }
        }
        rows
    }

    /// Deletes what a scan found to be due, up to a bound. A leader that was paused may find any number: the
    /// rest is absent all the same, once the command's time is logged.
    fn expire_scanned(&mut self, due: &[Blob]) {
        for key in due.iter().take(SCAN_EXPIRES) {
            self.draft.expire_key(self.below.next_index(), key);
        }
        if due.len() > SCAN_EXPIRES {
            self.consult_time();
        }
    }
}

/// A draft's rows: what an effect builds on is read through the view, and so recorded. These reads see the
/// effects before this one, and not those that wait to be applied after it.
impl Rows for View<'_> {
    fn key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        self.read_key(key)
    }

    fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>) {
        let index = self.below.next_index();
        self.draft.rows_mut().keys.set(key.clone(), index, record);
    }

    fn get<T: Table>(&mut self, key: &T::Key) -> Option<T::Value> {
        self.read::<T>(key)
    }

    fn set<T: Table>(&mut self, key: &T::Key, value: Option<T::Value>) {
        let index = self.below.next_index();
        self.draft.rows_mut().rows_mut::<T>().set(key.clone(), index, value);
    }

    fn detach(&mut self, key: &Blob) {
        // Without a look at what is there: whoever writes a key blindly must not depend on it.
        self.set::<KeyLeases>(key, None);
    }

    fn release<T: Table>(&mut self, range: RangeInclusive<T::Key>) {
        self.draft.rows_mut().rows_mut::<T>().forget(range);
    }

    fn set_level(&mut self, level: u32) {
        let index = self.below.next_index();
        self.draft.rows_mut().level.set(index, level);
    }

    fn set_founding(&mut self, founding: &Founding) {
        let index = self.below.next_index();
        self.draft.rows_mut().founding.set(index, founding.clone());
    }
}

fn is_due(deadline: Option<Deadline>, now: Millis) -> bool {
    deadline.is_some_and(|deadline| deadline.due() <= now)
}
