//! Events as plain lines, for logs and pipes: how each step ended, and from time to time what a long one waits for.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::events::{Event, Listener, StepState};

/// How often a plain log hears of a step that still runs.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A step that runs.
struct RunningStep {
    title: String,
    begin: Instant,
    status: String,
    told: Instant,
}

/// Writes a line for each step that ends, and a heartbeat for those that take long.
pub struct Plain {
    colour: bool,
    out: Box<dyn Write + Send>,
    running: BTreeMap<usize, RunningStep>,
}

impl Plain {
    /// With or without colour, to `out`.
    pub fn new(colour: bool, out: Box<dyn Write + Send>) -> Self {
        Plain { colour, out, running: BTreeMap::new() }
    }

    /// Tells of the steps that were not heard of for a heartbeat, as of `now`.
    fn heartbeat(&mut self, now: Instant) {
        for running in self.running.values_mut() {
            if now.saturating_duration_since(running.told) >= HEARTBEAT {
                running.told = now;
                let seconds = now.saturating_duration_since(running.begin).as_secs_f64();
                let _ = writeln!(self.out, "   {:18} {seconds:.0} s: {}", running.title, running.status);
            }
        }
    }
}

impl Listener for Plain {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => {
                let now = Instant::now();
                let running = RunningStep { title: step.title.clone(), begin: now, status: String::new(), told: now };
                self.running.insert(step.number, running);
            }
            Event::StepStatus { step, text, .. } => {
                if let Some(running) = self.running.get_mut(&step.number) {
                    running.status.clone_from(text);
                }
            }
            Event::StepFinished { step, state, .. } => {
                let started = self.running.remove(&step.number).is_some();
                // What kept a step from starting is told; the step itself would be noise.
                if !started && *state == StepState::NotRun {
                    return;
                }
            }
            Event::PlanBegun { .. } | Event::PlanEnded { .. } | Event::Note { .. } => {}
        }
        for line in lines(event, self.colour) {
            let _ = writeln!(self.out, "{line}");
        }
    }

    fn tick(&mut self) {
        self.heartbeat(Instant::now());
    }
}

/// The lines that stay of an event, for people.
pub fn lines(event: &Event, colour: bool) -> Vec<String> {
    match event {
        Event::StepFinished { step, state, text, warnings, elapsed } => {
            let (mark, code, before) = match state {
                StepState::Changed | StepState::Passed => ("✓", "32", ""),
                StepState::Unchanged => ("=", "2", "unchanged: "),
                StepState::Skipped => ("-", "2", "skipped: "),
                StepState::NotRun => ("-", "2", "not run: "),
                StepState::Failed => ("✗", "31", ""),
            };
            let mark = if colour { format!("\u{1b}[{code}m{mark}\u{1b}[0m") } else { mark.to_string() };
            let ended = format!(" {mark} {:18} {before}{text}  {:.1} s", step.title, elapsed.as_secs_f64());
            let warned = warnings.iter().map(|warning| format!(" ! {:18} {warning}", step.title));
            std::iter::once(ended).chain(warned).collect()
        }
        Event::Note { text } => vec![text.clone()],
        Event::PlanBegun { .. } | Event::PlanEnded { .. } | Event::StepStarted { .. } | Event::StepStatus { .. } => {
            Vec::new()
        }
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
    fn a_step_that_takes_long_is_heard_of_now_and_then() {
        let written = Written::default();
        let mut plain = Plain::new(false, Box::new(written.clone()));
        let step = StepId { number: 1, title: "clients build".into() };
        plain.hear(&Event::StepStarted { step: step.clone() });
        let status = |text: &str| Event::StepStatus { step: step.clone(), text: text.into(), elapsed: HEARTBEAT };
        plain.hear(&status("Compiling rdkafka-sys"));
        let begin = plain.running[&1].begin;
        for (after, told) in [(14, 0), (15, 1), (29, 1), (31, 2), (45, 2)] {
            plain.heartbeat(begin + Duration::from_secs(after));
            assert_eq!(written.text().lines().count(), told, "after {after} s");
        }
        plain.hear(&Event::Note { text: "a note shows where lines begin".into() });
        expect![[r#"
               clients build      15 s: Compiling rdkafka-sys
               clients build      31 s: Compiling rdkafka-sys
            a note shows where lines begin
        "#]]
        .assert_eq(&written.text());
    }
}
