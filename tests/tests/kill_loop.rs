//! Three real processes, ten clients, and a leader that is killed with SIGKILL again and again. `STEADFAST_KILLS` says
//! how often; 30 times unless it does.

use std::time::Instant;

use steadfast_core::state::effect::Effect;
use steadfast_core::types::{Blob, Index};
use steadfast_sim::check::log::LogEntry;
use steadfast_sim::check::{self, Verdict};
use steadfast_sim::history::History;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::load::{Load, Tally};
use steadfast_tests::recording::{self, Recording};
use steadfast_tests::{final_log, load};

/// Writes that must be acknowledged after a kill before the next one.
const PROGRESS: u64 = 50;

#[test]
fn no_acknowledged_write_is_lost_or_doubled_while_leaders_are_killed() {
    let kills: usize =
        std::env::var("STEADFAST_KILLS").map_or(30, |text| text.parse().expect("a number of kills"));
    let begun = Instant::now();
    let mut cluster = Cluster::start("kill-loop");
    let recording = Recording::default();
    let (user, _) = cluster.credentials();
    let load = Load::start(&cluster.config(), &user, &recording);
    load.progress(PROGRESS);
    for kill in 0..kills {
        kill_leader(&mut cluster, &load, kill);
        load.next_round();
    }
    let tally = load.stop();
    eprintln!(
        "{kills} kills in {:.1}s: {} ok, {:?} failed, {} unknown",
        begun.elapsed().as_secs_f64(),
        tally.ok,
        tally.failed,
        tally.unknown
    );
    check_tally(&cluster, &tally, &recording, &user);
    assert_eq!(cluster.stop(), [Some(0); 3], "every server stops cleanly");
    let records = recording.records();
    let file = cluster.scratch().join("history.jsonl");
    recording::save(&records, &file).expect("the history can be written");
    assert_eq!(
        recording::load(&file).expect("the history can be read"),
        records,
        "a saved history is the same"
    );
    let history = History::from_records(&records).expect("the recording is a history");
    let log = final_log::committed(&cluster, &history);
    assert_eq!(check::judge(&history, &log), Verdict::Passed, "see {}", file.display());
    judges_are_awake(&history, &log, &tally);
    eprintln!(
        "{} operations judged against {} entries after {:.1}s",
        history.ops.len(),
        log.len(),
        begun.elapsed().as_secs_f64()
    );
}

/// One kill. Mostly the others must go on alone; sometimes the killed node is back at once and meets the election,
/// and sometimes all three die together and nothing but the disks is left.
fn kill_leader(cluster: &mut Cluster, load: &Load, kill: usize) {
    let leader = cluster.leader();
    match kill % 5 {
        3 => {
            cluster.kill(leader);
            cluster.restart(leader);
        }
        4 => {
            (0..3).for_each(|place| cluster.kill((leader + place) % 3));
            (0..3).for_each(|place| cluster.restart(place));
        }
        _ => {
            cluster.kill(leader);
            load.progress(PROGRESS);
            cluster.restart(leader);
        }
    }
    load.progress(PROGRESS);
}

/// What the clients counted themselves, against what one more client of the history reads in the end.
fn check_tally(cluster: &Cluster, tally: &Tally, recording: &Recording, user: &str) {
    let observer = recording.observer(load::IN_SESSIONS + load::WITHOUT, user);
    tally.check(&cluster.config().observer(observer));
}

/// The same history against a log in which one acknowledged write is missing, and one in which it happened twice.
fn judges_are_awake(history: &History, log: &[LogEntry], tally: &Tally) {
    let (key, _) = tally.created.iter().next().expect("a unique key was created");
    let key = Blob::from(key.as_str());
    let puts_it = |effect: &Effect| matches!(effect, Effect::Put { key: put, .. } if *put == key);
    let at =
        log.iter().position(|entry| entry.entry.effects.iter().any(puts_it)).expect("the log has the write");
    let mut lost = log.to_vec();
    lost[at].entry.effects.retain(|effect| !puts_it(effect));
    assert!(check::judge(history, &lost).failed(), "a lost write is noticed");
    let mut doubled = log.to_vec();
    doubled.insert(at + 1, log[at].clone());
    doubled.iter_mut().zip(1..).for_each(|(entry, index)| entry.index = Index(index));
    assert!(check::judge(history, &doubled).failed(), "a doubled write is noticed");
}
