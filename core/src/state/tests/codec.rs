//! The bytes of an entry: what is written is read, and nothing else is.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::codec::EntryError;
use super::*;
use crate::error::ErrorCode;
use crate::membership::Membership;
use crate::state::effect::Founding;
use crate::types::ClusterId;

fn any_entry() -> impl Strategy<Value = Entry> {
    let cause = prop::sample::select(
        &[Cause::TermStart, Cause::Command, Cause::Expiry, Cause::Clock, Cause::System][..],
    );
    (any::<u64>(), cause, vec(super::model::effect(), 0..5)).prop_map(|(time, cause, effects)| {
        let cause = if effects.iter().any(Effect::concerns_members) { Cause::Members } else { cause };
        Entry { time: Millis(time), cause, effects }
    })
}

proptest! {
    #![proptest_config(super::cases(200))]

    #[test]
    fn an_entry_is_read_as_it_was_written(entry in any_entry()) {
        prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn the_last_membership_in_an_entry_and_all_addresses_are_found(entry in any_entry()) {
        let last = entry.effects.iter().rfind(|effect| matches!(effect, Effect::Membership(_))).cloned();
        prop_assert_eq!(Entry::membership(&entry.encode()).map(Effect::Membership), last);
        let located = entry.effects.iter().filter_map(|effect| match effect {
            Effect::Located { node, address } => Some((*node, address.clone()?)),
            _ => None,
        });
        prop_assert!(Entry::located(&entry.encode()).eq(located));
    }

    #[test]
    fn members_that_no_cluster_can_have_are_refused(ids in vec(0..9u16, 0..10)) {
        let members: Vec<_> = ids.iter().map(|id| (NodeId(*id), Incarnation(1))).collect();
        let once = ids.iter().collect::<std::collections::BTreeSet<_>>().len() == ids.len();
        let fits = once && (1..=7).contains(&ids.len());
        let founding = Founding { cluster: ClusterId(1), name: "x".into(), members: members.clone() };
        let founded = Entry { time: Millis(1), cause: Cause::System, effects: vec![Effect::Founded(founding)] };
        prop_assert_eq!(Entry::decode(&founded.encode()).is_ok(), fits);
        let effects = vec![Effect::Membership(Membership::of(members))];
        let changed = Entry { time: Millis(1), cause: Cause::Members, effects };
        prop_assert_eq!(Entry::decode(&changed.encode()).is_ok(), fits);
    }

    #[test]
    fn every_truncation_of_an_entry_is_an_error(entry in any_entry()) {
        let bytes = entry.encode();
        for len in 0..bytes.len() {
            prop_assert!(Entry::decode(&bytes[..len]).is_err(), "cut to {} bytes", len);
        }
    }

    #[test]
    fn no_change_of_a_byte_makes_decoding_panic(entry in any_entry(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = entry.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Entry::decode(&bytes);
    }

    #[test]
    fn noise_is_no_entry_or_one_that_can_be_written(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }
    }
}

#[test]
fn an_unknown_effect_is_an_error_never_skipped() {
    // Version 1, time 0, cause 2, two effects: kind 200 with an empty body, and a level.
    assert_eq!(Entry::decode(&[1, 0, 2, 2, 200, 0, 2, 1, 7]), Err(EntryError::UnknownEffect { kind: 200 }));
    assert_eq!(Entry::decode(&[1, 0, 2, 1, 0, 0]), Err(EntryError::UnknownEffect { kind: 0 }));
}

#[test]
fn unknown_versions_and_causes_are_errors() {
    assert_eq!(Entry::decode(&[2, 0, 2, 0]), Err(EntryError::UnknownVersion { version: 2 }));
    assert_eq!(Entry::decode(&[1, 0, 9, 0]), Err(EntryError::UnknownCause { cause: 9 }));
}

#[test]
fn trailing_bytes_are_errors() {
    assert_eq!(Entry::decode(&[1, 0, 2, 0, 0]), Err(EntryError::TrailingBytes { count: 1 }));
    // A level whose body has a byte too many.
    assert_eq!(Entry::decode(&[1, 0, 2, 1, 2, 2, 7, 0]), Err(EntryError::MalformedEffect { kind: 2 }));
}

#[test]
fn a_number_beyond_64_bits_is_an_error() {
    let mut bytes = vec![1];
    bytes.extend([0xff; 10]);
    bytes.extend([2, 0]);
    assert_eq!(Entry::decode(&bytes), Err(EntryError::Truncated));
}

#[test]
fn nothing_is_allocated_by_the_word_of_the_bytes() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let with = |head: &[u8], tail: &[u8]| {
        let mut bytes = head.to_vec();
        bytes.extend(huge);
        bytes.extend(tail);
        Entry::decode(&bytes)
    };
    // The number of effects, the length of a body, the length of a key inside a body.
    assert_eq!(with(&[1, 0, 2], &[]), Err(EntryError::TooManyEffects { count: u64::MAX }));
    assert_eq!(with(&[1, 0, 2, 1, 3], &[]), Err(EntryError::Truncated));
    assert_eq!(with(&[1, 0, 2, 1, 11, 10], &[]), Err(EntryError::MalformedEffect { kind: 11 }));
    // The number of founding members: cluster 0, name of no bytes, members without end.
    assert_eq!(with(&[1, 0, 2, 1, 1, 12, 0, 0], &[]), Err(EntryError::MalformedEffect { kind: 1 }));
}

#[test]
fn answers_that_are_nested_without_end_are_refused() {
    // A step of session 1, its answer a list in a list in a list ... each of one item.
    let mut body = vec![1, 1, 0, 0];
    body.extend([4, 1].repeat(200_000));
    body.push(0);
    body.push(0);
    let mut bytes = vec![1, 0, 2, 1, 7];
    let mut len = body.len();
    while len > 0x7f {
        bytes.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(body);
    assert_eq!(Entry::decode(&bytes), Err(EntryError::MalformedEffect { kind: 7 }));
}

#[test]
fn error_codes_keep_their_place_for_stored_answers_name_them_by_it() {
    for (place, code) in ErrorCode::ALL.iter().enumerate() {
        assert_eq!(usize::from(code.number()), place + 1, "{}", code.name());
    }
}

#[test]
fn every_error_says_the_way_out() {
    let errors = [
        EntryError::Truncated,
        EntryError::UnknownVersion { version: 9 },
        EntryError::UnknownCause { cause: 9 },
        EntryError::UnknownEffect { kind: 9 },
        EntryError::TooManyEffects { count: 9 },
        EntryError::MalformedEffect { kind: 9 },
        EntryError::TrailingBytes { count: 9 },
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("run a newer release") || text.contains("from a peer"), "{text}");
    }
}
