//! The lock of a lab, which only one command holds at a time, and what its file says about commands at work or
//! interrupted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger::cause::in_words;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::own::{open_own, open_to_write};
use crate::files::{naming_what_is_in_the_way, private_dir, to_json};
use crate::signal::Stop;
use crate::system::{now_ms, utc};
use crate::wait::{self, Poll};

/// A command that changes the lab, as written in the lock's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The command, such as `clients scale`.
    pub command: String,
    /// Its process id.
    pub pid: u32,
    /// When it took the lock, in ms since the Unix epoch.
    pub since_ms: u64,
}

impl Holder {
    /// Whether a run of `command` makes good what this one left half done.
    fn is_mended_by(&self, command: &str) -> bool {
        ["up", "teardown", &self.command].contains(&command)
    }

    /// Returns it as text: command, process id and time.
    pub fn words(&self) -> String {
        format!("`cargo xtask {}` (pid {}, since {})", self.command, self.pid, utc(self.since_ms))
    }
}

/// The content of the lock's file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    /// The command that holds the lock; one that was killed is still written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
    /// An earlier command that was interrupted, and that nothing has made good since.
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<Holder>,
}

impl Notes {
    fn read(file: &mut File) -> Self {
        let mut text = String::new();
        let _ = file.rewind().and_then(|()| file.take(64 * 1024).read_to_string(&mut text));
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A full disk may prevent it: the lock holds whether or not its file says whose it is.
    fn write(&self, file: &mut File) {
        let text = if self.holder.is_none() && self.interrupted.is_none() { String::new() } else { to_json(self) };
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
    }
}

/// What the lock says about a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing is at work, and nothing was interrupted.
    None,
    /// A command is at work; `None` if it has not written who it is yet.
    Busy(Option<Holder>),
    /// A command was killed or stopped before its end, and nothing has made it good since.
    Interrupted(Holder),
    /// The lock cannot be read, with the reason.
    Unknown(String),
}

impl Work {
    /// Returns it as a line of text; `None` if there is nothing to say.
    pub fn words(&self) -> Option<String> {
        match self {
            Work::None => None,
            Work::Busy(Some(holder)) => Some(format!("{} is at work", holder.words())),
            Work::Busy(None) => Some("another command is at work".into()),
            Work::Interrupted(holder) => Some(format!("{} was interrupted", holder.words())),
            Work::Unknown(why) => Some(format!("whether a command is at work is unknown: {why}")),
        }
    }
}

/// Looks who holds the lock of a state folder, without waiting and without changing it.
pub fn look(state: &Path) -> Work {
    let path = lock_path(state);
    let mut file = match open_own(&path, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Work::None,
        Err(error) => return Work::Unknown(format!("{}: {}", path.display(), in_words(error))),
        Ok(file) => file,
    };
    // Shared, so that two who look do not take each other for a command. A command that comes meanwhile tries again.
    match file.try_lock_shared() {
        Ok(()) => {
            let notes = Notes::read(&mut file);
            notes.holder.or(notes.interrupted).map_or(Work::None, Work::Interrupted)
        }
        Err(TryLockError::WouldBlock) => Work::Busy(Notes::read(&mut file).holder),
        Err(TryLockError::Error(error)) => Work::Unknown(format!("{}: {}", path.display(), in_words(error))),
    }
}

/// The lock of a state folder (flock(2)). It is released on drop or when the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    state: PathBuf,
    holder: Holder,
    /// An earlier command that was interrupted, unless this one makes it good.
    interrupted: Option<Holder>,
    stop: Stop,
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
    /// Notes whether the command was interrupted. Removes a lock without a lab, and the folder of all labs if it is
    /// empty: a waiter that has opened the file notices that it is gone and creates a new one.
    fn drop(&mut self) {
        if self.state.exists() {
            let ours = self.stop.signalled().then(|| self.holder.clone());
            Notes { holder: None, interrupted: self.interrupted.take().or(ours) }.write(&mut self.file);
            return;
        }
        let _ = std::fs::remove_file(lock_path(&self.state));
        if let Some(root) = self.state.parent() {
            let _ = std::fs::remove_dir(root);
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
        let before = Notes::read(&mut file);
        let left = before.holder.or(before.interrupted);
        let interrupted = left.filter(|left| !left.is_mended_by(command));
        let holder = Holder { command: command.into(), pid: std::process::id(), since_ms: now_ms() };
        Notes { holder: Some(holder.clone()), interrupted: interrupted.clone() }.write(&mut file);
        Ok(Lock { file, state: state.into(), holder, interrupted, stop: stop.clone() })
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
            Err(TryLockError::WouldBlock) => Ok(Err(match Notes::read(&mut file).holder {
                Some(holder) => format!(
                    "`cargo xtask {}`, pid {}, since {} s",
                    holder.command,
                    holder.pid,
                    now_ms().saturating_sub(holder.since_ms) / 10_000 * 10
                ),
                None => "another command".into(),
            })),
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

    #[test]
    fn who_is_at_work_or_was_interrupted_is_told_until_it_is_made_good() {
        let state = dir("looked").join("lab");
        std::fs::create_dir_all(&state).unwrap();
        assert_eq!(look(&state), Work::None);
        let take =
            |command: &str, stop: &Stop| Lock::take(&state, command, Duration::from_secs(1), stop, &|_| {}).unwrap();
        let interrupted = || match look(&state) {
            Work::Interrupted(holder) => holder.command,
            other => format!("{other:?}"),
        };
        let first = take("up", &Stop::default());
        let Work::Busy(Some(holder)) = look(&state) else { panic!("{:?}", look(&state)) };
        assert_eq!((holder.command.as_str(), holder.pid), ("up", std::process::id()));
        assert!(look(&state).words().unwrap().ends_with(" UTC) is at work"));
        drop(first);
        assert_eq!(look(&state), Work::None, "it ended by itself");

        // Killed: nobody wrote how it ended.
        let drill = Holder { command: "drill".into(), pid: 7, since_ms: 0 };
        let mut file = File::create(lock_path(&state)).unwrap();
        Notes { holder: Some(drill), interrupted: None }.write(&mut file);
        assert_eq!(interrupted(), "drill");
        drop(take("clients scale", &Stop::default()));
        assert_eq!(interrupted(), "drill", "scaling clients mends no broker");
        drop(take("drill", &Stop::default()));
        assert_eq!(look(&state), Work::None, "the next drill mends what a killed one left");

        // Stopped by a signal.
        let stop = Stop::default();
        let stopped = take("up", &stop);
        stop.signal();
        drop(stopped);
        assert_eq!(interrupted(), "up");
        drop(take("up", &Stop::default()));
        assert_eq!(look(&state), Work::None);
        std::fs::remove_dir_all(state.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_lock_that_somebody_planted_is_unknown() {
        let state = dir("planted").join("lab");
        std::fs::create_dir_all(&state).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", lock_path(&state)).unwrap();
        assert!(look(&state).words().unwrap().contains("symbolic link"));
        std::fs::remove_dir_all(state.parent().unwrap()).unwrap();
    }
}
