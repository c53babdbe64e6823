//! What each effect does to rows. Written once, for every layer: the fold into the base, the pending layer
//! and a command's draft differ only in where a row is written, never in what it becomes.
//!
//! Nothing here fails or decides. An effect that finds nothing to change (a redate of a missing key, a step
//! of an unknown session) changes nothing, in every layer and on every replica alike.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::data::{Data, Kind, Members};
use super::effect::{Answer, Deadline, Effect, Founding, StoredReply};
use super::table::{
    Addresses, Answers, Claims, ForwardedReplies, Forwards, KeyLeases, Leases, Leeways, Limiters,
    Memberships, Priorities, Replies, RulesOf, Sessions, Spared, Stored, Table, Users, Works,
};
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::coordination::limiter::{Limiter, time_of};
use crate::coordination::once::Kept;
use crate::reply::Outcome;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// A layer, seen through what effects need of it. Reads see the layer over all that lies below.
pub(super) trait Rows {
    fn key(&mut self, key: &[u8]) -> Option<KeyRecord>;
    fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>);
    fn get<T: Table>(&mut self, key: &T::Key) -> Option<T::Value>;
    fn set<T: Table>(&mut self, key: &T::Key, value: Option<T::Value>);

    /// Keeps an answer.
    fn keep<T: Table<Value = Stored>>(&mut self, key: &T::Key, make: impl FnOnce() -> Stored) {
        self.set::<T>(key, Some(make()));
    }

    /// A key hangs on no lease any more.
    fn detach(&mut self, key: &Blob) {
        if self.get::<KeyLeases>(key).is_some() {
            self.set::<KeyLeases>(key, None);
        }
    }

    /// These answers can't be asked for any more: a header guards them, which never goes back.
    fn release<T: Table>(&mut self, range: RangeInclusive<T::Key>);
    fn set_level(&mut self, level: u32);
    fn set_founding(&mut self, founding: &Founding);
}

/// Where an effect stands in the log.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Its entry's index.
    pub(super) index: Index,
    /// Its entry's time.
    pub(super) time: Millis,
}

/// Makes one effect true of a layer.
pub(super) fn apply(rows: &mut impl Rows, place: Place, effect: &Effect) {
    match effect {
        Effect::Founded(founding) => rows.set_founding(founding),
        Effect::Level(level) => rows.set_level(*level),
        Effect::Put { key, value, deadline } => {
            let data = Data::String(value.clone());
            rows.set_key(key, Some(KeyRecord { data, revision: place.index, deadline: *deadline }));
            rows.detach(key);
        }
        Effect::Delete { key, cause: _ } => {
            rows.set_key(key, None);
            rows.detach(key);
        }
        Effect::Redate { key, deadline } => redate(rows, place, key, *deadline),
        Effect::Members { key, kind, changes } => change_members(rows, place, key, *kind, changes),
        Effect::Moved { from, to } => {
            if let Some(record) = rows.key(from) {
                let lease = rows.get::<KeyLeases>(from);
                rows.set_key(from, None);
                rows.detach(from);
                rows.set_key(to, Some(KeyRecord { revision: place.index, ..record }));
                rows.detach(to);
                if lease.is_some() {
                    rows.set::<KeyLeases>(to, lease);
                }
            }
        }
        Effect::Limited { name, limiter } => rows.set::<Limiters>(name, limiter.clone()),
        Effect::Placed { name, holder, until } => {
            let mut places = match rows.get::<Limiters>(name) {
                Some(Limiter::Places(places)) => places,
                _ => Members::default(),
            };
            // The others' time may have passed: nobody can tell, and whoever looks takes them for gone.
            places.retain(|until| time_of(until) > place.time);
            places.set(holder, until.as_ref());
            let limiter = Some(places).filter(|places| !places.is_empty()).map(Limiter::Places);
            rows.set::<Limiters>(name, limiter);
        }
        Effect::Kept { user, id, kept } => {
            let kept =
                kept.as_ref().map(|(reply, until)| Kept { stored: stored(place, reply), until: *until });
            rows.set::<Answers>(&(user.clone(), id.clone()), kept);
        }
        Effect::Worked { id, work } => rows.set::<Works>(id, work.clone()),
        Effect::Leased { id, lease } => rows.set::<Leases>(id, lease.clone()),
        Effect::LeasesSpared => rows.set::<Spared>(&(), Some(place.time)),
        Effect::Attached { key, lease } => rows.set::<KeyLeases>(key, *lease),
        Effect::Claimed { claim, now } => rows.set::<Claims>(claim, now.clone()),
        Effect::WaitEnded { id: _, session, forward, outcome } => {
            if let Some((id, seq)) = session
                && rows.get::<Sessions>(id).is_some_and(|record| *seq > record.floor)
            {
                answer_anew::<Replies>(rows, place, &(*id, *seq), outcome);
            }
            if let Some((origin, boot, seq)) = forward
                && rows.get::<Forwards>(origin).is_some_and(|head| head.boot == *boot && *seq > head.floor)
            {
                answer_anew::<ForwardedReplies>(rows, place, &(*origin, *boot, *seq), outcome);
            }
        }
        Effect::SessionOpened { user, ttl } => {
            let record =
                SessionRecord { user: user.clone(), ttl: *ttl, floor: 0, last: 0, active: place.time };
            let id = SessionId(place.index.0);
            rows.set::<Sessions>(&id, Some(record));
            release_replies(rows, id, u64::MAX);
        }
        Effect::SessionStepped { id, seq, floor, reply } => {
            step_session(rows, place, *id, *seq, *floor, reply);
        }
        Effect::SessionEnded { id, cause: _ } => {
            rows.set::<Sessions>(id, None);
            release_replies(rows, *id, u64::MAX);
        }
        Effect::Forwarded { origin, boot, seq, floor, reply } => {
            forwarded(rows, place, (*origin, *boot, *seq), *floor, reply);
        }
        Effect::Ruled { holder, name, rules } => {
            rows.set::<RulesOf>(&(*holder, name.clone()), rules.clone().map(Arc::new));
        }
        Effect::Loosened { pattern, leeway } => rows.set::<Leeways>(pattern, *leeway),
        Effect::Membership(membership) => rows.set::<Memberships>(&(), Some(membership.clone())),
        Effect::Located { node, address } => rows.set::<Addresses>(node, address.clone()),
        Effect::Preferred { node, priority } => {
            rows.set::<Priorities>(node, Some(*priority).filter(|priority| *priority > 0));
        }
        Effect::UserPut { name, user } => rows.set::<Users>(name, Some(Arc::new(user.clone()))),
        Effect::UserRemoved { name } => rows.set::<Users>(name, None),
    }
}

fn redate(rows: &mut impl Rows, place: Place, key: &Blob, deadline: Option<Deadline>) {
    if let Some(record) = rows.key(key) {
        rows.set_key(key, Some(KeyRecord { revision: place.index, deadline, ..record }));
    }
}

/// The key keeps its deadline. Where there was none, or something of another kind, a new one begins; without members it
/// goes.
fn change_members(
    rows: &mut impl Rows,
    place: Place,
    key: &Blob,
    kind: Kind,
    changes: &[(Blob, Option<Blob>)],
) {
    let (mut members, deadline) = match rows.key(key) {
        Some(KeyRecord { data, deadline, .. }) if data.kind() == kind => {
            (data.members().cloned().unwrap_or_default(), deadline)
        }
        _ => (Members::default(), None),
    };
    for (name, value) in changes {
        members.set(name, value.as_ref());
    }
    let data = Some(members).filter(|members| !members.is_empty());
    let data = data.and_then(|members| Data::collection(kind, members));
    if data.is_none() {
        rows.detach(key);
    }
    rows.set_key(key, data.map(|data| KeyRecord { data, revision: place.index, deadline }));
}

/// The answer under this number, which its header lets be asked for, is another one: the one before said that it would
/// come.
fn answer_anew<T: Table<Value = Stored>>(
    rows: &mut impl Rows,
    place: Place,
    number: &T::Key,
    outcome: &Outcome,
) {
    if let Some((_, before)) = rows.get::<T>(number) {
        let reply = StoredReply { outcome: outcome.clone(), digest: before.digest };
        rows.keep::<T>(number, || stored(place, &reply));
    }
}

fn step_session(
    rows: &mut impl Rows,
    place: Place,
    id: SessionId,
    seq: u64,
    floor: u64,
    reply: &StoredReply,
) {
    let Some(mut record) = rows.get::<Sessions>(&id) else { return };
    // Commands of a session may be logged in another order than their numbers: neither figure goes back.
    record.floor = record.floor.max(floor);
    record.last = record.last.max(seq);
    record.active = place.time;
    let through = record.floor;
    rows.set::<Sessions>(&id, Some(record));
    if seq > through {
        rows.keep::<Replies>(&(id, seq), || stored(place, reply));
    }
    release_replies(rows, id, through);
}

fn release_replies(rows: &mut impl Rows, id: SessionId, through: u64) {
    rows.release::<Replies>((id, 0)..=(id, through));
}

fn stored(place: Place, reply: &StoredReply) -> Stored {
    (place.index, Arc::new(Answer { time: place.time, reply: reply.clone() }))
}

fn forwarded(
    rows: &mut impl Rows,
    place: Place,
    number: (Incarnation, BootNumber, u64),
    floor: u64,
    reply: &StoredReply,
) {
    let (origin, boot, seq) = number;
    let head = match rows.get::<Forwards>(&origin) {
        Some(head) if head.boot > boot => return,
        Some(head) if head.boot == boot => {
            ForwardHead { boot, floor: head.floor.max(floor), last: head.last.max(seq) }
        }
        Some(_) | None => ForwardHead { boot, floor, last: seq },
    };
    rows.set::<Forwards>(&origin, Some(head));
    if seq > head.floor {
        rows.keep::<ForwardedReplies>(&number, || stored(place, reply));
    }
    rows.release::<ForwardedReplies>((origin, BootNumber(0), 0)..=(origin, head.boot, head.floor));
}
