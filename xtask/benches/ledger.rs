//! `cargo bench --bench ledger`: what the ledger costs the clients in CPU, beside the same bytes without parsing and
//! accounting. One program does either; both run at the same time, in pairs. Figures are printed, never asserted.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark drives programs itself and fails by panicking"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Lab, marks};

const PAIRS: usize = 10;
const BASE: u16 = 18_800;
/// One-sided 95 % quantile of Student's t distribution with `PAIRS` - 1 degrees of freedom.
const T: f64 = 1.833;

/// Clients that can leave the ledger's work out: built beside the usual ones, from which they differ by a feature.
fn unaccounted(usual: &Path, dir: &Path) -> PathBuf {
    let target = usual.parent().unwrap().parent().unwrap();
    let build = |features: &[&str]| {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--package", "clients", "--target-dir"])
            .arg(target)
            .args(features)
            .status()
            .unwrap();
        assert!(status.success());
    };
    build(&["--features", "unaccounted"]);
    let program = dir.join("clients-unaccounted");
    std::fs::copy(usual, &program).unwrap();
    build(&[]);
    program
}

/// How the messages come.
#[derive(Clone, Copy)]
struct Load {
    /// Messages a second; 0 for as many as the brokers take.
    rate: u32,
    count: u64,
}

const LOADS: [Load; 2] = [Load { rate: 20_000, count: 600_000 }, Load { rate: 0, count: 2_000_000 }];

const TOPICS: [&str; 2] = ["one", "other"];

/// CPU seconds of a producer and of a consumer that reads the same messages meanwhile.
fn clients(lab: &Lab, program: &Path, topic: &str, load: Load, accounts: bool) -> f64 {
    let Load { rate, count } = load;
    let run = || {
        let mut command = Command::new(program);
        if !accounts {
            command.env("KAFKA_LAB_UNACCOUNTED", "1");
        }
        command
    };
    let start = lab.offsets(program, topic);
    // Of a limited number the producer gives each partition as many.
    let each = count / start.len() as u64;
    let ahead = |by: u64| marks(start.iter().map(|(partition, _, high)| (*partition, high + by)));
    let (from, to, rate, count) = (ahead(0), ahead(each), rate.to_string(), count.to_string());
    let produce = ["producer", "--run", "bench", "--rate", &rate, "--count", &count, "--value-size", "100"];
    let consume = ["consumer", "--run", "bench", "--start", &from, "--end", &to, "--idle-timeout", "20"];
    let (sent, read) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| lab.client(run(), topic, &consume));
        (lab.client(run(), topic, &produce), reading.join().unwrap())
    });
    assert_eq!(sent.line["totals"]["acked"], load.count);
    assert_eq!(read.line["totals"]["records"], load.count);
    assert_eq!(read.line["totals"]["received"], if accounts { load.count } else { 0 });
    sent.cpu_s + read.cpu_s
}

/// CPU seconds with and without. Both at the same time, so that whatever else slows the machine slows both, and once
/// more with their topics exchanged: leaders are spread in another way for each.
fn pair(lab: &Lab, program: &Path, load: Load) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for (mine, other) in [(0, 1), (1, 0)] {
        let (a, b) = std::thread::scope(|scope| {
            let with = scope.spawn(|| clients(lab, program, TOPICS[mine], load, true));
            let without = scope.spawn(|| clients(lab, program, TOPICS[other], load, false));
            (with.join().unwrap(), without.join().unwrap())
        });
        sums = (sums.0 + a, sums.1 + b);
    }
    sums
}

fn compare(lab: &Lab, program: &Path, load: Load) {
    let mut ratios = Vec::new();
    // The brokers' first messages cost everybody more.
    pair(lab, program, load);
    for _ in 0..PAIRS {
        let (with, without) = pair(lab, program, load);
        println!("CPU of both clients {with:.2} s with, {without:.2} s without: {:.3}", with / without);
        ratios.push(with / without);
    }
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let deviation = (ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    println!("with / without: mean {mean:.3}, upper 95 % bound {:.3}", mean + T * deviation / count.sqrt());
}

fn main() {
    let lab = Lab::up("bench-ledger", BASE);
    let program = unaccounted(&lab.program(), &std::env::temp_dir());
    for topic in TOPICS {
        lab.xtask(&["kafka-topics", "--", "--create", "--topic", topic]);
    }
    for load in LOADS {
        let rate = if load.rate == 0 { "as many as the brokers take".into() } else { load.rate.to_string() };
        println!("{} messages of 100 bytes, {rate} a second", load.count);
        compare(&lab, &program, load);
    }
    std::fs::remove_file(&program).unwrap();
}
