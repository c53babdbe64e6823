//! The wires between clients and nodes: connecting, bytes both ways, and every way in which it ends.

use bytes::Bytes;
use steadfast_core::client::ClientInput;
use steadfast_core::io::Input;
use steadfast_core::time::Micros;
use steadfast_core::types::ConnId;

use super::{Event, World};
use crate::check::pipeline::{self, Pipeline};
use crate::pipe::{Connection, Item, Pipe};

/// How long a client waits for a machine that does not answer, in microseconds.
const NO_ANSWER_US: u64 = 1_000_000;

/// How soon a sender tries again across a cut network, in microseconds.
const RETRANSMIT_US: u64 = 20_000;

/// How many delivered bytes the node is told of at a time: a driver need not report every piece.
const DRAIN_BYTES: u64 = 4096;

impl World<'_> {
    /// A client wants a connection.
    pub(super) fn connect(&mut self, worker: usize, client_conn: ConnId, node: usize) {
        let conn = self.next_conn;
        self.next_conn += 1;
        let connection = Connection {
            client: worker,
            incarnation: self.workers[worker].incarnation,
            client_conn,
            node,
            boot: None,
            to_node: Pipe::default(),
            to_client: Pipe::default(),
            client_open: true,
            node_open: false,
            undrained: 0,
            order: Pipeline::default(),
        };
        self.conns.insert(conn, connection);
        self.workers[worker].conns.insert(client_conn, conn);
        let at = self.now + self.wire_delay();
        self.push(at, Event::Connect { conn });
    }

    /// A client's request for a connection arrives at the machine.
    pub(super) fn connect_arrives(&mut self, conn: u64) {
        let delay = self.wire_delay();
        let refused = self.wires.chance(700_000);
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        let node = connection.node;
        let reachable = !self.network.is_cut_from_clients(node);
        if !reachable || !self.nodes[node].is_up() {
            let after = if reachable && refused { delay } else { NO_ANSWER_US };
            return self.push(self.now + after, Event::Connected { conn, ok: false });
        }
        if !connection.client_open {
            self.conns.remove(&conn);
            return;
        }
        connection.boot = Some(self.nodes[node].boot);
        connection.node_open = true;
        self.push(self.now + delay, Event::Connected { conn, ok: true });
        self.deliver(node, Input::Connected { conn: ConnId(conn), loopback: true });
    }

    /// A client learns what came of its request for a connection.
    pub(super) fn connect_answered(&mut self, conn: u64, ok: bool) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        if !connection.client_open {
            return;
        }
        let (worker, client_conn) = (connection.client, connection.client_conn);
        let input = if ok {
            ClientInput::Connected { conn: client_conn }
        } else {
            self.forget(conn);
            ClientInput::ConnectFailed { conn: client_conn }
        };
        self.tell_worker(worker, input);
    }

    /// A client sends bytes.
    pub(super) fn send_to_node(&mut self, conn: u64, data: Bytes) {
        let spec = self.network.spec();
        let (delay, split) = (spec.client, spec.split_ppm);
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        connection.to_node.send(self.now, data, delay, split, &mut self.wires);
        self.queue_pipe(conn, true);
    }

    /// A node sends bytes.
    pub(super) fn send_to_client(&mut self, conn: u64, data: Bytes) {
        let spec = self.network.spec();
        let (delay, split) = (spec.client, spec.split_ppm);
        let Some(connection) = self.conns.get_mut(&conn).filter(|connection| connection.node_open) else {
            return;
        };
        if let Err(what) = connection.order.answered(&data) {
            return self.fail(pipeline::JUDGE, what);
        }
        connection.to_client.send(self.now, data, delay, split, &mut self.wires);
        self.queue_pipe(conn, false);
    }

    /// A node closes a connection once everything sent before has gone out.
    pub(super) fn node_closes(&mut self, conn: u64) {
        let delay = self.wire_delay();
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        connection.node_open = false;
        connection.to_client.end(self.now, Item::End, delay);
        self.queue_pipe(conn, false);
        self.forget_if_over(conn);
    }

    /// A client closes a connection.
    pub(super) fn client_closes(&mut self, conn: u64) {
        let delay = self.wire_delay();
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        connection.client_open = false;
        connection.to_node.end(self.now, Item::End, delay);
        self.queue_pipe(conn, true);
        self.forget_if_over(conn);
    }

    /// The head of a direction arrives.
    pub(super) fn pipe(&mut self, conn: u64, to_node: bool) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        let pipe = if to_node { &mut connection.to_node } else { &mut connection.to_client };
        if self.network.is_cut_from_clients(connection.node)
            && pipe.next_at().is_some_and(|at| at <= self.now)
        {
            pipe.hold_until(self.now + RETRANSMIT_US);
        }
        let item = pipe.take(self.now);
        self.queue_pipe(conn, to_node);
        match item {
            Some(item) if to_node => self.arrives_at_node(conn, item),
            Some(item) => self.arrives_at_client(conn, item),
            None => {}
        }
        self.forget_if_over(conn);
    }

    fn arrives_at_node(&mut self, conn: u64, item: Item) {
        let connection = &self.conns[&conn];
        let (node, boot) = (connection.node, connection.boot);
        if !self.nodes[node].is_up() {
            return;
        }
        if boot != Some(self.nodes[node].boot) {
            // The machine came back and knows nothing of this connection: it answers with a reset.
            return self.reset_client(conn);
        }
        if !connection.node_open {
            return;
        }
        let id = ConnId(conn);
        match item {
            Item::Data(data) => {
                self.conns.get_mut(&conn).expect("it was just there").order.asked(&data);
                self.deliver(node, Input::Bytes { conn: id, waited: Micros(0), data });
            }
            Item::End | Item::Reset => {
                self.conns.get_mut(&conn).expect("it was just there").node_open = false;
                self.deliver(node, Input::Disconnected { conn: id });
            }
        }
    }

    fn arrives_at_client(&mut self, conn: u64, item: Item) {
        let connection = self.conns.get_mut(&conn).expect("it was just there");
        if !connection.client_open {
            return;
        }
        let (worker, client_conn) = (connection.client, connection.client_conn);
        match item {
            Item::Data(data) => {
                connection.undrained += data.len() as u64;
                let drained = connection.undrained;
                if drained >= DRAIN_BYTES && connection.node_open {
                    connection.undrained = 0;
                    let node = connection.node;
                    self.deliver(node, Input::Drained { conn: ConnId(conn), bytes: drained });
                }
                self.tell_worker(worker, ClientInput::Bytes { conn: client_conn, data });
            }
            Item::End | Item::Reset => {
                connection.client_open = false;
                self.workers[worker].conns.remove(&client_conn);
                self.tell_worker(worker, ClientInput::Disconnected { conn: client_conn });
            }
        }
    }

    /// A node's process is gone: the kernel closes its connections, or, without power, says nothing.
    pub(super) fn cut_connections(&mut self, node: usize, power: bool) {
        for conn in self.conns_of(node) {
            let (delay, lost) = (self.wire_delay(), self.wires.chance(500_000));
            let connection = self.conns.get_mut(&conn).expect("it was just listed");
            connection.node_open = false;
            if power {
                connection.to_client.dead = true;
            } else if lost {
                connection.to_client.reset(self.now, delay);
            } else {
                connection.to_client.end(self.now, Item::Reset, delay);
            }
            self.queue_pipe(conn, false);
            self.forget_if_over(conn);
        }
    }

    /// Both ends of a node's connections learn of a reset, each in its time.
    pub(super) fn reset_connections(&mut self, node: usize) {
        for conn in self.conns_of(node) {
            let delay = self.wire_delay();
            let connection = self.conns.get_mut(&conn).expect("it was just listed");
            connection.to_node.reset(self.now, delay);
            connection.to_client.reset(self.now, delay);
            self.queue_pipe(conn, true);
            self.queue_pipe(conn, false);
        }
    }

    /// A node's connections stay open and swallow every byte, both ways. Returns how many had one end listening.
    pub(super) fn half_open(&mut self, node: usize) -> usize {
        let conns = self.conns_of(node);
        for conn in &conns {
            let connection = self.conns.get_mut(conn).expect("it was just listed");
            connection.to_node.dead = true;
            connection.to_client.dead = true;
        }
        conns.len()
    }

    /// A client is gone without a word; its connections swallow bytes or end.
    pub(super) fn abandon_connections(&mut self, worker: usize) {
        let conns: Vec<u64> = std::mem::take(&mut self.workers[worker].conns).into_values().collect();
        for conn in conns {
            if self.wires.chance(700_000) {
                self.client_closes(conn);
            } else if let Some(connection) = self.conns.get_mut(&conn) {
                connection.client_open = false;
                connection.to_node.dead = true;
            }
        }
    }

    fn reset_client(&mut self, conn: u64) {
        let delay = self.wire_delay();
        let connection = self.conns.get_mut(&conn).expect("it was just there");
        connection.to_client.dead = false;
        connection.to_client.reset(self.now, delay);
        self.queue_pipe(conn, false);
    }

    fn conns_of(&self, node: usize) -> Vec<u64> {
        let boot = self.nodes[node].boot;
        let of = |connection: &Connection| connection.node == node && connection.boot == Some(boot);
        self.conns.iter().filter(|(_, connection)| of(connection)).map(|(conn, _)| *conn).collect()
    }

    fn queue_pipe(&mut self, conn: u64, to_node: bool) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        let pipe = if to_node { &mut connection.to_node } else { &mut connection.to_client };
        if let Some(at) = pipe.look_at() {
            self.push(at, Event::Pipe { conn, to_node });
        }
    }

    fn forget_if_over(&mut self, conn: u64) {
        let Some(connection) = self.conns.get(&conn) else { return };
        let idle = |pipe: &Pipe| pipe.dead || pipe.next_at().is_none();
        if !connection.client_open && !connection.node_open && idle(&connection.to_node) {
            self.forget(conn);
        }
    }

    fn forget(&mut self, conn: u64) {
        if let Some(connection) = self.conns.remove(&conn) {
            let worker = &mut self.workers[connection.client];
            if worker.incarnation == connection.incarnation {
                worker.conns.remove(&connection.client_conn);
            }
        }
    }

    fn wire_delay(&mut self) -> u64 {
        self.network.spec().client.draw(&mut self.wires)
    }
}
