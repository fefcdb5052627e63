//! What every command shares: the recorded lab, its lock, how a plan is run and how it is shown.

use std::time::Duration;

use crate::cli::{Format, Global};
use crate::config::{Choice, Env, Lab, spelled, state_dir};
use crate::drivers;
use crate::events::Events;
use crate::exec::RealExec;
use crate::failure::{Exit, Failure, Result};
use crate::local::jars::Jars;
use crate::lock::Lock;
use crate::plan::Plan;
use crate::report;
use crate::run::{self, Report};
use crate::show::{self, print_text};
use crate::signal::Stop;
use crate::state::read_record;
use crate::task::Ctx;

/// How long a command waits for another one on the same lab.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1800);

/// What a command runs with.
pub struct Session<'a> {
    /// What every command takes.
    pub global: &'a Global,
    /// The environment.
    pub env: &'a Env,
    /// Whether to stop.
    pub stop: &'a Stop,
}

impl Session<'_> {
    /// The recorded lab.
    ///
    /// # Errors
    /// Nothing is up: exit code 6.
    pub(super) fn recorded(&self) -> Result<(Lab, Jars)> {
        let state = state_dir(self.global, self.env)?;
        let Some(record) = read_record(&state)? else {
            let what = format!("no lab {} is up", self.global.name);
            return Err(Failure::new(Exit::Nothing, what).fix(spelled(&self.global.name, "up")));
        };
        let lab = Lab::load(self.global, self.env, Some(&record), Choice::recorded(record.backend))?;
        Ok((lab, Jars::describe(self.env)?))
    }

    pub(super) fn lock(&self, command: &str) -> Result<Lock> {
        let state = state_dir(self.global, self.env)?;
        let waiting = |status: &str| eprintln!("{command}: {status}");
        Lock::take(&state, command, LOCK_TIMEOUT, self.stop, &waiting)
    }

    /// What the steps of a plan share, before any of them has run.
    pub(super) fn ctx<'a>(&self, lab: &'a Lab, jars: &'a Jars, stop: &'a Stop) -> Ctx<'a> {
        Ctx::new(lab, drivers::of(lab.backend), jars, &RealExec, stop)
    }

    pub(super) fn run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> Report {
        let stop = self.stop.next_plan();
        self.run_in(command, &self.ctx(lab, jars, &stop), plan)
    }

    pub(super) fn run_in(&self, command: &str, ctx: &Ctx<'_>, plan: &Plan) -> Report {
        let lab = ctx.lab;
        let events = Events::to(vec![show::listener(command, &lab.name, lab.format, self.env)]);
        let logs = lab.logs().join("steps").join(command.replace(' ', "-"));
        let mut report = run::run(plan, ctx, &events, &logs, &mut |_| Ok(()));
        let failed = report.failures.iter().any(|failure| [Exit::Step, Exit::Fault].contains(&failure.exit));
        // What cancelled the plan must not keep us from asking why.
        let stop = ctx.stop.next_plan();
        let asking = ctx.with_stop(&stop);
        let ground = if failed { ctx.driver.ground_failed(&asking) } else { None };
        if let Some((what, fix)) = &ground {
            report.each_failure(|failure| {
                failure.what = format!("{what}: {}", failure.what);
                failure.fix = Some(fix.clone());
            });
        }
        if lab.format == Format::Text {
            report::failures(&report, self.env.colour);
        }
        if failed
            && ground.is_none()
            && lab.state.exists()
            && let Some(dir) = ctx.driver.diagnose(&asking)
        {
            events.note(format!("diagnostics: {}", dir.display()));
        }
        report
    }

    pub(super) fn dry_run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> Exit {
        let ctx = self.ctx(lab, jars, self.stop);
        // What nobody can tell yet keeps its plain name.
        ctx.driver.settle_preview(&ctx);
        print_text(&format!("# {command}: backend {}, lab {}, {} steps\n", lab.backend, lab.name, plan.steps.len()));
        for (place, planned) in plan.steps.iter().enumerate() {
            let after: Vec<String> = planned.after.iter().map(|earlier| (earlier + 1).to_string()).collect();
            let after = if after.is_empty() { String::new() } else { format!("  (after {})", after.join(", ")) };
            print_text(&format!("\n# {}. {}{after}\n", place + 1, planned.step.title(lab)));
            for line in planned.step.preview(&ctx) {
                print_text(&format!("{line}\n"));
            }
        }
        Exit::Ok
    }

    /// The lab as recorded, or by the project's own manifests when its own cannot be read.
    pub(super) fn load_or_own(&self, record: Option<&crate::state::Record>, choice: Choice) -> Result<Lab> {
        Lab::load(self.global, self.env, record, choice.clone()).or_else(|failure| {
            eprintln!("teardown: {failure}\n  going on with the project's own manifests");
            let manifests = Some(self.env.repo.join("manifests"));
            let global = Global { manifests, ..self.global.clone() };
            Lab::load(&global, self.env, record, choice)
        })
    }
}
