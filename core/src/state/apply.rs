//! What each effect does to rows. Written once, for every layer: the fold into the base, the pending layer
//! and a command's draft differ only in where a row is written, never in what it becomes.
//!
//! Nothing here fails or decides. An effect that finds nothing to change (a redate of a missing key, a step
//! of an unknown session) changes nothing, in every layer and on every replica alike.

use std::sync::Arc;

use super::effect::{Deadline, Effect, Founding, StoredReply};
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::access::user::User;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// A layer, seen through what effects need of it. Reads see the layer over all that lies below.
pub(super) trait Rows {
    fn key(&mut self, key: &[u8]) -> Option<KeyRecord>;
    fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>);
    fn session(&mut self, id: SessionId) -> Option<SessionRecord>;
    fn set_session(&mut self, id: SessionId, record: Option<SessionRecord>);
    fn keep_reply(&mut self, id: SessionId, seq: u64, time: Millis, reply: &StoredReply);
    /// The answers of a session up to `through` can't be asked for any more: its header guards them.
    fn release_replies(&mut self, id: SessionId, through: u64);
    fn forward(&mut self, origin: Incarnation) -> Option<ForwardHead>;
    fn set_forward(&mut self, origin: Incarnation, head: ForwardHead);
    fn keep_forwarded(&mut self, number: (Incarnation, BootNumber, u64), time: Millis, reply: &StoredReply);
    /// The answers for an origin below its header's boot, or up to its header's floor, can't be asked for any more.
    fn release_forwarded(&mut self, origin: Incarnation, head: ForwardHead);
    fn set_user(&mut self, name: &Blob, user: Option<Arc<User>>);
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
            let record = KeyRecord { value: value.clone(), revision: place.index, deadline: *deadline };
            rows.set_key(key, Some(record));
        }
        Effect::Delete { key, cause: _ } => rows.set_key(key, None),
        Effect::Redate { key, deadline } => redate(rows, place, key, *deadline),
        Effect::SessionOpened { user, ttl } => {
            let record =
                SessionRecord { user: user.clone(), ttl: *ttl, floor: 0, last: 0, active: place.time };
            let id = SessionId(place.index.0);
            rows.set_session(id, Some(record));
            rows.release_replies(id, u64::MAX);
        }
        Effect::SessionStepped { id, seq, floor, reply } => {
            step_session(rows, place, *id, *seq, *floor, reply);
        }
        Effect::SessionEnded { id, cause: _ } => {
            rows.set_session(*id, None);
            rows.release_replies(*id, u64::MAX);
        }
        Effect::Forwarded { origin, boot, seq, floor, reply } => {
            forwarded(rows, place, (*origin, *boot, *seq), *floor, reply);
        }
        Effect::UserPut { name, user } => rows.set_user(name, Some(Arc::new(user.clone()))),
        Effect::UserRemoved { name } => rows.set_user(name, None),
    }
}

fn redate(rows: &mut impl Rows, place: Place, key: &Blob, deadline: Option<Deadline>) {
    if let Some(record) = rows.key(key) {
        rows.set_key(key, Some(KeyRecord { value: record.value, revision: place.index, deadline }));
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
    let Some(mut record) = rows.session(id) else { return };
    // Commands of a session may be logged in another order than their numbers: neither figure goes back.
    record.floor = record.floor.max(floor);
    record.last = record.last.max(seq);
    record.active = place.time;
    let through = record.floor;
    rows.set_session(id, Some(record));
    if seq > through {
        rows.keep_reply(id, seq, place.time, reply);
    }
    rows.release_replies(id, through);
}

fn forwarded(
    rows: &mut impl Rows,
    place: Place,
    number: (Incarnation, BootNumber, u64),
    floor: u64,
    reply: &StoredReply,
) {
    let (origin, boot, seq) = number;
    let head = match rows.forward(origin) {
        Some(head) if head.boot > boot => return,
        Some(head) if head.boot == boot => {
            ForwardHead { boot, floor: head.floor.max(floor), last: head.last.max(seq) }
        }
        Some(_) | None => ForwardHead { boot, floor, last: seq },
    };
    rows.set_forward(origin, head);
    if seq > head.floor {
        rows.keep_forwarded(number, place.time, reply);
    }
    rows.release_forwarded(origin, head);
}
