//! `test`: the project's own checks, cheapest first.

use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpgid, getpgrp};

use crate::cli::{Global, TestArgs};
use crate::commands::fix;
use crate::config::Env;
use crate::environment::Purpose;
use crate::exec::{Cmd, Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::junit::{self, Case, CaseEnd, Suite};
use crate::kind::preflight::missing_programs;
use crate::local::process::with_argument;
use crate::show::{print_text, tell};
use crate::signal::Stop;
use crate::state::ImageSource;
use crate::tools::{docker, java};
use crate::wait::{self, Poll};

/// A check.
struct Check {
    title: &'static str,
    runs: Runs,
    /// The program it needs, and the command that installs it.
    needs: Option<(&'static str, &'static [&'static str])>,
    /// The lab it needs.
    lab: TestLab,
}

/// What a check runs.
enum Runs {
    /// cargo with these arguments.
    Cargo(&'static [&'static str]),
    /// Groups of modules of the integration tests, with a feature. The groups run one after another: those whose
    /// figures depend on the machine have it to themselves.
    Modules { feature: &'static str, groups: &'static [&'static [&'static str]], args: &'static [&'static str] },
}

/// The lab that a check needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TestLab {
    /// No lab.
    None,
    /// A lab of processes.
    Local,
    /// A lab of processes, Node.js and a browser.
    Browser,
    /// A Docker engine and images from packages.
    Kind,
}

/// How a check ended.
enum Ended {
    Passed,
    /// With what failed.
    Failed(String),
    /// With the reason.
    Skipped(String),
}

/// The target for which xtask is compiled if Rust's standard library for it is installed.
const MACOS: &str = "aarch64-apple-darwin";

const CHECKS: &[Check] = &[
    Check {
        title: "format",
        runs: Runs::Cargo(&["fmt", "--all", "--check"]),
        needs: Some(("cargo-fmt", &["rustup", "component", "add", "rustfmt"])),
        lab: TestLab::None,
    },
    Check {
        title: "clippy",
        runs: Runs::Cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "xtask/lab,xtask/kind,xtask/browser",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
        needs: Some(("cargo-clippy", &["rustup", "component", "add", "clippy"])),
        lab: TestLab::None,
    },
    Check {
        title: "macOS",
        runs: Runs::Cargo(&["clippy", "--package", "xtask", "--target", MACOS, "--locked", "--", "-D", "warnings"]),
        needs: Some(("cargo-clippy", &["rustup", "component", "add", "clippy"])),
        lab: TestLab::None,
    },
    Check {
        title: "licences",
        runs: Runs::Cargo(&[
            "deny",
            "--all-features",
            "--locked",
            "--config",
            ".cargo/deny.toml",
            "check",
            "licenses",
            "bans",
            "sources",
        ]),
        needs: Some(("cargo-deny", &["cargo", "install", "--locked", "cargo-deny"])),
        lab: TestLab::None,
    },
    Check {
        title: "advisories",
        runs: Runs::Cargo(&[
            "deny",
            "--all-features",
            "--locked",
            "--config",
            ".cargo/deny.toml",
            "check",
            "--disable-fetch",
            "advisories",
        ]),
        needs: Some(("cargo-deny", &["cargo", "install", "--locked", "cargo-deny"])),
        lab: TestLab::None,
    },
    Check {
        title: "unit and integration tests",
        runs: Runs::Cargo(&["test", "--workspace", "--locked"]),
        needs: None,
        lab: TestLab::None,
    },
    Check {
        title: "the lab, end to end",
        runs: Runs::Modules {
            feature: "lab",
            groups: &[&["bench"], &["lab", "record", "kraft", "delivery"], &["drills"], &["survive", "hostile"]],
            // Each test has its own lab and ports, and mostly waits.
            args: &["--test-threads=3", "--nocapture"],
        },
        needs: None,
        lab: TestLab::Local,
    },
    Check {
        title: "the page, in a browser",
        runs: Runs::Modules { feature: "browser", groups: &[&["page"]], args: &["--nocapture"] },
        needs: None,
        lab: TestLab::Browser,
    },
    Check {
        title: "the lab on kind, end to end",
        runs: Runs::Modules { feature: "kind", groups: &[&["kind"]], args: &["--test-threads=1", "--nocapture"] },
        needs: None,
        lab: TestLab::Kind,
    },
    Check {
        title: "images and registry",
        runs: Runs::Modules { feature: "kind", groups: &[&["contract", "registry"]], args: &[] },
        needs: None,
        lab: TestLab::Kind,
    },
];

impl Runs {
    /// Returns cargo's command lines, in order.
    fn lines(&self) -> Vec<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self {
            Runs::Cargo(args) => vec![words(&[&["cargo"], *args].concat())],
            Runs::Modules { feature, groups, args } => {
                let test =
                    ["cargo", "test", "--package", "xtask", "--locked", "--features", feature, "--test", "it", "--"];
                let line = |group: &&[&str]| {
                    let filters = group.iter().map(|module| format!("{module}::"));
                    words(&test).into_iter().chain(filters).chain(words(args)).collect()
                };
                groups.iter().map(line).collect()
            }
        }
    }
}

impl Check {
    /// Runs its command lines, all of them even if one fails; returns the first exit code that is not 0.
    fn run(&self, env: &Env, stop: &Stop) -> Result<i32> {
        let mut first = 0;
        for words in self.runs.lines() {
            let cmd = building(Cmd::new(&env.cargo, Duration::ZERO).args(&words[1..]).dir(&env.repo));
            tell(&format!("\n── {} ── {cmd}", self.title));
            let code = RealExec.attached(&cmd)?;
            if first == 0 {
                first = code;
            }
            if stop.requested() {
                break;
            }
        }
        Ok(first)
    }

    /// Runs the check, unless this machine cannot. `--fix` first installs the program that it needs.
    fn attempt(&self, args: &TestArgs, env: &Env, engine: bool, stop: &Stop) -> Result<Ended> {
        if self.lab != TestLab::None && args.quick {
            return Ok(Ended::Skipped("left out by --quick".into()));
        }
        if let Some(why) = (self.lab == TestLab::Kind).then(|| no_kind(env, engine)).flatten() {
            return Ok(Ended::Skipped(why));
        }
        if let Some(why) = (self.lab == TestLab::Browser).then(|| no_browser(env)).flatten() {
            return Ok(Ended::Skipped(why));
        }
        if let Some((program, install)) = self.needs
            && env.find(program).is_none()
        {
            let line = install.join(" ");
            if !args.fix {
                return Ok(Ended::Skipped(format!("{program} is not installed; run `{line}`, or use --fix")));
            }
            tell(&format!("--fix runs: {line}"));
            if RealExec.attached(&building(Cmd::new(install[0], Duration::ZERO).args(&install[1..])))? != 0 {
                tell(&format!("✗ {}: `{line}` failed", self.title));
                return Ok(Ended::Failed(format!("`{line}` failed")));
            }
        }
        if self.title == "advisories" && !fetches_advisories(env, stop) {
            return Ok(Ended::Skipped("the advisory database cannot be fetched from here".into()));
        }
        if self.title == "macOS" && !compiles_for(MACOS, stop) {
            let why = format!("Rust's standard library for it is not installed; run `rustup target add {MACOS}`");
            return Ok(Ended::Skipped(why));
        }
        let begin = Instant::now();
        let code = self.run(env, stop)?;
        if stop.requested() {
            wait_for_test_programs()?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        if code != 0 {
            tell(&format!("✗ {} exited with {code} after {seconds:.0} s", self.title));
            return Ok(Ended::Failed(format!("exited with {code}; its output is in the log of this job")));
        }
        tell(&format!("✓ {} {seconds:.0} s", self.title));
        Ok(Ended::Passed)
    }
}

/// Runs all checks, and reports which were skipped and why.
///
/// # Errors
/// A check cannot start, or `--fix` fails.
pub fn run(args: &TestArgs, global: &Global, env: &Env, stop: &Stop) -> Result<Exit> {
    let junit = args.junit.as_deref().filter(|_| !global.dry_run);
    junit::reported(junit, "test", |suite| run_all(args, global, env, stop, suite))
}

fn run_all(args: &TestArgs, global: &Global, env: &Env, stop: &Stop, suite: &mut Suite) -> Result<Exit> {
    if global.dry_run {
        for check in CHECKS.iter().filter(|check| check.lab == TestLab::None || !args.quick) {
            let lines = check.runs.lines().into_iter().map(|words| words.join(" ") + "\n");
            print_text(&format!("# {}\n{}", check.title, lines.collect::<String>()));
        }
        return Ok(Exit::Ok);
    }
    let engine = !args.quick && docker::answers(env, &RealExec, stop);
    if args.fix {
        fix::install(&missing_packages(args.quick, env, engine), env, &RealExec)?;
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, Vec::new());
    if env.find("shellcheck").is_none() {
        skipped.push("shell scripts: shellcheck is not installed; --fix installs it".into());
    }
    for check in CHECKS {
        if stop.requested() {
            return Ok(Exit::Interrupted);
        }
        let begin = Instant::now();
        let end = match check.attempt(args, env, engine, stop)? {
            Ended::Passed => {
                passed += 1;
                CaseEnd::Passed
            }
            Ended::Failed(what) => {
                failed += 1;
                let exit = if stop.signalled() { Exit::Interrupted } else { Exit::Fault };
                CaseEnd::from(&Failure::new(exit, what))
            }
            Ended::Skipped(why) => {
                skipped.push(format!("{}: {why}", check.title));
                CaseEnd::Skipped(why)
            }
        };
        suite.cases.push(Case { name: check.title.into(), time: begin.elapsed(), end, output: String::new() });
    }
    tell("");
    for why in &skipped {
        tell(&format!("skipped: {why}"));
    }
    print_text(&format!("checks: {passed} passed, {failed} failed, {} skipped\n", skipped.len()));
    Ok(match (stop.signalled(), failed) {
        (true, _) => Exit::Interrupted,
        (_, 0) => Exit::Ok,
        _ => Exit::Fault,
    })
}

/// Waits until the test programs of our process group are gone. Ctrl-C ends cargo at once, but the test programs first
/// take down what they created. A second Ctrl-C ends all.
fn wait_for_test_programs() -> Result<()> {
    let folder = std::env::current_exe().ok().and_then(|us| Some(us.parent()?.join("deps/").into_os_string()));
    let ours = |arg: &[u8]| folder.as_ref().is_some_and(|folder| arg.starts_with(folder.as_bytes()));
    let living = || {
        let programs = with_argument(ours);
        let group = |pid| getpgid(Some(Pid::from_raw(i32::try_from(pid).ok()?)?)).ok();
        programs.iter().filter(|program| group(program.pid) == Some(getpgrp())).count()
    };

    wait::until("the tests", Duration::from_secs(300), Duration::from_millis(100), &Stop::default(), &tell, || {
        let left = living();
        Ok(Poll::unless(
            (left > 0).then(|| format!("waiting for {left} test program(s) to take down what they created")),
        ))
    })
}

fn building(cmd: Cmd) -> Cmd {
    cmd.purpose(Purpose::Build)
}

/// Whether cargo-deny can fetch the advisory database. Without it the check would be meaningless.
fn fetches_advisories(env: &Env, stop: &Stop) -> bool {
    let fetch = ["deny", "--config", ".cargo/deny.toml", "fetch", "db"];
    let cmd = building(Cmd::new(&env.cargo, Duration::from_secs(120)).args(fetch).dir(&env.repo));
    RealExec.capture(&cmd, std::path::Path::new("/dev/null"), stop).is_ok_and(|output| output.code == Some(0))
}

/// Whether Rust's standard library for `target` is installed.
fn compiles_for(target: &str, stop: &Stop) -> bool {
    let ask = Cmd::new("rustc", Duration::from_secs(20)).args(["--print", "target-libdir", "--target", target]);
    let answer = RealExec.capture(&building(ask), std::path::Path::new("/dev/null"), stop);
    answer.is_ok_and(|output| std::path::Path::new(output.stdout.trim()).is_dir())
}

/// Returns why the tests on kind cannot run here.
fn no_kind(env: &Env, engine: bool) -> Option<String> {
    if !engine {
        return Some("no Docker engine answers; on Debian, `.ci/engine start` starts one".into());
    }
    if !env.root {
        return Some("only root can build images from packages".into());
    }
    if env.find("go").is_none() {
        return Some("no go on PATH; the images are built with Go 1.24 or newer".into());
    }
    let missing = missing_programs(env, ImageSource::Packages);
    let names: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    (!names.is_empty()).then(|| format!("no {}; --fix installs it", names.join(", ")))
}

/// The programs that the page's tests need, each with the Debian package that has it.
const BROWSER: [(&str, &str); 3] = [("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")];

/// Returns why the page's tests cannot run here.
fn no_browser(env: &Env) -> Option<String> {
    let missing: Vec<&str> =
        BROWSER.iter().map(|(program, _)| *program).filter(|program| env.find(program).is_none()).collect();
    (!missing.is_empty()).then(|| format!("no {}; --fix installs it", missing.join(", ")))
}

/// Returns the Debian packages that the tests need and this machine lacks.
fn missing_packages(quick: bool, env: &Env, engine: bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if !quick {
        let missing = BROWSER.iter().filter(|(program, _)| env.find(program).is_none());
        packages.extend(missing.map(|(_, package)| *package));
    }
    if engine {
        packages.extend(missing_programs(env, ImageSource::Packages).into_iter().map(|(_, package)| package));
    }
    // One test compiles a program that uses Kafka's Java clients.
    if java::locate(env).is_none() || env.find("javac").is_none() {
        packages.push("openjdk-17-jdk-headless");
    }
    if env.find("mvn").is_none() {
        packages.push("maven");
    }
    if ["cc", "c++", "make"].iter().any(|name| env.find(name).is_none()) {
        packages.push("build-essential");
    }
    if env.find("shellcheck").is_none() {
        packages.push("shellcheck");
    }
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_that_needs_a_feature_is_run_with_it_by_a_check() {
        let program: Vec<&str> = include_str!("../../tests/it/main.rs").lines().collect();
        let gated: Vec<_> = program.windows(2).filter(|pair| pair[0].starts_with("#[cfg(feature")).collect();
        assert!(gated.len() > 5, "{gated:?}");
        for pair in gated {
            let (gate, module) = (pair[0], pair[1].trim_start_matches("mod ").trim_end_matches(';'));
            let is_run = |runs: &Runs| match runs {
                Runs::Modules { feature, groups, .. } => {
                    gate == format!("#[cfg(feature = \"{feature}\")]") && groups.concat().contains(&module)
                }
                _ => false,
            };
            assert!(CHECKS.iter().any(|check| is_run(&check.runs)), "no check runs {module}");
        }
    }
}
