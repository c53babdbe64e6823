//! What a witness may know: of an entry, and of the state. It has to know the cluster, its feature level, its members and where they are,
//! as everybody does who takes part in elections; all else is withheld, and every entry keeps its place, time and cause.
//!
//! Nothing here decides to whom that applies.

use bytes::Bytes;

use super::State;
use super::effect::{Cause, Effect, Entry};
use crate::types::Index;

impl Entry {
    /// What a witness may know of an encoded entry, encoded. Of most entries only the beginning is read. Of what can't be read nothing is
    /// left: whoever applies that stops.
    #[must_use]
    pub fn withheld(bytes: &Bytes) -> Bytes {
        let Ok((time, cause)) = Self::peek(bytes) else { return Bytes::new() };
        let effects = match cause {
            Cause::System | Cause::Members => match Self::decode(bytes) {
                Ok(entry) => entry.effects.into_iter().filter(Effect::is_for_witness).collect(),
                Err(_) => return Bytes::new(),
            },
            Cause::TermStart | Cause::Command | Cause::Expiry | Cause::Clock => Vec::new(),
        };
        Self { time, cause, effects }.encode()
    }
}

impl Effect {
    /// Whether a witness has to know of it. Such effects are logged under [`Cause::System`] and [`Cause::Members`] only.
    const fn is_for_witness(&self) -> bool {
        matches!(self, Self::Founded(_) | Self::Level(_) | Self::Membership(_) | Self::Located { .. })
    }
}

impl State {
    /// What a witness may know of the committed state, at the same index.
    #[must_use]
    pub(crate) fn withheld(&self, hash_seed: (u64, u64)) -> Self {
        let mut kept = Self::new(hash_seed);
        let mut effects = vec![Effect::Level(self.level())];
        effects.extend(self.founding().cloned().map(Effect::Founded));
        effects.extend(self.membership().map(Effect::Membership));
        let located = self.addresses().iter();
        effects.extend(located.map(|(node, at)| Effect::Located { node: *node, address: Some(at.clone()) }));
        kept.base.committed = Index(self.committed().0.saturating_sub(1));
        // Not that of the tail, which is not committed, and may be cut.
        let time = self.time_of(self.committed());
        kept.commit(self.committed(), &Entry { time, cause: Cause::Members, effects });
        kept.base.weight = self.weight();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;
    use crate::types::{Blob, NodeId};

    fn entry(cause: Cause, effects: Vec<Effect>) -> Entry {
        Entry { time: Millis(7), cause, effects }
    }

    fn put() -> Effect {
        Effect::Put { key: Blob::from("secret"), value: Blob::from("secret"), deadline: None }
    }

    #[test]
    fn of_an_entry_only_what_concerns_the_members_is_left() {
        let at = Effect::Located { node: NodeId(3), address: Some("c:1".into()) };
        for (cause, effects, left) in [
            (Cause::Command, vec![put()], vec![]),
            (Cause::System, vec![put(), Effect::Level(3)], vec![Effect::Level(3)]),
            (Cause::Members, vec![at.clone(), put()], vec![at]),
        ] {
            let withheld = Entry::withheld(&entry(cause, effects).encode());
            assert_eq!(Entry::decode(&withheld), Ok(entry(cause, left)));
            assert_eq!(Entry::withheld(&withheld), withheld, "once more changes nothing");
            assert!(!withheld.windows(6).any(|bytes| bytes == b"secret"));
        }
        assert!(Entry::withheld(&Bytes::from_static(b"?secret")).is_empty());
    }

    #[test]
    fn of_the_state_only_what_concerns_the_members_is_left() {
        let mut state = State::new((1, 2));
        state.commit(Index(1), &entry(Cause::System, vec![Effect::Level(3), put()]));
        state.commit(Index(2), &entry(Cause::Command, vec![put()]));
        state.append(Index(3), &Entry { time: Millis(99), cause: Cause::Clock, effects: vec![] });
        let kept = state.withheld((3, 4));
        assert_eq!((kept.committed(), kept.level(), kept.time()), (Index(2), 3, Millis(7)));
        assert_eq!((state.key_count(), kept.key_count()), (1, 0));
    }
}
