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
    pub rows: Box<[u64; TABLES]>,
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
    let Head { committed, time, level, founding, weight, keys, rows } = head;
    let common = (committed, time, level, founding, weight, keys);
    // The bytes of clusters that use none of the later tables stay what they were.
    match rows.split_first_chunk::<FIRST_TABLES>() {
        Some((first, later)) if later.iter().all(|rows| *rows == 0) => frame(out, 1, &(common, first)),
        _ => {
            // Tables that have no rows are left out at the end, so that a release with more tables writes the same.
            let used = rows.iter().rposition(|rows| *rows > 0).map_or(0, |last| last + 1);
            frame(out, LONG_HEAD, &(common, &rows[..used]));
        }
    }
}

/// How many tables there were when the head was a list of fixed length.
const FIRST_TABLES: usize = 5;

/// The kind of a head that says how many tables it counts.
const LONG_HEAD: u8 = 11;

type Common = (Index, Millis, u32, Option<Founding>, u64, u64);

fn head((committed, time, level, founding, weight, keys): Common, counts: &[u64]) -> Option<Item> {
    let mut rows = Box::new([0; TABLES]);
    rows.get_mut(..counts.len())?.copy_from_slice(counts);
    Some(Item::Head(Head { committed, time, level, founding, weight, keys, rows }))
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
        1 => {
            let (common, counts) = parse::<(Common, [u64; FIRST_TABLES])>(kind, body)?;
            head(common, &counts).ok_or(EntryError::MalformedEffect { kind })
        }
        LONG_HEAD => {
            let (common, counts) = parse::<(Common, Vec<u64>)>(kind, body)?;
            // More tables than this release has.
            head(common, &counts).ok_or(EntryError::UnknownEffect { kind })
        }
        _ => table::decode(kind, body).map(Item::Row),
    }
}
