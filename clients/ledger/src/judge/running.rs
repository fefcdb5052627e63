//! The verdict over running clients: what producers had acknowledged so far against what a consumer has read.

use std::collections::BTreeMap;

use super::claim::{Claim, OffsetRange};
use super::conclusion::{ReportParts, conclude};
use super::streams::{HandleKey, StreamFindings, Unread, evidence, name};
use crate::lines::{ConsumerState, Kind, RUNNING, ReceivePartition, ReceiveStream, Row, SendStream, Standing};

/// Tolerance for differing clocks in ms: a producer may be on another host and seem to have started earlier than it
/// did.
const CLOCKS_MS: u64 = 5_000;

/// The input of [`judge_running`]. It must be collected in this order: claims, offsets, the consumer's state.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The topic, for the report only.
    pub topic: &'a str,
    /// The claims of all running producers so far.
    pub claims: &'a [Claim],
    /// Each partition's first offset and end offset, queried after the claims.
    pub offsets: &'a [OffsetRange],
    /// A state of the consumer, which should have read to those end offsets.
    pub received: &'a ConsumerState,
    /// The topic's id, queried with the offsets.
    pub topic_id: Option<&'a str>,
}

/// Compares what running producers had acknowledged with what a running consumer has read.
pub fn judge_running(running: &Running<'_>) -> Standing {
    let mut judge = RunningJudge { running, findings: StreamFindings::default(), remarks: Vec::new(), gone: 0 };
    judge.all_partitions();
    let rows: Vec<Row> = running.offsets.iter().map(|range| judge.partition(range)).collect();
    judge.remark(&rows);
    let RunningJudge { findings, remarks, .. } = judge;
    let ReportParts { verdict, findings, reasons, evidence } = conclude(findings, running.claims);
    Standing {
        schema: RUNNING.into(),
        topic: running.topic.to_owned(),
        verdict,
        reasons,
        findings,
        remarks,
        partitions: rows,
        evidence,
    }
}

struct RunningJudge<'a> {
    running: &'a Running<'a>,
    findings: StreamFindings,
    remarks: Vec<String>,
    /// Sequences that did not arrive from producers that no longer run.
    gone: u64,
}

impl RunningJudge<'_> {
    fn all_partitions(&mut self) {
        let Running { claims, received, offsets, .. } = *self.running;
        self.findings.consumer_adds_up(received);
        let mut ids = vec![("the consumer".to_owned(), received.topic_id.as_deref())];
        for (at, claim) in claims.iter().enumerate() {
            let producer = claim.producer;
            if claims[..at].iter().any(|other| other.producer == producer) {
                self.findings.add(Kind::Contradiction, None, 1, format_args!("two claims for producer {producer}"));
            }
            self.findings.producer_adds_up(claim);
            if let Some(reason) = claim.gave_up() {
                let what = format!("producer {producer} gave up ({reason:?})").to_lowercase();
                self.findings.add(Kind::Died, None, 1, what);
            }
            let Some(state) = &claim.state else {
                self.findings.add(
                    Kind::Silent,
                    None,
                    1,
                    format_args!("producer {producer} has not reported anything yet"),
                );
                continue;
            };
            ids.push((format!("producer {producer}"), state.topic_id.as_deref()));
            if state.folded_epochs > 0 {
                let what =
                    format_args!("producer {producer} no longer reports its first {} epochs", state.folded_epochs);
                self.findings.add(Kind::Inexact, None, state.folded_epochs, what);
            }
            for stream in state.streams.iter().filter(|stream| stream.acked > 0) {
                if !offsets.iter().any(|range| range.partition == stream.partition) {
                    let what = format_args!(
                        "the topic no longer has this partition, but producer {producer} had {} messages \
                         acknowledged in it",
                        stream.acked
                    );
                    self.findings.add(Kind::LogRestarted, Some(stream.partition), stream.acked, what);
                }
            }
        }
        if let Some(run) = received.run {
            for claim in claims.iter().filter(|claim| claim.run != run) {
                let what = format_args!(
                    "the consumer was started for run {run} (--run), but producer {} sends for run {}",
                    claim.producer, claim.run
                );
                self.findings.add(Kind::Contradiction, None, 1, what);
            }
        }
        if offsets.is_empty() {
            self.findings.add(Kind::Silent, None, 1, "no partition's offsets are known");
        }
        self.same_topic(&ids);
    }

    /// Checks that the topic was not recreated after any of these clients began.
    fn same_topic(&mut self, ids: &[(String, Option<&str>)]) {
        for (who, began) in ids {
            match (began, self.running.topic_id) {
                (Some(began), Some(now)) if *began != now => {
                    let what = format!(
                        "the topic was deleted and created again after {who} began: its id was {began} \
                         and is now {now}"
                    );
                    self.findings.add(Kind::TopicRecreated, None, 1, what);
                }
                (Some(_), Some(_)) => {}
                (None, None) => {
                    self.remarks.push(format!("cannot tell whether the topic was recreated after {who} began"));
                }
                _ => {
                    let what =
                        format!("cannot tell whether the topic was recreated after {who} began: its id is unknown");
                    self.findings.add(Kind::Silent, None, 1, what);
                }
            }
        }
    }

    fn partition(&mut self, range: &OffsetRange) -> Row {
        let partition = range.partition;
        let at = Some(partition);
        let mut row = Row { partition, start: range.start, end: range.end, ..Row::default() };
        let mut sent: BTreeMap<HandleKey, (&Claim, &SendStream)> = BTreeMap::new();
        for claim in self.running.claims {
            for stream in claim.streams().iter().filter(|stream| stream.partition == partition) {
                if sent.insert((claim.producer, stream.epoch), (claim, stream)).is_some() {
                    let what = format_args!("producer {} reports epoch {} twice", claim.producer, stream.epoch);
                    self.findings.add(Kind::Contradiction, at, 1, what);
                }
                row.sent += stream.sent;
                row.acked += stream.acked;
                row.not_persisted += stream.not_persisted;
                row.unknown += stream.unknown;
            }
        }
        if row.not_persisted > 0 {
            let what = format_args!("{} rejected by the brokers: not persisted and not retried", row.not_persisted);
            self.findings.add(Kind::NotPersisted, at, row.not_persisted, what);
        }
        if row.unknown > 0 {
            let what = format_args!("the producer does not know the outcome of {}", row.unknown);
            self.findings.add(Kind::Unknown, at, row.unknown, what);
        }
        let Some(read) = self.running.received.partitions.iter().find(|read| read.partition == partition) else {
            self.findings.add(Kind::Silent, at, 1, "not reported by the consumer");
            row.unread = row.acked;
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
        self.findings.other_log(read);
        let doubtful = self.coverage(range, read);
        let mut received: BTreeMap<HandleKey, &ReceiveStream> = BTreeMap::new();
        for stream in self.running.received.streams.iter().filter(|stream| stream.partition == partition) {
            let key = (stream.producer, stream.epoch);
            if sent.get(&key).is_some_and(|(claim, _)| claim.run == stream.run) {
                if received.insert(key, stream).is_some() {
                    let what =
                        format_args!("the consumer reports producer {}, epoch {} twice", stream.producer, stream.epoch);
                    self.findings.add(Kind::Contradiction, at, 1, what);
                }
            } else if !self.runs(stream) {
                self.gone = self.gone.saturating_add(stream.missing_count);
            }
        }
        for (key, (claim, stream)) in sent {
            self.stream(key, &mut row, read, (claim, stream), received.get(&key).copied(), doubtful);
        }
        row
    }

    /// Whether a stream is from a running producer, which may have begun it after its last line.
    fn runs(&self, stream: &ReceiveStream) -> bool {
        self.running.claims.iter().any(|claim| (claim.run, claim.producer) == (stream.run, stream.producer))
    }

    /// Number of offsets below the end that may hold records that the consumer has not read.
    fn coverage(&mut self, range: &OffsetRange, read: &ReceivePartition) -> u64 {
        let at = Some(range.partition);
        let mut doubtful = 0;
        if let Some(stuck) = &read.stuck {
            self.findings.add(
                Kind::Stuck,
                at,
                1,
                format_args!("the consumer is stuck at offset {}: {stuck}", read.next),
            );
        }
        if read.next < range.end {
            let what = format_args!("read up to {}, not to {}", read.next, range.end);
            self.findings.add(Kind::NotDrained, at, range.end.abs_diff(read.next), what);
            doubtful += range.end.abs_diff(read.next);
        }
        if read.start_moved {
            let what = format_args!(
                "the log's start moved past {} offsets before they were read: retention or deleted records",
                read.retired
            );
            self.findings.add(Kind::StartMoved, at, read.retired, what);
            doubtful += read.retired.max(1);
        }
        doubtful
    }

    /// Judges a stream of a running producer.
    fn stream(
        &mut self,
        key: HandleKey,
        row: &mut Row,
        read: &ReceivePartition,
        (claim, stream): (&Claim, &SendStream),
        received: Option<&ReceiveStream>,
        doubtful: u64,
    ) {
        let mut evidence = evidence(key, row.partition, received);
        let name = name(&evidence);
        let consistent = self.findings.is_consistent(row.partition, &name, claim, stream);
        let seen = match received {
            Some(received) => self.findings.received_set(row.partition, &name, received),
            // A folded stream is counted but not kept separately.
            None if read.folded_streams > 0 && stream.acked > 0 => {
                let what = format_args!("the consumer no longer keeps {name} in detail");
                self.findings.add(Kind::Inexact, Some(row.partition), 1, what);
                None
            }
            None => Some(Default::default()),
        };
        if let (true, Some(seen)) = (consistent, seen) {
            let below = self.before_reading(read, claim, received);
            let unread = Unread { offsets: doubtful, below, room: u64::try_from(read.start).unwrap_or(0) };
            self.findings.compare(row, (claim, stream), &seen, unread, &mut evidence);
        } else {
            row.unread += stream.acked.saturating_sub(received.map_or(0, |stream| stream.received));
        }
        self.findings.keep(evidence);
    }

    /// Sequences of a stream below the returned one may be before the offset at which the consumer began. It is 0 if
    /// that was the log's first offset, or if the producer started after the consumer.
    fn before_reading(&self, read: &ReceivePartition, claim: &Claim, received: Option<&ReceiveStream>) -> u64 {
        let began = |time_ms: u64, elapsed_ms: u64| time_ms.saturating_sub(elapsed_ms);
        let consumer = self.running.received;
        let later = claim.state.as_ref().is_some_and(|producer| {
            // A wall clock may be moved between the two states, and the state of a process that was paused is old.
            // Neither makes both of these true.
            let by_wall = began(producer.time_ms, producer.elapsed_ms)
                > began(consumer.time_ms, consumer.elapsed_ms).saturating_add(CLOCKS_MS);
            by_wall && consumer.elapsed_ms > producer.elapsed_ms.saturating_add(CLOCKS_MS)
        });
        if read.start == 0 || later {
            return 0;
        }
        // A stream that was never seen may be there entirely.
        received.map_or(u64::MAX, |stream| stream.first)
    }

    /// Notes what the verdict does not cover.
    fn remark(&mut self, rows: &[Row]) {
        if self.gone > 0 {
            self.remarks.push(format!(
                "{} sequences from producers that are gone did not arrive; \
                 whether they were acknowledged is no longer known",
                self.gone
            ));
        }
        let unread: u64 = rows.iter().map(|row| row.unread).sum();
        if unread > 0 {
            self.remarks
                .push(format!("{unread} acknowledged messages may be at offsets that the consumer has not read"));
        }
        if self.running.claims.is_empty() {
            self.remarks.push("no producer is running, so nothing is promised".to_owned());
        }
    }
}
