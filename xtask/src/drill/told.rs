//! A drill's outcome for people. Pure.

use ledger::judge::Verdict;

use crate::account::totals;
use crate::drill::outcome::{Drill, Outcome};
use crate::drill::proof::Sight;
use crate::drill::timing::{self, Row};

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

impl Drill {
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
        lines.push(format!("verdict: {verdict}, {} ({})", self.outcome.words(), self.promised));
        lines.join("\n") + "\n"
    }
}
