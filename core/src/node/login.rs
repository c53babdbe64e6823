//! Logins and new passwords: the commands that need a slow computation before they can be evaluated.
//!
//! A login asks the leader for the user's record, like any other command, and then verifies the password on this
//! node. A user who does not exist costs the same computation. What comes out is a name and a generation, and every
//! later command is checked against both again: a login does not outlive the password it was made with.

use rand_core::Rng;
use uuid::Uuid;

use super::connections::Connections;
use super::forward::Task;
use super::requests::{after_indeterminate, late};
use crate::access::password::{Job, JobResult, dummy_hash, salt_for};
use crate::access::user::Principal;
use crate::command::Command;
use crate::command::evaluate::Once;
use crate::command::parse::Parsed;
use crate::error::{ErrorCode, Failure};
use crate::io::{Outbox, Output, Owner, Token};
use crate::reply::{Reply, Value};
use crate::time::Micros;
use crate::types::{Blob, ConnId, Index};

/// What a connection waits for before its next request is looked at.
#[derive(Clone, Debug)]
pub(super) enum Busy {
    /// The user's record is being looked up. `id` is the AUTH request's, or none for a hello.
    Lookup { id: Option<Uuid>, user: Blob, password: String },
    /// The password is being verified.
    Verify { id: Option<Uuid>, principal: Option<Principal> },
    /// A new password is being hashed for a command.
    Hash {
        id: Uuid,
        once: Option<Once>,
        deadline: Micros,
        principal: Principal,
        user: Blob,
        creates: bool,
        /// The unknown outcomes that the client knew of.
        unknowns: u32,
    },
}

impl Connections {
    /// Asks for the user's record.
    #[allow(clippy::too_many_arguments)]
    pub fn begin_login(
        &mut self,
        now: Micros,
        conn: ConnId,
        id: Option<Uuid>,
        user: Blob,
        password: String,
        out: &mut Outbox,
    ) {
        // Before the leader is asked: in a storm of logins that alone would be work without end.
        if self.jobs.len() >= self.config.limits.password_jobs {
            let failure = self.too_many_jobs(now);
            return self.login_failed(now, conn, id, failure, out);
        }
        let span = self.config.limits.deadline_ms.min(self.config.limits.greeting_ms);
        let Some(connection) = self.table.get_mut(&conn) else { return };
        let task = Task {
            principal: Principal::Anybody,
            command: Command::UserLookup { name: user.clone() },
            once: None,
            within: Micros::from_millis(span),
        };
        connection.busy = Some(Busy::Lookup { id, user, password });
        self.push_task(conn, None, 0, now.after(Micros::from_millis(span)), task);
    }

    /// The user's record has come, or an error instead.
    pub fn looked_up(&mut self, now: Micros, conn: ConnId, reply: Reply, out: &mut Outbox) {
        let Some(connection) = self.table.get_mut(&conn) else { return };
        let Some(Busy::Lookup { id, user, password }) = connection.busy.take() else { return };
        let record = match reply.outcome {
            Ok(value) => record_of(&value),
            Err(failure) => return self.login_failed(now, conn, id, failure, out),
        };
        let (hash, principal) = match record {
            Some((hash, generation)) => (hash, Some(Principal::User { name: user, generation })),
            None => (dummy_hash(self.config.password_cost), None),
        };
        if !self.start_job(now, conn, Job::Verify { password, hash }, out) {
            let failure = self.too_many_jobs(now);
            return self.login_failed(now, conn, id, failure, out);
        }
        if let Some(connection) = self.table.get_mut(&conn) {
            connection.busy = Some(Busy::Verify { id, principal });
        }
    }

    /// A login's lookup had no answer in time.
    pub fn lookup_given_up(&mut self, now: Micros, conn: ConnId, out: &mut Outbox) {
        let text = "no leader answered in time: try again, or another node";
        let reply = Reply::refused(Failure::new(ErrorCode::NoLeader, text));
        self.looked_up(now, conn, reply, out);
    }

    /// Begins to hash the new password of a command.
    #[allow(clippy::too_many_arguments)]
    pub fn begin_hash(
        &mut self,
        now: Micros,
        conn: ConnId,
        id: Uuid,
        once: Option<Once>,
        deadline: Micros,
        principal: Principal,
        parsed: Parsed,
        out: &mut Outbox,
    ) {
        let (user, password, creates) = match parsed {
            Parsed::UserAdd { name, password } => (name, password, true),
            Parsed::UserPassword { name, password } => (name, password, false),
            _ => unreachable!("other commands need no hash"),
        };
        let mut drawn = [0; 16];
        self.rng.fill_bytes(&mut drawn);
        // A retry in a session must come to the same hash, or it would look like another command.
        let salt = salt_for(self.cluster, once.map(|once| (once.session, once.seq)), drawn);
        let job = Job::Hash { password, salt, cost: self.config.password_cost };
        if !self.start_job(now, conn, job, out) {
            let failure = self.too_many_jobs(now);
            return self.refuse(conn, id, failure, out);
        }
        if let Some(connection) = self.table.get_mut(&conn) {
            let unknowns = connection.unknowns;
            connection.busy = Some(Busy::Hash { id, once, deadline, principal, user, creates, unknowns });
        }
    }

    /// A computation has ended. What it was for is evaluated now, against the state as it is now.
    pub fn computed(&mut self, now: Micros, token: Token, result: JobResult, out: &mut Outbox) {
        let Some((conn, _)) = self.jobs.remove(&token.seq) else { return };
        let Some(connection) = self.table.get_mut(&conn) else { return };
        match (connection.busy.take(), result) {
            (Some(Busy::Verify { id, principal: Some(principal) }), JobResult::Verified(true)) => {
                self.logged_in(conn, principal);
                match id {
                    Some(id) => {
                        self.respond(conn, id, Reply { outcome: Ok(Value::ok()), receipt: None }, out)
                    }
                    None => self.welcome(conn, out),
                }
            }
            (Some(Busy::Verify { id, .. }), JobResult::Failed) => {
                let text = "there was no memory to check the password: try again later";
                let failure = Failure::overloaded(text, Micros::from_millis(1000));
                return self.login_failed(now, conn, id, failure, out);
            }
            (Some(Busy::Verify { id, .. }), _) => {
                let failure =
                    Failure::new(ErrorCode::WrongPassword, "the user name or the password is wrong");
                return self.login_failed(now, conn, id, failure, out);
            }
            // An earlier command's outcome became unknown meanwhile: this one comes after it.
            (Some(Busy::Hash { id, unknowns, .. }), _) if connection.unknowns != unknowns => {
                self.refuse(conn, id, after_indeterminate(), out);
            }
            (Some(Busy::Hash { id, deadline, .. }), _) if deadline <= now => {
                self.refuse(conn, id, late(), out);
            }
            (
                Some(Busy::Hash { id, once, deadline, principal, user, creates, .. }),
                JobResult::Hashed(hash),
            ) => {
                let command = if creates {
                    Command::UserAdd { name: user, password_hash: hash }
                } else {
                    Command::UserPassword { name: user, password_hash: hash }
                };
                let within = deadline.since(now);
                self.push_task(conn, Some(id), 0, deadline, Task { principal, command, once, within });
            }
            (Some(Busy::Hash { id, .. }), _) => {
                let text = "there was no memory to hash the password: try again later";
                let failure = Failure::overloaded(text, Micros::from_millis(1000));
                self.refuse(conn, id, failure, out);
            }
            (busy, _) => connection.busy = busy,
        }
        self.unblock(now, conn, out);
        self.mind_budget(conn, out);
    }

    /// A login has failed. Where it came with the hello there is nothing else to talk about.
    fn login_failed(
        &mut self,
        now: Micros,
        conn: ConnId,
        id: Option<Uuid>,
        failure: Failure,
        out: &mut Outbox,
    ) {
        match id {
            Some(id) => {
                self.refuse(conn, id, failure, out);
                self.unblock(now, conn, out);
            }
            None => self.goodbye(conn, failure, out),
        }
    }

    /// Nobody waits for a connection's computations any more. They count until they are reported.
    pub fn forget_jobs(&mut self, conn: ConnId, out: &mut Outbox) {
        let its = self.jobs.iter().filter(|(_, (owner, _))| *owner == conn);
        for (seq, _) in its {
            out.push(Output::Forget { token: Token { owner: Owner::Password, seq: *seq } });
        }
    }

    fn too_many_jobs(&self, now: Micros) -> Failure {
        let waited = self.jobs.values().map(|(_, since)| now.since(*since)).max();
        let text = "too many passwords are being computed on this node: try again later";
        Failure::overloaded(text, waited.unwrap_or_default())
    }

    /// Starts a computation for a connection, unless too many are under way.
    fn start_job(&mut self, now: Micros, conn: ConnId, job: Job, out: &mut Outbox) -> bool {
        if self.jobs.len() >= self.config.limits.password_jobs {
            return false;
        }
        self.next_job += 1;
        self.jobs.insert(self.next_job, (conn, now));
        let (token, job) =
            (Token { owner: Owner::Password, seq: self.next_job }, crate::job::Job::Password(job));
        out.push(Output::Compute { token, job });
        true
    }
}

/// Hash and generation from the answer to a lookup.
fn record_of(value: &Value) -> Option<(String, Index)> {
    let Value::List(items) = value else { return None };
    match items.as_slice() {
        [Value::Bytes(hash), Value::Int(generation)] => {
            Some((String::from_utf8(hash.to_vec()).ok()?, Index(u64::try_from(*generation).ok()?)))
        }
        _ => None,
    }
}
