//! Feeds arbitrary bytes to everything that parses external input: records, the ledger behind them, the output of
//! tools, the clients' lines, the manifests. Nothing may panic, loop forever or allocate without bound.
//!
//! Every case follows from one seed, which a failure names. KAFKA_LAB_FUZZ_SECONDS sets the duration,
//! KAFKA_LAB_FUZZ_SEED reruns one case.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ledger::intervals::INTERVALS_MAX;
use ledger::judge::{Case, HowEnded, Running, judge, judge_running};
use ledger::lines::{ConsumerState, Metadata, Offsets, Probe, ProducerState};
use ledger::received::{PartitionLedger, Record, STREAMS_MAX};
use ledger::stamp::{self, Encoder, ProducerId, RunId, Value};

use crate::brokers;
use crate::config::{Lab, manifests, sample};
use crate::coordination::releases::RELEASES;
use crate::coordination::{self, Membership, Release, kraft};
use crate::drill::timing;
use crate::exec::Output;
use crate::k8s::{pods, render};
use crate::kind::pack::{oci, program};
use crate::kind::{config, images, nodes};
use crate::local::process::{self, Started};
use crate::local::{ports, process::Life};
use crate::tools::{clients, docker, java, kafka, kind};
use crate::{account, state};

/// No case may take longer, also on a busy machine.
const CASE_LIMIT: Duration = Duration::from_secs(20);

/// No run of cases may need more memory than that on top of what there was before.
const MEMORY_LIMIT_KB: u64 = 256 * 1024;

const FILES: [&str; 6] = ["cluster.yml", "kafka.yml", "clients.yml", "host-access.yml", "lab.yml", "kraft/kafka.yml"];

/// What tools really print, to begin with.
const SAMPLES: &[&str] = &[
    include_str!("../tests/fixtures/kafka-topics-describe.txt"),
    include_str!("../tests/fixtures/kafka-topics-describe-isr-shrunk.txt"),
    include_str!("../tests/fixtures/zookeeper-shell-ls.txt"),
    include_str!("../tests/fixtures/zookeeper-shell-get.txt"),
    include_str!("../tests/fixtures/zookeeper-dump.txt"),
    include_str!("../tests/fixtures/zookeeper-srvr.txt"),
    include_str!("../tests/fixtures/quorum-status-4.3.txt"),
    include_str!("../tests/fixtures/quorum-replication-4.3.txt"),
    // The answer of a leading controller, as far as it is text.
    "\0\0\u{2}\u{13}__cluster_metadata\u{2}\0\0\0\0\0\0\0\0\0\u{66}\0\0\0\u{2}\0\0\0\0\0\0\u{3}\u{18}\u{2}\0\0\0\
     \u{64}\0\0\0\0\0\0\u{3}\u{18}\0\0\0\0\0\0\0\u{1}\0\0\0\0\0\0\0\u{1}\0\u{1}\0\0\0",
    "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)\n",
    "openjdk 11.0.2 2018-10-16\nOpenJDK Runtime Environment 18.9\n",
    "kind v0.30.0 go1.24.6 linux/amd64\n",
    "xkindest/node:v1.34.0@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefkindest/base",
    "kind acce72e570ea done /c/my cache/kind-acce72e570ea\nimage 25de1352678a missing kafka-lab-node:v1.33.13-25de\n",
    r#"[{"Config":"blobs/sha256/ab","RepoTags":["kafka-lab-clients:ab"],"Layers":["blobs/sha256/cd","1/layer.tar"]}]"#,
    "\u{7f}ELF\u{2}\u{1}\u{1}\0\0\0\0\0\0\0\0\0\u{2}\0\u{3e}\0\u{1}\0\0\0\0\0\u{40}\0\0\0\0\0\u{40}\0\0\0\
     \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\u{40}\0\u{38}\0\u{1}\0\0\0\0\0\0\0\u{1}\0\0\0\u{5}\0\0\0\0\0\0\0\0\
     \0\0\0\0\0\u{40}\0\0\0\0\0\0\0\u{40}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\u{10}\0\0\0\0\0\0",
    "REF TYPE DIGEST SIZE PLATFORMS LABELS\ndocker.io/library/k:1 application/vnd.oci.image.manifest.v1+json sha256:aa 36.1 MiB linux/amd64 x=y\nsha256:id1 application/vnd.oci.image.manifest.v1+json sha256:aa 36.1 MiB linux/amd64 x=y\n",
    r#"{"ServerVersion":"28.2","NCPU":2,"MemTotal":5,"CgroupVersion":"2","DockerRootDir":"/var/lib/docker","Architecture":"x86_64","ServerErrors":["Cannot connect to the Docker daemon"]}"#,
    r#"[{"Name":"/k-worker","State":{"Running":true,"Paused":false},"Image":"sha256:1","Config":{"Image":"node:1","Labels":{"io.x-k8s.kind.role":"worker"}},"Mounts":[{"Source":"/s/mark","Destination":"/kafka-lab"}],"HostConfig":{"PortBindings":{"30090/tcp":[{"HostIp":"127.0.0.1","HostPort":"30090"}],"6443/tcp":null}}}]"#,
    r#"{"items":[{"kind":"Pod","metadata":{"name":"kafka-1","labels":{"pod-template-hash":"1"},"ownerReferences":[{"kind":"ReplicaSet","name":"kafka-1"}],"deletionTimestamp":null},"spec":{"nodeName":"w"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"},{"type":"PodScheduled","reason":"Unschedulable","message":"0/5"}],"containerStatuses":[{"ready":false,"restartCount":2,"state":{"waiting":{"reason":"CrashLoopBackOff","message":"m"}},"lastState":{"terminated":{"reason":"OOMKilled","exitCode":137}}},{"ready":true,"restartCount":1}]}},{"kind":"StatefulSet","metadata":{"name":"kafka","generation":2},"spec":{"replicas":3},"status":{"readyReplicas":3,"updatedReplicas":3,"replicas":3,"observedGeneration":2}}]}"#,
    r#"{"items":[{"metadata":{"name":"kafka-lab-worker"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}"#,
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:7DB5 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24001 1 0 100 0 0 10 0\n",
    "1234 (a (b) c) S 1 1234 1234 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 1000 10 18446744073709551615",
    r#"{"schema":"kafka-lab.process/1","identity":{"pid":1,"start_ticks":5,"boot":"b"},"settings":"s","command":"c","started_ms":1,"trains":["a","b"]}"#,
    r#"{"schema":"kafka-lab.record/1","backend":"local","port_base":30090,"manifests":"/m","created_ms":1,"scaled":{"consumer":2}}"#,
    r#"{"schema":"kafka-lab.metadata/1","broker":"127.0.0.1:30090","ok":true,"brokers":[{"id":0,"host":"127.0.0.1","port":30090}],"topics":[{"topic":"test","partitions":[{"partition":0,"leader":0,"replicas":[0,1,2],"isr":[0,1,2]}]}]}"#,
    r#"{"schema":"kafka-lab.offsets/1","topic":"test","partitions":[{"partition":0,"low":1,"high":5},{"partition":1,"low":1,"high":5}]}"#,
    r#"{"schema":"kafka-lab.gap/1","what":"acked","partition":2,"from_ms":5,"to_ms":905}"#,
    r#"{"schema":"kafka-lab.probe/1","event":"acked","elapsed_ms":5,"partition":1,"offset":7,"status":"s"}"#,
    concat!(
        r#"{"schema":"kafka-lab.producer/1","event":"start","time_ms":1,"run":"r","producer":"0000000a","topic":"test","brokers":"b","partitions":2,"rate":0,"count":9,"value_size":null,"pid":1}"#,
        "\n",
        r#"{"schema":"kafka-lab.producer/1","event":"end","time_ms":1,"elapsed_ms":5,"run":"r","producer":"0000000a","reason":"count","totals":{"sent":9,"acked":8,"not_persisted":1,"unknown":0,"in_flight":0},"partitions":[{"partition":0,"sent":9,"acked":8,"not_persisted":1,"unknown":0}],"streams":[{"producer":"0000000a","epoch":0,"partition":0,"sent":5,"acked":4,"not_persisted":1,"unknown":0,"acked_ranges":[[0,4]],"not_persisted_ranges":[[4,5]],"unknown_ranges":[],"exact":true},{"producer":"0000000a","epoch":1,"partition":0,"sent":4,"acked":4,"not_persisted":0,"unknown":0,"acked_ranges":[[0,2],[3,4]],"not_persisted_ranges":[],"unknown_ranges":[],"exact":true}],"folded_epochs":0,"errors":{"timed out":3},"queue_full":0}"#,
        "\n",
        r#"{"schema":"kafka-lab.consumer/1","event":"end","time_ms":1,"elapsed_ms":5,"run":"r","reason":"end","totals":{"records":8,"received":8,"missing":0,"duplicate":0,"out_of_order":0,"corrupt":0,"misrouted":0,"other_runs":0,"foreign":0,"redelivered":0},"partitions":[{"partition":0,"start":0,"next":8,"end":8,"low":0,"high":8,"records":8,"received":8,"missing":0,"duplicate":0,"out_of_order":0,"corrupt":0,"misrouted":0,"other_runs":0,"foreign":0,"redelivered":0,"offset_gaps":0,"start_moved":false,"folded_streams":0,"log_restarts":0}],"streams":[{"run":"r","producer":"0000000a","epoch":0,"partition":0,"received":4,"first":0,"next":4,"missing_count":0,"missing":[],"duplicate":0,"duplicates":[],"out_of_order":0,"exact":true},{"run":"r","producer":"0000000a","epoch":1,"partition":0,"received":4,"first":0,"next":5,"missing_count":1,"missing":[[2,3]],"duplicate":1,"duplicates":[[1,2]],"out_of_order":0,"exact":true}]}"#,
        "\n"
    ),
];

/// What breaks parsers: edges of numbers, words of formats, characters of several bytes.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "999999999999999",
    "99999999999999999999999999999999",
    "1e308",
    "-0.0",
    "NaN",
    ".inf",
    "null",
    "true",
    "[]",
    "{}",
    "[[]]",
    "\"\"",
    "\"",
    "\\",
    "\0",
    "\n",
    "\t",
    "\r\n",
    " ",
    "---\n",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!!str ",
    "|\n",
    "é",
    "\u{2028}",
    "💥",
    "\u{feff}",
    "[",
    "]",
    ",",
    "=",
    "/",
    ":",
    ")",
];

/// A sample with one to a few things done to it.
fn mangled(random: &mut Rng, sample: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(0..=bytes.len());
        let end = (at + random.usize(0..40)).min(bytes.len());
        match random.u8(0..10) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                let times = if random.u8(0..20) == 0 { 2000 } else { random.usize(1..4) };
                bytes.splice(at..at, piece.repeat(times));
            }
            4 => drop(bytes.splice(at..at, (0..random.usize(0..8)).map(|_| random.u8(..)).collect::<Vec<_>>())),
            5 => drop(bytes.splice(at..end, random.choice(WORDS).copied().unwrap_or("").bytes())),
            6 => {
                let other = random.choice(SAMPLES).copied().unwrap_or("").as_bytes();
                let from = random.usize(0..=other.len());
                bytes.splice(at..end, other[from..(from + 200).min(other.len())].iter().copied());
            }
            7 => {
                let deep = random.choice(["[", "{\"a\":", "- ", "(", "&a [*a,"]).unwrap_or("[").repeat(3000);
                bytes.splice(at..at, deep.bytes());
            }
            _ => {
                // The next number becomes an edge.
                let Some(from) = (at..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) else { continue };
                let to = (from..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
                bytes.splice(from..to, random.choice(&WORDS[..14]).copied().unwrap_or("0").bytes());
            }
        }
        bytes.truncate(512 * 1024);
    }
    bytes
}

fn arbitrary(random: &mut Rng) -> Vec<u8> {
    let len = if random.u8(0..50) == 0 { 100_000 } else { random.usize(0..300) };
    (0..len).map(|_| random.u8(..)).collect()
}

/// Values as a stranger with our source might write them: a good checksum over fields of their choice.
fn record(random: &mut Rng) -> Vec<u8> {
    let edge = |random: &mut Rng| *random.choice(&[0, 1, 2, 3, 999_999_999_999_999, u64::MAX]).unwrap_or(&0);
    let run = if random.bool() { "r" } else { "s" };
    let epoch = u32::try_from(edge(random)).unwrap_or(u32::MAX);
    let mut encoder = Encoder::new(run.parse().unwrap(), ProducerId(random.u32(0..4)), epoch, random.usize(0..300));
    let partition = u32::try_from(edge(random) % 3).unwrap();
    let value = encoder.encode(random.u32(..), partition, edge(random), edge(random)).to_vec();
    match random.u8(0..4) {
        0 => {
            let mut bent = mangled(random, &value);
            // Behind the mark, so that it is looked at.
            if bent.len() > 13 {
                bent[8..13].copy_from_slice(b" kl2 ");
            }
            let whole = bent.len().saturating_sub(8);
            let checksum = format!("{:08x}", crc32c::crc32c(&bent[..whole]));
            bent.truncate(whole);
            bent.extend(checksum.bytes());
            bent
        }
        1 => arbitrary(random),
        _ => value,
    }
}

fn records(random: &mut Rng) {
    let judged: Option<RunId> = random.bool().then(|| "r".parse().unwrap());
    let mut ledger = PartitionLedger::new(0, random.choice([0, 5, i64::MAX - 2, -1001]).unwrap(), judged);
    for _ in 0..random.usize(0..60) {
        let value = record(random);
        let step = random.choice([0, 1, 1, 1, 2, -1, 1000, i64::MAX]).unwrap();
        let offset = ledger.next.saturating_add(step);
        match random.u8(0..40) {
            0 => ledger.start_moved_to(offset),
            1 => ledger.log_restarted_at(offset),
            4 => ledger.log_truncated(offset),
            2 => ledger.reached(offset),
            3 => ledger.record(Record::new(offset, None)),
            _ => {
                ledger.record(Record::new(offset, Some(&value)));
                if let Value::Stamped(stamp) = stamp::parse(Some(&value)) {
                    assert!(stamp.sequence < 1_000_000_000_000_000 && stamp.number < 1_000_000, "{stamp:?}");
                }
            }
        }
    }
    assert!(ledger.streams().len() <= STREAMS_MAX);
    for stream in ledger.streams() {
        assert!(stream.missing_set().intervals().len() <= INTERVALS_MAX);
        assert!(stream.duplicate_set().intervals().len() <= INTERVALS_MAX);
    }
}

/// Everything that reads text, on the same text: a parser must also bear what another tool printed.
fn texts(lab: &Lab, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(topic) = kafka::parse_describe(&text, "test") {
        let _ = kafka::topic_faults(&topic, 4, 3);
    }
    let _ = (coordination::parse_ls(&text), coordination::parse_get(&text));
    let _ = (kraft::parse_quorum(bytes), kraft::parse_cluster(bytes));
    let _ = (kraft::parse_status(&text), kraft::parse_replication(&text));
    let _ = (java::parse_version(&text), kind::parse_version(&text), kind::default_node_image(bytes));
    let _ = (images::full_name(&text), images::own_name(&text), oci::Packed::of(bytes), oci::parse_saved(bytes));
    let _ = program::machine(std::io::Cursor::new(bytes));
    let stages = images::parse_stages(&text);
    assert!(stages.len() <= text.lines().count());
    for code in [Some(0), Some(1), None] {
        let _ = docker::parse_info(&Output { code, stdout: text.to_string(), stderr: text.to_string() });
    }
    if let Some(nodes) = nodes::parse(&text) {
        let _ = (nodes::is_ours(lab, &nodes), nodes::differences(lab, &sample::setup(), &nodes));
    }
    if let Some(snapshot) = pods::parse(&text) {
        let _ = pods::not_ready(&snapshot, &["kafka".into(), coordination::WORKLOAD.into()]);
    }
    let _ = pods::nodes(&text);
    let _ = (ports::listening_inodes(&text, 32181), process::parse_stat(&text));
    let _ = (crate::failure::tail(&text, 20), Membership::read(&text));
    let gaps = timing::gaps(&text);
    assert_eq!(timing::partitions(&gaps, 4, 1000).len(), 4);
    let _ = (timing::calm(&gaps, 1000), timing::stood_still(&gaps, 4, (1000, 5000)));
    lines(lab, &text);
}

/// The clients' lines, and what is concluded from them.
fn lines(lab: &Lab, text: &str) {
    let metadata: Vec<Metadata> = clients::lines(text);
    let wanted: Vec<(u32, String)> = lab.broker_ids().map(|id| (id, lab.broker_address(id))).collect();
    let _ = (brokers::not_serving(&wanted, &metadata), brokers::in_sync("test", &metadata, 3));
    let _ = clients::lines::<Probe>(text);
    let offsets: Vec<Offsets> = clients::lines(text);
    for state in clients::lines::<ConsumerState>(text) {
        let _ = offsets.iter().map(|offsets| crate::steps::running_clients::lag(&state, offsets)).max();
        let look = crate::steps::running_clients::Look::at_consumer(&state);
        let _ = look.stalled(&look);
    }
    for state in clients::lines::<ProducerState>(text) {
        let look = crate::steps::running_clients::Look::at_producer(&state);
        let _ = look.stalled(&look);
    }
    let (claim, Some(received)) = (clients::claim(text, HowEnded::Asked), clients::received(text)) else { return };
    let claims: Vec<_> = claim.into_iter().collect();
    let run = claims.first().map_or("r".parse().unwrap(), |claim| claim.run);
    let range = clients::ranges(&[(0, 0, 8), (1, u64::MAX, 0), (u32::MAX, 0, u64::MAX)]);
    let witnesses = [received.clone()];
    let case = Case::new(run, "test", &range, &claims, &received);
    let _ = account::table(&judge(&Case { witnesses: &witnesses, expected: Some(9), ..case }));
    let running = Running { topic: "test", claims: &claims, offsets: &range, received: &received, topic_id: None };
    let _ = judge_running(&running);
}

/// A manifest's folder: each file in turn is mangled and put right again.
struct Folder {
    dir: PathBuf,
    originals: Vec<(&'static str, Vec<u8>)>,
}

impl Folder {
    fn new(name: &str, committed: &Path) -> Self {
        let dir = std::env::temp_dir().join(format!("kafka-lab-{name}-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("kraft")).unwrap();
        let originals: Vec<(&str, Vec<u8>)> =
            FILES.iter().map(|file| (*file, std::fs::read(committed.join(file)).unwrap())).collect();
        for (file, text) in &originals {
            std::fs::write(dir.join(file), text).unwrap();
        }
        Folder { dir, originals }
    }

    fn with(&self, lab: &Lab, file: &str, text: &[u8]) {
        std::fs::write(self.dir.join(file), text).unwrap();
        // Bombs of aliases and nests of brackets are among them.
        let kraft = RELEASES.iter().copied().find(|release| release.mode.manifest() == file);
        let release = kraft.unwrap_or_default();
        if let Ok((facts, settings)) = manifests::read(&self.dir, release)
            && release == Release::default()
        {
            let lab = Lab { facts, settings, manifests: self.dir.clone(), ..lab.clone() };
            let setup = sample::setup();
            let _ =
                (render::kafka(&lab, &setup), render::clients(&lab, "clients:1"), config::rendered(&lab, &setup, true));
        }
        for (file, text) in self.originals.iter().filter(|original| original.0 == file) {
            std::fs::write(self.dir.join(file), text).unwrap();
        }
    }

    fn mangled(&self, lab: &Lab, random: &mut Rng) {
        let Some((file, original)) = random.choice(&self.originals) else { return };
        let text = if random.u8(0..30) == 0 { arbitrary(random) } else { mangled(random, original) };
        self.with(lab, file, &text);
    }

    /// Records that xtask itself left, after a crash or somebody's editor.
    fn left(&self, bytes: &[u8]) {
        std::fs::write(self.dir.join("lab.json"), bytes).unwrap();
        std::fs::write(self.dir.join("process.json"), bytes).unwrap();
        let _ = state::read_record(&self.dir);
        if let Some(started) = Started::read(&self.dir.join("process.json")) {
            assert!([Life::Gone, Life::Running, Life::Paused].contains(&started.identity.life()));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn case(seed: u64, lab: &Lab, folder: &Folder) {
    let mut random = Rng::with_seed(seed);
    match random.u8(0..8) {
        0..3 => records(&mut random),
        3 => folder.mangled(lab, &mut random),
        _ => {
            let sample = random.choice(SAMPLES).copied().unwrap_or("");
            let bytes = match random.u8(0..20) {
                0 => arbitrary(&mut random),
                _ => mangled(&mut random, sample.as_bytes()),
            };
            texts(lab, &bytes);
            folder.left(&bytes);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is asked how long to go on")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A line of /proc/self/status in kB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

#[test]
fn no_input_makes_a_parser_panic_loop_or_take_memory_without_bound() {
    let time = Duration::from_secs(asked("KAFKA_LAB_FUZZ_SECONDS").unwrap_or(2));
    let again = asked("KAFKA_LAB_FUZZ_SEED");
    let base = again.unwrap_or_else(|| fastrand::u64(..));
    // 5 sets the peak back to what is in use now (proc(5)).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = memory("VmRSS");

    let done = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let counted = Arc::clone(&done);
    // A case that goes on for ever must not keep the test from ending, so nobody joins this thread.
    std::thread::spawn(move || {
        let lab = sample::lab();
        let folder = Folder::new("fuzz", &lab.manifests);
        let begin = Instant::now();
        while begin.elapsed() < time {
            let seed = base.wrapping_add(counted.load(Ordering::SeqCst));
            if catch_unwind(AssertUnwindSafe(|| case(seed, &lab, &folder))).is_err() {
                break;
            }
            counted.fetch_add(1, Ordering::SeqCst);
            if again.is_some() {
                break;
            }
        }
        // The test ends with the answer, and the process maybe with it.
        drop(folder);
        let _ = sender.send(begin.elapsed() >= time || again.is_some_and(|_| counted.load(Ordering::SeqCst) > 0));
    });
    let mut last = None;
    let fine = loop {
        match receiver.recv_timeout(CASE_LIMIT) {
            Ok(fine) => break fine,
            Err(RecvTimeoutError::Timeout) if last != Some(done.load(Ordering::SeqCst)) => {
                last = Some(done.load(Ordering::SeqCst));
            }
            Err(_) => break false,
        }
    };
    let cases = done.load(Ordering::SeqCst);
    assert!(fine, "KAFKA_LAB_FUZZ_SEED={} panics or does not end", base.wrapping_add(cases));
    let grown = memory("VmHWM").saturating_sub(before);
    assert!(grown < MEMORY_LIMIT_KB, "{grown} kB more than before, after {cases} cases from seed {base} on");
    assert!(again.is_some() || cases > 20, "only {cases} cases");
    eprintln!("{cases} cases, {grown} kB");
}

#[test]
fn what_fuzzing_found_stays_found() {
    let lab = sample::lab();
    let folder = Folder::new("found", &lab.manifests);
    // Quantities whose sum is more than a number holds.
    let kafka = std::fs::read_to_string(lab.manifests.join("kafka.yml")).unwrap();
    folder.with(&lab, "kafka.yml", kafka.replace("cpu: 100m", "cpu: 99999999999999999999999").as_bytes());
    folder.with(&lab, "kafka.yml", kafka.as_bytes());
    // serde reads a list as a struct, in the order of its fields; what fills the names in must not rely on a mapping.
    let cluster = "- Cluster\n- [[control-plane, null, []]]\n";
    folder.with(&lab, "cluster.yml", cluster.as_bytes());
    let nodes = "kind: Cluster\nnodes:\n- [control-plane, null, []]\n";
    std::fs::write(folder.dir.join("cluster.yml"), nodes).unwrap();
    assert!(config::rendered(&Lab { manifests: folder.dir.clone(), ..sample::lab() }, &sample::setup(), true).is_err());
    // Aliases that unfold to gigabytes.
    let bomb: String = (0..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".into(), |text, n| {
        let inner = vec![format!("*a{n}"); 9].join(",");
        format!("{text}a{}: &a{} [{inner}]\n", n + 1, n + 1)
    });
    for file in FILES {
        folder.with(&lab, file, format!("kind: StatefulSet\n{bomb}").as_bytes());
    }
    // Counters beyond all bounds.
    for text in SAMPLES {
        let mut huge = String::new();
        for c in text.chars() {
            if c.is_ascii_digit() { huge.push_str("18446744073709551615") } else { huge.push(c) }
        }
        texts(&lab, huge.as_bytes());
        texts(&lab, text.replace(":1,", ":18446744073709551615,").replace(":2,", ":18446744073709551615,").as_bytes());
    }
}
