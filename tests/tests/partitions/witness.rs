//! A client that talks to one node alone, and asks it again and again: what it was told, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use steadfast::client::Observation;
use steadfast::{Answer, Client, Config, Error};

use crate::trial::runtime;

/// How long it waits for an answer.
const DEADLINE: Duration = Duration::from_millis(300);
/// How long it waits before it asks again.
const PAUSE: Duration = Duration::from_millis(10);

/// What it was told once.
#[derive(Debug)]
pub struct Told {
    pub asked_at: Instant,
    pub told_at: Instant,
    pub answer: Result<Answer, Error>,
}

/// The client, at work.
pub struct Witness {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Told>>,
}

impl Witness {
    /// Logs in, writes once, and goes on to write and to read in turn.
    pub fn start(
        address: &str,
        user: &str,
        password: &str,
        observer: impl Fn(&Observation<'_>) + Send + Sync + 'static,
    ) -> Self {
        let config = Config::new([address]).credentials(user, password).observer(observer);
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, (ready, begun)) = (over.clone(), std::sync::mpsc::channel());
        let address = address.to_owned();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let client = Client::connect(config).await.expect("the node takes part");
                let key = format!("witness/{address}");
                client.set(key.as_str(), "0").await.expect("the node takes part");
                ready.send(()).expect("it is waited for");
                let client = client.with_deadline(DEADLINE);
                let mut told = Vec::new();
                for number in 1_u64.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let count = number.to_string();
                    // What all write, too: the answer would be stale soon.
                    let args = match number % 2 {
                        0 => vec!["SET", key.as_str(), count.as_str()],
                        _ => vec!["GET", "counter/all"],
                    };
                    let asked_at = Instant::now();
                    let answer = client.command(args).await;
                    told.push(Told { asked_at, told_at: Instant::now(), answer });
                    tokio::time::sleep(PAUSE).await;
                }
                client.close().await;
                told
            })
        });
        begun.recv().expect("it begins");
        Self { over, thread }
    }

    /// Ends it; everything it was told.
    pub fn end(self) -> Vec<Told> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it did not panic")
    }
}

/// Makes sure that of what was asked between these moments nothing was answered; gives how much that was.
pub fn nothing_was_answered(told: &[Told], from: Instant, to: Instant) -> usize {
    let asked: Vec<_> = told.iter().filter(|it| it.asked_at > from && it.told_at < to).collect();
    let answered: Vec<_> = asked.iter().filter(|it| it.answer.is_ok()).collect();
    assert!(answered.is_empty(), "a node without a majority answered: {answered:?}");
    assert!(asked.len() >= 4, "it was asked {} times", asked.len());
    asked.len()
}
