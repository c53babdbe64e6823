//! Rare states that show only in the log and in what clients wrote down, once a run is over. They judge nothing: a campaign that never
//! reached them has proved nothing about them.

use std::collections::BTreeMap;

use steadfast_core::coordination::claim::ClaimState;
use steadfast_core::reply::Value;
use steadfast_core::state::effect::Effect;
use steadfast_core::types::{Blob, Index, Term};

use crate::check::ahead;
use crate::check::log::LogEntry;
use crate::history::{End, History, Operation};
use crate::probes::WorldProbe;

/// How often each was reached.
pub type Rare = Vec<(WorldProbe, u64)>;

/// The rare states of a run that came to its end.
#[must_use]
pub fn states(history: &History, log: &[LogEntry]) -> Rare {
    vec![
        (WorldProbe::AheadLost, ahead::lost(history, log) as u64),
        (WorldProbe::WaitGrantedByAnotherLeader, granted_later(log)),
        (WorldProbe::LimitRefusedByAnotherLeader, refused_later(history, log)),
    ]
}

fn term_at(log: &[LogEntry], index: Index) -> Option<Term> {
    log.get(usize::try_from(index.0.checked_sub(1)?).ok()?).map(|entry| entry.term)
}

/// Waits for locks, permits and offices that began under one leader and were granted under a later one.
fn granted_later(log: &[LogEntry]) -> u64 {
    let grants = log.iter().flat_map(|entry| {
        entry.entry.effects.iter().filter_map(move |effect| match effect {
            Effect::Claimed { claim: (_, _, made), now: Some(claim) } if claim.state == ClaimState::Held => {
                Some((entry, *made))
            }
            _ => None,
        })
    });
    // A claim that is only changed was granted before: each counts once.
    let mut first = BTreeMap::new();
    for (entry, made) in grants {
        first.entry(made).or_insert(entry.term);
    }
    let later = |(made, granted): (&Index, &Term)| term_at(log, *made).is_some_and(|term| term < *granted);
    first.iter().filter(|row| later(*row)).count() as u64
}

/// Questions to limiters that one leader refused for what an earlier one had counted.
fn refused_later(history: &History, log: &[LogEntry]) -> u64 {
    let mut counted: BTreeMap<&Blob, Vec<(Index, Term)>> = BTreeMap::new();
    for entry in log {
        for effect in &entry.entry.effects {
            if let Effect::Limited { name, limiter: Some(_) } = effect {
                counted.entry(name).or_default().push((entry.index, entry.term));
            }
        }
    }
    let later = |op: &&Operation| {
        let Some((name, at)) = refused(op) else { return false };
        let before = counted.get(name).and_then(|rows| rows.iter().rfind(|(index, _)| *index < at));
        before.zip(term_at(log, at)).is_some_and(|((_, counted), refused)| *counted < refused)
    };
    history.ops.iter().filter(later).count() as u64
}

/// The limiter that has refused this, and where.
fn refused(op: &Operation) -> Option<(&Blob, Index)> {
    let [family, _, name, ..] = op.args.as_slice() else { return None };
    let End::Ok(Value::Map(pairs)) = &op.end else { return None };
    let no = pairs.iter().any(|(field, value)| field == "allowed" && *value == Value::Int(0));
    (family.as_slice() == b"LIMIT" && no).then_some((name, op.receipt?.position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::coordination::claim::{Claim, ClaimKind, Wait};
    use steadfast_core::coordination::limiter::Limiter;
    use steadfast_core::state::effect::{Cause, Entry};
    use steadfast_core::time::Millis;
    use steadfast_core::types::LeaseId;

    fn entry(index: u64, term: u64, effects: Vec<Effect>) -> LogEntry {
        let entry = Entry { time: Millis(index), cause: Cause::Command, effects };
        LogEntry { index: Index(index), term: Term(term), entry }
    }

    fn claimed(made: u64, state: ClaimState) -> Effect {
        let (user, owner, value) = Default::default();
        let claim = Claim { user, owner, permits: 1, capacity: 1, lease: LeaseId(1), ttl: 9, value, state };
        Effect::Claimed { claim: (ClaimKind::Lock, "l".into(), Index(made)), now: Some(claim) }
    }

    #[test]
    fn a_wait_counts_if_its_grant_is_of_a_later_term() {
        let waits = || ClaimState::Waiting(Wait { until: Millis(9), session: None, forward: None });
        let log = [
            entry(1, 1, vec![claimed(1, ClaimState::Held)]),
            entry(2, 1, vec![claimed(2, waits())]),
            entry(3, 1, vec![claimed(3, waits())]),
            entry(4, 1, vec![claimed(2, ClaimState::Held)]),
            entry(5, 2, vec![claimed(2, ClaimState::Held)]),
            entry(6, 2, vec![claimed(3, ClaimState::Held)]),
        ];
        assert_eq!((granted_later(&log[..5]), granted_later(&log)), (0, 1), "the third's alone");
    }

    #[test]
    fn a_refusal_counts_if_another_term_has_counted_before() {
        let limiter = || Some(Limiter::Fixed { window: 1, number: 1, used: 1 });
        let counted = |limiter| vec![Effect::Limited { name: "l".into(), limiter }];
        let log = [entry(1, 1, counted(limiter())), entry(2, 1, vec![]), entry(3, 2, vec![])];
        let forgotten = [entry(1, 1, counted(None)), entry(2, 1, vec![]), entry(3, 2, vec![])];
        let refusal = |position: u64| {
            let mut op = Operation {
                process: 1,
                id: 1,
                user: None,
                args: ["LIMIT", "FIXED", "l"].map(Blob::from).to_vec(),
                invoked: crate::history::Moment { index: 0, ns: 0 },
                completed: None,
                end: End::Ok(Value::Map(vec![("allowed".into(), Value::Int(0))])),
                receipt: None,
                session: None,
                seq: None,
                node: None,
            };
            op.receipt = Some(steadfast_core::reply::Receipt::durable(Index(position), Millis(position)));
            History { ops: vec![op] }
        };
        assert_eq!((refused_later(&refusal(2), &log), refused_later(&refusal(3), &log)), (0, 1));
        assert_eq!(refused_later(&refusal(3), &forgotten), 0);
    }
}
