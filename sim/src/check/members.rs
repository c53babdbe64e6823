//! Changes of the members, as the judges understand them: which steps the log may take from one membership to the next, and what a
//! client may believe who was told that one was taken, or where a node is, or that it is to lead. Written from the documentation; shares no code with the core but the bytes of
//! the log. Whether enough nodes hold an entry is for `raft.rs` to say, which watches them.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::membership::Membership;
use steadfast_core::state::effect::{Cause, Effect};
use steadfast_core::types::{Blob, Incarnation, Index, NodeId};

use super::asked::{Asked, Unread, bad, unsigned, word};
use super::grants::Need;
use super::log::LogEntry;
use super::{Stop, Verdict, fail};
use crate::history::{End, History};

/// This judge's name.
pub const JUDGE: &str = "members";

/// A command on members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnMembers {
    /// `CLUSTER ADD node [address]`
    Add(NodeId, Option<String>),
    /// `CLUSTER PROMOTE node`
    Promote(NodeId),
    /// `CLUSTER DEMOTE node`
    Demote(NodeId),
    /// `CLUSTER REMOVE node`
    Remove(NodeId),
    /// `CLUSTER REPLACE old new`
    Replace(NodeId, NodeId),
    /// `CLUSTER PREFER node priority`
    Prefer(NodeId, u32),
    /// `CLUSTER TRANSFER node`
    Transfer(NodeId),
    /// `CLUSTER MEMBERS`
    Show,
}

impl OnMembers {
    pub(super) fn read(rest: &[Blob]) -> Result<Self, Unread> {
        let node = |word: &Blob| match unsigned(word)? {
            number @ 1..=65_535 => Ok(NodeId(number as u16)),
            _ => Err(bad("no node has this number")),
        };
        match (word(rest.first()).as_str(), rest) {
            ("MEMBERS", [_]) => Ok(Self::Show),
            ("ADD", [_, one]) => Ok(Self::Add(node(one)?, None)),
            ("ADD", [_, one, address]) => {
                let text = String::from_utf8(address.to_vec()).map_err(|_| bad("no address"))?;
                Ok(Self::Add(node(one)?, Some(text)))
            }
            ("PREFER", [_, one, priority]) => match u32::try_from(unsigned(priority)?) {
                Ok(priority) => Ok(Self::Prefer(node(one)?, priority)),
                Err(_) => Err(bad("no such priority")),
            },
            ("TRANSFER", [_, one]) => node(one).map(Self::Transfer),
            ("PROMOTE", [_, one]) => node(one).map(Self::Promote),
            ("DEMOTE", [_, one]) => node(one).map(Self::Demote),
            ("REMOVE", [_, one]) => node(one).map(Self::Remove),
            ("REPLACE", [_, old, new]) => Ok(Self::Replace(node(old)?, node(new)?)),
            _ => Err(bad("CLUSTER with wrong arguments")),
        }
    }

    pub(super) fn is_write(&self) -> bool {
        !matches!(self, Self::Show | Self::Transfer(_))
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        vec![Need::Admin("cluster")]
    }
}

/// Who belongs to the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Members {
    voters: BTreeMap<NodeId, Incarnation>,
    before: BTreeMap<NodeId, Incarnation>,
    learners: BTreeSet<NodeId>,
    addresses: BTreeMap<NodeId, String>,
    /// Those that are not zero.
    priorities: BTreeMap<NodeId, u32>,
    /// Beside a witness: one of the two nodes with data is enough for a commit.
    degraded: bool,
}

impl Members {
    /// After an entry; what it says nothing of stays.
    fn after(&self, membership: &Membership) -> Self {
        Self {
            addresses: self.addresses.clone(),
            priorities: self.priorities.clone(),
            voters: membership.voters().iter().copied().collect(),
            before: membership.before().iter().copied().collect(),
            learners: membership.learners().iter().copied().collect(),
            degraded: membership.is_degraded(),
        }
    }

    /// Whether a node that votes holds no data.
    fn has_witness(&self) -> bool {
        self.voters.values().chain(self.before.values()).any(|directory| directory.is_witness())
    }

    /// Whether this is so of what was asked for.
    fn is(&self, asked: &OnMembers) -> bool {
        let votes = |node| self.voters.contains_key(&node);
        match *asked {
            OnMembers::Add(node, ref address) => {
                let there = address.as_ref().is_none_or(|it| self.addresses.get(&node) == Some(it));
                there && (votes(node) || self.learners.contains(&node))
            }
            OnMembers::Prefer(node, priority) => self.priorities.get(&node).copied().unwrap_or(0) == priority,
            OnMembers::Promote(node) => votes(node) && !self.learners.contains(&node),
            OnMembers::Demote(node) => !votes(node) && self.learners.contains(&node),
            OnMembers::Remove(node) => !votes(node) && !self.learners.contains(&node),
            OnMembers::Replace(old, new) => (old == new || !votes(old)) && votes(new),
            OnMembers::Transfer(_) | OnMembers::Show => true,
        }
    }

    /// Whether a node belongs to the cluster.
    fn has(&self, node: NodeId) -> bool {
        self.voters.contains_key(&node) || self.before.contains_key(&node) || self.learners.contains(&node)
    }

    /// The nodes that vote or learn differently in another membership.
    fn differs(&self, other: &Self) -> BTreeSet<NodeId> {
        let all = [&self.voters, &other.voters].into_iter().flat_map(BTreeMap::keys);
        let all = all.chain(&self.learners).chain(&other.learners);
        let part = |of: &Self, node: &NodeId| (of.voters.get(node).copied(), of.learners.contains(node));
        all.filter(|node| part(self, node) != part(other, node)).copied().collect()
    }
}

/// Judges the log's memberships, and what clients were told of them.
pub fn judge(history: &History, log: &[LogEntry]) -> Verdict {
    Stop::verdict(run(history, log), JUDGE)
}

fn run(history: &History, log: &[LogEntry]) -> Result<(), Stop> {
    let asked = |args: &[Blob]| match Asked::read(args) {
        Ok(Asked::Members(asked)) => Some(asked),
        _ => None,
    };
    let wishes: BTreeSet<OnMembers> = history.ops.iter().filter_map(|op| asked(&op.args)).collect();
    let memberships = memberships(log, &wishes)?;
    for op in &history.ops {
        let (End::Ok(_), Some(receipt), Some(asked)) = (&op.end, op.receipt, asked(&op.args)) else {
            continue;
        };
        let until = memberships.partition_point(|(index, _)| *index <= receipt.position);
        let Some((index, there)) = until.checked_sub(1).map(|last| &memberships[last]) else { continue };
        if !there.is(&asked) {
            fail!("{op}: and the members are {there:?} there, since {index}");
        }
    }
    Ok(())
}

/// The memberships of a log, each with the entry that brought it, from the founders on.
fn memberships(log: &[LogEntry], wishes: &BTreeSet<OnMembers>) -> Result<Vec<(Index, Members)>, Stop> {
    let mut all: Vec<(Index, Members)> = Vec::new();
    for entry in log {
        for effect in &entry.entry.effects {
            let now = all.last().map(|(_, now)| now.clone());
            let next = match (effect, now) {
                (Effect::Founded(founding), None) => {
                    Members { voters: founding.members.iter().copied().collect(), ..Members::default() }
                }
                (Effect::Membership(membership), Some(now)) => now.after(membership),
                (Effect::Located { node, address }, Some(mut now)) => {
                    let asked =
                        address.clone().is_none_or(|it| wishes.contains(&OnMembers::Add(*node, Some(it))));
                    if !asked || (address.is_none() && now.has(*node)) {
                        fail!(
                            "entry {}: node {node} is at {address:?}, for which no client has asked",
                            entry.index
                        );
                    }
                    now.addresses.remove(node);
                    now.addresses.extend(address.clone().map(|address| (*node, address)));
                    all.push((entry.index, now));
                    continue;
                }
                (Effect::Preferred { node, priority }, Some(mut now)) => {
                    let gone = *priority == 0 && !now.has(*node);
                    if !gone && !wishes.contains(&OnMembers::Prefer(*node, *priority)) {
                        fail!(
                            "entry {}: node {node} has priority {priority}, for which no client has asked",
                            entry.index
                        );
                    }
                    now.priorities.remove(node);
                    now.priorities.extend(Some((*node, *priority)).filter(|_| *priority > 0));
                    all.push((entry.index, now));
                    continue;
                }
                _ => continue,
            };
            if let Some((_, now)) = all.last() {
                if entry.entry.cause != Cause::Members {
                    fail!(
                        "entry {} changes the members, and its cause is {:?}",
                        entry.index,
                        entry.entry.cause
                    );
                }
                step(now, &next, wishes).map_err(|what| {
                    Stop::Failed(format!("entry {}: from {now:?} to {next:?}: {what}", entry.index))
                })?;
            }
            all.push((entry.index, next));
        }
    }
    Ok(all)
}

/// Whether one membership may follow another: a change that is under way ends and nothing else, or none is and one begins that a client
/// has asked for.
fn step(now: &Members, next: &Members, wishes: &BTreeSet<OnMembers>) -> Result<(), &'static str> {
    if next.voters.is_empty() {
        return Err("nobody votes");
    }
    // A leader says so for itself, whatever else is under way.
    if next.degraded != now.degraded && now.has_witness() {
        let turned = Members { degraded: next.degraded, ..now.clone() };
        if *next == turned {
            return Ok(());
        }
    }
    if next.degraded && (!next.has_witness() || !now.degraded) {
        return Err("the cluster is degraded by the way");
    }
    if !now.before.is_empty() {
        let ended = Members { before: BTreeMap::new(), degraded: next.degraded, ..now.clone() };
        return if *next == ended { Ok(()) } else { Err("another change was under way") };
    }
    let joint = if next.voters == now.voters { BTreeMap::new() } else { now.voters.clone() };
    if next.before != joint {
        return Err("those who voted before are not asked");
    }
    let differs = now.differs(next);
    let asked = |wish: &OnMembers| {
        let about: BTreeSet<NodeId> = match *wish {
            OnMembers::Add(node, _)
            | OnMembers::Promote(node)
            | OnMembers::Demote(node)
            | OnMembers::Remove(node) => [node].into(),
            OnMembers::Replace(old, new) => [old, new].into(),
            OnMembers::Prefer(..) | OnMembers::Transfer(_) | OnMembers::Show => return false,
        };
        // Where it is, the same entry says behind it.
        let wish = match wish {
            OnMembers::Add(node, _) => &OnMembers::Add(*node, None),
            other => other,
        };
        differs.is_subset(&about) && next.is(wish)
    };
    if !differs.is_empty() && wishes.iter().any(asked) { Ok(()) } else { Err("no client has asked for that") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[u16], before: &[u16], learners: &[u16]) -> Members {
        let set = |ids: &[u16]| ids.iter().map(|id| (NodeId(*id), Incarnation(u64::from(*id)))).collect();
        let learners = learners.iter().map(|id| NodeId(*id)).collect();
        Members { voters: set(voters), before: set(before), learners, ..Members::default() }
    }

    fn wishes() -> BTreeSet<OnMembers> {
        let one = NodeId(4);
        [OnMembers::Promote(one), OnMembers::Replace(NodeId(3), one), OnMembers::Add(one, None)].into()
    }

    #[test]
    fn what_was_asked_for_and_its_end_pass() {
        let (three, learning) = (members(&[1, 2, 3], &[], &[]), members(&[1, 2, 3], &[], &[4]));
        let joint = members(&[1, 2, 4], &[1, 2, 3], &[]);
        for (now, next) in
            [(&three, &learning), (&learning, &joint), (&joint, &members(&[1, 2, 4], &[], &[]))]
        {
            assert_eq!(step(now, next, &wishes()), Ok(()));
        }
    }

    #[test]
    fn every_other_step_is_found() {
        let learning = members(&[1, 2, 3], &[], &[4]);
        let joint = members(&[1, 2, 3, 4], &[1, 2, 3], &[]);
        for (now, next, what) in [
            (&learning, members(&[1, 2, 3, 4], &[], &[]), "those who voted before are not asked"),
            (&learning, members(&[1, 2], &[1, 2, 3], &[4]), "no client has asked for that"),
            (&learning, learning.clone(), "no client has asked for that"),
            (&joint, members(&[1, 2, 4], &[1, 2, 3], &[]), "another change was under way"),
            (&joint, joint.clone(), "another change was under way"),
            (&learning, members(&[], &[1, 2, 3], &[]), "nobody votes"),
        ] {
            assert_eq!(step(now, &next, &wishes()), Err(what), "{next:?}");
        }
    }

    #[test]
    fn a_promise_is_measured_by_the_members() {
        let now = members(&[1, 2, 4], &[1, 2, 3], &[5]);
        let node = |id| NodeId(id);
        let holds = [
            OnMembers::Add(node(5), None),
            OnMembers::Promote(node(4)),
            OnMembers::Demote(node(5)),
            OnMembers::Remove(node(3)),
            OnMembers::Replace(node(3), node(4)),
        ];
        assert!(holds.iter().all(|asked| now.is(asked)));
        let broken = [
            OnMembers::Add(node(6), None),
            OnMembers::Add(node(5), Some("elsewhere:1".into())),
            OnMembers::Prefer(node(1), 1),
            OnMembers::Promote(node(5)),
            OnMembers::Demote(node(4)),
            OnMembers::Remove(node(5)),
            OnMembers::Replace(node(1), node(4)),
        ];
        for asked in broken {
            assert!(!now.is(&asked), "{asked:?}");
        }
    }
}
