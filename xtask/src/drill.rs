//! Drills: load on every partition, something breaks, it recovers, and the ledger says whether a promise was broken.

pub mod client;
pub mod closing;
pub mod control;
pub mod evidence;
pub mod faults;
pub mod last_words;
pub mod load;
pub mod mend;
pub mod moves;
pub mod outcome;
pub mod pods;
pub mod promise;
pub mod proof;
pub mod run;
pub mod strike;
pub mod timing;
pub mod told;
pub mod watch;
