//! The client's logic, without I/O: connecting, the greeting, finding the leader, pipelining, sessions, retries
//! and deadlines. The tokio client and the simulated clients run the very same code.
//!
//! A driver calls [`Client::step`] with each thing that happens and does what comes out:
//!
//! ```text
//! Submit ──► ops ──► sending ──► Send ···► server ···► Bytes ──► answers ──► Done
//!             ▲                                                    │
//!             └───────────── again, under the same number ─────────┘
//! ```
//!
//! The promise is about outcomes. [`OpOutcome::Failed`] is said only if no attempt of the command took effect or
//! ever will; [`OpOutcome::Unknown`] is said as soon as that can't be ruled out and time is up. Writes go under a
//! session and a number, so that the server executes them once, however often they are sent (Raft thesis,
//! section 6.3; RIFL, SOSP 2015). There is one connection at a time and one attempt per command at a time, and an
//! answer counts only on the connection and for the attempt that it belongs to.
//!
//! `ops.rs` holds the commands, `link.rs` the connection, `numbering.rs` the session's numbers, `verdict.rs` what
//! an answer means; `connection.rs`, `sending.rs` and `answers.rs` are the parts of the client that act on them.

use std::collections::BTreeMap;

use crate::error::{ErrorCode, Failure};
use crate::reply::Receipt;
use crate::time::Micros;
use crate::types::{Blob, ConnId, NodeId, SessionId};

mod answers;
mod config;
mod connection;
mod interface;
mod link;
mod numbering;
mod ops;
mod pace;
mod sending;
mod verdict;

pub use config::{ClientConfig, Credentials};
pub use interface::{ClientInput, ClientOutput, OpId, OpOutcome};

use link::Link;
use numbering::Numbering;
use ops::{Kind, Ops, Order, Stand, kind_of};
use pace::Pace;

/// A client of one cluster.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    pace: Pace,
    ops: Ops,
    link: Link,
    session: Opening,
    /// The place of the address that is used now or will be next.
    address: usize,
    /// When each address last failed.
    failed_at: Vec<Option<Micros>>,
    /// The places of nodes that have welcomed us.
    known: BTreeMap<NodeId, usize>,
    /// How often a leader's name was followed since the last answer.
    hops: usize,
    next_conn: ConnId,
    /// Connections that ended since the last answer.
    failures: u32,
    /// Answers in a row that said that the deadline passed.
    late: u32,
    /// What went wrong last, for whoever wonders why a deadline passed.
    trouble: String,
    now: Micros,
    /// The last `WakeAt`.
    wish: Option<Micros>,
    stage: Stage,
}

/// The client's session.
#[derive(Clone, Debug)]
enum Opening {
    /// There is none; it may be asked for from then on, and was refused so often.
    None { after: Micros, refusals: u32 },
    /// It was asked for on the present connection.
    Asked { refusals: u32 },
    /// It is open.
    Open(Numbering),
}

/// Whether the client still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Ends its session, until this time.
    Ending(Micros),
    Stopped,
}

impl Client {
    /// A client that makes its first connection, to the first address, when it has something to do. All its randomness comes from
    /// `seed`; two clients must not have the same one.
    ///
    /// # Panics
    /// If the configuration has no address.
    #[must_use]
    pub fn new(config: ClientConfig, seed: [u8; 32]) -> Self {
        assert!(!config.addresses.is_empty(), "a client needs the address of at least one node");
        let pace = Pace::new(&config, seed);
        Self {
            address: 0,
            failed_at: vec![None; config.addresses.len()],
            config,
            pace,
            ops: Ops::default(),
            link: Link::Down { until: Micros(0) },
            session: Opening::None { after: Micros(0), refusals: 0 },
            known: BTreeMap::new(),
            hops: 0,
            next_conn: ConnId(1),
            failures: 0,
            late: 0,
            trouble: "no connection was made yet".into(),
            now: Micros(0),
            wish: None,
            stage: Stage::Running,
        }
    }

    /// Handles one input completely. `now` is any monotonic clock.
    pub fn step(&mut self, now: Micros, input: ClientInput, out: &mut Vec<ClientOutput>) {
        self.now = self.now.max(now);
        match input {
            ClientInput::Tick => {}
            ClientInput::Submit { op, args, deadline_ms, again } => {
                self.submit(op, args, deadline_ms, again, out);
            }
            ClientInput::Connected { conn } => self.connected(conn, out),
            ClientInput::ConnectFailed { conn } => self.connect_failed(conn, out),
            ClientInput::Bytes { conn, data } => self.bytes(conn, &data, out),
            ClientInput::Disconnected { conn } => self.disconnected(conn, out),
            ClientInput::Shutdown => self.shutdown(out),
        }
        self.settle(out);
    }

    /// Does everything that is due or has become possible.
    fn settle(&mut self, out: &mut Vec<ClientOutput>) {
        self.lose_patience(out);
        while let Some(order) = self.ops.overdue(self.now) {
            self.give_up(order, out);
        }
        self.ops.wake(self.now);
        match self.stage {
            Stage::Running => {
                self.connect(out);
                self.send_ready(out);
                self.leave_if_drained(out);
            }
            Stage::Ending(until) if until <= self.now => self.stop(out),
            Stage::Ending(_) | Stage::Stopped => {}
        }
        self.wish(out);
    }

    fn submit(
        &mut self,
        id: OpId,
        args: Vec<Blob>,
        deadline_ms: u32,
        again: Option<(SessionId, u64)>,
        out: &mut Vec<ClientOutput>,
    ) {
        let bytes: usize = args.iter().map(|arg| arg.len()).sum();
        if let Err(failure) = self.admit(id, &args, bytes) {
            // This client did nothing; what an earlier one did is not known here.
            let outcome =
                if again.is_some() { OpOutcome::Unknown(failure) } else { OpOutcome::Failed(failure) };
            let (receipt, node, attempts) = (None, None, 0);
            out.push(ClientOutput::Done { op: id, outcome, receipt, node, attempts, once: again });
            return;
        }
        let kind = if again.is_some() { Kind::Again } else { kind_of(&args, self.config.use_session) };
        let span = if deadline_ms == 0 { self.config.deadline_ms } else { deadline_ms };
        self.ops.add(id, args, kind, again, self.now.after(Micros::from_millis(u64::from(span))));
    }

    /// Whether a command can be taken on.
    fn admit(&self, id: OpId, args: &[Blob], bytes: usize) -> Result<(), Failure> {
        let refuse = |code, message: String| Err(Failure::new(code, message));
        if self.stage != Stage::Running {
            return refuse(ErrorCode::ShuttingDown, "the client was stopped".into());
        }
        let Some(name) = args.first() else {
            return refuse(ErrorCode::Argument, "a command has at least its name".into());
        };
        if name.eq_ignore_ascii_case(b"AUTH") {
            let way_out = "the client logs in by itself: give the credentials in its configuration";
            return refuse(ErrorCode::Argument, way_out.into());
        }
        if self.ops.has(id) {
            return refuse(ErrorCode::Argument, format!("a command with the id {} is under way", id.0));
        }
        if self.ops.len() >= self.config.waiting
            || self.ops.bytes().saturating_add(bytes) > self.config.waiting_bytes
        {
            let message = format!(
                "{} commands with {} bytes are under way in this client: submit fewer at a time",
                self.ops.len(),
                self.ops.bytes()
            );
            return refuse(ErrorCode::Overloaded, message);
        }
        Ok(())
    }

    /// Ends a command whose deadline has passed.
    fn give_up(&mut self, order: Order, out: &mut Vec<ClientOutput>) {
        let Some(op) = self.ops.get(order) else { return };
        let outcome = if op.may_take_effect() {
            let text = format!(
                "the deadline passed without an answer to every attempt; last trouble: {}",
                self.trouble
            );
            OpOutcome::Unknown(Failure::new(ErrorCode::TimedOut, text))
        } else {
            let text = format!("the deadline passed; last trouble: {}", self.trouble);
            OpOutcome::Failed(Failure::new(ErrorCode::DeadlineExceeded, text))
        };
        self.finish(order, outcome, None, None, out);
    }

    /// Ends all commands for the same reason.
    fn fail_all(&mut self, failure: &Failure, out: &mut Vec<ClientOutput>) {
        for order in self.ops.orders() {
            self.fail(order, failure.clone(), out);
        }
    }

    /// Ends a command for a reason that speaks for none of its lost attempts.
    fn fail(&mut self, order: Order, failure: Failure, out: &mut Vec<ClientOutput>) {
        let Some(op) = self.ops.get(order) else { return };
        let outcome =
            if op.may_take_effect() { OpOutcome::Unknown(failure) } else { OpOutcome::Failed(failure) };
        self.finish(order, outcome, None, None, out);
    }

    /// The only way out for a command that was taken on.
    fn finish(
        &mut self,
        order: Order,
        outcome: OpOutcome,
        receipt: Option<Receipt>,
        node: Option<NodeId>,
        out: &mut Vec<ClientOutput>,
    ) {
        let Some(op) = self.ops.remove(order) else { return };
        if let (Some((session, seq)), Opening::Open(numbering)) = (op.once, &mut self.session)
            && numbering.session() == session
            && op.kind == Kind::Numbered
        {
            numbering.answered(seq);
        }
        let (attempts, once) = (op.attempts, op.once);
        out.push(ClientOutput::Done { op: op.id, outcome, receipt, node, attempts, once });
    }

    /// Lets a command be sent again. If its session is gone it gets a new number in the next one; but if an
    /// attempt may have been executed in the old one, nobody can tell any more, and it must not be executed again.
    fn requeue(&mut self, order: Order, stand: Stand, out: &mut Vec<ClientOutput>) {
        let Some(op) = self.ops.get(order) else { return };
        let lost = match (op.once, &self.session) {
            (None, _) => false,
            (Some(_), _) if op.kind == Kind::Again => false,
            (Some((session, _)), Opening::Open(numbering)) => session != numbering.session(),
            (Some(_), _) => true,
        };
        self.ops.stand(order, stand);
        if !lost {
            return;
        }
        let in_doubt = self.ops.get(order).is_some_and(|op| op.in_doubt);
        if in_doubt {
            let text =
                "the session is gone, and with it the answer to an attempt that may have been executed";
            let failure = Failure::new(ErrorCode::SessionUnknown, text);
            self.finish(order, OpOutcome::Unknown(failure), None, None, out);
        } else {
            self.ops.unnumber(order);
        }
    }

    fn shutdown(&mut self, out: &mut Vec<ClientOutput>) {
        if self.stage != Stage::Running {
            return;
        }
        let text = "the client was stopped before the answer came";
        self.fail_all(&Failure::new(ErrorCode::ShuttingDown, text), out);
        self.stage = Stage::Ending(self.now.after(Micros::from_millis(u64::from(self.config.drain_ms))));
        if !self.end_session(out) {
            self.stop(out);
        }
    }

    fn stop(&mut self, out: &mut Vec<ClientOutput>) {
        if self.stage == Stage::Stopped {
            return;
        }
        self.stage = Stage::Stopped;
        if let Some(conn) = self.link.conn() {
            out.push(ClientOutput::Close { conn });
        }
        self.link = Link::Down { until: self.now };
        out.push(ClientOutput::Stopped);
    }

    /// Asks to be woken when something is due next.
    fn wish(&mut self, out: &mut Vec<ClientOutput>) {
        let stage = match self.stage {
            Stage::Running => None,
            Stage::Ending(until) => Some(until),
            Stage::Stopped => return,
        };
        let connect = match self.link {
            Link::Down { until } if !self.ops.is_empty() => Some(until),
            _ => None,
        };
        let open = match (&self.session, &self.link) {
            (Opening::None { after, .. }, Link::Live(_)) if *after > self.now => Some(*after),
            _ => None,
        };
        let wishes = [stage, connect, open, self.ops.next_due(), self.link.patience()];
        let Some(next) = wishes.into_iter().flatten().min() else { return };
        if self.wish != Some(next) {
            self.wish = Some(next);
            out.push(ClientOutput::WakeAt(next));
        }
    }
}

#[cfg(test)]
mod tests;
