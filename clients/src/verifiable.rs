//! The output format of Kafka's verifiable producer and consumer (`org.apache.kafka.tools`; the consumer's with
//! `--verbose`), for tools that parse it: a second opinion on a run, independent of our ledger. It prints one line per
//! message, so it suits moderate rates.
//!
//! Values are printed as they are in the log, with the whole stamp, so that the sets of acked and of received values
//! can be compared. There is no `offsets_committed`, because nothing is committed, and keys are always null.

use std::borrow::Cow;

use serde::Serialize;

use crate::time::now_ms;

/// An event, named as Kafka names it.
#[derive(Debug, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum VerifiableEvent<'a> {
    /// The client is ready.
    StartupComplete,
    /// The client is done; a producer prints `tool_data` next.
    ShutdownComplete,
    /// A message was acknowledged.
    ProducerSendSuccess {
        key: Option<&'a str>,
        value: &'a str,
        topic: &'a str,
        partition: i32,
        /// Negative if the broker did not report it.
        offset: i64,
    },
    /// A message was not acknowledged. It may still be in the log, as with Kafka's own tool.
    ProducerSendError {
        topic: &'a str,
        key: Option<&'a str>,
        value: &'a str,
        /// librdkafka's name of the error code, where Kafka's tool prints a Java class.
        exception: Cow<'a, str>,
        message: Cow<'a, str>,
    },
    /// A producer's totals.
    ToolData {
        sent: u64,
        acked: u64,
        /// Requested messages per second; -1 for no limit.
        target_throughput: i64,
        /// Acknowledged messages per second.
        avg_throughput: f64,
    },
    /// All partitions that are read from now on.
    PartitionsAssigned { partitions: Vec<TopicPartition<'a>> },
    /// The partitions that are no longer read.
    PartitionsRevoked { partitions: Vec<TopicPartition<'a>> },
    /// A record, before the `records_consumed` that counts it.
    RecordData {
        key: Option<&'a str>,
        /// The value as text; null for a null value.
        value: Option<&'a str>,
        topic: &'a str,
        partition: i32,
        offset: i64,
    },
    /// A batch of records.
    RecordsConsumed { count: u64, partitions: Vec<RecordSet<'a>> },
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct TopicPartition<'a> {
    pub topic: &'a str,
    pub partition: i32,
}

/// The records of a batch in one partition.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordSet<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub count: u64,
    pub min_offset: i64,
    pub max_offset: i64,
}

/// A line of output.
#[derive(Debug, Serialize)]
pub struct VerifiableLine<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    #[serde(flatten)]
    pub event: VerifiableEvent<'a>,
}

impl<'a> VerifiableLine<'a> {
    /// A line with the current time.
    pub fn now(event: VerifiableEvent<'a>) -> Self {
        Self { timestamp: now_ms(), event }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn lines_are_spelled_as_kafka_spells_them() {
        let part = TopicPartition { topic: "t", partition: 1 };
        let set = RecordSet { topic: "t", partition: 1, count: 3, min_offset: 5, max_offset: 7 };
        let table = [
            (VerifiableEvent::StartupComplete, r#""name":"startup_complete""#),
            (VerifiableEvent::ShutdownComplete, r#""name":"shutdown_complete""#),
            (
                VerifiableEvent::ProducerSendSuccess { key: None, value: "v", topic: "t", partition: 1, offset: 5 },
                r#""name":"producer_send_success","key":null,"value":"v","topic":"t","partition":1,"offset":5"#,
            ),
            (
                VerifiableEvent::ProducerSendError {
                    topic: "t",
                    key: None,
                    value: "v",
                    exception: "E".into(),
                    message: "m".into(),
                },
                r#""name":"producer_send_error","topic":"t","key":null,"value":"v","exception":"E","message":"m""#,
            ),
            (
                VerifiableEvent::ToolData { sent: 2, acked: 1, target_throughput: -1, avg_throughput: 0.5 },
                r#""name":"tool_data","sent":2,"acked":1,"target_throughput":-1,"avg_throughput":0.5"#,
            ),
            (
                VerifiableEvent::PartitionsAssigned { partitions: vec![part] },
                r#""name":"partitions_assigned","partitions":[{"topic":"t","partition":1}]"#,
            ),
            (
                VerifiableEvent::PartitionsRevoked { partitions: vec![] },
                r#""name":"partitions_revoked","partitions":[]"#,
            ),
            (
                VerifiableEvent::RecordData { key: None, value: Some("v"), topic: "t", partition: 1, offset: 5 },
                r#""name":"record_data","key":null,"value":"v","topic":"t","partition":1,"offset":5"#,
            ),
            (
                VerifiableEvent::RecordsConsumed { count: 3, partitions: vec![set] },
                r#""name":"records_consumed","count":3,"partitions":[{"topic":"t","partition":1,"count":3,"minOffset":5,"maxOffset":7}]"#,
            ),
        ];
        for (event, expected) in table {
            let line = serde_json::to_string(&VerifiableLine { timestamp: 9, event }).unwrap();
            assert_eq!(line, format!("{{\"timestamp\":9,{expected}}}"));
        }
    }
}
