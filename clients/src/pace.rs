//! Decides when the next message is due and which partition takes it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::settings::Limits;

/// How long a batch accepts messages after its first one. librdkafka sends it shortly after.
fn open_for(linger: Duration) -> Duration {
    linger * 4 / 5
}

/// A partition that was blocked for longer than this catches up on no more than this.
const BEHIND: Duration = Duration::from_millis(100);

/// A batch that is not settled after this time is stuck: its partition may have no leader.
const STUCK: Duration = Duration::from_secs(1);

/// Paces messages evenly at a rate, without a burst after a stall.
#[derive(Debug)]
pub struct Pacer {
    rate: u32,
    origin: Instant,
    sent: u64,
    linger: Duration,
}

impl Pacer {
    /// Starts at `now`. A rate of 0 means no limit. Batches stay open for up to `linger`.
    pub fn new(rate: u32, now: Instant, linger: Duration) -> Self {
        Self { rate, origin: now, sent: 0, linger }
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
            *self = Self::new(self.rate, now, self.linger);
            return 1;
        }
        due
    }

    /// Whether `due` messages are so many that the pace is not kept.
    pub fn is_behind(&self, due: u64) -> bool {
        due > u64::from(self.rate / 5)
    }

    /// Counts a sent message.
    pub fn sent(&mut self) {
        self.sent += 1;
    }

    /// Time until the next message is due. At higher rates it covers several messages, so that the thread sleeps in
    /// between: for a fifth of the linger, up to 10 ms.
    pub fn wait(&self, now: Instant) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let next = u128::from(self.sent + 1) * 1_000_000_000 / u128::from(self.rate);
        let at = self.origin + Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX));
        let tick = (self.linger / 5).clamp(Duration::from_millis(1), Duration::from_millis(10));
        let least = if self.rate > 100 { tick } else { Duration::from_millis(1) };
        at.saturating_duration_since(now).clamp(least, Duration::from_millis(50))
    }
}

/// How messages are spread over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each message goes to the partition that has taken fewest.
    Evenly,
    /// A partition takes messages until its batch is full. For a producer that is behind its rate.
    InBatches,
}

/// Picks the partition for the next message: among those that accept one, the one that has taken fewest.
///
/// A partition takes one batch at a time, and the next one when all of that batch is settled. More messages would only
/// wait, since one batch per partition is in flight. While messages wait in librdkafka for longer than `linger.ms`, the
/// broker's thread also spins until the response arrives (librdkafka #3692), which takes CPU from brokers that are
/// recovering.
///
/// All partitions share a window of unsettled messages, which bounds memory. Half of what stuck batches leave of it may
/// be in flight, so that partitions without a leader do not hold up the others: as long as they last, batches only
/// become smaller.
///
/// The cost of a message depends on the number of partitions only through the depth of a heap.
#[derive(Debug)]
pub struct Partitioner {
    batch: u64,
    window: u64,
    count: u64,
    rate: u32,
    /// How long a batch accepts messages after its first one.
    open_for: Duration,
    /// How far a partition may be behind the one that is ahead.
    behind: u64,
    ahead: u64,
    partitions: Vec<PartitionLoad>,
    /// The number of partitions in use.
    used: usize,
    /// Those that may accept a message, by level. An entry's level can be too low; it is corrected when it is first.
    open: BinaryHeap<Reverse<(u64, usize)>>,
    /// The partition that took the last message.
    current: usize,
    /// When the latest batches began, and in which partitions, in the order of time.
    begun: VecDeque<(Instant, usize)>,
    /// Messages in stuck batches.
    stuck: u64,
}

/// The messages that one partition has taken.
#[derive(Clone, Copy, Debug)]
struct PartitionLoad {
    taken: u64,
    /// Like `taken`, plus what the partition does not catch up on.
    level: u64,
    in_batch: u64,
    /// Largest size of the current batch.
    batch: u64,
    began: Instant,
    /// The messages in it, if it is stuck.
    stuck: u64,
    /// Whether its batch is closed and not settled. It is not in the heap then.
    closed: bool,
}

/// Whether a partition accepts a message.
enum Accepts {
    Yes,
    /// Not until its batch is settled.
    Closed,
    /// It has all its messages.
    Never,
    /// No partition does until others are settled.
    NoRoom,
}

impl Partitioner {
    /// For `count` messages (0: no limit) at `rate` per second (0: no limit), in batches that librdkafka sends after
    /// `linger`.
    pub fn new(limits: Limits, count: u64, rate: u32, linger: Duration) -> Self {
        let mut new = Self {
            batch: 0,
            window: 0,
            count,
            rate,
            open_for: open_for(linger),
            behind: 0,
            ahead: 0,
            partitions: Vec::new(),
            used: 0,
            open: BinaryHeap::new(),
            current: 0,
            begun: VecDeque::new(),
            stuck: 0,
        };
        new.set_limits(limits);
        new
    }

    /// Changes the limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.batch = limits.batch.max(1).into();
        self.window = u64::from(limits.window).max(self.batch);
    }

    /// The partition that takes the next message, or `None` if all must wait. `unsettled` is the number of unsettled
    /// messages, and `in_flight` returns that of a partition.
    pub fn pick(
        &mut self,
        partitions: usize,
        now: Instant,
        spread: Spread,
        unsettled: u64,
        in_flight: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        if self.used != partitions {
            self.reuse(partitions, now);
        }
        self.find_stuck(now);
        let room = self.room(unsettled);
        if room == 0 {
            return None;
        }
        let current = self.current;
        if spread == Spread::InBatches
            && current < partitions
            && self.partitions[current].in_batch > 0
            && in_flight(current) > 0
            && matches!(self.accepts(current, now, room, 1), Accepts::Yes)
        {
            return Some(current);
        }
        let least = self.ahead.saturating_sub(self.behind);
        while let Some(&Reverse((level, at))) = self.open.peek() {
            let load = &mut self.partitions[at];
            load.level = load.level.max(least);
            if load.level > level {
                let level = load.level;
                if let Some(mut first) = self.open.peek_mut() {
                    *first = Reverse((level, at));
                }
                continue;
            }
            match self.accepts(at, now, room, in_flight(at)) {
                Accepts::Yes => {
                    self.current = at;
                    return Some(at);
                }
                Accepts::NoRoom => return None,
                Accepts::Closed => self.partitions[at].closed = true,
                Accepts::Never => {}
            }
            self.open.pop();
        }
        None
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

    /// Tells that all messages of a partition are settled.
    pub fn settled(&mut self, partition: usize) {
        let Some(load) = self.partitions.get_mut(partition) else { return };
        self.stuck -= std::mem::take(&mut load.stuck);
        load.in_batch = 0;
        if std::mem::take(&mut load.closed) {
            self.open.push(Reverse((load.level, partition)));
        }
    }

    /// Tells that nothing is in flight any more, in whichever partition.
    pub fn restart(&mut self) {
        self.used = 0;
    }

    /// Whether partition `at` accepts a message. Begins a batch if none of its messages is in flight.
    fn accepts(&mut self, at: usize, now: Instant, room: u64, in_flight: u64) -> Accepts {
        let (load, shares, number) = (self.partitions[at], self.used as u64, at as u64);
        // If the number of messages is limited, each partition takes its exact share.
        if self.count > 0 && load.taken >= self.count / shares + u64::from(number < self.count % shares) {
            return Accepts::Never;
        }
        if in_flight > 0 {
            let open = load.in_batch < load.batch && now < load.began + self.open_for;
            return if open { Accepts::Yes } else { Accepts::Closed };
        }
        let batch = self.batch.min(self.window.saturating_sub(self.stuck) / 8).max(1);
        if batch > room {
            return Accepts::NoRoom;
        }
        let load = &mut self.partitions[at];
        (load.in_batch, load.batch, load.began) = (0, batch, now);
        self.begun.push_back((now, at));
        Accepts::Yes
    }

    /// How many messages may be sent now. Something is always in flight, unless all of the window is stuck.
    fn room(&self, unsettled: u64) -> u64 {
        let left = self.window.saturating_sub(self.stuck);
        let limit = left.min((left / 2).max(1));
        limit.saturating_sub(unsettled.saturating_sub(self.stuck))
    }

    /// Counts the messages in batches that are stuck by now.
    fn find_stuck(&mut self, now: Instant) {
        while let Some(&(began, at)) = self.begun.front().filter(|(began, _)| now >= *began + STUCK) {
            self.begun.pop_front();
            let load = &mut self.partitions[at];
            // Not settled since.
            if load.began == began && load.in_batch > 0 && load.stuck == 0 {
                load.stuck = load.in_batch;
                self.stuck += load.stuck;
            }
        }
    }

    /// Uses this many partitions. New ones start level with the others.
    fn reuse(&mut self, partitions: usize, now: Instant) {
        let new =
            PartitionLoad { taken: 0, level: self.ahead, in_batch: 0, batch: 0, began: now, stuck: 0, closed: false };
        if self.partitions.len() < partitions {
            self.partitions.resize(partitions, new);
        }
        self.partitions.iter_mut().for_each(|load| (load.closed, load.stuck) = (false, 0));
        (self.stuck, self.current) = (0, 0);
        self.begun.clear();
        self.open = (0..partitions).map(|at| Reverse((self.partitions[at].level, at))).collect();
        self.used = partitions;
        let each = u128::from(self.rate) * BEHIND.as_millis() / 1000 / partitions.max(1) as u128;
        let each = if self.rate == 0 { self.batch } else { u64::try_from(each).unwrap_or(u64::MAX) };
        self.behind = each.clamp(1, self.batch);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use crate::cli::LINGER_MS;

    const LINGER: Duration = Duration::from_millis(LINGER_MS);
    const OPEN: Duration = Duration::from_millis(40);

    #[test]
    fn the_pace_is_even_and_does_not_catch_up_after_a_long_stall() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pacer = Pacer::new(1000, start, LINGER);
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
        let mut slow = Pacer::new(2, start, LINGER);
        assert_eq!(slow.due(start + Duration::from_millis(499)), 0);
        assert_eq!(slow.due(start + Duration::from_millis(500)), 1);
        assert_eq!(slow.wait(start), Duration::from_millis(50), "waits are short, so that a signal is seen");
        let mut unlimited = Pacer::new(0, start, LINGER);
        assert_eq!((unlimited.due(start), unlimited.wait(start)), (u64::MAX, Duration::ZERO));
    }

    /// Enough for every test that is not about the window.
    const LARGE: u32 = 1_000_000;

    fn partitioner(batch: u32, count: u64, rate: u32) -> Partitioner {
        Partitioner::new(Limits { batch, window: LARGE }, count, rate, LINGER)
    }

    /// Takes as many messages as possible at `now`, and returns the messages in flight per partition.
    fn fill(partitioner: &mut Partitioner, spread: Spread, now: Instant, mut in_flight: Vec<u64>) -> Vec<u64> {
        (0..in_flight.len()).filter(|at| in_flight[*at] == 0).for_each(|at| partitioner.settled(at));
        while let Some(at) = partitioner.pick(in_flight.len(), now, spread, in_flight.iter().sum(), |p| in_flight[p]) {
            partitioner.assigned(at);
            in_flight[at] += 1;
        }
        in_flight
    }

    #[test]
    fn a_partition_takes_one_batch_and_the_next_when_that_is_settled() {
        let start = Instant::now();
        for spread in [Spread::Evenly, Spread::InBatches] {
            let mut partitioner = partitioner(5, 0, 0);
            let mut fill = |now, in_flight| fill(&mut partitioner, spread, now, in_flight);
            assert_eq!(fill(start, vec![0; 3]), [5, 5, 5]);
            assert_eq!(fill(start, vec![5, 1, 0]), [5, 1, 5], "one that is settled in part still waits");
            assert_eq!(fill(start + OPEN * 9, vec![5, 0, 5]), [5, 5, 5]);
        }
    }

    #[test]
    fn a_batch_is_closed_before_librdkafka_sends_it() {
        let start = Instant::now();
        for spread in [Spread::Evenly, Spread::InBatches] {
            let mut partitioner = partitioner(100, 0, 1000);
            partitioner.pick(1, start, spread, 0, |_| 0);
            partitioner.assigned(0);
            let mut pick = |at, in_flight| partitioner.pick(1, at, spread, in_flight, |_| in_flight);
            assert_eq!(pick(start + OPEN - Duration::from_millis(1), 1), Some(0));
            assert_eq!(pick(start + OPEN, 1), None);
            partitioner.settled(0);
            assert_eq!(partitioner.pick(1, start + OPEN, spread, 0, |_| 0), Some(0));
        }
        assert_eq!(open_for(LINGER), OPEN);
    }

    #[test]
    fn partitions_take_as_many_and_one_that_stood_still_does_not_hold_up_the_others() {
        let start = Instant::now();
        let mut partitioner = partitioner(100, 0, 1000);
        let mut sent = [0; 4];
        let take = |partitioner: &mut Partitioner, partitions: usize, busy: Option<usize>, sent: &mut [u64]| {
            let in_flight = |p| if busy == Some(p) { 100 } else { 0 };
            let at = partitioner.pick(partitions, start, Spread::Evenly, 0, in_flight).unwrap();
            partitioner.assigned(at);
            sent[at] += 1;
        };
        (0..1000).for_each(|_| take(&mut partitioner, 4, None, &mut sent));
        assert_eq!(sent, [250; 4]);
        partitioner.partitions[2].in_batch = 100;
        (0..900).for_each(|_| take(&mut partitioner, 4, Some(2), &mut sent));
        assert_eq!(sent, [550, 550, 250, 550]);
        partitioner.settled(2);
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
        for spread in [Spread::Evenly, Spread::InBatches] {
            let mut partitioner = partitioner(1000, 10, 0);
            let mut sent = [0; 4];
            let mut take_all = |partitioner: &mut Partitioner, busy: Option<usize>| {
                let in_flight = |p| if busy == Some(p) { 1000 } else { 0 };
                while let Some(at) = partitioner.pick(4, start, spread, 0, in_flight) {
                    partitioner.assigned(at);
                    sent[at] += 1;
                }
                sent
            };
            partitioner.pick(4, start, spread, 0, |_| 0);
            partitioner.partitions[1].in_batch = 1000;
            assert_eq!(take_all(&mut partitioner, Some(1)), [3, 0, 2, 2]);
            partitioner.settled(1);
            assert_eq!(take_all(&mut partitioner, None), [3, 3, 2, 2]);
        }
    }

    #[test]
    fn one_that_is_behind_fills_one_batch_after_the_other() {
        let start = Instant::now();
        let mut partitioner = partitioner(5, 0, 0);
        let (mut order, mut in_flight) = (Vec::new(), [0; 3]);
        while let Some(at) = partitioner.pick(3, start, Spread::InBatches, in_flight.iter().sum(), |p| in_flight[p]) {
            partitioner.assigned(at);
            in_flight[at] += 1;
            order.push(at);
        }
        assert_eq!(order, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
        let pacer = Pacer::new(1000, start, LINGER);
        assert!(!pacer.is_behind(200) && pacer.is_behind(201));
        assert!(Pacer::new(0, start, LINGER).is_behind(u64::MAX));
    }

    #[test]
    fn partitions_without_a_leader_do_not_hold_up_the_others() {
        let start = Instant::now();
        for spread in [Spread::Evenly, Spread::InBatches] {
            let mut partitioner = Partitioner::new(Limits { batch: 100, window: 1000 }, 0, 0, LINGER);
            let mut in_flight = vec![0; 30];
            let mut sent = Vec::new();
            for ms in 0..15_000 {
                let now = start + Duration::from_millis(ms);
                // Every third has no leader for ten seconds.
                (0..30).filter(|at| at % 3 > 0 || ms > 10_000).for_each(|at| in_flight[at] = 0);
                let filled = fill(&mut partitioner, spread, now, in_flight.clone());
                sent.push(filled.iter().sum::<u64>() - in_flight.iter().sum::<u64>());
                in_flight = filled;
                assert!(in_flight.iter().sum::<u64>() <= 1000);
            }
            let second = |at: usize| sent[at * 1000..][..1000].iter().sum::<u64>();
            assert!((0..10).all(|at| second(at) > 0), "{spread:?} {:?}", (0..15).map(second).collect::<Vec<_>>());
            assert_eq!(second(14), 500 * 1000, "as much as at first: half of the window each time");
        }
    }

    #[test]
    fn the_window_is_never_exceeded_however_many_partitions_there_are() {
        let start = Instant::now();
        for (batch, window, partitions) in [(10, 100, 1000), (1, 15, 1000), (5, 5, 3), (7, 3, 4)] {
            for spread in [Spread::Evenly, Spread::InBatches] {
                let mut partitioner = Partitioner::new(Limits { batch, window }, 0, 0, LINGER);
                let mut in_flight = vec![0; partitions];
                for ms in 0..1000 {
                    in_flight = fill(&mut partitioner, spread, start + Duration::from_millis(ms), in_flight);
                }
                let (sum, most) = (in_flight.iter().sum::<u64>(), u64::from(window.max(batch)));
                assert!((1..=most).contains(&sum), "{batch} {window} {partitions} {spread:?}: {sum}");
            }
        }
    }

    #[test]
    fn after_a_restart_every_partition_takes_messages_again() {
        let start = Instant::now();
        let mut partitioner = partitioner(5, 0, 0);
        assert_eq!(fill(&mut partitioner, Spread::Evenly, start, vec![0; 3]), [5; 3]);
        // Nothing told that they are settled: their handle is gone.
        assert_eq!(partitioner.pick(3, start, Spread::Evenly, 15, |_| 5), None);
        partitioner.restart();
        assert_eq!(fill(&mut partitioner, Spread::Evenly, start, vec![0; 3]), [5; 3]);
    }

    /// The partition that a walk over all of them finds: the first of those with the lowest level.
    fn walk(partitioner: &Partitioner, now: Instant, in_flight: &[u64]) -> Option<usize> {
        let least = partitioner.ahead.saturating_sub(partitioner.behind);
        let open = (0..in_flight.len()).filter(|at| {
            let load = &partitioner.partitions[*at];
            in_flight[*at] == 0 || load.in_batch < load.batch && now < load.began + OPEN
        });
        open.min_by_key(|at| partitioner.partitions[*at].level.max(least))
    }

    #[test]
    fn the_heap_finds_what_a_walk_over_all_partitions_finds() {
        let start = Instant::now();
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let rate = random.u32(1..5000);
            let mut partitioner = partitioner(random.u32(1..20), 0, rate);
            let mut in_flight = vec![0; 1];
            for step in 0..2000 {
                let now = start + Duration::from_millis(step / 3);
                if random.u32(0..200) == 0 {
                    in_flight.push(0);
                    // So that the walk knows the new one.
                    partitioner.reuse(in_flight.len(), now);
                }
                if random.bool() {
                    let at = random.usize(0..in_flight.len());
                    in_flight[at] = random.u64(0..=in_flight[at]);
                    if in_flight[at] == 0 {
                        partitioner.settled(at);
                    }
                }
                let expected = (step > 0).then(|| walk(&partitioner, now, &in_flight));
                let sum = in_flight.iter().sum();
                let found = partitioner.pick(in_flight.len(), now, Spread::Evenly, sum, |p| in_flight[p]);
                assert!(expected.is_none_or(|expected| expected == found), "seed {seed}, step {step}: {expected:?}");
                if let Some(at) = found {
                    partitioner.assigned(at);
                    in_flight[at] += 1;
                }
            }
        }
    }
}
