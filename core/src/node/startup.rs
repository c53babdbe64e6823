//! From a data directory to a member at work: read the hard state, begin a new boot, found the cluster or learn that
//! it exists, recover the log.
//!
//! Each stage ends with something durable before the next begins; a crash anywhere starts again from the top. This
//! file issues the same disk operations as every other part, so a start can be crashed like everything else.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::addresses::{AddressBook, greet};
use super::peers::{Boot, Check, Kind, PeerBook, Quarantine};
use super::reading::Reading;
use super::replica::{Replica, Stepped, notice};
use super::snapshots::{Found, Snapshots};
use super::streams::Streams;
use crate::config::NodeConfig;
use crate::founding::{Founders, FoundingMessage, FoundingRun, Step};
use crate::hard::{self, HardRecovered, HardRecovery, HardRecoveryStep, HardState, HardStore};
use crate::io::{DiskError, DiskReply, HaltReason, Lane, Outbox, Output, Owner, Token};
use crate::membership::Membership;
use crate::protocol::peer::{self, PeerHeader};
use crate::raft::{Log, LogEntry, Raft, Start};
use crate::snapshot::{Damaged, SnapshotRecovered, SnapshotRecovery};
use crate::state::effect::Entry;
use crate::time::{Micros, Stamp};
use crate::trace::{Event, Part, Probe};
use crate::types::{BootNumber, EntryId, Incarnation, Index, NodeId, Term, listed};
use crate::wal::{Identity, Recovered, Recovery, RecoveryStep, Setup};

/// A node that is not a member at work yet.
#[derive(Clone, Debug)]
pub(super) struct Startup {
    config: NodeConfig,
    streams: Streams,
    stage: Stage,
    reading: Reading,
    addresses: AddressBook,
    /// What all founders support, if the cluster was founded in this boot.
    founders_level: Option<u32>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Reads the hard state.
    Hard(Box<HardRecovery>),
    /// Waits until the new boot is durable, and then until the cluster is founded.
    Founding(Box<Founding>),
    /// Reads the newest snapshot.
    Snapshot { hard: Box<HardStore>, peers: Box<PeerBook>, recovery: Box<SnapshotRecovery> },
    /// Reads the log behind it.
    Log {
        hard: Box<HardStore>,
        peers: Box<PeerBook>,
        snapshot: Box<SnapshotRecovered>,
        recovery: Box<Recovery>,
    },
    /// Over: the node has become a replica.
    Over,
}

/// So many election time-outs a node that joins listens only to those that it was told of.
const JOIN_PATIENCE: u64 = 10;

/// A boot that has begun, until the cluster is known.
#[derive(Clone, Debug)]
struct Founding {
    hard: HardStore,
    peers: PeerBook,
    run: FoundingRun,
    /// When the others are told again.
    tell_at: Micros,
    /// From then on a node that joins believes nodes that it was not told of.
    believes_others_at: Micros,
    /// The hard state's last change is durable and acted on.
    settled: bool,
}

impl Startup {
    /// Nothing was read yet.
    pub fn new(config: NodeConfig, streams: Streams, out: &mut Outbox) -> Self {
        let mut recovery = HardRecovery::new(config.id, &config.cluster_name);
        recovery.start(out);
        let (stage, reading) = (Stage::Hard(Box::new(recovery)), Reading::new(Part::Snapshot));
        let mut addresses = AddressBook::new(config.id, &config.members);
        addresses.tell(&BTreeMap::new(), &BTreeSet::new(), out);
        Self { config, streams, stage, reading, addresses, founders_level: None }
    }

    /// Whether the cluster's founding is what the node waits for.
    pub fn is_founding(&self) -> bool {
        match &self.stage {
            Stage::Founding(founding) => !matches!(founding.hard.get().phase, hard::Phase::Founded(_)),
            _ => false,
        }
    }

    /// A disk operation has ended. Returns the replica once everything is read.
    pub fn disk_done(
        &mut self,
        now: Stamp,
        token: Token,
        result: Result<DiskReply, DiskError>,
        out: &mut Outbox,
    ) -> Result<Option<Replica>, HaltReason> {
        match (&mut self.stage, token.owner) {
            (Stage::Hard(recovery), Owner::Hard) => {
                if let HardRecoveryStep::Done(recovered) = recovery.disk_done(token, result, out)? {
                    self.begin_boot(now, *recovered, out)?;
                }
            }
            (Stage::Founding(founding), Owner::Hard) => {
                founding.hard.disk_done(token, result)?;
                founding.hard.pump(out);
                self.go_on(now, out)?;
            }
            (Stage::Log { hard, .. } | Stage::Snapshot { hard, .. }, Owner::Hard) => {
                hard.disk_done(token, result)?;
                hard.pump(out);
            }
            (Stage::Snapshot { recovery, .. }, Owner::Snapshot) => {
                self.reading.note(&result, out);
                if let Some(recovered) = recovery.disk_done(token, result, out)? {
                    self.read_log(recovered, out);
                }
            }
            (Stage::Log { recovery, snapshot, .. }, Owner::Recovery) => {
                self.reading.note(&result, out);
                let step = recovery.disk_done(token, result, out);
                let step = step.map_err(|reason| with_damage(reason, &snapshot.damage))?;
                if let RecoveryStep::Done(recovered) = step {
                    return self.recovered(now, *recovered, out).map(Some);
                }
            }
            _ => unreachable!("an operation was reported that this start did not issue"),
        }
        Ok(None)
    }

    /// Time has passed: tell the others again.
    pub fn tick(&mut self, now: Stamp, out: &mut Outbox) -> Stepped {
        let heartbeat = self.config.timing.heartbeat;
        let Stage::Founding(founding) = &mut self.stage else { return Ok(()) };
        if founding.settled && now.mono >= founding.tell_at {
            founding.tell_at = now.mono.after(heartbeat);
            greet(&founding.peers, other_members(&self.config), &founding.run.message(), out);
        }
        Ok(())
    }

    /// When [`Startup::tick`] has something to do.
    pub fn wake_at(&self) -> Option<Micros> {
        match &self.stage {
            Stage::Founding(founding) if founding.settled => Some(founding.tell_at),
            _ => None,
        }
    }

    /// Another node's frame.
    pub fn peer(&mut self, now: Stamp, header: &PeerHeader, body: &Bytes, out: &mut Outbox) -> Stepped {
        let Stage::Founding(founding) = &mut self.stage else { return Ok(()) };
        // Who joins may know nobody who is left, and believes then whoever tells it; those that it was told of come first, as a node
        // of an older cluster of the same name may turn up.
        let named = self.config.members.iter().any(|member| member.id == header.from);
        let ours = named || (self.config.join && now.mono >= founding.believes_others_at);
        if !ours || founding.peers.check(header, |_| true) != Check::Accepted {
            return Ok(());
        }
        match Kind::from_number(header.kind) {
            Some(Kind::Founding) => {}
            Some(Kind::Quarantine) => return self.quarantined(now, body, out),
            _ => return Ok(()),
        }
        let Ok(message) = postcard::from_bytes::<FoundingMessage>(body) else {
            notice(out, format!("node {} sent no founding message", header.from));
            return Ok(());
        };
        if !founding.settled {
            // Asked again soon; nothing may be concluded before the last conclusion is durable.
            return Ok(());
        }
        let step = founding.run.receive(header.from, message);
        if let Some(step) = step {
            self.conclude(step, out);
        }
        self.go_on(now, out)
    }

    /// Another node has seen a later boot of this directory: it is an image from before the founding, and what it has
    /// promised since is forgotten. It goes on in doubt, in a boot that is answered.
    fn quarantined(&mut self, now: Stamp, body: &Bytes, out: &mut Outbox) -> Stepped {
        let Stage::Founding(founding) = &mut self.stage else { return Ok(()) };
        let known: Option<Quarantine> = postcard::from_bytes(body).ok();
        let Some(known) = known.filter(|known| founding.peers.is_old_image(known)) else { return Ok(()) };
        notice(
            out,
            format!("this data directory is older than boot {}, which other nodes have seen", known.boot),
        );
        let nonce = self.streams.identity.next_u64();
        let boot = Boot { number: BootNumber(known.boot.0.saturating_add(1)), nonce };
        founding.peers.reboot(boot);
        let state = HardState {
            boot: boot.number,
            boot_nonce: boot.nonce,
            in_doubt: true,
            ..founding.hard.get().clone()
        };
        founding.hard.set(state);
        founding.hard.pump(out);
        founding.settled = false;
        self.go_on(now, out)
    }

    /// The members that were not heard of yet.
    pub fn missing(&self) -> Vec<NodeId> {
        match &self.stage {
            Stage::Founding(founding) => founding.run.missing(),
            _ => Vec::new(),
        }
    }

    /// The hard state is read: begin a new boot, under a new identity if the directory is empty.
    fn begin_boot(&mut self, now: Stamp, recovered: HardRecovered, out: &mut Outbox) -> Stepped {
        let HardRecovered { state, store: mut hard, unreadable } = recovered;
        unreadable.into_iter().for_each(|text| notice(out, text));
        let rng = &mut self.streams.identity;
        let mut state = state.unwrap_or_else(|| fresh(&self.config, rng));
        check_members(&self.config, &state)?;
        check_witness(&self.config, &state)?;
        state.boot = state.boot.next();
        state.boot_nonce = rng.next_u64();
        let boot = Boot { number: state.boot, nonce: state.boot_nonce };
        let peers = PeerBook::new(self.config.id, state.incarnation, boot, &state.peers);
        let members = self.config.members.iter().map(|member| member.id).collect();
        let members = if self.config.join { Founders::Unknown } else { Founders::Configured(members) };
        let promised = match &state.phase {
            hard::Phase::Prepared(set) => Some(set.clone()),
            hard::Phase::Fresh | hard::Phase::Founded(_) => None,
        };
        let name = self.config.cluster_name.clone();
        let run = {
            let level = self.config.features.supported();
            FoundingRun::new(self.config.id, state.incarnation, name, members, promised, level)
        };
        hard.set(state);
        hard.pump(out);
        let patience = Micros(self.config.timing.election.0.saturating_mul(JOIN_PATIENCE));
        let believes_others_at = now.mono.after(patience);
        let founding = Founding { hard, peers, run, tell_at: now.mono, believes_others_at, settled: false };
        self.stage = Stage::Founding(Box::new(founding));
        Ok(())
    }

    /// Persists what was concluded.
    fn conclude(&mut self, step: Step, out: &mut Outbox) {
        let Stage::Founding(founding) = &mut self.stage else { return };
        let phase = match step {
            Step::Prepare(set) => hard::Phase::Prepared(set),
            Step::Found(set) => {
                self.founders_level = founding.run.level();
                hard::Phase::Founded(set)
            }
            Step::Notice(text) => return notice(out, text),
        };
        let state = HardState { phase, ..founding.hard.get().clone() };
        founding.hard.set(state);
        founding.hard.pump(out);
        founding.settled = false;
    }

    /// Goes on once the last conclusion is durable.
    fn go_on(&mut self, now: Stamp, out: &mut Outbox) -> Stepped {
        let Stage::Founding(founding) = &mut self.stage else { return Ok(()) };
        if founding.hard.durable() < founding.hard.issued() {
            return Ok(());
        }
        if !founding.settled {
            founding.settled = true;
            founding.tell_at = now.mono;
            match founding.hard.get().phase.clone() {
                hard::Phase::Fresh => {}
                hard::Phase::Prepared(set) => founding.run.prepared(set),
                hard::Phase::Founded(_) => {
                    self.read_snapshot(out);
                    return Ok(());
                }
            }
        }
        if let Some(step) = founding.run.conclude() {
            // Alone there is nobody to promise anything to.
            let step = match step {
                Step::Prepare(set) if set.members.len() == 1 => Step::Found(set),
                step => step,
            };
            self.conclude(step, out);
        }
        self.tick(now, out)
    }

    /// The cluster is founded: read the newest snapshot.
    fn read_snapshot(&mut self, out: &mut Outbox) {
        let Stage::Founding(founding) = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("a snapshot is read after the founding")
        };
        let Founding { hard, mut peers, .. } = *founding;
        let state = hard.get();
        let hard::Phase::Founded(set) = &state.phase else { unreachable!("the founding is durable") };
        peers.founded(set.cluster);
        let mut recovery = SnapshotRecovery::new(set.cluster, state.hash_seed);
        recovery.start(out);
        let (hard, peers) = (Box::new(hard), Box::new(peers));
        self.stage = Stage::Snapshot { hard, peers, recovery: Box::new(recovery) };
    }

    /// The state at the newest snapshot is known: read the log behind it.
    fn read_log(&mut self, snapshot: SnapshotRecovered, out: &mut Outbox) {
        let Stage::Snapshot { hard, peers, .. } = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("the log is read after the snapshot")
        };
        for damage in &snapshot.damage {
            notice(out, damage.what.clone());
        }
        let state = hard.get();
        let hard::Phase::Founded(set) = &state.phase else { unreachable!("the founding is durable") };
        let setup = Setup {
            identity: Identity { cluster: set.cluster, node: self.config.id, incarnation: state.incarnation },
            boot: state.boot,
            nonce: state.boot_nonce,
            log: self.config.log.clone(),
            idle_mark: self.config.timing.idle_mark,
        };
        let covered = snapshot.meta.map_or_else(EntryId::default, |meta| meta.seal.at);
        self.reading = Reading::new(Part::Log);
        // Whoever else belongs to the cluster by what is durable here, or by the operator's word, has what this node may have lost.
        let alone = state.is_alone() && self.config.members.len() == 1;
        let mut recovery = Recovery::new(setup, state.log_segment, covered, !alone);
        recovery.start(out);
        let (snapshot, recovery) = (Box::new(snapshot), Box::new(recovery));
        self.stage = Stage::Log { hard, peers, snapshot, recovery };
    }

    /// The log is read and durable: Raft begins.
    fn recovered(
        &mut self,
        now: Stamp,
        recovered: Recovered,
        out: &mut Outbox,
    ) -> Result<Replica, HaltReason> {
        let Stage::Log { hard, peers, snapshot, .. } = std::mem::replace(&mut self.stage, Stage::Over) else {
            unreachable!("a log is recovered in its stage")
        };
        let Recovered { wal, entries, cut, damage } = recovered;
        let SnapshotRecovered { state: replicated, meta, unused, tokens, damage: spoilt } = *snapshot;
        let covered = meta.map_or_else(EntryId::default, |meta| meta.seal.at);
        let state = hard.get();
        let entries = entries.into_iter().map(|(_, term, payload)| LogEntry { term, payload }).collect();
        let (mut log, mut damaged, mut doubtful) = (Log::recovered(covered, entries), None, state.in_doubt);
        if let Some(damage) = damage {
            // Where so much is lost that it is not counted, the leader brings a snapshot, and until then this node has
            // forgotten what it confirmed.
            let too_much = damage.log.start.index > covered.index;
            log = if too_much { Log::recovered(covered, Vec::new()) } else { Log::salvaged(damage.log) };
            damaged = Some(covered.index);
            doubtful |= damage.doubtful || too_much;
            let lost = log.lost() as u64;
            out.push(Output::Trace(Event::Damaged { what: damage.text, lost }));
            out.push(Output::Trace(Event::Probe(Probe::LogDamaged)));
        }
        // What is in the log may not be committed; but only the others can say so, and have to be found first.
        let entries = (log.start().index.0 + 1..=log.last().0).filter_map(|index| log.get(Index(index)));
        self.addresses.seek(entries.flat_map(|entry| Entry::located(&entry.payload)));
        let last = log.last();
        out.push(Output::Trace(Event::Recovered { boot: state.boot, last, cut }));
        if cut > 0 {
            out.push(Output::Trace(Event::Probe(Probe::TornTailCut)));
        }
        let hard::Phase::Founded(set) = state.phase.clone() else { unreachable!("the founding is durable") };
        out.push(Output::Trace(Event::Founded { cluster: set.cluster }));
        // Everybody is to know this boot, whoever leads: then every one of them knows an older image for what it is.
        greet(&peers, other_members(&self.config), &FoundingMessage::Founded(set.clone()), out);
        let start = Start {
            id: self.config.id,
            incarnation: state.incarnation,
            // A snapshot has that of its index.
            membership: replicated.membership().unwrap_or_else(|| Membership::of(set.members)),
            read_membership: Entry::membership,
            withhold: Entry::withheld,
            doubtful,
            term: state.term,
            vote: state.vote,
            log,
            damaged,
            had_others: !state.is_alone(),
            promised_until: now.mono.after(self.config.timing.election),
        };
        let (timing, limits) = (self.config.timing.clone(), self.config.limits.clone());
        let raft = Raft::new(start, timing, limits, self.streams.raft.clone(), now.mono);
        let found = Found { tokens, current: meta, unused, damaged: spoilt };
        let snapshots = Snapshots::new(found);
        let rng = self.streams.root.clone();
        let peers = (*peers, self.addresses.clone());
        let mut replica =
            Replica::new(self.config.clone(), now, peers, *hard, raft, wal, snapshots, replicated, rng);
        replica.founders_support(self.founders_level);
        replica.check_level_known(replica.state.level(), replica.state.committed())?;
        replica.tell_addresses(out);
        Ok(replica)
    }
}

/// A log that can't be read without a snapshot that is damaged: both are to be told.
fn with_damage(reason: HaltReason, damage: &[Damaged]) -> HaltReason {
    match reason {
        HaltReason::Damaged(text) if !damage.is_empty() => {
            let places: Vec<&str> = damage.iter().map(|damaged| damaged.what.as_str()).collect();
            HaltReason::Damaged(format!("{}. {text}", places.join(". ")))
        }
        reason => reason,
    }
}

/// The hard state of an empty directory, before its first boot.
fn fresh(config: &NodeConfig, rng: &mut ChaCha8Rng) -> HardState {
    HardState {
        node: config.id,
        incarnation: if config.witness {
            Incarnation::of_witness(rng.next_u64())
        } else {
            Incarnation::of_data(rng.next_u64())
        },
        cluster_name: config.cluster_name.clone(),
        boot: BootNumber(0),
        boot_nonce: 0,
        hash_seed: (rng.next_u64(), rng.next_u64()),
        phase: hard::Phase::Fresh,
        in_doubt: false,
        term: Term(0),
        vote: None,
        log_segment: 0,
        peers: Vec::new(),
    }
}

/// Refuses a configuration with other members than this directory has promised to found a cluster with. Once that is founded, its log
/// says who belongs to it, and the configuration only has to name somebody: a node of several would find nobody else.
fn check_members(config: &NodeConfig, state: &HardState) -> Stepped {
    if let hard::Phase::Founded(set) = &state.phase
        && config.members.len() == 1
        && set.members != [(state.node, state.incarnation)]
    {
        let founders: Vec<NodeId> = set.members.iter().map(|(node, _)| *node).collect();
        return Err(HaltReason::WrongDirectory(format!(
            "it belongs to a cluster that was founded by the nodes {}, and this node is configured alone: name one or more of those that \
             belong to it by now with --peer, and this one with --id, or choose another data directory",
            listed(&founders)
        )));
    }
    if let hard::Phase::Prepared(set) = &state.phase {
        let mut configured: Vec<NodeId> = config.members.iter().map(|member| member.id).collect();
        configured.sort_unstable();
        let promised: Vec<NodeId> = set.members.iter().map(|(node, _)| *node).collect();
        if configured != promised || config.join {
            return Err(HaltReason::WrongDirectory(format!(
                "this directory is founding a cluster of the nodes {}, and this node is configured {} {}: name those again with --id \
                 and --peer until it is founded, or choose another data directory",
                listed(&promised),
                if config.join { "to join one by" } else { "with" },
                listed(&configured)
            )));
        }
    }
    Ok(())
}

/// A witness's directory has no data for anybody, and one with data would be lost to its cluster as a witness's.
fn check_witness(config: &NodeConfig, state: &HardState) -> Stepped {
    let text = match (state.incarnation.is_witness(), config.witness) {
        (true, false) => {
            "it is a witness's, and holds no data: start this node with --witness, or choose another data directory"
        }
        (false, true) => {
            "it is not a witness's, and may hold data: start this node without --witness, or choose an empty data directory"
        }
        _ => return Ok(()),
    };
    Err(HaltReason::WrongDirectory(text.into()))
}

/// The nodes that this one was started with.
fn other_members(config: &NodeConfig) -> impl Iterator<Item = NodeId> + use<'_> {
    config.members.iter().map(|member| member.id).filter(|member| *member != config.id)
}

/// Tells one node about the founding.
pub(super) fn send_founding(peers: &PeerBook, to: NodeId, message: &FoundingMessage, out: &mut Outbox) {
    let body = postcard::to_stdvec(message).expect("a founding message is plain data");
    let frame = peer::encode(&peers.header(to, Kind::Founding), &body);
    out.push(Output::SendPeer { to, lane: Lane::Control, frame });
}
