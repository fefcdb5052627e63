//! `bench`, once and small: that it runs, that its counts are exact, and that ratios are not absurd. A person judges
//! figures.

use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::common::{Dir, run, start, wait_for, xtask};

/// What is left of the benchmark's labs in a folder of temporary files.
fn left(temporary: &Dir) -> Vec<String> {
    let names = std::fs::read_dir(&temporary.0).unwrap().flatten().map(|entry| entry.file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("kafka-lab-bench-")).collect()
}

/// `bench` with its temporary files in a folder.
fn bench(temporary: &Dir, args: &[&str]) -> std::process::Command {
    let mut command = xtask(&temporary.0, [&["bench", "--no-limits"], args].concat());
    command.env("TMPDIR", &temporary.0);
    command
}

#[test]
fn ours_and_librdkafkas_own_benchmark_run_and_every_message_is_counted() {
    let temporary = Dir::new("bench");
    let out = temporary.0.join("result.json");
    let only = ["--only", "ours,rdkafka_performance", "--roles", "producer,consumer", "--format", "json"];
    let few = ["--rounds", "1", "--messages", "100000", "--out", out.to_str().unwrap()];
    let ran = run(&mut bench(&temporary, &[&only[..], &few].concat())).expect(0);
    assert_eq!(left(&temporary), Vec::<String>::new());
    let result: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(result, serde_json::from_str::<Value>(&ran.stdout).unwrap());
    let regime = &result["regimes"][0];
    assert_eq!((&regime["name"], &regime["setup"]["replicas"]), (&"real".into(), &3.into()));
    assert_eq!([&regime["not_run"], &regime["failed"]], [&Value::Array(vec![]); 2], "{}", ran.stderr);
    let results = regime["throughput"].as_array().unwrap();
    let names: Vec<&str> = results.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ours", "rdkafka_performance -P", "ours", "rdkafka_performance -C"]);
    let rates: Vec<f64> = results.iter().map(rate).collect();
    for pair in rates.chunks(2) {
        assert!((0.02..50.0).contains(&(pair[0] / pair[1])), "{rates:?}");
    }
    // What was written can be read again, and differs from itself in nothing.
    let out = out.to_str().unwrap();
    let same = run(&mut bench(&temporary, &["--from", out, "--compare", out])).expect(0).stdout;
    assert!(same.contains("ranges overlap") && !same.contains("higher"), "{same}");
}

/// Messages per second in the only round of a result, whose counts are exact.
fn rate(result: &Value) -> f64 {
    let rounds = result["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 1, "{result}");
    assert_eq!((&rounds[0]["delivered"], &result["messages"]), (&100_000.into(), &100_000.into()));
    let figure = |name: &str| rounds[0][name].as_f64().unwrap();
    assert!(figure("cpu_s") > 0.01 && figure("peak_kib") > 1000.0 && figure("seconds") <= figure("wall_s"), "{result}");
    assert_eq!(result["void"], Value::Null);
    100_000.0 / figure("seconds")
}

#[test]
fn ctrl_c_takes_the_lab_down() {
    let temporary = Dir::new("bench-interrupted");
    let endless = ["--only", "ours", "--roles", "producer", "--rounds", "100", "--messages", "1000000"];
    let mut child = start(bench(&temporary, &endless).process_group(0));
    // A broker's log of the first topic means that a client is about to run.
    wait_for("a first topic", 300, || {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        let folders = left(&temporary).into_iter().flat_map(|lab| {
            let data = temporary.0.join(lab).join("kafka-lab/bench-real/kafka-0/data");
            std::fs::read_dir(data).into_iter().flatten().flatten()
        });
        folders.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("bench-1-"))
    });
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(left(&temporary), Vec::<String>::new());
}
