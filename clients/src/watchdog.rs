//! Whether a client still goes round.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::output::Output;

/// After how many seconds without a beat a client begins anew.
const SECONDS: u32 = if cfg!(test) { 3 } else { 15 };

/// Beats that a client's loop gives, and what had arrived by then.
///
/// librdkafka can lock itself up: its main thread, at an answer to OffsetForLeaderEpoch that says no, holds a partition and wants the client
/// (`rd_kafka_toppar_handle_OffsetForLeaderEpoch`), while the thread of a broker that is not named any more holds the client and wants the partition
/// (`rd_kafka_toppar_undelegate`; librdkafka #5476). Whoever calls it then waits for ever, signals are not answered, and the state file stays as it is.
/// A consumer that begins anew reads everything again, and comes to the same account.
#[derive(Default)]
pub struct Watchdog {
    beats: AtomicU64,
    arrived: AtomicU64,
    waited: AtomicU32,
}

impl Watchdog {
    /// The loop went round once more; what had arrived by now.
    pub fn beat(&self, arrived: u64) {
        self.arrived.store(arrived, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// What had arrived by the last beat.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Somebody has waited for librdkafka for so many seconds, which answers within one or two.
    pub fn waited(&self, seconds: u32) {
        self.waited.store(seconds, Ordering::Relaxed);
    }

    /// Begins the process anew, with the same id and arguments, when its loop does not beat any more, or somebody waits that long, as long as somebody else
    /// holds the watchdog. Time in which the whole process stood still does not count. When that cannot be, or a signal has asked for the end, it ends with exit code 1.
    ///
    /// # Errors
    /// When there is no thread to be had.
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
                        // For the thread that writes.
                        std::thread::sleep(Duration::from_secs(1));
                        let error = restart();
                        output.log(format_args!("cannot restart: {error}"));
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

/// Runs this program again in place of itself. Returns only when that cannot be, and why.
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

    /// Runs what is below in a process of its own, which leaves a line in a file each time it begins.
    fn ends_of(how: &str) -> (Option<i32>, String, Vec<String>) {
        let me = std::env::current_exe().unwrap();
        let file = std::env::temp_dir().join(format!("kafka-lab-watchdog-{}-{how}", std::process::id()));
        let args = ["watchdog::tests::a_process_of_its_own", "--exact", "--ignored", "--nocapture"];
        let output = Command::new(me).args(args).env("PULSE", how).env("PULSE_FILE", &file).output().unwrap();
        let begun = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, begun.lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_client_that_does_not_go_round_any_more_begins_anew_and_says_so() {
        let began = Instant::now();
        let told = std::thread::spawn(|| ends_of("told to end"));
        let ends = ["stands", "waits"].map(|how| std::thread::spawn(|| ends_of(how)));
        for end in ends {
            let (code, said, begun) = end.join().unwrap();
            assert!(said.contains("librdkafka has not answered for 3 s; beginning anew"), "{said}");
            // The same process, by its id and its arguments.
            let [first, second] = &begun[..] else { panic!("{begun:?}: {said}") };
            assert_eq!((code, first), (Some(0), second), "{said}");
        }
        let (code, said, begun) = told.join().unwrap();
        assert_eq!((code, begun.len()), (Some(1), 1), "{said}");
        assert!(said.contains("librdkafka has not answered for 3 s; ending without a last word"), "{said}");
        assert!(began.elapsed() >= Duration::from_secs(SECONDS.into()));
        let (code, said, begun) = ends_of("beats");
        assert_eq!((code, begun.len()), (Some(0), 1), "{said}");
    }

    #[test]
    #[ignore = "only in a process of its own"]
    fn a_process_of_its_own() {
        let file = std::env::var("PULSE_FILE").unwrap();
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        let me = format!("{} {:?}\n", std::process::id(), std::env::args().collect::<Vec<_>>());
        std::fs::write(&file, before.clone() + &me).unwrap();
        if !before.is_empty() {
            return;
        }
        let (watchdog, how) = (Arc::<Watchdog>::default(), std::env::var("PULSE").unwrap());
        let told = how == "told to end";
        Watchdog::watch(&watchdog, Arc::new(Output::new(Format::Json, None).unwrap()), move || told).unwrap();
        for second in 0..if how == "beats" { SECONDS + 3 } else { u32::MAX } {
            match how.as_str() {
                "stands" | "told to end" => {}
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
