//! Other programs that use a lab.

use std::path::Path;
use std::process::{Command, Stdio};

use super::lab::Lab;

/// Kafka's Java clients in fixtures/Others.java, with the jars of the lab's brokers.
pub struct Others {
    brokers: String,
    jars: String,
}

impl Others {
    /// Clients of this lab.
    pub fn of(lab: &Lab) -> Self {
        let line = std::fs::read(format!("/proc/{}/cmdline", lab.pid("kafka-0").as_raw_nonzero())).unwrap();
        let line = String::from_utf8(line).unwrap();
        let mut words = line.split('\0');
        words.find(|word| ["-cp", "-classpath", "--class-path"].contains(word)).unwrap();
        Self { brokers: format!("127.0.0.1:{}", lab.base), jars: words.next().unwrap().into() }
    }

    /// The command with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/Others.java");
        let mut command = Command::new("java");
        command
            .args(["-Xmx400m", "-XX:TieredStopAtLevel=1", "-cp", &self.jars])
            .arg(source)
            .arg(&self.brokers)
            .args(args);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs it, and fails the test with what it said if it fails.
    #[track_caller]
    pub fn run(&self, args: &[&str]) {
        let output = self.command(args).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
