//! What a bounded search begins with, what may happen in it, and how often. Plain data.

use steadfast_core::membership::{Change, Membership};
use steadfast_core::types::{Incarnation, NodeId};

use super::host::{Broken, Setting};

/// Most nodes of a plan.
pub const MOST_NODES: usize = 4;

/// Kinds of events whose number on a path is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A time-out of a node.
    TimeOut,
    /// A leader's heartbeats.
    Heartbeat,
    /// A power failure with a restart.
    Crash,
    /// A client's write.
    Write,
    /// A client's read.
    Read,
    /// A step of the membership.
    Change,
    /// A disk that syncs no more by itself.
    Stall,
    /// A disk that is replaced by an empty one.
    Wipe,
    /// A message that is delivered and stays.
    Duplicate,
    /// A snapshot of what a node has committed, in place of its log.
    Snapshot,
}

/// All of them, in the order of [`Bounds`], with their names.
pub const KINDS: [(Kind, &str); 10] = [
    (Kind::TimeOut, "time-outs"),
    (Kind::Heartbeat, "heartbeats"),
    (Kind::Crash, "crashes"),
    (Kind::Write, "writes"),
    (Kind::Read, "reads"),
    (Kind::Change, "membership steps"),
    (Kind::Stall, "stalled disks"),
    (Kind::Wipe, "wiped disks"),
    (Kind::Duplicate, "duplicates"),
    (Kind::Snapshot, "snapshots"),
];

/// How often each kind of event may happen on a path.
pub type Bounds = [u8; KINDS.len()];

/// Where a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Empty disks.
    Founding,
    /// Node 1 leads the first term, and everybody has its first entry and knows that it is committed.
    Led,
    /// As `Led`; then node 1 has appended two entries that nobody else got, and node 3 leads the second term. Both others know that
    /// there is such a term, and what node 3 has to say to them as its leader is on its way.
    Forked,
}

impl Start {
    /// In words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Founding => "empty disks",
            Self::Led => "node 1 leads term 1, and its first entry is committed everywhere",
            Self::Forked => {
                "node 1 led term 1 and has two entries that nobody else got; node 3 was just elected in term 2"
            }
        }
    }
}

/// One search.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name on the command line.
    pub name: &'static str,
    /// Nodes 1 to 3 found the cluster; a fourth learns.
    pub nodes: usize,
    /// Where it begins.
    pub start: Start,
    /// Whether a time-out and the pre-votes that follow are one step, in which everybody who would grant it does, at once.
    pub quick: bool,
    /// How often what may happen.
    pub bounds: Bounds,
    /// The steps that an operator may ask for.
    pub changes: &'static [Change],
    /// How its nodes break their word.
    pub broken: Broken,
}

const fn voter(id: u16) -> (NodeId, Incarnation) {
    (NodeId(id), Incarnation(id as u64))
}

/// Steps of a cluster of three.
const STEPS: &[Change] = &[Change::Remove(NodeId(1)), Change::Remove(NodeId(3)), Change::Demote(NodeId(2))];

/// Steps after which two majorities need have no node in common.
const REPLACEMENTS: &[Change] =
    &[Change::Replace { old: NodeId(3), new: voter(4) }, Change::Replace { old: NodeId(2), new: voter(3) }];

/// Steps after which the leader of [`Start::Forked`] belongs to the cluster no more.
const LEAVES: &[Change] = &[Change::Remove(NodeId(3)), Change::Replace { old: NodeId(3), new: voter(4) }];

/// All plans, in the order in which they run.
#[must_use]
pub fn plans() -> Vec<Plan> {
    let plan = |name, start, bounds| {
        let (changes, broken): (&[Change], _) = (&[], Broken::No);
        Plan { name, nodes: 3, start, quick: true, bounds, changes, broken }
    };
    //                                        time-out heartb crash write read change stall wipe duplicate snapshot
    vec![
        plan("elections", Start::Founding, [3, 0, 1, 0, 0, 0, 1, 0, 0, 0]),
        Plan { quick: false, ..plan("pre-votes", Start::Founding, [2, 0, 1, 0, 0, 0, 0, 0, 0, 0]) },
        plan("writes", Start::Led, [1, 1, 1, 2, 0, 0, 1, 0, 0, 0]),
        plan("forked", Start::Forked, [2, 1, 1, 1, 0, 0, 1, 0, 0, 0]),
        plan("reads", Start::Led, [2, 0, 0, 1, 1, 0, 0, 0, 0, 0]),
        Plan { changes: STEPS, ..plan("members", Start::Led, [2, 1, 1, 1, 0, 1, 0, 0, 0, 0]) },
        Plan { nodes: 4, changes: LEAVES, ..plan("leaving", Start::Forked, [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]) },
        Plan {
            nodes: 4,
            changes: REPLACEMENTS,
            ..plan("replacements", Start::Led, [1, 0, 0, 0, 0, 2, 0, 0, 0, 0])
        },
        // A wiped disk comes back under the number of its node and 100 more (`host.rs`).
        Plan {
            changes: &[Change::Promote((NodeId(2), Incarnation(102)))],
            ..plan("wipes", Start::Led, [1, 1, 0, 1, 0, 1, 0, 1, 0, 0])
        },
        plan("duplicates", Start::Led, [1, 1, 1, 2, 0, 0, 0, 0, 1, 0]),
        // Node 3 needs what only a snapshot has of node 1, which led before and is behind in turn.
        plan("snapshots", Start::Forked, [2, 1, 1, 1, 0, 0, 0, 0, 0, 2]),
        Plan { changes: STEPS, ..plan("members-sent", Start::Led, [0, 1, 0, 0, 0, 1, 0, 0, 0, 1]) },
    ]
}

impl Plan {
    /// How often an event of this kind may happen.
    #[must_use]
    pub fn most(&self, kind: Kind) -> u8 {
        self.bounds[kind as usize]
    }

    /// What all nodes begin with: who founds the cluster, and who only learns.
    #[must_use]
    pub fn setting(&self) -> Setting {
        let founders = Membership::of((1..=3).map(voter).collect());
        let founders = founders.with_learners((4..=self.nodes as u16).map(NodeId));
        Setting { founders, broken: self.broken }
    }

    /// What may happen, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let bounds = KINDS.iter().zip(self.bounds).filter(|(_, most)| *most > 0);
        let bounds: Vec<String> = bounds.map(|((_, name), most)| format!("{name} {most}")).collect();
        format!("at most: {}", bounds.join(", "))
    }
}
