//! Cluster time: what the leader's clock makes of the last logged time.
//!
//! Cluster time is the last logged time plus the leader's monotonic time since. Wall clocks only slew it, by at most one part in
//! [`SLEW`]: a wall clock that jumps moves nothing at once. A new leader goes on from its log. Followers have no cluster time; nothing
//! expires by a local decision.
//!
//! **Which wall clocks.** Not the leader's own, which may be wrong, but what a majority of the voters' clocks agrees on (`samples.rs`,
//! `marzullo.rs`): an interval, in which the right time lies as long as some majority's clocks are good to half of the bound.
//!
//! | what is known | time is slewed |
//! |---|---|
//! | a majority agrees, the leader's clock with it | towards the leader's own wall clock |
//! | a majority agrees, and the leader's clock is off | towards the middle of what the majority agrees on |
//! | a majority was heard, and no majority agrees | back, if it is later than a majority of the clocks says; never forward |
//! | too few were heard, or nobody of late | not at all: it goes by the monotonic clock alone |
//!
//! **Nothing expires early.** A span that was measured with this clock can be longer than the true span by the slew and by the drift of
//! the machine's oscillator. Deadlines therefore carry a slack of one part in [`SLACK`] (`state::effect::Deadline`), which covers both as
//! long as the oscillator is good to one part in a thousand: no wall clock comes into it, so that none can break it. What wall clocks decide
//! is where time is, for what has a date: ids that were made at a time, and people who look at it. For that:
//!
//! - *Forward, time goes only towards what is right or into what is trusted.* If a majority's clocks are good, the right time lies in the
//!   interval, the leader's own clock is taken if it lies there too, and so time that is slewed never comes to lie further from the right time
//!   than that interval is wide. Where no majority agrees nobody knows what is right, and time that waits is the better error.
//! - *Back, fewer suffice.* If a majority of the clocks each say that it is earlier than cluster time, and some majority's clocks are good,
//!   one of these is good (two majorities have one in common), so that it is earlier indeed. Slewed back, time still goes on, and is never
//!   earlier than it was: all expiries wait, and none is undone.
//! - A leader whose monotonic clock is fast is seen by the others' wall clocks to be, and slowed by as much as one part in a thousand.
//!
//! **What is left.** An oscillator that is fast by more than the slack allows makes time run too fast, and what has a time to live ends early.
//! If it is, a majority's wall clocks show it (`time_off_ms` of INFO grows), and the slew makes good only its own part. One that stands still, in a
//! machine that is suspended, makes time late. And the first time that a cluster logs is that of its first leader's wall clock, whom nobody
//! can check yet.

pub mod marzullo;
pub mod samples;

use std::cmp::Ordering;

use crate::time::{Micros, Millis, Stamp};
use marzullo::Interval;
use samples::{Accord, offset};

/// Wall clocks pull at most one part in this many.
pub const SLEW: u64 = 1000;

/// A relative deadline is granted one part in this many on top, and a millisecond.
pub const SLACK: u64 = 500;

/// A leader's clock.
#[derive(Clone, Debug)]
pub struct ClusterClock {
    /// Cluster time at `read_at`, in nanoseconds, so that even the pull of one microsecond counts.
    nanos: u64,
    read_at: Stamp,
    /// What the voters' wall clocks say, as offsets from the monotonic one.
    accord: Accord,
    /// Until when that is believed.
    believed: Micros,
}

impl ClusterClock {
    /// Goes on from the last logged time. A cluster that has logged none begins with the wall clock's.
    #[must_use]
    pub fn resume(logged: Millis, now: Stamp) -> Self {
        let time = if logged == Millis(0) { now.wall } else { logged };
        let nanos = time.0.saturating_mul(NANOS);
        Self { nanos, read_at: now, accord: Accord::Unknown, believed: Micros(0) }
    }

    /// From now on the voters' wall clocks are known to say this. It is believed until `until`; who has not looked again by then was asleep.
    pub fn learn(&mut self, accord: Accord, now: Stamp, until: Micros) {
        // What was known before holds for the time before.
        self.read(now);
        (self.accord, self.believed) = (accord, until);
    }

    /// Cluster time now. Never less than at the call before.
    pub fn read(&mut self, now: Stamp) -> Millis {
        let elapsed = now.mono.since(self.read_at.mono).0.saturating_mul(1000);
        let plain = self.nanos.saturating_add(elapsed);
        let pull = elapsed / SLEW;
        self.nanos = match self.slew(plain, now) {
            (Ordering::Greater, most) => plain.saturating_add(pull.min(most)),
            (Ordering::Less, most) => plain.saturating_sub(pull.min(most)),
            (Ordering::Equal, _) => plain,
        };
        self.read_at = now;
        Millis(self.nanos / NANOS)
    }

    /// In which direction a time has to go, and how far.
    fn slew(&self, time: u64, now: Stamp) -> (Ordering, u64) {
        let (low, high) = match self.accord {
            _ if now.mono > self.believed => return (Ordering::Equal, 0),
            Accord::Unknown => return (Ordering::Equal, 0),
            Accord::Agreed(right) => {
                let aim = nanos(aim(right, now), now.mono);
                (aim, aim)
            }
            Accord::Apart(latest) => (0, nanos(latest, now.mono)),
        };
        // A wall clock is read in milliseconds: less than one is no difference.
        if time.saturating_add(NANOS) <= low {
            (Ordering::Greater, low - time)
        } else if time >= high.saturating_add(NANOS) {
            (Ordering::Less, time - high)
        } else {
            (Ordering::Equal, 0)
        }
    }

    /// By how many milliseconds this clock is ahead of what wall clocks that agree say, or behind if that is less than zero: of their
    /// middle. None where too little is known.
    #[must_use]
    pub fn off(&self) -> Option<i64> {
        let Accord::Agreed(right) = self.accord else { return None };
        let middle = nanos(right.middle(), self.read_at.mono) / NANOS;
        Some(i64::try_from(i128::from(self.nanos / NANOS) - i128::from(middle)).unwrap_or(i64::MAX))
    }

    /// The monotonic time at which this clock will read `time`, if nothing slews it.
    #[must_use]
    pub fn when(&self, time: Millis) -> Micros {
        let span = time.0.saturating_mul(NANOS).saturating_sub(self.nanos);
        self.read_at.mono.after(Micros(span.div_ceil(1000)))
    }
}

/// Where wall clocks that agree want time to be, as an offset: where the own one is, if it is one of them.
fn aim(right: Interval, now: Stamp) -> i64 {
    let own = offset(now.wall, now.mono);
    if right.holds(own) { own } else { right.middle() }
}

/// The time that an offset means, in nanoseconds. There is none before 1970.
fn nanos(offset: i64, mono: Micros) -> u64 {
    let micros = i128::from(offset) + i128::from(mono.0);
    u64::try_from(micros.max(0)).unwrap_or(u64::MAX).saturating_mul(1000)
}

/// Nanoseconds in a millisecond.
const NANOS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Micros = Micros(u64::MAX);

    fn stamp(mono_ms: u64, wall_ms: u64) -> Stamp {
        Stamp { mono: Micros::from_millis(mono_ms), wall: Millis(wall_ms) }
    }

    /// A clock that shows 1000000 at the zero of the monotonic one.
    fn clock() -> ClusterClock {
        ClusterClock::resume(Millis(1_000_000), stamp(0, 1_000_000))
    }

    /// One to which a majority has said at its start that it is between these times.
    fn told(low_ms: u64, high_ms: u64) -> ClusterClock {
        let mut clock = clock();
        clock.learn(between(low_ms, high_ms), stamp(0, 1_000_000), FOREVER);
        clock
    }

    fn between(low_ms: u64, high_ms: u64) -> Accord {
        let micros = |millis: u64| millis as i64 * 1000;
        Accord::Agreed(Interval { low: micros(low_ms), high: micros(high_ms) })
    }

    /// How far a clock is slewed within ten seconds in which the own wall clock shows this all the time.
    fn slewed(mut clock: ClusterClock, wall: u64) -> i64 {
        clock.read(stamp(10_000, wall)).0 as i64 - 1_010_000
    }

    #[test]
    fn a_founding_cluster_begins_with_the_wall_clock() {
        let mut clock = ClusterClock::resume(Millis(0), stamp(5, 1_000_000));
        assert_eq!(clock.read(stamp(15, 1_000_010)), Millis(1_000_010));
    }

    #[test]
    fn a_jump_of_the_wall_clocks_moves_time_by_at_most_the_slew() {
        for at in [1, 100_000_000_000] {
            let slewed = slewed(told(at, at), at);
            assert_eq!(slewed.unsigned_abs(), 10_000 / SLEW, "{slewed} in ten seconds");
        }
    }

    #[test]
    fn many_short_reads_slew_as_one_long_one_and_never_go_back() {
        for wall in [1, 100_000_000_000] {
            let mut clock = told(wall, wall);
            let mut last = Millis(0);
            for step in 0..1_000_000 {
                let time = clock.read(Stamp { mono: Micros(step * 10), wall: Millis(wall) });
                assert!(time >= last, "time went back from {last} to {time}");
                last = time;
            }
            let drift = last.0.abs_diff(1_009_999);
            assert!((8..=11).contains(&drift), "slewed {drift} ms in ten seconds");
        }
    }

    #[test]
    fn an_old_log_goes_on_where_it_ended() {
        let mut clock = ClusterClock::resume(Millis(1_000), stamp(0, 9_000_000));
        assert_eq!(clock.read(stamp(0, 9_000_000)), Millis(1_000));
    }

    #[test]
    fn the_own_wall_clock_leads_only_where_a_majority_agrees_with_it() {
        let own = 1_010_004;
        assert_eq!(slewed(told(999_900, 1_000_100), own), 4, "it is one of those who agree");
        assert_eq!(
            slewed(told(999_900, 1_000_100), 1_020_000),
            0,
            "it is not, and the middle is where time is"
        );
        assert_eq!(slewed(told(999_900, 1_000_700), 1), 10, "the middle is ahead of time");
        assert_eq!(slewed(told(999_000, 999_990), u64::MAX), -10, "and here behind it");
    }

    #[test]
    fn time_goes_no_further_than_where_it_is_to_go() {
        assert_eq!(slewed(told(1_000_000, 1_000_006), 9_999_999), 3);
        assert_eq!(slewed(told(999_994, 1_000_000), 9_999_999), -3);
    }

    #[test]
    fn where_too_little_is_known_nothing_slews() {
        for wall in [1, 100_000_000_000] {
            assert_eq!(slewed(clock(), wall), 0);
            let mut forgotten = clock();
            forgotten.learn(between(wall, wall), stamp(0, wall), Micros::from_millis(9_999));
            assert_eq!(slewed(forgotten, wall), 0, "it was believed for less than ten seconds");
        }
    }

    #[test]
    fn where_clocks_are_apart_time_waits_and_never_hurries() {
        let apart = |latest_ms: i64| {
            let mut clock = clock();
            clock.learn(Accord::Apart(latest_ms * 1000), stamp(0, 1), FOREVER);
            slewed(clock, 100_000_000_000)
        };
        assert_eq!(apart(5_000_000), 0, "it may be later than cluster time, and nobody knows");
        assert_eq!(apart(999_000), -10, "it is earlier, whoever is right");
    }

    #[test]
    fn what_is_learnt_is_not_applied_to_the_time_before() {
        let mut clock = clock();
        clock.learn(between(5_000_000, 5_000_000), stamp(10_000, 1), FOREVER);
        assert_eq!(clock.read(stamp(10_000, 1)), Millis(1_010_000));
        assert_eq!(clock.off(), Some(-4_000_000));
        assert_eq!(clock.read(stamp(20_000, 1)), Millis(1_020_010));
    }
}
