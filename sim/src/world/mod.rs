//! The world: executes a schedule. One queue of events in order of (time, sequence), one node step at a
//! time, every output executed in order with the points between at which a node can die.
//!
//! Read `mod.rs` for the loop, `step.rs` for what happens to a node, `conns.rs` for the wires to clients,
//! `workers.rs` for what clients do, `faults.rs` for what goes wrong, `damage.rs` for what disks do, `surges.rs` for load, `budget.rs` for how
//! much of it, `halts.rs` for nodes that stop themselves, `phases.rs` for how a run ends, and `scrubbing.rs` for the rot
//! that a node must find by itself, and `timekeeping.rs` for what the judge of cluster time is shown.
//! Nothing here judges a history; that comes after, in `run.rs`.

mod budget;
mod conns;
mod damage;
mod faults;
mod halts;
mod learned;
mod phases;
mod releases;
mod scrubbing;
mod step;
mod surges;
mod timekeeping;
mod workers;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use steadfast_core::io::{DiskError, DiskReply, Outbox, Token};
use steadfast_core::job::JobResult;
use steadfast_core::types::Index;

use crate::disk::{OpId, Stage};
use crate::glue::Invariants;
use crate::history::Recorder;
use crate::network::Network;
use crate::pipe::Connection;
use crate::probes::Probes;
use crate::process::Process;
use crate::rng::Stream;
use crate::schedule::Schedule;
use crate::trace::{Line, TraceHash};

pub use budget::Budget;
pub use phases::{Committed, Phase, describe};
pub use surges::Backlog;
use timekeeping::Timekeeping;
use workers::Worker;

/// More events than this in one simulated second are a storm; busy runs have some thousands.
const STORM_EVENTS: u64 = 150_000;

/// Where `replay --trace` listens.
pub type Listener<'a> = &'a mut dyn FnMut(Line);

/// Why a run stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A promise was broken.
    Failed {
        /// Who says so.
        judge: &'static str,
        /// What it saw.
        what: String,
    },
    /// Nobody can tell.
    Inconclusive(String),
    /// The event that `--until` names was reached.
    Asked,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A process starts, unless it was started since.
    Start { node: usize, boot: u64 },
    /// A node wanted a tick now, or will a little later.
    Wake { node: usize, boot: u64 },
    /// A disk operation comes to its next execution point.
    Disk { node: usize, boot: u64, op: OpId, stage: Stage },
    /// A node hears of a disk operation's end.
    DiskDone { node: usize, boot: u64, token: Token, result: Result<DiskReply, DiskError>, sync: bool },
    /// A computation is done.
    Computed { node: usize, boot: u64, token: Token, result: JobResult },
    /// A frame arrives.
    Frame { from: usize, to: usize, frame: Bytes },
    /// A client's request for a connection arrives.
    Connect { conn: u64 },
    /// A client learns what came of it.
    Connected { conn: u64, ok: bool },
    /// The head of a direction of a connection arrives.
    Pipe { conn: u64, to_node: bool },
    /// A client begins.
    WorkerStart { worker: usize, incarnation: u64 },
    /// A client's library wanted to be called now.
    WorkerWake { worker: usize, incarnation: u64 },
    /// A client has thought long enough.
    Think { worker: usize, incarnation: u64, lane: usize },
    /// A fault strikes or begins to wait.
    Fault { fault: usize },
    /// A fault that lasts ends.
    FaultEnd { fault: usize },
    /// A flapping partition turns.
    Flap { fault: usize },
    /// A busy node is done with what it does.
    Work { node: usize, boot: u64 },
    /// A paused process goes on.
    Resume { node: usize, pause: u64 },
    /// The safety phase is over.
    EndOfFaults,
    /// The liveness phase looks how far it is.
    Look,
}

#[derive(Debug)]
struct Queued {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A schedule under execution.
pub struct World<'a> {
    schedule: &'a Schedule,
    now: u64,
    events: u64,
    until: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    nodes: Vec<Process>,
    network: Network,
    conns: BTreeMap<u64, Connection>,
    next_conn: u64,
    wires: Stream,
    compute: Stream,
    workers: Vec<Worker>,
    /// The newest revision of each key that any client has learnt.
    revisions: BTreeMap<String, Index>,
    /// The newest leases that any client was granted.
    leases: [i64; 4],
    recorder: Recorder,
    invariants: Invariants,
    time: Timekeeping,
    hash: TraceHash,
    probes: Probes,
    phase: Phase,
    /// When it began.
    phase_began: u64,
    /// Frames that wait for the healing of their link, from the first node to the second.
    held: BTreeMap<(usize, usize), Vec<Bytes>>,
    active: BTreeMap<usize, faults::Active>,
    /// How many times as fast as usual clients ask.
    pace: u64,
    /// How long an input keeps a node busy, in microseconds.
    cost_us: u64,
    /// Rot that a node has to find.
    scrubbing: Option<scrubbing::Scrubbing>,
    /// Whether a node had to find some, or there was nothing to find.
    scrubbed: bool,
    budget: Budget,
    stopped: Option<Stopped>,
    faults_struck: u64,
    ops_done: u64,
    outbox: Outbox,
    /// The beginning of the present watch for storms, and the events before it.
    storm_watch: (u64, u64),
    listener: Option<Listener<'a>>,
}

/// What is left of a world when it has stopped.
pub struct Remains {
    /// Why it stopped, if not at its end.
    pub stopped: Option<Stopped>,
    /// What the clients wrote down.
    pub recorder: Recorder,
    /// The final log and state, if the run came to its end.
    pub committed: Option<Committed>,
    /// The digest of the state at each commit index at which a node was seen.
    pub states: Vec<(Index, u64)>,
    /// The hash of the trace.
    pub hash: TraceHash,
    /// Rare states.
    pub probes: Probes,
    /// Events executed.
    pub events: u64,
    /// True time at the end, in microseconds.
    pub sim_us: u64,
    /// Operations that clients completed.
    pub ops: u64,
    /// Faults that struck.
    pub faults: u64,
    /// What was spent of the fault budget.
    pub budget: Budget,
    /// The phase at the end.
    pub phase: Phase,
    /// What each node showed last; `None` for one that is down.
    pub seen: Vec<Option<steadfast_core::inspect::Inspection>>,
}

impl<'a> World<'a> {
    /// The world at the beginning of a schedule.
    #[must_use]
    pub fn new(schedule: &'a Schedule, listener: Option<Listener<'a>>) -> Self {
        let mut world = Self {
            schedule,
            now: 0,
            events: 0,
            until: u64::MAX,
            queue: BinaryHeap::new(),
            sequence: 0,
            nodes: (0..usize::from(schedule.cluster.nodes)).map(|n| Process::new(schedule, n)).collect(),
            network: Network::new(schedule.cluster.nodes, schedule.network.clone(), schedule.seed),
            conns: BTreeMap::new(),
            next_conn: 1,
            wires: Stream::new(schedule.seed, "client wires"),
            compute: Stream::new(schedule.seed, "compute"),
            workers: workers::all(schedule),
            revisions: BTreeMap::new(),
            leases: [0; 4],
            recorder: Recorder::default(),
            invariants: Invariants::new(schedule),
            time: Timekeeping::new(schedule),
            hash: TraceHash::default(),
            probes: Probes::default(),
            phase: Phase::Safety,
            phase_began: 0,
            held: BTreeMap::new(),
            active: BTreeMap::new(),
            pace: 1,
            cost_us: 0,
            scrubbing: None,
            scrubbed: false,
            budget: Budget::new(&schedule.cluster),
            stopped: None,
            faults_struck: 0,
            ops_done: 0,
            outbox: Outbox::default(),
            storm_watch: (0, 0),
            listener,
        };
        world.queue_beginning();
        world
    }

    /// Executes events until the run is over or the event with this number is done.
    #[must_use]
    pub fn run(mut self, until: u64) -> Remains {
        self.until = until;
        while self.stopped.is_none() && self.phase != Phase::Over {
            let Some(Reverse(next)) = self.queue.pop() else {
                self.fail("liveness", "nothing will ever happen again".into());
                break;
            };
            self.now = next.at;
            self.dispatch(next.event);
            self.watch_for_storms();
            if self.events >= self.until {
                self.stopped.get_or_insert(Stopped::Asked);
            }
            if self.events >= self.schedule.bounds.events {
                self.out_of_events();
            }
        }
        self.remains()
    }

    fn queue_beginning(&mut self) {
        for node in 0..self.nodes.len() {
            // The nodes of a cluster are never started at one instant.
            let at = node as u64 * 700;
            self.push(at, Event::Start { node, boot: 0 });
        }
        for (fault, spec) in self.schedule.faults.iter().enumerate() {
            if spec.at_us < self.schedule.safety_us {
                self.push(spec.at_us, Event::Fault { fault });
            }
        }
        self.push(self.schedule.safety_us, Event::EndOfFaults);
        let operator = self.workers.len() - 1;
        self.push(2_000, Event::WorkerStart { worker: operator, incarnation: 0 });
        if self.schedule.setup.is_empty() {
            self.start_clients();
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Start { node, boot } => self.start(node, boot),
            Event::Wake { node, boot } => self.wake(node, boot),
            Event::Disk { node, boot, op, stage } => self.disk_point(node, boot, op, stage),
            Event::DiskDone { node, boot, token, result, sync } => {
                self.disk_done(node, boot, token, result, sync);
            }
            Event::Computed { node, boot, token, result } => self.computed(node, boot, token, result),
            Event::Frame { from, to, frame } => self.frame(from, to, frame),
            Event::Connect { conn } => self.connect_arrives(conn),
            Event::Connected { conn, ok } => self.connect_answered(conn, ok),
            Event::Pipe { conn, to_node } => self.pipe(conn, to_node),
            Event::WorkerStart { worker, incarnation } => self.worker_start(worker, incarnation),
            Event::WorkerWake { worker, incarnation } => self.worker_wake(worker, incarnation),
            Event::Think { worker, incarnation, lane } => self.think(worker, incarnation, lane),
            Event::Fault { fault } => self.fault(fault),
            Event::FaultEnd { fault } => self.fault_end(fault),
            Event::Flap { fault } => self.flap(fault),
            Event::Work { node, boot } => self.work(node, boot),
            Event::Resume { node, pause } => self.resume(node, pause),
            Event::EndOfFaults => self.end_of_faults(),
            Event::Look => self.look(),
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued { at: at.max(self.now), sequence: self.sequence, event }));
    }

    /// Counts an event and tells the listener. The detail is only made if somebody listens.
    fn note(&mut self, place: Place, what: &'static str, detail: impl FnOnce() -> String) {
        self.events += 1;
        if let Some(listener) = &mut self.listener {
            let place = match place {
                Place::Node(node) => format!("n{}", node + 1),
                Place::Client(client) => format!("c{client}"),
                Place::World => "world".into(),
            };
            listener(Line { event: self.events, time_us: self.now, place, what, detail: detail() });
        }
    }

    fn fail(&mut self, judge: &'static str, what: String) {
        let text = what.clone();
        self.note(Place::World, "FAILED", || format!("{judge}: {text}"));
        self.stopped.get_or_insert(Stopped::Failed { judge, what });
    }

    /// Notices nodes that keep each other busy without end: answers that are answered.
    fn watch_for_storms(&mut self) {
        let (since, events) = self.storm_watch;
        if self.now - since >= 1_000_000 {
            self.storm_watch = (self.now, self.events);
        } else if self.events - events > STORM_EVENTS {
            let seconds = (self.now - since) as f64 / 1e6;
            self.fail("storm", format!("{STORM_EVENTS} events within {seconds:.3} s"));
        }
    }

    fn out_of_events(&mut self) {
        let events = self.events;
        match self.phase {
            Phase::Safety => {
                let why = format!("{events} events were used up in the safety phase");
                self.stopped.get_or_insert(Stopped::Inconclusive(why));
            }
            _ => self.fail("liveness", format!("{events} events were used up before everything was calm")),
        }
    }

    fn remains(mut self) -> Remains {
        let committed = if self.phase == Phase::Over { self.committed() } else { None };
        self.count_crashes();
        Remains {
            committed,
            states: self.invariants.states(),
            stopped: self.stopped,
            recorder: self.recorder,
            hash: self.hash,
            probes: self.probes,
            events: self.events,
            sim_us: self.now,
            ops: self.ops_done,
            faults: self.faults_struck,
            budget: self.budget,
            phase: self.phase,
            seen: self.nodes.into_iter().map(|process| process.seen).collect(),
        }
    }
}

/// Where an event happens.
#[derive(Clone, Copy, Debug)]
enum Place {
    Node(usize),
    Client(usize),
    World,
}
