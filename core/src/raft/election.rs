//! Elections: time-outs, pre-votes, votes, and the changes of role that follow.

use std::collections::BTreeMap;

use rand_core::Rng;

use super::lease::Lease;
use super::progress::Progress;
use super::read::Rounds;
use super::{Leadership, Message, Needs, Raft, RaftEvent, Role};
use crate::membership::Voter;
use crate::time::Micros;
use crate::types::{EntryId, Index, NodeId, Term};

/// A time-out is drawn from a range up to this power of two times as wide as usual.
const MOST_WIDENED: u32 = 3;

impl Raft {
    /// No leader was heard of for an election time-out.
    pub(super) fn election_timeout(&mut self, now: Micros) {
        self.reset_election_timer(now);
        if self.may_lead(now) {
            self.ask(now, false, false);
        }
    }

    /// A node that is no voter of the newest membership in its log stands all the same while it does not know that one to be committed,
    /// if it is a voter of one before: it may be the only one that has it (thesis, section 4.2.2 and figure 4.6). Its own vote
    /// does not count then. A witness never stands.
    pub(super) fn may_lead(&self, now: Micros) -> bool {
        let votes = self.memberships.since(self.commit).any(|members| members.is_voter(self.voter()));
        votes
            && !self.is_witness()
            && !self.doubtful
            && !self.repairing
            && self.gone.is_none()
            && now >= self.passes_until
    }

    /// Asks everybody for a pre-vote, or for a vote in a new term; `forced` because the leader wants it.
    pub(super) fn ask(&mut self, now: Micros, real: bool, forced: bool) {
        self.role = Role::Candidate { real, granted: Vec::new(), refused: Vec::new() };
        if real {
            self.term = self.term.next();
            self.unled = self.unled.saturating_add(1);
            self.vote = Some(self.id);
            self.answered_round = 0;
            self.reset_election_timer(now);
        }
        let term = if real { self.term } else { self.term.next() };
        let (last_index, last_term) = (self.log.last(), self.log.last_term());
        for to in self.other_voters() {
            let message = if real {
                Message::Vote { term, last_index, last_term, forced }
            } else {
                Message::PreVote { term, last_index, last_term }
            };
            self.send(to, message, Needs::Term);
        }
        // A pre-vote promises nothing. The vote for itself counts once it is durable (`vote_durable`).
        if !real {
            self.count_vote(now, self.voter(), true);
        }
    }

    /// Grants a pre-vote if this node would grant the vote and knows no living leader.
    pub(super) fn receive_pre_vote(
        &mut self,
        now: Micros,
        from: NodeId,
        term: Term,
        last_index: Index,
        last_term: Term,
    ) {
        if self.doubtful {
            self.events.push(RaftEvent::Abstained);
            return;
        }
        self.tell_if_gone(from);
        // A node that hears its leader protects it from those that don't (thesis, section 4.2.3).
        let led = self.is_leader() || self.hears_leader(now) || self.has_promised(now);
        let up_to_date = self.is_up_to_date(last_index, last_term);
        if !led && !up_to_date {
            self.refuse_as_older(from, EntryId { index: last_index, term: last_term });
        }
        let granted = term > self.term && !led && up_to_date;
        let term = if granted { term } else { self.term };
        self.send(from, Message::PreVoteReply { term, granted }, Needs::Term);
    }

    /// Votes, at most once per term, for a candidate whose log is up to date.
    pub(super) fn receive_vote(
        &mut self,
        now: Micros,
        from: NodeId,
        (term, forced): (Term, bool),
        last_index: Index,
        last_term: Term,
    ) {
        if self.doubtful {
            self.events.push(RaftEvent::Abstained);
            return;
        }
        // A leader may answer reads because of the promise. Whom that leader wants to take over is told so in the request.
        if !forced && term > self.term && !self.is_leader() && self.has_promised(now) {
            return;
        }
        if term > self.term {
            self.become_follower(now, term, None);
        }
        let free = self.vote.is_none_or(|vote| vote == from);
        let granted = term == self.term && free && self.is_up_to_date(last_index, last_term);
        if granted {
            assert!(!self.is_leader(), "a leader has voted for itself");
            self.vote = Some(from);
            self.reset_election_timer(now);
        }
        self.send(from, Message::VoteReply { term: self.term, granted }, Needs::Term);
    }

    /// Counts an answer to a vote or pre-vote.
    pub(super) fn receive_vote_reply(
        &mut self,
        now: Micros,
        from: Voter,
        term: Term,
        granted: bool,
        real_reply: bool,
    ) {
        let asked = match &self.role {
            Role::Candidate { real: true, .. } if real_reply => self.term,
            Role::Candidate { real: false, .. } if !real_reply => self.term.next(),
            _ => Term(0),
        };
        // A granted pre-vote carries the asked term, which nobody has opened.
        let opened = real_reply || !granted;
        if opened && term > self.term {
            self.become_follower(now, term, None);
        } else if term == asked || (!granted && !real_reply && asked > Term(0)) {
            self.count_vote(now, from, granted);
        }
    }

    /// Counts one answer if it is a voter's, and changes role once a majority has said yes, or can't any more.
    pub(super) fn count_vote(&mut self, now: Micros, from: Voter, yes: bool) {
        let Role::Candidate { real, granted, refused } = &mut self.role else { return };
        if yes && !granted.contains(&from) {
            granted.push(from);
        } else if !yes && !refused.contains(&from) {
            refused.push(from);
        }
        let members = self.memberships.current();
        let won = members.agrees(|voter| granted.contains(&voter));
        let lost = members.refuses(|voter| refused.contains(&voter));
        match (*real, won, lost) {
            (false, true, _) => self.ask(now, true, false),
            (true, true, _) => self.become_leader(now),
            (_, false, true) => self.become_follower(now, self.term, None),
            (_, false, false) => {}
        }
    }

    /// Follows, in this term or a higher one, and forgets its vote only with the term.
    pub(super) fn become_follower(&mut self, now: Micros, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.term, "terms never go back");
        if term > self.term {
            self.term = term;
            self.unled = self.unled.saturating_add(1);
            self.vote = None;
            self.answered_round = 0;
        }
        if leader.is_some() {
            self.unled = 0;
            self.refusal = None;
        }
        if self.is_leader() {
            self.events.push(RaftEvent::LostLeadership);
        }
        // A follower that merely hears of a higher term keeps its time-out (paper, section 5.2): otherwise a
        // node that can't win would keep one that can from asking.
        if !matches!(self.role, Role::Follower { .. }) || leader.is_some() {
            self.reset_election_timer(now);
        }
        self.role = Role::Follower { leader };
    }

    fn become_leader(&mut self, now: Micros) {
        assert_eq!(self.vote, Some(self.id), "a leader has voted for itself");
        assert!(!self.doubtful, "a node that doubts its memory asks for no votes");
        let voters = match &self.role {
            Role::Candidate { granted, .. } => granted.clone(),
            _ => unreachable!("only a candidate becomes leader"),
        };
        self.unled = 0;
        self.refusal = None;
        let last = self.log.last();
        let progress: BTreeMap<_, _> = self.others().map(|peer| (peer, Progress::new(last, now))).collect();
        self.role = Role::Leader(Box::new(Leadership {
            start: last.next(),
            voters,
            progress,
            rounds: Rounds::default(),
            lease: Lease::default(),
            transfer: None,
            goal: last,
            goal_at: now,
            // The term's first entry, which follows in this step, is the first heartbeat.
            heartbeat_at: now.after(self.timing.heartbeat),
            check_at: now.after(self.timing.election),
        }));
        self.events.push(RaftEvent::BecameLeader);
    }

    /// Whether a candidate's log has all that may be committed (paper, section 5.4.1).
    fn is_up_to_date(&self, last_index: Index, last_term: Term) -> bool {
        (last_term, last_index) >= (self.log.last_term(), self.log.last())
    }

    /// Draws the next election time-out, between one and two times the configured one. The more terms in a row had no
    /// leader, the wider it is drawn: where votes take longer to become durable than the time-out is, nobody could be
    /// elected (paper, section 5.6).
    pub(super) fn reset_election_timer(&mut self, now: Micros) {
        let span = self.timing.election.0.max(1);
        let jitter =
            self.rng.next_u64() % span.saturating_mul(1 << self.unled.saturating_sub(1).min(MOST_WIDENED));
        self.election_at = now.after(Micros(span + jitter));
    }
}
