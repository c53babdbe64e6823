//! What the judge of cluster time is shown: each entry that a leader appends, with true time and all clocks as they are then. It judges
//! nothing, and it tells the judge how well leaders can know other nodes' clocks in this run.

use steadfast_core::config::Timing;
use steadfast_core::state::effect::Entry;
use steadfast_core::types::{Index, NodeId, Term};

use super::World;
use crate::check::Stop;
use crate::check::time::{JUDGE, Moment, Terms, TimeJudge};
use crate::clock::EPOCH_MS;
use crate::fault::FaultKind;
use crate::schedule::Schedule;

/// So many heartbeats a leader believes what it was told (`docs/formats.md`, clock messages), by a clock that may be slow; and a little more.
const BELIEVED_HEARTBEATS: u64 = 102;

/// The judge, and what it was shown last.
#[derive(Debug)]
pub(super) struct Timekeeping {
    /// None where clocks are off by more than anything allows for.
    judge: Option<TimeJudge>,
    /// The newest entry of the newest leader that it has seen.
    shown: (Term, Index),
}

impl Timekeeping {
    pub(super) fn new(schedule: &Schedule) -> Self {
        let judge = (!schedule.cluster.wild_clocks).then(|| TimeJudge::new(terms(schedule)));
        Self { judge, shown: (Term(0), Index(0)) }
    }
}

/// What leaders can know in this run.
fn terms(schedule: &Schedule) -> Terms {
    let bound_us = Timing::default().clock_disagreement.0;
    let believed_us = schedule.cluster.heartbeat_us * BELIEVED_HEARTBEATS;
    let peer = &schedule.network.peer;
    let way_us = peer.base_us + peer.jitter_us + if peer.tail_ppm > 0 { 2 * peer.tail_us } else { 0 };
    let delays = |what: &FaultKind| {
        matches!(
            what,
            FaultKind::Noise { .. }
                | FaultKind::Partition { held: true, .. }
                | FaultKind::Pause { .. }
                | FaultKind::PauseAt { .. }
        )
    };
    // What was under way for longer than the bound is not believed.
    let late = schedule.faults.iter().any(|fault| delays(&fault.what));
    let way_us = if late { bound_us } else { (2 * way_us).min(bound_us) };
    Terms { bound_us, believed_us, blur_us: way_us + believed_us / 250 + 5_000 }
}

impl World<'_> {
    /// A leader was stepped: the judge is shown what it has appended.
    pub(super) fn watch_time(&mut self, node: usize) {
        let Some(seen) = self.nodes[node].seen.as_ref() else { return };
        let (term, last) = (seen.term, seen.last);
        let (known, up_to) = self.time.shown;
        if self.time.judge.is_none() || (term, last) <= (known, up_to) {
            return;
        }
        let mut moments = Vec::new();
        let mut index = last;
        while index > Index(0) && (term > known || index > up_to) {
            match self.moment(node, term, index) {
                Some(moment) => moments.push(moment),
                None => break,
            }
            index = index.prev();
        }
        self.time.shown = (term, last);
        let judge = self.time.judge.as_mut().expect("it was there just now");
        let judged = moments.iter().rev().try_for_each(|moment| judge.logged(moment));
        if let Err(Stop::Failed(what)) = judged {
            self.fail(JUDGE, what);
        }
    }

    /// An entry that a leader has just appended; none if it is of an earlier term.
    fn moment(&self, node: usize, term: Term, index: Index) -> Option<Moment> {
        let process = &self.nodes[node];
        let core = process.node.as_ref()?;
        let (written, body) = core.entry(index)?;
        let entry = Entry::decode(body).ok().filter(|_| written == term)?;
        let off = |other: usize| {
            let wall = self.nodes.get(other)?.clock.stamp(self.now).wall.0;
            Some(wall.wrapping_sub(EPOCH_MS + self.now / 1000) as i64)
        };
        let voters = core.membership()?.voters().iter();
        Some(Moment {
            now_us: self.now,
            node: NodeId(node as u16 + 1),
            boot: process.boot,
            term,
            mono_us: process.clock.stamp(self.now).mono.0,
            index,
            before: core.entry(index.prev()).map(|(term, _)| term),
            time_ms: entry.time.0.wrapping_sub(EPOCH_MS) as i64,
            voters: voters
                .filter_map(|(id, _)| Some((*id, off(usize::from(id.0).checked_sub(1)?)?)))
                .collect(),
        })
    }
}
