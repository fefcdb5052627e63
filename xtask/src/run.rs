//! Walks a plan: starts each step when what it waits for is done, stops at the first failure, and keeps the account.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::failure::{Exit, Failure};
use crate::plan::Plan;
use crate::progress::{Ended, Progress};
use crate::task::{Ctx, Task};

/// How a step went.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its title.
    pub title: String,
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub elapsed: Duration,
}

/// How a plan went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its steps, in the plan's order.
    pub steps: Vec<Ran>,
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
            if let Ended::Failed(failure) = &mut step.ended {
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

/// Runs `plan`, each step with a log file of its own in `logs`.
pub fn run(plan: &Plan, ctx: &Ctx<'_>, progress: &Progress<'_>, logs: &Path) -> Report {
    let begin = Instant::now();
    // Without the folder there are no logs, which a step that needs one will say.
    let _ = if ctx.lab.state.exists() { crate::files::private_dir(logs).is_ok() } else { false };
    let titles: Vec<String> = plan.steps.iter().map(|planned| planned.step.title(ctx.lab)).collect();
    let mut ended: Vec<Option<Ran>> = vec![None; plan.steps.len()];
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
                let obstacle = planned.after.iter().find_map(|earlier| match &ended[*earlier].as_ref()?.ended {
                    Ended::Done(_) => None,
                    // What a check found does not keep others from looking.
                    Ended::Failed(failure)
                        if plan.keep_going && matches!(failure.exit, Exit::Fault | Exit::Inconclusive) =>
                    {
                        None
                    }
                    _ => Some(format!("{} did not succeed", titles[*earlier])),
                });
                let obstacle = obstacle.or_else(|| ctx.stop.asked().then(|| "stopped".to_string()));
                started[place] = true;
                if let Some(why) = obstacle {
                    let not_run = Ended::NotRun(why);
                    ended[place] = Some(Ran { title: titles[place].clone(), ended: not_run, elapsed: Duration::ZERO });
                    // What waits for this one may stand earlier in no list, but never before it: go on from the top.
                    continue;
                }
                progress.started(place, &titles[place]);
                running += 1;
                let (sender, title) = (sender.clone(), &titles[place]);
                scope.spawn(move || {
                    let log = logs.join(format!("{:02}-{}.log", place + 1, title.replace(['/', ' '], "-")));
                    let status = |text: &str| progress.status(place, text);
                    let task = Task { ctx, log, status: &status };
                    let run = std::panic::AssertUnwindSafe(|| planned.step.run(&task));
                    let result = std::panic::catch_unwind(run).unwrap_or_else(|_| {
                        Err(Failure::new(Exit::Unexpected, format!("{title}: a defect of this program, see above")))
                    });
                    // The receiver lives as long as this scope.
                    let _ = sender.send((place, result));
                });
            }
            if running == 0 {
                if started.iter().all(|started| *started) {
                    break;
                }
                continue;
            }
            match receiver.recv_timeout(Duration::from_secs(1)) {
                Ok((place, result)) => {
                    running -= 1;
                    let end = match result {
                        Ok(outcome) => Ended::Done(outcome),
                        Err(failure) if failure.exit == Exit::Interrupted && !ctx.stop.signalled() => {
                            Ended::NotRun("stopped, because another step failed".into())
                        }
                        Err(failure) => {
                            if !plan.keep_going {
                                ctx.stop.cancel();
                            }
                            failures.push(failure.clone());
                            Ended::Failed(failure)
                        }
                    };
                    let elapsed = progress.finished(place, &titles[place], &end);
                    ended[place] = Some(Ran { title: titles[place].clone(), ended: end, elapsed });
                }
                Err(_) => progress.tick(),
            }
        }
    });
    let steps = ended.into_iter().flatten().collect();
    if ctx.stop.signalled() && !failures.iter().any(|failure| failure.exit == Exit::Interrupted) {
        failures.push(Failure::interrupted());
    }
    Report { steps, elapsed: begin.elapsed(), failures }
}
