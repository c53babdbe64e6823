//! Clients' connections: frames in and out, the limits of each connection, and the order of its commands.
//!
//! A connection greets (hello, and perhaps a login), then sends requests. Its commands take effect in the order in
//! which they came: while a password is computed the later ones wait, and once one has an unknown outcome the later
//! ones are refused. Everything is bounded; who exceeds a bound is refused or disconnected, never queued.
//!
//! What happens to a request is in `requests.rs`, to a login in `login.rs`. Nothing is evaluated here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;

use super::budgets::{Budget, Held};
use super::forward::{Task, Ticket};
use super::login::Busy;
use super::requests::{GivenUp, Inflight};
use crate::access::user::Principal;
use crate::config::{AccessMode, NodeConfig};
use crate::error::{ErrorCode, Failure};
use crate::io::{Outbox, Output};
use crate::protocol::frame::Message;
use crate::protocol::native::{
    ClientDecoder, ClientFrame, Hello, Request, Response, ServerFrame, Welcome, negotiate,
};
use crate::reply::Reply;
use crate::time::Micros;
use crate::types::{ClusterId, ConnId, NodeId};

/// All connections of a node.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub config: NodeConfig,
    pub rng: ChaCha8Rng,
    /// The cluster's identity, once it is founded.
    pub cluster: ClusterId,
    /// Who leads, for the welcome.
    pub leader: Option<NodeId>,
    /// Where, if it is another node and this one knows.
    pub leader_address: Option<String>,
    /// New work is refused: the node is stopping.
    pub stopping: bool,
    pub table: BTreeMap<ConnId, Connection>,
    /// What they hold together.
    pub budget: Budget,
    /// When each request's time is up.
    pub deadlines: BTreeSet<(Micros, Ticket)>,
    /// When each greeting's time is up.
    greetings: BTreeSet<(Micros, ConnId)>,
    /// Commands for evaluation, in order.
    pub tasks: VecDeque<(Ticket, Task)>,
    /// Tickets whose answer nobody waits for.
    pub abandoned: Vec<(Ticket, GivenUp)>,
    /// Password computations under way, by the number of their token. Nothing stops them, so they count until they
    /// end, even if the connection is gone. Each with its beginning.
    pub jobs: BTreeMap<u64, (ConnId, Micros)>,
    pub next_job: u64,
}

/// One client.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    decoder: ClientDecoder,
    /// Whether the hello was answered.
    pub greeted: bool,
    opened: Micros,
    pub principal: Option<Principal>,
    pub next_number: u64,
    pub inflight: BTreeMap<u64, Inflight>,
    pub inflight_bytes: usize,
    /// What must be done before the next request is looked at.
    pub busy: Option<Busy>,
    /// Requests behind that.
    pub blocked: VecDeque<(Request, Micros)>,
    /// How many of its commands have an unknown outcome. What comes after them is executed once the client knows.
    pub unknowns: u32,
    /// Bytes sent and not yet taken by the operating system.
    unsent: u64,
    /// The largest frame that the client takes.
    max_frame: usize,
    /// What the budget knows of.
    pub counted: Held,
}

impl Connection {
    /// What it holds.
    pub fn holds(&self) -> Held {
        Held {
            partial: self.decoder.buffered() as u64,
            requests: self.inflight_bytes as u64,
            unsent: self.unsent,
        }
    }
}

impl Connections {
    /// None yet.
    pub fn new(config: NodeConfig, rng: ChaCha8Rng) -> Self {
        Self {
            config,
            rng,
            cluster: ClusterId::default(),
            leader: None,
            leader_address: None,
            stopping: false,
            table: BTreeMap::new(),
            budget: Budget::default(),
            deadlines: BTreeSet::new(),
            greetings: BTreeSet::new(),
            tasks: VecDeque::new(),
            abandoned: Vec::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
        }
    }

    /// A client has connected.
    pub fn connected(&mut self, now: Micros, conn: ConnId, loopback: bool, out: &mut Outbox) {
        let insecure = self.config.access == AccessMode::InsecureNoAuth;
        let refusal = if self.stopping {
            Some((ErrorCode::ShuttingDown, "this node is stopping: use another".to_owned()))
        } else if self.table.len() >= self.config.limits.connections {
            let most = self.config.limits.connections;
            Some((
                ErrorCode::TooManyConnections,
                format!("this node already has {most} connections: try another"),
            ))
        } else if insecure && !loopback {
            let text =
                "this node runs without access control and takes only connections from its own machine";
            Some((ErrorCode::Denied, text.to_owned()))
        } else {
            None
        };
        if let Some((code, text)) = refusal {
            send_raw(conn, &ServerFrame::Goodbye(Failure::new(code, text)), usize::MAX, out);
            out.push(Output::Close { conn, at_once: false });
            return;
        }
        let limits = &self.config.limits;
        let connection = Connection {
            decoder: ClientDecoder::new(limits.greeting_bytes.min(limits.frame_bytes)),
            greeted: false,
            opened: now,
            principal: insecure.then_some(Principal::Anybody),
            next_number: 1,
            inflight: BTreeMap::new(),
            inflight_bytes: 0,
            busy: None,
            blocked: VecDeque::new(),
            unknowns: 0,
            unsent: 0,
            max_frame: limits.frame_bytes,
            counted: Held::default(),
        };
        self.greetings.insert((now.after(Micros::from_millis(limits.greeting_ms)), conn));
        let before = self.table.insert(conn, connection);
        assert!(before.is_none(), "a driver uses a connection's number once");
    }

    /// A client sent bytes, and they waited so long to be looked at.
    pub fn bytes(&mut self, now: Micros, conn: ConnId, waited: Micros, data: &[u8], out: &mut Outbox) {
        let came = Micros(now.0.saturating_sub(waited.0));
        let Some(connection) = self.table.get_mut(&conn) else { return };
        connection.decoder.push(data);
        while let Some(connection) = self.table.get_mut(&conn) {
            match connection.decoder.next() {
                Ok(Some(ClientFrame::Hello(hello))) => self.hello(now, conn, hello, out),
                Ok(Some(ClientFrame::Request(request))) => self.request((now, came), conn, request, out),
                Ok(None) => break,
                Err(error) => {
                    self.goodbye(conn, Failure::from(&error), out);
                }
            }
        }
        self.mind_budget(conn, out);
    }

    /// The operating system took bytes.
    pub fn drained(&mut self, conn: ConnId, bytes: u64) {
        if let Some(connection) = self.table.get_mut(&conn) {
            connection.unsent = connection.unsent.saturating_sub(bytes);
            self.budget.count(connection);
        }
    }

    /// The connection is gone: what it asked may still happen, but nobody is told.
    pub fn disconnected(&mut self, conn: ConnId, out: &mut Outbox) {
        let Some(connection) = self.table.remove(&conn) else { return };
        self.budget.release(&connection);
        if connection.busy.is_some() {
            // In a storm of logins most of those who gave up come again: what they left behind must not be computed first.
            self.forget_jobs(conn, out);
        }
        self.greetings.remove(&(self.greeting_deadline(connection.opened), conn));
        // What nobody has looked at yet is nothing that could be given up: no answer to it would ever come.
        let unseen: BTreeSet<Ticket> =
            self.tasks.iter().map(|(ticket, _)| *ticket).filter(|ticket| ticket.conn == conn).collect();
        self.tasks.retain(|(ticket, _)| ticket.conn != conn);
        for (number, inflight) in connection.inflight {
            let ticket = Ticket { conn, number };
            self.deadlines.remove(&(inflight.deadline, ticket));
            if !unseen.contains(&ticket) {
                self.abandoned.push((ticket, GivenUp::Gone));
            }
        }
    }

    /// The first frame of a connection: what both sides can do, and perhaps a login.
    fn hello(&mut self, now: Micros, conn: ConnId, hello: Hello, out: &mut Outbox) {
        let own = &self.config.cluster_name;
        let refusal =
            if self.table.get(&conn).is_none_or(|connection| connection.greeted || connection.busy.is_some())
            {
                Some(Failure::new(
                    ErrorCode::Protocol,
                    "a hello is the first frame of a connection and comes once",
                ))
            } else if let Err(failure) = negotiate(hello.versions) {
                Some(failure)
            } else if hello.cluster.as_ref().is_some_and(|cluster| cluster != own) {
                Some(Failure::new(ErrorCode::WrongCluster, format!("this is a node of the cluster '{own}'")))
            } else {
                None
            };
        if let Some(failure) = refusal {
            return self.goodbye(conn, failure, out);
        }
        let Some(connection) = self.table.get_mut(&conn) else { return };
        connection.max_frame = (hello.max_frame as usize).min(self.config.limits.frame_bytes);
        match hello.auth {
            Some((user, password)) if connection.principal.is_none() => {
                self.begin_login(now, conn, None, user, password, out);
            }
            _ => self.welcome(conn, out),
        }
    }

    /// Answers the hello.
    pub fn welcome(&mut self, conn: ConnId, out: &mut Outbox) {
        let limits = self.config.limits.clone();
        let own = self.config.members.iter().find(|member| member.id == self.config.id);
        let own = own.map(|member| member.address.clone());
        let address =
            |leader: NodeId| if leader == self.config.id { own } else { self.leader_address.clone() };
        let leader = self.leader.and_then(|leader| Some((leader, address(leader)?)));
        let (node, cluster) = (self.config.id, self.config.cluster_name.clone());
        let Some(connection) = self.table.get_mut(&conn) else { return };
        connection.greeted = true;
        let authenticated = connection.principal.is_some();
        if authenticated {
            connection.decoder.set_maximum(limits.frame_bytes);
            let opened = connection.opened;
            self.greetings.remove(&(self.greeting_deadline(opened), conn));
        }
        let welcome = Welcome {
            version: crate::protocol::native::VERSION_MAX,
            max_frame: limits.frame_bytes as u32,
            node,
            cluster,
            leader,
            authenticated,
            inflight_requests: limits.inflight_requests as u32,
            inflight_bytes: limits.inflight_bytes as u64,
            session_window: limits.session_window,
            deadline_ms: limits.deadline_ms as u32,
        };
        self.send(conn, &ServerFrame::Welcome(welcome), out);
    }

    /// A login has succeeded: the connection may send whole frames, as long as it likes.
    pub fn logged_in(&mut self, conn: ConnId, principal: Principal) {
        let Some(connection) = self.table.get_mut(&conn) else { return };
        connection.principal = Some(principal);
        connection.decoder.set_maximum(self.config.limits.frame_bytes);
        let opened = connection.opened;
        self.greetings.remove(&(self.greeting_deadline(opened), conn));
    }

    /// Time has passed: requests and greetings whose time is up.
    pub fn tick(&mut self, now: Micros, out: &mut Outbox) {
        while let Some((deadline, conn)) =
            self.greetings.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.greetings.remove(&(deadline, conn));
            let text = "the connection did not say hello and log in in time";
            self.goodbye(conn, Failure::new(ErrorCode::DeadlineExceeded, text), out);
        }
        while let Some((deadline, ticket)) =
            self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.deadlines.remove(&(deadline, ticket));
            self.abandoned.push((ticket, GivenUp::Late));
        }
    }

    /// When [`Connections::tick`] has something to do.
    pub fn wake_at(&self) -> Option<Micros> {
        let request = self.deadlines.first().map(|(deadline, _)| *deadline);
        let greeting = self.greetings.first().map(|(deadline, _)| *deadline);
        request.into_iter().chain(greeting).min()
    }

    /// Whether nothing waits to be carried to the replica.
    pub fn is_quiet(&self) -> bool {
        self.tasks.is_empty() && self.abandoned.is_empty()
    }

    /// Whether no request waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.table.values().all(|connection| connection.inflight.is_empty() && connection.busy.is_none())
    }

    fn greeting_deadline(&self, opened: Micros) -> Micros {
        opened.after(Micros::from_millis(self.config.limits.greeting_ms))
    }

    /// The last frame of a connection.
    pub fn goodbye(&mut self, conn: ConnId, failure: Failure, out: &mut Outbox) {
        self.send(conn, &ServerFrame::Goodbye(failure), out);
        self.close(conn, false, out);
    }

    /// Closes a connection: at once, with all that was not sent, or once that is.
    pub fn close(&mut self, conn: ConnId, at_once: bool, out: &mut Outbox) {
        if self.table.contains_key(&conn) {
            self.disconnected(conn, out);
            out.push(Output::Close { conn, at_once });
        }
    }

    pub fn send(&mut self, conn: ConnId, frame: &ServerFrame, out: &mut Outbox) {
        let Some(connection) = self.table.get_mut(&conn) else { return };
        let sent = send_raw(conn, frame, connection.max_frame, out);
        connection.unsent = connection.unsent.saturating_add(sent as u64);
        if connection.unsent > self.config.limits.unsent_bytes {
            // It reads more slowly than it asks, and there is no room to tell it so, nor to keep what it does not read.
            self.close(conn, true, out);
        }
    }
}

/// Sends a frame, and says how many bytes it has.
fn send_raw(conn: ConnId, frame: &ServerFrame, max_frame: usize, out: &mut Outbox) -> usize {
    out.send(conn, |bytes| {
        let before = bytes.len();
        append(frame, max_frame, bytes);
        bytes.len() - before
    })
}

/// Adds a frame's bytes. An answer that the client does not take is replaced by one that says so, with its receipt: the
/// command did what it did.
fn append(frame: &ServerFrame, max_frame: usize, out: &mut Vec<u8>) {
    let Err(error) = frame.append(max_frame, out) else { return };
    let failure = Failure::new(ErrorCode::ReplyTooLarge, error.to_string());
    let smaller = match frame {
        ServerFrame::Response(response) => ServerFrame::Response(Response {
            reply: Reply { outcome: Err(failure), receipt: response.reply.receipt },
            ..response.clone()
        }),
        _ => ServerFrame::Goodbye(failure),
    };
    smaller.append(usize::MAX, out).expect("an error is short");
}
