//! librdkafka settings, each with its reason. Names and defaults are from CONFIGURATION.md of librdkafka 2.12.1.

use std::time::Duration;

use ledger::size::BATCH_OVERHEAD;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::cli::Acks;

/// Maximum number of fetch queues of a consumer. With more partitions than this, partitions share queues. librdkafka's
/// limits apply per queue, so this bounds the memory of fetched records however many partitions there are.
pub const QUEUES_MAX: usize = 16;

/// Fetched records in all queues of a consumer together, in KiB.
const FETCHED_KBYTES: usize = 8 * 1024;

/// Fetched records that a queue may hold before fetching pauses; each costs about 400 bytes beside its own size. Must
/// exceed a batch of our producer, which has up to 520 records: a partition whose queue is full is left out of the next
/// fetch request, and if the other partitions have no data, that request lasts for all of `fetch.wait.max.ms`. Not many
/// more, so that memory peaks with the first backlog and does not grow later.
const FETCHED_RECORDS: usize = 600;

/// Memory that a queue can use, in bytes: `FETCHED_RECORDS`, one more batch, and the responses that contain them.
pub const QUEUE_BYTES: usize = 512 * 1024;

/// Bytes that the fetches in progress for all partitions may return together.
const FETCHING_BYTES: usize = 128 * 1024;

/// Bytes that one fetch response may contain over all partitions. A first batch that is larger is still returned whole.
const ANSWER_BYTES: usize = 1024 * 1024;

/// How long messages wait for others to join their batch. At 1000 messages per second this makes about 80 requests per
/// second; 5 ms makes 800. The lab's JVMs and its user share two cores.
pub const LINGER: Duration = Duration::from_millis(50);

/// Maximum produce request, in bytes. Brokers return batches whole, whatever the fetch size (KIP-74): with 512 KiB, a
/// consumer that catches up needs half as much memory again.
const BATCH_BYTES: usize = 65_536;

/// Maximum overhead of a record beside its value, in bytes, in the message format of KIP-98.
const RECORD_OVERHEAD: usize = 36;

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

impl Sizes {
    /// Sizes for values of up to `value` bytes and a topic with default limits.
    pub fn of_values(value: usize) -> Self {
        Self { value, batch: BATCH_BYTES }
    }

    /// Messages per batch.
    pub fn messages(self) -> u32 {
        let room = self.batch.saturating_sub(BATCH_OVERHEAD);
        u32::try_from(room / (self.value + RECORD_OVERHEAD)).unwrap_or(u32::MAX).max(1)
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

/// Settings of the long-running producer.
pub fn producer(brokers: &str, acks: Acks, idempotent: bool, sizes: Sizes) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-producer");
    config
        // Retries then neither duplicate nor reorder messages; implies unlimited retries. Idempotence requires
        // acks=all.
        .set("enable.idempotence", (idempotent && acks == Acks::All).to_string())
        .set("acks", if acks == Acks::All { "all" } else { "1" })
        // Messages never expire: an expired message would be a gap that nobody asked for. We enforce a deadline at
        // shutdown.
        .set("message.timeout.ms", "0")
        .set("linger.ms", LINGER.as_millis().to_string())
        // Bounds memory. librdkafka counts values only, and each message costs some 200 bytes more, hence both limits.
        .set("queue.buffering.max.messages", "30000")
        .set("queue.buffering.max.kbytes", "16384")
        // Idempotence allows five requests in flight. After a leader change, a later one can be appended before an
        // earlier one is retried. librdkafka then starts a new producer epoch and resends what was not acknowledged,
        // although it may be in the log already (librdkafka #4953; a drill of this lab found it). With one request in
        // flight nothing can overtake.
        .set("max.in.flight.requests.per.connection", "1")
        // Larger requests compensate. What `pace` gives a partition at a time is one request, whichever limit is
        // reached first.
        .set("batch.size", sizes.batch.to_string())
        .set("batch.num.messages", sizes.messages().to_string())
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

/// Settings of a consumer of `partitions` partitions.
pub fn consumer(brokers: &str, partitions: usize) -> ClientConfig {
    let share = partitions.max(1);
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
        .set("queued.min.messages", FETCHED_RECORDS.to_string())
        .set("queued.max.messages.kbytes", (FETCHED_KBYTES / queues(partitions)).clamp(64, 2048).to_string())
        // Per partition, and per response. A larger batch comes alone: librdkafka raises the limit of a partition that
        // returned nothing.
        .set("fetch.message.max.bytes", (FETCHING_BYTES / share).clamp(32_768, 524_288).to_string())
        .set("fetch.max.bytes", ANSWER_BYTES.to_string());
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
    let mut config = consumer(brokers, 1);
    low_latency(&mut config);
    config.set("client.id", "kafka-lab-probe").set("fetch.error.backoff.ms", "10");
    config
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::sync::{Arc, Mutex};

    use rdkafka::ClientContext;
    use rdkafka::error::KafkaError;
    use rdkafka::message::DeliveryResult;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ProducerContext};
    use rdkafka::types::RDKafkaRespErr;

    use super::*;

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
        let mut config = producer(&cluster.bootstrap_servers(), Acks::All, true, Sizes::of_values(100));
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
    fn a_broker_that_does_not_know_the_topic_fails_nothing() {
        assert_eq!(ends_when_the_topic_is_not_known(None), [const { None }; 11]);
        // Without the setting they fail, so the assertion above means something.
        let ends = ends_when_the_topic_is_not_known(Some("500"));
        assert_eq!(ends.len(), 11, "{ends:?}");
        assert!(ends[1..].iter().all(Option::is_some), "{ends:?}");
    }
}
