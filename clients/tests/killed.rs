//! Clients that are killed and restarted, against librdkafka's mock brokers: nothing is lost, and nothing is counted
//! twice.

#![warn(clippy::too_many_lines)]
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ledger::judge::{Case, Claim, HowEnded, OffsetRange, Verdict, judge};
use ledger::lines::{ConsumerState, ProducerStart, ProducerState};
use rdkafka::mocking::MockCluster;
use serde_json::Value;

const PARTITIONS: i32 = 4;

/// Mock brokers with one topic, and a folder for the clients' output.
struct Brokers {
    cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
    folder: PathBuf,
}

impl Brokers {
    fn new(name: &str) -> Self {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("test", PARTITIONS, 3).unwrap();
        let folder = std::env::temp_dir().join(format!("clients-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { cluster, folder }
    }

    fn start(&self, name: &str, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clients"));
        for name in ["ROLE", "KAFKA_BROKER", "TOPIC", "RATE", "COUNT", "VALUE_SIZE", "RUN_ID", "FORMAT", "STATE_FILE"] {
            command.env_remove(name);
        }
        let said = File::create(self.file(name)).unwrap();
        let brokers = self.cluster.bootstrap_servers();
        command.args(args).args(["--brokers", &brokers]).stdin(Stdio::null()).stdout(said).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn run(&self, name: &str, args: &[&str]) -> String {
        let code = self.start(name, args).wait().unwrap();
        assert!(code.success(), "{args:?}: {}", self.said(name));
        self.said(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// Kills a client after it has printed this many checkpoints.
    fn kill_after(&self, name: &str, mut child: Child, checkpoints: usize) {
        let began = Instant::now();
        while self.said(name).matches("\"event\":\"checkpoint\"").count() < checkpoints {
            assert!(began.elapsed() < Duration::from_secs(60), "{name}: {}", self.said(name));
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn ranges(&self) -> Vec<OffsetRange> {
        let said: Value = serde_json::from_str(&self.run("offsets", &["offsets"])).unwrap();
        let rows = said["partitions"].as_array().unwrap();
        assert_eq!(rows.len(), PARTITIONS as usize);
        let end = |row: &Value| row["high"].as_i64().unwrap();
        rows.iter().enumerate().map(|(p, row)| OffsetRange { partition: p as i32, start: 0, end: end(row) }).collect()
    }

    fn claim(&self, name: &str, went: HowEnded) -> Claim {
        let said = self.said(name);
        let start: Option<ProducerStart> = said.lines().find_map(|line| serde_json::from_str(line).ok());
        let states = said.lines().filter_map(|line| serde_json::from_str::<ProducerState>(line).ok());
        Claim::of(start.as_ref(), states, went).unwrap()
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn ends(ranges: &[OffsetRange]) -> String {
    ranges.iter().map(|range| format!("{}:{}", range.partition, range.end)).collect::<Vec<_>>().join(",")
}

#[test]
fn killed_clients_lose_nothing_and_count_nothing_twice() {
    let brokers = Brokers::new("killed");
    let producer = ["producer", "--run", "r", "--format", "json", "--rate"];
    // The first is killed while it sends, the second right after its first state, and the third ends normally.
    let dying = brokers.start("first", &[&producer[..], &["2000"]].concat());
    brokers.kill_after("first", dying, 3);
    let dying = brokers.start("second", &[&producer[..], &["2000"]].concat());
    brokers.kill_after("second", dying, 1);
    brokers.run("third", &[&producer[..], &["0", "--count", "8000"]].concat());
    let ranges = brokers.ranges();

    let consumer = ["consumer", "--run", "r", "--format", "json", "--start", "0:0,1:0,2:0,3:0"];
    let dying = brokers.start("reading", &consumer);
    brokers.kill_after("reading", dying, 1);
    let said = brokers.run("again", &[&consumer[..], &["--end", &ends(&ranges)]].concat());
    let received: ConsumerState = serde_json::from_str(said.lines().last().unwrap()).unwrap();

    let claims = [("first", HowEnded::Killed), ("second", HowEnded::Killed), ("third", HowEnded::ByItself)]
        .map(|(name, went)| brokers.claim(name, went));
    let run = "r".parse().unwrap();
    let case = Case::new(run, "test", &ranges, &claims, &received);
    let report = judge(&case);
    assert_eq!((report.verdict, report.ended, report.died), (Verdict::Pass, 1, 2), "{report:?}");
    let sum = |pick: fn(&ledger::judge::Row) -> u64| report.partitions.iter().map(pick).sum::<u64>();
    assert!(sum(|row| row.acked) > 8000, "{report:?}");
    assert_eq!(sum(|row| row.received), sum(|row| row.acked) + sum(|row| row.unpromised), "{report:?}");
    // Without its claim, the same records come from an unknown producer.
    assert_eq!(judge(&Case { claims: &claims[1..], ..case }).verdict, Verdict::Fail);
}

#[test]
fn kafkas_own_lines_agree_as_plain_sets_of_values() {
    let brokers = Brokers::new("oracle");
    let sent = brokers.run("sent", &["producer", "--rate", "0", "--count", "2000", "--verifiable"]);
    let end = ends(&brokers.ranges());
    let read = brokers.run("read", &["consumer", "--end", &end, "--verifiable"]);
    let values = |said: &str, name: &str| -> Vec<String> {
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["name"] == name).map(|line| line["value"].as_str().unwrap().to_owned()).collect()
    };
    let (acked, consumed) = (values(&sent, "producer_send_success"), values(&read, "record_data"));
    assert_eq!((acked.len(), consumed.len()), (2000, 2000));
    assert_eq!(acked.into_iter().collect::<BTreeSet<_>>(), consumed.into_iter().collect());
    let names = |said: &str| -> Vec<String> {
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    };
    let (sent, read) = (names(&sent), names(&read));
    assert_eq!(
        (sent[0].as_str(), &sent[2001..]),
        ("startup_complete", &["shutdown_complete".into(), "tool_data".into()][..])
    );
    assert_eq!(read[..2], ["startup_complete", "partitions_assigned"]);
    assert_eq!(read[read.len() - 2..], ["partitions_revoked", "shutdown_complete"]);
    assert!(read.iter().any(|name| name == "records_consumed"));
}
