//! Shows events on a terminal: a bar for each running step, and lines above the bars. The only user of indicatif.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plain::lines;
use crate::events::{Event, Listener, StepState};
use crate::show::tell;

/// Draws a bar for each running step.
pub struct Bars {
    colour: bool,
    all: MultiProgress,
    running: BTreeMap<usize, ProgressBar>,
}

impl Bars {
    /// Draws on standard error.
    pub fn new(colour: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Bars { colour, all, running: BTreeMap::new() }
    }
}

impl Listener for Bars {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step } => {
                let bar = self.all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:18} {wide_msg} {elapsed:>4}") {
                    bar.set_style(style);
                }
                bar.set_prefix(step.title.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                self.running.insert(step.number, bar);
            }
            Event::StepStatus { step, text, .. } => {
                if let Some(bar) = self.running.get(&step.number) {
                    bar.set_message(text.clone());
                }
            }
            Event::StepFinished { step, state, .. } => match self.running.remove(&step.number) {
                Some(bar) => bar.finish_and_clear(),
                // As in `Plain`.
                None if *state == StepState::NotRun => return,
                None => {}
            },
            Event::PlanBegun { .. }
            | Event::PlanEnded { .. }
            | Event::Note { .. }
            // What a drill does is the status of its step.
            | Event::DrillBegun { .. }
            | Event::DrillMove { .. }
            | Event::DrillMended { .. } => {}
        }
        for line in lines(event, self.colour) {
            self.all.suspend(|| tell(&line));
        }
    }
}
