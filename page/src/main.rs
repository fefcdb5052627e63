//! Shows a running lab or a recording in a browser. `cargo xtask dashboard`, `replay` and `report` start it.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`film`] | the lines of a running observation, kept for whoever looks |
//! | [`now`] | what holds now, from the lines; pure |
//! | [`metrics`] | the same for Prometheus; pure |
//! | [`recording`] | a recording in a file |
//! | [`assets`] | the page's files, which are part of this program |
//! | [`actions`] | what the page can do to the lab |
//! | [`server`] | serves all that on loopback |
//!
//! What the page draws is decided in `web/`, the same for a running lab, a recording and a report.
#![warn(clippy::too_many_lines)]

mod actions;
mod assets;
mod film;
mod metrics;
mod now;
mod recording;
mod server;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use ledger::cause::in_words;
use observer::args::{SubjectArgs, outlive_file_limit, stop_signal};
use observer::event::Line;
use observer::{output, record};

use crate::actions::{Action, Actions};
use crate::film::Film;
use crate::recording::Recording;
use crate::server::{Server, Show};

/// Shows a running lab or a recording in a browser. `cargo xtask` fills in the lab.
#[derive(Debug, Parser)]
#[command(name = "page", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Observe a running lab and show it.
    Dashboard(DashboardArgs),
    /// Show a recording.
    Replay(ReplayArgs),
    /// Write a recording and the page that shows it as one file.
    Report(ReportArgs),
}

#[derive(Debug, Args)]
struct DashboardArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    serve: ServeArgs,
    /// What the page offers, as a JSON array.
    #[arg(long, default_value = "[]", value_name = "JSON", value_parser = actions)]
    actions: Vec<Vec<Action>>,
    /// Record to this file too, which must not exist yet.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The recording.
    file: PathBuf,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// The recording.
    file: PathBuf,
    /// File to write to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Port on 127.0.0.1; any free one without it.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Program that opens the page's address.
    #[arg(long, value_name = "PROGRAM")]
    open: Option<PathBuf>,
}

fn actions(text: &str) -> Result<Vec<Action>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is nowhere left to report it.
            let _ = writeln!(std::io::stderr(), "error: {}", in_words(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let _outlives = outlive_file_limit()?;
        match command {
            Command::Dashboard(args) => dashboard(args).await,
            Command::Replay(args) => replay(args).await,
            Command::Report(args) => report(&args),
        }
    })
}

async fn dashboard(args: DashboardArgs) -> Result<()> {
    let mut out = args.out.as_deref().map(|path| Ok::<_, anyhow::Error>((output::create(path)?, path))).transpose()?;
    let server = Server::listen(args.serve.port).await?;
    let address = server.address();
    let (film, actions) = (Film::new(), Actions::new(args.actions.into_iter().flatten().collect()));
    let stop = stop_signal()?;
    let (ending, ended) = tokio::sync::watch::channel(false);
    let until = |mut ended: tokio::sync::watch::Receiver<bool>| async move {
        // An error means that it has ended.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let mut take = |line: Line| {
        if let Some((file, path)) = &mut out {
            output::write(file, &line).with_context(|| format!("cannot write {}", path.display()))?;
        }
        film.add(line)
    };
    let observing = record::run(args.subject.into(), &mut take, None, until(ended.clone()));
    let serving = server.serve(Show::Live(film.clone(), actions.clone()), until(ended));
    let ending = async move {
        tell_and_open(&address, args.serve.open.as_deref());
        stop.await;
        if let Some(line) = actions.running() {
            tell(&format!("page: waiting until `{line}` has ended; Ctrl-C again leaves it to itself"));
            let again = stop_signal()?;
            tokio::select! {
                () = actions.end() => {}
                () = again => {}
            }
        }
        ending.send_replace(true);
        Ok(())
    };
    tokio::try_join!(observing, serving, ending).map(|_| ())
}

async fn replay(args: ReplayArgs) -> Result<()> {
    let recording = recording::read(&args.file)?;
    let server = Server::listen(args.serve.port).await?;
    tell(&described(&args.file, &recording));
    tell_and_open(&server.address(), args.serve.open.as_deref());
    server.serve(Show::Replay(Arc::from(recording.text)), stop_signal()?).await
}

fn report(args: &ReportArgs) -> Result<()> {
    let recording = recording::read(&args.file)?;
    let page = assets::report(&recording.text);
    let shown = args.out.display();
    // A FIFO or a device in its place would not be replaced by a report, but swallow it.
    if std::fs::metadata(&args.out).is_ok_and(|meta| !meta.is_file()) {
        bail!("{shown} is not a regular file: give --out another name");
    }
    std::fs::write(&args.out, &page).map_err(|error| anyhow!("cannot write {shown}: {}", in_words(error)))?;
    tell(&described(&args.file, &recording));
    tell(&format!("page: {shown} has {} kB; any browser opens it, without a network", page.len().div_ceil(1000)));
    Ok(())
}

/// Says what is in a recording.
fn described(file: &Path, recording: &Recording) -> String {
    let seconds = recording.length_ms / 1000;
    let cut = if recording.whole { "" } else { "; it was cut short" };
    format!("page: {} shows {seconds} s of lab {} in {} lines{cut}", file.display(), recording.lab, recording.lines)
}

/// Prints the address, and opens it in a browser.
fn tell_and_open(address: &str, program: Option<&Path>) {
    tell(&format!("page: {address}  (until Ctrl-C; only this machine can open it)"));
    let Some(program) = program else { return };
    let mut open = std::process::Command::new(program);
    open.arg(address).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    if let Err(error) = open.stderr(std::process::Stdio::null()).spawn() {
        tell(&format!("page: cannot open a browser: {}: {}", program.display(), in_words(error)));
    }
}

/// Prints a line for people. A write error is ignored: there is nowhere left to report it.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
