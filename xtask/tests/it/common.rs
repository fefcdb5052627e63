//! Runs the built program with separate folders.

#[cfg(any(feature = "lab", feature = "kind"))]
pub mod clients;
#[cfg(feature = "kind")]
pub mod engine;
pub mod interrupt;
#[cfg(any(feature = "lab", feature = "kind"))]
pub mod lab;
#[cfg(feature = "lab")]
pub mod others;
#[cfg(feature = "lab")]
mod processes;
#[cfg(feature = "lab")]
pub mod proxy;
#[cfg(feature = "kind")]
pub mod registry;
#[cfg(any(feature = "lab", feature = "kind"))]
pub mod report;
#[cfg(any(feature = "lab", feature = "kind"))]
pub mod strike;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use interrupt::go_on;
use schema::Schema;
use serde_json::Value;

/// A temporary folder, removed when the test ends.
pub struct Dir(pub PathBuf);

impl Dir {
    /// Creates an empty folder whose name contains `name`.
    pub fn new(name: &str) -> Self {
        go_on();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("kafka-lab-{}-{}-{name}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let dir = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    /// Writes a shell script as a program into the folder.
    pub fn tool(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The result of a finished command.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Fails the test with the whole output unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless standard error contains each of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in:\n{}", self.stderr);
        }
        self
    }

    /// All lines of standard output as JSON, checked against docs/schema/xtask.json.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let schema = Schema::read("xtask.json");
        let lines: Vec<Value> = self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().for_each(|line| schema.expect(line));
        lines
    }

    /// The lines of one schema.
    #[track_caller]
    pub fn json(&self, schema: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|value| value["schema"] == schema).collect()
    }
}

/// The program with its own state folder.
pub fn xtask<A: AsRef<OsStr>>(state: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).env("XDG_STATE_HOME", state).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Starts a command without waiting for it.
#[cfg(any(feature = "lab", feature = "kind"))]
pub fn start(command: &mut Command) -> std::process::Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until `ready`; fails the test after `seconds`.
#[cfg(any(feature = "lab", feature = "kind"))]
pub fn wait_for(what: &str, seconds: u64, mut ready: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !ready() {
        go_on();
        assert!(begin.elapsed() < std::time::Duration::from_secs(seconds), "{what}: not within {seconds} s");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// A copy of the committed manifests with changes `(file, from, to)`.
pub fn manifests(changes: &[(&str, &str, &str)]) -> Dir {
    let dir = Dir::new("manifests");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    for file in ["cluster.yml", "kafka.yml", "clients.yml", "host-access.yml", "lab.yml"] {
        let mut text = std::fs::read_to_string(committed.join(file)).unwrap();
        for (_, from, to) in changes.iter().filter(|change| change.0 == file) {
            assert!(text.contains(from), "{file} has no {from:?}");
            text = text.replace(from, to);
        }
        std::fs::write(dir.0.join(file), text).unwrap();
    }
    dir
}

/// A command with only the tools of a folder on PATH, and empty caches.
pub fn bare(state: &Dir, tools: &Dir, args: &[&str]) -> Command {
    let mut command = xtask(&state.0, args);
    command
        .env("PATH", &tools.0)
        .env_remove("JAVA_HOME")
        .env("XDG_CACHE_HOME", state.0.join("cache"))
        .env("CARGO_TARGET_DIR", state.0.join("target"));
    command
}
