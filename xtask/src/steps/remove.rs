//! Removes the lab's files and caches, and proves that nothing is left.

use std::fs;
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ledger::cause::in_words;

use crate::config::Lab;
use crate::failure::{Failure, IoContext, Result, tail};
use crate::files::own::{alien, try_lock_own};
use crate::kind::config::MARK as MARK_IN_NODES;
use crate::local::jars::CHECKED;
use crate::local::servers::{MARK, is_mark};
use crate::local::{ports, process};
use crate::service::Service;
use crate::state::{
    USERS, forget_user, is_made_by_a_lab, is_record_of_a_lab, not_of_a_failed_up, other_users, remains,
};
use crate::system;
use crate::task::{Outcome, Task};
use crate::tools::docker;
use crate::words::quoted;

/// Returns the lab's folders: its state, and what is kept of a failed `up`.
fn folders(lab: &Lab, failure_logs: bool) -> Vec<PathBuf> {
    let failed = failure_logs.then(|| remains(&lab.state)).filter(|dir| dir.exists());
    std::iter::once(lab.state.clone()).chain(failed).collect()
}

/// Returns the preview of [`files`].
pub fn preview_files(lab: &Lab, failure_logs: bool) -> Vec<String> {
    folders(lab, failure_logs).iter().map(|dir| format!("rm -r {}", quoted(dir.as_os_str()))).collect()
}

/// Removes the state folder and, with `failure_logs`, the logs of a failed `up`. Goes on past what it cannot remove.
///
/// # Errors
/// Something could not be removed, or is not the lab's; all of it is named.
pub fn files(task: &Task<'_>, failure_logs: bool) -> Result<Outcome> {
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    for dir in folders(task.lab(), failure_logs).into_iter().filter(|dir| dir.symlink_metadata().is_ok()) {
        let before = left.len();
        match foreign(task.lab(), &dir) {
            Some(why) => left.push(Left { path: dir.clone(), why, way: Way::Remove }),
            None => remove_ours(task.lab(), &dir, &mut left),
        }
        if left.len() == before {
            removed.push(dir.display().to_string());
        }
    }
    if !left.is_empty() {
        let shown: Vec<String> = left.iter().take(LEFT_SHOWN).map(|left| format!("\n  - {left}")).collect();
        let more = left.len().saturating_sub(LEFT_SHOWN);
        let more = if more > 0 { format!("\n  - and {more} more") } else { String::new() };
        let fix = format!("{}, then `{}`", ways_out(&left), task.lab().xtask("teardown"));
        return Err(Failure::step(format!("cannot remove everything:{}{more}", shown.concat())).fix(fix));
    }
    forget_user(&task.lab().env.cache, &task.lab().state);
    Ok(match removed.is_empty() {
        true => Outcome::unchanged("none"),
        false => Outcome::changed(format!("removed {}", removed.join(", "))),
    })
}

/// A path that stays.
struct Left {
    path: PathBuf,
    why: String,
    way: Way,
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// What helps against a path that stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Unmount,
    /// Its attributes forbid it, as of an immutable file.
    Attributes,
    /// To remove it by hand, perhaps as another user.
    Remove,
}

/// The commands that clear up what stays.
fn ways_out(left: &[Left]) -> String {
    let of = |way: Way| left.iter().filter(move |left| left.way == way).map(|left| quoted(left.path.as_os_str()));
    let commands = [("umount", Way::Unmount), ("chattr -i -a", Way::Attributes), ("rm -r", Way::Remove)];
    let commands = commands.into_iter().filter_map(|(command, way)| {
        let paths: Vec<String> = of(way).take(LEFT_SHOWN).collect();
        (!paths.is_empty()).then(|| format!("`{command} {}`", paths.join(" ")))
    });
    format!("look at what is there and clear it up: {}", commands.collect::<Vec<_>>().join(", "))
}

/// How many paths that could not be removed are named.
const LEFT_SHOWN: usize = 8;

/// Why a folder is not the lab's to remove: it is a link, or has no record and holds what no lab makes.
fn foreign(lab: &Lab, dir: &Path) -> Option<String> {
    if dir.is_symlink() {
        return Some("is a symbolic link, which no lab makes; left alone".into());
    }
    if let Some(why) = dir.symlink_metadata().ok().as_ref().and_then(alien) {
        return Some(format!("{why}; left alone"));
    }
    if dir != lab.state {
        return not_of_a_failed_up(dir);
    }
    if is_record_of_a_lab(dir) {
        return None;
    }
    let strange = strangers(lab).into_iter().next()?;
    let name = strange.file_name().unwrap_or_default().to_string_lossy();
    Some(format!("holds {name}, which no lab makes, and no record of a lab; left alone"))
}

/// What is in a lab's state folder and is neither a file of every lab nor the folder of a service. It may be one that
/// the manifests no longer have.
fn strangers(lab: &Lab) -> Vec<PathBuf> {
    let services = Service::servers(lab).into_iter().chain(Service::clients(lab));
    let services: Vec<String> = services.map(|service| service.name(lab)).collect();
    let is_made = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.strip_suffix(".partial").unwrap_or(&name);
        is_made_by_a_lab(name) || services.iter().any(|service| service == name) || is_of_a_service(path)
    };
    let entries = fs::read_dir(&lab.state).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| !is_made(path)).collect()
}

/// Whether a folder has the record, the state or the properties of a service.
fn is_of_a_service(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_record = |path: &PathBuf| ["process.json", "state.json"].iter().any(|name| path.ends_with(name));
    let is_settings = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "properties");
    entries.filter(|path| path.is_file()).any(|path| is_record(&path) || is_settings(&path))
}

/// Removes a folder of the lab, except for what no lab makes.
fn remove_ours(lab: &Lab, dir: &Path, left: &mut Vec<Left>) {
    let strangers = if dir == lab.state { strangers(lab) } else { Vec::new() };
    if strangers.is_empty() {
        return remove_tree(dir, left);
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if !strangers.contains(&entry) {
            remove_tree(&entry, left);
        }
    }
    let why = "no lab makes this; left alone";
    left.extend(strangers.into_iter().map(|path| Left { path, why: why.into(), way: Way::Remove }));
}

/// Removes a folder with all that is in it, and notes each path that stays, with the reason. Follows no link and enters
/// nothing that is mounted, and leaves alone what belongs to another user.
fn remove_tree(path: &Path, left: &mut Vec<Left>) {
    let meta = path.symlink_metadata().ok();
    let is_dir = meta.as_ref().is_some_and(fs::Metadata::is_dir);
    let before = left.len();
    let stays = |why: String, way| Left { path: path.into(), why, way };
    if let Some(why) = meta.as_ref().and_then(alien) {
        return left.push(stays(format!("{why}; left alone"), Way::Remove));
    }
    if is_dir {
        if system::is_mount_point(path) {
            return left.push(stays("something is mounted there, which no lab does; left alone".into(), Way::Unmount));
        }
        match fs::read_dir(path) {
            Ok(entries) => entries.flatten().for_each(|entry| remove_tree(&entry.path(), left)),
            Err(error) => left.push(stays(in_words(error), Way::Remove)),
        }
    }
    // A folder stays because of what is in it, which is named already.
    if left.len() == before {
        let removed = if is_dir { fs::remove_dir(path) } else { fs::remove_file(path) };
        if let Err(error) = removed.or_else(|error| if error.kind() == NotFound { Ok(()) } else { Err(error) }) {
            let way = match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::BUSY) => Way::Unmount,
                Some(rustix::io::Errno::PERM) => Way::Attributes,
                _ => Way::Remove,
            };
            left.push(stays(in_words(error), way));
        }
    }
}

/// Folders in the cache, besides Kafka's jars by version.
const CACHED: [&str; 3] = ["class-data", "images", USERS];

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
    let cache = &lab.env.cache;
    let near = fs::read_dir(&lab.env.state_root).into_iter().flatten().flatten();
    let near = near.filter(|entry| entry.path() != lab.state && entry.path().join("lab.json").exists());
    let near = near.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let far = other_users(cache, &lab.state).into_iter().filter(|other| !other.starts_with(&lab.env.state_root));
    let others: Vec<String> = near.chain(far.map(|other| other.display().to_string())).collect();
    if !others.is_empty() {
        return Ok(Outcome::skipped(format!("still used by lab {}", others.join(", "))));
    }
    let mut outcome = Outcome::unchanged("none");
    if let Ok(meta) = cache.symlink_metadata()
        && (meta.is_symlink() || meta.uid() != rustix::process::geteuid().as_raw())
    {
        let why = if meta.is_symlink() { "is a symbolic link" } else { "belongs to another user" };
        let warning = format!("{} {why}: left alone; remove what is in it by hand", cache.display());
        outcome.warnings.push(warning);
        return Ok(outcome);
    }
    // Servers of a lab in another state folder run from these jars too.
    if let Some(user) = process::with_mark(|arg| arg.starts_with(MARK.as_bytes())).into_iter().find(|user| {
        let line = fs::read(format!("/proc/{}/cmdline", user.pid)).unwrap_or_default();
        let cache = cache.as_os_str().as_encoded_bytes();
        line.windows(cache.len()).any(|part| part == cache)
    }) {
        return Ok(Outcome::skipped(format!("still used by pid {}, a server of another lab", user.pid)));
    }
    let lock = cache.join("lock");
    let held = if cache.is_dir() { try_lock_own(&lock).cannot("lock", &lock)? } else { None };
    if held.is_none() && cache.is_dir() {
        return Ok(Outcome::skipped("another command fetches jars into it"));
    }
    let (mut removed, mut warnings) = images(task)?;
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        // An earlier version noted only the sizes.
        let noted = [CHECKED, "sizes"].iter().any(|file| path.join(file).is_file());
        let jars = name.starts_with("kafka-") && (name.ends_with(".partial") || noted);
        if jars || name == "lock" || CACHED.contains(&name.as_str()) {
            let mut left = Vec::new();
            remove_tree(&path, &mut left);
            if left.is_empty() && name != "lock" {
                removed.push(name);
            }
            warnings.extend(left.iter().map(Left::to_string));
        }
    }
    // Fails, as intended, if the folder contains foreign files.
    let _ = fs::remove_dir(cache);
    if !removed.is_empty() {
        outcome = Outcome::changed(format!("removed {} from {}", removed.join(", "), cache.display()));
    }
    Ok(Outcome { warnings, ..outcome })
}

/// Prefix of the names of images built by our recipes.
const OUR_IMAGES: &str = "kafka-lab-";

/// Removes the images built by our recipes, if there is an engine. Returns what was removed, and why something was not.
fn images(task: &Task<'_>) -> Result<(Vec<String>, Vec<String>)> {
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    if task.lab().env.find("docker").is_none() {
        return Ok((removed, kept));
    }
    let answer = |cmd| task.capture(&cmd).map(|output| (output.code == Some(0)).then_some(output.stdout));
    let (clusters, images) = (answer(docker::clusters_of_labs(MARK_IN_NODES))?, answer(docker::our_images())?);
    let (Some(clusters), Some(images)) = (clusters, images) else {
        kept.push("no Docker engine answers: its images are kept".into());
        return Ok((removed, kept));
    };
    // The nodes of another lab need them again when they are recreated.
    if let Some(cluster) = clusters.lines().next() {
        kept.push(format!("images are kept: cluster {cluster} is of another lab, which uses them"));
        return Ok((removed, kept));
    }
    for image in images.lines().filter(|image| image.starts_with(OUR_IMAGES)) {
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
    let marked = process::with_mark(|arg| is_mark(lab, arg));
    let mut left: Vec<String> = marked.iter().map(|identity| format!("process {}", identity.pid)).collect();
    let rest = task.ctx.driver.left(task)?;
    left.extend(rest.found);
    if lab.state.symlink_metadata().is_ok() {
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
