//! What the page can do to the lab: commands of xtask, one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::watch;

/// How much of a command's last words is shown, in bytes.
const WORDS_MAX: usize = 2_000;

/// A command that the page offers. xtask gives the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its name: `clients-start`, `drill`.
    pub action: String,
    /// The fault of a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What a button says.
    pub title: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The command as people type it.
    pub line: String,
    /// Program and arguments.
    #[serde(skip_serializing)]
    pub command: Vec<String>,
}

/// What somebody asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    action: String,
    #[serde(default)]
    fault: Option<String>,
}

/// What became of the last action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// The command as people type it.
    pub line: String,
    /// Whether it still runs.
    pub running: bool,
    /// Its exit code; absent while it runs, or if a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Its last words on standard error.
    pub words: String,
}

/// Why an action was not begun.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such action.
    Unknown,
    /// Another one runs.
    Busy(String),
    /// It cannot be started.
    Failed(String),
}

/// The actions, and the one that runs.
#[derive(Debug, Clone)]
pub struct Actions {
    all: Arc<[Action]>,
    running: Arc<Mutex<Option<Pid>>>,
    progress: watch::Sender<Option<Progress>>,
}

impl Actions {
    /// These actions.
    pub fn new(all: Vec<Action>) -> Self {
        Actions { all: all.into(), running: Arc::default(), progress: watch::channel(None).0 }
    }

    /// All of them.
    pub fn all(&self) -> &[Action] {
        &self.all
    }

    /// Tells what becomes of the last action.
    pub fn watch(&self) -> watch::Receiver<Option<Progress>> {
        self.progress.subscribe()
    }

    /// Begins what is asked for.
    ///
    /// # Errors
    /// It is none of the actions, another one runs, or it cannot be started.
    pub fn begin(&self, asked: &Asked) -> Result<(), Refusal> {
        let mut found = self.all.iter().filter(|one| one.action == asked.action && one.fault == asked.fault);
        let action = found.next().ok_or(Refusal::Unknown)?.clone();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            let what = self.progress.borrow().as_ref().map(|progress| progress.line.clone());
            return Err(Refusal::Busy(what.unwrap_or_default()));
        }
        let child = start(&action).map_err(|error| Refusal::Failed(format!("{error:#}")))?;
        *running = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        drop(running);
        let at_first = Progress { line: action.line, running: true, exit: None, words: String::new() };
        self.progress.send_replace(Some(at_first.clone()));
        let this = self.clone();
        tokio::spawn(async move {
            let output = child.wait_with_output().await;
            *this.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let (exit, words) = match output {
                Ok(output) => (output.status.code(), last_words(&output.stderr)),
                Err(error) => (None, error.to_string()),
            };
            this.progress.send_replace(Some(Progress { running: false, exit, words, ..at_first }));
        });
        Ok(())
    }

    /// Asks the action that runs to end, and waits until it has: a drill first mends what it broke.
    pub async fn end(&self) {
        let pid = *self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = pid {
            // It may have ended meanwhile, and nothing is lost then.
            let _ = kill_process(pid, Signal::TERM);
            let _ = self.watch().wait_for(|progress| progress.as_ref().is_none_or(|one| !one.running)).await;
        }
    }

    /// The command that runs, as people type it.
    pub fn running(&self) -> Option<String> {
        let progress = self.progress.borrow();
        progress.as_ref().filter(|progress| progress.running).map(|progress| progress.line.clone())
    }
}

fn start(action: &Action) -> Result<tokio::process::Child> {
    let (program, args) = action.command.split_first().context("it has no command")?;
    let mut command = Command::new(program);
    // Standard output is read too, so that the command never waits for a reader.
    command.args(args).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// The last lines of an output.
fn last_words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim_end();
    let from = text.len().saturating_sub(WORDS_MAX);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let whole = if from == 0 { 0 } else { text[from..].find('\n').map_or(from, |end| from + end + 1) };
    text[whole..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(name: &str, script: &str) -> Action {
        Action {
            action: name.into(),
            fault: None,
            title: name.into(),
            about: None,
            line: format!("cargo xtask {name}"),
            command: ["sh", "-c", script].map(Into::into).into(),
        }
    }

    fn asked(name: &str) -> Asked {
        Asked { action: name.into(), fault: None }
    }

    #[tokio::test]
    async fn one_action_runs_at_a_time_and_its_end_is_told_with_its_words() {
        let long = "trap 'echo mended >&2; exit 130' TERM; while :; do sleep 0.05; done";
        let mut absent = action("absent", "");
        absent.command = vec!["/no/such/program".into()];
        let actions = Actions::new(vec![action("fail", "echo no lab is up >&2; exit 6"), action("long", long), absent]);
        assert_eq!(actions.begin(&asked("other")), Err(Refusal::Unknown));
        assert!(matches!(actions.begin(&asked("absent")), Err(Refusal::Failed(why)) if why.contains("/no/such")));
        assert_eq!(actions.begin(&asked("fail")), Ok(()));
        let mut watch = actions.watch();
        let ended = |progress: &Option<Progress>| progress.as_ref().is_some_and(|one| !one.running);
        let end = watch.wait_for(ended).await.map(|end| end.clone());
        let end = end.ok().flatten().unwrap_or_else(|| panic!("no end"));
        assert_eq!((end.exit, end.words.as_str()), (Some(6), "no lab is up"));

        assert_eq!(actions.begin(&asked("long")), Ok(()));
        assert_eq!(actions.begin(&asked("fail")), Err(Refusal::Busy("cargo xtask long".into())));
        assert_eq!(actions.running().as_deref(), Some("cargo xtask long"));
        // Until the shell has its trap.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        actions.end().await;
        let end = actions.watch().borrow().clone().unwrap_or_else(|| panic!("no end"));
        assert_eq!((end.exit, end.words.as_str(), actions.running()), (Some(130), "mended", None));
    }

    #[test]
    fn long_words_are_cut_at_a_line() {
        let text = format!("{}\nlast ä\n", "ä".repeat(WORDS_MAX));
        assert_eq!(last_words(text.as_bytes()), "last ä");
        assert_eq!(last_words(b"short\n"), "short");
    }
}
