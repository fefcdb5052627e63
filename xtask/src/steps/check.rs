//! The checks of `verify` with Kafka's own tools. The manifests define what is expected.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use crate::brokers;
use crate::config::Lab;
use crate::coordination::kraft::{self, Row, Status};
use crate::coordination::{self, Membership, Mode};
use crate::exec::{Cmd, Output};
use crate::failure::{Exit, Failure, Result};
use crate::kafka_tools::{KafkaTools, Tool};
use crate::service::Service;
use crate::steps::{running_clients, serve};
use crate::task::{Alive, Ctx, Outcome, Task};
use crate::tools::kafka;
use crate::words::{listed, quoted};

/// A check with one of Kafka's tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolCheck {
    /// `zookeeper-shell ls /brokers/ids`.
    BrokerIds,
    /// `zookeeper-shell get /brokers/ids`.
    BrokerIdsData,
    /// `kafka-metadata-quorum describe --status`.
    QuorumStatus,
    /// `kafka-metadata-quorum describe --replication`.
    QuorumReplication,
    /// The brokers that are registered and unfenced, asked without a JVM.
    Unfenced,
    /// `kafka-topics --list`.
    TopicList,
    /// `kafka-topics --describe`.
    TopicShape,
}

impl ToolCheck {
    /// Returns the checks of a mode, in the plan's order.
    pub fn of(mode: Mode) -> &'static [ToolCheck] {
        use ToolCheck::{BrokerIds, BrokerIdsData, QuorumReplication, QuorumStatus, TopicList, TopicShape, Unfenced};
        match mode {
            Mode::KRaft => &[QuorumStatus, QuorumReplication, Unfenced, TopicList, TopicShape],
            _ => &[BrokerIds, BrokerIdsData, TopicList, TopicShape],
        }
    }

    /// Returns the step's title.
    pub fn title(self) -> &'static str {
        match self {
            ToolCheck::BrokerIds => "ls /brokers/ids",
            ToolCheck::BrokerIdsData => "get /brokers/ids",
            ToolCheck::QuorumStatus => "quorum status",
            ToolCheck::QuorumReplication => "quorum replication",
            ToolCheck::Unfenced => "unfenced brokers",
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
                (Tool::ZOOKEEPER_SHELL, args(&["ls", "/brokers/ids"]), format!("[{}]", ids.join(", ")))
            }
            ToolCheck::BrokerIdsData => (Tool::ZOOKEEPER_SHELL, args(&["get", "/brokers/ids"]), "null".into()),
            ToolCheck::QuorumStatus => {
                let expected = format!("one leader, voters {}, brokers {}", voters(lab), listed(lab.broker_ids()));
                (Tool::METADATA_QUORUM, args(&["describe", "--status"]), expected)
            }
            ToolCheck::QuorumReplication => {
                let expected = format!("nobody lacks more than {LAG_MAX} records");
                (Tool::METADATA_QUORUM, args(&["describe", "--replication"]), expected)
            }
            // What a user would type; the check asks a broker itself.
            ToolCheck::Unfenced => {
                (Tool::BROKER_API_VERSIONS, Vec::new(), format!("brokers {}", listed(lab.broker_ids())))
            }
            ToolCheck::TopicList => (Tool::TOPICS, args(&["--list"]), lab.facts.topic.clone()),
            ToolCheck::TopicShape => (
                Tool::TOPICS,
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
        ToolCheck::QuorumStatus => quorum_status(task),
        ToolCheck::QuorumReplication => quorum_replication(task),
        ToolCheck::Unfenced => unfenced(task),
        ToolCheck::TopicList => topic_list(task),
        ToolCheck::TopicShape => topic_shape(task),
    }
}

/// Returns the preview of [`tool`].
pub fn preview_tool(check: ToolCheck, ctx: &Ctx<'_>) -> Vec<String> {
    let (tool, args, expected) = check.command(ctx.lab);
    if check == ToolCheck::Unfenced {
        return vec![format!("# ask a broker which are registered and unfenced; expected: {expected}")];
    }
    vec![ctx.driver.kafka_tools(ctx).tool(tool, &args).to_string(), format!("# expected: {expected}")]
}

fn ask(task: &Task<'_>, check: ToolCheck) -> Result<(Output, Cmd, String)> {
    let lab = task.lab();
    let (tool, args, expected) = check.command(lab);
    // Without an answer, the shell would retry for half a minute, and a broker that is asked for a topic's settings,
    // which are in the coordinator, for a minute.
    if tool.asks_coordinator() || tool == Tool::METADATA_QUORUM || check == ToolCheck::TopicShape {
        membership(task)?;
    }
    if !tool.asks_coordinator() {
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

/// Returns what the coordinator says of the brokers; a fault if it does not answer.
fn membership(task: &Task<'_>) -> Result<Membership> {
    let lab = task.lab();
    task.membership()?.map_err(|why| {
        Failure::fault(format!("{} does not answer: {why}", lab.release.mode.noun())).fix(lab.xtask("up"))
    })
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
    Err(server_died(task, format!("registered: {found}, expected {expected}"), cmd, &output))
}

/// The fault of a tool's answer which shows that a server died.
fn server_died(task: &Task<'_>, what: String, cmd: Cmd, output: &Output) -> Failure {
    Failure::fault(what).command(cmd).output(&output.stdout).log(&task.log).fix(restarts(task.lab()))
}

/// The fix for a server that died.
fn restarts(lab: &Lab) -> String {
    format!("{} restarts what died", lab.xtask("up"))
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

/// How many records a replica of the metadata may lack. While nothing changes, the leader writes two a second, so that
/// followers see that it lives.
const LAG_MAX: u64 = 100;

/// The voters' node ids, as text.
fn voters(lab: &Lab) -> String {
    listed(lab.facts.coordinator.quorum.iter().flat_map(|quorum| &quorum.voters))
}

/// Checks that one controller leads, that the voters are those of the manifest, and that every broker follows.
fn quorum_status(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let (output, cmd, expected) = ask(task, ToolCheck::QuorumStatus)?;
    let faults = match kraft::parse_status(&output.stdout) {
        None => vec!["the answer cannot be read".to_string()],
        Some(status) => match status_faults(lab, &status) {
            faults if faults.is_empty() => {
                return Ok(Outcome::passed(format!(
                    "controller {} leads in epoch {}, voters {}, max lag {} records",
                    status.leader,
                    status.epoch,
                    listed(status.voters),
                    status.max_lag
                )));
            }
            faults => faults,
        },
    };
    Err(server_died(task, format!("{}; expected: {expected}", faults.join("; ")), cmd, &output))
}

/// Returns what is wrong with a quorum.
fn status_faults(lab: &Lab, status: &Status) -> Vec<String> {
    let voters: BTreeSet<u32> =
        lab.facts.coordinator.quorum.iter().flat_map(|quorum| &quorum.voters).copied().collect();
    // Brokers that vote do not observe.
    let observers: BTreeSet<u32> = lab.broker_ids().filter(|id| !voters.contains(id)).collect();
    let mut faults = Vec::new();
    if status.voters != voters {
        faults.push(format!("the voters are {}", listed(&status.voters)));
    }
    if !status.voters.contains(&status.leader) {
        faults.push(format!("{} leads, which is no voter", status.leader));
    }
    let missing: Vec<&u32> = observers.difference(&status.observers).collect();
    if !missing.is_empty() {
        faults.push(format!("broker {} does not follow the controllers", listed(missing)));
    }
    if status.max_lag > LAG_MAX {
        let lag = format!("{} records for {} ms", status.max_lag, status.max_lag_ms);
        faults.push(format!("a follower lacks {lag}"));
    }
    faults
}

/// Checks that no voter and no broker lacks much of the metadata.
fn quorum_replication(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let (output, cmd, expected) = ask(task, ToolCheck::QuorumReplication)?;
    let faults = match kraft::parse_replication(&output.stdout) {
        None => vec!["the answer cannot be read".to_string()],
        Some(rows) => match replication_faults(lab, &rows) {
            faults if faults.is_empty() => {
                let lag = rows.iter().map(|row| row.lag).max().unwrap_or_default();
                return Ok(Outcome::passed(format!("{} nodes have the metadata, max lag {lag} records", rows.len())));
            }
            faults => faults,
        },
    };
    Err(server_died(task, format!("{}; expected: {expected}", faults.join("; ")), cmd, &output))
}

/// Returns what is wrong with the replicas of the metadata.
fn replication_faults(lab: &Lab, rows: &[Row]) -> Vec<String> {
    let voters = lab.facts.coordinator.quorum.iter().flat_map(|quorum| quorum.voters.iter().copied());
    let wanted: BTreeSet<u32> = voters.chain(lab.broker_ids()).collect();
    let found: BTreeSet<u32> = rows.iter().map(|row| row.id).collect();
    let leaders = rows.iter().filter(|row| row.status == "Leader").count();
    let mut faults = Vec::new();
    if leaders != 1 {
        faults.push(format!("{leaders} nodes lead"));
    }
    let missing: Vec<&u32> = wanted.difference(&found).collect();
    if !missing.is_empty() {
        faults.push(format!("node {} is not there", listed(missing)));
    }
    let behind = rows.iter().filter(|row| row.lag > LAG_MAX && wanted.contains(&row.id));
    faults.extend(behind.map(|row| format!("node {} lacks {} records", row.id, row.lag)));
    faults
}

/// Checks that the brokers which are registered and unfenced are those of the manifest. One that is paused or cut off
/// still is for a while, so each must also be in touch.
fn unfenced(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let found = membership(task)?;
    if found.registered.iter().copied().eq(lab.broker_ids()) && found.in_touch == found.registered {
        return Ok(Outcome::passed(format!("brokers {} are registered and unfenced", listed(found.registered))));
    }
    let (registered, in_touch) = (listed(found.registered), listed(found.in_touch));
    let what = format!("registered and unfenced: {registered}, of these in touch: {in_touch}; expected: all");
    Err(Failure::fault(what).fix(restarts(lab)))
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
