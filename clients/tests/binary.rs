//! The binary as a process, where no broker is needed: usage, refusals, deadlines, signals.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nobody listens on port 1 of this machine, and nobody can without being root.
const NOBODY: &str = "127.0.0.1:1";

fn clients(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clients"));
    for name in ["ROLE", "KAFKA_BROKER", "TOPIC", "RATE", "COUNT", "VALUE_SIZE", "RUN_ID", "FORMAT"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    text(bytes)
        .lines()
        .map(|line| {
            assert!(line.starts_with("{\"schema\":"), "{line}");
            serde_json::from_str(line).expect("a line is one JSON object")
        })
        .collect()
}

fn wait(mut child: Child, within: Duration) -> (Option<i32>, Duration) {
    let began = Instant::now();
    while began.elapsed() < within {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("still running after {within:?}");
}

#[test]
fn help_teaches_and_exits_with_0() {
    for command in ["producer", "consumer", "metadata", "offsets", "probe"] {
        let help = output(&mut clients(&[command, "--help"]));
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(text(&help.stdout).contains("KAFKA_BROKER"), "{command}");
    }
}

#[test]
fn usage_errors_exit_with_2_and_name_what_is_wrong() {
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 8] = [
        (&[], &[], "Usage"),
        (&[], &[("ROLE", "broker")], "ROLE"),
        (&["producer"], &[], "--brokers"),
        (&["producer"], &[("KAFKA_BROKER", "nowhere")], "--brokers"),
        (&["producer", "--brokers", NOBODY], &[("RATE", "-1")], "--rate"),
        (&["producer", "--brokers", NOBODY], &[("VALUE_SIZE", "10")], "VALUE_SIZE"),
        (&["producer", "--brokers", NOBODY], &[("RUN_ID", "Ä")], "--run"),
        (&["consumer", "--brokers", NOBODY, "--from", "middle"], &[], "--from"),
    ];
    for (args, env, needle) in cases {
        let refused = output(clients(args).envs(env.iter().copied()));
        let stderr = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{args:?} {env:?}");
        assert!(stderr.contains(needle), "{args:?} {env:?}: {stderr}");
        assert!(refused.stdout.is_empty(), "{args:?} {env:?}");
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named() {
    let refused = output(&mut clients(&["producer", "--brokers", NOBODY, "--log-file", "/nowhere/log"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("/nowhere/log"));
}

#[test]
fn metadata_of_an_address_where_nobody_listens_is_a_line_and_comes_at_once() {
    let began = Instant::now();
    let asked = output(&mut clients(&["metadata", "--brokers", "127.0.0.1:1,localhost:2", "--timeout-ms", "20000"]));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(asked.status.code(), Some(1));
    let lines = lines(&asked.stdout);
    let mut brokers: Vec<_> = lines.iter().map(|line| line["broker"].as_str().unwrap()).collect();
    brokers.sort_unstable();
    assert_eq!(brokers, ["127.0.0.1:1", "localhost:2"]);
    for line in &lines {
        assert_eq!(line["schema"], "kafka-lab.metadata/1");
        assert_eq!(line["ok"], false);
        assert!(line["error"].is_string());
    }
}

#[test]
fn offsets_and_probe_keep_their_deadline_and_say_what_they_waited_for() {
    for command in ["offsets", "probe"] {
        let began = Instant::now();
        let asked = output(&mut clients(&[command, "--brokers", NOBODY, "--timeout-ms", "600"]));
        let took = began.elapsed();
        assert_eq!(asked.status.code(), Some(1), "{command}");
        assert!(took > Duration::from_millis(500), "{command}: {took:?}");
        assert!(took < Duration::from_secs(5), "{command}: {took:?}");
        let lines = lines(&asked.stdout);
        let last = lines.last().unwrap();
        assert_eq!(last["schema"], format!("kafka-lab.{command}/1"));
        assert!(last["error"].as_str().is_some_and(|e| e.contains("answer")), "{last}");
    }
}

#[test]
fn a_client_without_brokers_ends_on_a_signal_with_its_last_line() {
    for (command, signal) in [("producer", "-TERM"), ("consumer", "-TERM"), ("producer", "-INT"), ("consumer", "-INT")]
    {
        let mut child = clients(&[command, "--brokers", NOBODY, "--format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The first remark says that it is up and waits for a broker.
        let mut remarks = BufReader::new(child.stderr.take().unwrap()).lines();
        remarks.next().unwrap().unwrap();
        let stdout = child.stdout.take().unwrap();
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let (code, took) = wait(child, Duration::from_secs(10));
        assert_eq!(code, Some(0), "{command} {signal}");
        assert!(took < Duration::from_secs(5), "{command} {signal}: {took:?}");
        let last = BufReader::new(stdout).lines().map(Result::unwrap).last().unwrap();
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!(last["event"], "end", "{command} {signal}");
        assert_eq!(last["reason"], "signal", "{command} {signal}");
    }
}

#[test]
fn a_bounded_consumer_gives_up_when_nothing_arrives() {
    let read = output(&mut clients(&[
        "consumer",
        "--brokers",
        NOBODY,
        "--end",
        "0:5",
        "--idle-timeout",
        "1",
        "--format",
        "json",
    ]));
    assert_eq!(read.status.code(), Some(1));
    assert_eq!(lines(&read.stdout).last().unwrap()["reason"], "idle");
}
