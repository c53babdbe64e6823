//! Builds a state from the rows of a snapshot. Every row must come in its order and every one that the head announces
//! must come; what is known about the rows together (what is due, whose sessions) is built in one go at the end.

use std::fmt;

use super::base::{Base, Stored};
use super::row::{Head, Item, KINDS, Row};
use super::tail::{Tail, session_due};
use super::{ForwardHead, Pending, SessionRecord, State};
use crate::access::user::User;
use crate::types::{Blob, BootNumber, Incarnation, SessionId};
use std::sync::Arc;

/// Why rows make no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The head must come first, and once.
    Head,
    /// A row of this kind, counted from 0, does not follow the one before it.
    Order(usize),
    /// There are other rows of this kind than the head announces.
    Count {
        /// The kind, counted from 0.
        kind: usize,
        /// What the head says.
        announced: u64,
        /// How many came.
        found: u64,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("its head is missing, or comes twice"),
            Self::Order(kind) => write!(f, "a row of kind {kind} does not follow the one before it"),
            Self::Count { kind, announced, found } => {
                write!(f, "it announces {announced} rows of kind {kind}, and has {found}")
            }
        }
    }
}

/// Most keys for which room is made at once, whatever a head says.
const MOST_RESERVED: u64 = 1 << 24;

/// A state on its way.
#[derive(Clone)]
pub struct Restore {
    base: Base,
    head: Option<Head>,
    /// The kind of the newest row, and how many of each kind came.
    kind: usize,
    found: [u64; KINDS],
    sessions: Vec<(SessionId, SessionRecord)>,
    replies: Vec<((SessionId, u64), Stored)>,
    forwards: Vec<(Incarnation, ForwardHead)>,
    forwarded: Vec<((Incarnation, BootNumber, u64), Stored)>,
    users: Vec<(Blob, Arc<User>)>,
}

impl fmt::Debug for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore")
            .field("head", &self.head)
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

impl Restore {
    /// Of nothing yet; keys are hashed under this seed.
    #[must_use]
    pub fn new(hash_seed: (u64, u64)) -> Self {
        Self {
            base: Base::new(hash_seed),
            head: None,
            kind: 0,
            found: [0; KINDS],
            sessions: Vec::new(),
            replies: Vec::new(),
            forwards: Vec::new(),
            forwarded: Vec::new(),
            users: Vec::new(),
        }
    }

    /// Takes the next item.
    ///
    /// # Errors
    /// [`RestoreError`] if it can't come next.
    pub fn item(&mut self, item: Item) -> Result<(), RestoreError> {
        match (item, &self.head) {
            (Item::Head(head), None) => {
                self.base.keys.reserve(head.rows[0].min(MOST_RESERVED) as usize);
                self.head = Some(head);
                Ok(())
            }
            (Item::Row(row), Some(_)) => self.row(row),
            _ => Err(RestoreError::Head),
        }
    }

    fn row(&mut self, row: Row) -> Result<(), RestoreError> {
        let (kind, follows) = match &row {
            Row::Key(key, _) => (0, self.base.keys.last().is_none_or(|last| last < key.as_slice())),
            Row::Session(id, _) => (1, follows(&self.sessions, id)),
            Row::Reply(key, _) => (2, follows(&self.replies, key)),
            Row::Forward(origin, _) => (3, follows(&self.forwards, origin)),
            Row::Forwarded(key, _) => (4, follows(&self.forwarded, key)),
            Row::User(name, _) => (5, follows(&self.users, name)),
        };
        if !follows || kind < self.kind {
            return Err(RestoreError::Order(kind));
        }
        self.kind = kind;
        self.found[kind] += 1;
        match row {
            Row::Key(key, record) => self.base.keys.push_last(&key, record),
            Row::Session(id, record) => self.sessions.push((id, record)),
            Row::Reply(key, stored) => self.replies.push((key, stored)),
            Row::Forward(origin, head) => self.forwards.push((origin, head)),
            Row::Forwarded(key, stored) => self.forwarded.push((key, stored)),
            Row::User(name, user) => self.users.push((name, user)),
        }
        Ok(())
    }

    /// The state, once every row has come.
    ///
    /// # Errors
    /// [`RestoreError`] if one is missing.
    pub fn finish(self) -> Result<State, RestoreError> {
        let head = self.head.ok_or(RestoreError::Head)?;
        let wrong = (0..KINDS).find(|kind| head.rows[*kind] != self.found[*kind]);
        if let Some(kind) = wrong {
            return Err(RestoreError::Count { kind, announced: head.rows[kind], found: self.found[kind] });
        }
        let mut base = self.base;
        base.committed = head.committed;
        base.time = head.time;
        base.weight = head.weight;
        base.level = head.level;
        base.founding = head.founding;
        let due_sessions = self.sessions.iter().map(|(id, record)| (session_due(record), *id)).collect();
        let all = base.keys.range(std::ops::Bound::Unbounded);
        let due_keys = all.filter_map(|row| Some((row.deadline()?.due(), row.name().into()))).collect();
        let tail = Tail::new(head.time, head.committed, due_keys, due_sessions);
        base.fill(self.sessions, self.replies, self.forwards, self.forwarded, self.users);
        Ok(State { base, pending: Pending::default(), tail })
    }
}

fn follows<K: Ord, V>(rows: &[(K, V)], key: &K) -> bool {
    rows.last().is_none_or(|(last, _)| last < key)
}
