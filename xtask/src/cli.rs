//! The command line, as clap types. No logic.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::backend::Backend;
use crate::drill::control::DrillPart;

/// Brings up a real multi-broker Kafka lab, proves that it works, and takes it away again.
///
///   cargo xtask up         ZooKeeper, the brokers, topic `test`, a producer and a consumer
///   cargo xtask verify     exact proof of what each partition was sent, acknowledged and delivered
///   cargo xtask teardown   remove everything: processes, ports, files
///
/// Something missing? `cargo xtask up --fix` shows what it will install, then installs it.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", version, verbatim_doc_comment)]
#[command(after_help = "Examples:
  cargo xtask up --fix           bring the lab up; --fix shows, then installs, what is missing
  cargo xtask status --watch     what runs, again and again
  cargo xtask drill leader-kill  break it, mend it, report what was lost")]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Name of the lab; several labs can run side by side, each on its own ports (see `up --port-base`)
    #[arg(long, global = true, default_value = "kafka-lab", value_name = "NAME")]
    pub name: String,
    /// Folder with the manifests [default: the one that `up` recorded, or manifests/]
    #[arg(long, global = true, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Text, or JSON lines on standard output (up, verify, status, doctor, teardown, drill, clients)
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
    /// Print the plan as commands that can be pasted; change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Show results and failures only, no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show each step when it starts and whatever it is doing or waiting for, as lines
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// Format of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    Text,
    /// JSON lines for programs, each beginning with `{"schema":`.
    Json,
}

/// `--backend`: a backend, or `auto` as `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendChoice(pub Option<Backend>);

fn backend_choice() -> impl TypedValueParser<Value = BackendChoice> {
    backends("The recorded backend; otherwise kind if a Docker engine answers, else local")
}

fn ground_choice() -> impl TypedValueParser<Value = BackendChoice> {
    backends("All backends")
}

fn backends(auto: &'static str) -> impl TypedValueParser<Value = BackendChoice> {
    let named = |backend: Backend| PossibleValue::new(backend.name()).help(backend.about());
    let values = std::iter::once(PossibleValue::new("auto").help(auto)).chain(Backend::ALL.map(named));
    PossibleValuesParser::new(values)
        .map(|name| BackendChoice(Backend::ALL.into_iter().find(|backend| backend.name() == name)))
}

/// Source of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImagesChoice {
    /// An image registry: kind's node image and the image that kafka.yml names
    Registry,
    /// Packages (Go modules, Maven, Debian): no image registry needed; the first build takes about 17 minutes
    Packages,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the lab up; rerun to reuse what is healthy and restart what died
    #[command(after_help = "Examples:
  cargo xtask up --fix                            install what is missing, then bring the lab up
  cargo xtask up --backend local --no-clients     processes of this machine, without producer and consumer
  cargo xtask up --name second --port-base 29090  a second lab beside the first
  cargo xtask up --dry-run                        show every command; change nothing")]
    Up(UpArgs),
    /// Prove that the lab works: registration, topics, and exact delivery of a new run of messages
    #[command(after_help = "Examples:
  cargo xtask verify                                   every check, and a fresh run of messages
  cargo xtask verify --messages 1000000                a longer run
  cargo xtask verify --format json --junit verify.xml  for programs and for CI")]
    Verify(VerifyArgs),
    /// Stop the lab and remove everything it created, except caches
    #[command(after_help = "Examples:
  cargo xtask teardown          remove the lab
  cargo xtask teardown --purge  and the caches")]
    Teardown(TeardownArgs),
    /// Show what runs, whether it is healthy, and which command is at work on the lab or was interrupted
    #[command(after_help = "Examples:
  cargo xtask status                exit code 0 healthy, 5 unhealthy, 6 nothing up, 7 could not ask
  cargo xtask status --watch        again and again, until Ctrl-C
  cargo xtask status --format json  for programs")]
    Status(StatusArgs),
    /// Print the last lines of the logs
    #[command(after_help = "Examples:
  cargo xtask logs -f             follow everything, in order of time
  cargo xtask logs kafka-1 -n 50  the last 50 lines of one process")]
    Logs(LogsArgs),
    /// Show everything that each backend needs, what is missing here, and the commands that install it; changes nothing
    #[command(after_help = "Examples:
  cargo xtask doctor                                what each backend needs and has
  cargo xtask doctor --backend local --format json  one backend, for programs")]
    Doctor(DoctorArgs),
    /// Build, start, stop and scale the producer and the consumer
    #[command(after_help = "Examples:
  cargo xtask clients logs -f           follow both
  cargo xtask clients scale consumer 3  three consumers")]
    Clients {
        /// The subcommand.
        #[command(subcommand)]
        command: ClientsCommand,
    },
    /// Break the lab under load, repair it, and report whether acknowledged messages were lost
    #[command(after_help = "Examples:
  cargo xtask drill --list                        explain each fault
  cargo xtask drill leader-kill                   one fault
  cargo xtask drill all --junit drills.xml        every fault that the backend allows
  cargo xtask drill soak --seed 7 --duration 600  faults by a schedule, for ten minutes")]
    Drill(DrillArgs),
    /// Write the manifests with the images, names and ports in use, for `kubectl apply` (kind)
    #[command(after_help = "Examples:
  cargo xtask render --out /tmp/lab  then `kubectl apply -f /tmp/lab/kafka.yml`")]
    Render(RenderArgs),
    /// Run kubectl with the lab's kubeconfig and context, e.g. `cargo xtask kubectl -- get pods -o wide` (kind)
    #[command(after_help = "Examples:
  cargo xtask kubectl -- get pods -o wide  the pods
  cargo xtask kubectl -- logs kafka-0      a log")]
    Kubectl(Passthrough),
    /// Run any of Kafka's tools against the lab, e.g. `cargo xtask kafka consumer-groups -- --list`
    #[command(after_help = "Examples:
  cargo xtask kafka                              the tools
  cargo xtask kafka consumer-groups -- --list    all groups
  cargo xtask kafka get-offsets -- --topic test  the end offset of each partition")]
    Kafka {
        /// Name of the tool, with or without `kafka-`, or its first letters [default: list the tools]
        tool: Option<String>,
        /// The tool's arguments.
        #[command(flatten)]
        args: Passthrough,
    },
    /// Run Kafka's kafka-topics against the lab, e.g. `cargo xtask kafka-topics -- --describe`
    #[command(after_help = "Examples:
  cargo xtask kafka-topics -- --describe --topic test  leaders, replicas and ISR of a topic
  cargo xtask kafka-topics -- --list                   all topics")]
    KafkaTopics(Passthrough),
    /// Run ZooKeeper's shell against the lab, e.g. `cargo xtask zookeeper-shell -- ls /brokers/ids`
    #[command(after_help = "Examples:
  cargo xtask zookeeper-shell -- ls /brokers/ids  the registered brokers
  cargo xtask zookeeper-shell -- get /controller  the controller")]
    ZookeeperShell(Passthrough),
    /// Record leaders, ISR, controller, offsets and counts of a running lab as they change, as JSON lines
    #[command(after_help = "Examples:
  cargo xtask record --out film.jsonl  until Ctrl-C
  cargo xtask record --duration 60     a minute, on standard output")]
    Record(RecordArgs),
    /// Show a running lab in the browser: leaders, ISR, offsets, the ledger, and what drills do to it
    #[command(after_help = "Examples:
  cargo xtask dashboard --open             serve the page until Ctrl-C, and open it
  cargo xtask dashboard --out film.jsonl   record as well")]
    Dashboard(DashboardArgs),
    /// Show a recording in the browser, with a time line to scrub
    #[command(after_help = "Examples:
  cargo xtask replay film.jsonl --open  serve the page until Ctrl-C, and open it")]
    Replay(ReplayArgs),
    /// Write a recording and the page that shows it as one file, which opens without a network
    #[command(after_help = "Examples:
  cargo xtask report film.jsonl                     write report.html
  cargo xtask report film.jsonl --out monday.html  write another file")]
    Report(ReportArgs),
    /// Measure the lab's clients beside other clients of Kafka, on a lab of its own; `bench --help` lists its flags
    #[command(
        disable_help_flag = true,
        after_help = "Examples:
  cargo xtask bench --rounds 3  a few rounds of everything"
    )]
    Bench(Passthrough),
    /// Print a script that completes commands, flags, names of processes, faults and topics for `cargo xtask`
    #[command(after_help = "Examples:
  cargo xtask completions bash >>~/.bashrc
  cargo xtask completions zsh >>~/.zshrc
  cargo xtask completions fish >~/.config/fish/conf.d/kafka-lab.fish
  cargo xtask completions powershell >>$PROFILE")]
    Completions(CompletionsArgs),
    /// Print what can come next on a command line; the scripts of `completions` ask for it
    #[command(hide = true)]
    Complete(CompleteArgs),
    /// Run the project's tests: format, clippy, licences, unit and integration tests, and the real lab end to end
    #[command(after_help = "Examples:
  cargo xtask test --quick                 everything except the real lab
  cargo xtask test --fix --junit test.xml  everything, with results for CI")]
    Test(TestArgs),
}

/// Flags of `up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Where the lab runs
    #[arg(long, default_value = "auto", value_name = "BACKEND", value_parser = backend_choice())]
    pub backend: BackendChoice,
    /// Version of Kafka: 3.3.2, 3.9.2 or 4.3.1 [default: the recorded one, else the first that fits --mode: 3.3.2]
    #[arg(long, value_name = "VERSION")]
    pub kafka: Option<String>,
    /// Who coordinates the brokers: zookeeper (3.3.2, 3.9.2) or kraft (4.3.1, 3.9.2) [default: the recorded one, else
    /// the first that fits --kafka: zookeeper]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// Install what is missing with apt, as root or through sudo; prints each command first
    #[arg(long)]
    pub fix: bool,
    /// Leave out the producer and the consumer
    #[arg(long)]
    pub no_clients: bool,
    /// Port of broker 0; broker N gets this plus N, the port of ZooKeeper or of controller 0 shifts by as much
    /// [default: 30090, the other 32181]
    #[arg(long, value_name = "PORT")]
    pub port_base: Option<u16>,
    /// If a step fails, remove the lab and keep only its logs and diagnostics [default: keep the lab]
    #[arg(long)]
    pub teardown_on_failure: bool,
    /// Show when each step ran, as bars over time, and which steps decide how long it takes
    #[arg(long)]
    pub timings: bool,
    /// kind: source of the images [default: the recorded one, else registry]
    #[arg(long, value_name = "FROM")]
    pub images: Option<ImagesChoice>,
    /// kind: first delete this lab's cluster and all its messages
    #[arg(long)]
    pub recreate: bool,
    /// kind: also add the lab's context to your own kubeconfig; teardown removes it
    #[arg(long)]
    pub merge_kubeconfig: bool,
}

/// Flags of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The backend to look at; `auto` looks at all
    #[arg(long, default_value = "auto", value_name = "BACKEND", value_parser = ground_choice())]
    pub backend: BackendChoice,
    /// Port of broker 0, as for `up`
    #[arg(long, value_name = "PORT")]
    pub port_base: Option<u16>,
    /// kind: source of the images [default: the recorded one, else registry]
    #[arg(long, value_name = "FROM")]
    pub images: Option<ImagesChoice>,
}

/// Flags of `drill`.
#[derive(Clone, Debug, Args)]
pub struct DrillArgs {
    /// Names of faults (see --list), `all`, `matrix` (all, with results appended to a file), or `soak`
    #[arg(value_name = "FAULT")]
    pub faults: Vec<String>,
    /// Explain each fault: what breaks, the promised verdict, what to watch
    #[arg(long)]
    pub list: bool,
    /// Messages per second, over all partitions
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Repeat the whole list N times
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Append each result to FILE, as a JSON line that names the commit [matrix: drills.jsonl]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Skip drills already recorded in the file with the same commit, rate, seed and duration
    #[arg(long)]
    pub resume: bool,
    /// Keep the drill's topic, so that its records can be inspected
    #[arg(long)]
    pub keep_topic: bool,
    /// Control: run the drill without these parts, to show that it then does not report a kept promise
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    pub without: Vec<DrillPart>,
    /// soak: seed of the schedule of faults; the same seed gives the same schedule
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// soak: duration in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: u64,
    /// Also write the results to FILE as JUnit XML: a case for each step and drill
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// Flags of `render`.
#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// Folder to write to; created if missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Source of the images [default: the recorded one, else registry]
    #[arg(long, value_name = "FROM")]
    pub images: Option<ImagesChoice>,
}

/// Flags of `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Number of messages in the flow check [default: flow.messages in lab.yml]
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
    /// Also write the results to FILE as JUnit XML: a case for each check
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// Flags of `teardown`.
#[derive(Clone, Debug, Args)]
pub struct TeardownArgs {
    /// Also remove the caches: Kafka's jars, class-data archives, built images and their products
    #[arg(long)]
    pub purge: bool,
}

/// Flags of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Keep looking until Ctrl-C: a table that is redrawn on a terminal, a block for each look elsewhere
    #[arg(short, long)]
    pub watch: bool,
    /// Seconds between two looks of --watch
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
}

/// Flags of `logs`.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// zookeeper or controller-0, …, kafka-0, kafka-1, …, producer or consumer [default: all]
    pub process: Option<String>,
    /// Keep printing new lines until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Number of lines of each log
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub lines: usize,
}

/// Flags of `record`.
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// File to write to, which must not exist yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Stop after this many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: Option<u64>,
}

/// Flags of a page that is served.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Port on 127.0.0.1 [default: any free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Open the page in the browser
    #[arg(long)]
    pub open: bool,
}

/// Flags of `dashboard`.
#[derive(Clone, Debug, Args)]
pub struct DashboardArgs {
    /// Flags of a page that is served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Record to this file too, which must not exist yet
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Flags of `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A recording of `record` or `dashboard --out`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Flags of a page that is served.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Flags of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// A recording of `record` or `dashboard --out`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
}

/// Subcommands of `clients`.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientsCommand {
    /// Build the clients' program, and on kind their image
    #[command(after_help = "Examples:
  cargo xtask clients build  the program, and on kind its image")]
    Build,
    /// Build the image and load it into every node (kind)
    #[command(after_help = "Examples:
  cargo xtask clients load  the image into every node")]
    Load,
    /// Start the clients that clients.yml declares
    #[command(after_help = "Examples:
  cargo xtask clients start  start what clients.yml declares")]
    Start,
    /// Stop the clients: the producer flushes, and both print their totals
    #[command(after_help = "Examples:
  cargo xtask clients stop  flush, print the totals, end")]
    Stop,
    /// Change the number of replicas of a client: `clients scale consumer 3`
    #[command(after_help = "Examples:
  cargo xtask clients scale consumer 3  three consumers")]
    Scale(ScaleArgs),
    /// Print the last lines of the clients' logs
    #[command(after_help = "Examples:
  cargo xtask clients logs -f  follow the producer and the consumer")]
    Logs(ClientLogsArgs),
}

/// Arguments of `clients scale`.
#[derive(Clone, Debug, Args)]
pub struct ScaleArgs {
    /// Name of a Deployment in clients.yml: producer or consumer
    pub client: String,
    /// Number of replicas; the next `up` keeps it
    pub replicas: u32,
}

/// Flags of `clients logs`.
#[derive(Clone, Debug, Args)]
pub struct ClientLogsArgs {
    /// Keep printing new lines until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Number of lines of each log
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub lines: usize,
}

/// Arguments passed to a tool unchanged.
#[derive(Clone, Debug, Args)]
pub struct Passthrough {
    /// Arguments for the program; the server's address is added for Kafka's and ZooKeeper's tools
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash 4 or newer
    Bash,
    /// zsh
    Zsh,
    /// fish 3 or newer
    Fish,
    /// PowerShell 7 or newer
    #[value(name = "powershell")]
    Power,
}

/// Arguments of `complete`.
#[derive(Clone, Debug, Args)]
pub struct CompleteArgs {
    /// The word to complete is a new one, after those that follow
    #[arg(long)]
    pub new: bool,
    /// The words after `cargo xtask`; the last one is completed
    #[arg(last = true)]
    pub words: Vec<String>,
}

/// Flags of `test`.
#[derive(Clone, Debug, Args)]
pub struct TestArgs {
    /// Install what is missing with apt, cargo and rustup; prints each command first
    #[arg(long)]
    pub fix: bool,
    /// Skip the tests that bring up the real lab
    #[arg(long)]
    pub quick: bool,
    /// Also write the results to FILE as JUnit XML: a case for each group of tests
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Calls `each` for a command and those below it.
    fn walk(command: &clap::Command, each: &mut dyn FnMut(&clap::Command)) {
        each(command);
        command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(|below| walk(below, each));
    }

    #[test]
    fn every_command_has_examples_that_can_be_typed() {
        let mut seen = 0;
        walk(&Cli::command(), &mut |command| {
            let name = command.get_name();
            let help = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples")).to_string();
            let mut lines = help.lines();
            assert_eq!(lines.next(), Some("Examples:"), "{name}");
            for line in lines {
                let typed = line.strip_prefix("  cargo ").unwrap_or_else(|| panic!("{name}: {line}"));
                let typed = typed.split("  ").next().unwrap().split(" >").next().unwrap();
                let words: Vec<&str> = typed.split(' ').collect();
                assert!(name == "xtask" || words.contains(&name), "{name}: {line}");
                let parsed = Cli::try_parse_from(&words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                seen += 1;
            }
        });
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn what_is_misspelt_is_answered_with_what_was_meant() {
        for (typed, meant) in [
            (&["statsu"][..], "status"),
            (&["teer-down"], "teardown"),
            (&["up", "--no-client"], "--no-clients"),
            (&["status", "--wacth"], "--watch"),
            (&["up", "--backend", "locl"], "local"),
            (&["clients", "scael"], "scale"),
            (&["completions", "bsh"], "bash"),
        ] {
            let words = [&["xtask"], typed].concat();
            let error = Cli::try_parse_from(words).unwrap_err().to_string();
            assert!(error.contains("similar") && error.contains(meant), "{typed:?}: {error}");
        }
    }
}
