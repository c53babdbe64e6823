//! The two writers of the replicated state: an append into pending, and the fold of a committed entry into
//! the base.
//!
//! Both see one effect at a time through [`Rows`], and keep what is known about the tail up to date.

use std::sync::Arc;

use super::apply::Rows;
use super::base::Base;
use super::effect::{Answer, Deadline, Founding, StoredReply};
use super::overlay::Overlay;
use super::packed::KeyRow;
use super::tail::{Tail, session_due};
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::access::user::User;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// Writes the entry at `index` into pending, over the base.
pub(super) struct Append<'a> {
    pub(super) base: &'a Base,
    pub(super) pending: &'a mut Overlay,
    pub(super) tail: &'a mut Tail,
    pub(super) index: Index,
}

impl Append<'_> {
    fn find_deadline(&self, key: &[u8]) -> Option<Deadline> {
        match self.pending.keys.get(key) {
            Some(row) => row.value.as_ref()?.deadline,
            None => self.base.keys.get(key)?.deadline(),
        }
    }

    fn find_session(&self, id: SessionId) -> Option<&SessionRecord> {
        match self.pending.sessions.get(&id) {
            Some(row) => row.value.as_ref(),
            None => self.base.sessions().get(&id),
        }
    }
}

impl Rows for Append<'_> {
    fn key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        match self.pending.keys.get(key) {
            Some(row) => row.value.clone(),
            None => self.base.keys.get(key).map(KeyRow::record),
        }
    }

    fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>) {
        let new = record.as_ref().and_then(|record| record.deadline);
        // Where no key has a deadline, this one had none either, and need not be looked up.
        let old = if self.tail.has_due_keys() { self.find_deadline(key) } else { None };
        self.tail.key_changed(key, old, new);
        self.pending.keys.set(key.clone(), self.index, record);
    }

    fn session(&mut self, id: SessionId) -> Option<SessionRecord> {
        self.find_session(id).cloned()
    }

    fn set_session(&mut self, id: SessionId, record: Option<SessionRecord>) {
        let old = self.find_session(id).map(session_due);
        if old.is_some() != record.is_some() {
            self.tail.sessions_counted_at = self.index;
        }
        self.tail.session_changed(id, old, record.as_ref().map(session_due));
        self.pending.sessions.set(id, self.index, record);
    }

    fn keep_reply(&mut self, id: SessionId, seq: u64, time: Millis, reply: &StoredReply) {
        self.pending.replies.set((id, seq), self.index, Some(answer(time, reply)));
    }

    fn release_replies(&mut self, id: SessionId, through: u64) {
        self.pending.release_replies(id, through);
    }

    fn forward(&mut self, origin: Incarnation) -> Option<ForwardHead> {
        match self.pending.forwards.get(&origin) {
            Some(row) => row.value,
            None => self.base.forwards().get(&origin).copied(),
        }
    }

    fn set_forward(&mut self, origin: Incarnation, head: ForwardHead) {
        self.pending.forwards.set(origin, self.index, Some(head));
    }

    fn keep_forwarded(&mut self, number: (Incarnation, BootNumber, u64), time: Millis, reply: &StoredReply) {
        self.pending.forwarded.set(number, self.index, Some(answer(time, reply)));
    }

    fn release_forwarded(&mut self, _: Incarnation, _: ForwardHead) {
        // The header guards them: neither its boot nor its floor ever goes back. They go as they settle.
    }

    fn set_user(&mut self, name: &Blob, user: Option<Arc<User>>) {
        self.pending.users.set(name.clone(), self.index, user);
    }

    fn set_level(&mut self, level: u32) {
        self.pending.level.set(self.index, level);
    }

    fn set_founding(&mut self, founding: &Founding) {
        self.pending.founding.set(self.index, founding.clone());
    }
}

/// Folds the entry at `index` into the base, and drops the rows of pending that it wrote last.
///
/// Whatever the base learns, pending forgets in the same method: neither can be had without the other.
pub(super) struct Fold<'a> {
    pub(super) base: &'a mut Base,
    pub(super) pending: &'a mut Overlay,
    /// None if pending held the entry: then the tail knows of it already.
    pub(super) tail: Option<&'a mut Tail>,
    pub(super) index: Index,
}

impl Rows for Fold<'_> {
    fn key(&mut self, key: &[u8]) -> Option<KeyRecord> {
        self.base.keys.get(key).map(KeyRow::record)
    }

    fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>) {
        self.pending.keys.settle(key, self.index);
        let new = record.as_ref().and_then(|record| record.deadline);
        let old = self.base.set_key(key, record);
        if let Some(tail) = &mut self.tail {
            tail.key_changed(key, old.and_then(|old| old.deadline), new);
        }
    }

    fn session(&mut self, id: SessionId) -> Option<SessionRecord> {
        self.base.sessions().get(&id).cloned()
    }

    fn set_session(&mut self, id: SessionId, record: Option<SessionRecord>) {
        self.pending.sessions.settle(&id, self.index);
        let new = record.as_ref().map(session_due);
        let old = self.base.set_session(id, record);
        if let Some(tail) = &mut self.tail {
            tail.session_changed(id, old.as_ref().map(session_due), new);
        }
    }

    fn keep_reply(&mut self, id: SessionId, seq: u64, time: Millis, reply: &StoredReply) {
        let row = self.pending.replies.settle(&(id, seq), self.index);
        let kept = row.and_then(|row| row.value).unwrap_or_else(|| answer(time, reply));
        self.base.keep_reply(id, seq, (self.index, kept));
    }

    fn release_replies(&mut self, id: SessionId, through: u64) {
        self.base.release_replies(id, through);
    }

    fn forward(&mut self, origin: Incarnation) -> Option<ForwardHead> {
        self.base.forwards().get(&origin).copied()
    }

    fn set_forward(&mut self, origin: Incarnation, head: ForwardHead) {
        self.pending.forwards.settle(&origin, self.index);
        self.base.set_forward(origin, head);
    }

    fn keep_forwarded(&mut self, number: (Incarnation, BootNumber, u64), time: Millis, reply: &StoredReply) {
        let row = self.pending.forwarded.settle(&number, self.index);
        // The answer that pending holds already is the same, for it came from the same effect.
        let kept = row.and_then(|row| row.value).unwrap_or_else(|| answer(time, reply));
        self.base.keep_forwarded(number, (self.index, kept));
    }

    fn release_forwarded(&mut self, origin: Incarnation, head: ForwardHead) {
        self.base.release_forwarded(origin, head);
    }

    fn set_user(&mut self, name: &Blob, user: Option<Arc<User>>) {
        self.pending.users.settle(name, self.index);
        self.base.set_user(name, user);
    }

    fn set_level(&mut self, level: u32) {
        self.pending.level.settle(self.index);
        self.base.level = level;
    }

    fn set_founding(&mut self, founding: &Founding) {
        self.pending.founding.settle(self.index);
        self.base.founding = Some(founding.clone());
    }
}

fn answer(time: Millis, reply: &StoredReply) -> Arc<Answer> {
    Arc::new(Answer { time, reply: reply.clone() })
}
