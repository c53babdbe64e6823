//! Starts a fresh node on an image, alone, and says whether it still knows everything that its ledger holds.
//!
//! Running an image and judging what was found are apart: an image is met in many moments, is run once, and is held
//! against the promises of each. A crash image is never damage; nothing here excuses a node that refuses one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

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

use super::image::Image;
use super::ledger::{Ledger, Stood, Told, stood};
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
    /// The log that it read.
    pub log: Arc<Vec<Stood>>,
    /// Whether the credentials file holds the administrator's password.
    pub credentials: bool,
    /// How its state differs from what its log gives.
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
    let mut restart = Restart { node, image, now: 0, inputs, wake: None, read: None, found, recording };
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
                Output::WakeAt(at) => self.wake = Some(at.0),
                Output::SendPeer { frame, .. } => {
                    if let Ok((header, body)) = peer::decode(&frame) {
                        self.found.boot = header.boot;
                        self.found.incarnation = Some(header.incarnation);
                        match postcard::from_bytes(&body) {
                            Ok(FoundingMessage::Prepared(set)) => self.found.founding = Told::Prepared(set),
                            Ok(FoundingMessage::Founded(set)) => self.found.founding = Told::Founded(set),
                            Ok(FoundingMessage::Fresh { .. }) | Err(_) => {}
                        }
                    }
                }
                Output::Trace(Event::Recovered { boot, last, .. }) => {
                    self.found.boot = boot;
                    self.read = Some(Inspection { last, ..self.node.inspect() });
                }
                Output::Halt(reason) => return Err(format!("it halts: {reason}")),
                Output::Send { .. } | Output::Close { .. } | Output::Trace(_) => {}
            }
        }
        Ok(())
    }

    /// The node is at work.
    fn look(&mut self, alone: bool, seen: &Inspection) {
        let read = self.read.clone().unwrap_or_else(|| seen.clone());
        (self.found.term, self.found.vote) = (read.term, read.vote);
        self.found.doubtful = read.role == RoleName::Learner;
        let entries = (1..=read.last.0).map_while(|at| stood(&self.node, Index(at)));
        self.found.log = Arc::new(entries.collect());
        let file = self.image.files.get(&FileName::RootCredentials);
        let password = format!("password {ROOT_PASSWORD}\n");
        self.found.credentials = file.is_some_and(|file| file.bytes().ends_with(password.as_bytes()));
        if alone {
            self.found.state = self.wrong_state(seen).err();
        }
    }

    /// The state must be what the log gives: from the newest entry on whose state the recording has, replayed.
    fn wrong_state(&self, seen: &Inspection) -> Result<(), String> {
        let known = (1..=self.found.log.len()).rev().find_map(|at| {
            let index = Index(at as u64);
            let state = self.recording.states.get(&(index, self.found.log[at - 1].0))?;
            Some((index, state.clone()))
        });
        let (mut at, mut state) = known.unwrap_or_else(|| (Index(0), State::new((1, 2))));
        while at < seen.commit {
            at = at.next();
            let (_, body) = self.node.entry(at).ok_or("an entry is missing from its log")?;
            let entry = Entry::decode(body).map_err(|error| format!("entry {at}: {error:?}"))?;
            state.commit(at, &entry);
        }
        if state.digest() == seen.state_digest {
            return Ok(());
        }
        Err(format!("its state at {at} is not what the log up to there gives"))
    }
}

/// Holds what was found against what was promised.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn judge(found: &Found, ledger: &Ledger, recording: &Recording) -> Result<(), String> {
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
    judge_log(found, ledger, recording)?;
    found.state.clone().map_or(Ok(()), Err)
}

fn judge_log(found: &Found, ledger: &Ledger, recording: &Recording) -> Result<(), String> {
    for (at, promised) in ledger.log.iter().enumerate() {
        match found.log.get(at) {
            Some(entry) if entry == promised => {}
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
                    found.log.len()
                ));
            }
        }
    }
    for (at, (term, hash)) in found.log.iter().enumerate().skip(ledger.log.len()) {
        let index = Index(at as u64 + 1);
        if recording.proposed.get(&(index, *term)).is_none_or(|(proposed, _)| proposed != hash) {
            return Err(format!("nobody proposed its entry {index} of term {term}"));
        }
    }
    Ok(())
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
    /// What was found, in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let vote = self.vote.map_or("none".into(), |vote| format!("n{vote}"));
        let terms: Vec<String> = self.log.iter().map(|(term, _)| term.to_string()).collect();
        format!(
            "boot {} term {} vote {vote} entries {} (terms {}) disk operations {}{}",
            self.boot,
            self.term,
            self.log.len(),
            terms.join(" "),
            self.ops,
            if self.doubtful { ", in doubt" } else { "" }
        )
    }
}
