//! One machine of the recorded cluster: a real node, its disk, and what is on its way between the two.
//!
//! Operations are executed one at a time, in steps of their own: issued, sync begun, executed, reported. The machine
//! decides nothing about order and time; `cluster.rs` does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::config::{AccessMode, Features, LogConfig, Member, NodeConfig, SnapshotConfig, Timing};
use steadfast_core::inspect::Inspection;
use steadfast_core::io::{DiskError, DiskOp, DiskReply, Owner, Token};
use steadfast_core::job::JobResult;
use steadfast_core::limits::Limits;
use steadfast_core::time::{Micros, Millis, Stamp};
use steadfast_core::types::NodeId;

use super::disk::Disk;
use super::ledger::Ledger;
use super::recording::Point;
use super::variants::Moment;
use crate::clock::EPOCH_MS;
use crate::schedule::ROOT_PASSWORD;

/// Size of the log's segments: as small as lets a few writes into each, so that rotations are frequent.
const SEGMENT_BYTES: u64 = 3072;

/// What is logged between two snapshots, in bytes: as little as lets a few segments be used before the next one.
const SNAPSHOT_BYTES: u64 = 6144;

/// The configuration of one of so many nodes.
#[must_use]
pub fn config(nodes: u16, id: u16) -> NodeConfig {
    let member = |id| Member { id: NodeId(id), address: address(id) };
    NodeConfig {
        id: NodeId(id),
        cluster_name: "explored".into(),
        members: (1..=nodes).map(member).collect(),
        // Few entries per message, since so many are kept for a follower that is a little behind.
        join: false,
        witness: false,
        limits: Limits { append_entries: 4, ..Limits::default() },
        timing: Timing {
            heartbeat: Micros::from_millis(60),
            election: Micros::from_millis(200),
            idle_mark: Micros::from_millis(5),
            clock_bound_ppm: None,
            ..Timing::default()
        },
        log: LogConfig { segment_bytes: SEGMENT_BYTES, batch_bytes: 2048 },
        snapshot: SnapshotConfig {
            interval_bytes: SNAPSHOT_BYTES,
            block_bytes: 1024,
            scrub_bytes_per_second: 0,
        },
        access: AccessMode::Enforced,
        // The least that argon2 accepts: every restart hashes, and the hash's strength is not under test.
        password_cost: steadfast_core::access::password::Cost { memory_kib: 8, passes: 1 },
        root_password: Some(ROOT_PASSWORD.into()),
        features: Features::default(),
    }
}

/// Where a node listens.
#[must_use]
pub fn address(id: u16) -> String {
    format!("node-{id}:7878")
}

/// An operation on its way.
#[derive(Clone, Debug)]
pub struct Op {
    /// For the report.
    pub token: Token,
    /// What.
    pub op: DiskOp,
    /// How far it is.
    pub stage: Stage,
}

/// What a node is to hear of an operation.
pub type Report = (Token, Result<DiskReply, DiskError>);

/// How far an operation is.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The driver has it.
    Issued,
    /// A sync has looked at what it covers.
    Begun(u64),
    /// It is done, and the node has not heard of it.
    Done(Result<DiskReply, DiskError>),
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The running node.
    pub node: Option<Node>,
    /// How often it was started.
    pub starts: u64,
    /// When it was started last.
    pub started_us: u64,
    /// Its disk.
    pub disk: Disk,
    /// Operations on their way, in the order in which they were issued.
    pub ops: Vec<Op>,
    /// Computations that are done.
    pub computed: VecDeque<(Token, JobResult)>,
    /// When the node wants to be woken, in its own time.
    pub wake: Option<u64>,
    /// What it has promised.
    pub ledger: Arc<Ledger>,
    /// The part of the node whose next sync fails.
    pub failing: Option<Owner>,
    /// The part of the node whose operations stand still.
    pub stalled: Option<Owner>,
    /// Whether it halted because a sync failed.
    pub halted: bool,
    /// Whether the node has read its log in this start.
    pub recovered: bool,
    /// What it showed last.
    pub seen: Option<Inspection>,
    /// Whether a snapshot became durable in this start.
    pub snapshot_taken: bool,
    /// Entries of its log up to here are in the recording.
    pub noted: u64,
    /// The place of the moment of its disk in the recording, until the disk changes.
    pub moment: Option<usize>,
}

impl Machine {
    /// A machine with this disk, never started, that has promised this.
    #[must_use]
    pub fn new(disk: Disk, ledger: Arc<Ledger>) -> Self {
        Self {
            node: None,
            starts: 0,
            started_us: 0,
            disk,
            ops: Vec::new(),
            computed: VecDeque::new(),
            wake: None,
            ledger,
            failing: None,
            stalled: None,
            halted: false,
            recovered: false,
            seen: None,
            snapshot_taken: false,
            noted: 0,
            moment: None,
        }
    }

    /// The process is gone; its disk stays as it is.
    pub fn stop(&mut self) {
        self.node = None;
        self.ops.clear();
        self.computed.clear();
        (self.wake, self.seen, self.moment) = (None, None, None);
        (self.recovered, self.snapshot_taken, self.stalled, self.noted) = (false, false, None, 0);
    }

    /// The node's clocks.
    #[must_use]
    pub fn stamp(&self, now: u64) -> Stamp {
        Stamp { mono: Micros(now - self.started_us), wall: Millis(EPOCH_MS + now / 1000) }
    }

    /// When the node wants to be woken, in the cluster's time.
    #[must_use]
    pub fn wake_us(&self) -> Option<u64> {
        self.wake.map(|mono| mono.saturating_add(self.started_us))
    }

    /// The disk as it is, with what is under way.
    #[must_use]
    pub fn snapshot(&self) -> Moment {
        let under_way = self.ops.iter().filter(|op| !matches!(op.stage, Stage::Done(_)));
        Moment { disk: self.disk.clone(), under_way: under_way.map(|op| op.op.clone()).collect() }
    }

    /// Whether an operation is a sync that can't begin yet: a write of its file that was issued before has not ended.
    #[must_use]
    pub fn holds(&self, at: usize) -> bool {
        let Op { op: DiskOp::Sync { file }, stage: Stage::Issued, .. } = &self.ops[at] else { return false };
        self.ops[..at].iter().any(|op| {
            matches!(op.stage, Stage::Issued)
                && matches!(&op.op, DiskOp::WriteAt { file: other, .. } if other == file)
        })
    }

    /// Takes an operation one step further. The boundary that this is; and the report, once it is to be heard.
    pub fn advance(&mut self, at: usize) -> (Option<Point>, Option<Report>) {
        let op = &mut self.ops[at];
        let covers = match (&op.stage, &op.op) {
            (Stage::Done(_), _) => {
                let Op { token, stage, .. } = self.ops.remove(at);
                let Stage::Done(result) = stage else { unreachable!("it was just looked at") };
                return (None, Some((token, result)));
            }
            (Stage::Issued, DiskOp::Sync { .. } | DiskOp::SyncDir) => {
                op.stage = Stage::Begun(self.disk.next_change());
                let directory = matches!(op.op, DiskOp::SyncDir);
                return (Some(if directory { Point::DirSyncBegun } else { Point::SyncBegun }), None);
            }
            (Stage::Begun(covers), _) => *covers,
            (Stage::Issued, _) => 0,
        };
        self.moment = None;
        if let DiskOp::Sync { file } = op.op
            && self.failing == Some(op.token.owner)
        {
            self.failing = None;
            let error = self.disk.fail_sync(file, covers);
            op.stage = Stage::Done(Err(error));
            Arc::make_mut(&mut self.ledger).sync_failed = true;
            return (Some(Point::SyncFailed), None);
        }
        op.stage = Stage::Done(self.disk.execute(&op.op, covers));
        (point(&op.op), None)
    }
}

/// The boundary after an operation was executed.
fn point(op: &DiskOp) -> Option<Point> {
    Some(match op {
        DiskOp::Create { .. } => Point::Created,
        DiskOp::WriteAt { .. } => Point::Written,
        DiskOp::Sync { .. } => Point::SyncDone,
        DiskOp::Truncate { .. } => Point::Truncated,
        DiskOp::Rename { .. } => Point::Renamed,
        DiskOp::Remove { .. } => Point::Removed,
        DiskOp::SyncDir => Point::DirSyncDone,
        DiskOp::List | DiskOp::Read { .. } => return None,
    })
}

/// What a write of the log's writer is: the first of a segment, an idle mark alone, or any other. Read from the bytes
/// (`docs/formats.md`, log segments).
#[must_use]
pub fn log_write(segment: u64, offset: u64, data: &Bytes) -> Option<&'static str> {
    const MARK: u8 = 2;
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if zeros(data) {
        return None;
    }
    if offset == 0 {
        return (segment > 1).then_some("rotation");
    }
    let len = usize::try_from(u32::from_le_bytes(*data.first_chunk()?)).ok()?;
    let mark_alone = data.get(12) == Some(&MARK) && data.get(len..).is_some_and(zeros);
    mark_alone.then_some("idle mark")
}
