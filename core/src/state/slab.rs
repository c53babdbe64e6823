//! The slab: where the committed keys lie, each under a number that stays the same as long as the key lives.
//!
//! It knows nothing of hashes or order. It grows by chunks, so that a growing database is never copied: a
//! vector of a million records would stop the node for the time of a copy at every doubling.

use super::KeyRecord;
use super::deadlines::Deadlines;
use super::effect::Deadline;
use super::packed::{KeyRow, Packed};
use crate::types::Blob;

/// Keys per chunk.
pub(super) const CHUNK: usize = 256;

/// Ends the chain of free slots.
const NONE: u32 = u32::MAX;

/// Keys under stable numbers.
#[derive(Clone)]
pub(super) struct Slab {
    /// All but the last are full.
    chunks: Vec<Chunk>,
    /// The first free slot; each names the next.
    free: u32,
}

#[derive(Clone)]
struct Chunk {
    slots: Vec<Slot>,
    deadlines: Deadlines,
}

#[derive(Clone)]
enum Slot {
    Used(Packed),
    Free { next: u32 },
}

impl Slot {
    fn pack(key: &Blob, record: KeyRecord) -> Self {
        Self::Used(Packed::new(key, record.data, record.revision))
    }
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE }
    }

    /// The name of the key in a slot.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn name(&self, slot: u32) -> &[u8] {
        let (chunk, place) = at(slot);
        self.chunks[chunk].used(place).name()
    }

    /// The key in a slot.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn get(&self, slot: u32) -> KeyRow<'_> {
        let (chunk, place) = at(slot);
        let chunk = &self.chunks[chunk];
        KeyRow::new(chunk.used(place), chunk.deadlines.get(place))
    }

    /// Stores another record for the key that a slot has, and hands out the one before.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn replace(&mut self, slot: u32, key: &Blob, record: KeyRecord) -> KeyRecord {
        self.exchange(slot, record.deadline, Slot::pack(key, record))
    }

    /// Stores a key and its record, and says where.
    pub(super) fn insert(&mut self, key: &Blob, record: KeyRecord) -> u32 {
        let deadline = record.deadline;
        let used = Slot::pack(key, record);
        if self.free != NONE {
            let slot = self.free;
            let (chunk, place) = at(slot);
            let chunk = &mut self.chunks[chunk];
            let Slot::Free { next } = std::mem::replace(&mut chunk.slots[place], used) else {
                panic!("slot {slot} of the slab is in the chain of free slots, yet in use");
            };
            chunk.deadlines.set(place, deadline);
            self.free = next;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.slots.len() == CHUNK) {
            self.chunks.push(Chunk { slots: Vec::with_capacity(CHUNK), deadlines: Deadlines::default() });
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        let place = chunk.slots.len();
        let slot = u32::try_from(last * CHUNK + place).ok().filter(|&slot| slot != NONE);
        chunk.slots.push(used);
        chunk.deadlines.set(place, deadline);
        slot.expect("the bound on the log's bytes keeps the number of keys below 2^32 - 1")
    }

    /// Frees a slot and hands out the record that was in it.
    ///
    /// # Panics
    /// On a slot that is not in use.
    pub(super) fn remove(&mut self, slot: u32) -> KeyRecord {
        let old = self.exchange(slot, None, Slot::Free { next: self.free });
        self.free = slot;
        old
    }

    fn exchange(&mut self, slot: u32, deadline: Option<Deadline>, new: Slot) -> KeyRecord {
        let (chunk, place) = at(slot);
        let chunk = &mut self.chunks[chunk];
        let deadline = chunk.deadlines.set(place, deadline);
        match std::mem::replace(&mut chunk.slots[place], new) {
            Slot::Used(old) => old.into_record(deadline),
            Slot::Free { .. } => unused(place),
        }
    }
}

impl Chunk {
    fn used(&self, place: usize) -> &Packed {
        match &self.slots[place] {
            Slot::Used(packed) => packed,
            Slot::Free { .. } => unused(place),
        }
    }
}

/// The chunk of a slot, and its place there.
fn at(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

#[cold]
fn unused(place: usize) -> ! {
    panic!("a slot of the slab is free, the {place}th of its chunk, yet an index names it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_costs_no_more_than_its_key() {
        assert_eq!(size_of::<Slot>(), size_of::<Packed>());
    }

    #[test]
    fn freed_slots_are_used_again_before_the_slab_grows() {
        let mut slab = Slab::new();
        let record = KeyRecord::default();
        let slots: Vec<u32> =
            (0..600u32).map(|n| slab.insert(&n.to_string().into(), record.clone())).collect();
        assert_eq!(slots, (0..600).collect::<Vec<u32>>());
        slab.remove(17);
        slab.remove(300);
        assert_eq!(slab.insert(&"x".into(), record.clone()), 300);
        assert_eq!(slab.insert(&"y".into(), record.clone()), 17);
        assert_eq!(slab.insert(&"z".into(), record), 600);
        assert_eq!(slab.name(300), b"x");
    }
}
