//! What a list of grants allows: the one place where a permission meets a key. Knows no commands, and
//! never looks at whether a key exists.

use super::pattern::Pattern;
use super::user::{Grant, Permission};

/// Whether a grant allows this on this key. Without a grant, nothing is allowed.
#[must_use]
pub fn allows(grants: &[Grant], permission: Permission, key: &[u8]) -> bool {
    grants.iter().any(|grant| grant.permission == permission && grant.pattern.matches(key))
}

/// Whether the grants hold the permission on any key at all: for `Admin`, which is about no key.
#[must_use]
pub fn holds(grants: &[Grant], permission: Permission) -> bool {
    grants.iter().any(|grant| grant.permission == permission)
}

/// Whether this is allowed on every key.
#[must_use]
pub fn allows_all(grants: &[Grant], permission: Permission) -> bool {
    grants.iter().any(|grant| grant.permission == permission && grant.pattern == Pattern::everything())
}

/// The keys with a prefix on which this is allowed: patterns without overlap, in the order of their keys.
///
/// A scan walks these and nothing else, so that its cursor, its count and its pages can't tell about a
/// key outside them.
#[must_use]
pub fn ranges(grants: &[Grant], permission: Permission, prefix: &[u8]) -> Vec<Pattern> {
    let granted = grants.iter().filter(|grant| grant.permission == permission);
    let mut patterns: Vec<Pattern> = granted.filter_map(|grant| grant.pattern.within(prefix)).collect();
    // By literal, and a prefix before the exact key of the same name: whatever covers a pattern stands
    // before it, and what follows in between is covered as well.
    patterns.sort_by(|a, b| {
        let exact = |pattern: &Pattern| matches!(pattern, Pattern::Exact(_));
        a.literal().cmp(b.literal()).then(exact(a).cmp(&exact(b)))
    });
    patterns.dedup_by(|later, earlier| earlier.covers(later));
    patterns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grant(permission: Permission, pattern: &str) -> Grant {
        Grant { permission, pattern: Pattern::parse(pattern.as_bytes()).expect("a well-formed pattern") }
    }

    fn read_ranges(patterns: &[&str], prefix: &str) -> Vec<String> {
        let grants: Vec<_> = patterns.iter().map(|pattern| grant(Permission::Read, pattern)).collect();
        ranges(&grants, Permission::Read, prefix.as_bytes()).iter().map(Pattern::to_string).collect()
    }

    #[test]
    fn nothing_is_allowed_without_a_grant() {
        assert!(!allows(&[], Permission::Read, b"a"));
        assert!(ranges(&[], Permission::Read, b"").is_empty());
    }

    #[test]
    fn one_permission_is_not_the_other() {
        let grants = [grant(Permission::Write, "a*"), grant(Permission::Admin, "*")];
        assert!(allows(&grants, Permission::Write, b"ab"));
        assert!(!allows(&grants, Permission::Read, b"ab"), "neither WRITE nor ADMIN includes READ");
    }

    #[test]
    fn ranges_are_in_order_and_without_overlap() {
        assert_eq!(read_ranges(&["b", "a*", "ab*", "a", "c*", "b"], ""), ["a*", "b", "c*"]);
        assert_eq!(read_ranges(&["user:1*", "user:2", "other"], "user:"), ["user:1*", "user:2"]);
        assert_eq!(read_ranges(&["*", "a"], "user:"), ["user:*"]);
        assert_eq!(read_ranges(&["use"], "user:"), [""; 0]);
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_the_allowed_keys_with_the_prefix_once(
            patterns in proptest::collection::vec("[ab]{0,3}[*]?", 0..6), prefix in "[ab]{0,2}", key in "[ab]{0,4}",
        ) {
            let grants: Vec<_> = patterns.iter().map(|pattern| grant(Permission::Read, pattern)).collect();
            let key = key.as_bytes();
            let wanted = key.starts_with(prefix.as_bytes()) && allows(&grants, Permission::Read, key);
            let hits = ranges(&grants, Permission::Read, prefix.as_bytes())
                .iter().filter(|range| range.matches(key)).count();
            prop_assert_eq!(hits, usize::from(wanted));
        }
    }
}
