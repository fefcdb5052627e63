//! Queries to the brokers about metadata, offsets and topics, for steps and drills.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ledger::lines::{Metadata, Offsets};

use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Failure, Result, tail};
use crate::kafka_tools::Tool;
use crate::task::Task;
use crate::tools::clients;
use crate::wait::Poll;

/// Time limit for each broker's answer.
pub const ASK: Duration = Duration::from_secs(3);

/// Fails if fewer brokers serve than min.insync.replicas asks for: nothing can be acknowledged, and whoever waits for
/// it waits in vain.
///
/// # Errors
/// A fault, or the brokers' state is unknown.
pub fn enough(task: &Task<'_>) -> Result<()> {
    serving(task, task.lab().facts.brokers.min_insync_replicas, "min.insync.replicas is")
}

/// Fails if no broker serves: a tool would retry until its deadline.
///
/// # Errors
/// A fault, or the brokers' state is unknown.
pub fn any(task: &Task<'_>) -> Result<()> {
    serving(task, 1, "a question needs")
}

fn serving(task: &Task<'_>, needed: u32, why: &str) -> Result<()> {
    let (lab, found) = (task.lab(), task.ctx.driver.serving(task)?);
    if found >= needed as usize {
        return Ok(());
    }
    let what = format!("{found} of {} brokers serve, {why} {needed}", lab.facts.brokers.count);
    Err(Failure::fault(what).fix(lab.xtask("up")))
}

/// Asks each broker directly for its metadata of a topic. Returns why there are no answers, as while brokers start.
///
/// # Errors
/// The clients' program does not start or end in time, or an interruption.
pub fn metadata(task: &Task<'_>, topic: &str, bootstrap: &str) -> Result<std::result::Result<Vec<Metadata>, String>> {
    let output = task.capture(&metadata_cmd(task.lab(), topic, bootstrap))?;
    let answers: Vec<Metadata> = clients::lines(&output.stdout);
    Ok(match answers.is_empty() {
        true => Err(format!("no metadata: {}", tail(&output.stderr, 1).concat())),
        false => Ok(answers),
    })
}

/// Returns the command that [`metadata`] runs.
pub fn metadata_cmd(lab: &Lab, topic: &str, bootstrap: &str) -> Cmd {
    clients::metadata(&lab.clients_program(), bootstrap, topic, ASK)
}

/// Returns why the brokers do not all serve at the wanted addresses yet.
pub fn not_serving(wanted: &[(u32, String)], answers: &[Metadata]) -> Option<String> {
    let wanted: BTreeSet<(u32, String)> = wanted.iter().cloned().collect();
    for (id, address) in &wanted {
        let Some(answer) = answers.iter().find(|answer| answer.broker == *address) else {
            return Some(format!("broker {id} was not asked"));
        };
        if !answer.ok {
            let error = answer.error.as_deref().unwrap_or("no answer");
            return Some(format!("broker {id} at {address} does not answer metadata: {error}"));
        }
        let known: BTreeSet<(u32, String)> =
            answer.brokers.iter().map(|broker| (broker.id, format!("{}:{}", broker.host, broker.port))).collect();
        if known != wanted {
            let ids: Vec<String> = known.iter().map(|(id, address)| format!("{id} at {address}")).collect();
            return Some(format!("broker {id} knows {} of {} brokers: {}", known.len(), wanted.len(), ids.join(", ")));
        }
    }
    None
}

/// Ready with the numbers of partitions and replicas once `brokers` brokers answer and agree that every ISR is full.
pub fn in_sync(topic: &str, answers: &[Metadata], brokers: usize) -> Poll<(usize, usize)> {
    let mut shape = (0, 0);
    let answered: Vec<_> = answers.iter().filter(|answer| answer.ok).collect();
    if answered.len() < brokers {
        return Poll::NotYet(format!("{} of {brokers} brokers answer", answered.len()));
    }
    for answer in answered {
        let found = answer.topics.iter().find(|found| found.topic == topic && found.error.is_none());
        let Some(topic) = found.filter(|found| !found.partitions.is_empty()) else {
            return Poll::NotYet(format!("{} does not know topic {topic} yet", answer.broker));
        };
        for partition in &topic.partitions {
            let set = |ids: &[i32]| ids.iter().copied().collect::<BTreeSet<i32>>();
            if set(&partition.isr) != set(&partition.replicas) || partition.leader < 0 {
                return Poll::NotYet(format!(
                    "partition {}: leader {}, {} of {} replicas in sync",
                    partition.partition,
                    partition.leader,
                    partition.isr.len(),
                    partition.replicas.len()
                ));
            }
        }
        shape = (
            topic.partitions.len(),
            topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0),
        );
    }
    Poll::Ready(shape)
}

/// Returns a partition's leader, if all brokers that answered agree on it, and its preferred replica.
pub fn agreed(answers: &[Metadata], partition: u32) -> (Option<u32>, Option<u32>) {
    let rows =
        answers.iter().filter(|answer| answer.ok).flat_map(|answer| &answer.topics).flat_map(|topic| &topic.partitions);
    let rows: Vec<_> = rows.filter(|row| row.partition == partition).collect();
    let id = |id: i32| u32::try_from(id).ok();
    let first = rows.first();
    let same = first.is_some_and(|first| rows.iter().all(|row| row.leader == first.leader));
    let leader = first.filter(|_| same).and_then(|row| id(row.leader));
    (leader, first.and_then(|row| id(*row.replicas.first()?)))
}

/// Whether all brokers that answer report that the topic does not exist. `None` if none answers or the answers are
/// unclear.
///
/// # Errors
/// As [`metadata`].
pub fn no_such_topic(task: &Task<'_>, topic: &str) -> Result<Option<bool>> {
    Ok(absent(&metadata(task, topic, &task.lab().bootstrap())?.unwrap_or_default()))
}

fn absent(answers: &[Metadata]) -> Option<bool> {
    let one = |answer: &Metadata| {
        let found = answer.topics.first()?;
        match (found.error.as_deref(), found.partitions.is_empty()) {
            (Some("UNKNOWN_TOPIC_OR_PART"), _) => Some(true),
            (_, false) => Some(false),
            _ => None,
        }
    };
    let answers: Vec<bool> = answers.iter().filter(|answer| answer.ok).map(one).collect::<Option<_>>()?;
    (!answers.is_empty()).then(|| answers.into_iter().all(|absent| absent))
}

/// Asks for every partition's offsets. Returns why there are none.
///
/// # Errors
/// The clients' program does not start or end in time, or an interruption.
pub fn offsets(task: &Task<'_>, topic: &str) -> Result<std::result::Result<Offsets, String>> {
    let output = task.capture(&offsets_cmd(task.lab(), topic))?;
    Ok(match clients::lines::<Offsets>(&output.stdout).pop() {
        Some(Offsets { error: Some(error), .. }) => Err(format!("no end offsets: {error}")),
        Some(offsets) if !offsets.partitions.is_empty() => Ok(offsets),
        _ => Err(format!("no end offsets: {}", tail(&output.stderr, 1).concat())),
    })
}

/// Returns the command that [`offsets`] runs.
pub fn offsets_cmd(lab: &Lab, topic: &str) -> Cmd {
    clients::offsets(&lab.clients_program(), &lab.bootstrap(), topic)
}

/// The end offsets and the id of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Partition and end offset.
    pub offsets: Vec<(u32, u64)>,
    /// The topic's id.
    pub topic_id: Option<String>,
}

/// Waits for the end offset of each partition of a topic, and its id.
///
/// # Errors
/// A timeout after `patience`.
pub fn end_offsets(task: &Task<'_>, topic: &str, patience: Duration) -> Result<Ends> {
    task.wait("end offsets", patience, Duration::from_millis(500), || {
        Ok(match offsets(task, topic)? {
            Ok(Offsets { partitions, topic_id, .. }) => {
                let offsets = partitions.iter().map(|mark| (mark.partition, mark.high)).collect();
                Poll::Ready(Ends { offsets, topic_id })
            }
            Err(status) => Poll::NotYet(status),
        })
    })
}

/// How long to retry kafka-topics after a broker's internal error, which was seen during a change of controller.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// Runs kafka-topics, and retries while brokers answer with an internal error. If a failed attempt took effect anyway,
/// such as a creation, that counts as success.
///
/// # Errors
/// It fails.
pub fn topics(task: &Task<'_>, args: &[&str]) -> Result<String> {
    let cmd = task.kafka_tools()?.tool(Tool::TOPICS, args.iter().copied());
    let end = Instant::now() + RETRY_FOR;
    let mut again = false;
    loop {
        let output = task.capture(&cmd)?;
        let contains = |what: &str| output.stdout.contains(what) || output.stderr.contains(what);
        if output.code != Some(0) && again && contains("TopicExistsException") {
            return Ok(output.stdout);
        }
        again = contains("UnknownServerException");
        if output.code == Some(0) || !again || Instant::now() >= end {
            return Ok(output.success(&cmd, &task.log)?.stdout);
        }
        task.pause(Duration::from_secs(1))?;
    }
}

/// Why messages do not create topics.
pub const NO_AUTO_CREATION: &str = "kafka.yml sets KAFKA_AUTO_CREATE_TOPICS_ENABLE to false";

/// Returns the arguments of kafka-topics that create a topic with the brokers' defaults.
pub fn creation_args(lab: &Lab, topic: &str) -> Vec<String> {
    let brokers = &lab.facts.brokers;
    let (partitions, replicas) = (brokers.partitions.to_string(), brokers.replication_factor.to_string());
    let words = ["--create", "--if-not-exists", "--topic", topic, "--partitions", &partitions];
    words.into_iter().chain(["--replication-factor", &replicas]).map(Into::into).collect()
}

/// Creates a topic with kafka-topics if automatic creation is off. Returns whether it was. An existing topic is fine.
///
/// # Errors
/// The tool fails.
pub fn create_unless_automatic(task: &Task<'_>, topic: &str) -> Result<bool> {
    if task.lab().facts.brokers.auto_create_topics {
        return Ok(false);
    }
    (task.status)("creating the topic");
    ask_tool(task, creation_args(task.lab(), topic))?;
    Ok(true)
}

/// Runs kafka-topics, unless a server dies meanwhile.
///
/// # Errors
/// The tool fails, or a server died.
pub fn ask_tool(task: &Task<'_>, args: Vec<String>) -> Result<String> {
    let cmd = task.kafka_tools()?.tool(Tool::TOPICS, args);
    Ok(task.capture_while_served(&cmd)?.success(&cmd, &task.log)?.stdout)
}

/// Creates a topic without retention limits: a soak's records exceed the brokers' default.
///
/// # Errors
/// kafka-topics fails.
pub fn create_lasting_topic(task: &Task<'_>, topic: &str) -> Result<()> {
    let keeps_all = ["--config", "retention.bytes=-1", "--config", "retention.ms=-1"];
    topics(task, &[&["--create", "--topic", topic], &keeps_all[..]].concat()).map(drop)
}

/// Creates a topic with the brokers' defaults: by its first message, or with kafka-topics if automatic creation is off.
///
/// # Errors
/// The message is not acknowledged, or kafka-topics fails.
pub fn create_topic(task: &Task<'_>, topic: &str) -> Result<()> {
    let lab = task.lab();
    create_unless_automatic(task, topic)?;
    let cmd = clients::probe(&lab.clients_program(), &lab.bootstrap(), topic, lab.timeout(|t| t.topic));
    let output = task.capture(&cmd)?;
    match output.code {
        Some(0) => Ok(()),
        _ => Err(Failure::step(format!("no message goes through topic {topic}")).output(&output.stderr).log(&task.log)),
    }
}

#[cfg(test)]
pub mod tests {
    use ledger::lines::{BrokerInfo, PartitionInfo, TopicInfo};

    use super::*;
    use crate::config::sample;

    fn wanted(lab: &Lab) -> Vec<(u32, String)> {
        lab.broker_ids().map(|id| (id, lab.broker_address(id))).collect()
    }

    /// Returns what a healthy lab's brokers report about its topic.
    pub fn answers(lab: &Lab) -> Vec<Metadata> {
        let broker = |id| BrokerInfo { id, host: "127.0.0.1".into(), port: lab.ports.broker(id) };
        let partition = |n| PartitionInfo {
            partition: n,
            leader: (n % 3) as i32,
            replicas: vec![0, 1, 2],
            isr: vec![2, 0, 1],
            error: None,
        };
        let topic = TopicInfo { topic: "test".into(), error: None, partitions: (0..4).map(partition).collect() };
        let answer = |id| Metadata {
            broker: lab.broker_address(id),
            ok: true,
            error: None,
            brokers: lab.broker_ids().map(broker).collect(),
            topics: vec![topic.clone()],
            ..Metadata::default()
        };
        lab.broker_ids().map(answer).collect()
    }

    #[test]
    fn all_brokers_must_answer_and_know_each_other() {
        let lab = sample::lab();
        assert_eq!(not_serving(&wanted(&lab), &answers(&lab)), None);
        let mut silent = answers(&lab);
        silent[1].ok = false;
        silent[1].error = Some("timed out".into());
        assert!(
            not_serving(&wanted(&lab), &silent)
                .unwrap()
                .contains("broker 1 at 127.0.0.1:30091 does not answer metadata: timed out")
        );
        let mut alone = answers(&lab);
        alone[2].brokers.truncate(2);
        assert!(not_serving(&wanted(&lab), &alone).unwrap().contains("broker 2 knows 2 of 3 brokers"));
        let mut moved = answers(&lab);
        moved[0].brokers[1].port = 9092;
        assert!(not_serving(&wanted(&lab), &moved).is_some());
        assert!(not_serving(&wanted(&lab), &answers(&lab)[..2]).unwrap().contains("broker 2 was not asked"));
    }

    #[test]
    fn a_short_isr_or_a_broker_that_lags_behind_is_not_ready() {
        let lab = sample::lab();
        assert!(matches!(in_sync("test", &answers(&lab), 3), Poll::Ready((4, 3))));
        let mut short = answers(&lab);
        short[2].topics[0].partitions[3].isr = vec![0, 2];
        assert!(
            matches!(in_sync("test", &short, 3), Poll::NotYet(status) if status == "partition 3: leader 0, 2 of 3 replicas in sync")
        );
        let mut behind = answers(&lab);
        behind[1].topics.clear();
        assert!(matches!(in_sync("test", &behind, 3), Poll::NotYet(_)));
    }

    #[test]
    fn only_brokers_that_say_so_know_no_such_topic() {
        let answer = |ok, topics: &[(Option<&str>, usize)]| Metadata {
            ok,
            topics: topics
                .iter()
                .map(|(error, partitions)| TopicInfo {
                    error: error.map(Into::into),
                    partitions: vec![Default::default(); *partitions],
                    ..TopicInfo::default()
                })
                .collect(),
            ..Metadata::default()
        };
        let unknown = answer(true, &[(Some("UNKNOWN_TOPIC_OR_PART"), 0)]);
        let electing = answer(true, &[(Some("LEADER_NOT_AVAILABLE"), 0)]);
        let (known, nothing, silent) = (answer(true, &[(None, 4)]), answer(true, &[]), answer(false, &[]));
        for (answers, expected) in [
            (vec![&unknown, &unknown, &silent], Some(true)),
            (vec![&unknown, &known], Some(false)),
            (vec![&known, &unknown], Some(false)),
            (vec![&unknown, &electing], None),
            (vec![&electing], None),
            (vec![&unknown, &nothing], None),
            (vec![&silent], None),
            (vec![], None),
        ] {
            let answers: Vec<Metadata> = answers.into_iter().cloned().collect();
            assert_eq!(absent(&answers), expected, "{answers:?}");
        }
    }
}
