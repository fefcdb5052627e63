//! The commands that run plans: up, verify, teardown, status, clients, and the tools.

use std::sync::OnceLock;
use std::time::Duration;

use crate::cli::{BackendChoice, ClientsCommand, Format, Global, Passthrough, Teardown, Up, Verify};
use crate::commands::{fix, logs};
use crate::config::{Env, Lab, spelled, state_dir};
use crate::exec::{Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::local::jars::Jars;
use crate::local::process;
use crate::plan::{self, Plan};
use crate::progress::{Progress, print_text};
use crate::report;
use crate::run::{self, Report};
use crate::signal::Stop;
use crate::state::{Backend, Lock, Record, read_record};
use crate::step::{Ctx, Task};
use crate::steps::preflight;
use crate::tools::java::{self, Java};
use crate::tools::kafka::{Place, Tool};

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
    fn recorded(&self) -> Result<(Lab, Jars)> {
        let state = state_dir(self.global, self.env)?;
        let Some(record) = read_record(&state)? else {
            let what = format!("no lab {} is up", self.global.name);
            return Err(Failure::new(Exit::Nothing, what).fix(spelled(&self.global.name, "up")));
        };
        let backend = (record.backend, "recorded".to_string());
        let lab = Lab::load(self.global, self.env, Some(&record), None, backend)?;
        Ok((lab, Jars::describe(self.env)?))
    }

    fn lock(&self, command: &str) -> Result<Lock> {
        let state = state_dir(self.global, self.env)?;
        let waiting = |status: &str| eprintln!("{command}: {status}");
        Lock::take(&state, command, LOCK_TIMEOUT, self.stop, &waiting)
    }

    fn run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> Report {
        let stop = self.stop.next_plan();
        let ctx = Ctx { lab, jars, exec: &RealExec, stop: &stop, java: OnceLock::new() };
        let progress = Progress::new(command, &lab.name, lab.format, self.env);
        let report = run::run(plan, &ctx, &progress, &lab.logs().join("steps").join(command.replace(' ', "-")));
        if lab.format == Format::Text {
            report::failures(&report, self.env.colour);
        }
        report
    }

    fn dry_run(&self, command: &str, lab: &Lab, jars: &Jars, plan: &Plan) -> Exit {
        let java = java::locate(self.env)
            .and_then(|program| java::ask(&program, &RealExec, std::path::Path::new("/dev/null"), self.stop).ok());
        print_text(&format!("# {command}: backend {}, lab {}, {} steps\n", lab.backend, lab.name, plan.steps.len()));
        for (place, planned) in plan.steps.iter().enumerate() {
            let after: Vec<String> = planned.after.iter().map(|earlier| (earlier + 1).to_string()).collect();
            let after = if after.is_empty() { String::new() } else { format!("  (after {})", after.join(", ")) };
            print_text(&format!("\n# {}. {}{after}\n", place + 1, planned.step.title(lab)));
            for line in planned.step.preview(lab, jars, java.as_ref()) {
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
            let lab = Lab::load(self.global, self.env, record, up.port_base, choose(up.backend, record)?)?;
            Ok((lab, Jars::describe(self.env)?))
        };
        // Before the lock, so that a wrong flag or manifest leaves no folder behind.
        let (lab, jars) = load(read_record(&state)?.as_ref())?;
        if self.global.dry_run {
            return Ok(self.dry_run("up", &lab, &jars, &plan::up(&lab, !up.no_clients)));
        }
        let lock = self.lock("up")?;
        // What another command changed while we waited for the lock counts.
        let record = read_record(&state)?;
        let (lab, jars) = load(record.as_ref())?;
        if self.global.format == Format::Text {
            eprintln!("up: lab {}, backend {} ({})", lab.name, lab.backend, lab.backend_why);
        }
        if up.fix {
            self.fix(&lab, &jars)?;
        }
        let report = self.run("up", &lab, &jars, &plan::up(&lab, !up.no_clients));
        let exit = report.exit();
        if lab.format == Format::Json {
            report::json("up", &lab, &report);
        }
        match exit {
            Exit::Ok if lab.format == Format::Text => {
                print_text(&format!("\nlab {} is up after {:.1} s\n\n", lab.name, report.elapsed.as_secs_f64()));
                print_text(&report::endpoints(&lab));
            }
            Exit::Ok => {}
            // Nothing was touched: a lab that was up before still is.
            Exit::Preflight => {}
            _ if up.teardown_on_failure => {
                eprintln!("\ntaking the lab down again, as --teardown-on-failure asks");
                // The interruption that brought us here must not interrupt this.
                let stop = Stop::default();
                let session = Session { stop: &stop, ..*self };
                session.run("teardown", &lab, &jars, &plan::teardown(&lab, false));
            }
            _ if lab.format == Format::Text => {
                eprintln!(
                    "\nwhat was started is kept for looking at: `cargo xtask up` goes on from here, `cargo xtask teardown` removes it"
                );
            }
            _ => {}
        }
        drop(lock);
        Ok(exit)
    }

    fn fix(&self, lab: &Lab, jars: &Jars) -> Result<()> {
        let ctx = Ctx { lab, jars, exec: &RealExec, stop: self.stop, java: OnceLock::new() };
        let task = Task { ctx: &ctx, log: "/dev/null".into(), status: &|_| {} };
        let packages = preflight::look(&task)?.packages();
        fix::install(&packages, self.env, &RealExec)
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
        for ran in &report.steps {
            if let crate::progress::Ended::Done(crate::step::Outcome { flow: Some(flow), .. }) = &ran.ended {
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
                _ => "fail",
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
        let report = self.run("status", &lab, &jars, &plan);
        match lab.format {
            Format::Json => report::json("status", &lab, &report),
            Format::Text => print_text(&format!("\n{}", report::endpoints(&lab))),
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
        let backend = (Backend::Local, "recorded".to_string());
        let lab = match Lab::load(self.global, self.env, record.as_ref(), None, backend.clone()) {
            Ok(lab) => lab,
            Err(failure) => {
                eprintln!("teardown: {failure}\n  going on with the project's own manifests");
                let manifests = Some(self.env.repo.join("manifests"));
                Lab::load(&Global { manifests, ..self.global.clone() }, self.env, record.as_ref(), None, backend)?
            }
        };
        let jars = Jars::describe(self.env)?;
        let plan = plan::teardown(&lab, teardown.purge);
        if self.global.dry_run {
            return Ok(self.dry_run("teardown", &lab, &jars, &plan));
        }
        let marked = process::with_argument(|arg| crate::steps::service::is_mark(&lab, arg));
        if !state.exists() && marked.is_empty() && !(teardown.purge && self.env.cache.exists()) {
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

    /// `clients …`.
    ///
    /// # Errors
    /// Nothing is up.
    pub fn clients(&self, command: &ClientsCommand) -> Result<Exit> {
        let (lab, jars) = self.recorded()?;
        let (name, plan) = match command {
            ClientsCommand::Logs(args) => return logs::clients(&lab, args, self.stop),
            ClientsCommand::Start => ("clients start", plan::clients_start(&lab)),
            ClientsCommand::Stop => ("clients stop", plan::clients_stop(&lab)),
        };
        if self.global.dry_run {
            return Ok(self.dry_run(name, &lab, &jars, &plan));
        }
        let _lock = self.lock(name)?;
        let report = self.run(name, &lab, &jars, &plan);
        if lab.format == Format::Json {
            report::json(name, &lab, &report);
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

    /// One of Kafka's own tools, with our terminal; returns its own exit code.
    ///
    /// # Errors
    /// Nothing is up, or there is no java.
    pub fn tool(&self, tool: Tool, args: &Passthrough) -> Result<i32> {
        for flag in ["--name", "--manifests", "--format", "--dry-run"] {
            if args.args.iter().any(|arg| arg == flag || arg.starts_with(&format!("{flag}="))) {
                return Err(Failure::usage(format!("{flag} would go to the tool: put it before the command's name")));
            }
        }
        let (lab, jars) = self.recorded()?;
        let java = java::locate(self.env).map(Java::unasked);
        let cmd = Place::of(&lab, &jars, java.as_ref()).tool(tool, &args.args);
        if self.global.dry_run {
            print_text(&format!("{cmd}\n"));
            return Ok(0);
        }
        RealExec.attached(&cmd)
    }
}

/// Which backend, and why.
fn choose(choice: BackendChoice, record: Option<&Record>) -> Result<(Backend, String)> {
    match choice {
        BackendChoice::Kind => Err(Failure::usage("--backend kind: this version has no kind backend yet")
            .fix("cargo xtask up --backend local")),
        BackendChoice::Local => Ok((Backend::Local, "asked for".into())),
        BackendChoice::Auto => match record {
            Some(record) => Ok((record.backend, "recorded by an earlier up".into())),
            None => Ok((Backend::Local, "the only one that this version has".into())),
        },
    }
}
