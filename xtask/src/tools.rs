//! The programs we run: how they are spelled, and parsers over what they print. Nothing here decides.

pub mod causes;
pub mod clients;
pub mod docker;
pub mod java;
pub mod kafka;
pub mod kind;
