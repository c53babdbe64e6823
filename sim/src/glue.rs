//! The few places where the world touches parts of the core and of the judges by more than plain data.

use std::cell::RefCell;
use std::sync::Once;

use bytes::Bytes;
use steadfast_core::Node;
use steadfast_core::inspect::Inspection;
use steadfast_core::job::{Job, JobResult};
use steadfast_core::protocol::peer;
use steadfast_core::raft::message::Message;
use steadfast_core::snapshot::transfer::SnapshotMessage;
use steadfast_core::types::{BootNumber, Index, NodeId, Term};

use crate::check::Verdict;
use crate::check::raft::{Observation, RaftJudge};
use crate::schedule::Schedule;

/// Kinds of peer frames (`docs/formats.md`, peer frames).
const RAFT: u8 = 1;
const FOUNDING: u8 = 2;
const FORWARD: u8 = 3;
const SNAPSHOT: u8 = 5;
const QUARANTINE: u8 = 4;

/// Runs a computation.
#[must_use]
pub fn compute(job: &Job) -> JobResult {
    job.run()
}

/// A peer frame in words, if it can be read.
#[must_use]
pub fn peer_frame(frame: &Bytes) -> Option<String> {
    let (header, body) = peer::decode(frame).ok()?;
    match header.kind {
        RAFT => Some(match Message::decode(&body).ok()? {
            Message::Append(append) => {
                let last = append.prev_index.0 + append.entries.len() as u64;
                format!(
                    "Append term {} after {}/{} to {last}, commit {}, round {}",
                    append.term, append.prev_index, append.prev_term, append.commit, append.round
                )
            }
            message => format!("{message:?}"),
        }),
        FOUNDING => Some(format!("founding, {} bytes", frame.len())),
        SNAPSHOT => Some(match SnapshotMessage::decode(&body)? {
            SnapshotMessage::Block { meta, number, .. } => {
                format!("snapshot of {}, block {number} of {}", meta.seal.at, meta.blocks)
            }
            SnapshotMessage::Wanted { next, .. } => format!("snapshot wanted from block {next} on"),
        }),
        FORWARD => Some(format!("forward, {} bytes", frame.len())),
        kind => Some(format!("kind {kind}, {} bytes", frame.len())),
    }
}

/// The number of the node that sent a frame; zero if it can't be read.
#[must_use]
pub fn sender(frame: &Bytes) -> u64 {
    peer::decode(frame).map_or(0, |(header, _)| u64::from(header.from.0))
}

/// The nonce of the boot in which a frame was sent.
#[must_use]
pub fn nonce(frame: &Bytes) -> Option<u64> {
    peer::decode(frame).ok().map(|(header, _)| header.nonce)
}

/// Whether a frame tells its receiver that it is an old image.
#[must_use]
pub fn is_quarantine(frame: &Bytes) -> bool {
    peer::decode(frame).is_ok_and(|(header, _)| header.kind == QUARANTINE)
}

/// What a frame promises in its sender's name: a term, and perhaps whom the sender gave its vote to.
fn promise(frame: &Bytes) -> Option<(Term, Option<NodeId>)> {
    let (header, body) = peer::decode(frame).ok()?;
    if header.kind != RAFT {
        return None;
    }
    match Message::decode(&body).ok()? {
        Message::Vote { term, .. } => Some((term, Some(header.from))),
        Message::VoteReply { term, granted: true } => Some((term, Some(header.to))),
        Message::VoteReply { term, .. } | Message::AppendReply { term, .. } => Some((term, None)),
        Message::Append(append) => Some((append.term, Some(header.from))),
        Message::TimeoutNow { term } | Message::Gone { term, .. } | Message::Ahead { term, .. } => {
            Some((term, None))
        }
        // These speak of terms that nobody is in yet.
        Message::PreVote { .. } | Message::PreVoteReply { .. } => None,
    }
}

/// Raft's invariants over all nodes, after every step.
pub struct Invariants {
    judge: RaftJudge,
}

impl Invariants {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(schedule: &Schedule) -> Self {
        let judge = RaftJudge::new((1..=schedule.cluster.founders()).map(NodeId));
        Self { judge: judge.beside(schedule.cluster.witness.map(NodeId)) }
    }

    /// A node was stepped; what it broke, if it broke something.
    ///
    /// # Errors
    /// What the judge saw.
    pub fn after_step(
        &mut self,
        node: usize,
        boot: u64,
        core: &Node,
        seen: &Inspection,
    ) -> Result<(), String> {
        let entry = |index| core.entry(index);
        let observation = Observation {
            node: id(node),
            boot: BootNumber(boot),
            inspection: seen,
            durable: seen.durable,
            entry: &entry,
        };
        said(self.judge.observe(&observation))
    }

    /// A node sent a frame: what it says there it must stand by.
    ///
    /// # Errors
    /// What the judge saw.
    pub fn sent(&mut self, node: usize, frame: &Bytes) -> Result<(), String> {
        match promise(frame) {
            Some((term, vote)) => said(self.judge.promised(id(node), term, vote)),
            None => Ok(()),
        }
    }

    /// A client was told that something took effect there, and that it rests on one disk beside a witness, or not.
    ///
    /// # Errors
    /// What the judge saw.
    pub fn acknowledged(&self, position: Index, degraded: bool) -> Result<(), String> {
        said(self.judge.acknowledged(position, degraded))
    }

    /// A node's process is gone.
    pub fn stopped(&mut self, node: usize) {
        self.judge.crashed(id(node));
    }

    /// A node lost its disk.
    pub fn wiped(&mut self, node: usize) {
        self.judge.wiped(id(node));
    }

    /// Each committed entry's term and encoded body, from index 1 on.
    #[must_use]
    pub fn committed(&self) -> Vec<(Term, Bytes)> {
        self.judge.committed().collect()
    }

    /// A node's disk went back in time; `noticed` if the others know, so that it must keep its word.
    pub fn rolled_back(&mut self, node: usize, noticed: bool) {
        self.judge.rolled_back(id(node), noticed);
    }

    /// The digest of the state at each commit index at which a node was seen.
    #[must_use]
    pub fn states(&self) -> Vec<(Index, u64)> {
        self.judge.states().filter(|(index, _)| index.0 > 0).collect()
    }
}

fn said(verdict: Verdict) -> Result<(), String> {
    match verdict {
        Verdict::Failed { what, .. } => Err(what),
        Verdict::Passed | Verdict::Inconclusive { .. } => Ok(()),
    }
}

fn id(node: usize) -> NodeId {
    NodeId(node as u16 + 1)
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics silent in this process and remembers each thread's last, so that a panic of the core is a
/// failure with its message and place.
pub fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
            let text = info.payload_as_str().unwrap_or("a panic without words");
            PANIC.with(|last| *last.borrow_mut() = Some(format!("{text}{place}")));
            if std::env::var_os("STEADFAST_SIM_PANIC").is_some() {
                before(info);
            }
        }));
    });
}

/// The message of this thread's last panic.
#[must_use]
pub fn panic_message() -> String {
    PANIC
        .with(|last| last.borrow_mut().take())
        .unwrap_or_else(|| "a panic; its words went to standard error".into())
}
