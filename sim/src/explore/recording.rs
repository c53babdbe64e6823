//! What one execution of the script leaves for the search: every boundary, with the disk and the promises of its node
//! at that instant, and what the log's entries and the states were.
//!
//! It only keeps; `cluster.rs` fills it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use steadfast_core::state::State;
use steadfast_core::state::effect::Entry;
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
    /// Up to where the log was committed, wherever that was known.
    pub committed: Index,
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

/// An entry of some node's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The hash of its bytes.
    pub hash: u64,
    /// The term of the entry before it.
    pub behind: Term,
    /// How many boundaries came before it.
    pub since: usize,
}

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The entry.
    pub entry: Stood,
    /// What the log up to it gives, by replaying it.
    pub state: Arc<State>,
    /// That state's digest.
    pub digest: u64,
}

/// One execution.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// All boundaries, in the order of time.
    pub boundaries: Vec<Boundary>,
    /// The moments that they share.
    pub moments: Vec<Taken>,
    /// Every entry that any node's log ever held.
    pub proposed: HashMap<(Index, Term), Proposed>,
    /// The committed entries, from index 1 on.
    pub committed: Vec<Committed>,
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

    /// An entry stands in some node's log, behind one of that term.
    ///
    /// # Errors
    /// Two entries with one index and term, or one entry behind two.
    pub fn propose(&mut self, index: Index, (term, hash): Stood, behind: Term) -> Result<(), String> {
        let new = Proposed { hash, behind, since: self.boundaries.len() };
        let known = self.proposed.entry((index, term)).or_insert(new);
        if (known.hash, known.behind) == (hash, behind) {
            Ok(())
        } else {
            Err(format!("there are two entries {index} of term {term}, or what comes before them differs"))
        }
    }

    /// Up to where the log is committed.
    #[must_use]
    pub fn last_committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// A committed entry.
    #[must_use]
    pub fn committed_at(&self, index: Index) -> Option<&Committed> {
        self.committed.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// The term of a committed entry; that of the place before the first one is zero.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == Index(0) { Some(Term(0)) } else { self.committed_at(index).map(|it| it.entry.0) }
    }

    /// A node calls the entry at this index committed.
    ///
    /// # Errors
    /// Another one is, or the entry is none.
    pub fn commit(&mut self, index: Index, entry: Stood, body: &[u8]) -> Result<(), String> {
        if let Some(known) = self.committed_at(index) {
            let same = known.entry == entry;
            return same.then_some(()).ok_or_else(|| format!("two entries {index} are committed"));
        }
        assert_eq!(index, self.last_committed().next(), "entries are committed in order");
        let decoded = Entry::decode(body).map_err(|error| format!("entry {index}: {error:?}"))?;
        let mut state = self.committed.last().map_or_else(|| State::new((1, 2)), |it| (*it.state).clone());
        state.commit(index, &decoded);
        let digest = state.digest();
        self.committed.push(Committed { entry, state: Arc::new(state), digest });
        Ok(())
    }

    /// The beginning of another recording, which branches off this one at a boundary: what was proposed and committed
    /// later has not happened there.
    #[must_use]
    pub fn branch(&self, boundary: usize) -> Self {
        let earlier = self.proposed.iter().filter(|(_, it)| it.since <= boundary);
        let proposed = earlier.map(|(entry, it)| (*entry, Proposed { since: 0, ..*it })).collect();
        let committed = self.boundaries[boundary].committed.0 as usize;
        let committed = self.committed[..committed].to_vec();
        Self { proposed, committed, steps: vec!["recovery"], ..Self::default() }
    }
}
