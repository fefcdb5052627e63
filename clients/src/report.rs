//! The JSON lines: the contract with whoever starts the binary.
//!
//! Each line is one object that begins `{"schema":"kafka-lab.NAME/1",` so that it can be told from other output it was mixed with. Fields are
//! added to a schema without a new number; readers ignore what they do not know. Times are milliseconds: `time_ms` since the Unix epoch,
//! `elapsed_ms` since the process began its work. Intervals are half-open pairs `[from, to)`. Counters never go down, except `missing` and
//! `in_flight`. The words are those of [`crate::ledger`].
//!
//! The last `"checkpoint"` or `"end"` of a producer or a consumer is also in its `--state-file`, in any format; `clients state` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ledger::{Counts, Interval, IntervalSet, PartitionLedger, SendLedger, Stream};
use crate::stamp::{ProducerId, RunId};

/// Schema of `clients producer`.
pub const PRODUCER: &str = "kafka-lab.producer/1";
/// Schema of `clients consumer`.
pub const CONSUMER: &str = "kafka-lab.consumer/1";
/// Schema of `clients metadata`.
pub const METADATA: &str = "kafka-lab.metadata/1";
/// Schema of `clients offsets`.
pub const OFFSETS: &str = "kafka-lab.offsets/1";
/// Schema of `clients probe`.
pub const PROBE: &str = "kafka-lab.probe/1";

/// Most intervals a line shows of one set; the counts beside it are of the whole set.
pub const INTERVALS_SHOWN: usize = 20;

/// The first intervals of a set.
fn shown(set: &IntervalSet) -> Vec<Interval> {
    set.intervals().iter().copied().take(INTERVALS_SHOWN).collect()
}

/// Why a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Serialize)]
pub struct ProducerStart<'a> {
    /// [`PRODUCER`].
    pub schema: &'static str,
    /// `"start"`.
    pub event: &'static str,
    /// When.
    pub time_ms: u64,
    /// The run id in every stamp.
    pub run: RunId,
    /// This process in every stamp, eight hexadecimal digits.
    pub producer: ProducerId,
    /// The topic.
    pub topic: &'a str,
    /// The bootstrap addresses as given.
    pub brokers: &'a str,
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

/// A producer's `"checkpoint"` (each second) or `"end"`.
#[derive(Debug, Serialize)]
pub struct ProducerState {
    /// [`PRODUCER`].
    pub schema: &'static str,
    /// `"checkpoint"` or `"end"`.
    pub event: &'static str,
    /// When.
    pub time_ms: u64,
    /// Since the first line.
    pub elapsed_ms: u64,
    /// Why it ended; only in `"end"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Sums over all partitions and epochs.
    pub totals: SendTotals,
    /// Sums over all epochs, by partition.
    pub partitions: Vec<SendPartition>,
    /// Each (epoch, partition); of more than 64 epochs, the latest.
    pub streams: Vec<SendStream>,
    /// Delivery reports that were not a plain success, by the name of their code.
    pub errors: BTreeMap<String, u64>,
    /// How often librdkafka's queue was found full and the producer waited.
    pub queue_full: u64,
}

/// Sums of a producer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Serialize)]
pub struct SendPartition {
    /// The partition.
    pub partition: usize,
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
#[derive(Debug, Serialize)]
pub struct SendStream {
    /// This process.
    pub producer: ProducerId,
    /// Which of its handles.
    pub epoch: u32,
    /// The partition.
    pub partition: usize,
    /// Accepted by librdkafka's queue.
    pub sent: u64,
    /// Confirmed by the brokers.
    pub acked: u64,
    /// Certainly not written.
    pub not_persisted: u64,
    /// Written or not, nobody can tell.
    pub unknown: u64,
    /// The acked sequences, the first 20 intervals.
    pub acked_ranges: Vec<Interval>,
    /// The sequences certainly not written, the first 20 intervals.
    pub not_persisted_ranges: Vec<Interval>,
    /// The sequences of which nobody can tell, the first 20 intervals.
    pub unknown_ranges: Vec<Interval>,
    /// False once one of the sets outgrew [`crate::ledger::INTERVALS_MAX`]; the counts stay right.
    pub exact: bool,
}

impl SendStream {
    /// What a line says of a stream.
    pub fn new(producer: ProducerId, epoch: u32, partition: usize, ledger: &SendLedger) -> Self {
        Self {
            producer,
            epoch,
            partition,
            sent: ledger.sent,
            acked: ledger.acked,
            not_persisted: ledger.not_persisted,
            unknown: ledger.unknown,
            acked_ranges: shown(ledger.acked_set()),
            not_persisted_ranges: shown(ledger.not_persisted_set()),
            unknown_ranges: shown(ledger.unknown_set()),
            exact: ledger.exact(),
        }
    }
}

/// First line of a consumer, printed when it knows where it begins.
#[derive(Debug, Serialize)]
pub struct ConsumerStart<'a> {
    /// [`CONSUMER`].
    pub schema: &'static str,
    /// `"start"`.
    pub event: &'static str,
    /// When.
    pub time_ms: u64,
    /// The topic.
    pub topic: &'a str,
    /// The run that is judged, or null for all.
    pub run: Option<RunId>,
    /// This process.
    pub pid: u32,
    /// Where it reads.
    pub partitions: Vec<Span>,
}

/// Where a consumer reads in one partition.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub start: i64,
    /// The offset to stop before, or null for none.
    pub end: Option<i64>,
}

/// A consumer's `"checkpoint"` (each second) or `"end"`.
#[derive(Debug, Serialize)]
pub struct ConsumerState {
    /// [`CONSUMER`].
    pub schema: &'static str,
    /// `"checkpoint"` or `"end"`.
    pub event: &'static str,
    /// When.
    pub time_ms: u64,
    /// Since the first line.
    pub elapsed_ms: u64,
    /// Why it ended; only in `"end"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Sums over all partitions.
    pub totals: ReceiveTotals,
    /// Each partition read.
    pub partitions: Vec<ReceivePartition>,
    /// Each stream of the judged runs kept in detail (see [`crate::ledger::STREAMS_MAX`]).
    pub streams: Vec<ReceiveStream>,
}

/// What records turned out to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReceiveTotals {
    /// Records read, each offset once: `received + duplicate + corrupt + misrouted + other_runs + foreign`.
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
            other_runs: counts.other_runs,
            foreign: counts.foreign,
            redelivered: counts.redelivered,
        }
    }
}

/// A consumer's account of one partition.
#[derive(Debug, Serialize)]
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
    /// The log's start moved above the next offset to read: records were gone before they were read.
    pub start_moved: bool,
    /// Streams no longer kept in detail; their counts are in this line all the same.
    pub folded_streams: u64,
    /// How often reading began anew because the log had become shorter (topic deleted and created again, log truncated). When it is not 0,
    /// `records + offset_gaps = next - start` no longer holds.
    pub log_restarts: u64,
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
            start_moved: ledger.start_moved || low.is_some_and(|low| low > ledger.start),
            folded_streams: ledger.folded_streams,
            log_restarts: ledger.log_restarts,
        }
    }
}

/// A consumer's account of one stream.
#[derive(Debug, Serialize)]
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
    /// They, the first 20 intervals.
    pub missing: Vec<Interval>,
    /// Copies of sequences that had arrived before.
    pub duplicate: u64,
    /// Sequences that arrived after a higher one.
    pub out_of_order: u64,
    /// False when a set outgrew [`crate::ledger::INTERVALS_MAX`] or the stream was folded and came back: then these counts are not certain.
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
            missing: shown(stream.missing_set()),
            duplicate: stream.duplicate,
            out_of_order: stream.out_of_order,
            exact: stream.exact(),
        }
    }
}

/// One broker's view of the cluster.
#[derive(Debug, Serialize)]
pub struct MetadataLine {
    /// [`METADATA`].
    pub schema: &'static str,
    /// The address that was asked.
    pub broker: String,
    /// Whether it answered in time.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// How long it took.
    pub elapsed_ms: u64,
    /// The brokers it knows, by id.
    pub brokers: Vec<BrokerInfo>,
    /// The topics it knows, or the one asked for.
    pub topics: Vec<TopicInfo>,
}

/// A broker as another one knows it.
#[derive(Debug, Serialize)]
pub struct BrokerInfo {
    /// `broker.id`.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: i32,
}

/// A topic as a broker knows it.
#[derive(Debug, Serialize)]
pub struct TopicInfo {
    /// Its name.
    pub topic: String,
    /// The name of an error code, `UNKNOWN_TOPIC_OR_PART` for one that does not exist.
    pub error: Option<&'static str>,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as a broker knows it.
#[derive(Debug, Serialize)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: i32,
    /// The leader's broker id; -1 for none.
    pub leader: i32,
    /// Broker ids of all replicas.
    pub replicas: Vec<i32>,
    /// Broker ids of the replicas in sync.
    pub isr: Vec<i32>,
    /// The name of an error code.
    pub error: Option<&'static str>,
}

/// The offsets of a topic.
#[derive(Debug, Serialize)]
pub struct OffsetsLine<'a> {
    /// [`OFFSETS`].
    pub schema: &'static str,
    /// The topic.
    pub topic: &'a str,
    /// Its partitions, by number; absent when there is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Vec<PartitionOffsets>>,
    /// Why the offsets are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The offsets of a partition.
#[derive(Debug, Serialize)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: i32,
    /// The first offset the log still has.
    pub low: i64,
    /// The end offset (high watermark): the offset of the next record.
    pub high: i64,
}

/// What a probe has got to.
#[derive(Debug, Serialize)]
pub struct ProbeLine<'a> {
    /// [`PROBE`].
    pub schema: &'static str,
    /// `"waiting"` (for what is in `status`), `"acked"`, `"received"` or `"error"` (what is in `error`).
    pub event: &'static str,
    /// Since the process began its work.
    pub elapsed_ms: u64,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// The partition the message went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Its offset there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Why it gave up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}
