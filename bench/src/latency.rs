//! Latencies: from the time at which a message was due until it was read.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ledger::stamp::{self, Value};
use serde::Deserialize;

use crate::peers::Job;
use crate::process::{Running, Variables};
use crate::result::Quantiles;
use crate::stats::quantile;
use crate::stop::Stop;

/// The first messages, which wait for connections, do not count: this many milliseconds of them.
const WARM_UP_MS: u64 = 1000;

/// The messages of a job that come before those that count.
fn warm_up(job: &Job) -> usize {
    let messages = (job.rate * WARM_UP_MS / 1000).min(job.messages / 10);
    usize::try_from(messages).unwrap_or(usize::MAX)
}

fn quantiles(mut ages: Vec<u64>) -> Result<Quantiles> {
    ages.sort_unstable();
    let of = |share| quantile(&ages, share).context("no message counts");
    Ok(Quantiles {
        p50_us: of(0.5)?,
        p90_us: Some(of(0.9)?),
        p99_us: of(0.99)?,
        p999_us: of(0.999)?,
        max_us: Some(of(1.0)?),
    })
}

/// The quantiles of what a program prints: microseconds, a line for each message in the order of their arrival.
///
/// # Errors
/// It is anything else.
pub fn of_lines(stdout: &str, job: &Job) -> Result<Quantiles> {
    let ages: Vec<u64> = stdout.lines().map(str::parse).collect::<Result<_, _>>().context("a line is no number")?;
    if ages.len() as u64 != job.messages {
        bail!("it read {} of {} messages", ages.len(), job.messages);
    }
    quantiles(ages.into_iter().skip(warm_up(job)).collect())
}

/// The quantiles that Kafka's `EndToEndLatency` prints: `Percentiles: 50th = 2, 99th = 5, 99.9th = 14`.
///
/// # Errors
/// It prints anything else.
pub fn end_to_end(stdout: &str) -> Result<Quantiles> {
    let line =
        stdout.lines().find_map(|line| line.strip_prefix("Percentiles: ")).context("it printed no percentiles")?;
    let of = |name: &str| -> Result<u64> {
        let field = line.split(", ").find_map(|field| field.strip_prefix(name)).context("a percentile is missing")?;
        Ok(field.trim_start_matches([' ', '=']).trim().parse::<u64>().context("a percentile is no number")? * 1000)
    };
    Ok(Quantiles { p50_us: of("50th")?, p90_us: None, p99_us: of("99th")?, p999_us: of("99.9th")?, max_us: None })
}

/// Runs the lab's consumer and its producer, and compares what both print.
///
/// # Errors
/// One of them fails, or not every message was read.
pub fn ours(producer: &[String], consumer: &[String], job: &Job, stop: &Stop) -> Result<Quantiles> {
    let within = Duration::from_secs(120 + job.messages / job.rate.max(1));
    let reading = Running::start(consumer, Variables::Few, &[])?;
    // It is ready long before this; the first second does not count in any case.
    std::thread::sleep(Duration::from_secs(1));
    let sent = Running::start(producer, Variables::Few, &[]).and_then(|sending| sending.finish(within, stop));
    std::thread::sleep(Duration::from_secs(1));
    reading.terminate();
    let read = reading.finish(within, stop);
    sent?;
    let arrivals = arrivals(&read?.stdout)?;
    if arrivals.len() as u64 != job.messages {
        bail!("it read {} of {} messages", arrivals.len(), job.messages);
    }
    quantiles(ages(arrivals, job.rate).into_iter().skip(warm_up(job)).collect())
}

/// A message: when it was sent and when it was read, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    sent_ms: u64,
    /// Its place among the messages of its partition.
    sequence: u64,
    read_ms: u64,
}

/// What the lab's consumer prints with `--verifiable`, as far as it is read here.
#[derive(Deserialize)]
struct RecordData {
    timestamp: u64,
    value: Option<String>,
}

fn arrivals(stdout: &str) -> Result<Vec<Arrival>> {
    let lines = stdout.lines().filter(|line| line.contains("\"name\":\"record_data\""));
    lines
        .map(|line| {
            let record: RecordData = serde_json::from_str(line).context("a record is no JSON")?;
            let value = record.value.context("a record without a value")?;
            let Value::Stamped(stamp) = stamp::parse(Some(value.as_bytes())) else {
                bail!("a value is no stamp: {value}")
            };
            Ok(Arrival { sent_ms: stamp.sent_ms, sequence: stamp.sequence, read_ms: record.timestamp })
        })
        .collect()
}

/// Microseconds from the time at which each message was due until it was read, in the order of sending. Messages were
/// due evenly, and none was sent before it was due: so the first was due at the latest time for which that holds.
fn ages(mut arrivals: Vec<Arrival>, rate: u64) -> Vec<u64> {
    arrivals.sort_unstable();
    let offset_us = |at: usize| at as u64 * 1_000_000 / rate.max(1);
    let sent_us = arrivals.iter().enumerate().map(|(at, one)| (one.sent_ms * 1000).saturating_sub(offset_us(at)));
    let origin = sent_us.min().unwrap_or(0);
    let age = |(at, one): (usize, &Arrival)| (one.read_ms * 1000).saturating_sub(origin + offset_us(at));
    arrivals.iter().enumerate().map(age).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_stall_of_the_sender_counts_for_every_message_that_was_due() {
        // 1000 messages a second; the sender stands still from 10 ms to 50 ms and then sends what was due.
        let sent = |due: u64| if (10..50).contains(&due) { 50 } else { due };
        let arrivals: Vec<Arrival> = (0..100)
            .map(|due| Arrival { sent_ms: 7000 + sent(due), sequence: due, read_ms: 7000 + sent(due) + 2 })
            .collect();
        let ages = ages(arrivals, 1000);
        assert_eq!((ages[0], ages[10], ages[30], ages[49], ages[50]), (2000, 42_000, 22_000, 3000, 2000));
    }

    #[test]
    fn quantiles_leave_the_first_messages_out() {
        let job = Job { messages: 100, rate: 5, ..Job::default() };
        let lines: String = (0..100).map(|at| if at < 5 { "900000\n".into() } else { format!("{at}\n") }).collect();
        let found = of_lines(&lines, &job).unwrap();
        assert_eq!((found.p50_us, found.p99_us, found.max_us), (52, 99, Some(99)));
        assert!(of_lines("1\n2\n", &job).unwrap_err().to_string().contains("2 of 100"));
        assert!(of_lines("x\n", &job).is_err());
    }

    #[test]
    fn kafkas_own_percentiles_are_read() {
        let said = "0\t3.1\nAvg latency: 2.6141 ms\n\nPercentiles: 50th = 2, 99th = 5, 99.9th = 14\n";
        let found = end_to_end(said).unwrap();
        assert_eq!((found.p50_us, found.p99_us, found.p999_us, found.max_us), (2000, 5000, 14_000, None));
        assert!(end_to_end("nothing").is_err());
    }
}
