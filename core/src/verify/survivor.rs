//! What one node still has of a cluster that lost the majority of its voters, and what a recovery would make of it. Nothing
//! here writes, and nobody has agreed to anything yet.
//!
//! The state is that of the newest snapshot with the whole log behind it. What of that log was ever committed nobody who
//! is left can say (Raft paper, section 5.3: only a majority could), so all of it counts from then on.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::Verified;
use super::recover::{Draws, Recover};
use super::remains::Remains;
use super::report::{Consequence, Damage};
use crate::disk::Tokens;
use crate::hard::HardState;
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Owner};
use crate::membership::Membership;
use crate::snapshot::{LoadStep, Loading};
use crate::state::State;
use crate::state::effect::{Entry, FEATURE_LEVEL};
use crate::time::Millis;
use crate::types::{ClusterId, EntryId, Incarnation, Index, NodeId, Term};

/// How far a recovery moves on, in positions: nodes that are lost can't have given out more behind the last entry that is
/// known. At a million entries a second, that many take twelve days.
pub const POSITIONS: u64 = 1 << 40;

/// How far it moves on in terms: nobody was elected more often without this node.
pub const TERMS: u64 = 1 << 20;

/// No position or term lies behind this one, so that there is always room to go on.
const HIGHEST: u64 = 1 << 62;

/// Why there is nothing to recover, or not from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrecoverable {
    /// The directory never belonged to a cluster.
    NotFounded,
    /// It belongs to one, and has nothing of it.
    Empty,
    /// The node decides without anybody else.
    Alone(NodeId),
    /// The directory is a witness's.
    Witness(NodeId),
    /// Something of the log is lost: up to this entry it is whole.
    Damaged {
        /// Where and how.
        what: String,
        /// The last entry before that.
        whole: Index,
    },
    /// It is not the log alone that is damaged.
    BeyondTheLog(String),
    /// An entry says what can't be.
    Entry {
        /// Which.
        index: Index,
        /// How.
        what: String,
    },
    /// The cluster works at a feature level that this release does not know, so that it could not start what it made.
    NewerLevel(u32),
    /// There are no positions or terms left to move on to.
    NoRoom {
        /// The highest that is known.
        known: u64,
        /// By how much it would have to move on.
        by: u64,
    },
}

impl fmt::Display for Unrecoverable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFounded => f.write_str(
                "the directory never belonged to a founded cluster: there is nothing to recover, so start nodes with empty \
                 directories",
            ),
            Self::Empty => f.write_str(
                "the node has nothing of its cluster yet: recover from the directory of another one, or found a new cluster \
                 with empty directories",
            ),
            Self::Alone(node) => write!(
                f,
                "node {node} is the only voter of its cluster and needs nobody else: start it as it is"
            ),
            Self::Witness(node) => write!(
                f,
                "node {node} is a witness, and holds no data: recover from the directory of a node that does"
            ),
            Self::Damaged { what, whole } => write!(
                f,
                "the log is damaged ({what}). Recover from the directory of another node that is left; or first give up what \
                 is lost here, with `steadfast repair DIR --discard-after {whole} --cluster-member`, and then run this again"
            ),
            Self::BeyondTheLog(what) => write!(
                f,
                "the directory can't be trusted: {what}. Recover from the directory of another node that is left, or put back \
                 an intact copy of this very state of the directory"
            ),
            Self::Entry { index, what } => write!(
                f,
                "entry {index} can't be applied: {what}. Recover from the directory of another node that is left, or with the \
                 release that wrote it"
            ),
            Self::NewerLevel(level) => write!(
                f,
                "the cluster is at feature level {level}, and this release knows no more than {FEATURE_LEVEL}: recover with the \
                 release that wrote it"
            ),
            Self::NoRoom { known, by } => write!(
                f,
                "{known} can't be moved on by {by}: no cluster counts beyond {HIGHEST}. Name a lower position with --seen, or \
                 copy the keys into a new cluster"
            ),
        }
    }
}

impl std::error::Error for Unrecoverable {}

/// A survivor that is being read: the state of its snapshot, and then the log.
#[derive(Clone, Debug)]
pub struct SurvivorReading {
    remains: Remains,
    seen: Index,
    loading: Option<Loading>,
    op: Option<DiskOp>,
    tokens: Tokens,
    state: State,
    /// What a start would not notice, or puts right.
    damage: Vec<Damage>,
    failed: Option<Unrecoverable>,
}

/// What one node has, and what would become of it.
#[derive(Clone, Debug)]
pub struct Survivor {
    /// The cluster that lost its majority.
    pub cluster: ClusterId,
    /// The last entry that the node has.
    pub last: EntryId,
    /// The last entry that is known to have been committed: that of its snapshot. Zero without one.
    pub known: EntryId,
    /// Cluster time there, in milliseconds since 1970.
    pub time: Millis,
    /// The members as of the last entry.
    pub members: Membership,
    /// Where they are, as far as an operator has said so.
    pub addresses: BTreeMap<NodeId, String>,
    /// The new cluster's beginning: its first position and its term.
    pub begins: EntryId,
    /// What is damaged and does not keep it from starting.
    pub damage: Vec<Damage>,
    /// Whether an earlier attempt has not come to its end.
    pub begun: bool,
    /// Files that are kept aside: all that the new cluster does without.
    pub aside: Vec<FileName>,
    remains: Remains,
    state: State,
}

impl Verified {
    /// Reads what this node has, for a recovery. `seen` is the highest position that anybody was told of, if the operator knows
    /// of one.
    ///
    /// # Errors
    /// Why it can't be had.
    pub fn survivor(&self, seen: Index) -> Result<SurvivorReading, Unrecoverable> {
        let owner = self.report.owner.as_ref().ok_or_else(|| self.beyond())?;
        if owner.cluster.is_none() {
            return Err(Unrecoverable::NotFounded);
        }
        if owner.incarnation.is_witness() {
            return Err(Unrecoverable::Witness(owner.node));
        }
        let begun = self.remains.as_ref().map_or(&[][..], |remains| &remains.begun);
        let stops = |it: &&Damage| it.consequence >= Consequence::Fetches && !begun.contains(&it.file);
        if let Some(damage) = self.report.damage.iter().find(stops) {
            let what = format!("{} at offset {}: {}", damage.file, damage.offset, damage.what);
            return Err(match (damage.consequence, self.last_whole()) {
                (Consequence::Fetches, Some(whole)) => Unrecoverable::Damaged { what, whole },
                _ => Unrecoverable::BeyondTheLog(what),
            });
        }
        let remains = self.remains.clone().ok_or_else(|| self.beyond())?;
        let passing = self.report.damage.iter().filter(|it| it.consequence < Consequence::Fetches);
        Ok(SurvivorReading::new(remains, seen, passing.cloned().collect()))
    }

    fn beyond(&self) -> Unrecoverable {
        let first = self.report.damage.first();
        let what = first.map(|damage| format!("{}: {}", damage.file, damage.what));
        Unrecoverable::BeyondTheLog(what.unwrap_or_else(|| "there is no hard state".to_owned()))
    }
}

impl SurvivorReading {
    fn new(remains: Remains, seen: Index, damage: Vec<Damage>) -> Self {
        let seed = remains.hard.0.hash_seed;
        let covered = remains.covered.index;
        let file = remains.own_snapshots.iter().find(|(index, _)| *index == covered);
        let loading = file.map(|(index, len)| Loading::new(remains.identity.cluster, *index, *len, seed));
        let (op, tokens, failed) = (None, Tokens::new(Owner::Snapshot), None);
        let mut reading =
            Self { remains, seen, loading, op, tokens, state: State::new(seed), damage, failed };
        reading.take_op();
        reading
    }

    fn take_op(&mut self) {
        let mut out = Outbox::default();
        if let Some(loading) = &mut self.loading {
            loading.pump(&mut self.tokens, &mut out);
        }
        self.op = out.drain().find_map(|output| match output {
            Output::Disk { op, .. } => Some(op),
            _ => None,
        });
    }

    /// The next read; `None` when all is read.
    #[must_use]
    pub fn next_op(&self) -> Option<DiskOp> {
        self.op.clone()
    }

    /// The read that [`Self::next_op`] named has ended.
    ///
    /// # Errors
    /// None: what can't be read says [`Self::finish`].
    pub fn done(&mut self, result: Result<DiskReply, DiskError>) -> Result<(), HaltReason> {
        let loading = self.loading.as_mut().expect("only a read that was named ends");
        match loading.disk_done(result) {
            Ok(LoadStep::Working) => {}
            Ok(LoadStep::Done(state, _)) => {
                self.state = *state;
                self.loading = None;
            }
            Err(error) => {
                self.failed = Some(Unrecoverable::BeyondTheLog(error.to_string()));
                self.loading = None;
            }
        }
        self.take_op();
        Ok(())
    }

    /// What there is, once there is nothing more to read.
    ///
    /// # Errors
    /// Why it is of no use.
    ///
    /// # Panics
    /// If something is still to be read.
    pub fn finish(mut self) -> Result<Survivor, Unrecoverable> {
        assert!(self.op.is_none(), "a survivor is known when all is read");
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let known = self.remains.covered;
        let last = self.replay()?;
        if last.index == Index(0) {
            return Err(Unrecoverable::Empty);
        }
        if self.state.level() > FEATURE_LEVEL {
            return Err(Unrecoverable::NewerLevel(self.state.level()));
        }
        let Self { remains, seen, state, damage, .. } = self;
        let owner = &remains.hard.0;
        // A cluster whose first entry is not applied has not got any members either.
        let members = state.membership().ok_or(Unrecoverable::Empty)?;
        if members.is_alone((owner.node, owner.incarnation)) {
            return Err(Unrecoverable::Alone(owner.node));
        }
        let begins = EntryId {
            index: Index(beyond(last.index.max(seen).0, POSITIONS)?),
            term: Term(beyond(owner.term.max(last.term).0, TERMS)?),
        };
        let aside = aside(&remains);
        Ok(Survivor {
            cluster: remains.identity.cluster,
            last,
            known,
            time: state.time(),
            members,
            addresses: state.addresses().clone(),
            begins,
            damage,
            begun: remains.begun.iter().any(|file| matches!(file, FileName::Snapshot(_))),
            aside,
            remains,
            state,
        })
    }

    /// Applies the log behind the snapshot, and says where it ends.
    fn replay(&mut self) -> Result<EntryId, Unrecoverable> {
        let mut last = self.remains.covered;
        for (term, payload) in &self.remains.log.entries {
            let index = last.index.next();
            let refused = |what: String| Unrecoverable::Entry { index, what };
            let payload = payload.as_ref().ok_or_else(|| refused("it is lost".into()))?;
            let entry = Entry::decode(payload).map_err(|error| refused(error.to_string()))?;
            if entry.time < self.state.time() {
                return Err(refused("its time lies before that of the entry before it".into()));
            }
            self.state.commit(index, &entry);
            last = EntryId { index, term: *term };
        }
        Ok(last)
    }
}

/// What a number moves on to.
fn beyond(known: u64, by: u64) -> Result<u64, Unrecoverable> {
    known.checked_add(by).filter(|to| *to <= HIGHEST).ok_or(Unrecoverable::NoRoom { known, by })
}

/// All that the new cluster does without, but for what an earlier attempt has left.
fn aside(remains: &Remains) -> Vec<FileName> {
    let segments = remains.segments.iter().filter(|segment| !remains.unfinished.contains(segment));
    let segments = segments.map(|segment| FileName::Wal(*segment));
    let snapshots = remains.own_snapshots.iter().map(|(index, _)| FileName::Snapshot(index.0));
    segments.chain(snapshots).filter(|file| !remains.begun.contains(file)).collect()
}

impl Survivor {
    /// How many sessions end, because their numbers may have been given to others.
    #[must_use]
    pub fn sessions_that_end(&self) -> usize {
        self.state.sessions_behind(self.known.index)
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.owner().node
    }

    /// Its data directory, under the identity that it gives up.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.owner().incarnation
    }

    /// The cluster's name, which stays.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.owner().cluster_name
    }

    /// The hard state: boot, term, vote and doubt.
    #[must_use]
    pub fn owner(&self) -> &HardState {
        &self.remains.hard.0
    }

    /// The state as of the last entry.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The word that agrees to this very recovery. It follows from whose directory it is, from where it would go on and from
    /// everything that can be read of the log, so that it fits nothing else; and is the same after an attempt that
    /// a crash or the disk has ended.
    #[must_use]
    pub fn word(&self) -> String {
        let mut hasher = SipHasher13::new();
        hasher.write(b"recover");
        let owner = self.owner();
        hasher.write(&self.cluster.0.to_le_bytes());
        hasher.write(&owner.node.0.to_le_bytes());
        let places = [self.known, self.last, self.begins].map(|id| [id.index.0, id.term.0]);
        for number in places.iter().flatten().chain([&owner.incarnation.0]) {
            hasher.write(&number.to_le_bytes());
        }
        for (term, payload) in &self.remains.log.entries {
            hasher.write(&term.0.to_le_bytes());
            hasher.write(payload.as_deref().unwrap_or_default());
        }
        format!("{:08x}", hasher.finish() as u32)
    }

    /// The recovery, with what the driver drew for it.
    #[must_use]
    pub fn recover(self, draws: Draws) -> Recover {
        Recover::new(self.remains, self.state, (self.known, self.begins), self.aside, draws)
    }
}
