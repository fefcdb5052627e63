//! Where the lines of a recording go.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use ledger::cause::in_words;

use crate::event::Line;

/// Creates a file that does not exist yet: a recording is never written over.
///
/// # Errors
/// It exists, or cannot be created.
pub fn create(path: &Path) -> Result<File> {
    match OpenOptions::new().append(true).create_new(true).open(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists: give --out another name, or remove it", path.display())
        }
        Err(error) => Err(anyhow!("cannot create {}: {}", path.display(), in_words(error))),
    }
}

/// Writes a line at once and whole, so that whoever reads along sees it.
///
/// # Errors
/// It cannot be written.
pub fn write(to: &mut impl Write, line: &Line) -> Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    to.write_all(&line)?;
    Ok(to.flush()?)
}
