//! The clients' program on this host, used as a drill would.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ledger::judge::{Case, Claim, HowEnded, OffsetRange, Report, judge};
use ledger::lines::{ConsumerState, ProducerStart, ProducerState};
use ledger::stamp::RunId;
use serde_json::Value;

use super::lab::Lab;
use super::{Dir, wait_for};

/// The clients' program with the lab's addresses and a folder for its output.
pub struct Clients {
    brokers: String,
    folder: Dir,
    /// Its path in cargo's target folder.
    program: String,
}

impl Clients {
    /// Clients with two of the lab's brokers as bootstrap servers.
    pub fn of(lab: &Lab) -> Self {
        let mut clients = Self::through(&[lab.base, lab.base + 1]);
        if lab.backend == "kind" {
            clients.program = format!("{}-unknown-linux-gnu/{}", std::env::consts::ARCH, clients.program);
        }
        clients
    }

    /// Clients with these ports as bootstrap servers.
    pub fn through(ports: &[u16]) -> Self {
        let brokers: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Clients { brokers: brokers.join(","), folder: Dir::new("clients"), program: "release/clients".into() }
    }

    /// The command with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let target = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().parent().unwrap();
        let mut command = Command::new(target.join(&self.program));
        command.args(args).args(["--brokers", &self.brokers]).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// The standard output so far of the client started as `name`.
    pub fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    pub fn start(&self, name: &str, args: &[&str]) -> Child {
        self.command(args).stdout(File::create(self.file(name)).unwrap()).spawn().unwrap()
    }

    pub fn run(&self, name: &str, args: &[&str]) -> String {
        assert!(self.start(name, args).wait().unwrap().success(), "{args:?}: {}", self.said(name));
        self.said(name)
    }

    /// The end offset of each partition of topic `test`.
    pub fn ends(&self) -> Vec<(i32, i64)> {
        self.ends_of("test")
    }

    /// The end offset of each partition of a topic. Brokers learn of a new topic one after the other, so that the one
    /// that is asked may not know it yet.
    pub fn ends_of(&self, topic: &str) -> Vec<(i32, i64)> {
        let ask = || self.start("offsets", &["offsets", "--topic", topic]).wait().unwrap().success();
        wait_for(&format!("the offsets of {topic}"), 60, ask);
        let offsets: Value = serde_json::from_str(&self.said("offsets")).unwrap();
        let one = |row: &Value| (row["partition"].as_i64().unwrap() as i32, row["high"].as_i64().unwrap());
        offsets["partitions"].as_array().unwrap().iter().map(one).collect()
    }

    pub fn claim(&self, name: &str, went: HowEnded) -> Claim {
        let lines = self.said(name);
        let start: Option<ProducerStart> = lines.lines().find_map(|line| serde_json::from_str(line).ok());
        let states = lines.lines().filter_map(|line| serde_json::from_str::<ProducerState>(line).ok());
        Claim::of(start.as_ref(), states, went).unwrap()
    }
}

/// Offsets in the format of the consumer's flags.
pub fn positions(offsets: &[(i32, i64)]) -> String {
    offsets.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect::<Vec<_>>().join(",")
}

/// The verdict over topic `test` between the end offsets before and after a run.
pub fn judged(run: &str, ends: [&[(i32, i64)]; 2], claims: &[Claim], received: &ConsumerState) -> Report {
    let ranges = ends[0].iter().zip(ends[1]);
    let ranges: Vec<OffsetRange> =
        ranges.map(|(from, to)| OffsetRange { partition: from.0, start: from.1, end: to.1 }).collect();
    let run: RunId = run.parse().unwrap();
    judge(&Case::new(run, "test", &ranges, claims, received))
}
