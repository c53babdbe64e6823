//! Nobody succeeds after a revoke.
//!
//! For every success of a user that the history itself created: each thing that it needed (to exist, a right
//! on a key) must have been given, at a place from which no revocation that certainly came between took it
//! away. "Certainly" is by real time or by position, whichever tells. A grant of unknown outcome may have
//! happened at any time after its invocation; the first judge, which reads the log, knows better and is
//! stricter.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::asked::{Asked, Right};
use super::grants::{Need, needs};
use super::reach::Reach;
use super::roles::OnRole;
use super::values::OnValue;
use super::{Stop, Verdict, changes, fail};
use crate::history::{End, History, Operation};

/// This judge's name.
pub const JUDGE: &str = "access";

/// Judges a history.
pub fn judge(history: &History) -> Verdict {
    Stop::verdict(run(history), JUDGE)
}

/// An operation with what it asks for.
#[derive(Clone, Copy)]
struct Act<'a> {
    op: &'a Operation,
    asked: &'a Asked,
}

/// What happened to one thing that a user can hold.
#[derive(Default)]
struct Ledger<'a> {
    given: Vec<Act<'a>>,
    taken: Vec<Act<'a>>,
}

impl<'a> Ledger<'a> {
    /// Whether the thing can have been held when this operation took effect. Something given holds until a
    /// taking that certainly came after it.
    fn may_hold(&self, act: Act<'a>) -> bool {
        self.given.iter().any(|given| {
            let lost = |taken: &Act<'a>| given.certainly_before(*taken) && taken.certainly_before(act);
            !act.certainly_before(*given) && !self.taken.iter().any(lost)
        })
    }
}

impl<'a> Act<'a> {
    /// Whether this took effect before the other, by real time or by position. At one position a write comes
    /// before every read.
    fn certainly_before(self, other: Act<'a>) -> bool {
        if self.op.before(other.op) {
            return true;
        }
        match (self.op.receipt, other.op.receipt) {
            (Some(first), Some(second)) => {
                let reads = self.asked.is_write() && !other.asked.is_write();
                first.position < second.position || (first.position == second.position && reads)
            }
            _ => false,
        }
    }
}

/// Everything that users were given and lost.
#[derive(Default)]
struct Ledgers<'a> {
    exists: BTreeMap<&'a Blob, Ledger<'a>>,
    rights: BTreeMap<&'a Blob, BTreeMap<(Right, &'a Reach), Ledger<'a>>>,
    /// Who was ever given a role: only the first judge follows what roles grant.
    with_roles: BTreeSet<&'a Blob>,
}

fn run(history: &History) -> Result<(), Stop> {
    let ops = history.merged();
    let asked: Vec<Option<Asked>> = ops.iter().map(|op| Asked::read(&op.args).ok()).collect();
    let acts: Vec<Act<'_>> =
        ops.iter().zip(&asked).filter_map(|(op, asked)| Some(Act { op, asked: asked.as_ref()? })).collect();
    let ledgers = Ledgers::new(&acts);
    for act in &acts {
        if let (Some(user), Some(answer)) = (&act.op.user, act.op.value()) {
            ledgers.check(*act, user, answer)?;
        }
    }
    Ok(())
}

impl<'a> Ledgers<'a> {
    fn new(acts: &[Act<'a>]) -> Self {
        let mut ledgers = Self::default();
        for act in acts.iter().filter(|act| !matches!(act.op.end, End::Failed(_))) {
            match act.asked {
                Asked::UserAdd(name) => ledgers.exists.entry(name).or_default().given.push(*act),
                Asked::Grant(right, reach, name) => {
                    let rights = ledgers.rights.entry(name).or_default();
                    rights.entry((*right, reach)).or_default().given.push(*act);
                }
                Asked::Role(OnRole::Member(_, name, true)) => _ = ledgers.with_roles.insert(name),
                _ => {}
            }
        }
        for act in acts.iter().filter(|act| act.op.value().is_some()) {
            match act.asked {
                Asked::UserRemove(name) => {
                    ledgers.exists.entry(name).or_default().taken.push(*act);
                    let rights = ledgers.rights.entry(name).or_default();
                    rights.values_mut().for_each(|ledger| ledger.taken.push(*act));
                }
                Asked::Revoke(right, reach, name) => {
                    let rights = ledgers.rights.entry(name).or_default();
                    rights.entry((*right, reach)).or_default().taken.push(*act);
                }
                _ => {}
            }
        }
        ledgers
    }

    fn check(&self, act: Act<'a>, user: &Blob, answer: &Value) -> Result<(), Stop> {
        // Of a user whom the history did not create nobody here knows what it held at first.
        let Some(exists) = self.exists.get(user).filter(|ledger| !ledger.given.is_empty()) else {
            return Ok(());
        };
        let op = act.op;
        if self.with_roles.contains(user) {
            return Ok(());
        }
        if !exists.may_hold(act) {
            fail!("{op} succeeded as {user}, who can't have existed then");
        }
        let seen: &[Right] = match act.asked {
            Asked::Changes(_) => &[Right::Read, Right::Watch],
            _ => &[Right::Read],
        };
        let shown = shown_keys(act.asked, answer);
        let shown = shown.iter().flat_map(|key| seen.iter().map(|right| Need::Key(*right, key.clone())));
        for need in needs(act.asked).into_iter().chain(shown) {
            if !self.may(act, user, &need) {
                fail!("{op} succeeded as {user}, who can't have held {need:?} then");
            }
        }
        Ok(())
    }

    fn may(&self, act: Act<'a>, user: &Blob, need: &Need) -> bool {
        let held = |fits: &dyn Fn(Right, &Reach) -> bool| {
            let rights = self.rights.get(user).into_iter().flatten();
            rights.filter(|((right, reach), _)| fits(*right, reach)).any(|(_, ledger)| ledger.may_hold(act))
        };
        let administers =
            |area: &str| held(&|right, reach| right == Right::Admin && reach.covers(area.as_bytes()));
        match need {
            // Who may write may delete.
            Need::Key(Right::Delete, key) => {
                held(&|right, reach| matches!(right, Right::Delete | Right::Write) && reach.covers(key))
            }
            Need::Key(needed, key) => held(&|right, reach| right == *needed && reach.covers(key)),
            Need::All(needed, prefix) => held(&|right, reach| {
                let part = *needed == Right::Delete && right == Right::Write;
                (right == *needed || part) && reach.open && prefix.starts_with(&reach.literal)
            }),
            Need::Some(prefix) => held(&|right, reach| {
                right == Right::Read && (reach.covers(prefix) || reach.literal.starts_with(prefix))
            }),
            Need::Watch(prefix) => [Right::Read, Right::Watch].iter().all(|needed| {
                held(&|right, reach| {
                    let beginning = reach.beginning();
                    right == *needed && (beginning.starts_with(prefix) || prefix.starts_with(beginning))
                })
            }),
            Need::Admin(area) => administers(area),
            Need::Everything => {
                held(&|right, reach| right == Right::Read && reach.open && reach.literal.is_empty())
            }
            Need::AdminOr(name) => name == user || administers("users"),
        }
    }
}

/// Keys that a SCAN or KEYS showed, or CHANGES.
fn shown_keys(asked: &Asked, answer: &Value) -> BTreeSet<Blob> {
    let keys = match (asked, answer) {
        (Asked::Changes(_), answer) => return changes::keys(answer),
        (Asked::Value(OnValue::Matching { count: None, .. }), Value::List(keys)) => keys,
        (Asked::Scan { .. } | Asked::Value(OnValue::Matching { .. }), Value::List(page)) => {
            let Some(Value::List(keys)) = page.get(1) else { return BTreeSet::new() };
            keys
        }
        _ => return BTreeSet::new(),
    };
    keys.iter()
        .filter_map(|key| match key {
            Value::Bytes(key) => Some(key.clone()),
            _ => None,
        })
        .collect()
}
