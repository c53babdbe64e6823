//! One node of the bounded search: the real `Raft`, a disk, and what waits for a sync.
//!
//! It drives `Raft` as `node/replica.rs` and `node/durable.rs` of the core do. Time stands still in it: the search says
//! when a time-out is over. What only the judges know of a node (what it has said, what it once held) is a part of it,
//! because two nodes that differ in that are not equal.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use steadfast_core::config::Timing;
use steadfast_core::limits::Limits;
use steadfast_core::membership::{Change, Membership};
use steadfast_core::raft::{Log, LogEntry, Message, Needs, Outgoing, Raft, RaftEvent, Round, Start};
use steadfast_core::time::Micros;
use steadfast_core::types::{EntryId, Incarnation, Index, NodeId, Term};

use super::disk::{Disk, Hard};

/// When everything happens.
const NOW: Micros = Micros::from_millis(3_600_000);

/// A message on its way, with its sender's data directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// From whom.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The sender's data directory.
    pub incarnation: Incarnation,
    /// What.
    pub message: Message,
}

/// What happens to one node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message comes.
    Deliver(Packet),
    /// Its time-out is over: it asks for an election, or, as a leader, finds that nobody was heard.
    TimeOut,
    /// A leader's heartbeats are due.
    Heartbeat,
    /// The power fails, and it starts again.
    Crash,
    /// Its disk is replaced by an empty one, and it starts again.
    Wipe,
    /// A client writes here. The number tells the writes of a path apart.
    Write(u8),
    /// A client reads here.
    Read(u8),
    /// An operator takes this step here.
    Change(Change),
    /// From now on its disk syncs nothing by itself.
    Stall,
    /// A sync of the term record ends.
    SyncTerm,
    /// A sync of the oldest so many log writes ends.
    SyncLog(usize),
    /// A snapshot of what it has committed is durable, and takes the place of its log.
    Compact,
    /// Its leader begins to send its snapshot of these entries.
    Coming(Vec<LogEntry>),
    /// That is whole and durable here.
    Install,
}

/// How a node may break its word: for the search's own tests, which must find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Broken {
    /// It does not.
    #[default]
    No,
    /// Messages leave before what they say is durable.
    SaysBeforeSync,
    /// A start begins with no vote.
    ForgetsVote,
    /// What is issued is called durable.
    CountsUnsynced,
}

/// What all nodes have in common.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Who founded the cluster.
    pub founders: Membership,
    /// How the nodes break their word.
    pub broken: Broken,
}

/// A message that waits for writes, counted as the disk counts them.
#[derive(Clone, Debug, Hash)]
struct Held {
    packet: Packet,
    term: Term,
    hard: usize,
    log: usize,
}

/// A read that waits for its round, and for all that was in the log when it came.
#[derive(Clone, Copy, Debug, Hash)]
struct Read {
    number: u8,
    round: Round,
    depends: Index,
}

/// What has left a node in a step.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Messages, in order.
    pub sent: Vec<Packet>,
    /// Reads, by their numbers, and up to where their answers show what is committed.
    pub answered: Vec<(u8, Index)>,
}

/// One node.
#[derive(Clone, Debug, Hash)]
pub struct Host {
    /// Its data directory.
    pub incarnation: Incarnation,
    /// The core.
    pub raft: Raft,
    /// What it holds durably.
    pub disk: Disk,
    /// Whether the disk syncs only when the search says so.
    pub stalled: bool,
    /// What was on the disk that was replaced.
    pub lost: Vec<LogEntry>,
    /// The highest term in which this data directory has spoken.
    pub spoken: Term,
    /// Whom it was heard to vote for.
    pub votes: BTreeMap<Term, NodeId>,
    /// The entries of the snapshot that its leader sends; none if it sends none.
    pub coming: Vec<LogEntry>,
    held: Vec<Held>,
    reads: Vec<Read>,
    id: NodeId,
}

impl Host {
    /// A node with an empty disk.
    #[must_use]
    pub fn found(id: NodeId, setting: &Setting) -> Self {
        let incarnation = Incarnation(u64::from(id.0));
        let disk = Disk::default();
        let mut raft = start(id, incarnation, setting, &disk);
        raft.rest(NOW);
        Self {
            incarnation,
            raft,
            disk,
            stalled: false,
            lost: Vec::new(),
            spoken: Term(0),
            votes: BTreeMap::new(),
            coming: Vec::new(),
            held: Vec::new(),
            reads: Vec::new(),
            id,
        }
    }

    /// One thing happens, and all that follows from it at this node; then it is at rest again.
    pub fn step(&mut self, input: Input, setting: &Setting) -> Done {
        let mut done = Done::default();
        self.take(input, setting);
        self.finish(setting.broken, &mut done);
        while !self.stalled && self.disk.pending() != (0, 0) {
            self.disk.sync_hard();
            self.disk.sync_log(usize::MAX);
            self.finish(setting.broken, &mut done);
        }
        self.raft.rest(NOW);
        let (hard, log) = self.disk.done();
        for held in &mut self.held {
            held.hard = held.hard.saturating_sub(hard);
            held.log = held.log.saturating_sub(log);
        }
        self.disk.settle();
        done
    }

    fn take(&mut self, input: Input, setting: &Setting) {
        // Later than any time-out that begins now.
        let late = NOW.after(Micros::from_millis(60_000));
        let raft = &mut self.raft;
        match input {
            Input::Deliver(packet) => raft.receive(NOW, packet.from, packet.incarnation, packet.message),
            Input::TimeOut => raft.tick(late),
            Input::Heartbeat => raft.tick(raft.wake_at()),
            Input::Crash => self.restart(setting),
            Input::Wipe => {
                self.lost = self.disk.log().to_vec();
                self.disk = Disk::default();
                self.incarnation = Incarnation(self.incarnation.0 + 100);
                (self.spoken, self.votes) = (Term(0), BTreeMap::new());
                self.restart(setting);
            }
            Input::Write(number) => drop(raft.propose(NOW, Bytes::copy_from_slice(&[b'w', number]))),
            Input::Read(number) => {
                let (round, depends) = (raft.join_round(), raft.log().last());
                self.reads.push(Read { number, round, depends });
            }
            Input::Change(change) => {
                if raft.may_change().is_ok()
                    && let Ok(next) = raft.membership().change(change)
                    && next != *raft.membership()
                {
                    raft.propose(NOW, encode(&next));
                }
            }
            Input::Stall => self.stalled = true,
            Input::SyncTerm => self.disk.sync_hard(),
            Input::SyncLog(count) => self.disk.sync_log(count),
            Input::Compact => {
                let at = raft.commit();
                let entries = self.log()[..at.0 as usize].to_vec();
                self.raft.compact(at);
                self.disk.cover(&entries);
            }
            Input::Coming(entries) => self.coming = entries,
            Input::Install => self.install(setting),
        }
    }

    /// As `node/snapshots/receiving.rs`.
    fn install(&mut self, setting: &Setting) {
        let entries = std::mem::take(&mut self.coming);
        let last = entries.last().expect("a snapshot covers something");
        let at = EntryId { index: Index(entries.len() as u64), term: last.term };
        if self.raft.is_leader() {
            return;
        }
        self.disk.cover(&entries);
        if self.raft.commit() < at.index {
            if !self.raft.installed(at, newest(&entries, &setting.founders)) {
                self.held.clear();
                self.disk.begin_anew();
            }
            self.raft.announce();
        }
        self.raft.compact(at.index);
    }

    /// The snapshot that this leader would send a node, if that needs one, follows it and has not committed as much.
    #[must_use]
    pub fn snapshot_for(&self, other: &Self) -> Option<&[LogEntry]> {
        let (covered, at) = self.disk.snapshot();
        let leads = other.raft.leader() == Some(self.id) && other.raft.term() == self.raft.term();
        let wanted = || self.raft.wanting_snapshot(NOW).contains(&other.id);
        (leads && other.raft.commit() < at.index && covered != other.coming && wanted()).then_some(covered)
    }

    /// What is not durable is gone, and what only memory knew.
    fn restart(&mut self, setting: &Setting) {
        self.disk.crash();
        self.held.clear();
        self.reads.clear();
        self.coming.clear();
        self.stalled = false;
        self.raft = start(self.id, self.incarnation, setting, &self.disk);
    }

    /// The end of a step, as `Replica::finish`.
    fn finish(&mut self, broken: Broken, done: &mut Done) {
        self.settle(broken);
        self.raft.flush(NOW);
        self.settle(broken);
        for Outgoing { to, message, needs, .. } in self.raft.take_outgoing() {
            let log = if needs == Needs::Log { self.disk.log_issued() } else { 0 };
            let packet = Packet { from: self.id, to, incarnation: self.incarnation, message };
            self.held.push(Held { packet, term: self.raft.term(), hard: self.disk.hard_issued(), log });
        }
        let ((hard, log), term) = (self.disk.done(), self.raft.term());
        for held in std::mem::take(&mut self.held) {
            if held.term < term {
                // Said in a term that is over.
            } else if (held.hard > hard || held.log > log) && broken != Broken::SaysBeforeSync {
                self.held.push(held);
            } else {
                done.sent.push(held.packet);
            }
        }
        let (commit, confirmed) = (self.raft.commit(), self.raft.confirmed_round());
        let ready =
            |read: &Read| confirmed.is_some_and(|round| round >= read.round) && commit >= read.depends;
        let answered = self.reads.extract_if(.., |read| ready(read)).map(|read| (read.number, commit));
        done.answered.extend(answered);
    }

    /// Events, writes, and what has become durable, as `Replica::settle`.
    fn settle(&mut self, broken: Broken) {
        loop {
            for event in self.raft.take_events() {
                match event {
                    RaftEvent::BecameLeader => {
                        self.raft.propose(NOW, Bytes::from_static(b"-"));
                    }
                    RaftEvent::LostLeadership => self.reads.clear(),
                    RaftEvent::Truncated(from) => self.disk.forget_from(from),
                    RaftEvent::ChangeAgreed if self.raft.membership().is_joint() => {
                        let settled = encode(&self.raft.membership().settled());
                        self.raft.propose(NOW, settled);
                    }
                    _ => {}
                }
            }
            self.disk.write_hard(Hard { term: self.raft.term(), vote: self.raft.vote() });
            for (index, entry) in self.raft.log_mut().take_unwritten() {
                self.disk.write_log(index, entry.clone());
            }
            let leads = self.raft.is_leader();
            let newest = self.disk.collect();
            if broken == Broken::CountsUnsynced && self.raft.durable() < self.raft.log().last() {
                self.raft.log_durable(NOW, self.raft.log().last());
            }
            if let Some(index) = newest {
                self.raft.log_durable(NOW, index);
            }
            if let Some(Hard { term, vote }) = self.disk.settled_hard().cloned() {
                self.raft.vote_durable(NOW, term, vote);
            }
            if newest.is_none() && leads == self.raft.is_leader() {
                break;
            }
        }
    }

    /// The log in memory, with what a snapshot stands for.
    #[must_use]
    pub fn log(&self) -> Vec<LogEntry> {
        let start = self.raft.log().start().index;
        let behind = (start.next().0..=self.raft.log().last().0).map(Index);
        let behind = behind.filter_map(|index| self.raft.log().get(index).cloned());
        self.disk.log()[..start.0 as usize].iter().cloned().chain(behind).collect()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }
}

/// A node begins with what its disk holds.
fn start(id: NodeId, incarnation: Incarnation, setting: &Setting, disk: &Disk) -> Raft {
    let forgets = setting.broken == Broken::ForgetsVote;
    let (covered, behind) = disk.snapshot();
    let start = Start {
        id,
        incarnation,
        membership: newest(covered, &setting.founders),
        read_membership: decode,
        withhold: Bytes::clone,
        doubtful: false,
        term: disk.hard().term,
        vote: disk.hard().vote.filter(|_| !forgets),
        log: Log::recovered(behind, disk.log()[covered.len()..].to_vec()),
        damaged: None,
        had_others: false,
        promised_until: Micros(0),
    };
    // One entry in a message, so that fewer steps are enough for what needs a message of one.
    let limits = Limits { append_entries: 1, ..Limits::default() };
    Raft::new(start, Timing::default(), limits, ChaCha8Rng::seed_from_u64(0), NOW)
}

/// The entry that brings a membership.
#[must_use]
pub fn encode(membership: &Membership) -> Bytes {
    let mut bytes = vec![b'm'];
    bytes.extend(postcard::to_stdvec(membership).expect("plain numbers always encode"));
    bytes.into()
}

/// The newest membership in a log. Read from the log anew each time, and not as Raft keeps it.
#[must_use]
pub fn newest(log: &[LogEntry], founders: &Membership) -> Membership {
    log.iter().rev().find_map(|entry| decode(&entry.payload)).unwrap_or_else(|| founders.clone())
}

/// The membership that an entry brings.
#[must_use]
pub fn decode(payload: &Bytes) -> Option<Membership> {
    postcard::from_bytes(payload.strip_prefix(b"m")?).ok()
}
