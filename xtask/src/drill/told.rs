//! Drills for people: the catalogue, what a drill would do, and how it went. Pure.

use ledger::judge::Verdict;

use crate::account::totals;
use crate::backend::Backend;
use crate::drill::faults::{FAULTS, Fault, Scenario, schedule};
use crate::drill::outcome::{Finished, Outcome, Record};
use crate::drill::proof::Sight;
use crate::drill::run::Drill;
use crate::drill::timing::{self, Row};

/// What stands for several faults, as `--list` prints it.
const SEVERAL: &str = "
all
  every fault above that can be done there, one after the other

matrix
  the same, each result appended to drills.jsonl or --out; --resume goes on where that ends

soak
  faults of --seed's schedule under one load, for --duration seconds
";

/// What `--list` prints: each fault, and what stands for several.
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

/// The backends that a fault can be drilled on.
fn places(fault: &Fault) -> String {
    let runs = Backend::ALL.into_iter().rev().filter(|backend| fault.runs_on(*backend));
    runs.map(Backend::name).collect::<Vec<_>>().join(", ")
}

/// What `--dry-run` prints of a drill: comments.
pub fn preview(drill: Drill, backend: Backend) -> Vec<String> {
    if let Some(outcome) = drill.recorded {
        return vec![format!("# already recorded, {}", outcome.words())];
    }
    match drill.scenario {
        Scenario::One(fault) => {
            let moves = fault.moves.iter().map(|step| format!("#   {step}"));
            std::iter::once(format!("# {}", fault.breaks)).chain(moves).collect()
        }
        Scenario::Soak { seed, duration } => {
            let names: Vec<&str> = schedule(seed, backend).take(10).map(|fault| fault.name).collect();
            vec![format!("# soak of {} s, seed {seed}: {}, …", duration.as_secs(), names.join(", "))]
        }
    }
}

impl Outcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Kept => "as promised",
            Outcome::Broken => "NOT as promised",
            Outcome::CouldNotTell => "could not tell",
        }
    }
}

impl Record {
    /// How it ended, in one line: what shows that the promise was kept, or why it was not.
    pub fn headline(&self) -> String {
        let drill = match self {
            Record::Finished(drill) => drill,
            Record::Unfinished(drill) => return drill.error.lines().next().unwrap_or_default().into(),
        };
        let (promised, reasons) = (drill.promised, &drill.settled.reasons);
        let first = reasons.first().map_or("", String::as_str);
        let others = if reasons.len() > 1 { format!(" (and {} more)", reasons.len() - 1) } else { String::new() };
        match drill.settled.outcome {
            Outcome::Kept => {
                let shown = drill.struck.iter().map(|struck| struck.evidence.len()).sum::<usize>();
                let proofs = if shown == 1 { "proof" } else { "proofs" };
                format!("{promised}, as promised; {shown} {proofs} of the strike")
            }
            Outcome::Broken => format!("the promise was {promised}: {first}{others}"),
            Outcome::CouldNotTell => format!("could not tell whether it is {promised}: {first}{others}"),
        }
    }
}

impl Finished {
    /// The drill for people.
    pub fn text(&self) -> String {
        let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
        let mut lines = Vec::new();
        for struck in &self.struck {
            let longest = |pick: fn(&Row) -> u64| struck.partitions.iter().map(pick).max().unwrap_or(0);
            let last = |pick: fn(&Row) -> Option<u64>| struck.partitions.iter().filter_map(pick).max();
            let least = format!("no gap of {} ms", timing::LEAST_GAP_MS);
            let hit = struck.brokers.iter().map(|id| format!(" kafka-{id}")).collect::<String>();
            lines.push(format!("{}:{hit}", struck.fault));
            if let Some(ms) = struck.detected_after_ms {
                lines.push(format!("  session gone        after {}", seconds(ms)));
            }
            for (what, ms) in [
                ("acknowledged again", last(|row| row.acked_after_ms)),
                ("received again", last(|row| row.received_after_ms)),
            ] {
                let after = ms.map_or(least.clone(), |ms| format!("after {} in every partition", seconds(ms)));
                lines.push(format!("  {what:18}  {after}"));
            }
            lines.push(format!(
                "  longest gap         {} between acknowledgements, {} between receipts",
                seconds(longest(|row| row.longest_ack_gap_ms)),
                seconds(longest(|row| row.longest_receive_gap_ms))
            ));
            lines.push(format!("  mended              after {}", seconds(struck.mended_after_ms)));
            lines.extend(struck.evidence.iter().map(|found| {
                let mark = if found.found == Sight::Shown { "seen   " } else { "NOT SEEN" };
                format!("  {mark:18}  {}: {}", found.looked_for, found.seen)
            }));
            lines.extend(struck.stands_still().map(|text| format!("  {text}")));
        }
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
        let verdict = match self.ledger.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
        };
        lines.extend(self.ledger.reasons.iter().map(|reason| format!("  - {reason}")));
        lines.extend(self.faults.iter().map(|fault| format!("  - {fault}")));
        let out: Vec<String> = self.without.iter().map(|part| format!("{part:?}").to_lowercase()).collect();
        if !out.is_empty() {
            lines.push(format!("a control: without {}", out.join(", ")));
        }
        lines.push(format!("verdict: {verdict}, {} ({})", self.settled.outcome.words(), self.promised));
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::control::Without;
    use crate::drill::faults::named;
    use crate::drill::run::Options;

    /// Whether a word has a capital letter behind a small one, as the names of Rust's types and variants do.
    fn camel_case(word: &str) -> bool {
        let both = word.chars().zip(word.chars().skip(1));
        both.into_iter().any(|(one, next)| one.is_lowercase() && next.is_uppercase())
    }

    fn drill(fault: &'static Fault, recorded: Option<Outcome>) -> Drill {
        let options = Options { rate: 200, keep_topic: false, without: Without::default() };
        Drill { scenario: Scenario::One(fault), options, recorded }
    }

    #[test]
    fn a_preview_speaks_english_and_not_rust() {
        for fault in FAULTS {
            let lines = preview(drill(fault, None), Backend::Local);
            assert_eq!(lines.len(), 1 + fault.moves.len(), "{lines:?}");
            for (line, step) in lines.iter().skip(1).zip(fault.moves) {
                assert!(!line.contains(&format!("{step:?}")), "{line}");
                assert!(!line.contains(['{', '}', '_']) && !line.contains("::"), "{line}");
                let mut words = line.split(|c: char| !c.is_alphanumeric());
                let rust = words.find(|word| camel_case(word) && !["ZooKeeper", "CoreDNS"].contains(word));
                assert_eq!(rust, None, "{line}");
            }
        }
        let leader_kill = named("leader-kill").unwrap();
        let lines = preview(drill(leader_kill, None), Backend::Local);
        let moves = ["kill the leader of partition 0 (SIGKILL)", "wait 7 s", "start the leader of partition 0"];
        assert!(lines[0].starts_with("# kill -9 of a partition's leader"), "{lines:?}");
        assert_eq!(lines[1..], moves.map(|line| format!("#   {line}")));
        let recorded = preview(drill(leader_kill, Some(Outcome::Broken)), Backend::Local);
        assert_eq!(recorded, ["# already recorded, NOT as promised"]);
    }

    #[test]
    fn the_list_says_where_each_fault_can_be_drilled() {
        let text = list();
        for fault in FAULTS {
            assert!(text.contains(&format!("{} ({})\n", fault.name, places(fault))), "{text}");
        }
        assert!(text.contains("leader-kill (local)\n  breaks    ") && text.contains("\nmatrix\n  the same"), "{text}");
    }
}
