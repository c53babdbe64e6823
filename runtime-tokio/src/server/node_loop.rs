//! The node's loop: takes the inputs that are there, steps the node through each, and hands on what came out, once per
//! batch. What the disk has done comes before all else: the next batch of the log and many answers wait for it, while
//! clients' requests can gather. Where nobody else would be kept waiting, it does the disk's work itself. Every decision is the node's.
//!
//! It is a task beside those of the connections: all that were ready to be read have been when its turn comes, and no
//! request or answer crosses from one thread to another.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::io::{HaltReason, Input, Outbox};
use steadfast_core::time::{Micros, Stamp};
use steadfast_core::types::ConnId;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use super::clock::{Clock, duration};
use super::router::Router;
use crate::net::writer::Outgoing;

/// A batch begins no further input after this time: bounds how long its first reply waits for its last input.
const BATCH: Micros = Micros(500);
/// Most chunks of clients' bytes that wait for the node. When it is behind, connections stop reading.
const CLIENT_CHUNKS: usize = 1024;
/// Peers' frames come before what clients sent: while clients send more than the node can do, heartbeats and answers to appends must not
/// wait behind it, or a healthy leader is deposed. After so many in a row something else has its turn.
const PEERS_IN_A_ROW: u32 = 64;
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
        /// When they were read.
        read: Instant,
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

/// The end that the node's loop takes from.
#[derive(Debug)]
pub struct Inbox {
    events: UnboundedReceiver<Event>,
    /// Peers' frames.
    peers: UnboundedReceiver<Event>,
    /// How many of these came one after another.
    in_a_row: u32,
    /// What the disk has done; a nudge among the events tells of each.
    done: Receiver<Input>,
}

/// How the other threads and tasks reach the node.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    events: UnboundedSender<Event>,
    peers: UnboundedSender<Event>,
    done: Sender<Input>,
    next_conn: Arc<AtomicU64>,
    client_chunks: Arc<Semaphore>,
    peer_kib: Arc<Semaphore>,
}

impl NodeHandle {
    /// A handle, and the end that the node's loop takes from.
    #[must_use]
    pub fn new() -> (Self, Inbox) {
        let ((events, receiver), (done, disk)) = (unbounded_channel(), channel());
        let (peers, frames) = unbounded_channel();
        let handle = Self {
            events,
            peers,
            done,
            next_conn: Arc::default(),
            client_chunks: Arc::new(Semaphore::new(CLIENT_CHUNKS)),
            peer_kib: Arc::new(Semaphore::new(PEER_KIB)),
        };
        (handle, Inbox { events: receiver, peers: frames, in_a_row: 0, done: disk })
    }

    /// A number for a new connection.
    #[must_use]
    pub fn next_conn(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Hands something to the node. False if the node has stopped.
    pub fn send(&self, event: Event) -> bool {
        let way = if matches!(event, Event::Peer { .. }) { &self.peers } else { &self.events };
        way.send(event).is_ok()
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
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        if self.in_a_row < PEERS_IN_A_ROW
            && let Ok(frame) = self.peers.try_recv()
        {
            self.in_a_row += 1;
            return Ok(frame);
        }
        self.in_a_row = 0;
        self.events.try_recv().or_else(|none| self.peers.try_recv().map_err(|_| none))
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.peers.is_empty()
    }

    /// Waits for the next event; none once nobody can send any more.
    async fn recv(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            frame = self.peers.recv() => frame,
            event = self.events.recv() => event,
        }
    }
}

/// Wakes the loop when the node wants its next tick. One for all waits, as it seldom changes.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    set_to: Option<Micros>,
}

impl Alarm {
    fn new() -> Self {
        Self { sleep: Box::pin(sleep(Duration::ZERO)), set_to: None }
    }

    /// Waits for this moment, for ever if there is none.
    async fn wait(&mut self, at: Option<Micros>, now: Micros) {
        let Some(at) = at else { return std::future::pending().await };
        if self.set_to != Some(at) {
            self.sleep.as_mut().reset(Instant::now() + duration(at.since(now)));
            self.set_to = Some(at);
        }
        self.sleep.as_mut().await;
        self.set_to = None;
    }
}

/// Runs the node until it halts.
pub async fn run(mut node: Node, mut inbox: Inbox, mut router: Router, clock: Clock) -> HaltReason {
    let (mut out, mut alarm) = (Outbox::default(), Alarm::new());
    let mut first = Some(Event::Input(Input::Tick));
    loop {
        let mut now = clock.now();
        let begun = now.mono;
        while let Some(event) = first.take().or_else(|| inbox.try_recv().ok()) {
            // Not before it came: an answer that rests on a lease would be one from before the question.
            now = clock.now();
            for input in inbox.done.try_iter() {
                step(&mut node, now, input, &mut router, &mut out);
            }
            handle(&mut node, now, event, &mut router, &mut out);
            if !inbox.is_empty() {
                // The disk works while the node does.
                router.hand_over_disk_work();
            }
            if now.mono.since(begun) >= BATCH {
                break;
            }
        }
        if router.take_due(now.mono) {
            step(&mut node, now, Input::Tick, &mut router, &mut out);
        }
        router.flush();
        if inbox.is_empty() && router.may_execute_disk_work() {
            // Whoever has something to ask by now asks it first.
            tokio::task::yield_now().await;
            if inbox.is_empty() && router.may_execute_disk_work() {
                for input in router.execute_disk_work() {
                    step(&mut node, clock.now(), input, &mut router, &mut out);
                }
                router.flush();
            }
        }
        router.hand_over_disk_work();
        if let Some(reason) = router.halted() {
            return reason.clone();
        }
        let now = clock.now().mono;
        if !inbox.is_empty() || router.wake().is_some_and(|at| at <= now) {
            // There is more to do, but what came out goes out first.
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            biased;
            event = inbox.recv() => match event {
                Some(event) => first = Some(event),
                None => return HaltReason::Stopped,
            },
            () = alarm.wait(router.wake(), now) => {}
        }
    }
}

/// Steps the node through one event; a connection that the node has closed is not spoken of any more.
fn handle(node: &mut Node, now: Stamp, event: Event, router: &mut Router, out: &mut Outbox) {
    let mut step = |router: &mut Router, input| step(node, now, input, router, out);
    match event {
        Event::Input(input) => step(router, input),
        // It was taken before this.
        Event::Nudge => {}
        Event::Connected { conn, loopback, sender } => {
            router.connect(conn, sender);
            step(router, Input::Connected { conn, loopback });
        }
        Event::Bytes { conn, drained, read, data, permit } => {
            if router.is_connected(conn) {
                router.heard(conn);
                if drained > 0 {
                    step(router, Input::Drained { conn, bytes: drained });
                }
                let waited = u64::try_from(read.elapsed().as_micros()).map_or(Micros(u64::MAX), Micros);
                step(router, Input::Bytes { conn, waited, data });
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

fn step(node: &mut Node, now: Stamp, input: Input, router: &mut Router, out: &mut Outbox) {
    if router.halted().is_some() {
        return;
    }
    node.step(now, input, out);
    for output in out.drain() {
        router.route(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fill(node: &NodeHandle, chunks: u64, frames: usize) {
        for conn in (0..chunks).map(ConnId) {
            let permit = node.client_permit().await.expect("nobody has closed");
            assert!(node.send(Event::Bytes {
                conn,
                drained: 0,
                read: Instant::now(),
                data: Bytes::from_static(b"x"),
                permit
            }));
        }
        for _ in 0..frames {
            let frame = Bytes::from_static(b"y");
            let permit = node.peer_permit(&frame).await.expect("nobody has closed");
            assert!(node.send(Event::Peer { frame, permit }));
        }
    }

    #[tokio::test]
    async fn a_peers_frame_does_not_wait_behind_what_clients_sent_and_clients_have_their_turn() {
        let (node, mut inbox) = NodeHandle::new();
        fill(&node, 1000, 200).await;
        assert!(matches!(inbox.recv().await, Some(Event::Peer { .. })), "the last that came is the first");
        let order: Vec<bool> = std::iter::from_fn(|| inbox.try_recv().ok())
            .map(|event| matches!(event, Event::Peer { .. }))
            .collect();
        assert_eq!(order.len(), 1199, "nothing is forgotten");
        let row = PEERS_IN_A_ROW as usize;
        assert!(order[..row].iter().all(|peer| *peer) && !order[row] && order[row + 1]);
        assert!(inbox.is_empty());
    }
}
