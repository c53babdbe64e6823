//! Requests: from a client's frame to a task, and from an answer to a client's frame.
//!
//! Here is kept what a connection is promised about its commands: they take effect in the order in which they came; a
//! request whose time is up is told whether it may have taken effect; and once one has an unknown outcome, the later ones
//! of its connection are refused. Nothing is evaluated here.

use uuid::Uuid;

use super::connections::Connections;
use super::forward::{Task, Ticket};
use crate::command::parse::{self, Parsed};
use crate::error::{ErrorCode, Failure};
use crate::io::{Outbox, Output};
use crate::protocol::native::{Request, Response, ServerFrame};
use crate::reply::Reply;
use crate::time::Micros;
use crate::trace::{Event, Probe};
use crate::types::ConnId;

/// How many times the bytes of a greeting somebody may have under way who has not logged in.
const STRANGER_GREETINGS: usize = 4;

/// Why nobody waits for an answer any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Its deadline passed.
    Late,
    /// An earlier command of the connection has an unknown outcome.
    Poisoned,
    /// The connection is gone.
    Gone,
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Inflight {
    /// The client's id for it; none for the node's own question.
    pub id: Option<Uuid>,
    /// Whether it may change anything.
    pub write: bool,
    /// Whether its answer may have to wait for others.
    pub waits: bool,
    pub bytes: usize,
    pub deadline: Micros,
}

impl Connections {
    /// A request has come, a while ago if the node is behind: check the connection's bounds, then look at it, or let it wait
    /// for its turn. Its time runs since it came, whatever it waited for.
    pub fn request(
        &mut self,
        (now, came): (Micros, Micros),
        conn: ConnId,
        request: Request,
        out: &mut Outbox,
    ) {
        let limits = &self.config.limits;
        let Some(connection) = self.table.get_mut(&conn) else { return };
        if !connection.greeted {
            let failure = Failure::new(ErrorCode::Protocol, "the first frame of a connection is a hello");
            return self.goodbye(conn, failure, out);
        }
        let bytes = bytes_of(&request);
        let waiting = connection.inflight.len() + connection.blocked.len();
        // Whoever has not logged in holds no more than a login takes.
        let most = match &connection.principal {
            Some(_) => limits.inflight_bytes,
            None => limits.inflight_bytes.min(STRANGER_GREETINGS * limits.greeting_bytes),
        };
        if waiting >= limits.inflight_requests || connection.inflight_bytes + bytes > most {
            let text = format!(
                "this connection has {waiting} requests with {} bytes under way: wait for answers",
                connection.inflight_bytes
            );
            let failure = Failure::new(ErrorCode::TooManyRequests, text);
            return self.refuse(conn, request.id, failure, out);
        }
        self.budget.count(connection);
        let share = self.config.limits.requests_bytes / self.table.len() as u64;
        let connection = &self.table[&conn];
        let beyond = connection.counted.requests.saturating_add(bytes as u64) > share;
        if let Some(failure) = self.budget.refusal(bytes, &self.config.limits).filter(|_| beyond) {
            return self.refuse(conn, request.id, failure, out);
        }
        let Some(connection) = self.table.get_mut(&conn) else { return };
        let limits = &self.config.limits;
        let span = match request.deadline_ms {
            0 => limits.deadline_ms,
            asked => u64::from(asked).min(limits.deadline_ms),
        };
        let deadline = came.after(Micros::from_millis(span));
        if connection.busy.is_some() || !connection.blocked.is_empty() {
            connection.inflight_bytes += bytes;
            connection.blocked.push_back((request, deadline));
        } else {
            self.look_at(now, conn, request, deadline, out);
        }
    }

    /// Looks at the requests that waited for a password.
    pub fn unblock(&mut self, now: Micros, conn: ConnId, out: &mut Outbox) {
        while let Some(connection) = self.table.get_mut(&conn).filter(|connection| connection.busy.is_none())
        {
            let Some((request, deadline)) = connection.blocked.pop_front() else { break };
            let bytes = bytes_of(&request);
            connection.inflight_bytes -= bytes;
            self.look_at(now, conn, request, deadline, out);
        }
    }

    /// Parses a request and makes it a task.
    fn look_at(&mut self, now: Micros, conn: ConnId, request: Request, deadline: Micros, out: &mut Outbox) {
        let Some(connection) = self.table.get_mut(&conn) else { return };
        let id = request.id;
        if connection.unknowns != request.unknowns {
            out.push(Output::Trace(Event::Probe(Probe::RefusedAfterIndeterminate)));
            return self.refuse(conn, id, after_indeterminate(), out);
        }
        if self.stopping {
            let failure = Failure::new(ErrorCode::ShuttingDown, "this node is stopping: use another");
            return self.refuse(conn, id, failure, out);
        }
        if deadline <= now {
            return self.refuse(conn, id, late(), out);
        }
        let principal = connection.principal.clone();
        match (parse::parse(&request.args, &self.config.limits), principal) {
            (Ok(Parsed::Auth { user, password }), _) => {
                self.begin_login(now, conn, Some(id), user, password, out);
            }
            (_, None) => {
                let text = "log in first: AUTH user password";
                self.refuse(conn, id, Failure::new(ErrorCode::Unauthenticated, text), out);
            }
            (Err(failure), _) => self.refuse(conn, id, failure, out),
            (Ok(Parsed::Help(question)), _) => {
                let reply = Reply { outcome: Ok(question.answer()), receipt: None };
                self.respond(conn, id, reply, out);
            }
            (Ok(Parsed::Command(command)), Some(principal)) => {
                let within = deadline.since(now);
                // What may have to wait for others has that time, too.
                let deadline = deadline.after(Micros::from_millis(command.wait_ms()));
                let task = Task { principal, command, once: request.once, within };
                let bytes = bytes_of(&request);
                self.push_task(conn, Some(id), bytes, deadline, task);
            }
            (Ok(password), Some(principal)) => {
                self.begin_hash(now, conn, id, request.once, deadline, principal, password, out);
            }
        }
    }

    /// Hands a command to evaluation.
    pub fn push_task(
        &mut self,
        conn: ConnId,
        id: Option<Uuid>,
        bytes: usize,
        deadline: Micros,
        task: Task,
    ) -> u64 {
        let Some(connection) = self.table.get_mut(&conn) else { return 0 };
        let number = connection.next_number;
        connection.next_number += 1;
        connection.inflight_bytes += bytes;
        let (write, waits) = (task.command.is_write(), task.command.waits_in_line());
        connection.inflight.insert(number, Inflight { id, write, waits, bytes, deadline });
        let ticket = Ticket { conn, number };
        self.deadlines.insert((deadline, ticket));
        self.tasks.push_back((ticket, task));
        number
    }

    /// An answer has come. One that nobody waits for any more is dropped.
    pub fn answered(&mut self, now: Micros, ticket: Ticket, reply: Reply, out: &mut Outbox) {
        let Some(inflight) = self.take_inflight(ticket) else { return };
        let unknown = matches!(&reply.outcome, Err(failure) if !failure.is_definite());
        match inflight.id {
            Some(id) => self.respond(ticket.conn, id, reply, out),
            None => self.looked_up(now, ticket.conn, reply, out),
        }
        if unknown && inflight.write {
            self.poison(ticket, out);
        }
        self.mind_budget(ticket.conn, out);
    }

    /// A command's outcome is unknown: those that came behind it before its client could know must not take effect.
    fn poison(&mut self, ticket: Ticket, out: &mut Outbox) {
        let conn = ticket.conn;
        let Some(connection) = self.table.get_mut(&conn) else { return };
        let later: Vec<u64> =
            connection.inflight.range(ticket.number + 1..).map(|(number, _)| *number).collect();
        let blocked: Vec<Request> = connection.blocked.drain(..).map(|(request, _)| request).collect();
        connection.inflight_bytes -= blocked.iter().map(bytes_of).sum::<usize>();
        self.tasks.retain(|(waiting, _)| waiting.conn != conn || waiting.number <= ticket.number);
        let later = later.into_iter().map(|number| Ticket { conn, number });
        self.abandoned.extend(later.map(|ticket| (ticket, GivenUp::Poisoned)));
        for request in blocked {
            self.refuse(conn, request.id, after_indeterminate(), out);
        }
    }

    /// Whether a request may have to wait in line for others. Of a connection that is gone nobody knows.
    pub fn may_wait(&self, ticket: Ticket) -> bool {
        let connection = self.table.get(&ticket.conn);
        connection.is_none_or(|it| it.inflight.get(&ticket.number).is_some_and(|request| request.waits))
    }

    /// Takes the tickets whose answer nobody waits for, for the replica to forget.
    pub fn take_abandoned(&mut self) -> Vec<(Ticket, GivenUp)> {
        std::mem::take(&mut self.abandoned)
    }

    /// A request was given up, and `touched` says whether it may have taken effect.
    pub fn given_up(&mut self, now: Micros, ticket: Ticket, why: GivenUp, touched: bool, out: &mut Outbox) {
        let Some(inflight) = self.take_inflight(ticket) else { return };
        let Some(id) = inflight.id else { return self.lookup_given_up(now, ticket.conn, out) };
        let failure = match why {
            _ if touched && inflight.write => {
                let text = "the outcome was not known in time: the command may take effect or not; ask again under \
                            the same session and sequence";
                Failure::new(ErrorCode::TimedOut, text)
            }
            GivenUp::Poisoned => {
                out.push(Output::Trace(Event::Probe(Probe::RefusedAfterIndeterminate)));
                after_indeterminate()
            }
            GivenUp::Late | GivenUp::Gone => {
                let text = "the deadline passed before there was an answer; nothing was changed";
                Failure::new(ErrorCode::DeadlineExceeded, text)
            }
        };
        let poison = !failure.is_definite();
        self.refuse(ticket.conn, id, failure, out);
        if poison {
            self.poison(ticket, out);
        }
        self.mind_budget(ticket.conn, out);
    }

    fn take_inflight(&mut self, ticket: Ticket) -> Option<Inflight> {
        let connection = self.table.get_mut(&ticket.conn)?;
        let inflight = connection.inflight.remove(&ticket.number)?;
        connection.inflight_bytes -= inflight.bytes;
        self.deadlines.remove(&(inflight.deadline, ticket));
        Some(inflight)
    }

    /// Answers a request with an error that no evaluation found.
    pub fn refuse(&mut self, conn: ConnId, id: Uuid, failure: Failure, out: &mut Outbox) {
        self.respond(conn, id, Reply::refused(failure), out);
    }

    /// Answers a request.
    pub fn respond(&mut self, conn: ConnId, id: Uuid, reply: Reply, out: &mut Outbox) {
        let node = self.config.id;
        // The client counts the same answers.
        if let (Err(failure), Some(connection)) = (&reply.outcome, self.table.get_mut(&conn))
            && matches!(failure.code, ErrorCode::TimedOut | ErrorCode::LeaderLost)
        {
            connection.unknowns = connection.unknowns.saturating_add(1);
        }
        self.send(conn, &ServerFrame::Response(Response { id, reply, node }), out);
    }
}

/// What a request counts while it waits.
fn bytes_of(request: &Request) -> usize {
    request.args.iter().map(|argument| argument.len() + 16).sum()
}

/// The refusal of a command after one whose outcome is unknown.
pub(super) fn after_indeterminate() -> Failure {
    let text = "an earlier command of this connection has an unknown outcome, so this one was not executed: say that you know, or connect anew";
    Failure::new(ErrorCode::AfterIndeterminate, text)
}

/// The refusal of a command whose deadline passed while it waited for its turn.
pub(super) fn late() -> Failure {
    Failure::new(ErrorCode::DeadlineExceeded, "the deadline passed before the command's turn came")
}
