//! What the benchmarks of the clients share: a lab of processes, and a client run to its end.

#[path = "../../tests/it/common/interrupt.rs"]
mod interrupt;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use interrupt::go_on;

/// An offset for each partition, as the flags of a consumer say them.
pub fn marks(offsets: impl Iterator<Item = (u64, u64)>) -> String {
    offsets.map(|(partition, offset)| format!("{partition}:{offset}")).collect::<Vec<_>>().join(",")
}

/// A lab with a state folder and ports of its own; torn down when dropped.
pub struct Lab {
    name: &'static str,
    state: PathBuf,
    base: u16,
}

impl Lab {
    pub fn up(name: &'static str, base: u16) -> Self {
        go_on();
        let state = std::env::temp_dir().join(format!("kafka-lab-{name}-{}", std::process::id()));
        let lab = Self { name, state, base };
        lab.xtask(&["up", "--backend", "local", "--no-clients", "--port-base", &base.to_string()]);
        lab
    }

    pub fn xtask(&self, args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["--name", self.name])
            .args(args)
            .env("XDG_STATE_HOME", &self.state)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn brokers(&self) -> String {
        (0..3).map(|id| format!("127.0.0.1:{}", self.base + id)).collect::<Vec<_>>().join(",")
    }

    /// The clients' program, as `up` built it.
    pub fn program(&self) -> PathBuf {
        let plan = self.xtask(&["up", "--dry-run"]);
        let line = plan.lines().find(|line| line.contains(" metadata --brokers")).unwrap();
        line.split(' ').next().unwrap().into()
    }

    /// Each partition with its first offset and its end offset.
    pub fn offsets(&self, program: &Path, topic: &str) -> Vec<(u64, u64, u64)> {
        let brokers = self.brokers();
        let args = ["offsets", "--brokers", &brokers, "--topic", topic];
        let offsets = Command::new(program).args(args).output().unwrap();
        let offsets: serde_json::Value = serde_json::from_slice(&offsets.stdout).unwrap();
        let partitions = offsets["partitions"].as_array().unwrap().iter();
        let number = |partition: &serde_json::Value, key: &str| partition[key].as_u64().unwrap();
        partitions.map(|p| (number(p, "partition"), number(p, "low"), number(p, "high"))).collect()
    }

    /// Runs a client of a topic to its end.
    pub fn client(&self, mut program: Command, topic: &str, args: &[&str]) -> Ran {
        go_on();
        let begin = Instant::now();
        let mut child = program
            .args(args)
            .args(["--format", "json", "--brokers", &self.brokers(), "--topic", topic])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let dir = PathBuf::from(format!("/proc/{}", child.id()));
        // A pipe that nobody reads would stop it.
        let mut said = child.stdout.take().unwrap();
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut said, &mut text).unwrap();
            text
        });
        let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        let mut peak_kib = 0;
        // The peak only grows, so what was seen last is it but for the last milliseconds.
        while !read("stat").contains(") Z ") {
            let text = read("status");
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak_kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak_kib);
            std::thread::sleep(Duration::from_millis(20));
        }
        let seconds = begin.elapsed().as_secs_f64();
        // Of a process that has ended and was not waited for yet the kernel still tells what it took, in ticks of 10
        // ms.
        let stat = read("stat");
        let fields: Vec<u64> = stat[stat.rfind(')').unwrap() + 1..]
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|n| n.parse().unwrap())
            .collect();
        child.wait().unwrap();
        let line = serde_json::from_str(reading.join().unwrap().lines().last().unwrap()).unwrap();
        Ran { line, seconds, peak_kib, cpu_s: fields.iter().sum::<u64>() as f64 / 100.0 }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.xtask(&["teardown"]);
        std::fs::remove_dir_all(&self.state).unwrap();
    }
}

/// How a client ran.
#[allow(dead_code, reason = "not every benchmark looks at all of it")]
pub struct Ran {
    /// Its last JSON line.
    pub line: serde_json::Value,
    pub seconds: f64,
    /// Peak resident memory.
    pub peak_kib: u64,
    /// User and system time.
    pub cpu_s: f64,
}
