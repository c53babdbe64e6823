//! The tables beside the keys: one list of them, and whatever follows from the list.
//!
//! A table has a key and a value. From its line in the list come its committed rows, its layer in pending and in drafts, its
//! section of a snapshot in the making, its rows there and their bytes, and its part of the digest. What a table's rows are
//! *for* is elsewhere: `apply.rs` changes them, `view.rs` reads them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::capture::{Budget, Section, Size};
use super::codec::{EntryError, frame, parse};
use super::data::{Data, Kind, Members};
use super::effect::{Answer, Deadline};
use super::hanging::{claim_changed, key_lease_changed, lease_changed};
use super::overlay::Layer;
use super::tail::Tail;
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::access::rights::{Holder, Rules};
use crate::access::user::{Pattern, User};
use crate::coordination::claim::{Claim, ClaimKey};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::Limiter;
use crate::coordination::once::{Kept, Work};
use crate::durability::Leeway;
use crate::membership::Membership;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, LeaseId, NodeId, SessionId};

/// An answer with the index of the entry that stored it.
pub type Stored = (Index, Arc<Answer>);

/// A table beside the keys. Its type stands for it and is never made.
pub(super) trait Table {
    type Key: Ord + Clone + Size + Serialize + 'static;
    type Value: Clone + Size + Serialize + 'static;
    /// Whether anything is kept about the rows, base and pending taken together, and so has to be told what was there
    /// before.
    const INDEXED: bool;
    /// Whether a row only counts what somebody has asked for: every command of a session, or of a node that forwards, changes
    /// its header.
    const COUNTS: bool;
    /// A row is another one since this entry; `None` stands for no row.
    fn changed(
        tail: &mut Tail,
        key: &Self::Key,
        old: Option<&Self::Value>,
        new: Option<&Self::Value>,
        at: Index,
    );
    fn committed(tables: &Committed) -> &BTreeMap<Self::Key, Self::Value>;
    fn committed_mut(tables: &mut Committed) -> &mut BTreeMap<Self::Key, Self::Value>;
    fn layer(layers: &Layers) -> &Layer<Self::Key, Self::Value>;
    fn layer_mut(layers: &mut Layers) -> &mut Layer<Self::Key, Self::Value>;
    fn section(sections: &mut Sections) -> &mut Section<Self::Key, Self::Value>;
}

/// Declares the tables: field and type, key and value, the kind of their rows in a snapshot's bytes, those rows' name, and
/// for some what keeps count of changes, base and pending taken together.
/// Kinds grow, and are never reused: rows come in the order of this list.
macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident: $table:ident($key:ty => $value:ty) = $kind:literal, $row:ident $(, $hook:path)?;)*) => {
        $($(#[$doc])* #[derive(Debug)] pub(super) enum $table {})*

        $(impl Table for $table {
            type Key = $key;
            type Value = $value;
            const INDEXED: bool = !<[&str]>::is_empty(&[$(stringify!($hook))?]);
            const COUNTS: bool = matches!(stringify!($field).as_bytes(), b"sessions" | b"forwards");

            fn changed(tail: &mut Tail, key: &$key, old: Option<&$value>, new: Option<&$value>, at: Index) {
                let _ = (&tail, key, old, new, at);
                $($hook(tail, key, old, new, at);)?
            }

            fn committed(tables: &Committed) -> &BTreeMap<$key, $value> {
                &tables.$field
            }

            fn committed_mut(tables: &mut Committed) -> &mut BTreeMap<$key, $value> {
                &mut tables.$field
            }

            fn layer(layers: &Layers) -> &Layer<$key, $value> {
                &layers.$field
            }

            fn layer_mut(layers: &mut Layers) -> &mut Layer<$key, $value> {
                &mut layers.$field
            }

            fn section(sections: &mut Sections) -> &mut Section<$key, $value> {
                &mut sections.$field
            }
        })*

        /// The committed rows.
        #[derive(Clone, Default)]
        pub(super) struct Committed { $($field: BTreeMap<$key, $value>,)* }

        /// The rows of an overlay.
        #[derive(Clone, Default)]
        pub(super) struct Layers { $($field: Layer<$key, $value>,)* }

        /// What a snapshot in the making keeps of each.
        #[derive(Clone, Debug)]
        pub(super) struct Sections { $($field: Section<$key, $value>,)* }

        /// One row of the committed state. Kinds come in this order, and each in the order of its key.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Row {
            /// A key, with all that it holds.
            Key(Blob, KeyRecord),
            /// A key with the first members of a large collection, and how many there are.
            Begun(Blob, KeyRecord, u64),
            /// The next members of the key before.
            More(Vec<(Blob, Blob)>),
            $($(#[$doc])* $row($key, $value),)*
        }

        /// The tables' names, in the order of their rows.
        const NAMES: &[&str] = &[$(stringify!($field),)*];

        impl Committed {
            /// How many rows each table has.
            pub(super) fn counts(&self) -> [u64; TABLES] {
                [$(self.$field.len() as u64,)*]
            }

            /// Hands every row to a hash, after the number of them.
            pub(super) fn walk(&self, walk: &mut impl Walk) {
                $(
                    walk.number(self.$field.len() as u64);
                    self.$field.iter().for_each(|row| walk.record(&row));
                )*
            }

            /// Adds a row of a snapshot behind the others of its table, and says which table that is; none if it does not
            /// come behind them.
            pub(super) fn push(&mut self, row: Row) -> Option<usize> {
                match row {
                    Row::Key(..) | Row::Begun(..) | Row::More(..) => None,
                    $(Row::$row(key, value) => {
                        let follows = self.$field.last_key_value().is_none_or(|(last, _)| *last < key);
                        if follows {
                            self.$field.insert(key, value);
                        }
                        follows.then(|| table_number(stringify!($field)))
                    })*
                }
            }

            /// Tells the tail of every row: what is known about it is built from nothing.
            pub(super) fn index(&self, tail: &mut Tail, at: Index) {
                $(if $table::INDEXED {
                    self.$field.iter().for_each(|(key, value)| $table::changed(tail, key, None, Some(value), at));
                })*
            }
        }

        impl Layers {
            /// How many rows there are.
            pub(super) fn len(&self) -> usize {
                0 $(+ self.$field.len())*
            }

            /// Tells the tail that all rows here are no longer so, and what lies below counts again.
            pub(super) fn drop_from(&self, tail: &mut Tail, below: &Committed, at: Index) {
                $(if $table::INDEXED {
                    for (key, row) in self.$field.iter() {
                        $table::changed(tail, key, row.value.as_ref(), below.$field.get(key), at);
                    }
                })*
            }
        }

        impl Sections {
            pub(super) fn new() -> Self {
                Self { $($field: Section::new(),)* }
            }

            /// What the rows that were kept take, in bytes.
            pub(super) fn bytes(&self) -> usize {
                0 $(+ self.$field.bytes())*
            }

            /// The next rows of all tables, and whether these were the last.
            pub(super) fn slice(&mut self, tables: &Committed, budget: &mut Budget, out: &mut Vec<Row>) -> bool {
                let mut done = true;
                $(
                    if let Some(from) = self.$field.from() {
                        let rows = tables.$field.range((from, Bound::Unbounded));
                        self.$field.walk(rows, budget, |key, value| {
                            out.push(Row::$row(key, value));
                            true
                        });
                    }
                    done &= self.$field.from().is_none();
                )*
                done
            }
        }

        /// Appends the bytes of a row of a table.
        pub(super) fn encode(out: &mut Vec<u8>, row: &Row) {
            match row {
                Row::Key(key, record) => encode_key(out, key, record, None),
                Row::Begun(key, record, count) => encode_key(out, key, record, Some(*count)),
                Row::More(members) => frame(out, MORE, members),
                $(Row::$row(key, value) => frame(out, $kind, &(key, value)),)*
            }
        }

        /// The row of this kind in these bytes.
        pub(super) fn decode(kind: u8, body: &[u8]) -> Result<Row, EntryError> {
            Ok(match kind {
                KEY => {
                    let (key, value, revision, deadline) = parse(kind, body)?;
                    Row::Key(key, KeyRecord { data: Data::String(value), revision, deadline })
                }
                COLLECTION => decode_collection(body)?,
                MORE => Row::More(parse(kind, body)?),
                $($kind => {
                    let (key, value) = parse::<($key, $value)>(kind, body)?;
                    Row::$row(key, value)
                })*
                _ => return Err(EntryError::UnknownEffect { kind }),
            })
        }
    };
}

tables! {
    /// Sessions, without the answers that they keep.
    sessions: Sessions(SessionId => SessionRecord) = 3, Session, session_changed;
    /// The answers that sessions keep, by session and sequence.
    replies: Replies((SessionId, u64) => Stored) = 4, Reply;
    /// The nodes that forward.
    forwards: Forwards(Incarnation => ForwardHead) = 5, Forward;
    /// The answers to forwarded commands, by origin, boot and number.
    forwarded: ForwardedReplies((Incarnation, BootNumber, u64) => Stored) = 6, Forwarded;
    /// Users, by name.
    users: Users(Blob => Arc<User>) = 7, User;
    /// Rate limiters, by name.
    limiters: Limiters(Blob => Limiter) = 10, Limiter, limiter_changed;
    /// Answers to commands that were executed under an idempotency id, by user and id.
    answers: Answers((Blob, Blob) => Kept) = 12, Answer, answer_changed;
    /// Work outside of the database, by its id.
    works: Works(Blob => Work) = 13, Work, work_changed;
    /// Leases.
    leases: Leases(LeaseId => Lease) = 14, Lease, lease_changed;
    /// The keys that hang on a lease, and on which.
    key_leases: KeyLeases(Blob => LeaseId) = 15, KeyLease, key_lease_changed;
    /// Claims, held and waiting.
    claims: Claims(ClaimKey => Claim) = 16, Claim, claim_changed;
    /// When a new leader last renewed all leases. One row at most.
    spared: Spared(() => Millis) = 17, Spared;
    /// Rules of users and roles.
    rules: RulesOf((Holder, Blob) => Arc<Rules>) = 18, Rules;
    /// How far answers to writes of some keys may run ahead of their durability.
    leeways: Leeways(Pattern => Leeway) = 19, Leeway;
    /// The members, if they ever were others than the founders. One row at most.
    memberships: Memberships(() => Membership) = 20, Membership;
    /// Where nodes are reached, as far as an operator has said so. At most one of each member.
    addresses: Addresses(NodeId => String) = 21, Address;
    /// Which nodes had rather lead than others. At most one of each member, and never zero.
    priorities: Priorities(NodeId => u32) = 22, Priority;
}

/// The kinds of keys' rows in a snapshot's bytes: a string, a collection, and more members of one.
const KEY: u8 = 2;
const COLLECTION: u8 = 8;
const MORE: u8 = 9;

/// With `count`, the collection has so many members, and those that are not in the record follow.
fn encode_key(out: &mut Vec<u8>, key: &Blob, record: &KeyRecord, count: Option<u64>) {
    let KeyRecord { data, revision, deadline } = record;
    match data {
        Data::String(value) => frame(out, KEY, &(key, value, revision, deadline)),
        Data::Hash(members) => {
            let count = count.unwrap_or(members.len() as u64);
            frame(out, COLLECTION, &(key, data.kind(), revision, deadline, count, members));
        }
    }
}

fn decode_collection(body: &[u8]) -> Result<Row, EntryError> {
    let malformed = EntryError::MalformedEffect { kind: COLLECTION };
    let (key, kind, revision, deadline, count, members) =
        parse::<(Blob, Kind, Index, Option<Deadline>, u64, Members)>(COLLECTION, body)?;
    let here = members.len() as u64;
    let data = Data::collection(kind, members).filter(|_| (1..=count).contains(&here)).ok_or(malformed)?;
    let record = KeyRecord { data, revision, deadline };
    Ok(if here == count { Row::Key(key, record) } else { Row::Begun(key, record, count) })
}

/// How many tables there are.
pub(super) const TABLES: usize = NAMES.len();

fn table_number(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).expect("a table has a name")
}

/// What takes the rows for a digest.
pub(super) trait Walk {
    fn number(&mut self, number: u64);
    fn record(&mut self, record: &impl Serialize);
}

/// An answer is another one; none stands for no answer.
fn answer_changed(tail: &mut Tail, id: &(Blob, Blob), old: Option<&Kept>, new: Option<&Kept>, _: Index) {
    tail.answers.changed(id, old.map(|old| old.until), new.map(|new| new.until));
}

/// Work is another; none stands for no work.
fn work_changed(tail: &mut Tail, id: &Blob, old: Option<&Work>, new: Option<&Work>, _: Index) {
    tail.works.changed(id, old.map(|old| old.until), new.map(|new| new.until));
}

/// A limiter is another one; none stands for no limiter.
fn limiter_changed(tail: &mut Tail, name: &Blob, old: Option<&Limiter>, new: Option<&Limiter>, _: Index) {
    tail.limiters.changed(name, old.map(Limiter::until), new.map(Limiter::until));
}

/// A session is another one; none stands for no session.
fn session_changed(
    tail: &mut Tail,
    id: &SessionId,
    old: Option<&SessionRecord>,
    new: Option<&SessionRecord>,
    at: Index,
) {
    tail.session_changed(*id, old, new, at);
}
