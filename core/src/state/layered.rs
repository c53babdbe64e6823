//! The two writers of the replicated state: an append into pending, and the fold of a committed entry into
//! the base.
//!
//! Both see one effect at a time through [`Rows`], and keep what is known about the tail up to date.

use std::ops::RangeInclusive;

use super::KeyRecord;
use super::apply::Rows;
use super::base::Base;
use super::changed::Collector;
use super::effect::{Deadline, Founding};
use super::overlay::Overlay;
use super::packed::KeyRow;
use super::table::{Stored, Table};
use super::tail::Tail;
use crate::types::{Blob, Index};

/// Writes the entry at `index` into pending, over the base.
pub(super) struct Append<'a> {
    pub(super) base: &'a Base,
    pub(super) pending: &'a mut Overlay,
    pub(super) tail: &'a mut Tail,
    pub(super) index: Index,
}

impl Append<'_> {
    fn find_deadline(&self, key: &[u8]) -> Option<Deadline> {
        match self.pending.keys.get(key) {
            Some(row) => row.value.as_ref()?.deadline,
            None => self.base.keys.get(key)?.deadline(),
        }
    }

    fn find<T: Table>(&self, key: &T::Key) -> Option<&T::Value> {
        match self.pending.rows::<T>().get(key) {
            Some(row) => row.value.as_ref(),
            None => self.base.rows::<T>().get(key),
        }
    }
}

impl Rows for Append<'_> {
    fn key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        match self.pending.keys.get(key) {
            Some(row) => row.value.clone(),
            None => self.base.keys.get(key).map(KeyRow::record),
        }
    }

    fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>) {
        let new = record.as_ref().and_then(|record| record.deadline);
        // Where no key has a deadline, this one had none either, and need not be looked up.
        let old = if self.tail.has_due_keys() { self.find_deadline(key) } else { None };
        self.tail.key_changed(key, old, new);
        self.pending.keys.set(key.clone(), self.index, record);
    }

    fn get<T: Table>(&mut self, key: &T::Key) -> Option<T::Value> {
        self.find::<T>(key).cloned()
    }

    fn set<T: Table>(&mut self, key: &T::Key, value: Option<T::Value>) {
        if T::INDEXED {
            let old = self.find::<T>(key).cloned();
            T::changed(self.tail, key, old.as_ref(), value.as_ref(), self.index);
        }
        self.pending.rows_mut::<T>().set(key.clone(), self.index, value);
    }

    fn release<T: Table>(&mut self, range: RangeInclusive<T::Key>) {
        // Those that lie below are guarded by their header.
        self.pending.rows_mut::<T>().forget(range);
    }

    fn set_level(&mut self, level: u32) {
        self.pending.level.set(self.index, level);
    }

    fn set_founding(&mut self, founding: &Founding) {
        self.pending.founding.set(self.index, founding.clone());
    }
}

/// Folds the entry at `index` into the base, and drops the rows of pending that it wrote last.
///
/// Whatever the base learns, pending forgets in the same method: neither can be had without the other.
pub(super) struct Fold<'a> {
    pub(super) base: &'a mut Base,
    pub(super) pending: &'a mut Overlay,
    /// None if pending held the entry: then the tail knows of it already.
    pub(super) tail: Option<&'a mut Tail>,
    pub(super) changes: &'a mut Collector,
    pub(super) index: Index,
}

impl Rows for Fold<'_> {
    fn key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        self.base.keys.get(key).map(KeyRow::record)
    }

    fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>) {
        self.pending.keys.settle(key, self.index);
        let new = record.as_ref().and_then(|record| record.deadline);
        let after = record.clone();
        let old = self.base.set_key(key, record);
        if let Some(tail) = &mut self.tail {
            tail.key_changed(key, old.as_ref().and_then(|old| old.deadline), new);
        }
        self.changes.key(key, old, after);
    }

    fn get<T: Table>(&mut self, key: &T::Key) -> Option<T::Value> {
        self.base.rows::<T>().get(key).cloned()
    }

    fn set<T: Table>(&mut self, key: &T::Key, value: Option<T::Value>) {
        self.pending.rows_mut::<T>().settle(key, self.index);
        let new = if T::INDEXED { value.clone() } else { None };
        let old = self.base.set::<T>(key, value);
        if let Some(tail) = &mut self.tail {
            T::changed(tail, key, old.as_ref(), new.as_ref(), self.index);
        }
    }

    fn keep<T: Table<Value = Stored>>(&mut self, key: &T::Key, make: impl FnOnce() -> Stored) {
        // The answer that pending holds already is the same, for it came from the same effect.
        let pending = self.pending.rows_mut::<T>().settle(key, self.index);
        let kept = pending.and_then(|row| row.value).unwrap_or_else(make);
        self.base.set::<T>(key, Some(kept));
    }

    fn release<T: Table>(&mut self, range: RangeInclusive<T::Key>) {
        self.base.release::<T>(range);
    }

    fn set_level(&mut self, level: u32) {
        self.pending.level.settle(self.index);
        self.base.level = level;
    }

    fn set_founding(&mut self, founding: &Founding) {
        self.pending.founding.settle(self.index);
        self.base.founding = Some(founding.clone());
    }
}
