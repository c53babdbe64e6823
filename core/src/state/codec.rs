//! The bytes of an entry: what the log's record and the peer's frame carry, the same in both.
//!
//! `docs/formats.md` has the layout byte by byte, and golden files in `corpus/formats` pin it. Decoding
//! believes nothing: each length is measured against the bytes that are there before anything is allocated
//! for it, every byte must be accounted for, and an effect of a kind that this release does not know is an
//! error, never skipped.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::data::Kind;
use super::effect::{Cause, Deadline, DeleteCause, Effect, Entry, Founding, StoredReply};
use crate::access::rights::{Holder, Rules};
use crate::access::user::{Pattern, User};
use crate::coordination::claim::{Claim, ClaimKey};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::Limiter;
use crate::coordination::once::Work;
use crate::durability::Leeway;
use crate::membership::{Membership, is_address};
use crate::reply::Outcome;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, LeaseId, NodeId, SessionId};

/// The version of the layout.
const VERSION: u8 = 1;

/// The kind of an effect that names the members.
const MEMBERSHIP: u8 = 25;
const LOCATED: u8 = 26;

/// The fewest bytes that an effect takes: its kind and its body's length.
const EFFECT_MIN: u64 = 2;

/// For so many effects there is room at once, whatever is announced.
const EFFECTS_AT_ONCE: u64 = 8;

/// Bytes of an entry's head, about: version, time, cause, number of effects.
const HEAD_ROOM: usize = 10;
/// Bytes of an effect beside its keys, values and answers, about: kind, lengths, numbers.
const EFFECT_ROOM: usize = 20;

/// Why bytes are no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// The bytes end before the entry does.
    Truncated,
    /// The layout is of a version that this release does not know.
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// The cause is none that this release knows.
    UnknownCause {
        /// The cause found.
        cause: u8,
    },
    /// An effect is of a kind that this release does not know. The node must stop: what it skipped would
    /// be missing from its state for ever.
    UnknownEffect {
        /// The kind found.
        kind: u8,
    },
    /// More effects are announced than the bytes can hold.
    TooManyEffects {
        /// How many are announced.
        count: u64,
    },
    /// The body of an effect does not hold what its kind says.
    MalformedEffect {
        /// The effect's kind.
        kind: u8,
    },
    /// Bytes follow the last effect.
    TrailingBytes {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => {
                write!(f, "the log entry ends too early: it is damaged, fetch it again from a peer")
            }
            Self::UnknownVersion { version } => {
                write!(
                    f,
                    "the log entry has format version {version}, this release reads {VERSION}: run a newer release"
                )
            }
            Self::UnknownCause { cause } => {
                write!(f, "the log entry has the unknown cause {cause}: run a newer release")
            }
            Self::UnknownEffect { kind } => {
                write!(f, "the log entry has an effect of the unknown kind {kind}: run a newer release")
            }
            Self::TooManyEffects { count } => {
                write!(
                    f,
                    "the log entry announces {count} effects, more than its bytes can hold: it is damaged, fetch it again from a peer"
                )
            }
            Self::MalformedEffect { kind } => {
                write!(
                    f,
                    "the log entry's effect of kind {kind} can't be read: it is damaged, fetch it again from a peer"
                )
            }
            Self::TrailingBytes { count } => {
                write!(
                    f,
                    "{count} bytes follow the log entry's last effect: it is damaged, fetch it again from a peer"
                )
            }
        }
    }
}

impl std::error::Error for EntryError {}

impl Entry {
    /// The entry's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let changes = self.effects.iter().any(Effect::concerns_members);
        assert_eq!(changes, self.cause == Cause::Members, "a change of the members is found by its cause");
        // The log in memory holds these bytes until a snapshot covers them: they take no more room than they need.
        let mut out = Vec::with_capacity(self.bytes() + HEAD_ROOM + EFFECT_ROOM * self.effects.len());
        out.push(VERSION);
        write(&mut out, &self.time.0);
        out.push(self.cause as u8);
        write(&mut out, &self.effects.len());
        for effect in &self.effects {
            encode_effect(&mut out, effect);
        }
        out.shrink_to_fit();
        Bytes::from(out)
    }

    /// The entry that these bytes hold, no byte more or less.
    ///
    /// # Errors
    /// [`EntryError`] says what is wrong with them. [`EntryError::UnknownEffect`] is no damage but a newer
    /// release's entry: the node must stop.
    pub fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
        let (time, rest) = take_head(bytes)?;
        let (cause, rest) = take_byte(rest)?;
        let cause = decode_cause(cause)?;
        let (count, mut rest) = take_number(rest)?;
        if count > rest.len() as u64 / EFFECT_MIN {
            return Err(EntryError::TooManyEffects { count });
        }
        let mut effects = Vec::with_capacity(count.min(EFFECTS_AT_ONCE) as usize);
        for _ in 0..count {
            let effect;
            (effect, rest) = take_effect(rest)?;
            effects.push(effect);
        }
        if !rest.is_empty() {
            return Err(EntryError::TrailingBytes { count: rest.len() });
        }
        let changes = effects.iter().any(Effect::concerns_members);
        if changes != (cause == Cause::Members) {
            return Err(EntryError::MalformedEffect { kind: MEMBERSHIP });
        }
        Ok(Entry { time, cause, effects })
    }

    /// The membership that an encoded entry brings. Of most entries only the beginning is read. What can't be read brings none: it is
    /// found out when the entry is to be applied.
    #[must_use]
    pub fn membership(bytes: &Bytes) -> Option<Membership> {
        let effects = Self::on_members(bytes)?.into_iter().rev();
        effects.filter_map(|effect| if let Effect::Membership(it) = effect { Some(it) } else { None }).next()
    }

    /// Where nodes are from an encoded entry on, found in the same way.
    pub fn located(bytes: &Bytes) -> impl Iterator<Item = (NodeId, String)> {
        let effects = Self::on_members(bytes).unwrap_or_default().into_iter();
        effects.filter_map(|effect| match effect {
            Effect::Located { node, address } => Some((node, address?)),
            _ => None,
        })
    }

    /// The effects of an encoded entry that concerns the members.
    fn on_members(bytes: &Bytes) -> Option<Vec<Effect>> {
        let (_, rest) = take_head(bytes).ok()?;
        let concerns = rest.first() == Some(&(Cause::Members as u8));
        if concerns { Some(Entry::decode(bytes).ok()?.effects) } else { None }
    }

    /// The time of an encoded entry, without the rest.
    ///
    /// # Errors
    /// As [`Entry::decode`], as far as it reads.
    pub fn peek_time(bytes: &[u8]) -> Result<Millis, EntryError> {
        take_head(bytes).map(|(time, _)| time)
    }
}

impl Entry {
    /// The time and cause of an encoded entry, without the rest.
    ///
    /// # Errors
    /// As [`Entry::decode`], as far as it reads.
    pub(super) fn peek(bytes: &[u8]) -> Result<(Millis, Cause), EntryError> {
        let (time, rest) = take_head(bytes)?;
        Ok((time, decode_cause(take_byte(rest)?.0)?))
    }
}

/// Version and time.
fn take_head(bytes: &[u8]) -> Result<(Millis, &[u8]), EntryError> {
    let (version, rest) = take_byte(bytes)?;
    if version != VERSION {
        return Err(EntryError::UnknownVersion { version });
    }
    let (time, rest) = take_number(rest)?;
    Ok((Millis(time), rest))
}

fn encode_effect(out: &mut Vec<u8>, effect: &Effect) {
    match effect {
        Effect::Founded(founding) => frame(out, 1, founding),
        Effect::Level(level) => frame(out, 2, level),
        Effect::Put { key, value, deadline } => frame(out, 3, &(key, value, deadline)),
        Effect::Delete { key, cause } => frame(out, 4, &(key, cause)),
        Effect::Redate { key, deadline } => frame(out, 5, &(key, deadline)),
        Effect::SessionOpened { user, ttl } => frame(out, 6, &(user, ttl)),
        Effect::SessionStepped { id, seq, floor, reply } => frame(out, 7, &(id, seq, floor, reply)),
        Effect::SessionEnded { id, cause } => frame(out, 8, &(id, cause)),
        Effect::Forwarded { origin, boot, seq, floor, reply } => {
            frame(out, 9, &(origin, boot, seq, floor, reply));
        }
        Effect::UserPut { name, user } => frame(out, 10, &(name, user)),
        Effect::UserRemoved { name } => frame(out, 11, name),
        Effect::Members { key, kind, changes } => frame(out, 12, &(key, kind, changes)),
        Effect::Moved { from, to } => frame(out, 13, &(from, to)),
        Effect::Limited { name, limiter } => frame(out, 14, &(name, limiter)),
        Effect::Placed { name, holder, until } => frame(out, 15, &(name, holder, until)),
        Effect::Kept { user, id, kept } => frame(out, 16, &(user, id, kept)),
        Effect::Worked { id, work } => frame(out, 17, &(id, work)),
        Effect::Leased { id, lease } => frame(out, 18, &(id, lease)),
        Effect::LeasesSpared => frame(out, 19, &()),
        Effect::Attached { key, lease } => frame(out, 20, &(key, lease)),
        Effect::Claimed { claim, now } => frame(out, 21, &(claim, now)),
        Effect::WaitEnded { id, session, forward, outcome } => {
            frame(out, 22, &(id, session, forward, outcome));
        }
        Effect::Ruled { holder, name, rules } => frame(out, 23, &(holder, name, rules)),
        Effect::Loosened { pattern, leeway } => frame(out, 24, &(pattern, leeway)),
        Effect::Membership(membership) => frame(out, MEMBERSHIP, membership),
        Effect::Located { node, address } => frame(out, LOCATED, &(node, address)),
        Effect::Preferred { node, priority } => frame(out, 27, &(node, priority)),
    }
}

/// The body of an effect of kind 22.
type EndedWait = (Index, Option<(SessionId, u64)>, Option<(Incarnation, BootNumber, u64)>, Outcome);

fn decode_effect(kind: u8, body: &[u8]) -> Result<Effect, EntryError> {
    Ok(match kind {
        1 => {
            let founding = parse::<Founding>(kind, body)?;
            if !Membership::of(founding.members.clone()).is_sound() {
                return Err(EntryError::MalformedEffect { kind });
            }
            Effect::Founded(founding)
        }
        2 => Effect::Level(parse::<u32>(kind, body)?),
        3 => {
            let (key, value, deadline) = parse::<(Blob, Blob, Option<Deadline>)>(kind, body)?;
            Effect::Put { key, value, deadline }
        }
        4 => {
            let (key, cause) = parse::<(Blob, DeleteCause)>(kind, body)?;
            Effect::Delete { key, cause }
        }
        5 => {
            let (key, deadline) = parse::<(Blob, Option<Deadline>)>(kind, body)?;
            Effect::Redate { key, deadline }
        }
        6 => {
            let (user, ttl) = parse::<(Blob, u64)>(kind, body)?;
            Effect::SessionOpened { user, ttl }
        }
        7 => {
            let (id, seq, floor, reply) = parse::<(SessionId, u64, u64, StoredReply)>(kind, body)?;
            Effect::SessionStepped { id, seq, floor, reply }
        }
        8 => {
            let (id, cause) = parse::<(SessionId, DeleteCause)>(kind, body)?;
            Effect::SessionEnded { id, cause }
        }
        9 => {
            let (origin, boot, seq, floor, reply) =
                parse::<(Incarnation, BootNumber, u64, u64, StoredReply)>(kind, body)?;
            Effect::Forwarded { origin, boot, seq, floor, reply }
        }
        10 => {
            let (name, user) = parse::<(Blob, User)>(kind, body)?;
            Effect::UserPut { name, user }
        }
        11 => Effect::UserRemoved { name: parse::<Blob>(kind, body)? },
        12 => {
            let (key, kind, changes) = parse::<(Blob, Kind, Vec<(Blob, Option<Blob>)>)>(kind, body)?;
            Effect::Members { key, kind, changes }
        }
        13 => {
            let (from, to) = parse::<(Blob, Blob)>(kind, body)?;
            Effect::Moved { from, to }
        }
        14 => {
            let (name, limiter) = parse::<(Blob, Option<Limiter>)>(kind, body)?;
            Effect::Limited { name, limiter }
        }
        15 => {
            let (name, holder, until) = parse::<(Blob, Blob, Option<Blob>)>(kind, body)?;
            Effect::Placed { name, holder, until }
        }
        16 => {
            let (user, id, kept) = parse::<(Blob, Blob, Option<(StoredReply, Millis)>)>(kind, body)?;
            Effect::Kept { user, id, kept }
        }
        17 => {
            let (id, work) = parse::<(Blob, Option<Work>)>(kind, body)?;
            Effect::Worked { id, work }
        }
        18 => {
            let (id, lease) = parse::<(LeaseId, Option<Lease>)>(kind, body)?;
            Effect::Leased { id, lease }
        }
        19 => {
            parse::<()>(kind, body)?;
            Effect::LeasesSpared
        }
        20 => {
            let (key, lease) = parse::<(Blob, Option<LeaseId>)>(kind, body)?;
            Effect::Attached { key, lease }
        }
        21 => {
            let (claim, now) = parse::<(ClaimKey, Option<Claim>)>(kind, body)?;
            Effect::Claimed { claim, now }
        }
        22 => {
            let (id, session, forward, outcome) = parse::<EndedWait>(kind, body)?;
            Effect::WaitEnded { id, session, forward, outcome }
        }
        23 => {
            let (holder, name, rules) = parse::<(Holder, Blob, Option<Rules>)>(kind, body)?;
            Effect::Ruled { holder, name, rules }
        }
        24 => {
            let (pattern, leeway) = parse::<(Pattern, Option<Leeway>)>(kind, body)?;
            Effect::Loosened { pattern, leeway }
        }
        MEMBERSHIP => {
            let membership = parse::<Membership>(kind, body)?;
            if !membership.is_sound() {
                return Err(EntryError::MalformedEffect { kind });
            }
            Effect::Membership(membership)
        }
        LOCATED => {
            let (node, address) = parse::<(NodeId, Option<String>)>(kind, body)?;
            if !address.as_deref().is_none_or(is_address) {
                return Err(EntryError::MalformedEffect { kind });
            }
            Effect::Located { node, address }
        }
        27 => {
            let (node, priority) = parse::<(NodeId, u32)>(kind, body)?;
            Effect::Preferred { node, priority }
        }
        _ => return Err(EntryError::UnknownEffect { kind }),
    })
}

fn decode_cause(cause: u8) -> Result<Cause, EntryError> {
    [Cause::TermStart, Cause::Command, Cause::Expiry, Cause::Clock, Cause::System, Cause::Members]
        .into_iter()
        .find(|known| *known as u8 == cause)
        .ok_or(EntryError::UnknownCause { cause })
}

/// Kind, length of the body, body.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, body: &impl Serialize) {
    let len = postcard::experimental::serialized_size(body).expect("an effect has a size");
    out.push(kind);
    write(out, &len);
    let start = out.len();
    write(out, body);
    assert_eq!(out.len() - start, len, "an effect is as long as it says");
}

/// Writes in the format of postcard.
fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    postcard::serialize_with_flavor(value, Memory(out)).expect("memory takes whatever is written");
}

/// Where postcard writes to: the end of what is there.
struct Memory<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Memory<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

fn take_effect(bytes: &[u8]) -> Result<(Effect, &[u8]), EntryError> {
    let (kind, rest) = take_byte(bytes)?;
    let (len, rest) = take_number(rest)?;
    let (body, rest) =
        usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(EntryError::Truncated)?;
    Ok((decode_effect(kind, body)?, rest))
}

/// The whole body, or nothing.
pub(super) fn parse<'b, T: Deserialize<'b>>(kind: u8, body: &'b [u8]) -> Result<T, EntryError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(EntryError::MalformedEffect { kind }),
    }
}

pub(super) fn take_byte(bytes: &[u8]) -> Result<(u8, &[u8]), EntryError> {
    let (byte, rest) = bytes.split_first().ok_or(EntryError::Truncated)?;
    Ok((*byte, rest))
}

pub(super) fn take_number(bytes: &[u8]) -> Result<(u64, &[u8]), EntryError> {
    postcard::take_from_bytes(bytes).map_err(|_| EntryError::Truncated)
}
