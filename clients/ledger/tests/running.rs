//! Verdicts over running clients: proven as far as both sides have got, and doubtful beyond.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use ledger::judge::{Claim, Finding, HowEnded, Kind, OffsetRange, Row, Running, Standing, Verdict, judge_running};
use ledger::lines::{
    CONSUMER, ConsumerState, PRODUCER, ProducerState, Reason, ReceivePartition, ReceiveStream, ReceiveTotals,
    SendStream, SendTotals, StateEvent,
};
use ledger::received::{Counts, PartitionLedger, Record};
use ledger::sent::{SendLedger, SendOutcome};
use ledger::stamp::{Encoder, ProducerId, RunId};

fn run(producer: u32) -> RunId {
    format!("run-{producer}").parse().unwrap()
}

fn value(producer: u32, partition: u32, sequence: u64) -> Vec<u8> {
    Encoder::new(run(producer), ProducerId(producer), 0, 0).encode(0, partition, sequence, 1).to_vec()
}

/// A producer that started at `began_ms` and has had `acked` messages acknowledged in partition 0; three more are in
/// flight.
fn producer(number: u32, began_ms: u64, acked: u64) -> ProducerState {
    let mut ledger = SendLedger::default();
    for sequence in 0..acked + 3 {
        ledger.accepted();
        if sequence < acked {
            ledger.settle(sequence, SendOutcome::Acked);
        }
    }
    let mut totals = SendTotals::default();
    totals.add(&ledger);
    ProducerState {
        schema: PRODUCER.into(),
        event: StateEvent::Checkpoint,
        time_ms: 60_000,
        elapsed_ms: 60_000 - began_ms,
        run: run(number),
        producer: ProducerId(number),
        reason: None,
        totals,
        partitions: Vec::new(),
        streams: vec![SendStream::new(ProducerId(number), 0, 0, &ledger)],
        folded_epochs: 0,
        errors: Default::default(),
        queue_full: 0,
        topic_id: Some("first".into()),
    }
}

/// A consumer that started at 50 000 ms, and what it read of partition 0 from `start`: these sequences of these
/// producers.
fn consumer(start: i64, read: &[(u32, std::ops::Range<u64>)]) -> ConsumerState {
    let mut ledger = PartitionLedger::new(0, start, None);
    for (number, sequences) in read {
        for sequence in sequences.clone() {
            ledger.record(Record::new(ledger.next, Some(&value(*number, 0, sequence))));
        }
    }
    state(&ledger)
}

fn state(ledger: &PartitionLedger) -> ConsumerState {
    let mut totals = Counts::default();
    totals.add(ledger.counts());
    ConsumerState {
        schema: CONSUMER.into(),
        event: StateEvent::Checkpoint,
        time_ms: 60_000,
        elapsed_ms: 10_000,
        run: None,
        reason: None,
        totals: ReceiveTotals::from(&totals),
        partitions: vec![ReceivePartition::new(ledger, None, (Some(0), None))],
        streams: ledger.streams().iter().map(|stream| ReceiveStream::new(0, stream)).collect(),
        topic_id: Some("first".into()),
    }
}

/// The verdict at an end offset, with the topic's current id.
fn judged(claims: &[ProducerState], received: &ConsumerState, end: i64, id: &str) -> Standing {
    let claims: Vec<Claim> = claims.iter().map(|state| Claim::by(state.clone(), HowEnded::Running)).collect();
    let offsets = [OffsetRange { partition: 0, start: 0, end }];
    judge_running(&Running { topic: "test", claims: &claims, offsets: &offsets, received, topic_id: Some(id) })
}

fn found(standing: &Standing) -> Vec<(Kind, u64)> {
    standing.findings.iter().map(|Finding { kind, count, .. }| (*kind, *count)).collect()
}

/// A change to the states of a producer and a consumer.
type StateChange = fn(&mut ProducerState, &mut ConsumerState);

#[test]
fn all_that_was_acknowledged_so_far_has_been_read() {
    let standing = judged(&[producer(1, 55_000, 20)], &consumer(0, &[(1, 0..22)]), 22, "first");
    assert_eq!((standing.verdict, standing.reasons.as_slice()), (Verdict::Pass, [].as_slice()));
    assert_eq!(standing.remarks, [] as [&str; 0]);
    let row = &standing.partitions[0];
    assert_eq!((row.acked, row.received, row.unpromised, row.missing, row.unread), (20, 22, 2, 0, 0));
}

#[test]
fn head_middle_and_tail_of_a_stream_are_missed() {
    for (read, missing) in [(vec![(1, 2..20)], 2), (vec![(1, 0..7), (1, 9..20)], 2), (vec![(1, 0..17)], 3)] {
        let received = consumer(0, &read);
        let end = received.partitions[0].next;
        let standing = judged(&[producer(1, 55_000, 20)], &received, end, "first");
        assert_eq!((standing.verdict, found(&standing)), (Verdict::Fail, vec![(Kind::Missing, missing)]));
        assert_eq!(standing.evidence.len(), 1);
    }
    // Nothing arrived from it.
    let standing = judged(&[producer(1, 55_000, 20)], &consumer(0, &[]), 0, "first");
    assert_eq!(found(&standing), [(Kind::Missing, 20)]);
    // Not even if reading began in the middle of the log, if the producer started later.
    let standing = judged(&[producer(1, 58_000, 20)], &consumer(90, &[(1, 4..20)]), 106, "first");
    assert_eq!(found(&standing), [(Kind::Missing, 4)]);
}

#[test]
fn what_lies_before_where_reading_began_is_not_judged_and_that_is_said() {
    let standing = judged(&[producer(1, 40_000, 20)], &consumer(90, &[(1, 4..20)]), 106, "first");
    assert_eq!((standing.verdict, found(&standing)), (Verdict::Pass, vec![]));
    assert_eq!((standing.partitions[0].unread, standing.partitions[0].missing), (4, 0));
    assert_eq!(standing.remarks, ["4 acknowledged messages may be at offsets that the consumer has not read"]);
    // Clocks may differ by five seconds, and not a millisecond more.
    let began = |began_ms| found(&judged(&[producer(1, began_ms, 20)], &consumer(90, &[(1, 4..20)]), 106, "first"));
    assert_eq!((began(55_000), began(55_001)), (vec![], vec![(Kind::Missing, 4)]));
    // A wall clock that is moved between the two states makes nobody start later: neither by an hour back before the
    // consumer's, nor by an hour forth before the producer's. Nor does an old state, of a producer that is paused.
    let with = |change: fn(&mut ProducerState, &mut ConsumerState)| {
        let (mut sent, mut read) = (producer(1, 40_000, 20), consumer(90, &[(1, 4..20)]));
        sent.time_ms += 7_200_000;
        read.time_ms += 7_200_000;
        change(&mut sent, &mut read);
        found(&judged(&[sent], &read, 106, "first"))
    };
    assert_eq!(with(|_, read| read.time_ms -= 3_600_000), vec![]);
    assert_eq!(with(|sent, _| sent.time_ms += 3_600_000), vec![]);
    assert_eq!(with(|sent, _| (sent.time_ms, sent.elapsed_ms) = (sent.time_ms - 19_000, 1_000)), vec![]);
    // No more messages than there are offsets can be there.
    let standing = judged(&[producer(1, 54_000, 20)], &consumer(1, &[]), 1, "first");
    assert_eq!((found(&standing), standing.partitions[0].unread), (vec![(Kind::Missing, 19)], 1));
    let standing = judged(&[producer(1, 54_000, 20)], &consumer(3, &[(1, 15..20)]), 8, "first");
    assert_eq!((found(&standing), standing.partitions[0].unread), (vec![(Kind::Missing, 12)], 3));
    assert_eq!(standing.evidence[0].missing.intervals(), [(3, 15)]);
    // From there on, they are missing.
    let read = consumer(90, &[(1, 4..9), (1, 10..20)]);
    assert_eq!(found(&judged(&[producer(1, 40_000, 20)], &read, 105, "first")), [(Kind::Missing, 1)]);
}

#[test]
fn what_has_not_been_read_yet_is_open_and_no_more_than_that_is() {
    let standing = judged(&[producer(1, 55_000, 20)], &consumer(0, &[(1, 0..15)]), 20, "first");
    assert_eq!((standing.verdict, found(&standing)), (Verdict::Inconclusive, vec![(Kind::NotDrained, 5)]));
    let standing = judged(&[producer(1, 55_000, 20)], &consumer(0, &[(1, 0..15)]), 18, "first");
    assert_eq!(found(&standing), [(Kind::Missing, 5), (Kind::NotDrained, 3)]);
    // Messages removed by retention before they were read are unknown too, and are counted.
    let mut received = consumer(0, &[(1, 0..15)]);
    let row = &mut received.partitions[0];
    (row.start_moved, row.retired, row.offset_gaps, row.next) = (true, 5, 5, 20);
    let standing = judged(&[producer(1, 55_000, 20)], &received, 20, "first");
    assert_eq!((found(&standing), standing.partitions[0].unread), (vec![(Kind::StartMoved, 5)], 5));
    // By count only, if the sets are incomplete.
    let mut received = consumer(0, &[(1, 0..15)]);
    received.streams[0].exact = false;
    let standing = judged(&[producer(1, 55_000, 20)], &received, 15, "first");
    assert_eq!((found(&standing), standing.partitions[0].unread), (vec![(Kind::Inexact, 1)], 5));
}

#[test]
fn another_topic_or_log_is_told() {
    let received = consumer(0, &[(1, 0..20)]);
    let standing = judged(&[producer(1, 55_000, 20)], &received, 20, "second");
    assert_eq!(found(&standing), [(Kind::TopicRecreated, 1), (Kind::TopicRecreated, 1)]);
    // Read from the beginning of the new topic, the old one's messages are absent.
    let mut ledger = PartitionLedger::new(0, 0, None);
    (0..12).for_each(|s| ledger.record(Record::new(ledger.next, Some(&value(1, 0, s)))));
    ledger.log_restarted_at(0);
    (12..20).for_each(|s| ledger.record(Record::new(ledger.next, Some(&value(1, 0, s)))));
    let standing = judged(&[producer(1, 55_000, 20)], &state(&ledger), 8, "first");
    assert_eq!(found(&standing), [(Kind::LogRestarted, 1), (Kind::Missing, 12)]);
    // A partition that is gone contained acknowledged messages.
    let claims = [Claim::by(producer(1, 55_000, 20), HowEnded::Running)];
    let (received, topic_id) = (consumer(0, &[(1, 0..20)]), Some("first"));
    let standing = judge_running(&Running { topic: "t", claims: &claims, offsets: &[], received: &received, topic_id });
    assert_eq!(found(&standing), [(Kind::LogRestarted, 20), (Kind::Silent, 1)]);
}

#[test]
fn an_id_that_was_not_told_is_a_doubt_unless_there_are_none() {
    let judged = |producers: Option<&str>, consumers: Option<&str>, topic_id: Option<&str>| {
        let claims = [Claim::by(
            ProducerState { topic_id: producers.map(Into::into), ..producer(1, 55_000, 20) },
            HowEnded::Running,
        )];
        let received = ConsumerState { topic_id: consumers.map(Into::into), ..consumer(0, &[(1, 0..20)]) };
        let offsets = [OffsetRange { partition: 0, start: 0, end: 20 }];
        let standing =
            judge_running(&Running { topic: "t", claims: &claims, offsets: &offsets, received: &received, topic_id });
        (standing.verdict, found(&standing), standing.remarks.len())
    };
    let known = Some("first");
    assert_eq!(judged(known, known, known), (Verdict::Pass, vec![], 0));
    // If brokers know no ids, it is unknown whether the topic was recreated.
    assert_eq!(judged(None, None, None), (Verdict::Pass, vec![], 2));
    let doubt = (Kind::Silent, 1);
    assert_eq!(judged(None, known, known), (Verdict::Inconclusive, vec![doubt], 0));
    assert_eq!(judged(known, None, known), (Verdict::Inconclusive, vec![doubt], 0));
    assert_eq!(judged(known, known, None), (Verdict::Inconclusive, vec![doubt, doubt], 0));
}

#[test]
fn what_nothing_was_acknowledged_of_leaves_no_doubt() {
    // Two streams in flight: one in a partition of which the consumer keeps no streams any more, one in a partition
    // that is gone.
    let mut sent = producer(1, 55_000, 0);
    sent.streams = [3, 9].map(|partition| SendStream { partition, ..sent.streams[0].clone() }).to_vec();
    (sent.totals.sent, sent.totals.in_flight) = (6, 6);
    let mut received = state(&PartitionLedger::new(3, 7, None));
    received.partitions[0].folded_streams = 1;
    let claims = [Claim::by(sent, HowEnded::Running)];
    let offsets = [OffsetRange { partition: 3, start: 2, end: 7 }];
    let standing = judge_running(&Running {
        topic: "t",
        claims: &claims,
        offsets: &offsets,
        received: &received,
        topic_id: Some("first"),
    });
    assert_eq!((standing.verdict, found(&standing)), (Verdict::Pass, vec![]), "{:?}", standing.reasons);
    assert_eq!(standing.partitions, [Row { partition: 3, start: 2, end: 7, sent: 3, ..Row::default() }]);
}

#[test]
fn producers_that_are_gone_are_not_judged_and_that_is_said() {
    // An earlier producer. Two of its sequences were rejected or lost; nobody can tell which.
    let received = consumer(0, &[(7, 0..5), (7, 7..9), (1, 0..20)]);
    let standing = judged(&[producer(1, 55_000, 20)], &received, 27, "first");
    assert_eq!((standing.verdict, found(&standing)), (Verdict::Pass, vec![]));
    assert!(standing.remarks[0].starts_with("2 sequences from producers that are gone did not arrive"), "{standing:?}");
    let standing = judged(&[], &received, 27, "first");
    assert_eq!(standing.remarks.last().unwrap(), "no producer is running, so nothing is promised");
    // A stream that a running producer opened after its last line does not belong to a producer that is gone.
    let mut received = received;
    received.streams[0].run = run(1);
    received.streams[0].producer = ProducerId(1);
    received.streams[0].epoch = 1;
    let standing = judged(&[producer(1, 55_000, 20)], &received, 27, "first");
    assert_eq!((standing.verdict, standing.remarks.as_slice()), (Verdict::Pass, [].as_slice()));
}

#[test]
fn whatever_a_state_says_that_is_not_clean_is_told() {
    let clean = || (producer(1, 55_000, 20), consumer(0, &[(1, 0..20)]));
    let table: [(StateChange, Verdict, Kind); 15] = [
        (|_, c| c.partitions[0].log_truncations = 1, Verdict::Fail, Kind::LogTruncated),
        (|_, c| c.partitions[0].counts.duplicate = 1, Verdict::Fail, Kind::Duplicate),
        (|_, c| c.partitions[0].counts.out_of_order = 1, Verdict::Fail, Kind::OutOfOrder),
        (|_, c| c.partitions[0].counts.corrupt = 1, Verdict::Fail, Kind::Corrupt),
        (|_, c| c.partitions[0].counts.misrouted = 1, Verdict::Fail, Kind::Misrouted),
        (
            |p, _| {
                (p.event, p.reason) = (StateEvent::End, Some(Reason::Fatal));
                (p.streams[0].sent, p.totals.sent, p.totals.in_flight) = (20, 20, 0);
            },
            Verdict::Fail,
            Kind::Died,
        ),
        (
            |p, _| {
                (p.streams[0].not_persisted, p.totals.not_persisted, p.totals.in_flight) = (1, 1, 2);
                p.streams[0].not_persisted_ranges = vec![(20, 21)].try_into().unwrap();
            },
            Verdict::Fail,
            Kind::NotPersisted,
        ),
        (
            |p, _| {
                (p.streams[0].unknown, p.totals.unknown, p.totals.in_flight) = (1, 1, 2);
                p.streams[0].unknown_ranges = vec![(20, 21)].try_into().unwrap();
            },
            Verdict::Inconclusive,
            Kind::Unknown,
        ),
        (|_, c| c.streams[0].exact = false, Verdict::Inconclusive, Kind::Inexact),
        (|p, _| p.folded_epochs = 2, Verdict::Inconclusive, Kind::Inexact),
        (|p, _| p.streams[0].exact = false, Verdict::Inconclusive, Kind::Inexact),
        (
            |_, c| (c.partitions[0].start_moved, c.partitions[0].retired) = (true, 4),
            Verdict::Inconclusive,
            Kind::StartMoved,
        ),
        (|_, c| c.partitions[0].stuck = Some("_NOT_IMPLEMENTED".into()), Verdict::Inconclusive, Kind::Stuck),
        (|_, c| c.partitions.clear(), Verdict::Inconclusive, Kind::Silent),
        (
            |_, c| {
                c.streams.clear();
                c.partitions[0].folded_streams = 1;
            },
            Verdict::Inconclusive,
            Kind::Inexact,
        ),
    ];
    for (change, verdict, kind) in table {
        let (mut sent, mut read) = clean();
        change(&mut sent, &mut read);
        read.totals = read.partitions.first().map(|row| row.counts).unwrap_or_default();
        let standing = judged(&[sent], &read, 20, "first");
        let kinds: Vec<Kind> = standing.findings.iter().map(|found| found.kind).collect();
        assert_eq!((standing.verdict, kinds.as_slice()), (verdict, [kind].as_slice()), "{:?}", standing.reasons);
    }
    let (mut sent, mut read) = clean();
    sent.totals.acked += 1;
    read.totals.records += 1;
    let standing = judged(&[sent.clone(), sent], &read, 20, "first");
    assert_eq!(standing.verdict, Verdict::Inconclusive);
    assert!(standing.findings.iter().all(|found| found.kind == Kind::Contradiction), "{:?}", standing.reasons);
    assert_eq!(standing.findings.len(), 5);
}

/// Lines that repeat a stream, are of another run, or report nothing prove nothing.
#[test]
fn what_contradicts_itself_is_no_proof() {
    let clean = || (producer(1, 55_000, 20), consumer(0, &[(1, 0..20)]));
    let table: [(StateChange, &str); 3] = [
        (
            |_, c| c.run = Some(run(2)),
            "the consumer was started for run run-2 (--run), but producer 00000001 sends for run run-1",
        ),
        (|p, _| p.streams.push(p.streams[0].clone()), "producer 00000001 reports epoch 0 twice"),
        (|_, c| c.streams.push(c.streams[0].clone()), "the consumer reports producer 00000001, epoch 0 twice"),
    ];
    for (change, what) in table {
        let (mut sent, mut read) = clean();
        change(&mut sent, &mut read);
        let standing = judged(&[sent], &read, 20, "first");
        assert_eq!(standing.verdict, Verdict::Inconclusive, "{what}: {:?}", standing.reasons);
        assert!(standing.findings.iter().all(|found| found.kind == Kind::Contradiction), "{:?}", standing.reasons);
        assert!(standing.reasons.iter().any(|reason| reason.contains(what)), "{what}: {:?}", standing.reasons);
    }
    let (mut sent, read) = clean();
    (sent.streams, sent.totals) = (Vec::new(), SendTotals::default());
    let claims = [Claim::by(sent, HowEnded::Running)];
    let standing =
        judge_running(&Running { topic: "t", claims: &claims, offsets: &[], received: &read, topic_id: Some("first") });
    assert_eq!((standing.verdict, found(&standing)), (Verdict::Inconclusive, vec![(Kind::Silent, 1)]));
    // Acknowledged messages in a partition that the consumer does not report are unread.
    let (sent, mut read) = clean();
    read.partitions.clear();
    read.streams.clear();
    read.totals = ReceiveTotals::default();
    let standing = judged(&[sent], &read, 20, "first");
    assert_eq!((found(&standing), standing.partitions[0].unread), (vec![(Kind::Silent, 1)], 20));
}

/// A producer's state with these streams of partition 0, one epoch each: numbers of acked, not persisted, unknown, and
/// in-flight messages.
fn epochs(number: u32, streams: &[[u64; 4]]) -> ProducerState {
    let mut state = producer(number, 55_000, 0);
    (state.streams, state.totals) = (Vec::new(), SendTotals::default());
    for (epoch, [acked, not_persisted, unknown, in_flight]) in (0..).zip(streams) {
        let mut ledger = SendLedger::default();
        let outcomes =
            [(acked, SendOutcome::Acked), (not_persisted, SendOutcome::NotPersisted), (unknown, SendOutcome::Unknown)];
        for (count, outcome) in outcomes {
            for _ in 0..*count {
                ledger.settle(ledger.next_sequence(), outcome);
                ledger.accepted();
            }
        }
        (0..*in_flight).for_each(|_| ledger.accepted());
        state.totals.add(&ledger);
        state.streams.push(SendStream::new(ProducerId(number), epoch, 0, &ledger));
    }
    state
}

/// All numbers of the row differ, so that none can stand for another.
#[test]
fn a_row_says_what_was_sent_to_a_partition_and_what_was_read_of_it() {
    let claims = [epochs(1, &[[6, 2, 3, 1], [5, 1, 1, 0]]), epochs(2, &[[9, 1, 2, 4]])];
    let encoded = |producer, epoch, partition, sequence| {
        Encoder::new(run(producer), ProducerId(producer), epoch, 0).encode(0, partition, sequence, 1).to_vec()
    };
    let mut bent = encoded(1, 0, 0, 0);
    bent[20] ^= 1;
    let mut values: Vec<Vec<u8>> = Vec::new();
    // Everything acknowledged, and one of unknown outcome.
    values.extend([0, 1, 2, 3, 4, 5, 8].map(|sequence| encoded(1, 0, 0, sequence)));
    // 4 is missing, 2 arrived twice.
    values.extend([0, 1, 2, 2, 3].map(|sequence| encoded(1, 1, 0, sequence)));
    // 3 and 6 are missing, 0 arrived late, and so did two that were in flight.
    values.extend([1, 0, 2, 4, 5, 7, 8, 12, 13].map(|sequence| encoded(2, 0, 0, sequence)));
    // From a producer that is gone, 2 did not arrive.
    values.extend([0, 1, 4, 5].map(|sequence| encoded(7, 0, 0, sequence)));
    values.extend(std::iter::repeat_n(bent, 4));
    values.extend([0, 1, 2].map(|sequence| encoded(1, 0, 1, sequence)));
    values.extend(std::iter::repeat_n(b"typed".to_vec(), 5));
    let mut ledger = PartitionLedger::new(0, 0, None);
    values.iter().for_each(|value| ledger.record(Record::new(ledger.next, Some(value))));
    let copy = encoded(1, 0, 0, 0);
    (0..6).for_each(|_| ledger.record(Record { keyed: true, ..Record::new(ledger.next, Some(&copy)) }));
    (0..8).for_each(|offset| ledger.record(Record::new(offset, None)));
    let received = state(&ledger);
    let standing = judged(&claims, &received, 43, "first");
    let row = Row {
        partition: 0,
        sent: 35,
        acked: 20,
        not_persisted: 4,
        unknown: 6,
        received: 24,
        unpromised: 3,
        missing: 3,
        unread: 0,
        duplicate: 1,
        out_of_order: 1,
        corrupt: 4,
        misrouted: 3,
        others: 11,
        markers: 0,
        compacted: 0,
        redelivered: 8,
        start: 0,
        end: 43,
        records: 43,
    };
    assert_eq!(standing.partitions, [row]);
    let faults = [
        (Kind::NotPersisted, 4),
        (Kind::Duplicate, 1),
        (Kind::OutOfOrder, 1),
        (Kind::Corrupt, 4),
        (Kind::Misrouted, 3),
        (Kind::Missing, 1),
        (Kind::Missing, 2),
        (Kind::Unknown, 6),
    ];
    assert_eq!(found(&standing), faults, "{:?}", standing.reasons);
    let gone =
        "2 sequences from producers that are gone did not arrive; whether they were acknowledged is no longer known";
    assert_eq!(standing.remarks, [gone]);
    assert_eq!(standing.evidence.len(), 2);
}
