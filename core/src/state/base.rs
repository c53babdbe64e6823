//! The base: what committed entries have made. Plain tables, written by the fold alone, through methods that leave
//! what was there to a snapshot in the making.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::capture::Capture;
use super::effect::{Answer, Founding};
use super::key_table::KeyTable;
use super::{ForwardHead, KeyRecord, SessionRecord};
use crate::access::user::User;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// An answer with the index of the entry that stored it.
pub(super) type Stored = (Index, Arc<Answer>);

/// The committed state.
#[derive(Clone)]
pub(super) struct Base {
    /// The last entry in here.
    pub(super) committed: Index,
    /// Its time.
    pub(super) time: Millis,
    /// How much was ever logged, up to here.
    pub(super) weight: u64,
    pub(super) keys: KeyTable,
    sessions: BTreeMap<SessionId, SessionRecord>,
    /// The same sessions by user, to end a user's sessions without reading all.
    by_user: BTreeSet<(Blob, SessionId)>,
    replies: BTreeMap<(SessionId, u64), Stored>,
    forwards: BTreeMap<Incarnation, ForwardHead>,
    forwarded: BTreeMap<(Incarnation, BootNumber, u64), Stored>,
    users: BTreeMap<Blob, Arc<User>>,
    pub(super) level: u32,
    pub(super) founding: Option<Founding>,
    /// A snapshot in the making.
    pub(super) capture: Option<Box<Capture>>,
}

impl Base {
    pub(super) fn new(hash_seed: (u64, u64)) -> Self {
        Self {
            committed: Index::default(),
            time: Millis::default(),
            weight: 0,
            keys: KeyTable::new(hash_seed),
            sessions: BTreeMap::new(),
            by_user: BTreeSet::new(),
            replies: BTreeMap::new(),
            forwards: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            users: BTreeMap::new(),
            level: 0,
            founding: None,
            capture: None,
        }
    }

    /// Sets or removes a key, and hands out the record before.
    pub(super) fn set_key(&mut self, key: &Blob, record: Option<KeyRecord>) -> Option<KeyRecord> {
        let old = match record {
            Some(record) => self.keys.put(key, record),
            None => self.keys.remove(key),
        };
        if let Some(capture) = &mut self.capture {
            capture.keys.keep(key, old.clone());
        }
        old
    }

    pub(super) fn forwards(&self) -> &BTreeMap<Incarnation, ForwardHead> {
        &self.forwards
    }

    pub(super) fn set_forward(&mut self, origin: Incarnation, head: ForwardHead) {
        let old = self.forwards.insert(origin, head);
        if let Some(capture) = &mut self.capture {
            capture.forwards.keep(&origin, old);
        }
    }

    pub(super) fn users(&self) -> &BTreeMap<Blob, Arc<User>> {
        &self.users
    }

    pub(super) fn set_user(&mut self, name: &Blob, user: Option<Arc<User>>) {
        let old = match user {
            Some(user) => self.users.insert(name.clone(), user),
            None => self.users.remove(name.as_slice()),
        };
        if let Some(capture) = &mut self.capture {
            capture.users.keep(name, old);
        }
    }

    pub(super) fn sessions(&self) -> &BTreeMap<SessionId, SessionRecord> {
        &self.sessions
    }

    pub(super) fn sessions_of(&self, user: &[u8]) -> impl Iterator<Item = SessionId> {
        let user = Blob::from(user);
        let range = (user.clone(), SessionId(0))..=(user, SessionId(u64::MAX));
        self.by_user.range(range).map(|(_, id)| *id)
    }

    /// Sets or removes a session's header, and hands out the one before.
    pub(super) fn set_session(
        &mut self,
        id: SessionId,
        record: Option<SessionRecord>,
    ) -> Option<SessionRecord> {
        let user = record.as_ref().map(|record| record.user.clone());
        let old = match record {
            Some(record) => self.sessions.insert(id, record),
            None => self.sessions.remove(&id),
        };
        if let Some(capture) = &mut self.capture {
            capture.sessions.keep(&id, old.clone());
        }
        // Every step of a session passes here, and leaves its user as it was.
        if user.as_ref() != old.as_ref().map(|old| &old.user) {
            if let Some(old) = &old {
                self.by_user.remove(&(old.user.clone(), id));
            }
            if let Some(user) = user {
                self.by_user.insert((user, id));
            }
        }
        old
    }

    pub(super) fn replies(&self) -> &BTreeMap<(SessionId, u64), Stored> {
        &self.replies
    }

    pub(super) fn keep_reply(&mut self, id: SessionId, seq: u64, stored: Stored) {
        let old = self.replies.insert((id, seq), stored);
        if let Some(capture) = &mut self.capture {
            capture.replies.keep(&(id, seq), old);
        }
    }

    pub(super) fn release_replies(&mut self, id: SessionId, through: u64) {
        while let Some((&row, _)) = self.replies.range((id, 0)..=(id, through)).next() {
            let old = self.replies.remove(&row);
            if let Some(capture) = &mut self.capture {
                capture.replies.keep(&row, old);
            }
        }
    }

    pub(super) fn forwarded(&self) -> &BTreeMap<(Incarnation, BootNumber, u64), Stored> {
        &self.forwarded
    }

    pub(super) fn keep_forwarded(&mut self, number: (Incarnation, BootNumber, u64), stored: Stored) {
        let old = self.forwarded.insert(number, stored);
        if let Some(capture) = &mut self.capture {
            capture.forwarded.keep(&number, old);
        }
    }

    pub(super) fn release_forwarded(&mut self, origin: Incarnation, head: ForwardHead) {
        let stale = (origin, BootNumber(0), 0)..=(origin, head.boot, head.floor);
        while let Some((&row, _)) = self.forwarded.range(stale.clone()).next() {
            let old = self.forwarded.remove(&row);
            if let Some(capture) = &mut self.capture {
                capture.forwarded.keep(&row, old);
            }
        }
    }

    /// Puts the rows of a snapshot, each kind in its order, into tables that are empty.
    pub(super) fn fill(
        &mut self,
        sessions: Vec<(SessionId, SessionRecord)>,
        replies: Vec<((SessionId, u64), Stored)>,
        forwards: Vec<(Incarnation, ForwardHead)>,
        forwarded: Vec<((Incarnation, BootNumber, u64), Stored)>,
        users: Vec<(Blob, Arc<User>)>,
    ) {
        assert!(self.sessions.is_empty() && self.users.is_empty(), "a snapshot makes a state from nothing");
        self.by_user = sessions.iter().map(|(id, record)| (record.user.clone(), *id)).collect();
        self.sessions = sessions.into_iter().collect();
        self.replies = replies.into_iter().collect();
        self.forwards = forwards.into_iter().collect();
        self.forwarded = forwarded.into_iter().collect();
        self.users = users.into_iter().collect();
    }
}
