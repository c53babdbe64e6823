//! `steadfast bench`: loads a cluster, and says how much it takes and how long each answer does.
//!
//! With `--rate` the load is open: each request has its moment, whether or not earlier ones are answered, and what it waits because
//! the cluster or this program is behind counts as well. Without, every connection asks again as soon as it is answered,
//! and a stall is seen by few requests ("coordinated omission"): such percentiles say nothing about a given load.
//!
//! | file | job |
//! |---|---|
//! | `mix.rs` | what is asked |
//! | `lane.rs` | one connection with the requests under way on it |
//! | `tally.rs` | counts and latencies, and their report |

mod lane;
mod mix;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::connect::{ConnectArgs, parse_time};
use super::{EXIT_CONNECT, EXIT_FAILED, EXIT_OK, complain, runtime, say};
use lane::Lane;
use mix::Mix;
use steadfast_core::client::ClientConfig;
use tally::{Report, Tally};

/// Options of `steadfast bench`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "MIX is a list of operations with weights, such as `set=1,get=9`: set, get, incr, del, hset, txn (two writes under a \
    condition), limit (a token bucket), lock (acquire and release, counted as two). They work on keys that begin with `bench:`, which stay there: \
    `steadfast cli DROP PREPARE bench:` shows how to remove them.\n\n\
    EXIT CODES\n  0  it was measured, whatever the answers were\n  1  a connection was lost\n  2  usage\n  4  can't connect or log in"
)]
pub struct BenchArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Connections, spread over the addresses
    #[arg(long, short, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Requests under way on each connection
    #[arg(long, short, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pipeline: u32,
    /// What is asked, with weights
    #[arg(long, short, value_name = "MIX", default_value = "set")]
    mix: Mix,
    /// Bytes of each value
    #[arg(long, short, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// How many keys, locks and limiters there are
    #[arg(long, short, value_name = "NUMBER", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Requests per second, by all connections together; without it, as many as are answered
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// How long is measured
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    duration: Duration,
    /// How long is loaded before that
    #[arg(long, short, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    warmup: Duration,
    /// Threads of this program
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What all connections share.
struct Load {
    config: ClientConfig,
    addresses: Vec<String>,
    pipeline: usize,
    mix: Mix,
    value: Vec<u8>,
    keys: u64,
    /// Requests per second, if it is said how many.
    rate: Option<u64>,
    /// Requests that had their moment.
    taken: AtomicU64,
    warmup: Duration,
    duration: Duration,
}

impl Load {
    fn new(args: &BenchArgs) -> Result<Self, String> {
        let mut config = args.connect.config().map_err(|error| error.to_string())?;
        Ok(Self {
            config: config.core().clone(),
            addresses: args.connect.addresses(),
            pipeline: args.pipeline as usize,
            mix: args.mix.clone(),
            value: vec![b'x'; args.size as usize],
            keys: args.keys,
            rate: args.rate,
            taken: AtomicU64::new(0),
            warmup: args.warmup,
            duration: args.duration,
        })
    }

    /// The moment of the next request, counted from the beginning; `None` if it may come at once.
    fn next_moment(&self) -> Option<Duration> {
        let rate = u128::from(self.rate?);
        let number = u128::from(self.taken.fetch_add(1, Ordering::Relaxed));
        let ns = number * 1_000_000_000 / rate;
        Some(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
    }
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &BenchArgs) -> u8 {
    let load = match Load::new(args) {
        Ok(load) => Arc::new(load),
        Err(text) => {
            complain(&text);
            return EXIT_CONNECT;
        }
    };
    let lanes = match connect(&load, args.connections) {
        Ok(lanes) => lanes,
        Err(text) => {
            complain(&text);
            return EXIT_CONNECT;
        }
    };
    match measure(&load, lanes, args.threads as usize) {
        Ok(tally) => {
            let report = Report::new(tally, args.duration, args.connections, args.pipeline, args.rate);
            let text = if args.json { report.json() } else { report.plain() };
            // Who reads it may be gone.
            let _ = say(text.trim_end().as_bytes());
            EXIT_OK
        }
        Err(text) => {
            complain(&text);
            EXIT_FAILED
        }
    }
}

/// All connections, logged in.
fn connect(load: &Arc<Load>, connections: u32) -> Result<Vec<Lane>, String> {
    (0..connections).map(|number| Lane::connect(load, number)).collect()
}

/// Lets all connections work, some on each thread, and adds up what they counted.
fn measure(load: &Arc<Load>, lanes: Vec<Lane>, threads: usize) -> Result<Tally, String> {
    let mut shares: Vec<Vec<Lane>> = (0..threads).map(|_| Vec::new()).collect();
    for (at, lane) in lanes.into_iter().enumerate() {
        shares[at % threads].push(lane);
    }
    let begin = Instant::now();
    let work = |share: Vec<Lane>| {
        let load = Arc::clone(load);
        thread::spawn(move || {
            let runtime = runtime().map_err(|error| format!("the system refused a runtime: {error}"))?;
            runtime.block_on(async {
                let tasks: Vec<_> =
                    share.into_iter().map(|lane| tokio::spawn(lane.run(Arc::clone(&load), begin))).collect();
                let mut tally = Tally::new();
                for task in tasks {
                    tally.add(&task.await.map_err(|error| format!("a connection's task failed: {error}"))??);
                }
                Ok::<Tally, String>(tally)
            })
        })
    };
    let threads: Vec<_> = shares.into_iter().filter(|share| !share.is_empty()).map(work).collect();
    let mut tally = Tally::new();
    for thread in threads {
        tally.add(&thread.join().map_err(|_| "a thread failed".to_owned())??);
    }
    Ok(tally)
}
