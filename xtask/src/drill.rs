//! Drills: load on every partition, something breaks, it recovers, and the ledger says whether a promise was broken.

pub mod faults;
pub mod load;
pub mod pods;
pub mod run;
pub mod strike;
pub mod timing;
