//! The lock of a lab, which only one command holds at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::own::open_to_write;
use crate::files::{naming_what_is_in_the_way, private_dir, to_json};
use crate::signal::Stop;
use crate::system::now_ms;
use crate::wait::{self, Poll};

/// The holder of a lock, as written in the file.
#[derive(Serialize, Deserialize)]
struct Holder {
    command: String,
    pid: u32,
    since_ms: u64,
}

/// The lock of a state folder (flock(2)). It is released on drop or when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    state: PathBuf,
}

/// The file is beside the folder, so that a waiting command does not block its removal.
fn lock_path(state: &Path) -> PathBuf {
    state.with_extension("lock")
}

/// Whether the lock file exists: it is held, or was left by a killed command.
pub fn has_lock(state: &Path) -> bool {
    lock_path(state).symlink_metadata().is_ok()
}

impl Drop for Lock {
    /// Removes a lock without a lab, and the folder of all labs if it is empty. A waiter that has opened the file
    /// notices that it is gone and creates a new one.
    fn drop(&mut self) {
        if !self.state.exists() {
            let _ = std::fs::remove_file(lock_path(&self.state));
            if let Some(root) = self.state.parent() {
                let _ = std::fs::remove_dir(root);
            }
        }
    }
}

impl Lock {
    /// Takes the lock of a state folder, which need not exist. Waits for another command, and reports which.
    ///
    /// # Errors
    /// The folder is not writable, a timeout, or an interruption.
    pub fn take(state: &Path, command: &str, timeout: Duration, stop: &Stop, status: &dyn Fn(&str)) -> Result<Self> {
        let path = lock_path(state);
        let file = wait::until(
            &format!("the lock {}", path.display()),
            timeout,
            Duration::from_millis(200),
            stop,
            status,
            || {
                Ok(match Self::attempt(state, &path)? {
                    Ok(file) => Poll::Ready(file),
                    Err(holder) => Poll::NotYet(format!("waiting for {holder}")),
                })
            },
        );
        let mut file = file.map_err(|failure| {
            failure.fix_unless_known("wait for the other command, or end it; the lock ends with its process")
        })?;
        let holder = Holder { command: command.into(), pid: std::process::id(), since_ms: now_ms() };
        // The lock holds whether or not a full disk lets us write whose it is.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(to_json(&holder).as_bytes()));
        Ok(Lock { _file: file, state: state.into() })
    }

    /// Returns the lock, or its holder.
    fn attempt(state: &Path, path: &Path) -> Result<std::result::Result<File, String>> {
        private_dir(state.parent().unwrap_or(state)).map_err(|failure| Failure {
            exit: Exit::Preflight,
            ..failure.fix_unless_known("make it writable, or set XDG_STATE_HOME to a folder that is")
        })?;
        let mut options = OpenOptions::new();
        options.truncate(false).read(true).write(true);
        let mut file = open_to_write(path, &mut options)
            .cannot("use the lock", path)
            .map_err(|failure| naming_what_is_in_the_way(failure, path))
            .map_err(|failure| failure.fix_unless_known("set XDG_STATE_HOME to another folder"))?;
        match file.try_lock() {
            // A teardown removed the file while we waited for it, so this lock is void.
            Ok(()) => match (file.metadata(), std::fs::metadata(path)) {
                (Ok(ours), Ok(there)) if ours.ino() == there.ino() => Ok(Ok(file)),
                _ => Ok(Err("a lab that was just removed".into())),
            },
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                Ok(Err(match serde_json::from_str::<Holder>(&text) {
                    Ok(holder) => format!(
                        "`cargo xtask {}`, pid {}, since {} s",
                        holder.command,
                        holder.pid,
                        now_ms().saturating_sub(holder.since_ms) / 10_000 * 10
                    ),
                    Err(_) => "another command".into(),
                }))
            }
            Err(TryLockError::Error(error)) => Err(error)
                .cannot("lock", path)
                .map_err(|failure| failure.fix_unless_known("set XDG_STATE_HOME to a folder on a local disk")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("kafka-lab-lock-{}-{name}", std::process::id()))
    }

    fn take(state: &Path, timeout_ms: u64) -> Result<Lock> {
        Lock::take(state, "up", Duration::from_millis(timeout_ms), &Stop::default(), &|_| {})
    }

    #[test]
    fn the_second_taker_hears_who_holds_the_lock() {
        let state = dir("held").join("lab");
        let first = take(&state, 1000).unwrap();
        let failure = take(&state, 100).unwrap_err();
        assert!(failure.message.contains("`cargo xtask up`, pid "), "{}", failure.message);
        drop(first);
        take(&state, 1000).unwrap();
    }

    #[test]
    fn a_lock_without_a_lab_is_removed_and_a_waiter_makes_its_own() {
        let state = dir("removed").join("lab");
        let first = take(&state, 1000).unwrap();
        let waiter = {
            let state = state.clone();
            std::thread::spawn(move || take(&state, 20_000))
        };
        drop(first);
        let second = waiter.join().unwrap().unwrap();
        assert!(lock_path(&state).exists());
        drop(second);
        assert!(!state.parent().unwrap().exists());
    }
}
