//! Commands: what a client can ask for, parsed.
//!
//! `catalogue.rs` lists them, and parsing, arity, permissions, help and documentation come from it;
//! `parse.rs` turns arguments into a [`Command`]; `needs.rs` says which permissions it takes; `evaluate.rs`
//! decides what it does, with the effects on keys in `keys.rs`, on users and sessions in `admin.rs`, and what follows from the end of
//! a lease or claim in `turns.rs`. Nothing
//! here reads a clock, a connection or the log.

mod admin;
pub mod catalogue;
pub mod changes;
pub mod claims;
pub mod cluster;
pub mod drop;
pub mod durability;
pub mod evaluate;
pub mod help;
pub mod info;
mod keys;
pub mod leases;
pub mod limits;
pub(crate) mod needs;
pub mod observe;
pub mod once;
pub mod parse;
pub mod roles;
mod table;
mod table_coordination;
mod table_values;
#[cfg(test)]
mod tests;
pub mod transaction;
pub mod turns;
pub mod values;
mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::access::user::{Pattern, Permission};
use crate::types::{Blob, Index, LeaseId, NodeId, SessionId};
use changes::ChangesCommand;
use claims::ClaimCommand;
use cluster::ClusterCommand;
use drop::DropCommand;
use durability::DurabilityCommand;
use leases::LeaseCommand;
use limits::LimitCommand;
use once::OnceCommand;
use roles::RoleCommand;
use transaction::Transaction;
use values::hashes::HashCommand;
use values::keyspace::KeyCommand;
use values::strings::StringCommand;

/// Longest time that a key can be given, in milliseconds: some 63 years. The slack of its deadline (a
/// five-hundredth) then fits its field, so that no key goes early for want of room.
pub const TTL_MS_MAX: u64 = 2_000_000_000_000;

/// A parsed command: whatever can be said about it without looking at the state was checked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Answers `PONG`, or the message.
    Ping {
        /// What to answer instead.
        message: Option<Blob>,
    },
    /// The value of a key.
    Get {
        /// Which.
        key: Blob,
    },
    /// Sets a key.
    Set {
        /// Which.
        key: Blob,
        /// To what.
        value: Blob,
        /// For how long.
        expiry: SetExpiry,
        /// When.
        condition: SetCondition,
        /// Whether to answer the value before, instead of `OK`.
        return_old: bool,
        /// What it has to do with leases and locks.
        ties: SetTies,
    },
    /// Deletes keys; answers how many there were.
    Del {
        /// Which, at least one.
        keys: Vec<Blob>,
    },
    /// How many of the keys exist, each mention counted.
    Exists {
        /// Which, at least one.
        keys: Vec<Blob>,
    },
    /// Adds to a whole number; a missing key counts as zero.
    IncrBy {
        /// Which.
        key: Blob,
        /// How much; may be negative.
        delta: i64,
    },
    /// Gives a key a deadline; zero or less deletes it.
    Expire {
        /// Which.
        key: Blob,
        /// Milliseconds from now, at most [`TTL_MS_MAX`].
        ttl_ms: i64,
    },
    /// The remaining milliseconds: -1 without a deadline, -2 without a key.
    PTtl {
        /// Which.
        key: Blob,
    },
    /// Takes a key's deadline away.
    Persist {
        /// Which.
        key: Blob,
    },
    /// The values of keys.
    MGet {
        /// Which, at least one.
        keys: Vec<Blob>,
    },
    /// Sets keys, all at one position.
    MSet {
        /// Keys with values, at least one; of a key that is named twice the last value counts.
        pairs: Vec<(Blob, Blob)>,
    },
    /// A page of the keys with a prefix, in order, after the cursor.
    Scan {
        /// What the keys begin with; may be empty.
        prefix: Blob,
        /// The last key of the page before.
        after: Option<Blob>,
        /// Most keys in the page, at least one.
        count: usize,
    },
    /// What the node says about itself and the cluster.
    Info,
    /// Creates a user who may do nothing yet.
    UserAdd {
        /// The name.
        name: Blob,
        /// In PHC form.
        password_hash: String,
    },
    /// Removes a user, with logins and sessions.
    UserRemove {
        /// The name.
        name: Blob,
    },
    /// Changes a password and ends the user's logins and sessions.
    UserPassword {
        /// The name.
        name: Blob,
        /// In PHC form.
        password_hash: String,
    },
    /// Allows something.
    Grant {
        /// What.
        permission: Permission,
        /// On which keys.
        pattern: Pattern,
        /// Whom.
        user: Blob,
    },
    /// Takes a grant away.
    Revoke {
        /// What.
        permission: Permission,
        /// On which keys; exactly as it was granted.
        pattern: Pattern,
        /// From whom.
        user: Blob,
    },
    /// The user's name and grants.
    WhoAmI,
    /// Opens a session; answers its id.
    SessionOpen,
    /// Ends a session.
    SessionEnd {
        /// Which.
        id: SessionId,
    },
    /// The node's own question before a login: the user's hash and generation. Not in the catalogue.
    UserLookup {
        /// The name.
        name: Blob,
    },
    /// The value of a key with its revision, for `SET … IFVERSION`.
    GetV {
        /// Which.
        key: Blob,
    },
    /// The names of all users.
    UserList,
    /// What a user may do.
    UserShow {
        /// The name.
        name: Blob,
    },
    /// On strings.
    Strings(StringCommand),
    /// On keys of any kind.
    Keyspace(KeyCommand),
    /// On hashes.
    Hashes(HashCommand),
    /// On rate limiters.
    Limits(LimitCommand),
    /// Several, at one position.
    Transaction(Transaction),
    /// Under an idempotency id.
    Once(OnceCommand),
    /// On leases.
    Leases(LeaseCommand),
    /// On locks, semaphores and elections.
    Claims(ClaimCommand),
    /// On roles and denials.
    Roles(RoleCommand),
    /// A node's own: nobody listens to this wait any more. Not in the catalogue.
    ForgetWait {
        /// The claim's number.
        id: Index,
    },
    /// What has changed.
    Changes(ChangesCommand),
    /// Deletes all keys with a prefix, or counts them.
    Drop(DropCommand),
    /// On how far answers may run ahead of their durability.
    Durability(DurabilityCommand),
    /// On who belongs to the cluster.
    Cluster(ClusterCommand),
}

/// What a SET has to do with leases and locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetTies {
    /// The key is to hang on this lease.
    pub lease: Option<LeaseId>,
    /// It happens only while this lock is held under this token.
    pub fence: Option<(Blob, Index)>,
}

/// What a SET does to the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetExpiry {
    /// No deadline afterwards.
    Clear,
    /// This many milliseconds from now, at least one, at most [`TTL_MS_MAX`].
    After(u64),
    /// At this millisecond of the cluster's time, counted from 1970; if it has passed, the key is gone at once.
    At(u64),
    /// The one that there is.
    Keep,
}

/// When a SET happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetCondition {
    /// In any case.
    Always,
    /// Only if the key is missing.
    Missing,
    /// Only if the key exists.
    Exists,
    /// Only if the key has this revision; zero means that it is missing.
    Version(Index),
}

impl Command {
    /// The name under which the catalogue lists the command.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping { .. } => "PING",
            Self::Get { .. } => "GET",
            Self::GetV { .. } => "GETV",
            Self::Set { .. } => "SET",
            Self::Del { .. } => "DEL",
            Self::Exists { .. } => "EXISTS",
            Self::IncrBy { .. } => "INCRBY",
            Self::Expire { .. } => "PEXPIRE",
            Self::PTtl { .. } => "PTTL",
            Self::Persist { .. } => "PERSIST",
            Self::MGet { .. } => "MGET",
            Self::MSet { .. } => "MSET",
            Self::Scan { .. } => "SCAN",
            Self::Info => "INFO",
            Self::UserAdd { .. } => "USER ADD",
            Self::UserRemove { .. } => "USER REMOVE",
            Self::UserPassword { .. } => "USER PASSWORD",
            Self::UserList => "USER LIST",
            Self::UserShow { .. } => "USER SHOW",
            Self::Grant { .. } => "GRANT",
            Self::Revoke { .. } => "REVOKE",
            Self::WhoAmI => "WHOAMI",
            Self::SessionOpen => "SESSION OPEN",
            Self::SessionEnd { .. } => "SESSION END",
            Self::UserLookup { .. } => "USER LOOKUP",
            Self::Strings(command) => command.name(),
            Self::Keyspace(command) => command.name(),
            Self::Hashes(command) => command.name(),
            Self::Limits(command) => command.name(),
            Self::Transaction(_) => "TXN",
            Self::Once(command) => command.name(),
            Self::Leases(command) => command.name(),
            Self::Claims(command) => command.name(),
            Self::Roles(command) => command.name(),
            Self::Changes(_) => "CHANGES",
            Self::Drop(command) => command.name(),
            Self::Durability(command) => command.name(),
            Self::Cluster(command) => command.name(),
            Self::ForgetWait { .. } => "FORGET WAIT",
        }
    }

    /// Whether what a leader knows of the members is needed to evaluate it, under an idempotency id too.
    #[must_use]
    pub fn concerns_members(&self) -> bool {
        match self {
            Self::Cluster(_) => true,
            Self::Once(OnceCommand::Run { words, .. }) => {
                words.first().is_some_and(|name| name.eq_ignore_ascii_case(b"CLUSTER"))
            }
            _ => false,
        }
    }

    /// To whom it asks the leader to give the leadership.
    #[must_use]
    pub const fn transfers_to(&self) -> Option<NodeId> {
        match self {
            Self::Cluster(ClusterCommand::Transfer(to)) => Some(*to),
            _ => None,
        }
    }

    /// How long its answer may have to wait for others, in milliseconds.
    #[must_use]
    pub const fn wait_ms(&self) -> u64 {
        match self {
            Self::Claims(command) => command.wait_ms(),
            Self::Changes(command) => command.wait_ms,
            _ => 0,
        }
    }

    /// Whether it may have to wait as a row of the state, which somebody has to end if nobody listens any more.
    #[must_use]
    pub const fn waits_in_line(&self) -> bool {
        matches!(self, Self::Claims(command) if command.is_write() && command.wait_ms() > 0)
    }

    /// Whether the command may make the database larger. The others are let through when a disk is full: they are what
    /// makes room.
    #[must_use]
    pub const fn grows(&self) -> bool {
        match self {
            Self::Del { .. }
            | Self::UserRemove { .. }
            | Self::Revoke { .. }
            | Self::Expire { .. }
            | Self::ForgetWait { .. }
            | Self::Drop(_)
            | Self::Cluster(_)
            | Self::SessionEnd { .. } => false,
            Self::Strings(command) => command.grows(),
            Self::Keyspace(command) => command.grows(),
            Self::Hashes(command) => command.grows(),
            Self::Limits(command) => command.grows(),
            Self::Transaction(transaction) => transaction.grows(),
            Self::Leases(command) => command.grows(),
            Self::Claims(command) => command.grows(),
            Self::Roles(command) => command.grows(),
            Self::Durability(command) => command.grows(),
            other => other.is_write(),
        }
    }

    /// Whether the command can change something. A write under a session is logged whatever comes of it;
    /// a read never stores an answer.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        match self {
            Self::Ping { .. }
            | Self::Get { .. }
            | Self::GetV { .. }
            | Self::Exists { .. }
            | Self::PTtl { .. }
            | Self::MGet { .. }
            | Self::Scan { .. }
            | Self::Info
            | Self::UserList
            | Self::UserShow { .. }
            | Self::WhoAmI
            | Self::Changes(_)
            | Self::UserLookup { .. } => false,
            Self::Set { .. }
            | Self::Del { .. }
            | Self::IncrBy { .. }
            | Self::Expire { .. }
            | Self::Persist { .. }
            | Self::MSet { .. }
            | Self::UserAdd { .. }
            | Self::UserRemove { .. }
            | Self::UserPassword { .. }
            | Self::Grant { .. }
            | Self::Revoke { .. }
            | Self::SessionOpen
            | Self::ForgetWait { .. }
            | Self::SessionEnd { .. } => true,
            Self::Strings(command) => command.is_write(),
            Self::Keyspace(command) => command.is_write(),
            Self::Hashes(command) => command.is_write(),
            Self::Limits(command) => command.is_write(),
            Self::Transaction(transaction) => transaction.is_write(),
            Self::Once(command) => command.is_write(),
            Self::Leases(command) => command.is_write(),
            Self::Claims(command) => command.is_write(),
            Self::Roles(command) => command.is_write(),
            Self::Drop(command) => command.is_write(),
            Self::Durability(command) => command.is_write(),
            Self::Cluster(command) => command.is_write(),
        }
    }

    /// The feature level at which the command's effects may be logged.
    #[must_use]
    pub const fn level(&self) -> u32 {
        match self {
            Self::Limits(_) | Self::Once(_) | Self::Leases(_) | Self::Claims(_) | Self::ForgetWait { .. } => {
                2
            }
            Self::Set { ties: SetTies { lease: Some(_), .. }, .. } => 2,
            Self::Roles(command) if command.is_write() => 2,
            Self::Durability(command) if command.is_write() => 2,
            Self::Cluster(command) if command.is_write() => 3,
            Self::Grant { pattern: Pattern::Glob(_), .. } => 2,
            Self::Grant { permission, .. } if !permission.is_first() => 2,
            // Before, ADMIN was one.
            Self::Grant { permission: Permission::Admin, pattern: Pattern::Exact(_), .. } => 2,
            Self::Hashes(_) | Self::Keyspace(KeyCommand::Rename { .. }) if self.is_write() => 2,
            _ if self.is_write() => 1,
            _ => 0,
        }
    }
}

/// The words of the command. A password's hash stays out: what is printed ends in traces and logs, where a
/// hash can be attacked at leisure.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Ok(());
        let mut separator = "";
        self.words(&mut |word| {
            let secret = matches!(word, words::Word::Secret(_));
            let word = if secret { b"***" } else { word.bytes() };
            printed = printed.and_then(|()| write!(f, "{separator}{}", word.escape_ascii()));
            separator = " ";
        });
        printed
    }
}
