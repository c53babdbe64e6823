//! The explorer on tiny workloads, and the controls: what the judge must reject.

use std::sync::Arc;

use steadfast_core::io::FileName;
use steadfast_core::state::State;
use steadfast_core::types::{Index, NodeId, Term};

use super::image::{Content, Image};
use super::judge::{Found, judge, restart};
use super::ledger::{Ledger, Told};
use super::recording::{Point, Recording};
use super::report;
use super::script::{self, End, Named, Step, Who, Written};
use super::search::{self, Name, Plan, Totals};
use super::variants::{Bounds, Variants};

const TINY: [Named; 4] = [
    ("founding", Step::Found),
    ("writes", Step::Write(2, 400)),
    ("power loss", Step::Stop(Who::Leader, End::Power)),
    ("last writes", Step::Write(1, 700)),
];

/// Long enough for snapshots; the last one takes the place of the log.
const SNAPSHOTS: [Named; 4] = [
    ("founding", Step::Found),
    ("power loss after a snapshot's rename", Step::StopSnapshot(Who::Leader, Written::Renamed)),
    ("writes during a snapshot", Step::Walk(Who::Leader)),
    ("last writes", Step::Write(1, 700)),
];

fn plan(nodes: u16, jobs: usize, recoveries: usize, older: u8) -> Plan {
    let plan = Plan::new(nodes, 1, false, jobs);
    Plan {
        script: TINY.to_vec(),
        required: vec![("founding", 1), ("power loss", 1), ("recovery", 1)],
        recoveries,
        bounds: Bounds { older, ..plan.bounds },
        nested: Bounds { older, ..plan.nested },
        ..plan
    }
}

fn tiny(nodes: u16, jobs: usize, recoveries: usize) -> Totals {
    search::run(&plan(nodes, jobs, recoveries, 0), &|_, _| {})
}

fn recorded(nodes: u16) -> Recording {
    record(nodes, &TINY)
}

fn record(nodes: u16, script: &[Named]) -> Recording {
    let (recording, ended) = script::record(nodes, 1, script);
    assert_eq!(ended, None);
    recording
}

/// The image of a boundary in which everything pending was kept.
fn kept(recording: &Recording, boundary: usize) -> Image {
    let at = &recording.boundaries[boundary];
    let variants = Variants::of(&recording.moments[at.moment].moment, &Bounds::NESTED, 1, 0);
    let all = (0..variants.len()).find(|at| variants.kind(*at) == "all");
    variants.image(all.unwrap_or(0))
}

/// The last boundary of the node that promised most, what a restart finds there, and what it had promised.
fn honest(recording: &Recording, nodes: u16) -> (usize, Found, Ledger) {
    let votes = |at: usize| {
        let ledger = &recording.boundaries[at].ledger;
        ledger.vote.is_some_and(|(term, _)| term == ledger.term) || nodes == 1
    };
    let last = (0..recording.boundaries.len()).rev().find(|at| votes(*at)).unwrap();
    let at = &recording.boundaries[last];
    let found = restart(recording, nodes, at.node, kept(recording, last));
    let ledger = (*at.ledger).clone();
    assert_eq!(judge(&found, &ledger, at.committed, recording), Ok(()), "{}", found.describe());
    (last, found, ledger)
}

#[test]
fn a_tiny_workload_is_explored_to_its_last_boundary_and_passes() {
    for (nodes, recoveries) in [(1, 4), (3, 0)] {
        let totals = tiny(nodes, 2, recoveries);
        let (boundaries, covered) = totals.boundaries();
        assert!(boundaries > 150 && covered == boundaries, "{covered} of {boundaries}");
        assert!(totals.distinct > 500 && totals.inner_boundaries >= 25 * recoveries as u64);
        assert_eq!((totals.failed, totals.exit_code()), (0, 0), "{}", report::text(&totals));
    }
}

#[test]
fn a_kill_and_then_a_power_loss_leave_no_doubt() {
    let totals = tiny(3, 2, 400);
    assert_eq!(totals.failed, 0, "{}", report::text(&totals));
}

#[test]
fn snapshots_are_explored_and_pass() {
    for nodes in [1, 3] {
        let plan = plan(nodes, 2, 20, 0);
        let required =
            vec![("snapshot taken", 1), ("row kept for a snapshot", 1), ("power loss in a snapshot", 1)];
        let (script, bounds) = (SNAPSHOTS.to_vec(), plan.nested);
        let totals = search::run(&Plan { script, required, bounds, ..plan }, &|_, _| {});
        assert_eq!((totals.failed, totals.exit_code()), (0, 0), "{}", report::text(&totals));
    }
}

#[test]
fn old_bytes_in_a_new_file_are_no_damage() {
    let totals = search::run(&plan(1, 2, 400, 2), &|_, _| {});
    assert_eq!(totals.failed, 0, "{}", report::text(&totals));
}

#[test]
fn the_figures_do_not_depend_on_the_number_of_threads() {
    let line = |totals: Totals| report::totals_line(&Totals { seconds: 0.0, ..totals });
    assert_eq!(line(tiny(1, 1, 4)), line(tiny(1, 3, 4)));
}

#[test]
fn the_whole_scripts_bring_about_all_that_they_must() {
    for (nodes, script) in [(1, script::alone()), (3, script::three())] {
        let (recording, ended) = script::record(nodes, 7, &script);
        assert_eq!(ended, None);
        assert_eq!(script::missing(&script::required(nodes), &recording), Vec::<String>::new());
        for point in Point::ALL {
            let met = recording.boundaries.iter().any(|boundary| boundary.point == point);
            assert!(met || (nodes == 1 && point == Point::Frame), "no boundary \"{point}\"");
        }
    }
}

#[test]
fn a_script_that_stops_covering_something_fails() {
    let missing = script::missing(&script::required(3), &recorded(3));
    assert!(missing.iter().any(|what| what.contains("conflict truncation")), "{missing:?}");
    let totals = Totals { unrecorded: missing, ..Totals::default() };
    assert_eq!(totals.exit_code(), 1);
}

#[test]
fn every_promise_that_a_restart_has_forgotten_is_missed() {
    let recording = recorded(3);
    let (_, found, ledger) = honest(&recording, 3);
    let rejects = |what: &str, change: &dyn Fn(&mut Found)| {
        let mut found = found.clone();
        change(&mut found);
        let verdict = judge(&found, &ledger, recording.last_committed(), &recording);
        assert!(verdict.is_err(), "{what} passes: {} after {}", found.describe(), ledger.describe());
    };
    rejects("a term rolled back", &|found| found.term = Term(ledger.term.0 - 1));
    rejects("a forgotten vote", &|found| found.vote = None);
    rejects("another vote", &|found| found.vote = Some(NodeId(7)));
    rejects("a lost boot", &|found| found.boot = ledger.boot);
    rejects("a new directory", &|found| found.incarnation = Some(Default::default()));
    rejects("a forgotten founding", &|found| found.founding = Told::Nothing);
    rejects("a needless doubt", &|found| found.doubtful = true);
    rejects("a lost entry", &|found| {
        Arc::make_mut(&mut found.log).truncate(ledger.log.len() - 1);
    });
    rejects("an entry with other bytes", &|found| Arc::make_mut(&mut found.log)[0].1 ^= 1);
    rejects("an entry of another term", &|found| Arc::make_mut(&mut found.log)[0].0 = Term(99));
    rejects("an entry that nobody proposed", &|found| {
        let last = *found.log.last().unwrap();
        Arc::make_mut(&mut found.log).push((last.0, 17));
    });
    rejects("a node that does not start", &|found| found.died = Some("damaged".into()));
}

#[test]
fn a_snapshot_that_covers_what_it_may_not_or_holds_another_state_is_missed() {
    for nodes in [1, 3] {
        let recording = record(nodes, &SNAPSHOTS);
        let (_, found, ledger) = honest(&recording, nodes);
        let committed = recording.last_committed();
        let start = found.start;
        assert!(start > Index(5) && ledger.snapshot == start, "{}", found.describe());
        assert!(
            judge(&found, &ledger, start.prev(), &recording).is_err(),
            "its last entry was not committed"
        );
        let rejects = |what: &str, change: &dyn Fn(&mut Found, &mut Ledger)| {
            let (mut found, mut ledger) = (found.clone(), ledger.clone());
            change(&mut found, &mut ledger);
            let verdict = judge(&found, &ledger, committed, &recording);
            assert!(verdict.is_err(), "{what} passes: {} after {}", found.describe(), ledger.describe());
        };
        rejects("another state", &|found, _| found.digest ^= 1);
        rejects("the state of the entry before", &|found, _| {
            found.digest = recording.committed_at(found.applied.prev()).unwrap().digest;
        });
        rejects("a lost snapshot", &|found, _| found.start = Index(0));
        rejects("a snapshot that was never begun", &|_, ledger| ledger.begun = Arc::default());
        // With the right state, and the log behind it as it was.
        rejects("a start beyond what was vouched for", &|found, ledger| {
            let last = ledger.log.len() as u64 + 1;
            (found.start, found.log) = (Index(last), Arc::default());
            found.applied = found.start;
            found.digest = recording.committed_at(found.start).map_or(0, |it| it.digest);
        });
        rejects("a gap behind the snapshot", &|found, ledger| {
            Arc::make_mut(&mut ledger.begun).insert(start.prev());
            (found.start, ledger.snapshot) = (start.prev(), start.prev());
            found.applied = start.prev();
            found.digest = recording.committed_at(start.prev()).unwrap().digest;
        });
        rejects("a log that the snapshot's entry does not come before", &|found, ledger| {
            let log = Arc::make_mut(&mut ledger.log);
            log.truncate(start.0 as usize);
            let (index, term) = (start.next(), Term(99));
            assert!(!recording.proposed.contains_key(&(index, term)));
            found.log = Arc::new(vec![(term, 1)]);
        });
    }
}

#[test]
fn entries_that_a_snapshot_supersedes_may_go_and_those_before_may_not() {
    let recording = record(3, &SNAPSHOTS);
    let (_, mut found, mut ledger) = honest(&recording, 3);
    let committed = recording.last_committed();
    // It had led, and had appended two entries that nobody else has.
    let own = (Term(0), 7);
    Arc::make_mut(&mut ledger.log).truncate(found.start.0 as usize - 1);
    Arc::make_mut(&mut ledger.log).extend([own, own]);
    found.log = Arc::default();
    assert_eq!(judge(&found, &ledger, committed, &recording), Ok(()));
    let at = found.start.0 as usize - 1;
    Arc::make_mut(&mut ledger.log)[at] = recording.committed[at].entry;
    assert!(judge(&found, &ledger, committed, &recording).is_err(), "what follows a committed entry stays");
}

#[test]
fn a_state_that_the_log_does_not_give_and_a_lost_password_are_missed() {
    let mut recording = recorded(1);
    let (last, mut found, ledger) = honest(&recording, 1);
    assert!(ledger.credentials && ledger.acknowledged > Index(3));
    found.credentials = false;
    assert!(judge(&found, &ledger, recording.last_committed(), &recording).is_err());
    // An acknowledged write that is in the log, and not in the state.
    recording.committed.truncate(ledger.acknowledged.0 as usize);
    recording.committed.last_mut().unwrap().state = Arc::new(State::new((1, 2)));
    let image = kept(&recording, last);
    let found = restart(&recording, 1, 0, image);
    let verdict = judge(&found, &ledger, recording.last_committed(), &recording);
    assert!(verdict.is_err_and(|what| what.contains("state") || what.contains("panics")));
}

#[test]
fn a_disk_that_goes_back_in_time_is_missed_wherever_something_was_promised_since() {
    for nodes in [1, 3] {
        let recording = recorded(nodes);
        let (last, _, ledger) = honest(&recording, nodes);
        let node = recording.boundaries[last].node;
        let mine = (0..last).filter(|at| recording.boundaries[*at].node == node).step_by(7);
        let older = mine.filter(|at| recording.boundaries[*at].ledger.log.len() < ledger.log.len());
        let mut tried = 0;
        for at in older {
            let found = restart(&recording, nodes, node, kept(&recording, at));
            // What was pending then may already have been all.
            let enough = found.log.len() >= ledger.log.len();
            assert!(
                enough || judge(&found, &ledger, recording.last_committed(), &recording).is_err(),
                "{}",
                found.describe()
            );
            tried += usize::from(!enough);
        }
        assert!(tried > 5, "{tried}");
    }
}

#[test]
fn a_durable_sector_that_rots_is_missed() {
    let recording = recorded(1);
    let (last, _, ledger) = honest(&recording, 1);
    let image = kept(&recording, last);
    let mut rotten = 0;
    for file in image.files.keys().filter(|file| matches!(file, FileName::Wal(_))) {
        let bytes = image.files[file].bytes();
        for sector in (0..bytes.len() / 512).filter(|at| bytes[at * 512..][..512].iter().any(|b| *b != 0)) {
            let mut image = image.clone();
            let content = image.files.get_mut(file).unwrap();
            Content::change(content, |bytes| bytes[sector * 512..][..512].fill(0xa5));
            let found = restart(&recording, 1, 0, image);
            let verdict = judge(&found, &ledger, recording.last_committed(), &recording);
            rotten += usize::from(verdict.is_err());
        }
    }
    assert!(rotten > 5, "{rotten} of the log's sectors were missed when they rotted");
}

#[test]
fn an_image_is_named_as_it_is_printed() {
    for name in [Name { outer: (17, 4), inner: None }, Name { outer: (2, 0), inner: Some((31, 9)) }] {
        assert_eq!(report::parse_name(&report::name(name)), Ok(name));
    }
    assert!(report::parse_name("17").is_err() && report::parse_name("1:2/3").is_err());
    let plan = Plan { script: TINY.to_vec(), ..Plan::new(1, 1, false, 1) };
    let (text, passed) = search::only(&plan, Name { outer: (60, 1), inner: Some((5, 1)) }).unwrap();
    assert!(passed && text.contains("verdict   passed") && text.contains("promised  "), "{text}");
    assert!(search::only(&plan, Name { outer: (100_000, 0), inner: None }).is_err());
}
