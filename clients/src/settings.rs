//! librdkafka settings, each with its reason. Names and defaults are those of librdkafka 2.12.1's CONFIGURATION.md.

use std::time::Duration;

use ledger::size::BATCH_OVERHEAD;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::cli::Acks;

/// Most queues of a consumer. As many partitions have one each, and more share them, since librdkafka's limits hold for a queue: what all queues hold
/// together does not grow with the partitions beyond that.
pub const QUEUES_MAX: usize = 16;

/// Bytes of fetched records that all queues of a consumer may hold together.
const FETCHED_KBYTES: usize = 8 * 1024;

/// Fetched records that a queue may hold before no more are asked for; each costs about 400 bytes beside its own. More than a batch of
/// our producer has, which is up to 520: a partition whose queue is full when the next request goes out is left out of it, and when those in it
/// have nothing to tell, that request takes all of `fetch.wait.max.ms`. Not many more, so that the most memory ever used is reached with the first
/// backlog and stays.
const FETCHED_RECORDS: usize = 600;

/// Bytes of memory that a queue may come to take with [`FETCHED_RECORDS`] and another batch of them, and the answers that these lie in.
pub const QUEUE_BYTES: usize = 512 * 1024;

/// Bytes that the fetches under way for all partitions may bring together.
const FETCHING_BYTES: usize = 128 * 1024;

/// Bytes that one answer of a broker may bring of all partitions, but for a batch that is larger: brokers give out the first one whole.
const ANSWER_BYTES: usize = 1024 * 1024;

/// How long messages wait for others of their batch. A thousand messages a second are then some 80 requests a second, not 800 as with 5 ms: the lab's
/// JVMs and its user share two cores.
pub const LINGER: Duration = Duration::from_millis(50);

/// Largest request of the producer, in bytes. Brokers give out batches whole, whatever a fetch asks for (KIP-74): with 512 KiB a consumer that catches
/// up needs half as much memory again.
const BATCH_BYTES: usize = 65_536;

/// The most that a record adds to its value in the message format of KIP-98.
const RECORD_OVERHEAD: usize = 36;

/// What librdkafka counts for a message beside its value when it compares it with `message.max.bytes`, and some more.
const MESSAGE_OVERHEAD: usize = 1024;

/// What a producer sends, as far as its settings depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Bytes of the longest value.
    pub value: usize,
    /// Bytes of the largest batch. One with a single message is larger where that is.
    pub batch: usize,
}

impl Sizes {
    /// Those for values of up to so many bytes, in a topic that takes what topics take by default.
    pub fn of_values(value: usize) -> Self {
        Self { value, batch: BATCH_BYTES }
    }

    /// How many messages a batch takes.
    pub fn messages(self) -> u32 {
        let room = self.batch.saturating_sub(BATCH_OVERHEAD);
        u32::try_from(room / (self.value + RECORD_OVERHEAD)).unwrap_or(u32::MAX).max(1)
    }
}

/// With this, brokers tell the end of the log itself. By default librdkafka has them tell where the oldest open transaction begins, and everything behind
/// it, ours too, would not be there.
const READ_ALL: &str = "read_uncommitted";

fn common(brokers: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id)
        // A paused broker keeps its connections open; 60 s, the default, is how long everything would wait for it.
        .set("socket.timeout.ms", "10000")
        // An address that swallows packets (a pod that is gone) should not cost 30 s.
        .set("socket.connection.setup.timeout.ms", "3000")
        // A broker that comes back is found within a second instead of ten.
        .set("reconnect.backoff.max.ms", "1000")
        // Leaders and new partitions are noticed without waiting for an error.
        .set("topic.metadata.refresh.interval.ms", "5000")
        // Idle connections are closed by brokers all the time; that is not news.
        .set("log.connection.close", "false")
        // Nobody in the lab collects client telemetry (KIP-714).
        .set("enable.metrics.push", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Makes a client notice everything as soon as it happens: for short questions and for start-up, where a second of back-off is a second lost.
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
        // Retries can then neither double nor reorder what is in the log; implies endless retries. Without the
        // acknowledgement of all replicas there is no idempotence.
        .set("enable.idempotence", (idempotent && acks == Acks::All).to_string())
        .set("acks", if acks == Acks::All { "all" } else { "1" })
        // A message never expires while it waits: that would be a gap nobody asked for. Our own deadline is at shutdown.
        .set("message.timeout.ms", "0")
        .set("linger.ms", LINGER.as_millis().to_string())
        // Bounded memory. librdkafka counts values only; each message costs some 200 bytes more, hence both limits.
        .set("queue.buffering.max.messages", "30000")
        .set("queue.buffering.max.kbytes", "16384")
        // Of the five requests that idempotence allows, a later one can be appended before an earlier one is sent again after
        // a leader's change. librdkafka then begins a new epoch of its producer id with what was not acknowledged, though it
        // may be in the log: there twice (librdkafka #4953, and a drill of this lab). Alone in flight nothing overtakes.
        .set("max.in.flight.requests.per.connection", "1")
        // Larger requests make up for that. What `pace` gives a partition at a time is one request, whichever limit is met first.
        .set("batch.size", sizes.batch.to_string())
        .set("batch.num.messages", sizes.messages().to_string())
        // librdkafka's own limit, 1 000 000 bytes, is below what brokers take.
        .set("message.max.bytes", (sizes.value + MESSAGE_OVERHEAD).max(1_000_000).to_string())
        // A broker that has just been started may not know the topic yet. From this time on, counted from when the topic was first seen, such
        // an answer fails all that is queued. A handle is renewed before (`--renew-after`). Longer ones overflow in librdkafka: it
        // multiplies them by 1000 in 32 bits.
        .set("topic.metadata.propagation.max.ms", "2147000")
        // After a leader is gone, look for the new one often, and send again as soon as it is known.
        .set("topic.metadata.refresh.fast.interval.ms", "50")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "100");
    if !idempotent {
        // How long a broker waits for its followers before it says that it does not know.
        config.set("request.timeout.ms", "500");
    }
    config
}

/// How many queues a consumer of so many partitions has.
pub fn queues(partitions: usize) -> usize {
    partitions.clamp(1, QUEUES_MAX)
}

/// Settings of the consumer that is to read `partitions` partitions.
pub fn consumer(brokers: &str, partitions: usize) -> ClientConfig {
    let share = partitions.max(1);
    let mut config = common(brokers, "kafka-lab-consumer");
    config
        // Reading must never bring a topic into being: it would get the brokers' default shape.
        .set("allow.auto.create.topics", "false")
        // There is no group, and no position but ours.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // An offset that is gone is an incident to report, not a reason to jump silently.
        .set("auto.offset.reset", "error")
        // The end of a partition is told as an offset, which also covers records that are never shown (transaction markers).
        .set("enable.partition.eof", "true")
        // The log is audited as it is.
        .set("isolation.level", READ_ALL)
        // librdkafka's own check of the checksum of record batches, on top of the stamp's.
        .set("check.crcs", "true")
        // How long a broker may hold a fetch that finds nothing.
        .set("fetch.wait.max.ms", "100")
        // A full queue pauses fetching for this long, and the queues are short; the default, 1 s, shows as a stutter.
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.error.backoff.ms", "100")
        // These limits hold for each queue.
        .set("queued.min.messages", FETCHED_RECORDS.to_string())
        .set("queued.max.messages.kbytes", (FETCHED_KBYTES / queues(partitions)).clamp(64, 2048).to_string())
        // Of a partition, and of all in an answer. A larger batch comes alone: librdkafka asks for more of a partition that gave nothing.
        .set("fetch.message.max.bytes", (FETCHING_BYTES / share).clamp(32_768, 524_288).to_string())
        .set("fetch.max.bytes", ANSWER_BYTES.to_string());
    config
}

/// Settings of a client that only asks brokers questions and is gone again.
pub fn query(brokers: &str) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-query");
    low_latency(&mut config);
    config.set("allow.auto.create.topics", "false").set("isolation.level", READ_ALL);
    config
}

/// Settings of the client beside the consumer that asks for metadata and offsets, so that a slow answer holds up no records.
pub fn consumer_query(brokers: &str) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-consumer-query");
    config.set("allow.auto.create.topics", "false").set("isolation.level", READ_ALL);
    config
}

/// Settings of the probe's sending half.
pub fn probe_producer(brokers: &str) -> ClientConfig {
    let mut config = common(brokers, "kafka-lab-probe");
    low_latency(&mut config);
    config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0").set("linger.ms", "0");
    config
}

/// Settings of the probe's receiving half.
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

    /// Keeps how each message ended.
    #[derive(Clone, Default)]
    struct DeliveryResults(Arc<Mutex<Vec<Option<KafkaError>>>>);

    impl ClientContext for DeliveryResults {}

    impl ProducerContext for DeliveryResults {
        type DeliveryOpaque = ();

        fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
            self.0.lock().unwrap().push(result.as_ref().err().map(|(error, _)| error.clone()));
        }
    }

    /// How messages end of which the broker says for a second that it does not know their topic, once it was known for as long.
    fn ends_when_the_topic_is_not_known(propagation: Option<&str>) -> Vec<Option<KafkaError>> {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("test", 1, 1).unwrap();
        let mut config = producer(&cluster.bootstrap_servers(), Acks::All, true, Sizes::of_values(100));
        // They are queued when the broker says so; flushing does not wait for it.
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
        // Seen as it is without the setting, so that the above tells something.
        let ends = ends_when_the_topic_is_not_known(Some("500"));
        assert_eq!(ends.len(), 11, "{ends:?}");
        assert!(ends[1..].iter().all(Option::is_some), "{ends:?}");
    }
}
