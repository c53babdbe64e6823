//! What clients do: they work through their lists with the real client library over simulated wires, and
//! write down what they asked and what they were told.
//!
//! The last worker is the operator: it prepares users and grants, and reads everything back at the end.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use steadfast_core::client::{Client, ClientConfig, ClientInput, ClientOutput, Credentials, OpId, OpOutcome};
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::{Receipt, Reply};
use steadfast_core::time::Micros;
use steadfast_core::types::{Blob, ConnId, NodeId, SessionId};

use super::learned::Learned;
use super::{Event, Place, World};
use crate::glue;
use crate::probes::WorldProbe;
use crate::rng::Stream;
use crate::schedule::{ClientSpec, Op, ROOT_PASSWORD, Schedule};
use crate::trace::clip;

/// Pause before an operation that must succeed is tried again, in microseconds.
const AGAIN_US: u64 = 50_000;

/// One client process.
pub(super) struct Worker {
    spec: ClientSpec,
    /// Counts deaths; what belongs to an earlier life is stale.
    pub(super) incarnation: u64,
    /// The library; `None` before the start and while the client is dead.
    client: Option<Client>,
    /// The world's numbers of the connections, by the library's.
    pub(super) conns: BTreeMap<ConnId, u64>,
    lanes: Vec<Lane>,
    /// Place of the next operation in the list.
    next: usize,
    /// Whether operations are repeated until they get an answer that stays.
    stubborn: bool,
    pub(super) learned: Learned,
    wake_queued: Option<u64>,
    wake: Option<u64>,
    next_op: u64,
    /// What is to be asked once more, under the number that it had.
    again: VecDeque<Repeat>,
    repeats: Stream,
}

/// An operation that was asked before, and the number that it had then.
type Repeat = (Op, (SessionId, u64));

/// One request under way, or the pause before the next.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// The operation that comes next or is under way.
    op: Option<Op>,
    /// The number under which it was asked before.
    again: Option<(SessionId, u64)>,
    /// Its numbers in the library and in the history, while it is under way.
    flying: Option<(OpId, u64)>,
}

/// All clients of a schedule, the operator last.
pub(super) fn all(schedule: &Schedule) -> Vec<Worker> {
    let operator = ClientSpec {
        user: "root".into(),
        password: ROOT_PASSWORD.into(),
        session: false,
        lanes: 1,
        home: 1,
        stays: false,
        repeats_ppm: 0,
        start_us: 0,
        deadline_ms: 2_000,
        ops: schedule.setup.clone(),
    };
    let specs = schedule.clients.iter().cloned().chain([operator]).zip(0..);
    let mut workers: Vec<Worker> = specs
        .map(|(spec, number)| Worker::new(spec, Stream::numbered(schedule.seed, "repeats", number)))
        .collect();
    workers.last_mut().expect("there is the operator").stubborn = true;
    workers
}

impl Worker {
    fn new(spec: ClientSpec, repeats: Stream) -> Self {
        let lanes = vec![Lane::default(); usize::from(spec.lanes)];
        Self {
            spec,
            incarnation: 0,
            client: None,
            conns: BTreeMap::new(),
            lanes,
            next: 0,
            stubborn: false,
            learned: Learned::default(),
            wake_queued: None,
            wake: None,
            next_op: 1,
            again: VecDeque::new(),
            repeats,
        }
    }

    /// Whether nothing is under way and nothing is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.next >= self.spec.ops.len()
            && self.again.is_empty()
            && self.lanes.iter().all(|lane| lane.op.is_none())
    }

    /// How far the client is, for people.
    pub(super) fn standing(&self) -> String {
        let flying = self.lanes.iter().filter_map(|lane| lane.op.as_ref()).map(|op| op.args.join(" "));
        let flying: Vec<String> = flying.map(|words| clip(&words)).collect();
        format!("{} of {} operations taken up, under way: {flying:?}", self.next, self.spec.ops.len())
    }
}

impl World<'_> {
    /// A client begins, for the first time or after its death.
    pub(super) fn worker_start(&mut self, worker: usize, incarnation: u64) {
        if self.workers[worker].incarnation != incarnation || self.workers[worker].client.is_some() {
            return;
        }
        let which = (worker as u64) << 32 | incarnation;
        let seed = Stream::numbered(self.schedule.seed, "client", which).seed();
        let config = self.client_config(&self.workers[worker].spec);
        self.workers[worker].client = Some(Client::new(config, seed));
        self.note(Place::Client(worker), "begins", || format!("life {incarnation}"));
        for lane in 0..self.workers[worker].lanes.len() {
            self.next_op(worker, lane);
        }
    }

    fn client_config(&self, spec: &ClientSpec) -> ClientConfig {
        // The client tries its own node first. One whose addresses are not written as the nodes write them can't
        // tell which of them the leader is, and stays.
        let name = if spec.stays { "alias" } else { "node" };
        let nodes = self.schedule.cluster.nodes;
        let addresses = (0..nodes).map(|n| format!("{name}-{}", (spec.home - 1 + n) % nodes + 1)).collect();
        let credentials =
            Credentials { user: Blob::from(spec.user.as_str()), password: spec.password.clone() };
        ClientConfig {
            cluster: Some("simulated".into()),
            credentials: self.schedule.cluster.access.then_some(credentials),
            deadline_ms: spec.deadline_ms,
            connect_ms: 300,
            greeting_ms: 1_500,
            attempt_ms: (spec.deadline_ms / 2).clamp(100, 2_000),
            drain_ms: 100,
            backoff_min_ms: 5,
            backoff_max_ms: 200,
            use_session: spec.session,
            ..ClientConfig::new(addresses)
        }
    }

    /// A lane takes up the next operation of the list and thinks.
    fn next_op(&mut self, worker: usize, lane: usize) {
        let state = &mut self.workers[worker];
        let (op, again) = match state.again.pop_front() {
            Some((op, again)) => (op, Some(again)),
            None => {
                let Some(op) = state.spec.ops.get(state.next).cloned() else { return };
                state.next += 1;
                (op, None)
            }
        };
        let at = self.now + op.think_us / self.pace;
        (state.lanes[lane].op, state.lanes[lane].again) = (Some(op), again);
        let incarnation = state.incarnation;
        self.push(at, Event::Think { worker, incarnation, lane });
    }

    /// A client has thought long enough, and asks.
    pub(super) fn think(&mut self, worker: usize, incarnation: u64, lane: usize) {
        let state = &mut self.workers[worker];
        if state.incarnation != incarnation || state.lanes[lane].flying.is_some() {
            return;
        }
        let Some(op) = state.lanes[lane].op.clone() else { return };
        let args = self.words(worker, &op);
        let state = &mut self.workers[worker];
        let user = self.schedule.cluster.access.then(|| Blob::from(state.spec.user.as_str()));
        let process = worker as u64 + 1_000 * incarnation;
        let again = state.lanes[lane].again;
        let record = self.recorder.invoke(self.now * 1_000, process, user, args.clone(), again);
        self.probes.world(WorldProbe::AskedAgain, u64::from(again.is_some()));
        let id = OpId(state.next_op);
        state.next_op += 1;
        state.lanes[lane].flying = Some((id, record));
        let deadline_ms = state.spec.deadline_ms;
        self.note(Place::Client(worker), "invoke", || {
            let words: Vec<String> = args.iter().map(ToString::to_string).collect();
            format!("op {record}: {}", clip(&words.join(" ")))
        });
        self.tell_worker(worker, ClientInput::Submit { op: id, args, deadline_ms, again });
    }

    /// Gives an input to a client's library and executes what comes out.
    pub(super) fn tell_worker(&mut self, worker: usize, input: ClientInput) {
        let now = Micros(self.now);
        let Some(client) = self.workers[worker].client.as_mut() else { return };
        let mut out = Vec::new();
        if catch_unwind(AssertUnwindSafe(|| client.step(now, input, &mut out))).is_err() {
            return self.fail("panic", format!("client {worker}: {}", glue::panic_message()));
        }
        let incarnation = self.workers[worker].incarnation;
        for output in out {
            match output {
                ClientOutput::Connect { conn, address } => {
                    let home = usize::from(self.workers[worker].spec.home) - 1;
                    let node = (home + address) % self.nodes.len();
                    self.note(Place::Client(worker), "connects", || format!("to n{}", node + 1));
                    self.connect(worker, conn, node);
                }
                ClientOutput::Send { conn, data } => {
                    self.hash.word(worker as u64 | 1 << 40);
                    self.hash.bytes(&data);
                    if let Some(conn) = self.workers[worker].conns.get(&conn) {
                        self.send_to_node(*conn, data);
                    }
                }
                ClientOutput::Close { conn } => {
                    if let Some(conn) = self.workers[worker].conns.remove(&conn) {
                        self.client_closes(conn);
                    }
                }
                ClientOutput::Done { op, outcome, receipt, node, attempts, once } => {
                    self.probes.world(WorldProbe::RequestRetried, u64::from(attempts > 1));
                    self.done(worker, op, &outcome, receipt, node, once);
                }
                ClientOutput::WakeAt(at) => self.worker_wants_wake(worker, incarnation, at.0),
                ClientOutput::Stopped => {}
            }
        }
    }

    fn worker_wants_wake(&mut self, worker: usize, incarnation: u64, at: u64) {
        let state = &mut self.workers[worker];
        let at = at.max(self.now);
        state.wake = Some(at);
        if state.wake_queued.is_none_or(|queued| queued > at) {
            state.wake_queued = Some(at);
            self.push(at, Event::WorkerWake { worker, incarnation });
        }
    }

    /// A client's wake-up has come, though perhaps not its wish.
    pub(super) fn worker_wake(&mut self, worker: usize, incarnation: u64) {
        let state = &mut self.workers[worker];
        if state.incarnation != incarnation || state.wake_queued != Some(self.now) {
            return;
        }
        state.wake_queued = None;
        match state.wake {
            Some(wish) if wish > self.now => self.worker_wants_wake(worker, incarnation, wish),
            Some(_) => {
                state.wake = None;
                self.tell_worker(worker, ClientInput::Tick);
            }
            None => {}
        }
    }

    /// A client learns the end of an operation.
    fn done(
        &mut self,
        worker: usize,
        id: OpId,
        outcome: &OpOutcome,
        receipt: Option<Receipt>,
        node: Option<NodeId>,
        once: Option<(SessionId, u64)>,
    ) {
        let state = &mut self.workers[worker];
        let under_way = |lane: &Lane| lane.flying.is_some_and(|(flying, _)| flying == id);
        let Some(lane) = state.lanes.iter().position(under_way) else {
            return self
                .fail("client", format!("client {worker} is told twice that operation {} is done", id.0));
        };
        let (_, record) = state.lanes[lane].flying.take().expect("it was just found");
        let learned = &mut state.learned;
        learned.session = once.map_or(learned.session, |(session, _)| session.max(learned.session));
        let process = worker as u64 + 1_000 * state.incarnation;
        let time_ns = self.now * 1_000;
        self.ops_done += 1;
        match outcome {
            OpOutcome::Unknown(failure) if failure.is_definite() => {
                self.recorder.give_up(time_ns, process, record, once);
            }
            OpOutcome::Ok(value) => {
                let reply = Reply { outcome: Ok(value.clone()), receipt };
                self.recorder.complete(time_ns, process, record, &reply, node, once);
            }
            OpOutcome::Unknown(failure) | OpOutcome::Failed(failure) => {
                let reply = Reply { outcome: Err(failure.clone()), receipt };
                self.recorder.complete(time_ns, process, record, &reply, node, once);
            }
        }
        if let Some(receipt) = receipt.filter(|receipt| receipt.ahead.is_none())
            && let Err(what) = self.invariants.acknowledged(receipt.position, receipt.degraded)
        {
            self.fail("raft", what);
        }
        let unknown = matches!(outcome, OpOutcome::Unknown(_));
        self.probes.world(WorldProbe::OutcomeUnknown, u64::from(unknown));
        self.note(Place::Client(worker), "done", || {
            let position = receipt.map_or(String::new(), |receipt| format!(" at {}", receipt.position));
            format!("op {record}: {}{position}", clip(&format!("{outcome:?}")))
        });
        // A refusal speaks for one attempt; only an answer has to stay the same.
        if receipt.is_some() || unknown {
            self.repeat_later(worker, lane, once);
        }
        if let (Some(receipt), Some(op)) = (receipt, self.workers[worker].lanes[lane].op.clone()) {
            self.learn(worker, &op, outcome, receipt);
        }
        self.after_op(worker, lane, outcome);
    }

    /// Perhaps asks for the same once more, soon or when everything has changed.
    fn repeat_later(&mut self, worker: usize, lane: usize, once: Option<(SessionId, u64)>) {
        let state = &mut self.workers[worker];
        let (Some(once), Some(op), None) = (once, &state.lanes[lane].op, state.lanes[lane].again) else {
            return;
        };
        // What only the moment knew would be filled in anew, and be another command.
        let fixed = op.args.iter().all(|word| !word.starts_with('$'));
        if !state.stubborn && fixed && state.repeats.chance(state.spec.repeats_ppm) {
            let think_us = state.repeats.magnitude(1, 1 << 18);
            let op = Op { think_us, ..op.clone() };
            state.again.push_back((op, once));
        }
    }

    fn after_op(&mut self, worker: usize, lane: usize, outcome: &OpOutcome) {
        let state = &self.workers[worker];
        let stubborn = state.stubborn && state.lanes[lane].again.is_none();
        if stubborn && !self.stays(worker, outcome) {
            let incarnation = self.workers[worker].incarnation;
            return self.push(self.now + AGAIN_US, Event::Think { worker, incarnation, lane });
        }
        self.workers[worker].lanes[lane].op = None;
        self.next_op(worker, lane);
        if self.workers[worker].is_idle() {
            self.worker_is_idle(worker);
        }
    }

    /// Whether asking again would get the same answer.
    fn stays(&self, worker: usize, outcome: &OpOutcome) -> bool {
        use ErrorCode::{
            Argument, Arity, Denied, Fenced, HistoryGone, LastAdministrator, LeaseUnknown, LimitReached,
            MembersRefused, NoSuchKey, NotANumber, NotAnInteger, NotConfirmed, OnceConflict, OnceExpired,
            PositionAhead, TooLarge, Unauthenticated, UnknownCommand, UserExists, UserUnknown, WaitEnded,
            WrongPassword, WrongType,
        };
        let failure = match outcome {
            OpOutcome::Ok(_) => return true,
            OpOutcome::Failed(failure) => failure,
            OpOutcome::Unknown(_) => return false,
        };
        match failure.code {
            NotConfirmed | HistoryGone | PositionAhead | Fenced | LeaseUnknown | WaitEnded | OnceConflict
            | OnceExpired | Denied | UnknownCommand | Arity | Argument | NotAnInteger | NotANumber
            | NoSuchKey | WrongType | TooLarge | UserExists | UserUnknown | LastAdministrator
            | LimitReached | MembersRefused => true,
            // A user whom the administrator removed or gave another password stays locked out.
            Unauthenticated | WrongPassword => self.workers[worker].spec.user != "root",
            _ => false,
        }
    }

    /// A client dies with its requests under way.
    pub(super) fn client_crash(&mut self, worker: usize, down_us: u64) {
        if self.workers[worker].client.is_none() {
            return;
        }
        self.note(Place::Client(worker), "DIES", || format!("for {down_us} us"));
        self.abandon_connections(worker);
        let names = self.names_under_way(worker);
        let state = &mut self.workers[worker];
        let process = worker as u64 + 1_000 * state.incarnation;
        state.client = None;
        state.incarnation += 1;
        (state.wake, state.wake_queued) = (None, None);
        let lanes = state.lanes.len();
        let old = std::mem::replace(&mut state.lanes, vec![Lane::default(); lanes]);
        for lane in old {
            if let Some((id, record)) = lane.flying {
                let name = names.get(&id).copied();
                self.recorder.give_up(self.now * 1_000, process, record, name);
                // Its next life remembers what it had asked, as an application can that wrote it down.
                let op = lane.op.filter(|op| op.args.iter().all(|word| !word.starts_with('$')));
                self.workers[worker].again.extend(op.zip(name));
                self.probes.world(WorldProbe::ClientDied, 1);
            }
        }
        let incarnation = self.workers[worker].incarnation;
        self.push(self.now + down_us, Event::WorkerStart { worker, incarnation });
    }

    /// The session and number of each request under way. A client that really dies tells nobody, but without
    /// them a judge could not tell its request from one that nobody made.
    fn names_under_way(&mut self, worker: usize) -> BTreeMap<OpId, (SessionId, u64)> {
        let (now, mut out) = (Micros(self.now), Vec::new());
        if let Some(client) = self.workers[worker].client.as_mut() {
            client.step(now, ClientInput::Shutdown, &mut out);
        }
        let named = out.into_iter().filter_map(|output| match output {
            ClientOutput::Done { op, once, .. } => Some((op, once?)),
            _ => None,
        });
        named.collect()
    }

    /// Replaces what is left of a client's list by operations that must get through, and starts it.
    pub(super) fn assign(&mut self, worker: usize, ops: Vec<Op>) {
        let state = &mut self.workers[worker];
        state.stubborn = true;
        state.again.clear();
        state.spec.ops = ops;
        state.next = 0;
        if state.client.is_none() {
            let incarnation = state.incarnation;
            return self.worker_start(worker, incarnation);
        }
        for lane in 0..self.workers[worker].lanes.len() {
            if self.workers[worker].lanes[lane].op.is_none() {
                self.next_op(worker, lane);
            }
        }
    }

    /// What is left of a client's list is dropped; an operation under way comes to its end.
    pub(super) fn drop_list(&mut self, worker: usize) {
        let state = &mut self.workers[worker];
        state.spec.ops.clear();
        state.again.clear();
        state.next = 0;
        for lane in &mut state.lanes {
            if lane.flying.is_none() {
                lane.op = None;
            }
        }
    }
}
