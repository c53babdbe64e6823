//! What a log entry changed, folded so that it can be compared with what the model planned.
//!
//! Keys may go by expiry in any entry, if they are due; sessions likewise. All other changes of keys and
//! users must be exactly those of the entry's owner.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::access::rights::Holder;
use steadfast_core::coordination::limiter::time_of;
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::state::effect::{Cause, Deadline, DeleteCause, Effect};
use steadfast_core::types::{Blob, SessionId};

use super::claims::{Claim, ClaimKey, key_from_log};
use super::durability::{Leeway, reach_from_log};
use super::grants::{Person, set_from_log};
use super::leases::Lease;
use super::limits::Memory;
use super::log::LogEntry;
use super::model::{Model, Plan, Session};
use super::once::Deed;
use super::reach::Reach;
use super::roles::Role;
use super::rows::{Ends, Held};

/// What a key holds, and its end, after an entry; `None`: gone.
type After = Option<(Held, Option<Ends>)>;

/// An entry's changes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    rows: BTreeMap<Blob, After>,
    expired: BTreeSet<Blob>,
    people: BTreeMap<Blob, Option<Person>>,
    roles: BTreeMap<Blob, Option<Role>>,
    limits: BTreeMap<Blob, Option<Memory>>,
    forgotten: BTreeSet<Blob>,
    /// What was answered under an id, and until when that is kept.
    answers: BTreeMap<(Blob, Blob), (Result<Value, ErrorCode>, u64)>,
    works: BTreeMap<Blob, Option<Deed>>,
    leases: BTreeMap<u64, Option<Lease>>,
    hangs: BTreeMap<Blob, Option<u64>>,
    claims: BTreeMap<ClaimKey, Option<Claim>>,
    /// What those are told whose wait is over.
    pub(super) told: BTreeMap<u64, Result<Value, ErrorCode>>,
    /// Leases and waits that are over, in the order in which they were ended.
    pub(super) over: (Vec<u64>, Vec<u64>),
    leeways: BTreeMap<Reach, Option<Leeway>>,
    /// Whether all leases were renewed.
    spared: bool,
    opened: Option<(Blob, u64)>,
    ended: Vec<(SessionId, DeleteCause)>,
    stepped: Option<(SessionId, u64)>,
}

/// The name by which writes that change leases are looked for: leases have none.
pub(super) const SOME_LEASE: &str = "\0lease";

/// That of writes that drop prefixes: their keys are known to the model alone.
pub(super) const SOME_PREFIX: &str = "\0prefix";

/// That of writes that end a session: waits that were made in it end with it.
pub(super) const SOME_SESSION: &str = "\0session";

fn ended_lease(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Leased { id, lease: None } => Some(id.0),
        _ => None,
    }
}

fn ends_of(deadline: &Option<Deadline>) -> Option<Ends> {
    deadline.map(|deadline| Ends { at: deadline.at.0, slack: u64::from(deadline.slack) })
}

impl Seen {
    /// Folds an entry's effects, upon the state before it.
    ///
    /// # Errors
    /// Says what is wrong with the effects, whoever asked for them.
    pub(super) fn new(entry: &LogEntry, model: &Model) -> Result<Self, String> {
        let mut seen = Self::default();
        let place = |what: &str| format!("entry {} ({:?}) {what}", entry.index, entry.entry.cause);
        let ended: BTreeSet<u64> = entry.entry.effects.iter().filter_map(ended_lease).collect();
        for effect in &entry.entry.effects {
            seen.hang(effect, model);
            match effect {
                Effect::Founded(_) | Effect::Level(_) if entry.entry.cause == Cause::System => {}
                // The first leader's first entry founds the cluster.
                Effect::Founded(_) | Effect::Level(_) if entry.index.0 == 1 => {}
                Effect::Founded(_) | Effect::Level(_) => {
                    return Err(place("changes what only the system may change"));
                }
                Effect::Put { key, value, deadline } => {
                    seen.rows.insert(key.clone(), Some((Held::Text(value.clone()), ends_of(deadline))));
                }
                Effect::Delete { key, cause: DeleteCause::Deleted } => {
                    drop(seen.rows.insert(key.clone(), None))
                }
                Effect::Delete { key, cause: DeleteCause::Expired } => {
                    let hangs = model.hangs.get(key).is_some_and(|lease| ended.contains(lease));
                    if hangs && !model.rows.get(key).is_some_and(|row| row.is_due(entry.entry.time.0)) {
                        seen.rows.insert(key.clone(), None);
                        continue;
                    }
                    let due = model.rows.get(key).is_some_and(|row| row.is_due(entry.entry.time.0));
                    if !due || !seen.expired.insert(key.clone()) {
                        return Err(place(&format!(
                            "expires {key}, which is not due at {}",
                            entry.entry.time
                        )));
                    }
                }
                Effect::Redate { key, deadline } => {
                    let (held, _) = seen
                        .now(key, model)
                        .ok_or_else(|| place(&format!("redates {key}, which is missing")))?;
                    seen.rows.insert(key.clone(), Some((held, ends_of(deadline))));
                }
                Effect::Members { key, changes, .. } => {
                    let (mut fields, ends) = match seen.now(key, model) {
                        Some((Held::Fields(fields), ends)) => (fields, ends),
                        Some((Held::Text(_), _)) => {
                            return Err(place(&format!("gives the text {key} fields")));
                        }
                        None => (BTreeMap::new(), None),
                    };
                    for (name, value) in changes {
                        match value {
                            Some(value) => drop(fields.insert(name.clone(), value.clone())),
                            None => drop(fields.remove(name)),
                        }
                    }
                    let after = (!fields.is_empty()).then_some((Held::Fields(fields), ends));
                    seen.rows.insert(key.clone(), after);
                }
                Effect::Moved { from, to } => {
                    let there = seen
                        .now(from, model)
                        .ok_or_else(|| place(&format!("renames {from}, which is missing")))?;
                    seen.rows.insert(from.clone(), None);
                    seen.rows.insert(to.clone(), Some(there));
                }
                Effect::Kept { user, id, kept: Some((reply, until)) } => {
                    let came = reply.outcome.clone().map_err(|failure| failure.code);
                    seen.answers.insert((user.clone(), id.clone()), (came, until.0));
                }
                // None is as old as that within a run.
                Effect::Kept { id, kept: None, .. } => return Err(place(&format!("forgets the id {id}"))),
                Effect::Worked { id, work: None } if entry.entry.cause == Cause::Expiry => {
                    return Err(place(&format!("forgets the work {id}")));
                }
                Effect::Worked { id, work } => {
                    seen.works.insert(id.clone(), work.as_ref().map(Deed::from_log));
                }
                Effect::Limited { name, limiter: None } if entry.entry.cause == Cause::Expiry => {
                    let over =
                        model.limits.get(name).is_some_and(|memory| memory.ends() <= entry.entry.time.0);
                    if !over || !seen.forgotten.insert(name.clone()) {
                        return Err(place(&format!("forgets the limiter {name} too early")));
                    }
                }
                Effect::Limited { name, limiter } => {
                    seen.limits.insert(name.clone(), limiter.as_ref().map(Memory::from_log));
                }
                Effect::Placed { name, holder, until } => {
                    let before =
                        seen.limits.get(name).cloned().unwrap_or_else(|| model.limits.get(name).cloned());
                    let mut places = match before {
                        Some(Memory::Places(places)) => places,
                        _ => BTreeMap::new(),
                    };
                    places.retain(|_, until| *until > entry.entry.time.0);
                    match until {
                        Some(until) => drop(places.insert(holder.clone(), time_of(until).0)),
                        None => drop(places.remove(holder)),
                    }
                    let after = (!places.is_empty()).then_some(Memory::Places(places));
                    seen.limits.insert(name.clone(), after);
                }
                Effect::Leased { id, lease } => {
                    if lease.is_none() && entry.entry.cause == Cause::Expiry {
                        let may_end = |lease: &Lease| lease.may_end(model.spared) <= entry.entry.time.0;
                        if !model.leases.get(&id.0).is_some_and(may_end) {
                            return Err(place(&format!("ends lease {id} too early")));
                        }
                        seen.over.0.push(id.0);
                    }
                    seen.leases.insert(id.0, lease.as_ref().map(Lease::from_log));
                }
                Effect::LeasesSpared if entry.entry.cause == Cause::TermStart => seen.spared = true,
                Effect::LeasesSpared => return Err(place("spares leases, and begins no term")),
                // Seen above.
                Effect::Attached { .. } => {}
                Effect::Claimed { claim, now } => {
                    seen.claims.insert(key_from_log(claim), now.as_ref().map(Claim::from_log));
                }
                Effect::WaitEnded { id, outcome, .. } => {
                    let orphaned =
                        outcome.as_ref().is_err_and(|failure| failure.code == ErrorCode::WaitEnded);
                    if entry.entry.cause == Cause::Expiry && (outcome.as_ref() == Ok(&Value::Nil) || orphaned)
                    {
                        let waits = |(key, claim): (&ClaimKey, &Claim)| {
                            let session = claim.session.map(SessionId);
                            let gone = session.is_some_and(|session| !model.sessions.contains_key(&session));
                            let over = claim.until.is_some_and(|until| until <= entry.entry.time.0);
                            key.2 == id.0 && claim.until.is_some() && if orphaned { gone } else { over }
                        };
                        if !model.claims.iter().any(waits) {
                            return Err(place(&format!("ends the wait {id} too early")));
                        }
                        seen.over.1.push(id.0);
                    }
                    seen.told.insert(id.0, outcome.clone().map_err(|failure| failure.code));
                }
                Effect::SessionOpened { user, ttl } => seen.opened = Some((user.clone(), *ttl)),
                Effect::SessionStepped { id, floor, .. } => seen.stepped = Some((*id, *floor)),
                Effect::SessionEnded { id, cause } => seen.ended.push((*id, *cause)),
                Effect::Forwarded { .. } => {}
                Effect::UserPut { name, user } => {
                    let before = seen.person(name, model);
                    seen.people.insert(name.clone(), Some(Person::from_log(user, before)));
                }
                Effect::Ruled { holder: Holder::Role, name, rules } => {
                    seen.roles.insert(name.clone(), rules.as_ref().map(Role::from_log));
                }
                Effect::Ruled { holder: Holder::User, name, rules } => {
                    let rules = rules.clone().unwrap_or_default();
                    let person = seen.person(name, model).map(|person| Person {
                        denials: set_from_log(&rules.denials),
                        roles: rules.roles.into_iter().collect(),
                        ..person
                    });
                    seen.people.insert(name.clone(), person);
                }
                Effect::Loosened { pattern, leeway } => {
                    let leeway = leeway.map(|leeway| (leeway.ms, leeway.bytes));
                    seen.leeways.insert(reach_from_log(pattern), leeway);
                }
                Effect::UserRemoved { name } => drop(seen.people.insert(name.clone(), None)),
                // Judged in `members.rs`.
                Effect::Membership(_) | Effect::Located { .. } | Effect::Preferred { .. } => {}
            }
        }
        if entry.entry.cause == Cause::TermStart && !seen.spared && !model.leases.is_empty() {
            return Err(place("begins a term, and leases are not renewed"));
        }
        seen.leases.retain(|id, lease| model.leases.get(id) != lease.as_ref());
        seen.claims.retain(|key, claim| model.claims.get(key) != claim.as_ref());
        // What went by itself hangs on nothing, and that is nobody's command.
        let by_itself = |key: &Blob, lease: &Option<u64>| lease.is_none() && seen.expired.contains(key);
        seen.hangs.retain(|key, lease| model.hangs.get(key) != lease.as_ref() && !by_itself(key, lease));
        Ok(seen)
    }

    /// What an effect makes of the leases that keys hang on.
    fn hang(&mut self, effect: &Effect, model: &Model) {
        match effect {
            Effect::Put { key, .. } | Effect::Delete { key, .. } => {
                _ = self.hangs.insert(key.clone(), None);
            }
            Effect::Attached { key, lease } => {
                self.hangs.insert(key.clone(), lease.map(|lease| lease.0));
            }
            Effect::Moved { from, to } => {
                let lease = self.hangs.get(from).copied();
                let lease = lease.unwrap_or_else(|| model.hangs.get(from).copied());
                self.hangs.extend([(from.clone(), None), (to.clone(), lease)]);
            }
            Effect::Members { key, changes, .. } => {
                // With its last field the key is gone.
                let fields =
                    |name: &Blob| changes.iter().any(|(changed, value)| changed == name && value.is_none());
                let stays = changes.iter().any(|(_, value)| value.is_some());
                if let Some((Held::Fields(held), _)) = self.now(key, model)
                    && !stays
                    && held.keys().all(fields)
                {
                    self.hangs.insert(key.clone(), None);
                }
            }
            _ => {}
        }
    }

    /// A user after the effects so far.
    fn person(&self, name: &Blob, model: &Model) -> Option<Person> {
        self.people.get(name).cloned().unwrap_or_else(|| model.people.users.get(name).cloned())
    }

    /// What a key holds, and its end, after the effects so far.
    fn now(&self, key: &Blob, model: &Model) -> After {
        match self.rows.get(key) {
            Some(after) => after.clone(),
            None if self.expired.contains(key) => None,
            None => model.rows.get(key).map(|row| (row.held.clone(), row.ends)),
        }
    }

    /// The keys that it changes, or that go by themselves.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Blob> {
        self.rows.keys().chain(&self.expired)
    }

    /// Whether the entry changes what only a client's command changes.
    pub(super) fn is_clients(&self) -> bool {
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
    }

    /// Whether somebody has ended a session, which did not expire.
    pub(super) fn ends_a_session(&self) -> bool {
        self.ended.iter().any(|(_, cause)| *cause == DeleteCause::Deleted)
    }

    /// Whether keys go, and none comes.
    pub(super) fn only_deletes(&self) -> bool {
        self.rows.values().all(Option::is_none)
    }

    /// A key or user that the entry changes.
    pub(super) fn first_name(&self) -> Option<Blob> {
        let leases = self.leases.keys().map(|_| Blob::from(SOME_LEASE));
        let claims = self.claims.keys().map(|(_, name, _)| name.clone());
        let leeways = self.leeways.keys().map(|reach| reach.literal.clone());
        let rows =
            self.rows.keys().chain(self.hangs.keys()).chain(self.limits.keys()).chain(self.works.keys());
        let names = self
            .people
            .keys()
            .chain(self.roles.keys())
            .cloned()
            .chain(leases)
            .chain(claims)
            .chain(leeways)
            .chain(rows.cloned());
        names.chain(self.answers.keys().map(|(_, id)| id.clone())).next()
    }

    /// Compares with a plan.
    ///
    /// # Errors
    /// Says what differs.
    pub(super) fn compare(&self, plan: &Plan) -> Result<(), String> {
        let planned: BTreeMap<&Blob, Option<(&Held, Option<Ends>)>> =
            plan.rows.iter().map(|(key, row)| (key, row.as_ref().map(|row| (&row.held, row.ends)))).collect();
        let seen: BTreeMap<&Blob, Option<(&Held, Option<Ends>)>> = self
            .rows
            .iter()
            .map(|(key, row)| (key, row.as_ref().map(|(held, ends)| (held, *ends))))
            .collect();
        if planned != seen {
            return Err(format!("the log changes {seen:?}, the model {planned:?}"));
        }
        if plan.people != self.people {
            return Err(format!("the log changes users {:?}, the model {:?}", self.people, plan.people));
        }
        if plan.roles != self.roles {
            return Err(format!("the log changes roles {:?}, the model {:?}", self.roles, plan.roles));
        }
        if plan.leeways != self.leeways {
            return Err(format!("the log has leeways {:?}, the model {:?}", self.leeways, plan.leeways));
        }
        if plan.limits != self.limits {
            return Err(format!("the log has limiters {:?}, the model {:?}", self.limits, plan.limits));
        }
        let answers: BTreeMap<_, _> = plan
            .answers
            .iter()
            .filter_map(|(key, kept)| {
                Some((key.clone(), kept.as_ref().map(|it| (it.came.clone(), it.until))?))
            })
            .collect();
        if answers != self.answers || plan.works != self.works {
            return Err(format!(
                "under ids the log has {:?} {:?}, the model {plan:?}",
                self.answers, self.works
            ));
        }
        let by_hand = |(key, lease): &(&Blob, &Option<u64>)| lease.is_some() || !self.expired.contains(*key);
        let hangs = plan.hangs.iter().filter(by_hand).eq(self.hangs.iter().filter(by_hand));
        if !hangs || (&plan.leases, &plan.claims, &plan.told) != (&self.leases, &self.claims, &self.told) {
            return Err(format!(
                "of leases and claims the log has {:?} {:?} {:?} {:?}, the model {plan:?}",
                self.leases, self.hangs, self.claims, self.told
            ));
        }
        if plan.opens != self.opened.is_some() {
            return Err("a session is opened by one of log and model alone".into());
        }
        match plan.ends {
            Some(id) if !self.ended.contains(&(id, DeleteCause::Deleted)) => {
                Err(format!("session {id} was not ended"))
            }
            _ => Ok(()),
        }
    }

    /// Makes the entry's changes true in the model: the plan's for keys and users, the log's for expiry,
    /// sessions and what the system set.
    ///
    /// # Errors
    /// Says which session broke its rules.
    pub(super) fn adopt(self, plan: Option<Plan>, entry: &LogEntry, model: &mut Model) -> Result<(), String> {
        let now = entry.entry.time.0;
        let place = |what: String| format!("entry {} ({:?}) {what}", entry.index, entry.entry.cause);
        if let Some((id, floor)) = self.stepped {
            let session = model.sessions.get_mut(&id);
            let session = session.ok_or_else(|| place(format!("steps session {id}, which is not open")))?;
            session.active = now;
            session.floor = session.floor.max(floor);
        }
        for key in &self.expired {
            model.rows.remove(key);
            model.hangs.remove(key);
        }
        if self.spared {
            model.spared = now;
        }
        for name in &self.forgotten {
            model.limits.remove(name);
        }
        let changed: Vec<Blob> = self.people.keys().cloned().collect();
        let before: Vec<_> = changed.iter().map(|name| generation(model, name)).collect();
        match plan {
            Some(plan) => model.adopt(plan),
            None => self.people.into_iter().for_each(|(name, person)| model.set_person(name, person)),
        }
        for (id, cause) in self.ended {
            let session = model.sessions.remove(&id);
            let is_due = session.is_none_or(|session| session.is_due(now));
            if cause == DeleteCause::Expired && !is_due {
                return Err(place(format!("expires session {id}, which is not due at {now}")));
            }
        }
        for (name, before) in changed.iter().zip(before) {
            let ended = before.is_some() && before != generation(model, name);
            if ended && model.sessions.values().any(|session| session.user == *name) {
                return Err(place(format!("changes user {name}, and leaves a session of theirs open")));
            }
        }
        if let Some((user, ttl)) = self.opened {
            let session = Session { user, ttl, active: now, floor: 0 };
            model.sessions.insert(SessionId(entry.index.0), session);
        }
        Ok(())
    }
}

fn generation(model: &Model, name: &Blob) -> Option<steadfast_core::types::Index> {
    model.people.users.get(name).map(|person| person.generation)
}
