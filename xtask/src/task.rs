//! What a step works with: what it shares with the others, verbs to run programs and to wait, and what it reports.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::backend::Backend;
use crate::config::Lab;
use crate::events::StepState;
use crate::exec::{Cmd, Exec, Output};
use crate::failure::{Failure, Result};
use crate::kind::images::Archive;
use crate::local::jars::Jars;
use crate::signal::Stop;
use crate::state::Setup;
use crate::tools::java::{self, Java};
use crate::tools::kafka::Place;
use crate::tools::kubectl::Kubectl;
use crate::wait::{self, Poll};

/// What a step did, with a line of proof and, for checks, the evidence as data.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended: changed, unchanged, passed or skipped.
    pub state: StepState,
    /// One line: "brokers 0, 1, 2 registered".
    pub proof: String,
    /// Worth knowing although nothing failed.
    pub warnings: Vec<String>,
    /// What the flow check found.
    pub flow: Option<ledger::judge::Report>,
    /// How running clients stand, one for each consumer.
    pub account: Vec<ledger::judge::Standing>,
}

impl Outcome {
    fn new(state: StepState, proof: impl Into<String>) -> Self {
        Outcome { state, proof: proof.into(), warnings: Vec::new(), flow: None, account: Vec::new() }
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

/// What all steps of a run share.
pub struct Ctx<'a> {
    /// The lab.
    pub lab: &'a Lab,
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
    pub fn new(lab: &'a Lab, jars: &'a Jars, exec: &'a dyn Exec, stop: &'a Stop) -> Self {
        let setup = lab.setup.clone().map(OnceLock::from).unwrap_or_default();
        let (java, client_image) = (OnceLock::new(), OnceLock::new());
        Ctx { lab, jars, exec, stop, java, setup, client_image, recreate: false }
    }

    /// With nothing settled at all: `up` looks again.
    pub fn afresh(mut self, recreate: bool) -> Self {
        self.setup = OnceLock::new();
        self.recreate = recreate;
        self
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

    /// Where Kafka's tools run.
    ///
    /// # Errors
    /// There is no Java runtime, or it is not recorded which kubectl made the lab.
    pub fn place(&self) -> Result<Place> {
        let (lab, jars) = (self.lab(), self.ctx.jars);
        Ok(match lab.backend {
            Backend::Local => Place::of(lab, jars, Some(&self.java()?), None),
            Backend::Kind => Place::of(lab, jars, None, Some(&self.setup()?)),
        })
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
