//! The display: chooses the listener for `--format` and the terminal, and prints results.

mod bars;
pub mod json;
mod plain;
pub mod screen;
pub mod table;
pub mod timings;

use std::io::{ErrorKind, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::cli::{Format, Global};
use crate::config::Env;
use crate::events::{Events, Listener};
use crate::failure::{Exit, Failure};

/// Returns where a command's events go: the one list of listeners.
pub fn events(command: &str, lab: &str, global: &Global, env: &Env, journal: impl Listener + Send + 'static) -> Events {
    let journal: Box<dyn Listener + Send> = Box::new(journal);
    Events::to(listener(command, lab, global, env).into_iter().chain([journal]).collect())
}

/// Returns the listener that shows a command's events: JSON lines on standard output for `--format json`, otherwise
/// bars on a terminal and plain lines elsewhere. `--quiet` wants none of the latter, and `--verbose` lines everywhere.
fn listener(command: &str, lab: &str, global: &Global, env: &Env) -> Option<Box<dyn Listener + Send>> {
    let plain = || plain::Plain::new(env.colour, Box::new(stderr()));
    match global.format {
        Format::Json => Some(Box::new(json::Json::new(command, lab, Box::new(Stdout)))),
        Format::Text if global.quiet => None,
        Format::Text if global.verbose => Some(Box::new(plain().verbose())),
        Format::Text if env.terminal => Some(Box::new(bars::Bars::new(env.colour))),
        Format::Text => Some(Box::new(plain())),
    }
}

/// Whether standard output lost something, as on a full device.
static LOST: AtomicBool = AtomicBool::new(false);

/// Standard output. Write errors are recorded; the command continues.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut out = stdout().lock();
        // A reader that went away, as head(1) does, has what it wanted.
        let written = out.write_all(bytes).and_then(|()| out.flush());
        if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
            LOST.store(true, Ordering::SeqCst);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Prints text on standard output.
pub fn print_text(text: &str) {
    let _ = Stdout.write(text.as_bytes());
}

/// Prints text on standard output. Returns false if nobody reads on: the reader went away, as head(1) does, or the
/// output is lost.
pub fn print_while_read(text: &str) -> bool {
    let mut out = stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if written.as_ref().is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::SeqCst);
    }
    written.is_ok()
}

/// Prints one JSON line on standard output.
pub fn print_json(value: &impl Serialize) {
    json::write(&mut Stdout, value);
}

/// Prints a line for people on standard error. A write error is ignored: there is nowhere left to report it.
pub fn tell(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// Whether something that a command printed on standard output was lost.
pub fn lost_output() -> bool {
    LOST.load(Ordering::SeqCst)
}

/// Prints a failure on standard error.
pub fn print_failure(failure: &Failure, colour: bool) {
    let head = if failure.exit == Exit::Interrupted { "stopped" } else { "error" };
    let head = if colour { format!("\u{1b}[31m{head}\u{1b}[0m") } else { head.to_string() };
    tell(&format!("{head}: {failure}"));
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use crate::events::{Event, Listener, StepId, StepState};

    /// Records what is written to it.
    #[derive(Clone, Default)]
    pub struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        /// Returns everything written.
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Returns what a listener writes for [`plan`].
    pub fn written(listener: impl FnOnce(Box<Written>) -> Box<dyn Listener>) -> String {
        let written = Written::default();
        let mut listener = listener(Box::new(written.clone()));
        plan().iter().for_each(|event| listener.on_event(event));
        written.text()
    }

    /// Returns the events of a plan with a step for each state.
    fn plan() -> Vec<Event> {
        let titles = ["preflight", "kafka jars", "clients build", "caches", "kafka image", "zookeeper", "kafka-0"];
        let step = |number: usize| StepId { number, title: titles[number - 1].into() };
        let elapsed = Duration::from_millis(1_250);
        let finished = |number, state, text: &str, warnings: &[&str]| {
            let warnings = warnings.iter().map(ToString::to_string).collect();
            Event::StepFinished { step: step(number), state, text: text.into(), warnings, elapsed }
        };
        let started = |number| Event::StepStarted { step: step(number) };
        vec![
            Event::PlanBegun { steps: titles.iter().map(ToString::to_string).collect() },
            started(1),
            finished(1, StepState::Passed, "nothing is missing", &["Java 25: Kafka 3.3 documents 11 and 17"]),
            started(2),
            Event::StepStatus { step: step(2), text: "[INFO] Downloading".into(), elapsed },
            started(3),
            started(4),
            started(5),
            finished(3, StepState::Changed, "target/release/clients", &[]),
            finished(4, StepState::Unchanged, "in the cache", &[]),
            finished(5, StepState::NotRun, "stopped, because another step failed", &[]),
            finished(2, StepState::Failed, "mvn exited with 1", &[]),
            finished(6, StepState::NotRun, "kafka jars did not succeed", &[]),
            finished(7, StepState::Skipped, "there already, kept", &[]),
            Event::DrillBegun {
                drill: "leader-kill",
                topic: "drill-1".into(),
                promised: "all messages arrive, exactly once and in order",
                rate: 200,
                clients: "/state/logs/drills/drill-1".into(),
            },
            Event::DrillMove { drill: "leader-kill", text: "kill the leader of partition 0 (SIGKILL)".into() },
            Event::DrillMended { drill: "leader-kill" },
            Event::Note { text: "diagnostics: /state/diagnostics".into() },
            Event::PlanEnded { exit: 4, elapsed: 2 * elapsed },
        ]
    }
}
