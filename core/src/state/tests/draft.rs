//! The draft of a command: its own later reads see it, and dropping it rolls back.

use super::*;

#[test]
fn a_command_reads_its_own_writes() {
    let state = committed(&[entry(10, vec![put("a", "1"), put("b", "1")])]);
    let mut view = state.view(Millis(10));
    view.put("c".into(), "2".into(), None);
    view.delete("a".into());
    view.redate("b".into(), deadline(90, 0));
    assert_eq!(view.key(b"a"), None);
    assert_eq!(view.key(b"b").unwrap().deadline, deadline(90, 0));
    assert_eq!(view.key(b"c").unwrap().revision, Index(2), "the revision is the entry's index to be");
    assert_eq!(scan(&mut view, b"", None, 9), ["b".into(), "c".into()]);
    assert_eq!(scan(&mut view, b"", Some(b"b"), 9), ["c".into()]);
    assert_eq!(view.finish().effects, [put("c", "2"), delete("a"), redate("b", deadline(90, 0))]);
}

#[test]
fn sessions_users_and_levels_in_a_draft_are_seen_by_it() {
    let state = committed(&[entry(10, vec![opened("ann", 900), user_put("ann", 1)])]);
    let mut view = state.view(Millis(10));
    view.effect(stepped(1, 3, 0));
    view.effect(Effect::UserRemoved { name: "ann".into() });
    view.effect(user_put("bob", 2));
    view.effect(opened("bob", 900));
    view.effect(Effect::Level(4));
    view.effect(forwarded(2, 1, 5, 0));
    assert_eq!(view.session_reply(SessionId(1), 3), Some((Index(2), answer(3, 10))));
    assert_eq!(view.session_count(), 2);
    assert_eq!(view.sessions_of(b"bob"), [SessionId(2)]);
    assert_eq!(view.user(b"ann"), None);
    assert_eq!(view.users().len(), 1);
    assert_eq!(view.level(), 4);
    let known = super::super::Forwarded::Known { index: Index(2), reply: answer(5, 10) };
    assert_eq!(view.forwarded(Incarnation(2), BootNumber(1), 5), known);
    assert_eq!(view.finish().effects.len(), 6);
}

#[test]
fn a_discarded_draft_leaves_only_what_was_due() {
    let state = committed(&[entry(10, vec![put_until("due", "1", 19, 1), put("a", "1")])]);
    let mut view = state.view(Millis(20));
    assert_eq!(view.key(b"due"), None);
    view.put("due".into(), "2".into(), None);
    view.put("a".into(), "2".into(), None);
    view.discard_draft();
    assert_eq!(view.key(b"due"), None);
    assert_eq!(&**view.key(b"a").unwrap().data.as_string().unwrap(), b"1");
    view.effect(stepped(9, 1, 0));
    assert_eq!(view.finish().effects, [expired("due"), stepped(9, 1, 0)]);
}

#[test]
fn a_discarded_draft_keeps_its_dependency() {
    let mut state = committed(&[entry(10, vec![])]);
    append(&mut state, vec![put("a", "text")]);
    let mut view = state.view(Millis(10));
    assert!(view.key(b"a").is_some());
    view.discard_draft();
    assert_eq!(view.finish().dependency.index(), Index(2));
}

#[test]
fn a_redate_in_a_draft_depends_on_what_it_builds_on() {
    let mut state = committed(&[entry(10, vec![])]);
    append(&mut state, vec![put("a", "1")]);
    let mut view = state.view(Millis(10));
    view.redate("a".into(), None);
    assert_eq!(view.finish().dependency.index(), Index(2));
}

#[test]
fn the_later_effect_on_a_row_wins_in_every_layer() {
    let effects = vec![put("a", "1"), delete("a"), put("b", "1"), put("b", "2"), delete("c"), put("c", "3")];
    let both = entry(10, effects.clone());
    let mut appended = State::default();
    append_entry(&mut appended, &both);
    let mut drafted_state = State::default();
    let mut drafted = drafted_state.view(Millis(10));
    effects.into_iter().for_each(|effect| drafted.effect(effect));
    for mut view in [drafted, appended.view(Millis(10))] {
        assert_eq!(view.key(b"a"), None);
        assert_eq!(&**view.key(b"b").unwrap().data.as_string().unwrap(), b"2");
        assert_eq!(&**view.key(b"c").unwrap().data.as_string().unwrap(), b"3");
        let _ = view.finish();
    }
    appended.commit(Index(1), &both);
    drafted_state.commit(Index(1), &both);
    assert!(appended.iter_keys().eq(drafted_state.iter_keys()));
    assert_eq!(appended.key_count(), 2);
}
