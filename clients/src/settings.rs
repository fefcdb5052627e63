//! librdkafka settings, each with its reason. Names and defaults are from CONFIGURATION.md of librdkafka 2.12.1.

use std::time::Duration;

use ledger::size;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::cli::Acks;

/// Maximum number of fetch queues of a consumer. With more partitions than this, partitions share queues. librdkafka's
/// limits apply per queue, so this bounds the memory of fetched records however many partitions there are.
pub const QUEUES_MAX: usize = 16;

/// Values of fetched records in all queues of a consumer together, in KiB.
const FETCHED_KBYTES: usize = 8 * 1024;

/// Fetched records in all queues of a consumer together; each costs about 400 bytes beside its own size.
const FETCHED_RECORDS: usize = 24_000;

/// Fetched records that a queue may hold before fetching pauses. With few queues it exceeds a batch of our producer: a
/// partition whose queue is full is left out of the next fetch request, and if the other partitions have no data, that
/// request lasts for all of `fetch.wait.max.ms`.
const QUEUE_RECORDS_MAX: usize = 6000;

/// Memory that a consumer takes when it starts, in bytes.
pub const RESERVED_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that the responses in progress may contain together, over all brokers. A first batch that is larger than its
/// limit is still returned whole. They add to what the queues hold, and each record in them costs as much as there.
const FETCHING_BYTES: usize = 4 * 1024 * 1024;

/// Memory for messages that are not settled, in bytes. `pace` uses half of it unless batches are stuck; that half must
/// hold several of the largest batches.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// What librdkafka allocates for a message beside its value, in bytes, rounded up.
const MESSAGE_BYTES: usize = 300;

/// What librdkafka adds to a value before it compares it with `message.max.bytes`, rounded up.
const MESSAGE_OVERHEAD: usize = 1024;

/// Message and batch sizes of a producer.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Longest value, in bytes.
    pub value: usize,
    /// Largest batch, in bytes. A batch of a single message may exceed it.
    pub batch: usize,
}

/// How many messages may be unsettled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In a batch of one partition.
    pub batch: u32,
    /// In all partitions together.
    pub window: u32,
}

impl Sizes {
    /// Sizes for values of up to `value` bytes and a topic with default limits.
    pub fn of_values(value: usize) -> Self {
        Self { value, batch: size::BATCH_BYTES }
    }

    /// The same as numbers of messages.
    pub fn limits(self) -> Limits {
        let window = u32::try_from(WINDOW_BYTES / (self.value + MESSAGE_BYTES)).unwrap_or(u32::MAX);
        Limits { batch: size::records(self.batch, self.value), window: window.max(1) }
    }
}

/// Read to the end of the log. By default librdkafka stops at the oldest open transaction, which would hide everything
/// after it, including our messages.
const READ_ALL: &str = "read_uncommitted";

fn common(brokers: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id)
        // A paused broker keeps its connections open. The default is 60 s, and everything would wait that long.
        .set("socket.timeout.ms", "10000")
        // An address that drops packets (a deleted pod) should not cost 30 s.
        .set("socket.connection.setup.timeout.ms", "3000")
        // Reconnect to a restarted broker within a second instead of ten.
        .set("reconnect.backoff.max.ms", "1000")
        // Notice new leaders and partitions without waiting for an error.
        .set("topic.metadata.refresh.interval.ms", "5000")
        // Brokers close idle connections all the time; that is not worth logging.
        .set("log.connection.close", "false")
        // Nobody in the lab collects client telemetry (KIP-714).
        .set("enable.metrics.push", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Reacts as fast as possible: for short queries and start-up, where a second of backoff is a second lost.
fn low_latency(config: &mut ClientConfig) {
    config
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "10")
        .set("retry.backoff.max.ms", "50")
        .set("topic.metadata.refresh.fast.interval.ms", "10")
        .set("socket.nagle.disable", "true");
}

/// Settings of the long-running producer, whose messages wait for others for `linger`.
pub fn producer(brokers: &str, acks: Acks, idempotent: bool, sizes: Sizes, linger: Duration) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-producer");
    config
        // Retries then neither duplicate nor reorder messages; implies unlimited retries. Idempotence requires
        // acks=all.
        .set("enable.idempotence", (idempotent && acks == Acks::All).to_string())
        .set("acks", if acks == Acks::All { "all" } else { "1" })
        // Messages never expire: an expired message would be a gap that nobody asked for. We enforce a deadline at
        // shutdown.
        .set("message.timeout.ms", "0")
        .set("linger.ms", linger.as_millis().to_string())
        // `pace` keeps within this: it bounds memory.
        .set("queue.buffering.max.messages", sizes.limits().window.to_string())
        .set("queue.buffering.max.kbytes", (WINDOW_BYTES / 1024).to_string())
        // Idempotence allows five requests in flight. After a leader change, a later one can be appended before an
        // earlier one is retried. librdkafka then starts a new producer epoch and resends what was not acknowledged,
        // although it may be in the log already (librdkafka #4953; a drill of this lab found it). With one request in
        // flight nothing can overtake.
        .set("max.in.flight.requests.per.connection", "1")
        // Larger requests compensate. What `pace` gives a partition at a time is one request, whichever limit is
        // reached first.
        .set("batch.size", sizes.batch.to_string())
        .set("batch.num.messages", sizes.limits().batch.to_string())
        // librdkafka's default, 1 000 000 bytes, is below the brokers' limit.
        .set("message.max.bytes", (sizes.value + MESSAGE_OVERHEAD).max(1_000_000).to_string())
        // A newly started broker may not know the topic yet. Once this time has passed since the topic was first seen,
        // such an answer fails all queued messages, so handles are renewed earlier (`--renew-after`). Larger values
        // overflow in librdkafka, which multiplies them by 1000 in 32 bits.
        .set("topic.metadata.propagation.max.ms", "2147000")
        // After a leader fails, look for the new one often, and resend as soon as it is known.
        .set("topic.metadata.refresh.fast.interval.ms", "50")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "100");
    if !idempotent {
        // How long a broker waits for its followers before it reports a timeout.
        config.set("request.timeout.ms", "500");
    }
    config
}

/// Number of fetch queues for a consumer of `partitions` partitions.
pub fn queues(partitions: usize) -> usize {
    partitions.clamp(1, QUEUES_MAX)
}

/// Settings of a consumer of `partitions` partitions from `servers` brokers. Its limits cannot change while it runs,
/// and need not: a response has no more than there is to read, and a queue no more than is not accounted for yet.
pub fn consumer(brokers: &str, partitions: usize, servers: usize) -> ClientConfig {
    let queues = queues(partitions);
    let mut config = common(brokers, "kafka-lab-consumer");
    config
        // Reading must never create a topic: it would get the brokers' default shape.
        .set("allow.auto.create.topics", "false")
        // No group and no committed positions.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A lost offset must be reported, not skipped silently.
        .set("auto.offset.reset", "error")
        // Report the end of a partition as an offset. This covers records that are never delivered (transaction
        // markers).
        .set("enable.partition.eof", "true")
        // Audit the log as it is.
        .set("isolation.level", READ_ALL)
        // Verify the checksums of record batches, on top of the stamp's.
        .set("check.crcs", "true")
        // How long a broker may hold a fetch without data.
        .set("fetch.wait.max.ms", "100")
        // How long fetching pauses after a queue was full. Our queues are short; the default of 1 s shows as a stutter.
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.error.backoff.ms", "100")
        // Per queue.
        .set("queued.min.messages", (FETCHED_RECORDS / queues).min(QUEUE_RECORDS_MAX).to_string())
        .set("queued.max.messages.kbytes", (FETCHED_KBYTES / queues).min(2048).to_string())
        // Per partition: a batch of ours, or two if there are few partitions. What is cut off a batch is fetched again.
        // A larger batch comes alone: librdkafka raises the limit of a partition that returned nothing.
        .set(
            "fetch.message.max.bytes",
            (FETCHING_BYTES / partitions.max(1)).clamp(size::BATCH_BYTES, 2 * size::BATCH_BYTES).to_string(),
        )
        // Per response, and there is one in progress from each broker.
        .set(
            "fetch.max.bytes",
            (FETCHING_BYTES / servers.max(1)).clamp(size::BATCH_BYTES, 4 * size::BATCH_BYTES).to_string(),
        )
        // It limits requests, of which a consumer has none of that size. librdkafka wants it below `fetch.max.bytes`.
        .set("message.max.bytes", size::BATCH_BYTES.to_string());
    config
}

/// Settings of a short-lived client that only queries brokers.
pub fn query(brokers: &str) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-query");
    low_latency(&mut config);
    config.set("allow.auto.create.topics", "false").set("isolation.level", READ_ALL);
    config
}

/// Settings of the consumer's second client, which queries metadata and offsets so that slow answers do not delay
/// records.
pub fn consumer_query(brokers: &str) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-consumer-query");
    config.set("allow.auto.create.topics", "false").set("isolation.level", READ_ALL);
    config
}

/// Settings of the probe's producer.
pub fn probe_producer(brokers: &str) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-probe");
    low_latency(&mut config);
    config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0").set("linger.ms", "0");
    config
}

/// Settings of the probe's consumer.
pub fn probe_consumer(brokers: &str) -> ClientConfig {
    let mut config = consumer(brokers, 1, 1);
    low_latency(&mut config);
    config.set("client.id", "kafka-lab-probe").set("fetch.error.backoff.ms", "10");
    config
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::sync::{Arc, Mutex};

    use rdkafka::ClientContext;
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::error::KafkaError;
    use rdkafka::message::DeliveryResult;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ProducerContext};
    use rdkafka::types::RDKafkaRespErr;

    use super::*;
    use crate::cli::LINGER_MS;

    /// Collects the result of each delivery.
    #[derive(Clone, Default)]
    struct DeliveryResults(Arc<Mutex<Vec<Option<KafkaError>>>>);

    impl ClientContext for DeliveryResults {}

    impl ProducerContext for DeliveryResults {
        type DeliveryOpaque = ();

        fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
            self.0.lock().unwrap().push(result.as_ref().err().map(|(error, _)| error.clone()));
        }
    }

    /// Delivery results of messages queued while the broker reports for a second that it does not know their topic.
    fn ends_when_the_topic_is_not_known(propagation: Option<&str>) -> Vec<Option<KafkaError>> {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("test", 1, 1).unwrap();
        let mut config = producer(
            &cluster.bootstrap_servers(),
            Acks::All,
            true,
            Sizes::of_values(100),
            Duration::from_millis(LINGER_MS),
        );
        // Keeps messages queued meanwhile; flushing ignores it.
        config.set("linger.ms", "60000");
        if let Some(ms) = propagation {
            config.set("topic.metadata.propagation.max.ms", ms);
        }
        let ends = DeliveryResults::default();
        let client: BaseProducer<DeliveryResults> = config.create_with_context(ends.clone()).unwrap();
        let send = || client.send(BaseRecord::<(), _>::to("test").partition(0).payload("text")).unwrap();
        send();
        client.flush(Duration::from_secs(30)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        (0..10).for_each(|_| send());
        cluster.topic_error("test", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
        client.client().fetch_metadata(Some("test"), Duration::from_secs(30)).unwrap();
        cluster.topic_error("test", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
        client.flush(Duration::from_secs(30)).unwrap();
        ends.0.lock().unwrap().clone()
    }

    #[test]
    fn librdkafka_accepts_the_settings_of_a_consumer_whatever_their_numbers() {
        for (partitions, servers) in [(1, 1), (4, 3), (6, 5), (1, 10), (1000, 3), (1000, 100), (0, 0)] {
            consumer("127.0.0.1:1", partitions, servers).create::<BaseConsumer>().unwrap();
        }
        for (value, linger) in [(100, 1), (100, 1000), (1_000_000, LINGER_MS)] {
            producer("127.0.0.1:1", Acks::All, true, Sizes::of_values(value), Duration::from_millis(linger))
                .create::<BaseProducer>()
                .unwrap();
        }
    }

    #[test]
    fn a_broker_that_does_not_know_the_topic_fails_nothing() {
        assert_eq!(ends_when_the_topic_is_not_known(None), [const { None }; 11]);
        // Without the setting they fail, so the assertion above means something.
        let ends = ends_when_the_topic_is_not_known(Some("500"));
        assert_eq!(ends.len(), 11, "{ends:?}");
        assert!(ends[1..].iter().all(Option::is_some), "{ends:?}");
    }
}
