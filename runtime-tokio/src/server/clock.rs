//! The machine's two clocks as the core's [`Stamp`]. Decides nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use steadfast_core::time::{Micros, Millis, Stamp};

/// The clocks since the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic zero is now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self) -> Stamp {
        let mono = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        // A machine that believes to live before 1970 is told to the core as 1970; cluster time never
        // goes back because of it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Stamp { mono: Micros(mono), wall: Millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)) }
    }
}

/// A span of the core as the standard library's.
#[must_use]
pub fn duration(span: Micros) -> Duration {
    Duration::from_micros(span.0)
}
