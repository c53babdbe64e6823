//! The committed keys: found by hash, walked in order, stored in the slab.
//!
//! A read costs one keyed hash and two cache misses (the table's bucket, the slab's slot). The hash is
//! SipHash-1-3 under the node's own secret, so that nobody can choose keys that collide; its order is never
//! visible, and a node's seed changes nothing that another node or a client can see.

use std::ops::Bound;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::KeyRecord;
use super::order::OrderIndex;
use super::packed::KeyRow;
use super::slab::Slab;
use crate::types::Blob;

/// Hash tables, chosen by bits of the hash. A table rehashes all its keys when it grows; so many small ones
/// make that a short stop (figures in `docs/dependencies.md`).
const SHARDS: usize = 256;

/// The committed keys.
#[derive(Clone)]
pub(super) struct KeyTable {
    hasher: SipHasher13,
    shards: Box<[HashTable<u32>]>,
    slab: Slab,
    order: OrderIndex,
    len: usize,
}

impl KeyTable {
    /// An empty table, hashed under a seed.
    pub(super) fn new((key0, key1): (u64, u64)) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(key0, key1),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            slab: Slab::new(),
            order: OrderIndex::default(),
            len: 0,
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A key.
    pub(super) fn get(&self, key: &[u8]) -> Option<KeyRow<'_>> {
        let hash = self.hasher.hash(key);
        let slot = self.shards[shard(hash)].find(hash, |&slot| self.slab.name(slot) == key)?;
        Some(self.slab.get(*slot))
    }

    /// Sets a key's record, and hands out the one before.
    pub(super) fn put(&mut self, key: &Blob, record: KeyRecord) -> Option<KeyRecord> {
        let hash = self.hasher.hash(key);
        let table = &mut self.shards[shard(hash)];
        if let Some(&slot) = table.find(hash, |&slot| self.slab.name(slot) == key.as_slice()) {
            return Some(self.slab.replace(slot, key, record));
        }
        let slot = self.slab.insert(key, record);
        table.insert_unique(hash, slot, |&other| self.hasher.hash(self.slab.name(other)));
        self.order.insert(slot, &self.slab);
        self.len += 1;
        None
    }

    /// Adds a key that comes after all there are: what a snapshot is read with.
    pub(super) fn push_last(&mut self, key: &Blob, record: KeyRecord) {
        let hash = self.hasher.hash(key);
        let slot = self.slab.insert(key, record);
        let Self { shards, slab, hasher, .. } = self;
        shards[shard(hash)].insert_unique(hash, slot, |&other| hasher.hash(slab.name(other)));
        self.order.push_last(slot, &self.slab);
        self.len += 1;
    }

    /// The greatest key's name.
    pub(super) fn last(&self) -> Option<&[u8]> {
        self.order.last().map(|slot| self.slab.name(slot))
    }

    /// Makes room for so many keys at once.
    pub(super) fn reserve(&mut self, keys: usize) {
        let Self { shards, slab, hasher, .. } = self;
        for table in shards {
            // Hashes spread evenly, but not exactly.
            table.reserve(keys / SHARDS + keys / SHARDS / 16, |&slot| hasher.hash(slab.name(slot)));
        }
    }

    /// Removes a key, and hands out its record.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<KeyRecord> {
        let hash = self.hasher.hash(key);
        let entry = self.shards[shard(hash)].find_entry(hash, |&slot| self.slab.name(slot) == key).ok()?;
        let (slot, _) = entry.remove();
        self.order.remove(slot, &self.slab);
        self.len -= 1;
        Some(self.slab.remove(slot))
    }

    /// The keys at or after a bound, in order.
    pub(super) fn range<'a>(&'a self, from: Bound<&[u8]>) -> impl Iterator<Item = KeyRow<'a>> + use<'a> {
        self.order.range(from, &self.slab).map(|slot| self.slab.get(slot))
    }
}

/// Which table. Bits from the middle: the tables themselves use the lowest and the highest.
fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}
