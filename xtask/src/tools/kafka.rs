//! kafka-topics: its arguments, and a parser for its output.

use std::collections::BTreeSet;

use crate::words::listed;

/// A partition as `kafka-topics --describe` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Partition number, from 0.
    pub partition: u32,
    /// Broker id of the leader, if there is one.
    pub leader: Option<u32>,
    /// Broker ids of the replicas, the preferred leader first.
    pub replicas: Vec<u32>,
    /// Broker ids of the in-sync replicas, in arbitrary order.
    pub isr: Vec<u32>,
}

/// A topic as `kafka-topics --describe` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name of the topic.
    pub name: String,
    /// PartitionCount.
    pub partition_count: u32,
    /// ReplicationFactor.
    pub replication_factor: u32,
    /// The partitions, in the tool's order.
    pub partitions: Vec<Partition>,
}

/// Escapes `topic` for describe, alter and delete, where `--topic` is a regular expression. Only the dot is special in
/// topic names.
pub fn only(topic: &str) -> String {
    topic.replace('.', r"\.")
}

/// Returns the topic that prevents Kafka from creating `topic`: metric names treat dot and underscore alike
/// (org.apache.kafka.common.internals.Topic).
pub fn colliding<'a>(topic: &str, mut topics: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    topics.find(|other| *other != topic && other.replace('.', "_") == topic.replace('.', "_"))
}

/// Parses the output of `kafka-topics --describe` for topic `name`. Fields are found by name: newer versions add some.
pub fn parse_describe(output: &str, name: &str) -> Option<Topic> {
    let fields = |line: &str| -> Vec<(String, String)> {
        line.split('\t')
            .filter_map(|field| field.split_once(':'))
            .map(|(key, value)| (key.trim().to_string(), value.trim().to_string()))
            .collect()
    };
    let get = |fields: &[(String, String)], key: &str| {
        fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    };
    let ids = |list: String| -> Vec<u32> { list.split(',').filter_map(|id| id.trim().parse().ok()).collect() };
    let mut topic: Option<Topic> = None;
    for line in output.lines() {
        let fields = fields(line);
        if get(&fields, "Topic").as_deref() != Some(name) {
            continue;
        }
        if let Some(count) = get(&fields, "PartitionCount") {
            topic = Some(Topic {
                name: name.into(),
                partition_count: count.parse().ok()?,
                replication_factor: get(&fields, "ReplicationFactor")?.parse().ok()?,
                partitions: Vec::new(),
            });
        } else if let (Some(topic), Some(partition)) = (&mut topic, get(&fields, "Partition")) {
            topic.partitions.push(Partition {
                partition: partition.parse().ok()?,
                leader: get(&fields, "Leader").and_then(|leader| leader.parse().ok()),
                replicas: ids(get(&fields, "Replicas")?),
                isr: ids(get(&fields, "Isr")?),
            });
        }
    }
    topic
}

/// Returns what is wrong with a topic that should have `partitions` partitions of `replicas` replicas each.
pub fn topic_faults(topic: &Topic, partitions: u32, replicas: u32) -> Vec<String> {
    let mut faults = Vec::new();
    if topic.partition_count != partitions || topic.partitions.len() != partitions as usize {
        faults.push(format!("{} partitions, kafka.yml says {partitions}", topic.partition_count));
    }
    if topic.replication_factor != replicas {
        faults.push(format!("replication factor {}, kafka.yml says {replicas}", topic.replication_factor));
    }
    for partition in &topic.partitions {
        let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<u32>>();
        match partition.leader {
            None => faults.push(format!("partition {} has no leader", partition.partition)),
            Some(leader) if !partition.isr.contains(&leader) => {
                faults.push(format!("partition {}: leader {leader} is not in its ISR", partition.partition));
            }
            Some(_) => {}
        }
        if set(&partition.replicas) != set(&partition.isr) {
            faults.push(format!(
                "partition {}: ISR {} of replicas {}",
                partition.partition,
                listed(set(&partition.isr)),
                listed(set(&partition.replicas))
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIBE: &str = include_str!("../../tests/fixtures/kafka-topics-describe.txt");
    const SHRUNK: &str = include_str!("../../tests/fixtures/kafka-topics-describe-isr-shrunk.txt");

    #[test]
    fn a_healthy_topic_has_no_faults() {
        let topic = parse_describe(DESCRIBE, "test").unwrap();
        assert_eq!((topic.name.as_str(), topic.partition_count, topic.replication_factor), ("test", 4, 3));
        assert_eq!(topic_faults(&topic, 4, 3), Vec::<String>::new());
    }

    #[test]
    fn each_deviation_is_a_fault() {
        let topic = parse_describe(DESCRIBE, "test").unwrap();
        assert_eq!(topic_faults(&topic, 6, 3), ["4 partitions, kafka.yml says 6"]);
        assert_eq!(topic_faults(&topic, 4, 2), ["replication factor 3, kafka.yml says 2"]);
        let shrunk = parse_describe(SHRUNK, "test").unwrap();
        let faults = topic_faults(&shrunk, 4, 3);
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].contains("ISR"), "{faults:?}");
    }

    #[test]
    fn a_partition_without_leader_and_fields_of_newer_versions_are_understood() {
        let text = "Topic: t\tTopicId: x\tPartitionCount: 1\tReplicationFactor: 2\tConfigs: a=b,c=d:e\n\
                    \tTopic: t\tPartition: 0\tLeader: none\tReplicas: 1,0\tIsr: 0\tElr: \tLastKnownElr: \n";
        let topic = parse_describe(text, "t").unwrap();
        assert_eq!(topic.partitions[0].leader, None);
        assert_eq!(topic_faults(&topic, 1, 2).len(), 2);
        assert_eq!(parse_describe("Error while executing topic command : Topic 'x' does not exist", "x"), None);
    }

    #[test]
    fn other_topics_are_left_out() {
        let other = DESCRIBE.replace("test", "tast").replace("PartitionCount: 4", "PartitionCount: 9");
        for text in [format!("{DESCRIBE}{other}"), format!("{other}{DESCRIBE}")] {
            let topic = parse_describe(&text, "test").unwrap();
            assert_eq!((topic.partition_count, topic.partitions.len()), (4, 4));
        }
        assert_eq!(parse_describe(&other, "test"), None);
        assert_eq!(only("orders.v1-a_b"), r"orders\.v1-a_b");
        assert_eq!(colliding("a.b", ["a.b", "a-b", "a_b"].into_iter()), Some("a_b"));
        assert_eq!(colliding("a_b", ["a_b", "ab", "a_c"].into_iter()), None);
    }
}
