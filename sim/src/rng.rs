//! Random streams: one ChaCha stream per subsystem, each derived from the run's seed and the subsystem's
//! name, so that removing one draw does not shift all the others (FoundationDB's and TigerBeetle's
//! simulators both learnt that a single shared stream makes a shrunk run a different run).
//!
//! Everything is integer arithmetic: the same seed gives the same run on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// One subsystem's random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream called `name` of the run with this seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        Self::numbered(seed, name, 0)
    }

    /// The `n`th stream called `name`: one per node, client or link.
    #[must_use]
    pub fn numbered(seed: u64, name: &str, n: u64) -> Self {
        let mut hash = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            hash = mix(hash ^ u64::from(byte));
        }
        hash = mix(hash ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (i, chunk) in key[8..].chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&mix(hash.wrapping_add(i as u64)).to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; zero if `n` is zero. Draws once whatever `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "a range of random numbers must not be empty: {low} to {high}");
        low + self.below(high - low + 1)
    }

    /// A signed number from `low` to `high`, both included.
    pub fn between_signed(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "a range of random numbers must not be empty: {low} to {high}");
        low + self.below((high - low) as u64 + 1) as i64
    }

    /// True so many times in a million. Draws once whatever the rate is, so that setting a rate to zero
    /// leaves the rest of the stream where it was.
    pub fn chance(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        assert!(!items.is_empty(), "nothing to pick from");
        &items[self.below(items.len() as u64) as usize]
    }

    /// A number between the two whose order of magnitude is uniform: small ones as often as large ones.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let (from, to) = (low.max(1).ilog2(), high.max(1).ilog2());
        let power = self.between(u64::from(from), u64::from(to.max(from)));
        self.between(1 << power, (2 << power) - 1).clamp(low, high.max(low))
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill_bytes(buffer);
    }

    /// A seed for a node or client.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        seed
    }
}

/// How long something takes: a base, uniform jitter, and now and then a heavy tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// At least this, in microseconds.
    pub base_us: u64,
    /// Plus up to this.
    pub jitter_us: u64,
    /// How often the tail is added, in a million.
    pub tail_ppm: u32,
    /// The longest tail; its order of magnitude is uniform.
    pub tail_us: u64,
}

impl Delay {
    /// Draws one, in microseconds, at least 1. Always the same number of draws.
    pub fn draw(&self, stream: &mut Stream) -> u64 {
        let body = self.base_us + stream.below(self.jitter_us + 1);
        let tail = stream.chance(self.tail_ppm);
        let length = stream.bits();
        if !tail || self.tail_us == 0 {
            return body.max(1);
        }
        let power = length % u64::from(self.tail_us.ilog2() + 1);
        body + ((length >> 8) % (2 << power)).min(self.tail_us)
    }
}

/// The finaliser of splitmix64: every input bit changes half of the output bits.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_by_name_and_number_and_repeat() {
        let first = |mut stream: Stream| stream.bits();
        assert_eq!(first(Stream::new(7, "disk")), first(Stream::new(7, "disk")));
        assert_ne!(first(Stream::new(7, "disk")), first(Stream::new(7, "network")));
        assert_ne!(first(Stream::new(7, "disk")), first(Stream::new(8, "disk")));
        assert_ne!(first(Stream::numbered(7, "disk", 1)), first(Stream::numbered(7, "disk", 2)));
    }

    #[test]
    fn a_rate_of_zero_draws_as_often_as_any_other() {
        let (mut with, mut without) = (Stream::new(1, "x"), Stream::new(1, "x"));
        with.chance(500_000);
        without.chance(0);
        assert_eq!(with.bits(), without.bits());
    }

    #[test]
    fn delays_stay_in_their_bounds_and_reach_the_tail() {
        let mut stream = Stream::new(3, "delay");
        let delay = Delay { base_us: 100, jitter_us: 50, tail_ppm: 50_000, tail_us: 100_000 };
        let drawn: Vec<u64> = (0..10_000).map(|_| delay.draw(&mut stream)).collect();
        assert!(drawn.iter().all(|us| (100..=100_150).contains(us)));
        assert!(drawn.iter().any(|us| *us > 10_000), "the tail is never reached");
        assert!(drawn.iter().filter(|us| **us <= 150).count() > 9_000, "the tail is the rule");
    }
}
