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
mod tests {
    use super::*;

    fn voter(id: u16) -> Voter {
        (NodeId(id), Incarnation(u64::from(id)))
    }

    fn of(ids: &[u16]) -> Membership {
        Membership::of(ids.iter().map(|id| voter(*id)).collect())
    }

    fn ids(set: &[Voter]) -> Vec<u16> {
        set.iter().map(|(node, _)| node.0).collect()
    }

    #[test]
    fn during_a_change_a_majority_of_each_set_has_to_agree() {
        let joint =
            of(&[1, 2, 3]).with_learners([NodeId(4)]).change(Change::Promote(voter(4))).expect("a step");
        assert_eq!((ids(joint.voters()), ids(joint.before())), (vec![1, 2, 3, 4], vec![1, 2, 3]));
        let agrees = |yes: &[u16]| joint.agrees(|(node, _)| yes.contains(&node.0));
        assert!(agrees(&[1, 2, 4]) && agrees(&[1, 2, 3]));
        assert!(!agrees(&[1, 2]), "two of four");
        assert!(!agrees(&[3, 4]), "one of three before");
        let refuses = |no: &[u16]| joint.refuses(|(node, _)| no.contains(&node.0));
        assert!(refuses(&[1, 2]) && refuses(&[3, 4]), "two of three before, two of four");
        assert!(!refuses(&[4]) && !refuses(&[1]));
        let held = [(1, 9), (2, 7), (3, 5), (4, 8)];
        let by = |(node, _): Voter| Index(held.iter().find(|(id, _)| *id == node.0).map_or(0, |(_, at)| *at));
        assert_eq!(joint.held(by), Index(7));
        assert_eq!(joint.settled().held(by), Index(7), "three of four");
        assert_eq!(of(&[1, 2, 3, 4]).held(by), Index(7));
    }

    fn with_witness() -> Membership {
        Membership::of(vec![voter(1), voter(2), (NodeId(3), Incarnation::of_witness(3))])
    }

    #[test]
    fn beside_a_witness_both_others_have_to_hold_an_entry_unless_it_is_degraded() {
        let whole = with_witness();
        let held = [(1, 9), (2, 5), (3, 7)];
        let by = |(node, _): Voter| Index(held.iter().find(|(id, _)| *id == node.0).map_or(0, |(_, at)| *at));
        assert_eq!((whole.held(by), whole.with_degraded(true).held(by)), (Index(5), Index(7)));
        assert!(whole.agrees(|(node, _)| node.0 != 1), "it votes as everybody");
        assert_eq!((whole.witness(), whole.beside_witness().count()), (Some(NodeId(3)), 2));
        let removed = whole.with_degraded(true).change(Change::Remove(NodeId(3))).expect("a step");
        assert!(removed.is_degraded() && !removed.settled().is_degraded(), "without a witness nothing is");
        assert_eq!(removed.held(by), Index(5), "those who stay have to agree");
    }

    #[test]
    fn a_witness_votes_beside_two_nodes_with_data_and_no_others() {
        let members = with_witness().with_learners([NodeId(4)]);
        let refused = |change| members.change(change).expect_err("refused");
        assert_eq!(refused(Change::Promote(voter(4))), ChangeError::WitnessBeside(NodeId(3), 3));
        assert_eq!(refused(Change::Remove(NodeId(1))), ChangeError::WitnessBeside(NodeId(3), 1));
        let second = (NodeId(4), Incarnation::of_witness(4));
        assert!(matches!(
            refused(Change::Replace { old: NodeId(2), new: second }),
            ChangeError::WitnessBeside(..)
        ));
        for fine in [
            Change::Replace { old: NodeId(2), new: voter(4) },
            Change::Replace { old: NodeId(3), new: second },
            Change::Replace { old: NodeId(3), new: voter(4) },
        ] {
            assert!(members.change(fine).expect("a step").settled().is_sound(), "{fine:?}");
        }
        let three = of(&[1, 2, 5]).with_learners([NodeId(4)]);
        let taken = three.change(Change::Replace { old: NodeId(5), new: second }).expect("a step");
        assert_eq!(taken.settled().witness(), Some(NodeId(4)));
        let alone = Membership::of(vec![(NodeId(3), Incarnation::of_witness(3))]);
        assert!(!alone.is_sound() && members.is_sound());
        assert!(
            !Membership { degraded: true, ..of(&[1, 2, 3]) }.is_sound(),
            "nothing is degraded without one"
        );
    }

    #[test]
    fn only_what_is_degraded_has_another_byte() {
        let bytes = |members: &Membership| postcard::to_stdvec(members).expect("plain numbers");
        let (whole, degraded) = (with_witness(), with_witness().with_degraded(true));
        assert_eq!(bytes(&degraded).len(), bytes(&whole).len() + 1);
        for members in [&whole, &degraded, &of(&[1, 2])] {
            assert_eq!(postcard::from_bytes::<Membership>(&bytes(members)).as_ref(), Ok(members));
        }
        for flag in [0, 2] {
            let mut wrong = bytes(&whole);
            wrong.push(flag);
            assert!(postcard::from_bytes::<Membership>(&wrong).is_err(), "{flag}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["10.0.0.4:7878", "db4.example:1", "[::1]:65535"] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}:1", "h".repeat(MAX_ADDRESS - 1));
        for bad in ["", "host", ":1", "host:0", "host:65536", "host:x", "a host:1", "h\u{e4}:1", &long] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn half_is_no_majority_and_half_refuses() {
        let even = of(&[1, 2]);
        assert!(!even.agrees(|(node, _)| node.0 == 1) && even.refuses(|(node, _)| node.0 == 1));
        assert_eq!(even.held(|(node, _)| Index(u64::from(node.0))), Index(1));
    }

    #[test]
    fn a_wiped_directory_is_no_voter_until_it_is_promoted() {
        let members = of(&[1, 2, 3]);
        let wiped = (NodeId(3), Incarnation(77));
        assert!(!members.is_voter(wiped) && members.is_voter(voter(3)));
        let joint = members.change(Change::Promote(wiped)).expect("a step");
        assert!(joint.is_voter(wiped) && joint.is_voter(voter(3)), "until the change has ended");
        let after = joint.settled();
        assert!(after.is_voter(wiped) && !after.is_voter(voter(3)));
    }

    #[test]
    fn steps_that_were_taken_are_not_taken_again() {
        let members = of(&[1, 2, 3]).with_learners([NodeId(4)]);
        for change in [
            Change::Add(NodeId(4)),
            Change::Add(NodeId(2)),
            Change::Promote(voter(2)),
            Change::Remove(NodeId(9)),
            Change::Replace { old: NodeId(9), new: voter(2) },
        ] {
            assert_eq!(members.change(change).as_ref(), Ok(&members), "{change:?}");
        }
        let joint = members.change(Change::Promote(voter(4))).expect("a step");
        assert_eq!(joint.change(Change::Promote(voter(4))), Ok(joint.clone()), "while it is under way, too");
    }

    #[test]
    fn a_replacement_is_one_step() {
        let members = of(&[1, 2, 3]).with_learners([NodeId(4)]);
        let joint = members.change(Change::Replace { old: NodeId(3), new: voter(4) }).expect("a step");
        assert_eq!((ids(joint.voters()), ids(joint.before())), (vec![1, 2, 4], vec![1, 2, 3]));
        assert_eq!(joint.settled(), of(&[1, 2, 4]));
    }

    #[test]
    fn a_voter_can_go_on_as_a_learner() {
        let joint = of(&[1, 2, 3]).change(Change::Demote(NodeId(2))).expect("a step");
        assert_eq!(joint.settled(), of(&[1, 3]).with_learners([NodeId(2)]));
        let again = joint.settled().change(Change::Demote(NodeId(2)));
        assert_eq!(again, Ok(joint.settled()));
    }

    #[test]
    fn what_cant_be_done_is_refused() {
        let members = of(&[1, 2, 3]).with_learners([NodeId(4)]);
        let refused = |members: &Membership, change| members.change(change).expect_err("refused");
        assert_eq!(refused(&members, Change::Promote(voter(5))), ChangeError::NoMember(NodeId(5)));
        assert_eq!(refused(&of(&[1]), Change::Remove(NodeId(1))), ChangeError::LastVoter(NodeId(1)));
        let replace = |old, new| Change::Replace { old: NodeId(old), new: voter(new) };
        assert_eq!(refused(&members, replace(4, 9)), ChangeError::NoVoter(NodeId(4)));
        assert_eq!(refused(&members, replace(1, 2)), ChangeError::IsVoter(NodeId(2)));
        assert_eq!(refused(&members, replace(1, 9)), ChangeError::NoMember(NodeId(9)));
        assert_eq!(refused(&members, Change::Add(NodeId(0))), ChangeError::NoSuchNode);
        let joint = members.change(Change::Promote(voter(4))).expect("a step");
        assert_eq!(refused(&joint, Change::Remove(NodeId(3))), ChangeError::UnderWay);
        assert_eq!(refused(&joint, Change::Add(NodeId(5))), ChangeError::UnderWay);
        let leaving = members.change(Change::Remove(NodeId(3))).expect("a step");
        assert_eq!(refused(&leaving, Change::Add(NodeId(3))), ChangeError::UnderWay);
        assert_eq!(refused(&of(&[1]), Change::Demote(NodeId(1))), ChangeError::LastVoter(NodeId(1)));
        assert_eq!(refused(&members, Change::Demote(NodeId(9))), ChangeError::NoMember(NodeId(9)));
        let seven = of(&[1, 2, 3, 4, 5, 6, 7]).with_learners([NodeId(8)]);
        assert_eq!(refused(&seven, Change::Promote(voter(8))), ChangeError::TooManyVoters);
        let full = of(&[1]).with_learners((2..=16).map(NodeId));
        assert_eq!(refused(&full, Change::Add(NodeId(17))), ChangeError::TooManyMembers);
    }
}
