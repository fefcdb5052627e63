//! Events as JSON lines.

use std::io::Write;

use serde::Serialize;

use crate::events::{Event, Listener};

/// The schema of events' lines.
const SCHEMA: &str = "kafka-lab.event/1";

/// An event as a line.
#[derive(Serialize)]
struct EventLine<'a> {
    schema: &'static str,
    command: &'a str,
    lab: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// Writes each event as a line.
pub struct Json {
    command: String,
    lab: String,
    out: Box<dyn Write + Send>,
}

impl Json {
    /// Of one command on one lab, to `out`.
    pub fn new(command: &str, lab: &str, out: Box<dyn Write + Send>) -> Self {
        Json { command: command.into(), lab: lab.into(), out }
    }
}

impl Listener for Json {
    fn hear(&mut self, event: &Event) {
        let line = EventLine { schema: SCHEMA, command: &self.command, lab: &self.lab, event };
        write(&mut self.out, &line);
    }
}

/// Writes a value as one line. A reader that went away is its own affair.
pub fn write(out: &mut impl Write, value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        let _ = writeln!(out, "{line}");
    }
}
