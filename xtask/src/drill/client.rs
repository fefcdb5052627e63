//! A client process of a drill: how it stands, what it said, and how it went.
//!
//! While a drill runs, how a client stands is read from its state file: one line, always whole. Its log is read once,
//! when the drill is over, for what only the log has (gaps and the start line) and for what is judged: claims and
//! witnesses.
//!
//! What is judged comes from the log, because a state file may be behind it. A client writes its state file first and
//! then the line in its log (`Output::state` in clients/src/output.rs), so a SIGKILL in between leaves the file one line
//! ahead. But if a state file cannot be written, the client only remarks on it and the old line stays; if a log cannot
//! be written, the client ends. A claim from such a file would promise less than the log did, and a loss could pass. A
//! log that is one line behind promises what it would have promised had the SIGKILL come a moment earlier.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ledger::judge::{Claim, Went};
use ledger::lines::{Event, Line, PRODUCER, ProducerState};

use crate::failure::Result;
use crate::local::process::{Identity, Life};
use crate::task::Task;
use crate::tools::clients;

/// How a client process went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there, as far as anybody knows.
    Living,
    /// It was told to end, and did so in time; or had to be killed then.
    Asked {
        /// Whether it ended in time.
        in_time: bool,
    },
    /// We killed it.
    Killed,
    /// It was gone before anybody had told it to.
    ByItself,
}

/// A client process of a drill. Its log file lies in the lab's folder, which marks it as the lab's: `up` and `teardown` end
/// what a killed drill left behind.
#[derive(Clone, Debug)]
pub struct Client {
    /// `producer-1`, `consumer-2`, …
    pub name: String,
    /// What it says.
    pub log: PathBuf,
    /// Where it keeps its last state.
    pub state_file: PathBuf,
    /// When it was started.
    pub started: Instant,
    /// Its process.
    pub identity: Identity,
    /// How it went.
    pub fate: Fate,
}

impl Client {
    /// How it stands: the state that it wrote down last, each second. `None` before the first.
    pub fn state<T: Line>(&self) -> Option<T> {
        let text = std::fs::read(&self.state_file).ok()?;
        clients::last(&String::from_utf8_lossy(&text))
    }

    /// All it said, rotated files included, as far as they are kept. Megabytes after hours: for when all is over.
    pub fn said(&self) -> String {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.log.display()));
        let files = [numbered(3), numbered(2), numbered(1), self.log.clone()];
        let texts = files.into_iter().filter_map(|file| std::fs::read(file).ok());
        texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
    }

    /// Whether it is gone.
    pub fn ended(&self) -> bool {
        self.identity.life() == Life::Gone
    }

    /// Tells it to end, and waits for that; kills it when it takes longer than `grace`.
    ///
    /// # Errors
    /// It does not even end by SIGKILL, or an interruption.
    pub fn tell_to_end(&mut self, task: &Task<'_>, grace: Duration) -> Result<()> {
        if self.fate != Fate::Living {
            return Ok(());
        }
        // One SIGTERM and no more: at a second one a client ends without flushing.
        if self.ended() {
            self.fate = Fate::ByItself;
            return Ok(());
        }
        let in_time = self.identity.end(grace, task.ctx.stop, task.status)?;
        self.fate = Fate::Asked { in_time };
        Ok(())
    }

    /// What a producer that `said` this claims; `None` when it left no line. `cut` leaves its last line out, as a
    /// control.
    pub fn claim(&self, said: &str, cut: bool) -> Option<Claim> {
        let said = if cut { without_last_state(said) } else { said };
        match self.fate {
            // One that hung had no last word, whatever it said.
            Fate::Asked { in_time: false } => clients::claim(without_end(said), Went::Asked),
            Fate::Asked { in_time: true } | Fate::Living => clients::claim(said, Went::Asked),
            Fate::Killed => clients::claim(said, Went::Killed),
            Fate::ByItself => clients::claim(said, Went::ByItself),
        }
    }
}

/// What a producer said before the last line that tells of its state.
fn without_last_state(said: &str) -> &str {
    let mark = clients::mark(PRODUCER);
    let last = said.match_indices(&mark).filter(|(at, _)| *at == 0 || said[..*at].ends_with('\n')).last();
    last.map_or(said, |(at, _)| &said[..at])
}

/// What a producer said before its `end` line, if there is one.
fn without_end(said: &str) -> &str {
    match clients::lines::<ProducerState>(said).last() {
        Some(state) if state.event == Event::End => without_last_state(said),
        _ => said,
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

    /// A producer that said these lines and went so.
    fn producer(name: &str, lines: &[String], fate: Fate) -> (Client, PathBuf) {
        let log = std::env::temp_dir().join(format!("kafka-lab-load-{}-{name}.log", std::process::id()));
        std::fs::write(&log, lines.concat()).unwrap();
        let identity = Identity { pid: u32::MAX, start_ticks: 0, boot: String::new() };
        let (name, state_file, started) = (name.into(), log.with_extension("state"), Instant::now());
        (Client { name, log: log.clone(), state_file, started, identity, fate }, log)
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
            let claim = client.claim(&client.said(), cut).unwrap();
            assert_eq!((claim.ended(), claim.state.unwrap().totals.acked), (ended, acked), "{name}");
            std::fs::remove_file(log).unwrap();
        }
        let went = |fate| {
            let (client, log) = producer("went", &said[..1], fate);
            let claim = client.claim(&client.said(), false).unwrap();
            std::fs::remove_file(log).unwrap();
            claim.went
        };
        assert_eq!(went(Fate::Killed), Went::Killed);
        assert_eq!(went(Fate::ByItself), Went::ByItself);
        assert_eq!(went(Fate::Asked { in_time: false }), Went::Asked);
    }

    #[test]
    fn a_state_file_that_is_behind_says_how_a_client_stood_and_never_what_it_claims() {
        let (client, log) = producer("behind", &[line("checkpoint", 5), line("checkpoint", 6)], Fate::Killed);
        assert_eq!(client.state::<ProducerState>(), None, "it has written none yet");
        std::fs::write(&client.state_file, line("checkpoint", 5)).unwrap();
        assert_eq!(client.state::<ProducerState>().unwrap().totals.acked, 5);
        assert_eq!(client.claim(&client.said(), false).unwrap().state.unwrap().totals.acked, 6);
        std::fs::remove_file(&client.state_file).unwrap();
        std::fs::remove_file(log).unwrap();
    }
}
