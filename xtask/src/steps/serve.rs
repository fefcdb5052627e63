//! Readiness: every broker answers metadata requests, a message goes through, and every ISR is full.

use std::time::Duration;

use ledger::lines::{Metadata, Probe, ProbeEvent};

use crate::brokers::{
    NO_AUTO_CREATION, ask_tool, create_unless_automatic, creation_args, in_sync, metadata, metadata_cmd, not_serving,
};
use crate::config::Lab;
use crate::exec::Cmd;
use crate::failure::{Exit, Failure, Result};
use crate::task::{Outcome, Task};
use crate::tools::{clients, kafka};
use crate::wait::Poll;
use crate::words::listed;

const INTERVAL: Duration = Duration::from_millis(100);

/// Returns the preview of [`serving`].
pub fn preview_serving(lab: &Lab) -> Vec<String> {
    vec![
        format!(
            "# until {} lists all brokers, and each broker, asked directly, names all of them:",
            lab.release.mode.noun()
        ),
        ask(lab).to_string(),
    ]
}

/// Returns the preview of [`topic`].
pub fn preview_topic(lab: &Lab) -> Vec<String> {
    let topic = &lab.facts.topic;
    let mut lines = match lab.facts.brokers.auto_create_topics {
        true => vec![format!("# the first message creates topic {topic} with {}", shape(lab))],
        false => vec![
            format!("# {NO_AUTO_CREATION}: unless topic {topic} exists, it is created with {}:", shape(lab)),
            lab.xtask(&format!("kafka-topics -- {}", creation_args(lab, topic).join(" "))),
        ],
    };
    lines.extend([probe(lab).to_string(), "# until every ISR is full:".into(), ask(lab).to_string()]);
    lines
}

/// Returns the command that asks each broker for its metadata.
fn ask(lab: &Lab) -> Cmd {
    metadata_cmd(lab, &lab.facts.topic, &lab.bootstrap())
}

/// Returns the command that sends a message through the topic and receives it.
fn probe(lab: &Lab) -> Cmd {
    clients::probe(&lab.clients_program(), &lab.bootstrap(), &lab.facts.topic, lab.timeout(|t| t.topic))
}

fn shape(lab: &Lab) -> String {
    format!("{} partitions × {} replicas", lab.facts.brokers.partitions, lab.facts.brokers.replication_factor)
}

/// Returns `NotYet`, or the failure of a server that died: then waiting is pointless.
fn not_yet<T>(task: &Task<'_>, status: String) -> Result<Poll<T>> {
    task.ctx.driver.died(task.lab()).map_or(Ok(Poll::NotYet(status)), Err)
}

/// Waits until every broker answers and names all brokers at their addresses.
///
/// # Errors
/// A timeout, which quotes the last status.
pub fn serving(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let (pace, bootstrap) = (task.ctx.driver.pace(lab), lab.bootstrap());
    let wanted: Vec<(u32, String)> = lab.broker_ids().map(|id| (id, lab.broker_address(id))).collect();
    task.wait("the brokers", pace.serve, pace.ask, || {
        let status = match metadata(task, &lab.facts.topic, &bootstrap)? {
            Err(status) => Some(status),
            Ok(answers) => not_serving(&wanted, &answers),
        };
        if let Some(status) = status {
            return not_yet(task, status);
        }
        // While the coordinator is away, brokers report stale metadata.
        let ids = task.membership()?.map(|membership| membership.in_touch).unwrap_or_default();
        if lab.broker_ids().all(|id| ids.contains(&id)) {
            return Ok(Poll::Ready(()));
        }
        let (count, of, name) = (ids.len(), wanted.len(), lab.release.mode.noun());
        not_yet(task, format!("{count} of {of} brokers in touch with {name}: {}", listed(&ids)))
    })
    .map_err(|failure| if failure.log.is_some() { failure } else { failure.log(&task.log) })?;
    let ids: Vec<String> = lab.broker_ids().map(|id| id.to_string()).collect();
    Ok(Outcome::passed(format!("brokers {} registered, each answers metadata at its address", ids.join(", "))))
}

/// Sends the first message, which creates the topic, receives it, and waits until every ISR is full.
///
/// # Errors
/// Within the timeout no message goes through, or some replicas stay out of sync.
pub fn topic(task: &Task<'_>) -> Result<Outcome> {
    let lab = task.lab();
    let timeout = lab.timeout(|t| t.topic);
    let bootstrap = lab.bootstrap();
    let known = metadata(task, &lab.facts.topic, &bootstrap)?.unwrap_or_default();
    let existed = !known.is_empty()
        && known.iter().all(|answer| {
            answer
                .topics
                .iter()
                .any(|topic| topic.topic == lab.facts.topic && topic.error.is_none() && !topic.partitions.is_empty())
        });
    if let Some(failure) = stranded(lab, &known) {
        return Err(failure.log(&task.log));
    }
    let created = !existed && create_unless_automatic(task, &lab.facts.topic)?;
    (task.status)("the first message");
    let cmd = probe(lab);
    let output = task.capture_while_served(&cmd)?;
    let events: Vec<Probe> = clients::lines(&output.stdout);
    let find = |event: ProbeEvent| events.iter().find(|found| found.event == event);
    let (Some(acked), Some(received)) = (find(ProbeEvent::Acked), find(ProbeEvent::Received)) else {
        let text = |event: &Probe| event.error.clone().or_else(|| event.status.clone());
        let status = events.iter().rev().find_map(text).unwrap_or_else(|| "nothing".into());
        let what = format!(
            "no message went through topic {} within {} s; last status: {status}",
            lab.facts.topic,
            timeout.as_secs()
        );
        let failure = Failure::new(Exit::Step, what).command(&cmd).output(&output.stderr).log(&task.log);
        let topics = if existed { String::new() } else { ask_tool(task, vec!["--list".into()]).unwrap_or_default() };
        return Err(match kafka::colliding(&lab.facts.topic, topics.lines().map(str::trim)) {
            Some(other) => failure.fix(format!(
                "topic {} collides with {other}, because metric names treat '.' and '_' alike: set another TOPIC in \
                 clients.yml, or delete {other} with its messages",
                lab.facts.topic
            )),
            None => failure,
        });
    };
    let what = format!("the replicas of topic {}", lab.facts.topic);
    let found = task
        .wait(&what, timeout, INTERVAL, || match metadata(task, &lab.facts.topic, &bootstrap)? {
            Err(status) => not_yet(task, status),
            Ok(answers) => match in_sync(&lab.facts.topic, &answers, lab.broker_ids().count()) {
                Poll::NotYet(status) => not_yet(task, status),
                found => Ok(found),
            },
        })
        .map_err(|failure| if failure.log.is_some() { failure } else { failure.log(&task.log) })?;
    let proof = format!(
        "{} partitions × {} replicas, all in sync; message acked after {} ms, received after {} ms",
        found.0, found.1, acked.elapsed_ms, received.elapsed_ms
    );
    let mut outcome = match (existed, created) {
        (true, _) => Outcome::unchanged(proof),
        (false, false) => Outcome::changed(format!("created, {proof}")),
        (false, true) => Outcome::changed(format!("created with kafka-topics, since {NO_AUTO_CREATION}, {proof}")),
    };
    let brokers = &lab.facts.brokers;
    if found != (brokers.partitions as usize, brokers.replication_factor as usize) {
        outcome.warnings.push(format!(
            "topic {} exists with {} partitions × {} replicas, kafka.yml says {}; `{}` reports the fix",
            lab.facts.topic,
            found.0,
            found.1,
            shape(lab),
            lab.xtask("verify")
        ));
    }
    Ok(outcome)
}

/// Returns a failure if a replica is on a broker that the manifests no longer ask for: it can never be in sync.
fn stranded(lab: &Lab, answers: &[Metadata]) -> Option<Failure> {
    let topics = answers.iter().flat_map(|answer| &answer.topics).filter(|topic| topic.topic == lab.facts.topic);
    let replicas = topics.flat_map(|topic| &topic.partitions).flat_map(|partition| &partition.replicas);
    let highest = u32::try_from(*replicas.max()?).ok()?;
    let what = format!(
        "topic {} has replicas on broker {highest}, but kafka.yml asks for {} brokers: they can never be in sync",
        lab.facts.topic, lab.facts.brokers.count
    );
    (highest >= lab.facts.brokers.count).then(|| Failure::step(what).fix(restore(lab, highest)))
}

/// Returns the fix for a topic with a replica on a broker that the manifests no longer ask for.
pub fn restore(lab: &Lab, broker: u32) -> String {
    format!(
        "set `replicas: {}` of StatefulSet kafka in kafka.yml and rerun `{}`; or start over, which deletes its \
         messages: `{}`, then `{}`",
        broker + 1,
        lab.xtask("up"),
        lab.xtask("teardown"),
        lab.xtask("up")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brokers::tests::answers;
    use crate::config::sample;

    #[test]
    fn replicas_on_a_broker_that_is_not_asked_for_are_not_waited_for() {
        let mut lab = sample::lab();
        let mut found = answers(&lab);
        assert!(stranded(&lab, &found).is_none() && stranded(&lab, &[]).is_none());
        lab.facts.brokers.count = 2;
        found.truncate(2);
        let failure = stranded(&lab, &found).unwrap();
        assert!(
            failure.message.contains("replicas on broker 2, but kafka.yml asks for 2 brokers"),
            "{}",
            failure.message
        );
        assert!(failure.fix.unwrap().contains("`replicas: 3`"));
    }
}
