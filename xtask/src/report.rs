//! Results: data before they are text.

use serde::Serialize;

use crate::backend::Backend;
use crate::config::Lab;
use crate::failure::{Exit, Failure};
use crate::local::service::Service;
use crate::progress::{Ended, print_failure, print_json};
use crate::run::Report;
use crate::task::State;

/// The last JSON line of a command.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    command: &'a str,
    lab: &'a str,
    backend: crate::backend::Backend,
    exit: i32,
    elapsed_ms: u128,
    brokers: Vec<String>,
    zookeeper: String,
    steps: Vec<StepLine<'a>>,
}

#[derive(Serialize)]
struct StepLine<'a> {
    step: &'a str,
    state: &'a str,
    proof: &'a str,
    elapsed_ms: u128,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<&'a ledger::judge::Report>,
    #[serde(skip_serializing_if = "<[ledger::judge::Standing]>::is_empty")]
    account: &'a [ledger::judge::Standing],
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureLine<'a>>,
}

#[derive(Serialize)]
struct FailureLine<'a> {
    exit: i32,
    what: &'a str,
    command: &'a Option<String>,
    output: &'a [String],
    log: Option<String>,
    fix: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: &'a Option<serde_json::Value>,
}

/// The schema of the last line.
pub const REPORT_SCHEMA: &str = "kafka-lab.report/1";

impl<'a> From<&'a Failure> for FailureLine<'a> {
    fn from(failure: &'a Failure) -> Self {
        FailureLine {
            exit: failure.exit as i32,
            what: &failure.what,
            command: &failure.command,
            output: &failure.output,
            log: failure.log.as_ref().map(|path| path.display().to_string()),
            fix: &failure.fix,
            evidence: &failure.evidence,
        }
    }
}

/// Prints the account of a command as one JSON line.
pub fn json(command: &str, lab: &Lab, report: &Report) {
    let steps = report
        .steps
        .iter()
        .map(|ran| {
            let line = StepLine {
                step: &ran.title,
                state: "failed",
                proof: "",
                elapsed_ms: ran.elapsed.as_millis(),
                warnings: &[],
                flow: None,
                account: &[],
                failure: None,
            };
            match &ran.ended {
                Ended::Done(outcome) => StepLine {
                    state: match outcome.state {
                        State::Changed => "changed",
                        State::Unchanged => "unchanged",
                        State::Passed => "passed",
                        State::Skipped => "skipped",
                    },
                    proof: &outcome.proof,
                    warnings: &outcome.warnings,
                    flow: outcome.flow.as_ref(),
                    account: &outcome.account,
                    ..line
                },
                Ended::Failed(failure) => StepLine { failure: Some(failure.into()), ..line },
                Ended::NotRun(why) => StepLine { state: "not run", proof: why, ..line },
            }
        })
        .collect();
    print_json(&Line {
        schema: REPORT_SCHEMA,
        command,
        lab: &lab.name,
        backend: lab.backend,
        exit: report.exit() as i32,
        elapsed_ms: report.elapsed.as_millis(),
        brokers: lab.broker_ids().map(|id| lab.broker_address(id)).collect(),
        zookeeper: match lab.backend {
            Backend::Local => lab.zookeeper_address(),
            Backend::Kind => "zookeeper-service:2181".into(),
        },
        steps,
    });
}

/// Prints a failure that came before any step, as a JSON line.
pub fn json_failure(command: &str, failure: &Failure) {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: &'static str,
        command: &'a str,
        exit: i32,
        failure: FailureLine<'a>,
    }
    print_json(&Line { schema: REPORT_SCHEMA, command, exit: failure.exit as i32, failure: failure.into() });
}

/// Prints every failure with its evidence, for people.
pub fn failures(report: &Report, colour: bool) {
    for failure in report.failures.iter().filter(|failure| failure.exit != Exit::Interrupted) {
        print_failure(failure, colour);
    }
}

/// The table that `up` ends with.
pub fn endpoints(lab: &Lab, with_clients: bool) -> String {
    let mut rows: Vec<(String, String)> =
        lab.broker_ids().map(|id| (format!("broker {id}"), lab.broker_address(id))).collect();
    rows.push(("bootstrap".into(), lab.bootstrap()));
    rows.push(("topic".into(), lab.facts.topic.clone()));
    match lab.backend {
        Backend::Local => rows.push(("zookeeper".into(), lab.zookeeper_address())),
        Backend::Kind => {
            rows.push(("zookeeper".into(), "in the cluster: zookeeper-service:2181".into()));
            rows.push((
                "kubectl".into(),
                format!("--kubeconfig {} --context {}", lab.kubeconfig().display(), lab.context()),
            ));
        }
    }
    rows.push(("logs".into(), lab.logs().display().to_string()));
    let mut text = String::new();
    for (what, value) in rows {
        text += &format!("{what:>10}  {value}\n");
    }
    let clients = match lab.backend {
        Backend::Local => Service::clients(lab).iter().any(|service| service.record(lab).exists()),
        Backend::Kind => with_clients,
    };
    let client = if clients { "clients logs -f" } else { "clients start" };
    let next: Vec<(String, &str)> = [
        ("verify", "exact proof that every message of every partition arrives"),
        (client, "the producer and the consumer"),
        ("kafka-topics -- --describe", "Kafka's own view of the topics"),
        ("status", "what runs, and whether it serves"),
        ("teardown", "nothing is left"),
    ]
    .map(|(command, why)| (lab.xtask(command), why))
    .into();
    let width = next.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    text += "\nNext:\n";
    for (command, why) in next {
        text += &format!("  {command:width$}  {why}\n");
    }
    text
}
