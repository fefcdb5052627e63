//! Questions to one broker, in Kafka's own protocol, and its answers as this program needs them.
//!
//! librdkafka keeps a view of its own of the cluster, which lags behind and mixes what several brokers said. A
//! recording has to tell who said what, and in which of the leader's epochs, so each broker is asked directly.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::{
    ApiKey, BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use ledger::cause::{in_words, protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Limit for an answer. A paused broker accepts connections and never answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Limit of an answer, in bytes. One about 1000 partitions has some 60 kB.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// Versions of the requests, which Kafka 3.3 to 4.3 know. Metadata has topic ids from version 10 on (KIP-516) and
/// leader epochs from 7 on.
const METADATA: i16 = 12;
const LIST_OFFSETS: i16 = 7;
const DESCRIBE_QUORUM: i16 = 1;

/// Timestamps that ListOffsets takes for the first offset and for the high watermark.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Error codes (org.apache.kafka.common.protocol.Errors).
const NONE: i16 = 0;
const UNKNOWN_TOPIC: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// The topic of the metadata in KRaft, which has one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// A broker's view of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The controller that it names. Only with ZooKeeper: in KRaft mode a broker names any broker here (KIP-590).
    pub controller: Option<u32>,
    /// The topics that it knows, of those that it was asked for, by name.
    pub topics: BTreeMap<String, TopicView>,
}

impl View {
    /// The partitions that a broker leads in this view, of each topic that has any.
    pub fn led_by(&self, broker: u32) -> Vec<(&str, Vec<i32>)> {
        let led = |topic: &TopicView| -> Vec<i32> {
            let led = topic.partitions.iter().filter(|one| one.leader == Some(broker));
            led.map(|one| one.partition).collect()
        };
        let topics = self.topics.iter().map(|(name, topic)| (name.as_str(), led(topic)));
        topics.filter(|(_, led)| !led.is_empty()).collect()
    }

    /// The number of partitions of all topics.
    pub fn partitions(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }
}

/// A broker's view of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// Its id.
    pub id: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionView>,
}

/// A broker's view of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// The partition.
    pub partition: i32,
    /// Its leader.
    pub leader: Option<u32>,
    /// The leader's epoch.
    pub epoch: i32,
    /// The in-sync replicas, sorted.
    pub isr: Vec<u32>,
    /// The replicas, the preferred leader first.
    pub replicas: Vec<u32>,
}

/// The offsets of a partition, as its leader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset in the log.
    pub first: i64,
    /// The high watermark: the offset after the last message that every in-sync replica has.
    pub high_watermark: i64,
}

/// A connection to a broker. After an error it is of no use: a late answer would be taken for the next one.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn open(address: &str) -> Result<Self> {
        let connected = timeout(ANSWER_WITHIN, TcpStream::connect(address)).await.map_err(|_| silent())?;
        let stream = connected.map_err(|error| anyhow!("{}", in_words(error)))?;
        stream.set_nodelay(true).context("cannot use the connection")?;
        Ok(Connection { stream, correlation: 0 })
    }

    /// Asks for the broker's view of the cluster and of these topics. Never creates one.
    ///
    /// # Errors
    /// There is no answer in time, or it is not Kafka's.
    pub async fn view(&mut self, topics: &[String]) -> Result<View> {
        let asked = topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic)))).collect();
        let request = MetadataRequest::default().with_topics(Some(asked)).with_allow_auto_topic_creation(false);
        let answer: MetadataResponse = self.ask(ApiKey::Metadata, METADATA, &request).await?;
        view(answer)
    }

    /// Asks for the offsets of the partitions that this broker leads. Leaves out those that it does not lead any more.
    ///
    /// # Errors
    /// As [`Connection::view`].
    pub async fn offsets(&mut self, topic: &str, partitions: &[i32]) -> Result<Vec<(i32, Offsets)>> {
        let first = self.offsets_at(topic, partitions, EARLIEST).await?;
        let mut high = self.offsets_at(topic, partitions, LATEST).await?.into_iter();
        // Both answers keep the order of the question, but each may leave partitions out.
        let mut both = Vec::new();
        for (partition, first) in first {
            if let Some((_, high_watermark)) = high.find(|(other, _)| *other == partition) {
                both.push((partition, Offsets { first, high_watermark }));
            }
        }
        Ok(both)
    }

    async fn offsets_at(&mut self, topic: &str, partitions: &[i32], place: i64) -> Result<Vec<(i32, i64)>> {
        let one = |partition: &i32| {
            ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(place)
        };
        let topics =
            ListOffsetsTopic::default().with_name(name(topic)).with_partitions(partitions.iter().map(one).collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topics]);
        let answer: ListOffsetsResponse = self.ask(ApiKey::ListOffsets, LIST_OFFSETS, &request).await?;
        let answers = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        let mut known: Vec<(i32, i64)> =
            answers.filter(|one| one.error_code == NONE).map(|one| (one.partition_index, one.offset)).collect();
        known.sort_unstable();
        Ok(known)
    }

    /// Asks who leads the metadata quorum; a broker passes the question on to that leader. `None` if there is none.
    ///
    /// # Errors
    /// As [`Connection::view`].
    pub async fn quorum(&mut self) -> Result<Option<(u32, i32)>> {
        let topic = TopicData::default()
            .with_topic_name(name(METADATA_TOPIC))
            .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        let answer: DescribeQuorumResponse = self.ask(ApiKey::DescribeQuorum, DESCRIBE_QUORUM, &request).await?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let leads = partitions.find(|one| answer.error_code == NONE && one.error_code == NONE);
        Ok(leads.and_then(|one| Some((id(one.leader_id)?, one.leader_epoch))))
    }

    async fn ask<Q, A>(&mut self, key: ApiKey, version: i16, question: &Q) -> Result<A>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("kafka-lab-observer")));
        let mut body = BytesMut::new();
        header.encode(&mut body, Q::header_version(version))?;
        question.encode(&mut body, version)?;
        let mut request = BytesMut::new();
        request.put_i32(i32::try_from(body.len())?);
        request.extend_from_slice(&body);
        let mut answer = timeout(ANSWER_WITHIN, self.exchange(&request)).await.map_err(|_| silent())??;
        let header = ResponseHeader::decode(&mut answer, A::header_version(version)).map_err(|_| odd())?;
        if header.correlation_id != self.correlation {
            return Err(odd());
        }
        A::decode(&mut answer, version).map_err(|_| odd())
    }

    /// Sends a request and returns the answer without its length.
    async fn exchange(&mut self, request: &[u8]) -> Result<Bytes> {
        let words = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => anyhow!("it closes the connection without an answer"),
            _ => anyhow!("{}", in_words(error)),
        };
        self.stream.write_all(request).await.map_err(words)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.map_err(words)?;
        if let Some(protocol) = protocol(&length) {
            bail!("what listens there answers with {protocol}: it is not Kafka");
        }
        let length = usize::try_from((&length[..]).get_i32()).ok().filter(|length| *length <= ANSWER_MAX);
        let mut answer = vec![0; length.ok_or_else(odd)?];
        self.stream.read_exact(&mut answer).await.map_err(words)?;
        Ok(answer.into())
    }
}

fn silent() -> anyhow::Error {
    anyhow!("no answer within {} s", ANSWER_WITHIN.as_secs())
}

fn odd() -> anyhow::Error {
    anyhow!("what listens there does not answer as Kafka does")
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// A node's id; Kafka writes -1 for none.
fn id(id: BrokerId) -> Option<u32> {
    u32::try_from(id.0).ok()
}

fn ids(nodes: &[BrokerId]) -> Vec<u32> {
    nodes.iter().copied().filter_map(id).collect()
}

fn view(answer: MetadataResponse) -> Result<View> {
    let mut topics = BTreeMap::new();
    for topic in answer.topics {
        match topic.error_code {
            NONE => {}
            // The second is said of a topic that is being created.
            UNKNOWN_TOPIC | LEADER_NOT_AVAILABLE => continue,
            error => bail!("it answers with error {error} about a topic"),
        }
        let name = topic.name.ok_or_else(odd)?.0.to_string();
        let mut partitions: Vec<PartitionView> = topic.partitions.into_iter().map(partition).collect();
        partitions.sort_by_key(|one| one.partition);
        // As Kafka's tools print it.
        let id = URL_SAFE_NO_PAD.encode(topic.topic_id.as_bytes());
        topics.insert(name, TopicView { id, partitions });
    }
    Ok(View { controller: id(answer.controller_id), topics })
}

fn partition(one: MetadataResponsePartition) -> PartitionView {
    let mut isr = ids(&one.isr_nodes);
    isr.sort_unstable();
    PartitionView {
        partition: one.partition_index,
        leader: id(one.leader_id),
        epoch: one.leader_epoch,
        isr,
        replicas: ids(&one.replica_nodes),
    }
}
