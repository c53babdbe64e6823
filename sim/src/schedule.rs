//! A schedule: all that is decided about a run before it starts, as plain data. Cluster, delays, clients
//! with their operations, and faults with their times. A seed is only a short way to write one; a saved
//! schedule can be edited, shrunk and kept.
//!
//! What is left to chance while a schedule runs (a single frame's delay, the fate of a sector) comes from
//! streams derived from `seed`, so the same schedule is always the same run. Who draws is `draw.rs`.

use serde::{Deserialize, Serialize};
use steadfast_core::access::password::Cost;
use steadfast_core::config::{AccessMode, Features, LogConfig, Member, NodeConfig, SnapshotConfig, Timing};
use steadfast_core::limits::Limits;
use steadfast_core::state::effect::FEATURE_LEVEL;
use steadfast_core::time::Micros;
use steadfast_core::types::NodeId;

use crate::fault::Fault;
use crate::rng::Delay;

/// The format of saved schedules that this build reads and writes.
pub const VERSION: u32 = 1;

/// The password of `root` in every simulated cluster.
pub const ROOT_PASSWORD: &str = "the root password of a simulation";

/// A whole run, before it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The format.
    pub version: u32,
    /// For people: what this schedule broke once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// From which the run's random streams are derived.
    pub seed: u64,
    /// The nodes and their configuration.
    pub cluster: Cluster,
    /// Frames between nodes and bytes from clients.
    pub network: NetworkSpec,
    /// Disks.
    pub disk: DiskSpec,
    /// Operations that `root` executes, one after another, before the other clients start.
    pub setup: Vec<Op>,
    /// The clients.
    pub clients: Vec<ClientSpec>,
    /// What goes wrong, and when; in order of time.
    pub faults: Vec<Fault>,
    /// Length of the safety phase, in microseconds; then all faults stop.
    pub safety_us: u64,
    /// Bounds on the run.
    pub bounds: Bounds,
}

/// The nodes and their configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// One to seven.
    pub nodes: u16,
    /// Size of a segment of the log, in bytes.
    pub segment_bytes: u64,
    /// Most bytes in one write of a group commit.
    pub batch_bytes: usize,
    /// How much is logged between two snapshots, in bytes; each entry counts 256 beside its own.
    #[serde(default = "never")]
    pub snapshot_interval_bytes: u64,
    /// Size of a snapshot's block, in bytes.
    #[serde(default = "sector")]
    pub snapshot_block_bytes: u32,
    /// How fast what lies cold is read again, in bytes per second; 0 is never.
    #[serde(default)]
    pub scrub_bytes_per_second: u64,
    /// Leader's heartbeat, in microseconds.
    pub heartbeat_us: u64,
    /// Shortest election time-out, in microseconds.
    pub election_us: u64,
    /// Delay of the synced-through mark of an idle log, in microseconds.
    pub idle_mark_us: u64,
    /// Whether access is enforced. If not, every client is the administrator.
    pub access: bool,
    /// Duration of a password computation, in microseconds.
    pub compute: Delay,
    /// How late a tick comes that a node asked for: no operating system is punctual.
    pub timer: Delay,
    /// Each node's clocks.
    pub clocks: Vec<ClockSpec>,
    /// Bounds that differ from the core's defaults.
    pub limits: LimitsSpec,
    /// How long after a `Halt` the node is started again, in microseconds.
    pub restart_after_halt_us: u64,
    /// How far clocks may be off, as the operator vouches for leases; no leases without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_bound_ppm: Option<u32>,
    /// Clocks may be off by more than what all of the database's arithmetic allows for. What fails then proves nothing about it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wild_clocks: bool,
    /// How many of them, the last ones, do not found the cluster but join it: each knows one of the founders, and waits until a client
    /// has it taken in.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub newcomers: u16,
    /// This one of three founders is a witness, and holds no data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<u16>,
    /// All nodes begin with a release that knows no more than this feature level; faults and the end of the run upgrade them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founded_at_level: Option<u32>,
    /// Most nodes whose disk is ever lost. The others are honest members for the whole run, and are a
    /// majority: the fault budget.
    pub wiped_at_most: u16,
    /// Most nodes whose disk is ever damaged. Together with those that are wiped they are a minority, too. A node that is
    /// alone may be damaged: it must then refuse to start until its disk is mended.
    #[serde(default)]
    pub damaged_at_most: u16,
    /// Whether faults strike also where the budget forbids it. What fails then proves nothing, and the run says so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub beyond_budget: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u16) -> bool {
    *value == 0
}

/// Where the others reach a node.
#[must_use]
pub fn address(id: u16) -> String {
    format!("node-{id}:7878")
}

impl Cluster {
    /// How many nodes found the cluster.
    #[must_use]
    pub fn founders(&self) -> u16 {
        self.nodes - self.newcomers
    }
}

/// A node's clocks at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockSpec {
    /// Rate error of the monotonic clock, in millionths, at most 500 either way where clocks are not wild.
    pub drift_ppm: i32,
    /// What the wall clock shows beyond true time, in milliseconds.
    pub wall_offset_ms: i64,
}

/// The core's limits, as far as runs vary them. `None` is the core's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsSpec {
    /// Requests of one connection that wait.
    pub inflight_requests: Option<usize>,
    /// Requests of all connections that wait.
    pub waiting_requests: Option<usize>,
    /// Bytes of entries appended and not committed.
    pub pending_bytes: Option<usize>,
    /// Bytes of commands that a node forwards.
    pub waiting_bytes: Option<usize>,
    /// Log bytes in one message to a peer.
    pub append_bytes: Option<usize>,
    /// Entries in one message to a peer.
    pub append_entries: Option<usize>,
    /// Messages with entries on their way to one peer.
    pub inflight_appends: Option<usize>,
    /// Bytes of such messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inflight_append_bytes: Option<usize>,
    /// How far a session's sequence may run ahead of its floor.
    pub session_window: Option<u64>,
    /// Lifetime of an idle session, in cluster milliseconds.
    pub session_ttl_ms: Option<u64>,
    /// Keys that one entry of expiry deletes.
    pub expiry_batch: Option<usize>,
    /// Bytes of old rows that are kept for a snapshot.
    pub kept_bytes: Option<usize>,
    /// Positions that a node's history of changes goes back.
    pub history_positions: Option<u64>,
    /// And about how many bytes.
    pub history_bytes: Option<usize>,
}

/// The network's habits. Bursts of worse are faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Of one frame between nodes.
    pub peer: Delay,
    /// Of a piece of a client connection's bytes.
    pub client: Delay,
    /// Frames lost, in a million.
    pub loss_ppm: u32,
    /// Frames that arrive twice, in a million.
    pub duplicate_ppm: u32,
    /// Frames that may overtake earlier ones on their link, in a million.
    pub reorder_ppm: u32,
    /// Sends on a client connection that are split at random places, in a million.
    pub split_ppm: u32,
}

/// The disks' habits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// From the request to the moment at which a sync begins.
    pub queue: Delay,
    /// Of a write, and of everything that changes the directory.
    pub write: Delay,
    /// From the beginning of a sync to its end.
    pub sync: Delay,
    /// Of a read or listing.
    pub read: Delay,
    /// From the end of an operation until the node hears of it.
    pub notice: Delay,
    /// Unsynced sectors that a power cut keeps, in a million.
    pub keep_ppm: u32,
    /// Unsynced sectors that a power cut turns to garbage, in a million. The rest is dropped.
    pub garbage_ppm: u32,
}

impl Default for DiskSpec {
    fn default() -> Self {
        let delay = |base_us, jitter_us| Delay { base_us, jitter_us, tail_ppm: 0, tail_us: 0 };
        Self {
            queue: delay(5, 10),
            write: delay(10, 20),
            sync: delay(200, 200),
            read: delay(20, 20),
            notice: delay(2, 5),
            keep_ppm: 400_000,
            garbage_ppm: 200_000,
        }
    }
}

/// A client: who it is, how it works, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientSpec {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
    /// Whether it works in a session, so that retries execute once.
    pub session: bool,
    /// How many requests it has under way at a time.
    pub lanes: u16,
    /// The node that it tries first.
    pub home: u16,
    /// Whether it stays there as long as it can, and does not move to the leader.
    #[serde(default)]
    pub stays: bool,
    /// Writes in the session that it asks for once more under their number when they are done, in a million.
    #[serde(default)]
    pub repeats_ppm: u32,
    /// When it begins, in microseconds after the setup.
    pub start_us: u64,
    /// A request's deadline, in milliseconds.
    pub deadline_ms: u32,
    /// What it does, in this order.
    pub ops: Vec<Op>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Pause before it, in microseconds.
    pub think_us: u64,
    /// The command and its arguments. `$rev` stands for the newest revision of the key that any client has
    /// learnt, and `$after` for the last key of the scan before.
    pub args: Vec<String>,
}

impl Op {
    /// An operation from its words.
    #[must_use]
    pub fn new(think_us: u64, args: &[&str]) -> Self {
        Self { think_us, args: args.iter().map(ToString::to_string).collect() }
    }
}

/// Bounds on a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Events of the whole run.
    pub events: u64,
    /// From the end of the faults until one leader is known to all, in microseconds.
    pub leader_us: u64,
    /// From then until every client has completed its last operations, in microseconds.
    pub clients_us: u64,
    /// From then until all nodes hold the same log and state, in microseconds.
    pub converge_us: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { events: 3_000_000, leader_us: 30_000_000, clients_us: 60_000_000, converge_us: 30_000_000 }
    }
}

impl Schedule {
    /// The configuration of one node.
    #[must_use]
    pub fn node_config(&self, id: u16) -> NodeConfig {
        self.node_config_of(id, self.cluster.founded_at_level.unwrap_or(FEATURE_LEVEL))
    }

    /// That of a node whose release knows no more than this feature level.
    #[must_use]
    pub fn node_config_of(&self, id: u16, known: u32) -> NodeConfig {
        let cluster = &self.cluster;
        let member = |id| Member { id: NodeId(id), address: address(id) };
        let founders = cluster.founders();
        let join = id > founders;
        let members = if join { vec![1 + id % founders, id] } else { (1..=founders).collect() };
        NodeConfig {
            id: NodeId(id),
            cluster_name: "simulated".into(),
            members: members.into_iter().map(member).collect(),
            join,
            witness: cluster.witness == Some(id),
            limits: cluster.limits.apply(),
            timing: Timing {
                heartbeat: Micros(cluster.heartbeat_us),
                election: Micros(cluster.election_us),
                idle_mark: Micros(cluster.idle_mark_us),
                clock_bound_ppm: cluster.clock_bound_ppm,
                ..Timing::default()
            },
            log: LogConfig { segment_bytes: cluster.segment_bytes, batch_bytes: cluster.batch_bytes },
            snapshot: SnapshotConfig {
                interval_bytes: cluster.snapshot_interval_bytes,
                block_bytes: cluster.snapshot_block_bytes,
                scrub_bytes_per_second: cluster.scrub_bytes_per_second,
            },
            access: if cluster.access { AccessMode::Enforced } else { AccessMode::InsecureNoAuth },
            // The least that argon2 accepts: a run hashes often, and the hash's strength is not under test.
            password_cost: Cost { memory_kib: 8, passes: 1 },
            root_password: Some(ROOT_PASSWORD.into()),
            features: Features { known, hold: None },
        }
    }

    /// Checks what a hand may have broken, and says what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let nodes = self.cluster.nodes;
        if self.version != VERSION {
            return Err(format!("the schedule has format {}, this build reads {VERSION}", self.version));
        }
        let block = self.cluster.snapshot_block_bytes;
        if block == 0 || !block.is_multiple_of(512) {
            return Err(format!(
                "cluster.snapshot_block_bytes is {block}; a block is made of sectors of 512"
            ));
        }
        if !(1..=7).contains(&nodes) {
            return Err(format!("cluster.nodes is {nodes}; a cluster has 1 to 7"));
        }
        if self.cluster.founded_at_level.is_some_and(|level| !(1..=FEATURE_LEVEL).contains(&level)) {
            return Err(format!("cluster.founded_at_level is not one of 1 to {FEATURE_LEVEL}"));
        }
        if self.cluster.newcomers >= nodes {
            return Err(format!(
                "cluster.newcomers is {}: of {nodes} nodes somebody has to found it",
                self.cluster.newcomers
            ));
        }
        let beside = (self.cluster.founders(), self.cluster.newcomers, self.cluster.founded_at_level);
        if let Some(witness) = self.cluster.witness
            && (beside != (3, 0, None) || !(1..=3).contains(&witness))
        {
            return Err(format!(
                "cluster.witness is {witness}; one of three founders of the newest release can be, where nobody joins"
            ));
        }
        if self.cluster.clocks.len() != usize::from(nodes) {
            return Err(format!("cluster.clocks has {} clocks for {nodes} nodes", self.cluster.clocks.len()));
        }
        if self.cluster.wiped_at_most > (nodes - 1) / 2 {
            return Err(format!(
                "cluster.wiped_at_most is {}, no minority of {nodes}",
                self.cluster.wiped_at_most
            ));
        }
        if self.faults.windows(2).any(|pair| pair[0].at_us > pair[1].at_us) {
            return Err("faults are not in order of time".into());
        }
        for (i, client) in self.clients.iter().enumerate() {
            if client.lanes == 0 || client.ops.iter().any(|op| op.args.is_empty()) {
                return Err(format!("clients[{i}] has no lanes, or an operation without words"));
            }
            if !(1..=nodes).contains(&client.home) {
                return Err(format!("clients[{i}].home is {}, no node", client.home));
            }
        }
        self.faults.iter().try_for_each(|fault| fault.validate(nodes))
    }

    /// Reads a saved schedule.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let schedule: Self =
            serde_json::from_str(text).map_err(|error| format!("not a schedule: {error}"))?;
        schedule.validate()?;
        Ok(schedule)
    }

    /// The saved form: one line per client operation and fault, so that it can be edited and compared.
    #[must_use]
    pub fn to_json(&self) -> String {
        crate::json::lines(&serde_json::to_value(self).expect("a schedule is plain data"))
    }

    /// The derived options in one line, for reports.
    #[must_use]
    pub fn summary(&self) -> String {
        let cluster = &self.cluster;
        let ops: usize = self.clients.iter().map(|client| client.ops.len()).sum();
        let sessions = self.clients.iter().filter(|client| client.session).count();
        let mut kinds = std::collections::BTreeMap::new();
        for fault in &self.faults {
            *kinds.entry(fault.what.name()).or_insert(0u32) += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind}:{count}")).collect();
        format!(
            "nodes={} access={} clients={} sessions={sessions} ops={ops} safety={:.1}s segment={} \
             election={}ms loss={} duplicate={} reorder={} faults={}",
            cluster.nodes,
            if cluster.access { "enforced" } else { "off" },
            self.clients.len(),
            self.safety_us as f64 / 1e6,
            cluster.segment_bytes,
            cluster.election_us / 1000,
            self.network.loss_ppm,
            self.network.duplicate_ppm,
            self.network.reorder_ppm,
            if kinds.is_empty() { "none".into() } else { kinds.join(",") },
        )
    }
}

/// Schedules that were saved before there were snapshots take none.
fn never() -> u64 {
    u64::MAX
}

fn sector() -> u32 {
    512
}

impl LimitsSpec {
    fn apply(&self) -> Limits {
        let mut limits = Limits::default();
        let set = |field: &mut usize, value: Option<usize>| *field = value.unwrap_or(*field);
        set(&mut limits.inflight_requests, self.inflight_requests);
        set(&mut limits.waiting_requests, self.waiting_requests);
        set(&mut limits.pending_bytes, self.pending_bytes);
        set(&mut limits.waiting_bytes, self.waiting_bytes);
        set(&mut limits.append_bytes, self.append_bytes);
        set(&mut limits.append_entries, self.append_entries);
        set(&mut limits.inflight_appends, self.inflight_appends);
        set(&mut limits.inflight_append_bytes, self.inflight_append_bytes);
        set(&mut limits.expiry_batch, self.expiry_batch);
        set(&mut limits.kept_bytes, self.kept_bytes);
        set(&mut limits.history_bytes, self.history_bytes);
        limits.history_positions = self.history_positions.unwrap_or(limits.history_positions);
        limits.session_window = self.session_window.unwrap_or(limits.session_window);
        limits.session_ttl_ms = self.session_ttl_ms.unwrap_or(limits.session_ttl_ms);
        limits
    }
}
