//! Every problem of this machine, found before anything is touched, each with the command that fixes it.

use std::path::{Path, PathBuf};

use crate::config::Lab;
use crate::failure::{Exit, Failure, Result};
use crate::local::ports;
use crate::local::service::Service;
use crate::state::private_dir;
use crate::step::{Outcome, Task};
use crate::tools::java;

const MIB: u64 = 1024 * 1024;

/// Something this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it, when no package helps.
    pub fix: Option<String>,
    /// Debian packages that fix it.
    pub packages: Vec<&'static str>,
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
        self.problems.push(Problem { what: what.into(), fix: Some(fix.into()), packages: Vec::new() });
    }

    fn package(&mut self, what: impl Into<String>, packages: &[&'static str]) {
        self.problems.push(Problem { what: what.into(), fix: None, packages: packages.to_vec() });
    }

    /// All packages that would fix something, each once.
    pub fn packages(&self) -> Vec<&'static str> {
        let mut packages: Vec<_> = self.problems.iter().flat_map(|problem| problem.packages.iter().copied()).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }
}

/// The line that installs `packages` on Debian and its kin.
pub fn install_line(packages: &[&str]) -> String {
    format!("apt-get install -y --no-install-recommends {}", packages.join(" "))
}

/// What preflight would look at.
pub fn preview(lab: &Lab) -> Vec<String> {
    let ports: Vec<String> = Service::servers(lab).iter().filter_map(|s| s.port(lab)).map(|p| p.to_string()).collect();
    vec![
        "java -version".into(),
        "# look for mvn, cc, c++, make, setsid on PATH".into(),
        format!("# ports {} of 127.0.0.1 free or ours; memory, disk, state folder", ports.join(", ")),
    ]
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
    Err(if packages.is_empty() {
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
    if !cfg!(target_os = "linux") {
        findings.problem("the local backend reads /proc and needs Linux", "use a Linux machine, a VM or WSL2");
    }
    programs(task, &mut findings)?;
    free_ports(task.lab(), &mut findings);
    memory(task.lab(), &mut findings);
    folders(task, &mut findings);
    Ok(findings)
}

fn programs(task: &Task<'_>, findings: &mut Findings) -> Result<()> {
    let env = &task.lab().env;
    if let Some(home) = env.java_home.as_ref().filter(|home| !crate::config::is_program(&home.join("bin/java"))) {
        findings.warnings.push(format!("JAVA_HOME is {}, where no bin/java is: looking on PATH", home.display()));
    }
    match java::locate(env) {
        None => findings
            .package("no java in JAVA_HOME or on PATH; Kafka 3.3 runs on Java 11 or 17", &["openjdk-17-jre-headless"]),
        Some(program) => match java::ask(&program, task.ctx.exec, &task.log, task.ctx.stop) {
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) => findings.problem(
                format!("{}: {}", program.display(), failure.what),
                "set JAVA_HOME to a working Java 11 or 17",
            ),
            Ok(found) => {
                let version = &found.version;
                if version.major < 11 {
                    findings.package(
                        format!("{} is Java {}; Kafka 3.3 runs on Java 11 or 17", program.display(), version.text),
                        &["openjdk-17-jre-headless"],
                    );
                } else if !version.is_supported() {
                    findings.warnings.push(format!(
                        "Java {}: Kafka 3.3 documents 11 and 17; newer ones were seen to work",
                        version.text
                    ));
                }
                findings.notes.push(format!("Java {}", version.text));
                let _ = task.ctx.java.set(found);
            }
        },
    }
    if task.ctx.jars.present() {
        findings.notes.push(format!("Kafka {} cached", task.ctx.jars.version));
    } else if env.find("mvn").is_none() {
        findings.package("no mvn on PATH: Maven brings Kafka's jars, once", &["maven"]);
    } else {
        findings.notes.push(format!("Kafka {} to fetch through Maven", task.ctx.jars.version));
    }
    if !task.lab().clients_program().exists() {
        let missing: Vec<&str> =
            ["cc", "c++", "make", "bash"].into_iter().filter(|name| env.find(name).is_none()).collect();
        if !missing.is_empty() {
            findings.package(
                format!("no {} on PATH: librdkafka, which the clients use, is compiled with them", missing.join(", ")),
                &["build-essential", "bash"],
            );
        }
    }
    if env.find("setsid").is_none() {
        findings.package("no setsid on PATH: it detaches the lab's processes from this terminal", &["util-linux"]);
    }
    if env.find("sha256sum").is_none() {
        findings.package("no sha256sum on PATH: it verifies Kafka's jars", &["coreutils"]);
    }
    Ok(())
}

fn free_ports(lab: &Lab, findings: &mut Findings) {
    let mut taken = Vec::new();
    for service in Service::servers(lab) {
        let Some(port) = service.port(lab) else { continue };
        if ports::is_free(port) {
            continue;
        }
        let ours = service.living(lab).map(|identity| format!("pid {} ", identity.pid));
        let holder = ports::holder(port);
        if ours.is_none_or(|ours| !holder.is_some_and(|holder| holder.starts_with(&ours))) {
            taken.push((service.name(lab), port));
        }
    }
    if taken.is_empty() {
        let first = lab.ports.broker(0);
        findings.notes.push(format!(
            "ports {first}–{} and {}",
            lab.ports.broker(lab.facts.brokers.count - 1),
            lab.ports.zookeeper
        ));
        return;
    }
    let other = free_base(lab).map(|base| format!(", or `cargo xtask up --port-base {base}`")).unwrap_or_default();
    for (name, port) in taken {
        let holder = ports::holder(port).unwrap_or_else(|| "a process of another user".into());
        let fix = match lab_of(&holder) {
            Some(name) => format!("cargo xtask teardown --name {name}{other}"),
            None => format!("end it{other}"),
        };
        findings.problem(format!("127.0.0.1:{port} ({name}) is in use by {holder}"), fix);
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

/// A base whose ports are all free now.
fn free_base(lab: &Lab) -> Option<u16> {
    let shift = lab.ports.zookeeper.wrapping_sub(lab.ports.base);
    (1..20u16).map(|step| lab.ports.base.wrapping_add(step * 100)).find(|base| {
        *base >= 1024
            && ports::is_free(base.wrapping_add(shift))
            && lab.broker_ids().all(|id| ports::is_free(base.saturating_add(id as u16)))
    })
}

fn memory(lab: &Lab, findings: &mut Findings) {
    let missing: Vec<Service> =
        Service::servers(lab).into_iter().filter(|service| service.living(lab).is_none()).collect();
    let need: u64 = missing
        .iter()
        .map(|service| match service {
            Service::ZooKeeper => heap(&lab.facts.zookeeper.heap_opts).unwrap_or(512 * MIB) + 64 * MIB,
            // 280 to 370 MB resident were measured with a heap of 512 MiB; the rest is room for the heap to fill.
            _ => heap(&lab.facts.brokers.heap_opts).unwrap_or(1024 * MIB) + 192 * MIB,
        })
        .sum();
    let Some(free) = available_memory() else { return };
    if free < need / 2 {
        findings.problem(
            format!("{} MiB of memory are free, the lab needs {} MiB", free / MIB, need / MIB),
            "close something, or lower KAFKA_HEAP_OPTS or the replicas in kafka.yml",
        );
    } else if free < need {
        findings.warnings.push(format!(
            "{} MiB of memory are free, the lab may come to need {} MiB",
            free / MIB,
            need / MIB
        ));
    }
    findings.notes.push(format!("{} MiB free", free / MIB));
}

/// The -Xmx among JVM options, in bytes.
fn heap(options: &[String]) -> Option<u64> {
    let text = options.iter().rev().find_map(|option| option.strip_prefix("-Xmx"))?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1024,
        "m" => MIB,
        "g" => 1024 * MIB,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// MemAvailable, or what the control group still allows, whichever is less; bytes.
fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024;
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ]
    .iter()
    .find_map(|(limit, used)| Some(read(limit)?.saturating_sub(read(used)?)));
    Some(group.map_or(machine, |group| machine.min(group)))
}

fn folders(task: &Task<'_>, findings: &mut Findings) {
    let lab = task.lab();
    if lab.state.to_string_lossy().contains(',') {
        findings.problem(
            format!(
                "the state folder {} has a comma in its path, which separates folders in Kafka's log.dirs",
                lab.state.display()
            ),
            "set XDG_STATE_HOME to a path without one",
        );
    }
    if lab.env.cache.to_string_lossy().contains(':') {
        findings.problem(
            format!(
                "the cache folder {} has a colon in its path, which separates jars in a class path",
                lab.env.cache.display()
            ),
            "set XDG_CACHE_HOME to a path without one",
        );
    }
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
    let jars = if task.ctx.jars.present() { 0 } else { 150 * MIB };
    // Jars, their copy in Maven's own folder and two class-data archives.
    room(&lab.env.cache, 50 * MIB + jars, "the cache", findings);
    if !lab.clients_program().exists() {
        room(&lab.env.target, 1024 * MIB, "the clients' build", findings);
    }
    room(&lab.state, 512 * MIB, "the lab's data", findings);
    let brokers = &lab.facts.brokers;
    if let (Some(bytes), Some(free)) = (brokers.retention_bytes, free_space(&lab.state)) {
        let most = bytes * u64::from(brokers.partitions) * u64::from(brokers.replication_factor);
        if free < most {
            findings.warnings.push(format!(
                "{} MiB are free below {}; topic {} may grow to {} MiB (KAFKA_LOG_RETENTION_BYTES × partitions × replicas)",
                free / MIB,
                lab.state.display(),
                lab.facts.topic,
                most / MIB
            ));
        }
    }
}

fn room(dir: &Path, need: u64, what: &str, findings: &mut Findings) {
    if let Some(free) = free_space(dir)
        && free < need
    {
        findings.problem(
            format!("{} MiB are free in {}, {what} needs {} MiB", free / MIB, dir.display(), need / MIB),
            "make room, or point XDG_STATE_HOME, XDG_CACHE_HOME or CARGO_TARGET_DIR elsewhere",
        );
    }
}

/// Bytes that we may still write below `dir`, or below its nearest parent that exists.
fn free_space(dir: &Path) -> Option<u64> {
    let mut dir: PathBuf = dir.into();
    while !dir.exists() {
        dir = dir.parent()?.into();
    }
    let stat = rustix::fs::statvfs(&dir).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heaps_are_read_as_java_reads_them() {
        let heap = |text: &str| heap(&text.split(' ').map(Into::into).collect::<Vec<_>>());
        assert_eq!(heap("-Xms512m -Xmx512m"), Some(512 * MIB));
        assert_eq!(heap("-Xmx2G"), Some(2048 * MIB));
        assert_eq!(heap("-Xmx1024k -Xmx64M"), Some(64 * MIB));
        assert_eq!(heap("-Xmx77"), Some(77));
        for odd in ["", "-Xms1m", "-Xmx", "-Xmxm", "-Xmx1t", "-Xmx99999999999999999999g"] {
            assert_eq!(heap(odd), None, "{odd}");
        }
    }

    #[test]
    fn packages_are_named_once() {
        let mut findings = Findings::default();
        findings.package("no java", &["openjdk-17-jre-headless"]);
        findings.package("no mvn", &["maven"]);
        findings.package("no java either", &["openjdk-17-jre-headless"]);
        assert_eq!(findings.packages(), ["maven", "openjdk-17-jre-headless"]);
    }

    #[test]
    fn free_space_is_that_of_the_nearest_parent() {
        assert!(free_space(Path::new("/nonexistent/a/b")).is_some());
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
    }
}
