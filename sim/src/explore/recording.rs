//! What one execution of the script leaves for the search: every boundary, with the disk and the promises of its node
//! at that instant, and what the log's entries and the states were.
//!
//! It only keeps; `cluster.rs` fills it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use steadfast_core::state::State;
use steadfast_core::types::{Index, Term};

use super::ledger::{Ledger, Stood};
use super::variants::Moment;

/// What has just happened at a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A process started on its disk.
    Started,
    /// An operation that changes a file or the directory was issued.
    Issued,
    /// A write took effect.
    Written,
    /// A file was created, or cut to nothing.
    Created,
    /// A file got another name.
    Renamed,
    /// A file was removed.
    Removed,
    /// A file was cut.
    Truncated,
    /// A sync of a file began.
    SyncBegun,
    /// It was complete, and the node had not heard of it.
    SyncDone,
    /// It failed.
    SyncFailed,
    /// A sync of the directory began.
    DirSyncBegun,
    /// It was complete.
    DirSyncDone,
    /// Bytes went to a client.
    Reply,
    /// A frame went to another node.
    Frame,
}

impl Point {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Started,
        Self::Issued,
        Self::Written,
        Self::Created,
        Self::Renamed,
        Self::Removed,
        Self::Truncated,
        Self::SyncBegun,
        Self::SyncDone,
        Self::SyncFailed,
        Self::DirSyncBegun,
        Self::DirSyncDone,
        Self::Reply,
        Self::Frame,
    ];
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "process started",
            Self::Issued => "write issued",
            Self::Written => "write done",
            Self::Created => "file created",
            Self::Renamed => "file renamed",
            Self::Removed => "file removed",
            Self::Truncated => "file cut",
            Self::SyncBegun => "sync begun",
            Self::SyncDone => "sync done",
            Self::SyncFailed => "sync failed",
            Self::DirSyncBegun => "directory sync begun",
            Self::DirSyncDone => "directory sync done",
            Self::Reply => "reply sent",
            Self::Frame => "frame sent",
        })
    }
}

/// An instant between two things that a node or its disk did.
#[derive(Clone, Debug)]
pub struct Boundary {
    /// Whose, counted from zero.
    pub node: usize,
    /// What has just happened.
    pub point: Point,
    /// The place of the step of the script.
    pub step: usize,
    /// The place of the moment: boundaries between which the disk did not change share one.
    pub moment: usize,
    /// What the node had promised.
    pub ledger: Arc<Ledger>,
}

/// A moment of one node's disk, and the boundaries that share it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Whose, counted from zero.
    pub node: usize,
    /// The disk.
    pub moment: Moment,
    /// The boundaries' numbers.
    pub boundaries: Vec<usize>,
}

/// One execution.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// All boundaries, in the order of time.
    pub boundaries: Vec<Boundary>,
    /// The moments that they share.
    pub moments: Vec<Taken>,
    /// Every entry that any node's log ever held: the hash of its bytes, and how many boundaries came before it.
    pub proposed: HashMap<(Index, Term), (u64, usize)>,
    /// The state at commit indexes, by the entry there.
    pub states: BTreeMap<(Index, Term), State>,
    /// What the script has brought about, by name.
    pub covered: BTreeMap<&'static str, u64>,
    /// The names of the steps.
    pub steps: Vec<&'static str>,
    /// When it ended, in microseconds.
    pub ended_us: u64,
}

impl Recording {
    /// Something that the script must bring about has happened.
    pub fn cover(&mut self, what: &'static str) {
        *self.covered.entry(what).or_default() += 1;
    }

    /// An entry stands in some node's log.
    ///
    /// # Errors
    /// Two entries with one index and term.
    pub fn propose(&mut self, index: Index, (term, hash): Stood) -> Result<(), String> {
        let (before, _) = self.proposed.entry((index, term)).or_insert((hash, self.boundaries.len()));
        if *before == hash { Ok(()) } else { Err(format!("there are two entries {index} of term {term}")) }
    }

    /// The beginning of another recording, which branches off this one at a boundary: what was proposed later has not
    /// happened there.
    #[must_use]
    pub fn branch(&self, boundary: usize) -> Self {
        let earlier = self.proposed.iter().filter(|(_, (_, before))| *before <= boundary);
        let proposed: HashMap<_, _> = earlier.map(|(entry, (hash, _))| (*entry, (*hash, 0))).collect();
        let states = self.states.iter().filter(|(entry, _)| proposed.contains_key(entry));
        let states = states.map(|(entry, state)| (*entry, state.clone())).collect();
        Self { proposed, states, steps: vec!["recovery"], ..Self::default() }
    }
}
