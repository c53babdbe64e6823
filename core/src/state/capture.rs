//! A snapshot in the making: the committed state as it was at one index, handed out in slices while the state goes
//! on.
//!
//! The rows are walked in the order of their keys. Whoever changes a row that the walk has not come to leaves the old
//! one here first ("nothing", if there was none); the walk puts these in their places. What is kept is counted in
//! bytes, so that the node can walk faster and then slow its writes. Nothing here changes the state.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::base::Base;
use super::data::{Data, Members};
use super::packed::KeyRow;
use super::row::Head;
use super::table::{Row, Sections, Stored};
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::access::rights::{Holder, Rules};
use crate::access::user::{Pattern, User};
use crate::coordination::claim::{Claim, ClaimKey};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::Limiter;
use crate::coordination::once::{Kept, Work};
use crate::durability::Leeway;
use crate::membership::Membership;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, LeaseId, NodeId, SessionId};

/// What keeping a row costs beside its own bytes, roughly.
const KEPT: usize = 96;

/// The state at one index.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) head: Head,
    pub(super) keys: Section<Blob, KeyRecord>,
    /// A large collection that the walk is in the middle of, as it was, and the last member that it came to.
    unfolding: Option<(Members, Blob)>,
    pub(super) tables: Sections,
}

/// Rows of one kind.
#[derive(Clone, Debug)]
pub(super) struct Section<K, V> {
    passed: Passed<K>,
    /// What rows that changed ahead of the walk were.
    kept: BTreeMap<K, Option<V>>,
    bytes: usize,
}

/// How far a walk has come.
#[derive(Clone, Debug)]
enum Passed<K> {
    Nothing,
    UpTo(K),
    All,
}

/// How much one slice may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Budget {
    fn spend(&mut self, bytes: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn is_spent(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }
}

/// What a row takes in memory and, roughly, in a snapshot.
pub(super) trait Size {
    fn size(&self) -> usize;
}

impl Size for Blob {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Size for KeyRecord {
    fn size(&self) -> usize {
        // A large collection shares its members with what it has become.
        self.data.bytes().min(CHUNK_BYTES)
    }
}

impl Size for SessionRecord {
    fn size(&self) -> usize {
        self.user.len()
    }
}

impl Size for Stored {
    fn size(&self) -> usize {
        self.1.size()
    }
}

impl Size for Kept {
    fn size(&self) -> usize {
        self.stored.size()
    }
}

impl Size for Work {
    fn size(&self) -> usize {
        self.bytes()
    }
}

impl Size for (Blob, Blob) {
    fn size(&self) -> usize {
        self.0.len() + self.1.len()
    }
}

impl Size for Arc<Rules> {
    fn size(&self) -> usize {
        (self.grants.len() + self.denials.len() + self.roles.len()) * KEPT
    }
}

impl Size for Pattern {
    fn size(&self) -> usize {
        self.text().len()
    }
}

impl Size for Membership {
    fn size(&self) -> usize {
        0
    }
}

impl Size for String {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Size for Leeway {
    fn size(&self) -> usize {
        0
    }
}

impl Size for (Holder, Blob) {
    fn size(&self) -> usize {
        self.1.len()
    }
}

impl Size for Lease {
    fn size(&self) -> usize {
        self.user.len()
    }
}

impl Size for Claim {
    fn size(&self) -> usize {
        self.bytes()
    }
}

impl Size for ClaimKey {
    fn size(&self) -> usize {
        self.1.len()
    }
}

impl Size for Limiter {
    fn size(&self) -> usize {
        self.bytes()
    }
}

impl Size for Arc<User> {
    fn size(&self) -> usize {
        self.password.len() + self.grants.len() * KEPT
    }
}

/// A row as it is now.
pub(super) trait Present<K, V> {
    /// Where it stands beside a key.
    fn order(&self, key: &K) -> Ordering;
    fn take(self) -> (K, V);
}

impl<K: Ord + Clone, V: Clone> Present<K, V> for (&K, &V) {
    fn order(&self, key: &K) -> Ordering {
        self.0.cmp(key)
    }

    fn take(self) -> (K, V) {
        (self.0.clone(), self.1.clone())
    }
}

impl Present<Blob, KeyRecord> for KeyRow<'_> {
    fn order(&self, key: &Blob) -> Ordering {
        self.name().cmp(key)
    }

    fn take(self) -> (Blob, KeyRecord) {
        (Blob::from(self.name()), self.record())
    }
}

/// Figures: what they take is in [`KEPT`].
macro_rules! figures {
    ($($name:ty),*) => {
        $(impl Size for $name {
            fn size(&self) -> usize {
                0
            }
        })*
    };
}

figures!(
    NodeId,
    u32,
    ForwardHead,
    SessionId,
    (SessionId, u64),
    Incarnation,
    (Incarnation, BootNumber, u64),
    LeaseId,
    Millis,
    ()
);

impl<K: Ord + Clone + Size, V: Clone + Size> Section<K, V> {
    pub(super) fn new() -> Self {
        Self { passed: Passed::Nothing, kept: BTreeMap::new(), bytes: 0 }
    }

    /// A row has just become another one: this is what it was.
    pub(super) fn keep(&mut self, key: &K, old: Option<&V>) {
        let passed = match &self.passed {
            Passed::Nothing => false,
            Passed::UpTo(last) => key <= last,
            Passed::All => true,
        };
        if !passed && !self.kept.contains_key(key) {
            self.bytes += kept_size(key, old);
            self.kept.insert(key.clone(), old.cloned());
        }
    }

    /// What the rows that were kept take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the walk goes on in the rows as they are now; `None` at its end.
    pub(super) fn from(&self) -> Option<Bound<K>> {
        match &self.passed {
            Passed::Nothing => Some(Bound::Unbounded),
            Passed::UpTo(last) => Some(Bound::Excluded(last.clone())),
            Passed::All => None,
        }
    }

    /// Walks on: the rows as they are now, from where the last slice ended, with what was kept in its place. Stops early if
    /// `emit` answers false.
    pub(super) fn walk(
        &mut self,
        rows: impl Iterator<Item = impl Present<K, V>>,
        budget: &mut Budget,
        mut emit: impl FnMut(K, V) -> bool,
    ) {
        let mut rows = rows.peekable();
        while !budget.is_spent() {
            let kept_comes = match (rows.peek(), self.kept.first_key_value()) {
                (None, None) => return self.passed = Passed::All,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some(now), Some((kept, _))) => now.order(kept).is_ge(),
            };
            let (key, row) = if kept_comes {
                let (key, row) = self.kept.pop_first().expect("it was just seen");
                self.bytes -= kept_size(&key, row.as_ref());
                rows.next_if(|now| now.order(&key).is_eq());
                (key, row)
            } else {
                let (key, row) = rows.next().expect("it was just seen").take();
                (key, Some(row))
            };
            budget.spend(kept_size(&key, row.as_ref()));
            self.passed = Passed::UpTo(key.clone());
            if let Some(row) = row
                && !emit(key, row)
            {
                return;
            }
        }
    }
}

fn kept_size<K: Size, V: Size>(key: &K, row: Option<&V>) -> usize {
    KEPT + key.size() + row.map_or(0, Size::size)
}

impl Capture {
    /// Of the state as it is now.
    pub(super) fn new(base: &Base) -> Self {
        Self {
            head: Head {
                committed: base.committed,
                time: base.time,
                level: base.level,
                founding: base.founding.clone(),
                weight: base.weight,
                keys: base.keys.len() as u64,
                rows: Box::new(base.tables.counts()),
            },
            keys: Section::new(),
            unfolding: None,
            tables: Sections::new(),
        }
    }

    /// What the rows that were kept take, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.keys.bytes() + self.tables.bytes()
    }

    /// The next rows, and whether these were the last.
    pub(super) fn slice(&mut self, base: &Base, mut budget: Budget) -> (Vec<Row>, bool) {
        let mut out = Vec::new();
        while !budget.is_spent() {
            if self.unfold(&mut budget, &mut out) {
                continue;
            }
            let Some(from) = self.keys.from() else { break };
            let rows = base.keys.range(from.as_ref().map(|key| key.as_slice()));
            let unfolding = &mut self.unfolding;
            self.keys.walk(rows, &mut budget, |key, record| {
                let (row, rest) = begin(key, record);
                out.push(row);
                *unfolding = rest;
                unfolding.is_none()
            });
        }
        if self.unfolding.is_some() || self.keys.from().is_some() {
            return (out, false);
        }
        let done = self.tables.slice(&base.tables, &mut budget, &mut out);
        (out, done)
    }

    /// The next members of the large collection that the walk is in, if it is in one.
    fn unfold(&mut self, budget: &mut Budget, out: &mut Vec<Row>) -> bool {
        let Some((members, last)) = self.unfolding.take() else { return false };
        let next = chunk(&members, Some(&last));
        let Some((last, _)) = next.last().cloned() else { return true };
        budget.spend(CHUNK_BYTES);
        out.push(Row::More(next));
        self.unfolding = Some((members, last));
        true
    }
}

/// How much of a large collection is in one row. The same on every node, as their snapshots are.
const CHUNK_BYTES: usize = 64 << 10;

/// A key's first row, and what has to follow it.
fn begin(key: Blob, record: KeyRecord) -> (Row, Option<(Members, Blob)>) {
    let large = record.data.members().filter(|members| members.bytes() > CHUNK_BYTES).cloned();
    let Some(members) = large else { return (Row::Key(key, record), None) };
    let first = chunk(&members, None);
    let last = first.last().expect("a large collection has members").0.clone();
    let (kind, count) = (record.data.kind(), members.len() as u64);
    if first.len() as u64 == count {
        return (Row::Key(key, record), None);
    }
    let data = Data::collection(kind, first.into_iter().collect()).expect("it has members");
    (Row::Begun(key, KeyRecord { data, ..record }, count), Some((members, last)))
}

/// The members behind one, as many as fit into a row; at least one if there is any.
fn chunk(members: &Members, after: Option<&[u8]>) -> Vec<(Blob, Blob)> {
    let mut bytes = 0;
    let fits = |(name, value): &(&[u8], &[u8])| {
        let first = bytes == 0;
        bytes += name.len() + value.len() + KEPT / 8;
        first || bytes <= CHUNK_BYTES
    };
    let fitting = members.after(after).take_while(fits);
    fitting.map(|(name, value)| (name.into(), value.into())).collect()
}
