//! Every problem of this machine, found before anything is touched, each with the command that fixes it.

pub mod kind;
mod local;

use std::path::Path;

use crate::backend::Backend;
use crate::config::Lab;
use crate::failure::{Exit, Failure, Result};
use crate::files::private_dir;
use crate::system::lack_of_space;
use crate::task::{Outcome, Task};

/// Something this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it, when no package helps.
    pub fix: Option<String>,
    /// Debian packages that fix it.
    pub packages: Vec<&'static str>,
    /// Whether building kind and kubectl fixes it.
    pub programs: bool,
}

/// What preflight found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What stands in the way.
    pub problems: Vec<Problem>,
    /// Worth knowing.
    pub warnings: Vec<String>,
    /// What is fine.
    pub notes: Vec<String>,
}

impl Findings {
    fn problem(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.problems.push(Problem { what: what.into(), fix: Some(fix.into()), packages: Vec::new(), programs: false });
    }

    fn package(&mut self, what: impl Into<String>, packages: &[&'static str]) {
        self.problems.push(Problem { what: what.into(), fix: None, packages: packages.to_vec(), programs: false });
    }

    /// Whether building kind and kubectl would fix something.
    pub fn programs(&self) -> bool {
        self.problems.iter().any(|problem| problem.programs)
    }

    /// All packages that would fix something, each once.
    pub fn packages(&self) -> Vec<&'static str> {
        let mut packages: Vec<_> = self.problems.iter().flat_map(|problem| problem.packages.iter().copied()).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }
}

/// The line that installs `packages` on Debian and its kin; for other systems than Linux, what to look for there.
pub fn install_line(packages: &[&str]) -> String {
    if cfg!(target_os = "linux") {
        format!("apt-get install -y --no-install-recommends {}", packages.join(" "))
    } else {
        format!("install what Debian calls {}, as with Homebrew or Xcode's command line tools", packages.join(", "))
    }
}

/// What preflight would look at.
pub fn preview(lab: &Lab) -> Vec<String> {
    match lab.backend {
        Backend::Local => local::preview(lab),
        Backend::Kind => kind::preview(lab),
    }
}

/// Looks at everything.
///
/// # Errors
/// All problems at once, exit code 3.
pub fn run(task: &Task<'_>) -> Result<Outcome> {
    let findings = look(task)?;
    if findings.problems.is_empty() {
        let mut outcome = Outcome::passed(findings.notes.join(", "));
        outcome.warnings = findings.warnings;
        return Ok(outcome);
    }
    let lines: Vec<String> = findings
        .problems
        .iter()
        .map(|problem| match &problem.fix {
            Some(fix) => format!("\n  - {}\n    fix: {fix}", problem.what),
            None => format!("\n  - {}\n    fix: {}", problem.what, install_line(&problem.packages)),
        })
        .collect();
    let count = findings.problems.len();
    let what = format!(
        "this machine lacks {}:{}",
        if count == 1 { "one thing".into() } else { format!("{count} things") },
        lines.concat()
    );
    let failure = Failure::new(Exit::Preflight, what);
    let packages = findings.packages();
    Err(if packages.is_empty() || !cfg!(target_os = "linux") {
        failure
    } else {
        failure.fix(format!("cargo xtask up --fix, which runs: {}", install_line(&packages)))
    })
}

/// Looks at everything and reports it as data.
///
/// # Errors
/// Only an interruption; whatever else is wrong is a finding.
pub fn look(task: &Task<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    match task.lab().backend {
        Backend::Local => local::look(task, &mut findings)?,
        Backend::Kind => kind::look(task, &mut findings)?,
    }
    buildable(task.lab(), &mut findings);
    Ok(findings)
}

/// librdkafka's own makefiles, which the clients' build runs below cargo's target folder, know no spaces in paths.
fn buildable(lab: &Lab, findings: &mut Findings) {
    let target = &lab.env.target;
    if target.to_string_lossy().contains(char::is_whitespace) && !lab.clients_program().exists() {
        findings.problem(
            format!("librdkafka cannot be built in {}: there is a space in its path", target.display()),
            "move the project, or set CARGO_TARGET_DIR to a folder without one",
        );
    }
}

/// The folders that we write to can be written.
fn writable(lab: &Lab, findings: &mut Findings) {
    for (what, dir, variable) in [("state", &lab.state, "XDG_STATE_HOME"), ("cache", &lab.env.cache, "XDG_CACHE_HOME")]
    {
        let (probe, existed) = (dir.join(".writable"), dir.exists());
        let result = private_dir(dir).and_then(|()| {
            std::fs::write(&probe, "x")
                .map_err(|error| Failure::step(format!("cannot write in {}: {error}", dir.display())))
        });
        let _ = std::fs::remove_file(&probe);
        if !existed {
            let _ = std::fs::remove_dir(dir);
        }
        if let Err(failure) = result {
            findings.problem(
                format!("the {what} folder: {}", failure.what),
                format!("make it writable, or set {variable} to a folder that is"),
            );
        }
    }
}

/// The name of the lab that a port's holder belongs to, by its mark.
fn lab_of(holder: &str) -> Option<String> {
    let pid: u32 = holder.strip_prefix("pid ")?.split(' ').next()?.parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let dir = line.split('\0').find_map(|arg| arg.strip_prefix("-Dkafka.lab.mark="))?;
    Some(Path::new(dir).parent()?.file_name()?.to_string_lossy().into_owned())
}

fn room(dir: &Path, need: u64, what: &str, findings: &mut Findings) {
    if let Some(lack) = lack_of_space(dir, need, what) {
        findings.problem(lack, "make room, or point XDG_STATE_HOME, XDG_CACHE_HOME or CARGO_TARGET_DIR elsewhere");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_once() {
        let mut findings = Findings::default();
        findings.package("no java", &["openjdk-17-jre-headless"]);
        findings.package("no mvn", &["maven"]);
        findings.package("no java either", &["openjdk-17-jre-headless"]);
        assert_eq!(findings.packages(), ["maven", "openjdk-17-jre-headless"]);
    }
}
