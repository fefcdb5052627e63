//! The verdict: what producers promised against what a consumer read.
//!
//! A proven fault outweighs a doubt; a doubt outweighs nothing found. What no proof was given for is a doubt and never a pass.
//!
//! [`judge`] is for a run that is over, of which all was read. [`judge_running`] is for clients that go on.

mod claim;
mod conclusion;
mod run;
mod running;
mod streams;

pub use self::claim::{Claim, Range, Went};
pub use self::run::{Case, judge};
pub use self::running::{Running, judge_running};
pub use crate::lines::{Evidence, Finding, Kind, LEDGER, RUNNING, Report, Row, Standing, Verdict};
