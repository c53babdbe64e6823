//! What INFO says. The node fills in where it stands; what it counts is shown to administrators alone, for a
//! count tells about keys and people.

use crate::clock::samples::{Accord, Survey};
use crate::durability::lag::DurabilityLag;
use crate::inspect::RoleName;
use crate::raft::MembersSeen;
use crate::reply::Value;
use crate::state::State;
use crate::types::{Blob, BootNumber, ClusterId, Index, NodeId, Term, listed};

/// Where a node stands, for INFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its number.
    pub node: NodeId,
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// Whom it believes to lead.
    pub leader: Option<NodeId>,
    /// The last index that it knows to be committed.
    pub commit: Index,
    /// The cluster's identity, once it is founded.
    pub cluster: Option<ClusterId>,
    /// The cluster's name.
    pub cluster_name: String,
    /// How many members the cluster has.
    pub members: usize,
    /// The release that the node runs.
    pub version: String,
    /// How often its data directory was started.
    pub boot: BootNumber,
    /// Milliseconds since this start.
    pub uptime_ms: u64,
    /// Client connections.
    pub connections: usize,
    /// Requests that wait for an answer.
    pub waiting: usize,
    /// Requests that wait for a lock or the like.
    pub parked: usize,
    /// Requests that wait for changes.
    pub watches: usize,
    /// Changes after this position can be asked for.
    pub history: Index,
    /// Bytes of entries appended and not committed.
    pub pending_bytes: usize,
    /// What was answered ahead of its durability; of a leader.
    pub lag: DurabilityLag,
    /// The feature level that the node supports.
    pub supports: u32,
    /// The members for which a leader waits before it raises the level.
    pub behind: Vec<NodeId>,
    /// What a leader knows of the voters' wall clocks.
    pub clocks: Option<Survey>,
    /// By how many milliseconds cluster time is ahead of what a majority of them agrees on; of a leader that knows it.
    pub time_off_ms: Option<i64>,
    /// What is different with a witness among the voters.
    pub witness: WitnessInfo,
    /// What a leader knows of the members; only for commands about these.
    pub members_seen: MembersSeen,
}

/// What is different with a witness among the voters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessInfo {
    /// Which node it is, if one is.
    pub node: Option<NodeId>,
    /// Whether one node with data and the witness are enough for a commit.
    pub degraded: bool,
    /// Why nobody leads, as far as the witness is the reason.
    pub why: Option<String>,
}

impl Default for NodeInfo {
    /// A node that knows nothing yet.
    fn default() -> Self {
        Self {
            node: NodeId::default(),
            role: RoleName::Recovering,
            term: Term::default(),
            leader: None,
            commit: Index::default(),
            cluster: None,
            cluster_name: String::new(),
            members: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: BootNumber::default(),
            uptime_ms: 0,
            connections: 0,
            waiting: 0,
            parked: 0,
            watches: 0,
            history: Index::default(),
            pending_bytes: 0,
            lag: DurabilityLag::default(),
            supports: 0,
            behind: Vec::new(),
            clocks: None,
            time_off_ms: None,
            witness: WitnessInfo::default(),
            members_seen: MembersSeen::default(),
        }
    }
}

impl NodeInfo {
    /// The answer to INFO. Counts are those of the committed state.
    pub(super) fn answer(&self, state: &State, level: u32, admin: bool) -> Value {
        let cluster = self.cluster.map_or(Value::Nil, |id| text(&id.to_string()));
        let mut pairs = vec![
            ("cluster_name", text(&self.cluster_name)),
            ("cluster_id", cluster),
            ("members", count(self.members)),
            ("feature_level", Value::Int(level.into())),
            ("node", Value::Int(self.node.0.into())),
            ("version", text(&self.version)),
            ("role", text(self.role.name())),
            ("leader", self.leader.map_or(Value::Nil, |id| Value::Int(id.0.into()))),
            ("term", number(self.term.0)),
            ("commit", number(self.commit.0)),
            ("uptime_ms", number(self.uptime_ms)),
        ];
        pairs.extend(self.of_witness());
        if admin {
            pairs.extend([
                ("boot", number(self.boot.0)),
                ("feature_level_supported", Value::Int(self.supports.into())),
                ("feature_level_waits_for", self.behind()),
                ("keys", count(state.key_count())),
                ("users", count(state.user_count())),
                ("sessions", count(state.session_count())),
                ("connections", count(self.connections)),
                ("waiting_requests", count(self.waiting)),
                ("parked_requests", count(self.parked)),
                ("watches", count(self.watches)),
                ("history_from", number(self.history.0)),
                ("pending_bytes", count(self.pending_bytes)),
                ("durability_lag_ms", number(self.lag.ms)),
                ("durability_lag_entries", count(self.lag.entries)),
                ("durability_lag_bytes", number(self.lag.bytes)),
            ]);
            pairs.extend(self.of_clocks());
        }
        Value::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl NodeInfo {
    fn behind(&self) -> Value {
        Value::List(self.behind.iter().map(|node| Value::Int(node.0.into())).collect())
    }

    /// What is to be said where a voter holds no data.
    fn of_witness(&self) -> Vec<(&'static str, Value)> {
        let WitnessInfo { node, degraded, why } = &self.witness;
        let Some(node) = node else { return Vec::new() };
        vec![
            ("witness", Value::Int(node.0.into())),
            ("degraded", Value::Int((*degraded).into())),
            ("no_leader_because", why.as_deref().map_or(Value::Nil, text)),
        ]
    }

    /// What a leader says about wall clocks; nobody else knows.
    fn of_clocks(&self) -> [(&'static str, Value); 4] {
        let seen = self.clocks.as_ref();
        let known = seen.filter(|seen| seen.accord != Accord::Unknown);
        [
            ("clocks", seen.map_or(Value::Nil, |seen| text(seen.accord.name()))),
            ("clocks_off", known.map_or(Value::Nil, |seen| text(&listed(&seen.off)))),
            ("clocks_apart_ms", known.map_or(Value::Nil, |seen| number(seen.apart.0 / 1000))),
            ("time_off_ms", self.time_off_ms.map_or(Value::Nil, Value::Int)),
        ]
    }
}

/// The largest number that a reply can hold stands for all beyond it; no index comes near.
pub(super) fn number(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A count of things in memory.
pub(super) fn count(value: usize) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn text(words: &str) -> Value {
    Value::Bytes(Blob::from(words))
}
