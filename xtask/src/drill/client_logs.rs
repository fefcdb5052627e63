//! The logs of a drill's clients, read once at its end.

use ledger::judge::Claim;
use ledger::lines::{ConsumerStart, ConsumerState, Gap, ProducerState, Reason};

use crate::drill::client::{ClientProcess, Fate};
use crate::drill::load::{Load, number};
use crate::drill::moves::Target;
use crate::drill::observations::{ByPartition, ClientEnd, ConsumerRead};
use crate::drill::timing;
use crate::tools::clients;

/// What the logs of all client processes hold.
#[derive(Debug, Default)]
pub struct ClientLogs {
    /// The claim of each producer process.
    pub claims: Vec<Claim>,
    /// The number of producer processes that left no line although the drill did not kill them.
    pub wordless: u64,
    /// The last state of each consumer process.
    pub witnesses: Vec<ConsumerState>,
    /// The end of each client process.
    pub ends: Vec<ClientEnd>,
    /// What each consumer process read.
    pub readers: Vec<ConsumerRead>,
    /// Every gap that a client reported.
    pub gaps: Vec<Gap>,
}

impl ClientLogs {
    /// Reads the logs of a load that is over.
    pub fn read(load: &Load) -> Self {
        let mut logs = ClientLogs::default();
        for client in &load.producers {
            logs.producer(client, load.without.ledger);
        }
        for client in &load.consumers {
            logs.consumer(client);
        }
        logs
    }

    fn producer(&mut self, client: &ClientProcess, cut: bool) {
        let log = client.log_text();
        match client.claim(&log, cut) {
            Some(claim) => self.claims.push(claim),
            // It sent nothing before its first line.
            None if client.fate == Fate::Killed => {}
            None => self.wordless += 1,
        }
        let state: Option<ProducerState> = clients::last(&log);
        self.end(client, Target::Producer, state.and_then(|state| state.reason));
        self.gaps.extend(timing::gaps(&log));
    }

    fn consumer(&mut self, client: &ClientProcess) {
        let log = client.log_text();
        let state: Option<ConsumerState> = clients::last(&log);
        self.end(client, Target::Consumer, state.as_ref().and_then(|state| state.reason));
        self.readers.push(reader(clients::lines(&log).pop(), state.as_ref()));
        self.witnesses.extend(state);
        self.gaps.extend(timing::gaps(&log));
    }

    fn end(&mut self, client: &ClientProcess, target: Target, reason: Option<Reason>) {
        self.ends.push(ClientEnd { target, asked: client.fate == (Fate::Asked { in_time: true }), reason });
    }
}

fn reader(start: Option<ConsumerStart>, state: Option<&ConsumerState>) -> ConsumerRead {
    let offset = |offset: i64| u64::try_from(offset).unwrap_or_default();
    let rows = || state.iter().flat_map(|state| &state.partitions);
    // After hours, the start line is gone with the oldest log file.
    let mut from: ByPartition<u64> = rows().map(|row| (number(row.partition), offset(row.start))).collect();
    let spans = start.iter().flat_map(|start| &start.partitions);
    from.extend(spans.map(|span| (number(span.partition), offset(span.start))));
    ConsumerRead { from, received: rows().map(|row| (number(row.partition), row.counts.received)).collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ledger::lines::CONSUMER;
    use ledger::stamp::RunId;

    use super::*;
    use crate::drill::control::Without;
    use crate::drill::outcome::Peaks;
    use crate::local::process::Identity;

    /// A client of a drill with this log and this fate.
    fn client(name: &str, said: &str, fate: Fate) -> ClientProcess {
        let log = std::env::temp_dir().join(format!("kafka-lab-words-{}-{name}.log", std::process::id()));
        std::fs::write(&log, said).unwrap();
        let (state_file, started) = (log.with_extension("state"), Instant::now());
        let identity = Identity { pid: u32::MAX, start_ticks: 0, boot: String::new() };
        ClientProcess { name: name.into(), log, state_file, started, identity, fate }
    }

    #[test]
    fn every_client_has_its_end_and_only_one_that_was_killed_may_leave_no_line() {
        let row = r#""partition":0,"next":9,"end":null,"low":0,"high":9,"records":9,"received":7,"missing":0,"duplicate":0,"out_of_order":0,"corrupt":0,"misrouted":0,"other_runs":0,"foreign":0,"redelivered":0,"offset_gaps":0,"start_moved":false,"folded_streams":0,"log_restarts":0"#;
        let totals = r#"{"records":9,"received":7,"missing":0,"duplicate":0,"out_of_order":0,"corrupt":0,"misrouted":0,"other_runs":0,"foreign":0,"redelivered":0}"#;
        let state = format!(
            r#"{{"schema":"{CONSUMER}","event":"end","time_ms":9000,"elapsed_ms":4000,"run":null,"reason":"signal","totals":{totals},"partitions":[{{"start":3,{row}}}],"streams":[]}}"#
        );
        let gap = r#"{"schema":"kafka-lab.gap/1","what":"received","partition":0,"from_ms":5,"to_ms":905}"#;
        let run = RunId::random();
        let asked = Fate::Asked { in_time: true };
        let load = Load {
            run,
            topic: "t".into(),
            rate: 1,
            flags: &[],
            before: Vec::new(),
            producers: vec![client("p1", "", Fate::Killed), client("p2", "remark\n", Fate::ByItself)],
            consumers: vec![client("c1", &format!("{gap}\n{state}\n"), asked), client("c2", "", Fate::Killed)],
            peaks: Peaks::default(),
            without: Without::default(),
        };
        let logs = ClientLogs::read(&load);
        assert_eq!((logs.claims.len(), logs.wordless), (0, 1), "p1 sent nothing; p2 owes a line");
        assert_eq!((logs.witnesses.len(), logs.gaps.len()), (1, 1));
        let ends = logs.ends.iter().map(|end| (end.target, end.asked, end.reason)).collect::<Vec<_>>();
        let (producer, consumer) = ((Target::Producer, false, None), (Target::Consumer, false, None));
        assert_eq!(ends, [producer, producer, (Target::Consumer, true, Some(Reason::Signal)), consumer]);
        let read = ConsumerRead { from: [(0, 3)].into(), received: [(0, 7)].into() };
        assert_eq!(logs.readers, [read, ConsumerRead::default()], "without its start line, its state has the start");
        for client in load.producers.iter().chain(&load.consumers) {
            std::fs::remove_file(&client.log).unwrap();
        }
    }
}
