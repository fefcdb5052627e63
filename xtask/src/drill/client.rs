//! A client process of a drill: its state while it runs, its log, and its end.
//!
//! While a drill runs, the state file shows the state of a client: one line, always whole. The log is read once, at the
//! end of the drill. It alone has the gaps and the start line, and it is what is judged: claims and witnesses.
//!
//! The state file is not judged, because it may be older than the log. A client writes its state file first and then
//! the line in its log (`Output::state` in clients/src/output.rs), so a SIGKILL in between leaves the file one line
//! ahead. But if a state file cannot be written, the client only remarks on it and the old line stays; if a log cannot
//! be written, the client ends. A claim from such a file would promise less than the log did, and a loss could pass. A
//! log that is one line behind promises what it would have promised if the SIGKILL had come a moment earlier.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ledger::judge::{Claim, HowEnded};
use ledger::lines::{Line, PRODUCER, ProducerState, StateEvent};

use crate::failure::Result;
use crate::local::process::{Identity, Life};
use crate::task::Task;
use crate::tools::clients;

/// How a client process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has not ended as far as we know.
    Living,
    /// It got SIGTERM.
    Asked {
        /// Whether it ended in time; otherwise it was killed.
        in_time: bool,
    },
    /// The drill killed it.
    Killed,
    /// It ended before the drill signalled it.
    ByItself,
}

/// A client process of a drill. Its log file is in the lab's folder, which marks the process as the lab's: `up` and
/// `teardown` end what a killed drill left behind.
#[derive(Clone, Debug)]
pub struct ClientProcess {
    /// `producer-1`, `consumer-2`, …
    pub name: String,
    /// Its log file.
    pub log: PathBuf,
    /// Its state file.
    pub state_file: PathBuf,
    /// When it was started.
    pub started: Instant,
    /// Its process.
    pub identity: Identity,
    /// How it ended.
    pub fate: Fate,
}

impl ClientProcess {
    /// Reads the state file, which is renewed each second; `None` before the first state.
    pub fn state<T: Line>(&self) -> Option<T> {
        let text = std::fs::read(&self.state_file).ok()?;
        clients::last(&String::from_utf8_lossy(&text))
    }

    /// Reads the log with its rotated files, as far as they are kept: after hours, megabytes.
    pub fn log_text(&self) -> String {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.log.display()));
        let files = [numbered(3), numbered(2), numbered(1), self.log.clone()];
        let texts = files.into_iter().filter_map(|file| std::fs::read(file).ok());
        texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
    }

    /// Whether the process is gone.
    pub fn ended(&self) -> bool {
        self.identity.life() == Life::Gone
    }

    /// Sends SIGTERM and waits for the end. Kills the process after `grace`.
    ///
    /// # Errors
    /// It survives SIGKILL, or an interruption.
    pub fn stop(&mut self, task: &Task<'_>, grace: Duration) -> Result<()> {
        if self.fate != Fate::Living {
            return Ok(());
        }
        if self.ended() {
            self.fate = Fate::ByItself;
            return Ok(());
        }
        // One SIGTERM only: a second one makes a client end without flushing.
        let in_time = self.identity.end(grace, task.ctx.stop, task.status)?;
        self.fate = Fate::Asked { in_time };
        Ok(())
    }

    /// The claim in a producer's log; `None` if the log has no line. `cut` ignores the last line, as a control.
    pub fn claim(&self, log: &str, cut: bool) -> Option<Claim> {
        let log = if cut { without_last_state(log) } else { log };
        match self.fate {
            // A process that hung has no last word, whatever it wrote.
            Fate::Asked { in_time: false } => clients::claim(without_end(log), HowEnded::Asked),
            Fate::Asked { in_time: true } | Fate::Living => clients::claim(log, HowEnded::Asked),
            Fate::Killed => clients::claim(log, HowEnded::Killed),
            Fate::ByItself => clients::claim(log, HowEnded::ByItself),
        }
    }
}

/// Cuts a producer's log before its last state line.
fn without_last_state(log: &str) -> &str {
    let mark = clients::mark(PRODUCER);
    let last = log.match_indices(&mark).filter(|(at, _)| *at == 0 || log[..*at].ends_with('\n')).last();
    last.map_or(log, |(at, _)| &log[..at])
}

/// Cuts a producer's log before its `end` line, if it has one.
fn without_end(log: &str) -> &str {
    match clients::lines::<ProducerState>(log).last() {
        Some(state) if state.event == StateEvent::End => without_last_state(log),
        _ => log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str, acked: u64) -> String {
        let totals =
            format!("{{\"sent\":{acked},\"acked\":{acked},\"not_persisted\":0,\"unknown\":0,\"in_flight\":0}}");
        format!(
            "{{\"schema\":\"{PRODUCER}\",\"event\":\"{event}\",\"time_ms\":1,\"elapsed_ms\":{acked},\"run\":\"r\",\"producer\":\"0000000a\",\"totals\":{totals},\"partitions\":[],\"streams\":[],\"folded_epochs\":0,\"errors\":{{}},\"queue_full\":0}}\n"
        )
    }

    /// A producer with these lines in its log, and this fate.
    fn producer(name: &str, lines: &[String], fate: Fate) -> (ClientProcess, PathBuf) {
        let log = std::env::temp_dir().join(format!("kafka-lab-load-{}-{name}.log", std::process::id()));
        std::fs::write(&log, lines.concat()).unwrap();
        let identity = Identity { pid: u32::MAX, start_ticks: 0, boot: String::new() };
        let (name, state_file, started) = (name.into(), log.with_extension("state"), Instant::now());
        (ClientProcess { name, log: log.clone(), state_file, started, identity, fate }, log)
    }

    #[test]
    fn a_producer_that_hung_or_whose_last_line_is_cut_off_has_no_last_word() {
        let said = [line("checkpoint", 5), line("checkpoint", 6), "remark\n".into(), line("end", 9)];
        let in_time = Fate::Asked { in_time: true };
        for (name, lines, fate, cut, ended, acked) in [
            ("whole", &said[..], in_time, false, true, 9),
            ("cut", &said[..], in_time, true, false, 6),
            ("hung", &said[..], Fate::Asked { in_time: false }, false, false, 6),
            ("crashed", &said[..2], in_time, false, false, 6),
            ("killed", &said[..2], Fate::Killed, false, false, 6),
            ("killed and cut", &said[..2], Fate::Killed, true, false, 5),
        ] {
            let (client, log) = producer(name, lines, fate);
            let claim = client.claim(&client.log_text(), cut).unwrap();
            assert_eq!((claim.ended(), claim.state.unwrap().totals.acked), (ended, acked), "{name}");
            std::fs::remove_file(log).unwrap();
        }
        let went = |fate| {
            let (client, log) = producer("went", &said[..1], fate);
            let claim = client.claim(&client.log_text(), false).unwrap();
            std::fs::remove_file(log).unwrap();
            claim.went
        };
        assert_eq!(went(Fate::Killed), HowEnded::Killed);
        assert_eq!(went(Fate::ByItself), HowEnded::ByItself);
        assert_eq!(went(Fate::Asked { in_time: false }), HowEnded::Asked);
    }

    #[test]
    fn a_state_file_that_is_behind_shows_a_state_and_never_makes_a_claim() {
        let (client, log) = producer("behind", &[line("checkpoint", 5), line("checkpoint", 6)], Fate::Killed);
        assert_eq!(client.state::<ProducerState>(), None, "it has written none yet");
        std::fs::write(&client.state_file, line("checkpoint", 5)).unwrap();
        assert_eq!(client.state::<ProducerState>().unwrap().totals.acked, 5);
        assert_eq!(client.claim(&client.log_text(), false).unwrap().state.unwrap().totals.acked, 6);
        std::fs::remove_file(&client.state_file).unwrap();
        std::fs::remove_file(log).unwrap();
    }
}
