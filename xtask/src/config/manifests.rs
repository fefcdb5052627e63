//! Reads and validates the manifests and lab.yml.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use ledger::size;
use ledger::stamp::{Encoder, RunId};
use strsim::damerau_levenshtein;

use crate::config::broker_settings::{misspelt, misspelt_variable, property_name};
use crate::config::facts::{
    Brokers, Client, Cluster, Coordinator, Facts, MAX_BROKERS, MAX_CLIENTS, Node, Requests, Settings,
};
use crate::config::objects::{ClusterConfig, ConfigMap, Container, ServiceObject, Workload, WorkloadSpec};
use crate::config::variables::{NAMESPACE, Owner, Sources};
use crate::config::yaml::{self, Document, ManifestProblem, ManifestReader, Value, readable};
use crate::coordination::{self, Mode, Release};
use crate::state::is_made_by_a_lab;

/// Returns the script in the image that turns the servers' variables into properties.
pub(super) fn start_script(mode: Mode) -> &'static str {
    match mode {
        Mode::KRaft => "/etc/kafka/docker/run",
        _ => "/etc/confluent/docker/run",
    }
}

/// The most partitions of a topic: Kafka numbers them with 32 bits and a sign. Far fewer fit on one machine.
const MAX_PARTITIONS: u32 = 100_000;

/// Whether Kubernetes accepts `name` for an object: a DNS subdomain (RFC 1123).
fn is_object_name(name: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(is_letter)
            && bytes.last().is_some_and(is_letter)
            && bytes.iter().all(|byte| is_letter(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

/// Variables that the clients' program reads.
const CLIENT_VARIABLES: [&str; 10] =
    ["ROLE", "KAFKA_BROKER", "TOPIC", "RATE", "COUNT", "VALUE_SIZE", "LINGER_MS", "RUN_ID", "FORMAT", "STATE_FILE"];

/// Reads and checks every manifest and lab.yml in `dir`, for a version of Kafka in its mode.
///
/// # Errors
/// All problems, each with its file and field.
pub fn read(dir: &Path, release: Release) -> Result<(Facts, Settings), Vec<ManifestProblem>> {
    let mut reader = ManifestReader::new(dir, release);
    let servers = reader.servers;
    let kafka = reader.documents(servers);
    let host_access = reader.documents("host-access.yml");
    let clients = reader.documents("clients.yml");
    for (file, documents) in [(servers, &kafka), ("host-access.yml", &host_access), ("clients.yml", &clients)] {
        reader.names(file, documents);
        reader.namespaces(file, documents);
        reader.pull_policies(file, documents);
    }
    // Only objects that are applied before a workload or with it.
    let mut objects = Sources::default();
    objects.add(servers, &kafka);
    objects.add("host-access.yml", &host_access);
    let mut sources = BTreeMap::new();
    let selectors = reader.selectors(&kafka, &clients);
    let brokers = reader.brokers(&kafka, &objects, &mut sources);
    let coordinator = match release.mode {
        Mode::KRaft => reader.quorum(&kafka, brokers.as_ref(), &objects, &mut sources),
        _ => reader.coordinator(&kafka, &objects, &mut sources),
    };
    reader.services(&kafka);
    objects.add("clients.yml", &clients);
    let (clients, topic) = reader.clients(&clients, &objects, &mut sources);
    let kafka_image = reader.kafka_image(&kafka);
    let requests = reader.requests(&kafka);
    let cluster = reader.cluster(brokers.as_ref());
    let settings = reader.settings(brokers.as_ref());
    if let (Some(brokers), Some(settings)) = (&brokers, &settings) {
        reader.message_size(brokers, &clients, settings);
    }
    match (coordinator, brokers, settings) {
        (Some(coordinator), Some(brokers), Some(settings)) if reader.problems.is_empty() => Ok((
            Facts { coordinator, brokers, clients, topic, cluster, kafka_image, requests, selectors, sources },
            settings,
        )),
        _ => {
            // Don't report missing fields of an unreadable file.
            let broken = |problem: &ManifestProblem| problem.field == "file" || problem.field.starts_with("line ");
            let unread: Vec<_> = reader.problems.iter().filter(|p| broken(p)).map(|p| p.file.clone()).collect();
            let absent = |message: &str| {
                message == "is missing"
                    || message.starts_with("has no data ")
                    || message.starts_with("no document of kind ")
            };
            let follows = |problem: &ManifestProblem| unread.contains(&problem.file) && absent(&problem.message);
            reader.problems.retain(|problem| !follows(problem));
            // Some files are read twice.
            let mut reported = std::collections::HashSet::new();
            reader.problems.retain(|problem| reported.insert(problem.to_string()));
            Err(reader.problems)
        }
    }
}

impl ManifestReader<'_> {
    /// Returns the StatefulSet called `name`. A missing or invalid one is a problem.
    pub(super) fn stateful_set(&mut self, documents: &[Document], name: &str) -> Option<WorkloadSpec> {
        let before = self.problems.len();
        let sets: Vec<Workload> = self.all(documents, "StatefulSet");
        let found = sets.into_iter().find(|set| set.metadata.name == name).map(|set| set.spec);
        // Every call reads all sets; report their problems once.
        if found.is_some() {
            self.problems.truncate(before);
        } else if self.problems.len() == before {
            self.problem(self.servers, format!("StatefulSet {name}"), "is missing");
        }
        self.problems.dedup();
        found
    }

    /// Checks that every object has a name of its own, which Kubernetes accepts: folders and processes have it too.
    fn names(&mut self, file: &str, documents: &[Document]) {
        let mut seen = std::collections::BTreeSet::new();
        for Document { kind, name, .. } in documents.iter().filter(|document| !document.name.is_empty()) {
            if !is_object_name(name) {
                let message =
                    "must have lower-case letters, digits, '-' and '.', and begin and end with one of the first";
                self.problem(file, format!("{kind} {name} metadata.name"), message);
            }
            if !seen.insert((kind, name)) {
                self.problem(file, format!("{kind} {name}"), "is there twice: remove one");
            }
        }
    }

    /// Checks that clients have other names than the servers, than the files of a lab, and than each other's replicas.
    fn client_names(&mut self, clients: &[Client]) {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        for Client { name, .. } in clients {
            let of_a_server = name == coordination::WORKLOAD
                || ["kafka-", "controller-"].iter().any(|of| name.strip_prefix(of).is_some_and(is_number));
            let replica_of = |other: &&Client| {
                name.strip_prefix(&other.name).and_then(|rest| rest.strip_prefix('-')).is_some_and(is_number)
            };
            let why = if of_a_server {
                "is the name of a server".into()
            } else if is_made_by_a_lab(name) {
                "is the name of a file that every lab has".into()
            } else if let Some(other) = clients.iter().find(replica_of) {
                format!("is the name of a replica of {}", other.name)
            } else {
                continue;
            };
            self.problem("clients.yml", format!("Deployment {name} metadata.name"), format!("{why}: choose another"));
        }
    }

    /// Checks that every object is in the lab's namespace.
    fn namespaces(&mut self, file: &str, documents: &[Document]) {
        for document in documents {
            if let Some(other) = document.namespace.as_deref().filter(|namespace| *namespace != NAMESPACE) {
                let message = format!("is {other}, but a lab uses {NAMESPACE}: remove the line");
                self.problem(file, format!("{} {} metadata.namespace", document.kind, document.name), message);
            }
        }
    }

    /// Returns the `matchLabels` of the lab's workloads.
    fn selectors(&self, kafka: &[Document], clients: &[Document]) -> BTreeMap<String, BTreeMap<String, String>> {
        let servers = readable::<Workload>(kafka, "StatefulSet");
        let workloads = servers.chain(readable::<Workload>(clients, "Deployment"));
        let text = |value: Value| value.as_str().unwrap_or_default().to_string();
        workloads
            .map(|workload| {
                let labels = workload.spec.selector.match_labels.into_iter();
                (workload.metadata.name, labels.map(|(key, value)| (key, text(value))).collect())
            })
            .collect()
    }

    /// Returns the only container of a workload's pods. The selector must match the pods' labels.
    pub(super) fn container<'s>(&mut self, file: &str, name: &str, spec: &'s WorkloadSpec) -> Option<&'s Container> {
        let labels = &spec.template.metadata.labels;
        if spec.selector.match_labels.is_empty() {
            self.problem(file, format!("{name} spec.selector.matchLabels"), "is missing: it selects the pods");
        }
        for (key, wanted) in &spec.selector.match_labels {
            if labels.get(key) != Some(wanted) {
                let message =
                    format!("asks for {key}, which does not match the labels in spec.template: no pod would be found");
                self.problem(file, format!("{name} spec.selector"), message);
            }
        }
        let containers = &spec.template.spec.containers;
        if containers.len() != 1 {
            let message = format!("are {}, must be one: the local backend starts one process for it", containers.len());
            self.problem(file, format!("{name} containers"), message);
        }
        containers.first()
    }

    /// Returns the environment of a workload's container. Adds the objects that it comes from to `sources`.
    pub(super) fn environment(
        &mut self,
        (file, kind, name): (&str, &str, &str),
        container: &Container,
        must_know: fn(&str) -> bool,
        objects: &Sources,
        sources: &mut BTreeMap<String, Vec<String>>,
    ) -> BTreeMap<String, String> {
        let owner = Owner { file, name: &format!("{kind} {name}"), must_know };
        let (env, from) = self.variables(&owner, container, objects);
        sources.insert(name.into(), from);
        env
    }

    /// Checks that a server's command sets no other variables than `sets`, which the lab would not read.
    fn command(&mut self, name: &str, container: &Container, sets: &[&str]) {
        let lines = container.command.iter().chain(&container.args).flat_map(|words| words.lines());
        for line in lines.map(str::trim).filter(|line| !line.starts_with('#')) {
            let other =
                assigned(line).find(|variable| !sets.contains(variable)).map(|variable| format!("sets {variable}"));
            let file = [". ", "source ", "eval ", "unset "].iter().find(|word| line.starts_with(**word));
            let file = file.map(|word| format!("has `{}`", word.trim()));
            let over = line.contains("--override").then(|| "has --override".to_string());
            if let Some(does) = other.or(file).or(over) {
                let message = format!("{does}, which the lab does not read there: put it into env");
                self.problem(self.servers, format!("{name} command"), message);
            }
        }
    }

    /// Checks that the container of a broker or a controller starts it with the settings in its variables, of which its
    /// command sets no others than `sets`.
    pub(super) fn server(&mut self, name: &str, container: &Container, sets: &[&str]) {
        self.command(name, container, sets);
        let start = start_script(self.release.mode);
        let mut started = container.command.iter().chain(&container.args).peekable();
        if started.peek().is_some() && !started.any(|words| words.contains(start)) {
            let message = format!("must end in {start}, which turns env into properties: no other settings are read");
            self.problem(self.servers, format!("{name} command"), message);
        }
        if container.command.iter().chain(&container.args).any(|words| words.contains(".properties")) {
            let message = "mentions a properties file: settings in files are not read; put them into env";
            self.problem(self.servers, format!("{name} command"), message);
        }
        for mount in &container.volume_mounts {
            let folders = ["/etc/kafka", "/etc/confluent", "/opt/kafka/config", "/mnt/shared/config"];
            if folders.iter().any(|folder| Path::new(&mount.mount_path).starts_with(folder)) {
                let message = format!("{}: settings in files are not read; put them into env", mount.mount_path);
                self.problem(self.servers, format!("{name} volumeMounts"), message);
            }
        }
    }

    /// Checks that each Service with a selector selects pods of the file.
    fn services(&mut self, documents: &[Document]) {
        let pods: Vec<BTreeMap<String, Value>> = readable::<Workload>(documents, "StatefulSet")
            .map(|workload| workload.spec.template.metadata.labels)
            .collect();
        let sets = documents.iter().filter(|document| document.kind == "StatefulSet").count();
        let services: Vec<ServiceObject> = self.all(documents, "Service");
        for service in services.iter().filter(|service| !service.spec.selector.is_empty()) {
            let selects = |labels: &BTreeMap<String, Value>| {
                service.spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            };
            // An invalid StatefulSet is reported elsewhere.
            if pods.len() == sets && !pods.iter().any(selects) {
                let message = "selects no pod of this file: compare with the labels in spec.template";
                self.problem(self.servers, format!("Service {} spec.selector", service.metadata.name), message);
            }
        }
    }

    /// Checks that brokers connect to ZooKeeper through a Service of the file, in a form that the local backend can
    /// replace with its own address.
    fn zookeeper_connect(&mut self, env: &BTreeMap<String, String>, documents: &[Document]) {
        const KEY: &str = "KAFKA_ZOOKEEPER_CONNECT";
        let Some(text) = env.get(KEY) else {
            return self.problem(self.servers, KEY, "is missing: it names ZooKeeper's Service and port");
        };
        let services: Vec<String> =
            readable::<ServiceObject>(documents, "Service").map(|service| service.metadata.name).collect();
        let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
        let what = match text.split_once(':') {
            _ if text.contains(',') => "names several servers, but this lab has one ZooKeeper: use SERVICE:PORT",
            _ if text.contains('/') => {
                "has a path (chroot), where the lab's checks would not find the brokers: use SERVICE:PORT"
            }
            Some((host, number)) if port(number) => {
                if host.split('.').take(2).any(|label| services.iter().any(|service| service == label)) {
                    return;
                }
                "leads to no Service of kafka.yml: this lab has its own ZooKeeper"
            }
            _ => "must be SERVICE:PORT",
        };
        self.problem(self.servers, KEY, format!("\"{text}\" {what}"));
    }

    fn coordinator(
        &mut self,
        documents: &[Document],
        objects: &Sources,
        sources: &mut BTreeMap<String, Vec<String>>,
    ) -> Option<Coordinator> {
        let spec = self.stateful_set(documents, "zookeeper");
        let maps: Vec<ConfigMap> = self.all(documents, "ConfigMap");
        let text = maps
            .into_iter()
            .find(|map| map.metadata.name == "zookeeper-config")
            .and_then(|mut map| map.data.remove("zookeeper.properties"));
        let Some(text) = text else {
            self.problem(self.servers, "ConfigMap zookeeper-config", "has no data zookeeper.properties");
            return None;
        };
        let properties = parse_properties(&text);
        let commands = properties.get("4lw.commands.whitelist").map_or("srvr", String::as_str);
        for needed in ["srvr", "dump"] {
            if !commands.split(',').any(|command| [needed, "*"].contains(&command.trim())) {
                let message =
                    format!("must allow {needed}: the lab uses it to check ZooKeeper and the registered brokers");
                self.problem(self.servers, "zookeeper.properties 4lw.commands.whitelist", message);
            }
        }
        let spec = spec?;
        if spec.replicas.unwrap_or(1) != 1 {
            let message = format!("is {}, but this lab has one ZooKeeper", spec.replicas.unwrap_or(1));
            self.problem(self.servers, "StatefulSet zookeeper spec.replicas", message);
        }
        let name = "StatefulSet zookeeper";
        let container = self.container(self.servers, name, &spec)?;
        self.command(name, container, &[]);
        let mounted = spec.template.spec.volumes.iter().filter_map(|volume| volume.config_map.as_ref());
        let started: Vec<&String> = container.command.iter().chain(&container.args).collect();
        if !mounted.into_iter().any(|map| map.name == "zookeeper-config")
            || !started.iter().any(|words| words.contains("zookeeper.properties"))
        {
            let message =
                "must start ZooKeeper with zookeeper.properties of ConfigMap zookeeper-config, the only settings read";
            self.problem(self.servers, name, message);
        }
        let known = |variable: &str| ["KAFKA_HEAP_OPTS", "KAFKA_OPTS"].contains(&variable);
        let env = self.environment(("kafka.yml", "StatefulSet", "zookeeper"), container, known, objects, sources);
        let options = ["KAFKA_HEAP_OPTS", "KAFKA_OPTS"].into_iter().flat_map(|key| words(env.get(key)));
        let container = container.name.clone();
        Some(Coordinator { count: 1, properties, quorum: None, heap_opts: options.collect(), container })
    }

    fn brokers(
        &mut self,
        documents: &[Document],
        objects: &Sources,
        sources: &mut BTreeMap<String, Vec<String>>,
    ) -> Option<Brokers> {
        let spec = self.stateful_set(documents, "kafka")?;
        let asked = spec.replicas.unwrap_or(1);
        let name = "StatefulSet kafka";
        let container = self.container(self.servers, name, &spec)?;
        let id = match self.release.mode {
            Mode::KRaft => "KAFKA_NODE_ID",
            _ => "KAFKA_BROKER_ID",
        };
        self.server(name, container, &[id, "KAFKA_ADVERTISED_LISTENERS"]);
        // The start script and the local backend set some of them.
        let known = |variable: &str| {
            let settled = ["KAFKA_BROKER_ID", "KAFKA_NODE_ID", "KAFKA_LISTENERS", "KAFKA_LOG_DIRS"];
            !settled.contains(&variable)
                && (variable.starts_with("KAFKA_") || ["LAB_HOST_PORT_BASE", "CLUSTER_ID"].contains(&variable))
        };
        let env = self.environment((self.servers, "StatefulSet", "kafka"), container, known, objects, sources);
        self.spelling(&env);
        if self.release.mode != Mode::KRaft {
            self.zookeeper_connect(&env, documents);
        }
        let count = u32::try_from(asked).ok().filter(|count| (1..=MAX_BROKERS).contains(count));
        if count.is_none() {
            let message = format!("is {asked}, must be 1 to {MAX_BROKERS}");
            self.problem(self.servers, "StatefulSet kafka spec.replicas", message);
        }
        // Skip errors that only follow from an invalid count.
        let count = count.unwrap_or(MAX_BROKERS);
        // The defaults of KafkaConfig 3.3.2.
        let partitions = self.number(&env, "KAFKA_NUM_PARTITIONS", 1, 1, MAX_PARTITIONS);
        let replication_factor = self.replicas(&env, "KAFKA_DEFAULT_REPLICATION_FACTOR", 1, count);
        let min_isr = self.replicas(&env, "KAFKA_MIN_INSYNC_REPLICAS", 1, count);
        if let (Some(min_isr), Some(factor)) = (min_isr, replication_factor)
            && min_isr > factor
        {
            let message = format!(
                "is {min_isr}, above KAFKA_DEFAULT_REPLICATION_FACTOR {factor}: nothing could ever be acknowledged"
            );
            self.problem(self.servers, "KAFKA_MIN_INSYNC_REPLICAS", message);
        }
        self.replicas(&env, "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", 3, count);
        self.replicas(&env, "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", 3, count);
        let auto_create_topics = self.truth(&env, "KAFKA_AUTO_CREATE_TOPICS_ENABLE", true);
        let retention: Option<i64> = self.number(&env, "KAFKA_LOG_RETENTION_BYTES", -1, -1, i64::MAX);
        let base: Option<u16> = self.number(&env, "LAB_HOST_PORT_BASE", 30090, 1024, 65535 - MAX_BROKERS as u16);
        Some(Brokers {
            count,
            heap_opts: words(env.get("KAFKA_HEAP_OPTS")),
            partitions: partitions?,
            replication_factor: replication_factor?,
            min_insync_replicas: min_isr?,
            retention_bytes: u64::try_from(retention?).ok(),
            auto_create_topics: auto_create_topics?,
            host_port_base: base?,
            env,
        })
    }

    /// Reads a replication factor, which must not exceed the number of brokers.
    fn replicas(&mut self, env: &BTreeMap<String, String>, key: &str, default: u32, brokers: u32) -> Option<u32> {
        let factor = self.number(env, key, default, 1, u32::MAX)?;
        if factor > brokers {
            let unset = if env.contains_key(key) { "" } else { " (Kafka's default)" };
            let message = format!(
                "is {factor}{unset}, above the {brokers} broker{} of StatefulSet kafka: lower it or raise spec.replicas",
                if brokers == 1 { "" } else { "s" }
            );
            self.problem(self.servers, key, message);
        }
        Some(factor)
    }

    /// Checks that the brokers accept the largest message of the clients.
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
            let message = format!(
                "is {limit}, below the {needed} that a value of {name}, {size}, needs: raise it or reduce the value"
            );
            self.problem(self.servers, key, message);
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
                self.problem(self.servers, key, format!("is {text}, must be {min} or more and at most {max}"));
                None
            }
            Err(_) => {
                self.problem(self.servers, key, format!("is \"{text}\", must be a whole number"));
                None
            }
        }
    }

    /// Reads a boolean like Kafka (ConfigDef.parseType).
    fn truth(&mut self, env: &BTreeMap<String, String>, key: &str, default: bool) -> Option<bool> {
        let Some(text) = env.get(key) else { return Some(default) };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.problem(self.servers, key, format!("is \"{text}\", must be true or false"));
                None
            }
        }
    }

    fn clients(
        &mut self,
        documents: &[Document],
        objects: &Sources,
        sources: &mut BTreeMap<String, Vec<String>>,
    ) -> (Vec<Client>, String) {
        for document in documents {
            const OTHERS: [&str; 7] = ["StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "List"];
            if OTHERS.contains(&document.kind.as_str()) {
                let message = "is not read: declare each client as a Deployment";
                self.problem("clients.yml", format!("{} {}", document.kind, document.name), message);
            }
        }
        let deployments: Vec<Workload> = self.all(documents, "Deployment");
        let mut clients = Vec::new();
        for deployment in deployments {
            let name = deployment.metadata.name;
            let Some(container) = self.container("clients.yml", &format!("Deployment {name}"), &deployment.spec) else {
                continue;
            };
            if !container.command.is_empty() || !container.args.is_empty() {
                let message = "is not read: configure the client in env";
                self.problem("clients.yml", format!("Deployment {name} command, args"), message);
            }
            let known = |variable: &str| CLIENT_VARIABLES.contains(&variable);
            let env = self.environment(("clients.yml", "Deployment", &name), container, known, objects, sources);
            for variable in env.keys() {
                let meant =
                    CLIENT_VARIABLES.iter().find(|known| (1..=2).contains(&damerau_levenshtein(known, variable)));
                if let Some(meant) = meant.filter(|_| !known(variable)) {
                    let message = format!("is not read by the clients: {meant} is");
                    self.problem("clients.yml", format!("Deployment {name} {variable}"), message);
                }
            }
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
                let message = format!("is \"{rate}\", must be a whole number: messages per second, 0 for no limit");
                self.problem("clients.yml", format!("Deployment {name} RATE"), message);
            }
            let is_linger = |text: &str| text.parse::<u64>().is_ok_and(|ms| (1..=1000).contains(&ms));
            if let Some(linger) = env.get("LINGER_MS").filter(|linger| !is_linger(linger)) {
                let message = format!("is \"{linger}\", must be a whole number of milliseconds from 1 to 1000");
                self.problem("clients.yml", format!("Deployment {name} LINGER_MS"), message);
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
        self.client_names(&clients);
        let topic = self.topic(&clients);
        (clients, topic)
    }

    /// Finds settings that the brokers would ignore without a word.
    pub(super) fn spelling(&mut self, env: &BTreeMap<String, String>) {
        for key in env.keys() {
            let meant = |property: &str| format!("KAFKA_{}", property.to_ascii_uppercase().replace('.', "_"));
            if let Some(rest) = key.strip_prefix("KAFKA_CFG_") {
                let message = format!("is the spelling of another image: this one reads KAFKA_{rest}");
                self.problem(self.servers, key, message);
            } else if key == "KAFKA_BROKER_ID" {
                self.problem(self.servers, key, "is not read: the id of a broker is the number of its pod");
            } else if key == "KAFKA_NODE_ID" {
                self.problem(self.servers, key, "is not read: the node id follows from the number of the pod");
            } else if key.to_ascii_uppercase().starts_with("KAFKA_") && !key.starts_with("KAFKA_") {
                let message = format!("is not read by the image: write {}", key.to_ascii_uppercase());
                self.problem(self.servers, key, message);
            } else if let Some(name) = misspelt_variable(key) {
                self.problem(self.servers, key, format!("is not read by the image: {name} is"));
            } else if let Some(name) = property_name(key).and_then(|property| misspelt(&property, self.release.version))
            {
                let message = format!(
                    "is no setting of Kafka {}'s brokers, which ignore it: {} is",
                    self.release.version.line(),
                    meant(name)
                );
                self.problem(self.servers, key, message);
            }
        }
    }

    /// Finds containers whose image the nodes would ask a registry for at each start.
    fn pull_policies(&mut self, file: &'static str, documents: &[Document]) {
        for kind in ["StatefulSet", "Deployment"] {
            for workload in readable::<Workload>(documents, kind) {
                for container in workload.spec.template.spec.containers {
                    // Kubernetes' default for an image without a tag or with `latest`.
                    let tag =
                        container.image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
                    let default = if tag.is_none_or(|tag| tag == "latest") { "Always" } else { "IfNotPresent" };
                    if container.image_pull_policy.as_deref().unwrap_or(default) == "Always" {
                        let message = "is Always (the default of an image without a tag, or with latest): nodes would ask a \
                                       registry, but `up` loads the image into them: IfNotPresent";
                        let field = format!("{kind} {} imagePullPolicy", workload.metadata.name);
                        self.problem(file, field, message);
                    }
                }
            }
        }
    }

    fn topic(&mut self, clients: &[Client]) -> String {
        let topics: Vec<(String, String)> = clients
            .iter()
            .map(|client| (client.name.clone(), client.env.get("TOPIC").map_or("test", String::as_str).to_string()))
            .collect();
        let topic = topics.first().map_or("test".to_string(), |(_, topic)| topic.clone());
        for (name, other) in &topics {
            if *other != topic {
                let message = format!("is {other}, but {} has {topic}: a lab has one topic", topics[0].0);
                self.problem("clients.yml", format!("Deployment {name} TOPIC"), message);
            }
        }
        // Kafka's rule (org.apache.kafka.common.internals.Topic 3.3.2).
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) || [".", ".."].contains(&topic.as_str()) {
            let message =
                format!("\"{topic}\" is not a valid topic name: use 1 to 249 letters, digits, '.', '_' and '-'");
            self.problem("clients.yml", "TOPIC", message);
        } else if topic.starts_with('-') {
            self.problem("clients.yml", "TOPIC", format!("\"{topic}\" begins with '-', like a command's options"));
        } else if ["__consumer_offsets", "__transaction_state"].contains(&topic.as_str()) {
            self.problem(
                "clients.yml",
                "TOPIC",
                format!("{topic} is Kafka's own topic, which clients cannot write to"),
            );
        }
        topic
    }

    /// Returns the image of ZooKeeper and the brokers, which must be the same.
    fn kafka_image(&mut self, documents: &[Document]) -> String {
        let mut images =
            readable::<Workload>(documents, "StatefulSet").flat_map(|set| set.spec.template.spec.containers);
        let first = images.next().map(|container| container.image).unwrap_or_default();
        if let Some(other) = images.find(|container| container.image != first) {
            let message = format!("is {}, but another pod has {first}: this lab has one Kafka image", other.image);
            self.problem(self.servers, "image", message);
        }
        if first.is_empty() {
            self.problem(self.servers, "image", "is missing");
        }
        first
    }

    /// Returns the sum of all pods' requests. An invalid quantity is a problem.
    fn requests(&mut self, kafka: &[Document]) -> Requests {
        let mut sum = Requests::default();
        let servers = self.servers;
        let clients = self.documents("clients.yml");
        for (file, workload) in readable::<Workload>(kafka, "StatefulSet")
            .map(|set| (servers, set))
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

    /// Reads the cluster. cluster.yml and host-access.yml must map the ports that the brokers advertise.
    fn cluster(&mut self, brokers: Option<&Brokers>) -> Cluster {
        let documents = self.documents("host-access.yml");
        let services: Vec<ServiceObject> = self.all(&documents, "Service");
        let mut taken: BTreeMap<u16, String> = BTreeMap::new();
        for service in &services {
            for port in service.spec.ports.iter().filter_map(|port| port.node_port) {
                if let Some(other) = taken.insert(port, service.metadata.name.clone()) {
                    let message = format!("is {port}, which {other} has already: two brokers on one port");
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
                self.problem("cluster.yml", "extraPortMappings hostPort", message + ": two brokers on one port");
            }
            if mapping.listen_address.as_deref() != Some("127.0.0.1") {
                let message =
                    format!("of {} must be 127.0.0.1: by default, kind listens on every address", mapping.host_port);
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
                let message = format!("does not map {port} to {port}, the port that broker {broker} advertises");
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
            ("zookeeper", t.coordinator),
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
            self.problem("lab.yml", "flow.messages", "is 0: a check without messages proves nothing");
        }
        if let Some(problem) = value_size(&settings.flow.value_size.to_string()) {
            self.problem("lab.yml", "flow.value_size", problem);
        }
        if let Some(brokers) = brokers {
            let first = brokers.host_port_base;
            let ports = &settings.local;
            for (field, port) in [("zookeeper", ports.coordinator_port), ("controller", ports.controller_port)] {
                if port < 1024 {
                    let message = format!("is {port}, must be 1024 to 65535");
                    self.problem("lab.yml", format!("local.{field}_port"), message);
                }
                if (first..first.saturating_add(brokers.count as u16)).contains(&port) {
                    let message = format!("is {port}, which is the port of broker {}", port - first);
                    self.problem("lab.yml", format!("local.{field}_port"), message);
                }
            }
        }
        Some(settings)
    }
}

/// Returns what is wrong with a value size, in words that follow its name.
fn value_size(text: &str) -> Option<String> {
    let Ok(bytes) = text.parse::<usize>() else {
        return Some(format!("is \"{text}\", must be a whole number: the bytes of each value"));
    };
    let least = Encoder::minimum_size(RunId::random());
    if bytes < least {
        return Some(format!("is {bytes}, must be {least} or more: the size of the delivery stamp in each value"));
    }
    size::too_large(bytes)
}

/// Parses a Kubernetes quantity: `100m`, `0.5`, `768Mi`, `1G`.
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

/// Returns the variables `KAFKA_…` that a line of a script sets.
fn assigned(line: &str) -> impl Iterator<Item = &str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices("KAFKA_").filter_map(move |(at, _)| {
        let begins = !line[..at].ends_with(|c: char| legal(c) || "${".contains(c));
        let name = &line[at..at + line[at..].find(|c| !legal(c)).unwrap_or(line.len() - at)];
        let after = &line[at + name.len()..];
        let sets = after.starts_with('=') || after.starts_with("+=");
        let unless_set = line[..at].ends_with("${") && [":=", "="].iter().any(|sign| after.starts_with(sign));
        ((begins && sets) || unless_set).then_some(name)
    })
}

pub(super) fn words(text: Option<&String>) -> Vec<String> {
    text.map(|text| text.split_whitespace().map(Into::into).collect()).unwrap_or_default()
}

/// Parses lines `key=value` of a properties file, without continuation lines and escapes.
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

    /// Reads the committed manifests after replacing `from` with `to` in `file`.
    fn changed(changes: &[(&str, &str, &str)]) -> Result<(Facts, Settings), Vec<ManifestProblem>> {
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
        let result = read(&dir, Release::default());
        std::fs::remove_dir_all(&dir).unwrap();
        result
    }

    fn problems(changes: &[(&str, &str, &str)]) -> Vec<String> {
        changed(changes).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_committed_manifests_describe_the_lab() {
        let (facts, settings) = read(&manifests(), Release::default()).unwrap();
        assert_eq!((facts.brokers.count, facts.brokers.partitions, facts.brokers.replication_factor), (3, 4, 3));
        assert_eq!((facts.brokers.host_port_base, settings.local.coordinator_port), (30090, 32181));
        assert_eq!(facts.brokers.heap_opts, ["-Xms512m", "-Xmx512m"]);
        assert_eq!(facts.topic, "test");
        let roles: Vec<&str> = facts.clients.iter().map(|client| client.role.as_str()).collect();
        assert_eq!(roles, ["producer", "consumer"]);
        assert_eq!(facts.coordinator.properties["tickTime"], "1000");
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

    /// File, old text, new text, expected problem.
    const IMPOSSIBLE: &[(&str, &str, &str, &str)] = &[
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
        (
            "kafka.yml",
            "KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE",
            "KAFKA_UNCLEAN_LEADER_ELECTION_ENABLED",
            "which ignore it: KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE is",
        ),
        (
            "kafka.yml",
            "KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE",
            "KAFKA_CFG_UNCLEAN_LEADER_ELECTION_ENABLE",
            "is the spelling of another image: this one reads KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE",
        ),
        (
            "clients.yml",
            "imagePullPolicy: IfNotPresent",
            "imagePullPolicy: Always",
            "clients.yml: Deployment producer imagePullPolicy: is Always",
        ),
        ("kafka.yml", "  name: zookeeper\n", "  name: keeper\n", "kafka.yml: StatefulSet zookeeper: is missing"),
        ("kafka.yml", "srvr,ruok,mntr,dump", "srvr", "4lw.commands.whitelist: must allow dump"),
        (
            "host-access.yml",
            "nodePort: 30091",
            "nodePort: 30090",
            "which kafka-host-0 has already: two brokers on one port",
        ),
        (
            "cluster.yml",
            "containerPort: 30091, hostPort: 30091",
            "containerPort: 30091, hostPort: 30090",
            "cluster.yml: extraPortMappings hostPort: 30090 leads to",
        ),
        ("cluster.yml", "hostPort: 30092, listenAddress: 127.0.0.1", "hostPort: 30092", "of 30092 must be 127.0.0.1"),
        (
            "lab.yml",
            "zookeeper_port: 32181",
            "zookeeper_port: 30091",
            "local.zookeeper_port: is 30091, which is the port of broker 1",
        ),
        ("lab.yml", "value_size: 100", "value_size: 100\n  sise: 3", "unknown field `sise`"),
        ("lab.yml", "value_size: 100", "value_size: 1048517", "flow.value_size: is 1048517, must be 1048516 or less"),
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
            "name: KAFKA_BROKER_ID, value: \"7\"}\n            - {name: KAFKA_NUM_PARTITIONS,",
            "KAFKA_BROKER_ID: is not read: the id of a broker is the number of its pod",
        ),
        (
            "kafka.yml",
            "name: KAFKA_NUM_PARTITIONS,",
            "name: kafka_num_io_threads, value: \"7\"}\n            - {name: KAFKA_NUM_PARTITIONS,",
            "kafka_num_io_threads: is not read by the image: write KAFKA_NUM_IO_THREADS",
        ),
        (
            "kafka.yml",
            "name: KAFKA_NUM_PARTITIONS,",
            "name: KAFKA_HEAP_OPT, value: -Xmx1g}\n            - {name: KAFKA_NUM_PARTITIONS,",
            "KAFKA_HEAP_OPT: is not read by the image: KAFKA_HEAP_OPTS is",
        ),
        ("clients.yml", "  name: producer\n", "  name: ../../x\n", "Deployment ../../x metadata.name: must have"),
        (
            "clients.yml",
            "  name: producer\n",
            "  name: kafka-0\n",
            "Deployment kafka-0 metadata.name: is the name of a server",
        ),
        (
            "clients.yml",
            "  name: producer\n",
            "  name: lab.json\n",
            "Deployment lab.json metadata.name: is the name of a file",
        ),
        (
            "clients.yml",
            "  name: producer\n",
            "  name: consumer-0\n",
            "metadata.name: is the name of a replica of consumer",
        ),
        ("clients.yml", "  name: producer\n", "  name: consumer\n", "Deployment consumer: is there twice: remove one"),
        (
            "clients.yml",
            "name: RATE, value: \"1000\"",
            "name: RATES, value: \"1000\"",
            "Deployment producer RATES: is not read by the clients: RATE is",
        ),
        (
            "clients.yml",
            "name: RATE, value: \"1000\"",
            "name: LINGER_MS, value: \"0\"",
            "Deployment producer LINGER_MS: is \"0\", must be a whole number of milliseconds from 1 to 1000",
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

    #[test]
    fn impossible_values_are_named_with_file_and_field() {
        for (file, from, to, expected) in IMPOSSIBLE {
            let found = problems(&[(file, from, to)]);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:#?}");
        }
    }

    const ENV: &str = "          env:\n            - name: POD_NAME\n";
    const PARTITIONS: &str = "{name: KAFKA_NUM_PARTITIONS, value: \"4\"}";

    /// Returns the partitions after replacing KAFKA_NUM_PARTITIONS with `variable` and adding `from` and `documents`.
    fn with_partitions(variable: &str, from: &str, documents: &str) -> Result<u32, Vec<String>> {
        let first = "# ZooKeeper and three".to_string();
        let documents = format!("{documents}\n---\n# ZooKeeper and three");
        let env = format!("{from}{ENV}");
        let result = changed(&[
            ("kafka.yml", PARTITIONS, variable),
            ("kafka.yml", ENV, &env),
            ("kafka.yml", &first, &documents),
        ]);
        result
            .map(|(facts, _)| facts.brokers.partitions)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn variables_are_read_from_every_source_that_kubernetes_has() {
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {n: \"6\", KAFKA_NUM_PARTITIONS: \"7\", PARTITIONS: \"8\"}";
        let secret =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {n: OQ==, k: OQ==}\nstringData: {k: \"11\"}";
        let none = "{name: OTHER, value: x}";
        let from = |reference: &str| format!("          envFrom:\n            - {reference}\n");
        let key = |kind: &str, key: &str| {
            format!(
                "{{name: KAFKA_NUM_PARTITIONS, valueFrom: {{{kind}KeyRef: {{name: {}, key: {key}}}}}}}",
                &kind[..1].replace('c', "m")
            )
        };
        for (variable, from, objects, partitions) in [
            (key("configMap", "n"), String::new(), map, 6),
            (key("secret", "n"), String::new(), secret, 9),
            (key("secret", "k"), String::new(), secret, 11),
            (none.into(), from("configMapRef: {name: m}"), map, 7),
            (none.into(), from("{prefix: KAFKA_NUM_, configMapRef: {name: m}}"), map, 8),
            (PARTITIONS.into(), from("configMapRef: {name: m}"), map, 4),
            (none.into(), from("configMapRef: {name: elsewhere, optional: true}"), map, 1),
            (
                "{name: P, value: \"1\"}\n            - {name: KAFKA_NUM_PARTITIONS, value: \"$(P)2\"}".into(),
                String::new(),
                map,
                12,
            ),
            ("{name: KAFKA_NUM_PARTITIONS, value: \"$(PARTITIONS)\"}".into(), from("configMapRef: {name: m}"), map, 8),
        ] {
            assert_eq!(with_partitions(&variable, &from, objects), Ok(partitions), "{variable} {from}");
        }
    }

    #[test]
    fn variables_that_cannot_be_read_are_refused_by_name() {
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {n: \"6\"}\nbinaryData: {b: Ng==}";
        let of = |place: &str| format!("{{name: KAFKA_NUM_PARTITIONS, valueFrom: {place}}}");
        let from = |reference: &str| format!("          envFrom:\n            - {reference}\n");
        for (variable, from, expected) in [
            (of("{configMapKeyRef: {name: elsewhere, key: n}}"), String::new(), "StatefulSet kafka KAFKA_NUM_PARTITIONS: ConfigMap elsewhere is not in kafka.yml"),
            (of("{configMapKeyRef: {name: m, key: x}}"), String::new(), "KAFKA_NUM_PARTITIONS: ConfigMap m has no key x"),
            (of("{configMapKeyRef: {name: m, key: b}}"), String::new(), "KAFKA_NUM_PARTITIONS: ConfigMap m b: is not text"),
            (of("{secretKeyRef: {name: m, key: n}}"), String::new(), "Secret m is not in kafka.yml"),
            (of("{fieldRef: {fieldPath: status.podIP}}"), String::new(), "KAFKA_NUM_PARTITIONS: comes from fieldRef status.podIP"),
            (of("{resourceFieldRef: {resource: limits.cpu}}"), String::new(), "KAFKA_NUM_PARTITIONS: comes from resourceFieldRef"),
            (of("{fileKeyRef: {key: n}}"), String::new(), "KAFKA_NUM_PARTITIONS: comes from fileKeyRef"),
            ("{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}\n            - {name: KAFKA_X, value: \"$(IP)\"}".into(), String::new(), "KAFKA_X: comes from $(IP), which is from fieldRef"),
            (format!("{PARTITIONS}\n            - {PARTITIONS}"), String::new(), "KAFKA_NUM_PARTITIONS: occurs twice"),
            (PARTITIONS.into(), from("configMapRef: {name: elsewhere}"), "StatefulSet kafka envFrom: ConfigMap elsewhere is not in kafka.yml"),
            (PARTITIONS.into(), from("prefix: X"), "StatefulSet kafka envFrom: must name a configMapRef"),
            (PARTITIONS.replace("\"4\"", "true"), String::new(), "KAFKA_NUM_PARTITIONS: is true, must be a string"),
            (PARTITIONS.replace("value: \"4\"", "value: \"4\", valueFrom: {fieldRef: {fieldPath: metadata.name}}"), String::new(), "has both value and valueFrom"),
        ] {
            let found = with_partitions(&variable, &from, map).unwrap_err();
            assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
        }
        // A variable that the lab does not read.
        let harmless = "{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}";
        assert_eq!(with_partitions(&format!("{harmless}\n            - {PARTITIONS}"), "", map), Ok(4));
    }

    /// File, old text, new text, expected problem.
    const NOT_FOLLOWED: &[(&str, &str, &str, &str)] = &[
        (
            "kafka.yml",
            ":2181\"}",
            ":2181/kafka\"}",
            "kafka.yml: KAFKA_ZOOKEEPER_CONNECT: \"zookeeper-service.default.svc.cluster.local:2181/kafka\" has a path (chroot)",
        ),
        ("kafka.yml", ":2181\"}", ":2181,zookeeper-service:2181\"}", "names several servers"),
        ("kafka.yml", ".local:2181\"}", ".local\"}", "must be SERVICE:PORT"),
        (
            "kafka.yml",
            "\"zookeeper-service.$(POD_NAMESPACE)",
            "\"zk.example.com.$(POD_NAMESPACE)",
            "leads to no Service of kafka.yml",
        ),
        (
            "kafka.yml",
            "{name: KAFKA_ZOOKEEPER_CONNECT",
            "{name: KAFKA_ZOOKEEPER",
            "KAFKA_ZOOKEEPER_CONNECT: is missing",
        ),
        (
            "kafka.yml",
            "exec /etc/confluent/docker/run",
            "export KAFKA_NUM_PARTITIONS=6; exec /etc/confluent/docker/run",
            "StatefulSet kafka command: sets KAFKA_NUM_PARTITIONS",
        ),
        (
            "kafka.yml",
            "          env:\n            - name: POD_NAME\n              valueFrom:",
            "          env:\n            - name: POD_NAME\n              <<: *x\n              valueFrom:",
            "has a merge key (<<)",
        ),
        (
            "kafka.yml",
            "exec /etc/confluent/docker/run",
            "echo num.partitions=6 >>/etc/kafka/kafka.properties\n              exec /etc/confluent/docker/run",
            "StatefulSet kafka command: mentions a properties file",
        ),
        (
            "kafka.yml",
            "exec /etc/confluent/docker/run",
            ". /etc/x\n              exec /etc/confluent/docker/run",
            "StatefulSet kafka command: has `.`",
        ),
        (
            "kafka.yml",
            "exec /etc/confluent/docker/run",
            "exec kafka-server-start /etc/kafka/server.properties",
            "StatefulSet kafka command: must end in /etc/confluent/docker/run",
        ),
        (
            "kafka.yml",
            "mountPath: /var/lib/kafka/data}",
            "mountPath: /var/lib/kafka/data}\n            - {name: x, mountPath: /etc/kafka/server.properties}",
            "StatefulSet kafka volumeMounts: /etc/kafka/server.properties: settings in files are not read",
        ),
        (
            "kafka.yml",
            "configMap: {name: zookeeper-config}",
            "configMap: {name: other}",
            "StatefulSet zookeeper: must start ZooKeeper with zookeeper.properties",
        ),
        (
            "kafka.yml",
            "  name: kafka-service\n",
            "  name: kafka-service\n  namespace: other\n",
            "Service kafka-service metadata.namespace: is other",
        ),
        (
            "kafka.yml",
            "labels: {app: kafka, app.kubernetes.io/part-of: kafka-lab}\n    spec:",
            "labels: {app: broker}\n    spec:",
            "StatefulSet kafka spec.selector: asks for app",
        ),
        (
            "kafka.yml",
            "selector: {app: zookeeper}",
            "selector: {app: keeper}",
            "Service zookeeper-service spec.selector: selects no pod",
        ),
        (
            "kafka.yml",
            PARTITIONS,
            "{name: KAFKA_AUTO_CREATE_TOPICS_ENABLE, value: \"no\"}",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE: is \"no\", must be true or false",
        ),
        ("clients.yml", "kind: Deployment", "kind: StatefulSet", "clients.yml: StatefulSet producer: is not read"),
        (
            "clients.yml",
            "          env:\n            - {name: ROLE, value: producer}",
            "          args: [producer, --rate, \"5\"]\n          env:\n            - {name: ROLE, value: producer}",
            "Deployment producer command, args: is not read",
        ),
        (
            "clients.yml",
            "{name: TOPIC, value: test}",
            "{name: TOPIC, value: -x}",
            "clients.yml: TOPIC: \"-x\" begins with '-'",
        ),
        (
            "clients.yml",
            "{name: TOPIC, value: test}",
            "{name: TOPIC, value: __consumer_offsets}",
            "is Kafka's own topic",
        ),
    ];

    #[test]
    fn settings_that_the_lab_would_not_follow_are_refused() {
        let kafka = "        - name: kafka\n          image: confluentinc/cp-kafka:7.3.5\n";
        let more = format!("        - name: metrics\n          image: confluentinc/cp-kafka:7.3.5\n{kafka}");
        let two = ("kafka.yml", kafka, more.as_str(), "StatefulSet kafka containers: are 2, must be one");
        for (file, from, to, expected) in NOT_FOLLOWED.iter().chain([&two]) {
            let found = problems(&[(file, from, to)]);
            assert!(found.iter().any(|problem| problem.contains(expected)), "{to}: {found:#?}");
        }
    }

    #[test]
    fn a_script_that_sets_variables_is_seen() {
        let names = |line: &str| assigned(line).map(ToString::to_string).collect::<Vec<_>>();
        for line in [
            "KAFKA_A=1",
            "export KAFKA_A=1",
            "export \"KAFKA_A=1\"",
            "env KAFKA_A+=1 x",
            ": ${KAFKA_A:=1}",
            ": \"${KAFKA_A=1}\"",
        ] {
            assert_eq!(names(line), ["KAFKA_A"], "{line}");
        }
        for line in ["echo $KAFKA_A", "echo ${KAFKA_A}=1", "[ $KAFKA_A = 1 ]", "MY_KAFKA_A=1", "x ${KAFKA_A:-1} KAFKA_"]
        {
            assert_eq!(names(line), Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn other_labels_and_names_are_followed() {
        let bare = ("kafka.yml", ", app.kubernetes.io/part-of: kafka-lab", "");
        let (facts, _) = changed(&[
            bare,
            ("kafka.yml", "{app: kafka}", "{name: broker}"),
            ("kafka.yml", "- name: zookeeper\n", "- name: zk\n"),
        ])
        .unwrap();
        assert_eq!(facts.selectors["kafka"], BTreeMap::from([("name".to_string(), "broker".to_string())]));
        assert_eq!(facts.coordinator.container, "zk");
    }

    #[test]
    fn what_windows_editors_write_is_read() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-manifests-{}-windows", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for file in ["cluster.yml", "kafka.yml", "clients.yml", "host-access.yml", "lab.yml"] {
            let text = std::fs::read_to_string(manifests().join(file)).unwrap();
            std::fs::write(dir.join(file), format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
        }
        let found = read(&dir, Release::default());
        std::fs::write(dir.join("lab.yml"), [0xff, 0xfe, b'a', 0]).unwrap();
        let wide = read(&dir, Release::default()).unwrap_err();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, read(&manifests(), Release::default()));
        assert!(wide[0].to_string().contains("lab.yml") && wide[0].message.contains("not UTF-8"), "{wide:#?}");
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
        assert!(found[0].starts_with("kafka.yml: KAFKA_NUM_PARTITIONS: is 4, must be a string"), "{found:#?}");
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
        let found = read(Path::new("/nonexistent"), Release::default()).unwrap_err();
        for file in ["kafka.yml", "lab.yml", "clients.yml", "cluster.yml"] {
            let of_file: Vec<_> = found.iter().filter(|problem| problem.file == file).collect();
            assert!(of_file.len() == 1 && of_file[0].message.contains("cannot be read"), "{of_file:#?}");
        }
    }
}
