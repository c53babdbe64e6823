//! Rows that lie over others: what appended entries, or the draft of a command, have changed.
//!
//! The pending layer and a draft have the same shape. Each row holds its newest value, or that it is gone,
//! and the index of the entry that wrote it; that index is what a reply depends on that saw the row.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, RangeInclusive};

use super::KeyRecord;
use super::effect::Founding;
use super::table::{Layers, Table};
use crate::types::{Blob, Index};

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

    /// The rows of a range, in order.
    pub(super) fn within(&self, range: (Bound<&K>, Bound<&K>)) -> impl Iterator<Item = (&K, &Row<T>)> {
        self.rows.range(range)
    }

    /// Forgets a range of rows: what guards them lies elsewhere.
    pub(super) fn forget(&mut self, range: RangeInclusive<K>) {
        if self.rows.is_empty() {
            return;
        }
        while let Some((key, _)) = self.rows.range(range.clone()).next() {
            let key = key.clone();
            self.rows.remove(&key);
        }
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
    /// Of answers never a tombstone: a header of their table's says from where on they count.
    pub(super) tables: Layers,
    pub(super) level: Cell<u32>,
    pub(super) founding: Cell<Founding>,
}

impl Overlay {
    /// The rows of a table.
    pub(super) fn rows<T: Table>(&self) -> &Layer<T::Key, T::Value> {
        T::layer(&self.tables)
    }

    /// The rows of a table, for writing.
    pub(super) fn rows_mut<T: Table>(&mut self) -> &mut Layer<T::Key, T::Value> {
        T::layer_mut(&mut self.tables)
    }

    /// How many rows there are, of all kinds.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
            + self.tables.len()
            + usize::from(self.level.get().is_some())
            + usize::from(self.founding.get().is_some())
    }
}
