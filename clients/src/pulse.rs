//! Whether a client still goes round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::output::Output;

/// After how many seconds without a beat a client is given up.
const SECONDS: u32 = if cfg!(test) { 3 } else { 30 };

/// Beats that a client's loop gives, and what had arrived by then.
///
/// librdkafka can lock itself up: its main thread, at an answer to OffsetForLeaderEpoch that says no, holds a partition and wants the client
/// (`rd_kafka_toppar_handle_OffsetForLeaderEpoch`), while the thread of a broker that is not named any more holds the client and wants the partition
/// (`rd_kafka_toppar_undelegate`). Whoever calls it then waits for ever, signals are not answered, and the state file stays as it is. A process that
/// ends says so, and can be started again.
#[derive(Default)]
pub struct Pulse {
    beats: AtomicU64,
    arrived: AtomicU64,
    waited: AtomicU32,
}

impl Pulse {
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

    /// Ends the process with exit code 1 when its loop does not beat any more, or somebody waits that long, as long as somebody else holds the pulse.
    /// Time in which the whole process stood still does not count.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn watch(pulse: &Arc<Self>, output: Arc<Output>) -> Result<()> {
        let pulse = Arc::downgrade(pulse);
        let watch = move || {
            let (mut before, mut without) = (0, 0);
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let Some(pulse) = pulse.upgrade() else { return };
                let beats = pulse.beats.load(Ordering::Relaxed);
                without = if beats == before { without + 1 } else { 0 };
                before = beats;
                if without.max(pulse.waited.load(Ordering::Relaxed)) >= SECONDS {
                    output.remark(format_args!(
                        "librdkafka has not answered for {SECONDS} s; ending without a last word"
                    ));
                    // For the thread that writes.
                    std::thread::sleep(Duration::from_secs(1));
                    std::process::exit(1);
                }
            }
        };
        std::thread::Builder::new().name("pulse".into()).spawn(watch).context("cannot watch the client")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::process::Command;
    use std::time::Instant;

    use super::*;
    use crate::cli::Format;

    /// Runs what is below in a process of its own.
    fn ends_of(how: &str) -> (Option<i32>, String) {
        let me = std::env::current_exe().unwrap();
        let args = ["pulse::tests::a_process_of_its_own", "--exact", "--ignored", "--nocapture"];
        let output = Command::new(me).args(args).env("PULSE", how).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn a_client_that_does_not_go_round_any_more_ends_and_says_so() {
        let (all, began): (Vec<_>, _) = (["stands", "waits"].to_vec(), Instant::now());
        let ends: Vec<_> = all.iter().map(|how| std::thread::spawn(|| ends_of(how))).collect();
        for end in ends {
            let (code, said) = end.join().unwrap();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("librdkafka has not answered for 3 s"), "{said}");
        }
        assert!(began.elapsed() >= Duration::from_secs(SECONDS.into()));
        assert_eq!(ends_of("beats").0, Some(0));
    }

    #[test]
    #[ignore = "only in a process of its own"]
    fn a_process_of_its_own() {
        let pulse = Arc::<Pulse>::default();
        Pulse::watch(&pulse, Arc::new(Output::new(Format::Json, None).unwrap())).unwrap();
        let how = std::env::var("PULSE").unwrap();
        for second in 0..if how == "beats" { SECONDS + 3 } else { u32::MAX } {
            match how.as_str() {
                "stands" => {}
                "waits" => {
                    pulse.beat(0);
                    pulse.waited(second);
                }
                _ => pulse.beat(second.into()),
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
