//! Controls of the drills themselves: the same drill with a part taken out, which must never end as kept.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::failure::Result;
use crate::local::process::Identity;
use rustix::process::Signal;

/// A part that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Nothing is signalled, started, deleted or changed, and nothing is waited for
    Strike,
    /// There is no producer
    Load,
    /// The last line of every producer is cut off before it is judged
    Ledger,
}

/// What is taken out of a drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// Its strike.
    pub strike: bool,
    /// Its load.
    pub load: bool,
    /// The end of its ledger.
    pub ledger: bool,
}

impl Without {
    /// Without these parts.
    pub fn of(parts: &[Part]) -> Self {
        let has = |part| parts.contains(&part);
        Without { strike: has(Part::Strike), load: has(Part::Load), ledger: has(Part::Ledger) }
    }

    /// The parts.
    pub fn parts(self) -> Vec<Part> {
        let all = [(self.strike, Part::Strike), (self.load, Part::Load), (self.ledger, Part::Ledger)];
        all.into_iter().filter_map(|(out, part)| out.then_some(part)).collect()
    }

    /// Whether anything is taken out.
    pub fn any(self) -> bool {
        !self.parts().is_empty()
    }

    /// How long something may take that never comes when a part is missing.
    pub fn patience(self, usual: Duration) -> Duration {
        if self.strike || self.load { usual.min(Duration::from_secs(5)) } else { usual }
    }

    /// Sends a signal of the strike. Without it that is claimed all the same, so that nothing is believed that was not looked at.
    ///
    /// # Errors
    /// As [`Identity::signal`].
    pub fn signal(self, identity: &Identity, signal: Signal) -> Result<bool> {
        if self.strike { Ok(true) } else { identity.signal(signal) }
    }

    /// Does something of the strike, or claims to have done it.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn act(self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.strike { Ok(()) } else { act() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_as_they_were_given() {
        assert_eq!(Without::of(&[Part::Ledger, Part::Strike]).parts(), [Part::Strike, Part::Ledger]);
        assert!(!Without::default().any());
        assert!(Without::default().act(|| Err(crate::failure::Failure::step("done"))).is_err());
        assert!(Without::of(&[Part::Strike]).act(|| Err(crate::failure::Failure::step("done"))).is_ok());
    }
}
