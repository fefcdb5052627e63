//! What is judged: the claims of producers, and the offsets that hold a run.

use crate::lines::{Event, ProducerStart, ProducerState, Reason, SendStream};
use crate::stamp::{ProducerId, RunId};

/// How a producer process went, as whoever started it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// It was told to end, by a signal that it answers, and did. It owes its last line.
    Asked,
    /// We killed it, or cut it off from its output. It is held to its last line and owes no other.
    Killed,
    /// It ended by itself. With its last line it sent what it was to send; without one it crashed.
    ByItself,
    /// It goes on. Its last checkpoint is what it promises so far.
    Running,
}

/// The last word of one producer process.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The run it sent for.
    pub run: RunId,
    /// The process.
    pub producer: ProducerId,
    /// Its last complete checkpoint, or its end; `None` when it died before the first.
    pub state: Option<ProducerState>,
    /// How it went.
    pub went: Went,
}

impl Claim {
    /// What a producer that `went` so claims by the complete lines it printed: the last state, or nothing but that it began. `None` when there is no
    /// line.
    pub fn of(
        start: Option<&ProducerStart>,
        states: impl IntoIterator<Item = ProducerState>,
        went: Went,
    ) -> Option<Self> {
        match (states.into_iter().last(), start) {
            (Some(state), _) => Some(Self::by(state, went)),
            (None, Some(start)) => Some(Self { run: start.run, producer: start.producer, state: None, went }),
            (None, None) => None,
        }
    }

    /// The claim of a producer whose last complete line this is.
    pub fn by(state: ProducerState, went: Went) -> Self {
        Self { run: state.run, producer: state.producer, state: Some(state), went }
    }

    /// Whether it speaks for all it sent. Otherwise it died or goes on, and what it did after its last line is open.
    pub fn ended(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.event == Event::End)
    }

    pub(super) fn streams(&self) -> &[SendStream] {
        self.state.as_ref().map_or(&[], |state| &state.streams)
    }

    /// Why it gave up, if it says that it did.
    pub(super) fn gave_up(&self) -> Option<Reason> {
        let reason = self.state.as_ref().filter(|state| state.event == Event::End)?.reason?;
        matches!(reason, Reason::Fatal | Reason::Error).then_some(reason)
    }
}

/// The offsets of a partition that hold the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: i32,
    /// Its end offset before the first producer began.
    pub start: i64,
    /// Its end offset after the last producer had flushed or was dead.
    pub end: i64,
}
