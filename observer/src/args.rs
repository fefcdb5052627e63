//! What the programs that observe share: which lab is observed, on the command line that xtask fills in, and signals.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clients::Client;
use crate::journal::Journal;
use crate::record::Subject;

/// Which lab is observed.
#[derive(Debug, Args)]
pub struct SubjectArgs {
    /// Name of the lab.
    #[arg(long)]
    lab: String,
    /// The lab's backend.
    #[arg(long)]
    backend: String,
    /// Kafka's version and mode.
    #[arg(long)]
    kafka: String,
    /// A broker: ID=HOST:PORT. Once for each broker.
    #[arg(long = "broker", required = true, value_name = "ID=HOST:PORT", value_parser = broker)]
    brokers: Vec<(u32, String)>,
    /// Name of the topic.
    #[arg(long)]
    topic: String,
    /// The brokers are in KRaft mode: the controller is the leader of the metadata quorum.
    #[arg(long)]
    quorum: bool,
    /// A client and its state file: NAME=PATH. Once for each client.
    #[arg(long = "client", value_name = "NAME=PATH", value_parser = client)]
    clients: Vec<(String, PathBuf)>,
    /// File to which the commands of xtask add what they do.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

impl From<SubjectArgs> for Subject {
    fn from(args: SubjectArgs) -> Self {
        let client = |(name, path)| Client::new(name, args.topic.clone(), path);
        Subject {
            lab: args.lab,
            backend: args.backend,
            kafka: args.kafka,
            clients: args.clients.into_iter().map(client).collect(),
            topic: args.topic,
            brokers: args.brokers.into_iter().collect(),
            quorum: args.quorum,
            journal: args.journal.map(Journal::new),
        }
    }
}

fn broker(text: &str) -> Result<(u32, String), String> {
    let pair = text.split_once('=').and_then(|(id, address)| Some((id.parse().ok()?, address.to_owned())));
    pair.ok_or_else(|| "ID=HOST:PORT is expected".into())
}

fn client(text: &str) -> Result<(String, PathBuf), String> {
    let pair = text.split_once('=').map(|(name, path)| (name.to_owned(), path.into()));
    pair.ok_or_else(|| "NAME=PATH is expected".into())
}

/// The signal for a file that grows beyond `ulimit -f`; the same number on Linux and macOS.
const SIGXFSZ: i32 = 25;

/// Makes a write beyond `ulimit -f` fail with its reason instead of ending the program, as long as the result lives.
///
/// # Errors
/// The system does not let this program listen for signals.
pub fn outlive_file_limit() -> Result<Signal> {
    signal(SignalKind::from_raw(SIGXFSZ)).context("cannot listen for signals")
}

/// Resolves at the first SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// The system does not let this program listen for signals.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
