//! What preflight finds: what this machine lacks, each with what to do about it.

use std::path::Path;

use crate::config::Lab;
use crate::failure::Failure;
use crate::files::private_dir;
use crate::system::lack_of_space;

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
    /// Adds a problem that no package fixes.
    pub fn problem(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.problems.push(Problem { what: what.into(), fix: Some(fix.into()), packages: Vec::new(), programs: false });
    }

    /// Adds a problem that Debian packages fix.
    pub fn package(&mut self, what: impl Into<String>, packages: &[&'static str]) {
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

/// The folders that we write to can be written.
pub fn writable(lab: &Lab, findings: &mut Findings) {
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

/// The name of the lab that a port's holder belongs to, by its mark.
pub fn lab_of(holder: &str) -> Option<String> {
    let pid: u32 = holder.strip_prefix("pid ")?.split(' ').next()?.parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let dir = line.split('\0').find_map(|arg| arg.strip_prefix("-Dkafka.lab.mark="))?;
    Some(Path::new(dir).parent()?.file_name()?.to_string_lossy().into_owned())
}

/// There is room for `what` on the disk of `dir`: `need` bytes.
pub fn room(dir: &Path, need: u64, what: &str, findings: &mut Findings) {
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
