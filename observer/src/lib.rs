//! Observes a running lab: what its brokers, its clients and the commands of xtask say, as lines.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`args`] | which lab, on the command line; signals |
//! | [`kafka`] | questions to one broker, in Kafka's protocol |
//! | [`facts`] | what holds now, from what several brokers say; pure |
//! | [`clients`] | what the clients count |
//! | [`journal`] | what the commands of xtask do |
//! | [`tail`] | new lines of a file |
//! | [`event`] | the lines of a recording |
//! | [`output`] | where they go |
//! | [`record`] | asks everybody and tells the lines |
#![warn(clippy::too_many_lines)]

pub mod args;
pub mod clients;
pub mod event;
pub mod facts;
pub mod journal;
pub mod kafka;
pub mod output;
pub mod record;
pub mod tail;
