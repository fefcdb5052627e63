//! The state folder of a lab: the record of `up`, and what is kept of a failed `up`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::own::read_own_text;
use crate::files::{private_dir, to_json, write_atomically};
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

/// The schema of [`LabRecord`] that this version reads and writes.
pub const RECORD_SCHEMA: &str = "kafka-lab.record/1";

/// Reads the record in `state`; `None` if there is none.
///
/// # Errors
/// The record cannot be read or parsed.
pub fn read_record(state: &Path) -> Result<Option<LabRecord>> {
    let path = state.join("lab.json");
    let text = read_own_text(&path).or_else(|error| {
        // Ours says what it is; the system's says why it cannot be read.
        let fix = match error.kind() {
            ErrorKind::Other => without_record(state),
            _ => "make it readable, or set XDG_STATE_HOME to another folder".into(),
        };
        let failed = Err(error).cannot("read", &path);
        failed.map_err(|failure| Failure { exit: Exit::Preflight, fix: Some(fix), ..failure })
    })?;
    let Some(text) = text else { return Ok(None) };
    match serde_json::from_str::<LabRecord>(&text) {
        Ok(record) if record.schema == RECORD_SCHEMA => Ok(Some(record)),
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
    let (path, name) = (state.join("lab.json"), name(state));
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
    write_atomically(&state.join("lab.json"), &to_json(record))
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
    for name in ["logs", "diagnostics"] {
        let dir = state.join(name);
        if dir.exists() {
            std::fs::rename(&dir, kept.join(name)).cannot("move", &dir)?;
        }
    }
    Ok(kept)
}

/// Removes what [`put_aside`] kept.
///
/// # Errors
/// A file cannot be removed.
fn remove_remains(state: &Path) -> Result<()> {
    let kept = remains(state);
    match std::fs::remove_dir_all(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).cannot("remove", &kept),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("kafka-lab-state-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_record_of_another_schema_is_refused() {
        let state = dir("record");
        private_dir(&state).unwrap();
        assert_eq!(read_record(&state).unwrap(), None);
        let record = LabRecord {
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
        write_record(&state, &LabRecord { schema: "kafka-lab.record/9".into(), ..record }).unwrap();
        assert!(read_record(&state).is_err());
        std::fs::write(state.join("lab.json"), "{").unwrap();
        assert!(read_record(&state).is_err());
        std::fs::remove_dir_all(&state).unwrap();
    }
}
