//! When partitions went on after a fault, from the lines of clients that were told to report gaps. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tools::clients;

/// Shortest gap between two messages of a partition that clients report, in ms.
pub const LEAST_GAP_MS: u64 = 100;

/// A `kafka-lab.gap/1` line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Gap {
    /// `acked` or `received`.
    pub what: String,
    /// The partition.
    pub partition: u32,
    /// The last message before, in ms since the Unix epoch.
    pub from_ms: u64,
    /// The first one after.
    pub to_ms: u64,
}

/// The gaps in what a client printed.
pub fn gaps(output: &str) -> Vec<Gap> {
    clients::lines(output, "kafka-lab.gap/1")
}

/// How a partition came through. A time that is absent is shorter than [`LEAST_GAP_MS`]: the fault did not stop it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The partition.
    pub partition: u32,
    /// From the fault to the first acknowledgement after it, in ms.
    pub acked_after_ms: Option<u64>,
    /// From the fault to the first receipt after it, in ms.
    pub received_after_ms: Option<u64>,
    /// Longest time between two acknowledgements from the fault on, in ms.
    pub longest_ack_gap_ms: u64,
    /// Longest time between two receipts from the fault on, in ms.
    pub longest_receive_gap_ms: u64,
}

/// How each partition came through a fault at `struck_ms`.
pub fn rows(gaps: &[Gap], partitions: u32, struck_ms: u64) -> Vec<Row> {
    let mut rows: BTreeMap<u32, Row> = (0..partitions).map(|p| (p, Row { partition: p, ..Row::default() })).collect();
    for gap in gaps.iter().filter(|gap| gap.to_ms > struck_ms) {
        let row = rows.entry(gap.partition).or_insert_with(|| Row { partition: gap.partition, ..Row::default() });
        let (after, longest) = match gap.what.as_str() {
            "acked" => (&mut row.acked_after_ms, &mut row.longest_ack_gap_ms),
            _ => (&mut row.received_after_ms, &mut row.longest_receive_gap_ms),
        };
        *longest = (*longest).max(gap.to_ms - gap.from_ms.min(gap.to_ms));
        // A request that was on its way may still be answered just after the fault.
        if gap.from_ms <= struck_ms + LEAST_GAP_MS {
            let this = gap.to_ms - struck_ms;
            *after = Some(after.map_or(this, |earlier| earlier.max(this)));
        }
    }
    rows.into_values().collect()
}

/// The longest gap that was over before the fault, in ms: how calm the machine was.
pub fn calm(gaps: &[Gap], struck_ms: u64) -> u64 {
    let before = gaps.iter().filter(|gap| gap.to_ms <= struck_ms);
    before.map(|gap| gap.to_ms - gap.from_ms.min(gap.to_ms)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(what: &str, partition: u32, from_ms: u64, to_ms: u64) -> Gap {
        Gap { what: what.into(), partition, from_ms, to_ms }
    }

    #[test]
    fn lines_of_gaps_are_read_among_others() {
        let line = "{\"schema\":\"kafka-lab.gap/1\",\"what\":\"acked\",\"partition\":2,\"from_ms\":5,\"to_ms\":905}";
        assert_eq!(gaps(&format!("noise\n{line}\n{{\"schema\":\"kafka-lab.gap/1\",")), [gap("acked", 2, 5, 905)]);
    }

    #[test]
    fn the_gap_around_the_fault_counts_and_those_before_do_not() {
        let found = [
            gap("acked", 0, 100, 350),
            gap("acked", 0, 990, 5200),
            gap("acked", 0, 7000, 12000),
            gap("received", 0, 1040, 5300),
            gap("acked", 1, 8000, 8200),
        ];
        let rows = rows(&found, 3, 1000);
        assert_eq!(rows[0].acked_after_ms, Some(4200));
        assert_eq!(rows[0].received_after_ms, Some(4300));
        assert_eq!((rows[0].longest_ack_gap_ms, rows[0].longest_receive_gap_ms), (5000, 4260));
        assert_eq!((rows[1].acked_after_ms, rows[1].longest_ack_gap_ms), (None, 200));
        assert_eq!(rows[2], Row { partition: 2, ..Row::default() });
        assert_eq!(calm(&found, 1000), 250);
    }
}
