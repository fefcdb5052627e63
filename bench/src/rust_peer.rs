//! The peers of the rdkafka crate, used as its documentation shows it: `FutureProducer` and `StreamConsumer`. They run
//! as processes of their own, by the hidden command `peer`.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// What to run.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// Which client
    pub mode: Mode,
    #[arg(long)]
    pub brokers: String,
    #[arg(long)]
    pub topic: String,
    #[arg(long)]
    pub partitions: u32,
    #[arg(long)]
    pub messages: u64,
    #[arg(long)]
    pub size: usize,
    /// latency: messages per second
    #[arg(long, default_value_t = 1)]
    pub rate: u64,
}

/// A client of the rdkafka crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    FutureProducer,
    StreamConsumer,
    Latency,
}

/// Futures that wait for their delivery.
const WAITING_MAX: usize = 100_000;

/// Runs a client and prints what the benchmark reads.
///
/// # Errors
/// A message is not delivered, or cannot be read.
pub fn run(args: &PeerArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let seconds = match args.mode {
            Mode::FutureProducer => future_producer(args).await?,
            Mode::StreamConsumer => stream_consumer(args).await?,
            Mode::Latency => return latency(args).await,
        };
        println!("{}", serde_json::json!({"seconds": seconds, "messages": args.messages}));
        Ok(())
    })
}

fn producer(args: &PeerArgs, linger_ms: &str) -> Result<FutureProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &args.brokers).set("enable.idempotence", "true").set("acks", "all");
    config.set("linger.ms", linger_ms).set("queue.buffering.max.messages", "500000");
    Ok(config.create()?)
}

fn consumer(args: &PeerArgs) -> Result<StreamConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &args.brokers).set("group.id", "unused").set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..args.partitions {
        list.add_partition_offset(&args.topic, i32::try_from(partition)?, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Waits for the oldest message.
async fn settle(waiting: &mut VecDeque<DeliveryFuture>) -> Result<()> {
    if let Some(oldest) = waiting.pop_front() {
        oldest.await.context("the producer is gone")?.map_err(|(error, _)| anyhow!("not delivered: {error}"))?;
    }
    Ok(())
}

async fn future_producer(args: &PeerArgs) -> Result<f64> {
    let producer = producer(args, "50")?;
    let payload = vec![b'a'; args.size];
    let mut waiting = VecDeque::new();
    let begin = Instant::now();
    for _ in 0..args.messages {
        let mut record = FutureRecord::<(), _>::to(&args.topic).payload(&payload);
        loop {
            match producer.send_result(record) {
                Ok(sent) => break waiting.push_back(sent),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    settle(&mut waiting).await?;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        if waiting.len() >= WAITING_MAX {
            settle(&mut waiting).await?;
        }
    }
    while !waiting.is_empty() {
        settle(&mut waiting).await?;
    }
    Ok(begin.elapsed().as_secs_f64())
}

async fn stream_consumer(args: &PeerArgs) -> Result<f64> {
    let consumer = consumer(args)?;
    let mut begin = None;
    for _ in 0..args.messages {
        consumer.recv().await?;
        begin.get_or_insert_with(Instant::now);
    }
    Ok(begin.map_or(0.0, |begin| begin.elapsed().as_secs_f64()))
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

async fn latency(args: &PeerArgs) -> Result<()> {
    let consumer = consumer(args)?;
    let producer = producer(args, "0")?;
    let (topic, messages, size, rate) = (args.topic.clone(), args.messages, args.size, args.rate);
    let sending = tokio::spawn(async move {
        let begin = now_ns();
        let mut waiting = VecDeque::new();
        let mut sent = 0;
        while sent < messages {
            let due = (now_ns().saturating_sub(begin)).saturating_mul(rate) / 1_000_000_000;
            while sent < due.min(messages) {
                let mut payload = vec![0; size];
                payload[..8].copy_from_slice(&(begin + sent * 1_000_000_000 / rate).to_le_bytes());
                let record = FutureRecord::<(), _>::to(&topic).payload(&payload);
                waiting.push_back(producer.send_result(record).map_err(|(error, _)| error)?);
                sent += 1;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        while !waiting.is_empty() {
            settle(&mut waiting).await?;
        }
        anyhow::Ok(())
    });
    let mut ages = Vec::new();
    for _ in 0..messages {
        let next = tokio::time::timeout(Duration::from_secs(60), consumer.recv());
        let message = next.await.context("nothing arrived for a minute")??;
        let due =
            message.payload().and_then(|payload| payload.first_chunk::<8>()).context("a message without a time")?;
        ages.push(now_ns().saturating_sub(u64::from_le_bytes(*due)) / 1000);
    }
    sending.await??;
    let lines: String = ages.iter().map(|age| format!("{age}\n")).collect();
    print!("{lines}");
    Ok(())
}
