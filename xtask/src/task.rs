//! What steps work with: the shared context, the backend's driver, helpers to run programs and wait, and the outcome.

use std::path::PathBuf;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::config::Lab;
use crate::coordination::{Membership, Release};
use crate::drill::outcome::DrillResult;
use crate::events::{Event, StepState};
use crate::exec::{Cmd, Exec, Output};
use crate::failure::{Exit, Failure, Result};
use crate::findings::Findings;
use crate::k8s::kubectl::Kubectl;
use crate::kafka_tools::KafkaTools;
use crate::kind::images::Archive;
use crate::local::jars::Jars;
use crate::service::Service;
use crate::signal::Stop;
use crate::state::Toolchain;
use crate::tools::java::{self, Java};
use crate::wait::{self, Poll};

/// The result of a successful step: a line of proof and, for checks, the evidence.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended: changed, unchanged, passed, skipped; or failed, for a drill that did not keep its promise. That
    /// stops no other step.
    pub state: StepState,
    /// Proof in one line: "brokers 0, 1, 2 registered".
    pub proof: String,
    /// Warnings that are not failures.
    pub warnings: Vec<String>,
    /// Result of the flow check.
    pub flow: Option<ledger::judge::Report>,
    /// Verdicts on the running clients, one for each consumer.
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

    /// The step changed something.
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

    /// There was nothing to do, with the reason.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::new(StepState::Skipped, why)
    }
}

/// A healthy service.
pub struct Alive {
    /// Name of the process or the pod.
    pub name: String,
    /// Proof in one line.
    pub proof: String,
}

/// Timings of a backend.
pub struct Pace {
    /// Time limit for started brokers to serve.
    pub serve: Duration,
    /// Interval at which starting brokers are asked. Each query takes CPU time that they need.
    pub ask: Duration,
    /// Interval at which a drill asks the coordinator for the registered brokers.
    pub watch: Duration,
}

/// Which logs to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// Those of all processes.
    All,
    /// Those of the clients.
    Clients,
    /// That of one process, by name.
    One(String),
}

/// How much of the logs to print.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// Number of last lines.
    pub lines: usize,
    /// Whether to keep printing new lines.
    pub follow: bool,
}

/// What a teardown left behind.
pub struct Left {
    /// Proof if nothing is left: "no process, no file".
    pub none: &'static str,
    /// What was found, besides processes and the lab's folder.
    pub found: Vec<String>,
    /// Ports that should be free.
    pub ports: Vec<u16>,
}

/// What the shared steps need from a backend. A backend's own steps are in its folder.
pub trait Driver: Sync {
    /// Returns the preview of [`Driver::preflight`].
    fn preview_preflight(&self, lab: &Lab) -> Vec<String>;

    /// Adds everything that this machine lacks to `findings`.
    ///
    /// # Errors
    /// An interruption.
    fn preflight(&self, task: &Task<'_>, findings: &mut Findings) -> Result<()>;

    /// Returns the preview of [`Driver::is_up`].
    fn preview_is_up(&self, lab: &Lab) -> String;

    /// Checks that some part of the lab runs.
    ///
    /// # Errors
    /// Nothing runs: exit code 6.
    fn is_up(&self, task: &Task<'_>) -> Result<Outcome>;

    /// Returns the preview of [`Driver::healthy`].
    fn preview_healthy(&self, ctx: &Ctx<'_>, service: Service) -> String;

    /// Checks that a service runs and is ready. Returns `None` for a client that was not started.
    ///
    /// # Errors
    /// A fault if it should run and does not.
    fn healthy(&self, task: &Task<'_>, service: Service) -> Result<Option<Alive>>;

    /// Returns the failure of a started server that has died: waiting for others is then pointless.
    fn died(&self, _lab: &Lab) -> Option<Failure> {
        None
    }

    /// Returns the servers that are paused: they accept connections and never answer, so whoever asks them waits.
    fn paused(&self, _lab: &Lab) -> Vec<Service> {
        Vec::new()
    }

    /// Returns the backend's timings.
    fn pace(&self, lab: &Lab) -> Pace;

    /// Determines what a preview can name, as far as possible without changing anything.
    fn settle_preview(&self, ctx: &Ctx<'_>);

    /// Determines what [`Driver::kafka_tools`] needs.
    ///
    /// # Errors
    /// There is no Java runtime, or no kubectl is recorded.
    fn settle(&self, task: &Task<'_>) -> Result<()>;

    /// Returns where Kafka's tools run.
    fn kafka_tools(&self, ctx: &Ctx<'_>) -> KafkaTools;

    /// Asks the coordinator about the brokers. Returns why there is no answer.
    ///
    /// # Errors
    /// An interruption.
    fn membership(&self, task: &Task<'_>) -> Result<std::result::Result<Membership, String>>;

    /// Returns how many brokers listen.
    ///
    /// # Errors
    /// The backend does not answer.
    fn serving(&self, task: &Task<'_>) -> Result<usize>;

    /// Returns the bootstrap list for clients that run where the lab's own clients do.
    fn client_brokers(&self, lab: &Lab) -> String;

    /// Runs the clients' program to its end where the lab's own clients run.
    ///
    /// # Errors
    /// It cannot start, or exceeds its deadline.
    fn client(&self, task: &Task<'_>, purpose: &str, cmd: &Cmd) -> Result<Output>;

    /// Returns the names of the lab's running clients with this role.
    ///
    /// # Errors
    /// The backend does not answer.
    fn clients(&self, task: &Task<'_>, role: &str) -> Result<Vec<String>>;

    /// Returns the state file of one of the lab's clients, or why it cannot be read.
    ///
    /// # Errors
    /// An interruption.
    fn client_state(&self, task: &Task<'_>, client: &str) -> Result<std::result::Result<String, String>>;

    /// Returns the clients that keep their state in files of this host, and the files.
    fn state_files(&self, _lab: &Lab) -> Vec<(String, PathBuf)> {
        Vec::new()
    }

    /// Returns named addresses to print besides those of the brokers.
    fn endpoints(&self, lab: &Lab) -> Vec<(&'static str, String)>;

    /// Returns the coordinator's address for clients that run where the lab's own clients do.
    fn coordinator_address(&self, lab: &Lab) -> String;

    /// Whether the lab's clients were started.
    fn has_clients(&self, lab: &Lab) -> bool;

    /// Prints logs.
    ///
    /// # Errors
    /// The process does not exist, or its logs cannot be read.
    fn logs(&self, lab: &Lab, source: &LogSource, tail: Tail, stop: &Stop) -> Result<Exit>;

    /// Returns failure and fix if what the lab runs on, such as the Docker engine, no longer works.
    fn foundation_failed(&self, _ctx: &Ctx<'_>) -> Option<(String, String)> {
        None
    }

    /// Collects diagnostics of a failure in a folder.
    fn diagnose(&self, _ctx: &Ctx<'_>) -> Option<PathBuf> {
        None
    }

    /// Returns the versions of Kafka and the modes that this backend runs.
    fn releases(&self) -> &'static [Release];

    /// Returns the flags of `up` that have no meaning on this backend.
    fn meaningless_flags(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether there are remains of a lab without a record.
    fn has_remains(&self, lab: &Lab, exec: &dyn Exec, stop: &Stop) -> bool;

    /// Starts or resumes every server that should run and does not.
    ///
    /// # Errors
    /// A server does not start.
    fn restore(&self, task: &Task<'_>) -> Result<()>;

    /// Returns what a teardown left behind.
    ///
    /// # Errors
    /// The backend does not answer.
    fn left(&self, task: &Task<'_>) -> Result<Left>;
}

/// The context that all steps of a plan share.
pub struct Ctx<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// The driver of its backend.
    pub driver: &'a dyn Driver,
    /// Kafka's jars.
    pub jars: &'a Jars,
    /// Runs programs.
    pub exec: &'a dyn Exec,
    /// Whether to stop.
    pub stop: &'a Stop,
    /// The Java runtime, once it is known.
    pub java: OnceLock<Java>,
    /// Programs and images of the kind backend, once they are known.
    pub setup: OnceLock<Toolchain>,
    /// The clients' image, once it is built.
    pub client_image: OnceLock<Archive>,
    /// Whether to recreate the cluster.
    pub recreate: bool,
}

impl<'a> Ctx<'a> {
    /// Creates a context that knows only what was recorded.
    pub fn new(lab: &'a Lab, driver: &'a dyn Driver, jars: &'a Jars, exec: &'a dyn Exec, stop: &'a Stop) -> Self {
        let setup = lab.setup.clone().map(OnceLock::from).unwrap_or_default();
        let (java, client_image) = (OnceLock::new(), OnceLock::new());
        Ctx { lab, driver, jars, exec, stop, java, setup, client_image, recreate: false }
    }

    /// Forgets the recorded programs and images: `up` determines them again.
    pub fn forgetting_setup(mut self, recreate: bool) -> Self {
        self.setup = OnceLock::new();
        self.recreate = recreate;
        self
    }

    /// Returns a copy with another `stop`.
    pub fn with_stop<'b>(&'b self, stop: &'b Stop) -> Ctx<'b> {
        Ctx {
            java: self.java.clone(),
            setup: self.setup.clone(),
            client_image: self.client_image.clone(),
            stop,
            ..*self
        }
    }

    /// Returns programs and images of the kind backend, by their plain names as long as they are unknown.
    pub fn shown_setup(&self) -> Toolchain {
        self.setup.get().cloned().unwrap_or_else(|| Toolchain {
            source: self.lab.images,
            kind: "kind".into(),
            kubectl: "kubectl".into(),
            node_image: None,
            kafka_image: self.lab.facts.kafka_image.clone(),
        })
    }

    /// Returns the Java runtime, by its plain name as long as it is unknown.
    pub fn shown_java(&self) -> Java {
        self.java.get().cloned().unwrap_or_else(|| Java::unasked("java"))
    }
}

/// A running step.
pub struct Task<'a> {
    /// The context shared with the other steps.
    pub ctx: &'a Ctx<'a>,
    /// The step's log file.
    pub log: PathBuf,
    /// Receives what the step is waiting for.
    pub status: &'a (dyn Fn(&str) + Sync),
    /// Receives events that are part of the step.
    pub tell: &'a (dyn Fn(&Event) + Sync),
}

impl Task<'_> {
    /// Returns the lab.
    pub fn lab(&self) -> &Lab {
        self.ctx.lab
    }

    /// Returns programs and images of the kind backend.
    ///
    /// # Errors
    /// They are not recorded.
    pub fn setup(&self) -> Result<Toolchain> {
        self.ctx.setup.get().cloned().ok_or_else(|| {
            Failure::step("the record does not name the kind and kubectl of this lab").fix(self.lab().xtask("up"))
        })
    }

    /// Runs a program to its end. A nonzero exit code is not an error here.
    ///
    /// # Errors
    /// It cannot start, exceeds its deadline, or is interrupted.
    pub fn capture(&self, cmd: &Cmd) -> Result<Output> {
        self.ctx.exec.capture(cmd, &self.log, self.ctx.stop)
    }

    /// Runs a program that must succeed.
    ///
    /// # Errors
    /// As [`Task::capture`], and a nonzero exit code.
    pub fn run(&self, cmd: &Cmd) -> Result<Output> {
        self.capture(cmd)?.success(cmd, &self.log)
    }

    /// Runs a long program that must succeed. Its output goes to the log, and its latest line is the status.
    ///
    /// # Errors
    /// As [`Task::run`].
    pub fn build(&self, cmd: &Cmd) -> Result<()> {
        self.ctx.exec.build(cmd, &self.log, self.ctx.stop, self.status)
    }

    /// Probes every `interval` until the probe is ready or `timeout` passes.
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
    /// [`Failure::interrupted`] if a stop is requested.
    pub fn pause(&self, time: Duration) -> Result<()> {
        wait::pause(self.ctx.stop, time)
    }

    /// Returns kubectl for the lab's cluster.
    ///
    /// # Errors
    /// No kubectl is recorded.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(Kubectl::of(self.lab(), &self.setup()?))
    }

    /// Returns what the coordinator knows about the brokers, or why it does not answer.
    ///
    /// # Errors
    /// An interruption.
    pub fn membership(&self) -> Result<std::result::Result<Membership, String>> {
        self.ctx.driver.membership(self)
    }

    /// Returns where Kafka's tools run.
    ///
    /// # Errors
    /// There is no Java runtime, or no kubectl is recorded.
    pub fn kafka_tools(&self) -> Result<KafkaTools> {
        self.ctx.driver.settle(self)?;
        Ok(self.ctx.driver.kafka_tools(self.ctx))
    }

    /// Runs a program that queries the servers, and ends it if one of them dies.
    ///
    /// # Errors
    /// As [`Task::capture`], and the failure of a server that died.
    pub fn capture_while_served(&self, cmd: &Cmd) -> Result<Output> {
        let stop = self.ctx.stop.next_plan();
        let (asking, over) = mpsc::channel::<()>();
        let result = std::thread::scope(|scope| {
            let (ctx, stop) = (self.ctx, &stop);
            scope.spawn(move || {
                while over.recv_timeout(Duration::from_millis(200)) == Err(mpsc::RecvTimeoutError::Timeout) {
                    if ctx.stop.requested() || ctx.driver.died(ctx.lab).is_some() {
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

    /// Returns the Java runtime, which is asked once in a plan.
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
