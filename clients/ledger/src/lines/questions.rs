//! The lines of the three questions: what brokers know, where a log begins and ends, whether a message comes back.
//!
//! A reader takes a line without a field that an older writer did not know, where the field can be absent.

use serde::{Deserialize, Serialize};

use super::marked::{Line, Schema};

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
    pub schema: Schema,
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

impl Line for Metadata {
    const SCHEMA: &'static str = METADATA;
}

/// A broker as another one knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerInfo {
    /// `broker.id`.
    pub id: u32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
}

/// A topic as a broker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicInfo {
    /// Its name.
    pub topic: String,
    /// The name of an error code, `UNKNOWN_TOPIC_OR_PART` for one that does not exist.
    pub error: Option<String>,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as a broker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: u32,
    /// The leader's broker id; -1 for none.
    pub leader: i32,
    /// Broker ids of all replicas.
    pub replicas: Vec<i32>,
    /// Broker ids of the replicas in sync.
    pub isr: Vec<i32>,
    /// The name of an error code.
    pub error: Option<String>,
}

/// `clients offsets`: the offsets of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Offsets {
    /// [`OFFSETS`].
    pub schema: Schema,
    /// The topic.
    pub topic: String,
    /// Its id; absent when there is an error, or when the brokers know no ids (before Kafka 2.8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Its partitions, by number; absent when there is an error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Watermarks>,
    /// Why the offsets are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Line for Offsets {
    const SCHEMA: &'static str = OFFSETS;
}

/// The offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermarks {
    /// The partition.
    pub partition: u32,
    /// The first offset the log still has.
    pub low: u64,
    /// The end offset (high watermark): the offset of the next record.
    pub high: u64,
}

/// What a probe has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeEvent {
    /// It waits for what is in `status`.
    Waiting,
    /// The brokers confirmed the message.
    Acked,
    /// The message came back.
    Received,
    /// It gave up, for what is in `error`.
    Error,
}

/// `clients probe`: how far one message has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// [`PROBE`].
    pub schema: Schema,
    /// What has happened.
    pub event: ProbeEvent,
    /// Since the process began its work.
    #[serde(default)]
    pub elapsed_ms: u64,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The partition the message went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// Its offset there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Why it gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Line for Probe {
    const SCHEMA: &'static str = PROBE;
}
