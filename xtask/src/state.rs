//! The state folder of a lab: what `up` recorded, and what stays of a lab that failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::{private_dir, to_json, write_atomically};

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
pub struct Toolchain {
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
    pub setup: Option<Toolchain>,
    /// Replicas of clients that `clients scale` set, by Deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scaled: BTreeMap<String, u32>,
    /// The kubeconfig of the user that got our context, when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<PathBuf>,
}

/// The version of [`Record`] that this program writes and reads.
pub const RECORD_SCHEMA: &str = "kafka-lab.record/1";

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
