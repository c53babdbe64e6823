//! Whole nodes on perfect disks and a perfect network: what a reader should see happen first. Faults are the
//! simulator's business.

mod budgets;
mod clocks;
mod connections;
mod disk;
mod durability;
mod forwarding;
mod identity;
mod joining;
mod members;
mod observers;
mod recovery;
mod refusals;
mod repair;
mod snapshots;
mod transfers;
mod upgrades;
mod waits;
mod watches;
mod witness;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

use super::peers::Kind;
use super::replica::Replica;
use super::{Node, Phase};
use crate::access::password::{self, Cost};
use crate::config::{AccessMode, Features, LogConfig, Member, NodeConfig, SnapshotConfig, Timing};
use crate::error::ErrorCode;
use crate::inspect::RoleName;
use crate::io::{
    DiskError, DiskErrorKind, DiskOp, FileName, HaltReason, Input, Outbox, Output, Owner, PeerAddress,
};
use crate::job::JobResult;
use crate::limits::Limits;
use crate::protocol::frame::Message;
use crate::protocol::native::{ClientFrame, Hello, Request, ServerDecoder, ServerFrame};
use crate::protocol::peer;
use crate::reply::{Reply, Value};
use crate::time::{Micros, Millis, Stamp};
use crate::trace::Event;
use crate::types::{Blob, ConnId, Index, NodeId};
use disk::execute;

/// A cluster whose disks and network do at once what they are told.
struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    disks: BTreeMap<NodeId, BTreeMap<FileName, Vec<u8>>>,
    wake: BTreeMap<NodeId, Micros>,
    /// Whom each node's driver can reach, and where.
    peers: BTreeMap<NodeId, Vec<PeerAddress>>,
    clients: BTreeMap<ConnId, (NodeId, ServerDecoder, Vec<ServerFrame>)>,
    queue: VecDeque<(NodeId, Input)>,
    cut: Option<NodeId>,
    now: Stamp,
    /// By how many milliseconds a node's wall clock is off.
    walls: BTreeMap<NodeId, i64>,
    /// What nodes told their operators.
    notices: Vec<(NodeId, String)>,
    requests: u128,
    boots: u8,
    /// Whether there is memory for password hashes.
    memory: bool,
    /// The node whose disk has no space for snapshots.
    full: Option<NodeId>,
    /// The node whose log's disk stands still, and what it has done meanwhile without saying so.
    stalled: Option<NodeId>,
    unsaid: Vec<(NodeId, Input)>,
}

fn config(id: u16, members: u16, access: AccessMode) -> NodeConfig {
    NodeConfig {
        id: NodeId(id),
        cluster_name: "test".into(),
        members: (1..=members).map(|id| Member { id: NodeId(id), address: format!("host{id}:1") }).collect(),
        join: false,
        witness: false,
        limits: Limits::default(),
        timing: Timing::default(),
        log: LogConfig { segment_bytes: 16 << 10, batch_bytes: 8 << 10 },
        snapshot: SnapshotConfig::default(),
        access,
        password_cost: Cost { memory_kib: 8, passes: 1 },
        root_password: Some("secret".into()),
        features: Features::default(),
    }
}

impl Cluster {
    fn new(members: u16, access: AccessMode) -> Self {
        let mut cluster = Self::empty();
        for id in 1..=members {
            cluster.boot(config(id, members, access));
        }
        cluster.run(2000);
        cluster
    }

    fn empty() -> Self {
        Self {
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            wake: BTreeMap::new(),
            peers: BTreeMap::new(),
            clients: BTreeMap::new(),
            queue: VecDeque::new(),
            cut: None,
            now: Stamp { mono: Micros(1), wall: Millis(1_700_000_000_000) },
            walls: BTreeMap::new(),
            notices: Vec::new(),
            requests: 0,
            boots: 0,
            memory: true,
            full: None,
            stalled: None,
            unsaid: Vec::new(),
        }
    }

    fn boot(&mut self, config: NodeConfig) {
        self.boots += 1;
        let id = config.id;
        self.disks.entry(id).or_default();
        // What its process before had under way is nobody's any more.
        self.queue.retain(|(to, input)| {
            *to != id || !matches!(input, Input::DiskDone { .. } | Input::Computed { .. })
        });
        self.nodes.insert(id, Node::new(config, [self.boots; 32]));
        self.queue.push_back((id, Input::Tick));
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let mut out = Outbox::default();
        let now = self.stamp(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.step(now, input, &mut out);
        for output in out.drain() {
            match output {
                Output::Disk { token, op } => {
                    let result = match op {
                        DiskOp::WriteAt {
                            file: FileName::SnapshotPart(_) | FileName::SnapshotTmp(_),
                            ..
                        } if self.full == Some(id) => {
                            let message = "no space for snapshots".to_owned();
                            Err(DiskError { kind: DiskErrorKind::NoSpace, message })
                        }
                        op => execute(self.disks.get_mut(&id).unwrap(), op),
                    };
                    let done = (id, Input::DiskDone { token, result });
                    match self.stalled == Some(id) && token.owner == Owner::Wal {
                        true => self.unsaid.push(done),
                        false => self.queue.push_back(done),
                    }
                }
                Output::Send { conn, data } => {
                    let (_, decoder, frames) = self.clients.get_mut(&conn).unwrap();
                    decoder.push(&data);
                    while let Some(frame) = decoder.next().unwrap() {
                        frames.push(frame);
                    }
                    self.queue.push_back((id, Input::Drained { conn, bytes: data.len() as u64 }));
                }
                Output::Peers(peers) => {
                    self.peers.insert(id, peers);
                }
                Output::SendPeer { to, frame, .. } => {
                    let linked = self.peers.get(&id).is_some_and(|all| all.iter().any(|it| it.node == to));
                    if linked && self.cut != Some(to) && self.cut != Some(id) {
                        self.queue.push_back((to, Input::Peer { frame }));
                    }
                }
                Output::Compute { token, job } => {
                    let result = if self.memory {
                        job.run()
                    } else {
                        JobResult::Password(password::JobResult::Failed)
                    };
                    self.queue.push_back((id, Input::Computed { token, result }));
                }
                // A pool that has begun all its jobs.
                Output::Forget { .. } => {}
                Output::WakeAt(at) => {
                    self.wake.insert(id, at);
                }
                Output::Trace(Event::Notice(text)) => self.notices.push((id, text)),
                Output::Halt(HaltReason::Stopped) | Output::Close { .. } | Output::Trace(_) => {}
                Output::Halt(reason) => panic!("node {id} halted: {reason}"),
            }
        }
    }

    /// What a node's clocks show.
    fn stamp(&self, id: NodeId) -> Stamp {
        let off = self.walls.get(&id).copied().unwrap_or(0);
        Stamp { wall: Millis(self.now.wall.0.saturating_add_signed(off)), ..self.now }
    }

    /// Lets so many milliseconds pass.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            while let Some((id, input)) = self.queue.pop_front() {
                self.step(id, input);
            }
            self.pass();
        }
    }

    /// Lets a millisecond pass.
    fn pass(&mut self) {
        self.now.mono = self.now.mono.after(Micros::from_millis(1));
        self.now.wall.0 += 1;
        let due: Vec<NodeId> =
            self.wake.iter().filter(|(_, at)| **at <= self.now.mono).map(|(id, _)| *id).collect();
        for id in due {
            self.wake.remove(&id);
            self.step(id, Input::Tick);
        }
    }

    /// Goes on until a frame of this kind is about to reach a node, and takes it off the line.
    fn intercept(&mut self, to: NodeId, kind: Kind) -> Bytes {
        for _ in 0..100_000 {
            match self.queue.pop_front() {
                Some((id, Input::Peer { frame })) if id == to && is_kind(&frame, kind) => return frame,
                Some((id, input)) => self.step(id, input),
                None => self.pass(),
            }
        }
        panic!("no {kind:?} frame comes to node {to}")
    }

    /// Lets so many milliseconds pass in which no frame of this kind reaches a node, and gives them.
    fn withhold(&mut self, to: NodeId, kind: Kind, millis: u64) -> Vec<Bytes> {
        let mut held = Vec::new();
        for _ in 0..millis {
            while let Some((id, input)) = self.queue.pop_front() {
                match input {
                    Input::Peer { frame } if id == to && is_kind(&frame, kind) => held.push(frame),
                    input => self.step(id, input),
                }
            }
            self.pass();
        }
        held
    }

    fn deliver(&mut self, to: NodeId, frame: &Bytes) {
        self.queue.push_back((to, Input::Peer { frame: frame.clone() }));
    }

    fn replica(&mut self, id: NodeId) -> &mut Replica {
        match &mut self.nodes.get_mut(&id).unwrap().phase {
            Phase::Running(replica) => replica,
            _ => panic!("node {id} is not at work"),
        }
    }

    fn leader(&self) -> NodeId {
        let leads =
            |id: &&NodeId| Some(**id) != self.cut && self.nodes[*id].inspect().role == RoleName::Leader;
        *self.nodes.keys().find(leads).expect("somebody leads")
    }

    fn follower(&self) -> NodeId {
        *self
            .nodes
            .keys()
            .find(|id| **id != self.leader() && Some(**id) != self.cut)
            .expect("somebody follows")
    }

    fn connect(&mut self, id: NodeId, auth: Option<(&str, &str)>) -> ConnId {
        let conn = ConnId(self.clients.len() as u64 + 1);
        self.clients.insert(conn, (id, ServerDecoder::new(1 << 20), Vec::new()));
        let hello = Hello {
            versions: (1, 1),
            max_frame: 8 << 20,
            client: "test".into(),
            client_version: "0".into(),
            cluster: Some("test".into()),
            auth: auth.map(|(user, password)| (Blob::from(user), password.to_owned())),
        };
        self.queue.push_back((id, Input::Connected { conn, loopback: true }));
        self.send(conn, &ClientFrame::Hello(hello));
        self.run(100);
        conn
    }

    fn send(&mut self, conn: ConnId, frame: &ClientFrame) {
        let id = self.clients[&conn].0;
        let data = frame.encode(8 << 20).unwrap();
        self.queue.push_back((id, Input::Bytes { conn, waited: Micros(0), data }));
    }

    /// Sends a command without waiting.
    fn ask(&mut self, conn: ConnId, words: &str) -> Uuid {
        self.ask_within(conn, words, 0)
    }

    /// Sends a command whose answer is wanted within so many milliseconds.
    fn ask_within(&mut self, conn: ConnId, words: &str, deadline_ms: u32) -> Uuid {
        self.requests += 1;
        let id = Uuid::from_u128(self.requests);
        let args = words.split(' ').map(Blob::from).collect();
        self.send(
            conn,
            &ClientFrame::Request(Request { id, once: None, deadline_ms, trace: None, unknowns: 0, args }),
        );
        id
    }

    fn answer(&self, conn: ConnId, id: Uuid) -> Option<Reply> {
        self.clients[&conn].2.iter().find_map(|frame| match frame {
            ServerFrame::Response(response) if response.id == id => Some(response.reply.clone()),
            _ => None,
        })
    }

    fn command(&mut self, conn: ConnId, words: &str) -> Reply {
        let id = self.ask(conn, words);
        self.run(200);
        self.answer(conn, id).unwrap_or_else(|| panic!("no answer to {words}"))
    }

    fn value(&mut self, conn: ConnId, words: &str) -> Value {
        self.command(conn, words).outcome.unwrap_or_else(|failure| panic!("{words}: {failure}"))
    }

    fn code(&mut self, conn: ConnId, words: &str) -> ErrorCode {
        self.command(conn, words).outcome.expect_err("an error").code
    }
}

fn is_kind(frame: &Bytes, kind: Kind) -> bool {
    peer::decode(frame).is_ok_and(|(header, _)| header.kind == kind.number())
}

fn bytes(text: &str) -> Value {
    Value::Bytes(Blob::from(text))
}

#[test]
fn a_single_node_founds_itself_and_keeps_what_it_acknowledged() {
    let mut cluster = Cluster::new(1, AccessMode::Enforced);
    let conn = cluster.connect(NodeId(1), Some(("root", "secret")));
    let set = cluster.command(conn, "SET color blue");
    assert_eq!(set.outcome, Ok(Value::ok()));
    let read = cluster.command(conn, "GET color");
    assert_eq!(read.outcome, Ok(bytes("blue")));
    assert_eq!(read.receipt, set.receipt, "nothing was logged in between");
    cluster.boot(config(1, 1, AccessMode::Enforced));
    cluster.run(2000);
    let conn = cluster.connect(NodeId(1), Some(("root", "secret")));
    assert_eq!(cluster.value(conn, "GET color"), bytes("blue"));
}

#[test]
fn the_first_administrators_password_lies_in_the_credentials_file() {
    let cluster = Cluster::new(1, AccessMode::Enforced);
    let file = &cluster.disks[&NodeId(1)][&FileName::RootCredentials];
    assert_eq!(file, b"user root\npassword secret\n");
    assert!(!cluster.disks[&NodeId(1)].contains_key(&FileName::RootCredentialsTmp));
}

#[test]
fn any_node_takes_any_command() {
    let mut cluster = Cluster::new(3, AccessMode::Enforced);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let at_leader = cluster.connect(leader, Some(("root", "secret")));
    let at_follower = cluster.connect(follower, Some(("root", "secret")));
    assert_eq!(cluster.value(at_follower, "INCRBY n 5"), Value::Int(5));
    assert_eq!(cluster.value(at_leader, "INCRBY n 5"), Value::Int(10));
    assert_eq!(cluster.value(at_follower, "GET n"), bytes("10"));
    cluster.run(200);
    let digests: Vec<u64> = cluster.nodes.values().map(|node| node.inspect().state_digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "replicas agree");
}

#[test]
fn nothing_but_a_login_is_answered_before_one() {
    let mut cluster = Cluster::new(1, AccessMode::Enforced);
    let conn = cluster.connect(NodeId(1), None);
    assert_eq!(cluster.code(conn, "GET color"), ErrorCode::Unauthenticated);
    assert_eq!(cluster.code(conn, "AUTH root wrong"), ErrorCode::WrongPassword);
    assert_eq!(cluster.code(conn, "AUTH nobody secret"), ErrorCode::WrongPassword);
    assert_eq!(cluster.value(conn, "AUTH root secret"), Value::ok());
    assert_eq!(cluster.value(conn, "GET color"), Value::Nil);
}

#[test]
fn a_login_ends_with_the_password_that_it_was_made_with() {
    let mut cluster = Cluster::new(3, AccessMode::Enforced);
    let follower = cluster.follower();
    let root = cluster.connect(follower, Some(("root", "secret")));
    assert_eq!(cluster.value(root, "USER ADD ann first"), Value::ok());
    assert_eq!(cluster.value(root, "GRANT READ ON a* TO ann"), Value::Int(1));
    let ann = cluster.connect(follower, Some(("ann", "first")));
    assert_eq!(cluster.value(ann, "GET apple"), Value::Nil);
    assert_eq!(cluster.code(ann, "GET pear"), ErrorCode::Denied);
    assert_eq!(cluster.value(root, "USER PASSWORD ann second"), Value::ok());
    assert_eq!(cluster.code(ann, "GET apple"), ErrorCode::Unauthenticated);
}

#[test]
fn a_cut_off_leader_answers_nothing_and_its_successor_goes_on() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let old = cluster.leader();
    let at_old = cluster.connect(old, None);
    assert_eq!(cluster.value(at_old, "SET k 1"), Value::ok());
    cluster.cut = Some(old);
    let write = cluster.ask(at_old, "SET k 2");
    let read = cluster.ask(at_old, "GET k");
    cluster.run(20);
    assert_eq!((cluster.answer(at_old, write), cluster.answer(at_old, read)), (None, None));
    cluster.run(3000);
    let failure = cluster.answer(at_old, write).expect("an answer").outcome.expect_err("no majority");
    assert_eq!(failure.code, ErrorCode::LeaderLost);
    assert!(!failure.is_definite());
    let new = cluster.leader();
    let at_new = cluster.connect(new, None);
    assert_eq!(cluster.value(at_new, "GET k"), bytes("1"));
    assert_eq!(cluster.value(at_new, "SET k 3"), Value::ok());
    cluster.cut = None;
    cluster.run(2000);
    assert_eq!(cluster.code(at_old, "GET k"), ErrorCode::AfterIndeterminate, "its order is broken");
    let again = cluster.connect(old, None);
    assert_eq!(cluster.value(again, "GET k"), bytes("3"));
}

#[test]
fn a_key_goes_when_its_time_is_up_and_not_before() {
    let mut cluster = Cluster::new(1, AccessMode::InsecureNoAuth);
    let conn = cluster.connect(NodeId(1), None);
    cluster.value(conn, "SET k v PX 1000");
    assert_eq!(cluster.value(conn, "GET k"), bytes("v"));
    cluster.run(500);
    assert_eq!(cluster.value(conn, "GET k"), bytes("v"));
    cluster.run(400);
    assert_eq!(cluster.value(conn, "GET k"), Value::Nil);
    assert_eq!(cluster.nodes[&NodeId(1)].state().key_count(), 0, "the expiry was logged");
}

#[test]
fn a_directory_that_went_back_in_time_abstains_until_a_leader_has_brought_it_up_to_date() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let old = cluster.follower();
    let image = cluster.disks[&old].clone();
    cluster.boot(config(old.0, 3, AccessMode::InsecureNoAuth));
    cluster.run(2000);
    let conn = cluster.connect(cluster.leader(), None);
    cluster.value(conn, "SET k v");
    cluster.disks.insert(old, image);
    cluster.boot(config(old.0, 3, AccessMode::InsecureNoAuth));
    cluster.run(1000);
    let figures = cluster.nodes[&old].inspect();
    assert_eq!(figures.role, RoleName::Learner, "its boot number was seen under another nonce");
    // The present leader may have been elected with a vote that it has forgotten. The next one was not.
    let (leader, third) = (cluster.leader(), NodeId(6 - old.0 - cluster.leader().0));
    cluster.cut = Some(leader);
    cluster.run(3000);
    assert_ne!(cluster.nodes[&third].inspect().role, RoleName::Leader, "nobody wins with a doubtful vote");
    cluster.cut = None;
    cluster.run(5000);
    let term = cluster.nodes[&cluster.leader()].inspect().term;
    let figures = cluster.nodes[&old].inspect();
    assert_eq!((figures.role, figures.term), (RoleName::Follower, term), "it counts again");
    let conn = cluster.connect(old, None);
    assert_eq!(cluster.value(conn, "GET k"), bytes("v"));
}

#[test]
fn a_wiped_node_follows_and_never_votes() {
    let mut cluster = Cluster::new(3, AccessMode::InsecureNoAuth);
    let conn = cluster.connect(cluster.leader(), None);
    cluster.value(conn, "SET k v");
    let wiped = cluster.follower();
    cluster.disks.insert(wiped, BTreeMap::new());
    cluster.boot(config(wiped.0, 3, AccessMode::InsecureNoAuth));
    cluster.run(2000);
    let figures = cluster.nodes[&wiped].inspect();
    assert_eq!(figures.role, RoleName::Learner);
    assert!(figures.commit > Index(1), "it is fed");
    cluster.cut = Some(cluster.leader());
    cluster.run(5000);
    let alone = cluster.nodes.values().filter(|node| node.inspect().role == RoleName::Leader).count();
    assert_eq!(alone, 0, "a wiped node must not help to elect anybody");
}
