//! The naive model: one ordered map, one command at a time, written from the documented semantics.
//!
//! It plans what a command must answer and change, at a position and a time that are given to it, and adopts
//! plans and effects when told to. It knows no layers, no dependencies, no retries. It shares no code with
//! the core's evaluation or state.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::{Blob, Index, SessionId};

use super::asked::{Asked, Only, Right, whole};
use super::claims::{Claim, ClaimKey};
use super::durability::Leeway;
use super::grants::{People, Person};
use super::leases::Lease;
use super::limits::Memory;
use super::once::{Deed, Remembered};
use super::reach::Reach;
use super::roles::Role;
use super::rows::{Ends, Held, Row};
use super::values::Until;

/// Everything that is replicated, as the model sees it.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Keys. A row that is due is still here until an effect or a plan removes it.
    pub rows: BTreeMap<Blob, Row>,
    /// Users.
    pub people: People,
    /// Rate limiters. One that makes no difference any more is still here until an effect or a plan removes it.
    pub limits: BTreeMap<Blob, Memory>,
    /// Answers under idempotency ids, by user and id.
    pub answers: BTreeMap<(Blob, Blob), Remembered>,
    /// Work under ids.
    pub works: BTreeMap<Blob, Deed>,
    /// Leases.
    pub leases: BTreeMap<u64, Lease>,
    /// When a new leader last renewed them all.
    pub spared: u64,
    /// Which lease a key hangs on.
    pub hangs: BTreeMap<Blob, u64>,
    /// Claims, held and waiting.
    pub claims: BTreeMap<ClaimKey, Claim>,
    /// How far answers to writes of which keys may run ahead of their durability.
    pub leeways: BTreeMap<Reach, Leeway>,
    /// Open sessions.
    pub sessions: BTreeMap<SessionId, Session>,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub user: Blob,
    /// How long it lives without a step, in milliseconds.
    pub ttl: u64,
    /// The time of its opening or last step.
    pub active: u64,
    /// Up to where its client has the answers.
    pub floor: u64,
}

impl Session {
    /// Whether the session counts as expired.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.active.saturating_add(self.ttl) <= now
    }
}

/// What a command must do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What it must answer; `None` where the model can't know (INFO, WHOAMI, USER SHOW).
    pub says: Option<Result<Value, ErrorCode>>,
    /// Keys that change, and what becomes of them.
    pub rows: BTreeMap<Blob, Option<Row>>,
    /// Users that change, and what becomes of them.
    pub people: BTreeMap<Blob, Option<Person>>,
    /// Roles that change.
    pub roles: BTreeMap<Blob, Option<Role>>,
    /// Limiters that change, and what they remember then.
    pub limits: BTreeMap<Blob, Option<Memory>>,
    /// Answers that are kept under ids from now on.
    pub answers: BTreeMap<(Blob, Blob), Option<Remembered>>,
    /// Work that changes.
    pub works: BTreeMap<Blob, Option<Deed>>,
    /// Leases that change.
    pub leases: BTreeMap<u64, Option<Lease>>,
    /// Keys that hang on another lease, or on none any more.
    pub hangs: BTreeMap<Blob, Option<u64>>,
    /// Claims that change.
    pub claims: BTreeMap<ClaimKey, Option<Claim>>,
    /// What those are told whose wait is over, by the claim's number.
    pub told: BTreeMap<u64, Result<Value, ErrorCode>>,
    /// How far answers may run ahead from now on.
    pub leeways: BTreeMap<Reach, Option<Leeway>>,
    /// Whether the answer comes later.
    pub waits: bool,
    /// Whether a session is opened.
    pub opens: bool,
    /// A session that the command asks to end.
    pub ends: Option<SessionId>,
}

impl Plan {
    /// Answers and changes nothing.
    #[must_use]
    pub fn says(answer: Value) -> Self {
        Self { says: Some(Ok(answer)), ..Self::default() }
    }

    /// Fails and changes nothing.
    #[must_use]
    pub fn fails(code: ErrorCode) -> Self {
        Self { says: Some(Err(code)), ..Self::default() }
    }

    /// Whether anything changes.
    #[must_use]
    pub fn changes(&self) -> bool {
        !self.rows.is_empty()
            || !self.people.is_empty()
            || !self.roles.is_empty()
            || !self.limits.is_empty()
            || !self.answers.is_empty()
            || !self.works.is_empty()
            || !self.leases.is_empty()
            || !self.hangs.is_empty()
            || !self.claims.is_empty()
            || !self.leeways.is_empty()
            || self.opens
            || self.ends.is_some()
    }
}

impl Model {
    /// What this command must do at this position and time.
    #[must_use]
    pub fn plan(&self, user: Option<&Blob>, asked: &Asked, position: Index, now: u64) -> Plan {
        self.plan_in(None, user, asked, position, now)
    }

    /// The same for a command in a session.
    #[must_use]
    pub fn plan_in(
        &self,
        session: Option<SessionId>,
        user: Option<&Blob>,
        asked: &Asked,
        position: Index,
        now: u64,
    ) -> Plan {
        let session = session.map(|session| session.0);
        let plan = self.plan_alone(session, user, asked, position, now);
        if let (Asked::SessionEnd(id), Some(_)) = (asked, plan.ends) {
            return self.end_session_waits(id.0, plan, now);
        }
        match asked {
            // What is in them was planned by itself.
            Asked::Txn(_) | Asked::Once(_) | Asked::Lease(_) | Asked::Claim(_) => plan,
            _ => self.dismiss(asked, self.keep_admin(self.detach(asked, plan, now)), now),
        }
    }

    fn plan_alone(
        &self,
        session: Option<u64>,
        user: Option<&Blob>,
        asked: &Asked,
        position: Index,
        now: u64,
    ) -> Plan {
        if user.is_some_and(|name| !self.people.users.contains_key(name)) {
            return Plan::fails(ErrorCode::Unauthenticated);
        }
        let at = At { model: self, position, now, session };
        if !self.people.allow(user, asked) {
            return Plan::fails(ErrorCode::Denied);
        }
        if let Some(known) = at.known(user, asked) {
            return known;
        }
        match asked {
            Asked::Ping(None) => Plan::says(Value::Status("PONG".into())),
            Asked::Ping(Some(message)) => Plan::says(Value::Bytes(message.clone())),
            Asked::Get(key) => at.text(key).map_or_else(Plan::fails, |text| Plan::says(value(text))),
            Asked::GetV(key) => match (at.text(key), at.row(key)) {
                (Err(code), _) => Plan::fails(code),
                (Ok(text), Some(row)) => {
                    Plan::says(Value::List(vec![value(text), Value::Int(row.revision.0 as i64)]))
                }
                (Ok(_), None) => Plan::says(Value::Nil),
            },
            Asked::Set { key, value, ttl, only, old } => {
                at.set(key, value, ttl.map_or(Until::Ever, Until::After), *only, *old)
            }
            Asked::Value(asked) => at.on_value(user, asked),
            Asked::Limit(asked) => at.on_limit(asked),
            Asked::Txn(txn) => at.transaction(user, txn),
            Asked::Once(once) => at.once(user, once),
            Asked::Lease(asked) => at.on_lease(user, asked),
            Asked::Claim(asked) => at.on_claim(user, asked),
            Asked::Role(asked) => at.on_role(asked),
            Asked::Durability(asked) => at.on_durability(asked),
            Asked::Changes(asked) if asked.from > position => Plan::fails(ErrorCode::PositionAhead),
            // What it is told is for the chronicle to say.
            Asked::Changes(_) => Plan::default(),
            Asked::Del(keys) => at.del(keys),
            Asked::Drop(prefix, confirmed) => at.drop_keys(user, prefix, confirmed.as_ref()),
            Asked::Exists(keys) => {
                Plan::says(Value::Int(keys.iter().filter(|key| at.row(key).is_some()).count() as i64))
            }
            Asked::IncrBy(key, by) => at.incr_by(key, *by),
            Asked::Expire(key, ttl) => at.expire(key, *ttl),
            Asked::PTtl(key) => Plan::says(Value::Int(at.remaining(key))),
            Asked::Persist(key) => at.persist(key),
            Asked::MGet(keys) => {
                let text = |key| value(at.text(key).ok().flatten());
                Plan::says(Value::List(keys.iter().map(text).collect()))
            }
            Asked::MSet(pairs) => at.mset(pairs),
            Asked::Scan { prefix, after, count } => {
                Plan::says(at.scan(user, prefix, after.as_ref(), count.unwrap_or(SCAN_COUNT)))
            }
            Asked::UserList => {
                let names = self.people.users.keys().map(|name| Value::Bytes(name.clone()));
                Plan::says(Value::List(names.collect()))
            }
            Asked::UserShow(name) if !self.people.users.contains_key(name) => {
                Plan::fails(ErrorCode::UserUnknown)
            }
            // What the leader knows of the others is for it to say, and what it then logs for `members.rs` to judge.
            Asked::Info | Asked::WhoAmI | Asked::UserShow(_) | Asked::Members(_) => Plan::default(),
            Asked::UserAdd(_) | Asked::UserRemove(_) | Asked::UserPassword(_) => at.change_user(asked),
            Asked::Grant(right, reach, name) => at.regrant(name, *right, reach, true),
            Asked::Revoke(right, reach, name) => at.regrant(name, *right, reach, false),
            Asked::SessionOpen => Plan { opens: true, ..Plan::says(Value::Int(position.0 as i64)) },
            Asked::SessionEnd(id) => at.end_session(user, *id),
        }
    }

    /// Makes a plan's changes to keys and users true.
    pub fn adopt(&mut self, plan: Plan) {
        for (key, row) in plan.rows {
            match row {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
        for (name, person) in plan.people {
            self.set_person(name, person);
        }
        put_all(&mut self.people.roles, plan.roles);
        put_all(&mut self.limits, plan.limits);
        put_all(&mut self.answers, plan.answers);
        put_all(&mut self.works, plan.works);
        put_all(&mut self.leases, plan.leases);
        put_all(&mut self.hangs, plan.hangs);
        put_all(&mut self.claims, plan.claims);
        put_all(&mut self.leeways, plan.leeways);
    }

    /// Makes a user be this.
    pub fn set_person(&mut self, name: Blob, person: Option<Person>) {
        let before = self.people.users.get(&name).map(|person| person.generation);
        if before.is_some() && before != person.as_ref().map(|person| person.generation) {
            self.people.changed.insert(name.clone());
        }
        match person {
            Some(person) => drop(self.people.users.insert(name, person)),
            None => drop(self.people.users.remove(&name)),
        }
    }
}

pub(super) fn put_all<K: Ord, V>(rows: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
}

/// How many keys a SCAN returns if it does not say, under the default limits.
const SCAN_COUNT: usize = 100;

/// The model at a position and a time.
pub(super) struct At<'a> {
    pub(super) model: &'a Model,
    pub(super) position: Index,
    pub(super) now: u64,
    /// The session in which the command was asked for.
    pub(super) session: Option<u64>,
}

/// A moment that has passed.
pub(super) struct Past;

/// Bytes or nothing, as an answer.
pub(super) fn value(text: Option<&Blob>) -> Value {
    text.map_or(Value::Nil, |text| Value::Bytes(text.clone()))
}

impl At<'_> {
    /// A key's row, unless it is missing or due.
    pub(super) fn row(&self, key: &Blob) -> Option<&Row> {
        self.model.rows.get(key).filter(|row| !row.is_due(self.now))
    }

    /// A key's bytes; the key must hold some if it is there.
    pub(super) fn text(&self, key: &Blob) -> Result<Option<&Blob>, ErrorCode> {
        self.row(key).map(|row| row.held.text().ok_or(ErrorCode::WrongType)).transpose()
    }

    pub(super) fn put(&self, value: Blob, ends: Option<Ends>) -> Option<Row> {
        self.hold(Held::Text(value), ends)
    }

    pub(super) fn hold(&self, held: Held, ends: Option<Ends>) -> Option<Row> {
        Some(Row { held, revision: self.position, ends })
    }

    /// A plan that makes one key be this.
    pub(super) fn makes(&self, key: &Blob, row: Option<Row>, answer: Value) -> Plan {
        Plan { rows: BTreeMap::from([(key.clone(), row)]), ..Plan::says(answer) }
    }

    pub(super) fn set(&self, key: &Blob, new: &Blob, until: Until, only: Only, old: bool) -> Plan {
        let row = self.row(key);
        let happens = match only {
            Only::Always => true,
            Only::Missing | Only::Revision(Index(0)) => row.is_none(),
            Only::Existing => row.is_some(),
            Only::Revision(revision) => row.is_some_and(|row| row.revision == revision),
        };
        let before = self.text(key);
        let answer = match (old, happens) {
            (true, _) => match before {
                Ok(before) => value(before),
                Err(code) => return Plan::fails(code),
            },
            (false, true) => Value::ok(),
            (false, false) => Value::Nil,
        };
        if !happens {
            return Plan::says(answer);
        }
        let after = match until.end(self.now, row) {
            Ok(ends) => self.put(new.clone(), ends),
            Err(Past) => None,
        };
        self.makes(key, after, answer)
    }

    fn del(&self, keys: &[Blob]) -> Plan {
        let there: BTreeSet<&Blob> = keys.iter().filter(|key| self.row(key).is_some()).collect();
        let mut plan = Plan::says(Value::Int(there.len() as i64));
        plan.rows = there.into_iter().map(|key| (key.clone(), None)).collect();
        plan
    }

    fn incr_by(&self, key: &Blob, by: i64) -> Plan {
        let row = self.row(key);
        let before = match self.text(key) {
            Ok(text) => text.map_or(Some(0), |text| whole(text)),
            Err(code) => return Plan::fails(code),
        };
        let Some(after) = before.and_then(|before| before.checked_add(by)) else {
            return Plan::fails(ErrorCode::NotAnInteger);
        };
        let mut plan = Plan::says(Value::Int(after));
        let ends = row.and_then(|row| row.ends);
        plan.rows.insert(key.clone(), self.put(Blob::from(after.to_string()), ends));
        plan
    }

    fn expire(&self, key: &Blob, ttl: i64) -> Plan {
        let Some(row) = self.row(key) else { return Plan::says(Value::Int(0)) };
        let after = match u64::try_from(ttl) {
            Ok(ttl) if ttl > 0 => self.hold(row.held.clone(), Some(Ends::after(self.now, ttl))),
            _ => None,
        };
        Plan { rows: BTreeMap::from([(key.clone(), after)]), ..Plan::says(Value::Int(1)) }
    }

    fn remaining(&self, key: &Blob) -> i64 {
        match self.row(key) {
            None => -2,
            Some(Row { ends: None, .. }) => -1,
            Some(Row { ends: Some(ends), .. }) => ends.at.saturating_sub(self.now) as i64,
        }
    }

    fn persist(&self, key: &Blob) -> Plan {
        match self.row(key) {
            Some(row) if row.ends.is_some() => {
                let after = self.hold(row.held.clone(), None);
                Plan { rows: BTreeMap::from([(key.clone(), after)]), ..Plan::says(Value::Int(1)) }
            }
            _ => Plan::says(Value::Int(0)),
        }
    }

    fn mset(&self, pairs: &[(Blob, Blob)]) -> Plan {
        let mut plan = Plan::says(Value::ok());
        for (key, value) in pairs {
            plan.rows.insert(key.clone(), self.put(value.clone(), None));
        }
        plan
    }

    /// A page: the cursor for the next one (nil at the end), then the keys that the user may read.
    fn scan(&self, user: Option<&Blob>, prefix: &Blob, after: Option<&Blob>, count: usize) -> Value {
        self.page(user, prefix, after, count, &|_, _| true)
    }

    /// The same, of those that are wanted. The cursor is the last key that was looked at.
    pub(super) fn page(
        &self,
        user: Option<&Blob>,
        prefix: &Blob,
        after: Option<&Blob>,
        count: usize,
        wanted: &dyn Fn(&Blob, &Held) -> bool,
    ) -> Value {
        let person = user.and_then(|name| self.model.people.users.get(name));
        let (mut page, mut last) = (Vec::new(), None);
        for (key, row) in &self.model.rows {
            let listed = key.starts_with(prefix) && after.is_none_or(|after| key > after);
            let people = &self.model.people;
            let shown =
                user.is_none() || person.is_some_and(|person| person.is_shown(people, Right::Read, key));
            if !listed || !shown || row.is_due(self.now) {
                continue;
            }
            if page.len() == count {
                let cursor = last.map_or(Value::Nil, |key: &Blob| Value::Bytes(key.clone()));
                return Value::List(vec![cursor, Value::List(page)]);
            }
            last = Some(key);
            if wanted(key, &row.held) {
                page.push(Value::Bytes(key.clone()));
            }
        }
        Value::List(vec![Value::Nil, Value::List(page)])
    }

    fn end_session(&self, user: Option<&Blob>, id: SessionId) -> Plan {
        match self.model.sessions.get(&id).filter(|session| !session.is_due(self.now)) {
            Some(session) if user.is_none_or(|user| *user == session.user) => {
                Plan { ends: Some(id), ..Plan::says(Value::Int(1)) }
            }
            _ => Plan::says(Value::Int(0)),
        }
    }
}
