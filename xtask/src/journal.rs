//! The journal of a lab: what its commands do, as lines in a file of its state folder. `record` and the page read it.
//!
//! Each line has an event or a result as `--format json` prints it, and when it happened. A journal that cannot be
//! written fails no command: it is a remark.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ledger::lines::{JOURNAL, JournalEntry};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::config::Lab;
use crate::events::{Event, Listener};
use crate::files::is_ours;
use crate::files::own::append_own;
use crate::show::json::EventLine;
use crate::show::tell;
use crate::state::{FORMER_JOURNAL_FILE, JOURNAL_FILE, read_record};

/// A command that begins with a larger journal begins another one, in bytes.
const SIZE_MAX: u64 = 2 * 1024 * 1024;

/// How many lines wait for a state folder that is not there yet.
const WAITING_MAX: usize = 1_000;

/// The journal of a command.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<Writer>>);

struct Writer {
    command: String,
    lab: String,
    state: PathBuf,
    file: Option<File>,
    waiting: Vec<u8>,
    lines_waiting: usize,
    failed: bool,
}

impl Journal {
    /// The journal of `command` on a lab. Nothing is written before the lab has its record.
    pub fn of(command: &str, lab: &Lab) -> Self {
        Journal(Arc::new(Mutex::new(Writer {
            command: command.into(),
            lab: lab.name.clone(),
            state: lab.state.clone(),
            file: None,
            waiting: Vec::new(),
            lines_waiting: 0,
            failed: false,
        })))
    }

    /// Adds a result: a line of docs/schema/xtask.json.
    pub fn add(&self, result: &impl Serialize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(result);
    }
}

impl Listener for Journal {
    fn on_event(&mut self, event: &Event) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (command, lab) = (writer.command.clone(), writer.lab.clone());
        writer.add(&EventLine::new(&command, &lab, event));
    }
}

impl Writer {
    fn add(&mut self, line: &impl Serialize) {
        let clock = clock_gettime(ClockId::Monotonic);
        let clock_ms = (clock.tv_sec * 1000 + clock.tv_nsec / 1_000_000).unsigned_abs();
        let entry = JournalEntry { schema: JOURNAL.into(), clock_ms, command: self.command.clone(), line };
        let Ok(mut bytes) = serde_json::to_vec(&entry) else { return };
        bytes.push(b'\n');
        if let Err(error) = self.write(&bytes)
            && !std::mem::replace(&mut self.failed, true)
        {
            let file = self.state.join(JOURNAL_FILE);
            tell(&format!(
                "remark: cannot write {}: {error}; recordings will not tell all of this command",
                file.display()
            ));
        }
    }

    /// Writes what waits and `bytes`, whole lines at a time: other commands write too.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Whoever removed the file may have removed the lab.
        if self.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|meta| meta.nlink() == 0)) {
            self.file = None;
        }
        if self.file.is_none() {
            if !(is_ours(&self.state) && matches!(read_record(&self.state), Ok(Some(_)))) {
                if self.lines_waiting < WAITING_MAX {
                    self.waiting.extend_from_slice(bytes);
                    self.lines_waiting += 1;
                }
                return Ok(());
            }
            self.file = Some(open(&self.state)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut lines = std::mem::take(&mut self.waiting);
        lines.extend_from_slice(bytes);
        file.write_all(&lines)
    }
}

/// Opens the journal in a state folder; a large one becomes the former one.
fn open(state: &Path) -> io::Result<File> {
    let path = state.join(JOURNAL_FILE);
    let file = append_own(&path)?;
    if file.metadata()?.len() <= SIZE_MAX {
        return Ok(file);
    }
    std::fs::rename(&path, state.join(FORMER_JOURNAL_FILE))?;
    append_own(&path)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::sample;
    use crate::state::tests::record;
    use crate::state::write_record;

    #[test]
    fn lines_wait_for_the_record_and_a_large_journal_makes_room() {
        let state = std::env::temp_dir().join(format!("kafka-lab-journal-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&state);
        let lab = Lab { state: state.clone(), ..sample::lab() };
        let lines = || -> Vec<Value> {
            let text = std::fs::read_to_string(state.join(JOURNAL_FILE)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let mut journal = Journal::of("up", &lab);
        journal.on_event(&Event::PlanBegun { steps: vec!["preflight".into()] });
        std::fs::create_dir(&state).unwrap();
        journal.on_event(&Event::Note { text: "one".into() });
        assert!(!state.join(JOURNAL_FILE).exists(), "the folder may be somebody else's");
        write_record(&state, &record()).unwrap();
        journal.add(&serde_json::json!({"schema": "kafka-lab.report/1", "exit": 0}));
        let now = lines();
        let told = now.iter().map(|line| (&line["command"], &line["line"]["event"], &line["line"]["exit"]));
        let up = &Value::from("up");
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (up, &"plan_begun".into(), &Value::Null),
                (up, &"note".into(), &Value::Null),
                (up, &Value::Null, &0.into())
            ]
        );
        assert!(now.is_sorted_by_key(|line| line["clock_ms"].as_u64().unwrap()));
        assert!(now.iter().all(|line| line["schema"] == JOURNAL));

        std::fs::write(state.join(JOURNAL_FILE), vec![b'\n'; usize::try_from(SIZE_MAX).unwrap() + 1]).unwrap();
        Journal::of("verify", &lab).on_event(&Event::Note { text: "two".into() });
        assert_eq!((lines().len(), state.join(FORMER_JOURNAL_FILE).exists()), (1, true));

        // A lab that is removed meanwhile does not come back.
        std::fs::remove_dir_all(&state).unwrap();
        journal.on_event(&Event::Note { text: "three".into() });
        assert!(!state.exists());
    }
}
