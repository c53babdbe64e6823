//! What is due: absent to every reader, and removed by a logged effect alone.

use super::*;

fn state() -> State {
    committed(&[entry(
        10,
        vec![put_until("a", "1", 50, 5), put_until("b", "1", 70, 0), put("c", "1"), opened("ann", 30)],
    )])
}

#[test]
fn a_key_lives_until_its_deadline_and_slack_are_over() {
    let state = state();
    let mut early = state.view(Millis(54));
    assert!(early.key(b"a").is_some());
    assert_eq!(early.finish().effects, []);
    let mut late = state.view(Millis(55));
    assert_eq!(late.key(b"a"), None);
    assert_eq!(late.key(b"a"), None);
    assert_eq!(late.finish().effects, [expired("a")], "once, however often it is read");
    assert_eq!(state.key_count(), 3, "a view changes nothing");
}

#[test]
fn a_scan_skips_due_keys_and_logs_their_end() {
    let state = state();
    let mut view = state.view(Millis(60));
    assert_eq!(scan(&mut view, b"", None, 2), ["b".into(), "c".into()]);
    assert_eq!(scan(&mut view, b"", None, 1), ["b".into()]);
    assert_eq!(view.finish().effects, [expired("a")]);
}

#[test]
fn a_scan_over_very_many_due_keys_logs_a_bounded_number_of_ends_and_the_time() {
    let keys = (0..1000).map(|n| put_until(&format!("{n:04}"), "", 20, 0)).chain([put("z", "")]);
    let state = committed(&[entry(10, keys.collect())]);
    let mut view = state.view(Millis(30));
    assert_eq!(scan(&mut view, b"", None, 9), ["z".into()]);
    let finished = view.finish();
    assert_eq!(finished.effects.len(), 256);
    assert!(finished.time_consulted);
}

#[test]
fn a_write_over_a_due_key_replaces_its_end() {
    let state = state();
    let mut view = state.view(Millis(60));
    assert_eq!(view.key(b"a"), None);
    view.put("a".into(), "2".into(), None);
    assert_eq!(&**view.key(b"a").unwrap().data.as_string().unwrap(), b"2");
    assert_eq!(view.finish().effects, [put("a", "2")]);
}

#[test]
fn a_due_session_is_absent_and_its_end_is_logged() {
    let state = state();
    let id = SessionId(1);
    assert!(state.view(Millis(39)).session(id).is_some());
    let mut view = state.view(Millis(40));
    assert_eq!(view.session(id), None);
    assert_eq!(view.session_reply(id, 1), None);
    assert_eq!(view.sessions_of(b"ann"), []);
    assert_eq!(view.finish().effects, [Effect::SessionEnded { id, cause: DeleteCause::Expired }]);
}

#[test]
fn a_step_keeps_a_session_alive() {
    let mut state = state();
    assert_eq!(state.next_due(), Some(Millis(40)));
    append_entry(&mut state, &entry(35, vec![stepped(1, 1, 0)]));
    assert_eq!(state.next_due(), Some(Millis(55)), "key a is next");
    assert!(state.view(Millis(64)).session(SessionId(1)).is_some());
    state.drop_pending();
    assert_eq!(state.next_due(), Some(Millis(40)), "the step was lost with the term");
}

#[test]
fn what_is_due_comes_in_the_order_of_time_and_up_to_a_bound() {
    let state = state();
    assert_eq!(state.due(Millis(39), 9), []);
    let ended = Effect::SessionEnded { id: SessionId(1), cause: DeleteCause::Expired };
    assert_eq!(state.due(Millis(40), 9), std::slice::from_ref(&ended));
    assert_eq!(state.due(Millis(70), 9), [expired("a"), expired("b"), ended]);
    assert_eq!(state.due(Millis(70), 1), [expired("a")]);
}

#[test]
fn an_expiry_that_is_pending_is_not_proposed_again() {
    let mut state = state();
    let due = state.due(Millis(70), 9);
    append_entry(&mut state, &entry(70, due.clone()));
    assert_eq!(state.due(Millis(99), 9), []);
    assert_eq!(state.next_due(), None);
    state.drop_pending();
    assert_eq!(state.due(Millis(70), 9), due, "it was lost with the term");
}

#[test]
fn pending_changes_of_a_deadline_count_at_once() {
    let mut state = state();
    append(&mut state, vec![redate("a", None), delete("b"), put_until("d", "1", 15, 0), ended(1)]);
    assert_eq!(state.due(Millis(99), 9), [expired("d")]);
}

#[test]
#[should_panic(expected = "cluster time never goes back")]
fn a_view_before_the_last_logged_time_is_refused() {
    let state = state();
    let _ = state.view(Millis(9));
}
