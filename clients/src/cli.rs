//! Arguments and environment, checked and typed before anything is touched.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ledger::size;
use ledger::stamp::{Encoder, RunId};

/// Clients of the Kafka lab: send stamped messages, receive them, and prove that none was lost, doubled or reordered.
///
/// ROLE=producer or ROLE=consumer in the environment chooses the command when none is given, as the Deployments in manifests/clients.yml do.
#[derive(Debug, Parser)]
#[command(name = "clients", version, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Send messages to every partition of a topic, as many to each, and count what the brokers acknowledge.
    ///
    /// Idempotent, acks=all: a message counts as published when every in-sync replica has it. SIGTERM or SIGINT stops it, waits up to 25 s for
    /// what is on its way and prints totals; a second signal ends it at once. Exit code 1 when something sent was not acked.
    Producer(ProducerArgs),
    /// Read every partition of a topic, one task each up to 16, and account for every record.
    ///
    /// Partitions are assigned by hand: no consumer group, nothing committed, so every start reads the whole log again unless told otherwise.
    /// Partitions added while it runs are picked up from their beginning.
    Consumer(ConsumerArgs),
    /// Ask each broker on its own for its view of the cluster; one JSON line per address.
    ///
    /// Never creates a topic. Exit code 1 when an address did not answer.
    Metadata(MetadataArgs),
    /// Ask the brokers for each partition's first offset and end offset; one JSON line.
    ///
    /// Never creates a topic. Exit code 1 when the brokers did not tell for every partition.
    Offsets(OffsetsArgs),
    /// Send one message and receive that very message back; JSON lines, exit code 1 when the time is up.
    ///
    /// Creates the topic when it does not exist, with the brokers' num.partitions and default.replication.factor, as any first client does.
    Probe(ProbeArgs),
    /// Print what a client wrote last to its --state-file: the JSON line of its last checkpoint or of its end.
    ///
    /// Exit code 1 when there is none.
    State(StateArgs),
}

/// Where the brokers are and which topic is meant.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Bootstrap brokers, HOST:PORT[,HOST:PORT...]; the rest of the cluster is learned from whichever answers.
    #[arg(long, env = "KAFKA_BROKER", value_parser = parse_brokers)]
    pub brokers: String,
    /// The topic.
    #[arg(long, env = "TOPIC", default_value = "test", value_parser = parse_topic)]
    pub topic: String,
}

/// How and where to report.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Text for people, or JSON lines for programs: start, a checkpoint each second, end. Each begins {"schema":
    #[arg(long, env = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Print, whatever the format, the lines of Kafka's own kafka-verifiable-producer or kafka-verifiable-consumer --verbose: one for each message.
    #[arg(long)]
    pub verifiable: bool,
    /// Write to this file instead of standard output; at 5 MiB it is renamed to PATH.1, and three such are kept.
    #[arg(long, value_name = "PATH")]
    pub log_file: Option<PathBuf>,
    /// With --format json: print a line whenever a partition stood still for at least so many milliseconds, once it goes on; 0 prints none.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub gaps: u64,
    /// Keep the last checkpoint here, in any format: one JSON line, replaced each second and at the end; `clients state` prints it.
    #[arg(long, env = "STATE_FILE", value_name = "PATH")]
    pub state_file: Option<PathBuf>,
}

/// How to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Dated lines for people.
    Text,
    /// JSON lines for programs; dated lines about errors go to standard error.
    Json,
    /// As [`crate::verifiable`] has it; asked for by `--verifiable`.
    #[value(skip)]
    Verifiable,
}

impl OutputArgs {
    /// How to report, when both flags are considered.
    pub fn effective_format(&self) -> Format {
        if self.verifiable { Format::Verifiable } else { self.format }
    }
}

/// Arguments of `clients producer`.
#[derive(Debug, Clone, Args)]
pub struct ProducerArgs {
    /// Brokers and topic.
    #[command(flatten)]
    pub target: Target,
    /// Messages per second over all partitions, evenly paced; 0 sends as fast as the brokers take them.
    #[arg(long, env = "RATE", default_value_t = 1000)]
    pub rate: u32,
    /// Stop after so many messages; 0 goes on until a signal comes.
    #[arg(long, env = "COUNT", default_value_t = 0)]
    pub count: u64,
    /// Whose acknowledgement counts. With 1, the leader's alone, what is acknowledged can be lost with the leader: the drill that shows it needs that.
    #[arg(long, value_enum, default_value_t = Acks::All, value_name = "ACKS")]
    pub acks: Acks,
    /// Retry without idempotence, and after half a second: what a broker took and had not acknowledged by then is in the log twice. For the drill that shows it.
    #[arg(long)]
    pub no_idempotence: bool,
    /// Wait for the topic instead of creating it by asking for it.
    #[arg(long)]
    pub no_create_topic: bool,
    /// Bytes of each message's value, up to 1048516; without it, as long as the stamp happens to be.
    #[arg(long, env = "VALUE_SIZE", value_name = "BYTES")]
    pub value_size: Option<usize>,
    /// Name of this run in every message, 1 to 32 of a-z, 0-9 and '-'; random when not given.
    #[arg(long, env = "RUN_ID")]
    pub run: Option<RunId>,
    /// Renew librdkafka's handle after so many seconds, between two messages. A handle that is older than 35 minutes drops what is queued as soon as one broker, just started, does not know the topic yet.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=1200))]
    pub renew_after: u64,
    /// Format, log file and state file.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Kafka's `acks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// Every in-sync replica's.
    All,
    /// The leader's.
    #[value(name = "1")]
    One,
}

/// Where a consumer begins in partitions that `--start` does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StartFrom {
    /// The first offset the log still has.
    Beginning,
    /// The end offset at the time of starting: only what comes later.
    Newest,
}

/// Arguments of `clients consumer`.
#[derive(Debug, Clone, Args)]
pub struct ConsumerArgs {
    /// Brokers and topic.
    #[command(flatten)]
    pub target: Target,
    /// Where to begin in each partition. A consumer that starts at the newest offset after the producer loses the beginning.
    #[arg(long, value_enum, default_value_t = StartFrom::Beginning)]
    pub from: StartFrom,
    /// Where to begin in some partitions: PARTITION:OFFSET[,PARTITION:OFFSET...].
    #[arg(long, value_name = "P:O,...", value_delimiter = ',', value_parser = parse_position)]
    pub start: Vec<PartitionOffset>,
    /// Where to stop: PARTITION:OFFSET[,...], exclusive. Only the partitions named are read, and it ends when all have got there.
    #[arg(long, value_name = "P:O,...", value_delimiter = ',', value_parser = parse_position)]
    pub end: Vec<PartitionOffset>,
    /// Judge this run only, and expect its sequences from 0; records of others are counted as other_runs. Without it, every run is judged.
    #[arg(long)]
    pub run: Option<RunId>,
    /// With --end: give up when nothing arrives for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub idle_timeout: u64,
    /// Format, log file and state file.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// An offset in a partition, written `PARTITION:OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition, from 0.
    pub partition: i32,
    /// The offset, from 0.
    pub offset: i64,
}

/// Arguments of `clients metadata`.
#[derive(Debug, Clone, Args)]
pub struct MetadataArgs {
    /// The addresses to ask, HOST:PORT[,HOST:PORT...]; each is asked on its own, all at the same time.
    #[arg(long, env = "KAFKA_BROKER", value_parser = parse_brokers)]
    pub brokers: String,
    /// Tell about this topic only; without it, about every topic the broker knows.
    #[arg(long, value_parser = parse_topic)]
    pub topic: Option<String>,
    /// How long to wait for each answer, in milliseconds.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

/// Arguments of `clients offsets`.
#[derive(Debug, Clone, Args)]
pub struct OffsetsArgs {
    /// Brokers and topic.
    #[command(flatten)]
    pub target: Target,
    /// How long to wait for all answers together, in milliseconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

/// Arguments of `clients state`.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// The --state-file of the client that is asked about.
    #[arg(long, env = "STATE_FILE", value_name = "PATH")]
    pub state_file: PathBuf,
}

/// Arguments of `clients probe`.
#[derive(Debug, Clone, Args)]
pub struct ProbeArgs {
    /// Brokers and topic.
    #[command(flatten)]
    pub target: Target,
    /// How long it may take from start to received, in milliseconds.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

impl Cli {
    /// The command this process was started with. Prints help or the error and exits (0 or 2) where there is nothing to run.
    pub fn from_process() -> Command {
        let role = std::env::var_os("ROLE");
        match Self::read(std::env::args_os().collect(), role) {
            Ok(command) => command,
            Err(error) => error.exit(),
        }
    }

    /// The command that `argv` (program name first) and the value of `ROLE` ask for.
    ///
    /// # Errors
    /// A usage error, or help that was asked for, in the form clap prints.
    pub fn read(mut argv: Vec<OsString>, role: Option<OsString>) -> Result<Command, clap::Error> {
        let asks_for_help = |arg: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|flag| arg == flag);
        let bare = argv.get(1).is_none_or(|arg| arg.as_encoded_bytes().starts_with(b"-") && !asks_for_help(arg));
        if bare && let Some(role) = role {
            if role != "producer" && role != "consumer" {
                let text = format!("environment variable ROLE is {role:?}; it must be producer or consumer\n");
                return Err(clap::Error::raw(clap::error::ErrorKind::InvalidValue, text));
            }
            argv.insert(argv.len().min(1), role);
        }
        let command = Self::try_parse_from(argv)?.command;
        command.check()?;
        Ok(command)
    }
}

impl Command {
    /// What one argument alone cannot tell.
    fn check(&self) -> Result<(), clap::Error> {
        let problem = match self {
            Self::Producer(args) => args.problem(),
            Self::Consumer(args) => args.problem(),
            _ => None,
        };
        match problem {
            Some(text) => Err(clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{text}\n"))),
            None => Ok(()),
        }
    }
}

impl ProducerArgs {
    /// Bytes of the longest value of this run.
    pub fn longest_value(&self) -> usize {
        self.value_size.unwrap_or_default().max(self.longest_stamp())
    }

    fn longest_stamp(&self) -> usize {
        // A random run id is eight characters long.
        self.run.map_or_else(|| Encoder::minimum_size(RunId::random()), Encoder::minimum_size)
    }

    fn problem(&self) -> Option<String> {
        let size = self.value_size?;
        let minimum = self.longest_stamp();
        if size < minimum {
            return Some(format!(
                "--value-size (VALUE_SIZE) {size} is too small: the delivery stamp of this run takes up to {minimum} bytes, so {minimum} is the minimum"
            ));
        }
        size::too_large(size).map(|problem| format!("--value-size (VALUE_SIZE) {problem}"))
    }
}

impl ConsumerArgs {
    fn problem(&self) -> Option<String> {
        for (flag, list) in [("--start", &self.start), ("--end", &self.end)] {
            for (at, position) in list.iter().enumerate() {
                if list[..at].iter().any(|other| other.partition == position.partition) {
                    return Some(format!("{flag} names partition {} twice", position.partition));
                }
            }
        }
        None
    }

    /// The offset `--start` names for this partition.
    pub fn start_of(&self, partition: i32) -> Option<i64> {
        self.start.iter().find(|p| p.partition == partition).map(|p| p.offset)
    }

    /// The offset `--end` names for this partition.
    pub fn end_of(&self, partition: i32) -> Option<i64> {
        self.end.iter().find(|p| p.partition == partition).map(|p| p.offset)
    }
}

fn parse_brokers(text: &str) -> Result<String, String> {
    let form = "write HOST:PORT, several with commas between; for example 127.0.0.1:30090";
    for address in text.split(',') {
        let (host, port) = address.trim().rsplit_once(':').ok_or_else(|| format!("{address:?} has no port; {form}"))?;
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(format!("{address:?} has no host; {form}"));
        }
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(format!("{port:?} is no port number; {form}"));
        }
    }
    Ok(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}

/// Kafka's own rule, `org.apache.kafka.common.internals.Topic.validate`.
fn parse_topic(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 249 || !text.chars().all(legal) || text == "." || text == ".." {
        return Err("a topic name is 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', and neither . nor ..".into());
    }
    Ok(text.into())
}

fn parse_position(text: &str) -> Result<PartitionOffset, String> {
    let numbers = text.split_once(':').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
    match numbers {
        Some((partition, offset)) if partition >= 0 && offset >= 0 => Ok(PartitionOffset { partition, offset }),
        _ => Err(format!("{text:?} is not PARTITION:OFFSET, two numbers from 0; for example 2:1500")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn read(role: Option<&str>, args: &[&str]) -> Result<Command, String> {
        let argv = std::iter::once("clients").chain(args.iter().copied()).map(OsString::from).collect();
        Cli::read(argv, role.map(OsString::from)).map_err(|e| e.to_string())
    }

    #[test]
    fn role_chooses_only_where_no_command_is_given() {
        let brokers = ["--brokers", "a:1"];
        assert!(matches!(read(Some("consumer"), &brokers), Ok(Command::Consumer(_))));
        assert!(matches!(read(Some("producer"), &brokers), Ok(Command::Producer(_))));
        assert!(matches!(read(Some("producer"), &["consumer", "--brokers", "a:1"]), Ok(Command::Consumer(_))));
        assert!(read(Some("reader"), &brokers).unwrap_err().contains("ROLE"));
        assert!(read(Some("producer"), &["--help"]).unwrap_err().contains("metadata"));
    }

    #[test]
    fn errors_name_the_flag_and_what_would_do() {
        let cases: [(&[&str], &str); 10] = [
            (&["producer", "--brokers", "localhost"], "--brokers"),
            (&["producer", "--brokers", ""], "--brokers"),
            (&["producer", "--brokers", "a:0"], "port"),
            (&["producer", "--brokers", "a:1", "--rate", "fast"], "--rate"),
            (&["producer", "--brokers", "a:1", "--run", "A B"], "--run"),
            (&["producer", "--brokers", "a:1", "--run", "r", "--value-size", "50"], "69 is the minimum"),
            (
                &["producer", "--brokers", "a:1", "--value-size", "1048517"],
                "(VALUE_SIZE) is 1048517, must be 1048516 or less",
            ),
            (&["producer", "--brokers", "a:1", "--topic", ".."], "--topic"),
            (&["consumer", "--brokers", "a:1", "--end", "0-5"], "PARTITION:OFFSET"),
            (&["consumer", "--brokers", "a:1", "--start", "1:5,1:6"], "--start names partition 1 twice"),
        ];
        for (args, needle) in cases {
            let error = read(None, args).unwrap_err();
            assert!(error.contains(needle), "{args:?}: {error}");
        }
    }

    #[test]
    fn positions_come_as_a_list() {
        let Ok(Command::Consumer(args)) = read(None, &["consumer", "--brokers", "a:1", "--end", "0:5,3:7"]) else {
            panic!("not read");
        };
        assert_eq!((args.end_of(0), args.end_of(3), args.end_of(1)), (Some(5), Some(7), None));
    }
}
