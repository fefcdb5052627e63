//! Removing the lab's files, and proving that nothing is left.

use std::fs;

use crate::failure::{Failure, IoContext, Result};
use crate::local::service::Service;
use crate::local::{ports, process};
use crate::step::{Outcome, State, Task};
use crate::steps::service::is_mark;

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
    let mut removed = Vec::new();
    for entry in fs::read_dir(&lab.env.cache).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if name.starts_with("kafka-") || name == "class-data" {
            fs::remove_dir_all(&path).cannot("remove", &path)?;
            removed.push(name);
        } else if name == "lock" {
            fs::remove_file(&path).cannot("remove", &path)?;
        }
    }
    let _ = fs::remove_dir(&lab.env.cache);
    Ok(match removed.is_empty() {
        true => Outcome::unchanged("none"),
        false => Outcome::changed(format!("removed {} from {}", removed.join(", "), lab.env.cache.display())),
    })
}

/// Looks for what a lab could leave behind.
///
/// # Errors
/// Something is left.
pub fn nothing_left(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let mut left: Vec<String> = process::with_argument(|arg| is_mark(lab, arg))
        .iter()
        .map(|identity| format!("process {}", identity.pid))
        .collect();
    if lab.state.exists() {
        left.push(lab.state.display().to_string());
    }
    if !left.is_empty() {
        return Err(Failure::step(format!("left behind: {}", left.join(", "))).fix(lab.xtask("teardown")));
    }
    // A port may have been taken by somebody else meanwhile, or always have been.
    let servers = Service::servers(lab);
    let ports: Vec<u16> = servers.iter().filter_map(|service| service.port(lab)).collect();
    let taken: Vec<String> = ports
        .iter()
        .filter(|port| !ports::is_free(**port))
        .map(|port| {
            format!("{port} is now held by {}, not ours", ports::holder(*port).unwrap_or_else(|| "another user".into()))
        })
        .collect();
    let ports = if taken.is_empty() { "all ports free".into() } else { taken.join(", ") };
    Ok(Outcome::passed(format!("no process, no file, {ports}")))
}
