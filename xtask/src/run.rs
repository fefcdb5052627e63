//! Walks a plan: starts each step when what it waits for is done, stops at the first failure, and keeps the account.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::events::{Event, Events, StartedStep, StepState};
use crate::failure::{Exit, Failure};
use crate::plan::Plan;
use crate::task::{Ctx, Outcome, Task};

/// How a step ended.
#[derive(Clone, Debug)]
pub enum StepEnd {
    /// It did what it should.
    Done(Outcome),
    /// It failed.
    Failed(Failure),
    /// It was not run, or was stopped on the way, and why.
    NotRun(String),
}

impl StepEnd {
    /// The word for it.
    pub fn state(&self) -> StepState {
        match self {
            StepEnd::Done(outcome) => outcome.state,
            StepEnd::Failed(_) => StepState::Failed,
            StepEnd::NotRun(_) => StepState::NotRun,
        }
    }

    /// Sends it as the end of a step; returns how long the step took.
    pub fn send(&self, step: StartedStep<'_>) -> Duration {
        let (text, warnings) = match self {
            StepEnd::Done(outcome) => (outcome.proof.as_str(), &outcome.warnings[..]),
            StepEnd::Failed(failure) => (failure.what.lines().next().unwrap_or_default(), &[][..]),
            StepEnd::NotRun(why) => (why.as_str(), &[][..]),
        };
        step.finish(self.state(), text, warnings)
    }
}

/// How a step went.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Its title.
    pub title: String,
    /// How it ended.
    pub end: StepEnd,
    /// How long it took.
    pub elapsed: Duration,
}

/// How a plan went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its steps, in the plan's order.
    pub steps: Vec<StepResult>,
    /// How long it took.
    pub elapsed: Duration,
    /// Failures, the first one first.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Changes what every failure says, wherever it is kept.
    pub fn each_failure(&mut self, change: impl Fn(&mut Failure)) {
        self.failures.iter_mut().for_each(&change);
        for step in &mut self.steps {
            if let StepEnd::Failed(failure) = &mut step.end {
                change(failure);
            }
        }
    }

    /// What the process should exit with. A fault outweighs a doubt.
    pub fn exit(&self) -> Exit {
        let exits = || self.failures.iter().map(|failure| failure.exit);
        let weightiest =
            [Exit::Interrupted, Exit::Nothing, Exit::Fault].into_iter().find(|exit| exits().any(|e| e == *exit));
        weightiest.or_else(|| exits().next()).unwrap_or(Exit::Ok)
    }
}

/// Runs `plan`, each step with a log file of its own in `logs`, and sends what happens to `events`.
pub fn run(plan: &Plan, ctx: &Ctx<'_>, events: &Events, logs: &Path) -> Report {
    let begin = Instant::now();
    // Without the folder there are no logs, which a step that needs one will say.
    let _ = if ctx.lab.state.exists() { crate::files::private_dir(logs).is_ok() } else { false };
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
                let obstacle = planned.after.iter().find_map(|earlier| match &ended[*earlier].as_ref()?.end {
                    StepEnd::Done(_) => None,
                    // What a check found does not keep others from looking.
                    StepEnd::Failed(failure)
                        if plan.keep_going && matches!(failure.exit, Exit::Fault | Exit::Inconclusive) =>
                    {
                        None
                    }
                    _ => Some(format!("{} did not succeed", titles[*earlier])),
                });
                let obstacle = obstacle.or_else(|| ctx.stop.asked().then(|| "stopped".to_string()));
                started[place] = true;
                if let Some(why) = obstacle {
                    events.leave_out(place + 1, &titles[place], StepState::NotRun, &why);
                    let (title, end) = (titles[place].clone(), StepEnd::NotRun(why));
                    ended[place] = Some(StepResult { title, end, elapsed: Duration::ZERO });
                    // What waits for this one may stand earlier in no list, but never before it: go on from the top.
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
                        Err(Failure::new(Exit::Unexpected, format!("{title}: a defect of this program, see above")))
                    });
                    // The receiver lives as long as this scope.
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
                    let end = match result {
                        Ok(outcome) => StepEnd::Done(outcome),
                        Err(failure) if failure.exit == Exit::Interrupted && !ctx.stop.signalled() => {
                            StepEnd::NotRun("stopped, because another step failed".into())
                        }
                        Err(failure) => {
                            if !plan.keep_going {
                                ctx.stop.cancel();
                            }
                            failures.push(failure.clone());
                            StepEnd::Failed(failure)
                        }
                    };
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
