//! Checks docs/schema/lines.json against the lines that are really written: each line is valid, and each line with a
//! missing, added or changed field is not.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::process::Command;

use ledger::judge::{Case, Claim, HowEnded, Kind, LEDGER, OffsetRange, RUNNING, Running, judge, judge_running};
use ledger::lines::{
    BrokerInfo, CONSUMER, ConsumerStart, ConsumerState, GAP, Gap, METADATA, Metadata, Milestone, OFFSETS, Offsets,
    PROBE, PRODUCER, PartitionInfo, Probe, ProbeEvent, ProducerStart, ProducerState, Reason, ReceivePartition,
    ReceiveStream, ReceiveTotals, SendPartition, SendStream, SendTotals, Span, StateEvent, TopicInfo, Watermarks,
};
use ledger::received::{PartitionLedger, Record};
use ledger::sent::{SendLedger, SendOutcome};
use ledger::stamp::{Encoder, ProducerId, RunId};
use schema::Schema;
use serde_json::{Value, to_value};

fn run() -> RunId {
    "r-1".parse().unwrap()
}

/// A producer's end with every outcome in it.
fn producer() -> ProducerState {
    let mut ledger = SendLedger::default();
    for sequence in 0..12 {
        ledger.accepted();
        ledger.settle(
            sequence,
            [SendOutcome::Acked, SendOutcome::NotPersisted, SendOutcome::Unknown][sequence as usize % 3],
        );
    }
    let mut totals = SendTotals::default();
    totals.add(&ledger);
    ProducerState {
        schema: PRODUCER.into(),
        event: StateEvent::End,
        time_ms: 1,
        elapsed_ms: 1,
        run: run(),
        producer: ProducerId(0xab),
        reason: Some(Reason::Signal),
        totals,
        partitions: vec![SendPartition { partition: 0, sent: 12, acked: 4, not_persisted: 4, unknown: 4 }],
        streams: vec![SendStream::new(ProducerId(0xab), 0, 0, &ledger)],
        folded_epochs: 0,
        errors: [("_MSG_TIMED_OUT".into(), 4)].into(),
        queue_full: 1,
        topic_id: Some("AAAAAAAAAAAAAAAAAAAAAA".into()),
    }
}

/// A consumer's end with lost and repeated records.
fn consumer() -> ConsumerState {
    let mut ledger = PartitionLedger::new(0, 5, Some(run()));
    let mut encoder = Encoder::new(run(), ProducerId(0xab), 0, 0);
    for sequence in [0, 2, 4, 4, 8] {
        ledger.record(Record::new(ledger.next, Some(encoder.encode(0, 0, sequence, 1))));
    }
    let mut partition = ReceivePartition::new(&ledger, Some(10), (Some(0), Some(10)));
    partition.stuck = Some("_BAD_COMPRESSION".into());
    ConsumerState {
        schema: CONSUMER.into(),
        event: StateEvent::End,
        time_ms: 1,
        elapsed_ms: 1,
        run: Some(run()),
        reason: Some(Reason::End),
        totals: ReceiveTotals::from(ledger.counts()),
        partitions: vec![partition],
        streams: ledger.streams().iter().map(|stream| ReceiveStream::new(0, stream)).collect(),
        topic_id: Some("AAAAAAAAAAAAAAAAAAAAAA".into()),
    }
}

/// Every kind of line, built as the clients build it.
fn made() -> Vec<Value> {
    let claims = [Claim::by(producer(), HowEnded::Asked)];
    let (ranges, received) = ([OffsetRange { partition: 0, start: 5, end: 10 }], consumer());
    let report = judge(&Case { expected: Some(13), ..Case::new(run(), "test", &ranges, &claims, &received) });
    assert!(!report.evidence.is_empty() && report.findings.len() > 3, "{:?}", report.reasons);
    let running =
        Running { topic: "test", claims: &claims, offsets: &ranges, received: &received, topic_id: Some("another") };
    let standing = judge_running(&running);
    assert!(!standing.evidence.is_empty() && standing.findings.len() > 3, "{:?}", standing.reasons);
    let start = ProducerStart {
        schema: PRODUCER.into(),
        event: StateEvent::Start,
        time_ms: 1,
        run: run(),
        producer: ProducerId(0xab),
        topic: "test".into(),
        brokers: "a:1".into(),
        partitions: 4,
        rate: 0,
        count: 0,
        value_size: None,
        pid: 1,
    };
    let began = ConsumerStart {
        schema: CONSUMER.into(),
        event: StateEvent::Start,
        time_ms: 1,
        topic: "test".into(),
        run: None,
        pid: 1,
        partitions: vec![Span { partition: 0, start: 5, end: None }],
    };
    let partition = PartitionInfo { partition: 0, leader: -1, replicas: vec![0, 1], isr: vec![1], error: None };
    let metadata = Metadata {
        schema: METADATA.into(),
        broker: "a:1".into(),
        ok: true,
        error: None,
        elapsed_ms: 3,
        brokers: vec![BrokerInfo { id: 0, host: "a".into(), port: 1 }],
        topics: vec![TopicInfo { topic: "test".into(), error: None, partitions: vec![partition] }],
    };
    let offsets = Offsets {
        schema: OFFSETS.into(),
        topic: "test".into(),
        topic_id: Some("AAAAAAAAAAAAAAAAAAAAAA".into()),
        partitions: vec![Watermarks { partition: 0, low: 0, high: 10 }],
        error: None,
    };
    let probe = Probe {
        schema: PROBE.into(),
        event: ProbeEvent::Received,
        elapsed_ms: 9,
        status: None,
        partition: Some(0),
        offset: Some(3),
        error: None,
    };
    vec![
        to_value(start).unwrap(),
        to_value(producer()).unwrap(),
        to_value(began).unwrap(),
        to_value(consumer()).unwrap(),
        to_value(metadata).unwrap(),
        to_value(Gap { schema: GAP.into(), what: Milestone::Acked, partition: 1, from_ms: 5, to_ms: 905 }).unwrap(),
        to_value(offsets).unwrap(),
        to_value(probe).unwrap(),
        to_value(report).unwrap(),
        to_value(standing).unwrap(),
    ]
}

#[test]
fn every_kind_of_line_fits_its_schema() {
    let schema = Schema::read("lines.json");
    let lines = made();
    lines.iter().for_each(|line| schema.expect(line));
    let made: Vec<&str> = lines.iter().flat_map(|line| schema.kinds_of(line)).collect();
    let (made, kinds): (BTreeSet<&str>, BTreeSet<&str>) =
        (made.into_iter().collect(), schema.kinds().into_iter().collect());
    assert_eq!(made, kinds);
}

#[test]
fn what_the_binary_prints_without_a_broker_fits_too() {
    let schema = Schema::read("lines.json");
    let runs: [&[&str]; 5] = [
        &["metadata", "--brokers", "127.0.0.1:1", "--timeout-ms", "5000"],
        &["offsets", "--brokers", "127.0.0.1:1", "--timeout-ms", "500"],
        &["probe", "--brokers", "127.0.0.1:1", "--timeout-ms", "500"],
        &["consumer", "--brokers", "127.0.0.1:1", "--end", "0:5", "--idle-timeout", "1", "--format", "json"],
        &[
            "consumer",
            "--brokers",
            "127.0.0.1:1",
            "--run",
            "r",
            "--end",
            "0:5",
            "--idle-timeout",
            "1",
            "--format",
            "json",
        ],
    ];
    for args in runs {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clients"));
        for name in ["ROLE", "KAFKA_BROKER", "TOPIC", "RUN_ID", "FORMAT", "STATE_FILE"] {
            command.env_remove(name);
        }
        let said = command.args(args).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(!said.is_empty(), "{args:?}");
        for line in said.lines() {
            schema.expect(&serde_json::from_str(line).unwrap());
        }
    }
}

#[test]
fn what_lacks_adds_or_bends_a_field_does_not_fit() {
    let schema = Schema::read("lines.json");
    let mut tried = 0;
    for line in made() {
        // Optional fields.
        let optional: &[&str] = match line["schema"].as_str().unwrap() {
            PROBE => &["status", "partition", "offset", "error"],
            OFFSETS => &["topic_id", "partitions", "error"],
            _ => &["reason", "topic_id", "explained", "stuck"],
        };
        tried += schema.expect_exactly(&line, optional);
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn every_finding_has_its_name_in_the_schema() {
    let schema = Schema::read("lines.json");
    let names = &schema.json()["$defs"]["findings"]["items"]["properties"]["kind"]["enum"];
    let kinds: Vec<Kind> = serde_json::from_value(names.clone()).unwrap();
    assert!(kinds.is_sorted() && kinds.last() == Some(&Kind::Contradiction));
    assert_eq!(kinds.len(), Kind::Contradiction as usize + 1);
}

#[test]
fn versions_are_those_of_the_lines() {
    let text = serde_json::to_string(Schema::read("lines.json").json()).unwrap();
    for name in [PRODUCER, CONSUMER, GAP, METADATA, OFFSETS, PROBE, LEDGER, RUNNING] {
        assert!(text.contains(name), "{name}");
    }
}
