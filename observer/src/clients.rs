//! What the clients say: their counts, from the state files that they replace each second; and, for the clients of a
//! drill, the gaps in their logs.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ledger::lines::{CONSUMER, ConsumerState, GAP, Gap, Milestone, PRODUCER, ProducerState, StateEvent};

use crate::event::{Counts, Event, Role};
use crate::journal::{DrillBegun, ms};
use crate::tail::Tail;

/// Limit of a state file, in bytes. The clients keep it to some 1.5 MB.
const STATE_MAX: u64 = 16 * 1024 * 1024;

/// The shortest gap that is told, in ms. On a busy machine there are shorter ones all the time.
const GAP_LEAST_MS: u64 = 500;

/// A client whose state file is read.
#[derive(Debug)]
pub struct Client {
    name: String,
    topic: String,
    path: PathBuf,
    last: Option<Event>,
    log: Option<Tail>,
}

impl Client {
    /// A client of which nothing has been read yet.
    pub fn new(name: String, topic: String, path: PathBuf) -> Self {
        Client { name, topic, path, last: None, log: None }
    }

    /// A client of a drill, by its state file. Its log is beside it.
    fn of_drill(drill: &DrillBegun, path: PathBuf) -> Option<Self> {
        let name = path.file_stem()?.to_str()?.to_owned();
        let log = Some(Tail::new(path.with_extension("log")));
        Some(Client { log, ..Client::new(name, drill.topic.clone(), path) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads its state and returns the event if that changed.
    pub fn look(&mut self) -> Option<Event> {
        let (client, topic) = (self.name.clone(), self.topic.clone());
        let event = match counts(&self.path) {
            Ok(counts) => Event::Client { client, topic, counts },
            Err(why) => Event::ClientUnknown { client, topic, why },
        };
        if self.last.as_ref() == Some(&event) {
            return None;
        }
        self.last = Some(event.clone());
        Some(event)
    }

    /// Returns the gaps that it has reported since the last call.
    fn gaps(&mut self) -> Vec<Event> {
        let lines = self.log.as_mut().and_then(|log| log.lines().ok()).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms);
        let ours = lines.iter().filter(|line| line.contains(GAP));
        let gaps = ours.filter_map(|line| serde_json::from_str::<Gap>(line).ok());
        let gaps = gaps.filter(|gap| gap.to_ms.saturating_sub(gap.from_ms) >= GAP_LEAST_MS);
        gaps.map(|gap| Event::Gap {
            client: self.name.clone(),
            topic: self.topic.clone(),
            role: if gap.what == Milestone::Acked { Role::Producer } else { Role::Consumer },
            partition: gap.partition,
            ago_ms: now.saturating_sub(gap.to_ms),
            gap_ms: gap.to_ms.saturating_sub(gap.from_ms),
        })
        .collect()
    }
}

/// The clients of a drill: those whose state files have appeared in its folder.
#[derive(Debug)]
pub struct DrillClients {
    drill: DrillBegun,
    known: Vec<Client>,
}

impl DrillClients {
    /// The clients of a drill that begins.
    pub fn new(drill: DrillBegun) -> Self {
        DrillClients { drill, known: Vec::new() }
    }

    /// The drill's topic.
    pub fn topic(&self) -> &str {
        &self.drill.topic
    }

    /// Returns what is new: gaps, and counts that changed.
    pub fn look(&mut self) -> Vec<Event> {
        let entries = std::fs::read_dir(&self.drill.clients).into_iter().flatten().flatten();
        let mut states: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|is| is == "state")).collect();
        states.sort();
        for state in states {
            if !self.known.iter().any(|client| client.path == state) {
                self.known.extend(Client::of_drill(&self.drill, state));
            }
        }
        let of = |client: &mut Client| client.gaps().into_iter().chain(client.look()).collect::<Vec<_>>();
        self.known.iter_mut().flat_map(of).collect()
    }
}

fn counts(path: &Path) -> Result<Counts, String> {
    let why = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "it has written no state".to_owned(),
        _ => format!("cannot read {}: {}", path.display(), ledger::cause::in_words(error)),
    };
    // A FIFO in its place would block the open, and has no length.
    if !std::fs::symlink_metadata(path).map_err(why)?.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(STATE_MAX).read_to_string(&mut text)).map_err(why)?;
    parse(&text).ok_or_else(|| format!("{} is not a client's state", path.display()))
}

/// Parses the line of a state file.
fn parse(text: &str) -> Option<Counts> {
    #[derive(serde::Deserialize)]
    struct Named {
        schema: String,
    }
    let named: Named = serde_json::from_str(text).ok()?;
    match named.schema.as_str() {
        PRODUCER => {
            let state: ProducerState = serde_json::from_str(text).ok()?;
            Some(Counts::Producer {
                run: state.run.to_string(),
                ended: state.event == StateEvent::End,
                partitions: state.partitions.iter().map(|one| (one.partition, one.sent, one.acked)).collect(),
                not_persisted: state.totals.not_persisted,
                unknown: state.totals.unknown,
            })
        }
        CONSUMER => {
            let state: ConsumerState = serde_json::from_str(text).ok()?;
            Some(Counts::Consumer {
                ended: state.event == StateEvent::End,
                partitions: state.partitions.iter().map(|one| (one.partition, one.counts.received, one.next)).collect(),
                missing: state.totals.missing,
                duplicate: state.totals.duplicate,
                out_of_order: state.totals.out_of_order,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_state_is_told_once_and_never_waited_for() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-observer-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("state.json");
        let mut client = Client::new("producer".into(), "test".into(), file.clone());
        let why = |event: Option<Event>| match event {
            Some(Event::ClientUnknown { client, why, .. }) if client == "producer" => Some(why),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(client.look()).unwrap(), "it has written no state");
        assert_eq!(why(client.look()), None);
        std::fs::write(&file, format!(r#"{{"schema":"{PRODUCER}","event":"start"}}"#)).unwrap();
        assert!(why(client.look()).unwrap().ends_with("state.json is not a client's state"));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(why(client.look()).unwrap().ends_with("state.json is not a regular file"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
