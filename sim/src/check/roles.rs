//! Roles, denials and globs, as the judges understand them. Written from the documentation; shares no code with the core's.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::access::rights::Rules;
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Right, Unread, bad, read_grant, read_right, word};
use super::grants::{Need, People, Person, set_from_log};
use super::model::{At, Plan};
use super::reach::Reach;

/// What a role grants and denies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// What all who have it may do.
    pub grants: BTreeSet<(Right, Reach)>,
    /// What none of them may do.
    pub denials: BTreeSet<(Right, Reach)>,
}

impl Role {
    /// As the log has it.
    #[must_use]
    pub fn from_log(rules: &Rules) -> Self {
        Self { grants: set_from_log(&rules.grants), denials: set_from_log(&rules.denials) }
    }
}

/// A command on roles or denials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnRole {
    /// `ROLE ADD role`
    Add(Blob),
    /// `ROLE REMOVE role`
    Remove(Blob),
    /// `ROLE LIST`
    List,
    /// `ROLE SHOW role`
    Show(Blob),
    /// `ROLE GIVE role TO user` (true), `ROLE TAKE role FROM user`
    Member(Blob, Blob, bool),
    /// A grant of a role's, or a denial of anybody's.
    Rule(Rule),
    /// `CHECK user right key`
    Check(Blob, Right, Blob),
}

/// A change of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What.
    pub rule: (Right, Reach),
    /// Whether it is a denial.
    pub denies: bool,
    /// Whether it is made.
    pub adds: bool,
    /// Whether it is a role's.
    pub of_role: bool,
    /// Whose.
    pub name: Blob,
}

impl OnRole {
    pub(super) fn read(name: &str, rest: &[Blob]) -> Result<Self, Unread> {
        let form = || bad(format!("{name} with a wrong number of arguments"));
        match (name, word(rest.first()).as_str(), rest) {
            ("CHECK", _, [user, right, key]) => {
                Ok(Self::Check(user.clone(), read_right(right)?, key.clone()))
            }
            ("ROLE", "ADD", [_, role]) => Ok(Self::Add(role.clone())),
            ("ROLE", "REMOVE", [_, role]) => Ok(Self::Remove(role.clone())),
            ("ROLE", "LIST", [_]) => Ok(Self::List),
            ("ROLE", "SHOW", [_, role]) => Ok(Self::Show(role.clone())),
            ("ROLE", "GIVE", [_, role, to, user]) if word(Some(to)) == "TO" => {
                Ok(Self::Member(role.clone(), user.clone(), true))
            }
            ("ROLE", "TAKE", [_, role, from, user]) if word(Some(from)) == "FROM" => {
                Ok(Self::Member(role.clone(), user.clone(), false))
            }
            ("GRANT" | "REVOKE" | "DENY" | "UNDENY", ..) => {
                let adds = name == "GRANT" || name == "DENY";
                let of_role = rest.len() == 6 && word(rest.get(4)) == "ROLE";
                let mut words = rest.to_vec();
                if of_role {
                    words.remove(4);
                }
                let (right, reach, whose) = read_grant(&words, if adds { "TO" } else { "FROM" })?;
                let denies = name.ends_with("DENY");
                Ok(Self::Rule(Rule { rule: (right, reach), denies, adds, of_role, name: whose }))
            }
            _ => Err(form()),
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::List | Self::Show(_) | Self::Check(..))
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        match self {
            Self::Check(user, ..) => vec![Need::AdminOr(user.clone())],
            _ => vec![Need::Admin("users")],
        }
    }

    /// The user or role that it changes.
    #[must_use]
    pub const fn whose(&self) -> Option<&Blob> {
        match self {
            Self::Add(name) | Self::Remove(name) | Self::Member(_, name, _) => Some(name),
            Self::Rule(rule) => Some(&rule.name),
            _ => None,
        }
    }
}

impl Person {
    /// All grants, or all denials, of the person and of the roles.
    fn rules<'a>(
        &'a self,
        people: &'a People,
        denials: bool,
    ) -> impl Iterator<Item = (Option<&'a Blob>, &'a (Right, Reach))> {
        let own = if denials { &self.denials } else { &self.grants };
        let roles = self.roles.iter().filter_map(|name| Some((name, people.roles.get(name)?)));
        let theirs = roles.flat_map(move |(name, role)| {
            let rules = if denials { &role.denials } else { &role.grants };
            rules.iter().map(move |rule| (Some(name), rule))
        });
        own.iter().map(|rule| (None, rule)).chain(theirs)
    }

    /// The rule that decides, if any, and whether it allows this.
    fn decides<'a>(
        &'a self,
        people: &'a People,
        right: Right,
        key: &[u8],
    ) -> (bool, Option<(Option<&'a Blob>, bool)>) {
        let meets =
            |(_, (held, reach)): &(Option<&Blob>, &(Right, Reach))| *held == right && reach.covers(key);
        if let Some((role, _)) = self.rules(people, true).find(meets) {
            return (false, Some((role, true)));
        }
        let granted = self.rules(people, false).find(meets);
        if granted.is_none() && right == Right::Delete {
            return self.decides(people, Right::Write, key);
        }
        (granted.is_some(), granted.map(|(role, _)| (role, false)))
    }

    /// Whether this is allowed.
    #[must_use]
    pub fn may(&self, people: &People, right: Right, key: &[u8]) -> bool {
        self.decides(people, right, key).0
    }

    /// Whether the user administers this: `users`, `cluster` or `configuration`.
    #[must_use]
    pub fn is_admin(&self, people: &People, area: &str) -> bool {
        self.may(people, Right::Admin, area.as_bytes())
    }

    /// Whether every key may be read.
    #[must_use]
    pub fn sees_everything(&self, people: &People) -> bool {
        let read = |(_, (right, _)): &(Option<&Blob>, &(Right, Reach))| *right == Right::Read;
        let all = |(_, (_, reach)): (Option<&Blob>, &(Right, Reach))| reach.open && reach.literal.is_empty();
        self.rules(people, false).filter(read).any(all) && !self.rules(people, true).any(|rule| read(&rule))
    }

    /// Whether a scan with this right shows a key: a grant by a glob does not count, and a denial by one counts for all that
    /// begins as it does.
    #[must_use]
    pub fn is_shown(&self, people: &People, wanted: Right, key: &[u8]) -> bool {
        let about = |(_, (right, _)): &(Option<&Blob>, &(Right, Reach))| *right == wanted;
        let granted =
            self.rules(people, false).filter(about).any(|(_, (_, reach))| !reach.glob && reach.covers(key));
        let denied = self
            .rules(people, true)
            .filter(about)
            .any(|(_, (_, reach))| reach.covers(key) || (reach.glob && key.starts_with(reach.beginning())));
        granted && !denied
    }

    /// Whether a scan of a prefix could show anything. The first such key is the beginning of something granted, or comes right
    /// behind something denied.
    #[must_use]
    pub fn can_scan(&self, people: &People, wanted: Right, prefix: &Blob) -> bool {
        let begins =
            self.rules(people, false).map(|(_, (_, reach))| reach.literal.clone().max(prefix.clone()));
        let behind = self.rules(people, true).flat_map(|(_, (_, reach))| {
            let mut next = reach.beginning().to_vec();
            let key = Blob::from([&next[..], &[0]].concat());
            while next.pop_if(|last| *last == u8::MAX).is_some() {}
            if let Some(last) = next.last_mut() {
                *last += 1;
            }
            [key, Blob::from(next)]
        });
        let mut keys = begins.chain(behind).chain([prefix.clone()]);
        keys.any(|key| key.starts_with(prefix) && self.is_shown(people, wanted, &key))
    }

    /// Whether this is allowed on all keys with a prefix: some grant is of all of them, and no denial of any. A denial by a glob
    /// counts for all that begins as it does.
    #[must_use]
    pub fn covers(&self, people: &People, wanted: Right, prefix: &Blob) -> bool {
        let granted = |(_, (right, reach)): (Option<&Blob>, &(Right, Reach))| {
            *right == wanted && reach.open && prefix.starts_with(&reach.literal)
        };
        let denied = |(_, (right, reach)): (Option<&Blob>, &(Right, Reach))| {
            let (beginning, open) = (reach.beginning(), reach.open || reach.glob);
            *right == wanted && (beginning.starts_with(prefix) || open && prefix.starts_with(beginning))
        };
        let whole = wanted == Right::Delete && self.covers(people, Right::Write, prefix);
        (whole || self.rules(people, false).any(granted)) && !self.rules(people, true).any(denied)
    }

    /// Whether there may be keys with a prefix on which this is allowed: some of which a scan would say so, or those of a glob,
    /// unless the whole prefix is denied.
    #[must_use]
    pub fn reaches(&self, people: &People, wanted: Right, prefix: &Blob) -> bool {
        let overlaps = |reach: &Reach| {
            let beginning = reach.beginning();
            reach.glob && (beginning.starts_with(prefix) || prefix.starts_with(beginning))
        };
        let covers = |reach: &Reach| reach.open && prefix.starts_with(&reach.literal);
        let globs = self.rules(people, false).any(|(_, (right, reach))| *right == wanted && overlaps(reach));
        let denied = self.rules(people, true).any(|(_, (right, reach))| *right == wanted && covers(reach));
        globs && !denied || self.can_scan(people, wanted, prefix)
    }
}

impl At<'_> {
    /// What the command must do.
    pub(super) fn on_role(&self, asked: &OnRole) -> Plan {
        self.try_on_role(asked).unwrap_or_else(Plan::fails)
    }

    fn try_on_role(&self, asked: &OnRole) -> Result<Plan, ErrorCode> {
        let people = &self.model.people;
        let role = |name: &Blob| people.roles.get(name).cloned().ok_or(ErrorCode::UserUnknown);
        let person = |name: &Blob| people.users.get(name).cloned().ok_or(ErrorCode::UserUnknown);
        let one = |changes: bool| Plan::says(Value::Int(changes.into()));
        Ok(match asked {
            OnRole::Add(name) if people.roles.contains_key(name) => Plan::fails(ErrorCode::UserExists),
            OnRole::Add(name) => Plan {
                roles: BTreeMap::from([(name.clone(), Some(Role::default()))]),
                ..Plan::says(Value::ok())
            },
            OnRole::Remove(name) => {
                role(name)?;
                let mut plan =
                    Plan { roles: BTreeMap::from([(name.clone(), None)]), ..Plan::says(Value::ok()) };
                for (user, person) in people.users.iter().filter(|(_, person)| person.roles.contains(name)) {
                    let mut person = person.clone();
                    person.roles.remove(name);
                    plan.people.insert(user.clone(), Some(person));
                }
                plan
            }
            OnRole::List => {
                Plan::says(Value::List(people.roles.keys().map(|name| Value::Bytes(name.clone())).collect()))
            }
            // What it shows is not looked at.
            OnRole::Show(name) => role(name).map(|_| Plan::default())?,
            OnRole::Member(name, user, gives) => {
                role(name)?;
                let mut person = person(user)?;
                let changes =
                    if *gives { person.roles.insert(name.clone()) } else { person.roles.remove(name) };
                let mut plan = one(changes);
                plan.people.extend(changes.then(|| (user.clone(), Some(person))));
                plan
            }
            OnRole::Rule(Rule { rule, denies, adds, of_role: true, name }) => {
                let mut role = role(name)?;
                let set = if *denies { &mut role.denials } else { &mut role.grants };
                let changes = if *adds { set.insert(rule.clone()) } else { set.remove(rule) };
                let mut plan = one(changes);
                plan.roles.extend(changes.then(|| (name.clone(), Some(role))));
                plan
            }
            OnRole::Rule(Rule { rule, adds, name, .. }) => {
                let mut person = person(name)?;
                let set = &mut person.denials;
                let changes = if *adds { set.insert(rule.clone()) } else { set.remove(rule) };
                let mut plan = one(changes);
                plan.people.extend(changes.then(|| (name.clone(), Some(person))));
                plan
            }
            OnRole::Check(user, right, key) => {
                // Several rules may say the same; which of them is named is not looked at.
                person(user)?;
                let _ = (right, key);
                Plan::default()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> (Right, Reach) {
        (Right::Read, Reach::read(text.as_bytes()).expect("a pattern"))
    }

    #[test]
    fn denials_win_and_globs_are_not_scanned() {
        let role = Role { grants: BTreeSet::from([rule("b*")]), denials: BTreeSet::from([rule("a?x")]) };
        let people = People { roles: BTreeMap::from([("r".into(), role)]), ..People::default() };
        let person = Person {
            grants: BTreeSet::from([rule("a*"), rule("*z")]),
            denials: BTreeSet::from([rule("bb*")]),
            roles: BTreeSet::from(["r".into()]),
            ..Person::default()
        };
        let may = |key: &str| person.may(&people, Right::Read, key.as_bytes());
        assert!(may("a") && may("ba") && may("yz") && !may("abx") && !may("bbz") && !may("c"));
        let shown = |key: &str| person.is_shown(&people, Right::Read, key.as_bytes());
        assert!(shown("ba") && !shown("yz") && !shown("ab"), "all that begins with a is hidden by a?x");
        let scans = |prefix: &str| person.can_scan(&people, Right::Read, &prefix.into());
        assert!(scans("") && scans("b") && !scans("bb") && !scans("a") && !scans("y"));
        let reaches = |prefix: &str| person.reaches(&people, Right::Read, &prefix.into());
        assert!(reaches("a") && reaches("y"), "by the glob *z");
        assert!(!reaches("bb"), "all of it is denied");
        let covers = |prefix: &str| person.covers(&people, Right::Read, &prefix.into());
        assert!(covers("bc") && !covers("b") && !covers("bbx") && !covers("a") && !covers("z"));
    }
}
