//! The clients' program: its commands, and how to find its JSON lines in output ([`ledger::lines`] declares them).
//! xtask links only the clients' ledger.

use std::path::Path;
use std::time::Duration;

use ledger::judge::{Claim, HowEnded, OffsetRange};
use ledger::lines::{ConsumerState, Line, ProducerStart, ProducerState};

use crate::exec::Cmd;

/// Returns the prefix of a schema's lines.
pub fn mark(schema: &str) -> String {
    format!("{{\"schema\":\"{schema}\"")
}

/// Returns the lines of one schema in `output`. Streams get mixed, so it ignores all other lines.
pub fn lines<T: Line>(output: &str) -> Vec<T> {
    let mark = mark(T::SCHEMA);
    let marked = output.lines().filter(|line| line.starts_with(&mark) && numbers_can_be_added(line));
    marked.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Returns the last line of one schema, without parsing the earlier ones.
pub fn last<T: Line>(output: &str) -> Option<T> {
    let mark = mark(T::SCHEMA);
    let mut marked = output.lines().rev().filter(|line| line.starts_with(&mark) && numbers_can_be_added(line));
    marked.find_map(|line| serde_json::from_str(line).ok())
}

/// Whether no integer in a JSON line has more than 15 digits, so that sums cannot overflow. No count, offset or time is
/// larger.
fn numbers_can_be_added(line: &str) -> bool {
    let (mut text, mut escaped, mut digits, mut fraction) = (false, false, 0, false);
    for byte in line.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'0'..=b'9' if !text && !fraction => digits += 1,
            b'0'..=b'9' => {}
            _ => (digits, fraction) = (0, byte == b'.'),
        }
        if digits > 15 {
            return false;
        }
    }
    true
}

/// Returns what a producer claims, by its output or its state file. `None` if it died before its first line, and so
/// before it sent anything. Lines that a signal cut short claim nothing.
pub fn claim(output: &str, went: HowEnded) -> Option<Claim> {
    let start = lines::<ProducerStart>(output).pop();
    Claim::of(start.as_ref(), lines::<ProducerState>(output), went)
}

/// Returns what a consumer received, by its output or its state file.
pub fn received(output: &str) -> Option<ConsumerState> {
    lines(output).pop()
}

/// Converts (partition, first offset, end offset) to ranges. Offsets beyond Kafka's limit become the limit.
pub fn ranges(range: &[(u32, u64, u64)]) -> Vec<OffsetRange> {
    let offset = |offset| i64::try_from(offset).unwrap_or(i64::MAX);
    let one = |&(partition, start, end): &(u32, u64, u64)| OffsetRange {
        partition: i32::try_from(partition).unwrap_or(i32::MAX),
        start: offset(start),
        end: offset(end),
    };
    range.iter().map(one).collect()
}

/// Returns a command's arguments, to run it in a pod.
pub fn args(cmd: &Cmd) -> Vec<String> {
    cmd.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// `clients metadata`: asks each broker of the list directly.
pub fn metadata(program: &Path, brokers: &str, topic: &str, timeout: Duration) -> Cmd {
    Cmd::new(program, timeout + Duration::from_secs(10))
        .args(["metadata", "--brokers", brokers, "--topic", topic, "--timeout-ms"])
        .arg(timeout.as_millis().to_string())
}

/// `clients probe`: sends and receives one message, which also creates the topic.
pub fn probe(program: &Path, brokers: &str, topic: &str, timeout: Duration) -> Cmd {
    Cmd::new(program, timeout + Duration::from_secs(10))
        .args(["probe", "--brokers", brokers, "--topic", topic, "--timeout-ms"])
        .arg(timeout.as_millis().to_string())
}

/// `clients offsets`: prints the watermarks of every partition.
pub fn offsets(program: &Path, brokers: &str, topic: &str) -> Cmd {
    Cmd::new(program, Duration::from_secs(60)).args(["offsets", "--brokers", brokers, "--topic", topic])
}

/// `clients producer`: sends a run of `count` messages at full speed.
pub fn produce(
    program: &Path,
    brokers: &str,
    topic: &str,
    run: &str,
    count: u64,
    size: u32,
    deadline: Duration,
) -> Cmd {
    Cmd::new(program, deadline)
        .args(["producer", "--brokers", brokers, "--topic", topic, "--run", run, "--format", "json", "--rate", "0"])
        .args(["--count".to_string(), count.to_string(), "--value-size".into(), size.to_string()])
}

/// `clients consumer`: counts the messages of `run` between two offsets of each partition.
pub fn consume(
    program: &Path,
    brokers: &str,
    topic: &str,
    run: &str,
    range: &[(u32, u64, u64)],
    deadline: Duration,
) -> Cmd {
    let list = |pick: fn(&(u32, u64, u64)) -> u64| {
        range.iter().map(|part| format!("{}:{}", part.0, pick(part))).collect::<Vec<_>>().join(",")
    };
    Cmd::new(program, deadline)
        .args(["consumer", "--brokers", brokers, "--topic", topic, "--run", run, "--format", "json"])
        .args(["--start".to_string(), list(|part| part.1), "--end".into(), list(|part| part.2)])
}

#[cfg(test)]
mod tests {
    use ledger::lines::{Offsets, Watermarks};

    use super::*;

    #[test]
    fn only_marked_lines_of_the_schema_are_read() {
        let output = "2024/11/23 07:35:35 test: 1000 messages published\n\
            {\"schema\":\"kafka-lab.offsets/1\",\"topic\":\"test\",\"partitions\":[{\"partition\":0,\"low\":1,\"high\":5}]}\n\
            prefix {\"schema\":\"kafka-lab.offsets/1\"}\n{\"schema\":\"kafka-lab.offsets/12\"}\n{\"schema\":\"kafka-lab.offsets/1\",\n";
        let found: Vec<Offsets> = lines(output);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].partitions, [Watermarks { partition: 0, low: 1, high: 5 }]);
        assert_eq!(last::<Offsets>(output).as_ref(), found.last());
        assert_eq!(last::<Offsets>(&output.replace("offsets/1", "offsets/2")), None);
    }

    #[test]
    fn a_line_with_a_number_beyond_all_counts_is_nobodys() {
        let line = |high: &str| {
            format!(
                "{{\"schema\":\"kafka-lab.offsets/1\",\"topic\":\"12345678901234567890\\\"1\",\"partitions\":[{{\"partition\":0,\"low\":1,\"high\":{high}}}]}}"
            )
        };
        assert_eq!(lines::<Offsets>(&line("999999999999999")).len(), 1);
        assert_eq!(lines::<Offsets>(&line("1000000000000000")).len(), 0);
        assert!(numbers_can_be_added("{\"rate\":0.12345678901234567890}"));
    }

    #[test]
    fn ranges_are_spelled_per_partition() {
        let cmd = consume(Path::new("c"), "b", "t", "r", &[(0, 1, 2), (1, 3, 4)], Duration::ZERO);
        assert!(cmd.to_string().ends_with("--start 0:1,1:3 --end 0:2,1:4"), "{cmd}");
    }
}
