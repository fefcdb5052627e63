//! The lines of the verdict, over a run that is over and over clients that go on.

use serde::{Deserialize, Serialize};

use super::marked::{Line, Schema};
use crate::intervals::IntervalSet;
use crate::stamp::{ProducerId, RunId};

/// Schema of a [`Report`].
pub const LEDGER: &str = "kafka-lab.ledger/1";
/// Schema of a [`Standing`].
pub const RUNNING: &str = "kafka-lab.running/1";

/// What is known of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its number.
    pub partition: i32,
    /// Messages handed to librdkafka, as far as claims tell.
    pub sent: u64,
    /// Messages that the brokers acknowledged.
    pub acked: u64,
    /// Messages that librdkafka is sure were not written.
    pub not_persisted: u64,
    /// Messages of unknown fate: those that producers called so, and those a dead producer had in flight at its last checkpoint.
    pub unknown: u64,
    /// Messages of this run that were read, each once.
    pub received: u64,
    /// Of those, how many nothing was promised of: of unknown fate, or sent after a dead producer's last checkpoint.
    pub unpromised: u64,
    /// Acknowledged and not received, although all was read.
    pub missing: u64,
    /// Acknowledged and not received, where not all was read: nobody can say whether they are missing.
    #[serde(default)]
    pub unread: u64,
    /// Received again at another offset.
    pub duplicate: u64,
    /// Received after a later one.
    pub out_of_order: u64,
    /// Ours, but damaged.
    pub corrupt: u64,
    /// Ours, in a partition other than the one they were sent to.
    pub misrouted: u64,
    /// Records of other runs and of others, copies of ours among them: counted, not faulted.
    pub others: u64,
    /// Offsets taken by the markers of others' transactions.
    #[serde(default)]
    pub markers: u64,
    /// Offsets whose records compaction removed.
    #[serde(default)]
    pub compacted: u64,
    /// Offsets the consumer read again.
    pub redelivered: u64,
    /// End offset before the run.
    pub start: i64,
    /// End offset after the producers' last flush.
    pub end: i64,
    /// Records read.
    pub records: u64,
}

/// What a report says in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every promise was kept.
    Pass,
    /// Something is wrong, and the reasons say what.
    Fail,
    /// It cannot be told, and the reasons say why.
    Inconclusive,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A fault: acknowledged and not received.
    Missing,
    /// A fault: reported as not persisted but received.
    NotPersistedReceived,
    /// A fault: a sequence at two offsets.
    Duplicate,
    /// A fault: received after a higher sequence of its stream.
    OutOfOrder,
    /// A fault: ours, and damaged.
    Corrupt,
    /// A fault: ours, in another partition than its producer chose.
    Misrouted,
    /// A fault: received of a producer that ended and says it never sent it.
    NeverSent,
    /// A fault: received of a producer that nobody knows.
    Stranger,
    /// A fault: read before by another consumer, and gone.
    Vanished,
    /// A fault: a producer crashed, or gave up.
    Died,
    /// A fault: the records do not add up.
    Unaccounted,
    /// A fault: the log ended below where the run began or what had been read of it: another one, or cut back.
    LogRestarted,
    /// A fault: the log was cut back below what had been read of it.
    LogTruncated,
    /// A fault: the topic is another one than before.
    TopicRecreated,
    /// A fault where all had to be acked: not persisted.
    NotPersisted,
    /// A fault where a number was expected: not so many were sent.
    Count,
    /// A doubt: there is no claim of any producer, or none of the consumer for a partition.
    Silent,
    /// A doubt: a producer was told to end and left no last line.
    NoLastWord,
    /// A doubt: the range was not read to its end, or not from its start.
    NotDrained,
    /// A doubt: the consumer cannot read on, for a reason of the broker's or the library's.
    Stuck,
    /// A doubt: offsets without a record, of which nobody knows why.
    Gaps,
    /// A doubt: records are in the log that the consumer was not shown.
    Hidden,
    /// A doubt: retention took records before they were read.
    StartMoved,
    /// A doubt: sets outgrew their bound.
    Inexact,
    /// A doubt where all had to be acked: of unknown fate.
    Unknown,
    /// A doubt: a line contradicts itself or another.
    Contradiction,
}

impl Kind {
    /// Whether it proves that something is wrong; otherwise it is a reason why nothing can be proven.
    pub fn is_fault(self) -> bool {
        self < Self::Silent
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Where, unless it is about the whole run.
    pub partition: Option<i32>,
    /// How many.
    pub count: u64,
}

/// The sequences of one stream that faults were found with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The process that sent, or is said to have sent.
    pub producer: ProducerId,
    /// Its producer handle.
    pub epoch: u32,
    /// The partition.
    pub partition: i32,
    /// Acknowledged and not received.
    pub missing: IntervalSet,
    /// Reported as not persisted, and received.
    pub not_persisted_received: IntervalSet,
    /// Received, and not among what was sent.
    pub never_sent: IntervalSet,
    /// Received at two offsets or more.
    pub duplicate: IntervalSet,
}

/// The account of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`LEDGER`].
    pub schema: Schema,
    /// The run's id.
    pub run: RunId,
    /// The topic.
    pub topic: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `pass`, in sentences: faults before doubts.
    pub reasons: Vec<String>,
    /// The same, for programs, in the same order; sentences that only explain have none.
    pub findings: Vec<Finding>,
    /// How many producer processes ended.
    pub ended: u64,
    /// How many producer processes died.
    pub died: u64,
    /// Each partition.
    pub partitions: Vec<Row>,
    /// Streams with faults; of more than 64, the first.
    pub evidence: Vec<Evidence>,
    /// How long the producer that took longest took, in ms.
    pub producer_ms: u64,
    /// How long the consumer took, in ms.
    pub consumer_ms: u64,
}

impl Line for Report {
    const SCHEMA: &'static str = LEDGER;
}

/// How running clients stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// [`RUNNING`].
    pub schema: Schema,
    /// The topic.
    pub topic: String,
    /// The verdict over what the producers that run had acknowledged.
    pub verdict: Verdict,
    /// Why it is not `pass`, in sentences: faults before doubts.
    pub reasons: Vec<String>,
    /// The same, for programs, in the same order; sentences that only explain have none.
    pub findings: Vec<Finding>,
    /// What limits the verdict, in sentences: it says nothing of these.
    pub remarks: Vec<String>,
    /// Each partition. `received` counts all runs, `unpromised` and `missing` those of the producers that run.
    pub partitions: Vec<Row>,
    /// Streams with faults; of more than 64, the first.
    pub evidence: Vec<Evidence>,
}

impl Line for Standing {
    const SCHEMA: &'static str = RUNNING;
}
