//! A naive model of the state: a log and plain maps, built anew from the first entry for every question.

use std::collections::BTreeMap;

use super::super::data::Data;
use super::super::effect::{Answer, Deadline, Effect, Entry, Founding, StoredReply};
use super::super::{KeyRecord, SessionRecord};
use crate::access::rights::{Holder, Rules};
use crate::access::user::{Pattern, User};
use crate::coordination::claim::{Claim, ClaimKey};
use crate::coordination::lease::Lease;
use crate::coordination::limiter::{Limiter, time_of};
use crate::coordination::once::Work;
use crate::durability::Leeway;
use crate::membership::Membership;
use crate::time::Millis;
use crate::types::{Blob, Index, LeaseId, NodeId};

/// What a log has made.
#[derive(Default)]
pub(super) struct Naive {
    pub(super) keys: BTreeMap<Blob, KeyRecord>,
    /// Who wrote or removed a key last.
    pub(super) touched: BTreeMap<Blob, Index>,
    pub(super) sessions: BTreeMap<u64, NaiveSession>,
    pub(super) forwards: BTreeMap<u64, NaiveForwards>,
    pub(super) users: BTreeMap<Blob, User>,
    pub(super) limiters: BTreeMap<Blob, Limiter>,
    pub(super) answers: BTreeMap<(Blob, Blob), Millis>,
    pub(super) works: BTreeMap<Blob, Work>,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    pub(super) key_leases: BTreeMap<Blob, LeaseId>,
    pub(super) claims: BTreeMap<ClaimKey, Claim>,
    pub(super) spared: Millis,
    pub(super) rules: BTreeMap<(Holder, Blob), Rules>,
    pub(super) leeways: BTreeMap<Pattern, Leeway>,
    pub(super) membership: Option<Membership>,
    pub(super) addresses: BTreeMap<NodeId, String>,
    pub(super) priorities: BTreeMap<NodeId, u32>,
    pub(super) level: u32,
    pub(super) founding: Option<Founding>,
    pub(super) time: Millis,
}

pub(super) struct NaiveSession {
    pub(super) record: SessionRecord,
    pub(super) replies: BTreeMap<u64, (Index, Answer)>,
}

#[derive(Default)]
pub(super) struct NaiveForwards {
    pub(super) boot: u64,
    pub(super) floor: u64,
    pub(super) replies: BTreeMap<u64, (Index, Answer)>,
}

impl Naive {
    pub(super) fn of(log: &[Entry]) -> Self {
        let mut model = Self::default();
        for (at, entry) in log.iter().enumerate() {
            model.time = entry.time;
            for effect in &entry.effects {
                model.apply(Index(at as u64 + 1), entry.time, effect);
            }
        }
        model
    }

    fn apply(&mut self, index: Index, time: Millis, effect: &Effect) {
        match effect.clone() {
            Effect::Founded(founding) => self.founding = Some(founding),
            Effect::Level(level) => self.level = level,
            Effect::Put { key, value, deadline } => {
                self.touched.insert(key.clone(), index);
                self.key_leases.remove(&key);
                self.keys.insert(key, KeyRecord { data: Data::String(value), revision: index, deadline });
            }
            Effect::Delete { key, .. } => {
                self.keys.remove(&key);
                self.key_leases.remove(&key);
                self.touched.insert(key, index);
            }
            Effect::Redate { key, deadline } => {
                if let Some(record) = self.keys.get_mut(&key) {
                    record.deadline = deadline;
                    record.revision = index;
                    self.touched.insert(key, index);
                }
            }
            Effect::Members { key, kind, changes } => {
                self.touched.insert(key.clone(), index);
                let old = self.keys.remove(&key).filter(|record| record.data.kind() == kind);
                let mut fields = BTreeMap::new();
                if let Some(members) = old.as_ref().and_then(|record| record.data.members()) {
                    fields =
                        members.iter().map(|(name, value)| (Blob::from(name), Blob::from(value))).collect();
                }
                for (name, value) in changes {
                    match value {
                        Some(value) => drop(fields.insert(name, value)),
                        None => drop(fields.remove(&name)),
                    }
                }
                if fields.is_empty() {
                    self.key_leases.remove(&key);
                } else {
                    let data = Data::Hash(fields.into_iter().collect());
                    let deadline = old.and_then(|record| record.deadline);
                    self.keys.insert(key, KeyRecord { data, revision: index, deadline });
                }
            }
            Effect::Moved { from, to } => {
                if let Some(record) = self.keys.remove(&from) {
                    let lease = self.key_leases.remove(&from);
                    self.key_leases.remove(&to);
                    if let Some(lease) = lease {
                        self.key_leases.insert(to.clone(), lease);
                    }
                    self.touched.extend([(from, index), (to.clone(), index)]);
                    self.keys.insert(to, KeyRecord { revision: index, ..record });
                }
            }
            Effect::Kept { user, id, kept } => match kept {
                Some((_, until)) => drop(self.answers.insert((user, id), until)),
                None => drop(self.answers.remove(&(user, id))),
            },
            Effect::Leased { id, lease } => match lease {
                Some(lease) => drop(self.leases.insert(id, lease)),
                None => drop(self.leases.remove(&id)),
            },
            Effect::LeasesSpared => self.spared = time,
            Effect::Attached { key, lease } => match lease {
                Some(lease) => drop(self.key_leases.insert(key, lease)),
                None => drop(self.key_leases.remove(&key)),
            },
            Effect::Claimed { claim, now } => match now {
                Some(now) => drop(self.claims.insert(claim, now)),
                None => drop(self.claims.remove(&claim)),
            },
            Effect::WaitEnded { session, forward, outcome, .. } => {
                let forwards = forward.and_then(|(node, boot, seq)| {
                    let known = self.forwards.get_mut(&node.0).filter(|known| known.boot == boot.0)?;
                    known.replies.get_mut(&seq)
                });
                let session =
                    session.and_then(|(id, seq)| self.sessions.get_mut(&id.0)?.replies.get_mut(&seq));
                for (at, answer) in session.into_iter().chain(forwards) {
                    let reply = StoredReply { outcome: outcome.clone(), digest: answer.reply.digest };
                    (*at, *answer) = (index, Answer { time, reply });
                }
            }
            Effect::Worked { id, work } => match work {
                Some(work) => drop(self.works.insert(id, work)),
                None => drop(self.works.remove(&id)),
            },
            Effect::Limited { name, limiter } => match limiter {
                Some(limiter) => drop(self.limiters.insert(name, limiter)),
                None => drop(self.limiters.remove(&name)),
            },
            Effect::Placed { name, holder, until } => {
                let mut places: BTreeMap<Blob, Blob> = BTreeMap::new();
                if let Some(Limiter::Places(members)) = self.limiters.remove(&name) {
                    let live = members.iter().filter(|(_, until)| time_of(until) > time);
                    places.extend(live.map(|(holder, until)| (holder.into(), until.into())));
                }
                match until {
                    Some(until) => drop(places.insert(holder, until)),
                    None => drop(places.remove(&holder)),
                }
                if !places.is_empty() {
                    self.limiters.insert(name, Limiter::Places(places.into_iter().collect()));
                }
            }
            Effect::SessionOpened { user, ttl } => {
                let record = SessionRecord { user, ttl, floor: 0, last: 0, active: time };
                self.sessions.insert(index.0, NaiveSession { record, replies: BTreeMap::new() });
            }
            Effect::SessionStepped { id, seq, floor, reply } => {
                if let Some(session) = self.sessions.get_mut(&id.0) {
                    session.record.floor = session.record.floor.max(floor);
                    session.record.last = session.record.last.max(seq);
                    session.record.active = time;
                    session.replies.insert(seq, (index, Answer { time, reply }));
                    session.replies.retain(|seq, _| *seq > session.record.floor);
                }
            }
            Effect::SessionEnded { id, .. } => drop(self.sessions.remove(&id.0)),
            Effect::Forwarded { origin: node, boot, seq, floor, reply } => {
                let forwards = self.forwards.entry(node.0).or_default();
                if boot.0 > forwards.boot {
                    *forwards = NaiveForwards { boot: boot.0, ..NaiveForwards::default() };
                }
                if boot.0 == forwards.boot {
                    forwards.floor = forwards.floor.max(floor);
                    forwards.replies.insert(seq, (index, Answer { time, reply }));
                    forwards.replies.retain(|seq, _| *seq > forwards.floor);
                }
            }
            Effect::Ruled { holder, name, rules } => match rules {
                Some(rules) => drop(self.rules.insert((holder, name), rules)),
                None => drop(self.rules.remove(&(holder, name))),
            },
            Effect::Loosened { pattern, leeway: Some(leeway) } => drop(self.leeways.insert(pattern, leeway)),
            Effect::Membership(membership) => self.membership = Some(membership),
            Effect::Located { node, address: Some(address) } => drop(self.addresses.insert(node, address)),
            Effect::Located { node, address: None } => drop(self.addresses.remove(&node)),
            Effect::Preferred { node, priority: 0 } => drop(self.priorities.remove(&node)),
            Effect::Preferred { node, priority } => drop(self.priorities.insert(node, priority)),
            Effect::Loosened { pattern, leeway: None } => drop(self.leeways.remove(&pattern)),
            Effect::UserPut { name, user } => drop(self.users.insert(name, user)),
            Effect::UserRemoved { name } => drop(self.users.remove(&name)),
        }
    }

    /// The earliest moment at which something is due.
    pub(super) fn next_due(&self) -> Option<Millis> {
        let keys = self.keys.values().filter_map(|record| record.deadline.map(Deadline::due));
        let sessions = self.sessions.values();
        let sessions =
            sessions.map(|session| Millis(session.record.active.0.saturating_add(session.record.ttl)));
        let others = self.limiters.values().map(Limiter::until).chain(self.answers.values().copied());
        let others = others.chain(self.works.values().map(|work| work.until));
        let waits = self.claims.values().filter_map(|claim| Some(claim.wait()?.until));
        let others = others.chain(self.leases.values().map(Lease::due)).chain(waits);
        keys.chain(sessions).chain(others).min()
    }
}
