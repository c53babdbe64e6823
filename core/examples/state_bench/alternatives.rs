//! What could stand in place of the key table: each stores the same keys and records, and does no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use steadfast_core::state::KeyRecord;
use steadfast_core::state::data::Data;
use steadfast_core::types::{Blob, Index};

use crate::measure::{Bench, name, shuffled, used, value};

const CHUNK: usize = 256;

/// Fills a table in random order, takes its memory, reads it, and writes it over.
fn run<T>(
    label: &'static str,
    keys: usize,
    mut table: T,
    mut put: impl FnMut(&mut T, &[u8], KeyRecord),
    get: impl Fn(&T, &[u8]) -> Option<KeyRecord>,
) {
    let order = shuffled(keys, 1);
    let again = shuffled(keys, 2);
    let bench = Bench::new(label, keys);
    let record = |at| KeyRecord { data: Data::String(value(at)), revision: Index(at as u64), deadline: None };
    bench.time_each("create", keys, |at| put(&mut table, &name(order[at]), record(at)));
    bench.memory();
    bench.time("read", keys, |at| {
        let record = get(&table, &name(again[at]));
        assert!(record.is_some(), "every key is found");
        used(record);
    });
    bench.time("read of a missing key", keys, |at| used(get(&table, &name(again[at])[..15])));
    bench.time_each("overwrite", keys, |at| put(&mut table, &name(again[at]), record(at)));
}

/// One ordered map, no hash: every read walks the tree.
pub fn ordered_map(keys: usize) {
    let put = |map: &mut BTreeMap<Blob, KeyRecord>, key: &[u8], record| drop(map.insert(key.into(), record));
    run("ordered-map", keys, BTreeMap::new(), put, |map, key| map.get(key).cloned());
}

/// Hash tables over a chunked slab, as in the key table; no order.
pub fn hash_only(keys: usize) {
    let table = Table::new(256, Chunks::<Blob>::default());
    run("hash-only", keys, table, |table, key, record| _ = table.put(key.into(), record), Table::get);
}

/// The same with one hash table, which rehashes everything when it grows.
pub fn one_hash_table(keys: usize) {
    let table = Table::new(1, Chunks::<Blob>::default());
    run("one-hash-table", keys, table, |table, key, record| _ = table.put(key.into(), record), Table::get);
}

/// The order as a set of the keys.
pub fn order_by_keys(keys: usize) {
    let put = |(table, order): &mut Ordered<Blob>, key: &[u8], record| {
        let key = Blob::from(key);
        if table.put(key.clone(), record) {
            order.insert(key);
        }
    };
    let empty = (Table::new(256, Chunks::default()), BTreeSet::new());
    run("order-by-keys", keys, empty, put, |(table, _), key| table.get(key));
}

/// Keys in an allocation of their own, shared with the order.
pub fn keys_in_arcs(keys: usize) {
    let put = |(table, order): &mut Ordered<Arc<[u8]>>, key: &[u8], record| {
        let key: Arc<[u8]> = key.into();
        if table.put(Arc::clone(&key), record) {
            order.insert(key);
        }
    };
    let empty = (Table::new(256, Chunks::default()), BTreeSet::new());
    run("keys-in-arcs", keys, empty, put, |(table, _), key| table.get(key));
}

/// The slab as one vector, which is copied when it grows.
pub fn growing_vector(keys: usize) {
    let table = Table::new(256, Vec::<(Blob, KeyRecord)>::new());
    run("growing-vector", keys, table, |table, key, record| _ = table.put(key.into(), record), Table::get);
}

/// A table, and its keys in order.
type Ordered<K> = (Table<Chunks<K>>, BTreeSet<K>);

/// Hash tables of slots, and the slots.
struct Table<S> {
    hasher: SipHasher13,
    shards: Vec<HashTable<u32>>,
    slots: S,
}

/// Where records lie.
trait Slots {
    type Key: AsBytes;
    fn push(&mut self, key: Self::Key, record: KeyRecord) -> u32;
    fn get(&self, slot: u32) -> &(Self::Key, KeyRecord);
    fn get_mut(&mut self, slot: u32) -> &mut (Self::Key, KeyRecord);
}

impl<S: Slots> Table<S> {
    fn new(shards: usize, slots: S) -> Self {
        let shards = (0..shards).map(|_| HashTable::new()).collect();
        Self { hasher: SipHasher13::new_with_keys(1, 2), shards, slots }
    }

    /// Whether the key is new.
    fn put(&mut self, key: S::Key, record: KeyRecord) -> bool {
        let hash = self.hasher.hash(key.as_bytes());
        let shard = (hash >> 40) as usize % self.shards.len();
        let table = &mut self.shards[shard];
        if let Some(&slot) = table.find(hash, |&slot| self.slots.get(slot).0.as_bytes() == key.as_bytes()) {
            self.slots.get_mut(slot).1 = record;
            return false;
        }
        let slot = self.slots.push(key, record);
        table.insert_unique(hash, slot, |&slot| self.hasher.hash(self.slots.get(slot).0.as_bytes()));
        true
    }

    fn get(&self, key: &[u8]) -> Option<KeyRecord> {
        let hash = self.hasher.hash(key);
        let table = &self.shards[(hash >> 40) as usize % self.shards.len()];
        let slot = table.find(hash, |&slot| self.slots.get(slot).0.as_bytes() == key)?;
        Some(self.slots.get(*slot).1.clone())
    }
}

struct Chunks<K>(Vec<Vec<(K, KeyRecord)>>);

impl<K> Default for Chunks<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: AsBytes> Slots for Chunks<K> {
    type Key = K;

    fn push(&mut self, key: K, record: KeyRecord) -> u32 {
        if self.0.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.0.push(Vec::with_capacity(CHUNK));
        }
        let last = self.0.len() - 1;
        self.0[last].push((key, record));
        (last * CHUNK + self.0[last].len() - 1) as u32
    }

    fn get(&self, slot: u32) -> &(K, KeyRecord) {
        &self.0[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    fn get_mut(&mut self, slot: u32) -> &mut (K, KeyRecord) {
        &mut self.0[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

impl<K: AsBytes> Slots for Vec<(K, KeyRecord)> {
    type Key = K;

    fn push(&mut self, key: K, record: KeyRecord) -> u32 {
        Vec::push(self, (key, record));
        (self.len() - 1) as u32
    }

    fn get(&self, slot: u32) -> &(K, KeyRecord) {
        &self[slot as usize]
    }

    fn get_mut(&mut self, slot: u32) -> &mut (K, KeyRecord) {
        &mut self[slot as usize]
    }
}

trait AsBytes {
    fn as_bytes(&self) -> &[u8];
}

impl AsBytes for Blob {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl AsBytes for Arc<[u8]> {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}
