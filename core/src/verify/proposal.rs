//! What a repair would do to a damaged log, and what it would give up, before anybody has agreed to it. Nothing here
//! reads or writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::repair::Repair;
use super::{Remains, Verified};
use crate::io::FileName;
use crate::state::effect::{Cause, Effect, Entry};
use crate::time::Millis;
use crate::types::{Blob, EntryId, Index, Term};

/// A repair that somebody may agree to.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The last entry that stays.
    pub keeps: EntryId,
    /// The entry up to which a snapshot holds everything.
    pub covered: EntryId,
    /// What goes.
    pub gives_up: GivenUp,
    /// Files that are kept aside: everything that the new log takes the place of.
    pub aside: Vec<FileName>,
    /// Whether the node belongs to a cluster of more than one, and will be in doubt of its promises.
    pub in_doubt: bool,
    remains: Remains,
}

/// What a repair gives up, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Runs of entries that are lost, and could not be kept anyway: the first and the last of each.
    pub lost: Vec<(Index, Index)>,
    /// Whether more may be lost behind the last that can be read.
    pub more_lost: bool,
    /// How many entries can be read and go all the same, because they follow what is lost.
    pub readable: u64,
    /// The first and the last of these.
    pub span: Option<(Index, Index)>,
    /// Their lowest and highest terms.
    pub terms: Option<(Term, Term)>,
    /// The cluster times of the first and the last, in milliseconds since 1970.
    pub times: Option<(Millis, Millis)>,
    /// How many of them were logged for which cause.
    pub causes: BTreeMap<Cause, u64>,
    /// The keys that they change.
    pub keys: BTreeSet<Blob>,
    /// The users that they change.
    pub users: BTreeSet<Blob>,
    /// The rate limiters that they change.
    pub limiters: BTreeSet<Blob>,
    /// The locks, semaphores and elections on which they change a claim.
    pub claims: BTreeSet<Blob>,
    /// The idempotency ids that they change: a command or work under one would be executed again.
    pub ids: BTreeSet<Blob>,
    /// How many of them belong to sessions: a retry in one would execute again.
    pub session_steps: u64,
}

/// Why there is nothing to propose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrepairable {
    /// The node starts as it is.
    Intact,
    /// The damage is not in the log alone.
    BeyondTheLog(String),
    /// The index lies before the end of the snapshot.
    BeforeSnapshot {
        /// What was asked for.
        asked: Index,
        /// The snapshot's index.
        covered: Index,
    },
    /// The index lies behind something that is lost.
    BehindLoss {
        /// What was asked for.
        asked: Index,
        /// The highest that is possible.
        most: Index,
    },
    /// Others may have the lost entries.
    ClusterMember,
    /// The node has no other to make promises to.
    NoClusterMember,
}

impl fmt::Display for Unrepairable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intact => f.write_str(
                "nothing of the log is lost: the node starts with it as it is, so start it (`steadfast verify` names \
                 what else is damaged)",
            ),
            Self::BeyondTheLog(what) => write!(
                f,
                "a new log is no help: {what}. Put back an intact copy of this very state of the directory, or, if a \
                 majority of the cluster is healthy without this node, start it with an empty directory"
            ),
            Self::BeforeSnapshot { asked, covered } => write!(
                f,
                "the snapshot holds everything up to entry {covered}, and nothing of that can be discarded: \
                 {asked} is too low, name {covered} or a later entry with --discard-after"
            ),
            Self::BehindLoss { asked, most } => write!(
                f,
                "the log is whole up to entry {most}, and an entry before {asked} is lost: name {most} or an earlier \
                 entry with --discard-after"
            ),
            Self::ClusterMember => f.write_str(
                "this node is a member of a cluster of several. Start it: it fetches what it lost from the others, and \
                 nothing is given up. Only if none of them has it any more, say --cluster-member",
            ),
            Self::NoClusterMember => {
                f.write_str("this node is alone in its cluster and has promised nothing to others: leave --cluster-member away")
            }
        }
    }
}

impl std::error::Error for Unrepairable {}

impl Verified {
    /// What a repair that keeps everything up to `after` would do. `member` says that the operator knows the node to be
    /// a member of a cluster of several.
    ///
    /// # Errors
    /// Why that can't be done.
    pub fn propose(&self, after: Index, member: bool) -> Result<Proposal, Unrepairable> {
        // A snapshot is refused only as another release's or cluster's, which is intact. What of it is damaged, the log's
        // loss says.
        let beyond = |file: FileName| !matches!(file, FileName::Wal(_));
        let refused = self
            .report
            .damage
            .iter()
            .find(|it| it.consequence == super::Consequence::Refuses && beyond(it.file));
        if let Some(damage) = refused {
            let what = format!("{} is damaged at offset {}: {}", damage.file, damage.offset, damage.what);
            return Err(Unrepairable::BeyondTheLog(what));
        }
        let Some(remains) = &self.remains else {
            let first = self.report.damage.first();
            let what = first.map_or_else(|| "there is no log".to_owned(), |damage| damage.what.clone());
            return Err(Unrepairable::BeyondTheLog(what));
        };
        if self.report.starts_alone() {
            return Err(Unrepairable::Intact);
        }
        let in_doubt = !remains.hard.0.is_alone();
        match (in_doubt, member) {
            (true, false) => return Err(Unrepairable::ClusterMember),
            (false, true) => return Err(Unrepairable::NoClusterMember),
            _ => {}
        }
        let (covered, most) = (remains.covered, self.most(remains));
        if after < covered.index {
            return Err(Unrepairable::BeforeSnapshot { asked: after, covered: covered.index });
        }
        if after > most {
            return Err(Unrepairable::BehindLoss { asked: after, most });
        }
        let place = (after.0 - covered.index.0) as usize;
        let term = place
            .checked_sub(1)
            .and_then(|at| remains.log.entries.get(at))
            .map_or(covered.term, |(term, _)| *term);
        let used = remains.segments.iter().filter(|segment| !remains.unfinished.contains(segment));
        let segments = used.map(|segment| FileName::Wal(*segment));
        Ok(Proposal {
            keeps: EntryId { index: after, term },
            covered,
            gives_up: self.given_up(remains, after),
            aside: segments.chain(remains.snapshots.iter().copied()).collect(),
            in_doubt,
            remains: remains.clone(),
        })
    }

    /// The last entry before anything that is lost or can't be read; the snapshot's if there is none.
    #[must_use]
    pub fn last_whole(&self) -> Option<Index> {
        self.remains.as_ref().map(|remains| self.most(remains))
    }

    fn most(&self, remains: &Remains) -> Index {
        let first_lost = self.report.log.lost.first().map(|(from, _)| from.prev());
        let unreadable = remains.unreadable.map(Index::prev);
        [first_lost, unreadable].into_iter().flatten().min().unwrap_or(self.report.log.last.index)
    }

    fn given_up(&self, remains: &Remains, after: Index) -> GivenUp {
        let log = &self.report.log;
        let lost = log.lost.iter().filter(|(_, to)| *to > after);
        let mut given_up = GivenUp {
            lost: lost.map(|(from, to)| ((*from).max(after.next()), *to)).collect(),
            more_lost: log.more_lost,
            ..GivenUp::default()
        };
        for ((term, payload), index) in remains.log.entries.iter().zip(remains.log.start.index.0 + 1..) {
            if index > after.0
                && let Some(payload) = payload
            {
                given_up.entry(Index(index), *term, payload);
            }
        }
        given_up
    }
}

impl GivenUp {
    /// Whether nothing is known to go.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.readable == 0
    }

    fn entry(&mut self, index: Index, term: Term, payload: &[u8]) {
        self.readable += 1;
        self.span = Some(self.span.map_or((index, index), |(first, _)| (first, index)));
        self.terms = Some(self.terms.map_or((term, term), |(low, high)| (low.min(term), high.max(term))));
        let Ok(entry) = Entry::decode(payload) else { return };
        let time = entry.time;
        self.times = Some(self.times.map_or((time, time), |(low, high)| (low.min(time), high.max(time))));
        *self.causes.entry(entry.cause).or_default() += 1;
        for effect in entry.effects {
            match effect {
                Effect::Put { key, .. }
                | Effect::Delete { key, .. }
                | Effect::Redate { key, .. }
                | Effect::Attached { key, .. }
                | Effect::Members { key, .. } => {
                    self.keys.insert(key);
                }
                Effect::Moved { from, to } => self.keys.extend([from, to]),
                Effect::UserPut { name, .. } | Effect::UserRemoved { name } | Effect::Ruled { name, .. } => {
                    self.users.insert(name);
                }
                Effect::Limited { name, .. } | Effect::Placed { name, .. } => {
                    self.limiters.insert(name);
                }
                Effect::Claimed { claim, .. } => {
                    self.claims.insert(claim.1);
                }
                Effect::Kept { id, .. } | Effect::Worked { id, .. } => {
                    self.ids.insert(id);
                }
                Effect::SessionStepped { .. } | Effect::Forwarded { .. } => self.session_steps += 1,
                Effect::Founded(_)
                | Effect::Level(_)
                | Effect::Leased { .. }
                | Effect::LeasesSpared
                | Effect::Loosened { .. }
                | Effect::Membership(_)
                | Effect::Located { .. }
                | Effect::Preferred { .. }
                | Effect::WaitEnded { .. }
                | Effect::SessionOpened { .. }
                | Effect::SessionEnded { .. } => {}
            }
        }
    }
}

impl Proposal {
    /// The word that agrees to this very proposal. It follows from whose directory it is, what is kept and everything that
    /// can be read of the log, so that it fits nothing else; and is the same after an attempt that the disk has ended.
    #[must_use]
    pub fn word(&self) -> String {
        let mut hasher = SipHasher13::new();
        let identity = &self.remains.identity;
        hasher.write(&identity.cluster.0.to_le_bytes());
        hasher.write(&identity.node.0.to_le_bytes());
        let log = &self.remains.log;
        let end = log.start.index.0 + log.entries.len() as u64;
        for number in [identity.incarnation.0, self.keeps.index.0, self.keeps.term.0, end] {
            hasher.write(&number.to_le_bytes());
        }
        for (term, payload) in &log.entries {
            hasher.write(&term.0.to_le_bytes());
            hasher.write(payload.as_deref().unwrap_or_default());
        }
        format!("{:08x}", hasher.finish() as u32)
    }

    /// The repair, in a boot with this nonce.
    #[must_use]
    pub fn repair(self, nonce: u64) -> Repair {
        Repair::new(self.remains, self.keeps.index, self.aside, self.in_doubt, nonce)
    }
}
