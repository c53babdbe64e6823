//! The log gives the state, and no other.

use steadfast_core::state::State;
use steadfast_core::types::Index;

use super::Bench;
use crate::check::Verdict;
use crate::check::replay::judge;

/// A log with the digest that a node has after each entry.
fn log() -> (Bench, Vec<(Index, u64)>) {
    let mut b = Bench::new();
    let session = b.session(1);
    for line in ["SET k v PX 100", "INCRBY c 1", "PERSIST k", "DEL c"] {
        b.run(1, line);
    }
    b.run_once(1, session, 1, "SET j x");
    b.run_as(1, "root", "USER ADD bob secret");
    let mut state = State::new((7, 8));
    let mut shown = vec![(Index(0), state.digest())];
    for entry in &b.log {
        state.commit(entry.index, &entry.entry);
        shown.push((entry.index, state.digest()));
    }
    (b, shown)
}

#[test]
fn the_log_gives_the_states_that_were_shown() {
    let (b, shown) = log();
    assert_eq!(judge(&b.log, &shown), Verdict::Passed);
}

#[test]
fn a_state_that_the_log_does_not_give_is_found() {
    let (b, shown) = log();
    for at in 0..shown.len() {
        let mut shown = shown.clone();
        shown[at].1 ^= 1;
        assert!(judge(&b.log, &shown).failed(), "at {at}");
    }
    let mut log = b.log.clone();
    log[3].entry.effects.clear();
    assert!(judge(&log, &shown).failed());
    assert!(judge(&b.log, &[(Index(99), 0)]).failed());
}
