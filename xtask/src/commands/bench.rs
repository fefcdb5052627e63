//! `bench`: builds and starts the benchmark, a program of its own (`bench/`), which knows what xtask does not.

use std::time::Duration;

use crate::cli::{Format, Global, Passthrough};
use crate::config::Env;
use crate::environment::Purpose;
use crate::exec::{Cmd, Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::show::print_text;
use crate::signal::Stop;

/// Builds the clients and the benchmark, and runs it on our terminal; returns its exit code.
///
/// # Errors
/// A flag has no meaning here, or cargo cannot be started.
pub fn run(args: &Passthrough, global: &Global, env: &Env, stop: &Stop) -> Result<i32> {
    if global.name != "kafka-lab" || global.manifests.is_some() {
        let what = "bench brings up labs of its own: --name and --manifests have no meaning";
        return Err(Failure::usage(what).fix("leave them out"));
    }
    let us = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::Unexpected, format!("our own program is not known: {error}")))?;
    // As `up` builds it, and before anything is pinned to a core.
    let build = release(env, "build").args(["--package", "clients"]);
    let bench = release(env, "run").args(["--quiet", "--package", "bench", "--"]).env("KAFKA_LAB_XTASK", us);
    // As it is typed: the first word may be a command of the benchmark.
    let format: &[&str] = if global.format == Format::Json { &["--format", "json"] } else { &[] };
    let bench = bench.args(&args.args).args(format);
    if global.dry_run {
        print_text(&format!("{build}\n{bench}\n"));
        return Ok(0);
    }
    match RealExec.attached(&build)? {
        0 => RealExec.attached_until(&bench, stop),
        failed => Ok(failed),
    }
}

/// A command of cargo about one of the project's other programs, built for speed as `up` builds the clients.
pub(super) fn release(env: &Env, command: &str) -> Cmd {
    let cargo = Cmd::new(&env.cargo, Duration::ZERO).args([command, "--release", "--locked", "--target-dir"]);
    cargo.arg(&env.target).purpose(Purpose::Build).dir(&env.repo)
}
