//! Checks of the lab's own clients: that they progress in every partition, and that what was acknowledged was read.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger::judge::{Claim, HowEnded, OffsetRange, Row, Running, Standing, Verdict, judge_running};
use ledger::lines::{ConsumerState, Line, Offsets, ProducerState, Watermarks};

use crate::brokers;
use crate::config::Lab;
use crate::failure::{Exit, Failure, Result};
use crate::task::{Outcome, Task};
use crate::tools::clients;
use crate::wait::Poll;
use crate::words::listed;

const INTERVAL: Duration = Duration::from_millis(500);

/// Limit of the reasons shown; the evidence has all.
const REASONS_MAX: usize = 8;

/// Returns the latest state that a client wrote, or why there is none. Clients write one each second.
fn state<T: Line>(task: &Task<'_>, client: &str) -> Result<std::result::Result<T, String>> {
    let found = task.ctx.driver.client_state(task, client)?;
    Ok(found.and_then(|text| clients::lines::<T>(&text).pop().ok_or_else(|| "it has not written a state yet".into())))
}

/// Returns how far a consumer is behind the brokers' end offsets, by partition.
pub fn lag(consumer: &ConsumerState, offsets: &Offsets) -> BTreeMap<u32, u64> {
    let behind = |mark: &Watermarks| {
        let read = consumer.partitions.iter().find(|row| u32::try_from(row.partition) == Ok(mark.partition));
        let next = read.and_then(|row| u64::try_from(row.next).ok()).unwrap_or(mark.low);
        (mark.partition, mark.high.saturating_sub(next.max(mark.low)))
    };
    offsets.partitions.iter().map(behind).collect()
}

/// What one process of a client has counted in each partition. A restarted client counts from zero.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    /// How long the process has been running, by its own monotonic clock.
    elapsed_ms: u64,
    counts: BTreeMap<i32, u64>,
}

impl Look {
    /// Counts what a producer has had acknowledged.
    pub fn at_producer(state: &ProducerState) -> Self {
        Look {
            elapsed_ms: state.elapsed_ms,
            counts: state.partitions.iter().map(|row| (row.partition, row.acked)).collect(),
        }
    }

    /// Counts how far a consumer has read.
    pub fn at_consumer(state: &ConsumerState) -> Self {
        let count = |next: i64| u64::try_from(next).unwrap_or(0);
        Look {
            elapsed_ms: state.elapsed_ms,
            counts: state.partitions.iter().map(|row| (row.partition, count(row.next))).collect(),
        }
    }

    /// Whether both are of the same process: another one begins at 0. The wall clock does not matter.
    fn same_process(&self, before: &Look) -> bool {
        self.elapsed_ms >= before.elapsed_ms
    }

    /// Whether a partition has advanced since `before`. One that was unknown then had counted nothing.
    fn moved(&self, before: &Look, partition: i32) -> bool {
        let count = |look: &Look| look.counts.get(&partition).copied().unwrap_or(0);
        count(self) > count(before)
    }

    /// Returns the partitions that have not advanced since `before`.
    pub fn stalled(&self, before: &Look) -> Vec<i32> {
        self.counts.keys().copied().filter(|partition| !self.moved(before, *partition)).collect()
    }
}

/// Watches a client until it has advanced in every partition; returns what it has counted.
///
/// # Errors
/// A fault if it is stalled or lags behind.
pub fn progress(task: &Task<'_>, deployment: &str, client: &str) -> Result<String> {
    let lab = task.lab();
    brokers::enough(task)?;
    let role = lab.facts.clients.iter().find(|client| client.name == deployment).map_or("", |client| &client.role);
    let mut first: Option<Look> = None;
    let found = task.wait(&format!("progress of {client}"), lab.timeout(|t| t.clients), INTERVAL, || match role {
        "producer" => look_at_producer(task, client, &mut first),
        _ => look_at_consumer(task, client, &mut first),
    });
    found.map_err(|failure| match failure.exit {
        // Without the program that asks, nothing is known of the client.
        Exit::Step if !lab.clients_program().exists() => failure.fix(lab.xtask("clients build")),
        Exit::Step => Failure { exit: Exit::Fault, ..failure }.log(&task.log).fix(lab.xtask("clients logs -n 200")),
        _ => failure,
    })
}

/// Returns the first look at this process, and the current one.
fn since(first: &mut Option<Look>, now: Look) -> (&Look, Look) {
    if first.as_ref().is_none_or(|first| !now.same_process(first)) {
        *first = Some(Look { elapsed_ms: now.elapsed_ms, counts: now.counts.clone() });
    }
    (first.get_or_insert_with(|| Look { elapsed_ms: 0, counts: BTreeMap::new() }), now)
}

fn look_at_producer(task: &Task<'_>, client: &str, first: &mut Option<Look>) -> Result<Poll<String>> {
    let state: ProducerState = match state(task, client)? {
        Err(status) => return Ok(Poll::NotYet(status)),
        Ok(state) => state,
    };
    let (first, now) = since(first, Look::at_producer(&state));
    let still = now.stalled(first);
    if !still.is_empty() || now.counts.is_empty() {
        let errors: Vec<String> = state.errors.iter().map(|(code, count)| format!(", {count} × {code}")).collect();
        let status = format!("no new acknowledgements in partitions {}{}", listed(&still), errors.concat());
        return Ok(Poll::NotYet(status));
    }
    let acked: u64 = now.counts.values().sum();
    Ok(Poll::Ready(format!("{acked} acked, advancing in each of {} partitions", now.counts.len())))
}

fn look_at_consumer(task: &Task<'_>, client: &str, first: &mut Option<Look>) -> Result<Poll<String>> {
    let most = task.lab().settings.lag_messages;
    let state: ConsumerState = match state(task, client)? {
        Err(status) => return Ok(Poll::NotYet(status)),
        Ok(state) => state,
    };
    let stuck = state.partitions.iter().filter_map(|row| Some((row.partition, row.stuck.as_ref()?)));
    let stuck: Vec<String> = stuck.map(|(p, why)| format!("partition {p} cannot be read further: {why}")).collect();
    if !stuck.is_empty() {
        return Ok(Poll::NotYet(stuck.join("; ")));
    }
    let (first, now) = since(first, Look::at_consumer(&state));
    let offsets = match brokers::offsets(task, &task.lab().facts.topic)? {
        Err(status) => return Ok(Poll::NotYet(status)),
        Ok(offsets) => offsets,
    };
    let lag = lag(&state, &offsets);
    let behind: u64 = lag.values().sum();
    let (worst, far) = lag.iter().max_by_key(|(_, behind)| **behind).map_or((0, 0), |(p, behind)| (*p, *behind));
    if behind > most {
        let status = format!("{behind} messages behind, {far} of them in partition {worst}; the limit is {most}");
        return Ok(Poll::NotYet(status));
    }
    // A partition with nothing to read need not advance.
    let read_on = |partition: u32| i32::try_from(partition).is_ok_and(|partition| now.moved(first, partition));
    let still: Vec<u32> = lag.iter().filter(|(p, behind)| **behind > 0 && !read_on(**p)).map(|(p, _)| *p).collect();
    if !still.is_empty() {
        return Ok(Poll::NotYet(format!("no new records are read in partitions {}", listed(&still))));
    }
    let records: u64 = state.partitions.iter().map(|row| row.counts.records).sum();
    Ok(Poll::Ready(format!(
        "{records} records read, advancing in each of {} partitions, {behind} behind",
        now.counts.len()
    )))
}

/// Returns the preview of [`account`].
pub fn preview(lab: &Lab) -> Vec<String> {
    vec![
        "# what each running producer has had acknowledged; then the end offsets:".into(),
        brokers::offsets_cmd(lab, &lab.facts.topic).to_string(),
        "# and what each running consumer has read up to them".into(),
    ]
}

/// Judges what the running producers have had acknowledged against what each running consumer has read. It takes the
/// producers' states, then the end offsets, then the consumers' states up to those.
///
/// # Errors
/// A fault with its evidence, an inconclusive result with its reason, or a client without a state.
pub fn account(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let (producers, consumers) =
        (task.ctx.driver.clients(task, "producer")?, task.ctx.driver.clients(task, "consumer")?);
    if producers.is_empty() || consumers.is_empty() {
        let who = if producers.is_empty() { "producer" } else { "consumer" };
        let why = format!(
            "no {who} runs, so there is nothing to compare; `{}` starts the clients",
            lab.xtask("clients start")
        );
        return Ok(Outcome::skipped(why));
    }
    brokers::enough(task)?;
    let patience = lab.timeout(|t| t.clients);
    let ask = |what: &str, ask: &dyn Fn() -> Result<std::result::Result<(), String>>| {
        task.wait(what, patience, INTERVAL, || Ok(Poll::unless(ask()?.err())))
    };
    let cannot_tell = |failure: Failure| match failure.exit {
        Exit::Step => Failure { exit: Exit::Inconclusive, ..failure }.log(&task.log).fix(lab.xtask("status")),
        _ => failure,
    };
    let claims = std::cell::RefCell::new(Vec::new());
    for producer in &producers {
        ask(&format!("the state of {producer}"), &|| {
            Ok(state::<ProducerState>(task, producer)?
                .map(|state| claims.borrow_mut().push(Claim::by(state, HowEnded::Running))))
        })
        .map_err(cannot_tell)?;
    }
    let ends = std::cell::RefCell::new(Offsets::default());
    ask("end offsets", &|| Ok(brokers::offsets(task, &lab.facts.topic)?.map(|found| *ends.borrow_mut() = found)))
        .map_err(cannot_tell)?;
    let (claims, ends) = (claims.into_inner(), ends.into_inner());
    let ranges: Vec<(u32, u64, u64)> = ends.partitions.iter().map(|m| (m.partition, m.low, m.high)).collect();
    let ranges = clients::ranges(&ranges);
    let mut standings = Vec::new();
    for consumer in &consumers {
        let last = std::cell::RefCell::new(None);
        // If it does not get there, the verdict says so.
        let read = ask(&format!("{consumer} to read what was acknowledged"), &|| {
            Ok(state::<ConsumerState>(task, consumer)?.and_then(|state| {
                let done = up_to(&state, &ranges);
                *last.borrow_mut() = Some(state);
                done
            }))
        });
        let Some(received) = last.into_inner() else {
            read.map_err(cannot_tell)?;
            continue;
        };
        if task.ctx.stop.requested() {
            read?;
        }
        let topic_id = ends.topic_id.as_deref();
        let topic = lab.facts.topic.as_str();
        let running = Running { topic, claims: &claims, offsets: &ranges, received: &received, topic_id };
        standings.push((consumer, judge_running(&running)));
    }
    conclude(task, &producers, standings)
}

/// Succeeds if a consumer has read to these end offsets; otherwise returns how far it is.
fn up_to(state: &ConsumerState, ranges: &[OffsetRange]) -> std::result::Result<(), String> {
    for range in ranges {
        match state.partitions.iter().find(|row| row.partition == range.partition) {
            Some(row) if row.next >= range.end => {}
            Some(row) => {
                let why = row.stuck.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                return Err(format!("partition {}: at {} of {}{why}", range.partition, row.next, range.end));
            }
            None => return Err(format!("partition {} is not read", range.partition)),
        }
    }
    Ok(())
}

fn conclude(task: &Task<'_>, producers: &[String], standings: Vec<(&String, Standing)>) -> Result<Outcome> {
    let lab = task.lab();
    let sum = |standing: &Standing, pick: fn(&Row) -> u64| standing.partitions.iter().map(pick).sum::<u64>();
    let proof: Vec<String> = standings
        .iter()
        .map(|(consumer, standing)| {
            let (acked, unread) = (sum(standing, |row| row.acked), sum(standing, |row| row.unread));
            let missing = sum(standing, |row| row.missing);
            let remarks: Vec<String> = standing.remarks.iter().map(|remark| format!("; {remark}")).collect();
            format!(
                "of {acked} that {} had acknowledged {consumer} has read {}{}",
                producers.join(", "),
                acked.saturating_sub(missing + unread),
                remarks.concat()
            )
        })
        .collect();
    let proof = proof.join("; ");
    let worst = |verdict| standings.iter().any(|(_, standing)| standing.verdict == verdict);
    let exit = match (worst(Verdict::Fail), worst(Verdict::Inconclusive)) {
        (true, _) => Exit::Fault,
        (false, true) => Exit::Inconclusive,
        (false, false) => {
            let mut outcome = Outcome::passed(proof);
            outcome.account = standings.into_iter().map(|(_, standing)| standing).collect();
            return Ok(outcome);
        }
    };
    let reasons: Vec<&String> = standings.iter().flat_map(|(_, standing)| &standing.reasons).collect();
    let mut text: String = reasons.iter().take(REASONS_MAX).map(|reason| format!("\n  - {reason}")).collect();
    if reasons.len() > REASONS_MAX {
        text += &format!("\n  - and {} more, in the evidence", reasons.len() - REASONS_MAX);
    }
    let restart = format!(
        "`{}` shows when it happened; to reset the counts, restart the clients: `{}`, then `{}`; if the topic is \
         damaged, run `{}` in between, which deletes it and its messages",
        lab.xtask("clients logs -n 200"),
        lab.xtask("clients stop"),
        lab.xtask("up"),
        lab.xtask(&format!("kafka-topics -- --delete --topic {}", lab.facts.topic)),
    );
    let mut failure = Failure::new(exit, format!("{proof}{text}")).log(&task.log).fix(restart);
    let standings: Vec<&Standing> = standings.iter().map(|(_, standing)| standing).collect();
    failure.evidence = serde_json::to_value(standings).ok();
    Err(failure)
}

#[cfg(test)]
mod tests {
    use ledger::lines::CONSUMER;

    use super::*;

    /// A consumer that has read to these offsets.
    fn consumer(next: &[i64]) -> ConsumerState {
        let rows: Vec<String> = next
            .iter()
            .enumerate()
            .map(|(partition, next)| {
                format!(
                    r#"{{"partition":{partition},"start":0,"next":{next},"end":null,"low":0,"high":0,"records":{next},"received":0,"missing":0,
                    "duplicate":0,"out_of_order":0,"corrupt":0,"misrouted":0,"other_runs":0,"foreign":{next},"redelivered":0,"offset_gaps":0,
                    "start_moved":false,"folded_streams":0,"log_restarts":0}}"#
                )
            })
            .collect();
        let totals = r#"{"records":0,"received":0,"missing":0,"duplicate":0,"out_of_order":0,"corrupt":0,"misrouted":0,"other_runs":0,"foreign":0,"redelivered":0}"#;
        let text = format!(
            r#"{{"schema":"{CONSUMER}","event":"checkpoint","time_ms":9000,"elapsed_ms":4000,"run":null,"totals":{totals},"partitions":[{}],"streams":[]}}"#,
            rows.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn lag_is_what_the_brokers_have_and_the_consumer_has_not_in_each_partition() {
        let mark = |partition, low, high| Watermarks { partition, low, high };
        let offsets = Offsets {
            partitions: vec![mark(0, 0, 100), mark(1, 50, 60), mark(2, 0, 5), mark(3, 7, 9)],
            ..Offsets::default()
        };
        let found = lag(&consumer(&[90, 60, 2]), &offsets);
        assert_eq!(found, BTreeMap::from([(0, 10), (1, 0), (2, 3), (3, 2)]));
    }

    #[test]
    fn a_stalled_partition_is_seen_among_others_that_advance() {
        let before = Look::at_consumer(&consumer(&[10, 10, 10]));
        let now = Look::at_consumer(&consumer(&[20, 10, 11, 0, 7]));
        assert_eq!(now.stalled(&before), [1, 3], "a partition that is new has moved once there is something");
        assert!(now.moved(&before, 4) && !now.moved(&before, 5));
        let mut moved = consumer(&[20, 10, 11]);
        (moved.elapsed_ms, moved.time_ms) = (moved.elapsed_ms + 1_000, moved.time_ms - 3_600_000.min(moved.time_ms));
        assert!(Look::at_consumer(&moved).same_process(&before), "an hour back on the wall is the same process");
        let mut other = Look::at_consumer(&consumer(&[5, 5, 5]));
        other.elapsed_ms = 500;
        assert!(now.same_process(&before) && !other.same_process(&before));
        let mut first = Some(before);
        let (since, now) = since(&mut first, other);
        assert_eq!(*since, now, "another process counts anew");
    }

    #[test]
    fn a_consumer_that_has_not_read_to_an_end_offset_says_where_it_is() {
        let range = |partition, end| OffsetRange { partition, start: 0, end };
        let mut state = consumer(&[10, 10]);
        assert_eq!(up_to(&state, &[range(0, 10), range(1, 9)]), Ok(()));
        assert_eq!(up_to(&state, &[range(0, 10), range(1, 11)]), Err("partition 1: at 10 of 11".into()));
        assert_eq!(up_to(&state, &[range(2, 0)]), Err("partition 2 is not read".into()));
        state.partitions[1].stuck = Some("_NOT_IMPLEMENTED".into());
        assert_eq!(up_to(&state, &[range(1, 11)]), Err("partition 1: at 10 of 11 (_NOT_IMPLEMENTED)".into()));
    }
}
