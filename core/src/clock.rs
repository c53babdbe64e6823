//! Cluster time: what the leader's clock makes of the last logged time.
//!
//! Cluster time is the last logged time plus the leader's monotonic time since. The machine's wall clock only
//! slews it, by at most one part in [`SLEW`]: a wall clock that jumps moves nothing at once. A new leader goes on
//! from its log. Followers have no cluster time; nothing expires by a local decision.
//!
//! A span that was measured with this clock can be short of the true span by the slew and by the drift of the
//! machine's oscillator. Deadlines therefore carry a slack of one part in [`SLACK`] (`state::effect::Deadline`),
//! which covers both as long as the oscillator is good to one part in a thousand.

use crate::time::{Micros, Millis, Stamp};

/// The wall clock pulls at most one part in this many.
pub const SLEW: u64 = 1000;

/// A relative deadline is granted one part in this many on top, and a millisecond.
pub const SLACK: u64 = 500;

/// A leader's clock.
#[derive(Clone, Debug)]
pub struct ClusterClock {
    /// Cluster time at `read_at`, in nanoseconds, so that even the pull of one microsecond counts.
    nanos: u64,
    read_at: Stamp,
}

impl ClusterClock {
    /// Goes on from the last logged time. A cluster that has logged none begins with the wall clock's.
    #[must_use]
    pub fn resume(logged: Millis, now: Stamp) -> Self {
        let time = if logged == Millis(0) { now.wall } else { logged };
        Self { nanos: time.0.saturating_mul(NANOS), read_at: now }
    }

    /// Cluster time now. Never less than at the call before.
    pub fn read(&mut self, now: Stamp) -> Millis {
        let elapsed = now.mono.since(self.read_at.mono).0.saturating_mul(1000);
        let wall = now.wall.0.saturating_mul(NANOS);
        let plain = self.nanos.saturating_add(elapsed);
        let pull = elapsed / SLEW;
        // The wall clock is read in milliseconds: less than one is no difference.
        self.nanos = if wall >= plain.saturating_add(NANOS) {
            plain.saturating_add(pull)
        } else if wall.saturating_add(NANOS) <= plain {
            plain.saturating_sub(pull)
        } else {
            plain
        };
        self.read_at = now;
        Millis(self.nanos / NANOS)
    }
}

impl ClusterClock {
    /// The monotonic time at which this clock will read `time`, if nothing slews it.
    #[must_use]
    pub fn when(&self, time: Millis) -> Micros {
        let span = time.0.saturating_mul(NANOS).saturating_sub(self.nanos);
        self.read_at.mono.after(Micros(span.div_ceil(1000)))
    }
}

/// Nanoseconds in a millisecond.
const NANOS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mono_ms: u64, wall_ms: u64) -> Stamp {
        Stamp { mono: Micros::from_millis(mono_ms), wall: Millis(wall_ms) }
    }

    #[test]
    fn a_founding_cluster_begins_with_the_wall_clock() {
        let mut clock = ClusterClock::resume(Millis(0), stamp(5, 1_000_000));
        assert_eq!(clock.read(stamp(15, 1_000_010)), Millis(1_000_010));
    }

    #[test]
    fn a_jump_of_the_wall_clock_moves_time_by_at_most_the_slew() {
        for wall in [1, 100_000_000_000] {
            let mut clock = ClusterClock::resume(Millis(1_000_000), stamp(0, 1_000_000));
            let time = clock.read(stamp(10_000, wall));
            assert!(time.0.abs_diff(1_010_000) <= 10_000 / SLEW, "{time} after ten seconds");
        }
    }

    #[test]
    fn many_short_reads_slew_as_one_long_one_and_never_go_back() {
        for wall in [1, 100_000_000_000] {
            let mut clock = ClusterClock::resume(Millis(1_000_000), stamp(0, wall));
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
}
