//! Hands what the node puts out to whoever executes it. Bytes are gathered per connection and per peer
//! until the end of a batch, so that a batch wakes each of them once. Nothing here decides anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use steadfast_core::io::{HaltReason, Output, Token};
use steadfast_core::job::Job;
use steadfast_core::time::Micros;
use steadfast_core::trace::Event;
use steadfast_core::types::{ConnId, NodeId};
use tokio::sync::mpsc::UnboundedSender;

use super::disk::DiskThreads;
use super::link::LinkQueue;
use crate::net::writer::Outgoing;

/// A connection as the node's loop sees it. Its channel needs no bound of its own: the core closes a connection
/// for which more than `unsent_bytes` wait, and knows how many wait because the task reports what it sent.
#[derive(Debug)]
struct Connection {
    sender: UnboundedSender<Outgoing>,
    gathered: Vec<Bytes>,
}

/// A peer as the node's loop sees it.
#[derive(Debug)]
struct Peer {
    queue: Arc<LinkQueue>,
    gathered: Vec<Bytes>,
}

/// Sees every trace event.
pub type Watcher = Box<dyn FnMut(&Event) + Send>;

/// Everybody who executes outputs.
pub struct Router {
    connections: HashMap<ConnId, Connection>,
    /// Connections with gathered bytes.
    written: Vec<ConnId>,
    peers: HashMap<NodeId, Peer>,
    disk: DiskThreads,
    compute: Sender<(Token, Job)>,
    watcher: Watcher,
    wake: Option<Micros>,
    halted: Option<HaltReason>,
}

impl Router {
    /// A router without connections. `watcher` sees every trace event.
    pub fn new(
        disk: DiskThreads,
        compute: Sender<(Token, Job)>,
        links: impl IntoIterator<Item = (NodeId, Arc<LinkQueue>)>,
        watcher: Watcher,
    ) -> Self {
        let peers = links.into_iter().map(|(id, queue)| (id, Peer { queue, gathered: Vec::new() })).collect();
        Self {
            connections: HashMap::new(),
            written: Vec::new(),
            peers,
            disk,
            compute,
            watcher,
            wake: None,
            halted: None,
        }
    }

    /// A client has connected.
    pub fn connect(&mut self, conn: ConnId, sender: UnboundedSender<Outgoing>) {
        self.connections.insert(conn, Connection { sender, gathered: Vec::new() });
    }

    /// Forgets a connection that is gone; false if it was not known (any more), which means that the node
    /// must not hear of it either.
    pub fn disconnect(&mut self, conn: ConnId) -> bool {
        let Some(connection) = self.connections.remove(&conn) else { return false };
        // A client that closed its sending side still gets what was answered before.
        let _ = connection.sender.send(Outgoing { chunks: connection.gathered, close: true });
        true
    }

    /// Whether the node knows this connection.
    #[must_use]
    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// Executes one output, or gathers it. What follows a halt is not executed.
    pub fn route(&mut self, output: Output) {
        if self.halted.is_some() {
            return;
        }
        match output {
            // A send fails only when its receiver is gone, which happens while the process ends.
            Output::Disk { token, op } => self.disk.send(token, op),
            Output::Compute { token, job } => drop(self.compute.send((token, job))),
            Output::Send { conn, data } => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    if connection.gathered.is_empty() {
                        self.written.push(conn);
                    }
                    connection.gathered.push(data);
                }
            }
            Output::SendPeer { to, frame } => {
                if let Some(peer) = self.peers.get_mut(&to) {
                    peer.gathered.push(frame);
                }
            }
            Output::Close { conn } => drop(self.disconnect(conn)),
            Output::WakeAt(at) => self.wake = Some(at),
            Output::Trace(event) => (self.watcher)(&event),
            Output::Halt(reason) => self.halted = Some(reason),
        }
    }

    /// Hands over everything gathered.
    pub fn flush(&mut self) {
        for conn in self.written.drain(..) {
            if let Some(connection) = self.connections.get_mut(&conn) {
                let chunks = std::mem::take(&mut connection.gathered);
                let _ = connection.sender.send(Outgoing { chunks, close: false });
            }
        }
        for peer in self.peers.values_mut().filter(|peer| !peer.gathered.is_empty()) {
            peer.queue.push(peer.gathered.drain(..));
        }
    }

    /// When the node wants its next tick; asking takes the wish if it is due.
    pub fn take_due(&mut self, now: Micros) -> bool {
        self.wake.take_if(|at| *at <= now).is_some()
    }

    /// When the node wants its next tick.
    #[must_use]
    pub fn wake(&self) -> Option<Micros> {
        self.wake
    }

    /// Why the node has stopped, if it has.
    #[must_use]
    pub fn halted(&self) -> Option<&HaltReason> {
        self.halted.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use steadfast_core::io::DiskOp;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    const CONN: ConnId = ConnId(1);

    struct Bench {
        router: Router,
        outgoing: UnboundedReceiver<Outgoing>,
        link: Arc<LinkQueue>,
        _disk: Receiver<(Token, DiskOp)>,
        _compute: Receiver<(Token, Job)>,
    }

    fn bench() -> Bench {
        let ((log, _disk), (compute, _compute)) = (channel(), channel());
        let disk = DiskThreads { snapshots: log.clone(), log };
        let link = Arc::new(LinkQueue::new(10, 1000));
        let mut router = Router::new(disk, compute, [(NodeId(2), link.clone())], Box::new(|_| {}));
        let (sender, outgoing) = unbounded_channel();
        router.connect(CONN, sender);
        Bench { router, outgoing, link, _disk, _compute }
    }

    fn send(text: &'static str) -> Output {
        Output::Send { conn: CONN, data: Bytes::from(text) }
    }

    #[test]
    fn a_batch_wakes_a_connection_once_and_keeps_its_bytes_in_order() {
        let mut bench = bench();
        bench.router.route(send("a"));
        bench.router.route(send("b"));
        assert!(bench.outgoing.try_recv().is_err(), "nothing leaves before the end of the batch");
        bench.router.flush();
        let got = bench.outgoing.try_recv().expect("the batch was flushed");
        assert_eq!((got.chunks, got.close), (vec![Bytes::from("a"), Bytes::from("b")], false));
        assert!(bench.outgoing.try_recv().is_err(), "one message for one batch");
    }

    #[test]
    fn a_close_takes_the_bytes_before_it_along_and_ends_the_connection() {
        let mut bench = bench();
        bench.router.route(send("goodbye"));
        bench.router.route(Output::Close { conn: CONN });
        bench.router.route(send("never"));
        bench.router.flush();
        let got = bench.outgoing.try_recv().expect("the close was handed on");
        assert_eq!((got.chunks, got.close), (vec![Bytes::from("goodbye")], true));
        assert!(bench.outgoing.try_recv().is_err());
        assert!(!bench.router.disconnect(CONN), "the node does not hear of a connection that it closed");
    }

    #[test]
    fn nothing_after_a_halt_is_executed_but_everything_before_it_is() {
        let mut bench = bench();
        bench.router.route(send("answered"));
        bench.router.route(Output::Halt(HaltReason::Stopped));
        bench.router.route(send("not to be trusted"));
        bench.router.flush();
        let got = bench.outgoing.try_recv().expect("what came before the halt leaves");
        assert_eq!(got.chunks, [Bytes::from("answered")]);
        assert_eq!(bench.router.halted(), Some(&HaltReason::Stopped));
    }

    #[tokio::test]
    async fn frames_go_to_their_peer_and_unknown_peers_are_ignored() {
        let mut bench = bench();
        bench.router.route(Output::SendPeer { to: NodeId(2), frame: Bytes::from("x") });
        bench.router.route(Output::SendPeer { to: NodeId(9), frame: Bytes::from("y") });
        bench.router.flush();
        assert_eq!(bench.link.take().await, Some(vec![Bytes::from("x")]));
    }

    #[test]
    fn the_last_wish_for_a_tick_counts_and_is_granted_once() {
        let mut bench = bench();
        bench.router.route(Output::WakeAt(Micros(5)));
        bench.router.route(Output::WakeAt(Micros(9)));
        assert!(!bench.router.take_due(Micros(8)));
        assert!(bench.router.take_due(Micros(9)));
        assert!(!bench.router.take_due(Micros(99)));
    }
}
