//! The lines of the three queries: `clients metadata`, `offsets` and `probe`.
//!
//! A reader accepts lines without the fields that an older writer did not know.

use serde::{Deserialize, Serialize};

use super::marked::{Line, SchemaName};

/// Schema of [`Metadata`].
pub const METADATA: &str = "kafka-lab.metadata/1";
/// Schema of [`Offsets`].
pub const OFFSETS: &str = "kafka-lab.offsets/1";
/// Schema of [`Probe`].
pub const PROBE: &str = "kafka-lab.probe/1";

/// `clients metadata`: one broker's view of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// [`METADATA`].
    pub schema: SchemaName,
    /// The address that was queried.
    pub broker: String,
    /// Whether it answered within the timeout.
    pub ok: bool,
    /// Why not; null if it answered.
    pub error: Option<String>,
    /// Duration of the query.
    pub elapsed_ms: u64,
    /// The brokers that it knows, ordered by id.
    pub brokers: Vec<BrokerInfo>,
    /// The topics that it knows, or only the requested one, ordered by name.
    pub topics: Vec<TopicInfo>,
}

impl Line for Metadata {
    const SCHEMA: &'static str = METADATA;
}

/// A broker in a metadata answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerInfo {
    /// `broker.id`.
    pub id: u32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
}

/// A topic in a metadata answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicInfo {
    /// The topic's name.
    pub topic: String,
    /// Name of an error code, such as `UNKNOWN_TOPIC_OR_PART` for a topic that does not exist.
    pub error: Option<String>,
    /// The partitions, ordered by number.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition in a metadata answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionInfo {
    /// The partition's number.
    pub partition: u32,
    /// Broker id of the leader; -1 for none.
    pub leader: i32,
    /// Broker ids of all replicas.
    pub replicas: Vec<i32>,
    /// Broker ids of the replicas in sync.
    pub isr: Vec<i32>,
    /// Name of an error code.
    pub error: Option<String>,
}

/// `clients offsets`: the first offset and the end offset of each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Offsets {
    /// [`OFFSETS`].
    pub schema: SchemaName,
    /// The topic.
    pub topic: String,
    /// The topic's id. Absent on an error, or if the brokers know no ids (before Kafka 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The partitions, ordered by number. Absent on an error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Watermarks>,
    /// Why the offsets are unknown. Absent on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Line for Offsets {
    const SCHEMA: &'static str = OFFSETS;
}

/// The offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermarks {
    /// The partition's number.
    pub partition: u32,
    /// The first offset in the log.
    pub low: u64,
    /// The end offset (high watermark): the offset of the next record.
    pub high: u64,
}

/// The progress of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeEvent {
    /// It is waiting for what `status` says.
    Waiting,
    /// The brokers acknowledged the message.
    Acked,
    /// The message came back.
    Received,
    /// It gave up, for the reason in `error`.
    Error,
}

/// `clients probe`: the progress of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// [`PROBE`].
    pub schema: SchemaName,
    /// What happened.
    pub event: ProbeEvent,
    /// Time since the process started its work.
    #[serde(default)]
    pub elapsed_ms: u64,
    /// What it is waiting for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The partition of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The offset of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Why it gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Line for Probe {
    const SCHEMA: &'static str = PROBE;
}
