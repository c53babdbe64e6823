//! Who belongs to the cluster, whose votes and copies count, and which steps lead from one such set to another.
//!
//! A *voter* is a node together with its data directory: a directory that was wiped comes back as another one and is no voter until
//! it is made one. A *learner* is only a node: whatever directory it has copies the log, and is never counted.
//!
//! While one set of voters takes the place of another, a majority of each has to agree (joint consensus: Raft paper, section 6,
//! thesis, section 4.3). So at no moment can two majorities decide that have no node in common. Who is counted is decided here and
//! only here; when a step may be taken, and that it goes through the log, is for `raft/` to see to.
//!
//! A *witness* is a voter whose data directory holds no data, beside two whose do. It takes part in every majority but those that commit:
//! while the membership is *whole*, an entry is committed once both others hold it. *Degraded*, a majority of the three is enough, as
//! everywhere else, and then only one disk may hold the data of what is committed. Both are majorities of the same three, and whoever is
//! elected has the votes of a majority of them; so it makes no difference to what Raft promises which of the two is in force, and a leader
//! may change it at any time (`raft/witness.rs`). It is an entry of the log so that everybody can see on how many disks an answer rests
//! (Cheap Paxos: Lamport and Massa, DSN 2004).

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{Incarnation, Index, NodeId, listed};

/// Most voters: more would make every commit slower and bear no fault that seven do not.
pub const MAX_VOTERS: usize = 7;

/// Most members, learners included.
pub const MAX_MEMBERS: usize = 16;

/// A node whose votes and copies count, by its data directory.
pub type Voter = (NodeId, Incarnation);

/// The members of a cluster at one position of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    /// A majority of these decides. In order of their nodes, each of which is there once.
    voters: Vec<Voter>,
    /// While a change is under way, a majority of those who voted before it has to agree as well. Empty otherwise.
    before: Vec<Voter>,
    /// Nodes that copy the log and are not counted, in order.
    learners: Vec<NodeId>,
    /// One node with data and the witness are enough for a commit.
    degraded: bool,
}

/// The three lists; and 1 behind them if it is degraded, else nothing, so that what is written without a witness stays as it was. So it has
/// to be the last of whatever it is part of.
impl Serialize for Membership {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_tuple(if self.degraded { 4 } else { 3 })?;
        parts.serialize_element(&self.voters)?;
        parts.serialize_element(&self.before)?;
        parts.serialize_element(&self.learners)?;
        if self.degraded {
            parts.serialize_element(&1u8)?;
        }
        parts.end()
    }
}

impl<'de> Deserialize<'de> for Membership {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(4, Parts)
    }
}

struct Parts;

impl<'de> Visitor<'de> for Parts {
    type Value = Membership;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the members of a cluster")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Membership, A::Error> {
        let ended = || A::Error::custom("the members end early");
        let voters = parts.next_element()?.ok_or_else(ended)?;
        let before = parts.next_element()?.ok_or_else(ended)?;
        let learners = parts.next_element()?.ok_or_else(ended)?;
        // A byte fails only where there is none.
        let degraded = match parts.next_element::<u8>() {
            Err(_) | Ok(None) => false,
            Ok(Some(1)) => true,
            Ok(Some(_)) => return Err(A::Error::custom("a membership is degraded, or says nothing of it")),
        };
        Ok(Membership { voters, before, learners, degraded })
    }
}

/// A step that an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node copies the log from now on.
    Add(NodeId),
    /// A learner's data directory is counted from now on; or the present one of a node whose earlier one was.
    Promote(Voter),
    /// A voter goes on as a learner.
    Demote(NodeId),
    /// A node does not belong to the cluster any more.
    Remove(NodeId),
    /// A learner takes a voter's place.
    Replace {
        /// The voter.
        old: NodeId,
        /// The learner.
        new: Voter,
    },
}

/// Why a step can't be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Another change of voters is under way.
    UnderWay,
    /// The node is no member.
    NoMember(NodeId),
    /// The node is no voter, and so can't be replaced.
    NoVoter(NodeId),
    /// The node votes already, and so can't take another one's place.
    IsVoter(NodeId),
    /// Without this node nobody would vote.
    LastVoter(NodeId),
    /// There would be more voters than may be.
    TooManyVoters,
    /// There would be more members than may be.
    TooManyMembers,
    /// There is no node zero.
    NoSuchNode,
    /// This witness votes beside two nodes with data, and there would be so many others.
    WitnessBeside(NodeId, usize),
    /// This node is a witness, and holds no data to lead with.
    Witness(NodeId),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => {
                write!(f, "another change of the voters is under way: try again when it has ended")
            }
            Self::NoMember(node) => write!(f, "node {node} is no member: add it first"),
            Self::NoVoter(node) => {
                write!(f, "node {node} does not vote, so nobody can take its place: promote the other node")
            }
            Self::IsVoter(node) => write!(f, "node {node} votes already: remove the other node instead"),
            Self::LastVoter(node) => write!(f, "node {node} is the only voter: promote another one first"),
            Self::TooManyVoters => {
                write!(f, "there are {MAX_VOTERS} voters already: replace one, or remove one first")
            }
            Self::TooManyMembers => write!(f, "there are {MAX_MEMBERS} members already: remove one first"),
            Self::NoSuchNode => write!(f, "nodes are numbered from 1 on"),
            Self::WitnessBeside(node, others) => write!(
                f,
                "node {node} is a witness, and votes beside two nodes with data, not beside {others} others: remove the witness \
                 first, or replace one node by another"
            ),
            Self::Witness(node) => {
                write!(
                    f,
                    "node {node} is a witness: it holds no data, and never leads; name a node with data"
                )
            }
        }
    }
}

impl std::error::Error for ChangeError {}

impl Membership {
    /// Only voters, and no change under way. Ask [`Membership::is_sound`] if they come from elsewhere.
    #[must_use]
    pub fn of(mut voters: Vec<Voter>) -> Self {
        voters.sort_unstable();
        Self { voters, ..Self::default() }
    }

    /// What was written down somewhere, each set in order. Ask [`Membership::is_sound`] before it is used.
    #[must_use]
    pub fn from_parts(voters: Vec<Voter>, before: Vec<Voter>, learners: Vec<NodeId>) -> Self {
        Self { voters, before, learners, degraded: false }
    }

    /// Whether this can be a cluster's: what was read from elsewhere may be anything.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let rising = |set: &[Voter]| set.is_sorted_by(|a, b| a.0 < b.0) && set.len() <= MAX_VOTERS;
        !self.voters.is_empty()
            && rising(&self.voters)
            && rising(&self.before)
            && self.learners.is_sorted_by(|a, b| a < b)
            && self.nodes().len() <= MAX_MEMBERS + MAX_VOTERS
            && !self.learners.iter().any(|node| self.votes(*node))
            && self.sets().all(|set| has_place_for_witness(set).is_ok())
            && (!self.degraded || self.has_witness())
    }

    /// With these learners as well.
    #[must_use]
    pub fn with_learners(self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        let learners: BTreeSet<NodeId> = learners.into_iter().collect();
        Self { learners: learners.into_iter().collect(), ..self }
    }

    /// Those of whom a majority decides.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// Those of whom a majority has to agree as well, because they voted before the change that is under way.
    #[must_use]
    pub fn before(&self) -> &[Voter] {
        &self.before
    }

    /// Nodes that copy the log and are not counted.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// The voter that holds no data, if there is one; during a change that of the voters to be.
    #[must_use]
    pub fn witness(&self) -> Option<NodeId> {
        self.sets().find_map(witness_of).map(|(node, _)| node)
    }

    fn has_witness(&self) -> bool {
        self.witness().is_some()
    }

    /// Whether one node with data and the witness are enough for a commit.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// The same voters, whole or degraded.
    ///
    /// # Panics
    /// If it is to be degraded, and there is no witness.
    #[must_use]
    pub fn with_degraded(&self, degraded: bool) -> Self {
        assert!(!degraded || self.has_witness(), "only beside a witness one disk is enough");
        Self { degraded, ..self.clone() }
    }

    /// The voters that hold data, of the sets that have a witness: without one of these, whole, nothing is committed.
    pub fn beside_witness(&self) -> impl Iterator<Item = Voter> + '_ {
        let sets = self.sets().filter(|set| witness_of(set).is_some());
        sets.flatten().copied().filter(|(_, incarnation)| !incarnation.is_witness())
    }

    /// Whether one set of voters is taking another one's place.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.before.is_empty()
    }

    /// Whether this node's votes and copies count, from this data directory.
    #[must_use]
    pub fn is_voter(&self, voter: Voter) -> bool {
        self.voters.contains(&voter) || self.before.contains(&voter)
    }

    /// Whether this voter decides without anybody else.
    #[must_use]
    pub fn is_alone(&self, voter: Voter) -> bool {
        self.voters == [voter] && !self.is_joint()
    }

    /// Whether a node votes, or did before the change that is under way, from whatever directory.
    #[must_use]
    pub fn has_voter_at(&self, node: NodeId) -> bool {
        self.sets().flatten().any(|(voter, _)| *voter == node)
    }

    /// The nodes that vote, in order.
    #[must_use]
    pub fn voting_nodes(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.before).map(|(node, _)| *node).collect()
    }

    /// All nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.voting_nodes().into_iter().chain(self.learners.iter().copied()).collect()
    }

    /// Whether a majority says yes: of the voters, and during a change of those before as well.
    pub fn agrees(&self, yes: impl Fn(Voter) -> bool) -> bool {
        self.sets().all(|set| set.iter().filter(|voter| yes(**voter)).count() >= majority(set))
    }

    /// Whether so many say no that the others are no majority any more.
    pub fn refuses(&self, no: impl Fn(Voter) -> bool) -> bool {
        self.sets().any(|set| set.iter().filter(|voter| no(**voter)).count() > set.len() - majority(set))
    }

    /// Up to where a majority holds the log, and during a change a majority of those before as well. Beside a witness, unless degraded,
    /// both nodes with data have to.
    pub fn held(&self, by: impl Fn(Voter) -> Index) -> Index {
        let agreed = |set: &[Voter]| {
            if !self.degraded && witness_of(set).is_some() {
                let with_data = set.iter().filter(|(_, incarnation)| !incarnation.is_witness());
                return with_data.map(|voter| by(*voter)).min().unwrap_or_default();
            }
            // On the stack, for it is asked for with every batch.
            let mut held = [Index(0); MAX_VOTERS];
            for (place, voter) in held.iter_mut().zip(set) {
                *place = by(*voter);
            }
            held.sort_unstable_by(|a, b| b.cmp(a));
            held[majority(set) - 1]
        };
        self.sets().map(agreed).min().unwrap_or_default()
    }

    /// What a step makes of this: the members themselves if there is nothing to do, and a joint membership if other voters than
    /// now are to decide.
    ///
    /// # Errors
    /// [`ChangeError`] says why the step can't be taken.
    pub fn change(&self, change: Change) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        match change {
            Change::Add(node) => next.add(node)?,
            Change::Promote(voter) => next.promote(voter)?,
            Change::Demote(node) => next.demote(node)?,
            Change::Remove(node) => next.remove(node)?,
            Change::Replace { old, new } => next.replace(old, new)?,
        }
        if next == *self {
            return Ok(next);
        }
        if self.is_joint() {
            return Err(ChangeError::UnderWay);
        }
        if next.voters != self.voters {
            has_place_for_witness(&next.voters)
                .map_err(|(node, others)| ChangeError::WitnessBeside(node, others))?;
            next.before.clone_from(&self.voters);
        }
        if next.voters.len() > MAX_VOTERS {
            return Err(ChangeError::TooManyVoters);
        }
        if next.nodes().len() > MAX_MEMBERS {
            return Err(ChangeError::TooManyMembers);
        }
        Ok(next)
    }

    /// The change is agreed on: those before are not asked any more.
    #[must_use]
    pub fn settled(&self) -> Self {
        let settled = Self { before: Vec::new(), ..self.clone() };
        Self { degraded: self.degraded && settled.has_witness(), ..settled }
    }

    fn add(&mut self, node: NodeId) -> Result<(), ChangeError> {
        if node == NodeId(0) {
            return Err(ChangeError::NoSuchNode);
        }
        if !self.votes(node) && !self.learners.contains(&node) {
            self.learners.push(node);
            self.learners.sort_unstable();
        }
        Ok(())
    }

    fn promote(&mut self, voter: Voter) -> Result<(), ChangeError> {
        if !self.nodes().contains(&voter.0) {
            return Err(ChangeError::NoMember(voter.0));
        }
        self.drop_node(voter.0);
        self.voters.push(voter);
        self.voters.sort_unstable();
        Ok(())
    }

    fn demote(&mut self, node: NodeId) -> Result<(), ChangeError> {
        if !self.votes(node) {
            return if self.learners.contains(&node) { Ok(()) } else { Err(ChangeError::NoMember(node)) };
        }
        self.remove(node)?;
        self.add(node)
    }

    fn remove(&mut self, node: NodeId) -> Result<(), ChangeError> {
        self.drop_node(node);
        if self.voters.is_empty() { Err(ChangeError::LastVoter(node)) } else { Ok(()) }
    }

    fn replace(&mut self, old: NodeId, new: Voter) -> Result<(), ChangeError> {
        match (self.votes(old), self.voters.contains(&new)) {
            // It was done already.
            (false, true) => return Ok(()),
            _ if old == new.0 => {}
            (false, false) => return Err(ChangeError::NoVoter(old)),
            (true, _) if self.votes(new.0) => return Err(ChangeError::IsVoter(new.0)),
            (true, _) => {}
        }
        self.promote(new)?;
        if old != new.0 {
            self.drop_node(old);
        }
        Ok(())
    }

    /// Whether a node is to vote, from whatever directory.
    fn votes(&self, node: NodeId) -> bool {
        self.voters.iter().any(|(voter, _)| *voter == node)
    }

    /// From now on the node neither votes nor learns.
    fn drop_node(&mut self, node: NodeId) {
        self.voters.retain(|(voter, _)| *voter != node);
        self.learners.retain(|learner| *learner != node);
    }

    /// The sets of which each has to agree.
    fn sets(&self) -> impl Iterator<Item = &[Voter]> {
        [&self.voters[..], &self.before[..]].into_iter().filter(|set| !set.is_empty())
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = |set: &[Voter]| listed(&set.iter().map(|(node, _)| *node).collect::<Vec<_>>());
        write!(f, "voters {}", nodes(&self.voters))?;
        if self.is_joint() {
            write!(f, ", before {}", nodes(&self.before))?;
        }
        if !self.learners.is_empty() {
            write!(f, ", learners {}", listed(&self.learners))?;
        }
        if let Some(witness) = self.witness() {
            write!(f, ", witness {witness}, {}", if self.degraded { "degraded" } else { "whole" })?;
        }
        Ok(())
    }
}

/// Longest address of a node, in bytes: the longest host name, a colon and a port (RFC 1035, section 2.3.4).
pub const MAX_ADDRESS: usize = 261;

/// Whether a text says where a node is reached: a host and a port. What the host is, the system that connects will tell.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let printable = text.len() <= MAX_ADDRESS && text.bytes().all(|byte| byte.is_ascii_graphic());
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    printable && port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The voter of a set that holds no data.
fn witness_of(set: &[Voter]) -> Option<Voter> {
    set.iter().copied().find(|(_, incarnation)| incarnation.is_witness())
}

/// Whether these may vote together: a witness only as one of three, the others with data.
///
/// # Errors
/// The witness, and how many others hold data.
pub fn has_place_for_witness(set: &[Voter]) -> Result<(), (NodeId, usize)> {
    let Some((node, _)) = witness_of(set) else { return Ok(()) };
    let with_data = set.iter().filter(|(_, incarnation)| !incarnation.is_witness()).count();
    if with_data == 2 && set.len() == 3 { Ok(()) } else { Err((node, with_data)) }
}

/// How many of a set are a majority.
fn majority(set: &[Voter]) -> usize {
    set.len() / 2 + 1
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
