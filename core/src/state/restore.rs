//! Builds a state from the rows of a snapshot. Every row must come in its order and every one that the head announces
//! must come; what is known about the rows together (what is due, whose sessions) is built in one go at the end.

use std::cmp::Ordering;
use std::fmt;

use super::base::Base;
use super::data::Data;
use super::row::{Head, Item, Row};
use super::table::TABLES;
use super::tail::Tail;
use super::{KeyRecord, Pending, State};
use crate::types::Blob;

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

/// Kinds of rows: the keys, and the tables after them.
const KINDS: usize = 1 + TABLES;

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
    /// A key whose members are still coming, and how many there are.
    begun: Option<(Blob, KeyRecord, u64)>,
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
        Self { base: Base::new(hash_seed), head: None, kind: 0, found: [0; KINDS], begun: None }
    }

    /// Takes the next item.
    ///
    /// # Errors
    /// [`RestoreError`] if it can't come next.
    pub fn item(&mut self, item: Item) -> Result<(), RestoreError> {
        match (item, &self.head) {
            (Item::Head(head), None) => {
                self.base.keys.reserve(head.keys.min(MOST_RESERVED) as usize);
                self.head = Some(head);
                Ok(())
            }
            (Item::Row(row), Some(_)) => self.row(row),
            _ => Err(RestoreError::Head),
        }
    }

    fn row(&mut self, row: Row) -> Result<(), RestoreError> {
        let kind = match row {
            Row::More(members) => return self.more(&members),
            _ if self.begun.is_some() => return Err(RestoreError::Order(0)),
            Row::Begun(key, record, count) => {
                self.key_follows(&key)?;
                self.begun = Some((key, record, count));
                return Ok(());
            }
            Row::Key(key, record) => {
                self.key_follows(&key)?;
                self.base.keys.push_last(&key, record);
                0
            }
            row => {
                let table = self.base.tables.push(row).ok_or(RestoreError::Order(self.kind))?;
                1 + table
            }
        };
        if kind < self.kind {
            return Err(RestoreError::Order(kind));
        }
        self.kind = kind;
        self.found[kind] += 1;
        Ok(())
    }

    fn key_follows(&self, key: &[u8]) -> Result<(), RestoreError> {
        let follows = self.kind == 0 && self.base.keys.last().is_none_or(|last| last < key);
        follows.then_some(()).ok_or(RestoreError::Order(0))
    }

    /// More members of the key that was begun. With the last of them the key is there.
    fn more(&mut self, more: &[(Blob, Blob)]) -> Result<(), RestoreError> {
        let (key, record, count) = self.begun.take().ok_or(RestoreError::Order(0))?;
        let mut members = record.data.members().cloned().ok_or(RestoreError::Order(0))?;
        let kind = record.data.kind();
        if more.is_empty() || !more.iter().all(|(name, value)| members.push_last(name, value)) {
            return Err(RestoreError::Order(0));
        }
        let here = members.len() as u64;
        let data = Data::collection(kind, members).ok_or(RestoreError::Order(0))?;
        let record = KeyRecord { data, ..record };
        match here.cmp(&count) {
            Ordering::Less => self.begun = Some((key, record, count)),
            Ordering::Equal => {
                self.base.keys.push_last(&key, record);
                self.found[0] += 1;
            }
            Ordering::Greater => return Err(RestoreError::Order(0)),
        }
        Ok(())
    }

    /// The state, once every row has come.
    ///
    /// # Errors
    /// [`RestoreError`] if one is missing.
    pub fn finish(self) -> Result<State, RestoreError> {
        let head = self.head.ok_or(RestoreError::Head)?;
        if self.begun.is_some() {
            return Err(RestoreError::Order(0));
        }
        let announced: Vec<u64> = [head.keys].into_iter().chain(*head.rows).collect();
        if let Some(kind) = (0..KINDS).find(|kind| announced[*kind] != self.found[*kind]) {
            return Err(RestoreError::Count { kind, announced: announced[kind], found: self.found[kind] });
        }
        let mut base = self.base;
        base.committed = head.committed;
        base.time = head.time;
        base.weight = head.weight;
        base.level = head.level;
        base.founding = head.founding;
        let all = base.keys.range(std::ops::Bound::Unbounded);
        let due_keys = all.filter_map(|row| Some((row.deadline()?.due(), row.name().into()))).collect();
        let mut tail = Tail::new(head.time, due_keys);
        // The snapshot's index stands for all that came before.
        base.tables.index(&mut tail, head.committed);
        Ok(State { base, pending: Pending::default(), tail })
    }
}
