//! The base: what committed entries have made. Plain tables, written by the fold alone, through methods that leave
//! what was there to a snapshot in the making.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::KeyRecord;
use super::capture::Capture;
use super::effect::Founding;
use super::key_table::KeyTable;
use super::table::{Committed, Table};
use crate::time::Millis;
use crate::types::{Blob, Index};

/// The committed state.
#[derive(Clone)]
pub(super) struct Base {
    /// The last entry in here.
    pub(super) committed: Index,
    /// Its time.
    pub(super) time: Millis,
    /// How much was ever logged, up to here.
    pub(super) weight: u64,
    pub(super) keys: KeyTable,
    pub(super) tables: Committed,
    pub(super) level: u32,
    pub(super) founding: Option<Founding>,
    /// A snapshot in the making.
    pub(super) capture: Option<Box<Capture>>,
}

impl Base {
    pub(super) fn new(hash_seed: (u64, u64)) -> Self {
        Self {
            committed: Index::default(),
            time: Millis::default(),
            weight: 0,
            keys: KeyTable::new(hash_seed),
            tables: Committed::default(),
            level: 0,
            founding: None,
            capture: None,
        }
    }

    /// Sets or removes a key, and hands out the record before.
    pub(super) fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>) -> Option<KeyRecord> {
        let old = match record {
            Some(record) => self.keys.put(key, record),
            None => self.keys.remove(key),
        };
        if let Some(capture) = &mut self.capture {
            capture.keys.keep(key, old.as_ref());
        }
        old
    }

    /// The rows of a table.
    pub(super) fn rows<T: Table>(&self) -> &BTreeMap<T::Key, T::Value> {
        T::committed(&self.tables)
    }

    /// Sets or removes a row of a table, and hands out the one before.
    pub(super) fn set<T: Table>(&mut self, key: &T::Key, value: Option<T::Value>) -> Option<T::Value> {
        let rows = T::committed_mut(&mut self.tables);
        let old = match value {
            Some(value) => rows.insert(key.clone(), value),
            None => rows.remove(key),
        };
        if let Some(capture) = &mut self.capture {
            T::section(&mut capture.tables).keep(key, old.as_ref());
        }
        old
    }

    /// Removes a range of rows of a table.
    pub(super) fn release<T: Table>(&mut self, range: RangeInclusive<T::Key>) {
        while let Some((key, _)) = T::committed(&self.tables).range(range.clone()).next() {
            let key = key.clone();
            self.set::<T>(&key, None);
        }
    }
}
