//! Random numbers that are unique to a process.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A random number from the system's own source. `fastrand` seeds itself from the clock and the thread id, so two
/// clients started at the same moment could draw the same numbers.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
