//! What a leader knows of one other member, and how much it may still send.

use std::collections::VecDeque;

use crate::limits::Limits;
use crate::membership::Voter;
use crate::time::Micros;
use crate::types::{Incarnation, Index};

/// What a member that seemed to be gone is sent at once, in bytes: more follows as it is answered.
const FIRST_WINDOW: usize = 64 << 10;

/// From so many bytes on their way on, a heartbeat does not wait behind them.
const MUCH: usize = 64 << 10;

/// How a leader sends to a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// The match is unknown: entries go out once, and until an answer comes heartbeats alone repeat the question.
    Probe { asked: bool },
    /// The match is known: messages follow each other without waiting, up to the window.
    Replicate,
    /// It needs entries that only a snapshot still has: it is sent that, and asked whether it is there.
    Snapshot,
}

/// One other member, as its leader sees it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Progress {
    /// The data directory that last answered; another one begins from nothing.
    pub incarnation: Option<Incarnation>,
    /// Whether it doubts its own memory, by its last answer.
    pub abstains: bool,
    /// Whether it elects nobody while it hears a leader, by its last answer.
    pub promises: bool,
    /// The first read round that began after it was first known to doubt.
    pub doubted_round: u64,
    /// What it holds durably and in common.
    pub matched: Index,
    /// What it is sent next.
    pub next: Index,
    pub mode: Mode,
    /// The last index of each message with entries that it has not answered, and the message's bytes.
    inflight: VecDeque<(Index, usize)>,
    /// The sum of these bytes.
    inflight_bytes: usize,
    /// Most of these bytes, should it be less than the limit: a member that seemed to be gone is not flooded when it comes
    /// back. Doubled, about, with each round trip (slow start: RFC 5681, section 3.1).
    window: usize,
    /// When it last answered in this term.
    pub heard_at: Micros,
    /// When it last got further, or lacked nothing.
    pub moved_at: Micros,
    /// The newest read round that it has confirmed.
    pub round: u64,
    /// The newest read round that it was asked.
    pub asked_round: u64,
}

impl Progress {
    /// A member of which nothing is known but that the leader's log ends at `last`.
    pub fn new(last: Index, now: Micros) -> Self {
        Self {
            incarnation: None,
            abstains: false,
            promises: false,
            doubted_round: 0,
            matched: Index(0),
            next: last.next(),
            mode: Mode::Probe { asked: false },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            window: usize::MAX,
            // Grace until the first quorum check.
            heard_at: now,
            moved_at: now,
            round: 0,
            asked_round: 0,
        }
    }

    /// The member answered from this data directory. What another one held says nothing about it; and one that
    /// begins to doubt its memory may have lost what it confirmed before. Returns whether it just did.
    pub fn answered(&mut self, incarnation: Incarnation, abstains: bool, now: Micros) -> bool {
        let other = self.incarnation.is_some_and(|known| known != incarnation);
        let doubts = abstains && (other || !self.abstains);
        // At the end of the doubt too: what it confirmed meanwhile was not counted, and may be lost again.
        if other || abstains != self.abstains {
            *self = Self { next: self.next, ..Self::new(self.next.prev(), now) };
        }
        self.incarnation = Some(incarnation);
        self.abstains = abstains;
        self.heard_at = now;
        doubts
    }

    /// Whether its answers count as this voter's: for commits, reads and the quorum check.
    pub fn counts_as(&self, voter: Voter) -> bool {
        self.incarnation == Some(voter.1) && !self.abstains
    }

    /// The leader's log begins behind `start`: a member that needs more is sent a snapshot.
    pub fn mind_start(&mut self, start: Index) {
        if self.next <= start {
            self.mode = Mode::Snapshot;
            self.forget_inflight();
        } else if self.mode == Mode::Snapshot {
            self.mode = Mode::Replicate;
        }
    }

    /// The member holds everything up to `index`.
    pub fn match_to(&mut self, index: Index) {
        // Answers can overtake each other; what was durable once stays so.
        self.matched = self.matched.max(index);
        if self.mode == Mode::Snapshot {
            // It may have got that far without this leader's doing: it is looked at again before anything is sent.
            self.next = self.next.max(self.matched.next());
            return;
        }
        self.next = self.next.max(self.matched.next());
        while let Some((_, bytes)) = self.inflight.pop_front_if(|(last, _)| *last <= index) {
            self.inflight_bytes -= bytes;
            self.window = self.window.saturating_add(bytes);
        }
        self.mode = Mode::Replicate;
    }

    /// The member's log does not fit at `rejected`; the search goes on at `next`. An old answer is ignored.
    pub fn conflict(&mut self, rejected: Index, next: Index) {
        let stale = match self.mode {
            Mode::Probe { .. } => rejected != self.next.prev(),
            Mode::Replicate => rejected <= self.matched,
            Mode::Snapshot => true,
        };
        if stale {
            return;
        }
        self.next = next.min(rejected).max(Index(1));
        // A probe that is refused where the match was known: the member has lost what it had confirmed (its disk lied
        // about a sync, say). It is fed again from where it is; to insist would be to ask the same for ever.
        self.matched = self.matched.min(self.next.prev());
        self.mode = Mode::Probe { asked: false };
        self.forget_inflight();
    }

    /// Whether a message with entries may go out now.
    pub fn may_send(&self, limits: &Limits) -> bool {
        match self.mode {
            Mode::Probe { asked } => !asked,
            Mode::Replicate => {
                self.inflight.len() < limits.inflight_appends
                    && self.inflight_bytes < limits.inflight_append_bytes.min(self.window)
            }
            Mode::Snapshot => false,
        }
    }

    /// Most bytes of the next message, which has one entry at least.
    pub fn room(&self, limits: &Limits) -> usize {
        limits.append_bytes.min(self.window - self.inflight_bytes.min(self.window))
    }

    /// A message with entries up to `last`, of so many bytes, went out.
    pub fn sent(&mut self, last: Index, bytes: usize) {
        match &mut self.mode {
            Mode::Probe { asked } => *asked = true,
            Mode::Replicate => {
                self.inflight.push_back((last, bytes));
                self.inflight_bytes += bytes;
                self.next = last.next();
            }
            Mode::Snapshot => unreachable!("no entries are sent to a member that needs a snapshot"),
        }
    }

    /// Nothing was heard for so long that what is on its way is taken for lost. It is sent again once a heartbeat
    /// is answered, in one bounded message, and more as that is.
    pub fn presume_lost(&mut self) {
        self.forget_inflight();
        self.window = FIRST_WINDOW;
        self.next = self.matched.next();
        self.mode = Mode::Probe { asked: true };
    }

    /// As after many answers: what is left of a pause is forgotten.
    pub fn open_window(&mut self) {
        self.window = usize::MAX;
    }

    fn forget_inflight(&mut self) {
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    /// Whether so much is on its way that nothing small is to wait behind it.
    pub fn has_much_inflight(&self) -> bool {
        self.inflight_bytes >= MUCH
    }

    /// Whether messages with entries wait for an answer.
    pub fn has_inflight(&self) -> bool {
        !self.inflight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_begun_beyond_the_window_in_messages_or_bytes() {
        let limits = Limits { inflight_appends: 3, inflight_append_bytes: 100, ..Limits::default() };
        let mut peer = Progress::new(Index(0), Micros(0));
        peer.match_to(Index(0));
        let full_after = |peer: &mut Progress, sizes: &[usize]| {
            let taken = sizes.iter().position(|bytes| {
                let may = peer.may_send(&limits);
                if may {
                    peer.sent(peer.next, *bytes);
                }
                !may
            });
            taken.unwrap_or(sizes.len())
        };
        assert_eq!(full_after(&mut peer, &[1; 9]), 3, "three messages");
        peer.match_to(Index(3));
        assert_eq!(full_after(&mut peer, &[99, 500, 1]), 2, "one may reach beyond, none begins there");
        peer.match_to(Index(4));
        assert!(!peer.may_send(&limits), "500 are still on their way");
        peer.presume_lost();
        peer.match_to(Index(4));
        assert_eq!(full_after(&mut peer, &[100, 1]), 1);
    }

    #[test]
    fn a_member_that_comes_back_is_sent_little_until_it_answers() {
        let limits = Limits::default();
        let mut peer = Progress::new(Index(100), Micros(0));
        peer.match_to(Index(100));
        assert_eq!(peer.room(&limits), limits.append_bytes, "one that answers is sent whole messages");
        // What a round trip carries, in messages as large as they may be.
        let fill = |peer: &mut Progress| {
            let mut sent = 0;
            while peer.may_send(&limits) {
                let bytes = peer.room(&limits);
                peer.sent(peer.next, bytes);
                sent += bytes;
            }
            sent
        };
        peer.presume_lost();
        assert!(!peer.may_send(&limits), "not before a heartbeat is answered");
        peer.match_to(Index(100));
        let mut carried = Vec::new();
        for _ in 0..9 {
            carried.push(fill(&mut peer));
            peer.match_to(peer.next.prev());
        }
        assert_eq!(carried[0], FIRST_WINDOW);
        assert!(carried.windows(2).all(|two| two[1] <= 2 * two[0]), "{carried:?}");
        let most = limits.inflight_append_bytes;
        assert!(carried[8] >= most && carried[8] < most + limits.append_bytes, "{carried:?}");
    }

    #[test]
    fn a_member_that_lost_what_it_had_confirmed_is_searched_again_and_not_asked_for_ever() {
        let mut peer = Progress::new(Index(100), Micros(0));
        peer.match_to(Index(100));
        peer.sent(Index(101), 1);
        let (end, hint) = (Index(40), Index(41));
        peer.conflict(Index(101), hint);
        while peer.next > hint {
            let asked = peer.next;
            peer.conflict(asked.prev(), hint);
            assert!(peer.next < asked, "the same question would be asked and answered for ever");
        }
        assert_eq!(peer.matched, end.min(peer.matched), "it holds no more than it says");
    }
}
