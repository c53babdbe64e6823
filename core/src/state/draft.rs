//! The draft of one command: the effects that it will log, and the rows that they make, for its own later
//! reads. Dropping a draft rolls back.
//!
//! Rows are made when the command reads again, which most commands never do after they wrote. What was found
//! to be due is kept apart from what the client changed: a command that fails takes its changes back, but
//! what it found to be gone stays gone, for its answer may rest on that.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{DeleteCause, Effect};
use super::overlay::Overlay;
use super::table::{KeyLeases, Sessions};
use crate::types::{Blob, Index, SessionId};

/// What a command changes.
#[derive(Default)]
pub(super) struct Draft {
    /// The rows as the command left them, over those of the tail; none while there is nothing in them.
    rows: Option<Box<Overlay>>,
    /// The client's effects.
    changes: Vec<Effect>,
    /// How many of them are in the rows.
    applied: usize,
    /// What was found to be due; in the rows always.
    expired: Vec<Effect>,
}

impl Draft {
    /// The rows, if there are any.
    pub(super) fn rows(&self) -> Option<&Overlay> {
        self.rows.as_deref()
    }

    /// The rows, for writing.
    pub(super) fn rows_mut(&mut self) -> &mut Overlay {
        self.rows.get_or_insert_default()
    }

    /// Adds an effect.
    pub(super) fn push(&mut self, effect: Effect) {
        self.changes.push(effect);
    }

    /// The next effect that is not in the rows yet. The caller puts it there.
    pub(super) fn next_unapplied(&mut self) -> Option<Effect> {
        let effect = self.changes.get(self.applied)?.clone();
        self.applied += 1;
        Some(effect)
    }

    /// A key was found to be due: it is absent, and its deletion is logged with the command.
    pub(super) fn expire_key(&mut self, index: Index, key: &Blob) {
        self.rows_mut().keys.set(key.clone(), index, None);
        self.rows_mut().rows_mut::<KeyLeases>().set(key.clone(), index, None);
        self.expired.push(Effect::Delete { key: key.clone(), cause: DeleteCause::Expired });
    }

    /// A session was found to be due.
    pub(super) fn expire_session(&mut self, index: Index, id: SessionId) {
        self.rows_mut().rows_mut::<Sessions>().set(id, index, None);
        self.expired.push(Effect::SessionEnded { id, cause: DeleteCause::Expired });
    }

    /// Takes the client's changes back; what was found to be due stays.
    pub(super) fn discard(&mut self, index: Index) {
        let expired = std::mem::take(self).expired;
        for effect in expired {
            match effect {
                Effect::Delete { key, .. } => self.expire_key(index, &key),
                Effect::SessionEnded { id, .. } => self.expire_session(index, id),
                _ => unreachable!("only keys and sessions expire"),
            }
        }
    }

    /// Bytes of what the effects carry.
    pub(super) fn bytes(&self) -> usize {
        self.expired.iter().chain(&self.changes).map(Effect::bytes).sum()
    }

    /// All effects: first what was due, unless the client wrote the key again, then the changes in order.
    pub(super) fn into_effects(self) -> Vec<Effect> {
        if self.expired.is_empty() {
            return self.changes;
        }
        let decided = decided_first(&self.changes);
        let expired = self.expired.iter().filter(|effect| match effect {
            Effect::Delete { key, .. } => !decided.contains(key),
            _ => true,
        });
        let mut effects: Vec<Effect> = expired.cloned().collect();
        effects.extend(self.changes);
        effects
    }
}

/// The keys whose first effect decides them alone, whatever was there. Of the others, what was due must go first: the
/// effect builds on what it finds.
fn decided_first(changes: &[Effect]) -> BTreeSet<&Blob> {
    let mut first: BTreeMap<&Blob, bool> = BTreeMap::new();
    for effect in changes {
        match effect {
            Effect::Put { key, .. } | Effect::Delete { key, .. } => _ = first.entry(key).or_insert(true),
            Effect::Members { key, .. } | Effect::Redate { key, .. } => _ = first.entry(key).or_insert(false),
            Effect::Moved { from, to } => {
                first.entry(from).or_insert(false);
                first.entry(to).or_insert(true);
            }
            _ => {}
        }
    }
    first.into_iter().filter_map(|(key, decided)| decided.then_some(key)).collect()
}
