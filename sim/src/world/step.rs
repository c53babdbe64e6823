//! What happens to a node: starts, steps, the execution of its outputs, and its end.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use steadfast_core::inspect::{Inspection, RoleName};
use steadfast_core::io::{DiskError, DiskOp, DiskReply, Input, Output, Owner, PeerAddress, Token};
use steadfast_core::job::JobResult;
use steadfast_core::trace::Event as Said;

use super::{Event, Place, World};
use crate::disk::{OpId, Stage};
use crate::fault::Point;
use crate::glue;
use crate::probes::WorldProbe;
use crate::rng::Stream;
use crate::schedule::address;
use crate::trace::{clip, describe_input, describe_output, disk_op};

/// No command of a simulation takes more bytes.
const LARGEST_COMMAND: usize = 64 << 10;

/// What waited for a paused process, as its driver would read it: each connection, peer and operation in its
/// own order, and these among each other in any.
fn shuffled(waiting: VecDeque<Input>, stream: &mut Stream) -> Vec<Input> {
    let mut sources: BTreeMap<(u8, u64), VecDeque<Input>> = BTreeMap::new();
    for (n, input) in waiting.into_iter().enumerate() {
        let source = match &input {
            Input::Connected { conn, .. }
            | Input::Bytes { conn, .. }
            | Input::Drained { conn, .. }
            | Input::Disconnected { conn } => (0, conn.0),
            Input::Peer { frame } => (1, glue::sender(frame)),
            Input::Tick | Input::DiskDone { .. } | Input::Computed { .. } | Input::Shutdown => (2, n as u64),
        };
        sources.entry(source).or_default().push_back(input);
    }
    let mut sources: Vec<VecDeque<Input>> = sources.into_values().collect();
    let mut inputs = Vec::new();
    while !sources.is_empty() {
        let source = stream.below(sources.len() as u64) as usize;
        let burst = stream.between(1, 8) as usize;
        let taken = burst.min(sources[source].len());
        inputs.extend(sources[source].drain(..taken));
        if sources[source].is_empty() {
            sources.swap_remove(source);
        }
    }
    inputs
}

fn is_recovered(output: &Output) -> bool {
    matches!(output, Output::Trace(Said::Recovered { .. }))
}

impl World<'_> {
    /// A process starts, unless it runs or was started since the event was queued.
    pub(super) fn start(&mut self, node: usize, boot: u64) {
        let process = &mut self.nodes[node];
        if process.is_up() || process.boot != boot {
            return;
        }
        self.put_image_back(node);
        let process = &mut self.nodes[node];
        process.start(self.schedule, node, self.now);
        let boot = process.boot;
        self.note(Place::Node(node), "START", || format!("start {boot}"));
        self.step(node, Input::Tick);
    }

    /// Gives an input to a node, or to the queue of a paused one.
    pub(super) fn deliver(&mut self, node: usize, input: Input) {
        match &mut self.nodes[node].paused {
            Some(waiting) => waiting.push_back(input),
            None => self.hand_in(node, input),
        }
    }

    /// One step of the core, and the execution of what comes out.
    pub(super) fn step(&mut self, node: usize, input: Input) {
        let process = &mut self.nodes[node];
        let Some(core) = process.node.as_mut() else { return };
        let (stamp, boot) = (process.clock.stamp(self.now), process.boot);
        self.hash.word((node as u64) << 48 ^ stamp.mono.0);
        self.hash.word(stamp.wall.0);
        self.hash.input(&input);
        self.events += 1;
        if let Some(listener) = &mut self.listener {
            let (what, detail) = describe_input(&input);
            let place = format!("n{}", node + 1);
            listener(crate::trace::Line { event: self.events, time_us: self.now, place, what, detail });
        }
        let mut out = std::mem::take(&mut self.outbox);
        let tick = matches!(input, Input::Tick);
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            core.step(stamp, input, &mut out);
            core.inspect()
        }));
        let outputs: Vec<Output> = out.drain().collect();
        self.outbox = out;
        match stepped {
            Ok(seen) => {
                if self.nodes[node].recovering && !outputs.iter().any(is_recovered) {
                    // It has not read yet what it will stand by.
                    self.hash.state(&seen);
                    self.nodes[node].seen = Some(seen);
                } else {
                    self.nodes[node].recovering = false;
                    self.observe(node, seen);
                }
            }
            Err(_) => return self.fail("panic", format!("node {}: {}", node + 1, glue::panic_message())),
        }
        self.busy(node, tick);
        for output in outputs {
            let process = &self.nodes[node];
            if process.boot != boot || !process.is_up() || self.stopped.is_some() {
                break; // what it had not said yet it never says
            }
            self.hash.output(&output);
            if let Some(listener) = &mut self.listener {
                let (what, detail) = describe_output(&output);
                let place = format!("n{}", node + 1);
                let detail = format!("-> {detail}");
                listener(crate::trace::Line { event: self.events, time_us: self.now, place, what, detail });
            }
            self.execute(node, output);
        }
    }

    /// Notices a node that asks for ticks without end while no time passes.
    fn busy(&mut self, node: usize, tick: bool) {
        let process = &mut self.nodes[node];
        let idle = tick && process.ticked.0 == self.now;
        process.ticked = (self.now, if idle { process.ticked.1 + 1 } else { 0 });
        if process.ticked.1 > 1_000 {
            self.fail("livelock", format!("node {} wants a thousand ticks at one instant", node + 1));
        }
    }

    /// Looks at a node after its step.
    fn observe(&mut self, node: usize, seen: Inspection) {
        self.hash.state(&seen);
        let limits = &self.nodes[node].limits;
        // One more entry fits when the limit is almost reached.
        let bound = limits.pending_bytes + limits.frame_bytes;
        let waiting = limits.waiting_bytes + LARGEST_COMMAND;
        if seen.pending_bytes > bound
            || seen.waiting > limits.waiting_requests
            || seen.waiting_bytes > waiting
        {
            let what = format!(
                "node {} holds {} requests (limit {}) with {} bytes (limit {waiting}), and {} pending bytes (limit \
                 {bound})",
                node + 1,
                seen.waiting,
                limits.waiting_requests,
                seen.waiting_bytes,
                seen.pending_bytes
            );
            self.fail("limits", what);
        }
        let process = &mut self.nodes[node];
        let leads = seen.role == RoleName::Leader;
        let (committed, elected) = match &process.seen {
            Some(before) if before.role == RoleName::Leader => (seen.commit > before.commit, false),
            _ => (false, true),
        };
        process.ever_committed = process.ever_committed.max(seen.commit.0);
        let core = process.node.as_ref().expect("it was just stepped");
        let verdict = self.invariants.after_step(node, process.boot, core, &seen);
        process.seen = Some(seen);
        if let Err(what) = verdict {
            self.fail("raft", what);
        }
        if leads {
            self.watch_time(node);
        }
        if leads && elected {
            self.reach(node, Point::Elected);
        } else if leads && committed {
            self.reach(node, Point::Committed);
        }
    }

    fn execute(&mut self, node: usize, output: Output) {
        let boot = self.nodes[node].boot;
        match output {
            Output::Disk { token, op } => self.disk_issued(node, token, op),
            Output::Send { conn, data } => {
                if self.reach(node, Point::BeforeReply) {
                    return;
                }
                self.send_to_client(conn.0, data);
                self.reach(node, Point::AfterReply);
            }
            Output::SendPeer { to, frame, .. } => {
                self.send_to_peer(node, usize::from(to.0).wrapping_sub(1), frame);
                self.reach(node, Point::PeerSent);
            }
            Output::Peers(peers) => self.links_to(node, &peers),
            Output::Close { conn, .. } => self.node_closes(conn.0),
            Output::Compute { token, job } => {
                let result = glue::compute(&job);
                let at = self.now + self.schedule.cluster.compute.draw(&mut self.compute);
                self.push(at, Event::Computed { node, boot, token, result });
            }
            // A pool that has begun all its jobs already: they are reported in their time.
            Output::Forget { .. } => {}
            Output::WakeAt(at) => self.wants_wake(node, at.0),
            Output::Trace(Said::Probe(probe)) => self.probes.core(probe),
            Output::Trace(Said::Damaged { what, .. }) => self.blames_its_log(node, &what),
            Output::Trace(Said::Notice(what)) => self.notices(node, &what),
            Output::Trace(Said::Members(_)) => {
                self.reach(node, Point::MembersChanged);
            }
            Output::Trace(Said::TransferBegun { to }) => {
                self.reach(usize::from(to.0) - 1, Point::TransferBegun);
            }
            Output::Trace(Said::Recovered { .. }) => self.recovered(node),
            Output::Trace(Said::Repaired { .. }) => self.repaired(node),
            Output::Trace(Said::SnapshotTaken { .. }) => self.snapshot_taken(node),
            Output::Trace(_) => {}
            Output::Halt(reason) => self.halted(node, &reason),
        }
    }

    fn disk_issued(&mut self, node: usize, token: Token, op: DiskOp) {
        let process = &mut self.nodes[node];
        let (boot, is_write) = (process.boot, matches!(op, DiskOp::WriteAt { .. }));
        let (op, stage, delay) = process.disk.submit(token, op);
        self.push(self.now + delay, Event::Disk { node, boot, op, stage });
        let recovers =
            token.owner == Owner::Recovery || (token.owner == Owner::Snapshot && self.nodes[node].recovering);
        if recovers && self.reach(node, Point::RecoveryOp) {
            return;
        }
        let repairs = |seen: &Inspection| seen.role == RoleName::Repairing;
        if token.owner == Owner::Wal
            && self.nodes[node].seen.as_ref().is_some_and(repairs)
            && self.reach(node, Point::RepairOp)
        {
            return;
        }
        if is_write {
            self.reach(node, Point::WriteIssued);
        }
    }

    /// A driver keeps links to the nodes whose addresses it is told, as far as these are right.
    fn links_to(&mut self, node: usize, peers: &[PeerAddress]) {
        let right = |peer: &&PeerAddress| peer.addresses.contains(&address(peer.node.0));
        self.nodes[node].links =
            peers.iter().filter(right).map(|peer| usize::from(peer.node.0) - 1).collect();
        if let Some(wrong) = peers.iter().find(|peer| !right(peer)) {
            self.fail(
                "boundary",
                format!("node {} looks for node {} at {:?}", node + 1, wrong.node, wrong.addresses),
            );
        }
    }

    fn send_to_peer(&mut self, from: usize, to: usize, frame: Bytes) {
        if to >= self.nodes.len() || to == from {
            return self.fail("boundary", format!("node {} sends a frame to node {}", from + 1, to + 1));
        }
        if let Err(what) = self.invariants.sent(from, &frame) {
            return self.fail("raft", what);
        }
        let process = &mut self.nodes[from];
        if process.announced.is_none_or(|(boot, _)| boot != process.boot) {
            process.announced = glue::nonce(&frame).map(|nonce| (process.boot, nonce));
        }
        if !self.nodes[from].links.contains(&to) {
            return;
        }
        let arrivals = self.network.send(self.now, from, to);
        for at in arrivals.first.into_iter().chain(arrivals.second) {
            self.push(at, Event::Frame { from, to, frame: frame.clone() });
        }
    }

    /// A frame arrives, if nothing has cut its link meanwhile.
    pub(super) fn frame(&mut self, from: usize, to: usize, frame: Bytes) {
        if self.network.is_stalled(from, to) {
            self.held.entry((from, to)).or_default().push(frame);
        } else if !self.network.is_cut(from, to) && self.nodes[to].is_up() {
            if self.nodes[to].came_back && glue::is_quarantine(&frame) {
                self.nodes[to].came_back = false;
                self.probes.world(WorldProbe::OldImageQuarantined, 1);
            }
            self.deliver(to, Input::Peer { frame });
        }
    }

    fn wants_wake(&mut self, node: usize, mono: u64) {
        self.nodes[node].wake = Some(mono);
        self.queue_wake(node);
    }

    /// Puts a wake-up into the queue unless one is there that comes no later: a wish that moves out leaves
    /// its event where it is, and the event looks again.
    fn queue_wake(&mut self, node: usize) {
        let process = &mut self.nodes[node];
        let Some(mono) = process.wake else { return };
        let at = process.clock.true_time(steadfast_core::time::Micros(mono)).max(self.now);
        if process.wake_queued.is_some_and(|queued| queued <= at) {
            return;
        }
        let (boot, at) = (process.boot, at + self.schedule.cluster.timer.draw(&mut process.timer));
        if process.wake_queued.is_none_or(|queued| queued > at) {
            process.wake_queued = Some(at);
            self.push(at, Event::Wake { node, boot });
        }
    }

    /// A wake-up's time has come, though perhaps not the node's wish.
    pub(super) fn wake(&mut self, node: usize, boot: u64) {
        let process = &mut self.nodes[node];
        if process.boot != boot || !process.is_up() || process.wake_queued != Some(self.now) {
            return;
        }
        process.wake_queued = None;
        if process.paused.is_some() {
            return; // looked at again when it goes on
        }
        let mono = process.clock.stamp(self.now).mono.0;
        if process.wake.is_some_and(|wish| wish <= mono) {
            process.wake = None;
            return self.step(node, Input::Tick);
        }
        self.queue_wake(node);
    }

    /// A disk operation comes to its next execution point.
    pub(super) fn disk_point(&mut self, node: usize, boot: u64, op: OpId, stage: Stage) {
        if self.nodes[node].boot == boot && self.is_late(node, op, stage) {
            return;
        }
        let process = &mut self.nodes[node];
        let Some((token, what)) = process.disk.op(op).filter(|_| process.boot == boot) else { return };
        let (is_sync, is_write) =
            (matches!(what, DiskOp::Sync { .. }), matches!(what, DiskOp::WriteAt { .. }));
        let is_read = matches!(what, DiskOp::Read { .. } | DiskOp::List);
        let text = if self.listener.is_some() { disk_op(what) } else { String::new() };
        if stage == Stage::SyncBegin && process.disk.hold(op) {
            return;
        }
        if stage == Stage::SyncBegin {
            let at = self.now + process.disk.begin_sync(op);
            self.push(at, Event::Disk { node, boot, op, stage: Stage::Finish });
            self.note(Place::Node(node), "sync begins", || text);
            self.reach(node, if is_sync { Point::SyncBegun } else { Point::DirChanged });
            return;
        }
        let fails = is_sync && process.fails_sync();
        let (_, result) = process.disk.finish(op, fails);
        let freed = if is_write { process.disk.freed() } else { Vec::new() };
        let at = self.now + process.disk.notice_delay();
        process.unheard_syncs += u32::from(is_sync && !fails);
        self.push(at, Event::DiskDone { node, boot, token, result, sync: is_sync && !fails });
        for (op, after) in freed {
            self.push(self.now + after, Event::Disk { node, boot, op, stage: Stage::SyncBegin });
        }
        let what = if fails { "SYNC FAILS" } else { "executed" };
        self.note(Place::Node(node), what, || text);
        if fails {
            self.probes.world(WorldProbe::SyncFailed, 1);
        }
        if is_read || (token.owner == Owner::Snapshot && self.reach(node, Point::SnapshotOp)) {
            return;
        }
        if is_sync {
            self.reach(node, Point::SyncDone);
        } else if !is_write {
            self.reach(node, Point::DirChanged);
        } else if !(self.nodes[node].disk.grew && self.reach(node, Point::FileGrown)) {
            self.reach(node, Point::WriteDone);
        }
    }

    /// A node hears of a disk operation's end.
    pub(super) fn disk_done(
        &mut self,
        node: usize,
        boot: u64,
        token: Token,
        result: Result<DiskReply, DiskError>,
        sync: bool,
    ) {
        let process = &mut self.nodes[node];
        if process.boot != boot || !process.is_up() {
            return;
        }
        self.deliver(node, Input::DiskDone { token, result });
        if sync && self.nodes[node].boot == boot {
            let unheard = &mut self.nodes[node].unheard_syncs;
            *unheard = unheard.saturating_sub(1);
        }
    }

    /// A computation is done.
    pub(super) fn computed(&mut self, node: usize, boot: u64, token: Token, result: JobResult) {
        if self.nodes[node].boot == boot && self.nodes[node].is_up() {
            self.deliver(node, Input::Computed { token, result });
        }
    }

    /// Counts an execution point; true if the node stopped there.
    fn reach(&mut self, node: usize, point: Point) -> bool {
        match self.nodes[node].reach(point) {
            Some(trigger) => self.strike(node, trigger),
            None => false,
        }
    }

    /// All machines stop at one instant.
    pub(super) fn blackout(&mut self, power: bool, down_us: u64) {
        if power {
            self.probes.world(WorldProbe::PowerLossOfAll, 1);
        }
        for node in 0..self.nodes.len() {
            // Machines do not come back at one instant.
            self.crash(node, power, down_us + node as u64 * 1_300);
        }
    }

    /// A process stops, and its machine too if the power is gone. It is started again later.
    pub(super) fn crash(&mut self, node: usize, power: bool, down_us: u64) {
        let power = power && self.may_lose_power(node);
        let process = &mut self.nodes[node];
        if let Some(seen) = &process.seen {
            let between = process.unheard_syncs > 0 && seen.waiting > 0;
            self.probes.world(WorldProbe::CrashBetweenSyncAndReply, u64::from(between));
            self.probes.world(WorldProbe::LeaderStopped, u64::from(seen.role == RoleName::Leader));
            let repairs = seen.role == RoleName::Repairing;
            self.probes.world(WorldProbe::StoppedInRepair, u64::from(repairs));
            self.probes.world(WorldProbe::RestartDuringRecovery, u64::from(process.recovering));
        }
        let was_up = process.is_up();
        process.stop();
        if power {
            process.disk.lose_power()
        } else {
            process.disk.kill()
        }
        let boot = process.boot;
        self.invariants.stopped(node);
        let what = if power { "POWER OFF" } else { "KILLED" };
        self.note(Place::Node(node), what, || format!("for {down_us} us"));
        if was_up {
            self.cut_connections(node, power);
            self.push(self.now + down_us, Event::Start { node, boot });
        }
    }

    /// A process is stopped for a while; with a suspended machine its clock stands too.
    pub(super) fn pause(&mut self, node: usize, for_us: u64, suspended: bool) {
        let now = self.now;
        let process = &mut self.nodes[node];
        if !process.is_up() || process.paused.is_some() {
            return;
        }
        process.paused = Some(process.backlog.drain(now));
        process.backlog.busy = false;
        process.pauses += 1;
        if suspended {
            process.clock.suspend(now);
        }
        let pause = process.pauses;
        self.note(Place::Node(node), "PAUSED", || clip(&format!("for {for_us} us, suspended: {suspended}")));
        self.push(now + for_us, Event::Resume { node, pause });
    }

    /// A paused process goes on, with all that came meanwhile.
    pub(super) fn resume(&mut self, node: usize, pause: u64) {
        let process = &mut self.nodes[node];
        if process.pauses != pause {
            return;
        }
        let Some(waiting) = process.paused.take() else { return };
        process.clock.resume(self.now);
        let led = process.seen.as_ref().filter(|seen| seen.role == RoleName::Leader).map(|seen| seen.term);
        let boot = process.boot;
        let newer = self.nodes.iter().filter_map(|other| other.seen.as_ref());
        let replaced =
            led.is_some_and(|term| newer.clone().any(|s| s.role == RoleName::Leader && s.term > term));
        self.probes.world(WorldProbe::LeaderPausedAndReplaced, u64::from(replaced));
        self.note(Place::Node(node), "RESUMED", || format!("{} inputs waited", waiting.len()));
        for input in shuffled(waiting, &mut self.nodes[node].timer) {
            if self.nodes[node].boot != boot || !self.nodes[node].is_up() || self.stopped.is_some() {
                return;
            }
            self.deliver(node, input);
        }
        self.queue_wake(node);
    }
}
