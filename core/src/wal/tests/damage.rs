//! Rot, truncation, lost and misplaced bytes: recovered with every acknowledged entry, or refused.

use super::rig::{Entries, IDENTITY, Machine};
use crate::io::{FileName, HaltReason};
use crate::testdisk::Rng;
use crate::types::{ClusterId, Index, Term};
use crate::wal::format::{BatchBuilder, Link, Mark, Position, SECTOR, SegmentHeader};

/// A log of several lives and segments, all of it acknowledged and marked.
fn small_log() -> (Machine, Entries) {
    let mut machine = Machine::new(2048, 1024);
    for life in 0..3 {
        let mut rig = machine.start().expect("starts");
        (0..4).for_each(|at| rig.append_next(40 + at * 120));
        rig.append(rig.next().prev(), Term(2), b"superseding".to_vec().into());
        rig.settle_marked().expect("settles");
        machine.crash(&mut Rng(life));
    }
    let entries = machine.clone().recover().expect("recovers");
    machine.model.durable = machine.model.writes.len();
    assert_eq!(entries.len(), 12);
    (machine, entries)
}

fn segments(machine: &Machine) -> Vec<(FileName, u64)> {
    let mut files = machine.disk.list();
    files.retain(|(file, _)| matches!(file, FileName::Wal(_)));
    files
}

/// The model in the machine checks that every acknowledged entry is there; `true` if refused.
fn recovered_or_refused(mut machine: Machine) -> bool {
    match machine.recover() {
        Ok(_) => false,
        Err(HaltReason::Damaged(_) | HaltReason::WrongDirectory(_)) => true,
        Err(other) => panic!("neither recovered nor refused: {other}"),
    }
}

#[test]
fn every_single_bit_flip_is_survived_or_refused() {
    let (machine, _) = small_log();
    let (mut refused, mut survived) = (0, 0);
    for (file, len) in segments(&machine) {
        for bit in 0..len * 8 {
            let mut machine = machine.clone();
            machine.disk.tamper(file, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
            if recovered_or_refused(machine) { refused += 1 } else { survived += 1 }
        }
    }
    assert!(refused > 1000 && survived > 1000, "{refused} refused, {survived} survived");
}

#[test]
fn every_truncation_is_survived_or_refused() {
    let (machine, _) = small_log();
    for (file, len) in segments(&machine) {
        for len in 0..len {
            let mut machine = machine.clone();
            machine.disk.tamper(file, |bytes| bytes.truncate(len as usize));
            recovered_or_refused(machine);
        }
    }
}

#[test]
fn every_lost_sector_is_survived_or_refused() {
    let (machine, _) = small_log();
    for (file, len) in segments(&machine) {
        for sector in 0..(len / SECTOR) as usize {
            let mut machine = machine.clone();
            machine.disk.tamper(file, |bytes| bytes[sector * 512..][..512].fill(0));
            recovered_or_refused(machine);
        }
    }
}

/// Whether the log is called damaged. If it is not, nothing is missing; if it is, what a vote goes by, the last entry's
/// term and then its index, is not below what was acknowledged, or the node is in doubt.
fn damage_is_known(mut machine: Machine, what: &str) -> bool {
    let acknowledged = machine.model.acknowledged();
    let (_, recovered) = machine.read_back(true).expect("it is not refused");
    let Some(damage) = recovered.damage else {
        assert!(machine.model.admits(&recovered.entries), "{what}");
        return false;
    };
    let log = &damage.log;
    let term = log.entries.last().map_or(log.start.term, |(term, _)| *term);
    let end = (term, log.start.index.0 + log.entries.len() as u64);
    let known = end >= (acknowledged.term, acknowledged.index.0) || damage.doubtful;
    assert!(known, "{what}: {end:?} is left, and {acknowledged} was acknowledged");
    true
}

#[test]
fn where_others_can_help_no_loss_goes_unnoticed() {
    let (mut machine, _) = small_log();
    let mut damaged = 0;
    // A life without writes leaves a segment that has nothing but a header.
    for idle in [false, true] {
        if idle {
            machine.start().expect("starts").settle().expect("cleans up");
        }
        for (file, len) in segments(&machine) {
            let mut check = |what: &str, spoil: &dyn Fn(&mut Machine)| {
                let mut machine = machine.clone();
                spoil(&mut machine);
                damaged += u32::from(damage_is_known(machine, &format!("{file}, {what}")));
            };
            check("lost", &|machine| machine.disk.lose(file));
            for sector in 0..(len / SECTOR) as usize {
                let at = sector * SECTOR as usize;
                let of = |what: &str| format!("{what} sector {sector}");
                check(&of("lost"), &|machine| machine.disk.tamper(file, |bytes| bytes[at..at + 512].fill(0)));
                check(&of("rotten"), &|machine| machine.disk.tamper(file, |bytes| bytes[at + 13] ^= 4));
                check(&of("cut at"), &|machine| machine.disk.tamper(file, |bytes| bytes.truncate(at)));
            }
        }
    }
    assert!(damaged > 100, "{damaged} logs are damaged");
}

#[test]
fn every_misdirected_sector_is_survived_or_refused() {
    let (machine, _) = small_log();
    let files = segments(&machine);
    for (from, len) in &files {
        for (to, to_len) in &files {
            for (source, target) in (0..len / SECTOR).flat_map(|s| (0..to_len / SECTOR).map(move |t| (s, t)))
            {
                let mut machine = machine.clone();
                let block = machine.disk.bytes(*from)[source as usize * 512..][..512].to_vec();
                machine
                    .disk
                    .tamper(*to, |bytes| bytes[target as usize * 512..][..512].copy_from_slice(&block));
                recovered_or_refused(machine);
            }
        }
    }
}

#[test]
fn every_missing_segment_is_refused() {
    let (machine, _) = small_log();
    for (file, _) in segments(&machine) {
        let mut machine = machine.clone();
        machine.disk.lose(file);
        assert!(recovered_or_refused(machine), "{file}");
    }
}

#[test]
fn damage_names_the_file_the_offset_and_the_way_out() {
    let (mut machine, _) = small_log();
    let (file, _) = segments(&machine)[0];
    machine.disk.tamper(file, |bytes| bytes[512 + 100] ^= 1);
    let text = machine.recover().expect_err("refuses").to_string();
    assert!(text.contains("wal-0000000000000001 is damaged at offset 581"), "{text}");
    assert!(text.contains("move this data directory away"), "{text}");
}

/// The negative control of the checks above, and the edge of the promise: rot behind the newest mark cannot be
/// told from a torn write, so the entry is cut, and the model notices.
#[test]
#[should_panic(expected = "against the model")]
fn rot_behind_the_newest_mark_looks_like_a_torn_write() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.append_next(10);
    rig.settle().expect("settles, and no mark follows");
    machine.disk.tamper(FileName::Wal(1), |bytes| bytes[512 + 60] ^= 1);
    let _ = machine.recover();
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.append_next(10);
    rig.settle_marked().expect("settles");
    rig.append_next(1000);
    rig.step(0).expect("writes, and does not sync");
    machine.disk.tamper(FileName::Wal(1), |bytes| bytes[1536 + 512..1536 + 1024].fill(0xEE));
    let rig = machine.start().expect("starts");
    assert_eq!((rig.recovered.len(), rig.cut), (1, 17 + 16 + 1000));
}

#[test]
fn records_of_an_earlier_life_of_the_file_are_not_believed() {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.append_next(10);
    rig.settle_marked().expect("settles");
    let position = Position { segment: 1, offset: 1536 };
    let mut stale = BatchBuilder::new(&IDENTITY, position, 0x5A5A, 200);
    let position = Position { segment: 1, offset: 512 };
    let synced = Link { position, crc: 0x5A5A, next: Index(2), term: Term(1) };
    stale.mark(&Mark { synced, boot: crate::types::BootNumber(7), nonce: 7, batch: 69 + 33 + 5 });
    stale.entry(Index(2), Term(9), b"stale");
    let (bytes, offset, _) = stale.finish();
    machine
        .disk
        .tamper(FileName::Wal(1), |file| file[offset as usize..][..bytes.len()].copy_from_slice(&bytes));
    assert_eq!(machine.recover().expect("recovers").len(), 1);
}

#[test]
fn a_log_of_another_cluster_is_refused_by_name() {
    let (mut machine, _) = small_log();
    for (file, _) in segments(&machine) {
        machine.disk.tamper(file, |bytes| {
            let Ok(mut header) = SegmentHeader::decode(&bytes[..512]) else { return };
            header.identity.cluster = ClusterId(0xBAD);
            bytes[..512].copy_from_slice(&header.encode());
        });
    }
    let reason = machine.recover().expect_err("refuses");
    assert!(matches!(&reason, HaltReason::WrongDirectory(text) if text.contains("0bad")), "{reason}");
}

#[test]
fn what_an_earlier_owner_of_the_disk_block_left_in_an_unused_segment_is_not_its_header() {
    let (machine, _) = small_log();
    let used = segments(&machine)[0].0;
    let stale = machine.disk.bytes(used)[..512].to_vec();
    let mut machine = machine;
    let newest = segments(&machine).iter().map(|(file, _)| *file).max().expect("there are segments");
    let FileName::Wal(newest) = newest else { panic!("a segment") };
    let unused = FileName::Wal(newest + 1);
    machine.disk.execute(&crate::io::DiskOp::Create { file: unused }).expect("creates");
    machine.disk.tamper(unused, |bytes| *bytes = [stale, vec![0; 1536]].concat());
    machine.disk.execute(&crate::io::DiskOp::SyncDir).expect("syncs");
    machine.recover().expect("it was being prepared, and no crash is damage");
}

#[test]
fn an_index_that_leaves_a_gap_is_refused() {
    let mut machine = Machine::new(4096, 2048);
    machine.start().expect("starts").settle().expect("settles");
    let position = Position { segment: 1, offset: 512 };
    let mut batch = BatchBuilder::new(&IDENTITY, position, 0, 200);
    let synced = Link { position, next: Index(1), ..Link::default() };
    batch.mark(&Mark { synced, boot: crate::types::BootNumber(1), nonce: 1, batch: 69 + 33 });
    batch.entry(Index(2), Term(1), b"");
    let (bytes, ..) = batch.finish();
    machine.disk.tamper(FileName::Wal(1), |file| file[512..][..bytes.len()].copy_from_slice(&bytes));
    let text = machine.recover().expect_err("refuses").to_string();
    assert!(text.contains("an entry has index 2, but at most 1 was possible"), "{text}");
}

#[test]
fn a_torn_first_batch_of_a_segment_is_cut() {
    let mut machine = Machine::new(2048, 1024);
    let mut rig = machine.start().expect("starts");
    rig.append_next(600);
    rig.settle().expect("settles");
    rig.append_next(600);
    let used = |machine: &Machine| {
        let exists = machine.disk.list().iter().any(|(file, _)| *file == FileName::Wal(2));
        exists && machine.disk.bytes(FileName::Wal(2))[..512] != [0; 512]
    };
    while !used(rig.machine) {
        assert!(rig.step(0).expect("steps"), "the second segment is used at last");
    }
    machine.disk.tamper(FileName::Wal(2), |bytes| bytes[..512].fill(0xEE));
    assert_eq!(machine.recover().expect("recovers").len(), 1);
}

#[test]
fn a_header_that_continues_nothing_is_refused() {
    let (mut machine, _) = small_log();
    machine.disk.tamper(FileName::Wal(7), |bytes| {
        let mut header = SegmentHeader::decode(&bytes[..512]).expect("a header");
        header.link = Link { position: Position { segment: 999, offset: 512 }, ..header.link };
        bytes[..512].copy_from_slice(&header.encode());
    });
    assert!(machine.recover().is_err());
}
