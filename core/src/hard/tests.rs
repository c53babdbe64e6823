//! Tests of the hard state, on a disk that loses what was not synced.

use bytes::Bytes;
use proptest::prelude::*;

use super::format::{FILE_BYTES, SLOT_BYTES, SLOTS, Slot, decode, encode, place_of, slot_of};
use super::{HardRecovery, HardRecoveryStep, HardState, HardStore, PeerBoot, Phase};
use crate::io::{DiskErrorKind, DiskOp, FileName, HaltReason, Outbox, Output, Token};
use crate::state::effect::Founding;
use crate::testdisk::{MemDisk, Rng, hexdump};
use crate::types::{BootNumber, ClusterId, Incarnation, NodeId, Term, WriteSeq};

/// A state that is told from others by its term.
fn state(term: u64) -> HardState {
    let founding = Founding {
        cluster: ClusterId(0xC1),
        name: "test".to_owned(),
        members: (1..=3).map(|node| (NodeId(node), Incarnation(u64::from(node) * 77))).collect(),
    };
    HardState {
        node: NodeId(1),
        incarnation: Incarnation(77),
        cluster_name: "test".to_owned(),
        boot: BootNumber(1),
        boot_nonce: 5,
        hash_seed: (6, 7),
        log_segment: 0,
        phase: Phase::Prepared(founding),
        term: Term(term),
        vote: Some(NodeId(2)),
        in_doubt: false,
        peers: (2..=7).map(peer).collect(),
    }
}

fn peer(node: u16) -> PeerBoot {
    PeerBoot { node: NodeId(node), incarnation: Incarnation(1), boot: BootNumber(2), nonce: 3 }
}

fn only_op(out: &mut Outbox) -> Option<(Token, DiskOp)> {
    out.drain().next().map(|output| match output {
        Output::Disk { token, op } => (token, op),
        other => panic!("only disk operations were expected: {other:?}"),
    })
}

fn recover(disk: &mut MemDisk) -> Result<(Option<HardState>, HardStore), HaltReason> {
    recover_as(disk, NodeId(1), "test")
}

fn recover_as(
    disk: &mut MemDisk,
    node: NodeId,
    name: &str,
) -> Result<(Option<HardState>, HardStore), HaltReason> {
    let mut out = Outbox::default();
    let mut recovery = HardRecovery::new(node, name);
    recovery.start(&mut out);
    loop {
        let (token, op) = only_op(&mut out).expect("a recovery under way has an operation under way");
        let result = disk.execute(&op);
        if let HardRecoveryStep::Done(recovered) = recovery.disk_done(token, result, &mut out)? {
            return Ok((recovered.state, recovered.store));
        }
    }
}

/// Executes one operation; `false` if there is none.
fn step(disk: &mut MemDisk, store: &mut HardStore) -> Result<bool, HaltReason> {
    let mut out = Outbox::default();
    store.pump(&mut out);
    let Some((token, op)) = only_op(&mut out) else { return Ok(false) };
    let result = disk.execute(&op);
    store.disk_done(token, result).map(|()| true)
}

fn settle(disk: &mut MemDisk, store: &mut HardStore) {
    while step(disk, store).expect("no failure was planned") {}
}

/// A directory that went through so many changes, and rests.
fn rested(changes: u64) -> MemDisk {
    let mut disk = MemDisk::default();
    let (_, mut store) = recover(&mut disk).expect("an empty directory");
    for term in 1..=changes {
        store.set(state(term));
        settle(&mut disk, &mut store);
    }
    disk
}

#[test]
fn an_empty_directory_has_no_state() {
    assert!(recover(&mut MemDisk::default()).expect("recovers").0.is_none());
}

#[test]
fn a_durable_state_survives_a_power_loss() {
    for changes in 1..20 {
        let mut disk = rested(changes);
        disk.crash(&mut Rng(changes));
        assert_eq!(recover(&mut disk).expect("recovers").0, Some(state(changes)));
    }
}

#[test]
fn states_that_were_not_begun_are_never_written() {
    let mut disk = rested(1);
    let (_, mut store) = recover(&mut disk).expect("recovers");
    let before = disk.executed;
    (2..9).for_each(|term| assert_eq!(store.set(state(term)), WriteSeq(term - 1)));
    settle(&mut disk, &mut store);
    assert_eq!(
        (disk.executed - before, store.durable()),
        (6, WriteSeq(7)),
        "two syncs, one record, and its copy"
    );
}

#[test]
fn a_state_is_acknowledged_after_its_first_sync_and_then_copied_to_the_other_file() {
    let mut disk = rested(1);
    let (_, mut store) = recover(&mut disk).expect("recovers");
    let seq = store.set(state(2));
    (0..2).for_each(|_| assert!(step(&mut disk, &mut store).expect("syncs what was found")));
    step(&mut disk, &mut store).expect("writes");
    assert!(store.durable() < seq);
    step(&mut disk, &mut store).expect("syncs");
    assert_eq!(store.durable(), seq);
    settle(&mut disk, &mut store);
    let copies = [FileName::Hard(0), FileName::Hard(1)].map(|file| {
        (0..SLOTS).filter(|slot| place_of(*slot).0 == file).any(|slot| {
            let from = place_of(slot).1 as usize;
            let content = decode(slot, &disk.bytes(file)[from..from + SLOT_BYTES as usize]);
            matches!(content, Slot::Valid(_, found) if found == state(2))
        })
    });
    assert_eq!(copies, [true, true]);
}

#[test]
fn one_flipped_bit_anywhere_loses_nothing() {
    let disk = rested(3);
    for file in [FileName::Hard(0), FileName::Hard(1)] {
        for bit in 0..FILE_BYTES * 8 {
            if bit / 8 % SLOT_BYTES > 600 {
                continue;
            }
            let mut disk = disk.clone();
            disk.tamper(file, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
            assert_eq!(recover(&mut disk).expect("recovers").0, Some(state(3)), "{file} bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_every_missing_file_is_refused() {
    let disk = rested(3);
    for file in [FileName::Hard(0), FileName::Hard(1)] {
        for len in (0..FILE_BYTES).step_by(61) {
            let mut disk = disk.clone();
            disk.tamper(file, |bytes| bytes.truncate(len as usize));
            assert!(matches!(recover(&mut disk), Err(HaltReason::Damaged(_))), "{file} cut to {len}");
        }
        let mut disk = disk.clone();
        disk.lose(file);
        let text = recover(&mut disk).expect_err("refuses").to_string();
        assert!(text.contains(&format!("{file} is missing")) && text.contains("put back"), "{text}");
    }
}

#[test]
fn two_broken_records_in_a_row_leave_term_and_vote_in_doubt() {
    let mut disk = rested(9);
    for generation in [17, 18] {
        let (file, offset) = place_of(slot_of(generation));
        disk.tamper(file, |bytes| bytes[offset as usize + 100] ^= 1);
    }
    let (found, mut store) = recover(&mut disk).expect("recovers");
    assert!(found.is_some_and(|found| found.in_doubt && found.term == Term(8)));
    store.update(|state| state.boot = state.boot.next());
    settle(&mut disk, &mut store);
    let found = recover(&mut disk).expect("recovers").0;
    assert!(found.is_some_and(|found| found.in_doubt), "a restart does not end the doubt");
}

#[test]
fn a_slot_that_cannot_be_read_loses_nothing_but_maybe_certainty() {
    for at in 0..SLOTS {
        let mut disk = rested(9);
        let executed = disk.executed;
        // Listing the directory, then the slots one after the other.
        disk.fail_at = Some((executed + 2 + at, DiskErrorKind::Io));
        let (found, _) = recover(&mut disk).expect("recovers");
        // The newest record is of generation 18, a copy of the one before it.
        let doubtful = [18, 19, 20].map(slot_of).contains(&at);
        assert!(
            found.is_some_and(|found| found == HardState { in_doubt: doubtful, ..state(9) }),
            "slot {at}"
        );
    }
}

#[test]
fn alone_a_slot_that_may_be_the_newest_must_be_readable() {
    let alone = |term| {
        let mut state = state(term);
        if let Phase::Prepared(founding) = &mut state.phase {
            founding.members.truncate(1);
        }
        state.peers.clear();
        assert!(state.is_alone());
        state
    };
    let mut disk = MemDisk::default();
    let (_, mut store) = recover(&mut disk).expect("an empty directory");
    for term in 1..=9 {
        store.set(alone(term));
        settle(&mut disk, &mut store);
    }
    for at in 0..SLOTS {
        let mut disk = disk.clone();
        disk.fail_at = Some((disk.executed + 2 + at, DiskErrorKind::Io));
        let may_be_newest = [18, 19, 20].map(slot_of).contains(&at);
        match recover(&mut disk) {
            Ok((found, _)) => assert!(!may_be_newest && found == Some(alone(9)), "slot {at}"),
            Err(reason) => {
                let text = reason.to_string();
                assert!(may_be_newest && text.contains("can't be read at offset"), "slot {at}: {text}");
            }
        }
    }
}

#[test]
fn a_founder_that_others_have_joined_is_alone_no_more() {
    let mut state = state(1);
    if let Phase::Prepared(founding) = &mut state.phase {
        founding.members.truncate(1);
    }
    assert!(!state.is_alone(), "it has heard of them");
    state.peers.clear();
    assert!(state.is_alone());
    state.incarnation = Incarnation(5);
    assert!(!state.is_alone(), "it has joined the founder");
}

#[test]
fn an_empty_directory_whose_slots_cannot_be_read_is_refused() {
    let mut disk = MemDisk::default();
    for copy in [0, 1] {
        let file = FileName::Hard(copy);
        disk.execute(&DiskOp::Create { file }).expect("creates");
        disk.execute(&DiskOp::WriteAt { file, offset: 0, data: Bytes::from(vec![0; 16384]) }).expect("fills");
    }
    assert!(recover(&mut disk.clone()).expect("the first start did not end").0.is_none());
    disk.fail_at = Some((disk.executed + 2, DiskErrorKind::Io));
    let text = recover(&mut disk).expect_err("refuses").to_string();
    assert!(text.contains("hard-0 can't be read at offset 0"), "{text}");
}

#[test]
fn files_made_anew_over_the_sectors_of_an_earlier_attempt_are_unused() {
    let first = HardState { phase: Phase::Fresh, ..HardState { vote: None, ..state(0) } };
    for (generation, whole) in [(1, true), (1, false), (3, false)] {
        for slot in 0..SLOTS {
            let mut disk = MemDisk::default();
            let (file, offset) = place_of(slot);
            let record = encode(generation, &first);
            let kept = if whole { record.len() } else { 53 };
            disk.execute(&DiskOp::Create { file }).expect("creates");
            let data = Bytes::copy_from_slice(&record[..kept]);
            disk.execute(&DiskOp::WriteAt { file, offset, data }).expect("old sectors show");
            assert!(
                recover(&mut disk).expect("recovers").0.is_none(),
                "generation {generation} in slot {slot}"
            );
        }
    }
}

#[test]
fn a_torn_record_of_a_later_generation_is_no_first_start() {
    let mut disk = rested(9);
    for copy in [0, 1] {
        disk.tamper(FileName::Hard(copy), |bytes| {
            (0..4).for_each(|slot| bytes[slot * SLOT_BYTES as usize + 100] ^= 1);
        });
    }
    let text = recover(&mut disk).expect_err("refuses").to_string();
    assert!(text.contains("no record is whole"), "{text}");
}

#[test]
fn a_kill_and_then_a_power_loss_leave_no_doubt() {
    for seed in 0..200 {
        let mut disk = rested(3);
        let mut rng = Rng(seed);
        for killed in [true, false] {
            let (_, mut store) = recover(&mut disk).expect("recovers");
            store.update(|state| state.boot = state.boot.next());
            // Two syncs of what was found, and the record, which is not synced.
            (0..3).for_each(|_| assert!(step(&mut disk, &mut store).expect("no failure was planned")));
            if !killed {
                disk.crash(&mut rng);
            }
        }
        assert!(!recover(&mut disk).expect("recovers").0.expect("a state").in_doubt, "seed {seed}");
    }
}

#[test]
fn a_log_without_a_hard_state_is_refused() {
    let mut disk = MemDisk::default();
    disk.execute(&DiskOp::Create { file: FileName::Wal(1) }).expect("creates");
    let text = recover(&mut disk).expect_err("refuses").to_string();
    assert!(
        text.contains("hard-0 and hard-1 are missing, but there is a log (wal-0000000000000001)"),
        "{text}"
    );
}

#[test]
fn a_log_before_the_founding_is_refused() {
    let mut disk = MemDisk::default();
    let (_, mut store) = recover(&mut disk).expect("recovers");
    store.set(HardState { phase: Phase::Fresh, ..state(1) });
    settle(&mut disk, &mut store);
    disk.execute(&DiskOp::Create { file: FileName::Wal(1) }).expect("creates");
    assert!(matches!(recover(&mut disk), Err(HaltReason::Damaged(_))));
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused_by_name() {
    let mut disk = rested(1);
    let other = recover_as(&mut disk, NodeId(2), "test").expect_err("refuses");
    assert!(
        matches!(&other, HaltReason::WrongDirectory(text) if text.contains("node 1 of cluster \"test\""))
    );
    assert!(matches!(recover_as(&mut disk, NodeId(1), "prod"), Err(HaltReason::WrongDirectory(_))));
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let mut record = encode(1, &state(1));
    record[8] = 9;
    let len = u32::from_le_bytes([record[16], record[17], record[18], record[19]]) as usize;
    record[12..16].fill(0);
    let crc = crc32fast::hash(&record[..len]);
    record[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(decode(1, &record), Slot::Unknown(9));
}

#[test]
fn a_failed_sync_halts() {
    let mut disk = rested(1);
    let (_, mut store) = recover(&mut disk).expect("recovers");
    store.set(state(2));
    disk.fail_at = Some((disk.executed + 4, DiskErrorKind::Io));
    (0..3).for_each(|_| assert!(step(&mut disk, &mut store).expect("syncs what was found, and writes")));
    assert!(matches!(step(&mut disk, &mut store), Err(HaltReason::Disk { .. })));
    assert_eq!(store.durable(), WriteSeq(0));
}

#[test]
#[should_panic(expected = "a node votes once in a term")]
fn a_second_vote_in_a_term_is_an_assertion() {
    let (_, mut store) = recover(&mut MemDisk::default()).expect("recovers");
    store.set(state(1));
    store.set(HardState { vote: Some(NodeId(3)), ..state(1) });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Kills, power losses and failed syncs, at any operation of any life: what was acknowledged is never
    /// followed by anything older.
    #[test]
    fn many_lives_never_go_back(seed: u64, lives in 1..10_u32) {
        let mut rng = Rng(seed);
        let mut disk = MemDisk::default();
        let (mut acknowledged, mut issued) = (0, 0);
        // Rarer than every slot in turn: a failed sync without a power loss leaves one more record that is
        // readable and not durable, and there are eight slots.
        let mut failures = 3;
        for _ in 0..lives {
            let (found, mut store) = recover(&mut disk).expect("no crash is damage");
            let term = found.map_or(0, |found| found.term.0);
            prop_assert!((acknowledged..=issued).contains(&term), "{term} in {acknowledged}..={issued}");
            issued = term + 1;
            store.set(state(issued));
            let fails = failures > 0 && rng.below(3) == 0;
            if fails {
                disk.fail_at = Some((disk.executed + 1 + rng.below(12), DiskErrorKind::Io));
                failures -= 1;
            }
            for _ in 0..rng.below(20) {
                match step(&mut disk, &mut store) {
                    Ok(true) => {}
                    Ok(false) => { issued += 1; store.set(state(issued)); }
                    Err(_) => break,
                }
                if store.durable() == store.issued() {
                    acknowledged = issued;
                }
            }
            disk.fail_at = None;
            if rng.below(3) > 0 {
                disk.crash(&mut rng);
            }
        }
    }

    #[test]
    fn any_bytes_are_decoded_without_panic(slot in 0..SLOTS, mut bytes: Vec<u8>, whole: bool) {
        let mut record = encode(slot, &state(1));
        if whole && !bytes.is_empty() {
            // A body of noise under a right checksum.
            record.truncate(32);
            record.append(&mut bytes);
            let len = record.len() as u32;
            record[16..20].copy_from_slice(&len.to_le_bytes());
            record[12..16].fill(0);
            let crc = crc32fast::hash(&record);
            record[12..16].copy_from_slice(&crc.to_le_bytes());
            prop_assert!(!matches!(decode(slot, &record), Slot::Empty | Slot::Noise));
        } else {
            decode(slot, &bytes);
        }
    }

    #[test]
    fn what_was_encoded_is_decoded(generation: u64, term: u64, vote: Option<u16>, name in "[a-zé]{0,30}") {
        let vote = vote.map(NodeId);
        let state = HardState { vote, cluster_name: name, ..state(term) };
        let record = encode(generation, &state);
        prop_assert_eq!(decode(slot_of(generation), &record), Slot::Valid(generation, state));
    }
}

const RECORD: &[u8] = include_bytes!("../../../corpus/formats/hard-state-v1.bin");
const DOCS: &str = include_str!("../../../docs/formats.md");

/// What the pinned record holds.
fn pinned() -> HardState {
    HardState { log_segment: 4, peers: vec![peer(2), peer(3)], ..state(9) }
}

#[test]
fn a_record_is_written_as_pinned() {
    let record = encode(3, &pinned());
    assert!(record == RECORD, "the format changed; it is now\n{}", hexdump(&record));
}

#[test]
fn the_pinned_record_is_read() {
    assert_eq!(decode(3, RECORD), Slot::Valid(3, pinned()));
    assert!(matches!(decode(4, RECORD), Slot::Broken(_)), "a record in another slot is not believed");
}

#[test]
fn the_documentation_shows_the_pinned_record() {
    assert!(DOCS.contains(&hexdump(RECORD)), "docs/formats.md must show\n{}", hexdump(RECORD));
}
