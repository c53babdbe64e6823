//! Rate limiters: what each remembers, and what it says to the next request.
//!
//! All arithmetic is in whole numbers of milliseconds and requests, so that every node and every release comes to the same.
//! Each kind keeps a promise that can be checked from outside:
//!
//! - **fixed window**: in no window that begins at a multiple of its length are more than the limit let through;
//! - **sliding window**: in *no* span of the window's length are more than the limit let through. Requests are counted in
//!   slots of a thirty-second of the window, each as if it had come at the slot's end, so capacity may return that much late;
//! - **token bucket**: in any span of `t` ms no more than the capacity and `t · refill / period` on top. This is GCRA
//!   (ITU-T I.371) with the debt kept instead of the theoretical arrival time, which needs no division;
//! - **concurrency**: no more holders at a time than the limit. One that does not release goes by itself after its time.
//!
//! Limit and window come with each request, so that a deployment can change them. What was used under another window
//! counts as used now. But nothing is forgotten earlier for it: where the new window would forget sooner than the old one,
//! the old one goes on, with the new limit, until it has nothing more to remember or is reset.

use serde::{Deserialize, Serialize};

use crate::state::data::Members;
use crate::time::Millis;
use crate::types::Blob;

/// Slots of a sliding window.
const SLOTS: u64 = 32;

/// What a limiter remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limiter {
    /// How much was let through in the window that is numbered so, counted from 1970.
    Fixed {
        /// Its length in milliseconds.
        window: u64,
        /// Its number.
        number: u64,
        /// How much.
        used: u64,
    },
    /// How much was let through in each slot.
    Sliding {
        /// The window's length in milliseconds.
        window: u64,
        /// Numbers of slots, counted from 1970, with what was let through, oldest first; none is zero.
        slots: Vec<(u64, u64)>,
    },
    /// The debt: how much was let through and is not yet refilled, in requests times period, at a time.
    Bucket {
        /// How long `refill` requests take to come back, in milliseconds.
        period: u64,
        /// How many come back in a period.
        refill: u64,
        /// The debt.
        debt: u64,
        /// When it was that.
        at: Millis,
    },
    /// Who holds a place, and until when (as eight bytes, the lowest first).
    Places(Members),
}

/// A limit, as a request states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// So many in each window of so many milliseconds.
    Fixed {
        /// Most in a window.
        limit: u64,
        /// Its length in milliseconds.
        window: u64,
    },
    /// So many in any span of so many milliseconds.
    Sliding {
        /// Most in a span.
        limit: u64,
        /// Its length in milliseconds.
        window: u64,
    },
    /// So many at once, and `refill` more in every period.
    Bucket {
        /// Most at once.
        limit: u64,
        /// How many come back in a period.
        refill: u64,
        /// Its length in milliseconds.
        period: u64,
    },
}

/// What a limiter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may go on.
    pub allowed: bool,
    /// How much could be let through now, after this request if it may go on.
    pub remaining: u64,
    /// Milliseconds until the limiter is as if nothing had ever come; of a fixed window, until the next one.
    pub reset_ms: u64,
    /// Milliseconds after which this request could go on if nothing else came; zero if it may, `None` if never.
    pub retry_after_ms: Option<u64>,
}

impl Rule {
    /// Most that can be let through at once.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        match self {
            Self::Fixed { limit, .. } | Self::Sliding { limit, .. } | Self::Bucket { limit, .. } => *limit,
        }
    }

    /// What the limiter says to a request that costs so much at this time, and what it remembers if the request goes on.
    /// `None` if the limiter is of another kind.
    #[must_use]
    pub fn decide(&self, before: Option<&Limiter>, cost: u64, now: Millis) -> Option<(Verdict, Limiter)> {
        let decided = self.decide_by(before, cost, now)?;
        match before {
            Some(limiter) if limiter.until() > decided.1.until().max(now) => {
                self.on_terms_of(limiter).decide_by(before, cost, now)
            }
            _ => Some(decided),
        }
    }

    /// The same limit with the window of what is remembered.
    fn on_terms_of(self, limiter: &Limiter) -> Self {
        match (self, limiter) {
            (Self::Fixed { limit, .. }, Limiter::Fixed { window, .. }) => {
                Self::Fixed { limit, window: *window }
            }
            (Self::Sliding { limit, .. }, Limiter::Sliding { window, .. }) => {
                Self::Sliding { limit, window: *window }
            }
            (Self::Bucket { limit, .. }, Limiter::Bucket { period, refill, .. }) => {
                Self::Bucket { limit, refill: *refill, period: *period }
            }
            (same, _) => same,
        }
    }

    fn decide_by(&self, before: Option<&Limiter>, cost: u64, now: Millis) -> Option<(Verdict, Limiter)> {
        match (*self, before) {
            (Self::Fixed { limit, window }, None | Some(Limiter::Fixed { .. })) => {
                Some(fixed(before, limit, window, cost, now))
            }
            (Self::Sliding { limit, window }, None | Some(Limiter::Sliding { .. })) => {
                Some(sliding(before, limit, window, cost, now))
            }
            (Self::Bucket { limit, refill, period }, None | Some(Limiter::Bucket { .. })) => {
                Some(bucket(before, (limit, refill, period), cost, now))
            }
            _ => None,
        }
    }
}

impl Limiter {
    /// When it can be forgotten: from then on it is as if nothing had ever come.
    #[must_use]
    pub fn until(&self) -> Millis {
        Millis(match self {
            Self::Fixed { window, number, .. } => number.saturating_add(1).saturating_mul(*window),
            Self::Sliding { window, slots } => {
                slots.last().map_or(0, |(slot, _)| slot_end(*slot, *window).saturating_add(*window))
            }
            Self::Bucket { refill, debt, at, .. } => at.0.saturating_add(debt.div_ceil((*refill).max(1))),
            Self::Places(holders) => holders.iter().map(|(_, until)| time_of(until).0).max().unwrap_or(0),
        })
    }

    /// The word for the kind.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fixed { .. } => "fixed window",
            Self::Sliding { .. } => "sliding window",
            Self::Bucket { .. } => "token bucket",
            Self::Places(_) => "concurrency limit",
        }
    }

    /// About the bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed { .. } | Self::Bucket { .. } => 32,
            Self::Sliding { slots, .. } => 16 * (slots.len() + 1),
            Self::Places(holders) => holders.bytes(),
        }
    }
}

/// A time among the places.
#[must_use]
pub fn time_of(bytes: &[u8]) -> Millis {
    Millis(bytes.try_into().map_or(0, u64::from_le_bytes))
}

/// The bytes that [`time_of`] reads.
#[must_use]
pub fn time_bytes(time: Millis) -> Blob {
    Blob::from(&time.0.to_le_bytes()[..])
}

fn fixed(before: Option<&Limiter>, limit: u64, window: u64, cost: u64, now: Millis) -> (Verdict, Limiter) {
    let number = now.0 / window;
    let used = match before {
        // Of another window: what was used in it counts here, as long as it lasts.
        Some(window @ Limiter::Fixed { used, .. }) if window.until() > now => *used,
        _ => 0,
    };
    let allowed = used.saturating_add(cost) <= limit;
    let after = if allowed { used + cost } else { used };
    let reset_ms = (number + 1) * window - now.0;
    let retry_after_ms = wait(allowed, cost <= limit, reset_ms);
    let verdict = Verdict { allowed, remaining: limit.saturating_sub(after), reset_ms, retry_after_ms };
    (verdict, Limiter::Fixed { window, number, used: after })
}

fn slot_length(window: u64) -> u64 {
    window.div_ceil(SLOTS)
}

/// The last millisecond of a slot.
fn slot_end(slot: u64, window: u64) -> u64 {
    slot.saturating_add(1).saturating_mul(slot_length(window)).saturating_sub(1)
}

fn sliding(before: Option<&Limiter>, limit: u64, window: u64, cost: u64, now: Millis) -> (Verdict, Limiter) {
    let current = now.0 / slot_length(window);
    let mut slots = match before {
        Some(Limiter::Sliding { window: same, slots }) if *same == window => slots.clone(),
        // Another window: what was used within it counts as used now.
        Some(Limiter::Sliding { window: other, slots }) => {
            let live =
                slots.iter().filter(|(slot, _)| slot_end(*slot, *other).saturating_add(*other) > now.0);
            let used: u64 = live.map(|(_, used)| used).sum();
            if used == 0 { Vec::new() } else { vec![(current, used)] }
        }
        _ => Vec::new(),
    };
    let leaves = |slot: u64| slot_end(slot, window).saturating_add(window);
    slots.retain(|(slot, _)| leaves(*slot) > now.0);
    let used: u64 = slots.iter().map(|(_, used)| used).sum();
    let allowed = used.saturating_add(cost) <= limit;
    let mut retry_after_ms = wait(allowed, cost <= limit, 0);
    if allowed {
        match slots.last_mut() {
            Some((slot, used)) if *slot == current => *used += cost,
            _ => slots.push((current, cost)),
        }
    } else if cost <= limit {
        let mut left = used;
        let room = slots.iter().find(|(_, used)| {
            left -= used;
            left + cost <= limit
        });
        retry_after_ms = room.map(|(slot, _)| leaves(*slot) - now.0);
    }
    let after = if allowed { used + cost } else { used };
    let reset_ms = slots.last().map_or(0, |(slot, _)| leaves(*slot) - now.0);
    let verdict = Verdict { allowed, remaining: limit.saturating_sub(after), reset_ms, retry_after_ms };
    (verdict, Limiter::Sliding { window, slots })
}

fn bucket(
    before: Option<&Limiter>,
    (limit, refill, period): (u64, u64, u64),
    cost: u64,
    now: Millis,
) -> (Verdict, Limiter) {
    let debt = match before {
        Some(Limiter::Bucket { period: same, refill: speed, debt, at }) => {
            let passed = now.0.saturating_sub(at.0);
            let left = debt.saturating_sub(passed.saturating_mul(*speed));
            // In another period's units, never less than it was.
            if *same == period {
                left
            } else {
                u64::try_from((u128::from(left) * u128::from(period)).div_ceil(u128::from((*same).max(1))))
                    .unwrap_or(u64::MAX)
            }
        }
        _ => 0,
    };
    let (most, wanted) = (limit * period, cost.saturating_mul(period));
    let allowed = debt.saturating_add(wanted) <= most;
    let after = if allowed { debt + wanted } else { debt };
    let missing = debt.saturating_add(wanted).saturating_sub(most);
    let verdict = Verdict {
        allowed,
        remaining: most.saturating_sub(after) / period,
        reset_ms: after.div_ceil(refill),
        retry_after_ms: wait(allowed, cost <= limit, missing.div_ceil(refill)),
    };
    (verdict, Limiter::Bucket { period, refill, debt: after, at: now })
}

fn wait(allowed: bool, possible: bool, ms: u64) -> Option<u64> {
    match (allowed, possible) {
        (true, _) => Some(0),
        (false, true) => Some(ms),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets requests through as they come, and checks after each that the verdict's own words come true.
    fn let_through(rule: Rule, requests: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let (mut state, mut now, mut passed) = (None, 1_000_003, Vec::new());
        for (pause, cost) in requests {
            now += pause;
            let (verdict, after) = rule.decide(state.as_ref(), *cost, Millis(now)).expect("of this kind");
            assert_eq!(verdict.allowed, verdict.retry_after_ms == Some(0));
            match verdict.retry_after_ms {
                None => assert!(*cost > rule.limit()),
                Some(0) => {}
                Some(ms) => {
                    let at =
                        |ms| rule.decide(state.as_ref(), *cost, Millis(now + ms)).expect("of this kind").0;
                    assert!(at(ms).allowed, "after what it said, {ms} ms, it goes on");
                    assert!(!at(ms - 1).allowed, "and a millisecond earlier it does not");
                }
            }
            let (untouched, _) = rule.decide(None, 1, Millis(now + verdict.reset_ms)).expect("of this kind");
            if verdict.allowed {
                passed.push((now, *cost));
                assert_eq!(after.until().0, now + verdict.reset_ms, "then it can be forgotten");
                state = Some(after);
            }
            let (later, _) =
                rule.decide(state.as_ref(), 1, Millis(now + verdict.reset_ms)).expect("of this kind");
            assert_eq!(later.allowed, untouched.allowed, "after the reset it is as new");
            assert_eq!(later.remaining, untouched.remaining);
        }
        passed
    }

    fn within(passed: &[(u64, u64)], from: u64, length: u64) -> u64 {
        passed.iter().filter(|(at, _)| (from..from + length).contains(at)).map(|(_, cost)| cost).sum()
    }

    proptest! {
        #[test]
        fn no_aligned_window_lets_more_through(
            limit in 1..9_u64, window in 1..300_u64, requests in proptest::collection::vec((0..60_u64, 1..5_u64), 0..80),
        ) {
            let passed = let_through(Rule::Fixed { limit, window }, &requests);
            for (at, _) in &passed {
                prop_assert!(within(&passed, at / window * window, window) <= limit);
            }
        }

        #[test]
        fn no_span_lets_more_through(
            limit in 1..9_u64, window in 1..300_u64, requests in proptest::collection::vec((0..60_u64, 1..5_u64), 0..80),
        ) {
            let passed = let_through(Rule::Sliding { limit, window }, &requests);
            for (at, _) in &passed {
                prop_assert!(within(&passed, *at, window) <= limit);
            }
        }

        #[test]
        fn no_span_lets_more_through_than_capacity_and_refill(
            limit in 1..9_u64, refill in 1..5_u64, period in 1..200_u64,
            requests in proptest::collection::vec((0..60_u64, 1..5_u64), 0..80),
        ) {
            let passed = let_through(Rule::Bucket { limit, refill, period }, &requests);
            for (from, _) in &passed {
                for (to, _) in passed.iter().filter(|(to, _)| to >= from) {
                    let span = to - from;
                    prop_assert!(within(&passed, *from, span + 1) * period <= limit * period + span * refill);
                }
            }
        }
    }

    #[test]
    fn another_window_begins_with_what_was_used() {
        let now = Millis(1_000_000);
        for (one, other) in [
            (Rule::Fixed { limit: 5, window: 1000 }, Rule::Fixed { limit: 5, window: 999 }),
            (Rule::Sliding { limit: 5, window: 1000 }, Rule::Sliding { limit: 5, window: 10 }),
            (
                Rule::Bucket { limit: 5, refill: 1, period: 10 },
                Rule::Bucket { limit: 5, refill: 2, period: 30 },
            ),
        ] {
            let (_, state) = one.decide(None, 4, now).expect("a new one");
            let (verdict, state) = other.decide(Some(&state), 1, now).expect("of this kind");
            assert!(verdict.allowed && verdict.remaining == 0, "{other:?}: {verdict:?}");
            let (verdict, _) = one.decide(Some(&state), 1, now).expect("of this kind");
            assert!(!verdict.allowed, "{one:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_shorter_window_forgets_nothing_and_says_when_it_will_go_on() {
        let (now, day) = (Millis(1_000_000), 86_400_000);
        for (long, short) in [
            (Rule::Fixed { limit: 5, window: day }, Rule::Fixed { limit: 5, window: 1000 }),
            (Rule::Sliding { limit: 5, window: day }, Rule::Sliding { limit: 5, window: 1000 }),
            (
                Rule::Bucket { limit: 5, refill: 1, period: day },
                Rule::Bucket { limit: 5, refill: 1, period: 1000 },
            ),
        ] {
            let (_, full) = long.decide(None, 5, now).expect("a new one");
            let (refused, _) = short.decide(Some(&full), 1, now).expect("of this kind");
            let wait = refused.retry_after_ms.expect("some day");
            assert!(!refused.allowed && wait > day / 2, "{short:?}: {refused:?}");
            let at = |ms| short.decide(Some(&full), 1, Millis(now.0 + ms)).expect("of this kind").0.allowed;
            assert!(at(wait) && !at(wait - 1), "{short:?}: {refused:?}");
            // Nor does a large limit lift it for the others.
            let lifted = match short {
                Rule::Fixed { .. } => Rule::Fixed { limit: 1_000_000, window: 1 },
                Rule::Sliding { .. } => Rule::Sliding { limit: 1_000_000, window: 1 },
                Rule::Bucket { .. } => Rule::Bucket { limit: 1_000_000, refill: 1_000_000, period: 1 },
            };
            let (_, after) = lifted.decide(Some(&full), 1, now).expect("of this kind");
            assert!(
                !long.decide(Some(&after), 1, Millis(now.0 + 10)).expect("of this kind").0.allowed,
                "{long:?}"
            );
        }
    }

    #[test]
    fn one_kind_does_not_take_another_for_its_own() {
        let now = Millis(1_000_000);
        let (_, fixed) = Rule::Fixed { limit: 5, window: 10 }.decide(None, 1, now).expect("a new one");
        assert_eq!(Rule::Sliding { limit: 5, window: 10 }.decide(Some(&fixed), 1, now), None);
        assert_eq!(
            Rule::Fixed { limit: 5, window: 10 }.decide(Some(&Limiter::Places(Members::default())), 1, now),
            None
        );
    }
}
