//! Adds the lab's context to the user's kubeconfig, and removes it again.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Failure, IoContext, Result};
use crate::state::{LabRecord, read_record, write_record};
use crate::task::{Outcome, Task};

/// What [`merge`] would do.
pub fn preview_merge(lab: &Lab) -> Vec<String> {
    vec![format!("# add context {} to your kubeconfig; your current context stays", lab.context())]
}

/// What [`unmerge`] would do.
pub fn preview_unmerge(lab: &Lab) -> Vec<String> {
    vec![format!("# remove context {} from your kubeconfig", lab.context())]
}

/// Adds the lab's context to the user's kubeconfig. Their current context stays.
///
/// # Errors
/// Neither KUBECONFIG nor HOME is set, or kubectl cannot merge the file.
pub fn merge(task: &Task<'_>) -> Result<Outcome> {
    let (lab, setup) = (task.lab(), task.setup()?);
    let Some(theirs) = lab.env.kubeconfig.clone() else {
        return Err(Failure::usage("--merge-kubeconfig: neither KUBECONFIG nor HOME is set"));
    };
    // Replace the file, not a link to it.
    let theirs = std::fs::canonicalize(&theirs).unwrap_or(theirs);
    let before = std::fs::read_to_string(&theirs).unwrap_or_default();
    // Ours has no current context, so that theirs stays, even if it is unset.
    let ours = lab.state.join("kubeconfig.merge");
    std::fs::copy(lab.kubeconfig(), &ours).cannot("write", &ours)?;
    let run = |cmd: Cmd| task.run(&cmd);
    let ask = || Cmd::new(&setup.kubectl, Duration::from_secs(20));
    run(ask().args(["config", "unset", "current-context", "--kubeconfig"]).arg(&ours))?;
    let both = std::env::join_paths([&ours, &theirs]).cannot("merge", &theirs)?;
    let merged = run(ask().args(["config", "view", "--raw", "--flatten"]).env("KUBECONFIG", both))?.stdout;
    let _ = std::fs::remove_file(&ours);
    let proof = format!("context {} in {}", lab.context(), theirs.display());
    if let Some(dir) = theirs.parent() {
        std::fs::create_dir_all(dir).cannot("create", dir)?;
    }
    // Recorded first: if we are killed in between, teardown knows where to look.
    if let Some(record) = read_record(&lab.state)? {
        write_record(&lab.state, &LabRecord { merged: Some(theirs.clone()), ..record })?;
    }
    if before != merged {
        replace(&theirs, &merged)?;
    }
    Ok(if before == merged { Outcome::unchanged(proof) } else { Outcome::changed(proof) })
}

/// Removes the lab's context from the user's kubeconfig if we added it.
///
/// # Errors
/// The file cannot be written.
pub fn unmerge(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let Some(theirs) = lab.merged.as_ref().filter(|path| path.exists()) else {
        return Ok(Outcome::unchanged("your kubeconfig does not have the lab's context"));
    };
    let (kubectl, context) = (task.setup()?.kubectl, lab.context());
    let config = |args: &[&str]| {
        Cmd::new(&kubectl, Duration::from_secs(20)).arg("config").args(args).arg("--kubeconfig").arg(theirs)
    };
    for what in ["delete-context", "delete-cluster", "delete-user"] {
        // It may already be gone.
        task.capture(&config(&[what, &context]))?;
    }
    let left = task.run(&config(&["get-contexts", "--output=name"]))?.stdout;
    if left.lines().any(|line| line == context) {
        return Err(Failure::step(format!("context {context} is still in {}", theirs.display()))
            .fix(format!("remove it yourself: `kubectl config delete-context {context}`"))
            .log(&task.log));
    }
    Ok(Outcome::changed(format!("context {context} removed from {}", theirs.display())))
}

/// Replaces a file atomically, with mode 0600.
fn replace(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create_new(true).write(true).mode(0o600).open(&partial).cannot("write", &partial)?;
    file.write_all(text.as_bytes()).cannot("write", &partial)?;
    std::fs::rename(&partial, path).cannot("write", path)
}
