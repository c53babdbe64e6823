//! One node of a script's cluster: a `Raft`, its disk, its clock, and what waits for a sync.
//!
//! It drives `Raft` exactly as `node/replica.rs` and `node/durable.rs` do, so that a script shows what a node does. It
//! prints what changed, one line per change.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::disk::{Disk, Hard, Image};
use super::{members, show};
use crate::config::Timing;
use crate::inspect::RoleName;
use crate::limits::Limits;
use crate::membership::Membership;
use crate::raft::{Log, LogEntry, Message, Needs, Outgoing, Raft, RaftEvent, Role, Round, Start};
use crate::time::Micros;
use crate::types::{EntryId, Incarnation, Index, NodeId, Term};

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    pub from: NodeId,
    pub to: NodeId,
    /// The sender's data directory and boot, as the envelope of a peer frame names them.
    pub incarnation: Incarnation,
    pub boot: u64,
    pub message: Message,
}

/// A message that waits for writes.
#[derive(Clone, Debug)]
pub struct Held {
    pub packet: Packet,
    pub needs: Needs,
    term: Term,
    hard: u64,
    log: u64,
}

/// A read that waits for its round, and for everything that was in the log when it arrived.
#[derive(Clone, Debug)]
pub struct Read {
    pub name: String,
    pub round: Round,
    pub depends: Index,
    /// What was committed anywhere when it arrived: its answer must show that.
    pub must_see: Index,
}

/// What a step has done, for the network and the checker.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub lines: Vec<String>,
    pub sent: Vec<Packet>,
    pub answered: Vec<(Read, Index)>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Host {
    pub id: NodeId,
    pub incarnation: Incarnation,
    pub boot: u64,
    pub now: Micros,
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// Whether everything is synced at once.
    pub autosync: bool,
    pub held: Vec<Held>,
    pub reads: Vec<Read>,
    /// Whether the disk still holds everything that it ever held durably.
    pub intact: bool,
    /// What was on the disk when it was not intact any more.
    pub lost: Vec<LogEntry>,
    founders: Membership,
    /// Bounds, and time-outs.
    setting: Setting,
    seed: u64,
    done: Done,
}

/// What the operator has decided.
pub type Setting = (Limits, Timing);

impl Host {
    /// A node with an empty disk, not started: one of the founders, or one that came later.
    pub fn new(id: NodeId, founders: Membership, setting: Setting, seed: u64) -> Self {
        let founded = founders.voters().iter().find(|(node, _)| *node == id);
        let incarnation = founded.map_or(Incarnation(u64::from(id.0)), |(_, incarnation)| *incarnation);
        Self {
            id,
            incarnation,
            boot: 0,
            now: Micros(0),
            raft: None,
            disk: Disk::default(),
            autosync: true,
            held: Vec::new(),
            reads: Vec::new(),
            intact: true,
            lost: Vec::new(),
            founders,
            setting,
            seed,
            done: Done::default(),
        }
    }

    /// Recovers from what is durable.
    pub fn start(&mut self) -> Done {
        self.boot += 1;
        let image = self.disk.durable();
        let (hard, (covered, behind)) = (image.hard.clone(), image.start());
        let membership = members::newest(covered).unwrap_or_else(|| self.founders.clone());
        let log = Log::recovered(behind, image.log[image.covered..].to_vec());
        let promised = self.setting.1.clock_bound_ppm.filter(|_| self.boot > 1);
        let promised = promised.map(|_| self.now.after(self.setting.1.election));
        let start = Start {
            id: self.id,
            incarnation: self.incarnation,
            membership,
            read_membership: members::read,
            withhold: members::withhold,
            doubtful: hard.doubtful,
            term: hard.term,
            vote: hard.vote,
            log,
            damaged: None,
            had_others: false,
            // Without leases nothing was promised, and the scripts need not wait for it.
            promised_until: promised.unwrap_or(Micros(0)),
        };
        let (limits, timing) = self.setting.clone();
        let rng = ChaCha8Rng::seed_from_u64((self.seed << 24) + (u64::from(self.id.0) << 16) + self.boot);
        self.raft = Some(Raft::new(start, timing, limits, rng, self.now));
        self.step(|_, _| {})
    }

    /// A snapshot of what is committed up to here is durable, and takes the place of the log.
    pub fn compact(&mut self, to: Index) -> Done {
        let entries = self.log()[..to.0 as usize].to_vec();
        self.step_of(|host| {
            host.running().compact(to);
            host.disk.cover(&entries);
        })
    }

    /// Another node's snapshot of these entries is whole and durable, as in `node/snapshots/receiving.rs`.
    pub fn install(&mut self, entries: &[LogEntry]) -> Done {
        let last = entries.last().expect("a snapshot covers something");
        let at = EntryId { index: Index(entries.len() as u64), term: last.term };
        let membership = members::newest(entries).unwrap_or_else(|| self.founders.clone());
        self.step_of(|host| {
            if host.raft().is_leader() {
                return host.line(format!("leads, and needs no snapshot up to {}@{}", at.index, at.term));
            }
            host.disk.cover(entries);
            if host.raft().commit() >= at.index {
                host.line(format!("has committed what the snapshot up to {}@{} has", at.index, at.term));
                return host.running().compact(at.index);
            }
            let stays = host.running().installed(at, membership);
            if !stays {
                host.held.clear();
                host.disk.begin_anew();
            }
            let rest = if stays { ", and what follows stays" } else { "" };
            host.line(format!("takes the snapshot up to {}@{}{rest}", at.index, at.term));
            host.running().compact(at.index);
            host.running().announce();
        })
    }

    /// Power fails: only what was synced stays.
    pub fn crash(&mut self) {
        self.raft = None;
        self.disk.crash();
        self.held.clear();
        self.reads.clear();
    }

    /// The disk of this node, which is down, now holds this.
    pub fn lose_disk(&mut self, image: Image) {
        self.lost.clone_from(&self.disk.durable().log);
        self.disk = Disk::holding(image);
    }

    /// The running node.
    pub fn raft(&self) -> &Raft {
        self.raft.as_ref().unwrap_or_else(|| panic!("node {} is down", self.id))
    }

    /// One step: something happens to Raft, then everything that follows from it, and, with `autosync`, from
    /// the syncs as well.
    pub fn step(&mut self, action: impl FnOnce(&mut Raft, Micros)) -> Done {
        self.step_of(|host| {
            let now = host.now;
            action(host.running(), now);
        })
    }

    fn step_of(&mut self, action: impl FnOnce(&mut Self)) -> Done {
        let before = self.raft.as_ref().map(Seen::of);
        action(self);
        self.finish();
        while self.autosync && !self.disk.is_quiet() {
            self.disk.sync_hard();
            self.disk.sync_log(usize::MAX);
            self.finish();
        }
        self.tell(before);
        std::mem::take(&mut self.done)
    }

    /// The end of a step, as `Replica::finish`.
    fn finish(&mut self) {
        self.settle();
        let now = self.now;
        self.running().flush(now);
        self.settle();
        for Outgoing { to, message, needs, .. } in self.running().take_outgoing() {
            let log = if needs == Needs::Log { self.disk.log_issued() } else { 0 };
            let (term, hard) = (self.raft().term(), self.disk.hard_issued());
            let packet =
                Packet { from: self.id, to, incarnation: self.incarnation, boot: self.boot, message };
            self.held.push(Held { packet, needs, term, hard, log });
        }
        let (hard, log, term) = (self.disk.hard_done(), self.disk.log_done(), self.raft().term());
        for held in std::mem::take(&mut self.held) {
            if held.hard > hard || held.log > log {
                self.held.push(held);
            } else if held.term == term {
                self.done.sent.push(held.packet);
            }
        }
        self.answer_reads();
    }

    /// Events, writes, and what has become durable, as `Replica::settle`.
    fn settle(&mut self) {
        loop {
            for event in self.running().take_events() {
                match event {
                    RaftEvent::BecameLeader => {
                        let now = self.now;
                        let start = self.running().propose(now, bytes::Bytes::from_static(b"-"));
                        assert_eq!(Some(start), self.raft().term_start(), "a term starts with its own entry");
                    }
                    RaftEvent::LostLeadership => {
                        for read in std::mem::take(&mut self.reads) {
                            self.line(format!("read {} gets no answer", read.name));
                        }
                    }
                    RaftEvent::Truncated(from) => {
                        self.disk.forget_from(from);
                        self.line(format!("cuts its log from {from} on"));
                    }
                    RaftEvent::CheckQuorumFailed => self.line("hears no quorum".into()),
                    RaftEvent::Abstained => self.line("abstains".into()),
                    RaftEvent::Members => {
                        let name = members::write(self.raft().membership());
                        self.line(format!("has {}", String::from_utf8_lossy(&name)));
                    }
                    RaftEvent::ChangeAgreed if self.raft().membership().is_joint() => {
                        let settled = members::write(&self.raft().membership().settled());
                        let now = self.now;
                        self.running().propose(now, settled);
                    }
                    RaftEvent::Gone => self.line("is told that it was removed".into()),
                    RaftEvent::TransferGivenUp => self.line("gives up its transfer".into()),
                    RaftEvent::Witness { degraded } => {
                        let next = self.raft().membership().with_degraded(degraded);
                        let now = self.now;
                        self.running().propose(now, members::write(&next));
                    }
                    RaftEvent::RefusedAsOlder(node, end) => {
                        self.line(format!(
                            "would not elect {node}, whose log ends at {}@{}",
                            end.index, end.term
                        ));
                    }
                    RaftEvent::TooOldToLead(witness, end) => {
                        self.line(format!("is older than witness {witness}, at {}@{}", end.index, end.term));
                    }
                    RaftEvent::ChangeAgreed | RaftEvent::MembersUndone | RaftEvent::Left => {}
                }
            }
            self.issue_writes();
            let leads = self.raft().is_leader();
            let newest = self.disk.collect();
            if let Some(index) = newest {
                let now = self.now;
                self.running().log_durable(now, index);
            }
            if let Some(Hard { term, vote, .. }) = self.disk.settled_hard().cloned() {
                let now = self.now;
                self.running().vote_durable(now, term, vote);
            }
            if newest.is_none() && leads == self.raft().is_leader() {
                break;
            }
        }
    }

    fn issue_writes(&mut self) {
        let raft = self.raft.as_mut().expect("a node that runs");
        self.disk.write_hard(Hard { term: raft.term(), vote: raft.vote(), doubtful: raft.is_doubtful() });
        let mut written = Vec::new();
        for (index, entry) in raft.log_mut().take_unwritten() {
            self.disk.write_log(index, entry.clone());
            written.push(show::entry(index, entry));
        }
        if !written.is_empty() {
            self.line(format!("appends {}", written.join(" ")));
        }
    }

    fn answer_reads(&mut self) {
        let (commit, confirmed) = (self.raft().commit(), self.raft().confirmed_round());
        let ready =
            |read: &Read| confirmed.is_some_and(|round| round >= read.round) && commit >= read.depends;
        let (answered, waiting) = std::mem::take(&mut self.reads).into_iter().partition(ready);
        self.reads = waiting;
        self.done.answered.extend(Vec::<Read>::from_iter(answered).into_iter().map(|read| (read, commit)));
    }

    /// Prints what is different from before the step.
    fn tell(&mut self, before: Option<Seen>) {
        let now = Seen::of(self.raft());
        let before = before.unwrap_or_default();
        if before.standing != now.standing {
            // First the role, since the rest follows from it.
            self.done.lines.insert(0, show::line(self.id, &show::standing(self.raft())));
        }
        if !self.autosync && before.durable != now.durable {
            self.line(format!("durable {}", now.durable));
        }
        if before.commit != now.commit {
            self.line(format!("commit {}", now.commit));
        }
        if before.doubtful && !now.doubtful {
            self.line("trusts itself again".into());
        }
        for (read, at) in &self.done.answered {
            self.done.lines.push(show::line(self.id, &format!("read {} answered at {at}", read.name)));
        }
    }

    fn line(&mut self, text: String) {
        self.done.lines.push(show::line(self.id, &text));
    }

    pub fn running(&mut self) -> &mut Raft {
        self.raft.as_mut().unwrap_or_else(|| panic!("node {} is down", self.id))
    }

    /// When this follower's election time-out ends.
    pub fn election_at(&self) -> Micros {
        assert!(!self.raft().is_leader(), "a leader has no election time-out");
        self.raft().election_at
    }

    /// When this leader's next heartbeat is due.
    pub fn heartbeat_at(&self) -> Micros {
        let Role::Leader(leader) = &self.raft().role else { panic!("only a leader has heartbeats") };
        leader.heartbeat_at
    }

    /// The log in memory, with what a snapshot stands for; or what is on disk while the node is down.
    pub fn log(&self) -> Vec<LogEntry> {
        let disk = &self.disk.durable().log;
        let Some(raft) = &self.raft else { return disk.clone() };
        let start = raft.log().start().index;
        let behind = start.next().0..=raft.log().last().0;
        let behind = behind.map(|index| raft.log().get(Index(index)).expect("in the log").clone());
        disk[..start.0 as usize].iter().cloned().chain(behind).collect()
    }
}

/// What is told when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    standing: Option<(RoleName, Term, Option<NodeId>, Option<NodeId>)>,
    durable: Index,
    commit: Index,
    doubtful: bool,
}

impl Seen {
    fn of(raft: &Raft) -> Self {
        Self {
            standing: Some((raft.role(), raft.term(), raft.vote(), raft.leader())),
            durable: raft.durable(),
            commit: raft.commit(),
            doubtful: raft.is_doubtful(),
        }
    }
}
