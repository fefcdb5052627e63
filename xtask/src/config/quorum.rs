//! Reads the controllers of KRaft mode from the servers' manifest: a StatefulSet of their own, or the brokers.

use std::collections::BTreeMap;

use crate::config::facts::{Brokers, Coordinator, MAX_BROKERS, POD_NAME, Quorum};
use crate::config::manifests::words;
use crate::config::objects::Workload;
use crate::config::variables::Sources;
use crate::config::yaml::{Document, ManifestReader, readable};

const CONTROLLER: &str = "controller";
const ROLES: &str = "KAFKA_PROCESS_ROLES";
const VOTERS: &str = "KAFKA_CONTROLLER_QUORUM_VOTERS";
const LISTENER: &str = "KAFKA_CONTROLLER_LISTENER_NAMES";
const SECURITY: &str = "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP";
const ID_BASE: &str = "LAB_CONTROLLER_ID_BASE";

/// The servers that vote: what the manifest says of them.
struct Nodes {
    /// Their StatefulSet.
    set: &'static str,
    count: u32,
    /// Node id of the first.
    first: u32,
    env: BTreeMap<String, String>,
    heap_opts: Vec<String>,
    container: String,
}

impl ManifestReader<'_> {
    /// Returns the controllers.
    pub(super) fn quorum(
        &mut self,
        documents: &[Document],
        brokers: Option<&Brokers>,
        objects: &Sources,
        sources: &mut BTreeMap<String, Vec<String>>,
    ) -> Option<Coordinator> {
        let brokers = brokers?;
        let dedicated = readable::<Workload>(documents, "StatefulSet").any(|set| set.metadata.name == CONTROLLER);
        let mut roles: Vec<&str> =
            brokers.env.get(ROLES).map_or(Vec::new(), |roles| roles.split(',').map(str::trim).collect());
        roles.sort_unstable();
        let nodes = match (&roles[..], dedicated) {
            (["broker"], true) => self.controllers(documents, objects, sources)?,
            (["broker", CONTROLLER], false) => Nodes {
                set: "kafka",
                count: brokers.count,
                first: 0,
                env: brokers.env.clone(),
                heap_opts: Vec::new(),
                container: String::new(),
            },
            _ => {
                let set = if dedicated { "there is a StatefulSet" } else { "there is no StatefulSet" };
                let message = format!(
                    "is \"{}\", and {set} controller: use broker with it, or broker,controller without it",
                    brokers.env.get(ROLES).map_or("", String::as_str)
                );
                self.problem(self.servers, format!("StatefulSet kafka {ROLES}"), message);
                return None;
            }
        };
        for key in [VOTERS, LISTENER, "CLUSTER_ID"] {
            if nodes.env.get(key) != brokers.env.get(key) {
                let message = format!("differs between StatefulSet {} and StatefulSet kafka", nodes.set);
                self.problem(self.servers, key, message);
            }
        }
        let cluster_id = self.cluster_id(&nodes.env)?;
        let listener = self.listener(&nodes.env)?;
        let voters = self.voters(&nodes)?;
        Some(Coordinator {
            count: if dedicated { nodes.count } else { 0 },
            properties: if dedicated { nodes.env } else { BTreeMap::new() },
            quorum: Some(Quorum { cluster_id, voters, listener }),
            heap_opts: nodes.heap_opts,
            container: nodes.container,
        })
    }

    /// Returns the StatefulSet of the controllers.
    fn controllers(
        &mut self,
        documents: &[Document],
        objects: &Sources,
        sources: &mut BTreeMap<String, Vec<String>>,
    ) -> Option<Nodes> {
        let name = "StatefulSet controller";
        let spec = self.stateful_set(documents, CONTROLLER)?;
        let container = self.container(self.servers, name, &spec)?;
        self.server(name, container, &["KAFKA_NODE_ID"]);
        let known = |variable: &str| {
            let settled = ["KAFKA_NODE_ID", "KAFKA_LISTENERS", "KAFKA_LOG_DIRS"].contains(&variable);
            !settled && (variable.starts_with("KAFKA_") || [ID_BASE, "CLUSTER_ID"].contains(&variable))
        };
        let env = self.environment((self.servers, "StatefulSet", CONTROLLER), container, known, objects, sources);
        self.spelling(&env);
        if env.get(ROLES).map(String::as_str) != Some(CONTROLLER) {
            let message = format!("is \"{}\", must be controller", env.get(ROLES).map_or("", String::as_str));
            self.problem(self.servers, format!("{name} {ROLES}"), message);
        }
        let asked = spec.replicas.unwrap_or(1);
        let count = u32::try_from(asked).ok().filter(|count| (1..=9).contains(count));
        if count.is_none() {
            self.problem(self.servers, format!("{name} spec.replicas"), format!("is {asked}, must be 1 to 9"));
        }
        // Brokers have the ids below.
        let first = env.get(ID_BASE).map_or(0, |text| text.parse().unwrap_or(0));
        if !(MAX_BROKERS..1000).contains(&first) {
            let message =
                format!("must be {MAX_BROKERS} to 999, the node id of controller 0: brokers have those below");
            self.problem(self.servers, format!("{name} {ID_BASE}"), message);
            return None;
        }
        let options = ["KAFKA_HEAP_OPTS", "KAFKA_OPTS"].into_iter().flat_map(|key| words(env.get(key)));
        let heap_opts = options.collect();
        Some(Nodes { set: CONTROLLER, count: count?, first, heap_opts, container: container.name.clone(), env })
    }

    /// Returns the cluster's id: 16 bytes in base64 for URLs (org.apache.kafka.common.Uuid).
    fn cluster_id(&mut self, env: &BTreeMap<String, String>) -> Option<String> {
        let id = env.get("CLUSTER_ID").cloned().unwrap_or_default();
        let legal = id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        // The last of 22 digits holds two bits.
        if id.len() == 22 && legal && id.ends_with(['A', 'Q', 'g', 'w']) && !id.starts_with('-') {
            return Some(id);
        }
        let message =
            format!("is \"{id}\", must be 22 characters, as `cargo xtask kafka storage -- random-uuid` prints them");
        self.problem(self.servers, "CLUSTER_ID", message);
        None
    }

    /// Returns the only listener of the controllers, whose protocol must be known.
    fn listener(&mut self, env: &BTreeMap<String, String>) -> Option<String> {
        let name = env.get(LISTENER).cloned().unwrap_or_default();
        if name.is_empty() || name.contains(',') {
            self.problem(self.servers, LISTENER, format!("is \"{name}\", must be the name of one listener"));
            return None;
        }
        let plain = env.get(SECURITY).is_some_and(|map| map.split(',').any(|one| one == format!("{name}:PLAINTEXT")));
        if !plain {
            let message = format!("must have {name}:PLAINTEXT, for the controllers");
            self.problem(self.servers, SECURITY, message);
        }
        plain.then_some(name)
    }

    /// Returns the node ids of the voters, which must be the pods of the StatefulSet in their order: the local backend
    /// replaces their addresses by its own.
    fn voters(&mut self, nodes: &Nodes) -> Option<Vec<u32>> {
        let text = nodes.env.get(VOTERS).cloned().unwrap_or_default();
        let found: Vec<&str> = text.split(',').map(str::trim).collect();
        let set = nodes.set;
        for number in 0..nodes.count {
            let wanted = format!("{}@{set}-{number}.{set}-service", nodes.first + number);
            let rest = found.get(number as usize).and_then(|voter| voter.strip_prefix(&wanted));
            let port = rest.filter(|rest| rest.starts_with([':', '.'])).and_then(|rest| rest.rsplit_once(':'));
            if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                let message = format!("is \"{text}\": voter {number} must be {wanted}:PORT");
                self.problem(self.servers, VOTERS, message.replace(POD_NAME, "$(POD_NAME)"));
                return None;
            }
        }
        if found.len() != nodes.count as usize {
            let message = format!("names {} voters, but StatefulSet {set} has {} replicas", found.len(), nodes.count);
            self.problem(self.servers, VOTERS, message);
            return None;
        }
        Some((0..nodes.count).map(|number| nodes.first + number).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::facts::{Facts, Settings};
    use crate::config::{manifests, yaml};
    use crate::coordination::Release;
    use crate::coordination::releases::RELEASES;

    /// The release of KRaft mode that has this version.
    fn release(version: &str) -> Release {
        let wanted = format!("{version}/kraft");
        RELEASES.into_iter().find(|release| release.to_string() == wanted).unwrap()
    }

    /// Reads the committed manifests after changes of kraft/kafka.yml; the problems as text.
    fn changed(changes: &[(&str, &str)]) -> Result<Facts, String> {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let id = std::thread::current().id();
        let dir = std::env::temp_dir().join(format!("kafka-lab-quorum-{}-{id:?}", std::process::id()));
        std::fs::create_dir_all(dir.join("kraft")).unwrap();
        for file in ["cluster.yml", "kraft/kafka.yml", "clients.yml", "host-access.yml", "lab.yml"] {
            let mut text = std::fs::read_to_string(committed.join(file)).unwrap();
            for (from, to) in changes.iter().filter(|_| file == "kraft/kafka.yml") {
                assert!(text.contains(from), "{from}");
                text = text.replace(from, to);
            }
            std::fs::write(dir.join(file), text).unwrap();
        }
        let found = manifests::read(&dir, release("4.3.1"));
        std::fs::remove_dir_all(&dir).unwrap();
        let text = |problems: Vec<_>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        found.map(|(facts, _)| facts).map_err(text)
    }

    #[test]
    fn the_committed_manifest_has_three_controllers_and_three_brokers_in_each_version() {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        for version in ["3.9.2", "4.3.1"] {
            let (facts, _) = manifests::read(&committed, release(version)).unwrap();
            let quorum = facts.coordinator.quorum.unwrap();
            assert_eq!((facts.coordinator.count, &quorum.voters[..]), (3, &[100, 101, 102][..]));
            assert_eq!((facts.brokers.count, facts.brokers.partitions), (3, 4));
            assert_eq!((facts.brokers.replication_factor, facts.brokers.min_insync_replicas), (3, 2));
            assert_eq!(facts.sources["controller"], ["kafka-config"]);
            assert_eq!(facts.brokers.inner_address(1), "kafka-1.kafka-service.default.svc.cluster.local:9092");
        }
    }

    #[test]
    fn a_lab_yml_of_before_there_were_controllers_is_read() {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/lab.yml")).unwrap();
        let old: Vec<&str> = text.lines().filter(|line| !line.contains("controller_port:")).collect();
        let read = |text: &str| yaml::from_str::<Settings>(text).unwrap();
        assert_eq!((read(&old.join("\n")), old.len() + 1), (read(&text), text.lines().count()));
    }

    /// kraft/kafka.yml with brokers that are the controllers too, changed as its first lines say.
    fn combined() -> Vec<(&'static str, &'static str)> {
        vec![
            ("  name: controller\n", "  name: spare\n"),
            ("kind: StatefulSet\nmetadata:\n  name: spare", "kind: Other\nmetadata:\n  name: spare"),
            (
                "kind: Service\nmetadata:\n  name: controller-service",
                "kind: Other\nmetadata:\n  name: controller-service",
            ),
            ("{name: KAFKA_PROCESS_ROLES, value: broker}", "{name: KAFKA_PROCESS_ROLES, value: \"broker,controller\"}"),
            ("100@controller-0.controller-service:", "0@kafka-0.kafka-service:"),
            ("101@controller-1.controller-service:", "1@kafka-1.kafka-service:"),
            ("102@controller-2.controller-service:", "2@kafka-2.kafka-service:"),
        ]
    }

    #[test]
    fn brokers_may_be_the_controllers() {
        let facts = changed(&combined()).unwrap();
        assert_eq!((facts.coordinator.count, facts.coordinator.quorum.unwrap().voters), (0, vec![0, 1, 2]));
    }

    #[test]
    fn what_the_controllers_could_not_do_is_refused_by_file_and_field() {
        const ROLES: &str = "{name: KAFKA_PROCESS_ROLES, value: broker}";
        for (from, to, said) in [
            (
                ROLES,
                "{name: KAFKA_PROCESS_ROLES, value: \"broker,controller\"}",
                "and there is a StatefulSet controller",
            ),
            (
                ROLES,
                "{name: OTHER, value: broker}",
                "KAFKA_PROCESS_ROLES: is \"\", and there is a StatefulSet controller",
            ),
            (
                "PROCESS_ROLES, value: controller",
                "PROCESS_ROLES, value: broker",
                "StatefulSet controller KAFKA_PROCESS_ROLES: is",
            ),
            ("kRaftLabkRaftLabkRaftQ", "my-cluster", "CLUSTER_ID: is \"my-cluster\", must be 22 characters"),
            (
                ",102@controller-2.controller-service:9093",
                "",
                "voter 2 must be 102@controller-2.controller-service:PORT",
            ),
            (
                "102@controller-2.controller-service:9093",
                "102@controller-2.controller-service:9093,103@elsewhere:9093",
                "names 4 voters",
            ),
            ("100@controller-0.controller-service:9093", "100@elsewhere:9093", "voter 0 must be 100@controller-0"),
            ("ID_BASE, value: \"100\"", "ID_BASE, value: \"3\"", "LAB_CONTROLLER_ID_BASE: must be 10 to 999"),
            ("LISTENER_NAMES: CONTROLLER", "LISTENER_NAMES: RAFT", "must have RAFT:PLAINTEXT"),
            ("LISTENER_NAMES: CONTROLLER", "LISTENER_NAMES: A,B", "must be the name of one listener"),
            ("exec /etc/kafka/docker/run", "exec run", "must end in /etc/kafka/docker/run"),
            (
                "{name: KAFKA_PROCESS_ROLES, value: controller}",
                "{name: KAFKA_NODE_ID, value: \"7\"}",
                "KAFKA_NODE_ID: is not read",
            ),
            ("BROKER_SESSION_TIMEOUT_MS", "BROKER_SESION_TIMEOUT_MS", "is no setting of Kafka 4.3's brokers"),
            (
                "NUM_PARTITIONS: \"4\"",
                "ZOOKEEPER_CONNECT: x:1\n  KAFKA_NUM_PARTITIONS: \"four\"",
                "must be a whole number",
            ),
        ] {
            let problems = changed(&[(from, to)]).unwrap_err();
            assert!(problems.contains("kraft/kafka.yml: ") && problems.contains(said), "{said} is not in\n{problems}");
        }
    }
}
