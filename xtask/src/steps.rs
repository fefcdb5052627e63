//! What each step does. Thin: the parts that think are in `tools`, `local` and the parsers.

pub mod build;
pub mod check;
pub mod flow;
pub mod preflight;
pub mod record;
pub mod remove;
pub mod serve;
pub mod service;
