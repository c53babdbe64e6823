//! The leader's work: evaluate a command, append its effects, answer once they are committed; and what every
//! member does with committed entries.
//!
//! Evaluation and append are one step: nothing can come between the state that a command saw and the index that it
//! takes.

use bytes::Bytes;

use super::clocks::Clocks;
use super::forward::{ForwardMessage, Task};
use super::refusals::as_far_as_known;
use super::replica::{Replica, Stepped, probe};
use super::requests::late;
use super::waiting::{Asker, Waiter};
use crate::clock::ClusterClock;
use crate::command::Command;
use crate::command::evaluate::{Evaluated, ForwardId, Request, evaluate};
use crate::command::info::NodeInfo;
use crate::error::{ErrorCode, Failure};
use crate::io::{HaltReason, Outbox, Output};
use crate::reply::{Receipt, Reply, Value};
use crate::state::codec::EntryError;
use crate::state::effect::{Cause, Effect, Entry};
use crate::time::{Micros, Millis};
use crate::trace::{Event, Probe};
use crate::types::{Index, NodeId};

/// For so many entries the tail keeps its room. A new leader takes in the whole log that is not committed.
const TAIL_ROOM: usize = 1024;

/// What an origin says about a command besides its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    /// The origin holds all answers up to here.
    pub floor: u64,
    /// An earlier leader may have logged the command, so that nobody may say that it never happened.
    pub again: bool,
}

impl Replica {
    /// This node leads a new term. It knows the fate of no entry after its commit index, so it takes them all
    /// into account before it evaluates anything, and answers nothing before an entry of its own is committed
    /// (paper, section 8).
    pub fn begin_term(&mut self, out: &mut Outbox) -> Stepped {
        self.apply_committed(out)?;
        let last = self.raft.log().last();
        if last > self.state.committed() {
            probe(out, Probe::LeaderWithUncommittedTail);
        }
        while self.state.tail() < last {
            let index = self.state.tail().next();
            let entry = self.decode(index)?;
            self.take_into_pending(index, entry);
        }
        self.clock = Some(ClusterClock::resume(self.state.time(), self.now));
        self.inbound.clear();
        let start = if self.state.tail() == Index(0) {
            let founding = Effect::Founded(self.founding().clone());
            self.append(Cause::System, vec![founding, Effect::Level(self.founding_level())])
        } else {
            // Which renewals were on their way when the leader before was lost, nobody can know.
            let spare = (self.state.lease_count() > 0).then_some(Effect::LeasesSpared);
            if spare.is_some() {
                probe(out, Probe::LeasesInherited);
            }
            self.append(Cause::TermStart, spare.into_iter().collect())
        };
        assert_eq!(Some(start), self.raft.term_start(), "a term starts with its leader's own entry");
        self.clocks = Clocks::new(&self.config.timing);
        self.was_in_vain();
        self.tell_if_degraded(out);
        self.execute_kept(out)
    }

    /// This node no longer leads: what it promised to answer has an unknown fate, or happened nowhere.
    pub fn end_term(&mut self) {
        self.clock = None;
        self.state.drop_pending();
        self.tail.clear();
        self.tail_bytes = 0;
        self.lag.clear();
        self.transfer_ends_with_term();
        for waiter in self.waiting.take_all() {
            if !waiter.own_entry {
                self.observed = self.observed.max(waiter.depends);
            }
            // Another node's, or this node's own session: the forwarder asks the next leader.
            let (Asker::Here(ticket) | Asker::HereInSession(ticket)) = waiter.asker else { continue };
            let in_session = matches!(waiter.asker, Asker::HereInSession(_));
            if matches!(waiter.reply.outcome, Ok(Value::Waiting(_))) {
                self.unsure_of(waiter.depends, ticket, in_session, waiter.reply);
                continue;
            }
            self.gone.remove(&ticket);
            let failure = if waiter.own_entry {
                let text = "this node lost its term before the command's entry was committed: it may take effect or not; \
                            ask again under the same session and sequence";
                Failure::new(ErrorCode::LeaderLost, text)
            } else {
                let text = "this node lost its term before it could answer; nothing was changed: try again";
                Failure::new(ErrorCode::LeaderChanged, text)
            };
            self.answers.push((ticket, Reply::refused(failure)));
        }
    }

    /// Evaluates a command, appends its effects and lets the answer wait. With `relay`, another node forwarded it, or
    /// this one kept it from before it led.
    pub fn execute(&mut self, asker: Asker, task: &Task, relay: Option<Relay>, out: &mut Outbox) -> Stepped {
        let write = task.command.is_write();
        if let Some(refusal) = self.overload(write, task.command.grows()) {
            return self.refuse(asker, refusal, relay, out);
        }
        if self.is_too_late(asker, task) {
            probe(out, Probe::LateRefused);
            return self.refuse_logged(asker, late(), relay, write, out);
        }
        let forwarded = match (asker, relay) {
            (Asker::There { origin, boot, seq, .. }, Some(relay)) => {
                Some(ForwardId { origin, boot, seq, floor: relay.floor })
            }
            _ => None,
        };
        let clock = self.clock.as_mut().expect("a leader has a clock");
        let now = clock.read(self.now).max(self.state.time());
        let evaluated = self.evaluate(task, forwarded, now);
        if let Some(to) = task.command.transfers_to().filter(|_| evaluated.outcome.is_ok()) {
            return self.begin_transfer(asker, to, out);
        }
        if evaluated.met_pending_retry {
            probe(out, Probe::RetryMetPending);
        }
        if let Err(failure) = &evaluated.outcome
            && failure.code == ErrorCode::FeatureLevel
            && write
        {
            // Its client is told that nothing happens: it must not be done when it comes once more, and the level was raised.
            if !self.may_refuse(asker) {
                return Ok(());
            }
            self.remember_refused(asker, as_far_as_known(failure.clone(), relay));
        }
        if evaluated.stored_at.is_some() && matches!(evaluated.outcome, Ok(Value::Waiting(_))) {
            probe(out, Probe::WaitAskedAgain);
        }
        let shows_time = evaluated.time_consulted && now > self.state.time();
        let logs = !evaluated.effects.is_empty() || shows_time;
        // What an earlier leader may have logged is not refused because it may come too late: somebody still waits for what became of it.
        let refusable = !relay.is_some_and(|relay| relay.again) && self.may_refuse(asker);
        let behind = || self.behind(task.within).filter(|_| refusable);
        if logs && let Some(refusal) = self.overload(true, task.command.grows()).or_else(behind) {
            return self.refuse_logged(asker, refusal, relay, write, out);
        }
        self.take_in(asker, task, relay, (evaluated, logs, refusable), out)
    }

    /// Appends what a command has come to, if that is logged, and lets the answer wait for all that it rests on. `refusable` says whether the
    /// client may still be told that nothing happened.
    fn take_in(
        &mut self,
        asker: Asker,
        task: &Task,
        relay: Option<Relay>,
        (mut evaluated, logs, refusable): (Evaluated, bool, bool),
        out: &mut Outbox,
    ) -> Stepped {
        // Before all is durable that it rests on and that was not answered ahead itself, it waits until it is durable, too; and
        // so it does while the node stops.
        let firm = evaluated.dependency.firm();
        let loose = evaluated.loose.take().filter(|_| firm <= self.raft.commit() && !self.stopping);
        // Where nobody may say that nothing happened, the answer waits until it is durable.
        let lags = loose.as_ref().and_then(|loose| self.lag.refusal(loose, self.now.mono));
        let loose = loose.filter(|_| lags.is_none());
        if let Some(refusal) = lags.filter(|_| refusable) {
            probe(out, Probe::LagRefused);
            return self.refuse_logged(asker, refusal, relay, task.command.is_write(), out);
        }
        let own_entry = logs || evaluated.stored_at.is_some();
        let start = self.raft.term_start().expect("only a leader executes");
        let (position, depends) = if logs {
            let cause = cause_of(&evaluated.effects);
            self.probe_logged(task, &evaluated, out);
            let index = self.append(cause, evaluated.effects);
            (evaluated.stored_at.unwrap_or((index, self.state.time())), index)
        } else {
            // Nothing between the commit index, or what it depends on, and the tail concerns this answer. What lies
            // before this term's start may be committed although this node does not know it yet.
            let depends = evaluated.dependency.index().max(start);
            // What is committed may wait for a snapshot before it is applied, and was perhaps reported already.
            let reads = depends.max(self.raft.commit());
            (evaluated.stored_at.unwrap_or((reads, self.state.time_of(reads))), depends)
        };
        let leased = !logs && self.raft.holds_lease(self.now.mono);
        if leased {
            probe(out, Probe::ReadOnLease);
        }
        let round = if logs || leased { None } else { Some(self.raft.join_round()) };
        let mut receipt = Receipt::durable(position.0, position.1);
        if let Some(loose) = loose {
            receipt.ahead = Some(self.raft.term());
            self.state.leaves_ahead();
            self.lag.push(position.0, loose, self.now.mono);
            probe(out, Probe::AnsweredAhead);
            let reply = Reply { outcome: evaluated.outcome, receipt: Some(receipt) };
            return self.answer(asker, reply, out);
        }
        let reply = Reply { outcome: evaluated.outcome, receipt: Some(receipt) };
        self.waiting.push(Waiter { asker, reply, depends, round, own_entry });
        Ok(())
    }

    /// A command that only this node's own committed state answers, without a leader.
    pub fn evaluate_here(&mut self, task: &Task) -> Reply {
        let evaluated = self.evaluate(task, None, self.state.time());
        // What one node says about itself has no place in the log's order, and so no receipt.
        Reply { outcome: evaluated.outcome, receipt: None }
    }

    fn evaluate(&mut self, task: &Task, forwarded: Option<ForwardId>, now: Millis) -> Evaluated {
        match task.command {
            Command::Info => self.info = self.current_info(),
            ref command if command.concerns_members() => {
                self.info.members_seen = self.raft.members_seen(self.now.mono);
                self.info.witness = self.witness_info();
            }
            _ => {}
        }
        let request = Request {
            principal: &task.principal,
            command: &task.command,
            once: task.once,
            forwarded,
            info: &self.info,
        };
        evaluate(&self.state, &self.config.limits, self.config.access, &request, now)
    }

    fn probe_logged(&self, task: &Task, evaluated: &Evaluated, out: &mut Outbox) {
        if evaluated.effects.is_empty() {
            probe(out, Probe::ReadLoggedTime);
        } else if !task.command.is_write() {
            probe(out, Probe::DueKeyConsulted);
        }
    }

    /// Appends an entry of this leader.
    pub fn append(&mut self, cause: Cause, effects: Vec<Effect>) -> Index {
        let clock = self.clock.as_mut().expect("a leader has a clock");
        let time = clock.read(self.now).max(self.state.time());
        let entry = Entry { time, cause, effects };
        self.assert_level_reached(&entry);
        let index = self.raft.propose(self.now.mono, entry.encode());
        self.take_into_pending(index, entry);
        index
    }

    fn take_into_pending(&mut self, index: Index, entry: Entry) {
        self.state.append(index, &entry);
        self.tail_bytes += self.body(index).len();
        self.tail.push_back((self.now.mono, entry));
    }

    /// Applies what is newly committed, on every member alike.
    pub fn apply_committed(&mut self, out: &mut Outbox) -> Stepped {
        let before = self.state.committed();
        while self.state.committed() < self.raft.commit() && !self.must_wait_for_snapshot() {
            let (index, weight) = (self.state.committed().next(), self.state.weight());
            let kept = self.state.kept_bytes();
            let entry = match self.tail.pop_front() {
                Some((_, entry)) => {
                    self.tail_bytes -= self.body(index).len();
                    entry
                }
                None => self.decode(index)?,
            };
            let changes = self.state.commit(index, &entry);
            self.remember(index, changes);
            self.tell_waiting(index, &entry, out);
            if entry.cause == Cause::Members {
                self.tell_addresses(out);
            }
            if self.state.kept_bytes() > kept {
                probe(out, Probe::RowKeptForSnapshot);
            }
            if self.is_snapshot_due(weight) {
                self.snapshot_due(index, out);
            }
        }
        if self.tail.is_empty() {
            self.tail.shrink_to(TAIL_ROOM);
        }
        if self.state.committed() > before {
            out.push(Output::Trace(Event::Committed { index: self.state.committed() }));
            self.root_committed(out);
        }
        Ok(())
    }

    /// A joint membership is committed: the voters before need not be asked any more.
    pub fn end_change(&mut self, out: &mut Outbox) {
        if self.raft.is_leader() && self.raft.membership().is_joint() {
            if self.raft.membership_term() != Some(self.raft.term()) {
                probe(out, Probe::ChangeInherited);
            }
            let (joint, settled) = (self.raft.membership(), self.raft.membership().settled());
            let gone: Vec<NodeId> = joint.nodes().difference(&settled.nodes()).copied().collect();
            let mut view = self.state.view(self.state.time());
            let forgotten = view.forget_nodes(&gone);
            drop(view.finish());
            let effects = std::iter::once(Effect::Membership(settled)).chain(forgotten).collect();
            self.append(Cause::Members, effects);
        }
    }

    /// Deletes what is due, in entries of bounded size.
    pub fn expire_due(&mut self) -> Stepped {
        let Some(clock) = &mut self.clock else { return Ok(()) };
        let now = clock.read(self.now);
        let is_due =
            self.state.next_due().is_some_and(|due| due <= now) && self.raft.transfers_to().is_none();
        if is_due && self.overload(true, false).is_none() {
            let effects = self.state.due(now, self.config.limits.expiry_batch);
            if !effects.is_empty() {
                self.append(Cause::Expiry, effects);
            }
            self.end_what_is_over(now);
        }
        Ok(())
    }

    /// When something will be due, on the leader's monotonic clock.
    pub fn due_at(&self) -> Option<Micros> {
        let at = self.clock.as_ref()?.when(self.state.next_due()?);
        // A slewed clock may need a little longer; it is asked at most once a millisecond.
        Some(at.max(self.now.mono.after(Micros::from_millis(1))))
    }

    /// Sends answers that are true by now.
    pub fn release_answers(&mut self, out: &mut Outbox) -> Stepped {
        self.lag.settle(self.raft.commit());
        for mut waiter in self.waiting.release(self.raft.commit(), self.raft.confirmed_round()) {
            if let Some(receipt) = &mut waiter.reply.receipt {
                receipt.degraded = self.raft.rests_on_one_disk(receipt.position.max(waiter.depends));
            }
            self.answer(waiter.asker, waiter.reply, out)?;
        }
        Ok(())
    }

    pub fn answer(&mut self, asker: Asker, reply: Reply, out: &mut Outbox) -> Stepped {
        match asker {
            Asker::Here(ticket) => self.answer_here(ticket, false, reply),
            Asker::HereInSession(ticket) => self.answer_here(ticket, true, reply),
            Asker::Nobody => {}
            Asker::There { node, seq, .. } if node == self.config.id => self.relayed(seq, reply),
            Asker::There { node, boot, seq, .. } => {
                self.send_forward(node, &ForwardMessage::reply(boot, seq, reply), out);
            }
        }
        Ok(())
    }

    fn body(&self, index: Index) -> &Bytes {
        &self.raft.log().get(index).expect("the log reaches beyond what is applied").payload
    }

    /// The entry after the last one that the state has taken in.
    fn decode(&self, index: Index) -> Result<Entry, HaltReason> {
        let entry = Entry::decode(self.body(index)).map_err(|error| match error {
            EntryError::UnknownEffect { kind } => HaltReason::UnknownEffect { kind, index: index.0 },
            other => HaltReason::Corrupt(format!("entry {index} of the log can't be decoded: {other:?}")),
        })?;
        let before = self.state.time();
        if entry.time < before {
            let text = format!(
                "entry {index} of the log has the time {}, and the one before it {before}",
                entry.time
            );
            return Err(HaltReason::Corrupt(text));
        }
        self.check_entry_known(&entry, index)?;
        Ok(entry)
    }

    /// What this node says about itself.
    fn current_info(&self) -> NodeInfo {
        NodeInfo {
            node: self.config.id,
            role: self.raft.role(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            commit: self.raft.commit(),
            cluster: Some(self.founding().cluster),
            cluster_name: self.config.cluster_name.clone(),
            members: self.raft.membership().nodes().len(),
            boot: self.peers.boot().number,
            uptime_ms: self.now.mono.since(self.started).0 / 1000,
            connections: self.connections,
            waiting: self.waiting_requests(),
            parked: self.parked.len(),
            watches: self.watches.len(),
            history: self.history.start(),
            pending_bytes: self.tail_bytes,
            lag: self.lag.size(self.now.mono),
            supports: self.config.features.supported(),
            behind: self.behind_in_level(),
            clocks: self.clock.is_some().then(|| self.clocks.seen().clone()),
            time_off_ms: self.clock.as_ref().and_then(ClusterClock::off),
            witness: self.witness_info(),
            ..NodeInfo::default()
        }
    }
}

/// Why the entry of a command is logged.
fn cause_of(effects: &[Effect]) -> Cause {
    if effects.is_empty() {
        Cause::Clock
    } else if effects.iter().any(Effect::concerns_members) {
        Cause::Members
    } else {
        Cause::Command
    }
}
