//! Rows that lie over others: what appended entries, or the draft of a command, have changed.
//!
//! The pending layer and a draft have the same shape. Each row holds its newest value, or that it is gone,
//! and the index of the entry that wrote it; that index is what a reply depends on that saw the row.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use super::effect::{Answer, Founding};
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::access::user::User;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// A row of an overlay.
#[derive(Clone)]
pub(super) struct Row<T> {
    /// The entry that wrote it.
    pub(super) index: Index,
    /// The newest value; none if the row is gone, whatever lies below.
    pub(super) value: Option<T>,
}

/// The rows of one kind.
#[derive(Clone)]
pub(super) struct Layer<K, T> {
    rows: BTreeMap<K, Row<T>>,
}

impl<K: Ord + Clone, T> Layer<K, T> {
    /// What this layer says of a row, if anything.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Row<T>>
    where
        K: Borrow<Q>,
    {
        if self.rows.is_empty() { None } else { self.rows.get(key) }
    }

    /// Writes a row; the later effect wins. Hands out what this layer said before.
    pub(super) fn set(&mut self, key: K, index: Index, value: Option<T>) -> Option<Row<T>> {
        self.rows.insert(key, Row { index, value })
    }

    /// The entry at `index` is folded into what lies below. A row that a later entry wrote again stays.
    pub(super) fn settle(&mut self, key: &K, index: Index) -> Option<Row<T>> {
        if self.rows.is_empty() {
            return None;
        }
        match self.rows.entry(key.clone()) {
            Entry::Occupied(row) if row.get().index == index => Some(row.remove()),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        }
    }

    /// All rows, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Row<T>)> {
        self.rows.iter()
    }

    /// The rows at or after a bound, in order.
    pub(super) fn range<'a, Q: Ord + ?Sized>(
        &'a self,
        from: Bound<&Q>,
    ) -> impl Iterator<Item = (&'a K, &'a Row<T>)> + use<'a, K, T, Q>
    where
        K: Borrow<Q>,
    {
        self.rows.range((from, Bound::Unbounded))
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

impl<K, T> Default for Layer<K, T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

/// A single row.
#[derive(Clone)]
pub(super) struct Cell<T>(Option<(Index, T)>);

impl<T> Cell<T> {
    pub(super) fn get(&self) -> Option<&(Index, T)> {
        self.0.as_ref()
    }

    pub(super) fn set(&mut self, index: Index, value: T) {
        self.0 = Some((index, value));
    }

    pub(super) fn settle(&mut self, index: Index) {
        self.0.take_if(|(written, _)| *written == index);
    }
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// Rows of every kind over what lies below.
#[derive(Clone, Default)]
pub(super) struct Overlay {
    pub(super) keys: Layer<Blob, KeyRecord>,
    pub(super) sessions: Layer<SessionId, SessionRecord>,
    /// By session and sequence. Never a tombstone: the session's header says from where on they count.
    pub(super) replies: Layer<(SessionId, u64), Arc<Answer>>,
    pub(super) forwards: Layer<Incarnation, ForwardHead>,
    /// By origin, boot and number. Never a tombstone, as above.
    pub(super) forwarded: Layer<(Incarnation, BootNumber, u64), Arc<Answer>>,
    pub(super) users: Layer<Blob, Arc<User>>,
    pub(super) level: Cell<u32>,
    pub(super) founding: Cell<Founding>,
}

impl Overlay {
    /// Forgets the answers of a session up to `through`. Those that lie below are guarded by its header.
    pub(super) fn release_replies(&mut self, id: SessionId, through: u64) {
        while let Some((&row, _)) = self.replies.rows.range((id, 0)..=(id, through)).next() {
            self.replies.rows.remove(&row);
        }
    }

    /// How many rows there are, of all kinds.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
            + self.sessions.len()
            + self.replies.len()
            + self.forwards.len()
            + self.forwarded.len()
            + self.users.len()
            + usize::from(self.level.get().is_some())
            + usize::from(self.founding.get().is_some())
    }
}
