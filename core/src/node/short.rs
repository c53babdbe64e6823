//! A disk without space for a snapshot: when one is tried again, and who is to make do with less meanwhile.
//!
//! Without a snapshot the log can't be shortened, and on a full disk the log's next segment would take every byte that
//! comes free. So every other try has that space: a small snapshot of a long log makes more than it takes. Where even
//! that is not enough, the log takes its space back, and the tries become rare.

use crate::time::Micros;

/// How long the log's space is left alone before it is tried; and how long it then stays free for somebody to try.
const FIRST_PAUSE: Micros = Micros::from_millis(1000);

/// Longest time between two tries that fail.
const LONGEST_PAUSE: Micros = Micros::from_millis(64_000);

/// Whether space is lacking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Short {
    /// It is not known to be.
    #[default]
    No,
    /// It is.
    Since {
        /// Before then nothing is tried.
        retry_at: Micros,
        /// How long the log then keeps its space, if that fails too.
        pause: Micros,
        /// Whether the log leaves its space to that try.
        yields: bool,
    },
}

impl Short {
    /// A try has failed; or one must not wait until it is due, as the log has no space to grow.
    pub fn failed(&mut self, now: Micros) {
        let (wait, pause, yields) = match *self {
            Self::No => (FIRST_PAUSE, FIRST_PAUSE, true),
            Self::Since { pause, yields: false, .. } => (FIRST_PAUSE, pause, true),
            Self::Since { pause, yields: true, .. } => (pause, Micros(pause.0 * 2).min(LONGEST_PAUSE), false),
        };
        *self = Self::Since { retry_at: now.after(wait), pause, yields };
    }

    /// Time has passed. What is left free for a try must not stay so for ever, if nobody makes one.
    pub fn tick(&mut self, now: Micros, busy: bool) {
        if let Self::Since { retry_at, yields: true, .. } = self
            && !busy
            && now >= retry_at.after(FIRST_PAUSE)
        {
            self.failed(now);
        }
    }

    /// When the next try may be, if one failed.
    pub fn retry_at(&self) -> Option<Micros> {
        match self {
            Self::No => None,
            Self::Since { retry_at, .. } => Some(*retry_at),
        }
    }

    /// Whether nothing may be tried yet.
    pub fn waits(&self, now: Micros) -> bool {
        self.retry_at().is_some_and(|at| now < at)
    }

    /// Whether the log is to leave its space to a try that is due or under way. Not before: what it has prepared is also
    /// what the next start finds on a full disk.
    pub fn yields(&self, now: Micros) -> bool {
        matches!(*self, Self::Since { yields: true, retry_at, .. } if now >= retry_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_try_has_the_logs_space_and_failing_ones_become_rare() {
        let (mut short, mut now) = (Short::default(), Micros(0));
        assert_eq!((short.retry_at(), short.waits(now), short.yields(now)), (None, false, false));
        let mut tries = Vec::new();
        for _ in 0..18 {
            short.failed(now);
            let at = short.retry_at().expect("it is tried again");
            assert!(short.waits(now) && !short.yields(now), "not before it is due");
            assert!(!short.waits(at));
            tries.push((at.since(now).0 / 1_000_000, short.yields(at)));
            now = at;
        }
        let pauses = [1, 2, 4, 8, 16, 32, 64, 64, 64];
        let expected: Vec<_> = pauses.iter().flat_map(|pause| [(1, true), (*pause, false)]).collect();
        assert_eq!(tries, expected);
    }

    #[test]
    fn space_that_nobody_takes_goes_back_to_the_log() {
        let mut short = Short::default();
        short.failed(Micros(0));
        let due = short.retry_at().expect("it is tried again");
        let late = due.after(FIRST_PAUSE);
        short.tick(due, false);
        assert!(short.yields(due));
        short.tick(late, true);
        assert!(short.yields(late), "a try is under way");
        short.tick(late, false);
        assert!(!short.yields(late) && short.waits(late));
        let again = short.retry_at().expect("it is tried again");
        short.tick(again.after(LONGEST_PAUSE), false);
        assert_eq!(short.retry_at(), Some(again), "the log has its space");
    }
}
