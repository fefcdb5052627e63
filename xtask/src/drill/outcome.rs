//! What a drill comes to, as data: what is written to files and printed as JSON. The verdict on it is settled here and
//! nowhere else: [`Settled`]. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ledger::judge::Report;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::drill::control::Part;
use crate::drill::evidence::Evidence;
use crate::drill::faults::Scenario;
use crate::drill::promise::{Judged, Promise};
use crate::drill::proof::{Found, Proof, Sight};
use crate::drill::timing::Row;
use crate::failure::{Exit, Failure};

/// The schema of [`Finished`].
pub const SCHEMA: &str = "kafka-lab.drill/1";

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What was promised was found, nothing else was, and every fault was seen to strike.
    Kept,
    /// Something else was found, or the load did not go on.
    Broken,
    /// The ledger does not tell, a fault was not seen to strike, or something could not be done.
    CouldNotTell,
}

impl Outcome {
    /// The exit code of a drill that ended so.
    pub fn exit(self) -> Exit {
        match self {
            Outcome::Kept => Exit::Ok,
            Outcome::Broken => Exit::Fault,
            Outcome::CouldNotTell => Exit::Inconclusive,
        }
    }
}

/// The verdict on a drill: what people read, the JSON line, the file of `--out`, `--resume` and the exit code all say
/// this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settled {
    /// Whether the promise was kept, as far as the ledger tells; `None` of a drill that came to no account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promise: Option<Judged>,
    /// How the drill ended, with the evidence.
    pub outcome: Outcome,
    /// Whether that is [`Outcome::Kept`].
    pub kept: bool,
    /// What the process exits with if this is its only drill.
    #[serde(skip)]
    pub exit: Exit,
    /// Why it is not kept, a sentence each.
    #[serde(skip)]
    pub reasons: Vec<String>,
}

impl Settled {
    /// Of a drill that came to an account.
    pub fn finished(promised: Promise, report: &Report, struck: &[FaultResult], faults: &[String]) -> Self {
        let promise = promised.judge(report);
        let reasons = reasons(promised, promise, report, struck, faults);
        // What was found wrong outweighs what could not be seen, and that outweighs a promise that seems kept.
        let any = |outcome| reasons.iter().any(|(of, _)| *of == outcome);
        let outcome = match (any(Outcome::Broken), any(Outcome::CouldNotTell)) {
            (true, _) => Outcome::Broken,
            (false, true) => Outcome::CouldNotTell,
            (false, false) => Outcome::Kept,
        };
        let reasons = reasons.into_iter().map(|(_, reason)| reason).collect();
        Settled { promise: Some(promise), outcome, kept: outcome == Outcome::Kept, exit: outcome.exit(), reasons }
    }

    /// Of a drill that a failure ended. If that is itself a fault, such as a client that ended by itself, the promise is
    /// broken.
    pub fn unfinished(failure: &Failure) -> Self {
        let outcome = if failure.exit == Exit::Fault { Outcome::Broken } else { Outcome::CouldNotTell };
        Settled { promise: None, outcome, kept: false, exit: failure.exit, reasons: vec![failure.what.clone()] }
    }
}

/// All that speaks against a drill, each with the outcome that it leaves: the ledger's reasons first.
fn reasons(
    promised: Promise,
    promise: Judged,
    report: &Report,
    struck: &[FaultResult],
    faults: &[String],
) -> Vec<(Outcome, String)> {
    let mut found = Vec::new();
    let ledger = match promise {
        Judged::Kept => None,
        Judged::Broken => Some((Outcome::Broken, "the ledger did not find what was promised")),
        Judged::Unknown => Some((Outcome::CouldNotTell, "the ledger does not tell")),
    };
    if let Some((outcome, otherwise)) = ledger {
        found.extend(report.reasons.iter().map(|reason| (outcome, reason.clone())));
        if found.is_empty() {
            found.push((outcome, otherwise.into()));
        }
    }
    found.extend(faults.iter().map(|fault| (Outcome::Broken, fault.clone())));
    found.extend(struck.iter().filter_map(|one| Some((Outcome::Broken, one.stands_still()?))));
    for one in struck {
        // To stand still is a part of the promise.
        let still = |at: usize| {
            promised == Promise::PassStandingStill
                && one.proofs.get(at).is_some_and(|proof| *proof == Proof::StoodStill)
        };
        found.extend(one.evidence.iter().enumerate().filter_map(|(at, of)| {
            let outcome =
                if still(at) && of.found == Sight::Contradicted { Outcome::Broken } else { Outcome::CouldNotTell };
            Some((outcome, one.not_seen(of)?))
        }));
        if one.evidence.is_empty() {
            found.push((Outcome::CouldNotTell, format!("{}: nothing shows that it struck", one.fault)));
        }
    }
    if struck.is_empty() {
        found.push((Outcome::CouldNotTell, "no fault struck".into()));
    }
    found
}

/// The most that a process of each client ever had resident, in KiB; 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peaks {
    /// Any producer process.
    pub producer_kib: u64,
    /// Any consumer process.
    pub consumer_kib: u64,
}

/// What the final read cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FinalRead {
    /// Records that it read.
    pub records: u64,
    /// How long it took, from the start of its process to its end, in ms.
    pub elapsed_ms: u64,
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
    /// Until the coordinator had expired the session of a broker that was hit, in ms.
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
    /// That this was not seen of it, in words.
    fn not_seen(&self, found: &Found) -> Option<String> {
        let text = || format!("{}: not seen that {}: {}", self.fault, found.looked_for, found.seen);
        (found.found != Sight::Shown).then(text)
    }

    /// Where the load did not go on, in words.
    pub fn stands_still(&self) -> Option<String> {
        let text = || format!("the load did not go on in partitions {:?} after {} was mended", self.stuck, self.fault);
        (!self.stuck.is_empty()).then(text)
    }
}

/// How a drill went.
#[derive(Clone, Debug, Serialize)]
pub struct Finished {
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
    /// What it comes to: `promise`, `outcome` and `kept`.
    #[serde(flatten)]
    pub settled: Settled,
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

/// A drill that came to no account: something could not be done.
#[derive(Clone, Debug, Serialize)]
pub struct Unfinished {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// As in [`Finished`].
    pub commit: String,
    /// As in [`Finished`].
    pub backend: Backend,
    /// As in [`Finished`].
    pub drill: &'static str,
    /// What it comes to: `outcome` and `kept`.
    #[serde(flatten)]
    pub settled: Settled,
    /// As in [`Finished`].
    pub without: Vec<Part>,
    /// What could not be done.
    pub error: String,
    /// The same, with all that helps.
    #[serde(skip)]
    pub failure: Failure,
}

/// A drill that is over: a line of JSON, and of the file of `--out`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// It came to an account.
    Finished(Box<Finished>),
    /// It did not.
    Unfinished(Box<Unfinished>),
}

impl Record {
    /// What it comes to.
    pub fn settled(&self) -> &Settled {
        match self {
            Record::Finished(drill) => &drill.settled,
            Record::Unfinished(drill) => &drill.settled,
        }
    }

    /// What hindered a drill that came to no account.
    pub fn failure(self) -> Option<Failure> {
        match self {
            Record::Finished(_) => None,
            Record::Unfinished(drill) => Some(drill.failure),
        }
    }
}

/// A [`Record`] as a file has it: what tells it from others, and how it ended.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    commit: String,
    backend: String,
    /// The fault's name, or `soak`.
    pub drill: String,
    seed: Option<u64>,
    duration_s: Option<u64>,
    rate: Option<u32>,
    #[serde(default)]
    without: Vec<Part>,
    kept: bool,
    outcome: Option<Outcome>,
    error: Option<String>,
}

impl Recorded {
    /// How it ended, if that is settled: what could not tell, or could not be done, is worth another try.
    pub fn settled(&self) -> Option<Outcome> {
        let otherwise = if self.kept { Outcome::Kept } else { Outcome::Broken };
        let outcome = self.outcome.unwrap_or(otherwise);
        (self.error.is_none() && outcome != Outcome::CouldNotTell).then_some(outcome)
    }

    /// Whether it is of this commit on this backend.
    pub fn is_of(&self, commit: &str, backend: Backend) -> bool {
        self.commit == commit && self.backend == backend.to_string()
    }

    /// Whether it is what would be done now.
    pub fn is(&self, scenario: Scenario, rate: u32, without: &[Part]) -> bool {
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

    /// The lines of a drill that is over, of a soak that is a control, and of one that came to no account.
    pub fn lines() -> Vec<Value> {
        let row =
            |partition| Row { partition, acked_after_ms: Some(4_012), longest_ack_gap_ms: 4_100, ..Row::default() };
        let sight = |at| [Sight::Shown, Sight::Absent, Sight::Contradicted][at % 3];
        let struck = FaultResult {
            brokers: [1].into(),
            detected_after_ms: Some(3_900),
            partitions: vec![row(0), row(1)],
            stuck: vec![1],
            ..struck(&FAULTS[0], sight)
        };
        let struck = vec![struck];
        let faults = vec!["producer-1 ended by itself".to_string()];
        let drill = Finished {
            schema: SCHEMA,
            commit: "c1".into(),
            backend: Backend::Local,
            drill: FAULTS[0].name,
            seed: None,
            duration_s: None,
            topic: "drill-1".into(),
            rate: 200,
            promised: FAULTS[0].promise.words(),
            settled: Settled::finished(FAULTS[0].promise, &account(), &struck, &faults),
            without: Vec::new(),
            faults,
            final_read: FinalRead { records: 100, elapsed_ms: 900 },
            calm_gap_ms: 12,
            struck,
            errors: [("_MSG_TIMED_OUT".to_string(), 4)].into(),
            ledger: account(),
        };
        let (drill_soak, without) = ("soak", vec![Part::Strike, Part::Load, Part::Ledger]);
        let soak = Finished { drill: drill_soak, seed: Some(1), duration_s: Some(60), without, ..drill.clone() };
        let failure = Failure::step("a broker does not start");
        let unfinished = Unfinished {
            schema: SCHEMA,
            commit: "c1".into(),
            backend: Backend::Kind,
            drill: "soak",
            settled: Settled::unfinished(&failure),
            without: Vec::new(),
            error: failure.what.clone(),
            failure,
        };
        let finished = [drill, soak].map(|drill| Record::Finished(Box::new(drill)));
        let all = finished.into_iter().chain([Record::Unfinished(Box::new(unfinished))]);
        all.map(|record| to_value(record).unwrap()).collect()
    }

    /// A report that keeps this promise.
    fn kept(promise: Promise) -> Report {
        report(&promise.must().into_iter().collect::<Vec<_>>())
    }

    /// What a drill comes to; whatever that is, it says why, and all that tells it tells the same.
    #[track_caller]
    fn settle(promised: Promise, report: &Report, struck: &[FaultResult], faults: &[String]) -> Settled {
        let settled = Settled::finished(promised, report, struck, faults);
        assert_eq!(settled.kept, settled.outcome == Outcome::Kept, "{settled:?}");
        assert_eq!(settled.kept, settled.exit == Exit::Ok, "{settled:?}");
        assert_eq!(settled.kept, settled.reasons.is_empty(), "{settled:?}");
        settled
    }

    #[test]
    fn no_promise_is_kept_without_all_of_its_evidence() {
        for fault in FAULTS {
            let of = |report: &Report, struck: FaultResult| settle(fault.promise, report, &[struck], &[]).outcome;
            let kept = kept(fault.promise);
            assert_eq!(of(&kept, struck(fault, |_| Sight::Shown)), Outcome::Kept, "{}", fault.name);
            for missing in 0..fault.proofs.len() {
                for instead in [Sight::Absent, Sight::Contradicted] {
                    let one = struck(fault, |at| if at == missing { instead } else { Sight::Shown });
                    let still = fault.proofs[missing] == Proof::StoodStill && instead == Sight::Contradicted;
                    let wanted = if still { Outcome::Broken } else { Outcome::CouldNotTell };
                    assert_eq!(of(&kept, one), wanted, "{}: {:?}", fault.name, fault.proofs[missing]);
                }
            }
            let judged = fault.proofs.iter().map(|proof| proof.judge(&Evidence::default())).collect();
            let nothing = FaultResult { evidence: judged, ..struck(fault, |_| Sight::Shown) };
            assert_eq!(of(&kept, nothing), Outcome::CouldNotTell, "{}", fault.name);
            let unjudged = FaultResult { evidence: Vec::new(), ..struck(fault, |_| Sight::Shown) };
            assert_eq!(of(&kept, unjudged), Outcome::CouldNotTell, "{}", fault.name);
            // What was found wrong is told, whether or not it struck.
            let broken = report(&[Kind::Corrupt]);
            assert_eq!(of(&broken, struck(fault, |_| Sight::Absent)), Outcome::Broken, "{}", fault.name);
            let must = fault.promise.must().into_iter();
            let unknown = report(&must.chain([Kind::Inexact]).collect::<Vec<_>>());
            assert_eq!(of(&unknown, struck(fault, |_| Sight::Shown)), Outcome::CouldNotTell, "{}", fault.name);
            let stands = FaultResult { stuck: vec![1], ..struck(fault, |_| Sight::Shown) };
            assert_eq!(of(&kept, stands), Outcome::Broken, "{}", fault.name);
        }
    }

    #[test]
    fn one_fault_of_a_soak_that_did_not_strike_leaves_it_open() {
        let [first, second, ..] = FAULTS else { panic!("there are no faults") };
        let of = |struck: &[FaultResult]| settle(Promise::Pass, &report(&[]), struck, &[]).outcome;
        let shown = |fault| struck(fault, |_| Sight::Shown);
        assert_eq!(of(&[shown(first), shown(second)]), Outcome::Kept);
        assert_eq!(of(&[shown(first), struck(second, |_| Sight::Absent)]), Outcome::CouldNotTell);
        assert_eq!(of(&[]), Outcome::CouldNotTell, "nothing struck at all");
        let died = ["producer-1 ended by itself".to_string()];
        assert_eq!(settle(Promise::Pass, &report(&[]), &[shown(first)], &died).outcome, Outcome::Broken);
    }

    #[test]
    fn a_drill_comes_to_one_verdict_with_its_exit_code_and_its_reasons() {
        use Judged::{Broken, Kept, Unknown};
        let fault = FAULTS.iter().find(|fault| fault.name == "two-brokers-down").unwrap();
        let says = |text: &str, kinds: &[Kind]| Report { reasons: vec![text.into()], ..report(kinds) };
        let sights = |sight: Sight, at: usize| struck(fault, move |n| if n == at { sight } else { Sight::Shown });
        let shown = || sights(Sight::Shown, 0);
        let stuck = || FaultResult { stuck: vec![1, 3], ..shown() };
        let still = fault.proofs.iter().position(|proof| *proof == Proof::StoodStill).unwrap();
        let (clean, lost) = (report(&[]), says("3 missing", &[Kind::Missing]));
        let doubt = says("a stream is not exact", &[Kind::Inexact]);
        let died = vec!["producer-1 ended by itself".to_string()];
        let (mute, unsure) = (report(&[Kind::Missing]), report(&[Kind::Inexact]));
        const ON: &str = "the load did not go on in partitions [1, 3] after two-brokers-down was mended";
        // What was promised, found, struck, and wrong beside the ledger; then what the ledger says of the promise, the
        // exit code, and how each reason begins.
        type Row<'a> = (&'a str, Promise, &'a Report, Vec<FaultResult>, &'a [String], Judged, Exit, &'a [&'a str]);
        let (pass, stands) = (Promise::Pass, Promise::PassStandingStill);
        let (fault_code, open) = (Exit::Fault, Exit::Inconclusive);
        const NOT_SEEN: &str = "two-brokers-down: not seen that ";
        let rows: Vec<Row<'_>> = vec![
            ("all as promised", stands, &clean, vec![shown()], &[], Kept, Exit::Ok, &[]),
            ("a control that finds it", Promise::AckedLost, &lost, vec![shown()], &[], Kept, Exit::Ok, &[]),
            (
                "a control that does not",
                Promise::AckedLost,
                &clean,
                vec![shown()],
                &[],
                Broken,
                fault_code,
                &["the ledger did not find what was promised"],
            ),
            ("lost", pass, &lost, vec![shown()], &[], Broken, fault_code, &["3 missing"]),
            ("lost, without words", pass, &mute, vec![shown()], &[], Broken, fault_code, &["the ledger did not find"]),
            ("a doubt", pass, &doubt, vec![shown()], &[], Unknown, open, &["a stream is not exact"]),
            ("a doubt, without words", pass, &unsure, vec![shown()], &[], Unknown, open, &["the ledger does not tell"]),
            ("it died", pass, &clean, vec![shown()], &died, Kept, fault_code, &["producer-1 ended by itself"]),
            ("it stands still", pass, &clean, vec![stuck()], &[], Kept, fault_code, &[ON]),
            ("not seen", pass, &clean, vec![sights(Sight::Absent, 0)], &[], Kept, open, &[NOT_SEEN]),
            ("the opposite seen", pass, &clean, vec![sights(Sight::Contradicted, 0)], &[], Kept, open, &[NOT_SEEN]),
            (
                "it went on",
                stands,
                &clean,
                vec![sights(Sight::Contradicted, still)],
                &[],
                Kept,
                fault_code,
                &[NOT_SEEN],
            ),
            ("not seen to stand", stands, &clean, vec![sights(Sight::Absent, still)], &[], Kept, open, &[NOT_SEEN]),
            ("nothing struck", pass, &clean, vec![], &[], Kept, open, &["no fault struck"]),
            (
                "all at once",
                pass,
                &doubt,
                vec![FaultResult { stuck: vec![1, 3], ..sights(Sight::Absent, 0) }],
                &died,
                Unknown,
                fault_code,
                &["a stream is not exact", "producer-1 ended by itself", ON, NOT_SEEN],
            ),
        ];
        for (name, promised, report, struck, faults, promise, exit, reasons) in rows {
            let settled = settle(promised, report, &struck, faults);
            assert_eq!((settled.promise, settled.exit), (Some(promise), exit), "{name}: {settled:?}");
            assert_eq!(settled.reasons.len(), reasons.len(), "{name}: {settled:?}");
            let said = settled.reasons.iter().zip(reasons).all(|(said, wanted)| said.starts_with(wanted));
            assert!(said, "{name}: {settled:?}");
        }
    }

    #[test]
    fn a_drill_that_was_hindered_is_settled_in_the_same_words() {
        for (failure, outcome) in [
            (Failure::step("a broker does not start"), Outcome::CouldNotTell),
            (Failure::new(Exit::Inconclusive, "the final read does not end"), Outcome::CouldNotTell),
            (Failure::fault("producer-1 ended by itself"), Outcome::Broken),
        ] {
            let settled = Settled::unfinished(&failure);
            assert_eq!((settled.promise, settled.outcome, settled.kept), (None, outcome, false));
            assert_eq!((settled.exit, &settled.reasons[..]), (failure.exit, &[failure.what.clone()][..]));
            let (commit, backend, drill, without) = ("c1".into(), Backend::Local, "leader-kill", Vec::new());
            let error = failure.what.clone();
            let line = Unfinished { schema: SCHEMA, commit, backend, drill, settled, without, error, failure };
            let line = serde_json::to_string(&Record::Unfinished(Box::new(line))).unwrap();
            let outcome = serde_json::to_string(&outcome).unwrap();
            assert!(line.starts_with("{\"schema\":\"kafka-lab.drill/1\",\"commit\":\"c1\""), "{line}");
            assert!(
                line.contains(&format!("\"outcome\":{outcome},\"kept\":false,\"without\":[],\"error\":\"")),
                "{line}"
            );
            assert!(!line.contains("promise") && !line.contains("exit") && !line.contains("reasons"), "{line}");
            let recorded: Recorded = serde_json::from_str(&line).unwrap();
            assert!(recorded.is_of("c1", Backend::Local) && recorded.settled().is_none(), "it is worth another try");
        }
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        assert_eq!(
            [Outcome::Kept, Outcome::CouldNotTell, Outcome::Broken].map(Outcome::exit),
            [Exit::Ok, Exit::Inconclusive, Exit::Fault]
        );
    }
}
