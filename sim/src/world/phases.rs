//! How a run ends: faults stop, everything is healed and started, and then the cluster must come to rest in
//! bounded time. One leader that all know; every client gets new operations through; everything is read
//! back; all nodes hold the same log and state.

use std::collections::BTreeSet;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::inspect::{Inspection, RoleName};
use steadfast_core::state::State;
use steadfast_core::state::effect::FEATURE_LEVEL;
use steadfast_core::time::Millis;
use steadfast_core::types::{Index, NodeId, Term};

use super::{Event, Place, World};
use crate::process::Process;
use crate::schedule::{ClientSpec, Op, Schedule};
use crate::workload::members;

/// How often the liveness phase looks how far it is, in microseconds.
const LOOK_US: u64 = 20_000;

/// A key that is due so soon after the last logged time must go before a run ends, in milliseconds.
const SOON_MS: u64 = 5_000;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Faults strike. Nothing need go forward.
    Safety,
    /// No more faults: one leader must be known to all.
    Leader,
    /// The operator makes all nodes voters again, where members came and went.
    Members,
    /// Every client must get its last operations through.
    Clients,
    /// The operator reads everything back.
    ReadBack,
    /// All nodes must hold the same log and state.
    Converge,
    /// A node must find and mend what rots on its disk.
    Scrub,
    /// The run came to its end.
    Over,
}

/// The final log and state, for the judges.
pub struct Committed {
    /// Each entry's term and encoded body, from index 1 on.
    pub log: Vec<(Term, Bytes)>,
    /// The state at the end of the log, of the lowest node.
    pub state: State,
}

impl World<'_> {
    /// The safety phase is over: everything is healed and started.
    pub(super) fn end_of_faults(&mut self) {
        self.note(Place::World, "CALM", || "no more faults".into());
        for worker in 0..self.workers.len() - 1 {
            self.drop_list(worker);
        }
        self.enter(Phase::Leader);
        self.upgrade_all();
        self.end_all_faults();
        self.push(self.now + LOOK_US, Event::Look);
    }

    /// The liveness phase looks how far it is.
    pub(super) fn look(&mut self) {
        let bounds = self.schedule.bounds;
        let (done, bound) = match self.phase {
            Phase::Safety | Phase::Over => return,
            Phase::Leader => (self.is_led(), bounds.leader_us),
            Phase::Members | Phase::Clients | Phase::ReadBack => {
                (self.workers.iter().all(super::Worker::is_idle), bounds.clients_us)
            }
            Phase::Converge => (self.is_converged(), bounds.converge_us),
            Phase::Scrub => (self.scrubbing.is_none(), u64::MAX),
        };
        if done {
            self.next_phase();
        } else if self.phase == Phase::Scrub {
            self.watch_scrubbing();
        } else if self.now - self.phase_began > bound {
            return self.stuck();
        }
        self.push(self.now + LOOK_US, Event::Look);
    }

    /// The operator has no more to do: in the safety phase that means that the others may begin.
    pub(super) fn worker_is_idle(&mut self, worker: usize) {
        if worker + 1 == self.workers.len() && self.phase == Phase::Safety {
            self.note(Place::World, "set up", String::new);
            self.start_clients();
        }
    }

    /// The clients begin, each in its time.
    pub(super) fn start_clients(&mut self) {
        for (worker, spec) in self.schedule.clients.iter().enumerate() {
            let incarnation = self.workers[worker].incarnation;
            self.push(self.now + spec.start_us, Event::WorkerStart { worker, incarnation });
        }
    }

    /// The final log and state, when the run came to its end.
    pub(super) fn committed(&mut self) -> Option<Committed> {
        let node = self.nodes[self.first_with_data()].node.as_ref()?;
        let mut log = self.invariants.committed();
        log.truncate(node.inspect().commit.0 as usize);
        Some(Committed { log, state: node.state().clone() })
    }

    /// The lowest node that holds data.
    fn first_with_data(&self) -> usize {
        usize::from(self.schedule.cluster.witness == Some(1))
    }

    fn is_witness(&self, node: usize) -> bool {
        self.schedule.cluster.witness.is_some_and(|witness| usize::from(witness) == node + 1)
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_began = self.now;
        self.note(Place::World, "PHASE", || format!("{phase:?}"));
    }

    fn next_phase(&mut self) {
        let phase = self.phase;
        match phase {
            Phase::Leader => {
                self.enter(Phase::Members);
                self.restore_members();
            }
            // What was on its way may have removed one again.
            Phase::Members if !self.all_vote() => self.restore_members(),
            Phase::ReadBack if !self.all_vote() => {
                self.enter(Phase::Members);
                self.restore_members();
            }
            Phase::Members => {
                self.enter(Phase::Clients);
                for worker in 0..self.workers.len() - 1 {
                    self.assign(worker, last_ops(worker));
                }
            }
            Phase::Clients => {
                self.enter(Phase::ReadBack);
                let operator = self.workers.len() - 1;
                self.assign(operator, read_back(self.schedule));
            }
            Phase::ReadBack => self.enter(Phase::Converge),
            Phase::Converge if self.begins_scrubbing() => self.enter(Phase::Scrub),
            // Time has passed, and with it sessions.
            Phase::Scrub => self.enter(Phase::Converge),
            _ => {
                self.enter(Phase::Over);
                self.compare_logs();
                self.read_logs();
            }
        }
    }

    /// Whether a client asks for changes of the members.
    fn members_change(&self) -> bool {
        let changes = |client: &ClientSpec| client.ops.iter().any(|op| op.args[0] == "CLUSTER");
        self.schedule.clients.iter().any(changes)
    }

    /// The operator makes all nodes voters again, where a client has asked for changes.
    fn restore_members(&mut self) {
        if self.members_change() {
            let operator = self.workers.len() - 1;
            self.assign(operator, members::restore(&self.schedule.cluster));
        }
    }

    /// Whether all nodes vote, for all that a leader knows, or no client has asked for anything else.
    fn all_vote(&self) -> bool {
        let whole = |node: &Node| {
            let members = node.membership();
            members.is_some_and(|it| it.voters().len() == self.nodes.len() && !it.is_joint())
        };
        let leads = |process: &&Process| process.seen.as_ref().is_some_and(|it| it.role == RoleName::Leader);
        !self.members_change()
            || self.nodes.iter().filter(leads).filter_map(|process| process.node.as_ref()).any(whole)
    }

    fn seen(&self) -> Option<Vec<&Inspection>> {
        self.nodes.iter().map(|process| process.seen.as_ref()).collect()
    }

    /// Whether all nodes run, and all members follow one leader in one term.
    fn is_led(&self) -> bool {
        let Some(seen) = self.seen() else { return false };
        let leads = |at: &usize| seen[*at].role == RoleName::Leader;
        let leaders: Vec<usize> = (0..seen.len()).filter(leads).collect();
        let [leader] = leaders[..] else { return false };
        let Some(members) = self.nodes[leader].node.as_ref().and_then(Node::membership) else { return false };
        let follows = |member: NodeId| {
            let there = &seen[usize::from(member.0) - 1];
            there.term == seen[leader].term && there.leader == seen[leader].leader && there.leader.is_some()
        };
        members.nodes().into_iter().all(follows)
    }

    /// Whether all nodes hold the same log, all of it committed, and the same state, and nothing in it is to go
    /// soon: time goes on without writes, and what is due then goes by itself.
    fn is_converged(&self) -> bool {
        let Some(seen) = self.seen() else { return false };
        let first = seen[self.first_with_data()];
        let lasts = |process: &Process| {
            let Some(state) = process.node.as_ref().map(Node::state) else { return false };
            let soon = Millis(state.time().0 + SOON_MS);
            let raised = state.level() == FEATURE_LEVEL;
            raised
                && state
                    .iter_keys()
                    .all(|(_, record)| record.deadline.is_none_or(|deadline| deadline.due() > soon))
        };
        seen.iter().enumerate().all(|(node, seen)| {
            let same = seen.state_digest == first.state_digest || self.is_witness(node);
            seen.commit == first.last && seen.last == first.last && same
        }) && self.nodes.iter().all(lasts)
    }

    /// All nodes must hold the same entries, byte for byte, as far as no snapshot has replaced them.
    fn compare_logs(&mut self) {
        let Some(seen) = self.seen() else { return };
        let (start, commit) = seen
            .iter()
            .fold((Index(0), seen[0].commit), |(start, commit), seen| (start.max(seen.start), commit));
        for index in (start.0 + 1..=commit.0).map(Index) {
            let entry = |node: usize| self.nodes[node].node.as_ref().and_then(|node| node.entry(index));
            let first = self.first_with_data();
            // What a witness has of an entry is looked at when it comes.
            let mut others = (0..self.nodes.len()).filter(|node| !self.is_witness(*node));
            if let Some(other) = others.find(|node| entry(*node).is_none() || entry(*node) != entry(first)) {
                let what = format!(
                    "nodes {} and {} differ at entry {index} although both committed it",
                    first + 1,
                    other + 1
                );
                return self.fail("raft", what);
            }
        }
    }

    /// What lies on the disks must be what the formats say, by a reader of its own.
    fn read_logs(&mut self) {
        for node in 0..self.nodes.len() {
            if let Some(file) = self.nodes[node].disk.unlike_format() {
                let what =
                    format!("node {}: {file} does not begin with a mark as docs/formats.md has it", node + 1);
                return self.fail("format", what);
            }
        }
    }

    fn stuck(&mut self) {
        let seconds = (self.now - self.phase_began) / 1_000_000;
        let goal = match self.phase {
            Phase::Leader => "no leader is known to all nodes",
            Phase::Members => "not all nodes are voters again",
            Phase::Clients => "not every client got its last operations through",
            Phase::ReadBack => "the operator could not read everything back",
            _ => {
                "the nodes do not hold the same log and state at the highest level, or a key outlives its time"
            }
        };
        let mut what = format!("{seconds} s after the last fault, {goal}");
        for (n, process) in self.nodes.iter().enumerate() {
            let seen = process.seen.as_ref().map_or("down".into(), describe);
            what.push_str(&format!("\n    n{}: {seen}{}", n + 1, if process.wiped { ", wiped" } else { "" }));
        }
        for (n, worker) in self.workers.iter().enumerate().filter(|(_, worker)| !worker.is_idle()) {
            what.push_str(&format!("\n    c{n}: {}", worker.standing()));
        }
        self.fail("liveness", what);
    }
}

/// A node's figures in one line.
#[must_use]
pub fn describe(seen: &Inspection) -> String {
    format!(
        "{:?} term {} leader {} commit {} last {} durable {} digest {:016x} waiting {}",
        seen.role,
        seen.term,
        seen.leader.map_or("none".into(), |node| node.to_string()),
        seen.commit,
        seen.last,
        seen.durable,
        seen.state_digest,
        seen.waiting
    )
}

/// What every client must get through once the faults are over.
fn last_ops(worker: usize) -> Vec<Op> {
    let value = format!("last-{worker}");
    vec![
        Op::new(0, &["INCRBY", "c0", "1"]),
        Op::new(0, &["SET", "r0", &value]),
        Op::new(0, &["GET", "c0"]),
        Op::new(0, &["GET", "r0"]),
    ]
}

/// Reads of every key that the schedule's clients may have written, and of all changes that are still known: of the whole run's, or
/// of its last half's, or of its last quarter's.
fn read_back(schedule: &Schedule) -> Vec<Op> {
    let mut keys = BTreeSet::new();
    for op in schedule.clients.iter().flat_map(|client| &client.ops) {
        match op.args[0].as_str() {
            "SET" | "SETNX" | "INCRBY" | "INCRBYFLOAT" | "APPEND" | "HSET" | "HMSET" | "HSETNX"
            | "HINCRBY" => {
                _ = keys.insert(op.args[1].as_str());
            }
            "RENAME" | "RENAMENX" => _ = keys.insert(op.args[2].as_str()),
            "MSET" | "MSETNX" => op.args[1..].iter().step_by(2).for_each(|key| _ = keys.insert(key)),
            _ => {}
        }
    }
    let (unique, hot): (Vec<&str>, Vec<&str>) = keys.into_iter().partition(|key| key.starts_with('u'));
    let mut ops: Vec<Op> = hot.iter().map(|key| Op::new(0, &["GET", key])).collect();
    let hashes = hot.iter().filter(|key| key.starts_with(['h', 's']));
    ops.extend(hashes.map(|key| Op::new(0, &["HGETALL", key])));
    for chunk in unique.chunks(16) {
        ops.push(Op { think_us: 0, args: ["MGET"].iter().chain(chunk).map(ToString::to_string).collect() });
    }
    let changes =
        ["0", "$half", "$late"].map(|from| Op::new(0, &["CHANGES", from, "PREFIX", "", "PREVIOUS"]));
    ops.extend(changes);
    ops.push(Op::new(0, &["PING"]));
    ops
}
