//! What holds at the moment, from the lines of a recording: what the last line about each broker, partition and client
//! says. Pure.

use std::collections::{BTreeMap, VecDeque};

use observer::event::{Counts, Event, Line, SCHEMA};

/// How many lines of the journal are kept.
const JOURNAL_MAX: usize = 200;

/// What holds now.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Now {
    /// The first line.
    pub begin: Option<Line>,
    /// The last line about each broker, by id.
    pub brokers: BTreeMap<u32, Line>,
    /// The last line about the controller.
    pub controller: Option<Line>,
    /// Each topic that exists.
    pub topics: BTreeMap<String, Topic>,
    /// The last line about each client, by topic and name.
    pub clients: BTreeMap<(String, String), Line>,
    /// The last lines of the journal.
    journal: VecDeque<Line>,
    at_ms: u64,
}

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// The line about it.
    line: Line,
    /// The last line about each partition.
    pub partitions: BTreeMap<i32, Line>,
    /// First offset and high watermark of each partition.
    pub offsets: BTreeMap<i32, (i64, i64)>,
}

impl Now {
    /// Takes the next line.
    pub fn apply(&mut self, line: &Line) {
        self.at_ms = line.at_ms;
        match &line.event {
            Event::Begin { .. } => self.begin = Some(line.clone()),
            Event::Broker { broker, .. } => drop(self.brokers.insert(*broker, line.clone())),
            Event::Controller { .. } => self.controller = Some(line.clone()),
            Event::Topic { topic, topic_id: None, .. } => {
                self.topics.remove(topic);
                self.clients.retain(|(of, _), _| of != topic || self.begin.as_ref().is_some_and(|one| is_own(one, of)));
            }
            Event::Topic { topic, .. } => {
                let new = Topic { line: line.clone(), partitions: BTreeMap::new(), offsets: BTreeMap::new() };
                let same = self.topics.get(topic).is_some_and(|known| id(&known.line) == id(line));
                match self.topics.get_mut(topic) {
                    Some(known) if same => known.line = line.clone(),
                    _ => drop(self.topics.insert(topic.clone(), new)),
                }
            }
            Event::Partition { topic, partition, .. } => {
                if let Some(topic) = self.topics.get_mut(topic) {
                    topic.partitions.insert(*partition, line.clone());
                }
            }
            Event::Offsets { topic, partitions } => {
                if let Some(topic) = self.topics.get_mut(topic) {
                    let moved = partitions.iter().map(|(partition, first, high)| (*partition, (*first, *high)));
                    topic.offsets.extend(moved);
                }
            }
            Event::Client { client, topic, .. } | Event::ClientUnknown { client, topic, .. } => {
                self.clients.insert((topic.clone(), client.clone()), line.clone());
            }
            Event::Journal { .. } => {
                if self.journal.len() == JOURNAL_MAX {
                    self.journal.pop_front();
                }
                self.journal.push_back(line.clone());
            }
            Event::Gap { .. } | Event::End { .. } => {}
        }
    }

    /// Returns the fewest lines that say the same, in the order of their times.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.brokers.values().chain(&self.controller).cloned().collect();
        for (name, topic) in &self.topics {
            lines.push(topic.line.clone());
            lines.extend(topic.partitions.values().cloned());
            if !topic.offsets.is_empty() {
                let rows = topic.offsets.iter().map(|(partition, (first, high))| (*partition, *first, *high));
                let event = Event::Offsets { topic: name.clone(), partitions: rows.collect() };
                lines.push(Line { schema: SCHEMA.into(), at_ms: self.at_ms, event });
            }
        }
        lines.extend(self.clients.values().chain(&self.journal).cloned());
        // Stable: a topic stays before its partitions, which are told later or at the same time.
        lines.sort_by_key(|line| line.at_ms);
        self.begin.iter().cloned().chain(lines).collect()
    }

    /// The lag of a consumer's partition: records from its next offset to the high watermark.
    pub fn lag(&self, topic: &str, partition: i32, next: i64) -> Option<i64> {
        let (_, high) = self.topics.get(topic)?.offsets.get(&partition)?;
        Some((high - next).max(0))
    }
}

/// Whether a topic is the lab's own, by the first line.
fn is_own(begin: &Line, topic: &str) -> bool {
    matches!(&begin.event, Event::Begin { topic: own, .. } if own == topic)
}

fn id(line: &Line) -> Option<&str> {
    match &line.event {
        Event::Topic { topic_id, .. } => topic_id.as_deref(),
        _ => None,
    }
}

/// The counts of a client, if they are known.
pub fn counts(line: &Line) -> Option<&Counts> {
    match &line.event {
        Event::Client { counts, .. } => Some(counts),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
pub mod tests {
    use observer::event::Reason;

    use super::*;

    /// A line.
    pub fn line(at_ms: u64, event: Event) -> Line {
        Line { schema: SCHEMA.into(), at_ms, event }
    }

    /// Lines of a small recording with a drill.
    pub fn lines() -> Vec<Line> {
        let partition = |topic: &str, partition, leader, epoch| Event::Partition {
            topic: topic.into(),
            partition,
            leader,
            epoch,
            isr: vec![0, 1],
            replicas: vec![1, 0],
            by: 0,
        };
        let topic = |name: &str, id: Option<&str>| Event::Topic {
            topic: name.into(),
            topic_id: id.map(Into::into),
            partitions: if id.is_some() { 2 } else { 0 },
        };
        let offsets = |name: &str, partitions: &[(i32, i64, i64)]| Event::Offsets {
            topic: name.into(),
            partitions: partitions.to_vec(),
        };
        let client =
            |name: &str, topic: &str, counts| Event::Client { client: name.into(), topic: topic.into(), counts };
        let producer = |acked| Counts::Producer {
            run: "r".into(),
            ended: false,
            partitions: vec![(0, acked + 1, acked)],
            not_persisted: 0,
            unknown: 1,
        };
        let consumer = Counts::Consumer {
            ended: false,
            partitions: vec![(0, 5, 5), (1, 0, 0)],
            missing: 0,
            duplicate: 2,
            out_of_order: 0,
        };
        let begin = Event::Begin {
            time_ms: 1,
            lab: "a \"lab\"".into(),
            backend: "local".into(),
            kafka: "3.3.2/zookeeper".into(),
            topic: "test".into(),
            brokers: vec![(0, "127.0.0.1:30090".into()), (1, "127.0.0.1:30091".into())],
            clients: vec!["producer".into()],
        };
        let events = vec![
            begin,
            Event::Broker { broker: 0, answers: true, why: None },
            Event::Controller { controller: Some(0), epoch: None },
            topic("test", Some("a")),
            partition("test", 0, Some(1), 4),
            partition("test", 1, None, 5),
            Event::Broker { broker: 1, answers: false, why: Some("connection refused".into()) },
            offsets("test", &[(0, 0, 7), (1, 0, 3)]),
            client("producer", "test", producer(6)),
            client("consumer", "test", consumer),
            Event::Journal { command: "drill".into(), ago_ms: 3, line: serde_json::json!({"event": "note"}) },
            topic("drill-1", Some("d")),
            partition("drill-1", 0, Some(0), 0),
            offsets("drill-1", &[(0, 0, 9)]),
            client("producer-1", "drill-1", producer(8)),
            offsets("test", &[(0, 2, 8)]),
            topic("drill-1", None),
            Event::ClientUnknown { client: "producer".into(), topic: "test".into(), why: "gone".into() },
            Event::End { reason: Reason::Signal },
        ];
        events.into_iter().enumerate().map(|(at, event)| line(10 * at as u64, event)).collect()
    }

    #[test]
    fn the_fewest_lines_say_the_same_after_each_line() {
        let mut now = Now::default();
        for line in lines() {
            now.apply(&line);
            let mut again = Now::default();
            now.lines().iter().for_each(|line| again.apply(line));
            again.at_ms = now.at_ms;
            assert_eq!(again, now);
        }
        assert_eq!(now.topics.keys().collect::<Vec<_>>(), ["test"]);
        assert_eq!(now.topics["test"].offsets, [(0, (2, 8)), (1, (0, 3))].into());
        assert_eq!(now.clients.len(), 2, "those of the drill are gone with its topic");
        assert_eq!((now.lag("test", 0, 5), now.lag("test", 0, 9), now.lag("other", 0, 5)), (Some(3), Some(0), None));
        let mut recreated = now.clone();
        let topic = Event::Topic { topic: "test".into(), topic_id: Some("b".into()), partitions: 1 };
        recreated.apply(&line(900, topic));
        assert!(recreated.topics["test"].partitions.is_empty());
        assert!(counts(now.clients.values().next().unwrap()).is_some());
    }
}
