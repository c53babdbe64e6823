//! A recovery from a lost majority keeps all that the node has, gives nothing out twice, and leaves the old cluster's
//! directory or the new one's, whatever interrupts it.

use super::rig::{Directory, IDENTITY, start, verify};
use crate::founding::identity;
use crate::hard::Phase;
use crate::io::{DiskErrorKind, FileName};
use crate::testdisk::{MemDisk, Rng};
use crate::types::{EntryId, Incarnation, Index, Term};
use crate::verify::{Draws, POSITIONS, Recover, Survivor, TERMS, Unrecoverable};

const DRAWS: Draws = Draws { incarnation: 0xBEEF, nonce: 7 };

fn survivor_of(disk: &mut MemDisk, seen: u64) -> Result<Survivor, Unrecoverable> {
    let mut reading = verify(disk).survivor(Index(seen))?;
    while let Some(op) = reading.next_op() {
        reading.done(disk.execute(&op)).expect("it says later what is wrong");
    }
    reading.finish()
}

fn survivor(disk: &mut MemDisk) -> Survivor {
    survivor_of(disk, 0).expect("it can be done")
}

/// Does it; false if the disk fails on the way.
fn carry_out(disk: &mut MemDisk, survivor: Survivor) -> bool {
    let mut recover: Recover = survivor.recover(DRAWS);
    while let Some(op) = recover.next_op() {
        if recover.done(disk.execute(&op)).is_err() {
            return false;
        }
    }
    true
}

/// What must be true of a directory that was recovered: it starts alone, and has everything.
fn check(disk: &mut MemDisk) {
    let report = verify(disk).report;
    assert!(report.starts_alone() && report.is_alone() == Some(true), "{:#?}", report.damage);
    let started = start(disk, 1).expect("starts");
    let (owner, state) = (started.hard.get(), &started.state);
    assert_eq!(owner.incarnation, Incarnation(0xBEEF));
    let members = vec![(owner.node, owner.incarnation)];
    let Phase::Founded(founding) = &owner.phase else { panic!("it is founded") };
    assert_eq!((founding.cluster, &founding.members), (identity("test", &members), &members));
    assert_eq!(state.founding(), Some(founding));
    assert!(owner.is_alone() && !owner.in_doubt && owner.term >= Term(3 + TERMS), "{owner:?}");
    assert_eq!((started.entries.len(), state.committed()), (0, Index(27 + POSITIONS)));
    assert_eq!(state.time().0, 1_700_000_000_027, "cluster time goes on");
    let keys: Vec<String> = state.iter_keys().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys.len(), 26, "the first entry is no key's: {keys:?}");
}

#[test]
fn a_recovery_says_what_there_is_and_keeps_it_under_another_name() {
    let mut directory = Directory::new(3);
    let survivor = survivor(&mut directory.disk);
    assert_eq!((survivor.cluster, survivor.incarnation()), (IDENTITY.cluster, IDENTITY.incarnation));
    assert_eq!(survivor.last, EntryId { index: Index(27), term: Term(3) });
    assert_eq!((survivor.known, survivor.begun), (directory.covered, false));
    assert_eq!(survivor.begins, EntryId { index: Index(27 + POSITIONS), term: Term(3 + TERMS) });
    assert_eq!((survivor.members.voters().len(), survivor.state().key_count()), (3, 26));
    let aside = survivor.aside.clone();
    assert!(aside.contains(&FileName::Snapshot(directory.covered.index.0)));
    assert!(directory.segments().iter().all(|(file, _)| aside.contains(file)), "{aside:?}");
    assert!(carry_out(&mut directory.disk, survivor));
    let left: Vec<FileName> = directory.disk.list().iter().map(|(file, _)| *file).collect();
    assert!(aside.iter().all(|file| !left.contains(file)), "{left:?}");
    assert!(directory.verify().report.is_intact());
    check(&mut directory.disk);
}

#[test]
fn revisions_that_another_leader_may_have_given_to_others_are_given_up() {
    let mut directory = Directory::new(3);
    let (known, survivor) = (directory.covered.index, survivor(&mut directory.disk));
    assert!(carry_out(&mut directory.disk, survivor));
    let started = start(&mut directory.disk, 1).expect("starts");
    let (mut old, mut new) = (0, 0);
    for (key, record) in started.state.iter_keys() {
        let written: u64 = key.to_string().trim_start_matches("key-").parse().expect("a number");
        if written <= known.0 {
            assert_eq!(record.revision, Index(written), "what was committed stays what it was");
            old += 1;
        } else {
            assert_eq!(record.revision, Index(27 + POSITIONS));
            new += 1;
        }
    }
    assert!(old > 5 && new > 5, "{old} old ones, {new} new ones");
}

#[test]
fn a_recovery_interrupted_anywhere_leaves_the_old_directory_or_the_new_one() {
    for (seed, power) in [(0, true), (1, true), (2, false)] {
        let directory = Directory::new(3);
        let word = survivor(&mut directory.disk.clone()).word();
        let (mut old, mut begun, mut new) = (0, 0, 0);
        for at in 1.. {
            let mut disk = directory.disk.clone();
            let first = survivor(&mut disk);
            disk.fail_at = Some((disk.executed + at, DiskErrorKind::Io));
            let done = carry_out(&mut disk, first);
            disk.fail_at = None;
            if power {
                disk.crash(&mut Rng(at * 7 + seed));
            }
            let verified = verify(&mut disk);
            if verified.report.is_alone() == Some(true) {
                // Whoever asks again is told that there is nothing to do, whether or not the old files are gone.
                assert!(matches!(survivor_of(&mut disk, 0), Err(Unrecoverable::Alone(_))), "after {at}");
                new += 1;
            } else {
                let again = survivor(&mut disk);
                assert_eq!(again.word(), word, "what was agreed to once is the same: after {at}");
                if again.begun {
                    assert!(
                        start(&mut disk.clone(), 3).is_err(),
                        "half of each is not for a start: after {at}"
                    );
                    begun += 1;
                } else {
                    let old = start(&mut disk.clone(), 3).expect("the old directory is as good as it was");
                    assert_eq!(old.entries.last().map(|(index, ..)| *index), Some(Index(27)));
                }
                old += 1;
                assert!(carry_out(&mut disk, again), "after {at}");
            }
            check(&mut disk);
            if done {
                break;
            }
        }
        assert!(
            old > 8 && begun > 3 && new > 3,
            "{old} times the old one, {begun} of them begun; {new} the new one"
        );
    }
}

#[test]
fn a_recovery_on_a_full_disk_changes_nothing_and_goes_on_when_there_is_room() {
    let directory = Directory::new(3);
    let used: u64 = directory.disk.list().iter().map(|(_, len)| len).sum();
    let (mut refused, mut done) = (0, 0);
    for more in [0, 600, 4000, 9000, 20_000, 300_000] {
        let mut disk = directory.disk.clone();
        disk.room = Some(used + more);
        for _ in 0..2 {
            let survivor = survivor(&mut disk);
            if carry_out(&mut disk, survivor) {
                done += 1;
                break;
            }
            refused += 1;
        }
        disk.room = None;
        if verify(&mut disk).report.is_alone() != Some(true) {
            let survivor = survivor(&mut disk);
            assert!(carry_out(&mut disk, survivor));
        }
        check(&mut disk);
    }
    assert!(refused >= 2 && done >= 2, "{refused} refusals, {done} done");
}

#[test]
fn positions_that_somebody_has_seen_are_left_behind_and_there_is_an_end_of_them() {
    let mut directory = Directory::new(3);
    let seen = survivor_of(&mut directory.disk, 5000).expect("it can be done");
    assert_eq!(seen.begins.index, Index(5000 + POSITIONS));
    assert_ne!(seen.word(), survivor(&mut directory.disk).word(), "the word fits one beginning");
    let lower = survivor_of(&mut directory.disk, 5).expect("it can be done");
    assert_eq!(lower.begins.index, Index(27 + POSITIONS), "what the node has counts as well");
    for seen in [1 << 62, u64::MAX - POSITIONS, u64::MAX] {
        let refused = survivor_of(&mut directory.disk, seen).expect_err("there is no room");
        assert_eq!(refused, Unrecoverable::NoRoom { known: seen, by: POSITIONS });
        assert!(refused.to_string().contains("--seen"), "{refused}");
    }
}

#[test]
fn the_same_number_drawn_again_is_another_identity_all_the_same() {
    let mut directory = Directory::new(3);
    let draws = Draws { incarnation: IDENTITY.incarnation.0, nonce: 1 };
    let mut recover = survivor(&mut directory.disk).recover(draws);
    while let Some(op) = recover.next_op() {
        recover.done(directory.disk.execute(&op)).expect("no failure was planned");
    }
    let owner = directory.verify().report.owner.expect("the hard state is intact");
    assert_ne!(owner.incarnation, IDENTITY.incarnation);
}

#[test]
fn what_is_no_survivor_is_refused_with_the_way_out() {
    let refused = |mut disk: MemDisk| survivor_of(&mut disk, 0).expect_err("refused").to_string();
    let alone = refused(Directory::new(1).disk);
    assert!(alone.contains("start it"), "{alone}");
    let mut damaged = Directory::new(3);
    damaged.rot(20);
    let damaged = refused(damaged.disk);
    assert!(damaged.contains("steadfast repair") && damaged.contains("--discard-after 19"), "{damaged}");
    let mut lost = Directory::new(3);
    lost.disk.lose(FileName::Hard(1));
    let lost = refused(lost.disk);
    assert!(lost.contains("hard-1") && lost.contains("another node"), "{lost}");
    let mut spoilt = Directory::new(3);
    let snapshot = FileName::Snapshot(spoilt.covered.index.0);
    spoilt.disk.tamper(snapshot, |bytes| bytes[600] ^= 1);
    let spoilt = refused(spoilt.disk);
    assert!(spoilt.contains("steadfast repair"), "{spoilt}");
    assert!(refused(MemDisk::default()).contains("no hard state"));
}

#[test]
fn a_repair_of_a_damaged_member_makes_a_survivor_of_it() {
    let mut directory = Directory::new(3);
    directory.rot(20);
    let mut repair = directory.verify().propose(Index(19), true).expect("it can be done").repair(5);
    while let Some(op) = repair.next_op() {
        repair.done(directory.disk.execute(&op)).expect("no failure was planned");
    }
    let survivor = survivor(&mut directory.disk);
    assert!(survivor.owner().in_doubt && survivor.last.index == Index(19));
    assert!(carry_out(&mut directory.disk, survivor));
    let started = start(&mut directory.disk, 1).expect("starts");
    assert!(!started.hard.get().in_doubt, "there is nobody left to have promised anything to");
    assert_eq!(started.state.committed(), Index(19 + POSITIONS));
}
