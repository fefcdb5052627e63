//! The verdict: what producers promised against what a consumer read.
//!
//! A proven fault outweighs a doubt; a doubt outweighs nothing found. What no proof was given for is a doubt and never a pass.
//!
//! [`judge`] is for a run that is over, of which all was read. [`judge_running`] is for clients that go on.

mod run;
mod running;
mod streams;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::intervals::IntervalSet;
use crate::lines::{ConsumerState, Event, ProducerStart, ProducerState, Reason, SendStream};
use crate::stamp::{ProducerId, RunId};

pub use self::running::{RUNNING, Running, Standing, judge_running};
use self::streams::Found;

/// Schema of a [`Report`].
pub const LEDGER: &str = "kafka-lab.ledger/1";

/// Most streams of which a report keeps the evidence.
const EVIDENCE_MAX: usize = 64;

/// How a producer process went, as whoever started it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// It was told to end, by a signal that it answers, and did. It owes its last line.
    Asked,
    /// We killed it, or cut it off from its output. It is held to its last line and owes no other.
    Killed,
    /// It ended by itself. With its last line it sent what it was to send; without one it crashed.
    ByItself,
    /// It goes on. Its last checkpoint is what it promises so far.
    Running,
}

/// The last word of one producer process.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The run it sent for.
    pub run: RunId,
    /// The process.
    pub producer: ProducerId,
    /// Its last complete checkpoint, or its end; `None` when it died before the first.
    pub state: Option<ProducerState>,
    /// How it went.
    pub went: Went,
}

impl Claim {
    /// What a producer that `went` so claims by the complete lines it printed: the last state, or nothing but that it began. `None` when there is no
    /// line.
    pub fn of(
        start: Option<&ProducerStart>,
        states: impl IntoIterator<Item = ProducerState>,
        went: Went,
    ) -> Option<Self> {
        match (states.into_iter().last(), start) {
            (Some(state), _) => Some(Self::by(state, went)),
            (None, Some(start)) => Some(Self { run: start.run, producer: start.producer, state: None, went }),
            (None, None) => None,
        }
    }

    /// The claim of a producer whose last complete line this is.
    pub fn by(state: ProducerState, went: Went) -> Self {
        Self { run: state.run, producer: state.producer, state: Some(state), went }
    }

    /// Whether it speaks for all it sent. Otherwise it died or goes on, and what it did after its last line is open.
    pub fn ended(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.event == Event::End)
    }

    fn streams(&self) -> &[SendStream] {
        self.state.as_ref().map_or(&[], |state| &state.streams)
    }
}

impl Claim {
    /// Why it gave up, if it says that it did.
    fn gave_up(&self) -> Option<Reason> {
        let reason = self.state.as_ref().filter(|state| state.event == Event::End)?.reason?;
        matches!(reason, Reason::Fatal | Reason::Error).then_some(reason)
    }
}

/// The offsets of a partition that hold the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: i32,
    /// Its end offset before the first producer began.
    pub start: i64,
    /// Its end offset after the last producer had flushed or was dead.
    pub end: i64,
}

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The run.
    pub run: RunId,
    /// The topic, for the report only.
    pub topic: &'a str,
    /// Every partition of the topic.
    pub ranges: &'a [Range],
    /// One for each producer process of the run.
    pub claims: &'a [Claim],
    /// How many further producer processes left no line although nobody killed them: what they sent, nobody knows.
    pub wordless: u64,
    /// The last line of the consumer that read the run from `start` on. One that was started again counts for itself alone.
    pub received: &'a ConsumerState,
    /// Last lines of consumers that read while the run went on. What they saw and `received` has not, was in the log once and is gone.
    pub witnesses: &'a [ConsumerState],
    /// How many messages were to be sent, where all of them had to be acked. Without it a message may also end as not persisted or unknown.
    pub expected: Option<u64>,
    /// The topic's id each time it was asked for; empty when it never was.
    pub topic_ids: &'a [String],
}

impl<'a> Case<'a> {
    /// A run of which no number was expected and nothing else is known.
    pub fn new(
        run: RunId,
        topic: &'a str,
        ranges: &'a [Range],
        claims: &'a [Claim],
        received: &'a ConsumerState,
    ) -> Self {
        Self { run, topic, ranges, claims, wordless: 0, received, witnesses: &[], expected: None, topic_ids: &[] }
    }
}

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
    /// Ours, in another partition than they were sent to.
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
    /// A fault: reported as not persisted, and received.
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
    pub schema: crate::lines::Schema,
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

/// Compares what was promised of a run with what was read.
pub fn judge(case: &Case<'_>) -> Report {
    let mut found = Found::default();
    let rows = run::judge(case, &mut found);
    let Concluded { verdict, findings, reasons, evidence } = conclude(found, case.claims);
    let states = || case.claims.iter().filter_map(|claim| claim.state.as_ref());
    let ended = case.claims.iter().filter(|claim| claim.ended()).count() as u64;
    Report {
        schema: LEDGER.into(),
        run: case.run,
        topic: case.topic.to_owned(),
        verdict,
        reasons,
        findings,
        ended,
        died: case.claims.len() as u64 - ended,
        partitions: rows,
        evidence,
        producer_ms: states().map(|state| state.elapsed_ms).max().unwrap_or(0),
        consumer_ms: case.received.elapsed_ms,
    }
}

/// What a report says of all that was found.
struct Concluded {
    verdict: Verdict,
    findings: Vec<Finding>,
    reasons: Vec<String>,
    evidence: Vec<Evidence>,
}

/// Faults before doubts, and the verdict that follows from them.
fn conclude(found: Found, claims: &[Claim]) -> Concluded {
    let Found { mut found, mut evidence } = found;
    found.sort_by_key(|(finding, _)| !finding.kind.is_fault());
    let faulty = found.first().is_some_and(|(finding, _)| finding.kind.is_fault());
    let verdict = match (faulty, found.is_empty()) {
        (true, _) => Verdict::Fail,
        (false, false) => Verdict::Inconclusive,
        (false, true) => Verdict::Pass,
    };
    let (findings, mut reasons): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    if faulty {
        reasons.extend(delivery_errors(claims));
    }
    evidence.truncate(EVIDENCE_MAX);
    Concluded { verdict, findings, reasons, evidence }
}

/// What librdkafka complained of: it may explain a fault, and is none.
fn delivery_errors(claims: &[Claim]) -> Vec<String> {
    let mut sums = BTreeMap::<&str, u64>::new();
    for (code, count) in claims.iter().filter_map(|claim| claim.state.as_ref()).flat_map(|state| &state.errors) {
        *sums.entry(code).or_default() += count;
    }
    sums.into_iter().map(|(code, count)| format!("delivery error {code}, {count} times")).collect()
}
