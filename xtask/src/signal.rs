//! Ctrl-C, SIGTERM and SIGHUP become a flag that every wait looks at.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Says whether to stop: somebody asked for it, or a step of the same plan failed.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    cancelled: Arc<AtomicBool>,
}

impl Stop {
    /// Listens to the signals. A second one ends the process at once with 130, for when stopping itself hangs.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop.signalled))?;
            signal_hook::flag::register(signal, Arc::clone(&stop.signalled))?;
        }
        Ok(stop)
    }

    /// Whether a signal came.
    pub fn signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }

    /// Whether to stop, for whatever reason.
    pub fn requested(&self) -> bool {
        self.signalled() || self.cancelled.load(Ordering::SeqCst)
    }

    /// Asks the other steps of the plan to stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// The same signals, another plan: what one plan cancels leaves the next alone.
    pub fn next_plan(&self) -> Self {
        Stop { signalled: Arc::clone(&self.signalled), cancelled: Arc::default() }
    }

    /// Wraps a reader so that it fails once we are asked to stop.
    pub fn reading<R: Read>(&self, from: R) -> Reading<'_, R> {
        Reading { from, stop: self }
    }
}

/// A reader that [`Stop::reading`] wrapped.
#[derive(Debug)]
pub struct Reading<'a, R> {
    from: R,
    stop: &'a Stop,
}

impl<R: Read> Read for Reading<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stop.requested() {
            return Err(io::Error::other("interrupted"));
        }
        self.from.read(bytes)
    }
}
