//! What is remembered about idempotency ids: answers to commands that were executed under one, and work outside of the
//! database that somebody has begun under one. Plain records; what is done with them is in `command/once.rs`.

use serde::{Deserialize, Serialize};

use crate::state::table::Stored;
use crate::time::Millis;
use crate::types::{Blob, Index};

/// The answer to a command that was executed under an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The answer, with its entry.
    pub stored: Stored,
    /// When the id is too old to be used, and the answer can be forgotten.
    pub until: Millis,
}

/// Work under an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// What the work is, in the words of whoever began it: another one under the same id is refused.
    pub fingerprint: Blob,
    /// The entry that began it last: who has not this token any more may not finish it.
    pub token: Index,
    /// How far it has come.
    pub state: WorkState,
    /// When all this can be forgotten.
    pub until: Millis,
}

impl Work {
    /// About the bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let answer = if let WorkState::Done { answer } = &self.state { answer.len() } else { 0 };
        self.fingerprint.len() + answer
    }
}

/// How far work has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkState {
    /// Somebody has it until then; afterwards it can be begun again.
    Running {
        /// In cluster time.
        until: Millis,
    },
    /// It is done, with this answer.
    Done {
        /// As it was handed in.
        answer: Blob,
    },
}
