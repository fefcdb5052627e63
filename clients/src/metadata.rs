//! Queries each broker's own view of the cluster.

use std::borrow::Cow;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use ledger::cause::in_words;
use ledger::lines::{self, BrokerInfo, METADATA, PartitionInfo, TopicInfo};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataBroker};
use tokio::task::JoinSet;

use crate::cli::MetadataArgs;
use crate::context::{LabConsumer, LabContext};
use crate::listener::{librdkafka_in_words, no_broker};
use crate::native::{self, ErrorCode, NativeClient};
use crate::output::Output;
use crate::settings;

/// How long one query for the topic id may take, and how long it is retried when a client starts.
pub const TOPIC_ID_WITHIN: Duration = Duration::from_secs(3);
const TOPIC_ID_PATIENCE: Duration = Duration::from_secs(15);

/// The id of the topic when a client starts. Retries until `stopped`. `None` if the brokers know no ids or none
/// answered; then nobody can tell later whether the topic was recreated.
pub fn topic_id(
    client: &impl NativeClient,
    topic: &str,
    metadata: impl Fn(Duration) -> KafkaResult<Metadata>,
    stopped: impl Fn() -> bool,
) -> Option<String> {
    let began = Instant::now();
    loop {
        if let Ok(metadata) = metadata(TOPIC_ID_WITHIN)
            && let Ok(id) = native::topic_id::topic_id(client, topic, answering_broker(&metadata), TOPIC_ID_WITHIN)
        {
            return id;
        }
        if stopped() || began.elapsed() >= TOPIC_ID_PATIENCE {
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Queries all addresses at the same time and prints a line for each answer. Returns 0 if all answered.
///
/// # Errors
/// Never because of a broker that does not answer: its line reports that.
pub async fn run(args: MetadataArgs, output: &Arc<Output>) -> Result<u8> {
    let timeout = Duration::from_millis(args.timeout_ms);
    let mut queries = JoinSet::new();
    for broker in args.brokers.split(',').map(str::to_owned) {
        let (topic, output) = (args.topic.clone(), Arc::clone(output));
        queries.spawn_blocking(move || line(broker, topic.as_deref(), timeout, &output));
    }
    let mut all = true;
    while let Some(line) = queries.join_next().await {
        let line = line?;
        all &= line.ok;
        output.json(&line);
    }
    Ok(u8::from(!all))
}

fn line(broker: String, topic: Option<&str>, timeout: Duration, output: &Arc<Output>) -> lines::Metadata {
    let began = Instant::now();
    let answer = query(&broker, topic, timeout, output);
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut line = lines::Metadata {
        schema: METADATA.into(),
        broker,
        ok: answer.is_ok(),
        error: None,
        elapsed_ms,
        brokers: Vec::new(),
        topics: Vec::new(),
    };
    match answer {
        Ok(metadata) => (line.brokers, line.topics) = (brokers(&metadata), topics(&metadata)),
        Err(error) => line.error = Some(in_words(format!("{error:#}"))),
    }
    line
}

fn query(broker: &str, topic: Option<&str>, timeout: Duration, output: &Arc<Output>) -> Result<Metadata> {
    let deadline = Instant::now() + timeout;
    // librdkafka retries until the timeout, but an address where nothing listens should be reported immediately.
    let address = broker.to_socket_addrs().context("cannot resolve")?.next().context("resolves to no address")?;
    drop(TcpStream::connect_timeout(&address, timeout).context("cannot connect")?);
    let client: LabConsumer =
        settings::query(broker).create_with_context(LabContext::new(Arc::clone(output), broker))?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    client.fetch_metadata(topic, left).map_err(|error| match no_broker(broker) {
        Some(why) => anyhow!("{broker} {why}"),
        None => anyhow!("{}", librdkafka_in_words(&error)),
    })
}

fn brokers(metadata: &Metadata) -> Vec<BrokerInfo> {
    // Drops brokers with an invalid id or port.
    let broker = |b: &MetadataBroker| {
        Some(BrokerInfo { id: u32::try_from(b.id()).ok()?, host: b.host().into(), port: u16::try_from(b.port()).ok()? })
    };
    let mut brokers: Vec<_> = metadata.brokers().iter().filter_map(broker).collect();
    brokers.sort_by_key(|b| b.id);
    brokers
}

fn topics(metadata: &Metadata) -> Vec<TopicInfo> {
    let mut topics: Vec<_> = metadata
        .topics()
        .iter()
        .map(|topic| {
            let mut partitions: Vec<_> = topic
                .partitions()
                .iter()
                .filter_map(|p| {
                    Some(PartitionInfo {
                        partition: u32::try_from(p.id()).ok()?,
                        leader: p.leader(),
                        replicas: p.replicas().to_vec(),
                        isr: p.isr().to_vec(),
                        error: p.error().map(|code| ErrorCode::from(code).name().into_owned()),
                    })
                })
                .collect();
            partitions.sort_by_key(|p| p.partition);
            TopicInfo {
                topic: topic.name().into(),
                error: topic.error().map(|code| ErrorCode::from(code).name().into_owned()),
                partitions,
            }
        })
        .collect();
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    topics
}

/// The broker to query next: the one that sent this answer or, if librdkafka does not know it, one that the answer
/// names. -1 for none.
pub fn answering_broker(metadata: &Metadata) -> i32 {
    let known = metadata.brokers().first().map_or(-1, |broker| broker.id());
    if metadata.orig_broker_id() >= 0 { metadata.orig_broker_id() } else { known }
}

/// Whether a topic is ready to use, according to a metadata answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicState {
    /// The number of partitions, and the first partition that has a leader.
    Partitions(usize, Option<i32>),
    /// Not ready, for this reason.
    NotYet(Cow<'static, str>),
}

pub fn topic_state(metadata: &Metadata, topic: &str) -> TopicState {
    let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
        return TopicState::NotYet("not in the broker's metadata".into());
    };
    if let Some(code) = found.error() {
        return TopicState::NotYet(ErrorCode::from(code).name());
    }
    let led = found.partitions().iter().filter(|p| p.error().is_none() && p.leader() >= 0).map(|p| p.id()).min();
    match found.partitions().len() {
        0 => TopicState::NotYet("no partitions yet".into()),
        count => TopicState::Partitions(count, led),
    }
}
