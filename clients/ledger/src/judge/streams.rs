//! Compares what was promised of a stream with what arrived, and collects findings.

use std::fmt::Display;

use super::claim::Claim;
use crate::intervals::IntervalSet;
use crate::lines::{
    ConsumerState, Evidence, Finding, Kind, ReceivePartition, ReceiveStream, ReceiveTotals, Row, SendStream, SendTotals,
};
use crate::stamp::ProducerId;

/// Maximum number of intervals in a text.
const SPELLED_MAX: usize = 3;

/// Identifies a stream within a partition: the producer and its epoch, which stands for a handle.
pub(super) type HandleKey = (ProducerId, u32);

/// What may be in the log although the consumer has not read it.
#[derive(Clone, Copy)]
pub(super) struct Unread {
    /// Number of offsets that were not read. Any message may be at one of them.
    pub(super) offsets: u64,
    /// Sequences below this may be before the offset at which reading began.
    pub(super) below: u64,
    /// Number of messages that fit before that offset. They are the first of their stream.
    pub(super) room: u64,
}

/// The findings so far.
#[derive(Default)]
pub(super) struct StreamFindings {
    pub(super) found: Vec<(Finding, String)>,
    pub(super) evidence: Vec<Evidence>,
}

impl StreamFindings {
    pub(super) fn add(&mut self, kind: Kind, partition: Option<i32>, count: u64, what: impl Display) {
        let text = match partition {
            Some(partition) => format!("partition {partition}: {what}"),
            None => what.to_string(),
        };
        self.found.push((Finding { kind, partition, count }, text));
    }

    /// Checks that a producer's totals match its parts. Otherwise adds a doubt.
    pub(super) fn producer_adds_up(&mut self, claim: &Claim) {
        let Some(state) = &claim.state else { return };
        let mut by_partition = SendTotals::default();
        for row in &state.partitions {
            by_partition.sent += row.sent;
            by_partition.acked += row.acked;
            by_partition.not_persisted += row.not_persisted;
            by_partition.unknown += row.unknown;
        }
        let mut by_stream = SendTotals::default();
        for stream in &state.streams {
            by_stream.sent += stream.sent;
            by_stream.acked += stream.acked;
            by_stream.not_persisted += stream.not_persisted;
            by_stream.unknown += stream.unknown;
        }
        let totals = SendTotals { in_flight: 0, ..state.totals };
        let settled = totals.acked + totals.not_persisted + totals.unknown + state.totals.in_flight;
        // Folded epochs are only in the totals.
        let streams_agree = state.folded_epochs > 0 || by_stream == totals;
        let partitions_agree = state.partitions.is_empty() || by_partition == totals;
        if settled != totals.sent || !streams_agree || !partitions_agree {
            let what = format_args!("the totals of producer {} do not match its parts", claim.producer);
            self.add(Kind::Contradiction, None, 1, what);
        }
    }

    /// Checks that a consumer's totals match its partitions. Otherwise adds a doubt.
    pub(super) fn consumer_adds_up(&mut self, received: &ConsumerState) {
        let mut sum = ReceiveTotals::default();
        for ReceivePartition { counts, .. } in &received.partitions {
            sum.records += counts.records;
            sum.received += counts.received;
            sum.missing = sum.missing.saturating_add(counts.missing);
            sum.duplicate += counts.duplicate;
            sum.out_of_order += counts.out_of_order;
            sum.corrupt += counts.corrupt;
            sum.misrouted += counts.misrouted;
            sum.copied += counts.copied;
            sum.other_runs += counts.other_runs;
            sum.foreign += counts.foreign;
            sum.redelivered += counts.redelivered;
        }
        if sum != received.totals {
            self.add(Kind::Contradiction, None, 1, "the consumer's totals do not match its partitions");
        }
    }

    /// Adds faults in what was read from a partition, which hold whatever else is unknown.
    pub(super) fn read(&mut self, partition: i32, counts: &ReceiveTotals) {
        for (kind, count, what) in [
            (Kind::Duplicate, counts.duplicate, "received twice"),
            (Kind::OutOfOrder, counts.out_of_order, "out of order"),
            (Kind::Corrupt, counts.corrupt, "corrupt: checksum mismatch"),
            (Kind::Misrouted, counts.misrouted, "in a partition other than the one they were sent to"),
        ] {
            if count > 0 {
                self.add(kind, Some(partition), count, format_args!("{count} {what}"));
            }
        }
    }

    /// Adds faults if the log was recreated or truncated.
    pub(super) fn other_log(&mut self, read: &ReceivePartition) {
        let at = Some(read.partition);
        if read.log_restarts > 0 {
            let what = "the log ended below what had already been read: the topic was recreated \
                        or the log truncated; reading started over";
            self.add(Kind::LogRestarted, at, read.log_restarts, what);
        }
        if read.log_truncations > 0 {
            let what = "the log was truncated below what had already been read, according to \
                        its leader epochs (KIP-320); reading started over";
            self.add(Kind::LogTruncated, at, read.log_truncations, what);
        }
    }

    /// The sequences that arrived from a stream. Otherwise `None`, and adds a doubt.
    pub(super) fn received_set(&mut self, partition: i32, name: &str, stream: &ReceiveStream) -> Option<IntervalSet> {
        if !stream.exact {
            let what = format_args!("more gaps than the consumer can track ({name})");
            self.add(Kind::Inexact, Some(partition), 1, what);
            return None;
        }
        let seen = arrived(stream);
        if seen.count() != stream.received {
            let what =
                format_args!("the consumer counts {} received, but its set holds {}", stream.received, seen.count());
            self.add(Kind::Contradiction, Some(partition), 1, format_args!("{what} ({name})"));
            return None;
        }
        Some(seen)
    }

    /// Whether a claim about a stream is complete and consistent. Otherwise adds a doubt.
    pub(super) fn is_consistent(&mut self, partition: i32, name: &str, claim: &Claim, stream: &SendStream) -> bool {
        if !stream.exact {
            let what = format_args!("more outcomes than the producer can track ({name})");
            self.add(Kind::Inexact, Some(partition), 1, what);
            return false;
        }
        let sets = [&stream.acked_ranges, &stream.not_persisted_ranges, &stream.unknown_ranges];
        let counts = [stream.acked, stream.not_persisted, stream.unknown];
        let counted = sets.iter().zip(counts).all(|(set, count)| set.count() == count);
        let within = sets.iter().all(|set| set.intervals().last().is_none_or(|(_, to)| *to <= stream.sent));
        let apart =
            sets.iter().enumerate().all(|(at, set)| sets[..at].iter().all(|other| set.intersection(other).is_empty()));
        let settled = !claim.ended() || counts.iter().sum::<u64>() == stream.sent;
        if !(counted && within && apart && settled) {
            self.add(Kind::Contradiction, Some(partition), 1, format_args!("{name} contradicts itself"));
            return false;
        }
        true
    }

    /// The core of the verdict: compares what was promised of a stream with what arrived, set by set. What may be
    /// unread can be absent without being missing.
    pub(super) fn compare(
        &mut self,
        row: &mut Row,
        (claim, stream): (&Claim, &SendStream),
        seen: &IntervalSet,
        unread: Unread,
        evidence: &mut Evidence,
    ) {
        let at = Some(row.partition);
        let name = name(evidence);
        let absent = stream.acked_ranges.difference(seen);
        let before = absent.intersection(&IntervalSet::span(0, unread.below)).first(unread.room);
        let absent = absent.difference(&before);
        let landed = stream.not_persisted_ranges.intersection(seen);
        let beyond = seen.difference(&IntervalSet::span(0, stream.sent));
        let unsettled = seen.difference(&stream.acked_ranges).difference(&landed).difference(&beyond);
        row.unpromised += unsettled.count();
        row.unread += before.count();
        if absent.count() > unread.offsets {
            row.missing += absent.count();
            let what = format_args!("{} acknowledged and not received ({name}: {})", absent.count(), spelled(&absent));
            self.add(Kind::Missing, at, absent.count(), what);
            evidence.missing = absent;
        } else {
            row.unread += absent.count();
        }
        if !landed.is_empty() {
            let what = format_args!(
                "{} reported as not persisted but received ({name}: {})",
                landed.count(),
                spelled(&landed)
            );
            self.add(Kind::NotPersistedReceived, at, landed.count(), what);
            evidence.not_persisted_received = landed;
        }
        if !claim.ended() {
            row.unpromised += beyond.count();
        } else if !beyond.is_empty() {
            let what = format_args!("{} received but never sent ({name}: {})", beyond.count(), spelled(&beyond));
            self.add(Kind::NeverSent, at, beyond.count(), what);
            evidence.never_sent = beyond;
        }
    }

    /// Keeps a stream's evidence if there is any.
    pub(super) fn keep(&mut self, evidence: Evidence) {
        let sets = [&evidence.missing, &evidence.not_persisted_received, &evidence.never_sent, &evidence.duplicate];
        if sets.iter().any(|set| !set.is_empty()) {
            self.evidence.push(evidence);
        }
    }
}

/// The sequences that arrived from a stream.
pub(super) fn arrived(stream: &ReceiveStream) -> IntervalSet {
    IntervalSet::span(stream.first, stream.next).difference(&stream.missing).difference(&stream.unread)
}

/// Empty evidence, except for duplicates.
pub(super) fn evidence((producer, epoch): HandleKey, partition: i32, received: Option<&ReceiveStream>) -> Evidence {
    Evidence {
        producer,
        epoch,
        partition,
        missing: IntervalSet::default(),
        not_persisted_received: IntervalSet::default(),
        never_sent: IntervalSet::default(),
        duplicate: received.map_or_else(IntervalSet::default, |stream| stream.duplicates.clone()),
    }
}

/// The stream's name for texts.
pub(super) fn name(evidence: &Evidence) -> String {
    format!("producer {}, epoch {}", evidence.producer, evidence.epoch)
}

/// The first sequences of a set as text.
pub(super) fn spelled(set: &IntervalSet) -> String {
    let one = |(from, to): &(u64, u64)| match to - from {
        1 => from.to_string(),
        _ => format!("{from}-{}", to - 1),
    };
    let mut text = set.intervals().iter().take(SPELLED_MAX).map(one).collect::<Vec<_>>().join(", ");
    if set.intervals().len() > SPELLED_MAX {
        text.push_str(", …");
    }
    text
}
