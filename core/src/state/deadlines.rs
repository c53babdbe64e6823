//! The deadlines of one chunk of the slab. They lie beside the slots, and take memory only while one of the chunk's
//! keys has one: most keys of most databases have none.

use super::effect::Deadline;
use super::slab::CHUNK;
use crate::time::Millis;

/// By the slot's place in its chunk.
#[derive(Clone, Default)]
pub(super) struct Deadlines {
    table: Option<Box<Table>>,
}

#[derive(Clone)]
struct Table {
    places: [Place; CHUNK],
    /// How many of them are set.
    count: usize,
}

/// An `Option<Deadline>` in 16 bytes, where the compiler makes 24 of it.
#[derive(Clone, Copy)]
struct Place {
    at: Millis,
    slack: u32,
    is_set: bool,
}

const UNSET: Place = Place { at: Millis(0), slack: 0, is_set: false };

impl Deadlines {
    pub(super) fn get(&self, place: usize) -> Option<Deadline> {
        let Place { at, slack, is_set } = self.table.as_ref()?.places[place];
        is_set.then_some(Deadline { at, slack })
    }

    /// Sets or removes a deadline, and hands out the one before.
    pub(super) fn set(&mut self, place: usize, deadline: Option<Deadline>) -> Option<Deadline> {
        let old = self.get(place);
        let new = match deadline {
            Some(Deadline { at, slack }) => Place { at, slack, is_set: true },
            None if old.is_none() => return None,
            None => UNSET,
        };
        let empty = || Box::new(Table { places: [UNSET; CHUNK], count: 0 });
        let table = self.table.get_or_insert_with(empty);
        table.places[place] = new;
        table.count = table.count + usize::from(new.is_set) - usize::from(old.is_some());
        if table.count == 0 {
            self.table = None;
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_takes_sixteen_bytes() {
        assert_eq!(size_of::<Place>(), 16);
    }

    #[test]
    fn deadlines_are_kept_by_place_and_their_memory_goes_with_the_last() {
        let deadline = |at| Some(Deadline { at: Millis(at), slack: 3 });
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.set(5, None), None);
        assert!(deadlines.table.is_none(), "none takes no memory");
        assert_eq!(deadlines.set(5, deadline(0)), None);
        assert_eq!(deadlines.set(CHUNK - 1, deadline(u64::MAX)), None);
        assert_eq!(deadlines.set(5, deadline(9)), deadline(0));
        let all = [4, 5, CHUNK - 1].map(|place| deadlines.get(place));
        assert_eq!(all, [None, deadline(9), deadline(u64::MAX)]);
        assert_eq!(deadlines.set(5, None), deadline(9));
        assert_eq!(deadlines.set(CHUNK - 1, None), deadline(u64::MAX));
        assert!(deadlines.table.is_none(), "its memory is given back");
    }
}
