//! Reads the facts in the manifests, and finds what is wrong with them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use ledger::size;
use ledger::stamp::{Encoder, RunId};

use crate::config::facts::{
    Brokers, Client, Cluster, Facts, MAX_BROKERS, MAX_CLIENTS, Node, Requests, Settings, ZooKeeper,
};
use crate::config::objects::{ClusterConfig, ConfigMap, Service, Workload, WorkloadSpec};
use crate::config::yaml::{self, Document, Problem, Reader, Value, readable};

/// Reads and checks every manifest and lab.yml in `dir`.
///
/// # Errors
/// All problems at once, each with its file and field.
pub fn read(dir: &Path) -> Result<(Facts, Settings), Vec<Problem>> {
    let mut reader = Reader::new(dir);
    let kafka = reader.documents("kafka.yml");
    let zookeeper = reader.zookeeper(&kafka);
    let brokers = reader.brokers(&kafka);
    let (clients, topic) = reader.clients();
    let kafka_image = reader.kafka_image(&kafka);
    let requests = reader.requests(&kafka);
    let cluster = reader.cluster(brokers.as_ref());
    let settings = reader.settings(brokers.as_ref());
    if let (Some(brokers), Some(settings)) = (&brokers, &settings) {
        reader.message_size(brokers, &clients, settings);
    }
    match (zookeeper, brokers, settings) {
        (Some(zookeeper), Some(brokers), Some(settings)) if reader.problems.is_empty() => {
            Ok((Facts { zookeeper, brokers, clients, topic, cluster, kafka_image, requests }, settings))
        }
        _ => {
            // Of a file that cannot be read nothing is missing.
            let broken = |problem: &Problem| problem.field == "file" || problem.field.starts_with("line ");
            let unread: Vec<_> = reader.problems.iter().filter(|p| broken(p)).map(|p| p.file.clone()).collect();
            let absent = |message: &str| {
                message == "is missing"
                    || message.starts_with("has no data ")
                    || message.starts_with("no document of kind ")
            };
            let follows = |problem: &Problem| unread.contains(&problem.file) && absent(&problem.message);
            reader.problems.retain(|problem| !follows(problem));
            // Some files are read for two purposes; what is wrong with them is told once.
            let mut told = std::collections::HashSet::new();
            reader.problems.retain(|problem| told.insert(problem.to_string()));
            Err(reader.problems)
        }
    }
}

impl Reader<'_> {
    /// The StatefulSet called `name`; `None` when it is missing or cannot be read, which is then a problem.
    fn stateful_set(&mut self, documents: &[Document], name: &str) -> Option<WorkloadSpec> {
        let before = self.problems.len();
        let sets: Vec<Workload> = self.all(documents, "StatefulSet");
        let found = sets.into_iter().find(|set| set.metadata.name == name).map(|set| set.spec);
        // Each set is read once for each name asked for; its problems are told once.
        if found.is_some() {
            self.problems.truncate(before);
        } else if self.problems.len() == before {
            self.problem("kafka.yml", format!("StatefulSet {name}"), "is missing");
        }
        self.problems.dedup();
        found
    }

    /// The literal environment of a pod's containers.
    fn environment(&mut self, file: &str, spec: &WorkloadSpec) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for var in spec.template.spec.containers.iter().flat_map(|container| &container.env) {
            match &var.value {
                None => {}
                Some(Value::String(value)) => {
                    env.insert(var.name.clone(), value.clone());
                }
                Some(other) => {
                    let value = yaml::to_string(other).unwrap_or_default();
                    let value = value.trim();
                    self.problem(
                        file,
                        &var.name,
                        format!("is {value}, must be text, which Kubernetes insists on: \"{value}\""),
                    );
                }
            }
        }
        env
    }

    fn zookeeper(&mut self, documents: &[Document]) -> Option<ZooKeeper> {
        let spec = self.stateful_set(documents, "zookeeper");
        let maps: Vec<ConfigMap> = self.all(documents, "ConfigMap");
        let text = maps
            .into_iter()
            .find(|map| map.metadata.name == "zookeeper-config")
            .and_then(|mut map| map.data.remove("zookeeper.properties"));
        let Some(text) = text else {
            self.problem("kafka.yml", "ConfigMap zookeeper-config", "has no data zookeeper.properties");
            return None;
        };
        let properties = parse_properties(&text);
        let commands = properties.get("4lw.commands.whitelist").map_or("srvr", String::as_str);
        for needed in ["srvr", "dump"] {
            if !commands.split(',').any(|command| [needed, "*"].contains(&command.trim())) {
                let message = format!("must allow {needed}: it tells whether ZooKeeper serves and who is registered");
                self.problem("kafka.yml", "zookeeper.properties 4lw.commands.whitelist", message);
            }
        }
        let spec = spec?;
        if spec.replicas.unwrap_or(1) != 1 {
            let message = format!("is {}, but this lab has one ZooKeeper", spec.replicas.unwrap_or(1));
            self.problem("kafka.yml", "StatefulSet zookeeper spec.replicas", message);
        }
        Some(ZooKeeper { properties, heap_opts: words(self.environment("kafka.yml", &spec).get("KAFKA_HEAP_OPTS")) })
    }

    fn brokers(&mut self, documents: &[Document]) -> Option<Brokers> {
        let spec = self.stateful_set(documents, "kafka")?;
        let asked = spec.replicas.unwrap_or(1);
        let env = self.environment("kafka.yml", &spec);
        let count = u32::try_from(asked).ok().filter(|count| (1..=MAX_BROKERS).contains(count));
        if count.is_none() {
            let message = format!("is {asked}, must be 1 to {MAX_BROKERS}");
            self.problem("kafka.yml", "StatefulSet kafka spec.replicas", message);
        }
        // What a wrong number would make wrong of the others is not told.
        let count = count.unwrap_or(MAX_BROKERS);
        // Kafka's own defaults, KafkaConfig 3.3.2.
        let partitions = self.number(&env, "KAFKA_NUM_PARTITIONS", 1, 1, u32::MAX);
        let replication_factor = self.replicas(&env, "KAFKA_DEFAULT_REPLICATION_FACTOR", 1, count);
        let min_isr = self.replicas(&env, "KAFKA_MIN_INSYNC_REPLICAS", 1, count);
        if let (Some(min_isr), Some(factor)) = (min_isr, replication_factor)
            && min_isr > factor
        {
            let message = format!(
                "is {min_isr}, above KAFKA_DEFAULT_REPLICATION_FACTOR {factor}: nothing could ever be acknowledged"
            );
            self.problem("kafka.yml", "KAFKA_MIN_INSYNC_REPLICAS", message);
        }
        self.replicas(&env, "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", 3, count);
        self.replicas(&env, "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", 3, count);
        let retention: Option<i64> = self.number(&env, "KAFKA_LOG_RETENTION_BYTES", -1, -1, i64::MAX);
        let base: Option<u16> = self.number(&env, "LAB_HOST_PORT_BASE", 30090, 1024, 65535 - MAX_BROKERS as u16);
        Some(Brokers {
            count,
            heap_opts: words(env.get("KAFKA_HEAP_OPTS")),
            partitions: partitions?,
            replication_factor: replication_factor?,
            min_insync_replicas: min_isr?,
            retention_bytes: u64::try_from(retention?).ok(),
            host_port_base: base?,
            env,
        })
    }

    /// A number of replicas, which must not be above the number of brokers.
    fn replicas(&mut self, env: &BTreeMap<String, String>, key: &str, default: u32, brokers: u32) -> Option<u32> {
        let factor = self.number(env, key, default, 1, u32::MAX)?;
        if factor > brokers {
            let unset = if env.contains_key(key) { "" } else { " (Kafka's default)" };
            let message = format!(
                "is {factor}{unset}, above the {brokers} broker{} of StatefulSet kafka: lower it or raise spec.replicas",
                if brokers == 1 { "" } else { "s" }
            );
            self.problem("kafka.yml", key, message);
        }
        Some(factor)
    }

    /// The brokers must take what the clients send.
    fn message_size(&mut self, brokers: &Brokers, clients: &[Client], settings: &Settings) {
        let (key, default) = ("KAFKA_MESSAGE_MAX_BYTES", size::MESSAGE_MAX_BYTES);
        let Some(limit) = self.number(&brokers.env, key, default, 1, i32::MAX as usize) else { return };
        let mut sizes = vec![("lab.yml's flow.value_size".to_string(), settings.flow.value_size as usize)];
        for client in clients.iter().filter(|client| client.role == "producer") {
            let size = client.env.get("VALUE_SIZE").and_then(|size| size.parse().ok());
            sizes.extend(size.map(|size| (format!("VALUE_SIZE of clients.yml's {}", client.name), size)));
        }
        if let Some((name, size)) = sizes.into_iter().max_by_key(|(_, size)| *size)
            && size::batch_of_one(size) > limit
        {
            let needed = size::batch_of_one(size);
            let message =
                format!("is {limit}, below the {needed} that a value of {name}, {size}, needs: raise it or lower that");
            self.problem("kafka.yml", key, message);
        }
    }

    fn number<T>(&mut self, env: &BTreeMap<String, String>, key: &str, default: T, min: T, max: T) -> Option<T>
    where
        T: std::str::FromStr + PartialOrd + Display,
    {
        let Some(text) = env.get(key) else { return Some(default) };
        match text.trim().parse::<T>() {
            Ok(number) if number >= min && number <= max => Some(number),
            Ok(_) => {
                self.problem("kafka.yml", key, format!("is {text}, must be {min} or more and at most {max}"));
                None
            }
            Err(_) => {
                self.problem("kafka.yml", key, format!("is \"{text}\", must be a whole number"));
                None
            }
        }
    }

    fn clients(&mut self) -> (Vec<Client>, String) {
        let documents = self.documents("clients.yml");
        let deployments: Vec<Workload> = self.all(&documents, "Deployment");
        let mut clients = Vec::new();
        for deployment in deployments {
            let name = deployment.metadata.name;
            let env = self.environment("clients.yml", &deployment.spec);
            let role = env.get("ROLE").cloned().unwrap_or_default();
            if !["producer", "consumer"].contains(&role.as_str()) {
                let message = format!("is \"{role}\", must be producer or consumer");
                self.problem("clients.yml", format!("Deployment {name} ROLE"), message);
            }
            if !env.contains_key("KAFKA_BROKER") {
                let message = "is missing: it names the bootstrap broker";
                self.problem("clients.yml", format!("Deployment {name} KAFKA_BROKER"), message);
            }
            if let Some(rate) = env.get("RATE").filter(|rate| rate.parse::<u32>().is_err()) {
                let message = format!("is \"{rate}\", must be a whole number: messages a second, 0 for no limit");
                self.problem("clients.yml", format!("Deployment {name} RATE"), message);
            }
            if let Some(text) = env.get("VALUE_SIZE")
                && let Some(problem) = value_size(text)
            {
                self.problem("clients.yml", format!("Deployment {name} VALUE_SIZE"), problem);
            }
            let asked = deployment.spec.replicas.unwrap_or(1);
            let replicas = u32::try_from(asked).ok().filter(|replicas| *replicas <= MAX_CLIENTS);
            if replicas.is_none() {
                let message = format!("is {asked}, must be 0 to {MAX_CLIENTS}");
                self.problem("clients.yml", format!("Deployment {name} spec.replicas"), message);
            }
            let replicas = replicas.unwrap_or_default();
            clients.push(Client { name, role, replicas, env });
        }
        let topics: Vec<(String, String)> = clients
            .iter()
            .map(|client| (client.name.clone(), client.env.get("TOPIC").map_or("test", String::as_str).to_string()))
            .collect();
        let topic = topics.first().map_or("test".to_string(), |(_, topic)| topic.clone());
        for (name, other) in &topics {
            if *other != topic {
                let message = format!("is {other}, but {} has {topic}: one lab has one topic", topics[0].0);
                self.problem("clients.yml", format!("Deployment {name} TOPIC"), message);
            }
        }
        // Kafka's own rule (org.apache.kafka.common.internals.Topic 3.3.2).
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) || [".", ".."].contains(&topic.as_str()) {
            let message = format!("\"{topic}\" is no topic name: 1 to 249 of letters, digits, '.', '_' and '-'");
            self.problem("clients.yml", "TOPIC", message);
        }
        (clients, topic)
    }

    /// The one image that ZooKeeper and the brokers run from.
    fn kafka_image(&mut self, documents: &[Document]) -> String {
        let mut images =
            readable::<Workload>(documents, "StatefulSet").flat_map(|set| set.spec.template.spec.containers);
        let first = images.next().map(|container| container.image).unwrap_or_default();
        if let Some(other) = images.find(|container| container.image != first) {
            let message = format!("is {}, but another pod's is {first}: this lab has one Kafka image", other.image);
            self.problem("kafka.yml", "image", message);
        }
        if first.is_empty() {
            self.problem("kafka.yml", "image", "is missing");
        }
        first
    }

    /// What all pods together request; a quantity that nobody can read is a problem.
    fn requests(&mut self, kafka: &[Document]) -> Requests {
        let mut sum = Requests::default();
        let clients = self.documents("clients.yml");
        for (file, workload) in readable::<Workload>(kafka, "StatefulSet")
            .map(|set| ("kafka.yml", set))
            .chain(readable::<Workload>(&clients, "Deployment").map(|set| ("clients.yml", set)))
        {
            let replicas = u64::try_from(workload.spec.replicas.unwrap_or(1)).unwrap_or_default();
            for (resource, quantity) in
                workload.spec.template.spec.containers.iter().flat_map(|c| &c.resources.requests)
            {
                let text = yaml::to_string(quantity).unwrap_or_default();
                let text = text.trim().trim_matches(['"', '\'']);
                let Some(amount) = parse_quantity(text) else {
                    let field = format!("{} resources.requests.{resource}", workload.metadata.name);
                    self.problem(file, field, format!("is {text}, must be a quantity such as 100m or 768Mi"));
                    continue;
                };
                match resource.as_str() {
                    "memory" => sum.memory = sum.memory.saturating_add((amount as u64).saturating_mul(replicas)),
                    "cpu" => {
                        sum.cpu_milli =
                            sum.cpu_milli.saturating_add(((amount * 1000.0) as u64).saturating_mul(replicas))
                    }
                    _ => {}
                }
            }
        }
        sum
    }

    /// cluster.yml and host-access.yml must lead to the ports that the brokers advertise.
    fn cluster(&mut self, brokers: Option<&Brokers>) -> Cluster {
        let documents = self.documents("host-access.yml");
        let services: Vec<Service> = self.all(&documents, "Service");
        let mut taken: BTreeMap<u16, String> = BTreeMap::new();
        for service in &services {
            for port in service.spec.ports.iter().filter_map(|port| port.node_port) {
                if let Some(other) = taken.insert(port, service.metadata.name.clone()) {
                    let message = format!("is {port}, which {other} has already: two brokers on a port");
                    self.problem("host-access.yml", format!("Service {} nodePort", service.metadata.name), message);
                }
            }
        }
        let documents = self.documents("cluster.yml");
        let clusters: Vec<ClusterConfig> = self.all(&documents, "Cluster");
        let mut mapped: BTreeMap<u16, u16> = BTreeMap::new();
        for mapping in clusters.iter().flat_map(|cluster| &cluster.nodes).flat_map(|node| &node.extra_port_mappings) {
            if let Some(other) = mapped.insert(mapping.host_port, mapping.container_port) {
                let message = format!("{} leads to {other} and {}", mapping.host_port, mapping.container_port);
                self.problem("cluster.yml", "extraPortMappings hostPort", message + ": two brokers on a port");
            }
            if mapping.listen_address.as_deref() != Some("127.0.0.1") {
                let message = format!("of {} must be 127.0.0.1: kind's default is every address", mapping.host_port);
                self.problem("cluster.yml", "extraPortMappings listenAddress", message);
            }
        }
        for broker in brokers.iter().flat_map(|brokers| 0..brokers.count.min(MAX_BROKERS)) {
            let port = brokers.map_or(0, |brokers| brokers.host_port_base) + broker as u16;
            let service = format!("kafka-host-{broker}");
            if taken.get(&port) != Some(&service) {
                let message = format!("must be {port}: broker {broker} advertises LAB_HOST_PORT_BASE + {broker}");
                self.problem("host-access.yml", format!("Service {service} nodePort"), message);
            }
            if mapped.get(&port) != Some(&port) {
                let message = format!("no mapping of {port} to {port}, where broker {broker} is advertised");
                self.problem("cluster.yml", "extraPortMappings", message);
            }
        }
        let Some(config) = clusters.into_iter().next() else {
            self.problem("cluster.yml", "kind", "no document of kind Cluster");
            return Cluster::default();
        };
        for node in config.nodes.iter().filter(|node| !["control-plane", "worker"].contains(&node.role.as_str())) {
            self.problem("cluster.yml", "nodes role", format!("is \"{}\", must be control-plane or worker", node.role));
        }
        if config.nodes.iter().filter(|node| node.role == "control-plane").count() != 1 {
            self.problem("cluster.yml", "nodes", "must have one control-plane node: this lab has no load balancer");
        }
        Cluster {
            name: config.name,
            nodes: config.nodes.into_iter().map(|node| Node { role: node.role, image: node.image }).collect(),
            host_ports: mapped.into_keys().collect(),
        }
    }

    fn settings(&mut self, brokers: Option<&Brokers>) -> Option<Settings> {
        let settings: Settings = self.whole("lab.yml")?;
        let t = &settings.timeouts_s;
        for (field, seconds) in [
            ("jars", t.jars),
            ("clients_build", t.clients_build),
            ("zookeeper", t.zookeeper),
            ("broker", t.broker),
            ("topic", t.topic),
            ("clients", t.clients),
            ("tool", t.tool),
            ("flow", t.flow),
            ("stop", t.stop),
            ("images", t.images),
            ("cluster", t.cluster),
            ("load", t.load),
            ("pods", t.pods),
        ] {
            if !(1..=86_400).contains(&seconds) {
                let message = format!("is {seconds}, must be 1 to 86400 seconds");
                self.problem("lab.yml", format!("timeouts_s.{field}"), message);
            }
        }
        if settings.flow.messages == 0 {
            self.problem("lab.yml", "flow.messages", "is 0: a check of nothing proves nothing");
        }
        if let Some(problem) = value_size(&settings.flow.value_size.to_string()) {
            self.problem("lab.yml", "flow.value_size", problem);
        }
        if let Some(brokers) = brokers {
            let first = brokers.host_port_base;
            let port = settings.local.zookeeper_port;
            if (first..first.saturating_add(brokers.count as u16)).contains(&port) {
                let message = format!("is {port}, which is the port of broker {}", port - first);
                self.problem("lab.yml", "local.zookeeper_port", message);
            }
        }
        Some(settings)
    }
}

/// What is wrong with a number of bytes of a value, in words that follow its name.
fn value_size(text: &str) -> Option<String> {
    let Ok(bytes) = text.parse::<usize>() else {
        return Some(format!("is \"{text}\", must be a whole number: bytes of each value"));
    };
    let least = Encoder::minimum_size(RunId::random());
    if bytes < least {
        return Some(format!("is {bytes}, must be {least} or more: the delivery stamp in each value takes as many"));
    }
    size::too_large(bytes)
}

/// A quantity as Kubernetes writes it: `100m`, `0.5`, `768Mi`, `1G`.
fn parse_quantity(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" => 1.0,
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    text[..digits].parse::<f64>().ok().map(|number| number * factor)
}

fn words(text: Option<&String>) -> Vec<String> {
    text.map(|text| text.split_whitespace().map(Into::into).collect()).unwrap_or_default()
}

/// Lines `key=value` of a properties file, as far as ours go: no continuation lines, no escapes.
fn parse_properties(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && !line.starts_with('!'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_string(), value.trim().to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn manifests() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
    }

    /// The committed manifests with `from` replaced by `to` in `file`.
    fn changed(changes: &[(&str, &str, &str)]) -> Result<(Facts, Settings), Vec<Problem>> {
        let dir = std::env::temp_dir().join(format!(
            "kafka-lab-manifests-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        for file in ["cluster.yml", "kafka.yml", "clients.yml", "host-access.yml", "lab.yml"] {
            let mut text = std::fs::read_to_string(manifests().join(file)).unwrap();
            for (_, from, to) in changes.iter().filter(|change| change.0 == file) {
                assert!(text.contains(from), "{file} has no {from:?}");
                text = text.replace(from, to);
            }
            std::fs::write(dir.join(file), text).unwrap();
        }
        let result = read(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        result
    }

    fn problems(changes: &[(&str, &str, &str)]) -> Vec<String> {
        changed(changes).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_committed_manifests_describe_the_lab() {
        let (facts, settings) = read(&manifests()).unwrap();
        assert_eq!((facts.brokers.count, facts.brokers.partitions, facts.brokers.replication_factor), (3, 4, 3));
        assert_eq!((facts.brokers.host_port_base, settings.local.zookeeper_port), (30090, 32181));
        assert_eq!(facts.brokers.heap_opts, ["-Xms512m", "-Xmx512m"]);
        assert_eq!(facts.topic, "test");
        let roles: Vec<&str> = facts.clients.iter().map(|client| client.role.as_str()).collect();
        assert_eq!(roles, ["producer", "consumer"]);
        assert_eq!(facts.zookeeper.properties["tickTime"], "1000");
    }

    #[test]
    fn a_changed_fact_is_followed() {
        let (facts, _) = changed(&[
            ("kafka.yml", "NUM_PARTITIONS, value: \"4\"", "NUM_PARTITIONS, value: \"6\""),
            ("kafka.yml", "replicas: 3", "replicas: 5"),
        ])
        .unwrap();
        assert_eq!((facts.brokers.partitions, facts.brokers.count), (6, 5));
    }

    #[test]
    fn impossible_values_are_named_with_file_and_field() {
        let table: &[(&str, &str, &str, &str)] = &[
            (
                "kafka.yml",
                "REPLICATION_FACTOR, value: \"3\"",
                "REPLICATION_FACTOR, value: \"4\"",
                "kafka.yml: KAFKA_DEFAULT_REPLICATION_FACTOR: is 4, above the 3 brokers",
            ),
            ("kafka.yml", "replicas: 3", "replicas: 2", "KAFKA_DEFAULT_REPLICATION_FACTOR: is 3, above the 2 brokers"),
            (
                "kafka.yml",
                "KAFKA_MIN_INSYNC_REPLICAS, value: \"2\"",
                "KAFKA_MIN_INSYNC_REPLICAS, value: \"4\"",
                "kafka.yml: KAFKA_MIN_INSYNC_REPLICAS: is 4, above KAFKA_DEFAULT_REPLICATION_FACTOR 3",
            ),
            (
                "kafka.yml",
                "NUM_PARTITIONS, value: \"4\"",
                "NUM_PARTITIONS, value: \"0\"",
                "kafka.yml: KAFKA_NUM_PARTITIONS: is 0, must be 1 or more",
            ),
            (
                "kafka.yml",
                "NUM_PARTITIONS, value: \"4\"",
                "NUM_PARTITIONS, value: four",
                "kafka.yml: KAFKA_NUM_PARTITIONS: is \"four\", must be a whole number",
            ),
            ("kafka.yml", "replicas: 3", "replicas: 11", "StatefulSet kafka spec.replicas: is 11, must be 1 to 10"),
            ("kafka.yml", "  name: kafka\n", "  name: broker\n", "kafka.yml: StatefulSet kafka: is missing"),
            ("kafka.yml", "  name: zookeeper\n", "  name: keeper\n", "kafka.yml: StatefulSet zookeeper: is missing"),
            ("kafka.yml", "srvr,ruok,mntr,dump", "srvr", "4lw.commands.whitelist: must allow dump"),
            (
                "host-access.yml",
                "nodePort: 30091",
                "nodePort: 30090",
                "which kafka-host-0 has already: two brokers on a port",
            ),
            (
                "cluster.yml",
                "containerPort: 30091, hostPort: 30091",
                "containerPort: 30091, hostPort: 30090",
                "cluster.yml: extraPortMappings hostPort: 30090 leads to",
            ),
            (
                "cluster.yml",
                "hostPort: 30092, listenAddress: 127.0.0.1",
                "hostPort: 30092",
                "of 30092 must be 127.0.0.1",
            ),
            (
                "lab.yml",
                "zookeeper_port: 32181",
                "zookeeper_port: 30091",
                "local.zookeeper_port: is 30091, which is the port of broker 1",
            ),
            ("lab.yml", "value_size: 100", "value_size: 100\n  sise: 3", "unknown field `sise`"),
            (
                "lab.yml",
                "value_size: 100",
                "value_size: 1048517",
                "flow.value_size: is 1048517, must be 1048516 or less",
            ),
            ("lab.yml", "value_size: 100", "value_size: 10", "lab.yml: flow.value_size: is 10, must be "),
            (
                "clients.yml",
                "name: RATE, value: \"1000\"",
                "name: VALUE_SIZE, value: \"1048517\"",
                "Deployment producer VALUE_SIZE: is 1048517, must be 1048516 or less: brokers take",
            ),
            (
                "clients.yml",
                "name: RATE, value: \"1000\"",
                "name: VALUE_SIZE, value: big",
                "Deployment producer VALUE_SIZE: is \"big\", must be a whole number",
            ),
            (
                "kafka.yml",
                "name: KAFKA_NUM_PARTITIONS,",
                "name: KAFKA_MESSAGE_MAX_BYTES, value: \"169\"}\n            - {name: KAFKA_NUM_PARTITIONS,",
                "KAFKA_MESSAGE_MAX_BYTES: is 169, below the 170 that a value of lab.yml's flow.value_size, 100, needs",
            ),
            ("lab.yml", "messages: 20000", "messages: 0", "lab.yml: flow.messages: is 0"),
            ("lab.yml", "stop: 30", "stop: 18446744073709551615", "lab.yml: timeouts_s.stop: is 18446744073709551615"),
            ("clients.yml", "replicas: 1", "replicas: 4000000000", "spec.replicas: is 4000000000, must be 0 to 20"),
            ("clients.yml", "name: RATE, value: \"", "name: RATE, value: \"-", "Deployment producer RATE: is \"-"),
            ("kafka.yml", "replicas: 3", "replicas: -1", "StatefulSet kafka spec.replicas: is -1, must be 1 to 10"),
            ("clients.yml", "value: consumer", "value: reader", "Deployment consumer ROLE: is \"reader\""),
            ("clients.yml", "name: KAFKA_BROKER", "name: BROKER", "Deployment producer KAFKA_BROKER: is missing"),
        ];
        for (file, from, to, expected) in table {
            let found = problems(&[(file, from, to)]);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:#?}");
        }
    }

    #[test]
    fn brokers_may_take_no_more_than_the_clients_send() {
        let limit = "name: KAFKA_MESSAGE_MAX_BYTES, value: \"170\"}\n            - {name: KAFKA_NUM_PARTITIONS,";
        let lower = ("kafka.yml", "name: KAFKA_NUM_PARTITIONS,", limit);
        assert!(changed(&[lower]).is_ok());
        let found =
            problems(&[lower, ("clients.yml", "name: RATE, value: \"1000\"", "name: VALUE_SIZE, value: \"101\"")]);
        assert!(found[0].contains("a value of VALUE_SIZE of clients.yml's producer, 101, needs"), "{found:#?}");
        assert!(changed(&[("lab.yml", "value_size: 100", "value_size: 1048516")]).is_ok());
    }

    #[test]
    fn all_problems_come_at_once() {
        let found = problems(&[
            ("kafka.yml", "NUM_PARTITIONS, value: \"4\"", "NUM_PARTITIONS, value: \"0\""),
            ("kafka.yml", "DEFAULT_REPLICATION_FACTOR, value: \"3\"", "DEFAULT_REPLICATION_FACTOR, value: \"9\""),
            ("kafka.yml", "MIN_INSYNC_REPLICAS, value: \"2\"", "MIN_INSYNC_REPLICAS, value: \"5\""),
            ("lab.yml", "flow:", "floww:"),
            ("clients.yml", "value: producer", "value: both"),
        ]);
        for expected in
            ["KAFKA_NUM_PARTITIONS", "KAFKA_DEFAULT_REPLICATION_FACTOR", "KAFKA_MIN_INSYNC_REPLICAS", "floww", "ROLE"]
        {
            assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn what_kubernetes_would_refuse_is_refused() {
        let found = problems(&[("kafka.yml", "NUM_PARTITIONS, value: \"4\"", "NUM_PARTITIONS, value: 4")]);
        assert!(found[0].starts_with("kafka.yml: KAFKA_NUM_PARTITIONS: is 4, must be text"), "{found:#?}");
    }

    #[test]
    fn a_wrong_type_names_the_line_of_the_file() {
        let found = problems(&[("kafka.yml", "  replicas: 3", "  replicas: three")]);
        let text = std::fs::read_to_string(manifests().join("kafka.yml")).unwrap();
        let line = text.lines().position(|line| line == "  replicas: 3").unwrap() + 1;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&format!("kafka.yml: line {line}: ")), "{found:#?}");
    }

    #[test]
    fn a_missing_folder_is_a_problem_of_each_file() {
        let found = read(Path::new("/nonexistent")).unwrap_err();
        for file in ["kafka.yml", "lab.yml", "clients.yml", "cluster.yml"] {
            let of_file: Vec<_> = found.iter().filter(|problem| problem.file == file).collect();
            assert!(of_file.len() == 1 && of_file[0].message.contains("cannot be read"), "{of_file:#?}");
        }
    }
}
