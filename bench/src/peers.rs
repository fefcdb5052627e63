//! Who is measured: each client's command line, and how what it prints is read. Pure.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use ledger::lines::{ConsumerState, Line, ProducerState, Reason, StateEvent};
use serde::Deserialize;

use crate::process::words;
use crate::result::Role;

/// Clients that share a program or a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Family {
    /// The lab's own clients
    Ours,
    /// librdkafka's own benchmark, compiled from the sources that ours is built from
    #[value(name = "rdkafka_performance")]
    RdkafkaPerformance,
    /// kcat, from its Debian package
    Kcat,
    /// Kafka's own tools, in Java
    Kafka,
    /// sarama, in Go
    Sarama,
    /// franz-go, in Go
    FranzGo,
    /// The rdkafka crate as its documentation shows it
    RustRdkafka,
}

/// What one run has to do.
#[derive(Clone, Debug, Default)]
pub struct Job {
    pub brokers: String,
    pub topic: String,
    pub partitions: u32,
    pub messages: u64,
    /// Size of each value in bytes.
    pub size: usize,
    /// Latency: messages per second.
    pub rate: u64,
    /// The offsets to read, as flags of the lab's consumer.
    pub start: String,
    pub end: String,
    /// A file with a line of `size` bytes for each message.
    pub file: String,
}

impl Job {
    /// The same with words for what differs in each run.
    pub fn in_words(&self) -> Self {
        let word = |word: &str| word.to_owned();
        let (brokers, topic, start) = (word("BROKERS"), word("TOPIC"), word("FIRST_OFFSETS"));
        Self { brokers, topic, start, end: word("END_OFFSETS"), file: word("FILE"), ..self.clone() }
    }
}

/// What a client says of its run.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Reading {
    /// From the first message to the last.
    pub seconds: f64,
    /// `None` if it does not say.
    pub messages: Option<u64>,
}

/// What a client prints, and what we saw of it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub stdout: &'a str,
    /// From the start of the process to its end.
    pub wall_s: f64,
}

/// A client at full speed.
pub struct Contestant {
    pub name: &'static str,
    pub family: Family,
    pub role: Role,
    /// How its seconds are measured.
    pub timed: &'static str,
    /// Settings that are in its program instead of its command line.
    pub settings: &'static str,
    /// It sends one message for each so many of the others.
    pub one_of: u64,
    /// Its arguments.
    pub args: fn(&Job) -> Vec<String>,
    /// Reads what it says.
    pub read: fn(Seen<'_>) -> Result<Reading>,
}

impl Contestant {
    /// How many of `messages` it sends or reads.
    pub fn messages(&self, messages: u64) -> u64 {
        if self.one_of == 1 { messages } else { (messages / self.one_of).max(100) }
    }
}

const GO_SENT: &str = "by the program, from before the first send until the last acknowledgement";
const GO_READ: &str = "by the program, from the first record to the last";
const WALL: &str = "from the start of the process to its end: it reports no time of its own";

const SARAMA: &str = "Version 3.3.2, RequiredAcks WaitForAll, Idempotent, MaxOpenRequests 1 (which idempotence \
                      requires), CompressionNone, ChannelBufferSize 65536; defaults otherwise";
const SARAMA_ASYNC: &str = "as sync, with Flush.Frequency 50 ms and Flush.MaxMessages 50000";
const FRANZ_GO: &str = "idempotence and acks=all (its defaults), NoCompression, MaxBufferedRecords 500000, ProducerLinger \
                        50 ms; defaults otherwise";

/// Everybody who is measured at full speed, in the order of the tables.
pub const CONTESTANTS: &[Contestant] = &[
    Contestant {
        name: "ours",
        family: Family::Ours,
        role: Role::Producer,
        timed: "by the program, from its first line to its last, connecting and the ledger included",
        settings: "those of clients/src/settings.rs: acks=all, idempotent, no compression",
        one_of: 1,
        args: |job| {
            let count = [&job.messages.to_string(), "--value-size", &job.size.to_string()].map(str::to_owned);
            let to = ["producer", "--brokers", &job.brokers, "--topic", &job.topic, "--no-create-topic"];
            let rest = words(&["--run", "bench", "--format", "json", "--rate", "0", "--count"]);
            [words(&to), rest, count.to_vec()].concat()
        },
        read: ours_sent,
    },
    Contestant {
        name: "rdkafka_performance -P",
        family: Family::RdkafkaPerformance,
        role: Role::Producer,
        timed: "by the program, from before the first send until the last acknowledgement, connecting included",
        settings: "its own defaults otherwise, among them queue.buffering.max.messages=500000",
        one_of: 1,
        args: |job| {
            let count = ["-s".to_owned(), job.size.to_string(), "-c".into(), job.messages.to_string()];
            let set = words(&["-X", "acks=all", "-X", "enable.idempotence=true", "-X", "linger.ms=50"]);
            [words(&["-P", "-b", &job.brokers, "-t", &job.topic]), count.to_vec(), set].concat()
        },
        read: |seen| rdkafka_performance(seen.stdout, "delivered"),
    },
    Contestant {
        name: "FutureProducer",
        family: Family::RustRdkafka,
        role: Role::Producer,
        timed: "by the program, from before the first send until the last acknowledgement, connecting included",
        settings: "acks=all, enable.idempotence=true, linger.ms=50, queue.buffering.max.messages=500000; up to 100000 futures at \
                   a time",
        one_of: 1,
        args: |job| rust("future-producer", job),
        read: one_json_line,
    },
    Contestant {
        name: "kcat -P",
        family: Family::Kcat,
        role: Role::Producer,
        timed: WALL,
        settings: "",
        one_of: 1,
        args: |job| {
            let set = ["acks=all", "enable.idempotence=true", "linger.ms=50", "queue.buffering.max.messages=500000"];
            let set = set.iter().flat_map(|set| words(&["-X", set])).collect();
            [words(&["-P", "-b", &job.brokers, "-t", &job.topic]), set, words(&["-l", &job.file])].concat()
        },
        // Its exit code says that all were delivered; the end offsets say how many that was.
        read: |seen| Ok(Reading { seconds: seen.wall_s, messages: None }),
    },
    Contestant {
        name: "ProducerPerformance",
        family: Family::Kafka,
        role: Role::Producer,
        timed: "by the program, from before the first send until the last acknowledgement, without the start of Java",
        settings: "",
        one_of: 1,
        args: |job| {
            let count = [job.messages.to_string(), "--record-size".into(), job.size.to_string()];
            let to = ["org.apache.kafka.tools.ProducerPerformance", "--topic", &job.topic, "--num-records"];
            let brokers = format!("bootstrap.servers={}", job.brokers);
            let set = ["acks=all", "enable.idempotence=true", "compression.type=none", "linger.ms=50"];
            let sizes = ["batch.size=1000000", "buffer.memory=134217728"];
            let rest = words(&["--throughput", "-1", "--producer-props", &brokers]);
            [words(&to), count.to_vec(), rest, words(&set), words(&sizes)].concat()
        },
        read: producer_performance,
    },
    Contestant {
        name: "franz-go",
        family: Family::FranzGo,
        role: Role::Producer,
        timed: GO_SENT,
        settings: FRANZ_GO,
        one_of: 1,
        args: |job| go("franz-producer", job),
        read: one_json_line,
    },
    Contestant {
        name: "sarama, async",
        family: Family::Sarama,
        role: Role::Producer,
        timed: GO_SENT,
        settings: SARAMA_ASYNC,
        one_of: 1,
        args: |job| go("sarama-async", job),
        read: one_json_line,
    },
    Contestant {
        name: "sarama, sync",
        family: Family::Sarama,
        role: Role::Producer,
        timed: GO_SENT,
        settings: SARAMA,
        // Each message waits for its acknowledgement.
        one_of: 1000,
        args: |job| go("sarama-sync", job),
        read: one_json_line,
    },
    Contestant {
        name: "ours",
        family: Family::Ours,
        role: Role::Consumer,
        timed: "by the program, from its first line to its last, connecting and the ledger included",
        settings: "those of clients/src/settings.rs: check.crcs=true",
        one_of: 1,
        args: |job| {
            let from = ["consumer", "--brokers", &job.brokers, "--topic", &job.topic, "--run", "bench"];
            let rest = ["--format", "json", "--start", &job.start, "--end", &job.end];
            [words(&from), words(&rest)].concat()
        },
        read: ours_received,
    },
    Contestant {
        name: "rdkafka_performance -C",
        family: Family::RdkafkaPerformance,
        role: Role::Consumer,
        timed: GO_READ,
        settings: "its own defaults otherwise",
        one_of: 1,
        args: |job| {
            let partitions = (0..job.partitions).flat_map(|partition| ["-p".to_owned(), partition.to_string()]);
            let count = words(&["-o", "beginning", "-c", &job.messages.to_string()]);
            [words(&["-C", "-b", &job.brokers, "-t", &job.topic]), partitions.collect(), count].concat()
        },
        read: |seen| rdkafka_performance(seen.stdout, "consumed"),
    },
    Contestant {
        name: "StreamConsumer",
        family: Family::RustRdkafka,
        role: Role::Consumer,
        timed: GO_READ,
        settings: "all partitions assigned from their beginning, enable.auto.commit=false; defaults otherwise",
        one_of: 1,
        args: |job| rust("stream-consumer", job),
        read: one_json_line,
    },
    Contestant {
        name: "kcat -C",
        family: Family::Kcat,
        role: Role::Consumer,
        timed: WALL,
        settings: "",
        one_of: 1,
        args: |job| {
            let from = ["-C", "-b", &job.brokers, "-t", &job.topic, "-o", "beginning", "-q", "-f", "\\n", "-c"];
            [words(&from), vec![job.messages.to_string()]].concat()
        },
        read: |seen| Ok(Reading { seconds: seen.wall_s, messages: Some(seen.stdout.len() as u64) }),
    },
    Contestant {
        name: "ConsumerPerformance",
        family: Family::Kafka,
        role: Role::Consumer,
        timed: "by the program, the time of fetching alone: without the start of Java and without joining its group",
        settings: "",
        one_of: 1,
        args: |job| {
            let from = ["kafka.tools.ConsumerPerformance", "--bootstrap-server", &job.brokers, "--topic", &job.topic];
            // Each run is a group of its own, which the tool names: a group would go on where the last run ended.
            let rest = ["--hide-header", "--timeout", "60000", "--messages"];
            [words(&from), words(&rest), vec![job.messages.to_string()]].concat()
        },
        read: consumer_performance,
    },
    Contestant {
        name: "franz-go",
        family: Family::FranzGo,
        role: Role::Consumer,
        timed: GO_READ,
        settings: "defaults",
        one_of: 1,
        args: |job| go("franz-consumer", job),
        read: one_json_line,
    },
    Contestant {
        name: "sarama, partition consumers",
        family: Family::Sarama,
        role: Role::Consumer,
        timed: GO_READ,
        settings: "Version 3.3.2, ChannelBufferSize 65536; defaults otherwise",
        one_of: 1,
        args: |job| go("sarama-consumer", job),
        read: one_json_line,
    },
];

/// How a client's latency is measured.
#[derive(Clone, Copy)]
pub enum Clock {
    /// It prints the microseconds of each message, a line each.
    Lines,
    /// The lab's producer and consumer as two processes, both of which print each message with its time.
    Ours,
    /// It prints quantiles.
    Quantiles,
}

/// A client at a rate.
pub struct Paced {
    pub name: &'static str,
    pub family: Family,
    pub timed: &'static str,
    pub settings: &'static str,
    pub clock: Clock,
    pub args: fn(&Job) -> Vec<String>,
}

const OPEN_LOOP: &str = "open loop: from the time at which each message was due, sent late or not, until the same process \
                         has read it";

/// The lab's consumer of a latency run.
pub fn ours_reading(job: &Job) -> Vec<String> {
    words(&["consumer", "--brokers", &job.brokers, "--topic", &job.topic, "--verifiable"])
}

/// The lab's producer of a latency run.
fn ours_paced(job: &Job) -> Vec<String> {
    let rate = ["--rate", &job.rate.to_string(), "--count", &job.messages.to_string()].map(str::to_owned);
    let to = ["producer", "--brokers", &job.brokers, "--topic", &job.topic, "--no-create-topic"];
    let rest = words(&["--run", "bench", "--format", "json", "--value-size", &job.size.to_string()]);
    [words(&to), rest, rate.to_vec()].concat()
}

const OURS_TIMED: &str = "open loop: from the time at which each message was due, sent late or not, until the consumer, \
                          another process, prints it. The schedule is that of the earliest stamps; their clock has \
                          milliseconds";

/// Everybody whose latency is measured.
pub const PACED: &[Paced] = &[
    Paced {
        name: "ours",
        family: Family::Ours,
        timed: OURS_TIMED,
        settings: "those of clients/src/settings.rs; the consumer runs with --verifiable",
        clock: Clock::Ours,
        args: |job| [ours_paced(job), words(&["--linger-ms", "1"])].concat(),
    },
    Paced {
        name: "ours, linger of the lab",
        family: Family::Ours,
        timed: OURS_TIMED,
        settings: "those of clients/src/settings.rs, with linger.ms=50; the consumer runs with --verifiable",
        clock: Clock::Ours,
        args: ours_paced,
    },
    Paced {
        name: "rdkafka crate",
        family: Family::RustRdkafka,
        timed: OPEN_LOOP,
        settings: "FutureProducer with linger.ms=0, StreamConsumer; otherwise as at full speed",
        clock: Clock::Lines,
        args: |job| [rust("latency", job), words(&["--rate", &job.rate.to_string()])].concat(),
    },
    Paced {
        name: "franz-go",
        family: Family::FranzGo,
        timed: OPEN_LOOP,
        settings: "ProducerLinger 0, otherwise as at full speed",
        clock: Clock::Lines,
        args: |job| [words(&["-rate", &job.rate.to_string()]), go("franz-latency", job)].concat(),
    },
    Paced {
        name: "sarama",
        family: Family::Sarama,
        timed: OPEN_LOOP,
        settings: SARAMA,
        clock: Clock::Lines,
        args: |job| [words(&["-rate", &job.rate.to_string()]), go("sarama-latency", job)].concat(),
    },
    Paced {
        name: "EndToEndLatency (closed)",
        family: Family::Kafka,
        timed: "closed loop: one message at a time, and the next when that was read. It knows no rate, and what waits \
                behind a slow message is not counted; in whole milliseconds",
        settings: "linger.ms=0, which the tool sets",
        clock: Clock::Quantiles,
        args: |job| {
            let from = ["kafka.tools.EndToEndLatency", &job.brokers, &job.topic];
            [words(&from), vec![job.messages.to_string(), "all".into(), job.size.to_string()]].concat()
        },
    },
];

fn go(mode: &str, job: &Job) -> Vec<String> {
    let numbers = [job.partitions.to_string(), job.messages.to_string(), job.size.to_string()];
    let [partitions, messages, size] = &numbers;
    words(&[
        "-brokers",
        &job.brokers,
        "-topic",
        &job.topic,
        "-partitions",
        partitions,
        "-messages",
        messages,
        "-size",
        size,
        mode,
    ])
}

fn rust(mode: &str, job: &Job) -> Vec<String> {
    let numbers = [job.partitions.to_string(), job.messages.to_string(), job.size.to_string()];
    let [partitions, messages, size] = &numbers;
    let to = ["peer", mode, "--brokers", &job.brokers, "--topic", &job.topic];
    [words(&to), words(&["--partitions", partitions, "--messages", messages, "--size", size])].concat()
}

fn last<T: Line>(stdout: &str) -> Result<T> {
    let mark = format!("{{\"schema\":\"{}\"", T::SCHEMA);
    let line = stdout.lines().rev().find(|line| line.starts_with(&mark)).context("it printed no state")?;
    serde_json::from_str(line).context("its last line is not a state")
}

fn ours_sent(seen: Seen<'_>) -> Result<Reading> {
    let end: ProducerState = last(seen.stdout)?;
    if end.event != StateEvent::End || end.reason != Some(Reason::Count) {
        bail!("it did not end by its count: {:?}", end.reason);
    }
    Ok(Reading { seconds: end.elapsed_ms as f64 / 1000.0, messages: Some(end.totals.acked) })
}

fn ours_received(seen: Seen<'_>) -> Result<Reading> {
    let end: ConsumerState = last(seen.stdout)?;
    let totals = end.totals;
    if end.reason != Some(Reason::End) || totals.records != totals.received || totals.missing != 0 {
        bail!("it ended by {:?} with {totals:?}", end.reason);
    }
    Ok(Reading { seconds: end.elapsed_ms as f64 / 1000.0, messages: Some(totals.received) })
}

fn one_json_line(seen: Seen<'_>) -> Result<Reading> {
    serde_json::from_str(seen.stdout.trim()).context("it did not print one line with seconds and messages")
}

/// The number before a word.
fn before<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line[..line.find(word)?].trim_end().rsplit([' ', '(']).next()
}

/// `% 300000 messages produced (… bytes), 300000 delivered (offset …, 0 failed) in 790ms: …`, or
/// `% 300000 messages (… bytes) consumed in 137ms: …`, the last of them.
fn rdkafka_performance(stdout: &str, done: &str) -> Result<Reading> {
    let line = stdout.lines().rev().find(|line| line.starts_with("% ") && line.contains(" messages "));
    let line = line.context("it printed no summary")?;
    let count = if done == "delivered" { " delivered" } else { " messages" };
    let number = |word| before(line, word).and_then(|number| number.parse::<u64>().ok());
    let (messages, ms) = (number(count), number("ms: "));
    // What is in front of the unit is its number: `in 790ms`.
    let (Some(messages), Some(ms)) = (messages, ms) else { bail!("its summary is not as expected: {line}") };
    Ok(Reading { seconds: ms as f64 / 1000.0, messages: Some(messages) })
}

/// `300000 records sent, 97656.2 records/sec (9.31 MB/sec), …`, the last of them.
fn producer_performance(seen: Seen<'_>) -> Result<Reading> {
    let line =
        seen.stdout.lines().rev().find(|line| line.contains(" records sent, ")).context("it printed no summary")?;
    let messages = before(line, " records sent").and_then(|number| number.parse::<u64>().ok());
    let rate = before(line, " records/sec").and_then(|number| number.parse::<f64>().ok()).filter(|rate| *rate > 0.0);
    let (Some(messages), Some(rate)) = (messages, rate) else { bail!("its summary is not as expected: {line}") };
    Ok(Reading { seconds: messages as f64 / rate, messages: Some(messages) })
}

/// Begin, end, MB, MB/s, messages, messages/s, ms of rebalancing, ms of fetching, MB/s and messages/s of that.
fn consumer_performance(seen: Seen<'_>) -> Result<Reading> {
    let line =
        seen.stdout.lines().rev().find(|line| line.matches(", ").count() == 9).context("it printed no summary")?;
    let fields: Vec<&str> = line.split(", ").collect();
    let (Ok(messages), Ok(ms)) = (fields[4].parse(), fields[7].parse::<f64>()) else {
        bail!("its summary is not as expected: {line}")
    };
    Ok(Reading { seconds: ms / 1000.0, messages: Some(messages) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn seen(stdout: &str) -> Seen<'_> {
        Seen { stdout, wall_s: 9.0 }
    }

    #[test]
    fn what_tools_print_is_read() {
        let sent = "% Using random seed 1\n% 200000 messages produced (1 bytes), 7 delivered (offset 0, 0 failed) in 5ms: \
                    1 msgs/s and 24.3 MB/s, 0 produce failures, 0 in queue, no compression\n\
                    % 300000 messages produced (30000000 bytes), 299999 delivered (offset 0, 1 failed) in 790ms: 379746 \
                    msgs/s and 37.97 MB/s, 3 produce failures, 0 in queue, no compression\n";
        assert_eq!(rdkafka_performance(sent, "delivered").unwrap(), Reading { seconds: 0.79, messages: Some(299_999) });
        let read = "% 300000 messages (30000000 bytes) consumed in 137ms: 2186000 msgs/s (218.6 MB/s)\n";
        assert_eq!(rdkafka_performance(read, "consumed").unwrap(), Reading { seconds: 0.137, messages: Some(300_000) });
        let java = "1 records sent, 9.0 records/sec (1 MB/sec), 1 ms avg latency\n300000 records sent, 100000.0 records/sec \
                    (9.54 MB/sec), 52.3 ms avg latency, 1 ms max latency.\n";
        assert_eq!(producer_performance(seen(java)).unwrap(), Reading { seconds: 3.0, messages: Some(300_000) });
        let java =
            "2026-11-29 10:00:00:000, 2026-11-29 10:00:01:000, 28.6, 28.6, 300000, 300000.0, 400, 600, 47.6, 1.0\n";
        assert_eq!(consumer_performance(seen(java)).unwrap(), Reading { seconds: 0.6, messages: Some(300_000) });
        let line = "{\"seconds\":0.5,\"messages\":9}\n";
        assert_eq!(one_json_line(seen(line)).unwrap(), Reading { seconds: 0.5, messages: Some(9) });
    }

    #[test]
    fn what_is_not_a_summary_is_no_result() {
        let nothing = "% Fatal error: no brokers\n";
        assert!(rdkafka_performance(nothing, "delivered").is_err());
        for read in [ours_sent, ours_received, one_json_line, producer_performance, consumer_performance] {
            assert!(read(seen(nothing)).is_err() && read(seen("")).is_err());
        }
    }

    #[test]
    fn a_command_in_words_names_no_address_and_no_topic() {
        let job =
            Job { brokers: "127.0.0.1:1".into(), topic: "bench-7".into(), messages: 9, size: 5, ..Job::default() };
        for contestant in CONTESTANTS {
            let line = (contestant.args)(&job.in_words()).join(" ");
            assert!(!line.contains("127.0.0.1") && !line.contains("bench-7"), "{line}");
            assert!(line.contains("BROKERS") && line.contains("TOPIC"), "{line}");
        }
    }

    #[test]
    fn each_client_is_there_once_in_each_role() {
        for (at, one) in CONTESTANTS.iter().enumerate() {
            assert!(CONTESTANTS[..at].iter().all(|other| (other.name, other.role) != (one.name, one.role)));
        }
        assert_eq!(CONTESTANTS[7].messages(2_000_000), 2000);
        assert_eq!((CONTESTANTS[7].messages(300), CONTESTANTS[0].messages(300)), (100, 300));
    }
}
