//! The slab: where the committed keys lie, each under a number that stays the same as long as the key lives.
//!
//! It knows nothing of hashes or order. It grows by chunks, so that a growing database is never copied: a
//! vector of a million records would stop the node for the time of a copy at every doubling.

use super::KeyRecord;
use crate::types::Blob;

/// Records per chunk.
const CHUNK: usize = 256;

/// Ends the chain of free slots.
const NONE: u32 = u32::MAX;

/// Records under stable numbers.
#[derive(Clone)]
pub(super) struct Slab {
    /// All but the last are full.
    chunks: Vec<Vec<Slot>>,
    /// The first free slot; each names the next.
    free: u32,
}

#[derive(Clone)]
enum Slot {
    Used { key: Blob, record: KeyRecord },
    Free { next: u32 },
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE }
    }

    /// The key in a slot.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn key(&self, slot: u32) -> &Blob {
        self.get(slot).0
    }

    /// The key and the record in a slot.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn get(&self, slot: u32) -> (&Blob, &KeyRecord) {
        match &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK] {
            Slot::Used { key, record } => (key, record),
            Slot::Free { .. } => panic!("slot {slot} of the slab is free, yet an index names it"),
        }
    }

    /// The record in a slot.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn record_mut(&mut self, slot: u32) -> &mut KeyRecord {
        match self.slot_mut(slot) {
            Slot::Used { record, .. } => record,
            Slot::Free { .. } => panic!("slot {slot} of the slab is free, yet an index names it"),
        }
    }

    /// Stores a record and says where.
    pub(super) fn insert(&mut self, key: Blob, record: KeyRecord) -> u32 {
        let used = Slot::Used { key, record };
        if self.free != NONE {
            let slot = self.free;
            let Slot::Free { next } = std::mem::replace(self.slot_mut(slot), used) else {
                panic!("slot {slot} of the slab is in the chain of free slots, yet in use");
            };
            self.free = next;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        let slot = u32::try_from(last * CHUNK + chunk.len()).ok().filter(|&slot| slot != NONE);
        chunk.push(used);
        slot.expect("the bound on the log's bytes keeps the number of keys below 2^32 - 1")
    }

    /// Frees a slot and hands out what was in it.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn remove(&mut self, slot: u32) -> (Blob, KeyRecord) {
        let next = self.free;
        match std::mem::replace(self.slot_mut(slot), Slot::Free { next }) {
            Slot::Used { key, record } => {
                self.free = slot;
                (key, record)
            }
            Slot::Free { .. } => panic!("slot {slot} of the slab was freed twice"),
        }
    }

    fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_costs_no_more_than_its_key_and_record() {
        assert_eq!(size_of::<Slot>(), size_of::<Blob>() + size_of::<KeyRecord>());
    }

    #[test]
    fn freed_slots_are_used_again_before_the_slab_grows() {
        let mut slab = Slab::new();
        let record = KeyRecord::default();
        let slots: Vec<u32> =
            (0..600u32).map(|n| slab.insert(n.to_string().into(), record.clone())).collect();
        assert_eq!(slots, (0..600).collect::<Vec<u32>>());
        slab.remove(17);
        slab.remove(300);
        assert_eq!(slab.insert("x".into(), record.clone()), 300);
        assert_eq!(slab.insert("y".into(), record.clone()), 17);
        assert_eq!(slab.insert("z".into(), record), 600);
        assert_eq!(slab.key(300), &Blob::from("x"));
    }
}
