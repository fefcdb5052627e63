//! The state folder of a lab: the record of `up`, and what is kept of a failed `up`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::config::facts::MAX_CLIENTS;
use crate::coordination::Release;
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::own::read_own_text;
use crate::files::{private_dir, to_json, write_atomically};
use crate::sha256;
use crate::words::quoted;

/// Source of the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSource {
    /// An image registry: kind's node image and the Kafka image named in kafka.yml.
    Registry,
    /// Packages, built with the recipes in manifests/images.
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
pub struct Toolchain {
    /// Source of the images.
    pub source: ImageSource,
    /// Path of kind.
    pub kind: PathBuf,
    /// Path of kubectl.
    pub kubectl: PathBuf,
    /// The node image; `None` if kind chooses it.
    pub node_image: Option<String>,
    /// The image of ZooKeeper and the brokers.
    pub kafka_image: String,
}

/// What `up` decided. The other commands follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabRecord {
    /// Schema of the record, [`RECORD_SCHEMA`].
    pub schema: String,
    /// Where the lab runs.
    pub backend: Backend,
    /// The version of Kafka and who coordinates its brokers. Records of before there was a choice have none.
    #[serde(default)]
    pub kafka: Release,
    /// Port of broker 0.
    pub port_base: u16,
    /// Folder of the manifests.
    pub manifests: PathBuf,
    /// Time of the first `up`, in ms since the Unix epoch.
    pub created_ms: u64,
    /// Programs and images, on a backend with a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Toolchain>,
    /// Replicas of clients that `clients scale` set, by Deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scaled: BTreeMap<String, u32>,
    /// The user's kubeconfig that has our context, with --merge-kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<PathBuf>,
}

impl LabRecord {
    /// What no command writes.
    fn problem(&self) -> Option<String> {
        let (name, replicas) = self.scaled.iter().find(|(_, replicas)| **replicas > MAX_CLIENTS)?;
        Some(format!("scaled.{name} is {replicas}, the limit is {MAX_CLIENTS}"))
    }
}

/// Name of the record's file.
pub const RECORD: &str = "lab.json";

/// Name of the journal.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// Name of the journal that became too large.
pub const FORMER_JOURNAL_FILE: &str = "journal.1.jsonl";

/// The schema of [`LabRecord`] that this version reads and writes.
pub const RECORD_SCHEMA: &str = "kafka-lab.record/1";

/// Reads the record in `state`; `None` if there is none.
///
/// # Errors
/// The record cannot be read or parsed.
pub fn read_record(state: &Path) -> Result<Option<LabRecord>> {
    let path = state.join(RECORD);
    let text = read_own_text(&path).or_else(|error| {
        // Ours says what it is; the system's says why it cannot be read.
        let fix = match error.kind() {
            ErrorKind::Other => without_record(state),
            ErrorKind::PermissionDenied => "make it readable, or set XDG_STATE_HOME to another folder".into(),
            // Such as a path that is too long, or links that lead to themselves.
            _ => "set XDG_STATE_HOME to another folder".into(),
        };
        let failed = Err(error).cannot("read", &path);
        failed.map_err(|failure| Failure { exit: Exit::Preflight, fix: Some(fix), ..failure })
    })?;
    let Some(text) = text else { return Ok(None) };
    match serde_json::from_str::<LabRecord>(&text) {
        Ok(record) if record.schema == RECORD_SCHEMA => match record.problem() {
            None => Ok(Some(record)),
            Some(problem) => Err(Failure::step(format!("{}: {problem}", path.display())).fix(without_record(state))),
        },
        Ok(record) => Err(Failure::step(format!("{} has schema {}", path.display(), record.schema)).fix(format!(
            "`cargo xtask teardown --name {0}`, then `cargo xtask up --name {0}`, which loses its messages; or use the \
             version of xtask that brought this lab up",
            name(state)
        ))),
        Err(error) => {
            Err(Failure::step(format!("cannot parse {}: {error}", path.display())).fix(without_record(state)))
        }
    }
}

fn name(state: &Path) -> std::borrow::Cow<'_, str> {
    state.file_name().unwrap_or_default().to_string_lossy()
}

/// How to go on without the record: what runs is found by its mark, but nothing else says which port base it had.
fn without_record(state: &Path) -> String {
    let (path, name) = (state.join(RECORD), name(state));
    let kept = "with the --port-base that it had, if any; or";
    format!(
        "`rm -r {}`, then `cargo xtask up --name {name}` {kept} `cargo xtask teardown --name {name}`",
        quoted(path.as_os_str())
    )
}

/// Writes the record atomically.
///
/// # Errors
/// The folder is not writable.
pub fn write_record(state: &Path, record: &LabRecord) -> Result<()> {
    write_atomically(&state.join(RECORD), &to_json(record))
}

/// The names in a lab's state folder, beside the folders of its services. Add each new one: without a record,
/// `teardown` refuses a folder that holds another.
const NAMES_A_LAB_MAKES: [&str; 13] = [
    RECORD,
    JOURNAL_FILE,
    FORMER_JOURNAL_FILE,
    "logs",
    "diagnostics",
    "manifests",
    "kubectl",
    "kubeconfig",
    "kubeconfig.merge",
    "mark",
    "cluster.made",
    "clients.id",
    "drill",
];

/// Whether a lab makes a file or folder called `name` in its state folder, other than that of a service.
pub fn is_made_by_a_lab(name: &str) -> bool {
    NAMES_A_LAB_MAKES.contains(&name) || name.starts_with("restart-")
}

/// The folder of the cache with a file for each lab that uses it. A lab may have any state folder, and its servers may
/// be dead.
pub const USERS: &str = "labs";

/// The file in the cache for the lab with this state folder, whose path is in it.
fn user_file(cache: &Path, state: &Path) -> PathBuf {
    let path = state.as_os_str().as_encoded_bytes();
    cache.join(USERS).join(format!("{}-{}", name(state), &sha256::of(path)[..16]))
}

/// Notes that the lab with this state folder uses the cache.
///
/// # Errors
/// The cache is not writable.
pub fn note_user(cache: &Path, state: &Path) -> Result<()> {
    let file = user_file(cache, state);
    private_dir(cache)?;
    private_dir(&cache.join(USERS))?;
    match read_own_text(&file).ok().flatten().is_some_and(|text| Path::new(&text) == state) {
        true => Ok(()),
        false => write_atomically(&file, &state.to_string_lossy()),
    }
}

/// Removes what [`note_user`] noted.
pub fn forget_user(cache: &Path, state: &Path) {
    let _ = std::fs::remove_file(user_file(cache, state));
    // Fails, as intended, if there are others.
    let _ = std::fs::remove_dir(cache.join(USERS));
}

/// Returns the state folders of other labs that use the cache and are recorded.
pub fn other_users(cache: &Path, state: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(cache.join(USERS)).into_iter().flatten().flatten();
    let states = files.filter_map(|file| Some(PathBuf::from(read_own_text(&file.path()).ok()??)));
    states.filter(|other| other != state && is_record_of_a_lab(other)).collect()
}

/// Returns the folder that keeps the logs and diagnostics of a failed `up`. It is beside the state folder, under a name
/// that no lab can have.
pub fn remains(state: &Path) -> PathBuf {
    state.with_extension("failed")
}

/// Moves logs and diagnostics to [`remains`], and replaces older ones there.
///
/// # Errors
/// A folder cannot be moved.
pub fn put_aside(state: &Path) -> Result<PathBuf> {
    let kept = remains(state);
    remove_remains(state)?;
    private_dir(&kept)?;
    for name in KEPT {
        let dir = state.join(name);
        if dir.exists() {
            std::fs::rename(&dir, kept.join(name)).cannot("move", &dir)?;
        }
    }
    Ok(kept)
}

/// Whether `dir` has a record of a lab, of whichever version. Anything else may have a file of that name too.
pub fn is_record_of_a_lab(dir: &Path) -> bool {
    let text = read_own_text(&dir.join(RECORD)).ok().flatten().unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    record["schema"].as_str().is_some_and(|schema| schema.starts_with("kafka-lab.record/"))
}

/// What [`put_aside`] keeps.
const KEPT: [&str; 2] = ["logs", "diagnostics"];

/// Why `dir` was not made by [`put_aside`].
pub fn not_of_a_failed_up(dir: &Path) -> Option<String> {
    if dir.is_symlink() {
        return Some("is a symbolic link, which no lab makes; left alone".into());
    }
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let strange = names.into_iter().find(|name| !KEPT.contains(&name.as_str()))?;
    Some(format!("holds {strange}, which no lab keeps of a failed `up`; left alone"))
}

/// Removes what [`put_aside`] kept.
///
/// # Errors
/// A file cannot be removed, or is not of a failed `up`.
fn remove_remains(state: &Path) -> Result<()> {
    let kept = remains(state);
    if let Some(why) = not_of_a_failed_up(&kept) {
        let fix = format!("move it elsewhere: `mv {0} {0}.theirs`, then rerun", quoted(kept.as_os_str()));
        return Err(Failure::step(format!("{} {why}", kept.display())).fix(fix));
    }
    match std::fs::remove_dir_all(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).cannot("remove", &kept),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A record.
    pub fn record() -> LabRecord {
        LabRecord {
            schema: RECORD_SCHEMA.into(),
            backend: Backend::Local,
            kafka: Release::default(),
            port_base: 30090,
            manifests: "/m".into(),
            created_ms: 1,
            setup: None,
            scaled: BTreeMap::new(),
            merged: None,
        }
    }

    fn dir(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("kafka-lab-state-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_lab_in_whichever_folder_is_known_as_a_user_of_the_cache_until_its_record_is_gone() {
        let (cache, state, other) = (dir("cache"), dir("user"), dir("other"));
        for lab in [&state, &other] {
            private_dir(lab).unwrap();
            std::fs::write(lab.join("lab.json"), r#"{"schema": "kafka-lab.record/1"}"#).unwrap();
            note_user(&cache, lab).unwrap();
            note_user(&cache, lab).unwrap();
        }
        assert_eq!(other_users(&cache, &state), std::slice::from_ref(&other));
        std::fs::remove_dir_all(&other).unwrap();
        assert!(other_users(&cache, &state).is_empty());
        forget_user(&cache, &other);
        forget_user(&cache, &state);
        assert!(!cache.join(USERS).exists());
        std::fs::remove_dir_all(&cache).unwrap();
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn only_what_a_failed_up_left_is_replaced() {
        let state = dir("remains");
        for name in KEPT {
            private_dir(&state.join(name)).unwrap();
        }
        let kept = put_aside(&state).unwrap();
        assert!(not_of_a_failed_up(&kept).is_none() && kept.join("logs").is_dir());
        std::fs::write(kept.join("thesis.txt"), "precious").unwrap();
        assert!(put_aside(&state).unwrap_err().message.contains("thesis.txt"));
        assert_eq!(std::fs::read_to_string(kept.join("thesis.txt")).unwrap(), "precious");
        std::fs::remove_dir_all(&kept).unwrap();
        std::fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_record_of_another_schema_is_refused() {
        let state = dir("record");
        private_dir(&state).unwrap();
        assert_eq!(read_record(&state).unwrap(), None);
        let record = record();
        write_record(&state, &record).unwrap();
        assert_eq!(read_record(&state).unwrap().as_ref(), Some(&record));
        write_record(&state, &LabRecord { schema: "kafka-lab.record/9".into(), ..record.clone() }).unwrap();
        assert!(read_record(&state).is_err());
        assert!(is_record_of_a_lab(&state), "of another version");
        let many = LabRecord { scaled: [("consumer".into(), u32::MAX)].into(), ..record.clone() };
        write_record(&state, &many).unwrap();
        assert!(read_record(&state).unwrap_err().message.contains("scaled.consumer is 4294967295, the limit is"));
        std::fs::write(state.join(RECORD), "{").unwrap();
        assert!(!is_record_of_a_lab(&state));
        assert!(read_record(&state).is_err());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
