//! The replicated state: what committed entries made, and what appended entries will make of it.
//!
//! Two layers. The *base* is the committed state. Over it lies *pending*: per row the newest value that an
//! appended, not yet committed entry gave it, and that entry's index. A command is evaluated through a
//! [`View`], which reads pending over base, notes what the reply depends on, and collects a *draft* of
//! effects on top. Committing an entry folds its effects into the base and drops the pending rows that it
//! wrote last. Losing the term drops pending; a new leader appends its whole tail again before it evaluates
//! anything.
//!
//! This module applies; it never decides what a command does, and never fails. What an effect does to a row
//! is in `apply.rs`, the same for every layer.
//!
//! | file | job |
//! |---|---|
//! | `effect.rs`, `codec.rs` | entries and effects, and their bytes |
//! | `apply.rs` | what an effect does to rows |
//! | `table.rs` | the tables beside the keys, and what follows from the list of them |
//! | `data.rs` | what a key can hold |
//! | `base.rs`, `key_table.rs`, `order.rs` | the committed state |
//! | `slab.rs`, `packed.rs`, `deadlines.rs` | where its keys lie, and how |
//! | `overlay.rs`, `layered.rs` | pending, and the two writers: append and fold |
//! | `tail.rs`, `hanging.rs` | what is kept about both together: what is due, what hangs on a lease |
//! | `members.rs` | who belongs to the cluster, and where they are |
//! | `changed.rs` | what a committed entry has changed, for those who watch |
//! | `tracked.rs`, `view.rs`, `draft.rs` | reading with dependencies, and the draft |
//! | `capture.rs`, `row.rs`, `restore.rs` | a snapshot in the making, its rows, and a state read from them |
//! | `refounding.rs` | the state as another cluster's, after a majority was lost |
//! | `digest.rs` | one number for the committed state |

pub mod codec;
pub mod effect;
pub mod restore;
pub mod row;
pub mod view;

mod apply;
mod base;
mod capture;
pub mod changed;
pub mod data;
mod deadlines;
mod digest;
mod draft;
mod hanging;
mod key_table;
mod layered;
mod members;
mod order;
mod overlay;
mod packed;
mod refounding;
mod slab;
pub mod table;
mod tail;
#[cfg(test)]
mod tests;
mod tracked;
mod withheld;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::rights::{Holder, Rules};
use crate::access::user::User;
use crate::coordination::claim::{Claim, ClaimKey, ClaimKind, leading};
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Index, LeaseId};
use apply::{Place, apply};
use base::Base;
use capture::{Budget, Capture};
use changed::{Changes, Collector};
use data::Data;
use effect::{Deadline, Effect, Entry, Founding};
use layered::{Append, Fold};
use overlay::Overlay;
use row::{Head, Row};
use table::{Claims, KeyLeases, Leases, Leeways, RulesOf, Sessions, Spared, Table, Users};
use tail::Tail;
pub use view::{Dependency, Finished, Forwarded, View};

/// A key's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// What it holds.
    pub data: Data,
    /// The index of the entry that wrote anything of it last.
    pub revision: Index,
    /// When the key goes, if ever.
    pub deadline: Option<Deadline>,
}

/// A session's header. The answers that it keeps are rows of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Whose.
    pub user: Blob,
    /// How long it lives without a logged step, in cluster milliseconds.
    pub ttl: u64,
    /// The client holds the answers of all commands up to here; they are forgotten.
    pub floor: u64,
    /// The highest sequence that was executed.
    pub last: u64,
    /// The time of the last logged step, or of the opening.
    pub active: Millis,
}

/// What is known about the commands that a node forwarded, but for their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardHead {
    /// The node's newest boot that forwarded anything.
    boot: BootNumber,
    /// The node holds the answers up to here.
    floor: u64,
    /// The highest number that was logged.
    last: u64,
}

/// For so many entries pending keeps its room. A log that is replayed goes through it as a whole.
const ENTRIES_ROOM: usize = 1024;

/// The replicated state.
#[derive(Clone)]
pub struct State {
    base: Base,
    pending: Pending,
    tail: Tail,
}

/// What entries that are appended and not committed have changed.
#[derive(Clone, Default)]
struct Pending {
    rows: Overlay,
    /// Of these entries, the first one's index being the committed one's successor.
    entries: VecDeque<Appended>,
}

/// What is known of an entry that is appended and not committed.
#[derive(Clone, Copy)]
struct Appended {
    /// Its time.
    time: Millis,
    /// Its answer left ahead of its durability.
    ahead: bool,
}

impl State {
    /// The state before the first entry, its keys hashed under a secret seed from the boot record. The seed
    /// changes nothing that can be seen.
    #[must_use]
    pub fn new(hash_seed: (u64, u64)) -> Self {
        Self { base: Base::new(hash_seed), pending: Pending::default(), tail: Tail::default() }
    }

    /// Takes an appended entry into pending.
    ///
    /// # Panics
    /// Unless `index` follows the tail, or if the entry's time lies before the tail's.
    pub fn append(&mut self, index: Index, entry: &Entry) {
        assert_eq!(index, self.tail().next(), "entries are appended in the order of the log, none left out");
        self.assert_time(self.tail.time, entry);
        let State { base, pending, tail } = self;
        let mut rows = Append { base, pending: &mut pending.rows, tail, index };
        for effect in &entry.effects {
            apply(&mut rows, Place { index, time: entry.time }, effect);
        }
        tail.time = entry.time;
        pending.entries.push_back(Appended { time: entry.time, ahead: false });
    }

    /// The answer to the newest entry leaves ahead of its durability.
    ///
    /// # Panics
    /// Unless there is an appended entry.
    pub fn leaves_ahead(&mut self) {
        self.pending.entries.back_mut().expect("an entry was appended").ahead = true;
    }

    /// Whether the answer to a pending entry left ahead of its durability.
    fn left_ahead(&self, index: Index) -> bool {
        let place = index.0 - self.base.committed.0 - 1;
        self.pending.entries.get(place as usize).is_some_and(|entry| entry.ahead)
    }

    /// Whether a key hangs on a lease, at the tail.
    #[must_use]
    pub fn hangs_on_a_lease(&self, key: &Blob) -> bool {
        self.newest::<KeyLeases>(key).is_some()
    }

    /// Folds a committed entry into the base. If anything is pending, this entry is the first of it, and its
    /// rows leave pending. Says what it has changed.
    ///
    /// # Panics
    /// Unless `index` follows the committed one, or if the entry's time lies before that one's.
    pub fn commit(&mut self, index: Index, entry: &Entry) -> Changes {
        assert_eq!(index, self.base.committed.next(), "entries are committed in the order of the log");
        self.assert_time(self.base.time, entry);
        let State { base, pending, tail } = self;
        let appended = pending.entries.pop_front();
        if let Some(appended) = appended {
            assert_eq!(appended.time, entry.time, "the entry that is committed is the one that was appended");
        } else {
            tail.time = entry.time;
        }
        let mut changes = Collector::default();
        let mut rows = Fold {
            base,
            pending: &mut pending.rows,
            tail: if appended.is_some() { None } else { Some(tail) },
            changes: &mut changes,
            index,
        };
        for effect in &entry.effects {
            rows.changes.begin(rows.base, effect);
            apply(&mut rows, Place { index, time: entry.time }, effect);
        }
        base.committed = index;
        base.time = entry.time;
        base.weight += entry.weight();
        if pending.entries.is_empty() {
            assert_eq!(pending.rows.len(), 0, "once every entry is committed, no row is pending");
            pending.entries.shrink_to(ENTRIES_ROOM);
        }
        changes.finish()
    }

    /// Begins a snapshot of the committed state, in place of any other that is in the making.
    pub fn capture(&mut self) -> &Head {
        let capture = Capture::new(&self.base);
        &self.base.capture.insert(Box::new(capture)).head
    }

    /// The index of the snapshot in the making.
    #[must_use]
    pub fn capturing(&self) -> Option<Index> {
        self.base.capture.as_ref().map(|capture| capture.head.committed)
    }

    /// The next rows of the snapshot in the making, at most so many, and about so many bytes of them; and whether
    /// these were the last. It then is no longer in the making.
    ///
    /// # Panics
    /// If none is.
    pub fn capture_slice(&mut self, rows: usize, bytes: usize) -> (Vec<Row>, bool) {
        let mut capture = self.base.capture.take().expect("a slice is taken of a snapshot in the making");
        let (rows, done) = capture.slice(&self.base, Budget { rows, bytes });
        self.base.capture = Some(capture).filter(|_| !done);
        (rows, done)
    }

    /// Gives the snapshot in the making up.
    pub fn drop_capture(&mut self) {
        self.base.capture = None;
    }

    /// Bytes of rows that are kept for the snapshot in the making, because they changed ahead of it.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.base.capture.as_ref().map_or(0, |capture| capture.kept_bytes())
    }

    /// How much was ever logged up to the committed index: bytes of what effects carry, and for each entry what its
    /// replay costs, in bytes that cost as much. The same on every node.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.base.weight
    }

    /// Forgets everything that is appended and not committed: the term is lost, and what becomes of these
    /// entries is for others to say.
    pub fn drop_pending(&mut self) {
        let Pending { rows, entries: _ } = std::mem::take(&mut self.pending);
        for (key, row) in rows.keys.iter() {
            let dropped = row.value.as_ref().and_then(|record| record.deadline);
            let stays = self.base.keys.get(key).and_then(|row| row.deadline());
            self.tail.key_changed(key, dropped, stays);
        }
        rows.tables.drop_from(&mut self.tail, &self.base.tables, self.base.committed);
        self.tail.time = self.base.time;
        self.tail.sessions_counted_at = self.base.committed;
        self.tail.leases.changed_at = self.base.committed;
    }

    /// The last committed entry's index.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.base.committed
    }

    /// The last appended entry's index; the committed one if nothing is pending.
    #[must_use]
    pub fn tail(&self) -> Index {
        Index(self.base.committed.0 + self.pending.entries.len() as u64)
    }

    /// The last logged time, at the tail.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.tail.time
    }

    /// The logged time at an index from the committed one on.
    ///
    /// # Panics
    /// For an index before that, or beyond the tail: of those it knows nothing.
    #[must_use]
    pub fn time_of(&self, index: Index) -> Millis {
        let ahead = index
            .0
            .checked_sub(self.base.committed.0)
            .expect("the time is asked of what is committed or later");
        match ahead.checked_sub(1) {
            None => self.base.time,
            Some(ahead) => self.pending.entries[ahead as usize].time,
        }
    }

    /// Whether any write may be answered ahead of its durability, now or once all is committed.
    #[must_use]
    pub fn has_leeways(&self) -> bool {
        !self.base.rows::<Leeways>().is_empty() || self.pending.rows.rows::<Leeways>().len() > 0
    }

    /// The committed feature level.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.base.level
    }

    /// The feature level as of the tail.
    #[must_use]
    pub fn level_at_tail(&self) -> u32 {
        self.pending.rows.level.get().map_or(self.base.level, |(_, level)| *level)
    }

    /// Who founded the cluster, if that is committed.
    #[must_use]
    pub fn founding(&self) -> Option<&Founding> {
        self.base.founding.as_ref()
    }

    /// One number for the committed state and its index: equal on replicas at the same index, whatever way
    /// they came there. Walks the whole state in order; for tests and the simulator.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest::digest(&self.base)
    }

    /// The earliest moment at which a key or session is due, pending changes included.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.tail.next_due()
    }

    /// The effects that remove what is due at `now`, at most `max`; empty when nothing is.
    #[must_use]
    pub fn due(&self, now: Millis, max: usize) -> Vec<Effect> {
        self.tail.due(now, max)
    }

    /// Leases that are due at `now`, and claims whose wait is over, at most `max` of each. What only seemed to be due, for
    /// a leader has spared it, is put where it belongs.
    pub fn due_leases(&mut self, now: Millis, max: usize) -> (Vec<LeaseId>, Vec<ClaimKey>) {
        let mut due = Vec::new();
        for id in self.tail.leases.to_look_at(now, max) {
            let lease = self.newest::<Leases>(&id).cloned();
            let spared = self.newest::<Spared>(&()).copied().unwrap_or_default();
            match lease.map(|lease| lease.spared(spared).due()) {
                Some(at) if at > now => self.tail.leases.look_again(id, Some(at)),
                _ => due.push(id),
            }
        }
        (due, self.tail.leases.waits.until(now).take(max).cloned().collect())
    }

    /// How many leases there are, pending ones included.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.tail.leases.len()
    }

    /// Whether a claim with this number waits, as of the tail.
    #[must_use]
    pub fn waits(&self, id: Index) -> bool {
        self.tail.leases.numbered.contains_key(&id)
    }

    /// The numbers of the claims that wait, as of the tail.
    #[must_use]
    pub fn waiting_claims(&self) -> BTreeSet<Index> {
        self.tail.leases.numbered.keys().copied().collect()
    }

    /// The newest row, pending or committed.
    fn newest<T: Table>(&self, key: &T::Key) -> Option<&T::Value> {
        match self.pending.rows.rows::<T>().get(key) {
            Some(row) => row.value.as_ref(),
            None => self.base.rows::<T>().get(key),
        }
    }

    /// A view for one command that is evaluated at the cluster time `now`.
    ///
    /// # Panics
    /// If `now` lies before the last logged time.
    pub fn view(&self, now: Millis) -> View<'_> {
        View::new(self, now)
    }

    /// How many keys are committed.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.base.keys.len()
    }

    /// How many sessions are committed.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.base.rows::<Sessions>().len()
    }

    /// How many users are committed.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.base.rows::<Users>().len()
    }

    /// A committed user.
    #[must_use]
    pub fn committed_user(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.base.rows::<Users>().get(name)
    }

    /// The committed rules of a user or role.
    #[must_use]
    pub fn committed_rules(&self, holder: Holder, name: &Blob) -> Option<&Arc<Rules>> {
        self.base.rows::<RulesOf>().get(&(holder, name.clone()))
    }

    /// Who leads an election as of the committed state: the token, and the claim under it.
    #[must_use]
    pub fn committed_leader(&self, name: &Blob) -> Option<(Index, &Claim)> {
        let of = |number| (ClaimKind::Election, name.clone(), Index(number));
        let mut claims = self.base.rows::<Claims>().range(of(0)..=of(u64::MAX));
        leading(claims.next().map(|((_, _, number), claim)| (*number, claim)))
    }

    /// The committed keys, in order.
    pub fn iter_keys(&self) -> impl Iterator<Item = (Blob, KeyRecord)> {
        let rows = self.base.keys.range(std::ops::Bound::Unbounded);
        rows.map(|row| (Blob::from(row.name()), row.record()))
    }

    /// The first entry, the committed one or after it, that was logged at the tail's time.
    fn time_logged_at(&self) -> Index {
        if self.base.time == self.tail.time {
            return self.base.committed;
        }
        let earlier = self.pending.entries.partition_point(|entry| entry.time < self.tail.time);
        Index(self.base.committed.0 + earlier as u64 + 1)
    }

    fn assert_time(&self, last: Millis, entry: &Entry) {
        assert!(entry.time >= last, "cluster time never goes back: {} was logged after {last}", entry.time);
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new((0, 0))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("committed", &self.committed())
            .field("tail", &self.tail())
            .field("time", &self.time())
            .field("keys", &self.key_count())
            .field("sessions", &self.session_count())
            .field("users", &self.user_count())
            .finish_non_exhaustive()
    }
}
