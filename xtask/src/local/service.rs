//! A service as a process: its files, command and mark.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Lab;
use crate::config::broker_settings::property_name;
use crate::config::facts::{POD_NAME, Quorum};
use crate::coordination::Mode;
use crate::exec::Cmd;
use crate::files;
use crate::local::jars::{Jars, fingerprint};
use crate::local::process::{self, Identity, Started};
use crate::service::Service;
use crate::tools::java::Java;

/// Everything needed to start a service.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The configuration files it reads, with their text.
    pub files: Vec<(PathBuf, String)>,
    /// The command that starts it.
    pub cmd: Cmd,
    /// Everything that requires a restart if it changes.
    pub settings: String,
    /// The class-data archive that it starts from.
    pub archive: Option<PathBuf>,
    /// The class-data archive that the process writes on a normal exit, and the archive's place in the cache.
    pub trains: Option<(PathBuf, PathBuf)>,
}

impl Service {
    /// The folder of its data, configuration and record.
    pub fn dir(self, lab: &Lab) -> PathBuf {
        lab.state.join(self.name(lab))
    }

    /// The file of its [`Started`] record.
    pub fn record(self, lab: &Lab) -> PathBuf {
        self.dir(lab).join("process.json")
    }

    /// Its log, which it rotates itself.
    pub fn log(self, lab: &Lab) -> PathBuf {
        lab.logs().join(format!("{}.log", self.name(lab)))
    }

    /// Its standard output and error: a JVM that cannot start, a panic.
    pub fn out(self, lab: &Lab) -> PathBuf {
        lab.logs().join(format!("{}.out", self.name(lab)))
    }

    /// A client's state file. It replaces the path in the pod that clients.yml names.
    pub fn state_file(self, lab: &Lab) -> PathBuf {
        self.dir(lab).join("state.json")
    }

    /// The argument that identifies its process as ours.
    pub fn mark(self, lab: &Lab) -> String {
        match self {
            Service::Client(..) => format!("--log-file={}", self.log(lab).display()),
            _ => format!("-Dkafka.lab.mark={}", self.dir(lab).display()),
        }
    }

    /// Its living process: the recorded one, or one with its mark.
    pub fn living(self, lab: &Lab) -> Option<Identity> {
        process::find(Started::read(&self.record(lab)).as_ref(), &self.mark(lab))
    }

    /// Its port on 127.0.0.1; clients have none.
    pub fn port(self, lab: &Lab) -> Option<u16> {
        match self {
            Service::Coordinator(number) => lab.coordinator_ports().get(number as usize).copied(),
            Service::Broker(id) => Some(lab.ports.broker(id)),
            Service::Client(..) => None,
        }
    }

    /// Its ports on 127.0.0.1. A broker that is a controller too has one for each.
    pub fn ports(self, lab: &Lab) -> Vec<u16> {
        let own = self.port(lab);
        let other = match self {
            Service::Broker(id) if lab.facts.coordinator.count == 0 => {
                lab.coordinator_ports().get(id as usize).copied()
            }
            _ => None,
        };
        own.into_iter().chain(other).collect()
    }

    /// Its command and configuration.
    pub fn spec(self, lab: &Lab, jars: &Jars, java: &Java) -> Spec {
        match self {
            Service::Coordinator(number) if lab.release.mode == Mode::KRaft => {
                let file = self.dir(lab).join("controller.properties");
                let properties = controller_properties(lab, number, &self.dir(lab));
                self.java(lab, jars, java, &lab.facts.coordinator.heap_opts, "kafka.Kafka", (file, properties))
            }
            Service::Coordinator(_) => {
                let file = self.dir(lab).join("zookeeper.properties");
                let properties = zookeeper_properties(lab, &self.dir(lab));
                let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
                self.java(lab, jars, java, &lab.facts.coordinator.heap_opts, class, (file, properties))
            }
            Service::Broker(id) => {
                let file = self.dir(lab).join("server.properties");
                let properties = broker_properties(lab, id, &self.dir(lab));
                let mut options = lab.facts.brokers.heap_opts.clone();
                let more = lab.facts.brokers.env.get("KAFKA_OPTS").map(String::as_str).unwrap_or_default();
                options.extend(more.split_whitespace().map(Into::into));
                self.java(lab, jars, java, &options, "kafka.Kafka", (file, properties))
            }
            Service::Client(index, _) => self.client(lab, index),
        }
    }

    fn java(
        self,
        lab: &Lab,
        jars: &Jars,
        java: &Java,
        options: &[String],
        class: &str,
        (file, properties): (PathBuf, String),
    ) -> Spec {
        let mut fixed: Vec<String> = options.to_vec();
        fixed.extend(lab.settings.local.java_options.iter().cloned());
        fixed.extend([
            self.mark(lab),
            format!("-Dkafka.logs.dir={}", lab.logs().display()),
            format!("-Dkafka.lab.process={}", self.name(lab)),
            "-Dkafka.lab.appender=file".into(),
            format!("-D{}={}", jars.log4j_option, file_url(&jars.log4j)),
            "-Djava.awt.headless=true".into(),
        ]);
        let tail = ["-cp".into(), jars.class_path(), class.into(), file.display().to_string()];
        let settings = format!("{properties}\n{} {}\n", fixed.join(" "), tail.join(" "));

        // A class-data archive saves most of a JVM's startup time. The first lab's first coordinator and first broker
        // write one each when they exit, and `stop` moves it into the cache.
        let (mut archive, mut trains) = (None, None);
        let mut unsettled =
            vec![format!("-XX:ErrorFile={}", lab.logs().join(format!("{}.crash", self.name(lab))).display())];
        if java.version.has_dynamic_archives() {
            let mode = lab.release.mode;
            let kind = match (self, mode) {
                (Service::Coordinator(_), _) => mode.workload(),
                (_, Mode::KRaft) => "broker",
                _ => "kafka",
            };
            let key = fingerprint(&[&jars.class_path(), &java.banner, &lab.settings.local.java_options.join(" ")]);
            let kept = lab.env.cache.join("class-data").join(format!("{kind}-{key}.jsa"));
            if is_whole(&kept) {
                unsettled.push(format!("-XX:SharedArchiveFile={}", kept.display()));
                archive = Some(kept);
            } else if matches!(self, Service::Coordinator(0) | Service::Broker(0)) {
                let made = self.dir(lab).join("classes.jsa");
                unsettled.push(format!("-XX:ArchiveClassesAtExit={}", made.display()));
                trains = Some((made, kept));
            }
        }
        // Without a UTF-8 locale, a JVM before 18 cannot open paths with non-ASCII letters.
        let cmd =
            Cmd::new(&java.program, Duration::ZERO).env("LC_ALL", "C.UTF-8").args(unsettled).args(fixed).args(tail);
        Spec { files: vec![(file, properties)], cmd, settings, archive, trains }
    }

    fn client(self, lab: &Lab, index: usize) -> Spec {
        let mut env: BTreeMap<String, String> =
            lab.facts.clients.get(index).map(|client| client.env.clone()).unwrap_or_default();
        env.insert("KAFKA_BROKER".into(), lab.bootstrap());
        env.insert("STATE_FILE".into(), self.state_file(lab).display().to_string());
        let settings: String = env.iter().fold(String::new(), |mut text, (key, value)| {
            let _ = writeln!(text, "{key}={value}");
            text
        });
        let role = env.remove("ROLE").unwrap_or_default();
        let mut cmd = Cmd::new(lab.clients_program(), Duration::ZERO).arg(role).arg(self.mark(lab));
        for (key, value) in env {
            cmd = cmd.env(key, value.replace(POD_NAME, &self.name(lab)));
        }
        Spec { files: Vec::new(), cmd, settings, archive: None, trains: None }
    }
}

/// The file beside a class-data archive that says how it was when it was made.
pub fn stamp_of(archive: &Path) -> PathBuf {
    files::beside(archive, "checked")
}

/// Whether a class-data archive is as it was made. A JVM crashes on one that was cut short or written over.
pub fn is_whole(archive: &Path) -> bool {
    files::own::read_own_text(&stamp_of(archive)).is_ok_and(|text| text.as_ref() == Some(&files::stamp(archive)))
}

/// `path` as a URL, which log4j requires.
pub fn file_url(path: &Path) -> String {
    let mut url = "file:".to_string();
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            url.push(byte as char);
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// Escapes `value` for a java.util.Properties file in ISO 8859-1.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for (index, c) in value.chars().enumerate() {
        match c {
            '\\' => text.push_str(r"\\"),
            '\n' => text.push_str(r"\n"),
            ' ' if index == 0 => text.push_str(r"\ "),
            ' '..='~' => text.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}

fn render(properties: &BTreeMap<String, String>) -> String {
    properties.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}={}", escaped(value));
        text
    })
}

fn zookeeper_properties(lab: &Lab, dir: &Path) -> String {
    let mut properties = lab.facts.coordinator.properties.clone();
    properties.remove("dataLogDir");
    properties.insert("dataDir".into(), dir.join("data").display().to_string());
    properties.insert("clientPort".into(), lab.ports.coordinator.to_string());
    properties.insert("clientPortAddress".into(), "127.0.0.1".into());
    properties.insert("admin.enableServer".into(), "false".into());
    render(&properties)
}

fn broker_properties(lab: &Lab, id: u32, dir: &Path) -> String {
    let env = &lab.facts.brokers.env;
    let mut properties: BTreeMap<String, String> = env
        .iter()
        .filter_map(|(key, value)| Some((property_name(key)?, value.replace(POD_NAME, &format!("kafka-{id}")))))
        .collect();
    let listener = env.get("KAFKA_INTER_BROKER_LISTENER_NAME").map_or("PLAINTEXT", String::as_str);
    let address = format!("{listener}://{}", lab.broker_address(id));
    properties.insert("listeners".into(), address.clone());
    properties.insert("advertised.listeners".into(), address);
    properties.insert("log.dirs".into(), dir.join("data").display().to_string());
    match &lab.facts.coordinator.quorum {
        None => {
            properties.insert("broker.id".into(), id.to_string());
            properties.insert("zookeeper.connect".into(), lab.coordinator_address());
        }
        Some(quorum) => {
            properties.insert("node.id".into(), id.to_string());
            properties.insert("controller.quorum.voters".into(), voters(lab, quorum));
            let port = lab.coordinator_ports().get(id as usize).copied();
            if let Some(port) = port.filter(|_| lab.facts.coordinator.count == 0) {
                let more = format!(",{}://127.0.0.1:{port}", quorum.listener);
                properties.entry("listeners".into()).and_modify(|listeners| listeners.push_str(&more));
            }
        }
    }
    render(&properties)
}

/// The voters at their addresses on this host.
fn voters(lab: &Lab, quorum: &Quorum) -> String {
    let all = quorum.voters.iter().zip(lab.coordinator_ports());
    all.map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn controller_properties(lab: &Lab, number: u32, dir: &Path) -> String {
    let env = &lab.facts.coordinator.properties;
    let mut properties: BTreeMap<String, String> =
        env.iter().filter_map(|(key, value)| Some((property_name(key)?, value.clone()))).collect();
    if let Some(quorum) = &lab.facts.coordinator.quorum {
        let place = number as usize;
        let (id, port) = (quorum.voters.get(place).copied(), lab.coordinator_ports().get(place).copied());
        properties.insert("node.id".into(), id.unwrap_or_default().to_string());
        let listener = format!("{}://127.0.0.1:{}", quorum.listener, port.unwrap_or_default());
        properties.insert("listeners".into(), listener);
        properties.insert("controller.quorum.voters".into(), voters(lab, quorum));
    }
    properties.insert("log.dirs".into(), dir.join("data").display().to_string());
    render(&properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;
    use crate::coordination::Release;
    use crate::coordination::releases::Version;
    use crate::tools::java;

    fn java() -> Java {
        Java {
            program: "java".into(),
            version: java::Version { major: 17, text: "17.0.15".into() },
            banner: "b".into(),
        }
    }

    #[test]
    fn a_broker_keeps_the_settings_of_kafka_yml_and_listens_on_loopback_only() {
        let lab = sample::lab();
        let text = broker_properties(&lab, 1, Path::new("/state/kafka-1"));
        for line in [
            "broker.id=1",
            "listeners=PLAINTEXT://127.0.0.1:30091",
            "advertised.listeners=PLAINTEXT://127.0.0.1:30091",
            "zookeeper.connect=127.0.0.1:32181",
            "num.partitions=4",
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "log.dirs=/state/kafka-1/data",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("0.0.0.0") && !text.contains("$("), "{text}");
    }

    #[test]
    fn zookeeper_keeps_its_settings_and_listens_on_loopback_only() {
        let text = zookeeper_properties(&sample::lab(), Path::new("/state/zookeeper"));
        for line in
            ["tickTime=1000", "clientPort=32181", "clientPortAddress=127.0.0.1", "dataDir=/state/zookeeper/data"]
        {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn controllers_and_brokers_of_kraft_listen_on_loopback_only_and_know_the_voters() {
        const VOTERS: &str = "controller.quorum.voters=100@127.0.0.1:32181,101@127.0.0.1:32182,102@127.0.0.1:32183";
        let lab = sample::of(Release { version: Version::V4_3, mode: Mode::KRaft });
        let expect = |text: &str, lines: &[&str]| {
            for line in lines {
                assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
            }
            for word in ["0.0.0.0", "$(", "zookeeper", "broker.id", "-service"] {
                assert!(!text.contains(word), "{word} is in\n{text}");
            }
        };
        let controller = controller_properties(&lab, 1, Path::new("/state/controller-1"));
        let own = ["node.id=101", "process.roles=controller", "listeners=CONTROLLER://127.0.0.1:32182", VOTERS];
        expect(&controller, &own);
        expect(&controller, &["log.dirs=/state/controller-1/data", "min.insync.replicas=2"]);
        let broker = broker_properties(&lab, 1, Path::new("/state/kafka-1"));
        let own = ["node.id=1", "process.roles=broker", "listeners=PLAINTEXT://127.0.0.1:30091", VOTERS];
        expect(&broker, &own);
        expect(&broker, &["advertised.listeners=PLAINTEXT://127.0.0.1:30091", "controller.listener.names=CONTROLLER"]);
        assert_eq!(Service::Coordinator(2).ports(&lab), [32183]);
        assert_eq!(Service::Broker(2).ports(&lab), [30092]);
    }

    #[test]
    fn odd_paths_survive_properties_and_urls() {
        assert_eq!(escaped(" a b\\ü𝄞"), "\\ a b\\\\\\u00fc\\ud834\\udd1e");
        assert_eq!(file_url(Path::new("/a b/ü%.x")), "file:/a%20b/%C3%BC%25.x");
    }

    #[test]
    fn changed_settings_require_a_restart_and_an_archive_does_not() {
        let lab = sample::lab();
        let jars = Jars::describe(&lab.env, lab.release.version).unwrap();
        let before = Service::Broker(0).spec(&lab, &jars, &java());
        assert!(before.trains.is_some());
        assert!(!before.settings.contains("ArchiveClassesAtExit"));
        assert!(Service::Broker(1).spec(&lab, &jars, &java()).trains.is_none());
        let mut other = lab.clone();
        other.facts.brokers.env.insert("KAFKA_NUM_PARTITIONS".into(), "6".into());
        assert_ne!(Service::Broker(0).spec(&other, &jars, &java()).settings, before.settings);
        assert_eq!(
            Service::Coordinator(0).spec(&other, &jars, &java()).settings,
            Service::Coordinator(0).spec(&lab, &jars, &java()).settings
        );
        let old = Java { version: java::Version { major: 11, text: "11".into() }, ..java() };
        assert!(Service::Broker(0).spec(&lab, &jars, &old).trains.is_none());
    }

    #[test]
    fn clients_get_their_environment_and_the_host_addresses() {
        let lab = sample::lab();
        let jars = Jars::describe(&lab.env, lab.release.version).unwrap();
        let spec = Service::Client(0, 0).spec(&lab, &jars, &java());
        let line = spec.cmd.to_string();
        assert!(line.contains("KAFKA_BROKER=127.0.0.1:30090,127.0.0.1:30091,127.0.0.1:30092"), "{line}");
        assert!(line.contains("STATE_FILE=/state/kafka-lab/kafka-lab/producer/state.json"), "{line}");
        assert!(line.ends_with(" producer --log-file=/state/kafka-lab/kafka-lab/logs/producer.log"), "{line}");
    }
}
