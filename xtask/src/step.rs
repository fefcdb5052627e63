//! The steps: what may run. Each has a title, a preview for `--dry-run`, and one way to run; it looks first and then
//! decides, so that running it again is harmless.

use crate::config::Lab;
use crate::drill::run::{self as drill, Drill};
use crate::drill::text;
use crate::failure::Result;
use crate::k8s::workload::Part;
use crate::k8s::{inside, kubeconfig, workload};
use crate::kind::setup::Recipe;
use crate::kind::{cluster, import};
use crate::local::servers;
use crate::service::Service;
use crate::steps::check::ToolCheck;
use crate::steps::{build, check, flow, preflight, record, remove, rolled_out, serve};
use crate::task::{Ctx, Outcome, Task};

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
    /// A check with one of Kafka's tools.
    Tool(ToolCheck),
    /// What running producers had acknowledged has been read by running consumers.
    Account,
    /// A fresh run of so many messages, proven exactly.
    Flow(u64),
    /// A drill.
    Drill(Drill),
    /// Stop a process.
    Stop(Service),
    /// Remove the lab's files.
    Remove {
        /// Those of an `up` that failed as well.
        failure_logs: bool,
    },
    /// Remove the caches.
    Purge,
    /// Prove that nothing is left.
    NothingLeft,
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

    /// What it would do, as commands that can be pasted; looks and waits are comments.
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
            Step::Account => rolled_out::preview(lab),
            Step::Flow(messages) => flow::preview(ctx, messages),
            Step::Drill(drill) => text::preview(drill, lab.backend),
            Step::Stop(which) => servers::preview_stop(lab, which),
            Step::Remove { failure_logs } => remove::preview_files(lab, failure_logs),
            Step::Purge => remove::preview_caches(lab),
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
            Step::Account => rolled_out::account(task),
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
    use crate::drivers;
    use crate::exec::Output;
    use crate::exec::fake::FakeExec;
    use crate::local::jars::Jars;
    use crate::plan::{self, Plan, Wish};
    use crate::signal::Stop;
    use crate::tools::java::Java;

    /// A lab in a folder of its own, at ports where nobody listens, that waits for nothing.
    fn lab(backend: Backend, dir: &std::path::Path) -> Lab {
        let mut lab = sample::lab();
        lab.backend = backend;
        lab.state = dir.join("state");
        lab.env.state_root = dir.into();
        lab.env.cache = dir.join("cache");
        lab.env.target = dir.join("target");
        (lab.ports.base, lab.ports.coordinator) = (2, 1);
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
        let wish = Wish { merge: true, ..Wish::default() };
        let all = plan::Teardown { purge: true, failure_logs: true };
        vec![
            plan::up(lab, wish),
            plan::up(lab, Wish { recreate: true, no_clients: true, ..wish }),
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
        for backend in [Backend::Local, Backend::Kind] {
            let lab = lab(backend, &dir);
            crate::files::private_dir(&lab.state).unwrap();
            let jars = Jars::describe(&lab.env).unwrap();
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
                let task = Task { ctx: &ctx, log: PathBuf::from("/dev/null"), status: &|_| {} };
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
