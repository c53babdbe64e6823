//! Waits in the walk along the log: an entry that begins one is answered by the entry that ends it, and what ends by itself must be
//! due.

use steadfast_core::error::ErrorCode;
use steadfast_core::reply::Outcome;
use steadfast_core::state::effect::Effect;
use steadfast_core::types::Index;

use super::{Walk, came, came_of};
use crate::check::log::LogEntry;
use crate::check::model::Plan;
use crate::check::seen::Seen;
use crate::check::{Stop, fail};

impl Walk<'_> {
    /// What the end of leases and waits must do.
    pub(super) fn over(&self, entry: &LogEntry, seen: &Seen) -> Result<Option<Plan>, Stop> {
        let (leases, waits) = &seen.over;
        if leases.is_empty() && waits.is_empty() {
            return Ok(None);
        }
        let plan = self.model.over(leases, waits, entry.entry.time.0);
        if let Err(what) = seen.compare(&plan) {
            fail!("entry {} ends leases {leases:?} and waits {waits:?}: {what}", entry.index);
        }
        Ok(Some(plan))
    }

    /// The plan of a node that ends a wait because nobody listens to it, if the entry is of that kind. Then nobody may be
    /// told of it either.
    pub(super) fn forgotten(&self, entry: &LogEntry, seen: &Seen) -> Result<Option<Plan>, Stop> {
        let ended = seen.told.iter().filter(|(_, came)| **came == Err(ErrorCode::WaitEnded));
        let plans = ended.map(|(id, _)| (*id, self.model.forget(*id, entry.entry.time.0)));
        let Some((id, plan)) = plans.into_iter().find(|(_, plan)| seen.compare(plan).is_ok()) else {
            return Ok(None);
        };
        // What was made in a session can be asked for again, and is nobody's to forget.
        let in_session =
            self.model.claims.iter().any(|((_, _, number), claim)| *number == id && claim.session.is_some());
        let listens = |at: &&usize| came_of(&self.case.ops[**at]) == Some(Err(ErrorCode::WaitEnded));
        let listener = self.case.claims.get(&entry.index).into_iter().flatten().find(listens);
        if (in_session || listener.is_some()) && self.may_be_orphan(entry, seen) {
            // Whoever ended its session, or asked anew as the same owner, and was never told what came of that.
            return Ok(None);
        }
        if in_session {
            fail!("entry {} forgets the wait {id}, which was made in a session", entry.index);
        }
        if let Some(at) = listener {
            fail!("entry {} forgets the wait {id}, and {} still listened", entry.index, self.case.ops[*at]);
        }
        Ok(Some(plan))
    }

    /// Where an answer comes from that is not given at its own entry: the end of the wait that the entry begins.
    pub(super) fn end_of_wait(&self, entry: &LogEntry) -> Option<&(Index, Outcome)> {
        let waits = |effect: &Effect| match effect {
            Effect::Claimed { claim, now: Some(now) } => claim.2 == entry.index && now.wait().is_some(),
            _ => false,
        };
        entry.entry.effects.iter().any(waits).then(|| self.case.ends.get(&entry.index)).flatten()
    }

    /// The position at which what this entry begins is answered.
    pub(super) fn answered_at(&self, entry: &LogEntry) -> Index {
        self.end_of_wait(entry).map_or(entry.index, |(index, _)| *index)
    }

    /// Whether an operation that was answered got what its wait ended in.
    pub(super) fn heard(&self, at: usize, entry: &LogEntry) -> bool {
        let Some((_, outcome)) = self.end_of_wait(entry) else { return true };
        came_of(&self.case.ops[at]).is_none_or(|told| told == came(outcome))
    }
}
