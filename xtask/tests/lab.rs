//! The real lab, end to end: real ZooKeeper, real brokers, real clients. `cargo xtask test` runs it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives programs itself and fails by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::lab::Lab;
use common::{Dir, Report, manifests, run, start, wait_for};
use ledger::judge::{Case, Claim, Range, Verdict, judge};
use ledger::lines::{ConsumerState, ProducerStart, ProducerState};
use ledger::stamp::RunId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The clients' program beside a lab that is up, used as a drill would.
struct Clients<'a> {
    lab: &'a Lab,
    folder: Dir,
}

impl Clients<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let target = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().parent().unwrap();
        let mut command = Command::new(target.join("release").join("clients"));
        let base = self.lab.base;
        let brokers = format!("127.0.0.1:{base},127.0.0.1:{}", base + 1);
        command.args(args).args(["--brokers", &brokers]).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// What a client with its standard output in `name` has said so far.
    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn start(&self, name: &str, args: &[&str]) -> Child {
        self.command(args).stdout(File::create(self.file(name)).unwrap()).spawn().unwrap()
    }

    fn run(&self, name: &str, args: &[&str]) -> String {
        assert!(self.start(name, args).wait().unwrap().success(), "{args:?}: {}", self.said(name));
        self.said(name)
    }

    /// The end offset of each partition.
    fn ends(&self) -> Vec<(i32, i64)> {
        let said: Value = serde_json::from_str(&self.run("offsets", &["offsets"])).unwrap();
        let one = |row: &Value| (row["partition"].as_i64().unwrap() as i32, row["high"].as_i64().unwrap());
        said["partitions"].as_array().unwrap().iter().map(one).collect()
    }

    fn claim(&self, name: &str) -> Claim {
        let said = self.said(name);
        let start: Option<ProducerStart> = said.lines().find_map(|line| serde_json::from_str(line).ok());
        let states = said.lines().filter_map(|line| serde_json::from_str::<ProducerState>(line).ok());
        Claim::of(start.as_ref(), states).unwrap()
    }
}

fn positions(offsets: &[(i32, i64)]) -> String {
    offsets.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect::<Vec<_>>().join(",")
}

/// A producer that is killed and started again, and a consumer likewise, are accounted for to the last message.
fn killed_clients_lose_nothing_and_count_nothing_twice(clients: &Clients<'_>) {
    let run: RunId = "killed".parse().unwrap();
    let before = clients.ends();
    let producer = ["producer", "--run", "killed", "--format", "json", "--rate"];
    let mut first = clients.start("first", &[&producer[..], &["20000"]].concat());
    wait_for("acknowledged messages", 60, || {
        clients.said("first").lines().filter(|line| line.contains("\"event\":\"checkpoint\"")).count() > 2
    });
    first.kill().unwrap();
    first.wait().unwrap();
    clients.run("second", &[&producer[..], &["0", "--count", "200000"]].concat());
    let after = clients.ends();

    let (start, end) = (positions(&before), positions(&after));
    let consumer = ["consumer", "--run", "killed", "--format", "json", "--start", &start];
    let mut third = clients.start("third", &consumer);
    wait_for("received messages", 60, || clients.said("third").contains("\"event\":\"checkpoint\""));
    third.kill().unwrap();
    third.wait().unwrap();
    let said = clients.run("fourth", &[&consumer[..], &["--end", &end]].concat());
    let received: ConsumerState = serde_json::from_str(said.lines().last().unwrap()).unwrap();

    let ranges: Vec<Range> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| Range { partition: before.0, start: before.1, end: after.1 })
        .collect();
    let claims = [clients.claim("first"), clients.claim("second")];
    let case = Case {
        run,
        topic: "test",
        ranges: &ranges,
        claims: &claims,
        received: &received,
        expected: None,
        topic_ids: &[],
    };
    let report = judge(&case);
    assert_eq!((report.verdict, report.ended, report.died), (Verdict::Pass, 1, 1), "{report:?}");
    let sum = |pick: fn(&ledger::judge::Row) -> u64| report.partitions.iter().map(pick).sum::<u64>();
    assert!(sum(|row| row.acked) > 200_000, "{report:?}");
    assert_eq!(sum(|row| row.received), sum(|row| row.acked) + sum(|row| row.unpromised), "{report:?}");
    // Without its first claim the same records are a stranger's.
    assert_eq!(judge(&Case { claims: &claims[1..], ..case }).verdict, Verdict::Fail);
}

/// Kafka's own lines, compared the way its system tests do: what was acked against what was consumed, as plain sets of values.
fn the_second_oracle_agrees(clients: &Clients<'_>) {
    let start = positions(&clients.ends());
    let sent = clients.run("sent", &["producer", "--run", "oracle", "--rate", "0", "--count", "2000", "--verifiable"]);
    let end = positions(&clients.ends());
    let read = clients.run("read", &["consumer", "--start", &start, "--end", &end, "--verifiable"]);
    let values = |said: &str, name: &str| -> Vec<String> {
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["name"] == name)
            .filter_map(|line| line["value"].as_str().map(ToOwned::to_owned))
            .filter(|value| value.contains(" kl1 oracle "))
            .collect()
    };
    let (acked, consumed) = (values(&sent, "producer_send_success"), values(&read, "record_data"));
    assert_eq!((acked.len(), consumed.len()), (2000, 2000));
    assert_eq!(acked.into_iter().collect::<BTreeSet<_>>(), consumed.into_iter().collect());
    for (said, names) in
        [(&sent, ["startup_complete", "tool_data"]), (&read, ["partitions_assigned", "records_consumed"])]
    {
        for name in names {
            assert!(said.contains(&format!("\"name\":\"{name}\"")), "{name}");
        }
    }
}

#[test]
fn up_twice_verify_kill_a_broker_up_verify_teardown() {
    let lab = Lab::new("life");
    let first = lab.up(&[]);
    assert_eq!(first.state("topic test"), "changed");
    assert!(first.proof("topic test").contains("created, 4 partitions × 3 replicas, all in sync"), "{}", first.0);

    let second = lab.up(&[]);
    for title in [
        "kafka jars",
        "clients build",
        "zookeeper",
        "kafka-0",
        "kafka-1",
        "kafka-2",
        "topic test",
        "producer",
        "consumer",
    ] {
        assert_eq!(second.state(title), "unchanged", "{title} in {}", second.0);
    }

    // A preflight that fails leaves a healthy lab as it is, whatever the flags.
    let old = Dir::new("jdk");
    std::fs::create_dir(old.0.join("bin")).unwrap();
    old.tool("bin/java", "echo 'openjdk version \"9.0.4\"' >&2");
    let mut refused = lab.command(&["up", "--backend", "local", "--port-base", "11000", "--teardown-on-failure"]);
    run(refused.env("JAVA_HOME", &old.0)).expect(3).says(&["is Java 9.0.4"]);
    lab.run(&["status"]).expect(0);

    let verified = lab.verify(0);
    assert_eq!(verified.proof("ls /brokers/ids"), "[0, 1, 2]");
    assert!(verified.proof("topic describe").starts_with("PartitionCount 4, ReplicationFactor 3"));
    let flow = &verified.step("flow")["flow"];
    assert_eq!(flow["verdict"], "pass");
    let rows = flow["partitions"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(
            (&row["sent"], &row["acked"], &row["received"]),
            (&Value::from(5000), &Value::from(5000), &Value::from(5000))
        );
        assert_eq!(
            (&row["missing"], &row["duplicate"], &row["out_of_order"]),
            (&Value::from(0), &Value::from(0), &Value::from(0))
        );
        let span = row["end"].as_u64().unwrap() - row["start"].as_u64().unwrap();
        assert_eq!(row["records"], span, "density, with the rolled-out producer writing too");
    }

    let killed = lab.kill("kafka-1");
    // Two of three are left, min.insync.replicas is two: the flow goes on.
    let broken = lab.verify(5);
    assert_eq!(broken.step("kafka-1")["failure"]["what"], "kafka-1 is not running");
    assert_eq!(broken.state("kafka-0"), "passed");
    assert_eq!(run(&mut lab.command(&["status"])).code, 5);

    // At once: ZooKeeper may still keep the session of the broker that died.
    let third = lab.up(&[]);
    assert!(third.proof("kafka-1").starts_with("had died, started again"), "{}", third.0);
    assert_eq!(third.state("kafka-0"), "unchanged");
    assert_ne!(lab.pid("kafka-1"), killed);
    lab.verify(0);

    let clients = Clients { lab: &lab, folder: Dir::new("clients") };
    killed_clients_lose_nothing_and_count_nothing_twice(&clients);
    the_second_oracle_agrees(&clients);

    // What a student sees.
    wait_for("the clients' lines", 30, || {
        let logs = lab.run(&["clients", "logs", "-n", "1000"]).expect(0).stdout;
        [
            "test: 1000 messages published",
            "test: start receiving messages from Partition 2",
            "test: received 1000 messages from partition",
        ]
        .iter()
        .all(|line| logs.contains(line))
    });
    // And what a program reads, though they log in text.
    let state = |client: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(lab.folder().join(client).join("state.json")).unwrap()).unwrap()
    };
    assert_eq!(state("producer")["event"], "checkpoint");
    let consumer = state("consumer");
    let rows = consumer["partitions"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert!(row["high"].as_u64().unwrap() >= row["next"].as_u64().unwrap(), "{row}");
    }
    lab.run(&["clients", "stop"]).expect(0);
    assert_eq!(state("consumer")["event"], "end");
    assert_eq!(Report::of(&lab.run(&["status", "--format", "json"]), 0).state("producer"), "skipped");
    lab.run(&["clients", "start"]).expect(0);

    // Kafka's own tools, as users type them.
    let listed = lab.run(&["kafka-topics", "--", "--list"]).expect(0);
    assert!(listed.stdout.lines().any(|line| line == "test"), "{}", listed.stdout);
    let shell = lab.run(&["zookeeper-shell", "--", "get", "/brokers/ids"]).expect(0);
    assert!(shell.stdout.lines().any(|line| line == "null"), "{}", shell.stdout);

    lab.teardown();
    lab.run(&["verify"]).expect(6);
    let again = lab.run(&["teardown"]).expect(0);
    assert!(again.stdout.contains("nothing to tear down"), "{}", again.stdout);
}

#[test]
fn a_taken_port_stops_up_before_anything_is_touched() {
    let lab = Lab::new("port");
    let listener = TcpListener::bind(("127.0.0.1", lab.base + 1)).unwrap();
    run(&mut lab.up_command(&[])).expect(3).says(&[
        &format!("127.0.0.1:{} (kafka-1) is in use by pid {}", lab.base + 1, std::process::id()),
        "--port-base",
    ]);
    drop(listener);
    lab.assert_nothing_left();
}

#[test]
fn a_process_whose_record_was_lost_is_found_by_its_mark() {
    let lab = Lab::new("mark");
    lab.up(&["--no-clients"]);
    let before = lab.pid("kafka-0");
    std::fs::remove_file(lab.folder().join("kafka-0/process.json")).unwrap();
    let again = lab.up(&["--no-clients"]);
    assert!(again.proof("kafka-0").starts_with("restarted, its record was lost"), "{}", again.0);
    assert_ne!(lab.pid("kafka-0"), before);
    // A lost lab.json, and a process killed by hand.
    lab.kill("kafka-2");
    std::fs::write(lab.folder().join("lab.json"), "{").unwrap();
    lab.teardown();
}

#[test]
fn two_ups_at_once_take_turns() {
    let lab = Lab::new("turns");
    let mut first = start(&mut lab.up_command(&["--no-clients"]));
    wait_for("the first up", 60, || lab.folder().join("lab.json").exists());
    let second = run(&mut lab.up_command(&["--no-clients"]));
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let second = second.expect(0).says(&["waiting for `cargo xtask up`, pid "]);
    assert!(second.stderr.contains("unchanged: pid"), "{}", second.stderr);
    lab.teardown();
}

#[test]
fn changed_facts_are_followed_and_an_older_topic_is_reported_not_altered() {
    let mut lab = Lab::in_folder("facts", "Ordner mit Leerzeichen und ü");
    lab.manifests = Some(manifests(&[]));
    lab.up(&["--no-clients"]);
    let pid = lab.pid("zookeeper");
    let five = [
        ("kafka.yml", "KAFKA_NUM_PARTITIONS, value: \"4\"", "KAFKA_NUM_PARTITIONS, value: \"6\""),
        ("kafka.yml", "replicas: 3", "replicas: 5"),
    ];
    lab.manifests = Some(manifests(&five));
    let up = lab.up(&["--no-clients"]);
    assert!(up.proof("kafka-0").starts_with("restarted with changed settings"), "{}", up.0);
    assert!(up.proof("kafka-4").starts_with("started"), "{}", up.0);
    assert_eq!(lab.pid("zookeeper"), pid);
    assert!(
        up.step("topic test")["warnings"][0].as_str().unwrap().contains("4 partitions × 3 replicas, kafka.yml says 6"),
        "{}",
        up.0
    );
    let fault = lab.verify(5);
    let failure = &fault.step("topic describe")["failure"];
    assert!(failure["what"].as_str().unwrap().contains("4 partitions, kafka.yml says 6"), "{failure}");
    let fix = format!("cargo xtask kafka-topics --name {} -- --alter --topic test --partitions 6", lab.name);
    assert_eq!(failure["fix"], fix);
    assert_eq!(fault.proof("ls /brokers/ids"), "[0, 1, 2, 3, 4]");

    lab.run(&["kafka-topics", "--", "--alter", "--topic", "test", "--partitions", "6"]).expect(0);
    let flow = lab.verify(0);
    assert_eq!(flow.step("flow")["flow"]["partitions"].as_array().unwrap().len(), 6);

    // Back to three: the other two are no longer asked for.
    lab.manifests = Some(manifests(&five[..1]));
    let back = run(lab.up_command(&["--no-clients", "--format", "json"]).env("NO_COLOR", "1"));
    assert!(back.stdout.contains("which the manifests do not ask for"), "{}", back.stdout);
    lab.teardown();
}

#[test]
fn a_failed_up_can_take_itself_down() {
    let mut lab = Lab::new("failed");
    lab.manifests = Some(manifests(&[(
        "kafka.yml",
        "KAFKA_LOG_SEGMENT_BYTES, value: \"67108864\"",
        "KAFKA_LOG_SEGMENT_BYTES, value: lots",
    )]));
    run(&mut lab.up_command(&["--teardown-on-failure"])).expect(4).says(&[
        "exited",
        "log.segment.bytes",
        "log: ",
        "taking the lab down again",
    ]);
    lab.assert_nothing_left();
}

/// What the last line of `drill --format json` says.
fn drill(lab: &Lab, args: &[&str], code: i32) -> Value {
    let ran = lab.run(&[&["drill", "--format", "json"], args].concat()).expect(code);
    let mut drills = ran.stdout.lines().filter(|line| line.starts_with("{\"schema\":\"kafka-lab.drill/1\""));
    serde_json::from_str(drills.next_back().unwrap()).unwrap()
}

fn topics(lab: &Lab) -> Vec<String> {
    lab.run(&["kafka-topics", "--", "--list"]).expect(0).stdout.lines().map(Into::into).collect()
}

/// The sequences of a run in a topic, by partition, as Kafka's own console consumer reads them: a reader that knows nothing of
/// ours. Its class path and Java are those of a broker that runs.
fn independent_reader(lab: &Lab, topic: &str, run: &str) -> Vec<(String, String)> {
    let broker = std::fs::read(format!("/proc/{}/cmdline", lab.pid("kafka-0").as_raw_nonzero())).unwrap();
    let words: Vec<String> = broker.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
    let class_path = &words[words.iter().position(|word| word == "-cp").unwrap() + 1];
    let server = format!("127.0.0.1:{}", lab.base);
    let output = Command::new(&words[0])
        .args(["-cp", class_path, "kafka.tools.ConsoleConsumer", "--bootstrap-server", &server, "--topic", topic])
        .args(["--from-beginning", "--timeout-ms", "8000"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let stamp = format!(" kl1 {run} ");
    // What follows the run: producer, epoch, partition, sequence.
    let fields =
        said.lines().filter_map(|line| line.split_once(&stamp)).map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
    fields.map(|words| (words[..3].join(" "), words[3].to_string())).collect()
}

#[test]
fn drills_keep_their_promises_and_the_ledger_can_fail() {
    let lab = Lab::new("drill");
    lab.run(&["drill", "leader-kill"]).expect(6);
    lab.up(&["--no-clients"]);
    lab.run(&["drill", "leader-kil"]).expect(2).says(&["there is no fault leader-kil"]);
    lab.run(&["drill"]).expect(2).says(&["which fault?"]);
    let listed = lab.run(&["drill", "--list"]).expect(0).stdout;
    assert!(listed.contains("leader-kill (local)\n  breaks    kill -9 of a partition's leader"), "{listed}");

    let killed = drill(&lab, &["leader-kill"], 0);
    assert_eq!((&killed["kept"], &killed["ledger"]["verdict"]), (&Value::from(true), &Value::from("pass")), "{killed}");
    let struck = &killed["struck"][0];
    assert!(struck["detected_after_ms"].as_u64().unwrap() > 0, "{struck}");
    let acked = |row: &Value| row["acked_after_ms"].as_u64();
    assert!(struck["partitions"].as_array().unwrap().iter().filter_map(acked).max().unwrap() > 1000, "{struck}");

    let died = drill(&lab, &["producer-kill", "consumer-kill"], 0);
    assert_eq!((&died["drill"], &died["kept"]), (&Value::from("consumer-kill"), &Value::from(true)), "{died}");

    // The control: with acks=1 the promise is that the ledger finds the loss, to the message.
    let lost = drill(&lab, &["acks-1-leader-kill", "--keep-topic"], 0);
    assert_eq!(lost["ledger"]["verdict"], "fail", "{lost}");
    let sum = |name: &str| {
        let rows = lost["ledger"]["partitions"].as_array().unwrap().iter();
        rows.map(|row| row[name].as_u64().unwrap()).sum::<u64>()
    };
    let (topic, run) = (lost["topic"].as_str().unwrap(), lost["ledger"]["run"].as_str().unwrap());
    let read = independent_reader(&lab, topic, run);
    let distinct: BTreeSet<_> = read.iter().collect();
    assert!(sum("missing") > 0, "{lost}");
    assert_eq!(sum("acked") - distinct.len() as u64, sum("missing"), "what the console consumer misses: {lost}");

    let twice = drill(&lab, &["no-idempotence-retry", "--keep-topic"], 0);
    assert_eq!(twice["ledger"]["verdict"], "fail", "{twice}");
    let rows = twice["ledger"]["partitions"].as_array().unwrap().iter();
    let duplicates = rows.map(|row| row["duplicate"].as_u64().unwrap()).sum::<u64>();
    let (other, run) = (twice["topic"].as_str().unwrap(), twice["ledger"]["run"].as_str().unwrap());
    let read = independent_reader(&lab, other, run);
    let distinct: BTreeSet<_> = read.iter().collect();
    assert!(duplicates > 0, "{twice}");
    assert_eq!((read.len() - distinct.len()) as u64, duplicates, "what the console consumer reads twice: {twice}");

    // A leader that comes back without its logs: all that was acknowledged before is gone, and nothing else.
    let cut = drill(&lab, &["last-replica-wiped"], 0);
    assert_eq!((&cut["ledger"]["verdict"], &cut["kept"]), (&Value::from("fail"), &Value::from(true)), "{cut}");
    for row in cut["ledger"]["partitions"].as_array().unwrap() {
        let [acked, received, missing] = ["acked", "received", "missing"].map(|name| row[name].as_u64().unwrap());
        assert!(missing > 0 && received > 0 && received + missing == acked, "{row}");
    }
    for stream in cut["ledger"]["evidence"].as_array().unwrap() {
        let missing = stream["missing"].as_array().unwrap();
        assert!(missing.len() == 1 && missing[0][0] == 0, "from the first on, and in one piece: {stream}");
    }

    let again = drill(&lab, &["topic-recreated"], 0);
    assert_eq!((&again["ledger"]["verdict"], &again["kept"]), (&Value::from("fail"), &Value::from(true)), "{again}");

    // Interrupted while a broker stands still: mended, and nothing of the drill is left.
    let mut child = start(&mut lab.command(&["drill", "leader-pause-long"]));
    let paused = || {
        (0..3).any(|id| {
            let pid = lab.pid(&format!("kafka-{id}")).as_raw_nonzero();
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
        })
    };
    wait_for("a paused broker", 60, paused);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!paused(), "a broker still stands still");
    assert_eq!(
        topics(&lab).iter().filter(|name| name.starts_with("drill-")).collect::<Vec<_>>(),
        [topic, other],
        "only those that were kept"
    );
    assert!(lab.processes().iter().all(|line| !line.contains("/drills/")), "{:?}", lab.processes());
    lab.verify(0);
    lab.teardown();
}
