//! The flow check: a new run of messages through all partitions, with an exact account of each.
//!
//! The run is read from the end offsets taken before it to those taken after the producer's last flush. Between two
//! offsets of a partition without transactions there is exactly one record for each offset, so the brokers' offsets
//! confirm independently how many records there are to read.

use std::time::Duration;

use ledger::judge::{Case, Claim, HowEnded, Verdict, judge};
use ledger::lines::{Offsets, StateEvent};
use ledger::stamp::RunId;

use crate::account::{table, totals};
use crate::brokers;
use crate::config::Lab;
use crate::exec::{Cmd, ended};
use crate::failure::{Exit, Failure, Result};
use crate::system::now_ms;
use crate::task::{Ctx, Outcome, Task};
use crate::tools::clients;

fn run_id() -> Result<RunId> {
    format!("verify-{:x}", now_ms()).parse().map_err(Failure::step)
}

struct Commands<'a> {
    lab: &'a Lab,
    /// Bootstrap list for the clients of this run.
    brokers: String,
    run: String,
    deadline: Duration,
}

impl Commands<'_> {
    fn produce(&self, count: u64) -> Cmd {
        let size = self.lab.settings.flow.value_size;
        let (program, brokers, topic) = (self.lab.clients_program(), &self.brokers, &self.lab.facts.topic);
        clients::produce(&program, brokers, topic, &self.run, count, size, self.deadline)
    }

    fn consume(&self, range: &[(u32, u64, u64)]) -> Cmd {
        let (program, brokers, topic) = (self.lab.clients_program(), &self.brokers, &self.lab.facts.topic);
        clients::consume(&program, brokers, topic, &self.run, range, self.deadline)
    }
}

/// Returns the preview of [`run`].
pub fn preview(ctx: &Ctx<'_>, messages: u64) -> Vec<String> {
    let (lab, brokers) = (ctx.lab, ctx.driver.client_brokers(ctx.lab));
    let commands = Commands { lab, brokers, run: "RUN".into(), deadline: Duration::ZERO };
    vec![
        brokers::offsets_cmd(lab, &lab.facts.topic).to_string(),
        commands.produce(messages).to_string(),
        brokers::offsets_cmd(lab, &lab.facts.topic).to_string(),
        "# from each end offset before the run (here 0) to the one after its last flush (here 1):".into(),
        commands.consume(&(0..lab.facts.brokers.partitions).map(|n| (n, 0, 1)).collect::<Vec<_>>()).to_string(),
    ]
}

/// Sends the messages, reads them, and judges the run.
///
/// # Errors
/// A fault with its evidence, an inconclusive result with its reason, or a step failure if a client fails.
pub fn run(task: &Task<'_>, messages: u64) -> Result<Outcome> {
    let lab = task.lab();
    brokers::enough(task)?;
    let run = run_id()?;
    let brokers = task.ctx.driver.client_brokers(lab);
    let commands = Commands { lab, brokers, run: run.to_string(), deadline: lab.timeout(|t| t.flow) };
    let before = offsets(task)?;
    (task.status)(&format!("sending {messages} messages"));
    let claim = run_client(task, "producer", &commands.produce(messages), |output| {
        clients::claim(output, HowEnded::ByItself).filter(Claim::ended)
    })?;
    let after = offsets(task)?;
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
    let received = run_client(task, "consumer", &commands.consume(&range), |output| {
        clients::received(output).filter(|line| line.event == StateEvent::End)
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
        Verdict::Inconclusive => "rerun; if it persists, raise KAFKA_LOG_RETENTION_BYTES or send fewer messages",
        _ => "the evidence is in the log; `status` and `logs` show the brokers",
    };
    let mut failure = Failure::new(exit, format!("{proof}{}", reasons.concat())).log(&task.log).fix(fix);
    failure.output = table(&report).lines().map(Into::into).collect();
    failure.evidence = serde_json::to_value(&report).ok();
    Err(failure)
}

fn offsets(task: &Task<'_>) -> Result<Offsets> {
    (task.status)("asking for end offsets");
    let topic = &task.lab().facts.topic;
    let found = brokers::offsets(task, topic)?;
    found.map_err(|why| Failure::step(why).command(brokers::offsets_cmd(task.lab(), topic)).log(&task.log))
}

/// Runs a client where the lab's own clients run, and returns its last line. The exit code adds nothing to that line.
fn run_client<T>(task: &Task<'_>, role: &str, cmd: &Cmd, last: impl Fn(&str) -> Option<T>) -> Result<T> {
    let output = task.ctx.driver.client(task, role, cmd)?;
    last(&output.stdout).ok_or_else(|| {
        let what = format!("{} {} without its last line", cmd.program.to_string_lossy(), ended(output.code));
        Failure::step(what).command(cmd).output(&output.stderr).log(&task.log)
    })
}
