//! What the commands of xtask do, from the journal in the lab's state folder, to which each of them adds.

use std::path::PathBuf;
use std::time::Duration;

use ledger::lines::{JOURNAL, JournalEntry};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::Value;

use crate::tail::Tail;

/// A line of the journal.
pub type Entry = JournalEntry<Value>;

/// Whether it begins a plan.
fn begins(entry: &Entry) -> bool {
    entry.line["event"] == "plan_begun"
}

/// Reads what a drill says when it begins.
pub fn drill(entry: &Entry) -> Option<DrillBegun> {
    (entry.line["event"] == "drill_begun").then(|| serde_json::from_value(entry.line.clone()).ok())?
}

/// A drill that begins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DrillBegun {
    /// Its topic.
    pub topic: String,
    /// The folder of its clients' logs and states.
    pub clients: PathBuf,
}

/// The journal. Nothing of it is known before the first look.
#[derive(Debug)]
pub struct Journal {
    tail: Tail,
    looked: bool,
}

impl Journal {
    /// The journal in this file, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Journal { tail: Tail::new(path), looked: false }
    }

    /// Returns what is new. The first time, that is what the last command did before.
    pub fn look(&mut self) -> Vec<Entry> {
        // That it cannot be read is no news about the lab; the next look may succeed.
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let lines = self.tail.lines().unwrap_or_default();
            entries.extend(lines.iter().filter_map(|line| entry(line)));
            if self.looked || lines.is_empty() {
                break;
            }
        }
        if !std::mem::replace(&mut self.looked, true) {
            // Entries of before the machine was started last have another clock.
            let now = ms(monotonic());
            entries.retain(|entry| entry.clock_ms <= now);
            let last = entries.iter().rposition(begins).unwrap_or(entries.len());
            entries.drain(..last);
        }
        entries
    }
}

fn entry(line: &str) -> Option<Entry> {
    serde_json::from_str(line).ok().filter(|entry: &Entry| entry.schema == JOURNAL)
}

/// The time by a clock that never goes back and is the same for all processes: CLOCK_MONOTONIC.
pub fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A duration in ms.
pub fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn it_begins_with_the_last_command_and_follows() {
        let path = std::env::temp_dir().join(format!("kafka-lab-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let add = |clock_ms: u64, command: &str, line: Value| {
            let entry = json!({"schema": JOURNAL, "clock_ms": clock_ms, "command": command, "line": line});
            let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
            writeln!(file, "{entry}").unwrap();
        };
        let begun = || json!({"event": "plan_begun", "steps": []});
        let mut journal = Journal::new(path.clone());
        add(5, "up", begun());
        add(6, "up", json!({"event": "plan_ended"}));
        add(u64::MAX, "verify", begun());
        add(7, "drill", begun());
        add(8, "drill", json!({"event": "drill_begun", "drill": "leader-kill", "topic": "drill-1", "clients": "/d"}));
        let entries = journal.look();
        assert_eq!(entries.iter().map(|entry| entry.clock_ms).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(drill(&entries[0]), None);
        assert_eq!(drill(&entries[1]), Some(DrillBegun { topic: "drill-1".into(), clients: "/d".into() }));
        assert_eq!(journal.look(), []);
        add(9, "drill", json!({"event": "plan_ended"}));
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"something else\n").unwrap();
        assert_eq!(journal.look()[0].clock_ms, 9);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_clock_is_in_milliseconds_and_goes_on() {
        let before = ms(monotonic());
        std::thread::sleep(Duration::from_millis(20));
        let passed = ms(monotonic()) - before;
        assert!((19..60_000).contains(&passed), "{passed}");
    }
}
