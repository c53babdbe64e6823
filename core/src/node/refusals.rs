//! What a leader does not take in, and how it says so: there is no room, it would come too late, or nobody waits for it any more. What a
//! command may do is not decided here: evaluation says.
//!
//! A refusal says that nothing happened and never will. Where that can't be known it says that instead; and where the command may come
//! once more, it is remembered.

use super::forward::Task;
use super::leader::Relay;
use super::replica::{Replica, Stepped};
use super::waiting::Asker;
use crate::command::Command;
use crate::error::{ErrorCode, Failure};
use crate::io::Outbox;
use crate::reply::Reply;
use crate::time::Micros;

impl Replica {
    /// Whether a refusal can be remembered, where it has to be.
    pub fn may_refuse(&self, asker: Asker) -> bool {
        match asker {
            Asker::There { node, origin, .. } if node != self.config.id => self.inbound.may_refuse(origin),
            _ => true,
        }
    }

    /// Refuses a command that would have been logged.
    pub fn refuse_logged(
        &mut self,
        asker: Asker,
        failure: Failure,
        relay: Option<Relay>,
        write: bool,
        out: &mut Outbox,
    ) -> Stepped {
        let failure = as_far_as_known(failure, relay.filter(|_| write));
        if write {
            self.remember_refused(asker, failure.clone());
        }
        self.answer(asker, Reply::refused(failure), out)
    }

    /// A write of another node's is refused however often it comes: its client may be told that nothing happened.
    pub fn remember_refused(&mut self, asker: Asker, failure: Failure) {
        if let Asker::There { node, origin, seq, .. } = asker
            && node != self.config.id
        {
            self.inbound.refuse(origin, seq, failure);
        }
    }

    /// Refuses a command of which nothing was logged now.
    pub fn refuse(
        &mut self,
        asker: Asker,
        failure: Failure,
        relay: Option<Relay>,
        out: &mut Outbox,
    ) -> Stepped {
        self.answer(asker, Reply::refused(as_far_as_known(failure, relay)), out)
    }

    /// Why nothing more can be taken in, if so. A full log refuses only what would be logged, and a full disk only what
    /// makes the database larger: the rest of the segment in use is kept for what makes room.
    pub fn overload(&self, logs: bool, grows: bool) -> Option<Failure> {
        let limits = &self.config.limits;
        // What a majority holds without this node's disk is committed, and still fills its memory until it is written.
        let entries = self.tail_bytes.max(self.wal.queued_bytes());
        let answers = (self.waiting.len(), self.waiting.bytes());
        if entries >= limits.pending_bytes
            || answers.0 >= limits.waiting_requests
            || answers.1 >= limits.reply_bytes
        {
            let what = match (self.must_wait_for_snapshot(), entries > self.tail_bytes) {
                (true, _) => "a snapshot to be written",
                (false, true) => "the leader's disk",
                (false, false) => "a majority",
            };
            let text = format!(
                "{entries} bytes of entries and {} answers of {} bytes wait for {what}: try again later",
                answers.0, answers.1
            );
            return Some(Failure::overloaded(text, self.oldest_waits().unwrap_or_default()));
        }
        if logs && self.raft.log().bytes() >= limits.log_bytes {
            let text = format!("the log has reached its limit of {} bytes", limits.log_bytes);
            return Some(Failure::new(ErrorCode::LimitReached, text));
        }
        if grows && self.wal.is_full() {
            let text = "the leader's disk is full: free space on it, or delete keys";
            return Some(Failure::new(ErrorCode::LimitReached, text));
        }
        None
    }

    /// Whether nobody waits for a command any more: to do it would only keep others waiting (metastable failure: Bronson et al., HotOS 2021).
    /// What cleans up is for nobody anyway.
    pub fn is_too_late(&self, asker: Asker, task: &Task) -> bool {
        let cleans_up = matches!(task.command, Command::ForgetWait { .. });
        task.within == Micros(0) && !cleans_up && self.may_refuse(asker)
    }

    /// Why an entry that has to be committed within this time had better not be appended, if so. What waits longest
    /// tells how long it would wait; to log what nobody will wait for any more only keeps the others waiting, and a
    /// surge of retries would never end (metastable failure: Bronson et al., HotOS 2021).
    pub fn behind(&self, within: Micros) -> Option<Failure> {
        let (since, _) = self.tail.front()?;
        let waited = self.now.mono.since(*since);
        // Half of the time: the estimate is that of an entry that came before all the others.
        (waited.0 >= within.0 / 2).then(|| {
            let text = format!(
                "an entry has waited {} ms for a majority, and this command has {} ms: try again later",
                waited.0 / 1000,
                within.0 / 1000
            );
            Failure::overloaded(text, waited)
        })
    }

    /// For how long the oldest entry has waited to be committed, or to be written.
    fn oldest_waits(&self) -> Option<Micros> {
        let uncommitted = self.tail.front().map(|(since, _)| *since);
        let unwritten = self.writes.front().map(|(_, _, since)| *since);
        uncommitted.into_iter().chain(unwritten).min().map(|since| self.now.mono.since(since))
    }
}

/// A refusal says that nothing happened. Where an earlier leader may have logged the command, only evaluation could tell.
pub(super) fn as_far_as_known(failure: Failure, relay: Option<Relay>) -> Failure {
    if !relay.is_some_and(|relay| relay.again) {
        return failure;
    }
    let text = format!(
        "an earlier leader may have logged the command, and this one can't tell: {}",
        failure.message
    );
    Failure::new(ErrorCode::TimedOut, text)
}
