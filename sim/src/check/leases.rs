//! Leases, and the keys that hang on them, as the judges understand them. Written from the documentation; shares no code
//! with the core's.
//!
//! What ends a lease moves a lot at once: so such commands are planned on a copy of the model, and the plan is the difference.

use std::collections::BTreeMap;

use steadfast_core::coordination::lease::Lease as LoggedLease;
use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Asked, Right, Unread, bad, unsigned, word};
use super::claims::{Claim, ClaimKey, Kind};
use super::grants::Need;
use super::model::{At, Model, Plan, put_all};
use super::values::{OnValue, Until};

/// A command on leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnLease {
    /// `SET key value [LEASE id] [FENCE lock token]`
    Set(Blob, Blob, Option<u64>, Option<(Blob, u64)>),
    /// `LEASE GRANT ms`
    Grant(u64),
    /// `LEASE KEEPALIVE id`
    KeepAlive(u64),
    /// `LEASE REVOKE id`
    Revoke(u64),
    /// `LEASE ATTACH id key…`
    Attach(u64, Vec<Blob>),
    /// `LEASE DETACH key…`
    Detach(Vec<Blob>),
    /// `LEASE SHOW id`
    Show(u64),
    /// `LEASE LIST`
    List,
}

/// A lease: whose, how long it lives, when it was renewed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub user: Blob,
    /// Milliseconds; zero if its user is gone.
    pub ttl: u64,
    /// When it was granted or renewed.
    pub renewed: u64,
}

impl Lease {
    /// As the log has it.
    #[must_use]
    pub fn from_log(lease: &LoggedLease) -> Self {
        Self { user: lease.user.clone(), ttl: lease.ttl, renewed: lease.renewed.0 }
    }

    /// From when on it may be ended, if all leases were spared then.
    #[must_use]
    pub fn may_end(&self, spared: u64) -> u64 {
        self.until(spared) + self.ttl / 500 + 1
    }

    fn until(&self, spared: u64) -> u64 {
        self.renewed.max(spared) + self.ttl
    }
}

impl OnLease {
    pub(super) fn read(rest: &[Blob]) -> Result<Self, Unread> {
        let form = || bad("LEASE with a wrong number of arguments");
        let [verb, rest @ ..] = rest else { return Err(form()) };
        match (word(Some(verb)).as_str(), rest) {
            ("GRANT", [ttl]) => Ok(Self::Grant(unsigned(ttl)?)),
            ("KEEPALIVE", [id]) => Ok(Self::KeepAlive(unsigned(id)?)),
            ("REVOKE", [id]) => Ok(Self::Revoke(unsigned(id)?)),
            ("ATTACH", [id, keys @ ..]) if !keys.is_empty() => Ok(Self::Attach(unsigned(id)?, keys.to_vec())),
            ("DETACH", keys) if !keys.is_empty() => Ok(Self::Detach(keys.to_vec())),
            ("SHOW", [id]) => Ok(Self::Show(unsigned(id)?)),
            ("LIST", []) => Ok(Self::List),
            _ => Err(form()),
        }
    }

    /// A SET with options about leases and locks, and no others.
    pub(super) fn read_set(key: &Blob, value: &Blob, mut options: &[Blob]) -> Result<Self, Unread> {
        let (mut lease, mut fence) = (None, None);
        while !options.is_empty() {
            options = match (word(options.first()).as_str(), options) {
                ("LEASE", [_, id, rest @ ..]) => {
                    lease = Some(unsigned(id)?);
                    rest
                }
                ("FENCE", [_, lock, token, rest @ ..]) => {
                    fence = Some((lock.clone(), unsigned(token)?));
                    rest
                }
                _ => return Err(Unread::Unfamiliar("SET with such options".into())),
            };
        }
        Ok(Self::Set(key.clone(), value.clone(), lease, fence))
    }

    pub(super) const fn is_write(&self) -> bool {
        !matches!(self, Self::Show(_) | Self::List)
    }

    pub(super) fn keys(&self) -> Vec<&Blob> {
        match self {
            Self::Set(key, ..) => vec![key],
            Self::Attach(_, keys) | Self::Detach(keys) => keys.iter().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        match self {
            Self::Set(key, _, _, fence) => {
                let lock = fence.iter().map(|(lock, _)| Need::Key(Right::Lock, lock.clone()));
                [Need::write(key)].into_iter().chain(lock).collect()
            }
            _ => self.keys().into_iter().flat_map(|key| [Need::read(key), Need::write(key)]).collect(),
        }
    }
}

/// Whether what a command makes of a key hangs on the lease that the key hung on.
fn keeps(asked: &Asked) -> bool {
    match asked {
        Asked::IncrBy(..) | Asked::Expire(..) | Asked::Persist(_) => true,
        Asked::Value(OnValue::Set(_, _, until, ..)) => *until == Until::Same,
        Asked::Value(OnValue::SetMissing(_)) => false,
        Asked::Value(_) => true,
        _ => false,
    }
}

impl Model {
    /// Adds to a plan what becomes of the leases that its keys hang on.
    pub(super) fn detach(&self, asked: &Asked, mut plan: Plan, now: u64) -> Plan {
        if self.hangs.is_empty() {
            return plan;
        }
        if let Asked::Value(OnValue::Rename(from, to, _)) = asked {
            if plan.rows.contains_key(to) {
                plan.hangs.extend([(to.clone(), self.hangs.get(from).copied()), (from.clone(), None)]);
            }
        } else {
            let stays = |key: &Blob| keeps(asked) && self.rows.get(key).is_some_and(|row| !row.is_due(now));
            let gone = plan.rows.iter().filter(|(key, row)| row.is_none() || !stays(key));
            let keys: Vec<Blob> = gone.map(|(key, _)| key.clone()).collect();
            plan.hangs.extend(keys.into_iter().map(|key| (key, None)));
        }
        plan.hangs.retain(|key, lease| self.hangs.get(key) != lease.as_ref());
        plan
    }

    /// What the leader must log when these leases and then these waits are over. A wait that is not as old as that ends because
    /// its session has.
    #[must_use]
    pub fn over(&self, leases: &[u64], waits: &[u64], now: u64) -> Plan {
        let mut draft = Draft::new(self, now);
        leases.iter().for_each(|id| draft.end_lease(*id));
        draft.end_waits(|(_, _, id), claim, now| {
            let came = if claim.until.is_some_and(|until| until <= now) {
                Ok(Value::Nil)
            } else {
                Err(ErrorCode::WaitEnded)
            };
            waits.contains(id).then_some(came)
        });
        draft.plan(self, Plan::default())
    }

    /// Adds to a plan that ends a session what becomes of the waits in it.
    pub(super) fn end_session_waits(&self, session: u64, plan: Plan, now: u64) -> Plan {
        let mut draft = Draft::new(self, now);
        draft.end_waits(|_, claim, _| (claim.session == Some(session)).then_some(Err(ErrorCode::WaitEnded)));
        draft.plan(self, plan)
    }

    /// What is logged when nobody listens to a wait any more.
    #[must_use]
    pub fn forget(&self, id: u64, now: u64) -> Plan {
        let mut draft = Draft::new(self, now);
        draft.end_wait(id, Err(ErrorCode::WaitEnded));
        draft.plan(self, Plan::default())
    }

    /// Adds to a plan that changes users or roles what becomes of leases and waits.
    pub(super) fn dismiss(&self, asked: &Asked, plan: Plan, now: u64) -> Plan {
        if plan.people.is_empty() && plan.roles.is_empty() {
            return plan;
        }
        let mut people = self.people.clone();
        put_all(&mut people.users, plan.people.clone());
        put_all(&mut people.roles, plan.roles.clone());
        let changed = match asked {
            Asked::UserRemove(name) | Asked::UserPassword(name) => Some(name),
            _ => None,
        };
        let ends = |((_, name, _), claim): &(&ClaimKey, &Claim)| {
            let person = people.users.get(&claim.user);
            let forbidden = person.is_some_and(|person| !person.may(&people, Right::Lock, name));
            claim.until.is_some() && (forbidden || changed == Some(&claim.user))
        };
        let ended: Vec<&ClaimKey> = self.claims.iter().filter(ends).map(|(key, _)| key).collect();
        let mut draft = Draft::new(self, now);
        ended.iter().for_each(|key| draft.drop_claim(key, Err(ErrorCode::WaitEnded)));
        ended.iter().for_each(|(kind, name, _)| draft.settle(*kind, name));
        if let Asked::UserRemove(name) = asked {
            let theirs = draft.after.leases.iter_mut().filter(|(id, lease)| {
                // What was granted just now, to one who waited, is another's.
                lease.user == *name && self.leases.contains_key(id)
            });
            theirs.for_each(|(_, lease)| (lease.ttl, lease.renewed) = (0, now));
        }
        draft.plan(self, plan)
    }
}

/// A copy of the model in which something happens.
pub(super) struct Draft {
    pub(super) after: Model,
    pub(super) told: BTreeMap<u64, Result<Value, ErrorCode>>,
    pub(super) now: u64,
}

impl Draft {
    pub(super) fn new(model: &Model, now: u64) -> Self {
        Self { after: model.clone(), told: BTreeMap::new(), now }
    }

    /// Ends a lease with all that hangs on it. What is due by itself is gone without it.
    pub(super) fn end_lease(&mut self, id: u64) {
        let keys: Vec<Blob> =
            self.after.hangs.iter().filter(|(_, lease)| **lease == id).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if self.after.rows.get(&key).is_some_and(|row| !row.is_due(self.now)) {
                self.after.rows.remove(&key);
                self.after.hangs.remove(&key);
            }
        }
        self.after.leases.remove(&id);
        let claims = self.after.claims.iter().filter(|(_, claim)| claim.lease == id);
        let claims: Vec<ClaimKey> = claims.map(|(key, _)| key.clone()).collect();
        for key in &claims {
            self.drop_claim(key, Err(ErrorCode::LeaseUnknown));
        }
        for (kind, name, _) in claims {
            self.settle(kind, &name);
        }
    }

    pub(super) fn drop_claim(&mut self, key: &ClaimKey, came: Result<Value, ErrorCode>) {
        if self.after.claims.remove(key).is_some_and(|claim| claim.until.is_some()) {
            self.told.insert(key.2, came);
        }
    }

    /// Ends those waits for which something comes back, and then lets others have what they can.
    fn end_waits(&mut self, came: impl Fn(&ClaimKey, &Claim, u64) -> Option<Result<Value, ErrorCode>>) {
        let waits = self.after.claims.iter().filter(|(_, claim)| claim.until.is_some());
        let ended: Vec<_> =
            waits.filter_map(|(key, claim)| Some((key.clone(), came(key, claim, self.now)?))).collect();
        ended.iter().for_each(|(key, came)| self.drop_claim(key, came.clone()));
        ended.iter().for_each(|((kind, name, _), _)| self.settle(*kind, name));
    }

    fn end_wait(&mut self, id: u64, came: Result<Value, ErrorCode>) {
        let mut claims = self.after.claims.iter();
        let found = claims.find(|((_, _, number), claim)| *number == id && claim.until.is_some());
        if let Some((key, _)) = found {
            let key = key.clone();
            self.drop_claim(&key, came);
            self.settle(key.0, &key.1);
        }
    }

    /// The first that wait get it, as long as there is room for the first of them.
    pub(super) fn settle(&mut self, kind: Kind, name: &Blob) {
        let mut used = 0;
        let now = self.now;
        for ((of, on, id), claim) in &mut self.after.claims {
            if (*of, on) != (kind, name) {
                continue;
            }
            used += claim.permits;
            if claim.until.is_none() {
                continue;
            }
            if used > claim.capacity {
                break;
            }
            (claim.until, claim.session) = (None, None);
            if claim.ttl > 0 {
                let lease = Lease { user: claim.user.clone(), ttl: claim.ttl, renewed: now };
                self.after.leases.insert(*id, lease);
            }
            self.told.insert(*id, Ok(Claim::granted(*id, claim.lease)));
        }
    }

    /// The plan that has this effect, beside what it has already.
    pub(super) fn plan(self, before: &Model, mut plan: Plan) -> Plan {
        plan.rows.extend(difference(&before.rows, &self.after.rows));
        plan.leases = difference(&before.leases, &self.after.leases);
        plan.hangs.extend(difference(&before.hangs, &self.after.hangs));
        plan.claims = difference(&before.claims, &self.after.claims);
        plan.told = self.told;
        plan
    }
}

fn difference<K: Ord + Clone, V: PartialEq + Clone>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> BTreeMap<K, Option<V>> {
    let gone = before.keys().filter(|key| !after.contains_key(key)).map(|key| (key.clone(), None));
    let new = after.iter().filter(|(key, value)| before.get(key) != Some(value));
    gone.chain(new.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

impl At<'_> {
    /// What the command must do.
    pub(super) fn on_lease(&self, user: Option<&Blob>, asked: &OnLease) -> Plan {
        self.try_on_lease(user, asked).unwrap_or_else(Plan::fails)
    }

    fn try_on_lease(&self, user: Option<&Blob>, asked: &OnLease) -> Result<Plan, ErrorCode> {
        let (own, number) = (user.cloned().unwrap_or_default(), |number: u64| Value::Int(number as i64));
        let mut draft = Draft::new(self.model, self.now);
        let says = match asked {
            OnLease::Set(key, value, lease, fence) => {
                if let Some((lock, token)) = fence {
                    self.fence(lock, *token)?;
                }
                if let Some(lease) = lease {
                    self.own_lease(&own, *lease)?;
                }
                let row = self.put(value.clone(), None);
                draft.after.rows.extend(row.map(|row| (key.clone(), row)));
                match lease {
                    Some(lease) => drop(draft.after.hangs.insert(key.clone(), *lease)),
                    None => drop(draft.after.hangs.remove(key)),
                }
                Value::ok()
            }
            OnLease::Grant(ttl) => {
                let lease = Lease { user: own, ttl: *ttl, renewed: self.now };
                draft.after.leases.insert(self.position.0, lease);
                number(self.position.0)
            }
            OnLease::KeepAlive(id) => number(draft.renew(&own, *id)?),
            OnLease::Revoke(id) => {
                let admin = self.is_admin(user);
                let there = if admin {
                    self.model.leases.contains_key(id)
                } else {
                    self.own_lease(&own, *id).is_ok()
                };
                if there {
                    // What the user may not write any more stays, and hangs on nothing.
                    let person = user.and_then(|name| self.model.people.users.get(name));
                    draft.after.hangs.retain(|key, lease| {
                        let may =
                            person.is_none_or(|person| person.may(&self.model.people, Right::Write, key));
                        *lease != *id || admin || may
                    });
                    draft.end_lease(*id);
                }
                Value::Int(there.into())
            }
            OnLease::Attach(id, keys) => {
                self.own_lease(&own, *id)?;
                let there: Vec<&Blob> = keys.iter().filter(|key| self.row(key).is_some()).collect();
                let count = there.len() as u64;
                draft.after.hangs.extend(there.into_iter().map(|key| (key.clone(), *id)));
                number(count)
            }
            OnLease::Detach(keys) => {
                let there = |key: &&Blob| self.row(key).is_some() && draft.after.hangs.remove(*key).is_some();
                number(keys.iter().filter(there).count() as u64)
            }
            OnLease::Show(id) => self.show_lease(user, &own, *id),
            OnLease::List => {
                let mine = |lease: &&Lease| lease.user == own || self.is_admin(user);
                let leases = self.model.leases.iter().filter(|(_, lease)| mine(lease));
                Value::List(leases.map(|(id, _)| number(*id)).collect())
            }
        };
        Ok(draft.plan(self.model, Plan::says(says)))
    }

    fn is_admin(&self, user: Option<&Blob>) -> bool {
        let people = &self.model.people;
        user.is_none_or(|name| {
            people.users.get(name).is_some_and(|person| person.is_admin(people, "cluster"))
        })
    }

    pub(super) fn own_lease(&self, own: &Blob, id: u64) -> Result<&Lease, ErrorCode> {
        let lease = self.model.leases.get(&id).filter(|lease| lease.user == *own && lease.ttl > 0);
        lease.ok_or(ErrorCode::LeaseUnknown)
    }

    fn show_lease(&self, user: Option<&Blob>, own: &Blob, id: u64) -> Value {
        let lease = self.model.leases.get(&id).filter(|lease| lease.user == *own || self.is_admin(user));
        let Some(lease) = lease else { return Value::Nil };
        let person = user.and_then(|name| self.model.people.users.get(name));
        let may = |key: &Blob| {
            user.is_none() || person.is_some_and(|person| person.may(&self.model.people, Right::Read, key))
        };
        let hangs = self.model.hangs.iter().filter(|(key, lease)| **lease == id && may(key));
        let keys = hangs.map(|(key, _)| Value::Bytes(key.clone())).collect();
        Value::Map(vec![
            ("lease".into(), Value::Int(id as i64)),
            ("user".into(), Value::Bytes(lease.user.clone())),
            ("ttl_ms".into(), Value::Int(lease.ttl as i64)),
            ("remaining_ms".into(), Value::Int(self.remaining_of(lease))),
            ("keys".into(), Value::List(keys)),
        ])
    }

    pub(super) fn remaining_of(&self, lease: &Lease) -> i64 {
        lease.until(self.model.spared).saturating_sub(self.now) as i64
    }
}

impl Draft {
    /// Renews a lease of the user's, and says how long it lives.
    pub(super) fn renew(&mut self, own: &Blob, id: u64) -> Result<u64, ErrorCode> {
        let now = self.now;
        let lease = self.after.leases.get_mut(&id).filter(|lease| lease.user == *own && lease.ttl > 0);
        let lease = lease.ok_or(ErrorCode::LeaseUnknown)?;
        lease.renewed = now;
        Ok(lease.ttl)
    }
}
