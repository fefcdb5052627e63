//! Questions to pods: their health, the coordinator's state, the clients' state.

use std::time::Duration;

use crate::config::Lab;
use crate::coordination;
use crate::exec::{Cmd, Output};
use crate::failure::{Exit, Failure, Result, tail};
use crate::k8s::pods::Pod;
use crate::k8s::workload::{WorkloadGroup, pod_failure, snapshot};
use crate::service::Service;
use crate::task::{Alive, Pace, Task};

/// The limit for a client to print its state.
const STATE: Duration = Duration::from_secs(8);

/// The limit for the coordinator's answer, including the start of a program in its pod.
const COORDINATOR: Duration = Duration::from_secs(8);

/// The ready pod of a service; `None` for a client that was not started.
///
/// # Errors
/// A fault if the pod should be ready and is not.
pub fn healthy(task: &Task<'_>, service: Service) -> Result<Option<Alive>> {
    let lab = task.lab();
    // A Deployment's pods have generated names: its Nth pod stands for the Nth client.
    let (app, place) = match service {
        Service::Coordinator(_) => (coordination::WORKLOAD, None),
        Service::Broker(_) => ("kafka", None),
        Service::Client(index, replica) => {
            (lab.facts.clients.get(index).map_or("", |client| client.name.as_str()), Some(replica as usize))
        }
    };
    let found = snapshot(task)?;
    let is_client = WorkloadGroup::Clients.workloads(lab).iter().any(|client| client == app);
    // Pods outlive a deleted Deployment for a while. They are no longer clients.
    if is_client && !found.workloads.iter().any(|workload| workload.name == app) {
        return Ok(None);
    }
    let name = pod_name(lab, service);
    let pod = match (found.pods.iter().find(|pod| pod.name == name), place) {
        (None, Some(place)) => found.pods.iter().filter(|pod| pod.app == app && !pod.deleting).nth(place),
        (named, _) => named,
    };
    let Some(pod) = pod else {
        return Err(Failure::fault(format!("pod {name} is missing")).fix(lab.xtask("up")));
    };
    if !pod.ready {
        let failure = pod_failure(task, pod);
        return Err(Failure { exit: Exit::Fault, message: format!("not ready: {}", failure.message), ..failure });
    }
    let restarts = if pod.restarts > 0 { format!(", {} restarts", pod.restarts) } else { String::new() };
    Ok(Some(Alive { name: pod.name.clone(), proof: format!("{} on {}, ready{restarts}", pod.name, pod.node) }))
}

/// The pod name of a server. For a client, it only names the client in messages.
fn pod_name(lab: &Lab, service: Service) -> String {
    match service {
        Service::Coordinator(_) => coordination::POD.into(),
        other => other.name(lab),
    }
}

/// Intervals and limits for pods. Each question to a pod runs a program for about 0.3 s, half of it CPU time.
pub fn pace(lab: &Lab) -> Pace {
    let (ask, watch) = (Duration::from_millis(400), Duration::from_millis(500));
    Pace { serve: lab.timeout(|t| t.pods), ask, watch }
}

/// The coordinator's answer to [`coordination::QUESTION`], or why there is none.
///
/// # Errors
/// An interruption.
pub fn coordinator(task: &Task<'_>) -> Result<std::result::Result<String, String>> {
    let coordinator = &task.lab().facts.coordinator;
    let ask = format!("echo {} | timeout 5 nc -w 2 localhost {}", coordination::QUESTION, coordinator.port());
    let container = format!("--container={}", coordinator.container);
    let words = ["exec", coordination::POD, &container, "--", "sh", "-c", &ask];
    // The exit code is nc's and does not reflect the answer.
    Ok(captured(task, &task.kubectl()?.cmd(COORDINATOR, words))?.and_then(|output| match output.stdout.is_empty() {
        true => Err(tail(&output.stderr, 1).concat()),
        false => Ok(output.stdout),
    }))
}

/// The number of ready brokers. A node port is open whether or not a broker is behind it, so this counts pods.
///
/// # Errors
/// The API server does not answer.
pub fn ready_brokers(task: &Task<'_>) -> Result<usize> {
    Ok(snapshot(task)?.pods.iter().filter(|pod| pod.app == "kafka" && pod.ready).count())
}

/// The bootstrap list for clients in the cluster, taken from clients.yml.
pub fn client_brokers(lab: &Lab) -> String {
    let named = lab.facts.clients.iter().find_map(|client| client.env.get("KAFKA_BROKER"));
    named.cloned().unwrap_or_else(|| lab.bootstrap())
}

/// The ready pods of the clients with this role.
///
/// # Errors
/// The API server does not answer.
pub fn clients(task: &Task<'_>, role: &str) -> Result<Vec<String>> {
    let lab = task.lab();
    let apps: Vec<&str> = lab.facts.clients.iter().filter(|c| c.role == role).map(|c| c.name.as_str()).collect();
    let found = snapshot(task)?;
    let deployed = |app: &str| found.workloads.iter().any(|workload| workload.name == app);
    let ours = |pod: &&Pod| pod.ready && !pod.deleting && apps.contains(&pod.app.as_str()) && deployed(&pod.app);
    Ok(found.pods.iter().filter(ours).map(|pod| pod.name.clone()).collect())
}

/// The state file of a client, or why it cannot be read.
///
/// # Errors
/// An interruption.
pub fn client_state(task: &Task<'_>, client: &str) -> Result<std::result::Result<String, String>> {
    let cmd = task.kubectl()?.cmd(STATE, ["exec", client, "--", "/clients", "state"]);
    Ok(match captured(task, &cmd)? {
        Err(_) => Err(format!("{client} does not answer")),
        Ok(output) if output.code == Some(0) => Ok(output.stdout),
        Ok(output) => Err(tail(&output.stderr, 1).concat()),
    })
}

/// The output of a program in a pod, or why it did not finish: a lost node never answers.
fn captured(task: &Task<'_>, cmd: &Cmd) -> Result<std::result::Result<Output, String>> {
    match task.capture(cmd) {
        Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
        answer => Ok(answer.map_err(|failure| failure.message)),
    }
}
