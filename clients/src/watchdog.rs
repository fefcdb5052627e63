//! Restarts a client whose main loop hangs.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ledger::cause::in_words;

use crate::output::Output;

/// Seconds without a heartbeat after which the client restarts.
const SECONDS: u32 = if cfg!(test) { 3 } else { 15 };

/// Heartbeats of a client's main loop.
///
/// librdkafka can deadlock. On an error response to OffsetForLeaderEpoch, its main thread holds a partition's lock and
/// waits for the client's (`rd_kafka_toppar_handle_OffsetForLeaderEpoch`), while the thread of a removed broker holds
/// the client's and waits for the partition's (`rd_kafka_toppar_undelegate`; librdkafka #5476). Every later call then
/// blocks forever, signals are not handled, and the state file goes stale. A restarted consumer reads everything again
/// and arrives at the same account.
#[derive(Default)]
pub struct Watchdog {
    beats: AtomicU64,
    arrived: AtomicU64,
    waited: AtomicU32,
}

impl Watchdog {
    /// Records one round of the loop, and how much has arrived so far.
    pub fn beat(&self, arrived: u64) {
        self.arrived.store(arrived, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How much had arrived by the last heartbeat.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Records that a caller has waited for librdkafka for this many seconds. It normally answers within two.
    pub fn waited(&self, seconds: u32) {
        self.waited.store(seconds, Ordering::Relaxed);
    }

    /// Starts a thread that restarts this process, with the same pid and arguments, if its loop stops or a caller of
    /// librdkafka waits too long, for as long as others hold the watchdog. Time in which the whole process was
    /// suspended does not count. If a restart fails, or a signal asked the process to stop, it exits with 1.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn watch(watchdog: &Arc<Self>, output: Arc<Output>, stopped: impl Fn() -> bool + Send + 'static) -> Result<()> {
        let watchdog = Arc::downgrade(watchdog);
        let watch = move || {
            let (mut before, mut without) = (0, 0);
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let Some(watchdog) = watchdog.upgrade() else { return };
                let beats = watchdog.beats.load(Ordering::Relaxed);
                without = if beats == before { without + 1 } else { 0 };
                before = beats;
                if without.max(watchdog.waited.load(Ordering::Relaxed)) >= SECONDS {
                    let silent = format!("librdkafka has not answered for {SECONDS} s");
                    if !stopped() {
                        output.log(format_args!("{silent}; restarting this process"));
                        // Time for the output thread.
                        std::thread::sleep(Duration::from_secs(1));
                        let error = restart();
                        output.log(format_args!("cannot restart: {}", in_words(&error)));
                    }
                    output.log(format_args!("{silent}; exiting without a final state"));
                    std::thread::sleep(Duration::from_secs(1));
                    std::process::exit(1);
                }
            }
        };
        std::thread::Builder::new().name("watchdog".into()).spawn(watch).context("cannot start the watchdog thread")?;
        Ok(())
    }
}

/// Replaces this process by a new run of its program. Returns only on failure.
fn restart() -> std::io::Error {
    let me = match std::env::current_exe() {
        Ok(me) => me,
        Err(error) => return error,
    };
    let mut args = std::env::args_os();
    let mut again = Command::new(me);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    again.args(args).exec()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::time::Instant;

    use super::*;
    use crate::cli::Format;

    /// Runs the test below as a process of its own, which adds a line to a file each time it starts.
    fn ends_of(how: &str) -> (Option<i32>, String, Vec<String>) {
        let me = std::env::current_exe().unwrap();
        let file = std::env::temp_dir().join(format!("kafka-lab-watchdog-{}-{how}", std::process::id()));
        let args = ["watchdog::tests::a_process_of_its_own", "--exact", "--ignored", "--nocapture"];
        let output = Command::new(me).args(args).env("WATCHDOG", how).env("WATCHDOG_FILE", &file).output().unwrap();
        let starts = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), log, starts.lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_client_that_hangs_restarts_and_logs_it() {
        let began = Instant::now();
        let stopping = std::thread::spawn(|| ends_of("told to stop"));
        let ends = ["hangs", "waits"].map(|how| std::thread::spawn(|| ends_of(how)));
        for end in ends {
            let (code, log, starts) = end.join().unwrap();
            assert!(log.contains("librdkafka has not answered for 3 s; restarting this process"), "{log}");
            // The same process: same pid, same arguments.
            let [first, second] = &starts[..] else { panic!("{starts:?}: {log}") };
            assert_eq!((code, first), (Some(0), second), "{log}");
        }
        let (code, log, starts) = stopping.join().unwrap();
        assert_eq!((code, starts.len()), (Some(1), 1), "{log}");
        assert!(log.contains("librdkafka has not answered for 3 s; exiting without a final state"), "{log}");
        assert!(began.elapsed() >= Duration::from_secs(SECONDS.into()));
        let (code, log, starts) = ends_of("beats");
        assert_eq!((code, starts.len()), (Some(0), 1), "{log}");
    }

    #[test]
    #[ignore = "only in a process of its own"]
    fn a_process_of_its_own() {
        let file = std::env::var("WATCHDOG_FILE").unwrap();
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        let me = format!("{} {:?}\n", std::process::id(), std::env::args().collect::<Vec<_>>());
        std::fs::write(&file, before.clone() + &me).unwrap();
        if !before.is_empty() {
            return;
        }
        let (watchdog, how) = (Arc::<Watchdog>::default(), std::env::var("WATCHDOG").unwrap());
        let stopping = how == "told to stop";
        Watchdog::watch(&watchdog, Arc::new(Output::new(Format::Json, None).unwrap()), move || stopping).unwrap();
        for second in 0..if how == "beats" { SECONDS + 3 } else { u32::MAX } {
            match how.as_str() {
                "hangs" | "told to stop" => {}
                "waits" => {
                    watchdog.beat(0);
                    watchdog.waited(second);
                }
                _ => watchdog.beat(second.into()),
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
