//! `cargo bench --bench flow`: a million and ten million messages of 100 bytes through a real lab, with each client's time
//! and peak memory. Every run is counted exactly; figures are printed, never asserted.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark drives programs itself and fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const BASE: u16 = 18_700;
const BROKERS: &str = "127.0.0.1:18700,127.0.0.1:18701,127.0.0.1:18702";

fn xtask(state: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(args)
        .args(["--name", "bench-flow"])
        .env("XDG_STATE_HOME", state)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a client to its end; returns its last JSON line, its seconds and its peak resident memory in KiB.
fn client(program: &Path, args: &[&str]) -> (serde_json::Value, f64, u64) {
    let begin = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .args(["--format", "json", "--brokers", BROKERS, "--topic", "test"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    // VmHWM only grows, so what was seen last is the peak but for the last milliseconds.
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    (serde_json::from_str(text.lines().last().unwrap()).unwrap(), seconds, peak)
}

fn main() {
    let state = std::env::temp_dir().join(format!("kafka-lab-bench-flow-{}", std::process::id()));
    let mut peaks: [[Vec<u64>; 2]; 2] = Default::default();
    for (round, count) in [1_000_000_u64, 10_000_000].repeat(ROUNDS).into_iter().enumerate() {
        // A lab of its own for each: what lies in the log before a run is read differently.
        xtask(&state, &["up", "--no-clients", "--port-base", &BASE.to_string()]);
        let plan = xtask(&state, &["up", "--dry-run"]);
        let line = plan.lines().find(|line| line.contains(" metadata --brokers")).unwrap();
        let program = PathBuf::from(line.split(' ').next().unwrap());
        let count_text = count.to_string();
        let produce = ["producer", "--run", "bench", "--rate", "0", "--count", &count_text, "--value-size", "100"];
        let (sent, sent_s, sent_kib) = client(&program, &produce);
        let offsets =
            Command::new(&program).args(["offsets", "--brokers", BROKERS, "--topic", "test"]).output().unwrap();
        let offsets: serde_json::Value = serde_json::from_slice(&offsets.stdout).unwrap();
        let marks = |key: &str| -> String {
            let partitions = offsets["partitions"].as_array().unwrap().iter();
            partitions.map(|p| format!("{}:{}", p["partition"], p[key])).collect::<Vec<_>>().join(",")
        };
        let consume = ["consumer", "--run", "bench", "--start", &marks("low"), "--end", &marks("high")];
        let (read, read_s, read_kib) = client(&program, &consume);
        for (sent, read) in sent["partitions"].as_array().unwrap().iter().zip(read["partitions"].as_array().unwrap()) {
            assert_eq!((&sent["sent"], &sent["sent"]), (&sent["acked"], &read["received"]), "{sent} {read}");
            assert_eq!([&read["missing"], &read["duplicate"], &read["out_of_order"]].map(|n| n.as_u64()), [Some(0); 3]);
        }
        assert_eq!(sent["totals"]["acked"], count);
        println!(
            "{count} messages, 100 bytes: producer {sent_s:.1} s, peak {sent_kib} KiB; consumer {read_s:.1} s, peak {read_kib} KiB; \
             received = acked = sent in every partition"
        );
        peaks[round % 2][0].push(sent_kib);
        peaks[round % 2][1].push(read_kib);
        xtask(&state, &["teardown"]);
    }
    for (client, name) in ["producer", "consumer"].into_iter().enumerate() {
        let median = |size: usize| {
            let mut values = peaks[size][client].clone();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let ratio = median(1) as f64 / median(0) as f64;
        println!(
            "{name}: median peak {} KiB at 1 million, {} KiB at 10 million, ratio {ratio:.2}",
            median(0),
            median(1)
        );
    }
    std::fs::remove_dir_all(&state).unwrap();
}
