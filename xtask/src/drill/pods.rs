//! Moves on pods and nodes of a kind cluster, and observations of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::coordination;
use crate::drill::observations::PodSeen;
use crate::exec::Cmd;
use crate::failure::{Exit, Failure, Result};
use crate::task::Task;
use crate::tools::docker;

/// The label of CoreDNS.
const DNS: &str = "k8s-app=kube-dns";

/// How long to retry to pause a node.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of a node's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Its start time.
    pub started: String,
    /// Whether it is paused.
    pub paused: bool,
}

/// Reads a field of the pod of broker `id`.
fn field(task: &Task<'_>, id: u32, path: &str) -> Result<String> {
    let output = format!("jsonpath={{{path}}}");
    let ask = task.kubectl()?.ask(["get", "pod"]).arg(format!("kafka-{id}")).args(["--output", &output]);
    let value = task.run(&ask)?.stdout.trim().to_string();
    match value.is_empty() {
        false => Ok(value),
        true => Err(Failure::step(format!("pod kafka-{id} has no {path}")).command(ask).log(&task.log)),
    }
}

/// Returns the node of broker `id`.
///
/// # Errors
/// kubectl fails.
pub fn node(task: &Task<'_>, id: u32) -> Result<String> {
    field(task, id, ".spec.nodeName")
}

/// Returns the node of the coordinator.
///
/// # Errors
/// kubectl fails.
pub fn coordinator_node(task: &Task<'_>) -> Result<String> {
    let ask = task.kubectl()?.ask(["get", "pod", coordination::POD, "--output", "jsonpath={.spec.nodeName}"]);
    Ok(task.run(&ask)?.stdout.trim().to_string())
}

/// Observes the pod of broker `id`; `None` if kubectl fails.
///
/// # Errors
/// An interruption.
pub fn seen(task: &Task<'_>, id: u32) -> Result<Option<PodSeen>> {
    let path = "jsonpath={.metadata.uid} {.status.containerStatuses[0].restartCount}";
    let ask = task.kubectl()?.ask(["get", "pod"]).arg(format!("kafka-{id}")).args(["--output", path]);
    let output = output_or_nothing(task, &ask)?;
    let mut words = output.split_whitespace().map(str::to_string);
    Ok(words.next().and_then(|uid| Some(PodSeen { uid, restarts: words.next()?.parse().ok()? })))
}

/// Observes the node of broker `id`; `None` if Docker fails.
///
/// # Errors
/// An interruption, or kubectl fails.
pub fn node_seen(task: &Task<'_>, id: u32) -> Result<Option<NodeState>> {
    let output = output_or_nothing(task, &docker::inspect(&[&node(task, id)?]))?;
    let found: serde_json::Value = serde_json::from_str(&output).unwrap_or_default();
    let state = &found[0]["State"];
    let started = state["StartedAt"].as_str().map(str::to_string);
    Ok(started.map(|started| NodeState { started, paused: state["Paused"] == true }))
}

/// Returns the uids of the CoreDNS pods that are not terminating; `None` if kubectl fails.
///
/// # Errors
/// An interruption.
pub fn dns(task: &Task<'_>) -> Result<Option<BTreeSet<String>>> {
    let words = ["--namespace", "kube-system", "get", "pods", "--selector", DNS, "--output", "json"];
    let output = output_or_nothing(task, &task.kubectl()?.ask(words))?;
    let found: serde_json::Value = serde_json::from_str(&output).unwrap_or_default();
    let stays = |pod: &&serde_json::Value| pod["metadata"]["deletionTimestamp"].is_null();
    let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].as_str().map(str::to_string);
    Ok(found["items"].as_array().map(|items| items.iter().filter(stays).filter_map(uid).collect()))
}

/// Returns the output of a program; nothing if it fails.
fn output_or_nothing(task: &Task<'_>, cmd: &Cmd) -> Result<String> {
    match task.capture(cmd) {
        Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
        Ok(output) if output.code == Some(0) => Ok(output.stdout),
        _ => Ok(String::new()),
    }
}

/// Deletes the pod of broker `id`.
///
/// # Errors
/// kubectl fails.
pub fn delete(task: &Task<'_>, id: u32) -> Result<()> {
    let cmd = task.kubectl()?.ask(["delete", "pod", "--wait=false"]).arg(format!("kafka-{id}"));
    task.run(&cmd).map(drop)
}

/// Deletes the pods of CoreDNS.
///
/// # Errors
/// kubectl fails.
pub fn delete_dns(task: &Task<'_>) -> Result<()> {
    let words = ["--namespace", "kube-system", "delete", "pod", "--wait=false", "--selector", DNS];
    task.run(&task.kubectl()?.ask(words)).map(drop)
}

/// Kills the container of broker `id` from its node: in its own process namespace the first process cannot be killed.
///
/// # Errors
/// There is no such container.
pub fn kill(task: &Task<'_>, id: u32) -> Result<()> {
    let container = field(task, id, ".status.containerStatuses[0].containerID")?;
    let container = container.trim_start_matches("containerd://").to_string();
    task.run(&docker::kill_container(&node(task, id)?, &container)).map(drop)
}

/// Pauses the node of broker `id`.
///
/// # Errors
/// Docker fails.
pub fn pause_node(task: &Task<'_>, id: u32) -> Result<()> {
    let pause = docker::pause(&node(task, id)?);
    let began = Instant::now();
    loop {
        let Err(failure) = task.run(&pause) else { return Ok(()) };
        // A cgroup (v1) cannot be frozen while processes start in it. runc retries briefly, then thaws it again (runc
        // #2774, #2791).
        let busy = failure.output.iter().any(|line| line.contains("unable to freeze"));
        if !busy || began.elapsed() >= PAUSE_TIMEOUT {
            return Err(failure);
        }
        task.pause(Duration::from_millis(200))?;
    }
}

/// Resumes the node of broker `id`.
///
/// # Errors
/// Docker fails.
pub fn resume_node(task: &Task<'_>, id: u32) -> Result<()> {
    task.run(&docker::unpause(&[&node(task, id)?])).map(drop)
}

/// Restarts the node of broker `id`.
///
/// # Errors
/// Docker fails.
pub fn restart_node(task: &Task<'_>, id: u32) -> Result<()> {
    task.run(&docker::restart(&node(task, id)?, Duration::from_secs(2))).map(drop)
}
