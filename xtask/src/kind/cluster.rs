//! Creates, reuses, repairs and deletes the kind cluster. Only a cluster with this lab's mark is touched.

use std::fs;
use std::time::Duration;

use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Failure, IoContext, Result};
use crate::files::{self, private_dir};
use crate::k8s::kubectl::Kubectl;
use crate::k8s::{pods, render};
use crate::kind::config;
use crate::kind::nodes::{self, NodeContainer};
use crate::local::process;
use crate::state::Toolchain;
use crate::task::{Outcome, Task};
use crate::tools::{docker, kind};
use crate::wait::Poll;

/// The file that marks the cluster as complete. Without it, creation was interrupted.
pub const CREATED_MARK: &str = "cluster.made";

/// Each poll runs kubectl, which takes a tenth of a second of CPU from joining nodes.
const INTERVAL: Duration = Duration::from_millis(700);

/// The API server's port in its node: kubeadm's default, which kind keeps.
const API_PORT: u16 = 6443;

/// The control plane's CPU shares. A worker has 1024.
const FAVOUR: u32 = 64 * 1024;

fn nodes(task: &Task<'_>) -> Result<Vec<NodeContainer>> {
    nodes::find(task.lab(), task.ctx.exec, &task.log, task.ctx.stop)
}

/// Ends a kind that still creates this cluster for a killed `up`: two at once would get in each other's way.
fn end_orphans(task: &Task<'_>) -> Result<()> {
    let lab = task.lab();
    let kubeconfig = lab.kubeconfig();
    let kubeconfig = kubeconfig.as_os_str().as_encoded_bytes();
    let orphans = process::with_arguments(|args| {
        args.contains(&kubeconfig) && args.windows(2).any(|pair| pair == [b"create".as_slice(), b"cluster"])
    });
    for orphan in orphans {
        (task.status)(&format!("ending kind (pid {}), left by a killed up", orphan.pid));
        orphan.end(lab.timeout(|t| t.stop), task.ctx.stop, task.status)?;
    }
    Ok(())
}

fn not_ours(lab: &Lab) -> Failure {
    Failure::step(format!("this lab did not create the kind cluster {}; it was left alone", lab.cluster()))
        .fix(format!("`kind delete cluster --name {}` if you may delete it, or use another --name", lab.cluster()))
}

/// What [`old`] would run.
pub fn preview_old(lab: &Lab, setup: &Toolchain, recreate: bool) -> Vec<String> {
    let when = if recreate { "# if it exists:" } else { "# if an interrupted up left it incomplete:" };
    vec![when.into(), kind::delete(lab, setup).to_string()]
}

/// Deletes a cluster that is incomplete or is to be recreated.
///
/// # Errors
/// The cluster is not ours, or cannot be deleted.
pub fn old(task: &Task<'_>, recreate: bool) -> Result<Outcome> {
    let lab = task.lab();
    let made = lab.state.join(CREATED_MARK);
    end_orphans(task)?;
    let nodes = nodes(task)?;
    if nodes.is_empty() {
        files::remove_file(&made)?;
        return Ok(Outcome::unchanged("none"));
    }
    if !nodes::is_ours(lab, &nodes) {
        return Err(not_ours(lab));
    }
    if recreate {
        remove(task, &nodes)?;
        return Ok(Outcome::changed(format!("deleted {}, because of --recreate", lab.cluster())));
    }
    if made.exists() {
        return Ok(Outcome::unchanged(format!("{} nodes of {}", nodes.len(), lab.cluster())));
    }
    // The file may be lost although the cluster is complete.
    if nodes.iter().all(|node| node.running) && kubeconfig(task).is_ok() && not_ready(task)?.is_none() {
        fs::write(&made, "").cannot("write", &made)?;
        return Ok(Outcome::unchanged(format!("{} nodes of {}", nodes.len(), lab.cluster())));
    }
    remove(task, &nodes)?;
    Ok(Outcome::changed(format!("deleted {}, which an interrupted up left incomplete", lab.cluster())))
}

/// What [`cluster`] would run.
pub fn preview_cluster(lab: &Lab, setup: &Toolchain) -> Vec<String> {
    let config = lab.state.join("manifests/cluster.yml");
    let note =
        format!("# unless it exists; `docker start` starts stopped nodes; {} is written first", config.display());
    vec![note, kind::create(lab, setup, &config).to_string()]
}

/// Creates the cluster, or starts its stopped nodes.
///
/// # Errors
/// kind fails, or a node does not start.
pub fn cluster(task: &Task<'_>) -> Result<Outcome> {
    let (lab, setup) = (task.lab(), task.setup()?);
    let found = nodes(task)?;
    let what = if found.is_empty() {
        let dir = lab.state.join("manifests");
        private_dir(&dir)?;
        private_dir(&lab.mark())?;
        let config = render::write(&dir, "cluster.yml", &config::rendered(lab, &setup, true)?)?;
        task.build(&kind::create(lab, &setup, &config))?;
        let made = lab.state.join(CREATED_MARK);
        fs::write(&made, "").cannot("write", &made)?;
        "created"
    } else {
        let stopped: Vec<&str> = found.iter().filter(|node| !node.running).map(|node| node.name.as_str()).collect();
        if !stopped.is_empty() {
            (task.status)(&format!("starting {}", stopped.join(", ")));
            // This fails for containers that are stopped instead of paused, which does not matter.
            let _ = task.capture(&docker::unpause(&stopped))?;
            task.run(&docker::start(&stopped))?;
        }
        if !stopped.is_empty() || !lab.kubeconfig().exists() {
            kubeconfig(task)?;
        }
        if stopped.is_empty() { "reused" } else { "was stopped, restarted" }
    };
    let proof = format!("{what}, context {}", lab.context());
    Ok(if what == "reused" { Outcome::unchanged(proof) } else { Outcome::changed(proof) })
}

/// What [`api_server`] would run.
pub fn preview_api_server(lab: &Lab, setup: &Toolchain) -> Vec<String> {
    let control_plane = lab.facts.cluster.node_names(lab.cluster()).into_iter().next().unwrap_or_default();
    vec![
        docker::favour(&control_plane, FAVOUR).to_string(),
        docker::listening(&control_plane, API_PORT, lab.timeout(|t| t.cluster)).to_string(),
        "# until the API server answers and has a StorageClass:".into(),
        storage_classes(&Kubectl::of(lab, setup)).to_string(),
    ]
}

fn storage_classes(kubectl: &Kubectl) -> Cmd {
    kubectl.ask(["get", "storageclasses", "--output", "name"])
}

/// Waits until the API server answers and has a StorageClass, which kind installs before other nodes join.
///
/// # Errors
/// The deadline passes.
pub fn api_server(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let mut listens = lab.state.join(CREATED_MARK).exists();
    let mut waited = false;
    task.wait("the API server", lab.timeout(|t| t.cluster), INTERVAL, || {
        let answers = if listens { Ok(None) } else { reachable(task) };
        listens = matches!(answers, Ok(None));
        let obstacle = match answers? {
            None => no_volumes(task)?,
            obstacle => obstacle,
        };
        waited |= obstacle.is_some();
        Ok(Poll::unless(obstacle))
    })
    .map_err(|failure| failure.log(&task.log))?;
    let proof = "answers, and has a StorageClass";
    Ok(if waited { Outcome::changed(proof) } else { Outcome::unchanged(proof) })
}

/// Why a new cluster's API server cannot be reached yet. Also gives its node, which everything waits for, priority over
/// the workers, which import images meanwhile.
fn reachable(task: &Task<'_>) -> Result<Option<String>> {
    let Some(node) = nodes(task)?.into_iter().find(|node| node.role == "control-plane" && node.running) else {
        return Ok(Some("its node does not exist yet".into()));
    };
    if task.capture(&docker::favour(&node.name, FAVOUR))?.code != Some(0) {
        return Ok(Some("its node is starting".into()));
    }
    (task.status)("kubeadm is starting it");
    let listening = docker::listening(&node.name, API_PORT, task.lab().timeout(|t| t.cluster));
    if task.capture(&listening)?.code != Some(0) {
        return Ok(Some("it does not listen yet".into()));
    }
    let output = task.capture(&kind::export_kubeconfig(task.lab(), &task.setup()?))?;
    Ok((output.code != Some(0)).then(|| crate::failure::tail(&output.stderr, 1).concat()))
}

/// Why no volume can be claimed yet.
fn no_volumes(task: &Task<'_>) -> Result<Option<String>> {
    let output = task.capture(&storage_classes(&task.kubectl()?))?;
    Ok(match (output.code, output.stdout.trim()) {
        (Some(0), "") => Some("no StorageClass yet".into()),
        (Some(0), _) => None,
        _ => Some(crate::failure::tail(&output.stderr, 1).concat()),
    })
}

/// What [`joined`] would run.
pub fn preview_joined(lab: &Lab, setup: &Toolchain) -> Vec<String> {
    vec!["# until all nodes are Ready:".into(), Kubectl::of(lab, setup).nodes().to_string()]
}

/// Waits until every node is Ready.
///
/// # Errors
/// The deadline passes.
pub fn joined(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let mut waited = false;
    task.wait("the nodes", lab.timeout(|t| t.cluster), 2 * INTERVAL, || {
        let obstacle = not_ready(task)?;
        waited |= obstacle.is_some();
        Ok(Poll::unless(obstacle))
    })
    .map_err(|failure| failure.log(&task.log).fix(format!("{} recreates it", lab.xtask("up --recreate"))))?;
    let proof = format!("{} nodes Ready", lab.facts.cluster.nodes.len());
    Ok(if waited { Outcome::changed(proof) } else { Outcome::unchanged(proof) })
}

/// Writes the lab's kubeconfig.
fn kubeconfig(task: &Task<'_>) -> Result<()> {
    task.run(&kind::export_kubeconfig(task.lab(), &task.setup()?)).map(drop)
}

/// Why not all nodes are Ready.
fn not_ready(task: &Task<'_>) -> Result<Option<String>> {
    let lab = task.lab();
    let output = task.capture(&task.kubectl()?.nodes())?;
    let Some(found) = pods::nodes(&output.stdout) else {
        return Ok(Some(crate::failure::tail(&output.stderr, 1).concat()));
    };
    let waiting: Vec<String> = lab
        .facts
        .cluster
        .node_names(lab.cluster())
        .into_iter()
        .filter(|name| !found.iter().any(|(node, ready)| node == name && *ready))
        .collect();
    Ok((!waiting.is_empty()).then(|| format!("not Ready: {}", waiting.join(", "))))
}

/// What [`healthy`] would run.
pub fn preview_healthy(lab: &Lab, setup: &Toolchain) -> Vec<String> {
    vec![Kubectl::of(lab, setup).nodes().to_string()]
}

/// Checks that every node is Ready.
///
/// # Errors
/// A fault if a node is not.
pub fn healthy(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    // The API server takes most of a minute to notice a lost node.
    let stopped: Vec<String> = nodes(task)?.into_iter().filter(|node| !node.running).map(|node| node.name).collect();
    if !stopped.is_empty() {
        return Err(Failure::fault(format!("stopped or paused: {}", stopped.join(", "))).fix(lab.xtask("up")));
    }
    if let Some(status) = not_ready(task)? {
        return Err(Failure::fault(status).log(&task.log).fix(format!("wait a minute, or {}", lab.xtask("up"))));
    }
    Ok(Outcome::passed(format!("{} nodes Ready", lab.facts.cluster.nodes.len())))
}

/// Checks that the lab's cluster runs.
///
/// # Errors
/// It does not run: exit code 6.
pub fn is_up(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let nodes = nodes(task)?;
    let running = nodes.iter().filter(|node| node.running).count();
    if running == 0 {
        let what = match nodes.len() {
            0 => format!("lab {} is recorded, but its cluster is gone", lab.name),
            _ => format!("lab {} is recorded, but none of its nodes is running", lab.name),
        };
        return Err(Failure::new(crate::failure::Exit::NotUp, what).fix(lab.xtask("up")));
    }
    if !lab.state.join(CREATED_MARK).exists() {
        let what = format!("lab {} is recorded, but an interrupted up left its cluster incomplete", lab.name);
        return Err(Failure::new(crate::failure::Exit::NotUp, what).fix(lab.xtask("up")));
    }
    let proof = format!("lab {}, backend kind, {running} of {} nodes running", lab.name, nodes.len());
    Ok(Outcome::passed(proof))
}

/// What [`delete`] would run.
pub fn preview_delete(lab: &Lab, setup: &Toolchain) -> Vec<String> {
    vec![kind::delete(lab, setup).to_string()]
}

/// Deletes the cluster if it is ours.
///
/// # Errors
/// The engine does not answer, or a node cannot be removed.
pub fn delete(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    end_orphans(task)?;
    let nodes = nodes(task)?;
    if nodes.is_empty() {
        return Ok(Outcome::unchanged("none"));
    }
    if !nodes::is_ours(lab, &nodes) {
        return Err(not_ours(lab));
    }
    remove(task, &nodes)?;
    Ok(Outcome::changed(format!("deleted {} nodes of {}", nodes.len(), lab.cluster())))
}

fn remove(task: &Task<'_>, nodes: &[NodeContainer]) -> Result<()> {
    let lab = task.lab();
    files::remove_file(&lab.state.join(CREATED_MARK))?;
    // A lab without a record has no kind program, and needs none: its nodes are containers.
    let cmd = match task.setup() {
        Ok(setup) if setup.kind.exists() => kind::delete(lab, &setup),
        _ => docker::remove(&nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>()),
    };
    task.build(&cmd)
}
