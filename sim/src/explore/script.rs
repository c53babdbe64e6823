//! The workload: what the recorded cluster goes through, as lists of named steps, and what they must bring about.
//!
//! *To add something* (snapshots, one that is installed from a peer, a repair): give it a [`Step`], let `Play::step`
//! do it, put it into [`alone`] or [`three`], name what it must bring about in [`required`], and call
//! `Recording::cover` with that name where `cluster.rs` sees it happen. A script that silently stopped covering
//! something is an error, not a pass.

use steadfast_core::inspect::Inspection;
use steadfast_core::io::{DiskOp, FileName, Owner};

use super::atoms::{Atom, Fate, Part, atoms, image};
use super::cluster::Cluster;
use super::disk::{Disk, What};
use super::machine::Stage;
use super::recording::Recording;
use super::variants::{Bounds, Variants};

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
        ("last writes", Step::Write(3, 700)),
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
    ];
    if nodes > 1 {
        required.extend([("conflict truncation", 2), ("truncation under a write", 1)]);
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
    let mut play = Play { cluster, caller, keys: 0 };
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

/// A script under way.
struct Play {
    cluster: Cluster,
    caller: usize,
    keys: usize,
}

impl Play {
    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Found => self.found(),
            Step::Write(count, bytes) => (0..count).try_for_each(|_| {
                self.ask_write(self.caller, bytes);
                self.settle()
            }),
            Step::Burst(count, bytes) => {
                (0..count).for_each(|_| self.ask_write(self.caller, bytes));
                self.settle()
            }
            Step::Session(count) => self.session(count),
            Step::Idle => {
                self.settle()?;
                self.cluster.pass(80_000)
            }
            Step::FailSync(who, owner, end) => self.fail_sync(who, owner, end),
            Step::Stop(who, end) => {
                let node = self.write_under_way(who)?;
                self.end(node, end)?;
                self.start(node)
            }
            Step::Tear(who) => self.tear(who),
            Step::StopRecovery(who) => self.stop_recovery(who),
            Step::Conflict(stall) => self.conflict(stall),
        }
    }

    fn found(&mut self) -> Result<(), String> {
        for node in 0..self.cluster.machines.len() {
            self.cluster.start(node)?;
        }
        self.cluster.until("a leader", |it| it.leader().is_some())?;
        let created = |it: &Cluster| it.recording.covered.contains_key("administrator created");
        self.cluster.until("an administrator", created)
    }

    fn ask_write(&mut self, caller: usize, bytes: usize) {
        self.keys += 1;
        let jitter = self.cluster.stream().below(bytes as u64 / 4 + 1) as usize;
        let letter = char::from(b'a' + (self.keys % 26) as u8);
        let (key, value) = (format!("k{}", self.keys % 7), letter.to_string().repeat(bytes - jitter));
        self.cluster.submit(caller, &["SET", &key, &value], false);
    }

    /// Every command is answered, every node is up and knows what is committed.
    fn settle(&mut self) -> Result<(), String> {
        self.cluster.until("every command answered", Cluster::answered)?;
        self.cluster.until("all nodes equal", |it| {
            let seen = || it.machines.iter().filter_map(|machine| machine.seen.as_ref());
            let commit = seen().map(|seen| seen.commit).max();
            seen().all(|seen| Some(seen.commit) == commit && seen.durable == seen.commit)
        })
    }

    fn session(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            self.cluster.submit(self.caller, &["INCRBY", "counter", "3"], false);
            self.settle()?;
            if self.cluster.callers[self.caller].once.is_some() {
                self.cluster.recording.cover("session command");
            }
        }
        let before = self.cluster.callers[self.caller].succeeded;
        self.cluster.submit(self.caller, &["INCRBY", "counter", "3"], true);
        self.settle()?;
        if self.cluster.callers[self.caller].succeeded > before {
            self.cluster.recording.cover("asked again");
        }
        Ok(())
    }

    fn choose(&self, who: Who) -> Result<usize, String> {
        let leader = self.cluster.leader().ok_or("nobody leads")?;
        match who {
            Who::Leader => Ok(leader),
            Who::Follower => Ok((leader + 1) % self.cluster.machines.len()),
        }
    }

    /// A client writes, and the log's write to that node's disk is executed and not synced.
    fn write_under_way(&mut self, who: Who) -> Result<usize, String> {
        self.cluster.until("a leader", |it| it.leader().is_some())?;
        let node = self.choose(who)?;
        self.ask_write(self.caller, 700);
        self.cluster.until("a write under way", |it| unsynced(&it.machines[node].disk) >= 2)?;
        Ok(node)
    }

    fn end(&mut self, node: usize, end: End) -> Result<(), String> {
        let variants = {
            let moment = self.cluster.machines[node].snapshot();
            Variants::of(&moment, &Bounds::NESTED, 0, self.cluster.recording.boundaries.len() as u64)
        };
        let fits: Vec<usize> = (0..variants.len())
            .filter(|at| (variants.kind(*at) == "kill") == (end == End::Kill) && variants.kind(*at) != "all")
            .collect();
        let chosen = *self.cluster.stream().pick(&fits);
        self.cluster.kill(node);
        self.cluster.machines[node].disk = variants.disk(chosen);
        self.cluster.recording.cover(if end == End::Kill { "kill" } else { "power loss" });
        Ok(())
    }

    /// A node that is down starts again, and catches up.
    fn start(&mut self, node: usize) -> Result<(), String> {
        self.cluster.start(node)?;
        self.cluster.until("a recovery", |it| it.machines[node].recovered)?;
        self.cluster.until("a leader", |it| it.leader().is_some())?;
        self.settle()
    }

    fn fail_sync(&mut self, who: Who, owner: Owner, end: End) -> Result<(), String> {
        let node = self.choose(who)?;
        if owner == Owner::Hard {
            // The hard state is written at every start.
            self.end(node, End::Kill)?;
            self.cluster.machines[node].failing = Some(owner);
            self.cluster.start(node)?;
        } else {
            self.cluster.machines[node].failing = Some(owner);
            self.ask_write(self.caller, 600);
        }
        self.cluster.until("a halt", |it| it.machines[node].halted)?;
        self.cluster.recording.cover("failed sync");
        if end == End::Power {
            self.end(node, end)?;
        }
        self.start(node)
    }

    fn tear(&mut self, who: Who) -> Result<(), String> {
        let node = self.write_under_way(who)?;
        self.half(node);
        self.start(node)
    }

    /// The power goes, and of the newest write to the log all is there but its last sector.
    fn half(&mut self, node: usize) {
        let disk = self.cluster.machines[node].disk.clone();
        let atoms = atoms(&disk);
        let newest =
            atoms.iter().filter(|atom| is_log_write(&disk, atom.change)).map(|atom| atom.change).max();
        let sector = |atom: &&Atom| Some(atom.change) == newest && matches!(atom.part, Part::Sector { .. });
        let last = atoms.iter().rposition(|atom| sector(&atom)).unwrap_or(0);
        let fate = |at: usize| if at < last { Fate::Keep } else { Fate::Drop };
        let fates: Vec<Fate> = (0..atoms.len()).map(fate).collect();
        self.cluster.kill(node);
        self.cluster.machines[node].disk = Disk::holding(&image(&disk, &atoms, &fates));
        self.cluster.recording.cover("power loss");
    }

    fn stop_recovery(&mut self, who: Who) -> Result<(), String> {
        let node = self.write_under_way(who)?;
        self.half(node);
        self.cluster.start(node)?;
        self.cluster.until("the recovery's writes", |it| {
            let machine = &it.machines[node];
            let copies = machine.ops.iter().any(|op| {
                op.token.owner == Owner::Recovery
                    && matches!(&op.op, DiskOp::WriteAt { data, .. } if data.iter().any(|byte| *byte != 0))
                    && matches!(op.stage, Stage::Done(_))
            });
            copies || machine.recovered
        })?;
        if !self.cluster.machines[node].recovered {
            self.cluster.recording.cover("stopped in recovery");
        }
        self.end(node, End::Power)?;
        self.start(node)
    }

    fn conflict(&mut self, stall: Stall) -> Result<(), String> {
        self.settle()?;
        let old = self.choose(Who::Leader)?;
        let others: Vec<usize> = (0..self.cluster.machines.len()).filter(|node| *node != old).collect();
        let stays = self.cluster.caller(vec![old]);
        self.cluster.submit(stays, &["GET", "k1"], false);
        self.settle()?;
        for other in &others {
            self.cluster.cut.extend([(old, *other), (*other, old)]);
        }
        self.cluster.machines[old].stalled = stall == Stall::Yes;
        (0..2).for_each(|_| self.ask_write(stays, 400));
        let last = self.cluster.machines[old].seen.as_ref().map(|seen| seen.last);
        self.cluster.until("an entry of the old leader", |it| {
            let seen = it.machines[old].seen.as_ref();
            let ready = |seen: &Inspection| stall == Stall::Yes || seen.durable == seen.last;
            seen.is_some_and(|seen| Some(seen.last) > last && ready(seen))
        })?;
        self.cluster.until("another leader", |it| it.leader().is_some_and(|leader| leader != old))?;
        let goes = self.cluster.caller(others);
        (0..2).for_each(|_| self.ask_write(goes, 300));
        self.cluster.until("a write without the old leader", |it| it.callers[goes].open() == 0)?;
        self.cluster.cut.clear();
        if stall == Stall::Yes {
            let cut = |it: &Cluster| it.recording.covered.get("conflict truncation").copied();
            let before = cut(&self.cluster);
            self.cluster.until("a truncation", |it| cut(it) > before)?;
            self.cluster.machines[old].stalled = false;
        }
        self.settle()
    }
}

/// Sectors of the log's unsynced writes, zeros not counted.
fn unsynced(disk: &Disk) -> usize {
    let log = atoms(disk).into_iter().filter(|atom| !atom.quiet && is_log_write(disk, atom.change));
    log.filter(|atom| matches!(atom.part, Part::Sector { .. })).count()
}

fn is_log_write(disk: &Disk, change: usize) -> bool {
    let change = &disk.pending[change];
    let What::Write { inode, data, .. } = &change.what else { return false };
    let named = |(name, file): (&FileName, &u64)| file == inode && matches!(name, FileName::Wal(_));
    !change.given_up && disk.live.iter().any(named) && data.iter().any(|byte| *byte != 0)
}
