//! The commands that run plans: up, verify, teardown, status; and what all commands share.

use std::path::Path;
use std::time::Duration;

use crate::backend::Backend;
use crate::cli::{BackendChoice, Format, Global, ImagesChoice, Teardown, Up, Verify};
use crate::commands::{fix, logs};
use crate::config::{Choice, Env, Lab, spelled, state_dir};
use crate::events::Events;
use crate::exec::{Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::kind::{cluster, setup};
use crate::local::jars::Jars;
use crate::local::process;
use crate::lock::{Lock, has_lock};
use crate::plan::{self, Plan, Wish};
use crate::report;
use crate::run::{self, Report, StepEnd};
use crate::show::{self, print_text};
use crate::signal::Stop;
use crate::state::{ImageSource, Record, Setup, put_aside, read_record, remains};
use crate::steps::diagnostics;
use crate::steps::preflight;
use crate::task::{Ctx, Outcome, Task};
use crate::tools::docker;
use crate::tools::java;

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

    pub(super) fn run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> Report {
        let stop = self.stop.next_plan();
        self.run_in(command, &Ctx::new(lab, jars, &RealExec, &stop), plan)
    }

    pub(super) fn run_in(&self, command: &str, ctx: &Ctx<'_>, plan: &Plan) -> Report {
        let lab = ctx.lab;
        let events = Events::to(vec![show::listener(command, &lab.name, lab.format, self.env)]);
        let mut report = run::run(plan, ctx, &events, &lab.logs().join("steps").join(command.replace(' ', "-")));
        let failed = report.failures.iter().any(|failure| [Exit::Step, Exit::Fault].contains(&failure.exit));
        let asks = lab.backend == Backend::Kind && failed;
        // What cancelled the plan must not keep us from asking why.
        let stop = ctx.stop.next_plan();
        let engine_died = asks && !docker::answers(self.env, ctx.exec, &stop);
        if engine_died {
            report.each_failure(|failure| {
                failure.what = format!("the Docker engine no longer answers: {}", failure.what);
                failure.fix = Some(format!("start it again, {}; then the same command", docker::START));
            });
        }
        if lab.format == Format::Text {
            report::failures(&report, self.env.colour);
        }
        if asks && !engine_died && lab.state.exists() {
            let asking = Ctx::new(lab, ctx.jars, ctx.exec, &stop);
            if let Some(setup) = ctx.setup.get() {
                let _ = asking.setup.set(setup.clone());
            }
            if let Some(dir) = diagnostics::collect(&asking) {
                events.note(format!("diagnostics: {}", dir.display()));
            }
        }
        report
    }

    pub(super) fn dry_run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> Exit {
        let nowhere = Path::new("/dev/null");
        let java = java::locate(self.env).and_then(|program| java::ask(&program, &RealExec, nowhere, self.stop).ok());
        let settled = match (lab.backend, &lab.setup) {
            (_, Some(setup)) => Some(setup.clone()),
            (Backend::Kind, None) => setup::resolve(lab, &RealExec, nowhere, self.stop).ok(),
            (Backend::Local, None) => None,
        };
        // What nobody can tell yet keeps its plain name.
        let settled = settled.unwrap_or_else(|| Setup {
            source: lab.images,
            kind: "kind".into(),
            kubectl: "kubectl".into(),
            node_image: None,
            kafka_image: lab.facts.kafka_image.clone(),
        });
        print_text(&format!("# {command}: backend {}, lab {}, {} steps\n", lab.backend, lab.name, plan.steps.len()));
        for (place, planned) in plan.steps.iter().enumerate() {
            let after: Vec<String> = planned.after.iter().map(|earlier| (earlier + 1).to_string()).collect();
            let after = if after.is_empty() { String::new() } else { format!("  (after {})", after.join(", ")) };
            print_text(&format!("\n# {}. {}{after}\n", place + 1, planned.step.title(lab)));
            for line in planned.step.preview(lab, jars, java.as_ref(), &settled) {
                print_text(&format!("{line}\n"));
            }
        }
        Exit::Ok
    }

    /// `up`.
    ///
    /// # Errors
    /// What came before the first step: flags, manifests, the lock.
    pub fn up(&self, up: &Up) -> Result<Exit> {
        let state = state_dir(self.global, self.env)?;
        let load = |record: Option<&Record>| -> Result<(Lab, Jars)> {
            let (backend, why) = self.choose(up.backend, record)?;
            let choice = Choice { backend, why, port_base: up.port_base, images: up.images.map(Into::into) };
            Ok((Lab::load(self.global, self.env, record, choice)?, Jars::describe(self.env)?))
        };
        let wish = Wish { no_clients: up.no_clients, recreate: up.recreate, merge: up.merge_kubeconfig };
        // Before the lock, so that a wrong flag or manifest leaves no folder behind.
        let (lab, jars) = load(read_record(&state)?.as_ref())?;
        for_kind_only(up, &lab)?;
        if self.global.dry_run {
            return Ok(self.dry_run("up", &lab, &jars, &plan::up(&lab, wish)));
        }
        let lock = self.lock("up")?;
        // What another command changed while we waited for the lock counts.
        let record = read_record(&state)?;
        let (lab, jars) = load(record.as_ref())?;
        if self.global.format == Format::Text {
            eprintln!("up: lab {}, backend {} ({})", lab.name, lab.backend, lab.backend_why);
        }
        for_kind_only(up, &lab)?;
        if up.fix {
            self.fix(&lab, &jars)?;
        }
        let stop = self.stop.next_plan();
        let ctx = Ctx::new(&lab, &jars, &RealExec, &stop).afresh(up.recreate);
        let report = self.run_in("up", &ctx, &plan::up(&lab, wish));
        let exit = report.exit();
        if lab.format == Format::Json {
            report::json("up", &lab, &report);
        }
        match exit {
            Exit::Ok if lab.format == Format::Text => {
                print_text(&format!("\nlab {} is up after {:.1} s\n\n", lab.name, report.elapsed.as_secs_f64()));
                print_text(&report::endpoints(&lab, !up.no_clients));
            }
            Exit::Ok => {}
            // Nothing was touched: a lab that was up before still is.
            Exit::Preflight => {}
            _ if up.teardown_on_failure => {
                eprintln!("\ntaking the lab down again, as --teardown-on-failure asks");
                let kept = put_aside(&lab.state);
                // The interruption that brought us here must not interrupt this.
                let stop = Stop::default();
                let session = Session { stop: &stop, ..*self };
                // As it is recorded now: where the context was put, for one.
                let lab = session.load_or_own(read_record(&state).unwrap_or_default().as_ref(), lab.backend)?;
                session.run("teardown", &lab, &jars, &plan::teardown(&lab, plan::Teardown::default()));
                match kept {
                    Ok(dir) => eprintln!(
                        "\nlogs and diagnostics of the failure are in {}; `{}` removes them",
                        dir.display(),
                        lab.xtask("teardown")
                    ),
                    Err(failure) => eprintln!("\nlogs and diagnostics of the failure are gone: {failure}"),
                }
            }
            _ if lab.format == Format::Text => {
                eprintln!(
                    "\nwhat was started is kept for looking at: `{}` goes on from here, `{}` removes it",
                    lab.xtask("up"),
                    lab.xtask("teardown")
                );
            }
            _ => {}
        }
        drop(lock);
        Ok(exit)
    }

    fn fix(&self, lab: &Lab, jars: &Jars) -> Result<()> {
        // What a package brings may show what else is missing: a recipe can only be asked when its tools are there.
        for _ in 0..3 {
            let ctx = Ctx::new(lab, jars, &RealExec, self.stop).afresh(false);
            let task = Task { ctx: &ctx, log: "/dev/null".into(), status: &|_| {} };
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

    /// Which backend, and why.
    fn choose(&self, choice: BackendChoice, record: Option<&Record>) -> Result<(Backend, String)> {
        let asked = match choice {
            BackendChoice::Kind => Backend::Kind,
            BackendChoice::Local => Backend::Local,
            BackendChoice::Auto => {
                return Ok(match record {
                    Some(record) => (record.backend, "recorded by an earlier up".into()),
                    None if self.env.find("docker").is_none() => (Backend::Local, "there is no docker on PATH".into()),
                    None => match docker::answers(self.env, &RealExec, self.stop) {
                        true => (Backend::Kind, "a Docker engine answers".into()),
                        false => (Backend::Local, "no Docker engine answers".into()),
                    },
                });
            }
        };
        if let Some(record) = record.filter(|record| record.backend != asked) {
            let name = &self.global.name;
            let what = format!("lab {name} is up on backend {}, and a lab is in one place", record.backend);
            return Err(Failure::new(Exit::Preflight, what)
                .fix(format!("`{}` first, or another --name and --port-base", spelled(name, "teardown"))));
        }
        Ok((asked, "asked for".into()))
    }

    /// Where a lab without a record is: on kind when there is a cluster with its mark.
    fn unrecorded(&self) -> Backend {
        let ours = || -> Result<bool> {
            if !docker::answers(self.env, &RealExec, self.stop) {
                return Ok(false);
            }
            let lab = self.load_or_own(None, Backend::Kind)?;
            let nodes = cluster::find(&lab, &RealExec, Path::new("/dev/null"), self.stop)?;
            Ok(!nodes.is_empty() && cluster::is_ours(&lab, &nodes))
        };
        if ours().unwrap_or(false) { Backend::Kind } else { Backend::Local }
    }

    /// The lab as recorded, or by the project's own manifests when its own cannot be read.
    fn load_or_own(&self, record: Option<&Record>, backend: Backend) -> Result<Lab> {
        Lab::load(self.global, self.env, record, Choice::recorded(backend)).or_else(|failure| {
            eprintln!("teardown: {failure}\n  going on with the project's own manifests");
            let manifests = Some(self.env.repo.join("manifests"));
            let global = Global { manifests, ..self.global.clone() };
            Lab::load(&global, self.env, record, Choice::recorded(backend))
        })
    }

    /// `verify`.
    ///
    /// # Errors
    /// Nothing is up.
    pub fn verify(&self, verify: &Verify) -> Result<Exit> {
        if verify.messages == Some(0) {
            return Err(Failure::usage("--messages 0: a check of nothing proves nothing"));
        }
        let (lab, jars) = self.recorded()?;
        let plan = plan::verify(&lab, verify.messages.unwrap_or(lab.settings.flow.messages));
        if self.global.dry_run {
            return Ok(self.dry_run("verify", &lab, &jars, &plan));
        }
        let report = self.run("verify", &lab, &jars, &plan);
        if lab.format == Format::Json {
            report::json("verify", &lab, &report);
            return Ok(report.exit());
        }
        for result in &report.steps {
            if let StepEnd::Done(Outcome { flow: Some(flow), .. }) = &result.end {
                print_text(&format!("\n{}", crate::account::table(flow)));
            }
        }
        print_text(&format!(
            "\nverify: {}\n",
            match report.exit() {
                Exit::Ok => "pass",
                Exit::Inconclusive => "inconclusive",
                Exit::Interrupted => "interrupted",
                Exit::Nothing => "nothing is up",
                Exit::Fault => "fail",
                _ => "not finished",
            }
        ));
        Ok(report.exit())
    }

    /// `status`.
    ///
    /// # Errors
    /// Nothing is up.
    pub fn status(&self) -> Result<Exit> {
        let (lab, jars) = self.recorded()?;
        let plan = plan::status(&lab);
        if self.global.dry_run {
            return Ok(self.dry_run("status", &lab, &jars, &plan));
        }
        // A status does not wait for what is not there.
        let mut lab = lab;
        lab.settings.timeouts_s.broker = 3;
        lab.settings.timeouts_s.pods = 3;
        lab.settings.timeouts_s.clients = 6;
        let report = self.run("status", &lab, &jars, &plan);
        match lab.format {
            Format::Json => report::json("status", &lab, &report),
            Format::Text => print_text(&format!("\n{}", report::endpoints(&lab, true))),
        }
        Ok(match report.exit() {
            Exit::Step => Exit::Fault,
            exit => exit,
        })
    }

    /// `teardown`: works without record, without manifests that can be read, and when nothing is there.
    ///
    /// # Errors
    /// The lock cannot be had.
    pub fn teardown(&self, teardown: &Teardown) -> Result<Exit> {
        let state = state_dir(self.global, self.env)?;
        let record = read_record(&state).unwrap_or_else(|failure| {
            eprintln!("teardown: {failure}\n  going on: processes are found by their mark");
            None
        });
        let backend = record.as_ref().map_or_else(|| self.unrecorded(), |record| record.backend);
        let lab = self.load_or_own(record.as_ref(), backend)?;
        let jars = Jars::describe(self.env)?;
        let plan = plan::teardown(&lab, plan::Teardown { purge: teardown.purge, failure_logs: true });
        if self.global.dry_run {
            return Ok(self.dry_run("teardown", &lab, &jars, &plan));
        }
        let marked = process::with_argument(|arg| crate::steps::service::is_mark(&lab, arg));
        let exists = state.exists() || remains(&state).exists() || has_lock(&state);
        let nothing = lab.backend == Backend::Local && marked.is_empty() && !exists;
        if nothing && !(teardown.purge && self.env.cache.exists()) {
            if lab.format == Format::Json {
                report::json("teardown", &lab, &Report { steps: vec![], elapsed: Duration::ZERO, failures: vec![] });
            } else {
                print_text(&format!("nothing to tear down: no process and no file of lab {}\n", lab.name));
            }
            return Ok(Exit::Ok);
        }
        let lock = self.lock("teardown")?;
        let report = self.run("teardown", &lab, &jars, &plan);
        drop(lock);
        match lab.format {
            Format::Json => report::json("teardown", &lab, &report),
            Format::Text if report.exit() == Exit::Ok => {
                let caches = if teardown.purge || !self.env.cache.exists() {
                    String::new()
                } else {
                    format!("; caches stay in {} (--purge removes them)", self.env.cache.display())
                };
                print_text(&format!(
                    "\nnothing is left of lab {} after {:.1} s{caches}\n",
                    lab.name,
                    report.elapsed.as_secs_f64()
                ));
            }
            Format::Text => eprintln!("\nnot all is gone: say `{}` again", lab.xtask("teardown")),
        }
        Ok(report.exit())
    }

    /// Logs of the whole lab.
    ///
    /// # Errors
    /// Nothing is up, or there is no such process.
    pub fn logs(&self, args: &crate::cli::Logs) -> Result<Exit> {
        let (lab, _) = self.recorded()?;
        logs::all(&lab, args, self.stop)
    }
}

/// Refuses flags that mean nothing where this lab runs.
fn for_kind_only(up: &Up, lab: &Lab) -> Result<()> {
    let given =
        [(up.images.is_some(), "--images"), (up.recreate, "--recreate"), (up.merge_kubeconfig, "--merge-kubeconfig")];
    match given.iter().find(|(given, _)| *given && lab.backend == Backend::Local) {
        Some((_, flag)) => Err(Failure::usage(format!("{flag} is for --backend kind; this lab runs on local"))),
        None => Ok(()),
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
