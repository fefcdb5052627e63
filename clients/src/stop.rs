//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit code of a question that a signal ended, and of any client after a second one: that of a process that SIGINT ended.
pub const INTERRUPTED: u8 = 130;

/// Whether an orderly end was asked for.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: watch::Receiver<bool>,
}

impl Stop {
    /// Begins to listen for both signals, on a thread that does nothing else: they are heard whatever the others wait for.
    ///
    /// # Errors
    /// When the handlers or the thread cannot be made.
    pub fn listen() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot listen for signals")?;
        let (mut terminate, mut interrupt) = {
            let _entered = runtime.enter();
            let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
            (terminate, signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?)
        };
        let (ask, asked) = watch::channel(false);
        let listen = async move {
            loop {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                if ask.send_replace(true) {
                    std::process::exit(INTERRUPTED.into());
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || runtime.block_on(listen)).context("cannot listen for signals")?;
        Ok(Self { asked })
    }

    /// Whether the first signal has come.
    pub fn requested(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits for the first signal, for ever if need be.
    pub async fn wait(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps, on a thread that may block, but not past the first signal by more than a moment.
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
