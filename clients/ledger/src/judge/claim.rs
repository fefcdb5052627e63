//! The input of a verdict: producers' claims, and the offsets of a run.

use crate::lines::{ProducerStart, ProducerState, Reason, SendStream, StateEvent};
use crate::stamp::{ProducerId, RunId};

/// How a producer process ended, as known to whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowEnded {
    /// It was asked to stop by a signal that it handles. It owes its last line.
    Asked,
    /// We killed it, or cut off its output. It is held to its last line and owes no other.
    Killed,
    /// It exited on its own. With a last line it had finished; without one it crashed.
    ByItself,
    /// It is still running. Its last checkpoint is its claim so far.
    Running,
}

/// What one producer process claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The run that it sent for.
    pub run: RunId,
    /// The process.
    pub producer: ProducerId,
    /// Its last complete checkpoint, or its end. `None` if it died before the first.
    pub state: Option<ProducerState>,
    /// How the process ended.
    pub went: HowEnded,
}

impl Claim {
    /// The claim of a producer from the complete lines that it printed. `None` if there are none.
    pub fn of(
        start: Option<&ProducerStart>,
        states: impl IntoIterator<Item = ProducerState>,
        went: HowEnded,
    ) -> Option<Self> {
        match (states.into_iter().last(), start) {
            (Some(state), _) => Some(Self::by(state, went)),
            (None, Some(start)) => Some(Self { run: start.run, producer: start.producer, state: None, went }),
            (None, None) => None,
        }
    }

    /// The claim of a producer with this last complete line.
    pub fn by(state: ProducerState, went: HowEnded) -> Self {
        Self { run: state.run, producer: state.producer, state: Some(state), went }
    }

    /// Whether the claim covers everything it sent. Otherwise the producer died or is still running, and may have sent
    /// more.
    pub fn ended(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.event == StateEvent::End)
    }

    pub(super) fn streams(&self) -> &[SendStream] {
        self.state.as_ref().map_or(&[], |state| &state.streams)
    }

    /// Why it gave up, if it reports that.
    pub(super) fn gave_up(&self) -> Option<Reason> {
        let reason = self.state.as_ref().filter(|state| state.event == StateEvent::End)?.reason?;
        matches!(reason, Reason::Fatal | Reason::Error).then_some(reason)
    }
}

/// The offsets of a run in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The partition.
    pub partition: i32,
    /// The end offset before the first producer started.
    pub start: i64,
    /// The end offset after the last producer had flushed or was dead.
    pub end: i64,
}
