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
    /// When it began, since the plan began.
    pub began: Duration,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether it is on the critical path: the plan ends earlier only if one of these steps does.
    pub critical: bool,
}

/// The result of a plan.
#[derive(Clone, Debug)]
pub struct PlanReport {
    /// The steps, in the plan's order.
    pub steps: Vec<StepResult>,
    /// How long it took.
    pub elapsed: Duration,
    /// Failures, the first one first.
    pub failures: Vec<Failure>,
}

impl PlanReport {
    /// Applies `change` to every failure, here and in the steps.
    pub fn each_failure(&mut self, change: impl Fn(&mut Failure)) {
        self.failures.iter_mut().for_each(&change);
        for step in &mut self.steps {
            if let StepEnd::Failed(failure) = &mut step.end {
                change(failure);
            }
        }
    }

    /// Returns the exit code: the worst of the failures and the drills.
    pub fn exit(&self) -> Exit {
        let drills = self.steps.iter().filter_map(|step| match &step.end {
            StepEnd::Done(outcome) => Some(outcome.exit),
            _ => None,
        });
        self.failures.iter().map(|failure| failure.exit).chain(drills).fold(Exit::Ok, Exit::worst)
    }
}

/// Receives the outcome of a step as soon as the step ends. An error stops the plan.
pub type TakeOutcome<'a> = &'a mut dyn FnMut(&Outcome) -> Result<()>;

/// Runs `plan`, each step with its own log file in `logs`. Sends what happens to `events`, and each outcome to `take`.
pub fn run(plan: &Plan, ctx: &Ctx<'_>, events: &Events, logs: &Path, take: TakeOutcome<'_>) -> PlanReport {
    let begin = Instant::now();
    // Without the folder, a step that needs its log fails.
    let unusable = ctx.lab.state.exists() && crate::files::private_dir(logs).is_err();
    let logs = if unusable { Path::new("/dev/null") } else { logs };
    let titles: Vec<String> = plan.steps.iter().map(|planned| planned.step.title(ctx.lab)).collect();
    events.send(&Event::PlanBegun { steps: titles.clone() });
    let ended = vec![None; plan.steps.len()];
    let mut walk = Walk { plan, ctx, titles: &titles, begin, ended, failures: Vec::new() };
    let mut started = vec![false; plan.steps.len()];
    let (sender, receiver) = mpsc::channel();

    std::thread::scope(|scope| {
        let mut running = 0;
        loop {
            for place in 0..plan.steps.len() {
                if started[place] || !walk.is_due(place) {
                    continue;
                }
                started[place] = true;
                if let Some(why) = walk.obstacle(place) {
                    events.not_run(place + 1, &titles[place], &why);
                    walk.keep(place, StepEnd::NotRun(why), Duration::ZERO);
                    continue;
                }
                running += 1;
                let (planned, step) = (&plan.steps[place], events.start(place + 1, &titles[place]));
                let (sender, title) = (sender.clone(), &titles[place]);
                scope.spawn(move || {
                    let log = logs.join(format!("{:02}-{}.log", place + 1, title.replace(['/', ' '], "-")));
                    let status = |text: &str| step.status(text);
                    let tell = |event: &Event| step.tell(event);
                    let task = Task { ctx, log, status: &status, tell: &tell };
                    let run = std::panic::AssertUnwindSafe(|| planned.step.run(&task));
                    let result = std::panic::catch_unwind(run).unwrap_or_else(|_| {
                        Err(Failure::new(Exit::Unexpected, format!("{title}: internal error, see above")))
                    });
                    // The receiver outlives this thread.
                    let _ = sender.send((place, step, result));
                });
            }
            if running == 0 && started.iter().all(|started| *started) {
                break;
            }
            if running > 0 {
                match receiver.recv_timeout(Duration::from_secs(1)) {
                    Ok((place, step, result)) => {
                        running -= 1;
                        walk.finish(place, step, result, take);
                    }
                    Err(_) => events.tick(),
                }
            }
        }
    });
    let Walk { ended, mut failures, .. } = walk;
    let mut steps: Vec<StepResult> = ended.into_iter().flatten().collect();
    mark_critical(plan, &mut steps);
    if ctx.stop.signalled() && !failures.iter().any(|failure| failure.exit == Exit::Interrupted) {
        failures.push(Failure::interrupted());
    }
    let report = PlanReport { steps, elapsed: begin.elapsed(), failures };
    events.send(&Event::PlanEnded { exit: report.exit() as i32, elapsed: report.elapsed });
    report
}

/// A plan on its way.
struct Walk<'a> {
    plan: &'a Plan,
    ctx: &'a Ctx<'a>,
    titles: &'a [String],
    begin: Instant,
    /// How each step ended, as far as it has.
    ended: Vec<Option<StepResult>>,
    failures: Vec<Failure>,
}

impl Walk<'_> {
    /// Whether all steps that a step comes after have ended.
    fn is_due(&self, place: usize) -> bool {
        self.plan.steps[place].after.iter().all(|earlier| self.ended[*earlier].is_some())
    }

    /// Returns why a step that is due cannot run.
    fn obstacle(&self, place: usize) -> Option<String> {
        let after = &self.plan.steps[place].after;
        let earlier = after.iter().find_map(|earlier| obstacle(self.plan, self.ended[*earlier].as_ref()?));
        earlier.or_else(|| self.ctx.stop.requested().then(|| "stopped".to_string()))
    }

    fn keep(&mut self, place: usize, end: StepEnd, elapsed: Duration) {
        let began = self.begin.elapsed().saturating_sub(elapsed);
        let title = self.titles[place].clone();
        self.ended[place] = Some(StepResult { title, end, began, elapsed, critical: false });
    }

    /// Keeps the result of a step, and hands its outcome to `take`.
    fn finish(&mut self, place: usize, step: StartedStep<'_>, result: Result<Outcome>, take: TakeOutcome<'_>) {
        let end = end(self.ctx, result);
        let elapsed = end.send(step);
        match &end {
            StepEnd::Failed(failure) => {
                if !self.plan.keep_going {
                    self.ctx.stop.cancel();
                }
                self.failures.push(failure.clone());
            }
            StepEnd::Done(outcome) => {
                if let Err(failure) = take(outcome) {
                    self.ctx.stop.cancel();
                    self.failures.push(failure);
                }
            }
            StepEnd::NotRun(_) => {}
        }
        self.keep(place, end, elapsed);
    }
}

/// Marks the critical path: the step that ended last, of those that it came after the one that ended last, and so on.
fn mark_critical(plan: &Plan, steps: &mut [StepResult]) {
    let last = |places: &mut dyn Iterator<Item = usize>, steps: &[StepResult]| {
        places.max_by_key(|place| steps.get(*place).map(|step| step.began + step.elapsed))
    };
    let mut on_path = last(&mut (0..steps.len()), steps);
    while let Some(place) = on_path {
        steps[place].critical = true;
        on_path = last(&mut plan.steps[place].after.iter().copied(), steps);
    }
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

    /// A step that ran from `began` for `elapsed` milliseconds.
    fn ran(began: u64, elapsed: u64) -> StepResult {
        StepResult {
            title: String::new(),
            end: StepEnd::Done(Outcome::passed("")),
            began: Duration::from_millis(began),
            elapsed: Duration::from_millis(elapsed),
            critical: false,
        }
    }

    #[test]
    fn the_critical_path_is_what_the_last_step_waited_for() {
        let after = [&[][..], &[0], &[0], &[1, 2], &[0]];
        let planned = |after: &&[usize]| plan::Planned { step: Step::Topic, after: after.to_vec() };
        let plan = Plan { steps: after.iter().map(planned).collect(), keep_going: false };
        let mut steps = vec![ran(0, 5), ran(5, 20), ran(5, 30), ran(35, 10), ran(5, 39)];
        mark_critical(&plan, &mut steps);
        assert_eq!(steps.iter().map(|step| step.critical).collect::<Vec<_>>(), [true, false, true, true, false]);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_drill_or_failure() {
        let step = |exit| {
            let outcome = Outcome { exit, ..Outcome::new(StepState::Failed, "") };
            StepResult { end: StepEnd::Done(outcome), ..ran(0, 0) }
        };
        let of = |drills: &[Exit], failures: &[Exit]| {
            let failures = failures.iter().map(|exit| Failure::new(*exit, "")).collect();
            let steps = drills.iter().map(|exit| step(*exit)).collect();
            PlanReport { steps, elapsed: Duration::ZERO, failures }.exit()
        };
        assert_eq!(of(&[], &[]), Exit::Ok);
        assert_eq!(of(&[Exit::Ok, Exit::Inconclusive, Exit::Step], &[]), Exit::Step);
        assert_eq!(of(&[Exit::Fault, Exit::Step], &[]), Exit::Fault);
        assert_eq!(of(&[Exit::Fault], &[Exit::Interrupted]), Exit::Interrupted);
        assert_eq!(of(&[], &[Exit::Step, Exit::NotUp]), Exit::NotUp);
    }

    #[test]
    fn a_drill_that_is_not_kept_stops_no_other_and_a_result_that_cannot_be_taken_stops_all() {
        let lab = sample::lab();
        let jars = Jars::describe(&lab.env, lab.release.version).unwrap();
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
        assert_eq!(report.failures[0].message, "cannot write drills.jsonl");
    }
}
