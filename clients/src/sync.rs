//! Locking a mutex that another thread may have poisoned.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value behind a mutex, also when another thread panicked while holding it: everything guarded here stays valid
/// between statements.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
