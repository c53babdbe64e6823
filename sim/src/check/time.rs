//! Cluster time, watched as leaders log it, by somebody who knows true time and every node's clocks.
//!
//! | rule | |
//! |---|---|
//! | pace | along a log, time never runs faster than true time by more than a deadline's slack |
//! | apart | where no majority of the voters' wall clocks can be seen to agree, time never gains on the leader's monotonic clock |
//! | hull | where a majority lie close together and all others far away, time that is ahead of them all never gains on the leader's monotonic clock, and time that is behind them all never loses |
//!
//! The last two say nothing as long as clocks were set a short while ago: a leader may still believe what it heard before. How exactly a leader
//! can know another's clock depends on the network, and is told to this judge. It shares no code with what it judges, and asks no node
//! what it knows.

use std::collections::BTreeMap;

use steadfast_core::types::{Index, NodeId, Term};

use super::{Stop, fail};

/// This judge's name.
pub const JUDGE: &str = "time";

/// What rounding to milliseconds may hide in a difference of two logged times, in microseconds, and the clocks' own reading.
const ROUNDING_US: i128 = 3_000;

/// By more than this, and a thousandth of the time, no clock that goes on falls behind, in microseconds.
const DRIFT_US: i128 = 20_000;

/// What leaders may know, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Wall clocks that are further apart than this disagree.
    pub bound_us: u64,
    /// For so long a leader may believe what it heard of a clock.
    pub believed_us: u64,
    /// By so much may it be wrong about one, at most.
    pub blur_us: u64,
}

/// A leader has logged something.
#[derive(Clone, Debug)]
pub struct Moment {
    /// True time.
    pub now_us: u64,
    /// Who leads.
    pub node: NodeId,
    /// In which start.
    pub boot: u64,
    /// In which term.
    pub term: Term,
    /// Its monotonic clock.
    pub mono_us: u64,
    /// The entry's place.
    pub index: Index,
    /// The term of the entry before, if the log still holds it.
    pub before: Option<Term>,
    /// The entry's time, in milliseconds of the same epoch as true time; less than nothing if it is before that.
    pub time_ms: i64,
    /// What each voter's wall clock shows beyond true time, in milliseconds.
    pub voters: BTreeMap<NodeId, i64>,
}

/// Watches one cluster.
#[derive(Clone, Debug)]
pub struct TimeJudge {
    terms: Terms,
    /// For each entry the least lead that its log has had up to there: time less 501/500 of true time, in 1/500 of a microsecond.
    leads: BTreeMap<(Index, Term), i128>,
    /// What each clock was seen to show, and since when.
    clocks: BTreeMap<NodeId, (i64, u64)>,
    /// When an entry was logged last, by whom, and by how much its monotonic clock was behind true time.
    last: Option<(u64, (NodeId, u64), i128)>,
    /// Until when leaders may believe what is wrong because one of them was suspended.
    dazed_until: u64,
    stretch: Option<Stretch>,
}

/// A time in which a rule about the leader's monotonic clock holds.
#[derive(Clone, Debug)]
struct Stretch {
    of: (NodeId, u64, Term, BTreeMap<NodeId, i64>),
    rule: Rule,
    /// Time less the monotonic clock where it began, in microseconds.
    lead_us: i128,
    began: Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nobody can know what time it is.
    Apart,
    /// Time is ahead of a majority.
    Ahead,
    /// Time is behind it.
    Behind,
}

impl TimeJudge {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            leads: BTreeMap::new(),
            clocks: BTreeMap::new(),
            last: None,
            dazed_until: 0,
            stretch: None,
        }
    }

    /// Looks at an entry that a leader has just appended.
    ///
    /// # Errors
    /// What is wrong with its time.
    pub fn logged(&mut self, moment: &Moment) -> Result<(), Stop> {
        self.check_pace(moment)?;
        let rule = if self.see_clocks(moment) { self.rule(moment) } else { None };
        self.check_slew(moment, rule)
    }

    fn check_pace(&mut self, moment: &Moment) -> Result<(), Stop> {
        let lead = i128::from(moment.time_ms) * 500_000 - i128::from(moment.now_us) * 501;
        let before = moment.before.and_then(|term| self.leads.get(&(Index(moment.index.0 - 1), term)));
        if before.is_some_and(|least| lead - least > ROUNDING_US * 500) {
            fail!(
                "cluster time ran ahead of true time: entry {} of node {} in term {} has the time {} ms at {} us",
                moment.index,
                moment.node,
                moment.term,
                moment.time_ms,
                moment.now_us
            );
        }
        let least = before.map_or(lead, |least| lead.min(*least));
        self.leads.insert((moment.index, moment.term), least);
        Ok(())
    }

    /// Whether all voters' clocks have gone on undisturbed for as long as a leader may believe something.
    fn see_clocks(&mut self, moment: &Moment) -> bool {
        let (of, behind) =
            ((moment.node, moment.boot), i128::from(moment.now_us) - i128::from(moment.mono_us));
        if let Some((at, who, before)) = self.last.replace((moment.now_us, of, behind))
            && who == of
            && behind - before > DRIFT_US + i128::from(moment.now_us - at) / 1000
        {
            // Its machine was suspended: what it knew of others was true for the time before.
            self.dazed_until = moment.now_us + self.terms.believed_us;
        }
        let mut steady = moment.now_us > self.dazed_until;
        for (node, off) in &moment.voters {
            // Nobody has set a clock before the first that was seen of it.
            let (known, since) = self.clocks.entry(*node).or_insert((*off, 0));
            if known != off {
                (*known, *since) = (*off, moment.now_us);
            }
            steady &= *since == 0 || moment.now_us - *since > self.terms.believed_us;
        }
        steady
    }

    /// What holds of time now, if anything. A majority that lies closer together than the bound agrees; one that is further apart than
    /// twice that and what a leader may be wrong by can't seem to.
    fn rule(&self, moment: &Moment) -> Option<Rule> {
        let micros = |millis: &i64| i128::from(*millis) * 1000;
        let mut offs: Vec<i128> = moment.voters.values().map(micros).collect();
        offs.sort_unstable();
        let (bound, blur) = (i128::from(self.terms.bound_us), i128::from(self.terms.blur_us));
        let (majority, far) = (offs.len() / 2 + 1, 2 * bound + 2 * blur);
        let spans = || offs.windows(majority).map(|some| some[majority - 1] - some[0]);
        if spans().all(|span| span > bound + 2 * blur) {
            return Some(Rule::Apart);
        }
        // The largest set of clocks in which each is close to the next; it must be narrow, and all others far away.
        let first =
            offs.windows(majority).position(|some| some[majority - 1] - some[0] + 2 * blur < bound)?;
        let low = offs[first];
        let close = |off: &i128| (low..=low + bound - 2 * blur).contains(off);
        let high = *offs.iter().rfind(|off| close(off))?;
        let clear = offs.iter().all(|off| close(off) || *off < low - far || *off > high + far);
        let ahead = i128::from(moment.time_ms) * 1000 - i128::from(moment.now_us);
        match clear {
            true if ahead > high + blur => Some(Rule::Ahead),
            true if ahead < low - blur => Some(Rule::Behind),
            _ => None,
        }
    }

    fn check_slew(&mut self, moment: &Moment, rule: Option<Rule>) -> Result<(), Stop> {
        let Some(rule) = rule else {
            self.stretch = None;
            return Ok(());
        };
        let of = (moment.node, moment.boot, moment.term, moment.voters.clone());
        let lead_us = i128::from(moment.time_ms) * 1000 - i128::from(moment.mono_us);
        let same = self.stretch.take().filter(|stretch| stretch.of == of && stretch.rule == rule);
        let stretch = same.unwrap_or(Stretch { of, rule, lead_us, began: moment.index });
        let gained = lead_us - stretch.lead_us;
        let wrong = match rule {
            Rule::Apart | Rule::Ahead => gained > ROUNDING_US,
            Rule::Behind => -gained > ROUNDING_US,
        };
        if wrong {
            let why = match rule {
                Rule::Apart => "although no majority of the wall clocks agreed",
                Rule::Ahead => "although it was ahead of a majority of the wall clocks",
                Rule::Behind => "although it was behind a majority of the wall clocks",
            };
            fail!(
                "cluster time was slewed by {gained} us between entries {} and {} of node {} in term {}, {why}: {:?}",
                stretch.began,
                moment.index,
                moment.node,
                moment.term,
                moment.voters
            );
        }
        self.stretch = Some(stretch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { bound_us: 1_000_000, believed_us: 5_000_000, blur_us: 10_000 };

    /// What the judge says of a leader that logs once in a tenth of a second, for so many seconds: node 1 of those with clocks that are off by
    /// so much. Its own monotonic clock is right, and its time begins so far ahead and gains so many millionths.
    fn judged(offs: &[i64], seconds: u64, ahead_ms: i64, ppm: i64) -> Result<(), Stop> {
        let mut judge = TimeJudge::new(TERMS);
        (1..=seconds * 10).try_for_each(|tenth| judge.logged(&moment(offs, tenth, ahead_ms, ppm)))
    }

    fn moment(offs: &[i64], tenth: u64, ahead_ms: i64, ppm: i64) -> Moment {
        let now_us = tenth * 100_000;
        let gained = now_us as i64 * ppm / 1_000_000 / 1000;
        Moment {
            now_us,
            node: NodeId(1),
            boot: 1,
            term: Term(1),
            mono_us: now_us,
            index: Index(tenth),
            before: Some(Term(1)),
            time_ms: now_us as i64 / 1000 + ahead_ms + gained,
            voters: (1..).map(NodeId).zip(offs.iter().copied()).collect(),
        }
    }

    fn failure(result: Result<(), Stop>) -> String {
        match result {
            Err(Stop::Failed(what)) => what,
            other => panic!("it was to fail: {other:?}"),
        }
    }

    #[test]
    fn time_that_goes_as_it_should_passes() {
        for (offs, ahead_ms, ppm) in [
            ([0, 0, 0], 0, 0),
            ([3_600_000, 0, 0], 0, 0),
            ([3_600_000, 0, 0], 5_000, -1000),
            ([3_600_000, 0, 0], -5_000, 1000),
            ([-3_600_000, 3_600_000, 0], 0, -1000),
            ([300, -200, 900], 0, 1000),
        ] {
            assert_eq!(judged(&offs, 20, ahead_ms, ppm), Ok(()), "{offs:?} {ahead_ms} {ppm}");
        }
    }

    #[test]
    fn time_that_runs_ahead_of_true_time_is_found_whatever_the_clocks_say() {
        let what = failure(judged(&[0, 0, 0], 20, 0, 3000));
        assert!(what.contains("ran ahead of true time"), "{what}");
    }

    #[test]
    fn a_jump_between_two_leaders_is_found() {
        let mut judge = TimeJudge::new(TERMS);
        assert_eq!(judge.logged(&moment(&[0, 0, 0], 1, 0, 0)), Ok(()));
        let next = Moment { term: Term(2), node: NodeId(2), ..moment(&[0, 0, 0], 2, 5, 0) };
        assert!(judge.clone().logged(&next).is_err());
        let elsewhere = Moment { before: None, ..next };
        assert_eq!(judge.logged(&elsewhere), Ok(()), "on which log it rests is not known");
    }

    #[test]
    fn slewing_where_no_majority_agrees_is_found() {
        let what = failure(judged(&[3_600_000, -3_600_000, 0], 20, 0, 1000));
        assert!(what.contains("no majority"), "{what}");
        let what = failure(judged(&[3_600_000, 3_600_000, 0, 0], 20, 0, 1000));
        assert!(what.contains("no majority"), "half of them is none: {what}");
    }

    #[test]
    fn slewing_away_from_a_majority_is_found_in_both_directions() {
        let what = failure(judged(&[3_600_000, 0, 0], 60, 0, 1000));
        assert!(what.contains("ahead of a majority"), "{what}");
        let what = failure(judged(&[-3_600_000, 0, 0], 60, 0, -1000));
        assert!(what.contains("behind a majority"), "{what}");
    }

    #[test]
    fn clocks_that_were_just_set_excuse_it_for_as_long_as_a_leader_may_believe_what_it_heard() {
        let run = |set_at: u64| {
            let mut judge = TimeJudge::new(TERMS);
            (1..=100).try_for_each(|tenth| {
                let offs = if tenth < set_at { [0, 0, 0] } else { [3_600_000, -3_600_000, 0] };
                judge.logged(&moment(&offs, tenth, -50, 1000))
            })
        };
        assert_eq!(run(40), Ok(()));
        assert!(run(10).is_err());
    }
}
