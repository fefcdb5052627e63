//! The steps: what may run. Each has a title, a preview for `--dry-run`, and one way to run; it looks first and then
//! decides, so that running it again is harmless.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Serialize;

use crate::account;
use crate::config::Lab;
use crate::exec::Exec;
use crate::failure::{Failure, Result};
use crate::local::jars::Jars;
use crate::local::service::Service;
use crate::signal::Stop;
use crate::steps::{build, check, flow, preflight, record, remove, serve, service};
use crate::tools::java::{self, Java};

/// A step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find every problem of this machine before anything is touched.
    Preflight,
    /// Write down where the lab runs, so that the other commands follow.
    Record,
    /// Resolve Kafka's jars into the cache.
    Jars,
    /// Build the clients' program.
    BuildClients,
    /// End processes of this lab that the manifests no longer ask for.
    EndStrays,
    /// Make a process run, with the settings it should have.
    Start(Service),
    /// All brokers registered, and each answers metadata.
    Serving,
    /// The topic exists, a message went through, every ISR is full.
    Topic,
    /// Something is up under this name.
    LabIsUp,
    /// A process is there and healthy.
    Healthy(Service),
    /// `zookeeper-shell ls /brokers/ids`.
    BrokerIds,
    /// `zookeeper-shell get /brokers/ids`.
    BrokerIdsData,
    /// `kafka-topics --list`.
    TopicList,
    /// `kafka-topics --describe`.
    TopicShape,
    /// A fresh run of so many messages, proven exactly.
    Flow(u64),
    /// Stop a process.
    Stop(Service),
    /// Remove the lab's files.
    Remove,
    /// Remove the caches.
    Purge,
    /// Prove that nothing is left.
    NothingLeft,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It changed something.
    Changed,
    /// All was as it should be.
    Unchanged,
    /// A check passed.
    Passed,
    /// It had nothing to do here, and says why.
    Skipped,
}

/// What a step did, with a line of proof and, for checks, the evidence as data.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What it did.
    pub state: State,
    /// One line: "brokers 0, 1, 2 registered".
    pub proof: String,
    /// Worth knowing although nothing failed.
    pub warnings: Vec<String>,
    /// What the flow check found.
    pub flow: Option<account::Report>,
}

impl Outcome {
    /// An outcome with its proof.
    pub fn new(state: State, proof: impl Into<String>) -> Self {
        Outcome { state, proof: proof.into(), warnings: Vec::new(), flow: None }
    }

    /// Something changed.
    pub fn changed(proof: impl Into<String>) -> Self {
        Self::new(State::Changed, proof)
    }

    /// Nothing had to change.
    pub fn unchanged(proof: impl Into<String>) -> Self {
        Self::new(State::Unchanged, proof)
    }

    /// A check passed.
    pub fn passed(proof: impl Into<String>) -> Self {
        Self::new(State::Passed, proof)
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
}

/// One step at work.
pub struct Task<'a> {
    /// What it shares with the others.
    pub ctx: &'a Ctx<'a>,
    /// Its own log file.
    pub log: PathBuf,
    /// Hears what it waits for right now.
    pub status: &'a dyn Fn(&str),
}

impl Task<'_> {
    /// The lab.
    pub fn lab(&self) -> &Lab {
        self.ctx.lab
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

impl Step {
    /// Its name in lists, events and log files.
    pub fn title(self, lab: &Lab) -> String {
        match self {
            Step::Preflight => "preflight".into(),
            Step::Record => "record".into(),
            Step::Jars => "kafka jars".into(),
            Step::BuildClients => "clients build".into(),
            Step::EndStrays => "strays".into(),
            Step::Start(service) | Step::Healthy(service) => service.name(lab),
            Step::Serving => "brokers serve".into(),
            Step::Topic => format!("topic {}", lab.facts.topic),
            Step::LabIsUp => "lab is up".into(),
            Step::BrokerIds => "ls /brokers/ids".into(),
            Step::BrokerIdsData => "get /brokers/ids".into(),
            Step::TopicList => "topic list".into(),
            Step::TopicShape => "topic describe".into(),
            Step::Flow(_) => "flow".into(),
            Step::Stop(service) => format!("stop {}", service.name(lab)),
            Step::Remove => "files".into(),
            Step::Purge => "caches".into(),
            Step::NothingLeft => "nothing left".into(),
        }
    }

    /// What it would do, as commands that can be pasted; looks and waits are comments.
    pub fn preview(self, lab: &Lab, jars: &Jars, java: Option<&Java>) -> Vec<String> {
        match self {
            Step::Preflight => preflight::preview(lab),
            Step::Record => record::preview(lab),
            Step::Jars => build::preview_jars(jars),
            Step::BuildClients => build::preview_clients(lab),
            Step::EndStrays => vec!["# end marked processes that the manifests no longer ask for".into()],
            Step::Start(which) => service::preview_start(lab, jars, java, which),
            Step::Serving | Step::Topic => serve::preview(self, lab),
            Step::LabIsUp | Step::Healthy(_) => check::preview_process(self, lab),
            Step::BrokerIds | Step::BrokerIdsData | Step::TopicList | Step::TopicShape => {
                check::preview_tool(self, lab, jars, java)
            }
            Step::Flow(messages) => flow::preview(lab, messages),
            Step::Stop(which) => service::preview_stop(lab, which),
            Step::Remove => vec![format!("rm -r {}", crate::exec::quoted(lab.state.as_os_str()))],
            Step::Purge => {
                let cache = crate::exec::quoted(lab.env.cache.as_os_str());
                vec![
                    "# unless another lab is up:".into(),
                    format!("rm -rf {cache}/kafka-* {cache}/class-data {cache}/lock"),
                ]
            }
            Step::NothingLeft => vec!["# look for processes with this lab's mark, its ports, its files".into()],
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What stood in the way, with what to do about it.
    pub fn run(self, task: &Task<'_>) -> Result<Outcome> {
        match self {
            Step::Preflight => preflight::run(task),
            Step::Record => record::run(task),
            Step::Jars => build::jars(task),
            Step::BuildClients => build::clients(task),
            Step::EndStrays => service::end_strays(task),
            Step::Start(which) => service::start(task, which),
            Step::Serving => serve::serving(task),
            Step::Topic => serve::topic(task),
            Step::LabIsUp => check::lab_is_up(task),
            Step::Healthy(which) => check::healthy(task, which),
            Step::BrokerIds => check::broker_ids(task),
            Step::BrokerIdsData => check::broker_ids_data(task),
            Step::TopicList => check::topic_list(task),
            Step::TopicShape => check::topic_shape(task),
            Step::Flow(messages) => flow::run(task, messages),
            Step::Stop(which) => service::stop(task, which),
            Step::Remove => remove::files(task),
            Step::Purge => remove::caches(task),
            Step::NothingLeft => remove::nothing_left(task),
        }
    }
}
