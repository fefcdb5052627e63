//! The clients of the Kafka lab.

pub mod ledger;
pub mod stamp;
