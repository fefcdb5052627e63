//! `cargo xtask test`: the project's own checks, in the order of their cost.

use std::time::{Duration, Instant};

use crate::cli::{Global, Test};
use crate::commands::fix;
use crate::config::Env;
use crate::exec::{Cmd, Exec, RealExec};
use crate::failure::{Exit, Result};
use crate::progress::print_text;
use crate::signal::Stop;
use crate::tools::java;

/// One of the checks.
struct Check {
    title: &'static str,
    /// cargo's arguments.
    cargo: &'static [&'static str],
    /// The cargo subcommand or component it needs, and what installs it.
    needs: Option<(&'static str, &'static [&'static str])>,
    /// Whether it needs the real lab.
    lab: bool,
}

const CHECKS: &[Check] = &[
    Check {
        title: "format",
        cargo: &["fmt", "--all", "--check"],
        needs: Some(("cargo-fmt", &["rustup", "component", "add", "rustfmt"])),
        lab: false,
    },
    Check {
        title: "clippy",
        cargo: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "xtask/lab",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        needs: Some(("cargo-clippy", &["rustup", "component", "add", "clippy"])),
        lab: false,
    },
    Check {
        title: "licences",
        cargo: &[
            "deny",
            "--all-features",
            "--locked",
            "--config",
            ".cargo/deny.toml",
            "check",
            "licenses",
            "bans",
            "sources",
        ],
        needs: Some(("cargo-deny", &["cargo", "install", "--locked", "cargo-deny"])),
        lab: false,
    },
    Check {
        title: "advisories",
        cargo: &[
            "deny",
            "--all-features",
            "--locked",
            "--config",
            ".cargo/deny.toml",
            "check",
            "--disable-fetch",
            "advisories",
        ],
        needs: Some(("cargo-deny", &["cargo", "install", "--locked", "cargo-deny"])),
        lab: false,
    },
    Check { title: "unit and integration tests", cargo: &["test", "--workspace", "--locked"], needs: None, lab: false },
    Check {
        title: "the lab, end to end",
        cargo: &[
            "test",
            "--package",
            "xtask",
            "--locked",
            "--features",
            "lab",
            "--test",
            "lab",
            "--",
            "--test-threads=1",
            "--nocapture",
        ],
        needs: None,
        lab: true,
    },
];

/// Runs them all, says what it skipped and why.
///
/// # Errors
/// A check cannot be started, or `--fix` fails.
pub fn run(args: &Test, global: &Global, env: &Env, stop: &Stop) -> Result<Exit> {
    if global.dry_run {
        for check in CHECKS.iter().filter(|check| !(check.lab && args.quick)) {
            print_text(&format!("# {}\ncargo {}\n", check.title, check.cargo.join(" ")));
        }
        return Ok(Exit::Ok);
    }
    if args.fix {
        fix::install(&missing_packages(env), env, &RealExec)?;
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, Vec::new());
    for check in CHECKS {
        if stop.asked() {
            return Ok(Exit::Interrupted);
        }
        if check.lab && args.quick {
            skipped.push(format!("{}: --quick leaves it out", check.title));
            continue;
        }
        if let Some((program, install)) = check.needs
            && env.find(program).is_none()
        {
            let line = install.join(" ");
            if args.fix {
                eprintln!("--fix runs: {line}");
                if RealExec.attached(&cargo_less(Cmd::new(install[0], Duration::ZERO).args(&install[1..]), env))? != 0 {
                    failed += 1;
                    eprintln!("✗ {}: `{line}` failed", check.title);
                    continue;
                }
            } else {
                skipped.push(format!("{}: {program} is not installed; `{line}`, or --fix, does", check.title));
                continue;
            }
        }
        if check.title == "advisories" && !fetches_advisories(env, stop) {
            skipped.push("advisories: the advisory database cannot be fetched from here".into());
            continue;
        }
        let cmd = cargo_less(Cmd::new(&env.cargo, Duration::ZERO).args(check.cargo).dir(&env.repo), env);
        eprintln!("\n── {} ── {cmd}", check.title);
        let begin = Instant::now();
        let code = RealExec.attached(&cmd)?;
        let seconds = begin.elapsed().as_secs_f64();
        if code == 0 {
            passed += 1;
            eprintln!("✓ {} {seconds:.0} s", check.title);
        } else {
            failed += 1;
            eprintln!("✗ {} exited with {code} after {seconds:.0} s", check.title);
        }
    }
    eprintln!();
    for why in &skipped {
        eprintln!("skipped: {why}");
    }
    print_text(&format!("checks: {passed} passed, {failed} failed, {} skipped\n", skipped.len()));
    Ok(match (stop.signalled(), failed) {
        (true, _) => Exit::Interrupted,
        (_, 0) => Exit::Ok,
        _ => Exit::Fault,
    })
}

fn cargo_less(cmd: Cmd, env: &Env) -> Cmd {
    cmd.without_cargo_env(env.cargo_vars.iter().cloned())
}

/// Whether cargo-deny can fetch the database. Without it the check would say nothing about our dependencies.
fn fetches_advisories(env: &Env, stop: &Stop) -> bool {
    let cmd = cargo_less(
        Cmd::new(&env.cargo, Duration::from_secs(120))
            .args(["deny", "--config", ".cargo/deny.toml", "fetch", "db"])
            .dir(&env.repo),
        env,
    );
    RealExec.capture(&cmd, std::path::Path::new("/dev/null"), stop).is_ok_and(|output| output.code == Some(0))
}

/// Debian packages that the tests need and this machine lacks.
fn missing_packages(env: &Env) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if java::locate(env).is_none() {
        packages.push("openjdk-17-jre-headless");
    }
    if env.find("mvn").is_none() {
        packages.push("maven");
    }
    if ["cc", "c++", "make"].iter().any(|name| env.find(name).is_none()) {
        packages.push("build-essential");
    }
    packages
}
