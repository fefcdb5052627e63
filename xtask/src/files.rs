//! Private files and folders, and atomic writes.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::{IoContext, Result};

/// Serializes `value` as indented JSON.
pub fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Appends `.EXTENSION` to the name in `path`, which may contain dots.
pub fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Writes a file that only its owner can read, then renames it to `path`.
///
/// # Errors
/// The folder is not writable or the disk is full.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let partial = beside(path, "partial");
    let mut options = OpenOptions::new();
    let mut file =
        options.create(true).truncate(true).write(true).mode(0o600).open(&partial).cannot("write", &partial)?;
    // A leftover of an earlier command keeps its mode.
    file.set_permissions(Permissions::from_mode(0o600)).cannot("protect", &partial)?;
    file.write_all(text.as_bytes()).cannot("write", &partial)?;
    std::fs::rename(&partial, path).cannot("write", path)
}

/// Creates `dir` and its parents, readable by the owner only.
///
/// # Errors
/// The folder cannot be created.
pub fn private_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).cannot("create", dir)?;
    let mode = std::fs::metadata(dir).cannot("read", dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).cannot("protect", dir)?;
    }
    Ok(())
}

/// Removes a file if it exists.
///
/// # Errors
/// The file cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).cannot("remove", path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_is_private() {
        let state = std::env::temp_dir().join(format!("kafka-lab-files-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        std::fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        private_dir(&state).unwrap();
        assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&state).unwrap();
    }
}
