//! After a failure on Kubernetes: everything that helps to understand it, in one folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::Cmd;
use crate::files::private_dir;
use crate::kind::pods;
use crate::system::now_ms;
use crate::task::Ctx;
use crate::tools::docker;
use crate::tools::kind;
use crate::tools::kubectl::Kubectl;

/// How many folders are kept: each failure makes one.
const KEPT: usize = 10;

/// Writes the folder; what cannot be had is left out. `None` when there is nothing to ask.
pub fn collect(ctx: &Ctx<'_>) -> Option<PathBuf> {
    let (lab, setup) = (ctx.lab, ctx.setup.get()?);
    let dir = lab.state.join("diagnostics").join(format!("{}", now_ms() / 1000));
    private_dir(&dir).ok()?;
    forget_old(dir.parent()?);
    let ask = |file: &str, cmd: Cmd| -> Option<String> {
        let output = ctx.exec.capture(&cmd, &dir.join("commands.log"), ctx.stop).ok()?;
        let _ = std::fs::write(dir.join(file), format!("$ {cmd}\n{}{}", output.stdout, output.stderr));
        (output.code == Some(0)).then_some(output.stdout)
    };
    let nodes = docker::nodes(lab.cluster());
    ask("containers.txt", Cmd { args: nodes.args.into_iter().filter(|arg| arg != "--quiet").collect(), ..nodes })?;
    let kubectl = Kubectl::of(lab, setup);
    // Without an API server there is no more to ask than the nodes themselves.
    if ask("nodes.txt", kubectl.ask(["get", "nodes", "--output", "wide"])).is_none() {
        if setup.kind.exists() {
            ask("kind.txt", kind::export_logs(lab, setup, &dir.join("nodes")));
        }
        return Some(dir);
    }
    ask("pods.txt", kubectl.ask(["get", "pods", "--all-namespaces", "--output", "wide"]));
    ask("events.txt", kubectl.ask(["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]));
    ask(
        "describe.txt",
        kubectl.cmd(Duration::from_secs(60), ["describe", "pods,statefulsets,deployments,persistentvolumeclaims"]),
    );
    let found = ask("pods.json", kubectl.workloads()).and_then(|json| pods::parse(&json)).unwrap_or_default();
    for pod in found.pods {
        ask(&format!("{}.log", pod.name), kubectl.log(&pod.name, 2000, false));
        if pod.restarts > 0 {
            ask(&format!("{}.previous.log", pod.name), kubectl.log(&pod.name, 2000, true));
        }
    }
    Some(dir)
}

/// Removes all but the newest folders, whose names are the seconds in which they were made.
fn forget_old(dir: &Path) {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for old in folders.iter().rev().skip(KEPT) {
        // One that cannot be removed does no harm.
        let _ = std::fs::remove_dir_all(old);
    }
}
