//! A pass is a proof: what happens to the log of a running lab is told as what it is, on real brokers.

use std::path::PathBuf;

use ledger::judge::{HowEnded, Kind, Verdict};
use ledger::lines::{ConsumerState, Explained};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::common::clients::{Clients, judged, positions};
use crate::common::lab::Lab;
use crate::common::others::Others;
use crate::common::report::Report;
use crate::common::wait_for;

/// What the lab's own consumer last wrote down.
fn consumer(lab: &Lab) -> ConsumerState {
    let path = lab.folder().join("consumer/state.json");
    wait_for("the consumer's first state", 30, || path.exists());
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The kinds of findings that `verify` has of the running clients, each once, in order.
fn found(verified: &Report) -> Vec<String> {
    let failure = &verified.step("account")["failure"];
    let findings = failure["evidence"][0]["findings"].as_array().unwrap();
    let mut kinds: Vec<String> = findings.iter().map(|found| found["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn start_anew(lab: &Lab) {
    lab.run(&["clients", "stop"]).expect(0);
    lab.up(&[]);
}

/// Transactions come and go, and records of ours are typed again, whole and cut: all of it is counted, and nothing of
/// it is a fault.
fn what_others_do_is_theirs(lab: &Lab, others: &Others) {
    let mut transactions = others.command(&["transactions", "test", "4", "60"]).spawn().unwrap();
    wait_for("a marker in each partition", 60, || consumer(lab).partitions.iter().all(|row| row.offset_gaps > 0));
    let verified = lab.verify(0);
    assert!(transactions.try_wait().unwrap().is_none(), "no transaction was under way");
    transactions.kill().unwrap();
    transactions.wait().unwrap();
    let rows = verified.step("flow")["flow"]["partitions"].as_array().unwrap().clone();
    let count = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert!(count("markers") > 0 && count("others") > 0, "{rows:?}");
    for row in &rows {
        let number = |name: &str| row[name].as_u64().unwrap();
        assert_eq!(number("records") + number("markers"), number("end") - number("start"), "{row}");
    }

    others.run(&["again", "test", "5"]);
    wait_for("what was typed again", 30, || consumer(lab).totals.copied >= 15);
    let totals = consumer(lab).totals;
    assert_eq!((totals.copied, totals.duplicate, totals.corrupt, totals.misrouted), (15, 0, 0, 0), "{totals:?}");
    lab.verify(0);
}

/// Of a compacted topic every offset without a record is explained, whichever way its batches are written.
fn compaction_is_explained(clients: &Clients, others: &Others) {
    let settings = ["cleanup.policy=compact", "segment.ms=500", "min.cleanable.dirty.ratio=0.001"];
    for codec in ["none", "zstd"] {
        let topic = format!("compacted-{codec}");
        others.run(&[&["topic", &topic, "1", "3"][..], &settings].concat());
        others.run(&["keys", &topic, codec]);
        let read = || -> ConsumerState {
            let end = positions(&clients.ends_of(&topic));
            let args = ["consumer", "--topic", &topic, "--run", "none", "--start", "0:0", "--end", &end];
            let said = clients.run("compacted", &[&args[..], &["--format", "json"]].concat());
            serde_json::from_str(said.lines().last().unwrap()).unwrap()
        };
        wait_for("compaction", 60, || read().partitions[0].offset_gaps > 500);
        let row = &read().partitions[0];
        assert_eq!(row.explained, Some(Explained { compacted: row.offset_gaps, ..Explained::default() }), "{row:?}");
    }
}

/// Records that go before the consumer has read them are not missing, and nobody can say more: exit code 7.
fn what_retention_takes_is_not_missing(lab: &Lab, clients: &Clients, others: &Others) {
    let stopped = lab.pid("consumer");
    kill_process(stopped, Signal::STOP).unwrap();
    let read = consumer(lab);
    let next = read.partitions.iter().map(|row| row.next).max().unwrap();
    wait_for("more records", 60, || clients.ends().iter().all(|(_, end)| *end > next + 500));
    others.run(&["delete", "test", "4", &(next + 400).to_string()]);
    kill_process(stopped, Signal::CONT).unwrap();
    wait_for("the consumer to go on", 30, || consumer(lab).partitions.iter().all(|row| row.start_moved));
    let verified = lab.verify(7);
    assert_eq!(found(&verified), ["start_moved"]);
    for row in consumer(lab).partitions {
        let taken = next + 400 - read.partitions[usize::try_from(row.partition).unwrap()].next;
        // It may have had some in its queue.
        assert!(row.retired > 0 && row.retired <= taken.unsigned_abs(), "{row:?}");
        assert_eq!((row.counts.missing, row.log_restarts, row.log_truncations), (0, 0, 0), "{row:?}");
    }
    start_anew(lab);
    lab.verify(0);
}

/// The topic is deleted under the clients, and the producer makes it again: all that was acknowledged before is gone,
/// and `verify` says so.
fn a_topic_that_was_deleted_is_missed(lab: &Lab) {
    wait_for("messages in the topic", 30, || consumer(lab).totals.received > 2000);
    lab.run(&["kafka-topics", "--", "--delete", "--topic", "test"]).expect(0);
    wait_for("the new topic", 60, || {
        consumer(lab).partitions.iter().all(|row| row.log_restarts > 0 && row.counts.received > 100)
    });
    let verified = lab.verify(5);
    assert_eq!(found(&verified), ["log_restarted", "missing", "topic_recreated"]);
    let standing = &verified.step("account")["failure"]["evidence"][0];
    let missing = |row: &Value| row["missing"].as_u64().unwrap();
    assert!(standing["partitions"].as_array().unwrap().iter().all(|row| missing(row) > 0), "{standing}");
    start_anew(lab);
    lab.verify(0);
}

/// The only replica of a partition is cut back while its consumer stands still, and refilled by others beyond where
/// that was: KIP-320 tells it, and the account is of the log as it is.
fn a_log_that_was_cut_back_is_told(lab: &Lab, clients: &Clients) {
    let create = ["--create", "--topic", "cut", "--replica-assignment", "1", "--config", "min.insync.replicas=1"];
    lab.run(&[&["kafka-topics", "--"][..], &create].concat()).expect(0);
    // Four batches: a log is cut back to the end of one.
    let producer = ["producer", "--topic", "cut", "--format", "json", "--rate", "0", "--value-size", "1000", "--count"];
    clients.run("sent", &[&producer[..], &["2000", "--run", "cut"]].concat());
    let mut reading =
        clients.start("reading", &["consumer", "--topic", "cut", "--run", "cut", "--start", "0:0", "--format", "json"]);
    let state = || -> ConsumerState { serde_json::from_str(clients.said("reading").lines().last().unwrap()).unwrap() };
    wait_for("the run to be read", 30, || {
        clients.said("reading").contains("checkpoint") && state().totals.received == 2000
    });
    let stopped = rustix::process::Pid::from_child(&reading);
    kill_process(stopped, Signal::STOP).unwrap();

    lab.kill("kafka-1");
    let folder: PathBuf = lab.folder().join("kafka-1/data/cut-0");
    let segment = folder.join("00000000000000000000.log");
    let length = std::fs::metadata(&segment).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length * 7 / 10).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        if entry.path().extension().is_some_and(|end| end == "index" || end == "timeindex" || end == "snapshot") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    lab.up(&[]);
    let left = clients.ends_of("cut")[0].1;
    assert!(left > 0 && left < 2000, "{left}");
    clients.run("refill", &[&producer[..], &["2000", "--run", "others"]].concat());
    kill_process(stopped, Signal::CONT).unwrap();
    wait_for("all of it to be read again", 60, || state().partitions[0].next == left + 2000);
    kill_process(stopped, Signal::TERM).unwrap();
    reading.wait().unwrap();

    let state = state();
    let row = &state.partitions[0];
    assert_eq!((row.log_truncations, row.log_restarts, row.counts.duplicate), (1, 0, 0), "{row:?}");
    assert_eq!((row.counts.received, row.counts.other_runs), (left.unsigned_abs(), 2000), "{row:?}");
    let claims = [clients.claim("sent", HowEnded::ByItself)];
    let report = judged("cut", [&[(0, 0)], &[(0, left + 2000)]], &claims, &state);
    let kinds: Vec<(Kind, u64)> = report.findings.iter().map(|found| (found.kind, found.count)).collect();
    let missing = (2000 - left).unsigned_abs();
    assert_eq!((report.verdict, kinds), (Verdict::Fail, vec![(Kind::LogTruncated, 1), (Kind::Missing, missing)]));
    assert_eq!(report.evidence[0].missing.intervals(), [(left.unsigned_abs(), 2000)]);
}

#[test]
fn what_happens_to_the_log_is_told_as_what_it_is() {
    let lab = Lab::new("proof");
    lab.up(&[]);
    let (clients, others) = (Clients::of(&lab), Others::of(&lab));
    what_others_do_is_theirs(&lab, &others);
    compaction_is_explained(&clients, &others);
    what_retention_takes_is_not_missing(&lab, &clients, &others);
    a_topic_that_was_deleted_is_missed(&lab);
    a_log_that_was_cut_back_is_told(&lab, &clients);
    lab.teardown();
}
