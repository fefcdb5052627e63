//! The clients at their edges, on a real lab: what others write, the largest values, the smallest topics, many
//! partitions, nobody who reads.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ledger::lines::{ConsumerState, ProducerState, Reason};
use ledger::size::{VALUE_SIZE_MAX, longest_value};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::clients::{Clients, positions};
use crate::common::lab::Lab;
use crate::common::others::Others;
use crate::common::wait_for;

/// The most memory that a client may come to take, in KiB.
const MEMORY_KIB: u64 = 64 * 1024;

/// The last line that a client has printed.
/// The last line of this kind. One that is just being written is not whole yet.
fn last<T: serde::de::DeserializeOwned>(said: &str) -> T {
    said.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap()
}

fn read_all(clients: &Clients, topic: &str) -> ConsumerState {
    let end = positions(&clients.ends_of(topic));
    let args = ["consumer", "--topic", topic, "--end", &end, "--format", "json", "--idle-timeout", "60"];
    last(&clients.run("read", &args))
}

/// Whatever their producers compressed with, and however large their batches: records of others are counted, and passed
/// by.
fn records_of_others_are_read(clients: &Clients, others: &Others) {
    others.run(&["topic", "others", "4", "1", "max.message.bytes=11000000", "min.insync.replicas=1"]);
    others.run(&["codecs", "others", "4"]);
    others.run(&["large", "others", "4"]);
    clients.run("between", &["producer", "--topic", "others", "--rate", "0", "--count", "4000", "--value-size", "100"]);
    others.run(&["large", "others", "4"]);
    let state = read_all(clients, "others");
    assert_eq!((state.totals.foreign, state.totals.received), (4 * (5 * 100 + 2 * 10), 4000), "{state:?}");
    assert!(state.partitions.iter().all(|row| row.stuck.is_none() && row.counts.foreign == 520), "{state:?}");
}

/// A transaction that is open hides nothing: end offsets are those of the log.
fn an_open_transaction_does_not_move_the_end(clients: &Clients, others: &Others) {
    others.run(&["topic", "open", "4", "3"]);
    let mut transaction = others.command(&["open", "open", "4"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for("a record in each partition", 60, || clients.ends_of("open").iter().all(|(_, end)| *end == 1));
    clients.run("behind", &["producer", "--topic", "open", "--rate", "0", "--count", "400", "--value-size", "100"]);
    assert_eq!(clients.ends_of("open"), [(0, 101), (1, 101), (2, 101), (3, 101)]);
    assert!(transaction.try_wait().unwrap().is_none(), "it is not open any more");
    let state = read_all(clients, "open");
    assert_eq!((state.totals.received, state.totals.foreign), (400, 4), "{state:?}");
    transaction.kill().unwrap();
    transaction.wait().unwrap();
}

/// The longest value fits to the byte, and a topic that takes less gets batches that it takes.
fn no_batch_is_larger_than_the_topic_takes(clients: &Clients, others: &Others) {
    let size = VALUE_SIZE_MAX.to_string();
    let sent = clients.run("longest", &["producer", "--rate", "0", "--count", "8", "--value-size", &size]);
    assert!(sent.contains("8 messages published of 8 sent"), "{sent}");

    others.run(&["topic", "narrow", "4", "3", "max.message.bytes=2000"]);
    let producer = ["producer", "--topic", "narrow", "--format", "json", "--rate"];
    let state: ProducerState =
        last(&clients.run("narrow", &[&producer[..], &["0", "--count", "20000", "--value-size", "100"]].concat()));
    assert_eq!((state.totals.acked, state.errors.len()), (20_000, 0), "{state:?}");

    // To the byte here too; the next byte is refused before anything is sent.
    let (fits, above) = (longest_value(2000).to_string(), (longest_value(2000) + 1).to_string());
    let args = ["20", "--count", "40", "--value-size"];
    let state: ProducerState = last(&clients.run("fits", &[&producer[..], &args, &[&fits]].concat()));
    assert_eq!(state.totals.acked, 40, "{state:?}");
    let mut refused = clients.start("above", &[&producer[..], &args, &[&above]].concat());
    assert_eq!(ended(&mut refused, Duration::from_secs(20)), Some(1));
    let state: ProducerState = last(&clients.said("above"));
    assert_eq!((state.reason, state.totals.sent), (Some(Reason::Error), 0), "{state:?}");

    // Brokers that take one byte less from now on refuse it themselves, and then it ends too.
    let mut refused = clients.start("lowered", &[&producer[..], &["20", "--value-size", &fits]].concat());
    wait_for("acknowledged messages", 30, || clients.said("lowered").contains("\"event\":\"checkpoint\""));
    others.run(&["set", "narrow", "max.message.bytes=1999"]);
    assert_eq!(ended(&mut refused, Duration::from_secs(30)), Some(1));
    let state: ProducerState = last(&clients.said("lowered"));
    assert_eq!(state.reason, Some(Reason::Error), "{state:?}");
    assert_eq!(state.errors.keys().collect::<Vec<_>>(), ["MSG_SIZE_TOO_LARGE"], "{state:?}");
    assert!(state.totals.acked > 0 && state.totals.unknown == 0, "{state:?}");

    // A batch of many is made smaller, and it goes on.
    others.run(&["set", "narrow", "max.message.bytes=100000"]);
    let args = ["2000", "--value-size", "100"];
    let mut shrinking = clients.start("shrinking", &[&producer[..], &args].concat());
    wait_for("acknowledged messages", 30, || clients.said("shrinking").contains("\"event\":\"checkpoint\""));
    others.run(&["set", "narrow", "max.message.bytes=400"]);
    wait_for("a refused batch", 30, || clients.said("shrinking").contains("MSG_SIZE_TOO_LARGE"));
    let refused: ProducerState = last(&clients.said("shrinking"));
    wait_for("smaller batches", 60, || {
        let state: ProducerState = last(&clients.said("shrinking"));
        state.totals.acked > refused.totals.acked + 500
    });
    kill_process(Pid::from_child(&shrinking), Signal::TERM).unwrap();
    assert_eq!(ended(&mut shrinking, Duration::from_secs(60)), Some(1), "what was refused is told");
    let state: ProducerState = last(&clients.said("shrinking"));
    assert_eq!(state.reason, Some(Reason::Signal), "{state:?}");
    assert!(state.totals.not_persisted > 0 && state.totals.unknown == 0, "{state:?}");
}

/// Handles of librdkafka come and go within an epoch, and each stream is one: nothing is lost, twice or out of order.
fn a_renewed_handle_goes_on_where_the_former_ended(clients: &Clients, others: &Others) {
    others.run(&["topic", "renewed", "4", "3"]);
    let args = ["producer", "--topic", "renewed", "--rate", "4000", "--count", "20000", "--renew-after", "1"];
    let said = clients.run("renewed", &args);
    assert!(said.matches("going on with a new librdkafka handle").count() >= 2, "{said}");
    assert!(said.contains("20000 messages published of 20000 sent"), "{said}");
    let state = read_all(clients, "renewed");
    let streams: Vec<_> = state.streams.iter().map(|s| (s.partition, s.epoch, s.first, s.next)).collect();
    assert_eq!(streams, [0, 1, 2, 3].map(|partition| (partition, 0, 0, 5000)), "{state:?}");
    let totals = &state.totals;
    assert_eq!((totals.missing, totals.duplicate, totals.out_of_order), (0, 0, 0), "{state:?}");
}

/// A batch that cannot be read is told of as long as it cannot, and not any longer.
fn a_damaged_batch_is_told_of_until_it_is_mended(lab: &Lab, clients: &Clients, others: &Others) {
    others.run(&["topic", "damaged", "1", "1", "min.insync.replicas=1"]);
    // More than one batch.
    clients.run("sound", &["producer", "--topic", "damaged", "--rate", "0", "--count", "1000", "--value-size", "1000"]);
    let file = Path::new("data/damaged-0/00000000000000000000.log");
    let logs = (0..3).map(|broker| lab.folder().join(format!("kafka-{broker}")).join(file));
    let log = logs.into_iter().find(|path| path.exists()).unwrap();
    let log = std::fs::OpenOptions::new().read(true).write(true).open(log).unwrap();
    // The last byte of the last batch, which its checksum covers.
    let at = log.metadata().unwrap().len() - 1;
    let mut byte = [0];
    log.read_exact_at(&mut byte, at).unwrap();
    log.write_all_at(&[!byte[0]], at).unwrap();

    let mut reading = clients.start("damaged", &["consumer", "--topic", "damaged", "--format", "json"]);
    let state = || {
        let said = clients.said("damaged");
        said.lines().rev().find_map(|line| serde_json::from_str::<ConsumerState>(line).ok())
    };
    wait_for("the damage", 30, || {
        state().is_some_and(|state| state.partitions[0].stuck.as_deref() == Some("_BAD_MSG"))
    });
    log.write_all_at(&byte, at).unwrap();
    wait_for("all records", 30, || {
        state().is_some_and(|state| state.partitions[0].stuck.is_none() && state.totals.received == 1000)
    });
    kill_process(Pid::from_child(&reading), Signal::TERM).unwrap();
    assert_eq!(ended(&mut reading, Duration::from_secs(15)), Some(0));
}

/// A thousand partitions take no more memory than stated, also while nobody reads what a client prints; and it ends
/// when it is told to.
fn many_partitions_and_nobody_who_reads(clients: &Clients, others: &Others) {
    others.run(&["topic", "many", "1000", "1", "min.insync.replicas=1"]);
    let producer = ["producer", "--topic", "many", "--rate", "0", "--count"];
    let mut filling = clients.start("filling", &[&producer[..], &["400000", "--value-size", "100"]].concat());
    let peak = peak_until_it_ends(&mut filling);
    assert!(peak < MEMORY_KIB, "producer: {peak} KiB");
    let mut filling = clients.start("long", &[&producer[..], &["300", "--value-size", "1000000"]].concat());
    let peak = peak_until_it_ends(&mut filling);
    assert!(peak < MEMORY_KIB, "producer of long values: {peak} KiB");

    let end = positions(&clients.ends_of("many"));
    let mut reading = clients.start("reading", &["consumer", "--topic", "many", "--end", &end, "--format", "json"]);
    let peak = peak_until_it_ends(&mut reading);
    assert!(peak < MEMORY_KIB, "consumer: {peak} KiB");
    let state: ConsumerState = last(&clients.said("reading"));
    assert_eq!((state.totals.received, state.totals.missing), (400_300, 0));

    for args in [
        // The lines of these soon fill a pipe that nobody reads: of the first each second, of the others with each
        // message.
        ["consumer", "--topic", "many", "--format", "json"],
        ["consumer", "--topic", "many", "--verifiable", "--from=beginning"],
        ["producer", "--topic", "many", "--verifiable", "--rate=0"],
    ] {
        let mut child = clients.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        let mut peak = 0;
        while began.elapsed() < Duration::from_secs(10) {
            peak = peak.max(peak_kib(&child));
            std::thread::sleep(Duration::from_millis(100));
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let code = ended(&mut child, Duration::from_secs(15));
        assert!(peak > 0 && peak < MEMORY_KIB, "{args:?}: {peak} KiB");
        assert_eq!(code, Some(1), "{args:?}: a line that was not written is told");
    }
}

/// The most memory that a process has taken so far.
fn peak_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

fn peak_until_it_ends(child: &mut Child) -> u64 {
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_kib(child));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success() && peak > 0);
    peak
}

/// The exit code of a process that is to end by itself now.
fn ended(child: &mut Child, within: Duration) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < within {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("still running after {within:?}");
}

#[test]
fn the_clients_hold_at_their_edges() {
    let lab = Lab::new("edges");
    lab.up(&["--no-clients"]);
    let (clients, others) = (Clients::of(&lab), Others::of(&lab));
    records_of_others_are_read(&clients, &others);
    an_open_transaction_does_not_move_the_end(&clients, &others);
    no_batch_is_larger_than_the_topic_takes(&clients, &others);
    a_renewed_handle_goes_on_where_the_former_ended(&clients, &others);
    a_damaged_batch_is_told_of_until_it_is_mended(&lab, &clients, &others);
    many_partitions_and_nobody_who_reads(&clients, &others);
    lab.teardown();
}
