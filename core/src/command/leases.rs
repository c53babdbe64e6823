//! Commands on leases. A lease is a span that its holder renews; keys that hang on it go when it ends, and so do locks and
//! the like (`claims.rs`).
//!
//! A lease is there until the entry that ends it: the leader logs that when the time has passed, and a new leader first
//! renews them all, for it can't know which renewals were on their way. So nothing here asks a clock whether a lease is
//! there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::admin::limit_reached;
use super::evaluate::Evaluation;
use super::info::{count, number as figure};
use super::needs::{Needs, READ_WRITE};
use super::parse::Words;
use super::turns::end_lease;
use super::words::{Word, number};
use super::{Command, TTL_MS_MAX};
use crate::access::user::{Area, Permission};
use crate::coordination::lease::Lease;
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::effect::{DeleteCause, Effect};
use crate::types::{Blob, LeaseId};

/// A command on leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseCommand {
    /// Grants one.
    Grant {
        /// How long it lives without a renewal, in milliseconds.
        ttl_ms: u64,
    },
    /// Renews one.
    KeepAlive {
        /// Which.
        id: LeaseId,
    },
    /// Ends one, with all that hangs on it.
    Revoke {
        /// Which.
        id: LeaseId,
    },
    /// Hangs keys on one.
    Attach {
        /// Which.
        id: LeaseId,
        /// Those that exist of these.
        keys: Vec<Blob>,
    },
    /// Takes keys off whatever they hang on.
    Detach {
        /// Which.
        keys: Vec<Blob>,
    },
    /// Tells about one.
    Show {
        /// Which.
        id: LeaseId,
    },
    /// Tells which there are.
    List,
}

impl LeaseCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Grant { .. } => "LEASE GRANT",
            Self::KeepAlive { .. } => "LEASE KEEPALIVE",
            Self::Revoke { .. } => "LEASE REVOKE",
            Self::Attach { .. } => "LEASE ATTACH",
            Self::Detach { .. } => "LEASE DETACH",
            Self::Show { .. } => "LEASE SHOW",
            Self::List => "LEASE LIST",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Show { .. } | Self::List)
    }

    pub(super) const fn grows(&self) -> bool {
        matches!(self, Self::Grant { .. } | Self::Attach { .. })
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        match self {
            Self::Attach { keys, .. } | Self::Detach { keys } => Needs::Keys(READ_WRITE, keys),
            // Somebody else's lease is none.
            _ => Needs::Login,
        }
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        match self {
            Self::Grant { ttl_ms } => each(Word::Plain(&number(ttl_ms))),
            Self::KeepAlive { id } | Self::Revoke { id } | Self::Show { id } => {
                each(Word::Plain(&number(id)))
            }
            Self::Attach { id, keys } => {
                each(Word::Plain(&number(id)));
                keys.iter().for_each(|key| each(Word::Plain(key)));
            }
            Self::Detach { keys } => keys.iter().for_each(|key| each(Word::Plain(key))),
            Self::List => {}
        }
    }
}

impl Words<'_> {
    pub(super) fn lease_command(&mut self) -> Result<Command, Failure> {
        Ok(Command::Leases(match self.name() {
            "LEASE GRANT" => LeaseCommand::Grant { ttl_ms: self.lease_ttl()? },
            "LEASE KEEPALIVE" => LeaseCommand::KeepAlive { id: self.lease()? },
            "LEASE REVOKE" => LeaseCommand::Revoke { id: self.lease()? },
            "LEASE SHOW" => LeaseCommand::Show { id: self.lease()? },
            "LEASE LIST" => LeaseCommand::List,
            "LEASE DETACH" => LeaseCommand::Detach { keys: self.rest() },
            _ => {
                let id = self.lease()?;
                LeaseCommand::Attach { id, keys: self.rest() }
            }
        }))
    }

    pub(super) fn lease(&mut self) -> Result<LeaseId, Failure> {
        self.unsigned("the lease").map(LeaseId)
    }

    /// How long a lease lives.
    pub(super) fn lease_ttl(&mut self) -> Result<u64, Failure> {
        self.between("the time to live in milliseconds", 1, TTL_MS_MAX)
    }
}

impl Evaluation<'_> {
    pub(super) fn leases(&mut self, command: &LeaseCommand) -> Outcome {
        match command {
            LeaseCommand::Grant { ttl_ms } => {
                let id = LeaseId(self.state.tail().next().0);
                self.grant_lease(id, *ttl_ms)?;
                Ok(figure(id.0))
            }
            LeaseCommand::KeepAlive { id } => self.keep_alive(*id).map(figure),
            LeaseCommand::Revoke { id } => Ok(Value::Int(self.revoke_lease(*id).into())),
            LeaseCommand::Attach { id, keys } => self.attach_all(*id, keys),
            LeaseCommand::Detach { keys } => {
                let mut detached = 0;
                for key in keys {
                    if self.view.lease_of(key).is_some() {
                        self.view.effect(Effect::Attached { key: key.clone(), lease: None });
                        detached += 1;
                    }
                }
                Ok(count(detached))
            }
            LeaseCommand::Show { id } => self.show_lease(*id),
            LeaseCommand::List => Ok(self.list_leases()),
        }
    }

    /// Grants a lease to the user who asks.
    pub(super) fn grant_lease(&mut self, id: LeaseId, ttl: u64) -> Result<(), Failure> {
        let (user, all, own) = (self.scope(), self.limits.leases, self.limits.leases_of_user);
        for (found, most, what) in [
            (self.view.lease_count(), all, "leases"),
            (self.view.lease_count_of(&user), own, "leases of this user"),
        ] {
            if found >= most {
                return Err(limit_reached(what, most, "revoke one, or wait until one ends"));
            }
        }
        // A forwarding node's word is not believed.
        let ttl = ttl.clamp(1, TTL_MS_MAX);
        let lease = Lease { user, ttl, renewed: self.view.now() };
        self.view.effect(Effect::Leased { id, lease: Some(lease) });
        Ok(())
    }

    /// Renews a lease, and says how long it lives.
    pub(super) fn keep_alive(&mut self, id: LeaseId) -> Result<u64, Failure> {
        let lease = self.own_lease(id)?;
        let (ttl, lease) = (lease.ttl, Lease { renewed: self.view.now(), ..lease });
        self.view.effect(Effect::Leased { id, lease: Some(lease) });
        Ok(ttl)
    }

    /// A lease of the user who asks.
    pub(super) fn own_lease(&mut self, id: LeaseId) -> Result<Lease, Failure> {
        let user = self.scope();
        self.view.lease(id).filter(|lease| lease.user == user && lease.is_alive()).ok_or_else(|| {
            let message =
                format!("there is no lease {id} of this user, or it has ended: LEASE GRANT another");
            Failure::new(ErrorCode::LeaseUnknown, message)
        })
    }

    /// Ends a lease of the user's; an administrator can end any. What the user may not write stays, and hangs on nothing.
    fn revoke_lease(&mut self, id: LeaseId) -> bool {
        let admin = self.administers(Area::Cluster);
        let there = if admin { self.view.lease(id).is_some() } else { self.own_lease(id).is_ok() };
        if !there {
            return false;
        }
        let held = self.rights().cloned().filter(|_| !admin);
        let (keys, _) = self.view.hanging(id);
        for key in keys {
            if held.as_ref().is_some_and(|held| !held.allows(Permission::Write, &key)) {
                self.view.effect(Effect::Attached { key, lease: None });
            }
        }
        end_lease(&mut self.view, id, DeleteCause::Deleted);
        true
    }

    /// Whether so much more can hang on a lease. It ends in one entry with all of it.
    pub(super) fn check_load(&mut self, id: LeaseId, more: usize, bytes: usize) -> Result<(), Failure> {
        let (held, held_bytes) = self.view.load(id);
        let (most, room) = (self.limits.lease_keys, self.limits.lease_bytes);
        if held + more > most || held_bytes + bytes > room {
            let message = format!(
                "{} keys and claims with names of {} bytes would hang on lease {id}, of at most {most} and {room}: use \
                 another one too",
                held + more,
                held_bytes + bytes
            );
            return Err(Failure::new(ErrorCode::LimitReached, message));
        }
        Ok(())
    }

    /// Hangs keys on a lease of the user's, which has to have room for them.
    pub(super) fn attach(&mut self, id: LeaseId, keys: &[&Blob]) -> Result<(), Failure> {
        self.own_lease(id)?;
        let mut new: BTreeSet<&Blob> = keys.iter().copied().collect();
        new.retain(|key| self.view.lease_of(key) != Some(id));
        self.check_load(id, new.len(), new.iter().map(|key| key.len()).sum())?;
        for key in new {
            self.view.effect(Effect::Attached { key: key.clone(), lease: Some(id) });
        }
        Ok(())
    }

    fn attach_all(&mut self, id: LeaseId, keys: &[Blob]) -> Outcome {
        self.own_lease(id)?;
        let there: Vec<&Blob> = keys.iter().filter(|key| self.view.key(key).is_some()).collect();
        let found = there.len();
        self.attach(id, &there)?;
        Ok(count(found))
    }

    fn show_lease(&mut self, id: LeaseId) -> Outcome {
        let admin = self.administers(Area::Cluster);
        let user = self.scope();
        let lease = self.view.lease(id).filter(|lease| lease.user == user || admin);
        let Some(lease) = lease else { return Ok(Value::Nil) };
        let now = self.view.consult_time();
        let (keys, _) = self.view.hanging(id);
        // Administrators are shown what there is, and of keys only what they may read.
        let held = self.rights();
        let shown = |key: &Blob| held.is_none_or(|held| held.allows(Permission::Read, key));
        let keys = keys.into_iter().filter(shown).map(Value::Bytes).collect();
        Ok(Value::Map(vec![
            ("lease".into(), figure(id.0)),
            ("user".into(), Value::Bytes(lease.user.clone())),
            ("ttl_ms".into(), figure(lease.ttl)),
            ("remaining_ms".into(), figure(lease.until().0.saturating_sub(now.0))),
            ("keys".into(), Value::List(keys)),
        ]))
    }

    fn list_leases(&mut self) -> Value {
        let admin = self.administers(Area::Cluster);
        let leases: Vec<LeaseId> = if admin {
            self.view.leases().into_iter().map(|(id, _)| id).collect()
        } else {
            let user = self.scope();
            self.view.leases_of(&user).into_iter().collect()
        };
        Value::List(leases.into_iter().map(|id| figure(id.0)).collect())
    }

    /// Lets all leases of a user who goes end as soon as the leader comes to it: what hangs on them may be more than one
    /// entry holds.
    pub(super) fn doom_leases(&mut self, user: &Blob) {
        for id in self.view.leases_of(user) {
            let lease = Lease { user: user.clone(), ttl: 0, renewed: self.view.now() };
            self.view.effect(Effect::Leased { id, lease: Some(lease) });
        }
    }
}
