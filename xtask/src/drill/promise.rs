//! What a drill promises, and whether the ledger's report keeps it. Pure.

use ledger::intervals::IntervalSet;
use ledger::judge::{Kind, Report};
use serde::Serialize;

/// The promise of a drill: a verdict of the ledger, and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// `pass`: nothing acknowledged is lost or duplicated.
    Pass,
    /// `pass`, and nothing is acknowledged in any partition during the fault, which is also a proof of the fault.
    PassStandingStill,
    /// `fail`: the topic was replaced, and what was acknowledged in the former one is gone.
    TopicRecreated,
    /// `fail`: everything acknowledged before the fault is missing. A control: the ledger can fail.
    LogLost,
    /// `fail`: acknowledged messages are missing. A control.
    AckedLost,
    /// `fail`: the log has duplicates. A control.
    Duplicates,
}

/// Whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PromiseState {
    /// The report has what it must have, and nothing else.
    Kept,
    /// The report has a fault that the promise does not explain, or lacks the one it promises.
    Broken,
    /// The report is inconclusive.
    Unknown,
}

impl Promise {
    /// The promise as `--list` and results print it.
    pub fn words(self) -> &'static str {
        match self {
            Promise::Pass => "pass",
            Promise::PassStandingStill => "pass, with nothing acknowledged meanwhile",
            Promise::TopicRecreated => "fail: topic id changed",
            Promise::LogLost => "fail: the messages acknowledged first are missing",
            Promise::AckedLost => "fail: acknowledged messages are missing",
            Promise::Duplicates => "fail: messages are in the log twice",
        }
    }

    /// The finding that the report must have.
    pub fn must(self) -> Option<Kind> {
        match self {
            Promise::Pass | Promise::PassStandingStill => None,
            Promise::TopicRecreated => Some(Kind::TopicRecreated),
            Promise::LogLost | Promise::AckedLost => Some(Kind::Missing),
            Promise::Duplicates => Some(Kind::Duplicate),
        }
    }

    /// The findings that the fault explains. Any other fault breaks the promise, any other doubt leaves it open.
    pub fn explains(self) -> &'static [Kind] {
        match self {
            Promise::Pass | Promise::PassStandingStill => &[],
            // What the former topic had acknowledged is gone, and its consumer read both topics.
            Promise::TopicRecreated => &[Kind::TopicRecreated, Kind::Missing, Kind::Vanished, Kind::LogRestarted],
            Promise::LogLost | Promise::AckedLost => &[Kind::Missing],
            Promise::Duplicates => &[Kind::Duplicate],
        }
    }

    /// Judges a report by the promise.
    pub fn judge(self, report: &Report) -> PromiseState {
        let found = || report.findings.iter().map(|finding| finding.kind);
        let other = |kind: Kind| !self.explains().contains(&kind);
        if found().any(|kind| kind.is_fault() && other(kind)) {
            return PromiseState::Broken;
        }
        if found().any(other) {
            return PromiseState::Unknown;
        }
        match self.must() {
            Some(kind) if !found().any(|found| found == kind) => PromiseState::Broken,
            _ if matches!(self, Promise::TopicRecreated | Promise::LogLost) => lost_from_the_first(report),
            _ => PromiseState::Kept,
        }
    }
}

/// Whether each stream lost its beginning only: a log that is lost takes that, and nothing behind it.
fn lost_from_the_first(report: &Report) -> PromiseState {
    let found = report.findings.iter().filter(|finding| finding.kind == Kind::Missing).map(|finding| finding.count);
    let missing = || report.evidence.iter().map(|evidence| &evidence.missing).filter(|missing| !missing.is_empty());
    if missing().any(|missing| !matches!(missing.intervals(), [(0, _)])) {
        return PromiseState::Broken;
    }
    // A report keeps the evidence of a limited number of streams.
    let (told, shown): (u64, u64) = (found.sum(), missing().map(IntervalSet::count).sum());
    if told == shown { PromiseState::Kept } else { PromiseState::Unknown }
}

#[cfg(test)]
pub(super) mod tests {
    use ledger::judge::{Evidence, Finding, Verdict};
    use ledger::stamp::ProducerId;

    use super::*;

    const PROMISES: [Promise; 6] = [
        Promise::Pass,
        Promise::PassStandingStill,
        Promise::TopicRecreated,
        Promise::LogLost,
        Promise::AckedLost,
        Promise::Duplicates,
    ];

    const KINDS: [Kind; 26] = [
        Kind::Missing,
        Kind::NotPersistedReceived,
        Kind::Duplicate,
        Kind::OutOfOrder,
        Kind::Corrupt,
        Kind::Misrouted,
        Kind::NeverSent,
        Kind::Stranger,
        Kind::Vanished,
        Kind::Died,
        Kind::Unaccounted,
        Kind::LogRestarted,
        Kind::LogTruncated,
        Kind::TopicRecreated,
        Kind::NotPersisted,
        Kind::Count,
        Kind::Silent,
        Kind::NoLastWord,
        Kind::NotDrained,
        Kind::Stuck,
        Kind::Gaps,
        Kind::Hidden,
        Kind::StartMoved,
        Kind::Inexact,
        Kind::Unknown,
        Kind::Contradiction,
    ];

    /// A report that found these kinds of things.
    pub fn report(kinds: &[Kind]) -> Report {
        let finding = |kind: &Kind| Finding { kind: *kind, partition: Some(0), count: 1 };
        Report {
            schema: "s".into(),
            run: ledger::stamp::RunId::random(),
            topic: "t".into(),
            verdict: if kinds.is_empty() { Verdict::Pass } else { Verdict::Fail },
            reasons: Vec::new(),
            findings: kinds.iter().map(finding).collect(),
            ended: 1,
            died: 0,
            partitions: Vec::new(),
            evidence: kinds.iter().filter(|kind| **kind == Kind::Missing).map(|_| missing(&[(0, 1)])).collect(),
            producer_ms: 0,
            consumer_ms: 0,
        }
    }

    fn missing(spans: &[(u64, u64)]) -> Evidence {
        let mut missing = IntervalSet::default();
        for (from, to) in spans {
            assert!(missing.insert(*from, *to));
        }
        let (not_persisted_received, never_sent, duplicate) = Default::default();
        let producer = ProducerId(1);
        Evidence { producer, epoch: 0, partition: 0, missing, not_persisted_received, never_sent, duplicate }
    }

    #[test]
    fn a_log_that_went_took_the_beginning_of_each_stream() {
        let finding = |kind, count| Finding { kind, partition: None, count };
        let judged = |promise: Promise, evidence: Vec<Evidence>| {
            let must = promise.must().map(|kind| finding(kind, 0));
            let findings = must.into_iter().chain([finding(Kind::Missing, 9)]).collect();
            promise.judge(&Report { findings, evidence, ..report(&[]) })
        };
        for promise in [Promise::TopicRecreated, Promise::LogLost] {
            assert_eq!(judged(promise, vec![missing(&[(0, 5)]), missing(&[(0, 4)]), missing(&[])]), PromiseState::Kept);
            assert_eq!(
                judged(promise, vec![missing(&[(0, 5)]), missing(&[(3, 7)])]),
                PromiseState::Broken,
                "{promise:?}"
            );
            assert_eq!(judged(promise, vec![missing(&[(0, 5), (7, 11)])]), PromiseState::Broken, "{promise:?}");
            assert_eq!(judged(promise, vec![missing(&[(0, 5)])]), PromiseState::Unknown, "of four nothing is told");
        }
        assert_eq!(judged(Promise::AckedLost, vec![missing(&[(0, 5), (7, 11)])]), PromiseState::Kept);
    }

    #[test]
    fn what_a_promise_does_not_explain_is_never_swept_up() {
        for promise in PROMISES {
            let must: Vec<Kind> = promise.must().into_iter().collect();
            assert_eq!(promise.judge(&report(&must)), PromiseState::Kept, "{promise:?}");
            for kind in KINDS {
                let found = promise.judge(&report(&[&must[..], &[kind]].concat()));
                let wanted = match (promise.explains().contains(&kind), kind.is_fault()) {
                    (true, _) => PromiseState::Kept,
                    (false, true) => PromiseState::Broken,
                    (false, false) => PromiseState::Unknown,
                };
                assert_eq!(found, wanted, "{promise:?} with {kind:?}");
            }
            // A fault among doubts is a fault.
            assert_eq!(
                promise.judge(&report(&[&must[..], &[Kind::Inexact, Kind::Corrupt]].concat())),
                PromiseState::Broken
            );
        }
    }

    #[test]
    fn a_control_that_finds_nothing_is_broken() {
        for promise in PROMISES.into_iter().filter(|promise| promise.must().is_some()) {
            assert_eq!(promise.judge(&report(&[])), PromiseState::Broken, "{promise:?}");
            assert!(promise.must().is_some_and(|kind| kind.is_fault() && promise.explains().contains(&kind)));
        }
        for promise in PROMISES {
            assert!(promise.explains().iter().all(|kind| kind.is_fault()), "{promise:?} sweeps up a doubt");
        }
    }
}
