//! The verdict: what producers promised against what a consumer read.
//!
//! A proven fault outweighs a doubt; a doubt outweighs nothing found. What no proof was given for is a doubt and never a pass.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::intervals::IntervalSet;
use crate::lines::{ConsumerState, Event, ProducerStart, ProducerState, ReceivePartition, ReceiveStream, SendStream};
use crate::stamp::{ProducerId, RunId};

/// Schema of a [`Report`].
pub const LEDGER: &str = "kafka-lab.ledger/1";

/// Most streams of which a report keeps the evidence.
const EVIDENCE_MAX: usize = 64;

/// Most intervals a sentence spells out.
const SPELLED_MAX: usize = 3;

/// The last word of one producer process.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The run it sent for.
    pub run: RunId,
    /// The process.
    pub producer: ProducerId,
    /// Its last complete checkpoint, or its end; `None` when it died before the first.
    pub state: Option<ProducerState>,
}

impl Claim {
    /// What a producer claims by the complete lines it printed: the last state, or nothing but that it began. `None` when there is no line.
    pub fn of(start: Option<&ProducerStart>, states: impl IntoIterator<Item = ProducerState>) -> Option<Self> {
        match (states.into_iter().last(), start) {
            (Some(state), _) => Some(state.into()),
            (None, Some(start)) => Some(Self { run: start.run, producer: start.producer, state: None }),
            (None, None) => None,
        }
    }

    /// Whether it speaks for all it sent. Otherwise it died, and what it did after its last line is open.
    pub fn ended(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.event == Event::End)
    }

    fn streams(&self) -> &[SendStream] {
        self.state.as_ref().map_or(&[], |state| &state.streams)
    }
}

impl From<ProducerState> for Claim {
    fn from(state: ProducerState) -> Self {
        Self { run: state.run, producer: state.producer, state: Some(state) }
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
    /// The last line of the consumer that read the run from `start` on. One that was started again counts for itself alone.
    pub received: &'a ConsumerState,
    /// How many messages were to be sent, where all of them had to be acked. Without it a message may also end as not persisted or unknown.
    pub expected: Option<u64>,
    /// The topic's id each time it was asked for; empty when it never was.
    pub topic_ids: &'a [String],
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
    /// Acknowledged and not received.
    pub missing: u64,
    /// Received again at another offset.
    pub duplicate: u64,
    /// Received after a later one.
    pub out_of_order: u64,
    /// Ours, but damaged.
    pub corrupt: u64,
    /// Ours, in another partition than they were sent to.
    pub misrouted: u64,
    /// Records of other runs and of others between the two offsets: counted, not faulted.
    pub others: u64,
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
    /// A fault: not as many records as offsets.
    Density,
    /// A fault: the records do not add up.
    Unaccounted,
    /// A fault: the log became shorter than what had been read of it.
    LogRestarted,
    /// A fault: the topic is another one than before.
    TopicRecreated,
    /// A fault where all had to be acked: not persisted.
    NotPersisted,
    /// A fault where a number was expected: not so many were sent.
    Count,
    /// A doubt: there is no claim of any producer, or none of the consumer for a partition.
    Silent,
    /// A doubt: the range was not read to its end, or not from its start.
    NotDrained,
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

/// Compares what was promised with what was read.
pub fn judge(case: &Case<'_>) -> Report {
    let mut judge = Judge { case, found: Vec::new(), evidence: Vec::new() };
    judge.whole_run();
    let rows: Vec<Row> = case.ranges.iter().map(|range| judge.partition(range)).collect();
    if let Some(messages) = case.expected {
        judge.expect(messages, &rows);
    }
    let Judge { mut found, mut evidence, .. } = judge;
    found.sort_by_key(|(finding, _)| !finding.kind.is_fault());
    let faulty = found.first().is_some_and(|(finding, _)| finding.kind.is_fault());
    let verdict = match (faulty, found.is_empty()) {
        (true, _) => Verdict::Fail,
        (false, false) => Verdict::Inconclusive,
        (false, true) => Verdict::Pass,
    };
    let (findings, mut reasons): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    if faulty {
        reasons.extend(delivery_errors(case.claims));
    }
    evidence.truncate(EVIDENCE_MAX);
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

/// What librdkafka complained of: it may explain a fault, and is none.
fn delivery_errors(claims: &[Claim]) -> Vec<String> {
    let mut sums = BTreeMap::<&str, u64>::new();
    for (code, count) in claims.iter().filter_map(|claim| claim.state.as_ref()).flat_map(|state| &state.errors) {
        *sums.entry(code).or_default() += count;
    }
    sums.into_iter().map(|(code, count)| format!("delivery error {code}, {count} times")).collect()
}

/// Whose stream it is, within a partition.
type Key = (ProducerId, u32);

struct Judge<'a> {
    case: &'a Case<'a>,
    found: Vec<(Finding, String)>,
    evidence: Vec<Evidence>,
}

impl Judge<'_> {
    fn find(&mut self, kind: Kind, partition: Option<i32>, count: u64, what: impl std::fmt::Display) {
        let text = match partition {
            Some(partition) => format!("partition {partition}: {what}"),
            None => what.to_string(),
        };
        self.found.push((Finding { kind, partition, count }, text));
    }

    /// What concerns no partition alone.
    fn whole_run(&mut self) {
        let Case { run, claims, received, ranges, topic_ids, .. } = *self.case;
        if claims.is_empty() {
            self.find(Kind::Silent, None, 1, "no producer says what it sent");
        }
        for (at, claim) in claims.iter().enumerate() {
            let producer = claim.producer;
            if claim.run != run {
                self.find(Kind::Contradiction, None, 1, format_args!("producer {producer} sent for run {}", claim.run));
            }
            if claims[..at].iter().any(|other| other.producer == producer) {
                self.find(Kind::Contradiction, None, 1, format_args!("two claims of producer {producer}"));
            }
            let streams = claim.streams();
            if streams.iter().any(|stream| stream.producer != producer) {
                self.find(Kind::Contradiction, None, 1, format_args!("producer {producer} speaks for another"));
            }
            for stream in streams.iter().filter(|stream| stream.sent > 0) {
                if !ranges.iter().any(|range| range.partition == stream.partition) {
                    let what = format_args!("its offsets are not known, and producer {producer} sent to it");
                    self.find(Kind::Silent, Some(stream.partition), stream.sent, what);
                }
            }
            if let Some(state) = &claim.state
                && state.folded_epochs > 0
            {
                let what =
                    format_args!("producer {producer} tells nothing of its first {} epochs", state.folded_epochs);
                self.find(Kind::Inexact, None, state.folded_epochs, what);
            }
        }
        if received.run != Some(run) {
            self.find(Kind::Contradiction, None, 1, "the consumer was not told to judge this run (--run)");
        }
        if topic_ids.windows(2).any(|pair| pair[0] != pair[1]) {
            let what = format!("topic id changed ({})", topic_ids.join(", "));
            self.find(Kind::TopicRecreated, None, 1, what);
        }
    }

    fn partition(&mut self, range: &Range) -> Row {
        let partition = range.partition;
        let mut row = Row { partition, start: range.start, end: range.end, ..Row::default() };
        let mut sent: BTreeMap<Key, (&Claim, &SendStream)> = BTreeMap::new();
        for claim in self.case.claims {
            for stream in claim.streams().iter().filter(|stream| stream.partition == partition) {
                if sent.insert((claim.producer, stream.epoch), (claim, stream)).is_some() {
                    let what = format_args!("producer {} tells twice of epoch {}", claim.producer, stream.epoch);
                    self.find(Kind::Contradiction, Some(partition), 1, what);
                }
                row.sent += stream.sent;
                row.acked += stream.acked;
                row.not_persisted += stream.not_persisted;
                row.unknown += stream.sent.saturating_sub(stream.acked + stream.not_persisted);
            }
        }
        let Some(read) = self.case.received.partitions.iter().find(|read| read.partition == partition) else {
            self.find(Kind::Silent, Some(partition), 1, "the consumer says nothing of it");
            return row;
        };
        let counts = &read.counts;
        row.received = counts.received;
        row.duplicate = counts.duplicate;
        row.out_of_order = counts.out_of_order;
        row.corrupt = counts.corrupt;
        row.misrouted = counts.misrouted;
        row.others = counts.other_runs + counts.foreign;
        row.redelivered = counts.redelivered;
        row.records = counts.records;
        // What was read proves these, whatever else cannot be told.
        for (kind, count, what) in [
            (Kind::Duplicate, row.duplicate, "received twice"),
            (Kind::OutOfOrder, row.out_of_order, "out of order"),
            (Kind::Corrupt, row.corrupt, "corrupt: their checksum does not match"),
            (Kind::Misrouted, row.misrouted, "in another partition than they were sent to"),
        ] {
            if count > 0 {
                self.find(kind, Some(partition), count, format_args!("{count} {what}"));
            }
        }
        let whole = self.coverage(range, read, &row);
        let mut received: BTreeMap<Key, &ReceiveStream> = BTreeMap::new();
        let run = self.case.run;
        for stream in &self.case.received.streams {
            if stream.partition == partition
                && stream.run == run
                && received.insert((stream.producer, stream.epoch), stream).is_some()
            {
                let what =
                    format_args!("the consumer tells twice of producer {}, epoch {}", stream.producer, stream.epoch);
                self.find(Kind::Contradiction, Some(partition), 1, what);
            }
        }
        if read.folded_streams > 0 {
            let what = format_args!("{} streams are no longer kept in detail", read.folded_streams);
            self.find(Kind::Inexact, Some(partition), read.folded_streams, what);
        } else if received.values().map(|stream| stream.received).sum::<u64>() != row.received {
            self.find(
                Kind::Contradiction,
                Some(partition),
                1,
                "the consumer's streams do not add up to what it received",
            );
        }
        let keys: std::collections::BTreeSet<Key> = sent.keys().chain(received.keys()).copied().collect();
        for key in keys {
            self.stream(key, &mut row, sent.get(&key).copied(), received.get(&key).copied(), whole);
        }
        row
    }

    /// Whether every offset of the range was read and held one record. Otherwise says what is wrong with it.
    fn coverage(&mut self, range: &Range, read: &ReceivePartition, row: &Row) -> bool {
        let at = Some(range.partition);
        let before = self.found.len();
        if range.end < range.start {
            let what = format_args!("its end offset went back from {} to {}", range.start, range.end);
            self.find(Kind::LogRestarted, at, 1, what);
        }
        if read.log_restarts > 0 {
            let what = "the log became shorter than what had been read: created again, or truncated";
            self.find(Kind::LogRestarted, at, read.log_restarts, what);
        }
        if self.found.len() > before {
            // Offsets no longer mean what they meant, so that nothing else follows from them.
            return false;
        }
        if read.start > range.start {
            let what = format_args!("read from {} on, and the run began at {}", read.start, range.start);
            self.find(Kind::NotDrained, at, 1, what);
        }
        if read.next < range.end {
            let reason = self.case.received.reason.map_or("still reading".into(), |reason| format!("{reason:?}"));
            let what = format_args!("read up to {}, not to {} ({})", read.next, range.end, reason.to_lowercase());
            self.find(Kind::NotDrained, at, range.end.abs_diff(read.next), what);
        }
        if read.start_moved {
            let low = read.low.unwrap_or(read.start);
            let what = format_args!(
                "retention moved the log's start to {low}, past records of this run that had not been read; {} offsets were empty",
                read.offset_gaps
            );
            self.find(Kind::StartMoved, at, read.offset_gaps, what);
        }
        if self.found.len() > before {
            return false;
        }
        let records = row.records;
        // From the start that the brokers told to the end that they told, or beyond both.
        let offsets = read.next.abs_diff(read.start);
        let counted = row.received + row.duplicate + row.corrupt + row.misrouted + row.others;
        if records != offsets {
            let what = format_args!("{records} records read, the broker's offsets say {offsets}");
            self.find(Kind::Density, at, offsets.abs_diff(records), what);
        }
        if counted != records {
            let what = format_args!("{records} records read, {counted} of them accounted for");
            self.find(Kind::Unaccounted, at, counted.abs_diff(records), what);
        }
        true
    }

    /// One stream, of which at least one side speaks.
    fn stream(
        &mut self,
        (producer, epoch): Key,
        row: &mut Row,
        sent: Option<(&Claim, &SendStream)>,
        received: Option<&ReceiveStream>,
        whole: bool,
    ) {
        let partition = row.partition;
        let name = format!("producer {producer}, epoch {epoch}");
        let mut evidence = Evidence {
            producer,
            epoch,
            partition,
            missing: IntervalSet::default(),
            not_persisted_received: IntervalSet::default(),
            never_sent: IntervalSet::default(),
            duplicate: received.map_or_else(IntervalSet::default, |stream| stream.duplicates.clone()),
        };
        let seen = match received {
            None => Some(IntervalSet::default()),
            Some(stream) => self.seen(partition, &name, stream),
        };
        match (sent, seen) {
            (None, seen) => {
                let count = received.map_or(0, |stream| stream.received);
                let seen = seen.unwrap_or_default();
                match self.case.claims.iter().find(|claim| claim.producer == producer) {
                    // It opened this epoch, or first sent to this partition, after its last checkpoint.
                    Some(claim) if !claim.ended() => row.unpromised += count,
                    // The epochs that it does not tell of are a doubt already.
                    Some(Claim { state: Some(state), .. })
                        if state.folded_epochs > 0 && state.streams.iter().all(|stream| stream.epoch > epoch) => {}
                    Some(_) => {
                        let what = format_args!("{count} received and never sent ({name}: {})", spelled(&seen));
                        self.find(Kind::NeverSent, Some(partition), count, what);
                        evidence.never_sent = seen;
                    }
                    None => {
                        let what = format_args!("{count} received of {name}, which no producer of this run is");
                        self.find(Kind::Stranger, Some(partition), count, what);
                        evidence.never_sent = seen;
                    }
                }
            }
            (Some((claim, stream)), seen) => {
                let told = self.told(partition, &name, claim, stream);
                match seen {
                    Some(seen) if told => self.compare(row, &name, claim, stream, &seen, whole, &mut evidence),
                    // By number only: a doubt has been found already, and the table should still say something.
                    _ => row.missing += stream.acked.saturating_sub(received.map_or(0, |stream| stream.received)),
                }
            }
        }
        let sets = [&evidence.missing, &evidence.not_persisted_received, &evidence.never_sent, &evidence.duplicate];
        if sets.iter().any(|set| !set.is_empty()) {
            self.evidence.push(evidence);
        }
    }

    /// The sequences that arrived of a stream, or `None` and a doubt.
    fn seen(&mut self, partition: i32, name: &str, stream: &ReceiveStream) -> Option<IntervalSet> {
        if !stream.exact {
            let what = format_args!("more gaps than the consumer can keep apart ({name})");
            self.find(Kind::Inexact, Some(partition), 1, what);
            return None;
        }
        let seen = IntervalSet::span(stream.first, stream.next).difference(&stream.missing);
        if seen.count() != stream.received {
            let what = format_args!("the consumer counts {} received, its set says {}", stream.received, seen.count());
            self.find(Kind::Contradiction, Some(partition), 1, format_args!("{what} ({name})"));
            return None;
        }
        Some(seen)
    }

    /// Whether a claim of a stream is whole and agrees with itself. Otherwise there is a doubt.
    fn told(&mut self, partition: i32, name: &str, claim: &Claim, stream: &SendStream) -> bool {
        if !stream.exact {
            let what = format_args!("more outcomes than the producer can keep apart ({name})");
            self.find(Kind::Inexact, Some(partition), 1, what);
            return false;
        }
        let sets = [&stream.acked_ranges, &stream.not_persisted_ranges, &stream.unknown_ranges];
        let counts = [stream.acked, stream.not_persisted, stream.unknown];
        let counted = sets.iter().zip(counts).all(|(set, count)| set.count() == count);
        let within = sets.iter().all(|set| set.intervals().last().is_none_or(|(_, to)| *to <= stream.sent));
        let apart =
            sets.iter().enumerate().all(|(at, set)| sets[..at].iter().all(|other| set.intersection(other).is_empty()));
        let settled = !claim.ended() || counts.iter().sum::<u64>() == stream.sent;
        if !(counted && within && apart && settled) {
            self.find(Kind::Contradiction, Some(partition), 1, format_args!("{name} contradicts itself"));
            return false;
        }
        true
    }

    /// The heart: what was promised of a stream against what arrived of it, set by set.
    #[expect(clippy::too_many_arguments, reason = "both sides of one stream, and where to write down what is found")]
    fn compare(
        &mut self,
        row: &mut Row,
        name: &str,
        claim: &Claim,
        stream: &SendStream,
        seen: &IntervalSet,
        whole: bool,
        evidence: &mut Evidence,
    ) {
        let at = Some(row.partition);
        let missing = stream.acked_ranges.difference(seen);
        let landed = stream.not_persisted_ranges.intersection(seen);
        let beyond = seen.difference(&IntervalSet::span(0, stream.sent));
        let unsettled = seen.difference(&stream.acked_ranges).difference(&landed).difference(&beyond);
        row.missing += missing.count();
        row.unpromised += unsettled.count();
        // Of a range that was not read whole, what is absent may only be unread.
        if whole && !missing.is_empty() {
            let what =
                format_args!("{} acknowledged and not received ({name}: {})", missing.count(), spelled(&missing));
            self.find(Kind::Missing, at, missing.count(), what);
            evidence.missing = missing;
        }
        if !landed.is_empty() {
            let what = format_args!(
                "{} reported as not persisted, and received ({name}: {})",
                landed.count(),
                spelled(&landed)
            );
            self.find(Kind::NotPersistedReceived, at, landed.count(), what);
            evidence.not_persisted_received = landed;
        }
        if !claim.ended() {
            row.unpromised += beyond.count();
        } else if !beyond.is_empty() {
            let what = format_args!("{} received and never sent ({name}: {})", beyond.count(), spelled(&beyond));
            self.find(Kind::NeverSent, at, beyond.count(), what);
            evidence.never_sent = beyond;
        }
    }

    /// Where a number of messages had to be sent and acked.
    fn expect(&mut self, messages: u64, rows: &[Row]) {
        for row in rows {
            let at = Some(row.partition);
            if row.not_persisted > 0 {
                self.find(
                    Kind::NotPersisted,
                    at,
                    row.not_persisted,
                    format_args!("{} not persisted", row.not_persisted),
                );
            }
            if row.unknown > 0 {
                let what = format_args!("the fate of {} is unknown to the producer", row.unknown);
                self.find(Kind::Unknown, at, row.unknown, what);
            }
            if row.sent == 0 && messages >= rows.len() as u64 {
                self.find(Kind::Count, at, 0, "nothing was sent to it");
            }
        }
        let states = || self.case.claims.iter().filter_map(|claim| claim.state.as_ref());
        let sent: u64 = states().map(|state| state.totals.sent).sum();
        if sent != messages {
            let reasons: Vec<String> =
                states().map(|state| state.reason.map_or("died".into(), |r| format!("{r:?}").to_lowercase())).collect();
            let what = format!("{sent} messages sent of {messages} asked for ({})", reasons.join(", "));
            self.find(Kind::Count, None, sent.abs_diff(messages), what);
        }
    }
}

/// The first sequences of a set, in words.
fn spelled(set: &IntervalSet) -> String {
    let one = |(from, to): &(u64, u64)| match to - from {
        1 => from.to_string(),
        _ => format!("{from}-{}", to - 1),
    };
    let mut text = set.intervals().iter().take(SPELLED_MAX).map(one).collect::<Vec<_>>().join(", ");
    if set.intervals().len() > SPELLED_MAX {
        text.push_str(", …");
    }
    text
}
