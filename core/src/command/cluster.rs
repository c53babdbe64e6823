//! The commands that change who belongs to the cluster, and the one that shows it.
//!
//! A step is decided by the leader at the tail of its log, like every other command: from the newest membership there, and from what it
//! knows of the members, which the node hands in. Each can be asked for again: what is done already changes nothing.

use serde::{Deserialize, Serialize};

use super::Command;
use super::catalogue::shown;
use super::evaluate::Evaluation;
use super::info::number as figure;
use super::needs::Needs;
use super::parse::{Words, argument};
use super::words::{Word, number};
use crate::access::user::Area;
use crate::error::{ErrorCode, Failure};
use crate::membership::{Change, ChangeError, Membership, Voter, is_address};
use crate::raft::{MemberSeen, NotNow};
use crate::reply::{Outcome, Value};
use crate::state::effect::Effect;
use crate::types::{Index, NodeId};

/// A learner that lacks more entries than this would keep the writes after its promotion waiting (thesis, section 4.2.1).
const CAUGHT_UP: u64 = 1000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterCommand {
    /// A node learns from now on, if it is no member; and is reached there.
    Add {
        /// Which.
        node: NodeId,
        /// Where, if that is to change.
        address: Option<String>,
    },
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
    /// A voter takes over the leadership.
    Transfer(NodeId),
    /// A voter leads rather than those with a lower number.
    Prefer {
        /// Which.
        node: NodeId,
        /// How much.
        priority: u32,
    },
    /// Who belongs to it, and how far each is.
    Members,
}

impl ClusterCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add { .. } => "CLUSTER ADD",
            Self::Promote(_) => "CLUSTER PROMOTE",
            Self::Demote(_) => "CLUSTER DEMOTE",
            Self::Remove(_) => "CLUSTER REMOVE",
            Self::Replace { .. } => "CLUSTER REPLACE",
            Self::Transfer(_) => "CLUSTER TRANSFER",
            Self::Prefer { .. } => "CLUSTER PREFER",
            Self::Members => "CLUSTER MEMBERS",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Members | Self::Transfer(_))
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        Needs::Admin(Area::Cluster)
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        let mut plain = |word: &[u8]| each(Word::Plain(word));
        match self {
            Self::Add { node, address } => {
                plain(&number(node));
                address.iter().for_each(|address| plain(address.as_bytes()));
            }
            Self::Promote(one) | Self::Demote(one) | Self::Remove(one) | Self::Transfer(one) => {
                plain(&number(one));
            }
            Self::Replace { old, new } => {
                plain(&number(old));
                plain(&number(new));
            }
            Self::Prefer { node, priority } => {
                plain(&number(node));
                plain(&number(priority));
            }
            Self::Members => {}
        }
    }
}

impl Words<'_> {
    /// Nothing, `node`, `node node`, `node address` or `node number`.
    pub(super) fn cluster(&mut self) -> Result<Command, Failure> {
        Ok(Command::Cluster(match self.name() {
            "CLUSTER ADD" => ClusterCommand::Add { node: self.node()?, address: self.address()? },
            "CLUSTER PROMOTE" => ClusterCommand::Promote(self.node()?),
            "CLUSTER DEMOTE" => ClusterCommand::Demote(self.node()?),
            "CLUSTER REMOVE" => ClusterCommand::Remove(self.node()?),
            "CLUSTER REPLACE" => ClusterCommand::Replace { old: self.node()?, new: self.node()? },
            "CLUSTER TRANSFER" => ClusterCommand::Transfer(self.node()?),
            "CLUSTER PREFER" => {
                let (node, most) = (self.node()?, u64::from(u32::MAX));
                let priority = self.between("the priority", 0, most)?;
                ClusterCommand::Prefer { node, priority: u32::try_from(priority).expect("it was measured") }
            }
            _ => ClusterCommand::Members,
        }))
    }

    fn node(&mut self) -> Result<NodeId, Failure> {
        let number = self.between("the node's number", 1, u64::from(u16::MAX))?;
        Ok(NodeId(u16::try_from(number).expect("it was measured")))
    }

    fn address(&mut self) -> Result<Option<String>, Failure> {
        if self.left() == 0 {
            return Ok(None);
        }
        let word = self.next()?;
        match std::str::from_utf8(&word) {
            Ok(address) if is_address(address) => Ok(Some(address.to_owned())),
            _ => Err(argument(format!(
                "{} is no address: write host:port, such as 10.0.0.4:7878",
                shown(&word)
            ))),
        }
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
            ClusterCommand::Transfer(to) => return self.may_transfer(*to, &members),
            ClusterCommand::Prefer { node, priority } => return self.prefer(*node, *priority, &members),
            ClusterCommand::Add { node, .. } => Change::Add(*node),
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
            let gone: Vec<NodeId> = members.nodes().difference(&next.nodes()).copied().collect();
            self.view.effect(Effect::Membership(next));
            let forgotten = self.view.forget_nodes(&gone);
            forgotten.into_iter().for_each(|effect| self.view.effect(effect));
        }
        if let ClusterCommand::Add { node, address: Some(address) } = command
            && self.view.addresses().get(node) != Some(address)
        {
            self.view.effect(Effect::Located { node: *node, address: Some(address.clone()) });
        }
        Ok(Value::Status("OK".into()))
    }

    /// Whether a node can be asked to lead. The leader goes on from there, with what it knows of it.
    fn may_transfer(&self, to: NodeId, members: &Membership) -> Outcome {
        if !matches!(self.request.command, Command::Cluster(_)) {
            let text =
                "a transfer leaves nothing in the log that could be answered again: ask for it without an id";
            return Err(argument(text.into()));
        }
        if members.witness() == Some(to) {
            return Err(refused(&ChangeError::Witness(to)));
        }
        if members.voters().iter().any(|(voter, _)| *voter == to) {
            return Ok(Value::Status("OK".into()));
        }
        Err(refused(&if members.nodes().contains(&to) {
            ChangeError::NoVoter(to)
        } else {
            ChangeError::NoMember(to)
        }))
    }

    fn prefer(&mut self, node: NodeId, priority: u32, members: &Membership) -> Outcome {
        if !members.nodes().contains(&node) {
            return Err(refused(&ChangeError::NoMember(node)));
        }
        if members.witness() == Some(node) && priority > 0 {
            return Err(refused(&ChangeError::Witness(node)));
        }
        if self.view.priorities().get(&node).copied().unwrap_or(0) != priority {
            self.view.effect(Effect::Preferred { node, priority });
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

    fn show_members(&mut self, members: &Membership) -> Value {
        let (addresses, priorities) = (self.view.addresses(), self.view.priorities());
        let one = |node: NodeId| {
            let votes = members.voters().iter().any(|(voter, _)| *voter == node);
            let part = match (votes, members.learners().contains(&node)) {
                (true, _) if members.witness() == Some(node) => "witness",
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
                    ("leads", flag(self.request.info.members_seen.leader == Some(node))),
                    ("counted", flag(counted && seen.is_some_and(|seen| !seen.doubts))),
                    ("heard", flag(seen.is_some_and(|seen| seen.heard))),
                    ("match", figure(matched.0)),
                    (
                        "address",
                        addresses.get(&node).map_or(Value::Nil, |it| Value::Bytes(it.as_str().into())),
                    ),
                    ("priority", Value::Int(priorities.get(&node).copied().unwrap_or(0).into())),
                    ("degraded", flag(members.witness() == Some(node) && self.request.info.witness.degraded)),
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
