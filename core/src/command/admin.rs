//! What the commands on users, grants and sessions do, through the view alone. Permissions were checked
//! before; for a command that fails the caller takes the draft back.

use std::sync::Arc;

use super::catalogue::shown;
use super::evaluate::Evaluation;
use super::info::number;
use super::roles::listed;
use crate::access::rights::Holder;
use crate::access::user::{Area, Grant, Permission, User};
use crate::config::AccessMode;
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::effect::{DeleteCause, Effect};
use crate::types::{Blob, SessionId};

impl Evaluation<'_> {
    pub(super) fn user_add(&mut self, name: &Blob, password_hash: &str) -> Outcome {
        if self.view.user(name).is_some() {
            let message = format!("user '{}' exists: USER PASSWORD gives another password", shown(name));
            return Err(Failure::new(ErrorCode::UserExists, message));
        }
        let users = self.view.users().len();
        if users >= self.limits.users {
            return Err(limit_reached(
                "users",
                self.limits.users,
                "USER REMOVE one that is no longer needed",
            ));
        }
        // Evaluation and append are one step, so the tail's successor is this command's own index.
        let generation = self.state.tail().next();
        let user = User { generation, password: password_hash.to_owned(), grants: Vec::new() };
        self.view.effect(Effect::UserPut { name: name.clone(), user });
        Ok(Value::ok())
    }

    pub(super) fn user_remove(&mut self, name: &Blob) -> Outcome {
        self.known_user(name)?;
        let had = self.has_an_administrator();
        self.end_sessions(name);
        self.view.effect(Effect::UserRemoved { name: name.clone() });
        self.forget_rules(name);
        self.keep_an_administrator(had)?;
        self.end_waits(name);
        self.doom_leases(name);
        Ok(Value::ok())
    }

    pub(super) fn user_password(&mut self, name: &Blob, password_hash: &str) -> Outcome {
        let mut user = self.known_user(name)?.as_ref().clone();
        // The new generation ends every login with the old password at its next command.
        user.generation = self.state.tail().next();
        user.password = password_hash.to_owned();
        self.end_sessions(name);
        self.view.effect(Effect::UserPut { name: name.clone(), user });
        self.end_waits(name);
        Ok(Value::ok())
    }

    pub(super) fn user_list(&mut self) -> Value {
        Value::List(self.view.users().into_iter().map(|(name, _)| Value::Bytes(name)).collect())
    }

    pub(super) fn user_show(&mut self, name: &Blob) -> Outcome {
        let user = self.known_user(name)?;
        let rules = self.view.rules(Holder::User, name).unwrap_or_default();
        Ok(Value::Map(vec![
            ("user".into(), Value::Bytes(name.clone())),
            ("password_changed_at".into(), number(user.generation.0)),
            ("grants".into(), listed(user.grants.iter())),
            ("roles".into(), Value::List(rules.roles.iter().cloned().map(Value::Bytes).collect())),
            ("denials".into(), listed(rules.denials.iter())),
        ]))
    }

    pub(super) fn user_lookup(&mut self, name: &Blob) -> Outcome {
        match self.view.user(name) {
            Some(user) => {
                Ok(Value::List(vec![Value::Bytes(user.password.as_str().into()), number(user.generation.0)]))
            }
            // The first administrator's password is in its file before the user is in the log. Whoever read the file
            // in between has the right password, and must not be told that it is wrong.
            None if self.mode == AccessMode::Enforced && self.state.user_count() == 0 => Err(Failure::new(
                ErrorCode::NoLeader,
                "the cluster is new, and its first administrator is not created yet: try again",
            )),
            None => Ok(Value::Nil),
        }
    }

    pub(super) fn grant(&mut self, grant: Grant, name: &Blob) -> Outcome {
        let mut user = self.known_user(name)?.as_ref().clone();
        let Err(place) = user.grants.binary_search(&grant) else { return Ok(Value::Int(0)) };
        if user.grants.len() >= self.limits.grants {
            let way_out = "REVOKE one that is no longer needed, or grant a prefix";
            return Err(limit_reached("grants of this user", self.limits.grants, way_out));
        }
        user.grants.insert(place, grant);
        self.view.effect(Effect::UserPut { name: name.clone(), user });
        Ok(Value::Int(1))
    }

    pub(super) fn revoke(&mut self, grant: &Grant, name: &Blob) -> Outcome {
        let user = self.known_user(name)?;
        let Ok(place) = user.grants.binary_search(grant) else { return Ok(Value::Int(0)) };
        let had = self.has_an_administrator();
        let mut user = user.as_ref().clone();
        user.grants.remove(place);
        self.view.effect(Effect::UserPut { name: name.clone(), user });
        self.keep_an_administrator(had)?;
        if grant.permission == Permission::Lock {
            self.end_forbidden_waits();
        }
        Ok(Value::Int(1))
    }

    pub(super) fn who_am_i(&self) -> Value {
        let (Some(name), Some(rights)) = (self.actor(), self.rights()) else {
            let all = Permission::ALL.map(|all| Value::Bytes(format!("{all} ON *").into()));
            return Value::Map(vec![
                ("user".into(), Value::Nil),
                ("grants".into(), Value::List(all.to_vec())),
            ]);
        };
        let roles = rights.roles().cloned().map(Value::Bytes).collect();
        Value::Map(vec![
            ("user".into(), Value::Bytes(name.clone())),
            ("grants".into(), listed(rights.grants().map(|(_, grant)| grant))),
            ("roles".into(), Value::List(roles)),
            ("denials".into(), listed(rights.denials().map(|(_, denial)| denial))),
        ])
    }

    pub(super) fn session_open(&mut self) -> Outcome {
        let sessions = self.view.session_count();
        if sessions >= self.limits.sessions {
            return Err(limit_reached(
                "sessions",
                self.limits.sessions,
                "SESSION END one, or wait until an idle one expires",
            ));
        }
        let user = self.actor().cloned().unwrap_or_default();
        let ttl = self.limits.session_ttl_ms;
        self.view.effect(Effect::SessionOpened { user, ttl });
        // A session's id is its entry's index, which nothing else can ever have.
        Ok(number(self.state.tail().next().0))
    }

    pub(super) fn session_end(&mut self, id: SessionId) -> Value {
        let owner = self.actor().cloned().unwrap_or_default();
        // Somebody else's session is none to this user: the answer must not tell of it.
        let own = self.view.session(id).is_some_and(|record| record.user == owner);
        if own {
            self.view.effect(Effect::SessionEnded { id, cause: DeleteCause::Deleted });
            self.end_waits_in(id);
        }
        Value::Int(own.into())
    }

    pub(super) fn known_user(&mut self, name: &Blob) -> Result<Arc<User>, Failure> {
        let unknown =
            || format!("there is no user '{}': USER LIST shows all, USER ADD makes one", shown(name));
        self.view.user(name).ok_or_else(|| Failure::new(ErrorCode::UserUnknown, unknown()))
    }

    /// Whether anybody administers users.
    pub(super) fn has_an_administrator(&mut self) -> bool {
        let users = self.view.users();
        users.into_iter().any(|(name, user)| self.view.rights(&name, user).administers(Area::Users))
    }

    /// Refuses what has left nobody who administers users, if somebody did before.
    pub(super) fn keep_an_administrator(&mut self, had: bool) -> Result<(), Failure> {
        if !had || self.has_an_administrator() {
            return Ok(());
        }
        let message = "nobody would be left who administers users: GRANT ADMIN ON * TO another user first";
        Err(Failure::new(ErrorCode::LastAdministrator, message))
    }

    fn end_sessions(&mut self, user: &Blob) {
        for id in self.view.sessions_of(user) {
            self.view.effect(Effect::SessionEnded { id, cause: DeleteCause::Deleted });
        }
    }
}

pub(super) fn limit_reached(what: &str, most: usize, way_out: &str) -> Failure {
    Failure::new(ErrorCode::LimitReached, format!("there are {most} {what}, which is the limit: {way_out}"))
}
