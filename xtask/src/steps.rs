//! What each step does. Steps may use `local`, `kind` and `tools`; nothing here decides the order.

pub mod build;
pub mod check;
pub mod flow;
pub mod preflight;
pub mod record;
pub mod remove;
pub mod rolled_out;
pub mod serve;
