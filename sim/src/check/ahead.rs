//! What was answered ahead of its durability: only what was asked to be, and of that no more is ever lost at once than was
//! allowed.
//!
//! A receipt of such an answer says in which term it was given. If the final log has an entry of that term at the position, the
//! write stands, and is judged like any other. Else it is lost with its leader. What is lost is taken from the history, as of
//! unknown outcome: so whoever was told durably of a lost write, or of anything that came of it, was told what the log can't
//! explain, and the other judges say so.
//!
//! What stands is held against its entry: all that it changes must match what was configured at that position of the log. What
//! may be lost: all that one leader answered so of one pattern and that is lost lies within the pattern's milliseconds, by
//! the cluster's time, and its bytes.

use std::collections::{BTreeMap, BTreeSet};

use steadfast_core::state::effect::Effect;
use steadfast_core::types::{Blob, Term};

use super::asked::Asked;
use super::durability::{Leeway, OnDurability, reach_from_log};
use super::log::LogEntry;
use super::reach::Reach;
use super::{Stop, fail};
use crate::history::{End, History, Operation};

/// This judge's name.
pub const JUDGE: &str = "ahead";

/// How many writes were answered ahead and lost.
#[must_use]
pub fn lost(history: &History, log: &[LogEntry]) -> usize {
    history.ops.iter().filter(|op| is_lost(op, log)).count()
}

fn is_lost(op: &Operation, log: &[LogEntry]) -> bool {
    let Some((receipt, term)) = op.receipt.and_then(|receipt| Some((receipt, receipt.ahead?))) else {
        return false;
    };
    let at = receipt.position.0.checked_sub(1).and_then(|at| usize::try_from(at).ok());
    at.and_then(|at| log.get(at)).is_none_or(|entry| entry.term != term)
}

/// The history without what was lost.
///
/// # Errors
/// If more was answered ahead, or lost, than was allowed.
pub fn settle(history: &History, log: &[LogEntry]) -> Result<History, Stop> {
    let asked: Vec<Option<Asked>> = history.ops.iter().map(|op| Asked::read(&op.args).ok()).collect();
    let classes = Classes::new(&history.ops, &asked);
    let mut settled = history.clone();
    let mut lost: BTreeMap<(Term, &Reach), Vec<usize>> = BTreeMap::new();
    for (at, op) in history.ops.iter().enumerate() {
        let Some(term) = op.receipt.and_then(|receipt| receipt.ahead) else { continue };
        let Some(asked) = &asked[at] else { fail!("{op} was answered ahead, and nobody can read it") };
        let patterns = classes.patterns(op, asked)?;
        if !is_lost(op, log) {
            stands(op, log)?;
            continue;
        }
        patterns.into_iter().for_each(|pattern| lost.entry((term, pattern)).or_default().push(at));
        settled.ops[at] = Operation { end: End::Unknown(None), receipt: None, ..op.clone() };
    }
    for ((term, pattern), lost) in &lost {
        classes.within(term, pattern, lost.iter().map(|at| (&history.ops[*at], asked[*at].as_ref())))?;
    }
    Ok(settled)
}

/// A write that was answered ahead and stands: all that its entry changes matched what was configured there. The log before it is
/// the one that its leader had.
fn stands(op: &Operation, log: &[LogEntry]) -> Result<(), Stop> {
    let Some(receipt) = op.receipt else { return Ok(()) };
    let before = log.partition_point(|entry| entry.index < receipt.position);
    let mut configured: BTreeSet<Reach> = BTreeSet::new();
    for effect in log[..before].iter().flat_map(|entry| &entry.entry.effects) {
        if let Effect::Loosened { pattern, leeway } = effect {
            match leeway {
                Some(_) => _ = configured.insert(reach_from_log(pattern)),
                None => _ = configured.remove(&reach_from_log(pattern)),
            }
        }
    }
    let allowed = |name: &Blob| configured.iter().any(|reach| reach.covers(name));
    for effect in &log[before].entry.effects {
        let fits = match effect {
            Effect::Put { key, .. }
            | Effect::Delete { key, .. }
            | Effect::Redate { key, .. }
            | Effect::Members { key, .. } => allowed(key),
            Effect::Moved { from, to } => allowed(from) && allowed(to),
            Effect::Limited { name, .. } | Effect::Placed { name, .. } => allowed(name),
            Effect::SessionStepped { .. } | Effect::Forwarded { .. } => true,
            _ => false,
        };
        if !fits {
            fail!("{op} was answered ahead of its durability, and nobody allowed that for {effect:?}");
        }
    }
    Ok(())
}

/// The same where no log is known: whether such a write stands, nobody can tell.
#[must_use]
pub fn open(history: &History) -> History {
    let mut opened = history.clone();
    for op in opened.ops.iter_mut().filter(|op| op.receipt.is_some_and(|receipt| receipt.ahead.is_some())) {
        (op.end, op.receipt) = (End::Unknown(None), None);
    }
    opened
}

/// What was configured, by pattern.
#[derive(Default)]
struct Classes<'a> {
    given: BTreeMap<&'a Reach, Vec<(&'a Operation, Leeway)>>,
    taken: BTreeMap<&'a Reach, Vec<&'a Operation>>,
    /// Those of unknown outcome as well.
    all_taken: BTreeMap<&'a Reach, Vec<&'a Operation>>,
}

impl<'a> Classes<'a> {
    fn new(ops: &'a [Operation], asked: &'a [Option<Asked>]) -> Self {
        let mut classes = Self::default();
        for (op, asked) in ops.iter().zip(asked) {
            match asked {
                Some(Asked::Durability(OnDurability::Set(reach, Some(leeway))))
                    if !matches!(op.end, End::Failed(_)) =>
                {
                    classes.given.entry(reach).or_default().push((op, *leeway));
                }
                Some(Asked::Durability(OnDurability::Set(reach, None)))
                    if !matches!(op.end, End::Failed(_)) =>
                {
                    classes.all_taken.entry(reach).or_default().push(op);
                    if op.value().is_some() {
                        classes.taken.entry(reach).or_default().push(op);
                    }
                }
                _ => {}
            }
        }
        classes
    }

    /// With which leeway writes that match were configured when this one was executed, if that is certain.
    fn certain(&self, reach: &Reach, op: &Operation) -> Option<Leeway> {
        let given = self.given.get(reach)?;
        let is_newest = |first: &Operation| {
            let later =
                |other: &Operation| !std::ptr::eq(other, first) && !other.before(first) && !op.before(other);
            let others = given.iter().map(|(other, _)| *other);
            let taken = self.all_taken.get(reach).into_iter().flatten().copied();
            first.value().is_some() && first.before(op) && !others.chain(taken).any(later)
        };
        given.iter().find(|(first, _)| is_newest(first)).map(|(_, leeway)| *leeway)
    }

    /// Whether writes that match may have been configured so when this one was executed.
    fn held(&self, reach: &Reach, op: &Operation) -> bool {
        let taken = self.taken.get(reach).map(Vec::as_slice).unwrap_or_default();
        let given = self.given.get(reach).into_iter().flatten();
        given.into_iter().any(|(given, _)| {
            let possible = op.completed.is_none_or(|completed| given.invoked < completed);
            possible && !taken.iter().any(|taken| given.before(taken) && taken.before(op))
        })
    }

    /// The patterns under which the write was answered ahead, where that is certain.
    fn patterns(&self, op: &Operation, asked: &Asked) -> Result<Vec<&'a Reach>, Stop> {
        let names: Vec<&Blob> = match asked {
            Asked::Limit(limit) => vec![limit.name()],
            Asked::Txn(txn) if txn.is_guarded() => {
                fail!("{op} has conditions on locks or leases, and was answered ahead of its durability")
            }
            // A SET with a lease or a fence is on leases, too.
            Asked::Claim(_) | Asked::Lease(_) | Asked::Once(_) | Asked::Role(_) | Asked::Durability(_) => {
                fail!("{op} was answered ahead of its durability, which it never may")
            }
            asked if !asked.is_write() => fail!("{op} is a read, and was answered ahead of its durability"),
            asked => asked.keys(),
        };
        let matching = |name: &Blob| {
            let all = self.given.keys().copied();
            all.filter(|reach| reach.covers(name) && self.held(reach, op)).collect::<Vec<_>>()
        };
        let each: Vec<Vec<&Reach>> = names.iter().map(|name| matching(name)).collect();
        let some = each.iter().any(|matching| !matching.is_empty());
        let all = each.iter().all(|matching| !matching.is_empty());
        // Of several keys perhaps only one was changed, and of a prefix nobody here knows which.
        let fits = match asked {
            Asked::Drop(..) => true,
            Asked::MSet(_) => all,
            _ => some,
        };
        if !fits {
            fail!("{op} was answered ahead of its durability, and nobody allowed that");
        }
        let certain = all && (names.len() == 1 || matches!(asked, Asked::MSet(_)));
        let mut patterns: Vec<&Reach> = if certain { each.concat() } else { Vec::new() };
        patterns.sort_unstable();
        patterns.dedup();
        patterns.retain(|reach| self.certain(reach, op).is_some());
        Ok(patterns)
    }

    /// All of this was lost with one leader: each came while so much could run ahead.
    fn within<'o>(
        &self,
        term: &Term,
        pattern: &Reach,
        lost: impl Iterator<Item = (&'o Operation, Option<&'o Asked>)>,
    ) -> Result<(), Stop> {
        let mut lost: Vec<_> = lost
            .filter_map(|(op, asked)| Some((op.receipt?.position, op.receipt?.time.0, op, asked?)))
            .collect();
        lost.sort_unstable_by_key(|(position, ..)| *position);
        let (Some((_, first, ..)), mut bytes) = (lost.first().copied(), 0) else { return Ok(()) };
        for (_, time, op, asked) in lost {
            let (ms, most) = self.certain(pattern, op).expect("it was counted under a certain pattern");
            bytes += size(asked);
            // Cluster time may run by a five-hundredth faster than the leader's clock, and each time is rounded.
            if time - first > ms + ms / 500 + 2 {
                fail!(
                    "{op} is lost with term {term}, {} ms after the first of its pattern, of {ms}",
                    time - first
                );
            }
            if bytes > most {
                fail!("{op} is lost with term {term}, and {bytes} bytes of its pattern with it, of {most}");
            }
        }
        Ok(())
    }
}

/// At least so many bytes the write changes.
fn size(asked: &Asked) -> u64 {
    let bytes = match asked {
        Asked::Set { key, value, .. } => key.len() + value.len(),
        Asked::MSet(pairs) => {
            // Of a key that is named twice the last value counts.
            let pairs: BTreeMap<&Blob, &Blob> = pairs.iter().map(|(key, value)| (key, value)).collect();
            pairs.into_iter().map(|(key, value)| key.len() + value.len()).sum()
        }
        asked => asked.keys().first().map_or(0, |key| key.len()),
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use steadfast_core::error::{ErrorCode, Failure};
    use steadfast_core::reply::{Receipt, Reply, Value};
    use steadfast_core::state::effect::{Cause, Entry};
    use steadfast_core::time::Millis;
    use steadfast_core::types::Index;

    use super::*;
    use crate::history::Recorder;

    /// Each line is asked and answered: `words @ position time [term]`; without a receipt it fails.
    fn history(lines: &[&str]) -> History {
        let mut recorder = Recorder::default();
        for (at, line) in lines.iter().enumerate() {
            let (words, receipt) = line.split_once(" @ ").unwrap_or((line, ""));
            let args: Vec<Blob> = words.split(' ').map(Blob::from).collect();
            let ns = at as u64 * 1_000;
            let op = recorder.invoke(ns, 1, None, args, None);
            let numbers: Vec<u64> = receipt.split(' ').filter_map(|word| word.parse().ok()).collect();
            let reply = match numbers[..] {
                [position, time, ref ahead @ ..] => {
                    let receipt = Receipt::durable(Index(position), Millis(time));
                    let receipt = Receipt { ahead: ahead.first().copied().map(Term), ..receipt };
                    Reply { outcome: Ok(Value::ok()), receipt: Some(receipt) }
                }
                _ => Reply::refused(Failure::new(ErrorCode::Overloaded, "no")),
            };
            recorder.complete(ns + 500, 1, op, &reply, None, None);
        }
        History::from_records(recorder.records()).expect("a history")
    }

    fn log(terms: &[u64]) -> Vec<LogEntry> {
        let entry = Entry { time: Millis(0), cause: Cause::Clock, effects: Vec::new() };
        let numbered = terms.iter().zip(1..);
        numbered
            .map(|(term, at)| LogEntry { index: Index(at), term: Term(*term), entry: entry.clone() })
            .collect()
    }

    fn judged(lines: &[&str], terms: &[u64]) -> Result<usize, String> {
        let (history, log) = (history(lines), log(terms));
        match settle(&history, &log) {
            Ok(_) => Ok(lost(&history, &log)),
            Err(Stop::Failed(what) | Stop::Inconclusive(what)) => Err(what),
        }
    }

    const GIVEN: &str = "DURABILITY ASYNC a* MS 100 BYTES 10 @ 1 0";

    #[test]
    fn what_stands_is_kept_and_what_is_lost_is_taken_out() {
        let lines = [GIVEN, "SET a 1 @ 2 10 1", "SET a 2 @ 3 11 1"];
        assert_eq!(judged(&lines, &[1, 1, 1]), Ok(0));
        assert_eq!(judged(&lines, &[1, 1, 2]), Ok(1));
        assert_eq!(judged(&lines, &[1]), Ok(2), "a log that ends before them has lost them");
        let settled = settle(&history(&lines), &log(&[1, 1, 2])).expect("it is allowed");
        assert!(settled.ops[2].is_unknown() && settled.ops[2].receipt.is_none());
        assert!(settled.ops[1].value().is_some());
    }

    #[test]
    fn no_more_is_lost_with_a_leader_than_was_allowed() {
        let late = [GIVEN, "SET a 1 @ 2 10 1", "SET a 2 @ 3 113 1"];
        assert!(judged(&late, &[1, 2, 2]).expect_err("too late").contains("103 ms"));
        assert_eq!(judged(&late, &[1, 1, 2]), Ok(1), "the first stands");
        let many = [GIVEN, "SET a 1234 @ 2 10 1", "SET ab 12345 @ 3 11 1"];
        assert!(judged(&many, &[1, 2, 2]).expect_err("too much").contains("12 bytes"));
        let two = [GIVEN, "SET a 1 @ 2 10 1", "SET a 2 @ 3 500 2"];
        assert_eq!(judged(&two, &[1, 3, 3]), Ok(2), "each with a leader of its own");
    }

    #[test]
    fn only_what_was_allowed_is_answered_ahead() {
        let nobody = "nobody allowed that";
        assert!(judged(&[GIVEN, "SET b 1 @ 2 10 1"], &[1, 1]).expect_err("another key").contains(nobody));
        assert!(judged(&["SET a 1 @ 2 10 1"], &[1, 1]).expect_err("never").contains(nobody));
        let taken = [GIVEN, "DURABILITY SYNC a* @ 2 1", "SET a 1 @ 3 10 1"];
        assert!(judged(&taken, &[1, 1, 1]).expect_err("no longer").contains(nobody));
        let again = [GIVEN, "DURABILITY SYNC a* @ 2 1", GIVEN, "SET a 1 @ 4 10 1"];
        assert_eq!(judged(&again, &[1, 1, 1, 1]), Ok(0));
        assert!(judged(&[GIVEN, "MSET a 1 b 1 @ 2 10 1"], &[1, 1]).expect_err("not both").contains(nobody));
        let lock = [GIVEN, "LOCK ACQUIRE a me PX 1000 @ 2 10 1"];
        assert!(judged(&lock, &[1, 1]).expect_err("a lock").contains("never may"));
        for guarded in [
            "TXN IF LOCK k = 7 THEN 3 SET a 1 @ 2 10 1",
            "TXN IF LEASE a != 7 THEN 3 SET a 1 @ 2 10 1",
            "SET a 1 FENCE k 7 @ 2 10 1",
            "SET a 1 LEASE 7 @ 2 10 1",
        ] {
            assert!(judged(&[GIVEN, guarded], &[1, 1]).is_err(), "{guarded}");
        }
        assert!(judged(&[GIVEN, "GET a @ 2 10 1"], &[1, 1]).expect_err("a read").contains("is a read"));
    }
}
