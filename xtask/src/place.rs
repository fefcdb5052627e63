//! Where programs run that ask the servers: on this host, or in the servers' own pods.

use std::time::Duration;

use crate::config::Lab;
use crate::coordination;
use crate::exec::Cmd;
use crate::k8s::kubectl::Kubectl;
use crate::local::jars::Jars;
use crate::local::service::file_url;
use crate::state::Setup;
use crate::tools::java::Java;

/// One of Kafka's own command-line tools, by the name it has on every backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// kafka-topics
    KafkaTopics,
    /// zookeeper-shell
    ZooKeeperShell,
}

/// Where a tool runs. A check is written once; this value is all that differs between backends.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this host, from the jars.
    Host {
        /// The Java runtime.
        java: std::path::PathBuf,
        /// The jars.
        class_path: String,
        /// Logging of the tools, as a URL.
        log4j: String,
        /// A bootstrap list for Kafka's tools.
        bootstrap: String,
        /// The coordinator's address.
        coordinator: String,
        /// How long a tool may take.
        deadline: Duration,
    },
    /// In the pods of broker 0 and the coordinator.
    Pod {
        /// kubectl against the lab's cluster.
        kubectl: Kubectl,
        /// Whether somebody types.
        interactive: bool,
        /// The coordinator's container, and its port in its pod.
        coordinator: (String, u16),
        /// Broker 0's port in its pod.
        broker_port: String,
        /// How long a tool may take.
        deadline: Duration,
    },
}

impl Place {
    /// This host, from the jars.
    pub fn host(lab: &Lab, jars: &Jars, java: &Java) -> Self {
        Place::Host {
            java: java.program.clone(),
            class_path: jars.class_path(),
            log4j: file_url(&jars.tools_log4j),
            bootstrap: lab.bootstrap(),
            coordinator: lab.coordinator_address(),
            deadline: lab.timeout(|t| t.tool),
        }
    }

    /// The servers' own pods.
    pub fn pods(lab: &Lab, setup: &Setup) -> Self {
        Place::Pod {
            kubectl: Kubectl::of(lab, setup),
            interactive: false,
            coordinator: (lab.facts.coordinator.container.clone(), lab.facts.coordinator.port()),
            broker_port: lab.facts.brokers.inner_address(0).rsplit(':').next().unwrap_or("9092").into(),
            deadline: lab.timeout(|t| t.tool),
        }
    }

    /// The same place, with somebody who types.
    pub fn typed(mut self) -> Self {
        if let Place::Pod { interactive, .. } = &mut self {
            *interactive = true;
        }
        self
    }

    /// The command that runs `tool` here; the server's address comes before `args`.
    pub fn tool<A: Into<std::ffi::OsString>>(&self, tool: Tool, args: impl IntoIterator<Item = A>) -> Cmd {
        let (java, class_path, log4j, bootstrap, coordinator, deadline) = match self {
            Place::Host { java, class_path, log4j, bootstrap, coordinator, deadline } => {
                (java, class_path, log4j, bootstrap, coordinator, deadline)
            }
            Place::Pod { kubectl, interactive, coordinator: (container, port), broker_port, deadline } => {
                let stdin = format!("--stdin={interactive}");
                // `localhost` is the pod's own: kubectl exec enters its network namespace.
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
