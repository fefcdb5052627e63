//! Shows events as plain lines, for logs and pipes: the end of each step, and now and then the status of a long one.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::events::{Event, Listener, StepState};

/// Interval of the status lines of a running step.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A running step.
struct RunningStep {
    title: String,
    begin: Instant,
    status: String,
    last_line: Instant,
}

/// Writes a line for each step that ends, and a heartbeat for long ones.
pub struct Plain {
    colour: bool,
    verbose: bool,
    out: Box<dyn Write + Send>,
    running: BTreeMap<usize, RunningStep>,
}

impl Plain {
    /// Writes to `out`, with or without colour.
    pub fn new(colour: bool, out: Box<dyn Write + Send>) -> Self {
        Plain { colour, verbose: false, out, running: BTreeMap::new() }
    }

    /// Also writes a line when a step starts, and whenever its status changes.
    pub fn verbose(self) -> Self {
        Plain { verbose: true, ..self }
    }

    /// Writes the status of each step without a line since [`HEARTBEAT`].
    fn heartbeat(&mut self, now: Instant) {
        for running in self.running.values_mut() {
            if now.saturating_duration_since(running.last_line) >= HEARTBEAT {
                running.last_line = now;
                let seconds = now.saturating_duration_since(running.begin).as_secs_f64();
                let _ = writeln!(self.out, "   {:18} {seconds:.0} s: {}", running.title, running.status);
            }
        }
    }
}

impl Listener for Plain {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => {
                let now = Instant::now();
                let running =
                    RunningStep { title: step.title.clone(), begin: now, status: String::new(), last_line: now };
                self.running.insert(step.number, running);
                if self.verbose {
                    let _ = writeln!(self.out, " > {:18} started", step.title);
                }
            }
            Event::StepStatus { step, text, elapsed } => {
                if let Some(running) = self.running.get_mut(&step.number) {
                    running.status.clone_from(text);
                    if self.verbose {
                        running.last_line = Instant::now();
                        let _ = writeln!(self.out, "   {:18} {:.1} s: {text}", step.title, elapsed.as_secs_f64());
                    }
                }
            }
            Event::StepFinished { step, state, .. } => {
                let started = self.running.remove(&step.number).is_some();
                // The failure that prevented the step is shown already.
                if !started && *state == StepState::NotRun {
                    return;
                }
            }
            Event::PlanBegun { .. }
            | Event::PlanEnded { .. }
            | Event::Note { .. }
            // What a drill does is the status of its step.
            | Event::DrillBegun { .. }
            | Event::DrillMove { .. }
            | Event::DrillMended { .. } => {}
        }
        for line in lines(event, self.colour) {
            let _ = writeln!(self.out, "{line}");
        }
    }

    fn tick(&mut self) {
        self.heartbeat(Instant::now());
    }
}

/// Returns the mark of a state, one character wide.
pub fn mark(state: StepState, colour: bool) -> String {
    let (mark, code) = match state {
        StepState::Changed | StepState::Passed => ("✓", "32"),
        StepState::Unchanged => ("=", "2"),
        StepState::Skipped | StepState::NotRun => ("-", "2"),
        StepState::Failed => ("✗", "31"),
    };
    if colour { format!("\u{1b}[{code}m{mark}\u{1b}[0m") } else { mark.into() }
}

/// Returns the lines to print for an event.
pub fn lines(event: &Event, colour: bool) -> Vec<String> {
    match event {
        Event::StepFinished { step, state, text, warnings, elapsed } => {
            let before = match state {
                StepState::Changed | StepState::Passed | StepState::Failed => "",
                StepState::Unchanged => "unchanged: ",
                StepState::Skipped => "skipped: ",
                StepState::NotRun => "not run: ",
            };
            let mark = mark(*state, colour);
            let ended = format!(" {mark} {:18} {before}{text}  {:.1} s", step.title, elapsed.as_secs_f64());
            let warned = warnings.iter().map(|warning| format!(" ! {:18} {warning}", step.title));
            std::iter::once(ended).chain(warned).collect()
        }
        Event::Note { text } => vec![text.clone()],
        Event::PlanBegun { .. }
        | Event::PlanEnded { .. }
        | Event::StepStarted { .. }
        | Event::StepStatus { .. }
        | Event::DrillBegun { .. }
        | Event::DrillMove { .. }
        | Event::DrillMended { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::events::StepId;
    use crate::show::tests::{Written, written};

    #[test]
    fn a_step_that_ends_is_a_line() {
        let text = written(|out| Box::new(Plain::new(false, out)));
        expect![[r#"
             ✓ preflight          nothing is missing  1.2 s
             ! preflight          Java 25: Kafka 3.3 documents 11 and 17
             ✓ clients build      target/release/clients  1.2 s
             = caches             unchanged: in the cache  1.2 s
             - kafka image        not run: stopped, because another step failed  1.2 s
             ✗ kafka jars         mvn exited with 1  1.2 s
             - kafka-0            skipped: there already, kept  1.2 s
            diagnostics: /state/diagnostics
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn colour_is_in_the_mark_alone() {
        let text = written(|out| Box::new(Plain::new(true, out)));
        expect![[r#"
             ESC[32m✓ESC[0m preflight          nothing is missing  1.2 s
             ! preflight          Java 25: Kafka 3.3 documents 11 and 17
             ESC[32m✓ESC[0m clients build      target/release/clients  1.2 s
             ESC[2m=ESC[0m caches             unchanged: in the cache  1.2 s
             ESC[2m-ESC[0m kafka image        not run: stopped, because another step failed  1.2 s
             ESC[31m✗ESC[0m kafka jars         mvn exited with 1  1.2 s
             ESC[2m-ESC[0m kafka-0            skipped: there already, kept  1.2 s
            diagnostics: /state/diagnostics
        "#]]
        .assert_eq(&text.replace('\u{1b}', "ESC"));
    }

    #[test]
    fn a_verbose_listener_tells_when_a_step_starts_and_what_it_is_doing() {
        let text = written(|out| Box::new(Plain::new(false, out).verbose()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], " > preflight          started");
        assert!(lines.contains(&"   kafka jars         1.2 s: [INFO] Downloading"), "{text}");
        assert_eq!(lines.iter().filter(|line| line.starts_with(" > ")).count(), 5, "{text}");
    }

    #[test]
    fn a_long_step_has_a_line_now_and_then() {
        let written = Written::default();
        let mut plain = Plain::new(false, Box::new(written.clone()));
        let step = StepId { number: 1, title: "clients build".into() };
        plain.on_event(&Event::StepStarted { step: step.clone() });
        let status = |text: &str| Event::StepStatus { step: step.clone(), text: text.into(), elapsed: HEARTBEAT };
        plain.on_event(&status("Compiling rdkafka-sys"));
        let begin = plain.running[&1].begin;
        for (after, lines) in [(14, 0), (15, 1), (29, 1), (31, 2), (45, 2)] {
            plain.heartbeat(begin + Duration::from_secs(after));
            assert_eq!(written.text().lines().count(), lines, "after {after} s");
        }
        plain.on_event(&Event::Note { text: "a note shows where lines begin".into() });
        expect![[r#"
               clients build      15 s: Compiling rdkafka-sys
               clients build      31 s: Compiling rdkafka-sys
            a note shows where lines begin
        "#]]
        .assert_eq(&written.text());
    }
}
