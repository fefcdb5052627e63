//! What pods answer: whether they are healthy, what the coordinator and the clients tell. Any cluster will do.

use std::time::Duration;

use crate::config::Lab;
use crate::coordination;
use crate::exec::{Cmd, Output};
use crate::failure::{Exit, Failure, Result, tail};
use crate::k8s::pods::Pod;
use crate::k8s::workload::{Part, pod_failure, snapshot};
use crate::service::Service;
use crate::task::{Alive, Pace, Task};

/// How long a client may take to print its state.
const STATE: Duration = Duration::from_secs(8);

/// How long the coordinator may take to answer, with the start of a program in its pod.
const COORDINATOR: Duration = Duration::from_secs(8);

/// The pod of a service, which runs and is ready; `None` for a client that nobody started.
///
/// # Errors
/// A fault when it should be ready and is not.
pub fn healthy(task: &Task<'_>, service: Service) -> Result<Option<Alive>> {
    let lab = task.lab();
    // A Deployment's pods have names of their own: its Nth one stands for the Nth client.
    let (app, place) = match service {
        Service::Coordinator => (coordination::WORKLOAD, None),
        Service::Broker(_) => ("kafka", None),
        Service::Client(index, replica) => {
            (lab.facts.clients.get(index).map_or("", |client| client.name.as_str()), Some(replica as usize))
        }
    };
    let found = snapshot(task)?;
    let is_client = Part::Clients.workloads(lab).iter().any(|client| client == app);
    // The pods of a Deployment that was deleted outlive it for a while; they are nobody's client any more.
    if is_client && !found.workloads.iter().any(|workload| workload.name == app) {
        return Ok(None);
    }
    let name = pod_name(lab, service);
    let pod = match (found.pods.iter().find(|pod| pod.name == name), place) {
        (None, Some(place)) => found.pods.iter().filter(|pod| pod.app == app && !pod.deleting).nth(place),
        (named, _) => named,
    };
    let Some(pod) = pod else {
        return Err(Failure::fault(format!("there is no pod {name}")).fix(lab.xtask("up")));
    };
    if !pod.ready {
        let failure = pod_failure(task, pod);
        return Err(Failure { exit: Exit::Fault, what: format!("not ready: {}", failure.what), ..failure });
    }
    let restarts = if pod.restarts > 0 { format!(", {} restarts", pod.restarts) } else { String::new() };
    Ok(Some(Alive { name: pod.name.clone(), proof: format!("{} on {}, ready{restarts}", pod.name, pod.node) }))
}

/// The pod of a server; of a client only where it has a name of its own.
fn pod_name(lab: &Lab, service: Service) -> String {
    match service {
        Service::Coordinator => coordination::POD.into(),
        other => other.name(lab),
    }
}

/// How long pods need: each question to them is a program that takes some 0.3 s, half of it on the processors.
pub fn pace(lab: &Lab) -> Pace {
    let (ask, watch) = (Duration::from_millis(400), Duration::from_millis(500));
    Pace { serve: lab.timeout(|t| t.pods), ask, watch }
}

/// What the coordinator answers to [`coordination::QUESTION`], or why it does not.
///
/// # Errors
/// An interruption.
pub fn coordinator(task: &Task<'_>) -> Result<std::result::Result<String, String>> {
    let coordinator = &task.lab().facts.coordinator;
    let ask = format!("echo {} | timeout 5 nc -w 2 localhost {}", coordination::QUESTION, coordinator.port());
    let container = format!("--container={}", coordinator.container);
    let words = ["exec", coordination::POD, &container, "--", "sh", "-c", &ask];
    // Its exit code is nc's, which says nothing of the answer.
    Ok(told(task, &task.kubectl()?.cmd(COORDINATOR, words))?.and_then(|output| match output.stdout.is_empty() {
        true => Err(tail(&output.stderr, 1).concat()),
        false => Ok(output.stdout),
    }))
}

/// How many brokers are ready. A node port is open whether or not a broker is behind it; the pods tell.
///
/// # Errors
/// The API server does not answer.
pub fn ready_brokers(task: &Task<'_>) -> Result<usize> {
    Ok(snapshot(task)?.pods.iter().filter(|pod| pod.app == "kafka" && pod.ready).count())
}

/// The bootstrap list of clients in the cluster: as the rolled-out ones have it.
pub fn client_brokers(lab: &Lab) -> String {
    let named = lab.facts.clients.iter().find_map(|client| client.env.get("KAFKA_BROKER"));
    named.cloned().unwrap_or_else(|| lab.bootstrap())
}

/// Ready pods of the clients of a role.
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
    Ok(match told(task, &cmd)? {
        Err(_) => Err(format!("{client} does not answer")),
        Ok(output) if output.code == Some(0) => Ok(output.stdout),
        Ok(output) => Err(tail(&output.stderr, 1).concat()),
    })
}

/// What a program in a pod prints, or why it did not run to its end: on a node that is gone nobody answers at all.
fn told(task: &Task<'_>, cmd: &Cmd) -> Result<std::result::Result<Output, String>> {
    match task.capture(cmd) {
        Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
        answer => Ok(answer.map_err(|failure| failure.what)),
    }
}
