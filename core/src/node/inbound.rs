//! Forwarding as a leader sees it: which of another node's commands it takes next, and which it must never take any more.
//!
//! The other end, and how the two work together, is in `forward.rs`. This file evaluates nothing, and never decides what
//! is refused.

use std::collections::BTreeMap;

use crate::error::Failure;
use crate::types::{BootNumber, Incarnation};

/// Most refused numbers of one node that a leader remembers. At the limit it is silent instead, and the command
/// comes again.
const REFUSED: usize = 16_384;

/// The leader's side: what it expects next from each node, in its present term.
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    streams: BTreeMap<Incarnation, Incoming>,
}

/// One node's stream.
#[derive(Clone, Debug, Default)]
struct Incoming {
    boot: BootNumber,
    /// The position that is expected next.
    next: u64,
    /// The origin holds all answers up to here: what comes of these is late.
    floor: u64,
    /// The numbers above it that were refused and not logged, and why: they must not be executed, however often they come.
    refused: BTreeMap<u64, Failure>,
}

/// What a leader does with a position that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one.
    Next,
    /// It came before: answer it again if the answer may have been lost.
    Repeated,
    /// Something before it is missing, and will be repeated.
    Early,
}

impl Inbound {
    /// A leader begins its term with no streams.
    pub fn clear(&mut self) {
        self.streams.clear();
    }

    /// A command of a node has come, which holds all answers up to `floor`. Returns the highest floor that was heard;
    /// none if the command is late. A new boot begins a new stream; an old one is over.
    pub fn heard(&mut self, origin: Incarnation, boot: BootNumber, seq: u64, floor: u64) -> Option<u64> {
        let stream = self.streams.entry(origin).or_default();
        if boot > stream.boot {
            *stream = Incoming { boot, ..Incoming::default() };
        }
        if boot < stream.boot {
            return None;
        }
        if floor > stream.floor {
            stream.floor = floor;
            stream.refused = stream.refused.split_off(&floor.saturating_add(1));
        }
        (seq > stream.floor).then_some(stream.floor)
    }

    /// Takes note of a position in a node's stream. With `first`, the origin holds the answers to all commands before it:
    /// what is missing there was answered by an earlier leader, and does not come again.
    pub fn arrive(&mut self, origin: Incarnation, position: u64, first: bool) -> Arrival {
        let stream = self.streams.entry(origin).or_default();
        if position < stream.next {
            return Arrival::Repeated;
        }
        if position > stream.next && !first {
            return Arrival::Early;
        }
        stream.next = position.saturating_add(1);
        Arrival::Next
    }

    /// Why this number was refused, if it was.
    #[must_use]
    pub fn refusal(&self, origin: Incarnation, seq: u64) -> Option<&Failure> {
        self.streams.get(&origin)?.refused.get(&seq)
    }

    /// Whether there is room to refuse another number.
    #[must_use]
    pub fn may_refuse(&self, origin: Incarnation) -> bool {
        self.streams.get(&origin).is_none_or(|stream| stream.refused.len() < REFUSED)
    }

    /// A number that has just arrived is refused, and [`Inbound::may_refuse`] said that it can be remembered.
    pub fn refuse(&mut self, origin: Incarnation, seq: u64, why: Failure) {
        self.streams.entry(origin).or_default().refused.insert(seq, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_leader_takes_a_stream_in_order_only() {
        let mut inbound = Inbound::default();
        let (origin, boot) = (Incarnation(2), BootNumber(7));
        assert_eq!(inbound.heard(origin, boot, 2, 0), Some(0));
        assert_eq!(inbound.arrive(origin, 1, false), Arrival::Early);
        assert_eq!(inbound.arrive(origin, 0, true), Arrival::Next);
        assert_eq!(inbound.arrive(origin, 0, true), Arrival::Repeated);
        assert_eq!(inbound.heard(origin, BootNumber(8), 1, 0), Some(0));
        assert_eq!(inbound.arrive(origin, 0, true), Arrival::Next);
        assert_eq!(inbound.heard(origin, boot, 3, 0), None, "that boot is over");
    }

    #[test]
    fn a_place_that_an_earlier_leader_answered_holds_up_no_other() {
        let mut inbound = Inbound::default();
        let origin = Incarnation(2);
        assert_eq!(inbound.arrive(origin, 2, false), Arrival::Early, "0 or 1 may still come");
        assert_eq!(inbound.arrive(origin, 2, true), Arrival::Next);
        assert_eq!(inbound.arrive(origin, 3, false), Arrival::Next);
    }

    #[test]
    fn a_refused_number_stays_refused_and_what_was_answered_is_late() {
        let mut inbound = Inbound::default();
        let (origin, boot) = (Incarnation(2), BootNumber(7));
        inbound.heard(origin, boot, 5, 4);
        let why = |code| Failure::new(code, "later");
        inbound.refuse(origin, 5, why(ErrorCode::DurabilityLag));
        assert_eq!(inbound.refusal(origin, 5), Some(&why(ErrorCode::DurabilityLag)));
        assert_eq!(inbound.heard(origin, boot, 6, 5), Some(5));
        inbound.refuse(origin, 6, why(ErrorCode::Overloaded));
        assert_eq!(
            inbound.heard(origin, boot, 5, 4),
            None,
            "its frame was doubled, and comes with the old floor"
        );
        assert_eq!(inbound.refusal(origin, 6), Some(&why(ErrorCode::Overloaded)));
        assert_eq!(inbound.refusal(origin, 5), None);
    }

    #[test]
    fn no_position_that_a_peer_can_write_is_too_large() {
        let mut inbound = Inbound::default();
        let (origin, boot) = (Incarnation(2), BootNumber(7));
        assert_eq!(inbound.heard(origin, boot, u64::MAX, u64::MAX - 1), Some(u64::MAX - 1));
        assert_eq!(inbound.arrive(origin, u64::MAX, true), Arrival::Next);
        assert_eq!(inbound.heard(origin, boot, u64::MAX, u64::MAX), None);
    }
}
