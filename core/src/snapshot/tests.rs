//! Tests of snapshots: their bytes, their walk beside a state that goes on, damage, and a transfer.

use std::collections::{BTreeMap, BTreeSet};

use super::format::{Meta, SECTOR, Seal};
use super::transfer::{Receiving, Sending};
use super::{LoadError, LoadStep, Loading, SnapshotRecovery, Writer, Written};
use crate::disk::Tokens;
use crate::io::{DiskErrorKind, DiskOp, DiskReply, FileName, Outbox, Output, Owner, Token};
use crate::job::JobResult;
use crate::reply::Value;
use crate::state::State;
use crate::state::data::Kind;
use crate::state::effect::{Cause, Deadline, DeleteCause, Effect, Entry, Founding, StoredReply};
use crate::testdisk::{MemDisk, Rng, hexdump};
use crate::time::{Micros, Millis};
use crate::types::{Blob, BootNumber, ClusterId, EntryId, Incarnation, Index, NodeId, SessionId, Term};

const CLUSTER: ClusterId = ClusterId(0xC1);

/// A state to which anything can happen.
struct Subject {
    state: State,
    rng: Rng,
    /// How many keys there may be.
    keys: u64,
    /// Whether hashes become so large that their members take several rows.
    large: bool,
}

impl Subject {
    fn new(seed: u64) -> Self {
        let mut subject = Self { state: State::new((seed, 7)), rng: Rng(seed), keys: 400, large: false };
        let members = vec![(NodeId(1), Incarnation(77))];
        let founding = Founding { cluster: CLUSTER, name: "test".into(), members };
        subject.commit(vec![Effect::Founded(founding), Effect::Level(1)]);
        subject
    }

    fn commit(&mut self, effects: Vec<Effect>) {
        let time = Millis(self.state.time().0 + self.rng.below(3));
        let index = self.state.committed().next();
        self.state.commit(index, &Entry { time, cause: Cause::Command, effects });
    }

    /// One entry that changes anything.
    fn change(&mut self) {
        let rng = &mut self.rng;
        let key = Blob::from(format!("key-{}", rng.below(self.keys)));
        let (id, seq) = (SessionId(1 + rng.below(self.state.committed().0)), rng.below(9));
        let reply = StoredReply { outcome: Ok(Value::Int(seq as i64)), digest: seq };
        let effect = match rng.below(11) {
            0 | 1 => Effect::Put { key, value: Blob::from(vec![7; rng.below(60) as usize]), deadline: None },
            2 => {
                let deadline = Some(Deadline { at: Millis(rng.below(99)), slack: 3 });
                Effect::Put { key, value: Blob::from("with a deadline"), deadline }
            }
            3 => Effect::Delete { key, cause: DeleteCause::Deleted },
            4 => Effect::SessionOpened { user: Blob::from("root"), ttl: 50 },
            5 => Effect::SessionStepped { id, seq, floor: seq.saturating_sub(3), reply },
            6 => Effect::SessionEnded { id, cause: DeleteCause::Expired },
            7 | 8 => {
                let key = Blob::from(format!("hash-{}", rng.below(3)));
                let (fields, bytes) = if self.large { (400, 300) } else { (20, 5) };
                let value = Blob::from(vec![b'v'; (bytes + rng.below(20)) as usize]);
                let gone = rng.below(9) == 0;
                let fields = (0..fields / 10).map(|_| Blob::from(format!("field-{}", rng.below(fields))));
                let changes = fields.map(|field| (field, Some(value.clone()).filter(|_| !gone))).collect();
                Effect::Members { key, kind: Kind::Hash, changes }
            }
            9 => Effect::Moved { from: key, to: Blob::from(format!("key-{}", rng.below(self.keys))) },
            _ => {
                let (origin, boot) = (Incarnation(rng.below(3)), BootNumber(1 + rng.below(2)));
                Effect::Forwarded { origin, boot, seq, floor: seq / 2, reply }
            }
        };
        self.commit(vec![effect]);
    }

    fn at(&self) -> EntryId {
        EntryId { index: self.state.committed(), term: Term(3) }
    }

    /// Takes a snapshot while `meanwhile` happens between any two steps of it.
    fn snapshot(
        &mut self,
        disk: &mut MemDisk,
        block_bytes: u32,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Meta {
        let seal = Seal { cluster: CLUSTER, at: self.at(), block_bytes };
        let mut writer = Writer::new(seal, self.state.capture().clone());
        let (mut tokens, mut out) = (Tokens::new(Owner::Snapshot), Outbox::default());
        loop {
            writer.pump(&mut self.state, false, &mut tokens, &mut out);
            meanwhile(self);
            for output in out.drain().collect::<Vec<_>>() {
                match output {
                    Output::Compute { token, job } => {
                        let JobResult::Snapshot(encoded) = job.run() else { panic!("a slice's job") };
                        assert!(writer.awaits(token));
                        writer.encoded(encoded);
                    }
                    Output::Disk { op, .. } => {
                        if let Written::Done(meta) = writer.disk_done(disk.execute(&op)).expect("no failure")
                        {
                            return meta;
                        }
                    }
                    other => panic!("only operations and jobs were expected: {other:?}"),
                }
            }
        }
    }
}

fn only_op(out: &mut Outbox) -> Option<(Token, DiskOp)> {
    out.drain().next().map(|output| match output {
        Output::Disk { token, op } => (token, op),
        other => panic!("only disk operations were expected: {other:?}"),
    })
}

fn load(disk: &mut MemDisk, index: Index) -> Result<State, LoadError> {
    let file = FileName::Snapshot(index.0);
    let mut loading = Loading::new(CLUSTER, index, disk.bytes(file).len() as u64, (1, 2));
    let (mut tokens, mut out) = (Tokens::new(Owner::Snapshot), Outbox::default());
    loop {
        loading.pump(&mut tokens, &mut out);
        let (_, op) = only_op(&mut out).expect("an operation is under way");
        if let LoadStep::Done(state, _) = loading.disk_done(disk.execute(&op))? {
            return Ok(*state);
        }
    }
}

/// A snapshot of some hundred rows in small blocks.
fn taken(seed: u64) -> (Subject, MemDisk, Meta) {
    let mut subject = Subject::new(seed);
    (0..600).for_each(|_| subject.change());
    let mut disk = MemDisk::default();
    let meta = subject.snapshot(&mut disk, 1024, |_| {});
    (subject, disk, meta)
}

#[test]
fn a_state_is_the_same_after_it_was_written_and_read() {
    for seed in 0..20 {
        let (subject, mut disk, meta) = taken(seed);
        disk.crash(&mut Rng(seed));
        let read = load(&mut disk, meta.seal.at.index).expect("loads");
        assert_eq!(read.digest(), subject.state.digest());
        assert_eq!((read.next_due(), read.time()), (subject.state.next_due(), subject.state.time()));
    }
}

#[test]
fn what_happens_while_a_snapshot_is_taken_is_not_in_it() {
    let mut kept = 0;
    for seed in 0..60 {
        let mut subject = Subject { keys: 5000, large: seed % 10 == 0, ..Subject::new(seed) };
        (0..2500).for_each(|_| subject.change());
        let (before, at) = (subject.state.digest(), subject.at());
        let mut disk = MemDisk::default();
        let meta = subject.snapshot(&mut disk, 512, |subject| {
            (0..subject.rng.below(40)).for_each(|_| subject.change());
            kept += usize::from(subject.state.kept_bytes() > 0);
        });
        assert!(subject.at().index > at.index, "the state went on meanwhile");
        assert_eq!((subject.state.kept_bytes(), subject.state.capturing()), (0, None), "and keeps nothing");
        assert_eq!(load(&mut disk, meta.seal.at.index).expect("loads").digest(), before, "seed {seed}");
    }
    assert!(kept > 100, "rows changed ahead of the walk: {kept}");
}

#[test]
fn equal_states_have_equal_snapshots_however_they_came_about() {
    let (mut subject, disk, meta) = taken(5);
    let mut other = MemDisk::default();
    let index = meta.seal.at.index;
    let mut copy =
        Subject { state: load(&mut disk.clone(), index).expect("loads"), rng: Rng(1), keys: 1, large: false };
    let again = copy.snapshot(&mut other, 1024, |_| {});
    assert_eq!(
        (again, other.bytes(FileName::Snapshot(index.0))),
        (meta, disk.bytes(FileName::Snapshot(index.0)))
    );
    subject.commit(vec![Effect::Put { key: "key-1".into(), value: "else".into(), deadline: None }]);
    let changed = subject.snapshot(&mut MemDisk::default(), 1024, |_| {});
    assert_ne!(changed.root, meta.root);
}

#[test]
fn every_flipped_bit_is_noticed_and_named_with_its_block() {
    let (subject, disk, meta) = taken(3);
    let file = FileName::Snapshot(meta.seal.at.index.0);
    let len = meta.file_bytes();
    assert_eq!(disk.bytes(file).len() as u64, len);
    let mut survived = 0;
    for bit in (0..len * 8).step_by(13) {
        let mut disk = disk.clone();
        disk.tamper(file, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
        match load(&mut disk, meta.seal.at.index) {
            Ok(state) => {
                assert_eq!(state.digest(), subject.state.digest(), "bit {bit}");
                survived += 1;
            }
            Err(LoadError::Damaged { offset, .. }) => {
                let block = (bit / 8).saturating_sub(SECTOR) / 1024 * 1024 + SECTOR;
                assert_eq!(offset, block, "bit {bit}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(survived > 300, "one of the two headers, and padding, may be damaged: {survived}");
}

#[test]
fn every_truncation_and_every_swapped_block_is_noticed() {
    let (_, disk, meta) = taken(4);
    let (index, file) = (meta.seal.at.index, FileName::Snapshot(meta.seal.at.index.0));
    for len in (0..meta.file_bytes()).step_by(97) {
        let mut disk = disk.clone();
        disk.tamper(file, |bytes| bytes.truncate(len as usize));
        assert!(load(&mut disk, index).is_err(), "cut to {len}");
    }
    assert!(meta.blocks > 4, "{meta:?}");
    let mut disk = disk.clone();
    disk.tamper(file, |bytes| bytes.copy_within(512..1536, 1536));
    assert!(load(&mut disk, index).is_err());
}

#[test]
fn a_crash_at_any_step_leaves_the_old_snapshot_or_the_new_one() {
    let (mut subject, mut disk, old) = taken(8);
    let before = subject.state.digest();
    (0..50).for_each(|_| subject.change());
    let after = subject.state.digest();
    let seal = Seal { cluster: CLUSTER, at: subject.at(), block_bytes: 1024 };
    let mut writer = Writer::new(seal, subject.state.capture().clone());
    let (mut tokens, mut out) = (Tokens::new(Owner::Snapshot), Outbox::default());
    let mut found = BTreeMap::new();
    loop {
        for seed in 0..8 {
            let mut disk = disk.clone();
            disk.crash(&mut Rng(seed));
            let mut recovery = SnapshotRecovery::new(CLUSTER, (1, 2));
            let mut out = Outbox::default();
            recovery.start(&mut out);
            let recovered = loop {
                let (token, op) = only_op(&mut out).expect("an operation is under way");
                let result = disk.execute(&op);
                if let Some(recovered) = recovery.disk_done(token, result, &mut out).expect("recovers") {
                    break recovered;
                }
            };
            assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
            *found.entry(recovered.meta.map(|meta| meta.seal.at.index)).or_insert(0) += 1;
            assert!([before, after].contains(&recovered.state.digest()));
        }
        writer.pump(&mut subject.state, false, &mut tokens, &mut out);
        match out.drain().next().expect("something is under way") {
            Output::Compute { job, .. } => match job.run() {
                JobResult::Snapshot(encoded) => writer.encoded(encoded),
                JobResult::Password(_) => panic!("a slice's job"),
            },
            Output::Disk { op, .. } => {
                if let Written::Done(_) = writer.disk_done(disk.execute(&op)).expect("no failure") {
                    break;
                }
            }
            other => panic!("only operations and jobs were expected: {other:?}"),
        }
    }
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[&Some(old.seal.at.index)] > 20);
}

#[test]
fn a_full_disk_gives_a_snapshot_up_and_a_failed_sync_does_not() {
    for (fail, kind) in (1..40).flat_map(|at| [(at, DiskErrorKind::NoSpace), (at, DiskErrorKind::Io)]) {
        let (mut subject, mut disk, _) = taken(9);
        subject.change();
        disk.fail_at = Some((disk.executed + fail, kind));
        let seal = Seal { cluster: CLUSTER, at: subject.at(), block_bytes: 1024 };
        let mut writer = Writer::new(seal, subject.state.capture().clone());
        let (mut tokens, mut out) = (Tokens::new(Owner::Snapshot), Outbox::default());
        let ended = loop {
            writer.pump(&mut subject.state, false, &mut tokens, &mut out);
            match out.drain().next().expect("something is under way") {
                Output::Compute { job, .. } => match job.run() {
                    JobResult::Snapshot(encoded) => writer.encoded(encoded),
                    JobResult::Password(_) => panic!("a slice's job"),
                },
                Output::Disk { op, .. } => {
                    let syncs = matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir);
                    match writer.disk_done(disk.execute(&op)) {
                        Ok(Written::Working) => {}
                        ended => break (ended.is_ok_and(|it| it == Written::NoSpace), syncs),
                    }
                }
                other => panic!("only operations and jobs were expected: {other:?}"),
            }
            if disk.executed > disk.fail_at.map_or(0, |(at, _)| at) {
                break (true, false);
            }
        };
        let (given_up, syncs) = ended;
        assert!(given_up != (kind == DiskErrorKind::Io || syncs) || disk.executed < disk.fail_at.unwrap().0);
    }
}

#[test]
fn a_transfer_survives_lost_doubled_and_late_blocks_and_goes_on_where_it_was() {
    for seed in 0..30 {
        let (subject, mut leader, meta) = taken(seed);
        let mut rng = Rng(seed);
        let mut follower = MemDisk::default();
        let (mut sending, mut receiving) =
            (Sending::new(meta, Micros(0)), Receiving::new(meta, Term(1), false));
        let (mut there, mut here) = (Tokens::new(Owner::Snapshot), Tokens::new(Owner::Snapshot));
        let mut out = Outbox::default();
        let mut flying = Vec::new();
        let mut sent = 0;
        for turn in 0..100_000 {
            let now = Micros(turn * 100);
            if rng.below(200) == 0 {
                // Another leader with the same snapshot.
                sending = Sending::new(meta, now);
            }
            sending.pump(now, Micros(5_000), &mut there, &mut out);
            if let Some((_, op)) = only_op(&mut out) {
                let block = sending.disk_done(leader.execute(&op)).expect("an intact file");
                sent += 1;
                (0..rng.below(3)).for_each(|_| flying.push(block.clone()));
            }
            if !flying.is_empty() && rng.below(2) == 0 {
                let (number, data) = flying.swap_remove(rng.below(flying.len() as u64) as usize);
                receiving.block(number, data);
            }
            receiving.pump(&mut here, &mut out);
            if let Some((_, op)) = only_op(&mut out)
                && let Written::Done(_) = receiving.disk_done(follower.execute(&op)).expect("no failure")
            {
                break;
            }
            if rng.below(3) == 0 {
                sending.wanted(now, receiving.written());
            }
        }
        assert!(receiving.is_consistent() && sent >= meta.blocks);
        let read = load(&mut follower, meta.seal.at.index).expect("it has all come");
        assert_eq!(read.digest(), subject.state.digest());
    }
}

#[test]
fn of_a_damaged_snapshot_only_the_lost_blocks_are_asked_for() {
    for seed in 0..60 {
        let (subject, mut leader, meta) = taken(seed);
        let mut rng = Rng(seed);
        let file = FileName::Snapshot(meta.seal.at.index.0);
        let mut disk = leader.clone();
        let lost: BTreeSet<u32> = (0..=seed % 4).map(|_| rng.below(u64::from(meta.blocks)) as u32).collect();
        for number in &lost {
            let at = (meta.offset(*number) + rng.below(13)) as usize;
            disk.tamper(file, |bytes| bytes[at] ^= 1);
        }
        if seed % 5 == 0 {
            disk.fail_at = Some((disk.executed + 4, DiskErrorKind::Io));
        }
        let mut receiving = Receiving::new(meta, Term(1), true);
        let (mut tokens, mut out) = (Tokens::new(Owner::Snapshot), Outbox::default());
        let mut asked = BTreeSet::new();
        loop {
            receiving.pump(&mut tokens, &mut out);
            if let Some((_, op)) = only_op(&mut out) {
                if let Written::Done(_) = receiving.disk_done(disk.execute(&op)).expect("no failure") {
                    break;
                }
                continue;
            }
            let number = receiving.asks_for().expect("nothing is under way, so that a block is missing");
            asked.insert(number);
            let op = DiskOp::Read { file, offset: meta.offset(number), len: meta.block_len(number) };
            let Ok(DiskReply::Data(data)) = leader.execute(&op) else { panic!("an intact file") };
            receiving.block(number, data);
        }
        assert!(asked.is_superset(&lost) && asked.len() <= lost.len() + 1, "{asked:?} for {lost:?}");
        assert_eq!(receiving.taken_from_own() + asked.len() as u32, meta.blocks);
        assert!(receiving.is_consistent());
        assert_eq!(load(&mut disk, meta.seal.at.index).expect("whole").digest(), subject.state.digest());
    }
}

#[test]
fn a_follower_that_does_not_answer_is_sent_a_window_and_no_more() {
    let (_, mut disk, meta) = taken(2);
    let mut sending = Sending::new(meta, Micros(0));
    let (mut tokens, mut out) = (Tokens::new(Owner::Snapshot), Outbox::default());
    for blocks in [1, 4] {
        let mut sent = Vec::new();
        for _ in 0..50 {
            sending.pump(Micros(1), Micros(1000), &mut tokens, &mut out);
            if let Some((_, op)) = only_op(&mut out) {
                sent.push(sending.disk_done(disk.execute(&op)).expect("an intact file").0);
            }
        }
        assert_eq!(sent.len(), blocks, "{sent:?}");
        // Now it has said what it wants: the one after the first.
        sending.wanted(Micros(1), 1);
    }
}

/// The state whose snapshot is pinned: one row of every kind.
fn pinned() -> Subject {
    let mut subject = Subject::new(1);
    let reply = StoredReply { outcome: Ok(Value::ok()), digest: 9 };
    let deadline = Some(Deadline { at: Millis(5000), slack: 10 });
    subject.commit(vec![Effect::Put { key: "a".into(), value: "one".into(), deadline: None }]);
    subject.commit(vec![Effect::Put { key: "b".into(), value: "two".into(), deadline }]);
    subject.commit(vec![Effect::SessionOpened { user: "root".into(), ttl: 60_000 }]);
    let id = SessionId(4);
    subject.commit(vec![Effect::SessionStepped { id, seq: 1, floor: 0, reply: reply.clone() }]);
    let (origin, boot) = (Incarnation(77), BootNumber(2));
    subject.commit(vec![Effect::Forwarded { origin, boot, seq: 1, floor: 0, reply }]);
    let mut user = crate::access::user::root_user("hash".into(), Index(7));
    // Those that there were when the bytes were pinned.
    user.grants.truncate(3);
    subject.commit(vec![Effect::UserPut { name: "root".into(), user }]);
    subject
}

const SNAPSHOT: &[u8] = include_bytes!("../../../corpus/formats/snapshot-v1.bin");
const DOCS: &str = include_str!("../../../docs/formats.md");

#[test]
fn a_snapshot_is_written_as_pinned() {
    let mut disk = MemDisk::default();
    let meta = pinned().snapshot(&mut disk, 512, |_| {});
    let bytes = disk.bytes(FileName::Snapshot(meta.seal.at.index.0));
    assert!(bytes == SNAPSHOT, "the format changed; it is now {} bytes\n{}", bytes.len(), hexdump(bytes));
}

#[test]
fn the_pinned_snapshot_is_read() {
    let mut disk = MemDisk::default();
    let file = FileName::Snapshot(7);
    disk.execute(&DiskOp::Create { file }).expect("creates");
    disk.tamper(file, |bytes| SNAPSHOT.clone_into(bytes));
    assert_eq!(load(&mut disk, Index(7)).expect("loads").digest(), pinned().state.digest());
}

#[test]
fn the_documentation_shows_the_pinned_snapshot() {
    assert!(DOCS.contains(&hexdump(SNAPSHOT)), "docs/formats.md must show\n{}", hexdump(SNAPSHOT));
}
