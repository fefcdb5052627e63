//! Draws the verdict from all findings.

use std::collections::BTreeMap;

use super::claim::Claim;
use super::streams::StreamFindings;
use crate::lines::{Evidence, Finding, Verdict};

/// Maximum number of streams with evidence in a report.
const EVIDENCE_MAX: usize = 64;

/// The common part of all reports.
pub(super) struct ReportParts {
    pub(super) verdict: Verdict,
    pub(super) findings: Vec<Finding>,
    pub(super) reasons: Vec<String>,
    pub(super) evidence: Vec<Evidence>,
}

/// Sorts faults before doubts and draws the verdict.
pub(super) fn conclude(found: StreamFindings, claims: &[Claim]) -> ReportParts {
    let StreamFindings { mut found, mut evidence } = found;
    found.sort_by_key(|(finding, _)| !finding.kind.is_fault());
    let faulty = found.first().is_some_and(|(finding, _)| finding.kind.is_fault());
    let verdict = match (faulty, found.is_empty()) {
        (true, _) => Verdict::Fail,
        (false, false) => Verdict::Inconclusive,
        (false, true) => Verdict::Pass,
    };
    let (findings, mut reasons): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    if faulty {
        reasons.extend(delivery_errors(claims));
    }
    evidence.truncate(EVIDENCE_MAX);
    ReportParts { verdict, findings, reasons, evidence }
}

/// Delivery errors that producers reported. They may explain a fault, but are none.
fn delivery_errors(claims: &[Claim]) -> Vec<String> {
    let mut sums = BTreeMap::<&str, u64>::new();
    for (code, count) in claims.iter().filter_map(|claim| claim.state.as_ref()).flat_map(|state| &state.errors) {
        *sums.entry(code).or_default() += count;
    }
    sums.into_iter().map(|(code, count)| format!("delivery error {code}, {count} times")).collect()
}
