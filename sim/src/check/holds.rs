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
type Thing = (Vec<u8>, Vec<u8>);

/// Something that is surely held, between two moments in nanoseconds.
#[derive(Debug)]
struct Hold<'a> {
    granted: &'a Operation,
    thing: Thing,
    token: i64,
    lease: i64,
    from: u64,
    until: u64,
}

fn run(ops: &[Operation]) -> Result<(), Stop> {
    let mut about: BTreeMap<Thing, Vec<&Operation>> = BTreeMap::new();
    // What may end something, and does not name it as these commands do.
    let mut others = Vec::new();
    for op in ops {
        match words(op) {
            Some((thing, ..)) => about.entry(thing).or_default().push(op),
            None => others.push(op),
        }
    }
    others.retain(|op| may_end_something(op));
    let fenced: Vec<&Operation> = ops.iter().filter(|op| is_fenced(op)).collect();
    for same in about.values() {
        let mut holds: Vec<Hold<'_>> = same.iter().filter_map(|op| hold(op, same)).collect();
        for hold in &mut holds {
            same.iter().for_each(|op| renew(hold, op));
            same.iter().chain(&others).for_each(|op| cut(hold, op));
        }
        holds.retain(|hold| hold.from < hold.until);
        holds.sort_by_key(|hold| hold.from);
        alone(&holds)?;
        for hold in &holds {
            same.iter().chain(&fenced).try_for_each(|op| contradicted(hold, op))?;
        }
    }
    Ok(())
}

/// No two hold the same at any moment.
fn alone(holds: &[Hold<'_>]) -> Result<(), Stop> {
    for (at, first) in holds.iter().enumerate() {
        let beside = holds[at + 1..].iter().take_while(|second| second.from < first.until);
        if let Some(second) = beside.into_iter().find(|second| second.token != first.token) {
            fail!("{} and {} were given the same at one time", first.granted, second.granted);
        }
    }
    Ok(())
}

/// A command on locks or elections: of what, what is done, and the rest.
fn words(op: &Operation) -> Option<(Thing, Vec<u8>, &[Blob])> {
    let [family, verb, name, rest @ ..] = op.args.as_slice() else { return None };
    let family = family.to_ascii_uppercase();
    let known = [b"LOCK".as_slice(), b"ELECTION"].contains(&family.as_slice());
    known.then(|| ((family, name.to_vec()), verb.to_ascii_uppercase(), rest))
}

fn is_word(word: &Blob, wanted: &str) -> bool {
    word.eq_ignore_ascii_case(wanted.as_bytes())
}

/// Whether this may end what somebody holds, under whatever name.
fn may_end_something(op: &Operation) -> bool {
    let has = |wanted: &str| op.args.iter().any(|word| is_word(word, wanted));
    has("USER") || has("REVOKE") || has("RELEASE") || has("RESIGN") || has("ACQUIRE") || has("CAMPAIGN")
}

fn is_fenced(op: &Operation) -> bool {
    matches!(&op.end, End::Failed(failure) if failure.code == ErrorCode::Fenced)
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
fn hold<'a>(op: &'a Operation, same: &[&Operation]) -> Option<Hold<'a>> {
    let (thing, verb, rest) = words(op)?;
    // Behind the owner, and what the leader of an election says.
    let options = match verb.as_slice() {
        b"ACQUIRE" => rest.get(1..)?,
        b"CAMPAIGN" => rest.get(2..)?,
        _ => return None,
    };
    let (token, lease) = (figure(op.value(), "token")?, figure(op.value(), "lease")?);
    let ttl = options.chunks(2).find(|pair| is_word(&pair[0], "PX")).and_then(|pair| number(pair.get(1)?))?;
    let asked_before = same.iter().any(|other| {
        is_asked_by(other, op)
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

/// Whether both ask for the same, for the same owner.
fn is_asked_by(other: &Operation, op: &Operation) -> bool {
    let asks =
        |op| words(op).filter(|(_, verb, _)| [b"ACQUIRE".as_slice(), b"CAMPAIGN"].contains(&verb.as_slice()));
    let (Some((thing, _, rest)), Some((same, _, words))) = (asks(other), asks(op)) else { return false };
    other.user == op.user && thing == same && rest.first() == words.first()
}

/// A renewal gives as long as it says.
fn renew(hold: &mut Hold<'_>, op: &Operation) {
    let Some((_, verb, [token])) = words(op) else { return };
    if let (b"RENEW", Some(token), Some(Value::Int(ttl))) = (verb.as_slice(), number(token), op.value())
        && token == hold.token
    {
        hold.until = hold.until.max(after(op, *ttl));
    }
}

/// What may have ended it, from when it was asked for: also where that is only not impossible.
fn cut(hold: &mut Hold<'_>, op: &Operation) {
    if matches!(op.end, End::Failed(_)) || op.before(hold.granted) || std::ptr::eq(op, hold.granted) {
        return;
    }
    let last = op.args.last().and_then(|word| number(word));
    let may_end = match words(op) {
        Some((_, verb, _)) if [b"RELEASE".as_slice(), b"RESIGN"].contains(&verb.as_slice()) => {
            last == Some(hold.token)
        }
        // Its owner may have put it on another lease by asking once more.
        Some(_) => is_asked_by(op, hold.granted),
        None if is_word(&op.args[0], "LEASE") => last == Some(hold.lease),
        None if is_word(&op.args[0], "SEMAPHORE") => last == Some(hold.token),
        None => true,
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
    let token = figure(op.value(), "token");
    let about = words(op).filter(|(thing, ..)| *thing == hold.thing);
    let verb = about.as_ref().map_or(b"".as_slice(), |(_, verb, _)| verb.as_slice());
    let another = match verb {
        b"ACQUIRE" | b"CAMPAIGN" => token.is_some_and(|token| token != hold.token),
        b"OBSERVE" => op.value().is_some() && token != Some(hold.token),
        _ => false,
    };
    if another {
        fail!("{op} cannot be: {} gave it to somebody until later", hold.granted);
    }
    // A token is its user's alone: others are told the same as of one that is no more.
    if !is_fenced(op) || op.user != hold.granted.user {
        return Ok(());
    }
    let is_own = |token: &Blob| number(token) == Some(hold.token);
    let names_it = match (verb, about.as_ref().and_then(|(.., rest)| rest.first())) {
        (b"RENEW" | b"PROCLAIM", Some(token)) => is_own(token),
        _ => op.args.windows(3).any(|words| {
            is_word(&words[0], "FENCE") && words[1].as_slice() == hold.thing.1 && is_own(&words[2])
        }),
    };
    if names_it {
        fail!("{op} says that it is lost: {} gave it until later", hold.granted);
    }
    Ok(())
}
