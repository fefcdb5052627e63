//! Removes the lab's files and caches, and proves that nothing is left.

use std::fs;
use std::path::PathBuf;

use crate::config::Lab;
use crate::exec::quoted;
use crate::failure::{Failure, IoContext, Result, tail};
use crate::local::servers::is_mark;
use crate::local::{ports, process};
use crate::state::remains;
use crate::task::{Outcome, Task};
use crate::tools::docker;

/// Returns the lab's folders: its state, and what is kept of a failed `up`.
fn folders(lab: &Lab, failure_logs: bool) -> Vec<PathBuf> {
    let failed = failure_logs.then(|| remains(&lab.state)).filter(|dir| dir.exists());
    std::iter::once(lab.state.clone()).chain(failed).collect()
}

/// Returns the preview of [`files`].
pub fn preview_files(lab: &Lab, failure_logs: bool) -> Vec<String> {
    folders(lab, failure_logs).iter().map(|dir| format!("rm -r {}", quoted(dir.as_os_str()))).collect()
}

/// Removes the state folder and, with `failure_logs`, the logs of a failed `up`.
///
/// # Errors
/// A file cannot be removed.
pub fn files(task: &Task<'_>, failure_logs: bool) -> Result<Outcome> {
    let mut removed = Vec::new();
    for dir in folders(task.lab(), failure_logs).into_iter().filter(|dir| dir.exists()) {
        fs::remove_dir_all(&dir).cannot("remove", &dir)?;
        removed.push(dir.display().to_string());
    }
    Ok(match removed.is_empty() {
        true => Outcome::unchanged("none"),
        false => Outcome::changed(format!("removed {}", removed.join(", "))),
    })
}

/// Folders in the cache, besides Kafka's jars by version.
const CACHED: [&str; 2] = ["class-data", "images"];

/// Returns the preview of [`caches`].
pub fn preview_caches(lab: &Lab) -> Vec<String> {
    let cache = quoted(lab.env.cache.as_os_str());
    let made: Vec<String> = CACHED.iter().map(|name| format!(" {cache}/{name}")).collect();
    let mut lines = vec!["# unless another lab is up:".into()];
    if lab.env.find("docker").is_some() {
        lines.push(format!("{} | grep '^{OUR_IMAGES}' | xargs -r docker image rm", docker::our_images()));
    }
    lines.push(format!("rm -rf {cache}/kafka-*{} {cache}/lock", made.concat()));
    lines
}

/// Removes what xtask keeps in the cache, and the images that it built. Foreign files stay. Everything stays while
/// another lab uses it.
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
        return Ok(Outcome::skipped(format!("still used by lab {}", others.join(", "))));
    }
    let (mut removed, kept) = images(task)?;
    for entry in fs::read_dir(&lab.env.cache).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if name.starts_with("kafka-") || CACHED.contains(&name.as_str()) {
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

/// Prefix of the names of images built by our recipes.
const OUR_IMAGES: &str = "kafka-lab-";

/// Removes the images built by our recipes, if there is an engine. Returns what was removed, and why something was not.
fn images(task: &Task<'_>) -> Result<(Vec<String>, Vec<String>)> {
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    if task.lab().env.find("docker").is_none() {
        return Ok((removed, kept));
    }
    let list = docker::our_images();
    let output = task.capture(&list)?;
    if output.code != Some(0) {
        kept.push("no Docker engine answers: its images are kept".into());
    }
    for image in output.stdout.lines().filter(|image| image.starts_with(OUR_IMAGES)) {
        let remove = docker::remove_image(image);
        let output = task.capture(&remove)?;
        match output.code {
            Some(0) => removed.push(format!("image {image}")),
            // A container may still use it.
            _ => kept.push(format!("image {image} is kept: {}", tail(&output.stderr, 1).concat())),
        }
    }
    Ok((removed, kept))
}

/// Checks that nothing is left: processes, files, ports, and what the backend created.
///
/// # Errors
/// Something is left.
pub fn nothing_left(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let marked = process::with_argument(|arg| is_mark(lab, arg));
    let mut left: Vec<String> = marked.iter().map(|identity| format!("process {}", identity.pid)).collect();
    let rest = task.ctx.driver.left(task)?;
    left.extend(rest.found);
    if lab.state.exists() {
        left.push(lab.state.display().to_string());
    }
    if !left.is_empty() {
        return Err(Failure::step(format!("left behind: {}", left.join(", "))).fix(lab.xtask("teardown")));
    }
    // Another program may have taken a port meanwhile, or held it all along.
    let taken: Vec<String> = ports::taken(rest.ports, task.ctx.stop)
        .into_iter()
        .map(|(port, holder)| format!("{port} is held by {holder}, which is not part of the lab"))
        .collect();
    let ports = if taken.is_empty() { "all ports free".into() } else { taken.join(", ") };
    Ok(Outcome::passed(format!("{}, {ports}", rest.none)))
}
