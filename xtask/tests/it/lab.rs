//! The local lab, end to end, with real servers and clients. `cargo xtask test` runs it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;

use ledger::judge::{Claim, HowEnded, Verdict};
use ledger::lines::ConsumerState;
use serde_json::Value;

use crate::common::clients::{Clients, judged, positions};
use crate::common::lab::Lab;
use crate::common::report::Report;
use crate::common::{Dir, manifests, run, start, wait_for};
use crate::terminal::OnTerminal;

/// The times of a lab's log lines, with their sources. Servers write the time zone of TZ, clients UTC.
fn timed(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (source, text) = line.split_once(" | ")?;
        let time = text.trim_start_matches('[').get(..19)?.replace('/', "-");
        let is_time = time.len() == 19 && time.chars().all(|c| c.is_ascii_digit() || "- :".contains(c));
        is_time.then(|| (source.trim().to_string(), time))
    };
    text.lines().filter_map(line).collect()
}

/// What `status`, `logs`, `verify --junit` and completions show of a lab, and of what somebody does to it.
#[test]
fn a_lab_shows_how_it_is_and_who_is_at_work() {
    let lab = Lab::new("shown");
    // So that the servers' times can be compared with the clients'.
    let up = || Report::of(&run(lab.up_command(&["--format", "json"]).env("TZ", "UTC")), 0);
    up();
    let status = |code: i32| Report::of(&lab.run(&["status", "--format", "json"]), code).0;
    let healthy = status(0);
    assert!(healthy["at_work"].is_null() && healthy["interrupted"].is_null(), "{healthy}");
    let nobody = Dir::new("target");
    let unasked = run(lab.command(&["status"]).env("CARGO_TARGET_DIR", &nobody.0)).expect(7);
    assert!(unasked.stdout.contains("status: could not ask"), "{}", unasked.stdout);

    // Completions know the topics.
    let topics = lab.run(&["complete", "--", "kafka-topics", "--name", &lab.name, "--", "--topic", ""]);
    assert_eq!(topics.expect(0).stdout, "test\n");

    // A healthy lab in JUnit's words.
    let results = lab.state.0.join("verify.xml");
    lab.run(&["verify", "--messages", "4000", "--junit", results.to_str().unwrap()]).expect(0);
    let xml = std::fs::read_to_string(&results).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert_eq!((suite.attribute("failures"), suite.attribute("errors")), (Some("0"), Some("0")), "{xml}");
    let flow = document.descendants().find(|node| node.attribute("name") == Some("flow")).unwrap();
    let said = flow.children().find(|node| node.has_tag_name("system-out")).unwrap().text().unwrap();
    assert!(said.starts_with("sent 4000, acked 4000, received 4000, missing 0"), "{said}");

    // Lines of all sources in one order, without colour where nobody sees it.
    let logs = run(lab.command(&["logs", "-n", "40"]).env("TZ", "UTC")).expect(0).stdout;
    let lines = timed(&logs);
    let sources: BTreeSet<&str> = lines.iter().map(|(source, _)| source.as_str()).collect();
    assert!(sources.len() >= 5, "{sources:?}");
    let changes = lines.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(lines.windows(2).all(|pair| pair[0].1 <= pair[1].1) && changes > 6, "{logs}");
    assert!(!logs.contains('\u{1b}'));

    let mut watch = OnTerminal::start(lab.command(&["status", "--watch", "--every", "1"]), 80);
    watch.until("on local: healthy");
    let mut follow = OnTerminal::start(lab.command(&["logs", "-f", "-n", "1"]), 200);
    let killed = lab.kill("kafka-1");
    watch.until("✗ kafka-1            kafka-1 is not running");
    watch.until("on local: unhealthy");
    assert_eq!(watch.interrupt(), 0);
    let followed = |follow: &OnTerminal, source: &str| {
        follow.written.lines().filter(|line| line.contains(&format!("m{source:10} |\u{1b}[0m "))).count()
    };
    up();
    assert_ne!(lab.pid("kafka-1"), killed);
    follow.until("started (kafka.server.KafkaServer)");
    assert!(["kafka-0", "kafka-1", "producer", "consumer"].iter().all(|source| followed(&follow, source) > 0));
    assert_eq!(follow.interrupt(), 0);

    // A drill that is at work, and one that is killed.
    let mut drill = start(&mut lab.command(&["drill", "leader-kill"]));
    wait_for("the drill at work", 60, || status_of(&lab)["at_work"]["command"] == "drill");
    assert_eq!(status_of(&lab)["at_work"]["pid"], drill.id());
    drill.kill().unwrap();
    drill.wait().unwrap();
    assert_eq!(status_of(&lab)["interrupted"]["command"], "drill");
    let results = lab.state.0.join("drill.xml");
    lab.run(&["drill", "leader-kill", "--junit", results.to_str().unwrap()]).expect(0);
    let xml = std::fs::read_to_string(&results).unwrap();
    assert!(xml.contains("name=\"leader-kill\"") && xml.contains("failures=\"0\" errors=\"0\""), "{xml}");
    assert!(status_of(&lab)["interrupted"].is_null(), "the second drill made it good");
    lab.teardown();
}

/// The report of `status`, whatever it finds.
fn status_of(lab: &Lab) -> Value {
    lab.run(&["status", "--format", "json"]).json("kafka-lab.report/1").pop().unwrap()
}

/// With a killed and restarted producer and consumer, the account is still exact.
fn killed_clients_lose_nothing_and_count_nothing_twice(clients: &Clients) {
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
    let output = clients.run("fourth", &[&consumer[..], &["--end", &end]].concat());
    let received: ConsumerState = serde_json::from_str(output.lines().last().unwrap()).unwrap();

    let claims = [clients.claim("first", HowEnded::Killed), clients.claim("second", HowEnded::ByItself)];
    let judged = |claims: &[Claim]| judged("killed", [&before, &after], claims, &received);
    let report = judged(&claims);
    assert_eq!((report.verdict, report.ended, report.died), (Verdict::Pass, 1, 1), "{report:?}");
    let sum = |pick: fn(&ledger::judge::Row) -> u64| report.partitions.iter().map(pick).sum::<u64>();
    assert!(sum(|row| row.acked) > 200_000, "{report:?}");
    assert_eq!(sum(|row| row.received), sum(|row| row.acked) + sum(|row| row.unpromised), "{report:?}");
    // Without the first claim, the same records are foreign.
    assert_eq!(judged(&claims[1..]).verdict, Verdict::Fail);
}

/// Compares acked and consumed values as plain sets, in the format of Kafka's verifiable clients and as its system
/// tests do.
fn the_second_oracle_agrees(clients: &Clients) {
    let start = positions(&clients.ends());
    let sent = clients.run("sent", &["producer", "--run", "oracle", "--rate", "0", "--count", "2000", "--verifiable"]);
    let end = positions(&clients.ends());
    let read = clients.run("read", &["consumer", "--start", &start, "--end", &end, "--verifiable"]);
    let values = |output: &str, name: &str| -> Vec<String> {
        let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["name"] == name)
            .filter_map(|line| line["value"].as_str().map(ToOwned::to_owned))
            .filter(|value| value.contains(" kl2 oracle "))
            .collect()
    };
    let (acked, consumed) = (values(&sent, "producer_send_success"), values(&read, "record_data"));
    assert_eq!((acked.len(), consumed.len()), (2000, 2000));
    assert_eq!(acked.into_iter().collect::<BTreeSet<_>>(), consumed.into_iter().collect());
    for (output, names) in
        [(&sent, ["startup_complete", "tool_data"]), (&read, ["partitions_assigned", "records_consumed"])]
    {
        for name in names {
            assert!(output.contains(&format!("\"name\":\"{name}\"")), "{name}");
        }
    }
}

/// The flow check accounts for exactly what it sent, in each partition.
fn assert_exact_flow(verified: &Report) {
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
        assert_eq!(row["records"], span, "one record per offset, although the lab's producer writes too");
    }
}

/// The state file of a client.
fn state(lab: &Lab, client: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(lab.folder().join(client).join("state.json")).unwrap()).unwrap()
}

/// The clients log lines for students, and write state files for programs.
fn clients_log_and_write_state(lab: &Lab) {
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
    assert_eq!(state(lab, "producer")["event"], "checkpoint");
    let consumer = state(lab, "consumer");
    let rows = consumer["partitions"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert!(row["high"].as_u64().unwrap() >= row["next"].as_u64().unwrap(), "{row}");
    }
    lab.run(&["clients", "stop"]).expect(0);
    assert_eq!(state(lab, "consumer")["event"], "end");
    assert_eq!(Report::of(&lab.run(&["status", "--format", "json"]), 0).state("producer"), "skipped");
    lab.run(&["clients", "start"]).expect(0);
}

/// A topic with too many partitions is recreated with the commands that `verify` names.
fn a_topic_with_too_many_partitions_is_recreated(lab: &Lab) {
    lab.run(&["kafka-topics", "--", "--alter", "--topic", "test", "--partitions", "6"]).expect(0);
    wait_for("the producer in all six", 30, || state(lab, "producer")["partitions"].as_array().unwrap().len() == 6);
    let fault = lab.verify(5);
    let fix = fault.step("topic describe")["failure"]["fix"].as_str().unwrap().to_string();
    let commands =
        ["clients stop", "kafka-topics", "up"].map(|head| format!("`cargo xtask {head} --name {}", lab.name));
    assert!(commands.iter().all(|command| fix.contains(command)), "{fix}");
    lab.run(&["clients", "stop"]).expect(0);
    lab.run(&["kafka-topics", "--", "--delete", "--topic", "test"]).expect(0);
    lab.up(&[]);
    lab.verify(0);
}

/// The commands for `local` in docs/walkthrough.md, each with what its step shows.
fn the_walkthroughs_commands_run_as_printed(lab: &Lab) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/walkthrough.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.split("## The same on `local`").nth(1).unwrap().split("\n# ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split('|').nth(3));
    let commands = rows.filter_map(|cell| cell.split('`').nth(1)?.strip_prefix("cargo xtask "));
    let commands: Vec<&str> = commands.collect();
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let ran = lab.run(&words).expect(0);
        let shown = match words[..] {
            ["status"] => "kafka-1",
            ["zookeeper-shell", .., "/brokers/ids"] => "[0, 1, 2]",
            ["zookeeper-shell", ..] => "\"brokerid\":",
            ["logs", "producer", ..] => "messages published",
            ["logs", ..] => "start receiving messages from Partition 3",
            ["kafka-topics", .., "--list"] => "test",
            ["kafka-topics", ..] => "PartitionCount: 4",
            ["verify"] => "verify: pass",
            ["drill", ..] => "as promised",
            ["clients", "stop"] => "",
            _ => panic!("what does `{command}` show?"),
        };
        assert!(ran.stdout.contains(shown) || ran.stderr.contains(shown), "`{command}` does not show {shown}: {ran:?}");
        assert!(!ran.stderr.contains("ERROR"), "{}", ran.stderr);
    }
    lab.run(&["clients", "start"]).expect(0);
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

    // A failed preflight does not touch a healthy lab, whatever the flags.
    let old = Dir::new("jdk");
    std::fs::create_dir(old.0.join("bin")).unwrap();
    old.tool("bin/java", "echo 'openjdk version \"9.0.4\"' >&2");
    let mut refused = lab.command(&["up", "--backend", "local", "--port-base", "11000", "--teardown-on-failure"]);
    run(refused.env("JAVA_HOME", &old.0)).expect(3).says(&["is Java 9.0.4"]);
    lab.run(&["status"]).expect(0);

    let verified = lab.verify(0);
    assert_eq!(verified.proof("ls /brokers/ids"), "[0, 1, 2]");
    assert!(verified.proof("topic describe").starts_with("PartitionCount 4, ReplicationFactor 3"));
    assert_exact_flow(&verified);

    let killed = lab.kill("kafka-1");
    // Two of three brokers are left and min.insync.replicas is two, so the other checks still pass.
    let broken = lab.verify(5);
    assert_eq!(broken.step("kafka-1")["failure"]["what"], "kafka-1 is not running");
    assert_eq!(broken.state("kafka-0"), "passed");
    assert_eq!(run(&mut lab.command(&["status"])).code, 5);

    // Immediately: ZooKeeper may still keep the dead broker's session.
    let third = lab.up(&[]);
    assert!(third.proof("kafka-1").starts_with("had died, restarted"), "{}", third.0);
    assert_eq!(third.state("kafka-0"), "unchanged");
    assert_ne!(lab.pid("kafka-1"), killed);
    lab.verify(0);

    let clients = Clients::of(&lab);
    killed_clients_lose_nothing_and_count_nothing_twice(&clients);
    the_second_oracle_agrees(&clients);
    clients_log_and_write_state(&lab);

    the_walkthroughs_commands_run_as_printed(&lab);

    a_topic_with_too_many_partitions_is_recreated(&lab);

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
    // A broken lab.json and a killed process.
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
    assert_eq!(fault.proof("ls /brokers/ids"), "[0, 1, 2, 3, 4]", "{}", fault.0);

    lab.run(&["kafka-topics", "--", "--alter", "--topic", "test", "--partitions", "6"]).expect(0);
    let flow = lab.verify(0);
    assert_eq!(flow.step("flow")["flow"]["partitions"].as_array().unwrap().len(), 6);

    // Back to three brokers: the other two are ended, and up does not wait for their replicas.
    lab.manifests = Some(manifests(&five[..1]));
    let back = run(lab.up_command(&["--no-clients", "--format", "json"]).env("NO_COLOR", "1")).expect(4).stdout;
    for words in ["no longer in the manifests", "can never be in sync", "`replicas: 5` of StatefulSet kafka"] {
        assert!(back.contains(words), "{words:?} is not in:\n{back}");
    }
    lab.teardown();
}

#[test]
fn a_failed_up_can_tear_itself_down() {
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
        "logs and diagnostics of the failure are in ",
    ]);
    let kept = lab.folder().with_extension("failed");
    let log = |id| std::fs::read_to_string(kept.join(format!("logs/kafka-{id}.log"))).unwrap_or_default();
    assert!((0..3).any(|id| log(id).contains("log.segment.bytes")), "{}", log(0));
    assert!(!lab.folder().exists() && lab.processes().is_empty());
    lab.teardown();
    assert!(!kept.exists());
}

/// Manifests in other styles, and a shell with variables that must not reach the lab.
#[test]
fn other_styles_of_manifests_shells_and_java_work() {
    let mut lab = Lab::new("others");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: broker-settings}\ndata:\n  KAFKA_NUM_PARTITIONS: \"3\"\n  \
               create: \"false\"\n---\n# ZooKeeper and three";
    let env = "          env:\n            - name: POD_NAME\n";
    let create =
        "{name: KAFKA_AUTO_CREATE_TOPICS_ENABLE, valueFrom: {configMapKeyRef: {name: broker-settings, key: create}}}";
    let with_map = format!("          envFrom:\n            - configMapRef: {{name: broker-settings}}\n{env}");
    let changes = [
        ("kafka.yml", "# ZooKeeper and three", map),
        ("kafka.yml", env, &with_map),
        ("kafka.yml", "{name: KAFKA_NUM_PARTITIONS, value: \"4\"}", create),
        ("kafka.yml", ", app.kubernetes.io/part-of: kafka-lab", ""),
        ("clients.yml", "{name: TOPIC, value: test}", "{name: TOPIC, value: orders.v1}"),
        ("clients.yml", "{name: RATE, value: \"1000\"}", "{name: RATE, value: \"500\"}"),
    ];
    lab.manifests = Some(manifests(&changes));
    for file in ["kafka.yml", "clients.yml", "lab.yml"] {
        let path = lab.manifests.as_ref().unwrap().0.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    }
    // A launcher script that starts Java and waits for it.
    let jdk = Dir::new("a jdk");
    std::fs::create_dir(jdk.0.join("bin")).unwrap();
    jdk.tool("bin/java", "PATH=/usr/bin:/usr/local/bin:$PATH java \"$@\"; exit $?");
    let theirs = |command: &mut std::process::Command| {
        let clients =
            [("COUNT", "50"), ("FORMAT", "json"), ("RUN_ID", "Nightly_42"), ("ROLE", "reader"), ("TOPIC", "mine")];
        let java = [("JAVA_TOOL_OPTIONS", "-XX:+UseG1GC"), ("_JAVA_OPTIONS", "-Xmx1m"), ("CLASSPATH", "/nowhere")];
        command.envs(clients).envs(java).env("KAFKA_OPTS", "-Dx").env("STATE_FILE", "mine.json").env("LC_ALL", "de_DE");
        run(command.env("JAVA_HOME", &jdk.0).args(["--format", "json"]))
    };
    let up = Report::of(&theirs(&mut lab.up_command(&[])), 0);
    let created = up.proof("topic orders.v1");
    assert!(
        created.starts_with("created with kafka-topics, since kafka.yml sets KAFKA_AUTO_CREATE_TOPICS_ENABLE to false"),
        "{created}"
    );
    assert!(created.contains("3 partitions × 3 replicas"), "{created}");
    let running =
        |pid: rustix::process::Pid| std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).unwrap();
    for server in ["zookeeper", "kafka-0", "kafka-1", "kafka-2"] {
        assert!(running(lab.pid(server)).ends_with("bin/java"), "{:?}", running(lab.pid(server)));
    }

    // Topics that match the lab's topic as a regular expression.
    for other in ["orders-v1", "ordersXv1", "orders.v10"] {
        let create =
            ["kafka-topics", "--", "--create", "--topic", other, "--partitions", "1", "--replication-factor", "1"];
        lab.run(&create).expect(0);
    }
    let verified = Report::of(&theirs(&mut lab.command(&["verify"])), 0);
    assert!(verified.proof("topic describe").starts_with("PartitionCount 3"), "{}", verified.0);
    assert_eq!(verified.step("flow")["flow"]["partitions"].as_array().unwrap().len(), 3);

    // The fix touches only the lab's topic.
    let map = lab.manifests.as_ref().unwrap().0.join("kafka.yml");
    let text = std::fs::read_to_string(&map).unwrap();
    std::fs::write(&map, text.replace("KAFKA_NUM_PARTITIONS: \"3\"", "KAFKA_NUM_PARTITIONS: \"5\"")).unwrap();
    let again = lab.up(&[]);
    assert!(again.proof("kafka-0").starts_with("restarted with changed settings"), "{}", again.0);
    let fault = lab.verify(5);
    let fix = fault.step("topic describe")["failure"]["fix"].as_str().unwrap().to_string();
    assert_eq!(
        fix,
        format!(r"cargo xtask kafka-topics --name {} -- --alter --topic 'orders\.v1' --partitions 5", lab.name)
    );
    lab.run(&["kafka-topics", "--", "--alter", "--topic", r"orders\.v1", "--partitions", "5"]).expect(0);
    let described = lab.run(&["kafka-topics", "--", "--describe"]).expect(0).stdout;
    for (topic, partitions) in [("orders.v1", 5), ("orders-v1", 1), ("ordersXv1", 1), ("orders.v10", 1)] {
        let line = described.lines().find(|line| line.starts_with(&format!("Topic: {topic}\t"))).unwrap();
        assert!(line.contains(&format!("PartitionCount: {partitions}\t")), "{line}");
    }
    lab.verify(0);
    lab.teardown();
}
