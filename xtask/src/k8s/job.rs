//! The clients' program inside the cluster: once in its own Job, or in a running client's pod.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::config::Lab;
use crate::exec::{Cmd, Output};
use crate::failure::Result;
use crate::files::private_dir;
use crate::k8s::kubectl::Kubectl;
use crate::k8s::pods;
use crate::k8s::render;
use crate::k8s::workload::{GiveUp, INTERVAL, client_image, pod_failure, rendered};
use crate::signal::Stop;
use crate::system::now_ms;
use crate::task::Task;
use crate::tools::clients;
use crate::wait::Poll;

/// Runs the clients' program once in a Job. The output has no exit code: the last line says the same.
///
/// # Errors
/// The Job does not start, or does not end before the command's deadline.
pub fn run(task: &Task<'_>, purpose: &str, cmd: &Cmd) -> Result<Output> {
    let (lab, kubectl) = (task.lab(), task.kubectl()?);
    let name = format!("check-{purpose}-{:x}", now_ms());
    let dir = rendered(lab);
    private_dir(&dir)?;
    let text = manifest(&name, &client_image(task)?, &clients::args(cmd), cmd.deadline.as_secs());
    let file = render::write(&dir, &format!("{name}.json"), &text)?;
    let result = watch(task, &kubectl, &name, &file, cmd.deadline);
    // Always delete it, even after an interruption.
    let delete = kubectl.ask(["delete", "job", "--ignore-not-found", "--wait=false", &name]);
    let _ = task.ctx.exec.capture(&delete, &task.log, &Stop::default());
    let _ = fs::remove_file(&file);
    Ok(Output { code: None, stdout: result?, stderr: String::new() })
}

fn watch(task: &Task<'_>, kubectl: &Kubectl, name: &str, file: &Path, deadline: Duration) -> Result<String> {
    task.run(&kubectl.ask(["create", "--filename"]).arg(file))?;
    let mut give_up = GiveUp::new();
    let pod = task.wait(&format!("Job {name}"), deadline, INTERVAL, || {
        let found = pods::parse(&task.capture(&kubectl.job_pods(name))?.stdout).unwrap_or_default();
        Ok(match found.pods.first() {
            None => Poll::NotYet("has no pod yet".into()),
            Some(pod) if ["Succeeded", "Failed"].contains(&pod.phase.as_str()) => Poll::Ready(pod.clone()),
            Some(pod) => match give_up.lost(found.pods.iter()) {
                Some(lost) => return Err(pod_failure(task, &lost)),
                None => Poll::NotYet(format!("{} {}", pod.name, pod.status)),
            },
        })
    })?;
    let output = task.run(&kubectl.cmd(Duration::from_secs(60), ["logs", &pod.name]))?.stdout;
    if output.trim().is_empty() {
        return Err(pod_failure(task, &pod));
    }
    Ok(output)
}

/// The command in the pod of a deployed producer, or of another client; `None` if no client has replicas.
pub fn in_producer(lab: &Lab, kubectl: &Kubectl, cmd: &Cmd) -> Option<Cmd> {
    let producer = lab.facts.clients.iter().find(|client| client.role == "producer" && client.replicas > 0);
    let producer = producer.or(lab.facts.clients.iter().find(|client| client.replicas > 0))?;
    let target = format!("deployment/{}", producer.name);
    Some(kubectl.cmd(cmd.deadline, ["exec", &target, "--", "/clients"]).args(clients::args(cmd)))
}

/// The manifest of Job `name`, which runs the clients' program once with `args`, without retries. Kubernetes ends it
/// after `deadline_s` seconds.
pub fn manifest(name: &str, image: &str, args: &[String], deadline_s: u64) -> String {
    let labels = json!({"app": "check", "app.kubernetes.io/part-of": "kafka-lab"});
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": deadline_s,
            // We delete it ourselves; this covers a killed xtask.
            "ttlSecondsAfterFinished": 300,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "enableServiceLinks": false,
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [{
                        "name": "check",
                        "image": image,
                        "imagePullPolicy": "Never",
                        "args": args,
                        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }],
                },
            },
        },
    });
    serde_json::to_string_pretty(&job).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_in_as_they_are() {
        let args = ["offsets".to_string(), "--topic".into(), "a \"b\" $(c)".into()];
        let job: serde_json::Value = serde_json::from_str(&manifest("check-1", "clients:ab", &args, 60)).unwrap();
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], serde_json::json!(args));
        assert_eq!((&container["image"], &job["spec"]["backoffLimit"]), (&"clients:ab".into(), &0.into()));
    }
}
