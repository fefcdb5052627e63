//! `up`: creates the lab, or repairs it.

use std::path::Path;
use std::time::Duration;

use crate::backend::Backend;
use crate::cli::{Format, ImagesChoice, UpArgs};
use crate::commands::fix;
use crate::commands::session::Session;
use crate::config::{Lab, Overrides, state_dir, xtask_line};
use crate::coordination::Release;
use crate::coordination::releases;
use crate::drivers;
use crate::exec::{Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::findings::Findings;
use crate::kind::setup;
use crate::local::jars::Jars;
use crate::plan::{self, UpOptions};
use crate::report;
use crate::run::PlanReport;
use crate::show::{print_text, tell, timings};
use crate::signal::Stop;
use crate::state::{ImageSource, LabRecord, put_aside, read_record};
use crate::steps::preflight;
use crate::task::Task;

impl Session<'_> {
    /// `up`.
    ///
    /// # Errors
    /// A failure before the first step: flags, manifests, the lock.
    pub fn up(&self, up: &UpArgs) -> Result<Exit> {
        let state = state_dir(self.global, self.env)?;
        let options = UpOptions { no_clients: up.no_clients, recreate: up.recreate, merge: up.merge_kubeconfig };
        // Before the lock, so that an invalid flag or manifest leaves no folder behind.
        let (lab, jars) = self.requested(up, read_record(&state)?.as_ref())?;
        if self.global.dry_run {
            return Ok(self.dry_run("up", &lab, &jars, &plan::up(&lab, options)));
        }
        let lock = self.lock("up")?;
        // Another command may have changed the record while we waited for the lock.
        let (lab, jars) = self.requested(up, read_record(&state)?.as_ref())?;
        if self.global.format == Format::Text && !self.global.quiet {
            tell(&format!(
                "up: lab {}, backend {} ({}), Kafka {}",
                lab.name, lab.backend, lab.backend_why, lab.release
            ));
        }
        if up.fix {
            self.fix(&lab, &jars)?;
        }
        let stop = self.stop.next_plan();
        let ctx = self.ctx(&lab, &jars, &stop).forgetting_setup(up.recreate);
        let report = self.run_in("up", &ctx, &plan::up(&lab, options));
        if lab.format == Format::Json {
            report::json("up", &ctx, &report);
        }
        if up.timings && lab.format == Format::Text {
            print_text(&timings::chart(&report));
        }
        self.conclude(up, &lab, &jars, &report)?;
        drop(lock);
        Ok(report.exit())
    }

    /// Loads the lab from flags, record and manifests.
    fn requested(&self, up: &UpArgs, record: Option<&LabRecord>) -> Result<(Lab, Jars)> {
        let (requested, name) = (up.backend.0, &self.global.name);
        let (backend, why) = drivers::choose(requested, record, name, self.env, &RealExec, self.stop)?;
        let given = [
            (up.images.is_some(), "--images"),
            (up.recreate, "--recreate"),
            (up.merge_kubeconfig, "--merge-kubeconfig"),
        ];
        let meaningless = drivers::of(backend).meaningless_flags();
        if let Some((_, flag)) = given.iter().find(|(given, flag)| *given && meaningless.contains(flag)) {
            return Err(Failure::usage(format!("{flag} is for --backend kind; this lab runs on {backend}")));
        }
        let release = Some(self.release(up, record, backend)?);
        let images = up.images.map(Into::into);
        let overrides = Overrides { backend, why, release, port_base: up.port_base, images };
        let lab = Lab::load(self.global, self.env, record, overrides)?;
        let jars = Jars::describe(self.env, lab.release.version)?;
        Ok((lab, jars))
    }

    /// Chooses the version of Kafka and its mode, which the backend must have.
    fn release(&self, up: &UpArgs, record: Option<&LabRecord>, backend: Backend) -> Result<Release> {
        let (name, recorded) = (&self.global.name, record.map(|record| record.kafka));
        let teardown = xtask_line(name, "teardown");
        let release = releases::choose(up.kafka.as_deref(), up.mode.as_deref(), recorded, (name, &teardown))?;
        let runs = drivers::of(backend).releases();
        if runs.contains(&release) {
            return Ok(release);
        }
        let what = format!("backend {backend} does not run Kafka {release} yet; it runs{}", releases::table(runs));
        let others = Backend::ALL.into_iter().filter(|other| drivers::of(*other).releases().contains(&release));
        let others: Vec<String> = others.map(|other| format!("`--backend {other}`")).collect();
        Err(Failure::usage(what).fix(format!("use {}, or leave --kafka and --mode out", others.join(" or "))))
    }

    /// Reports the end of the plan; takes the lab down again if requested.
    fn conclude(&self, up: &UpArgs, lab: &Lab, jars: &Jars, report: &PlanReport) -> Result<()> {
        match report.exit() {
            Exit::Ok if lab.format == Format::Text => {
                print_text(&format!("\nlab {} is up after {:.1} s\n\n", lab.name, report.elapsed.as_secs_f64()));
                print_text(&report::endpoints(&self.ctx(lab, jars, self.stop), !up.no_clients));
            }
            // Preflight changes nothing: a lab that was up still is.
            Exit::Ok | Exit::Preflight => {}
            _ if up.teardown_on_failure => self.take_down_again(lab, jars)?,
            _ if lab.format == Format::Text => tell(&format!(
                "\nwhat was started is kept for inspection: `{}` continues from here, `{}` removes it",
                lab.xtask("up"),
                lab.xtask("teardown")
            )),
            _ => {}
        }
        Ok(())
    }

    fn take_down_again(&self, lab: &Lab, jars: &Jars) -> Result<()> {
        tell("\ntaking the lab down again, as requested by --teardown-on-failure");
        let kept = put_aside(&lab.state);
        // The interruption that led here must not interrupt the teardown.
        let stop = Stop::default();
        let session = Session { stop: &stop, ..*self };
        // The record may have changed since, such as the kubeconfig that got the context.
        let record = read_record(&lab.state).unwrap_or_default();
        let lab = session.load_or_own(record.as_ref(), Overrides::recorded(lab.backend))?;
        session.run("teardown", &lab, jars, &plan::teardown(&lab, plan::Teardown::default()));
        match kept {
            Ok(dir) => tell(&format!(
                "\nthe logs and diagnostics of the failure are in {}; `{}` removes them",
                dir.display(),
                lab.xtask("teardown")
            )),
            Err(failure) => tell(&format!("\nthe logs and diagnostics of the failure are lost: {failure}")),
        }
        Ok(())
    }

    /// Shows, then installs, what preflight finds missing.
    fn fix(&self, lab: &Lab, jars: &Jars) -> Result<()> {
        // Repeat: a recipe can report what it lacks only once its tools are installed.
        for _ in 0..3 {
            let ctx = self.ctx(lab, jars, self.stop).forgetting_setup(false);
            let task = Task { ctx: &ctx, log: Path::new("/dev/null").into(), status: &|_| {}, tell: &|_| {} };
            let findings = preflight::look(&task)?;
            if findings.packages().is_empty() && !findings.programs() {
                break;
            }
            fix::install(&findings.packages(), self.env, &RealExec).map_err(|failure| {
                let other = failure.fix.clone().zip(self.compared(lab, jars, &findings));
                match other {
                    Some((fix, other)) => failure.fix(format!("{fix}; {other}")),
                    None => failure,
                }
            })?;
            if findings.programs() {
                let build = setup::Recipe::Node.build(lab, Duration::ZERO).args(["kind", "kubectl"]);
                tell(&format!("--fix runs: {build}"));
                if RealExec.attached(&build)? != 0 {
                    return Err(
                        Failure::new(Exit::Preflight, format!("{build} failed")).fix("see its own message above")
                    );
                }
            }
        }
        Ok(())
    }

    /// Compares what the other backend lacks with the `findings` for this one, for whoever may not install packages.
    fn compared(&self, lab: &Lab, jars: &Jars, findings: &Findings) -> Option<String> {
        let other = Backend::ALL.into_iter().find(|backend| *backend != lab.backend)?;
        let lab = Lab { backend: other, ..lab.clone() };
        let ctx = self.ctx(&lab, jars, self.stop).forgetting_setup(false);
        let task = Task { ctx: &ctx, log: Path::new("/dev/null").into(), status: &|_| {}, tell: &|_| {} };
        let its = preflight::look(&task).ok()?;
        Some(match its.lacks() {
            lacks if lacks.is_empty() => format!("or use `--backend {other}`, which needs no other packages"),
            lacks if its.weight() < findings.weight() => {
                format!("or use `--backend {other}`, which needs less: {}", lacks.join(", "))
            }
            lacks => format!("`--backend {other}` would need more: {}", lacks.join(", ")),
        })
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
