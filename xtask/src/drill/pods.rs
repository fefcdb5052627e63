//! What a drill does to pods and nodes of a kind cluster.

use std::time::Duration;

use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::step::Task;
use crate::tools::docker;
use crate::tools::kubectl::Kubectl;

fn ran(task: &Task<'_>, cmd: &Cmd) -> Result<String> {
    Ok(task.ctx.exec.capture(cmd, &task.log, task.ctx.stop)?.success(cmd, &task.log)?.stdout)
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

fn node(task: &Task<'_>, id: u32) -> Result<String> {
    field(task, id, ".spec.nodeName")
}

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
    let words = ["--namespace", "kube-system", "delete", "pod", "--wait=false", "--selector", "k8s-app=kube-dns"];
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

/// Pauses the node of broker `id`.
///
/// # Errors
/// The engine refuses.
pub fn pause_node(task: &Task<'_>, id: u32) -> Result<()> {
    ran(task, &docker::pause(&node(task, id)?)).map(drop)
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
