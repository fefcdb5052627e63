//! Collects diagnostics after a failure in one folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::Cmd;
use crate::files::private_dir;
use crate::k8s::kubectl::Kubectl;
use crate::k8s::pods;
use crate::system::now_ms;
use crate::task::Ctx;

/// The number of folders kept. Each failure creates one.
const KEPT: usize = 10;

/// A folder of diagnostics. Anything that cannot be collected is left out.
pub struct Diagnostics<'a> {
    ctx: &'a Ctx<'a>,
    /// The folder's path.
    pub dir: PathBuf,
}

impl<'a> Diagnostics<'a> {
    /// Creates the folder; `None` if it cannot be created.
    pub fn begin(ctx: &'a Ctx<'a>) -> Option<Self> {
        let dir = ctx.lab.state.join("diagnostics").join(format!("{}", now_ms() / 1000));
        private_dir(&dir).ok()?;
        forget_old(dir.parent()?);
        Some(Diagnostics { ctx, dir })
    }

    /// Writes a program's output to `file` and returns its stdout if it succeeded.
    pub fn ask(&self, file: &str, cmd: Cmd) -> Option<String> {
        let output = self.ctx.exec.capture(&cmd, &self.dir.join("commands.log"), self.ctx.stop).ok()?;
        let _ = std::fs::write(self.dir.join(file), format!("$ {cmd}\n{}{}", output.stdout, output.stderr));
        (output.code == Some(0)).then_some(output.stdout)
    }

    /// Collects the API server's state and the pods' logs. Returns whether the API server answers.
    pub fn ask_cluster(&self, kubectl: &Kubectl) -> bool {
        if self.ask("nodes.txt", kubectl.ask(["get", "nodes", "--output", "wide"])).is_none() {
            return false;
        }
        self.ask("pods.txt", kubectl.ask(["get", "pods", "--all-namespaces", "--output", "wide"]));
        self.ask("events.txt", kubectl.ask(["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]));
        let described = ["describe", "pods,statefulsets,deployments,persistentvolumeclaims"];
        self.ask("describe.txt", kubectl.cmd(Duration::from_secs(60), described));
        let found = self.ask("pods.json", kubectl.workloads()).and_then(|json| pods::parse(&json)).unwrap_or_default();
        for pod in found.pods {
            self.ask(&format!("{}.log", pod.name), kubectl.log(&pod.name, 2000, false));
            if pod.restarts > 0 {
                self.ask(&format!("{}.previous.log", pod.name), kubectl.log(&pod.name, 2000, true));
            }
        }
        true
    }
}

/// Removes all but the newest folders. Their names are the seconds in which they were created.
fn forget_old(dir: &Path) {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for old in folders.iter().rev().skip(KEPT) {
        // A folder that cannot be removed does no harm.
        let _ = std::fs::remove_dir_all(old);
    }
}
