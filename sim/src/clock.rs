//! A node's two clocks. The monotonic one starts at zero with every boot and runs at a rate of its own,
//! within the bound that the database's lease arithmetic assumes; the wall clock has an offset and jumps
//! in both directions. All times of the world itself are true time, in microseconds.

use steadfast_core::time::{Micros, Millis, Stamp};

/// The date at which every run begins: 2023-11-14, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// The largest error of a clock's rate, in millionths (0.05 %): what the database's slack is made for.
pub const MAX_DRIFT_PPM: i32 = 500;

/// One node's clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Rate error in millionths.
    drift_ppm: i32,
    /// True time at which the present rate began, and the monotonic time there.
    anchor: (u64, u64),
    /// What the wall clock shows beyond true time, in milliseconds.
    wall_offset_ms: i64,
    /// True time since which the monotonic clock stands, while the machine is suspended.
    suspended: Option<u64>,
}

impl Clock {
    /// A clock that has never run.
    #[must_use]
    pub fn new(drift_ppm: i32, wall_offset_ms: i64) -> Self {
        Self::wild(bounded(drift_ppm), wall_offset_ms)
    }

    /// The same, off by whatever is asked for, up to half of the time.
    #[must_use]
    pub fn wild(drift_ppm: i32, wall_offset_ms: i64) -> Self {
        let drift_ppm = drift_ppm.clamp(-500_000, 500_000);
        Self { drift_ppm, anchor: (0, 0), wall_offset_ms, suspended: None }
    }

    /// The process starts: its monotonic clock begins anew.
    pub fn boot(&mut self, now: u64) {
        self.anchor = (now, 0);
        self.suspended = None;
    }

    /// What the node's driver would read at true time `now`.
    #[must_use]
    pub fn stamp(&self, now: u64) -> Stamp {
        let wall = i128::from(EPOCH_MS) + i128::from(now / 1000) + i128::from(self.wall_offset_ms);
        Stamp { mono: Micros(self.mono(now)), wall: Millis(u64::try_from(wall).unwrap_or(0)) }
    }

    /// The true time at which the monotonic clock will show `mono`, at its present rate.
    #[must_use]
    pub fn true_time(&self, mono: Micros) -> u64 {
        let ahead = mono.0.saturating_sub(self.anchor.1);
        let rate = (1_000_000 + i64::from(self.drift_ppm)) as u128;
        let span = (u128::from(ahead) * 1_000_000).div_ceil(rate);
        self.anchor.0.saturating_add(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// From now on the monotonic clock runs at another rate.
    pub fn set_drift(&mut self, now: u64, drift_ppm: i32) {
        self.anchor = (now, self.mono(now));
        self.drift_ppm = bounded(drift_ppm);
    }

    /// The wall clock is set by so much.
    pub fn jump_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms = self.wall_offset_ms.saturating_add(by_ms);
    }

    /// The machine is suspended: its monotonic clock stands.
    pub fn suspend(&mut self, now: u64) {
        self.suspended.get_or_insert(now);
    }

    /// The machine goes on, and believes that no time has passed.
    pub fn resume(&mut self, now: u64) {
        if let Some(since) = self.suspended.take() {
            self.anchor = (now, self.running(since));
        }
    }

    fn mono(&self, now: u64) -> u64 {
        self.running(self.suspended.unwrap_or(now))
    }

    fn running(&self, now: u64) -> u64 {
        let span = u128::from(now.saturating_sub(self.anchor.0));
        let rate = (1_000_000 + i64::from(self.drift_ppm)) as u128;
        self.anchor.1 + (span * rate / 1_000_000) as u64
    }
}

fn bounded(drift_ppm: i32) -> i32 {
    drift_ppm.clamp(-MAX_DRIFT_PPM, MAX_DRIFT_PPM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mono(clock: &Clock, now: u64) -> u64 {
        clock.stamp(now).mono.0
    }

    #[test]
    fn a_clock_begins_at_zero_with_every_boot_and_runs_at_its_rate() {
        let mut clock = Clock::new(500, 0);
        clock.boot(5_000_000);
        assert_eq!(mono(&clock, 5_000_000), 0);
        assert_eq!(mono(&clock, 6_000_000), 1_000_500);
    }

    #[test]
    fn the_monotonic_clock_never_goes_back_through_rate_changes_and_suspensions() {
        let mut clock = Clock::new(500, 0);
        clock.boot(0);
        let mut last = 0;
        for second in 1..100 {
            let now = second * 1_000_000;
            match second % 3 {
                0 => clock.set_drift(now, if second % 2 == 0 { 500 } else { -500 }),
                1 => clock.suspend(now),
                _ => clock.resume(now),
            }
            assert!(mono(&clock, now) >= last);
            last = mono(&clock, now);
        }
    }

    #[test]
    fn a_suspended_machine_believes_that_no_time_has_passed() {
        let mut clock = Clock::new(0, 0);
        clock.boot(0);
        clock.suspend(1_000_000);
        clock.resume(61_000_000);
        assert_eq!(mono(&clock, 62_000_000), 2_000_000);
        assert_eq!(clock.stamp(62_000_000).wall.0, EPOCH_MS + 62_000, "its wall clock knows better");
    }

    #[test]
    fn a_wake_time_is_never_early() {
        for drift in [-500, -1, 0, 1, 333, 500] {
            let mut clock = Clock::new(drift, 0);
            clock.boot(17);
            for wish in [0, 1, 999, 50_000, 1_234_567, 60_000_000] {
                assert!(mono(&clock, clock.true_time(Micros(wish))) >= wish, "{drift} {wish}");
            }
        }
    }

    #[test]
    fn the_wall_clock_jumps_both_ways_and_stops_at_the_beginning_of_time() {
        let mut clock = Clock::new(0, 250);
        assert_eq!(clock.stamp(0).wall.0, EPOCH_MS + 250);
        clock.jump_wall(-1_000);
        assert_eq!(clock.stamp(0).wall.0, EPOCH_MS - 750);
        clock.jump_wall(i64::MIN);
        assert_eq!(clock.stamp(0).wall.0, 0);
    }
}
