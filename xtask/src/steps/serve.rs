//! Ready means serving: every broker answers metadata, a message goes through, every in-sync replica set is full.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ledger::lines::{Metadata, Probe, ProbeEvent};

use crate::backend::Backend;
use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Exit, Failure, Result};
use crate::local::service::Service;
use crate::state::Setup;
use crate::steps::{service, workload};
use crate::task::{Outcome, Task};
use crate::tools::clients;
use crate::tools::kafka::{self, Tool};
use crate::tools::kubectl::Kubectl;
use crate::tools::zookeeper;
use crate::wait::Poll;

const INTERVAL: Duration = Duration::from_millis(100);
const ASK: Duration = Duration::from_secs(3);

/// What [`serving`] would run.
pub fn preview_serving(lab: &Lab) -> Vec<String> {
    vec![
        "# until ZooKeeper lists all brokers, and each of them, asked by itself, names all of them:".into(),
        metadata(lab).to_string(),
    ]
}

/// What [`topic`] would run.
pub fn preview_topic(lab: &Lab) -> Vec<String> {
    let topic = &lab.facts.topic;
    let mut lines = match lab.facts.brokers.auto_create_topics {
        true => vec![format!("# the first message creates topic {topic} with {}", shape(lab))],
        false => vec![
            format!("# {NO_AUTO_CREATION}: unless it is there, topic {topic} is created with {}:", shape(lab)),
            lab.xtask(&format!("kafka-topics -- {}", creation(lab, topic).join(" "))),
        ],
    };
    lines.extend([
        probe(lab).to_string(),
        "# until as many are in each ISR as there are replicas:".into(),
        metadata(lab).to_string(),
    ]);
    lines
}

/// What [`inside`] would run.
pub fn preview_inside(lab: &Lab, setup: &Setup, with_clients: bool) -> Vec<String> {
    let args = clients::args(&metadata_inside(lab));
    let pod =
        with_clients.then(|| workload::in_producer(lab, &Kubectl::of(lab, setup), &args, Duration::ZERO)).flatten();
    vec![match pod {
        Some(cmd) => cmd.to_string(),
        None => format!("# in a Job of the clients' image: clients {}", args.join(" ")),
    }]
}

/// Asks each broker for its metadata at its address inside the cluster.
fn metadata_inside(lab: &Lab) -> Cmd {
    let addresses: Vec<String> = lab.broker_ids().map(|id| lab.facts.brokers.inner_address(id)).collect();
    clients::metadata(Path::new("clients"), &addresses.join(","), &lab.facts.topic, Duration::from_secs(20))
}

/// Asks each broker for its metadata.
fn metadata(lab: &Lab) -> Cmd {
    clients::metadata(&lab.clients_program(), &lab.bootstrap(), &lab.facts.topic, ASK)
}

/// Sends a message through the topic and receives it.
fn probe(lab: &Lab) -> Cmd {
    clients::probe(&lab.clients_program(), &lab.bootstrap(), &lab.facts.topic, lab.timeout(|t| t.topic))
}

/// Why no message creates a topic.
const NO_AUTO_CREATION: &str = "kafka.yml says KAFKA_AUTO_CREATE_TOPICS_ENABLE false";

/// What kafka-topics is told to create a topic as brokers would do it.
fn creation(lab: &Lab, topic: &str) -> Vec<String> {
    let brokers = &lab.facts.brokers;
    let (partitions, replicas) = (brokers.partitions.to_string(), brokers.replication_factor.to_string());
    let words = ["--create", "--if-not-exists", "--topic", topic, "--partitions", &partitions];
    words.into_iter().chain(["--replication-factor", &replicas]).map(Into::into).collect()
}

/// Creates a topic with Kafka's own tool, as brokers would do it when a client asks for it, where they are told not to. Returns whether that was
/// necessary: it is not where brokers do it themselves. That the topic is there is fine.
///
/// # Errors
/// The tool fails.
pub fn create_where_brokers_do_not(task: &Task<'_>, topic: &str) -> Result<bool> {
    if task.lab().facts.brokers.auto_create_topics {
        return Ok(false);
    }
    (task.status)("creating the topic");
    tool(task, creation(task.lab(), topic))?;
    Ok(true)
}

/// What kafka-topics answers.
fn tool(task: &Task<'_>, args: Vec<String>) -> Result<String> {
    let cmd = task.place()?.tool(Tool::KafkaTopics, args);
    Ok(service::capture_while_served(task, &cmd)?.success(&cmd, &task.log)?.stdout)
}

fn shape(lab: &Lab) -> String {
    format!("{} partitions × {} replicas", lab.facts.brokers.partitions, lab.facts.brokers.replication_factor)
}

/// Asks each broker by itself. A call that fails is a status, not an error: brokers may be starting.
fn ask(task: &Task<'_>) -> Result<std::result::Result<Vec<Metadata>, String>> {
    let output = task.capture(&metadata(task.lab()))?;
    let answers: Vec<Metadata> = clients::lines(&output.stdout);
    if answers.is_empty() {
        let said = crate::failure::tail(&output.stderr, 1).concat();
        return Ok(Err(format!("no metadata: {said}")));
    }
    Ok(Ok(answers))
}

/// A status, unless a server died: then there is nothing to wait for.
fn not_yet<T>(task: &Task<'_>, status: String) -> Result<Poll<T>> {
    service::died(task.lab(), &Service::servers(task.lab())).map_or(Ok(Poll::NotYet(status)), Err)
}

/// Waits until every broker answers and names all brokers at their addresses.
///
/// # Errors
/// They do not within the timeout; the last status is quoted.
pub fn serving(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let timeout = match lab.backend {
        Backend::Local => lab.timeout(|t| t.broker),
        Backend::Kind => lab.timeout(|t| t.pods),
    };
    // Each question is a program that starts, on the processors that starting brokers need; in pods they need them longer.
    let interval = if lab.backend == Backend::Kind { 4 * INTERVAL } else { INTERVAL };
    let wanted: Vec<(u32, String)> = lab.broker_ids().map(|id| (id, lab.broker_address(id))).collect();
    task.wait("the brokers", timeout, interval, || {
        let status = match ask(task)? {
            Err(status) => Some(status),
            Ok(answers) => not_serving(&wanted, &answers),
        };
        if let Some(status) = status {
            return not_yet(task, status);
        }
        let ids = connected(task)?;
        if lab.broker_ids().all(|id| ids.contains(&id)) {
            return Ok(Poll::Ready(()));
        }
        not_yet(task, format!("{} of {} brokers in touch with ZooKeeper: {ids:?}", ids.len(), wanted.len()))
    })
    .map_err(|failure| if failure.log.is_some() { failure } else { failure.log(&task.log) })?;
    let ids: Vec<String> = lab.broker_ids().map(|id| id.to_string()).collect();
    Ok(Outcome::passed(format!("brokers {} registered, each answers metadata at its address", ids.join(", "))))
}

/// The brokers that ZooKeeper knows and hears of. What brokers say of each other is from before, when ZooKeeper was away
/// meanwhile.
fn connected(task: &Task<'_>) -> Result<BTreeSet<u32>> {
    Ok(dump(task)?.map(|dump| zookeeper::connected(&dump)).unwrap_or_default())
}

/// ZooKeeper's answer to `dump`; `None` while it gives none.
///
/// # Errors
/// An interruption.
pub fn dump(task: &Task<'_>) -> Result<Option<String>> {
    let lab = task.lab();
    let answer = match lab.backend {
        Backend::Local => zookeeper::four_letter_word(lab.ports.zookeeper, "dump").unwrap_or_default(),
        Backend::Kind => {
            let ask = format!("echo dump | timeout 5 nc -w 2 localhost {}", lab.facts.zookeeper.port());
            let container = format!("--container={}", lab.facts.zookeeper.container);
            let words = ["exec", "zookeeper-0", &container, "--", "sh", "-c", &ask];
            let cmd = Kubectl::of(lab, &task.setup()?).cmd(Duration::from_secs(8), words);
            // On a node that is gone nobody answers at all.
            match task.capture(&cmd) {
                Err(failure) if failure.exit != Exit::Interrupted => String::new(),
                answer => answer?.stdout,
            }
        }
    };
    Ok((!answer.is_empty()).then_some(answer))
}

/// How long the cluster's DNS may take to name a pod that has just become ready.
const NAMED_WITHIN: Duration = Duration::from_secs(30);

/// Asks every broker at its address inside the cluster, from a pod: the listener that brokers and rolled-out clients use.
///
/// # Errors
/// A broker does not answer there, or names others elsewhere, and goes on doing so.
pub fn inside(task: &Task<'_>, with_clients: bool) -> Result<Outcome> {
    let lab = task.lab();
    let wanted: Vec<(u32, String)> = lab.broker_ids().map(|id| (id, lab.facts.brokers.inner_address(id))).collect();
    let args = clients::args(&metadata_inside(lab));
    let deadline = lab.timeout(|t| t.clients) + Duration::from_secs(30);
    let last = std::cell::RefCell::new(String::new());
    let answered = task.wait("the brokers inside the cluster", NAMED_WITHIN, Duration::from_secs(1), || {
        let said = match with_clients {
            true => workload::run_in_producer(task, &args, deadline)?,
            false => workload::run_job(task, "metadata", &args, deadline)?,
        };
        let obstacle = not_serving(&wanted, &clients::lines::<Metadata>(&said));
        *last.borrow_mut() = said;
        Ok(Poll::unless(obstacle))
    });
    answered.map_err(|failure| match failure.log {
        None => failure.output(&last.borrow()).log(&task.log).fix(lab.xtask("logs kafka-0 -n 100")),
        Some(_) => failure,
    })?;
    let addresses: Vec<&str> = wanted.iter().map(|(_, address)| address.as_str()).collect();
    Ok(Outcome::passed(format!("each broker answers at {}", addresses.join(", "))))
}

/// Why the brokers do not all serve yet at the addresses where they should.
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

/// Sends the first message, which creates the topic, receives it, and waits until every ISR is full.
///
/// # Errors
/// No message goes through, or replicas stay out of sync, within the timeout.
pub fn topic(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let timeout = lab.timeout(|t| t.topic);
    let known = ask(task)?.unwrap_or_default();
    let existed = !known.is_empty()
        && known.iter().all(|answer| {
            answer
                .topics
                .iter()
                .any(|topic| topic.topic == lab.facts.topic && topic.error.is_none() && !topic.partitions.is_empty())
        });
    if let Some(failure) = stranded(lab, &known) {
        return Err(failure.log(&task.log));
    }
    let created = !existed && create_where_brokers_do_not(task, &lab.facts.topic)?;
    (task.status)("the first message");
    let cmd = probe(lab);
    let output = service::capture_while_served(task, &cmd)?;
    let events: Vec<Probe> = clients::lines(&output.stdout);
    let find = |event: ProbeEvent| events.iter().find(|found| found.event == event);
    let (Some(acked), Some(received)) = (find(ProbeEvent::Acked), find(ProbeEvent::Received)) else {
        let told = |event: &Probe| event.error.clone().or_else(|| event.status.clone());
        let status = events.iter().rev().find_map(told).unwrap_or_else(|| "nothing".into());
        let what = format!(
            "no message went through topic {} within {} s; last status: {status}",
            lab.facts.topic,
            timeout.as_secs()
        );
        let failure = Failure::new(Exit::Step, what).command(&cmd).output(&output.stderr).log(&task.log);
        let topics = if existed { String::new() } else { tool(task, vec!["--list".into()]).unwrap_or_default() };
        return Err(match kafka::colliding(&lab.facts.topic, topics.lines().map(str::trim)) {
            Some(other) => failure.fix(format!(
                "Kafka lets no topic {} be beside {other}, for '.' and '_' are one in names of metrics: name another TOPIC in \
                 clients.yml, or delete {other}, with its messages",
                lab.facts.topic
            )),
            None => failure,
        });
    };
    let what = format!("the replicas of topic {}", lab.facts.topic);
    let found = task
        .wait(&what, timeout, INTERVAL, || match ask(task)? {
            Err(status) => not_yet(task, status),
            Ok(answers) => match in_sync(lab, &answers) {
                Poll::NotYet(status) => not_yet(task, status),
                found => Ok(found),
            },
        })
        .map_err(|failure| if failure.log.is_some() { failure } else { failure.log(&task.log) })?;
    let proof = format!(
        "{} partitions × {} replicas, all in sync; message acked after {} ms, received after {} ms",
        found.0, found.1, acked.elapsed_ms, received.elapsed_ms
    );
    let mut outcome = match (existed, created) {
        (true, _) => Outcome::unchanged(proof),
        (false, false) => Outcome::changed(format!("created, {proof}")),
        (false, true) => Outcome::changed(format!("created with kafka-topics, since {NO_AUTO_CREATION}, {proof}")),
    };
    let brokers = &lab.facts.brokers;
    if found != (brokers.partitions as usize, brokers.replication_factor as usize) {
        outcome.warnings.push(format!(
            "topic {} exists as {} partitions × {} replicas, kafka.yml says {}; `{}` tells the fix",
            lab.facts.topic,
            found.0,
            found.1,
            shape(lab),
            lab.xtask("verify")
        ));
    }
    Ok(outcome)
}

/// A replica on a broker that the manifests do not ask for any more, which no waiting brings into sync.
fn stranded(lab: &Lab, answers: &[Metadata]) -> Option<Failure> {
    let topics = answers.iter().flat_map(|answer| &answer.topics).filter(|topic| topic.topic == lab.facts.topic);
    let replicas = topics.flat_map(|topic| &topic.partitions).flat_map(|partition| &partition.replicas);
    let highest = u32::try_from(*replicas.max()?).ok()?;
    let what = format!(
        "topic {} has replicas on broker {highest}, but kafka.yml asks for {} brokers: they can never be in sync",
        lab.facts.topic, lab.facts.brokers.count
    );
    (highest >= lab.facts.brokers.count).then(|| Failure::step(what).fix(restore(lab, highest)))
}

/// What to do about a topic that has a replica on a broker which the manifests do not ask for any more.
pub fn restore(lab: &Lab, broker: u32) -> String {
    format!(
        "set `replicas: {}` of StatefulSet kafka in kafka.yml again and `{}`; or start over: `{}`, then `{}`; its messages go",
        broker + 1,
        lab.xtask("up"),
        lab.xtask("teardown"),
        lab.xtask("up")
    )
}

/// Ready with (partitions, replicas) when all brokers agree that each ISR is full.
pub fn in_sync(lab: &Lab, answers: &[Metadata]) -> Poll<(usize, usize)> {
    let mut shape = (0, 0);
    for answer in answers {
        let Some(topic) = answer.topics.iter().find(|topic| topic.topic == lab.facts.topic && topic.error.is_none())
        else {
            return Poll::NotYet(format!("{} does not know topic {} yet", answer.broker, lab.facts.topic));
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

#[cfg(test)]
mod tests {
    use ledger::lines::{BrokerInfo, PartitionInfo, TopicInfo};

    use super::*;
    use crate::config::sample;

    fn wanted(lab: &Lab) -> Vec<(u32, String)> {
        lab.broker_ids().map(|id| (id, lab.broker_address(id))).collect()
    }

    fn answers(lab: &Lab) -> Vec<Metadata> {
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
    fn replicas_on_a_broker_that_is_not_asked_for_are_not_waited_for() {
        let mut lab = sample::lab();
        let mut found = answers(&lab);
        assert!(stranded(&lab, &found).is_none() && stranded(&lab, &[]).is_none());
        lab.facts.brokers.count = 2;
        found.truncate(2);
        let failure = stranded(&lab, &found).unwrap();
        assert!(failure.what.contains("replicas on broker 2, but kafka.yml asks for 2 brokers"), "{}", failure.what);
        assert!(failure.fix.unwrap().contains("`replicas: 3`"));
    }

    #[test]
    fn a_short_isr_or_a_broker_that_lags_behind_is_not_ready() {
        let lab = sample::lab();
        assert!(matches!(in_sync(&lab, &answers(&lab)), Poll::Ready((4, 3))));
        let mut short = answers(&lab);
        short[2].topics[0].partitions[3].isr = vec![0, 2];
        assert!(
            matches!(in_sync(&lab, &short), Poll::NotYet(status) if status == "partition 3: leader 0, 2 of 3 replicas in sync")
        );
        let mut behind = answers(&lab);
        behind[1].topics.clear();
        assert!(matches!(in_sync(&lab, &behind), Poll::NotYet(_)));
    }
}
