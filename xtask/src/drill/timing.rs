//! How long partitions stood still after a fault, from the gaps that the clients report. Pure.

use ledger::lines::{Gap, Milestone};
use serde::Serialize;

use crate::tools::clients;

/// Shortest gap between two messages of a partition that clients report, in ms.
pub const LEAST_GAP_MS: u64 = 100;

/// How late the effect of a fault may begin, in ms: a broker that gets SIGTERM hands its leaderships over first.
const EFFECT_MS: u64 = 3_000;

/// Returns the gaps in a client's output.
pub fn gaps(output: &str) -> Vec<Gap> {
    clients::lines(output)
}

/// The gaps of one partition. A time that is absent is shorter than [`LEAST_GAP_MS`]: the fault did not stop it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionTiming {
    /// Partition number.
    pub partition: u32,
    /// From the fault to the first acknowledgement after the longest gap that it caused, in ms.
    pub acked_after_ms: Option<u64>,
    /// From the fault to the first receipt after the longest gap that it caused, in ms.
    pub received_after_ms: Option<u64>,
    /// Longest time between two acknowledgements after the fault, in ms.
    pub longest_ack_gap_ms: u64,
    /// Longest time between two receipts after the fault, in ms.
    pub longest_receive_gap_ms: u64,
}

/// Returns the timing of each partition after a fault at `struck_ms`.
pub fn partitions(gaps: &[Gap], partitions: u32, struck_ms: u64) -> Vec<PartitionTiming> {
    let of = |what: Milestone, partition: u32| {
        let mine = gaps.iter().filter(move |gap| gap.partition == partition && gap.to_ms > struck_ms);
        // A gap of length 0 is a new process, which replaces one that ran until the fault, or a new partition.
        let begun = |gap: &Gap| if gap.from_ms == gap.to_ms { struck_ms } else { gap.from_ms };
        let mine: Vec<(u64, u64)> = mine.filter(|gap| gap.what == what).map(|gap| (begun(gap), gap.to_ms)).collect();
        let length = |(from, to): &(u64, u64)| to.saturating_sub(*from);
        let stopped = mine.iter().filter(|(from, _)| *from <= struck_ms + EFFECT_MS).max_by_key(|gap| length(gap));
        (stopped.map(|(_, to)| to - struck_ms), mine.iter().map(length).max().unwrap_or(0))
    };
    (0..partitions)
        .map(|partition| {
            let (acked_after_ms, longest_ack_gap_ms) = of(Milestone::Acked, partition);
            let (received_after_ms, longest_receive_gap_ms) = of(Milestone::Received, partition);
            PartitionTiming { partition, acked_after_ms, received_after_ms, longest_ack_gap_ms, longest_receive_gap_ms }
        })
        .collect()
}

/// How long after the last server died an acknowledgement may still arrive, in ms: the answer was already sent, or the
/// producer was busy.
const ON_ITS_WAY_MS: u64 = 1_000;

/// Whether nothing was acknowledged in any partition while servers were down, `from` and `to` in ms since the Unix
/// epoch.
pub fn stood_still(gaps: &[Gap], partitions: u32, (from, to): (u64, u64)) -> bool {
    let covers = |gap: &Gap| gap.what == Milestone::Acked && gap.from_ms <= from + ON_ITS_WAY_MS && gap.to_ms >= to;
    partitions > 0 && (0..partitions).all(|partition| gaps.iter().any(|gap| gap.partition == partition && covers(gap)))
}

/// The longest gap that ended before the fault, in ms: the noise of the machine.
pub fn calm(gaps: &[Gap], struck_ms: u64) -> u64 {
    let before = gaps.iter().filter(|gap| gap.to_ms <= struck_ms);
    before.map(Gap::length).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use ledger::lines::GAP;
    use ledger::lines::Milestone::{Acked, Received};

    use super::*;

    fn gap(what: Milestone, partition: u32, from_ms: u64, to_ms: u64) -> Gap {
        Gap { schema: GAP.into(), what, partition, from_ms, to_ms }
    }

    #[test]
    fn lines_of_gaps_are_read_among_others() {
        let line = "{\"schema\":\"kafka-lab.gap/1\",\"what\":\"acked\",\"partition\":2,\"from_ms\":5,\"to_ms\":905}";
        assert_eq!(gaps(&format!("noise\n{line}\n{{\"schema\":\"kafka-lab.gap/1\",")), [gap(Acked, 2, 5, 905)]);
    }

    #[test]
    fn standing_still_is_to_acknowledge_nothing_in_any_partition_until_the_servers_are_started_again() {
        let down = (10_000, 22_000);
        let still = [gap(Acked, 0, 9_900, 25_000), gap(Acked, 1, 10_300, 22_400), gap(Received, 1, 9_000, 15_000)];
        assert!(stood_still(&still, 2, down));
        assert!(!stood_still(&still, 3, down), "of one partition there is no gap");
        // As after an ordinary failover: longer than any session, and yet acknowledged while two brokers are down.
        let mut resumed = still.to_vec();
        resumed[1].to_ms = 16_000;
        assert!(!stood_still(&resumed, 2, down));
        resumed.push(gap(Acked, 1, 16_000, 30_000));
        assert!(!stood_still(&resumed, 2, down));
        assert!(!stood_still(&[], 0, down));
    }

    #[test]
    fn the_gap_around_the_fault_counts_and_those_before_do_not() {
        let found = [
            gap(Acked, 0, 100, 350),
            gap(Acked, 0, 990, 5200),
            gap(Acked, 0, 7000, 12000),
            gap(Received, 0, 1040, 5300),
            gap(Acked, 1, 1500, 1700),
            gap(Acked, 1, 3000, 5000),
            gap(Acked, 1, 5000, 9000),
            gap(Acked, 3, 10, 10),
            gap(Acked, 3, 1600, 1600),
        ];
        let rows = partitions(&found, 4, 1000);
        assert_eq!(rows[0].acked_after_ms, Some(4200));
        assert_eq!(rows[0].received_after_ms, Some(4300));
        assert_eq!((rows[0].longest_ack_gap_ms, rows[0].longest_receive_gap_ms), (5000, 4260));
        assert_eq!((rows[1].acked_after_ms, rows[1].longest_ack_gap_ms), (Some(4000), 4000), "it began late");
        assert_eq!(rows[2], PartitionTiming { partition: 2, ..PartitionTiming::default() });
        assert_eq!((rows[3].acked_after_ms, rows[3].longest_ack_gap_ms), (Some(600), 600), "another process went on");
        assert_eq!(calm(&found, 1000), 250);
    }
}
