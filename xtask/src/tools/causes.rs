//! Finds in a server's log why it ended, by the exceptions of Kafka 3.3 and ZooKeeper 3.6. Pure.

use crate::config::Lab;
use crate::local::jars::CHECKED;

/// Why a server ended, with the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The reason, as a clause: "its data is …".
    pub what: String,
    /// The kind of fix.
    pub way: Remedy,
}

/// A kind of fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The data is lost: delete it.
    StartOver,
    /// Restore its own data, or delete all data.
    OwnData,
    /// End the process that uses the data or the port.
    EndOther,
    /// Make the folder usable.
    Folder,
    /// Correct a setting in a manifest.
    Manifest,
    /// Free memory.
    Memory,
    /// Free disk space.
    Disk,
    /// Raise a limit of the shell that starts the lab, `ulimit` with this flag.
    Limit(&'static str),
    /// Fetch the jars again.
    Jars,
    /// Use another Java runtime.
    Runtime,
}

/// What a JVM prints when it crashes.
pub const CRASH: &str = "A fatal error has been detected by the Java Runtime Environment";

impl Remedy {
    /// Returns the fix for a lab, as text.
    pub fn fix(self, lab: &Lab) -> String {
        let over = format!("`{}`, then `{}`; this deletes its messages", lab.xtask("teardown"), lab.xtask("up"));
        match self {
            Remedy::StartOver => format!("start over: {over}"),
            Remedy::OwnData => format!("restore its own data and run `{}`, or start over: {over}", lab.xtask("up")),
            Remedy::EndOther => format!("end the other process, then rerun `{}`", lab.xtask("up")),
            Remedy::Folder => {
                format!("make the folder writable and owned by its user, then rerun `{}`; or {over}", lab.xtask("up"))
            }
            Remedy::Manifest => format!("correct kafka.yml, then rerun `{}`", lab.xtask("up")),
            Remedy::Disk => format!(
                "free disk space (`df -h` shows how much each disk has), then rerun `{}`; or {over}",
                lab.xtask("up")
            ),
            Remedy::Limit(flag) => {
                format!("raise the limit with `ulimit {flag} 4096` in this shell, then rerun `{}`", lab.xtask("up"))
            }
            Remedy::Memory => {
                format!("free memory, or lower KAFKA_HEAP_OPTS in kafka.yml, then rerun `{}`", lab.xtask("up"))
            }
            Remedy::Jars => {
                let checked = lab.env.cache.join("kafka-*").join(CHECKED);
                format!("`rm {}`, then `{}`, which compares checksums again", checked.display(), lab.xtask("up"))
            }
            Remedy::Runtime => {
                format!(
                    "its report is in {}; set JAVA_HOME to another Java, then rerun `{}`",
                    lab.logs().display(),
                    lab.xtask("up")
                )
            }
        }
    }
}

/// Text in a log line, what it means, and the fix. The first match in a log counts: the rest may be consequences.
const SIGNS: &[(&str, &str, Remedy)] = &[
    ("No space left on device", "its disk is full", Remedy::Disk),
    ("Disk quota exceeded", "its user's disk quota is used up", Remedy::Disk),
    ("Too many open files", "it may not open more files", Remedy::Limit("-n")),
    ("unable to create native thread", "it may not start more threads", Remedy::Limit("-u")),
    (
        "InconsistentClusterIdException",
        "its data and ZooKeeper's belong to two Kafka clusters: ZooKeeper lost its data, or this is another lab's data",
        Remedy::OwnData,
    ),
    ("InconsistentBrokerIdException", "its data belongs to another broker", Remedy::OwnData),
    ("InconsistentBrokerMetadataException", "its data comes from several brokers or clusters", Remedy::OwnData),
    ("Expected version 0, but got version", "its data comes from a Kafka without ZooKeeper", Remedy::OwnData),
    ("Failed to acquire lock on file .lock", "another process uses its data", Remedy::EndOther),
    ("Disk error while locking directory", "its data cannot be written", Remedy::Folder),
    ("can be created or validated", "its data cannot be written", Remedy::Folder),
    ("Error while loading log dir", "its data cannot be read or written", Remedy::Folder),
    ("Shutdown broker because all log dirs in", "its data cannot be written", Remedy::Folder),
    ("Address already in use", "another process listens on its port", Remedy::EndOther),
    ("ConfigException", "it rejects its settings", Remedy::Manifest),
    ("There is insufficient memory for the Java", "this machine has no memory left", Remedy::Memory),
    ("Could not reserve enough space", "this machine has no memory left", Remedy::Memory),
    ("java.lang.OutOfMemoryError", "its heap is too small", Remedy::Memory),
    ("zip END header not found", "a jar is damaged", Remedy::Jars),
    ("java.util.zip.ZipException", "a jar is damaged", Remedy::Jars),
    ("java.lang.ClassFormatError", "a jar is damaged", Remedy::Jars),
    ("Could not find or load main class", "a jar is missing or damaged", Remedy::Jars),
    ("java.lang.NoClassDefFoundError", "a jar is missing or damaged", Remedy::Jars),
    (CRASH, "its JVM crashed", Remedy::Runtime),
    // ZooKeeper's own.
    ("DatadirException", "its data cannot be read or written", Remedy::Folder),
    ("No snapshot found, but there are log entries", "its data is incomplete", Remedy::StartOver),
    ("Unable to load database on disk", "its data is damaged", Remedy::StartOver),
    ("at org.apache.zookeeper.server.persistence.", "its data is damaged", Remedy::StartOver),
];

/// The first lines of a server that starts. What precedes them is from an earlier run.
const BEGINS: [&str; 2] = ["Registered kafka:type=kafka.Log4jController MBean", "Reading configuration from:"];

/// Returns the cause in the last run that a server's log records.
pub fn find(log: &str) -> Option<Cause> {
    let begin = BEGINS.iter().filter_map(|sign| log.rfind(sign)).max().unwrap_or(0);
    log[begin..].lines().find_map(|line| {
        let (_, what, way) = SIGNS.iter().find(|(sign, ..)| line.contains(sign))?;
        // Java's message names the value, folder or port.
        let words = line.split_once("Exception: ").or(line.split_once("Error: ")).map_or(line, |(_, words)| words);
        let words: String = words.trim().chars().take(300).collect();
        // A line of a stack trace says nothing more.
        let what = if words.starts_with("at ") { (*what).into() } else { format!("{what} ({words})") };
        Some(Cause { what, way: *way })
    })
}

/// Returns the cause in the log of a client that ended because it could not write it.
pub fn of_client(log: &str) -> Option<Cause> {
    let (before, why) = log.lines().rev().find_map(|line| line.split_once(": cannot be written: "))?;
    let why = why.trim_end_matches("; stopping");
    let way = match why {
        "No space left on device" | "Disk quota exceeded" => Remedy::Disk,
        _ => Remedy::Folder,
    };
    let file = before.split_once(" --").map_or(before, |(_, file)| file);
    Some(Cause { what: format!("{file} cannot be written: {why}"), way })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;

    const CLUSTER: &str = "[2024-11-23 07:35:35,1] ERROR Fatal error during KafkaServer startup. Prepare to shutdown (kafka.server.KafkaServer)\n\
        kafka.common.InconsistentClusterIdException: The Cluster ID A doesn't match stored clusterId Some(B) in meta.properties. \
        The broker is trying to join the wrong cluster. Configured zookeeper.connect may be wrong.\n\tat kafka.server.KafkaServer.startup\n";

    #[test]
    fn the_servers_words_become_a_cause_and_a_way_out() {
        let cause = find(CLUSTER).unwrap();
        assert!(cause.what.contains("(The Cluster ID A doesn't match stored clusterId Some(B)"), "{}", cause.what);
        assert!(cause.way.fix(&sample::lab()).contains("`cargo xtask teardown`, then `cargo xtask up`"), "{cause:?}");
        for (line, way) in [
            (
                "kafka.common.InconsistentBrokerIdException: Configured broker.id 1 doesn't match stored broker.id Some(0)",
                Remedy::OwnData,
            ),
            (
                "org.apache.kafka.common.KafkaException: Failed to acquire lock on file .lock in /d. A Kafka instance",
                Remedy::EndOther,
            ),
            (
                "[x] ERROR Shutdown broker because none of the specified log dirs from /d can be created or validated",
                Remedy::Folder,
            ),
            ("java.io.IOException: No space left on device", Remedy::Disk),
            ("java.io.IOException: Too many open files", Remedy::Limit("-n")),
            ("java.lang.OutOfMemoryError: unable to create native thread: possibly", Remedy::Limit("-u")),
            ("java.lang.OutOfMemoryError: Java heap space", Remedy::Memory),
            (
                "org.apache.kafka.common.config.ConfigException: Invalid value lots for configuration log.segment.bytes",
                Remedy::Manifest,
            ),
        ] {
            assert_eq!(find(line).unwrap().way, way, "{line}");
        }
        assert_eq!(find("[x] INFO [KafkaServer id=0] started (kafka.server.KafkaServer)\n"), None);
    }

    #[test]
    fn a_client_that_could_not_write_its_log_says_so_in_the_end() {
        let log = "2024/11/23 07:35:35 test: received 5\n\
                   2024/11/23 07:35:36 --log-file /s/c.log: cannot be written: No space left on device; stopping\n";
        let cause = of_client(log).unwrap();
        assert_eq!(cause.what, "log-file /s/c.log cannot be written: No space left on device");
        assert_eq!(cause.way, Remedy::Disk);
        assert_eq!(of_client("2024/11/23 07:35:35 test: start\n"), None);
    }

    #[test]
    fn an_earlier_life_explains_nothing() {
        let later = format!(
            "{CLUSTER}[x] INFO Registered kafka:type=kafka.Log4jController MBean (kafka.utils)\n[x] INFO starting\n"
        );
        assert_eq!(find(&later), None);
        assert!(find(&format!("{later}{CLUSTER}")).is_some());
    }
}
