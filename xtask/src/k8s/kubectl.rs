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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Env;
    use crate::exec::{Exec, RealExec};
    use crate::signal::Stop;
    use crate::tools::kind::parse_version;

    /// Changes what we parse, and lets `delete` end with 0 although nothing was deleted: nobody answers its question.
    const KUBERC: &str = "apiVersion: kubectl.config.k8s.io/v1alpha1
kind: Preference
overrides:
- {command: version, flags: [{name: output, default: json}]}
- {command: delete, flags: [{name: interactive, default: \"true\"}]}
";

    /// The first line that a kubectl prints about itself.
    fn version(cmd: &Cmd) -> String {
        let output = RealExec.capture(cmd, Path::new("/dev/null"), &Stop::default());
        output.map(|output| output.stdout.lines().next().unwrap_or_default().to_string()).unwrap_or_default()
    }

    /// With a real kubectl that knows the file: the recipe's or the one on PATH.
    #[test]
    fn the_users_kuberc_changes_nothing() {
        let env = Env::read().unwrap();
        let built = std::fs::read_dir(env.cache.join("images/node")).into_iter().flatten().flatten();
        let built = built.filter(|entry| entry.file_name().to_string_lossy().starts_with("kubectl-"));
        let programs = built.map(|entry| entry.path().join("kubectl")).filter(|program| program.exists());
        let ask = |program: &Path| Cmd::new(program, ASK).args(["version", "--client"]);
        let knows = |program: &PathBuf| parse_version(&version(&ask(program))).is_some_and(|found| found >= (1, 33));
        let Some(program) = programs.chain(env.find("kubectl")).find(knows) else {
            eprintln!("skipped: no kubectl 1.33 or newer on PATH or in the cache");
            return;
        };
        let home = std::env::temp_dir().join(format!("kafka-lab-kuberc-{}", std::process::id()));
        std::fs::create_dir_all(home.join(".kube")).unwrap();
        std::fs::write(home.join(".kube/kuberc"), KUBERC).unwrap();
        // Before 1.34 it is read only if that is asked for.
        let at_home = ask(&program).env("HOME", &home).env("KUBECTL_KUBERC", "true");
        assert_eq!(version(&at_home.clone().env("KUBERC", "")), "{", "the file has no effect to begin with");
        let said = version(&at_home);
        assert!(said.starts_with("Client Version: v1."), "{said}");
        std::fs::remove_dir_all(&home).unwrap();
    }
}
