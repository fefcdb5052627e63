//! What a failure says and which exit code it is worth.

use std::fmt;
use std::path::{Path, PathBuf};

/// Exit codes are an interface; docs/reference.md lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done. Also: there was nothing to tear down.
    Ok = 0,
    /// Something nobody foresaw.
    Unexpected = 1,
    /// A flag, lab.yml or a manifest is wrong.
    Usage = 2,
    /// This machine lacks something; nothing was touched.
    Preflight = 3,
    /// A step failed or timed out.
    Step = 4,
    /// A check found a fault, with its evidence.
    Fault = 5,
    /// Nothing is up under this name.
    Nothing = 6,
    /// A check could not tell.
    Inconclusive = 7,
    /// Ctrl-C, SIGTERM or SIGHUP.
    Interrupted = 130,
}

impl Exit {
    /// The exit code of two results. A fault outranks a step that failed, and that outranks a check that could not tell. Of
    /// equals the first one counts.
    #[must_use]
    pub fn worst(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Ok => 0,
            Exit::Inconclusive => 1,
            Exit::Unexpected | Exit::Usage | Exit::Preflight | Exit::Step => 2,
            Exit::Fault => 3,
            Exit::Nothing => 4,
            Exit::Interrupted => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// A failure with all that helps: the cause, the command with its last output lines, the log file, the fix.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the process exits with.
    pub exit: Exit,
    /// What went wrong, in one line; further lines are details.
    pub what: String,
    /// The command that failed, pasteable.
    pub command: Option<String>,
    /// The last lines that the command or process wrote.
    pub output: Vec<String>,
    /// Where the rest of the output is.
    pub log: Option<PathBuf>,
    /// What to do about it.
    pub fix: Option<String>,
    /// What a check found, as data.
    pub evidence: Option<serde_json::Value>,
}

/// The result of everything that can fail in this crate.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure worth `exit`.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure { exit, what: what.into(), command: None, output: Vec::new(), log: None, fix: None, evidence: None }
    }

    /// A step failed.
    pub fn step(what: impl Into<String>) -> Self {
        Self::new(Exit::Step, what)
    }

    /// A check found a fault.
    pub fn fault(what: impl Into<String>) -> Self {
        Self::new(Exit::Fault, what)
    }

    /// The user asked for something that cannot be.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The user or the system asked us to stop.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// Adds what to do about it. An interruption needs no fix.
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

    /// Adds the last lines of `text`.
    pub fn output(mut self, text: &str) -> Self {
        self.output = tail(text, 12);
        self
    }

    /// Adds the log file, when it exists.
    pub fn log(mut self, path: &Path) -> Self {
        if path.exists() {
            self.log = Some(path.to_path_buf());
        }
        self
    }

    /// Adds the log file and its last lines.
    pub fn with_log_tail(self, path: &Path) -> Self {
        let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        self.output(&text).log(path)
    }
}

/// The last `count` lines of `text` that are not blank, without colours.
pub fn tail(text: &str, count: usize) -> Vec<String> {
    let lines = text.lines().rev().map(|line| without_colours(line).trim_end().to_string());
    let mut last: Vec<String> = lines.filter(|line| !line.is_empty()).take(count).collect();
    last.reverse();
    last
}

/// `line` without the control sequences that change a terminal's colours: ESC `[`, numbers, `m`.
fn without_colours(line: &str) -> String {
    let plain = |part: &str| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest.strip_prefix('m').unwrap_or(part).to_string()
    };
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |line, part| line + &plain(part))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
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

/// Turns an I/O error into a failure that says what was attempted, on which path.
pub trait IoContext<T> {
    /// `doing` completes the sentence "cannot …".
    fn cannot(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T, E: fmt::Display> IoContext<T> for std::result::Result<T, E> {
    fn cannot(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Failure::step(format!("cannot {doing} {}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_outranks_a_failed_step_and_that_a_check_that_could_not_tell() {
        let ranked = [Exit::Ok, Exit::Inconclusive, Exit::Step, Exit::Fault, Exit::Nothing, Exit::Interrupted];
        for (place, low) in ranked.iter().enumerate() {
            for high in &ranked[place..] {
                assert_eq!((low.worst(*high), high.worst(*low)), (*high, *high));
            }
        }
        assert_eq!(Exit::Step.worst(Exit::Preflight), Exit::Step, "of equals the first one counts");
    }

    #[test]
    fn the_last_lines_are_those_that_say_something_without_colours() {
        let text = "first\n\n\u{1b}[0m\u{1b}[91m   Compiling clap\n\u{1b}[0m\n\u{1b}[1;31merror\u{1b}[0mminus\n  \n";
        assert_eq!(tail(text, 2), ["   Compiling clap", "errorminus"]);
        assert_eq!(tail(text, 9).len(), 3);
        assert_eq!(tail("", 2), Vec::<String>::new());
    }
}
