//! Exit codes ([`Exit`]), and failures: message, command, output and fix.

use std::fmt;
use std::path::{Path, PathBuf};

use anstream::adapter::strip_str;
use ledger::cause::in_words;

use crate::words::{advice, quoted};

/// Exit codes. They are an interface: docs/reference.md and docs/schema/xtask.json list them, [`Exit::worst`] ranks
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success, also if there was nothing to tear down.
    Ok = 0,
    /// Internal error.
    Unexpected = 1,
    /// A flag, lab.yml or a manifest is invalid.
    Usage = 2,
    /// This machine lacks something; nothing was changed.
    Preflight = 3,
    /// A step failed or timed out.
    Step = 4,
    /// A check found a fault.
    Fault = 5,
    /// No lab of this name is up.
    NotUp = 6,
    /// A check was inconclusive.
    Inconclusive = 7,
    /// Stopped by Ctrl-C, SIGTERM or SIGHUP.
    Interrupted = 130,
}

impl Exit {
    /// Returns the worse of two exit codes. A fault outranks a step that failed, and that outranks a check that could
    /// not tell. On a tie, the first one wins.
    #[must_use]
    pub fn worst(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Ok => 0,
            Exit::Inconclusive => 1,
            Exit::Unexpected | Exit::Usage | Exit::Preflight | Exit::Step => 2,
            Exit::Fault => 3,
            Exit::NotUp => 4,
            Exit::Interrupted => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// A failure: its cause, the command with its last lines of output, the log file and the fix.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Exit code of the process.
    pub exit: Exit,
    /// What went wrong, in one line; more lines give details.
    pub message: String,
    /// The command that failed, ready to paste.
    pub command: Option<String>,
    /// The last lines of its output.
    pub output: Vec<String>,
    /// The log file with the rest of the output.
    pub log: Option<PathBuf>,
    /// What the user can do about it.
    pub fix: Option<String>,
    /// What a check found, as JSON.
    pub evidence: Option<serde_json::Value>,
}

/// The result of everything that can fail in this crate.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Returns a failure with exit code `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Failure { exit, message, command: None, output: Vec::new(), log: None, fix: None, evidence: None }
    }

    /// Returns the failure of a step.
    pub fn step(message: impl Into<String>) -> Self {
        Self::new(Exit::Step, message)
    }

    /// Returns a fault that a check found.
    pub fn fault(message: impl Into<String>) -> Self {
        Self::new(Exit::Fault, message)
    }

    /// Returns the failure of an invalid flag or manifest.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Returns the failure of an interrupted command.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// Adds the fix. An interruption needs none.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        if self.exit != Exit::Interrupted {
            self.fix = Some(fix.into());
        }
        self
    }

    /// Adds the command that failed.
    pub fn command(mut self, command: impl fmt::Display) -> Self {
        self.command = Some(command.to_string());
        self
    }

    /// Adds the last lines of `text`, and the fix if they name a cause with a known one.
    pub fn output(mut self, text: &str) -> Self {
        self.output = tail(text, 12);
        if self.fix.is_none() {
            self.fix = self.output.iter().find_map(|line| advice(line)).map(Into::into);
        }
        self
    }

    /// Adds the fix, unless the cause has one of its own: a full disk is not mended by better proxy settings.
    pub fn fix_unless_known(self, fix: impl Into<String>) -> Self {
        if self.fix.is_some() { self } else { self.fix(fix) }
    }

    /// Adds the log file if it exists.
    pub fn log(mut self, path: &Path) -> Self {
        if path.exists() {
            self.log = Some(path.to_path_buf());
        }
        self
    }

    /// Adds the log file and its last lines.
    pub fn with_log_tail(self, path: &Path) -> Self {
        let text = crate::files::own::read_lossy(path);
        self.output(&text).log(path)
    }
}

/// Returns the last `count` lines of `text` that are not blank, without colours.
pub fn tail(text: &str, count: usize) -> Vec<String> {
    let lines = text.lines().rev().map(|line| strip_str(line).to_string());
    let lines = lines.map(|line| line.trim_end().to_string()).filter(|line| !line.is_empty());
    let mut last: Vec<String> = lines.take(count).collect();
    last.reverse();
    last
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(command) = &self.command {
            write!(f, "\n  command: {command}")?;
        }
        if !self.output.is_empty() {
            write!(f, "\n  last lines:")?;
            for line in &self.output {
                write!(f, "\n    {line}")?;
            }
        }
        if let Some(log) = &self.log {
            write!(f, "\n  log: {}", log.display())?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

/// Turns an I/O error into a failure that names the attempted action and the path.
pub trait IoContext<T> {
    /// Turns an error into "cannot `doing` `path`", with the fix if the cause has a known one.
    fn cannot(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T, E: fmt::Display> IoContext<T> for std::result::Result<T, E> {
    fn cannot(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|error| {
            let why = in_words(error);
            let failure = Failure::step(format!("cannot {doing} {}: {why}", path.display()));
            match advice(&why) {
                Some(fix) => failure.fix(fix),
                None if why == "Permission denied" => {
                    // A folder that could not be created is not there to be looked at.
                    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
                    let shown = format!("`ls -ld {}` shows who may", quoted(there.as_os_str()));
                    failure.fix(match doing {
                        "read" | "open" => format!("{shown}: make it readable"),
                        _ => format!(
                            "{shown}: make it writable, or set XDG_STATE_HOME or XDG_CACHE_HOME to a folder that is"
                        ),
                    })
                }
                // Also for root: such as an immutable file.
                None if why == "Operation not permitted" => {
                    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
                    failure.fix(format!(
                        "`lsattr -d {0}` shows whether its attributes forbid that: `chattr -i -a {0}`, or use another \
                         folder",
                        quoted(there.as_os_str())
                    ))
                }
                None => failure,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_outranks_a_failed_step_and_that_a_check_that_could_not_tell() {
        let ranked = [Exit::Ok, Exit::Inconclusive, Exit::Step, Exit::Fault, Exit::NotUp, Exit::Interrupted];
        for (place, low) in ranked.iter().enumerate() {
            for high in &ranked[place..] {
                assert_eq!((low.worst(*high), high.worst(*low)), (*high, *high));
            }
        }
        assert_eq!(Exit::Step.worst(Exit::Preflight), Exit::Step, "of equals the first one counts");
    }

    #[test]
    fn a_cause_that_the_system_names_brings_its_own_fix() {
        let cannot = |errno| {
            let failed: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(errno));
            failed.cannot("write", Path::new("/a b/c")).unwrap_err()
        };
        let full = cannot(28);
        assert_eq!(full.message, "cannot write /a b/c: No space left on device");
        assert!(full.fix.unwrap().starts_with("free disk space"));
        assert!(cannot(30).fix.unwrap().contains("make it writable, or set XDG_STATE_HOME"));
        assert!(cannot(24).fix.unwrap().contains("`ulimit -n 4096`"));
        assert!(cannot(13).fix.unwrap().starts_with("`ls -ld /` shows who may: make it writable"));
        assert_eq!(cannot(2).fix, None);
        let failed = Failure::step("mvn exited with 1").output("[ERROR] x: No space left on device\n");
        assert!(failed.fix_unless_known("check the proxy").fix.unwrap().starts_with("free disk space"));
    }

    #[test]
    fn the_last_lines_are_those_that_say_something_without_colours() {
        let text = "first\n\n\u{1b}[0m\u{1b}[91m   Compiling clap\n\u{1b}[0m\n\u{1b}[1;31merror\u{1b}[0mminus\n  \n";
        assert_eq!(tail(text, 2), ["   Compiling clap", "errorminus"]);
        assert_eq!(tail(text, 9).len(), 3);
        assert_eq!(tail("", 2), Vec::<String>::new());
    }
}
