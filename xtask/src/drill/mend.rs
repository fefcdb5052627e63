//! Mends what a drill broke, and asks the brokers how it stands.

use std::time::{Duration, Instant};

use ledger::lines::Metadata;

use crate::backend::Backend;
use crate::drill::control::Without;
use crate::failure::Result;
use crate::local::service::Service;
use crate::steps::workload::{self, Part, Patience};
use crate::steps::{cluster, service};
use crate::task::Task;
use crate::tools::clients;
use crate::tools::kafka::{Place, Tool};
use crate::wait::Poll;

/// How often the brokers are asked.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// How long each of them may take to answer.
pub const ASK: Duration = Duration::from_secs(3);

/// Starts and resumes all that should run and does not, and waits until every replica is in sync.
///
/// # Errors
/// A server does not start, or a replica does not catch up in time.
pub fn mend(task: &Task<'_>, topic: Option<&str>, without: Without) -> Result<()> {
    match task.lab().backend {
        Backend::Local => {
            for server in Service::servers(task.lab()) {
                service::start(task, server)?;
            }
        }
        Backend::Kind => {
            cluster::cluster(task)?;
            workload::ready_with(task, Part::Servers, Patience::with_killed())?;
        }
    }
    topic.map_or(Ok(()), |topic| in_sync(task, topic, without))
}

/// Waits until each broker names every replica of every partition as in sync.
///
/// # Errors
/// A replica does not catch up in time.
pub fn in_sync(task: &Task<'_>, topic: &str, without: Without) -> Result<()> {
    let lab = task.lab();
    // A broker that lost its disk in a long soak fetches gigabytes.
    let usual = 4 * lab.timeout(|t| t.broker);
    let patience = if without.strike { without.patience(usual) } else { usual };
    task.wait("every ISR", patience, INTERVAL, || {
        let answers = metadata(task, topic, &lab.bootstrap())?;
        let full = |answer: &Metadata| {
            let partitions: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
            !partitions.is_empty() && partitions.iter().all(|p| p.leader >= 0 && p.isr.len() == p.replicas.len())
        };
        let count = answers.iter().filter(|answer| answer.ok && full(answer)).count();
        let missing = count != lab.broker_ids().count();
        Ok(Poll::unless(missing.then(|| format!("{count} brokers name every replica as in sync"))))
    })
}

/// What each of these brokers says of a topic, asked by itself.
///
/// # Errors
/// The question cannot be asked.
pub fn metadata(task: &Task<'_>, topic: &str, brokers: &str) -> Result<Vec<Metadata>> {
    let cmd = clients::metadata(&task.lab().clients_program(), brokers, topic, ASK);
    let output = task.capture(&cmd)?;
    Ok(clients::lines(&output.stdout))
}

/// How long brokers may answer kafka-topics with an error of their own, as they did once when ZooKeeper had been killed: the
/// controller was changing.
const UNSETTLED: Duration = Duration::from_secs(30);

/// Runs kafka-topics, and again while brokers answer with an error of their own. What that did all the same, creating or
/// deleting, is done.
///
/// # Errors
/// It fails.
pub fn topics(task: &Task<'_>, args: &[&str]) -> Result<String> {
    let place = match task.lab().backend {
        Backend::Local => Place::of(task.lab(), task.ctx.jars, Some(&task.java()?), None),
        Backend::Kind => Place::of(task.lab(), task.ctx.jars, None, Some(&task.setup()?)),
    };
    let cmd = place.tool(Tool::KafkaTopics, args.iter().copied());
    let end = Instant::now() + UNSETTLED;
    let mut again = false;
    loop {
        let output = task.capture(&cmd)?;
        let says = |what: &str| output.stdout.contains(what) || output.stderr.contains(what);
        if output.code != Some(0) && again && says("TopicExistsException") {
            return Ok(output.stdout);
        }
        again = says("UnknownServerException");
        if output.code == Some(0) || !again || Instant::now() >= end {
            return Ok(output.success(&cmd, &task.log)?.stdout);
        }
        task.pause(Duration::from_secs(1))?;
    }
}

/// The leader and the preferred replica of a partition, when every broker that answered names the same leader.
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

/// Whether every broker that answers says that there is no such topic. `None` when none answers, or one says something else.
///
/// # Errors
/// The question cannot be asked.
pub fn no_such_topic(task: &Task<'_>, topic: &str) -> Result<Option<bool>> {
    Ok(absent(&metadata(task, topic, &task.lab().bootstrap())?))
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
    let told: Vec<bool> = answers.iter().filter(|answer| answer.ok).map(one).collect::<Option<_>>()?;
    (!told.is_empty()).then(|| told.into_iter().all(|absent| absent))
}

#[cfg(test)]
mod tests {
    use ledger::lines::TopicInfo;

    use super::*;

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
