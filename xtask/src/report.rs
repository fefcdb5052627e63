//! The reports of commands, as text and JSON.

use std::time::Duration;

use serde::Serialize;

use crate::backend::Backend;
use crate::config::Lab;
use crate::coordination::Mode;
use crate::events::{StepState, milliseconds};
use crate::failure::{Exit, Failure};
use crate::journal::Journal;
use crate::lock::{Holder, Work};
use crate::run::{PlanReport, StepEnd, StepResult};
use crate::show::{print_failure, print_json};
use crate::task::Ctx;

/// The last JSON line of a command that ran steps.
#[derive(Serialize)]
struct ReportLine<'a> {
    schema: &'static str,
    command: &'a str,
    lab: &'a str,
    backend: Backend,
    exit: i32,
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    elapsed: Duration,
    brokers: Vec<String>,
    kafka: String,
    #[serde(rename = "zookeeper", skip_serializing_if = "Option::is_none")]
    coordinator: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    controllers: Vec<String>,
    steps: Vec<StepLine<'a>>,
    #[serde(flatten)]
    work: WorkFields<'a>,
}

/// Which command is at work on the lab, or was interrupted. Only `status` says it.
#[derive(Default, Serialize)]
struct WorkFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    at_work: Option<Option<&'a Holder>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<&'a Holder>,
}

impl<'a> From<&'a Work> for WorkFields<'a> {
    fn from(work: &'a Work) -> Self {
        match work {
            Work::Busy(holder) => WorkFields { at_work: Some(holder.as_ref()), interrupted: None },
            Work::Interrupted(holder) => WorkFields { at_work: None, interrupted: Some(holder) },
            Work::None | Work::Unknown(_) => WorkFields::default(),
        }
    }
}

#[derive(Serialize)]
struct StepLine<'a> {
    step: &'a str,
    state: StepState,
    proof: &'a str,
    #[serde(rename = "began_ms", serialize_with = "milliseconds")]
    began: Duration,
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    elapsed: Duration,
    critical: bool,
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

/// The last JSON line of a command that failed before its first step.
#[derive(Serialize)]
struct EarlyReportLine<'a> {
    schema: &'static str,
    command: &'a str,
    exit: i32,
    failure: FailureLine<'a>,
    #[serde(flatten)]
    work: WorkFields<'a>,
}

/// The schema of both lines.
const REPORT_SCHEMA: &str = "kafka-lab.report/1";

impl<'a> From<&'a Failure> for FailureLine<'a> {
    fn from(failure: &'a Failure) -> Self {
        FailureLine {
            exit: failure.exit as i32,
            what: &failure.message,
            command: &failure.command,
            output: &failure.output,
            log: failure.log.as_ref().map(|path| path.display().to_string()),
            fix: &failure.fix,
            evidence: &failure.evidence,
        }
    }
}

impl<'a> From<&'a StepResult> for StepLine<'a> {
    fn from(result: &'a StepResult) -> Self {
        let line = StepLine {
            step: &result.title,
            state: result.end.state(),
            proof: "",
            began: result.began,
            elapsed: result.elapsed,
            critical: result.critical,
            warnings: &[],
            flow: None,
            account: &[],
            failure: None,
        };
        match &result.end {
            StepEnd::Done(outcome) => StepLine {
                proof: &outcome.proof,
                warnings: &outcome.warnings,
                flow: outcome.flow.as_ref(),
                account: &outcome.account,
                ..line
            },
            StepEnd::Failed(failure) => StepLine { failure: Some(failure.into()), ..line },
            StepEnd::NotRun(why) => StepLine { proof: why, ..line },
        }
    }
}

/// Prints the report of a command as a JSON line.
pub fn json(command: &str, ctx: &Ctx<'_>, report: &PlanReport) {
    print_json(&line(command, ctx.lab, ctx.driver.coordinator_address(ctx.lab), report));
}

/// Adds the report of a command to the journal.
pub fn to_journal(journal: &Journal, command: &str, ctx: &Ctx<'_>, report: &PlanReport) {
    journal.add(&line(command, ctx.lab, ctx.driver.coordinator_address(ctx.lab), report));
}

/// Prints the report of `status`, with its exit code and what is at work.
pub fn json_status(ctx: &Ctx<'_>, report: &PlanReport, exit: Exit, work: &Work) {
    let line = line("status", ctx.lab, ctx.driver.coordinator_address(ctx.lab), report);
    print_json(&ReportLine { exit: exit as i32, work: work.into(), ..line });
}

fn line<'a>(command: &'a str, lab: &'a Lab, coordinator: String, report: &'a PlanReport) -> ReportLine<'a> {
    let kraft = lab.release.mode == Mode::KRaft;
    let controllers = if kraft { coordinator.split(',').map(Into::into).collect() } else { Vec::new() };
    ReportLine {
        schema: REPORT_SCHEMA,
        command,
        lab: &lab.name,
        backend: lab.backend,
        exit: report.exit() as i32,
        elapsed: report.elapsed,
        brokers: lab.broker_ids().map(|id| lab.broker_address(id)).collect(),
        kafka: lab.release.to_string(),
        coordinator: (!kraft).then_some(coordinator),
        controllers,
        steps: report.steps.iter().map(StepLine::from).collect(),
        work: WorkFields::default(),
    }
}

/// Prints a failure before the first step as a JSON line.
pub fn json_failure(command: &str, failure: &Failure) {
    print_json(&early_line(command, failure, &Work::None));
}

/// Prints a failure of `status` before the first step, with what is at work.
pub fn json_status_failure(failure: &Failure, work: &Work) {
    print_json(&early_line("status", failure, work));
}

fn early_line<'a>(command: &'a str, failure: &'a Failure, work: &'a Work) -> EarlyReportLine<'a> {
    let (exit, work) = (failure.exit as i32, work.into());
    EarlyReportLine { schema: REPORT_SCHEMA, command, exit, failure: failure.into(), work }
}

/// Prints every failure as text.
pub fn failures(report: &PlanReport, colour: bool) {
    for failure in report.failures.iter().filter(|failure| failure.exit != Exit::Interrupted) {
        print_failure(failure, colour);
    }
}

/// Returns the table of addresses and next commands at the end of `up`.
pub fn endpoints(ctx: &Ctx<'_>, with_clients: bool) -> String {
    let lab = ctx.lab;
    let mut rows: Vec<(String, String)> =
        lab.broker_ids().map(|id| (format!("broker {id}"), lab.broker_address(id))).collect();
    rows.push(("bootstrap".into(), lab.bootstrap()));
    rows.push(("topic".into(), lab.facts.topic.clone()));
    rows.extend(ctx.driver.endpoints(lab).into_iter().map(|(what, value)| (what.into(), value)));
    rows.push(("logs".into(), lab.logs().display().to_string()));
    let mut text = String::new();
    for (what, value) in rows {
        text += &format!("{what:>10}  {value}\n");
    }
    let client = if with_clients && ctx.driver.has_clients(lab) { "clients logs -f" } else { "clients start" };
    let next: Vec<(String, &str)> = [
        ("verify", "prove that every message of every partition arrives"),
        (client, "the producer and the consumer"),
        ("kafka-topics -- --describe", "the topics as Kafka sees them"),
        ("status", "what runs, and whether it serves"),
        ("teardown", "remove everything"),
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

#[cfg(test)]
pub mod tests {
    use ledger::judge::{Evidence, Finding, Kind, RUNNING, Standing};
    use serde_json::{Value, to_value};

    use super::*;
    use crate::account::tests::report as account;
    use crate::config::sample;
    use crate::coordination::releases::Version;
    use crate::coordination::{self, Release};
    use crate::task::Outcome;

    /// Returns a verdict on running clients.
    fn standing() -> Standing {
        let flow = account();
        Standing {
            schema: RUNNING.into(),
            topic: flow.topic,
            verdict: flow.verdict,
            reasons: vec!["2 missing".into()],
            findings: vec![Finding { kind: Kind::Missing, partition: Some(0), count: 1 }],
            remarks: vec!["partition 1: nothing is known of what was sent before".into()],
            partitions: flow.partitions,
            evidence: vec![Evidence {
                producer: ledger::stamp::ProducerId(1),
                epoch: 0,
                partition: 0,
                missing: ledger::intervals::IntervalSet::default(),
                not_persisted_received: ledger::intervals::IntervalSet::default(),
                never_sent: ledger::intervals::IntervalSet::default(),
                duplicate: ledger::intervals::IntervalSet::default(),
            }],
        }
    }

    /// The lines of a command with every kind of step, on both backends, and of one that failed before its steps.
    pub fn lines() -> Vec<Value> {
        let checked = Outcome { flow: Some(account()), account: vec![standing()], ..Outcome::passed("sent 100") };
        let warned = Outcome { warnings: vec!["Java 25".into()], ..Outcome::changed("made") };
        let found = |evidence: Value| Failure { evidence: Some(evidence), ..Failure::fault("2 missing") };
        let mut failed = Failure::step("mvn exited with 1\nno route").command("mvn -B").output("one\ntwo").fix("rerun");
        failed.log = Some("/state/logs/steps/up/03-kafka-jars.log".into());
        let ends = [
            StepEnd::Done(checked),
            StepEnd::Done(warned),
            StepEnd::Done(Outcome::unchanged("there")),
            StepEnd::Done(Outcome::skipped("not started")),
            StepEnd::Failed(failed.clone()),
            StepEnd::Failed(found(to_value(account()).unwrap())),
            StepEnd::Failed(found(to_value([standing()]).unwrap())),
            StepEnd::NotRun("kafka jars did not succeed".into()),
        ];
        let (began, elapsed) = (Duration::from_millis(300), Duration::from_millis(1_250));
        let step = |end| StepResult { title: "flow".into(), end, began, elapsed, critical: true };
        let steps = ends.into_iter().map(step).collect();
        let report = PlanReport { steps, elapsed: Duration::from_secs(2), failures: vec![failed.clone()] };
        let local = sample::lab();
        let kind = Lab { backend: Backend::Kind, ..sample::lab() };
        let holder = || Holder { command: "drill".into(), pid: 7, since_ms: 1 };
        let again = line("status", &local, local.coordinator_address(), &report);
        let kraft = sample::of(Release { version: Version::V4_3, mode: Mode::KRaft });
        vec![
            to_value(line("verify", &local, local.coordinator_address(), &report)).unwrap(),
            to_value(line("verify", &kind, coordination::SERVICE_ADDRESS.into(), &report)).unwrap(),
            to_value(line("verify", &kraft, kraft.coordinator_address(), &report)).unwrap(),
            to_value(early_line("up", &failed, &Work::None)).unwrap(),
            to_value(early_line("status", &failed, &Work::Interrupted(holder()))).unwrap(),
            to_value(ReportLine { work: (&Work::Busy(Some(holder()))).into(), ..again }).unwrap(),
            to_value(early_line("status", &failed, &Work::Busy(None))).unwrap(),
        ]
    }

    #[test]
    fn a_step_has_the_same_state_in_a_report_as_in_an_event() {
        let lines = lines();
        let states = lines[0]["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap());
        let states: Vec<&str> = states.collect();
        assert_eq!(states, ["passed", "changed", "unchanged", "skipped", "failed", "failed", "failed", "not run"]);
    }
}
