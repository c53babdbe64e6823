//! The rows of a snapshot: everything that the committed state holds, one row at a time, and their bytes.
//!
//! The bytes depend on the state alone, not on how it came about or where it lies: every node's snapshot of an index
//! is the same, so that a damaged block can be fetched from any other node. `docs/formats.md` has the layout.
//! Decoding believes nothing; an unknown kind of row is an error, never skipped.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codec::{EntryError, frame, parse, take_byte, take_number};
use super::effect::{Answer, Deadline, Founding, StoredReply};
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::access::user::User;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

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
    /// How many rows of each kind follow: keys, sessions, their answers, forwarding nodes, their answers, users.
    pub rows: [u64; KINDS],
}

/// How many kinds of rows there are.
pub const KINDS: usize = 6;

/// One row of the committed state. Kinds come in this order, and each in the order of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// A key.
    Key(Blob, KeyRecord),
    /// A session.
    Session(SessionId, SessionRecord),
    /// An answer that a session keeps, with the index of its entry.
    Reply((SessionId, u64), (Index, Arc<Answer>)),
    /// A node that forwards.
    Forward(Incarnation, ForwardHead),
    /// An answer to a forwarded command, with the index of its entry.
    Forwarded((Incarnation, BootNumber, u64), (Index, Arc<Answer>)),
    /// A user.
    User(Blob, Arc<User>),
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
    match row {
        Row::Key(key, record) => frame(out, 2, &(key, &record.value, record.revision, record.deadline)),
        Row::Session(id, record) => {
            frame(out, 3, &(id, &record.user, record.ttl, record.floor, record.last, record.active));
        }
        Row::Reply(key, (index, reply)) => frame(out, 4, &(key, index, reply.time, &reply.reply)),
        Row::Forward(origin, head) => frame(out, 5, &(origin, head.boot, head.floor, head.last)),
        Row::Forwarded(key, (index, reply)) => frame(out, 6, &(key, index, reply.time, &reply.reply)),
        Row::User(name, user) => frame(out, 7, &(name, &**user)),
    }
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
    Ok(Item::Row(match kind {
        1 => return Ok(Item::Head(parse::<Head>(kind, body)?)),
        2 => {
            let (key, value, revision, deadline) =
                parse::<(Blob, Blob, Index, Option<Deadline>)>(kind, body)?;
            Row::Key(key, KeyRecord { value, revision, deadline })
        }
        3 => {
            let (id, user, ttl, floor, last, active) =
                parse::<(SessionId, Blob, u64, u64, u64, Millis)>(kind, body)?;
            Row::Session(id, SessionRecord { user, ttl, floor, last, active })
        }
        4 => {
            let (key, index, time, reply) =
                parse::<((SessionId, u64), Index, Millis, StoredReply)>(kind, body)?;
            Row::Reply(key, (index, Arc::new(Answer { time, reply })))
        }
        5 => {
            let (origin, boot, floor, last) = parse::<(Incarnation, BootNumber, u64, u64)>(kind, body)?;
            Row::Forward(origin, ForwardHead { boot, floor, last })
        }
        6 => {
            let (key, index, time, reply) =
                parse::<((Incarnation, BootNumber, u64), Index, Millis, StoredReply)>(kind, body)?;
            Row::Forwarded(key, (index, Arc::new(Answer { time, reply })))
        }
        7 => {
            let (name, user) = parse::<(Blob, User)>(kind, body)?;
            Row::User(name, Arc::new(user))
        }
        _ => return Err(EntryError::UnknownEffect { kind }),
    }))
}
