//! The lines of a recording: what the observer saw, in the order in which it saw it.
//!
//! Each line is one JSON object that begins with `{"schema":"kafka-lab.recording/2"`. Fields are added without a new
//! version; readers ignore fields that they do not know. A line is written when something changed, so that the last
//! line about a broker, the controller or a partition tells what holds until the next one.
//! docs/schema/recording.json is the same contract for programs.

use serde::{Deserialize, Serialize};

/// Schema of every line.
pub const SCHEMA: &str = "kafka-lab.recording/2";

/// A line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// [`SCHEMA`].
    pub schema: String,
    /// When the observer saw it: ms since the recording began, by the observer's monotonic clock. Never less than in
    /// the line before.
    pub at_ms: u64,
    /// What it saw.
    #[serde(flatten)]
    pub event: Event,
}

/// What the observer saw. In JSON, the field `event` has its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Begin {
        /// The wall clock when the recording began: ms since the Unix epoch. Nothing else in a recording is by the
        /// wall clock.
        time_ms: u64,
        /// Name of the lab.
        lab: String,
        /// The lab's backend.
        backend: String,
        /// Kafka's version and mode.
        kafka: String,
        /// Name of the lab's own topic. A drill has another one, which is recorded too.
        topic: String,
        /// The brokers' ids and addresses.
        brokers: Vec<(u32, String)>,
        /// The clients whose state is recorded.
        clients: Vec<String>,
    },
    /// A broker began to answer, or does not any more.
    Broker {
        /// Its id.
        broker: u32,
        /// Whether it answers.
        answers: bool,
        /// Why it does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Another controller is active, or nobody knows one any more.
    Controller {
        /// Its node id. With ZooKeeper, the one that most of the answering brokers name; with KRaft, the leader of the
        /// metadata quorum.
        controller: Option<u32>,
        /// The quorum's epoch; absent with ZooKeeper.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<i32>,
    },
    /// A topic was created, changed its id or its number of partitions, or is gone.
    Topic {
        /// Its name.
        topic: String,
        /// Its id (KIP-516), as Kafka's tools print it; absent if no broker knows the topic.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic_id: Option<String>,
        /// Number of partitions.
        partitions: usize,
    },
    /// A partition's leader, epoch, replicas or ISR changed.
    Partition {
        /// Name of its topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Its leader.
        leader: Option<u32>,
        /// The leader's epoch.
        epoch: i32,
        /// The in-sync replicas, sorted.
        isr: Vec<u32>,
        /// The replicas, the preferred leader first.
        replicas: Vec<u32>,
        /// The broker that said so.
        by: u32,
    },
    /// The offsets that changed since the last such line, about twice a second; less often with many partitions.
    Offsets {
        /// Name of the topic.
        topic: String,
        /// For each of these partitions: the partition, its first offset, and its high watermark.
        partitions: Vec<(i32, i64, i64)>,
    },
    /// A client's counts changed. Written about once a second, from its last checkpoint.
    Client {
        /// Its name.
        client: String,
        /// Its topic.
        topic: String,
        /// What it counts.
        #[serde(flatten)]
        counts: Counts,
    },
    /// A client's state cannot be read.
    ClientUnknown {
        /// Its name.
        client: String,
        /// Its topic.
        topic: String,
        /// Why.
        why: String,
    },
    /// A client of a drill reported that a partition had stood still.
    Gap {
        /// Its name.
        client: String,
        /// Its topic.
        topic: String,
        /// Nothing was acknowledged to a producer, or received by a consumer.
        role: Role,
        /// The partition.
        partition: u32,
        /// How long before this line it ended, in ms, by the wall clock.
        ago_ms: u64,
        /// How long it lasted, in ms.
        gap_ms: u64,
    },
    /// What a command of xtask did, from the lab's journal. A recording begins with the last command before it.
    Journal {
        /// The command.
        command: String,
        /// How long before this line it happened, in ms. The monotonic clock is the same for all processes.
        ago_ms: u64,
        /// The event: as `--format json` prints it, or a command's result.
        line: serde_json::Value,
    },
    /// The last line. A recording without it was cut short.
    End {
        /// Why the recording ended.
        reason: Reason,
    },
}

/// What a client counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Counts {
    /// A producer.
    Producer {
        /// The run ID in its messages.
        run: String,
        /// Whether it ended.
        ended: bool,
        /// For each partition: the partition, messages sent, messages acknowledged.
        partitions: Vec<(i32, u64, u64)>,
        /// Messages certainly not written.
        not_persisted: u64,
        /// Messages that may or may not have been written.
        unknown: u64,
    },
    /// A consumer.
    Consumer {
        /// Whether it ended.
        ended: bool,
        /// For each partition: the partition, records received, and the next offset.
        partitions: Vec<(i32, u64, i64)>,
        /// Messages that are missing.
        missing: u64,
        /// Messages that came more than once.
        duplicate: u64,
        /// Messages that came out of order.
        out_of_order: u64,
    },
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It sends.
    Producer,
    /// It reads.
    Consumer,
}

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The time of `--duration` is over.
    Duration,
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use schema::Schema;

    use super::*;

    /// A line of each kind, with every field.
    fn made() -> Vec<Event> {
        let client = |counts| Event::Client { client: "c".into(), topic: "test".into(), counts };
        vec![
            Event::Begin {
                time_ms: 1,
                lab: "kafka-lab".into(),
                backend: "local".into(),
                kafka: "3.3.2/zookeeper".into(),
                topic: "test".into(),
                brokers: vec![(0, "127.0.0.1:30090".into())],
                clients: vec!["producer".into()],
            },
            Event::Broker { broker: 0, answers: false, why: Some("no answer within 1 s".into()) },
            Event::Controller { controller: Some(100), epoch: Some(3) },
            Event::Topic { topic: "test".into(), topic_id: Some("a topic's".into()), partitions: 4 },
            Event::Partition {
                topic: "test".into(),
                partition: 0,
                leader: Some(1),
                epoch: 2,
                isr: vec![0, 1],
                replicas: vec![1, 2, 0],
                by: 1,
            },
            Event::Offsets { topic: "test".into(), partitions: vec![(0, 5, 90)] },
            client(Counts::Producer {
                run: "r-1".into(),
                ended: true,
                partitions: vec![(0, 12, 11)],
                not_persisted: 0,
                unknown: 1,
            }),
            client(Counts::Consumer {
                ended: false,
                partitions: vec![(0, 11, 90)],
                missing: 0,
                duplicate: 1,
                out_of_order: 0,
            }),
            Event::ClientUnknown { client: "c".into(), topic: "test".into(), why: "it has written no state".into() },
            Event::Gap {
                client: "producer-1".into(),
                topic: "drill-1".into(),
                role: Role::Producer,
                partition: 0,
                ago_ms: 300,
                gap_ms: 4_100,
            },
            Event::Journal {
                command: "verify".into(),
                ago_ms: 20,
                line: serde_json::json!({
                    "schema": Schema::read("xtask.json").json()["$defs"]["started"]["properties"]["schema"]["const"],
                    "command": "verify", "lab": "kafka-lab", "event": "started", "number": 2, "step": "topic"
                }),
            },
            Event::End { reason: Reason::Duration },
        ]
    }

    #[test]
    fn each_line_is_as_the_schema_says_and_is_read_back_as_it_was() {
        let schema = Schema::read("recording.json");
        let mut kinds = Vec::new();
        for event in made() {
            let line = Line { schema: SCHEMA.into(), at_ms: 7, event };
            let json = serde_json::to_value(&line).unwrap();
            assert!(serde_json::to_string(&line).unwrap().starts_with(&format!(r#"{{"schema":"{SCHEMA}","#)));
            let optional: &[&str] = match line.event {
                Event::Broker { .. } => &["why"],
                Event::Controller { .. } => &["epoch"],
                Event::Topic { .. } => &["topic_id"],
                _ => &[],
            };
            assert!(schema.expect_exactly(&json, optional) > 5, "{json}");
            kinds.extend(schema.kinds_of(&json));
            assert_eq!(serde_json::from_value::<Line>(json).unwrap(), line);
        }
        assert_eq!(kinds, schema.kinds());
    }
}
