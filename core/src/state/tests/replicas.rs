//! Replicas at one index are equal, however they came there, and copies of a state are independent.

use super::*;

fn log() -> Vec<Entry> {
    vec![
        entry(10, vec![user_put("ann", 1), put("a", "1"), put_until("b", "2", 90, 1)]),
        entry(20, vec![opened("ann", 600), forwarded(2, 1, 1, 0)]),
        entry(20, vec![stepped(2, 1, 0), delete("a")]),
        entry(30, vec![stepped(2, 2, 1), put("a", "3"), redate("b", None)]),
    ]
}

fn replayed() -> State {
    committed(&log())
}

#[test]
fn equal_states_have_equal_digests_whatever_was_pending() {
    let mut winding = State::new((11, 12));
    append(&mut winding, vec![put("lost", "x"), opened("eve", 5), put("a", "x")]);
    winding.drop_pending();
    log().iter().for_each(|entry| append_entry(&mut winding, entry));
    winding.commit(Index(1), &log()[0]);
    winding.drop_pending();
    log()[1..].iter().for_each(|entry| append_entry(&mut winding, entry));
    append(&mut winding, vec![put("later", "y")]);
    for (at, entry) in log().iter().enumerate().skip(1) {
        winding.commit(Index(at as u64 + 1), entry);
    }
    assert_eq!(winding.digest(), replayed().digest());
}

#[test]
fn every_kind_of_row_counts_in_the_digest() {
    let same = replayed();
    let others = [
        put("a", "4"),
        put_until("a", "3", 99, 0),
        delete("a"),
        stepped(2, 3, 1),
        stepped(2, 2, 2),
        ended(2),
        opened("ann", 7),
        forwarded(2, 1, 2, 0),
        forwarded(2, 1, 1, 1),
        user_put("ann", 2),
        Effect::UserRemoved { name: "ann".into() },
        Effect::Level(1),
    ];
    let mut digests = vec![same.digest()];
    for effect in others {
        let mut log = log();
        log[3].effects.push(effect);
        digests.push(committed(&log).digest());
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 13, "no two of these states are equal");
}

#[test]
fn a_copy_of_a_state_is_independent() {
    let mut original = replayed();
    append(&mut original, vec![put("p", "1")]);
    let copy = original.clone();
    let before = copy.digest();
    let next = entry(40, vec![put("a", "new"), delete("b"), put("z", "new"), ended(2)]);
    original.drop_pending();
    original.commit(Index(5), &next);
    assert_eq!(copy.digest(), before);
    assert_ne!(original.digest(), before);
    assert!(copy.view(Millis(40)).key(b"p").is_some());
    assert_eq!(copy.key_count(), 2);
}

#[test]
fn answers_up_to_the_floor_are_forgotten() {
    let state = replayed();
    let mut view = state.view(Millis(30));
    assert_eq!(view.session_reply(SessionId(2), 1), None);
    assert_eq!(view.session_reply(SessionId(2), 2), Some((Index(4), answer(2, 30))));
    let _ = view.finish();
    assert_eq!(state.base.rows::<super::super::table::Replies>().len(), 1);
}

#[test]
fn a_later_boot_replaces_all_that_a_node_forwarded_before() {
    let state = committed(&[
        entry(1, vec![forwarded(2, 4, 1, 0), forwarded(2, 4, 2, 0)]),
        entry(2, vec![forwarded(2, 5, 1, 0)]),
        entry(3, vec![forwarded(2, 4, 9, 0)]),
    ]);
    assert_eq!(
        state.base.rows::<super::super::table::ForwardedReplies>().len(),
        1,
        "and a late command of the old boot adds nothing"
    );
}

#[test]
fn ending_a_session_forgets_its_answers() {
    let mut state = replayed();
    state.commit(Index(5), &entry(40, vec![ended(2)]));
    assert_eq!((state.session_count(), state.base.rows::<super::super::table::Replies>().len()), (0, 0));
}

#[test]
fn a_session_that_one_entry_opens_twice_begins_without_answers_in_every_layer() {
    for end in [vec![], vec![ended(1)]] {
        let effects = [vec![opened("ann", 9), stepped(1, 1, 0)], end, vec![opened("ann", 9)]].concat();
        let log = entry(10, effects);
        let mut state = State::default();
        append_entry(&mut state, &log);
        assert_eq!(state.view(Millis(10)).session_reply(SessionId(1), 1), None);
        state.commit(Index(1), &log);
        assert_eq!(state.view(Millis(10)).session_reply(SessionId(1), 1), None);
    }
}

#[test]
#[should_panic(expected = "in the order of the log")]
fn an_index_that_is_left_out_is_refused() {
    State::default().append(Index(2), &entry(0, vec![]));
}

#[test]
#[should_panic(expected = "the entry that is committed is the one that was appended")]
fn another_entry_than_the_appended_one_is_refused() {
    let mut state = State::default();
    state.append(Index(1), &entry(5, vec![]));
    state.commit(Index(1), &entry(6, vec![]));
}
