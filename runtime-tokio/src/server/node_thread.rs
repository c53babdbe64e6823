//! The node's thread: takes all inputs that are there, steps the node through each, and hands on what came
//! out, once per batch. Every decision is the node's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::io::{HaltReason, Input, Outbox};
use steadfast_core::types::ConnId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clock::{Clock, duration};
use super::router::Router;
use crate::net::writer::Outgoing;

/// Most inputs between two flushes: bounds how long the first reply of a batch waits for the last input.
const BATCH: usize = 256;
/// Most chunks of clients' bytes that wait for the node. When it is behind, connections stop reading.
const CLIENT_CHUNKS: usize = 1024;
/// Most KiB of peers' frames that wait for the node. Apart from the clients', so that neither starves the other.
const PEER_KIB: usize = 128 << 10;

/// Something for the node. A permit is given back when the node has seen what it was for.
#[derive(Debug)]
pub enum Event {
    /// An input that needs no bookkeeping.
    Input(Input),
    /// A client has connected.
    Connected {
        /// Its number.
        conn: ConnId,
        /// Whether its address is a loopback address.
        loopback: bool,
        /// Where its bytes go.
        sender: UnboundedSender<Outgoing>,
    },
    /// A client sent bytes; `drained` of ours were sent to it since it was last said.
    Bytes {
        /// Whose.
        conn: ConnId,
        /// Bytes handed to the operating system.
        drained: u64,
        /// At least one byte.
        data: Bytes,
        /// For one chunk.
        permit: OwnedSemaphorePermit,
    },
    /// Bytes were sent to a client.
    Drained {
        /// Whose.
        conn: ConnId,
        /// Handed to the operating system, not counted before.
        bytes: u64,
    },
    /// A client is gone.
    Disconnected {
        /// Which.
        conn: ConnId,
    },
    /// A peer's frame.
    Peer {
        /// Whole.
        frame: Bytes,
        /// For its size.
        permit: OwnedSemaphorePermit,
    },
}

/// How the other threads and tasks reach the node.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    events: Sender<Event>,
    next_conn: Arc<AtomicU64>,
    client_chunks: Arc<Semaphore>,
    peer_kib: Arc<Semaphore>,
}

impl NodeHandle {
    /// A handle, and the end that the node's thread takes from.
    #[must_use]
    pub fn new() -> (Self, Receiver<Event>) {
        let (events, receiver) = std::sync::mpsc::channel();
        let handle = Self {
            events,
            next_conn: Arc::default(),
            client_chunks: Arc::new(Semaphore::new(CLIENT_CHUNKS)),
            peer_kib: Arc::new(Semaphore::new(PEER_KIB)),
        };
        (handle, receiver)
    }

    /// A number for a new connection.
    #[must_use]
    pub fn next_conn(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Hands something to the node. False if the node has stopped.
    pub fn send(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    /// Waits until the node can take another chunk from a client; `None` once the server stops.
    pub async fn client_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.client_chunks.clone().acquire_owned().await.ok()
    }

    /// Waits until the node can take another frame of this size from a peer; `None` once the server stops.
    pub async fn peer_permit(&self, frame: &Bytes) -> Option<OwnedSemaphorePermit> {
        let kib = (frame.len() / 1024 + 1).min(PEER_KIB);
        self.peer_kib.clone().acquire_many_owned(u32::try_from(kib).ok()?).await.ok()
    }

    /// Ends everybody's waiting for permits.
    pub fn close(&self) {
        self.client_chunks.close();
        self.peer_kib.close();
    }
}

/// Runs the node until it halts.
pub fn run(mut node: Node, events: &Receiver<Event>, mut router: Router, clock: Clock) -> HaltReason {
    let mut out = Outbox::default();
    let mut batch = vec![Event::Input(Input::Tick)];
    loop {
        for event in batch.drain(..) {
            handle(&mut node, event, &mut router, &mut out, clock);
        }
        if router.take_due(clock.now().mono) {
            step(&mut node, Input::Tick, &mut router, &mut out, clock);
        }
        router.flush();
        if let Some(reason) = router.halted() {
            return reason.clone();
        }
        let until_wake = router.wake().map(|at| duration(at.since(clock.now().mono)));
        if !gather(events, until_wake, &mut batch) {
            return HaltReason::Stopped;
        }
    }
}

/// Waits for the first event, at most for the given time, and takes what else is there. False if nobody can
/// send events any more.
fn gather(events: &Receiver<Event>, at_most: Option<Duration>, batch: &mut Vec<Event>) -> bool {
    let first = match at_most {
        Some(wait) => events.recv_timeout(wait),
        None => events.recv().map_err(RecvTimeoutError::from),
    };
    match first {
        Ok(event) => batch.push(event),
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => return false,
    }
    batch.extend(events.try_iter().take(BATCH - batch.len()));
    true
}

/// Steps the node through one event; a connection that the node has closed is not spoken of any more.
fn handle(node: &mut Node, event: Event, router: &mut Router, out: &mut Outbox, clock: Clock) {
    let mut step = |router: &mut Router, input| step(node, input, router, out, clock);
    match event {
        Event::Input(input) => step(router, input),
        Event::Connected { conn, loopback, sender } => {
            router.connect(conn, sender);
            step(router, Input::Connected { conn, loopback });
        }
        Event::Bytes { conn, drained, data, permit } => {
            if router.is_connected(conn) {
                if drained > 0 {
                    step(router, Input::Drained { conn, bytes: drained });
                }
                step(router, Input::Bytes { conn, data });
            }
            drop(permit);
        }
        Event::Drained { conn, bytes } => {
            if router.is_connected(conn) {
                step(router, Input::Drained { conn, bytes });
            }
        }
        Event::Disconnected { conn } => {
            if router.disconnect(conn) {
                step(router, Input::Disconnected { conn });
            }
        }
        Event::Peer { frame, permit } => {
            step(router, Input::Peer { frame });
            drop(permit);
        }
    }
}

fn step(node: &mut Node, input: Input, router: &mut Router, out: &mut Outbox, clock: Clock) {
    if router.halted().is_some() {
        return;
    }
    node.step(clock.now(), input, out);
    for output in out.drain() {
        router.route(output);
    }
}
