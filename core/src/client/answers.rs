//! What the client makes of answers: done, again, elsewhere, or in doubt.

use crate::error::{ErrorCode, Failure};
use crate::protocol::native::Response;
use crate::reply::{Reply, Value};
use crate::time::Micros;
use crate::types::SessionId;

use super::link::Purpose;
use super::numbering::Numbering;
use super::ops::{Kind, Order, Stand};
use super::verdict::{Verdict, judge};
use super::{Client, ClientOutput, OpOutcome, Opening};

/// A node that so many times in a row did not answer in time may be cut off from the others.
const SUSPECTED: u32 = 3;

impl Client {
    /// An answer on the present connection. One to no attempt of it is ignored.
    pub(super) fn answered(&mut self, response: Response, out: &mut Vec<ClientOutput>) {
        let Some(live) = self.link.live() else { return };
        let Some(flight) = live.flights.end(response.id) else { return };
        let code = response.reply.outcome.as_ref().err().map(|failure| failure.code);
        if matches!(code, Some(ErrorCode::TimedOut | ErrorCode::LeaderLost)) {
            live.unknowns = live.unknowns.saturating_add(1);
        }
        // Sent before its outcome was known to be unknown: this connection goes on with what is sent now.
        let overtaken = code == Some(ErrorCode::AfterIndeterminate) && flight.unknowns != live.unknowns;
        self.count_late(code);
        if let Err(failure) = &response.reply.outcome {
            self.trouble = format!("{}: {failure}", self.config.addresses[self.address]);
        }
        let verdict = match judge(&response.reply) {
            // Without credentials another login would be the same.
            Verdict::Leave if self.refused_login(&response.reply) => Verdict::Refused,
            Verdict::Leave if overtaken => Verdict::Onward,
            Verdict::Again if code == Some(ErrorCode::DeadlineExceeded) && self.late >= SUSPECTED => {
                Verdict::Elsewhere
            }
            verdict => verdict,
        };
        let verdict = match verdict {
            Verdict::Elsewhere if self.config.addresses.len() == 1 => Verdict::Again,
            verdict => verdict,
        };
        if verdict == Verdict::Answer {
            self.failures = 0;
            self.hops = 0;
        }
        match flight.purpose {
            Purpose::SessionEnd => self.stop(out),
            Purpose::SessionOpen => self.session_answered(response.reply, verdict, out),
            Purpose::Op(order) => self.op_answered(order, response, verdict, out),
        }
        // Whether or not anybody still waits. A node that is only slow is not left for that: thousands of logins would make it
        // slower. One that lost its term, or is late time and again, may be cut off.
        let slow = code == Some(ErrorCode::TimedOut) && self.late < SUSPECTED;
        if verdict == Verdict::Leave || verdict == Verdict::Doubt && !slow {
            self.leave();
        }
    }

    /// How often in a row the time was up.
    fn count_late(&mut self, code: Option<ErrorCode>) {
        match code {
            Some(ErrorCode::DeadlineExceeded | ErrorCode::TimedOut) => {
                self.late = self.late.saturating_add(1)
            }
            // Nothing was looked at for longer than that.
            Some(ErrorCode::AfterIndeterminate) => {}
            _ => self.late = 0,
        }
    }

    fn refused_login(&self, reply: &Reply) -> bool {
        let unauthenticated =
            matches!(&reply.outcome, Err(failure) if failure.code == ErrorCode::Unauthenticated);
        unauthenticated && self.config.credentials.is_none()
    }

    fn op_answered(
        &mut self,
        order: Order,
        response: Response,
        verdict: Verdict,
        out: &mut Vec<ClientOutput>,
    ) {
        let Some(op) = self.ops.get_mut(order) else { return };
        // This attempt has its answer: from here on only earlier ones can leave a doubt.
        let (kind, in_doubt) = (op.kind, op.in_doubt);
        let node = Some(response.node);
        let (outcome, receipt) = (response.reply.outcome, response.reply.receipt);
        let failure = match outcome {
            Ok(value) => return self.finish(order, OpOutcome::Ok(value), receipt, node, out),
            Err(failure) => failure,
        };
        match verdict {
            // Under a number the record holds one answer for all attempts; without one there was no earlier
            // attempt whose answer is missing.
            Verdict::Answer => self.finish(order, OpOutcome::Failed(failure), receipt, node, out),
            Verdict::Unseen if kind != Kind::Read => {
                self.finish(order, OpOutcome::Unknown(failure), receipt, node, out);
            }
            Verdict::Refused if in_doubt => {
                self.finish(order, OpOutcome::Unknown(failure), receipt, node, out);
            }
            Verdict::Unseen | Verdict::Refused => {
                self.finish(order, OpOutcome::Failed(failure), receipt, node, out);
            }
            Verdict::Again => self.rest(order, failure, out),
            Verdict::Onward => self.requeue(order, Stand::Ready, out),
            Verdict::Elsewhere => {
                self.leave();
                self.requeue(order, Stand::Ready, out);
            }
            Verdict::Leave => self.requeue(order, Stand::Ready, out),
            // The connection may stay, and so may what keeps the node from answering in time: not at once.
            Verdict::Doubt => match kind {
                Kind::Read => self.rest(order, failure, out),
                Kind::Numbered | Kind::Again => {
                    op.in_doubt = true;
                    self.rest(order, failure, out);
                }
                Kind::Bare => self.finish(order, OpOutcome::Unknown(failure), receipt, node, out),
            },
            Verdict::SessionGone if kind == Kind::Numbered => {
                self.session_gone(order, out);
                self.rest(order, failure, out);
            }
            Verdict::SessionGone if in_doubt => {
                self.finish(order, OpOutcome::Unknown(failure), receipt, node, out);
            }
            // The command is about a session, and this is its answer.
            Verdict::SessionGone => self.finish(order, OpOutcome::Failed(failure), receipt, node, out),
        }
    }

    /// Lets a command that was definitely not executed pause, longer each time, and no shorter than the server says. One whose
    /// time would be up by then ends now.
    fn rest(&mut self, order: Order, failure: Failure, out: &mut Vec<ClientOutput>) {
        let Some(op) = self.ops.get_mut(order) else { return };
        op.refusals = op.refusals.saturating_add(1);
        let (in_doubt, deadline) = (op.in_doubt, op.deadline);
        let mut pause = self.pace.pause(op.refusals);
        if failure.retry_after_ms > 0 {
            pause = pause.max(self.pace.after(failure.retry_after_ms));
            if self.now.after(pause) >= deadline {
                let outcome = if in_doubt { OpOutcome::Unknown(failure) } else { OpOutcome::Failed(failure) };
                return self.finish(order, outcome, None, None, out);
            }
        }
        self.requeue(order, Stand::Resting(self.now.after(pause)), out);
    }

    /// The session of a command is gone. If it is the present one, no command may use it any more.
    fn session_gone(&mut self, order: Order, out: &mut Vec<ClientOutput>) {
        let used = self.ops.get(order).and_then(|op| op.once).map(|(session, _)| session);
        match &self.session {
            Opening::Open(numbering) if Some(numbering.session()) == used => {}
            _ => return,
        }
        self.session = Opening::None { after: self.now, refusals: 0 };
        for other in self.ops.orders() {
            // What flies has an answer coming, or is lost with its connection.
            if let Some(op) = self.ops.get(other)
                && op.stand() != Stand::Flying
            {
                self.requeue(other, op.stand(), out);
            }
        }
    }

    fn session_answered(&mut self, reply: Reply, verdict: Verdict, out: &mut Vec<ClientOutput>) {
        let Opening::Asked { refusals } = self.session else { return };
        match (reply.outcome, verdict) {
            (Ok(Value::Int(id)), _) if id > 0 => {
                self.session = Opening::Open(Numbering::new(SessionId(id.unsigned_abs())));
            }
            (Ok(other), _) => {
                let text = format!("SESSION OPEN answered {other:?} instead of a session's id");
                self.refuse_session(&Failure::new(ErrorCode::Protocol, text), out);
            }
            (Err(failure), Verdict::Answer | Verdict::Unseen | Verdict::Refused | Verdict::SessionGone) => {
                self.refuse_session(&failure, out);
            }
            (
                Err(failure),
                Verdict::Again | Verdict::Onward | Verdict::Elsewhere | Verdict::Leave | Verdict::Doubt,
            ) => {
                let refusals = refusals.saturating_add(1);
                let told =
                    self.pace.pause(refusals).max(Micros::from_millis(u64::from(failure.retry_after_ms)));
                let after = self.now.after(told);
                self.session = Opening::None { after, refusals };
                if verdict == Verdict::Elsewhere {
                    self.leave();
                }
            }
        }
    }
}
