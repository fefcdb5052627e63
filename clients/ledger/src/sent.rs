//! What a producer knows about the messages it sent.

use crate::intervals::IntervalSet;

/// The outcome of one sent record. librdkafka's term (`rd_kafka_msg_status_t`) is in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Confirmed by the brokers (`PERSISTED`).
    Acked,
    /// Certainly not written (`NOT_PERSISTED`).
    NotPersisted,
    /// Possibly written (`POSSIBLY_PERSISTED`).
    Unknown,
}

/// What a producer knows about one stream, that is, one (producer, epoch, partition).
#[derive(Clone, Debug, Default)]
pub struct SendLedger {
    /// Number of sequences used: `[0, sent)`.
    pub sent: u64,
    /// Number of acked records.
    pub acked: u64,
    /// Number of records certainly not written.
    pub not_persisted: u64,
    /// Number of records that may or may not have been written.
    pub unknown: u64,
    acked_set: IntervalSet,
    not_persisted_set: IntervalSet,
    unknown_set: IntervalSet,
    inexact: bool,
}

impl SendLedger {
    /// The sequence of the next record. Changes only with [`SendLedger::accepted`].
    pub fn next_sequence(&self) -> u64 {
        self.sent
    }

    /// Counts the record with [`SendLedger::next_sequence`], which librdkafka's queue accepted.
    pub fn accepted(&mut self) {
        self.sent += 1;
    }

    /// Number of records sent and not settled yet.
    pub fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.acked + self.not_persisted + self.unknown)
    }

    /// Records the outcome of `sequence`. Call it once for each.
    #[inline]
    pub fn settle(&mut self, sequence: u64, outcome: SendOutcome) {
        let (count, set) = match outcome {
            SendOutcome::Acked => (&mut self.acked, &mut self.acked_set),
            SendOutcome::NotPersisted => (&mut self.not_persisted, &mut self.not_persisted_set),
            SendOutcome::Unknown => (&mut self.unknown, &mut self.unknown_set),
        };
        *count += 1;
        if crate::accounts() {
            self.inexact |= !set.insert(sequence, sequence + 1);
        }
    }

    /// Marks everything in flight as unknown. Call it when the handle is gone, since no more reports can arrive.
    pub fn abandon(&mut self) {
        let lost = self.in_flight();
        if lost == 0 {
            return;
        }
        let mut open = IntervalSet::span(0, self.sent);
        for settled in [&self.acked_set, &self.not_persisted_set, &self.unknown_set] {
            open = open.difference(settled);
        }
        for (from, to) in open.intervals() {
            self.inexact |= !self.unknown_set.insert(*from, *to);
        }
        self.unknown += lost;
    }

    /// The acked sequences.
    pub fn acked_set(&self) -> &IntervalSet {
        &self.acked_set
    }

    /// The sequences certainly not written.
    pub fn not_persisted_set(&self) -> &IntervalSet {
        &self.not_persisted_set
    }

    /// The sequences of unknown outcome.
    pub fn unknown_set(&self) -> &IntervalSet {
        &self.unknown_set
    }

    /// Whether the sets contain every sequence that was counted; false once a set was full.
    pub fn exact(&self) -> bool {
        !self.inexact
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::intervals::INTERVALS_MAX;

    #[test]
    fn what_was_sent_is_always_acked_not_persisted_unknown_or_in_flight() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut ledger = SendLedger::default();
            let mut open = Vec::new();
            let mut outcomes = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
            for _ in 0..200 {
                if random.bool() {
                    open.push(ledger.next_sequence());
                    ledger.accepted();
                } else if !open.is_empty() {
                    let sequence = open.remove(random.usize(0..open.len().min(5)));
                    let which = random.usize(0..3);
                    ledger
                        .settle(sequence, [SendOutcome::Acked, SendOutcome::NotPersisted, SendOutcome::Unknown][which]);
                    outcomes[which].insert(sequence);
                }
                assert_eq!(ledger.sent, ledger.acked + ledger.not_persisted + ledger.unknown + ledger.in_flight());
            }
            outcomes[2].extend(open);
            ledger.abandon();
            assert_eq!((ledger.in_flight(), ledger.exact()), (0, true));
            for (set, expected) in
                [ledger.acked_set(), ledger.not_persisted_set(), ledger.unknown_set()].into_iter().zip(outcomes)
            {
                let listed: BTreeSet<u64> = set.intervals().iter().flat_map(|(a, b)| *a..*b).collect();
                assert_eq!(listed, expected, "seed {seed}");
            }
        }
    }

    #[test]
    fn what_is_abandoned_beyond_the_bound_of_its_set_is_counted_and_no_longer_exact() {
        for (open, exact) in [(INTERVALS_MAX, true), (INTERVALS_MAX + 1, false)] {
            let mut ledger = SendLedger::default();
            for pair in 0..open as u64 {
                (0..2).for_each(|_| ledger.accepted());
                // Neither of these sets comes near its limit.
                let outcome = if pair % 2 == 0 { SendOutcome::Acked } else { SendOutcome::NotPersisted };
                ledger.settle(pair * 2, outcome);
            }
            assert!(ledger.exact());
            ledger.abandon();
            assert_eq!((ledger.unknown, ledger.in_flight(), ledger.exact()), (open as u64, 0, exact));
        }
    }
}
