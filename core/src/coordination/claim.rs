//! Claims: who holds a lock, a place of a semaphore or an office, and who waits for it. A plain record; what is done with it
//! is in `command/claims.rs`.
//!
//! Claims on one name are in the order in which they were made, and are granted in that order: so all that are held come
//! before all that wait, and whoever looks for room reads the held ones and the first that waits. And so a claim's number, the
//! index of the entry that made it, is a fencing token: on one name each grant's is greater than all before.

use serde::{Deserialize, Serialize};

use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, LeaseId, SessionId};

/// What is claimed. Names of one kind know nothing of those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClaimKind {
    /// One holder.
    Lock,
    /// As many permits as each claim says.
    Semaphore,
    /// One leader, who says something.
    Election,
}

impl ClaimKind {
    /// All of them.
    pub const ALL: [ClaimKind; 3] = [Self::Lock, Self::Semaphore, Self::Election];
}

/// A claim's key: kind and name of what is claimed, and the claim's number, which is the index of the entry that made it.
pub type ClaimKey = (ClaimKind, Blob, Index);

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose.
    pub user: Blob,
    /// Which of the user's workers, in the user's own words.
    pub owner: Blob,
    /// How many permits it takes.
    pub permits: u64,
    /// How many there may be, as this claim sees it.
    pub capacity: u64,
    /// What it hangs on. A lease of its own has the claim's number and begins when the claim is granted.
    pub lease: LeaseId,
    /// How long its own lease lives, in cluster milliseconds; zero if it hangs on another.
    pub ttl: u64,
    /// What a leader says.
    pub value: Blob,
    /// Whether it is held.
    pub state: ClaimState,
}

/// How far a claim has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClaimState {
    /// It waits for its turn.
    Waiting(Wait),
    /// It is held.
    Held,
}

/// A claim that waits, and whom to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// It is given up then.
    pub until: Millis,
    /// The session and number under which it was asked for.
    pub session: Option<(SessionId, u64)>,
    /// The node that forwarded it, its boot and number.
    pub forward: Option<(Incarnation, BootNumber, u64)>,
}

/// Who leads: of the claims on an office the first, once it is held.
#[must_use]
pub fn leading(first: Option<(Index, &Claim)>) -> Option<(Index, &Claim)> {
    first.filter(|(_, claim)| claim.is_held())
}

impl Claim {
    /// Whether it is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state == ClaimState::Held
    }

    /// The wait, if it waits.
    #[must_use]
    pub fn wait(&self) -> Option<&Wait> {
        match &self.state {
            ClaimState::Waiting(wait) => Some(wait),
            ClaimState::Held => None,
        }
    }

    /// About the bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.user.len() + self.owner.len() + self.value.len()
    }
}
