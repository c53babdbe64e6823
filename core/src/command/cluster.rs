//! The commands that change who belongs to the cluster, and the one that shows it.
//!
//! A step is decided by the leader at the tail of its log, like every other command: from the newest membership there, and from what it
//! knows of the members, which the node hands in. Each can be asked for again: what is done already changes nothing.

use serde::{Deserialize, Serialize};

use super::Command;
use super::evaluate::Evaluation;
use super::info::number as figure;
use super::needs::Needs;
use super::parse::Words;
use super::words::{Word, number};
use crate::access::user::Area;
use crate::error::{ErrorCode, Failure};
use crate::membership::{Change, ChangeError, Membership, Voter};
use crate::raft::{MemberSeen, NotNow};
use crate::reply::{Outcome, Value};
use crate::state::effect::Effect;
use crate::types::{Index, NodeId};

/// A learner that lacks more entries than this would keep the writes after its promotion waiting (thesis, section 4.2.1).
const CAUGHT_UP: u64 = 1000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterCommand {
    /// A node learns from now on.
    Add(NodeId),
    /// A learner votes from now on, or the new directory of a voter does.
    Promote(NodeId),
    /// A voter only learns from now on.
    Demote(NodeId),
    /// A node does not belong to the cluster any more.
    Remove(NodeId),
    /// A learner votes in place of a voter, which goes.
    Replace {
        /// The voter.
        old: NodeId,
        /// The learner.
        new: NodeId,
    },
    /// Who belongs to it, and how far each is.
    Members,
}

impl ClusterCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "CLUSTER ADD",
            Self::Promote(_) => "CLUSTER PROMOTE",
            Self::Demote(_) => "CLUSTER DEMOTE",
            Self::Remove(_) => "CLUSTER REMOVE",
            Self::Replace { .. } => "CLUSTER REPLACE",
            Self::Members => "CLUSTER MEMBERS",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Members)
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        Needs::Admin(Area::Cluster)
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        let mut node = |node: &NodeId| each(Word::Plain(&number(node)));
        match self {
            Self::Add(one) | Self::Promote(one) | Self::Demote(one) | Self::Remove(one) => node(one),
            Self::Replace { old, new } => {
                node(old);
                node(new);
            }
            Self::Members => {}
        }
    }
}

impl Words<'_> {
    /// Nothing, `node`, or `node node`.
    pub(super) fn cluster(&mut self) -> Result<Command, Failure> {
        Ok(Command::Cluster(match self.name() {
            "CLUSTER ADD" => ClusterCommand::Add(self.node()?),
            "CLUSTER PROMOTE" => ClusterCommand::Promote(self.node()?),
            "CLUSTER DEMOTE" => ClusterCommand::Demote(self.node()?),
            "CLUSTER REMOVE" => ClusterCommand::Remove(self.node()?),
            "CLUSTER REPLACE" => ClusterCommand::Replace { old: self.node()?, new: self.node()? },
            _ => ClusterCommand::Members,
        }))
    }

    fn node(&mut self) -> Result<NodeId, Failure> {
        let number = self.between("the node's number", 1, u64::from(u16::MAX))?;
        Ok(NodeId(u16::try_from(number).expect("it was measured")))
    }
}

impl Evaluation<'_> {
    pub(super) fn cluster(&mut self, command: &ClusterCommand) -> Outcome {
        let members = self.view.membership().ok_or_else(not_founded)?;
        if let ClusterCommand::Promote(node) | ClusterCommand::Replace { new: node, .. } = command
            && !members.nodes().contains(node)
        {
            return Err(refused(&ChangeError::NoMember(*node)));
        }
        let change = match command {
            ClusterCommand::Members => return Ok(self.show_members(&members)),
            ClusterCommand::Add(node) => Change::Add(*node),
            ClusterCommand::Demote(node) => Change::Demote(*node),
            ClusterCommand::Remove(node) => Change::Remove(*node),
            ClusterCommand::Promote(node) => Change::Promote(self.directory_of(*node, &members)?),
            ClusterCommand::Replace { old, new } => {
                Change::Replace { old: *old, new: self.directory_of(*new, &members)? }
            }
        };
        let next = members.change(change).map_err(|error| refused(&error))?;
        if next != members {
            self.may_become(&members, &next)?;
            self.view.effect(Effect::Membership(next));
        }
        Ok(Value::Status("OK".into()))
    }

    /// The data directory that a node votes from, or would.
    fn directory_of(&self, node: NodeId, members: &Membership) -> Result<Voter, Failure> {
        let votes = members.voters().iter().find(|(voter, _)| *voter == node);
        match (self.seen_of(node).and_then(|seen| Some((node, seen.incarnation?))), votes) {
            (Some(voter), _) => Ok(voter),
            // Nothing says that its directory is another one by now.
            (None, Some(voter)) => Ok(*voter),
            (None, None) => {
                Err(not_now(format!("node {node} was not heard of yet: start it, and try again")))
            }
        }
    }

    /// Whether the leader can begin with this step now, and everybody who votes then is fit for it.
    fn may_become(&self, now: &Membership, next: &Membership) -> Result<(), Failure> {
        let seen = &self.request.info.members_seen;
        match seen.may_change {
            Ok(()) => {}
            Err(NotNow::UnderWay) => return Err(refused(&ChangeError::UnderWay)),
            Err(NotNow::NewLeader | NotNow::NotLeader) => {
                let text = "the leader has just been elected and does not know yet whether a change is under way: try again";
                return Err(not_now(text.into()));
            }
        }
        for voter in next.voters().iter().filter(|voter| !now.voters().contains(voter)) {
            let known =
                self.seen_of(voter.0).filter(|seen| seen.incarnation == Some(voter.1) && !seen.doubts);
            let known = known.ok_or_else(|| {
                not_now(format!("node {} was not heard of yet: start it, and try again", voter.0))
            })?;
            let lacks = seen.last.0.saturating_sub(known.matched.0);
            if lacks > CAUGHT_UP {
                let text = format!(
                    "node {} still lacks {lacks} entries, and may lack {CAUGHT_UP} at most: try again when it has them",
                    voter.0
                );
                return Err(not_now(text));
            }
        }
        let is_there = |(node, incarnation): Voter| {
            self.seen_of(node)
                .is_some_and(|seen| seen.heard && seen.incarnation == Some(incarnation) && !seen.doubts)
        };
        if next.voters() != now.voters() && !next.settled().agrees(is_there) {
            let text = format!(
                "of {next} too few are heard by the leader now: nothing could be committed; bring them up first"
            );
            return Err(not_now(text));
        }
        Ok(())
    }

    fn seen_of(&self, node: NodeId) -> Option<&MemberSeen> {
        self.request.info.members_seen.seen.iter().find(|seen| seen.node == node)
    }

    fn show_members(&self, members: &Membership) -> Value {
        let one = |node: NodeId| {
            let votes = members.voters().iter().any(|(voter, _)| *voter == node);
            let part = match (votes, members.learners().contains(&node)) {
                (true, _) => "voter",
                (false, true) => "learner",
                (false, false) => "leaving",
            };
            let seen = self.seen_of(node);
            let incarnation = seen.and_then(|seen| seen.incarnation);
            let counted = incarnation.is_some_and(|incarnation| members.is_voter((node, incarnation)));
            let matched = seen.map_or(Index(0), |seen| seen.matched);
            let flag = |on: bool| Value::Int(on.into());
            Value::Map(
                [
                    ("node", Value::Int(node.0.into())),
                    ("part", Value::Bytes(part.into())),
                    ("counted", flag(counted && seen.is_some_and(|seen| !seen.doubts))),
                    ("heard", flag(seen.is_some_and(|seen| seen.heard))),
                    ("match", figure(matched.0)),
                ]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            )
        };
        Value::List(members.nodes().into_iter().map(one).collect())
    }
}

/// Why no answer can be had before the cluster exists.
fn not_founded() -> Failure {
    not_now("the cluster is being founded: try again".into())
}

fn not_now(text: String) -> Failure {
    Failure::new(ErrorCode::MembersBusy, text)
}

fn refused(error: &ChangeError) -> Failure {
    match error {
        ChangeError::UnderWay => not_now(error.to_string()),
        _ => Failure::new(ErrorCode::MembersRefused, error.to_string()),
    }
}
