//! Checks docs/schema/lines.json against the lines that are really written: each line is valid, and each line with a
//! missing, added or changed field is not.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::process::Command;

use ledger::judge::{Case, Claim, Kind, LEDGER, OffsetRange, RUNNING, Running, Went, judge, judge_running};
use ledger::lines::{
    BrokerInfo, CONSUMER, ConsumerStart, ConsumerState, Event, GAP, Gap, METADATA, Metadata, Milestone, OFFSETS,
    Offsets, PROBE, PRODUCER, PartitionInfo, Probe, ProbeEvent, ProducerStart, ProducerState, Reason, ReceivePartition,
    ReceiveStream, ReceiveTotals, SendPartition, SendStream, SendTotals, Span, TopicInfo, Watermarks,
};
use ledger::received::{PartitionLedger, Record};
use ledger::sent::{Outcome, SendLedger};
use ledger::stamp::{Encoder, ProducerId, RunId};
use serde_json::{Map, Value, json, to_value};

/// The part of JSON Schema that our file uses. Any other keyword fails the test.
struct JsonSchema(Value);

impl JsonSchema {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/lines.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// What is wrong with a line. Stricter than the schema: unknown fields are rejected.
    fn problem(&self, line: &Value) -> Option<String> {
        let schema = &self.0;
        self.check(&json!({ "oneOf": schema["oneOf"] }), line, "line").err()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let wrong = |what: String| Err(format!("{at}: {what}"));
        for (keyword, told) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "description" | "properties" => {}
                "$ref" => {
                    let name = told.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                    self.check(self.0["$defs"].get(name).unwrap(), value, at)?;
                }
                "oneOf" => {
                    let answers: Vec<_> =
                        told.as_array().unwrap().iter().map(|one| self.check(one, value, at)).collect();
                    if answers.iter().filter(|answer| answer.is_ok()).count() != 1 {
                        return wrong(format!("not one of {} fits: {answers:?}", answers.len()));
                    }
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(told, item, &format!("{at}[{n}]"))?;
                    }
                }
                "prefixItems" => {
                    for (one, item) in told.as_array().unwrap().iter().zip(value.as_array().into_iter().flatten()) {
                        self.check(one, item, at)?;
                    }
                }
                "required" => {
                    for name in told.as_array().unwrap() {
                        if value.get(name.as_str().unwrap()).is_none() {
                            return wrong(format!("{name} is missing"));
                        }
                    }
                }
                "additionalProperties" => {
                    for (name, field) in value.as_object().into_iter().flatten() {
                        self.check(told, field, &format!("{at}.{name}"))?;
                    }
                }
                _ => check_value(keyword, told, value).or_else(wrong)?,
            }
        }
        if schema.get("properties").is_some() {
            for (name, field) in value.as_object().into_iter().flatten() {
                let Some(known) = properties.get(name) else { return wrong(format!("{name} is not described")) };
                self.check(known, field, &format!("{at}.{name}"))?;
            }
        }
        Ok(())
    }
}

/// Checks a keyword that concerns only this value and nothing inside it.
fn check_value(keyword: &str, told: &Value, value: &Value) -> Result<(), String> {
    match keyword {
        "const" if told == value => {}
        "enum" if told.as_array().unwrap().contains(value) => {}
        "const" | "enum" => return Err(format!("{value} is not {told}")),
        "type" => {
            let names = told.as_array().cloned().unwrap_or_else(|| vec![told.clone()]);
            let is = |name: &Value| match name.as_str().unwrap() {
                "integer" => value.is_i64() || value.is_u64(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("type {other}"),
            };
            if !names.iter().any(is) {
                return Err(format!("{value} is not {told}"));
            }
        }
        "minimum" if value.as_i64().is_some_and(|n| n < told.as_i64().unwrap()) => {
            return Err(format!("{value} is below {told}"));
        }
        "minimum" => {}
        "pattern" => {
            if !value.as_str().is_some_and(|text| matches(told.as_str().unwrap(), text)) {
                return Err(format!("{value} is not {told}"));
            }
        }
        "minItems" | "maxItems" => {
            let (length, bound) = (value.as_array().map_or(0, Vec::len) as u64, told.as_u64().unwrap());
            if (keyword == "minItems" && length < bound) || (keyword == "maxItems" && length > bound) {
                return Err(format!("{length} items"));
            }
        }
        other => panic!("the checker does not know {other}"),
    }
    Ok(())
}

/// Matches patterns of the only form that the schema uses: `^[CLASS]{LEAST,MOST}$`.
fn matches(pattern: &str, text: &str) -> bool {
    let (class, lengths) = pattern.strip_prefix("^[").unwrap().strip_suffix("}$").unwrap().split_once("]{").unwrap();
    let (least, most) = lengths.split_once(',').unwrap_or((lengths, lengths));
    let class: Vec<char> = class.chars().collect();
    let mut legal = Vec::new();
    let mut at = 0;
    while at < class.len() {
        match class[at..] {
            [from, '-', to, ..] => {
                legal.extend(from..=to);
                at += 3;
            }
            _ => {
                legal.push(class[at]);
                at += 1;
            }
        }
    }
    let length = text.chars().count();
    (least.parse().unwrap()..=most.parse::<usize>().unwrap()).contains(&length)
        && text.chars().all(|c| legal.contains(&c))
}

fn run() -> RunId {
    "r-1".parse().unwrap()
}

/// A producer's end with every outcome in it.
fn producer() -> ProducerState {
    let mut ledger = SendLedger::default();
    for sequence in 0..12 {
        ledger.accepted();
        ledger.settle(sequence, [Outcome::Acked, Outcome::NotPersisted, Outcome::Unknown][sequence as usize % 3]);
    }
    let mut totals = SendTotals::default();
    totals.add(&ledger);
    ProducerState {
        schema: PRODUCER.into(),
        event: Event::End,
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
        event: Event::End,
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
    let claims = [Claim::by(producer(), Went::Asked)];
    let (ranges, received) = ([OffsetRange { partition: 0, start: 5, end: 10 }], consumer());
    let report = judge(&Case { expected: Some(13), ..Case::new(run(), "test", &ranges, &claims, &received) });
    assert!(!report.evidence.is_empty() && report.findings.len() > 3, "{:?}", report.reasons);
    let running =
        Running { topic: "test", claims: &claims, offsets: &ranges, received: &received, topic_id: Some("another") };
    let standing = judge_running(&running);
    assert!(!standing.evidence.is_empty() && standing.findings.len() > 3, "{:?}", standing.reasons);
    let start = ProducerStart {
        schema: PRODUCER.into(),
        event: Event::Start,
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
        event: Event::Start,
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
    let schema = JsonSchema::read();
    let lines = made();
    assert_eq!(lines.len(), schema.0["oneOf"].as_array().unwrap().len());
    for line in lines {
        assert_eq!(schema.problem(&line), None, "{line}");
    }
}

#[test]
fn what_the_binary_prints_without_a_broker_fits_too() {
    let schema = JsonSchema::read();
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
            let line = serde_json::from_str(line).unwrap();
            assert_eq!(schema.problem(&line), None, "{args:?}: {line}");
        }
    }
}

/// Calls `bent` for each way to remove, add or replace a field.
fn bend(value: &Value, optional: &[&str], bent: &mut dyn FnMut(Value, &str)) {
    let something_else = |value: &Value| if value.is_boolean() { json!(7) } else { json!(false) };
    match value {
        Value::Object(fields) => {
            let free = fields.keys().any(|key| key.starts_with('_'));
            for (name, field) in fields {
                let with = |new: Option<Value>| {
                    let mut fields = fields.clone();
                    match new {
                        Some(new) => drop(fields.insert(name.clone(), new)),
                        None => drop(fields.remove(name)),
                    }
                    Value::Object(fields)
                };
                if !free && !optional.contains(&name.as_str()) {
                    bent(with(None), &format!("without {name}"));
                }
                bent(with(Some(something_else(field))), &format!("{name} is something else"));
                bend(field, optional, &mut |inner, what| bent(with(Some(inner)), &format!("{name}: {what}")));
            }
            if !free {
                let mut fields = fields.clone();
                fields.insert("surprise".into(), json!(1));
                bent(Value::Object(fields), "with a surprise");
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let with = |new: Value| {
                    let mut items = items.clone();
                    items[at] = new;
                    Value::Array(items)
                };
                bent(with(something_else(item)), "an item is something else");
                bend(item, optional, &mut |inner, what| bent(with(inner), what));
            }
        }
        _ => {}
    }
}

#[test]
fn what_lacks_adds_or_bends_a_field_does_not_fit() {
    let schema = JsonSchema::read();
    let mut tried = 0;
    for line in made() {
        // Optional fields.
        let optional: &[&str] = match line["schema"].as_str().unwrap() {
            PROBE => &["status", "partition", "offset", "error"],
            OFFSETS => &["topic_id", "partitions", "error"],
            _ => &["reason", "topic_id", "explained", "stuck"],
        };
        bend(&line, optional, &mut |bent, what| {
            tried += 1;
            assert!(schema.problem(&bent).is_some(), "{what} fits all the same: {bent}");
        });
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn every_finding_has_its_name_in_the_schema() {
    let schema = JsonSchema::read();
    let names = &schema.0["$defs"]["findings"]["items"]["properties"]["kind"]["enum"];
    let kinds: Vec<Kind> = serde_json::from_value(names.clone()).unwrap();
    assert!(kinds.is_sorted() && kinds.last() == Some(&Kind::Contradiction));
    assert_eq!(kinds.len(), Kind::Contradiction as usize + 1);
}

#[test]
fn versions_are_those_of_the_lines() {
    let text = serde_json::to_string(&JsonSchema::read().0).unwrap();
    for name in [PRODUCER, CONSUMER, METADATA, OFFSETS, PROBE, LEDGER, RUNNING] {
        assert!(text.contains(name), "{name}");
    }
}
