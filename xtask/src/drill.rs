//! Drills: break the lab under load, mend it, and let the ledger judge whether a promise was kept.

pub mod client;
pub mod client_logs;
pub mod closing;
pub mod control;
pub mod faults;
pub mod inject;
pub mod load;
pub mod mend;
pub mod moves;
pub mod observations;
pub mod outcome;
pub mod pods;
pub mod promise;
pub mod proof;
pub mod run;
pub mod text;
pub mod timing;
pub mod watch;
