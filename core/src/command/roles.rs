//! Commands on roles and denials, and the one that explains what somebody may do.
//!
//! A role is a name for grants and denials that several users have: changing the role changes what all of them may do, at
//! one position of the log. Roles hold no other roles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Command;
use super::admin::limit_reached;
use super::catalogue::shown;
use super::evaluate::Evaluation;
use super::needs::Needs;
use super::parse::{Words, argument};
use super::words::{Word, option};
use crate::access::rights::{Holder, Rules};
use crate::access::user::{Area, Grant, Pattern, Permission};
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::effect::Effect;
use crate::types::Blob;

/// A command on roles or denials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleCommand {
    /// Makes a role that grants nothing yet.
    Add {
        /// Its name.
        role: Blob,
    },
    /// Removes a role, from all who have it.
    Remove {
        /// Its name.
        role: Blob,
    },
    /// The names of all roles.
    List,
    /// What a role grants and denies.
    Show {
        /// Its name.
        role: Blob,
    },
    /// Gives a user a role, or takes it.
    Member {
        /// Which.
        role: Blob,
        /// Whom.
        user: Blob,
        /// Whether it is given.
        gives: bool,
    },
    /// Adds or removes a grant of a role's, or a denial of anybody's.
    Rule {
        /// What is granted or denied.
        rule: Grant,
        /// Whether it is denied.
        denies: bool,
        /// Whether it is added.
        adds: bool,
        /// A user's or a role's.
        holder: Holder,
        /// Whose.
        name: Blob,
    },
    /// Explains whether a user may do something.
    Check {
        /// Who.
        user: Blob,
        /// What.
        permission: Permission,
        /// With which key.
        key: Blob,
    },
}

impl RoleCommand {
    /// The name in the catalogue.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add { .. } => "ROLE ADD",
            Self::Remove { .. } => "ROLE REMOVE",
            Self::List => "ROLE LIST",
            Self::Show { .. } => "ROLE SHOW",
            Self::Member { gives: true, .. } => "ROLE GIVE",
            Self::Member { gives: false, .. } => "ROLE TAKE",
            Self::Rule { denies: false, adds: true, .. } => "GRANT",
            Self::Rule { denies: false, adds: false, .. } => "REVOKE",
            Self::Rule { denies: true, adds: true, .. } => "DENY",
            Self::Rule { denies: true, adds: false, .. } => "UNDENY",
            Self::Check { .. } => "CHECK",
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::List | Self::Show { .. } | Self::Check { .. })
    }

    pub(super) const fn grows(&self) -> bool {
        matches!(self, Self::Add { .. } | Self::Member { gives: true, .. } | Self::Rule { adds: true, .. })
    }

    pub(super) fn needs(&self) -> Needs<'_> {
        match self {
            Self::Check { user, .. } => Needs::AdminOrSelf(user),
            _ => Needs::Admin(Area::Users),
        }
    }

    pub(super) fn words(&self, each: &mut dyn FnMut(Word<'_>)) {
        match self {
            Self::Add { role } | Self::Remove { role } | Self::Show { role } => each(Word::Plain(role)),
            Self::List => {}
            Self::Member { role, user, gives } => {
                each(Word::Plain(role));
                option(if *gives { "TO" } else { "FROM" }, Some(user), each);
            }
            Self::Rule { rule, adds, holder, name, .. } => {
                each(Word::Plain(rule.permission.name().as_bytes()));
                option("ON", Some(&rule.pattern.text()), each);
                each(Word::Plain(if *adds { b"TO" } else { b"FROM" }));
                if *holder == Holder::Role {
                    each(Word::Plain(b"ROLE"));
                }
                each(Word::Plain(name));
            }
            Self::Check { user, permission, key } => {
                each(Word::Plain(user));
                each(Word::Plain(permission.name().as_bytes()));
                each(Word::Plain(key));
            }
        }
    }
}

impl Words<'_> {
    pub(super) fn role_command(&mut self) -> Result<Command, Failure> {
        Ok(Command::Roles(match self.name() {
            "ROLE ADD" => RoleCommand::Add { role: self.new_name()? },
            "ROLE REMOVE" => RoleCommand::Remove { role: self.login_name()? },
            "ROLE LIST" => RoleCommand::List,
            "ROLE SHOW" => RoleCommand::Show { role: self.login_name()? },
            name @ ("ROLE GIVE" | "ROLE TAKE") => {
                let (role, gives) = (self.login_name()?, name == "ROLE GIVE");
                self.preposition(gives)?;
                RoleCommand::Member { role, user: self.login_name()?, gives }
            }
            "CHECK" => {
                let user = self.login_name()?;
                RoleCommand::Check { user, permission: self.permission()?, key: self.key()? }
            }
            name => return self.rule(name == "DENY" || name == "UNDENY", name == "DENY" || name == "GRANT"),
        }))
    }

    /// `permission ON pattern TO|FROM [ROLE] name`.
    pub(super) fn rule(&mut self, denies: bool, adds: bool) -> Result<Command, Failure> {
        let rule = self.grant()?;
        self.preposition(adds)?;
        // Whoever is called ROLE is named by the last word.
        let of_role = self.left() > 1 && self.keyword("ROLE");
        let holder = if of_role { Holder::Role } else { Holder::User };
        let name = self.login_name()?;
        self.end()?;
        Ok(match (holder, denies, adds) {
            (Holder::User, false, true) => {
                Command::Grant { permission: rule.permission, pattern: rule.pattern, user: name }
            }
            (Holder::User, false, false) => {
                Command::Revoke { permission: rule.permission, pattern: rule.pattern, user: name }
            }
            _ => Command::Roles(RoleCommand::Rule { rule, denies, adds, holder, name }),
        })
    }

    fn permission(&mut self) -> Result<Permission, Failure> {
        let word = self.next()?;
        Permission::parse(&word).ok_or_else(|| {
            let all = Permission::ALL.map(Permission::name).join(", ");
            argument(format!("'{}' is no permission ({all})", shown(&word)))
        })
    }

    /// `permission ON pattern`.
    fn grant(&mut self) -> Result<Grant, Failure> {
        let permission = self.permission()?;
        if !self.keyword("ON") {
            return Err(self.syntax("ON does not follow the permission"));
        }
        let pattern = self.pattern()?;
        let is_area = |name: &Blob| Area::ALL.iter().any(|area| area.name().as_bytes() == name.as_slice());
        let names_area = match &pattern {
            Pattern::Exact(name) => is_area(name),
            other => *other == Pattern::everything(),
        };
        if permission == Permission::Admin && !names_area {
            let areas = Area::ALL.map(Area::name).join(", ");
            return Err(argument(format!("ADMIN is about no key, but about one of {areas}, or * for all")));
        }
        Ok(Grant { pattern, permission })
    }

    fn preposition(&mut self, adds: bool) -> Result<(), Failure> {
        let wanted = if adds { "TO" } else { "FROM" };
        if self.keyword(wanted) { Ok(()) } else { Err(self.syntax(&format!("{wanted} is missing"))) }
    }
}

impl Evaluation<'_> {
    pub(super) fn roles(&mut self, command: &RoleCommand) -> Outcome {
        match command {
            RoleCommand::Add { role } => self.role_add(role),
            RoleCommand::Remove { role } => self.role_remove(role),
            RoleCommand::List => {
                Ok(Value::List(self.view.roles().into_iter().map(|(name, _)| Value::Bytes(name)).collect()))
            }
            RoleCommand::Show { role } => {
                let rules = self.known_role(role)?;
                Ok(Value::Map(vec![
                    ("role".into(), Value::Bytes(role.clone())),
                    ("grants".into(), listed(rules.grants.iter())),
                    ("denials".into(), listed(rules.denials.iter())),
                ]))
            }
            RoleCommand::Member { role, user, gives } => self.role_member(role, user, *gives),
            RoleCommand::Rule { rule, denies, adds, holder, name } => {
                self.change_rule(rule, *denies, *adds, (*holder, name))
            }
            RoleCommand::Check { user, permission, key } => self.check_right(user, *permission, key),
        }
    }

    fn role_add(&mut self, role: &Blob) -> Outcome {
        let roles = self.view.roles();
        if roles.iter().any(|(name, _)| name == role) {
            let message = format!("the role '{}' exists: ROLE SHOW tells what it grants", shown(role));
            return Err(Failure::new(ErrorCode::UserExists, message));
        }
        if roles.len() >= self.limits.users {
            return Err(limit_reached(
                "roles",
                self.limits.users,
                "ROLE REMOVE one that is no longer needed",
            ));
        }
        self.set_rules((Holder::Role, role), Some(Rules::default()));
        Ok(Value::ok())
    }

    fn role_remove(&mut self, role: &Blob) -> Outcome {
        self.known_role(role)?;
        let had = self.has_an_administrator();
        self.set_rules((Holder::Role, role), None);
        // Another role of the same name is not this one.
        for (user, rules) in self.view.rules_of_users() {
            if rules.roles.contains(role) {
                let mut rules = (*rules).clone();
                rules.roles.retain(|name| name != role);
                self.set_rules((Holder::User, &user), Some(rules));
            }
        }
        self.keep_an_administrator(had)?;
        self.end_forbidden_waits();
        Ok(Value::ok())
    }

    fn role_member(&mut self, role: &Blob, user: &Blob, gives: bool) -> Outcome {
        self.known_role(role)?;
        self.known_user(user)?;
        let had = self.has_an_administrator();
        let mut rules = self.view.rules(Holder::User, user).map(|rules| (*rules).clone()).unwrap_or_default();
        match (rules.roles.binary_search(role), gives) {
            (Err(place), true) => {
                if rules.roles.len() >= self.limits.grants {
                    let way_out = "take one that is no longer needed, or make a role of several";
                    return Err(limit_reached("roles of this user", self.limits.grants, way_out));
                }
                rules.roles.insert(place, role.clone());
            }
            (Ok(place), false) => drop(rules.roles.remove(place)),
            _ => return Ok(Value::Int(0)),
        }
        self.set_rules((Holder::User, user), Some(rules));
        // A role may deny what its user had.
        self.keep_an_administrator(had)?;
        self.end_forbidden_waits();
        Ok(Value::Int(1))
    }

    fn change_rule(&mut self, rule: &Grant, denies: bool, adds: bool, of: (Holder, &Blob)) -> Outcome {
        let rules = match of.0 {
            Holder::Role => Some(self.known_role(of.1)?),
            Holder::User => {
                self.known_user(of.1)?;
                self.view.rules(of.0, of.1)
            }
        };
        let had = self.has_an_administrator();
        let mut rules = rules.map(|rules| (*rules).clone()).unwrap_or_default();
        let list = if denies { &mut rules.denials } else { &mut rules.grants };
        match (list.binary_search(rule), adds) {
            (Err(place), true) => {
                if list.len() >= self.limits.grants {
                    let way_out = "remove one that is no longer needed, or name a prefix";
                    return Err(limit_reached("rules of this kind here", self.limits.grants, way_out));
                }
                list.insert(place, rule.clone());
            }
            (Ok(place), false) => drop(list.remove(place)),
            _ => return Ok(Value::Int(0)),
        }
        self.set_rules(of, Some(rules));
        self.keep_an_administrator(had)?;
        self.end_forbidden_waits();
        Ok(Value::Int(1))
    }

    fn check_right(&mut self, user: &Blob, permission: Permission, key: &Blob) -> Outcome {
        let user = self.known_user(user).map(|record| (user, record))?;
        let rights = self.view.rights(user.0, user.1);
        let reason = rights.reason(permission, key);
        let denied = !reason.allowed && reason.rule.is_some();
        let rule = reason.rule.map(|rule| format!("{} {rule}", if denied { "DENY" } else { "GRANT" }));
        Ok(Value::Map(vec![
            ("allowed".into(), Value::Int(reason.allowed.into())),
            ("rule".into(), rule.map_or(Value::Nil, |rule| Value::Bytes(rule.into()))),
            ("role".into(), reason.role.map_or(Value::Nil, Value::Bytes)),
        ]))
    }

    /// Without any rule there is no row; a role is there without.
    fn set_rules(&mut self, (holder, name): (Holder, &Blob), rules: Option<Rules>) {
        let rules = rules.filter(|rules| holder == Holder::Role || *rules != Rules::default());
        self.view.effect(Effect::Ruled { holder, name: name.clone(), rules });
    }

    /// A user who goes takes all rules along: a user of the same name inherits none.
    pub(super) fn forget_rules(&mut self, user: &Blob) {
        if self.view.rules(Holder::User, user).is_some() {
            self.set_rules((Holder::User, user), None);
        }
    }

    fn known_role(&mut self, role: &Blob) -> Result<Arc<Rules>, Failure> {
        let unknown =
            || format!("there is no role '{}': ROLE LIST shows all, ROLE ADD makes one", shown(role));
        let rules = self.view.rules(Holder::Role, role);
        rules.ok_or_else(|| Failure::new(ErrorCode::UserUnknown, unknown()))
    }
}

/// Rules for people.
pub(super) fn listed<'a>(rules: impl Iterator<Item = &'a Grant>) -> Value {
    Value::List(rules.map(|rule| Value::Bytes(rule.to_string().into())).collect())
}
