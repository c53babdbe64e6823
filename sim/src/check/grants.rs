//! Who may do what: the judges' own, naive idea of users and grants.
//!
//! A user holds a set of pairs of a right and the keys that it is about. Written from the documentation; shares
//! no code with the core's access control.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::access::user::{Grant, Permission, User};
use steadfast_core::types::{Blob, Index};

use super::asked::{Asked, Only, Right};
use super::durability::reach_from_log;
use super::reach::Reach;
use super::roles::Role;

/// All users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// By name.
    pub users: BTreeMap<Blob, Person>,
    /// Roles, by name.
    pub roles: BTreeMap<Blob, Role>,
    /// Names that were removed or got a new password at some time: a login of theirs may have ended.
    pub changed: BTreeSet<Blob>,
}

/// One user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Where the user was created or got its password.
    pub generation: Index,
    /// What it may do.
    pub grants: BTreeSet<(Right, Reach)>,
    /// What it must not do, whatever it may.
    pub denials: BTreeSet<(Right, Reach)>,
    /// Which roles it has.
    pub roles: BTreeSet<Blob>,
}

impl Person {
    /// A user as the log shows it, with the denials and roles of the one before.
    #[must_use]
    pub fn from_log(user: &User, before: Option<Self>) -> Self {
        Self { generation: user.generation, grants: set_from_log(&user.grants), ..before.unwrap_or_default() }
    }
}

/// Grants or denials as the log shows them.
#[must_use]
pub fn set_from_log(grants: &[Grant]) -> BTreeSet<(Right, Reach)> {
    let pair = |grant: &Grant| {
        let right = match grant.permission {
            Permission::Read => Right::Read,
            Permission::Write => Right::Write,
            Permission::Admin => Right::Admin,
            Permission::Limit => Right::Limit,
            Permission::Lock => Right::Lock,
            Permission::Watch => Right::Watch,
            Permission::Delete => Right::Delete,
            Permission::Drop => Right::Drop,
        };
        (right, reach_from_log(&grant.pattern))
    };
    grants.iter().map(pair).collect()
}

impl People {
    /// Whether the user may do all that the command needs. Nobody in particular (`None`) may do everything:
    /// access is not enforced then.
    #[must_use]
    pub fn allow(&self, user: Option<&Blob>, asked: &Asked) -> bool {
        let Some(user_name) = user else { return true };
        let Some(person) = self.users.get(user_name) else { return false };
        needs(asked).iter().all(|need| match need {
            Need::Key(right, key) => person.may(self, *right, key),
            Need::Some(prefix) => person.can_scan(self, Right::Read, prefix),
            Need::Watch(prefix) => {
                [Right::Read, Right::Watch].iter().all(|right| person.reaches(self, *right, prefix))
            }
            Need::All(right, prefix) => person.covers(self, *right, prefix),
            Need::Admin(area) => person.is_admin(self, area),
            Need::AdminOr(name) => person.is_admin(self, "users") || *name == *user_name,
            Need::Everything => person.sees_everything(self),
        })
    }

    /// Whether anybody administers users.
    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.users.values().any(|person| person.is_admin(self, "users"))
    }
}

/// Something that a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A right on a key.
    Key(Right, Blob),
    /// READ on some key with this prefix.
    Some(Blob),
    /// READ on some key with this prefix, and WATCH on some.
    Watch(Blob),
    /// A right on all keys with this prefix.
    All(Right, Blob),
    /// The administrator's right over `users`, `cluster` or `configuration`.
    Admin(&'static str),
    /// The administrator's right over users, or to be this user.
    AdminOr(Blob),
    /// READ on every key.
    Everything,
}

impl Need {
    /// READ on a key.
    #[must_use]
    pub fn read(key: &Blob) -> Self {
        Self::Key(Right::Read, key.clone())
    }

    /// What deletes a key and says whether it was there.
    #[must_use]
    pub fn delete(key: &Blob) -> [Self; 2] {
        [Self::read(key), Self::Key(Right::Delete, key.clone())]
    }

    /// WRITE on a key.
    #[must_use]
    pub fn write(key: &Blob) -> Self {
        Self::Key(Right::Write, key.clone())
    }
}

/// All that a command needs, beside a login. What a command shows of a key needs READ, what it changes WRITE;
/// a write whose answer or effect depends on what was there shows it.
#[must_use]
pub fn needs(asked: &Asked) -> Vec<Need> {
    let (read, write) = (Need::read, Need::write);
    let both = |key: &Blob| [write(key), read(key)];
    match asked {
        Asked::Get(key) | Asked::GetV(key) | Asked::PTtl(key) => vec![read(key)],
        Asked::MGet(keys) | Asked::Exists(keys) => keys.iter().map(read).collect(),
        Asked::Set { key, only: Only::Always, old: false, .. } => vec![write(key)],
        Asked::Set { key, .. } | Asked::IncrBy(key, _) | Asked::Expire(key, _) | Asked::Persist(key) => {
            both(key).into()
        }
        Asked::Del(keys) => keys.iter().flat_map(Need::delete).collect(),
        Asked::Drop(prefix, _) => {
            [Right::Drop, Right::Read, Right::Delete].map(|right| Need::All(right, prefix.clone())).into()
        }
        Asked::MSet(pairs) => pairs.iter().map(|(key, _)| write(key)).collect(),
        Asked::Scan { prefix, .. } => vec![Need::Some(prefix.clone())],
        Asked::Value(asked) => asked.needs(),
        Asked::Limit(asked) => asked.needs(),
        Asked::Txn(txn) => txn.needs(),
        Asked::Once(once) => once.needs(),
        Asked::Lease(asked) => asked.needs(),
        Asked::Claim(asked) => asked.needs(),
        Asked::Role(asked) => asked.needs(),
        Asked::Durability(asked) => asked.needs(),
        Asked::Members(asked) => asked.needs(),
        Asked::Changes(asked) => asked.needs(),
        Asked::UserPassword(name) => vec![Need::AdminOr(name.clone())],
        Asked::UserAdd(_)
        | Asked::UserRemove(_)
        | Asked::UserList
        | Asked::UserShow(_)
        | Asked::Grant(..)
        | Asked::Revoke(..) => vec![Need::Admin("users")],
        Asked::Ping(_) | Asked::Info | Asked::WhoAmI | Asked::SessionOpen | Asked::SessionEnd(_) => {
            Vec::new()
        }
    }
}
