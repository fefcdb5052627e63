//! Records what `up` decided, after a successful preflight.

use crate::config::Lab;
use crate::failure::Result;
use crate::files::private_dir;
use crate::state::{LabRecord, RECORD_SCHEMA, note_user, read_record, write_record};
use crate::system::now_ms;
use crate::task::{Outcome, Task};
use crate::words::quoted;

/// Returns the preview of [`run`].
pub fn preview(lab: &Lab) -> Vec<String> {
    vec![
        format!("mkdir -p -m 700 {}", quoted(lab.logs().as_os_str())),
        format!(
            "# record the backend, Kafka's version and mode, the ports and the manifests folder in {}",
            lab.state.join("lab.json").display()
        ),
    ]
}

/// Creates the state folder and writes the record.
///
/// # Errors
/// The folder is not writable.
pub fn run(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    private_dir(&lab.state)?;
    private_dir(&lab.logs())?;
    // Some steps are run without a log, on /dev/null.
    if let Some(logs) = task.log.parent().filter(|logs| logs.starts_with(&lab.state)) {
        private_dir(logs)?;
    }
    // An unreadable record is replaced: running processes are found by their mark.
    let before = read_record(&lab.state).unwrap_or_default();
    let record = LabRecord {
        schema: RECORD_SCHEMA.into(),
        backend: lab.backend,
        kafka: lab.release,
        port_base: lab.ports.base,
        manifests: lab.manifests.clone(),
        created_ms: before.as_ref().map_or_else(now_ms, |record| record.created_ms),
        setup: task.ctx.setup.get().cloned(),
        scaled: lab.scaled.clone(),
        merged: lab.merged.clone(),
    };
    note_user(&lab.env.cache, &lab.state)?;
    let proof = format!("backend {}, Kafka {}, state in {}", lab.backend, lab.release, lab.state.display());
    if before.as_ref() == Some(&record) {
        return Ok(Outcome::unchanged(proof));
    }
    write_record(&lab.state, &record)?;
    Ok(Outcome::changed(proof))
}
