//! The lines of the producer and the consumer: where they begin, how far they are, when a partition stood still.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::marked::{Line, Schema};
#[cfg(doc)]
use crate::intervals::INTERVALS_MAX;
use crate::intervals::IntervalSet;
use crate::received::{Counts, Explained, PartitionLedger, Stream};
use crate::sent::SendLedger;
use crate::stamp::{ProducerId, RunId};

/// Schema of `clients producer`.
pub const PRODUCER: &str = "kafka-lab.producer/1";
/// Schema of `clients consumer`.
pub const CONSUMER: &str = "kafka-lab.consumer/1";
/// Schema of a [`Gap`].
pub const GAP: &str = "kafka-lab.gap/1";

/// Most intervals of all sets of a line together: some 1.5 MB. One producer handle with all sets of four partitions full stays below.
pub const LINE_INTERVALS_MAX: usize = 65_536;

/// What a line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// The process knows where it works and begins.
    Start,
    /// How far it has got.
    Checkpoint,
    /// Its last word.
    End,
}

/// Why a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The producer sent `--count` messages and every one was settled.
    Count,
    /// The consumer reached every end offset.
    End,
    /// SIGTERM or SIGINT.
    Signal,
    /// Nothing arrived for `--idle-timeout`.
    Idle,
    /// librdkafka gave up for good and no new handle could be made.
    Fatal,
    /// Something else went wrong; a remark on standard error (or in the log file) says what.
    Error,
}

/// First line of a producer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProducerStart {
    /// [`PRODUCER`].
    pub schema: Schema,
    /// [`Event::Start`].
    pub event: Event,
    /// When.
    pub time_ms: u64,
    /// The run id in every stamp.
    pub run: RunId,
    /// This process in every stamp, eight hexadecimal digits.
    pub producer: ProducerId,
    /// The topic.
    pub topic: String,
    /// The bootstrap addresses as given.
    pub brokers: String,
    /// How many partitions the topic had.
    pub partitions: usize,
    /// Messages a second, 0 for no limit.
    pub rate: u32,
    /// Messages to send, 0 for no end.
    pub count: u64,
    /// Bytes of each value, or null for the stamp's own length.
    pub value_size: Option<usize>,
    /// This process.
    pub pid: u32,
}

impl Line for ProducerStart {
    const SCHEMA: &'static str = PRODUCER;
}

/// A producer's `"checkpoint"` (each second) or `"end"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProducerState {
    /// [`PRODUCER`].
    pub schema: Schema,
    /// [`Event::Checkpoint`] or [`Event::End`].
    pub event: Event,
    /// When.
    pub time_ms: u64,
    /// Since the first line.
    pub elapsed_ms: u64,
    /// The run id in every stamp.
    pub run: RunId,
    /// This process in every stamp.
    pub producer: ProducerId,
    /// Why it ended; only in `"end"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Sums over all partitions and epochs.
    pub totals: SendTotals,
    /// Sums over all epochs, by partition.
    pub partitions: Vec<SendPartition>,
    /// Each (epoch, partition), the latest epoch last.
    pub streams: Vec<SendStream>,
    /// How many epochs before those of `streams` are in the sums only.
    pub folded_epochs: u64,
    /// Delivery reports that were not a plain success, by the name of their code.
    pub errors: BTreeMap<String, u64>,
    /// How often librdkafka's queue was found full and the producer waited.
    pub queue_full: u64,
    /// The topic's id when the process began (KIP-516); absent where the brokers did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

impl Line for ProducerState {
    const SCHEMA: &'static str = PRODUCER;
}

impl ProducerState {
    /// Leaves sets out, oldest epochs first, until the line has at most `most` intervals; those streams are no longer `exact`.
    #[must_use]
    pub fn fitted(mut self, most: usize) -> Self {
        let mut room = most;
        for stream in self.streams.iter_mut().rev() {
            let sets = [&stream.acked_ranges, &stream.not_persisted_ranges, &stream.unknown_ranges];
            let size = sets.iter().map(|set| set.intervals().len()).sum();
            match room.checked_sub(size) {
                Some(left) => room = left,
                None => stream.forget_sets(),
            }
        }
        self
    }
}

/// Sums of a producer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendTotals {
    /// Accepted by librdkafka's queue.
    pub sent: u64,
    /// Confirmed by the brokers.
    pub acked: u64,
    /// Certainly not written.
    pub not_persisted: u64,
    /// Written or not, nobody can tell.
    pub unknown: u64,
    /// Not settled yet; 0 in `"end"`.
    pub in_flight: u64,
}

impl SendTotals {
    /// Adds a stream.
    pub fn add(&mut self, ledger: &SendLedger) {
        self.sent += ledger.sent;
        self.acked += ledger.acked;
        self.not_persisted += ledger.not_persisted;
        self.unknown += ledger.unknown;
        self.in_flight += ledger.in_flight();
    }

    /// Adds other sums.
    pub fn add_totals(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.not_persisted += other.not_persisted;
        self.unknown += other.unknown;
        self.in_flight += other.in_flight;
    }
}

/// A producer's sums for one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendPartition {
    /// The partition.
    pub partition: i32,
    /// Accepted by librdkafka's queue.
    pub sent: u64,
    /// Confirmed by the brokers.
    pub acked: u64,
    /// Certainly not written.
    pub not_persisted: u64,
    /// Written or not, nobody can tell.
    pub unknown: u64,
}

/// A producer's stream: one epoch in one partition. Its sequences are `[0, sent)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendStream {
    /// This process.
    pub producer: ProducerId,
    /// Which of its handles.
    pub epoch: u32,
    /// The partition.
    pub partition: i32,
    /// Accepted by librdkafka's queue.
    pub sent: u64,
    /// Confirmed by the brokers.
    pub acked: u64,
    /// Certainly not written.
    pub not_persisted: u64,
    /// Written or not, nobody can tell.
    pub unknown: u64,
    /// The acked sequences.
    pub acked_ranges: IntervalSet,
    /// The sequences certainly not written.
    pub not_persisted_ranges: IntervalSet,
    /// The sequences of which nobody can tell.
    pub unknown_ranges: IntervalSet,
    /// Whether the three sets are whole. False once one of them outgrew [`INTERVALS_MAX`] or did not fit into the line
    /// ([`LINE_INTERVALS_MAX`]); the counts stay right.
    pub exact: bool,
}

impl SendStream {
    fn forget_sets(&mut self) {
        for set in [&mut self.acked_ranges, &mut self.not_persisted_ranges, &mut self.unknown_ranges] {
            *set = IntervalSet::default();
        }
        self.exact = false;
    }

    /// What a line says of a stream.
    pub fn new(producer: ProducerId, epoch: u32, partition: i32, ledger: &SendLedger) -> Self {
        Self {
            producer,
            epoch,
            partition,
            sent: ledger.sent,
            acked: ledger.acked,
            not_persisted: ledger.not_persisted,
            unknown: ledger.unknown,
            acked_ranges: ledger.acked_set().clone(),
            not_persisted_ranges: ledger.not_persisted_set().clone(),
            unknown_ranges: ledger.unknown_set().clone(),
            exact: ledger.exact(),
        }
    }
}

/// First line of a consumer, printed when it knows where it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerStart {
    /// [`CONSUMER`].
    pub schema: Schema,
    /// [`Event::Start`].
    pub event: Event,
    /// When.
    pub time_ms: u64,
    /// The topic.
    pub topic: String,
    /// The run that is judged, or null for all.
    pub run: Option<RunId>,
    /// This process.
    pub pid: u32,
    /// Where it reads.
    pub partitions: Vec<Span>,
}

impl Line for ConsumerStart {
    const SCHEMA: &'static str = CONSUMER;
}

/// Where a consumer reads in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// The offset to stop before, or null for none.
    pub end: Option<i64>,
}

/// A consumer's `"checkpoint"` (each second) or `"end"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerState {
    /// [`CONSUMER`].
    pub schema: Schema,
    /// [`Event::Checkpoint`] or [`Event::End`].
    pub event: Event,
    /// When.
    pub time_ms: u64,
    /// Since the first line.
    pub elapsed_ms: u64,
    /// The run that is judged, or null for all.
    pub run: Option<RunId>,
    /// Why it ended; only in `"end"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Sums over all partitions.
    pub totals: ReceiveTotals,
    /// Each partition read.
    pub partitions: Vec<ReceivePartition>,
    /// Each stream of the judged runs kept in detail (see [`crate::received::STREAMS_MAX`]).
    pub streams: Vec<ReceiveStream>,
    /// The topic's id when the process began (KIP-516); absent where the brokers did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

impl Line for ConsumerState {
    const SCHEMA: &'static str = CONSUMER;
}

impl ConsumerState {
    /// Leaves sets out until the line has at most `most` intervals; those streams are no longer `exact`.
    #[must_use]
    pub fn fitted(mut self, most: usize) -> Self {
        let mut room = most;
        for stream in &mut self.streams {
            match room.checked_sub(stream.missing.intervals().len() + stream.unread.intervals().len()) {
                Some(left) => room = left,
                None => {
                    (stream.missing, stream.unread) = (IntervalSet::default(), IntervalSet::default());
                    stream.exact = false;
                }
            }
            match room.checked_sub(stream.duplicates.intervals().len()) {
                Some(left) => room = left,
                None => stream.duplicates = IntervalSet::default(),
            }
        }
        self
    }
}

/// What records turned out to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveTotals {
    /// Records read, each offset once: `received + duplicate + corrupt + misrouted + copied + other_runs + foreign`.
    pub records: u64,
    /// Distinct sequences of the judged runs.
    pub received: u64,
    /// Sequences below the highest received that have not arrived.
    pub missing: u64,
    /// Further copies at other offsets.
    pub duplicate: u64,
    /// Arrived after a higher sequence.
    pub out_of_order: u64,
    /// Ours, but damaged.
    pub corrupt: u64,
    /// Ours, in a partition its producer did not choose.
    pub misrouted: u64,
    /// Values of ours that somebody else wrote again: with a key, or at another time than their stamp says.
    #[serde(default)]
    pub copied: u64,
    /// Ours, of a run that is not judged.
    pub other_runs: u64,
    /// Not ours.
    pub foreign: u64,
    /// Offsets read again; they count for nothing else.
    pub redelivered: u64,
}

impl From<&Counts> for ReceiveTotals {
    fn from(counts: &Counts) -> Self {
        Self {
            records: counts.records,
            received: counts.received,
            missing: counts.missing,
            duplicate: counts.duplicate,
            out_of_order: counts.out_of_order,
            corrupt: counts.corrupt,
            misrouted: counts.misrouted,
            copied: counts.copied,
            other_runs: counts.other_runs,
            foreign: counts.foreign,
            redelivered: counts.redelivered,
        }
    }
}

/// A consumer's account of one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceivePartition {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// The next offset to read. `records + offset_gaps = next - start`.
    pub next: i64,
    /// The offset to stop before, or null for none.
    pub end: Option<i64>,
    /// The log's first offset: in `"end"` asked of the brokers, in a checkpoint as last heard; null when not known.
    pub low: Option<i64>,
    /// The log's end offset (high watermark), likewise. `high - next` is how far behind the consumer is.
    pub high: Option<i64>,
    /// What its records turned out to be.
    #[serde(flatten)]
    pub counts: ReceiveTotals,
    /// Offsets without a record: gone by retention or compaction, or taken by transaction markers.
    pub offset_gaps: u64,
    /// Of these, how many lay below the log's start when they were to be read.
    #[serde(default)]
    pub retired: u64,
    /// The others, of a consumer with `--end`; null when there are more intervals than a set keeps.
    #[serde(default)]
    pub gap_ranges: Option<IntervalSet>,
    /// What they are; only in the `"end"` of a consumer with `--end` that found any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
    /// The log's start moved above the next offset to read: records were gone before they were read.
    pub start_moved: bool,
    /// Why the partition cannot be read on, by the name of the error; absent while it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
    /// Streams no longer kept in detail; their counts are in this line all the same.
    pub folded_streams: u64,
    /// How often reading and counting began anew because the log ended below what had been read of it: another topic of that name, or cut back.
    pub log_restarts: u64,
    /// How often they began anew because the leader's history of epochs told that the log had been cut back below what had been read (KIP-320).
    #[serde(default)]
    pub log_truncations: u64,
    /// Each leader epoch that records were appended under, with the first offset read of it: `[epoch, offset]`, in order of offsets, the last 64.
    #[serde(default)]
    pub leader_epochs: Vec<(i32, i64)>,
}

impl ReceivePartition {
    /// What a line says of a partition.
    pub fn new(ledger: &PartitionLedger, end: Option<i64>, (low, high): (Option<i64>, Option<i64>)) -> Self {
        Self {
            partition: ledger.partition,
            start: ledger.start,
            next: ledger.next,
            end,
            low,
            high,
            counts: ledger.counts().into(),
            offset_gaps: ledger.counts().offset_gaps,
            retired: ledger.counts().retired,
            gap_ranges: end.and_then(|_| ledger.gaps().cloned()),
            explained: ledger.explained,
            start_moved: ledger.start_moved,
            stuck: None,
            folded_streams: ledger.folded_streams,
            log_restarts: ledger.log_restarts,
            log_truncations: ledger.log_truncations,
            leader_epochs: ledger.leader_epochs().to_vec(),
        }
    }
}

/// A consumer's account of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiveStream {
    /// The run.
    pub run: RunId,
    /// The process that sent it.
    pub producer: ProducerId,
    /// Which of its handles.
    pub epoch: u32,
    /// The partition.
    pub partition: i32,
    /// Distinct sequences that arrived.
    pub received: u64,
    /// The first of them to arrive (or an earlier one that came late).
    pub first: u64,
    /// One above the highest that arrived.
    pub next: u64,
    /// How many below `next` did not arrive: from 0 on with `--run` or when reading began at offset 0, else from `first` on.
    pub missing_count: u64,
    /// They. What arrived is `[first, next)` without them and without `unread`, when `exact`.
    pub missing: IntervalSet,
    /// Sequences that may have lain where the log's start moved past the reader: neither received nor missing.
    #[serde(default)]
    pub unread: IntervalSet,
    /// Copies of sequences that had arrived before; when not `exact`, also those that may have been missing and come late.
    pub duplicate: u64,
    /// The sequences of which there were copies, as evidence.
    pub duplicates: IntervalSet,
    /// Sequences that arrived after a higher one.
    pub out_of_order: u64,
    /// Whether `missing` and `unread` are whole. False when the set outgrew [`INTERVALS_MAX`], did not fit into the line ([`LINE_INTERVALS_MAX`]), or the stream
    /// was folded and came back.
    pub exact: bool,
}

impl ReceiveStream {
    /// What a line says of a stream.
    pub fn new(partition: i32, stream: &Stream) -> Self {
        Self {
            run: stream.key.run,
            producer: stream.key.producer,
            epoch: stream.key.epoch,
            partition,
            received: stream.received,
            first: stream.first,
            next: stream.next,
            missing_count: stream.missing,
            missing: stream.missing_set().clone(),
            unread: stream.unread_set().clone(),
            duplicate: stream.duplicate,
            duplicates: stream.duplicate_set().clone(),
            out_of_order: stream.out_of_order,
            exact: stream.exact(),
        }
    }
}

/// What a message comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Milestone {
    /// The brokers confirmed it to a producer.
    Acked,
    /// A consumer read it.
    Received,
}

/// Says that nothing happened in a partition for a while, once it goes on, or that it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// [`GAP`].
    pub schema: Schema,
    /// What did not happen meanwhile.
    pub what: Milestone,
    /// Where.
    pub partition: u32,
    /// The last one before, in ms since the Unix epoch: `to_ms` less the time that passed, however the clock was set
    /// meanwhile; the same as `to_ms` for the first one of this process.
    pub from_ms: u64,
    /// The first one after.
    pub to_ms: u64,
}

impl Line for Gap {
    const SCHEMA: &'static str = GAP;
}

impl Gap {
    /// How long it was, in ms.
    pub fn length(&self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    /// How much of it lies between two times, in ms.
    pub fn overlap(&self, from_ms: u64, to_ms: u64) -> u64 {
        self.to_ms.min(to_ms).saturating_sub(self.from_ms.max(from_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_has_a_length_and_a_part_between_two_times() {
        let gap = Gap { schema: GAP.into(), what: Milestone::Acked, partition: 0, from_ms: 100, to_ms: 350 };
        assert_eq!(gap.length(), 250);
        for (from_ms, to_ms, part) in [(0, 1000, 250), (150, 200, 50), (300, 900, 50), (0, 120, 20), (400, 500, 0)] {
            assert_eq!(gap.overlap(from_ms, to_ms), part, "{from_ms} to {to_ms}");
        }
    }
}
