//! What a node says about itself while it works: one event per thing that an operator or a tester may want
//! to read. Events have no effect.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inspect::RoleName;
use crate::types::{BootNumber, ClusterId, Index, NodeId, Term};

/// What a start reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The newest snapshot.
    Snapshot,
    /// The log behind it.
    Log,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "the newest snapshot",
            Self::Log => "the log behind it",
        })
    }
}

/// Something that happened inside a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A start has read so much of a part of the data directory.
    Reading {
        /// Which.
        part: Part,
        /// Bytes read.
        bytes: u64,
        /// Bytes in all.
        of: u64,
    },
    /// The data directory was read.
    Recovered {
        /// The boot that begins.
        boot: BootNumber,
        /// The last index of the log.
        last: Index,
        /// Bytes of torn tail that were cut.
        cut: u64,
    },
    /// The node is at work in a founded cluster.
    Founded {
        /// Its identity.
        cluster: ClusterId,
    },
    /// The newest membership in the log is this.
    Members(String),
    /// The role, term or known leader changed.
    Role {
        /// What it is now.
        role: RoleName,
        /// In which term.
        term: Term,
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// This leader has begun to give its leadership to another node.
    TransferBegun {
        /// To which.
        to: NodeId,
    },
    /// Entries from this index on were cut off because they conflict with the leader's.
    Truncated {
        /// The first that went.
        from: Index,
    },
    /// Everything up to here is committed.
    Committed {
        /// The index.
        index: Index,
    },
    /// A snapshot of this index is being written or received.
    SnapshotBegun {
        /// The index.
        index: Index,
    },
    /// The snapshot of this index is durable, and the log before it may go.
    SnapshotTaken {
        /// The index.
        index: Index,
        /// Length of its file, in bytes.
        bytes: u64,
    },
    /// A snapshot from the leader has become the state.
    SnapshotInstalled {
        /// Its index.
        index: Index,
    },
    /// The log is damaged, and is to be repaired from other nodes.
    Damaged {
        /// How, with the file and the place.
        what: String,
        /// How many entries are known to be lost.
        lost: u64,
    },
    /// The damaged log is whole again.
    Repaired {
        /// Its last entry.
        last: Index,
    },
    /// The first administrator's password lies in the credentials file.
    RootCreated,
    /// A rare state was reached; campaigns count these.
    Probe(Probe),
    /// Something that an operator should know, in words.
    Notice(String),
    /// What a leader knows of the voters' wall clocks changed.
    Clocks {
        /// Whether a majority of them agrees: `agree`, `apart` or `unknown`.
        accord: String,
        /// Whose clocks lie outside of what a majority agrees on.
        off: Vec<NodeId>,
        /// How far the two that are furthest apart are at least from each other, in milliseconds.
        apart_ms: u64,
    },
}

/// Rare states that a campaign of simulations must reach, or it proves nothing about them (FoundationDB's
/// probes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Probe {
    /// A node became leader with entries that it did not know to be committed.
    LeaderWithUncommittedTail,
    /// A retry met its first attempt, which was appended and not yet committed.
    RetryMetPending,
    /// A reply waited for a pending entry of another command, and the entry was lost.
    ObservedThenLost,
    /// The log was cut while a sync was under way.
    TruncationUnderSync,
    /// A forwarded command was sent on to another leader.
    ForwardedAgain,
    /// An evaluation found a due key before the expiry did.
    DueKeyConsulted,
    /// A read logged the time.
    ReadLoggedTime,
    /// A connection's later command was refused after an indeterminate one.
    RefusedAfterIndeterminate,
    /// A torn tail was cut at recovery.
    TornTailCut,
    /// A node in doubt abstained from a vote.
    DoubtfulVoteWithheld,
    /// A leader found that it had lost its quorum, and stepped down.
    CheckQuorumStepDown,
    /// A snapshot became durable.
    SnapshotTaken,
    /// A snapshot from a leader became a follower's state.
    SnapshotInstalled,
    /// A row changed ahead of a snapshot's walk, and what it was was kept.
    RowKeptForSnapshot,
    /// Rot was found in what lies cold, before it was needed.
    ScrubFoundDamage,
    /// A leader whose disk stood still handed over.
    HandedOver,
    /// A disk had no space, and a write waited for it.
    WaitedForSpace,
    /// A start found its log damaged, and began to repair it.
    LogDamaged,
    /// Lost entries came from another node.
    LostEntryFetched,
    /// A damaged log was whole and durable again.
    LogRepaired,
    /// A damaged snapshot is whole again, by its own intact blocks and another node's.
    SnapshotMended,
    /// A wait ended, and a parked request was answered.
    ParkedAnswered,
    /// A request for changes waited, and was answered when there were some.
    WatchWoken,
    /// A request for changes ended because a right was taken.
    WatchCutByRevoke,
    /// Changes were asked for that a node did not know any more.
    HistoryGone,
    /// A write was answered ahead of its durability.
    AnsweredAhead,
    /// One was refused, because so much was answered ahead already.
    LagRefused,
    /// Somebody who observes an election waited, and was told who leads now or what that one says.
    ObserverWoken,
    /// A command that waits was asked for again, and waits on in its place.
    WaitAskedAgain,
    /// A new leader renewed the leases that it found.
    LeasesInherited,
    /// Changes were told from before what this node's snapshot covers.
    WatchAcrossSnapshot,
    /// A leader began a change of the voters.
    ChangeBegun,
    /// A leader ended a change of the voters that another one had begun.
    ChangeInherited,
    /// A change of the members was cut off with its entry.
    ChangeUndone,
    /// A leader that is no voter any more gave up its office.
    RemovedLeaderLeft,
    /// A read was answered on a lease.
    ReadOnLease,
    /// A node that stood for election learnt that it had been removed.
    RemovedNodeTold,
    /// A leader did not evaluate a command whose time was over when it came.
    LateRefused,
    /// A leader raised the cluster's feature level, since every member supported it.
    LevelRaised,
    /// The leadership was transferred, as a client had asked.
    Transferred,
    /// A transfer of the leadership was given up.
    TransferGivenUp,
    /// A leader's own wall clock lay outside of what a majority of the voters' clocks agreed on, and was not followed.
    SlewHeldByQuorum,
    /// A leader heard a majority's wall clocks, and no majority of them agreed.
    ClocksApart,
    /// A leader went on with a witness, without the other node with data.
    Degraded,
    /// A leader waits for both nodes with data again.
    WholeAgain,
    /// A witness refused to elect a node that may lack what was answered.
    WitnessRefusedStale,
    /// A witness was sent what it may know of a state.
    WitnessSentState,
}

impl Probe {
    /// All probes that the core itself fires.
    pub const ALL: &'static [Probe] = &[
        Self::LeaderWithUncommittedTail,
        Self::RetryMetPending,
        Self::ObservedThenLost,
        Self::TruncationUnderSync,
        Self::ForwardedAgain,
        Self::DueKeyConsulted,
        Self::ReadLoggedTime,
        Self::RefusedAfterIndeterminate,
        Self::TornTailCut,
        Self::DoubtfulVoteWithheld,
        Self::CheckQuorumStepDown,
        Self::SnapshotTaken,
        Self::SnapshotInstalled,
        Self::RowKeptForSnapshot,
        Self::ScrubFoundDamage,
        Self::HandedOver,
        Self::WaitedForSpace,
        Self::LogDamaged,
        Self::LostEntryFetched,
        Self::LogRepaired,
        Self::SnapshotMended,
        Self::ParkedAnswered,
        Self::WatchWoken,
        Self::WatchCutByRevoke,
        Self::HistoryGone,
        Self::AnsweredAhead,
        Self::LagRefused,
        Self::ObserverWoken,
        Self::WaitAskedAgain,
        Self::LeasesInherited,
        Self::WatchAcrossSnapshot,
        Self::ChangeBegun,
        Self::ChangeInherited,
        Self::ChangeUndone,
        Self::RemovedLeaderLeft,
        Self::ReadOnLease,
        Self::RemovedNodeTold,
        Self::LateRefused,
        Self::LevelRaised,
        Self::Transferred,
        Self::TransferGivenUp,
        Self::SlewHeldByQuorum,
        Self::ClocksApart,
        Self::Degraded,
        Self::WholeAgain,
        Self::WitnessRefusedStale,
        Self::WitnessSentState,
    ];
}
