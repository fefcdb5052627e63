//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::peers::Family;
use crate::result::{RegimeName, Role};
use crate::rust_peer::PeerArgs;
use crate::scale::Chosen;

/// Measures the lab's clients beside other clients of Kafka, on one lab and in the same run.
///
/// Brings up a lab of its own and takes it down again. In each round everybody runs once, one after the other; the
/// first round does not count. What was delivered is checked by end offsets. Who lacks a program is named, with what
/// to install.
#[derive(Debug, Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench", version, max_term_width = 120)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    pub run: RunArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of a run.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Conditions, one after the other; their figures are never mixed
    #[arg(long, value_enum, value_delimiter = ',', default_value = "real", value_name = "REGIME,...")]
    pub regime: Vec<RegimeName>,
    /// Measure these only [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,...")]
    pub only: Vec<Family>,
    /// What to measure [default: all, without latency in regime client-bound]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROLE,...")]
    pub roles: Vec<Role>,
    /// Rounds that count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Messages of each run; clients that wait for each acknowledgement send fewer
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1000..=1_000_000_000))]
    pub messages: u64,
    /// Size of each value in bytes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub size: u32,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub partitions: u32,
    /// Latency: messages per second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Latency: seconds of each run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=3600))]
    pub latency_seconds: u32,
    /// Leave out what this machine can do at all
    #[arg(long)]
    pub no_limits: bool,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Show what changed since an earlier result
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// Write the section of docs/performance.md and its plots
    #[arg(long)]
    pub write_docs: bool,
    /// Measure nothing; show, compare or write this result instead
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

/// Where a result goes.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Tables, or the result as one JSON line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write plots to this folder, as SVG
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
}

/// The format of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// What else there is.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure what more work costs the lab's clients: time, CPU and memory by messages, partitions and so on
    Scale(ScaleArgs),
    /// Run a client of the rdkafka crate once
    #[command(hide = true)]
    Peer(PeerArgs),
}

/// Flags of `scale`.
#[derive(Debug, clap::Args)]
pub struct ScaleArgs {
    /// What grows, and its values, as in `--sweep partitions=4,100`; several may be given [default: all of messages,
    /// partitions, size, consumers, brokers]
    #[arg(long, value_name = "NAME[=VALUE,...]")]
    pub sweep: Vec<Chosen>,
    /// Rounds that count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Measure nothing; show or draw this result instead
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

impl RunArgs {
    /// Who is measured.
    pub fn families(&self) -> Vec<Family> {
        if self.only.is_empty() { Family::value_variants().to_vec() } else { self.only.clone() }
    }

    /// What is measured in a regime.
    pub fn roles(&self, regime: RegimeName) -> Vec<Role> {
        match (self.roles.is_empty(), regime) {
            (false, _) => self.roles.clone(),
            (true, RegimeName::Real) => Role::value_variants().to_vec(),
            // A latency is that of a lab, not of a client that is kept busy.
            (true, RegimeName::ClientBound) => vec![Role::Producer, Role::Consumer],
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn flags_are_read_and_refused_by_name() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let read = |args: &[&str]| Cli::try_parse_from([&["bench"], args].concat());
        let run = read(&["--regime", "real,client-bound", "--only", "ours,rdkafka_performance"]).unwrap().run;
        assert_eq!(run.regime, [RegimeName::Real, RegimeName::ClientBound]);
        assert_eq!(run.families(), [Family::Ours, Family::RdkafkaPerformance]);
        assert_eq!(run.roles(RegimeName::ClientBound), [Role::Producer, Role::Consumer]);
        let scale = read(&["scale", "--sweep", "brokers=1,2", "--sweep", "size"]).unwrap().command;
        assert!(matches!(scale, Some(Command::Scale(args)) if args.sweep.len() == 2 && args.sweep[0].values == [1, 2]));
        let default = read(&[]).unwrap().run;
        assert_eq!((default.families().len(), default.roles(RegimeName::Real).len()), (7, 3));
        for (args, needle) in
            [(["--rounds", "0"], "--rounds"), (["--size", "50"], "--size"), (["--only", "x"], "--only")]
        {
            assert!(read(&args).unwrap_err().to_string().contains(needle));
        }
    }
}
