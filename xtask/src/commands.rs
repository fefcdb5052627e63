//! The commands: from what was typed to an exit code. Each settles a [`Lab`], runs a plan and reports.

pub mod by_hand;
pub mod clients;
pub mod drill;
pub mod fix;
pub mod lab;
pub mod logs;
pub mod test;
