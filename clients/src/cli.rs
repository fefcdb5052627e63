//! Command-line arguments and environment variables, parsed and validated before anything else happens.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ledger::size;
use ledger::stamp::{Encoder, RunId};

/// How long messages wait for others to join their batch by default, in ms. At 1000 messages per second this makes
/// about 80 requests per second; 5 ms makes 800. The lab's JVMs and its user share two cores.
pub const LINGER_MS: u64 = 50;

/// Clients of the Kafka lab: send stamped messages, receive them, and prove that none was lost, duplicated or
/// reordered.
///
/// If no command is given, ROLE=producer or ROLE=consumer in the environment selects it. The Deployments in
/// manifests/clients.yml use this.
#[derive(Debug, Parser)]
#[command(name = "clients", version, max_term_width = 120)]
pub struct Cli {
    /// The client or query to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The client or query to run.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Send messages evenly to all partitions of a topic and count what the brokers acknowledge.
    ///
    /// The producer is idempotent and uses acks=all: a message counts as published once every in-sync replica has it.
    /// SIGTERM or SIGINT stops it. It then waits up to 25 s for messages in flight and prints totals; a second signal
    /// ends it immediately. Exits with 1 if a message that it sent was not acknowledged.
    Producer(ProducerArgs),
    /// Read every partition of a topic, with one task per partition (16 at most), and account for every record.
    ///
    /// Partitions are assigned manually. There is no consumer group and nothing is committed, so each start reads the
    /// whole log again unless told otherwise. Partitions added later are read from their beginning.
    Consumer(ConsumerArgs),
    /// Query each broker separately for its view of the cluster; print one JSON line per address.
    ///
    /// Never creates a topic. Exits with 1 if an address did not answer.
    Metadata(MetadataArgs),
    /// Query the first offset and the end offset of each partition; print one JSON line.
    ///
    /// Never creates a topic. Exits with 1 if the offsets of any partition are unknown.
    Offsets(OffsetsArgs),
    /// Send one message and receive it back; print JSON lines. Exits with 1 on timeout.
    ///
    /// If the topic does not exist, this creates it with the brokers' num.partitions and default.replication.factor.
    Probe(ProbeArgs),
    /// Print a client's --state-file: the JSON line of its last checkpoint, or of its end.
    ///
    /// Exits with 1 if there is none.
    State(StateArgs),
}

/// The brokers and the topic.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Bootstrap brokers: HOST:PORT[,HOST:PORT...]. Any one that answers is enough.
    #[arg(long, env = "KAFKA_BROKER", value_parser = parse_brokers)]
    pub brokers: String,
    /// Topic name.
    #[arg(long, env = "TOPIC", default_value = "test", value_parser = parse_topic)]
    pub topic: String,
}

/// Output options.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Output format: text for people, or JSON lines for programs. JSON prints a start line, a checkpoint each second
    /// and an end line, each beginning with {"schema":
    #[arg(long, env = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Print the lines of Kafka's kafka-verifiable-producer, or of kafka-verifiable-consumer --verbose, instead of
    /// --format: one line per message.
    #[arg(long)]
    pub verifiable: bool,
    /// Write to this file instead of standard output. At 5 MiB it is renamed to PATH.1; three such files are kept.
    #[arg(long, value_name = "PATH")]
    pub log_file: Option<PathBuf>,
    /// With --format json: when a partition resumes after at least MS milliseconds without progress, print a line about
    /// the gap. 0 disables this.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub gaps: u64,
    /// Write the last checkpoint to this file, whatever the format: one JSON line, replaced each second and at the end.
    /// `clients state` prints it.
    #[arg(long, env = "STATE_FILE", value_name = "PATH")]
    pub state_file: Option<PathBuf>,
}

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Timestamped lines for people.
    Text,
    /// JSON lines for programs; log messages go to standard error.
    Json,
    /// The lines of [`crate::verifiable`], selected by `--verifiable`.
    #[value(skip)]
    Verifiable,
}

impl OutputArgs {
    /// The format that both flags together select.
    pub fn effective_format(&self) -> Format {
        if self.verifiable { Format::Verifiable } else { self.format }
    }
}

#[derive(Debug, Clone, Args)]
pub struct ProducerArgs {
    #[command(flatten)]
    pub target: Target,
    /// Messages per second over all partitions, evenly paced; 0 sends as fast as the brokers accept them.
    #[arg(long, env = "RATE", default_value_t = 1000)]
    pub rate: u32,
    /// Stop after this many messages; 0 runs until a signal.
    #[arg(long, env = "COUNT", default_value_t = 0)]
    pub count: u64,
    /// Required acknowledgements. With 1 (leader only), acknowledged messages can be lost with the leader; a drill uses
    /// this to show that.
    #[arg(long, value_enum, default_value_t = Acks::All, value_name = "ACKS")]
    pub acks: Acks,
    /// Retry without idempotence, after half a second. A message that a broker wrote but did not acknowledge in time is
    /// then in the log twice; a drill uses this to show that.
    #[arg(long)]
    pub no_idempotence: bool,
    /// Wait for the topic instead of creating it.
    #[arg(long)]
    pub no_create_topic: bool,
    /// Size of each message value in bytes, up to 1048516. By default, values are as long as their delivery stamp.
    #[arg(long, env = "VALUE_SIZE", value_name = "BYTES")]
    pub value_size: Option<usize>,
    /// How long messages wait for others to join their batch, 1 to 1000 ms. Less means a lower latency and more
    /// requests.
    #[arg(
        long,
        env = "LINGER_MS",
        value_name = "MS",
        default_value_t = LINGER_MS,
        value_parser = clap::value_parser!(u64).range(1..=1000)
    )]
    pub linger_ms: u64,
    /// Run ID, stamped into every message: 1 to 32 of a-z, 0-9 and '-'. Random by default.
    #[arg(long, env = "RUN_ID")]
    pub run: Option<RunId>,
    /// Replace the librdkafka handle after this many seconds. A handle older than 35 minutes drops its queue when a
    /// newly started broker does not know the topic yet.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=1200))]
    pub renew_after: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Values of Kafka's `acks` setting that make sense here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// All in-sync replicas.
    All,
    /// Only the leader.
    #[value(name = "1")]
    One,
}

/// Where a consumer starts in partitions that `--start` does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StartFrom {
    /// The first offset in the log.
    Beginning,
    /// The end offset at start: only messages that arrive later.
    Newest,
}

#[derive(Debug, Clone, Args)]
pub struct ConsumerArgs {
    #[command(flatten)]
    pub target: Target,
    /// Where to start in each partition. With "newest", messages from before the consumer started are not read.
    #[arg(long, value_enum, default_value_t = StartFrom::Beginning)]
    pub from: StartFrom,
    /// Offsets to start at in some partitions: PARTITION:OFFSET[,PARTITION:OFFSET...].
    #[arg(long, value_name = "P:O,...", value_delimiter = ',', value_parser = parse_position)]
    pub start: Vec<PartitionOffset>,
    /// Offsets to stop before: PARTITION:OFFSET[,PARTITION:OFFSET...]. The consumer reads only these partitions, and
    /// exits when it has reached every offset.
    #[arg(long, value_name = "P:O,...", value_delimiter = ',', value_parser = parse_position)]
    pub end: Vec<PartitionOffset>,
    /// Account for this run only, with sequences starting at 0; records of other runs are counted as other_runs. By
    /// default, all runs are accounted for.
    #[arg(long)]
    pub run: Option<RunId>,
    /// With --end: give up if nothing arrives for this many seconds.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub idle_timeout: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// An offset in a partition, written `PARTITION:OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    pub partition: i32,
    pub offset: i64,
}

#[derive(Debug, Clone, Args)]
pub struct MetadataArgs {
    /// Addresses to query: HOST:PORT[,HOST:PORT...]. Each is queried separately, all at the same time.
    #[arg(long, env = "KAFKA_BROKER", value_parser = parse_brokers)]
    pub brokers: String,
    /// Query this topic only; by default, all topics that the broker knows.
    #[arg(long, value_parser = parse_topic)]
    pub topic: Option<String>,
    /// Timeout for each answer, in milliseconds.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Args)]
pub struct OffsetsArgs {
    #[command(flatten)]
    pub target: Target,
    /// Timeout for all answers together, in milliseconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// The --state-file of the client to query.
    #[arg(long, env = "STATE_FILE", value_name = "PATH")]
    pub state_file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    pub target: Target,
    /// Timeout from start until the message is received, in milliseconds.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

impl Cli {
    /// The command of this process. Prints help or a usage error and exits (with 0 or 2) if there is none.
    pub fn from_process() -> Command {
        let role = std::env::var_os("ROLE");
        match Self::read(std::env::args_os().collect(), role) {
            Ok(command) => command,
            Err(error) => error.exit(),
        }
    }

    /// Parses `argv`, which includes the program name. `role` is the value of `ROLE`.
    ///
    /// # Errors
    /// A usage error, or help or the version if requested, as clap formats it.
    pub fn read(mut argv: Vec<OsString>, role: Option<OsString>) -> Result<Command, clap::Error> {
        let asks_for_help = |arg: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|flag| arg == flag);
        let bare = argv.get(1).is_none_or(|arg| arg.as_encoded_bytes().starts_with(b"-") && !asks_for_help(arg));
        if bare && let Some(role) = role {
            if role != "producer" && role != "consumer" {
                let text = format!("invalid environment variable ROLE={role:?}: must be producer or consumer\n");
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
    /// Checks what concerns more than one argument.
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
    /// Size of the longest value of this run, in bytes.
    pub fn longest_value(&self) -> usize {
        self.value_size.unwrap_or_default().max(self.longest_stamp())
    }

    fn longest_stamp(&self) -> usize {
        // A random run ID has eight characters.
        self.run.map_or_else(|| Encoder::minimum_size(RunId::random()), Encoder::minimum_size)
    }

    fn problem(&self) -> Option<String> {
        let size = self.value_size?;
        let minimum = self.longest_stamp();
        if size < minimum {
            return Some(format!(
                "--value-size (VALUE_SIZE) {size} is too small: the delivery stamp of this run needs up to \
                 {minimum} bytes, so {minimum} is the minimum"
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
                    return Some(format!("{flag} lists partition {} twice", position.partition));
                }
            }
        }
        None
    }

    /// The offset that `--start` gives for this partition.
    pub fn start_of(&self, partition: i32) -> Option<i64> {
        self.start.iter().find(|p| p.partition == partition).map(|p| p.offset)
    }

    /// The offset that `--end` gives for this partition.
    pub fn end_of(&self, partition: i32) -> Option<i64> {
        self.end.iter().find(|p| p.partition == partition).map(|p| p.offset)
    }
}

fn parse_brokers(text: &str) -> Result<String, String> {
    let form = "expected HOST:PORT[,HOST:PORT...], for example 127.0.0.1:30090";
    for address in text.split(',') {
        let (host, port) = address.trim().rsplit_once(':').ok_or_else(|| format!("{address:?} has no port; {form}"))?;
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(format!("{address:?} has no host; {form}"));
        }
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(format!("{port:?} is not a valid port; {form}"));
        }
    }
    Ok(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}

/// Kafka's own rule, `org.apache.kafka.common.internals.Topic.validate`.
fn parse_topic(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 249 || !text.chars().all(legal) || text == "." || text == ".." {
        return Err(
            "a topic name has 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', and is neither \".\" nor \"..\"".into()
        );
    }
    Ok(text.into())
}

fn parse_position(text: &str) -> Result<PartitionOffset, String> {
    let numbers = text.split_once(':').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
    match numbers {
        Some((partition, offset)) if partition >= 0 && offset >= 0 => Ok(PartitionOffset { partition, offset }),
        _ => Err(format!("{text:?} is not PARTITION:OFFSET with numbers from 0, for example 2:1500")),
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
            (&["consumer", "--brokers", "a:1", "--start", "1:5,1:6"], "--start lists partition 1 twice"),
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
