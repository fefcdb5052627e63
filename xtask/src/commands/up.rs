//! `up`: makes the lab, or makes it whole.

use std::path::Path;
use std::time::Duration;

use crate::cli::{Format, ImagesChoice, Up};
use crate::commands::fix;
use crate::commands::session::Session;
use crate::config::{Choice, Lab, state_dir};
use crate::drivers;
use crate::exec::{Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::kind::setup;
use crate::local::jars::Jars;
use crate::plan::{self, Wish};
use crate::report;
use crate::run::Report;
use crate::show::print_text;
use crate::signal::Stop;
use crate::state::{ImageSource, Record, put_aside, read_record};
use crate::steps::preflight;
use crate::task::Task;

impl Session<'_> {
    /// `up`.
    ///
    /// # Errors
    /// What came before the first step: flags, manifests, the lock.
    pub fn up(&self, up: &Up) -> Result<Exit> {
        let state = state_dir(self.global, self.env)?;
        let wish = Wish { no_clients: up.no_clients, recreate: up.recreate, merge: up.merge_kubeconfig };
        // Before the lock, so that a wrong flag or manifest leaves no folder behind.
        let (lab, jars) = self.asked_for(up, read_record(&state)?.as_ref())?;
        if self.global.dry_run {
            return Ok(self.dry_run("up", &lab, &jars, &plan::up(&lab, wish)));
        }
        let lock = self.lock("up")?;
        // What another command changed while we waited for the lock counts.
        let (lab, jars) = self.asked_for(up, read_record(&state)?.as_ref())?;
        if self.global.format == Format::Text {
            eprintln!("up: lab {}, backend {} ({})", lab.name, lab.backend, lab.backend_why);
        }
        if up.fix {
            self.fix(&lab, &jars)?;
        }
        let stop = self.stop.next_plan();
        let ctx = self.ctx(&lab, &jars, &stop).afresh(up.recreate);
        let report = self.run_in("up", &ctx, &plan::up(&lab, wish));
        if lab.format == Format::Json {
            report::json("up", &ctx, &report);
        }
        self.conclude(up, &lab, &jars, &report)?;
        drop(lock);
        Ok(report.exit())
    }

    /// The lab that was asked for, by flags, record and manifests.
    fn asked_for(&self, up: &Up, record: Option<&Record>) -> Result<(Lab, Jars)> {
        let (asked, name) = (up.backend.0, &self.global.name);
        let (backend, why) = drivers::choose(asked, record, name, self.env, &RealExec, self.stop)?;
        let given = [
            (up.images.is_some(), "--images"),
            (up.recreate, "--recreate"),
            (up.merge_kubeconfig, "--merge-kubeconfig"),
        ];
        let meaningless = drivers::of(backend).meaningless_flags();
        if let Some((_, flag)) = given.iter().find(|(given, flag)| *given && meaningless.contains(flag)) {
            return Err(Failure::usage(format!("{flag} is for --backend kind; this lab runs on {backend}")));
        }
        let choice = Choice { backend, why, port_base: up.port_base, images: up.images.map(Into::into) };
        Ok((Lab::load(self.global, self.env, record, choice)?, Jars::describe(self.env)?))
    }

    /// What is told, and done, when the plan is over.
    fn conclude(&self, up: &Up, lab: &Lab, jars: &Jars, report: &Report) -> Result<()> {
        match report.exit() {
            Exit::Ok if lab.format == Format::Text => {
                print_text(&format!("\nlab {} is up after {:.1} s\n\n", lab.name, report.elapsed.as_secs_f64()));
                print_text(&report::endpoints(&self.ctx(lab, jars, self.stop), !up.no_clients));
            }
            // Nothing was touched in preflight: a lab that was up before still is.
            Exit::Ok | Exit::Preflight => {}
            _ if up.teardown_on_failure => self.take_down_again(lab, jars)?,
            _ if lab.format == Format::Text => eprintln!(
                "\nwhat was started is kept for looking at: `{}` goes on from here, `{}` removes it",
                lab.xtask("up"),
                lab.xtask("teardown")
            ),
            _ => {}
        }
        Ok(())
    }

    fn take_down_again(&self, lab: &Lab, jars: &Jars) -> Result<()> {
        eprintln!("\ntaking the lab down again, as --teardown-on-failure asks");
        let kept = put_aside(&lab.state);
        // The interruption that brought us here must not interrupt this.
        let stop = Stop::default();
        let session = Session { stop: &stop, ..*self };
        // As it is recorded now: where the context was put, for one.
        let record = read_record(&lab.state).unwrap_or_default();
        let lab = session.load_or_own(record.as_ref(), Choice::recorded(lab.backend))?;
        session.run("teardown", &lab, jars, &plan::teardown(&lab, plan::Teardown::default()));
        match kept {
            Ok(dir) => eprintln!(
                "\nlogs and diagnostics of the failure are in {}; `{}` removes them",
                dir.display(),
                lab.xtask("teardown")
            ),
            Err(failure) => eprintln!("\nlogs and diagnostics of the failure are gone: {failure}"),
        }
        Ok(())
    }

    /// Installs what preflight misses, shown first.
    fn fix(&self, lab: &Lab, jars: &Jars) -> Result<()> {
        // What a package brings may show what else is missing: a recipe can only be asked when its tools are there.
        for _ in 0..3 {
            let ctx = self.ctx(lab, jars, self.stop).afresh(false);
            let task = Task { ctx: &ctx, log: Path::new("/dev/null").into(), status: &|_| {} };
            let findings = preflight::look(&task)?;
            if findings.packages().is_empty() && !findings.programs() {
                break;
            }
            fix::install(&findings.packages(), self.env, &RealExec)?;
            if findings.programs() {
                let build = setup::Recipe::Node.build(lab, Duration::ZERO).args(["kind", "kubectl"]);
                eprintln!("--fix runs: {build}");
                if RealExec.attached(&build)? != 0 {
                    return Err(
                        Failure::new(Exit::Preflight, format!("{build} failed")).fix("see its own message above")
                    );
                }
            }
        }
        Ok(())
    }
}

impl From<ImagesChoice> for ImageSource {
    fn from(choice: ImagesChoice) -> Self {
        match choice {
            ImagesChoice::Registry => ImageSource::Registry,
            ImagesChoice::Packages => ImageSource::Packages,
        }
    }
}
