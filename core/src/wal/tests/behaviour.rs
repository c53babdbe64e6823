//! What the log does when nothing goes wrong, and when one thing does.

use bytes::Bytes;

use super::rig::{IDENTITY, Machine, Rig, Stop};
use crate::config::LogConfig;
use crate::disk::SPACE_PAUSE;
use crate::io::{DiskError, DiskErrorKind, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Token};
use crate::testdisk::{MemDisk, Rng};
use crate::time::Micros;
use crate::types::{BootNumber, EntryId, Index, Term, WriteSeq};
use crate::wal::format::SECTOR;
use crate::wal::{Setup, Wal};

#[test]
fn a_damaged_log_is_mended_in_what_room_there_is() {
    let setup = Setup {
        identity: IDENTITY,
        boot: BootNumber(2),
        nonce: 3,
        log: LogConfig { segment_bytes: 1 << 20, batch_bytes: 4096 },
        idle_mark: Micros::from_millis(5),
    };
    let entries: Vec<_> = (1..=3).map(|at| (Index(at), Term(1), Bytes::from(vec![7; 500]))).collect();
    for (room, fits) in [(1000, false), (20_000, true), (2 << 20, true)] {
        let mut disk = MemDisk::default();
        disk.room = Some(room);
        let mut wal = Wal::damaged(setup.clone(), 5, Vec::new());
        let seq = wal.mend(EntryId::default(), &entries);
        let mut out = Outbox::default();
        loop {
            wal.pump(Micros(1), &mut out);
            let Some(Output::Disk { token, op }) = out.drain().next() else { break };
            wal.disk_done(token, disk.execute(&op)).expect("it waits for space, and nothing else fails");
        }
        assert_eq!((wal.durable() >= seq, wal.is_full()), (fits, !fits), "in {room} bytes");
        assert!(disk.list().iter().all(|(_, len)| *len <= room));
    }
}

#[test]
fn an_empty_directory_gives_an_empty_log() {
    let mut machine = Machine::new(4096, 2048);
    let rig = machine.start().expect("starts");
    assert!(rig.recovered.is_empty() && rig.cut == 0 && rig.wal.wake_at().is_none());
}

#[test]
fn entries_survive_a_power_loss_once_durable() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    (0..5).for_each(|_| rig.append_next(100));
    rig.settle().expect("settles");
    assert_eq!(rig.wal.durable(), WriteSeq(5));
    machine.crash(&mut Rng(1));
    assert_eq!(machine.recover().expect("recovers").len(), 5);
}

#[test]
fn nothing_is_durable_before_the_sync_is_reported() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.settle().expect("settles");
    rig.append_next(10);
    rig.step(0).expect("writes");
    assert!(rig.wal.sync_in_flight() && rig.wal.durable() == WriteSeq(0));
    rig.step(0).expect("syncs");
    assert!(!rig.wal.sync_in_flight() && rig.wal.durable() == WriteSeq(1));
}

#[test]
fn the_next_batch_gathers_while_one_is_under_way() {
    let mut machine = Machine::new(1 << 16, 1 << 14);
    let mut rig = machine.start().expect("starts");
    rig.settle().expect("settles");
    rig.append_next(10);
    rig.step(0).expect("writes the first");
    (0..20).for_each(|_| rig.append_next(10));
    assert_eq!(rig.wal.queued_bytes(), 200);
    let before = rig.machine.disk.executed;
    rig.settle().expect("settles");
    assert_eq!(
        rig.machine.disk.executed - before,
        3,
        "one sync, then one write and one sync for all the rest"
    );
}

#[test]
fn a_lower_index_supersedes_everything_from_there_on() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    (0..4).for_each(|_| rig.append_next(50));
    rig.settle().expect("settles");
    rig.append(Index(2), Term(2), Bytes::from_static(b"new"));
    rig.settle_marked().expect("settles");
    machine.crash(&mut Rng(2));
    let entries = machine.recover().expect("recovers");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1], (Index(2), Term(2), Bytes::from_static(b"new")));
}

#[test]
fn an_idle_log_gets_one_mark_and_then_rests() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.append_next(10);
    rig.settle().expect("settles");
    let due = rig.wal.wake_at().expect("a mark is due");
    assert_eq!(due, Micros::from_millis(5));
    rig.now = due;
    rig.settle().expect("writes the mark");
    assert!(rig.wal.wake_at().is_none());
    rig.now = due.after(due);
    assert!(!rig.step(0).expect("rests"));
}

#[test]
fn the_log_goes_on_in_new_segments() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    for _ in 0..20 {
        rig.append_next(200);
        rig.settle().expect("settles");
    }
    let segments = machine.disk.list().iter().filter(|(file, _)| matches!(file, FileName::Wal(_))).count();
    assert!(segments >= 6, "{segments} segments");
    assert_eq!(machine.recover().expect("recovers").len(), 20);
}

#[test]
fn an_entry_larger_than_a_segment_makes_its_segment_larger() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    rig.append_next(10);
    rig.append_next(10_000);
    rig.append_next(10);
    rig.settle_marked().expect("settles");
    assert_eq!(rig.wal.durable(), WriteSeq(3));
    machine.crash(&mut Rng(3));
    assert_eq!(machine.recover().expect("recovers")[1].2.len(), 10_000);
}

#[test]
fn every_batch_begins_at_a_sector_and_overwrites_nothing() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    let mut out = Outbox::default();
    rig.settle().expect("settles");
    let mut written = 0;
    for len in [1, 300, 0, 900, 511] {
        rig.append_next(len);
        rig.wal.pump(rig.now, &mut out);
        for output in out.drain() {
            let Output::Disk { token, op } = output else { panic!("a disk operation") };
            if let DiskOp::WriteAt { offset, data, file: FileName::Wal(1) } = &op {
                assert!(offset.is_multiple_of(SECTOR) && *offset >= written);
                written = offset + data.len() as u64;
            }
            let result = rig.machine.disk.execute(&op);
            rig.wal.disk_done(token, result).expect("no failure was planned");
        }
        rig.settle().expect("settles");
    }
    assert!(written > 0);
}

#[test]
fn before_its_segment_is_vouched_for_the_log_neither_writes_nor_cleans_up() {
    let mut machine = Machine::new(1 << 16, 2048);
    let mut rig = machine.start().expect("starts");
    rig.append_next(10);
    rig.settle().expect("settles, and no mark follows");
    let mut rig = machine.start().expect("starts, with an old segment to remove");
    rig.append_next(10);
    let mut out = Outbox::default();
    rig.wal.pump(rig.now, &mut out);
    assert!(out.is_empty());
    rig.wal.vouched(rig.wal.prepared());
    rig.wal.pump(rig.now, &mut out);
    assert_eq!(out.drain().count(), 3, "a write and a sync for the log, and one to clean up");
}

#[test]
fn the_next_segment_takes_no_batch_before_it_is_vouched_for() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    rig.wal.vouched(1);
    (0..4).for_each(|_| rig.append_next(900));
    let mut out = Outbox::default();
    let mut turns = |rig: &mut Rig<'_>| {
        for _ in 0..40 {
            rig.wal.pump(rig.now, &mut out);
            for output in out.drain() {
                let Output::Disk { token, op } = output else { panic!("a disk operation") };
                let result = rig.machine.disk.execute(&op);
                rig.wal.disk_done(token, result).expect("no failure was planned");
            }
        }
        rig.wal.durable()
    };
    assert_eq!(turns(&mut rig), WriteSeq(1), "one fits, and the next segment is prepared");
    assert_eq!(rig.wal.prepared(), 2);
    rig.wal.vouched(2);
    assert_eq!(turns(&mut rig), WriteSeq(2));
}

#[test]
fn a_prepared_segment_is_announced_only_once_the_one_in_use_has_its_header_durable() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    rig.append_next(900);
    rig.settle().expect("settles");
    rig.append_next(900);
    let mut out = Outbox::default();
    let mut held = None;
    for _ in 0..40 {
        rig.wal.pump(rig.now, &mut out);
        for output in out.drain() {
            let Output::Disk { token, op } = output else { panic!("a disk operation") };
            match op {
                DiskOp::WriteAt { file: FileName::Wal(2), .. } => held = Some((token, op)),
                _ => {
                    let result = rig.machine.disk.execute(&op);
                    rig.wal.disk_done(token, result).expect("no failure was planned");
                }
            }
        }
    }
    assert!(rig.machine.disk.list().contains(&(FileName::Wal(3), 2048)), "the third segment is prepared");
    assert_eq!(rig.wal.prepared(), 2);
    let (token, op) = held.expect("the second segment's first batch is under way");
    let result = rig.machine.disk.execute(&op);
    rig.wal.disk_done(token, result).expect("no failure was planned");
    rig.settle().expect("settles");
    assert_eq!(rig.wal.prepared(), 3);
}

#[test]
fn no_snapshot_takes_the_segment_before_one_whose_header_is_not_durable() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    // More than are kept to be used again.
    for _ in 0..4 {
        rig.append_next(900);
        rig.settle().expect("settles");
    }
    let next = FileName::Wal(rig.wal.prepared());
    rig.append_next(900);
    let (mut out, mut held) = (Outbox::default(), Vec::new());
    let covered = rig.machine.model.acknowledged();
    for turn in 0..40 {
        if turn == 20 {
            rig.snapshot(covered);
        }
        rig.wal.pump(rig.now, &mut out);
        for output in out.drain() {
            let Output::Disk { token, op } = output else { panic!("a disk operation") };
            match op {
                DiskOp::WriteAt { file, .. } | DiskOp::Sync { file } if file == next => {
                    held.push((token, op))
                }
                _ => {
                    let result = rig.machine.disk.execute(&op);
                    rig.wal.disk_done(token, result).expect("no failure was planned");
                }
            }
        }
    }
    assert_eq!(held.len(), 2, "its first batch is under way");
    let mut later = rig.machine.clone();
    later.crash(&mut Rng(1));
    later.recover().expect("what the hard state vouches for was never begun, and is not lost");
    for (token, op) in held {
        let result = rig.machine.disk.execute(&op);
        rig.wal.disk_done(token, result).expect("no failure was planned");
    }
    rig.settle().expect("settles");
    assert_eq!(rig.wal.cold(), [], "then it goes");
    machine.crash(&mut Rng(2));
    assert_eq!(machine.recover().expect("recovers").len(), 1);
}

#[test]
fn a_batch_is_durable_once_it_is_written_and_synced_whichever_is_reported_first() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.settle().expect("settles");
    rig.append_next(10);
    let mut out = Outbox::default();
    let full = || Err(DiskError { kind: DiskErrorKind::NoSpace, message: String::new() });
    for (sync_first, written) in [(true, false), (false, false), (true, true)] {
        rig.now = rig.now.after(SPACE_PAUSE);
        rig.wal.pump(rig.now, &mut out);
        let tokens: Vec<Token> = out.drain().map(token).collect();
        let [write, sync] = tokens[..] else { panic!("a write and its sync: {tokens:?}") };
        let result = if written { Ok(DiskReply::Done) } else { full() };
        let mut reports = [(write, result), (sync, Ok(DiskReply::Done))];
        if sync_first {
            reports.reverse();
        }
        for (token, result) in reports {
            assert_eq!(rig.wal.durable(), WriteSeq(0));
            rig.wal.disk_done(token, result).expect("that ends no node");
            rig.wal.pump(rig.now, &mut out);
            assert!(out.is_empty(), "neither before both are reported, nor at once where there was no space");
        }
    }
    assert_eq!(rig.wal.durable(), WriteSeq(1));
}

fn token(output: Output) -> Token {
    match output {
        Output::Disk { token, .. } => token,
        other => panic!("a disk operation: {other:?}"),
    }
}

#[test]
fn a_failed_sync_halts_and_is_never_tried_again() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.settle().expect("settles");
    rig.append_next(10);
    rig.step(0).expect("writes");
    rig.machine.disk.fail_at = Some((rig.machine.disk.executed + 1, DiskErrorKind::Io));
    let stop = rig.step(0).expect_err("halts");
    assert!(matches!(stop, Stop::Halted(HaltReason::Disk { .. })), "{stop:?}");
    assert_eq!(rig.wal.durable(), WriteSeq(0));
}

#[test]
fn what_was_readable_after_a_failed_sync_is_durable_after_the_next_start() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.settle().expect("settles");
    rig.append_next(10);
    rig.step(0).expect("writes");
    rig.machine.disk.fail_at = Some((rig.machine.disk.executed + 1, DiskErrorKind::Io));
    rig.step(0).expect_err("halts");
    let read = machine.recover().expect("the process starts again, without a reboot");
    assert_eq!(read.len(), 1);
    machine.crash(&mut Rng(4));
    assert_eq!(machine.recover().expect("recovers"), read);
}

#[test]
fn on_a_full_disk_the_log_waits_for_space_and_only_a_failed_sync_halts() {
    let (mut waited, mut halted) = (0, 0);
    for fail in 1..40 {
        let mut machine = Machine::new(2048, 1024);
        let mut rig = machine.start().expect("starts");
        rig.machine.disk.fail_at = Some((rig.machine.disk.executed + fail, DiskErrorKind::NoSpace));
        for _ in 0..8 {
            rig.append_next(300);
        }
        let mut ended = rig.settle();
        if ended.is_ok() && rig.wal.is_full() {
            waited += 1;
            rig.now = rig.wal.wake_at().expect("it wants to try again");
            ended = rig.settle();
            assert!(!rig.wal.is_full());
        }
        match ended {
            Ok(()) => assert_eq!(rig.wal.durable(), WriteSeq(8), "operation {fail} failed"),
            Err(Stop::Halted(HaltReason::Disk { error, .. })) => {
                assert_eq!(error.kind, DiskErrorKind::NoSpace);
                halted += 1;
            }
            Err(other) => panic!("operation {fail} failed: {other:?}"),
        }
        machine.disk.fail_at = None;
        machine.crash(&mut Rng(fail));
        machine.recover().expect("nothing that is half there is believed");
    }
    // One failure of a preparation is tried again at once, in a smaller piece; only the log's own writes wait.
    assert!(waited > 2 && halted > 5, "{waited} waited, {halted} halted");
}

#[test]
fn a_snapshot_that_lacks_space_gets_what_a_next_segment_would_take() {
    let mut machine = Machine::new(1 << 20, 1024);
    let mut rig = machine.start().expect("starts");
    let files = |rig: &Rig<'_>| rig.machine.disk.list().iter().map(|(_, len)| len).sum::<u64>();
    rig.machine.disk.room = Some(files(&rig) + 50_000);
    while rig.wal.size() <= 1 << 19 || !rig.wal.is_full() {
        rig.append_next(900);
        rig.settle().expect("settles");
    }
    let (next, full) = (FileName::Wal(rig.wal.prepared() + 1), files(&rig));
    assert!(full > rig.machine.disk.room.unwrap() - 4096, "the next segment takes what there is");
    rig.wal.yield_space(true);
    rig.settle().expect("settles");
    assert!(rig.machine.disk.list().iter().all(|(file, _)| *file != next), "it is let go");
    rig.append_next(900);
    rig.now = rig.now.after(Micros::from_millis(10_000));
    rig.settle().expect("settles");
    assert_eq!(rig.wal.durable(), rig.wal.issued(), "the log goes on in the segment in use");
    assert!(full - files(&rig) > 49_000, "and takes nothing more");
    rig.wal.yield_space(false);
    rig.machine.disk.room = None;
    rig.settle().expect("settles");
    assert!(rig.machine.disk.list().contains(&(next, 1 << 20)), "until it may again");
    assert!(!rig.wal.is_full());
    rig.settle_marked().expect("settles");
    let written = rig.machine.model.writes.len();
    assert_eq!(machine.recover().expect("recovers").len(), written);
}

/// A disk that is full, its next segment ready and vouched for, and an entry too large for that.
fn waits_for_a_larger_segment(machine: &mut Machine) -> Rig<'_> {
    let mut rig = machine.start().expect("starts");
    while rig.hard.get().log_segment < 2 {
        rig.append_next(900);
        rig.settle().expect("settles");
    }
    let used: u64 = rig.machine.disk.list().iter().map(|(_, len)| len).sum();
    rig.machine.disk.room = Some(used + 5000);
    rig.append_next(40_000);
    rig.settle().expect("settles");
    assert!(rig.wal.is_full(), "the larger segment finds no space");
    rig
}

#[test]
fn a_segment_that_was_vouched_for_is_never_let_go() {
    let mut machine = Machine::new(16 << 10, 1024);
    let rig = waits_for_a_larger_segment(&mut machine);
    let executed = rig.machine.disk.executed;
    let mut kills = 0;
    for kill in executed.. {
        let mut machine = Machine::new(16 << 10, 1024);
        let mut rig = waits_for_a_larger_segment(&mut machine);
        rig.machine.kill_at = kill;
        rig.wal.yield_space(true);
        let mut ended = rig.settle();
        rig.machine.disk.room = None;
        if ended.is_ok() {
            rig.wal.yield_space(false);
            rig.now = rig.now.after(Micros::from_millis(10_000));
            ended = rig.settle();
        }
        machine.crash(&mut Rng(kill));
        machine.recover().unwrap_or_else(|reason| panic!("kill at {kill}: {reason}"));
        if ended.is_ok() {
            break;
        }
        kills += 1;
    }
    assert!(kills > 3, "{kills} kills");
}

#[test]
fn a_start_without_writes_leaves_no_segment_behind() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    rig.append_next(100);
    rig.settle_marked().expect("settles");
    for _ in 0..5 {
        machine.start().expect("starts").settle().expect("cleans up");
    }
    let segments = machine.disk.list().iter().filter(|(file, _)| matches!(file, FileName::Wal(_))).count();
    assert_eq!(segments, 2, "the segment with the entry, and the one in use");
}

#[test]
fn a_forked_log_goes_its_own_way() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.append_next(10);
    let fork = rig.wal.clone();
    rig.settle().expect("settles");
    assert_eq!((fork.durable(), rig.wal.durable()), (WriteSeq(0), WriteSeq(1)));
}
