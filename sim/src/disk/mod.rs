//! A node's fake disk: for every file a live image (what a running process reads) and a durable image
//! (what a power cut leaves), and the same for the directory. Only a completed sync moves bytes from one
//! to the other. Faults lie beside pristine data: nothing here fails unless it is asked to.
//!
//! Here are the operations and what crashes leave; `file.rs` has one file, `overlay.rs` what reads see instead of its
//! bytes, `damage.rs` what strikes and heals them, `window.rs` what must not be struck, `space.rs` how much room there is.
//!
//! An operation has separate execution points (write done, sync begun, sync done), which the world
//! schedules as events of their own; a sync covers the writes that were complete when it began. The disk
//! knows no time: it draws delays, and the world lets them pass.

mod damage;
mod file;
mod overlay;
mod space;
mod window;

use std::collections::{BTreeMap, VecDeque};

use steadfast_core::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, Token};

use crate::rng::{Delay, Stream};
use crate::schedule::DiskSpec;
pub use damage::{Armed, DamageCounts, Evidence, Image, Strike};
use file::{Background, Change, CrashCounts, CrashMode, File};
use space::{Quota, full};

/// Contents of files that are gone, for what may show in a file that grew without its data.
const RETIRED: usize = 4;

/// The longest file, in bytes: a core that asks for more gets an error, not the machine's memory.
const CAPACITY: u64 = 1 << 30;

/// An operation that was issued and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// What an operation's next execution point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A sync looks which writes it covers.
    SyncBegin,
    /// The operation takes effect and ends.
    Finish,
}

/// One node's disk.
#[derive(Clone, Debug)]
pub struct Disk {
    spec: DiskSpec,
    stream: Stream,
    files: BTreeMap<u64, File>,
    live: BTreeMap<FileName, u64>,
    durable: BTreeMap<FileName, u64>,
    /// Changes of the directory that no completed SyncDir covers, oldest first.
    entries: Vec<EntryChange>,
    inflight: BTreeMap<OpId, Inflight>,
    next_op: u64,
    next_file: u64,
    next_change: u64,
    /// Added to every delay, in microseconds, while the disk is slow.
    pub stall_us: u64,
    /// Whether the last operation that ended made a file longer.
    pub grew: bool,
    /// What crashes did, for the probes.
    pub crashes: CrashCounts,
    /// What damage did, for the probes.
    pub counts: DamageCounts,
    /// Why the process that runs may rightly stop.
    pub evidence: Evidence,
    /// While it is set, syncs succeed and make nothing durable.
    pub lying: bool,
    /// Whether it lost its power while syncs had lied, and was not replaced since.
    pub betrayed: bool,
    /// Whether damage is kept from what could not be told from a crash.
    pub spares: bool,
    /// What damage draws, so that crashes go as they would without it.
    damage: Stream,
    armed: Vec<Armed>,
    /// Single operations that will stall: how many until then, and for how long in microseconds.
    stalls: Vec<(u32, u64)>,
    quota: Option<Quota>,
    /// Changes of the directory below this were covered by a sync that lied.
    lied: Option<u64>,
    retired: VecDeque<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Inflight {
    token: Token,
    op: DiskOp,
    /// Whether a fault holds it up.
    stalled: bool,
    /// For a sync that has begun: changes numbered below this are covered.
    covers: Option<u64>,
    /// For a sync that would have begun: a write that was issued before it has not ended.
    held: bool,
}

#[derive(Clone, Debug)]
struct EntryChange {
    number: u64,
    kind: EntryKind,
}

#[derive(Clone, Debug)]
enum EntryKind {
    Link { name: FileName, file: u64 },
    Unlink { name: FileName, file: u64 },
    Rename { from: FileName, to: FileName, file: u64 },
}

impl Disk {
    /// An empty directory. All that the disk draws comes from the two streams, the second for damage alone.
    #[must_use]
    pub fn new(spec: DiskSpec, stream: Stream, damage: Stream) -> Self {
        Self {
            spec,
            stream,
            files: BTreeMap::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            entries: Vec::new(),
            inflight: BTreeMap::new(),
            next_op: 0,
            next_file: 0,
            next_change: 0,
            stall_us: 0,
            grew: false,
            crashes: CrashCounts::default(),
            counts: DamageCounts::default(),
            evidence: Evidence::default(),
            lying: false,
            betrayed: false,
            spares: true,
            damage,
            armed: Vec::new(),
            stalls: Vec::new(),
            quota: None,
            lied: None,
            retired: VecDeque::new(),
        }
    }

    /// Takes an operation on; its first execution point comes after the microseconds returned.
    pub fn submit(&mut self, token: Token, op: DiskOp) -> (OpId, Stage, u64) {
        let id = OpId(self.next_op);
        self.next_op += 1;
        let (stage, delay) = match &op {
            DiskOp::Sync { .. } | DiskOp::SyncDir => (Stage::SyncBegin, self.spec.queue),
            DiskOp::Read { .. } | DiskOp::List => (Stage::Finish, self.spec.read),
            _ => (Stage::Finish, self.spec.write),
        };
        let stall = self.next_stall();
        let delay = self.delay(delay) + stall;
        let stalled = stall + self.stall_us > 0;
        self.inflight.insert(id, Inflight { token, op, stalled, covers: None, held: false });
        (id, stage, delay)
    }

    /// The nth operation from now on takes so many microseconds longer.
    pub fn stall(&mut self, nth: u32, by_us: u64) {
        self.stalls.push((nth, by_us));
    }

    fn next_stall(&mut self) -> u64 {
        self.stalls.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        let due = self.stalls.extract_if(.., |(left, _)| *left == 0);
        due.map(|(_, by_us)| by_us).sum()
    }

    /// The operations that a fault holds up go on: what comes next of each. No operation stalls any more.
    pub fn let_go(&mut self) -> Vec<(OpId, Stage)> {
        self.stalls.clear();
        let next = self.inflight.iter_mut().filter_map(|(id, op)| {
            let syncs = matches!(op.op, DiskOp::Sync { .. } | DiskOp::SyncDir);
            let stage = if syncs && op.covers.is_none() { Stage::SyncBegin } else { Stage::Finish };
            std::mem::take(&mut op.stalled).then_some((*id, stage))
        });
        next.collect()
    }

    /// Whether a sync has to wait for a write of its file that was issued before it. It goes on with [`Disk::freed`].
    pub fn hold(&mut self, id: OpId) -> bool {
        let Some(Inflight { op: DiskOp::Sync { file }, .. }) = self.inflight.get(&id) else { return false };
        let writes = |op: &Inflight| matches!(&op.op, DiskOp::WriteAt { file: other, .. } if other == file);
        let held = self.inflight.range(..id).any(|(_, op)| writes(op));
        self.inflight.get_mut(&id).expect("it is under way").held = held;
        held
    }

    /// The syncs that need not wait any more, each with the microseconds until it looks again whether it begins.
    pub fn freed(&mut self) -> Vec<(OpId, u64)> {
        let held: Vec<OpId> = self.inflight.iter().filter(|(_, op)| op.held).map(|(id, _)| *id).collect();
        let free: Vec<OpId> = held.into_iter().filter(|id| !self.hold(*id)).collect();
        for id in &free {
            self.inflight.get_mut(id).expect("it is under way").stalled |= self.stall_us > 0;
        }
        free.into_iter().map(|id| (id, self.delay(self.spec.queue))).collect()
    }

    /// A sync looks which writes it covers; its end comes after the microseconds returned.
    pub fn begin_sync(&mut self, id: OpId) -> u64 {
        let covers = self.next_change;
        let op = self.inflight.get_mut(&id).expect("a sync begins once, before it ends");
        op.covers = Some(covers);
        op.stalled |= self.stall_us > 0;
        self.delay(self.spec.sync)
    }

    /// Whether a sync has looked already which writes it covers.
    #[must_use]
    pub fn has_begun(&self, id: OpId) -> bool {
        self.inflight.get(&id).is_some_and(|op| op.covers.is_some())
    }

    /// Executes an operation, or lets it fail with EIO, and returns its answer.
    ///
    /// A failed sync leaves its pages marked clean: they can be read until the power goes, and no later
    /// sync writes them (PostgreSQL's fsync incident, 2018).
    pub fn finish(&mut self, id: OpId, fail: bool) -> (Token, Result<DiskReply, DiskError>) {
        let Inflight { token, op, covers, .. } = self.inflight.remove(&id).expect("an operation ends once");
        if fail {
            if let DiskOp::Sync { file } = op {
                self.forget_unsynced(file, covers.unwrap_or(0));
            }
            let error =
                DiskError { kind: DiskErrorKind::Io, message: "Input/output error (os error 5)".into() };
            return (token, Err(error));
        }
        if self.has_no_room(&op) {
            if let DiskOp::Sync { file } = op {
                self.forget_unsynced(file, covers.unwrap_or(0));
            }
            self.evidence.refused = true;
            return (token, Err(full()));
        }
        (token, self.execute(op, covers))
    }

    /// The operation behind an id, while it is under way.
    #[must_use]
    pub fn op(&self, id: OpId) -> Option<(Token, &DiskOp)> {
        self.inflight.get(&id).map(|op| (op.token, &op.op))
    }

    /// Whether an operation has neither ended nor been forgotten in a crash.
    #[must_use]
    pub fn is_under_way(&self, id: OpId) -> bool {
        self.inflight.contains_key(&id)
    }

    /// The microseconds until the node hears of a completed operation. However slow a disk is, what it has done is
    /// told at once: nobody could let that go on.
    pub fn notice_delay(&mut self) -> u64 {
        self.spec.notice.draw(&mut self.stream)
    }

    /// The process is gone, the machine goes on: the live image stays. What was under way may or may not
    /// have happened, a write also in part.
    pub fn kill(&mut self) {
        for (_, Inflight { op, covers, .. }) in std::mem::take(&mut self.inflight) {
            let (happens, cut) = (self.stream.chance(500_000), self.stream.chance(300_000));
            let share = self.stream.bits();
            if !happens {
                continue;
            }
            let op = match op {
                DiskOp::WriteAt { file, offset, data } if cut => {
                    self.crashes.torn_writes += 1;
                    let len = (share % data.len().max(1) as u64) as usize;
                    DiskOp::WriteAt { file, offset, data: data.slice(..len) }
                }
                op => op,
            };
            // A sync that never began covers whatever is complete by now: it could begin this instant.
            let covers = covers.or(Some(self.next_change));
            let _ = self.execute(op, covers);
        }
    }

    /// The machine loses its power: what no completed sync covers is kept, dropped or turned to garbage,
    /// sector by sector and entry by entry.
    pub fn lose_power(&mut self) {
        self.kill();
        self.betrayed |= self.owes();
        self.lied = None;
        let mode = CrashMode::draw(&self.spec, &mut self.stream);
        let entries = std::mem::take(&mut self.entries);
        for change in entries {
            let keep = mode.keeps_entry(&mut self.stream);
            if keep { self.make_entry_durable(change.kind) } else { self.crashes.entries_lost += 1 }
        }
        self.live = self.durable.clone();
        let named: std::collections::BTreeSet<u64> = self.durable.values().copied().collect();
        let gone: Vec<u64> = self.files.keys().copied().filter(|id| !named.contains(id)).collect();
        for id in gone {
            let file = self.files.remove(&id);
            self.retire(file.map_or(Vec::new(), |file| file.live));
        }
        for file in self.files.values_mut() {
            let background = background(&mut self.damage, &self.retired);
            file.lose_power(mode, &mut self.stream, background, &mut self.crashes);
        }
    }

    /// Whether a sync has lied about something that is not durable yet.
    #[must_use]
    pub fn owes(&self) -> bool {
        let lied = self.lied.unwrap_or(0);
        self.entries.iter().any(|entry| entry.number < lied) || self.files.values().any(File::owes)
    }

    /// Keeps what a file holds behind the length to which it is cut.
    fn retire_end(&mut self, name: FileName, len: u64) {
        let Some(file) = self.live.get(&name).and_then(|id| self.files.get(id)) else { return };
        let (mut freed, kept) = (file.live.clone(), usize::try_from(len).unwrap_or(usize::MAX));
        if kept < freed.len() {
            freed[..kept].fill(0);
            self.retire(freed);
        }
    }

    /// Keeps the contents of a file that is gone: its blocks go to other files.
    fn retire(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.retired.push_front(bytes);
            self.retired.truncate(RETIRED);
        }
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&mut self) {
        self.inflight.clear();
        self.entries.clear();
        self.files.clear();
        self.live.clear();
        self.durable.clear();
        self.retired.clear();
        (self.lied, self.betrayed) = (None, false);
    }

    /// The files that a running process sees, with their pristine contents.
    pub fn iter_live(&self) -> impl Iterator<Item = (FileName, &[u8])> + Clone {
        self.live.iter().map(|(name, id)| (*name, self.files[id].live.as_slice()))
    }

    fn delay(&mut self, delay: Delay) -> u64 {
        delay.draw(&mut self.stream) + self.stall_us
    }

    fn execute(&mut self, op: DiskOp, covers: Option<u64>) -> Result<DiskReply, DiskError> {
        let number = self.next_change;
        self.next_change += 1;
        self.grew = self.grows(&op);
        match op {
            DiskOp::Create { file } => self.create(file, number),
            DiskOp::WriteAt { offset, ref data, .. } if offset + data.len() as u64 > CAPACITY => {
                return Err(full());
            }
            DiskOp::Truncate { len, .. } if len > CAPACITY => return Err(full()),
            DiskOp::WriteAt { file, offset, data } => return self.write_at(file, offset, data, number),
            DiskOp::Truncate { file, len } => {
                self.retire_end(file, len);
                self.file_mut(file)?.change(Change::Resize { number, len });
            }
            DiskOp::Sync { file } if self.lying => self.file_mut(file)?.lie(covers.unwrap_or(0)),
            DiskOp::SyncDir if self.lying => self.lied = self.lied.max(covers),
            DiskOp::Sync { file } => {
                self.settle();
                self.file_mut(file)?.sync(covers.unwrap_or(0));
            }
            DiskOp::Rename { from, to } => {
                let file = self.live.remove(&from).ok_or_else(|| not_found(from))?;
                self.live.insert(to, file);
                self.entries.push(EntryChange { number, kind: EntryKind::Rename { from, to, file } });
            }
            DiskOp::Remove { file: name } => {
                let file = self.live.remove(&name).ok_or_else(|| not_found(name))?;
                self.retire(self.files[&file].live.clone());
                self.entries.push(EntryChange { number, kind: EntryKind::Unlink { name, file } });
            }
            DiskOp::SyncDir => {
                self.settle();
                self.sync_dir(covers.unwrap_or(0));
            }
            DiskOp::List => {
                let list = self.live.iter().map(|(name, id)| (*name, self.files[id].live.len() as u64));
                return Ok(DiskReply::Listing(list.collect()));
            }
            DiskOp::Read { file, offset, len } => return self.read_at(file, offset, len),
        }
        Ok(DiskReply::Done)
    }

    fn grows(&self, op: &DiskOp) -> bool {
        let DiskOp::WriteAt { file, offset, data } = op else { return false };
        let file = self.live.get(file).and_then(|id| self.files.get(id));
        file.is_some_and(|file| offset + data.len() as u64 > file.live.len() as u64)
    }

    fn create(&mut self, name: FileName, number: u64) {
        self.retire_end(name, 0);
        if let Some(id) = self.live.get(&name) {
            let file = self.files.get_mut(id).expect("a name leads to a file");
            return file.change(Change::Resize { number, len: 0 });
        }
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, File::default());
        self.live.insert(name, file);
        self.entries.push(EntryChange { number, kind: EntryKind::Link { name, file } });
    }

    /// An honest sync empties the drive's cache, and so makes durable also what earlier syncs lied about.
    fn settle(&mut self) {
        self.files.values_mut().for_each(File::settle);
        if let Some(covers) = self.lied.take() {
            self.sync_dir(covers);
        }
    }

    fn sync_dir(&mut self, covers: u64) {
        let (synced, rest) = std::mem::take(&mut self.entries).into_iter().partition(|e| e.number < covers);
        self.entries = rest;
        for change in synced {
            self.make_entry_durable(change.kind);
        }
    }

    fn make_entry_durable(&mut self, kind: EntryKind) {
        match kind {
            EntryKind::Link { name, file } => {
                self.durable.insert(name, file);
            }
            EntryKind::Unlink { name, file } => self.unlink_durable(name, file),
            EntryKind::Rename { from, to, file } => {
                self.unlink_durable(from, file);
                self.durable.insert(to, file);
            }
        }
    }

    /// Removes a durable entry, if it still leads to that file.
    fn unlink_durable(&mut self, name: FileName, file: u64) {
        if self.durable.get(&name) == Some(&file) {
            self.durable.remove(&name);
        }
    }

    fn forget_unsynced(&mut self, name: FileName, covers: u64) {
        if let Ok(file) = self.file_mut(name) {
            file.forget_unsynced(covers);
        }
    }

    fn id(&self, name: FileName) -> Result<u64, DiskError> {
        self.live.get(&name).copied().ok_or_else(|| not_found(name))
    }

    fn file_mut(&mut self, name: FileName) -> Result<&mut File, DiskError> {
        let id = self.id(name)?;
        Ok(self.files.get_mut(&id).expect("a name leads to a file"))
    }
}

/// What shows where a file has size without data: zeros on most file systems; but a disk promises nothing.
fn background(damage: &mut Stream, retired: &VecDeque<Vec<u8>>) -> Background {
    let (kind, seed) = (damage.below(5), damage.bits());
    match kind {
        0..2 => Background::Zeros,
        2..4 if !retired.is_empty() => {
            Background::Old(retired[(seed % retired.len() as u64) as usize].clone())
        }
        2..4 => Background::Zeros,
        _ => Background::Noise(Box::new(Stream::new(seed, "background"))),
    }
}

fn not_found(name: FileName) -> DiskError {
    DiskError {
        kind: DiskErrorKind::NotFound,
        message: format!("{name}: No such file or directory (os error 2)"),
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
