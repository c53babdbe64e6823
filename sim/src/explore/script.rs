//! The workload: what the recorded cluster goes through, as lists of named steps, and what they must bring about.
//!
//! *To add something* (a repair, say): give it a [`Step`], let `Play::step` do it (`play.rs`), put it into [`alone`] or
//! [`three`], name what it must bring about in [`required`], and call `Recording::cover` with that name where
//! `observe.rs` sees it happen. A script that silently stopped covering something is an error, not a pass.

use steadfast_core::io::Owner;

use super::cluster::Cluster;
use super::play::Play;
use super::recording::Recording;

/// Which node.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    /// The one that leads.
    Leader,
    /// One that does not; the only one if there is no other.
    Follower,
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// All nodes start on empty disks and found the cluster; the administrator is created.
    Found,
    /// A client writes so many keys of so many bytes, one after the other.
    Write(usize, usize),
    /// A client writes so many keys of so many bytes at once.
    Burst(usize, usize),
    /// Additions in a session, the last of them asked once more under its number.
    Session(usize),
    /// Nothing is asked until the log has its idle mark.
    Idle,
    /// The next sync of that part of a node fails; the process starts again, or the machine.
    FailSync(Who, Owner, End),
    /// A process ends with a write under way, and starts again.
    Stop(Who, End),
    /// A machine loses its power when the log's newest write is half on the disk.
    Tear(Who),
    /// A machine loses its power during the recovery from a power loss.
    StopRecovery(Who),
    /// The leader is cut off with a write that nobody else has; another one leads and writes; it is healed, and only
    /// then, if so asked, its log's disk goes on with that write.
    Conflict(Stall),
    /// A node takes a snapshot, and writes go on while it is walked.
    Walk(Who),
    /// A machine loses its power while a snapshot is written.
    StopSnapshot(Who, Written),
    /// A node is cut off until the others' logs begin behind its end, and is healed: it gets a snapshot. If it is to
    /// have so many entries of its own that nobody else gets, it leads when it is cut off.
    Lag(usize, Loss),
}

/// How far a snapshot is on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// A part of it is written.
    Begun,
    /// It has its name, and the directory is not synced.
    Renamed,
}

/// When a machine that gets a snapshot loses its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It does not.
    Never,
    /// When a part of the snapshot is written.
    Receiving,
    /// When the snapshot has its name, and the log does not yet begin anew.
    Installing,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine goes on: what was written stays readable.
    Kill,
    /// The machine loses its power, in one of the ways that the search knows.
    Power,
}

/// Whether the writes of the log stand still meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// They go on.
    No,
    /// They do.
    Yes,
}

/// A step with its name.
pub type Named = (&'static str, Step);

/// What one node goes through.
#[must_use]
pub fn alone() -> Vec<Named> {
    vec![
        ("founding", Step::Found),
        ("writes", Step::Write(4, 300)),
        ("session", Step::Session(3)),
        ("idle", Step::Idle),
        ("kill", Step::Stop(Who::Leader, End::Kill)),
        ("burst", Step::Burst(4, 500)),
        ("power loss", Step::Stop(Who::Leader, End::Power)),
        ("failed sync of the log", Step::FailSync(Who::Leader, Owner::Wal, End::Kill)),
        ("torn write", Step::Tear(Who::Leader)),
        ("power loss in recovery", Step::StopRecovery(Who::Leader)),
        ("failed sync of the hard state", Step::FailSync(Who::Leader, Owner::Hard, End::Kill)),
        ("failed sync and power loss", Step::FailSync(Who::Leader, Owner::Wal, End::Power)),
        ("writes during a snapshot", Step::Walk(Who::Leader)),
        ("power loss in a snapshot", Step::StopSnapshot(Who::Leader, Written::Begun)),
        ("power loss after a snapshot's rename", Step::StopSnapshot(Who::Leader, Written::Renamed)),
        ("failed sync of a snapshot", Step::FailSync(Who::Leader, Owner::Snapshot, End::Kill)),
        ("last writes", Step::Write(9, 700)),
        ("last idle", Step::Idle),
    ]
}

/// What three nodes go through.
#[must_use]
pub fn three() -> Vec<Named> {
    vec![
        ("founding", Step::Found),
        ("writes", Step::Write(3, 300)),
        ("session", Step::Session(2)),
        ("idle", Step::Idle),
        ("conflict", Step::Conflict(Stall::No)),
        ("burst", Step::Burst(3, 500)),
        ("kill of a follower", Step::Stop(Who::Follower, End::Kill)),
        ("power loss of the leader", Step::Stop(Who::Leader, End::Power)),
        ("failed sync", Step::FailSync(Who::Follower, Owner::Wal, End::Kill)),
        ("torn write", Step::Tear(Who::Leader)),
        ("power loss in recovery", Step::StopRecovery(Who::Follower)),
        ("conflict under a write", Step::Conflict(Stall::Yes)),
        ("writes during a snapshot", Step::Walk(Who::Follower)),
        ("power loss in a snapshot", Step::StopSnapshot(Who::Follower, Written::Begun)),
        ("power loss after a snapshot's rename", Step::StopSnapshot(Who::Leader, Written::Renamed)),
        ("failed sync of a snapshot", Step::FailSync(Who::Follower, Owner::Snapshot, End::Kill)),
        ("power loss while a snapshot is received", Step::Lag(0, Loss::Receiving)),
        ("snapshot over a short conflict", Step::Lag(1, Loss::Never)),
        ("power loss before the log begins anew", Step::Lag(2, Loss::Installing)),
        ("snapshot into a long conflict", Step::Lag(16, Loss::Never)),
        ("last writes", Step::Write(2, 600)),
        ("last idle", Step::Idle),
    ]
}

/// What a script must have brought about, and how often at least.
#[must_use]
pub fn required(nodes: u16) -> Vec<(&'static str, u64)> {
    let mut required = vec![
        ("founding", 1),
        ("administrator created", 1),
        ("rotation", 3),
        ("session command", 2),
        ("asked again", 1),
        ("idle mark", 1),
        ("failed sync", 1),
        ("kill", 1),
        ("power loss", 2),
        ("recovery", 4),
        ("torn tail cut", 1),
        ("stopped in recovery", 1),
        ("file created", 1),
        ("file renamed", 1),
        ("file removed", 1),
        ("file cut", 1),
        ("directory synced", 1),
        ("snapshot taken", 2),
        ("row kept for a snapshot", 1),
        ("log segment recycled", 1),
        ("log segment removed after a snapshot", 1),
        ("power loss in a snapshot", 2),
    ];
    if nodes > 1 {
        required.extend([
            ("conflict truncation", 2),
            ("truncation under a write", 1),
            ("snapshot installed", 3),
            ("snapshot installed without a conflict", 1),
            ("snapshot installed over a conflict", 2),
            ("power loss while a snapshot is received", 1),
            ("power loss before the log begins anew", 1),
        ]);
    }
    required
}

/// Executes a script and records it. If a node does in it what it may never do, or the script comes to no end, that
/// is said, and the recording ends there.
#[must_use]
pub fn record(nodes: u16, seed: u64, script: &[Named]) -> (Recording, Option<String>) {
    let mut cluster = Cluster::new(nodes, seed, "explore cluster", 1_000_000);
    cluster.recording.steps = script.iter().map(|(name, _)| *name).collect();
    let caller = cluster.caller((0..usize::from(nodes)).collect());
    let mut play = Play::new(cluster, caller);
    for (at, (name, step)) in script.iter().enumerate() {
        play.cluster.step = at;
        if let Err(what) = play.step(*step) {
            return (play.cluster.finish(), Some(format!("in the step \"{name}\": {what}")));
        }
    }
    (play.cluster.finish(), None)
}

/// What the recording lacks of what its script had to bring about.
#[must_use]
pub fn missing(required: &[(&'static str, u64)], recording: &Recording) -> Vec<String> {
    let count = |what| recording.covered.get(what).copied().unwrap_or(0);
    let lacking = required.iter().filter(|(what, least)| count(*what) < *least);
    lacking
        .map(|(what, least)| format!("the script must bring about {what}: {} of {least}", count(*what)))
        .collect()
}
