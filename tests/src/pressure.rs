//! Writes over many connections at once, as fast as they are answered or at a rate that nobody's answers slow down, and what
//! became of each. A latency counts from when the request was due, so that a stall is counted for all whom it kept waiting
//! (coordinated omission: Tene, 2013).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use steadfast_core::error::ErrorCode;
use steadfast_core::protocol::frame::Message;
use steadfast_core::protocol::native::{ClientFrame, Request, ServerFrame};
use steadfast_core::types::Blob;
use uuid::Uuid;

use crate::raw::RawClient;

/// Most requests of one write to a socket.
const BATCH: u64 = 64;
/// How long answers are waited for after the last request.
const LAST: Duration = Duration::from_secs(10);

/// How a load asks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Beginning of all keys.
    pub prefix: String,
    /// So many keys in turn for each connection; zero writes each once.
    pub keys: u64,
    /// Bytes of a value.
    pub bytes: usize,
    /// Requests a second over all connections; without it each connection has `window` under way.
    pub rate: Option<f64>,
    /// Most requests under way on a connection, without a rate.
    pub window: usize,
    /// How long it goes on.
    pub time: Duration,
    /// How long an answer is wanted, in milliseconds.
    pub deadline_ms: u32,
}

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests sent.
    pub sent: u64,
    /// When each that succeeded was due, since the beginning, and how long after that its answer came.
    pub ok: Vec<(Duration, Duration)>,
    /// Keys whose writing was acknowledged, where each is written once.
    pub written: Vec<String>,
    /// Those that did not succeed, by what they were told.
    pub failed: BTreeMap<ErrorCode, u64>,
    /// OVERLOADED that said nothing of when to come again.
    pub unadvised: u64,
    /// Those that were told nothing.
    pub silent: u64,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.ok.extend(other.ok);
        self.written.extend(other.written);
        other.failed.into_iter().for_each(|(code, count)| *self.failed.entry(code).or_default() += count);
        self.unadvised += other.unadvised;
        self.silent += other.silent;
    }

    /// The latency that 99 of 100 of those due from then on stayed below.
    ///
    /// # Panics
    /// If none succeeded.
    #[must_use]
    pub fn p99_from(&self, from: Duration) -> Duration {
        let mut all: Vec<Duration> =
            self.ok.iter().filter(|(due, _)| *due >= from).map(|(_, took)| *took).collect();
        all.sort_unstable();
        assert!(!all.is_empty(), "nothing succeeded from {from:?} on: {self}");
        all[all.len() * 99 / 100]
    }

    /// How many due from then on succeeded.
    #[must_use]
    pub fn ok_from(&self, from: Duration) -> usize {
        self.ok.iter().filter(|(due, _)| *due >= from).count()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let failed: Vec<String> =
            self.failed.iter().map(|(code, count)| format!("{count} {}", code.name())).collect();
        write!(f, "{} sent, {} done, {} silent", self.sent, self.ok.len(), self.silent)?;
        failed.iter().try_for_each(|text| write!(f, ", {text}"))
    }
}

/// What both threads of a connection know.
#[derive(Default)]
struct Shared {
    /// When each request under way was due.
    flying: Mutex<BTreeMap<u128, Duration>>,
    answered: Condvar,
    unknowns: AtomicU32,
    ended: AtomicBool,
}

impl Shared {
    fn flying(&self) -> std::sync::MutexGuard<'_, BTreeMap<u128, Duration>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts connections under a load; they can be used again.
pub fn load(clients: &mut Vec<RawClient>, plan: &Plan) -> Outcome {
    let (begun, count) = (Instant::now(), clients.len());
    let mut outcome = Outcome::default();
    let threads: Vec<_> = std::mem::take(clients)
        .into_iter()
        .enumerate()
        .map(|(lane, client)| {
            let plan = plan.clone();
            std::thread::spawn(move || one(client, lane, count, begun, &plan))
        })
        .collect();
    for thread in threads {
        let (client, own) = thread.join().expect("a connection under load");
        clients.push(client);
        outcome.add(own);
    }
    outcome
}

fn key(plan: &Plan, lane: usize, number: u64) -> String {
    let number = if plan.keys == 0 { number } else { number % plan.keys };
    format!("{}/{lane}/{number}", plan.prefix)
}

fn one(
    mut client: RawClient,
    lane: usize,
    lanes: usize,
    begun: Instant,
    plan: &Plan,
) -> (RawClient, Outcome) {
    let (shared, plan) = (Arc::new(Shared::default()), plan.clone());
    shared.unknowns.store(client.unknowns, Ordering::Release);
    let stream = client.stream.try_clone().expect("a socket can be shared");
    client.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket has time-outs");
    let writer = {
        let (shared, plan) = (shared.clone(), plan.clone());
        std::thread::spawn(move || {
            let sent = write(stream, &shared, lane, lanes, begun, &plan);
            shared.ended.store(true, Ordering::Release);
            sent
        })
    };
    let mut outcome = read(&mut client, &shared, lane, begun, &plan);
    outcome.sent = writer.join().expect("the writing half of a connection");
    client.unknowns = shared.unknowns.load(Ordering::Acquire);
    outcome.silent = shared.flying().len() as u64;
    (client, outcome)
}

/// Asks; gives the number of requests.
fn write(
    mut stream: std::net::TcpStream,
    shared: &Shared,
    lane: usize,
    lanes: usize,
    begun: Instant,
    plan: &Plan,
) -> u64 {
    let (value, mut sent) = (Blob::from(vec![b'v'; plan.bytes]), 0);
    while begun.elapsed() < plan.time {
        let now = begun.elapsed();
        let due = match plan.rate {
            Some(rate) => ((now.as_secs_f64() * rate / lanes as f64) as u64).saturating_sub(sent).min(BATCH),
            None => plan.window.saturating_sub(shared.flying().len()) as u64,
        };
        let mut bytes = Vec::new();
        for _ in 0..due {
            let id = u128::from(sent) + 1;
            let at = plan.rate.map_or(now, |rate| Duration::from_secs_f64(sent as f64 * lanes as f64 / rate));
            shared.flying().insert(id, at);
            let args = vec![Blob::from("SET"), Blob::from(key(plan, lane, sent).as_str()), value.clone()];
            let unknowns = shared.unknowns.load(Ordering::Acquire);
            let (id, deadline_ms) = (Uuid::from_u128(id), plan.deadline_ms);
            let request = Request { id, once: None, deadline_ms, trace: None, unknowns, args };
            bytes.extend(ClientFrame::Request(request).encode(8 << 20).expect("it is short"));
            sent += 1;
        }
        if std::io::Write::write_all(&mut stream, &bytes).is_err() {
            break;
        }
        if due < BATCH {
            let flying = shared.flying();
            drop(shared.answered.wait_timeout(flying, Duration::from_millis(5)));
        }
    }
    sent
}

/// Hears.
fn read(client: &mut RawClient, shared: &Shared, lane: usize, begun: Instant, plan: &Plan) -> Outcome {
    let mut outcome = Outcome::default();
    while begun.elapsed() < plan.time + LAST {
        if shared.ended.load(Ordering::Acquire) && shared.flying().is_empty() {
            break;
        }
        let response = match client.receive() {
            Ok(Some(ServerFrame::Response(response))) => response,
            Ok(Some(_)) => continue,
            Ok(None) => break,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(_) => break,
        };
        let id = response.id.as_u128();
        let Some(due) = shared.flying().remove(&id) else { continue };
        shared.answered.notify_one();
        match response.reply.outcome {
            Ok(_) => {
                outcome.ok.push((due, begun.elapsed().saturating_sub(due)));
                if plan.keys == 0 {
                    outcome.written.push(key(plan, lane, id as u64 - 1));
                }
            }
            Err(failure) => {
                if matches!(failure.code, ErrorCode::TimedOut | ErrorCode::LeaderLost) {
                    shared.unknowns.fetch_add(1, Ordering::Release);
                }
                let advised = failure.code != ErrorCode::Overloaded || failure.retry_after_ms > 0;
                outcome.unadvised += u64::from(!advised);
                *outcome.failed.entry(failure.code).or_default() += 1;
            }
        }
    }
    outcome
}
