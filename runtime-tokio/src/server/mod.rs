//! The server: the core's node and the connections as tasks of one thread, most work of the disk on others, password hashing on
//! a few. Nothing here decides anything about data.
//!
//! | file | job |
//! |---|---|
//! | `config.rs` | what the operator asked for, checked |
//! | `datadir.rs` | the data directory: created, locked |
//! | `disk.rs` | executes disk operations |
//! | `disk_threads.rs` | who executes which, in order |
//! | `node_loop.rs` | steps the node, batch by batch |
//! | `router.rs` | hands on what the node puts out |
//! | `listener.rs` | the port: clients or peers? |
//! | `connection.rs` | a client's bytes, in and out |
//! | `links.rs` | the links that there are |
//! | `link.rs` | frames to one peer |
//! | `ending.rs` | why the server stopped, in words |

pub mod clock;
pub mod compute;
pub mod config;
pub mod datadir;
pub mod disk;
pub mod ending;
pub mod logging;

mod connection;
mod disk_threads;
mod link;
mod link_queue;
mod links;
mod listener;
mod node_loop;
mod router;
#[cfg(test)]
pub(crate) mod scratch;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use steadfast_core::Node;
use steadfast_core::inspect::RoleName;
use steadfast_core::io::{FileName, HaltReason, Input};
use steadfast_core::trace::Event as Traced;
use steadfast_core::types::NodeId;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use clock::Clock;
use config::ServerConfig;
use datadir::DataDir;
use disk_threads::{DiskThread, DiskThreads};
use ending::{Ending, StartError};
use links::Links;
use listener::Door;
use node_loop::{Event, NodeHandle};
use router::{Router, Watcher};

use crate::net;

/// How long the node may take to answer what is under way when it is asked to stop. (If its loop itself waits for a disk that hangs,
/// it hears of that later: a second signal ends the process all the same.)
const STOP: Duration = Duration::from_secs(10);
/// How long the connections together may take to read their last replies. Longer than each alone may.
const FLUSH: Duration = Duration::from_secs(7);
/// How long the last frames to peers and the last disk operation may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running server. Dropping it ends its tasks at once; [`Server::run`] ends it in order.
pub struct Server {
    address: SocketAddr,
    node: NodeHandle,
    looping: JoinSet<()>,
    accepting: JoinHandle<JoinSet<()>>,
    stop_accepting: watch::Sender<bool>,
    node_ended: watch::Sender<bool>,
    links: Links,
    halted: oneshot::Receiver<HaltReason>,
    disk_ended: [oneshot::Receiver<()>; 2],
    progress: watch::Receiver<Progress>,
    data: DataDir,
    fresh: bool,
}

/// How far a server has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The node's role.
    pub role: Option<RoleName>,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Whether the first administrator was created since this start, with the password in the credentials file.
    pub root_created: bool,
}

impl Server {
    /// Opens everything and starts threads and tasks. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What could not be opened or started, with the way out.
    pub async fn start(config: &ServerConfig) -> Result<Self, StartError> {
        let addresses = config.check()?;
        let data = DataDir::open(&config.data)?;
        let listener = TcpListener::bind(&addresses[..])
            .await
            .map_err(|error| StartError::Listen { listen: config.listen.clone(), error })?;
        let address = listener.local_addr().map_err(StartError::Other)?;
        let fresh = !data.path().join(FileName::Hard(0).to_string()).exists();
        let seed = net::draw_seed().map_err(StartError::Seed)?;

        let (node, inbox) = NodeHandle::new();
        let start_disk = |name| {
            let node = node.clone();
            let report = move |token, result| {
                node.report_disk(Input::DiskDone { token, result });
            };
            DiskThread::start(name, data.path(), report).map_err(StartError::Other)
        };
        let (log, log_ended) = start_disk("disk")?;
        let (snapshots, snapshots_ended) = start_disk("snapshots")?;
        let disk = DiskThreads::new(log, snapshots);
        // After the node's end there is nobody to hand results to.
        let handle = node.clone();
        let computed = move |token, result| {
            handle.send(Event::Input(Input::Computed { token, result }));
        };
        let compute = compute::start(computed).map_err(StartError::Other)?;
        let links = Links::default();
        let linker = links.clone();
        let (watcher, progress) = watch_progress();
        let router = Router::new(disk, compute, Box::new(move |peers| linker.tell(peers)), watcher);
        let core = Node::new(config.node(address), seed);
        let (ended, halted) = oneshot::channel();
        let clock = Clock::start(config.skew);
        let mut looping = JoinSet::new();
        looping.spawn(async move {
            // A panic drops `ended`, and so is told apart from a halt.
            let _ = ended.send(node_loop::run(core, inbox, router, clock).await);
        });

        let (stop_accepting, stop) = watch::channel(false);
        let (node_ended, ended) = watch::channel(false);
        let door = Arc::new(Door::new(config.id, node.clone(), &config.limits, ended));
        let accepting = tokio::spawn(listener::run(listener, door, stop));
        Ok(Self {
            address,
            node,
            looping,
            accepting,
            stop_accepting,
            node_ended,
            links,
            halted,
            disk_ended: [log_ended, snapshots_ended],
            progress,
            data,
            fresh,
        })
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the data lies.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Whether the data directory had no node's data before this start.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// How far the node has come; changes until it ends.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Serves until the node halts, or until `stop` is ready and everything under way is answered and sent.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Ending {
        let ending = tokio::select! {
            halted = &mut self.halted => halted.map_or(Ending::Panicked, Ending::Halted),
            () = stop => self.stop().await,
        };
        self.close().await;
        ending
    }

    /// Takes no new connection, and lets the node answer what is under way.
    async fn stop(&mut self) -> Ending {
        tracing::info!("stopping: answering what is under way");
        self.stop_accepting.send_replace(true);
        self.node.send(Event::Input(Input::Shutdown));
        match tokio::time::timeout(STOP, &mut self.halted).await {
            Ok(halted) => halted.map_or(Ending::Panicked, Ending::Halted),
            Err(_) => Ending::Unfinished,
        }
    }

    /// Sends everything that the node has put out, then ends all tasks.
    async fn close(mut self) {
        self.stop_accepting.send_replace(true);
        self.node_ended.send_replace(true);
        self.node.close();
        let mut connections = self.accepting.await.unwrap_or_default();
        // With the node's loop its ends of the connections are gone, so each sends what it has and closes.
        self.looping.shutdown().await;
        let flushed = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(FLUSH, flushed).await.is_err() {
            tracing::warn!(connections = connections.len(), "clients did not read their last replies");
        }
        let _ = tokio::time::timeout(LAST_WORDS, async {
            self.links.close().await;
            // Until the disk threads are done with it, the directory stays locked.
            for ended in self.disk_ended {
                let _ = ended.await;
            }
        })
        .await;
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

/// Logs trace events and keeps the progress.
fn watch_progress() -> (Watcher, watch::Receiver<Progress>) {
    let (sender, receiver) = watch::channel(Progress::default());
    let watcher = move |event: &Traced| {
        logging::event(event);
        match event {
            Traced::Role { role, leader, .. } => sender.send_modify(|progress| {
                (progress.role, progress.leader) = (Some(*role), *leader);
            }),
            Traced::RootCreated => sender.send_modify(|progress| progress.root_created = true),
            _ => {}
        }
    };
    (Box::new(watcher), receiver)
}
