//! `cargo bench --bench flow`: a million and ten million messages of 100 bytes through a real lab, with each client's
//! time and peak memory. Every run is counted exactly; figures are printed, never asserted.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark drives programs itself and fails by panicking"
)]

mod common;

use std::process::Command;

use common::{Lab, marks};

const ROUNDS: usize = 3;
const BASE: u16 = 18_700;

fn main() {
    let mut peaks: [[Vec<u64>; 2]; 2] = Default::default();
    for (round, count) in [1_000_000_u64, 10_000_000].repeat(ROUNDS).into_iter().enumerate() {
        // A lab of its own for each: what lies in the log before a run is read differently.
        let lab = Lab::up("bench-flow", BASE);
        let program = lab.program();
        let count_text = count.to_string();
        let produce = ["producer", "--run", "bench", "--rate", "0", "--count", &count_text, "--value-size", "100"];
        let sent = lab.client(Command::new(&program), "test", &produce);
        let offsets = lab.offsets(&program, "test");
        let low = marks(offsets.iter().map(|(partition, low, _)| (*partition, *low)));
        let high = marks(offsets.iter().map(|(partition, _, high)| (*partition, *high)));
        let read = lab.client(
            Command::new(&program),
            "test",
            &["consumer", "--run", "bench", "--start", &low, "--end", &high],
        );
        let rows = |line: &serde_json::Value| line["partitions"].as_array().unwrap().clone();
        for (sent, read) in rows(&sent.line).iter().zip(&rows(&read.line)) {
            assert_eq!((&sent["sent"], &sent["sent"]), (&sent["acked"], &read["received"]), "{sent} {read}");
            assert_eq!([&read["missing"], &read["duplicate"], &read["out_of_order"]].map(|n| n.as_u64()), [Some(0); 3]);
        }
        assert_eq!(sent.line["totals"]["acked"], count);
        println!(
            "{count} messages, 100 bytes: producer {:.1} s, peak {} KiB; consumer {:.1} s, peak {} KiB; \
             received = acked = sent in every partition",
            sent.seconds, sent.peak_kib, read.seconds, read.peak_kib
        );
        peaks[round % 2][0].push(sent.peak_kib);
        peaks[round % 2][1].push(read.peak_kib);
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
}
