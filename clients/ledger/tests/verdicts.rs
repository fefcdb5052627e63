//! Verdicts, case by case: what proves a fault, what only leaves a doubt, and which of them wins.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use ledger::intervals::{INTERVALS_MAX, IntervalSet};
use ledger::judge::{Case, Claim, Finding, HowEnded, Kind, OffsetRange, Report, Row, Verdict, judge};
use ledger::lines::{
    CONSUMER, ConsumerState, Explained, LINE_INTERVALS_MAX, PRODUCER, ProducerState, Reason, ReceivePartition,
    ReceiveStream, ReceiveTotals, SendPartition, SendStream, SendTotals, StateEvent,
};
use ledger::received::{Counts, PartitionLedger, Record};
use ledger::sent::{SendLedger, SendOutcome};
use ledger::stamp::{Encoder, ProducerId, RunId};

const RANGES: [OffsetRange; 2] =
    [OffsetRange { partition: 0, start: 100, end: 160 }, OffsetRange { partition: 1, start: 7, end: 57 }];

fn run() -> RunId {
    "r".parse().unwrap()
}

fn claim_of(producer: u32, event: StateEvent, ledgers: &[SendLedger]) -> ProducerState {
    let producer = ProducerId(producer);
    let mut totals = SendTotals::default();
    ledgers.iter().for_each(|ledger| totals.add(ledger));
    ProducerState {
        schema: PRODUCER.into(),
        event,
        time_ms: 2,
        elapsed_ms: 1,
        run: run(),
        producer,
        reason: (event == StateEvent::End).then_some(Reason::Count),
        totals,
        partitions: Vec::new(),
        streams: ledgers.iter().enumerate().map(|(p, ledger)| SendStream::new(producer, 0, p as i32, ledger)).collect(),
        folded_epochs: 0,
        errors: [("_TIMED_OUT".to_owned(), 3)].into(),
        queue_full: 0,
        topic_id: None,
    }
}

fn acked(n: u64) -> SendLedger {
    settled(n, 0, 0, 0)
}

fn state_of(ledgers: &[PartitionLedger]) -> ConsumerState {
    let mut totals = Counts::default();
    ledgers.iter().for_each(|ledger| totals.add(ledger.counts()));
    ConsumerState {
        schema: CONSUMER.into(),
        event: StateEvent::End,
        time_ms: 3,
        elapsed_ms: 1,
        run: Some(run()),
        reason: Some(Reason::End),
        totals: ReceiveTotals::from(&totals),
        partitions: ledgers.iter().map(|l| ReceivePartition::new(l, None, (Some(0), Some(l.next)))).collect(),
        streams: ledgers
            .iter()
            .flat_map(|l| l.streams().iter().map(|stream| ReceiveStream::new(l.partition, stream)))
            .collect(),
        topic_id: None,
    }
}

fn value(producer: u32, partition: u32, sequence: u64) -> Vec<u8> {
    Encoder::new(run(), ProducerId(producer), 0, 0).encode(0, partition, sequence, 1).to_vec()
}

/// The input of a verdict: 50 messages to each of two partitions, and ten records of other writers in partition 0.
#[derive(Clone)]
struct Sample {
    /// Whether totals are computed from their parts.
    sums: bool,
    ranges: Vec<OffsetRange>,
    produced: ProducerState,
    went: HowEnded,
    wordless: u64,
    consumed: ConsumerState,
    witnesses: Vec<ConsumerState>,
    expected: Option<u64>,
    topic_ids: Vec<String>,
}

impl Sample {
    fn clean() -> Self {
        let mut ledgers = [PartitionLedger::new(0, 100, Some(run())), PartitionLedger::new(1, 7, Some(run()))];
        for (partition, ledger) in ledgers.iter_mut().enumerate() {
            for sequence in 0..50 {
                ledger.record(Record::new(ledger.next, Some(&value(1, partition as u32, sequence))));
            }
        }
        for _ in 0..10 {
            ledgers[0].record(Record::new(ledgers[0].next, None));
        }
        Self {
            sums: true,
            ranges: RANGES.to_vec(),
            produced: claim_of(1, StateEvent::End, &[acked(50), acked(50)]),
            went: HowEnded::ByItself,
            wordless: 0,
            consumed: state_of(&ledgers),
            witnesses: Vec::new(),
            expected: Some(100),
            topic_ids: Vec::new(),
        }
    }

    /// Totals match their parts, whatever was changed in these. Other tests cover totals that do not.
    fn judge(&self) -> Report {
        let mut sample = self.clone();
        let (sent, read) = (&mut sample.produced, &mut sample.consumed);
        if sent.folded_epochs == 0 && self.sums {
            sent.totals = SendTotals::default();
            for stream in &sent.streams {
                sent.totals.sent += stream.sent;
                sent.totals.acked += stream.acked;
                sent.totals.not_persisted += stream.not_persisted;
                sent.totals.unknown += stream.unknown;
            }
            let settled = sent.totals.acked + sent.totals.not_persisted + sent.totals.unknown;
            sent.totals.in_flight = sent.totals.sent.saturating_sub(settled);
        }
        if self.sums {
            read.totals = ReceiveTotals::default();
            for ReceivePartition { counts, .. } in &read.partitions {
                let sum = &mut read.totals;
                sum.records += counts.records;
                sum.received += counts.received;
                sum.missing += counts.missing;
                sum.duplicate += counts.duplicate;
                sum.out_of_order += counts.out_of_order;
                sum.corrupt += counts.corrupt;
                sum.misrouted += counts.misrouted;
                sum.copied += counts.copied;
                sum.other_runs += counts.other_runs;
                sum.foreign += counts.foreign;
                sum.redelivered += counts.redelivered;
            }
        }
        sample.as_it_is()
    }

    fn as_it_is(&self) -> Report {
        let claims = [Claim::by(self.produced.clone(), self.went)];
        let case = Case::new(run(), "test", &self.ranges, &claims, &self.consumed);
        judge(&Case {
            wordless: self.wordless,
            witnesses: &self.witnesses,
            expected: self.expected,
            topic_ids: &self.topic_ids,
            ..case
        })
    }
}

fn set(intervals: &[(u64, u64)]) -> IntervalSet {
    intervals.to_vec().try_into().unwrap()
}

type SampleChange = fn(&mut Sample);

/// The expected effect of a change: the verdict, all findings (kind, partition, count), and a part of the reasons.
type Expected<'a> = (SampleChange, Verdict, &'a [(Kind, Option<i32>, u64)], &'a str);

fn check(table: &[Expected<'_>]) {
    for (change, verdict, kinds, expected) in table {
        let mut sample = Sample::clean();
        change(&mut sample);
        let report = sample.judge();
        let reasons = report.reasons.join("; ");
        assert_eq!(report.verdict, *verdict, "{expected}: {reasons}");
        let found: Vec<_> = report.findings.iter().map(|found| (found.kind, found.partition, found.count)).collect();
        assert_eq!(found, *kinds, "{reasons}");
        assert!(reasons.contains(expected), "{expected} is not in: {reasons}");
    }
}

#[test]
fn a_clean_run_passes_and_others_are_only_counted() {
    let report = Sample::clean().judge();
    assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, [].as_slice()));
    assert_eq!((report.partitions[0].others, report.ended, report.died), (10, 1, 0));
    // A consumer that reads past the end, or started before the run, has read the run all the same. It does not matter
    // either if retention has since removed what was read.
    let mut sample = Sample::clean();
    (sample.ranges[0].end, sample.ranges[1].start) = (155, 9);
    sample.consumed.partitions[0].low = Some(140);
    // Nothing was sent to a partition added later.
    sample.produced.streams.push(SendStream::new(ProducerId(1), 0, 2, &acked(0)));
    let report = sample.judge();
    assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, [].as_slice()));
}

#[test]
fn each_fault_is_found_and_named_and_nothing_else_is() {
    use Kind::*;
    use Verdict::Fail;
    check(&[
        (
            // The tail is lost: the log is shorter, and only the producer knows.
            |s| {
                s.consumed.partitions[1].counts.received = 48;
                s.consumed.partitions[1].counts.other_runs = 2;
                (s.consumed.streams[1].next, s.consumed.streams[1].received) = (48, 48);
            },
            Fail,
            &[(Missing, Some(1), 2)],
            "partition 1: 2 acknowledged and not received (producer 00000001, epoch 0: 48-49)",
        ),
        (
            |s| {
                s.consumed.partitions[0].counts.received = 49;
                s.consumed.partitions[0].counts.foreign += 1;
                (s.consumed.streams[0].missing, s.consumed.streams[0].received) = (set(&[(7, 8)]), 49);
            },
            Fail,
            &[(Missing, Some(0), 1)],
            "partition 0: 1 acknowledged and not received (producer 00000001, epoch 0: 7)",
        ),
        (
            |s| {
                s.consumed.streams.remove(0);
                s.consumed.partitions[0].counts.received = 0;
                s.consumed.partitions[0].counts.foreign = 60;
            },
            Fail,
            &[(Missing, Some(0), 50)],
            "partition 0: 50 acknowledged and not received",
        ),
        (
            // As many as were acked, but different ones: only sets can reveal that.
            |s| {
                let stream = &mut s.produced.streams[0];
                (stream.acked_ranges, stream.not_persisted_ranges) = (set(&[(0, 3), (4, 50)]), set(&[(3, 4)]));
                (stream.acked, stream.not_persisted) = (49, 1);
                (s.consumed.streams[0].missing, s.consumed.streams[0].received) = (set(&[(8, 9)]), 49);
                s.consumed.partitions[0].counts.received = 49;
                s.consumed.partitions[0].counts.foreign = 11;
            },
            Fail,
            &[(Missing, Some(0), 1), (NotPersistedReceived, Some(0), 1), (NotPersisted, Some(0), 1)],
            "partition 0: 1 reported as not persisted but received (producer 00000001, epoch 0: 3)",
        ),
        (
            // More messages are missing than offsets are unread, so some are certainly lost.
            |s| {
                s.consumed.partitions[1].counts.received = 46;
                s.consumed.partitions[1].counts.records = 49;
                s.consumed.partitions[1].counts.foreign = 3;
                s.consumed.partitions[1].next = 56;
                (s.consumed.streams[1].next, s.consumed.streams[1].received) = (46, 46);
            },
            Fail,
            &[(Missing, Some(1), 4), (NotDrained, Some(1), 1)],
            "partition 1: 4 acknowledged and not received",
        ),
    ]);
}

#[test]
fn each_bad_record_is_a_fault() {
    use Kind::*;
    use Verdict::Fail;
    check(&[
        (
            |s| {
                s.consumed.partitions[0].counts.duplicate = 1;
                s.consumed.partitions[0].counts.foreign = 9;
            },
            Fail,
            &[(Duplicate, Some(0), 1)],
            "partition 0: 1 received twice",
        ),
        (
            |s| s.consumed.partitions[1].counts.out_of_order = 3,
            Fail,
            &[(OutOfOrder, Some(1), 3)],
            "partition 1: 3 out of order",
        ),
        (
            |s| {
                s.consumed.partitions[0].counts.corrupt = 1;
                s.consumed.partitions[0].counts.foreign = 9;
            },
            Fail,
            &[(Corrupt, Some(0), 1)],
            "partition 0: 1 corrupt",
        ),
        (
            |s| {
                s.consumed.partitions[0].counts.misrouted = 1;
                s.consumed.partitions[0].counts.foreign = 9;
            },
            Fail,
            &[(Misrouted, Some(0), 1)],
            "in a partition other than",
        ),
        (
            |s| s.consumed.partitions[0].counts.foreign = 9,
            Fail,
            &[(Unaccounted, Some(0), 1)],
            "60 records read, but 59 accounted for",
        ),
    ]);
}

#[test]
fn a_log_that_is_another_one_is_a_fault() {
    use Kind::*;
    use Verdict::Fail;
    check(&[
        (
            |s| s.consumed.partitions[0].log_restarts = 1,
            Fail,
            &[(LogRestarted, Some(0), 1)],
            "the log ended below what had already been read",
        ),
        (
            |s| s.consumed.partitions[1].log_truncations = 2,
            Fail,
            &[(LogTruncated, Some(1), 2)],
            "partition 1: the log was truncated below what had already been read",
        ),
        (
            // Everything was read, and then the brokers report an end offset below that.
            |s| s.consumed.partitions[1].high = Some(50),
            Fail,
            &[(LogTruncated, Some(1), 7)],
            "the log ends at 50 but had been read up to 57",
        ),
        (|s| s.ranges[1].end = 3, Fail, &[(LogRestarted, Some(1), 1)], "its end offset went back from 7 to 3"),
        (
            |s| s.topic_ids = ["a".into(), "b".into()].into(),
            Fail,
            &[(TopicRecreated, None, 1)],
            "topic id changed (a, b)",
        ),
    ]);
}

#[test]
fn what_nobody_sent_or_a_broker_refused_is_a_fault() {
    use Kind::*;
    use Verdict::Fail;
    check(&[
        (
            |s| s.produced.producer = ProducerId(2),
            Fail,
            &[
                (Stranger, Some(0), 50),
                (Missing, Some(0), 50),
                (Stranger, Some(1), 50),
                (Missing, Some(1), 50),
                (Contradiction, None, 1),
            ],
            "partition 0: 50 received from producer 00000001, epoch 0, which is not a producer of this run",
        ),
        (
            |s| {
                s.produced.streams[0] = SendStream::new(ProducerId(1), 0, 0, &acked(48));
                s.expected = None;
            },
            Fail,
            &[(NeverSent, Some(0), 2)],
            "partition 0: 2 received but never sent (producer 00000001, epoch 0: 48-49)",
        ),
        (
            |s| {
                s.produced.streams.truncate(1);
                s.expected = None;
            },
            Fail,
            &[(NeverSent, Some(1), 50)],
            "partition 1: 50 received but never sent (producer 00000001, epoch 0: 0-49)",
        ),
        (
            |s| {
                let stream = &mut s.produced.streams[0];
                (stream.acked_ranges, stream.not_persisted_ranges) = (set(&[(0, 49)]), set(&[(49, 50)]));
                (stream.acked, stream.not_persisted) = (49, 1);
                (s.consumed.streams[0].next, s.consumed.streams[0].received) = (49, 49);
                s.consumed.partitions[0].counts.received = 49;
                s.consumed.partitions[0].counts.foreign = 11;
            },
            Fail,
            &[(NotPersisted, Some(0), 1)],
            "partition 0: 1 not persisted",
        ),
    ]);
}

#[test]
fn what_was_not_sent_or_is_gone_is_a_fault() {
    use Kind::*;
    use Verdict::Fail;
    check(&[
        (|s| s.expected = Some(101), Fail, &[(Count, None, 1)], "100 of 101 messages sent (count)"),
        (|s| s.expected = Some(101), Fail, &[(Count, None, 1)], "delivery error _TIMED_OUT, 3 times"),
        (
            |s| {
                s.produced.streams.remove(1);
                s.consumed.streams.remove(1);
                s.consumed.partitions[1].counts.received = 0;
                s.consumed.partitions[1].counts.foreign = 50;
                s.expected = Some(50);
            },
            Fail,
            &[(Count, Some(1), 0)],
            "partition 1: nothing was sent to it",
        ),
        (
            |s| {
                s.produced.event = StateEvent::Checkpoint;
                s.produced.reason = None;
            },
            Fail,
            &[(Died, None, 1)],
            "producer 00000001 exited before it was done",
        ),
        (|s| s.produced.reason = Some(Reason::Fatal), Fail, &[(Died, None, 1)], "producer 00000001 gave up (fatal)"),
        (
            // The witness saw five records more, of an epoch that was never acknowledged.
            |s| {
                let mut stream = s.consumed.streams[1].clone();
                (stream.epoch, stream.next, stream.received) = (1, 5, 5);
                s.witnesses.push(s.consumed.clone());
                s.witnesses[0].streams.push(stream);
            },
            Fail,
            &[(Vanished, Some(1), 5)],
            "5 were read during the run but are no longer in the log (producer 00000001, epoch 1: 0-4)",
        ),
        (
            |s| {
                s.witnesses.push(s.consumed.clone());
                s.witnesses[0].partitions[0].log_truncations = 1;
            },
            Fail,
            &[(LogTruncated, Some(0), 1)],
            "partition 0: the log was truncated",
        ),
    ]);
}

#[test]
fn what_cannot_be_told_is_inconclusive() {
    use Kind::*;
    use Verdict::Inconclusive;
    check(&[
        (
            // Retention removed the last two before they were read.
            |s| {
                let row = &mut s.consumed.partitions[1];
                (row.start_moved, row.retired, row.offset_gaps) = (true, 2, 2);
                (row.counts.records, row.counts.received) = (48, 48);
                (s.consumed.streams[1].next, s.consumed.streams[1].received) = (48, 48);
            },
            Inconclusive,
            &[(StartMoved, Some(1), 2)],
            "the log's start moved past 2 offsets before they were read",
        ),
        (
            |s| stop_at_40(s, Some(Reason::Idle), StateEvent::End),
            Inconclusive,
            &[(NotDrained, Some(1), 17)],
            "read up to 40, not to 57 (idle)",
        ),
        (
            |s| stop_at_40(s, None, StateEvent::Checkpoint),
            Inconclusive,
            &[(NotDrained, Some(1), 17)],
            "read up to 40, not to 57 (still reading)",
        ),
        (
            |s| {
                stop_at_40(s, None, StateEvent::Checkpoint);
                s.consumed.partitions[1].stuck = Some("_BAD_COMPRESSION".into());
            },
            Inconclusive,
            &[(NotDrained, Some(1), 17), (Stuck, Some(1), 1)],
            "the consumer is stuck at offset 40: _BAD_COMPRESSION",
        ),
        (
            |s| s.ranges[1].start = 5,
            Inconclusive,
            &[(NotDrained, Some(1), 1)],
            "partition 1: read from offset 7 on, but the run began at 5",
        ),
        (
            // The first two were acknowledged, and lie before the start of reading.
            |s| {
                let row = &mut s.consumed.partitions[1];
                (row.start, row.counts.records, row.counts.received) = (9, 48, 48);
                (s.consumed.streams[1].first, s.consumed.streams[1].received) = (2, 48);
            },
            Inconclusive,
            &[(NotDrained, Some(1), 1)],
            "partition 1: read from offset 9 on, but the run began at 7",
        ),
        (
            |s| s.consumed.partitions.truncate(1),
            Inconclusive,
            &[(Silent, Some(1), 1)],
            "partition 1: not reported by the consumer",
        ),
        (|s| s.ranges.truncate(1), Inconclusive, &[(Silent, Some(1), 50)], "partition 1: its offsets are unknown"),
    ]);
}

#[test]
fn what_a_client_cannot_tell_is_inconclusive() {
    use Kind::*;
    use Verdict::Inconclusive;
    check(&[
        (
            |s| {
                let stream = &mut s.produced.streams[0];
                (stream.acked_ranges, stream.unknown_ranges) = (set(&[(0, 49)]), set(&[(49, 50)]));
                (stream.acked, stream.unknown) = (49, 1);
            },
            Inconclusive,
            &[(Unknown, Some(0), 1)],
            "the producer does not know the outcome of 1",
        ),
        (
            |s| s.consumed.streams[0].exact = false,
            Inconclusive,
            &[(Inexact, Some(0), 1)],
            "more gaps than the consumer can track",
        ),
        (
            |s| s.produced.streams[0].exact = false,
            Inconclusive,
            &[(Inexact, Some(0), 1)],
            "more outcomes than the producer can track",
        ),
        (
            |s| s.consumed.partitions[0].folded_streams = 1,
            Inconclusive,
            &[(Inexact, Some(0), 1)],
            "no longer kept in detail",
        ),
        (
            |s| {
                s.produced.folded_epochs = 2;
                s.produced.streams.iter_mut().for_each(|stream| stream.epoch = 2);
                s.consumed.streams.iter_mut().for_each(|stream| stream.epoch = 2);
            },
            Inconclusive,
            &[(Inexact, None, 2)],
            "no longer reports its first 2 epochs",
        ),
        (
            |s| {
                (s.produced.event, s.produced.reason, s.went) = (StateEvent::Checkpoint, None, HowEnded::Asked);
            },
            Inconclusive,
            &[(NoLastWord, None, 1)],
            "was told to stop but printed no final line",
        ),
        (|s| s.wordless = 2, Inconclusive, &[(Silent, None, 2)], "2 producers printed no line at all"),
        (
            // The last record was not delivered, and nobody checked why.
            |s| hide_the_last(s, None),
            Inconclusive,
            &[(Gaps, Some(1), 1)],
            "partition 1: 1 offsets have no record, and nobody checked why",
        ),
        (
            |s| hide_the_last(s, Some(Explained { hidden: 1, ..Explained::default() })),
            Inconclusive,
            &[(Hidden, Some(1), 1)],
            "1 records in the log were not delivered to the consumer",
        ),
        (
            |s| hide_the_last(s, Some(Explained { unknown: 1, ..Explained::default() })),
            Inconclusive,
            &[(Gaps, Some(1), 1)],
            "no broker could explain them",
        ),
    ]);
}

/// Partition 1 is only read up to offset 40.
fn stop_at_40(s: &mut Sample, reason: Option<Reason>, event: StateEvent) {
    let row = &mut s.consumed.partitions[1];
    (row.next, row.counts.records, row.counts.received) = (40, 33, 33);
    (s.consumed.streams[1].next, s.consumed.streams[1].received) = (33, 33);
    (s.consumed.reason, s.consumed.event) = (reason, event);
}

/// The last record of partition 1 is not delivered.
fn hide_the_last(s: &mut Sample, explained: Option<Explained>) {
    let row = &mut s.consumed.partitions[1];
    (row.counts.records, row.counts.received, row.offset_gaps, row.explained) = (49, 49, 1, explained);
    (s.consumed.streams[1].next, s.consumed.streams[1].received) = (49, 49);
}

#[test]
fn what_others_do_in_the_topic_is_theirs() {
    // Transaction markers, compacted records and copies are counted. An offset with a marker holds no record.
    let mut sample = Sample::clean();
    let row = &mut sample.consumed.partitions[0];
    (row.counts.foreign, row.counts.copied, row.counts.records, row.offset_gaps) = (3, 2, 55, 5);
    row.explained = Some(Explained { markers: 4, compacted: 1, ..Explained::default() });
    let report = sample.judge();
    assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, [].as_slice()));
    let row = &report.partitions[0];
    assert_eq!((row.others, row.markers, row.compacted), (5, 4, 1));
    // They do not excuse missing promised records.
    (sample.consumed.streams[0].next, sample.consumed.streams[0].received) = (49, 49);
    sample.consumed.partitions[0].counts.received = 49;
    sample.consumed.partitions[0].counts.foreign = 4;
    let report = sample.judge();
    assert_eq!(report.findings, [Finding { kind: Kind::Missing, partition: Some(0), count: 1 }]);
}

#[test]
fn a_witness_that_saw_no_more_changes_nothing() {
    let mut sample = Sample::clean();
    sample.witnesses = vec![sample.consumed.clone(), sample.consumed.clone()];
    let stream = &mut sample.witnesses[1].streams[0];
    (stream.next, stream.received) = (20, 20);
    assert_eq!(sample.judge().verdict, Verdict::Pass);
    // Acknowledged records that are gone are missing, and counted once.
    sample.consumed.partitions[1].counts.received = 48;
    sample.consumed.partitions[1].counts.other_runs = 2;
    (sample.consumed.streams[1].next, sample.consumed.streams[1].received) = (48, 48);
    let report = sample.judge();
    assert_eq!(report.findings, [Finding { kind: Kind::Missing, partition: Some(1), count: 2 }]);
    assert_eq!((report.partitions[1].missing, report.partitions[1].unread), (2, 0));
}

#[test]
fn what_a_witness_saw_of_a_stream_and_the_last_reader_did_not_has_vanished() {
    // The last two were sent but never acknowledged; the witness read all fifty.
    let mut sample = Sample::clean();
    sample.expected = None;
    let sent = &mut sample.produced.streams[1];
    (sent.acked, sent.unknown) = (48, 2);
    (sent.acked_ranges, sent.unknown_ranges) = (set(&[(0, 48)]), set(&[(48, 50)]));
    sample.witnesses = vec![sample.consumed.clone()];
    let row = &mut sample.consumed.partitions[1];
    (row.counts.received, row.counts.other_runs) = (48, 2);
    let read = &mut sample.consumed.streams[1];
    (read.next, read.received) = (48, 48);
    let report = sample.judge();
    assert_eq!(report.findings, [Finding { kind: Kind::Vanished, partition: Some(1), count: 2 }]);
    // A consumer that does not know what it read does not prove that anything is gone.
    sample.consumed.streams[1].exact = false;
    let report = sample.judge();
    assert_eq!(report.findings, [Finding { kind: Kind::Inexact, partition: Some(1), count: 1 }]);
}

#[test]
fn a_set_that_is_not_whole_counts_by_number_only() {
    let mut sample = Sample::clean();
    sample.expected = None;
    let stream = &mut sample.produced.streams[1];
    (stream.exact, stream.sent, stream.acked) = (false, 60, 60);
    stream.acked_ranges = set(&[(0, 60)]);
    let report = sample.judge();
    assert_eq!(report.findings, [Finding { kind: Kind::Inexact, partition: Some(1), count: 1 }]);
    assert_eq!((report.partitions[1].unread, report.partitions[1].missing), (10, 0));
}

#[test]
fn only_epochs_before_those_that_are_told_can_be_folded() {
    let judged = |folded: u64, told: u32, received: u32| {
        let mut sample = Sample::clean();
        sample.expected = None;
        sample.produced.folded_epochs = folded;
        // Epoch `told` sent only what partition 0 holds; partition 1 received another epoch.
        sample.produced.streams.truncate(1);
        sample.produced.streams[0].epoch = told;
        sample.consumed.streams[0].epoch = told;
        sample.consumed.streams[1].epoch = received;
        sample.judge().findings.into_iter().map(|Finding { kind, count, .. }| (kind, count)).collect::<Vec<_>>()
    };
    let never_sent = (Kind::NeverSent, 50);
    assert_eq!(judged(1, 2, 1), [(Kind::Inexact, 1)]);
    assert_eq!(judged(1, 2, 2), [never_sent, (Kind::Inexact, 1)]);
    assert_eq!(judged(1, 2, 3), [never_sent, (Kind::Inexact, 1)]);
    assert_eq!(judged(0, 2, 1), [never_sent]);
}

#[test]
fn a_witness_that_cannot_be_judged_leaves_a_doubt() {
    type ConsumerChange = fn(&mut ConsumerState);
    let table: [(ConsumerChange, Kind, Option<i32>); 4] = [
        (|witness| witness.streams[0].exact = false, Kind::Inexact, Some(0)),
        (|witness| witness.partitions[1].folded_streams = 1, Kind::Inexact, Some(1)),
        (|witness| witness.streams[1].received = 49, Kind::Contradiction, Some(1)),
        (|witness| witness.totals.received += 5, Kind::Contradiction, None),
    ];
    for (change, kind, partition) in table {
        let mut sample = Sample::clean();
        sample.witnesses = vec![sample.consumed.clone()];
        change(&mut sample.witnesses[0]);
        let report = sample.judge();
        assert_eq!(report.verdict, Verdict::Inconclusive, "{kind:?}");
        assert_eq!(report.findings, [Finding { kind, partition, count: 1 }]);
    }
}

#[test]
fn what_contradicts_itself_is_no_proof() {
    use Kind::*;
    use Verdict::Inconclusive;
    let contradiction = |partition| [(Contradiction, partition, 1)];
    let (run_wide, first) = (contradiction(None), contradiction(Some(0)));
    check(&[
        (
            |s| s.produced.streams[0].acked = 51,
            Inconclusive,
            &[(Contradiction, None, 1), (Contradiction, Some(0), 1)],
            "epoch 0 contradicts itself",
        ),
        (|s| s.produced.streams[0].unknown_ranges = set(&[(3, 4)]), Inconclusive, &first, "itself"),
        (|s| s.produced.run = "s".parse().unwrap(), Inconclusive, &run_wide, "sent for run s"),
        (|s| s.consumed.run = None, Inconclusive, &run_wide, "not started for this run"),
        (
            |s| s.consumed.streams[0].received = 49,
            Inconclusive,
            &[(Contradiction, Some(0), 1), (Contradiction, Some(0), 1)],
            "do not add up",
        ),
        (|s| s.consumed.streams[0].missing = set(&[(9, 10)]), Inconclusive, &first, "its set holds 49"),
        (
            |s| {
                s.produced.streams.push(s.produced.streams[0].clone());
                s.expected = None;
            },
            Inconclusive,
            &first,
            "reports epoch 0 twice",
        ),
        (
            |s| s.consumed.streams.push(s.consumed.streams[0].clone()),
            Inconclusive,
            &first,
            "the consumer reports producer 00000001, epoch 0 twice",
        ),
        (
            |s| {
                s.consumed.partitions[0].counts.records = 59;
                s.consumed.partitions[0].counts.foreign = 9;
            },
            Inconclusive,
            &first,
            "59 records and 0 offsets without a record do not add up to the 60 offsets that were read",
        ),
        (
            |s| hide_the_last(s, Some(Explained { markers: 2, ..Explained::default() })),
            Inconclusive,
            &[(Contradiction, Some(1), 1)],
            "1 offsets have no record, but 2 are explained",
        ),
    ]);
}

#[test]
fn sums_that_are_not_those_of_their_parts_are_no_proof() {
    use Verdict::Inconclusive;
    let run_wide = [(Kind::Contradiction, None, 1)];
    check(&[
        (
            |s| {
                s.sums = false;
                s.consumed.totals.foreign -= 1;
            },
            Inconclusive,
            &run_wide,
            "the consumer's totals do not match its partitions",
        ),
        (
            |s| {
                s.sums = false;
                s.produced.totals.acked -= 1;
            },
            Inconclusive,
            &run_wide,
            "the totals of producer 00000001 do not match its parts",
        ),
        (
            |s| {
                s.sums = false;
                let row = SendPartition { partition: 0, sent: 99, acked: 100, not_persisted: 0, unknown: 0 };
                s.produced.partitions = vec![row];
            },
            Inconclusive,
            &run_wide,
            "the totals of producer 00000001 do not match its parts",
        ),
    ]);
}

#[test]
fn two_claims_of_one_producer_prove_nothing_and_neither_does_none() {
    let sample = Sample { expected: None, ..Sample::clean() };
    let claim = Claim::by(sample.produced.clone(), HowEnded::Asked);
    for (claims, expected) in
        [(vec![claim.clone(), claim], "two claims for producer 00000001"), (vec![], "no producer")]
    {
        let (ranges, received) = (&sample.ranges, &sample.consumed);
        let report = judge(&Case::new(run(), "t", ranges, &claims, received));
        assert_ne!(report.verdict, Verdict::Pass);
        assert!(report.reasons.join("; ").contains(expected), "{:?}", report.reasons);
    }
}

#[test]
fn a_fault_that_is_proven_outweighs_a_doubt() {
    let mut sample = Sample::clean();
    sample.consumed.partitions[0].start_moved = true;
    sample.consumed.partitions[1].counts.duplicate = 1;
    sample.consumed.partitions[1].counts.received = 49;
    let report = sample.judge();
    let reasons = report.reasons.join("; ");
    assert_eq!(report.verdict, Verdict::Fail, "{reasons}");
    assert!(
        reasons.starts_with("partition 1: 1 received twice") && reasons.contains("the log's start moved"),
        "{reasons}"
    );
}

#[test]
fn unknown_and_not_persisted_break_no_promise_where_no_number_was_expected() {
    let mut sample = Sample { expected: None, ..Sample::clean() };
    let stream = &mut sample.produced.streams[0];
    (stream.acked_ranges, stream.unknown_ranges) = (set(&[(0, 48)]), set(&[(48, 52)]));
    stream.not_persisted_ranges = set(&[(52, 53)]);
    (stream.sent, stream.acked, stream.unknown, stream.not_persisted) = (53, 48, 4, 1);
    let report = sample.judge();
    assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, [].as_slice()));
    let row = &report.partitions[0];
    assert_eq!((row.unknown, row.unpromised, row.not_persisted, row.missing), (4, 2, 1, 0));
}

#[test]
fn a_dead_producer_and_its_successor_are_judged_each_by_its_own_word() {
    let ledger = |producers: &[(u32, u64)]| {
        let mut ledger = PartitionLedger::new(0, 0, Some(run()));
        for (producer, n) in producers {
            for sequence in 0..*n {
                ledger.record(Record::new(ledger.next, Some(&value(*producer, 0, sequence))));
            }
        }
        state_of(&[ledger])
    };
    let verdict = |claims: &[Claim], received: &ConsumerState| {
        let ranges = [OffsetRange { partition: 0, start: 0, end: received.partitions[0].next }];
        judge(&Case::new(run(), "t", &ranges, claims, received))
    };
    // At its last checkpoint, 5 were acked and 3 in flight.
    let mut checkpoint = acked(5);
    (0..3).for_each(|_| checkpoint.accepted());
    let died = Claim::by(claim_of(1, StateEvent::Checkpoint, &[checkpoint]), HowEnded::Killed);
    let successor = Claim::by(claim_of(2, StateEvent::End, &[acked(4)]), HowEnded::Asked);
    let both = [died.clone(), successor.clone()];
    for arrived in 5..20 {
        let report = verdict(&both, &ledger(&[(1, arrived), (2, 4)]));
        assert_eq!((report.verdict, report.ended, report.died), (Verdict::Pass, 1, 1), "{:?}", report.reasons);
        assert_eq!(report.partitions[0].unpromised, arrived - 5);
    }
    assert_eq!(verdict(&both, &ledger(&[(1, 4), (2, 4)])).verdict, Verdict::Fail, "less than it promised");
    assert_eq!(verdict(&both, &ledger(&[(1, 5), (2, 5)])).verdict, Verdict::Fail, "more than the other sent");
    // A producer that died before its first state promises nothing, and none of its records is a fault. All records of
    // an unknown producer are.
    let silent = Claim { state: None, ..died };
    for (claims, expected) in [(vec![silent, successor.clone()], Verdict::Pass), (vec![successor], Verdict::Fail)] {
        assert_eq!(verdict(&claims, &ledger(&[(1, 7), (2, 4)])).verdict, expected);
    }
}

#[test]
fn a_full_set_makes_the_verdict_inconclusive() {
    // The producer: every other one was not persisted, more of them than a set can keep.
    let n = 2 * INTERVALS_MAX as u64 + 10;
    let mut sent = SendLedger::default();
    let mut read = PartitionLedger::new(0, 0, Some(run()));
    for sequence in 0..n {
        sent.accepted();
        let lost = sequence % 2 == 1;
        sent.settle(sequence, if lost { SendOutcome::NotPersisted } else { SendOutcome::Acked });
        if !lost {
            read.record(Record::new(read.next, Some(&value(1, 0, sequence))));
        }
    }
    let ranges = [OffsetRange { partition: 0, start: 0, end: read.next }];
    let claims = [Claim::by(claim_of(1, StateEvent::End, &[sent.clone()]), HowEnded::Asked)];
    let received = state_of(&[read]);
    let report = judge(&Case::new(run(), "t", &ranges, &claims, &received));
    assert_eq!(report.verdict, Verdict::Inconclusive, "{:?}", report.reasons);
    assert!(report.findings.iter().all(|finding| finding.kind == Kind::Inexact), "{:?}", report.findings);
    assert_eq!((report.partitions[0].missing, report.partitions[0].received), (0, n / 2));
}

#[test]
fn a_line_that_would_be_too_long_leaves_sets_out_and_says_so() {
    let mut holes = SendLedger::default();
    for sequence in 0..200 {
        holes.accepted();
        holes.settle(sequence, if sequence % 2 == 0 { SendOutcome::Acked } else { SendOutcome::Unknown });
    }
    let state = claim_of(1, StateEvent::End, &[acked(5), holes.clone(), acked(5)]);
    assert_eq!(state.clone().fitted(LINE_INTERVALS_MAX), state);
    let fitted = state.fitted(50);
    assert_eq!(fitted.streams.iter().map(|stream| stream.exact).collect::<Vec<_>>(), [true, false, true]);
    let left = &fitted.streams[1];
    assert!(left.acked_ranges.is_empty() && left.unknown_ranges.is_empty() && left.acked == 100);

    let mut read = PartitionLedger::new(0, 0, Some(run()));
    for sequence in 0..100 {
        read.record(Record::new(read.next, Some(&value(1, 0, 2 * sequence))));
    }
    let state = state_of(&[read.clone()]);
    assert_eq!(state.clone().fitted(LINE_INTERVALS_MAX), state);
    let stream = &state.fitted(50).streams[0];
    assert!(!stream.exact && stream.missing.is_empty() && stream.missing_count == 99);

    // 99 intervals of missing sequences and one of unread ones share the same limit.
    read.start_moved_to(read.next + 1);
    read.record(Record::new(read.next, Some(&value(1, 0, 300))));
    let state = state_of(&[read]);
    assert_eq!(state.streams[0].unread.intervals().len(), 1);
    for (room, exact) in [(100, true), (99, false)] {
        let stream = &state.clone().fitted(room).streams[0];
        assert_eq!((stream.exact, stream.unread.is_empty()), (exact, !exact), "{room}");
    }
}

#[test]
fn sums_of_producers_add_up_one_by_one() {
    let mut sums = SendTotals::default();
    sums.add(&settled(1, 2, 3, 4));
    assert_eq!(sums, SendTotals { sent: 10, acked: 1, not_persisted: 2, unknown: 3, in_flight: 4 });
    let other = SendTotals { sent: 50, acked: 20, not_persisted: 13, unknown: 10, in_flight: 7 };
    sums.add_totals(&other);
    assert_eq!(sums, SendTotals { sent: 60, acked: 21, not_persisted: 15, unknown: 13, in_flight: 11 });
}

/// A stream with these numbers of acked, not persisted, unknown and in-flight messages, in this order.
fn settled(acked: u64, not_persisted: u64, unknown: u64, in_flight: u64) -> SendLedger {
    let mut ledger = SendLedger::default();
    let outcomes =
        [(acked, SendOutcome::Acked), (not_persisted, SendOutcome::NotPersisted), (unknown, SendOutcome::Unknown)];
    for (count, outcome) in outcomes {
        for _ in 0..count {
            let sequence = ledger.next_sequence();
            ledger.accepted();
            ledger.settle(sequence, outcome);
        }
    }
    (0..in_flight).for_each(|_| ledger.accepted());
    ledger
}

/// A state with these streams of partition 0, one epoch each.
fn epochs_of(producer: u32, event: StateEvent, epochs: &[SendLedger]) -> ProducerState {
    let mut state = claim_of(producer, event, epochs);
    for (epoch, stream) in state.streams.iter_mut().enumerate() {
        (stream.epoch, stream.partition) = (epoch as u32, 0);
    }
    state
}

/// All numbers of the row differ, so that none can stand for another.
#[test]
fn a_row_says_what_was_sent_to_a_partition_and_what_was_read_of_it() {
    let claims = [
        Claim::by(epochs_of(1, StateEvent::End, &[settled(6, 2, 3, 0), settled(5, 1, 1, 0)]), HowEnded::ByItself),
        Claim::by(epochs_of(2, StateEvent::Checkpoint, &[settled(4, 1, 2, 3)]), HowEnded::Killed),
    ];
    let encoded = |run: &str, producer, epoch, partition, sequence| {
        let run = run.parse().unwrap();
        Encoder::new(run, ProducerId(producer), epoch, 0).encode(0, partition, sequence, 1).to_vec()
    };
    let ours = |producer, epoch, sequence| encoded("r", producer, epoch, 0, sequence);
    let mut bent = ours(1, 0, 0);
    bent[20] ^= 1;
    let mut values: Vec<Vec<u8>> = Vec::new();
    // Everything acknowledged, and one of unknown outcome.
    values.extend([0, 1, 2, 3, 4, 5, 8].map(|sequence| ours(1, 0, sequence)));
    // 4 is missing, 2 arrived twice.
    values.extend([0, 1, 2, 2, 3].map(|sequence| ours(1, 1, sequence)));
    // 0 arrived late, and so did two that were in flight.
    values.extend([1, 0, 2, 3, 8, 9].map(|sequence| ours(2, 0, sequence)));
    values.extend(std::iter::repeat_n(bent, 2));
    values.extend([0, 1, 2].map(|sequence| encoded("r", 1, 0, 1, sequence)));
    values.extend([0, 1, 2, 3].map(|sequence| encoded("other", 1, 0, 0, sequence)));
    values.extend(std::iter::repeat_n(b"typed".to_vec(), 5));
    let mut ledger = PartitionLedger::new(0, 10, Some(run()));
    values.iter().for_each(|value| ledger.record(Record::new(ledger.next, Some(value))));
    (0..6).for_each(|_| ledger.record(Record { keyed: true, ..Record::new(ledger.next, Some(&ours(1, 0, 0))) }));
    (10..17).for_each(|offset| ledger.record(Record::new(offset, None)));
    ledger.reached(59);
    ledger.explained = Some(Explained { markers: 8, compacted: 3, ..Explained::default() });
    let ranges = [OffsetRange { partition: 0, start: 10, end: 59 }];
    let received = state_of(&[ledger]);
    let report = judge(&Case::new(run(), "test", &ranges, &claims, &received));
    let row = Row {
        partition: 0,
        sent: 28,
        acked: 15,
        not_persisted: 4,
        unknown: 9,
        received: 17,
        unpromised: 3,
        missing: 1,
        unread: 0,
        duplicate: 1,
        out_of_order: 1,
        corrupt: 2,
        misrouted: 3,
        others: 15,
        markers: 8,
        compacted: 3,
        redelivered: 7,
        start: 10,
        end: 59,
        records: 38,
    };
    assert_eq!(report.partitions, [row]);
    let found: Vec<_> = report.findings.iter().map(|found| (found.kind, found.count)).collect();
    let faults = [(Kind::Duplicate, 1), (Kind::OutOfOrder, 1), (Kind::Corrupt, 2), (Kind::Misrouted, 3)];
    assert_eq!(found, [faults.as_slice(), &[(Kind::Missing, 1)]].concat(), "{:?}", report.reasons);
    assert_eq!((report.ended, report.died), (1, 1));
    let evidence = &report.evidence[0];
    assert_eq!((report.evidence.len(), evidence.producer, evidence.epoch), (1, ProducerId(1), 1));
    assert_eq!((&evidence.missing, &evidence.duplicate), (&set(&[(4, 5)]), &set(&[(2, 3)])));
}

#[test]
fn a_producer_whose_sums_are_not_those_of_its_parts_contradicts_itself() {
    let state = || {
        let ledgers = [settled(6, 2, 3, 0), settled(5, 1, 4, 0)];
        let mut state = claim_of(1, StateEvent::End, &ledgers);
        for (partition, SendStream { sent, acked, not_persisted, unknown, .. }) in (0..).zip(&state.streams) {
            let (sent, acked, not_persisted, unknown) = (*sent, *acked, *not_persisted, *unknown);
            state.partitions.push(SendPartition { partition, sent, acked, not_persisted, unknown });
        }
        state
    };
    let contradictions = |state: ProducerState| {
        let mut sample = Sample { produced: state, expected: None, sums: false, ..Sample::clean() };
        sample.consumed =
            state_of(&[PartitionLedger::new(0, 100, Some(run())), PartitionLedger::new(1, 7, Some(run()))]);
        sample.ranges.iter_mut().for_each(|range| range.end = range.start);
        let report = sample.judge();
        let none =
            |kind| report.findings.iter().filter(|found| found.kind == kind && found.partition.is_none()).count();
        none(Kind::Contradiction)
    };
    assert_eq!(contradictions(state()), 0);
    type ProducerChange = fn(&mut ProducerState);
    let changes: [ProducerChange; 13] = [
        |s| s.totals.sent += 1,
        |s| s.totals.acked += 1,
        |s| s.totals.not_persisted += 1,
        |s| s.totals.unknown += 1,
        |s| s.totals.in_flight += 1,
        |s| s.streams[1].sent += 1,
        |s| s.streams[1].acked += 1,
        |s| s.streams[1].not_persisted += 1,
        |s| s.streams[1].unknown += 1,
        |s| s.partitions[1].sent += 1,
        |s| s.partitions[1].acked += 1,
        |s| s.partitions[1].not_persisted += 1,
        |s| s.partitions[1].unknown += 1,
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut bent = state();
        change(&mut bent);
        assert_eq!(contradictions(bent), 1, "change {at}");
    }
    // A total that matches its parts but exceeds what was sent.
    let mut bent = state();
    bent.totals.acked += 1;
    bent.streams[0].acked += 1;
    bent.partitions[0].acked += 1;
    assert_eq!(contradictions(bent), 1);
    // Folded epochs are only in the totals, including those of partitions.
    let mut folded = state();
    folded.folded_epochs = 1;
    folded.streams.remove(0);
    assert_eq!(contradictions(folded.clone()), 0);
    folded.partitions[0].sent += 1;
    assert_eq!(contradictions(folded), 1);
}

#[test]
fn the_sets_of_a_stream_are_its_counts_and_lie_apart_within_what_was_sent() {
    use StateEvent::{Checkpoint, End};
    // The counts of acked, not persisted and unknown are those of the sets; `sent` is given.
    let contradicts = |event, sent: u64, sets: [&[(u64, u64)]; 3]| {
        let mut state = claim_of(1, event, &[SendLedger::default()]);
        let stream = &mut state.streams[0];
        let [acked, not_persisted, unknown] = sets.map(set);
        (stream.acked, stream.not_persisted, stream.unknown) = (acked.count(), not_persisted.count(), unknown.count());
        (stream.acked_ranges, stream.not_persisted_ranges, stream.unknown_ranges) = (acked, not_persisted, unknown);
        stream.sent = sent;
        let sample = Sample {
            produced: state,
            went: HowEnded::Killed,
            expected: None,
            ranges: vec![OffsetRange { partition: 0, start: 100, end: 100 }],
            consumed: state_of(&[PartitionLedger::new(0, 100, Some(run()))]),
            ..Sample::clean()
        };
        let found = sample.judge().findings;
        found.iter().any(|found| found.kind == Kind::Contradiction && found.partition == Some(0))
    };
    assert!(!contradicts(End, 6, [&[(0, 3)], &[(3, 5)], &[(5, 6)]]));
    assert!(!contradicts(Checkpoint, 9, [&[(0, 3)], &[(3, 5)], &[(6, 9)]]), "one is in flight");
    assert!(contradicts(End, 9, [&[(0, 3)], &[(3, 5)], &[(6, 9)]]), "one that ended has none in flight");
    assert!(contradicts(Checkpoint, 8, [&[(0, 3)], &[(3, 5)], &[(6, 9)]]), "beyond what was sent");
    assert!(contradicts(Checkpoint, 9, [&[(0, 3)], &[(2, 5)], &[]]), "acked and not persisted");
    assert!(contradicts(Checkpoint, 9, [&[(0, 3)], &[], &[(2, 5)]]), "acked and unknown");
    assert!(contradicts(Checkpoint, 9, [&[], &[(0, 3)], &[(2, 5)]]), "not persisted and unknown");
}

#[test]
fn three_intervals_are_spelled_out_and_no_more() {
    for (lost, spelled) in [
        (&[2, 5, 8][..], "3 acknowledged and not received (producer 00000001, epoch 0: 2, 5, 8)"),
        (&[2, 5, 8, 9, 12], "5 acknowledged and not received (producer 00000001, epoch 0: 2, 5, 8-9, …)"),
    ] {
        let mut ledger = PartitionLedger::new(0, 0, Some(run()));
        for sequence in (0..20).filter(|sequence| !lost.contains(sequence)) {
            ledger.record(Record::new(ledger.next, Some(&value(1, 0, sequence))));
        }
        let ranges = [OffsetRange { partition: 0, start: 0, end: ledger.next }];
        let claims = [Claim::by(claim_of(1, StateEvent::End, &[acked(20)]), HowEnded::Asked)];
        let report = judge(&Case::new(run(), "t", &ranges, &claims, &state_of(&[ledger])));
        assert_eq!(report.reasons[0], format!("partition 0: {spelled}"));
    }
}
