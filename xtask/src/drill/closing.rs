//! The end of a drill's load: stops the clients, reads the whole run once more, and lets the ledger judge it.
//!
//! The judged log is what a new consumer reads at the end, from the run's start to the end offsets. The consumers that
//! ran during the drill are witnesses: they only prove what could be read once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ledger::judge::{Case, Report, judge};
use ledger::lines::{ConsumerState, StateEvent};

use crate::brokers::{Ends, end_offsets};
use crate::drill::client_logs::ClientLogs;
use crate::drill::load::Load;
use crate::drill::outcome::FinalRead;
use crate::exec::ended;
use crate::failure::{Exit, Failure, Result};
use crate::task::Task;
use crate::tools::clients;

/// How long a producer may take to flush, and a consumer to read what is left.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// The least that a consumer reads in a second when it starts over: two busy cores manage some hundred thousand
/// messages.
const LEAST_READ_RATE: u64 = 50_000;

/// What is known when the load is over.
#[derive(Debug)]
pub struct FinalAccount {
    /// The verdict on the final read.
    pub report: Report,
    /// The cost of the final read.
    pub read: FinalRead,
    /// Faults that the ledger does not see: a log that was cut after it was read, a client that ended by itself or too
    /// late.
    pub faults: Vec<String>,
    /// Failed deliveries by error code.
    pub errors: BTreeMap<String, u64>,
    /// The topic's final number of partitions.
    pub partitions: u32,
    /// The clients' logs.
    pub logs: ClientLogs,
}

/// Stops the producers, reads the whole run again, and judges it. `topic_ids` are the topic's ids so far.
///
/// # Errors
/// The end offsets cannot be had, the final read does not end, or an interruption.
pub fn close(task: &Task<'_>, load: &mut Load, topic_ids: &mut Vec<String>) -> Result<FinalAccount> {
    let timeout = load.without.timeout(END_TIMEOUT);
    (task.status)("the producer flushes");
    load.end_producers(task, END_TIMEOUT)?;
    let Ends { offsets: ends, topic_id } = end_offsets(task, &load.topic, timeout)?;
    topic_ids.extend(topic_id);
    (task.status)("the consumer reads what is left");
    // Another topic of the same name starts over, and has no such offsets.
    let same = topic_ids.windows(2).all(|ids| ids[0] == ids[1]);
    let records: u64 = ends.iter().map(|(_, end)| end).sum();
    let reads = Duration::from_secs(records / LEAST_READ_RATE);
    load.drain(task, &ends, if same { timeout + reads } else { Duration::from_secs(5) })?;
    let logs = ClientLogs::read(load);

    let started =
        |partition| load.before.iter().find(|(p, _)| *p == partition && same).map_or(0, |(_, offset)| *offset);
    let range: Vec<(u32, u64, u64)> = ends.iter().map(|(p, end)| (*p, started(*p), *end)).collect();
    (task.status)(&format!("the final read of {records} records"));
    let (received, elapsed_ms) = final_read(task, load, &range, END_TIMEOUT + reads)?;
    let again = end_offsets(task, &load.topic, timeout)?;
    topic_ids.extend(again.topic_id);
    let mut faults = cut_after(&received, &again.offsets);
    faults.extend(load.went_wrong());

    let ranges = clients::ranges(&range);
    let case = Case::new(load.run, &load.topic, &ranges, &logs.claims, &received);
    let report = judge(&Case { witnesses: &logs.witnesses, wordless: logs.wordless, topic_ids, ..case });
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    for (code, count) in logs.claims.iter().filter_map(|claim| claim.state.as_ref()).flat_map(|state| &state.errors) {
        *errors.entry(code.clone()).or_default() += count;
    }
    let read = FinalRead { records: received.totals.records, elapsed_ms };
    let partitions = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    Ok(FinalAccount { report, read, faults, errors, partitions, logs })
}

/// Reads the run between these offsets with a process of its own. Returns its last line and its running time in ms.
fn final_read(
    task: &Task<'_>,
    load: &Load,
    range: &[(u32, u64, u64)],
    timeout: Duration,
) -> Result<(ConsumerState, u64)> {
    let lab = task.lab();
    let cmd =
        clients::consume(&lab.clients_program(), &lab.bootstrap(), &load.topic, load.run.as_str(), range, timeout);
    let begin = Instant::now();
    let output = task.capture(&cmd).map_err(|failure| match failure.exit {
        Exit::Interrupted => failure,
        _ => Failure { exit: Exit::Inconclusive, message: format!("the final read: {}", failure.message), ..failure },
    })?;
    let elapsed_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    match clients::received(&output.stdout).filter(|state| state.event == StateEvent::End) {
        Some(state) => Ok((state, elapsed_ms)),
        None => {
            let what = format!("the final read {} without its last line", ended(output.code));
            Err(Failure::new(Exit::Inconclusive, what).command(&cmd).output(&output.stderr).log(&task.log))
        }
    }
}

/// Reports the partitions that now end below what was read of them: nothing is sent and nothing is broken any more, so
/// their logs were cut.
fn cut_after(received: &ConsumerState, ends: &[(u32, u64)]) -> Vec<String> {
    let next = |partition: u32| {
        let row = received.partitions.iter().find(|row| u32::try_from(row.partition) == Ok(partition))?;
        u64::try_from(row.next).ok()
    };
    let cut = ends.iter().filter_map(|(partition, end)| Some((partition, next(*partition)?, end)));
    let cut = cut.filter(|(_, next, end)| next > *end);
    cut.map(|(partition, next, end)| {
        format!("partition {partition} ends at {end}, but the final read got up to {next}: its log was cut")
    })
    .collect()
}
