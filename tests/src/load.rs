//! Clients that write counters, registers and unique keys as fast as they are answered, and keep their own tally of
//! what they were told, apart from the history.
//!
//! Most write in sessions, so a write that lost its answer is tried again until the outcome is known. Two write
//! without, as programs do that know no sessions: theirs are the unknown outcomes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use steadfast::client::Value;
use steadfast::{Answer, Client, Config, Error};
use steadfast_core::types::Blob;

use crate::recording::Recording;
use crate::scratch::{wait_for, wait_within};

/// How many clients write in sessions.
pub const IN_SESSIONS: u64 = 8;
/// How many write without.
pub const WITHOUT: u64 = 2;

/// What clients were told, in numbers.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Per counter: the sum acknowledged, and the sum of additions whose outcome is unknown.
    pub counters: BTreeMap<String, (i64, i64)>,
    /// Unique keys whose creation was acknowledged, with their values.
    pub created: BTreeMap<String, String>,
    /// Operations that succeeded.
    pub ok: u64,
    /// Operations that failed without effect, by what they were told.
    pub failed: BTreeMap<String, u64>,
    /// Operations whose outcome is unknown.
    pub unknown: u64,
    /// What clients in sessions were told by errors of any kind: they try again, each within its deadline of 30 seconds.
    pub given_up: Vec<String>,
}

impl Tally {
    /// Every key that was written in an acknowledged way.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.counters.keys().chain(self.created.keys()).cloned().collect()
    }

    /// What was acknowledged and is not there, key by key. More may be there, if clients went on since.
    #[must_use]
    pub fn lost(&self, values: &Values) -> Vec<String> {
        let counted = self.counters.iter().filter_map(|(key, (acknowledged, _))| {
            let value = counter(values, key);
            (value < *acknowledged).then(|| format!("{key} is {value}, and {acknowledged} were acknowledged"))
        });
        let created = self.created.iter().filter_map(|(key, value)| {
            let there = values.get(key).cloned().flatten();
            (there != Some(Blob::from(value.as_str())))
                .then(|| format!("{key} is {there:?}, and {value:?} was acknowledged"))
        });
        counted.chain(created).collect()
    }

    /// Once all clients have ended: looks whether everything is there once, as one more client sees it.
    ///
    /// # Panics
    /// If something is lost or doubled, or the clients did nothing.
    pub fn check(&self, config: &Config) {
        let values = read(config, &self.keys());
        assert_eq!(self.lost(&values), [] as [&str; 0]);
        assert_eq!(self.doubled(&values), [] as [&str; 0]);
        assert!(self.counters["counter/all"].0 > 0 && !self.created.is_empty(), "the clients were at work");
    }

    /// Once all clients have ended: what happened more often than it was asked for.
    #[must_use]
    pub fn doubled(&self, values: &Values) -> Vec<String> {
        let counted = self.counters.iter().filter_map(|(key, (acknowledged, unknown))| {
            let (value, most) = (counter(values, key), acknowledged + unknown);
            (value > most).then(|| format!("{key} is {value}, and at most {most} were asked for"))
        });
        counted.collect()
    }
}

/// What keys hold.
pub type Values = BTreeMap<String, Option<Blob>>;

fn counter(values: &Values, key: &str) -> i64 {
    let value = values.get(key).and_then(Option::as_ref);
    value.map_or(0, |value| value.to_string().parse().expect("a counter is a number"))
}

/// What these keys hold, as one more client sees it.
///
/// # Panics
/// If it is told nothing.
#[must_use]
pub fn read(config: &Config, keys: &[String]) -> Values {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(config.clone()).await.expect("the server is up");
        let mut values = Values::new();
        for chunk in keys.chunks(100) {
            let read = client.mget(chunk.iter().map(String::as_str)).await.expect("it is answered");
            values.extend(chunk.iter().cloned().zip(read));
        }
        client.close().await;
        values
    })
}

/// Clients at work, on a thread of their own.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Nobody asks for anything new.
    pause: AtomicBool,
    /// Names the keys in use: a new round begins with new ones, so that no key's history grows without end.
    round: AtomicU64,
    acknowledged: AtomicU64,
    /// The same, of each client.
    by_client: [AtomicU64; (IN_SESSIONS + WITHOUT) as usize],
    tally: Mutex<Tally>,
}

impl Load {
    /// Starts all clients.
    ///
    /// # Panics
    /// If the system refuses a thread.
    #[must_use]
    pub fn start(config: &Config, user: &str, recording: &Recording) -> Self {
        Self::start_with(&config.clone().attempt(ATTEMPT), user, recording)
    }

    /// Starts all clients, with this configuration as it is.
    ///
    /// # Panics
    /// If the system refuses a thread.
    #[must_use]
    pub fn start_with(config: &Config, user: &str, recording: &Recording) -> Self {
        let shared = Arc::new(Shared::default());
        let workers: Vec<_> = (0..IN_SESSIONS + WITHOUT)
            .map(|process| {
                let config = config.clone().observer(recording.observer(process, user));
                let config = if process < IN_SESSIONS { config } else { config.without_session() };
                (process, config, shared.clone())
            })
            .collect();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("the system gives a runtime").block_on(async {
                let tasks: Vec<_> = workers
                    .into_iter()
                    .map(|(process, config, shared)| tokio::spawn(work(process, config, shared)))
                    .collect();
                for task in tasks {
                    task.await.expect("a client does not panic");
                }
            });
        });
        Self { shared, thread }
    }

    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Goes on with new keys.
    pub fn next_round(&self) {
        self.shared.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Has the clients ask for nothing new, or go on.
    pub fn pause(&self, pause: bool) {
        self.shared.pause.store(pause, Ordering::Relaxed);
    }

    /// Whether every client is still at work.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// What all were told so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more writes are acknowledged.
    ///
    /// # Panics
    /// If they are not in time, or a client panicked.
    pub fn progress(&self, writes: u64) {
        let before = self.acknowledged();
        wait_for("acknowledged writes", || {
            assert!(self.is_running(), "the clients are at work");
            (self.acknowledged() >= before + writes).then_some(())
        });
    }

    /// Waits until every client has one more write acknowledged, wherever it was connected before, and gives how long that took.
    ///
    /// # Panics
    /// If one has none in time, or a client panicked.
    pub fn progress_of_all(&self, within: Duration) -> Duration {
        let counts = || self.shared.by_client.each_ref().map(|count| count.load(Ordering::Relaxed));
        let (before, begun) = (counts(), Instant::now());
        wait_within(within, "an acknowledged write of every client", || {
            assert!(self.is_running(), "the clients are at work");
            counts().iter().zip(before).all(|(now, before)| *now > before).then_some(())
        });
        begun.elapsed()
    }

    /// Lets each client finish what it asked for, and gives what all were told.
    ///
    /// # Panics
    /// If a client panicked.
    #[must_use]
    pub fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no client panicked");
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A killed node's connections are reset at once; this bounds only what is lost in a node that hangs.
const ATTEMPT: Duration = Duration::from_secs(2);

async fn work(process: u64, config: Config, shared: Arc<Shared>) {
    let client = Client::start(config).expect("the configuration names nodes");
    let mut dice = Dice(process + 1);
    let mut count = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.pause.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        count += 1;
        let round = shared.round.load(Ordering::Relaxed);
        let asked = draw(&mut dice, process, round, count);
        let answer = client.command(asked.args()).await;
        shared.tell(process, &asked, &answer);
    }
    client.close().await;
}

/// A command of the load.
#[derive(Clone, Debug)]
enum Asked {
    Add(String, i64),
    Set(String, String),
    Create(String, String),
    Get(String),
    Many(Vec<String>),
}

fn draw(dice: &mut Dice, process: u64, round: u64, count: u64) -> Asked {
    let hot = dice.below(3);
    let value = format!("value-{process}-{count}");
    match dice.below(20) {
        0..=4 if process < IN_SESSIONS => Asked::Add("counter/all".into(), 1),
        0..=6 => Asked::Add(format!("counter/{round}/{hot}"), 1 + dice.below(3) as i64),
        7..=10 => Asked::Set(format!("register/{round}/{hot}"), value),
        11..=13 => Asked::Create(format!("unique/{process}/{count}"), value),
        14..=17 => Asked::Get(format!("register/{round}/{hot}")),
        _ => {
            let keys = (0..3).flat_map(|n| [format!("register/{round}/{n}"), format!("counter/{round}/{n}")]);
            Asked::Many(keys.collect())
        }
    }
}

impl Asked {
    fn args(&self) -> Vec<Blob> {
        let words: Vec<String> = match self {
            Self::Add(key, by) => vec!["INCRBY".into(), key.clone(), by.to_string()],
            Self::Set(key, value) => vec!["SET".into(), key.clone(), value.clone()],
            Self::Create(key, value) => vec!["SET".into(), key.clone(), value.clone(), "NX".into()],
            Self::Get(key) => vec!["GET".into(), key.clone()],
            Self::Many(keys) => std::iter::once("MGET".into()).chain(keys.iter().cloned()).collect(),
        };
        words.into_iter().map(Blob::from).collect()
    }
}

impl Shared {
    fn tell(&self, process: u64, asked: &Asked, answer: &Result<Answer, Error>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(_) => tally.ok += 1,
            Err(error) if error.is_definite() => *tally.failed.entry(error.to_string()).or_default() += 1,
            Err(_) => tally.unknown += 1,
        }
        if let (true, Err(error)) = (process < IN_SESSIONS, answer) {
            tally.given_up.push(format!("{asked:?}: {error}"));
        }
        match (asked, answer) {
            (Asked::Add(key, by), Ok(_)) => tally.counters.entry(key.clone()).or_default().0 += by,
            (Asked::Add(key, by), Err(error)) if !error.is_definite() => {
                tally.counters.entry(key.clone()).or_default().1 += by;
            }
            (Asked::Create(key, value), Ok(Answer { value: Value::Status(_), .. })) => {
                tally.created.insert(key.clone(), value.clone());
            }
            _ => {}
        }
        if answer.is_ok() && !matches!(asked, Asked::Get(_) | Asked::Many(_)) {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            self.by_client[process as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A small generator of test randomness (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally {
            counters: [("counter".to_owned(), (5, 2))].into(),
            created: [("unique".to_owned(), "value".to_owned())].into(),
            ..Tally::default()
        }
    }

    fn values(counter: &str, unique: Option<&str>) -> Values {
        [("counter".to_owned(), Some(Blob::from(counter))), ("unique".to_owned(), unique.map(Blob::from))]
            .into()
    }

    #[test]
    fn what_is_lost_or_doubled_is_named() {
        for whole in ["5", "7"] {
            let values = values(whole, Some("value"));
            assert!(tally().lost(&values).is_empty() && tally().doubled(&values).is_empty());
        }
        assert_eq!(tally().lost(&values("4", Some("value"))), ["counter is 4, and 5 were acknowledged"]);
        assert_eq!(tally().doubled(&values("8", None)), ["counter is 8, and at most 7 were asked for"]);
        assert_eq!(tally().lost(&values("5", None)).len(), 1, "a key that is missing");
        assert_eq!(tally().lost(&values("5", Some("other"))).len(), 1, "a key that holds something else");
        assert_eq!(tally().lost(&Values::new()).len(), 2, "an empty database");
    }
}
