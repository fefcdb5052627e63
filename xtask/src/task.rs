//! What a step works with: what it shares with the others, the driver of its backend, verbs to run programs and to wait,
//! and what it reports.

use std::path::PathBuf;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::config::Lab;
use crate::coordination::Membership;
use crate::drill::outcome::DrillResult;
use crate::events::StepState;
use crate::exec::{Cmd, Exec, Output};
use crate::failure::{Exit, Failure, Result};
use crate::findings::Findings;
use crate::k8s::kubectl::Kubectl;
use crate::kind::images::Archive;
use crate::local::jars::Jars;
use crate::place::Place;
use crate::service::Service;
use crate::signal::Stop;
use crate::state::Setup;
use crate::tools::java::{self, Java};
use crate::wait::{self, Poll};

/// What a step did, with a line of proof and, for checks, the evidence as data.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended. A drill that did not keep its promise is `Failed`: that stops no other step.
    pub state: StepState,
    /// One line: "brokers 0, 1, 2 registered".
    pub proof: String,
    /// Worth knowing although nothing failed.
    pub warnings: Vec<String>,
    /// What the flow check found.
    pub flow: Option<ledger::judge::Report>,
    /// How running clients stand, one for each consumer.
    pub account: Vec<ledger::judge::Standing>,
    /// The result of a drill.
    pub drill: Option<Box<DrillResult>>,
    /// The exit code that a drill is worth, whether it was run now or recorded earlier.
    pub exit: Exit,
}

impl Outcome {
    /// An outcome without data.
    pub fn new(state: StepState, proof: impl Into<String>) -> Self {
        let (warnings, account) = (Vec::new(), Vec::new());
        Outcome { state, proof: proof.into(), warnings, flow: None, account, drill: None, exit: Exit::Ok }
    }

    /// Something changed.
    pub fn changed(proof: impl Into<String>) -> Self {
        Self::new(StepState::Changed, proof)
    }

    /// Nothing had to change.
    pub fn unchanged(proof: impl Into<String>) -> Self {
        Self::new(StepState::Unchanged, proof)
    }

    /// A check passed.
    pub fn passed(proof: impl Into<String>) -> Self {
        Self::new(StepState::Passed, proof)
    }

    /// There was nothing to do here, and why.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::new(StepState::Skipped, why)
    }
}

/// A service that is healthy.
pub struct Alive {
    /// The name that it is asked by: of a process, or of a pod.
    pub name: String,
    /// One line of proof.
    pub proof: String,
}

/// How long a backend needs for what it does.
pub struct Pace {
    /// How long brokers may take to serve once they are started.
    pub serve: Duration,
    /// How often brokers that are starting are asked: each question takes processor time that they need.
    pub ask: Duration,
    /// How often a drill asks the coordinator who is registered.
    pub watch: Duration,
}

/// Whose logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All processes'.
    All,
    /// The clients'.
    Clients,
    /// One process's, by its name.
    One(String),
}

/// How much of logs is printed.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// How many of the last lines.
    pub lines: usize,
    /// Whether to go on with what is added.
    pub follow: bool,
}

/// What is left of a lab after its teardown.
pub struct Left {
    /// What there should be none of: "no process, no file".
    pub none: &'static str,
    /// What was found, beside processes and the lab's folder.
    pub found: Vec<String>,
    /// Ports that should be free.
    pub ports: Vec<u16>,
}

/// What the steps that every backend has ask of the backend. The steps that only one has are in its folder.
pub trait Driver: Sync {
    /// What [`Driver::preflight`] looks at.
    fn preview_preflight(&self, lab: &Lab) -> Vec<String>;

    /// Adds everything that this machine lacks.
    ///
    /// # Errors
    /// An interruption.
    fn preflight(&self, task: &Task<'_>, findings: &mut Findings) -> Result<()>;

    /// What [`Driver::is_up`] looks at.
    fn preview_is_up(&self, lab: &Lab) -> String;

    /// Whether anything of the lab runs.
    ///
    /// # Errors
    /// Nothing does: exit code 6.
    fn is_up(&self, task: &Task<'_>) -> Result<Outcome>;

    /// What [`Driver::healthy`] looks at.
    fn preview_healthy(&self, ctx: &Ctx<'_>, service: Service) -> String;

    /// A service that runs and is ready; `None` for a client that nobody started.
    ///
    /// # Errors
    /// A fault when it should run and does not.
    fn healthy(&self, task: &Task<'_>, service: Service) -> Result<Option<Alive>>;

    /// The first of the servers that was started and is gone: why nothing comes any more of what others wait for.
    fn died(&self, _lab: &Lab) -> Option<Failure> {
        None
    }

    /// How long it needs.
    fn pace(&self, lab: &Lab) -> Pace;

    /// Settles what a preview can name, as far as that can be told without changing anything.
    fn settle_preview(&self, ctx: &Ctx<'_>);

    /// Settles what [`Driver::place`] needs to know.
    ///
    /// # Errors
    /// There is no Java runtime, or it is not recorded which kubectl made the lab.
    fn settle(&self, task: &Task<'_>) -> Result<()>;

    /// Where programs run that ask the servers.
    fn place(&self, ctx: &Ctx<'_>) -> Place;

    /// What the coordinator answers to its [`crate::coordination::QUESTION`], or why it does not.
    ///
    /// # Errors
    /// An interruption.
    fn ask_coordinator(&self, task: &Task<'_>) -> Result<std::result::Result<String, String>>;

    /// How many brokers listen.
    ///
    /// # Errors
    /// They cannot be asked after.
    fn listening(&self, task: &Task<'_>) -> Result<usize>;

    /// The bootstrap list of clients that run where the lab's own do.
    fn client_brokers(&self, lab: &Lab) -> String;

    /// Runs the clients' program where the lab's own clients run, to its end.
    ///
    /// # Errors
    /// It cannot start, or does not end in time.
    fn client(&self, task: &Task<'_>, purpose: &str, cmd: &Cmd) -> Result<Output>;

    /// The lab's clients of a role that run, by the names they are asked by.
    ///
    /// # Errors
    /// They cannot be asked after.
    fn clients(&self, task: &Task<'_>, role: &str) -> Result<Vec<String>>;

    /// The state file of one of the lab's clients, or why it cannot be read.
    ///
    /// # Errors
    /// An interruption.
    fn client_state(&self, task: &Task<'_>, client: &str) -> Result<std::result::Result<String, String>>;

    /// The addresses that people are told beside the brokers', each with its name.
    fn endpoints(&self, lab: &Lab) -> Vec<(&'static str, String)>;

    /// The coordinator's address, for clients where the lab's own are.
    fn coordinator_address(&self, lab: &Lab) -> String;

    /// Whether the lab's clients were started.
    fn has_clients(&self, lab: &Lab) -> bool;

    /// Prints logs.
    ///
    /// # Errors
    /// There is no such process, or the logs cannot be had.
    fn logs(&self, lab: &Lab, whose: &Whose, tail: Tail, stop: &Stop) -> Result<Exit>;

    /// Why nothing can be asked any more, whatever failed: the machinery below the lab is gone. With what to do about it.
    fn ground_failed(&self, _ctx: &Ctx<'_>) -> Option<(String, String)> {
        None
    }

    /// Gathers in a folder what helps to understand a failure.
    fn diagnose(&self, _ctx: &Ctx<'_>) -> Option<PathBuf> {
        None
    }

    /// Flags of `up` that mean nothing here.
    fn meaningless_flags(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether something of a lab is here of which nothing is recorded.
    fn has_remains(&self, lab: &Lab, exec: &dyn Exec, stop: &Stop) -> bool;

    /// Starts and resumes every server that should run and does not.
    ///
    /// # Errors
    /// One does not start.
    fn restore(&self, task: &Task<'_>) -> Result<()>;

    /// What is left after a teardown.
    ///
    /// # Errors
    /// It cannot be looked for.
    fn left(&self, task: &Task<'_>) -> Result<Left>;
}

/// What all steps of a run share.
pub struct Ctx<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// What its backend does.
    pub driver: &'a dyn Driver,
    /// Kafka's jars.
    pub jars: &'a Jars,
    /// What runs programs.
    pub exec: &'a dyn Exec,
    /// Whether to stop.
    pub stop: &'a Stop,
    /// The Java runtime, once somebody asked for it.
    pub java: OnceLock<Java>,
    /// Programs and images of the kind backend, once they are settled.
    pub setup: OnceLock<Setup>,
    /// The client image, once it was built.
    pub client_image: OnceLock<Archive>,
    /// Whether the cluster is to be made again.
    pub recreate: bool,
}

impl<'a> Ctx<'a> {
    /// With nothing settled but what was recorded.
    pub fn new(lab: &'a Lab, driver: &'a dyn Driver, jars: &'a Jars, exec: &'a dyn Exec, stop: &'a Stop) -> Self {
        let setup = lab.setup.clone().map(OnceLock::from).unwrap_or_default();
        let (java, client_image) = (OnceLock::new(), OnceLock::new());
        Ctx { lab, driver, jars, exec, stop, java, setup, client_image, recreate: false }
    }

    /// With nothing settled at all: `up` looks again.
    pub fn afresh(mut self, recreate: bool) -> Self {
        self.setup = OnceLock::new();
        self.recreate = recreate;
        self
    }

    /// The same with another flag to stop.
    pub fn with_stop<'b>(&'b self, stop: &'b Stop) -> Ctx<'b> {
        Ctx {
            java: self.java.clone(),
            setup: self.setup.clone(),
            client_image: self.client_image.clone(),
            stop,
            ..*self
        }
    }

    /// Programs and images of the kind backend, by their plain names where they are not settled yet.
    pub fn shown_setup(&self) -> Setup {
        self.setup.get().cloned().unwrap_or_else(|| Setup {
            source: self.lab.images,
            kind: "kind".into(),
            kubectl: "kubectl".into(),
            node_image: None,
            kafka_image: self.lab.facts.kafka_image.clone(),
        })
    }

    /// The Java runtime, by its plain name where it was not asked yet.
    pub fn shown_java(&self) -> Java {
        self.java.get().cloned().unwrap_or_else(|| Java::unasked("java"))
    }
}

/// One step at work.
pub struct Task<'a> {
    /// What it shares with the others.
    pub ctx: &'a Ctx<'a>,
    /// Its own log file.
    pub log: PathBuf,
    /// Hears what it waits for right now.
    pub status: &'a (dyn Fn(&str) + Sync),
}

impl Task<'_> {
    /// The lab.
    pub fn lab(&self) -> &Lab {
        self.ctx.lab
    }

    /// Programs and images of the kind backend.
    ///
    /// # Errors
    /// They were not settled: there is no record of them.
    pub fn setup(&self) -> Result<Setup> {
        self.ctx.setup.get().cloned().ok_or_else(|| {
            Failure::step("it is not recorded which kind and kubectl made this lab").fix(self.lab().xtask("up"))
        })
    }

    /// Runs a program to its end. An exit code other than 0 is not an error here.
    ///
    /// # Errors
    /// It cannot start, does not end before its deadline, or we are asked to stop.
    pub fn capture(&self, cmd: &Cmd) -> Result<Output> {
        self.ctx.exec.capture(cmd, &self.log, self.ctx.stop)
    }

    /// Runs a program that must succeed.
    ///
    /// # Errors
    /// As [`Task::capture`], and an exit code other than 0.
    pub fn run(&self, cmd: &Cmd) -> Result<Output> {
        self.capture(cmd)?.success(cmd, &self.log)
    }

    /// Runs a program that must succeed and takes long: its output goes to the log, and the last line is the status.
    ///
    /// # Errors
    /// As [`Task::run`].
    pub fn build(&self, cmd: &Cmd) -> Result<()> {
        self.ctx.exec.build(cmd, &self.log, self.ctx.stop, self.status)
    }

    /// Probes every `interval` until it is ready or `timeout` has passed.
    ///
    /// # Errors
    /// The probe's own failure, a timeout that quotes the last status, or an interruption.
    pub fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        interval: Duration,
        probe: impl FnMut() -> Result<Poll<T>>,
    ) -> Result<T> {
        wait::until(what, timeout, interval, self.ctx.stop, self.status, probe)
    }

    /// Sleeps.
    ///
    /// # Errors
    /// [`Failure::interrupted`] when we are asked to stop.
    pub fn pause(&self, time: Duration) -> Result<()> {
        wait::pause(self.ctx.stop, time)
    }

    /// kubectl against the lab's cluster.
    ///
    /// # Errors
    /// It is not recorded which one made the lab.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(Kubectl::of(self.lab(), &self.setup()?))
    }

    /// What the coordinator knows of the brokers, or why it does not tell.
    ///
    /// # Errors
    /// An interruption.
    pub fn membership(&self) -> Result<std::result::Result<Membership, String>> {
        let answer = self.ctx.driver.ask_coordinator(self)?;
        Ok(answer.and_then(|answer| Membership::read(&answer)))
    }

    /// Where Kafka's tools run.
    ///
    /// # Errors
    /// There is no Java runtime, or it is not recorded which kubectl made the lab.
    pub fn place(&self) -> Result<Place> {
        self.ctx.driver.settle(self)?;
        Ok(self.ctx.driver.place(self.ctx))
    }

    /// Runs a program that asks the servers, and ends it when one of them dies.
    ///
    /// # Errors
    /// As [`Task::capture`], and a server that died.
    pub fn capture_while_served(&self, cmd: &Cmd) -> Result<Output> {
        let stop = self.ctx.stop.next_plan();
        let (asking, over) = mpsc::channel::<()>();
        let result = std::thread::scope(|scope| {
            let (ctx, stop) = (self.ctx, &stop);
            scope.spawn(move || {
                while over.recv_timeout(Duration::from_millis(200)) == Err(mpsc::RecvTimeoutError::Timeout) {
                    if ctx.stop.asked() || ctx.driver.died(ctx.lab).is_some() {
                        stop.cancel();
                    }
                }
            });
            let result = self.ctx.exec.capture(cmd, &self.log, stop);
            drop(asking);
            result
        });
        result.map_err(|failure| self.ctx.driver.died(self.lab()).unwrap_or(failure))
    }

    /// The Java runtime; asked once in a run.
    ///
    /// # Errors
    /// There is none, or it does not run.
    pub fn java(&self) -> Result<Java> {
        if let Some(java) = self.ctx.java.get() {
            return Ok(java.clone());
        }
        let program = java::locate(&self.lab().env)
            .ok_or_else(|| Failure::step("no java in JAVA_HOME or on PATH").fix("cargo xtask up --fix"))?;
        let java = java::ask(&program, self.ctx.exec, &self.log, self.ctx.stop)?;
        Ok(self.ctx.java.get_or_init(|| java).clone())
    }
}
