//! The steps of plans. Each has a title, a preview for `--dry-run`, and an idempotent `run`, which looks before it
//! acts.

use crate::config::Lab;
use crate::drill::run::{self as drill, Drill};
use crate::drill::text;
use crate::failure::Result;
use crate::k8s::workload::WorkloadGroup;
use crate::k8s::{inside, kubeconfig, workload};
use crate::kind::setup::Recipe;
use crate::kind::{cluster, import};
use crate::local::servers;
use crate::service::Service;
use crate::steps::check::ToolCheck;
use crate::steps::{build, check, flow, preflight, record, remove, running_clients, serve};
use crate::task::{Ctx, Outcome, Task};

/// A step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find every problem of this machine before anything is changed.
    Preflight,
    /// Record where the lab runs, for the other commands.
    Record,
    /// Resolve Kafka's jars into the cache.
    Jars,
    /// Build the clients' program.
    BuildClients,
    /// End processes of this lab that the manifests no longer ask for.
    EndStrays,
    /// Start a process, or restart it with its new settings.
    Start(Service),
    /// Get an image into the engine.
    Image(Recipe),
    /// Delete a cluster that is half-created or to be recreated.
    OldCluster {
        /// Whether to delete a complete cluster too.
        recreate: bool,
    },
    /// Create the cluster; its nodes join.
    Cluster,
    /// Wait until the API server answers and provides volumes; nodes may still be joining.
    ApiServer,
    /// Wait until every node is Ready.
    NodesJoined,
    /// Load an image into every node.
    Load(Recipe),
    /// Apply the manifests.
    Apply(WorkloadGroup),
    /// Wait until every pod is ready.
    PodsReady(WorkloadGroup),
    /// Check that the brokers answer at their addresses inside the cluster.
    ServingInside {
        /// Whether the lab's clients run there, to ask from their pod.
        clients: bool,
    },
    /// Add our context to the user's kubeconfig.
    MergeKubeconfig,
    /// Check that every node is Ready.
    NodesReady,
    /// Delete the clients.
    RemoveClients,
    /// Remove our context from the user's kubeconfig.
    UnmergeKubeconfig,
    /// Delete the cluster.
    DeleteCluster,
    /// Wait until all brokers are registered and answer metadata requests.
    Serving,
    /// Wait until the topic exists, a message went through and every ISR is full.
    Topic,
    /// Check that the lab is up.
    LabIsUp,
    /// Check that a process runs and is healthy.
    Healthy(Service),
    /// Run a check with one of Kafka's tools.
    Tool(ToolCheck),
    /// Check that the consumers have read what the producers had acknowledged.
    Account,
    /// Prove the delivery of a new run of this many messages.
    Flow(u64),
    /// A drill.
    Drill(Drill),
    /// Stop a process.
    Stop(Service),
    /// Remove the lab's files.
    Remove {
        /// Whether to remove the logs of a failed `up` too.
        failure_logs: bool,
    },
    /// Remove the caches.
    Purge,
    /// Prove that nothing is left.
    NothingLeft,
}

impl Step {
    /// Returns its title in lists, events and log files.
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
            Step::Apply(WorkloadGroup::Servers) => "apply kafka".into(),
            Step::Apply(WorkloadGroup::Clients) => "apply clients".into(),
            Step::PodsReady(WorkloadGroup::Servers) => "pods".into(),
            Step::PodsReady(WorkloadGroup::Clients) => "clients".into(),
            Step::ServingInside { .. } => "serve in cluster".into(),
            Step::MergeKubeconfig | Step::UnmergeKubeconfig => "kubeconfig".into(),
            Step::NodesReady => "nodes".into(),
            Step::RemoveClients => "stop clients".into(),
            Step::DeleteCluster => "delete cluster".into(),
            Step::Serving => "brokers serve".into(),
            Step::Topic => format!("topic {}", lab.facts.topic),
            Step::LabIsUp => "lab is up".into(),
            Step::Tool(check) => check.title().into(),
            Step::Account => "account".into(),
            Step::Flow(_) => "flow".into(),
            Step::Drill(drill) => drill.scenario.name().into(),
            Step::Stop(service) => format!("stop {}", service.name(lab)),
            Step::Remove { .. } => "files".into(),
            Step::Purge => "caches".into(),
            Step::NothingLeft => "nothing left".into(),
        }
    }

    /// Returns what it would do, as commands to paste; checks and waits are comments.
    pub fn preview(self, ctx: &Ctx<'_>) -> Vec<String> {
        let (lab, setup) = (ctx.lab, &ctx.shown_setup());
        match self {
            Step::Preflight => preflight::preview(ctx),
            Step::Record => record::preview(lab),
            Step::Jars => build::preview_jars(ctx.jars),
            Step::BuildClients => build::preview_clients(lab),
            Step::EndStrays => vec!["# end marked processes that the manifests no longer ask for".into()],
            Step::Start(which) => servers::preview_start(ctx, which),
            Step::Image(recipe) => import::preview_image(lab, setup, recipe),
            Step::OldCluster { recreate } => cluster::preview_old(lab, setup, recreate),
            Step::Cluster => cluster::preview_cluster(lab, setup),
            Step::ApiServer => cluster::preview_api_server(lab, setup),
            Step::NodesJoined => cluster::preview_joined(lab, setup),
            Step::Load(recipe) => import::preview_load(lab, setup, recipe),
            Step::Apply(part) => workload::preview_apply(lab, setup, part),
            Step::PodsReady(part) => workload::preview_ready(lab, setup, part),
            Step::ServingInside { clients } => inside::preview_serving(ctx, clients),
            Step::MergeKubeconfig => kubeconfig::preview_merge(lab),
            Step::NodesReady => cluster::preview_healthy(lab, setup),
            Step::RemoveClients => workload::preview_remove_clients(lab, setup),
            Step::UnmergeKubeconfig => kubeconfig::preview_unmerge(lab),
            Step::DeleteCluster => cluster::preview_delete(lab, setup),
            Step::Serving => serve::preview_serving(lab),
            Step::Topic => serve::preview_topic(lab),
            Step::LabIsUp => vec![ctx.driver.preview_is_up(lab)],
            Step::Healthy(service) => vec![ctx.driver.preview_healthy(ctx, service)],
            Step::Tool(check) => check::preview_tool(check, ctx),
            Step::Account => running_clients::preview(lab),
            Step::Flow(messages) => flow::preview(ctx, messages),
            Step::Drill(drill) => text::preview(drill, lab),
            Step::Stop(which) => servers::preview_stop(lab, which),
            Step::Remove { failure_logs } => remove::preview_files(lab, failure_logs),
            Step::Purge => remove::preview_caches(lab),
            Step::NothingLeft => vec!["# look for processes with this lab's mark, its ports, its files".into()],
        }
    }

    /// Runs the step.
    ///
    /// # Errors
    /// The failure, with its fix.
    pub fn run(self, task: &Task<'_>) -> Result<Outcome> {
        match self {
            Step::Preflight => preflight::run(task),
            Step::Record => record::run(task),
            Step::Jars => build::jars(task),
            Step::BuildClients => build::clients(task),
            Step::EndStrays => servers::end_strays(task),
            Step::Start(which) => servers::start(task, which),
            Step::Image(recipe) => import::image(task, recipe),
            Step::OldCluster { recreate } => cluster::old(task, recreate),
            Step::Cluster => cluster::cluster(task),
            Step::ApiServer => cluster::api_server(task),
            Step::NodesJoined => cluster::joined(task),
            Step::Load(recipe) => import::load(task, recipe),
            Step::Apply(part) => workload::apply(task, part),
            Step::PodsReady(part) => workload::ready(task, part),
            Step::ServingInside { clients } => inside::serving(task, clients),
            Step::MergeKubeconfig => kubeconfig::merge(task),
            Step::NodesReady => cluster::healthy(task),
            Step::RemoveClients => workload::remove_clients(task),
            Step::UnmergeKubeconfig => kubeconfig::unmerge(task),
            Step::DeleteCluster => cluster::delete(task),
            Step::Serving => serve::serving(task),
            Step::Topic => serve::topic(task),
            Step::LabIsUp => task.ctx.driver.is_up(task),
            Step::Healthy(which) => check::healthy(task, which),
            Step::Tool(check) => check::tool(task, check),
            Step::Account => running_clients::account(task),
            Step::Flow(messages) => flow::run(task, messages),
            Step::Drill(drill) => drill::step(task, drill),
            Step::Stop(which) => servers::stop(task, which),
            Step::Remove { failure_logs } => remove::files(task, failure_logs),
            Step::Purge => remove::caches(task),
            Step::NothingLeft => remove::nothing_left(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::backend::Backend;
    use crate::config::sample;
    use crate::coordination::Release;
    use crate::coordination::releases::RELEASES;
    use crate::drivers;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;
    use crate::local::jars::Jars;
    use crate::plan::{self, Plan, UpOptions};
    use crate::signal::Stop;
    use crate::tools::java::Java;

    /// A lab in a folder of its own, at ports where nobody listens, that waits for nothing.
    fn lab(backend: Backend, release: Release, dir: &std::path::Path) -> Lab {
        let mut lab = sample::of(release);
        lab.backend = backend;
        lab.state = dir.join("state");
        lab.env.state_root = dir.into();
        lab.env.cache = dir.join("cache");
        lab.env.target = dir.join("target");
        (lab.ports.base, lab.ports.coordinator) = (5, 1);
        let t = &mut lab.settings.timeouts_s;
        for limit in [&mut t.coordinator, &mut t.broker, &mut t.topic, &mut t.clients, &mut t.cluster, &mut t.pods] {
            *limit = 0;
        }
        lab
    }

    /// Whether a command changes nothing: a preview tells looks as comments.
    fn only_looks(asked: &str) -> bool {
        let looks = [
            " describe --always ",
            "docker image inspect ",
            "docker image ls ",
            "docker ps ",
            "docker inspect ",
            " get pods,statefulsets,deployments ",
            " --list",
            "echo dump | ",
        ];
        looks.iter().any(|look| asked.contains(look))
    }

    fn plans(lab: &Lab) -> Vec<Plan> {
        let options = UpOptions { merge: true, ..UpOptions::default() };
        let all = plan::Teardown { purge: true, failure_logs: true };
        vec![
            plan::up(lab, options),
            plan::up(lab, UpOptions { recreate: true, no_clients: true, ..options }),
            plan::verify(lab, 10),
            plan::status(lab),
            plan::clients_start(lab),
            plan::clients_stop(lab),
            plan::teardown(lab, all),
            plan::drill(&plan::tests::drills()),
        ]
    }

    #[test]
    fn whatever_a_step_runs_is_in_its_preview() {
        let dir = std::env::temp_dir().join(format!("kafka-lab-preview-{}", std::process::id()));
        let mut compared = 0;
        let mut hidden = Vec::new();
        let local = RELEASES.map(|release| (Backend::Local, release));
        for (backend, release) in local.into_iter().chain([(Backend::Kind, Release::default())]) {
            let lab = lab(backend, release, &dir);
            crate::files::private_dir(&lab.state).unwrap();
            let jars = Jars::describe(&lab.env, lab.release.version).unwrap();
            let java = Java::unasked("java");
            for step in plans(&lab).into_iter().flat_map(|plan| plan.steps).map(|planned| planned.step) {
                if step == Step::Preflight {
                    continue;
                }
                let answer = |_: &crate::exec::Cmd| Ok(Output { code: Some(0), ..Output::default() });
                let exec = FakeExec::new(answer);
                // So that no wait asks twice.
                let stop = Stop::default();
                stop.cancel();
                let ctx = Ctx::new(&lab, drivers::of(backend), &jars, &exec, &stop);
                let _ = ctx.setup.set(sample::setup());
                let _ = ctx.java.set(java.clone());
                let task = Task { ctx: &ctx, log: PathBuf::from("/dev/null"), status: &|_| {}, tell: &|_| {} };
                let _ = step.run(&task);
                let shown = step.preview(&ctx);
                for asked in exec.asked.lock().unwrap().iter().map(ToString::to_string) {
                    compared += 1;
                    if !only_looks(&asked) && !shown.iter().any(|line| line.contains(&asked)) {
                        hidden.push(format!(
                            "{backend} {}:\n    {asked}\n  not in\n    {}",
                            step.title(&lab),
                            shown.join("\n    ")
                        ));
                    }
                }
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(compared > 20, "{compared}");
        assert!(hidden.is_empty(), "{}", hidden.join("\n"));
    }
}
