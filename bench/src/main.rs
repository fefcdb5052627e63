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
mod scale;
mod stats;
mod stop;
mod sweep;
mod table;
mod topics;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;

use cli::{Cli, Command, Format, OutputArgs, RunArgs, ScaleArgs};
use measure::Order;
use process::{Variables, run, words};
use result::{BENCH, Bench, RegimeName};
use scale::{Chosen, SCALE, Scale};
use stop::{Interrupted, Stop};
use sweep::Maker;

/// Plots of docs/performance.md, seen from there.
const PLOTS: &str = "plots";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Peer(args)) => rust_peer::run(args).map(|()| true),
        Some(Command::Scale(args)) => scale(args),
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
    let repo = repo()?;
    let old = args.compare.as_deref().map(earlier).transpose()?;
    let found = match &args.from {
        Some(file) => earlier(file)?,
        None => measured(args, repo)?,
    };
    save(&found, &args.output, plot::all)?;
    if args.write_docs {
        let page = repo.join("docs/performance.md");
        let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        write(&page, &docs::replaced(&text, &docs::section(&found, PLOTS))?)?;
        draw(plot::all(&found), &repo.join("docs").join(PLOTS))?;
    }
    show(&found, args.output.format, report::text)?;
    if let Some(old) = old {
        let (table, remarks) = compare::compare(&old, &found);
        // The result alone is what `--format json` promises.
        let text = format!(
            "\nsince {}:\n{}{}",
            old.commit,
            table.text(),
            remarks.iter().map(|r| format!("\n{r}\n")).collect::<String>()
        );
        match args.output.format {
            Format::Json => eprint!("{text}"),
            Format::Text => print!("{text}"),
        }
    }
    Ok(found.regimes.iter().all(|regime| regime.failed.is_empty()))
}

/// Goes through the sweeps or reads a result, and shows it. Returns whether no work failed.
fn scale(args: &ScaleArgs) -> Result<bool> {
    let found = match &args.from {
        Some(file) => read(file, "bench scale", SCALE, |found: &Scale| &found.schema)?,
        None => swept(args)?,
    };
    save(&found, &args.output, scale::plots)?;
    show(&found, args.output.format, scale::text)?;
    Ok(found.sweeps.iter().flat_map(|swept| &swept.problems).all(|problem| !problem.failed))
}

fn swept(args: &ScaleArgs) -> Result<Scale> {
    let (repo, stop) = (repo()?, listen()?);
    let (time_ms, machine, commit) = (now_ms(), machine::describe(), commit(repo, &stop));
    let chosen = if args.sweep.is_empty() { Chosen::all() } else { args.sweep.clone() };
    let sweeps = sweep::run(&chosen, args.rounds, &Maker { xtask: xtask(repo), repo, stop: &stop })?;
    Ok(Scale { schema: SCALE.into(), time_ms, commit, machine, sweeps })
}

fn repo() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this crate is in no folder")
}

fn listen() -> Result<Stop> {
    anyhow::ensure!(cfg!(target_os = "linux"), "the benchmark reads /proc, which Linux has");
    Ok(Stop::listen()?)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The command that brings up labs: the xtask that started us, or a new one.
fn xtask(repo: &Path) -> Vec<String> {
    match std::env::var("KAFKA_LAB_XTASK") {
        Ok(program) => vec![program],
        Err(_) => {
            let manifest = repo.join("Cargo.toml").display().to_string();
            words(&["cargo", "run", "--quiet", "--manifest-path", &manifest, "--package", "xtask", "--"])
        }
    }
}

fn measured(args: &RunArgs, repo: &Path) -> Result<Bench> {
    let stop = listen()?;
    let time_ms = now_ms();
    let machine = machine::describe();
    let commit = commit(repo, &stop);
    let size = usize::try_from(args.size)?;
    let limits = if args.no_limits { Vec::new() } else { limits::measure(size, &stop)? };
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
        measure::regime(*name, &order, &xtask(repo), repo, &stop)
    };
    let regimes = args.regime.iter().map(regime).collect::<Result<_>>()?;
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

fn earlier(file: &Path) -> Result<Bench> {
    read(file, "bench", BENCH, |found: &Bench| &found.schema)
}

/// Reads a result that `cargo xtask COMMAND --out` wrote.
fn read<T: DeserializeOwned>(file: &Path, command: &str, reads: &str, schema: fn(&T) -> &String) -> Result<T> {
    anyhow::ensure!(!file.exists() || file.is_file(), "{} is not a regular file", file.display());
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found: T = serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of `cargo xtask {command} --out`", file.display()))?;
    let (file, schema) = (file.display(), schema(&found));
    anyhow::ensure!(schema == reads, "{file} has schema {schema}, and this program reads {reads}");
    Ok(found)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Writes a result and its plots where the flags say.
fn save<T: Serialize>(found: &T, output: &OutputArgs, plots: fn(&T) -> Vec<(String, String)>) -> Result<()> {
    if let Some(file) = &output.out {
        write(file, &(serde_json::to_string_pretty(found)? + "\n"))?;
    }
    match &output.svg {
        Some(folder) => draw(plots(found), folder),
        None => Ok(()),
    }
}

/// Prints a result.
fn show<T: Serialize>(found: &T, format: Format, text: fn(&T) -> String) -> Result<()> {
    match format {
        Format::Json => println!("{}", serde_json::to_string(found)?),
        Format::Text => print!("{}", text(found)),
    }
    Ok(())
}

fn draw(plots: Vec<(String, String)>, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, svg) in plots {
        let file: PathBuf = folder.join(name);
        write(&file, &svg)?;
    }
    Ok(())
}
