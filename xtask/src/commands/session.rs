//! What the commands share: the recorded lab, its lock, and how plans run and are displayed.

use std::time::Duration;

use crate::cli::{Format, Global};
use crate::config::{Env, Lab, Overrides, state_dir, xtask_line};
use crate::drivers;
use crate::exec::RealExec;
use crate::failure::{Exit, Failure, Result};
use crate::journal::Journal;
use crate::local::jars::Jars;
use crate::lock::Lock;
use crate::plan::Plan;
use crate::report;
use crate::run::{self, PlanReport};
use crate::show::{self, print_text, tell};
use crate::signal::Stop;
use crate::state::read_record;
use crate::task::Ctx;

/// How long a command waits for another command on the same lab.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1800);

/// The context of a command.
pub struct Session<'a> {
    /// The global flags.
    pub global: &'a Global,
    /// The environment.
    pub env: &'a Env,
    /// Whether to stop.
    pub stop: &'a Stop,
}

impl Session<'_> {
    /// Loads the recorded lab.
    ///
    /// # Errors
    /// The lab is not up: exit code 6.
    pub(super) fn recorded(&self) -> Result<(Lab, Jars)> {
        let state = state_dir(self.global, self.env)?;
        let Some(record) = read_record(&state)? else {
            let what = format!("no lab {} is up", self.global.name);
            return Err(Failure::new(Exit::NotUp, what).fix(xtask_line(&self.global.name, "up")));
        };
        let lab = Lab::load(self.global, self.env, Some(&record), Overrides::recorded(record.backend))?;
        let jars = Jars::describe(self.env, lab.release.version)?;
        Ok((lab, jars))
    }

    pub(super) fn lock(&self, command: &str) -> Result<Lock> {
        let state = state_dir(self.global, self.env)?;
        let waiting = |status: &str| tell(&format!("{command}: {status}"));
        Lock::take(&state, command, LOCK_TIMEOUT, self.stop, &waiting)
    }

    /// Returns what the steps of a plan share, before any has run.
    pub(super) fn ctx<'a>(&self, lab: &'a Lab, jars: &'a Jars, stop: &'a Stop) -> Ctx<'a> {
        Ctx::new(lab, drivers::of(lab.backend), jars, &RealExec, stop)
    }

    pub(super) fn run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> PlanReport {
        let stop = self.stop.next_plan();
        self.run_in(command, &self.ctx(lab, jars, &stop), plan)
    }

    pub(super) fn run_in(&self, command: &str, ctx: &Ctx<'_>, plan: &Plan) -> PlanReport {
        let lab = ctx.lab;
        let journal = Journal::of(command, lab);
        let events = show::events(command, &lab.name, self.global, self.env, journal.clone());
        let logs = lab.logs().join("steps").join(command.replace(' ', "-"));
        let mut report = run::run(plan, ctx, &events, &logs, &mut |_| Ok(()));
        let failed = report.failures.iter().any(|failure| [Exit::Step, Exit::Fault].contains(&failure.exit));
        // The diagnosis must not be stopped by what cancelled the plan.
        let stop = ctx.stop.next_plan();
        let asking = ctx.with_stop(&stop);
        let foundation = if failed { ctx.driver.foundation_failed(&asking) } else { None };
        if let Some((what, fix)) = &foundation {
            report.each_failure(|failure| {
                failure.message = format!("{what}: {}", failure.message);
                failure.fix = Some(fix.clone());
            });
        }
        if lab.format == Format::Text {
            report::failures(&report, self.env.colour);
        }
        if failed
            && foundation.is_none()
            && lab.state.exists()
            && let Some(dir) = ctx.driver.diagnose(&asking)
        {
            events.note(format!("diagnostics: {}", dir.display()));
        }
        report::to_journal(&journal, command, ctx, &report);
        report
    }

    pub(super) fn dry_run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> Exit {
        let ctx = self.ctx(lab, jars, self.stop);
        // What is not known yet is shown by its plain name.
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

    /// Loads the recorded lab, with the project's manifests if its own cannot be read, and without the record if that
    /// is impossible too.
    pub(super) fn load_or_own(&self, record: Option<&crate::state::LabRecord>, overrides: Overrides) -> Result<Lab> {
        Lab::load(self.global, self.env, record, overrides.clone()).or_else(|failure| {
            tell(&format!("teardown: {failure}\n  continuing with the project's own manifests"));
            let manifests = Some(self.env.repo.join("manifests"));
            let global = Global { manifests, ..self.global.clone() };
            let load = |record| Lab::load(&global, self.env, record, overrides.clone());
            load(record).or_else(|_| load(None))
        })
    }
}
