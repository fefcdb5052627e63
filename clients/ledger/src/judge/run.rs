//! The verdict over a finished run.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::{Claim, HowEnded, OffsetRange};
use super::conclusion::{ReportParts, conclude};
use super::streams::{HandleKey, StreamFindings, Unread, arrived, evidence, name, spelled};
use crate::lines::{ConsumerState, Kind, LEDGER, ReceivePartition, ReceiveStream, Report, Row, SendStream, StateEvent};
use crate::stamp::RunId;

/// The input of [`judge`].
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The run.
    pub run: RunId,
    /// The topic, for the report only.
    pub topic: &'a str,
    /// All partitions of the topic.
    pub ranges: &'a [OffsetRange],
    /// The claims of the run's producers, one for each process.
    pub claims: &'a [Claim],
    /// Number of other producer processes that printed no line although nobody killed them. What they sent is unknown.
    pub wordless: u64,
    /// The last line of the consumer that read the run from `start`. If it was restarted, only the last process counts.
    pub received: &'a ConsumerState,
    /// Last lines of consumers that read during the run. What they saw and `received` does not contain was in the log
    /// once and is gone.
    pub witnesses: &'a [ConsumerState],
    /// Number of messages to send, if all of them had to be acked. If `None`, messages may also be not persisted or
    /// unknown.
    pub expected: Option<u64>,
    /// The topic's id each time it was queried; empty if it never was.
    pub topic_ids: &'a [String],
}

impl<'a> Case<'a> {
    /// A run without an expected number of messages or other details.
    pub fn new(
        run: RunId,
        topic: &'a str,
        ranges: &'a [OffsetRange],
        claims: &'a [Claim],
        received: &'a ConsumerState,
    ) -> Self {
        Self { run, topic, ranges, claims, wordless: 0, received, witnesses: &[], expected: None, topic_ids: &[] }
    }
}

/// Compares what was promised of a run with what was read.
pub fn judge(case: &Case<'_>) -> Report {
    let mut findings = StreamFindings::default();
    let rows = rows(case, &mut findings);
    let ReportParts { verdict, findings, reasons, evidence } = conclude(findings, case.claims);
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

/// Judges each partition and adds to `findings`.
fn rows(case: &Case<'_>, findings: &mut StreamFindings) -> Vec<Row> {
    let mut judge = RunJudge { case, findings };
    judge.whole_run();
    let rows: Vec<Row> = case.ranges.iter().map(|range| judge.partition(range)).collect();
    if let Some(messages) = case.expected {
        judge.expect(messages, &rows);
    }
    rows
}

struct RunJudge<'a, 'f> {
    case: &'a Case<'a>,
    findings: &'f mut StreamFindings,
}

impl<'a> RunJudge<'a, '_> {
    /// Checks everything that is not about a single partition.
    fn whole_run(&mut self) {
        let Case { run, claims, received, ranges, topic_ids, .. } = *self.case;
        if claims.is_empty() {
            self.findings.add(Kind::Silent, None, 1, "no producer reported what it sent");
        }
        if ranges.is_empty() {
            self.findings.add(Kind::Silent, None, 1, "no partition's offsets are known");
        }
        if self.case.wordless > 0 {
            let what = format!("{} producers printed no line at all, although nobody killed them", self.case.wordless);
            self.findings.add(Kind::Silent, None, self.case.wordless, what);
        }
        for (at, claim) in claims.iter().enumerate() {
            let producer = claim.producer;
            if claim.run != run {
                let what = format_args!("producer {producer} sent for run {}", claim.run);
                self.findings.add(Kind::Contradiction, None, 1, what);
            }
            if claims[..at].iter().any(|other| other.producer == producer) {
                self.findings.add(Kind::Contradiction, None, 1, format_args!("two claims for producer {producer}"));
            }
            let streams = claim.streams();
            if streams.iter().any(|stream| stream.producer != producer) {
                self.findings.add(
                    Kind::Contradiction,
                    None,
                    1,
                    format_args!("producer {producer} reports streams of another"),
                );
            }
            for stream in streams.iter().filter(|stream| stream.sent > 0) {
                if !ranges.iter().any(|range| range.partition == stream.partition) {
                    let what = format_args!("its offsets are unknown, but producer {producer} sent to it");
                    self.findings.add(Kind::Silent, Some(stream.partition), stream.sent, what);
                }
            }
            if let Some(state) = &claim.state
                && state.folded_epochs > 0
            {
                let what =
                    format_args!("producer {producer} no longer reports its first {} epochs", state.folded_epochs);
                self.findings.add(Kind::Inexact, None, state.folded_epochs, what);
            }
            self.findings.producer_adds_up(claim);
            self.went(claim);
        }
        if received.run != Some(run) {
            self.findings.add(Kind::Contradiction, None, 1, "the consumer was not started for this run (--run)");
        }
        self.findings.consumer_adds_up(received);
        self.case.witnesses.iter().for_each(|witness| self.findings.consumer_adds_up(witness));
        if topic_ids.windows(2).any(|pair| pair[0] != pair[1]) {
            let what = format!("topic id changed ({})", topic_ids.join(", "));
            self.findings.add(Kind::TopicRecreated, None, 1, what);
        }
    }

    /// Checks how a producer process ended.
    fn went(&mut self, claim: &Claim) {
        let producer = claim.producer;
        match (claim.gave_up(), claim.ended(), claim.went) {
            (Some(reason), ..) => {
                let what = format!("producer {producer} gave up ({reason:?})").to_lowercase();
                self.findings.add(Kind::Died, None, 1, what);
            }
            (None, false, HowEnded::ByItself) => {
                self.findings.add(Kind::Died, None, 1, format_args!("producer {producer} exited before it was done"));
            }
            (None, false, HowEnded::Asked) => {
                let what = format_args!(
                    "producer {producer} was told to stop but printed no final line: \
                     what it did after its last checkpoint is unknown"
                );
                self.findings.add(Kind::NoLastWord, None, 1, what);
            }
            _ => {}
        }
    }

    fn partition(&mut self, range: &OffsetRange) -> Row {
        let partition = range.partition;
        let mut row = Row { partition, start: range.start, end: range.end, ..Row::default() };
        let mut sent: BTreeMap<HandleKey, (&Claim, &SendStream)> = BTreeMap::new();
        for claim in self.case.claims {
            for stream in claim.streams().iter().filter(|stream| stream.partition == partition) {
                if sent.insert((claim.producer, stream.epoch), (claim, stream)).is_some() {
                    let what = format_args!("producer {} reports epoch {} twice", claim.producer, stream.epoch);
                    self.findings.add(Kind::Contradiction, Some(partition), 1, what);
                }
                row.sent += stream.sent;
                row.acked += stream.acked;
                row.not_persisted += stream.not_persisted;
                row.unknown += stream.sent.saturating_sub(stream.acked + stream.not_persisted);
            }
        }
        let Some(read) = self.case.received.partitions.iter().find(|read| read.partition == partition) else {
            self.findings.add(Kind::Silent, Some(partition), 1, "not reported by the consumer");
            return row;
        };
        let counts = &read.counts;
        row.received = counts.received;
        row.duplicate = counts.duplicate;
        row.out_of_order = counts.out_of_order;
        row.corrupt = counts.corrupt;
        row.misrouted = counts.misrouted;
        row.others = counts.other_runs + counts.foreign + counts.copied;
        row.redelivered = counts.redelivered;
        row.records = counts.records;
        self.findings.read(partition, counts);
        let doubtful = self.coverage(range, read, &mut row);
        let received = self.streams_of(partition);
        if read.folded_streams > 0 {
            let what = format_args!("{} streams are no longer kept in detail", read.folded_streams);
            self.findings.add(Kind::Inexact, Some(partition), read.folded_streams, what);
        } else if received.values().map(|stream| stream.received).sum::<u64>() != row.received {
            let what = "the consumer's streams do not add up to what it received";
            self.findings.add(Kind::Contradiction, Some(partition), 1, what);
        }
        let keys: BTreeSet<HandleKey> = sent.keys().chain(received.keys()).copied().collect();
        for key in keys {
            self.stream(key, &mut row, sent.get(&key).copied(), received.get(&key).copied(), doubtful);
        }
        self.witnesses(partition, &sent, &received, doubtful);
        row
    }

    /// The streams of a partition that the consumer reports.
    fn streams_of(&mut self, partition: i32) -> BTreeMap<HandleKey, &'a ReceiveStream> {
        let mut received: BTreeMap<HandleKey, &ReceiveStream> = BTreeMap::new();
        let case = self.case;
        for stream in &case.received.streams {
            if stream.partition == partition
                && stream.run == case.run
                && received.insert((stream.producer, stream.epoch), stream).is_some()
            {
                let what =
                    format_args!("the consumer reports producer {}, epoch {} twice", stream.producer, stream.epoch);
                self.findings.add(Kind::Contradiction, Some(partition), 1, what);
            }
        }
        received
    }

    /// Number of offsets of the range that may hold records that were not read. It is 0 if every offset was read and
    /// held one record, or has a known reason for holding none.
    fn coverage(&mut self, range: &OffsetRange, read: &ReceivePartition, row: &mut Row) -> u64 {
        let at = Some(range.partition);
        self.findings.other_log(read);
        if range.end < range.start {
            let what = format_args!("its end offset went back from {} to {}", range.start, range.end);
            self.findings.add(Kind::LogRestarted, at, 1, what);
            // Offsets have lost their meaning, so nothing else follows from them.
            return u64::MAX;
        }
        if self.case.received.event == StateEvent::End
            && let Some(high) = read.high
            && high < read.next
        {
            let what = format_args!("the log ends at {high} but had been read up to {}", read.next);
            self.findings.add(Kind::LogTruncated, at, read.next.abs_diff(high), what);
        }
        let mut doubtful = 0;
        if read.start > range.start {
            let what = format_args!("read from offset {} on, but the run began at {}", read.start, range.start);
            self.findings.add(Kind::NotDrained, at, 1, what);
            doubtful += read.start.abs_diff(range.start);
        }
        if read.next < range.end {
            let reason = self.case.received.reason.map_or("still reading".into(), |reason| format!("{reason:?}"));
            let what = format_args!("read up to {}, not to {} ({})", read.next, range.end, reason.to_lowercase());
            self.findings.add(Kind::NotDrained, at, range.end.abs_diff(read.next), what);
            doubtful += range.end.abs_diff(read.next);
        }
        if let Some(stuck) = &read.stuck {
            let what = format_args!("the consumer is stuck at offset {}: {stuck}", read.next);
            self.findings.add(Kind::Stuck, at, 1, what);
        }
        if read.start_moved {
            let what = format_args!(
                "the log's start moved past {} offsets before they were read: retention or deleted records",
                read.retired
            );
            self.findings.add(Kind::StartMoved, at, read.retired, what);
            doubtful += read.retired.max(1);
        }
        doubtful += self.gaps(read, row);
        let (records, counts) = (row.records, &read.counts);
        if records.saturating_add(read.offset_gaps) != read.next.abs_diff(read.start) {
            let what = format_args!(
                "{records} records and {} offsets without a record do not add up to the {} offsets that were read",
                read.offset_gaps,
                read.next.abs_diff(read.start)
            );
            self.findings.add(Kind::Contradiction, at, 1, what);
        }
        let ours = counts.received + counts.duplicate + counts.corrupt + counts.misrouted;
        let counted = ours + row.others;
        if counted != records {
            let what = format_args!("{records} records read, but {counted} accounted for");
            self.findings.add(Kind::Unaccounted, at, counted.abs_diff(records), what);
        }
        doubtful
    }

    /// Number of offsets without a record that the brokers' batches do not explain.
    fn gaps(&mut self, read: &ReceivePartition, row: &mut Row) -> u64 {
        let at = Some(read.partition);
        let gaps = read.offset_gaps.saturating_sub(read.retired);
        let Some(explained) = read.explained else {
            if gaps > 0 {
                self.findings.add(
                    Kind::Gaps,
                    at,
                    gaps,
                    format_args!("{gaps} offsets have no record, and nobody checked why"),
                );
            }
            return gaps;
        };
        (row.markers, row.compacted) = (explained.markers, explained.compacted);
        let sum = explained.markers + explained.compacted + explained.hidden + explained.unknown;
        if sum != gaps {
            let what = format_args!("{gaps} offsets have no record, but {sum} are explained");
            self.findings.add(Kind::Contradiction, at, 1, what);
            return gaps;
        }
        if explained.hidden > 0 {
            let what = format_args!("{} records in the log were not delivered to the consumer", explained.hidden);
            self.findings.add(Kind::Hidden, at, explained.hidden, what);
        }
        if explained.unknown > 0 {
            let what = format_args!("{} offsets have no record, and no broker could explain them", explained.unknown);
            self.findings.add(Kind::Gaps, at, explained.unknown, what);
        }
        gaps.saturating_sub(explained.markers + explained.compacted)
    }

    /// Judges a stream that at least one side reports.
    fn stream(
        &mut self,
        key: HandleKey,
        row: &mut Row,
        sent: Option<(&Claim, &SendStream)>,
        received: Option<&ReceiveStream>,
        doubtful: u64,
    ) {
        let (producer, epoch) = key;
        let partition = row.partition;
        let mut evidence = evidence(key, partition, received);
        let name = name(&evidence);
        let seen = match received {
            None => Some(Default::default()),
            Some(stream) => self.findings.received_set(partition, &name, stream),
        };
        match (sent, seen) {
            (None, seen) => {
                let count = received.map_or(0, |stream| stream.received);
                let seen = seen.unwrap_or_default();
                match self.case.claims.iter().find(|claim| claim.producer == producer) {
                    // It opened this epoch, or first sent to this partition, after its last checkpoint.
                    Some(claim) if !claim.ended() => row.unpromised += count,
                    // The epochs that it does not report are a doubt already.
                    Some(Claim { state: Some(state), .. })
                        if state.folded_epochs > 0 && state.streams.iter().all(|stream| stream.epoch > epoch) => {}
                    Some(_) => {
                        let what = format_args!("{count} received but never sent ({name}: {})", spelled(&seen));
                        self.findings.add(Kind::NeverSent, Some(partition), count, what);
                        evidence.never_sent = seen;
                    }
                    None => {
                        let what = format_args!("{count} received from {name}, which is not a producer of this run");
                        self.findings.add(Kind::Stranger, Some(partition), count, what);
                        evidence.never_sent = seen;
                    }
                }
            }
            (Some((claim, stream)), seen) => {
                let consistent = self.findings.is_consistent(partition, &name, claim, stream);
                match seen {
                    Some(seen) if consistent => {
                        self.findings.compare(
                            row,
                            (claim, stream),
                            &seen,
                            Unread { offsets: doubtful, below: 0, room: 0 },
                            &mut evidence,
                        );
                    }
                    // By count only: there is a doubt already, but the table should still show something.
                    _ => row.unread += stream.acked.saturating_sub(received.map_or(0, |stream| stream.received)),
                }
            }
        }
        self.findings.keep(evidence);
    }

    /// Finds what witnesses read during the run and is no longer in the log. What was acknowledged counts as missing
    /// already.
    fn witnesses(
        &mut self,
        partition: i32,
        sent: &BTreeMap<HandleKey, (&Claim, &SendStream)>,
        received: &BTreeMap<HandleKey, &ReceiveStream>,
        doubtful: u64,
    ) {
        let case = self.case;
        for witness in case.witnesses {
            if let Some(read) = witness.partitions.iter().find(|read| read.partition == partition) {
                self.findings.other_log(read);
                if read.folded_streams > 0 {
                    let what = "a consumer that read during the run no longer keeps all streams in detail";
                    self.findings.add(Kind::Inexact, Some(partition), read.folded_streams, what);
                }
            }
            let streams = witness.streams.iter();
            for stream in streams.filter(|stream| stream.partition == partition && stream.run == case.run) {
                let key = (stream.producer, stream.epoch);
                let name = name(&evidence(key, partition, None));
                let Some(seen) = self.findings.received_set(partition, &name, stream) else { continue };
                let acked = sent.get(&key).map(|(_, sent)| sent.acked_ranges.clone()).unwrap_or_default();
                let there = match received.get(&key) {
                    // There is a doubt already.
                    Some(received) if !received.exact => continue,
                    Some(received) => arrived(received),
                    None => Default::default(),
                };
                let gone = seen.difference(&there).difference(&acked);
                if gone.count() > doubtful {
                    let what = format_args!(
                        "{} were read during the run but are no longer in the log ({name}: {})",
                        gone.count(),
                        spelled(&gone)
                    );
                    self.findings.add(Kind::Vanished, Some(partition), gone.count(), what);
                }
            }
        }
    }

    /// Checks that the expected number of messages was sent and acked.
    fn expect(&mut self, messages: u64, rows: &[Row]) {
        for row in rows {
            let at = Some(row.partition);
            if row.not_persisted > 0 {
                let what = format_args!("{} not persisted", row.not_persisted);
                self.findings.add(Kind::NotPersisted, at, row.not_persisted, what);
            }
            if row.unknown > 0 {
                let what = format_args!("the producer does not know the outcome of {}", row.unknown);
                self.findings.add(Kind::Unknown, at, row.unknown, what);
            }
            if row.sent == 0 && messages >= rows.len() as u64 {
                self.findings.add(Kind::Count, at, 0, "nothing was sent to it");
            }
        }
        let states = || self.case.claims.iter().filter_map(|claim| claim.state.as_ref());
        let sent: u64 = states().map(|state| state.totals.sent).sum();
        if sent != messages {
            let reasons: Vec<String> =
                states().map(|state| state.reason.map_or("died".into(), |r| format!("{r:?}").to_lowercase())).collect();
            let what = format!("{sent} of {messages} messages sent ({})", reasons.join(", "));
            self.findings.add(Kind::Count, None, sent.abs_diff(messages), what);
        }
    }
}
