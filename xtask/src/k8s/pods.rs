//! Parses what kubectl reports about pods, workloads and nodes: what is ready, and what never will be. Pure.

use serde_json::Value;

/// A pod, as the API server reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// The name of the StatefulSet or Deployment that owns it.
    pub app: String,
    /// The node it is scheduled to.
    pub node: String,
    /// Pending, Running, Succeeded or Failed.
    pub phase: String,
    /// Whether all its containers are ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The restarts of all its containers.
    pub restarts: u64,
    /// Why it will not become ready on its own.
    pub trouble: Option<Trouble>,
    /// One word: a waiting container's reason, or the phase.
    pub status: String,
}

/// Why a pod will not become ready on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Kubernetes' reason: ImagePullBackOff, CrashLoopBackOff, Unschedulable, OOMKilled, …
    pub reason: String,
    /// Kubernetes' message.
    pub message: String,
}

impl Trouble {
    /// Whether it may pass within seconds: the scheduler may not have seen a new volume or node yet.
    pub fn may_pass(&self) -> bool {
        self.reason == "Unschedulable"
    }
}

/// The status of a StatefulSet or a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// `StatefulSet` or `Deployment`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.replicas`.
    pub replicas: u64,
    /// `status.readyReplicas`.
    pub ready: u64,
    /// `status.updatedReplicas`: pods made from the current manifest.
    pub updated: u64,
    /// `status.replicas`: the pods that exist.
    pub current: u64,
    /// Whether its controller has seen the current manifest.
    pub observed: bool,
}

impl WorkloadStatus {
    /// Whether every pod exists, matches the current manifest and is ready.
    pub fn is_ready(&self) -> bool {
        self.observed && self.ready == self.replicas && self.updated == self.replicas && self.current == self.replicas
    }
}

/// Everything that runs in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// StatefulSets and Deployments.
    pub workloads: Vec<WorkloadStatus>,
    /// Pods, by name.
    pub pods: Vec<Pod>,
}

/// Reasons for which a container will not start on its own.
const NEVER: [&str; 10] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "OOMKilled",
    "StartError",
];

/// Parses the output of `kubectl get … --output json`; `None` if it is malformed.
pub fn parse(json: &str) -> Option<Snapshot> {
    let list: Value = serde_json::from_str(json).ok()?;
    let mut snapshot = Snapshot::default();
    for item in list["items"].as_array()? {
        match item["kind"].as_str()? {
            "Pod" => snapshot.pods.push(pod(item)),
            kind => snapshot.workloads.push(workload(kind, item)),
        }
    }
    snapshot.pods.sort_by(|a, b| a.name.cmp(&b.name));
    Some(snapshot)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn workload(kind: &str, item: &Value) -> WorkloadStatus {
    let status = &item["status"];
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    WorkloadStatus {
        kind: kind.into(),
        name: text(&item["metadata"]["name"]),
        replicas: item["spec"]["replicas"].as_u64().unwrap_or(1),
        ready: count("readyReplicas"),
        updated: count("updatedReplicas"),
        current: count("replicas"),
        observed: status["observedGeneration"].as_u64() >= item["metadata"]["generation"].as_u64(),
    }
}

/// The StatefulSet or Deployment that owns a pod. A Deployment's pods belong to its ReplicaSets, which are named after
/// the Deployment and the pods' `pod-template-hash`.
fn owner(meta: &Value) -> String {
    let controls = |owner: &&Value| owner["controller"].as_bool().unwrap_or(true);
    let Some(owner) = meta["ownerReferences"].as_array().into_iter().flatten().find(controls) else {
        return String::new();
    };
    let name = text(&owner["name"]);
    if owner["kind"] != "ReplicaSet" {
        return name;
    }
    let hash = format!("-{}", text(&meta["labels"]["pod-template-hash"]));
    name.strip_suffix(&hash).unwrap_or(&name).to_string()
}

fn pod(item: &Value) -> Pod {
    let status = &item["status"];
    let none = Vec::new();
    let containers = status["containerStatuses"].as_array().unwrap_or(&none);
    let condition = |kind: &str| {
        status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind).cloned()
    };
    let phase = text(&status["phase"]);
    let deleting = item["metadata"]["deletionTimestamp"].is_string();
    let mut found = None;
    let mut state = phase.clone();
    for container in containers {
        let ready = container["ready"].as_bool().unwrap_or(false);
        let waiting = &container["state"]["waiting"];
        if waiting.is_object() {
            state = text(&waiting["reason"]);
        }
        let ended = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
        let killed = ended.into_iter().find(|ended| ended["reason"] == "OOMKilled" && !ready);
        // The reason it was killed is more useful than CrashLoopBackOff.
        if let Some(killed) = killed {
            let message = format!("exit code {}", killed["exitCode"]);
            found = Some(Trouble { reason: "OOMKilled".into(), message });
        } else if NEVER.contains(&text(&waiting["reason"]).as_str()) {
            found = Some(Trouble { reason: text(&waiting["reason"]), message: text(&waiting["message"]) });
        }
    }
    if let Some(condition) = condition("PodScheduled").filter(|condition| condition["reason"] == "Unschedulable") {
        state = "Unschedulable".into();
        found = Some(Trouble { reason: state.clone(), message: text(&condition["message"]) });
    }
    if phase == "Failed" && found.is_none() {
        let reason = Some(text(&status["reason"])).filter(|reason| !reason.is_empty()).unwrap_or("Failed".into());
        found = Some(Trouble { reason, message: text(&status["message"]) });
    }
    Pod {
        name: text(&item["metadata"]["name"]),
        app: owner(&item["metadata"]),
        node: text(&item["spec"]["nodeName"]),
        ready: condition("Ready").is_some_and(|ready| ready["status"] == "True") && !deleting,
        restarts: containers
            .iter()
            .filter_map(|container| container["restartCount"].as_u64())
            .fold(0, u64::saturating_add),
        // Nothing waits for a pod that is being deleted.
        trouble: found.filter(|_| !deleting),
        status: if deleting { "Terminating".into() } else { state },
        phase,
        deleting,
    }
}

/// Why the workloads `names` are not all ready: `kafka 2 of 3 ready (kafka-1 ContainerCreating)`.
pub fn not_ready(snapshot: &Snapshot, names: &[String]) -> Option<String> {
    let mut words = Vec::new();
    for name in names {
        match snapshot.workloads.iter().find(|workload| workload.name == *name) {
            None => words.push(format!("{name} is missing")),
            // kubectl lists the pods a moment before the workloads.
            Some(workload) if !workload.is_ready() || ready_pods(snapshot, name) < workload.replicas as usize => {
                let mine = snapshot.pods.iter().filter(|pod| pod.app == *name && !pod.ready);
                let waiting: Vec<String> = mine.map(|pod| format!("{} {}", pod.name, pod.status)).collect();
                let waiting = if waiting.is_empty() { String::new() } else { format!(" ({})", waiting.join(", ")) };
                words.push(format!("{name} {} of {} ready{waiting}", workload.ready, workload.replicas));
            }
            Some(_) => {}
        }
    }
    (!words.is_empty()).then(|| words.join("; "))
}

fn ready_pods(snapshot: &Snapshot, app: &str) -> usize {
    snapshot.pods.iter().filter(|pod| pod.app == app && pod.ready).count()
}

/// The name of each node and whether it is Ready, from `kubectl get nodes --output json`.
pub fn nodes(json: &str) -> Option<Vec<(String, bool)>> {
    let list: Value = serde_json::from_str(json).ok()?;
    let ready = |node: &Value| {
        node["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    Some(list["items"].as_array()?.iter().map(|node| (text(&node["metadata"]["name"]), ready(node))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(status: Value) -> Pod {
        let item = json!({"kind": "Pod", "metadata": {"name": "kafka-1", "labels": {"app": "kafka"}}, "spec": {}, "status": status});
        parse(&json!({"items": [item]}).to_string()).unwrap().pods.remove(0)
    }

    fn waiting(reason: &str) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{"ready": false, "restartCount": 2,
            "state": {"waiting": {"reason": reason, "message": "because"}}}]})
    }

    #[test]
    fn a_pod_that_never_becomes_ready_has_kubernetes_own_reason() {
        for reason in ["ImagePullBackOff", "ErrImageNeverPull", "CrashLoopBackOff"] {
            let pod = read(waiting(reason));
            assert_eq!(pod.trouble, Some(Trouble { reason: reason.into(), message: "because".into() }));
            assert_eq!(pod.restarts, 2);
        }
        let killed = read(json!({"phase": "Running", "containerStatuses": [{"ready": false,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]}));
        assert_eq!(killed.trouble.unwrap().reason, "OOMKilled");
        let unschedulable = read(json!({"phase": "Pending", "conditions":
            [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/5 nodes are available"}]}));
        assert!(unschedulable.trouble.unwrap().may_pass());
    }

    #[test]
    fn a_pod_that_is_starting_or_being_deleted_is_no_trouble() {
        assert_eq!(read(waiting("ContainerCreating")).trouble, None);
        // It was killed once and has recovered.
        let served = read(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"ready": true, "state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}}]}));
        assert_eq!((served.trouble, served.ready), (None, true));
        let mut leaving = waiting("CrashLoopBackOff");
        leaving["x"] = json!(1);
        let item = json!({"kind": "Pod", "metadata": {"name": "k", "deletionTimestamp": "2024-01-01T00:00:00Z"}, "status": leaving});
        assert_eq!(parse(&json!({"items": [item]}).to_string()).unwrap().pods[0].trouble, None);
    }

    #[test]
    fn a_rollout_is_done_when_every_pod_is_new_and_ready() {
        let set = |ready: u64, updated: u64, observed: u64| {
            let item = json!({"kind": "StatefulSet", "metadata": {"name": "kafka", "generation": 2}, "spec": {"replicas": 3},
                "status": {"readyReplicas": ready, "updatedReplicas": updated, "replicas": 3, "observedGeneration": observed}});
            let mut pod = item.clone();
            pod["kind"] = json!("Pod");
            let owners = json!([{"kind": "StatefulSet", "name": "kafka", "controller": true}]);
            pod["metadata"] = json!({"name": "kafka-2", "ownerReferences": owners});
            pod["status"] = waiting("ContainerCreating");
            let ready = (0..ready).map(|place| {
                json!({"kind": "Pod", "metadata": {"name": format!("k{place}"), "ownerReferences": owners},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
            });
            parse(&json!({"items": ready.chain([item, pod]).collect::<Vec<_>>()}).to_string()).unwrap()
        };
        let names = ["kafka".to_string()];
        assert_eq!(not_ready(&set(3, 3, 2), &names), None);
        assert_eq!(not_ready(&set(2, 3, 2), &names).unwrap(), "kafka 2 of 3 ready (kafka-2 ContainerCreating)");
        assert!(not_ready(&set(3, 2, 2), &names).is_some());
        assert!(not_ready(&set(3, 3, 1), &names).is_some());
        assert_eq!(not_ready(&Snapshot::default(), &names).unwrap(), "kafka is missing");
    }

    #[test]
    fn a_pod_belongs_to_its_owner_regardless_of_labels() {
        let owned = |kind: &str, name: &str, labels: Value| {
            let meta = json!({"labels": labels, "ownerReferences": [{"kind": kind, "name": name, "controller": true}]});
            owner(&meta)
        };
        assert_eq!(owned("StatefulSet", "kafka", json!({"app": "broker"})), "kafka");
        assert_eq!(owned("ReplicaSet", "producer-5d4f8", json!({"pod-template-hash": "5d4f8"})), "producer");
        assert_eq!(owned("ReplicaSet", "my-producer-2", json!({})), "my-producer-2");
        assert_eq!(owned("Job", "check-1", json!({"app": "kafka"})), "check-1");
        assert_eq!(owner(&json!({"labels": {"app": "kafka"}})), "");
    }

    #[test]
    fn nodes_are_ready_by_their_condition() {
        let node = |name: &str, status: &str| json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        let json = json!({"items": [node("a", "True"), node("b", "Unknown")]}).to_string();
        assert_eq!(nodes(&json).unwrap(), [("a".to_string(), true), ("b".to_string(), false)]);
        assert_eq!(nodes("The connection to the server was refused"), None);
    }
}
