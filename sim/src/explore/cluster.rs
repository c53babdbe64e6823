//! A small cluster of real nodes whose every step is a boundary of the recording.
//!
//! One thing happens at a time: an operation goes one step further, a frame or some bytes arrive, a timer fires. Which
//! one is drawn from the seed; links and connections keep their order. It knows no script (`script.rs`) and judges
//! nothing but what a node may never do: halt without reason, panic, or contradict itself (`observe.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::client::{ClientInput, ClientOutput};
use steadfast_core::inspect::RoleName;
use steadfast_core::io::{HaltReason, Input, Outbox, Output};
use steadfast_core::time::Micros;
use steadfast_core::types::{ConnId, Index};

use super::callers::{Caller, Item, Wire};
use super::disk::Disk;
use super::ledger::Holds;
use super::machine::{Machine, Op, config};
use super::recording::{Boundary, Point, Recording, Taken};
use crate::glue;
use crate::rng::Stream;

/// How long one step takes, in microseconds.
const STEP_US: u64 = 10;

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Disk(usize, usize),
    Computed(usize),
    Frame(usize, usize),
    ToNode(u64),
    ToCaller(u64),
    Wake(usize),
    CallerWake(usize),
}

/// The cluster.
pub struct Cluster {
    nodes: u16,
    seed: u64,
    /// Tells the nodes' seeds of one cluster from those of another with the same seed.
    life: &'static str,
    stream: Stream,
    now: u64,
    /// The machines.
    pub machines: Vec<Machine>,
    frames: BTreeMap<(usize, usize), VecDeque<Bytes>>,
    /// Directions in which nothing passes.
    pub cut: BTreeSet<(usize, usize)>,
    /// The clients.
    pub callers: Vec<Caller>,
    wires: BTreeMap<u64, Wire>,
    next_wire: u64,
    /// The place of the script's step.
    pub step: usize,
    /// What is recorded.
    pub recording: Recording,
}

impl Cluster {
    /// So many machines with empty disks, none of them started. `life` names the cluster among those of one seed.
    #[must_use]
    pub fn new(nodes: u16, seed: u64, life: &'static str, now: u64) -> Self {
        glue::catch_panics();
        let machine = |_| Machine::new(Disk::default(), Arc::default());
        Self {
            nodes,
            seed,
            life,
            stream: Stream::new(seed, life),
            now,
            machines: (0..nodes).map(machine).collect(),
            frames: BTreeMap::new(),
            cut: BTreeSet::new(),
            callers: Vec::new(),
            wires: BTreeMap::new(),
            next_wire: 1,
            step: 0,
            recording: Recording::default(),
        }
    }

    /// Random choices of the script.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Ends the recording.
    #[must_use]
    pub fn finish(mut self) -> Recording {
        self.recording.ended_us = self.now;
        self.recording
    }

    /// A process starts on its disk as it is.
    ///
    /// # Errors
    /// What a node may never do.
    pub fn start(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        assert!(machine.node.is_none(), "a process that runs is not started");
        machine.starts += 1;
        machine.started_us = self.now;
        machine.halted = false;
        let which = (node as u64) << 32 | machine.starts;
        let seed = Stream::numbered(self.seed, self.life, which + 1).seed();
        machine.node = Some(Node::new(config(self.nodes, node as u16 + 1), seed));
        self.boundary(node, Point::Started);
        self.feed(node, Input::Tick)
    }

    /// A process ends; its disk stays as it is.
    pub fn kill(&mut self, node: usize) {
        self.machines[node].stop();
        for wire in self.wires.values_mut().filter(|wire| wire.node == node && wire.open) {
            wire.open = false;
            wire.to_node.clear();
            wire.to_caller.push_back(Item::Closed);
        }
    }

    /// A client of these nodes begins.
    pub fn caller(&mut self, nodes: Vec<usize>) -> usize {
        let number = self.callers.len();
        self.callers.push(Caller::new(nodes, self.seed, number as u64));
        number
    }

    /// A client submits a command, perhaps one that it had submitted before.
    pub fn submit(&mut self, caller: usize, words: &[&str], again: bool) {
        let again = self.callers[caller].once.filter(|_| again);
        let input = self.callers[caller].submit(words, again);
        self.tell(caller, input);
    }

    /// Goes on until something is so.
    ///
    /// # Errors
    /// What a node may never do; or that it never comes to that.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..400_000 {
            if is_so(self) {
                return Ok(());
            }
            if !self.turn()? {
                break;
            }
        }
        if is_so(self) { Ok(()) } else { Err(format!("it never comes to this: {what}")) }
    }

    /// Lets at least so much time pass.
    ///
    /// # Errors
    /// What a node may never do.
    pub fn pass(&mut self, span_us: u64) -> Result<(), String> {
        let end = self.now + span_us;
        while self.now < end && self.turn()? {}
        self.now = self.now.max(end);
        Ok(())
    }

    /// Goes on until nothing is left to do at this instant. Timers do not fire.
    ///
    /// # Errors
    /// What a node may never do.
    pub fn quiet(&mut self) -> Result<(), String> {
        loop {
            let mut next = self.possible();
            next.retain(|next| !matches!(next, Next::Wake(_) | Next::CallerWake(_)));
            if next.is_empty() {
                return Ok(());
            }
            self.happen(&next)?;
        }
    }

    /// The node that leads in the highest term, if one does.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads =
            |node: &usize| self.machines[*node].seen.as_ref().is_some_and(|s| s.role == RoleName::Leader);
        let term = |node: &usize| self.machines[*node].seen.as_ref().map(|seen| seen.term);
        (0..self.machines.len()).filter(leads).max_by_key(term)
    }

    /// Whether every caller has its answers.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.callers.iter().all(|caller| caller.open() == 0)
    }

    /// One thing happens, or time passes until one can. False if nothing ever will.
    fn turn(&mut self) -> Result<bool, String> {
        let next = self.possible();
        if !next.is_empty() {
            self.happen(&next)?;
            return Ok(true);
        }
        let nodes = self.machines.iter().filter(|it| it.node.is_some()).filter_map(Machine::wake_us);
        let wake = nodes.chain(self.callers.iter().filter_map(|caller| caller.wake)).min();
        self.now = self.now.max(wake.unwrap_or(self.now));
        Ok(wake.is_some())
    }

    fn possible(&self) -> Vec<Next> {
        let mut next = Vec::new();
        for (node, machine) in self.machines.iter().enumerate().filter(|(_, it)| it.node.is_some()) {
            let stands = |op: &Op| machine.stalled == Some(op.token.owner);
            let ops = (0..machine.ops.len()).filter(|at| !stands(&machine.ops[*at]) && !machine.holds(*at));
            next.extend(ops.map(|op| Next::Disk(node, op)));
            next.extend(machine.computed.front().map(|_| Next::Computed(node)));
            next.extend(machine.wake_us().filter(|at| *at <= self.now).map(|_| Next::Wake(node)));
        }
        let full = self.frames.iter().filter(|(_, frames)| !frames.is_empty());
        next.extend(full.map(|((from, to), _)| Next::Frame(*from, *to)));
        for (id, wire) in &self.wires {
            next.extend(wire.to_node.front().map(|_| Next::ToNode(*id)));
            next.extend(wire.to_caller.front().map(|_| Next::ToCaller(*id)));
        }
        let due = |caller: &Caller| caller.wake.is_some_and(|at| at <= self.now);
        let due = self.callers.iter().enumerate().filter(|(_, caller)| due(caller));
        next.extend(due.map(|(caller, _)| Next::CallerWake(caller)));
        next
    }

    fn happen(&mut self, next: &[Next]) -> Result<(), String> {
        self.now += STEP_US;
        match *self.stream.pick(next) {
            Next::Disk(node, op) => {
                let (point, report) = self.machines[node].advance(op);
                if let Some(point) = point {
                    self.boundary(node, point);
                }
                if let Some((token, result)) = report {
                    self.feed(node, Input::DiskDone { token, result })?;
                }
            }
            Next::Computed(node) => {
                if let Some((token, result)) = self.machines[node].computed.pop_front() {
                    self.feed(node, Input::Computed { token, result })?;
                }
            }
            Next::Frame(from, to) => {
                let frame = self.frames.get_mut(&(from, to)).and_then(VecDeque::pop_front);
                let frame = frame.filter(|_| !self.cut.contains(&(from, to)));
                if let Some(frame) = frame.filter(|_| self.machines[to].node.is_some()) {
                    self.feed(to, Input::Peer { frame })?;
                }
            }
            Next::ToNode(wire) => self.reaches_node(wire)?,
            Next::ToCaller(wire) => self.reaches_caller(wire),
            Next::Wake(node) => {
                self.machines[node].wake = None;
                self.feed(node, Input::Tick)?;
            }
            Next::CallerWake(caller) => {
                self.callers[caller].wake = None;
                self.tell(caller, ClientInput::Tick);
            }
        }
        Ok(())
    }

    fn reaches_node(&mut self, id: u64) -> Result<(), String> {
        let wire = self.wires.get_mut(&id).expect("it was just there");
        let (node, conn) = (wire.node, ConnId(id));
        let up = self.machines[node].node.is_some();
        match wire.to_node.pop_front() {
            Some(Item::Open) if up => {
                wire.open = true;
                wire.to_caller.push_back(Item::Open);
                self.feed(node, Input::Connected { conn, loopback: true })
            }
            Some(Item::Open) => {
                wire.to_caller.push_back(Item::Closed);
                Ok(())
            }
            Some(Item::Data(data)) if wire.open => {
                self.feed(node, Input::Bytes { conn, waited: Micros(0), data })
            }
            Some(Item::Closed) if wire.open => {
                wire.open = false;
                self.feed(node, Input::Disconnected { conn })
            }
            _ => Ok(()),
        }
    }

    fn reaches_caller(&mut self, id: u64) {
        let wire = self.wires.get_mut(&id).expect("it was just there");
        let (caller, conn) = (wire.caller, wire.theirs);
        let item = wire.to_caller.pop_front().filter(|_| wire.wanted);
        match item {
            Some(Item::Open) => self.tell(caller, ClientInput::Connected { conn }),
            Some(Item::Data(data)) => self.tell(caller, ClientInput::Bytes { conn, data }),
            Some(Item::Closed) => {
                wire.wanted = false;
                // To a client the two mean the same, whether it had the connection or not.
                self.tell(caller, ClientInput::ConnectFailed { conn });
                self.tell(caller, ClientInput::Disconnected { conn });
            }
            None => {}
        }
    }

    fn tell(&mut self, caller: usize, input: ClientInput) {
        for output in self.callers[caller].step(self.now, input) {
            match output {
                ClientOutput::Connect { conn, address } => {
                    let node = self.callers[caller].nodes[address];
                    self.callers[caller].wires.insert(conn, self.next_wire);
                    self.wires.insert(self.next_wire, Wire::new(caller, conn, node));
                    self.next_wire += 1;
                }
                ClientOutput::Send { conn, data } => {
                    let id = self.callers[caller].wires.get(&conn);
                    if let Some(wire) = id.and_then(|id| self.wires.get_mut(id)) {
                        wire.to_node.push_back(Item::Data(data));
                    }
                }
                ClientOutput::Close { conn, .. } => {
                    let id = self.callers[caller].wires.remove(&conn);
                    if let Some(wire) = id.and_then(|id| self.wires.get_mut(&id)) {
                        wire.wanted = false;
                        wire.to_node.push_back(Item::Closed);
                    }
                }
                ClientOutput::Done { .. } | ClientOutput::WakeAt(_) | ClientOutput::Stopped => {}
            }
        }
    }

    /// One step of a node, and what comes out of it.
    fn feed(&mut self, node: usize, input: Input) -> Result<(), String> {
        let machine = &mut self.machines[node];
        let stamp = machine.stamp(self.now);
        let Some(core) = machine.node.as_mut() else { return Ok(()) };
        let mut out = Outbox::default();
        let seen = catch_unwind(AssertUnwindSafe(|| {
            core.step(stamp, input, &mut out);
            core.inspect()
        }));
        let seen = seen.map_err(|_| format!("node {} panics: {}", node + 1, glue::panic_message()))?;
        let outputs: Vec<Output> = out.drain().collect();
        self.observe(node, &seen, &outputs).map_err(|what| format!("node {}: {what}", node + 1))?;
        for output in outputs {
            self.execute(node, output).map_err(|what| format!("node {}: {what}", node + 1))?;
        }
        Ok(())
    }

    fn execute(&mut self, node: usize, output: Output) -> Result<(), String> {
        let machine = &mut self.machines[node];
        let Some(core) = machine.node.as_ref() else { return Ok(()) };
        let start = machine.seen.as_ref().map_or(Index(0), |seen| seen.start);
        let holds = Holds { node: core, start, recording: &self.recording };
        match output {
            Output::Disk { token, op } => self.issued(node, token, op),
            Output::Send { conn, data } => {
                let Some(wire) = self.wires.get_mut(&conn.0) else { return Ok(()) };
                for position in wire.positions(&data)? {
                    Arc::make_mut(&mut machine.ledger).replies(holds, position, self.nodes == 1)?;
                }
                wire.to_caller.push_back(Item::Data(data));
                self.boundary(node, Point::Reply);
            }
            Output::SendPeer { to, frame, .. } => {
                Arc::make_mut(&mut machine.ledger).frame(holds, &frame)?;
                let link = (node, usize::from(to.0) - 1);
                self.frames.entry(link).or_default().push_back(frame);
                self.boundary(node, Point::Frame);
            }
            // All of them are there from the beginning.
            Output::Peers(_) => {}
            Output::Close { conn, .. } => {
                if let Some(wire) = self.wires.get_mut(&conn.0) {
                    wire.open = false;
                    wire.to_caller.push_back(Item::Closed);
                }
            }
            Output::Compute { token, job } => machine.computed.push_back((token, glue::compute(&job))),
            Output::Forget { .. } => {}
            Output::WakeAt(at) => machine.wake = Some(at.0),
            Output::Trace(event) => self.said(node, &event),
            Output::Halt(reason) => {
                let excused = machine.ledger.sync_failed && matches!(reason, HaltReason::Disk { .. });
                if !excused {
                    return Err(format!("it halts: {reason}"));
                }
                self.kill(node);
                self.machines[node].halted = true;
            }
        }
        Ok(())
    }

    /// Something has happened to a node or its disk: a crash may come now.
    pub(super) fn boundary(&mut self, node: usize, point: Point) {
        let machine = &mut self.machines[node];
        let recording = &mut self.recording;
        let moment = machine.moment.unwrap_or_else(|| {
            recording.moments.push(Taken { node, moment: machine.snapshot(), boundaries: Vec::new() });
            recording.moments.len() - 1
        });
        machine.moment = Some(moment);
        let taken = &mut recording.moments[moment];
        taken.boundaries.push(recording.boundaries.len());
        let (step, ledger, committed) = (self.step, machine.ledger.clone(), recording.last_committed());
        recording.boundaries.push(Boundary { node, point, step, moment, committed, ledger });
    }
}
