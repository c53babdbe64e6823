//! A bench for scripts: the real client on one side, the test as driver and as servers on the other, over real
//! bytes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::*;
use crate::protocol::frame::Message;
use crate::protocol::native::{
    ClientDecoder, ClientFrame, Hello, Request, Response, ServerFrame, VERSION_MAX, Welcome,
};
use crate::reply::{Reply, Value};
use crate::time::Millis;
use crate::types::{Index, SessionId};

mod certainty;
mod chaos;
mod connecting;
mod overload;
mod sessions;

const LARGE: usize = 8 << 20;

/// What a `Done` said.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    outcome: OpOutcome,
    receipt: Option<Receipt>,
    node: Option<NodeId>,
    attempts: u32,
    once: Option<(SessionId, u64)>,
}

impl Told {
    fn failed(&self) -> Option<ErrorCode> {
        match &self.outcome {
            OpOutcome::Failed(failure) => Some(failure.code),
            _ => None,
        }
    }

    fn unknown(&self) -> Option<ErrorCode> {
        match &self.outcome {
            OpOutcome::Unknown(failure) => Some(failure.code),
            _ => None,
        }
    }

    fn is_ok(&self) -> bool {
        matches!(self.outcome, OpOutcome::Ok(_))
    }
}

/// The client and everything around it.
struct Bench {
    client: Client,
    now: Micros,
    connects: VecDeque<(ConnId, usize)>,
    streams: BTreeMap<ConnId, ClientDecoder>,
    frames: BTreeMap<ConnId, VecDeque<ClientFrame>>,
    closed: Vec<ConnId>,
    told: BTreeMap<u64, Told>,
    wake: Option<Micros>,
    stopped: bool,
}

fn config(nodes: usize) -> ClientConfig {
    ClientConfig {
        deadline_ms: 20_000,
        ..ClientConfig::new((0..nodes).map(|node| format!("node-{node}:7000")).collect())
    }
}

fn words(command: &str) -> Vec<Blob> {
    command.split_whitespace().map(Blob::from).collect()
}

fn welcome(node: usize) -> Welcome {
    Welcome {
        version: VERSION_MAX,
        max_frame: 1 << 20,
        node: NodeId(node as u16 + 1),
        cluster: "test".into(),
        leader: None,
        authenticated: true,
        inflight_requests: 100,
        inflight_bytes: 1 << 20,
        session_window: 8,
        deadline_ms: 60_000,
    }
}

/// Node `node` leads, and its address is in the list.
fn led_by(node: usize) -> Option<(NodeId, String)> {
    Some((NodeId(node as u16 + 1), format!("node-{node}:7000")))
}

fn evaluated(outcome: Result<Value, ErrorCode>, position: u64) -> Reply {
    let outcome = outcome.map_err(|code| Failure::new(code, "as the test says"));
    Reply { outcome, receipt: Some(Receipt::durable(Index(position), Millis(position))) }
}

fn ok() -> Reply {
    evaluated(Ok(Value::ok()), 5)
}

fn refusal(code: ErrorCode) -> Reply {
    Reply::refused(Failure::new(code, "as the test says"))
}

impl Bench {
    fn new(config: ClientConfig) -> Self {
        Self {
            client: Client::new(config, [7; 32]),
            now: Micros::from_millis(1000),
            connects: VecDeque::new(),
            streams: BTreeMap::new(),
            frames: BTreeMap::new(),
            closed: Vec::new(),
            told: BTreeMap::new(),
            wake: None,
            stopped: false,
        }
    }

    fn step(&mut self, input: ClientInput) {
        let mut out = Vec::new();
        self.client.step(self.now, input, &mut out);
        for output in out {
            match output {
                ClientOutput::Connect { conn, address } => {
                    self.streams.insert(conn, ClientDecoder::new(LARGE));
                    self.frames.insert(conn, VecDeque::new());
                    self.connects.push_back((conn, address));
                }
                ClientOutput::Send { conn, data } => {
                    assert!(!self.closed.contains(&conn), "nothing is sent after a close");
                    let stream = self.streams.get_mut(&conn).expect("a connection that was asked for");
                    stream.push(&data);
                    while let Some(frame) = stream.next().expect("the client speaks the protocol") {
                        self.frames.get_mut(&conn).expect("as its stream").push_back(frame);
                    }
                }
                ClientOutput::Close { conn } => self.closed.push(conn),
                ClientOutput::Done { op, outcome, receipt, node, attempts, once } => {
                    let told = Told { outcome, receipt, node, attempts, once };
                    assert!(self.told.insert(op.0, told).is_none(), "command {} is done twice", op.0);
                }
                ClientOutput::WakeAt(time) => {
                    assert!(time > self.now, "a wish lies in the future");
                    self.wake = Some(time);
                }
                ClientOutput::Stopped => self.stopped = true,
            }
        }
    }

    fn submit(&mut self, op: u64, command: &str) {
        self.submit_until(op, command, 0);
    }

    fn submit_until(&mut self, op: u64, command: &str, deadline_ms: u32) {
        self.step(ClientInput::Submit { op: OpId(op), args: words(command), deadline_ms, again: None });
    }

    /// Lets time pass, waking the client whenever it wished to be.
    fn pass(&mut self, millis: u64) {
        let end = self.now.after(Micros::from_millis(millis));
        while let Some(wake) = self.wake.filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.wake = None;
            self.step(ClientInput::Tick);
        }
        self.now = end;
    }

    /// The connection that the client asks for, now or after its pause.
    fn dialled(&mut self) -> (ConnId, usize) {
        for _ in 0..2000 {
            if self.connects.is_empty() {
                self.pass(1);
            }
        }
        self.connects.pop_front().expect("the client wants a connection")
    }

    /// Accepts the next connection and takes the hello.
    fn greet(&mut self) -> (ConnId, usize, Hello) {
        let (conn, node) = self.dialled();
        self.step(ClientInput::Connected { conn });
        match self.next_frame(conn) {
            Some(ClientFrame::Hello(hello)) => (conn, node, hello),
            other => panic!("a connection begins with a hello, not with {other:?}"),
        }
    }

    /// Accepts the next connection and welcomes the client.
    fn accept(&mut self) -> ConnId {
        let (conn, node, _) = self.greet();
        self.say(conn, ServerFrame::Welcome(welcome(node)));
        conn
    }

    /// Accepts the next connection and opens the session that the client asks for.
    fn accept_with_session(&mut self, session: i64) -> ConnId {
        let conn = self.accept();
        self.open_session(conn, session);
        conn
    }

    fn open_session(&mut self, conn: ConnId, session: i64) {
        let request = self.request(conn);
        assert_eq!((request.args.clone(), request.once), (words("SESSION OPEN"), None));
        self.reply(conn, &request, evaluated(Ok(Value::Int(session)), session.unsigned_abs()));
    }

    fn next_frame(&mut self, conn: ConnId) -> Option<ClientFrame> {
        self.frames.get_mut(&conn)?.pop_front()
    }

    fn request(&mut self, conn: ConnId) -> Request {
        match self.next_frame(conn) {
            Some(ClientFrame::Request(request)) => request,
            other => panic!("a request was expected, not {other:?}"),
        }
    }

    /// What the client has sent and nobody has looked at.
    fn requests(&mut self, conn: ConnId) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(ClientFrame::Request(request)) = self.next_frame(conn) {
            texts.push(text(&request));
        }
        texts
    }

    fn say(&mut self, conn: ConnId, frame: ServerFrame) {
        let data = frame.encode(LARGE).expect("small");
        self.step(ClientInput::Bytes { conn, data });
    }

    fn reply(&mut self, conn: ConnId, request: &Request, reply: Reply) {
        self.say(conn, ServerFrame::Response(Response { id: request.id, reply, node: NodeId(1) }));
    }

    fn hang_up(&mut self, conn: ConnId) {
        self.step(ClientInput::Disconnected { conn });
    }

    fn told(&self, op: u64) -> &Told {
        self.told.get(&op).unwrap_or_else(|| panic!("command {op} is not done"))
    }

    fn pending(&self, op: u64) -> bool {
        !self.told.contains_key(&op)
    }
}

/// A request as `SET k v @session.seq/floor`.
fn text(request: &Request) -> String {
    let mut text = request.args.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if let Some(once) = request.once {
        text.push_str(&format!(" @{}.{}/{}", once.session, once.seq, once.floor));
    }
    text
}

fn bytes(text: &'static [u8]) -> Bytes {
    Bytes::from_static(text)
}
