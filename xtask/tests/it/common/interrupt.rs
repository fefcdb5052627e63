//! Makes tests and benchmarks fail on Ctrl-C, so that their labs are dropped and torn down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let interrupted = Arc::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted)).unwrap();
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).unwrap();
    }
    interrupted
});

/// Panics if a signal arrived since the first call. A second signal ends the program at once.
#[track_caller]
pub fn go_on() {
    assert!(!INTERRUPTED.load(Ordering::SeqCst), "interrupted");
}
