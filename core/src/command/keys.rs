//! What the commands on keys do: conditions and effects, through the view alone. Permissions were checked
//! before; for a command that fails the caller takes the draft back.

use super::evaluate::Evaluation;
use super::info::{count, number};
use super::parse::integer;
use super::{SetCondition, SetExpiry};
use crate::access::grants;
use crate::access::user::{Pattern, Permission};
use crate::error::{ErrorCode, Failure};
use crate::reply::{Outcome, Value};
use crate::state::effect::Deadline;
use crate::time::Millis;
use crate::types::Blob;

/// What a clock may gain on another while a time to live runs, as a fraction: the slack of a deadline is this
/// part of the time to live, and a millisecond.
const SLACK_DIVISOR: u64 = 500;

impl Evaluation<'_> {
    pub(super) fn get(&mut self, key: &Blob) -> Value {
        self.view.key(key).map_or(Value::Nil, |record| Value::Bytes(record.value))
    }

    pub(super) fn getv(&mut self, key: &Blob) -> Value {
        self.view.key(key).map_or(Value::Nil, |record| {
            Value::List(vec![Value::Bytes(record.value), number(record.revision.0)])
        })
    }

    pub(super) fn mget(&mut self, keys: &[Blob]) -> Value {
        Value::List(keys.iter().map(|key| self.get(key)).collect())
    }

    pub(super) fn set(
        &mut self,
        (key, value): (&Blob, &Blob),
        expiry: SetExpiry,
        condition: SetCondition,
        return_old: bool,
    ) -> Value {
        let blind = condition == SetCondition::Always && !return_old;
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
        if met {
            let deadline = match expiry {
                SetExpiry::Clear => None,
                SetExpiry::After(ttl) => Some(deadline(self.view.now(), ttl)),
            };
            self.view.put(key.clone(), value.clone(), deadline);
        }
        match (return_old, met) {
            (true, _) => old.map_or(Value::Nil, |record| Value::Bytes(record.value)),
            (false, true) => Value::ok(),
            (false, false) => Value::Nil,
        }
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
        let old = self.view.key(key);
        let fail = |why: &str| Err(Failure::new(ErrorCode::NotAnInteger, why));
        let number = match &old {
            None => 0,
            Some(record) => match integer(&record.value) {
                Some(number) => number,
                None => return fail("the value is not a whole number in 64 bits: SET it to one first"),
            },
        };
        let Some(sum) = number.checked_add(delta) else {
            return fail("the sum would leave the range of 64 bits: add less");
        };
        let deadline = old.and_then(|record| record.deadline);
        self.view.put(key.clone(), Blob::from(sum.to_string()), deadline);
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

    /// Walks the readable ranges in order. Keys outside them are never looked at, so neither the page nor its
    /// cursor nor the time it takes can tell about them.
    pub(super) fn scan(&mut self, prefix: &Blob, after: Option<&Blob>, count: usize) -> Value {
        // Parsing bounds the count; a forwarding node's word does not.
        let count = count.clamp(1, self.limits.scan_keys.max(1));
        let ranges = match self.grants() {
            None => vec![Pattern::Prefix(prefix.clone())],
            Some(held) => grants::ranges(held, Permission::Read, prefix),
        };
        let mut page = Page { keys: Vec::new(), room: self.reply_room(), more: false };
        for range in ranges {
            if page.more {
                break;
            }
            if after.is_some_and(|after| lies_before(&range, after)) {
                continue;
            }
            // One more than fits tells whether there is another page.
            let wanted = count + 1 - page.keys.len();
            let found = match &range {
                Pattern::Exact(key) => self.view.key(key).map(|_| key.clone()).into_iter().collect(),
                Pattern::Prefix(prefix) => self.view.scan(prefix, after.map(Blob::as_slice), wanted),
            };
            found.into_iter().for_each(|key| page.add(key, count));
        }
        let cursor = if page.more { page.keys.last().cloned() } else { None };
        Value::List(vec![cursor.unwrap_or(Value::Nil), Value::List(page.keys)])
    }
}

/// A page of a scan, as far as it is filled.
struct Page {
    keys: Vec<Value>,
    /// Bytes that the reply may still take.
    room: usize,
    /// Whether a key did not fit: the next page begins after the last one here.
    more: bool,
}

impl Page {
    fn add(&mut self, key: Blob, count: usize) {
        let key = Value::Bytes(key);
        let size = key.size();
        // The last key is sent twice, as the cursor too; so every key pays double, and the first always fits.
        let fits = self.keys.is_empty() || 2 * size <= self.room;
        if self.more || self.keys.len() == count || !fits {
            self.more = true;
            return;
        }
        self.room = self.room.saturating_sub(size);
        self.keys.push(key);
    }
}

/// Whether the range holds no key after this one.
fn lies_before(range: &Pattern, after: &[u8]) -> bool {
    match range {
        Pattern::Exact(key) => key.as_slice() <= after,
        Pattern::Prefix(prefix) => prefix.as_slice() <= after && !after.starts_with(prefix),
    }
}

/// The deadline of a key that is to live this long from now, at least.
fn deadline(now: Millis, ttl: u64) -> Deadline {
    let slack = u32::try_from(ttl / SLACK_DIVISOR + 1).unwrap_or(u32::MAX);
    Deadline { at: Millis(now.0.saturating_add(ttl)), slack }
}
