//! Which writes may be answered before they are durable: those of keys for which an administrator said so, and never one that
//! has to do with locks, leases, sessions, users or stored answers.
//!
//! It decides from effects and patterns alone. How far the answers run ahead is counted in `lag.rs`.

pub mod lag;

use serde::{Deserialize, Serialize};

use crate::access::user::Pattern;
use crate::state::effect::Effect;
use crate::types::Blob;

/// The longest lag that can be configured, in milliseconds.
pub const LAG_MS_MAX: u64 = 10_000;

/// The largest, in bytes.
pub const LAG_BYTES_MAX: u64 = 64 << 20;

/// Most patterns that can be configured: every write is held against all of them.
pub const PATTERNS_MAX: usize = 32;

/// How far the answers to writes of some keys may run ahead of their durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leeway {
    /// No further write is answered so while the oldest that was and is not durable is as old, in milliseconds. At most
    /// [`LAG_MS_MAX`].
    pub ms: u64,
    /// All of these writes together are not larger, in bytes of keys, values and answers. At most [`LAG_BYTES_MAX`].
    pub bytes: u64,
}

/// A write that may be answered before it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// The patterns of its keys, each with its leeway. It has to keep to all of them.
    pub patterns: Vec<(Pattern, Leeway)>,
    /// What it counts, in bytes.
    pub bytes: u64,
}

impl Loose {
    /// Of these effects; `None` if one of them has to be durable before it is answered. What is done to a key that hangs on a
    /// lease has to be: most of it takes the key off.
    #[must_use]
    pub fn of(
        effects: &[Effect],
        configured: &[(Pattern, Leeway)],
        hangs: impl Fn(&Blob) -> bool,
    ) -> Option<Self> {
        if configured.is_empty() {
            return None;
        }
        let mut patterns: Vec<(Pattern, Leeway)> = Vec::new();
        for effect in effects {
            for name in names(effect)? {
                let matching = configured.iter().filter(|(pattern, _)| pattern.matches(name));
                let before = patterns.len();
                let mut found = false;
                for row in matching {
                    found = true;
                    if !patterns[..before].contains(row) {
                        patterns.push(row.clone());
                    }
                }
                if !found || hangs(name) {
                    return None;
                }
            }
        }
        let bytes = effects.iter().map(|effect| effect.bytes() as u64).sum();
        // What only keeps an answer changes no key.
        Some(Self { patterns, bytes }).filter(|loose| !loose.patterns.is_empty() && loose.fits())
    }

    /// Whether there is room for it at all. What alone is larger than a leeway is answered when it is durable.
    fn fits(&self) -> bool {
        self.patterns.iter().all(|(_, leeway)| self.bytes <= leeway.bytes)
    }
}

/// The keys and limiters that an effect changes; `None` if it changes something that is always durable.
fn names(effect: &Effect) -> Option<Vec<&Blob>> {
    Some(match effect {
        Effect::Put { key, .. }
        | Effect::Delete { key, .. }
        | Effect::Redate { key, .. }
        | Effect::Members { key, .. } => vec![key],
        Effect::Moved { from, to } => vec![from, to],
        Effect::Limited { name, .. } | Effect::Placed { name, .. } => vec![name],
        // The number of the command itself, which goes with it.
        Effect::SessionStepped { .. } | Effect::Forwarded { .. } => Vec::new(),
        Effect::Founded(_)
        | Effect::Level(_)
        | Effect::SessionOpened { .. }
        | Effect::SessionEnded { .. }
        | Effect::UserPut { .. }
        | Effect::UserRemoved { .. }
        | Effect::Kept { .. }
        | Effect::Worked { .. }
        | Effect::Leased { .. }
        | Effect::LeasesSpared
        | Effect::Attached { .. }
        | Effect::Claimed { .. }
        | Effect::WaitEnded { .. }
        | Effect::Ruled { .. }
        | Effect::Loosened { .. }
        | Effect::Membership(_)
        | Effect::Located { .. }
        | Effect::Preferred { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::effect::DeleteCause;
    use crate::types::{LeaseId, SessionId};

    fn configured() -> Vec<(Pattern, Leeway)> {
        let rows = [("fast:*", 100, 50), ("fast:*:tiny", 10, 20), ("exact", 5, 40)];
        rows.map(|(text, ms, bytes)| {
            (Pattern::parse(text.as_bytes()).expect("a pattern"), Leeway { ms, bytes })
        })
        .to_vec()
    }

    fn put(key: &str, value: &str) -> Effect {
        Effect::Put { key: key.into(), value: value.into(), deadline: None }
    }

    fn leeways(effects: &[Effect]) -> Option<Vec<u64>> {
        Loose::of(effects, &configured(), |key| *key == "fast:hanging".into())
            .map(|loose| loose.patterns.iter().map(|(_, leeway)| leeway.ms).collect())
    }

    #[test]
    fn a_write_is_loose_if_all_that_it_changes_is() {
        assert_eq!(leeways(&[put("fast:1", "x")]), Some(vec![100]));
        assert_eq!(leeways(&[put("fast:1", "x"), put("fast:2", "x")]), Some(vec![100]));
        assert_eq!(leeways(&[put("fast:a:tiny", "x")]), Some(vec![100, 10]), "it has to keep to both");
        assert_eq!(leeways(&[put("fast:1", "x"), put("exact", "x")]), Some(vec![100, 5]));
        assert_eq!(leeways(&[put("slow", "x")]), None);
        assert_eq!(leeways(&[put("fast:1", "x"), put("slow", "x")]), None);
        let moved = Effect::Moved { from: "fast:1".into(), to: "slow".into() };
        assert_eq!(leeways(&[moved]), None);
        let gone = Effect::Delete { key: "slow".into(), cause: DeleteCause::Expired };
        assert_eq!(leeways(&[gone, put("fast:1", "x")]), None, "what was due goes with it");
    }

    #[test]
    fn what_has_to_do_with_leases_and_sessions_is_never_loose() {
        assert_eq!(leeways(&[]), None);
        let attached = Effect::Attached { key: "fast:1".into(), lease: Some(LeaseId(1)) };
        assert_eq!(leeways(&[put("fast:1", "x"), attached]), None);
        assert_eq!(leeways(&[put("fast:hanging", "x")]), None, "it takes the key off its lease");
        let ended = Effect::SessionEnded { id: SessionId(1), cause: DeleteCause::Deleted };
        assert_eq!(leeways(&[put("fast:1", "x"), ended]), None);
    }

    #[test]
    fn what_is_larger_than_its_leeway_waits() {
        assert!(leeways(&[put("fast:1", &"x".repeat(44))]).is_some());
        assert!(leeways(&[put("fast:1", &"x".repeat(45))]).is_none(), "with its key it has 51 bytes");
        assert!(leeways(&[put("fast::tiny", &"x".repeat(11))]).is_none(), "the narrowest counts");
    }
}
