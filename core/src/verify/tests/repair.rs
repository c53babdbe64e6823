//! A repair keeps what it says and nothing else, whatever interrupts it.

use super::rig::{Directory, start, verify};
use crate::io::{DiskErrorKind, FileName};
use crate::snapshot::Meta;
use crate::snapshot::format::SECTOR;
use crate::testdisk::{MemDisk, Rng};
use crate::types::{BootNumber, ClusterId, Index};
use crate::verify::{Proposal, Repair, Unrepairable};

/// Does it; false if the disk fails on the way.
fn carry_out(disk: &mut MemDisk, proposal: Proposal) -> bool {
    let mut repair: Repair = proposal.repair(77);
    while let Some(op) = repair.next_op() {
        if repair.done(disk.execute(&op)).is_err() {
            return false;
        }
    }
    true
}

fn damaged(members: u16) -> Directory {
    let mut directory = Directory::new(members);
    directory.rot(20);
    directory
}

#[test]
fn a_repair_says_what_goes_and_keeps_the_rest() {
    let mut directory = damaged(1);
    let verified = directory.verify();
    assert_eq!(verified.last_whole(), Some(Index(19)));
    let proposal = verified.propose(Index(19), false).expect("it can be done");
    let lost = &proposal.gives_up;
    assert_eq!(lost.lost, [(Index(20), Index(20))]);
    assert_eq!((lost.readable, lost.span), (7, Some((Index(21), Index(27)))));
    let keys: Vec<String> = lost.keys.iter().map(ToString::to_string).collect();
    assert_eq!(keys, (21..=27).map(|index| format!("key-{index}")).collect::<Vec<_>>());
    let aside = proposal.aside.clone();
    assert_eq!(aside, directory.segments().iter().map(|(file, _)| *file).collect::<Vec<_>>());
    assert!(carry_out(&mut directory.disk, proposal));
    let report = directory.verify().report;
    assert!(report.is_intact(), "{:#?}", report.damage);
    assert!(directory.segments().iter().all(|(file, _)| !aside.contains(file)));
    let started = start(&mut directory.disk, 1).expect("starts");
    let kept: Vec<u64> = started.entries.iter().map(|(index, ..)| index.0).collect();
    assert_eq!(kept, (directory.covered.index.0 + 1..=19).collect::<Vec<_>>());
    assert!(!started.hard.get().in_doubt);
}

#[test]
fn a_repair_interrupted_anywhere_leaves_the_damaged_log_or_the_new_one() {
    for members in [1, 3] {
        let directory = damaged(members);
        let (mut old, mut new) = (0, 0);
        for at in 1.. {
            let mut disk = directory.disk.clone();
            let proposal = verify(&mut disk).propose(Index(19), members > 1).expect("it can be done");
            disk.fail_at = Some((disk.executed + at, DiskErrorKind::Io));
            let done = carry_out(&mut disk, proposal);
            disk.fail_at = None;
            disk.crash(&mut Rng(at * 7 + u64::from(members)));
            let verified = verify(&mut disk);
            if verified.report.starts_alone() {
                new += 1;
            } else {
                old += 1;
                let again = verified.propose(Index(19), members > 1).expect("it can be done once more");
                assert!(carry_out(&mut disk, again));
            }
            let started = start(&mut disk, members).expect("starts");
            assert_eq!(started.entries.last().map(|(index, ..)| *index), Some(Index(19)), "after {at}");
            assert_eq!(started.hard.get().in_doubt, members > 1, "a shorter log never comes without doubt");
            if done {
                break;
            }
        }
        assert!(old > 5 && new > 2, "{old} times the old one, {new} times the new one");
    }
}

#[test]
fn a_repair_on_a_full_disk_makes_do_and_leaves_nothing_behind_that_takes_space() {
    let directory = damaged(1);
    let used: u64 = directory.disk.list().iter().map(|(_, len)| len).sum();
    let (mut made_do, mut refused) = (0, 0);
    for more in [0, 4000, 5000, 9000, 20_000, 300_000, 9_000_000] {
        let mut disk = directory.disk.clone();
        disk.room = Some(used + more);
        let propose = |disk: &mut MemDisk| verify(disk).propose(Index(19), false).expect("it can be done");
        let (first, mut done) = (propose(&mut disk), false);
        let word = first.word();
        for _ in 0..3 {
            let proposal = propose(&mut disk);
            assert_eq!(
                (proposal.word(), &proposal.aside),
                (word.clone(), &first.aside),
                "as if nothing had been"
            );
            done = carry_out(&mut disk, proposal);
            if done {
                break;
            }
            refused += 1;
        }
        if done {
            made_do += 1;
            let started = start(&mut disk, 1).expect("starts");
            assert_eq!(started.entries.last().map(|(index, ..)| *index), Some(Index(19)));
        } else {
            // There is space at last.
            disk.room = None;
            assert!(carry_out(&mut disk.clone(), propose(&mut disk)));
        }
        let names: Vec<FileName> = disk.list().iter().map(|(file, _)| *file).collect();
        let segments = names.iter().filter(|file| matches!(file, FileName::Wal(_))).count();
        assert!(segments <= first.aside.len() + 1, "one attempt's segment at most: {names:?}");
    }
    assert!(made_do >= 4 && refused >= 3, "{made_do} with {refused} refusals");
}

#[test]
fn a_member_of_a_cluster_is_repaired_on_request_alone_and_then_in_doubt() {
    let mut directory = damaged(3);
    let verified = directory.verify();
    assert_eq!(verified.propose(Index(19), false).expect_err("refused"), Unrepairable::ClusterMember);
    let proposal = verified.propose(Index(19), true).expect("it can be done");
    assert!(proposal.in_doubt);
    assert!(carry_out(&mut directory.disk, proposal));
    let owner = directory.verify().report.owner.expect("the hard state is intact");
    assert_eq!((owner.in_doubt, owner.boot), (true, BootNumber(4)));
    let alone = damaged(1).verify().propose(Index(19), true);
    assert_eq!(alone.expect_err("refused"), Unrepairable::NoClusterMember);
}

#[test]
fn what_can_not_be_kept_or_given_up_is_refused_with_the_way_out() {
    let verified = damaged(1).verify();
    let refused = |index: u64| verified.propose(Index(index), false).expect_err("refused");
    assert_eq!(refused(20), Unrepairable::BehindLoss { asked: Index(20), most: Index(19) });
    let covered = damaged(1).covered.index;
    assert_eq!(refused(covered.0 - 1), Unrepairable::BeforeSnapshot { asked: covered.prev(), covered });
    let intact = Directory::new(1).verify();
    assert_eq!(intact.propose(Index(19), false).expect_err("refused"), Unrepairable::Intact);
    let mut lost = damaged(1);
    lost.disk.lose(FileName::Hard(1));
    let reason = lost.verify().propose(Index(19), false).expect_err("refused").to_string();
    assert!(reason.contains("hard-1") && reason.contains("intact copy"), "{reason}");
}

#[test]
fn the_word_fits_one_proposal_and_no_other() {
    let directory = damaged(1);
    let word = |directory: &mut Directory, index: u64| {
        directory.verify().propose(Index(index), false).expect("it can be done").word()
    };
    let first = word(&mut directory.clone(), 19);
    assert_eq!((first.len(), &first), (8, &word(&mut directory.clone(), 19)), "it is the same every time");
    assert_ne!(first, word(&mut directory.clone(), 18), "another index");
    let mut worse = directory.clone();
    worse.rot(25);
    assert_ne!(first, word(&mut worse, 19), "something else is lost");
}

#[test]
fn an_intact_snapshot_of_another_cluster_or_release_is_not_given_up() {
    let mut directory = Directory::new(1);
    let snapshot = FileName::Snapshot(directory.covered.index.0);
    directory.disk.tamper(snapshot, |bytes| {
        let mut meta = Meta::decode(bytes).expect("it was written");
        meta.seal.cluster = ClusterId(0xBAD);
        let end = bytes.len() - SECTOR as usize;
        bytes[..SECTOR as usize].copy_from_slice(&meta.encode());
        bytes[end..].copy_from_slice(&meta.encode());
    });
    let verified = directory.verify();
    assert!(!verified.report.starts_alone());
    for after in [0, 5, directory.covered.index.0] {
        let refused = verified.propose(Index(after), false).expect_err("it is not for a repair");
        assert!(refused.to_string().contains(&snapshot.to_string()), "{refused}");
    }
}

#[test]
fn a_damaged_snapshot_that_the_log_does_not_reach_behind_is_put_aside() {
    let mut directory = Directory::new(1);
    let snapshot = FileName::Snapshot(directory.covered.index.0);
    directory.disk.tamper(snapshot, |bytes| bytes[600] ^= 1);
    let verified = directory.verify();
    assert!(!verified.report.starts_alone(), "{:#?}", verified.report.damage);
    let proposal = verified.propose(Index(0), false).expect("nothing is left to keep");
    assert!(proposal.aside.contains(&snapshot));
    assert!(carry_out(&mut directory.disk, proposal));
    let report = directory.verify().report;
    assert!(report.is_intact(), "{:#?}", report.damage);
    assert_eq!(start(&mut directory.disk, 1).expect("starts").entries, []);
}
