//! The node's thread: takes the inputs that are there, steps the node through each, and hands on what came out, once per
//! batch. What the disk has done comes before all else: a sync waits for the write before it, and many answers wait for the
//! sync, while clients' requests can gather for the next. Every decision is the node's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::io::{HaltReason, Input, Outbox};
use steadfast_core::time::Micros;
use steadfast_core::types::ConnId;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clock::{Clock, duration};
use super::router::Router;
use crate::net::writer::Outgoing;

/// A batch begins no further input after this time: bounds how long its first reply waits for its last input.
const BATCH: Micros = Micros(500);
/// Most chunks of clients' bytes that wait for the node. When it is behind, connections stop reading.
const CLIENT_CHUNKS: usize = 1024;
/// Most KiB of peers' frames that wait for the node. Apart from the clients', so that neither starves the other.
const PEER_KIB: usize = 128 << 10;

/// Something for the node. A permit is given back when the node has seen what it was for.
#[derive(Debug)]
pub enum Event {
    /// An input that needs no bookkeeping.
    Input(Input),
    /// The disk has done something.
    Nudge,
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

/// The end that the node's thread takes from.
#[derive(Debug)]
pub struct Inbox {
    events: Receiver<Event>,
    /// What the disk has done; a nudge among the events tells of each.
    done: Receiver<Input>,
}

/// How the other threads and tasks reach the node.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    events: Sender<Event>,
    done: Sender<Input>,
    next_conn: Arc<AtomicU64>,
    client_chunks: Arc<Semaphore>,
    peer_kib: Arc<Semaphore>,
}

impl NodeHandle {
    /// A handle, and the end that the node's thread takes from.
    #[must_use]
    pub fn new() -> (Self, Inbox) {
        let ((events, receiver), (done, disk)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let handle = Self {
            events,
            done,
            next_conn: Arc::default(),
            client_chunks: Arc::new(Semaphore::new(CLIENT_CHUNKS)),
            peer_kib: Arc::new(Semaphore::new(PEER_KIB)),
        };
        (handle, Inbox { events: receiver, done: disk })
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

    /// Tells the node what the disk has done. False if the node has stopped.
    pub fn report_disk(&self, input: Input) -> bool {
        self.done.send(input).is_ok() && self.send(Event::Nudge)
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

impl Inbox {
    /// The next event, if there is one.
    ///
    /// # Errors
    /// If there is none, or nobody can send any more.
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        self.events.try_recv()
    }

    /// Waits for an event, at most for the given time; nothing if none comes in it.
    ///
    /// # Errors
    /// If nobody can send events any more.
    fn wait(&self, at_most: Option<Duration>) -> Result<Option<Event>, RecvTimeoutError> {
        let event = match at_most {
            Some(wait) => self.events.recv_timeout(wait),
            None => self.events.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(gone) => Err(gone),
        }
    }
}

/// Runs the node until it halts.
pub fn run(mut node: Node, inbox: &Inbox, mut router: Router, clock: Clock) -> HaltReason {
    let mut out = Outbox::default();
    let mut first = Some(Event::Input(Input::Tick));
    loop {
        let begun = clock.now().mono;
        while let Some(event) = first.take().or_else(|| inbox.try_recv().ok()) {
            for input in inbox.done.try_iter() {
                step(&mut node, input, &mut router, &mut out, clock);
            }
            handle(&mut node, event, &mut router, &mut out, clock);
            if clock.now().mono.since(begun) >= BATCH {
                break;
            }
        }
        if router.take_due(clock.now().mono) {
            step(&mut node, Input::Tick, &mut router, &mut out, clock);
        }
        router.flush();
        if let Some(reason) = router.halted() {
            return reason.clone();
        }
        let until_wake = router.wake().map(|at| duration(at.since(clock.now().mono)));
        match inbox.wait(until_wake) {
            Ok(event) => first = event,
            Err(_) => return HaltReason::Stopped,
        }
    }
}

/// Steps the node through one event; a connection that the node has closed is not spoken of any more.
fn handle(node: &mut Node, event: Event, router: &mut Router, out: &mut Outbox, clock: Clock) {
    let mut step = |router: &mut Router, input| step(node, input, router, out, clock);
    match event {
        Event::Input(input) => step(router, input),
        // It was taken before this.
        Event::Nudge => {}
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
