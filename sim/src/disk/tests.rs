use bytes::Bytes;
use steadfast_core::io::Owner;

use super::file::SECTOR;
use super::*;

const FILE: FileName = FileName::Wal(1);
const TOKEN: Token = Token { owner: Owner::Wal, seq: 0 };

fn disk(seed: u64, keep_ppm: u32, garbage_ppm: u32) -> Disk {
    let spec = DiskSpec { keep_ppm, garbage_ppm, ..DiskSpec::default() };
    Disk::new(spec, Stream::new(seed, "disk"), Stream::new(seed, "damage"))
}

impl Disk {
    fn run(&mut self, op: DiskOp) -> Result<DiskReply, DiskError> {
        let (id, stage, _) = self.submit(TOKEN, op);
        if stage == Stage::SyncBegin {
            self.begin_sync(id);
        }
        self.finish(id, false).1
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        self.run(DiskOp::WriteAt { file: FILE, offset, data }).unwrap();
    }

    fn sync(&mut self) {
        self.run(DiskOp::Sync { file: FILE }).unwrap();
    }

    fn read(&mut self) -> Vec<u8> {
        match self.run(DiskOp::Read { file: FILE, offset: 0, len: 1 << 20 }) {
            Ok(DiskReply::Data(data)) => data.to_vec(),
            other => panic!("a read of an existing file answers data, not {other:?}"),
        }
    }

    fn names(&self) -> Vec<FileName> {
        self.live.keys().copied().collect()
    }

    /// A file whose creation and first contents are durable.
    fn with_synced(mut self, data: &[u8]) -> Self {
        self.run(DiskOp::Create { file: FILE }).unwrap();
        self.write(0, data);
        self.sync();
        self.run(DiskOp::SyncDir).unwrap();
        self
    }
}

#[test]
fn a_kill_keeps_what_was_written_and_a_power_cut_may_not() {
    let mut disk = disk(1, 0, 0).with_synced(b"old");
    disk.write(0, b"new");
    disk.kill();
    assert_eq!(disk.read(), b"new");
    disk.lose_power();
    assert!(disk.read() == b"old" || disk.read() == b"new");
    let lost = (0..20).any(|seed| {
        let mut disk = self::disk(seed, 0, 0).with_synced(b"old");
        disk.write(0, b"new");
        disk.lose_power();
        disk.read() == b"old"
    });
    assert!(lost, "a power cut that never drops anything tests nothing");
}

#[test]
fn synced_sectors_that_nobody_touched_since_are_intact_after_any_power_cut() {
    for seed in 0..300 {
        let mut disk = disk(seed, 300_000, 400_000);
        let synced: Vec<u8> = (0..8 * SECTOR).map(|i| (i % 251) as u8).collect();
        disk = disk.with_synced(&synced);
        let mut stream = Stream::new(seed, "test");
        let mut touched = [false; 64];
        for _ in 0..4 {
            let (offset, len) = (stream.below(6 * 512), stream.between(1, 700));
            disk.write(offset, &vec![0xee; len as usize]);
            let sectors = offset as usize / SECTOR..=(offset + len - 1) as usize / SECTOR;
            touched[sectors].fill(true);
        }
        disk.lose_power();
        let after = disk.read();
        assert!(after.len() >= synced.len(), "a synced size is durable");
        for sector in (0..8).filter(|sector| !touched[*sector]) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            assert_eq!(after[range.clone()], synced[range], "sector {sector} of seed {seed}");
        }
    }
}

#[test]
fn sectors_are_kept_dropped_and_garbled_independently_and_garbage_covers_the_whole_sector() {
    let mut counts = CrashCounts::default();
    let mut garbled_outside = false;
    for seed in 0..60 {
        let mut disk = disk(seed, 400_000, 300_000).with_synced(&[7; 4 * SECTOR]);
        disk.write(100, &[9; SECTOR]);
        disk.lose_power();
        let after = disk.read();
        garbled_outside |= after[..100].iter().any(|byte| *byte != 7);
        counts.sectors_kept += disk.crashes.sectors_kept;
        counts.sectors_dropped += disk.crashes.sectors_dropped;
        counts.sectors_garbage += disk.crashes.sectors_garbage;
    }
    assert!(counts.sectors_kept > 0 && counts.sectors_dropped > 0 && counts.sectors_garbage > 0);
    assert!(garbled_outside, "garbage must also hit bytes that were not written");
}

#[test]
fn size_and_data_persist_without_each_other() {
    let mut counts = CrashCounts::default();
    for seed in 0..100 {
        let mut disk = disk(seed, 500_000, 0).with_synced(&[1; SECTOR]);
        disk.write(SECTOR as u64, &[2; SECTOR]);
        disk.lose_power();
        let after = disk.read();
        assert!(after.len() == SECTOR || after.len() == 2 * SECTOR);
        assert_eq!(after[..SECTOR], [1; SECTOR]);
        counts.size_without_data += disk.crashes.size_without_data;
        counts.data_without_size += disk.crashes.data_without_size;
    }
    assert!(counts.size_without_data > 0 && counts.data_without_size > 0);
}

#[test]
fn a_sync_covers_the_writes_that_were_complete_when_it_began_and_no_others() {
    for seed in 0..40 {
        let mut disk = disk(seed, 0, 1_000_000).with_synced(&[0; 2 * SECTOR]);
        disk.write(0, &[1; SECTOR]);
        let (sync, ..) = disk.submit(TOKEN, DiskOp::Sync { file: FILE });
        disk.begin_sync(sync);
        disk.write(SECTOR as u64, &[2; SECTOR]);
        disk.finish(sync, false).1.unwrap();
        disk.lose_power();
        assert_eq!(disk.read()[..SECTOR], [1; SECTOR], "covered by the sync");
    }
    let second_lost = (0..40).any(|seed| {
        let mut disk = disk(seed, 0, 0).with_synced(&[0; SECTOR]);
        let (sync, ..) = disk.submit(TOKEN, DiskOp::Sync { file: FILE });
        disk.begin_sync(sync);
        disk.write(0, &[2; SECTOR]);
        disk.finish(sync, false).1.unwrap();
        disk.lose_power();
        disk.read() == [0; SECTOR]
    });
    assert!(second_lost, "a write after the sync began is not covered");
}

#[test]
fn a_failed_sync_leaves_pages_readable_that_no_later_sync_writes() {
    let mut disk = disk(5, 1_000_000, 0).with_synced(b"old");
    disk.write(0, b"new");
    let (sync, ..) = disk.submit(TOKEN, DiskOp::Sync { file: FILE });
    disk.begin_sync(sync);
    assert_eq!(disk.finish(sync, true).1.unwrap_err().kind, DiskErrorKind::Io);
    assert_eq!(disk.read(), b"new", "readable until the power goes");
    disk.sync();
    disk.kill();
    assert_eq!(disk.read(), b"new", "a restart of the process changes nothing");
    disk.lose_power();
    assert_eq!(disk.read(), b"old", "a later sync reported success and wrote nothing");
}

#[test]
fn rewriting_after_a_failed_sync_makes_it_durable() {
    let mut disk = disk(5, 0, 0).with_synced(b"old");
    disk.write(0, b"new");
    let (sync, ..) = disk.submit(TOKEN, DiskOp::Sync { file: FILE });
    disk.begin_sync(sync);
    let _ = disk.finish(sync, true);
    disk.write(0, b"new");
    disk.sync();
    disk.lose_power();
    assert_eq!(disk.read(), b"new");
}

#[test]
fn creations_renames_and_removals_vanish_unless_the_directory_was_synced() {
    let other = FileName::Wal(2);
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let mut disk = disk(seed, 500_000, 0).with_synced(b"x");
        disk.run(DiskOp::Rename { from: FILE, to: other }).unwrap();
        assert_eq!(disk.names(), [other]);
        disk.lose_power();
        outcomes.insert(disk.names());
    }
    assert_eq!(outcomes.len(), 2, "a rename is kept in some crashes and vanishes in others: {outcomes:?}");
    let mut disk = disk(1, 0, 0).with_synced(b"x");
    disk.run(DiskOp::Rename { from: FILE, to: other }).unwrap();
    disk.run(DiskOp::SyncDir).unwrap();
    disk.lose_power();
    assert_eq!(disk.names(), [other], "a synced directory is durable");
    let resurrected = (0..20).any(|seed| {
        let mut disk = self::disk(seed, 0, 0).with_synced(b"x");
        disk.run(DiskOp::Remove { file: FILE }).unwrap();
        disk.lose_power();
        disk.names() == [FILE] && disk.read() == b"x"
    });
    assert!(resurrected, "an unsynced removal must come back now and then");
}

#[test]
fn what_is_under_way_at_a_kill_happens_or_not_or_in_part() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let mut disk = disk(seed, 0, 0).with_synced(b"");
        disk.submit(TOKEN, DiskOp::WriteAt { file: FILE, offset: 0, data: Bytes::from_static(&[1; 600]) });
        disk.kill();
        lengths.insert(disk.read().len());
    }
    assert!(lengths.contains(&0) && lengths.contains(&600) && lengths.len() > 3, "{lengths:?}");
}

#[test]
fn a_wiped_disk_is_an_empty_directory() {
    let mut disk = disk(1, 0, 0).with_synced(b"x");
    disk.wipe();
    assert_eq!(disk.run(DiskOp::List).unwrap(), DiskReply::Listing(vec![]));
    assert_eq!(disk.run(DiskOp::Sync { file: FILE }).unwrap_err().kind, DiskErrorKind::NotFound);
}

#[test]
fn a_sync_waits_for_the_writes_of_its_file_that_came_before_it_and_for_no_others() {
    let other = FileName::Wal(2);
    let mut disk = disk(3, 0, 0).with_synced(&[0; SECTOR]);
    disk.run(DiskOp::Create { file: other }).unwrap();
    let write = |file| DiskOp::WriteAt { file, offset: 0, data: Bytes::from_static(&[1; SECTOR]) };
    let (elsewhere, ..) = disk.submit(TOKEN, write(other));
    let (early, ..) = disk.submit(TOKEN, DiskOp::Sync { file: FILE });
    let (before, ..) = disk.submit(TOKEN, write(FILE));
    let (sync, ..) = disk.submit(TOKEN, DiskOp::Sync { file: FILE });
    let (after, ..) = disk.submit(TOKEN, write(FILE));
    assert!(!disk.hold(early), "nothing was issued before it");
    assert!(disk.hold(sync));
    for (write, frees) in [(elsewhere, false), (after, false), (before, true)] {
        disk.finish(write, false).1.unwrap();
        let freed: Vec<OpId> = disk.freed().into_iter().map(|(id, _)| id).collect();
        assert_eq!(freed, if frees { vec![sync] } else { vec![] });
    }
    assert!(!disk.hold(sync));
    assert_eq!(disk.freed(), [], "it is let go once");
}
