//! Executes the steps of a script, but for those that are about snapshots (`play_snapshots.rs`).
//!
//! Each step brings the cluster to the instant that it is about, lets it happen, and waits until all nodes are equal
//! again. It judges nothing.

use steadfast_core::inspect::Inspection;
use steadfast_core::io::{DiskOp, FileName, Owner};

use super::atoms::{Atom, Fate, Part, atoms, image};
use super::cluster::Cluster;
use super::disk::{Disk, What};
use super::machine::Stage;
use super::script::{End, Stall, Step, Who};
use super::variants::{Bounds, Variants};

/// A script under way.
pub struct Play {
    /// The cluster.
    pub(super) cluster: Cluster,
    caller: usize,
    keys: usize,
}

impl Play {
    /// Of this cluster, whose first client is that one.
    #[must_use]
    pub fn new(cluster: Cluster, caller: usize) -> Self {
        Self { cluster, caller, keys: 0 }
    }

    /// Executes a step.
    ///
    /// # Errors
    /// What a node may never do; or that it never comes to what the step is about.
    pub fn step(&mut self, step: Step) -> Result<(), String> {
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
            Step::Walk(who) => self.walk(who),
            Step::StopSnapshot(who, written) => self.stop_snapshot(who, written),
            Step::Lag(unfinished, loss) => self.lag(unfinished, loss),
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

    pub(super) fn ask_write(&mut self, caller: usize, bytes: usize) {
        self.keys += 1;
        let jitter = self.cluster.stream().below(bytes as u64 / 4 + 1) as usize;
        let letter = char::from(b'a' + (self.keys % 26) as u8);
        let (key, value) = (format!("k{}", self.keys % 7), letter.to_string().repeat(bytes - jitter));
        self.cluster.submit(caller, &["SET", &key, &value], false);
    }

    /// Every command is answered, every node is up and knows what is committed.
    pub(super) fn settle(&mut self) -> Result<(), String> {
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

    pub(super) fn choose(&self, who: Who) -> Result<usize, String> {
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

    pub(super) fn end(&mut self, node: usize, end: End) -> Result<(), String> {
        let variants = {
            let moment = self.cluster.machines[node].snapshot();
            Variants::of(&moment, &Bounds::SCRIPT, 0, self.cluster.recording.boundaries.len() as u64)
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
    pub(super) fn start(&mut self, node: usize) -> Result<(), String> {
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
            self.write_until("a halt", |it| it.machines[node].halted)?;
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
        let (old, stays) = self.leader_of_its_own()?;
        let others = self.isolate(old);
        self.cluster.machines[old].stalled = (stall == Stall::Yes).then_some(Owner::Wal);
        self.unfinished(old, stays, 2, 400)?;
        let goes = self.another_leader(old, others)?;
        (0..2).for_each(|_| self.ask_write(goes, 300));
        self.cluster.until("a write without the old leader", |it| it.callers[goes].open() == 0)?;
        self.cluster.cut.clear();
        if stall == Stall::Yes {
            let before = self.covered("conflict truncation");
            let cut = |it: &Cluster| it.recording.covered.get("conflict truncation").copied() > Some(before);
            self.cluster.until("a truncation", cut)?;
            self.cluster.machines[old].stalled = None;
        }
        self.settle()
    }

    /// The leader, and a client that knows no other node and has its session.
    pub(super) fn leader_of_its_own(&mut self) -> Result<(usize, usize), String> {
        self.settle()?;
        let leader = self.choose(Who::Leader)?;
        let stays = self.cluster.caller(vec![leader]);
        self.ask_write(stays, 40);
        self.settle()?;
        Ok((leader, stays))
    }

    /// Nothing passes between a node and the others, which are returned.
    pub(super) fn isolate(&mut self, node: usize) -> Vec<usize> {
        let others: Vec<usize> = (0..self.cluster.machines.len()).filter(|other| *other != node).collect();
        for other in &others {
            self.cluster.cut.extend([(node, *other), (*other, node)]);
        }
        others
    }

    /// A leader that nobody hears appends so many writes, and makes them durable if its disk goes on.
    pub(super) fn unfinished(
        &mut self,
        old: usize,
        stays: usize,
        count: usize,
        bytes: usize,
    ) -> Result<(), String> {
        let last = |it: &Cluster| it.machines[old].seen.as_ref().map_or(0, |seen| seen.last.0);
        let wanted = last(&self.cluster) + count as u64;
        (0..count).for_each(|_| self.ask_write(stays, bytes));
        self.cluster.until("entries of the old leader", |it| {
            let machine = &it.machines[old];
            let ready = |seen: &Inspection| machine.stalled.is_some() || seen.durable == seen.last;
            last(it) >= wanted && machine.seen.as_ref().is_some_and(ready)
        })
    }

    /// The others elect a leader; a client that knows only them.
    pub(super) fn another_leader(&mut self, old: usize, others: Vec<usize>) -> Result<usize, String> {
        self.cluster.until("another leader", |it| it.leader().is_some_and(|leader| leader != old))?;
        Ok(self.cluster.caller(others))
    }

    /// How often the script has brought something about.
    pub(super) fn covered(&self, what: &str) -> u64 {
        self.cluster.recording.covered.get(what).copied().unwrap_or(0)
    }

    /// The first client writes one key after the other until something is so.
    pub(super) fn write_until(&mut self, what: &str, is_so: impl Fn(&Cluster) -> bool) -> Result<(), String> {
        self.write_by(self.caller, what, is_so)
    }

    /// A client does.
    pub(super) fn write_by(
        &mut self,
        caller: usize,
        what: &str,
        is_so: impl Fn(&Cluster) -> bool,
    ) -> Result<(), String> {
        for _ in 0..60 {
            self.ask_write(caller, 600);
            self.cluster.until(what, |it| is_so(it) || it.callers[caller].open() == 0)?;
            if is_so(&self.cluster) {
                return Ok(());
            }
        }
        Err(format!("it never comes to this: {what}"))
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
