//! For which keys writes may be answered ahead of their durability, as the judges understand it: what is asked, and what must
//! come of it. Written from the documentation; shares no code with the core. What was answered so is judged in `ahead.rs`.

use std::collections::BTreeMap;

use steadfast_core::access::user::Pattern;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Unread, bad, unsigned, word};
use super::grants::Need;
use super::model::{At, Plan};
use super::reach::Reach;

/// How far answers may run ahead: milliseconds and bytes.
pub type Leeway = (u64, u64);

/// A command on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDurability {
    /// `DURABILITY ASYNC pattern MS n BYTES n`, or without a leeway `DURABILITY SYNC pattern`
    Set(Reach, Option<Leeway>),
    /// `DURABILITY LIST`
    List,
}

impl OnDurability {
    pub(super) fn read(rest: &[Blob]) -> Result<Self, Unread> {
        match (word(rest.first()).as_str(), rest) {
            ("LIST", [_]) => Ok(Self::List),
            ("SYNC", [_, pattern]) => Ok(Self::Set(Reach::read(pattern)?, None)),
            ("ASYNC", [_, pattern, ms, n, bytes, m])
                if word(Some(ms)) == "MS" && word(Some(bytes)) == "BYTES" =>
            {
                let (n, m) = (unsigned(n)?, unsigned(m)?);
                if !(1..=10_000).contains(&n) || !(1..=64 << 20).contains(&m) {
                    return Err(bad("so much may not run ahead"));
                }
                Ok(Self::Set(Reach::read(pattern)?, Some((n, m))))
            }
            _ => Err(bad("DURABILITY with wrong arguments")),
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Set(..))
    }

    pub(super) fn needs(&self) -> Vec<Need> {
        vec![Need::Admin("configuration")]
    }
}

/// The pattern of a log's entry.
pub(super) fn reach_from_log(pattern: &Pattern) -> Reach {
    let (literal, open, glob) = match pattern {
        Pattern::Exact(key) => (key, false, false),
        Pattern::Prefix(prefix) => (prefix, true, false),
        Pattern::Glob(text) => (text, false, true),
    };
    Reach { literal: literal.clone(), open, glob }
}

impl At<'_> {
    pub(super) fn on_durability(&self, asked: &OnDurability) -> Plan {
        let there = &self.model.leeways;
        match asked {
            OnDurability::List => Plan::says(Value::List(listed(there))),
            OnDurability::Set(reach, leeway) if there.get(reach) == leeway.as_ref() => {
                Plan::says(Value::Int(0))
            }
            OnDurability::Set(reach, leeway) => {
                let leeways = BTreeMap::from([(reach.clone(), *leeway)]);
                Plan { leeways, ..Plan::says(Value::Int(1)) }
            }
        }
    }
}

/// Keys first, then prefixes, then globs, each in their order.
fn listed(leeways: &BTreeMap<Reach, Leeway>) -> Vec<Value> {
    let mut rows: Vec<(&Reach, &Leeway)> = leeways.iter().collect();
    rows.sort_by_key(|(reach, _)| (reach.glob, reach.open, &reach.literal));
    let map = |(reach, (ms, bytes)): (&Reach, &Leeway)| {
        let text =
            if reach.open { [&reach.literal[..], b"*"].concat().into() } else { reach.literal.clone() };
        Value::Map(vec![
            ("pattern".into(), Value::Bytes(text)),
            ("ms".into(), Value::Int(*ms as i64)),
            ("bytes".into(), Value::Int(*bytes as i64)),
        ])
    };
    rows.into_iter().map(map).collect()
}
