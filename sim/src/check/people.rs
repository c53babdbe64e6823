//! What commands on users and grants must do, as the first judge foresees it.

use std::collections::BTreeMap;

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Asked, Right};
use super::grants::Person;
use super::model::{At, Model, Plan, put_all};
use super::reach::Reach;

impl Model {
    /// Refuses a plan that would leave nobody who administers users.
    pub(super) fn keep_admin(&self, plan: Plan) -> Plan {
        if plan.people.is_empty() && plan.roles.is_empty() || !self.people.has_admin() {
            return plan;
        }
        let mut people = self.people.clone();
        put_all(&mut people.users, plan.people.clone());
        put_all(&mut people.roles, plan.roles.clone());
        if people.has_admin() { plan } else { Plan::fails(ErrorCode::LastAdministrator) }
    }
}

impl At<'_> {
    pub(super) fn change_user(&self, asked: &Asked) -> Plan {
        let users = &self.model.people.users;
        let (name, after) = match asked {
            Asked::UserAdd(name) if users.contains_key(name) => return Plan::fails(ErrorCode::UserExists),
            Asked::UserAdd(name) => (name, Some(Person { generation: self.position, ..Person::default() })),
            Asked::UserPassword(name) => {
                let person = users.get(name).cloned();
                (name, person.map(|person| Person { generation: self.position, ..person }))
            }
            Asked::UserRemove(name) => (name, None),
            _ => return Plan::default(),
        };
        if !matches!(asked, Asked::UserAdd(_)) && !users.contains_key(name) {
            return Plan::fails(ErrorCode::UserUnknown);
        }
        Plan { people: BTreeMap::from([(name.clone(), after)]), ..Plan::says(Value::ok()) }
    }

    pub(super) fn regrant(&self, name: &Blob, right: Right, reach: &Reach, grant: bool) -> Plan {
        let Some(person) = self.model.people.users.get(name) else {
            return Plan::fails(ErrorCode::UserUnknown);
        };
        let mut after = person.clone();
        let changed = match grant {
            true => after.grants.insert((right, reach.clone())),
            false => after.grants.remove(&(right, reach.clone())),
        };
        if !changed {
            return Plan::says(Value::Int(0));
        }
        Plan { people: BTreeMap::from([(name.clone(), Some(after))]), ..Plan::says(Value::Int(1)) }
    }
}
