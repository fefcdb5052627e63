//! kubectl commands. By construction, each names the lab's own kubeconfig and context.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Lab;
use crate::exec::Cmd;
use crate::state::Toolchain;

/// kubectl against one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    context: String,
    /// kubectl's discovery cache: among the lab's files instead of in the user's home.
    cache: PathBuf,
}

/// The limit for a query.
const ASK: Duration = Duration::from_secs(20);

/// The API server compares and merges. kubectl's own merge takes five times as long and reports unchanged objects as
/// changed.
const SERVER_SIDE: [&str; 3] = ["--server-side", "--force-conflicts", "--field-manager=kafka-lab"];

fn named(cmd: Cmd, files: &[PathBuf]) -> Cmd {
    files.iter().fold(cmd, |cmd, file| cmd.arg("--filename").arg(file))
}

impl Kubectl {
    /// kubectl against the lab's cluster.
    pub fn of(lab: &Lab, setup: &Toolchain) -> Self {
        Kubectl {
            program: setup.kubectl.clone(),
            kubeconfig: lab.kubeconfig(),
            context: lab.context(),
            cache: lab.state.join("kubectl"),
        }
    }

    /// A command with a time limit.
    pub fn cmd<A: Into<std::ffi::OsString>>(&self, deadline: Duration, args: impl IntoIterator<Item = A>) -> Cmd {
        Cmd::new(&self.program, deadline)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--context")
            .arg(&self.context)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(args)
    }

    /// A query.
    pub fn ask<A: Into<std::ffi::OsString>>(&self, args: impl IntoIterator<Item = A>) -> Cmd {
        self.cmd(ASK, args)
    }

    /// All pods, StatefulSets and Deployments as JSON. The cluster is ours, so no label selector is needed.
    pub fn workloads(&self) -> Cmd {
        self.ask(["get", "pods,statefulsets,deployments", "--output", "json"])
    }

    /// The pods of a Job, as JSON.
    pub fn job_pods(&self, job: &str) -> Cmd {
        self.ask(["get", "pods", "--selector"]).arg(format!("job-name={job}")).args(["--output", "json"])
    }

    /// The nodes, as JSON.
    pub fn nodes(&self) -> Cmd {
        self.ask(["get", "nodes", "--output", "json"])
    }

    /// The events of a pod, oldest first.
    pub fn events(&self, pod: &str) -> Cmd {
        self.ask(["get", "events", "--sort-by=.lastTimestamp", "--output"])
            .arg("custom-columns=AGE:.lastTimestamp,REASON:.reason,MESSAGE:.message")
            .args(["--no-headers", "--field-selector"])
            .arg(format!("involvedObject.name={pod}"))
    }

    /// The last `lines` lines of a pod's log, or of its previous containers' logs.
    pub fn log(&self, pod: &str, lines: usize, previous: bool) -> Cmd {
        let previous = if previous { "--previous=true" } else { "--previous=false" };
        self.ask(["logs", pod, "--all-containers", previous, "--tail"]).arg(lines.to_string())
    }

    /// Applies manifests.
    pub fn apply(&self, files: &[PathBuf]) -> Cmd {
        named(self.cmd(Duration::from_secs(60), ["apply"]).args(SERVER_SIDE), files)
    }

    /// What applying the manifests would change. Exit code 0 means nothing, 1 means something.
    pub fn diff(&self, files: &[PathBuf]) -> Cmd {
        named(self.cmd(Duration::from_secs(60), ["diff"]).args(SERVER_SIDE), files)
    }
}
