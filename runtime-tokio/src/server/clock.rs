//! The machine's two clocks as the core's [`Stamp`]. Decides nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use steadfast_core::time::{Micros, Millis, Stamp};

/// How far a node's clocks are off from the machine's, so that a test on one machine can set its nodes' clocks apart. Nothing that
/// an operator can say sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// The wall clock is ahead by so many milliseconds, or behind.
    pub wall_ms: i64,
    /// The monotonic clock, and with it the wall clock, is fast by so many millionths, or slow.
    pub drift_ppm: i32,
}

/// The clocks since the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    skew: Skew,
}

impl Clock {
    /// Clocks that are off by this much, and whose monotonic zero is now.
    #[must_use]
    pub fn start(skew: Skew) -> Self {
        Self { origin: Instant::now(), skew }
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self) -> Stamp {
        let elapsed = i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX);
        let drift = (i128::from(elapsed) * i128::from(self.skew.drift_ppm) / 1_000_000) as i64;
        let mono = elapsed.saturating_add(drift).unsigned_abs();
        // A machine that believes to live before 1970 is told to the core as 1970; cluster time never
        // goes back because of it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let wall = wall.saturating_add(self.skew.wall_ms).saturating_add(drift / 1000);
        Stamp { mono: Micros(mono), wall: Millis(u64::try_from(wall).unwrap_or(0)) }
    }
}

/// A span of the core as the standard library's.
#[must_use]
pub fn duration(span: Micros) -> Duration {
    Duration::from_micros(span.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_off_by_what_was_said_and_by_nothing_else() {
        let machine = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
            i64::try_from(since.as_millis()).expect("and before the year 292 million")
        };
        for wall_ms in [0, 3_600_000, -3_600_000] {
            let clock = Clock::start(Skew { wall_ms, drift_ppm: 0 });
            let (before, wall, after) = (machine(), clock.now().wall.0 as i64, machine());
            assert!((before + wall_ms..=after + wall_ms).contains(&wall), "{wall} with {wall_ms}");
        }
        let [fast, slow] = [100_000, -100_000].map(|drift_ppm| Clock::start(Skew { wall_ms: 0, drift_ppm }));
        std::thread::sleep(Duration::from_millis(20));
        let (slow, fast) = (slow.now(), fast.now());
        assert!(slow.mono.0 >= 18_000, "{slow:?}");
        assert!(fast.mono.since(slow.mono).0 >= 4_000, "{slow:?}, and later {fast:?}");
        assert!(fast.wall.0 >= slow.wall.0 + 3, "{slow:?}, and later {fast:?}");
    }

    #[test]
    fn a_wall_clock_before_1970_is_1970() {
        let clock = Clock::start(Skew { wall_ms: i64::MIN, drift_ppm: 0 });
        assert_eq!(clock.now().wall, Millis(0));
    }
}
