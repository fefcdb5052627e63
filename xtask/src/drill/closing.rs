//! The end of a drill's load: last words, end offsets, the final read, and the account of it all.
//!
//! What is judged is the log as a new consumer reads it when all is over, from the run's start to the end offsets. The consumers that ran
//! meanwhile are witnesses: they only prove what could be read once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ledger::judge::{Case, Report, judge};
use ledger::lines::{ConsumerState, Event};

use crate::brokers::{Ends, end_offsets};
use crate::drill::last_words::LastWords;
use crate::drill::load::Load;
use crate::drill::outcome::FinalRead;
use crate::failure::{Exit, Failure, Result};
use crate::task::Task;
use crate::tools::clients;

/// How long a producer may take to flush, and a consumer to read what is left.
const LAST: Duration = Duration::from_secs(60);

/// What a consumer that begins again reads in a second, at the least: two busy cores manage some hundred thousand messages.
const READS: u64 = 50_000;

/// All that is known when the load is over.
#[derive(Debug)]
pub struct Account {
    /// The verdict on what the final read found.
    pub report: Report,
    /// What that cost.
    pub read: FinalRead,
    /// What is wrong beside the ledger: a log that was cut after it was read, a client that ended by itself, or not when it had to.
    pub faults: Vec<String>,
    /// Delivery reports that were not a plain success, by the name of their code.
    pub errors: BTreeMap<String, u64>,
    /// How many partitions the topic had in the end.
    pub partitions: u32,
    /// What the clients said.
    pub words: LastWords,
}

/// Ends the producers, reads the whole run anew, and judges it. `topic_ids` are the topic's ids so far.
///
/// # Errors
/// Offsets that nobody tells, a final read that does not end, or an interruption.
pub fn close(task: &Task<'_>, load: &mut Load, topic_ids: &mut Vec<String>) -> Result<Account> {
    let patience = load.without.patience(LAST);
    (task.status)("the producer flushes");
    load.end_producers(task, LAST)?;
    let Ends { offsets: after, topic_id } = end_offsets(task, &load.topic, patience)?;
    topic_ids.extend(topic_id);
    (task.status)("the consumer reads what is left");
    // A log that begins anew has no such offsets.
    let same = topic_ids.windows(2).all(|ids| ids[0] == ids[1]);
    let records: u64 = after.iter().map(|(_, end)| end).sum();
    let reads = Duration::from_secs(records / READS);
    load.drain(task, &after, if same { patience + reads } else { Duration::from_secs(5) })?;
    let words = LastWords::of(load);

    // Another topic of the same name has another beginning.
    let started =
        |partition| load.before.iter().find(|(p, _)| *p == partition && same).map_or(0, |(_, offset)| *offset);
    let range: Vec<(u32, u64, u64)> = after.iter().map(|(p, end)| (*p, started(*p), *end)).collect();
    (task.status)(&format!("the final read of {records} records"));
    let (received, elapsed_ms) = final_read(task, load, &range, LAST + reads)?;
    let again = end_offsets(task, &load.topic, patience)?;
    topic_ids.extend(again.topic_id);
    let mut faults = cut_after(&received, &again.offsets);
    faults.extend(load.went_wrong());

    let ranges = clients::ranges(&range);
    let case = Case::new(load.run, &load.topic, &ranges, &words.claims, &received);
    let report = judge(&Case { witnesses: &words.witnesses, wordless: words.wordless, topic_ids, ..case });
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    for (code, count) in words.claims.iter().filter_map(|claim| claim.state.as_ref()).flat_map(|state| &state.errors) {
        *errors.entry(code.clone()).or_default() += count;
    }
    let read = FinalRead { records: received.totals.records, elapsed_ms };
    let partitions = u32::try_from(after.len()).unwrap_or(u32::MAX);
    Ok(Account { report, read, faults, errors, partitions, words })
}

/// Reads the run between these offsets with a process of its own, and returns its last line and how long it took.
fn final_read(
    task: &Task<'_>,
    load: &Load,
    range: &[(u32, u64, u64)],
    patience: Duration,
) -> Result<(ConsumerState, u64)> {
    let lab = task.lab();
    let cmd =
        clients::consume(&lab.clients_program(), &lab.bootstrap(), &load.topic, load.run.as_str(), range, patience);
    let begin = Instant::now();
    let output = task.capture(&cmd).map_err(|failure| match failure.exit {
        Exit::Interrupted => failure,
        _ => Failure { exit: Exit::Inconclusive, what: format!("the final read: {}", failure.what), ..failure },
    })?;
    let elapsed_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    match clients::received(&output.stdout).filter(|state| state.event == Event::End) {
        Some(state) => Ok((state, elapsed_ms)),
        None => {
            let what = format!("the final read left no account (exit code {:?})", output.code);
            Err(Failure::new(Exit::Inconclusive, what).command(&cmd).output(&output.stderr).log(&task.log))
        }
    }
}

/// The partitions that end below what was read of them, when nothing is sent any more and nothing is broken: their logs were cut.
fn cut_after(received: &ConsumerState, ends: &[(u32, u64)]) -> Vec<String> {
    let next = |partition: u32| {
        let row = received.partitions.iter().find(|row| u32::try_from(row.partition) == Ok(partition))?;
        u64::try_from(row.next).ok()
    };
    let cut = ends.iter().filter_map(|(partition, end)| Some((partition, next(*partition)?, end)));
    let cut = cut.filter(|(_, next, end)| next > *end);
    cut.map(|(partition, next, end)| {
        format!("partition {partition} ends at {end} after the final read, which read it up to {next}: it was cut")
    })
    .collect()
}
