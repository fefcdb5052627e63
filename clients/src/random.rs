//! Numbers that no other client draws.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A number that nobody can guess and nobody else draws, from the system's own source. `fastrand` seeds itself from the
/// clock and the thread, so that two clients started at the same moment could take the same names.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
