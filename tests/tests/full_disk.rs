//! Disks that are really full: a small file system is written to until no more goes in. Nothing acknowledged is lost, no
//! half record stays, whoever is refused is told the cause, and once there is space it goes on.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast::client::Failure;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::filesystem::{self, Filesystem};
use steadfast_tests::ledger::{Ledger, Told, tell};
use steadfast_tests::process::{Options, Process};
use steadfast_tests::raw::RawClient;
use steadfast_tests::scratch::{Scratch, wait_for};

/// The whole file system.
const MIB: u64 = 24;
/// What somebody else has on it, and can be talked into removing: more than twice what is left then, as a snapshot wants
/// to lie beside the one before it.
const BALLAST: u64 = 16;
/// More bytes than fit beside the ballast.
const BEYOND: u64 = 14 << 20;
/// The length of a value.
const VALUE: usize = 64 << 10;

#[test]
fn a_node_on_a_full_disk_loses_nothing_and_goes_on_once_there_is_space() {
    for small_files in [false, true] {
        if !filesystem::available("what a full disk does to a node") {
            return;
        }
        let scratch = Scratch::new("full-disk");
        let disk = Filesystem::new(scratch.path(), MIB);
        let ballast = ballast(disk.path(), BALLAST);
        let options = Options::single(&scratch.join("node"))
            .data_at(&disk.path().join("data"))
            .files(1 << 20, 64 << 20);
        let options = if small_files { options.small_files() } else { options };
        let mut server = options.start();
        let mut ledger = Ledger::default();
        fill(&mut server, &mut ledger);
        assert!(ledger.acknowledged() > 20, "{} writes went in", ledger.acknowledged());
        if !server.is_running() {
            names_the_cause(server.wait(), &server.log());
            // What was left of a snapshot may be removed, and be space enough.
            if let Err((code, said)) = options.try_start() {
                names_the_cause(Some(code), &said);
            }
        }
        fs::remove_file(&ballast).expect("somebody makes space");
        if !server.is_running() {
            server = options.start();
        }
        goes_on(&server, &mut ledger);
        assert_eq!(server.stop(), Some(0));
        let again = options.start();
        assert_eq!(ledger.wrong(&mut again.raw()), [] as [&str; 0], "no half record stayed");
    }
}

#[test]
fn a_node_on_a_full_disk_still_reads_and_deletes() {
    if !filesystem::available("whether a node on a full disk reads and deletes") {
        return;
    }
    let (_disk, ballast, options) = a_lone_node_on_a_small_disk();
    let mut server = options.start();
    let mut ledger = Ledger::default();
    let refusal = fill(&mut server, &mut ledger);
    assert!(server.is_running(), "it stays up: {}", server.log());
    let words = refusal.expect("a server that stays up refuses").to_string().to_lowercase();
    assert!(words.contains("disk") && words.contains("space"), "the error names the cause: {words}");
    let mut client = server.raw();
    assert_eq!(ledger.wrong(&mut client), [] as [&str; 0], "reads go on");
    for _ in 0..5 {
        let told = ledger.delete(&mut client);
        assert!(told.is_ok(), "deletes go on: {told:?}");
    }
    assert_eq!(ledger.wrong(&mut client), [] as [&str; 0]);
    fs::remove_file(ballast).expect("somebody makes space");
    goes_on(&server, &mut ledger);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(ledger.wrong(&mut options.start().raw()), [] as [&str; 0]);
}

#[test]
fn a_node_starts_on_a_full_disk() {
    if !filesystem::available("whether a node starts on a full disk") {
        return;
    }
    let (disk, ballast, options) = a_lone_node_on_a_small_disk();
    let mut server = options.start();
    let mut ledger = Ledger::default();
    fill(&mut server, &mut ledger);
    for round in 0..4 {
        server.kill();
        take_what_is_left(disk.0.path());
        server = match options.try_start() {
            Ok(server) => server,
            Err((code, said)) => panic!("start {round} on a full disk ends with {code}: {said}"),
        };
        let mut client = server.raw();
        assert_eq!(ledger.wrong(&mut client), [] as [&str; 0], "nothing is lost");
        let told = ledger.delete(&mut client);
        assert!(told.is_ok(), "deletes go on: {told:?}");
    }
    fs::remove_file(ballast).expect("somebody makes space");
    goes_on(&server, &mut ledger);
}

#[test]
fn a_small_snapshot_of_a_long_log_finds_the_space_that_it_takes() {
    if !filesystem::available("whether a full disk's log is shortened") {
        return;
    }
    let (disk, _ballast, options) = a_lone_node_on_a_small_disk();
    // None is due by itself.
    let server = options.files(1 << 20, 1 << 30).start();
    let mut client = server.raw();
    let value = "v".repeat(VALUE);
    // One key over and over: a log that grows, and a state that does not.
    for megabyte in 0..12 {
        if megabyte == 3 {
            take_what_is_left(disk.0.path());
            give_back(disk.0.path(), 600 << 10);
        }
        for _ in 0..(1 << 20) / VALUE {
            wait_for("the log to be shortened", || {
                tell(&mut client, &["SET", "same", &value]).is_ok().then_some(())
            });
        }
    }
    let log = server.log();
    assert!(log.matches("snapshot taken").count() >= 2, "it was shortened again and again: {log}");
}

#[test]
fn a_cluster_whose_leader_has_a_full_disk_loses_nothing_and_goes_on_once_there_is_space() {
    if !filesystem::available("what a full disk does to a cluster") {
        return;
    }
    let (_disk, mut cluster, ballast) = three_one_of_which_is_almost_full();
    let mut ledger = Ledger::default();
    let mut client = cluster.raw(1);
    let most = (BEYOND / VALUE as u64) as usize;
    let told = (0..most).map(|_| ledger.write(&mut client, VALUE)).find(|told| !told.is_ok());
    assert!(ledger.acknowledged() > 20, "{} writes went in before {told:?}", ledger.acknowledged());
    assert_eq!(ledger.wrong(&mut cluster.raw(2)), [] as [&str; 0], "reads go on");
    fs::remove_file(ballast).expect("somebody makes space");
    comes_back(&mut cluster);
    let mut client = cluster.raw(1);
    wait_for("writes to be accepted", || tell(&mut client, &["SET", "a", "b"]).is_ok().then_some(()));
    ledger.write_all(&mut client, 10, VALUE);
    cluster.make_leader(0);
    assert_eq!(ledger.wrong(&mut cluster.raw(0)), [] as [&str; 0]);
}

#[test]
fn a_cluster_goes_on_without_the_leader_whose_disk_is_full() {
    if !filesystem::available("whether a cluster goes on when its leader's disk is full") {
        return;
    }
    let (_disk, mut cluster, ballast) = three_one_of_which_is_almost_full();
    let mut ledger = Ledger::default();
    let mut client = cluster.raw(1);
    wait_for("the others to acknowledge more than the first leader can hold", || {
        if ledger.write(&mut client, VALUE) == Told::Unknown {
            client = cluster.raw(1);
        }
        (ledger.acknowledged() as u64 * VALUE as u64 > BEYOND).then_some(())
    });
    assert_eq!(ledger.wrong(&mut cluster.raw(2)), [] as [&str; 0]);
    fs::remove_file(ballast).expect("somebody makes space");
    comes_back(&mut cluster);
    // It counts again: it leads, and knows everything.
    cluster.make_leader(0);
    assert_eq!(ledger.wrong(&mut cluster.raw(0)), [] as [&str; 0]);
}

/// How to start a node, the small file system that it is on, which must outlive it, and the ballast there.
fn a_lone_node_on_a_small_disk() -> ((Filesystem, Scratch), PathBuf, Options) {
    let scratch = Scratch::new("full-disk");
    let disk = Filesystem::new(scratch.path(), MIB);
    let ballast = ballast(disk.path(), BALLAST);
    let options =
        Options::single(&scratch.join("node")).data_at(&disk.path().join("data")).files(1 << 20, 64 << 20);
    ((disk, scratch), ballast, options)
}

/// Three nodes of which the first leads and has 12 MiB left; its file system, which must outlive them, and its ballast.
fn three_one_of_which_is_almost_full() -> ((Filesystem, Scratch), Cluster, PathBuf) {
    let scratch = Scratch::new("full-disk");
    let disk = Filesystem::new(scratch.path(), 2 * MIB);
    let mut cluster = Cluster::start_with("full-disk", |place, options| match place {
        0 => options.data_at(&disk.path().join("data")).files(1 << 20, 64 << 20),
        _ => options.files(1 << 20, 64 << 20),
    });
    let _ = cluster.credentials();
    let ballast = ballast(disk.path(), 2 * MIB - 12);
    cluster.make_leader(0);
    ((disk, scratch), cluster, ballast)
}

/// There is space for the first node: it runs on, or has named the cause and is started again.
fn comes_back(cluster: &mut Cluster) {
    let mut full = cluster.nodes[0].take().expect("it was started");
    if full.is_running() {
        cluster.nodes[0] = Some(full);
    } else {
        names_the_cause(full.wait(), &full.log());
        cluster.restart(0);
    }
}

/// Writes until one is refused, or the server ends; the refusal. The write that meets the end of the space may have to
/// wait for some, and then its outcome is unknown.
fn fill(server: &mut Process, ledger: &mut Ledger) -> Option<Failure> {
    for _ in 0..(MIB << 20) as usize / VALUE {
        let mut client = server.try_raw()?;
        let told = loop {
            let told = ledger.write(&mut client, VALUE);
            if !told.is_ok() {
                break told;
            }
        };
        if let Told::Refused(failure) = told {
            return Some(failure);
        }
    }
    panic!("more was acknowledged than the disk holds");
}

/// There is space: everything is there, and more goes in.
fn goes_on(server: &Process, ledger: &mut Ledger) {
    let mut client: RawClient = server.raw();
    assert_eq!(ledger.wrong(&mut client), [] as [&str; 0], "nothing is lost, and nothing refused is there");
    wait_for("writes to be accepted", || {
        tell(&mut client, &["SET", "again", "accepted"]).is_ok().then_some(())
    });
    ledger.write_all(&mut client, 10, VALUE);
    assert_eq!(ledger.wrong(&mut client), [] as [&str; 0]);
}

/// The end of a server on a full disk.
fn names_the_cause(code: Option<i32>, said: &str) {
    assert_eq!(code, Some(5), "{said}");
    for part in
        ["the disk is full", "No space left on device", "Free some space", "Everything acknowledged is safe"]
    {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// Every byte that is free is used by somebody else.
fn take_what_is_left(directory: &Path) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("neighbour"))
        .expect("a name needs no space");
    for len in [1 << 20, 4096, 512] {
        while file.write_all(&vec![1; len]).and_then(|()| file.sync_all()).is_ok() {}
    }
}

/// Somebody else leaves so many bytes.
fn give_back(directory: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(directory.join("neighbour")).expect("it was made");
    let len = file.metadata().expect("it has a length").len();
    file.set_len(len - bytes).and_then(|()| file.sync_all()).expect("less takes no space");
}

/// A file that takes space.
fn ballast(directory: &Path, mib: u64) -> PathBuf {
    let file = directory.join("ballast");
    let made = Command::new("fallocate").args(["-l", &format!("{mib}MiB")]).arg(&file).status();
    assert!(made.is_ok_and(|status| status.success()), "there is space for the ballast");
    file
}
