//! What runs in the cluster: applied, waited for, asked, removed. A pod that will never get ready ends the wait at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Lab;
use crate::coordination;
use crate::exec::Cmd;
use crate::failure::{Failure, Result};
use crate::files::remove_file;
use crate::files::{private_dir, write_atomically};
use crate::k8s::kubectl::Kubectl;
use crate::k8s::pods::{self, Pod, Snapshot};
use crate::k8s::render;
use crate::signal::Stop;
use crate::state::Setup;
use crate::task::{Outcome, Task};
use crate::tools::causes;
use crate::wait::Poll;

/// Each question is a kubectl, which costs a tenth of a second of CPU that starting brokers need.
pub const INTERVAL: Duration = Duration::from_millis(700);

/// That pods of servers are ready nobody waits for: what they serve is asked elsewhere, and takes longer.
const UNHURRIED: Duration = Duration::from_millis(1500);

/// How long a pod may find no node: the scheduler may not have seen a new node or volume yet, and takes its time on a busy machine.
const HOMELESS: Duration = Duration::from_secs(30);

/// A part of what runs in a cluster: applied and waited for as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The coordinator and the brokers, with the host's way to them.
    Servers,
    /// The producer and the consumer.
    Clients,
}

impl Part {
    /// The files it is made of.
    fn files(self) -> &'static [&'static str] {
        match self {
            Part::Servers => &["kafka.yml", "host-access.yml"],
            Part::Clients => &["clients.yml"],
        }
    }

    /// The workloads it is made of.
    pub fn workloads(self, lab: &Lab) -> Vec<String> {
        match self {
            Part::Servers => vec![coordination::WORKLOAD.into(), "kafka".into()],
            Part::Clients => lab.facts.clients.iter().map(|client| client.name.clone()).collect(),
        }
    }
}

/// What runs now.
///
/// # Errors
/// The API server does not answer.
pub fn snapshot(task: &Task<'_>) -> Result<Snapshot> {
    let cmd = task.kubectl()?.workloads();
    let output = task.run(&cmd)?;
    pods::parse(&output.stdout).ok_or_else(|| {
        Failure::step("kubectl prints what nobody understands").command(cmd).output(&output.stdout).log(&task.log)
    })
}

/// Where the rendered manifests are written.
pub fn rendered(lab: &Lab) -> PathBuf {
    lab.state.join("manifests")
}

/// What [`apply`] would run.
pub fn preview_apply(lab: &Lab, setup: &Setup, part: Part) -> Vec<String> {
    let files: Vec<PathBuf> = part.files().iter().map(|name| rendered(lab).join(name)).collect();
    vec![
        format!("# written by `{}` too", lab.xtask("render --out DIR")),
        Kubectl::of(lab, setup).apply(&files).to_string(),
    ]
}

/// Applies the manifests of a part as they are in use.
///
/// # Errors
/// The API server refuses one.
pub fn apply(task: &Task<'_>, part: Part) -> Result<Outcome> {
    let (lab, setup, kubectl) = (task.lab(), task.setup()?, task.kubectl()?);
    let dir = rendered(lab);
    private_dir(&dir)?;
    let before = snapshot(task)?;
    let mut files = Vec::new();
    for file in part.files() {
        let text = match *file {
            "kafka.yml" => render::kafka(lab, &setup)?,
            "clients.yml" => render::clients(lab, &client_image(task)?)?,
            _ => render::host_access(lab)?,
        };
        files.push(render::write(&dir, file, &text)?);
    }
    let there = part.workloads(lab).iter().all(|name| before.workloads.iter().any(|workload| workload.name == *name));
    let differs = match there {
        true => {
            (task.status)("comparing with what is there");
            let output = task.capture(&kubectl.diff(&files))?;
            (output.code != Some(0)).then_some(output.stdout)
        }
        false => Some(String::new()),
    };
    // A pod reads its ConfigMaps and Secrets when it starts. That it is still to be started again outlives an interruption.
    let restarts: Vec<(String, PathBuf)> =
        part.workloads(lab).into_iter().map(|name| (name.clone(), lab.state.join(format!("restart-{name}")))).collect();
    for (name, due) in &restarts {
        let changed = |object: &str| differs.as_ref().is_some_and(|differs| is_changed(differs, object));
        if started_with(lab, name).any(changed) {
            write_atomically(due, "")?;
        }
    }
    let mut said = String::new();
    if differs.is_some() {
        (task.status)("applying");
        said = task.run(&kubectl.apply(&files))?.stdout;
    }
    // Kubernetes waits ever longer before it starts a pod again that failed, and a rollout waits for it. A new pod starts
    // now, as the manifest is now.
    let failed: Vec<Pod> = before
        .pods
        .into_iter()
        .filter(|pod| part.workloads(lab).contains(&pod.app))
        .filter(|pod| pod.trouble.as_ref().is_some_and(|trouble| !trouble.may_pass()))
        .collect();
    if !failed.is_empty() {
        let delete = kubectl.ask(["delete", "pod", "--ignore-not-found", "--wait=false"]);
        task.run(&delete.args(failed.iter().map(|pod| pod.name.clone())))?;
    }
    let kind = if part == Part::Servers { "statefulset" } else { "deployment" };
    for (name, due) in restarts.iter().filter(|(_, due)| due.exists()) {
        task.run(&kubectl.ask(["rollout", "restart"]).arg(format!("{kind}/{name}")))?;
        remove_file(due)?;
    }
    let mut proof = part.files().join(" and ");
    match &differs {
        Some(differs) if there => {
            proof += &format!(": {} changed", differs.lines().filter(|line| line.starts_with("diff ")).count());
        }
        Some(_) => proof += &format!(": {} created", said.lines().count()),
        None => {}
    }
    if !failed.is_empty() {
        proof += &format!("; {} had failed, made again", names(&failed));
    }
    Ok(if differs.is_none() && failed.is_empty() { Outcome::unchanged(proof) } else { Outcome::changed(proof) })
}

/// The ConfigMaps and Secrets that a workload's pods read when they start.
fn started_with<'a>(lab: &'a Lab, workload: &str) -> impl Iterator<Item = &'a str> {
    let mounted = (workload == coordination::WORKLOAD).then_some(coordination::CONFIG_MAP);
    mounted.into_iter().chain(lab.facts.sources.get(workload).into_iter().flatten().map(String::as_str))
}

/// Whether what `kubectl diff` prints names a ConfigMap or a Secret called `object`: `diff … /tmp/LIVE-1/v1.ConfigMap.default.NAME …`.
fn is_changed(differs: &str, object: &str) -> bool {
    let files = differs.lines().filter(|line| line.starts_with("diff ")).flat_map(str::split_whitespace);
    let mut names = files.filter_map(|file| file.rsplit('/').next());
    names.any(|name| ["ConfigMap", "Secret"].iter().any(|kind| name == format!("v1.{kind}.default.{object}")))
}

fn names(pods: &[Pod]) -> String {
    pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The client image by the name that changes with its content.
///
/// # Errors
/// It was not built.
pub fn client_image(task: &Task<'_>) -> Result<String> {
    let image = task.ctx.client_image.get().map(|archive| archive.name.clone());
    image.ok_or_else(|| Failure::step("the client image was not built"))
}

/// Ends a wait for pods that will never get ready, by Kubernetes' own word for why.
pub struct Patience {
    homeless: BTreeMap<String, Instant>,
    killed: bool,
}

impl Patience {
    /// With all of it left.
    pub fn new() -> Self {
        Patience { homeless: BTreeMap::new(), killed: false }
    }

    /// With patience also for containers that somebody killed: the second time, Kubernetes waits before it starts one again and calls that
    /// CrashLoopBackOff.
    pub fn with_killed() -> Self {
        Patience { killed: true, ..Self::new() }
    }

    /// The first pod that will never get ready.
    pub fn lost<'a>(&mut self, pods: impl Iterator<Item = &'a Pod>) -> Option<Pod> {
        for pod in pods {
            match &pod.trouble {
                Some(trouble) if self.killed && trouble.reason == "CrashLoopBackOff" => {}
                Some(trouble) if !trouble.may_pass() => return Some(pod.clone()),
                Some(_) if self.homeless.entry(pod.name.clone()).or_insert_with(Instant::now).elapsed() > HOMELESS => {
                    return Some(pod.clone());
                }
                Some(_) => {}
                None => {
                    self.homeless.remove(&pod.name);
                }
            }
        }
        None
    }
}

/// The failure that a pod's trouble is worth: its reason, its events, its last words.
pub fn pod_failure(task: &Task<'_>, pod: &Pod) -> Failure {
    let lab = task.lab();
    let trouble = pod.trouble.as_ref();
    let reason = trouble.map_or(pod.status.as_str(), |trouble| trouble.reason.as_str());
    let message = trouble.map(|trouble| trouble.message.as_str()).filter(|message| !message.is_empty());
    let mut failure =
        Failure::step(format!("{}: {reason}{}", pod.name, message.map(|m| format!(": {m}")).unwrap_or_default()));
    let Ok(kubectl) = task.kubectl() else { return failure };
    let said = |cmd: Cmd| {
        task.ctx.exec.capture(&cmd, &task.log, &Stop::default()).map(|output| output.stdout).unwrap_or_default()
    };
    let mut words: Vec<String> = crate::failure::tail(&said(kubectl.events(&pod.name)), 5)
        .into_iter()
        .map(|line| format!("event: {}", line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")))
        .collect();
    let mut cause = None;
    for previous in [true, false] {
        let log = said(kubectl.log(&pod.name, 200, previous));
        cause = cause.or_else(|| causes::find(&log));
        // Where Java was when it gave up says less than why.
        let log: Vec<&str> = log.lines().filter(|line| !line.starts_with("\tat ")).collect();
        if !log.concat().trim().is_empty() {
            words.extend(crate::failure::tail(&log.join("\n"), 8));
            break;
        }
    }
    if let Some(cause) = &cause {
        failure.what += &format!("; {}", cause.what);
    }
    let fix = match reason {
        "ErrImageNeverPull" | "ImagePullBackOff" | "ErrImagePull" => {
            format!("{} brings the images into every node", lab.xtask("up"))
        }
        "Unschedulable" => "lower replicas or resources.requests in the manifests, or give the engine more".into(),
        "OOMKilled" => "raise resources.limits.memory in the manifest, or lower KAFKA_HEAP_OPTS".into(),
        _ => match &cause {
            Some(cause) => cause.way.fix(lab),
            None => format!("`{}` shows all of its log", lab.xtask(&format!("logs {} -n 200", pod.name))),
        },
    };
    Failure { output: words, ..failure.log(&task.log).fix(fix) }
}

/// What [`ready`] would run.
pub fn preview_ready(lab: &Lab, setup: &Setup, part: Part) -> Vec<String> {
    vec![
        format!(
            "# until {} have all pods ready; what will never get ready is a failure at once",
            part.workloads(lab).join(" and ")
        ),
        Kubectl::of(lab, setup).workloads().to_string(),
    ]
}

/// Waits until every pod of a part is ready.
///
/// # Errors
/// One will never be, or not in time.
pub fn ready(task: &Task<'_>, part: Part) -> Result<Outcome> {
    ready_with(task, part, Patience::new())
}

/// As [`ready`], with as much patience as is given.
///
/// # Errors
/// As [`ready`].
pub fn ready_with(task: &Task<'_>, part: Part, mut patience: Patience) -> Result<Outcome> {
    let lab = task.lab();
    let workloads = part.workloads(lab);
    let mut waited = false;
    let interval = if part == Part::Servers { UNHURRIED } else { INTERVAL };
    let found = task
        .wait("the pods", lab.timeout(|t| t.pods), interval, || {
            let found = snapshot(task)?;
            if let Some(lost) = patience.lost(found.pods.iter().filter(|pod| workloads.contains(&pod.app))) {
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
pub fn preview_remove_clients(lab: &Lab, setup: &Setup) -> Vec<String> {
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
    let said = task.run(&delete_clients(lab, &task.kubectl()?))?.stdout;
    // Deleting a Deployment does not wait for its pods.
    task.wait("the clients' pods", lab.timeout(|t| t.pods), INTERVAL, || {
        let workloads = Part::Clients.workloads(lab);
        let left: Vec<Pod> = snapshot(task)?.pods.into_iter().filter(|pod| workloads.contains(&pod.app)).collect();
        Ok(if left.is_empty() { Poll::Ready(()) } else { Poll::NotYet(format!("{} ending", names(&left))) })
    })?;
    Ok(match said.lines().count() {
        0 => Outcome::unchanged("not running"),
        count => Outcome::changed(format!("{count} deleted")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_object_is_known_by_its_whole_name() {
        let differs = "diff -u -N /tmp/LIVE-1/v1.ConfigMap.default.broker-settings /tmp/MERGED-2/v1.ConfigMap.default.broker-settings\n\
                       -  KAFKA_NUM_PARTITIONS: \"4\"\ndiff -u -N /tmp/LIVE-1/apps.v1.StatefulSet.default.kafka /tmp/MERGED-2/x\n";
        assert!(is_changed(differs, "broker-settings"));
        for other in ["broker", "settings", "kafka", "4", ""] {
            assert!(!is_changed(differs, other), "{other}");
        }
    }
}
