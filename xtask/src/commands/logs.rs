//! `logs` and `clients logs`: the end of log files, and what is added to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::Backend;
use crate::cli::{ClientLogs, Logs};
use crate::config::Lab;
use crate::exec::{Exec, RealExec};
use crate::failure::{Exit, Failure, Result, tail};
use crate::local::service::Service;
use crate::signal::Stop;
use crate::tools::kubectl::Kubectl;
use crate::wait;

/// Logs of one process, or of all.
///
/// # Errors
/// There is no such process.
pub fn all(lab: &Lab, args: &Logs, stop: &Stop) -> Result<Exit> {
    let mut services: Vec<Service> = Service::servers(lab);
    services.extend(Service::clients(lab));
    if lab.backend == Backend::Kind {
        let known = |name: &str| {
            let of_pods = services.iter().map(|service| service.name(lab));
            of_pods.chain(lab.facts.clients.iter().map(|client| client.name.clone())).any(|service| service == name)
        };
        let Some(wanted) = &args.process else {
            let names = lab.facts.selectors.keys().map(String::as_str).collect::<Vec<_>>();
            return of_workloads(lab, &names, args.lines, args.follow);
        };
        if !known(wanted) {
            return Err(Failure::usage(format!(
                "no process {wanted}; there are zookeeper, kafka-0, …, producer, consumer"
            )));
        }
        let place = match wanted.as_str() {
            "zookeeper" => "zookeeper-0".into(),
            broker if broker.starts_with("kafka-") => broker.to_string(),
            client => format!("deployment/{client}"),
        };
        return pods(lab, &[place], args.lines, args.follow);
    }
    if let Some(wanted) = &args.process {
        let names: Vec<String> = services.iter().map(|service| service.name(lab)).collect();
        services.retain(|service| service.name(lab) == *wanted);
        if services.is_empty() {
            return Err(Failure::usage(format!("no process {wanted}; there are {}", names.join(", "))));
        }
    }
    print(lab, &services, args.lines, args.follow, stop)
}

/// Logs of the producer and the consumer.
///
/// # Errors
/// Never for now; it shares its shape with the other commands.
pub fn clients(lab: &Lab, args: &ClientLogs, stop: &Stop) -> Result<Exit> {
    if lab.backend == Backend::Kind {
        let names: Vec<&str> = lab.facts.clients.iter().map(|client| client.name.as_str()).collect();
        return of_workloads(lab, &names, args.lines, args.follow);
    }
    print(lab, &Service::clients(lab), args.lines, args.follow, stop)
}

/// Logs of the pods of several workloads: at once where one label tells them all, else of one after the other.
fn of_workloads(lab: &Lab, names: &[&str], lines: usize, follow: bool) -> Result<Exit> {
    let selectors: Vec<_> = names.iter().filter_map(|name| lab.facts.selectors.get(*name)).collect();
    let by = |selector: String| pods(lab, &["--selector".into(), selector, "--prefix".into()], lines, follow);
    if let Some(common) = common(&selectors) {
        return by(common);
    }
    if follow && selectors.len() > 1 {
        let what = "--follow: the manifests' selectors have no label in common, so that one kubectl cannot follow all";
        return Err(Failure::usage(what).fix(format!("name one of {}", names.join(", "))));
    }
    for selector in selectors {
        let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        by(labels.join(","))?;
    }
    Ok(Exit::Ok)
}

/// A selector of all that any of `selectors` selects, by a label that all of them have.
fn common(selectors: &[&BTreeMap<String, String>]) -> Option<String> {
    let key = selectors.first()?.keys().find(|key| selectors.iter().all(|selector| selector.contains_key(*key)))?;
    let values: BTreeSet<&str> = selectors.iter().map(|selector| selector[key].as_str()).collect();
    // Fewer values than workloads: the label does not tell them from others.
    let tells = values.len() == selectors.len() && !values.contains("");
    tells.then(|| format!("{key} in ({})", values.into_iter().collect::<Vec<_>>().join(",")))
}

/// Logs of pods, by kubectl itself.
fn pods(lab: &Lab, which: &[String], lines: usize, follow: bool) -> Result<Exit> {
    let Some(setup) = &lab.setup else {
        return Err(Failure::step("it is not recorded which kubectl made this lab").fix(lab.xtask("up")));
    };
    let cmd = Kubectl::of(lab, setup)
        .cmd(Duration::ZERO, ["logs", "--max-log-requests=50", "--all-containers"])
        .args([format!("--tail={lines}"), format!("--follow={follow}")])
        .args(which);
    match RealExec.attached(&cmd)? {
        0 => Ok(Exit::Ok),
        130 => Ok(Exit::Ok),
        code => Err(Failure::step(format!("kubectl exited with {code}")).command(cmd)),
    }
}

fn print(lab: &Lab, services: &[Service], lines: usize, follow: bool, stop: &Stop) -> Result<Exit> {
    let mut files: Vec<(String, PathBuf, u64)> = Vec::new();
    let mut out = std::io::stdout();
    for service in services {
        let name = service.name(lab);
        let prefix = if services.len() > 1 { format!("{name:10} | ") } else { String::new() };
        for path in [service.log(lab), service.out(lab)] {
            // One that is not there yet may come while we follow.
            let bytes = std::fs::read(&path).unwrap_or_default();
            for line in tail(&String::from_utf8_lossy(&bytes), lines) {
                // A reader that went away, as head(1) does, ends the command.
                if writeln!(out, "{prefix}{line}").is_err() {
                    return Ok(Exit::Ok);
                }
            }
            files.push((prefix.clone(), path, bytes.len() as u64));
        }
    }
    if files.iter().all(|(_, _, length)| *length == 0) {
        eprintln!("no logs yet in {}", lab.logs().display());
    }
    // Being asked to stop is how following ends.
    while follow && wait::pause(stop, Duration::from_millis(200)).is_ok() {
        for (prefix, path, at) in &mut files {
            for line in added(path, at).lines() {
                if writeln!(out, "{prefix}{line}").is_err() {
                    return Ok(Exit::Ok);
                }
            }
        }
    }
    Ok(Exit::Ok)
}

/// The whole lines that came to `path` since byte `at`, which moves along. A file that shrank was rotated.
fn added(path: &PathBuf, at: &mut u64) -> String {
    let mut read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() < *at {
            *at = 0;
        }
        file.seek(SeekFrom::Start(*at))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *at += whole as u64;
        Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_selector_finds_the_pods_of_all_where_it_can() {
        let labels = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
            list.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        let kafka = labels(&[("app", "kafka"), ("tier", "data")]);
        let zookeeper = labels(&[("app", "zookeeper"), ("tier", "data")]);
        assert_eq!(common(&[&kafka, &zookeeper]).as_deref(), Some("app in (kafka,zookeeper)"));
        assert_eq!(common(&[&kafka, &labels(&[("name", "zk")])]), None);
        assert_eq!(common(&[&labels(&[("tier", "data")]), &labels(&[("tier", "data")])]), None);
        assert_eq!(common(&[]), None);
    }

    #[test]
    fn only_whole_new_lines_come_and_rotation_is_noticed() {
        let path = std::env::temp_dir().join(format!("kafka-lab-logs-{}", std::process::id()));
        let mut at = 0;
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(added(&path, &mut at), "one\n");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(added(&path, &mut at), "two\n");
        assert_eq!(added(&path, &mut at), "");
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(added(&path, &mut at), "new\n");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(added(&path, &mut at), "");
    }
}
