//! `cargo bench --bench ledger`: what the ledger costs the clients in CPU, beside the same bytes without stamps, parsing and
//! sets. Alternating pairs in one run; figures are printed, never asserted.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark drives programs itself and fails by panicking"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Lab;

const PAIRS: usize = 10;
const COUNT: u64 = 3_000_000;
const BASE: u16 = 18_800;
/// One-sided 95 % quantile of Student's t distribution with `PAIRS` - 1 degrees of freedom.
const T: f64 = 1.833;

/// The clients without the ledger's work: built beside the usual ones, from which they differ by a feature.
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

/// CPU seconds of a producer and of a consumer of the same messages.
fn pair(lab: &Lab, program: &Path, accounts: bool) -> [f64; 2] {
    let count = COUNT.to_string();
    let start = lab.offsets(program).1;
    let produce = ["producer", "--run", "bench", "--rate", "0", "--count", &count, "--value-size", "100"];
    let sent = lab.client(program, &produce);
    assert_eq!(sent.line["totals"]["acked"], COUNT);
    let end = lab.offsets(program).1;
    let read = lab.client(program, &["consumer", "--run", "bench", "--start", &start, "--end", &end]);
    assert_eq!(read.line["totals"]["records"], COUNT);
    assert_eq!(read.line["totals"]["received"], if accounts { COUNT } else { 0 });
    [sent.cpu_s, read.cpu_s]
}

fn main() {
    let lab = Lab::up("bench-ledger", BASE);
    let usual = lab.program();
    let other = unaccounted(&usual, &std::env::temp_dir());
    let mut ratios = Vec::new();
    for round in 0..PAIRS {
        // Whoever comes second finds warmer brokers: each does in turn.
        let (with, without) = if round % 2 == 0 {
            let with = pair(&lab, &usual, true);
            (with, pair(&lab, &other, false))
        } else {
            let without = pair(&lab, &other, false);
            (pair(&lab, &usual, true), without)
        };
        let ratio = (with[0] + with[1]) / (without[0] + without[1]);
        println!(
            "{COUNT} messages, 100 bytes: CPU of producer {:.2} s with, {:.2} s without; consumer {:.2} s with, {:.2} s without; \
             together {ratio:.3}",
            with[0], without[0], with[1], without[1]
        );
        ratios.push(ratio);
    }
    let count = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / count;
    let deviation = (ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
    println!("with / without: mean {mean:.3}, upper 95 % bound {:.3}", mean + T * deviation / count.sqrt());
    std::fs::remove_file(&other).unwrap();
}
