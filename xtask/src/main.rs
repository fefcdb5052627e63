//! `cargo xtask`: brings up a real multi-broker Kafka lab, proves that it works, and removes it.
//!
//! Data flows one way: the command line ([`cli`]) becomes a [`config::Lab`], then a list of steps ([`plan`]), which
//! [`run`] runs and [`report`] prints. docs/architecture.md is the map.

// `print!` and its kin panic where an output cannot be written; show.rs prints.
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![warn(clippy::too_many_lines)]

mod account;
mod backend;
mod brokers;
mod cli;
mod commands;
mod config;
mod coordination;
mod drill;
mod drivers;
mod environment;
mod events;
mod exec;
mod failure;
mod files;
mod findings;
#[cfg(test)]
mod fuzz;
mod journal;
#[cfg(test)]
mod json_lines;
mod junit;
mod k8s;
mod kafka_tools;
mod kind;
mod local;
mod lock;
mod plan;
mod report;
mod run;
mod service;
mod sha256;
mod show;
mod signal;
mod state;
mod step;
mod steps;
mod system;
mod task;
mod tools;
mod wait;
mod words;

use std::process::ExitCode;

use clap::Parser;
use ledger::cause::in_words;

use cli::{Cli, Command, Format};
use commands::session::Session;
use failure::{Exit, Failure, Result};
use kafka_tools::Tool;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version are output too.
        Err(error) => {
            let written = error.print();
            let code = if written.is_ok() { error.exit_code() } else { Exit::Unexpected as i32 };
            return ExitCode::from(u8::try_from(code).unwrap_or(1));
        }
    };
    let code = match dispatch(&cli) {
        Ok(code) => code,
        Err(failure) => {
            let colour = config::Env::read().is_ok_and(|env| env.colour);
            match cli.global.format {
                Format::Json => report::json_failure(name(&cli.command), &failure),
                Format::Text => show::print_failure(&failure, colour),
            }
            failure.exit as i32
        }
    };
    // What was asked for was done, but nobody knows how it went.
    let code = if code == 0 && show::lost_output() {
        show::tell("error: standard output could not be written");
        1
    } else {
        code
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn dispatch(cli: &Cli) -> Result<i32> {
    startable()?;
    let stop = signal::Stop::listen(leave_all_as_it_was)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("cannot handle signals: {}", in_words(error))))?;
    let env = config::Env::read()?;
    let session = Session { global: &cli.global, env: &env, stop: &stop };
    let exit = match &cli.command {
        Command::Up(up) => session.up(up)?,
        Command::Verify(verify) => session.verify(verify)?,
        Command::Teardown(teardown) => session.teardown(teardown)?,
        Command::Status(status) => session.status(status)?,
        Command::Doctor(doctor) => session.doctor(doctor)?,
        Command::Logs(logs) => session.logs(logs)?,
        Command::Clients { command } => session.clients(command)?,
        Command::Drill(args) => session.drill(args)?,
        Command::Render(args) => session.render(args)?,
        Command::Kubectl(args) => return session.kubectl(args),
        Command::Kafka { tool, args } => return session.kafka(tool.as_deref(), args),
        Command::KafkaTopics(args) => return session.kafka(Some(Tool::TOPICS.name), args),
        Command::ZookeeperShell(args) => return session.kafka(Some(Tool::ZOOKEEPER_SHELL.name), args),
        Command::Record(args) => return session.record(args),
        Command::Dashboard(args) => return session.dashboard(args),
        Command::Replay(args) => return session.replay(args),
        Command::Report(args) => return session.report(args),
        Command::Bench(args) => return commands::bench::run(args, &cli.global, &env, &stop),
        Command::Completions(args) => commands::complete::script(args)?,
        Command::Complete(args) => commands::complete::run(args, &cli.global, &env, &stop),
        Command::Test(test) => commands::test::run(test, &cli.global, &env, &stop)?,
    };
    Ok(exit as i32)
}

/// The last act of a command that a second signal ends.
fn leave_all_as_it_was() {
    local::process::resume_paused();
    show::screen::leave();
}

/// Fails where nothing can work: what is started inherits the current folder, and steps run in threads.
fn startable() -> Result<()> {
    if let Err(error) = std::env::current_dir() {
        let (what, fix) = match error.kind() {
            std::io::ErrorKind::NotFound => {
                ("it is gone: somebody deleted or moved it".into(), "`cd` to a folder that exists")
            }
            _ => (in_words(error), "`cd` to a folder that you may read"),
        };
        let what = format!("the current folder cannot be used: {what}");
        return Err(Failure::new(Exit::Preflight, what).fix(format!("{fix}, then rerun")));
    }
    if let Err(error) = std::thread::Builder::new().spawn(|| {}) {
        let why = in_words(error);
        let failure = Failure::new(Exit::Preflight, format!("cannot start a thread: {why}"));
        return Err(failure.fix(words::advice(&why).unwrap_or("end other programs, then rerun")));
    }
    Ok(())
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Up(_) => "up",
        Command::Verify(_) => "verify",
        Command::Teardown(_) => "teardown",
        Command::Status(_) => "status",
        Command::Doctor(_) => "doctor",
        Command::Logs(_) => "logs",
        Command::Clients { .. } => "clients",
        Command::Drill(_) => "drill",
        Command::Render(_) => "render",
        Command::Kubectl(_) => "kubectl",
        Command::Kafka { .. } => "kafka",
        Command::KafkaTopics(_) => "kafka-topics",
        Command::ZookeeperShell(_) => "zookeeper-shell",
        Command::Record(_) => "record",
        Command::Dashboard(_) => "dashboard",
        Command::Replay(_) => "replay",
        Command::Report(_) => "report",
        Command::Bench(_) => "bench",
        Command::Completions(_) => "completions",
        Command::Complete(_) => "complete",
        Command::Test(_) => "test",
    }
}
