//! The node: routes every input to the part of the database that handles it. Read this file first.
//!
//! ```text
//!  client bytes ──► connections.rs ──► tasks ──► replica.rs ──► leader.rs: evaluate, append ──► raft/ ──► peers
//!                     │  requests.rs, login.rs      │              │                             │
//!                     │                             │              └► state/ (pending)           └► durable.rs ──► wal/, hard/
//!                     │                             └► forward.rs: to the leader                          │
//!  client bytes ◄── answers ◄── waiting.rs: once committed, and the term confirmed ◄──────────────────────┘ synced
//! ```
//!
//! A node starts in `startup.rs` (read the hard state, found the cluster, read the log) and then is a replica. This
//! file decides nothing but the way of an input, what follows what within a step, and when to be woken.

mod addresses;
mod budgets;
mod clocks;
mod connections;
mod durable;
pub mod forward;
mod inbound;
mod leader;
mod levels;
mod login;
mod parked;
mod peers;
mod reading;
mod refusals;
mod repair;
mod replica;
mod requests;
mod root;
mod routing;
mod scrub;
mod short;
mod snapshots;
mod startup;
mod streams;
#[cfg(test)]
mod tests;
mod transfers;
mod waiting;
mod waits;
mod watches;
mod witness;

use bytes::Bytes;

use crate::config::{CLOCK_DISAGREEMENT, NodeConfig};
use crate::error::{ErrorCode, Failure};
use crate::founding::FoundingMessage;
use crate::hard::HardState;
use crate::inspect::{Inspection, RoleName};
use crate::io::{HaltReason, Input, Lane, Outbox, Output, Owner};
use crate::job::JobResult;
use crate::membership::{MAX_MEMBERS, MAX_VOTERS, Membership};
use crate::protocol::peer::{self, PeerHeader};
use crate::reply::Reply;
use crate::state::State;
use crate::time::{Micros, Stamp};
use crate::types::{BootNumber, Incarnation, Index, NodeId, Term, listed};
use addresses::Whereabouts;
use connections::Connections;
use levels::Supports;
use peers::{Boot, Check, Kind, Quarantine, Stranger};
use replica::{Replica, Stepped, notice};
use startup::{Startup, send_founding};
use streams::Streams;

/// How long a node that was asked to stop waits for the mark of its newest entries.
const LAST_MARK: Micros = Micros::from_millis(200);

/// And for a majority to hold what it answered ahead of that.
const LAST_LAG: Micros = Micros::from_millis(crate::durability::LAG_MS_MAX);

/// One member of a cluster: everything it decides, and nothing that it does.
#[derive(Clone, Debug)]
pub struct Node {
    config: NodeConfig,
    connections: Connections,
    phase: Phase,
    /// Since when only the log's last mark is waited for.
    stopping_since: Option<Micros>,
    /// What the state is before there is a replica.
    nothing: State,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Not stepped yet.
    New(Box<Streams>),
    Starting(Box<Startup>),
    Running(Box<Replica>),
    /// Halted: whatever comes is ignored.
    Halted,
}

impl Node {
    /// A node that has just been started on its data directory. All its randomness comes from `seed`, which
    /// a driver draws anew for every start. It begins to work with the first `Tick`.
    ///
    /// # Panics
    /// If the configuration contradicts itself: one to seven founders, or up to sixteen members to join, this node among them, each once.
    #[must_use]
    pub fn new(config: NodeConfig, seed: [u8; 32]) -> Self {
        let ids: std::collections::BTreeSet<NodeId> = config.members.iter().map(|member| member.id).collect();
        assert!(ids.contains(&config.id), "a node is one of its cluster's members");
        assert!(ids.len() == config.members.len(), "each member is named once");
        let most = if config.join { MAX_MEMBERS } else { MAX_VOTERS };
        assert!(ids.len() <= most, "a cluster has at most {most} members: {}", ids.len());
        assert!(config.snapshot.block_bytes.is_multiple_of(512), "a block is made of whole sectors");
        assert!(
            CLOCK_DISAGREEMENT.contains(&config.timing.clock_disagreement),
            "wall clocks disagree beyond {CLOCK_DISAGREEMENT:?}, and not beyond {}",
            config.timing.clock_disagreement
        );
        assert!(config.cluster_name.len() <= 64, "a cluster's name has at most 64 bytes");
        let streams = Streams::new(seed);
        let connections = Connections::new(config.clone(), streams.passwords.clone());
        Self {
            config,
            connections,
            phase: Phase::New(Box::new(streams)),
            stopping_since: None,
            nothing: State::default(),
        }
    }

    /// Handles one input completely. `now` must not be less than at the step before. After a
    /// [`Output::Halt`] the node ignores every input.
    pub fn step(&mut self, now: Stamp, input: Input, out: &mut Outbox) {
        if matches!(self.phase, Phase::Halted) {
            return;
        }
        if let Err(reason) = self.try_step(now, input, out) {
            self.phase = Phase::Halted;
            out.push(Output::Halt(reason));
        }
    }

    fn try_step(&mut self, now: Stamp, input: Input, out: &mut Outbox) -> Stepped {
        if let Input::Drained { conn, bytes } = input {
            // Nothing follows from it, and it comes with most requests.
            self.connections.drained(conn, bytes);
            return Ok(());
        }
        if let Phase::New(streams) = &self.phase {
            let startup = Startup::new(self.config.clone(), (**streams).clone(), out);
            self.phase = Phase::Starting(Box::new(startup));
        }
        if let Phase::Running(replica) = &mut self.phase {
            replica.now = now;
        }
        self.route(now, input, out)?;
        self.settle(now, out)?;
        if let Some(wake_at) = self.wake_at() {
            out.push(Output::WakeAt(wake_at));
        }
        Ok(())
    }

    /// Hands an input to its part.
    fn route(&mut self, now: Stamp, input: Input, out: &mut Outbox) -> Stepped {
        match input {
            Input::Tick => {
                self.connections.tick(now.mono, out);
                match &mut self.phase {
                    Phase::Starting(startup) => startup.tick(now, out)?,
                    Phase::Running(replica) => replica.tick(out)?,
                    Phase::New(_) | Phase::Halted => {}
                }
            }
            Input::Connected { conn, loopback } => self.connections.connected(now.mono, conn, loopback, out),
            Input::Bytes { conn, waited, data } => {
                self.connections.bytes(now.mono, conn, waited, &data, out);
            }
            Input::Drained { .. } => unreachable!("nothing follows from it"),
            Input::Disconnected { conn } => self.connections.disconnected(conn, out),
            Input::Peer { frame } => self.peer(now, &frame, out)?,
            Input::DiskDone { token, result } => match &mut self.phase {
                Phase::Starting(startup) => {
                    if let Some(replica) = startup.disk_done(now, token, result, out)? {
                        self.phase = Phase::Running(Box::new(replica));
                    }
                }
                Phase::Running(replica) => replica.disk_done(token, result, out)?,
                Phase::New(_) | Phase::Halted => {}
            },
            Input::Computed { token, result } => match (token.owner, &mut self.phase, result) {
                (Owner::Snapshot, Phase::Running(replica), JobResult::Snapshot(encoded)) => {
                    replica.snapshot_encoded(token, encoded, out)?;
                }
                (Owner::Credentials, Phase::Running(replica), JobResult::Password(result)) => {
                    replica.root_computed(token, result, out);
                }
                (Owner::Password, _, JobResult::Password(result)) => {
                    self.connections.computed(now.mono, token, result, out);
                }
                _ => {}
            },
            Input::Shutdown => self.connections.stopping = true,
        }
        Ok(())
    }

    /// Carries tasks to the replica and answers back, until nothing follows any more.
    fn settle(&mut self, now: Stamp, out: &mut Outbox) -> Stepped {
        loop {
            for (ticket, why) in self.connections.take_abandoned() {
                let may_wait = self.connections.may_wait(ticket);
                let touched = match &mut self.phase {
                    Phase::Running(replica) => replica.abandon(ticket, may_wait),
                    _ => false,
                };
                self.connections.given_up(now.mono, ticket, why, touched, out);
            }
            while let Some((ticket, task)) = self.connections.tasks.pop_front() {
                match &mut self.phase {
                    Phase::Running(replica) => match replica.answer_of_witness(&task) {
                        Some(reply) => self.connections.answered(now.mono, ticket, reply, out),
                        None => replica.submit(ticket, task, out)?,
                    },
                    _ => {
                        let reply = Reply::refused(self.not_ready());
                        self.connections.answered(now.mono, ticket, reply, out);
                    }
                }
            }
            let Phase::Running(replica) = &mut self.phase else { break };
            if self.connections.stopping {
                // In a session it can be asked for at another node; else it ends with its time.
                replica.stopping = true;
                replica.lose_track(|_| false);
                replica.give_up_watches();
            }
            replica.connections = self.connections.table.len();
            replica.finish(out)?;
            let leader = replica.raft.leader();
            if self.connections.leader != leader || self.connections.leader_address.is_none() {
                (self.connections.leader, self.connections.leader_address) =
                    (leader, replica.leader_address());
            }
            self.connections.cluster = replica.founding().cluster;
            for (ticket, reply) in replica.take_answers(out) {
                self.connections.answered(now.mono, ticket, reply, out);
            }
            if self.connections.is_quiet() {
                break;
            }
        }
        if self.connections.stopping && self.connections.is_idle() && self.is_durable(now.mono) {
            return Err(HaltReason::Stopped);
        }
        Ok(())
    }

    /// Whether all that was answered is durable, and the log's newest entries have their mark, so that rot in them will not look
    /// like a torn write. A member that keeps hearing from a leader does not wait for that for ever, and a leader whom no
    /// majority hears not for what it answered ahead.
    fn is_durable(&mut self, now: Micros) -> bool {
        let Phase::Running(replica) = &self.phase else { return true };
        let since = *self.stopping_since.get_or_insert(now);
        let is_behind = replica.lag.size(now).entries > 0 && now < since.after(LAST_LAG);
        !is_behind && (replica.wal.is_marked() || now >= since.after(LAST_MARK))
    }

    fn not_ready(&self) -> Failure {
        let text = match &self.phase {
            Phase::Starting(startup) if startup.is_founding() && self.config.join => {
                let own = self.config.members.iter().find(|member| member.id == self.config.id);
                let address = own.map_or("", |member| &member.address);
                format!(
                    "this node is to join a cluster, which does not know it yet: at one of its nodes, \
                     CLUSTER ADD {} {address}",
                    self.config.id
                )
            }
            Phase::Starting(startup) if startup.is_founding() => format!(
                "the cluster is not founded yet: every configured node must be there once, and these were not heard of: {}",
                listed(&startup.missing())
            ),
            _ => "this node is still reading its data directory: try again".into(),
        };
        Failure::new(ErrorCode::NoLeader, text)
    }

    /// A frame from another node: is it to be believed, and by whom?
    fn peer(&mut self, now: Stamp, frame: &Bytes, out: &mut Outbox) -> Stepped {
        let (header, body) = match peer::decode(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                notice(out, format!("a peer frame was dropped: {error}"));
                return Ok(());
            }
        };
        match &mut self.phase {
            Phase::Starting(startup) => startup.peer(now, &header, &body, out),
            Phase::Running(replica) => replica.frame(&header, body, out),
            Phase::New(_) | Phase::Halted => Ok(()),
        }
    }

    fn wake_at(&self) -> Option<Micros> {
        let own = match &self.phase {
            Phase::Starting(startup) => startup.wake_at(),
            Phase::Running(replica) => Some(replica.wake_at()),
            Phase::New(_) | Phase::Halted => None,
        };
        own.into_iter().chain(self.connections.wake_at()).min()
    }

    /// What a test, the simulator and `status` may see.
    #[must_use]
    pub fn inspect(&self) -> Inspection {
        let connections = self.connections.table.len();
        match &self.phase {
            Phase::Running(replica) => Inspection { connections, ..replica.inspect() },
            Phase::Starting(startup) if startup.is_founding() => {
                Inspection { connections, ..nowhere(RoleName::Founding) }
            }
            _ => Inspection { connections, ..nowhere(RoleName::Recovering) },
        }
    }

    /// A log entry's term and encoded body, if the index is in the log.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<(Term, &Bytes)> {
        let Phase::Running(replica) = &self.phase else { return None };
        replica.raft.log().get(index).map(|entry| (entry.term, &entry.payload))
    }

    /// The members, by the newest entry of this node's log that says so; none before it is at work.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        let Phase::Running(replica) = &self.phase else { return None };
        Some(replica.raft.membership())
    }

    /// The replicated state.
    #[must_use]
    pub fn state(&self) -> &State {
        match &self.phase {
            Phase::Running(replica) => &replica.state,
            _ => &self.nothing,
        }
    }
}

impl Replica {
    /// Checks a frame's envelope and handles it.
    fn frame(&mut self, header: &PeerHeader, body: Bytes, out: &mut Outbox) -> Stepped {
        let votes = |voter| {
            let committed = || self.state.membership().is_some_and(|members| members.is_voter(voter));
            self.raft.membership().is_voter(voter) || committed()
        };
        match self.peers.check(header, votes) {
            Check::Foreign => Ok(()),
            Check::Stranger(stranger) => {
                self.meet(header, stranger, out);
                Ok(())
            }
            Check::Quarantined(known) => {
                let body = postcard::to_stdvec(&known).expect("plain numbers always encode");
                let to = header.from;
                out.push(Output::SendPeer {
                    to,
                    lane: Lane::Control,
                    frame: peer::encode(&self.peers.header(to, Kind::Quarantine), &body),
                });
                Ok(())
            }
            Check::Accepted => match Kind::from_number(header.kind) {
                Some(Kind::Founding) => {
                    // An answer is never answered: two nodes that are founded would talk for ever.
                    let asks =
                        !matches!(postcard::from_bytes(&body), Ok(FoundingMessage::Founded(_)) | Err(_));
                    self.tell_whereabouts(header.from, out);
                    if asks {
                        let message = FoundingMessage::Founded(self.founding().clone());
                        send_founding(&self.peers, header.from, &message, out);
                    }
                    Ok(())
                }
                Some(Kind::Quarantine) => {
                    if let Ok(known) = postcard::from_bytes::<Quarantine>(&body) {
                        self.quarantined(&known, out);
                    }
                    Ok(())
                }
                Some(Kind::Level) => {
                    if let Ok(supports) = postcard::from_bytes::<Supports>(&body) {
                        self.hear_level(header, supports);
                    }
                    Ok(())
                }
                Some(Kind::Whereabouts) => {
                    if let Ok(told) = postcard::from_bytes::<Whereabouts>(&body) {
                        self.hear_whereabouts(told, out);
                    }
                    Ok(())
                }
                _ => self.peer(header, body, out),
            },
        }
    }

    /// A directory of another cluster speaks, as one does that was left over when its cluster was recovered without it. It is
    /// not listened to, and both operators are to read why.
    fn meet(&mut self, header: &PeerHeader, stranger: Stranger, out: &mut Outbox) {
        let Stranger { cluster, ours, first } = stranger;
        if first {
            let (from, directory) = (header.from, header.incarnation);
            let text = format!(
                "node {from} (directory {directory}) belongs to another cluster, {cluster}, and this node to {ours}: it is not \
                 listened to. If one of the two was recovered from a lost majority, the other one's directory is of no use any \
                 more: stop that node, wipe it, and start it with --join"
            );
            notice(out, text);
        }
        // That message is of another cluster for the stranger as well, and is never answered.
        if Kind::from_number(header.kind) == Some(Kind::Raft) {
            send_founding(&self.peers, header.from, &FoundingMessage::Founded(self.founding().clone()), out);
        }
    }

    /// Another node has seen a boot of this directory that this one does not know: the directory is an old image. It
    /// goes on in a boot above that one, and in doubt of every term and vote.
    fn quarantined(&mut self, known: &Quarantine, out: &mut Outbox) {
        if !self.peers.is_old_image(known) {
            return;
        }
        notice(
            out,
            format!(
                "this data directory is older than boot {}, which other nodes have seen: it has forgotten promises, and \
                 neither votes nor leads until a leader elected without it has brought it up to date",
                known.boot
            ),
        );
        let nonce = rand_core::Rng::next_u64(&mut self.rng);
        let boot = Boot { number: BootNumber(known.boot.0.saturating_add(1)), nonce };
        self.peers.reboot(boot);
        self.raft.doubt(self.now.mono);
        // What waits for a sync was promised by a memory that is not to be trusted.
        self.held.clear();
        drop(self.raft.take_outgoing());
        // Under the new boot's number a leader would not know them again.
        for ticket in self.forwarder.restart() {
            let text = "this node began a new boot before the command was answered: it may take effect or not; ask again \
                        under the same session and sequence";
            self.answers.push((ticket, Reply::refused(Failure::new(ErrorCode::LeaderLost, text))));
        }
        let state =
            HardState { boot: boot.number, boot_nonce: nonce, in_doubt: true, ..self.hard.get().clone() };
        self.hard.set(state);
    }
}

/// The figures of a node that is not a member at work.
fn nowhere(role: RoleName) -> Inspection {
    Inspection {
        role,
        incarnation: Incarnation(0),
        term: Term(0),
        vote: None,
        doubtful: false,
        leader: None,
        commit: Index(0),
        last: Index(0),
        start: Index(0),
        snapshot: None,
        durable: Index(0),
        state_digest: State::default().digest(),
        waiting: 0,
        pending_bytes: 0,
        waiting_bytes: 0,
        connections: 0,
    }
}
