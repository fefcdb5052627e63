//! Records a running lab. `cargo xtask record` starts it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use ledger::cause::in_words;
use observer::args::{SubjectArgs, outlive_file_limit, stop_signal};
use observer::output::{create, write};
use observer::record;

/// Records what the brokers, the clients and the commands of a lab say, as JSON lines, until Ctrl-C. `cargo xtask
/// record` fills in the lab.
#[derive(Debug, Parser)]
#[command(name = "observer", version, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    subject: SubjectArgs,
    /// File to write to, which must not exist yet; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stop after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    duration: Option<u64>,
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
    let end = cli.duration.map(Duration::from_secs);
    let subject = cli.subject.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let _outlives = outlive_file_limit()?;
        let stop = stop_signal()?;
        match &cli.out {
            None => {
                let mut out = std::io::stdout().lock();
                let recorded = record::run(subject, &mut |line| write(&mut out, &line), end, stop).await;
                recorded.context("standard output could not be written")
            }
            Some(path) => {
                let mut file = create(path)?;
                let recorded = record::run(subject, &mut |line| write(&mut file, &line), end, stop).await;
                recorded.with_context(|| format!("cannot write {}", path.display()))
            }
        }
    })
}
