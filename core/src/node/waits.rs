//! What a member does about claims that wait: it parks their requests, answers those whose wait has ended, and ends the waits
//! that nobody listens to.

use super::forward::{Task, Ticket};
use super::replica::{Replica, Stepped, probe};
use super::waiting::Asker;
use crate::access::user::Principal;
use crate::command::{Command, turns};
use crate::coordination::claim::ClaimKey;
use crate::error::{ErrorCode, Failure};
use crate::io::Outbox;
use crate::reply::{Receipt, Reply, Value};
use crate::state::effect::{Cause, Effect, Entry};
use crate::time::{Micros, Millis};
use crate::trace::Probe;
use crate::types::{Index, LeaseId, Term};

/// How many bytes of keys and claims that go with leases are logged in one entry, about.
const OVER_ROOM: usize = 256 << 10;

/// So many waits that nobody listens to are ended at a time: each is a command.
const FORGOTTEN_AT_ONCE: usize = 32;

/// How often the leader looks for waits in sessions that have ended.
const ORPHANS_EVERY: Micros = Micros::from_millis(1_000);

/// How long the end of a wait that nobody listens to may take to be logged.
const FORGET_WITHIN: Micros = Micros::from_millis(60_000);

/// A wait that may have begun: its leader lost the term before that was known.
#[derive(Clone, Debug)]
pub(super) struct Unsure {
    /// The entry that begins it.
    index: Index,
    /// The term of that entry; if another one is committed there, it did not begin.
    term: Option<Term>,
    ticket: Ticket,
    in_session: bool,
    reply: Reply,
}

/// What whoever waits is told when this node cannot know any more what became of the claim.
fn lost_track() -> Failure {
    let text = "this node lost track of the wait: the claim may be held or not; ask again under the same session and \
                sequence, or with SHOW";
    Failure::new(ErrorCode::LeaderLost, text)
}

impl Replica {
    /// Answers a request of this node's, or parks it if its claim waits.
    pub fn answer_here(&mut self, ticket: Ticket, in_session: bool, reply: Reply) {
        let gone = self.gone.remove(&ticket);
        let Ok(Value::Waiting(id)) = reply.outcome else { return self.answers.push((ticket, reply)) };
        if gone {
            // Whoever asked has gone meanwhile.
            if !in_session {
                self.forget_wait(id);
            }
        } else if let Some(reply) = self.parked.park(id, ticket, in_session) {
            self.answers.push((ticket, reply));
        } else if reply.receipt.is_none_or(|receipt| receipt.position <= self.state.committed())
            && self.state.tail() == self.state.committed()
            && !self.state.waits(id)
        {
            // It ended so long ago that nothing is remembered of it.
            self.lose_track(|known| known != id);
        }
    }

    /// A leader has answered a command that this node handed on.
    pub fn relayed(&mut self, seq: u64, reply: Reply) {
        let waits = if let Ok(Value::Waiting(id)) = reply.outcome { Some(id) } else { None };
        match (self.forwarder.answered(seq), waits) {
            (Some((Some(ticket), in_session)), _) => self.answer_here(ticket, in_session, reply),
            (Some((None, false)), Some(id)) => self.forget_wait(id),
            _ => {}
        }
    }

    /// An entry was applied: those whose wait it ends are answered.
    pub fn tell_waiting(&mut self, index: Index, entry: &Entry, out: &mut Outbox) {
        for effect in &entry.effects {
            let Effect::WaitEnded { id, outcome, .. } = effect else { continue };
            self.forgets.remove(id);
            let degraded = self.raft.rests_on_one_disk(index);
            let receipt = Some(Receipt { degraded, ..Receipt::durable(index, entry.time) });
            let reply = Reply { outcome: outcome.clone(), receipt };
            for ticket in self.parked.ended(*id, &reply) {
                probe(out, Probe::ParkedAnswered);
                self.answers.push((ticket, reply.clone()));
            }
        }
        self.settle_unsure(index);
    }

    /// The term was lost before it was known whether a wait began: that is told when it is known.
    pub fn unsure_of(&mut self, index: Index, ticket: Ticket, in_session: bool, reply: Reply) {
        if index <= self.state.committed() {
            return self.answer_here(ticket, in_session, reply);
        }
        let term = self.raft.log().get(index).map(|entry| entry.term);
        self.unsure.push(Unsure { index, term, ticket, in_session, reply });
    }

    /// Everything up to here is committed: what was unsure there is known now.
    fn settle_unsure(&mut self, committed: Index) {
        if self.unsure.is_empty() {
            return;
        }
        let (known, unsure) =
            std::mem::take(&mut self.unsure).into_iter().partition(|it| it.index <= committed);
        self.unsure = unsure;
        for Unsure { index, term, ticket, in_session, reply } in known {
            let now = self.raft.log().get(index).map(|entry| entry.term);
            let failure = match (term, now) {
                (Some(begun), Some(committed)) if begun == committed => {
                    self.answer_here(ticket, in_session, reply);
                    continue;
                }
                // One entry is committed at an index, and it is not the one that begins the wait (paper 5.3).
                (Some(_), Some(_)) => Failure::new(
                    ErrorCode::LeaderChanged,
                    "this node lost its term, and the command was not executed: try again",
                ),
                // A snapshot took the entry's place: which one it was is not told any more.
                _ => lost_track(),
            };
            if !self.gone.remove(&ticket) {
                self.answers.push((ticket, Reply::refused(failure)));
            }
        }
    }

    /// Nobody waits for an answer any more. Says whether the command may have taken effect, or may yet.
    pub fn abandon(&mut self, ticket: Ticket, may_wait: bool) -> bool {
        let watched = self.watches.give_up(ticket);
        self.forget_transfer(ticket);
        if let Some(forgotten) = self.parked.give_up(ticket) {
            if let Some(id) = forgotten {
                self.forget_wait(id);
            }
            return true;
        }
        self.forwarder.give_up(ticket).unwrap_or_else(|| {
            // Its answer is still to come, and may be that it waits.
            if may_wait && !watched {
                self.gone.insert(ticket);
            }
            true
        })
    }

    /// Ends a wait that nobody listens to, as soon as there is a leader to do it.
    pub fn forget_wait(&mut self, id: Index) {
        self.forgets.entry(id).or_insert(Micros(0));
    }

    /// Asks for the end of waits that nobody listens to; again, if that seems to be lost.
    pub fn forget_waits(&mut self, out: &mut Outbox) -> Stepped {
        if self.state.tail() == self.state.committed() {
            let state = &self.state;
            self.forgets.retain(|id, _| *id > state.committed() || state.waits(*id));
        }
        let (now, patience) = (self.now.mono, Micros(self.config.timing.election.0.saturating_mul(4)));
        let due = self.forgets.iter().filter(|(_, asked)| asked.0 == 0 || now >= asked.after(patience));
        let due: Vec<Index> = due.map(|(id, _)| *id).take(FORGOTTEN_AT_ONCE).collect();
        for id in due {
            let command = Command::ForgetWait { id };
            let task = Task { principal: Principal::Anybody, command, once: None, within: FORGET_WITHIN };
            if self.raft.is_leader() {
                self.execute(Asker::Nobody, &task, None, out)?;
            } else if self.forwarder.len() < self.config.limits.waiting_requests {
                self.forwarder.push_for_nobody(task, now);
            }
            self.forgets.insert(id, now);
        }
        Ok(())
    }

    /// What became of these claims is not known here: a snapshot took the place of the entries that tell, the node stops, or it
    /// hears no leader.
    pub fn lose_track(&mut self, keep: impl Fn(Index) -> bool) {
        for (ticket, id, in_session) in self.parked.retain(keep) {
            if !in_session {
                self.forget_wait(id);
            }
            self.answers.push((ticket, Reply::refused(lost_track())));
        }
    }

    /// Without a leader for two of the longest election time-outs, whoever waits had better ask another node.
    pub fn leave_waiting(&mut self) {
        if self.raft.leader().is_some() {
            self.leaderless = None;
            return;
        }
        let since = *self.leaderless.get_or_insert(self.now.mono);
        let patience = Micros(self.config.timing.election.0.saturating_mul(4));
        if self.now.mono >= since.after(patience) {
            self.lose_track(|_| false);
            self.give_up_watches();
        }
    }

    /// A snapshot became the state.
    pub fn waits_after_snapshot(&mut self) {
        let (state, waits) = (self.state.committed(), self.state.waiting_claims());
        // What was parked for a claim that is still to come is not touched.
        self.lose_track(|id| id > state || waits.contains(&id));
        self.history.reset(state);
        self.watches.reconsider_all();
        self.settle_unsure(state);
    }

    /// Ends the leases and waits whose time has passed.
    pub fn end_what_is_over(&mut self, now: Millis) {
        let max = self.config.limits.expiry_batch;
        let (leases, waits) = self.state.due_leases(now, max);
        self.log_over(now, &leases, &waits);
    }

    /// Ends the waits whose session has ended.
    pub fn end_orphans(&mut self) {
        if self.now.mono < self.orphans_at || !self.raft.is_leader() || self.overload(true, false).is_some() {
            return;
        }
        self.orphans_at = self.now.mono.after(ORPHANS_EVERY);
        let Some(clock) = &mut self.clock else { return };
        let now = clock.read(self.now).max(self.state.time());
        let orphans = turns::orphans(self.state.view(now), self.config.limits.expiry_batch);
        self.log_over(now, &[], &orphans);
    }

    fn log_over(&mut self, now: Millis, leases: &[LeaseId], waits: &[ClaimKey]) {
        if leases.is_empty() && waits.is_empty() {
            return;
        }
        let effects = turns::over(self.state.view(now.max(self.state.time())), leases, waits, OVER_ROOM);
        assert!(!effects.is_empty(), "the end of a lease or wait is logged");
        self.append(Cause::Expiry, effects);
    }
}
