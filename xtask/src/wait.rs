//! Waiting. A timeout is a failure that quotes the last status.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};
use crate::signal::Stop;

/// The result of a probe.
#[derive(Debug)]
pub enum Poll<T> {
    /// Ready, with a value.
    Ready(T),
    /// Not ready, with the reason: "2 of 3 brokers registered: 0, 1".
    NotYet(String),
}

impl Poll<()> {
    /// Returns `Ready` unless there is an obstacle.
    pub fn unless(obstacle: Option<String>) -> Self {
        obstacle.map_or(Poll::Ready(()), Poll::NotYet)
    }
}

/// Sleeps. A requested stop ends it within 50 ms.
///
/// # Errors
/// [`Failure::interrupted`] if a stop is requested.
pub fn pause(stop: &Stop, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        if stop.requested() {
            return Err(Failure::interrupted());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "this is the one wait")]
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Probes every `interval` until the probe is ready or fails, `timeout` passes, or a stop is requested. Sends each new
/// status to `status` once. A probe should fail if it can never become ready.
///
/// # Errors
/// The probe's own failure, a timeout that quotes the last status, or an interruption.
pub fn until<T>(
    what: &str,
    timeout: Duration,
    interval: Duration,
    stop: &Stop,
    status: &dyn Fn(&str),
    mut probe: impl FnMut() -> Result<Poll<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = String::new();
    loop {
        match probe()? {
            Poll::Ready(value) => return Ok(value),
            Poll::NotYet(now) => {
                if now != last {
                    status(&now);
                    last = now;
                }
            }
        }
        if start.elapsed() >= timeout {
            return Err(Failure::step(format!(
                "{what}: not ready after {:.0} s; last status: {last}",
                timeout.as_secs_f64()
            )));
        }
        pause(stop, interval)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn wait(timeout_ms: u64, stop: &Stop, probe: impl FnMut() -> Result<Poll<u32>>) -> Result<u32> {
        until("brokers", Duration::from_millis(timeout_ms), Duration::from_millis(1), stop, &|_| {}, probe)
    }

    #[test]
    fn a_timeout_quotes_the_last_status() {
        let mut polls = 0;
        let failure = wait(20, &Stop::default(), || {
            polls += 1;
            Ok(Poll::NotYet(format!("{} of 3 brokers registered", polls.min(2))))
        })
        .unwrap_err();
        assert_eq!(failure.exit, Exit::Step);
        assert!(failure.message.contains("last status: 2 of 3 brokers registered"), "{}", failure.message);
    }

    #[test]
    fn a_failed_probe_ends_the_wait_at_once() {
        let failure = wait(60_000, &Stop::default(), || Err(Failure::step("broker 1 exited"))).unwrap_err();
        assert_eq!(failure.message, "broker 1 exited");
    }

    #[test]
    fn being_asked_to_stop_ends_the_wait() {
        let stop = Stop::default();
        stop.cancel();
        let failure = wait(60_000, &stop, || Ok(Poll::NotYet("starting".into()))).unwrap_err();
        assert_eq!(failure.exit, Exit::Interrupted);
    }

    #[test]
    fn ready_is_returned_and_each_status_is_told_once() {
        let heard = std::cell::RefCell::new(Vec::new());
        let mut polls = 0;
        let value = until(
            "x",
            Duration::from_secs(60),
            Duration::ZERO,
            &Stop::default(),
            &|status| heard.borrow_mut().push(status.to_string()),
            || {
                polls += 1;
                Ok(if polls < 5 { Poll::NotYet(format!("step {}", polls / 3)) } else { Poll::Ready(7) })
            },
        );
        assert_eq!(value.ok(), Some(7));
        assert_eq!(*heard.borrow(), ["step 0", "step 1"]);
    }
}
