//! The verdict: what producers promised against what a consumer read.
//!
//! A proven fault outweighs a doubt, and any doubt rules out a pass. What has not been proven is a doubt.
//!
//! [`judge`] is for a finished run that was read completely; [`judge_running`] is for running clients.

mod claim;
mod conclusion;
mod run;
mod running;
mod streams;

pub use self::claim::{Claim, HowEnded, OffsetRange};
pub use self::run::{Case, judge};
pub use self::running::{Running, judge_running};
pub use crate::lines::{Evidence, Finding, Kind, LEDGER, RUNNING, Report, Row, Standing, Verdict};
