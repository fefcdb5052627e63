//! Kafka's command-line tools: their names, their classes in each version, and how they are told a server. Pure.

use std::ffi::OsString;

use crate::coordination::releases::Version;
use crate::failure::{Failure, Result};
use crate::words::listed;

/// How a tool is told which server to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// `--bootstrap-server`, before its other arguments.
    Bootstrap,
    /// `--bootstrap-server`, after the name of a subcommand.
    BootstrapLast,
    /// `-server`: ZooKeeper.
    Coordinator,
    /// It asks none.
    None,
}

/// One of Kafka's command-line tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name, as in Kafka's bin folder.
    pub name: &'static str,
    /// Its class in Kafka 3.3, 3.9 and 4.3; empty where the jars have none. KAFKA-14525 moved them.
    classes: [&'static str; 3],
    server: Server,
}

const fn tool(name: &'static str, classes: [&'static str; 3], server: Server) -> Tool {
    Tool { name, classes, server }
}

impl Tool {
    /// kafka-broker-api-versions, which asks every broker that is registered and unfenced.
    pub const BROKER_API_VERSIONS: Tool = tool(
        "kafka-broker-api-versions",
        [
            "kafka.admin.BrokerApiVersionsCommand",
            "kafka.admin.BrokerApiVersionsCommand",
            "org.apache.kafka.tools.BrokerApiVersionsCommand",
        ],
        Server::Bootstrap,
    );

    /// kafka-metadata-quorum.
    pub const METADATA_QUORUM: Tool = tool(
        "kafka-metadata-quorum",
        [
            "kafka.admin.MetadataQuorumCommand",
            "org.apache.kafka.tools.MetadataQuorumCommand",
            "org.apache.kafka.tools.MetadataQuorumCommand",
        ],
        Server::Bootstrap,
    );

    /// kafka-storage, which formats the storage of KRaft servers.
    pub const STORAGE: Tool = tool(
        "kafka-storage",
        ["kafka.tools.StorageTool", "kafka.tools.StorageTool", "kafka.tools.StorageTool"],
        Server::None,
    );

    /// kafka-topics.
    pub const TOPICS: Tool = tool(
        "kafka-topics",
        ["kafka.admin.TopicCommand", "org.apache.kafka.tools.TopicCommand", "org.apache.kafka.tools.TopicCommand"],
        Server::Bootstrap,
    );

    /// zookeeper-shell.
    pub const ZOOKEEPER_SHELL: Tool = tool(
        "zookeeper-shell",
        [
            "org.apache.zookeeper.ZooKeeperMainWithTlsSupportForKafka",
            "org.apache.zookeeper.ZooKeeperMainWithTlsSupportForKafka",
            "",
        ],
        Server::Coordinator,
    );

    /// Returns its class in a version; `None` where there is none.
    pub fn class(self, version: Version) -> Option<&'static str> {
        let [old, last, new] = self.classes;
        let class = match version {
            Version::V3_3 => old,
            Version::V3_9 => last,
            Version::V4_3 => new,
        };
        (!class.is_empty()).then_some(class)
    }

    /// Whether it asks the coordinator, and not the brokers.
    pub fn asks_coordinator(self) -> bool {
        self.server == Server::Coordinator
    }

    /// Whether the address comes after the other arguments.
    pub fn server_is_last(self) -> bool {
        self.server == Server::BootstrapLast
    }

    /// Returns the flag that names the server; `None` if it asks none.
    pub fn server_flag(self) -> Option<&'static str> {
        match self.server {
            Server::Bootstrap | Server::BootstrapLast => Some("--bootstrap-server"),
            Server::Coordinator => Some("-server"),
            Server::None => None,
        }
    }

    /// Checks the arguments for a flag of old courses.
    ///
    /// # Errors
    /// The tool no longer has it.
    pub fn still_has(self, args: &[OsString]) -> Result<()> {
        let old = args.iter().any(|arg| arg.to_string_lossy().starts_with("--zookeeper"));
        if self == Tool::TOPICS && old {
            let what = "kafka-topics has had no --zookeeper since Kafka 3.0; it asks the brokers";
            return Err(Failure::usage(what).fix("leave it out: the lab's own --bootstrap-server is filled in"));
        }
        Ok(())
    }

    /// Returns the server that a tool's arguments name.
    pub fn server(self, args: &[OsString]) -> Option<String> {
        let flags = [self.server_flag()?, "--bootstrap-controller"];
        let texts: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let names = |text: &String| flags.iter().any(|flag| text == flag || text.starts_with(&format!("{flag}=")));
        let place = texts.iter().position(names)?;
        let next = texts.get(place + 1).cloned().unwrap_or_default();
        Some(texts[place].split_once('=').map_or(next, |(_, value)| value.to_string()))
    }
}

/// The tools, by name.
const TOOLS: &[Tool] = &[
    tool(
        "kafka-acls",
        ["kafka.admin.AclCommand", "kafka.admin.AclCommand", "org.apache.kafka.tools.AclCommand"],
        Server::Bootstrap,
    ),
    Tool::BROKER_API_VERSIONS,
    tool(
        "kafka-client-metrics",
        ["", "org.apache.kafka.tools.ClientMetricsCommand", "org.apache.kafka.tools.ClientMetricsCommand"],
        Server::Bootstrap,
    ),
    tool(
        "kafka-cluster",
        ["kafka.tools.ClusterTool", "org.apache.kafka.tools.ClusterTool", "org.apache.kafka.tools.ClusterTool"],
        Server::BootstrapLast,
    ),
    tool(
        "kafka-configs",
        ["kafka.admin.ConfigCommand", "kafka.admin.ConfigCommand", "kafka.admin.ConfigCommand"],
        Server::Bootstrap,
    ),
    tool(
        "kafka-console-consumer",
        [
            "kafka.tools.ConsoleConsumer",
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
        ],
        Server::Bootstrap,
    ),
    tool(
        "kafka-console-producer",
        ["kafka.tools.ConsoleProducer", "kafka.tools.ConsoleProducer", "org.apache.kafka.tools.ConsoleProducer"],
        Server::Bootstrap,
    ),
    tool(
        "kafka-console-share-consumer",
        ["", "", "org.apache.kafka.tools.consumer.ConsoleShareConsumer"],
        Server::Bootstrap,
    ),
    tool(
        "kafka-consumer-groups",
        [
            "kafka.admin.ConsumerGroupCommand",
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        ],
        Server::Bootstrap,
    ),
    tool(
        "kafka-delete-records",
        [
            "kafka.admin.DeleteRecordsCommand",
            "org.apache.kafka.tools.DeleteRecordsCommand",
            "org.apache.kafka.tools.DeleteRecordsCommand",
        ],
        Server::Bootstrap,
    ),
    tool(
        "kafka-dump-log",
        ["kafka.tools.DumpLogSegments", "kafka.tools.DumpLogSegments", "org.apache.kafka.tools.DumpLogSegments"],
        Server::None,
    ),
    tool(
        "kafka-features",
        [
            "kafka.admin.FeatureCommand",
            "org.apache.kafka.tools.FeatureCommand",
            "org.apache.kafka.tools.FeatureCommand",
        ],
        Server::Bootstrap,
    ),
    tool(
        "kafka-get-offsets",
        [
            "kafka.tools.GetOffsetShell",
            "org.apache.kafka.tools.GetOffsetShell",
            "org.apache.kafka.tools.GetOffsetShell",
        ],
        Server::Bootstrap,
    ),
    tool("kafka-groups", ["", "", "org.apache.kafka.tools.GroupsCommand"], Server::Bootstrap),
    tool(
        "kafka-leader-election",
        [
            "kafka.admin.LeaderElectionCommand",
            "org.apache.kafka.tools.LeaderElectionCommand",
            "org.apache.kafka.tools.LeaderElectionCommand",
        ],
        Server::Bootstrap,
    ),
    tool(
        "kafka-log-dirs",
        [
            "kafka.admin.LogDirsCommand",
            "org.apache.kafka.tools.LogDirsCommand",
            "org.apache.kafka.tools.LogDirsCommand",
        ],
        Server::Bootstrap,
    ),
    Tool::METADATA_QUORUM,
    tool(
        "kafka-reassign-partitions",
        [
            "kafka.admin.ReassignPartitionsCommand",
            "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        ],
        Server::Bootstrap,
    ),
    tool("kafka-share-groups", ["", "", "org.apache.kafka.tools.consumer.group.ShareGroupCommand"], Server::Bootstrap),
    Tool::STORAGE,
    Tool::TOPICS,
    tool(
        "kafka-transactions",
        ["", "org.apache.kafka.tools.TransactionsCommand", "org.apache.kafka.tools.TransactionsCommand"],
        Server::Bootstrap,
    ),
    tool(
        "kafka-verifiable-consumer",
        ["", "org.apache.kafka.tools.VerifiableConsumer", "org.apache.kafka.tools.VerifiableConsumer"],
        Server::Bootstrap,
    ),
    tool(
        "kafka-verifiable-producer",
        ["", "org.apache.kafka.tools.VerifiableProducer", "org.apache.kafka.tools.VerifiableProducer"],
        Server::Bootstrap,
    ),
    Tool::ZOOKEEPER_SHELL,
];

/// Returns the tools of a version.
pub fn tools(version: Version) -> impl Iterator<Item = Tool> {
    TOOLS.iter().copied().filter(move |tool| tool.class(version).is_some())
}

/// Returns the tool of a version that `typed` names: in full, without `kafka-`, or by so many of its first letters that
/// no other tool has them.
///
/// # Errors
/// No tool or several have that name; the failure lists them.
pub fn find(typed: &str, version: Version) -> Result<Tool> {
    let typed = typed.trim_end_matches(".sh");
    let name =
        if typed.starts_with("kafka-") || typed.starts_with("zoo") { typed.into() } else { format!("kafka-{typed}") };
    if let Some(exact) = tools(version).find(|tool| tool.name == name) {
        return Ok(exact);
    }
    let found: Vec<Tool> = tools(version).filter(|tool| !typed.is_empty() && tool.name.starts_with(&name)).collect();
    let names = |tools: &[Tool]| listed(tools.iter().map(|tool| tool.name));
    match &found[..] {
        [one] => Ok(*one),
        [] => {
            let what = format!("{typed} is no tool of Kafka {version}");
            Err(Failure::usage(what).fix(format!("use one of {}", names(&tools(version).collect::<Vec<_>>()))))
        }
        several => Err(Failure::usage(format!("{typed} is short for several tools")).fix(names(several))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_by_its_name_and_by_what_is_enough_of_it() {
        let name = |typed: &str| find(typed, Version::V4_3).map(|tool| tool.name);
        for typed in ["kafka-metadata-quorum", "metadata-quorum", "kafka-metadata-quorum.sh", "meta"] {
            assert_eq!(name(typed).unwrap(), "kafka-metadata-quorum");
        }
        assert_eq!(name("topics").unwrap(), "kafka-topics");
        let several = name("console").unwrap_err();
        let fix = several.fix.unwrap();
        assert_eq!(fix, "kafka-console-consumer, kafka-console-producer, kafka-console-share-consumer");
        for typed in ["", "topicz", "kafka", "zookeeper-shell"] {
            let failure = name(typed).unwrap_err();
            assert!(typed == "kafka" || failure.message.contains("is no tool of Kafka 4.3.1"), "{typed}: {failure}");
        }
        assert_eq!(find("zoo", Version::V3_9).unwrap(), Tool::ZOOKEEPER_SHELL);
    }

    #[test]
    fn names_are_unique_and_in_order_and_a_new_version_keeps_kafkas_own() {
        assert!(TOOLS.is_sorted_by(|one, next| one.name < next.name));
        for tool in TOOLS.iter().filter(|tool| **tool != Tool::ZOOKEEPER_SHELL) {
            assert!(tool.class(Version::V4_3).is_some(), "{}", tool.name);
            assert!(tool.class(Version::V3_3).is_none() || tool.class(Version::V3_9).is_some(), "{}", tool.name);
        }
    }
}
