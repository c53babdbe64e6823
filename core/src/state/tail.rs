//! What is kept about base and pending taken together, so that asking for it never walks either: what is due
//! when, and how many sessions there are. For leases and waits it is in `hanging.rs`.
//!
//! Due rows are those of the newest value of each row. An expiry that is appended but not committed has left
//! this index already, so that nobody proposes it twice.

use std::collections::BTreeSet;

use super::SessionRecord;
use super::effect::{Deadline, DeleteCause, Effect};
use super::hanging::Leases;
use crate::time::Millis;
use crate::types::{Blob, Index, SessionId};

/// Facts about the state at the end of the log.
#[derive(Clone, Default)]
pub(super) struct Tail {
    /// The last logged time.
    pub(super) time: Millis,
    /// The newest entry that opened or ended a session.
    pub(super) sessions_counted_at: Index,
    due_keys: BTreeSet<(Millis, Blob)>,
    due_sessions: BTreeSet<(Millis, SessionId)>,
    /// When limiters can be forgotten.
    pub(super) limiters: Due<Blob>,
    /// When answers under idempotency ids can be.
    pub(super) answers: Due<(Blob, Blob)>,
    /// When work under ids can be.
    pub(super) works: Due<Blob>,
    pub(super) leases: Leases,
    /// All sessions, by user.
    by_user: BTreeSet<(Blob, SessionId)>,
}

impl Tail {
    /// Of a state that was read from a snapshot, but for its tables.
    pub(super) fn new(time: Millis, due_keys: BTreeSet<(Millis, Blob)>) -> Self {
        Self { time, due_keys, ..Self::default() }
    }

    /// Whether any key has a deadline.
    pub(super) fn has_due_keys(&self) -> bool {
        !self.due_keys.is_empty()
    }

    /// How many sessions there are.
    pub(super) fn sessions(&self) -> usize {
        self.due_sessions.len()
    }

    /// A key's deadline is another one; none also stands for a missing key.
    pub(super) fn key_changed(&mut self, key: &Blob, old: Option<Deadline>, new: Option<Deadline>) {
        let (old, new) = (old.map(Deadline::due), new.map(Deadline::due));
        if old == new {
            return;
        }
        if let Some(old) = old {
            let known = self.due_keys.remove(&(old, key.clone()));
            assert!(known, "every key with a deadline is in the due index");
        }
        if let Some(new) = new {
            self.due_keys.insert((new, key.clone()));
        }
    }

    /// The sessions of a user.
    pub(super) fn sessions_of(&self, user: &[u8]) -> impl Iterator<Item = SessionId> {
        let user = Blob::from(user);
        let range = (user.clone(), SessionId(0))..=(user, SessionId(u64::MAX));
        self.by_user.range(range).map(|(_, id)| *id)
    }

    /// A session's header is another one; none stands for a missing session.
    pub(super) fn session_changed(
        &mut self,
        id: SessionId,
        old: Option<&SessionRecord>,
        new: Option<&SessionRecord>,
        at: Index,
    ) {
        // Every step of a session passes here, and leaves its user as it was.
        if old.map(|old| &old.user) != new.map(|new| &new.user) {
            self.sessions_counted_at = at;
            if let Some(old) = old {
                self.by_user.remove(&(old.user.clone(), id));
            }
            if let Some(new) = new {
                self.by_user.insert((new.user.clone(), id));
            }
        }
        let (old, new) = (old.map(session_due), new.map(session_due));
        if old == new {
            return;
        }
        if let Some(old) = old {
            let known = self.due_sessions.remove(&(old, id));
            assert!(known, "every session is in the due index");
        }
        if let Some(new) = new {
            self.due_sessions.insert((new, id));
        }
    }

    /// The earliest moment at which something is due.
    pub(super) fn next_due(&self) -> Option<Millis> {
        let key = self.due_keys.first().map(|(due, _)| *due);
        let session = self.due_sessions.first().map(|(due, _)| *due);
        let others = [self.limiters.first(), self.answers.first(), self.works.first(), self.leases.first()];
        [key, session].into_iter().chain(others).flatten().min()
    }

    /// The effects of what is due, at most `max`: keys first, each kind in the order of its time.
    pub(super) fn due(&self, now: Millis, max: usize) -> Vec<Effect> {
        let keys = self.due_keys.iter().take_while(|(due, _)| *due <= now);
        let keys = keys.map(|(_, key)| Effect::Delete { key: key.clone(), cause: DeleteCause::Expired });
        let sessions = self.due_sessions.iter().take_while(|(due, _)| *due <= now);
        let sessions = sessions.map(|(_, id)| Effect::SessionEnded { id: *id, cause: DeleteCause::Expired });
        let limiters = self.limiters.until(now);
        let limiters = limiters.map(|name| Effect::Limited { name: name.clone(), limiter: None });
        let answers = self.answers.until(now).map(|(user, id)| {
            let (user, id) = (user.clone(), id.clone());
            Effect::Kept { user, id, kept: None }
        });
        let works = self.works.until(now).map(|id| Effect::Worked { id: id.clone(), work: None });
        keys.chain(sessions).chain(limiters).chain(answers).chain(works).take(max).collect()
    }
}

/// When rows of one kind can be forgotten.
#[derive(Clone)]
pub(super) struct Due<K>(BTreeSet<(Millis, K)>);

impl<K: Ord + Clone> Due<K> {
    /// A row can be forgotten at another time; none stands for no row.
    pub(super) fn changed(&mut self, key: &K, old: Option<Millis>, new: Option<Millis>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            let known = self.0.remove(&(old, key.clone()));
            assert!(known, "every row that can be forgotten is in the due index");
        }
        if let Some(new) = new {
            self.0.insert((new, key.clone()));
        }
    }

    pub(super) fn first(&self) -> Option<Millis> {
        self.0.first().map(|(due, _)| *due)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(_, key)| key)
    }

    pub(super) fn until(&self, now: Millis) -> impl Iterator<Item = &K> {
        self.0.iter().take_while(move |(due, _)| *due <= now).map(|(_, key)| key)
    }
}

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

/// When a session is due.
pub(super) fn session_due(record: &SessionRecord) -> Millis {
    Millis(record.active.0.saturating_add(record.ttl))
}
