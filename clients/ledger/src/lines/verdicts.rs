//! The lines of verdicts: over a finished run, and over running clients.

use serde::{Deserialize, Serialize};

use super::marked::{Line, SchemaName};
use crate::intervals::IntervalSet;
use crate::stamp::{ProducerId, RunId};

/// Schema of a [`Report`].
pub const LEDGER: &str = "kafka-lab.ledger/1";
/// Schema of a [`Standing`].
pub const RUNNING: &str = "kafka-lab.running/1";

/// The account of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The partition's number.
    pub partition: i32,
    /// Messages passed to librdkafka, according to the claims.
    pub sent: u64,
    /// Messages that the brokers acknowledged.
    pub acked: u64,
    /// Messages that were certainly not written.
    pub not_persisted: u64,
    /// Messages of unknown outcome: those that producers report as unknown, and those that a dead producer had in
    /// flight at its last checkpoint.
    pub unknown: u64,
    /// Messages of this run that were read, each counted once.
    pub received: u64,
    /// Received messages that no claim covers: of unknown outcome, or sent after a dead producer's last checkpoint.
    pub unpromised: u64,
    /// Messages acknowledged and not received, although everything was read.
    pub missing: u64,
    /// Messages acknowledged and not received where not everything was read: possibly missing.
    #[serde(default)]
    pub unread: u64,
    /// Messages received again at another offset.
    pub duplicate: u64,
    /// Messages received after a later one.
    pub out_of_order: u64,
    /// Ours, but damaged.
    pub corrupt: u64,
    /// Ours, but in a partition other than the one they were sent to.
    pub misrouted: u64,
    /// Records of other runs and other writers, including copies of ours: counted, not a fault.
    pub others: u64,
    /// Offsets taken by markers of others' transactions.
    #[serde(default)]
    pub markers: u64,
    /// Offsets whose records compaction removed.
    #[serde(default)]
    pub compacted: u64,
    /// Offsets that the consumer read again.
    pub redelivered: u64,
    /// The end offset before the run.
    pub start: i64,
    /// The end offset after the producers' last flush.
    pub end: i64,
    /// Records read.
    pub records: u64,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every promise was kept.
    Pass,
    /// Something is wrong; the reasons say what.
    Fail,
    /// It cannot be determined; the reasons say why.
    Inconclusive,
}

/// The kind of a finding. The order matters: faults come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Fault: acknowledged and not received.
    Missing,
    /// Fault: reported as not persisted but received.
    NotPersistedReceived,
    /// Fault: a sequence at two offsets.
    Duplicate,
    /// Fault: received after a higher sequence of its stream.
    OutOfOrder,
    /// Fault: ours, but damaged.
    Corrupt,
    /// Fault: ours, but in a partition that its producer did not choose.
    Misrouted,
    /// Fault: received from a producer that ended and reports that it never sent it.
    NeverSent,
    /// Fault: received from an unknown producer.
    Stranger,
    /// Fault: read by a witness and no longer in the log.
    Vanished,
    /// Fault: a producer crashed or gave up.
    Died,
    /// Fault: the records do not add up.
    Unaccounted,
    /// Fault: the log ended below where the run began, or below what had been read: recreated or truncated.
    LogRestarted,
    /// Fault: the log was truncated below what had been read.
    LogTruncated,
    /// Fault: the topic was recreated.
    TopicRecreated,
    /// Fault if all messages had to be acked: not persisted.
    NotPersisted,
    /// Fault if a number of messages was expected: a different number was sent.
    Count,
    /// Doubt: no producer made a claim, or the consumer does not report a partition.
    Silent,
    /// Doubt: a producer was told to stop and left no last line.
    NoLastWord,
    /// Doubt: the range was not read to its end, or not from its start.
    NotDrained,
    /// Doubt: the consumer is stuck, because of an error of the broker or the library.
    Stuck,
    /// Doubt: offsets without a record for an unknown reason.
    Gaps,
    /// Doubt: records in the log that were not delivered to the consumer.
    Hidden,
    /// Doubt: retention removed records before they were read.
    StartMoved,
    /// Doubt: sets exceeded their limit.
    Inexact,
    /// Doubt if all messages had to be acked: unknown outcome.
    Unknown,
    /// Doubt: a line contradicts itself or another.
    Contradiction,
}

impl Kind {
    /// Whether it proves that something is wrong. Otherwise it is a doubt: a reason why nothing can be proven.
    pub fn is_fault(self) -> bool {
        self < Self::Silent
    }
}

/// A fault or a doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of finding.
    pub kind: Kind,
    /// The partition; null for the whole run.
    pub partition: Option<i32>,
    /// Number of messages, records, offsets or lines concerned.
    pub count: u64,
}

/// The sequences of one stream that have faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The process that sent, or appears to have sent.
    pub producer: ProducerId,
    /// The producer handle.
    pub epoch: u32,
    /// The partition.
    pub partition: i32,
    /// Acknowledged and not received.
    pub missing: IntervalSet,
    /// Reported as not persisted but received.
    pub not_persisted_received: IntervalSet,
    /// Received but never sent.
    pub never_sent: IntervalSet,
    /// Received at more than one offset.
    pub duplicate: IntervalSet,
}

/// The verdict over a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`LEDGER`].
    pub schema: SchemaName,
    /// The run ID.
    pub run: RunId,
    /// The topic.
    pub topic: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `pass`, as text: faults before doubts.
    pub reasons: Vec<String>,
    /// The same for programs, in the same order. Text that only explains has no finding.
    pub findings: Vec<Finding>,
    /// Number of producer processes that ended normally.
    pub ended: u64,
    /// Number of producer processes that died.
    pub died: u64,
    /// Each partition.
    pub partitions: Vec<Row>,
    /// Streams with faults; the first 64.
    pub evidence: Vec<Evidence>,
    /// Run time of the slowest producer, in ms.
    pub producer_ms: u64,
    /// Run time of the consumer, in ms.
    pub consumer_ms: u64,
}

impl Line for Report {
    const SCHEMA: &'static str = LEDGER;
}

/// The verdict over running clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// [`RUNNING`].
    pub schema: SchemaName,
    /// The topic.
    pub topic: String,
    /// The verdict over what running producers had acknowledged.
    pub verdict: Verdict,
    /// Why it is not `pass`, as text: faults before doubts.
    pub reasons: Vec<String>,
    /// The same for programs, in the same order. Text that only explains has no finding.
    pub findings: Vec<Finding>,
    /// What the verdict does not cover, as text.
    pub remarks: Vec<String>,
    /// Each partition. `received` counts all runs; `unpromised` and `missing` count those of running producers.
    pub partitions: Vec<Row>,
    /// Streams with faults; the first 64.
    pub evidence: Vec<Evidence>,
}

impl Line for Standing {
    const SCHEMA: &'static str = RUNNING;
}
