//! The content of the manifests and lab.yml, as types. Nothing here reads a file.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Limit of brokers: cluster.yml and host-access.yml declare ports for this many.
pub const MAX_BROKERS: u32 = 10;

/// Limit of replicas of a client, to protect the machine.
pub const MAX_CLIENTS: u32 = 20;

/// Placeholder for the pod name (fieldRef metadata.name) in a variable's value: a private-use character.
pub const POD_NAME: &str = "\u{f8ff}";

/// The content of the manifests, complete and validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// ZooKeeper from kafka.yml, or the controllers from kraft/kafka.yml.
    pub coordinator: Coordinator,
    /// The brokers, from the same file.
    pub brokers: Brokers,
    /// The clients, from clients.yml.
    pub clients: Vec<Client>,
    /// The clients' topic.
    pub topic: String,
    /// The kind cluster, from cluster.yml.
    pub cluster: Cluster,
    /// The image of all servers, from the same file.
    pub kafka_image: String,
    /// Sum of the requests of all pods in kafka.yml and clients.yml.
    pub requests: Requests,
    /// `matchLabels` of each StatefulSet and Deployment, by its name.
    pub selectors: BTreeMap<String, BTreeMap<String, String>>,
    /// The ConfigMaps and Secrets that a StatefulSet or Deployment takes variables from. A pod reads them at its start.
    pub sources: BTreeMap<String, Vec<String>>,
}

/// The kind cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Name of the cluster.
    pub name: String,
    /// The nodes, in the file's order.
    pub nodes: Vec<Node>,
    /// Ports of this host that are mapped into the cluster.
    pub host_ports: Vec<u16>,
}

/// A node of the kind cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `control-plane` or `worker`.
    pub role: String,
    /// The node image, if cluster.yml names one.
    pub image: Option<String>,
}

impl Cluster {
    /// Returns the nodes' names in a cluster called `cluster`, as kind sets them: `kafka-lab-worker`,
    /// `kafka-lab-worker2`, …
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

    /// Returns the number of nodes that take pods: the workers, or 1 without workers.
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

/// The settings of ZooKeeper or of the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    /// Number of its servers: 1 for ZooKeeper, the replicas of StatefulSet `controller`, 0 if the brokers are the
    /// controllers too.
    pub count: u32,
    /// zookeeper.properties of ConfigMap `zookeeper-config`; the variables of StatefulSet `controller`.
    pub properties: BTreeMap<String, String>,
    /// The controllers' quorum, in KRaft mode.
    pub quorum: Option<Quorum>,
    /// KAFKA_HEAP_OPTS and KAFKA_OPTS of its StatefulSet.
    pub heap_opts: Vec<String>,
    /// Name of the container.
    pub container: String,
}

/// The controllers' quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// CLUSTER_ID, with which the storage is formatted.
    pub cluster_id: String,
    /// The node ids in KAFKA_CONTROLLER_QUORUM_VOTERS, in its order, which is that of the pods.
    pub voters: Vec<u32>,
    /// KAFKA_CONTROLLER_LISTENER_NAMES, which is one name.
    pub listener: String,
}

impl Coordinator {
    /// Returns the client port in its pod.
    pub fn port(&self) -> u16 {
        self.properties.get("clientPort").and_then(|port| port.parse().ok()).unwrap_or(2181)
    }
}

/// The brokers' settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers {
    /// `replicas` of StatefulSet `kafka`; broker ids are 0 to count − 1.
    pub count: u32,
    /// The environment; [`POD_NAME`] is a placeholder for the pod's name.
    pub env: BTreeMap<String, String>,
    /// KAFKA_HEAP_OPTS.
    pub heap_opts: Vec<String>,
    /// KAFKA_NUM_PARTITIONS: partitions of an automatically created topic.
    pub partitions: u32,
    /// KAFKA_DEFAULT_REPLICATION_FACTOR: replicas of each partition.
    pub replication_factor: u32,
    /// KAFKA_MIN_INSYNC_REPLICAS: with fewer, nothing is acknowledged.
    pub min_insync_replicas: u32,
    /// KAFKA_LOG_RETENTION_BYTES, for each partition; `None` is unlimited.
    pub retention_bytes: Option<u64>,
    /// KAFKA_AUTO_CREATE_TOPICS_ENABLE: whether brokers create a topic on first use.
    pub auto_create_topics: bool,
    /// LAB_HOST_PORT_BASE: port of broker 0 on the host.
    pub host_port_base: u16,
}

impl Brokers {
    /// Returns the address that broker `id` advertises inside the cluster, in namespace `default`.
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
    /// Name of the Deployment.
    pub name: String,
    /// `producer` or `consumer`.
    pub role: String,
    /// Number of replicas.
    pub replicas: u32,
    /// The environment, including ROLE and KAFKA_BROKER.
    pub env: BTreeMap<String, String>,
}

/// Content of lab.yml: settings that have no place in the manifests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Timeouts of steps.
    pub timeouts_s: Timeouts,
    /// The flow check.
    pub flow: Flow,
    /// Limit of the consumer's lag, in messages.
    pub lag_messages: u64,
    /// The local backend.
    pub local: LocalSettings,
    /// The kind backend.
    pub kind: KindSettings,
}

/// Timeouts of steps, in seconds.
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
    /// Number of messages, over all partitions.
    pub messages: u64,
    /// Size of each value, in bytes.
    pub value_size: u32,
}

/// Settings of the local backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSettings {
    /// ZooKeeper's client port on 127.0.0.1.
    #[serde(rename = "zookeeper_port")]
    pub coordinator_port: u16,
    /// Port of controller 0 on 127.0.0.1; controller N has this plus N. A lab.yml of before there were controllers has
    /// none.
    #[serde(default = "controller_port")]
    pub controller_port: u16,
    /// JVM options of the servers.
    pub java_options: Vec<String>,
}

/// The port of controller 0 in the committed lab.yml.
fn controller_port() -> u16 {
    32_181
}

/// Settings of the kind backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindSettings {
    /// Timeout for the answer of a registry, in seconds.
    pub registry_s: u64,
    /// What builds the clients' image.
    pub clients_image: BuiltOn,
}

/// What builds the clients' image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuiltOn {
    /// This host if it runs Linux, else Docker.
    Auto,
    /// This host: the image contains its program.
    Host,
    /// The Docker engine, with the image's Dockerfile.
    Docker,
}
