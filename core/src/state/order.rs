//! The order over the committed keys: what ranges, prefixes and scans walk. Only the creation and the
//! deletion of a key touch it; it holds no key itself but the slab's slot numbers, in chunks.
//!
//! Four bytes per key and slot number, where a `BTreeSet` of the keys takes ten times that (figures in
//! `docs/dependencies.md`).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;

use super::slab::Slab;
use crate::types::Blob;

/// Most slots of a chunk.
const CHUNK: usize = 128;

/// Into how many parts each step of a search cuts a chunk.
const WAYS: usize = 8;

/// A chunk's capacity grows by this many slots.
const GROWTH: usize = 16;

/// Slots of a slab, in the order of their keys.
#[derive(Clone, Default)]
pub(super) struct OrderIndex {
    /// Chunks of slots. Each lies under a lower bound of its keys, which is greater than every key of the
    /// chunk before; the first one's is the empty string.
    chunks: BTreeMap<Blob, Vec<u32>>,
}

impl OrderIndex {
    /// Adds a slot that the slab holds already, under a key that is not in here.
    pub(super) fn insert(&mut self, slot: u32, slab: &Slab) {
        let key = slab.name(slot);
        if self.chunks.is_empty() {
            self.chunks.insert(Blob::default(), Vec::new());
        }
        let chunk = self.chunk_mut(key);
        let at = search(chunk, key, slab);
        if chunk.len() == chunk.capacity() {
            chunk.reserve_exact(GROWTH);
        }
        chunk.insert(at, slot);
        if chunk.len() > CHUNK {
            // Keys that come in ascending order, such as ones with a time in them, leave full chunks behind.
            let split = if at == CHUNK { CHUNK } else { CHUNK / 2 };
            let upper = chunk.split_off(split);
            chunk.shrink_to(split);
            self.chunks.insert(Blob::from(slab.name(upper[0])), upper);
        }
    }

    /// Adds a slot whose key comes after all that are in here.
    pub(super) fn push_last(&mut self, slot: u32, slab: &Slab) {
        match self.chunks.last_entry() {
            Some(mut last) if last.get().len() < CHUNK => last.get_mut().push(slot),
            last => {
                let low = last.map_or_else(Blob::default, |_| slab.name(slot).into());
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(slot);
                self.chunks.insert(low, chunk);
            }
        }
    }

    /// The slot of the greatest key.
    pub(super) fn last(&self) -> Option<u32> {
        self.chunks.last_key_value().and_then(|(_, chunk)| chunk.last().copied())
    }

    /// Takes a slot out, while the slab still holds it.
    ///
    /// # Panics
    /// On a slot that is not in here.
    pub(super) fn remove(&mut self, slot: u32, slab: &Slab) {
        let key = slab.name(slot);
        let chunk = self.chunk_mut(key);
        let at = search(chunk, key, slab);
        assert_eq!(chunk.get(at), Some(&slot), "every key in the slab is in the order of keys, once");
        chunk.remove(at);
        if chunk.len() < CHUNK / 4 {
            self.merge(key);
        }
    }

    /// The slots whose keys lie at or after a bound, in order.
    pub(super) fn range<'a>(
        &'a self,
        from: Bound<&[u8]>,
        slab: &'a Slab,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let low = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let head = self.chunks.range::<[u8], _>((Bound::Unbounded, Bound::Included(low))).next_back();
        let first = head.map_or(&[][..], |(_, chunk)| {
            let before = chunk.partition_point(|&slot| match from {
                Bound::Included(key) => slab.name(slot) < key,
                Bound::Excluded(key) => slab.name(slot) <= key,
                Bound::Unbounded => false,
            });
            &chunk[before..]
        });
        let rest = self.chunks.range::<[u8], _>((Bound::Excluded(low), Bound::Unbounded));
        first.iter().chain(rest.flat_map(|(_, chunk)| chunk)).copied()
    }

    /// Joins the sparse chunk of a key with the one before it, if both fit into one with room to spare: so
    /// what is deleted gives its memory back, and a key that comes and goes does not split and join each time.
    fn merge(&mut self, key: &[u8]) {
        let mut back = self.chunks.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        let (Some((low, chunk)), Some((_, before))) = (back.next_back(), back.next_back()) else { return };
        if before.len() + chunk.len() > CHUNK * 3 / 4 {
            return;
        }
        before.reserve_exact(chunk.len());
        before.append(chunk);
        let low = low.clone();
        self.chunks.remove(&low);
    }

    fn chunk_mut(&mut self, key: &[u8]) -> &mut Vec<u32> {
        let mut back = self.chunks.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        back.next_back().expect("the first chunk begins at the empty key, before all others").1
    }
}

/// Where in a chunk a key belongs: the number of its keys that lie before.
///
/// Each key that is compared is a cache miss, and a plain binary search waits for one after the other. So the
/// keys that cut what is left into [`WAYS`] parts are all touched first, and arrive together (the black box
/// keeps the compiler from leaving that out): creating a key takes a third less.
fn search(chunk: &[u32], key: &[u8], slab: &Slab) -> usize {
    let (mut low, mut high) = (0, chunk.len());
    while high - low >= WAYS {
        let part = (high - low) / WAYS;
        let cuts = (1..WAYS).map(move |cut| low + cut * part);
        black_box(cuts.clone().fold(0, |sum, cut| sum + slab.name(chunk[cut]).len()));
        for cut in cuts {
            if slab.name(chunk[cut]) < key {
                low = cut + 1;
            } else {
                high = cut;
                break;
            }
        }
    }
    let rest = &chunk[low..high];
    black_box(rest.iter().fold(0, |sum, &slot| sum + slab.name(slot).len()));
    low + rest.partition_point(|&other| slab.name(other) < key)
}
