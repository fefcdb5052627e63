//! Drills as text: the catalogue, the preview of a drill, and its result. Pure.

use ledger::judge::Verdict;

use crate::account::totals;
use crate::backend::Backend;
use crate::config::Lab;
use crate::coordination::releases::MODES;
use crate::drill::faults::{FAULTS, Fault, Scenario, schedule};
use crate::drill::outcome::{DrillOutcome, DrillResult, FaultResult, Finished};
use crate::drill::proof::ProofStatus;
use crate::drill::run::Drill;
use crate::drill::timing::{self, PartitionTiming};

/// The entries of `--list` that run several faults.
const SEVERAL: &str = "
all
  every fault above that the lab's backend allows, one after the other

matrix
  the same, with each result appended to drills.jsonl or --out; --resume continues where that file ends

soak
  faults of --seed's schedule under one load, for --duration seconds
";

/// Returns what `--list` prints.
pub fn list() -> String {
    let entry = |fault: &Fault| {
        let shown: Vec<String> = fault.proofs.iter().map(|proof| proof.words()).collect();
        format!(
            "{} ({})\n  breaks    {}\n  promised  {}\n  shown by  {}\n  look at   {}\n",
            fault.name,
            places(fault),
            fault.breaks,
            fault.promise.words(),
            shown.join("\n            "),
            fault.look
        )
    };
    FAULTS.iter().map(entry).collect::<Vec<_>>().join("\n") + SEVERAL
}

/// The backends that allow a fault, and its mode if it is not done in each.
fn places(fault: &Fault) -> String {
    let runs = Backend::ALL.into_iter().rev().filter(|backend| fault.runs_on(*backend));
    let places = runs.map(Backend::name).collect::<Vec<_>>().join(", ");
    let modes: Vec<&str> = MODES.iter().filter(|mode| fault.not_in(**mode).is_none()).map(|mode| mode.name()).collect();
    if modes.len() == MODES.len() { places } else { format!("{places}; {} only", modes.join(", ")) }
}

/// Returns what `--dry-run` prints of a drill: comments.
pub fn preview(drill: Drill, lab: &Lab) -> Vec<String> {
    if let Some(outcome) = drill.recorded {
        return vec![format!("# already recorded, {}", outcome.words())];
    }
    match drill.scenario {
        Scenario::One(fault) => {
            let moves = fault.moves.iter().map(|action| format!("#   {action}"));
            std::iter::once(format!("# {}", fault.breaks)).chain(moves).collect()
        }
        Scenario::Soak { seed, duration } => {
            let names: Vec<&str> =
                schedule(seed, lab.backend, lab.release.mode).take(10).map(|fault| fault.name).collect();
            vec![format!("# soak of {} s, seed {seed}: {}, …", duration.as_secs(), names.join(", "))]
        }
    }
}

impl DrillOutcome {
    /// Returns the outcome as text.
    pub fn words(self) -> &'static str {
        match self {
            DrillOutcome::Kept => "as promised",
            DrillOutcome::Broken => "NOT as promised",
            DrillOutcome::CouldNotTell => "could not tell",
        }
    }
}

impl DrillResult {
    /// Returns everything that is told of it.
    pub fn told(&self) -> String {
        match self {
            DrillResult::Finished(drill) => drill.text(),
            DrillResult::Unfinished(drill) => drill.failure.to_string(),
        }
    }

    /// Returns one line: the number of proofs, or the first reason why the promise was not kept.
    pub fn headline(&self) -> String {
        let drill = match self {
            DrillResult::Finished(drill) => drill,
            DrillResult::Unfinished(drill) => return drill.error.lines().next().unwrap_or_default().into(),
        };
        let (promised, reasons) = (drill.promised, &drill.conclusion.reasons);
        let first = reasons.first().map_or("", String::as_str);
        let others = if reasons.len() > 1 { format!(" (and {} more)", reasons.len() - 1) } else { String::new() };
        match drill.conclusion.outcome {
            DrillOutcome::Kept => {
                let shown = drill.struck.iter().map(|struck| struck.evidence.len()).sum::<usize>();
                let proofs = if shown == 1 { "proof" } else { "proofs" };
                format!("{promised}, as promised; {shown} {proofs} of the strike")
            }
            DrillOutcome::Broken => format!("the promise was {promised}: {first}{others}"),
            DrillOutcome::CouldNotTell => format!("could not tell whether it is {promised}: {first}{others}"),
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

impl FaultResult {
    fn text(&self) -> Vec<String> {
        let longest = |pick: fn(&PartitionTiming) -> u64| seconds(self.partitions.iter().map(pick).max().unwrap_or(0));
        let last = |pick: fn(&PartitionTiming) -> Option<u64>| match self.partitions.iter().filter_map(pick).max() {
            Some(ms) => format!("after {} in every partition", seconds(ms)),
            None => format!("no gap of {} ms", timing::LEAST_GAP_MS),
        };
        let brokers = self.brokers.iter().map(|id| format!(" kafka-{id}")).collect::<String>();
        let mut lines = vec![format!("{}:{brokers}", self.fault)];
        lines.extend(self.detected_after_ms.map(|ms| format!("  session gone        after {}", seconds(ms))));
        match self.partitions.is_empty() {
            true => lines.push("  gaps                unknown: the wall clock was moved".into()),
            false => lines.extend([
                format!("  acknowledged again  {}", last(|row| row.acked_after_ms)),
                format!("  received again      {}", last(|row| row.received_after_ms)),
                format!(
                    "  longest gap         {} between acknowledgements, {} between receipts",
                    longest(|row| row.longest_ack_gap_ms),
                    longest(|row| row.longest_receive_gap_ms)
                ),
            ]),
        }
        lines.push(format!("  mended              after {}", seconds(self.mended_after_ms)));
        lines.extend(self.evidence.iter().map(|proof| {
            let mark = if proof.found == ProofStatus::Shown { "seen" } else { "NOT SEEN" };
            format!("  {mark:18}  {}: {}", proof.looked_for, proof.seen)
        }));
        lines.extend(self.stalled().map(|text| format!("  {text}")));
        lines
    }
}

impl Finished {
    /// Returns the whole result.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self.struck.iter().flat_map(FaultResult::text).collect();
        if self.seed.is_some()
            && let Some(peaks) = self.struck.last().map(|last| last.peaks)
        {
            let mib = |kib: u64| kib as f64 / 1024.0;
            lines.push(format!(
                "peak memory: producer {:.1} MiB, consumer {:.1} MiB",
                mib(peaks.producer_kib),
                mib(peaks.consumer_kib)
            ));
        }
        if !self.errors.is_empty() {
            let errors: Vec<String> = self.errors.iter().map(|(code, count)| format!("{count} {code}")).collect();
            lines.push(format!("delivery errors: {}", errors.join(", ")));
        }
        let read = self.final_read;
        lines.push(format!("final read: {} records in {}", read.records, seconds(read.elapsed_ms)));
        lines.push(totals(&self.ledger));
        lines.extend(self.ledger.reasons.iter().map(|reason| format!("  - {reason}")));
        lines.extend(self.faults.iter().map(|fault| format!("  - {fault}")));
        let out: Vec<String> = self.without.iter().map(|part| format!("{part:?}").to_lowercase()).collect();
        if !out.is_empty() {
            lines.push(format!("a control: without {}", out.join(", ")));
        }
        let verdict = match self.ledger.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
        };
        lines.push(format!("verdict: {verdict}, {} ({})", self.conclusion.outcome.words(), self.promised));
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::sample;
    use crate::drill::control::Without;
    use crate::drill::faults::by_name;
    use crate::drill::outcome::tests::{broken, control};
    use crate::drill::run::Options;

    /// Whether a word has an upper-case letter after a lower-case one, as Rust types and variants do.
    fn camel_case(word: &str) -> bool {
        let both = word.chars().zip(word.chars().skip(1));
        both.into_iter().any(|(one, next)| one.is_lowercase() && next.is_uppercase())
    }

    fn drill(fault: &'static Fault, recorded: Option<DrillOutcome>) -> Drill {
        let options = Options { rate: 200, keep_topic: false, without: Without::default() };
        Drill { scenario: Scenario::One(fault), options, recorded }
    }

    #[test]
    fn a_preview_speaks_english_and_not_rust() {
        for fault in FAULTS {
            let lines = preview(drill(fault, None), &sample::lab());
            assert_eq!(lines.len(), 1 + fault.moves.len(), "{lines:?}");
            for (line, step) in lines.iter().skip(1).zip(fault.moves) {
                assert!(!line.contains(&format!("{step:?}")), "{line}");
                assert!(!line.contains(['{', '}', '_']) && !line.contains("::"), "{line}");
                let mut words = line.split(|c: char| !c.is_alphanumeric());
                let rust = words.find(|word| camel_case(word) && !["ZooKeeper", "CoreDNS"].contains(word));
                assert_eq!(rust, None, "{line}");
            }
        }
        let leader_kill = by_name("leader-kill").unwrap();
        let lines = preview(drill(leader_kill, None), &sample::lab());
        let moves = ["kill the leader of partition 0 (SIGKILL)", "wait 7 s", "start the leader of partition 0"];
        assert!(lines[0].starts_with("# kill -9 of a partition's leader"), "{lines:?}");
        assert_eq!(lines[1..], moves.map(|line| format!("#   {line}")));
        let recorded = preview(drill(leader_kill, Some(DrillOutcome::Broken)), &sample::lab());
        assert_eq!(recorded, ["# already recorded, NOT as promised"]);
    }

    #[test]
    fn a_result_has_its_reasons_and_its_evidence() {
        let result = DrillResult::Finished(Box::new(broken()));
        expect!["the promise was pass: producer-1 ended by itself (and 3 more)"].assert_eq(&result.headline());
        expect![[r#"
            leader-kill: kafka-1
              session gone        after 3.9 s
              acknowledged again  after 4.0 s in every partition
              received again      no gap of 100 ms
              longest gap         4.1 s between acknowledgements, 0.0 s between receipts
              mended              after 0.0 s
              seen                the leader ran until SIGKILL, and then ended: 0 of 0 processes got the signal
              NOT SEEN            the session of the leader ended before mending began: the leader was not mended
              NOT SEEN            the partition of the leader got another leader, and its records a higher leader epoch: no consumer reported the leader epochs of partition 0
              seen                acknowledgements of the leader's partition paused for 1.0 s or more: nothing was struck
              the load did not continue in partitions 1 after leader-kill was mended
            delivery errors: 4 _MSG_TIMED_OUT
            final read: 100 records in 0.9 s
            sent 100, acked 100, received 98, missing 2, duplicate 0, out of order 0
              - producer-1 ended by itself
            verdict: fail, NOT as promised (pass)
        "#]].assert_eq(&broken().text());
        let last = control().text().lines().rev().take(2).collect::<Vec<_>>().join("\n");
        expect![[r#"
            verdict: fail, NOT as promised (pass)
            a control: without strike, load, ledger"#]]
        .assert_eq(&last);
    }

    #[test]
    fn the_list_says_where_each_fault_can_be_run() {
        let text = list();
        for fault in FAULTS {
            assert!(text.contains(&format!("{} ({})\n", fault.name, places(fault))), "{text}");
        }
        assert!(text.contains("leader-kill (local)\n  breaks    ") && text.contains("\nmatrix\n  the same"), "{text}");
    }
}
