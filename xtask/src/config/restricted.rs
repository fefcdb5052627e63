//! Tests only: every pod meets the level `restricted` of Kubernetes' Pod Security Standards.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::yaml;

/// Collects every pod spec in a manifest, which is any object with containers, with its name.
fn pod_specs(value: &Value, name: &str, found: &mut Vec<(String, Value)>) {
    let own = value["metadata"]["name"].as_str().filter(|_| value["kind"].is_string()).unwrap_or(name);
    match value {
        Value::Object(fields) => {
            if fields.contains_key("containers") {
                found.push((own.into(), value.clone()));
            }
            fields.values().for_each(|value| pod_specs(value, own, found));
        }
        Value::Array(values) => values.iter().for_each(|value| pod_specs(value, own, found)),
        _ => {}
    }
}

/// Returns how a pod violates the level `restricted`, or this lab's additional rules.
fn unrestricted(spec: &Value) -> Vec<String> {
    let mut faults: Vec<String> = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.into());
        }
    };
    let absent = |holder: &Value, field: &str| holder.get(field).is_none_or(Value::is_null);
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        must(absent(spec, field), field);
    }
    must(spec["automountServiceAccountToken"] == json!(false), "automountServiceAccountToken");
    must(absent(spec, "serviceAccountName") && absent(spec, "serviceAccount"), "serviceAccountName");
    const VOLUMES: [&str; 7] =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "secret"];
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let mut kinds = volume.as_object().into_iter().flatten().map(|(kind, _)| kind).filter(|kind| *kind != "name");
        must(kinds.all(|kind| VOLUMES.contains(&kind.as_str())), "volumes");
    }
    let pod = &spec["securityContext"];
    must(absent(pod, "sysctls"), "sysctls");
    for group in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec[group].as_array().into_iter().flatten() {
            let own = &container["securityContext"];
            // A container's own value overrides its pod's.
            let effective = |field: &str| if absent(own, field) { &pod[field] } else { &own[field] };
            must(effective("runAsNonRoot") == &json!(true), "runAsNonRoot");
            must(effective("runAsUser").as_u64().is_some_and(|user| user > 0), "runAsUser");
            must(own["allowPrivilegeEscalation"] == json!(false), "allowPrivilegeEscalation");
            must(own["capabilities"] == json!({"drop": ["ALL"]}), "capabilities");
            let seccomp = effective("seccompProfile")["type"].as_str().unwrap_or_default();
            must(["RuntimeDefault", "Localhost"].contains(&seccomp), "seccompProfile");
            for field in ["privileged", "procMount"] {
                must(absent(own, field), field);
            }
            for field in ["seLinuxOptions", "appArmorProfile", "windowsOptions"] {
                must(effective(field).is_null(), field);
            }
            for port in container["ports"].as_array().into_iter().flatten() {
                must(absent(port, "hostPort") && absent(port, "hostIP"), "hostPort");
            }
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let hosts = ["tcpSocket", "httpGet"].map(|way| container[probe][way]["host"].is_null());
                must(hosts == [true, true], "probe host");
            }
        }
    }
    faults
}

fn committed_pods() -> Vec<(String, Value)> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let mut found = Vec::new();
    for file in ["kafka.yml", "kraft/kafka.yml", "clients.yml", "host-access.yml"] {
        let text = std::fs::read_to_string(manifests.join(file)).unwrap();
        for document in yaml::Deserializer::from_str(&text) {
            pod_specs(&Value::deserialize(document).unwrap(), file, &mut found);
        }
    }
    let job = crate::k8s::job::manifest("check", "clients:1", &["offsets".into()], 60);
    pod_specs(&serde_json::from_str(&job).unwrap(), "job", &mut found);
    found
}

#[test]
fn every_pod_keeps_to_kubernetes_restricted_level_and_has_no_token() {
    let pods = committed_pods();
    let names: Vec<&str> = pods.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["zookeeper", "kafka", "controller", "kafka", "producer", "consumer", "check"]);
    for (name, spec) in &pods {
        assert_eq!(unrestricted(spec), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn each_step_beyond_the_restricted_level_is_seen() {
    let good = committed_pods().remove(1).1;
    for (place, value, fault) in [
        ("/hostNetwork", json!(true), "hostNetwork"),
        ("/automountServiceAccountToken", json!(true), "automountServiceAccountToken"),
        ("/serviceAccountName", json!("admin"), "serviceAccountName"),
        ("/volumes", json!([{"name": "v", "hostPath": {"path": "/"}}]), "volumes"),
        ("/volumes", json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}]), "volumes"),
        ("/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
        ("/securityContext/runAsUser", json!(0), "runAsUser"),
        ("/securityContext/sysctls", json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]), "sysctls"),
        ("/securityContext/seccompProfile", json!({"type": "Unconfined"}), "seccompProfile"),
        ("/containers/0/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
        ("/containers/0/securityContext/allowPrivilegeEscalation", Value::Null, "allowPrivilegeEscalation"),
        ("/containers/0/securityContext/capabilities", json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "capabilities"),
        ("/containers/0/securityContext/capabilities", Value::Null, "capabilities"),
        ("/containers/0/securityContext/privileged", json!(true), "privileged"),
        ("/containers/0/ports", json!([{"containerPort": 1, "hostPort": 1}]), "hostPort"),
        ("/containers/0/readinessProbe", json!({"tcpSocket": {"port": 1, "host": "10.0.0.1"}}), "probe host"),
        ("/initContainers", json!([{"name": "root"}]), "capabilities"),
    ] {
        let mut bent = good.clone();
        let (holder, field) = place.rsplit_once('/').unwrap();
        bent.pointer_mut(holder).unwrap()[field] = value;
        assert!(unrestricted(&bent).iter().any(|found| found == fault), "{place}: {:?}", unrestricted(&bent));
    }
}
