//! `cargo xtask bench`: measures the lab's clients beside other clients of Kafka, on one lab and in the same run.

mod cli;
mod compare;
mod docs;
mod lab;
mod latency;
mod limits;
mod machine;
mod measure;
mod peers;
mod plot;
mod process;
mod programs;
mod report;
mod result;
mod rust_peer;
mod stats;
mod stop;
mod table;
mod topics;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Cli, Format, Hidden, RunArgs};
use measure::Order;
use process::{Variables, run, words};
use result::{BENCH, Bench, RegimeName};
use stop::{Interrupted, Stop};

/// Plots of docs/performance.md, seen from there.
const PLOTS: &str = "plots";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Hidden::Peer(args)) => rust_peer::run(args).map(|()| true),
        None => bench(&cli.run),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // As xtask: a fault was found, and the result says so.
        Ok(false) => ExitCode::from(5),
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("bench: interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(4)
        }
    }
}

/// Measures or reads a result, and shows it. Returns whether no client failed.
fn bench(args: &RunArgs) -> Result<bool> {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this crate is in no folder")?;
    let old = args.compare.as_deref().map(read).transpose()?;
    let found = match &args.from {
        Some(file) => read(file)?,
        None => measured(args, repo)?,
    };
    if let Some(file) = &args.out {
        write(file, &(serde_json::to_string_pretty(&found)? + "\n"))?;
    }
    if let Some(folder) = &args.svg {
        draw(&found, folder)?;
    }
    if args.write_docs {
        let page = repo.join("docs/performance.md");
        let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        write(&page, &docs::replaced(&text, &docs::section(&found, PLOTS))?)?;
        draw(&found, &repo.join("docs").join(PLOTS))?;
    }
    match args.format {
        Format::Json => println!("{}", serde_json::to_string(&found)?),
        Format::Text => print!("{}", report::text(&found)),
    }
    if let Some(old) = old {
        let (table, remarks) = compare::compare(&old, &found);
        // The result alone is what `--format json` promises.
        let text = format!(
            "\nsince {}:\n{}{}",
            old.commit,
            table.text(),
            remarks.iter().map(|r| format!("\n{r}\n")).collect::<String>()
        );
        match args.format {
            Format::Json => eprint!("{text}"),
            Format::Text => print!("{text}"),
        }
    }
    Ok(found.regimes.iter().all(|regime| regime.failed.is_empty()))
}

fn measured(args: &RunArgs, repo: &Path) -> Result<Bench> {
    anyhow::ensure!(cfg!(target_os = "linux"), "the benchmark reads /proc, which Linux has");
    let stop = Stop::listen()?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let machine = machine::describe();
    let commit = commit(repo, &stop);
    let size = usize::try_from(args.size)?;
    let limits = if args.no_limits { Vec::new() } else { limits::measure(size, &stop)? };
    let xtask = match &args.xtask {
        Some(program) => vec![program.clone()],
        None => {
            let manifest = repo.join("Cargo.toml").display().to_string();
            words(&["cargo", "run", "--quiet", "--manifest-path", &manifest, "--package", "xtask", "--"])
        }
    };
    let regime = |name: &RegimeName| {
        let order = Order {
            families: args.families(),
            roles: args.roles(*name),
            rounds: args.rounds,
            messages: args.messages,
            size,
            partitions: args.partitions,
            rate: args.rate.into(),
            latency_seconds: args.latency_seconds.into(),
        };
        measure::regime(*name, &order, &xtask, repo, &stop)
    };
    let regimes = args.regime.iter().map(regime).collect::<Result<_>>()?;
    let time_ms = u64::try_from(time.as_millis())?;
    Ok(Bench { schema: BENCH.into(), time_ms, commit, machine, limits, regimes })
}

/// The commit, with `+` if files differ from it.
fn commit(repo: &Path, stop: &Stop) -> String {
    let repo = repo.display().to_string();
    let git = |args: &[&str]| {
        let argv = words(&[&["git", "-C", &repo], args].concat());
        run(&argv, Variables::Few, Duration::from_secs(30), stop).map(|ran| ran.stdout)
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|_| "unknown".into());
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|said| !said.is_empty());
    format!("{}{}", commit.trim(), if changed { "+" } else { "" })
}

fn read(file: &Path) -> Result<Bench> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found: Bench = serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of `cargo xtask bench --out`", file.display()))?;
    anyhow::ensure!(
        found.schema == BENCH,
        "{} has schema {}, and this program reads {BENCH}",
        file.display(),
        found.schema
    );
    Ok(found)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn draw(bench: &Bench, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, svg) in plot::all(bench) {
        let file: PathBuf = folder.join(name);
        write(&file, &svg)?;
    }
    Ok(())
}
