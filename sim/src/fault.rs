//! Faults: every kind of thing that a schedule can let go wrong, as data. Nothing here acts; `world/faults.rs`
//! executes, and what damages disks, `world/damage.rs`. A fault names nodes by number or by the role that they have when
//! it strikes.

use serde::{Deserialize, Serialize};

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When it strikes, or from when on it waits for its occasion, in microseconds since the start.
    pub at_us: u64,
    /// What happens.
    pub what: FaultKind,
}

/// Nodes, by number or by what they are when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// This one.
    Node(u16),
    /// The leader of the highest term; the lowest running node if there is none.
    Leader,
    /// The lowest running node that does not lead.
    Follower,
    /// Every node.
    All,
}

/// Files of a data directory, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileClass {
    /// Boot, term and vote.
    Hard,
    /// Segments of the log.
    Log,
    /// Everything else.
    Other,
    /// Every file.
    Any,
    /// The log where it was written last.
    Tail,
}

/// An execution point at which a node can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Point {
    /// A write was handed to the disk.
    WriteIssued,
    /// A write is complete; the node has not heard of it.
    WriteDone,
    /// A sync was handed to the disk and has begun.
    SyncBegun,
    /// A sync is complete; the node has not heard of it.
    SyncDone,
    /// A reply is about to be sent.
    BeforeReply,
    /// A reply was sent.
    AfterReply,
    /// A frame was sent to a peer.
    PeerSent,
    /// A leader has committed something, and nobody has heard of it.
    Committed,
    /// A node has just become leader, and nobody has heard of it.
    Elected,
    /// A node has taken another membership into its log: the first of them is the leader, and nobody has heard of it.
    MembersChanged,
    /// A leader has begun to give its leadership to this node, which has not heard of it.
    TransferBegun,
    /// A write that made a file longer is complete; the node has not heard of it.
    FileGrown,
    /// A file was created, renamed, removed or cut, or the directory's sync has begun; the node has not heard
    /// of it.
    DirChanged,
    /// An operation of the recovery was handed to the disk.
    RecoveryOp,
    /// An operation that writes a damaged log anew was handed to the disk.
    RepairOp,
    /// An operation of a snapshot that is written or received is complete; the node has not heard of it.
    SnapshotOp,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::WriteIssued,
        Self::WriteDone,
        Self::SyncBegun,
        Self::SyncDone,
        Self::BeforeReply,
        Self::AfterReply,
        Self::PeerSent,
        Self::Committed,
        Self::Elected,
        Self::MembersChanged,
        Self::TransferBegun,
        Self::FileGrown,
        Self::DirChanged,
        Self::RecoveryOp,
        Self::RepairOp,
        Self::SnapshotOp,
    ];
}

/// Which links a partition cuts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cut {
    /// The node and everybody else, both ways.
    Isolate(Who),
    /// What the node sends is lost; it hears.
    Mute(Who),
    /// What is sent to the node is lost; it speaks.
    Deafen(Who),
    /// These nodes and the rest, both ways.
    Split(Vec<u16>),
    /// Nobody hears anybody but this node, which hears and reaches all: not transitive.
    Bridge(Who),
    /// These links, each from the first to the second.
    Links(Vec<(u16, u16)>),
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FaultKind {
    /// Nodes stop, now.
    Crash {
        /// Which.
        who: Who,
        /// Whether the machine loses its power, or only the process is killed.
        power: bool,
        /// Until they are started again, in microseconds.
        down_us: u64,
    },
    /// A node stops at an execution point.
    CrashAt {
        /// Which; resolved when the waiting begins. Of all nodes, the first that comes there.
        who: Who,
        /// Where.
        point: Point,
        /// At the how-manieth occurrence on one node from then on, 1 or more.
        nth: u32,
        /// Whether the machine loses its power, or only the process is killed.
        power: bool,
        /// Whether all other nodes stop at the same instant.
        all: bool,
        /// Until they are started again, in microseconds.
        down_us: u64,
    },
    /// A node is cut off from all others, both ways, at an execution point.
    CutAt {
        /// Which; resolved when the waiting begins. Of all nodes, the first that comes there.
        who: Who,
        /// Where.
        point: Point,
        /// At the how-manieth occurrence on one node from then on, 1 or more.
        nth: u32,
        /// In microseconds.
        for_us: u64,
    },
    /// A process is stopped at an execution point; what is sent to it queues up.
    PauseAt {
        /// Which; resolved when the waiting begins. Of all nodes, the first that comes there.
        who: Who,
        /// Where.
        point: Point,
        /// At the how-manieth occurrence on one node from then on, 1 or more.
        nth: u32,
        /// In microseconds.
        for_us: u64,
        /// Whether its monotonic clock stands meanwhile, as in a suspended machine.
        suspended: bool,
    },
    /// A node loses its disk, once the cluster is founded and if the budget allows it.
    Wipe {
        /// Which.
        who: Who,
        /// Until it is started again, in microseconds.
        down_us: u64,
    },
    /// A node is stopped, and started again with another release: an upgrade, or the way back.
    Release {
        /// Which.
        who: Who,
        /// The highest feature level that the release knows.
        known: u32,
        /// Until it is started again, in microseconds.
        down_us: u64,
    },
    /// A process is stopped; what is sent to it queues up.
    Pause {
        /// Which.
        who: Who,
        /// In microseconds.
        for_us: u64,
        /// Whether its monotonic clock stands meanwhile, as in a suspended machine.
        suspended: bool,
    },
    /// Links between nodes are cut.
    Partition {
        /// Which.
        cut: Cut,
        /// In microseconds.
        for_us: u64,
        /// Cut and healed in turns of so many microseconds; zero is one long cut.
        flap_us: u64,
        /// Whether the cut-off node (of `Isolate`, `Mute`, `Deafen`) is out of the clients' reach too.
        clients: bool,
        /// Whether what is sent across waits for the healing instead of being lost, as TCP lets it: then a
        /// node hears what was true before the cut after it has heard what is true now.
        #[serde(default)]
        held: bool,
    },
    /// The network is worse than usual.
    Noise {
        /// Frames lost, in a million.
        loss_ppm: u32,
        /// Frames that arrive twice, in a million.
        duplicate_ppm: u32,
        /// Frames that may overtake, in a million.
        reorder_ppm: u32,
        /// Added to every delay, up to so many microseconds.
        slow_us: u64,
        /// In microseconds.
        for_us: u64,
    },
    /// A sync fails with EIO.
    FailSync {
        /// Whose; resolved when the waiting begins.
        who: Who,
        /// The how-manieth sync from then on, 1 or more.
        nth: u32,
        /// Whether the machine is switched off and on after the halt, or only the process is started again.
        reboot: bool,
    },
    /// A disk is slow.
    SlowDisk {
        /// Whose.
        who: Who,
        /// Added to every operation, in microseconds.
        by_us: u64,
        /// In microseconds.
        for_us: u64,
    },
    /// Single operations of a disk take very long.
    StallOp {
        /// Whose; resolved when the waiting begins.
        who: Who,
        /// The how-manieth operation from then on, 1 or more.
        nth: u32,
        /// In microseconds.
        for_us: u64,
    },
    /// A disk has no room, or a quota.
    DiskFull {
        /// Whose.
        who: Who,
        /// Bytes that can still be allocated. A write that needs more is short.
        left: u64,
        /// Whether overwriting needs room too, as on a file system that copies on write.
        overwrites: bool,
        /// In microseconds.
        for_us: u64,
    },
    /// Bits of sectors at rest flip. It damages the node's disk, as all faults from here to `OldImage`, and so strikes
    /// once the cluster is founded and if the budget allows it.
    Rot {
        /// Whose.
        who: Who,
        /// In which files.
        files: FileClass,
        /// How many sectors.
        sectors: u16,
        /// Bits in each, 1 or more.
        bits: u16,
    },
    /// Sectors can't be read any more.
    ReadError {
        /// Whose.
        who: Who,
        /// In which files.
        files: FileClass,
        /// How many sectors.
        sectors: u16,
    },
    /// Sectors go back to an older version of themselves, each valid once.
    RollBack {
        /// Whose.
        who: Who,
        /// In which files.
        files: FileClass,
        /// How many sectors.
        sectors: u16,
    },
    /// A write is reported done, and the old content stays, whatever syncs say.
    LoseWrite {
        /// Whose; resolved when the waiting begins.
        who: Who,
        /// To which files.
        files: FileClass,
        /// The how-manieth from then on, 1 or more.
        nth: u32,
    },
    /// A write lands, whole, at another place of this or another file, and the old content stays at its own.
    MisdirectWrite {
        /// Whose; resolved when the waiting begins.
        who: Who,
        /// To which files.
        files: FileClass,
        /// The how-manieth from then on, 1 or more.
        nth: u32,
    },
    /// What is durable now comes back later, whole, with its term and vote, after a power loss. Only an image from
    /// before the directory's last start, and only when every other node runs, can be reached, and durably
    /// remembers that start: nobody else could tell the node.
    OldImage {
        /// Whose.
        who: Who,
        /// How old it is when the power goes, in microseconds.
        age_us: u64,
        /// Until the node is started again, in microseconds.
        down_us: u64,
    },
    /// Syncs succeed and make nothing durable, until the next honest one. Whether the machine may lose its power
    /// before that, the budget says.
    LyingSync {
        /// Whose.
        who: Who,
        /// In microseconds.
        for_us: u64,
    },
    /// A wall clock jumps.
    WallJump {
        /// Whose.
        who: Who,
        /// In milliseconds, either way.
        by_ms: i64,
    },
    /// A monotonic clock changes its rate.
    Drift {
        /// Whose.
        who: Who,
        /// In millionths, at most 500 either way.
        ppm: i32,
    },
    /// Client connections to a node are reset.
    Reset {
        /// To which.
        who: Who,
    },
    /// Client connections to a node stay open and swallow every byte.
    HalfOpen {
        /// To which.
        who: Who,
    },
    /// A client dies with its requests under way, and a new one takes up its list.
    ClientCrash {
        /// Its place in the schedule.
        client: u16,
        /// Until the new one begins, in microseconds.
        down_us: u64,
    },
    /// Clients ask many times as fast as usual, and nodes are busy with what they are told.
    Surge {
        /// How many times as fast, 1 or more.
        times: u64,
        /// How long each input keeps a node busy, in microseconds.
        cost_us: u64,
        /// In microseconds.
        for_us: u64,
    },
}

impl FaultKind {
    /// The kind's short name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crash { power: false, .. } => "kill",
            Self::Crash { power: true, who: Who::All, .. } => "blackout",
            Self::Crash { power: true, .. } => "power",
            Self::CrashAt { power: false, .. } => "kill-at",
            Self::CrashAt { power: true, .. } => "power-at",
            Self::CutAt { .. } => "cut-at",
            Self::PauseAt { .. } => "pause-at",
            Self::Wipe { .. } => "wipe",
            Self::Release { .. } => "release",
            Self::Pause { suspended: false, .. } => "pause",
            Self::Pause { suspended: true, .. } => "suspend",
            Self::Partition { held: true, .. } => "stall",
            Self::Partition { flap_us: 0, .. } => "partition",
            Self::Partition { .. } => "flap",
            Self::Noise { .. } => "noise",
            Self::FailSync { .. } => "fail-sync",
            Self::SlowDisk { .. } => "slow-disk",
            Self::StallOp { .. } => "stall-op",
            Self::DiskFull { .. } => "disk-full",
            Self::Rot { .. } => "rot",
            Self::ReadError { .. } => "read-error",
            Self::RollBack { .. } => "roll-back",
            Self::LoseWrite { .. } => "lose-write",
            Self::MisdirectWrite { .. } => "misdirect",
            Self::OldImage { .. } => "old-image",
            Self::LyingSync { .. } => "lying-sync",
            Self::WallJump { .. } => "wall-jump",
            Self::Drift { .. } => "drift",
            Self::Reset { .. } => "reset",
            Self::HalfOpen { .. } => "half-open",
            Self::ClientCrash { .. } => "client-crash",
            Self::Surge { .. } => "surge",
        }
    }

    /// Whether it waits for its occasion, and strikes only then.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(
            self,
            Self::CrashAt { .. }
                | Self::CutAt { .. }
                | Self::PauseAt { .. }
                | Self::FailSync { .. }
                | Self::StallOp { .. }
                | Self::LoseWrite { .. }
                | Self::MisdirectWrite { .. }
        )
    }

    fn who(&self) -> Option<Who> {
        match self {
            Self::Crash { who, .. }
            | Self::CrashAt { who, .. }
            | Self::CutAt { who, .. }
            | Self::PauseAt { who, .. }
            | Self::Wipe { who, .. }
            | Self::Release { who, .. }
            | Self::Pause { who, .. }
            | Self::FailSync { who, .. }
            | Self::SlowDisk { who, .. }
            | Self::StallOp { who, .. }
            | Self::DiskFull { who, .. }
            | Self::Rot { who, .. }
            | Self::ReadError { who, .. }
            | Self::RollBack { who, .. }
            | Self::LoseWrite { who, .. }
            | Self::MisdirectWrite { who, .. }
            | Self::OldImage { who, .. }
            | Self::LyingSync { who, .. }
            | Self::WallJump { who, .. }
            | Self::Drift { who, .. }
            | Self::Reset { who }
            | Self::HalfOpen { who }
            | Self::Partition { cut: Cut::Isolate(who) | Cut::Mute(who) | Cut::Deafen(who), .. }
            | Self::Partition { cut: Cut::Bridge(who), .. } => Some(*who),
            Self::Partition { .. } | Self::Noise { .. } | Self::ClientCrash { .. } | Self::Surge { .. } => {
                None
            }
        }
    }
}

impl Fault {
    /// Checks what a hand may have broken.
    pub fn validate(&self, nodes: u16) -> Result<(), String> {
        if matches!(self.what, FaultKind::Surge { times: 0, .. }) {
            return Err(format!("the surge at {} goes zero times as fast", self.at_us));
        }
        let known = |node: &u16| (1..=nodes).contains(node);
        let named: Vec<u16> = match &self.what {
            FaultKind::Partition { cut: Cut::Split(side), .. } => side.clone(),
            FaultKind::Partition { cut: Cut::Links(links), .. } => {
                links.iter().flat_map(|(from, to)| [*from, *to]).collect()
            }
            what => match what.who() {
                Some(Who::Node(node)) => vec![node],
                _ => vec![],
            },
        };
        match named.iter().find(|node| !known(node)) {
            Some(node) => Err(format!("the fault at {} names node {node} of {nodes}", self.at_us)),
            None => Ok(()),
        }
    }
}
