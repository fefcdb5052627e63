//! The steps: what may run. Each has a title, a preview for `--dry-run`, and one way to run; it looks first and then
//! decides, so that running it again is harmless.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Serialize;

use crate::config::Lab;
use crate::exec::Exec;
use crate::failure::{Failure, Result};
use crate::kind::images::Archive;
use crate::kind::setup::Recipe;
use crate::local::jars::Jars;
use crate::local::service::Service;
use crate::signal::Stop;
use crate::state::{Backend, Setup};
use crate::steps::{
    build, check, cluster, flow, image, preflight, record, remove, rolled_out, serve, service, workload,
};
use crate::tools::java::{self, Java};

/// A part of what runs in a cluster: applied and waited for as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// ZooKeeper and the brokers, with the host's way to them.
    Servers,
    /// The producer and the consumer.
    Clients,
}

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
    /// The engine has the image.
    Image(Recipe),
    /// A cluster that was left half-made, or is to be made again, is deleted.
    OldCluster {
        /// Whether one that is whole is deleted as well.
        recreate: bool,
    },
    /// The cluster is there, and its nodes have joined.
    Cluster,
    /// The API server answers and hands out volumes, while other nodes may still be joining.
    ApiServer,
    /// Every node is Ready, which is waited for.
    NodesJoined,
    /// Every node has the image.
    Load(Recipe),
    /// The manifests are applied.
    Apply(Part),
    /// Every pod is ready.
    PodsReady(Part),
    /// The brokers answer at their addresses inside the cluster.
    ServingInside {
        /// Whether the rolled-out clients are there to ask from.
        clients: bool,
    },
    /// The user's own kubeconfig has our context.
    MergeKubeconfig,
    /// Every node is Ready.
    NodesReady,
    /// The clients are deleted.
    RemoveClients,
    /// The user's own kubeconfig has our context no more.
    UnmergeKubeconfig,
    /// The cluster is deleted.
    DeleteCluster,
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
    /// What running producers had acknowledged has been read by running consumers.
    Account,
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
    pub flow: Option<ledger::judge::Report>,
    /// How running clients stand, one for each consumer.
    pub account: Vec<ledger::judge::Standing>,
}

impl Outcome {
    /// An outcome with its proof.
    pub fn new(state: State, proof: impl Into<String>) -> Self {
        Outcome { state, proof: proof.into(), warnings: Vec::new(), flow: None, account: Vec::new() }
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
            Step::Image(recipe) => format!("{} image", recipe.name()),
            Step::OldCluster { .. } => "old cluster".into(),
            Step::Cluster => "cluster".into(),
            Step::ApiServer => "api server".into(),
            Step::NodesJoined => "nodes ready".into(),
            Step::Load(recipe) => format!("load {}", recipe.name()),
            Step::Apply(Part::Servers) => "apply kafka".into(),
            Step::Apply(Part::Clients) => "apply clients".into(),
            Step::PodsReady(Part::Servers) => "pods".into(),
            Step::PodsReady(Part::Clients) => "clients".into(),
            Step::ServingInside { .. } => "serve in cluster".into(),
            Step::MergeKubeconfig | Step::UnmergeKubeconfig => "kubeconfig".into(),
            Step::NodesReady => "nodes".into(),
            Step::RemoveClients => "stop clients".into(),
            Step::DeleteCluster => "delete cluster".into(),
            Step::Serving => "brokers serve".into(),
            Step::Topic => format!("topic {}", lab.facts.topic),
            Step::LabIsUp => "lab is up".into(),
            Step::BrokerIds => "ls /brokers/ids".into(),
            Step::BrokerIdsData => "get /brokers/ids".into(),
            Step::TopicList => "topic list".into(),
            Step::TopicShape => "topic describe".into(),
            Step::Account => "account".into(),
            Step::Flow(_) => "flow".into(),
            Step::Stop(service) => format!("stop {}", service.name(lab)),
            Step::Remove => "files".into(),
            Step::Purge => "caches".into(),
            Step::NothingLeft => "nothing left".into(),
        }
    }

    /// What it would do, as commands that can be pasted; looks and waits are comments.
    pub fn preview(self, lab: &Lab, jars: &Jars, java: Option<&Java>, setup: &Setup) -> Vec<String> {
        match self {
            Step::Image(_) | Step::Load(_) => image::preview(self, lab, setup),
            Step::OldCluster { .. }
            | Step::Cluster
            | Step::ApiServer
            | Step::NodesJoined
            | Step::NodesReady
            | Step::DeleteCluster => cluster::preview(self, lab, setup),
            Step::Apply(_) | Step::PodsReady(_) | Step::RemoveClients | Step::ServingInside { .. } => {
                workload::preview(self, lab, setup)
            }
            Step::MergeKubeconfig => {
                vec![format!("# put context {} into your kubeconfig; your current context stays", lab.context())]
            }
            Step::UnmergeKubeconfig => vec![format!("# take context {} out of your kubeconfig", lab.context())],
            Step::Preflight => preflight::preview(lab),
            Step::Record => record::preview(lab),
            Step::Jars => build::preview_jars(jars),
            Step::BuildClients => build::preview_clients(lab),
            Step::EndStrays => vec!["# end marked processes that the manifests no longer ask for".into()],
            Step::Start(which) => service::preview_start(lab, jars, java, which),
            Step::Serving | Step::Topic => serve::preview(self, lab),
            Step::LabIsUp | Step::Healthy(_) => check::preview_process(self, lab, setup),
            Step::BrokerIds | Step::BrokerIdsData | Step::TopicList | Step::TopicShape => {
                check::preview_tool(self, lab, jars, java, setup)
            }
            Step::Account => rolled_out::preview(lab),
            Step::Flow(messages) => flow::preview(lab, messages),
            Step::Stop(which) => service::preview_stop(lab, which),
            Step::Remove => vec![format!("rm -r {}", crate::exec::quoted(lab.state.as_os_str()))],
            Step::Purge => {
                let cache = crate::exec::quoted(lab.env.cache.as_os_str());
                vec![
                    "# unless another lab is up:".into(),
                    format!("rm -rf {cache}/kafka-* {cache}/class-data {cache}/images {cache}/lock"),
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
            Step::Image(recipe) => image::image(task, recipe),
            Step::OldCluster { recreate } => cluster::old(task, recreate),
            Step::Cluster => cluster::cluster(task),
            Step::ApiServer => cluster::api_server(task),
            Step::NodesJoined => cluster::joined(task),
            Step::Load(recipe) => image::load(task, recipe),
            Step::Apply(part) => workload::apply(task, part),
            Step::PodsReady(part) => workload::ready(task, part),
            Step::ServingInside { clients } => serve::inside(task, clients),
            Step::MergeKubeconfig => record::merge(task),
            Step::NodesReady => cluster::healthy(task),
            Step::RemoveClients => workload::remove_clients(task),
            Step::UnmergeKubeconfig => record::unmerge(task),
            Step::DeleteCluster => cluster::delete(task),
            Step::Serving => serve::serving(task),
            Step::Topic => serve::topic(task),
            Step::LabIsUp => match task.lab().backend {
                Backend::Local => check::lab_is_up(task),
                Backend::Kind => cluster::is_up(task),
            },
            Step::Healthy(which) => check::healthy(task, which),
            Step::BrokerIds => check::broker_ids(task),
            Step::BrokerIdsData => check::broker_ids_data(task),
            Step::TopicList => check::topic_list(task),
            Step::TopicShape => check::topic_shape(task),
            Step::Account => rolled_out::account(task),
            Step::Flow(messages) => flow::run(task, messages),
            Step::Stop(which) => service::stop(task, which),
            Step::Remove => remove::files(task),
            Step::Purge => remove::caches(task),
            Step::NothingLeft => remove::nothing_left(task),
        }
    }
}
