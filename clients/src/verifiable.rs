//! The lines of Kafka's own verifiable producer and consumer (`org.apache.kafka.tools`, the consumer's with `--verbose`), for tools that read
//! those: a second opinion on a run that shares nothing with our ledger. One line for each message, so for modest rates.
//!
//! A value is printed as it is in the log, the whole stamp, so that a set of values acked and one of values received can be compared. Nothing
//! is ever committed here, so there is no `offsets_committed`; and a key is always null.

use std::borrow::Cow;

use serde::Serialize;

use crate::time::now_ms;

/// What happened, in Kafka's words.
#[derive(Debug, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum VerifiableEvent<'a> {
    /// The client is about to begin.
    StartupComplete,
    /// The client is done; of a producer, `tool_data` follows.
    ShutdownComplete,
    /// A message was acknowledged.
    ProducerSendSuccess {
        /// Always null.
        key: Option<&'a str>,
        /// The value.
        value: &'a str,
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The offset; negative when the broker did not tell it.
        offset: i64,
    },
    /// A message was not acknowledged. It may be in the log all the same, as with Kafka's own tool.
    ProducerSendError {
        /// The topic.
        topic: &'a str,
        /// Always null.
        key: Option<&'a str>,
        /// The value.
        value: &'a str,
        /// The name of librdkafka's error code, where Kafka's tool has a Java class.
        exception: Cow<'a, str>,
        /// What it means.
        message: Cow<'a, str>,
    },
    /// A producer's sums.
    ToolData {
        /// Handed to the client.
        sent: u64,
        /// Acknowledged.
        acked: u64,
        /// Messages a second asked for; -1 for no limit.
        target_throughput: i64,
        /// Messages a second acknowledged.
        avg_throughput: f64,
    },
    /// The partitions that are read from now on.
    PartitionsAssigned {
        /// All of them.
        partitions: Vec<TopicPartition<'a>>,
    },
    /// The partitions that are read no longer.
    PartitionsRevoked {
        /// All of them.
        partitions: Vec<TopicPartition<'a>>,
    },
    /// A record, before the `records_consumed` that counts it.
    RecordData {
        /// Always null.
        key: Option<&'a str>,
        /// The value, as text; null when it is.
        value: Option<&'a str>,
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// A batch of records.
    RecordsConsumed {
        /// How many.
        count: u64,
        /// By partition.
        partitions: Vec<RecordSet<'a>>,
    },
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TopicPartition<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
}

/// The records of a batch that are of one partition.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordSet<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// How many.
    pub count: u64,
    /// The first offset.
    pub min_offset: i64,
    /// The last offset.
    pub max_offset: i64,
}

/// A line: what happened, and when.
#[derive(Debug, Serialize)]
pub struct VerifiableLine<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// What.
    #[serde(flatten)]
    pub event: VerifiableEvent<'a>,
}

impl<'a> VerifiableLine<'a> {
    /// A line about something that happens now.
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
