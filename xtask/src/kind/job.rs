//! A Job of the client image: one question to the brokers, asked from inside the cluster. Pure.

use serde_json::json;

/// A Job called `name` that runs the clients' program once with `args` and is never started again; seconds until
/// Kubernetes ends it.
pub fn manifest(name: &str, image: &str, args: &[String], deadline_s: u64) -> String {
    let labels = json!({"app": "check", "app.kubernetes.io/part-of": "kafka-lab"});
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": deadline_s,
            // Whoever asked deletes it; this is for when nobody can any more.
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
