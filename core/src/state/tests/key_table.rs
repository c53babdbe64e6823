//! The key table and its order against a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::KeyRecord;
use super::super::key_table::KeyTable;
use super::super::packed::KeyRow;
use crate::types::{Blob, Index};

fn record(revision: u64) -> KeyRecord {
    KeyRecord { revision: Index(revision), ..KeyRecord::default() }
}

fn key(n: u64) -> Blob {
    // Some keys are too long for a blob to hold them in itself, and many share a prefix.
    if n.is_multiple_of(3) { format!("{n:030}").into() } else { n.to_string().into() }
}

/// Both, and the same change to both.
struct Pair {
    table: KeyTable,
    model: BTreeMap<Blob, KeyRecord>,
}

impl Pair {
    fn new() -> Self {
        Self { table: KeyTable::new((7, 8)), model: BTreeMap::new() }
    }

    fn put(&mut self, n: u64, revision: u64) {
        let old = self.table.put(&key(n), record(revision));
        assert_eq!(old, self.model.insert(key(n), record(revision)));
    }

    fn remove(&mut self, n: u64) {
        assert_eq!(self.table.remove(&key(n)), self.model.remove(&key(n)));
    }

    fn check(&self) {
        assert_eq!(self.table.len(), self.model.len());
        let rows = self.table.range(Bound::Unbounded).map(|row| (Blob::from(row.name()), row.record()));
        assert!(rows.eq(self.model.clone()));
    }

    fn check_range(&self, n: u64) {
        let from = key(n);
        for bound in [Bound::Included(from.as_slice()), Bound::Excluded(from.as_slice())] {
            let expected = self.model.range::<[u8], _>((bound, Bound::Unbounded));
            let rows = self.table.range(bound).map(|row| (Blob::from(row.name()), row.record()));
            assert!(rows.eq(expected.map(|(key, record)| (key.clone(), record.clone()))), "from {bound:?}");
        }
        assert_eq!(self.table.get(&from).map(KeyRow::record).as_ref(), self.model.get(&from));
    }
}

proptest! {
    #![proptest_config(super::cases(100))]

    #[test]
    fn the_key_table_agrees_with_an_ordered_map(
        changes in vec((any::<bool>(), 0..600u64), 0..2000),
        asked in vec(0..600u64, 20),
    ) {
        let mut pair = Pair::new();
        for (revision, (remove, n)) in changes.into_iter().enumerate() {
            if remove { pair.remove(n) } else { pair.put(n, revision as u64) }
        }
        pair.check();
        for n in asked {
            pair.check_range(n);
        }
    }
}

#[test]
fn a_table_that_is_filled_and_emptied_in_either_direction_stays_in_order() {
    for descending in [false, true] {
        let mut pair = Pair::new();
        let numbers: Vec<u64> = if descending { (0..3000).rev().collect() } else { (0..3000).collect() };
        numbers.iter().for_each(|&n| pair.put(n, n));
        pair.check();
        numbers.iter().filter(|n| !n.is_multiple_of(40)).for_each(|&n| pair.remove(n));
        pair.check();
        (0..3000).step_by(97).for_each(|n| pair.check_range(n));
        numbers.iter().for_each(|&n| pair.remove(n));
        pair.check();
        numbers.iter().for_each(|&n| pair.put(n, n));
        pair.check();
    }
}
