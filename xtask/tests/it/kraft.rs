//! The local lab without ZooKeeper, end to end, with real controllers, brokers and clients.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::lab::Lab;
use crate::common::wait_for;

/// The process id in the record of a server.
fn pid(lab: &Lab, server: &str) -> Pid {
    let text = std::fs::read_to_string(lab.folder().join(server).join("process.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    Pid::from_raw(i32::try_from(record["identity"]["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

/// Flags that ask for another Kafka than the one that runs, or for what the mode does not have.
fn what_the_lab_is_not_is_refused(lab: &Lab) {
    for flags in [["--kafka", "3.9.2"], ["--mode", "zookeeper"]] {
        lab.run(&["up", "--backend", "local", flags[0], flags[1]])
            .expect(3)
            .says(&["is up with Kafka 4.3.1/kraft", "`cargo xtask teardown --name"]);
    }
    lab.run(&["up", "--kafka", "4.2.0"]).expect(2).says(&["--kafka 4.2.0: this lab does not run that", "--mode kraft"]);
    lab.run(&["zookeeper-shell", "--", "ls", "/"]).expect(2).says(&["has no ZooKeeper", "kafka metadata-quorum"]);
    lab.run(&["drill", "zookeeper-kill"]).expect(2).says(&["it breaks ZooKeeper, which KRaft does not have"]);
}

#[test]
fn kafka_4_without_zookeeper_is_brought_up_proven_struck_mended_and_removed() {
    let lab = Lab::in_folder("kraft", "kraft lab");
    let up = lab.up(&["--kafka", "4.3.1"]);
    assert_eq!(up.0["kafka"], "4.3.1/kraft");
    assert_eq!((up.0["controllers"].as_array().unwrap().len(), &up.0["zookeeper"]), (3, &Value::Null));
    for server in ["controller-0", "controller-1", "controller-2", "kafka-0", "kafka-1", "kafka-2"] {
        assert_eq!(up.state(server), "changed", "{server}");
    }
    let again = lab.up(&[]);
    for server in ["controller-0", "controller-2", "kafka-1"] {
        assert_eq!(again.state(server), "unchanged", "{server}");
    }
    let verified = lab.verify(0);
    assert!(verified.proof("quorum status").contains("voters 100, 101, 102"), "{}", verified.proof("quorum status"));
    assert!(verified.proof("quorum replication").starts_with("6 nodes"), "{}", verified.proof("quorum replication"));
    assert_eq!(verified.proof("unfenced brokers"), "brokers 0, 1, 2 are registered and unfenced");
    assert_eq!(verified.step("flow")["flow"]["verdict"], "pass");
    what_the_lab_is_not_is_refused(&lab);

    // A tool runs in the right place, by as much of its name as is needed.
    let status = lab.run(&["kafka", "meta", "--", "describe", "--status"]).expect(0).stdout;
    assert!(status.contains("CurrentVoters:"), "{status}");
    let leader = status.lines().find_map(|line| line.strip_prefix("LeaderId:")).unwrap().trim();
    let recorded = lab.run(&["record", "--duration", "3"]).expect(0).stdout;
    assert!(recorded.contains(&format!("\"event\":\"controller\",\"controller\":{leader},")), "{leader}: {recorded}");

    // Whichever controller dies, the other two lead; `verify` finds it, and `up` mends it with the data it had.
    let data = std::fs::read_to_string(lab.folder().join("controller-1/data/meta.properties")).unwrap();
    kill_process(pid(&lab, "controller-1"), Signal::KILL).unwrap();
    wait_for("two controllers", 120, || {
        lab.run(&["kafka", "topics", "--", "--create", "--if-not-exists", "--topic", "meanwhile"]).code == 0
    });
    assert_eq!(lab.verify(5).state("controller-1"), "failed");
    let mended = lab.up(&[]);
    assert!(mended.proof("controller-1").starts_with("had died, restarted"), "{}", mended.proof("controller-1"));
    assert_eq!(std::fs::read_to_string(lab.folder().join("controller-1/data/meta.properties")).unwrap(), data);
    lab.verify(0);

    lab.teardown();
    for port in lab.base + 2091..lab.base + 2094 {
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "port {port} is taken");
    }
}
