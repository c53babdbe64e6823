//! Starts a fresh node on an image, alone, and says whether it still knows everything that its ledger holds.
//!
//! Running an image and judging what was found are apart: an image is met in many moments, is run once, and is held
//! against the promises of each. A crash image is never damage; nothing here excuses a node that refuses one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::founding::FoundingMessage;
use steadfast_core::inspect::{Inspection, RoleName};
use steadfast_core::io::{FileName, Input, Outbox, Output};
use steadfast_core::protocol::peer;
use steadfast_core::state::State;
use steadfast_core::state::effect::Entry;
use steadfast_core::time::{Micros, Millis, Stamp};
use steadfast_core::trace::Event;
use steadfast_core::types::{BootNumber, Incarnation, Index, NodeId, Term};

use super::image::{Image, hash};
use super::ledger::{Ledger, Stood, Told};
use super::machine::config;
use super::recording::Recording;
use crate::clock::EPOCH_MS;
use crate::glue;
use crate::rng::Stream;
use crate::schedule::ROOT_PASSWORD;

/// More inputs than any restart needs.
const STORM: usize = 20_000;

/// More timers than a node that is alone needs until it leads.
const TIMERS: usize = 64;

/// What a restart found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Why it did not come to work: it halted, it panicked, or it never got there.
    pub died: Option<String>,
    /// Its term, as it was read.
    pub term: Term,
    /// Its vote in that term.
    pub vote: Option<NodeId>,
    /// Its new boot.
    pub boot: BootNumber,
    /// Its directory, as it tells the others; a node that is alone tells nobody.
    pub incarnation: Option<Incarnation>,
    /// How far the founding has come, by what it tells.
    pub founding: Told,
    /// Whether it doubts its own memory.
    pub doubtful: bool,
    /// The index of the snapshot that it read; zero without one.
    pub start: Index,
    /// Up to where the state went that it began with: the snapshot's end, or alone its log's.
    pub applied: Index,
    /// That state's digest.
    pub digest: u64,
    /// The log that it read, from behind the snapshot on.
    pub log: Arc<Vec<Stood>>,
    /// Whether the credentials file holds the administrator's password.
    pub credentials: bool,
    /// How its state differs from what snapshot and log give, once it leads.
    pub state: Option<String>,
    /// Disk operations that it took.
    pub ops: u64,
}

/// A restart under way.
struct Restart<'a> {
    node: Node,
    image: Image,
    now: u64,
    inputs: VecDeque<Input>,
    wake: Option<u64>,
    read: Option<Inspection>,
    /// The entries that it read. Later a snapshot may take the place of some of them.
    bodies: Vec<Bytes>,
    found: Found,
    recording: &'a Recording,
}

/// Runs an image of one of so many nodes until the node is at work, or for good reason is not.
#[must_use]
pub fn restart(recording: &Recording, nodes: u16, number: usize, image: Image) -> Found {
    glue::catch_panics();
    // The seed is not that of any start in the recording, as two boots never draw the same nonce.
    let seed = Stream::numbered(recording.ended_us, "explore restart", number as u64).seed();
    let node = Node::new(config(nodes, number as u16 + 1), seed);
    let inputs = VecDeque::from([Input::Tick]);
    let found = Found::default();
    let bodies = Vec::new();
    let mut restart =
        Restart { node, image, now: 0, inputs, wake: None, read: None, bodies, found, recording };
    let ran = catch_unwind(AssertUnwindSafe(|| restart.run(nodes == 1)));
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(why)) => restart.found.died = Some(why),
        Err(_) => restart.found.died = Some(format!("it panics: {}", glue::panic_message())),
    }
    restart.found
}

impl Restart<'_> {
    fn run(&mut self, alone: bool) -> Result<(), String> {
        let mut timers = 0;
        for _ in 0..STORM {
            if let Some(input) = self.inputs.pop_front() {
                self.step(input)?;
                continue;
            }
            let seen = self.node.inspect();
            if seen.role == RoleName::Recovering {
                return Err("it has nothing to do and has not read its directory".into());
            }
            let works = seen.role == RoleName::Leader && seen.commit == seen.last && seen.last > Index(0);
            if !alone || works {
                self.look(alone, &seen);
                return Ok(());
            }
            timers += 1;
            let Some(wake) = self.wake.take().filter(|_| timers < TIMERS) else {
                return Err(format!("it does not come to lead and commit all: {seen:?}"));
            };
            self.now = self.now.max(wake);
            self.inputs.push_back(Input::Tick);
        }
        Err("it never comes to rest".into())
    }

    fn step(&mut self, input: Input) -> Result<(), String> {
        let wall = EPOCH_MS + (self.recording.ended_us + self.now) / 1000 + 60_000;
        let stamp = Stamp { mono: Micros(self.now), wall: Millis(wall) };
        let mut out = Outbox::default();
        self.node.step(stamp, input, &mut out);
        for output in out.drain() {
            match output {
                Output::Disk { token, op } => {
                    self.found.ops += 1;
                    let result = self.image.execute(&op);
                    self.inputs.push_back(Input::DiskDone { token, result });
                }
                Output::Compute { token, job } => {
                    self.inputs.push_back(Input::Computed { token, result: glue::compute(&job) });
                }
                Output::Forget { .. } => {}
                Output::WakeAt(at) => self.wake = Some(at.0),
                Output::SendPeer { frame, .. } => {
                    if let Ok((header, body)) = peer::decode(&frame) {
                        self.found.boot = header.boot;
                        self.found.incarnation = Some(header.incarnation);
                        match postcard::from_bytes(&body) {
                            Ok(FoundingMessage::Prepared { set, .. }) => {
                                self.found.founding = Told::Prepared(set)
                            }
                            Ok(FoundingMessage::Founded(set)) => self.found.founding = Told::Founded(set),
                            Ok(FoundingMessage::Fresh { .. }) | Err(_) => {}
                        }
                    }
                }
                Output::Trace(Event::Recovered { boot, last, .. }) => {
                    self.found.boot = boot;
                    let read = Inspection { last, ..self.node.inspect() };
                    let entries = (read.start.0 + 1..=last.0).map_while(|at| self.node.entry(Index(at)));
                    let (terms, bodies): (Vec<Term>, Vec<Bytes>) =
                        entries.map(|(term, body)| (term, body.clone())).unzip();
                    let log = terms.iter().zip(&bodies).map(|(term, body)| (*term, hash(body)));
                    self.found.log = Arc::new(log.collect());
                    self.bodies = bodies;
                    self.read = Some(read);
                }
                Output::Halt(reason) => return Err(format!("it halts: {reason}")),
                Output::Send { .. } | Output::Peers(_) | Output::Close { .. } | Output::Trace(_) => {}
            }
        }
        Ok(())
    }

    /// The node is at work.
    fn look(&mut self, alone: bool, seen: &Inspection) {
        let read = self.read.clone().unwrap_or_else(|| seen.clone());
        (self.found.term, self.found.vote) = (read.term, read.vote);
        self.found.doubtful = read.role == RoleName::Learner;
        self.found.start = read.start;
        (self.found.applied, self.found.digest) = (read.commit, read.state_digest);
        let file = self.image.files.get(&FileName::RootCredentials);
        let password = format!("password {ROOT_PASSWORD}\n");
        self.found.credentials = file.is_some_and(|file| file.bytes().ends_with(password.as_bytes()));
        if alone {
            self.found.state = self.wrong_state(seen).err();
        }
    }

    /// The state must be what snapshot and log give: the newest committed entry in them, and what follows replayed.
    fn wrong_state(&self, seen: &Inspection) -> Result<(), String> {
        let log = &self.found.log;
        let last = self.found.start.0 + log.len() as u64;
        let entries = log.iter().zip(self.found.start.0 + 1..=last);
        let committed = entries.filter(|(entry, at)| {
            self.recording.committed_at(Index(*at)).is_some_and(|it| it.entry == **entry)
        });
        let mut at = committed.last().map_or(self.found.start, |(_, at)| Index(at));
        let known = self.recording.committed_at(at);
        let mut state = known.map_or_else(|| State::new((1, 2)), |known| (*known.state).clone());
        while at < seen.commit {
            at = at.next();
            let read = (at.0 - self.found.start.0 - 1) as usize;
            let body = self.bodies.get(read).or_else(|| self.node.entry(at).map(|(_, body)| body));
            let entry = Entry::decode(body.ok_or("an entry is missing from its log")?)
                .map_err(|error| format!("entry {at}: {error:?}"))?;
            state.commit(at, &entry);
        }
        if state.digest() == seen.state_digest {
            return Ok(());
        }
        Err(format!("its state at {at} is not what the log up to there gives"))
    }
}

/// Holds what was found against what was promised, when so much was committed.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn judge(found: &Found, ledger: &Ledger, committed: Index, recording: &Recording) -> Result<(), String> {
    if let Some(why) = &found.died {
        return Err(why.clone());
    }
    if found.term < ledger.term {
        return Err(format!("it is in term {} and has spoken in term {}", found.term, ledger.term));
    }
    if let Some((term, whom)) = ledger.vote
        && term == found.term
        && found.vote != Some(whom)
    {
        return Err(format!("it gave its vote of term {term} to node {whom}, and now has {:?}", found.vote));
    }
    if found.boot <= ledger.boot {
        return Err(format!("it begins boot {} and has shown boot {}", found.boot, ledger.boot));
    }
    if let (Some(now), Some(then)) = (found.incarnation, ledger.incarnation)
        && now != then
    {
        return Err(format!("its directory is {now} and was {then}"));
    }
    if !keeps(&found.founding, &ledger.founding) {
        return Err(format!(
            "of the founding it has told {:?} and knows {:?}",
            ledger.founding, found.founding
        ));
    }
    if found.doubtful && !ledger.sync_failed {
        return Err("it doubts its own memory although no sync has failed".into());
    }
    if ledger.credentials && !found.credentials {
        return Err("the file with the administrator's password is gone".into());
    }
    judge_log(found, ledger, committed, recording)?;
    found.state.clone().map_or(Ok(()), Err)
}

/// What snapshot and log hold must be all that was promised, and nothing that nobody proposed.
fn judge_log(found: &Found, ledger: &Ledger, committed: Index, recording: &Recording) -> Result<(), String> {
    judge_snapshot(found, ledger, committed, recording)?;
    let covered = recording.committed.iter().take(found.start.0 as usize).map(|it| &it.entry);
    // Where the snapshot has another entry than the node had, that one was never committed: it goes, and what followed
    // it too (Raft paper, figure 13, steps 6 and 7).
    let superseded = ledger.log.iter().zip(covered.clone()).position(|(promised, entry)| promised != entry);
    let promised = &ledger.log[..superseded.unwrap_or(ledger.log.len())];
    let entries: Vec<&Stood> = covered.chain(found.log.iter()).collect();
    for (at, promised) in promised.iter().enumerate() {
        match entries.get(at) {
            Some(entry) if *entry == promised => {}
            Some((term, _)) => {
                let why = if *term == promised.0 { "has other bytes" } else { "is another one" };
                let (at, promised) = (at + 1, promised.0);
                return Err(format!("entry {at} of term {promised} {why}: it has term {term} now"));
            }
            None => {
                return Err(format!(
                    "it vouched for {} entries, clients were told position {}, and its log ends at {}",
                    ledger.log.len(),
                    ledger.acknowledged,
                    entries.len()
                ));
            }
        }
    }
    let mut behind = recording.term_at(found.start);
    for ((term, hash), at) in found.log.iter().zip(found.start.0 + 1..) {
        let proposed = recording.proposed.get(&(Index(at), *term));
        if proposed.is_none_or(|proposed| proposed.hash != *hash || Some(proposed.behind) != behind) {
            return Err(format!(
                "nobody proposed its entry {at} of term {term} behind one of term {behind:?}"
            ));
        }
        behind = Some(*term);
    }
    Ok(())
}

/// The snapshot must be one that the node began, of an entry that was committed by then, with the state that the
/// committed entries give, and no older than one that it called durable.
fn judge_snapshot(
    found: &Found,
    ledger: &Ledger,
    committed: Index,
    recording: &Recording,
) -> Result<(), String> {
    if found.start > committed {
        return Err(format!(
            "its snapshot covers everything up to entry {}, and only {committed} are committed",
            found.start
        ));
    }
    if found.start > Index(0) && !ledger.begun.contains(&found.start) {
        return Err(format!("it has a snapshot of entry {}, which it never began", found.start));
    }
    if found.start < ledger.snapshot {
        return Err(format!(
            "it called its snapshot of entry {} durable, and has that of {} now",
            ledger.snapshot, found.start
        ));
    }
    match recording.committed_at(found.applied) {
        // What was written and never committed may stand where another entry was committed later: `Found::state` is of that.
        Some(known) if known.digest != found.digest && found.replays_committed(recording) => Err(format!(
            "the state up to {} that it began with, from a snapshot of entry {}, is not what the log gives",
            found.applied, found.start
        )),
        _ => Ok(()),
    }
}

/// Whether a founding promise still stands. What a restart that is alone says of it, is enough.
fn keeps(found: &Told, told: &Told) -> bool {
    match (found, told) {
        (_, Told::Nothing) => true,
        (Told::Prepared(now) | Told::Founded(now), Told::Prepared(then)) => now == then,
        (Told::Founded(now), Told::Founded(then)) => now == then,
        (Told::Nothing | Told::Prepared(_), _) => false,
    }
}

impl Found {
    /// Whether all entries between the snapshot and the state that it began with are the committed ones.
    fn replays_committed(&self, recording: &Recording) -> bool {
        let mut replayed = (self.start.0 + 1..=self.applied.0).zip(self.log.iter());
        replayed.all(|(at, entry)| {
            recording.committed_at(Index(at)).is_some_and(|committed| committed.entry == *entry)
        })
    }

    /// What was found, in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let vote = self.vote.map_or("none".into(), |vote| format!("n{vote}"));
        let terms: Vec<String> = self.log.iter().map(|(term, _)| term.to_string()).collect();
        format!(
            "boot {} term {} vote {vote} snapshot {} entries {} (terms {}) disk operations {}{}",
            self.boot,
            self.term,
            self.start,
            self.log.len(),
            terms.join(" "),
            self.ops,
            if self.doubtful { ", in doubt" } else { "" }
        )
    }
}
