//! One member at work: Raft, the log on disk, the replicated state, and the answers that wait.
//!
//! This file holds what these share and the order in which one step goes through them. `leader.rs` evaluates,
//! `durable.rs` keeps back what must not leave before a sync, `root.rs` creates the first administrator. Nothing here
//! knows a connection: tasks come in with a [`Ticket`], answers go out with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;

use super::addresses::AddressBook;
use super::clocks::Clocks;
use super::durable::Held;
use super::forward::{Forwarder, Ticket};
use super::inbound::Inbound;
use super::levels::Levels;
use super::parked::Parked;
use super::peers::{Kind, PeerBook};
use super::repair::Repair;
use super::root::RootSetup;
use super::scrub::Scrub;
use super::snapshots::Snapshots;
use super::transfers::Transfers;
use super::waiting::Waiting;
use super::waits::Unsure;
use super::watches::Watches;
use crate::clock::ClusterClock;
use crate::command::info::NodeInfo;
use crate::config::NodeConfig;
use crate::durability::lag::Lag;
use crate::error::{ErrorCode, Failure};
use crate::hard::{self, HardStore};
use crate::inspect::Inspection;
use crate::io::{DiskError, DiskReply, HaltReason, Outbox, Output, Owner, Token};
use crate::limits::Limits;
use crate::protocol::peer::PeerHeader;
use crate::raft::{Message, Raft, RaftEvent};
use crate::reply::Reply;
use crate::snapshot::transfer::SnapshotMessage;
use crate::state::State;
use crate::state::effect::{Entry, Founding};
use crate::time::{Micros, Stamp};
use crate::trace::{Event, Probe};
use crate::types::{Index, NodeId, WriteSeq};
use crate::wal::Wal;
use crate::watch::history::History;

/// What a step of a replica may end in.
pub(super) type Stepped = Result<(), HaltReason>;

/// A member whose data directory is recovered and whose cluster is founded.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub config: NodeConfig,
    pub now: Stamp,
    pub peers: PeerBook,
    pub addresses: AddressBook,
    pub transfers: Transfers,
    pub levels: Levels,
    pub hard: HardStore,
    pub raft: Raft,
    pub wal: Wal,
    pub snapshots: Snapshots,
    /// While the log is damaged.
    pub repair: Option<Repair>,
    pub scrub: Scrub,
    /// Since when the disk is full.
    pub full: Option<Micros>,
    pub state: State,
    /// The entries of `state`'s pending layer, decoded, from the one after the committed index on, each with the time
    /// since when it waits.
    pub tail: VecDeque<(Micros, Entry)>,
    /// Bytes of their bodies.
    pub tail_bytes: usize,
    /// Runs while this node leads.
    pub clock: Option<ClusterClock>,
    pub clocks: Clocks,
    pub waiting: Waiting,
    pub forwarder: Forwarder,
    pub inbound: Inbound,
    pub parked: Parked,
    pub watches: Watches,
    /// What was answered in this term and is not committed.
    pub lag: Lag,
    /// The node was asked to stop: nothing more is answered ahead.
    pub stopping: bool,
    pub history: History,
    /// Requests whose answer may be that they wait, and that nobody waits for any more.
    pub gone: BTreeSet<Ticket>,
    /// Waits that nobody listens to, each with the time at which their end was asked for.
    pub forgets: BTreeMap<Index, Micros>,
    /// Waits that may have begun when the term was lost.
    pub unsure: Vec<Unsure>,
    /// When to look again for waits in sessions that have ended.
    pub orphans_at: Micros,
    /// Since when no leader is known.
    pub leaderless: Option<Micros>,
    /// Which index each log write carries, until it is durable, and when it was issued.
    pub writes: VecDeque<(WriteSeq, Index, Micros)>,
    /// Frames that wait for a sync.
    pub held: Vec<Held>,
    /// Answers for this node's connections.
    pub answers: Vec<(Ticket, Reply)>,
    pub root: RootSetup,
    /// The newest entry that an answer had depended on when its term was lost.
    pub observed: Index,
    /// What was traced last, so that only changes are.
    pub traced: Option<(crate::inspect::RoleName, crate::types::Term, Option<NodeId>)>,
    pub rng: ChaCha8Rng,
    /// When this boot began to work.
    pub started: Micros,
    /// When the next regular tick is, should anything wait for that.
    pub tick_at: Micros,
    /// How many clients are connected, for INFO.
    pub connections: usize,
    /// What INFO shows, made when it is asked for.
    pub info: NodeInfo,
}

impl Replica {
    /// A member that has just recovered.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        config: NodeConfig,
        now: Stamp,
        (peers, addresses): (PeerBook, AddressBook),
        mut hard: HardStore,
        raft: Raft,
        wal: Wal,
        snapshots: Snapshots,
        state: State,
        rng: ChaCha8Rng,
    ) -> Self {
        hard.be_patient();
        let Limits { history_positions, history_bytes, .. } = config.limits;
        let history = History::new(state.committed(), history_positions, history_bytes);
        let repair = raft.is_repairing().then(|| Repair::new(now.mono));
        let clocks = Clocks::new(&config.timing);
        let repeat_after = Micros(config.timing.heartbeat.0.saturating_mul(4));
        Self {
            config,
            now,
            peers,
            addresses,
            transfers: Transfers::default(),
            levels: Levels::default(),
            hard,
            raft,
            wal,
            repair,
            scrub: Scrub::new(now.mono),
            full: None,
            snapshots,
            state,
            tail: VecDeque::new(),
            tail_bytes: 0,
            clock: None,
            clocks,
            waiting: Waiting::default(),
            forwarder: Forwarder::new(repeat_after),
            inbound: Inbound::default(),
            parked: Parked::default(),
            watches: Watches::default(),
            lag: Lag::default(),
            stopping: false,
            history,
            gone: BTreeSet::new(),
            forgets: BTreeMap::new(),
            unsure: Vec::new(),
            orphans_at: Micros(0),
            leaderless: None,
            writes: VecDeque::new(),
            held: Vec::new(),
            answers: Vec::new(),
            root: RootSetup::default(),
            observed: Index(0),
            traced: None,
            rng,
            started: now.mono,
            tick_at: now.mono,
            connections: 0,
            info: NodeInfo::default(),
        }
    }

    /// A disk operation has ended.
    pub fn disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
        out: &mut Outbox,
    ) -> Stepped {
        match token.owner {
            Owner::Hard => self.hard.disk_done(token, result)?,
            Owner::Wal => self.wal.disk_done(token, result)?,
            Owner::Snapshot => return self.snapshot_disk_done(token, result, out),
            Owner::Scrub => self.scrub_done(result, out),
            Owner::Credentials => self.root_disk_done(token, result, out)?,
            Owner::Recovery | Owner::Password => {
                unreachable!("a replica recovers nothing and reads no password")
            }
        }
        self.settle(out)
    }

    /// The set that founded the cluster.
    pub fn founding(&self) -> &Founding {
        match &self.hard.get().phase {
            hard::Phase::Founded(set) => set,
            _ => unreachable!("a replica's cluster is founded"),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, out: &mut Outbox) -> Stepped {
        self.tick_at = self.now.mono.after(self.config.timing.heartbeat);
        self.raft.tick(self.now.mono);
        self.hard.retry();
        self.repair_tick(out);
        self.hand_over_if_stuck(out);
        self.settle(out)?;
        self.transfer_tick(out)?;
        self.raise_level(out);
        self.expire_due()?;
        self.end_orphans();
        self.forget_waits(out)?;
        self.leave_waiting();
        self.root_begin(out);
        // Without a leader for two of the longest election time-outs, what was handed to nobody is refused.
        let patience = Micros(self.config.timing.election.0.saturating_mul(4));
        for ticket in self.forwarder.give_up_unsent(Micros(self.now.mono.0.saturating_sub(patience.0))) {
            let why = self.witness_info().why.map_or(String::new(), |why| format!(". {why}"));
            let text = format!(
                "no leader could be given the command in time, and nothing was changed: try again, or another node{why}"
            );
            self.answers.push((ticket, Reply::refused(Failure::new(ErrorCode::NoLeader, text))));
        }
        Ok(())
    }

    /// A leader whose disk has stood still for two of the longest election time-outs hands over: what it takes in can
    /// only be committed without it, and its memory is what would have to hold it. So does one whose disk is full: another
    /// one may have space.
    fn hand_over_if_stuck(&mut self, out: &mut Outbox) {
        let patience = Micros(self.config.timing.election.0.saturating_mul(4));
        let stuck = self.writes.front().map(|(_, _, since)| *since);
        let Some(since) = stuck.into_iter().chain(self.full).min() else { return };
        if self.raft.is_leader() && !self.raft.is_alone() && self.now.mono >= since.after(patience) {
            self.raft.hand_over(self.now.mono);
            if !self.raft.is_leader() {
                notice(
                    out,
                    "this node's disk stands still or is full: it has handed over its leadership".into(),
                );
                probe(out, Probe::HandedOver);
            }
        }
    }

    /// A frame of a member that is to be handled.
    pub fn peer(&mut self, header: &PeerHeader, body: Bytes, out: &mut Outbox) -> Stepped {
        match Kind::from_number(header.kind) {
            Some(Kind::Raft) => match Message::decode(&body) {
                Ok(message) => {
                    self.raft.receive(self.now.mono, header.from, header.incarnation, message);
                    self.settle(out)
                }
                Err(error) => {
                    notice(out, format!("node {} sent no Raft message: {error:?}", header.from));
                    Ok(())
                }
            },
            Some(Kind::Forward) => match postcard::from_bytes(&body) {
                Ok(message) => self.forwarded(header, message, out),
                Err(error) => {
                    notice(out, format!("node {} sent no forwarded command: {error}", header.from));
                    Ok(())
                }
            },
            Some(Kind::Snapshot) => match SnapshotMessage::decode(&body) {
                Some(message) => {
                    self.snapshot_message(header, message, out)?;
                    self.settle(out)
                }
                None => {
                    notice(out, format!("node {} sent no snapshot message", header.from));
                    Ok(())
                }
            },
            Some(Kind::Repair) => match postcard::from_bytes(&body) {
                Ok(message) => {
                    self.repair_message(header, message, out)?;
                    self.settle(out)
                }
                Err(error) => {
                    notice(out, format!("node {} sent no message about lost entries: {error}", header.from));
                    Ok(())
                }
            },
            Some(Kind::Clock) => {
                match postcard::from_bytes(&body) {
                    Ok(message) => self.clock_message(header, message, out),
                    Err(error) => {
                        notice(out, format!("node {} sent no message about clocks: {error}", header.from));
                    }
                }
                Ok(())
            }
            Some(Kind::Founding | Kind::Quarantine | Kind::Whereabouts | Kind::Level) | None => Ok(()),
        }
    }

    /// Acts on what Raft and the disk have brought about: until nothing more follows from it.
    pub fn settle(&mut self, out: &mut Outbox) -> Stepped {
        self.repair_settle(out);
        loop {
            for event in self.raft.take_events() {
                self.raft_event(event, out)?;
            }
            self.apply_committed(out)?;
            self.issue_writes();
            self.trace_role(out);
            if !self.collect_durable() {
                break;
            }
        }
        self.release_answers(out)
    }

    /// The end of a step: what gathered goes out.
    pub fn finish(&mut self, out: &mut Outbox) -> Stepped {
        self.raft.flush(self.now.mono);
        self.settle(out)?;
        self.forward_commands(out);
        self.hold_messages();
        self.wal.pump(self.now.mono, out);
        if self.wal.is_full() != self.full.is_some() {
            self.full = self.wal.is_full().then_some(self.now.mono);
            self.tell_fullness(out);
        }
        self.hard.pump(out);
        self.pump_snapshots(out);
        self.scrub_tick(out);
        // Not with a tick: a node that hears a leader all the time is not woken for one.
        self.look_for_members(out);
        self.say_level(out);
        self.look_at_clocks(out);
        self.send_held(out);
        Ok(())
    }

    fn tell_fullness(&self, out: &mut Outbox) {
        if self.full.is_some() {
            probe(out, Probe::WaitedForSpace);
            let text =
                "the disk is full: what would make the database larger is refused until there is space";
            notice(out, text.into());
        } else {
            notice(out, "there is space on the disk again".into());
        }
    }

    fn raft_event(&mut self, event: RaftEvent, out: &mut Outbox) -> Stepped {
        match event {
            RaftEvent::BecameLeader => self.begin_term(out),
            RaftEvent::LostLeadership => {
                self.end_term();
                Ok(())
            }
            RaftEvent::Truncated(from) => {
                self.writes.retain(|(_, index, _)| *index < from);
                out.push(Output::Trace(Event::Truncated { from }));
                if self.wal.sync_in_flight() {
                    probe(out, Probe::TruncationUnderSync);
                }
                if from <= self.observed {
                    probe(out, Probe::ObservedThenLost);
                    self.observed = Index(0);
                }
                Ok(())
            }
            RaftEvent::CheckQuorumFailed => {
                probe(out, Probe::CheckQuorumStepDown);
                Ok(())
            }
            RaftEvent::Abstained => {
                probe(out, Probe::DoubtfulVoteWithheld);
                Ok(())
            }
            RaftEvent::Members => {
                out.push(Output::Trace(Event::Members(self.raft.membership().to_string())));
                self.tell_addresses(out);
                if self.raft.is_leader() && self.raft.membership().is_joint() {
                    probe(out, Probe::ChangeBegun);
                }
                Ok(())
            }
            RaftEvent::MembersUndone => {
                probe(out, Probe::ChangeUndone);
                Ok(())
            }
            RaftEvent::ChangeAgreed => {
                self.end_change(out);
                Ok(())
            }
            RaftEvent::Left => {
                probe(out, Probe::RemovedLeaderLeft);
                Ok(())
            }
            RaftEvent::Gone => {
                probe(out, Probe::RemovedNodeTold);
                let text = "this node was removed from the cluster, and serves nobody any more: stop it, or add it again";
                notice(out, text.into());
                Ok(())
            }
            RaftEvent::TransferGivenUp => self.transfer_given_up(out),
            RaftEvent::Witness { degraded } => {
                self.say_degraded(degraded, out);
                Ok(())
            }
            RaftEvent::RefusedAsOlder(node, end) => {
                self.refused_as_older(node, end, out);
                Ok(())
            }
            RaftEvent::TooOldToLead(witness, end) => {
                self.too_old_to_lead(witness, end, out);
                Ok(())
            }
        }
    }

    fn trace_role(&mut self, out: &mut Outbox) {
        let now = (self.raft.role(), self.raft.term(), self.raft.leader());
        if self.traced != Some(now) {
            self.traced = Some(now);
            out.push(Output::Trace(Event::Role { role: now.0, term: now.1, leader: now.2 }));
        }
    }

    /// When the replica wants to be woken.
    pub fn wake_at(&self) -> Micros {
        let due = self.due_at();
        // Without a leader there is nobody to repeat anything to, and the wish would stay in the past for ever.
        let follows = self.raft.leader().is_some() && !self.raft.is_leader();
        let repeat = self.forwarder.wake_at().filter(|_| follows);
        let disk = [self.wal.wake_at(), self.snapshots_wake_at(), self.scrub_wake_at()];
        let times = disk.into_iter().chain([repeat, due, self.repair_wake_at(), self.watches.wake_at()]);
        // Not counted from now: a node that hears its leader all the time would never be woken.
        let needs_tick = !self.forwarder.is_empty()
            || !self.forgets.is_empty()
            || self.parked.len() > 0
            || self.watches.len() > 0
            || self.hard.waits_for_space()
            || self.owes_news_of_a_transfer();
        times.flatten().chain(needs_tick.then_some(self.tick_at)).fold(self.raft.wake_at(), Micros::min)
    }

    /// How many requests wait for an answer. What a leader took over from its time as a follower waits for its own
    /// entries like all else, and is counted once.
    pub fn waiting_requests(&self) -> usize {
        if self.raft.is_leader() { self.waiting.len() } else { self.waiting.len() + self.forwarder.len() }
    }

    /// The figures of this node.
    pub fn inspect(&self) -> Inspection {
        Inspection {
            role: self.raft.role(),
            incarnation: self.peers.incarnation(),
            term: self.raft.term(),
            vote: self.raft.vote(),
            doubtful: self.raft.is_doubtful(),
            leader: self.raft.leader(),
            commit: self.state.committed(),
            start: self.raft.log().start().index,
            snapshot: self.snapshots.current.map(|meta| meta.seal.at.index),
            last: self.raft.log().last(),
            durable: self.raft.durable(),
            state_digest: self.state.digest(),
            waiting: self.waiting_requests(),
            waiting_bytes: self.forwarder.bytes(),
            pending_bytes: self.tail_bytes,
            connections: 0,
        }
    }
}

/// Tells the operator something.
pub(super) fn notice(out: &mut Outbox, text: String) {
    out.push(Output::Trace(Event::Notice(text)));
}

/// A rare state was reached.
pub(super) fn probe(out: &mut Outbox, probe: Probe) {
    out.push(Output::Trace(Event::Probe(probe)));
}
