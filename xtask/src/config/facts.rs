//! What the manifests and lab.yml say, as types. Nothing here reads a file.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Most brokers that the host's ports are declared for (cluster.yml, host-access.yml).
pub const MAX_BROKERS: u32 = 10;

/// Most replicas of a client: more would fill a machine before they teach anything.
pub const MAX_CLIENTS: u32 = 20;

/// Stands in the value of a variable for the name of the pod (fieldRef metadata.name): a character that nobody writes.
pub const POD_NAME: &str = "\u{f8ff}";

/// What the manifests say, complete and possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// ZooKeeper, from kafka.yml.
    pub coordinator: Coordinator,
    /// The brokers, from kafka.yml.
    pub brokers: Brokers,
    /// What clients.yml declares.
    pub clients: Vec<Client>,
    /// The topic that the clients use.
    pub topic: String,
    /// The kind cluster, from cluster.yml.
    pub cluster: Cluster,
    /// The image of ZooKeeper and the brokers, as kafka.yml names it.
    pub kafka_image: String,
    /// What all pods of kafka.yml and clients.yml together request.
    pub requests: Requests,
    /// The labels by which a StatefulSet or Deployment finds its pods.
    pub selectors: BTreeMap<String, BTreeMap<String, String>>,
    /// The ConfigMaps and Secrets that the variables of a StatefulSet or Deployment come from. A pod reads them when it starts.
    pub sources: BTreeMap<String, Vec<String>>,
}

/// The kind cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its nodes, in the file's order.
    pub nodes: Vec<Node>,
    /// Ports of this host that lead into it.
    pub host_ports: Vec<u16>,
}

/// A node of the kind cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `control-plane` or `worker`.
    pub role: String,
    /// The node image, where cluster.yml names one.
    pub image: Option<String>,
}

impl Cluster {
    /// The nodes' names in a cluster called `cluster`, as kind makes them: `kafka-lab-worker`, `kafka-lab-worker2`, …
    pub fn node_names(&self, cluster: &str) -> Vec<String> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        self.nodes
            .iter()
            .map(|node| {
                let count = seen.entry(&node.role).or_default();
                *count += 1;
                let number = if *count == 1 { String::new() } else { count.to_string() };
                format!("{cluster}-{}{number}", node.role)
            })
            .collect()
    }

    /// How many nodes take pods: the workers, or the only node there is.
    pub fn workers(&self) -> usize {
        self.nodes.iter().filter(|node| node.role == "worker").count().max(1)
    }
}

/// Resources that pods request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Bytes of memory.
    pub memory: u64,
    /// Thousandths of a core.
    pub cpu_milli: u64,
}

/// ZooKeeper's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    /// zookeeper.properties of ConfigMap `zookeeper-config`.
    pub properties: BTreeMap<String, String>,
    /// KAFKA_HEAP_OPTS and KAFKA_OPTS of StatefulSet `zookeeper`.
    pub heap_opts: Vec<String>,
    /// What its container is called.
    pub container: String,
}

impl Coordinator {
    /// Where it listens for clients in its pod.
    pub fn port(&self) -> u16 {
        self.properties.get("clientPort").and_then(|port| port.parse().ok()).unwrap_or(2181)
    }
}

/// The brokers' settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers {
    /// `replicas` of StatefulSet `kafka`; broker ids are 0 to count − 1.
    pub count: u32,
    /// The environment, in which [`POD_NAME`] stands for the pod's name.
    pub env: BTreeMap<String, String>,
    /// KAFKA_HEAP_OPTS.
    pub heap_opts: Vec<String>,
    /// KAFKA_NUM_PARTITIONS: partitions of a topic that is created automatically.
    pub partitions: u32,
    /// KAFKA_DEFAULT_REPLICATION_FACTOR: replicas of each of its partitions.
    pub replication_factor: u32,
    /// KAFKA_MIN_INSYNC_REPLICAS: below it nothing is acknowledged.
    pub min_insync_replicas: u32,
    /// KAFKA_LOG_RETENTION_BYTES, for each partition; `None` is without bound.
    pub retention_bytes: Option<u64>,
    /// KAFKA_AUTO_CREATE_TOPICS_ENABLE: whether brokers create a topic that a client asks for.
    pub auto_create_topics: bool,
    /// LAB_HOST_PORT_BASE: where the host reaches broker 0.
    pub host_port_base: u16,
}

impl Brokers {
    /// Where broker `id` is advertised inside the cluster, in namespace `default`.
    pub fn inner_address(&self, id: u32) -> String {
        let advertised = self.env.get("KAFKA_ADVERTISED_LISTENERS").map(String::as_str).unwrap_or_default();
        let first = advertised.split(',').next().unwrap_or_default();
        let address = first.split_once("://").map_or(first, |(_, address)| address);
        address.replace(POD_NAME, &format!("kafka-{id}"))
    }
}

/// A Deployment of clients.yml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// `producer` or `consumer`.
    pub role: String,
    /// How many.
    pub replicas: u32,
    /// Its environment, ROLE and KAFKA_BROKER included.
    pub env: BTreeMap<String, String>,
}

/// lab.yml: what the manifests cannot say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long steps may take.
    pub timeouts_s: Timeouts,
    /// The flow check.
    pub flow: Flow,
    /// Messages that the rolled-out consumer may lag behind the producer.
    pub lag_messages: u64,
    /// The local backend.
    pub local: Local,
    /// The kind backend.
    pub kind: Kind,
}

/// Seconds that a step may take before it has failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    pub jars: u64,
    pub clients_build: u64,
    #[serde(rename = "zookeeper")]
    pub coordinator: u64,
    pub broker: u64,
    pub topic: u64,
    pub clients: u64,
    pub tool: u64,
    pub flow: u64,
    pub stop: u64,
    pub images: u64,
    pub cluster: u64,
    pub load: u64,
    pub pods: u64,
}

/// The flow check of `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Messages through all partitions together.
    pub messages: u64,
    /// Bytes of each value.
    pub value_size: u32,
}

/// The local backend's own settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// ZooKeeper's client port on 127.0.0.1.
    #[serde(rename = "zookeeper_port")]
    pub coordinator_port: u16,
    /// Options of every java that runs ZooKeeper or a broker.
    pub java_options: Vec<String>,
}

/// The kind backend's own settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Seconds in which a registry must have answered.
    pub registry_s: u64,
    /// Where the clients' image is built.
    pub clients_image: BuiltOn,
}

/// What builds the clients' image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuiltOn {
    /// This host where it is Linux, else Docker.
    Auto,
    /// This host: its program becomes the image.
    Host,
    /// The Docker engine, by the image's Dockerfile.
    Docker,
}
