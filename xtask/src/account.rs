//! The account of a run of messages as text. [`ledger::judge`] makes it.

use ledger::judge::{Report, Row};

/// Returns the account as a table.
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
    for row in report.partitions.iter().filter(|row| row.markers + row.compacted > 0) {
        lines.push(format!(
            "partition {}: {} offsets are transaction markers, {} were compacted",
            row.partition, row.markers, row.compacted
        ));
    }
    lines.join("\n") + "\n"
}

/// Returns the sums over all partitions, in one line.
pub fn totals(report: &Report) -> String {
    let sum = |pick: fn(&Row) -> u64| report.partitions.iter().map(pick).sum::<u64>();
    format!(
        "sent {}, acked {}, received {}, missing {}, duplicate {}, out of order {}",
        sum(|row| row.sent),
        sum(|row| row.acked),
        sum(|row| row.received),
        sum(|row| row.missing),
        sum(|row| row.duplicate),
        sum(|row| row.out_of_order)
    )
}

#[cfg(test)]
pub mod tests {
    use ledger::judge::{LEDGER, Verdict};

    use super::*;

    /// Returns an account of two partitions with a missing message each.
    pub fn report() -> Report {
        let row =
            |partition| Row { partition, sent: 50, acked: 50, received: 49, missing: 1, end: 60, ..Row::default() };
        Report {
            schema: LEDGER.into(),
            run: ledger::stamp::RunId::random(),
            topic: "test".into(),
            verdict: Verdict::Fail,
            reasons: Vec::new(),
            findings: Vec::new(),
            ended: 1,
            died: 0,
            partitions: vec![row(0), Row { markers: 3, ..row(1) }],
            evidence: Vec::new(),
            producer_ms: 0,
            consumer_ms: 0,
        }
    }

    #[test]
    fn each_partition_is_a_line_under_the_same_heads() {
        let table = table(&report());
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..5], ["partition", "sent", "acked", "received", "missing"]);
        assert_eq!(lines[2], ["1", "50", "50", "49", "1", "0", "0", "0", "0..60"]);
        assert!(table.ends_with("\npartition 1: 3 offsets are transaction markers, 0 were compacted\n"), "{table}");
    }
}
