//! Private files and folders, and atomic writes.

pub mod own;

use std::fs::Permissions;
use std::io::Error;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::{Failure, IoContext, Result};
use crate::words::quoted;
use own::{alien, write_own};

/// Serializes `value` as indented JSON.
pub fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// `path` with `.EXTENSION` after its name, dots in it or not.
pub fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Writes a file beside `path` and renames it over it, so that a crash leaves the old one or the new one.
///
/// # Errors
/// As [`open_own`], or the folder is full or cannot be written.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let partial = beside(path, "partial");
    write_file(&partial, text)?;
    std::fs::rename(&partial, path).cannot("write", path).map_err(|failure| naming_what_is_in_the_way(failure, path))
}

/// Writes one of the lab's own files anew.
///
/// # Errors
/// As [`open_own`](own::open_own), or the folder is full or cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    let written = write_own(path, text.as_bytes()).cannot("write", path);
    written.map_err(|failure| naming_what_is_in_the_way(failure, path))
}

/// Adds the way out if something else is where a file of the lab belongs: a folder, a link, a pipe, a file of another
/// user. It may be precious, so nothing removes it unasked.
pub fn naming_what_is_in_the_way(failure: Failure, path: &Path) -> Failure {
    let there = std::fs::symlink_metadata(path);
    match there.is_ok_and(|meta| !meta.is_file() || meta.nlink() > 1 || alien(&meta).is_some()) {
        true if failure.fix.is_none() => failure.fix(format!(
            "look at what is there, which no lab makes; to remove it: `rm -r {}`; then rerun",
            quoted(path.as_os_str())
        )),
        _ => failure,
    }
}

/// The size of a file and the time of its last change, which tell whether it was cut or written over since.
pub fn stamp(path: &Path) -> String {
    std::fs::metadata(path).map_or("missing".into(), |meta| {
        format!("{} bytes, changed {}.{:09}", meta.len(), meta.mtime(), meta.mtime_nsec())
    })
}

/// Creates `dir` with its parents, for its owner only. One that is there must be a folder of this user, and is made
/// private if it is in the folder of all labs or in the cache. No folder of the lab above it may be a link.
///
/// # Errors
/// It cannot be created, or is something else.
pub fn private_dir(dir: &Path) -> Result<()> {
    if let Some(link) = of_the_labs(dir).find(|above| above.is_symlink()) {
        let refused = Err(Error::other("it is a symbolic link")).cannot("use the folder", link);
        return refused.map_err(|failure| naming_what_is_in_the_way(failure, link));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).cannot("create", dir)?;
    let meta = std::fs::symlink_metadata(dir).cannot("read", dir)?;
    if let Some(why) = alien(&meta) {
        let refused = Err(Error::other(why)).cannot("use the folder", dir);
        return refused.map_err(|failure| naming_what_is_in_the_way(failure, dir));
    }
    // A folder that no lab makes keeps its mode, whoever names it here.
    if meta.permissions().mode() & 0o077 != 0 && dir.ancestors().any(|above| above.ends_with("kafka-lab")) {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).cannot("protect", dir)?;
    }
    Ok(())
}

/// Whether a folder is there, belongs to this user, and no link leads to it that the lab did not make.
pub fn is_ours(dir: &Path) -> bool {
    let meta = std::fs::symlink_metadata(dir);
    meta.is_ok_and(|meta| meta.is_dir() && alien(&meta).is_none()) && !of_the_labs(dir).any(Path::is_symlink)
}

/// `dir` and the folders above it that the lab makes: those in the folder of all labs, or in the cache. What is above
/// that is the user's, who may well have links there.
fn of_the_labs(dir: &Path) -> impl Iterator<Item = &Path> {
    let all = |path: &Path| path.ends_with("kafka-lab");
    // The default lab has the name of the folder of all labs.
    let is_root = move |path: &Path| all(path) && !path.parent().is_some_and(all);
    let below = dir.ancestors().take_while(move |above| !is_root(above)).count();
    let known = dir.ancestors().any(is_root);
    dir.ancestors().take(if known { below.max(1) } else { 1 })
}

/// Removes a file; that it is absent is fine.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).cannot("remove", path).map_err(|failure| naming_what_is_in_the_way(failure, path))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("kafka-lab-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        dir
    }

    #[test]
    fn a_folder_is_private_and_a_link_to_one_is_refused() {
        let dir = folder("private");
        let (made, link) = (dir.join("a/b"), dir.join("link"));
        private_dir(&made).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        symlink(&made, &link).unwrap();
        assert!(private_dir(&link).unwrap_err().to_string().contains("symbolic link"));
        // One that was there is made private only if it is a lab's.
        let mode = |dir: &Path| std::fs::metadata(dir).unwrap().permissions().mode() & 0o777;
        let of_a_lab = dir.join("kafka-lab/lab");
        std::fs::create_dir_all(&of_a_lab).unwrap();
        for dir in [&dir, &of_a_lab] {
            std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
            private_dir(dir).unwrap();
        }
        assert_eq!((mode(&dir), mode(&of_a_lab)), (0o755, 0o700));
        // Above the folder of all labs, a link is the user's; below it, nobody's.
        let labs = link.join("kafka-lab");
        private_dir(&labs.join("kafka-lab/logs")).unwrap();
        symlink(&made, labs.join("lab")).unwrap();
        assert!(private_dir(&labs.join("lab/logs")).is_err() && !made.join("logs").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
