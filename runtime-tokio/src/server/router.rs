//! Hands what the node puts out to whoever executes it. Bytes are gathered per connection and per peer
//! until the end of a batch, so that a batch wakes each of them once. Of the disk's work it knows whether anybody but the
//! disk would be kept waiting if the node's loop did it. Nothing else is decided here.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use steadfast_core::io::{HaltReason, Input, Lane, Output, PeerAddress};
use steadfast_core::time::Micros;
use steadfast_core::trace::Event;
use steadfast_core::types::{ConnId, NodeId};
use tokio::sync::mpsc::UnboundedSender;

use super::compute::Pool;
use super::disk_threads::DiskThreads;
use super::link_queue::LinkQueue;
use super::links::Queues;
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
    gathered: Vec<(Lane, Bytes)>,
}

/// Which clients have asked anything since a batch of the log was last given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Askers {
    Nobody,
    One(ConnId),
    Several,
}

/// Opens and closes links to the nodes that are named.
pub type Linker = Box<dyn FnMut(Vec<PeerAddress>) -> Queues + Send>;

/// Sees every trace event.
pub type Watcher = Box<dyn FnMut(&Event) + Send>;

/// Everybody who executes outputs.
pub struct Router {
    connections: HashMap<ConnId, Connection>,
    /// Connections with gathered bytes.
    written: Vec<ConnId>,
    peers: HashMap<NodeId, Peer>,
    linker: Linker,
    disk: DiskThreads,
    askers: Askers,
    /// Whether the last [`Router::flush`] had bytes for any client.
    answered: bool,
    compute: Pool,
    watcher: Watcher,
    wake: Option<Micros>,
    halted: Option<HaltReason>,
}

impl Router {
    /// A router without connections. `linker` opens links, `watcher` sees every trace event.
    pub fn new(disk: DiskThreads, compute: Pool, linker: Linker, watcher: Watcher) -> Self {
        Self {
            connections: HashMap::new(),
            written: Vec::new(),
            peers: HashMap::new(),
            linker,
            disk,
            askers: Askers::Nobody,
            answered: false,
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
        let _ = connection.sender.send(Outgoing { chunks: connection.gathered, close: true, at_once: false });
        true
    }

    /// Ends a connection that does not read what it asked for.
    fn cut_off(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.remove(&conn) {
            let _ = connection.sender.send(Outgoing { at_once: true, close: true, ..Outgoing::default() });
        }
    }

    /// Whether the node knows this connection.
    #[must_use]
    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// A client has sent something.
    pub fn heard(&mut self, conn: ConnId) {
        self.askers = match self.askers {
            Askers::Nobody => Askers::One(conn),
            Askers::One(known) if known == conn => Askers::One(conn),
            Askers::One(_) | Askers::Several => Askers::Several,
        };
    }

    /// Executes one output, or gathers it. What follows a halt is not executed.
    pub fn route(&mut self, output: Output) {
        if self.halted.is_some() {
            return;
        }
        match output {
            // A send fails only when its receiver is gone, which happens while the process ends.
            Output::Disk { token, op } => self.disk.take(token, op),
            Output::Compute { token, job } => self.compute.compute(token, job),
            Output::Forget { token } => self.compute.forget(token),
            Output::Send { conn, data } => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    if connection.gathered.is_empty() {
                        self.written.push(conn);
                    }
                    connection.gathered.push(data);
                }
            }
            Output::SendPeer { to, lane, frame } => {
                if let Some(peer) = self.peers.get_mut(&to) {
                    peer.gathered.push((lane, frame));
                }
            }
            Output::Peers(peers) => self.link(peers),
            Output::Close { conn, at_once: false } => drop(self.disconnect(conn)),
            Output::Close { conn, at_once: true } => self.cut_off(conn),
            Output::WakeAt(at) => self.wake = Some(at),
            Output::Trace(event) => (self.watcher)(&event),
            Output::Halt(reason) => self.halted = Some(reason),
        }
    }

    /// Frames go to these nodes from now on.
    fn link(&mut self, peers: Vec<PeerAddress>) {
        let queues = (self.linker)(peers);
        self.peers.retain(|node, _| queues.contains_key(node));
        for (node, queue) in queues {
            self.peers.entry(node).or_insert(Peer { queue, gathered: Vec::new() });
        }
    }

    /// Hands over all bytes that were gathered.
    pub fn flush(&mut self) {
        self.answered = !self.written.is_empty();
        for conn in self.written.drain(..) {
            if let Some(connection) = self.connections.get_mut(&conn) {
                let chunks = std::mem::take(&mut connection.gathered);
                let _ = connection.sender.send(Outgoing { chunks, ..Outgoing::default() });
            }
        }
        for peer in self.peers.values_mut().filter(|peer| !peer.gathered.is_empty()) {
            peer.queue.push(peer.gathered.drain(..));
        }
    }

    /// Hands the disk operations that were gathered to their thread.
    pub fn hand_over_disk_work(&mut self) {
        if self.disk.hand_over() {
            self.askers = Askers::Nobody;
        }
    }

    /// Whether the node's loop may execute them itself: nobody is there whom it would keep waiting. The one client that asks
    /// waits for this very batch, and there are no peers, who are to hear of a node even while its disk stalls.
    #[must_use]
    pub fn may_execute_disk_work(&self) -> bool {
        let alone = matches!(self.askers, Askers::One(_)) && !self.answered && self.peers.is_empty();
        alone && self.halted.is_none() && self.disk.may_execute_here()
    }

    /// Executes them, and says what became of them. If one was slow, the rest is left for the thread.
    pub fn execute_disk_work(&mut self) -> Vec<Input> {
        self.askers = Askers::Nobody;
        self.disk.execute_here()
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
    use crate::server::compute;
    use crate::server::disk::Disk;
    use crate::server::disk_threads::{DiskThread, Work};
    use crate::server::scratch::Scratch;
    use steadfast_core::io::{DiskOp, FileName, Owner, Token};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    const CONN: ConnId = ConnId(1);

    struct Bench {
        router: Router,
        outgoing: UnboundedReceiver<Outgoing>,
        link: Arc<LinkQueue>,
        _disk: [Work; 2],
    }

    fn bench() -> Bench {
        bench_with(&[NodeId(2)])
    }

    fn bench_with(peers: &[NodeId]) -> Bench {
        let scratch = Scratch::new("router");
        let thread = || DiskThread::new(Disk::new(scratch.path()).expect("the scratch directory is there"));
        let ((log, writing), (snapshots, keeping)) = (thread(), thread());
        let (disk, _disk) = (DiskThreads::new(log, snapshots), [writing, keeping]);
        let compute = compute::start(|_, _| {}).expect("threads can be started");
        let link = Arc::new(LinkQueue::default());
        let queue = link.clone();
        let open =
            move |peers: Vec<PeerAddress>| peers.iter().map(|peer| (peer.node, queue.clone())).collect();
        let mut router = Router::new(disk, compute, Box::new(open), Box::new(|_| {}));
        let named = |node: &NodeId| PeerAddress { node: *node, addresses: vec!["host:1".into()] };
        router.route(Output::Peers(peers.iter().map(named).collect()));
        let (sender, outgoing) = unbounded_channel();
        router.connect(CONN, sender);
        Bench { router, outgoing, link, _disk }
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
        bench.router.route(Output::Close { conn: CONN, at_once: false });
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
        bench.router.route(Output::SendPeer { to: NodeId(2), lane: Lane::Bulk, frame: Bytes::from("x") });
        bench.router.route(Output::SendPeer { to: NodeId(9), lane: Lane::Bulk, frame: Bytes::from("y") });
        bench.router.flush();
        assert_eq!(bench.link.take().await, Some(vec![Bytes::from("x")]));
    }

    /// A batch of the log has come out, for the only client that has asked anything.
    fn asked(peers: &[NodeId]) -> Bench {
        let (mut bench, file) = (bench_with(peers), FileName::Wal(1));
        bench.router.heard(CONN);
        bench.router.heard(CONN);
        let ops = [DiskOp::WriteAt { file, offset: 0, data: Bytes::from("x") }, DiskOp::Sync { file }];
        for (seq, op) in (0..).zip(ops) {
            bench.router.route(Output::Disk { token: Token { owner: Owner::Wal, seq }, op });
        }
        bench.router.flush();
        bench
    }

    #[test]
    fn a_batch_is_executed_by_the_loop_only_if_that_keeps_nobody_waiting() {
        assert!(asked(&[]).router.may_execute_disk_work());
        assert!(!asked(&[NodeId(2)]).router.may_execute_disk_work(), "a peer");
        type Happening = (&'static str, fn(&mut Router));
        let cases: [Happening; 4] = [
            ("another client", |router| router.heard(ConnId(2))),
            ("somebody who was answered, and may ask again", |router| {
                router.route(send("answer"));
                router.flush();
            }),
            ("it is handed over", Router::hand_over_disk_work),
            ("the node has halted", |router| router.route(Output::Halt(HaltReason::Stopped))),
        ];
        for (what, happens) in cases {
            let mut bench = asked(&[]);
            happens(&mut bench.router);
            assert!(!bench.router.may_execute_disk_work(), "{what}");
        }
    }

    #[test]
    fn who_asks_counts_from_the_batch_before() {
        let mut bench = asked(&[]);
        bench.router.heard(ConnId(2));
        bench.router.hand_over_disk_work();
        assert_eq!(bench.router.askers, Askers::Nobody);
        bench.router.heard(ConnId(2));
        bench.router.hand_over_disk_work();
        assert_eq!(bench.router.askers, Askers::One(ConnId(2)), "nothing was handed over");
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
