//! The lab on a real kind cluster, end to end, with images from packages. `cargo xtask test` runs it where a Docker
//! engine answers. It also follows the course's walkthrough: every command, with the answer it must give.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ledger::judge::{HowEnded, Verdict};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::clients::{Clients, judged, positions};
use crate::common::engine::{self, Container};
use crate::common::lab::Lab;
use crate::common::registry::Registry;
use crate::common::report::Report;
use crate::common::strike::strike;
use crate::common::{Dir, Ran, manifests, run, start, wait_for, xtask};

impl Lab {
    /// A lab on its own kind cluster.
    fn on_kind(name: &str) -> Self {
        let mut lab = Self::in_folder(name, "state with space");
        lab.backend = "kind";
        lab
    }

    /// `kubectl ARGS` as a student types it.
    #[track_caller]
    fn kubectl(&self, args: &[&str]) -> String {
        self.run(&[&["kubectl", "--"], args].concat()).expect(0).stdout
    }
}

#[track_caller]
fn docker(args: &[&str]) -> String {
    engine::docker(args).expect(0).stdout.trim().to_string()
}

/// Runs a part of a test and prints its duration. All parts share one cluster, which is slow to create.
fn part(what: &str, run: impl FnOnce()) {
    let begin = Instant::now();
    run();
    eprintln!("  {what}: {:.0} s", begin.elapsed().as_secs_f64());
}

/// Whether `text` begins like the clients' lines: `2024/11/23 07:35:35 `.
fn is_dated(text: &str) -> bool {
    let shape = "dddd/dd/dd dd:dd:dd ";
    text.len() > shape.len()
        && shape.chars().zip(text.chars()).all(|(kind, c)| if kind == 'd' { c.is_ascii_digit() } else { kind == c })
}

#[test]
fn the_walk_of_the_course_and_what_breaks_on_the_way() {
    let mut lab = Lab::on_kind("walk");
    std::fs::write(lab.theirs(), "# mine\napiVersion: v1\nkind: Config\ncurrent-context: mine\n").unwrap();
    let theirs = std::fs::read(lab.theirs()).unwrap();

    // 1. kind create cluster. A killed `up` leaves an incomplete cluster, which the next `up` replaces.
    let mut killed = start(&mut lab.up_command(&[]));
    let worker = format!("{}-worker4", lab.name);
    let filter = format!("name={worker}");
    wait_for("the last node's container", 1800, || {
        assert!(killed.try_wait().unwrap().is_none(), "up ended before it created a node");
        !docker(&["ps", "--quiet", "--filter", &filter]).is_empty()
    });
    kill_process(Pid::from_raw(i32::try_from(killed.id()).unwrap()).unwrap(), Signal::KILL).unwrap();
    killed.wait().unwrap();
    let up = lab.up(&[]);
    assert_eq!(up.state("old cluster"), "changed", "{}", up.0);
    assert!(up.proof("old cluster").contains("incomplete"), "{}", up.0);
    assert!(up.proof("cluster").starts_with("created, context kind-"), "{}", up.0);
    assert_eq!(up.proof("nodes ready"), "5 nodes Ready");
    // 2. The image in all five nodes.
    assert!(up.proof("load kafka").ends_with("in 5 nodes"), "{}", up.0);
    assert!(up.proof("topic test").contains("created, 4 partitions × 3 replicas, all in sync"), "{}", up.0);
    assert!(up.proof("serve in cluster").contains("kafka-2.kafka-service.default.svc.cluster.local:9092"), "{}", up.0);
    assert_eq!(std::fs::read(lab.theirs()).unwrap(), theirs, "the user's kubeconfig was changed");

    part("the walk", || the_walk(&lab));
    part("second up", || second_up(&lab));
    part("verify", || drop(verified(&lab)));
    part("tools by name", || tools_by_name(&lab));
    part("every pod is restricted", || every_pod_is_restricted(&lab));
    part("a deleted broker comes back", || a_deleted_broker_comes_back(&lab));
    part("drills on pods and nodes", || drills(&lab));
    part("drills without their strike", || drills_without_their_strike(&lab));
    part("a restarted node comes back", || a_restarted_node_comes_back(&lab));
    part("stopped nodes are started", || stopped_nodes_are_started(&lab));
    part("a broken setting fails fast and is mended", || a_broken_setting_fails_fast_and_is_mended(&lab));
    part("a purge elsewhere leaves the images", || a_purge_elsewhere_leaves_the_images(&lab));
    part("a cluster that differs is not touched unasked", || a_cluster_that_differs_is_not_touched_unasked(&lab));
    part("changed facts are followed", || changed_facts_are_followed(&mut lab));
    part("kubeconfig merged", || kubeconfig_merged(&lab));

    lab.run(&["verify"]).expect(6);
    assert!(lab.run(&["teardown"]).expect(0).stdout.contains("nothing to tear down"));
}

/// Steps 3 to 8 of the course's walkthrough.
fn the_walk(lab: &Lab) {
    let services = lab.kubectl(&["get", "services"]);
    for name in ["zookeeper-service", "kafka-service"] {
        let line = services.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{services}"));
        assert!(line.contains("None"), "not headless: {line}");
    }
    let pods = lab.kubectl(&["get", "pods"]);
    for name in ["kafka-0", "kafka-1", "kafka-2", "zookeeper-0"] {
        let line = pods.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{pods}"));
        assert!(line.contains("1/1") && line.contains("Running"), "{line}");
    }
    // The spread constraint is hard: three brokers on three workers.
    let nodes =
        lab.kubectl(&["get", "pods", "--selector", "app=kafka", "--output", "jsonpath={.items[*].spec.nodeName}"]);
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "{nodes:?}");

    let shell = |args: &[&str]| {
        lab.kubectl(&[&["exec", "zookeeper-0", "--", "zookeeper-shell", "localhost:2181"], args].concat())
    };
    assert!(shell(&["ls", "/brokers/ids"]).lines().any(|line| line == "[0, 1, 2]"));
    assert!(shell(&["get", "/brokers/ids"]).lines().any(|line| line == "null"));

    let mut logs = String::new();
    wait_for("the clients' lines", 180, || {
        logs = lab.kubectl(&["logs", "deployment/producer"]) + &lab.kubectl(&["logs", "deployment/consumer"]);
        let parts = ["test: 1000 messages published", "test: start receiving messages from Partition 2"];
        parts.iter().all(|part| logs.contains(part)) && logs.contains("test: received 1000 messages from partition")
    });
    for line in logs.lines().filter(|line| line.contains(" test: ")) {
        assert!(is_dated(line), "{line}");
        if let Some((_, last)) = line.split_once("last (") {
            let value = last.trim_end_matches(')');
            assert!(value.starts_with("0.") && value.len() == 8, "{line}");
        }
    }

    let topics = |args: &[&str]| {
        let head = ["exec", "kafka-0", "--", "kafka-topics", "--bootstrap-server", "localhost:9092"];
        lab.kubectl(&[&head, args].concat())
    };
    assert!(topics(&["--list"]).lines().any(|line| line == "test"));
    let described = topics(&["--describe", "--topic", "test"]);
    assert!(described.contains("PartitionCount: 4") && described.contains("ReplicationFactor: 3"), "{described}");
    let field = |line: &str, name: &str| -> Vec<u32> {
        let text = line.split('\t').find_map(|field| field.strip_prefix(name)).unwrap();
        text.trim().split(',').map(|id| id.trim().parse().unwrap()).collect()
    };
    let rows: Vec<&str> = described.lines().filter(|line| line.contains("\tPartition: ")).collect();
    assert_eq!(rows.len(), 4, "{described}");
    let mut leaders: Vec<u32> = rows.iter().flat_map(|row| field(row, "Leader:")).collect();
    leaders.sort_unstable();
    leaders.dedup();
    assert_eq!(leaders, [0, 1, 2], "leaders are spread: {described}");
    for row in rows {
        assert_eq!(field(row, "Isr:").len(), field(row, "Replicas:").len(), "{row}");
        assert_eq!(field(row, "Replicas:").len(), 3, "{row}");
    }

    let clients = lab.folder().join("manifests/clients.yml");
    lab.kubectl(&["delete", "--filename", clients.to_str().unwrap()]);
    assert_eq!(Report::of(&lab.run(&["status", "--format", "json"]), 0).state("producer"), "skipped");
    lab.run(&["clients", "start"]).expect(0);
}

/// Interrupts a command when it starts a step, and checks its exit code.
#[track_caller]
fn interrupted_at(command: &mut Command, step: &str) {
    let struck = strike(command, &["started"], |_, title| title == step, |pid| kill_process(pid, Signal::INT).unwrap());
    assert!(
        struck.hit && struck.ran.code == 130,
        "interrupted at {step}, last step: {}, ended after {:?}: {:?}",
        struck.last,
        struck.elapsed,
        struck.ran
    );
}

fn second_up(lab: &Lab) {
    interrupted_at(&mut lab.up_command(&[]), "topic test");
    let second = lab.up(&[]);
    for title in [
        "record",
        "node image",
        "kafka image",
        "clients build",
        "clients image",
        "old cluster",
        "cluster",
        "load kafka",
        "load clients",
        "apply kafka",
        "pods",
        "topic test",
        "apply clients",
        "clients",
    ] {
        assert_eq!(second.state(title), "unchanged", "{title} in {}", second.0);
    }
}

fn verified(lab: &Lab) -> Report {
    let verified = lab.verify(0);
    let flow = &verified.step("flow")["flow"];
    assert_eq!(flow["verdict"], "pass");
    let rows = flow["partitions"].as_array().unwrap();
    for row in rows {
        assert_eq!(row["acked"], row["received"], "{row}");
        assert_eq!(row["records"], row["end"].as_u64().unwrap() - row["start"].as_u64().unwrap(), "{row}");
    }
    let everywhere = format!("advancing in each of {} partitions", rows.len());
    assert!(verified.proof("producer").contains(&format!("acked, {everywhere}")), "{}", verified.0);
    assert!(verified.proof("consumer").contains(&format!("records read, {everywhere}")), "{}", verified.0);
    let account = &verified.step("account")["account"][0];
    assert_eq!(
        (&account["verdict"], account["partitions"].as_array().unwrap().len()),
        (&"pass".into(), rows.len()),
        "{account}"
    );
    assert_eq!(account["remarks"], serde_json::json!([]), "{account}");
    // The checks' Jobs are gone.
    assert_eq!(lab.kubectl(&["get", "jobs", "--output", "name"]).trim(), "");
    verified
}

fn tools_by_name(lab: &Lab) {
    assert!(lab.run(&["kafka-topics", "--", "--list"]).expect(0).stdout.lines().any(|line| line == "test"));
    let shell = lab.run(&["zookeeper-shell", "--", "ls", "/brokers/ids"]).expect(0);
    assert!(shell.stdout.lines().any(|line| line == "[0, 1, 2]"), "{}", shell.stdout);
    let logs = lab.run(&["logs", "kafka-1", "-n", "5"]).expect(0).stdout;
    assert_eq!(logs.lines().count(), 5, "{logs}");
    lab.run(&["clients", "scale", "consumer", "2"]).expect(0);
    assert_eq!(lab.kubectl(&["get", "pods", "--selector", "app=consumer", "--output", "name"]).lines().count(), 2);
    lab.run(&["clients", "scale", "consumer", "1"]).expect(0);

    // Only the node that lost the clients' image gets it again.
    let load = || Report::of(&lab.run(&["clients", "load", "--format", "json"]), 0);
    let before = load();
    assert_eq!(before.state("load clients"), "unchanged", "{}", before.0);
    let image = before.proof("load clients").strip_suffix(" in 5 nodes").unwrap().to_string();
    let node = format!("{}-worker2", lab.name);
    docker(&["exec", &node, "ctr", "--namespace", "k8s.io", "images", "rm", &format!("docker.io/library/{image}")]);
    let after = load();
    assert_eq!(after.proof("load clients"), format!("{image} in 5 nodes, 1 of them lacked it"));
    let built = Report::of(&lab.run(&["clients", "build", "--format", "json"]), 0);
    assert!(built.proof("clients image").starts_with(&image), "{}", built.0);
}

/// Waits until the lab serves again on its own.
fn serves_again(lab: &Lab, seconds: u64) {
    wait_for("serving again on its own", seconds, || lab.run(&["status"]).code == 0);
}

/// A number from the environment.
fn asked(variable: &str) -> Option<u32> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Every pod meets the level `restricted`: Kubernetes itself warns about those that do not.
fn every_pod_is_restricted(lab: &Lab) {
    let level = "pod-security.kubernetes.io/enforce=restricted";
    let warnings = |namespace| {
        lab.run(&["kubectl", "--", "label", "--dry-run=server", "--overwrite", "namespace", namespace, level])
            .expect(0)
            .stderr
    };
    assert!(warnings("kube-system").contains("violate"), "no warning about pods that do not meet it");
    assert_eq!(warnings("default"), "");
}

fn a_deleted_broker_comes_back(lab: &Lab) {
    lab.kubectl(&["delete", "pod", "kafka-1"]);
    serves_again(lab, 120);
    // A random pod: once by default, as often as KAFKA_LAB_DELETIONS asks. The same seed picks the same pods.
    let mut seed = asked("KAFKA_LAB_SEED").unwrap_or_else(std::process::id);
    eprintln!("seed {seed}");
    for turn in 0..asked("KAFKA_LAB_DELETIONS").unwrap_or(1) {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let pods = lab.kubectl(&["get", "pods", "--output", "name"]);
        let pods: Vec<&str> = pods.lines().collect();
        let pod = pods[(seed >> 8) as usize % pods.len()];
        lab.kubectl(&["delete", pod]);
        let begin = Instant::now();
        serves_again(lab, 180);
        eprintln!("deletion {turn}: {pod}, serving again after {:.1} s", begin.elapsed().as_secs_f64());
    }
    verified(lab);
}

/// Nothing acknowledged is lost with a leader's pod, or while its node is paused for longer than its session.
fn drills(lab: &Lab) {
    lab.run(&["drill", "rolling-restart"]).expect(2).says(&["cannot be done on kind"]);
    let ran = lab.run(&["drill", "pod-delete", "node-pause", "--format", "json"]).expect(0);
    let drills: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("{\"schema\":\"kafka-lab.drill/1\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(drills.len(), 2);
    for proof in drills.iter().flat_map(|drill| drill["struck"][0]["evidence"].as_array().unwrap()) {
        assert_eq!(proof["found"], "shown", "{proof}");
    }
    assert!(drills[0]["struck"][0]["detected_after_ms"].as_u64().is_some(), "{}", drills[0]);
    for drill in drills {
        assert_eq!(drill["ledger"]["verdict"], "pass", "{drill}");
        let rows = drill["struck"][0]["partitions"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["longest_ack_gap_ms"].as_u64().unwrap() > 0), "it did not strike: {drill}");
    }
}

/// Without their strike, no drill keeps its promise. The tests on the local backend try those that both have.
fn drills_without_their_strike(lab: &Lab) {
    let listed = lab.run(&["drill", "--list"]).expect(0).stdout;
    let only_here: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(" (kind)")).collect();
    assert!(only_here.len() > 3, "{listed}");
    let args = [&["drill", "--without", "strike", "--format", "json", "consumer-kill"][..], &only_here].concat();
    let ran = lab.run(&args);
    assert!([4, 5, 7].contains(&ran.code), "{ran:?}");
    let drills = ran.json("kafka-lab.drill/1");
    assert_eq!(drills.iter().map(|drill| drill["drill"].as_str().unwrap()).collect::<Vec<_>>(), args[5..]);
    for drill in drills {
        assert_eq!(drill["kept"], false, "{drill}");
        let proofs = drill["struck"][0]["evidence"].as_array();
        let seen = |proof: &serde_json::Value| proof["found"] == "shown";
        assert!(drill["error"].is_string() || !proofs.unwrap().iter().all(seen), "{drill}");
    }
}

fn a_restarted_node_comes_back(lab: &Lab) {
    let node = lab.kubectl(&["get", "pod", "kafka-2", "--output", "jsonpath={.spec.nodeName}"]);
    docker(&["restart", "--time", "2", &node]);
    serves_again(lab, 180);
    verified(lab);
}

fn stopped_nodes_are_started(lab: &Lab) {
    let (one, two) = (format!("{}-worker", lab.name), format!("{}-worker3", lab.name));
    docker(&["stop", "--time", "2", &one]);
    docker(&["pause", &two]);
    let status = lab.run(&["status"]).expect(5);
    status.says(&[&format!("stopped or paused: {one}, {two}")]);
    let up = lab.up(&[]);
    assert!(up.proof("cluster").starts_with("was stopped, restarted"), "{}", up.0);
    verified(lab);
}

fn a_broken_setting_fails_fast_and_is_mended(lab: &Lab) {
    let broken = manifests(&[(
        "kafka.yml",
        "KAFKA_LOG_SEGMENT_BYTES, value: \"67108864\"",
        "KAFKA_LOG_SEGMENT_BYTES, value: lots",
    )]);
    let begin = Instant::now();
    let failed = run(lab.up_command(&[]).args(["--manifests", broken.0.to_str().unwrap()]));
    failed.expect(4).says(&["kafka-2: CrashLoopBackOff", "log.segment.bytes", "diagnostics: "]);
    assert!(begin.elapsed() < Duration::from_secs(120), "up waited for a pod that cannot start");
    // The other brokers kept running, and the next up repairs this one.
    let up = run(lab.up_command(&[]).args(["--manifests", "manifests", "--format", "json"]).current_dir(repo()));
    let up = Report::of(&up, 0);
    assert!(up.proof("apply kafka").contains("kafka-2 had failed, recreated"), "{}", up.0);
    verified(lab);
}

fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn changed_facts_are_followed(lab: &mut Lab) {
    lab.manifests = Some(manifests(&[
        ("kafka.yml", "KAFKA_NUM_PARTITIONS, value: \"4\"", "KAFKA_NUM_PARTITIONS, value: \"6\""),
        ("kafka.yml", "replicas: 3", "replicas: 4"),
    ]));
    let up = lab.up(&[]);
    assert!(up.step("topic test")["warnings"][0].as_str().unwrap().contains("kafka.yml says 6"), "{}", up.0);
    let fault = lab.verify(5);
    assert_eq!(fault.proof("ls /brokers/ids"), "[0, 1, 2, 3]");
    let fix = fault.step("topic describe")["failure"]["fix"].as_str().unwrap().to_string();
    let words: Vec<&str> = fix.strip_prefix("cargo xtask ").unwrap().split(' ').collect();
    lab.run(&words).expect(0);
    assert_eq!(verified(lab).step("flow")["flow"]["partitions"].as_array().unwrap().len(), 6);
}

/// `teardown --purge` of a lab with another state folder and cache.
fn a_purge_elsewhere_leaves_the_images(lab: &Lab) {
    let elsewhere = Dir::new("elsewhere");
    let cache = elsewhere.0.join("cache");
    std::fs::create_dir_all(cache.join("kafka-lab")).unwrap();
    let mut purge = xtask(&elsewhere.0, ["teardown", "--purge"]);
    run(purge.env("XDG_CACHE_HOME", &cache)).expect(0).says(&[&format!("images are kept: cluster {}", lab.name)]);
    let images = docker(&["image", "ls", "--format", "{{.Repository}}"]);
    assert!(images.lines().any(|image| image == "kafka-lab-kafka"), "{images}");
}

fn a_cluster_that_differs_is_not_touched_unasked(lab: &Lab) {
    let before = docker(&["ps", "--quiet", "--filter", &format!("label=io.x-k8s.kind.cluster={}", lab.name)]);
    let fewer = manifests(&[(
        "cluster.yml",
        "  - role: worker\n  - role: worker\n  - role: worker\n  - role: worker\n",
        "  - role: worker\n  - role: worker\n  - role: worker\n",
    )]);
    let refused = run(lab.up_command(&[]).args(["--manifests", fewer.0.to_str().unwrap()]));
    refused.expect(3).says(&[&format!("node {}-worker4 is not in cluster.yml", lab.name), "--recreate"]);
    assert_eq!(docker(&["ps", "--quiet", "--filter", &format!("label=io.x-k8s.kind.cluster={}", lab.name)]), before);
}

/// `up --merge-kubeconfig` adds the lab's context, and teardown removes it.
fn kubeconfig_merged(lab: &Lab) {
    lab.up(&["--merge-kubeconfig"]);
    let merged = std::fs::read_to_string(lab.theirs()).unwrap();
    assert!(merged.contains(&format!("kind-{}", lab.name)), "{merged}");
    assert!(merged.contains("current-context: mine"), "{merged}");
    interrupted_at(&mut lab.command(&["teardown"]), "delete cluster");
    lab.teardown();
    let after = std::fs::read_to_string(lab.theirs()).unwrap();
    assert!(!after.contains(&lab.name) && after.contains("current-context: mine"), "{after}");
}

#[test]
fn a_foreign_cluster_is_left_alone() {
    let lab = Lab::on_kind("foreign");
    let (label, name) = (format!("io.x-k8s.kind.cluster={}", lab.name), format!("{}-control-plane", lab.name));
    let options =
        ["--network", "none", "--name", &name, "--label", &label, "--label", "io.x-k8s.kind.role=control-plane"];
    let theirs = Container::start(options, engine::kafka_image(), &["sleep", "600"]);
    run(&mut lab.up_command(&[])).expect(3).says(&["this lab did not create the kind cluster", "another --name"]);
    assert!(lab.run(&["teardown"]).expect(0).stdout.contains("nothing to tear down"));
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &theirs.0]), "true");
}

/// Makes the lab small, with images from a registry: one broker, a control-plane node and a worker.
fn from_registry(lab: &mut Lab, node: &str, kafka: &str) {
    let roles = format!("  - role: worker\n    image: {node}\n");
    lab.manifests = Some(manifests(&[
        ("kafka.yml", "image: confluentinc/cp-kafka:7.3.5", &format!("image: {kafka}")),
        ("kafka.yml", "replicas: 3", "replicas: 1"),
        ("kafka.yml", "REPLICATION_FACTOR, value: \"3\"", "REPLICATION_FACTOR, value: \"1\""),
        ("kafka.yml", "INSYNC_REPLICAS, value: \"2\"", "INSYNC_REPLICAS, value: \"1\""),
        ("kafka.yml", "MIN_ISR, value: \"2\"", "MIN_ISR, value: \"1\""),
        ("cluster.yml", "  - role: control-plane\n", &format!("  - role: control-plane\n    image: {node}\n")),
        ("cluster.yml", "  - role: worker\n  - role: worker\n  - role: worker\n  - role: worker\n", &roles),
        ("lab.yml", "registry_s: 10", "registry_s: 4"),
    ]));
}

/// PATH with kind and kubectl from the node image's recipe in front.
fn path_to_kind() -> OsString {
    engine::node_image();
    let stages = run(Command::new(repo().join("manifests/images/node/build")).arg("--list")).expect(0).stdout;
    let products = stages.lines().filter(|line| line.starts_with("kind ") || line.starts_with("kubectl "));
    let products = products.map(|line| PathBuf::from(line.split_whitespace().nth(3).unwrap()));
    let path = std::env::var_os("PATH").unwrap();
    std::env::join_paths(products.chain(std::env::split_paths(&path))).unwrap()
}

/// The command `up --images registry`.
fn up_from_registry(lab: &Lab, format: &str, more: &[&str]) -> Command {
    let args = [&["--images", "registry", "--no-clients", "--format", format], more].concat();
    let mut up = lab.up_command(&args);
    up.env("PATH", path_to_kind());
    up
}

/// A cluster that kind creates from the output of `render`, without xtask. It is deleted when the test ends.
struct PlainCluster<'a> {
    lab: &'a Lab,
    path: OsString,
}

impl PlainCluster<'_> {
    fn run(&self, program: &str, args: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(args).env("PATH", &self.path).env("KUBECONFIG", self.lab.theirs());
        command.env("KUBECACHEDIR", self.lab.state.0.join("kubectl cache"));
        run(&mut command)
    }

    #[track_caller]
    fn kubectl(&self, args: &[&str]) -> String {
        self.run("kubectl", args).expect(0).stdout
    }
}

impl Drop for PlainCluster<'_> {
    fn drop(&mut self) {
        self.run("kind", &["delete", "cluster", "--name", &self.lab.name]);
    }
}

/// The output of `render`, applied by hand in the course's order, is a working lab. The node image needs nothing else
/// from us: pods reach each other by name, and claims get their volumes.
#[test]
fn by_hand_from_render_on_a_cluster_that_kind_made() {
    let lab = Lab::on_kind("byhand");
    let out = Dir::new("rendered");
    let file = |name: &str| out.0.join(name).to_str().unwrap().to_string();
    let images = ["render", "--images", "packages", "--out", out.0.to_str().unwrap()];
    lab.run(&images).expect(0);
    // Use free ports of the host. The ports in the nodes stay.
    for (name, from, to) in [
        ("cluster.yml", "hostPort: 3009", format!("hostPort: {}", lab.base / 10)),
        ("kafka.yml", "LAB_HOST_PORT_BASE, value: \"30090\"", format!("LAB_HOST_PORT_BASE, value: \"{}\"", lab.base)),
    ] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(file(name), text.replace(from, &to)).unwrap();
    }
    let cluster = PlainCluster { lab: &lab, path: path_to_kind() };
    cluster.run("kind", &["create", "cluster", "--config", &file("cluster.yml")]).expect(0);
    cluster.run("kind", &["load", "docker-image", "--name", &lab.name, engine::kafka_image()]).expect(0);
    cluster.kubectl(&["apply", "--filename", &file("kafka.yml"), "--filename", &file("host-access.yml")]);
    let clients = std::fs::read_to_string(file("clients.yml")).unwrap();
    let image = clients.lines().find_map(|line| line.trim().strip_prefix("image: ")).unwrap();
    cluster.run("kind", &["load", "docker-image", "--name", &lab.name, image]).expect(0);
    cluster.kubectl(&["rollout", "status", "statefulset/kafka", "--timeout=600s"]);
    cluster.kubectl(&["apply", "--filename", &file("clients.yml")]);
    cluster.kubectl(&["rollout", "status", "deployment/producer", "--timeout=300s"]);
    cluster.kubectl(&["rollout", "status", "deployment/consumer", "--timeout=300s"]);
    wait_for("the consumer's lines", 180, || {
        cluster.kubectl(&["logs", "deployment/consumer"]).contains("test: received 1000 messages from partition")
    });
    let ids = ["exec", "zookeeper-0", "--", "zookeeper-shell", "localhost:2181", "ls", "/brokers/ids"];
    assert!(cluster.kubectl(&ids).lines().any(|line| line == "[0, 1, 2]"));
    let claims = ["get", "persistentvolumeclaims", "--output", "jsonpath={.items[*].status.phase}"];
    assert_eq!(cluster.kubectl(&claims), "Bound Bound Bound Bound");
    // The host reaches each broker at its own address, and messages arrive.
    let clients = Clients::of(&lab);
    let before = clients.ends();
    clients.run("sent", &["producer", "--run", "byhand", "--format", "json", "--rate", "0", "--count", "2000"]);
    let after = clients.ends();
    let range = ["--start", &positions(&before), "--end", &positions(&after)];
    let read = clients.run("read", &[&["consumer", "--run", "byhand", "--format", "json"], &range[..]].concat());
    let received = serde_json::from_str(read.lines().last().unwrap()).unwrap();
    let report = judged("byhand", [&before, &after], &[clients.claim("sent", HowEnded::ByItself)], &received);
    assert_eq!((report.verdict, report.partitions.len()), (Verdict::Pass, 4), "{report:?}");
    // teardown leaves a cluster without a lab's mark alone.
    lab.run(&["teardown"]).expect(0);
    assert_eq!(
        cluster.run("kind", &["get", "clusters"]).expect(0).stdout.lines().filter(|line| *line == lab.name).count(),
        1
    );
}

/// The engine dies under `up --recreate`: `up` reports it at once, and the next `up` replaces the incomplete cluster.
fn an_engine_that_dies_is_the_cause(lab: &Lab) {
    let proxy = engine::EngineProxy::start();
    let worker = format!("name={}-worker", lab.name);
    let node = || docker(&["ps", "--quiet", "--filter", &worker]);
    let old = node();
    let (ran, cut) = std::thread::scope(|scope| {
        let mut up = up_from_registry(lab, "json", &["--recreate"]);
        up.env("DOCKER_HOST", proxy.address());
        let up = scope.spawn(move || run(&mut up));
        wait_for("the new node", 120, || up.is_finished() || ![&old, ""].contains(&node().as_str()));
        proxy.cut();
        let cut = Instant::now();
        (up.join().unwrap(), cut.elapsed())
    });
    assert!(cut < Duration::from_secs(20), "it ended after {cut:?}");
    let up = Report::of(&ran, 4);
    assert!(up.proof("old cluster").ends_with(", because of --recreate"), "{}", up.0);
    assert!(up.0.to_string().contains("the Docker engine no longer answers: "), "{}", up.0);

    let next = Report::of(&run(&mut up_from_registry(lab, "json", &[])), 0);
    assert!(next.proof("old cluster").contains("incomplete"), "{}", next.0);
    assert!(next.proof("cluster").starts_with("created, "), "{}", next.0);
    assert!(next.proof("topic test").starts_with("created, "), "{}", next.0);
}

#[test]
fn images_come_from_a_registry_quickly_slowly_or_not_at_all() {
    let (kafka, node) = (engine::kafka_image(), engine::node_image());

    // Nothing answers: within seconds, an error that names both alternatives. Nothing is touched.
    let mut lab = Lab::on_kind("registry");
    let stalled = Registry::start(&["-stall"]);
    from_registry(&mut lab, node, &stalled.name("lab/kafka:1"));
    let begin = Instant::now();
    let ran = run(&mut up_from_registry(&lab, "text", &[])).expect(3);
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    ran.says(&["cannot be pulled: no answer within 4 s", "--images packages", "--backend local"]);
    lab.assert_nothing_left();

    // It answers with errors.
    let failing = Registry::start(&["-fail", "manifests"]);
    from_registry(&mut lab, node, &failing.name("lab/kafka:1"));
    let ran = run(&mut up_from_registry(&lab, "text", &[])).expect(3);
    ran.says(&["cannot be pulled", "--images packages", "--backend local"]);
    lab.assert_nothing_left();

    // It answers, but each layer takes longer than the limit for an answer.
    let slow = Registry::start(&["-delay", "6s"]);
    let image = slow.push_new(kafka, "lab/kafka:1");
    from_registry(&mut lab, node, &image);
    let up = Report::of(&run(&mut up_from_registry(&lab, "json", &[])), 0);
    assert_eq!(up.state("kafka image"), "changed", "{}", up.0);
    assert!(up.proof("kafka image").ends_with("from registry"), "{}", up.0);
    assert_eq!(up.proof("load kafka"), format!("{image} in 2 nodes"));
    assert_eq!(up.proof("nodes ready"), "2 nodes Ready");
    let second = Report::of(&run(&mut up_from_registry(&lab, "json", &[])), 0);
    assert_eq!(second.state("load kafka"), "unchanged", "{}", second.0);

    an_engine_that_dies_is_the_cause(&lab);
    lab.verify(0);
    lab.teardown();
}
