//! The lines of the producer and the consumer: start, checkpoints, end, and gaps in a partition's progress.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::marked::{Line, SchemaName};
#[cfg(doc)]
use crate::intervals::INTERVALS_MAX;
use crate::intervals::IntervalSet;
use crate::received::{Counts, Explained, PartitionLedger, Stream};
use crate::sent::SendLedger;
use crate::stamp::{ProducerId, RunId};

/// Schema of the lines of `clients producer`.
pub const PRODUCER: &str = "kafka-lab.producer/1";
/// Schema of the lines of `clients consumer`.
pub const CONSUMER: &str = "kafka-lab.consumer/1";
/// Schema of a [`Gap`].
pub const GAP: &str = "kafka-lab.gap/1";

/// Maximum number of intervals in all sets of a line together: some 1.5 MB. A producer handle fits even if all sets of
/// four partitions are full.
pub const LINE_INTERVALS_MAX: usize = 65_536;

/// The kind of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateEvent {
    /// The first line: the process starts its work.
    Start,
    /// Progress so far, printed each second.
    Checkpoint,
    /// The last line.
    End,
}

/// Why a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The producer sent `--count` messages, and all are settled.
    Count,
    /// The consumer reached every end offset.
    End,
    /// SIGTERM or SIGINT.
    Signal,
    /// Nothing arrived for `--idle-timeout`.
    Idle,
    /// librdkafka reported a fatal error, and no new handle could be created.
    Fatal,
    /// Another error; a message on standard error (or in the log file) explains it.
    Error,
}

/// First line of a producer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProducerStart {
    /// [`PRODUCER`].
    pub schema: SchemaName,
    /// [`StateEvent::Start`].
    pub event: StateEvent,
    /// Time of the line.
    pub time_ms: u64,
    /// The run ID in every stamp.
    pub run: RunId,
    /// This process's number in every stamp, eight hexadecimal digits.
    pub producer: ProducerId,
    /// The topic.
    pub topic: String,
    /// The bootstrap addresses, as given.
    pub brokers: String,
    /// Number of partitions at start.
    pub partitions: usize,
    /// Target rate in messages per second; 0 for no limit.
    pub rate: u32,
    /// Messages to send; 0 for no limit.
    pub count: u64,
    /// Size of each value in bytes; null for the stamp's own size.
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
    pub schema: SchemaName,
    /// [`StateEvent::Checkpoint`] or [`StateEvent::End`].
    pub event: StateEvent,
    /// Time of the line.
    pub time_ms: u64,
    /// Time since the first line.
    pub elapsed_ms: u64,
    /// The run ID in every stamp.
    pub run: RunId,
    /// This process's number in every stamp.
    pub producer: ProducerId,
    /// Why the process ended; only in `"end"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Totals of all partitions and epochs.
    pub totals: SendTotals,
    /// Totals of all epochs, by partition.
    pub partitions: Vec<SendPartition>,
    /// The streams, one for each (epoch, partition), latest epoch last.
    pub streams: Vec<SendStream>,
    /// Number of earlier epochs that are only in the totals.
    pub folded_epochs: u64,
    /// Failed deliveries by error name.
    pub errors: BTreeMap<String, u64>,
    /// How often the producer waited because librdkafka's queue was full.
    pub queue_full: u64,
    /// The topic's id at start (KIP-516); absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

impl Line for ProducerState {
    const SCHEMA: &'static str = PRODUCER;
}

impl ProducerState {
    /// Drops sets, oldest epochs first, until the line has at most `most` intervals. Their streams are no longer
    /// `exact`.
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

/// A producer's totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendTotals {
    /// Messages accepted by librdkafka's queue.
    pub sent: u64,
    /// Messages acknowledged by the brokers.
    pub acked: u64,
    /// Messages certainly not written.
    pub not_persisted: u64,
    /// Messages that may or may not have been written.
    pub unknown: u64,
    /// Messages not settled yet; 0 in `"end"`.
    pub in_flight: u64,
}

impl SendTotals {
    /// Adds a stream's counts.
    pub fn add(&mut self, ledger: &SendLedger) {
        self.sent += ledger.sent;
        self.acked += ledger.acked;
        self.not_persisted += ledger.not_persisted;
        self.unknown += ledger.unknown;
        self.in_flight += ledger.in_flight();
    }

    /// Adds other totals.
    pub fn add_totals(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.not_persisted += other.not_persisted;
        self.unknown += other.unknown;
        self.in_flight += other.in_flight;
    }
}

/// A producer's totals for one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendPartition {
    /// The partition.
    pub partition: i32,
    /// Messages accepted by librdkafka's queue.
    pub sent: u64,
    /// Messages acknowledged by the brokers.
    pub acked: u64,
    /// Messages certainly not written.
    pub not_persisted: u64,
    /// Messages that may or may not have been written.
    pub unknown: u64,
}

/// A producer's stream: one epoch in one partition. Its sequences are `[0, sent)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendStream {
    /// This process.
    pub producer: ProducerId,
    /// The producer handle, from 0.
    pub epoch: u32,
    /// The partition.
    pub partition: i32,
    /// Messages accepted by librdkafka's queue.
    pub sent: u64,
    /// Messages acknowledged by the brokers.
    pub acked: u64,
    /// Messages certainly not written.
    pub not_persisted: u64,
    /// Messages that may or may not have been written.
    pub unknown: u64,
    /// The acked sequences.
    pub acked_ranges: IntervalSet,
    /// The sequences certainly not written.
    pub not_persisted_ranges: IntervalSet,
    /// The sequences of unknown outcome.
    pub unknown_ranges: IntervalSet,
    /// Whether the three sets are complete. False once one of them exceeded [`INTERVALS_MAX`] or did not fit into the
    /// line ([`LINE_INTERVALS_MAX`]). The counts stay right.
    pub exact: bool,
}

impl SendStream {
    fn forget_sets(&mut self) {
        for set in [&mut self.acked_ranges, &mut self.not_persisted_ranges, &mut self.unknown_ranges] {
            *set = IntervalSet::default();
        }
        self.exact = false;
    }

    /// Copies a stream's ledger.
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

/// First line of a consumer, printed when it knows where it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerStart {
    /// [`CONSUMER`].
    pub schema: SchemaName,
    /// [`StateEvent::Start`].
    pub event: StateEvent,
    /// Time of the line.
    pub time_ms: u64,
    /// The topic.
    pub topic: String,
    /// The run that is accounted for; null for all.
    pub run: Option<RunId>,
    /// This process.
    pub pid: u32,
    /// What it reads in each partition.
    pub partitions: Vec<Span>,
}

impl Line for ConsumerStart {
    const SCHEMA: &'static str = CONSUMER;
}

/// The offsets that a consumer reads in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// The offset to stop before; null for none.
    pub end: Option<i64>,
}

/// A consumer's `"checkpoint"` (each second) or `"end"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerState {
    /// [`CONSUMER`].
    pub schema: SchemaName,
    /// [`StateEvent::Checkpoint`] or [`StateEvent::End`].
    pub event: StateEvent,
    /// Time of the line.
    pub time_ms: u64,
    /// Time since the first line.
    pub elapsed_ms: u64,
    /// The run that is accounted for; null for all.
    pub run: Option<RunId>,
    /// Why the process ended; only in `"end"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Totals of all partitions.
    pub totals: ReceiveTotals,
    /// The partitions that are read.
    pub partitions: Vec<ReceivePartition>,
    /// The streams of the judged runs that are kept in detail (see [`crate::received::STREAMS_MAX`]).
    pub streams: Vec<ReceiveStream>,
    /// The topic's id at start (KIP-516); absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

impl Line for ConsumerState {
    const SCHEMA: &'static str = CONSUMER;
}

impl ConsumerState {
    /// Drops sets until the line has at most `most` intervals. Their streams are no longer `exact`.
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

/// The number of records of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveTotals {
    /// Records read, each offset once: `received + duplicate + corrupt + misrouted + copied + other_runs + foreign`.
    pub records: u64,
    /// Distinct sequences of the judged runs.
    pub received: u64,
    /// Sequences below the highest received that have not arrived.
    pub missing: u64,
    /// Sequences that arrived again at another offset.
    pub duplicate: u64,
    /// Number of sequences that arrived after a higher one.
    pub out_of_order: u64,
    /// Ours, but damaged.
    pub corrupt: u64,
    /// Ours, in a partition its producer did not choose.
    pub misrouted: u64,
    /// Values of ours that someone else wrote again: with a key, or at a time other than their stamp's.
    #[serde(default)]
    pub copied: u64,
    /// Ours, of a run that is not judged.
    pub other_runs: u64,
    /// Not ours.
    pub foreign: u64,
    /// Offsets that were read again; they count as nothing else.
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
    /// The offset to stop before; null for none.
    pub end: Option<i64>,
    /// The log's first offset, or null if unknown: in `"end"` as queried from the brokers, in a checkpoint as last seen
    /// while fetching.
    pub low: Option<i64>,
    /// The log's end offset (high watermark), likewise. `high - next` is the consumer's lag.
    pub high: Option<i64>,
    /// The number of records of each kind.
    #[serde(flatten)]
    pub counts: ReceiveTotals,
    /// Offsets without a record: removed by retention or compaction, or taken by transaction markers.
    pub offset_gaps: u64,
    /// Those of them that were below the log's start when they were due.
    #[serde(default)]
    pub retired: u64,
    /// The others, for a consumer with `--end`; null if they exceed a set's limit.
    #[serde(default)]
    pub gap_ranges: Option<IntervalSet>,
    /// What they are; only in the `"end"` of a consumer with `--end`, and only if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
    /// Whether the log's start moved past the next offset to read: records were removed before they were read.
    pub start_moved: bool,
    /// Name of the error that keeps the partition from being read; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
    /// Number of streams no longer kept in detail; this line still counts their records.
    pub folded_streams: u64,
    /// How often reading and counting started over because the log ended below what had been read: the topic was
    /// recreated or the log truncated.
    pub log_restarts: u64,
    /// How often they started over because the leader's epoch history shows that the log was truncated below what had
    /// been read (KIP-320).
    #[serde(default)]
    pub log_truncations: u64,
    /// Each leader epoch under which records were appended, with the first offset read of it: `[epoch, offset]`,
    /// ordered by offset, the last 64.
    #[serde(default)]
    pub leader_epochs: Vec<(i32, i64)>,
}

impl ReceivePartition {
    /// Copies a partition's ledger. The last argument is the log's first offset and end offset.
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
    /// The process that sent the stream.
    pub producer: ProducerId,
    /// The producer handle, from 0.
    pub epoch: u32,
    /// The partition.
    pub partition: i32,
    /// Number of distinct sequences that arrived.
    pub received: u64,
    /// The first sequence that arrived, or an earlier one that came late.
    pub first: u64,
    /// One above the highest sequence that arrived.
    pub next: u64,
    /// Number of sequences below `next` that did not arrive: counted from 0 with `--run` or if reading began at offset
    /// 0, otherwise from `first`.
    pub missing_count: u64,
    /// The missing sequences. If `exact`, what arrived is `[first, next)` without these and without `unread`.
    pub missing: IntervalSet,
    /// Sequences that may have been at offsets that the log's start moved past: neither received nor missing.
    #[serde(default)]
    pub unread: IntervalSet,
    /// Number of repeated sequences. If not `exact`, this includes missing ones that may have arrived late.
    pub duplicate: u64,
    /// The repeated sequences, as evidence.
    pub duplicates: IntervalSet,
    /// Number of sequences that arrived after a higher one.
    pub out_of_order: u64,
    /// Whether `missing` and `unread` are complete. False if a set exceeded [`INTERVALS_MAX`] or did not fit into the
    /// line ([`LINE_INTERVALS_MAX`]), or the stream was folded and came back.
    pub exact: bool,
}

impl ReceiveStream {
    /// Copies a stream's ledger.
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

/// Progress of a message that a [`Gap`] is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Milestone {
    /// The brokers acknowledged it to a producer.
    Acked,
    /// A consumer read it.
    Received,
}

/// Reports a time without progress in a partition, once it continues, or its first progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// [`GAP`].
    pub schema: SchemaName,
    /// The kind of progress that stopped.
    pub what: Milestone,
    /// The partition.
    pub partition: u32,
    /// The last progress before the gap: `to_ms` minus the elapsed time, whatever happened to the clock. Equal to
    /// `to_ms` for the first progress of this process.
    pub from_ms: u64,
    /// The first progress after the gap.
    pub to_ms: u64,
}

impl Line for Gap {
    const SCHEMA: &'static str = GAP;
}

impl Gap {
    /// The length of the gap in ms.
    pub fn length(&self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }

    /// How much of the gap is between two times, in ms.
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
