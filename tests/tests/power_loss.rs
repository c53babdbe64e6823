//! Power losses, on a file system that really forgets what was not synced: it is shut down under a server that is
//! written to, again and again, and after each time every acknowledged write must be there. `STEADFAST_POWER_LOSSES`
//! says how often, 10 times unless it does; `STEADFAST_SEED` repeats the moments of a failed run.

#![cfg(target_os = "linux")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use steadfast::Config;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::filesystem::{self, Filesystem};
use steadfast_tests::load::{self, Dice, Load, Tally};
use steadfast_tests::process::Options;
use steadfast_tests::recording::Recording;
use steadfast_tests::scratch::{Scratch, free_addresses};
use steadfast_tests::strace;

/// Writes that must be acknowledged before the power goes again.
const PROGRESS: u64 = 100;
/// More than two snapshots and the log between them take.
const MIB: u64 = 96;

#[test]
fn a_node_that_loses_power_again_and_again_loses_and_doubles_nothing() {
    if !filesystem::available("whether acknowledged writes survive power losses") {
        return;
    }
    let (begun, losses, mut dice) = (Instant::now(), number("STEADFAST_POWER_LOSSES", 10), dice());
    let scratch = Scratch::new("power-loss");
    let mut disk = Filesystem::new(scratch.path(), MIB);
    let address = free_addresses(1).remove(0);
    let options = Options::new(&scratch.join("node"), ["--listen", &address]).small_files();
    let options = options.data_at(&disk.path().join("data"));
    let mut server = options.start();
    let (user, password) = server.credentials();
    let config = Config::new([address]).credentials(user.clone(), password);
    let load = Load::start(&config, &user, &Recording::default());
    for loss in 0..losses {
        load.progress(PROGRESS);
        sleep(millis(dice.below(200)));
        if loss % 3 == 2 {
            // What it wrote and did not sync can still be read, until the power goes.
            server.kill();
            server = options.launch();
            sleep(millis(dice.below(100)));
        }
        disk.lose_power();
        // Whatever is acknowledged from now on rests on nothing.
        sleep(millis(dice.below(30)));
        server.kill();
        let told = load.tally();
        disk.restore_power();
        if loss % 3 == 1 {
            lose_power_at_the_start(&mut disk, &options, millis(dice.below(40)));
        }
        server = options.start();
        nothing_is_lost(&told, &config, loss);
        load.next_round();
    }
    load.progress(PROGRESS);
    let tally = load.stop();
    exact(&tally, &config);
    let log = server.log();
    assert_eq!(server.stop(), Some(0));
    let starts = log.matches("data directory read").count() as u64;
    let (segments, snapshots) = (newest_segment(&options), log.matches("snapshot taken").count() as u64);
    assert!(snapshots > losses / 4, "snapshots were taken meanwhile: {snapshots}");
    assert!(segments > starts, "segments were finished meanwhile: {segments}, and {starts} starts");
    eprintln!(
        "{losses} power losses in {:.1}s: {} ok, {starts} starts, {segments} segments, {snapshots} snapshots",
        begun.elapsed().as_secs_f64(),
        tally.ok
    );
}

#[test]
fn three_nodes_that_lose_power_together_lose_and_double_nothing() {
    if !filesystem::available("whether acknowledged writes survive a power loss of all nodes") {
        return;
    }
    let (losses, mut dice) = (number("STEADFAST_POWER_LOSSES", 10) / 3, dice());
    let scratch = Scratch::new("power-loss");
    let mut disk = Filesystem::new(scratch.path(), 2 * MIB);
    let mut cluster = Cluster::start_with("power-loss", |place, options| {
        options.data_at(&disk.path().join(format!("node{}", place + 1))).small_files()
    });
    let (config, (user, _)) = (cluster.config(), cluster.credentials());
    let load = Load::start(&config, &user, &Recording::default());
    for loss in 0..losses {
        load.progress(PROGRESS);
        sleep(millis(dice.below(200)));
        disk.lose_power();
        sleep(millis(dice.below(30)));
        (0..3).for_each(|place| cluster.kill(place));
        let told = load.tally();
        disk.restore_power();
        (0..3).for_each(|place| cluster.restart(place));
        nothing_is_lost(&told, &config, loss);
        load.next_round();
    }
    load.progress(PROGRESS);
    exact(&load.stop(), &config);
    assert_eq!(cluster.stop(), [Some(0); 3]);
}

#[test]
fn a_server_whose_syncs_lie_is_found_out_by_a_power_loss() {
    let what = "whether a power loss is one";
    if !filesystem::available(what) || !strace::available() {
        return;
    }
    assert_eq!(
        lost_at_a_power_loss(false),
        [] as [&str; 0],
        "all that an honest server acknowledged is there"
    );
    let lost = lost_at_a_power_loss(true);
    eprintln!("a liar lost {} of its writes", lost.len());
    assert!(!lost.is_empty(), "what was acknowledged and never synced can't be there");
}

/// Writes for a moment, then lets the power go while nothing is under way; gives the acknowledged writes that are lost.
/// A liar runs on a kernel that is told that every sync is done, and never does one.
fn lost_at_a_power_loss(lies: bool) -> Vec<String> {
    let scratch = Scratch::new("power-loss");
    let mut disk = Filesystem::new(scratch.path(), MIB);
    let data = disk.path().join("data");
    let address = free_addresses(1).remove(0);
    let options = Options::new(&scratch.join("node"), ["--listen", &address]).data_at(&data);
    // The founding is honest: a cluster that is lost as a whole is not found again by its clients.
    let founded = options.start();
    let (user, password) = founded.credentials();
    let config = Config::new([address]).credentials(user.clone(), password);
    assert_eq!(founded.stop(), Some(0));
    let note = scratch.join("forged");
    let writing = match lies {
        true => options.clone().under(strace::forger("fdatasync,fsync", "retval=0", &[], &note)),
        false => options.clone(),
    };
    let server = writing.start();
    let load = Load::start(&config, &user, &Recording::default());
    load.progress(2 * PROGRESS);
    let told = load.stop();
    disk.lose_power();
    server.kill();
    disk.restore_power();
    let _server = options.start();
    told.lost(&load::read(&config, &told.keys()))
}

/// The power is back, a server starts, and the power goes again while it recovers.
fn lose_power_at_the_start(disk: &mut Filesystem, options: &Options, after: Duration) {
    let starting = options.launch();
    sleep(after);
    disk.lose_power();
    starting.kill();
    disk.restore_power();
}

fn nothing_is_lost(told: &Tally, config: &Config, loss: u64) {
    assert!(told.created.len() > 1 && told.counters["counter/all"].0 > 0, "the clients were at work");
    let lost = told.lost(&load::read(config, &told.keys()));
    assert!(lost.is_empty(), "after power loss {loss}: {lost:#?}");
}

/// In the end, counters are what their clients were told; those in sessions to the last one.
fn exact(tally: &Tally, config: &Config) {
    let values = load::read(config, &tally.keys());
    assert_eq!(tally.lost(&values), [] as [&str; 0]);
    assert_eq!(tally.doubled(&values), [] as [&str; 0]);
    assert_eq!(tally.counters["counter/all"].1, 0, "in a session no outcome stays unknown");
    assert_eq!(tally.failed, Default::default(), "nobody was refused for good");
}

/// The number of the newest segment of the log.
fn newest_segment(options: &Options) -> u64 {
    let names =
        std::fs::read_dir(options.data()).expect("it is mounted").flatten().map(|file| file.file_name());
    let numbers = names.filter_map(|name| u64::from_str_radix(name.to_str()?.strip_prefix("wal-")?, 16).ok());
    numbers.max().expect("there is a log")
}

/// Where the moments of the losses come from.
fn dice() -> Dice {
    let seed = number("STEADFAST_SEED", u64::from(std::process::id()));
    eprintln!("to repeat this: STEADFAST_SEED={seed}");
    Dice(seed)
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
