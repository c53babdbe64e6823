//! Each kind of damage: what the live image holds, what is durable, and what reads see; and that healing brings back
//! every pristine byte. The formats are those of the core, written by a core that runs on the disk.

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::io::{Input, Outbox, Output, Owner};
use steadfast_core::time::{Micros, Millis, Stamp};

use super::file::SECTOR;
use super::window::Window;
use super::*;
use crate::fault::FileClass;

const FILE: FileName = FileName::RootCredentials;
const OTHER: FileName = FileName::RootCredentialsTmp;
const TOKEN: Token = Token { owner: Owner::Wal, seq: 0 };

fn empty(seed: u64) -> Disk {
    let spec = DiskSpec { keep_ppm: 500_000, garbage_ppm: 0, ..DiskSpec::default() };
    Disk::new(spec, Stream::new(seed, "disk"), Stream::new(seed, "damage"))
}

/// A file of four sectors of ones, durable.
fn ones(seed: u64) -> Disk {
    let mut disk = empty(seed);
    for op in [DiskOp::Create { file: FILE }, write(FILE, 0, &[1; 4 * SECTOR]), sync(FILE), DiskOp::SyncDir] {
        disk.does(op).unwrap();
    }
    disk
}

fn write(file: FileName, offset: u64, data: &[u8]) -> DiskOp {
    DiskOp::WriteAt { file, offset, data: Bytes::copy_from_slice(data) }
}

fn sync(file: FileName) -> DiskOp {
    DiskOp::Sync { file }
}

impl Disk {
    fn does(&mut self, op: DiskOp) -> Result<DiskReply, DiskError> {
        let (id, stage, _) = self.submit(TOKEN, op);
        if stage == Stage::SyncBegin {
            self.begin_sync(id);
        }
        self.finish(id, false).1
    }

    fn content(&mut self, file: FileName) -> Result<Vec<u8>, DiskErrorKind> {
        match self.does(DiskOp::Read { file, offset: 0, len: 1 << 20 }) {
            Ok(DiskReply::Data(data)) => Ok(data.to_vec()),
            Ok(other) => panic!("a read answers data, not {other:?}"),
            Err(error) => Err(error.kind),
        }
    }

    fn pristine(&self, file: FileName) -> (&[u8], &[u8]) {
        let file = &self.files[&self.live[&file]];
        (&file.live, file.durable())
    }
}

#[test]
fn rot_flips_bits_of_what_is_read_and_of_nothing_else_until_it_is_healed() {
    let mut disk = ones(1);
    assert_eq!(disk.strike(FileClass::Any, 2, Strike::Rot(3)), 2);
    let read = disk.content(FILE).unwrap();
    let rotten = read.chunks(SECTOR).filter(|sector| **sector != [1; SECTOR]).count();
    assert_eq!(rotten, 2);
    assert_eq!(disk.pristine(FILE), (&[1; 4 * SECTOR][..], &[1; 4 * SECTOR][..]));
    assert!(disk.evidence.shown.contains(&FILE));
    disk.lose_power();
    assert_eq!(disk.content(FILE).unwrap(), read, "a restart mends no disk");
    disk.heal();
    assert_eq!(disk.content(FILE).unwrap(), [1; 4 * SECTOR]);
}

#[test]
fn an_unreadable_sector_fails_the_reads_that_touch_it_until_it_is_written() {
    let mut disk = ones(2);
    disk.strike(FileClass::Other, 4, Strike::Unreadable);
    assert_eq!(disk.content(FILE), Err(DiskErrorKind::Io));
    assert!(disk.evidence.unread && disk.counts.read_errors == 1);
    disk.does(write(FILE, 0, &[2; 3 * SECTOR])).unwrap();
    let first = DiskOp::Read { file: FILE, offset: 0, len: 3 * SECTOR as u32 };
    assert!(disk.does(first).is_ok());
    assert_eq!(disk.content(FILE), Err(DiskErrorKind::Io), "the last sector was not written");
    disk.boot();
    assert!(!disk.evidence.unread, "the next process has seen nothing");
}

#[test]
fn a_part_of_a_sector_that_is_written_leaves_the_rest_of_it_struck() {
    let mut disk = ones(3);
    disk.strike(FileClass::Other, 4, Strike::Rot(64));
    let before = disk.content(FILE).unwrap();
    disk.does(write(FILE, 0, &[1; 10])).unwrap();
    assert_eq!(disk.content(FILE).unwrap()[SECTOR..], before[SECTOR..]);
    disk.does(write(FILE, 0, &[1; SECTOR])).unwrap();
    let after = disk.content(FILE).unwrap();
    assert_eq!((&after[..SECTOR], &after[SECTOR..]), (&[1; SECTOR][..], &before[SECTOR..]));
}

#[test]
fn a_lost_write_is_reported_done_and_synced_and_reads_see_the_old_content() {
    let mut disk = ones(4);
    disk.arm(Armed { class: FileClass::Other, left: 2, misdirected: false });
    disk.does(write(FILE, 0, &[2; SECTOR])).unwrap();
    disk.does(write(FILE, SECTOR as u64, &[3; 2 * SECTOR])).unwrap();
    disk.does(sync(FILE)).unwrap();
    let intended = [[2; SECTOR], [3; SECTOR], [3; SECTOR], [1; SECTOR]].concat();
    let (live, durable) = disk.pristine(FILE);
    assert_eq!((live, durable), (&intended[..], &intended[..]));
    let seen = [[2; SECTOR], [1; SECTOR], [1; SECTOR], [1; SECTOR]].concat();
    assert_eq!(disk.content(FILE).unwrap(), seen);
    disk.lose_power();
    assert_eq!(disk.content(FILE).unwrap(), seen);
    disk.heal();
    assert_eq!(disk.content(FILE).unwrap(), intended);
}

#[test]
fn a_misdirected_write_lands_whole_elsewhere_and_its_target_keeps_the_old_content() {
    let mut hit_other = false;
    for seed in 0..20 {
        let mut disk = ones(seed);
        for op in [DiskOp::Create { file: OTHER }, write(OTHER, 0, &[7; 2 * SECTOR]), sync(OTHER)] {
            disk.does(op).unwrap();
        }
        disk.arm(Armed { class: FileClass::Any, left: 1, misdirected: true });
        disk.does(write(FILE, 0, &[9; SECTOR])).unwrap();
        let (file, other) = (disk.content(FILE).unwrap(), disk.content(OTHER).unwrap());
        assert_eq!(file[..SECTOR], [1; SECTOR], "its target keeps the old content");
        let landed = file.chunks(SECTOR).chain(other.chunks(SECTOR)).filter(|sector| **sector == [9; SECTOR]);
        assert_eq!(landed.count(), 1, "seed {seed}");
        hit_other |= other.contains(&9);
        disk.heal();
        assert_eq!(disk.content(FILE).unwrap()[..SECTOR], [9; SECTOR]);
        assert_eq!(disk.content(OTHER).unwrap(), [7; 2 * SECTOR]);
    }
    assert!(hit_other, "another file is hit now and then");
}

#[test]
fn a_sector_that_goes_back_shows_what_it_once_held() {
    let mut disk = ones(5);
    disk.does(write(FILE, 0, &[2; SECTOR])).unwrap();
    disk.does(sync(FILE)).unwrap();
    assert_eq!(
        disk.strike(FileClass::Other, 8, Strike::RollBack),
        1,
        "only one sector ever held something else"
    );
    assert_eq!(disk.content(FILE).unwrap(), [1; 4 * SECTOR]);
    disk.heal();
    assert_eq!(disk.content(FILE).unwrap()[..SECTOR], [2; SECTOR]);
}

#[test]
fn an_old_image_brings_back_what_was_durable_and_nothing_that_came_later() {
    let mut disk = ones(6);
    disk.does(write(FILE, 0, &[2; SECTOR])).unwrap();
    let image = disk.image();
    disk.does(sync(FILE)).unwrap();
    disk.does(DiskOp::Create { file: OTHER }).unwrap();
    disk.does(DiskOp::SyncDir).unwrap();
    disk.restore(&image);
    assert_eq!(disk.content(FILE).unwrap(), [1; 4 * SECTOR]);
    assert_eq!(disk.content(OTHER), Err(DiskErrorKind::NotFound));
    disk.lose_power();
    assert_eq!(disk.content(FILE).unwrap(), [1; 4 * SECTOR], "all of it is durable");
    assert!(!disk.betrayed, "nobody had been promised more");
}

#[test]
fn an_image_of_a_liars_disk_lacks_what_was_promised() {
    let mut disk = ones(6);
    disk.lying = true;
    disk.does(write(FILE, 0, &[2; SECTOR])).unwrap();
    disk.does(sync(FILE)).unwrap();
    let image = disk.image();
    disk.lying = false;
    disk.does(sync(FILE)).unwrap();
    disk.restore(&image);
    assert!(disk.betrayed);
    assert_eq!(disk.content(FILE).unwrap(), [1; 4 * SECTOR]);
}

#[test]
fn a_lying_sync_makes_nothing_durable_until_the_next_honest_one() {
    let lost = (0..20).any(|seed| {
        let mut disk = ones(seed);
        disk.lying = true;
        disk.does(write(FILE, 0, &[2; SECTOR])).unwrap();
        disk.does(sync(FILE)).unwrap();
        assert_eq!(disk.pristine(FILE).1[..SECTOR], [1; SECTOR]);
        assert!(disk.owes());
        disk.lose_power();
        assert!(disk.betrayed && !disk.owes());
        disk.content(FILE).unwrap()[..SECTOR] == [1; SECTOR]
    });
    assert!(lost, "a liar that never loses anything tests nothing");
    let mut disk = ones(7);
    disk.lying = true;
    disk.does(write(FILE, 0, &[2; SECTOR])).unwrap();
    disk.does(sync(FILE)).unwrap();
    disk.does(DiskOp::Create { file: OTHER }).unwrap();
    disk.does(DiskOp::SyncDir).unwrap();
    disk.lying = false;
    assert!(disk.owes(), "the end of the lie alone makes nothing durable");
    disk.does(sync(OTHER)).unwrap();
    assert!(!disk.owes(), "an honest sync empties the drive's cache");
    disk.lose_power();
    assert_eq!(disk.content(FILE).unwrap()[..SECTOR], [2; SECTOR]);
    assert!(disk.content(OTHER).is_ok() && !disk.betrayed);
}

#[test]
fn a_sync_that_fails_after_a_lie_takes_nothing_from_the_liar() {
    let mut disk = ones(9);
    disk.lying = true;
    disk.does(write(FILE, 0, &[2; SECTOR])).unwrap();
    disk.does(sync(FILE)).unwrap();
    disk.lying = false;
    disk.does(write(FILE, SECTOR as u64, &[3; SECTOR])).unwrap();
    let (id, ..) = disk.submit(TOKEN, sync(FILE));
    disk.begin_sync(id);
    assert!(disk.finish(id, true).1.is_err());
    assert!(disk.owes(), "what the drive holds is still not on it");
    disk.does(sync(FILE)).unwrap();
    let durable = disk.pristine(FILE).1;
    assert_eq!((durable[0], durable[SECTOR]), (2, 1), "only what the failed sync covered is gone");
}

#[test]
fn a_write_without_room_is_short_and_removing_a_file_makes_room() {
    let mut disk = ones(8);
    disk.bound(Some(700), false);
    let error = disk.does(write(FILE, 3 * SECTOR as u64, &[2; 3 * SECTOR])).unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::NoSpace);
    let content = disk.content(FILE).unwrap();
    assert_eq!((content.len(), &content[3 * SECTOR..]), (4 * SECTOR + 700, &[2; SECTOR + 700][..]));
    assert!(disk.evidence.refused && disk.counts.short_writes == 1);
    assert!(disk.does(write(FILE, 0, &[3; SECTOR])).is_ok(), "what is allocated can be overwritten");
    assert_eq!(disk.does(DiskOp::Create { file: OTHER }).unwrap_err().kind, DiskErrorKind::NoSpace);
    disk.does(DiskOp::Truncate { file: FILE, len: SECTOR as u64 }).unwrap();
    disk.does(DiskOp::Create { file: OTHER }).unwrap();
    disk.does(write(OTHER, 0, &[4; 2 * SECTOR])).unwrap();
    assert!(disk.does(write(OTHER, 0, &[4; 8 * SECTOR])).is_err());
    disk.bound(None, false);
    disk.does(write(OTHER, 0, &[4; 8 * SECTOR])).unwrap();
}

#[test]
fn where_overwriting_needs_room_it_fails_at_any_byte_and_so_does_the_sync() {
    let mut disk = ones(9);
    disk.bound(Some(100), true);
    assert!(disk.does(write(FILE, 0, &[2; SECTOR])).is_err());
    let content = disk.content(FILE).unwrap();
    assert_eq!((&content[..100], &content[100..SECTOR]), (&[2; 100][..], &[1; SECTOR - 100][..]));
    disk.bound(Some(0), true);
    assert_eq!(disk.does(sync(FILE)).unwrap_err().kind, DiskErrorKind::NoSpace);
    disk.bound(None, true);
    disk.does(sync(FILE)).unwrap();
    assert_eq!(disk.pristine(FILE).1[..SECTOR], [1; SECTOR], "its pages count as clean");
}

#[test]
fn an_operation_stalls_at_its_turn_and_goes_on_when_it_is_let_go() {
    let mut disk = ones(10);
    disk.stall(2, 60_000_000);
    assert!(disk.submit(TOKEN, sync(FILE)).2 < 1_000_000);
    let (id, stage, delay) = disk.submit(TOKEN, sync(FILE));
    assert!(delay >= 60_000_000 && stage == Stage::SyncBegin);
    assert_eq!(disk.let_go(), [(id, Stage::SyncBegin)]);
    disk.begin_sync(id);
    assert!(disk.has_begun(id) && disk.let_go().is_empty(), "it is let go once");
}

#[test]
fn a_file_that_grew_without_its_data_shows_zeros_noise_or_what_another_held_there() {
    let (mut zeros, mut old, mut noise) = (0, 0, 0);
    for seed in 0..200 {
        let mut disk = ones(seed);
        for op in [DiskOp::Remove { file: FILE }, DiskOp::Create { file: OTHER }, DiskOp::SyncDir] {
            disk.does(op).unwrap();
        }
        disk.does(write(OTHER, 0, &[5; 4 * SECTOR])).unwrap();
        disk.lose_power();
        for sector in disk.content(OTHER).unwrap().chunks(SECTOR).filter(|sector| **sector != [5; SECTOR]) {
            match sector {
                _ if *sector == [0; SECTOR] => zeros += 1,
                _ if *sector == [1; SECTOR] => old += 1,
                _ => noise += 1,
            }
        }
    }
    assert!(zeros > 20 && old > 20 && noise > 20, "{zeros} {old} {noise}");
}

/// The disk of a node that is alone, after some idle time: a founded cluster with a few batches in its log.
fn lived_on(seed: u64) -> Disk {
    let mut schedule = crate::draw::schedule(seed);
    schedule.cluster.nodes = 1;
    let mut node = Node::new(schedule.node_config(1), [seed as u8; 32]);
    let (mut disk, mut out, mut inputs) = (empty(seed), Outbox::default(), VecDeque::from([Input::Tick]));
    for turn in 0..4_000 {
        let input = inputs.pop_front().unwrap_or(Input::Tick);
        let stamp = Stamp { mono: Micros(turn * 100), wall: Millis(turn) };
        node.step(stamp, input, &mut out);
        for output in out.drain() {
            match output {
                Output::Disk { token, op } => {
                    inputs.push_back(Input::DiskDone { token, result: disk.does(op) })
                }
                Output::Compute { token, job } => {
                    inputs.push_back(Input::Computed { token, result: crate::glue::compute(&job) });
                }
                Output::Halt(reason) => panic!("an honest disk stops nobody: {reason}"),
                _ => {}
            }
        }
    }
    disk
}

#[test]
fn the_newest_batch_is_spared_and_what_its_mark_proves_is_not() {
    let mut disk = lived_on(1);
    let log: Vec<u64> = disk.iter_live().filter_map(|(name, _)| segment(name)).collect();
    let window = Window::of(disk.iter_live());
    let used = |disk: &Disk, segment| {
        let bytes =
            disk.iter_live().find(|(name, _)| *name == FileName::Wal(segment)).map_or(&[][..], |it| it.1);
        bytes.chunks(SECTOR).rposition(|sector| sector.iter().any(|byte| *byte != 0)).map(|at| at as u64)
    };
    let newest = log.iter().rev().find(|segment| used(&disk, **segment).is_some()).copied().unwrap();
    let last = used(&disk, newest).unwrap();
    assert!(
        window.is_unmarked(newest, last) && !window.is_unmarked(newest, 0),
        "the header is proved by a mark"
    );
    disk.strike(FileClass::Log, u16::MAX, Strike::Rot(8));
    assert!(disk.counts.spared > 0, "the newest batch was struck and spared");
    let name = FileName::Wal(newest);
    let (read, pristine) = (disk.content(name).unwrap(), disk.pristine(name).0.to_vec());
    let tail = last as usize * SECTOR..;
    assert_eq!(read[tail.clone()], pristine[tail]);
    assert_ne!(read[..SECTOR], pristine[..SECTOR]);
}

#[test]
fn the_tail_is_what_was_written_last_of_what_is_proven() {
    let mut disk = lived_on(1);
    let struck = disk.strike(FileClass::Tail, u16::MAX, Strike::Rot(8));
    assert!((1..=8).contains(&struck) && disk.counts.spared == 0, "{struck} struck, {:?}", disk.counts);
    let window = Window::of(disk.iter_live());
    let written = |(name, bytes): (FileName, &[u8])| {
        let last = segment(name).map_or(0, |_| bytes.len() / SECTOR);
        let used = |sector: &usize| bytes[sector * SECTOR..][..SECTOR].iter().any(|byte| *byte != 0);
        (0..last).filter(used).map(|sector| (name, sector as u64)).collect::<Vec<_>>()
    };
    let proven = |(name, sector): &(FileName, u64)| !window.is_unmarked(segment(*name).unwrap(), *sector);
    let newest = disk.iter_live().flat_map(written).filter(proven).max().unwrap();
    let file = &disk.files[&disk.live[&newest.0]];
    assert!(file.overlay.spot(newest.1).is_some(), "the newest proven sector {newest:?} is one of them");
}

#[test]
fn a_log_that_is_not_as_the_format_says_is_noticed() {
    let mut disk = lived_on(1);
    assert_eq!(disk.unlike_format(), None);
    let (name, id) = disk.live.iter().find(|(name, _)| segment(**name).is_some()).unwrap();
    let (name, id) = (*name, *id);
    disk.files.get_mut(&id).unwrap().live[SECTOR + 20] ^= 1;
    assert_eq!(disk.unlike_format(), Some(name));
}

fn segment(name: FileName) -> Option<u64> {
    match name {
        FileName::Wal(segment) => Some(segment),
        _ => None,
    }
}

#[test]
fn one_copy_of_the_newest_hard_state_stays_intact() {
    let mut disk = lived_on(2);
    let copies = Window::of(disk.iter_live()).copies().to_vec();
    assert_eq!(copies.len(), 2, "a node at rest has written its hard state twice");
    disk.strike(FileClass::Hard, u16::MAX, Strike::Rot(1));
    let intact = |disk: &mut Disk| {
        let whole = |disk: &mut Disk, copy: &super::window::Copy| {
            let (from, to) = (copy.from as usize * SECTOR, copy.to as usize * SECTOR);
            disk.content(copy.file).unwrap()[from..to] == disk.pristine(copy.file).0[from..to]
        };
        copies.iter().filter(|copy| whole(disk, copy)).count()
    };
    assert_eq!(intact(&mut disk), 1);
    let mut beyond = lived_on(2);
    beyond.spares = false;
    beyond.strike(FileClass::Hard, u16::MAX, Strike::Rot(1));
    assert_eq!(intact(&mut beyond), 0);
    assert!(beyond.counts.not_spared > 0, "what goes beyond the budget is written down");
}

#[test]
fn damage_that_no_later_mark_proves_does_not_show() {
    let mut disk = lived_on(3);
    let window = Window::of(disk.iter_live());
    let (name, sector) = disk
        .iter_live()
        .flat_map(|(name, bytes)| (0..bytes.len() / SECTOR).map(move |sector| (name, sector as u64)))
        .find(|(name, sector)| segment(*name).is_some_and(|segment| window.is_unmarked(segment, *sector)))
        .unwrap();
    let id = disk.live[&name];
    let zeros = overlay::Spot::Instead(vec![0; SECTOR]);
    disk.files.get_mut(&id).unwrap().overlay.strike(sector, zeros);
    let at = sector as usize * SECTOR..(sector as usize + 1) * SECTOR;
    assert_eq!(disk.content(name).unwrap()[at.clone()], disk.pristine(name).0[at], "nothing proves it yet");
    assert!(disk.evidence.shown.is_empty() && disk.counts.spared == 1);
}

#[test]
fn a_disk_remembers_the_nonces_in_its_newest_hard_state_alone() {
    let disk = lived_on(4);
    let record = window::newest_record(disk.iter_live()).unwrap();
    let nonce = u64::from_le_bytes(*record[record.len() - 8..].first_chunk().unwrap());
    assert!(disk.remembers(nonce));
    assert!(!disk.remembers(nonce ^ 0x5555) && !empty(4).remembers(nonce));
}

#[test]
fn what_strikes_a_cold_sector_strikes_its_first_byte_for_the_rest_may_be_padding() {
    const SNAPSHOT: FileName = FileName::Snapshot(1);
    let mut sector = [0; SECTOR];
    sector[0] = 1;
    for seed in 0..400 {
        let mut disk = empty(seed);
        for op in [DiskOp::Create { file: SNAPSHOT }, write(SNAPSHOT, 0, &sector), sync(SNAPSHOT)] {
            disk.does(op).unwrap();
        }
        assert_eq!(disk.strike_cold(), Some((SNAPSHOT, 0, SECTOR as u64)));
        let seen = disk.content(SNAPSHOT);
        assert!(
            seen.as_ref().is_err() || seen.is_ok_and(|bytes| bytes[0] != 1),
            "seed {seed} strikes nothing"
        );
    }
}
