//! The producer and the consumer that run all the time: they go on, their counts are clean, the consumer keeps up.

use std::time::Duration;

use crate::failure::{Exit, Failure, Result};
use crate::local::service::Service;
use crate::state::Backend;
use crate::step::Task;
use crate::tools::clients::{self, Counts, End, Offsets};
use crate::tools::kubectl::Kubectl;
use crate::wait::{self, Poll};

/// How long a client may take to tell its counts.
const ASK: Duration = Duration::from_secs(8);
const INTERVAL: Duration = Duration::from_millis(500);

/// What a client last wrote down of its counts, each second.
fn state(task: &Task<'_>, pod: &str, schema: &str) -> Result<std::result::Result<End, String>> {
    let lab = task.lab();
    let text = match lab.backend {
        Backend::Kind => {
            let cmd = Kubectl::of(lab, &task.setup()?).cmd(ASK, ["exec", pod, "--", "/clients", "state"]);
            // On a node that is gone nobody answers at all.
            let output = match task.ctx.exec.capture(&cmd, &task.log, task.ctx.stop) {
                Err(failure) if failure.exit != Exit::Interrupted => return Ok(Err(format!("{pod} does not answer"))),
                answer => answer?,
            };
            if output.code != Some(0) {
                return Ok(Err(crate::failure::tail(&output.stderr, 1).concat()));
            }
            output.stdout
        }
        Backend::Local => {
            let all = Service::clients(lab);
            let Some(service) = all.iter().find(|service| service.name(lab) == pod) else {
                return Ok(Err(format!("there is no client {pod}")));
            };
            std::fs::read_to_string(service.state_file(lab)).unwrap_or_default()
        }
    };
    Ok(clients::lines::<End>(&text, schema).pop().ok_or_else(|| "it has counted nothing yet".into()))
}

/// A column of the counts.
type Pick = fn(&Counts) -> u64;

fn sum(end: &End, pick: Pick) -> u64 {
    end.partitions.iter().map(pick).sum()
}

/// What is wrong with the counts, in words.
pub fn faults(end: &End) -> Vec<String> {
    let columns: [(Pick, &str); 7] = [
        (|c| c.not_persisted, "not persisted"),
        (|c| c.unknown, "of unknown fate"),
        (|c| c.missing, "missing"),
        (|c| c.duplicate, "duplicate"),
        (|c| c.out_of_order, "out of order"),
        (|c| c.corrupt, "corrupt"),
        (|c| c.misrouted, "in the wrong partition"),
    ];
    let counted = columns.into_iter().map(|(pick, what)| (sum(end, pick), what));
    counted.filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

/// How far a consumer is behind the brokers' end offsets.
pub fn lag(end: &End, offsets: &Offsets) -> u64 {
    offsets
        .partitions
        .iter()
        .map(|mark| {
            let next =
                end.partitions.iter().find(|counts| counts.partition == mark.partition).map_or(mark.low, |c| c.next);
            mark.high.saturating_sub(next.max(mark.low))
        })
        .sum()
}

/// Looks at a client for as long as it takes to see it move; returns what it has counted.
///
/// # Errors
/// A fault when it stands still, lags behind or has counted what must not be.
pub fn check(task: &Task<'_>, deployment: &str, pod: &str) -> Result<String> {
    let lab = task.lab();
    let role = lab.facts.clients.iter().find(|client| client.name == deployment).map_or("", |client| &client.role);
    let (schema, pick): (&str, Pick) = match role {
        "producer" => (ledger::lines::PRODUCER, |counts| counts.acked),
        _ => (ledger::lines::CONSUMER, |counts| counts.records),
    };
    let most = lab.settings.lag_messages;
    let mut first = None;
    let found = wait::until(
        &format!("{pod} goes on"),
        lab.timeout(|t| t.clients),
        INTERVAL,
        task.ctx.stop,
        task.status,
        || {
            let end = match state(task, pod, schema) {
                Err(failure) => return Poll::Failed(failure),
                Ok(Err(status)) => return Poll::NotYet(status),
                Ok(Ok(end)) => end,
            };
            let count = sum(&end, pick);
            if count <= *first.get_or_insert(count) {
                return Poll::NotYet(format!("stands still at {count} messages"));
            }
            if role == "producer" {
                return Poll::Ready((end, None));
            }
            let cmd = clients::offsets(&lab.clients_program(), &lab.bootstrap(), &lab.facts.topic);
            match task.ctx.exec.capture(&cmd, &task.log, task.ctx.stop) {
                Err(failure) => Poll::Failed(failure),
                Ok(output) => match clients::lines::<Offsets>(&output.stdout, "kafka-lab.offsets/1").pop() {
                    Some(offsets) if offsets.error.is_none() && lag(&end, &offsets) <= most => {
                        let behind = lag(&end, &offsets);
                        Poll::Ready((end, Some(behind)))
                    }
                    Some(offsets) if offsets.error.is_none() => {
                        Poll::NotYet(format!("{} messages behind, at most {most} may be", lag(&end, &offsets)))
                    }
                    _ => Poll::NotYet("the brokers tell no end offsets".into()),
                },
            }
        },
    );
    let (end, behind) = match found {
        Ok(found) => found,
        Err(failure) if failure.exit == Exit::Step => {
            return Err(Failure { exit: Exit::Fault, ..failure }.log(&task.log).fix(lab.xtask("logs producer")));
        }
        Err(failure) => return Err(failure),
    };
    let faults = faults(&end);
    if !faults.is_empty() {
        let failure = Failure::fault(format!("{pod} counts {}", faults.join(", ")));
        return Err(failure.log(&task.log).fix(format!("{} shows when", lab.xtask("clients logs -n 200"))));
    }
    Ok(match behind {
        None => format!("{} acked and going on, none lost", sum(&end, pick)),
        Some(behind) => {
            format!("{} received and going on, {behind} behind, none missing or twice", sum(&end, |c| c.received))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::clients::Watermarks;

    #[test]
    fn lag_is_what_the_brokers_have_and_the_consumer_has_not() {
        let mark = |partition, low, high| Watermarks { partition, low, high };
        let offsets =
            Offsets { partitions: vec![mark(0, 0, 100), mark(1, 50, 60), mark(2, 0, 5)], ..Offsets::default() };
        let counts = |partition, next| Counts { partition, next, ..Counts::default() };
        let end = End { partitions: vec![counts(0, 90), counts(1, 60)], ..End::default() };
        assert_eq!(lag(&end, &offsets), 10 + 5);
    }

    #[test]
    fn every_column_that_must_be_zero_is_looked_at() {
        assert!(
            faults(&End { partitions: vec![Counts { acked: 7, records: 9, ..Counts::default() }], ..End::default() })
                .is_empty()
        );
        let bad = Counts {
            not_persisted: 1,
            unknown: 2,
            missing: 3,
            duplicate: 4,
            out_of_order: 5,
            corrupt: 6,
            misrouted: 7,
            ..Counts::default()
        };
        assert_eq!(faults(&End { partitions: vec![bad], ..End::default() }).len(), 7);
    }
}
