//! Applies, awaits, inspects and removes the workloads. A pod that will never become ready ends the wait at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Lab;
use crate::coordination;
use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::files::{private_dir, remove_file, write_atomically};
use crate::k8s::kubectl::Kubectl;
use crate::k8s::pods::{self, Pod, Snapshot};
use crate::k8s::render;
use crate::signal::Stop;
use crate::state::Toolchain;
use crate::task::{Outcome, Task};
use crate::tools::causes;
use crate::wait::Poll;

/// Each poll runs kubectl, which takes a tenth of a second of CPU from starting brokers.
pub const INTERVAL: Duration = Duration::from_millis(700);

/// Nothing depends on the server pods' readiness: another step asks the brokers themselves, and takes longer.
const SLOW_INTERVAL: Duration = Duration::from_millis(1500);

/// How long a pod may be Unschedulable: the scheduler sees new nodes and volumes late on a busy machine.
const UNSCHEDULABLE_FOR: Duration = Duration::from_secs(30);

/// Workloads that are applied and awaited together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadGroup {
    /// The coordinator and the brokers, with the host's access to them.
    Servers,
    /// The producer and the consumer.
    Clients,
}

impl WorkloadGroup {
    /// The names of its manifests.
    fn files(self) -> &'static [&'static str] {
        match self {
            WorkloadGroup::Servers => &["kafka.yml", "host-access.yml"],
            WorkloadGroup::Clients => &["clients.yml"],
        }
    }

    /// The names of its StatefulSets or Deployments.
    pub fn workloads(self, lab: &Lab) -> Vec<String> {
        match self {
            WorkloadGroup::Servers => vec![coordination::WORKLOAD.into(), "kafka".into()],
            WorkloadGroup::Clients => lab.facts.clients.iter().map(|client| client.name.clone()).collect(),
        }
    }
}

/// Everything that runs now.
///
/// # Errors
/// The API server does not answer.
pub fn snapshot(task: &Task<'_>) -> Result<Snapshot> {
    let cmd = task.kubectl()?.workloads();
    let output = task.run(&cmd)?;
    pods::parse(&output.stdout).ok_or_else(|| {
        Failure::step("cannot parse the output of kubectl").command(cmd).output(&output.stdout).log(&task.log)
    })
}

/// The folder of the rendered manifests.
pub fn rendered(lab: &Lab) -> PathBuf {
    lab.state.join("manifests")
}

/// What [`apply`] would run.
pub fn preview_apply(lab: &Lab, setup: &Toolchain, group: WorkloadGroup) -> Vec<String> {
    let files: Vec<PathBuf> = group.files().iter().map(|name| rendered(lab).join(name)).collect();
    vec![
        format!("# `{}` writes the same files", lab.xtask("render --out DIR")),
        Kubectl::of(lab, setup).apply(&files).to_string(),
    ]
}

/// Applies the rendered manifests of a group.
///
/// # Errors
/// The API server rejects a manifest.
pub fn apply(task: &Task<'_>, group: WorkloadGroup) -> Result<Outcome> {
    let (lab, kubectl, workloads) = (task.lab(), task.kubectl()?, group.workloads(task.lab()));
    let before = snapshot(task)?;
    let files = write_manifests(task, group)?;
    let exists = workloads.iter().all(|name| before.workloads.iter().any(|workload| workload.name == *name));
    let differs = match exists {
        true => {
            (task.status)("comparing with the cluster");
            let output = task.capture(&kubectl.diff(&files))?;
            (output.code != Some(0)).then_some(output.stdout)
        }
        false => Some(String::new()),
    };
    // A pod reads its ConfigMaps and Secrets at startup. The file keeps a due restart across an interruption.
    let restarts: Vec<(&String, PathBuf)> =
        workloads.iter().map(|name| (name, lab.state.join(format!("restart-{name}")))).collect();
    for (name, due) in &restarts {
        let changed = |object: &str| differs.as_ref().is_some_and(|differs| is_changed(differs, object));
        if started_with(lab, name).any(changed) {
            write_atomically(due, "")?;
        }
    }
    let mut applied = String::new();
    if differs.is_some() {
        (task.status)("applying");
        applied = task.run(&kubectl.apply(&files))?.stdout;
    }
    // Kubernetes backs off before it restarts a failed pod, and a rollout waits for it. A new pod starts at once, from
    // the current manifest.
    let failed: Vec<Pod> = before
        .pods
        .into_iter()
        .filter(|pod| workloads.contains(&pod.app))
        .filter(|pod| pod.trouble.as_ref().is_some_and(|trouble| !trouble.may_pass()))
        .collect();
    if !failed.is_empty() {
        let delete = kubectl.ask(["delete", "pod", "--ignore-not-found", "--wait=false"]);
        task.run(&delete.args(failed.iter().map(|pod| pod.name.clone())))?;
    }
    let kind = if group == WorkloadGroup::Servers { "statefulset" } else { "deployment" };
    for (name, due) in restarts.iter().filter(|(_, due)| due.exists()) {
        task.run(&kubectl.ask(["rollout", "restart"]).arg(format!("{kind}/{name}")))?;
        remove_file(due)?;
    }
    let mut proof = group.files().join(" and ");
    match &differs {
        Some(differs) if exists => {
            proof += &format!(": {} changed", differs.lines().filter(|line| line.starts_with("diff ")).count());
        }
        Some(_) => proof += &format!(": {} created", applied.lines().count()),
        None => {}
    }
    if !failed.is_empty() {
        proof += &format!("; {} had failed, recreated", names(&failed));
    }
    Ok(if differs.is_none() && failed.is_empty() { Outcome::unchanged(proof) } else { Outcome::changed(proof) })
}

/// Renders the manifests of a group into files.
fn write_manifests(task: &Task<'_>, group: WorkloadGroup) -> Result<Vec<PathBuf>> {
    let (lab, dir) = (task.lab(), rendered(task.lab()));
    private_dir(&dir)?;
    let write = |file: &&str| {
        let text = match *file {
            "kafka.yml" => render::kafka(lab, &task.setup()?)?,
            "clients.yml" => render::clients(lab, &client_image(task)?)?,
            _ => render::host_access(lab)?,
        };
        render::write(&dir, file, &text)
    };
    group.files().iter().map(write).collect()
}

/// The ConfigMaps and Secrets that a workload's pods read at startup.
fn started_with<'a>(lab: &'a Lab, workload: &str) -> impl Iterator<Item = &'a str> {
    let mounted = (workload == coordination::WORKLOAD).then_some(coordination::CONFIG_MAP);
    mounted.into_iter().chain(lab.facts.sources.get(workload).into_iter().flatten().map(String::as_str))
}

/// Whether the output of `kubectl diff` has a ConfigMap or a Secret called `object`:
/// `diff … /tmp/LIVE-1/v1.ConfigMap.default.NAME …`.
fn is_changed(differs: &str, object: &str) -> bool {
    let files = differs.lines().filter(|line| line.starts_with("diff ")).flat_map(str::split_whitespace);
    let mut names = files.filter_map(|file| file.rsplit('/').next());
    names.any(|name| ["ConfigMap", "Secret"].iter().any(|kind| name == format!("v1.{kind}.default.{object}")))
}

fn names(pods: &[Pod]) -> String {
    pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The client image's name, which changes with its content.
///
/// # Errors
/// The image was not built.
pub fn client_image(task: &Task<'_>) -> Result<String> {
    let image = task.ctx.client_image.get().map(|archive| archive.name.clone());
    image.ok_or_else(|| Failure::step("the client image was not built"))
}

/// Decides when to give up waiting for pods, by Kubernetes' own reasons.
pub struct GiveUp {
    unschedulable: BTreeMap<String, Instant>,
    /// Whether containers that crash repeatedly are given time.
    killed: bool,
}

impl GiveUp {
    /// Gives up on every reason that does not pass.
    pub fn new() -> Self {
        GiveUp { unschedulable: BTreeMap::new(), killed: false }
    }

    /// Tolerates CrashLoopBackOff, which is also Kubernetes' reason for the pause before it restarts a container that a
    /// drill killed twice.
    pub fn with_killed() -> Self {
        GiveUp { killed: true, ..Self::new() }
    }

    /// The first pod that will never become ready.
    pub fn lost<'a>(&mut self, pods: impl Iterator<Item = &'a Pod>) -> Option<Pod> {
        for pod in pods {
            match &pod.trouble {
                Some(trouble) if self.killed && trouble.reason == "CrashLoopBackOff" => {}
                Some(trouble) if !trouble.may_pass() => return Some(pod.clone()),
                Some(_)
                    if self.unschedulable.entry(pod.name.clone()).or_insert_with(Instant::now).elapsed()
                        > UNSCHEDULABLE_FOR =>
                {
                    return Some(pod.clone());
                }
                Some(_) => {}
                None => {
                    self.unschedulable.remove(&pod.name);
                }
            }
        }
        None
    }
}

/// The failure for a pod's trouble: the reason, its events and its last log lines.
pub fn pod_failure(task: &Task<'_>, pod: &Pod) -> Failure {
    let lab = task.lab();
    let trouble = pod.trouble.as_ref();
    let reason = trouble.map_or(pod.status.as_str(), |trouble| trouble.reason.as_str());
    let message = trouble.map(|trouble| trouble.message.as_str()).filter(|message| !message.is_empty());
    let mut failure =
        Failure::step(format!("{}: {reason}{}", pod.name, message.map(|m| format!(": {m}")).unwrap_or_default()));
    let Ok(kubectl) = task.kubectl() else { return failure };
    let stdout = |cmd: Cmd| {
        task.ctx.exec.capture(&cmd, &task.log, &Stop::default()).map(|output| output.stdout).unwrap_or_default()
    };
    let mut lines: Vec<String> = crate::failure::tail(&stdout(kubectl.events(&pod.name)), 5)
        .into_iter()
        .map(|line| format!("event: {}", line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")))
        .collect();
    let mut cause = None;
    for previous in [true, false] {
        let log = stdout(kubectl.log(&pod.name, 200, previous));
        cause = cause.or_else(|| causes::find(&log));
        // Drop Java's stack frames, which say less than the message.
        let log: Vec<&str> = log.lines().filter(|line| !line.starts_with("\tat ")).collect();
        if !log.concat().trim().is_empty() {
            lines.extend(crate::failure::tail(&log.join("\n"), 8));
            break;
        }
    }
    if let Some(cause) = &cause {
        failure.message += &format!("; {}", cause.what);
    }
    let fix = match reason {
        "ErrImageNeverPull" | "ImagePullBackOff" | "ErrImagePull" => {
            format!("{} loads the images into every node", lab.xtask("up"))
        }
        "Unschedulable" => "lower replicas or resources.requests in the manifests, or give the cluster more".into(),
        "OOMKilled" => "raise resources.limits.memory in the manifest, or lower KAFKA_HEAP_OPTS".into(),
        _ => match &cause {
            Some(cause) => cause.way.fix(lab),
            None => format!("`{}` shows its log", lab.xtask(&format!("logs {} -n 200", pod.name))),
        },
    };
    Failure { output: lines, ..failure.log(&task.log).fix(fix) }
}

/// What [`ready`] would run.
pub fn preview_ready(lab: &Lab, setup: &Toolchain, group: WorkloadGroup) -> Vec<String> {
    vec![
        format!(
            "# until all pods of {} are ready; fail at once if one never will be",
            group.workloads(lab).join(" and ")
        ),
        Kubectl::of(lab, setup).workloads().to_string(),
    ]
}

/// Waits until every pod of a group is ready.
///
/// # Errors
/// A pod will never be ready, or is not ready in time.
pub fn ready(task: &Task<'_>, group: WorkloadGroup) -> Result<Outcome> {
    ready_with(task, group, GiveUp::new())
}

/// Like [`ready`], with the caller's rules for giving up.
///
/// # Errors
/// As [`ready`].
pub fn ready_with(task: &Task<'_>, group: WorkloadGroup, mut give_up: GiveUp) -> Result<Outcome> {
    let lab = task.lab();
    let workloads = group.workloads(lab);
    let mut waited = false;
    let interval = if group == WorkloadGroup::Servers { SLOW_INTERVAL } else { INTERVAL };
    let found = task
        .wait("the pods", lab.timeout(|t| t.pods), interval, || {
            let found = snapshot(task)?;
            if let Some(lost) = give_up.lost(found.pods.iter().filter(|pod| workloads.contains(&pod.app))) {
                return Err(pod_failure(task, &lost));
            }
            Ok(match pods::not_ready(&found, &workloads) {
                Some(status) => {
                    waited = true;
                    Poll::NotYet(status)
                }
                None => Poll::Ready(found),
            })
        })
        .map_err(|failure| failure.log(&task.log))?;
    let mine: Vec<Pod> = found.pods.into_iter().filter(|pod| workloads.contains(&pod.app) && pod.ready).collect();
    let proof = format!("{} ready", names(&mine));
    Ok(if waited { Outcome::changed(proof) } else { Outcome::unchanged(proof) })
}

/// What [`remove_clients`] would run.
pub fn preview_remove_clients(lab: &Lab, setup: &Toolchain) -> Vec<String> {
    vec![delete_clients(lab, &Kubectl::of(lab, setup)).to_string()]
}

fn delete_clients(lab: &Lab, kubectl: &Kubectl) -> Cmd {
    let file = lab.manifests.join("clients.yml");
    kubectl.cmd(Duration::from_secs(90), ["delete", "--ignore-not-found", "--filename"]).arg(file)
}

/// Removes the clients, as `kubectl delete -f clients.yml` does.
///
/// # Errors
/// The API server refuses.
pub fn remove_clients(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    (task.status)("the producer flushes");
    let deleted = task.run(&delete_clients(lab, &task.kubectl()?))?.stdout;
    // kubectl does not wait for a deleted Deployment's pods.
    task.wait("the clients' pods", lab.timeout(|t| t.pods), INTERVAL, || {
        let workloads = WorkloadGroup::Clients.workloads(lab);
        let left: Vec<Pod> = snapshot(task)?.pods.into_iter().filter(|pod| workloads.contains(&pod.app)).collect();
        Ok(if left.is_empty() { Poll::Ready(()) } else { Poll::NotYet(format!("{} terminating", names(&left))) })
    })?;
    Ok(match deleted.lines().count() {
        0 => Outcome::unchanged("not running"),
        count => Outcome::changed(format!("{count} deleted")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_object_is_matched_by_its_full_name() {
        let differs = "diff -u -N /tmp/LIVE-1/v1.ConfigMap.default.broker-settings /tmp/MERGED-2/v1.ConfigMap.default.broker-settings\n\
                       -  KAFKA_NUM_PARTITIONS: \"4\"\ndiff -u -N /tmp/LIVE-1/apps.v1.StatefulSet.default.kafka /tmp/MERGED-2/x\n";
        assert!(is_changed(differs, "broker-settings"));
        for other in ["broker", "settings", "kafka", "4", ""] {
            assert!(!is_changed(differs, other), "{other}");
        }
    }
}
