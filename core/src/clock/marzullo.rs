//! Marzullo's algorithm: what clocks agree on, of which some may be wrong.
//!
//! Each clock gives an interval in which it says that the right value lies. If at most so many intervals are wrong that those which are right
//! are still `needed`, the right value lies in at least `needed` of them. So it lies between the lowest and the highest point that lie in
//! so many (K. Marzullo, S. Owicki: *Maintaining the Time in a Distributed System*, 1983; RFC 5905, section 11.2.1). Pure arithmetic: this
//! file knows no node, no unit and no clock.

/// All values from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The least.
    pub low: i64,
    /// The greatest; never less than `low`.
    pub high: i64,
}

impl Interval {
    /// The same, wider by so much on both sides. Stays within what can be counted.
    #[must_use]
    pub fn widened(self, by: u64) -> Self {
        Self { low: self.low.saturating_sub_unsigned(by), high: self.high.saturating_add_unsigned(by) }
    }

    /// Whether a value lies in it.
    #[must_use]
    pub fn holds(self, value: i64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Whether some value lies in both.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Its middle, the lower of two.
    #[must_use]
    pub fn middle(self) -> i64 {
        // Half of a difference always fits, the difference may not.
        self.low.saturating_add_unsigned(self.high.abs_diff(self.low) / 2)
    }

    /// By how much the other one lies beyond this one, either way; none if they meet.
    #[must_use]
    pub fn distance(self, other: Self) -> u64 {
        if self.meets(other) {
            0
        } else if self.high < other.low {
            other.low.abs_diff(self.high)
        } else {
            self.low.abs_diff(other.high)
        }
    }
}

/// The smallest interval that holds every value which lies in at least `needed` of these; none if no value does.
///
/// # Panics
/// If nobody is needed: every value there is would lie in it.
#[must_use]
pub fn agreed(intervals: &[Interval], needed: usize) -> Option<Interval> {
    assert!(needed > 0, "without anybody there is nothing to agree on");
    let begins = intervals.iter().map(|interval| (interval.low, false));
    let ends = intervals.iter().map(|interval| (interval.high, true));
    // Where one ends and another begins both hold the value: beginnings come first.
    let mut edges: Vec<(i64, bool)> = begins.chain(ends).collect();
    edges.sort_unstable();
    let (mut open, mut low, mut high) = (0, None, None);
    for (value, is_end) in edges {
        if is_end {
            if open >= needed {
                high = Some(value);
            }
            open -= 1;
        } else {
            open += 1;
            if open >= needed {
                low = low.or(Some(value));
            }
        }
    }
    Some(Interval { low: low?, high: high? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ends: &[(i64, i64)]) -> Vec<Interval> {
        ends.iter().map(|&(low, high)| Interval { low, high }).collect()
    }

    fn ends(agreed: Option<Interval>) -> Option<(i64, i64)> {
        agreed.map(|interval| (interval.low, interval.high))
    }

    #[test]
    fn what_a_majority_agrees_on_is_found_whatever_the_others_say() {
        let three = of(&[(8, 12), (11, 13), (10, 12)]);
        assert_eq!(ends(agreed(&three, 3)), Some((11, 12)), "the example that textbooks have");
        assert_eq!(ends(agreed(&three, 2)), Some((10, 12)));
        assert_eq!(ends(agreed(&of(&[(8, 12), (9, 11), (500, 600)]), 2)), Some((9, 11)));
        assert_eq!(ends(agreed(&of(&[(1, 2), (5, 6), (9, 10)]), 2)), None, "everybody says something else");
        assert_eq!(ends(agreed(&of(&[(1, 2)]), 2)), None, "too few say anything");
        assert_eq!(ends(agreed(&of(&[(3, 4)]), 1)), Some((3, 4)), "one alone agrees with itself");
        assert_eq!(ends(agreed(&of(&[(1, 5), (5, 9)]), 2)), Some((5, 5)), "ends belong to it");
    }

    #[test]
    fn nothing_between_two_agreements_is_ruled_out() {
        let five = of(&[(0, 2), (0, 2), (0, 9), (7, 9), (7, 9)]);
        assert_eq!(ends(agreed(&five, 3)), Some((0, 9)), "which three of them are right, nobody knows");
    }

    #[test]
    fn the_ends_of_all_numbers_are_no_trap() {
        let all = Interval { low: i64::MIN, high: i64::MAX };
        assert_eq!((all.middle(), all.widened(u64::MAX)), (-1, all));
        assert_eq!(agreed(&[all, all], 2), Some(all));
        let (least, most) =
            (Interval { low: i64::MIN, high: i64::MIN }, Interval { low: i64::MAX, high: i64::MAX });
        assert_eq!((least.distance(most), most.distance(least), all.distance(most)), (u64::MAX, u64::MAX, 0));
    }

    proptest! {
        /// Point by point, which a reader can see to be right.
        #[test]
        fn every_point_that_enough_hold_lies_in_it_and_its_ends_are_such_points(
            drawn in prop::collection::vec((0i64..40, 0i64..12), 0..8),
            needed in 1usize..6,
        ) {
            let intervals = of(&drawn.iter().map(|(low, length)| (*low, low + length)).collect::<Vec<_>>());
            let held = |value: &i64| intervals.iter().filter(|it| it.holds(*value)).count() >= needed;
            let points: Vec<i64> = (-1..60).filter(held).collect();
            let naive = points.first().copied().zip(points.last().copied());
            prop_assert_eq!(ends(agreed(&intervals, needed)), naive);
        }
    }
}
