//! What a witness may hold, as the judges understand it: of each entry its place, time and cause, and of its effects those that say who
//! the cluster is, what it may log, who belongs to it and where these are. Written from the documentation; shares no code with the core but
//! the bytes of the log. And where a position has to lie before a witness hears of it, or a client is told of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_core::state::effect::{Cause, Effect, Entry};
use steadfast_core::types::{Index, NodeId, Term};

use super::super::{Stop, Verdict, fail};
use super::{JUDGE, RaftJudge, digest_of};

impl RaftJudge {
    /// A client was told of what holds at a position. Beside a witness the entry there is durable on both nodes with data, or the client
    /// was told that it rests on one.
    pub fn acknowledged(&self, position: Index, degraded: bool) -> Verdict {
        let place = (position.0 as usize).wrapping_sub(1);
        let (Some(witness), Some(entry)) = (self.witness, self.committed.get(place)) else {
            return Verdict::Passed;
        };
        let nodes = self.nodes.keys().chain(self.emptied.keys().map(|(node, _)| node));
        let nodes: BTreeSet<NodeId> = nodes.copied().filter(|node| *node != witness).collect();
        let held = |node: &&NodeId| self.has_held(**node, place, (entry.term, entry.digest));
        let (held, needs) = (nodes.iter().filter(held).count(), if degraded { 1 } else { 2 });
        if held >= needs {
            return Verdict::Passed;
        }
        let what = format!(
            "a client was told of position {position}, degraded: {degraded}, and it lies on {held} of two disks with data"
        );
        Verdict::Failed { judge: JUDGE, what }
    }

    /// Whether any data directory of a node holds an entry durably, or did before it was emptied or went back in time.
    fn has_held(&self, node: NodeId, place: usize, entry: (Term, u64)) -> bool {
        let current = self.nodes.get(&node).is_some_and(|watched| {
            watched.durable.0 > place as u64 && watched.log.get(place) == Some(&entry)
        });
        let before = self.rolled_back.iter().map(|(of, held)| (of, held)).chain(&self.emptied);
        current || before.filter(|(of, _)| of.0 == node).any(|(_, held)| held.get(place) == Some(&entry))
    }

    /// What a witness shows of an entry: a part of what a node with data holds durably. Returns the digest of the whole.
    pub(super) fn heard(&self, at: Index, term: Term, payload: &Bytes) -> Result<u64, Stop> {
        let Some(full) = self.bodies.get(&(at, term)) else {
            fail!("the witness has entry {at} of term {term}, which no node with data ever had");
        };
        if let Some(flaw) = flaw(full, payload) {
            fail!("the witness's copy of entry {at} of term {term} is wrong: {flaw}");
        }
        let (place, digest) = (at.0 as usize - 1, digest_of(full));
        let known = self.nodes.iter().any(|(node, watched)| {
            Some(*node) == self.witness && watched.log.get(place) == Some(&(term, digest))
        });
        let others = self.nodes.keys().chain(self.emptied.keys().map(|(node, _)| node));
        let mut others = others.filter(|node| Some(**node) != self.witness);
        if !known && !others.any(|node| self.has_held(*node, place, (term, digest))) {
            fail!("the witness heard of entry {at} of term {term}, which lies durably on no disk with data");
        }
        Ok(digest)
    }
}

/// What is wrong with a witness's copy of an entry, if anything is.
fn flaw(full: &[u8], copy: &[u8]) -> Option<String> {
    let (Ok(full), Ok(copy)) = (Entry::decode(full), Entry::decode(copy)) else {
        return Some("it can't be read".into());
    };
    if (full.time, full.cause) != (copy.time, copy.cause) {
        return Some(format!(
            "it is of {} and {:?}, and not of {} and {:?}",
            copy.time, copy.cause, full.time, full.cause
        ));
    }
    let known = |effect: &&Effect| {
        matches!(full.cause, Cause::System | Cause::Members)
            && matches!(
                effect,
                Effect::Founded(_) | Effect::Level(_) | Effect::Membership(_) | Effect::Located { .. }
            )
    };
    let may: Vec<&Effect> = full.effects.iter().filter(known).collect();
    if copy.effects.iter().eq(may.iter().copied()) {
        return None;
    }
    let more = copy.effects.iter().find(|effect| !may.contains(effect));
    Some(more.map_or("it lacks what a witness has to know".into(), |effect| format!("it holds {effect:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::time::Millis;
    use steadfast_core::types::Blob;

    #[test]
    fn data_in_a_copy_and_what_it_lacks_are_found() {
        let put = Effect::Put { key: Blob::from("k"), value: Blob::from("v"), deadline: None };
        let bytes = |cause, effects: &[&Effect]| {
            let effects = effects.iter().map(|effect| (*effect).clone()).collect();
            Entry { time: Millis(1), cause, effects }.encode()
        };
        let level = Effect::Level(3);
        let system = bytes(Cause::System, &[&level, &put]);
        assert_eq!(flaw(&system, &bytes(Cause::System, &[&level])), None);
        assert_eq!(flaw(&bytes(Cause::Command, &[&put]), &bytes(Cause::Command, &[])), None);
        for (full, copy, found) in [
            (&system, &system, "it holds Put"),
            (&system, &bytes(Cause::System, &[]), "lacks"),
            (&system, &bytes(Cause::Command, &[]), "it is of"),
        ] {
            assert!(flaw(full, copy).is_some_and(|what| what.contains(found)), "{found}");
        }
    }
}
