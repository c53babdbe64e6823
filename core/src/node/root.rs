//! The first administrator: a founding leader draws a password, writes it to the credentials file of its own data
//! directory, and only then logs the user.
//!
//! The file comes first because the other order could leave a cluster whose only password nobody knows. A leader
//! that falls in between leaves a file for a password that never became valid; it is removed when another leader's
//! administrator is committed.

use bytes::Bytes;

use super::replica::{Replica, Stepped, notice};
use crate::access::password::{Job, JobResult};
use crate::access::user::root_user;
use crate::config::AccessMode;
use crate::disk::{SPACE_PAUSE, has_no_space};
use crate::io::{DiskError, DiskOp, DiskReply, FileName, HaltReason, Outbox, Output, Owner, Token};
use crate::state::effect::{Cause, Effect};
use crate::time::Micros;
use crate::trace::Event;
use crate::types::Blob;
use rand_core::Rng;

/// Where the setup stands.
#[derive(Clone, Debug, Default)]
pub(super) struct RootSetup {
    stage: Stage,
    tokens: u64,
}

#[derive(Clone, Debug, Default)]
enum Stage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The password is being hashed.
    Hashing { token: Token, password: String },
    /// The file is being written; the operations still to come, the one under way last.
    Writing { token: Token, hash: String, rest: Vec<DiskOp> },
    /// There was no space for the last of these, which is tried again after this time.
    Full { until: Micros, hash: String, rest: Vec<DiskOp> },
    /// The file is there, and the user is logged.
    Logged { hash: String },
    /// A file that is worth nothing is being removed.
    Removing { token: Token, rest: Vec<DiskOp> },
}

impl Replica {
    /// Begins, if this node leads a founded cluster without any user.
    pub fn root_begin(&mut self, out: &mut Outbox) {
        if matches!(self.root.stage, Stage::Full { until, .. } if self.now.mono >= until) {
            self.root_try_again(out);
        }
        let start = self.raft.term_start();
        let leads = start.is_some_and(|start| self.state.committed() >= start);
        let enforced = self.config.access == AccessMode::Enforced;
        if !leads || !enforced || self.state.user_count() > 0 {
            return;
        }
        let logged = self.state.view(self.state.time()).user(b"root").is_some();
        if logged || !matches!(self.root.stage, Stage::Idle | Stage::Logged { .. }) {
            return;
        }
        let password = self.config.root_password.clone().unwrap_or_else(|| self.draw_password());
        let mut salt = [0; 16];
        self.rng.fill_bytes(&mut salt);
        let token = self.root_token(Owner::Credentials);
        let job = Job::Hash { password: password.clone(), salt, cost: self.config.password_cost };
        out.push(Output::Compute { token, job: crate::job::Job::Password(job) });
        self.root.stage = Stage::Hashing { token, password };
    }

    /// There may be space for the file by now.
    fn root_try_again(&mut self, out: &mut Outbox) {
        let token = self.root_token(Owner::Credentials);
        if let Stage::Full { hash, rest, .. } = std::mem::take(&mut self.root.stage) {
            self.root.stage = Stage::Writing { token, hash, rest };
            self.root_issue(out);
        }
    }

    /// The password's hash has come: write the file.
    pub fn root_computed(&mut self, token: Token, result: JobResult, out: &mut Outbox) {
        let Stage::Hashing { token: wanted, password } = &self.root.stage else { return };
        let hash = match result {
            JobResult::Hashed(hash) if *wanted == token => hash,
            JobResult::Failed if *wanted == token => {
                // No memory; the next tick tries again.
                self.root.stage = Stage::Idle;
                return;
            }
            _ => return,
        };
        let text = format!("user root\npassword {password}\n");
        let (file, to) = (FileName::RootCredentialsTmp, FileName::RootCredentials);
        let rest = vec![
            DiskOp::SyncDir,
            DiskOp::Rename { from: file, to },
            DiskOp::Sync { file },
            DiskOp::WriteAt { file, offset: 0, data: Bytes::from(text) },
            DiskOp::Create { file },
        ];
        self.root.stage = Stage::Writing { token, hash, rest };
        self.root_issue(out);
    }

    /// An operation on the file has ended.
    pub fn root_disk_done(
        &mut self,
        token: Token,
        result: Result<DiskReply, DiskError>,
        out: &mut Outbox,
    ) -> Stepped {
        let wanted = match &self.root.stage {
            Stage::Writing { token, .. } | Stage::Removing { token, .. } => *token,
            _ => return Ok(()),
        };
        if wanted != token || self.root_is_full(&result, out) {
            return Ok(());
        }
        result.map_err(|error| HaltReason::Disk {
            doing: "keeping the first administrator's password in".into(),
            file: Some(FileName::RootCredentials),
            error,
        })?;
        if let Stage::Writing { rest, .. } | Stage::Removing { rest, .. } = &mut self.root.stage {
            rest.pop();
        }
        self.root_issue(out);
        Ok(())
    }

    /// Whether there was no space for something that is no sync. It is tried again: nobody has been told that the file
    /// is there.
    fn root_is_full(&mut self, result: &Result<DiskReply, DiskError>, out: &mut Outbox) -> bool {
        let Stage::Writing { hash, rest, .. } = &mut self.root.stage else { return false };
        if !has_no_space(result) || matches!(rest.last(), Some(DiskOp::Sync { .. } | DiskOp::SyncDir)) {
            return false;
        }
        let until = self.now.mono.after(SPACE_PAUSE);
        let (hash, rest) = (std::mem::take(hash), std::mem::take(rest));
        self.root.stage = Stage::Full { until, hash, rest };
        let text =
            "there is no space for the first administrator's password: nobody can log in until there is";
        notice(out, text.into());
        true
    }

    /// Issues the next operation, or does what follows the last.
    fn root_issue(&mut self, out: &mut Outbox) {
        let next = self.root_token(Owner::Credentials);
        let op = match &mut self.root.stage {
            Stage::Writing { token, rest, .. } | Stage::Removing { token, rest } => {
                *token = next;
                rest.last().cloned()
            }
            _ => return,
        };
        match op {
            Some(op) => out.push(Output::Disk { token: next, op }),
            None => {
                if let Stage::Writing { hash, .. } = std::mem::take(&mut self.root.stage) {
                    self.root_log(hash, out);
                }
            }
        }
    }

    /// Logs the user, if this node still leads and nobody else was quicker.
    fn root_log(&mut self, hash: String, out: &mut Outbox) {
        let taken = self.state.view(self.state.time()).user(b"root").is_some();
        if self.raft.is_leader() && !taken {
            let generation = self.state.tail().next();
            let effect =
                Effect::UserPut { name: Blob::from("root"), user: root_user(hash.clone(), generation) };
            self.append(Cause::System, vec![effect]);
        }
        self.root.stage = Stage::Logged { hash };
        self.root_committed(out);
    }

    /// Entries were committed: is the administrator among them, and is it the one of this node's file?
    pub fn root_committed(&mut self, out: &mut Outbox) {
        self.root_begin(out);
        let Stage::Logged { hash } = &self.root.stage else { return };
        let Some(root) = self.state.committed_user(b"root") else { return };
        if root.password == *hash {
            out.push(Output::Trace(Event::RootCreated));
            self.root.stage = Stage::Idle;
        } else {
            let token = self.root_token(Owner::Credentials);
            let rest = vec![DiskOp::SyncDir, DiskOp::Remove { file: FileName::RootCredentials }];
            self.root.stage = Stage::Removing { token, rest };
            self.root_issue(out);
        }
    }

    fn root_token(&mut self, owner: Owner) -> Token {
        self.root.tokens += 1;
        Token { owner, seq: self.root.tokens }
    }

    /// Thirty-two letters and digits: more than 160 bits.
    fn draw_password(&mut self) -> String {
        const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        let mut letter = || {
            // The bias of a remainder of 64 bits is far below what anybody could use.
            let at = (self.rng.next_u64() % LETTERS.len() as u64) as usize;
            char::from(LETTERS[at])
        };
        (0..32).map(|_| letter()).collect()
    }
}
