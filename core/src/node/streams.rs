//! A node's randomness: one stream for each part that draws, so that removing one draw does not shift the others.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// The streams that one seed gives.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// Incarnations, nonces and hash seeds.
    pub identity: ChaCha8Rng,
    /// Election time-outs.
    pub raft: ChaCha8Rng,
    /// The first administrator's password.
    pub root: ChaCha8Rng,
    /// Salts of connections' passwords.
    pub passwords: ChaCha8Rng,
}

impl Streams {
    /// The streams of a start's seed.
    pub fn new(seed: [u8; 32]) -> Self {
        let stream = |number| {
            let mut rng = ChaCha8Rng::from_seed(seed);
            rng.set_stream(number);
            rng
        };
        Self { identity: stream(1), raft: stream(2), root: stream(3), passwords: stream(4) }
    }
}
