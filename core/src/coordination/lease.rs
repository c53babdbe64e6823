//! Leases: a span for which somebody vouches, and which keys, locks and places hang on. A plain record; what is done with
//! it is in `command/leases.rs`.
//!
//! A lease ends by an entry of the log and by nothing else: until the leader has logged its end it is there, whatever a
//! clock says. So it never ends early, and nobody has to look at a clock to know whether it is there.

use serde::{Deserialize, Serialize};

use crate::time::Millis;
use crate::types::Blob;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose.
    pub user: Blob,
    /// How long it lives without a renewal, in cluster milliseconds. Zero: its user is gone, and it is to end at once.
    pub ttl: u64,
    /// When it was granted or renewed last.
    pub renewed: Millis,
}

/// What a clock may gain on another while a lease runs, as a fraction: a lease lives longer by this part of its time, and
/// a millisecond (see `clock.rs`).
const SLACK_DIVISOR: u64 = 500;

impl Lease {
    /// Until when its holder was promised to have it.
    #[must_use]
    pub fn until(&self) -> Millis {
        Millis(self.renewed.0.saturating_add(self.ttl))
    }

    /// When it can be ended.
    #[must_use]
    pub fn due(&self) -> Millis {
        Millis(self.until().0.saturating_add(self.ttl / SLACK_DIVISOR + 1))
    }

    /// The same as if it had been renewed then, unless it was later.
    #[must_use]
    pub fn spared(self, at: Millis) -> Self {
        Self { renewed: self.renewed.max(at), ..self }
    }

    /// Whether it can still be renewed and hung things on.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.ttl > 0
    }
}
