//! Decides how a drill ended ([`Conclusion`], the one place), and its JSON line and file of `--out`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ledger::judge::Report;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::coordination::Release;
use crate::drill::control::DrillPart;
use crate::drill::faults::Scenario;
use crate::drill::observations::Observations;
use crate::drill::promise::{Promise, PromiseState};
use crate::drill::proof::{Proof, ProofResult, ProofStatus};
use crate::drill::timing::PartitionTiming;
use crate::failure::{Exit, Failure};
use crate::words::listed;

/// The schema of [`DrillResult`].
pub const SCHEMA: &str = "kafka-lab.drill/1";

/// The commit of a checkout that git does not know.
pub const UNKNOWN_COMMIT: &str = "unknown";

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillOutcome {
    /// The ledger reports what was promised and nothing else, and every fault was seen to strike.
    Kept,
    /// The ledger reports something else, or the load did not continue.
    Broken,
    /// The ledger is inconclusive, a fault was not seen to strike, or the drill could not be finished.
    CouldNotTell,
}

impl DrillOutcome {
    /// Returns the exit code.
    pub fn exit(self) -> Exit {
        match self {
            DrillOutcome::Kept => Exit::Ok,
            DrillOutcome::Broken => Exit::Fault,
            DrillOutcome::CouldNotTell => Exit::Inconclusive,
        }
    }
}

/// What a drill's text, JSON line, file, `--resume` and exit code are all based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conclusion {
    /// Whether the ledger's report keeps the promise; `None` for a drill that was not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise: Option<PromiseState>,
    /// How the drill ended, with the evidence considered.
    pub outcome: DrillOutcome,
    /// Whether that is [`DrillOutcome::Kept`].
    pub kept: bool,
    /// The exit code of a command with this drill alone.
    #[serde(skip)]
    pub exit: Exit,
    /// Why the promise is not kept, a sentence each.
    #[serde(skip)]
    pub reasons: Vec<String>,
}

impl Conclusion {
    /// Concludes a drill that has a final account.
    pub fn finished(promised: Promise, report: &Report, struck: &[FaultResult], faults: &[String]) -> Self {
        let promise = promised.judge(report);
        let reasons = reasons(promised, promise, report, struck, faults);
        // A fault outranks a doubt, and a doubt outranks a promise that seems kept.
        let any = |outcome| reasons.iter().any(|(of, _)| *of == outcome);
        let outcome = match (any(DrillOutcome::Broken), any(DrillOutcome::CouldNotTell)) {
            (true, _) => DrillOutcome::Broken,
            (false, true) => DrillOutcome::CouldNotTell,
            (false, false) => DrillOutcome::Kept,
        };
        let reasons = reasons.into_iter().map(|(_, reason)| reason).collect();
        let (kept, exit) = (outcome == DrillOutcome::Kept, outcome.exit());
        Conclusion { promise: Some(promise), outcome, kept, exit, reasons }
    }

    /// Concludes a drill that a failure ended. If the failure is itself a fault, such as a client that ended by itself,
    /// the promise is broken.
    pub fn unfinished(failure: &Failure) -> Self {
        let outcome = if failure.exit == Exit::Fault { DrillOutcome::Broken } else { DrillOutcome::CouldNotTell };
        Conclusion { promise: None, outcome, kept: false, exit: failure.exit, reasons: vec![failure.message.clone()] }
    }
}

/// Everything that speaks against a drill, each with the outcome that it causes; the ledger's reasons first.
fn reasons(
    promised: Promise,
    promise: PromiseState,
    report: &Report,
    struck: &[FaultResult],
    faults: &[String],
) -> Vec<(DrillOutcome, String)> {
    let mut found = Vec::new();
    let ledger = match promise {
        PromiseState::Kept => None,
        PromiseState::Broken => Some((DrillOutcome::Broken, "the ledger did not find what was promised")),
        PromiseState::Unknown => Some((DrillOutcome::CouldNotTell, "the ledger is inconclusive")),
    };
    if let Some((outcome, otherwise)) = ledger {
        found.extend(report.reasons.iter().map(|reason| (outcome, reason.clone())));
        if found.is_empty() {
            found.push((outcome, otherwise.into()));
        }
    }
    found.extend(faults.iter().map(|fault| (DrillOutcome::Broken, fault.clone())));
    found.extend(struck.iter().filter_map(|one| Some((DrillOutcome::Broken, one.stalled()?))));
    for one in struck {
        // This promise includes that nothing is acknowledged meanwhile.
        let promises = |at: usize| {
            promised == Promise::PassStandingStill
                && one.proofs.get(at).is_some_and(|proof| *proof == Proof::StoodStill)
        };
        found.extend(one.evidence.iter().enumerate().filter_map(|(at, of)| {
            let outcome = match promises(at) && of.found == ProofStatus::Contradicted {
                true => DrillOutcome::Broken,
                false => DrillOutcome::CouldNotTell,
            };
            Some((outcome, one.not_seen(of)?))
        }));
        if one.evidence.is_empty() {
            found.push((DrillOutcome::CouldNotTell, format!("{}: nothing shows that it struck", one.fault)));
        }
    }
    if struck.is_empty() {
        found.push((DrillOutcome::CouldNotTell, "no fault struck".into()));
    }
    found
}

/// Peak resident memory of the clients, in KiB; 0 if the system does not report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peaks {
    /// The highest of all producer processes.
    pub producer_kib: u64,
    /// The highest of all consumer processes.
    pub consumer_kib: u64,
}

/// The cost of the final read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FinalRead {
    /// The number of records.
    pub records: u64,
    /// The running time of its process, in ms.
    pub elapsed_ms: u64,
}

/// The result of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultResult {
    /// The fault's name.
    pub fault: &'static str,
    /// The brokers that it struck.
    pub brokers: BTreeSet<u32>,
    /// When it struck, in ms since the Unix epoch.
    pub struck_ms: u64,
    /// Until the coordinator had expired the session of a broker that it struck, in ms.
    pub detected_after_ms: Option<u64>,
    /// Until everything was mended and every replica in sync, in ms.
    pub mended_after_ms: u64,
    /// The timing of each partition.
    pub partitions: Vec<PartitionTiming>,
    /// The partitions in which nothing was acknowledged, or nothing received, after everything was mended.
    pub stuck: Vec<u32>,
    /// The clients' peak memory so far.
    pub peaks: Peaks,
    /// The proofs that it struck, as judged.
    pub evidence: Vec<ProofResult>,
    /// What the evidence is judged from.
    #[serde(skip)]
    pub observed: Observations,
    /// The proofs that it must have.
    #[serde(skip)]
    pub proofs: &'static [Proof],
}

impl FaultResult {
    /// Reports a proof that was not seen.
    fn not_seen(&self, proof: &ProofResult) -> Option<String> {
        let text = || format!("{}: not seen that {}: {}", self.fault, proof.looked_for, proof.seen);
        (proof.found != ProofStatus::Shown).then(text)
    }

    /// Reports the partitions in which the load did not continue.
    pub fn stalled(&self) -> Option<String> {
        let text = || {
            format!("the load did not continue in partitions {} after {} was mended", listed(&self.stuck), self.fault)
        };
        (!self.stuck.is_empty()).then(text)
    }
}

/// The result of a drill that has a final account.
#[derive(Clone, Debug, Serialize)]
pub struct Finished {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The commit of this program, with `+` for uncommitted changes; `unknown` outside a repository.
    pub commit: String,
    /// The lab's backend.
    pub backend: Backend,
    /// Kafka's version and mode.
    pub kafka: String,
    /// The fault's name, or `soak`.
    pub drill: &'static str,
    /// The seed of a soak's schedule.
    pub seed: Option<u64>,
    /// The requested duration of a soak, in s.
    pub duration_s: Option<u64>,
    /// The drill's topic.
    pub topic: String,
    /// Messages a second, over all partitions; 0 means as many as the brokers take.
    pub rate: u32,
    /// What was promised.
    pub promised: &'static str,
    /// `promise`, `outcome` and `kept`.
    #[serde(flatten)]
    pub conclusion: Conclusion,
    /// What was left out, as a control.
    pub without: Vec<DrillPart>,
    /// Faults that the ledger does not see.
    pub faults: Vec<String>,
    /// The cost of the final read.
    pub final_read: FinalRead,
    /// The longest gap between two messages of a partition before the first fault, in ms: the noise of the machine.
    pub calm_gap_ms: u64,
    /// The faults that struck.
    pub struck: Vec<FaultResult>,
    /// Failed deliveries by error code.
    pub errors: BTreeMap<String, u64>,
    /// The ledger's report.
    pub ledger: Report,
}

/// The result of a drill that could not be finished.
#[derive(Clone, Debug, Serialize)]
pub struct Unfinished {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// As in [`Finished`].
    pub commit: String,
    /// As in [`Finished`].
    pub backend: Backend,
    /// As in [`Finished`].
    pub kafka: String,
    /// As in [`Finished`].
    pub drill: &'static str,
    /// `outcome` and `kept`.
    #[serde(flatten)]
    pub conclusion: Conclusion,
    /// As in [`Finished`].
    pub without: Vec<DrillPart>,
    /// What went wrong.
    pub error: String,
    /// The same with the command, its output, the log and the fix.
    #[serde(skip)]
    pub failure: Failure,
}

/// The result of a drill: a JSON line, also in the file of `--out`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum DrillResult {
    /// It has a final account.
    Finished(Box<Finished>),
    /// A failure ended it.
    Unfinished(Box<Unfinished>),
}

impl DrillResult {
    /// Returns the conclusion.
    pub fn conclusion(&self) -> &Conclusion {
        match self {
            DrillResult::Finished(drill) => &drill.conclusion,
            DrillResult::Unfinished(drill) => &drill.conclusion,
        }
    }

    /// Returns the failure that ended the drill.
    pub fn failure(self) -> Option<Failure> {
        match self {
            DrillResult::Finished(_) => None,
            DrillResult::Unfinished(drill) => Some(drill.failure),
        }
    }
}

fn of_the_course() -> String {
    Release::default().to_string()
}

/// A [`DrillResult`] read back from a file, as far as `--resume` needs it.
#[derive(Debug, Deserialize)]
pub struct RecordedDrill {
    commit: String,
    backend: String,
    /// Files of before there was a choice have none.
    #[serde(default = "of_the_course")]
    kafka: String,
    /// The fault's name, or `soak`.
    pub drill: String,
    seed: Option<u64>,
    duration_s: Option<u64>,
    rate: Option<u32>,
    #[serde(default)]
    without: Vec<DrillPart>,
    kept: bool,
    outcome: Option<DrillOutcome>,
    error: Option<String>,
}

impl RecordedDrill {
    /// Returns the outcome, unless another try may give a better one: the drill could not tell, or was not finished.
    pub fn outcome(&self) -> Option<DrillOutcome> {
        let otherwise = if self.kept { DrillOutcome::Kept } else { DrillOutcome::Broken };
        let outcome = self.outcome.unwrap_or(otherwise);
        (self.error.is_none() && outcome != DrillOutcome::CouldNotTell).then_some(outcome)
    }

    /// Whether it was run at this commit on this backend, with this Kafka. An unknown commit is never the same.
    pub fn is_of(&self, commit: &str, backend: Backend, kafka: Release) -> bool {
        let place = (self.backend.as_str(), self.kafka.as_str());
        commit != UNKNOWN_COMMIT && self.commit == commit && place == (backend.name(), &kafka.to_string())
    }

    /// Whether it is the same drill.
    pub fn is(&self, scenario: Scenario, rate: u32, without: &[DrillPart]) -> bool {
        (self.drill.as_str(), (self.seed, self.duration_s), self.rate, &self.without[..])
            == (scenario.name(), scenario.schedule(), Some(scenario.rate(rate)), without)
    }
}

#[cfg(test)]
pub mod tests {
    use ledger::judge::Kind;
    use serde_json::{Value, to_value};

    use super::*;
    use crate::account::tests::report as account;
    use crate::drill::faults::{FAULTS, Fault};
    use crate::drill::promise::tests::report;

    fn struck(fault: &'static Fault, shown: impl Fn(usize) -> ProofStatus) -> FaultResult {
        let found =
            |(at, proof): (usize, &Proof)| ProofResult { found: shown(at), ..proof.judge(&Observations::default()) };
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
            observed: Observations::default(),
            proofs: fault.proofs,
        }
    }

    /// A drill whose promise is broken, for several reasons.
    pub fn broken() -> Finished {
        let row = |partition| PartitionTiming {
            partition,
            acked_after_ms: Some(4_012),
            longest_ack_gap_ms: 4_100,
            ..PartitionTiming::default()
        };
        let status = |at| [ProofStatus::Shown, ProofStatus::Absent, ProofStatus::Contradicted][at % 3];
        let struck = FaultResult {
            brokers: [1].into(),
            detected_after_ms: Some(3_900),
            partitions: vec![row(0), row(1)],
            stuck: vec![1],
            ..struck(&FAULTS[0], status)
        };
        let struck = vec![struck];
        let faults = vec!["producer-1 ended by itself".to_string()];
        Finished {
            schema: SCHEMA,
            commit: "c1".into(),
            backend: Backend::Local,
            kafka: of_the_course(),
            drill: FAULTS[0].name,
            seed: None,
            duration_s: None,
            topic: "drill-1".into(),
            rate: 200,
            promised: FAULTS[0].promise.words(),
            conclusion: Conclusion::finished(FAULTS[0].promise, &account(), &struck, &faults),
            without: Vec::new(),
            faults,
            final_read: FinalRead { records: 100, elapsed_ms: 900 },
            calm_gap_ms: 12,
            struck,
            errors: [("_MSG_TIMED_OUT".to_string(), 4)].into(),
            ledger: account(),
        }
    }

    /// A soak that is a control.
    pub fn control() -> Finished {
        let without = vec![DrillPart::Strike, DrillPart::Load, DrillPart::Ledger];
        Finished { drill: "soak", seed: Some(1), duration_s: Some(60), without, ..broken() }
    }

    /// The lines of two finished drills and of an unfinished one.
    pub fn lines() -> Vec<Value> {
        let failure = Failure::step("a broker does not start");
        let unfinished = Unfinished {
            schema: SCHEMA,
            commit: "c1".into(),
            backend: Backend::Kind,
            kafka: of_the_course(),
            drill: "soak",
            conclusion: Conclusion::unfinished(&failure),
            without: Vec::new(),
            error: failure.message.clone(),
            failure,
        };
        let finished = [broken(), control()].map(|drill| DrillResult::Finished(Box::new(drill)));
        let all = finished.into_iter().chain([DrillResult::Unfinished(Box::new(unfinished))]);
        all.map(|result| to_value(result).unwrap()).collect()
    }

    /// Returns a report that keeps this promise.
    fn kept(promise: Promise) -> Report {
        report(&promise.must().into_iter().collect::<Vec<_>>())
    }

    /// Concludes a drill, and checks that outcome, exit code and reasons agree.
    #[track_caller]
    fn conclude(promised: Promise, report: &Report, struck: &[FaultResult], faults: &[String]) -> Conclusion {
        let conclusion = Conclusion::finished(promised, report, struck, faults);
        assert_eq!(conclusion.kept, conclusion.outcome == DrillOutcome::Kept, "{conclusion:?}");
        assert_eq!(conclusion.kept, conclusion.exit == Exit::Ok, "{conclusion:?}");
        assert_eq!(conclusion.kept, conclusion.reasons.is_empty(), "{conclusion:?}");
        conclusion
    }

    #[test]
    fn no_promise_is_kept_without_all_of_its_evidence() {
        for fault in FAULTS {
            let of = |report: &Report, struck: FaultResult| conclude(fault.promise, report, &[struck], &[]).outcome;
            let kept = kept(fault.promise);
            assert_eq!(of(&kept, struck(fault, |_| ProofStatus::Shown)), DrillOutcome::Kept, "{}", fault.name);
            for missing in 0..fault.proofs.len() {
                for instead in [ProofStatus::Absent, ProofStatus::Contradicted] {
                    let one = struck(fault, |at| if at == missing { instead } else { ProofStatus::Shown });
                    let still = fault.proofs[missing] == Proof::StoodStill && instead == ProofStatus::Contradicted;
                    let wanted = if still { DrillOutcome::Broken } else { DrillOutcome::CouldNotTell };
                    assert_eq!(of(&kept, one), wanted, "{}: {:?}", fault.name, fault.proofs[missing]);
                }
            }
            let judged = fault.proofs.iter().map(|proof| proof.judge(&Observations::default())).collect();
            let nothing = FaultResult { evidence: judged, ..struck(fault, |_| ProofStatus::Shown) };
            assert_eq!(of(&kept, nothing), DrillOutcome::CouldNotTell, "{}", fault.name);
            let unjudged = FaultResult { evidence: Vec::new(), ..struck(fault, |_| ProofStatus::Shown) };
            assert_eq!(of(&kept, unjudged), DrillOutcome::CouldNotTell, "{}", fault.name);
            // A fault in the ledger is reported whether or not the drill struck.
            let broken = report(&[Kind::Corrupt]);
            assert_eq!(of(&broken, struck(fault, |_| ProofStatus::Absent)), DrillOutcome::Broken, "{}", fault.name);
            let must = fault.promise.must().into_iter();
            let unknown = report(&must.chain([Kind::Inexact]).collect::<Vec<_>>());
            assert_eq!(
                of(&unknown, struck(fault, |_| ProofStatus::Shown)),
                DrillOutcome::CouldNotTell,
                "{}",
                fault.name
            );
            let stands = FaultResult { stuck: vec![1], ..struck(fault, |_| ProofStatus::Shown) };
            assert_eq!(of(&kept, stands), DrillOutcome::Broken, "{}", fault.name);
        }
    }

    #[test]
    fn one_fault_of_a_soak_that_did_not_strike_leaves_it_open() {
        let [first, second, ..] = FAULTS else { panic!("there are no faults") };
        let of = |struck: &[FaultResult]| conclude(Promise::Pass, &report(&[]), struck, &[]).outcome;
        let shown = |fault| struck(fault, |_| ProofStatus::Shown);
        assert_eq!(of(&[shown(first), shown(second)]), DrillOutcome::Kept);
        assert_eq!(of(&[shown(first), struck(second, |_| ProofStatus::Absent)]), DrillOutcome::CouldNotTell);
        assert_eq!(of(&[]), DrillOutcome::CouldNotTell, "nothing struck at all");
        let died = ["producer-1 ended by itself".to_string()];
        assert_eq!(conclude(Promise::Pass, &report(&[]), &[shown(first)], &died).outcome, DrillOutcome::Broken);
    }

    /// A case: its name, the promise, the report, the faults that struck, and those that the ledger does not see; then
    /// the state of the promise, the exit code, and the beginning of each reason.
    type Case<'a> = (&'a str, Promise, &'a Report, Vec<FaultResult>, &'a [String], PromiseState, Exit, &'a [&'a str]);

    #[track_caller]
    fn check(cases: Vec<Case<'_>>) {
        for (name, promised, report, struck, faults, promise, exit, reasons) in cases {
            let conclusion = conclude(promised, report, &struck, faults);
            assert_eq!((conclusion.promise, conclusion.exit), (Some(promise), exit), "{name}: {conclusion:?}");
            assert_eq!(conclusion.reasons.len(), reasons.len(), "{name}: {conclusion:?}");
            let begin = conclusion.reasons.iter().zip(reasons).all(|(reason, wanted)| reason.starts_with(wanted));
            assert!(begin, "{name}: {conclusion:?}");
        }
    }

    /// `two-brokers-down`, with all its proofs shown but one.
    fn two_brokers_down(status: ProofStatus, is: impl Fn(Proof) -> bool) -> FaultResult {
        let fault = FAULTS.iter().find(|fault| fault.name == "two-brokers-down").unwrap();
        struck(fault, move |n| if is(fault.proofs[n]) { status } else { ProofStatus::Shown })
    }

    fn says(text: &str, kinds: &[Kind]) -> Report {
        Report { reasons: vec![text.into()], ..report(kinds) }
    }

    #[test]
    fn the_ledger_decides_about_a_drill_that_struck() {
        use PromiseState::{Broken, Kept, Unknown};
        let shown = || vec![two_brokers_down(ProofStatus::Shown, |_| false)];
        let (clean, lost) = (report(&[]), says("3 missing", &[Kind::Missing]));
        let doubt = says("a stream is not exact", &[Kind::Inexact]);
        let (mute, unsure) = (report(&[Kind::Missing]), report(&[Kind::Inexact]));
        let (pass, stands, control) = (Promise::Pass, Promise::PassStandingStill, Promise::AckedLost);
        let (fault, open) = (Exit::Fault, Exit::Inconclusive);
        const NOT_FOUND: &str = "the ledger did not find what was promised";
        check(vec![
            ("all as promised", stands, &clean, shown(), &[], Kept, Exit::Ok, &[]),
            ("a control that finds it", control, &lost, shown(), &[], Kept, Exit::Ok, &[]),
            ("a control that does not", control, &clean, shown(), &[], Broken, fault, &[NOT_FOUND]),
            ("lost", pass, &lost, shown(), &[], Broken, fault, &["3 missing"]),
            ("lost, without a reason", pass, &mute, shown(), &[], Broken, fault, &[NOT_FOUND]),
            ("a doubt", pass, &doubt, shown(), &[], Unknown, open, &["a stream is not exact"]),
            ("a doubt, without a reason", pass, &unsure, shown(), &[], Unknown, open, &["the ledger is inconclusive"]),
        ]);
    }

    #[test]
    fn a_drill_has_one_conclusion_with_its_exit_code_and_its_reasons() {
        use ProofStatus::{Absent, Contradicted, Shown};
        let kept = PromiseState::Kept;
        let ended = |status| two_brokers_down(status, |proof| matches!(proof, Proof::Ended(..)));
        let stood_still = |status| vec![two_brokers_down(status, |proof| proof == Proof::StoodStill)];
        let stuck = |status| vec![FaultResult { stuck: vec![1, 3], ..ended(status) }];
        let (clean, doubt) = (report(&[]), says("a stream is not exact", &[Kind::Inexact]));
        let died = vec!["producer-1 ended by itself".to_string()];
        let (pass, stands) = (Promise::Pass, Promise::PassStandingStill);
        let (fault, open) = (Exit::Fault, Exit::Inconclusive);
        const DIED: &str = "producer-1 ended by itself";
        const STALLED: &str = "the load did not continue in partitions 1, 3 after two-brokers-down was mended";
        const NOT_SEEN: &str = "two-brokers-down: not seen that ";
        let all: &[&str] = &["a stream is not exact", DIED, STALLED, NOT_SEEN];
        check(vec![
            ("it died", pass, &clean, vec![ended(Shown)], &died, kept, fault, &[DIED]),
            ("the load stalled", pass, &clean, stuck(Shown), &[], kept, fault, &[STALLED]),
            ("not seen", pass, &clean, vec![ended(Absent)], &[], kept, open, &[NOT_SEEN]),
            ("the opposite seen", pass, &clean, vec![ended(Contradicted)], &[], kept, open, &[NOT_SEEN]),
            ("acknowledged meanwhile", stands, &clean, stood_still(Contradicted), &[], kept, fault, &[NOT_SEEN]),
            ("not seen to stand still", stands, &clean, stood_still(Absent), &[], kept, open, &[NOT_SEEN]),
            ("nothing struck", pass, &clean, vec![], &[], kept, open, &["no fault struck"]),
            ("everything", pass, &doubt, stuck(Absent), &died, PromiseState::Unknown, fault, all),
        ]);
    }

    #[test]
    fn an_unfinished_drill_is_concluded_in_the_same_words() {
        for (failure, outcome) in [
            (Failure::step("a broker does not start"), DrillOutcome::CouldNotTell),
            (Failure::new(Exit::Inconclusive, "the final read does not end"), DrillOutcome::CouldNotTell),
            (Failure::fault("producer-1 ended by itself"), DrillOutcome::Broken),
        ] {
            let conclusion = Conclusion::unfinished(&failure);
            assert_eq!((conclusion.promise, conclusion.outcome, conclusion.kept), (None, outcome, false));
            assert_eq!((conclusion.exit, &conclusion.reasons[..]), (failure.exit, &[failure.message.clone()][..]));
            let (commit, backend, drill, without) = ("c1".into(), Backend::Local, "leader-kill", Vec::new());
            let kafka = of_the_course();
            let error = failure.message.clone();
            let line =
                Unfinished { schema: SCHEMA, commit, backend, kafka, drill, conclusion, without, error, failure };
            let line = serde_json::to_string(&DrillResult::Unfinished(Box::new(line))).unwrap();
            let outcome = serde_json::to_string(&outcome).unwrap();
            assert!(line.starts_with("{\"schema\":\"kafka-lab.drill/1\",\"commit\":\"c1\""), "{line}");
            assert!(
                line.contains(&format!("\"outcome\":{outcome},\"kept\":false,\"without\":[],\"error\":\"")),
                "{line}"
            );
            assert!(!line.contains("promise") && !line.contains("exit") && !line.contains("reasons"), "{line}");
            let recorded: RecordedDrill = serde_json::from_str(&line).unwrap();
            assert!(
                recorded.is_of("c1", Backend::Local, Release::default()) && recorded.outcome().is_none(),
                "it is worth another try"
            );
            let unknown = RecordedDrill { commit: UNKNOWN_COMMIT.into(), ..recorded };
            assert!(!unknown.is_of(UNKNOWN_COMMIT, Backend::Local, Release::default()), "it may be another program");
        }
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        assert_eq!(
            [DrillOutcome::Kept, DrillOutcome::CouldNotTell, DrillOutcome::Broken].map(DrillOutcome::exit),
            [Exit::Ok, Exit::Inconclusive, Exit::Fault]
        );
    }
}
