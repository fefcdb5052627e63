//! The findings of preflight: problems with their fixes, warnings and notes.

use std::path::Path;

use crate::config::Lab;
use crate::failure::IoContext;
use crate::files::private_dir;
use crate::system::lack_of_space;

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

/// The result of preflight.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Problems, which stop `up`.
    pub problems: Vec<Problem>,
    /// Warnings, which do not.
    pub warnings: Vec<String>,
    /// What was found to be fine.
    pub notes: Vec<String>,
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
    if !missing.is_empty() && !lab.clients_program().exists() {
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
    if let Some(lack) = lack_of_space(dir, need, what) {
        findings.problem(
            lack,
            "free disk space, or set XDG_STATE_HOME, XDG_CACHE_HOME or CARGO_TARGET_DIR to another disk",
        );
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
