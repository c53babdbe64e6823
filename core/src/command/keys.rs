//! What the commands on keys do: conditions and effects, through the view alone. Permissions were checked
//! before; for a command that fails the caller takes the draft back.

use super::evaluate::Evaluation;
use super::info::{count, number};
use super::parse::integer;
use super::values::{deadline, string};
use super::{SetCondition, SetExpiry, SetTies};
use crate::access::rights::prefix_span;
use crate::access::user::Permission;
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::data::Kind;
use crate::types::Blob;

/// Which keys a scan is to show, of those that it comes to, and how much work it is to tell, per byte of a key; all, if it
/// does not say.
pub(super) type Wanted<'a> = Option<(&'a dyn Fn(&[u8], Kind) -> bool, usize)>;

impl Evaluation<'_> {
    pub(super) fn get(&mut self, key: &Blob) -> Outcome {
        Ok(self.string_at(key)?.map_or(Value::Nil, |(value, _)| Value::Bytes(value)))
    }

    pub(super) fn getv(&mut self, key: &Blob) -> Outcome {
        let Some(record) = self.view.key(key) else { return Ok(Value::Nil) };
        Ok(Value::List(vec![Value::Bytes(string(record.data)?), number(record.revision.0)]))
    }

    /// What is no string is nil here, as in Redis: the others are still of use.
    pub(super) fn mget(&mut self, keys: &[Blob]) -> Value {
        let mut value = |key| self.view.key(key).and_then(|record| string(record.data).ok());
        Value::List(keys.iter().map(|key| value(key).map_or(Value::Nil, Value::Bytes)).collect())
    }

    pub(super) fn set(
        &mut self,
        (key, value): (&Blob, &Blob),
        expiry: SetExpiry,
        condition: SetCondition,
        return_old: bool,
        ties: &SetTies,
    ) -> Outcome {
        if let Some((lock, token)) = &ties.fence {
            self.check_fence(lock, *token)?;
        }
        if let Some(lease) = ties.lease {
            self.own_lease(lease)?;
        }
        let blind = condition == SetCondition::Always && !return_old && expiry != SetExpiry::Keep;
        // A blind write reads nothing, so that its answer rests on nothing that its user may not read.
        let old = if blind { None } else { self.view.key(key) };
        let met = match condition {
            SetCondition::Always => true,
            SetCondition::Missing => old.is_none(),
            SetCondition::Exists => old.is_some(),
            SetCondition::Version(revision) => {
                old.as_ref().map_or(revision.0 == 0, |record| record.revision == revision)
            }
        };
        let kept = old.as_ref().and_then(|record| record.deadline);
        let answer = match (return_old, met) {
            (true, _) => old.map(|record| string(record.data)).transpose()?.map_or(Value::Nil, Value::Bytes),
            (false, true) => Value::ok(),
            (false, false) => Value::Nil,
        };
        if met {
            let deadline = match expiry {
                SetExpiry::Clear => None,
                SetExpiry::After(ttl) => Some(deadline(self.view.now(), ttl)),
                SetExpiry::At(at) => match self.deadline_at(at) {
                    Some(deadline) => Some(deadline),
                    None => {
                        self.view.delete(key.clone());
                        return Ok(answer);
                    }
                },
                SetExpiry::Keep => kept,
            };
            match (ties.lease, expiry) {
                (None, SetExpiry::Keep) => self.view.rewrite(key.clone(), value.clone(), deadline),
                _ => self.view.put(key.clone(), value.clone(), deadline),
            }
            if let Some(lease) = ties.lease {
                self.attach(lease, &[key])?;
            }
        }
        Ok(answer)
    }

    pub(super) fn mset(&mut self, pairs: &[(Blob, Blob)]) -> Value {
        for (key, value) in pairs {
            self.view.put(key.clone(), value.clone(), None);
        }
        Value::ok()
    }

    pub(super) fn del(&mut self, keys: &[Blob]) -> Value {
        let mut deleted = 0;
        for key in keys {
            if self.view.key(key).is_some() {
                self.view.delete(key.clone());
                deleted += 1;
            }
        }
        Value::Int(deleted)
    }

    pub(super) fn exists(&mut self, keys: &[Blob]) -> Value {
        count(keys.iter().filter(|key| self.view.key(key).is_some()).count())
    }

    pub(super) fn incr_by(&mut self, key: &Blob, delta: i64) -> Outcome {
        let old = self.string_at(key)?;
        let fail = |why: &str| Err(Failure::new(ErrorCode::NotAnInteger, why));
        let number = match &old {
            None => 0,
            Some((value, _)) => match integer(value) {
                Some(number) => number,
                None => return fail("the value is not a whole number in 64 bits: SET it to one first"),
            },
        };
        let Some(sum) = number.checked_add(delta) else {
            return fail("the sum would leave the range of 64 bits: add less");
        };
        let deadline = old.and_then(|(_, deadline)| deadline);
        self.view.rewrite(key.clone(), Blob::from(sum.to_string()), deadline);
        Ok(Value::Int(sum))
    }

    pub(super) fn expire(&mut self, key: &Blob, ttl_ms: i64) -> Value {
        if self.view.key(key).is_none() {
            return Value::Int(0);
        }
        match u64::try_from(ttl_ms) {
            Ok(ttl) if ttl > 0 => {
                let deadline = deadline(self.view.now(), ttl);
                self.view.redate(key.clone(), Some(deadline));
            }
            _ => self.view.delete(key.clone()),
        }
        Value::Int(1)
    }

    pub(super) fn pttl(&mut self, key: &Blob) -> Value {
        let Some(record) = self.view.key(key) else { return Value::Int(-2) };
        let Some(deadline) = record.deadline else { return Value::Int(-1) };
        let now = self.view.consult_time();
        number(deadline.at.0.saturating_sub(now.0))
    }

    pub(super) fn persist(&mut self, key: &Blob) -> Value {
        let dated = self.view.key(key).is_some_and(|record| record.deadline.is_some());
        if dated {
            self.view.redate(key.clone(), None);
        }
        Value::Int(dated.into())
    }

    /// A page of a scan.
    pub(super) fn page(
        &mut self,
        prefix: &Blob,
        after: Option<&Blob>,
        count: usize,
        wanted: Wanted<'_>,
    ) -> Value {
        // Parsing bounds the count; a forwarding node's word does not.
        self.find(prefix, after, count.clamp(1, self.limits.scan_keys.max(1)), wanted)
    }

    /// Walks the readable spans in order. Keys outside them are never looked at, so neither the page nor its
    /// cursor nor the time it takes can tell about them.
    pub(super) fn find(
        &mut self,
        prefix: &Blob,
        after: Option<&Blob>,
        count: usize,
        wanted: Wanted<'_>,
    ) -> Value {
        let spans = match self.rights() {
            None => vec![prefix_span(prefix)],
            Some(held) => held.spans(Permission::Read, prefix),
        };
        let mut page = Page::new(self.reply_room(), count);
        let mut budget = self.limits.keys_walked;
        for (from, until) in spans {
            if page.next.is_some() {
                break;
            }
            let until = until.as_ref().map(Blob::as_slice);
            if after.is_some_and(|after| until.is_some_and(|until| until <= after.as_slice())) {
                continue;
            }
            self.view.scan((&from, until), after.map(Blob::as_slice), &mut |key, kind| {
                page.meet(key, kind, &mut budget, wanted)
            });
        }
        let cursor = page.next.map_or(Value::Nil, Value::Bytes);
        Value::List(vec![cursor, Value::List(page.keys)])
    }
}

/// So many steps of comparing a name with a pattern count as one more key.
const WORK_OF_A_KEY: usize = 1024;

/// A page of a scan, as far as it is filled.
struct Page {
    keys: Vec<Value>,
    /// Most keys.
    count: usize,
    /// Bytes that the reply may still take.
    room: usize,
    /// The last key that was looked at.
    last: Option<Blob>,
    /// There is more: the next page begins after this key.
    next: Option<Blob>,
}

impl Page {
    fn new(room: usize, count: usize) -> Self {
        Self { keys: Vec::new(), count, room, last: None, next: None }
    }

    /// Looks at the next key, and says whether to go on.
    fn meet(&mut self, key: &[u8], kind: Kind, budget: &mut usize, wanted: Wanted<'_>) -> bool {
        let value = Value::Bytes(key.into());
        let size = value.size();
        // The last key is sent twice, as the cursor too; so every key pays double, and the first always fits.
        let fits = self.keys.is_empty() || 2 * size <= self.room;
        if self.keys.len() == self.count || !fits || *budget == 0 {
            self.next = self.last.take();
            return false;
        }
        // A long pattern against long names is as much work as many keys.
        let work = wanted.map_or(0, |(_, work)| work * key.len() / WORK_OF_A_KEY);
        *budget = budget.saturating_sub(1 + work);
        self.last = Some(key.into());
        if wanted.is_none_or(|(wanted, _)| wanted(key, kind)) {
            self.room = self.room.saturating_sub(size);
            self.keys.push(value);
        }
        true
    }
}
