//! Saved schedules: each broke something once, and must pass for ever.

use std::path::Path;

use steadfast_sim::run::{self, Verdict};
use steadfast_sim::schedule::Schedule;

#[test]
fn every_saved_schedule_says_what_it_broke_and_passes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/schedules");
    let mut files: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(!files.is_empty(), "there are saved schedules");
    for path in files {
        let schedule = Schedule::from_json(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(!schedule.note.is_empty(), "{} says what it broke", path.display());
        assert_eq!(run::twice(&schedule).verdict, Verdict::Passed, "{}", path.display());
    }
}
