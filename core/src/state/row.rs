//! The rows of a snapshot: everything that the committed state holds, one row at a time, and their bytes.
//!
//! The bytes depend on the state alone, not on how it came about or where it lies: every node's snapshot of an index
//! is the same, so that a damaged block can be fetched from any other node. `docs/formats.md` has the layout.
//! Decoding believes nothing; an unknown kind of row is an error, never skipped.

use serde::{Deserialize, Serialize};

use super::codec::{EntryError, frame, parse, take_byte, take_number};
use super::effect::Founding;
use super::table::{self, TABLES};
use crate::time::Millis;
use crate::types::Index;

pub use super::table::Row;

/// What a snapshot says before its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last entry in the snapshot.
    pub committed: Index,
    /// Its time.
    pub time: Millis,
    /// The feature level there.
    pub level: u32,
    /// Who founded the cluster.
    pub founding: Option<Founding>,
    /// How much was ever logged, as [`super::State::weight`] counts.
    pub weight: u64,
    /// How many keys follow.
    pub keys: u64,
    /// How many rows of each table follow these, in the order of the tables.
    pub rows: [u64; TABLES],
}

/// A snapshot's items, as they lie in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The first.
    Head(Head),
    /// The rest.
    Row(Row),
}

/// Appends the bytes of the head.
pub fn encode_head(out: &mut Vec<u8>, head: &Head) {
    frame(out, 1, head);
}

/// Appends the bytes of a row.
pub fn encode_row(out: &mut Vec<u8>, row: &Row) {
    table::encode(out, row);
}

/// Takes one item off the front; none if the bytes end before it does.
///
/// # Errors
/// [`EntryError`] if they can't be the beginning of one.
pub fn take_item(bytes: &[u8]) -> Result<Option<(Item, &[u8])>, EntryError> {
    let Ok((kind, rest)) = take_byte(bytes) else { return Ok(None) };
    let Ok((len, rest)) = take_number(rest) else {
        // A length has at most ten bytes.
        return if rest.len() < 10 { Ok(None) } else { Err(EntryError::MalformedEffect { kind }) };
    };
    if len > ITEM_BYTES {
        return Err(EntryError::MalformedEffect { kind });
    }
    let Some((body, rest)) = rest.split_at_checked(len as usize) else { return Ok(None) };
    Ok(Some((decode(kind, body)?, rest)))
}

/// The longest item, in bytes: beyond what any limit lets a row become.
const ITEM_BYTES: u64 = 64 << 20;

fn decode(kind: u8, body: &[u8]) -> Result<Item, EntryError> {
    match kind {
        1 => parse::<Head>(kind, body).map(Item::Head),
        _ => table::decode(kind, body).map(Item::Row),
    }
}
