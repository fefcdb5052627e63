//! Private files and folders, and atomic writes.

pub mod own;

use std::fs::Permissions;
use std::io::Error;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::{IoContext, Result};
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
    write_own(&partial, text.as_bytes()).cannot("write", &partial)?;
    std::fs::rename(&partial, path).cannot("write", path)
}

/// Creates `dir` with its parents, for its owner only. One that is there must be a folder of this user.
///
/// # Errors
/// It cannot be created, or is something else.
pub fn private_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).cannot("create", dir)?;
    let meta = std::fs::symlink_metadata(dir).cannot("read", dir)?;
    let why = if meta.is_symlink() { Some("it is a symbolic link") } else { alien(&meta) };
    if let Some(why) = why {
        return Err(Error::other(why)).cannot("use the folder", dir);
    }
    if meta.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).cannot("protect", dir)?;
    }
    Ok(())
}

/// Removes a file; that it is absent is fine.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).cannot("remove", path),
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
        std::fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
