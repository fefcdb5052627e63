//! `cargo bench --bench startup`: how long `up` takes from nothing running to the first message received, beside plain
//! `java` starts of the same four processes with the same properties, the same heaps and the same client.
//!
//! Pairs in one run, medians of five, so that a noisy machine harms both alike. Also: the second `up`, and what
//! `cargo xtask --help` costs beside an empty program of the same workspace. Figures are printed, never asserted.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark drives programs itself and fails by panicking"
)]

#[path = "../tests/it/common/interrupt.rs"]
mod interrupt;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use interrupt::go_on;

const PAIRS: usize = 5;
const BASE: u16 = 18_500;

struct Bench {
    state: PathBuf,
    repo: PathBuf,
}

impl Bench {
    fn xtask(&self, args: &[&str]) -> (String, Duration) {
        let begin = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .args(["--name", "bench"])
            .env("XDG_STATE_HOME", &self.state)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8(output.stdout).unwrap(), begin.elapsed())
    }

    /// Seconds from the start of `up` until its topic step ended, which is when the first message was received.
    fn up(&self) -> f64 {
        go_on();
        let base = BASE.to_string();
        let begin = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args([
                "up",
                "--name",
                "bench",
                "--backend",
                "local",
                "--no-clients",
                "--format",
                "json",
                "--port-base",
                &base,
            ])
            .env("XDG_STATE_HOME", &self.state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut received = None;
        for line in std::io::BufRead::lines(out).map(Result::unwrap) {
            if line.contains("\"event\":\"finished\",\"step\":\"topic test\"") {
                received = Some(begin.elapsed());
            }
        }
        assert!(child.wait().unwrap().success());
        received.unwrap().as_secs_f64()
    }

    /// The same four processes with the properties that `up` wrote, started as a shell user would: ZooKeeper, its port,
    /// the brokers, then the same client.
    fn plain(&self, properties: &Path, jars: &str, clients: &Path) -> f64 {
        let data = self.state.join("plain");
        std::fs::create_dir_all(&data).unwrap();
        let log4j = format!(
            "-Dlog4j.configuration=file:{}",
            self.repo.join("manifests/images/kafka/log4j.properties").display()
        );
        let java = |name: &str, heap: [&str; 2], class: &str, file: &str| -> Child {
            let folder = properties.join(name);
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            let text = text.replace(folder.to_str().unwrap(), data.join(name).to_str().unwrap());
            std::fs::create_dir_all(data.join(name)).unwrap();
            std::fs::write(data.join(name).join(file), text).unwrap();
            Command::new("java")
                .args(heap)
                .args([&log4j, "-Dkafka.lab.appender=file", &format!("-Dkafka.lab.process={name}")])
                .arg(format!("-Dkafka.logs.dir={}", data.display()))
                .args(["-cp", jars, class])
                .arg(data.join(name).join(file))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let begin = Instant::now();
        let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        let mut servers = Servers(vec![java("zookeeper", ["-Xms128m", "-Xmx128m"], class, "zookeeper.properties")]);
        while !ask(BASE + 2091, "srvr").contains("Mode:") {
            go_on();
            std::thread::sleep(Duration::from_millis(20));
        }
        for id in 0..3 {
            servers.0.push(java(&format!("kafka-{id}"), ["-Xms512m", "-Xmx512m"], "kafka.Kafka", "server.properties"));
        }
        while ask(BASE + 2091, "dump").matches("/brokers/ids/").count() < 3 {
            go_on();
            std::thread::sleep(Duration::from_millis(20));
        }
        let brokers: Vec<String> = (0..3).map(|id| format!("127.0.0.1:{}", BASE + id)).collect();
        let probe = Command::new(clients)
            .args(["probe", "--topic", "test", "--timeout-ms", "60000", "--brokers", &brokers.join(",")])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let elapsed = begin.elapsed().as_secs_f64();
        assert!(probe.success());
        drop(servers);
        std::fs::remove_dir_all(&data).unwrap();
        elapsed
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.xtask(&["teardown"]);
        std::fs::remove_dir_all(&self.state).unwrap();
    }
}

/// Servers started by hand; killed when dropped.
struct Servers(Vec<Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.0.iter_mut().rev() {
            // One that has ended already is what we want.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ask(port: u16, word: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = stream.write_all(word.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
    let state = std::env::temp_dir().join(format!("kafka-lab-bench-{}", std::process::id()));
    let bench = Bench { state: state.clone(), repo };

    // Warm: jars, clients and class-data archives are there after one lab has come and gone.
    bench.up();
    bench.xtask(&["teardown"]);
    bench.up();
    let folder = state.join("kafka-lab/bench");
    let kept = state.join("properties");
    for name in ["zookeeper", "kafka-0", "kafka-1", "kafka-2"] {
        std::fs::create_dir_all(kept.join(name)).unwrap();
        let file = if name == "zookeeper" { "zookeeper.properties" } else { "server.properties" };
        let text = std::fs::read_to_string(folder.join(name).join(file)).unwrap();
        let text = text.replace(folder.join(name).to_str().unwrap(), kept.join(name).to_str().unwrap());
        std::fs::write(kept.join(name).join(file), text).unwrap();
    }
    let record = std::fs::read_to_string(folder.join("kafka-0/process.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let command = record["command"].as_str().unwrap();
    let jars =
        command.split(" -cp ").nth(1).unwrap().split(" kafka.Kafka").next().unwrap().trim_matches('\'').to_string();
    let plan = bench.xtask(&["up", "--dry-run"]).0;
    let clients = PathBuf::from(
        plan.lines().find(|line| line.contains(" metadata --brokers")).unwrap().split(' ').next().unwrap(),
    );
    bench.xtask(&["teardown"]);

    let (mut ours, mut plain, mut second, mut down) = (vec![], vec![], vec![], vec![]);
    for pair in 0..PAIRS {
        ours.push(bench.up());
        second.push(bench.xtask(&["up", "--no-clients"]).1.as_secs_f64());
        down.push(bench.xtask(&["teardown"]).1.as_secs_f64());
        plain.push(bench.plain(&kept, &jars, &clients));
        println!(
            "pair {}: up {:.2} s, plain java {:.2} s, ratio {:.2}; second up {:.2} s, teardown {:.2} s",
            pair + 1,
            ours[pair],
            plain[pair],
            ours[pair] / plain[pair],
            second[pair],
            down[pair]
        );
    }
    let ratio = median(ours.iter().zip(&plain).map(|(ours, plain)| ours / plain).collect());
    println!("median: up {:.2} s, plain java {:.2} s, ratio {ratio:.2}", median(ours), median(plain));
    println!("median: second up {:.2} s, teardown {:.2} s", median(second), median(down));
}
