//! What the operator decides about a node before it starts. Plain data; drivers fill it in.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::access::password::Cost;
use crate::limits::Limits;
use crate::state::effect::FEATURE_LEVEL;
use crate::time::Micros;
use crate::types::NodeId;

/// A node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// This node's number; one of the members.
    pub id: NodeId,
    /// A name that clients and nodes must agree on, so that nobody talks to the wrong cluster. At most 64 bytes.
    pub cluster_name: String,
    /// The nodes that found the cluster, this one included, one to seven, in any order. Once it is founded the log says who belongs to
    /// it, and these are only where others may be reached.
    pub members: Vec<Member>,
    /// An empty directory founds nothing: it belongs to a cluster that exists, of which the members here are some, and waits until that
    /// takes it in.
    pub join: bool,
    /// This node's directory is a witness's, if it is empty now, and has to be one if not: it votes, holds no data and never leads. One of
    /// three voters may be.
    pub witness: bool,
    /// Bounds.
    pub limits: Limits,
    /// Time-outs.
    pub timing: Timing,
    /// How the log is laid out.
    pub log: LogConfig,
    /// When snapshots are taken, and how they are laid out.
    pub snapshot: SnapshotConfig,
    /// Who may do what.
    pub access: AccessMode,
    /// How expensive new password hashes are.
    pub password_cost: Cost,
    /// The first administrator's password; drawn at random if `None`.
    pub root_password: Option<String>,
    /// What of this build may be used.
    pub features: Features,
}

/// Feature levels of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// The highest level whose effects it can apply: [`FEATURE_LEVEL`]. In simulations a lower one stands for an older release.
    pub known: u32,
    /// The operator wants the cluster to stay at this level, if it is not beyond it already: a release that knows no more can then
    /// take this one's place.
    pub hold: Option<u32>,
}

impl Default for Features {
    fn default() -> Self {
        Self { known: FEATURE_LEVEL, hold: None }
    }
}

impl Features {
    /// The highest level to which the cluster may go on account of this node.
    #[must_use]
    pub fn supported(&self) -> u32 {
        self.hold.map_or(self.known, |hold| hold.min(self.known))
    }
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub id: NodeId,
    /// Where it listens, as the operator wrote it; the core only repeats it to clients.
    pub address: String,
}

/// Raft's time-outs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// How often a leader lets its followers hear from it.
    pub heartbeat: Micros,
    /// Shortest time without a leader after which a follower asks for an election; the longest is twice it.
    pub election: Micros,
    /// When an idle leader's log gets its synced-through mark.
    pub idle_mark: Micros,
    /// How far the rate of any node's monotonic clock may be off, in millionths, at most [`MAX_CLOCK_BOUND_PPM`]. The operator vouches
    /// for it: with it a leader answers reads on a lease, without asking the others. None is never.
    pub clock_bound_ppm: Option<u32>,
    /// Wall clocks that are further apart than this disagree, within [`CLOCK_DISAGREEMENT`]. Each is trusted to half of it: cluster time goes only
    /// to where a majority of the voters' clocks, so far trusted, agree that it is.
    pub clock_disagreement: Micros,
}

/// Less is within what a busy machine takes for an answer, and who allows for more need not compare clocks.
pub const CLOCK_DISAGREEMENT: RangeInclusive<Micros> = Micros::from_millis(10)..=Micros::from_millis(60_000);

/// No clock that is off by more than a tenth is worth a lease.
pub const MAX_CLOCK_BOUND_PPM: u32 = 100_000;

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Micros::from_millis(50),
            election: Micros::from_millis(300),
            idle_mark: Micros::from_millis(5),
            clock_bound_ppm: None,
            clock_disagreement: Micros::from_millis(1000),
        }
    }
}

/// The log's layout on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Size of a segment, zero-filled before it is used, in bytes; a multiple of the sector size. A batch
    /// that does not fit into a fresh segment makes that segment larger.
    pub segment_bytes: u64,
    /// Most bytes in one write of a group commit.
    pub batch_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, batch_bytes: 4 << 20 }
    }
}

/// Snapshots: when they are taken, and how they are laid out. The same on every node, so that their snapshots are the
/// same and can mend each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotConfig {
    /// How much is logged between two snapshots, in bytes. Each entry counts, beside its own bytes, 256 for the time
    /// that its replay takes at a start.
    pub interval_bytes: u64,
    /// Size of a block, in bytes; whole sectors.
    pub block_bytes: u32,
    /// How fast what lies cold on the disk (closed segments, the newest snapshot) is read again in search of rot, in
    /// bytes per second; 0 is never.
    pub scrub_bytes_per_second: u64,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self { interval_bytes: 64 << 20, block_bytes: 256 << 10, scrub_bytes_per_second: 1 << 20 }
    }
}

/// Whether access is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessMode {
    /// Every command needs a user with a grant.
    Enforced,
    /// Everybody is the administrator. For tests; only connections from loopback are accepted.
    InsecureNoAuth,
}
