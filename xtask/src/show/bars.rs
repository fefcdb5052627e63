//! Events as bars on a terminal: one for each running step, with the lines that stay above them. The only user of
//! indicatif.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plain::lines;
use crate::events::{Event, Listener, StepState};

/// Draws a bar for each step that runs.
pub struct Bars {
    colour: bool,
    all: MultiProgress,
    running: BTreeMap<usize, ProgressBar>,
}

impl Bars {
    /// On standard error, with or without colour.
    pub fn new(colour: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Bars { colour, all, running: BTreeMap::new() }
    }
}

impl Listener for Bars {
    fn hear(&mut self, event: &Event) {
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
                // As in plain lines.
                None if *state == StepState::NotRun => return,
                None => {}
            },
            Event::PlanBegun { .. } | Event::PlanEnded { .. } | Event::Note { .. } => {}
        }
        for line in lines(event, self.colour) {
            self.all.suspend(|| eprintln!("{line}"));
        }
    }
}
