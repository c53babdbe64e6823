//! What a committed entry has changed, for those who watch: each key with what it was and what it is, and the users and rules
//! that it replaced. Collected while the entry is folded into the base; it decides nothing, and keeps nothing.

use std::sync::Arc;

use super::KeyRecord;
use super::base::Base;
use super::effect::{DeleteCause, Effect};
use super::table::{RulesOf, Users};
use crate::access::rights::{Holder, Rules};
use crate::access::user::User;
use crate::coordination::claim::ClaimKind;
use crate::types::Blob;

/// What one entry has changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The keys, in their order. One that expired and was made anew comes twice: first its end, then the rest.
    pub keys: Vec<Changed>,
    /// The users that were changed, as they were.
    pub users: Vec<(Blob, Option<Arc<User>>)>,
    /// The rules that were changed, as they were.
    pub rules: Vec<(RuleName, Option<Arc<Rules>>)>,
    /// The elections in which something was changed.
    pub offices: Vec<Blob>,
}

/// Whose rules.
pub type RuleName = (Holder, Blob);

/// A key that an entry has changed, all its effects taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub key: Blob,
    /// What it was; none if it was not there.
    pub before: Option<KeyRecord>,
    /// What it is; none if it is gone.
    pub after: Option<KeyRecord>,
    /// How.
    pub how: How,
}

/// How a key was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// As a whole.
    Whole,
    /// What it holds is what it or another key held: only its deadline or its name is another.
    Kept,
    /// Only these members of its collection, in the order of their names.
    Members(Vec<Blob>),
    /// Its time had passed, or its lease has ended.
    Expired,
}

/// Takes down what the fold writes.
#[derive(Default)]
pub(super) struct Collector {
    changes: Changes,
    how: Option<How>,
}

impl Collector {
    /// This effect is folded next.
    pub(super) fn begin(&mut self, base: &Base, effect: &Effect) {
        self.how = Some(match effect {
            Effect::Delete { cause: DeleteCause::Expired, .. } => How::Expired,
            Effect::Members { changes, .. } => {
                How::Members(changes.iter().map(|(name, _)| name.clone()).collect())
            }
            Effect::Redate { .. } | Effect::Moved { .. } => How::Kept,
            _ => How::Whole,
        });
        match effect {
            Effect::UserPut { name, .. } | Effect::UserRemoved { name } => {
                self.changes.users.push((name.clone(), base.rows::<Users>().get(name).cloned()));
            }
            Effect::Ruled { holder, name, .. } => {
                let row = (*holder, name.clone());
                let before = base.rows::<RulesOf>().get(&row).cloned();
                self.changes.rules.push((row, before));
            }
            Effect::Claimed { claim: (ClaimKind::Election, name, _), .. } => {
                self.changes.offices.push(name.clone())
            }
            _ => {}
        }
    }

    /// The fold has written a key.
    pub(super) fn key(&mut self, key: &Blob, before: Option<KeyRecord>, after: Option<KeyRecord>) {
        // A collection that takes the place of something else is no change of members.
        let same_kind = |before: &KeyRecord, after: &KeyRecord| before.data.kind() == after.data.kind();
        let how = match self.how.take().expect("an effect was begun") {
            How::Members(names)
                if before.as_ref().zip(after.as_ref()).is_some_and(|(a, b)| same_kind(a, b)) =>
            {
                How::Members(names)
            }
            How::Expired => How::Expired,
            How::Kept => How::Kept,
            How::Members(_) | How::Whole => How::Whole,
        };
        // One effect writes at most two keys, and both in the same way.
        self.how = Some(how.clone());
        if self.changes.keys.is_empty() {
            // Most entries change one key, and a vector that grows by itself has room for four at once.
            self.changes.keys.reserve_exact(1);
        }
        self.changes.keys.push(Changed { key: key.clone(), before, after, how });
    }

    /// All of it, each key once.
    pub(super) fn finish(self) -> Changes {
        let Changes { mut keys, users, rules, offices } = self.changes;
        if keys.len() > 1 {
            // Stable: of a key what came first stays first.
            keys.sort_by(|a, b| a.key.cmp(&b.key));
            keys.dedup_by(|later, first| first.takes(later));
        }
        keys.retain(|changed| changed.before.is_some() || changed.after.is_some());
        // They are kept for long.
        keys.shrink_to_fit();
        Changes { keys, users, rules, offices }
    }
}

impl Changed {
    /// Takes a later change of the same key in. What expired stays apart: that was an end, whatever came after it.
    fn takes(&mut self, later: &mut Self) -> bool {
        if self.key != later.key || self.how == How::Expired || later.how == How::Expired {
            return false;
        }
        self.after = later.after.take();
        match (&mut self.how, &mut later.how) {
            (How::Members(names), How::Members(more)) => {
                names.append(more);
                names.sort();
                names.dedup();
            }
            (how, _) => *how = How::Whole,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::data::Kind;
    use super::super::effect::{Cause, Deadline, Entry};
    use super::*;
    use crate::time::Millis;
    use crate::types::Index;

    fn commit(state: &mut State, effects: Vec<Effect>) -> Vec<(String, bool, bool, How)> {
        let index = state.committed().next();
        let changes = state.commit(index, &Entry { time: Millis(index.0), cause: Cause::Command, effects });
        let told = |it: Changed| (it.key.to_string(), it.before.is_some(), it.after.is_some(), it.how);
        changes.keys.into_iter().map(told).collect()
    }

    fn put(key: &str, value: &str) -> Effect {
        Effect::Put { key: key.into(), value: value.into(), deadline: None }
    }

    fn delete(key: &str, cause: DeleteCause) -> Effect {
        Effect::Delete { key: key.into(), cause }
    }

    fn members(key: &str, names: &[(&str, bool)]) -> Effect {
        let changes = names.iter().map(|(name, there)| ((*name).into(), there.then(|| "v".into())));
        Effect::Members { key: key.into(), kind: Kind::Hash, changes: changes.collect() }
    }

    #[test]
    fn the_effects_of_an_entry_on_one_key_are_one_change() {
        let mut state = State::default();
        let made = commit(&mut state, vec![put("b", "1"), put("a", "1"), put("b", "2")]);
        assert_eq!(made, [("a".into(), false, true, How::Whole), ("b".into(), false, true, How::Whole)]);
        let nothing = commit(&mut state, vec![put("c", "1"), delete("c", DeleteCause::Deleted)]);
        assert_eq!(nothing, [], "it was never there for anybody");
        let moved = commit(&mut state, vec![Effect::Moved { from: "a".into(), to: "b".into() }]);
        assert_eq!(moved, [("a".into(), true, false, How::Kept), ("b".into(), true, true, How::Kept)]);
    }

    #[test]
    fn what_expired_and_was_made_anew_is_two_changes() {
        let mut state = State::default();
        commit(&mut state, vec![put("a", "1")]);
        let anew = commit(&mut state, vec![delete("a", DeleteCause::Expired), put("a", "2"), put("a", "3")]);
        assert_eq!(anew, [("a".into(), true, false, How::Expired), ("a".into(), false, true, How::Whole)]);
    }

    #[test]
    fn changes_of_members_are_told_by_name_unless_something_else_happens_to_the_key() {
        let mut state = State::default();
        let made = commit(&mut state, vec![members("h", &[("x", true)])]);
        assert_eq!(made, [("h".into(), false, true, How::Whole)], "it is all there is");
        let more =
            commit(&mut state, vec![members("h", &[("y", true)]), members("h", &[("a", true), ("y", true)])]);
        assert_eq!(more, [("h".into(), true, true, How::Members(vec!["a".into(), "y".into()]))]);
        let deadline = Some(Deadline { at: Millis(500), slack: 1 });
        let dated = commit(
            &mut state,
            vec![members("h", &[("y", true)]), Effect::Redate { key: "h".into(), deadline }],
        );
        assert_eq!(dated, [("h".into(), true, true, How::Whole)]);
        let gone = commit(&mut state, vec![members("h", &[("x", false), ("y", false), ("a", false)])]);
        assert_eq!(gone, [("h".into(), true, false, How::Whole)], "it goes with its last member");
    }

    #[test]
    fn users_and_rules_are_told_as_they_were() {
        let mut state = State::default();
        let user = User { generation: Index(1), password: String::new(), grants: Vec::new() };
        let index = state.committed().next();
        let effects = vec![Effect::UserPut { name: "ann".into(), user: user.clone() }];
        let first = state.commit(index, &Entry { time: Millis(1), cause: Cause::Command, effects });
        assert_eq!(first.users, [("ann".into(), None)]);
        let effects = vec![Effect::UserRemoved { name: "ann".into() }];
        let second = state.commit(index.next(), &Entry { time: Millis(2), cause: Cause::Command, effects });
        assert_eq!(second.users, [("ann".into(), Some(Arc::new(user)))]);
    }
}
