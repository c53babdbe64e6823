//! Users and grants: plain replicated records. What they allow is in `rights.rs`, what patterns match in
//! `pattern.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::pattern::Pattern;
use crate::types::{Blob, Index};

/// A user, as replicated.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The position at which the user was created or got its present password. A login holds as long as
    /// this stays the same; a user who is removed and created again has another one.
    pub generation: Index,
    /// The password's hash in PHC form (argon2id).
    pub password: String,
    /// What it may do, sorted by pattern.
    pub grants: Vec<Grant>,
}

/// The hash stays out: what is printed ends in traces and logs, where a hash can be attacked at leisure.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("generation", &self.generation)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

/// A permission on a pattern of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// Which keys; for [`Permission::Admin`] which [`Area`]s.
    pub pattern: Pattern,
    /// What may be done with them.
    pub permission: Permission,
}

impl Grant {
    /// Whether it is about this permission on this key, or on the area of this name.
    #[must_use]
    pub fn meets(&self, permission: Permission, key: &[u8]) -> bool {
        self.permission == permission && self.pattern.matches(key)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ON {}", self.permission, self.pattern)
    }
}

/// What there is to administer, one by one with `ADMIN ON` its name, all of it with `ADMIN ON *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Users, roles, and what they may do. Whoever administers these can grant everything, to anybody.
    Users,
    /// The state of the cluster, and everybody's leases.
    Cluster,
    /// What is configured for all, such as which keys are asynchronous.
    Configuration,
}

impl Area {
    /// All of them.
    pub const ALL: [Area; 3] = [Self::Users, Self::Cluster, Self::Configuration];

    /// The word in a grant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Cluster => "cluster",
            Self::Configuration => "configuration",
        }
    }
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Permission {
    /// See values, existence and remaining time.
    Read,
    /// Create, change and delete.
    Write,
    /// Administer an [`Area`]. Includes no key.
    Admin,
    /// Ask rate limiters. Their names are matched as keys are.
    Limit,
    /// Hold locks, places of semaphores and offices. Their names are matched as keys are.
    Lock,
    /// Be told of changes, together with READ.
    Watch,
    /// Delete. Part of WRITE: whoever may write may delete, unless this is denied.
    Delete,
    /// Delete whole prefixes at once. Nobody has it who was not granted it.
    Drop,
}

impl Permission {
    /// All permissions, in the order in which they are listed to people.
    pub const ALL: [Permission; 8] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Admin,
        Self::Limit,
        Self::Lock,
        Self::Watch,
        Self::Drop,
    ];

    /// The one that it is part of: who holds that holds this.
    #[must_use]
    pub const fn whole(self) -> Option<Self> {
        match self {
            Self::Delete => Some(Self::Write),
            _ => None,
        }
    }

    /// Whether all feature levels know it.
    #[must_use]
    pub const fn is_first(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Admin)
    }

    /// The word in commands and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Admin => "ADMIN",
            Self::Limit => "LIMIT",
            Self::Lock => "LOCK",
            Self::Watch => "WATCH",
            Self::Delete => "DELETE",
            Self::Drop => "DROP",
        }
    }

    /// The permission with this name, in any case.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| name.eq_ignore_ascii_case(permission.name().as_bytes()))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who asks: a user and the login's generation, checked again at every evaluation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Principal {
    /// A logged-in user.
    User {
        /// The name.
        name: Blob,
        /// The generation at the login.
        generation: Index,
    },
    /// Everybody, where access is not enforced.
    Anybody,
}

/// The first administrator, whom the founding leader creates at `generation`: manages users, and may do everything with
/// every key but drop whole prefixes.
#[must_use]
pub fn root_user(password_hash: String, generation: Index) -> User {
    let held = Permission::ALL.into_iter().filter(|it| it.whole().is_none() && *it != Permission::Drop);
    let grants = held.map(|permission| Grant { pattern: Pattern::everything(), permission });
    User { generation, password: password_hash, grants: grants.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rights::Rights;

    #[test]
    fn root_may_do_everything() {
        let root = root_user("hash".into(), Index(1));
        assert!(root.grants.is_sorted(), "grants are kept sorted");
        let root = Rights::new(root.into(), None, Vec::new());
        assert!(Area::ALL.into_iter().all(|area| root.administers(area)));
        assert!(root.allows(Permission::Read, b"any") && root.allows(Permission::Write, b""));
    }

    #[test]
    fn a_printed_user_shows_no_hash() {
        assert!(!format!("{:?}", root_user("$argon2id$secret".into(), Index(1))).contains("secret"));
    }

    #[test]
    fn permissions_are_read_in_any_case_and_nothing_else_is_one() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.name().to_lowercase().as_bytes()), Some(permission));
        }
        assert_eq!(Permission::parse(b"all"), None);
    }
}
