//! The disk executor against a real directory: each operation, permissions, errors and order.

use super::*;
use crate::server::scratch::Scratch;

const SEGMENT: FileName = FileName::Wal(7);

fn disk(scratch: &Scratch) -> Disk {
    Disk::new(scratch.path()).expect("the scratch directory is there")
}

fn write(file: FileName, offset: u64, data: &'static [u8]) -> DiskOp {
    DiskOp::WriteAt { file, offset, data: Bytes::from_static(data) }
}

fn done(disk: &mut Disk, op: DiskOp) {
    assert_eq!(disk.execute(op), Ok(DiskReply::Done));
}

fn read(disk: &mut Disk, offset: u64, len: u32) -> Vec<u8> {
    match disk.execute(DiskOp::Read { file: SEGMENT, offset, len }) {
        Ok(DiskReply::Data(data)) => data.to_vec(),
        other => panic!("a read answers data, not {other:?}"),
    }
}

fn failure(disk: &mut Disk, op: DiskOp) -> DiskErrorKind {
    disk.execute(op).expect_err("the operation fails").kind
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file exists").permissions().mode() & 0o777
}

#[test]
fn what_is_written_is_read_back() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    done(&mut disk, write(SEGMENT, 0, b"hello"));
    done(&mut disk, write(SEGMENT, 8, b"world"));
    done(&mut disk, DiskOp::Sync { file: SEGMENT });
    assert_eq!(read(&mut disk, 0, 100), b"hello\0\0\0world");
    assert_eq!(read(&mut disk, 3, 2), b"lo");
}

#[test]
fn a_directory_that_is_only_read_is_never_changed() {
    let scratch = Scratch::new("disk");
    let mut writer = disk(&scratch);
    done(&mut writer, DiskOp::Create { file: SEGMENT });
    done(&mut writer, write(SEGMENT, 0, b"hello"));
    let mut reader = Disk::read_only(scratch.path()).expect("the scratch directory is there");
    assert_eq!(read(&mut reader, 0, 5), b"hello");
    let (file, to) = (SEGMENT, FileName::Wal(8));
    let changes = [
        DiskOp::Create { file: to },
        write(SEGMENT, 0, b"x"),
        DiskOp::Sync { file },
        DiskOp::Truncate { file, len: 0 },
        DiskOp::Rename { from: file, to },
        DiskOp::Remove { file },
        DiskOp::SyncDir,
    ];
    for op in changes {
        assert_eq!(failure(&mut reader, op), DiskErrorKind::Io);
    }
    assert_eq!(read(&mut writer, 0, 100), b"hello");
}

#[test]
fn a_read_beyond_the_end_is_short_and_allocates_no_more_than_the_file() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    done(&mut disk, write(SEGMENT, 0, b"abc"));
    assert_eq!(read(&mut disk, 2, u32::MAX), b"c");
    assert_eq!(read(&mut disk, u64::MAX, 10), b"");
}

#[test]
fn creating_a_file_again_empties_it() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    done(&mut disk, write(SEGMENT, 0, b"old"));
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    assert_eq!(read(&mut disk, 0, 10), b"");
}

#[test]
fn truncation_shortens_and_extends() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    done(&mut disk, write(SEGMENT, 0, b"abcdef"));
    done(&mut disk, DiskOp::Truncate { file: SEGMENT, len: 2 });
    done(&mut disk, DiskOp::Truncate { file: SEGMENT, len: 4 });
    assert_eq!(read(&mut disk, 0, 10), b"ab\0\0");
}

#[test]
fn a_rename_replaces_its_target_and_the_open_handle_follows() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    let (from, to) = (FileName::RootCredentialsTmp, FileName::RootCredentials);
    done(&mut disk, DiskOp::Create { file: to });
    done(&mut disk, write(to, 0, b"old"));
    done(&mut disk, DiskOp::Create { file: from });
    done(&mut disk, write(from, 0, b"new"));
    done(&mut disk, DiskOp::Rename { from, to });
    done(&mut disk, DiskOp::SyncDir);
    done(&mut disk, write(to, 3, b"er"));
    assert_eq!(fs::read(scratch.path().join("root-credentials")).expect("it was renamed"), b"newer");
    assert_eq!(failure(&mut disk, DiskOp::Sync { file: from }), DiskErrorKind::NotFound);
}

#[test]
fn every_file_is_readable_by_its_owner_alone() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    let path = scratch.path().join("root-credentials.tmp");
    fs::write(&path, b"left over").expect("the directory is writable");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("the file is ours");
    done(&mut disk, DiskOp::Create { file: FileName::RootCredentialsTmp });
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&scratch.path().join(SEGMENT.to_string())), 0o600);
}

#[test]
fn a_listing_has_our_files_with_their_lengths_in_order_and_nothing_else() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    done(&mut disk, DiskOp::Create { file: FileName::Wal(9) });
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    done(&mut disk, write(SEGMENT, 0, b"four"));
    done(&mut disk, DiskOp::Create { file: FileName::Hard(1) });
    fs::write(scratch.path().join("steadfast.lock"), b"").expect("the directory is writable");
    fs::write(scratch.path().join("wal-7"), b"not our spelling").expect("the directory is writable");
    let expected = vec![(FileName::Hard(1), 0), (SEGMENT, 4), (FileName::Wal(9), 0)];
    assert_eq!(disk.execute(DiskOp::List), Ok(DiskReply::Listing(expected)));
}

#[test]
fn a_directory_under_a_name_of_ours_is_an_error_and_not_an_empty_file() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    fs::create_dir(scratch.path().join("hard-0")).expect("the directory is writable");
    assert_eq!(failure(&mut disk, DiskOp::List), DiskErrorKind::Io);
}

#[test]
fn operations_on_a_missing_file_say_so_and_create_nothing() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    let missing = FileName::Wal(1);
    assert_eq!(failure(&mut disk, write(missing, 0, b"x")), DiskErrorKind::NotFound);
    assert_eq!(failure(&mut disk, DiskOp::Sync { file: missing }), DiskErrorKind::NotFound);
    assert_eq!(failure(&mut disk, DiskOp::Remove { file: missing }), DiskErrorKind::NotFound);
    assert_eq!(
        failure(&mut disk, DiskOp::Read { file: missing, offset: 0, len: 1 }),
        DiskErrorKind::NotFound
    );
    assert_eq!(disk.execute(DiskOp::List), Ok(DiskReply::Listing(vec![])));
}

#[test]
fn a_removed_file_is_gone_although_it_was_open() {
    let scratch = Scratch::new("disk");
    let mut disk = disk(&scratch);
    done(&mut disk, DiskOp::Create { file: SEGMENT });
    done(&mut disk, DiskOp::Remove { file: SEGMENT });
    assert_eq!(failure(&mut disk, write(SEGMENT, 0, b"x")), DiskErrorKind::NotFound);
}

#[test]
fn a_full_disk_and_a_quota_are_told_apart_from_other_failures() {
    // /dev/full answers every write with ENOSPC, so this is the kernel's error and not a made-up one.
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has /dev/full");
    let error = full.write_all_at(b"x", 0).expect_err("the device is always full");
    assert_eq!(kind_of(&error), DiskErrorKind::NoSpace);
    assert_eq!(kind_of(&io::Error::from(ErrorKind::QuotaExceeded)), DiskErrorKind::NoSpace);
    assert_eq!(kind_of(&io::Error::other("anything")), DiskErrorKind::Io);
}
