//! What is asked of every program that is measured, the data that all are given, and loading it.

use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use crate::load::Dice;

/// Length of all values, in bytes.
pub const VALUE_BYTES: usize = 100;
/// Keys that are handed to a client at once while they are loaded.
const BATCH: u64 = 250;
/// How many clients load.
const LOADERS: usize = 6;
/// How long a program may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(1);

/// Letters of which values are made; six bits each, so that no compression makes much of them.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The name of a key.
#[must_use]
pub fn key(number: u64) -> Vec<u8> {
    format!("session:{number:012}:user").into_bytes()
}

/// A value; another one for every seed.
#[must_use]
pub fn value(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..VALUE_BYTES).map(|_| LETTERS[dice.below(64) as usize]).collect()
}

/// A connection to a program.
pub trait Client: Send {
    /// Writes one key, and returns when it is acknowledged.
    ///
    /// # Errors
    /// If it is not.
    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()>;

    /// Writes many, as fast as the program takes them.
    ///
    /// # Errors
    /// If one is not acknowledged.
    fn set_all(&mut self, pairs: &[Pair]) -> io::Result<()>;

    /// Reads one key.
    ///
    /// # Errors
    /// If that is refused.
    fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
}

/// A program that is measured, with its data in a directory of its own.
pub trait System: Debug + Sync {
    /// What it is called in tables.
    fn name(&self) -> &'static str;

    /// Starts it, and waits for nothing.
    ///
    /// # Errors
    /// If the system can't.
    fn launch(&self) -> io::Result<Daemon>;

    /// Connects to it.
    ///
    /// # Errors
    /// If it is not ready for that.
    fn connect(&self) -> io::Result<Box<dyn Client>>;

    /// Brings the data into the form in which a restart finds it: finishes what is being written in the background.
    /// Says what there is to say about it.
    ///
    /// # Errors
    /// If it does not come to an end.
    fn settle(&self) -> io::Result<Option<String>> {
        Ok(None)
    }

    /// What it says itself of its memory, in bytes.
    ///
    /// # Errors
    /// If it does not answer.
    fn own_account(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// Asks until a key is read; how long that took since the launch.
///
/// # Errors
/// If the program ends, is not ready in time, or has another value.
pub fn wait_for_read(
    system: &dyn System,
    daemon: &mut Daemon,
    key: &[u8],
    expected: Option<&[u8]>,
) -> io::Result<Duration> {
    loop {
        let read = system.connect().and_then(|mut client| client.get(key));
        let took = daemon.begun.elapsed();
        match read {
            Ok(value) if value.as_deref() == expected => return Ok(took),
            Ok(value) => {
                let message = format!("{} answers {value:?}: what was loaded is gone", system.name());
                return Err(io::Error::other(message));
            }
            Err(error) if took > PATIENCE || daemon.has_ended()? => {
                let message = format!("{} gives no answer ({error}): see its log", system.name());
                return Err(io::Error::other(message));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Writes keys `0..count` in an order that is not theirs, with several clients; how long that took.
///
/// # Errors
/// If a write is not acknowledged.
pub fn load(system: &dyn System, keys: u64, count: u64, seed: u64) -> io::Result<Duration> {
    load_named(system, key, keys, count, seed)
}

/// The same with other names of keys.
///
/// # Errors
/// If a write is not acknowledged.
pub fn load_named(
    system: &dyn System,
    key: fn(u64) -> Vec<u8>,
    keys: u64,
    count: u64,
    seed: u64,
) -> io::Result<Duration> {
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let work = || -> io::Result<()> {
        let mut client = system.connect()?;
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= count {
                return Ok(());
            }
            let numbers = (first..count.min(first + BATCH)).map(|at| scattered(at, keys));
            let pairs: Vec<Pair> = numbers.map(|number| (key(number), value(number ^ seed))).collect();
            client.set_all(&pairs)?;
        }
    };
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..LOADERS).map(|_| scope.spawn(work)).collect();
        loaders.into_iter().try_for_each(|loader| loader.join().expect("a loader does not panic"))
    })?;
    Ok(begun.elapsed())
}

/// A place among `keys`, each once for `at` in `0..keys`: a step that has no divisor in common with their number.
fn scattered(at: u64, keys: u64) -> u64 {
    /// A prime, far beyond any number of keys that fits into memory.
    const STEP: u128 = 1_000_000_000_039;
    (u128::from(at) * STEP % u128::from(keys)) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_is_loaded_once() {
        let seen: BTreeSet<u64> = (0..1000).map(|at| scattered(at, 1000)).collect();
        assert_eq!(seen.len(), 1000);
        assert_eq!((key(7).len(), value(7).len()), (25, VALUE_BYTES));
        assert_ne!(value(7), value(8));
    }
}
