//! What happens while a command works, as events: sent by the runner of plans to every listener.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// How a step ended. Events, reports and everything that is displayed use these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// It changed something.
    Changed,
    /// Everything was already as it should be.
    Unchanged,
    /// A check passed.
    Passed,
    /// It had nothing to do here, and says why.
    Skipped,
    /// It failed.
    Failed,
    /// It was not run, or was stopped on the way, because of something else.
    #[serde(rename = "not run")]
    NotRun,
}

/// Which step of a plan an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepId {
    /// Its place in the plan, from 1.
    pub number: usize,
    /// Its title. Two steps of a plan may share one.
    #[serde(rename = "step")]
    pub title: String,
}

/// Something that happened. As JSON, the name of the event is in the field `event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A plan begins.
    PlanBegun {
        /// The titles of its steps, in the plan's order.
        steps: Vec<String>,
    },
    /// A step begins.
    #[serde(rename = "started")]
    StepStarted {
        /// Which one.
        #[serde(flatten)]
        step: StepId,
    },
    /// What a step is doing or waiting for has changed.
    #[serde(rename = "status")]
    StepStatus {
        /// Which one.
        #[serde(flatten)]
        step: StepId,
        /// What it is doing or waiting for.
        text: String,
        /// Since it started.
        #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// A step ended. One that was not run has no [`Event::StepStarted`].
    #[serde(rename = "finished")]
    StepFinished {
        /// Which one.
        #[serde(flatten)]
        step: StepId,
        /// How it ended.
        state: StepState,
        /// Its proof, the first line of its failure, or why it was not run.
        text: String,
        /// Worth knowing although nothing failed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// How long it took.
        #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// A plan ended.
    PlanEnded {
        /// The exit code that it is worth.
        exit: i32,
        /// How long it took.
        #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// A line for people that belongs to no step.
    Note {
        /// The line.
        text: String,
    },
}

/// A duration as JSON lines have it.
///
/// # Errors
/// As the serializer.
pub fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Hears every event, one after the other.
pub trait Listener {
    /// Something happened.
    fn hear(&mut self, event: &Event);

    /// Nothing happened for a second, and steps are running.
    fn tick(&mut self) {}
}

/// Where the events of a command go. Steps send from threads of their own; all listeners hear the same order.
pub struct Events {
    listeners: Mutex<Vec<Box<dyn Listener + Send>>>,
}

impl Events {
    /// Sends to these listeners.
    pub fn to(listeners: Vec<Box<dyn Listener + Send>>) -> Self {
        Events { listeners: Mutex::new(listeners) }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Box<dyn Listener + Send>>> {
        // A step that panicked must not silence the others.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every listener.
    pub fn send(&self, event: &Event) {
        self.listeners().iter_mut().for_each(|listener| listener.hear(event));
    }

    /// Tells every listener that time passes.
    pub fn tick(&self) {
        self.listeners().iter_mut().for_each(|listener| listener.tick());
    }

    /// Sends a line for people.
    pub fn note(&self, text: impl Into<String>) {
        self.send(&Event::Note { text: text.into() });
    }

    /// Sends that a step does not start, and why.
    pub fn not_run(&self, number: usize, title: &str, why: &str) {
        let step = StepId { number, title: title.into() };
        let (state, text, warnings) = (StepState::NotRun, why.into(), Vec::new());
        self.send(&Event::StepFinished { step, state, text, warnings, elapsed: Duration::ZERO });
    }

    /// Sends that a step starts. Whoever called has to finish it.
    pub fn start(&self, number: usize, title: &str) -> StartedStep<'_> {
        let step = StepId { number, title: title.into() };
        self.send(&Event::StepStarted { step: step.clone() });
        StartedStep { events: self, step, begin: Instant::now(), status: Mutex::default() }
    }
}

/// A step that has started and not ended.
pub struct StartedStep<'a> {
    events: &'a Events,
    step: StepId,
    begin: Instant,
    status: Mutex<String>,
}

impl StartedStep<'_> {
    /// Sends what the step is doing or waiting for, if that has changed.
    pub fn status(&self, text: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *status != text {
            *status = text.into();
            let (step, elapsed) = (self.step.clone(), self.begin.elapsed());
            self.events.send(&Event::StepStatus { step, text: text.into(), elapsed });
        }
    }

    /// Sends how the step ended; returns how long it took.
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

    /// Keeps what it hears.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Event>>>);

    impl Listener for Heard {
        fn hear(&mut self, event: &Event) {
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
