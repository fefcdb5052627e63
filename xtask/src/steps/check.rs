//! The checks of `verify` with Kafka's own tools. The manifests define what is expected.

use std::ffi::OsStr;

use crate::brokers;
use crate::config::Lab;
use crate::coordination;
use crate::exec::{Cmd, Output};
use crate::failure::{Exit, Failure, Result};
use crate::kafka_tools::{KafkaTools, Tool};
use crate::service::Service;
use crate::steps::{running_clients, serve};
use crate::task::{Alive, Ctx, Outcome, Task};
use crate::tools::kafka;
use crate::words::quoted;

/// A check with one of Kafka's tools.
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
    /// All checks, in the plan's order.
    pub const ALL: [ToolCheck; 4] =
        [ToolCheck::BrokerIds, ToolCheck::BrokerIdsData, ToolCheck::TopicList, ToolCheck::TopicShape];

    /// Returns the step's title.
    pub fn title(self) -> &'static str {
        match self {
            ToolCheck::BrokerIds => "ls /brokers/ids",
            ToolCheck::BrokerIdsData => "get /brokers/ids",
            ToolCheck::TopicList => "topic list",
            ToolCheck::TopicShape => "topic describe",
        }
    }

    /// Returns the tool, its arguments, and the expected answer.
    fn command(self, lab: &Lab) -> (Tool, Vec<String>, String) {
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
/// A fault if the answer is not the expected one or the tool fails.
pub fn tool(task: &Task<'_>, check: ToolCheck) -> Result<Outcome> {
    match check {
        ToolCheck::BrokerIds => broker_ids(task),
        ToolCheck::BrokerIdsData => broker_ids_data(task),
        ToolCheck::TopicList => topic_list(task),
        ToolCheck::TopicShape => topic_shape(task),
    }
}

/// Returns the preview of [`tool`].
pub fn preview_tool(check: ToolCheck, ctx: &Ctx<'_>) -> Vec<String> {
    let (tool, args, expected) = check.command(ctx.lab);
    vec![ctx.driver.kafka_tools(ctx).tool(tool, &args).to_string(), format!("# expected: {expected}")]
}

fn ask(task: &Task<'_>, check: ToolCheck) -> Result<(Output, Cmd, String)> {
    let lab = task.lab();
    let (tool, args, expected) = check.command(lab);
    // Without an answer, the shell would retry for half a minute, and a broker that is asked for a topic's settings,
    // which are in the coordinator, for a minute.
    if (tool == Tool::ZooKeeperShell || check == ToolCheck::TopicShape)
        && let Err(why) = task.ctx.driver.ask_coordinator(task)?
    {
        return Err(Failure::fault(format!("{} does not answer: {why}", coordination::NAME)).fix(lab.xtask("up")));
    }
    if tool == Tool::KafkaTopics {
        brokers::any(task)?;
        // The tool may choose a paused one, and would wait for it until its deadline.
        let paused = task.ctx.driver.paused(lab);
        if let Some(broker) = paused.into_iter().find(|server| matches!(server, Service::Broker(_))) {
            let what = format!("{} is paused: kafka-topics could wait for its answer", broker.name(lab));
            return Err(Failure::fault(what).fix(lab.xtask("up")));
        }
    }
    let tools = task.kafka_tools()?;
    let damaged = matches!(tools, KafkaTools::Host { .. }) && !task.ctx.jars.present();
    let cmd = tools.tool(tool, args);
    (task.status)("starting a JVM for the tool");
    let output = task.run(&cmd);
    // A tool that fails is a fault of the lab: other checks still run.
    let output =
        output.map_err(|failure| Failure { exit: Exit::Fault, ..failure }).map_err(|failure| match damaged {
            true => failure.fix(format!("a jar was changed in the cache: `{}` fetches it again", lab.xtask("up"))),
            false => failure,
        })?;
    Ok((output, cmd, expected))
}

/// Checks that the broker ids in ZooKeeper are those of the manifests.
fn broker_ids(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, expected) = ask(task, ToolCheck::BrokerIds)?;
    let mut ids: Vec<u32> = coordination::parse_ls(&output.stdout)
        .unwrap_or_default()
        .iter()
        .filter_map(|child| child.parse().ok())
        .collect();
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

/// Checks that the parent node holds no data.
fn broker_ids_data(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, expected) = ask(task, ToolCheck::BrokerIdsData)?;
    match coordination::parse_get(&output.stdout) {
        Some(found) if found == expected => Ok(Outcome::passed("null: the node has children but no data")),
        found => Err(Failure::fault(format!("answered {}, expected {expected}", found.unwrap_or("nothing")))
            .command(cmd)
            .output(&output.stdout)
            .log(&task.log)),
    }
}

/// Checks that the topic exists.
fn topic_list(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, expected) = ask(task, ToolCheck::TopicList)?;
    let topics: Vec<&str> = output.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if topics.contains(&expected.as_str()) {
        return Ok(Outcome::passed(topics.join(", ")));
    }
    Err(Failure::fault(format!("topic {expected} is missing; topics: {}", topics.join(", ")))
        .command(cmd)
        .log(&task.log)
        .fix(format!("`{}` sends the message that creates it", task.lab().xtask("up"))))
}

/// Checks that the topic has the partitions and replicas of the manifests, that every partition has a leader, and that
/// every replica is in sync.
fn topic_shape(task: &Task<'_>) -> Result<Outcome> {
    let (output, cmd, _) = ask(task, ToolCheck::TopicShape)?;
    let brokers = &task.lab().facts.brokers;
    let Some(topic) = kafka::parse_describe(&output.stdout, &task.lab().facts.topic) else {
        return Err(Failure::fault("kafka-topics does not describe the topic")
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
        // Running clients would count the deleted messages as lost. And librdkafka 2.12 ignores a topic with lower
        // leader epochs as stale (rdkafka_topic.c), so they could stall.
        format!(
            "an existing topic is never altered automatically: run `{}`, `{}`, then `{}`; its messages are deleted",
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

/// Checks that a service runs and is ready, and that a client makes progress.
///
/// # Errors
/// A fault if it is gone, not ready, or stalled.
pub fn healthy(task: &Task<'_>, service: Service) -> Result<Outcome> {
    let lab = task.lab();
    let Some(Alive { name, mut proof }) = task.ctx.driver.healthy(task, service)? else {
        return Ok(Outcome::skipped(format!("not started; `{}` starts it", lab.xtask("clients start"))));
    };
    if let Service::Client(index, _) = service {
        let deployment = lab.facts.clients.get(index).map_or("", |client| client.name.as_str());
        proof += &format!("; {}", running_clients::progress(task, deployment, &name)?);
    }
    Ok(Outcome::passed(proof))
}
