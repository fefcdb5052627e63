//! What a drill does to pods and nodes of a kind cluster, and how it looks at them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::coordination;
use crate::drill::evidence::PodSeen;
use crate::exec::Cmd;
use crate::failure::{Exit, Failure, Result};
use crate::k8s::kubectl::Kubectl;
use crate::task::Task;
use crate::tools::docker;

fn ran(task: &Task<'_>, cmd: &Cmd) -> Result<String> {
    Ok(task.run(cmd)?.stdout)
}

fn kubectl(task: &Task<'_>) -> Result<Kubectl> {
    Ok(Kubectl::of(task.lab(), &task.setup()?))
}

/// One field of broker `id`'s pod.
fn field(task: &Task<'_>, id: u32, path: &str) -> Result<String> {
    let ask = kubectl(task)?
        .ask(["get", "pod"])
        .arg(format!("kafka-{id}"))
        .args(["--output", &format!("jsonpath={{{path}}}")]);
    let value = ran(task, &ask)?.trim().to_string();
    match value.is_empty() {
        false => Ok(value),
        true => Err(Failure::step(format!("pod kafka-{id} has no {path}")).command(ask).log(&task.log)),
    }
}

/// The node of broker `id`.
///
/// # Errors
/// The API server does not tell.
pub fn node(task: &Task<'_>, id: u32) -> Result<String> {
    field(task, id, ".spec.nodeName")
}

/// The node of the coordinator.
///
/// # Errors
/// The API server does not tell.
pub fn coordinator_node(task: &Task<'_>) -> Result<String> {
    let ask = kubectl(task)?.ask(["get", "pod", coordination::POD, "--output", "jsonpath={.spec.nodeName}"]);
    Ok(ran(task, &ask)?.trim().to_string())
}

/// Broker `id`'s pod, as the API server knows it. `None` when it does not tell.
///
/// # Errors
/// An interruption.
pub fn seen(task: &Task<'_>, id: u32) -> Result<Option<PodSeen>> {
    let path = "jsonpath={.metadata.uid} {.status.containerStatuses[0].restartCount}";
    let ask = kubectl(task)?.ask(["get", "pod"]).arg(format!("kafka-{id}")).args(["--output", path]);
    let said = told(task, &ask)?;
    let mut words = said.split_whitespace().map(str::to_string);
    Ok(words.next().and_then(|uid| Some(PodSeen { uid, restarts: words.next()?.parse().ok()? })))
}

/// What the engine says of the node of broker `id`. `None` when it does not tell.
///
/// # Errors
/// An interruption, or the API server does not tell which node that is.
pub fn node_seen(task: &Task<'_>, id: u32) -> Result<Option<NodeState>> {
    let said = told(task, &docker::inspect(&[&node(task, id)?]))?;
    let found: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    let state = &found[0]["State"];
    let started = state["StartedAt"].as_str().map(str::to_string);
    Ok(started.map(|started| NodeState { started, paused: state["Paused"] == true }))
}

/// The pods of CoreDNS that are not on their way out, by uid. `None` when the API server does not tell.
///
/// # Errors
/// An interruption.
pub fn dns(task: &Task<'_>) -> Result<Option<BTreeSet<String>>> {
    let words = ["--namespace", "kube-system", "get", "pods", "--selector", DNS, "--output", "json"];
    let said = told(task, &kubectl(task)?.ask(words))?;
    let found: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
    let stays = |pod: &&serde_json::Value| pod["metadata"]["deletionTimestamp"].is_null();
    let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].as_str().map(str::to_string);
    Ok(found["items"].as_array().map(|items| items.iter().filter(stays).filter_map(uid).collect()))
}

/// What a program says that is asked to look only: nothing when it fails.
fn told(task: &Task<'_>, cmd: &Cmd) -> Result<String> {
    match task.capture(cmd) {
        Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
        Ok(output) if output.code == Some(0) => Ok(output.stdout),
        _ => Ok(String::new()),
    }
}

/// What the engine says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// When its container was started.
    pub started: String,
    /// Whether it is paused.
    pub paused: bool,
}

/// The label of CoreDNS.
const DNS: &str = "k8s-app=kube-dns";

/// Deletes broker `id`'s pod.
///
/// # Errors
/// The API server refuses.
pub fn delete(task: &Task<'_>, id: u32) -> Result<()> {
    let cmd = kubectl(task)?.ask(["delete", "pod", "--wait=false"]).arg(format!("kafka-{id}"));
    ran(task, &cmd).map(drop)
}

/// Deletes the pods of CoreDNS.
///
/// # Errors
/// The API server refuses.
pub fn delete_dns(task: &Task<'_>) -> Result<()> {
    let words = ["--namespace", "kube-system", "delete", "pod", "--wait=false", "--selector", DNS];
    ran(task, &kubectl(task)?.ask(words)).map(drop)
}

/// Kills the container of broker `id`, from its node: in its own process namespace nothing can kill the first process.
///
/// # Errors
/// There is none.
pub fn kill(task: &Task<'_>, id: u32) -> Result<()> {
    let container = field(task, id, ".status.containerStatuses[0].containerID")?;
    let container = container.trim_start_matches("containerd://").to_string();
    ran(task, &docker::kill_container(&node(task, id)?, &container)).map(drop)
}

/// How long a node that cannot be frozen is tried again.
const FREEZE_WITHIN: Duration = Duration::from_secs(20);

/// Pauses the node of broker `id`.
///
/// # Errors
/// The engine refuses.
pub fn pause_node(task: &Task<'_>, id: u32) -> Result<()> {
    let pause = docker::pause(&node(task, id)?);
    let began = Instant::now();
    loop {
        let Err(failure) = ran(task, &pause) else { return Ok(()) };
        // Processes that begin just then keep a cgroup (v1) from being frozen. runc tries for a moment and thaws it again (runc #2774, #2791).
        let busy = failure.output.iter().any(|line| line.contains("unable to freeze"));
        if !busy || began.elapsed() >= FREEZE_WITHIN {
            return Err(failure);
        }
        task.pause(Duration::from_millis(200))?;
    }
}

/// Resumes the node of broker `id`.
///
/// # Errors
/// The engine refuses.
pub fn resume_node(task: &Task<'_>, id: u32) -> Result<()> {
    ran(task, &docker::unpause(&[&node(task, id)?])).map(drop)
}

/// Restarts the node of broker `id`.
///
/// # Errors
/// The engine refuses.
pub fn restart_node(task: &Task<'_>, id: u32) -> Result<()> {
    ran(task, &docker::restart(&node(task, id)?, Duration::from_secs(2))).map(drop)
}
