//! `teardown`: runs [`plan::teardown`]; what it removes is in `steps/remove.rs` and in the backends.

use std::time::Duration;

use crate::backend::Backend;
use crate::cli::{Format, TeardownArgs};
use crate::commands::session::Session;
use crate::config::{Lab, Overrides, state_dir};
use crate::drivers;
use crate::exec::RealExec;
use crate::failure::{Exit, Result};
use crate::local::jars::Jars;
use crate::lock::has_lock;
use crate::plan;
use crate::report;
use crate::run::PlanReport;
use crate::show::{print_text, tell};
use crate::state::{read_record, remains};

impl Session<'_> {
    /// `teardown`: also works without a record, without readable manifests, and if nothing exists.
    ///
    /// # Errors
    /// The lock cannot be taken.
    pub fn teardown(&self, teardown: &TeardownArgs) -> Result<Exit> {
        let state = state_dir(self.global, self.env)?;
        let record = read_record(&state).unwrap_or_else(|failure| {
            tell(&format!("teardown: {failure}\n  continuing; what belongs to the lab is found by its mark"));
            None
        });
        let (lab, found) = match &record {
            Some(record) => (self.load_or_own(Some(record), Overrides::recorded(record.backend))?, true),
            None => self.unrecorded()?,
        };
        let jars = Jars::describe(self.env, lab.release.version)?;
        let plan = plan::teardown(&lab, plan::Teardown { purge: teardown.purge, failure_logs: true });
        if self.global.dry_run {
            return Ok(self.dry_run("teardown", &lab, &jars, &plan));
        }
        let ctx = self.ctx(&lab, &jars, self.stop);
        let has_files = state.exists() || remains(&state).exists() || has_lock(&state);
        let purges = teardown.purge && self.env.cache.exists();
        if !(found || has_files || purges) {
            let report = PlanReport { steps: vec![], elapsed: Duration::ZERO, failures: vec![] };
            match lab.format {
                Format::Json => report::json("teardown", &ctx, &report),
                Format::Text => {
                    print_text(&format!("nothing to tear down: lab {} has no process and no file\n", lab.name));
                }
            }
            return Ok(Exit::Ok);
        }
        let lock = self.lock("teardown")?;
        let report = self.run("teardown", &lab, &jars, &plan);
        drop(lock);
        match lab.format {
            Format::Json => report::json("teardown", &ctx, &report),
            Format::Text if report.exit() == Exit::Ok => {
                let caches = match teardown.purge || !self.env.cache.exists() {
                    true => String::new(),
                    false => format!("; caches stay in {} (--purge removes them)", self.env.cache.display()),
                };
                let (name, elapsed) = (&lab.name, report.elapsed.as_secs_f64());
                print_text(&format!("\nnothing is left of lab {name} after {elapsed:.1} s{caches}\n"));
            }
            Format::Text => tell(&format!("\nteardown is incomplete; rerun `{}`", lab.xtask("teardown"))),
        }
        Ok(report.exit())
    }

    /// Returns a lab without a record, on the first backend that has remains of it, and whether one has.
    fn unrecorded(&self) -> Result<(Lab, bool)> {
        let [.., last] = Backend::ALL;
        let lab = self.load_or_own(None, Overrides::recorded(last))?;
        let mut all = Backend::ALL.into_iter().map(|backend| Lab { backend, ..lab.clone() });
        let found = all.find(|lab| drivers::of(lab.backend).has_remains(lab, &RealExec, self.stop));
        let has_remains = found.is_some();
        Ok((found.unwrap_or(lab), has_remains))
    }
}
