//! What somebody may do: the one place where a permission meets a key. Knows no commands, and never looks at whether a key
//! exists.
//!
//! Rights are the user's own grants, those of the user's roles, and the denials of all of them. Without a grant nothing is
//! allowed; a denial wins over any grant, whoever has it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::user::{Area, Grant, Permission, User};
use crate::types::Blob;

/// What is known about a user beside the user's own grants; and all that is known about a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// What a role grants, sorted. Empty for users, whose grants lie with them.
    pub grants: Vec<Grant>,
    /// What is denied, sorted.
    pub denials: Vec<Grant>,
    /// The user's roles, sorted. Empty for roles.
    pub roles: Vec<Blob>,
}

impl Rules {
    /// About the bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rules = self.grants.iter().chain(&self.denials).map(|rule| rule.pattern.text().len() + 2);
        rules.chain(self.roles.iter().map(|role| role.len())).sum()
    }
}

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Holder {
    /// A user's.
    User,
    /// A role's.
    Role,
}

/// What a user may do.
#[derive(Clone, Debug)]
pub struct Rights {
    user: Arc<User>,
    own: Option<Arc<Rules>>,
    roles: Vec<(Blob, Arc<Rules>)>,
}

/// Why something is allowed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The grant or denial that decides; none if nothing grants it.
    pub rule: Option<Grant>,
    /// The role that it is of; none if it is the user's own.
    pub role: Option<Blob>,
}

/// Keys from the first on, up to the second, which is no longer one of them; without a second, all that follow.
pub type Span = (Blob, Option<Blob>);

impl Rights {
    /// Of a user with these rules and roles.
    #[must_use]
    pub fn new(user: Arc<User>, own: Option<Arc<Rules>>, roles: Vec<(Blob, Arc<Rules>)>) -> Self {
        Self { user, own, roles }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The user's roles, those that exist.
    pub fn roles(&self) -> impl Iterator<Item = &Blob> {
        self.roles.iter().map(|(role, _)| role)
    }

    /// All grants, each with the role that it is of.
    pub fn grants(&self) -> impl Iterator<Item = (Option<&Blob>, &Grant)> {
        let roles =
            self.roles.iter().flat_map(|(role, rules)| rules.grants.iter().map(move |it| (Some(role), it)));
        self.user.grants.iter().map(|grant| (None, grant)).chain(roles)
    }

    /// All denials, each with the role that it is of.
    pub fn denials(&self) -> impl Iterator<Item = (Option<&Blob>, &Grant)> {
        let own = self.own.iter().flat_map(|rules| &rules.denials).map(|denial| (None, denial));
        let roles =
            self.roles.iter().flat_map(|(role, rules)| rules.denials.iter().map(move |it| (Some(role), it)));
        own.chain(roles)
    }

    /// Whether this is allowed on this key.
    #[must_use]
    pub fn allows(&self, permission: Permission, key: &[u8]) -> bool {
        let meets = |(_, grant): (Option<&Blob>, &Grant)| grant.meets(permission, key);
        let granted =
            || self.grants().any(meets) || permission.whole().is_some_and(|whole| self.allows(whole, key));
        !self.denials().any(meets) && granted()
    }

    /// Why this is allowed on this key, or not.
    #[must_use]
    pub fn reason(&self, permission: Permission, key: &[u8]) -> Reason {
        let meets = |(_, grant): &(Option<&Blob>, &Grant)| grant.meets(permission, key);
        let denial = self.denials().find(meets);
        let found = denial.or_else(|| self.grants().find(meets));
        if let (None, Some(whole)) = (found, permission.whole()) {
            return self.reason(whole, key);
        }
        Reason {
            allowed: denial.is_none() && found.is_some(),
            rule: found.map(|(_, rule)| rule.clone()),
            role: found.and_then(|(role, _)| role.cloned()),
        }
    }

    /// Whether the user administers this.
    #[must_use]
    pub fn administers(&self, area: Area) -> bool {
        self.allows(Permission::Admin, area.name().as_bytes())
    }

    /// Whether this is allowed on every key.
    #[must_use]
    pub fn allows_all(&self, permission: Permission) -> bool {
        let everything = Pattern::everything();
        self.grants().any(|(_, grant)| grant.permission == permission && grant.pattern == everything)
            && !self.denials().any(|(_, denial)| denial.permission == permission)
    }

    /// Whether this is allowed on every key with a prefix, as far as a scan would show it.
    #[must_use]
    pub fn covers(&self, permission: Permission, prefix: &[u8]) -> bool {
        self.spans(permission, prefix) == [prefix_span(prefix)]
    }

    /// Whether this may be allowed on some key with a prefix, as far as that can be told from the patterns alone.
    #[must_use]
    pub fn reaches(&self, permission: Permission, prefix: &[u8]) -> bool {
        let mut globs = self.grants().filter_map(|(_, grant)| match &grant.pattern {
            Pattern::Glob(glob) if grant.permission == permission => Some(crate::glob::literal(glob)),
            _ => None,
        });
        let overlaps = |literal: &[u8]| literal.starts_with(prefix) || prefix.starts_with(literal);
        let covers = |denial: &Grant| match &denial.pattern {
            Pattern::Prefix(denied) => denial.permission == permission && prefix.starts_with(denied),
            Pattern::Exact(_) | Pattern::Glob(_) => false,
        };
        globs.any(overlaps) && !self.denials().any(|(_, denial)| covers(denial))
            || !self.spans(permission, prefix).is_empty()
    }

    /// The keys with a prefix on which this is allowed, without overlap, in the order of their keys.
    ///
    /// A scan walks these and nothing else, so that its cursor, its count, its pages and its time can't tell about a key outside
    /// them. So a grant by a glob adds nothing: a scan would have to look at the other keys, too. And a denial by a glob hides
    /// everything that begins as the glob does.
    #[must_use]
    pub fn spans(&self, permission: Permission, prefix: &[u8]) -> Vec<Span> {
        let within = prefix_span(prefix);
        let granted = self.grants().filter(|(_, grant)| grant.permission == permission);
        let granted = granted.filter_map(|(_, grant)| match &grant.pattern {
            Pattern::Exact(key) => Some(key_span(key)),
            Pattern::Prefix(prefix) => Some(prefix_span(prefix)),
            Pattern::Glob(_) => None,
        });
        let whole = permission.whole().map(|whole| self.spans(whole, prefix));
        let granted = granted.filter_map(|span| common(&span, &within));
        let mut spans = union(granted.chain(whole.into_iter().flatten()).collect());
        for (_, denial) in self.denials().filter(|(_, denial)| denial.permission == permission) {
            let denied = match &denial.pattern {
                Pattern::Exact(key) => key_span(key),
                Pattern::Prefix(prefix) => prefix_span(prefix),
                Pattern::Glob(glob) => prefix_span(crate::glob::literal(glob)),
            };
            spans = spans.iter().flat_map(|span| without(span, &denied)).collect();
        }
        spans
    }
}

/// Of one key: the next key in order is the same with a zero byte behind it.
fn key_span(key: &[u8]) -> Span {
    (key.into(), Some([key, &[0]].concat().into()))
}

/// All keys with a prefix.
#[must_use]
pub fn prefix_span(prefix: &[u8]) -> Span {
    let mut end = prefix.to_vec();
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    let end = end.split_last().map(|(last, rest)| [rest, &[last + 1]].concat().into());
    (prefix.into(), end)
}

/// Whether an end comes before another; none is behind all keys.
fn ends_first(a: Option<&Blob>, b: Option<&Blob>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a < b,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn non_empty(from: Blob, to: Option<Blob>) -> Option<Span> {
    to.as_ref().is_none_or(|to| from < *to).then_some((from, to))
}

/// What two spans have in common.
fn common(a: &Span, b: &Span) -> Option<Span> {
    let to = if ends_first(a.1.as_ref(), b.1.as_ref()) { &a.1 } else { &b.1 };
    non_empty(a.0.clone().max(b.0.clone()), to.clone())
}

/// What is left of a span: before and behind another.
fn without(span: &Span, other: &Span) -> Vec<Span> {
    let before = common(span, &(Blob::default(), Some(other.0.clone())));
    let behind = other.1.as_ref().and_then(|end| common(span, &(end.clone(), None)));
    before.into_iter().chain(behind).collect()
}

/// The same keys, each in one span.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort();
    let mut all: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match all.last_mut() {
            Some((_, end)) if end.as_ref().is_none_or(|end| from <= *end) => {
                if ends_first(end.as_ref(), to.as_ref()) {
                    *end = to;
                }
            }
            _ => all.push((from, to)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Index;

    fn grant(permission: Permission, pattern: &str) -> Grant {
        Grant { permission, pattern: Pattern::parse(pattern.as_bytes()).expect("a well-formed pattern") }
    }

    fn rights(grants: &[&str], denials: &[&str], by_role: &[&str]) -> Rights {
        let read =
            |patterns: &[&str]| patterns.iter().map(|it| grant(Permission::Read, it)).collect::<Vec<_>>();
        let user = User { generation: Index(1), password: String::new(), grants: read(grants) };
        let own = Rules { denials: read(denials), ..Rules::default() };
        let role = Rules { grants: read(by_role), ..Rules::default() };
        Rights::new(Arc::new(user), Some(Arc::new(own)), vec![("role".into(), Arc::new(role))])
    }

    fn spans(grants: &[&str], denials: &[&str], prefix: &str) -> Vec<String> {
        let spans = rights(grants, denials, &[]).spans(Permission::Read, prefix.as_bytes());
        let end = |end: Option<Blob>| end.map_or("…".into(), |end| end.to_string());
        spans.into_iter().map(|(from, to)| format!("{from}..{}", end(to))).collect()
    }

    #[test]
    fn nothing_is_allowed_without_a_grant_and_one_permission_is_not_the_other() {
        assert!(!rights(&[], &[], &[]).allows(Permission::Read, b"a"));
        assert!(rights(&[], &[], &[]).spans(Permission::Read, b"").is_empty());
        let all = rights(&["a*"], &[], &[]);
        assert!(all.allows(Permission::Read, b"ab") && !all.allows(Permission::Write, b"ab"));
        assert!(!rights(&["*"], &[], &[]).administers(Area::Users), "READ includes no ADMIN");
    }

    #[test]
    fn a_denial_wins_wherever_it_comes_from() {
        let held = rights(&["*"], &["secret:*", "a?c"], &["secret:mine"]);
        assert!(held.allows(Permission::Read, b"abd"));
        for key in ["secret:", "secret:mine", "abc"] {
            assert!(!held.allows(Permission::Read, key.as_bytes()), "{key}");
        }
        assert!(!held.allows_all(Permission::Read));
        assert!(rights(&["*"], &[], &[]).allows_all(Permission::Read));
        let why = held.reason(Permission::Read, b"secret:mine");
        assert_eq!((why.allowed, why.rule), (false, Some(grant(Permission::Read, "secret:*"))));
    }

    #[test]
    fn a_reason_names_the_rule_and_its_role() {
        let held = rights(&[], &[], &["job:*"]);
        let why = held.reason(Permission::Read, b"job:1");
        assert_eq!((why.allowed, why.role), (true, Some("role".into())));
        let why = held.reason(Permission::Read, b"other");
        assert_eq!(why, Reason { allowed: false, rule: None, role: None });
    }

    #[test]
    fn the_last_prefixes_have_no_end() {
        assert_eq!(prefix_span(b""), (Blob::default(), None));
        assert_eq!(prefix_span(&[0xff, 0xff]), (Blob::from(&[0xff, 0xff][..]), None));
        assert_eq!(prefix_span(&[b'a', 0xff]).1, Some("b".into()));
    }

    #[test]
    fn spans_are_in_order_and_without_overlap() {
        assert_eq!(spans(&["b", "a*", "ab*", "a", "c*", "b"], &[], ""), ["a..b\\x00", "c..d"]);
        assert_eq!(spans(&["*"], &[], "user:"), ["user:..user;"]);
        assert_eq!(spans(&["use"], &[], "user:"), [""; 0]);
        assert_eq!(spans(&["*"], &["b*", "d"], ""), ["..b", "c..d", "d\\x00..…"]);
        assert_eq!(spans(&["*"], &["secret?:*"], ""), ["..secret", "secreu..…"]);
        assert_eq!(spans(&["a?c"], &[], ""), [""; 0], "a scan shows nothing by a glob");
        assert_eq!(spans(&["*"], &["*x"], ""), [""; 0], "a glob that begins with a star hides everything");
    }

    proptest! {
        #[test]
        fn spans_hold_exactly_the_allowed_keys_with_the_prefix_once(
            granted in proptest::collection::vec("[abz]{0,3}[*]?", 0..5),
            denied in proptest::collection::vec("[abz]{0,3}[*]?", 0..4),
            prefix in "[abz]{0,2}", key in "[abz]{0,4}",
        ) {
            let (granted, denied): (Vec<&str>, Vec<&str>) =
                (granted.iter().map(String::as_str).collect(), denied.iter().map(String::as_str).collect());
            let held = rights(&granted, &denied, &[]);
            let wanted = key.starts_with(&prefix) && held.allows(Permission::Read, key.as_bytes());
            let key = Blob::from(key.as_str());
            let spans = held.spans(Permission::Read, prefix.as_bytes());
            prop_assert!(spans.is_sorted());
            let holds = |(from, to): &&Span| *from <= key && to.as_ref().is_none_or(|to| key < *to);
            prop_assert_eq!(spans.iter().filter(holds).count(), usize::from(wanted));
        }
    }
}
