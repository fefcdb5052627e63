//! Walks a plan: starts each step when what it waits for is done, stops at the first failure, and keeps the account.

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

    /// The exit code: the worst of the failures and the drills.
    pub fn exit(&self) -> Exit {
        let drills = self.steps.iter().filter_map(|step| match &step.end {
            StepEnd::Done(outcome) => Some(outcome.exit),
            _ => None,
        });
        self.failures.iter().map(|failure| failure.exit).chain(drills).fold(Exit::Ok, Exit::worst)
    }
}

/// Takes what a step found as soon as the step ends. An error stops the plan.
pub type TakeOutcome<'a> = &'a mut dyn FnMut(&Outcome) -> Result<()>;

/// Runs `plan`, each step with a log file of its own in `logs`. Sends what happens to `events` and hands what each step
/// found to `take`.
pub fn run(plan: &Plan, ctx: &Ctx<'_>, events: &Events, logs: &Path, take: TakeOutcome<'_>) -> Report {
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
                    events.not_run(place + 1, &titles[place], &why);
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
                    if let StepEnd::Done(outcome) = &end
                        && let Err(failure) = take(outcome)
                    {
                        ctx.stop.cancel();
                        failures.push(failure);
                    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;
    use crate::drivers;
    use crate::events::Listener;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;
    use crate::local::jars::Jars;
    use crate::plan;
    use crate::signal::Stop;
    use crate::step::Step;

    #[test]
    fn the_exit_code_is_that_of_the_worst_drill_or_failure() {
        let step = |exit| {
            let outcome = Outcome { exit, ..Outcome::new(StepState::Failed, "") };
            StepResult { title: String::new(), end: StepEnd::Done(outcome), elapsed: Duration::ZERO }
        };
        let of = |drills: &[Exit], failures: &[Exit]| {
            let failures = failures.iter().map(|exit| Failure::new(*exit, "")).collect();
            let steps = drills.iter().map(|exit| step(*exit)).collect();
            Report { steps, elapsed: Duration::ZERO, failures }.exit()
        };
        assert_eq!(of(&[], &[]), Exit::Ok);
        assert_eq!(of(&[Exit::Ok, Exit::Inconclusive, Exit::Step], &[]), Exit::Step);
        assert_eq!(of(&[Exit::Fault, Exit::Step], &[]), Exit::Fault);
        assert_eq!(of(&[Exit::Fault], &[Exit::Interrupted]), Exit::Interrupted);
        assert_eq!(of(&[], &[Exit::Step, Exit::Nothing]), Exit::Nothing);
    }

    #[test]
    fn a_drill_that_is_not_kept_stops_no_other_and_a_result_that_cannot_be_taken_stops_all() {
        let lab = sample::lab();
        let jars = Jars::describe(&lab.env).unwrap();
        let exec = FakeExec::new(|_: &crate::exec::Cmd| Ok(Output { code: Some(0), ..Output::default() }));
        let drills = &plan::drill(&plan::tests::drills()).steps[2..];
        let chained = |(place, planned): (usize, &plan::Planned)| plan::Planned {
            step: planned.step,
            after: place.checked_sub(1).into_iter().collect(),
        };
        // The drills alone: none of their servers runs.
        let plan = Plan { steps: drills.iter().enumerate().map(chained).collect(), keep_going: false };
        let run = |take: TakeOutcome<'_>| {
            let stop = Stop::default();
            let ctx = Ctx::new(&lab, drivers::of(lab.backend), &jars, &exec, &stop);
            run(&plan, &ctx, &Events::to(Vec::<Box<dyn Listener + Send>>::new()), Path::new("/dev/null"), take)
        };
        let mut taken = Vec::new();
        let report = run(&mut |outcome| {
            taken.push(outcome.drill.is_some());
            Ok(())
        });
        let states: Vec<StepState> = report.steps.iter().map(|step| step.end.state()).collect();
        assert_eq!(states, [StepState::Failed, StepState::Skipped, StepState::Failed]);
        assert_eq!(taken, [true, false, true], "one is skipped");
        assert_eq!(report.exit(), Exit::Fault, "the one that is skipped was broken");
        assert!(plan.steps.iter().all(|planned| matches!(planned.step, Step::Drill(_))));

        let report = run(&mut |_| Err(Failure::step("cannot write drills.jsonl")));
        let states: Vec<StepState> = report.steps.iter().map(|step| step.end.state()).collect();
        assert_eq!(states, [StepState::Failed, StepState::NotRun, StepState::NotRun]);
        assert_eq!(report.failures[0].what, "cannot write drills.jsonl");
    }
}
