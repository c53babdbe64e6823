//! Raft: how the nodes agree on one log.
//!
//! # In short
//!
//! One node *leads*; it alone appends to the log, and the others copy what it sends. Time is cut into numbered
//! *terms*, each with at most one leader. A node that has not heard from a leader for its *election time-out*
//! first asks whether it could win (the *pre-vote*, thesis section 9.6), and only then opens a new term and asks
//! for votes. A node votes once per term, and only for a candidate whose log is at least as *up to date* as its
//! own: a higher term in the last entry, or the same and at least as long (paper, section 5.4.1).
//!
//! An entry is *committed* once a majority of the voters holds it durably and it belongs to the leader's own
//! term (paper, section 5.4.2); everything before it then is committed too. A leader therefore begins its term
//! with an entry of its own, before which it does not know what is committed.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | term, vote | the current term and whom this node voted for in it: one durable record |
//! | index | a position in the log, from 1 |
//! | commit index | everything up to it is committed |
//! | match index | what a follower is known to hold durably and in common with the leader |
//! | next index | the first entry that the leader will send to a follower next |
//! | probe, replicate | sending one message at a time to find the match, or many in a row |
//! | snapshot | the state at an index, in place of the log up to there; a follower that needs older entries is sent it |
//! | inflight | messages with entries that a follower has not yet answered, bounded |
//! | round | a numbered question "am I still the leader?" that rides on appends; reads wait for one (ReadIndex, thesis section 6.4) |
//! | lease | the time for which a majority has promised to elect nobody else; off unless clocks are vouched for |
//! | check-quorum | a leader that has not heard from a majority for an election time-out steps down |
//! | voter | a member whose votes and copies count, from one data directory |
//! | learner | a member that copies the log and is never counted, or whose data directory is another one than voted |
//! | joint membership | one set of voters takes the place of another, and a majority of each has to agree |
//! | witness | a voter that holds terms and positions and no data, and never leads |
//! | whole, degraded | beside a witness, whether a commit needs both nodes with data |
//!
//! # The parts
//!
//! [`Raft`] here holds what every role shares and routes ticks and messages. `election.rs` has time-outs,
//! pre-votes and votes; `replication.rs` has appends on both sides and the commit rule; `read.rs` the rounds; `lease.rs` what may stand in for one;
//! `members.rs` who is counted and how that changes; `transfer.rs` how leadership is given
//! away; `witness.rs` what is different where a voter holds no data; `progress.rs` what a leader knows of one follower; `rest.rs` what a search of all states wants; `log.rs` the log in memory;
//! `message.rs` the messages.
//!
//! Raft itself touches no disk. What it appends is taken from [`Log::take_unwritten`], and a message marked
//! [`Needs::Log`] must leave only once every write issued before it is durable. That, and the promise that
//! [`Raft::log_durable`] and [`Raft::vote_durable`] are told the truth, is all it relies on.

mod election;
mod lease;
mod log;
mod members;
pub mod message;
mod progress;
mod read;
mod replication;
mod rest;
mod storage;
#[cfg(test)]
mod tests;
mod transfer;
mod witness;

pub use log::{Log, LogEntry};
pub use members::{MemberSeen, MembersSeen, NotNow, ReadMembership};
pub use message::{Append, Message, MessageError, Verdict};
pub use read::Round;
pub use transfer::NoTransfer;
pub use witness::Withhold;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use crate::config::Timing;
use crate::inspect::RoleName;
use crate::io::Lane;
use crate::limits::Limits;
use crate::membership::{Membership, Voter};
use crate::time::Micros;
use crate::types::{EntryId, Incarnation, Index, NodeId, Term};
use lease::Lease;
use members::Memberships;
use progress::Progress;
use read::Rounds;
use replication::Answer;
use transfer::Transfer;
use witness::Refusal;

/// What has to be durable before a message may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// The current term and vote.
    Term,
    /// The current term and vote, and every log write issued so far.
    Log,
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// To whom.
    pub to: NodeId,
    /// Before or behind which others.
    pub lane: Lane,
    /// What.
    pub message: Message,
    /// What it waits for.
    pub needs: Needs,
}

/// Something that the rest of the node must act on at once, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RaftEvent {
    /// This node leads the current term; the first entry that it proposes must be the term's start.
    BecameLeader,
    /// This node no longer leads.
    LostLeadership,
    /// The log was cut from this index on.
    Truncated(Index),
    /// A quorum was not heard of for an election time-out.
    CheckQuorumFailed,
    /// A vote or pre-vote was withheld because this node does not trust its own memory.
    Abstained,
    /// Another membership is in force than before.
    Members,
    /// So it is because the log was cut.
    MembersUndone,
    /// The joint membership is committed: this leader must append the one that it leads to, unless it has.
    ChangeAgreed,
    /// This leader's removal is committed: it leads no more.
    Left,
    /// This node was told that it belongs to the cluster no more.
    Gone,
    /// Nobody has taken over in time: this leader goes on.
    TransferGivenUp,
    /// Beside a witness: this leader must append a membership that is degraded, or whole.
    Witness {
        /// Which.
        degraded: bool,
    },
    /// This witness did not elect a node, whose log ends there: it lacks what may be committed.
    RefusedAsOlder(NodeId, EntryId),
    /// That witness did not elect this node: its own log ends further.
    TooOldToLead(NodeId, EntryId),
}

/// What a node is at the moment, with what only that role knows.
#[derive(Clone, Debug, Hash)]
enum Role {
    Follower {
        leader: Option<NodeId>,
    },
    /// Asks for pre-votes (`real` false) or votes.
    Candidate {
        real: bool,
        granted: Vec<Voter>,
        refused: Vec<Voter>,
    },
    Leader(Box<Leadership>),
}

/// What a leader knows.
#[derive(Clone, Debug, Hash)]
struct Leadership {
    /// The index of this term's first entry; everything before it has an unknown fate until it is committed.
    start: Index,
    /// Who elected it.
    voters: Vec<Voter>,
    /// Of each other member.
    progress: BTreeMap<NodeId, Progress>,
    rounds: Rounds,
    lease: Lease,
    transfer: Option<Transfer>,
    /// Beside a witness: where the log ended when the other node with data last had what it held before that, and when that was.
    goal: Index,
    goal_at: Micros,
    /// When heartbeats go out next.
    heartbeat_at: Micros,
    /// When the quorum is checked next.
    check_at: Micros,
}

/// One node's part in the agreement.
#[derive(Clone, Debug)]
pub struct Raft {
    id: NodeId,
    incarnation: Incarnation,
    memberships: Memberships,
    /// Whether this node doubts its own memory of terms and votes: it then abstains.
    doubtful: bool,
    /// Whether the log is damaged, or not durable again: until it is, this node neither leads nor copies, and votes by
    /// where its log is known to have ended (CTRL, FAST '18).
    repairing: bool,
    timing: Timing,
    limits: Limits,
    rng: ChaCha8Rng,
    term: Term,
    vote: Option<NodeId>,
    log: Log,
    commit: Index,
    /// The highest index that this node's own disk is known to hold in the present log.
    durable: Index,
    role: Role,
    /// When a follower or candidate asks for an election.
    election_at: Micros,
    /// Terms that were opened since a leader was last heard of.
    unled: u32,
    /// Its disk stood still: until then it does not ask for an election.
    passes_until: Micros,
    /// A committed membership at this index has no place for this node, which it does not hold itself.
    gone: Option<Index>,
    /// Until then this node keeps what it may have promised before it was started.
    promised_until: Micros,
    /// When a leader was last heard from.
    heard_leader_at: Option<Micros>,
    /// The newest read round that this node has answered in the current term.
    answered_round: u64,
    /// What a witness may know of an entry.
    withhold: Withhold,
    /// Who would not elect whom because of an older log, since a leader was last known.
    refusal: Option<Refusal>,
    /// Up to where both nodes with data beside a witness hold the log durably, by the leader's last word.
    held_by_both: Index,
    outgoing: Vec<Outgoing>,
    events: Vec<RaftEvent>,
}

/// How a node's Raft begins after recovery.
#[derive(Clone, Debug)]
pub struct Start {
    /// This node.
    pub id: NodeId,
    /// This data directory.
    pub incarnation: Incarnation,
    /// The membership in force where the log starts.
    pub membership: Membership,
    /// Finds later ones in the log's entries.
    pub read_membership: ReadMembership,
    /// What a witness may know of an entry.
    pub withhold: Withhold,
    /// Whether this node must abstain.
    pub doubtful: bool,
    /// The durable term; the log's last term may be higher.
    pub term: Term,
    /// The durable vote in that term.
    pub vote: Option<NodeId>,
    /// The recovered log, all of it durable but for what was lost.
    pub log: Log,
    /// Whether the log is damaged; then what the state has applied.
    pub damaged: Option<Index>,
    /// Whether this directory ever had others beside it, whatever is left of its log: it may have promised them something, and they may
    /// know what it lost.
    pub had_others: bool,
    /// Until when what this node may have told a leader before it was started is kept.
    pub promised_until: Micros,
}

impl Raft {
    /// A follower that has just recovered.
    #[must_use]
    pub fn new(start: Start, timing: Timing, limits: Limits, rng: ChaCha8Rng, now: Micros) -> Self {
        let Start { id, incarnation, membership, read_membership, withhold, doubtful, .. } = start;
        let Start { mut term, mut vote, log, damaged, had_others, promised_until, .. } = start;
        let mut memberships = Memberships::new(membership, read_membership);
        memberships.recovered(&log);
        let alone = memberships.current().is_alone((id, incarnation)) && !had_others;
        // Log and term are synced separately, so a crash can keep an entry of a term that the record has not
        // reached. Nothing was promised in that term yet, so it begins with no vote.
        if log.last_term() > term {
            (term, vote) = (log.last_term(), None);
        }
        // Alone, no promise was made to anybody.
        let doubtful = doubtful && !alone;
        // What a cluster of one has on its only disk is committed. A leader of several learns that with an entry of its
        // own term (paper, section 5.4.2).
        let known = if alone { log.last() } else { log.start().index };
        let commit = damaged.unwrap_or(known);
        let durable = if damaged.is_some() { commit } else { log.last() };
        let mut raft = Self {
            id,
            incarnation,
            memberships,
            doubtful,
            repairing: damaged.is_some(),
            timing,
            limits,
            rng,
            term,
            vote,
            log,
            commit,
            durable,
            role: Role::Follower { leader: None },
            election_at: Micros(0),
            unled: 0,
            passes_until: Micros(0),
            gone: None,
            promised_until,
            heard_leader_at: None,
            answered_round: 0,
            withhold,
            refusal: None,
            held_by_both: Index(0),
            outgoing: Vec::new(),
            events: Vec::new(),
        };
        if alone {
            // There is no leader to wait for.
            raft.election_at = now;
        } else {
            raft.reset_election_timer(now);
        }
        raft
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Micros) {
        if matches!(self.role, Role::Leader(_)) {
            self.leader_tick(now);
        } else if now >= self.election_at {
            self.election_timeout(now);
        }
    }

    /// When [`Raft::tick`] has something to do.
    #[must_use]
    pub fn wake_at(&self) -> Micros {
        match &self.role {
            Role::Leader(leader) => leader.heartbeat_at.min(leader.check_at),
            _ => self.election_at,
        }
    }

    /// A message from another node of the cluster. `incarnation` is the sender's: only voters are counted. Whether to answer is not
    /// asked of this node's own membership, which may be behind (thesis, section 4.1).
    pub fn receive(&mut self, now: Micros, from: NodeId, incarnation: Incarnation, message: Message) {
        if from == self.id {
            return;
        }
        let voter = (from, incarnation);
        match message {
            Message::PreVote { term, last_index, last_term } => {
                self.receive_pre_vote(now, from, term, last_index, last_term);
            }
            Message::Vote { term, last_index, last_term, forced } => {
                self.receive_vote(now, from, (term, forced), last_index, last_term);
            }
            Message::PreVoteReply { term, granted } => {
                self.receive_vote_reply(now, voter, term, granted, false);
            }
            Message::VoteReply { term, granted } => {
                self.receive_vote_reply(now, voter, term, granted, true);
            }
            Message::Append(append) => self.receive_append(now, from, append),
            Message::AppendReply { term, round, abstains, promises, verdict } => {
                let answer = Answer { incarnation, abstains, promises, term, round, verdict };
                self.receive_append_reply(now, from, answer);
            }
            Message::TimeoutNow { term } => self.receive_timeout_now(now, from, term),
            Message::Gone { at, .. } => self.receive_gone(now, at),
            Message::Ahead { end, .. } => self.receive_ahead(from, end),
        }
    }

    /// Appends an entry as the leader and returns its index. Sent by [`Raft::flush`].
    pub fn propose(&mut self, now: Micros, payload: bytes::Bytes) -> Index {
        assert!(self.is_leader(), "only a leader appends");
        let index = self.log.last().next();
        let changes = self.memberships.appended(index, &payload);
        let appended = self.log.append(LogEntry { term: self.term, payload });
        assert_eq!(appended, index, "an entry is appended behind the last one");
        if changes {
            self.members_changed(now);
        }
        index
    }

    /// Sends what has gathered since the last call: entries to followers that can take them, and the next
    /// read round. Called once at the end of a step, so that one message carries all that one step brought.
    pub fn flush(&mut self, now: Micros) {
        if self.is_leader() {
            self.start_round(now);
            self.send_appends(false);
        }
    }

    /// Everything up to this index of the present log is durable on this node's own disk.
    pub fn log_durable(&mut self, now: Micros, index: Index) {
        assert!(index <= self.log.last(), "a disk holds durably at most what was appended");
        self.durable = index;
        self.advance_commit(now);
    }

    /// The current term and vote are durable: a candidate may count its own vote.
    pub fn vote_durable(&mut self, now: Micros, term: Term, vote: Option<NodeId>) {
        let own = term == self.term && vote == Some(self.id);
        if own && matches!(self.role, Role::Candidate { real: true, .. }) {
            self.count_vote(now, self.voter(), true);
        }
    }

    /// Messages that have gathered, in order.
    pub fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outgoing)
    }

    /// Events that have gathered, in order.
    pub fn take_events(&mut self) -> Vec<RaftEvent> {
        std::mem::take(&mut self.events)
    }

    /// Whether this node leads its term, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The index of the leader's first entry in its term, if this node leads.
    #[must_use]
    pub fn term_start(&self) -> Option<Index> {
        match &self.role {
            Role::Leader(leader) => Some(leader.start),
            _ => None,
        }
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.id),
            Role::Follower { leader } => *leader,
            Role::Candidate { .. } => None,
        }
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> RoleName {
        match &self.role {
            Role::Leader(_) => RoleName::Leader,
            Role::Candidate { real: true, .. } => RoleName::Candidate,
            Role::Candidate { real: false, .. } => RoleName::PreCandidate,
            Role::Follower { .. } if self.gone.is_some() => RoleName::Removed,
            Role::Follower { .. } if self.repairing => RoleName::Repairing,
            Role::Follower { .. } if !self.may_vote() => RoleName::Learner,
            Role::Follower { .. } => RoleName::Follower,
        }
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whom this node voted for in the current term.
    #[must_use]
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// The commit index.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The highest index that this node's own disk holds.
    #[must_use]
    pub fn durable(&self) -> Index {
        self.durable
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log, for taking what is not yet written.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Whether this node abstains because it doubts its own memory.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// From now on this node abstains: it was told that its memory is older than what it once promised.
    pub fn doubt(&mut self, now: Micros) {
        self.doubtful = true;
        if !matches!(self.role, Role::Follower { .. }) {
            self.become_follower(now, self.term, None);
        }
    }

    /// Whether this node's votes and copies count, as far as it knows.
    fn may_vote(&self) -> bool {
        !self.doubtful && self.membership().is_voter(self.voter())
    }

    fn send(&mut self, to: NodeId, message: Message, needs: Needs) {
        self.send_by(Lane::Control, to, message, needs);
    }

    fn send_by(&mut self, lane: Lane, to: NodeId, message: Message, needs: Needs) {
        self.outgoing.push(Outgoing { to, lane, message, needs });
    }
}
