//! The JSON lines of the three questions. Those of the producer and the consumer are in [`ledger::lines`], with the rules for all of them.

use std::borrow::Cow;

use serde::Serialize;

/// Schema of `clients metadata`.
pub const METADATA: &str = "kafka-lab.metadata/1";
/// Schema of `clients offsets`.
pub const OFFSETS: &str = "kafka-lab.offsets/1";
/// Schema of `clients probe`.
pub const PROBE: &str = "kafka-lab.probe/1";

/// One broker's view of the cluster.
#[derive(Debug, Serialize)]
pub struct MetadataLine {
    /// [`METADATA`].
    pub schema: &'static str,
    /// The address that was asked.
    pub broker: String,
    /// Whether it answered in time.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// How long it took.
    pub elapsed_ms: u64,
    /// The brokers it knows, by id.
    pub brokers: Vec<BrokerInfo>,
    /// The topics it knows, or the one asked for.
    pub topics: Vec<TopicInfo>,
}

/// A broker as another one knows it.
#[derive(Debug, Serialize)]
pub struct BrokerInfo {
    /// `broker.id`.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: i32,
}

/// A topic as a broker knows it.
#[derive(Debug, Serialize)]
pub struct TopicInfo {
    /// Its name.
    pub topic: String,
    /// The name of an error code, `UNKNOWN_TOPIC_OR_PART` for one that does not exist.
    pub error: Option<Cow<'static, str>>,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as a broker knows it.
#[derive(Debug, Serialize)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: i32,
    /// The leader's broker id; -1 for none.
    pub leader: i32,
    /// Broker ids of all replicas.
    pub replicas: Vec<i32>,
    /// Broker ids of the replicas in sync.
    pub isr: Vec<i32>,
    /// The name of an error code.
    pub error: Option<Cow<'static, str>>,
}

/// The offsets of a topic.
#[derive(Debug, Serialize)]
pub struct OffsetsLine<'a> {
    /// [`OFFSETS`].
    pub schema: &'static str,
    /// The topic.
    pub topic: &'a str,
    /// Its id; absent when there is an error, or when the brokers know no ids (before Kafka 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Its partitions, by number; absent when there is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Vec<PartitionOffsets>>,
    /// Why the offsets are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The offsets of a partition.
#[derive(Debug, Serialize)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: i32,
    /// The first offset the log still has.
    pub low: i64,
    /// The end offset (high watermark): the offset of the next record.
    pub high: i64,
}

/// What a probe has got to.
#[derive(Debug, Serialize)]
pub struct ProbeLine<'a> {
    /// [`PROBE`].
    pub schema: &'static str,
    /// `"waiting"` (for what is in `status`), `"acked"`, `"received"` or `"error"` (what is in `error`).
    pub event: &'static str,
    /// Since the process began its work.
    pub elapsed_ms: u64,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// The partition the message went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Its offset there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Why it gave up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}
