//! Watches: what has changed since a position, told to whom it may be shown.
//!
//! A watch is a position and not a connection. A client asks for the changes after a position that it knows, and gets them
//! with the position up to which it has now been told everything; then it asks from there. So nothing is lost or told twice
//! when a connection, a node or a leader is lost, nobody is dropped for reading slowly, and a node keeps nothing for a
//! client but the request that waits. The price is a request for each batch.
//!
//! | file | job |
//! |---|---|
//! | `history.rs` | the newest changes, and what users could do then |
//! | `event.rs` | a change, as a client sees it |
//!
//! Nothing here knows a connection, waits, or evaluates a command: `command/changes.rs` parses and permits, and
//! `node/watches/` answers.

pub mod event;
pub mod history;

use serde::{Deserialize, Serialize};

use crate::state::changed::{Changed, How};
use crate::types::{Blob, Index};

/// What somebody wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Changes after this position.
    pub from: Index,
    /// Of these keys, at least one.
    pub selectors: Vec<Selector>,
    /// Only changes of these types.
    pub types: Types,
    /// With what the key was before.
    pub previous: bool,
    /// About how many at a time: those of one position always come together.
    pub count: usize,
}

/// Keys to watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Selector {
    /// One.
    Key(Blob),
    /// All that begin so.
    Prefix(Blob),
}

impl Selector {
    /// Whether it selects this key.
    #[must_use]
    pub fn selects(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(selected) => **selected == *key,
            Self::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

/// What can happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Type {
    /// It was not there, and is.
    Created = 1,
    /// It has another value or deadline.
    Modified = 2,
    /// A command removed it.
    Deleted = 4,
    /// Its time passed, or its lease ended.
    Expired = 8,
}

impl Type {
    /// All of them.
    pub const ALL: [Type; 4] = [Self::Created, Self::Modified, Self::Deleted, Self::Expired];

    /// The word in commands and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
        }
    }

    /// Of a change.
    #[must_use]
    pub fn of(changed: &Changed) -> Self {
        match (&changed.before, &changed.after) {
            (_, None) if changed.how == How::Expired => Self::Expired,
            (_, None) => Self::Deleted,
            (None, Some(_)) => Self::Created,
            (Some(_), Some(_)) => Self::Modified,
        }
    }
}

/// Some types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Types(u8);

impl Types {
    /// All.
    pub const ALL: Types = Types(0b1111);
    /// None.
    pub const NONE: Types = Types(0);

    /// These and one more.
    #[must_use]
    pub const fn with(self, kind: Type) -> Self {
        Self(self.0 | kind as u8)
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, kind: Type) -> bool {
        self.0 & kind as u8 != 0
    }
}

impl Watch {
    /// Whether this is what it asks for, as far as that does not depend on who asks.
    #[must_use]
    pub fn wants(&self, changed: &Changed) -> bool {
        self.selectors.iter().any(|selector| selector.selects(&changed.key))
            && self.types.has(Type::of(changed))
    }
}
