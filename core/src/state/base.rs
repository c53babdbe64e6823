//! The base: what committed entries have made. Plain tables, written by the fold alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::{Founding, StoredReply};
use super::key_table::KeyTable;
use super::{ForwardHead, SessionRecord};
use crate::access::user::User;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, Incarnation, Index, SessionId};

/// An answer with the index of the entry that stored it.
pub(super) type Stored = (Index, Arc<StoredReply>);

/// The committed state.
#[derive(Clone)]
pub(super) struct Base {
    /// The last entry in here.
    pub(super) committed: Index,
    /// Its time.
    pub(super) time: Millis,
    pub(super) keys: KeyTable,
    sessions: BTreeMap<SessionId, SessionRecord>,
    /// The same sessions by user, to end a user's sessions without reading all.
    by_user: BTreeSet<(Blob, SessionId)>,
    replies: BTreeMap<(SessionId, u64), Stored>,
    pub(super) forwards: BTreeMap<Incarnation, ForwardHead>,
    forwarded: BTreeMap<(Incarnation, BootNumber, u64), Stored>,
    pub(super) users: BTreeMap<Blob, Arc<User>>,
    pub(super) level: u32,
    pub(super) founding: Option<Founding>,
}

impl Base {
    pub(super) fn new(hash_seed: (u64, u64)) -> Self {
        Self {
            committed: Index::default(),
            time: Millis::default(),
            keys: KeyTable::new(hash_seed),
            sessions: BTreeMap::new(),
            by_user: BTreeSet::new(),
            replies: BTreeMap::new(),
            forwards: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            users: BTreeMap::new(),
            level: 0,
            founding: None,
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
        self.replies.insert((id, seq), stored);
    }

    pub(super) fn release_replies(&mut self, id: SessionId, through: u64) {
        while let Some((&row, _)) = self.replies.range((id, 0)..=(id, through)).next() {
            self.replies.remove(&row);
        }
    }

    pub(super) fn forwarded(&self) -> &BTreeMap<(Incarnation, BootNumber, u64), Stored> {
        &self.forwarded
    }

    pub(super) fn keep_forwarded(&mut self, origin: Incarnation, boot: BootNumber, seq: u64, stored: Stored) {
        self.forwarded.insert((origin, boot, seq), stored);
    }

    pub(super) fn release_forwarded(&mut self, origin: Incarnation, head: ForwardHead) {
        let stale = (origin, BootNumber(0), 0)..=(origin, head.boot, head.floor);
        while let Some((&row, _)) = self.forwarded.range(stale.clone()).next() {
            self.forwarded.remove(&row);
        }
    }
}
