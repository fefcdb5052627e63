//! When a partition stood still: the time between two acknowledgements, or two receipts, where it was long, and when the first came.

use std::sync::Mutex;

use serde::Serialize;

use crate::output::lock;

/// Schema of a [`GapLine`].
pub const GAP: &str = "kafka-lab.gap/1";

/// Says that nothing happened in a partition for a while, once it goes on, or that it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapLine {
    /// [`GAP`].
    pub schema: &'static str,
    /// What did not happen meanwhile: `acked` of a producer, `received` of a consumer.
    pub what: &'static str,
    /// Where.
    pub partition: i32,
    /// The last one before, in ms since the Unix epoch; the same as `to_ms` for the first one of this process.
    pub from_ms: u64,
    /// The first one after.
    pub to_ms: u64,
}

/// Remembers when something last happened in each partition.
#[derive(Debug)]
pub struct Gaps {
    least_ms: u64,
    last_ms: Mutex<Vec<u64>>,
}

impl Gaps {
    /// That finds gaps of at least so many ms.
    pub fn of_at_least(least_ms: u64) -> Self {
        Self { least_ms, last_ms: Mutex::default() }
    }

    /// Something happens in `partition` at `now_ms`. Returns the time before that, when it was long ago, and `now_ms` when there was none.
    pub fn note(&self, partition: i32, now_ms: u64) -> Option<u64> {
        let place = usize::try_from(partition).ok()?;
        let mut last = lock(&self.last_ms);
        if last.len() <= place {
            last.resize(place + 1, 0);
        }
        let before = std::mem::replace(&mut last[place], now_ms);
        match before {
            0 => Some(now_ms),
            before => (now_ms.saturating_sub(before) >= self.least_ms).then_some(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lies_between_two_of_the_same_partition() {
        let gaps = Gaps::of_at_least(100);
        assert_eq!(gaps.note(1, 1000), Some(1000), "nothing was before");
        assert_eq!(gaps.note(0, 5000), Some(5000), "another partition's");
        assert_eq!(gaps.note(1, 1099), None, "too short");
        assert_eq!(gaps.note(1, 1199), Some(1099));
        assert_eq!(gaps.note(1, 900), None, "the clock was set back");
        assert_eq!(gaps.note(-1, 900), None);
    }
}
