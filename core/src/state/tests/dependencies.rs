//! Every read names the newest pending entry that it rests on, and none that it does not.

use super::super::State;
use super::super::view::{Forwarded, View};
use super::*;
use crate::coordination::lease::Lease;
use crate::types::{BootNumber, LeaseId};

/// One committed entry, then pending ones from index 2 on.
fn state(base: Vec<Effect>, pending: Vec<Effect>) -> State {
    let mut state = committed(&[entry(10, base)]);
    append(&mut state, pending);
    state
}

/// The index that a reading depends on.
fn depends(state: &State, read: impl FnOnce(&mut View<'_>)) -> u64 {
    let mut view = state.view(state.time());
    read(&mut view);
    view.finish().dependency.index().0
}

#[test]
fn what_is_committed_makes_no_dependency() {
    let state = state(vec![put("a", "1"), user_put("root", 1)], vec![put("b", "2")]);
    assert_eq!(depends(&state, |view| drop(view.key(b"a"))), 0);
    assert_eq!(depends(&state, |view| drop(view.key(b"missing"))), 0);
    assert_eq!(depends(&state, |view| drop(view.user(b"root"))), 0);
    assert_eq!(depends(&state, |view| drop(scan(view, b"a", None, 9))), 0);
}

#[test]
fn a_value_depends_on_the_entry_that_wrote_it_last() {
    let state = state(vec![put("a", "1")], vec![put("a", "2"), put("a", "3"), put("b", "4")]);
    assert_eq!(
        depends(&state, |view| assert_eq!(&**view.key(b"a").unwrap().data.as_string().unwrap(), b"3")),
        3
    );
}

#[test]
fn an_absence_depends_on_the_deletion_that_caused_it() {
    let state = state(vec![put("a", "1")], vec![delete("a"), put("b", "2")]);
    assert_eq!(depends(&state, |view| assert_eq!(view.key(b"a"), None)), 2);
}

#[test]
fn an_absence_depends_on_a_deletion_of_what_never_was_committed() {
    let state = state(vec![], vec![put("a", "1"), delete("a"), put("b", "2")]);
    assert_eq!(depends(&state, |view| assert_eq!(view.key(b"a"), None)), 3);
    assert_eq!(depends(&state, |view| assert!(scan(view, b"a", None, 9).is_empty())), 3);
}

#[test]
fn a_new_deadline_is_depended_on() {
    let state = state(vec![put("a", "1")], vec![redate("a", deadline(500, 1))]);
    assert_eq!(depends(&state, |view| assert_eq!(view.key(b"a").unwrap().revision.0, 2)), 2);
}

#[test]
fn a_scan_depends_on_every_pending_row_it_walks_and_on_none_beyond() {
    let base = vec![put("k1", ""), put("k2", ""), put("k4", "")];
    let state = state(base, vec![put("k3", ""), delete("k2"), put("k5", ""), put("l", "")]);
    let walked = |after: Option<&str>, limit| {
        depends(&state, |view| drop(scan(view, b"k", after.map(str::as_bytes), limit)))
    };
    assert_eq!(walked(None, 1), 0, "k1 alone");
    assert_eq!(walked(None, 2), 3, "past the tombstone of k2, to k3");
    assert_eq!(walked(None, 9), 4, "to k5, and not to l");
    assert_eq!(walked(Some("k2"), 1), 2, "k3 alone");
    assert_eq!(walked(Some("k4"), 0), 0, "nothing walked");
}

#[test]
fn users_and_their_absence_are_depended_on() {
    let state = state(
        vec![user_put("ann", 1), user_put("bob", 1)],
        vec![user_put("ann", 2), Effect::UserRemoved { name: "bob".into() }, put("x", "")],
    );
    assert_eq!(depends(&state, |view| assert_eq!(view.user(b"ann").unwrap().generation.0, 2)), 2);
    assert_eq!(depends(&state, |view| assert_eq!(view.user(b"bob"), None)), 3);
    assert_eq!(depends(&state, |view| assert_eq!(view.users().len(), 1)), 3);
}

#[test]
fn sessions_their_answers_and_their_end_are_depended_on() {
    let state = state(vec![opened("ann", 900)], vec![stepped(1, 1, 0), opened("bob", 900), put("x", "")]);
    let id = SessionId(1);
    assert_eq!(depends(&state, |view| assert_eq!(view.session(id).unwrap().last, 1)), 2);
    assert_eq!(depends(&state, |view| assert_eq!(view.session_reply(id, 1).unwrap().0.0, 2)), 2);
    assert_eq!(depends(&state, |view| assert_eq!(view.session_reply(id, 2), None)), 2);
    assert_eq!(depends(&state, |view| assert_eq!(view.session_count(), 2)), 3);
    // Whose sessions there are rests on the newest opening or end of anybody's.
    assert_eq!(depends(&state, |view| assert_eq!(view.sessions_of(b"ann"), [id])), 3);
    assert_eq!(depends(&state, |view| assert_eq!(view.sessions_of(b"bob"), [SessionId(3)])), 3);
    assert_eq!(depends(&state, |view| assert_eq!(view.sessions_of(b"eve"), [])), 3);
}

#[test]
fn a_session_that_pending_ended_is_an_absence_with_a_dependency() {
    let state = state(vec![opened("ann", 900)], vec![put("x", ""), ended(1), put("y", "")]);
    let id = SessionId(1);
    assert_eq!(depends(&state, |view| assert_eq!(view.session(id), None)), 3);
    assert_eq!(depends(&state, |view| assert_eq!(view.session_reply(id, 1), None)), 3);
    assert_eq!(depends(&state, |view| assert_eq!(view.sessions_of(b"ann"), [])), 3);
    assert_eq!(depends(&state, |view| assert_eq!(view.session_count(), 0)), 3);
}

#[test]
fn forwarded_commands_are_depended_on() {
    let state = state(vec![forwarded(2, 7, 1, 0)], vec![forwarded(2, 7, 2, 1), put("x", "")]);
    let mut seen = Vec::new();
    for (boot, seq) in [(6, 1), (7, 1), (7, 2), (7, 3), (8, 1)] {
        let depends =
            depends(&state, |view| seen.push(view.forwarded(Incarnation(2), BootNumber(boot), seq)));
        assert_eq!(depends, 2, "boot {boot} seq {seq}");
    }
    assert_eq!(seen[0], Forwarded::OldBoot);
    assert_eq!(seen[1], Forwarded::Stale);
    assert_eq!(seen[2], Forwarded::Known { index: Index(2), reply: answer(2, 10) });
    assert_eq!(seen[3..], [Forwarded::New, Forwarded::New]);
    assert_eq!(depends(&state, |view| drop(view.forwarded(Incarnation(3), BootNumber(1), 1))), 0);
}

#[test]
fn the_level_is_depended_on() {
    let state = state(vec![Effect::Level(1)], vec![put("x", ""), Effect::Level(2), put("y", "")]);
    assert_eq!(depends(&state, |view| assert_eq!(view.level(), 2)), 3);
    assert_eq!(state.level(), 1);
}

#[test]
fn the_time_depends_on_the_first_entry_that_was_logged_at_it() {
    let mut state = committed(&[entry(10, vec![])]);
    assert_eq!(depends(&state, |view| assert_eq!(view.consult_time(), state.time())), 0);
    for time in [10, 20, 20] {
        append_entry(&mut state, &entry(time, vec![]));
    }
    assert_eq!(depends(&state, |view| assert_eq!(view.consult_time(), state.time())), 3);
    let mut later = state.view(Millis(25));
    assert_eq!(later.consult_time(), Millis(25));
    let finished = later.finish();
    assert!(finished.time_consulted);
    assert_eq!(finished.dependency.index().0, 0, "the command itself will be logged at this time");
}

#[test]
fn commits_and_a_lost_term_take_dependencies_away() {
    let log = [entry(20, vec![put("a", "1"), opened("ann", 900)]), entry(20, vec![put("a", "2")])];
    let mut state = committed(&[entry(10, vec![])]);
    log.iter().for_each(|entry| append_entry(&mut state, entry));
    let ask = |state: &State| {
        depends(state, |view| {
            let _ = (view.key(b"a"), view.session_count(), view.consult_time());
        })
    };
    assert_eq!(ask(&state), 3);
    state.commit(Index(2), &log[0]);
    assert_eq!(ask(&state), 3);
    state.commit(Index(3), &log[1]);
    assert_eq!(ask(&state), 0);
    append(&mut state, vec![delete("a")]);
    assert_eq!(ask(&state), 4);
    state.drop_pending();
    assert_eq!(ask(&state), 0);
}

#[test]
fn a_lease_that_began_and_ended_in_a_lost_term_leaves_no_dependency() {
    let leased = |lease| Effect::Leased { id: LeaseId(2), lease };
    let lease = Lease { user: "ann".into(), ttl: 1000, renewed: Millis(10) };
    let mut state = state(vec![], vec![leased(Some(lease))]);
    append(&mut state, vec![leased(None)]);
    let ask = |state: &State| {
        depends(state, |view| {
            let _ = view.lease_count();
        })
    };
    assert_eq!(ask(&state), 3);
    state.drop_pending();
    assert_eq!(ask(&state), 0, "there are no such entries any more");
}
