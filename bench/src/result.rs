//! What a benchmark found, as types: the file of `--out`, and the line of `--format json`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::stats::Spread;

/// The schema of [`Bench`].
pub const BENCH: &str = "kafka-lab.bench/1";

/// One run of the benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// [`BENCH`].
    pub schema: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The project's commit; ends with `+` if files differed from it.
    pub commit: String,
    pub machine: Machine,
    /// What this machine can do at all.
    pub limits: Vec<Limit>,
    pub regimes: Vec<Regime>,
}

/// The machine that it ran on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    /// The number of processes that were runnable on average in the minute before.
    pub load: f64,
}

/// A limit that no client can pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub name: String,
    pub value: f64,
    pub unit: String,
    /// How it was measured.
    pub how: String,
}

/// The conditions under which clients are compared. Figures of different regimes are never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RegimeName {
    /// The lab as it is: its brokers, every message on all of them, nothing pinned to a core.
    Real,
    /// One broker whose files are in memory and a client on a core of its own, so that the client is the limit.
    ClientBound,
}

impl RegimeName {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::ClientBound => "client-bound",
        }
    }
}

/// What was found in one regime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regime {
    pub name: RegimeName,
    pub setup: Setup,
    pub throughput: Vec<Throughput>,
    pub latency: Vec<Latency>,
    /// Who did not take part, and why.
    pub not_run: Vec<NotRun>,
    /// Runs that failed. They are no results: nothing is averaged over them.
    pub failed: Vec<FailedRun>,
}

/// What all clients of a regime have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub brokers: usize,
    /// Replicas of each partition.
    pub replicas: usize,
    pub partitions: u32,
    /// Size of each value in bytes.
    pub size: usize,
    /// Rounds that count; one more came before them.
    pub rounds: u32,
    /// The cores of the servers, if they were pinned.
    pub server_cores: Option<String>,
    /// The core of the client, if it was pinned.
    pub client_core: Option<String>,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends as fast as the brokers accept it.
    Producer,
    /// Reads a log that is already there.
    Consumer,
    /// Sends at a rate and reads it at the same time.
    Latency,
}

impl Role {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Latency => "latency",
        }
    }
}

/// A client at full speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    pub name: String,
    pub role: Role,
    pub version: String,
    /// Its command line, with words for what differs in each run.
    pub command: String,
    /// Settings that are in its program instead of its command line.
    pub settings: String,
    /// How `seconds` of its rounds was measured.
    pub timed: String,
    pub messages: u64,
    pub rounds: Vec<Round>,
    /// Why this is no result of its regime, if it is none.
    pub void: Option<String>,
}

/// One run of a client at full speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// From the first message to the last, as the client says.
    pub seconds: f64,
    /// From the start of the process to its end.
    pub wall_s: f64,
    /// User and system time of the process and its children.
    pub cpu_s: f64,
    /// How many cores it kept busy in the busiest period of `seconds`.
    pub busy_cores: f64,
    /// Peak resident memory.
    pub peak_kib: u64,
    /// What the end offsets show, or what the consumer counted.
    pub delivered: u64,
    /// CPU time of the servers meanwhile.
    pub servers_cpu_s: f64,
    /// CPU time of everything else on this machine meanwhile.
    pub others_cpu_s: f64,
}

impl Throughput {
    /// Messages per second.
    pub fn rate(&self) -> Option<Spread> {
        self.spread(|round| round.delivered as f64 / round.seconds)
    }

    /// CPU seconds for each million messages.
    pub fn cpu_per_million(&self) -> Option<Spread> {
        self.spread(|round| round.cpu_s * 1e6 / round.delivered as f64)
    }

    /// Peak resident memory in MiB.
    pub fn peak_mib(&self) -> Option<Spread> {
        self.spread(|round| round.peak_kib as f64 / 1024.0)
    }

    /// Cores that others kept busy meanwhile.
    pub fn others(&self) -> Option<Spread> {
        self.spread(|round| round.others_cpu_s / round.wall_s)
    }

    /// The spread of a figure over the rounds.
    pub fn spread(&self, figure: impl Fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure))
    }
}

/// How long messages took from the moment at which they were due until they were read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub name: String,
    pub version: String,
    pub command: String,
    pub settings: String,
    /// How it was measured.
    pub timed: String,
    pub messages: u64,
    pub rounds: Vec<Quantiles>,
}

/// The quantiles of one run, in microseconds; `None` where a tool does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50_us: u64,
    pub p90_us: Option<u64>,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: Option<u64>,
}

/// A client that did not take part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRun {
    pub name: String,
    pub why: String,
    /// What to install, if that would help.
    pub fix: Option<String>,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    pub name: String,
    pub role: Role,
    /// From 1; round 0 would not have counted.
    pub round: u32,
    pub why: String,
}
