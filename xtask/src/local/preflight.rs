//! Checks this machine before a local lab.

use rustix::process::{Resource, getrlimit};

use crate::config::{Lab, xtask_line};
use crate::coordination::releases::Version;
use crate::failure::{Exit, Result};
use crate::findings::{Findings, compilers, lab_of, room, writable};
use crate::local::ports;
use crate::service::Service;
use crate::signal::Stop;
use crate::system::{MIB, available_memory, free_space};
use crate::task::Task;
use crate::tools::java;
use crate::words;

/// What [`look`] would check.
pub fn preview(lab: &Lab) -> Vec<String> {
    let ports: Vec<String> = Service::servers(lab).iter().flat_map(|s| s.ports(lab)).map(|p| p.to_string()).collect();
    vec![
        "java -XshowSettings:properties -version".into(),
        "# mvn, cc, c++, make, setsid on PATH".into(),
        format!("# ports {} of 127.0.0.1: free or ours; memory, disk, the state folder", ports.join(", ")),
    ]
}

/// Checks everything.
///
/// # Errors
/// An interruption.
pub fn look(task: &Task<'_>, findings: &mut Findings) -> Result<()> {
    if !cfg!(target_os = "linux") {
        findings.problem("the local backend needs Linux", "use `--backend kind` with Docker, or a Linux machine");
    }
    // A JVM that gets no memory leaves a report in the current folder.
    if limits(findings) {
        programs(task, findings)?;
    }
    free_ports(task.lab(), task.ctx.stop, findings);
    memory(task.lab(), findings);
    folders(task, findings);
    Ok(())
}

/// Which Java runs a version of Kafka, as a clause.
fn runs_on(kafka: Version) -> String {
    format!("Kafka {} runs on Java {}", kafka.line(), words::enumerated(kafka.documented_java(), "or"))
}

fn programs(task: &Task<'_>, findings: &mut Findings) -> Result<()> {
    let (env, kafka) = (&task.lab().env, task.lab().release.version);
    if let Some(home) = env.java_home.as_ref().filter(|home| !crate::config::is_program(&home.join("bin/java"))) {
        let why = if home.join("bin/java").exists() { "a bin/java that nobody may execute" } else { "no bin/java" };
        findings.warnings.push(format!("JAVA_HOME ({}) has {why}: using PATH", home.display()));
    }
    match java::locate(env) {
        None => findings
            .package(format!("no java in JAVA_HOME or on PATH; {}", runs_on(kafka)), &["openjdk-17-jre-headless"]),
        Some(program) => match java::ask(&program, task.ctx.exec, &task.log, task.ctx.stop) {
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) => findings.problem(
                failure.message,
                failure.fix.as_deref().unwrap_or(&format!("set JAVA_HOME to a working Java; {}", runs_on(kafka))),
            ),
            Ok(found) => {
                let version = &found.version;
                if version.major < kafka.oldest_java() {
                    findings.package(
                        format!("{} is Java {}; {}", program.display(), version.text, runs_on(kafka)),
                        &["openjdk-17-jre-headless"],
                    );
                } else if !kafka.documented_java().contains(&version.major) {
                    findings.warnings.push(format!(
                        "Java {}: Kafka {} documents {}; newer versions worked in our tests",
                        version.text,
                        kafka.line(),
                        words::enumerated(kafka.documented_java(), "and")
                    ));
                }
                let runtime = std::fs::canonicalize(&found.program).unwrap_or_default();
                let elsewhere = std::fs::canonicalize(&program).is_ok_and(|program| program != runtime);
                let place = if elsewhere { format!(" of {}", found.program.display()) } else { String::new() };
                findings.notes.push(format!("Java {}{place}", version.text));
                let _ = task.ctx.java.set(found);
            }
        },
    }
    if task.ctx.jars.present() {
        findings.notes.push(format!("Kafka {} cached", task.ctx.jars.version));
    } else if env.find("mvn").is_none() {
        findings.package("no mvn on PATH: Maven downloads Kafka's jars, once", &["maven"]);
    } else {
        findings.notes.push(format!("Kafka {} to be downloaded with Maven", task.ctx.jars.version));
    }
    compilers(task.lab(), findings);
    match env.find("setsid") {
        Some(_) => findings.fine.push("setsid, which detaches the lab's processes".into()),
        None => {
            findings.package("no setsid on PATH: it detaches the lab's processes from this terminal", &["util-linux"])
        }
    }
    Ok(())
}

/// The shell's limits that a lab runs into: what is limited, the flag of `ulimit`, what a lab needs, the unit.
const LIMITS: [(Resource, &str, &str, u64, u64); 6] = [
    (Resource::Nofile, "open files", "-n", 1024, 1),
    // A JVM has up to a hundred threads.
    (Resource::Nproc, "processes and threads", "-u", 512, 1),
    // Measured: `java -version` fails with 4 GB and runs with 6.
    (Resource::As, "memory that a program may address", "-v", 6 * 1024 * MIB, MIB),
    // The heap of a broker, its threads' stacks and its compiled code.
    (Resource::Data, "a program's data", "-d", 2 * 1024 * MIB, MIB),
    // The system ends a program that has used more, and a server uses some for as long as it runs.
    (Resource::Cpu, "CPU time in seconds", "-t", 24 * 3600, 1),
    // ZooKeeper preallocates 64 MiB for its log.
    (Resource::Fsize, "the size of a file", "-f", 128 * MIB, MIB),
];

/// Finds limits of this shell that are too low. Returns whether Java can be asked for its version.
fn limits(findings: &mut Findings) -> bool {
    let (mut java_runs, before) = (true, findings.problems.len());
    for (resource, what, flag, need, unit) in LIMITS {
        let limit = getrlimit(resource);
        // Java raises its own limit of open files, and root has any number of threads.
        let held = match resource {
            Resource::Nofile => limit.maximum,
            Resource::Nproc if rustix::process::geteuid().is_root() => None,
            _ => limit.current,
        };
        let Some(held) = held.filter(|held| *held < need) else { continue };
        let (held, need, name) = (held / unit, need / unit, if unit == MIB { " MiB" } else { "" });
        let raise = match resource {
            Resource::Nofile | Resource::Nproc => (4 * need).to_string(),
            _ => "unlimited".into(),
        };
        findings.problem(
            format!("the limit of {what} (`ulimit {flag}`) is {held}{name}; the lab needs {need}{name}"),
            format!("`ulimit {flag} {raise}` in this shell, or a new shell if it may not raise the limit, then rerun"),
        );
        java_runs &= !matches!(resource, Resource::As | Resource::Data);
    }
    if findings.problems.len() == before {
        findings.fine.push("the shell's limits (ulimit)".into());
    }
    java_runs
}

fn free_ports(lab: &Lab, stop: &Stop, findings: &mut Findings) {
    let mut taken = Vec::new();
    let servers: Vec<(u16, Service)> = Service::servers(lab)
        .into_iter()
        .flat_map(|of| of.ports(lab).into_iter().map(move |port| (port, of)))
        .collect();
    for (port, holder) in ports::taken(servers.iter().map(|(port, _)| *port), stop) {
        let Some((_, service)) = servers.iter().find(|(of, _)| *of == port) else { continue };
        let ours = service.living(lab).map(|identity| format!("pid {} ", identity.pid));
        if ours.is_none_or(|ours| !holder.starts_with(&ours)) {
            taken.push((service.name(lab), port, holder));
        }
    }
    if taken.is_empty() {
        let first = lab.ports.broker(0);
        findings.notes.push(format!(
            "ports {first}–{} and {}",
            lab.ports.broker(lab.facts.brokers.count - 1),
            words::listed(lab.coordinator_ports())
        ));
        return;
    }
    let other = free_base(lab)
        .map(|base| format!(", or `{}`", lab.xtask(&format!("up --port-base {base}"))))
        .unwrap_or_default();
    for (name, port, holder) in taken {
        let fix = match lab_of(&holder) {
            Some(name) => format!("`{}`{other}", xtask_line(&name, "teardown")),
            None => format!("end it{other}"),
        };
        findings.problem(format!("127.0.0.1:{port} ({name}) is in use by {holder}"), fix);
    }
}

/// The first port that Linux uses for outgoing connections (`net.ipv4.ip_local_port_range`).
const OUTGOING: u16 = 32_768;

/// A base whose ports are all free now and cannot be taken by an outgoing connection.
fn free_base(lab: &Lab) -> Option<u16> {
    let shift = lab.ports.coordinator.wrapping_sub(lab.ports.base);
    let steps = (1..20u16).map(|step| step * 100);
    let mut bases = steps.flat_map(|by| [lab.ports.base.saturating_add(by), lab.ports.base.saturating_sub(by)]);
    let more = lab.coordinator_ports().len() as u16;
    bases.find(|base| {
        *base >= 1024
            && base.wrapping_add(shift).saturating_add(more) <= OUTGOING
            && (0..more).all(|number| ports::is_free(base.wrapping_add(shift).saturating_add(number)))
            && lab.broker_ids().all(|id| ports::is_free(base.saturating_add(id as u16)))
    })
}

fn memory(lab: &Lab, findings: &mut Findings) {
    let missing: Vec<Service> =
        Service::servers(lab).into_iter().filter(|service| service.living(lab).is_none()).collect();
    let need: u64 = missing
        .iter()
        .map(|service| match service {
            Service::Coordinator(_) => {
                heap(&lab.facts.coordinator.heap_opts).unwrap_or(512 * MIB).saturating_add(64 * MIB)
            }
            // Measured: 280 to 370 MB resident with a heap of 512 MiB, before the heap is full.
            _ => heap(&lab.facts.brokers.heap_opts).unwrap_or(1024 * MIB).saturating_add(192 * MIB),
        })
        .fold(0, u64::saturating_add);
    let Some(free) = available_memory() else { return };
    if free < need / 2 {
        findings.problem(
            format!("{} MiB of memory are free; the lab needs {} MiB", free / MIB, need / MIB),
            "close other programs, or lower KAFKA_HEAP_OPTS or the replicas in kafka.yml",
        );
    } else if free < need {
        findings.warnings.push(format!("{} MiB of memory are free; the lab may need {} MiB", free / MIB, need / MIB));
    }
    findings.notes.push(format!("{} MiB free", free / MIB));
}

/// The value of the last -Xmx option, in bytes.
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

fn folders(task: &Task<'_>, findings: &mut Findings) {
    let lab = task.lab();
    if lab.state.to_string_lossy().contains(',') {
        findings.problem(
            format!(
                "the path of the state folder {} has a comma, which separates folders in Kafka's log.dirs",
                lab.state.display()
            ),
            "set XDG_STATE_HOME to a path without a comma",
        );
    }
    if lab.env.cache.to_string_lossy().contains(':') {
        findings.problem(
            format!(
                "the path of the cache folder {} has a colon, which separates jars in a class path",
                lab.env.cache.display()
            ),
            "set XDG_CACHE_HOME to a path without a colon",
        );
    }
    for (dir, variable) in [(&lab.state, "XDG_STATE_HOME"), (&lab.env.cache, "XDG_CACHE_HOME")] {
        if dir.to_str().is_none() {
            findings.problem(
                format!("the path {} is not UTF-8, which Java and the lab's records require", dir.display()),
                format!("set {variable} to a UTF-8 path"),
            );
        }
    }
    writable(lab, findings);
    let jars = if task.ctx.jars.present() { 0 } else { 150 * MIB };
    // The jars, their copy in Maven's repository, and two class-data archives.
    room(&lab.env.cache, 50 * MIB + jars, "the cache", findings);
    if !lab.clients_program().exists() {
        room(&lab.env.target, 1024 * MIB, "the clients' build", findings);
    }
    room(&lab.state, 512 * MIB, "the lab's data", findings);
    let brokers = &lab.facts.brokers;
    if let (Some(bytes), Some(free)) = (brokers.retention_bytes, free_space(&lab.state)) {
        let most = bytes.saturating_mul(brokers.partitions.into()).saturating_mul(brokers.replication_factor.into());
        if free < most {
            findings.warnings.push(format!(
                "{} MiB are free in {}; topic {} may grow to {} MiB (KAFKA_LOG_RETENTION_BYTES × partitions × replicas)",
                free / MIB,
                lab.state.display(),
                lab.facts.topic,
                most / MIB
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_sizes_are_parsed_as_java_does() {
        let heap = |text: &str| heap(&text.split(' ').map(Into::into).collect::<Vec<_>>());
        assert_eq!(heap("-Xms512m -Xmx512m"), Some(512 * MIB));
        assert_eq!(heap("-Xmx2G"), Some(2048 * MIB));
        assert_eq!(heap("-Xmx1024k -Xmx64M"), Some(64 * MIB));
        assert_eq!(heap("-Xmx77"), Some(77));
        for odd in ["", "-Xms1m", "-Xmx", "-Xmxm", "-Xmx1t", "-Xmx99999999999999999999g"] {
            assert_eq!(heap(odd), None, "{odd}");
        }
    }
}
