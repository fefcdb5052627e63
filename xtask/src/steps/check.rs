//! The checks of `verify`, with the real tools. What is expected comes from the manifests.

use std::ffi::OsStr;

use crate::backend::Backend;
use crate::config::Lab;
use crate::exec::{Output, quoted};
use crate::failure::{Exit, Failure, Result};
use crate::local::jars::Jars;
use crate::local::ports;
use crate::local::process::{Life, Memory, Started};
use crate::local::service::Service;
use crate::state::Setup;
use crate::steps::{rolled_out, serve, workload};
use crate::system::now_ms;
use crate::task::{Outcome, Task};
use crate::tools::java::Java;
use crate::tools::kafka::{self, Place, Tool};
use crate::tools::kubectl::Kubectl;
use crate::tools::{docker, zookeeper};

/// A check with one of Kafka's own tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolCheck {
    /// `zookeeper-shell ls /brokers/ids`.
    BrokerIds,
    /// `zookeeper-shell get /brokers/ids`.
    BrokerIdsData,
    /// `kafka-topics --list`.
    TopicList,
    /// `kafka-topics --describe`.
    TopicShape,
}

impl ToolCheck {
    /// All of them.
    pub const ALL: [ToolCheck; 4] =
        [ToolCheck::BrokerIds, ToolCheck::BrokerIdsData, ToolCheck::TopicList, ToolCheck::TopicShape];

    /// Its name in lists, events and log files.
    pub fn title(self) -> &'static str {
        match self {
            ToolCheck::BrokerIds => "ls /brokers/ids",
            ToolCheck::BrokerIdsData => "get /brokers/ids",
            ToolCheck::TopicList => "topic list",
            ToolCheck::TopicShape => "topic describe",
        }
    }

    /// Tool, arguments, and what should come.
    fn spelled(self, lab: &Lab) -> (Tool, Vec<String>, String) {
        let brokers = &lab.facts.brokers;
        let args = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        match self {
            ToolCheck::BrokerIds => {
                let ids: Vec<String> = lab.broker_ids().map(|id| id.to_string()).collect();
                (Tool::ZooKeeperShell, args(&["ls", "/brokers/ids"]), format!("[{}]", ids.join(", ")))
            }
            ToolCheck::BrokerIdsData => (Tool::ZooKeeperShell, args(&["get", "/brokers/ids"]), "null".into()),
            ToolCheck::TopicList => (Tool::KafkaTopics, args(&["--list"]), lab.facts.topic.clone()),
            ToolCheck::TopicShape => (
                Tool::KafkaTopics,
                args(&["--describe", "--topic", &kafka::only(&lab.facts.topic)]),
                format!("{} partitions × {} replicas, all in the ISR", brokers.partitions, brokers.replication_factor),
            ),
        }
    }
}

/// Runs a check.
///
/// # Errors
/// A fault when what comes is not what should, or when the tool fails.
pub fn tool(task: &Task<'_>, check: ToolCheck) -> Result<Outcome> {
    match check {
        ToolCheck::BrokerIds => broker_ids(task),
        ToolCheck::BrokerIdsData => broker_ids_data(task),
        ToolCheck::TopicList => topic_list(task),
        ToolCheck::TopicShape => topic_shape(task),
    }
}

/// What a tool check would run.
pub fn preview_tool(check: ToolCheck, lab: &Lab, jars: &Jars, java: Option<&Java>, setup: &Setup) -> Vec<String> {
    let (tool, args, expected) = check.spelled(lab);
    vec![Place::of(lab, jars, java, Some(setup)).tool(tool, &args).to_string(), format!("# expected: {expected}")]
}

/// What [`healthy`] looks at.
pub fn preview_healthy(lab: &Lab, setup: &Setup, service: Service) -> Vec<String> {
    vec![match lab.backend {
        Backend::Kind => Kubectl::of(lab, setup).workloads().to_string(),
        Backend::Local => format!("# {} of {} runs", service.name(lab), service.record(lab).display()),
    }]
}

/// What `lab is up` looks at.
pub fn preview_lab_is_up(lab: &Lab) -> Vec<String> {
    vec![match lab.backend {
        Backend::Kind => docker::nodes(lab.cluster()).to_string(),
        Backend::Local => "# a process of this lab runs".into(),
    }]
}

fn ask(task: &Task<'_>, check: ToolCheck) -> Result<(Output, crate::exec::Cmd, String)> {
    let lab = task.lab();
    let (tool, args, expected) = check.spelled(lab);
    // zookeeper-shell would try for half a minute where nothing listens.
    if lab.backend == Backend::Local
        && tool == Tool::ZooKeeperShell
        && let Err(error) = zookeeper::four_letter_word(lab.ports.zookeeper, "srvr")
    {
        return Err(Failure::fault(format!("ZooKeeper at {} does not answer: {error}", lab.zookeeper_address()))
            .fix(lab.xtask("up")));
    }
    let cmd = task.place()?.tool(tool, args);
    (task.status)("starting a JVM for the tool");
    let output = task.run(&cmd);
    // What the tool could not do the lab did not let it do: other checks still look.
    let output = output.map_err(|failure| Failure { exit: Exit::Fault, ..failure })?;
    Ok((output, cmd, expected))
}

/// The broker ids in ZooKeeper are those of the manifests.
fn broker_ids(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, expected) = ask(task, ToolCheck::BrokerIds)?;
    let mut ids: Vec<u32> =
        zookeeper::parse_ls(&output.stdout).unwrap_or_default().iter().filter_map(|child| child.parse().ok()).collect();
    ids.sort_unstable();
    let found = format!("{ids:?}");
    if ids.iter().copied().eq(task.lab().broker_ids()) {
        return Ok(Outcome::passed(found));
    }
    Err(Failure::fault(format!("registered: {found}, expected {expected}"))
        .command(cmd)
        .output(&output.stdout)
        .log(&task.log)
        .fix(format!("{} restarts what died", task.lab().xtask("up"))))
}

/// The parent node holds no data.
fn broker_ids_data(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, expected) = ask(task, ToolCheck::BrokerIdsData)?;
    match zookeeper::parse_get(&output.stdout) {
        Some(found) if found == expected => Ok(Outcome::passed("null: the node has children but no data")),
        found => Err(Failure::fault(format!("answered {found:?}, expected {expected}"))
            .command(cmd)
            .output(&output.stdout)
            .log(&task.log)),
    }
}

/// The topic is there.
fn topic_list(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, expected) = ask(task, ToolCheck::TopicList)?;
    let topics: Vec<&str> = output.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if topics.contains(&expected.as_str()) {
        return Ok(Outcome::passed(topics.join(", ")));
    }
    Err(Failure::fault(format!("topics: {}; {expected} is not there", topics.join(", ")))
        .command(cmd)
        .log(&task.log)
        .fix(format!("{}, which sends the message that creates it", task.lab().xtask("up"))))
}

/// The topic has the shape of the manifests, a leader everywhere and every replica in sync.
fn topic_shape(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, _) = ask(task, ToolCheck::TopicShape)?;
    let brokers = &task.lab().facts.brokers;
    let Some(topic) = kafka::parse_describe(&output.stdout, &task.lab().facts.topic) else {
        return Err(Failure::fault("kafka-topics describes no such topic")
            .command(cmd)
            .output(&output.stdout)
            .log(&task.log));
    };
    let faults = kafka::topic_faults(&topic, brokers.partitions, brokers.replication_factor);
    if faults.is_empty() {
        let leaders: Vec<String> = topic.partitions.iter().filter_map(|p| p.leader).map(|id| id.to_string()).collect();
        return Ok(Outcome::passed(format!(
            "PartitionCount {}, ReplicationFactor {}, leaders {}, every ISR full",
            topic.partition_count,
            topic.replication_factor,
            leaders.join(" ")
        )));
    }
    let lab = task.lab();
    let only = quoted(OsStr::new(&kafka::only(&topic.name)));
    let highest = topic.partitions.iter().flat_map(|partition| &partition.replicas).max();
    let fix = if let Some(gone) = highest.filter(|id| **id >= brokers.count) {
        serve::restore(lab, *gone)
    } else if topic.partition_count < brokers.partitions {
        let alter = format!("kafka-topics -- --alter --topic {only} --partitions {}", brokers.partitions);
        lab.xtask(&alter)
    } else if topic.partition_count > brokers.partitions || topic.replication_factor != brokers.replication_factor {
        // Clients that run would count what goes as lost. And librdkafka 2.12 takes a topic with lower leader epochs for an old
        // answer (rdkafka_topic.c), so they could stand still.
        format!(
            "an existing topic is never altered behind your back: `{}`, `{}`, then `{}`; its messages go",
            lab.xtask("clients stop"),
            lab.xtask(&format!("kafka-topics -- --delete --topic {only}")),
            lab.xtask("up")
        )
    } else {
        format!("wait until the replicas have caught up, or `{}`, which restarts dead brokers", lab.xtask("up"))
    };
    Err(Failure::fault(format!("topic {}: {}", topic.name, faults.join("; ")))
        .command(cmd)
        .output(&output.stdout)
        .log(&task.log)
        .fix(fix))
}

/// Whether anything of this lab runs.
///
/// # Errors
/// Nothing does: exit code 6.
pub fn lab_is_up(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let servers = Service::servers(lab);
    let living = servers.iter().filter(|service| service.living(lab).is_some()).count();
    if living == 0 {
        let what = format!("lab {} is recorded, but none of its processes runs", lab.name);
        return Err(Failure::new(Exit::Nothing, what).fix(lab.xtask("up")));
    }
    let name = &lab.name;
    Ok(Outcome::passed(format!("lab {name}, backend local, {living} of {} server processes", servers.len())))
}

/// A process runs, when it should.
///
/// # Errors
/// A fault when it is gone or paused.
pub fn healthy(task: &Task<'_>, service: Service) -> Result<Outcome> {
    let lab = task.lab();
    if lab.backend == Backend::Kind {
        let (app, place) = match service {
            Service::ZooKeeper => ("zookeeper", 0),
            Service::Broker(_) => ("kafka", usize::MAX),
            Service::Client(index, replica) => {
                (lab.facts.clients.get(index).map_or("", |client| client.name.as_str()), replica as usize)
            }
        };
        let Some(pod) = workload::healthy(task, &service.name(lab), app, place)? else { return Ok(not_started(lab)) };
        let restarts = if pod.restarts > 0 { format!(", {} restarts", pod.restarts) } else { String::new() };
        let mut outcome = Outcome::passed(format!("{} on {}, ready{restarts}", pod.name, pod.node));
        if let Service::Client(..) = service {
            outcome.proof += &format!("; {}", rolled_out::goes_on(task, app, &pod.name)?);
        }
        return Ok(outcome);
    }
    let record = Started::read(&service.record(lab));
    let Some(identity) = service.living(lab) else {
        if !service.record(lab).exists() && matches!(service, Service::Client(..)) {
            return Ok(not_started(lab));
        }
        let log = if service.log(lab).exists() { service.log(lab) } else { service.out(lab) };
        return Err(Failure::fault(format!("{} is not running", service.name(lab)))
            .with_log_tail(&log)
            .fix(lab.xtask("up")));
    };
    if identity.life() == Life::Paused {
        let what = format!("{} (pid {}) is paused (SIGSTOP)", service.name(lab), identity.pid);
        return Err(Failure::fault(what).fix(format!("kill -CONT {}, or {}", identity.pid, lab.xtask("up"))));
    }
    if let Some(port) = service.port(lab)
        && ports::is_free(port)
    {
        let what =
            format!("{} (pid {}) runs, but nothing listens on 127.0.0.1:{port}", service.name(lab), identity.pid);
        return Err(Failure::fault(what).fix(lab.xtask("up")));
    }
    let age = record.map(|record| now_ms().saturating_sub(record.started_ms) / 1000);
    let mut proof = format!("pid {}", identity.pid);
    if let Some(port) = service.port(lab) {
        proof += &format!(", 127.0.0.1:{port}");
    }
    if let Some(age) = age {
        proof += &format!(", up {}", duration(age));
    }
    if let Some(kib) = identity.memory_kib(Memory::Resident) {
        proof += &format!(", {} MiB resident", kib / 1024);
    }
    if let Service::Client(index, _) = service {
        let deployment = lab.facts.clients.get(index).map_or("", |client| client.name.as_str());
        proof += &format!("; {}", rolled_out::goes_on(task, deployment, &service.name(lab))?);
    }
    Ok(Outcome::passed(proof))
}

fn not_started(lab: &Lab) -> Outcome {
    Outcome::skipped(format!("not started; `{}` does", lab.xtask("clients start")))
}

fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
