//! Who was given a lock or an office has it until its time is over: nobody else gets it meanwhile, and nobody is told that it is lost.
//!
//! By real time alone, as people would judge it: what was asked for at some moment with a time to live is surely held from the answer on
//! until that time has passed since it was asked for, unless somebody may have ended it. Neither receipts nor the log are read, so
//! recordings of real servers can be judged, too.

use std::collections::BTreeMap;

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Value;
use steadfast_core::types::Blob;

use super::{Stop, Verdict, fail};
use crate::history::{End, History, Operation};

/// This judge's name.
pub const JUDGE: &str = "holds";

/// Judges a history.
pub fn judge(history: &History) -> Verdict {
    Stop::verdict(run(&history.merged()), JUDGE)
}

/// A lock or an office: the family of commands, and the name.
type Thing<'a> = (&'a [u8], &'a [u8]);

/// Something that is surely held, between two moments in nanoseconds.
#[derive(Debug)]
struct Hold<'a> {
    granted: &'a Operation,
    thing: Thing<'a>,
    token: i64,
    lease: i64,
    from: u64,
    until: u64,
}

fn run(ops: &[Operation]) -> Result<(), Stop> {
    let mut holds: Vec<Hold<'_>> = ops.iter().filter_map(|op| hold(op, ops)).collect();
    for hold in &mut holds {
        ops.iter().for_each(|op| renew(hold, op));
        ops.iter().for_each(|op| cut(hold, op));
    }
    let mut things: BTreeMap<Thing<'_>, Vec<&Hold<'_>>> = BTreeMap::new();
    for hold in holds.iter().filter(|hold| hold.from < hold.until) {
        things.entry(hold.thing).or_default().push(hold);
    }
    things.values().flatten().try_for_each(|hold| ops.iter().try_for_each(|op| contradicted(hold, op)))
}

/// The words of a command on locks or elections, behind its family: what is done, on what, and the rest.
fn words(op: &Operation) -> Option<(Thing<'_>, &[u8], &[Blob])> {
    let [family, verb, name, rest @ ..] = op.args.as_slice() else { return None };
    let known = [b"LOCK".as_slice(), b"ELECTION"].contains(&family.as_slice());
    known.then_some(((family.as_slice(), name.as_slice()), verb.as_slice(), rest))
}

fn figure(value: Option<&Value>, name: &str) -> Option<i64> {
    let Some(Value::Map(pairs)) = value else { return None };
    pairs.iter().find_map(|(field, value)| match value {
        Value::Int(number) if field == name => Some(*number),
        _ => None,
    })
}

fn number(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn after(op: &Operation, ms: i64) -> u64 {
    op.invoked.ns.saturating_add(ms.unsigned_abs().saturating_mul(1_000_000))
}

/// What this has surely given to its owner. An owner who had asked before may have had it since then, and for how long is not known here.
fn hold<'a>(op: &'a Operation, ops: &[Operation]) -> Option<Hold<'a>> {
    let (thing, verb, rest) = words(op)?;
    if ![b"ACQUIRE".as_slice(), b"CAMPAIGN"].contains(&verb) {
        return None;
    }
    let (token, lease) = (figure(op.value(), "token")?, figure(op.value(), "lease")?);
    let ttl = rest.windows(2).find(|pair| pair[0].as_slice() == b"PX").and_then(|pair| number(&pair[1]))?;
    let asked_before = ops.iter().any(|other| {
        words(other)
            .is_some_and(|(it, its, words)| (it, its) == (thing, verb) && words.first() == rest.first())
            && other.invoked < op.invoked
            && match &other.end {
                End::Unknown(_) => true,
                End::Ok(value) => figure(Some(value), "token") == Some(token),
                End::Failed(_) => false,
            }
    });
    let completed = op.completed.filter(|_| !asked_before)?;
    Some(Hold { granted: op, thing, token, lease, from: completed.ns, until: after(op, ttl) })
}

/// A renewal gives as long as it says.
fn renew(hold: &mut Hold<'_>, op: &Operation) {
    let Some((thing, b"RENEW", [token])) = words(op) else { return };
    if let (true, Some(token), Some(Value::Int(ttl))) = (thing == hold.thing, number(token), op.value())
        && token == hold.token
    {
        hold.until = hold.until.max(after(op, *ttl));
    }
}

/// What may have ended it, from when it was asked for: also where that is only not impossible.
fn cut(hold: &mut Hold<'_>, op: &Operation) {
    if matches!(op.end, End::Failed(_)) || op.before(hold.granted) {
        return;
    }
    let has = |wanted: &[u8]| op.args.iter().any(|word| word.as_slice() == wanted);
    let may_end = match op.args.first().map(Blob::as_slice) {
        Some(b"LOCK" | b"ELECTION" | b"SEMAPHORE") => {
            let gives_back = has(b"RELEASE") || has(b"RESIGN");
            // Its owner may also have put it on another lease by asking once more.
            let asks_anew = op.user == hold.granted.user && op.args.get(..4) == hold.granted.args.get(..4);
            (gives_back && op.args.last().and_then(|token| number(token)) == Some(hold.token))
                || (asks_anew && !std::ptr::eq(op, hold.granted))
        }
        Some(b"LEASE") => {
            has(b"REVOKE") && op.args.last().and_then(|lease| number(lease)) == Some(hold.lease)
        }
        Some(b"USER") => true,
        _ => has(b"RELEASE") || has(b"RESIGN") || has(b"REVOKE"),
    };
    if may_end {
        hold.until = hold.until.min(op.invoked.ns);
    }
}

/// Whether this answer can't be true while the hold lasts, all the time that it was asked for.
fn contradicted(hold: &Hold<'_>, op: &Operation) -> Result<(), Stop> {
    let Some(completed) = op.completed else { return Ok(()) };
    if op.invoked.ns < hold.from || completed.ns >= hold.until {
        return Ok(());
    }
    let about = words(op).filter(|(thing, ..)| *thing == hold.thing);
    let token = figure(op.value(), "token");
    let another = match about {
        Some((_, b"ACQUIRE" | b"CAMPAIGN", _)) => token.is_some_and(|token| token != hold.token),
        Some((_, b"OBSERVE", _)) => op.value().is_some() && token != Some(hold.token),
        _ => false,
    };
    if another {
        fail!("{op} cannot be: {} gave it to somebody until later", hold.granted);
    }
    // A token is its user's alone: others are told the same as of one that is no more.
    let fenced = op.user == hold.granted.user
        && matches!(&op.end, End::Failed(failure) if failure.code == ErrorCode::Fenced);
    let is_own = |token: &[u8]| number(token) == Some(hold.token);
    let names_it = match about {
        Some((_, b"RENEW" | b"PROCLAIM", [token, ..])) => is_own(token),
        _ => op.args.windows(3).any(|words| {
            words[0].as_slice() == b"FENCE" && words[1].as_slice() == hold.thing.1 && is_own(&words[2])
        }),
    };
    if fenced && names_it {
        fail!("{op} says that it is lost: {} gave it until later", hold.granted);
    }
    Ok(())
}
