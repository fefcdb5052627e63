//! Controls of the drills themselves: the same drill with a part left out, which must never end as kept.

use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::failure::Result;
use crate::local::process::Identity;

/// A part of a drill that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillPart {
    /// The moves signal, start, delete and change nothing, and do not wait
    Strike,
    /// There is no producer
    Load,
    /// The last line of every producer is cut off before it is judged
    Ledger,
}

/// What is left out of a drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// The effect of its moves.
    pub strike: bool,
    /// Its producer.
    pub load: bool,
    /// The last line of each producer.
    pub ledger: bool,
}

impl Without {
    /// Leaves these parts out.
    pub fn of(parts: &[DrillPart]) -> Self {
        let has = |part| parts.contains(&part);
        Without { strike: has(DrillPart::Strike), load: has(DrillPart::Load), ledger: has(DrillPart::Ledger) }
    }

    /// Returns the parts that are left out.
    pub fn parts(self) -> Vec<DrillPart> {
        let all = [(self.strike, DrillPart::Strike), (self.load, DrillPart::Load), (self.ledger, DrillPart::Ledger)];
        all.into_iter().filter_map(|(out, part)| out.then_some(part)).collect()
    }

    /// Whether any part is left out.
    pub fn any(self) -> bool {
        !self.parts().is_empty()
    }

    /// The timeout of something that never comes if a part is missing.
    pub fn timeout(self, usual: Duration) -> Duration {
        if self.strike || self.load { usual.min(Duration::from_secs(5)) } else { usual }
    }

    /// Sends a signal of a move. Without the strike it only claims to, so that the evidence alone can tell.
    ///
    /// # Errors
    /// As [`Identity::signal`].
    pub fn signal(self, identity: &Identity, signal: Signal) -> Result<bool> {
        if self.strike { Ok(true) } else { identity.signal(signal) }
    }

    /// Performs an action of a move, or only claims to.
    ///
    /// # Errors
    /// The action fails.
    pub fn act(self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.strike { Ok(()) } else { act() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_as_they_were_given() {
        assert_eq!(
            Without::of(&[DrillPart::Ledger, DrillPart::Strike]).parts(),
            [DrillPart::Strike, DrillPart::Ledger]
        );
        assert!(!Without::default().any());
        assert!(Without::default().act(|| Err(crate::failure::Failure::step("done"))).is_err());
        assert!(Without::of(&[DrillPart::Strike]).act(|| Err(crate::failure::Failure::step("done"))).is_ok());
    }
}
