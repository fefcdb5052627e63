//! Kafka's command-line tools, and where they run: on this host, or in the servers' pods.

pub mod catalogue;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use crate::config::Lab;
use crate::coordination;
use crate::coordination::releases::Version;
use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::k8s::kubectl::Kubectl;
use crate::local::jars::Jars;
use crate::local::ports;
use crate::local::service::file_url;
use crate::state::Toolchain;
use crate::tools::java::Java;
pub use catalogue::Tool;

/// Where Kafka's tools run. This value is all that a check's command differs in between backends.
#[derive(Clone, Debug)]
pub enum KafkaTools {
    /// On this host, from the jars.
    Host {
        /// The Java runtime.
        java: std::path::PathBuf,
        /// The jars, as a class path.
        class_path: String,
        /// The system property that names the tools' logging configuration.
        log4j: String,
        /// The version of the jars.
        version: Version,
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
        /// The broker's variables that a tool in its pod must not have.
        unset: Vec<&'static str>,
        /// Limit for one run of a tool.
        deadline: Duration,
    },
}

/// Returns the variables of a broker that are for one JVM only: an agent, or a JMX port. `kubectl exec` passes them on.
fn brokers_own(env: &BTreeMap<String, String>) -> Vec<&'static str> {
    let agent =
        |value: &String| ["-javaagent", "-agentlib", "-agentpath", "jmxremote"].iter().any(|word| value.contains(word));
    let own = |name: &&str| env.get(*name).is_some_and(|value| name.contains("JMX") || agent(value));
    ["KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JMX_PORT", "JMX_PORT"].into_iter().filter(own).collect()
}

impl KafkaTools {
    /// The tools on this host, from the jars.
    pub fn host(lab: &Lab, jars: &Jars, java: &Java) -> Self {
        KafkaTools::Host {
            java: java.program.clone(),
            class_path: jars.class_path(),
            log4j: format!("-D{}={}", jars.log4j_option, file_url(&jars.tools_log4j)),
            version: lab.release.version,
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
            unset: brokers_own(&lab.facts.brokers.env),
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

    /// Checks the arguments that a user typed for what cannot be meant: old courses name servers that this lab has not.
    ///
    /// # Errors
    /// A flag that the tool no longer has, or a server on this host at a port on which nothing listens.
    pub fn check(&self, tool: Tool, args: &[OsString]) -> Result<()> {
        tool.still_has(args)?;
        let (KafkaTools::Host { bootstrap, coordinator, .. }, Some(server)) = (self, tool.server(args)) else {
            return Ok(());
        };
        let local = |address: &str| {
            let (host, port) = address.rsplit_once(':')?;
            ["localhost", "127.0.0.1"].contains(&host).then_some(port.parse::<u16>().ok()?)
        };
        let dead = server.split(',').all(|address| local(address).is_some_and(ports::refuses));
        if !dead {
            return Ok(());
        }
        let ours = if tool.asks_coordinator() { coordinator } else { bootstrap };
        let flag = tool.server_flag().unwrap_or_default();
        Err(Failure::usage(format!("nothing listens at {server}; this lab is at {ours}"))
            .fix(format!("leave {flag} out: the lab's own is filled in")))
    }

    /// Returns the command that runs `tool`. The server's address is added to `args`, unless they name another one.
    pub fn tool<A: Into<OsString>>(&self, tool: Tool, args: impl IntoIterator<Item = A>) -> Cmd {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let with_server = |address: &str| {
            let flag = tool.server_flag().filter(|_| tool.server(&args).is_none());
            let server = flag.into_iter().flat_map(|flag| [flag.into(), address.into()]).collect::<Vec<OsString>>();
            let args = args.clone();
            if tool.server_is_last() { [args, server].concat() } else { [server, args].concat() }
        };
        match self {
            KafkaTools::Host { java, class_path, log4j, version, bootstrap, coordinator, deadline } => {
                let server = if tool.asks_coordinator() { coordinator } else { bootstrap };
                Cmd::new(java, *deadline)
                    .env("LC_ALL", "C.UTF-8")
                    .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
                    .args([log4j, "-cp", class_path, tool.class(*version).unwrap_or(tool.name)])
                    .args(with_server(server))
            }
            KafkaTools::Pod { kubectl, interactive, coordinator: (container, port), broker_port, unset, deadline } => {
                let exec = ["exec".to_string(), format!("--stdin={interactive}")];
                // `localhost` is the pod: kubectl exec enters its network namespace.
                if tool.asks_coordinator() {
                    let container = format!("--container={container}");
                    // It has no flag for the address here, which comes first.
                    let address = format!("localhost:{port}");
                    let words = [coordination::POD.into(), container, "--".into(), tool.name.into(), address];
                    return kubectl.cmd(*deadline, exec.into_iter().chain(words)).args(args);
                }
                let mut words = vec!["kafka-0".to_string(), "--".into()];
                if !unset.is_empty() {
                    words.push("env".into());
                    words.extend(unset.iter().flat_map(|name| ["-u".to_string(), name.to_string()]));
                }
                words.push(tool.name.into());
                let args = with_server(&format!("localhost:{broker_port}"));
                kubectl.cmd(*deadline, exec.into_iter().chain(words)).args(args)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;

    fn host() -> (Lab, KafkaTools) {
        let lab = sample::lab();
        let jars = Jars::describe(&lab.env, lab.release.version).unwrap();
        let tools = KafkaTools::host(&lab, &jars, &Java::unasked("java"));
        (lab, tools)
    }

    #[test]
    fn a_server_that_is_typed_replaces_the_labs_own() {
        let (lab, tools) = host();
        let line = |args: &[&str]| tools.tool(Tool::TOPICS, args).to_string();
        assert!(line(&["--list"]).ends_with(&format!("--bootstrap-server {} --list", lab.bootstrap())));
        for args in [&["--bootstrap-server", "far:9092", "--list"][..], &["--list", "--bootstrap-server=far:9092"]] {
            let line = line(args);
            assert!(line.contains("far:9092") && !line.contains(&lab.bootstrap()), "{line}");
            assert_eq!(line.matches("--bootstrap-server").count(), 1, "{line}");
        }
    }

    #[test]
    fn an_agent_of_the_broker_is_not_started_with_a_tool_in_its_pod() {
        let mut lab = sample::lab();
        let line = |lab: &Lab| KafkaTools::pods(lab, &sample::setup()).tool(Tool::TOPICS, ["--list"]).to_string();
        assert!(line(&lab).contains("kafka-0 -- kafka-topics --bootstrap-server"), "{}", line(&lab));
        lab.facts.brokers.env.insert("KAFKA_OPTS".into(), "-javaagent:/agent.jar=7071".into());
        lab.facts.brokers.env.insert("KAFKA_JMX_PORT".into(), "9999".into());
        let line = line(&lab);
        assert!(line.contains("kafka-0 -- env -u KAFKA_OPTS -u KAFKA_JMX_PORT kafka-topics"), "{line}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is() {
        let (lab, tools) = host();
        let check = |tool: Tool, args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            tools.check(tool, &args).err().map(|failure| failure.to_string())
        };
        let said = check(Tool::TOPICS, &["--zookeeper", "localhost:2181", "--list"]).unwrap();
        assert!(said.contains("no --zookeeper since Kafka 3.0"), "{said}");
        // Nothing listens at port 1, which only root could bind.
        let said = check(Tool::TOPICS, &["--list", "--bootstrap-server", "localhost:1"]).unwrap();
        assert!(said.contains("nothing listens at localhost:1") && said.contains(&lab.bootstrap()), "{said}");
        let said = check(Tool::ZOOKEEPER_SHELL, &["-server", "127.0.0.1:1", "ls", "/"]).unwrap();
        assert!(said.contains(&lab.coordinator_address()), "{said}");
        for fine in [&["--list"][..], &["--list", "--bootstrap-server", "broker.example:9092"]] {
            assert_eq!(check(Tool::TOPICS, fine), None);
        }
    }
}
