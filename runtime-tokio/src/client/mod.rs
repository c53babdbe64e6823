//! The client library: [`Client`] sends commands to a cluster and promises what each answer means.
//!
//! All logic (finding the leader, retries under a session, deadlines) is the core's, the very same that the
//! simulator runs; this is its tokio driver. Every command ends in exactly one of three ways: an [`Answer`], an
//! [`Error`] that is *definite* (it did not take effect and never will), or one that is *indeterminate* (it may
//! have, or may yet).
//!
//! | file | job |
//! |---|---|
//! | `config.rs` | what the application decides |
//! | `commands.rs`, `coordination.rs` | typed helpers |
//! | `holds.rs` | leases, and guards of locks, permits and offices |
//! | `elector.rs`, `limiter.rs` | a candidate that campaigns until it is elected; a limiter to wait at |
//! | `pool.rs` | several clients, used in turn |
//! | `watch.rs` | a stream of changes |
//! | `leaders.rs` | a stream of who leads an election |
//! | `feed.rs` | what both streams are: a task that asks, and whoever reads what it was told |
//! | `driver.rs` | the task that runs the core's client |
//! | `stream.rs` | one TCP connection |
//! | `observe.rs` | what a recorder of histories may see |

mod commands;
mod config;
mod coordination;
mod driver;
mod elector;
mod feed;
mod holds;
mod leaders;
mod limiter;
mod observe;
mod pool;
mod stream;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use steadfast_core::client::{Credentials, OpOutcome};
pub use steadfast_core::command::transaction::Compared;
pub use steadfast_core::error::{Certainty, ErrorCode, Failure};
pub use steadfast_core::reply::{Receipt, Value};
pub use steadfast_core::types::{Blob, Index, LeaseId, NodeId, SessionId};

pub use commands::{Condition, Page, SetOptions};
pub use config::Config;
pub use coordination::{Limit, Transacted, Transaction, Verdict, Work};
pub use elector::Elector;
pub use feed::Feed;
pub use holds::{Hold, Leader};
pub use leaders::Leaders;
pub use limiter::Limiter;
pub use observe::{Observation, Observed, Observer};
pub use pool::Pool;
pub use watch::{Change, Content, Type, Update, Watch, Watcher};

use driver::{Done, Driver, Order};
use steadfast_core::client::OpId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::net;

/// What came of a command that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub value: Value,
    /// Where in the log it took effect or read.
    pub receipt: Option<Receipt>,
    /// The node that answered.
    pub node: Option<NodeId>,
    /// How often the command was sent until it was answered; executed it was once.
    pub attempts: u32,
}

/// Why a command has no answer, and whether it may have taken effect all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The code, and a sentence with the way out.
    pub failure: Failure,
    /// *Definite*: the command did not take effect and never will. *Indeterminate*: it may have, or may yet. Over
    /// all attempts, so this counts and not the code's own certainty, which speaks for one attempt.
    pub certainty: Certainty,
    /// Where in the log the command was found to fail, if it was evaluated.
    pub receipt: Option<Receipt>,
    /// The node that said so.
    pub node: Option<NodeId>,
    /// How often the command was sent.
    pub attempts: u32,
}

impl Error {
    /// Whether the command did not take effect and never will.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.certainty == Certainty::Definite
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.failure.code
    }

    /// Whether another attempt may fare better, for it was the cluster's moment and not the command: an election, too much to
    /// do, a node that stops. Where the error is indeterminate, the command may be executed twice then.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use ErrorCode::{
            DeadlineExceeded, DurabilityLag, LeaderChanged, LeaderLost, MembersBusy, NoLeader, Overloaded,
            ShuttingDown, TimedOut, TooManyConnections, TooManyRequests,
        };
        match self.code() {
            DeadlineExceeded | DurabilityLag | LeaderChanged | LeaderLost | MembersBusy | NoLeader
            | Overloaded | TimedOut | TooManyConnections | TooManyRequests => true,
            // A client that was closed says so itself.
            ShuttingDown => self.attempts > 0,
            _ => false,
        }
    }

    /// An error of this library, before anything was sent.
    fn definite(code: ErrorCode, message: impl Into<String>) -> Self {
        let failure = Failure::new(code, message);
        Self { failure, certainty: Certainty::Definite, receipt: None, node: None, attempts: 0 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.certainty {
            Certainty::Definite => self.failure.fmt(f),
            Certainty::Indeterminate => write!(f, "{} (it may have taken effect)", self.failure),
        }
    }
}

impl std::error::Error for Error {}

/// A client of one cluster. Cheap to clone; all clones share one connection, over which their commands are
/// pipelined. When the last clone is dropped, what is under way is finished and the connection closed.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    deadline_ms: u32,
}

struct Shared {
    orders: mpsc::UnboundedSender<Order>,
    /// One permit per command that is not done: who submits too many waits.
    slots: Arc<Semaphore>,
    next_op: AtomicU64,
    observer: Option<Observer>,
    config: Config,
    /// For commands that may have to wait for others: a connection of their own.
    waiting: OnceLock<Client>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("deadline_ms", &self.deadline_ms).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects and logs in. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no node could be reached before the deadline, or the credentials are wrong.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let client = Self::start(config)?;
        client.command(["PING"]).await?;
        Ok(client)
    }

    /// A client that connects once it has something to do. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the configuration names no node, or the system has no randomness.
    pub fn start(config: Config) -> Result<Self, Error> {
        if config.core.addresses.is_empty() {
            return Err(Error::definite(
                ErrorCode::Argument,
                "a client needs the address of at least one node",
            ));
        }
        let seed = net::draw_seed().map_err(|error| {
            Error::definite(ErrorCode::Argument, format!("can't read /dev/urandom: {error}"))
        })?;
        let (orders, receiver) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(config.core.waiting.clamp(1, Semaphore::MAX_PERMITS)));
        let deadline_ms = config.core.deadline_ms;
        tokio::spawn(Driver::new(config.core.clone(), seed, config.observer.clone()).run(receiver));
        let observer = config.observer.clone();
        let (next_op, waiting) = (AtomicU64::new(1), OnceLock::new());
        let shared = Shared { orders, slots, next_op, observer, config, waiting };
        Ok(Self { shared: Arc::new(shared), deadline_ms })
    }

    /// The same client with another deadline for its commands.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { shared: self.shared.clone(), deadline_ms: config::millis(deadline) }
    }

    /// Executes one command, given as its name and arguments.
    ///
    /// If the returned future is dropped, the command goes on, and nobody hears of its outcome.
    ///
    /// # Errors
    /// See [`Error::certainty`] for what is known about the command then.
    pub async fn command(&self, args: impl IntoIterator<Item = impl Into<Blob>>) -> Result<Answer, Error> {
        let args: Vec<Blob> = args.into_iter().map(Into::into).collect();
        let slot = self.slot().await?;
        outcome(self.order(args, slot, false)?.await)
    }

    /// The same, and the command is on its way before the future is first looked at, unless too many are: then it is as soon
    /// as there is room, whether or not anybody still holds the future. Must be called within a tokio runtime.
    fn submit(&self, args: Vec<Blob>) -> impl Future<Output = Result<Answer, Error>> + use<> {
        let submitted = match self.shared.slots.clone().try_acquire_owned() {
            Ok(slot) => Ok(self.order(args, slot, false)),
            Err(_) => {
                let client = self.clone();
                Err(tokio::spawn(async move { client.command(args).await }))
            }
        };
        async move {
            match submitted {
                Ok(answered) => outcome(answered?.await),
                Err(task) => task.await.unwrap_or_else(|_| Err(unknown())),
            }
        }
    }

    /// Asks for what somebody may have to wait for: a client that is closed or dropped does not wait for that.
    async fn changes(&self, args: Vec<Blob>) -> Result<Answer, Error> {
        let slot = self.slot().await?;
        outcome(self.order(args, slot, true)?.await)
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.shared.slots.clone().acquire_owned().await.map_err(|_| stopped())
    }

    /// A client for commands that may have to wait for others.
    fn waiting(&self) -> Result<Self, Error> {
        let client = match self.shared.waiting.get() {
            Some(client) => client,
            None => {
                let client = Self::start(self.shared.config.clone())?;
                self.shared.waiting.get_or_init(|| client)
            }
        };
        Ok(Self { shared: client.shared.clone(), deadline_ms: self.deadline_ms })
    }

    /// Hands a command to the driver.
    fn order(
        &self,
        args: Vec<Blob>,
        slot: OwnedSemaphorePermit,
        is_watch: bool,
    ) -> Result<oneshot::Receiver<Outcome>, Error> {
        let op = self.shared.next_op.fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.shared.observer {
            observer(&Observation { op, at: Instant::now(), event: Observed::Invoke { args: &args } });
        }
        let (answer, answered) = oneshot::channel();
        let order = Order::Submit {
            op: OpId(op),
            args,
            deadline_ms: self.deadline_ms,
            done: Done { answer, slot, is_watch },
        };
        self.shared.orders.send(order).map_err(|_| stopped())?;
        Ok(answered)
    }

    /// Takes no further command from any clone, waits for those under way, and ends the session and the
    /// connection.
    pub async fn close(self) {
        if let Some(waiting) = self.shared.waiting.get().cloned() {
            let (closed, done) = oneshot::channel();
            if waiting.shared.orders.send(Order::Close { closed }).is_ok() {
                let _ = done.await;
            }
        }
        let (closed, done) = oneshot::channel();
        if self.shared.orders.send(Order::Close { closed }).is_ok() {
            let _ = done.await;
        }
    }
}

type Outcome = Result<Answer, Error>;

fn outcome(answered: Result<Outcome, oneshot::error::RecvError>) -> Outcome {
    answered.unwrap_or_else(|_| Err(unknown()))
}

fn stopped() -> Error {
    Error::definite(ErrorCode::ShuttingDown, "the client was closed")
}

/// Only a runtime that is shut down drops the driver while commands are under way.
fn unknown() -> Error {
    let mut error = Error::definite(ErrorCode::TimedOut, "the client's runtime was shut down");
    error.certainty = Certainty::Indeterminate;
    error
}
