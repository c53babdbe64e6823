//! What the log carries: entries of effects, with their cause and the cluster's time.
//!
//! An effect says what a row becomes, never how to compute it: applying one reads nothing. A release may
//! therefore change what a command does without old logs or mixed clusters ever diverging (DESIGN of
//! CockroachDB's proposer-evaluated replication, and of Kafka's KRaft, which came to it from the other side).
//!
//! The byte format is in `docs/formats.md`, pinned by golden files; the codec is in `codec.rs`.

use serde::{Deserialize, Serialize};

use super::data::Kind;
use crate::access::rights::{Holder, Rules};
use crate::access::user::{Pattern, User};
use crate::coordination::claim::{Claim, ClaimKey};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::Limiter;
use crate::coordination::once::Work;
use crate::durability::Leeway;
use crate::membership::Membership;
use crate::reply::Outcome;
use crate::time::Millis;
use crate::types::{Blob, BootNumber, ClusterId, Incarnation, Index, LeaseId, NodeId, SessionId};

/// One entry of the log, without its term and index: what one command, or the leader itself, changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Cluster time, never less than that of the entry before.
    pub time: Millis,
    /// Why it was logged.
    pub cause: Cause,
    /// The changes, in order.
    pub effects: Vec<Effect>,
}

/// What it takes to replay one entry, in bytes of log that take as long to read: a microsecond and a half, beside the
/// time for its bytes.
const REPLAY_WEIGHT: u64 = 256;

impl Entry {
    /// What the entry adds to the log and to the time of its replay, in bytes. It follows from the effects alone, so
    /// that every node counts the same.
    #[must_use]
    pub fn weight(&self) -> u64 {
        REPLAY_WEIGHT + self.bytes() as u64
    }

    /// Bytes of keys, values and answers in it, about.
    pub(super) fn bytes(&self) -> usize {
        self.effects.iter().map(Effect::bytes).sum()
    }
}

/// Why an entry was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Cause {
    /// A leader began its term (Raft paper, section 8: it must commit an entry of its own first).
    TermStart = 1,
    /// A client's command.
    Command = 2,
    /// Keys or sessions were due.
    Expiry = 3,
    /// A reply depended on the time.
    Clock = 4,
    /// The cluster was founded, or its first administrator or feature level was set.
    System = 5,
    /// The members are others from here on, or one is elsewhere. Entries with [`Effect::Membership`] or [`Effect::Located`] have this
    /// cause, and no others: they are looked for before it is known what is committed, and found by their beginning.
    Members = 6,
}

/// A point in cluster time at which a key goes, and the slack that makes it never early.
///
/// The key is due at `at + slack`. The slack covers the rate at which a clock may drift and be slewed while
/// the span ran (see `clock.rs`); the remaining time that clients see counts to `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Deadline {
    /// What the client was promised, at least.
    pub at: Millis,
    /// Milliseconds on top.
    pub slack: u32,
}

impl Deadline {
    /// When the key is due.
    #[must_use]
    pub fn due(self) -> Millis {
        Millis(self.at.0.saturating_add(u64::from(self.slack)))
    }
}

/// Why a key went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteCause {
    /// A client deleted it.
    Deleted,
    /// Its deadline passed.
    Expired,
}

/// A stored answer: what a retry of the same command gets. Its position is that of its entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReply {
    /// The answer.
    pub outcome: Outcome,
    /// A digest of the command, so that the same id with another payload is told apart.
    pub digest: u64,
}

impl StoredReply {
    /// About the bytes that the answer takes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of_outcome(&self.outcome)
    }
}

fn size_of_outcome(outcome: &Outcome) -> usize {
    outcome.as_ref().map_or_else(|failure| failure.message.len(), crate::reply::Value::size)
}

/// A stored answer with the time of its entry, for the receipt of whoever gets it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The time of the entry that stored it.
    pub time: Millis,
    /// The answer.
    pub reply: StoredReply,
}

impl std::ops::Deref for Answer {
    type Target = StoredReply;

    fn deref(&self) -> &StoredReply {
        &self.reply
    }
}

/// One change. The discriminant is the kind on the wire; kinds are never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Effect {
    /// The cluster exists. The first effect of the first entry, and of no other.
    Founded(Founding) = 1,
    /// From here on, effects of this feature level may be logged.
    Level(u32) = 2,
    /// A key has this value; its revision is the entry's index.
    Put {
        /// The key.
        key: Blob,
        /// The value.
        value: Blob,
        /// When it goes, if ever.
        deadline: Option<Deadline>,
    } = 3,
    /// A key is gone.
    Delete {
        /// The key.
        key: Blob,
        /// Why.
        cause: DeleteCause,
    } = 4,
    /// A key keeps its value and has a new deadline; its revision is the entry's index.
    Redate {
        /// The key.
        key: Blob,
        /// When it goes, if ever.
        deadline: Option<Deadline>,
    } = 5,
    /// A session was opened; its id is the entry's index.
    SessionOpened {
        /// Whose.
        user: Blob,
        /// How long it lives without a command, in cluster milliseconds.
        ttl: u64,
    } = 6,
    /// A session executed a command: the answer is kept until the floor reaches it.
    SessionStepped {
        /// Which.
        id: SessionId,
        /// The command's number.
        seq: u64,
        /// The client holds the answers of all commands up to here.
        floor: u64,
        /// The answer.
        reply: StoredReply,
    } = 7,
    /// A session is gone.
    SessionEnded {
        /// Which.
        id: SessionId,
        /// Why.
        cause: DeleteCause,
    } = 8,
    /// A node forwarded a command, which was executed: the answer is kept until the floor reaches it.
    Forwarded {
        /// The data directory of the node that forwarded: a wiped node begins to count from nothing.
        origin: Incarnation,
        /// Its boot. A higher one than known forgets everything about the lower.
        boot: BootNumber,
        /// The command's number.
        seq: u64,
        /// The origin holds the answers of all commands up to here.
        floor: u64,
        /// The answer.
        reply: StoredReply,
    } = 9,
    /// A user is now this.
    UserPut {
        /// The name.
        name: Blob,
        /// All about it.
        user: User,
    } = 10,
    /// A user is gone.
    UserRemoved {
        /// The name.
        name: Blob,
    } = 11,
    /// Members of a key's collection are these now; its revision is the entry's index. Level 2.
    Members {
        /// The key.
        key: Blob,
        /// Its kind, if it is made by this.
        kind: Kind,
        /// Names with values; without a value the member goes, and with the last member the key.
        changes: Vec<(Blob, Option<Blob>)>,
    } = 12,
    /// A key has another name, and takes the place of what had that; its revision is the entry's index. Level 2.
    Moved {
        /// The name before.
        from: Blob,
        /// The name now.
        to: Blob,
    } = 13,
    /// A limiter remembers this, or nothing any more. Level 2.
    Limited {
        /// Its name.
        name: Blob,
        /// What it remembers.
        limiter: Option<Limiter>,
    } = 14,
    /// A concurrency limit has a holder until then, or no longer. Level 2.
    Placed {
        /// Its name.
        name: Blob,
        /// Who.
        holder: Blob,
        /// Until when, in the bytes of [`crate::coordination::limiter::time_bytes`].
        until: Option<Blob>,
    } = 15,
    /// A command was executed under an idempotency id: the answer is kept until then. Or it is forgotten. Level 2.
    Kept {
        /// Whose id.
        user: Blob,
        /// Which.
        id: Blob,
        /// The answer, and until when.
        kept: Option<(StoredReply, Millis)>,
    } = 16,
    /// Work under an id is this now, or is forgotten. Level 2.
    Worked {
        /// Which.
        id: Blob,
        /// All about it.
        work: Option<Work>,
    } = 17,
    /// A lease is this now, or has ended. What hung on it is gone by effects of their own. Level 2.
    Leased {
        /// Which.
        id: LeaseId,
        /// All about it.
        lease: Option<Lease>,
    } = 18,
    /// All leases count as renewed at the entry's time: a new leader can't know which renewals were on their way. Level 2.
    LeasesSpared = 19,
    /// A key hangs on this lease, or on none any more. Whatever puts or deletes a key takes it off, too. Level 2.
    Attached {
        /// The key.
        key: Blob,
        /// The lease.
        lease: Option<LeaseId>,
    } = 20,
    /// A claim on a lock, semaphore or office is this now, or is gone. Level 2.
    Claimed {
        /// Which.
        claim: ClaimKey,
        /// All about it.
        now: Option<Claim>,
    } = 21,
    /// A claim waits no longer. This is what everybody gets who asked for it, as the answer that is kept under their numbers,
    /// too. Level 2.
    WaitEnded {
        /// The claim's number.
        id: Index,
        /// The session and number under which it was asked for.
        session: Option<(SessionId, u64)>,
        /// The node that forwarded it, its boot and number.
        forward: Option<(Incarnation, BootNumber, u64)>,
        /// What came of it.
        outcome: Outcome,
    } = 22,
    /// A user's denials and roles, or all that is known about a role, are these now; or there are none any more. Level 2.
    Ruled {
        /// A user's or a role's.
        holder: Holder,
        /// Whose.
        name: Blob,
        /// What.
        rules: Option<Rules>,
    } = 23,
    /// Writes of these keys may be answered so much ahead of their durability, or no longer. Level 2.
    Loosened {
        /// Which keys, and limiters of such names.
        pattern: Pattern,
        /// How much.
        leeway: Option<Leeway>,
    } = 24,
    /// These are the members from the moment at which the entry is in a log, committed or not (Raft paper, section 6). Level 3.
    Membership(Membership) = 25,
    /// Other nodes reach this one there from now on, or nobody knows where. Level 3.
    Located {
        /// Which.
        node: NodeId,
        /// A host and a port, as [`crate::membership::is_address`] has them.
        address: Option<String>,
    } = 26,
    /// This voter leads rather than those with a lower number; zero is everybody's at first. Level 3.
    Preferred {
        /// Which.
        node: NodeId,
        /// How much.
        priority: u32,
    } = 27,
}

/// The feature level of this build: the highest whose effects it can apply.
pub const FEATURE_LEVEL: u32 = 3;

/// The feature level from which on there may be a witness: older releases do not know when its cluster may commit.
pub const WITNESS_LEVEL: u32 = 3;

impl Effect {
    /// The feature level from which on it may be logged.
    #[must_use]
    pub const fn level(&self) -> u32 {
        match self {
            // What founds a cluster comes before any level, in the entry that sets one.
            Self::Founded(_) | Self::Level(_) => 0,
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::Redate { .. }
            | Self::SessionOpened { .. }
            | Self::SessionStepped { .. }
            | Self::SessionEnded { .. }
            | Self::Forwarded { .. }
            | Self::UserPut { .. }
            | Self::UserRemoved { .. } => 1,
            Self::Members { .. }
            | Self::Moved { .. }
            | Self::Limited { .. }
            | Self::Placed { .. }
            | Self::Kept { .. }
            | Self::Worked { .. }
            | Self::Leased { .. }
            | Self::LeasesSpared
            | Self::Attached { .. }
            | Self::Claimed { .. }
            | Self::WaitEnded { .. }
            | Self::Ruled { .. }
            | Self::Loosened { .. } => 2,
            Self::Membership(_) | Self::Located { .. } | Self::Preferred { .. } => 3,
        }
    }

    /// Whether it says who belongs to the cluster, or where a member is.
    #[must_use]
    pub const fn concerns_members(&self) -> bool {
        matches!(self, Self::Membership(_) | Self::Located { .. })
    }

    /// Bytes of keys, values and answers in it, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Effect::Put { key, value, .. } => key.len() + value.len(),
            Effect::Delete { key, .. } | Effect::Redate { key, .. } => key.len(),
            Effect::Members { key, changes, .. } => {
                let size = |(name, value): &(Blob, Option<Blob>)| {
                    name.len() + value.as_ref().map_or(0, |it| it.len())
                };
                key.len() + changes.iter().map(size).sum::<usize>()
            }
            Effect::Moved { from, to } => from.len() + to.len(),
            Effect::Limited { name, limiter } => name.len() + limiter.as_ref().map_or(0, Limiter::bytes),
            Effect::Placed { name, holder, .. } => name.len() + holder.len(),
            Effect::Kept { user, id, kept } => {
                user.len() + id.len() + kept.as_ref().map_or(0, |(reply, _)| reply.size())
            }
            Effect::Worked { id, work } => id.len() + work.as_ref().map_or(0, Work::bytes),
            Effect::SessionStepped { reply, .. } | Effect::Forwarded { reply, .. } => reply.size(),
            Effect::Leased { lease, .. } => lease.as_ref().map_or(0, |lease| lease.user.len()),
            Effect::Attached { key, .. } => key.len(),
            Effect::Ruled { name, rules, .. } => name.len() + rules.as_ref().map_or(0, Rules::bytes),
            Effect::Claimed { claim, now } => claim.1.len() + now.as_ref().map_or(0, Claim::bytes),
            Effect::WaitEnded { outcome, .. } => size_of_outcome(outcome),
            Effect::Located { address, .. } => address.as_ref().map_or(0, String::len),
            _ => 0,
        }
    }
}

/// Who founded the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Founding {
    /// Derived from the rest.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub name: String,
    /// The founding data directories, in the order of their nodes. These vote until a membership says otherwise.
    pub members: Vec<(NodeId, Incarnation)>,
}
