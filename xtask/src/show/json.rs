//! Shows events as JSON lines.

use std::io::Write;

use serde::Serialize;

use crate::events::{Event, Listener};

/// The schema of event lines.
const SCHEMA: &str = "kafka-lab.event/1";

/// An event as a line.
#[derive(Serialize)]
pub struct EventLine<'a> {
    schema: &'static str,
    command: &'a str,
    lab: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> EventLine<'a> {
    /// The line of an event of `command` on `lab`.
    pub fn new(command: &'a str, lab: &'a str, event: &'a Event) -> Self {
        EventLine { schema: SCHEMA, command, lab, event }
    }
}

/// Writes each event as a line.
pub struct Json {
    command: String,
    lab: String,
    out: Box<dyn Write + Send>,
}

impl Json {
    /// Writes the events of `command` on `lab` to `out`.
    pub fn new(command: &str, lab: &str, out: Box<dyn Write + Send>) -> Self {
        Json { command: command.into(), lab: lab.into(), out }
    }
}

impl Listener for Json {
    fn on_event(&mut self, event: &Event) {
        write(&mut self.out, &EventLine::new(&self.command, &self.lab, event));
    }
}

/// Writes a value as one line. A closed pipe is ignored.
pub fn write(out: &mut impl Write, value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        let _ = writeln!(out, "{line}");
    }
}

#[cfg(test)]
pub mod tests {
    use expect_test::expect;

    use super::*;
    use crate::show::tests::written;

    /// Returns a line of every kind.
    pub fn lines() -> String {
        written(|out| Box::new(Json::new("up", "kafka-lab", out)))
    }

    #[test]
    fn an_event_is_a_line() {
        expect![[r#"
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"plan_begun","steps":["preflight","kafka jars","clients build","caches","kafka image","zookeeper","kafka-0"]}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"started","number":1,"step":"preflight"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"finished","number":1,"step":"preflight","state":"passed","text":"nothing is missing","warnings":["Java 25: Kafka 3.3 documents 11 and 17"],"elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"started","number":2,"step":"kafka jars"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"status","number":2,"step":"kafka jars","text":"[INFO] Downloading","elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"started","number":3,"step":"clients build"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"started","number":4,"step":"caches"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"started","number":5,"step":"kafka image"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"finished","number":3,"step":"clients build","state":"changed","text":"target/release/clients","elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"finished","number":4,"step":"caches","state":"unchanged","text":"in the cache","elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"finished","number":5,"step":"kafka image","state":"not run","text":"stopped, because another step failed","elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"finished","number":2,"step":"kafka jars","state":"failed","text":"mvn exited with 1","elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"finished","number":6,"step":"zookeeper","state":"not run","text":"kafka jars did not succeed","elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"finished","number":7,"step":"kafka-0","state":"skipped","text":"there already, kept","elapsed_ms":1250}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"drill_begun","drill":"leader-kill","topic":"drill-1","promised":"all messages arrive, exactly once and in order","rate":200,"clients":"/state/logs/drills/drill-1"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"drill_move","drill":"leader-kill","text":"kill the leader of partition 0 (SIGKILL)"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"drill_mended","drill":"leader-kill"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"note","text":"diagnostics: /state/diagnostics"}
            {"schema":"kafka-lab.event/1","command":"up","lab":"kafka-lab","event":"plan_ended","exit":4,"elapsed_ms":2500}
        "#]].assert_eq(&lines());
    }
}
