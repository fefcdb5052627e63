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
