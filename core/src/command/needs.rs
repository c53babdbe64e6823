//! Which permissions a parsed command takes. One function derives them and one checks them, and nothing
//! else in the database asks for a permission; a command inside a transaction or script goes through the
//! same two.
//!
//! Whoever may not read a key must not learn whether it exists. So a write whose answer or effect tells
//! something about what was there (a count, a sum, a condition) takes READ as well.

use std::slice::from_ref;

use super::catalogue::shown;
use super::{Command, SetCondition, SetExpiry};
use crate::access::rights::Rights;
use crate::access::user::{Area, Permission};
use crate::error::{ErrorCode, Failure};
use crate::types::Blob;
use crate::watch::Selector;
use crate::watch::history::NEEDED;

/// What a user must hold for a command.
pub(super) enum Needs<'a> {
    /// Nothing: the node's own question.
    Internal,
    /// A login.
    Login,
    /// All of these permissions on all of these keys.
    Keys(&'static [Permission], &'a [Blob]),
    /// All of these permissions on the first of each pair.
    Pairs(&'static [Permission], &'a [(Blob, Blob)]),
    /// All of these permissions on the key, and LOCK on the lock that guards it.
    Guarded(&'static [Permission], &'a Blob, &'a Blob),
    /// READ on some key with the prefix.
    Range(&'a Blob),
    /// The same, for what a pattern begins with.
    Matching(&'a [u8]),
    /// READ and WATCH on each of these keys, and on some key with each of these prefixes.
    Watched(&'a [Selector]),
    /// DROP, DELETE and READ on all keys with this prefix.
    Dropped(&'a Blob),
    /// READ on every key.
    Everything,
    /// ADMIN on this.
    Admin(Area),
    /// ADMIN on users, or to be this user.
    AdminOrSelf(&'a Blob),
}

pub(super) const READ: &[Permission] = &[Permission::Read];
pub(super) const LOCK: &[Permission] = &[Permission::Lock];
pub(super) const READ_DELETE: &[Permission] = &[Permission::Read, Permission::Delete];
pub(super) const DROP: &[Permission] = &[Permission::Drop, Permission::Read, Permission::Delete];
const ADMIN: &[Permission] = &[Permission::Admin];
const WRITE: &[Permission] = &[Permission::Write];
pub(super) const READ_WRITE: &[Permission] = &[Permission::Read, Permission::Write];

/// What the command takes.
pub(super) fn needs(command: &Command) -> Needs<'_> {
    match command {
        Command::UserLookup { .. } | Command::ForgetWait { .. } => Needs::Internal,
        Command::Ping { .. }
        | Command::Info
        | Command::WhoAmI
        | Command::SessionOpen
        | Command::SessionEnd { .. } => Needs::Login,
        Command::Get { key } | Command::GetV { key } | Command::PTtl { key } => {
            Needs::Keys(READ, from_ref(key))
        }
        Command::Exists { keys } | Command::MGet { keys } => Needs::Keys(READ, keys),
        Command::Set { key, condition, return_old, expiry, ties, .. } => {
            let blind = *condition == SetCondition::Always && !return_old && *expiry != SetExpiry::Keep;
            let permissions = if blind { WRITE } else { READ_WRITE };
            match &ties.fence {
                Some((lock, _)) => Needs::Guarded(permissions, key, lock),
                None => Needs::Keys(permissions, from_ref(key)),
            }
        }
        Command::MSet { pairs } => Needs::Pairs(WRITE, pairs),
        Command::Del { keys } => Needs::Keys(READ_DELETE, keys),
        Command::IncrBy { key, .. } | Command::Expire { key, .. } | Command::Persist { key } => {
            Needs::Keys(READ_WRITE, from_ref(key))
        }
        Command::Scan { prefix, .. } => Needs::Range(prefix),
        Command::Strings(command) => command.needs(),
        Command::Keyspace(command) => command.needs(),
        Command::Hashes(command) => command.needs(),
        Command::Limits(command) => command.needs(),
        // Asked in `transaction.rs`, for all that is in it.
        Command::Transaction(_) => Needs::Login,
        Command::Once(command) => command.needs(),
        Command::Leases(command) => command.needs(),
        Command::Claims(command) => command.needs(),
        Command::Roles(command) => command.needs(),
        Command::Changes(command) => command.needs(),
        Command::Drop(command) => command.needs(),
        Command::Durability(command) => command.needs(),
        Command::Cluster(command) => command.needs(),
        Command::UserPassword { name, .. } => Needs::AdminOrSelf(name),
        Command::UserAdd { .. }
        | Command::UserRemove { .. }
        | Command::UserList
        | Command::UserShow { .. }
        | Command::Grant { .. }
        | Command::Revoke { .. } => Needs::Admin(Area::Users),
    }
}

/// Whether a user of this name, with these grants, may execute the command.
///
/// # Errors
/// `DENIED`, with what is missing. It is derived from the command and the grants alone, so it can't tell
/// whether a key exists.
pub(crate) fn check(user: &[u8], held: &Rights, command: &Command) -> Result<(), Failure> {
    match needs(command) {
        Needs::Internal | Needs::Login => Ok(()),
        Needs::Keys(permissions, keys) => {
            keys.iter().try_for_each(|key| check_key(user, held, permissions, key))
        }
        Needs::Pairs(permissions, pairs) => {
            pairs.iter().try_for_each(|(key, _)| check_key(user, held, permissions, key))
        }
        Needs::Guarded(permissions, key, lock) => {
            check_key(user, held, permissions, key)?;
            check_key(user, held, LOCK, lock)
        }
        Needs::Range(prefix) => check_range(user, held, prefix),
        Needs::Matching(prefix) => check_range(user, held, prefix),
        Needs::Watched(selectors) => selectors.iter().try_for_each(|selector| match selector {
            Selector::Key(key) => check_key(user, held, &NEEDED, key),
            Selector::Prefix(prefix) => match NEEDED.iter().find(|needed| !held.reaches(**needed, prefix)) {
                None => Ok(()),
                Some(needed) => Err(denied(user, *needed, &format!("{}*", shown(prefix)))),
            },
        }),
        Needs::Dropped(prefix) => match DROP.iter().find(|needed| !held.covers(**needed, prefix)) {
            None => Ok(()),
            Some(needed) => Err(denied(user, *needed, &format!("all of {}*", shown(prefix)))),
        },
        Needs::Everything if held.allows_all(Permission::Read) => Ok(()),
        Needs::Everything => Err(denied(user, Permission::Read, "*")),
        Needs::AdminOrSelf(name) if **name == *user => Ok(()),
        Needs::AdminOrSelf(_) => check_key(user, held, ADMIN, Area::Users.name().as_bytes()),
        Needs::Admin(area) => check_key(user, held, ADMIN, area.name().as_bytes()),
    }
}

fn check_range(user: &[u8], held: &Rights, prefix: &[u8]) -> Result<(), Failure> {
    if held.spans(Permission::Read, prefix).is_empty() {
        return Err(denied(user, Permission::Read, &format!("{}*", shown(prefix))));
    }
    Ok(())
}

pub(super) fn check_key(
    user: &[u8],
    held: &Rights,
    permissions: &[Permission],
    key: &[u8],
) -> Result<(), Failure> {
    match permissions.iter().find(|permission| !held.allows(**permission, key)) {
        None => Ok(()),
        Some(permission) => Err(denied(user, *permission, &shown(key))),
    }
}

fn denied(user: &[u8], permission: Permission, what: &str) -> Failure {
    let user = shown(user);
    let message = format!(
        "user '{user}' lacks {permission} ON {what}: CHECK tells why, and an administrator can GRANT {permission} ON a \
         pattern that covers it TO {user}"
    );
    Failure::new(ErrorCode::Denied, message)
}
