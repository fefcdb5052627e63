//! Detects gaps in a partition's progress: long times between two acknowledgements, or between two received records.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Remembers when each partition last made progress.
#[derive(Debug)]
pub struct GapDetector {
    minimum: Duration,
    last: Mutex<Vec<Option<Instant>>>,
}

impl GapDetector {
    /// Detects gaps of at least `minimum_ms` milliseconds.
    pub fn new(minimum_ms: u64) -> Self {
        Self { minimum: Duration::from_millis(minimum_ms), last: Mutex::default() }
    }

    /// Records progress in `partition`. Returns the time since the last progress in ms, if that is at least the
    /// minimum, or 0 for the first progress. Uses a monotonic clock.
    pub fn record(&self, partition: i32, now: Instant) -> Option<u64> {
        let place = usize::try_from(partition).ok()?;
        let mut last = lock(&self.last);
        if last.len() <= place {
            last.resize(place + 1, None);
        }
        match last[place].replace(now).map(|before| now.saturating_duration_since(before)) {
            None => Some(0),
            Some(gap) => (gap >= self.minimum).then_some(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lies_between_two_of_the_same_partition() {
        let gaps = GapDetector::new(100);
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(gaps.record(1, at(1000)), Some(0), "nothing was before");
        assert_eq!(gaps.record(0, at(5000)), Some(0), "another partition's");
        assert_eq!(gaps.record(1, at(1099)), None, "too short");
        assert_eq!(gaps.record(1, at(1199)), Some(100));
        assert_eq!(gaps.record(-1, at(1300)), None);
    }
}
