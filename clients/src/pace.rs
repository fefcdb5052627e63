//! Decides when the next message is due and which partition takes it.

use std::time::{Duration, Instant};

use crate::settings::LINGER;

/// How long a batch accepts messages after its first one. librdkafka sends it shortly after.
const OPEN: Duration = LINGER.saturating_sub(Duration::from_millis(10));

/// A partition that was blocked for longer than this catches up on no more than this.
const BEHIND: Duration = Duration::from_millis(100);

/// Paces messages evenly at a rate, without a burst after a stall.
#[derive(Debug)]
pub struct Pacer {
    rate: u32,
    origin: Instant,
    sent: u64,
}

impl Pacer {
    /// Starts at `now`. A rate of 0 means no limit.
    pub fn new(rate: u32, now: Instant) -> Self {
        Self { rate, origin: now, sent: 0 }
    }

    /// The number of messages that may be sent now.
    pub fn due(&mut self, now: Instant) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        let rate = u128::from(self.rate);
        let planned = now.duration_since(self.origin).as_nanos() * rate / 1_000_000_000;
        let due = u64::try_from(planned).unwrap_or(u64::MAX).saturating_sub(self.sent);
        if due > u64::from(self.rate) {
            // More than a second behind: do not make up for a long stall.
            *self = Self::new(self.rate, now);
            return 1;
        }
        due
    }

    /// Counts a sent message.
    pub fn sent(&mut self) {
        self.sent += 1;
    }

    /// Time until the next message is due. At higher rates it covers several messages, so that the thread sleeps in
    /// between.
    pub fn wait(&self, now: Instant) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let next = u128::from(self.sent + 1) * 1_000_000_000 / u128::from(self.rate);
        let at = self.origin + Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
        let least = if self.rate > 100 { 10 } else { 1 };
        at.saturating_duration_since(now).clamp(Duration::from_millis(least), Duration::from_millis(50))
    }
}

/// Picks the partition for the next message: among those that accept one, the one that has taken fewest.
///
/// A partition takes one batch at a time, and the next one when all of that batch is settled. More messages would only
/// wait, since one batch per partition is in flight. While messages wait in librdkafka for longer than `linger.ms`, the
/// broker's thread also spins until the response arrives (librdkafka #3692), which takes CPU from brokers that are
/// recovering.
#[derive(Debug)]
pub struct Partitioner {
    batch: u64,
    count: u64,
    rate: u32,
    /// How far a partition may be behind the one that is ahead.
    behind: u64,
    ahead: u64,
    partitions: Vec<PartitionLoad>,
}

/// The messages that one partition has taken.
#[derive(Clone, Copy, Debug)]
struct PartitionLoad {
    taken: u64,
    /// Like `taken`, plus what the partition does not catch up on.
    level: u64,
    in_batch: u64,
    closes: Instant,
}

impl Partitioner {
    /// For `count` messages (0: no limit) at `rate` per second (0: no limit), in batches of `batch` messages.
    pub fn new(batch: u32, count: u64, rate: u32) -> Self {
        Self { batch: batch.into(), count, rate, behind: 0, ahead: 0, partitions: Vec::new() }
    }

    /// Changes the number of messages in a batch.
    pub fn set_batch(&mut self, batch: u32) {
        self.batch = batch.into();
    }

    /// The partition that takes the next message, or `None` if all must wait. `in_flight` returns the unsettled
    /// messages of a partition.
    pub fn pick(&mut self, partitions: usize, now: Instant, in_flight: impl Fn(usize) -> u64) -> Option<usize> {
        if self.partitions.len() < partitions {
            self.grow(partitions, now);
        }
        let least = self.ahead.saturating_sub(self.behind);
        let mut next: Option<(u64, usize)> = None;
        let shares = partitions as u64;
        for (at, load) in self.partitions.iter_mut().take(partitions).enumerate() {
            load.level = load.level.max(least);
            let open = in_flight(at) == 0 || load.in_batch < self.batch && now < load.closes;
            // If the number of messages is limited, each partition takes its exact share.
            let owes =
                self.count == 0 || load.taken < self.count / shares + u64::from((at as u64) < self.count % shares);
            if open && owes && next.is_none_or(|(level, _)| load.level < level) {
                next = Some((load.level, at));
            }
        }
        let (_, at) = next?;
        if in_flight(at) == 0 {
            (self.partitions[at].in_batch, self.partitions[at].closes) = (0, now + OPEN);
        }
        Some(at)
    }

    /// Counts a message for the partition that took it.
    pub fn assigned(&mut self, partition: usize) {
        if let Some(load) = self.partitions.get_mut(partition) {
            load.taken += 1;
            load.level += 1;
            load.in_batch += 1;
            self.ahead = self.ahead.max(load.level);
        }
    }

    /// New partitions start level with the others.
    fn grow(&mut self, partitions: usize, now: Instant) {
        self.partitions.resize(partitions, PartitionLoad { taken: 0, level: self.ahead, in_batch: 0, closes: now });
        let each = u128::from(self.rate) * BEHIND.as_millis() / 1000 / partitions as u128;
        let each = if self.rate == 0 { self.batch } else { u64::try_from(each).unwrap_or(u64::MAX) };
        self.behind = each.clamp(1, self.batch.max(1));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_pace_is_even_and_does_not_catch_up_after_a_long_stall() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pacer = Pacer::new(1000, start);
        let mut sent = 0;
        for ms in (0..=2000).step_by(10) {
            let due = pacer.due(at(ms));
            assert!(due <= 10, "{due} at {ms}");
            (0..due).for_each(|_| pacer.sent());
            sent += due;
        }
        assert_eq!(sent, 2000);
        assert_eq!(pacer.due(at(2900)), 900);
        assert_eq!(pacer.due(at(60_000)), 1, "a stall of a minute is not made up for");
        assert!(pacer.due(at(60_010)) <= 11);
    }

    #[test]
    fn slow_rates_wait_for_their_moment_and_no_rate_never_waits() {
        let start = Instant::now();
        let mut slow = Pacer::new(2, start);
        assert_eq!(slow.due(start + Duration::from_millis(499)), 0);
        assert_eq!(slow.due(start + Duration::from_millis(500)), 1);
        assert_eq!(slow.wait(start), Duration::from_millis(50), "waits are short, so that a signal is seen");
        let mut unlimited = Pacer::new(0, start);
        assert_eq!((unlimited.due(start), unlimited.wait(start)), (u64::MAX, Duration::ZERO));
    }

    /// Takes as many messages as possible at `now`, and returns the messages in flight per partition.
    fn fill(partitioner: &mut Partitioner, now: Instant, mut in_flight: Vec<u64>) -> Vec<u64> {
        while let Some(at) = partitioner.pick(in_flight.len(), now, |p| in_flight[p]) {
            partitioner.assigned(at);
            in_flight[at] += 1;
        }
        in_flight
    }

    #[test]
    fn a_partition_takes_one_batch_and_the_next_when_that_is_settled() {
        let start = Instant::now();
        let mut partitioner = Partitioner::new(5, 0, 0);
        assert_eq!(fill(&mut partitioner, start, vec![0; 3]), [5, 5, 5]);
        assert_eq!(fill(&mut partitioner, start, vec![5, 1, 0]), [5, 1, 5], "one that is settled in part still waits");
        assert_eq!(fill(&mut partitioner, start + OPEN * 9, vec![5, 0, 5]), [5, 5, 5]);
    }

    #[test]
    fn a_batch_is_closed_before_librdkafka_sends_it() {
        let start = Instant::now();
        let mut partitioner = Partitioner::new(100, 0, 1000);
        partitioner.pick(1, start, |_| 0);
        partitioner.assigned(0);
        assert_eq!(partitioner.pick(1, start + OPEN - Duration::from_millis(1), |_| 1), Some(0));
        assert_eq!(partitioner.pick(1, start + OPEN, |_| 1), None);
        assert_eq!(partitioner.pick(1, start + OPEN, |_| 0), Some(0));
        assert!(OPEN < LINGER);
    }

    #[test]
    fn partitions_take_as_many_and_one_that_stood_still_does_not_hold_up_the_others() {
        let start = Instant::now();
        let mut partitioner = Partitioner::new(100, 0, 1000);
        let mut sent = [0; 4];
        let take = |partitioner: &mut Partitioner, partitions: usize, busy: Option<usize>, sent: &mut [u64]| {
            let at = partitioner.pick(partitions, start, |p| if busy == Some(p) { 100 } else { 0 }).unwrap();
            partitioner.assigned(at);
            sent[at] += 1;
        };
        (0..1000).for_each(|_| take(&mut partitioner, 4, None, &mut sent));
        assert_eq!(sent, [250; 4]);
        partitioner.partitions[2].in_batch = 100;
        (0..900).for_each(|_| take(&mut partitioner, 4, Some(2), &mut sent));
        assert_eq!(sent, [550, 550, 250, 550]);
        (0..100).for_each(|_| take(&mut partitioner, 4, None, &mut sent));
        assert_eq!(sent.iter().sum::<u64>(), 2000);
        assert!((250 + 25..250 + 50).contains(&sent[2]), "made up for a tenth of a second, not for all: {sent:?}");
        let before = sent;
        let mut sent = [sent.to_vec(), vec![0; 4]].concat();
        (0..800).for_each(|_| take(&mut partitioner, 8, None, &mut sent));
        assert!(
            sent[4..].iter().all(|new| (90..=110).contains(new)),
            "new ones begin where the others are: {before:?} {sent:?}"
        );
    }

    #[test]
    fn of_a_limited_number_each_partition_takes_its_part_whichever_waits() {
        let start = Instant::now();
        let mut partitioner = Partitioner::new(1000, 10, 0);
        let mut sent = [0; 4];
        let mut take_all = |partitioner: &mut Partitioner, busy: Option<usize>| {
            while let Some(at) = partitioner.pick(4, start, |p| if busy == Some(p) { 1000 } else { 0 }) {
                partitioner.assigned(at);
                sent[at] += 1;
            }
            sent
        };
        partitioner.pick(4, start, |_| 0);
        partitioner.partitions[1].in_batch = 1000;
        assert_eq!(take_all(&mut partitioner, Some(1)), [3, 0, 2, 2]);
        assert_eq!(take_all(&mut partitioner, None), [3, 3, 2, 2]);
    }
}
