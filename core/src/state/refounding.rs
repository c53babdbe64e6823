//! The same state under another cluster's name, further along: what a recovery from a lost majority begins with
//! (`verify/recover.rs`). Nothing here reads the log or writes a file, and no leader ever logs this.

use std::ops::Bound;

use super::effect::{Cause, DeleteCause, Effect, Entry, Founding};
use super::table::{
    Addresses, Claims, ForwardedReplies, Forwards, Memberships, Priorities, Sessions, Table, Works,
};
use super::{KeyRecord, State};
use crate::coordination::once::{Work, WorkState};
use crate::error::{ErrorCode, Failure};
use crate::types::{Blob, Index, NodeId};

impl State {
    /// This state as that of a cluster which one node has founded anew, at an index beyond all that were given out.
    /// Everything stays but what must not go on:
    ///
    /// - *Tokens are given out anew.* A claim's number is its token, and nodes that are lost may have given out greater ones
    ///   on the same name, or the same one to somebody else. Whoever holds something goes on holding it under a number
    ///   that was never given out, which it gets by asking again; with the old one it is refused.
    /// - *Waits end*, for the same reason, and because nobody listens any more.
    /// - *Keys that were written behind `known` are as new as the recovery.* Their entries may never have been committed,
    ///   and another leader may have given their indexes to other entries: a revision never stands for two values.
    /// - *Sessions that were opened behind `known` end.* Another leader may have given their numbers to other clients, which would get the
    ///   answers of somebody else's commands, and theirs would not be executed.
    /// - *Work that somebody has can't be finished by him any more*, for the same reason as with claims: it is begun again when his time
    ///   is over.
    /// - *What belongs to members that are gone*: who they are, where they were, and what they forwarded.
    ///
    /// # Panics
    /// Unless everything is committed and lies before the index, and one node is the only founder.
    pub(crate) fn refound(&mut self, at: Index, known: Index, founding: Founding) {
        assert_eq!(self.tail(), self.committed(), "a cluster is founded anew on what is committed");
        assert!(at > self.committed(), "an index that was given out is not given out again");
        let [(node, _)] = founding.members[..] else { panic!("one node founds the cluster anew") };
        let mut effects = vec![Effect::Founded(founding)];
        self.end_waits(&mut effects);
        self.renumber_held(at, &mut effects);
        self.end_sessions(known, &mut effects);
        self.take_work(at, &mut effects);
        self.base.committed = at.prev();
        self.commit(at, &Entry { time: self.time(), cause: Cause::System, effects });
        self.renew_keys(known);
        // No directory of the old cluster forwards anything to this one, not even this node's own.
        self.clear::<Forwards>(|_| false);
        self.clear::<ForwardedReplies>(|_| false);
        self.clear::<Memberships>(|()| false);
        let own = |of: &NodeId| *of == node;
        self.clear::<Addresses>(own);
        self.clear::<Priorities>(own);
    }

    /// How many claims wait, as far as that is committed.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.base.rows::<Claims>().values().filter(|claim| !claim.is_held()).count()
    }

    /// How many locks, permits and offices are held, as far as that is committed.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.base.rows::<Claims>().len() - self.waiting_count()
    }

    fn end_waits(&self, effects: &mut Vec<Effect>) {
        let text = "the cluster was recovered from one node, and nobody waits any more: ask again under a new number";
        for (key, claim) in self.base.rows::<Claims>() {
            let Some(wait) = claim.wait() else { continue };
            let outcome = Err(Failure::new(ErrorCode::WaitEnded, text));
            effects.push(Effect::Claimed { claim: key.clone(), now: None });
            effects.push(Effect::WaitEnded { id: key.2, session: wait.session, forward: None, outcome });
        }
    }

    /// The last numbers up to `at`, in the order of those before.
    fn renumber_held(&self, at: Index, effects: &mut Vec<Effect>) {
        let mut held: Vec<_> =
            self.base.rows::<Claims>().iter().filter(|(_, claim)| claim.is_held()).collect();
        held.sort_by_key(|((_, _, number), _)| *number);
        assert!(
            at.0 - self.committed().0 > held.len() as u64,
            "there is a number for every claim beyond all that were given out"
        );
        for ((key, claim), number) in held.iter().rev().zip((0..=at.0).rev()) {
            effects.push(Effect::Claimed { claim: (*key).clone(), now: None });
            let renumbered = (key.0, key.1.clone(), Index(number));
            effects.push(Effect::Claimed { claim: renumbered, now: Some((*claim).clone()) });
        }
    }

    /// After the waits: what these end in is kept in their sessions.
    fn end_sessions(&self, known: Index, effects: &mut Vec<Effect>) {
        let recent = self.base.rows::<Sessions>().keys().filter(|id| id.0 > known.0);
        effects.extend(recent.map(|id| Effect::SessionEnded { id: *id, cause: DeleteCause::Deleted }));
    }

    fn take_work(&self, at: Index, effects: &mut Vec<Effect>) {
        for (id, work) in self.base.rows::<Works>() {
            if matches!(work.state, WorkState::Running { .. }) {
                let work = Some(Work { token: at, ..work.clone() });
                effects.push(Effect::Worked { id: id.clone(), work });
            }
        }
    }

    /// How many sessions were opened behind an entry, as far as that is committed.
    #[must_use]
    pub fn sessions_behind(&self, known: Index) -> usize {
        self.base.rows::<Sessions>().keys().filter(|id| id.0 > known.0).count()
    }

    /// Keys that were written behind an entry get the present index as their revision.
    fn renew_keys(&mut self, known: Index) {
        let recent = self.base.keys.range(Bound::Unbounded).filter(|row| row.revision() > known);
        let recent: Vec<Blob> = recent.map(|row| Blob::from(row.name())).collect();
        for key in recent {
            let record = self.base.keys.get(&key).map(|row| row.record());
            let revision = self.base.committed;
            self.base.set_key(&key, record.map(|record| KeyRecord { revision, ..record }));
        }
    }

    /// Removes all rows but those of these keys, of a table of which nothing is known beside it.
    fn clear<T: Table>(&mut self, stays: impl Fn(&T::Key) -> bool) {
        assert!(!T::INDEXED, "what is known beside the rows would have to go too");
        let goes: Vec<T::Key> = self.base.rows::<T>().keys().filter(|key| !stays(key)).cloned().collect();
        for key in goes {
            self.base.set::<T>(&key, None);
        }
    }
}
