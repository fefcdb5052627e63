//! Removing the lab's files, and proving that nothing is left.

use std::fs;

use crate::backend::Backend;
use crate::failure::{Failure, IoContext, Result, tail};
use crate::kind::cluster;
use crate::local::service::Service;
use crate::local::{ports, process};
use crate::steps::service::is_mark;
use crate::task::{Outcome, State, Task};
use crate::tools::docker;

/// Removes the state folder.
///
/// # Errors
/// A file cannot be removed.
pub fn files(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    if !lab.state.exists() {
        return Ok(Outcome::unchanged("none"));
    }
    fs::remove_dir_all(&lab.state).cannot("remove", &lab.state)?;
    Ok(Outcome::changed(format!("removed {}", lab.state.display())))
}

/// Removes what xtask keeps in the cache: Kafka's jars and the class-data archives. What others made there stays, and
/// so does all of it while another lab runs from it.
///
/// # Errors
/// A file cannot be removed.
pub fn caches(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let others: Vec<String> = fs::read_dir(&lab.env.state_root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path() != lab.state && entry.path().join("lab.json").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if !others.is_empty() {
        return Ok(Outcome::new(State::Skipped, format!("still used by lab {}", others.join(", "))));
    }
    let (mut removed, kept) = images(task)?;
    for entry in fs::read_dir(&lab.env.cache).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if name.starts_with("kafka-") || ["class-data", "images"].contains(&name.as_str()) {
            fs::remove_dir_all(&path).cannot("remove", &path)?;
            removed.push(name);
        } else if name == "lock" {
            fs::remove_file(&path).cannot("remove", &path)?;
        }
    }
    let _ = fs::remove_dir(&lab.env.cache);
    let mut outcome = match removed.is_empty() {
        true => Outcome::unchanged("none"),
        false => Outcome::changed(format!("removed {} from {}", removed.join(", "), lab.env.cache.display())),
    };
    outcome.warnings = kept;
    Ok(outcome)
}

/// Removes the images that our recipes made, where there is an engine. Returns what was removed, and why something was not.
fn images(task: &Task<'_>) -> Result<(Vec<String>, Vec<String>)> {
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    if task.lab().env.find("docker").is_none() {
        return Ok((removed, kept));
    }
    let list = docker::our_images();
    let output = task.capture(&list)?;
    if output.code != Some(0) {
        kept.push("no Docker engine answers: images that it has stay in it".into());
    }
    for image in output.stdout.lines().filter(|image| image.starts_with("kafka-lab-")) {
        let remove = docker::remove_image(image);
        let output = task.capture(&remove)?;
        match output.code {
            Some(0) => removed.push(format!("image {image}")),
            // One that somebody's container still needs.
            _ => kept.push(format!("image {image} stays: {}", tail(&output.stderr, 1).concat())),
        }
    }
    Ok((removed, kept))
}

/// Looks for what a lab could leave behind: processes, on kind nodes, files, ports.
///
/// # Errors
/// Something is left.
pub fn nothing_left(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let marked = process::with_argument(|arg| is_mark(lab, arg));
    let mut left: Vec<String> = marked.iter().map(|identity| format!("process {}", identity.pid)).collect();
    let (what, ports) = match lab.backend {
        Backend::Local => {
            ("no process, no file", Service::servers(lab).iter().filter_map(|server| server.port(lab)).collect())
        }
        Backend::Kind => {
            let nodes = cluster::find(lab, task.ctx.exec, &task.log, task.ctx.stop)?;
            left.extend(nodes.into_iter().map(|node| format!("container {}", node.name)));
            ("no node, no process, no file", lab.host_ports())
        }
    };
    if lab.state.exists() {
        left.push(lab.state.display().to_string());
    }
    if !left.is_empty() {
        return Err(Failure::step(format!("left behind: {}", left.join(", "))).fix(lab.xtask("teardown")));
    }
    // A port may have been taken by somebody else meanwhile, or always have been.
    let taken: Vec<String> = ports::taken(ports, task.ctx.stop)
        .into_iter()
        .map(|(port, holder)| format!("{port} is now held by {holder}, not ours"))
        .collect();
    let ports = if taken.is_empty() { "all ports free".into() } else { taken.join(", ") };
    Ok(Outcome::passed(format!("{what}, {ports}")))
}
