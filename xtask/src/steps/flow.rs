//! The flow check: a fresh run of messages through all partitions, and an exact account of it for each.
//!
//! The run is read from the end offsets taken before it to those taken after the producer's last flush. Between two
//! offsets of a partition without transactions there is exactly one record each, so the brokers' own offsets are an
//! independent witness: what was read must be as many records as they say there are.

use std::time::Duration;

use ledger::judge::{Case, Claim, Verdict, Went, judge};
use ledger::lines::{Event, Offsets};
use ledger::stamp::RunId;

use crate::account::{table, totals};
use crate::backend::Backend;
use crate::config::Lab;
use crate::exec::{Cmd, Output};
use crate::failure::{Exit, Failure, Result};
use crate::local::ports;
use crate::steps::workload;
use crate::system::now_ms;
use crate::task::{Outcome, Task};
use crate::tools::clients;

fn run_id() -> Result<RunId> {
    format!("verify-{:x}", now_ms()).parse().map_err(Failure::step)
}

struct Commands<'a> {
    lab: &'a Lab,
    run: String,
    deadline: Duration,
}

impl Commands<'_> {
    fn offsets(&self) -> Cmd {
        clients::offsets(&self.lab.clients_program(), &self.lab.bootstrap(), &self.lab.facts.topic)
    }

    /// Where the run's own clients find a broker: on Kubernetes where the rolled-out ones do.
    fn brokers(&self) -> String {
        let named = self.lab.facts.clients.iter().find_map(|client| client.env.get("KAFKA_BROKER"));
        match (self.lab.backend, named) {
            (Backend::Kind, Some(broker)) => broker.clone(),
            _ => self.lab.bootstrap(),
        }
    }

    fn produce(&self, count: u64) -> Cmd {
        let size = self.lab.settings.flow.value_size;
        let (program, brokers, topic) = (self.lab.clients_program(), self.brokers(), &self.lab.facts.topic);
        clients::produce(&program, &brokers, topic, &self.run, count, size, self.deadline)
    }

    fn consume(&self, range: &[(u32, u64, u64)]) -> Cmd {
        let (program, brokers, topic) = (self.lab.clients_program(), self.brokers(), &self.lab.facts.topic);
        clients::consume(&program, &brokers, topic, &self.run, range, self.deadline)
    }
}

/// What it would run.
pub fn preview(lab: &Lab, messages: u64) -> Vec<String> {
    let commands = Commands { lab, run: "RUN".into(), deadline: Duration::ZERO };
    vec![
        commands.offsets().to_string(),
        commands.produce(messages).to_string(),
        commands.offsets().to_string(),
        "# from each end offset before the run (here 0) to that after its last flush (here 1):".into(),
        commands.consume(&(0..lab.facts.brokers.partitions).map(|n| (n, 0, 1)).collect::<Vec<_>>()).to_string(),
    ]
}

/// Sends, reads, judges.
///
/// # Errors
/// A fault with its evidence, inconclusive with its reason, or a step failure when a client fails.
pub fn run(task: &Task<'_>, messages: u64) -> Result<Outcome> {
    let lab = task.lab();
    enough_brokers(task)?;
    let run = run_id()?;
    let commands = Commands { lab, run: run.to_string(), deadline: lab.timeout(|t| t.flow) };
    let before = offsets(task, &commands.offsets())?;
    (task.status)(&format!("sending {messages} messages"));
    let claim = ran(task, "producer", &commands.produce(messages), |said| {
        clients::claim(said, Went::ByItself).filter(Claim::ended)
    })?;
    let after = offsets(task, &commands.offsets())?;
    let range: Vec<(u32, u64, u64)> = after
        .partitions
        .iter()
        .map(|mark| {
            (
                mark.partition,
                before.partitions.iter().find(|b| b.partition == mark.partition).map_or(mark.low, |b| b.high),
                mark.high,
            )
        })
        .collect();
    (task.status)("receiving them");
    let received = ran(task, "consumer", &commands.consume(&range), |said| {
        clients::received(said).filter(|line| line.event == Event::End)
    })?;
    let (ranges, claims) = (clients::ranges(&range), [claim]);
    let topic_ids: Vec<String> = [before.topic_id, after.topic_id].into_iter().flatten().collect();
    let case = Case::new(run, &lab.facts.topic, &ranges, &claims, &received);
    let report = judge(&Case { expected: Some(messages), topic_ids: &topic_ids, ..case });

    let proof = totals(&report);
    let exit = match report.verdict {
        Verdict::Pass => {
            let mut outcome = Outcome::passed(proof);
            outcome.flow = Some(report);
            return Ok(outcome);
        }
        Verdict::Fail => Exit::Fault,
        Verdict::Inconclusive => Exit::Inconclusive,
    };
    let reasons: Vec<String> = report.reasons.iter().map(|reason| format!("\n  - {reason}")).collect();
    let fix = match report.verdict {
        Verdict::Inconclusive => "say it again; when it stays, raise KAFKA_LOG_RETENTION_BYTES or send fewer messages",
        _ => "the evidence is in the log; `status` and `logs` show the brokers",
    };
    let mut failure = Failure::new(exit, format!("{proof}{}", reasons.concat())).log(&task.log).fix(fix);
    failure.output = table(&report).lines().map(Into::into).collect();
    failure.evidence = serde_json::to_value(&report).ok();
    Err(failure)
}

/// Below min.insync.replicas nothing is acknowledged, and the producer would wait for brokers for good.
fn enough_brokers(task: &Task<'_>) -> Result<()> {
    let lab = task.lab();
    // On Kubernetes a port is open whether or not a broker is behind it; there the pods tell.
    let living = match lab.backend {
        Backend::Local => lab.broker_ids().filter(|id| !ports::is_free(lab.ports.broker(*id))).count(),
        Backend::Kind => workload::snapshot(task)?.pods.iter().filter(|pod| pod.app == "kafka" && pod.ready).count(),
    };
    let needed = lab.facts.brokers.min_insync_replicas as usize;
    if living >= needed {
        return Ok(());
    }
    let what = format!(
        "{living} of {} brokers listen, min.insync.replicas is {needed}: nothing can be acknowledged",
        lab.facts.brokers.count
    );
    Err(Failure::fault(what).fix(lab.xtask("up")))
}

fn offsets(task: &Task<'_>, cmd: &Cmd) -> Result<Offsets> {
    (task.status)("asking for end offsets");
    let output = task.run(cmd)?;
    match clients::lines::<Offsets>(&output.stdout).pop() {
        Some(offsets) if offsets.error.is_none() && !offsets.partitions.is_empty() => Ok(offsets),
        Some(Offsets { error: Some(error), .. }) => {
            Err(Failure::step(format!("no end offsets: {error}")).command(cmd).log(&task.log))
        }
        _ => Err(Failure::step("no end offsets").command(cmd).output(&output.stderr).log(&task.log)),
    }
}

/// Runs a client to its end line, on Kubernetes as a Job. Its exit code says no more than that line does.
fn ran<T>(task: &Task<'_>, role: &str, cmd: &Cmd, last: impl Fn(&str) -> Option<T>) -> Result<T> {
    let output = match task.lab().backend {
        Backend::Local => task.capture(cmd)?,
        Backend::Kind => Output {
            code: None,
            stdout: workload::run_job(task, role, &clients::args(cmd), cmd.deadline)?,
            stderr: String::new(),
        },
    };
    last(&output.stdout).ok_or_else(|| {
        let what =
            format!("{} ended without its last line (exit code {:?})", cmd.program.to_string_lossy(), output.code);
        Failure::step(what).command(cmd).output(&output.stderr).log(&task.log)
    })
}
