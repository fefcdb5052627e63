//! The findings of preflight: problems with their fixes, warnings and notes.

use std::path::Path;

use ledger::cause::in_words;

use crate::config::{Env, Lab};
use crate::failure::IoContext;
use crate::files::private_dir;
use crate::system::{MIB, lack_of_space};

/// Something this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The problem.
    pub what: String,
    /// The fix, if it is not a package.
    pub fix: Option<String>,
    /// Debian packages that fix it.
    pub packages: Vec<&'static str>,
    /// Whether building kind and kubectl fixes it.
    pub programs: bool,
}

/// The command that builds kind and kubectl, in the project's folder.
pub const BUILD_PROGRAMS: &str = "manifests/images/node/build kind kubectl";

impl Problem {
    /// Returns the commands that fix it; none if the fix is no command, or this system has no apt-get.
    pub fn commands(&self, env: &Env) -> Vec<String> {
        let own = self.fix.as_deref().filter(|fix| fix.starts_with("sysctl -w ")).map(|fix| as_root(fix, env));
        let packages = (!self.packages.is_empty() && has_apt(env)).then(|| as_root(&install_line(&self.packages), env));
        let programs = self.programs.then(|| BUILD_PROGRAMS.to_string());
        packages.into_iter().chain(own).chain(programs).collect()
    }

    /// Returns the fix: a command to paste where there is one.
    pub fn advice(&self, env: &Env) -> String {
        match (&self.fix, &self.commands(env)[..]) {
            (Some(fix), _) => fix.clone(),
            (None, [command, ..]) => command.clone(),
            (None, []) => {
                let packages = self.packages.join(", ");
                format!("install your system's equivalent of what Debian calls {packages}")
            }
        }
    }
}

/// Whether packages can be installed with apt-get.
fn has_apt(env: &Env) -> bool {
    cfg!(target_os = "linux") && env.find("apt-get").is_some()
}

/// Returns a command line that runs as root.
pub fn as_root(line: &str, env: &Env) -> String {
    if env.root { line.into() } else { format!("sudo {line}") }
}

/// The command that `--fix` and `doctor` put before the installation of packages.
pub const UPDATE: &str = "apt-get update";

/// The result of preflight.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Problems, which stop `up`.
    pub problems: Vec<Problem>,
    /// Warnings, which do not.
    pub warnings: Vec<String>,
    /// What was found to be fine, and is worth a word in the line of preflight.
    pub notes: Vec<String>,
    /// What was found to be fine too.
    pub fine: Vec<String>,
    /// What could not be asked, with the reason.
    pub not_asked: Vec<String>,
    /// Whether nothing may be changed, not even to try: no file is written, no image is pulled.
    pub look_only: bool,
}

impl Findings {
    /// Adds a problem that no package fixes.
    pub fn problem(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.problems.push(Problem { what: what.into(), fix: Some(fix.into()), packages: Vec::new(), programs: false });
    }

    /// Adds a problem that Debian packages fix.
    pub fn package(&mut self, what: impl Into<String>, packages: &[&'static str]) {
        self.problems.push(Problem { what: what.into(), fix: None, packages: packages.to_vec(), programs: false });
    }

    /// Returns the commands that fix problems, each once: first all packages together.
    pub fn commands(&self, env: &Env) -> Vec<String> {
        let packages = self.packages();
        let mut commands = Vec::new();
        if !packages.is_empty() && has_apt(env) {
            commands.extend([UPDATE, &install_line(&packages)].map(|line| as_root(line, env)));
        }
        let others = self.problems.iter().filter(|problem| problem.packages.is_empty());
        for command in others.flat_map(|problem| problem.commands(env)) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
        commands
    }

    /// Whether building kind and kubectl fixes a problem.
    pub fn programs(&self) -> bool {
        self.problems.iter().any(|problem| problem.programs)
    }

    /// Returns what is missing in a few words each: the packages, then the problems that no package fixes.
    pub fn lacks(&self) -> Vec<&str> {
        let others = self.problems.iter().filter(|problem| problem.packages.is_empty());
        self.packages().into_iter().chain(others.map(|problem| problem.what.as_str())).collect()
    }

    /// How much is missing, to compare two backends: first what no package fixes.
    pub fn weight(&self) -> (usize, usize) {
        let packages = self.packages().len();
        (self.lacks().len() - packages, packages)
    }

    /// Returns all packages that fix a problem, without duplicates.
    pub fn packages(&self) -> Vec<&'static str> {
        let mut packages: Vec<_> = self.problems.iter().flat_map(|problem| problem.packages.iter().copied()).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }
}

/// Returns the command that installs `packages` with apt. On other systems than Linux it names their counterparts.
pub fn install_line(packages: &[&str]) -> String {
    if cfg!(target_os = "linux") {
        format!("apt-get install -y --no-install-recommends {}", packages.join(" "))
    } else {
        format!(
            "install what Debian calls {}, for example with Homebrew or Xcode's command line tools",
            packages.join(", ")
        )
    }
}

/// Adds a problem for each folder that is not writable.
pub fn writable(lab: &Lab, findings: &mut Findings) {
    for (what, dir, variable) in [("state", &lab.state, "XDG_STATE_HOME"), ("cache", &lab.env.cache, "XDG_CACHE_HOME")]
    {
        if findings.look_only {
            let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(dir);
            match rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
                Ok(()) => findings.fine.push(format!("the {what} folder {} can be written", dir.display())),
                Err(error) => findings.problem(
                    format!("the {what} folder: cannot write in {}: {}", there.display(), in_words(error)),
                    format!("make it writable, or set {variable} to a folder that is"),
                ),
            }
            continue;
        }
        let (probe, existed) = (dir.join(".writable"), dir.exists());
        let result = private_dir(dir).and_then(|()| std::fs::write(&probe, "x").cannot("write in", dir));
        let _ = std::fs::remove_file(&probe);
        if !existed {
            let _ = std::fs::remove_dir(dir);
        }
        if let Err(failure) = result {
            findings.problem(
                format!("the {what} folder: {}", failure.message),
                failure.fix.unwrap_or_else(|| format!("make it writable, or set {variable} to a folder that is")),
            );
        }
    }
}

/// Checks for the compilers of librdkafka, unless the clients are already built.
pub fn compilers(lab: &Lab, findings: &mut Findings) {
    let missing: Vec<&str> =
        ["cc", "c++", "make", "bash"].into_iter().filter(|name| lab.env.find(name).is_none()).collect();
    if missing.is_empty() {
        findings.fine.push("cc, c++, make and bash, which compile librdkafka".into());
    } else if lab.clients_program().exists() {
        findings.fine.push("the clients' program is built".into());
    } else {
        findings.package(
            format!("no {} on PATH: librdkafka, which the clients use, is compiled with them", missing.join(", ")),
            &["build-essential", "bash"],
        );
    }
}

/// Returns the name of the lab that a port's holder belongs to, by its mark.
pub fn lab_of(holder: &str) -> Option<String> {
    let pid: u32 = holder.strip_prefix("pid ")?.split(' ').next()?.parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let dir = line.split('\0').find_map(|arg| arg.strip_prefix("-Dkafka.lab.mark="))?;
    Some(Path::new(dir).parent()?.file_name()?.to_string_lossy().into_owned())
}

/// Adds a problem if the disk of `dir` has fewer than the `need` bytes for `what`.
pub fn room(dir: &Path, need: u64, what: &str, findings: &mut Findings) {
    match lack_of_space(dir, need, what) {
        Some(lack) => findings.problem(
            lack,
            "free disk space, or set XDG_STATE_HOME, XDG_CACHE_HOME or CARGO_TARGET_DIR to another disk",
        ),
        None => findings.fine.push(format!("{} MiB of disk for {what}", need / MIB)),
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
        findings.problem("no kind on PATH", "install it");
        assert_eq!(findings.lacks(), ["maven", "openjdk-17-jre-headless", "no kind on PATH"]);
        assert_eq!(findings.weight(), (1, 2));
    }
}
