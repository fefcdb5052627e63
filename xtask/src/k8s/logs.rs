//! Prints the pods' logs with kubectl.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::Lab;
use crate::coordination;
use crate::exec::{Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::k8s::kubectl::Kubectl;
use crate::service::Service;
use crate::task::{LogSource, Tail};

/// Prints the last lines of the logs. With `follow`, continues until interrupted.
///
/// # Errors
/// The process does not exist, or kubectl fails.
pub fn print(lab: &Lab, source: &LogSource, tail: Tail) -> Result<Exit> {
    let clients: Vec<&str> = lab.facts.clients.iter().map(|client| client.name.as_str()).collect();
    let wanted = match source {
        LogSource::All => {
            let names = lab.facts.selectors.keys().map(String::as_str).collect::<Vec<_>>();
            return of_workloads(lab, &names, tail);
        }
        LogSource::Clients => return of_workloads(lab, &clients, tail),
        LogSource::One(wanted) => wanted.as_str(),
    };
    let services: Vec<Service> = Service::servers(lab).into_iter().chain(Service::clients(lab)).collect();
    let service = services.iter().find(|service| service.name(lab) == wanted);
    let place = match service {
        Some(Service::Coordinator(_)) => coordination::POD.into(),
        Some(Service::Broker(_)) => wanted.to_string(),
        Some(Service::Client(index, _)) => format!("deployment/{}", clients[*index]),
        None if clients.contains(&wanted) => format!("deployment/{wanted}"),
        None => {
            let names: Vec<String> = services.iter().map(|service| service.name(lab)).collect();
            return Err(Failure::usage(format!("no process {wanted}; choose one of {}", names.join(", "))));
        }
    };
    pods(lab, &[place], tail)
}

/// Prints the logs of several workloads: with one kubectl if one label selects them all, otherwise one by one.
fn of_workloads(lab: &Lab, names: &[&str], tail: Tail) -> Result<Exit> {
    let selectors: Vec<_> = names.iter().filter_map(|name| lab.facts.selectors.get(*name)).collect();
    let by = |selector: String| pods(lab, &["--selector".into(), selector, "--prefix".into()], tail);
    if let Some(common) = common(&selectors) {
        return by(common);
    }
    if tail.follow && selectors.len() > 1 {
        let what = "--follow: the manifests' selectors share no label, so one kubectl cannot follow all pods";
        return Err(Failure::usage(what).fix(format!("name one of {}", names.join(", "))));
    }
    for selector in selectors {
        let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        by(labels.join(","))?;
    }
    Ok(Exit::Ok)
}

/// A selector for everything that any of `selectors` selects, by a label that they share.
fn common(selectors: &[&BTreeMap<String, String>]) -> Option<String> {
    let key = selectors.first()?.keys().find(|key| selectors.iter().all(|selector| selector.contains_key(*key)))?;
    let values: BTreeSet<&str> = selectors.iter().map(|selector| selector[key].as_str()).collect();
    // With fewer values than workloads, the label may select others too.
    let distinct = values.len() == selectors.len() && !values.contains("");
    distinct.then(|| format!("{key} in ({})", values.into_iter().collect::<Vec<_>>().join(",")))
}

/// Runs `kubectl logs`, attached to the terminal.
fn pods(lab: &Lab, which: &[String], tail: Tail) -> Result<Exit> {
    let Some(setup) = &lab.setup else {
        return Err(Failure::step("the lab's record names no kubectl").fix(lab.xtask("up")));
    };
    let cmd = Kubectl::of(lab, setup)
        .cmd(Duration::ZERO, ["logs", "--max-log-requests=50", "--all-containers"])
        .args([format!("--tail={}", tail.lines), format!("--follow={}", tail.follow)])
        .args(which);
    match RealExec.attached(&cmd)? {
        0 | 130 => Ok(Exit::Ok),
        code => Err(Failure::step(format!("kubectl exited with {code}")).command(cmd)),
    }
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
}
