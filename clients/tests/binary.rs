//! The binary as a process, without brokers: usage, errors, timeouts, signals.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing listens on port 1, and only root could.
const NOBODY: &str = "127.0.0.1:1";

fn clients(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clients"));
    for name in ["ROLE", "KAFKA_BROKER", "TOPIC", "RATE", "COUNT", "VALUE_SIZE", "RUN_ID", "FORMAT", "STATE_FILE"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// An empty folder of this test, removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("clients-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
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

/// A process that ends with the test, whatever that found.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Running(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(child: &mut Running, within: Duration) -> (Option<i32>, Duration) {
    let began = Instant::now();
    while began.elapsed() < within {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still running after {within:?}");
}

#[test]
fn help_teaches_and_exits_with_0() {
    for command in ["producer", "consumer", "metadata", "offsets", "probe"] {
        let help = output(&mut clients(&[command, "--help"]));
        assert_eq!(help.status.code(), Some(0), "{command}");
        assert!(text(&help.stdout).contains("KAFKA_BROKER"), "{command}");
    }
    for command in ["producer", "consumer", "state"] {
        let help = output(&mut clients(&[command, "--help"]));
        assert!(text(&help.stdout).contains("STATE_FILE"), "{command}");
    }
}

#[test]
fn usage_errors_exit_with_2_and_name_what_is_wrong() {
    type UsageError<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: [UsageError<'_>; 9] = [
        (&[], &[], "Usage"),
        (&[], &[("ROLE", "broker")], "ROLE"),
        (&["producer"], &[], "--brokers"),
        (&["producer"], &[("KAFKA_BROKER", "nowhere")], "--brokers"),
        (&["producer", "--brokers", NOBODY], &[("RATE", "-1")], "--rate"),
        (&["producer", "--brokers", NOBODY], &[("VALUE_SIZE", "10")], "VALUE_SIZE"),
        (&["producer", "--brokers", NOBODY], &[("RUN_ID", "Ä")], "--run"),
        (&["consumer", "--brokers", NOBODY, "--from", "middle"], &[], "--from"),
        (&["state"], &[("ROLE", "producer")], "--state-file"),
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

/// A listener that answers each connection once it has got `least` bytes, or keeps it open without a word.
fn listener(least: usize, answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut got = vec![0; least];
            let Some(answer) = answer else {
                kept.push(stream);
                continue;
            };
            if stream.read_exact(&mut got).and_then(|()| stream.write_all(answer)).is_ok() {
                // Closed with something unread, the connection would be reset, and the answer lost.
                let _ = stream.shutdown(Shutdown::Write).and_then(|()| stream.read_to_end(&mut got));
            }
        }
    });
    address
}

#[test]
fn what_listens_in_a_brokers_place_is_named_by_every_command() {
    const TLS: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];
    for (least, answer, words) in [
        (5, Some(TLS), "answers with TLS"),
        (4, Some(&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..]), "answers with HTTP"),
        (0, None, "accepts connections but says nothing"),
    ] {
        let address = listener(least, answer);
        for command in ["metadata", "offsets", "probe"] {
            let asked = output(&mut clients(&[command, "--brokers", &address, "--timeout-ms", "1500"]));
            assert_eq!(asked.status.code(), Some(1), "{command}");
            let last = lines(&asked.stdout).pop().unwrap();
            let error = last["error"].as_str().unwrap();
            assert!(error.contains(&format!("{address} {words}")), "{command}: {last}");
        }
        for command in ["producer", "consumer"] {
            let mut client =
                Running::start(clients(&[command, "--brokers", &address]).stdout(Stdio::piped()).stderr(Stdio::null()));
            let mut read = String::new();
            for line in BufReader::new(client.stdout.take().unwrap()).lines() {
                read += &(line.unwrap() + "\n");
                if read.contains(&format!("no broker can be reached; retrying: {address} {words}")) {
                    break;
                }
                assert!(read.lines().count() < 30, "{command}: {read}");
            }
            assert!(!read.contains("receive.message.max.bytes"), "{command}: {read}");
        }
    }
}

#[test]
fn a_current_folder_that_is_gone_is_named() {
    let gone = Folder::new("gone");
    let run = format!("cd '{0}' && rmdir '{0}' && exec \"$0\" \"$@\"", gone.0.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &run, env!("CARGO_BIN_EXE_clients"), "state", "--state-file", "state.json"]);
    let asked = output(&mut shell);
    assert_eq!(asked.status.code(), Some(1));
    assert!(text(&asked.stderr).contains("the current folder is gone"), "{}", text(&asked.stderr));
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
    let clients_and_signals = ["producer", "consumer"]
        .into_iter()
        .flat_map(|command| [Signal::TERM, Signal::INT].map(|signal| (command, signal)));
    for (command, signal) in clients_and_signals {
        let folder = Folder::new(&format!("signal-{command}-{}", signal.as_raw()));
        let state = folder.0.join("state.json");
        let mut child = Running::start(
            clients(&[command, "--brokers", NOBODY, "--format", "json"])
                .env("STATE_FILE", &state)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        // The first log message shows that it is running and waits for a broker.
        let mut remarks = BufReader::new(child.stderr.take().unwrap()).lines();
        remarks.next().unwrap().unwrap();
        let stdout = child.stdout.take().unwrap();
        child.signal(signal);
        let (code, took) = wait(&mut child, Duration::from_secs(10));
        assert_eq!(code, Some(0), "{command} {signal:?}");
        assert!(took < Duration::from_secs(5), "{command} {signal:?}: {took:?}");
        let last = BufReader::new(stdout).lines().map(Result::unwrap).last().unwrap();
        assert_eq!(std::fs::read_to_string(&state).unwrap(), format!("{last}\n"), "{command} {signal:?}");
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!(last["event"], "end", "{command} {signal:?}");
        assert_eq!(last["reason"], "signal", "{command} {signal:?}");
    }
}

#[test]
fn a_producer_started_again_in_the_same_run_is_another_producer() {
    let folder = Folder::new("again");
    let mut seen = Vec::new();
    for n in 0..2 {
        let state = folder.0.join(n.to_string());
        let child = Running::start(
            clients(&["producer", "--brokers", NOBODY, "--run", "same"])
                .env("STATE_FILE", &state)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let began = Instant::now();
        while !state.exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "no checkpoint");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(child);
        let line = &lines(&std::fs::read(&state).unwrap())[0];
        assert_eq!((&line["run"], &line["event"]), (&"same".into(), &"checkpoint".into()));
        seen.push(line["producer"].as_str().unwrap().to_owned());
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn verifiable_lines_are_all_there_is_on_standard_output() {
    let mut child = Running::start(
        clients(&["producer", "--brokers", NOBODY, "--verifiable", "--rate", "5"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    BufReader::new(child.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    let stdout = child.stdout.take().unwrap();
    child.signal(Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(10)).0, Some(0));
    let said: Vec<serde_json::Value> =
        BufReader::new(stdout).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let names: Vec<_> = said.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shutdown_complete", "tool_data"]);
    assert_eq!((&said[1]["acked"], &said[1]["target_throughput"]), (&0.into(), &5.into()));
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

#[test]
fn the_state_is_kept_in_text_format_too_and_state_prints_it() {
    let folder = Folder::new("printed");
    let state = folder.0.join("state.json");
    let ask = || output(clients(&["state"]).env("STATE_FILE", &state));

    let mut child = Running::start(
        clients(&["producer", "--brokers", NOBODY])
            .env("STATE_FILE", &state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let began = Instant::now();
    while !state.exists() {
        assert!(began.elapsed() < Duration::from_secs(10), "no checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = ask();
    assert_eq!(asked.status.code(), Some(0));
    let [line] = &lines(&asked.stdout)[..] else { panic!("{}", text(&asked.stdout)) };
    assert_eq!((&line["schema"], &line["event"]), (&"kafka-lab.producer/1".into(), &"checkpoint".into()));

    child.signal(Signal::TERM);
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(wait(&mut child, Duration::from_secs(10)).0, Some(0));
    assert!(!said.is_empty() && said.iter().all(|line| !line.starts_with('{')), "{said:?}");
    let line = &lines(&ask().stdout)[0];
    assert_eq!((&line["event"], &line["reason"]), (&"end".into(), &"signal".into()));
}

#[test]
fn without_a_state_file_state_says_where_it_looked() {
    let asked = output(&mut clients(&["state", "--state-file", "/nowhere/state.json"]));
    assert_eq!(asked.status.code(), Some(1));
    assert!(asked.stdout.is_empty());
    assert!(text(&asked.stderr).contains("--state-file /nowhere/state.json: no state"), "{}", text(&asked.stderr));
}

#[test]
fn a_state_file_that_cannot_be_written_ends_nothing() {
    let bounded = ["consumer", "--brokers", NOBODY, "--end", "0:5", "--idle-timeout", "1", "--format", "json"];
    let read = output(clients(&bounded).args(["--state-file", "/nowhere/state.json"]));
    assert_eq!(lines(&read.stdout).last().unwrap()["reason"], "idle");
    assert!(text(&read.stderr).contains("--state-file /nowhere/state.json: cannot be written"));
}

#[test]
fn a_signal_is_heard_while_nobody_reads() {
    let folder = Folder::new("unread");
    let state = folder.0.join("state.json");
    std::fs::write(&state, "x".repeat(2_000_000)).unwrap();
    let mut child = Running::start(clients(&["state"]).env("STATE_FILE", &state).stdout(Stdio::piped()));
    // More than a pipe's buffer, so it blocks.
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none());
    child.signal(Signal::TERM);
    let unread = child.stdout.take();
    let (code, took) = wait(&mut child, Duration::from_secs(10));
    assert_eq!(code, Some(1), "a line that was not written is told");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(unread);
}

#[test]
fn a_line_that_cannot_be_written_is_told() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let read = output(clients(&["metadata", "--brokers", NOBODY]).stdout(full()));
    assert_eq!(read.status.code(), Some(1));
    assert!(text(&read.stderr).contains("standard output: cannot be written: No space left"), "{}", text(&read.stderr));

    let began = Instant::now();
    let bounded = ["consumer", "--brokers", NOBODY, "--end", "0:5", "--log-file", "/dev/full"];
    let read = output(&mut clients(&bounded));
    assert_eq!(read.status.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(10), "it goes on without anybody to tell: {:?}", began.elapsed());
    assert!(text(&read.stderr).contains("--log-file /dev/full: cannot be written"), "{}", text(&read.stderr));

    let folder = Folder::new("told");
    let state = folder.0.join("state.json");
    std::fs::write(&state, "{}\n").unwrap();
    let read = output(clients(&["state"]).env("STATE_FILE", &state).stdout(full()));
    assert_eq!(read.status.code(), Some(1));
}
