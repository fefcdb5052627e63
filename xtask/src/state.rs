//! The state folder of a lab: what `up` recorded, and the lock that keeps two commands apart.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, IoContext, Result};
use crate::signal::Stop;
use crate::wait::{self, Poll};

/// Where a lab runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A kind cluster on Docker.
    Kind,
    /// Processes of this machine.
    Local,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Backend::Kind => "kind",
            Backend::Local => "local",
        })
    }
}

/// Where images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSource {
    /// An image registry: kind's node image and the Kafka image that kafka.yml names.
    Registry,
    /// Packages only, by the recipes in manifests/images.
    Packages,
}

impl std::fmt::Display for ImageSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ImageSource::Registry => "registry",
            ImageSource::Packages => "packages",
        })
    }
}

/// The programs and images that a lab on Kubernetes uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Where the images come from.
    pub source: ImageSource,
    /// The kind program.
    pub kind: PathBuf,
    /// The kubectl program.
    pub kubectl: PathBuf,
    /// The node image; `None` when kind itself chooses it.
    pub node_image: Option<String>,
    /// The image of ZooKeeper and the brokers.
    pub kafka_image: String,
}

/// What `up` decided; the other commands follow it and never guess again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `kafka-lab.record/1`.
    pub schema: String,
    /// Where the lab runs.
    pub backend: Backend,
    /// Port of broker 0.
    pub port_base: u16,
    /// The manifests' folder.
    pub manifests: PathBuf,
    /// When it was first brought up, in ms since the Unix epoch.
    pub created_ms: u64,
    /// Programs and images, where there is a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Setup>,
    /// Replicas of clients that `clients scale` set, by Deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scaled: BTreeMap<String, u32>,
    /// The kubeconfig of the user that got our context, when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<PathBuf>,
}

/// The version of [`Record`] that this program writes and reads.
pub const RECORD_SCHEMA: &str = "kafka-lab.record/1";

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Reads the record in `state`; `None` when nothing is up there.
///
/// # Errors
/// It is there and cannot be read or understood.
pub fn read_record(state: &Path) -> Result<Option<Record>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let path = state.join("lab.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if [NotFound, NotADirectory].contains(&error.kind()) => return Ok(None),
        Err(error) => {
            return Err(error).cannot("read", &path).map_err(|failure| Failure {
                exit: Exit::Preflight,
                fix: Some("make it readable, or set XDG_STATE_HOME to another folder".into()),
                ..failure
            });
        }
    };
    match serde_json::from_str::<Record>(&text) {
        Ok(record) if record.schema == RECORD_SCHEMA => Ok(Some(record)),
        Ok(record) => Err(Failure::step(format!("{} is of schema {}", path.display(), record.schema))
            .fix("use the version of xtask that brought this lab up, or `cargo xtask teardown` with it")),
        Err(error) => Err(Failure::step(format!("{} cannot be understood: {error}", path.display())).fix(format!(
            "remove {} and say `cargo xtask up` again; running processes are found by their mark",
            path.display()
        ))),
    }
}

/// Writes the record, so that a crash leaves the old one or the new one.
///
/// # Errors
/// The folder cannot be written.
pub fn write_record(state: &Path, record: &Record) -> Result<()> {
    write_atomically(&state.join("lab.json"), &to_json(record))
}

/// `value` as indented JSON.
pub fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Writes a file beside `path`, which only its owner may read, and renames it over it.
///
/// # Errors
/// The folder cannot be written or is full.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut options = OpenOptions::new();
    let mut file =
        options.create(true).truncate(true).write(true).mode(0o600).open(&partial).cannot("write", &partial)?;
    // One that an earlier command left behind keeps its mode.
    file.set_permissions(Permissions::from_mode(0o600)).cannot("protect", &partial)?;
    file.write_all(text.as_bytes()).cannot("write", &partial)?;
    std::fs::rename(&partial, path).cannot("write", path)
}

/// Creates `dir` with its parents, readable by its owner only.
///
/// # Errors
/// It cannot be created.
pub fn private_dir(dir: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).cannot("create", dir)?;
    let mode = std::fs::metadata(dir).cannot("read", dir)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700)).cannot("protect", dir)?;
    }
    Ok(())
}

/// Who holds a lock, as it wrote into it.
#[derive(Serialize, Deserialize)]
struct Holder {
    command: String,
    pid: u32,
    since_ms: u64,
}

/// The lock of a state folder, held until dropped or until the process ends, however it ends (flock(2)).
#[derive(Debug)]
pub struct Lock {
    _file: File,
    state: PathBuf,
}

/// Beside the folder, not in it: whoever waits for it must not get in the way of whoever removes the folder.
fn lock_path(state: &Path) -> PathBuf {
    state.with_extension("lock")
}

/// Where the logs and diagnostics of a lab stay that was taken down because it failed: beside its state folder, under a name
/// that no lab has.
pub fn remains(state: &Path) -> PathBuf {
    state.with_extension("failed")
}

/// Moves logs and diagnostics to where a teardown leaves them, in place of those that were there.
///
/// # Errors
/// A folder cannot be moved.
pub fn put_aside(state: &Path) -> Result<PathBuf> {
    let kept = remains(state);
    remove_remains(state)?;
    private_dir(&kept)?;
    for name in ["logs", "diagnostics"] {
        let dir = state.join(name);
        if dir.exists() {
            std::fs::rename(&dir, kept.join(name)).cannot("move", &dir)?;
        }
    }
    Ok(kept)
}

/// Removes what was put aside.
///
/// # Errors
/// A file cannot be removed.
pub fn remove_remains(state: &Path) -> Result<()> {
    let kept = remains(state);
    match std::fs::remove_dir_all(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).cannot("remove", &kept),
        _ => Ok(()),
    }
}

/// Whether there is a lock of the state folder: one that somebody holds, or that a command left which was killed.
pub fn has_lock(state: &Path) -> bool {
    lock_path(state).exists()
}

impl Drop for Lock {
    /// A lock without a lab is removed with the folder of all labs when that is empty. A waiter that had opened it sees
    /// that it is gone and makes a new one.
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
    /// Takes the lock of a state folder, which need not exist; waits for another command to finish, saying who it is.
    ///
    /// # Errors
    /// The folder cannot be written, the other command holds on for longer than `timeout`, or an interruption.
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
            let fix = "wait for it or end it; the lock goes with its process";
            if failure.fix.is_none() { failure.fix(fix) } else { failure }
        })?;
        let holder = Holder { command: command.into(), pid: std::process::id(), since_ms: now_ms() };
        file.set_len(0).and_then(|()| file.rewind()).cannot("write", &path)?;
        file.write_all(to_json(&holder).as_bytes()).cannot("write", &path)?;
        Ok(Lock { _file: file, state: state.into() })
    }

    /// The lock, or who has it.
    fn attempt(state: &Path, path: &Path) -> Result<std::result::Result<File, String>> {
        private_dir(state.parent().unwrap_or(state)).map_err(|failure| Failure {
            exit: Exit::Preflight,
            fix: Some("make it writable, or set XDG_STATE_HOME to a folder that is".into()),
            ..failure
        })?;
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path).cannot("open", path)?;
        match file.try_lock() {
            // Whoever tore the lab down removed the file while we waited for it: that lock is worth nothing.
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
            Err(TryLockError::Error(error)) => Err(error).cannot("lock", path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("kafka-lab-state-{}-{name}", std::process::id()))
    }

    fn take(state: &Path, timeout_ms: u64) -> Result<Lock> {
        Lock::take(state, "up", Duration::from_millis(timeout_ms), &Stop::default(), &|_| {})
    }

    #[test]
    fn the_second_taker_hears_who_holds_the_lock() {
        let state = dir("held").join("lab");
        let first = take(&state, 1000).unwrap();
        let failure = take(&state, 100).unwrap_err();
        assert!(failure.what.contains("`cargo xtask up`, pid "), "{}", failure.what);
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
    fn the_state_folder_is_private() {
        let state = dir("private");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        private_dir(&state).unwrap();
        assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_record_of_another_schema_is_refused() {
        let state = dir("record");
        private_dir(&state).unwrap();
        assert_eq!(read_record(&state).unwrap(), None);
        let record = Record {
            schema: RECORD_SCHEMA.into(),
            backend: Backend::Local,
            port_base: 30090,
            manifests: "/m".into(),
            created_ms: 1,
            setup: None,
            scaled: BTreeMap::new(),
            merged: None,
        };
        write_record(&state, &record).unwrap();
        assert_eq!(read_record(&state).unwrap().as_ref(), Some(&record));
        write_record(&state, &Record { schema: "kafka-lab.record/9".into(), ..record }).unwrap();
        assert!(read_record(&state).is_err());
        std::fs::write(state.join("lab.json"), "{").unwrap();
        assert!(read_record(&state).is_err());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
