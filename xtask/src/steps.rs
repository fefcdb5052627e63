//! The steps that every backend has. The plan decides their order.

pub mod build;
pub mod check;
pub mod flow;
pub mod preflight;
pub mod record;
pub mod remove;
pub mod running_clients;
pub mod serve;
