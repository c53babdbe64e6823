//! The client's randomness: identities of attempts, and pauses that do not let a thousand clients come back in
//! the same millisecond. Everything is drawn from the seed; each use has its own stream.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

use super::config::ClientConfig;
use crate::time::Micros;

/// Draws identities and pauses.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    ids: ChaCha8Rng,
    pauses: ChaCha8Rng,
    shortest: u64,
    longest: u64,
}

impl Pace {
    pub(super) fn new(config: &ClientConfig, seed: [u8; 32]) -> Self {
        let stream = |number| {
            let mut rng = ChaCha8Rng::from_seed(seed);
            rng.set_stream(number);
            rng
        };
        let shortest = Micros::from_millis(u64::from(config.backoff_min_ms.max(1))).0;
        let longest = Micros::from_millis(u64::from(config.backoff_max_ms)).0.max(shortest);
        Self { ids: stream(1), pauses: stream(2), shortest, longest }
    }

    /// A fresh identity (UUID version 4).
    pub(super) fn id(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.ids.fill_bytes(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// How long to wait after the `failures`th failure in a row, from 1: exponential, with a random half left
    /// out (Brooker, "Exponential Backoff and Jitter", AWS 2015, "equal jitter").
    pub(super) fn pause(&mut self, failures: u32) -> Micros {
        let doublings = failures.saturating_sub(1).min(32);
        let whole = self.shortest.saturating_mul(1 << doublings).min(self.longest);
        let half = whole / 2;
        Micros(half + self.pauses.next_u64() % (whole - half + 1))
    }

    /// How long to wait if the server says after how many milliseconds it has room: no less, and up to half more, or all who were
    /// refused at once would come back at once.
    pub(super) fn after(&mut self, millis: u32) -> Micros {
        let whole = Micros::from_millis(u64::from(millis)).0;
        Micros(whole + self.pauses.next_u64() % (whole / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_at_most_half_is_left_out() {
        let config =
            ClientConfig { backoff_min_ms: 10, backoff_max_ms: 1000, ..ClientConfig::new(vec!["a".into()]) };
        let mut pace = Pace::new(&config, [1; 32]);
        for (failures, whole) in
            [(1, 10_000), (2, 20_000), (5, 160_000), (9, 1_000_000), (u32::MAX, 1_000_000)]
        {
            let pause = pace.pause(failures).0;
            assert!((whole / 2..=whole).contains(&pause), "{pause} after {failures}");
        }
    }

    #[test]
    fn the_seed_alone_decides_identities_and_they_differ() {
        let config = ClientConfig::new(vec!["a".into()]);
        let mut pace = Pace::new(&config, [1; 32]);
        let (first, second) = (pace.id(), pace.id());
        assert_ne!(first, second);
        assert_eq!(Pace::new(&config, [1; 32]).id(), first);
        assert_ne!(Pace::new(&config, [2; 32]).id(), first);
    }
}
