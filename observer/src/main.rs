//! Observes a running lab and records what its brokers and clients say. `cargo xtask record` starts it.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`kafka`] | questions to one broker, in Kafka's protocol |
//! | [`facts`] | what holds now, from what several brokers say; pure |
//! | [`clients`] | what the clients count |
//! | [`event`] | the lines of a recording |
//! | [`record`] | asks everybody and writes the lines |
#![warn(clippy::too_many_lines)]

mod clients;
mod event;
mod facts;
mod kafka;
mod record;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use ledger::cause::in_words;
use tokio::signal::unix::{SignalKind, signal};

use crate::clients::Client;
use crate::record::Subject;

/// The signal for a file that grows beyond `ulimit -f`; the same number on Linux and macOS.
const SIGXFSZ: i32 = 25;

/// Records what the brokers and clients of a lab say, as JSON lines, until Ctrl-C. `cargo xtask record` fills in the
/// lab.
#[derive(Debug, Parser)]
#[command(name = "observer", version, max_term_width = 120)]
struct Cli {
    /// Name of the lab.
    #[arg(long)]
    lab: String,
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
    /// File to write to, which must not exist yet; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stop after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
}

fn broker(text: &str) -> Result<(u32, String), String> {
    let pair = text.split_once('=').and_then(|(id, address)| Some((id.parse().ok()?, address.to_owned())));
    pair.ok_or_else(|| "ID=HOST:PORT is expected".into())
}

fn client(text: &str) -> Result<(String, PathBuf), String> {
    let pair = text.split_once('=').map(|(name, path)| (name.to_owned(), path.into()));
    pair.ok_or_else(|| "NAME=PATH is expected".into())
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is nowhere left to report it.
            let _ = writeln!(std::io::stderr(), "error: {}", in_words(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let subject = Subject {
        lab: cli.lab,
        topic: cli.topic,
        brokers: cli.brokers.into_iter().collect::<BTreeMap<_, _>>(),
        quorum: cli.quorum,
        clients: cli.clients.into_iter().map(|(name, path)| Client::new(name, path)).collect(),
    };
    let end = cli.duration.map(Duration::from_secs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        // Beyond `ulimit -f`, a write then fails with its reason instead of ending this program.
        let _ignored = signal(SignalKind::from_raw(SIGXFSZ))?;
        let stop = stop()?;
        match &cli.out {
            None => record::run(subject, &mut std::io::stdout().lock(), end, stop)
                .await
                .context("standard output could not be written"),
            Some(path) => {
                let mut file = create(path)?;
                record::run(subject, &mut file, end, stop)
                    .await
                    .with_context(|| format!("cannot write {}", path.display()))
            }
        }
    })
}

/// Creates a file that does not exist yet: a recording is never written over.
fn create(path: &Path) -> Result<std::fs::File> {
    match OpenOptions::new().append(true).create_new(true).open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists: give --out another name, or remove it", path.display())
        }
        Err(error) => Err(anyhow!("cannot create {}: {error}", path.display())),
    }
}

/// Resolves at the first SIGINT, SIGTERM or SIGHUP.
fn stop() -> Result<impl Future<Output = ()>> {
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
