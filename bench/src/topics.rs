//! Topics of the benchmark, and their offsets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use crate::stop::Stop;

/// How long the brokers may take for an answer.
const WITHIN: Duration = Duration::from_secs(60);

/// How long one answer may take before the question is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Creates, looks at and deletes topics.
pub struct Topics {
    admin: AdminClient<DefaultClientContext>,
    config: ClientConfig,
    runtime: Runtime,
}

/// The first offset and the end offset of each partition, from partition 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets(pub Vec<(i64, i64)>);

impl Offsets {
    /// The number of messages between them, if every offset is one.
    pub fn messages(&self) -> u64 {
        self.0.iter().map(|(low, high)| u64::try_from(high - low).unwrap_or(0)).sum()
    }

    /// As a flag of the clients: `PARTITION:OFFSET,...`.
    pub fn flag(&self, pick: impl Fn(&(i64, i64)) -> i64) -> String {
        let one = |(partition, both)| format!("{partition}:{}", pick(both));
        self.0.iter().enumerate().map(one).collect::<Vec<_>>().join(",")
    }
}

impl Topics {
    /// # Errors
    /// librdkafka rejects the addresses.
    pub fn of(brokers: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("log.connection.close", "false");
        config.set("enable.metrics.push", "false").set("allow.auto.create.topics", "false");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { admin: config.create()?, config, runtime })
    }

    /// Creates a topic that keeps everything, and waits until each of its partitions has all replicas in sync.
    ///
    /// # Errors
    /// The brokers refuse it, or take too long.
    pub fn create(&self, topic: &str, partitions: u32, replicas: usize, stop: &Stop) -> Result<()> {
        let partitions = i32::try_from(partitions).context("too many partitions")?;
        let replication = TopicReplication::Fixed(i32::try_from(replicas).context("too many replicas")?);
        let new = NewTopic::new(topic, partitions, replication).set("retention.bytes", "-1").set("retention.ms", "-1");
        let options = AdminOptions::new().operation_timeout(Some(WITHIN));
        let answers = self.runtime.block_on(self.admin.create_topics([&new], &options))?;
        for answer in answers {
            answer.map_err(|(topic, code)| anyhow::anyhow!("the brokers do not create topic {topic}: {code}"))?;
        }
        let begin = Instant::now();
        let consumer: BaseConsumer = self.config.create()?;
        loop {
            stop.check()?;
            let metadata = consumer.fetch_metadata(Some(topic), WITHIN).context("the brokers do not answer")?;
            let ready = metadata.topics().first().is_some_and(|topic| {
                let in_sync = topic.partitions().iter().filter(|p| p.leader() >= 0 && p.isr().len() == replicas);
                in_sync.count() == usize::try_from(partitions).unwrap_or(usize::MAX)
            });
            if ready {
                return Ok(());
            }
            if begin.elapsed() > WITHIN {
                bail!("topic {topic} is not ready after {} s: some replicas are not in sync", WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The offsets of a topic.
    ///
    /// # Errors
    /// The brokers do not answer in time.
    pub fn offsets(&self, topic: &str, partitions: u32, stop: &Stop) -> Result<Offsets> {
        let begin = Instant::now();
        loop {
            stop.check()?;
            match self.ask_offsets(topic, partitions) {
                Ok(offsets) => return Ok(offsets),
                Err(error) if begin.elapsed() > WITHIN => {
                    return Err(error).with_context(|| format!("no offsets of topic {topic}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn ask_offsets(&self, topic: &str, partitions: u32) -> Result<Offsets> {
        // A handle that once heard that a new topic does not exist goes on believing it for a while.
        let consumer: BaseConsumer = self.config.create()?;
        let all_at = |place: Offset| -> Result<Vec<i64>> {
            let mut list = TopicPartitionList::new();
            for partition in 0..partitions {
                // A place in the log is asked for in the way of a time, for all partitions at once.
                list.add_partition_offset(topic, i32::try_from(partition)?, place)?;
            }
            let mut offsets = BTreeMap::new();
            for answer in consumer.offsets_for_times(list, ANSWER_WITHIN)?.elements() {
                answer.error()?;
                if let Offset::Offset(offset) = answer.offset() {
                    offsets.insert(answer.partition(), offset);
                }
            }
            ensure!(offsets.len() == usize::try_from(partitions)?, "some partitions have no answer");
            Ok(offsets.into_values().collect())
        };
        Ok(Offsets(all_at(Offset::Beginning)?.into_iter().zip(all_at(Offset::End)?).collect()))
    }

    /// # Errors
    /// The brokers refuse it.
    pub fn delete(&self, topic: &str) -> Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(WITHIN));
        for answer in self.runtime.block_on(self.admin.delete_topics(&[topic], &options))? {
            answer.map_err(|(topic, code)| anyhow::anyhow!("the brokers do not delete topic {topic}: {code}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_messages_and_become_a_flag() {
        let offsets = Offsets(vec![(0, 5), (3, 7)]);
        assert_eq!(offsets.messages(), 9);
        assert_eq!((offsets.flag(|p| p.0), offsets.flag(|p| p.1)), ("0:0,1:3".into(), "0:5,1:7".into()));
    }
}
