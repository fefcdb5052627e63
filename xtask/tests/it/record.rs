//! Recordings of a real lab: what they say is what the brokers and the clients say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use schema::Schema;
use serde_json::Value;

use crate::common::clients::Clients;
use crate::common::lab::Lab;
use crate::common::{run, wait_for};

/// A recording that is being written. Dropping it ends it.
struct Recording {
    child: Child,
    file: PathBuf,
}

impl Recording {
    fn start(lab: &Lab, file: &Path) -> Self {
        let mut command = lab.command(&["record", "--out", file.to_str().unwrap()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let recording = Recording { child, file: file.into() };
        // The observer may have to be built first.
        wait_for("a recording", 300, || recording.file.exists() && !recording.lines().is_empty());
        recording
    }

    /// The lines so far, without one that is being written.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).unwrap();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn events(&self, event: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// The last line about each partition.
    fn partitions(&self) -> BTreeMap<i64, Value> {
        let of = |line: Value| (line["partition"].as_i64().unwrap(), line);
        self.events("partition").into_iter().map(of).collect()
    }

    fn answers(&self, broker: i64) -> Option<bool> {
        let of = |line: &Value| (line["broker"] == broker).then(|| line["answers"].as_bool()).flatten();
        self.events("broker").iter().filter_map(of).next_back()
    }

    fn controller(&self) -> Option<i64> {
        self.events("controller").last().and_then(|line| line["controller"].as_i64())
    }

    /// Signals xtask alone and returns all lines.
    fn end(mut self) -> Vec<Value> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.lines()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// Leader and ISR of each partition, as Kafka's own tool prints them.
fn described(lab: &Lab) -> BTreeMap<i64, (i64, Vec<i64>)> {
    let printed = lab.run(&["kafka-topics", "--", "--describe", "--topic", "test"]).expect(0).stdout;
    let rows = printed.lines().filter_map(|line| {
        let field = |name: &str| Some(line.split_once(name)?.1.split_whitespace().next()?.to_owned());
        let isr: Option<Vec<i64>> = field("Isr: ")?.split(',').map(|id| id.parse().ok()).collect();
        let mut isr = isr?;
        isr.sort_unstable();
        Some((field("Partition: ")?.parse().ok()?, (field("Leader: ")?.parse().ok()?, isr)))
    });
    rows.collect()
}

fn check(lines: &[Value]) {
    let schema = Schema::read("recording.json");
    lines.iter().for_each(|line| schema.expect(line));
    assert!(lines.is_sorted_by_key(|line| line["at_ms"].as_u64().unwrap()), "time goes back");
    assert_eq!((&lines[0]["event"], &lines[lines.len() - 1]["event"]), (&"begin".into(), &"end".into()));
}

#[test]
fn a_recording_tells_a_leader_kill_a_pause_and_what_the_ledger_counts() {
    let lab = Lab::new("record");
    lab.run(&["record"]).expect(6).says(&["is up", "cargo xtask up --name"]);
    lab.up(&[]);
    let file = lab.state.0.join("a film.jsonl");
    let recording = Recording::start(&lab, &file);
    wait_for("all partitions, brokers and clients", 60, || {
        recording.partitions().len() == 4
            && (0..3).all(|id| recording.answers(id) == Some(true))
            && recording.events("client").len() >= 2
    });
    let before = recording.partitions();
    assert!(before.values().all(|line| line["isr"].as_array().unwrap().len() == 3), "{before:?}");

    // A leader dies: its partitions move to a higher epoch, and it is told why it does not answer.
    let dies = before[&0]["leader"].as_i64().unwrap();
    lab.kill(&format!("kafka-{dies}"));
    wait_for("new leaders", 60, || {
        let now = recording.partitions();
        let moved = |line: &Value| line["leader"] != dies && !line["isr"].as_array().unwrap().contains(&dies.into());
        recording.answers(dies) == Some(false) && now.values().all(moved)
    });
    let after = recording.partitions();
    assert!(after[&0]["epoch"].as_i64() > before[&0]["epoch"].as_i64(), "{} {}", before[&0], after[&0]);
    let silent: Vec<Value> = recording.events("broker").into_iter().filter(|line| line["answers"] == false).collect();
    assert!(silent[0]["why"].as_str().unwrap().contains("onnection"), "{silent:?}");

    // It comes back, and the ISR is whole.
    lab.up(&[]);
    wait_for("a whole ISR", 60, || {
        let whole = |line: &Value| line["isr"].as_array().unwrap().len() == 3;
        recording.answers(dies) == Some(true) && recording.partitions().values().all(whole)
    });

    // The controller is paused: its session expires, another takes over, and what it says later changes nothing.
    let paused = recording.controller().unwrap();
    let pid = lab.pid(&format!("kafka-{paused}"));
    kill_process(pid, Signal::STOP).unwrap();
    wait_for("another controller", 60, || {
        recording.answers(paused) == Some(false) && recording.controller().is_some_and(|now| now != paused)
    });
    let reason = recording.events("broker").pop().unwrap();
    assert_eq!(reason["why"], "no answer within 1 s", "{reason}");
    kill_process(pid, Signal::CONT).unwrap();
    wait_for("the paused broker", 60, || recording.answers(paused) == Some(true));
    wait_for("a lab that passes again", 90, || lab.run(&["verify"]).code == 0);

    // At the end, everything that it says is what Kafka's own tool and the clients' own files say.
    lab.run(&["clients", "stop"]).expect(0);
    let described = described(&lab);
    wait_for("the tool's leaders and ISR", 30, || {
        let ids = |isr: &Value| isr.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect::<Vec<_>>();
        let of = |(id, line): (i64, Value)| (id, (line["leader"].as_i64().unwrap(), ids(&line["isr"])));
        recording.partitions().into_iter().map(of).collect::<BTreeMap<_, _>>() == described
    });
    let ends: BTreeMap<i64, i64> =
        Clients::of(&lab).ends().into_iter().map(|(partition, end)| (i64::from(partition), end)).collect();
    let of_tool = lab.run(&["kafka-topics", "--", "--describe", "--topic", "test"]).expect(0).stdout;
    let id = recording.events("topic")[0]["topic_id"].as_str().unwrap().to_owned();
    assert!(of_tool.contains(&format!("TopicId: {id}\t")), "{id}: {of_tool}");
    let recorded = || -> BTreeMap<i64, i64> {
        let events = recording.events("offsets");
        let rows = events.iter().flat_map(|line| line["partitions"].as_array().unwrap());
        rows.map(|row| (row[0].as_i64().unwrap(), row[2].as_i64().unwrap())).collect()
    };
    wait_for("the end offsets", 30, || recorded() == ends);
    let states = || -> BTreeMap<String, Value> {
        let events = recording.events("client").into_iter();
        events.map(|line| (line["role"].as_str().unwrap().to_owned(), line)).collect()
    };
    wait_for("both ends", 30, || states().values().filter(|line| line["ended"] == true).count() == 2);
    let states = states();
    for (role, count) in [("producer", "acked"), ("consumer", "received")] {
        let of_file = std::fs::read_to_string(lab.folder().join(role).join("state.json")).unwrap();
        let of_file: Value = serde_json::from_str(&of_file).unwrap();
        let rows = of_file["partitions"].as_array().unwrap().iter();
        let own: BTreeMap<_, _> = rows.map(|row| (row["partition"].as_i64(), row[count].as_i64())).collect();
        let rows = states[role]["partitions"].as_array().unwrap().iter();
        let place = if role == "producer" { 2 } else { 1 };
        let told: BTreeMap<_, _> = rows.map(|row| (row[0].as_i64(), row[place].as_i64())).collect();
        assert_eq!(own, told, "{role}");
    }
    let lines = recording.end();
    check(&lines);
    assert_eq!(lines[lines.len() - 1]["reason"], "signal");

    // A recording is never written over. One of a duration ends by itself, here on standard output.
    let bytes = std::fs::read(&file).unwrap();
    run(&mut lab.command(&["record", "--out", file.to_str().unwrap()])).expect(2).says(&["exists", "another name"]);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let short = lab.run(&["record", "--duration", "2"]).expect(0).stdout;
    let lines: Vec<Value> = short.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    check(&lines);
    assert_eq!(lines[lines.len() - 1]["reason"], "duration");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut unheard = lab.command(&["record", "--duration", "30"]);
    let unheard = unheard.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&unheard.stderr);
    assert_eq!(unheard.status.code(), Some(1), "{said}");
    assert!(said.contains("error: standard output could not be written: No space left on device\n"), "{said}");
    lab.teardown();
}
