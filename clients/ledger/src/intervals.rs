//! Sets of sequence numbers, stored as at most [`INTERVALS_MAX`] intervals.

use serde::{Deserialize, Serialize};

/// Maximum number of intervals in a set.
pub const INTERVALS_MAX: usize = 4096;

/// A half-open interval `[from, to)` of sequence numbers.
pub type Interval = (u64, u64);

/// A set of numbers, stored as sorted intervals that neither overlap nor touch.
///
/// In JSON it is a list of pairs. Unsorted, empty or touching intervals are rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Interval>", into = "Vec<Interval>")]
pub struct IntervalSet {
    intervals: Vec<Interval>,
}

impl TryFrom<Vec<Interval>> for IntervalSet {
    type Error = String;

    fn try_from(intervals: Vec<Interval>) -> Result<Self, String> {
        let ordered = intervals.windows(2).all(|pair| pair[0].1 < pair[1].0);
        if ordered && intervals.iter().all(|(from, to)| from < to) {
            Ok(Self { intervals })
        } else {
            Err("intervals must be non-empty [from, to), in order, and must not touch".into())
        }
    }
}

impl From<IntervalSet> for Vec<Interval> {
    fn from(set: IntervalSet) -> Self {
        set.intervals
    }
}

impl IntervalSet {
    /// The set of one interval, `[from, to)`. Empty unless `from` is below `to`.
    pub fn span(from: u64, to: u64) -> Self {
        Self { intervals: if from < to { vec![(from, to)] } else { Vec::new() } }
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The numbers in both sets. Never truncated: the result may have more than [`INTERVALS_MAX`] intervals.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.intervals.iter().peekable(), other.intervals.iter().peekable());
        let mut intervals = Vec::new();
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let (from, to) = (a.0.max(b.0), a.1.min(b.1));
            if from < to {
                intervals.push((from, to));
            }
            if a.1 <= b.1 {
                mine.next();
            } else {
                theirs.next();
            }
        }
        Self { intervals }
    }

    /// The numbers in this set that are not in the other. Never truncated.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let ends = std::iter::once(0).chain(other.intervals.iter().map(|(_, to)| *to));
        let starts = other.intervals.iter().map(|(from, _)| *from).chain(std::iter::once(u64::MAX));
        // The first or last of these may be empty; the intersection drops those.
        self.intersection(&Self { intervals: ends.zip(starts).collect() })
    }

    /// The lowest `most` numbers of the set, or all if there are fewer.
    #[must_use]
    pub fn first(&self, most: u64) -> Self {
        let mut left = most;
        let mut intervals = Vec::new();
        for &(from, to) in &self.intervals {
            let taken = left.min(to - from);
            if taken == 0 {
                break;
            }
            intervals.push((from, from + taken));
            left -= taken;
        }
        Self { intervals }
    }

    /// The intervals in ascending order.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// The number of elements.
    pub fn count(&self) -> u64 {
        self.intervals.iter().map(|(from, to)| to - from).sum()
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u64) -> bool {
        self.position(value).is_some()
    }

    /// Adds `[from, to)`. Returns false and changes nothing if that would need more than [`INTERVALS_MAX`] intervals.
    #[inline]
    pub fn insert(&mut self, from: u64, to: u64) -> bool {
        if from >= to {
            return true;
        }
        // Nearly every call extends the last interval.
        if let Some(last) = self.intervals.last_mut()
            && last.1 == from
        {
            last.1 = to;
            return true;
        }
        self.merge(from, to)
    }

    /// Adds `[from, to)` wherever it belongs.
    fn merge(&mut self, from: u64, to: u64) -> bool {
        let first = self.intervals.partition_point(|i| i.1 < from);
        let after = self.intervals.partition_point(|i| i.0 <= to);
        if first == after {
            if self.intervals.len() >= INTERVALS_MAX {
                return false;
            }
            self.intervals.insert(first, (from, to));
        } else {
            let merged = (from.min(self.intervals[first].0), to.max(self.intervals[after - 1].1));
            self.intervals[first] = merged;
            self.intervals.drain(first + 1..after);
        }
        true
    }

    /// Removes `value`.
    pub fn remove(&mut self, value: u64) -> Removed {
        let Some(at) = self.position(value) else {
            return Removed::Absent;
        };
        let (from, to) = self.intervals[at];
        match (value == from, value + 1 == to) {
            (true, true) => {
                self.intervals.remove(at);
            }
            (true, false) => self.intervals[at].0 = value + 1,
            (false, true) => self.intervals[at].1 = value,
            (false, false) => {
                self.intervals[at].0 = value + 1;
                if self.intervals.len() >= INTERVALS_MAX {
                    return Removed::Truncated;
                }
                self.intervals.insert(at, (from, value));
            }
        }
        Removed::Whole
    }

    fn position(&self, value: u64) -> Option<usize> {
        let at = self.intervals.partition_point(|i| i.1 <= value);
        (self.intervals.get(at)?.0 <= value).then_some(at)
    }
}

/// The result of removing a number from an [`IntervalSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The number was not in the set.
    Absent,
    /// Only the number was removed.
    Whole,
    /// Splitting the interval would have exceeded the limit, so the lower part of it was removed with the number.
    Truncated,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn interval_sets_agree_with_plain_sets() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut set, mut naive) = (IntervalSet::default(), BTreeSet::new());
            for _ in 0..200 {
                let from = random.u64(0..60);
                if random.bool() {
                    let to = from + random.u64(0..8);
                    assert!(set.insert(from, to));
                    naive.extend(from..to);
                } else {
                    let removed = set.remove(from);
                    assert_eq!(removed == Removed::Whole, naive.remove(&from));
                }
                assert_eq!(set.count(), naive.len() as u64);
                let listed: Vec<u64> = set.intervals().iter().flat_map(|(a, b)| *a..*b).collect();
                assert_eq!(listed, naive.iter().copied().collect::<Vec<_>>());
                assert!(set.intervals().windows(2).all(|w| w[0].1 < w[1].0), "touching: {set:?}");
                assert_eq!(set.contains(from), naive.contains(&from));
            }
        }
    }

    #[test]
    fn what_two_sets_share_and_what_only_one_has_is_as_with_plain_sets() {
        for seed in 0..2000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut made = || {
                let (mut set, mut naive) = (IntervalSet::default(), BTreeSet::new());
                for _ in 0..random.usize(0..8) {
                    let from = random.u64(0..40);
                    let to = from + random.u64(0..8);
                    set.insert(from, to);
                    naive.extend(from..to);
                }
                (set, naive)
            };
            let ((a, naive_a), (b, naive_b)) = (made(), made());
            for (set, naive) in [
                (a.intersection(&b), naive_a.intersection(&naive_b).copied().collect::<Vec<_>>()),
                (a.difference(&b), naive_a.difference(&naive_b).copied().collect()),
            ] {
                assert_eq!(set.intervals().iter().flat_map(|(from, to)| *from..*to).collect::<Vec<_>>(), naive);
                assert!(IntervalSet::try_from(Vec::from(set)).is_ok(), "seed {seed}");
            }
            for most in [0, 1, 5, 100] {
                let first = a.first(most);
                let listed: Vec<u64> = first.intervals().iter().flat_map(|(from, to)| *from..*to).collect();
                assert_eq!(listed, naive_a.iter().copied().take(most as usize).collect::<Vec<_>>(), "seed {seed}");
                assert!(IntervalSet::try_from(Vec::from(first)).is_ok(), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_list_that_is_no_set_is_refused() {
        for bad in [vec![(3, 3)], vec![(5, 4)], vec![(0, 2), (2, 3)], vec![(4, 6), (0, 1)], vec![(0, 9), (3, 4)]] {
            assert!(IntervalSet::try_from(bad.clone()).is_err(), "{bad:?}");
        }
        assert!(IntervalSet::try_from(vec![(0, 2), (3, 4)]).is_ok());
    }

    #[test]
    fn a_span_of_nothing_is_the_empty_set() {
        assert_eq!(IntervalSet::span(3, 5).intervals(), [(3, 5)]);
        for (from, to) in [(3, 3), (4, 3)] {
            assert_eq!(IntervalSet::span(from, to), IntervalSet::default(), "{from} to {to}");
        }
    }
}
