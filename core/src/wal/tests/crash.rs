//! Crashes at every operation, with any subset of what was not synced: nothing acknowledged is lost and nothing
//! is invented.

use bytes::Bytes;
use proptest::prelude::*;

use super::rig::{Machine, Rig, Stop};
use crate::io::{DiskErrorKind, DiskOp, FileName};
use crate::testdisk::Rng;
use crate::types::{EntryId, Index, Term};

/// Appends, supersedes and waits, as the generator draws.
fn work(rig: &mut Rig<'_>, rng: &mut Rng, steps: u64) -> Result<(), Stop> {
    for _ in 0..steps {
        match rng.below(9) {
            0..3 => rig.append_next(rng.below(1400) as usize),
            3 => {
                let first = rig.machine.model.covered.index.0;
                let index = Index(first + 1 + rng.below(rig.next().0 - first));
                let payload: Vec<u8> = (0..rng.below(600)).map(|_| rng.next() as u8).collect();
                rig.append(index, Term(2 + rng.below(5)), Bytes::from(payload));
            }
            4 => rig.now.0 += rng.below(8000),
            5 if rng.below(3) > 0 => {
                // Only what is committed is in a snapshot, and that is never superseded.
                let (model, covered) = (&rig.machine.model, rig.machine.model.acknowledged());
                if model.writes[model.durable..].iter().all(|(index, ..)| *index > covered.index) {
                    rig.snapshot(covered);
                }
            }
            5 => {
                let index = Index(rig.next().0 + rng.below(9));
                rig.restart(EntryId { index, term: Term(100 + rng.below(1 << 40)) });
            }
            _ => {
                rig.step(rng.next())?;
            }
        }
    }
    rig.settle_marked()
}

/// One start, one stretch of work, and its end: a kill, a failed operation, or just the power.
fn life(machine: &mut Machine, rng: &mut Rng) {
    let planned = machine.disk.executed + 1 + rng.below(120);
    match rng.below(3) {
        0 => machine.kill_at = planned,
        1 => machine.disk.fail_at = Some((planned, DiskErrorKind::Io)),
        _ => {}
    }
    let steps = rng.below(40);
    let ended = machine.start().and_then(|mut rig| work(&mut rig, rng, steps));
    if let Err(Stop::Halted(reason)) = &ended {
        let text = reason.to_string();
        let unread = text.contains("can't be read") && text.contains(": injected");
        let failed = matches!(reason, crate::io::HaltReason::Disk { .. });
        assert!(failed || unread, "no crash is damage: {reason}");
    }
    if rng.below(4) == 0 {
        // Only the process died: what was written is readable, durable or not.
        machine.kill_at = u64::MAX;
        machine.disk.fail_at = None;
    } else {
        machine.crash(rng);
    }
}

/// A life with so many durable entries, and one more whose write was not synced.
fn write_and_die(machine: &mut Machine, durable: usize) {
    machine
        .start()
        .and_then(|mut rig| {
            (0..durable).for_each(|at| rig.append_next(at * 137));
            rig.settle()?;
            rig.append_next(900);
            rig.step(0)
        })
        .expect("runs, and the last write is not synced");
}

#[test]
fn a_kill_at_every_operation_loses_nothing_acknowledged() {
    for kill in 1..220 {
        for seed in 0..6 {
            let mut rng = Rng(seed * 1000 + kill);
            let mut machine = Machine::new(2048, 1024);
            machine.kill_at = kill;
            let ended = machine.start().and_then(|mut rig| {
                (0..12).for_each(|at| rig.append_next(at * 37));
                rig.settle_marked()
            });
            assert!(matches!(ended, Err(Stop::Killed) | Ok(())));
            machine.crash(&mut rng);
            machine.recover().unwrap_or_else(|reason| panic!("kill at {kill}, seed {seed}: {reason}"));
        }
    }
}

#[test]
fn a_kill_at_every_operation_of_a_recovery_is_recovered_again() {
    let mut crashed = Machine::new(2048, 1024);
    crashed
        .start()
        .and_then(|mut rig| {
            (0..6).for_each(|at| rig.append_next(at * 37));
            rig.settle_marked()
        })
        .expect("runs");
    write_and_die(&mut crashed, 5);
    assert_eq!(crashed.model.durable, 5);
    for kill in 1..90 {
        for seed in 0..12 {
            let mut rng = Rng(seed * 1000 + kill);
            let mut machine = crashed.clone();
            machine.crash(&mut rng);
            machine.kill_at = machine.disk.executed + kill;
            if let Ok(mut rig) = machine.start() {
                let _ = rig.settle();
            }
            machine.crash(&mut rng);
            machine.recover().unwrap_or_else(|reason| panic!("kill at {kill}, seed {seed}: {reason}"));
        }
    }
}

#[test]
fn starts_without_space_make_do_with_what_is_left() {
    let mut stopped = Machine::new(1 << 20, 1024);
    write_and_die(&mut stopped, 6);
    let used: u64 = stopped.disk.list().iter().map(|(_, len)| len).sum();
    let (mut small, mut refused) = (0, 0);
    for more in [0, 100, 2000, 3000, 5000, 9000, 20_000, 100_000, 300_000, 700_000, 1_048_576] {
        let mut machine = stopped.clone();
        machine.disk.room = Some(used + more);
        for life in 0..4 {
            let ended = machine.start().and_then(|mut rig| {
                rig.append_next(77);
                rig.settle()
            });
            match ended {
                Ok(()) => small += u32::from(more < 1 << 20),
                Err(Stop::Halted(reason)) => {
                    assert!(reason.to_string().contains("no room"), "{reason}");
                    refused += 1;
                }
                Err(Stop::Killed) => unreachable!("nobody kills it"),
            }
            // Killed; a loss of power could undo the cuts that made room.
            let mut later = machine.clone();
            later.disk.room = None;
            later.crash(&mut Rng(more + life));
            later.recover().unwrap_or_else(|reason| panic!("with {more} bytes, life {life}: {reason}"));
        }
    }
    assert!(small > 10 && refused > 2, "{small} starts with a smaller segment, {refused} refused");
}

/// Kills a node whose next segment is ready and vouched for; fills the disk.
fn full_with_a_ready_segment() -> Machine {
    let mut machine = Machine::new(32 << 10, 1024);
    let mut rig = machine.start().expect("starts");
    (0..40).for_each(|_| rig.append_next(400));
    rig.settle_marked().expect("settles");
    let (prepared, vouched) = (rig.wal.prepared(), rig.hard.get().log_segment);
    assert!(prepared > 1 && vouched == prepared, "{prepared} is prepared, {vouched} vouched for");
    fill_disk(&mut machine);
    machine
}

fn fill_disk(machine: &mut Machine) {
    machine.disk.room = Some(machine.disk.list().iter().map(|(_, len)| len).sum());
}

#[test]
fn a_start_without_space_takes_that_of_the_segment_that_was_ready() {
    let stopped = full_with_a_ready_segment();
    stopped.clone().recover().expect("it starts where nothing at all is free");
    let (mut kills, mut refused) = (0, 0);
    for kill in stopped.disk.executed.. {
        let mut machine = stopped.clone();
        machine.kill_at = kill;
        let killed = matches!(machine.start().map(drop), Err(Stop::Killed));
        kills += u32::from(killed);
        // A loss of power could undo the cuts that made room.
        let mut later = machine.clone();
        machine.kill_at = u64::MAX;
        if let Err(reason) = machine.recover() {
            // Its segment has taken all there was and is part of the log, and nothing was freed for another one yet.
            assert!(reason.to_string().contains("no room"), "kill at {kill}: {reason}");
            refused += 1;
        }
        later.disk.room = None;
        later.crash(&mut Rng(kill));
        later.recover().unwrap_or_else(|reason| panic!("kill at {kill}, then no power: {reason}"));
        if !killed {
            break;
        }
    }
    assert!(kills > 30 && refused <= 2, "{kills} kills, {refused} starts without room");
}

#[test]
fn a_start_without_space_takes_that_of_a_snapshot_that_was_not_finished() {
    let mut machine = full_with_a_ready_segment();
    machine.recover().expect("starts once, and has nothing left to free");
    let file = FileName::SnapshotTmp(9);
    machine.disk.room = None;
    machine.disk.execute(&DiskOp::Create { file }).expect("creates");
    let data = Bytes::from_static(&[7; 12_000]);
    machine.disk.execute(&DiskOp::WriteAt { file, offset: 0, data }).expect("writes");
    fill_disk(&mut machine);
    let mut without = machine.clone();
    without.disk.execute(&DiskOp::Remove { file }).expect("removes");
    fill_disk(&mut without);
    machine.recover().expect("starts");
    assert!(!machine.disk.list().iter().any(|(name, _)| *name == file));
    assert!(without.recover().is_err(), "without it there was no space");
}

#[test]
fn a_sync_that_finds_no_space_ends_a_start() {
    let mut syncs = 0;
    for at in 1..30 {
        let mut machine = Machine::new(2048, 1024);
        machine.disk.fail_at = Some((at, DiskErrorKind::NoSpace));
        let ended = machine.start().map(drop);
        if matches!(machine.disk.failed, Some(DiskOp::Sync { .. } | DiskOp::SyncDir)) {
            assert!(matches!(ended, Err(Stop::Halted(_))), "operation {at} is tried again");
            syncs += 1;
        }
    }
    assert!(syncs > 5, "{syncs} syncs failed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn many_lives_lose_nothing_acknowledged_and_invent_nothing(
        seed: u64, lives in 1..8_u32, sectors in 3..12_u64, batch in 100..4000_usize
    ) {
        let mut rng = Rng(seed);
        let mut machine = Machine::new(sectors * 512, batch);
        for _ in 0..lives {
            life(&mut machine, &mut rng);
        }
        machine.recover().unwrap_or_else(|reason| panic!("{reason}"));
    }
}
