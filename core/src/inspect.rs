//! What a test, the simulator and `status` may see of a node. Reading it changes nothing.

use serde::{Deserialize, Serialize};

use crate::types::{Incarnation, Index, NodeId, Term};

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RoleName {
    /// Reading its data directory.
    Recovering,
    /// Waiting for all configured nodes to found the cluster.
    Founding,
    /// Its log is damaged: it fetches what it lost, votes by where its log ended, and neither leads nor copies.
    Repairing,
    /// It was told that it belongs to the cluster no more.
    Removed,
    /// A member of no founded set, or in doubt: follows, and never votes.
    Learner,
    /// Follows.
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl RoleName {
    /// The role as people read it, in INFO, logs and scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::Founding => "founding",
            Self::Repairing => "repairing",
            Self::Removed => "removed",
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }
}

/// A node's figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Its role.
    pub role: RoleName,
    /// Its data directory; zero while that is being read.
    pub incarnation: Incarnation,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Whether both may be older than what it once told others, so that it does not vote.
    pub doubtful: bool,
    /// Whom it believes to lead.
    pub leader: Option<NodeId>,
    /// The last index that is known to be committed and is applied.
    pub commit: Index,
    /// The log in memory begins behind this index: a snapshot covers everything up to it.
    pub start: Index,
    /// The last entry that the snapshot in use covers. One that was found damaged is in use no more.
    pub snapshot: Option<Index>,
    /// The last index of its log.
    pub last: Index,
    /// The highest index that its own disk holds durably.
    pub durable: Index,
    /// A digest of the committed state, equal on all nodes at the same commit index.
    pub state_digest: u64,
    /// Requests that wait for an answer.
    pub waiting: usize,
    /// Bytes of entries appended and not committed.
    pub pending_bytes: usize,
    /// Bytes of commands that wait for another node's answer.
    pub waiting_bytes: usize,
    /// Client connections.
    pub connections: usize,
}
