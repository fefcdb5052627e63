//! Reads the facts in the manifests, and finds what is wrong with them. The only user of serde_yaml.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::facts::{
    Brokers, Client, Cluster, Facts, MAX_BROKERS, MAX_CLIENTS, Node, Requests, Settings, ZooKeeper,
};

/// Larger than any manifest that a person writes.
const FILE_MAX: u64 = 1024 * 1024;

/// Something wrong in a file, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name inside the manifests folder.
    pub file: String,
    /// The field, or the line.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.field, self.message)
    }
}

// The typed subset of Kubernetes' and kind's objects. Unknown keys are the API server's business.

#[derive(Deserialize)]
struct Head {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
}

#[derive(Deserialize)]
struct Workload {
    metadata: Meta,
    spec: WorkloadSpec,
}

#[derive(Deserialize)]
struct WorkloadSpec {
    replicas: Option<u32>,
    template: Template,
}

#[derive(Deserialize)]
struct Template {
    spec: PodSpec,
}

#[derive(Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    image: String,
    #[serde(default)]
    env: Vec<EnvVar>,
    #[serde(default)]
    resources: Resources,
}

#[derive(Default, Deserialize)]
struct Resources {
    #[serde(default)]
    requests: BTreeMap<String, serde_yaml::Value>,
}

#[derive(Deserialize)]
struct EnvVar {
    name: String,
    /// Kubernetes takes text only, which an unquoted number is not.
    value: Option<serde_yaml::Value>,
}

#[derive(Deserialize)]
struct ConfigMap {
    metadata: Meta,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Service {
    metadata: Meta,
    spec: ServiceSpec,
}

#[derive(Deserialize)]
struct ServiceSpec {
    #[serde(default)]
    ports: Vec<ServicePort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort {
    node_port: Option<u16>,
}

#[derive(Deserialize)]
struct ClusterConfig {
    #[serde(default = "kinds_default_name")]
    name: String,
    #[serde(default)]
    nodes: Vec<NodeConfig>,
}

fn kinds_default_name() -> String {
    "kind".into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeConfig {
    #[serde(default)]
    role: String,
    image: Option<String>,
    #[serde(default)]
    extra_port_mappings: Vec<PortMapping>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    container_port: u16,
    host_port: u16,
    listen_address: Option<String>,
}

/// Collects problems; every reader goes on after one.
struct Reader<'a> {
    dir: &'a Path,
    problems: Vec<Problem>,
}

/// Reads and checks every manifest and lab.yml in `dir`.
///
/// # Errors
/// All problems at once, each with its file and field.
pub fn read(dir: &Path) -> Result<(Facts, Settings), Vec<Problem>> {
    let mut reader = Reader { dir, problems: Vec::new() };
    let kafka = reader.documents("kafka.yml");
    let zookeeper = reader.zookeeper(&kafka);
    let brokers = reader.brokers(&kafka);
    let (clients, topic) = reader.clients();
    let kafka_image = reader.kafka_image(&kafka);
    let requests = reader.requests(&kafka);
    let cluster = reader.cluster(brokers.as_ref());
    let settings = reader.settings(brokers.as_ref());
    match (zookeeper, brokers, settings) {
        (Some(zookeeper), Some(brokers), Some(settings)) if reader.problems.is_empty() => {
            Ok((Facts { zookeeper, brokers, clients, topic, cluster, kafka_image, requests }, settings))
        }
        _ => {
            // Some files are read for two purposes; what is wrong with them is told once.
            let mut told = std::collections::HashSet::new();
            reader.problems.retain(|problem| told.insert(problem.to_string()));
            Err(reader.problems)
        }
    }
}

/// One YAML document of a file, its place in it and its `kind`.
struct Document {
    file: String,
    first_line: usize,
    text: String,
    kind: String,
}

impl Reader<'_> {
    fn problem(&mut self, file: &str, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { file: file.into(), field: field.into(), message: message.into() });
    }

    fn text(&mut self, file: &str) -> Option<String> {
        // A file that has no end must not be read to it.
        let read = || -> std::io::Result<String> {
            let mut text = String::new();
            std::fs::File::open(self.dir.join(file))?.take(FILE_MAX + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) if text.len() as u64 > FILE_MAX => {
                self.problem(file, "file", format!("is larger than {FILE_MAX} bytes"));
                None
            }
            Ok(text) => Some(text),
            Err(error) => {
                self.problem(file, "file", format!("cannot be read in {}: {error}", self.dir.display()));
                None
            }
        }
    }

    /// Splits at the `---` lines ourselves, so that an error can name the line in the file.
    fn documents(&mut self, file: &str) -> Vec<Document> {
        let Some(text) = self.text(file) else { return Vec::new() };
        let mut parts = vec![(0, String::new())];
        for (index, line) in text.lines().enumerate() {
            if line.trim_end() == "---" {
                parts.push((index + 1, String::new()));
            } else if let Some((_, part)) = parts.last_mut() {
                part.push_str(line);
                part.push('\n');
            }
        }
        let mut documents = Vec::new();
        for (first_line, text) in parts {
            let mut document = Document { file: file.into(), first_line, text, kind: String::new() };
            if let Some(Some(head)) = self.parse::<Option<Head>>(&document) {
                document.kind = head.kind.unwrap_or_default();
                documents.push(document);
            }
        }
        documents
    }

    fn parse<T: DeserializeOwned>(&mut self, document: &Document) -> Option<T> {
        match serde_yaml::from_str(&document.text) {
            Ok(value) => Some(value),
            Err(error) => {
                let line = error.location().map_or(0, |place| place.line());
                let mut message = error.to_string();
                if let Some(place) = message.find(" at line ") {
                    message.truncate(place);
                }
                self.problem(&document.file, format!("line {}", document.first_line + line), message);
                None
            }
        }
    }

    fn all<T: DeserializeOwned>(&mut self, documents: &[Document], kind: &str) -> Vec<T> {
        documents.iter().filter(|doc| doc.kind == kind).filter_map(|doc| self.parse(doc)).collect()
    }

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
                Some(serde_yaml::Value::String(value)) => {
                    env.insert(var.name.clone(), value.clone());
                }
                Some(other) => {
                    let value = serde_yaml::to_string(other).unwrap_or_default();
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
        let count = spec.replicas.unwrap_or(1);
        let env = self.environment("kafka.yml", &spec);
        if !(1..=MAX_BROKERS).contains(&count) {
            let message = format!("is {count}, must be 1 to {MAX_BROKERS}");
            self.problem("kafka.yml", "StatefulSet kafka spec.replicas", message);
        }
        // Kafka's own defaults, KafkaConfig 3.3.2.
        let partitions = self.number(&env, "KAFKA_NUM_PARTITIONS", 1, 1, u32::MAX);
        let replication_factor = self.replicas(&env, "KAFKA_DEFAULT_REPLICATION_FACTOR", 1, count);
        let min_isr = self.number(&env, "KAFKA_MIN_INSYNC_REPLICAS", 1, 1, u32::MAX);
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

    /// A replication factor, which must not be above the number of brokers.
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

    fn number<T>(&mut self, env: &BTreeMap<String, String>, key: &str, default: T, min: T, max: T) -> Option<T>
    where
        T: std::str::FromStr + PartialOrd + fmt::Display,
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
            let replicas = deployment.spec.replicas.unwrap_or(1);
            if replicas > MAX_CLIENTS {
                let message = format!("is {replicas}, must be {MAX_CLIENTS} or less");
                self.problem("clients.yml", format!("Deployment {name} spec.replicas"), message);
            }
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
            let replicas = u64::from(workload.spec.replicas.unwrap_or(1));
            for (resource, quantity) in
                workload.spec.template.spec.containers.iter().flat_map(|c| &c.resources.requests)
            {
                let text = serde_yaml::to_string(quantity).unwrap_or_default();
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
        let text = self.text("lab.yml")?;
        let document = Document { file: "lab.yml".into(), first_line: 0, text, kind: String::new() };
        let settings: Settings = self.parse(&document)?;
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
        if settings.flow.value_size > 900_000 {
            let message =
                format!("is {}, above what a broker takes (message.max.bytes, 1 MB)", settings.flow.value_size);
            self.problem("lab.yml", "flow.value_size", message);
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

/// The documents of `kind` that can be read; what is wrong with the others is told elsewhere.
fn readable<'a, T: DeserializeOwned + 'a>(documents: &'a [Document], kind: &'a str) -> impl Iterator<Item = T> + 'a {
    documents.iter().filter(move |doc| doc.kind == kind).filter_map(|doc| serde_yaml::from_str(&doc.text).ok())
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

/// How a kind cluster is made from cluster.yml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Making<'a> {
    /// What the cluster is called.
    pub name: &'a str,
    /// The node image; `None` leaves the choice to cluster.yml and kind.
    pub image: Option<&'a str>,
    /// How far ports of this host are from those of cluster.yml.
    pub port_shift: i32,
    /// A folder of this host that every node mounts, by which the cluster is known as ours.
    pub mark: Option<&'a Path>,
}

/// Where [`Making::mark`] is mounted in the nodes.
pub const MARK: &str = "/kafka-lab";

/// cluster.yml for `kind create cluster --config`, with what is in use filled in. It was read and checked before.
///
/// # Errors
/// It cannot be read any more.
pub fn cluster_config(dir: &Path, making: &Making<'_>) -> crate::failure::Result<String> {
    use crate::failure::IoContext;
    use serde_yaml::Value;
    let path = dir.join("cluster.yml");
    let text = std::fs::read_to_string(&path).cannot("read", &path)?;
    let mut config: Value = serde_yaml::from_str(&text).cannot("understand", &path)?;
    // serde takes a list for a struct, in the order of its fields; an index by name panics at one.
    let nodes = config.get("nodes").and_then(Value::as_sequence);
    if !config.is_mapping() || !nodes.into_iter().flatten().all(Value::is_mapping) {
        return Err(crate::failure::Failure::usage(
            "cluster.yml: the document and each of its nodes must be a mapping",
        ));
    }
    config["name"] = making.name.into();
    for node in config.get_mut("nodes").and_then(Value::as_sequence_mut).into_iter().flatten() {
        if let Some(image) = making.image {
            node["image"] = image.into();
        }
        for mapping in node.get_mut("extraPortMappings").and_then(Value::as_sequence_mut).into_iter().flatten() {
            if let Some(port) = mapping.get_mut("hostPort")
                && let Some(number) = port.as_i64()
            {
                *port = number.saturating_add(making.port_shift.into()).into();
            }
        }
        if let Some(mark) = making.mark {
            let mut mount = serde_yaml::Mapping::new();
            mount.insert("hostPath".into(), mark.to_string_lossy().into_owned().into());
            mount.insert("containerPath".into(), MARK.into());
            mount.insert("readOnly".into(), true.into());
            match node.get_mut("extraMounts").and_then(Value::as_sequence_mut) {
                Some(mounts) => mounts.push(mount.into()),
                None => node["extraMounts"] = Value::Sequence(vec![mount.into()]),
            }
        }
    }
    serde_yaml::to_string(&config).cannot("write", &path)
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
            ("lab.yml", "messages: 20000", "messages: 0", "lab.yml: flow.messages: is 0"),
            ("lab.yml", "stop: 30", "stop: 18446744073709551615", "lab.yml: timeouts_s.stop: is 18446744073709551615"),
            ("clients.yml", "replicas: 1", "replicas: 4000000000", "spec.replicas: is 4000000000, must be 20 or less"),
            ("clients.yml", "value: consumer", "value: reader", "Deployment consumer ROLE: is \"reader\""),
            ("clients.yml", "name: KAFKA_BROKER", "name: BROKER", "Deployment producer KAFKA_BROKER: is missing"),
        ];
        for (file, from, to, expected) in table {
            let found = problems(&[(file, from, to)]);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:#?}");
        }
    }

    #[test]
    fn all_problems_come_at_once() {
        let found = problems(&[
            ("kafka.yml", "NUM_PARTITIONS, value: \"4\"", "NUM_PARTITIONS, value: \"0\""),
            ("kafka.yml", "DEFAULT_REPLICATION_FACTOR, value: \"3\"", "DEFAULT_REPLICATION_FACTOR, value: \"9\""),
            ("lab.yml", "flow:", "floww:"),
            ("clients.yml", "value: producer", "value: both"),
        ]);
        for expected in ["KAFKA_NUM_PARTITIONS", "KAFKA_DEFAULT_REPLICATION_FACTOR", "floww", "ROLE"] {
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
        assert!(found.iter().any(|problem| problem.file == "kafka.yml"));
        assert!(found.iter().any(|problem| problem.file == "lab.yml"));
    }

    use serde_json::{Value, json};

    /// Every pod's spec in a manifest, with a name to call it by: whatever has containers is one.
    fn pod_specs(value: &Value, name: &str, found: &mut Vec<(String, Value)>) {
        let own = value["metadata"]["name"].as_str().filter(|_| value["kind"].is_string()).unwrap_or(name);
        match value {
            Value::Object(fields) => {
                if fields.contains_key("containers") {
                    found.push((own.into(), value.clone()));
                }
                fields.values().for_each(|value| pod_specs(value, own, found));
            }
            Value::Array(values) => values.iter().for_each(|value| pod_specs(value, own, found)),
            _ => {}
        }
    }

    /// What a pod does that the level `restricted` of Kubernetes' Pod Security Standards forbids, and what this lab leaves out beside it.
    fn unrestricted(spec: &Value) -> Vec<String> {
        let mut faults: Vec<String> = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.into());
            }
        };
        let absent = |holder: &Value, field: &str| holder.get(field).is_none_or(Value::is_null);
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            must(absent(spec, field), field);
        }
        must(spec["automountServiceAccountToken"] == json!(false), "automountServiceAccountToken");
        must(absent(spec, "serviceAccountName") && absent(spec, "serviceAccount"), "serviceAccountName");
        const VOLUMES: [&str; 7] =
            ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "secret"];
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            let mut kinds =
                volume.as_object().into_iter().flatten().map(|(kind, _)| kind).filter(|kind| *kind != "name");
            must(kinds.all(|kind| VOLUMES.contains(&kind.as_str())), "volumes");
        }
        let pod = &spec["securityContext"];
        must(absent(pod, "sysctls"), "sysctls");
        for group in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec[group].as_array().into_iter().flatten() {
                let own = &container["securityContext"];
                // What a container says itself goes before what its pod says.
                let says = |field: &str| if absent(own, field) { &pod[field] } else { &own[field] };
                must(says("runAsNonRoot") == &json!(true), "runAsNonRoot");
                must(says("runAsUser").as_u64().is_some_and(|user| user > 0), "runAsUser");
                must(own["allowPrivilegeEscalation"] == json!(false), "allowPrivilegeEscalation");
                must(own["capabilities"] == json!({"drop": ["ALL"]}), "capabilities");
                let seccomp = says("seccompProfile")["type"].as_str().unwrap_or_default();
                must(["RuntimeDefault", "Localhost"].contains(&seccomp), "seccompProfile");
                for field in ["privileged", "procMount"] {
                    must(absent(own, field), field);
                }
                for field in ["seLinuxOptions", "appArmorProfile", "windowsOptions"] {
                    must(says(field).is_null(), field);
                }
                for port in container["ports"].as_array().into_iter().flatten() {
                    must(absent(port, "hostPort") && absent(port, "hostIP"), "hostPort");
                }
                for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                    let hosts = ["tcpSocket", "httpGet"].map(|way| container[probe][way]["host"].is_null());
                    must(hosts == [true, true], "probe host");
                }
            }
        }
        faults
    }

    fn committed_pods() -> Vec<(String, Value)> {
        let mut found = Vec::new();
        for file in ["kafka.yml", "clients.yml", "host-access.yml"] {
            let text = std::fs::read_to_string(manifests().join(file)).unwrap();
            for document in serde_yaml::Deserializer::from_str(&text) {
                pod_specs(&Value::deserialize(document).unwrap(), file, &mut found);
            }
        }
        let job = crate::kind::job::manifest("check", "clients:1", &["offsets".into()], 60);
        pod_specs(&serde_json::from_str(&job).unwrap(), "job", &mut found);
        found
    }

    #[test]
    fn every_pod_keeps_to_kubernetes_restricted_level_and_has_no_token() {
        let pods = committed_pods();
        let names: Vec<&str> = pods.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zookeeper", "kafka", "producer", "consumer", "check"]);
        for (name, spec) in &pods {
            assert_eq!(unrestricted(spec), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn each_step_beyond_the_restricted_level_is_seen() {
        let good = committed_pods().remove(1).1;
        for (place, value, fault) in [
            ("/hostNetwork", json!(true), "hostNetwork"),
            ("/automountServiceAccountToken", json!(true), "automountServiceAccountToken"),
            ("/serviceAccountName", json!("admin"), "serviceAccountName"),
            ("/volumes", json!([{"name": "v", "hostPath": {"path": "/"}}]), "volumes"),
            ("/volumes", json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}]), "volumes"),
            ("/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
            ("/securityContext/runAsUser", json!(0), "runAsUser"),
            ("/securityContext/sysctls", json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]), "sysctls"),
            ("/securityContext/seccompProfile", json!({"type": "Unconfined"}), "seccompProfile"),
            ("/containers/0/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
            ("/containers/0/securityContext/allowPrivilegeEscalation", Value::Null, "allowPrivilegeEscalation"),
            (
                "/containers/0/securityContext/capabilities",
                json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
                "capabilities",
            ),
            ("/containers/0/securityContext/capabilities", Value::Null, "capabilities"),
            ("/containers/0/securityContext/privileged", json!(true), "privileged"),
            ("/containers/0/ports", json!([{"containerPort": 1, "hostPort": 1}]), "hostPort"),
            ("/containers/0/readinessProbe", json!({"tcpSocket": {"port": 1, "host": "10.0.0.1"}}), "probe host"),
            ("/initContainers", json!([{"name": "root"}]), "capabilities"),
        ] {
            let mut bent = good.clone();
            let (holder, field) = place.rsplit_once('/').unwrap();
            bent.pointer_mut(holder).unwrap()[field] = value;
            assert!(unrestricted(&bent).iter().any(|found| found == fault), "{place}: {:?}", unrestricted(&bent));
        }
    }
}
