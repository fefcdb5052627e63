//! The clients of the Kafka lab: a producer, a consumer, and three small tools that query brokers.
//!
//! The binary runs as a process. People read its timestamped text lines. Programs use `--format json` and read the
//! lines that begin with `{"schema":`, documented field by field in [`ledger::lines`]. Logic that does not need Kafka
//! is in the crate [`ledger`], which xtask links too.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`cli`] | arguments and environment as typed values |
//! | [`settings`] | librdkafka settings, each with its reason |
//! | [`producer`], [`consumer`] | the two long-running clients |
//! | [`pace`] | when the next message is due, and which partition takes it |
//! | [`metadata`], [`offsets`], [`probe`] | the queries |
//! | [`batches`] | explains offsets at which a reader got no record |
//! | [`state`] | the state file |
//! | [`output`] | where lines go: timestamps, rotation, throttling |
//! | [`gaps`] | how long partitions stood still |
//! | [`verifiable`] | the lines of Kafka's own verifiable clients, as a second opinion |
//! | [`native`] | librdkafka calls that the rdkafka crate does not wrap; unsafe code is only here and in `memory` |
//! | [`context`] | librdkafka's logs and errors |
//! | [`listener`] | what listens at an address that does not answer as a broker |
//! | [`bootstrap`], [`watchdog`] | workarounds for librdkafka losing all brokers, or hanging |
//! | [`memory`] | the clients' own memory use |
//! | [`stop`] | SIGTERM and SIGINT |
//! | [`time`], [`random`], [`sync`] | timestamps, unique numbers, locks |
#![warn(clippy::too_many_lines)]

pub mod batches;
pub mod bootstrap;
pub mod cli;
pub mod consumer;
pub mod context;
pub mod gaps;
pub mod listener;
pub mod memory;
pub mod metadata;
pub mod native;
pub mod offsets;
pub mod output;
pub mod pace;
pub mod probe;
pub mod producer;
pub mod random;
pub mod settings;
pub mod state;
pub mod stop;
pub mod sync;
pub mod time;
pub mod verifiable;
pub mod watchdog;

use std::sync::Arc;

use anyhow::{Context as _, Result};

use cli::{Command, ConsumerArgs, ProducerArgs};
use output::Output;
use stop::Stop;

/// Runs one command and returns its exit code: 0, or 1 if it did not achieve what was requested.
///
/// # Errors
/// If the log file cannot be opened, there is no state to print, or the async runtime or a librdkafka client cannot be
/// created.
pub fn run(command: Command) -> Result<u8> {
    memory::settle_allocator();
    if matches!(command, Command::Producer(_) | Command::Consumer(_)) {
        memory::map_program();
    }
    let mut stop = Stop::listen()?;
    let output = match &command {
        Command::Producer(ProducerArgs { output, .. }) | Command::Consumer(ConsumerArgs { output, .. }) => {
            Output::new(output.effective_format(), output.log_file.as_deref())?
                .with_state_file(output.state_file.as_deref())
                .with_gaps(output.gaps)
        }
        Command::Metadata(_) | Command::Offsets(_) | Command::Probe(_) | Command::State(_) => {
            Output::new(cli::Format::Json, None)?
        }
    };
    let output = Arc::new(output.with_stop(stop.clone()));
    // One thread per core for the partition tasks, but few: the brokers share these cores.
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let flushed = Arc::clone(&output);
    let code = runtime.block_on(async {
        match command {
            // These two still have work to do after a signal.
            Command::Producer(args) => {
                tokio::task::spawn_blocking(move || producer::run(&args, &output, &stop)).await?
            }
            Command::Consumer(args) => consumer::run(args, output, stop).await,
            question => tokio::select! {
                code = answer(question, output) => code,
                () = stop.wait() => Ok(stop::INTERRUPTED),
            },
        }
    });
    // Do not wait for blocking librdkafka calls that still wait for a broker.
    runtime.shutdown_background();
    flushed.flush();
    // If the result could not be written, the command failed.
    Ok(code?.max(u8::from(flushed.broken())))
}

/// Runs one of the queries.
async fn answer(question: Command, output: Arc<Output>) -> Result<u8> {
    match question {
        Command::Metadata(args) => metadata::run(args, &output).await,
        Command::Offsets(args) => tokio::task::spawn_blocking(move || offsets::run(&args, &output)).await?,
        Command::Probe(args) => tokio::task::spawn_blocking(move || probe::run(&args, &output)).await?,
        Command::State(args) => {
            output.line(&state::read(&args.state_file)?);
            Ok(0)
        }
        Command::Producer(_) | Command::Consumer(_) => Ok(0),
    }
}
