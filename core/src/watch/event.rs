//! A change, as a client sees it: a map. Knows nobody's rights.

use super::Type;
use crate::reply::Value;
use crate::state::KeyRecord;
use crate::state::changed::{Changed, How};
use crate::state::data::{Data, Kind, Members};
use crate::time::Millis;
use crate::types::{Blob, Index};

/// How much of a change is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What the key is and was.
    Previous,
    /// What the key is.
    Present,
    /// Only that it was changed: the changes of one position are together too large for an answer.
    Bare,
}

/// The event of a change at this position and time.
///
/// | name | what |
/// |---|---|
/// | `type` | `created`, `modified`, `deleted` or `expired` |
/// | `key` | the key |
/// | `revision` | the position of the change |
/// | `time` | the cluster's time there, in milliseconds |
/// | `kind` | `string` or `hash`; of what is gone, what it was |
/// | `value` | a string's bytes |
/// | `fields` | a hash's fields; of a change of some fields only these, and nil for those that are gone |
/// | `partial` | 1 if there are other fields |
/// | `expires_at` | the cluster's time in milliseconds from which it may go, if it has one |
/// | `previous`, `previous_fields` | the same as it was before, if that was asked for |
/// | `previous_revision` | the position of the change before |
/// | `left_out` | 1 if values are not shown for want of room |
#[must_use]
pub fn event(revision: Index, time: Millis, changed: &Changed, detail: Detail) -> Value {
    let mut pairs: Vec<(String, Value)> = Vec::with_capacity(10);
    let mut add = |name: &str, value: Value| pairs.push((name.to_owned(), value));
    add("type", Value::Bytes(Type::of(changed).name().into()));
    add("key", Value::Bytes(changed.key.clone()));
    add("revision", number(revision.0));
    add("time", number(time.0));
    let Changed { before, after, how, .. } = changed;
    if let Some(record) = after.as_ref().or(before.as_ref()) {
        add("kind", Value::Bytes(record.data.kind().name().into()));
    }
    if let Some(record) = after {
        if detail != Detail::Bare {
            show(&mut add, ("value", "fields"), record, how);
            if is_partial(record, how) {
                add("partial", Value::Int(1));
            }
        }
        if let Some(deadline) = record.deadline {
            add("expires_at", number(deadline.at.0));
        }
    }
    if let Some(record) = before {
        if detail == Detail::Previous {
            show(&mut add, ("previous", "previous_fields"), record, how);
        }
        add("previous_revision", number(record.revision.0));
    }
    if detail == Detail::Bare {
        add("left_out", Value::Int(1));
    }
    Value::Map(pairs)
}

fn show(add: &mut impl FnMut(&str, Value), (string, fields): (&str, &str), record: &KeyRecord, how: &How) {
    match (&record.data, how) {
        (Data::String(value), _) => add(string, Value::Bytes(value.clone())),
        (Data::Hash(members), How::Members(names)) => {
            let field = |name: &Blob| {
                (Value::Bytes(name.clone()), members.get(name).map_or(Value::Nil, Value::Bytes))
            };
            add(fields, Value::Pairs(names.iter().map(field).collect()));
        }
        (Data::Hash(members), How::Whole | How::Kept | How::Expired) => {
            let field =
                |(name, value): (&[u8], &[u8])| (Value::Bytes(name.into()), Value::Bytes(value.into()));
            add(fields, Value::Pairs(members.iter().map(field).collect()));
        }
    }
}

fn is_partial(record: &KeyRecord, how: &How) -> bool {
    record.data.kind() == Kind::Hash && matches!(how, How::Members(_))
}

/// About the bytes that a change holds in memory. A large collection shares what did not change with the state.
#[must_use]
pub fn weight(changed: &Changed) -> usize {
    let Changed { key, before, after, how } = changed;
    let records = [before, after].into_iter().flatten().map(|record| match (&record.data, how) {
        (Data::Hash(members), How::Members(names)) => {
            // Of a large one a change of a member holds a path of its tree.
            let path = if members.bytes() > SMALL { PATH } else { 0 };
            names.iter().map(|name| named(members, name) + path + OVERHEAD).sum()
        }
        (Data::Hash(members), How::Kept) if members.bytes() > SMALL => OVERHEAD,
        (data, _) => data.bytes(),
    });
    OVERHEAD + key.len() + records.sum::<usize>()
}

/// About the bytes that a change takes in an answer, told without making it.
#[must_use]
pub fn size_of(changed: &Changed, previous: bool) -> usize {
    let Changed { key, before, after, how } = changed;
    let records =
        after.iter().chain(before.iter().filter(|_| previous)).map(|record| match (&record.data, how) {
            (Data::Hash(members), How::Members(names)) => names.iter().map(|name| named(members, name)).sum(),
            (data, _) => data.bytes(),
        });
    key.len() + records.sum::<usize>()
}

/// Of every change, beside what is in it: itself, its position, and what the allocator adds to each of its parts.
const OVERHEAD: usize = std::mem::size_of::<Changed>() + 160;
/// Collections of so many bytes are copied when they change, and larger ones share.
const SMALL: usize = 1_024;
/// A path of a large collection's tree.
const PATH: usize = 4_096;

fn named(members: &Members, name: &Blob) -> usize {
    name.len() + members.get(name).map_or(0, |value| value.len())
}

fn number(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}
