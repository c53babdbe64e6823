//! Leases: reads without a round, where the operator vouches for the clocks (thesis, section 6.4.1). Off unless a bound on their rates is
//! configured.
//!
//! A voter that answers an append promises with it to elect nobody for the shortest election time-out. Once a majority has answered a round,
//! the leader knows that nobody can be elected for so long after the *beginning* of the round, by the slowest of their clocks as seen from
//! the fastest: `1 - 2 * bound` of it by its own. Until then it answers reads by itself.
//!
//! What else could elect somebody meanwhile:
//! - a voter that was restarted and has forgotten its promise: each start begins with one to nobody, whatever is configured;
//! - a transfer, whose votes are given in spite of the promise: a leader that has asked anybody to take over holds no lease for the rest of
//!   its term, for the request may come late;
//! - a voter that does not know of leases: its answers say so, and are not counted for one.
//!
//! A machine whose monotonic clock stands still while the world goes on (a suspended virtual machine) breaks the bound, and can hide writes.

use super::{Raft, Role};
use crate::time::Micros;

/// What a leader may rest on.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Lease {
    /// By its own clock.
    until: Micros,
    /// It has asked somebody to take over.
    yielded: bool,
}

impl Lease {
    /// No more of it in this term.
    pub fn give_up(&mut self) {
        self.yielded = true;
    }
}

/// A millionth of anything is what bounds are given in.
const MILLION: u64 = 1_000_000;

impl Raft {
    /// Whether nobody else can lead now, as far as the clocks keep to their bound. What is asked of this node at `now` or was before may be
    /// answered from what is committed.
    #[must_use]
    pub fn holds_lease(&self, now: Micros) -> bool {
        match &self.role {
            Role::Leader(leader) => !leader.lease.yielded && !self.doubtful && now < leader.lease.until,
            _ => false,
        }
    }

    /// A round that began then was confirmed by a majority that keeps its promises.
    pub(super) fn extend_lease(&mut self, began: Micros) {
        let Some(bound) = self.timing.clock_bound_ppm else { return };
        let rate = MILLION.saturating_sub(2 * u64::from(bound));
        let span = u128::from(self.timing.election.0) * u128::from(rate) / u128::from(MILLION);
        let span = Micros(u64::try_from(span).unwrap_or(u64::MAX));
        if let Role::Leader(leader) = &mut self.role {
            leader.lease.until = leader.lease.until.max(began.after(span));
        }
    }

    /// Whether this node says of itself that it elects nobody while it hears a leader.
    pub(super) fn promises(&self) -> bool {
        self.timing.clock_bound_ppm.is_some()
    }

    /// Whether this node may have promised to elect nobody now: by what it told a leader, or in a start before this one.
    pub(super) fn has_promised(&self, now: Micros) -> bool {
        let told = self.promises() && self.hears_leader(now);
        told || now < self.promised_until
    }

    /// Whether it heard from a leader within the shortest election time-out.
    pub(super) fn hears_leader(&self, now: Micros) -> bool {
        self.heard_leader_at.is_some_and(|at| now < at.after(self.timing.election))
    }
}
