//! What a member does about claims that wait: it parks their requests, answers those whose wait has ended, and ends the waits
//! that nobody listens to.

use super::forward::{Task, Ticket};
use super::replica::{Replica, Stepped, probe};
use super::waiting::Asker;
use crate::access::user::Principal;
use crate::command::{Command, claims};
use crate::error::{ErrorCode, Failure};
use crate::io::Outbox;
use crate::reply::{Receipt, Reply, Value};
use crate::state::effect::{Cause, Effect, Entry};
use crate::time::{Micros, Millis};
use crate::trace::Probe;
use crate::types::Index;

/// How many bytes of keys and claims that go with leases are logged in one entry, about.
const OVER_ROOM: usize = 256 << 10;

/// How long the end of a wait that nobody listens to may take to be logged.
const FORGET_WITHIN: Micros = Micros::from_millis(60_000);

impl Replica {
    /// Answers a request of this node's, or parks it if its claim waits.
    pub fn answer_here(&mut self, ticket: Ticket, in_session: bool, reply: Reply) {
        let Ok(Value::Waiting(id)) = reply.outcome else { return self.answers.push((ticket, reply)) };
        if let Some(reply) = self.parked.park(id, ticket, in_session) {
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
    pub fn relayed(&mut self, seq: u64, reply: Reply, out: &mut Outbox) -> Stepped {
        let waits = if let Ok(Value::Waiting(id)) = reply.outcome { Some(id) } else { None };
        match (self.forwarder.answered(seq), waits) {
            (Some((Some(ticket), in_session)), _) => self.answer_here(ticket, in_session, reply),
            // Whoever asked has gone meanwhile.
            (Some((None, false)), Some(id)) => return self.forget_wait(id, out),
            _ => {}
        }
        Ok(())
    }

    /// An entry was applied: those whose wait it ends are answered.
    pub fn tell_waiting(&mut self, index: Index, entry: &Entry, out: &mut Outbox) {
        for effect in &entry.effects {
            let Effect::WaitEnded { id, outcome, .. } = effect else { continue };
            let receipt = Some(Receipt { position: index, time: entry.time });
            let reply = Reply { outcome: outcome.clone(), receipt };
            for ticket in self.parked.ended(*id, &reply) {
                probe(out, Probe::ParkedAnswered);
                self.answers.push((ticket, reply.clone()));
            }
        }
    }

    /// Nobody waits for an answer any more. Says whether the command may have taken effect, or may yet.
    pub fn abandon(&mut self, ticket: Ticket, out: &mut Outbox) -> Result<bool, crate::io::HaltReason> {
        if let Some(forgotten) = self.parked.give_up(ticket) {
            if let Some(id) = forgotten {
                self.forget_wait(id, out)?;
            }
            return Ok(true);
        }
        Ok(self.forwarder.give_up(ticket).unwrap_or(true))
    }

    /// Ends a wait that nobody listens to.
    pub fn forget_wait(&mut self, id: Index, out: &mut Outbox) -> Stepped {
        let command = Command::ForgetWait { id };
        let task = Task { principal: Principal::Anybody, command, once: None, within: FORGET_WITHIN };
        if self.raft.is_leader() {
            return self.execute(Asker::Nobody, &task, None, out);
        }
        // Beyond this, the waits' own deadlines have to do.
        if self.forwarder.len() < self.config.limits.waiting_requests {
            self.forwarder.push_for_nobody(task, self.now.mono);
        }
        Ok(())
    }

    /// What became of these claims is not known here: a snapshot took the place of the entries that tell, or the term was
    /// lost before they were committed.
    pub fn lose_track(&mut self, keep: impl Fn(Index) -> bool) {
        for ticket in self.parked.retain(keep) {
            let text = "this node lost track of the wait: the claim may be held or not; ask again under the same session and \
                        sequence, or with SHOW";
            self.answers.push((ticket, Reply::refused(Failure::new(ErrorCode::LeaderLost, text))));
        }
    }

    /// A snapshot became the state.
    pub fn waits_after_snapshot(&mut self) {
        let (state, waits) = (self.state.committed(), self.state.waiting_claims());
        // What was parked for a claim that is still to come is not touched.
        self.lose_track(|id| id > state || waits.contains(&id));
    }

    /// Ends the leases and waits whose time has passed.
    pub fn end_what_is_over(&mut self, now: Millis) {
        let max = self.config.limits.expiry_batch;
        let (leases, waits) = self.state.due_leases(now, max);
        if leases.is_empty() && waits.is_empty() {
            return;
        }
        let effects = claims::over(self.state.view(now.max(self.state.time())), &leases, &waits, OVER_ROOM);
        assert!(!effects.is_empty(), "the end of a lease or wait is logged");
        self.append(Cause::Expiry, effects);
    }
}
