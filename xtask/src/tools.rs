//! The programs that xtask runs: their command lines, and parsers for their output. No decisions.

pub mod causes;
pub mod clients;
pub mod docker;
pub mod java;
pub mod kafka;
pub mod kind;
