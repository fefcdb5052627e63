//! What a drill comes to, as data: what is written to files and printed as JSON. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ledger::judge::Report;
use serde::Serialize;

use crate::backend::Backend;
use crate::drill::closing::FinalRead;
use crate::drill::control::Part;
use crate::drill::evidence::Evidence;
use crate::drill::load::Peaks;
use crate::drill::promise::{Judged, Promise};
use crate::drill::proof::{Found, Proof, Sight};
use crate::drill::timing::Row;

/// The schema of [`Drill`].
pub const SCHEMA: &str = "kafka-lab.drill/1";

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What was promised was found, nothing else was, and every fault was seen to strike.
    Kept,
    /// Something else was found, or the load did not go on.
    Broken,
    /// The ledger does not tell, or a fault was not seen to strike.
    CouldNotTell,
}

/// How one fault went.
#[derive(Clone, Debug, Serialize)]
pub struct FaultResult {
    /// Its name.
    pub fault: &'static str,
    /// The brokers that were hit.
    pub brokers: BTreeSet<u32>,
    /// When it struck, in ms since the Unix epoch.
    pub struck_ms: u64,
    /// Until ZooKeeper had expired the session of a broker that was hit, in ms.
    pub detected_after_ms: Option<u64>,
    /// Until everything was mended and every replica in sync, in ms.
    pub mended_after_ms: u64,
    /// Each partition.
    pub partitions: Vec<Row>,
    /// The partitions in which nothing was acknowledged, or nothing received, when everything was mended: the load did not go on.
    pub stuck: Vec<u32>,
    /// The clients' peak memory until then.
    pub peaks: Peaks,
    /// What shows that it struck.
    pub evidence: Vec<Found>,
    /// What that is judged from.
    #[serde(skip)]
    pub seen: Evidence,
    /// What it has to show.
    #[serde(skip)]
    pub proofs: &'static [Proof],
}

impl FaultResult {
    /// What was not seen of it, in words.
    pub fn not_seen(&self) -> impl Iterator<Item = String> {
        let not = self.evidence.iter().filter(|found| found.found != Sight::Shown);
        not.map(|found| format!("{}: not seen that {}: {}", self.fault, found.looked_for, found.seen))
    }

    /// Where the load did not go on, in words.
    pub fn stands_still(&self) -> Option<String> {
        let text = || format!("the load did not go on in partitions {:?} after {} was mended", self.stuck, self.fault);
        (!self.stuck.is_empty()).then(text)
    }
}

/// How a drill went.
#[derive(Clone, Debug, Serialize)]
pub struct Drill {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The commit of this program, with `+` when there are changes beside it; `unknown` outside a repository.
    pub commit: String,
    /// Where the lab runs.
    pub backend: Backend,
    /// The fault's name, or `soak`.
    pub drill: &'static str,
    /// The seed of a soak's schedule.
    pub seed: Option<u64>,
    /// How long a soak was asked for, in s.
    pub duration_s: Option<u64>,
    /// The topic.
    pub topic: String,
    /// Messages a second, over all partitions; 0 is as many as the brokers take.
    pub rate: u32,
    /// What was promised.
    pub promised: &'static str,
    /// Whether it was kept, as far as the ledger tells.
    pub promise: Judged,
    /// How the drill ended, with the evidence.
    pub outcome: Outcome,
    /// Whether that is [`Outcome::Kept`].
    pub kept: bool,
    /// What was taken out of it, as a control.
    pub without: Vec<Part>,
    /// What is wrong beside the ledger.
    pub faults: Vec<String>,
    /// What the final read cost.
    pub final_read: FinalRead,
    /// The longest gap between two messages of a partition before the first fault, in ms: how calm the machine was.
    pub calm_gap_ms: u64,
    /// What struck.
    pub struck: Vec<FaultResult>,
    /// Delivery reports that were not a plain success, by the name of their code.
    pub errors: BTreeMap<String, u64>,
    /// The verdict.
    pub ledger: Report,
}

/// A drill that came to no verdict: something could not be done.
#[derive(Debug, Serialize)]
pub struct Unfinished<'a> {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// As in [`Drill`].
    pub commit: String,
    /// As in [`Drill`].
    pub backend: Backend,
    /// As in [`Drill`].
    pub drill: &'static str,
    /// [`Outcome::Broken`] where what hindered it is itself a fault, such as a client that ended by itself.
    pub outcome: Outcome,
    /// Never.
    pub kept: bool,
    /// As in [`Drill`].
    pub without: Vec<Part>,
    /// What could not be done.
    pub error: &'a str,
}

/// What all of it comes to. What was found wrong outweighs what could not be seen, and that outweighs a promise that seems kept.
pub fn outcome(promised: Promise, promise: Judged, struck: &[FaultResult], faults: &[String]) -> Outcome {
    let of = |shown| struck.iter().flat_map(|struck| &struck.evidence).any(|found| found.found == shown);
    // To stand still is a part of the promise.
    let moved = promised == Promise::PassStandingStill
        && struck.iter().any(|struck| {
            let both = struck.proofs.iter().zip(&struck.evidence);
            both.clone().any(|(proof, found)| *proof == Proof::StoodStill && found.found == Sight::Contradicted)
        });
    let stuck = struck.iter().any(|struck| !struck.stuck.is_empty());
    if promise == Judged::Broken || moved || stuck || !faults.is_empty() {
        return Outcome::Broken;
    }
    let unseen = of(Sight::Absent) || of(Sight::Contradicted) || struck.iter().any(|struck| struck.evidence.is_empty());
    if promise == Judged::Unknown || unseen || struck.is_empty() {
        return Outcome::CouldNotTell;
    }
    Outcome::Kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::faults::{FAULTS, Fault};

    fn struck(fault: &'static Fault, shown: impl Fn(usize) -> Sight) -> FaultResult {
        let found = |(at, proof): (usize, &Proof)| Found { found: shown(at), ..proof.judge(&Evidence::default()) };
        FaultResult {
            fault: fault.name,
            brokers: BTreeSet::new(),
            struck_ms: 0,
            detected_after_ms: None,
            mended_after_ms: 0,
            partitions: Vec::new(),
            stuck: Vec::new(),
            peaks: Peaks::default(),
            evidence: fault.proofs.iter().enumerate().map(found).collect(),
            seen: Evidence::default(),
            proofs: fault.proofs,
        }
    }

    #[test]
    fn no_promise_is_kept_without_all_of_its_evidence() {
        for fault in FAULTS {
            let of = |promise, struck: FaultResult| outcome(fault.promise, promise, &[struck], &[]);
            assert_eq!(of(Judged::Kept, struck(fault, |_| Sight::Shown)), Outcome::Kept, "{}", fault.name);
            for missing in 0..fault.proofs.len() {
                for instead in [Sight::Absent, Sight::Contradicted] {
                    let one = struck(fault, |at| if at == missing { instead } else { Sight::Shown });
                    let still = fault.proofs[missing] == Proof::StoodStill && instead == Sight::Contradicted;
                    let wanted = if still { Outcome::Broken } else { Outcome::CouldNotTell };
                    assert_eq!(of(Judged::Kept, one), wanted, "{}: {:?}", fault.name, fault.proofs[missing]);
                }
            }
            let judged = fault.proofs.iter().map(|proof| proof.judge(&Evidence::default())).collect();
            let nothing = FaultResult { evidence: judged, ..struck(fault, |_| Sight::Shown) };
            assert_eq!(of(Judged::Kept, nothing), Outcome::CouldNotTell, "{}", fault.name);
            let unjudged = FaultResult { evidence: Vec::new(), ..struck(fault, |_| Sight::Shown) };
            assert_eq!(of(Judged::Kept, unjudged), Outcome::CouldNotTell, "{}", fault.name);
            // What was found wrong is told, whether or not it struck.
            assert_eq!(of(Judged::Broken, struck(fault, |_| Sight::Absent)), Outcome::Broken, "{}", fault.name);
            assert_eq!(of(Judged::Unknown, struck(fault, |_| Sight::Shown)), Outcome::CouldNotTell, "{}", fault.name);
            let stands = FaultResult { stuck: vec![1], ..struck(fault, |_| Sight::Shown) };
            assert_eq!(of(Judged::Kept, stands), Outcome::Broken, "{}", fault.name);
        }
    }

    #[test]
    fn one_fault_of_a_soak_that_did_not_strike_leaves_it_open() {
        let [first, second, ..] = FAULTS else { panic!("there are no faults") };
        let of = |struck: &[FaultResult]| outcome(Promise::Pass, Judged::Kept, struck, &[]);
        let shown = |fault| struck(fault, |_| Sight::Shown);
        assert_eq!(of(&[shown(first), shown(second)]), Outcome::Kept);
        assert_eq!(of(&[shown(first), struck(second, |_| Sight::Absent)]), Outcome::CouldNotTell);
        assert_eq!(of(&[]), Outcome::CouldNotTell, "nothing struck at all");
        let died = ["producer-1 ended by itself".to_string()];
        assert_eq!(outcome(Promise::Pass, Judged::Kept, &[shown(first)], &died), Outcome::Broken);
    }
}
