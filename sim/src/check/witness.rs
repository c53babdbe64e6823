//! What a witness may hold, as the judges understand it: of each entry its place, time and cause, and of its effects those that say who
//! the cluster is, what it may log, who belongs to it and where these are. Written from the documentation; shares no code with the core but
//! the bytes of the log. Where a position has to lie before a witness hears of it, `raft.rs` watches.

use steadfast_core::state::effect::{Cause, Effect, Entry};

/// What is wrong with a witness's copy of an entry, if anything is.
pub fn flaw(full: &[u8], copy: &[u8]) -> Option<String> {
    let (Ok(full), Ok(copy)) = (Entry::decode(full), Entry::decode(copy)) else {
        return Some("it can't be read".into());
    };
    if (full.time, full.cause) != (copy.time, copy.cause) {
        return Some(format!(
            "it is of {} and {:?}, and not of {} and {:?}",
            copy.time, copy.cause, full.time, full.cause
        ));
    }
    let known = |effect: &&Effect| {
        matches!(full.cause, Cause::System | Cause::Members)
            && matches!(
                effect,
                Effect::Founded(_) | Effect::Level(_) | Effect::Membership(_) | Effect::Located { .. }
            )
    };
    let may: Vec<&Effect> = full.effects.iter().filter(known).collect();
    if copy.effects.iter().eq(may.iter().copied()) {
        return None;
    }
    let more = copy.effects.iter().find(|effect| !may.contains(effect));
    Some(more.map_or("it lacks what a witness has to know".into(), |effect| format!("it holds {effect:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::time::Millis;
    use steadfast_core::types::Blob;

    #[test]
    fn data_in_a_copy_and_what_it_lacks_are_found() {
        let put = Effect::Put { key: Blob::from("k"), value: Blob::from("v"), deadline: None };
        let bytes = |cause, effects: &[&Effect]| {
            let effects = effects.iter().map(|effect| (*effect).clone()).collect();
            Entry { time: Millis(1), cause, effects }.encode()
        };
        let level = Effect::Level(3);
        let system = bytes(Cause::System, &[&level, &put]);
        assert_eq!(flaw(&system, &bytes(Cause::System, &[&level])), None);
        assert_eq!(flaw(&bytes(Cause::Command, &[&put]), &bytes(Cause::Command, &[])), None);
        for (full, copy, found) in [
            (&system, &system, "it holds Put"),
            (&system, &bytes(Cause::System, &[]), "lacks"),
            (&system, &bytes(Cause::Command, &[]), "it is of"),
        ] {
            assert!(flaw(full, copy).is_some_and(|what| what.contains(found)), "{found}");
        }
    }
}
