//! What was read from a partition: the sequences of each stream, and what every record is.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::intervals::{IntervalSet, Removed};
use crate::stamp::{self, ProducerId, Reader, RunId, Stamp, Value};

/// Maximum number of leader epochs kept for a partition; the latest are kept.
pub const LEADER_EPOCHS_MAX: usize = 64;

/// Maximum number of streams kept in detail for a partition. Beyond that, the one not seen for longest is folded: its
/// counts remain in the partition's, its details are dropped.
pub const STREAMS_MAX: usize = 1024;

/// Identifies a stream within a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The run.
    pub run: RunId,
    /// The process that sent the stream.
    pub producer: ProducerId,
    /// The producer handle.
    pub epoch: u32,
}

/// A record as a consumer gets it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: i64,
    /// The value; `None` for a null value.
    pub value: Option<&'a [u8]>,
    /// When its producer created it, in ms since the Unix epoch (`CreateTime`). `None` if the broker replaced it by its
    /// own time (`message.timestamp.type=LogAppendTime`) or there is none.
    pub created_ms: Option<i64>,
    /// Whether it has a key. Our records have none.
    pub keyed: bool,
    /// The epoch of the leader that appended its batch (KIP-101); `None` in logs from before that.
    pub leader_epoch: Option<i32>,
}

impl<'a> Record<'a> {
    /// A record with nothing but its offset and value.
    pub fn new(offset: i64, value: Option<&'a [u8]>) -> Self {
        Self { offset, value, ..Self::default() }
    }

    /// Whether someone other than its producer wrote this value again. Our producer gives each record the time of its
    /// stamp and no key. A retry keeps both, so a record that a producer sent twice is not a copy.
    fn is_copy(&self, sent_ms: u64) -> bool {
        self.keyed || self.created_ms.is_some_and(|created| u64::try_from(created) != Ok(sent_ms))
    }
}

/// What arrived from one stream in one partition.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The stream's identity.
    pub key: StreamKey,
    /// Number of distinct sequences that arrived.
    pub received: u64,
    /// The first sequence that arrived; lowered if an earlier one arrives late.
    pub first: u64,
    /// One above the highest sequence that arrived.
    pub next: u64,
    /// Number of sequences below `next` that have not arrived: counted from 0, or from `first` if reading began in the
    /// middle of a log.
    pub missing: u64,
    /// Number of repeated sequences. Once the stream is not exact, this includes missing ones that arrived late: they
    /// cannot be told from repeats, and are a fault as well.
    pub duplicate: u64,
    /// Number of sequences that arrived after a higher one.
    pub out_of_order: u64,
    /// Number of sequences that may have been at offsets that the log's start moved past: not known to be missing.
    pub unread: u64,
    missing_set: IntervalSet,
    unread_set: IntervalSet,
    duplicate_set: IntervalSet,
    inexact: bool,
    from_zero: bool,
    /// Whether the log's start moved since the last arrival.
    interrupted: bool,
    /// The partition's record count when the stream was last seen. The stream with the lowest is folded first.
    touched: u64,
}

/// The effect of one arrival on a stream.
enum Arrival {
    /// New; this many sequences before it are missing.
    New(u64),
    /// New; the sequences before it are unread.
    AfterUnread,
    /// It was missing until now.
    Late,
    /// It was counted as unread until now.
    LateUnread,
    /// Before the first one seen, in a log that was not read from its beginning; this many in between are missing.
    Earlier(u64),
    Duplicate,
}

impl Stream {
    fn new(key: StreamKey, sequence: u64, from_zero: bool) -> Self {
        Self {
            key,
            received: 0,
            first: sequence,
            next: if from_zero { 0 } else { sequence },
            missing: 0,
            duplicate: 0,
            out_of_order: 0,
            unread: 0,
            missing_set: IntervalSet::default(),
            unread_set: IntervalSet::default(),
            duplicate_set: IntervalSet::default(),
            inexact: false,
            from_zero,
            interrupted: false,
            touched: 0,
        }
    }

    /// The missing sequences; incomplete unless [`Stream::exact`].
    pub fn missing_set(&self) -> &IntervalSet {
        &self.missing_set
    }

    /// The unread sequences; incomplete unless [`Stream::exact`].
    pub fn unread_set(&self) -> &IntervalSet {
        &self.unread_set
    }

    /// The sequences that arrived more than once, as evidence; incomplete if a set would have too many intervals.
    pub fn duplicate_set(&self) -> &IntervalSet {
        &self.duplicate_set
    }

    /// Whether the sets contain everything missing or unread. False once a set was full, or if the stream was folded
    /// and came back.
    pub fn exact(&self) -> bool {
        !self.inexact
    }

    fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next {
            let skipped = sequence - self.next;
            let unread = std::mem::take(&mut self.interrupted);
            let (set, count) = match unread {
                true => (&mut self.unread_set, &mut self.unread),
                false => (&mut self.missing_set, &mut self.missing),
            };
            self.inexact |= !set.insert(self.next, sequence);
            *count += skipped;
            self.next = sequence + 1;
            self.received += 1;
            return if unread { Arrival::AfterUnread } else { Arrival::New(skipped) };
        }
        let removed = self.missing_set.remove(sequence);
        if removed != Removed::Absent {
            self.inexact |= removed == Removed::Truncated;
            self.missing -= 1;
            self.received += 1;
            self.out_of_order += 1;
            self.first = self.first.min(sequence);
            return Arrival::Late;
        }
        let removed = self.unread_set.remove(sequence);
        if removed != Removed::Absent {
            self.inexact |= removed == Removed::Truncated;
            self.unread -= 1;
            self.received += 1;
            self.out_of_order += 1;
            return Arrival::LateUnread;
        }
        if !self.from_zero && sequence < self.first {
            let skipped = self.first - sequence - 1;
            self.inexact |= !self.missing_set.insert(sequence + 1, self.first);
            self.missing += skipped;
            self.first = sequence;
            self.received += 1;
            self.out_of_order += 1;
            return Arrival::Earlier(skipped);
        }
        self.duplicate += 1;
        // Evidence only: the count is right without it.
        let _ = self.duplicate_set.insert(sequence, sequence + 1);
        Arrival::Duplicate
    }
}

/// The number of records of each kind in a partition.
///
/// `records = received + duplicate + corrupt + misrouted + copied + other_runs + foreign`, and `records + offset_gaps =
/// next - start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records at offsets in `[start, next)`, each offset once.
    pub records: u64,
    /// Distinct sequences of the judged runs.
    pub received: u64,
    /// Sequences of the judged runs that have not arrived.
    pub missing: u64,
    /// Sequences that arrived again at another offset.
    pub duplicate: u64,
    /// Arrived after a higher sequence.
    pub out_of_order: u64,
    /// Ours, but damaged.
    pub corrupt: u64,
    /// Ours, but in the wrong partition.
    pub misrouted: u64,
    /// Values of ours that someone else wrote again: with a key, or at a time other than their stamp's.
    pub copied: u64,
    /// Ours, of a run that is not judged.
    pub other_runs: u64,
    /// Not ours.
    pub foreign: u64,
    /// Offsets that were read again.
    pub redelivered: u64,
    /// Offsets in `[start, next)` without a record: removed by retention or compaction, or taken by transaction
    /// markers.
    pub offset_gaps: u64,
    /// Those of them that were below the log's start when they were due: retention, or DeleteRecords.
    pub retired: u64,
}

impl Counts {
    /// Adds another partition's counts.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.received += other.received;
        self.missing = self.missing.saturating_add(other.missing);
        self.duplicate += other.duplicate;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.misrouted += other.misrouted;
        self.copied += other.copied;
        self.other_runs += other.other_runs;
        self.foreign += other.foreign;
        self.redelivered += other.redelivered;
        self.offset_gaps = self.offset_gaps.saturating_add(other.offset_gaps);
        self.retired = self.retired.saturating_add(other.retired);
    }
}

/// What the offsets without a record are, according to the brokers' batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Transaction markers (commit or abort).
    pub markers: u64,
    /// Removed by compaction, according to the batches around them.
    pub compacted: u64,
    /// Records that are in the log but were not delivered.
    pub hidden: u64,
    /// Unknown, because no broker returned the batch.
    pub unknown: u64,
}

/// The account of one partition.
#[derive(Clone, Debug)]
pub struct PartitionLedger {
    /// The partition.
    pub partition: i32,
    /// The offset at which reading began.
    pub start: i64,
    /// The next offset to read.
    pub next: i64,
    /// Whether the log's start moved past unread offsets, so that retention removed records before they were read.
    pub start_moved: bool,
    /// Number of streams folded into the counts.
    pub folded_streams: u64,
    /// How often reading started over because the log ended below what had been read: the topic was recreated or the
    /// log truncated.
    pub log_restarts: u64,
    /// How often reading started over because the leader's epoch history shows that the log was truncated below what
    /// had been read (KIP-320), wherever it ended by then.
    pub log_truncations: u64,
    /// What the offsets without a record are, if that was determined.
    pub explained: Option<Explained>,
    gaps: IntervalSet,
    gaps_inexact: bool,
    leader_epochs: Vec<(i32, i64)>,
    reader: Reader,
    counts: Counts,
    judged: Option<RunId>,
    from_zero: bool,
    streams: Vec<Stream>,
    index: HashMap<StreamKey, usize>,
    /// The stream of the last value, if it was accounted for.
    latest: Option<usize>,
}

impl PartitionLedger {
    /// An empty ledger for reading from offset `start`. With `judged`, only that run's records are accounted for, and
    /// others are just counted.
    ///
    /// Sequences are expected from 0 if a run is judged or the log is read from offset 0. Otherwise a stream is assumed
    /// to begin with its first record seen, since earlier ones may be below `start`.
    pub fn new(partition: i32, start: i64, judged: Option<RunId>) -> Self {
        Self {
            partition,
            start,
            next: start,
            start_moved: false,
            folded_streams: 0,
            log_restarts: 0,
            log_truncations: 0,
            explained: None,
            gaps: IntervalSet::default(),
            gaps_inexact: false,
            leader_epochs: Vec::new(),
            reader: Reader::default(),
            counts: Counts::default(),
            judged,
            from_zero: judged.is_some() || start == 0,
            streams: Vec::new(),
            index: HashMap::new(),
            latest: None,
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The streams kept in detail.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The offsets in `[start, next)` without a record, except those below the log's start. `None` if they exceed a
    /// set's limit.
    pub fn gaps(&self) -> Option<&IntervalSet> {
        (!self.gaps_inexact).then_some(&self.gaps)
    }

    /// Each leader epoch under which records were appended, with the first offset read of it, ordered by offset; the
    /// last [`LEADER_EPOCHS_MAX`].
    pub fn leader_epochs(&self) -> &[(i32, i64)] {
        &self.leader_epochs
    }

    /// Accounts for a record. An offset below `next` only counts as redelivered.
    pub fn record(&mut self, record: Record<'_>) {
        let Record { offset, value, .. } = record;
        if !crate::accounts() {
            return self.unaccounted(offset);
        }
        if offset < self.next {
            self.counts.redelivered += 1;
            return;
        }
        self.reached(offset);
        self.next = offset.saturating_add(1);
        self.counts.records += 1;
        if let Some(epoch) = record.leader_epoch
            && self.leader_epochs.last().is_none_or(|(last, _)| *last != epoch)
        {
            if self.leader_epochs.len() >= LEADER_EPOCHS_MAX {
                self.leader_epochs.remove(0);
            }
            self.leader_epochs.push((epoch, offset));
        }
        if let Some(at) = self.latest
            && let Some(stamp) = self.reader.follow(value)
        {
            if record.is_copy(stamp.sent_ms) {
                self.latest = None;
                self.counts.copied += 1;
                return;
            }
            let sequence = stamp.sequence;
            return self.arrive(at, sequence);
        }
        self.latest = None;
        match self.reader.read(value) {
            Value::Foreign => self.counts.foreign += 1,
            // Cut or changed by someone who wrote it again. A record damaged in the log keeps the time of its batch.
            Value::Corrupt if stamp::sent_ms_of(value).is_some_and(|sent_ms| record.is_copy(sent_ms)) => {
                self.counts.copied += 1;
            }
            Value::Corrupt => self.counts.corrupt += 1,
            Value::Stamped(stamp) if self.judged.is_some_and(|run| run != stamp.run) => self.counts.other_runs += 1,
            Value::Stamped(stamp) if record.is_copy(stamp.sent_ms) => self.counts.copied += 1,
            Value::Stamped(stamp) if i64::from(stamp.partition) != i64::from(self.partition) => {
                self.counts.misrouted += 1
            }
            Value::Stamped(stamp) => {
                let at = self.stream_of(&stamp);
                self.latest = Some(at);
                self.arrive(at, stamp.sequence);
            }
        }
    }

    /// [`PartitionLedger::record`] without accounting, for the benchmark of its cost.
    fn unaccounted(&mut self, offset: i64) {
        self.next = offset.saturating_add(1);
        self.counts.records += 1;
    }

    /// Reading reached `offset` without a record at the offsets before it, so they hold none.
    pub fn reached(&mut self, offset: i64) {
        if offset <= self.next {
            return;
        }
        self.counts.offset_gaps = self.counts.offset_gaps.saturating_add(offset.abs_diff(self.next));
        // Offsets are never negative.
        self.gaps_inexact |= !self.gaps.insert(self.next.unsigned_abs(), offset.unsigned_abs());
        self.next = offset;
    }

    /// The log now starts at `low`, above the next offset to read, so everything in between is gone. The sequences that
    /// a stream skips next may have been there, so they are unread, not missing.
    pub fn start_moved_to(&mut self, low: i64) {
        if low > self.next {
            self.start_moved = true;
            let gone = low.abs_diff(self.next);
            self.counts.offset_gaps = self.counts.offset_gaps.saturating_add(gone);
            self.counts.retired = self.counts.retired.saturating_add(gone);
            self.next = low;
            self.streams.iter_mut().for_each(|stream| stream.interrupted = true);
        }
    }

    /// The log ends below what was read, so it is a different log. Reading starts over at `low`, and so does the
    /// account: the old counts describe a log that no longer exists.
    pub fn log_restarted_at(&mut self, low: i64) {
        self.log_restarts += 1;
        self.begin_anew(low);
    }

    /// The log was truncated below what was read, and may have grown past that since. Reading and the account start
    /// over, at `low` or at the original start, whichever is higher.
    pub fn log_truncated(&mut self, low: i64) {
        self.log_truncations += 1;
        self.begin_anew(low.max(self.start));
    }

    fn begin_anew(&mut self, start: i64) {
        let fresh = Self::new(self.partition, start, self.judged);
        let (log_restarts, log_truncations) = (self.log_restarts, self.log_truncations);
        *self = Self { log_restarts, log_truncations, ..fresh };
    }

    /// Sums over streams saturate: anyone who can write to the topic can skip 10^15 sequences per record.
    fn arrive(&mut self, at: usize, sequence: u64) {
        let stream = &mut self.streams[at];
        stream.touched = self.counts.records;
        match stream.arrive(sequence) {
            Arrival::New(skipped) => {
                self.counts.received += 1;
                self.counts.missing = self.counts.missing.saturating_add(skipped);
            }
            Arrival::AfterUnread => self.counts.received += 1,
            Arrival::Late => {
                self.counts.received += 1;
                self.counts.missing = self.counts.missing.saturating_sub(1);
                self.counts.out_of_order += 1;
            }
            Arrival::LateUnread => {
                self.counts.received += 1;
                self.counts.out_of_order += 1;
            }
            Arrival::Earlier(skipped) => {
                self.counts.received += 1;
                self.counts.missing = self.counts.missing.saturating_add(skipped);
                self.counts.out_of_order += 1;
            }
            Arrival::Duplicate => self.counts.duplicate += 1,
        }
    }

    /// The index of a record's stream. Adds the stream if it is new.
    fn stream_of(&mut self, stamp: &Stamp) -> usize {
        let key = StreamKey { run: stamp.run, producer: stamp.producer, epoch: stamp.epoch };
        let sequence = stamp.sequence;
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        if self.streams.len() >= STREAMS_MAX
            && let Some(oldest) = (0..self.streams.len()).min_by_key(|at| self.streams[*at].touched)
        {
            self.index.remove(&self.streams[oldest].key);
            self.streams.swap_remove(oldest);
            if let Some(moved) = self.streams.get(oldest) {
                self.index.insert(moved.key, oldest);
            }
            self.folded_streams += 1;
        }
        // A stream that was folded and came back has not lost its beginning.
        let returned = self.folded_streams > 0 && sequence > 0;
        let mut stream = Stream::new(key, sequence, self.from_zero && !returned && !self.start_moved);
        stream.inexact = returned;
        let at = self.streams.len();
        self.streams.push(stream);
        self.index.insert(key, at);
        at
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::intervals::INTERVALS_MAX;
    use crate::stamp::{Encoder, parse};

    fn run(name: &str) -> RunId {
        name.parse().unwrap()
    }

    fn value(run_id: &str, producer: u32, epoch: u32, partition: u32, sequence: u64) -> Vec<u8> {
        Encoder::new(run(run_id), ProducerId(producer), epoch, 0).encode(0, partition, sequence, 1).to_vec()
    }

    /// Feeds values to partition 0, at offsets from 0 on.
    fn read(values: &[Vec<u8>]) -> PartitionLedger {
        let mut ledger = PartitionLedger::new(0, 0, None);
        for (offset, value) in values.iter().enumerate() {
            ledger.record(Record::new(offset as i64, Some(value)));
        }
        ledger
    }

    /// Sequences 0 to n-1 of each of three streams, interleaved at random, each in order.
    fn clean(random: &mut fastrand::Rng, n: u64) -> Vec<Vec<u8>> {
        let mut next = [0; 3];
        let mut values = Vec::new();
        while next.iter().any(|s| *s < n) {
            let stream = random.usize(0..3);
            if next[stream] < n {
                values.push(value("r", stream as u32 / 2, stream as u32 % 2, 0, next[stream]));
                next[stream] += 1;
            }
        }
        values
    }

    #[test]
    fn clean_streams_raise_no_alarm() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let values = clean(&mut random, 30);
            let ledger = read(&values);
            let expected = Counts { records: 90, received: 90, ..Counts::default() };
            assert_eq!(*ledger.counts(), expected);
            assert!(ledger.streams().iter().all(|s| s.exact() && s.first == 0 && s.next == 30));
        }
    }

    /// The naive model: remembers everything and counts at the end.
    fn naive(values: &[Vec<u8>]) -> Counts {
        let mut counts = Counts::default();
        let mut seen: BTreeMap<(u32, u32), Vec<u64>> = BTreeMap::new();
        for value in values {
            counts.records += 1;
            match parse(Some(value)) {
                Value::Foreign => counts.foreign += 1,
                Value::Corrupt => counts.corrupt += 1,
                Value::Stamped(stamp) if stamp.partition != 0 => counts.misrouted += 1,
                Value::Stamped(stamp) => {
                    let before = seen.entry((stamp.producer.0, stamp.epoch)).or_default();
                    if before.contains(&stamp.sequence) {
                        counts.duplicate += 1;
                    } else {
                        counts.received += 1;
                        if before.iter().any(|s| *s > stamp.sequence) {
                            counts.out_of_order += 1;
                        }
                    }
                    before.push(stamp.sequence);
                }
            }
        }
        for sequences in seen.values() {
            let highest = *sequences.iter().max().unwrap();
            counts.missing += highest + 1 - sequences.iter().collect::<BTreeSet<_>>().len() as u64;
        }
        counts
    }

    #[test]
    fn any_mess_is_counted_as_the_naive_model_counts_it() {
        for seed in 0..2000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut values = clean(&mut random, 12);
            for _ in 0..random.usize(0..12) {
                let (a, b) = (random.usize(0..values.len()), random.usize(0..values.len()));
                match random.u8(0..5) {
                    0 => drop(values.remove(a)),
                    1 => values.insert(a, values[b].clone()),
                    2 => values.swap(a, b),
                    3 => values[a][b % 20] ^= 1 << random.u8(0..7),
                    _ => values[a] = value("r", 0, 0, 1, b as u64),
                }
            }
            let ledger = read(&values);
            assert_eq!(*ledger.counts(), naive(&values), "seed {seed}");
            let streams: u64 = ledger.streams().iter().map(|s| s.missing).sum();
            assert_eq!(streams, ledger.counts().missing, "seed {seed}");
            let (mut duplicate, mut out_of_order) = (0, 0);
            for stream in ledger.streams() {
                duplicate += stream.duplicate;
                out_of_order += stream.out_of_order;
                assert_eq!(stream.duplicate > 0, !stream.duplicate_set().is_empty(), "seed {seed}");
            }
            assert_eq!(
                (duplicate, out_of_order),
                (ledger.counts().duplicate, ledger.counts().out_of_order),
                "seed {seed}"
            );
            assert!(ledger.streams().iter().all(|s| s.missing == s.missing_set().count()));
        }
    }

    #[test]
    fn every_single_fault_is_named_wherever_it_strikes() {
        let n = 20;
        let clean: Vec<_> = (0..n).map(|s| value("r", 1, 0, 0, s)).collect();
        for at in 0..n as usize {
            let mut dropped = clean.clone();
            dropped.remove(at);
            // Nothing follows the last one, so only the producer's counts can reveal its loss.
            let missing = u64::from(at + 1 < n as usize);
            assert_eq!(read(&dropped).counts().missing, missing, "dropped {at}");
            assert_eq!(read(&dropped).counts().received, n - 1);

            for copy_at in at + 1..=n as usize {
                let mut doubled = clean.clone();
                doubled.insert(copy_at, clean[at].clone());
                let counts = *read(&doubled).counts();
                assert_eq!(
                    (counts.duplicate, counts.missing, counts.out_of_order),
                    (1, 0, 0),
                    "doubled {at} at {copy_at}"
                );
            }

            let mut bent = clean.clone();
            bent[at][20] ^= 1;
            assert_eq!((read(&bent).counts().corrupt, read(&bent).counts().missing), (1, missing), "bent {at}");

            let mut strayed = clean.clone();
            strayed[at] = value("r", 1, 0, 3, at as u64);
            assert_eq!(read(&strayed).counts().misrouted, 1, "strayed {at}");

            if at + 1 < n as usize {
                let mut swapped = clean.clone();
                swapped.swap(at, at + 1);
                let counts = *read(&swapped).counts();
                assert_eq!((counts.out_of_order, counts.missing, counts.duplicate), (1, 0, 0), "swapped {at}");
            }
        }
    }

    #[test]
    fn an_offset_read_again_is_redelivered_and_not_a_duplicate() {
        let mut ledger = PartitionLedger::new(0, 0, None);
        for offset in [0, 1, 2, 1, 2, 3] {
            ledger.record(Record::new(offset, Some(&value("r", 1, 0, 0, offset as u64))));
        }
        let expected = Counts { records: 4, received: 4, redelivered: 2, ..Counts::default() };
        assert_eq!(*ledger.counts(), expected);
    }

    #[test]
    fn offsets_without_a_record_are_gaps_and_the_sum_holds() {
        let mut ledger = PartitionLedger::new(0, 5, None);
        ledger.record(Record::new(7, Some(b"typed")));
        ledger.reached(10);
        ledger.reached(9);
        assert_eq!((ledger.counts().records, ledger.counts().offset_gaps, ledger.next), (1, 4, 10));
        for low in [8, 10] {
            ledger.start_moved_to(low);
            assert!(!ledger.start_moved, "what was read before it went is not lost");
        }
        ledger.start_moved_to(20);
        assert!(ledger.start_moved);
        assert_eq!(ledger.counts().records + ledger.counts().offset_gaps, ledger.next.abs_diff(ledger.start));
    }

    #[test]
    fn only_the_judged_run_is_accounted_for_and_from_its_first_sequence_on() {
        let mut ledger = PartitionLedger::new(0, 100, Some(run("mine")));
        ledger.record(Record::new(100, Some(&value("other", 1, 0, 0, 9))));
        ledger.record(Record::new(101, Some(&value("mine", 1, 0, 0, 2))));
        let counts = *ledger.counts();
        assert_eq!((counts.other_runs, counts.received, counts.missing), (1, 1, 2));
        assert_eq!(ledger.streams()[0].missing_set().intervals(), [(0, 2)]);
    }

    #[test]
    fn a_log_read_from_its_middle_does_not_miss_what_lies_before() {
        let mut ledger = PartitionLedger::new(0, 100, None);
        for (offset, sequence) in [(100, 50), (101, 51), (102, 48), (103, 53)] {
            ledger.record(Record::new(offset, Some(&value("r", 1, 0, 0, sequence))));
        }
        let counts = *ledger.counts();
        assert_eq!((counts.received, counts.missing, counts.out_of_order, counts.duplicate), (4, 2, 1, 0));
        assert_eq!(ledger.streams()[0].first, 48);
    }

    #[test]
    fn whatever_is_read_from_the_middle_of_a_log_is_counted_as_the_naive_model_counts_it() {
        let (mut duplicates, mut earlier) = (0, 0);
        for seed in 0..3000 {
            let mut random = fastrand::Rng::with_seed(seed);
            // Sequences of one stream from its middle on: skipped, repeated, swapped.
            let mut sequences: Vec<u64> = (50..50 + random.u64(2..14)).collect();
            for _ in 0..random.usize(0..6) {
                let (a, b) = (random.usize(0..sequences.len()), random.usize(0..sequences.len()));
                match random.u8(0..3) {
                    0 if sequences.len() > 1 => drop(sequences.remove(a)),
                    1 => sequences.insert(a, sequences[b]),
                    _ => sequences.swap(a, b),
                }
            }
            let mut ledger = PartitionLedger::new(0, 100, None);
            for (at, sequence) in sequences.iter().enumerate() {
                ledger.record(Record::new(100 + at as i64, Some(&value("r", 1, 0, 0, *sequence))));
            }
            let distinct: BTreeSet<u64> = sequences.iter().copied().collect();
            let (first, highest) = (*distinct.first().unwrap(), *distinct.last().unwrap());
            let absent: Vec<u64> = (first..highest).filter(|s| !distinct.contains(s)).collect();
            let twice: BTreeSet<u64> = (1..sequences.len())
                .filter(|at| sequences[..*at].contains(&sequences[*at]))
                .map(|at| sequences[at])
                .collect();
            let late = |at: &usize| {
                !sequences[..*at].contains(&sequences[*at]) && sequences[..*at].iter().any(|s| *s > sequences[*at])
            };
            let out_of_order = (0..sequences.len()).filter(late).count() as u64;
            let stream = &ledger.streams()[0];
            let listed = |set: &IntervalSet| set.intervals().iter().flat_map(|(a, b)| *a..*b).collect::<Vec<_>>();
            assert_eq!(listed(stream.missing_set()), absent, "seed {seed}: {sequences:?}");
            assert_eq!(listed(stream.duplicate_set()), twice.iter().copied().collect::<Vec<_>>(), "{sequences:?}");
            assert_eq!((stream.first, stream.next), (first, highest + 1), "{sequences:?}");
            let duplicate = (sequences.len() - distinct.len()) as u64;
            let counts = [stream.received, stream.missing, stream.duplicate, stream.out_of_order, stream.unread];
            let expected = [distinct.len() as u64, absent.len() as u64, duplicate, out_of_order, 0];
            assert_eq!(counts, expected, "seed {seed}: {sequences:?}");
            let total = *ledger.counts();
            assert_eq!(
                [total.received, total.missing, total.duplicate, total.out_of_order, 0],
                expected,
                "seed {seed}"
            );
            assert!(stream.exact());
            duplicates += duplicate;
            earlier += u64::from(first < sequences[0]);
        }
        assert!(duplicates > 1000 && earlier > 500, "too tame: {duplicates} {earlier}");
    }

    #[test]
    fn what_retention_took_is_unread_and_not_missing() {
        let mut ledger = PartitionLedger::new(0, 0, Some(run("r")));
        for sequence in [0, 1, 3] {
            ledger.record(Record::new(ledger.next, Some(&value("r", 1, 0, 0, sequence))));
        }
        // Offsets 3 to 9 are removed, with their records.
        ledger.start_moved_to(10);
        for sequence in [8, 9, 11, 6] {
            ledger.record(Record::new(ledger.next, Some(&value("r", 1, 0, 0, sequence))));
        }
        ledger.record(Record::new(ledger.next, Some(&value("r", 2, 0, 0, 40))));
        let stream = &ledger.streams()[0];
        assert_eq!(stream.missing_set().intervals(), [(2, 3), (10, 11)]);
        assert_eq!(stream.unread_set().intervals(), [(4, 6), (7, 8)]);
        assert_eq!((stream.missing, stream.unread, stream.received, stream.out_of_order), (2, 3, 7, 1));
        assert!(stream.exact());
        let other = &ledger.streams()[1];
        assert_eq!((other.first, other.missing, other.unread), (40, 0, 0), "its beginning may have lain there too");
        let expected = Counts {
            records: 8,
            received: 8,
            missing: 2,
            out_of_order: 1,
            retired: 7,
            offset_gaps: 7,
            ..Counts::default()
        };
        assert_eq!(*ledger.counts(), expected);
        assert!(ledger.gaps().unwrap().is_empty(), "what is below the start needs no explanation");
    }

    #[test]
    fn a_log_that_was_cut_back_is_counted_anew() {
        let read = |ledger: &mut PartitionLedger, sequences: std::ops::Range<u64>| {
            for sequence in sequences {
                ledger.record(Record::new(ledger.next, Some(&value("r", 1, 0, 0, sequence))));
            }
        };
        let mut ledger = PartitionLedger::new(0, 5, Some(run("r")));
        read(&mut ledger, 0..10);
        // Truncated to sequence 8 and read again from the start of reading: nothing counts twice.
        ledger.log_truncated(0);
        assert_eq!((ledger.start, ledger.next, ledger.log_truncations, ledger.log_restarts), (5, 5, 1, 0));
        read(&mut ledger, 0..8);
        let counts = Counts { records: 8, received: 8, ..Counts::default() };
        assert_eq!((*ledger.counts(), ledger.streams().len(), ledger.streams()[0].next), (counts, 1, 8));
        // A recreated topic: what was read of the old one is in no count.
        ledger.log_restarted_at(0);
        assert_eq!((ledger.start, ledger.next, ledger.log_truncations, ledger.log_restarts), (0, 0, 1, 1));
        assert_eq!((*ledger.counts(), ledger.streams().len()), (Counts::default(), 0));
        // Retention moved past the start of reading.
        ledger.log_truncated(7);
        assert_eq!((ledger.start, ledger.next, ledger.log_truncations), (7, 7, 2));
    }

    #[test]
    fn a_value_of_ours_that_somebody_wrote_again_is_a_copy() {
        let encoded =
            |sequence, sent_ms| Encoder::new(run("r"), ProducerId(1), 0, 0).encode(0, 0, sequence, sent_ms).to_vec();
        let (first, second, third) = (encoded(0, 1_000), encoded(1, 1_000), encoded(2, 2_000));
        let mut bent = second.clone();
        bent[2] ^= 1;
        let at = |created_ms, keyed| Record { created_ms: Some(created_ms), keyed, ..Record::default() };
        let log: [(&[u8], Record<'_>); 9] = [
            (&first, at(1_000, false)),
            // Written again a second later, with a key, or cut: none of these is ours.
            (&first, at(2_000, false)),
            (&first, at(1_000, true)),
            (&second, at(2_000, false)),
            (&bent, at(2_000, false)),
            (&second, at(1_000, false)),
            // A retry keeps the time of the first attempt, so it counts as a duplicate.
            (&second, at(1_000, false)),
            (&bent, at(1_000, false)),
            (&third, at(2_000, false)),
        ];
        let mut ledger = PartitionLedger::new(0, 0, None);
        for (offset, (value, record)) in (0..).zip(log) {
            ledger.record(Record { offset, value: Some(value), ..record });
        }
        let expected = Counts { records: 9, received: 3, copied: 4, duplicate: 1, corrupt: 1, ..Counts::default() };
        assert_eq!(*ledger.counts(), expected);
        // The next of its stream, which would follow if someone else had not written it.
        let mut ledger = PartitionLedger::new(0, 0, None);
        for (offset, (value, keyed)) in (0..).zip([(&first, false), (&second, true), (&second, true), (&second, false)])
        {
            ledger.record(Record { offset, value: Some(value), ..at(1_000, keyed) });
        }
        let expected = Counts { records: 4, received: 2, copied: 2, ..Counts::default() };
        assert_eq!(*ledger.counts(), expected);
        // If brokers set the time, a copy cannot be recognized.
        let mut ledger = PartitionLedger::new(0, 0, None);
        (0..2).for_each(|offset| ledger.record(Record::new(offset, Some(&first))));
        assert_eq!((ledger.counts().duplicate, ledger.counts().copied), (1, 0));
    }

    #[test]
    fn each_leader_epoch_is_kept_with_its_first_offset_and_only_the_last_of_many() {
        let mut ledger = PartitionLedger::new(0, 7, None);
        for (offset, epoch) in [(7, 3), (8, 3), (9, 5), (9, 6), (10, 5)] {
            ledger.record(Record { leader_epoch: Some(epoch), ..Record::new(offset, None) });
        }
        ledger.record(Record::new(11, None));
        assert_eq!(ledger.leader_epochs(), [(3, 7), (5, 9)]);
        for epoch in 0..100 {
            ledger.record(Record { leader_epoch: Some(epoch), ..Record::new(ledger.next, None) });
        }
        assert_eq!(ledger.leader_epochs().len(), LEADER_EPOCHS_MAX);
        assert_eq!(ledger.leader_epochs().last(), Some(&(99, 111)));
    }

    #[test]
    fn a_stream_with_too_many_holes_says_it_is_inexact_and_stays_small() {
        let mut ledger = PartitionLedger::new(0, 0, None);
        for offset in 0..3 * INTERVALS_MAX as u64 {
            ledger.record(Record::new(offset as i64, Some(&value("r", 1, 0, 0, offset * 2))));
        }
        let stream = &ledger.streams()[0];
        assert!(!stream.exact());
        assert_eq!(stream.missing_set().intervals().len(), INTERVALS_MAX);
        assert_eq!(stream.missing, 3 * INTERVALS_MAX as u64 - 1);
    }

    #[test]
    fn a_late_sequence_that_splits_one_interval_too_many_leaves_the_stream_inexact() {
        for retired in [false, true] {
            for (late, exact) in [(1, true), (2, false)] {
                let mut ledger = PartitionLedger::new(0, 0, None);
                let arrive = |ledger: &mut PartitionLedger, sequence| {
                    ledger.record(Record::new(ledger.next, Some(&value("r", 1, 0, 0, sequence))));
                };
                arrive(&mut ledger, 0);
                // As many gaps as a set can keep, the first of them wide.
                for hole in 0..INTERVALS_MAX as u64 {
                    if retired {
                        ledger.start_moved_to(ledger.next + 1);
                    }
                    arrive(&mut ledger, 4 + hole * 2);
                }
                assert!(ledger.streams()[0].exact());
                arrive(&mut ledger, late);
                assert_eq!(ledger.streams()[0].exact(), exact, "{late}, {retired}");
                assert_eq!(ledger.counts().out_of_order, 1);
            }
        }
    }

    #[test]
    fn an_earlier_sequence_that_leaves_one_hole_too_many_leaves_the_stream_inexact() {
        for (earlier, exact) in [(99, true), (98, false)] {
            let mut ledger = PartitionLedger::new(0, 5, None);
            for hole in 0..=INTERVALS_MAX as u64 {
                ledger.record(Record::new(ledger.next, Some(&value("r", 1, 0, 0, 100 + hole * 2))));
            }
            assert!(ledger.streams()[0].exact());
            ledger.record(Record::new(ledger.next, Some(&value("r", 1, 0, 0, earlier))));
            assert_eq!(ledger.streams()[0].exact(), exact, "{earlier}");
        }
    }

    #[test]
    fn gaps_are_told_as_long_as_they_can_be_kept_apart() {
        let mut ledger = PartitionLedger::new(0, 0, None);
        for gap in 0..INTERVALS_MAX as i64 {
            ledger.record(Record::new(gap * 2 + 1, None));
        }
        assert_eq!(ledger.gaps().map(IntervalSet::count), Some(INTERVALS_MAX as u64));
        ledger.reached(ledger.next + 1);
        assert_eq!(ledger.gaps(), None);
        ledger.reached(ledger.next + 1);
        assert_eq!((ledger.gaps(), ledger.counts().offset_gaps), (None, INTERVALS_MAX as u64 + 2));
    }

    #[test]
    fn streams_beyond_the_limit_are_folded_and_their_counts_stay() {
        let mut ledger = PartitionLedger::new(0, 0, None);
        let n = STREAMS_MAX as u32 + 100;
        for producer in 0..n {
            ledger.record(Record::new(i64::from(producer), Some(&value("r", producer, 0, 0, 0))));
        }
        ledger.record(Record::new(i64::from(n), Some(&value("r", 0, 0, 0, 1))));
        assert_eq!(ledger.streams().len(), STREAMS_MAX);
        assert_eq!(ledger.folded_streams, 101);
        let counts = *ledger.counts();
        assert_eq!((counts.received, counts.missing, counts.duplicate), (u64::from(n) + 1, 0, 0));
        let returned = ledger.streams().iter().find(|s| s.key.producer.0 == 0).unwrap();
        assert!(!returned.exact(), "a stream that came back cannot vouch for its beginning");
        // A stream that is new then begins with its first record.
        ledger.record(Record::new(ledger.next, Some(&value("r", n, 0, 0, 0))));
        ledger.record(Record::new(ledger.next, Some(&value("r", n, 0, 0, 2))));
        let new = ledger.streams().iter().find(|s| s.key.producer.0 == n).unwrap();
        assert_eq!((new.exact(), new.missing_set().intervals()), (true, [(1, 2)].as_slice()));
    }
}
