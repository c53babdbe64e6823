//! The boundary between the database and the world: everything that enters and everything that leaves.
//!
//! A driver (the simulator or the tokio runtime) hands each event to [`crate::Node::step`] as an [`Input`]
//! and executes the [`Output`]s that come back, in any order it likes: no output may be issued before all
//! that it depends on was reported done. There are two exceptions: bytes to one connection keep their order, as TCP
//! gives it anyway; and a [`DiskOp::Sync`] begins when the writes of its file that were issued before it have ended.
//!
//! Both enums are plain, serialisable data: a production node can record its inputs, and the simulator
//! can replay that recording bit for bit. Nothing here decides anything.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::job::{Job, JobResult};
use crate::time::Micros;
use crate::trace::Event;
use crate::types::{ConnId, NodeId};

/// Correlates an operation with its completion: who asked, and the how-manieth request of theirs it was.
/// Never reused within a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token {
    /// The part of the node that waits for the answer.
    pub owner: Owner,
    /// Counts that part's requests since the boot.
    pub seq: u64,
}

/// The parts of a node that use disk or compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// Reads everything back at a start.
    Recovery,
    /// The boot, term and vote record.
    Hard,
    /// The write-ahead log.
    Wal,
    /// Snapshots: written, read, sent and received.
    Snapshot,
    /// What lies cold, and is read again.
    Scrub,
    /// The file with the first administrator's password.
    Credentials,
    /// Password hashing and verification.
    Password,
}

/// What a driver tells the node. Each carries everything that happened; the node asks no questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// Time has passed: the first input after construction, then whenever the last `WakeAt` is due.
    /// Extra ticks do no harm.
    Tick,
    /// A client has connected.
    Connected {
        /// A number that the driver has not used before in this boot.
        conn: ConnId,
        /// Whether the peer's address is a loopback address.
        loopback: bool,
    },
    /// A client sent bytes, split anywhere.
    Bytes {
        /// Whose.
        conn: ConnId,
        /// How long ago they were read. A request whose frame they end has waited for so long.
        waited: Micros,
        /// At least one byte.
        data: Bytes,
    },
    /// The driver handed this many bytes of earlier `Send`s to the operating system. The node bounds what
    /// waits for a slow reader by these.
    Drained {
        /// Whose.
        conn: ConnId,
        /// Bytes, not counted before.
        bytes: u64,
    },
    /// The connection is gone, whoever closed it. Not sent after the node's own `Close`.
    Disconnected {
        /// Which.
        conn: ConnId,
    },
    /// One whole frame from another node, as that node sent it. The sender's name is inside, under a checksum.
    Peer {
        /// See `docs/formats.md`, peer frames.
        frame: Bytes,
    },
    /// A disk operation has ended.
    DiskDone {
        /// The operation.
        token: Token,
        /// What came of it.
        result: Result<DiskReply, DiskError>,
    },
    /// A compute job has ended.
    Computed {
        /// The job.
        token: Token,
        /// What came of it.
        result: JobResult,
    },
    /// The operator asks the node to stop: refuse new work, answer what is under way, then `Halt(Stopped)`.
    Shutdown,
}

/// What the node tells its driver to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Execute a disk operation and report `DiskDone` with the token.
    Disk {
        /// For the report.
        token: Token,
        /// What to do.
        op: DiskOp,
    },
    /// Send bytes to a client, after all earlier bytes to it.
    Send {
        /// To whom.
        conn: ConnId,
        /// At least one byte.
        data: Bytes,
    },
    /// Send one frame to another node. It may be lost, doubled, delayed or overtaken.
    SendPeer {
        /// To whom.
        to: NodeId,
        /// With which others it keeps its place.
        lane: Lane,
        /// See `docs/formats.md`, peer frames.
        frame: Bytes,
    },
    /// These are the other nodes that can be reached from now on; frames to others go nowhere. Said whenever it changes, and first
    /// before any frame.
    Peers(Vec<PeerAddress>),
    /// Close a client's connection once everything sent before has gone out.
    Close {
        /// Which.
        conn: ConnId,
        /// Not once, but at once: what was not sent is let go of, for there is no room for it.
        at_once: bool,
    },
    /// Run slow, pure work elsewhere ([`Job::run`]) and report `Computed` with the token.
    Compute {
        /// For the report.
        token: Token,
        /// What to compute.
        job: Job,
    },
    /// Nobody waits for this computation any more. If it was not begun it need not be; that it has ended is reported all the same,
    /// as failed if it was not begun.
    Forget {
        /// Of the `Compute`.
        token: Token,
    },
    /// Send a `Tick` at this monotonic time. Replaces every earlier wish.
    WakeAt(Micros),
    /// Something an operator or a test may want to read. Has no effect.
    Trace(Event),
    /// Stop stepping this node for good: nothing that it did after its last durable write may be trusted.
    Halt(HaltReason),
}

/// On its way to another node a frame overtakes those of other lanes and none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lane {
    /// Small, and somebody's patience hangs on it: votes, heartbeats, answers to entries. Before all others.
    Control,
    /// Clients' commands for a leader, and its answers. In one lane, because a leader takes commands in the order of their numbers.
    Forward,
    /// Entries, blocks of snapshots, lost entries: many bytes for which nobody's patience runs out.
    Bulk,
}

/// A file of a data directory. The core never sees a path; drivers map these names (`docs/formats.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileName {
    /// One of the two copies (0, 1) of the boot, term and vote record: `hard-0`, `hard-1`.
    Hard(u8),
    /// A segment of the log: `wal-` and sixteen hexadecimal digits.
    Wal(u64),
    /// The snapshot of an index: `snapshot-` and sixteen hexadecimal digits.
    Snapshot(u64),
    /// The same, while this node writes it: `snapshot-`, the digits and `.tmp`.
    SnapshotTmp(u64),
    /// The same, while another node sends it: `snapshot-`, the digits and `.part`.
    SnapshotPart(u64),
    /// The first administrator's password: `root-credentials`, readable by the owner alone.
    RootCredentials,
    /// The same, before its rename: `root-credentials.tmp`, readable by the owner alone.
    RootCredentialsTmp,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hard(copy) => write!(f, "hard-{copy}"),
            Self::Wal(seq) => write!(f, "wal-{seq:016x}"),
            Self::Snapshot(index) => write!(f, "snapshot-{index:016x}"),
            Self::SnapshotTmp(index) => write!(f, "snapshot-{index:016x}.tmp"),
            Self::SnapshotPart(index) => write!(f, "snapshot-{index:016x}.part"),
            Self::RootCredentials => f.write_str("root-credentials"),
            Self::RootCredentialsTmp => f.write_str("root-credentials.tmp"),
        }
    }
}

impl std::str::FromStr for FileName {
    type Err = ();

    /// The inverse of `Display`. A name that is not ours is an error, and drivers leave such files alone.
    fn from_str(name: &str) -> Result<Self, ()> {
        let parsed = match name {
            "hard-0" => Self::Hard(0),
            "hard-1" => Self::Hard(1),
            "root-credentials" => Self::RootCredentials,
            "root-credentials.tmp" => Self::RootCredentialsTmp,
            _ => numbered(name)?,
        };
        if parsed.to_string() == name { Ok(parsed) } else { Err(()) }
    }
}

/// A file whose name ends in a number, and perhaps in what it is on the way to.
fn numbered(name: &str) -> Result<FileName, ()> {
    let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| ());
    if let Some(digits) = name.strip_prefix("wal-") {
        return number(digits).map(FileName::Wal);
    }
    let rest = name.strip_prefix("snapshot-").ok_or(())?;
    match rest.split_once('.') {
        None => number(rest).map(FileName::Snapshot),
        Some((digits, "tmp")) => number(digits).map(FileName::SnapshotTmp),
        Some((digits, "part")) => number(digits).map(FileName::SnapshotPart),
        Some(_) => Err(()),
    }
}

/// Another node, and where it may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// Which.
    pub node: NodeId,
    /// At least one, the likeliest first. Whoever answers at one need not be that node: it lets go of frames that are not for it.
    pub addresses: Vec<String>,
}

/// One operation on the data directory. Small and dumb: the core decides on offsets, order and syncs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskOp {
    /// Create an empty file; one that exists is cut to nothing.
    Create {
        /// Which.
        file: FileName,
    },
    /// Write all of `data` at `offset`, extending the file if need be.
    WriteAt {
        /// Which.
        file: FileName,
        /// In bytes.
        offset: u64,
        /// At least one byte.
        data: Bytes,
    },
    /// Make every write to the file that was issued before durable, its size included (`fdatasync`). A driver begins it
    /// once those have ended, however they did.
    Sync {
        /// Which.
        file: FileName,
    },
    /// Set the file's length.
    Truncate {
        /// Which.
        file: FileName,
        /// In bytes.
        len: u64,
    },
    /// Give a file a new name, replacing a file of that name.
    Rename {
        /// The old name.
        from: FileName,
        /// The new name.
        to: FileName,
    },
    /// Remove a file.
    Remove {
        /// Which.
        file: FileName,
    },
    /// Make completed creations, renames and removals durable.
    SyncDir,
    /// List the files that have a [`FileName`], with their lengths, in order.
    List,
    /// Read up to `len` bytes at `offset`; fewer at the end of the file.
    Read {
        /// Which.
        file: FileName,
        /// In bytes.
        offset: u64,
        /// In bytes; bounded by the core.
        len: u32,
    },
}

/// What a successful disk operation answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskReply {
    /// Done, for every operation that returns nothing.
    Done,
    /// The answer to `List`.
    Listing(Vec<(FileName, u64)>),
    /// The answer to `Read`.
    Data(Bytes),
}

/// Why a disk operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskError {
    /// What kind of failure, as far as the database acts on it.
    pub kind: DiskErrorKind,
    /// The operating system's words, for the operator.
    pub message: String,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The kinds of disk failure that the database tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskErrorKind {
    /// No such file.
    NotFound,
    /// No space, or a quota.
    NoSpace,
    /// Everything else.
    Io,
}

/// Why a node stopped for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HaltReason {
    /// The operator asked, and everything under way was answered.
    Stopped,
    /// A disk operation failed. After a failed sync the pages count as clean although they are not on
    /// disk (PostgreSQL's fsync incident, 2018): it is never tried again.
    Disk {
        /// What was tried, in words.
        doing: String,
        /// On which file.
        file: Option<FileName>,
        /// How it failed.
        error: DiskError,
    },
    /// What is on disk can't be trusted, with the file, the place and the way out.
    Damaged(String),
    /// The data directory belongs to another node or cluster than the configuration says.
    WrongDirectory(String),
    /// A log entry holds an effect that this build does not know. It is never skipped.
    UnknownEffect {
        /// The effect's kind.
        kind: u8,
        /// The entry's index.
        index: u64,
    },
    /// The cluster works at a feature level that this build does not know.
    NewerLevel {
        /// The level.
        level: u32,
        /// The highest one that this build knows.
        known: u32,
        /// The entry, or the snapshot's last one, that says so.
        index: u64,
    },
    /// A committed entry can't be decoded or applied, which no correct leader can cause.
    Corrupt(String),
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped as asked"),
            Self::Disk { doing, file: Some(file), error } => write!(f, "{doing} {file} failed: {error}"),
            Self::Disk { doing, file: None, error } => write!(f, "{doing} failed: {error}"),
            Self::Damaged(text) | Self::WrongDirectory(text) | Self::Corrupt(text) => f.write_str(text),
            Self::NewerLevel { level, known, index } => write!(
                f,
                "the cluster is at feature level {level} since entry {index}, and this build knows no more than {known}: \
                 start the release that the other nodes run"
            ),
            Self::UnknownEffect { kind, index } => write!(
                f,
                "entry {index} holds an effect of kind {kind}, which this build does not know: \
                 start a release that does"
            ),
        }
    }
}

/// Where a step puts its outputs, in the order in which they arose.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    outputs: Vec<Output>,
    /// Comes after these, and may grow: most answers follow one to the same client.
    growing: Option<(ConnId, Vec<u8>)>,
}

/// What is sent to a client at once grows no further than this.
const GROWN: usize = 16 << 10;

impl Outbox {
    /// Adds one output.
    pub fn push(&mut self, output: Output) {
        self.end_growing();
        self.outputs.push(output);
    }

    /// Adds bytes for a client, which `append` puts behind those that are there: to what was the last output, if that was
    /// for the same client.
    pub fn send<T>(&mut self, conn: ConnId, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if !matches!(&self.growing, Some((to, bytes)) if *to == conn && bytes.len() < GROWN) {
            self.end_growing();
        }
        append(&mut self.growing.get_or_insert_with(|| (conn, Vec::with_capacity(128))).1)
    }

    fn end_growing(&mut self) {
        if let Some((conn, bytes)) = self.growing.take() {
            self.outputs.push(Output::Send { conn, data: bytes.into() });
        }
    }

    /// Takes everything out, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Output> {
        self.end_growing();
        self.outputs.drain(..)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.growing.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(out: &mut Outbox) -> Vec<String> {
        let show = |output| match output {
            Output::Send { conn, data } => format!("{}: {}", conn.0, String::from_utf8_lossy(&data)),
            other => format!("{other:?}"),
        };
        out.drain().map(show).collect()
    }

    #[test]
    fn what_goes_to_one_client_in_a_row_is_one_output_and_the_order_stays() {
        let mut out = Outbox::default();
        let send = |out: &mut Outbox, conn, text: &str| {
            out.send(ConnId(conn), |bytes| bytes.extend_from_slice(text.as_bytes()));
        };
        assert!(out.is_empty());
        send(&mut out, 1, "a");
        send(&mut out, 1, "b");
        assert!(!out.is_empty());
        send(&mut out, 2, "c");
        send(&mut out, 1, "d");
        out.push(Output::Close { conn: ConnId(1), at_once: false });
        send(&mut out, 1, "e");
        assert_eq!(
            shown(&mut out),
            ["1: ab", "2: c", "1: d", "Close { conn: ConnId(1), at_once: false }", "1: e"]
        );
        assert!(out.is_empty());
        let long = "x".repeat(GROWN);
        send(&mut out, 1, &long);
        send(&mut out, 1, "y");
        assert_eq!(shown(&mut out), [format!("1: {long}"), "1: y".into()], "it does not grow without end");
    }
}
