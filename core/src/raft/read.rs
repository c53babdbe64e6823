//! Read rounds: a leader asks its voters whether it still leads, and reads that arrived before the question
//! may be answered once a majority has said yes (ReadIndex, thesis section 6.4).
//!
//! A round's number is never used again in its term, and no node leads a term twice, so an answer can't be
//! taken for that of another round.

use serde::{Deserialize, Serialize};

use super::{Raft, Role};
use crate::time::Micros;

/// A round's number within its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Round(pub u64);

/// A leader's rounds.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Rounds {
    /// The newest that has begun.
    pub begun: u64,
    /// The newest that a majority has confirmed.
    pub confirmed: u64,
    /// When that one did.
    pub began_at: Micros,
    /// Whether something waits for the next one.
    pub wanted: bool,
}

impl Raft {
    /// The round that a read which arrives now has to wait for: one that has not begun yet.
    pub fn join_round(&mut self) -> Round {
        let Role::Leader(leader) = &mut self.role else { unreachable!("only a leader evaluates reads") };
        leader.rounds.wanted = true;
        Round(leader.rounds.begun + 1)
    }

    /// The newest round that a majority has confirmed; none if this node does not lead.
    #[must_use]
    pub fn confirmed_round(&self) -> Option<Round> {
        match &self.role {
            Role::Leader(leader) => Some(Round(leader.rounds.confirmed)),
            _ => None,
        }
    }

    /// Begins the next round if a read waits for it and none is under way; the reads that come meanwhile
    /// share the one after.
    pub(super) fn start_round(&mut self, now: Micros) {
        let Role::Leader(leader) = &mut self.role else { return };
        let idle = leader.rounds.begun == leader.rounds.confirmed;
        if leader.rounds.wanted && idle {
            leader.rounds.begun += 1;
            leader.rounds.began_at = now;
            leader.rounds.wanted = false;
            self.advance_rounds();
        }
    }

    /// Confirms rounds that a majority has answered.
    pub(super) fn advance_rounds(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let (begun, began_at) = (leader.rounds.begun, leader.rounds.began_at);
        let confirmed = self.counts(|peer| peer.round >= begun);
        if confirmed && let Role::Leader(leader) = &mut self.role {
            leader.rounds.confirmed = begun;
        }
        if begun > 0 && self.promises() && self.counts(|peer| peer.round >= begun && peer.promises) {
            self.extend_lease(began_at);
        }
    }
}
