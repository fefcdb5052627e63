//! The user's own kubeconfig: our context goes in, and comes out again.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Failure, IoContext, Result};
use crate::state::{Record, read_record, write_record};
use crate::task::{Outcome, Task};

/// What [`merge`] would do.
pub fn preview_merge(lab: &Lab) -> Vec<String> {
    vec![format!("# put context {} into your kubeconfig; your current context stays", lab.context())]
}

/// What [`unmerge`] would do.
pub fn preview_unmerge(lab: &Lab) -> Vec<String> {
    vec![format!("# take context {} out of your kubeconfig", lab.context())]
}

/// Puts our context into the user's own kubeconfig; their current context stays.
///
/// # Errors
/// There is no such file and no home for one, or kubectl cannot merge it.
pub fn merge(task: &Task<'_>) -> Result<Outcome> {
    let (lab, setup) = (task.lab(), task.setup()?);
    let Some(theirs) = lab.env.kubeconfig.clone() else {
        return Err(Failure::usage("--merge-kubeconfig: neither KUBECONFIG nor HOME is set"));
    };
    // What is replaced is the file, not a link that leads to it.
    let theirs = std::fs::canonicalize(&theirs).unwrap_or(theirs);
    let before = std::fs::read_to_string(&theirs).unwrap_or_default();
    // Ours without a current context, so that theirs, or that they have none, stays.
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
    // Written down first: whatever ends us in between, teardown knows where to look.
    if let Some(record) = read_record(&lab.state)? {
        write_record(&lab.state, &Record { merged: Some(theirs.clone()), ..record })?;
    }
    if before != merged {
        replace(&theirs, &merged)?;
    }
    Ok(if before == merged { Outcome::unchanged(proof) } else { Outcome::changed(proof) })
}

/// Takes our context out of the user's own kubeconfig again, when we put it there.
///
/// # Errors
/// The file cannot be written.
pub fn unmerge(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let Some(theirs) = lab.merged.as_ref().filter(|path| path.exists()) else {
        return Ok(Outcome::unchanged("our context is in no kubeconfig of yours"));
    };
    let (kubectl, context) = (task.setup()?.kubectl, lab.context());
    for what in ["delete-context", "delete-cluster", "delete-user"] {
        let cmd =
            Cmd::new(&kubectl, Duration::from_secs(20)).args(["config", what, &context, "--kubeconfig"]).arg(theirs);
        // That somebody took it out before is fine.
        task.capture(&cmd)?;
    }
    let list = Cmd::new(&kubectl, Duration::from_secs(20))
        .args(["config", "get-contexts", "--output=name", "--kubeconfig"])
        .arg(theirs);
    let left = task.run(&list)?.stdout;
    if left.lines().any(|line| line == context) {
        return Err(Failure::step(format!("context {context} is still in {}", theirs.display()))
            .fix(format!("take it out by hand: kubectl config delete-context {context}"))
            .log(&task.log));
    }
    Ok(Outcome::changed(format!("context {context} taken out of {}", theirs.display())))
}

/// Replaces a file that only its owner may read, so that a crash leaves the old one or the new one.
fn replace(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create_new(true).write(true).mode(0o600).open(&partial).cannot("write", &partial)?;
    file.write_all(text.as_bytes()).cannot("write", &partial)?;
    std::fs::rename(&partial, path).cannot("write", path)
}
