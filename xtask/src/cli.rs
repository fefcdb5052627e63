//! What can be typed. Types only: nothing here decides.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::backend::Backend;
use crate::drill::control::DrillPart;

/// Brings up a real multi-broker Kafka lab, proves that it works, and takes it away again.
///
///   cargo xtask up         ZooKeeper, the brokers, topic `test`, a producer and a consumer
///   cargo xtask verify     exact proof: what each partition was sent, acknowledged and delivered
///   cargo xtask teardown   nothing is left: processes, ports, files
///
/// Say `cargo xtask up --fix` on a machine that lacks something: it installs what is missing, shown first.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", version, verbatim_doc_comment)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The lab's name: several labs can run side by side on ports of their own (see `up --port-base`)
    #[arg(long, global = true, default_value = "kafka-lab", value_name = "NAME")]
    pub name: String,
    /// Folder with the files that manifests/ has [default: the one `up` recorded, or manifests/]
    #[arg(long, global = true, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Text for people, or JSON lines on standard output for programs (up, verify, status, teardown, drill, clients)
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
    /// Show the plan as commands that can be pasted, and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// JSON lines, each beginning `{"schema":`.
    Json,
}

/// Where the lab runs: on this backend, or where it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendChoice(pub Option<Backend>);

fn backend_choice() -> impl TypedValueParser<Value = BackendChoice> {
    let auto = "The recorded one; else kind where a Docker engine answers, else local; says which and why";
    let named = |backend: Backend| PossibleValue::new(backend.name()).help(backend.about());
    let values = std::iter::once(PossibleValue::new("auto").help(auto)).chain(Backend::ALL.map(named));
    PossibleValuesParser::new(values)
        .map(|name| BackendChoice(Backend::ALL.into_iter().find(|backend| backend.name() == name)))
}

/// Where images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImagesChoice {
    /// An image registry: kind's node image and the image that kafka.yml names
    Registry,
    /// Packages only (Go modules, Maven, Debian): needs no image registry, and some 17 minutes once
    Packages,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the lab up; a second time, reuse what is healthy and restart what died
    Up(Up),
    /// Prove that the lab works: registration, topics, and the exact delivery of a fresh run of messages
    Verify(Verify),
    /// Stop the lab and remove everything it made, except caches
    Teardown(Teardown),
    /// What is there, and whether it is healthy
    Status,
    /// The end of a process's log, or of all
    Logs(Logs),
    /// The producer and the consumer
    Clients {
        /// What to do with them.
        #[command(subcommand)]
        command: ClientsCommand,
    },
    /// Break the lab on purpose under load, mend it, and tell whether anything acknowledged was lost
    Drill(Drill),
    /// Write the manifests with the images, names and ports in use, for `kubectl apply` by hand (kind)
    Render(Render),
    /// kubectl with the lab's own kubeconfig and context, e.g. `cargo xtask kubectl -- get pods -o wide` (kind)
    Kubectl(Passthrough),
    /// Kafka's own kafka-topics against the lab, e.g. `cargo xtask kafka-topics -- --describe`
    KafkaTopics(Passthrough),
    /// ZooKeeper's own shell against the lab, e.g. `cargo xtask zookeeper-shell -- ls /brokers/ids`
    ZookeeperShell(Passthrough),
    /// The project's tests: format, clippy, licences, unit, integration, and the real lab end to end
    Test(Test),
}

/// Flags of `up`.
#[derive(Clone, Debug, Args)]
pub struct Up {
    /// Where the lab runs
    #[arg(long, default_value = "auto", value_name = "BACKEND", value_parser = backend_choice())]
    pub backend: BackendChoice,
    /// Install what is missing (apt, as root or through sudo), showing the command first
    #[arg(long)]
    pub fix: bool,
    /// Leave out the producer and the consumer
    #[arg(long)]
    pub no_clients: bool,
    /// Port of broker 0; broker N is N further, ZooKeeper moves along [default: 30090, ZooKeeper 32181]
    #[arg(long, value_name = "PORT")]
    pub port_base: Option<u16>,
    /// Take the lab down again when a step fails, all but its logs and diagnostics (it is kept for looking at otherwise)
    #[arg(long)]
    pub teardown_on_failure: bool,
    /// kind: where images come from [default: the recorded one, else registry]
    #[arg(long, value_name = "FROM")]
    pub images: Option<ImagesChoice>,
    /// kind: delete this lab's cluster first, with all its messages
    #[arg(long)]
    pub recreate: bool,
    /// kind: put the lab's context into your own kubeconfig too; teardown takes it out again
    #[arg(long)]
    pub merge_kubeconfig: bool,
}

/// Flags of `drill`.
#[derive(Clone, Debug, Args)]
pub struct Drill {
    /// Faults by name (see --list), `all`, `matrix` (all, appended to a file), or `soak`
    #[arg(value_name = "FAULT")]
    pub faults: Vec<String>,
    /// Explain each fault: what breaks, which verdict is promised, what to look at
    #[arg(long)]
    pub list: bool,
    /// Messages a second, over all partitions
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// How often everything asked for is done
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Append each result to FILE, a JSON line with the commit [matrix: drills.jsonl]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Leave out what the file has already, as often as it has it: the same drill, commit, rate, seed and duration
    #[arg(long)]
    pub resume: bool,
    /// Keep the drill's topic, for looking at its records
    #[arg(long)]
    pub keep_topic: bool,
    /// A control that shows that a drill can tell: the same drill with a part taken out, which must not end as kept
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    pub without: Vec<DrillPart>,
    /// soak: the schedule of faults; the same seed gives the same one
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// soak: how long, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: u64,
}

/// Flags of `render`.
#[derive(Clone, Debug, Args)]
pub struct Render {
    /// The folder to write to; it is made when it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where images come from, when no lab on kind is up [default: registry]
    #[arg(long, value_name = "FROM")]
    pub images: Option<ImagesChoice>,
}

/// Flags of `verify`.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// Messages of the flow check [default: flow.messages of lab.yml]
    #[arg(long, value_name = "N")]
    pub messages: Option<u64>,
}

/// Flags of `teardown`.
#[derive(Clone, Debug, Args)]
pub struct Teardown {
    /// Remove the caches too: Kafka's jars, class-data archives, the images that were built, and their products
    #[arg(long)]
    pub purge: bool,
}

/// Flags of `logs`.
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// zookeeper, kafka-0, kafka-1, …, producer or consumer [default: all]
    pub process: Option<String>,
    /// Keep printing what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Lines of each log
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub lines: usize,
}

/// `clients …`.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientsCommand {
    /// Build their program, and on kind their image
    Build,
    /// Build them and bring the image into every node (kind)
    Load,
    /// Start what clients.yml declares
    Start,
    /// Stop them: the producer flushes, both print their totals
    Stop,
    /// Run another number of one of them: `clients scale consumer 3`
    Scale(Scale),
    /// Their logs
    Logs(ClientLogs),
}

/// Arguments of `clients scale`.
#[derive(Clone, Debug, Args)]
pub struct Scale {
    /// The Deployment of clients.yml: producer or consumer
    pub client: String,
    /// How many of them; the next `up` keeps it
    pub replicas: u32,
}

/// Flags of `clients logs`.
#[derive(Clone, Debug, Args)]
pub struct ClientLogs {
    /// Keep printing what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Lines of each log
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub lines: usize,
}

/// Arguments handed on as they are.
#[derive(Clone, Debug, Args)]
pub struct Passthrough {
    /// The tool's own arguments; the server's address is added
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// Flags of `test`.
#[derive(Clone, Debug, Args)]
pub struct Test {
    /// Install what is missing (apt, cargo, rustup), showing the command first
    #[arg(long)]
    pub fix: bool,
    /// Only the quick part: everything but the real lab end to end
    #[arg(long)]
    pub quick: bool,
}
