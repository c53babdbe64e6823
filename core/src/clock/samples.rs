//! What a leader has heard of the voters' wall clocks, and what a majority of them agrees on.
//!
//! Clocks are compared by their *offset*: what a wall clock shows, less what the leader's monotonic clock shows at that moment, in
//! microseconds. An answer that was asked for at one time and came at another was given at some time between, which bounds the offset
//! from both sides. From then on it is less and less certain, as clocks drift; and after a while it is dropped, for whoever answered may
//! have had its clock set. Nothing here moves the cluster's time, or asks anybody.

use std::collections::BTreeMap;

use super::marzullo::{Interval, agreed};
use crate::membership::Voter;
use crate::time::{Micros, Millis, Stamp};
use crate::types::NodeId;

/// Two clocks part from each other by at most one part in so many: each is good to one part in a thousand.
const DRIFT: u64 = 500;

/// What was heard.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Wall clocks that are further apart than this disagree: each is trusted to half of it.
    bound: Micros,
    /// An older sample says nothing any more.
    kept: Micros,
    of: BTreeMap<Voter, Sample>,
}

/// What one answer says.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// When it was asked for.
    asked: Micros,
    offset: Interval,
}

/// What a majority of the voters' wall clocks says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accord {
    /// Too few of them were heard.
    #[default]
    Unknown,
    /// The right offset lies in this interval if the clocks of some majority are good to half of the bound.
    Agreed(Interval),
    /// A majority was heard, and no majority agrees. If the clocks of some majority are good, none the less, the right offset is not beyond
    /// this one.
    Apart(i64),
}

impl Accord {
    /// The word for it in INFO and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Agreed(_) => "agree",
            Self::Apart(_) => "apart",
        }
    }
}

/// What is known of all the voters' wall clocks at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What a majority says.
    pub accord: Accord,
    /// Whose clocks lie outside of what a majority agrees on, in order.
    pub off: Vec<NodeId>,
    /// How far the two clocks that are furthest apart are at least from each other.
    pub apart: Micros,
}

impl Survey {
    /// Whether clocks disagree beyond the bound; none if too little is known.
    #[must_use]
    pub fn disagrees(&self) -> Option<bool> {
        match self.accord {
            Accord::Unknown => None,
            Accord::Agreed(_) => Some(!self.off.is_empty()),
            Accord::Apart(_) => Some(true),
        }
    }
}

impl Samples {
    /// Nothing was heard yet.
    #[must_use]
    pub fn new(bound: Micros, kept: Micros) -> Self {
        Self { bound, kept, of: BTreeMap::new() }
    }

    /// An answer has come at `now` which was asked for at `asked`, both by the own monotonic clock: that node's wall clock showed `wall` in
    /// between. One that was under way for longer than the bound says less than what is to be found out, and one that is older
    /// than what is known says nothing new.
    pub fn hear(&mut self, voter: Voter, asked: Micros, now: Micros, wall: Millis) {
        let late = self.of.get(&voter).is_some_and(|known| known.asked >= asked);
        if late || asked > now || now.since(asked) > self.bound {
            return;
        }
        let offset = Interval { low: offset(wall, now), high: after_a_milli(offset(wall, asked)) };
        self.of.insert(voter, Sample { asked, offset });
    }

    /// Looks at what is known by now of these voters, the node that asks among them or not. What is too old is dropped, and what is of no voter.
    pub fn survey(&mut self, own: Voter, voters: &[Voter], now: Stamp) -> Survey {
        let kept = self.kept;
        self.of.retain(|voter, sample| voters.contains(voter) && now.mono.since(sample.asked) <= kept);
        let here = offset(now.wall, now.mono);
        let here = Interval { low: here, high: after_a_milli(here) };
        let known = |voter: &Voter| {
            let sample = (*voter != own).then(|| self.of.get(voter));
            let said = match sample {
                None => here,
                Some(sample) => {
                    let sample = sample?;
                    sample.offset.widened(now.mono.since(sample.asked).0 / DRIFT + 1)
                }
            };
            Some((voter.0, said))
        };
        let known: Vec<(NodeId, Interval)> = voters.iter().filter_map(known).collect();
        let trusted: Vec<Interval> = known.iter().map(|(_, said)| said.widened(self.bound.0 / 2)).collect();
        let majority = voters.len() / 2 + 1;
        let accord = match agreed(&trusted, majority) {
            Some(interval) => Accord::Agreed(interval),
            None => latest(&trusted, majority).map_or(Accord::Unknown, Accord::Apart),
        };
        let is_off = |trusted: &Interval| matches!(accord, Accord::Agreed(right) if !right.meets(*trusted));
        let off = known.iter().zip(&trusted).filter(|(_, trusted)| is_off(trusted));
        let off = off.map(|((node, _), _)| *node).collect();
        let pairs = known.iter().flat_map(|(_, one)| known.iter().map(|(_, other)| one.distance(*other)));
        Survey { accord, off, apart: Micros(pairs.max().unwrap_or(0)) }
    }
}

/// The upper end below which a majority of the intervals end: as at least one of these is right, so high can't be too low.
fn latest(trusted: &[Interval], majority: usize) -> Option<i64> {
    let mut ends: Vec<i64> = trusted.iter().map(|interval| interval.high).collect();
    ends.sort_unstable();
    ends.get(majority - 1).copied()
}

/// What a wall clock shows beyond a monotonic one, in microseconds. A date that no such number reaches counts as the last one that it does.
#[must_use]
pub fn offset(wall: Millis, mono: Micros) -> i64 {
    let micros = i64::try_from(wall.0).unwrap_or(i64::MAX).saturating_mul(1000);
    micros.saturating_sub_unsigned(mono.0)
}

/// A wall clock is read in whole milliseconds.
fn after_a_milli(offset: i64) -> i64 {
    offset.saturating_add(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;

    const SECOND: Micros = Micros::from_millis(1000);
    const NOON: u64 = 1_700_000_000_000;
    /// The leader's monotonic clock showed nothing at noon.
    const RIGHT: i64 = NOON as i64 * 1000;

    fn voter(id: u16) -> Voter {
        (NodeId(id), Incarnation(id.into()))
    }

    fn voters(count: u16) -> Vec<Voter> {
        (1..=count).map(voter).collect()
    }

    fn samples() -> Samples {
        Samples::new(SECOND, Micros::from_millis(5000))
    }

    fn at(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    /// The leader is node 1, and its wall clock is off by so much.
    fn stamp(millis: u64, off: i64) -> Stamp {
        Stamp { mono: at(millis), wall: Millis((NOON + millis).saturating_add_signed(off)) }
    }

    /// Nodes 2 and so on answer within two milliseconds; their wall clocks are off by so much.
    fn hear(samples: &mut Samples, millis: u64, offs: &[i64]) {
        for (id, off) in (2..).zip(offs) {
            let wall = Millis((NOON + millis).saturating_add_signed(*off));
            samples.hear(voter(id), at(millis - 1), at(millis + 1), wall);
        }
    }

    /// A survey of a leader with this many voters, of others' clocks that are off by so much.
    fn survey(own: i64, others: &[i64]) -> Survey {
        let mut samples = samples();
        hear(&mut samples, 100, others);
        samples.survey(voter(1), &voters(others.len() as u16 + 1), stamp(102, own))
    }

    fn agreed_on(survey: &Survey) -> Interval {
        let Accord::Agreed(interval) = survey.accord else { panic!("{survey:?} is no agreement") };
        interval
    }

    #[test]
    fn clocks_within_the_bound_agree_and_the_right_one_lies_between_them() {
        let survey = survey(300, &[-300, 100]);
        assert!(agreed_on(&survey).holds(RIGHT));
        assert_eq!((survey.off.as_slice(), survey.disagrees()), ([].as_slice(), Some(false)));
        assert!((597_000..=600_000).contains(&survey.apart.0), "{:?}", survey.apart);
    }

    #[test]
    fn a_leader_alone_with_its_wrong_clock_is_told_what_the_others_agree_on() {
        let survey = survey(3_600_000, &[0, 0]);
        assert!(agreed_on(&survey).holds(RIGHT) && !agreed_on(&survey).holds(RIGHT + 600_000));
        assert_eq!((survey.off, survey.apart.0 / 1_000_000), (vec![NodeId(1)], 3599));
    }

    #[test]
    fn a_minority_that_agrees_is_no_agreement() {
        let survey = survey(0, &[0, 5_000, 9_000, -7_000]);
        let Accord::Apart(latest) = survey.accord else { panic!("two of five agree, and {survey:?}") };
        assert_eq!(survey.disagrees(), Some(true));
        // Two clocks show noon and one an earlier time: these three are a majority.
        assert!((RIGHT + 499_000..RIGHT + 510_000).contains(&latest), "{latest}");
    }

    #[test]
    fn two_voters_agree_with_each_other_or_not_at_all() {
        assert!(agreed_on(&survey(0, &[900])).holds(RIGHT + 450_000));
        assert!(matches!(survey(0, &[1_100]).accord, Accord::Apart(_)));
    }

    #[test]
    fn who_is_alone_agrees_with_itself_and_who_was_not_heard_is_not_counted() {
        let mut samples = samples();
        let alone = samples.survey(voter(1), &voters(1), stamp(5, 0));
        assert!(agreed_on(&alone).holds(RIGHT));
        let unheard = samples.survey(voter(1), &voters(3), stamp(5, 0));
        assert_eq!((unheard.accord, unheard.disagrees()), (Accord::Unknown, None));
        // Somebody else's clock, and that of an earlier directory.
        samples.hear(voter(7), at(1), at(2), Millis(NOON));
        samples.hear((NodeId(2), Incarnation(99)), at(1), at(2), Millis(NOON));
        assert_eq!(samples.survey(voter(1), &voters(3), stamp(5, 0)).accord, Accord::Unknown);
        assert!(samples.of.is_empty(), "nothing is kept of who does not vote");
    }

    #[test]
    fn a_leader_that_votes_no_more_has_no_say_in_it() {
        let mut samples = samples();
        hear(&mut samples, 100, &[0, 0]);
        let survey = samples.survey(voter(1), &voters(3)[1..], stamp(102, 3_600_000));
        assert!(agreed_on(&survey).holds(RIGHT) && survey.off.is_empty());
    }

    #[test]
    fn what_is_old_is_less_and_less_certain_and_then_nothing() {
        let mut samples = samples();
        hear(&mut samples, 100, &[0, 0]);
        let at_first = agreed_on(&samples.survey(voter(1), &voters(3), stamp(102, 3_600_000)));
        let later = agreed_on(&samples.survey(voter(1), &voters(3), stamp(5_090, 3_600_000)));
        assert!(
            later.low <= at_first.low - 9_000 && later.high >= at_first.high + 9_000,
            "{at_first:?} {later:?}"
        );
        assert_eq!(samples.survey(voter(1), &voters(3), stamp(5_100, 0)).accord, Accord::Unknown);
    }

    #[test]
    fn an_answer_that_came_too_late_or_from_nowhere_is_not_taken() {
        let mut samples = samples();
        samples.hear(voter(2), at(100), at(1_101), Millis(NOON));
        samples.hear(voter(2), at(300), at(200), Millis(NOON));
        assert!(samples.of.is_empty());
        samples.hear(voter(2), at(300), at(301), Millis(NOON + 300));
        samples.hear(voter(2), at(200), at(302), Millis(5));
        assert!(samples.of[&voter(2)].offset.holds(RIGHT), "a doubled frame does not undo a later answer");
    }

    #[test]
    fn no_date_is_too_large() {
        let mut samples = samples();
        samples.hear(voter(2), at(1), at(2), Millis(u64::MAX));
        samples.hear(voter(3), at(1), at(2), Millis(0));
        let survey = samples.survey(voter(1), &voters(3), stamp(3, 0));
        assert!(matches!(survey.accord, Accord::Apart(_)));
        assert!(survey.apart.0 > 1 << 62);
    }
}
