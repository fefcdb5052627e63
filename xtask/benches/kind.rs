//! The kind backend beside kind itself, in one run: figures, never assertions. `cargo bench --bench kind [-- ROUNDS]`
//! needs an engine with the images of manifests/images in it and a quiet machine.
//!
//! - `up` to a lab that serves, against `kind create cluster` of the same five nodes until all five are Ready;
//! - the Kafka image into five nodes, against `docker save` to a file and `kind load image-archive`;
//! - a second `up` with all running.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark drives programs itself and fails by panicking"
)]

#[path = "../tests/it/common/interrupt.rs"]
mod interrupt;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const NAME: &str = "bench-kind";

/// Runs to the end and returns standard output.
#[track_caller]
fn run(command: &mut Command) -> String {
    interrupt::go_on();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn timed(run: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    run();
    begin.elapsed().as_secs_f64()
}

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// A lab with a state folder of its own; dropping it tears it down.
struct Bench {
    state: PathBuf,
}

impl Bench {
    fn xtask(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["--name", NAME]).args(args).env("XDG_STATE_HOME", &self.state);
        command
    }

    fn up(&self) -> serde_json::Value {
        let args = ["up", "--backend", "kind", "--images", "packages", "--port-base", "14190", "--format", "json"];
        serde_json::from_str(run(&mut self.xtask(&args)).lines().last().unwrap()).unwrap()
    }

    /// Deletes ZooKeeper and the brokers, and waits until their pods are gone.
    fn delete_servers(&self) {
        run(&mut self.xtask(&["kubectl", "--", "delete", "statefulset", "kafka", "zookeeper", "--wait"]));
        let wait = ["wait", "pods", "--selector=app in (kafka,zookeeper)", "--for=delete", "--timeout=120s"];
        run(&mut self.xtask(&[&["kubectl", "--"][..], &wait].concat()));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.xtask(&["teardown"]).output();
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

fn seconds(report: &serde_json::Value, step: Option<&str>) -> f64 {
    let found = match step {
        None => report,
        Some(step) => report["steps"].as_array().unwrap().iter().find(|found| found["step"] == step).unwrap(),
    };
    found["elapsed_ms"].as_f64().unwrap() / 1000.0
}

/// Creates a cluster without kafka-lab and waits until its nodes are Ready.
fn create_plain(kind: &str, kubectl: &str, config: &str, kubeconfig: &str) {
    let create = ["create", "cluster", "--name", "bench-plain", "--config", config, "--kubeconfig", kubeconfig];
    run(Command::new(kind).args(create));
    let wait = ["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=300s"];
    run(Command::new(kubectl).args(["--kubeconfig", kubeconfig]).args(wait));
}

/// Takes the image out of every node, with all that it is made of.
fn forget(nodes: &[String], names: &[&str]) {
    for node in nodes {
        run(Command::new("docker").args(["exec", node, "ctr", "-n", "k8s.io", "images", "rm", "--sync"]).args(names));
    }
}

/// Removes the image's archive from the cache. A file beside it has the image's id.
fn forget_archive(id: &str) {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    for entry in std::fs::read_dir(cache.join("kafka-lab/images/packed")).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "id") && std::fs::read_to_string(&path).unwrap().trim() == id {
            std::fs::remove_file(path.with_extension("tar")).unwrap();
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(3);
    let bench = Bench { state: std::env::temp_dir().join(format!("kafka-lab-bench-{}", std::process::id())) };
    let stages = run(Command::new(repo().join("manifests/images/node/build")).arg("--list"));
    let product = |name: &str| {
        let line = stages.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.split_whitespace().nth(3).unwrap().to_string()
    };
    let (kind, kubectl) = (format!("{}/kind", product("kind")), format!("{}/kubectl", product("kubectl")));
    let image = run(Command::new(repo().join("manifests/images/kafka/build")).arg("--tag")).trim().to_string();
    let id = run(Command::new("docker").args(["image", "inspect", "-f", "{{.Id}}", &image])).trim().to_string();
    let config = bench.state.join("plain");
    std::fs::create_dir_all(&config).unwrap();
    run(&mut bench.xtask(&["render", "--images", "packages", "--out", config.to_str().unwrap()]));
    let file = |name: &str| config.join(name).to_str().unwrap().to_string();

    let (mut ups, mut creates, mut seconds_ups, mut loads, mut archives) = (vec![], vec![], vec![], vec![], vec![]);
    for round in 1..=rounds {
        let kubeconfig = file("kubeconfig");
        let create = timed(|| create_plain(&kind, &kubectl, &file("cluster.yml"), &kubeconfig));
        run(Command::new(&kind).args(["delete", "cluster", "--name", "bench-plain", "--kubeconfig", &kubeconfig]));

        let up = seconds(&bench.up(), None);
        let second = seconds(&bench.up(), None);

        let nodes = run(Command::new(&kind).args(["get", "nodes", "--name", NAME]));
        let nodes: Vec<String> = nodes.lines().map(Into::into).collect();
        bench.delete_servers();
        let full = format!("docker.io/library/{image}");
        let tar = file("image.tar");
        forget(&nodes, &[&full, &id]);
        let archive = timed(|| {
            run(Command::new("docker").args(["save", "--output", &tar, &image]));
            run(Command::new(&kind).args(["load", "image-archive", &tar, "--name", NAME]));
        });
        forget(&nodes, &[&full, &id]);
        // Packing is part of it.
        forget_archive(&id);
        let load = seconds(&bench.up(), Some("load kafka"));
        run(&mut bench.xtask(&["teardown"]));
        println!(
            "round {round}: up {up:.1} s, kind create {create:.1} s, ratio {:.2}; second up {second:.1} s; load {load:.1} s, save and image-archive {archive:.1} s, ratio {:.2}",
            up / create,
            load / archive
        );
        ups.push(up / create);
        loads.push(load / archive);
        creates.push(create);
        archives.push(archive);
        seconds_ups.push(second);
    }
    println!(
        "medians of {rounds}: up / kind create {:.2}; load / image-archive {:.2}; second up {:.1} s; kind create {:.1} s; image-archive {:.1} s",
        median(&mut ups),
        median(&mut loads),
        median(&mut seconds_ups),
        median(&mut creates),
        median(&mut archives)
    );
}
