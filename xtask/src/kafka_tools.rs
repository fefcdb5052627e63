//! Kafka's command-line tools, and where they run: on this host, or in the servers' pods.

use std::time::Duration;

use crate::config::Lab;
use crate::coordination;
use crate::exec::Cmd;
use crate::k8s::kubectl::Kubectl;
use crate::local::jars::Jars;
use crate::local::service::file_url;
use crate::state::Toolchain;
use crate::tools::java::Java;

/// One of Kafka's command-line tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// kafka-topics
    KafkaTopics,
    /// zookeeper-shell
    ZooKeeperShell,
}

/// Where Kafka's tools run. This value is all that a check's command differs in between backends.
#[derive(Clone, Debug)]
pub enum KafkaTools {
    /// On this host, from the jars.
    Host {
        /// The Java runtime.
        java: std::path::PathBuf,
        /// The jars, as a class path.
        class_path: String,
        /// URL of the tools' log4j configuration.
        log4j: String,
        /// A bootstrap list for Kafka's tools.
        bootstrap: String,
        /// The coordinator's address.
        coordinator: String,
        /// Limit for one run of a tool.
        deadline: Duration,
    },
    /// In the pods of broker 0 and the coordinator.
    Pod {
        /// kubectl against the lab's cluster.
        kubectl: Kubectl,
        /// Whether standard input is passed on, for a user who types.
        interactive: bool,
        /// The coordinator's container, and its port in its pod.
        coordinator: (String, u16),
        /// Broker 0's port in its pod.
        broker_port: String,
        /// Limit for one run of a tool.
        deadline: Duration,
    },
}

impl KafkaTools {
    /// The tools on this host, from the jars.
    pub fn host(lab: &Lab, jars: &Jars, java: &Java) -> Self {
        KafkaTools::Host {
            java: java.program.clone(),
            class_path: jars.class_path(),
            log4j: file_url(&jars.tools_log4j),
            bootstrap: lab.bootstrap(),
            coordinator: lab.coordinator_address(),
            deadline: lab.timeout(|t| t.tool),
        }
    }

    /// The tools in the servers' pods.
    pub fn pods(lab: &Lab, setup: &Toolchain) -> Self {
        KafkaTools::Pod {
            kubectl: Kubectl::of(lab, setup),
            interactive: false,
            coordinator: (lab.facts.coordinator.container.clone(), lab.facts.coordinator.port()),
            broker_port: lab.facts.brokers.inner_address(0).rsplit(':').next().unwrap_or("9092").into(),
            deadline: lab.timeout(|t| t.tool),
        }
    }

    /// Passes standard input on, for a user who types.
    pub fn interactive(mut self) -> Self {
        if let KafkaTools::Pod { interactive, .. } = &mut self {
            *interactive = true;
        }
        self
    }

    /// Returns the command that runs `tool`. The server's address precedes `args`.
    pub fn tool<A: Into<std::ffi::OsString>>(&self, tool: Tool, args: impl IntoIterator<Item = A>) -> Cmd {
        let (java, class_path, log4j, bootstrap, coordinator, deadline) = match self {
            KafkaTools::Host { java, class_path, log4j, bootstrap, coordinator, deadline } => {
                (java, class_path, log4j, bootstrap, coordinator, deadline)
            }
            KafkaTools::Pod { kubectl, interactive, coordinator: (container, port), broker_port, deadline } => {
                let stdin = format!("--stdin={interactive}");
                // `localhost` is the pod: kubectl exec enters its network namespace.
                let words: [String; 7] = match tool {
                    Tool::KafkaTopics => {
                        let server = format!("localhost:{broker_port}");
                        ["exec", &stdin, "kafka-0", "--", "kafka-topics", "--bootstrap-server", &server].map(Into::into)
                    }
                    Tool::ZooKeeperShell => {
                        let (container, server) = (format!("--container={container}"), format!("localhost:{port}"));
                        ["exec", &stdin, coordination::POD, &container, "--", "zookeeper-shell", &server]
                            .map(Into::into)
                    }
                };
                return kubectl.cmd(*deadline, words).args(args);
            }
        };
        let (class, flag, server) = match tool {
            Tool::KafkaTopics => ("kafka.admin.TopicCommand", "--bootstrap-server", bootstrap),
            Tool::ZooKeeperShell => {
                ("org.apache.zookeeper.ZooKeeperMainWithTlsSupportForKafka", "-server", coordinator)
            }
        };
        Cmd::new(java, *deadline)
            .env("LC_ALL", "C.UTF-8")
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .args([format!("-Dlog4j.configuration={log4j}"), "-cp".into(), class_path.clone(), class.into()])
            .args([flag, server])
            .args(args)
    }
}
