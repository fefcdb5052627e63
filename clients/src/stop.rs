//! SIGTERM and SIGINT: the first requests an orderly stop, the second exits immediately.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit code of a query interrupted by a signal, and of any client after a second signal. The same as a shell reports
/// for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// The signal for a file that grows beyond `ulimit -f`; the same number on Linux and macOS.
const SIGXFSZ: i32 = 25;

/// Whether a stop was requested.
#[derive(Debug, Clone)]
pub struct Stop {
    requested: watch::Receiver<bool>,
}

impl Stop {
    /// Starts listening for both signals on a separate thread, so that they are handled whatever other threads wait
    /// for.
    ///
    /// # Errors
    /// If the handlers or the thread cannot be created.
    pub fn listen() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot listen for signals")?;
        let (mut terminate, mut interrupt) = {
            let _entered = runtime.enter();
            // Beyond `ulimit -f`, a write then fails with its reason instead of ending this program.
            let _ignored = signal(SignalKind::from_raw(SIGXFSZ)).context("cannot listen for SIGXFSZ")?;
            let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
            (terminate, signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?)
        };
        let (request, requested) = watch::channel(false);
        let listen = async move {
            loop {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                if request.send_replace(true) {
                    std::process::exit(INTERRUPTED.into());
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || runtime.block_on(listen)).context("cannot listen for signals")?;
        Ok(Self { requested })
    }

    /// Whether the first signal was received.
    pub fn requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Waits for the first signal.
    pub async fn wait(&mut self) {
        if self.requested.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps, on a thread that may block, but wakes shortly after the first signal.
    pub fn sleep(&self, time: Duration) {
        let step = Duration::from_millis(20);
        let mut left = time;
        while !left.is_zero() && !self.requested() {
            let nap = left.min(step);
            std::thread::sleep(nap);
            left -= nap;
        }
    }
}
