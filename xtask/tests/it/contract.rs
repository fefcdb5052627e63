//! What kafka.yml may rely on in its image, checked on both sides: the manifest uses nothing else, and our own image
//! keeps every promise. The list comes from the published sources of the official image.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

use Promise::*;
use serde::Deserialize;
use serde_json::Value;

/// The image that the list describes.
const OFFICIAL: &str = "confluentinc/cp-kafka:7.3.5";

/// Something that a manifest may rely on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Promise<'a> {
    /// The numeric id of its user and group. The kubelet cannot check whether a name is root.
    User(u64),
    /// It has no entrypoint, and this default command.
    Start(&'a str),
    /// A program on PATH.
    Tool(&'a str),
    /// A folder that its user can write to.
    Folder(&'a str),
    /// A folder that we mount, which the image need not have.
    OurFolder(&'a str),
    /// A variable that we set and the image ignores.
    OurVariable(&'a str),
    /// A variable with the pod's name.
    HostName(&'a str),
    /// A variable that the start script requires.
    Required(&'a str),
    /// A variable that the start script rejects.
    Refused(&'a str),
    /// A variable and the broker property that it becomes. Any other KAFKA_ variable not in this list becomes one too.
    Property(&'a str, &'a str),
    /// A variable that does not become a property.
    NoProperty(&'a str),
    /// A property and its default in the start script.
    Default(&'a str, &'a str),
    /// A variable with JVM options.
    JavaOptions(&'a str),
    /// The start script also accepts variables as arguments: NAME=value.
    Arguments,
    /// The start script waits for ZooKeeper for as many seconds as this variable says.
    ZooKeeperTimeout(&'a str),
    /// The command becomes a JVM that is process 1 and ends on SIGTERM.
    Signals(&'a str),
}

const START: &str = "/etc/confluent/docker/run";

const PROMISES: &[Promise<'static>] = &[
    User(1000),
    Start(START),
    Tool("kafka-configs"),
    Tool("kafka-console-consumer"),
    Tool("kafka-console-producer"),
    Tool("kafka-consumer-groups"),
    Tool("kafka-get-offsets"),
    Tool("kafka-run-class"),
    Tool("kafka-server-start"),
    Tool("kafka-topics"),
    Tool("zookeeper-server-start"),
    Tool("zookeeper-shell"),
    Tool("echo"),
    Tool("false"),
    Tool("nc"),
    Tool("sh"),
    Tool("sleep"),
    Tool("timeout"),
    Tool("true"),
    Folder("/etc/kafka"),
    Folder("/var/lib/kafka/data"),
    Folder("/var/lib/zookeeper"),
    OurFolder("/etc/zookeeper"),
    OurVariable("LAB_HOST_PORT_BASE"),
    OurVariable("POD_NAME"),
    OurVariable("POD_NAMESPACE"),
    HostName("HOSTNAME"),
    Required("KAFKA_ADVERTISED_LISTENERS"),
    Required("KAFKA_ZOOKEEPER_CONNECT"),
    Refused("KAFKA_ADVERTISED_HOST"),
    Refused("KAFKA_ADVERTISED_PORT"),
    Refused("KAFKA_HOST"),
    Refused("KAFKA_PORT"),
    Property("KAFKA_LISTENERS", "listeners"),
    Property("KAFKA_LOG_DIRS", "log.dirs"),
    Property("KAFKA_NUM_PARTITIONS", "num.partitions"),
    Property("KAFKA_TWO__THREE___ONE_END", "two_three-one.end"),
    NoProperty("KAFKA_GC_LOG_OPTS"),
    NoProperty("KAFKA_LOG4J_LOGGERS"),
    NoProperty("KAFKA_LOG4J_ROOT_LOGLEVEL"),
    NoProperty("KAFKA_TOOLS_LOG4J_LOGLEVEL"),
    NoProperty("KAFKA_VERSION"),
    Default("listeners", "PLAINTEXT://0.0.0.0:9092,EXTERNAL://0.0.0.0:30090"),
    Default("log.dirs", "/var/lib/kafka/data"),
    JavaOptions("KAFKA_HEAP_OPTS"),
    JavaOptions("KAFKA_JMX_OPTS"),
    JavaOptions("KAFKA_JVM_PERFORMANCE_OPTS"),
    JavaOptions("KAFKA_OPTS"),
    Arguments,
    ZooKeeperTimeout("KAFKA_CUB_ZK_TIMEOUT"),
    Signals(START),
    Signals("zookeeper-server-start"),
];

fn promised(promise: Promise<'_>) -> bool {
    PROMISES.contains(&promise)
}

fn kafka_yml() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/kafka.yml")).unwrap()
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The files of a ConfigMap.
fn files<'a>(documents: &'a [Value], name: &Value) -> impl Iterator<Item = &'a str> {
    let map = documents.iter().find(|map| map["kind"] == "ConfigMap" && map["metadata"]["name"] == *name);
    map.and_then(|map| map["data"].as_object()).into_iter().flat_map(|data| data.values().map(string))
}

/// Everything that the image's containers use without a promise.
fn violations(text: &str) -> BTreeSet<String> {
    let documents = documents(text);
    let mut found = BTreeSet::new();
    for workload in &documents {
        let pod = &workload["spec"]["template"]["spec"];
        for container in list(&pod["initContainers"]).chain(list(&pod["containers"])) {
            if container["image"] == OFFICIAL {
                let broken = Uses::of(&documents, pod, container).broken();
                found.extend(broken.iter().map(|what| format!("{}: {what}", string(&container["name"]))));
            }
        }
    }
    found
}

/// What a container uses.
#[derive(Default)]
struct Uses {
    commands: BTreeSet<String>,
    mounts: BTreeSet<String>,
    paths: BTreeSet<String>,
    /// The environment of its processes.
    variables: BTreeSet<String>,
    /// Variables that a script sets for itself.
    locals: BTreeSet<String>,
    /// Variables that a script reads.
    reads: BTreeSet<String>,
    /// What is wrong regardless of the promises.
    faults: BTreeSet<String>,
}

impl Uses {
    fn of(documents: &[Value], pod: &Value, container: &Value) -> Self {
        let mut uses = Uses::default();
        uses.mounts.extend(list(&container["volumeMounts"]).map(|mount| string(&mount["mountPath"]).into()));
        for volume in list(&pod["volumes"]) {
            for line in files(documents, &volume["configMap"]["name"]).flat_map(str::lines) {
                uses.path(line.split_once('=').map_or("", |(_, value)| value.trim()));
            }
        }
        for variable in list(&container["env"]) {
            uses.variables.insert(string(&variable["name"]).into());
            uses.path(string(&variable["value"]));
        }

        uses.run(list(&container["command"]).chain(list(&container["args"])));
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"].map(|probe| &container[probe]["exec"]) {
            uses.exec(probe);
        }
        for hook in ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]["exec"]) {
            uses.exec(hook);
        }

        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            let own = &container["securityContext"][field];
            let id = if own.is_null() { &pod["securityContext"][field] } else { own };
            uses.fault(!id.as_u64().is_some_and(|id| promised(User(id))), &format!("{field} {id}"));
        }
        uses.fault(pod["enableServiceLinks"] != false, "enableServiceLinks is not false");
        uses.fault(!container["envFrom"].is_null(), "envFrom, which hides variables");
        let sealed = container["securityContext"]["readOnlyRootFilesystem"] == true;
        uses.fault(sealed && !uses.mounts.contains("/etc/kafka"), "/etc/kafka is read-only");
        uses
    }

    fn fault(&mut self, is: bool, what: &str) {
        self.faults.extend(is.then(|| what.to_string()));
    }

    fn path(&mut self, word: &str) {
        self.paths.extend(word.starts_with('/').then(|| word.to_string()));
    }

    fn exec(&mut self, exec: &Value) {
        if !exec.is_null() {
            self.run(list(&exec["command"]));
        }
    }

    /// A program and its arguments; if empty, the image's default command.
    fn run<'a>(&mut self, line: impl Iterator<Item = &'a Value>) {
        let line: Vec<String> = line.map(|word| string(word).into()).collect();
        if let [shell, flags, script, ..] = &line[..]
            && shell == "sh"
            && flags.starts_with('-')
            && flags.ends_with('c')
        {
            self.commands.insert(shell.clone());
            Script(script.chars().peekable()).commands(self, false);
        } else if line.is_empty() {
            self.commands.insert(START.into());
        } else {
            self.command(&line);
        }
    }

    /// One command: assignments and shell keywords, the program, its arguments.
    fn command(&mut self, line: &[String]) {
        let mut words = line.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match (word, word.split_once('=')) {
                (_, Some((name, value))) if is_name(name) => {
                    // The start script reads variables with this prefix.
                    let given = name.starts_with("KAFKA_");
                    if given { &mut self.variables } else { &mut self.locals }.insert(name.into());
                    self.path(value);
                }
                ("if" | "then" | "elif" | "else" | "while" | "until" | "do" | "!" | "{" | "exec", _) => {}
                ("case" | "for" | "break" | "done" | "fi" | "esac" | "}", _) => break,
                ("export", _) => {
                    let names = words.by_ref().map(|word| word.split('=').next().unwrap_or_default());
                    self.variables.extend(names.map(String::from));
                }
                // A number of seconds follows, then another command.
                ("timeout", _) => {
                    self.commands.insert(word.into());
                    words.next();
                }
                _ => {
                    self.commands.insert(word.into());
                    break;
                }
            }
        }
        words.for_each(|word| self.path(word));
    }

    /// What was not promised.
    fn broken(&self) -> BTreeSet<String> {
        let starts = self.commands.contains(START);
        let mut broken = self.faults.clone();
        let mut check = |promised: bool, what: &str, name: &str| {
            broken.extend((!promised).then(|| format!("{what} {name}")));
        };
        for name in &self.commands {
            check(promised(Tool(name)) || promised(Start(name)), "command", name);
        }
        for path in &self.mounts {
            check(promised(Folder(path)) || promised(OurFolder(path)), "mount", path);
        }
        for path in &self.paths {
            let inside = |folder: &str| Path::new(path).starts_with(folder);
            let folder = PROMISES.iter().any(|promise| matches!(promise, Folder(folder) if inside(folder)));
            check(folder || self.mounts.iter().any(|mount| inside(mount)) || path == "/dev/null", "path", path);
        }
        for name in &self.variables {
            let property = starts && name.starts_with("KAFKA_");
            let no_property = promised(Refused(name)) || promised(NoProperty(name));
            let known = promised(OurVariable(name)) || promised(JavaOptions(name));
            check(known || (property && !no_property), "variable", name);
        }
        for name in &self.reads {
            let set = self.variables.contains(name) || self.locals.contains(name);
            check(set || promised(HostName(name)), "unset variable", name);
        }
        for promise in PROMISES {
            if let Required(name) = promise {
                check(!starts || self.variables.contains(*name), "unset variable", name);
            }
        }
        broken
    }
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Parses a shell script just enough to tell commands from arguments. Anything else counts as a command without a
/// promise.
struct Script<'a>(Peekable<Chars<'a>>);

impl Script<'_> {
    /// Commands up to the end, or to the parenthesis that closes them.
    fn commands(&mut self, uses: &mut Uses, inner: bool) {
        let (mut line, mut word) = (Vec::new(), None);
        loop {
            let c = self.0.next();
            if matches!(c, None | Some(' ' | '\t' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>')) {
                line.extend(word.take());
            }
            match c {
                Some(' ' | '\t') => {}
                Some('<' | '>') => while self.0.next_if(|c| matches!(c, '<' | '>' | '&')).is_some() {},
                // The pattern of a case.
                Some(')') if !inner => line.clear(),
                None | Some('\n' | ';' | '&' | '|' | '(' | ')') => {
                    uses.command(&std::mem::take(&mut line));
                    match c {
                        Some('(') => self.commands(uses, true),
                        None | Some(')') => return,
                        _ => {}
                    }
                }
                Some('#') if word.is_none() => while self.0.next_if(|c| *c != '\n').is_some() {},
                Some('\'') => word.get_or_insert_with(String::new).extend(self.0.by_ref().take_while(|c| *c != '\'')),
                Some('"') => self.quoted(uses, '"', word.get_or_insert_with(String::new)),
                Some('$') => self.expansion(uses, word.get_or_insert_with(String::new)),
                Some('\\') => word.get_or_insert_with(String::new).extend(self.0.next()),
                Some(c) => word.get_or_insert_with(String::new).push(c),
            }
        }
    }

    fn quoted(&mut self, uses: &mut Uses, close: char, word: &mut String) {
        while let Some(c) = self.0.next().filter(|c| *c != close) {
            match c {
                '$' => self.expansion(uses, word),
                '\\' => word.extend(self.0.next()),
                c => word.push(c),
            }
        }
    }

    /// Reads what follows a dollar sign. The word gets only the dollar sign.
    fn expansion(&mut self, uses: &mut Uses, word: &mut String) {
        word.push('$');
        let braces = self.0.next_if_eq(&'{').is_some();
        if !braces && self.0.next_if_eq(&'(').is_some() {
            if self.0.next_if_eq(&'(').is_none() {
                return self.commands(uses, true);
            }
            let mut sum = String::new();
            self.quoted(uses, ')', &mut sum);
            self.0.next_if_eq(&')');
            return sum.split(|c| !is_name_char(c)).filter(|name| is_name(name)).for_each(|name| {
                uses.reads.insert(name.into());
            });
        }
        let name: String = std::iter::from_fn(|| self.0.next_if(|c| is_name_char(*c))).collect();
        if is_name(&name) {
            uses.reads.insert(name);
        }
        if braces {
            self.quoted(uses, '}', &mut String::new());
        }
    }
}

#[test]
fn the_manifest_uses_nothing_that_its_image_does_not_promise() {
    let text = kafka_yml();
    assert_eq!(text.matches(OFFICIAL).count(), 2, "the list describes {OFFICIAL}");
    assert_eq!(violations(&text), BTreeSet::new());
}

#[test]
fn everything_without_a_promise_is_found_and_named() {
    let text = kafka_yml();
    for (from, to, expected) in [
        ("[zookeeper-server-start,", "[zkServer.sh,", "zookeeper: command zkServer.sh"),
        ("tcpSocket: {port: client}", "exec: {command: [/opt/ready]}", "zookeeper: command /opt/ready"),
        ("tcpSocket: {port: plaintext}", "exec: {command: [sh, -c, sleep 1 && jps]}", "kafka: command jps"),
        ("sleep 0.3\n", "usleep 100000\n", "kafka: command usleep"),
        ("timeout 5 nc", "timeout 5 ncat", "kafka: command ncat"),
        ("$(echo dump |", "$(printf dump |", "kafka: command printf"),
        ("*) break ;;", "*) `uname` ;;", "kafka: command `uname`"),
        ("sleep 0.3\n", "sleep 1 >>/run/waits\n", "kafka: path /run/waits"),
        ("start, /etc/zookeeper/zookeeper.p", "start, /opt/zookeeper.p", "zookeeper: path /opt/zookeeper.properties"),
        ("dataDir=/var/lib/zookeeper", "dataDir=/srv", "zookeeper: path /srv/data"),
        ("mountPath: /var/lib/kafka/data", "mountPath: /data", "kafka: mount /data"),
        ("runAsUser: 1000", "runAsUser: 1001", "*: runAsUser 1001"),
        ("runAsGroup: 1000", "runAsNonGroup: 1000", "*: runAsGroup null"),
        ("fsGroup: 1000", "fsGroup: 0", "*: fsGroup 0"),
        ("drop: [ALL]}\n", "drop: [ALL]}\n            runAsUser: 0\n", "*: runAsUser 0"),
        ("drop: [ALL]}\n", "drop: [ALL]}\n            readOnlyRootFilesystem: true\n", "*: /etc/kafka is read-only"),
        ("enableServiceLinks: false", "enableServiceLinks: true", "*: enableServiceLinks is not false"),
        ("      enableServiceLinks: false\n", "", "*: enableServiceLinks is not false"),
        ("imagePullPolicy: IfNotPresent\n", "envFrom: []\n", "*: envFrom, which hides variables"),
        ("name: KAFKA_NUM_PARTITIONS", "name: KAFKA_PORT", "kafka: variable KAFKA_PORT"),
        ("name: KAFKA_NUM_PARTITIONS", "name: KAFKA_VERSION", "kafka: variable KAFKA_VERSION"),
        ("name: KAFKA_NUM_PARTITIONS", "name: NUM_PARTITIONS", "kafka: variable NUM_PARTITIONS"),
        ("-Xmx128m}\n", "-Xmx128m}\n            - {name: KAFKA_TICK_TIME}\n", "zookeeper: variable KAFKA_TICK_TIME"),
        ("NL='", "KAFKA_HOST=a NL='", "kafka: variable KAFKA_HOST"),
        ("${HOSTNAME##*-}", "${NODE##*-}", "kafka: unset variable NODE"),
        ("$((LAB_HOST_PORT_BASE +", "$((PORTS +", "kafka: unset variable PORTS"),
        ("{name: KAFKA_ZOOKEEPER_CONNECT,", "{name: KAFKA_ZOOKEEPER,", "kafka: unset variable KAFKA_ZOOKEEPER_CONNECT"),
    ] {
        assert!(text.contains(from), "kafka.yml has no {from:?}");
        let expected: BTreeSet<String> = match expected.strip_prefix("*:") {
            Some(what) => ["zookeeper", "kafka"].map(|container| format!("{container}:{what}")).into(),
            None => [expected.to_string()].into(),
        };
        assert_eq!(violations(&text.replace(from, to)), expected, "{from:?} replaced with {to:?}");
    }
}

// ---- the image's side ------------------------------------------------------

/// Runs our image and checks every promise.
#[cfg(feature = "kind")]
mod image {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::common::engine::{Container, docker, kafka_image};
    use crate::common::{Dir, Ran};

    /// As in a pod, without a network.
    const POD: [&str; 2] = ["--user=1000:1000", "--network=none"];

    /// The variables that the start script requires. ZooKeeper does not exist, and the script does not wait for it.
    const VARIABLES: [(&str, &str); 3] = [
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://kafka-0.kafka-service:9092,EXTERNAL://127.0.0.1:30090"),
        ("KAFKA_ZOOKEEPER_CONNECT", "127.0.0.1:2181"),
        ("KAFKA_CUB_ZK_TIMEOUT", "0"),
    ];

    fn value(name: &str) -> String {
        format!("the value of {name}")
    }

    fn java_option(name: &str) -> String {
        format!("-Dlab.{name}=kept")
    }

    fn env<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
        variables.into_iter().map(|(name, value)| format!("--env={name}={value}")).collect()
    }

    /// Runs the start script with VARIABLES and changes; an empty value removes a variable. Standard output has the
    /// properties that it wrote, if any.
    fn start(image: &str, changes: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let script = format!("{START} \"$@\" >&2; code=$?; cat /etc/kafka/kafka.properties; exit $code");
        let kept = VARIABLES.iter().filter(|(name, _)| !changes.iter().any(|change| change.0 == *name));
        let variables = env(kept.chain(changes).copied().filter(|(_, value)| !value.is_empty()));
        let options: Vec<&str> = POD.into_iter().chain(variables.iter().map(String::as_str)).collect();
        docker([&["run", "--rm"], &options[..], &[image, "sh", "-c", &script, "sh"], arguments].concat())
    }

    /// Containers of the image.
    struct Image {
        name: &'static str,
        /// A container that does nothing.
        idle: Container,
        /// ZooKeeper with the manifest's settings, and a broker in its network.
        zookeeper: Container,
        broker: Container,
        settings: String,
        _folder: Dir,
        /// The properties made of VARIABLES, and of all variables that may become one.
        bare: Ran,
        full: Ran,
    }

    impl Image {
        fn run() -> Self {
            let name = kafka_image();
            let idle = Container::start([&POD[..], &["--hostname=kafka-7"]].concat(), name, &["sleep", "600"]);

            let folder = Dir::new("zookeeper");
            let documents = documents(&kafka_yml());
            let settings = files(&documents, &"zookeeper-config".into()).next().unwrap().to_string();
            std::fs::write(folder.0.join("zookeeper.properties"), &settings).unwrap();
            let mut options = POD.map(String::from).to_vec();
            for promise in PROMISES {
                match promise {
                    OurFolder(path) => options.push(format!("--volume={}:{path}:ro", folder.0.display())),
                    JavaOptions(name) => options.extend(env([(*name, java_option(name).as_str())])),
                    _ => {}
                }
            }
            let command = ["zookeeper-server-start", "/etc/zookeeper/zookeeper.properties"];
            let zookeeper = Container::start(&options, name, &command);

            options[1] = format!("--network=container:{}", zookeeper.0);
            options.extend(env([("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://localhost:9092")]));
            options.extend(env([("KAFKA_ZOOKEEPER_CONNECT", "localhost:2181")]));
            let broker = Container::start(&options, name, &[]);

            let values = PROMISES.iter().filter_map(|promise| match promise {
                Property(name, _) | NoProperty(name) | OurVariable(name) => Some((*name, value(name))),
                _ => None,
            });
            let values: Vec<(&str, String)> = values.collect();
            let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let (bare, full) = (start(name, &[], &[]), start(name, &values, &[]));
            Image { name, idle, zookeeper, broker, settings, _folder: folder, bare, full }
        }

        /// The container that runs `command`, once it serves.
        fn serving(&self, command: &str) -> Result<&Container, String> {
            let (container, question, answer) = match command {
                START => (&self.broker, "dump", "/brokers/ids/"),
                _ => (&self.zookeeper, "srvr", "Mode: standalone"),
            };
            let ask = format!("echo {question} | timeout 5 nc -w 2 localhost 2181");
            container.answers(&["sh", "-c", &ask], answer).map(|()| container)
        }

        /// Checks a promise. The error says what was found instead.
        fn keeps(&self, promise: Promise<'_>) -> Result<(), String> {
            match promise {
                User(id) => {
                    let ran = docker(["run", "--rm", "--network=none", self.name, "sh", "-c", "id -u; id -g"]);
                    has(&ran, 0, &format!("{id}\n{id}\n"))
                }
                Start(path) => {
                    let format = "{{json .Config.Entrypoint}} {{json .Config.Cmd}}";
                    has(&docker(["image", "inspect", "--format", format, self.name]), 0, &format!("null [\"{path}\"]"))
                }
                // Not `command -v`, because busybox's shell has built-in tools.
                Tool(name) => has(&self.idle.exec(&["which", name]), 0, name),
                Folder(path) => has(&self.idle.exec(&["touch", &format!("{path}/test")]), 0, ""),
                OurFolder(path) => {
                    has(&self.zookeeper.exec(&["cat", &format!("{path}/zookeeper.properties")]), 0, &self.settings)
                }
                HostName(name) => has(&self.idle.exec(&["sh", "-c", &format!("echo ${name}")]), 0, "kafka-7\n"),
                OurVariable(name) | NoProperty(name) => {
                    has(&self.full, 1, "\nlisteners=")?;
                    if self.full.stdout.contains(&value(name)) { Err(self.full.stdout.clone()) } else { Ok(()) }
                }
                Required(name) => has(&start(self.name, &[(name, "")], &[]), 1, name),
                Refused(name) => has(&start(self.name, &[(name, "9092")], &[]), 1, name),
                Property(name, property) => has(&self.full, 1, &format!("\n{property}={}\n", value(name))),
                Default(property, value) => has(&self.bare, 1, &format!("\n{property}={value}\n")),
                Arguments => has(&start(self.name, &[], &["KAFKA_ONE=1", "KAFKA_TWO=a=b c"]), 1, "\ntwo=a=b c\n"),
                ZooKeeperTimeout(name) => {
                    let begin = Instant::now();
                    has(&start(self.name, &[(name, "3")], &[]), 1, "ZooKeeper")?;
                    let waited = begin.elapsed();
                    if waited < Duration::from_secs(2) { Err(format!("waited {waited:?}, not 3 s")) } else { Ok(()) }
                }
                JavaOptions(name) => ["zookeeper-server-start", START].into_iter().try_for_each(|command| {
                    has(&self.serving(command)?.exec(&["cat", "/proc/1/cmdline"]), 0, &java_option(name))
                }),
                Signals(command) => {
                    let container = self.serving(command)?;
                    has(&container.exec(&["cat", "/proc/1/comm"]), 0, "java\n")?;
                    // A JVM that handled SIGTERM exits with 143. One that was killed exits with 137.
                    docker(["stop", "--time=20", &container.0]);
                    has(&docker(["inspect", "--format", "exit {{.State.ExitCode}}", &container.0]), 0, "exit 143\n")
                }
            }
        }
    }

    /// Checks a command's exit code, where 1 means any failure, and that its output has `words`.
    fn has(ran: &Ran, code: i32, words: &str) -> Result<(), String> {
        let output = format!("\n{}\n{}", ran.stdout, ran.stderr);
        if ran.code.clamp(0, 1) == code && output.contains(words) {
            Ok(())
        } else {
            Err(format!("no {words:?} with exit code {}:{output}", ran.code))
        }
    }

    #[test]
    fn our_image_keeps_every_promise() {
        let image = Image::run();
        let broken: Vec<String> = PROMISES
            .iter()
            .filter_map(|promise| image.keeps(*promise).err().map(|why| format!("{promise:?}: {why}")))
            .collect();
        assert!(broken.is_empty(), "{} breaks {} promises\n{}", image.name, broken.len(), broken.join("\n"));
    }
}
