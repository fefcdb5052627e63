//! The commands. Each loads a [`crate::config::Lab`], runs a plan, reports, and returns an exit code.

pub mod bench;
pub mod by_hand;
pub mod clients;
pub mod complete;
pub mod doctor;
pub mod drill;
pub mod fix;
pub mod logs;
pub mod page;
pub mod record;
pub mod session;
pub mod status;
pub mod teardown;
pub mod test;
pub mod up;
pub mod verify;
