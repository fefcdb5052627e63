//! Runs a plan: starts each step once its dependencies have ended, and stops at the first failure.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::events::{Event, Events, StartedStep, StepState};
use crate::failure::{Exit, Failure, Result};
use crate::plan::Plan;
use crate::task::{Ctx, Outcome, Task};

/// How a step ended.
#[derive(Clone, Debug)]
pub enum StepEnd {
    /// It succeeded.
    Done(Outcome),
    /// It failed.
    Failed(Failure),
    /// It was not run, or was stopped before its end; with the reason.
    NotRun(String),
}

impl StepEnd {
    /// Returns the state that events and reports show.
    pub fn state(&self) -> StepState {
        match self {
            StepEnd::Done(outcome) => outcome.state,
            StepEnd::Failed(_) => StepState::Failed,
            StepEnd::NotRun(_) => StepState::NotRun,
        }
    }

    /// Sends this as the end of `step`; returns how long the step took.
    pub fn send(&self, step: StartedStep<'_>) -> Duration {
        let (text, warnings) = match self {
            StepEnd::Done(outcome) => (outcome.proof.as_str(), &outcome.warnings[..]),
            StepEnd::Failed(failure) => (failure.message.lines().next().unwrap_or_default(), &[][..]),
            StepEnd::NotRun(why) => (why.as_str(), &[][..]),
        };
        step.finish(self.state(), text, warnings)
    }
}

/// The result of a step.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The step's title.
    pub title: String,
    /// How the step ended.
    pub end: StepEnd,
    /// How long it took.
    pub elapsed: Duration,
}

/// The result of a plan.
#[derive(Clone, Debug)]
pub struct Report {
    /// The steps, in the plan's order.
    pub steps: Vec<StepResult>,
    /// How long it took.
    pub elapsed: Duration,
    /// Failures, the first one first.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Applies `change` to every failure, here and in the steps.
    pub fn each_failure(&mut self, change: impl Fn(&mut Failure)) {
        self.failures.iter_mut().for_each(&change);
        for step in &mut self.steps {
            if let StepEnd::Failed(failure) = &mut step.end {
                change(failure);
            }
        }
    }

    /// Returns the exit code. A fault outranks an inconclusive check.
    pub fn exit(&self) -> Exit {
        let exits = || self.failures.iter().map(|failure| failure.exit);
        let worst = [Exit::Interrupted, Exit::NotUp, Exit::Fault].into_iter().find(|exit| exits().any(|e| e == *exit));
        worst.or_else(|| exits().next()).unwrap_or(Exit::Ok)
    }
}

/// Runs `plan` and sends what happens to `events`. Each step has its own log file in `logs`.
pub fn run(plan: &Plan, ctx: &Ctx<'_>, events: &Events, logs: &Path) -> Report {
    let begin = Instant::now();
    if ctx.lab.state.exists() {
        // Without the folder, a step that needs its log fails.
        let _ = crate::files::private_dir(logs);
    }
    let titles: Vec<String> = plan.steps.iter().map(|planned| planned.step.title(ctx.lab)).collect();
    events.send(&Event::PlanBegun { steps: titles.clone() });
    let mut ended: Vec<Option<StepResult>> = vec![None; plan.steps.len()];
    let mut started = vec![false; plan.steps.len()];
    let mut failures: Vec<Failure> = Vec::new();
    let (sender, receiver) = mpsc::channel();

    std::thread::scope(|scope| {
        let mut running = 0;
        loop {
            for place in 0..plan.steps.len() {
                let planned = &plan.steps[place];
                if started[place] || !planned.after.iter().all(|earlier| ended[*earlier].is_some()) {
                    continue;
                }
                let obstacle = planned.after.iter().find_map(|earlier| obstacle(plan, ended[*earlier].as_ref()?));
                started[place] = true;
                if let Some(why) = obstacle.or_else(|| ctx.stop.requested().then(|| "stopped".to_string())) {
                    events.leave_out(place + 1, &titles[place], StepState::NotRun, &why);
                    let (title, end) = (titles[place].clone(), StepEnd::NotRun(why));
                    ended[place] = Some(StepResult { title, end, elapsed: Duration::ZERO });
                    continue;
                }
                running += 1;
                let step = events.start(place + 1, &titles[place]);
                let (sender, title) = (sender.clone(), &titles[place]);
                scope.spawn(move || {
                    let log = logs.join(format!("{:02}-{}.log", place + 1, title.replace(['/', ' '], "-")));
                    let status = |text: &str| step.status(text);
                    let task = Task { ctx, log, status: &status };
                    let run = std::panic::AssertUnwindSafe(|| planned.step.run(&task));
                    let result = std::panic::catch_unwind(run).unwrap_or_else(|_| {
                        Err(Failure::new(Exit::Unexpected, format!("{title}: internal error, see above")))
                    });
                    // The receiver outlives this thread.
                    let _ = sender.send((place, step, result));
                });
            }
            if running == 0 {
                if started.iter().all(|started| *started) {
                    break;
                }
                continue;
            }
            match receiver.recv_timeout(Duration::from_secs(1)) {
                Ok((place, step, result)) => {
                    running -= 1;
                    let end = end(ctx, result);
                    if let StepEnd::Failed(failure) = &end {
                        if !plan.keep_going {
                            ctx.stop.cancel();
                        }
                        failures.push(failure.clone());
                    }
                    let elapsed = end.send(step);
                    ended[place] = Some(StepResult { title: titles[place].clone(), end, elapsed });
                }
                Err(_) => events.tick(),
            }
        }
    });
    let steps = ended.into_iter().flatten().collect();
    if ctx.stop.signalled() && !failures.iter().any(|failure| failure.exit == Exit::Interrupted) {
        failures.push(Failure::interrupted());
    }
    let report = Report { steps, elapsed: begin.elapsed(), failures };
    events.send(&Event::PlanEnded { exit: report.exit() as i32, elapsed: report.elapsed });
    report
}

/// Returns why a step that depends on `earlier` cannot run.
fn obstacle(plan: &Plan, earlier: &StepResult) -> Option<String> {
    match &earlier.end {
        StepEnd::Done(_) => None,
        // A failed check does not stop other checks.
        StepEnd::Failed(failure) if plan.keep_going && matches!(failure.exit, Exit::Fault | Exit::Inconclusive) => None,
        _ => Some(format!("{} did not succeed", earlier.title)),
    }
}

fn end(ctx: &Ctx<'_>, result: Result<Outcome>) -> StepEnd {
    match result {
        Ok(outcome) => StepEnd::Done(outcome),
        Err(failure) if failure.exit == Exit::Interrupted && !ctx.stop.signalled() => {
            StepEnd::NotRun("stopped, because another step failed".into())
        }
        Err(failure) => StepEnd::Failed(failure),
    }
}
