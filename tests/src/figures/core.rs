//! What an operation costs the core alone: one node in this process, whose disk and network cost next to nothing. Quieter than any
//! figure with a server in it, and one process to profile: `perf record`, `valgrind --tool=callgrind`.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::access::password::Cost;
use steadfast_core::config::{AccessMode, Features, LogConfig, Member, NodeConfig, SnapshotConfig, Timing};
use steadfast_core::inspect::RoleName;
use steadfast_core::io::{Input, Outbox, Output};
use steadfast_core::limits::Limits;
use steadfast_core::protocol::frame::Message;
use steadfast_core::protocol::native::{ClientFrame, Hello, Request, ServerDecoder, ServerFrame};
use steadfast_core::time::{Micros, Millis, Stamp};
use steadfast_core::types::{Blob, ConnId, NodeId};
use steadfast_sim::explore::image::Image;
use uuid::Uuid;

use super::machine;
use super::options::Options;
use super::report::{Cell, Report, median};

const CONNECTIONS: u64 = 50;
/// Requests that come in one step of each connection, and what is asked.
const LOADS: [(&str, u64, bool); 4] =
    [("SET", 1, true), ("SET, 16 at once", 16, true), ("GET", 1, false), ("GET, 16 at once", 16, false)];
/// So many requests make a round.
const ROUND: u64 = 160_000;

/// Measures, and says what was seen.
///
/// # Errors
/// If a request is not answered as it should be.
pub fn run(options: &Options) -> io::Result<Report> {
    let keys = options.keys(100_000);
    let mut notes = vec![format!("before: {}", machine::describe())];
    let mut bench = Bench::new();
    bench.fill(keys).map_err(io::Error::other)?;
    let mut rows = Vec::new();
    for (name, at_once, writes) in LOADS {
        let mut micros = Vec::new();
        // The first round finds other things in the caches, and is not counted.
        for round in 0..=options.rounds(3) {
            let spent = bench.round(keys, at_once, writes).map_err(io::Error::other)?;
            if round > 0 {
                micros.push(spent.as_secs_f64() * 1e6 / ROUND as f64);
            }
        }
        let least = micros.iter().copied().fold(f64::INFINITY, f64::min);
        rows.push(vec![Cell::from(name), Cell::Number(median(&micros), 2), Cell::Number(least, 2)]);
    }
    notes.push(format!("after: {}", machine::describe()));
    notes.push(format!("{CONNECTIONS} connections, values of 100 bytes, {keys} keys"));
    let title = "Microseconds in the core for an operation".into();
    Ok(Report { title, columns: vec!["load", "median", "least"], rows, notes })
}

/// A node with a disk and clients in memory.
struct Bench {
    node: Node,
    out: Outbox,
    now: Stamp,
    wake: Option<Micros>,
    disk: Image,
    inputs: VecDeque<Input>,
    answers: Vec<(ConnId, Bytes)>,
    decoders: BTreeMap<ConnId, ServerDecoder>,
    requests: u64,
    /// What took time that other threads would do: the disk, and encoding snapshots.
    elsewhere: Duration,
}

impl Bench {
    fn new() -> Self {
        let config = NodeConfig {
            id: NodeId(1),
            cluster_name: "figures".into(),
            members: vec![Member { id: NodeId(1), address: "here:1".into() }],
            join: false,
            witness: false,
            limits: Limits::default(),
            timing: Timing::default(),
            log: LogConfig::default(),
            snapshot: SnapshotConfig::default(),
            access: AccessMode::InsecureNoAuth,
            password_cost: Cost::default(),
            root_password: None,
            features: Features::default(),
        };
        let mut bench = Self {
            node: Node::new(config, [7; 32]),
            out: Outbox::default(),
            now: Stamp { mono: Micros(1), wall: Millis(1_700_000_000_000) },
            wake: None,
            disk: Image::default(),
            inputs: VecDeque::from([Input::Tick]),
            answers: Vec::new(),
            decoders: BTreeMap::new(),
            requests: 0,
            elsewhere: Duration::ZERO,
        };
        while bench.node.inspect().role != RoleName::Leader {
            bench.pass(Micros::from_millis(1));
        }
        for conn in (1..=CONNECTIONS).map(ConnId) {
            bench.decoders.insert(conn, ServerDecoder::new(8 << 20));
            let hello = Hello {
                versions: (1, 1),
                max_frame: 8 << 20,
                client: "figures".into(),
                client_version: "0".into(),
                cluster: None,
                auth: None,
            };
            bench.inputs.push_back(Input::Connected { conn, loopback: true });
            bench.inputs.push_back(Input::Bytes {
                conn,
                waited: Micros(0),
                data: encode(&ClientFrame::Hello(hello)),
            });
        }
        bench.pass(Micros::from_millis(1));
        bench
    }

    /// Steps the node until nothing follows, and then some time later.
    fn pass(&mut self, time: Micros) {
        while let Some(input) = self.inputs.pop_front() {
            self.step(input);
        }
        self.now.mono = self.now.mono.after(time);
        self.now.wall = Millis(1_700_000_000_000 + self.now.mono.0 / 1000);
        if self.wake.take_if(|at| *at <= self.now.mono).is_some() {
            self.step(Input::Tick);
        }
    }

    fn step(&mut self, input: Input) {
        self.node.step(self.now, input, &mut self.out);
        for output in self.out.drain() {
            match output {
                Output::Disk { token, op } => {
                    let begun = Instant::now();
                    let result = self.disk.execute(&op);
                    self.elsewhere += begun.elapsed();
                    self.inputs.push_back(Input::DiskDone { token, result });
                }
                Output::Compute { token, job } => {
                    let begun = Instant::now();
                    let result = job.run();
                    self.elsewhere += begun.elapsed();
                    self.inputs.push_back(Input::Computed { token, result });
                }
                Output::Send { conn, data } => {
                    self.inputs.push_back(Input::Drained { conn, bytes: data.len() as u64 });
                    self.answers.push((conn, data));
                }
                Output::WakeAt(at) => self.wake = Some(at),
                Output::Halt(reason) => panic!("the node halted: {reason}"),
                Output::Forget { .. }
                | Output::SendPeer { .. }
                | Output::Peers(_)
                | Output::Close { .. }
                | Output::Trace(_) => {}
            }
        }
    }

    /// The time that the node has taken for a round.
    fn round(&mut self, keys: u64, at_once: u64, writes: bool) -> Result<Duration, String> {
        let mut spent = Duration::ZERO;
        for _ in 0..ROUND / CONNECTIONS / at_once {
            // Any key, in no order that a cache could know.
            spent += self
                .ask(at_once, writes, |number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % keys)?;
        }
        Ok(spent)
    }

    /// Writes each key.
    fn fill(&mut self, keys: u64) -> Result<(), String> {
        let (first, at_once) = (self.requests + 1, 16);
        while self.requests < first + keys {
            self.ask(at_once, true, |number| (number - first) % keys)?;
        }
        Ok(())
    }

    /// So many requests of each connection, for keys by the number of the request, and the time that the node takes.
    fn ask(&mut self, at_once: u64, writes: bool, key: impl Fn(u64) -> u64) -> Result<Duration, String> {
        for conn in (1..=CONNECTIONS).map(ConnId) {
            let frames: Vec<u8> = (0..at_once).flat_map(|_| self.request(writes, &key)).collect();
            self.inputs.push_back(Input::Bytes { conn, waited: Micros(0), data: frames.into() });
        }
        self.elsewhere = Duration::ZERO;
        let begun = Instant::now();
        self.pass(Micros(500));
        let spent = begun.elapsed().saturating_sub(self.elsewhere);
        self.check(at_once * CONNECTIONS)?;
        Ok(spent)
    }

    fn request(&mut self, writes: bool, key: impl Fn(u64) -> u64) -> Bytes {
        self.requests += 1;
        let key = Blob::from(format!("bench:key:{:012}", key(self.requests)).into_bytes());
        let args = match writes {
            true => vec!["SET".into(), key, vec![b'x'; 100].into()],
            false => vec!["GET".into(), key],
        };
        let id = Uuid::from_u128(u128::from(self.requests));
        encode(&ClientFrame::Request(Request {
            id,
            once: None,
            deadline_ms: 1000,
            trace: None,
            unknowns: 0,
            args,
        }))
    }

    /// So many requests were answered, and none with an error.
    fn check(&mut self, wanted: u64) -> Result<(), String> {
        let mut answered = 0;
        for (conn, data) in self.answers.drain(..) {
            let decoder = self.decoders.get_mut(&conn).ok_or("an answer to nobody")?;
            decoder.push(&data);
            while let Some(frame) = decoder.next().map_err(|error| error.to_string())? {
                match frame {
                    ServerFrame::Response(response) => {
                        response.reply.outcome.map_err(|failure| failure.to_string())?;
                        answered += 1;
                    }
                    ServerFrame::Welcome(_) => {}
                    other => return Err(format!("{other:?}")),
                }
            }
        }
        if answered == wanted { Ok(()) } else { Err(format!("{answered} of {wanted} were answered")) }
    }
}

fn encode(frame: &ClientFrame) -> Bytes {
    frame.encode(8 << 20).expect("it is short")
}
