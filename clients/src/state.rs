//! The state file: the last line a client would print as its "checkpoint" or "end" in JSON format, kept for whoever asks.
//!
//! A container made from scratch has no `cat`, so the binary itself prints it: `kubectl exec POD -- /clients state`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cli::StateArgs;
use crate::output::Output;

/// Where a client keeps its state.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    partial: PathBuf,
}

impl StateFile {
    /// A state file at `path`. What an earlier process left there is removed, so that nobody takes it for this one's.
    pub fn new(path: &Path) -> Self {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        // Mostly nothing is there. What cannot be removed cannot be replaced either, and that is remarked on.
        let _ = fs::remove_file(path);
        Self { path: path.to_path_buf(), partial: partial.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what the file says. A reader finds the old line or the new one, whole.
    ///
    /// # Errors
    /// When the folder is missing, full or not ours to write to. The old line stays then.
    pub fn write(&self, line: &[u8]) -> io::Result<()> {
        let written = fs::write(&self.partial, line).and_then(|()| fs::rename(&self.partial, &self.path));
        if written.is_err() {
            // Half a line would only take the room that the next one needs.
            let _ = fs::remove_file(&self.partial);
        }
        written
    }
}

/// Prints the line that a client has written last.
///
/// # Errors
/// When there is none.
pub fn run(args: &StateArgs, output: &Output) -> Result<u8> {
    let path = args.state_file.display();
    let line = fs::read(&args.state_file).with_context(|| {
        format!("--state-file {path}: no state to read; a client started with this --state-file writes one each second")
    })?;
    output.line(&line);
    Ok(u8::from(output.broken()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_file_holds_the_last_line_of_this_process_and_nothing_is_left_beside_it() {
        let folder = std::env::temp_dir().join(format!("clients-state-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("state.json");
        fs::write(&path, "of an earlier process").unwrap();
        let state = StateFile::new(&path);
        assert!(!path.exists());
        for line in ["a longer first line\n", "second\n"] {
            state.write(line.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), line);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
        assert!(state.write(b"third\n").is_err());
    }
}
