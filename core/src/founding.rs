//! The founding: how empty data directories agree, once, on who the cluster is.
//!
//! A node whose disk was wiped has forgotten its votes; if it voted again, a committed entry could be lost. So an
//! empty directory votes only at the founding, for which *every* configured node must be present and empty:
//!
//! 1. *Fresh*: the directory drew its incarnation and synced it. It tells everybody.
//! 2. *Prepared*: it heard of a fresh or prepared incarnation of every member, and synced the set. It
//!    tells everybody, and from then on founds this set or none.
//! 3. *Founded*: every member has prepared the same set. It is synced, and Raft begins.
//!
//! Two different sets can't both be founded: each needs the promise of every member, and a promise is never taken
//! back. A member that is wiped between 2 and 3 stops the founding for good, which no client can have noticed.
//! Whoever founded answers the others with the set; an incarnation that is not in it joins as a learner.
//!
//! A node that was told to *join* founds nothing: it asks the nodes that it knows for the cluster that they belong to.
//!
//! This file decides and touches no disk: the node persists each [`Step`] before it calls the next method.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::membership::{Voter, has_place_for_witness};
use crate::state::effect::{Founding, WITNESS_LEVEL};
use crate::types::{ClusterId, Incarnation, NodeId, listed};

/// Most things that are said to the operator of one founding.
const COMPLAINTS: usize = 64;

/// What a node tells the others until the cluster is founded, and answers afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FoundingMessage {
    /// This directory is empty.
    Fresh {
        /// Its incarnation.
        incarnation: Incarnation,
        /// The cluster's name in its configuration.
        name: String,
        /// The members in its configuration, in order.
        members: Vec<NodeId>,
        /// The highest feature level that the node supports.
        level: u32,
    },
    /// This directory founds this set or none.
    Prepared {
        /// The set.
        set: Founding,
        /// The highest feature level that the node supports.
        level: u32,
    },
    /// The cluster is founded.
    Founded(Founding),
}

/// What the node must persist next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Promise this set; then call [`FoundingRun::prepared`].
    Prepare(Founding),
    /// The cluster is this; the founding is over.
    Found(Founding),
    /// Something that keeps the founding from going on, for the operator.
    Notice(String),
}

/// With whom a node founds a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Founders {
    /// With these, itself included.
    Configured(Vec<NodeId>),
    /// With nobody: there is a cluster, and whoever belongs to it knows.
    Unknown,
}

/// A founding that is under way.
#[derive(Clone, Debug)]
pub struct FoundingRun {
    id: NodeId,
    name: String,
    /// In order; none if the cluster is there already.
    members: Vec<NodeId>,
    joins: bool,
    /// The incarnations heard of, this node's included.
    seen: BTreeMap<NodeId, Incarnation>,
    /// What these nodes support, as they said themselves.
    levels: BTreeMap<NodeId, u32>,
    /// The set that this node promised, once it is durable.
    promised: Option<Founding>,
    /// Who has promised which set.
    promises: BTreeMap<NodeId, Founding>,
    complained: BTreeSet<String>,
}

impl FoundingRun {
    /// Begins or goes on with a founding. `promised` is what the directory has durably prepared.
    #[must_use]
    pub fn new(
        id: NodeId,
        incarnation: Incarnation,
        name: String,
        founders: Founders,
        promised: Option<Founding>,
        level: u32,
    ) -> Self {
        let joins = founders == Founders::Unknown;
        let mut members = match founders {
            Founders::Configured(members) => members,
            Founders::Unknown => Vec::new(),
        };
        members.sort_unstable();
        let mut run = Self {
            id,
            name,
            members,
            joins,
            seen: BTreeMap::from([(id, incarnation)]),
            levels: BTreeMap::from([(id, level)]),
            promised: None,
            promises: BTreeMap::new(),
            complained: BTreeSet::new(),
        };
        if let Some(set) = promised {
            run.prepared(set);
        }
        run
    }

    /// The feature level that all founders support; none if one has not said so to this node. It may have been restarted meanwhile.
    #[must_use]
    pub fn level(&self) -> Option<u32> {
        self.members.iter().map(|member| self.levels.get(member).copied()).min().flatten()
    }

    /// The members that have not been heard of.
    #[must_use]
    pub fn missing(&self) -> Vec<NodeId> {
        self.members.iter().copied().filter(|member| !self.seen.contains_key(member)).collect()
    }

    /// What to tell everybody now and then.
    #[must_use]
    pub fn message(&self) -> FoundingMessage {
        match &self.promised {
            Some(set) => FoundingMessage::Prepared { set: set.clone(), level: self.levels[&self.id] },
            None => FoundingMessage::Fresh {
                incarnation: self.seen[&self.id],
                name: self.name.clone(),
                members: self.members.clone(),
                level: self.levels[&self.id],
            },
        }
    }

    /// This node's promise is durable.
    pub fn prepared(&mut self, set: Founding) {
        self.promises.insert(self.id, set.clone());
        self.promised = Some(set);
    }

    /// What to persist next, if anything can be concluded from what was heard so far.
    #[must_use]
    pub fn conclude(&self) -> Option<Step> {
        match &self.promised {
            None if self.joins => None,
            None if self.missing().is_empty() && self.witness_flaw().is_none() => {
                Some(Step::Prepare(self.set()))
            }
            Some(set) if self.members.iter().all(|member| self.promises.get(member) == Some(set)) => {
                Some(Step::Found(set.clone()))
            }
            _ => None,
        }
    }

    /// Another member has spoken.
    pub fn receive(&mut self, from: NodeId, message: FoundingMessage) -> Option<Step> {
        match message {
            FoundingMessage::Fresh { incarnation, name, members, level } => {
                if self.joins {
                    return None;
                }
                if name != self.name || members != self.members {
                    return self.complain(format!(
                        "node {from} is configured for cluster '{name}' with the nodes {}, this node for '{}' with {}: \
                         make the configurations equal",
                        listed(&members),
                        self.name,
                        listed(&self.members)
                    ));
                }
                self.seen.insert(from, incarnation);
                self.levels.insert(from, level);
                let promised = self.promised.as_ref();
                if promised.is_some_and(|set| !set.members.contains(&(from, incarnation))) {
                    return self.complain(format!(
                        "node {from} was wiped while the cluster was being founded; no data was accepted yet: \
                         remove the data directories of all nodes and start again"
                    ));
                }
                match self.witness_flaw().filter(|_| self.missing().is_empty()) {
                    Some(text) => self.complain(text),
                    None => None,
                }
            }
            FoundingMessage::Prepared { set, level } => {
                if self.joins {
                    return None;
                }
                if set.name != self.name || !self.is_complete(&set) {
                    return self.complain(format!("node {from} founds another cluster, '{}'", set.name));
                }
                // A promise tells of every incarnation in it, but only its own is first hand.
                self.seen.extend(set.members.iter().copied().filter(|(member, _)| *member == from));
                self.levels.insert(from, level);
                self.promises.insert(from, set);
                None
            }
            FoundingMessage::Founded(set) => {
                if set.name != self.name || !self.is_complete(&set) {
                    let members: Vec<_> = set.members.iter().map(|(member, _)| *member).collect();
                    return self.complain(format!(
                        "node {from} belongs to the cluster '{}', founded by the nodes {}, and this node is to found '{}' with \
                         {}: make the configurations equal, or join that cluster with --join",
                        set.name,
                        listed(&members),
                        self.name,
                        listed(&self.members)
                    ));
                }
                Some(Step::Found(set))
            }
        }
    }

    /// Why these can't found a cluster with a witness, if one of them is.
    fn witness_flaw(&self) -> Option<String> {
        let set: Vec<Voter> = self.seen.iter().map(|(node, incarnation)| (*node, *incarnation)).collect();
        if let Err((node, others)) = has_place_for_witness(&set) {
            return Some(format!(
                "node {node} is a witness, which can found a cluster with two nodes that hold data, and not with {others}: start it \
                 without --witness, on an empty directory, or name three nodes"
            ));
        }
        let has_witness = set.iter().any(|(_, incarnation)| incarnation.is_witness());
        (has_witness && self.level().is_none_or(|level| level < WITNESS_LEVEL)).then(|| {
            format!("a cluster with a witness needs feature level {WITNESS_LEVEL}: start a newer release at every node")
        })
    }

    fn is_complete(&self, set: &Founding) -> bool {
        let as_configured = set.members.iter().map(|(member, _)| *member).eq(self.members.iter().copied());
        (as_configured || self.joins) && set.cluster == identity(&set.name, &set.members)
    }

    /// Says a thing to the operator once.
    fn complain(&mut self, text: String) -> Option<Step> {
        let heard = self.complained.len() >= COMPLAINTS;
        (!heard && self.complained.insert(text.clone())).then_some(Step::Notice(text))
    }

    fn set(&self) -> Founding {
        let members: Vec<_> = self.seen.iter().map(|(node, incarnation)| (*node, *incarnation)).collect();
        Founding { cluster: identity(&self.name, &members), name: self.name.clone(), members }
    }
}

/// The identity that follows from a name and a set: no two sets have the same.
#[must_use]
pub fn identity(name: &str, members: &[(NodeId, Incarnation)]) -> ClusterId {
    use std::hash::Hasher;
    let mut hasher = SipHasher13::new_with_keys(0x7374_6561_6466_6173, 0x7466_6f75_6e64_6564);
    hasher.write(&(name.len() as u64).to_le_bytes());
    hasher.write(name.as_bytes());
    for (node, incarnation) in members {
        hasher.write(&node.0.to_le_bytes());
        hasher.write(&incarnation.0.to_le_bytes());
    }
    // Zero stands for "not founded" in peer frames.
    ClusterId(hasher.finish128().as_u128().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn fresh(id: u16, incarnation: u64) -> FoundingRun {
        let founders = Founders::Configured(MEMBERS.into());
        FoundingRun::new(NodeId(id), Incarnation(incarnation), "c".into(), founders, None, u32::from(id))
    }

    fn tell(from: &FoundingRun, to: &mut FoundingRun) -> Option<Step> {
        let id = from.id;
        to.receive(id, from.message())
    }

    /// Persists what can be concluded, as a node would.
    fn prepare(run: &mut FoundingRun) -> Founding {
        let Some(Step::Prepare(set)) = run.conclude() else { panic!("nothing to prepare") };
        run.prepared(set.clone());
        set
    }

    #[test]
    fn three_empty_nodes_found_one_cluster() {
        let (mut a, mut b, mut c) = (fresh(1, 10), fresh(2, 20), fresh(3, 30));
        assert_eq!((a.conclude(), a.level()), (None, None), "not everybody is there");
        let fresh = [a.clone(), b.clone(), c.clone()];
        for from in &fresh {
            for to in [&mut a, &mut b, &mut c] {
                tell(from, to);
            }
        }
        assert_eq!(a.level(), Some(1), "the lowest of all");
        let set = prepare(&mut a);
        assert_eq!(a.conclude(), None, "a promise alone founds nothing");
        assert_eq!(prepare(&mut b), set);
        assert_eq!(prepare(&mut c), set);
        tell(&b, &mut a);
        tell(&c, &mut a);
        assert_eq!(a.conclude(), Some(Step::Found(set.clone())));
        let founded = FoundingMessage::Founded(set.clone());
        assert_eq!(b.receive(NodeId(1), founded), Some(Step::Found(set)));
    }

    #[test]
    fn a_node_wiped_after_its_promise_stops_the_founding() {
        let (mut a, b, c) = (fresh(1, 10), fresh(2, 20), fresh(3, 30));
        tell(&b, &mut a);
        tell(&c, &mut a);
        prepare(&mut a);
        let wiped = fresh(3, 31);
        assert!(matches!(tell(&wiped, &mut a), Some(Step::Notice(_))));
        assert_eq!(a.conclude(), None);
    }

    #[test]
    fn a_promise_for_another_set_founds_nothing() {
        let (mut a, mut b, c) = (fresh(1, 10), fresh(2, 20), fresh(3, 30));
        for peer in [&b.clone(), &c] {
            tell(peer, &mut a);
        }
        prepare(&mut a);
        tell(&fresh(1, 10), &mut b);
        tell(&fresh(3, 31), &mut b);
        prepare(&mut b);
        tell(&b, &mut a);
        a.promises.insert(NodeId(3), a.promised.clone().unwrap());
        assert_eq!(a.conclude(), None, "node 2 promised a set with another incarnation of node 3");
    }

    #[test]
    fn an_incarnation_outside_the_set_learns_that_the_cluster_exists() {
        let set = {
            let members = vec![
                (NodeId(1), Incarnation(10)),
                (NodeId(2), Incarnation(20)),
                (NodeId(3), Incarnation(30)),
            ];
            Founding { cluster: identity("c", &members), name: "c".into(), members }
        };
        let mut wiped = fresh(3, 31);
        let answer = wiped.receive(NodeId(1), FoundingMessage::Founded(set.clone()));
        assert_eq!(answer, Some(Step::Found(set.clone())));
        assert!(!set.members.contains(&(NodeId(3), Incarnation(31))), "it will not vote");
    }

    #[test]
    fn a_node_that_joins_founds_nothing_and_takes_the_cluster_that_it_is_told_of() {
        let run = |name: &str| {
            FoundingRun::new(NodeId(9), Incarnation(90), name.into(), Founders::Unknown, None, 1)
        };
        let mut newcomer = run("c");
        let (a, b, c) = (fresh(1, 10), fresh(2, 20), fresh(3, 30));
        for founder in [&a, &b, &c] {
            assert_eq!((tell(founder, &mut newcomer), newcomer.conclude()), (None, None));
        }
        let members: Vec<_> =
            [(1, 10), (2, 20), (3, 30)].map(|(id, at)| (NodeId(id), Incarnation(at))).into();
        let set = Founding { cluster: identity("c", &members), name: "c".into(), members };
        let told = |set: &Founding| FoundingMessage::Founded(set.clone());
        assert_eq!(newcomer.receive(NodeId(2), told(&set)), Some(Step::Found(set.clone())));
        assert!(matches!(run("other").receive(NodeId(2), told(&set)), Some(Step::Notice(_))), "another name");
        let forged = Founding { cluster: ClusterId(1), ..set };
        assert!(matches!(newcomer.receive(NodeId(2), told(&forged)), Some(Step::Notice(_))));
    }

    #[test]
    fn a_node_of_another_configuration_is_not_counted_and_named_once() {
        let mut a = fresh(1, 10);
        let founders = Founders::Configured(MEMBERS.into());
        let other = FoundingRun::new(NodeId(2), Incarnation(2), "other".into(), founders, None, 1);
        assert!(matches!(tell(&other, &mut a), Some(Step::Notice(_))));
        assert_eq!(tell(&other, &mut a), None);
        assert_eq!(a.missing(), [NodeId(2), NodeId(3)]);
    }

    #[test]
    fn a_node_that_keeps_changing_its_configuration_is_not_remembered_without_end() {
        let mut a = fresh(1, 10);
        for name in 0..10 * COMPLAINTS {
            let founders = Founders::Configured(MEMBERS.into());
            let other = FoundingRun::new(NodeId(2), Incarnation(2), name.to_string(), founders, None, 1);
            tell(&other, &mut a);
        }
        assert_eq!(a.complained.len(), COMPLAINTS);
    }
}
