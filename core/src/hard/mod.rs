//! The hard state: what a node must remember of itself beside the log. Who it is, how often it was started, in
//! which term it is and whom it voted for (Raft paper, figure 2: persistent state).
//!
//! It is one small record, written anew with every change into one of eight slots in two files, in turn, and
//! never into the slot with the newest one. After a change is durable it is written a second time, into the
//! other file: one rotten sector then loses nothing, not even a vote. Eight slots rather than two, because
//! after a failed sync the newest record may be readable and yet not durable; the next start must then leave
//! both it and its predecessor alone.

pub(crate) mod format;
mod recovery;
mod store;
#[cfg(test)]
mod tests;

pub use recovery::{HardRecovered, HardRecovery, HardRecoveryStep};
pub use store::HardStore;

use crate::state::effect::Founding;
use crate::types::{BootNumber, Incarnation, NodeId, Term};

/// Most peers in the record; a cluster has at most seven members.
pub const MAX_PEERS: usize = 64;

/// Longest cluster name, in bytes.
pub const MAX_NAME: usize = 64;

/// What a node remembers of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The node that the directory belongs to.
    pub node: NodeId,
    /// The directory's identity, drawn when it was empty.
    pub incarnation: Incarnation,
    /// The cluster's name as configured, at most [`MAX_NAME`] bytes.
    pub cluster_name: String,
    /// How often the directory was started.
    pub boot: BootNumber,
    /// Drawn with every start, so that an old image of the directory can be told from the newest one.
    pub boot_nonce: u64,
    /// Seeds of the node's hash tables.
    pub hash_seed: (u64, u64),
    /// The newest log segment that is complete; see [`HardStore::vouch`].
    pub log_segment: u64,
    /// How far the founding has come.
    pub phase: Phase,
    /// The current term.
    pub term: Term,
    /// The candidate that got this node's vote in that term.
    pub vote: Option<NodeId>,
    /// Whether term and vote may be older than what this node once told others: it must not vote until a leader
    /// that was elected without it has committed an entry of its own term to it, and then clears this. Recovery sets it
    /// when two records in a row are broken, which rot explains better than a crash.
    pub in_doubt: bool,
    /// What the other nodes said of themselves, at most [`MAX_PEERS`].
    pub peers: Vec<PeerBoot>,
}

impl HardState {
    /// Whether the cluster has no other node that could know what this one forgets.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        match &self.phase {
            // The only founder, which nobody has joined since: it would have been heard of.
            Phase::Founded(founding) | Phase::Prepared(founding) => {
                founding.members == [(self.node, self.incarnation)] && self.peers.is_empty()
            }
            Phase::Fresh => false,
        }
    }
}

/// How far the founding of the cluster has come, as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was agreed.
    #[default]
    Fresh,
    /// This node agreed to this founding, and to no other.
    Prepared(Founding),
    /// The cluster is founded.
    Founded(Founding),
}

/// A peer's newest known start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerBoot {
    /// Which peer.
    pub node: NodeId,
    /// Its directory.
    pub incarnation: Incarnation,
    /// Its highest known boot.
    pub boot: BootNumber,
    /// That boot's nonce.
    pub nonce: u64,
}
