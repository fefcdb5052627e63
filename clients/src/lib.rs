//! The clients of the Kafka lab: a producer, a consumer, and three small tools that ask brokers questions.
//!
//! The binary is reached as a process. People read its dated text lines; programs ask for `--format json` and read the lines that begin
//! `{"schema":`, documented field by field in [`ledger::lines`]. What can be thought about without Kafka is in the crate [`ledger`], which
//! xtask links too.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`cli`] | arguments and environment to typed values |
//! | [`settings`] | typed values to librdkafka settings, each with its reason |
//! | [`producer`], [`consumer`] | the two long-running clients |
//! | [`pace`] | when the next message is due, and which partition takes it |
//! | [`metadata`], [`offsets`], [`probe`] | the questions |
//! | [`batches`] | what the offsets are at which a reader was shown no record |
//! | [`state`] | the last line of a client in a file |
//! | [`output`] | where lines go, dated, rotated, throttled |
//! | [`verifiable`] | the lines of Kafka's own verifiable clients, as a second opinion |
//! | [`native`] | the few calls of librdkafka that the rdkafka crate does not wrap; unsafe code is here and in `memory` only |
//! | [`memory`] | what the clients do about their own memory |
//! | [`stop`] | SIGTERM and SIGINT |
//! | [`time`], [`random`], [`sync`] | the time of day, numbers that no other client draws, locks |
#![warn(clippy::too_many_lines)]

pub mod batches;
pub mod bootstrap;
pub mod cli;
pub mod consumer;
pub mod context;
pub mod gaps;
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

/// Runs one command to its end and returns the exit code: 0, or 1 when what it was asked for did not come about.
///
/// # Errors
/// When the log file cannot be opened, there is no state to print, or the async runtime or a librdkafka client cannot be created.
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
    // One thread per core for the partition tasks, but never many: they share their cores with the brokers.
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let flushed = Arc::clone(&output);
    let code = runtime.block_on(async {
        match command {
            // These two have something to do after a signal.
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
    // Blocking calls into librdkafka that are still waiting for a broker must not keep the process.
    runtime.shutdown_background();
    flushed.flush();
    // Whatever it was asked for did not come about when it could not say so.
    Ok(code?.max(u8::from(flushed.broken())))
}

/// Answers one of the questions.
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
