//! The events of a running command, sent by the runner of plans to every listener.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// How a step ended. Events, reports and the display use these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// The step changed something.
    Changed,
    /// Everything was already as it should be.
    Unchanged,
    /// A check passed.
    Passed,
    /// The step had nothing to do, with the reason.
    Skipped,
    /// The step failed.
    Failed,
    /// The step was not run, or was stopped before its end.
    #[serde(rename = "not run")]
    NotRun,
}

/// Identifies a step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepId {
    /// Position in the plan, from 1.
    pub number: usize,
    /// Title; two steps of a plan may have the same.
    #[serde(rename = "step")]
    pub title: String,
}

/// An event. In JSON, the field `event` has its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A plan begins.
    PlanBegun {
        /// Titles of the steps, in the plan's order.
        steps: Vec<String>,
    },
    /// A step begins.
    #[serde(rename = "started")]
    StepStarted {
        /// The step.
        #[serde(flatten)]
        step: StepId,
    },
    /// The status of a step changed.
    #[serde(rename = "status")]
    StepStatus {
        /// The step.
        #[serde(flatten)]
        step: StepId,
        /// What the step is doing or waiting for.
        text: String,
        /// Time since its start.
        #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// A step ended. A step that was not run has no [`Event::StepStarted`].
    #[serde(rename = "finished")]
    StepFinished {
        /// The step.
        #[serde(flatten)]
        step: StepId,
        /// How it ended.
        state: StepState,
        /// The proof, the first line of the failure, or why it was not run.
        text: String,
        /// Warnings that are not failures.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// Duration.
        #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// A plan ended.
    PlanEnded {
        /// The exit code that results from it.
        exit: i32,
        /// Duration.
        #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// A drill begins. Like the next two, it is part of a step.
    DrillBegun {
        /// The fault's name, or `soak`.
        drill: &'static str,
        /// The drill's topic.
        topic: String,
        /// What is promised.
        promised: &'static str,
        /// Messages a second; 0 means as many as the brokers take.
        rate: u32,
        /// The folder of its clients' logs and states.
        clients: PathBuf,
    },
    /// A drill does something to the lab.
    DrillMove {
        /// The fault's name.
        drill: &'static str,
        /// What it does.
        text: String,
    },
    /// Everything that a fault broke is mended, and every replica is in sync.
    DrillMended {
        /// The fault's name.
        drill: &'static str,
    },
    /// A message that belongs to no step.
    Note {
        /// The message.
        text: String,
    },
}

/// Serializes a duration in milliseconds.
///
/// # Errors
/// Those of the serializer.
pub fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Receives every event, in order.
pub trait Listener {
    /// Handles an event.
    fn on_event(&mut self, event: &Event);

    /// Called if steps are running and no event came for a second.
    fn tick(&mut self) {}
}

/// Sends the events of a command to its listeners. Steps send from their own threads; all listeners get the same order.
pub struct Events {
    listeners: Mutex<Vec<Box<dyn Listener + Send>>>,
}

impl Events {
    /// Creates a sender to these listeners.
    pub fn to(listeners: Vec<Box<dyn Listener + Send>>) -> Self {
        Events { listeners: Mutex::new(listeners) }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Box<dyn Listener + Send>>> {
        // A panic in one step must not silence the others.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event to every listener.
    pub fn send(&self, event: &Event) {
        self.listeners().iter_mut().for_each(|listener| listener.on_event(event));
    }

    /// Calls [`Listener::tick`] of every listener.
    pub fn tick(&self) {
        self.listeners().iter_mut().for_each(|listener| listener.tick());
    }

    /// Sends a message that belongs to no step.
    pub fn note(&self, text: impl Into<String>) {
        self.send(&Event::Note { text: text.into() });
    }

    /// Sends the end of a step that never started, with the reason.
    pub fn not_run(&self, number: usize, title: &str, why: &str) {
        let step = StepId { number, title: title.into() };
        let (state, text, warnings) = (StepState::NotRun, why.into(), Vec::new());
        self.send(&Event::StepFinished { step, state, text, warnings, elapsed: Duration::ZERO });
    }

    /// Sends the start of a step. The caller must finish it.
    pub fn start(&self, number: usize, title: &str) -> StartedStep<'_> {
        let step = StepId { number, title: title.into() };
        self.send(&Event::StepStarted { step: step.clone() });
        StartedStep { events: self, step, begin: Instant::now(), status: Mutex::default() }
    }
}

/// A running step.
pub struct StartedStep<'a> {
    events: &'a Events,
    step: StepId,
    begin: Instant,
    status: Mutex<String>,
}

impl StartedStep<'_> {
    /// Sends the step's status if it changed.
    pub fn status(&self, text: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *status != text {
            *status = text.into();
            let (step, elapsed) = (self.step.clone(), self.begin.elapsed());
            self.events.send(&Event::StepStatus { step, text: text.into(), elapsed });
        }
    }

    /// Sends an event that is part of the step.
    pub fn tell(&self, event: &Event) {
        self.events.send(event);
    }

    /// Sends the end of the step; returns how long it took.
    pub fn finish(self, state: StepState, text: &str, warnings: &[String]) -> Duration {
        let elapsed = self.begin.elapsed();
        let (text, warnings) = (text.into(), warnings.to_vec());
        self.events.send(&Event::StepFinished { step: self.step, state, text, warnings, elapsed });
        elapsed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Records events.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Event>>>);

    impl Listener for Heard {
        fn on_event(&mut self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn all_listeners_hear_the_same_and_a_status_only_when_it_changes() {
        let (one, other) = (Heard::default(), Heard::default());
        let events = Events::to(vec![Box::new(one.clone()), Box::new(other.clone())]);
        let step = events.start(3, "zookeeper");
        std::thread::scope(|scope| {
            scope.spawn(|| ["starting", "starting", "asking", "starting"].map(|text| step.status(text)));
        });
        step.finish(StepState::Changed, "serves", &[]);
        let told: Vec<String> = one.0.lock().unwrap().iter().map(|event| format!("{event:?}")).collect();
        assert_eq!(told.len(), 5, "{told:#?}");
        assert!(told[0].starts_with("StepStarted") && told[4].starts_with("StepFinished"), "{told:#?}");
        assert_eq!(*one.0.lock().unwrap(), *other.0.lock().unwrap());
    }
}
