//! Replication: a leader's appends and heartbeats, a follower's answers, and the commit rule.

use super::message::{Append, ENTRY_HEAD_BYTES, Message, Verdict};
use super::progress::{Mode, Progress};
use super::{Leadership, Needs, Raft, RaftEvent, Role};
use crate::io::Lane;
use crate::membership::Membership;
use crate::time::Micros;
use crate::types::{EntryId, Incarnation, Index, NodeId, Term};

/// An answer to an append, with what the envelope says about its sender.
pub(super) struct Answer {
    pub incarnation: Incarnation,
    pub abstains: bool,
    pub promises: bool,
    pub term: Term,
    pub round: u64,
    pub verdict: Verdict,
}

impl Leadership {
    /// Whether this leadership may rest on something that a member has forgotten. A member in doubt is told, and
    /// then stays in doubt.
    ///
    /// It may have forgotten a vote: one for this leader, or one for a candidate of a later term, who may still win
    /// with it. It may have forgotten entries: those that it confirmed to this leader, which are no longer counted
    /// once its doubt is known here; or those of a later leader, of whom this one does not know yet. So every other
    /// voter must have confirmed this term since its doubt was known: then nobody was in a later term before, and
    /// no promise of a later one was forgotten. A majority is not enough, because a candidate outside it may hold
    /// the forgotten vote. A candidate that was removed can't: its removal was committed by a majority of the voters that it
    /// knows, without the doubtful one, and one of these would have to vote for its shorter log.
    fn relies_on(&self, member: NodeId, members: &Membership) -> bool {
        let Some(peer) = self.progress.get(&member) else { return true };
        let confirmed = |(id, other): (&NodeId, &Progress)| {
            *id == member || other.round >= peer.doubted_round || !members.has_voter_at(*id)
        };
        self.voters.iter().any(|(voter, _)| *voter == member)
            || !peer.abstains
            || !self.progress.iter().all(confirmed)
    }
}

impl Raft {
    /// Heartbeats, and the check that a quorum still answers.
    pub(super) fn leader_tick(&mut self, now: Micros) {
        let (heartbeat, election) = (self.timing.heartbeat, self.timing.election);
        let Role::Leader(leader) = &mut self.role else { return };
        if now >= leader.check_at {
            leader.check_at = now.after(election);
            if !self.hears_quorum(now) {
                self.events.push(RaftEvent::CheckQuorumFailed);
                self.become_follower(now, self.term, None);
                return;
            }
        }
        let Role::Leader(leader) = &mut self.role else { return };
        if now >= leader.heartbeat_at {
            leader.heartbeat_at = now.after(heartbeat);
            for peer in leader.progress.values_mut() {
                if peer.has_inflight() && now >= peer.heard_at.after(election) {
                    peer.presume_lost();
                }
            }
            // So that the lease never ends where nobody reads for a while.
            if self.timing.clock_bound_ppm.is_some() {
                leader.rounds.wanted = true;
                self.start_round(now);
            }
            self.send_appends(true);
            self.ask_again();
            self.mind_witness(now);
        }
        self.go_on_with_transfer(now);
    }

    /// Whether a majority of voters was heard of within an election time-out.
    fn hears_quorum(&self, now: Micros) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let recent = |at: Micros| now < at.after(self.timing.election.after(self.timing.heartbeat));
        self.membership().agrees(|voter| match leader.progress.get(&voter.0) {
            Some(peer) => recent(peer.heard_at) && (peer.counts_as(voter) || peer.incarnation.is_none()),
            None => voter == self.voter() && !self.doubtful,
        })
    }

    /// Whether a majority of the voters counts and is as asked; this node itself is, if it counts.
    pub(super) fn counts(&self, is: impl Fn(&Progress) -> bool) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        self.membership().agrees(|voter| match leader.progress.get(&voter.0) {
            Some(peer) => peer.counts_as(voter) && is(peer),
            None => voter == self.voter() && !self.doubtful,
        })
    }

    /// Sends to every follower what it may be sent; with `heartbeat`, an empty message.
    pub(super) fn send_appends(&mut self, heartbeat: bool) {
        let Role::Leader(leader) = &self.role else { return };
        let others: Vec<NodeId> = leader.progress.keys().copied().collect();
        for to in others {
            while self.send_append(to, heartbeat) {}
        }
    }

    /// Sends one message to one follower if there is something to say. True if more entries could follow.
    fn send_append(&mut self, to: NodeId, heartbeat: bool) -> bool {
        // A witness is told where the log is, and not what is in it.
        let most = self.is_witness_at(to).then(|| self.witness_may_hear());
        let Role::Leader(leader) = &mut self.role else { return false };
        let relies = leader.relies_on(to, self.memberships.current());
        let Some(peer) = leader.progress.get_mut(&to) else { return false };
        let round = leader.rounds.begun;
        peer.mind_start(self.log.start().index);
        // A heartbeat is only a question, so that it is answered at once, whatever the follower's disk does.
        let mut entries = if peer.may_send(&self.limits) && !heartbeat {
            self.log.slice(peer.next, self.limits.append_entries, peer.room(&self.limits))
        } else {
            Vec::new()
        };
        if let Some(most) = most {
            entries.truncate((most.next().0.saturating_sub(peer.next.0)) as usize);
            entries.iter_mut().for_each(|entry| entry.payload = (self.withhold)(&entry.payload));
        }
        // Followers learn the commit index with the next entries or heartbeat; only a round is worth an own
        // message.
        if entries.is_empty() && !heartbeat && peer.asked_round == round {
            return false;
        }
        // A question that overtakes many bytes can't speak of them. Behind them follows the usual one, to find out whether
        // they arrived; a round needs no more than an answer.
        let overtakes = entries.is_empty() && peer.has_much_inflight();
        let prev = match peer.mode {
            // It is only asked whether it is there: every log has the place before its first entry in common.
            Mode::Snapshot => EntryId::default(),
            Mode::Replicate if overtakes && !heartbeat => EntryId::default(),
            Mode::Probe { .. } | Mode::Replicate => {
                let index = peer.next.prev();
                let term = self.log.term_at(index).expect("a leader's log reaches to every next index");
                EntryId { index, term }
            }
        };
        let EntryId { index: prev_index, term: prev_term } = prev;
        let last = Index(prev_index.0 + entries.len() as u64);
        let more = !entries.is_empty() && last < most.unwrap_or(self.log.last()).min(self.log.last());
        peer.asked_round = round;
        // What speaks of entries that are on their way must not be there before them.
        let speaks = !entries.is_empty() || peer.mode == Mode::Replicate && prev_index > peer.matched;
        let lane = if speaks { Lane::Bulk } else { Lane::Control };
        if !entries.is_empty() {
            let bytes = entries.iter().map(|entry| entry.payload.len() + ENTRY_HEAD_BYTES).sum();
            peer.sent(last, bytes);
        }
        let append = Append {
            term: self.term,
            prev_index,
            prev_term,
            commit: self.commit,
            round,
            relies,
            held_by_both: self.held_by_both(),
            withheld: most.is_some(),
            entries,
        };
        if overtakes && lane == Lane::Bulk {
            let EntryId { index: prev_index, term: prev_term } = EntryId::default();
            let question = Append { prev_index, prev_term, entries: Vec::new(), ..append };
            self.send(to, Message::Append(question), Needs::Term);
        }
        self.send_by(lane, to, Message::Append(append), Needs::Term);
        more
    }

    /// Copies a leader's entries.
    pub(super) fn receive_append(&mut self, now: Micros, from: NodeId, append: Append) {
        if append.term < self.term {
            // The answer's term tells the old leader that it was replaced.
            self.reply_append(from, append.round, Verdict::Heard, Needs::Term);
            return;
        }
        assert!(
            !(self.is_leader() && append.term == self.term),
            "two leaders in one term: this node and {from} in {}",
            self.term
        );
        self.become_follower(now, append.term, Some(from));
        self.heard_leader_at = Some(now);
        self.reset_election_timer(now);
        if self.repairing {
            // It hears its leader; what it holds is for `node/repair.rs` to find out.
            self.reply_append(from, append.round, Verdict::Heard, Needs::Term);
            return;
        }
        self.held_by_both = append.held_by_both;
        if append.withheld && !append.entries.is_empty() && !self.is_witness() {
            // Its leader takes this directory for a witness's, which another one under the same number was. It hears the truth with this
            // answer, and finds out that nothing came.
            self.reply_append(from, append.round, Verdict::Heard, Needs::Term);
            return;
        }
        // What a snapshot covers is committed, and so it is in every leader's log.
        let start = self.log.start().index;
        let fits = append.prev_index < start || self.log.term_at(append.prev_index) == Some(append.prev_term);
        if !fits {
            let verdict = self.conflict(append.prev_index, append.prev_term);
            self.reply_append(from, append.round, verdict, Needs::Term);
            return;
        }
        // What is committed is in every leader's log, whatever this message shows of it.
        let held = start.max(self.commit.min(self.durable));
        let matched = Index(append.prev_index.0 + append.entries.len() as u64).max(held);
        let (round, commit, relies) = (append.round, append.commit, append.relies);
        let empty = append.entries.is_empty();
        self.copy(now, append);
        // What lies beyond `matched` may be another leader's: it is not committed by this message.
        self.commit_to(commit.min(matched));
        if !relies && commit <= matched {
            self.settle_doubt(from, commit);
        }
        self.answer_append(from, round, matched, empty);
    }

    /// Says what is durable, once it is. The disk may be slow: whether the leader still leads, which is what a
    /// heartbeat and a round ask, is answered meanwhile.
    fn answer_append(&mut self, from: NodeId, round: u64, matched: Index, empty: bool) {
        let asks = empty || round > self.answered_round;
        self.answered_round = self.answered_round.max(round);
        if self.durable >= matched {
            self.reply_append(from, round, Verdict::Match(matched), Needs::Term);
            return;
        }
        if asks {
            self.reply_append(from, round, Verdict::Heard, Needs::Term);
        }
        // Whoever brought the entries is answered when they are durable, and a later heartbeat at once. So what
        // waits for a disk that stands still is bounded by the leader's window.
        if !empty {
            self.reply_append(from, round, Verdict::Match(matched), Needs::Log);
        }
    }

    /// Adds the entries that are new, cutting the log only where it really conflicts (paper, section 5.3): an
    /// old message that was overtaken must not cut what came after it.
    fn copy(&mut self, now: Micros, append: Append) {
        let (mut index, mut changes) = (append.prev_index, false);
        for mut entry in append.entries {
            index = index.next();
            if self.is_witness() {
                // Whatever the leader took this directory for: it never holds data.
                entry.payload = (self.withhold)(&entry.payload);
            }
            match self.log.term_at(index) {
                _ if index <= self.log.start().index => continue,
                Some(term) if term == entry.term => continue,
                Some(_) => self.truncate_from(now, index),
                None => {}
            }
            assert!(entry.term <= self.term, "a leader sends no entry of a later term than its own");
            changes |= self.memberships.appended(index, &entry.payload);
            let at = self.log.append(entry);
            assert_eq!(at, index, "entries are copied in order");
        }
        if changes {
            self.members_changed(now);
        }
        self.knows_for_itself();
    }

    fn truncate_from(&mut self, now: Micros, index: Index) {
        assert!(
            index > self.commit,
            "a leader of term {} contradicts the committed entry {index} (commit index {})",
            self.term,
            self.commit
        );
        self.log.truncate_from(index);
        self.durable = self.durable.min(index.prev());
        self.events.push(RaftEvent::Truncated(index));
        if self.memberships.cut(index) {
            self.events.push(RaftEvent::MembersUndone);
            self.members_changed(now);
        }
    }

    /// Where the search for the match goes on.
    fn conflict(&self, prev_index: Index, prev_term: Term) -> Verdict {
        let hint_index = self.log.last_at_most(prev_index.prev().min(self.log.last()), prev_term);
        let hint_term = self.log.term_at(hint_index).expect("the hint lies in the log");
        Verdict::Conflict { rejected: prev_index, hint_index, hint_term }
    }

    /// A node in doubt goes on once it holds durably all that is committed, up to an entry of the present leader's
    /// own term, and that leader does not rely on anything that this node may have forgotten. Whatever this node
    /// promised before and forgot, it concerns no term above that one (see `Leadership::relies_on`).
    fn settle_doubt(&mut self, leader: NodeId, commit: Index) {
        // Not before it is durable: a crash that keeps the end of the doubt must keep what ended it.
        let holds = self.durable >= commit && self.log.term_at(commit) == Some(self.term);
        if self.doubtful && holds {
            self.doubtful = false;
            // It goes on above this term; in it, its vote is spent. One that it does remember stays.
            self.vote.get_or_insert(leader);
        }
    }

    pub(super) fn reply_append(&mut self, to: NodeId, round: u64, verdict: Verdict, needs: Needs) {
        let (abstains, promises) = (self.doubtful, self.promises());
        let reply = Message::AppendReply { term: self.term, round, abstains, promises, verdict };
        self.send(to, reply, needs);
    }

    /// Learns from a follower's answer.
    pub(super) fn receive_append_reply(&mut self, now: Micros, from: NodeId, answer: Answer) {
        let Answer { incarnation, abstains, promises, term, round, verdict } = answer;
        if term > self.term {
            self.become_follower(now, term, None);
            return;
        }
        let last = self.log.last();
        let Role::Leader(leader) = &mut self.role else { return };
        // An answer from an earlier term speaks of an earlier leader's entries and rounds.
        let (true, Some(peer)) = (term == self.term, leader.progress.get_mut(&from)) else { return };
        if peer.answered(incarnation, abstains, now) {
            peer.doubted_round = leader.rounds.begun + 1;
            leader.rounds.wanted = true;
        }
        let before = peer.matched;
        peer.promises = promises;
        peer.round = peer.round.max(round.min(leader.rounds.begun));
        match verdict {
            Verdict::Heard => {}
            // Nobody can hold what this leader has not appended: whoever says so is not believed.
            Verdict::Match(index) if index > last => {}
            Verdict::Match(index) => peer.match_to(index),
            Verdict::Conflict { rejected, hint_index, hint_term } => {
                let next = self.log.last_at_most(hint_index, hint_term).next();
                peer.conflict(rejected, next);
            }
        }
        if peer.matched > before || peer.matched >= self.durable {
            peer.moved_at = now;
        }
        self.advance_rounds();
        self.advance_commit(now);
        self.go_on_with_transfer(now);
    }

    /// Commits what a majority of voters holds durably, if it belongs to this term (paper, section 5.4.2 and
    /// figure 8: an entry of an earlier term is never committed by counting).
    pub(super) fn advance_commit(&mut self, now: Micros) {
        if !self.is_leader() {
            return;
        }
        let index = self.membership().held(|voter| self.held_by(voter));
        if index > self.commit && self.log.term_at(index) == Some(self.term) {
            self.commit_to(index);
            self.go_on_with_change(now);
        }
    }

    fn commit_to(&mut self, index: Index) {
        assert!(index <= self.log.last(), "what is committed lies in the log");
        self.commit = self.commit.max(index);
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::config::Timing;
    use crate::limits::Limits;
    use crate::raft::{Log, LogEntry, Start};

    /// A node in doubt that voted for itself in term 5, and knows it.
    fn doubtful() -> Raft {
        let voters = (1..=3).map(|id| (NodeId(id), Incarnation(u64::from(id)))).collect();
        let start = Start {
            id: NodeId(3),
            incarnation: Incarnation(3),
            membership: Membership::of(voters),
            read_membership: |_| None,
            withhold: bytes::Bytes::clone,
            doubtful: true,
            term: Term(5),
            vote: Some(NodeId(3)),
            log: Log::default(),
            damaged: None,
            had_others: false,
            promised_until: Micros(0),
        };
        Raft::new(start, Timing::default(), Limits::default(), ChaCha8Rng::from_seed([1; 32]), Micros(0))
    }

    #[test]
    fn a_vote_that_is_remembered_outlives_the_doubt() {
        let mut raft = doubtful();
        let entry = LogEntry { term: Term(5), payload: bytes::Bytes::from_static(b"x") };
        let mut append = Append {
            term: Term(5),
            prev_index: Index(0),
            prev_term: Term(0),
            commit: Index(1),
            round: 1,
            relies: false,
            held_by_both: Index(0),
            withheld: false,
            entries: vec![entry],
        };
        raft.receive(Micros(1), NodeId(1), Incarnation(1), Message::Append(append.clone()));
        raft.log_durable(Micros(2), Index(1));
        (append.prev_index, append.prev_term) = (Index(1), Term(5));
        append.entries.clear();
        raft.receive(Micros(2), NodeId(1), Incarnation(1), Message::Append(append));
        assert!(!raft.is_doubtful());
        assert_eq!(raft.vote(), Some(NodeId(3)), "a node votes once in a term");
    }
}
