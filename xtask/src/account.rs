//! The exact account of a run of messages: what each partition was sent, what was acknowledged, what was received, and the
//! verdict. Pure.

use serde::Serialize;

use crate::tools::clients::{End, Stream};

/// What is known of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its number.
    pub partition: u32,
    /// Messages handed to librdkafka.
    pub sent: u64,
    /// Messages that the brokers acknowledged (acks=all).
    pub acked: u64,
    /// Messages of this run that were read, each once.
    pub received: u64,
    /// Acknowledged and not received.
    pub missing: u64,
    /// Received again at another offset.
    pub duplicate: u64,
    /// Received after a later one.
    pub out_of_order: u64,
    /// Records of other runs and of others between the two offsets: counted, not faulted.
    pub others: u64,
    /// End offset before the run.
    pub start: u64,
    /// End offset after the producer's last flush.
    pub end: u64,
    /// Records read between the two.
    pub records: u64,
}

/// What the flow check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every message arrived, once and in order.
    Pass,
    /// Something is wrong, and the reasons say what.
    Fail,
    /// It cannot be told, and the reasons say why.
    Inconclusive,
}

/// The account of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The run's id.
    pub run: String,
    /// The topic.
    pub topic: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not `pass`.
    pub reasons: Vec<String>,
    /// Each partition.
    pub partitions: Vec<Row>,
    /// How long the producer took, in ms.
    pub producer_ms: u64,
    /// How long the consumer took, in ms.
    pub consumer_ms: u64,
}

/// Compares what was promised with what was read. Pure.
pub fn judge(run: String, messages: u64, range: &[(u32, u64, u64)], produced: &End, consumed: &End) -> Report {
    let mut fail = Vec::new();
    let mut unsure = Vec::new();
    let mut rows = Vec::new();
    for &(partition, start, end) in range {
        let sent = produced.partitions.iter().find(|counts| counts.partition == partition).cloned().unwrap_or_default();
        let Some(read) = consumed.partitions.iter().find(|counts| counts.partition == partition) else {
            unsure.push(format!("partition {partition}: the consumer says nothing of it"));
            continue;
        };
        // Sequences are dense, so what the producer numbered and the consumer never saw is a gap before the last one
        // seen, or the tail after it.
        let gaps: u64 = produced
            .streams
            .iter()
            .filter(|stream| stream.partition == partition)
            .map(|stream| {
                let seen = consumed.streams.iter().find(|seen| {
                    seen.partition == partition && seen.producer == stream.producer && seen.epoch == stream.epoch
                });
                seen.map_or(stream.sent, |seen| seen.missing_count + stream.sent.saturating_sub(seen.next))
            })
            .sum();
        // What was never persisted may be absent; what is unknown may be either.
        let excused = sent.not_persisted + sent.unknown;
        let row = Row {
            partition,
            sent: sent.sent,
            acked: sent.acked,
            received: read.received,
            missing: gaps.saturating_sub(excused),
            duplicate: read.duplicate,
            out_of_order: read.out_of_order,
            others: read.other_runs + read.foreign,
            start,
            end,
            records: read.records,
        };
        // What was read proves these, whatever else cannot be told.
        for (count, what) in [
            (row.duplicate, "received twice"),
            (row.out_of_order, "out of order"),
            (read.corrupt, "corrupt: their checksum does not match"),
            (read.misrouted, "in another partition than they were sent to"),
            (sent.not_persisted, "not persisted"),
        ] {
            if count > 0 {
                fail.push(format!("partition {partition}: {count} {what}"));
            }
        }
        let inexact = |stream: &&Stream| stream.partition == partition && stream.exact == Some(false);
        let low = read.low.unwrap_or(0);
        let unread = if read.start_moved || low > start {
            Some(format!("retention moved the log's start to {low}, past {start}, where the run began"))
        } else if read.next < end {
            Some(format!("read up to {}, not to {end} ({})", read.next, consumed.reason))
        } else if consumed.streams.iter().any(|stream| inexact(&stream)) {
            Some("more gaps than the consumer can keep apart".into())
        } else {
            None
        };
        if sent.unknown > 0 {
            unsure.push(format!("partition {partition}: the fate of {} is unknown to the producer", sent.unknown));
        }
        if let Some(why) = unread {
            unsure.push(format!("partition {partition}: {why}"));
        } else {
            // All between the two offsets was read, so what is not there is missing.
            let counted = read.received + read.duplicate + read.corrupt + read.misrouted + row.others;
            if row.missing > 0 {
                fail.push(format!("partition {partition}: {} acknowledged and not received", row.missing));
            } else if excused == 0 && row.received != row.acked {
                fail.push(format!("partition {partition}: acked {} but received {}", row.acked, row.received));
            }
            if row.records != end - start {
                let records = row.records;
                fail.push(format!(
                    "partition {partition}: {records} records read, the broker's offsets say {}",
                    end - start
                ));
            } else if counted != row.records {
                let records = row.records;
                fail.push(format!("partition {partition}: {records} records read, {counted} of them accounted for"));
            }
        }
        rows.push(row);
    }
    let sent: u64 = produced.partitions.iter().map(|counts| counts.sent).sum();
    if sent != messages {
        fail.push(format!("{sent} messages sent of {messages} asked for ({})", produced.reason));
    }
    if !fail.is_empty() {
        fail.extend(produced.errors.iter().map(|(code, count)| format!("delivery error {code}, {count} times")));
    }
    for row in rows.iter().filter(|row| row.sent == 0 && messages >= range.len() as u64) {
        fail.push(format!("partition {}: nothing was sent to it", row.partition));
    }
    // A proven fault outweighs a doubt.
    let verdict = match (fail.is_empty(), unsure.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Inconclusive,
        (true, true) => Verdict::Pass,
    };
    fail.extend(unsure);
    Report {
        run,
        topic: String::new(),
        verdict,
        reasons: fail,
        partitions: rows,
        producer_ms: produced.elapsed_ms,
        consumer_ms: consumed.elapsed_ms,
    }
}

/// The account as a table.
pub fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:>9} {:>10} {:>10} {:>10} {:>8} {:>10} {:>13} {:>8}  {}",
        "partition", "sent", "acked", "received", "missing", "duplicate", "out of order", "others", "offsets"
    )];
    for row in &report.partitions {
        lines.push(format!(
            "{:>9} {:>10} {:>10} {:>10} {:>8} {:>10} {:>13} {:>8}  {}..{}",
            row.partition,
            row.sent,
            row.acked,
            row.received,
            row.missing,
            row.duplicate,
            row.out_of_order,
            row.others,
            row.start,
            row.end
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::clients::Counts;

    const RANGE: [(u32, u64, u64); 2] = [(0, 100, 160), (1, 7, 57)];

    /// 50 messages to each of two partitions, and ten records of somebody else in partition 0.
    fn clean() -> (End, End) {
        let sent = |partition| Counts { partition, sent: 50, acked: 50, ..Counts::default() };
        let read = |partition, start, next, others| Counts {
            partition,
            start,
            next,
            low: Some(0),
            records: next - start,
            received: 50,
            other_runs: others,
            ..Counts::default()
        };
        let stream = |partition| Stream { producer: "p".into(), partition, sent: 50, next: 50, ..Stream::default() };
        let end = |partitions, reason: &str| End {
            event: "end".into(),
            reason: reason.into(),
            partitions,
            streams: vec![stream(0), stream(1)],
            ..End::default()
        };
        (end(vec![sent(0), sent(1)], "count"), end(vec![read(0, 100, 160, 10), read(1, 7, 57, 0)], "end"))
    }

    fn verdict(change: impl Fn(&mut End, &mut End)) -> (Verdict, String) {
        let (mut produced, mut consumed) = clean();
        change(&mut produced, &mut consumed);
        let report = judge("r".into(), 100, &RANGE, &produced, &consumed);
        (report.verdict, report.reasons.join("; "))
    }

    #[test]
    fn a_clean_run_passes_and_others_are_only_counted() {
        let (produced, consumed) = clean();
        let report = judge("r".into(), 100, &RANGE, &produced, &consumed);
        assert_eq!((report.verdict, report.reasons.as_slice()), (Verdict::Pass, [].as_slice()));
        assert_eq!(report.partitions[0].others, 10);
    }

    #[test]
    fn each_fault_is_found_and_named() {
        type Change = fn(&mut End, &mut End);
        let table: &[(Change, &str)] = &[
            // The tail is lost: the log is shorter, and nobody knows but the producer.
            (
                |_, c| {
                    c.partitions[1].received = 48;
                    c.streams[1].next = 48;
                    c.partitions[1].other_runs = 2;
                },
                "partition 1: 2 acknowledged and not received",
            ),
            (
                |_, c| {
                    c.partitions[0].received = 49;
                    c.streams[0].missing_count = 1;
                    c.partitions[0].other_runs = 11;
                },
                "partition 0: 1 acknowledged and not received",
            ),
            (
                |_, c| {
                    c.streams.remove(0);
                    c.partitions[0].received = 0;
                    c.partitions[0].other_runs = 60;
                },
                "partition 0: 50 acknowledged and not received",
            ),
            (
                |_, c| {
                    c.partitions[0].duplicate = 1;
                    c.partitions[0].other_runs = 9;
                },
                "partition 0: 1 received twice",
            ),
            (|_, c| c.partitions[1].out_of_order = 3, "partition 1: 3 out of order"),
            (
                |_, c| {
                    c.partitions[1].corrupt = 1;
                    c.partitions[1].received = 49;
                },
                "partition 1: 1 corrupt",
            ),
            (|_, c| c.partitions[1].misrouted = 1, "in another partition"),
            (|_, c| c.partitions[0].records = 59, "59 records read, the broker's offsets say 60"),
            (|_, c| c.partitions[0].other_runs = 9, "60 records read, 59 of them accounted for"),
            (
                |p, _| {
                    p.partitions[0].acked = 49;
                    p.partitions[0].not_persisted = 1;
                },
                "partition 0: 1 not persisted",
            ),
            (
                |p, c| {
                    p.partitions[1].sent = 49;
                    p.partitions[1].acked = 49;
                    p.streams[1].sent = 49;
                    c.partitions[1].received = 49;
                    c.streams[1].next = 49;
                    c.partitions[1].foreign = 1;
                },
                "99 messages sent of 100 asked for (count)",
            ),
        ];
        for (change, expected) in table {
            let (found, reasons) = verdict(change);
            assert_eq!(found, Verdict::Fail, "{expected}: {reasons}");
            assert!(reasons.contains(expected), "{expected} is not in: {reasons}");
        }
    }

    #[test]
    fn a_fault_that_is_proven_outweighs_a_doubt() {
        let (found, reasons) = verdict(|_, consumed| {
            consumed.partitions[0].start_moved = true;
            consumed.partitions[1].duplicate = 1;
            consumed.partitions[1].received = 49;
        });
        assert_eq!(found, Verdict::Fail, "{reasons}");
        assert!(reasons.contains("partition 1: 1 received twice") && reasons.contains("retention moved"), "{reasons}");
    }

    #[test]
    fn what_cannot_be_told_is_inconclusive() {
        type Change = fn(&mut End, &mut End);
        let table: &[(Change, &str)] = &[
            (|_, c| c.partitions[0].start_moved = true, "retention moved the log's start"),
            (|_, c| c.partitions[1].low = Some(30), "retention moved the log's start to 30, past 7"),
            (
                |_, c| {
                    c.partitions[1].next = 40;
                    c.reason = "idle".into();
                },
                "read up to 40, not to 57 (idle)",
            ),
            (
                |_, c| {
                    c.partitions.pop();
                },
                "partition 1: the consumer says nothing of it",
            ),
            (
                |p, _| {
                    p.partitions[0].acked = 49;
                    p.partitions[0].unknown = 1;
                },
                "the fate of 1 is unknown",
            ),
            (|_, c| c.streams[0].exact = Some(false), "more gaps than the consumer can keep apart"),
        ];
        for (change, expected) in table {
            let (found, reasons) = verdict(change);
            assert_eq!(found, Verdict::Inconclusive, "{expected}: {reasons}");
            assert!(reasons.contains(expected), "{expected} is not in: {reasons}");
        }
    }
}
