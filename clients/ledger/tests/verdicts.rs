//! What a verdict is made of, case by case: what proves a fault, what only leaves a doubt, and which of both wins.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use ledger::intervals::{INTERVALS_MAX, IntervalSet};
use ledger::judge::{Case, Claim, Kind, Range, Report, Verdict, judge};
use ledger::lines::{
    CONSUMER, ConsumerState, Event, LINE_INTERVALS_MAX, PRODUCER, ProducerState, Reason, ReceivePartition,
    ReceiveStream, ReceiveTotals, SendStream, SendTotals,
};
use ledger::received::{Counts, PartitionLedger};
use ledger::sent::{Outcome, SendLedger};
use ledger::stamp::{Encoder, ProducerId, RunId};

const RANGES: [Range; 2] = [Range { partition: 0, start: 100, end: 160 }, Range { partition: 1, start: 7, end: 57 }];

fn run() -> RunId {
    "r".parse().unwrap()
}

fn claim_of(producer: u32, event: Event, ledgers: &[SendLedger]) -> ProducerState {
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
        reason: (event == Event::End).then_some(Reason::Count),
        totals,
        partitions: Vec::new(),
        streams: ledgers.iter().enumerate().map(|(p, ledger)| SendStream::new(producer, 0, p as i32, ledger)).collect(),
        folded_epochs: 0,
        errors: [("_TIMED_OUT".to_owned(), 3)].into(),
        queue_full: 0,
    }
}

fn acked(n: u64) -> SendLedger {
    let mut ledger = SendLedger::default();
    for sequence in 0..n {
        ledger.accepted();
        ledger.settle(sequence, Outcome::Acked);
    }
    ledger
}

fn state_of(ledgers: &[PartitionLedger]) -> ConsumerState {
    let mut totals = Counts::default();
    ledgers.iter().for_each(|ledger| totals.add(ledger.counts()));
    ConsumerState {
        schema: CONSUMER.into(),
        event: Event::End,
        time_ms: 3,
        elapsed_ms: 1,
        run: Some(run()),
        reason: Some(Reason::End),
        totals: ReceiveTotals::from(&totals),
        partitions: ledgers.iter().map(|l| ReceivePartition::new(l, None, (Some(0), None))).collect(),
        streams: ledgers
            .iter()
            .flat_map(|l| l.streams().iter().map(|stream| ReceiveStream::new(l.partition, stream)))
            .collect(),
    }
}

fn value(producer: u32, partition: u32, sequence: u64) -> Vec<u8> {
    Encoder::new(run(), ProducerId(producer), 0, 0).encode(0, partition, sequence, 1).to_vec()
}

/// What is judged: 50 messages to each of two partitions, and ten records of somebody else in partition 0.
struct Sample {
    ranges: Vec<Range>,
    produced: ProducerState,
    consumed: ConsumerState,
    expected: Option<u64>,
    topic_ids: Vec<String>,
}

impl Sample {
    fn clean() -> Self {
        let mut ledgers = [PartitionLedger::new(0, 100, Some(run())), PartitionLedger::new(1, 7, Some(run()))];
        for (partition, ledger) in ledgers.iter_mut().enumerate() {
            for sequence in 0..50 {
                ledger.record(ledger.next, Some(&value(1, partition as u32, sequence)));
            }
        }
        for _ in 0..10 {
            ledgers[0].record(ledgers[0].next, None);
        }
        Self {
            ranges: RANGES.to_vec(),
            produced: claim_of(1, Event::End, &[acked(50), acked(50)]),
            consumed: state_of(&ledgers),
            expected: Some(100),
            topic_ids: Vec::new(),
        }
    }

    fn judge(&self) -> Report {
        judge(&Case {
            run: run(),
            topic: "test",
            ranges: &self.ranges,
            claims: &[Claim::from(self.produced.clone())],
            received: &self.consumed,
            expected: self.expected,
            topic_ids: &self.topic_ids,
        })
    }
}

fn set(intervals: &[(u64, u64)]) -> IntervalSet {
    intervals.to_vec().try_into().unwrap()
}

type Change = fn(&mut Sample);

fn check(table: &[(Change, Verdict, Kind, &str)]) {
    for (change, verdict, kind, expected) in table {
        let mut sample = Sample::clean();
        change(&mut sample);
        let report = sample.judge();
        let reasons = report.reasons.join("; ");
        assert_eq!(report.verdict, *verdict, "{expected}: {reasons}");
        assert!(report.findings.iter().any(|finding| finding.kind == *kind), "{kind:?}: {:?}", report.findings);
        assert!(reasons.contains(expected), "{expected} is not in: {reasons}");
    }
}

#[test]
fn a_clean_run_passes_and_others_are_only_counted() {
    let report = Sample::clean().judge();
    assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, [].as_slice()));
    assert_eq!((report.partitions[0].others, report.ended, report.died), (10, 1, 0));
    // A consumer that reads on past the end, or began before the run, has read the run all the same. Nor does it matter that retention has
    // meanwhile taken what was read.
    let mut sample = Sample::clean();
    (sample.ranges[0].end, sample.ranges[1].start) = (155, 9);
    sample.consumed.partitions[0].low = Some(140);
    assert_eq!(sample.judge().verdict, Verdict::Pass);
}

#[test]
fn each_fault_is_found_and_named() {
    use Verdict::Fail;
    check(&[
        (
            // The tail is lost: the log is shorter, and nobody knows but the producer.
            |s| {
                s.consumed.partitions[1].counts.received = 48;
                s.consumed.partitions[1].counts.other_runs = 2;
                (s.consumed.streams[1].next, s.consumed.streams[1].received) = (48, 48);
            },
            Fail,
            Kind::Missing,
            "partition 1: 2 acknowledged and not received (producer 00000001, epoch 0: 48-49)",
        ),
        (
            |s| {
                s.consumed.partitions[0].counts.received = 49;
                s.consumed.partitions[0].counts.foreign += 1;
                (s.consumed.streams[0].missing, s.consumed.streams[0].received) = (set(&[(7, 8)]), 49);
            },
            Fail,
            Kind::Missing,
            "partition 0: 1 acknowledged and not received (producer 00000001, epoch 0: 7)",
        ),
        (
            |s| {
                s.consumed.streams.remove(0);
                s.consumed.partitions[0].counts.received = 0;
                s.consumed.partitions[0].counts.foreign = 60;
            },
            Fail,
            Kind::Missing,
            "partition 0: 50 acknowledged and not received",
        ),
        (
            // As many as were acked, but not the same: only sets can tell.
            |s| {
                let stream = &mut s.produced.streams[0];
                (stream.acked_ranges, stream.not_persisted_ranges) = (set(&[(0, 3), (4, 50)]), set(&[(3, 4)]));
                (stream.acked, stream.not_persisted) = (49, 1);
                (s.consumed.streams[0].missing, s.consumed.streams[0].received) = (set(&[(8, 9)]), 49);
                s.consumed.partitions[0].counts.received = 49;
                s.consumed.partitions[0].counts.foreign = 11;
            },
            Fail,
            Kind::NotPersistedReceived,
            "partition 0: 1 reported as not persisted, and received (producer 00000001, epoch 0: 3)",
        ),
        (
            |s| {
                s.consumed.partitions[0].counts.duplicate = 1;
                s.consumed.partitions[0].counts.foreign = 9;
            },
            Fail,
            Kind::Duplicate,
            "partition 0: 1 received twice",
        ),
        (|s| s.consumed.partitions[1].counts.out_of_order = 3, Fail, Kind::OutOfOrder, "partition 1: 3 out of order"),
        (|s| s.consumed.partitions[1].counts.corrupt = 1, Fail, Kind::Corrupt, "partition 1: 1 corrupt"),
        (|s| s.consumed.partitions[1].counts.misrouted = 1, Fail, Kind::Misrouted, "in another partition"),
        (
            |s| s.consumed.partitions[0].counts.records = 59,
            Fail,
            Kind::Density,
            "59 records read, the broker's offsets say 60",
        ),
        (
            |s| s.consumed.partitions[0].counts.foreign = 9,
            Fail,
            Kind::Unaccounted,
            "60 records read, 59 of them accounted for",
        ),
        (|s| s.consumed.partitions[0].log_restarts = 1, Fail, Kind::LogRestarted, "the log became shorter"),
        (|s| s.ranges[1].end = 3, Fail, Kind::LogRestarted, "its end offset went back from 7 to 3"),
        (|s| s.topic_ids = ["a".into(), "b".into()].into(), Fail, Kind::TopicRecreated, "topic id changed (a, b)"),
        (
            |s| s.produced.producer = ProducerId(2),
            Fail,
            Kind::Stranger,
            "partition 0: 50 received of producer 00000001, epoch 0, which no producer of this run is",
        ),
        (
            |s| s.produced.streams[0] = SendStream::new(ProducerId(1), 0, 0, &acked(48)),
            Fail,
            Kind::NeverSent,
            "partition 0: 2 received and never sent (producer 00000001, epoch 0: 48-49)",
        ),
        (
            |s| s.produced.streams.truncate(1),
            Fail,
            Kind::NeverSent,
            "partition 1: 50 received and never sent (producer 00000001, epoch 0: 0-49)",
        ),
        (|s| s.produced.streams[0].not_persisted = 1, Fail, Kind::NotPersisted, "partition 0: 1 not persisted"),
        (|s| s.expected = Some(101), Fail, Kind::Count, "100 messages sent of 101 asked for (count)"),
        (|s| s.expected = Some(101), Fail, Kind::Count, "delivery error _TIMED_OUT, 3 times"),
        (
            |s| {
                s.produced.streams.remove(1);
                s.produced.totals.sent = 50;
            },
            Fail,
            Kind::Count,
            "partition 1: nothing was sent to it",
        ),
    ]);
}

#[test]
fn what_cannot_be_told_is_inconclusive() {
    use Verdict::Inconclusive;
    check(&[
        (
            |s| {
                s.consumed.partitions[1].start_moved = true;
                s.consumed.partitions[1].low = Some(30);
            },
            Inconclusive,
            Kind::StartMoved,
            "retention moved the log's start to 30, past records",
        ),
        (
            |s| {
                s.consumed.partitions[1].next = 40;
                s.consumed.reason = Some(Reason::Idle);
            },
            Inconclusive,
            Kind::NotDrained,
            "read up to 40, not to 57 (idle)",
        ),
        (
            |s| {
                s.consumed.partitions[1].next = 40;
                (s.consumed.reason, s.consumed.event) = (None, Event::Checkpoint);
            },
            Inconclusive,
            Kind::NotDrained,
            "read up to 40, not to 57 (still reading)",
        ),
        (
            |s| s.ranges[1].start = 5,
            Inconclusive,
            Kind::NotDrained,
            "partition 1: read from 7 on, and the run began at 5",
        ),
        (
            |s| s.consumed.partitions.truncate(1),
            Inconclusive,
            Kind::Silent,
            "partition 1: the consumer says nothing of it",
        ),
        (|s| s.ranges.truncate(1), Inconclusive, Kind::Silent, "partition 1: its offsets are not known"),
        (
            |s| {
                let stream = &mut s.produced.streams[0];
                (stream.acked_ranges, stream.unknown_ranges) = (set(&[(0, 49)]), set(&[(49, 50)]));
                (stream.acked, stream.unknown) = (49, 1);
            },
            Inconclusive,
            Kind::Unknown,
            "the fate of 1 is unknown",
        ),
        (
            |s| s.consumed.streams[0].exact = false,
            Inconclusive,
            Kind::Inexact,
            "more gaps than the consumer can keep apart",
        ),
        (
            |s| s.produced.streams[0].exact = false,
            Inconclusive,
            Kind::Inexact,
            "more outcomes than the producer can keep apart",
        ),
        (|s| s.consumed.partitions[0].folded_streams = 1, Inconclusive, Kind::Inexact, "no longer kept in detail"),
        (
            |s| {
                s.produced.folded_epochs = 2;
                s.produced.streams.iter_mut().for_each(|stream| stream.epoch = 2);
                s.consumed.streams.iter_mut().for_each(|stream| stream.epoch = 2);
            },
            Inconclusive,
            Kind::Inexact,
            "tells nothing of its first 2 epochs",
        ),
    ]);
}

#[test]
fn what_contradicts_itself_is_no_proof() {
    use Verdict::Inconclusive;
    check(&[
        (|s| s.produced.streams[0].acked = 51, Inconclusive, Kind::Contradiction, "epoch 0 contradicts itself"),
        (|s| s.produced.streams[0].unknown_ranges = set(&[(3, 4)]), Inconclusive, Kind::Contradiction, "itself"),
        (|s| s.produced.run = "s".parse().unwrap(), Inconclusive, Kind::Contradiction, "sent for run s"),
        (|s| s.consumed.run = None, Inconclusive, Kind::Contradiction, "not told to judge this run"),
        (|s| s.consumed.streams[0].received = 49, Inconclusive, Kind::Contradiction, "do not add up"),
        (|s| s.consumed.streams[0].missing = set(&[(9, 10)]), Inconclusive, Kind::Contradiction, "its set says 49"),
        (
            |s| s.produced.streams.push(s.produced.streams[0].clone()),
            Inconclusive,
            Kind::Contradiction,
            "tells twice of epoch 0",
        ),
        (
            |s| s.consumed.streams.push(s.consumed.streams[0].clone()),
            Inconclusive,
            Kind::Contradiction,
            "the consumer tells twice",
        ),
    ]);
    let sample = Sample { expected: None, ..Sample::clean() };
    let claim = Claim::from(sample.produced.clone());
    for (claims, expected) in [(vec![claim.clone(), claim], "two claims of producer 00000001"), (vec![], "no producer")]
    {
        let (ranges, received) = (&sample.ranges, &sample.consumed);
        let case = Case { run: run(), topic: "t", ranges, claims: &claims, received, expected: None, topic_ids: &[] };
        let report = judge(&case);
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
    assert!(reasons.starts_with("partition 1: 1 received twice") && reasons.contains("retention moved"), "{reasons}");
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
                ledger.record(ledger.next, Some(&value(*producer, 0, sequence)));
            }
        }
        state_of(&[ledger])
    };
    let verdict = |claims: &[Claim], received: &ConsumerState| {
        let ranges = [Range { partition: 0, start: 0, end: received.partitions[0].next }];
        judge(&Case { run: run(), topic: "t", ranges: &ranges, claims, received, expected: None, topic_ids: &[] })
    };
    // It had 5 acked and 3 more on their way when it last spoke.
    let mut checkpoint = acked(5);
    (0..3).for_each(|_| checkpoint.accepted());
    let died = Claim::from(claim_of(1, Event::Checkpoint, &[checkpoint]));
    let successor = Claim::from(claim_of(2, Event::End, &[acked(4)]));
    let both = [died.clone(), successor.clone()];
    for arrived in 5..20 {
        let report = verdict(&both, &ledger(&[(1, arrived), (2, 4)]));
        assert_eq!((report.verdict, report.ended, report.died), (Verdict::Pass, 1, 1), "{:?}", report.reasons);
        assert_eq!(report.partitions[0].unpromised, arrived - 5);
    }
    assert_eq!(verdict(&both, &ledger(&[(1, 4), (2, 4)])).verdict, Verdict::Fail, "less than it promised");
    assert_eq!(verdict(&both, &ledger(&[(1, 5), (2, 5)])).verdict, Verdict::Fail, "more than the other sent");
    // Of one that died before its first state nothing is promised, and nothing of it is a fault. Of one that nobody knows all is.
    let silent = Claim { state: None, ..died };
    for (claims, expected) in [(vec![silent, successor.clone()], Verdict::Pass), (vec![successor], Verdict::Fail)] {
        assert_eq!(verdict(&claims, &ledger(&[(1, 7), (2, 4)])).verdict, expected);
    }
}

#[test]
fn a_full_set_makes_the_verdict_inconclusive() {
    // The producer: every other one was not persisted, more of them than a set keeps.
    let n = 2 * INTERVALS_MAX as u64 + 10;
    let mut sent = SendLedger::default();
    let mut read = PartitionLedger::new(0, 0, Some(run()));
    for sequence in 0..n {
        sent.accepted();
        let lost = sequence % 2 == 1;
        sent.settle(sequence, if lost { Outcome::NotPersisted } else { Outcome::Acked });
        if !lost {
            read.record(read.next, Some(&value(1, 0, sequence)));
        }
    }
    let ranges = [Range { partition: 0, start: 0, end: read.next }];
    let claims = [Claim::from(claim_of(1, Event::End, &[sent.clone()]))];
    let received = state_of(&[read]);
    let case = Case {
        run: run(),
        topic: "t",
        ranges: &ranges,
        claims: &claims,
        received: &received,
        expected: None,
        topic_ids: &[],
    };
    let report = judge(&case);
    assert_eq!(report.verdict, Verdict::Inconclusive, "{:?}", report.reasons);
    assert!(report.findings.iter().all(|finding| finding.kind == Kind::Inexact), "{:?}", report.findings);
    assert_eq!((report.partitions[0].missing, report.partitions[0].received), (0, n / 2));
}

#[test]
fn a_line_that_would_be_too_long_leaves_sets_out_and_says_so() {
    let mut holes = SendLedger::default();
    for sequence in 0..200 {
        holes.accepted();
        holes.settle(sequence, if sequence % 2 == 0 { Outcome::Acked } else { Outcome::Unknown });
    }
    let state = claim_of(1, Event::End, &[acked(5), holes.clone(), acked(5)]);
    assert_eq!(state.clone().fitted(LINE_INTERVALS_MAX), state);
    let fitted = state.fitted(50);
    assert_eq!(fitted.streams.iter().map(|stream| stream.exact).collect::<Vec<_>>(), [true, false, true]);
    let left = &fitted.streams[1];
    assert!(left.acked_ranges.is_empty() && left.unknown_ranges.is_empty() && left.acked == 100);

    let mut read = PartitionLedger::new(0, 0, Some(run()));
    for sequence in 0..100 {
        read.record(read.next, Some(&value(1, 0, 2 * sequence)));
    }
    let state = state_of(&[read]);
    assert_eq!(state.clone().fitted(LINE_INTERVALS_MAX), state);
    let stream = &state.fitted(50).streams[0];
    assert!(!stream.exact && stream.missing.is_empty() && stream.missing_count == 99);
}
