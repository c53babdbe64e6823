//! How writes are numbered in a session: from 1, each number for one command, none beyond the window that the
//! server keeps answers for.

use std::collections::BTreeSet;

use crate::protocol::native::Once;
use crate::types::SessionId;

/// The numbers of one session.
#[derive(Clone, Debug)]
pub(super) struct Numbering {
    session: SessionId,
    next: u64,
    /// Every number up to here is answered, or its answer is no longer wanted.
    floor: u64,
    /// Answered numbers beyond the floor.
    answered: BTreeSet<u64>,
}

impl Numbering {
    pub(super) fn new(session: SessionId) -> Self {
        Self { session, next: 1, floor: 0, answered: BTreeSet::new() }
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// A number for another command, if the server's window has room for it.
    pub(super) fn take(&mut self, window: u64) -> Option<u64> {
        if !self.has_room(window) {
            return None;
        }
        let seq = self.next;
        self.next += 1;
        Some(seq)
    }

    /// Whether another command can be numbered.
    pub(super) fn has_room(&self, window: u64) -> bool {
        self.next <= self.floor.saturating_add(window)
    }

    /// What goes with a command that has a number.
    pub(super) fn once(&self, seq: u64) -> Once {
        assert!(seq > self.floor, "a command whose answer was given up is never sent again");
        Once { session: self.session, seq, floor: self.floor }
    }

    /// The answer is there, or nobody waits for it. The server may forget it once the floor has told it so, and
    /// from then on refuses the number.
    pub(super) fn answered(&mut self, seq: u64) {
        self.answered.insert(seq);
        while self.answered.remove(&(self.floor + 1)) {
            self.floor += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_stops_below_the_first_unanswered_number() {
        let mut numbering = Numbering::new(SessionId(7));
        let taken: Vec<_> = (0..4).map(|_| numbering.take(4)).collect();
        assert_eq!(taken, [Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(numbering.take(4), None, "the window is full");
        numbering.answered(2);
        numbering.answered(3);
        assert_eq!(numbering.once(4).floor, 0);
        assert_eq!(numbering.take(4), None);
        numbering.answered(1);
        assert_eq!(numbering.once(4), Once { session: SessionId(7), seq: 4, floor: 3 });
        assert_eq!(numbering.take(4), Some(5));
    }
}
