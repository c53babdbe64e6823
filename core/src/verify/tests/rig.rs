//! A data directory as a node leaves it: hard state, segments of several lives, a snapshot. And a start on it, by the
//! same recoveries in the same order as `node/startup.rs`.

use bytes::Bytes;

use crate::config::LogConfig;
use crate::disk::Tokens;
use crate::hard::{HardRecovery, HardRecoveryStep, HardStore, Phase};
use crate::io::{DiskOp, FileName, HaltReason, Outbox, Output, Owner, Token};
use crate::job::JobResult;
use crate::snapshot::format::Seal;
use crate::snapshot::{SnapshotRecovery, Writer, Written};
use crate::state::State;
use crate::state::effect::{Cause, Effect, Entry, Founding};
use crate::testdisk::MemDisk;
use crate::time::{Micros, Millis};
use crate::types::{Blob, ClusterId, EntryId, Incarnation, Index, NodeId, Term};
use crate::verify::{Verified, Verify, identity_of};
use crate::wal::{Identity, Recovery, RecoveryStep, Setup, Wal};

pub(super) const IDENTITY: Identity =
    Identity { cluster: ClusterId(0xC1), node: NodeId(1), incarnation: Incarnation(0x1C) };

/// A directory, and what was written to it.
#[derive(Clone)]
pub(super) struct Directory {
    pub(super) disk: MemDisk,
    pub(super) members: u16,
    state: State,
    term: Term,
    pub(super) covered: EntryId,
}

/// What a start makes of a directory.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) hard: HardStore,
    pub(super) wal: Wal,
    /// The state of the snapshot.
    pub(super) state: State,
    /// The entries behind the snapshot; none of a damaged log.
    pub(super) entries: Vec<(Index, Term, Bytes)>,
    pub(super) damaged: bool,
}

fn only_op(out: &mut Outbox) -> (Token, DiskOp) {
    let issued = out.drain().find_map(|output| match output {
        Output::Disk { token, op } => Some((token, op)),
        _ => None,
    });
    issued.expect("an operation is under way")
}

fn founding(members: u16) -> Founding {
    let member = |node| (NodeId(node), if node == 1 { IDENTITY.incarnation } else { Incarnation(99) });
    Founding { cluster: IDENTITY.cluster, name: "test".into(), members: (1..=members).map(member).collect() }
}

/// Starts on the directory: the hard state with a new boot, the snapshot, the log. An empty one becomes that of a founder.
pub(super) fn start(disk: &mut MemDisk, members: u16) -> Result<Started, HaltReason> {
    let mut out = Outbox::default();
    let mut recovery = HardRecovery::new(IDENTITY.node, "test");
    recovery.start(&mut out);
    let mut hard = loop {
        let (token, op) = only_op(&mut out);
        if let HardRecoveryStep::Done(found) = recovery.disk_done(token, disk.execute(&op), &mut out)? {
            break found.store;
        }
    };
    hard.update(|state| {
        if state.phase == Phase::Fresh {
            state.node = IDENTITY.node;
            state.incarnation = IDENTITY.incarnation;
            state.cluster_name = "test".into();
            state.phase = Phase::Founded(founding(members));
        }
        state.boot = state.boot.next();
        state.boot_nonce = state.boot.0 * 1001;
    });
    settle(disk, &mut hard, None, Micros(0))?;
    let identity = identity_of(hard.get()).expect("it was founded");
    let mut recovery = SnapshotRecovery::new(identity.cluster, (0, 0));
    recovery.start(&mut out);
    let snapshot = loop {
        let (token, op) = only_op(&mut out);
        if let Some(found) = recovery.disk_done(token, disk.execute(&op), &mut out)? {
            break found;
        }
    };
    let covered = snapshot.meta.map_or_else(EntryId::default, |meta| meta.seal.at);
    let setup = Setup {
        identity,
        boot: hard.get().boot,
        nonce: hard.get().boot_nonce,
        log: LogConfig { segment_bytes: 4096, batch_bytes: 2048 },
        idle_mark: Micros(1),
    };
    let mut recovery = Recovery::new(setup, hard.get().log_segment, covered, members > 1);
    recovery.start(&mut out);
    loop {
        let (token, op) = only_op(&mut out);
        if let RecoveryStep::Done(found) = recovery.disk_done(token, disk.execute(&op), &mut out)? {
            let damaged = found.damage.is_some();
            let state = snapshot.state;
            return Ok(Started { hard, wal: found.wal, state, entries: found.entries, damaged });
        }
    }
}

/// Runs until nothing is under way.
fn settle(
    disk: &mut MemDisk,
    hard: &mut HardStore,
    mut wal: Option<&mut Wal>,
    now: Micros,
) -> Result<(), HaltReason> {
    let mut out = Outbox::default();
    loop {
        if let Some(wal) = &mut wal {
            hard.vouch(wal);
            wal.pump(now, &mut out);
        }
        hard.pump(&mut out);
        let ops: Vec<Output> = out.drain().collect();
        if ops.is_empty() {
            return Ok(());
        }
        for output in ops {
            let Output::Disk { token, op } = output else { panic!("only disk operations were expected") };
            let result = disk.execute(&op);
            match (token.owner, &mut wal) {
                (Owner::Wal, Some(wal)) => wal.disk_done(token, result)?,
                _ => hard.disk_done(token, result)?,
            }
        }
    }
}

impl Directory {
    /// Of a node that was started three times, with some entries each; the snapshot lies in the second life.
    pub(super) fn new(members: u16) -> Self {
        let (disk, state) = (MemDisk::default(), State::new((0, 0)));
        let mut directory = Self { disk, members, state, term: Term(0), covered: EntryId::default() };
        directory.life(8, None);
        directory.life(10, Some(4));
        directory.life(9, None);
        directory
    }

    /// A start, some entries, and the idle log's mark; after so many of them a snapshot.
    fn life(&mut self, entries: u64, snapshot: Option<u64>) {
        let mut started = start(&mut self.disk, self.members).expect("starts");
        self.term = self.term.next();
        for at in 0..entries {
            self.append(&mut started, at);
            if snapshot == Some(at) {
                self.snapshot();
                started.wal.release(self.covered.index);
            }
        }
        for now in [10, 20] {
            let settled = settle(&mut self.disk, &mut started.hard, Some(&mut started.wal), Micros(now));
            settled.expect("no failure was planned");
        }
    }

    fn append(&mut self, started: &mut Started, at: u64) {
        let index = self.state.committed().next();
        let key = Blob::from(format!("key-{index}"));
        let put = Effect::Put { key, value: Blob::from(vec![b'v'; 90 * at as usize]), deadline: None };
        let effects = match index {
            Index(1) => vec![Effect::Founded(founding(self.members)), Effect::Level(1)],
            _ => vec![put],
        };
        let entry = Entry { time: Millis(1_700_000_000_000 + index.0), cause: Cause::Command, effects };
        self.state.commit(index, &entry);
        started.wal.append(index, self.term, entry.encode());
        let settled = settle(&mut self.disk, &mut started.hard, Some(&mut started.wal), Micros(0));
        settled.expect("no failure was planned");
    }

    fn snapshot(&mut self) {
        self.covered = EntryId { index: self.state.committed(), term: self.term };
        let seal = Seal { cluster: IDENTITY.cluster, at: self.covered, block_bytes: 512 };
        let mut writer = Writer::new(seal, self.state.capture().clone());
        let (mut tokens, mut out) = (Tokens::new(Owner::Snapshot), Outbox::default());
        loop {
            writer.pump(&mut self.state, false, &mut tokens, &mut out);
            for output in out.drain().collect::<Vec<_>>() {
                match output {
                    Output::Compute { job, .. } => {
                        let JobResult::Snapshot(encoded) = job.run() else { panic!("a slice's job") };
                        writer.encoded(encoded);
                    }
                    Output::Disk { op, .. } => {
                        let done = writer.disk_done(self.disk.execute(&op)).expect("no failure was planned");
                        if let Written::Done(_) = done {
                            return;
                        }
                    }
                    other => panic!("only operations and jobs were expected: {other:?}"),
                }
            }
        }
    }

    /// Segments, oldest first, with their lengths.
    pub(super) fn segments(&self) -> Vec<(FileName, u64)> {
        let mut files = self.disk.list();
        files.retain(|(file, _)| matches!(file, FileName::Wal(_)));
        files
    }

    /// Where a file has these bytes first.
    pub(super) fn find(&self, file: FileName, bytes: &[u8]) -> Option<usize> {
        self.disk.bytes(file).windows(bytes.len()).position(|window| window == bytes)
    }

    /// Flips a bit in the record of this entry; its file, and where.
    pub(super) fn rot(&mut self, index: u64) -> (FileName, u64) {
        let key = format!("key-{index}");
        let files = self.segments();
        let found = files.iter().rev().find_map(|(file, _)| Some((*file, self.find(*file, key.as_bytes())?)));
        let (file, at) = found.expect("the entry is in the log");
        self.disk.tamper(file, |bytes| bytes[at] ^= 1);
        (file, at as u64)
    }

    /// What an examination says. It must never change anything.
    pub(super) fn verify(&mut self) -> Verified {
        verify(&mut self.disk)
    }
}

/// Examines the files on a disk.
pub(super) fn verify(disk: &mut MemDisk) -> Verified {
    let mut verify = Verify::new();
    while let Some(op) = verify.next_op() {
        assert!(matches!(op, DiskOp::List | DiskOp::Read { .. }), "an examination changes nothing: {op:?}");
        verify.done(disk.execute(&op)).expect("what is there can be read");
    }
    verify.finish()
}
