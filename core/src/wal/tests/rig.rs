//! A node without Raft: hard state and log on a test disk, with a model of what must survive.

use bytes::Bytes;

use crate::config::LogConfig;
use crate::disk::file_of;
use crate::hard::{HardRecovery, HardRecoveryStep, HardStore, Phase};
use crate::io::{DiskOp, HaltReason, Outbox, Output, Owner, Token};
use crate::state::effect::Founding;
use crate::testdisk::{MemDisk, Rng};
use crate::time::Micros;
use crate::types::{ClusterId, EntryId, Incarnation, Index, NodeId, Term};
use crate::wal::{Identity, Recovered, Recovery, RecoveryStep, Setup, Wal};

pub(super) type Entries = Vec<(Index, Term, Bytes)>;

pub(super) const IDENTITY: Identity =
    Identity { cluster: ClusterId(0xC1), node: NodeId(1), incarnation: Incarnation(0x1C) };

/// Why a rig stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The test's budget of operations ran out: the process dies here.
    Killed,
    /// The node halted.
    Halted(HaltReason),
}

impl From<HaltReason> for Stop {
    fn from(reason: HaltReason) -> Self {
        Self::Halted(reason)
    }
}

/// What must survive: the entries behind the snapshot at the start, and the writes since, of which so many are
/// acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// The last entry that the snapshot covers.
    pub(super) covered: EntryId,
    pub(super) base: Entries,
    pub(super) writes: Entries,
    pub(super) durable: usize,
}

impl Model {
    /// The log after the first `count` writes.
    pub(super) fn log(&self, count: usize) -> Entries {
        let mut log = self.base.clone();
        for (index, term, payload) in &self.writes[..count] {
            log.retain(|(at, ..)| at < index);
            log.push((*index, *term, payload.clone()));
        }
        log.retain(|(at, ..)| *at > self.covered.index);
        log
    }

    /// The last acknowledged entry, counting those in the snapshot.
    pub(super) fn acknowledged(&self) -> EntryId {
        let last = self.log(self.durable).pop();
        last.map_or(self.covered, |(index, term, _)| EntryId { index, term })
    }

    /// Whether this is the log after some number of writes, the acknowledged ones at least.
    pub(super) fn admits(&self, log: &Entries) -> bool {
        (self.durable..=self.writes.len()).any(|count| self.log(count) == *log)
    }
}

/// The files and the model; what a crash leaves.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) disk: MemDisk,
    pub(super) model: Model,
    pub(super) log: LogConfig,
    /// The process dies when the disk has executed so many operations.
    pub(super) kill_at: u64,
}

impl Machine {
    pub(super) fn new(segment_bytes: u64, batch_bytes: usize) -> Self {
        let log = LogConfig { segment_bytes, batch_bytes };
        Self { disk: MemDisk::default(), model: Model::default(), log, kill_at: u64::MAX }
    }

    /// Reads the log back in a new boot, as a lone node or as one whose damage others can repair.
    pub(super) fn read_back(&mut self, repairable: bool) -> Result<(HardStore, Recovered), Stop> {
        let hard = self.start_hard()?;
        let setup = Setup {
            identity: IDENTITY,
            boot: hard.get().boot,
            nonce: hard.get().boot_nonce,
            log: self.log.clone(),
            idle_mark: Micros::from_millis(5),
        };
        let mut out = Outbox::default();
        let mut recovery = Recovery::new(setup, hard.get().log_segment, self.model.covered, repairable);
        recovery.start(&mut out);
        let recovered = loop {
            let (token, op) = only_op(&mut out);
            let result = self.execute(&op)?;
            if let RecoveryStep::Done(recovered) = recovery.disk_done(token, result, &mut out)? {
                break *recovered;
            }
        };
        Ok((hard, recovered))
    }

    /// Starts a node on the files, up to a usable log.
    pub(super) fn start(&mut self) -> Result<Rig<'_>, Stop> {
        let (mut hard, recovered) = self.read_back(false)?;
        let mut out = Outbox::default();
        let Recovered { wal, entries, cut, damage: _ } = recovered;
        assert!(self.model.admits(&entries), "recovered {} entries, against the model", entries.len());
        self.model = Model { base: entries.clone(), covered: self.model.covered, ..Model::default() };
        hard.pump(&mut out);
        Ok(Rig {
            machine: self,
            hard,
            wal,
            out,
            waiting: Vec::new(),
            before: 0,
            now: Micros(0),
            recovered: entries,
            cut,
        })
    }

    /// Starts the hard state, and makes a new boot durable.
    fn start_hard(&mut self) -> Result<HardStore, Stop> {
        let mut out = Outbox::default();
        let mut recovery = HardRecovery::new(IDENTITY.node, "test");
        recovery.start(&mut out);
        let mut store = loop {
            let (token, op) = only_op(&mut out);
            let result = self.execute(&op)?;
            if let HardRecoveryStep::Done(recovered) = recovery.disk_done(token, result, &mut out)? {
                break recovered.store;
            }
        };
        let boot = store.update(|state| {
            state.node = IDENTITY.node;
            state.incarnation = IDENTITY.incarnation;
            state.cluster_name = "test".to_owned();
            state.boot = state.boot.next();
            state.boot_nonce = state.boot.0 * 1001;
            let founding =
                Founding { cluster: IDENTITY.cluster, name: "test".to_owned(), members: Vec::new() };
            state.phase = Phase::Founded(founding);
        });
        while store.durable() < boot {
            store.pump(&mut out);
            let (token, op) = only_op(&mut out);
            let result = self.execute(&op)?;
            store.disk_done(token, result)?;
        }
        Ok(store)
    }

    fn execute(&mut self, op: &DiskOp) -> Result<Result<crate::io::DiskReply, crate::io::DiskError>, Stop> {
        if self.disk.executed >= self.kill_at {
            return Err(Stop::Killed);
        }
        Ok(self.disk.execute(op))
    }

    /// The process died and the power went.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        self.kill_at = u64::MAX;
        self.disk.fail_at = None;
        self.disk.crash(rng);
    }

    /// Starts without crash, and hands out what was recovered.
    pub(super) fn recover(&mut self) -> Result<Entries, HaltReason> {
        match self.start() {
            Ok(rig) => Ok(rig.recovered),
            Err(Stop::Halted(reason)) => Err(reason),
            Err(Stop::Killed) => panic!("no kill was planned"),
        }
    }
}

fn only_op(out: &mut Outbox) -> (Token, DiskOp) {
    let mut outputs: Vec<Output> = out.drain().collect();
    assert!(outputs.len() == 1, "one operation at a time");
    match outputs.pop() {
        Some(Output::Disk { token, op }) => (token, op),
        other => panic!("only disk operations were expected: {other:?}"),
    }
}

/// A running node.
pub(super) struct Rig<'a> {
    pub(super) machine: &'a mut Machine,
    pub(super) hard: HardStore,
    pub(super) wal: Wal,
    out: Outbox,
    waiting: Vec<(Token, DiskOp)>,
    /// Writes before the log was last restarted.
    before: u64,
    pub(super) now: Micros,
    pub(super) recovered: Entries,
    pub(super) cut: u64,
}

impl Rig<'_> {
    /// The index after the last.
    pub(super) fn next(&self) -> Index {
        let model = &self.machine.model;
        let last = model.writes.last().or(model.base.last());
        last.map_or(model.covered.index.next(), |(index, ..)| index.next())
    }

    /// A snapshot of this entry, which is acknowledged, is durable.
    pub(super) fn snapshot(&mut self, covered: EntryId) {
        self.machine.model.covered = covered;
        self.wal.release(covered.index);
    }

    /// A snapshot of this entry from elsewhere is durable, and the log is to begin anew behind it.
    pub(super) fn restart(&mut self, covered: EntryId) {
        self.before = self.wal.issued().0;
        self.machine.model = Model { covered, ..Model::default() };
        self.wal.restart(covered);
    }

    /// Appends at `index`.
    pub(super) fn append(&mut self, index: Index, term: Term, payload: Bytes) {
        self.machine.model.writes.push((index, term, payload.clone()));
        self.wal.append(index, term, payload);
    }

    /// Appends `len` recognisable bytes at the end.
    pub(super) fn append_next(&mut self, len: usize) {
        let index = self.next();
        let payload: Vec<u8> = (0..len).map(|at| (at as u64 * 7 + index.0 * 31) as u8 | 1).collect();
        self.append(index, Term(1), payload.into());
    }

    /// One step: everything that can start starts, then one operation that waits, drawn by `pick`, is executed
    /// and reported. `false` if nothing was under way.
    pub(super) fn step(&mut self, pick: u64) -> Result<bool, Stop> {
        self.hard.vouch(&mut self.wal);
        self.hard.pump(&mut self.out);
        self.wal.pump(self.now, &mut self.out);
        for output in self.out.drain() {
            match output {
                Output::Disk { token, op } => self.waiting.push((token, op)),
                other => panic!("only disk operations were expected: {other:?}"),
            }
        }
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let mut picked = (pick % self.waiting.len() as u64) as usize;
        if let DiskOp::Sync { file } = self.waiting[picked].1 {
            // It begins after the writes that were issued before it.
            let writes = |op: &DiskOp| matches!(op, DiskOp::WriteAt { .. }) && file_of(op) == Some(file);
            picked = self.waiting[..picked].iter().position(|(_, op)| writes(op)).unwrap_or(picked);
        }
        let (token, op) = self.waiting.remove(picked);
        let result = self.machine.execute(&op)?;
        match token.owner {
            Owner::Hard => self.hard.disk_done(token, result)?,
            _ => self.wal.disk_done(token, result)?,
        }
        self.machine.model.durable = self.wal.durable().0.saturating_sub(self.before) as usize;
        Ok(true)
    }

    /// Runs until nothing is under way.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        while self.step(0)? {}
        Ok(())
    }

    /// Runs until nothing is under way and the idle log has its mark.
    pub(super) fn settle_marked(&mut self) -> Result<(), Stop> {
        self.settle()?;
        if let Some(at) = self.wal.wake_at() {
            self.now = at;
            self.settle()?;
        }
        assert!(self.wal.wake_at().is_none(), "one mark is enough");
        Ok(())
    }
}
