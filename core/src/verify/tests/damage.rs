//! Damage of every kind is named with its file and place, and what an examination says of a start is what a start does.

use super::rig::{Directory, start, verify};
use crate::hard::format::{FILE_BYTES, SLOT_BYTES};
use crate::io::{DiskError, DiskErrorKind, DiskOp, FileName};
use crate::testdisk::MemDisk;
use crate::types::Index;
use crate::verify::{Consequence, Report, Standing, Verify};

/// Whether a start alone, and one in a cluster, does what the report says.
fn agrees(disk: &MemDisk, members: u16, report: &Report) {
    let started = start(&mut disk.clone(), members);
    let promised = if members == 1 { report.starts_alone() } else { report.starts_in_a_cluster() };
    assert_eq!(started.is_ok(), promised, "{:?} against {:#?}", started.err(), report.damage);
    if let Ok(started) = started {
        assert_eq!(started.damaged, !report.starts_alone(), "{:#?}", report.damage);
    }
}

/// Whether something is said of a place in this file at or before an offset.
fn names(report: &Report, file: FileName, at: u64) -> bool {
    let damage = report.damage.iter().map(|it| (it.file, it.offset));
    let notes = report.notes.iter().map(|it| (it.file, it.offset));
    damage.chain(notes).any(|(named, offset)| named == file && offset <= at)
}

fn used(directory: &Directory, report: &Report, file: FileName) -> u64 {
    let found = report.files.iter().find(|it| it.file == file && it.standing == Standing::Needed);
    found.map_or(0, |it| it.used.min(directory.disk.bytes(file).len() as u64))
}

#[test]
fn an_intact_directory_is_intact_and_every_file_of_it_is_named() {
    for members in [1, 3] {
        let mut directory = Directory::new(members);
        let report = directory.verify().report;
        assert!(report.is_intact() && report.notes.is_empty(), "{:#?} {:#?}", report.damage, report.notes);
        assert_eq!((report.log.covered, report.log.last.index), (directory.covered, Index(27)));
        assert_eq!(report.log.entries, 27 - directory.covered.index.0);
        let listed: Vec<_> = directory.disk.list().into_iter().map(|(file, _)| file).collect();
        assert_eq!(report.files.iter().map(|it| it.file).collect::<Vec<_>>(), listed);
        assert_eq!(report.is_alone(), Some(members == 1));
        agrees(&directory.disk, members, &report);
    }
}

#[test]
fn a_directory_that_was_killed_at_any_point_is_intact() {
    // A start on the files of a stopped node, killed after each of its operations, power and all.
    let directory = Directory::new(1);
    for at in 1.. {
        let mut disk = directory.disk.clone();
        // Not `Io`: what can't be read of the hard state ends no start.
        disk.fail_at = Some((disk.executed + at, DiskErrorKind::NotFound));
        let done = start(&mut disk, 1).is_ok();
        disk.fail_at = None;
        disk.crash(&mut crate::testdisk::Rng(at));
        let report = verify(&mut disk).report;
        assert!(report.is_intact(), "after {at} operations: {:#?}", report.damage);
        agrees(&disk, 1, &report);
        if done {
            assert!(at > 10, "a start has many operations: {at}");
            break;
        }
    }
}

#[test]
fn every_flipped_bit_is_named_where_it_matters_and_a_start_does_what_is_said() {
    for members in [1, 3] {
        let mut directory = Directory::new(members);
        let before = directory.verify().report;
        let (mut named, mut silent) = (0, 0);
        for (file, len) in directory.disk.list() {
            let used = used(&directory, &before, file);
            for at in (0..len).step_by(13) {
                let mut disk = directory.disk.clone();
                disk.tamper(file, |bytes| bytes[at as usize] ^= 1 << (at % 8));
                let report = verify(&mut disk).report;
                agrees(&disk, members, &report);
                let checked = match file {
                    // Behind a record there is only padding.
                    FileName::Hard(_) => at % SLOT_BYTES < 100,
                    FileName::Snapshot(_) => at < len - 1024 || at >= len - 512,
                    _ => at < used,
                };
                assert!(!checked || names(&report, file, at), "{file} at {at}: {:#?}", report.damage);
                if report.is_intact() { silent += 1 } else { named += 1 }
            }
        }
        assert!(named > 300 && silent > 100, "{named} named, {silent} silent");
    }
}

#[test]
fn every_cut_file_is_named_where_it_ends_or_before() {
    let mut directory = Directory::new(1);
    let before = directory.verify().report;
    for (file, len) in directory.disk.list() {
        let used = used(&directory, &before, file);
        for len in (0..len).step_by(256) {
            let mut disk = directory.disk.clone();
            disk.tamper(file, |bytes| bytes.truncate(len as usize));
            let report = verify(&mut disk).report;
            agrees(&disk, 1, &report);
            assert!(len >= used || names(&report, file, len), "{file} cut to {len}: {:#?}", report.damage);
        }
    }
}

#[test]
fn every_missing_file_is_missed() {
    for members in [1, 3] {
        let mut directory = Directory::new(members);
        let before = directory.verify().report;
        for file in before.files.iter().filter(|it| it.standing == Standing::Needed) {
            let mut disk = directory.disk.clone();
            disk.lose(file.file);
            let report = verify(&mut disk).report;
            agrees(&disk, members, &report);
            let snapshot = matches!(file.file, FileName::Snapshot(_));
            // A lost snapshot has left no name behind: the log says that it does not reach back.
            assert!(
                !report.is_intact() && (snapshot || names(&report, file.file, 0)),
                "{:#?}",
                report.damage
            );
        }
    }
}

#[test]
fn swapped_blocks_are_named_both() {
    let mut directory = Directory::new(1);
    let newest = directory.verify().report.files.into_iter().rev();
    let (file, _) = newest
        .filter(|it| matches!(it.file, FileName::Wal(_)) && it.standing == Standing::Needed)
        .map(|it| (it.file, it.used))
        .find(|(_, used)| *used >= 512 * 4)
        .expect("a segment has some sectors");
    let snapshot = FileName::Snapshot(directory.covered.index.0);
    for (file, first, second) in [(file, 512, 1024), (snapshot, 512, 1024)] {
        let mut disk = directory.disk.clone();
        disk.tamper(file, |bytes| {
            let (head, tail) = bytes.split_at_mut(second);
            head[first..first + 512].swap_with_slice(&mut tail[..512]);
        });
        let report = verify(&mut disk).report;
        let offsets: Vec<u64> =
            report.damage.iter().filter(|it| it.file == file).map(|it| it.offset).collect();
        assert!(offsets.contains(&(first as u64)), "{file}: {:#?}", report.damage);
        if file == snapshot {
            assert_eq!(offsets, [first as u64, second as u64], "every damaged block is named");
        }
        agrees(&disk, 1, &report);
    }
}

#[test]
fn several_damaged_records_are_all_named() {
    let mut directory = Directory::new(1);
    let places = [16, 20, 25].map(|index| directory.rot(index));
    let verified = directory.verify();
    for (file, at) in places {
        assert!(names(&verified.report, file, at), "{file} at {at}: {:#?}", verified.report.damage);
    }
    assert_eq!(verified.report.damage.len(), 3);
    assert_eq!(verified.report.log.lost.len(), 3);
    assert_eq!(verified.last_whole(), Some(Index(15)));
    assert!(!verified.report.log.more_lost, "marks tell where the log has ended");
}

/// An examination of a directory on a disk that can't read this byte of a file.
fn verify_around(directory: &Directory, file: FileName, at: u64) -> Report {
    let mut disk = directory.disk.clone();
    let mut examination = Verify::new();
    while let Some(op) = examination.next_op() {
        let bad = match &op {
            DiskOp::Read { file: read, offset, len } => {
                *read == file && (*offset..offset + u64::from(*len)).contains(&at)
            }
            _ => false,
        };
        let error = DiskError { kind: DiskErrorKind::Io, message: "bad medium".into() };
        examination.done(if bad { Err(error) } else { disk.execute(&op) }).expect("it goes on around it");
    }
    examination.finish().report
}

#[test]
fn a_sector_that_the_disk_cannot_read_is_named() {
    let directory = Directory::new(1);
    let (file, _) = directory.segments().pop().expect("there is a log");
    let report = verify_around(&directory, file, 700);
    let named = report.damage.iter().find(|it| it.what.contains("bad medium")).expect("it is named");
    assert_eq!((named.file, named.offset), (file, 512));
    assert!(!report.starts_alone());
}

#[test]
fn a_slot_of_the_hard_state_that_the_disk_cannot_read_costs_at_most_certainty() {
    let directory = Directory::new(3);
    let mut doubts = 0;
    for (copy, slot) in (0..2).flat_map(|copy| (0..4).map(move |slot| (copy, slot))) {
        let file = FileName::Hard(copy);
        let report = verify_around(&directory, file, slot * 4096 + 600);
        let [damage] = &report.damage[..] else { panic!("one place is damaged: {:#?}", report.damage) };
        assert_eq!((damage.file, damage.offset), (file, slot * 4096), "{}", damage.what);
        doubts += u32::from(damage.consequence == Consequence::Doubts);
        assert!([Consequence::Starts, Consequence::Doubts].contains(&damage.consequence));
    }
    assert_eq!(doubts, 3, "where the newest record is, and the two behind it");
}

#[test]
fn two_broken_records_of_the_hard_state_in_a_row_leave_the_node_in_doubt() {
    let mut directory = Directory::new(3);
    let newest = directory.verify().report.files[0].what.clone();
    let generation: u64 = newest
        .split("generation ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .and_then(|number| number.parse().ok())
        .expect("the report names it");
    for back in [0, 1] {
        let slot = (generation - back) % 8;
        let file = FileName::Hard((slot % 2) as u8);
        directory.disk.tamper(file, |bytes| bytes[(slot / 2 * SLOT_BYTES) as usize + 40] ^= 1);
    }
    let report = directory.verify().report;
    assert_eq!(report.damage.len(), 2);
    assert!(report.damage.iter().all(|it| it.consequence == Consequence::Doubts), "{:#?}", report.damage);
    agrees(&directory.disk, 3, &report);
}

#[test]
fn a_log_without_any_hard_state_is_still_read() {
    let mut directory = Directory::new(1);
    for copy in [0, 1] {
        directory.disk.tamper(FileName::Hard(copy), |bytes| *bytes = vec![0; FILE_BYTES as usize]);
    }
    let (file, at) = directory.rot(25);
    let report = directory.verify().report;
    assert!(names(&report, FileName::Hard(0), 0) && names(&report, file, at), "{:#?}", report.damage);
    assert!(!report.starts_in_a_cluster());
}
