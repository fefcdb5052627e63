//! Turns Ctrl-C, SIGTERM and SIGHUP into a flag that every wait checks.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// Whether to stop, because of a signal or because a step of the same plan failed.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    cancelled: Arc<AtomicBool>,
}

impl Stop {
    /// Handles the signals. A second one ends the process at once with 130, after `last_act`, in case the orderly stop
    /// hangs.
    ///
    /// # Errors
    /// The system rejects a signal handler.
    pub fn listen(last_act: fn()) -> std::io::Result<Self> {
        let stop = Self::default();
        let all = [SIGINT, SIGTERM, SIGHUP];
        for signal in all {
            signal_hook::flag::register(signal, Arc::clone(&stop.signalled))?;
        }
        // Beyond `ulimit -f`, a write then fails with its reason instead of ending this program.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let mut signals = signal_hook::iterator::Signals::new(all)?;
        let second = move || {
            if signals.forever().nth(1).is_some() {
                last_act();
                signal_hook::low_level::exit(130);
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(second)?;
        Ok(stop)
    }

    /// Whether a signal arrived.
    pub fn signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }

    /// Acts as a signal does.
    #[cfg(test)]
    pub fn signal(&self) {
        self.signalled.store(true, Ordering::SeqCst);
    }

    /// Whether to stop, for either reason.
    pub fn requested(&self) -> bool {
        self.signalled() || self.cancelled.load(Ordering::SeqCst)
    }

    /// Stops the other steps of the plan.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Returns a `Stop` for another plan: it shares the signals, but not the cancellation.
    pub fn next_plan(&self) -> Self {
        Stop { signalled: Arc::clone(&self.signalled), cancelled: Arc::default() }
    }

    /// Wraps a reader so that it fails once a stop is requested.
    pub fn reading<R: Read>(&self, from: R) -> Reading<'_, R> {
        Reading { from, stop: self }
    }
}

/// A reader wrapped by [`Stop::reading`].
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
